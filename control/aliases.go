package control

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// weights reads a RoutingConfig; nil means one version only.
func weights(c *wire.AliasRoutingConfiguration) map[string]float64 {
	if c == nil || len(c.AdditionalVersionWeights) == 0 {
		return nil
	}
	return c.AdditionalVersionWeights
}

// checkAlias refuses routing that no alias can have, then versions that don't
// exist. It runs inside the function's lock, so that they stay.
func checkAlias(ctx context.Context, tx *store.Tx, a lamina.Alias) error {
	if len(a.Weights) > 1 {
		return wire.InvalidParameterValue.Errorf("Number of items in AdditionalVersionWeights cannot be greater than 1")
	}
	for additional := range a.Weights {
		if additional == a.Target {
			return wire.InvalidParameterValue.Errorf("Invalid function version %s. Function version %s is already included in routing configuration.", additional, additional)
		}
		if a.Target == lamina.Latest {
			return wire.InvalidParameterValue.Errorf("$LATEST is not supported for an alias pointing to more than 1 version").WithoutType()
		}
	}
	targets := []string{a.Target}
	for additional := range maps.Keys(a.Weights) {
		targets = append(targets, additional)
	}
	for _, target := range targets {
		if _, err := targetOf(ctx, tx, a.Function, target); err != nil {
			return notFound(err, "Function not found: %s", a.Function.QualifiedARN(target))
		}
	}
	return nil
}

// CreateAlias names a version, or two with a weight.
func (p *Plane) CreateAlias(ctx context.Context, in *wire.CreateAliasRequest) (*wire.AliasConfiguration, error) {
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	a := lamina.Alias{
		Function: ref.FunctionID, Name: in.Name, Target: in.FunctionVersion, Description: value(in.Description),
		RevisionID: newID(), Weights: weights(in.RoutingConfig),
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockFunction(ctx, a.Function); err != nil {
			return notFound(err, "Function not found: %s", a.Function.QualifiedARN(a.Target))
		}
		if err := checkAlias(ctx, tx, a); err != nil {
			return err
		}
		err := tx.InsertAlias(ctx, a)
		if errors.Is(err, lamina.ErrExists) {
			return wire.ResourceConflict.Errorf("Alias already exists: %s", a.ARN())
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create alias %s: %w", a.ARN(), err)
	}
	return aliasConfiguration(a), nil
}

// GetAlias describes an alias.
func (p *Plane) GetAlias(ctx context.Context, in *wire.GetAliasRequest) (*wire.AliasConfiguration, error) {
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	var a lamina.Alias
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		a, err = tx.Alias(ctx, ref.FunctionID, in.Name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get alias %s: %w", in.Name, notFound(err, "Cannot find alias arn: %s", ref.QualifiedARN(in.Name)))
	}
	return aliasConfiguration(a), nil
}

// UpdateAlias changes what is given; every update makes a new revision.
func (p *Plane) UpdateAlias(ctx context.Context, in *wire.UpdateAliasRequest) (*wire.AliasConfiguration, error) {
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	var a lamina.Alias
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		gone := func(err error) error { return notFound(err, "Alias not found: %s", ref.QualifiedARN(in.Name)) }
		if _, err := tx.LockFunction(ctx, ref.FunctionID); err != nil {
			return gone(err)
		}
		var err error
		if a, err = tx.Alias(ctx, ref.FunctionID, in.Name); err != nil {
			return gone(err)
		}
		if in.RevisionId != nil && *in.RevisionId != a.RevisionID {
			return errStale("GetFunction/GetAlias")
		}
		set(&a.Target, in.FunctionVersion)
		set(&a.Description, in.Description)
		if in.RoutingConfig != nil {
			a.Weights = weights(in.RoutingConfig)
		}
		if err := checkAlias(ctx, tx, a); err != nil {
			return err
		}
		if _, err := tx.Provisioned(ctx, ref.FunctionID, a.Name); err == nil {
			err = checkProvisionedAlias(ctx, tx, a)
			if err != nil {
				return err
			}
		} else if !missing(err) {
			return err
		}
		a.RevisionID = newID()
		return tx.PutAlias(ctx, a)
	})
	if err != nil {
		return nil, fmt.Errorf("update alias %s: %w", in.Name, err)
	}
	p.provisionSoon() // what is provisioned for the alias follows it
	return aliasConfiguration(a), nil
}

// DeleteAlias removes an alias; a missing one is no error.
func (p *Plane) DeleteAlias(ctx context.Context, in *wire.DeleteAliasRequest) (*wire.NoContent, error) {
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockFunction(ctx, ref.FunctionID); err != nil {
			return ignoreMissing(err)
		}
		_, err := tx.DeleteAlias(ctx, ref.FunctionID, in.Name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("delete alias %s: %w", in.Name, err)
	}
	p.provisionSoon()
	return nil, nil
}

// ListAliases lists a function's aliases by name, those of one version when a
// version is given.
func (p *Plane) ListAliases(ctx context.Context, in *wire.ListAliasesRequest) (*wire.ListAliasesResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	after, err := place(in.Marker, 1)
	if err != nil {
		return nil, err
	}
	limit := pageSize(in.MaxItems, p.limits.PageDefault, p.limits.PageDefault)
	var found []lamina.Alias
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		if _, err := tx.Function(ctx, ref.FunctionID); err != nil {
			return err
		}
		found, err = tx.Aliases(ctx, ref.FunctionID, value(in.FunctionVersion), after[0], limit+1)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list aliases of %s: %w", ref.Name, notFound(err, "Function not found: %s", ref.ARN()))
	}
	found, more := page(found, limit)
	out := &wire.ListAliasesResponse{Aliases: make([]wire.AliasConfiguration, 0, len(found))}
	for _, a := range found {
		out.Aliases = append(out.Aliases, *aliasConfiguration(a))
	}
	if more {
		out.NextMarker = marker(found[len(found)-1].Name)
	}
	return out, nil
}
