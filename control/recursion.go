package control

import (
	"context"
	"fmt"

	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

func (p *Plane) registerRecursion(r *wire.Router) {
	wire.Handle(r, "GetFunctionRecursionConfig", p.GetFunctionRecursionConfig)
	wire.Handle(r, "PutFunctionRecursionConfig", p.PutFunctionRecursionConfig)
}

// GetFunctionRecursionConfig tells what happens when a function invokes itself
// in a loop.
func (p *Plane) GetFunctionRecursionConfig(ctx context.Context, in *wire.GetFunctionRecursionConfigRequest) (*wire.GetFunctionRecursionConfigResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	var loop string
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		loop, err = tx.RecursiveLoop(ctx, ref.FunctionID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get recursion config of %s: %w", ref.Name, notFound(err, "Function not found: %s", ref.ARN()))
	}
	return &wire.GetFunctionRecursionConfigResponse{RecursiveLoop: &loop}, nil
}

// PutFunctionRecursionConfig says what happens when a function invokes itself in
// a loop.
func (p *Plane) PutFunctionRecursionConfig(ctx context.Context, in *wire.PutFunctionRecursionConfigRequest) (*wire.PutFunctionRecursionConfigResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		return tx.SetRecursiveLoop(ctx, ref.FunctionID, in.RecursiveLoop)
	})
	if err != nil {
		return nil, fmt.Errorf("put recursion config of %s: %w", ref.Name, notFound(err, "Function not found: %s", ref.ARN()))
	}
	return &wire.PutFunctionRecursionConfigResponse{RecursiveLoop: &in.RecursiveLoop}, nil
}
