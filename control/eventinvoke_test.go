package control_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/wire"
)

const arnOf = "arn:aws:lambda:eu-west-1:000000000000:function:"

// released is a plane with a function fn, which has version 1 and an alias live.
func released(t *testing.T) (*control.Plane, context.Context) {
	t.Helper()
	p, ctx := plane(t, &fakeInvoker{})
	create(t, p, ctx, "fn", func(in *wire.CreateFunctionRequest) { in.Publish = ptr(true) })
	settled(t, p, ctx, "fn")
	done(t)(p.CreateAlias(ctx, &wire.CreateAliasRequest{FunctionName: "fn", Name: "live", FunctionVersion: "1"}))
	return p, ctx
}

// done ends the test when the operation that it is applied to failed.
func done(t *testing.T) func(_ any, err error) {
	return func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func sendTo(onSuccess, onFailure string) *wire.DestinationConfig {
	c := &wire.DestinationConfig{}
	if onSuccess != "" {
		c.OnSuccess = &wire.OnSuccess{Destination: &onSuccess}
	}
	if onFailure != "" {
		c.OnFailure = &wire.OnFailure{Destination: &onFailure}
	}
	return c
}

func TestEventInvokeConfigPutReplacesUpdateMerges(t *testing.T) {
	t.Parallel()
	p, ctx := released(t)
	const queue, topic = "arn:aws:sqs:eu-west-1:000000000000:q", "arn:aws:sns:eu-west-1:000000000000:t"
	none := wire.DestinationConfig{OnSuccess: &wire.OnSuccess{}, OnFailure: &wire.OnFailure{}}
	check := func(what string, got *wire.FunctionEventInvokeConfig, err error, want wire.FunctionEventInvokeConfig) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got.LastModified == nil || got.LastModified.IsZero() {
			t.Errorf("%s: no LastModified", what)
		}
		want.FunctionArn = ptr(arnOf + "fn:live")
		if diff := cmp.Diff(want, *got, cmpopts.IgnoreFields(wire.FunctionEventInvokeConfig{}, "LastModified")); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", what, diff)
		}
		read, err := p.GetFunctionEventInvokeConfig(ctx, &wire.GetFunctionEventInvokeConfigRequest{FunctionName: "fn:live"})
		if diff := cmp.Diff(got, read, cmpopts.EquateApproxTime(1e6)); diff != "" || err != nil {
			t.Errorf("get after %s: %v, differs (-want +got):\n%s", what, err, diff)
		}
	}
	out, err := p.PutFunctionEventInvokeConfig(ctx, &wire.PutFunctionEventInvokeConfigRequest{
		FunctionName: "fn", Qualifier: ptr("live"), MaximumRetryAttempts: ptr(int64(0)), DestinationConfig: sendTo(queue, ""),
	})
	check("put", out, err, wire.FunctionEventInvokeConfig{
		MaximumRetryAttempts: ptr(int64(0)),
		DestinationConfig:    &wire.DestinationConfig{OnSuccess: &wire.OnSuccess{Destination: ptr(queue)}, OnFailure: &wire.OnFailure{}},
	})
	out, err = p.UpdateFunctionEventInvokeConfig(ctx, &wire.UpdateFunctionEventInvokeConfigRequest{
		FunctionName: "fn:live", MaximumEventAgeInSeconds: ptr(int64(60)), DestinationConfig: sendTo("", topic),
	})
	check("update", out, err, wire.FunctionEventInvokeConfig{
		MaximumRetryAttempts: ptr(int64(0)), MaximumEventAgeInSeconds: ptr(int64(60)),
		DestinationConfig: &wire.DestinationConfig{OnSuccess: &wire.OnSuccess{}, OnFailure: &wire.OnFailure{Destination: ptr(topic)}},
	})
	out, err = p.PutFunctionEventInvokeConfig(ctx, &wire.PutFunctionEventInvokeConfigRequest{FunctionName: "fn:live", MaximumEventAgeInSeconds: ptr(int64(90))})
	check("second put", out, err, wire.FunctionEventInvokeConfig{MaximumEventAgeInSeconds: ptr(int64(90)), DestinationConfig: &none})
}

