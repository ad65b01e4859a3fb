package control

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// inFlight counts the invocations of this process.
type inFlight struct {
	mu          sync.Mutex
	provisioned map[provisionedKey]int64    // in the concurrency that is provisioned for a version
	functions   map[lamina.FunctionID]int64 // beyond that, of functions that reserve some
	scopes      map[lamina.Scope]int64      // beyond that, of functions that reserve none
	rates       map[lamina.FunctionID]rate  // of functions that reserve some; without a name, of the others of a scope
}

// rate is a bucket of requests that may still come at once.
type rate struct {
	left float64
	at   time.Time
}

// maxRates bounds how many buckets are remembered.
const maxRates = 4096

func newInFlight() inFlight {
	return inFlight{
		provisioned: map[provisionedKey]int64{}, functions: map[lamina.FunctionID]int64{}, scopes: map[lamina.Scope]int64{},
		rates: map[lamina.FunctionID]rate{},
	}
}

// take counts one request against a rate per second, of which a second's worth may
// come at once, and reports whether there was room.
func (f *inFlight) take(key lamina.FunctionID, perSecond float64, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, known := f.rates[key]
	if passed := now.Sub(r.at); known && passed > 0 {
		r.left = min(r.left+passed.Seconds()*perSecond, perSecond)
	} else if !known {
		r.left = perSecond
	}
	r.at = now
	if !known && len(f.rates) >= maxRates {
		for k, other := range f.rates {
			if now.Sub(other.at) >= time.Second { // it is full again
				delete(f.rates, k)
			}
		}
	}
	ok := r.left >= 1
	if ok {
		r.left--
	}
	f.rates[key] = r
	return ok
}

// acquire counts one invocation, or refuses it. The first place it looks for is
// what is provisioned for the version; what does not fit there counts against
// what the function reserves and has not provisioned, or when it reserves
// nothing, against the unreserved concurrency of the account. The caller calls
// release when the invocation is over.
func (f *inFlight) acquire(v runnable, unreserved int64) (release func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := provisionedKey{v.Function, v.Incarnation, v.Number}
	if v.provisioned > 0 && f.provisioned[key] < v.provisioned {
		return count(f, f.provisioned, key), nil
	}
	if reserved := v.function.ReservedConcurrency; reserved != nil {
		if f.functions[v.Function] >= *reserved-v.function.ProvisionedConcurrency {
			return nil, errThrottled("ReservedFunctionConcurrentInvocationLimitExceeded")
		}
		return count(f, f.functions, v.Function), nil
	}
	if f.scopes[v.Function.Scope] >= unreserved {
		return nil, errThrottled("ConcurrentInvocationLimitExceeded")
	}
	return count(f, f.scopes, v.Function.Scope), nil
}

// count raises a counter until release. It wants f.mu.
func count[K comparable](f *inFlight, counters map[K]int64, key K) (release func()) {
	counters[key]++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if counters[key]--; counters[key] == 0 {
			delete(counters, key)
		}
	}
}

// enter counts one synchronous invocation of a version, or refuses it: one too
// many at a time, or within a second. Release it as [inFlight.acquire] says.
func (p *Plane) enter(ctx context.Context, v runnable) (release func(), err error) {
	release, err = p.occupy(ctx, v)
	if wire.TooManyRequests.Is(err) {
		p.meter.Throttle(v.Function)
	}
	if err != nil || p.limits.RequestRate == 0 {
		return release, err
	}
	key, concurrency, reason := lamina.FunctionID{Scope: v.Function.Scope}, p.limits.ConcurrentExecutions, "FunctionInvocationRateLimitExceeded"
	if reserved := v.function.ReservedConcurrency; reserved != nil {
		key, concurrency, reason = v.Function, *reserved, "ReservedFunctionInvocationRateLimitExceeded"
	}
	if !p.concurrency.take(key, float64(concurrency*p.limits.RequestRate), p.now()) {
		release()
		p.meter.Throttle(v.Function)
		return nil, errThrottled(reason)
	}
	return release, nil
}

// occupy counts one invocation of a version, or refuses it; see [inFlight.acquire].
func (p *Plane) occupy(ctx context.Context, v runnable) (release func(), err error) {
	// So much no function can take from the others; the exact number is read only
	// when it matters.
	sure := min(p.limits.MinimumUnreserved, p.limits.ConcurrentExecutions)
	release, err = p.concurrency.acquire(v, sure)
	if err == nil || v.function.ReservedConcurrency != nil {
		return release, err
	}
	var taken int64
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		taken, err = tx.ReservedTotal(ctx, v.Function.Scope, lamina.FunctionID{})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read reserved concurrency: %w", err)
	}
	return p.concurrency.acquire(v, p.limits.ConcurrentExecutions-taken)
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
		f, err := tx.LockFunction(ctx, ref.FunctionID)
		if err != nil {
			return notFound(err, "Function not found: %s", ref.QualifiedARN(lamina.Latest))
		}
		if err := tx.LockUsage(ctx, ref.Scope); err != nil {
			return err
		}
		others, err := tx.ReservedTotal(ctx, ref.Scope, ref.FunctionID)
		if err != nil {
			return err
		}
		if p.limits.ConcurrentExecutions-others-in.ReservedConcurrentExecutions < p.limits.MinimumUnreserved {
			return wire.InvalidParameterValue.Errorf("Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [%d].", p.limits.MinimumUnreserved).WithoutType()
		}
		if in.ReservedConcurrentExecutions < f.ProvisionedConcurrency { // the blanks are AWS's (recorded)
			return wire.InvalidParameterValue.Errorf(" ReservedConcurrentExecutions  %d should not be lower than function's total provisioned concurrency [%d].",
				in.ReservedConcurrentExecutions, f.ProvisionedConcurrency).WithoutType()
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
