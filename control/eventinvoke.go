package control

import (
	"context"
	"fmt"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

func (p *Plane) registerEventInvokeConfigs(r *wire.Router) {
	wire.Handle(r, "PutFunctionEventInvokeConfig", p.PutFunctionEventInvokeConfig)
	wire.Handle(r, "UpdateFunctionEventInvokeConfig", p.UpdateFunctionEventInvokeConfig)
	wire.Handle(r, "GetFunctionEventInvokeConfig", p.GetFunctionEventInvokeConfig)
	wire.Handle(r, "DeleteFunctionEventInvokeConfig", p.DeleteFunctionEventInvokeConfig)
	wire.Handle(r, "ListFunctionEventInvokeConfigs", p.ListFunctionEventInvokeConfigs)
}

// eventInvoked resolves whose event invoke config a request is about: without a
// qualifier, $LATEST's.
func eventInvoked(ctx context.Context, name string, qualifier *string) (reference, error) {
	ref, err := resolve(ctx, name, qualifier)
	if ref.Qualifier == "" {
		ref.Qualifier = lamina.Latest
	}
	return ref, err
}

// lockEventInvoked locks the function and sees that the qualifier names
// something.
func lockEventInvoked(ctx context.Context, tx *store.Tx, ref reference) error {
	_, err := tx.LockFunction(ctx, ref.FunctionID)
	if err == nil {
		_, err = version(ctx, tx, ref)
	}
	return notFound(err, "The function doesn't exist.")
}

// noEventInvokeConfig is what a missing config is answered with.
const noEventInvokeConfig = "The function %s doesn't have an EventInvokeConfig"

// checkNothing refuses requests without any setting.
func checkNothing(retries, age *int64, destinations *wire.DestinationConfig) error {
	if retries == nil && age == nil && destinations == nil {
		return wire.InvalidParameterValue.Errorf("You must specify at least one of error handling or destination setting.")
	}
	return nil
}

// destinations reads where results go; a destination given empty is none.
func destinations(c *wire.DestinationConfig) (onSuccess, onFailure *string) {
	if c == nil {
		return nil, nil
	}
	if c.OnSuccess != nil {
		onSuccess = filled(value(c.OnSuccess.Destination))
	}
	if c.OnFailure != nil {
		onFailure = filled(value(c.OnFailure.Destination))
	}
	return onSuccess, onFailure
}

// checkDestinations refuses destinations that no result can be sent to. Functions
// must exist; what belongs to other services can't be looked up.
func checkDestinations(ctx context.Context, tx *store.Tx, id lamina.FunctionID, c *wire.DestinationConfig) error {
	onSuccess, onFailure := destinations(c)
	for _, arn := range []*string{onSuccess, onFailure} {
		if arn == nil {
			continue
		}
		switch lamina.ServiceOf(*arn) {
		case "lambda":
			if err := checkDestinationFunction(ctx, tx, id, *arn); err != nil {
				return err
			}
			continue
		case "sqs", "sns", "events":
			continue
		case "s3":
			if arn == onFailure { // documented: buckets take failures only
				continue
			}
		}
		return wire.InvalidParameterValue.Errorf("The provided destination config %s is invalid.", destinationText(c))
	}
	return nil
}

func checkDestinationFunction(ctx context.Context, tx *store.Tx, id lamina.FunctionID, arn string) error {
	invalid := wire.InvalidParameterValue.Errorf("The destination ARN %s is invalid.", arn)
	ref, ok := lamina.ParseFunctionReference(arn)
	if !ok || ref.Account != id.Account || ref.Region != id.Region {
		return invalid
	}
	target := reference{FunctionID: lamina.FunctionID{Scope: id.Scope, Name: ref.Name}, Qualifier: ref.Qualifier}
	if _, err := version(ctx, tx, target); missing(err) {
		return invalid
	} else if err != nil {
		return err
	}
	if target.FunctionID == id {
		return wire.InvalidParameterValue.Errorf("You can't specify the function as a destination for itself.")
	}
	return nil
}

// destinationText prints a config as the service prints it in its message.
func destinationText(c *wire.DestinationConfig) string {
	onSuccess, onFailure := "null", "null"
	text := func(destination *string) string {
		if destination == nil {
			return "null"
		}
		return *destination
	}
	if c.OnSuccess != nil {
		onSuccess = "OnSuccess(destination=" + text(c.OnSuccess.Destination) + ")"
	}
	if c.OnFailure != nil {
		onFailure = "OnFailure(destination=" + text(c.OnFailure.Destination) + ")"
	}
	return "DestinationConfig(onSuccess=" + onSuccess + ", onFailure=" + onFailure + ")"
}

// eventInvokeConfig is a config as answers show it: always with both
// destinations, the others where set.
func eventInvokeConfig(c lamina.EventInvokeConfig) *wire.FunctionEventInvokeConfig {
	return &wire.FunctionEventInvokeConfig{
		LastModified:             &wire.Epoch{Time: c.LastModified},
		FunctionArn:              ptr(c.ARN()),
		MaximumRetryAttempts:     c.MaximumRetries,
		MaximumEventAgeInSeconds: c.MaximumEventAge,
		DestinationConfig: &wire.DestinationConfig{
			OnSuccess: &wire.OnSuccess{Destination: c.OnSuccess}, OnFailure: &wire.OnFailure{Destination: c.OnFailure},
		},
	}
}

// PutFunctionEventInvokeConfig replaces all settings for asynchronous
// invocations.
func (p *Plane) PutFunctionEventInvokeConfig(ctx context.Context, in *wire.PutFunctionEventInvokeConfigRequest) (*wire.FunctionEventInvokeConfig, error) {
	ref, err := eventInvoked(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	if err := checkNothing(in.MaximumRetryAttempts, in.MaximumEventAgeInSeconds, in.DestinationConfig); err != nil {
		return nil, err
	}
	c := lamina.EventInvokeConfig{
		Function: ref.FunctionID, Qualifier: ref.Qualifier,
		MaximumRetries: in.MaximumRetryAttempts, MaximumEventAge: in.MaximumEventAgeInSeconds, LastModified: p.now(),
	}
	c.OnSuccess, c.OnFailure = destinations(in.DestinationConfig)
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if err := lockEventInvoked(ctx, tx, ref); err != nil {
			return err
		}
		if err := checkDestinations(ctx, tx, ref.FunctionID, in.DestinationConfig); err != nil {
			return err
		}
		return tx.PutEventInvokeConfig(ctx, c)
	})
	if err != nil {
		return nil, fmt.Errorf("put event invoke config of %s: %w", ref.arn(), err)
	}
	return eventInvokeConfig(c), nil
}