func TestEventInvokeConfigRefusals(t *testing.T) {
	t.Parallel()
	p, ctx := released(t)
	create(t, p, ctx, "other")
	retries := ptr(int64(1))
	for _, c := range []struct {
		name    string
		in      wire.PutFunctionEventInvokeConfigRequest
		kind    *wire.Kind
		message string
	}{
		{
			"nothing to set, before existence",
			wire.PutFunctionEventInvokeConfigRequest{FunctionName: "absent"},
			wire.InvalidParameterValue, "You must specify at least one of error handling or destination setting.",
		},
		{
			"no function",
			wire.PutFunctionEventInvokeConfigRequest{FunctionName: "absent", MaximumRetryAttempts: retries},
			wire.ResourceNotFound, "The function doesn't exist.",
		},
		{
			"no version",
			wire.PutFunctionEventInvokeConfigRequest{FunctionName: "fn", Qualifier: ptr("2"), MaximumRetryAttempts: retries},
			wire.ResourceNotFound, "The function doesn't exist.",
		},
		{
			"no alias",
			wire.PutFunctionEventInvokeConfigRequest{FunctionName: "fn:dead", MaximumRetryAttempts: retries},
			wire.ResourceNotFound, "The function doesn't exist.",
		},
		{
			"destination absent",
			wire.PutFunctionEventInvokeConfigRequest{FunctionName: "fn", DestinationConfig: sendTo("", arnOf+"absent")},
			wire.InvalidParameterValue, "The destination ARN " + arnOf + "absent is invalid.",
		},
		{
			"destination of an absent alias",
			wire.PutFunctionEventInvokeConfigRequest{FunctionName: "fn", DestinationConfig: sendTo(arnOf+"other:dead", "")},
			wire.InvalidParameterValue, "The destination ARN " + arnOf + "other:dead is invalid.",
		},
		{
			"destination in another region",
			wire.PutFunctionEventInvokeConfigRequest{FunctionName: "fn", DestinationConfig: sendTo("arn:aws:lambda:us-east-1:000000000000:function:other", "")},
			wire.InvalidParameterValue, "The destination ARN arn:aws:lambda:us-east-1:000000000000:function:other is invalid.",
		},
		{
			"itself",
			wire.PutFunctionEventInvokeConfigRequest{FunctionName: "fn", DestinationConfig: sendTo(arnOf+"fn:live", "")},
			wire.InvalidParameterValue, "You can't specify the function as a destination for itself.",
		},
		{
			"another service",
			wire.PutFunctionEventInvokeConfigRequest{FunctionName: "fn", DestinationConfig: sendTo("arn:aws:iam::000000000000:role/r", "")},
			wire.InvalidParameterValue, "The provided destination config DestinationConfig(onSuccess=OnSuccess(destination=arn:aws:iam::000000000000:role/r), onFailure=null) is invalid.",
		},
		{
			"a bucket for successes",
			wire.PutFunctionEventInvokeConfigRequest{FunctionName: "fn", DestinationConfig: sendTo("arn:aws:s3:::b", "arn:aws:s3:::b")},
			wire.InvalidParameterValue, "The provided destination config DestinationConfig(onSuccess=OnSuccess(destination=arn:aws:s3:::b), onFailure=OnFailure(destination=arn:aws:s3:::b)) is invalid.",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := p.PutFunctionEventInvokeConfig(ctx, &c.in)
			wantException(t, "put", err, c.kind, c.message)
			if c.name == "no function" {
				return
			}
			_, err = p.GetFunctionEventInvokeConfig(ctx, &wire.GetFunctionEventInvokeConfigRequest{FunctionName: "fn"})
			wantException(t, "get after a refusal", err, wire.ResourceNotFound, "The function "+arnOf+"fn:$LATEST doesn't have an EventInvokeConfig")
		})
	}
	for name, config := range map[string]*wire.DestinationConfig{
		"a function":            sendTo(arnOf+"other", arnOf+"other:$LATEST"),
		"a queue":               sendTo("arn:aws:sqs:eu-west-1:000000000000:q", ""),
		"a bus and a bucket":    sendTo("arn:aws:events:eu-west-1:000000000000:event-bus/b", "arn:aws:s3:::b"),
		"none":                  {},
		"empty and without ARN": {OnSuccess: &wire.OnSuccess{Destination: ptr("")}, OnFailure: &wire.OnFailure{}},
	} {
		if _, err := p.PutFunctionEventInvokeConfig(ctx, &wire.PutFunctionEventInvokeConfigRequest{
			FunctionName: "fn", Qualifier: ptr("1"), DestinationConfig: config,
		}); err != nil {
			t.Errorf("put, destination %s: %v", name, err)
		}
	}
}

