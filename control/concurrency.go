package control

import (
	"context"
	"fmt"
	"sync"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// inFlight counts the invocations of this process, per function and account.
type inFlight struct {
	mu        sync.Mutex
	functions map[lamina.FunctionID]int64
	scopes    map[lamina.Scope]int64
}

// acquire counts one invocation, or refuses it: against what the function
// reserves when it reserves something, else against the account's limit. The
// caller calls release when the invocation is over.
func (f *inFlight) acquire(id lamina.FunctionID, reserved *int64, account int64) (release func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case reserved != nil && f.functions[id] >= *reserved:
		return nil, errThrottled("ReservedFunctionConcurrentInvocationLimitExceeded")
	case reserved == nil && f.scopes[id.Scope] >= account:
		return nil, errThrottled("ConcurrentInvocationLimitExceeded")
	}
	f.functions[id]++
	f.scopes[id.Scope]++
	return func() { f.release(id) }, nil
}

func (f *inFlight) release(id lamina.FunctionID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.functions[id]--; f.functions[id] == 0 {
		delete(f.functions, id)
	}
	if f.scopes[id.Scope]--; f.scopes[id.Scope] == 0 {
		delete(f.scopes, id.Scope)
	}
}

// unqualified resolves the name of a function for operations that versions and
// aliases don't have.
func unqualified(ctx context.Context, name string) (reference, error) {
	ref, err := resolve(ctx, name, nil)
	if err == nil && ref.Qualifier != "" {
		err = wire.InvalidParameterValue.Errorf("This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN.")
	}
	return ref, err
}

// PutFunctionConcurrency reserves concurrency for a function.
func (p *Plane) PutFunctionConcurrency(ctx context.Context, in *wire.PutFunctionConcurrencyRequest) (*wire.Concurrency, error) {
	ref, err := unqualified(ctx, in.FunctionName)
	if err != nil {
		return nil, err
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockFunction(ctx, ref.FunctionID); err != nil {
			return notFound(err, "Function not found: %s", ref.QualifiedARN(lamina.Latest))
		}
		others, err := tx.ReservedTotal(ctx, ref.Scope, ref.FunctionID)
		if err != nil {
			return err
		}
		if p.limits.ConcurrentExecutions-others-in.ReservedConcurrentExecutions < p.limits.MinimumUnreserved {
			return wire.InvalidParameterValue.Errorf("Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [%d].", p.limits.MinimumUnreserved).WithoutType()
		}
		return tx.SetReservedConcurrency(ctx, ref.FunctionID, &in.ReservedConcurrentExecutions)
	})
	if err != nil {
		return nil, fmt.Errorf("reserve concurrency of %s: %w", ref.Name, err)
	}
	return &wire.Concurrency{ReservedConcurrentExecutions: &in.ReservedConcurrentExecutions}, nil
}

// GetFunctionConcurrency tells what a function reserves.
func (p *Plane) GetFunctionConcurrency(ctx context.Context, in *wire.GetFunctionConcurrencyRequest) (*wire.GetFunctionConcurrencyResponse, error) {
	ref, err := unqualified(ctx, in.FunctionName)
	if err != nil {
		return nil, err
	}
	var f lamina.Function
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		f, err = tx.Function(ctx, ref.FunctionID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get concurrency of %s: %w", ref.Name, notFound(err, "Function not found: %s", ref.ARN()))
	}
	return &wire.GetFunctionConcurrencyResponse{ReservedConcurrentExecutions: f.ReservedConcurrency}, nil
}

// DeleteFunctionConcurrency reserves nothing any more.
func (p *Plane) DeleteFunctionConcurrency(ctx context.Context, in *wire.DeleteFunctionConcurrencyRequest) (*wire.NoContent, error) {
	ref, err := unqualified(ctx, in.FunctionName)
	if err != nil {
		return nil, err
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockFunction(ctx, ref.FunctionID); err != nil {
			return notFound(err, "Function not found: %s", ref.ARN())
		}
		return tx.SetReservedConcurrency(ctx, ref.FunctionID, nil)
	})
	if err != nil {
		return nil, fmt.Errorf("delete concurrency of %s: %w", ref.Name, err)
	}
	return nil, nil
}

// GetAccountSettings tells the account's limits and what it uses of them.
func (p *Plane) GetAccountSettings(ctx context.Context, _ *wire.GetAccountSettingsRequest) (*wire.GetAccountSettingsResponse, error) {
	in := scope(ctx)
	var used, functions, reserved int64
	err := p.store.View(ctx, func(tx *store.Tx) (err error) {
		if used, functions, err = tx.CodeUsage(ctx, in); err != nil {
			return err
		}
		reserved, err = tx.ReservedTotal(ctx, in, lamina.FunctionID{})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get account settings: %w", err)
	}
	return &wire.GetAccountSettingsResponse{
		AccountLimit: &wire.AccountLimit{
			TotalCodeSize: &p.limits.CodeStorage, CodeSizeUnzipped: &p.limits.Unzipped, CodeSizeZipped: &p.limits.ZippedUpload,
			ConcurrentExecutions: &p.limits.ConcurrentExecutions, UnreservedConcurrentExecutions: ptr(p.limits.ConcurrentExecutions - reserved),
		},
		AccountUsage: &wire.AccountUsage{TotalCodeSize: &used, FunctionCount: &functions},
	}, nil
}