// UpdateFunctionEventInvokeConfig changes the given settings for asynchronous
// invocations and keeps the others.
func (p *Plane) UpdateFunctionEventInvokeConfig(ctx context.Context, in *wire.UpdateFunctionEventInvokeConfigRequest) (*wire.FunctionEventInvokeConfig, error) {
	ref, err := eventInvoked(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	if err := checkNothing(in.MaximumRetryAttempts, in.MaximumEventAgeInSeconds, in.DestinationConfig); err != nil {
		return nil, err
	}
	var c lamina.EventInvokeConfig
	err = p.store.Update(ctx, func(tx *store.Tx) (err error) {
		if err := lockEventInvoked(ctx, tx, ref); err != nil {
			return err
		}
		if c, err = tx.EventInvokeConfig(ctx, ref.FunctionID, ref.Qualifier); err != nil {
			return notFound(err, noEventInvokeConfig, ref.arn())
		}
		if err := checkDestinations(ctx, tx, ref.FunctionID, in.DestinationConfig); err != nil {
			return err
		}
		if in.MaximumRetryAttempts != nil {
			c.MaximumRetries = in.MaximumRetryAttempts
		}
		if in.MaximumEventAgeInSeconds != nil {
			c.MaximumEventAge = in.MaximumEventAgeInSeconds
		}
		if in.DestinationConfig != nil {
			c.OnSuccess, c.OnFailure = destinations(in.DestinationConfig)
		}
		c.LastModified = p.now()
		return tx.PutEventInvokeConfig(ctx, c)
	})
	if err != nil {
		return nil, fmt.Errorf("update event invoke config of %s: %w", ref.arn(), err)
	}
	return eventInvokeConfig(c), nil
}

// GetFunctionEventInvokeConfig tells the settings for asynchronous invocations.
func (p *Plane) GetFunctionEventInvokeConfig(ctx context.Context, in *wire.GetFunctionEventInvokeConfigRequest) (*wire.FunctionEventInvokeConfig, error) {
	ref, err := eventInvoked(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	var c lamina.EventInvokeConfig
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		c, err = tx.EventInvokeConfig(ctx, ref.FunctionID, ref.Qualifier)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get event invoke config: %w", notFound(err, noEventInvokeConfig, ref.arn()))
	}
	return eventInvokeConfig(c), nil
}

// DeleteFunctionEventInvokeConfig removes the settings for asynchronous
// invocations.
func (p *Plane) DeleteFunctionEventInvokeConfig(ctx context.Context, in *wire.DeleteFunctionEventInvokeConfigRequest) (*wire.NoContent, error) {
	ref, err := eventInvoked(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.LockFunction(ctx, ref.FunctionID)
		if err != nil {
			return err
		}
		existed, err := tx.DeleteEventInvokeConfig(ctx, ref.FunctionID, ref.Qualifier)
		if err == nil && !existed {
			err = lamina.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("delete event invoke config: %w", notFound(err, noEventInvokeConfig, ref.arn()))
	}
	return nil, nil
}

// ListFunctionEventInvokeConfigs lists a function's settings for asynchronous
// invocations, by qualifier.
func (p *Plane) ListFunctionEventInvokeConfigs(ctx context.Context, in *wire.ListFunctionEventInvokeConfigsRequest) (*wire.ListFunctionEventInvokeConfigsResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	after, err := place(in.Marker, 1)
	if err != nil {
		return nil, err
	}
	limit := pageSize(in.MaxItems, p.limits.PageDefault, p.limits.PageDefault)
	var found []lamina.EventInvokeConfig
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		if _, err := version(ctx, tx, ref); err != nil {
			return err
		}
		found, err = tx.EventInvokeConfigs(ctx, ref.FunctionID, after[0], limit+1)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list event invoke configs of %s: %w", ref.Name, notFound(err, "The function doesn't exist."))
	}
	found, more := page(found, limit)
	out := &wire.ListFunctionEventInvokeConfigsResponse{FunctionEventInvokeConfigs: make([]wire.FunctionEventInvokeConfig, 0, len(found))}
	for _, c := range found {
		out.FunctionEventInvokeConfigs = append(out.FunctionEventInvokeConfigs, *eventInvokeConfig(c))
	}
	if more {
		out.NextMarker = marker(found[len(found)-1].Qualifier)
	}
	return out, nil
}