func TestEventInvokeConfigAbsent(t *testing.T) {
	t.Parallel()
	p, ctx := released(t)
	for _, c := range []struct{ name, arn string }{
		{"absent", "absent:$LATEST"}, {"absent:1", "absent:1"}, {"fn", "fn:$LATEST"}, {"fn:7", "fn:7"}, {"fn:live", "fn:live"},
	} {
		const message = " doesn't have an EventInvokeConfig"
		_, err := p.GetFunctionEventInvokeConfig(ctx, &wire.GetFunctionEventInvokeConfigRequest{FunctionName: c.name})
		wantException(t, "get "+c.name, err, wire.ResourceNotFound, "The function "+arnOf+c.arn+message)
		_, err = p.DeleteFunctionEventInvokeConfig(ctx, &wire.DeleteFunctionEventInvokeConfigRequest{FunctionName: c.name})
		wantException(t, "delete "+c.name, err, wire.ResourceNotFound, "The function "+arnOf+c.arn+message)
	}
	update := func(name string) error {
		_, err := p.UpdateFunctionEventInvokeConfig(ctx, &wire.UpdateFunctionEventInvokeConfigRequest{FunctionName: name, MaximumRetryAttempts: ptr(int64(1))})
		return err
	}
	wantException(t, "update without one", update("fn:live"), wire.ResourceNotFound, "The function "+arnOf+"fn:live doesn't have an EventInvokeConfig")
	wantException(t, "update of no version", update("fn:7"), wire.ResourceNotFound, "The function doesn't exist.")
	for _, name := range []string{"absent", "fn:7"} {
		_, err := p.ListFunctionEventInvokeConfigs(ctx, &wire.ListFunctionEventInvokeConfigsRequest{FunctionName: name})
		wantException(t, "list "+name, err, wire.ResourceNotFound, "The function doesn't exist.")
	}
}

func TestEventInvokeConfigPages(t *testing.T) {
	t.Parallel()
	p, ctx := released(t)
	for _, qualifier := range []string{"live", "1", "$LATEST"} {
		done(t)(p.PutFunctionEventInvokeConfig(ctx, &wire.PutFunctionEventInvokeConfigRequest{
			FunctionName: "fn", Qualifier: &qualifier, MaximumRetryAttempts: ptr(int64(2)),
		}))
	}
	var got []string
	for in := (wire.ListFunctionEventInvokeConfigsRequest{FunctionName: "fn", MaxItems: ptr(int64(2))}); ; {
		out, err := p.ListFunctionEventInvokeConfigs(ctx, &in)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range out.FunctionEventInvokeConfigs {
			got = append(got, *c.FunctionArn)
		}
		if in.Marker = out.NextMarker; in.Marker == nil {
			break
		}
	}
	if want := []string{arnOf + "fn:$LATEST", arnOf + "fn:1", arnOf + "fn:live"}; !slices.Equal(got, want) {
		t.Errorf("listed %v; want %v", got, want)
	}
	done(t)(p.DeleteAlias(ctx, &wire.DeleteAliasRequest{FunctionName: "fn", Name: "live"}))
	done(t)(p.DeleteFunction(ctx, &wire.DeleteFunctionRequest{FunctionName: "fn:1"}))
	out, err := p.ListFunctionEventInvokeConfigs(ctx, &wire.ListFunctionEventInvokeConfigsRequest{FunctionName: "fn"})
	if err != nil || len(out.FunctionEventInvokeConfigs) != 1 {
		t.Errorf("after the deletion of alias and version: %v, %v; want that of $LATEST", out, err)
	}
}
