package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity/policy"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// errServiceDenied is the error of a function whose policy does not let a service
// invoke it.
var errServiceDenied = errors.New("the function's policy does not allow it")

// ServiceMayInvoke returns an error when there is no function, version or alias
// with the ARN, or its policy does not let the service invoke it about the source.
func (p *Plane) ServiceMayInvoke(ctx context.Context, function string, by lamina.Source) error {
	ref, err := serviceReference(function)
	if err != nil {
		return err
	}
	return p.serviceMayInvoke(ctx, ref, by)
}

// serviceReference reads an ARN, which names a region and an account.
func serviceReference(function string) (reference, error) {
	ref, ok := lamina.ParseFunctionReference(function)
	if !ok || ref.Region == "" || ref.Account == "" {
		return reference{}, fmt.Errorf("invoke %s: it is no ARN of a function", function)
	}
	id := lamina.FunctionID{Scope: lamina.Scope{Account: ref.Account, Region: ref.Region}, Name: ref.Name}
	return reference{FunctionID: id, Qualifier: ref.Qualifier}, nil
}

func (p *Plane) serviceMayInvoke(ctx context.Context, ref reference, by lamina.Source) error {
	arn := ref.arn()
	if ref.Qualifier == lamina.Latest {
		arn = ref.ARN() // has no policy of its own
	}
	var stored lamina.Policy
	err := p.store.View(ctx, func(tx *store.Tx) (err error) {
		if _, err = version(ctx, tx, ref); err != nil {
			return err
		}
		stored, err = tx.Policy(ctx, arn)
		return ignoreMissing(err)
	})
	if err != nil {
		return fmt.Errorf("find %s: %w", arn, err)
	}
	r := policy.Request{
		Principal: policy.Principal{Kind: policy.Service, Services: []string{by.Service}},
		Action:    actionInvoke, Resource: arn, ResourceAccount: ref.Account, Time: p.now(), Context: policy.Context{},
	}
	r.Context.Set("aws:SourceArn", by.ARN)
	r.Context.Set("aws:SourceAccount", by.Account)
	if !policy.Evaluate(&r, &policy.Policies{Resource: policy.FromPolicy(stored)}).Allowed {
		return fmt.Errorf("invoke %s as %s about %s: %w", arn, by.Service, by.ARN, errServiceDenied)
	}
	return nil
}

// AcceptEvent queues an asynchronous invocation by a service. When it returns
// nil, the event is on disk, or the function is gone or does not let the service
// invoke it any more: then there is none, as at AWS.
func (p *Plane) AcceptEvent(ctx context.Context, function string, by lamina.Source, payload []byte) error {
	ref, err := serviceReference(function)
	if err != nil {
		return err
	}
	err = p.serviceMayInvoke(ctx, ref, by)
	if missing(err) || errors.Is(err, errServiceDenied) {
		p.log.LogAttrs(ctx, slog.LevelWarn, "event not accepted", slog.String("function", function), slog.String("source", by.ARN), slog.Any("err", err))
		return nil
	}
	if err != nil {
		return err
	}
	err = p.accept(wire.WithRequestID(ctx, newID()), ref, payload, "") // a request may make several events
	if wire.ResourceNotFound.Is(err) || errors.Is(err, errFailedState) {
		p.log.LogAttrs(ctx, slog.LevelWarn, "event not accepted", slog.String("function", function), slog.String("source", by.ARN), slog.Any("err", err))
		return nil
	}
	return err
}
