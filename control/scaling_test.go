package control_test

import (
	"testing"

	"github.com/lamina-run/lamina/wire"
)

func TestScalingConfigNeedsACapacityProvider(t *testing.T) {
	t.Parallel()
	p, ctx := released(t)
	const refused = "Scaling configurations are supported only for functions that use a capacity provider. Function " + arnOf + "fn does not use one."
	for _, c := range []struct {
		name, qualifier string
		kind            *wire.Kind
		message         string
	}{
		{"fn", "1", wire.InvalidParameterValue, refused},
		{"fn", "$LATEST.PUBLISHED", wire.InvalidParameterValue, refused},
		{"fn", "7", wire.ResourceNotFound, "Function not found: " + arnOf + "fn:7"},
		{"absent", "1", wire.ResourceNotFound, "Function not found: " + arnOf + "absent:1"},
		{"absent", "$LATEST.PUBLISHED", wire.ResourceNotFound, "Function not found: " + arnOf + "absent:$LATEST.PUBLISHED"},
	} {
		_, err := p.GetFunctionScalingConfig(ctx, &wire.GetFunctionScalingConfigRequest{FunctionName: c.name, Qualifier: c.qualifier})
		wantException(t, "get "+c.name+":"+c.qualifier, err, c.kind, c.message)
		_, err = p.PutFunctionScalingConfig(ctx, &wire.PutFunctionScalingConfigRequest{
			FunctionName: c.name, Qualifier: c.qualifier, FunctionScalingConfig: &wire.FunctionScalingConfig{MinExecutionEnvironments: ptr(int64(1))},
		})
		wantException(t, "put "+c.name+":"+c.qualifier, err, c.kind, c.message)
	}
}
