package control

import (
	"context"
	"fmt"

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
}

var errTooManyTags = wire.InvalidParameterValue.Errorf("Number of tags exceeds resource tag limit.")

// retag changes the tags of a resource.
func (p *Plane) retag(ctx context.Context, arn string, edit func(*store.Tx, taggable) error) error {
	r, err := tagged(ctx, arn)
	if err != nil {
		return err
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if err := r.lock(ctx, tx); err != nil {
			return err
		}
		if err := edit(tx, r); err != nil || r.touch == nil {
			return err
		}
		return r.touch(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("tag %s: %w", arn, err)
	}
	p.prepareSoon() // a version that was just settling has another revision now
	return nil
}

// TagResource adds tags to a resource and replaces those of the same key.
func (p *Plane) TagResource(ctx context.Context, in *wire.TagResourceRequest) (*wire.NoContent, error) {
	return nil, p.retag(ctx, in.Resource, func(tx *store.Tx, r taggable) error {
		if len(in.Tags) == 0 {
			return wire.InvalidParameterValue.Errorf("An error occurred and the request cannot be processed.")
		}
		have, err := tx.Tags(ctx, r.arn)
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
		return tx.SetTags(ctx, r.arn, in.Tags)
	})
}

// UntagResource removes tags by key; keys that aren't there are no error.
func (p *Plane) UntagResource(ctx context.Context, in *wire.UntagResourceRequest) (*wire.NoContent, error) {
	return nil, p.retag(ctx, in.Resource, func(tx *store.Tx, r taggable) error {
		return tx.DeleteTags(ctx, r.arn, in.TagKeys)
	})
}

// ListTags tells the tags of a resource.
func (p *Plane) ListTags(ctx context.Context, in *wire.ListTagsRequest) (*wire.ListTagsResponse, error) {
	r, err := tagged(ctx, in.Resource)
	if err != nil {
		return nil, err
	}
	out := &wire.ListTagsResponse{Tags: map[string]string{}}
	err = p.store.View(ctx, func(tx *store.Tx) error {
		if err := r.find(ctx, tx); err != nil {
			return err
		}
		tags, err := tx.Tags(ctx, r.arn)
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
