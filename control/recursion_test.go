package control_test

import (
	"testing"

	"github.com/lamina-run/lamina/wire"
)

func TestRecursionConfig(t *testing.T) {
	t.Parallel()
	p, ctx := released(t)
	check := func(want string) {
		t.Helper()
		got, err := p.GetFunctionRecursionConfig(ctx, &wire.GetFunctionRecursionConfigRequest{FunctionName: "fn"})
		if err != nil || *got.RecursiveLoop != want {
			t.Errorf("get = %v, %v; want %s", got, err, want)
		}
	}
	check("Terminate")
	for _, loop := range []string{"Allow", "Terminate"} {
		out, err := p.PutFunctionRecursionConfig(ctx, &wire.PutFunctionRecursionConfigRequest{FunctionName: "fn", RecursiveLoop: loop})
		if err != nil || *out.RecursiveLoop != loop {
			t.Errorf("put = %v, %v; want %s", out, err, loop)
		}
		check(loop)
	}
	_, err := p.PutFunctionRecursionConfig(ctx, &wire.PutFunctionRecursionConfigRequest{FunctionName: "absent", RecursiveLoop: "Allow"})
	wantException(t, "put of no function", err, wire.ResourceNotFound, "Function not found: "+arnOf+"absent")
	_, err = p.GetFunctionRecursionConfig(ctx, &wire.GetFunctionRecursionConfigRequest{FunctionName: "absent"})
	wantException(t, "get of no function", err, wire.ResourceNotFound, "Function not found: "+arnOf+"absent")
}
