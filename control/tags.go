package control

import (
	"context"
	"fmt"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

func (p *Plane) registerSettings(r *wire.Router) {
	wire.Handle(r, "TagResource", p.TagResource)
	wire.Handle(r, "UntagResource", p.UntagResource)
	wire.Handle(r, "ListTags", p.ListTags)
	wire.Handle(r, "PutFunctionConcurrency", p.PutFunctionConcurrency)
	wire.Handle(r, "GetFunctionConcurrency", p.GetFunctionConcurrency)
	wire.Handle(r, "DeleteFunctionConcurrency", p.DeleteFunctionConcurrency)
	wire.Handle(r, "GetAccountSettings", p.GetAccountSettings)
	wire.Handle(r, "GetFunctionCodeSigningConfig", p.GetFunctionCodeSigningConfig)
	wire.Handle(r, "GetFunctionEventInvokeConfig", p.GetFunctionEventInvokeConfig)
	wire.Handle(r, "GetFunctionUrlConfig", p.GetFunctionUrlConfig)
}

var errTooManyTags = wire.InvalidParameterValue.Errorf("Number of tags exceeds resource tag limit.")

// tagged resolves the ARN of a function whose tags a request is about.
func tagged(ctx context.Context, arn string) (lamina.FunctionID, error) {
	if !strings.Contains(arn, ":function:") {
		return lamina.FunctionID{}, wire.InvalidParameterValue.Errorf("Lamina keeps tags of functions only; %s is none.", arn)
	}
	ref, err := resolve(ctx, arn, nil)
	if err != nil {
		return lamina.FunctionID{}, err
	}
	if ref.Qualifier != "" {
		return lamina.FunctionID{}, wire.InvalidParameterValue.Errorf("Tags on function aliases and versions are not supported. Please specify a function ARN.")
	}
	return ref.FunctionID, nil
}

// retag changes the tags of a function, which gives $LATEST a new revision.
func (p *Plane) retag(ctx context.Context, arn string, edit func(*store.Tx, lamina.FunctionID) error) error {
	id, err := tagged(ctx, arn)
	if err != nil {
		return err
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockFunction(ctx, id); err != nil {
			return notFound(err, "Function not found: %s", id.ARN())
		}
		if err := edit(tx, id); err != nil {
			return err
		}
		latest, err := tx.FunctionVersion(ctx, id, 0)
		if err != nil {
			return err
		}
		latest.RevisionID = newID()
		return tx.PutFunctionVersion(ctx, latest)
	})
	if err != nil {
		return fmt.Errorf("tag %s: %w", arn, err)
	}
	return nil
}

// TagResource adds tags to a function and replaces those of the same key.
func (p *Plane) TagResource(ctx context.Context, in *wire.TagResourceRequest) (*wire.NoContent, error) {
	return nil, p.retag(ctx, in.Resource, func(tx *store.Tx, id lamina.FunctionID) error {
		if len(in.Tags) == 0 {
			return wire.InvalidParameterValue.Errorf("An error occurred and the request cannot be processed.")
		}
		have, err := tx.Tags(ctx, id.ARN())
		if err != nil {
			return err
		}
		count := len(have)
		for key := range in.Tags {
			if _, replaced := have[key]; !replaced {
				count++
			}
		}
		if count > p.limits.TagsPerResource {
			return errTooManyTags
		}
		return tx.SetTags(ctx, id.ARN(), in.Tags)
	})
}

// UntagResource removes tags by key; keys that aren't there are no error.
func (p *Plane) UntagResource(ctx context.Context, in *wire.UntagResourceRequest) (*wire.NoContent, error) {
	return nil, p.retag(ctx, in.Resource, func(tx *store.Tx, id lamina.FunctionID) error {
		return tx.DeleteTags(ctx, id.ARN(), in.TagKeys)
	})
}

// ListTags tells the tags of a function.
func (p *Plane) ListTags(ctx context.Context, in *wire.ListTagsRequest) (*wire.ListTagsResponse, error) {
	id, err := tagged(ctx, in.Resource)
	if err != nil {
		return nil, err
	}
	out := &wire.ListTagsResponse{Tags: map[string]string{}}
	err = p.store.View(ctx, func(tx *store.Tx) error {
		if _, err := tx.Function(ctx, id); err != nil {
			return notFound(err, "Function not found: %s", id.ARN())
		}
		tags, err := tx.Tags(ctx, id.ARN())
		if len(tags) > 0 {
			out.Tags = tags
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", in.Resource, err)
	}
	return out, nil
}

// GetFunctionCodeSigningConfig tells that no code signing configuration is
// attached: none can be made yet.
func (p *Plane) GetFunctionCodeSigningConfig(ctx context.Context, in *wire.GetFunctionCodeSigningConfigRequest) (*wire.GetFunctionCodeSigningConfigResponse, error) {
	if _, _, err := p.found(ctx, in.FunctionName, nil); err != nil {
		return nil, err
	}
	return &wire.GetFunctionCodeSigningConfigResponse{}, nil
}

// GetFunctionEventInvokeConfig tells that there is none: none can be made yet.
func (p *Plane) GetFunctionEventInvokeConfig(ctx context.Context, in *wire.GetFunctionEventInvokeConfigRequest) (*wire.FunctionEventInvokeConfig, error) {
	ref, err := resolve(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	if ref.Qualifier == "" {
		ref.Qualifier = lamina.Latest
	}
	return nil, wire.ResourceNotFound.Errorf("The function %s doesn't have an EventInvokeConfig", ref.arn())
}

// GetFunctionUrlConfig tells that there is none: none can be made yet.
func (p *Plane) GetFunctionUrlConfig(ctx context.Context, in *wire.GetFunctionUrlConfigRequest) (*wire.GetFunctionUrlConfigResponse, error) {
	if _, err := resolve(ctx, in.FunctionName, in.Qualifier); err != nil {
		return nil, err
	}
	return nil, wire.ResourceNotFound.Errorf("The resource you requested does not exist.")
}
