package control_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina/wire"
)

func TestRuntimeManagement(t *testing.T) {
	t.Parallel()
	p, ctx := released(t)
	check := func(name string, want wire.GetRuntimeManagementConfigResponse) {
		t.Helper()
		got, err := p.GetRuntimeManagementConfig(ctx, &wire.GetRuntimeManagementConfigRequest{FunctionName: name})
		want.FunctionArn = ptr(arnOf + name)
		if diff := cmp.Diff(&want, got); diff != "" || err != nil {
			t.Errorf("get %s: %v, differs (-want +got):\n%s", name, err, diff)
		}
	}
	put := func(name, on string, version *string) error {
		_, err := p.PutRuntimeManagementConfig(ctx, &wire.PutRuntimeManagementConfigRequest{FunctionName: name, UpdateRuntimeOn: on, RuntimeVersionArn: version})
		return err
	}
	automatic := wire.GetRuntimeManagementConfigResponse{UpdateRuntimeOn: ptr("Auto")}
	check("fn", automatic)
	check("fn:1", automatic)

	f, err := p.GetFunctionConfiguration(ctx, &wire.GetFunctionConfigurationRequest{FunctionName: "fn"})
	if err != nil {
		t.Fatal(err)
	}
	release := f.RuntimeVersionConfig.RuntimeVersionArn
	if err := put("fn", "Manual", release); err != nil {
		t.Fatal(err)
	}
	manual := wire.GetRuntimeManagementConfigResponse{UpdateRuntimeOn: ptr("Manual"), RuntimeVersionArn: release}
	check("fn", manual)
	check("fn:$LATEST", manual)
	check("fn:1", automatic)
	if err := put("fn:1", "FunctionUpdate", nil); err != nil {
		t.Fatal(err)
	}
	check("fn:1", wire.GetRuntimeManagementConfigResponse{UpdateRuntimeOn: ptr("FunctionUpdate")})
	if err := put("fn", "Auto", nil); err != nil {
		t.Fatal(err)
	}
	check("fn", automatic)

	other := ptr("arn:aws:lambda:eu-west-1::runtime:0123")
	wantException(t, "Manual without a release", put("fn", "Manual", nil), wire.InvalidParameterValue, "RuntimeVersionArn is required when UpdateRuntimeOn is Manual.")
	wantException(t, "Auto with a release", put("fn", "Auto", release), wire.InvalidParameterValue, "RuntimeVersionArn is supported only when UpdateRuntimeOn is Manual.")
	wantException(t, "another release", put("fn", "Manual", other), wire.InvalidParameterValue, "Runtime version "+*other+" is not available for runtime python3.12.")
	wantException(t, "an alias", put("fn:live", "Auto", nil), wire.InvalidParameterValue, "Aliases do not support this operation. Please specify $LATEST or a published version.")
	for _, name := range []string{"absent", "fn:7", "fn:dead"} {
		wantException(t, "put "+name, put(name, "Auto", nil), wire.ResourceNotFound, "Function not found: "+arnOf+name)
		_, err := p.GetRuntimeManagementConfig(ctx, &wire.GetRuntimeManagementConfigRequest{FunctionName: name})
		wantException(t, "get "+name, err, wire.ResourceNotFound, "Function not found: "+arnOf+name)
	}
}
