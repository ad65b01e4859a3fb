package control

import (
	"context"
	"fmt"
	"sync"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/identity/policy"
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
	policy *policy.Document
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
		stored, err := tx.Policy(ctx, u.ARN())
		u.policy = policy.FromPolicy(stored)
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
// and lambda:InvokeFunction.
func (p *Plane) Permits(ctx context.Context, u ServedURL, c *identity.Caller) (bool, error) {
	if c != nil && c.IsRoot() && c.Account == u.Function.Account {
		return true, nil
	}
	for _, action := range []string{actionInvokeURL, actionInvoke} {
		n := identity.Need{Action: action, Resource: u.ARN(), Account: u.Function.Account, Policy: u.ARN()}
		n.Set("lambda:FunctionUrlAuthType", u.AuthType)
		n.Set("lambda:InvokedViaFunctionUrl", "true")
		if c == nil {
			r := policy.Request{Action: n.Action, Resource: n.Resource, ResourceAccount: n.Account, Time: p.now(), Context: n.Context}
			if !policy.Evaluate(&r, &policy.Policies{Resource: u.policy}).Allowed {
				return false, nil
			}
			continue
		}
		err := p.authority.Permit(ctx, *c, n)
		if wire.AccessDenied.Is(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// InvokeURL runs the function of a URL, and returns when it has ended.
func (p *Plane) InvokeURL(ctx context.Context, u ServedURL, in URLRequest) (lamina.Result, error) {
	ref, invocation, release, err := p.urlInvocation(ctx, u, in)
	if err != nil {
		return lamina.Result{}, err
	}
	defer release()
	result, err := p.run(ctx, invocation, 0)
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
