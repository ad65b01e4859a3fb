package control

import (
	"context"
	"fmt"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

func (p *Plane) registerScaling(r *wire.Router) {
	wire.Handle(r, "GetFunctionScalingConfig", p.GetFunctionScalingConfig)
	wire.Handle(r, "PutFunctionScalingConfig", p.PutFunctionScalingConfig)
}

// refuseScaling answers requests about the scaling of managed instances: that
// the version does not exist, or that it runs on none. Lamina makes no function
// with a capacity provider, so there is no third answer.
func (p *Plane) refuseScaling(ctx context.Context, name, qualifier string) error {
	ref, err := resolve(ctx, name, &qualifier)
	if err != nil {
		return err
	}
	err = p.store.View(ctx, func(tx *store.Tx) error {
		if _, isNumber := lamina.ParseNumber(qualifier); isNumber {
			_, err := version(ctx, tx, ref)
			return err
		}
		// $LATEST.PUBLISHED exists with managed instances only.
		_, err := tx.Function(ctx, ref.FunctionID)
		return err
	})
	if err != nil {
		return fmt.Errorf("scaling config of %s: %w", ref.arn(), notFound(err, "Function not found: %s", ref.arn()))
	}
	return wire.InvalidParameterValue.Errorf("Scaling configurations are supported only for functions that use a capacity provider. Function %s does not use one.", ref.ARN())
}

// GetFunctionScalingConfig refuses: see refuseScaling.
func (p *Plane) GetFunctionScalingConfig(ctx context.Context, in *wire.GetFunctionScalingConfigRequest) (*wire.GetFunctionScalingConfigResponse, error) {
	return nil, p.refuseScaling(ctx, in.FunctionName, in.Qualifier)
}

// PutFunctionScalingConfig refuses: see refuseScaling.
func (p *Plane) PutFunctionScalingConfig(ctx context.Context, in *wire.PutFunctionScalingConfigRequest) (*wire.PutFunctionScalingConfigResponse, error) {
	return nil, p.refuseScaling(ctx, in.FunctionName, in.Qualifier)
}
