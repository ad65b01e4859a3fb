package control

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

func (p *Plane) registerRecursion(r *wire.Router) {
	wire.Handle(r, "GetFunctionRecursionConfig", p.GetFunctionRecursionConfig)
	wire.Handle(r, "PutFunctionRecursionConfig", p.PutFunctionRecursionConfig)
}

// trace is the X-Amzn-Trace-Id that an invocation of v passes on, for one that
// came with the given header. It refuses an invocation of a chain that has run
// the function often enough, unless the function may be in a loop.
func (p *Plane) trace(ctx context.Context, v runnable, header string) (string, error) {
	next, visits := lamina.Trace(header, v.Function, p.now())
	wire.RecordOf(ctx).Trace = next
	if visits < lamina.MostVisits {
		return next, nil
	}
	var loop string
	err := p.store.View(ctx, func(tx *store.Tx) (err error) {
		loop, err = tx.RecursiveLoop(ctx, v.Function)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read recursion config of %s: %w", v.Function.Name, err)
	}
	if loop == "Allow" {
		return next, nil
	}
	p.log.LogAttrs(ctx, slog.LevelWarn, "recursive invocation stopped", slog.String("function", v.Function.ARN()), slog.Int("runs", visits))
	return "", wire.RecursiveInvocation.New(lamina.RecursiveLoopMessage)
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
