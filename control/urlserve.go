package control

import (
	"context"
	"fmt"
	"sync"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// URLRequest is one request to a function URL, as the function sees it.
type URLRequest struct {
	Payload []byte // the event
	TraceID string
}

// ServedURL is a function URL and who may use it.
type ServedURL struct {
	lamina.FunctionURL
	policy lamina.Policy
}

// recentURLs remembers URLs since the store last changed; see recent.
type recentURLs struct {
	mu      sync.RWMutex
	commits uint64
	known   map[string]ServedURL
}

func (r *recentURLs) find(commits uint64, id string) (ServedURL, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.commits != commits {
		return ServedURL{}, false
	}
	u, ok := r.known[id]
	return u, ok
}

func (r *recentURLs) keep(commits uint64, u ServedURL) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if commits < r.commits {
		return
	}
	if r.known == nil || commits > r.commits || len(r.known) >= maxRecent {
		r.known, r.commits = map[string]ServedURL{}, commits
	}
	r.known[u.ID] = u
}

// ServedURL finds a function URL by its ID. The error is lamina.ErrNotFound when
// there is none.
func (p *Plane) ServedURL(ctx context.Context, id string) (ServedURL, error) {
	commits, alone := p.store.Commits()
	if alone {
		if u, ok := p.urls.find(commits, id); ok {
			return u, nil
		}
	}
	var u ServedURL
	err := p.store.View(ctx, func(tx *store.Tx) (err error) {
		if u.FunctionURL, err = tx.FunctionURLByID(ctx, id); err != nil {
			return err
		}
		u.policy, err = tx.Policy(ctx, u.ARN())
		return ignoreMissing(err)
	})
	if err != nil {
		return ServedURL{}, fmt.Errorf("find a function url: %w", err)
	}
	if alone {
		p.urls.keep(commits, u)
	}
	return u, nil
}

// Permits reports whether the caller, nil for a stranger, may use the URL. It
// takes both permissions, as AWS does since October 2025: lambda:InvokeFunctionUrl
// and lambda:InvokeFunction. A caller of the function's own account needs no
// policy, because Lamina's callers have all of their account's rights.
func (u ServedURL) Permits(c *identity.Caller) bool {
	if c != nil && c.Account == u.Function.Account {
		return true
	}
	a := lamina.Access{Context: map[string]string{
		"lambda:functionurlauthtype":   u.AuthType,
		"lambda:invokedviafunctionurl": "true",
	}}
	if c != nil {
		a.ARN, a.Account = c.ARN, c.Account
	}
	for _, a.Action = range []string{"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"} {
		if !u.policy.Allows(a) {
			return false
		}
	}
	return true
}

// InvokeURL runs the function of a URL, and returns when it has ended.
func (p *Plane) InvokeURL(ctx context.Context, u ServedURL, in URLRequest) (lamina.Result, error) {
	ref, invocation, release, err := p.urlInvocation(ctx, u, in)
	if err != nil {
		return lamina.Result{}, err
	}
	defer release()
	result, err := p.invoker.Invoke(ctx, invocation)
	if err != nil {
		return lamina.Result{}, p.invokeError(ref, err)
	}
	return result, nil
}

// StreamURL runs the function of a URL, and returns when its response begins or
// it has ended without one.
func (p *Plane) StreamURL(ctx context.Context, u ServedURL, in URLRequest) (*Response, error) {
	ref, invocation, release, err := p.urlInvocation(ctx, u, in)
	if err != nil {
		return nil, err
	}
	r, err := p.respond(ctx, invocation, release)
	if err != nil {
		return nil, p.invokeError(ref, err)
	}
	return r, nil
}

func (p *Plane) urlInvocation(ctx context.Context, u ServedURL, in URLRequest) (reference, lamina.Invocation, func(), error) {
	ref := reference{FunctionID: u.Function, Qualifier: u.Qualifier}
	if n := int64(len(in.Payload)); n > p.limits.RequestPayload {
		return ref, lamina.Invocation{}, nil, wire.RequestEntityTooLarge.Errorf("Request must be smaller than %d bytes for the InvokeFunction operation", p.limits.RequestPayload)
	}
	v, err := p.invocable(ctx, ref)
	if err != nil {
		return ref, lamina.Invocation{}, nil, err
	}
	trace, err := p.trace(ctx, v, in.TraceID)
	if err != nil {
		return ref, lamina.Invocation{}, nil, err
	}
	release, err := p.enter(ctx, v)
	if err != nil {
		return ref, lamina.Invocation{}, nil, err
	}
	return ref, lamina.Invocation{
		RequestID: wire.RequestID(ctx), Version: v.Version, InvokedARN: ref.arn(), Payload: in.Payload, TraceID: trace,
	}, release, nil
}

// RequestLimit is how large the body of a request to a function URL may be.
func (p *Plane) RequestLimit() int64 { return p.limits.RequestPayload }
