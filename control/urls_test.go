package control_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina/wire"
)

func TestFunctionURLLife(t *testing.T) {
	t.Parallel()
	p, ctx := released(t)
	asked := &wire.Cors{AllowOrigins: []string{"*"}, AllowMethods: []string{"GET", "POST"}, MaxAge: ptr(int64(60)), AllowCredentials: ptr(false)}
	made, err := p.CreateFunctionUrlConfig(ctx, &wire.CreateFunctionUrlConfigRequest{FunctionName: "fn", Qualifier: ptr("live"), AuthType: "NONE", Cors: asked})
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^https://[a-z0-9]{32}\.lambda-url\.eu-west-1\.on\.aws/$`).MatchString(made.FunctionUrl) {
		t.Errorf("FunctionUrl = %s", made.FunctionUrl)
	}
	if made.FunctionArn != arnOf+"fn:live" || made.InvokeMode != nil {
		t.Errorf("created %s, mode %v; want the alias and no mode", made.FunctionArn, made.InvokeMode)
	}
	if diff := cmp.Diff(asked, made.Cors); diff != "" {
		t.Errorf("Cors differs (-want +got):\n%s", diff)
	}
	read := func() *wire.GetFunctionUrlConfigResponse {
		t.Helper()
		out, err := p.GetFunctionUrlConfig(ctx, &wire.GetFunctionUrlConfigRequest{FunctionName: "fn:live"})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	want := &wire.GetFunctionUrlConfigResponse{
		FunctionUrl: made.FunctionUrl, FunctionArn: made.FunctionArn, AuthType: "NONE", Cors: asked,
		CreationTime: made.CreationTime, LastModifiedTime: made.CreationTime, InvokeMode: ptr("BUFFERED"),
	}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Errorf("GetFunctionUrlConfig differs (-want +got):\n%s", diff)
	}
	if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$`).MatchString(made.CreationTime) {
		t.Errorf("CreationTime = %s; want nanoseconds", made.CreationTime)
	}

	_, err = p.CreateFunctionUrlConfig(ctx, &wire.CreateFunctionUrlConfigRequest{FunctionName: "fn:live", AuthType: "AWS_IAM"})
	wantException(t, "second", err, wire.ResourceConflict, "Failed to create function url config for [functionArn = "+arnOf+"fn:live]. Error message:  FunctionUrlConfig exists for this Lambda function")

	updated, err := p.UpdateFunctionUrlConfig(ctx, &wire.UpdateFunctionUrlConfigRequest{FunctionName: "fn:live", AuthType: ptr("AWS_IAM")})
	if err != nil {
		t.Fatal(err)
	}
	if updated.AuthType != "AWS_IAM" || updated.InvokeMode != nil || updated.FunctionUrl != made.FunctionUrl || updated.Cors == nil {
		t.Errorf("updated = %+v; want AWS_IAM, no mode, the same address, CORS kept", updated)
	}
	updated, err = p.UpdateFunctionUrlConfig(ctx, &wire.UpdateFunctionUrlConfigRequest{FunctionName: "fn:live", InvokeMode: ptr("RESPONSE_STREAM"), Cors: &wire.Cors{}})
	if err != nil || *updated.InvokeMode != "RESPONSE_STREAM" || updated.Cors != nil {
		t.Errorf("updated = %+v, %v; want RESPONSE_STREAM and no CORS", updated, err)
	}
	if got := read(); *got.InvokeMode != "RESPONSE_STREAM" || got.AuthType != "AWS_IAM" || got.Cors != nil {
		t.Errorf("read = %+v; want what was updated", got)
	}

	own, err := p.CreateFunctionUrlConfig(ctx, &wire.CreateFunctionUrlConfigRequest{FunctionName: "fn", AuthType: "NONE", InvokeMode: ptr("BUFFERED")})
	if err != nil || own.FunctionArn != arnOf+"fn" || own.FunctionUrl == made.FunctionUrl || *own.InvokeMode != "BUFFERED" {
		t.Errorf("the function's own = %+v, %v; want another URL, BUFFERED", own, err)
	}
	var listed []string
	for in := (wire.ListFunctionUrlConfigsRequest{FunctionName: "fn", MaxItems: ptr(int64(1))}); ; {
		out, err := p.ListFunctionUrlConfigs(ctx, &in)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range out.FunctionUrlConfigs {
			listed = append(listed, c.FunctionArn+" "+*c.InvokeMode)
		}
		if in.Marker = out.NextMarker; in.Marker == nil {
			break
		}
	}
	if want := []string{arnOf + "fn BUFFERED", arnOf + "fn:live RESPONSE_STREAM"}; !slices.Equal(listed, want) {
		t.Errorf("listed %v; want %v", listed, want)
	}

	done(t)(p.DeleteFunctionUrlConfig(ctx, &wire.DeleteFunctionUrlConfigRequest{FunctionName: "fn"}))
	_, err = p.GetFunctionUrlConfig(ctx, &wire.GetFunctionUrlConfigRequest{FunctionName: "fn"})
	wantException(t, "get the deleted", err, wire.ResourceNotFound, "The resource you requested does not exist.")
	done(t)(p.DeleteAlias(ctx, &wire.DeleteAliasRequest{FunctionName: "fn", Name: "live"}))
	if got := read(); got.FunctionUrl != made.FunctionUrl {
		t.Errorf("after DeleteAlias: %s; want the URL to stay", got.FunctionUrl)
	}
	_, err = p.UpdateFunctionUrlConfig(ctx, &wire.UpdateFunctionUrlConfigRequest{FunctionName: "fn:live", AuthType: ptr("NONE")})
	wantException(t, "update without the alias", err, wire.ResourceNotFound, "Function does not exist")
	done(t)(p.DeleteFunction(ctx, &wire.DeleteFunctionRequest{FunctionName: "fn"}))
	_, err = p.GetFunctionUrlConfig(ctx, &wire.GetFunctionUrlConfigRequest{FunctionName: "fn:live"})
	wantException(t, "get after DeleteFunction", err, wire.ResourceNotFound, "The resource you requested does not exist.")
}

func TestFunctionURLRefusals(t *testing.T) {
	t.Parallel()
	p, ctx := released(t)
	operations := map[string]func(name, qualifier string) error{
		"Create": func(name, qualifier string) error {
			_, err := p.CreateFunctionUrlConfig(ctx, &wire.CreateFunctionUrlConfigRequest{FunctionName: name, Qualifier: &qualifier, AuthType: "NONE"})
			return err
		},
		"Update": func(name, qualifier string) error {
			_, err := p.UpdateFunctionUrlConfig(ctx, &wire.UpdateFunctionUrlConfigRequest{FunctionName: name, Qualifier: &qualifier})
			return err
		},
		"Get": func(name, qualifier string) error {
			_, err := p.GetFunctionUrlConfig(ctx, &wire.GetFunctionUrlConfigRequest{FunctionName: name, Qualifier: &qualifier})
			return err
		},
		"Delete": func(name, qualifier string) error {
			_, err := p.DeleteFunctionUrlConfig(ctx, &wire.DeleteFunctionUrlConfigRequest{FunctionName: name, Qualifier: &qualifier})
			return err
		},
	}
	for operation, do := range operations {
		absent := "Function does not exist"
		if operation == "Get" || operation == "Delete" {
			absent = "The resource you requested does not exist."
		}
		for _, name := range []string{"absent", "absent:live", "fn:dead"} {
			wantException(t, operation+" "+name, do(name, ""), wire.ResourceNotFound, absent)
		}
		wantException(t, operation+" with two qualifiers", do("fn:dead", "live"), wire.InvalidParameterValue, "The derived qualifier from the function name does not match the specified qualifier.")
		for _, qualifier := range []string{"1", "$LATEST"} {
			wantException(t, operation+" of a version", do("fn:"+qualifier, ""), wire.Validation,
				"1 validation error detected: Value '"+qualifier+`' at 'qualifier' failed to satisfy constraint: Member must satisfy regular expression pattern: ((?!^\d+$)^[0-9a-zA-Z-_]+$)`)
		}
	}
	for operation, do := range operations {
		if operation != "Create" {
			wantException(t, operation+" without one", do("fn", ""), wire.ResourceNotFound, "The resource you requested does not exist.")
		}
	}
	_, err := p.ListFunctionUrlConfigs(ctx, &wire.ListFunctionUrlConfigsRequest{FunctionName: "absent"})
	wantException(t, "list of no function", err, wire.ResourceNotFound, "Function does not exist")
	out, err := p.ListFunctionUrlConfigs(ctx, &wire.ListFunctionUrlConfigsRequest{FunctionName: "fn"})
	if err != nil || out.FunctionUrlConfigs == nil || len(out.FunctionUrlConfigs) != 0 {
		t.Errorf("list of no URL = %v, %v; want an empty list", out, err)
	}
	_, err = p.GetFunctionUrlConfig(ctx, &wire.GetFunctionUrlConfigRequest{FunctionName: strings.Replace(arnOf, "eu-west-1", "us-east-1", 1) + "fn"})
	wantException(t, "get in another region", err, wire.ResourceNotFound, "Functions from 'us-east-1' are not reachable in this region ('eu-west-1')")
}
