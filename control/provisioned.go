package control

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// Provisioner keeps environments of published versions initialized, ahead of
// their invocations.
type Provisioner interface {
	// Provision keeps n environments of the version initialized, whatever was
	// asked for it before; 0 releases them. It returns at once.
	Provision(v lamina.Version, n int64)
	// Provisioned tells how far they are.
	Provisioned(v lamina.Version) lamina.Provisioning
}

func (p *Plane) registerProvisioned(r *wire.Router) {
	wire.Handle(r, "PutProvisionedConcurrencyConfig", p.PutProvisionedConcurrencyConfig)
	wire.Handle(r, "GetProvisionedConcurrencyConfig", p.GetProvisionedConcurrencyConfig)
	wire.Handle(r, "DeleteProvisionedConcurrencyConfig", p.DeleteProvisionedConcurrencyConfig)
	wire.Handle(r, "ListProvisionedConcurrencyConfigs", p.ListProvisionedConcurrencyConfigs)
}

// The states of provisioned concurrency.
const (
	provisionedReady      = "READY"
	provisionedInProgress = "IN_PROGRESS"
	provisionedFailed     = "FAILED"
)

const (
	provisionedPage = 50               // entries of a page, the model's most
	provisionEvery  = 30 * time.Second // look again: another server may have changed something
)

var (
	errUnpublished       = wire.InvalidParameterValue.Errorf("Provisioned Concurrency Configs cannot be applied to unpublished function versions.")
	errNotProvisionable  = wire.InvalidParameterValue.Errorf("The function resource provided must be an alias or a published version.")
	errNoProvisioned     = wire.ProvisionedConcurrencyConfigNotFound.Errorf("No Provisioned Concurrency Config found for this function")
	errProvisionedTarget = wire.ResourceConflict.Errorf("Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version")
	errProvisionedAlias  = wire.ResourceConflict.Errorf("Version is pointed by a Provisioned Concurrency alias")
)

// provisionable finds the version or the alias that a reference names; alias is
// nil for a version.
func provisionable(ctx context.Context, tx *store.Tx, ref reference) (v lamina.Version, alias *lamina.Alias, err error) {
	if number, isNumber := lamina.ParseNumber(ref.Qualifier); isNumber {
		v, err = tx.FunctionVersion(ctx, ref.FunctionID, number)
		return v, nil, notFound(err, "Function not found: %s", ref.arn())
	}
	a, err := tx.Alias(ctx, ref.FunctionID, ref.Qualifier)
	return lamina.Version{}, &a, notFound(err, "Cannot find alias arn: %s", ref.arn())
}

// checkProvisionedAlias refuses to provision for an alias what is not published
// or provisioned already: a version has one configuration at most. It runs
// inside the function's lock.
func checkProvisionedAlias(ctx context.Context, tx *store.Tx, a lamina.Alias) error {
	if a.Target == lamina.Latest {
		return errUnpublished
	}
	all, err := tx.FunctionProvisioned(ctx, a.Function, "", maxProvisioned)
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.Qualifier == a.Name {
			continue
		}
		for version := range other.Shares() {
			if _, weighted := a.Weights[version]; version == a.Target || weighted {
				return errProvisionedTarget
			}
		}
	}
	return nil
}

// maxProvisioned bounds what is read of one function. Each configuration asks
// for one execution at least, so an account's limit is less.
const maxProvisioned = 100_000

// checkProvisionedVersion refuses a version that an alias provisions already. It
// runs inside the function's lock.
func checkProvisionedVersion(ctx context.Context, tx *store.Tx, v lamina.Version) error {
	all, err := tx.FunctionProvisioned(ctx, v.Function, "", maxProvisioned)
	if err != nil {
		return err
	}
	for _, other := range all {
		if _, pointed := other.Shares()[v.Qualifier()]; pointed && other.Alias != nil {
			return errProvisionedAlias
		}
	}
	return nil
}

// checkProvisionedTotal refuses more than the function reserves, or else than
// the account has left. It runs inside the function's lock and the usage's.
func (p *Plane) checkProvisionedTotal(ctx context.Context, tx *store.Tx, f lamina.Function, before, asked int64) error {
	others := f.ProvisionedConcurrency - before
	if f.ReservedConcurrency != nil {
		if others+asked > *f.ReservedConcurrency {
			return wire.InvalidParameterValue.Errorf("Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function")
		}
		return nil
	}
	taken, err := tx.ReservedTotal(ctx, f.ID.Scope, f.ID)
	if err != nil {
		return err
	}
	unreserved := p.limits.ConcurrentExecutions - taken - others
	if asked > unreserved {
		return wire.InvalidParameterValue.Errorf("Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [%d].", unreserved).WithoutType()
	}
	if unreserved-asked < p.limits.MinimumUnreserved {
		return wire.InvalidParameterValue.Errorf("Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [%d].", p.limits.MinimumUnreserved).WithoutType()
	}
	return nil
}

// PutProvisionedConcurrencyConfig has environments of a version, or of the
// versions of an alias, initialized ahead of invocations.
func (p *Plane) PutProvisionedConcurrencyConfig(ctx context.Context, in *wire.PutProvisionedConcurrencyConfigRequest) (*wire.PutProvisionedConcurrencyConfigResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, &in.Qualifier)
	if err != nil {
		return nil, err
	}
	if ref.Qualifier == lamina.Latest {
		return nil, errUnpublished
	}
	config := lamina.Provisioned{
		Function: ref.FunctionID, Qualifier: ref.Qualifier, Requested: in.ProvisionedConcurrentExecutions, Modified: p.now(),
	}
	var allocated int64
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		allocated = 0
		f, err := tx.LockFunction(ctx, ref.FunctionID)
		if err != nil && !missing(err) {
			return err
		}
		v, alias, err := provisionable(ctx, tx, ref)
		if err != nil {
			return err
		}
		if alias != nil {
			err = checkProvisionedAlias(ctx, tx, *alias)
		} else {
			err = checkProvisionedVersion(ctx, tx, v)
		}
		if err != nil {
			return err
		}
		before, err := tx.Provisioned(ctx, ref.FunctionID, ref.Qualifier)
		switch {
		case err == nil:
			progress, err := p.progress(ctx, tx, before)
			if err != nil {
				return err
			}
			allocated = min(progress.ready, config.Requested)
		case !missing(err):
			return err
		}
		if err := tx.LockUsage(ctx, ref.Scope); err != nil {
			return err
		}
		if err := p.checkProvisionedTotal(ctx, tx, f, before.Requested, config.Requested); err != nil {
			return err
		}
		if alias == nil {
			if err := tx.SetRevision(ctx, v, newID()); err != nil { // docs/quirks.md#revisions
				return err
			}
		}
		return tx.PutProvisioned(ctx, config)
	})
	if err != nil {
		return nil, fmt.Errorf("put provisioned concurrency of %s: %w", ref.arn(), err)
	}
	p.prepareSoon() // the version's preparation, if it is under way, has to see its new revision
	p.provisionSoon()
	return &wire.PutProvisionedConcurrencyConfigResponse{
		RequestedProvisionedConcurrentExecutions: &config.Requested,
		AvailableProvisionedConcurrentExecutions: &allocated,
		AllocatedProvisionedConcurrentExecutions: &allocated,
		Status:                                   ptr(provisionedInProgress),
		LastModified:                             ptr(timestamp(config.Modified)),
	}, nil
}

// GetProvisionedConcurrencyConfig tells how far the environments are.
func (p *Plane) GetProvisionedConcurrencyConfig(ctx context.Context, in *wire.GetProvisionedConcurrencyConfigRequest) (*wire.GetProvisionedConcurrencyConfigResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, &in.Qualifier)
	if err != nil {
		return nil, err
	}
	if ref.Qualifier == lamina.Latest {
		return nil, errNotProvisionable
	}
	var out wire.ProvisionedConcurrencyConfigListItem
	err = p.store.View(ctx, func(tx *store.Tx) error {
		if _, _, err := provisionable(ctx, tx, ref); err != nil {
			return err
		}
		config, err := tx.Provisioned(ctx, ref.FunctionID, ref.Qualifier)
		if missing(err) {
			return errNoProvisioned
		}
		if err != nil {
			return err
		}
		out, err = p.provisionedItem(ctx, tx, config)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get provisioned concurrency of %s: %w", ref.arn(), err)
	}
	return &wire.GetProvisionedConcurrencyConfigResponse{
		RequestedProvisionedConcurrentExecutions: out.RequestedProvisionedConcurrentExecutions,
		AvailableProvisionedConcurrentExecutions: out.AvailableProvisionedConcurrentExecutions,
		AllocatedProvisionedConcurrentExecutions: out.AllocatedProvisionedConcurrentExecutions,
		Status:                                   out.Status,
		StatusReason:                             out.StatusReason,
		LastModified:                             out.LastModified,
	}, nil
}

// DeleteProvisionedConcurrencyConfig lets go of the environments; a
// configuration that is not there is no error.
func (p *Plane) DeleteProvisionedConcurrencyConfig(ctx context.Context, in *wire.DeleteProvisionedConcurrencyConfigRequest) (*wire.NoContent, error) {
	ref, err := resolve(ctx, in.FunctionName, &in.Qualifier)
	if err != nil {
		return nil, err
	}
	if ref.Qualifier == lamina.Latest {
		return nil, errNotProvisionable
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockFunction(ctx, ref.FunctionID); err != nil && !missing(err) {
			return err
		}
		if _, _, err := provisionable(ctx, tx, ref); err != nil {
			return err
		}
		return tx.DeleteProvisioned(ctx, ref.FunctionID, ref.Qualifier)
	})
	if err != nil {
		return nil, fmt.Errorf("delete provisioned concurrency of %s: %w", ref.arn(), err)
	}
	p.provisionSoon()
	return nil, nil
}

// ListProvisionedConcurrencyConfigs lists those of a function.
func (p *Plane) ListProvisionedConcurrencyConfigs(ctx context.Context, in *wire.ListProvisionedConcurrencyConfigsRequest) (*wire.ListProvisionedConcurrencyConfigsResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	after, err := place(in.Marker, 1)
	if err != nil {
		return nil, err
	}
	limit := pageSize(in.MaxItems, provisionedPage, provisionedPage)
	out := &wire.ListProvisionedConcurrencyConfigsResponse{}
	err = p.store.View(ctx, func(tx *store.Tx) error {
		out.ProvisionedConcurrencyConfigs = []wire.ProvisionedConcurrencyConfigListItem{}
		if _, err := tx.Function(ctx, ref.FunctionID); err != nil {
			return err
		}
		found, err := tx.FunctionProvisioned(ctx, ref.FunctionID, after[0], limit+1)
		if err != nil {
			return err
		}
		found, more := page(found, limit)
		for _, config := range found {
			item, err := p.provisionedItem(ctx, tx, config)
			if err != nil {
				return err
			}
			out.ProvisionedConcurrencyConfigs = append(out.ProvisionedConcurrencyConfigs, item)
		}
		if more {
			out.NextMarker = marker(found[len(found)-1].Qualifier)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list provisioned concurrency of %s: %w", ref.Name, notFound(err, "Function not found: %s", ref.ARN()))
	}
	return out, nil
}

// progress is how far a configuration's environments are.
type progress struct {
	ready   int64
	failure string // a StatusReason
}

func (p *Plane) progress(ctx context.Context, tx *store.Tx, c lamina.Provisioned) (progress, error) {
	var out progress
	for qualifier, share := range c.Shares() {
		v, err := targetOf(ctx, tx, c.Function, qualifier)
		if err != nil {
			return progress{}, err
		}
		if v.Status.State == lamina.StateFailed {
			out.failure = v.Status.StateReason
			continue
		}
		state := p.provisioner.Provisioned(v)
		out.ready += min(state.Ready, share)
		if state.Ready < share && state.Failure != "" {
			out.failure = state.Failure
		}
	}
	return out, nil
}

func (p *Plane) provisionedItem(ctx context.Context, tx *store.Tx, c lamina.Provisioned) (wire.ProvisionedConcurrencyConfigListItem, error) {
	progress, err := p.progress(ctx, tx, c)
	if err != nil {
		return wire.ProvisionedConcurrencyConfigListItem{}, err
	}
	status := provisionedInProgress
	switch {
	case progress.ready == c.Requested:
		status = provisionedReady
	case progress.failure != "":
		status = provisionedFailed
	}
	return wire.ProvisionedConcurrencyConfigListItem{
		FunctionArn:                              ptr(c.ARN()),
		RequestedProvisionedConcurrentExecutions: &c.Requested,
		AvailableProvisionedConcurrentExecutions: &progress.ready,
		AllocatedProvisionedConcurrentExecutions: &progress.ready,
		Status:                                   &status,
		StatusReason:                             filled(progress.failure),
		LastModified:                             ptr(timestamp(c.Modified)),
	}, nil
}

// provisionedShare is how much of a function's provisioned concurrency is the
// version's.
func provisionedShare(ctx context.Context, tx *store.Tx, v lamina.Version) (int64, error) {
	all, err := tx.FunctionProvisioned(ctx, v.Function, "", maxProvisioned)
	if err != nil {
		return 0, err
	}
	var share int64
	for _, c := range all {
		share += c.Shares()[v.Qualifier()]
	}
	return share, nil
}

// provisionedKey tells versions apart, also those of functions that were made
// again under the same name.
type provisionedKey struct {
	function    lamina.FunctionID
	incarnation string
	number      int64
}

type provisionedVersion struct {
	lamina.Version
	n int64
}

// provisionSoon wakes KeepProvisioned.
func (p *Plane) provisionSoon() {
	select {
	case p.provisionWake <- struct{}{}:
	default: // already awake
	}
}

// KeepProvisioned has the provisioner keep what the store says until ctx ends,
// starting with what was provisioned before this process.
func (p *Plane) KeepProvisioned(ctx context.Context) error {
	tick := time.NewTicker(provisionEvery)
	defer tick.Stop()
	asked := map[provisionedKey]provisionedVersion{}
	for {
		settled := p.settled.next() // before reading: a version may become ready meanwhile
		wanted, err := p.toProvision(ctx)
		if err == nil {
			p.provision(asked, wanted)
			asked = wanted
		}
		if err != nil && ctx.Err() == nil {
			p.log.LogAttrs(ctx, slog.LevelError, "provisioned concurrency not read", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.provisionWake:
		case <-settled:
		case <-tick.C:
		}
	}
}

// provision asks for what is wanted now instead of what was asked before.
func (p *Plane) provision(before, wanted map[provisionedKey]provisionedVersion) {
	for key, v := range before {
		if _, still := wanted[key]; !still {
			p.provisioner.Provision(v.Version, 0)
		}
	}
	for _, v := range wanted {
		p.provisioner.Provision(v.Version, v.n)
	}
}

// toProvision reads how many environments each version is to have. Versions that
// are not ready yet have their turn when they settle.
func (p *Plane) toProvision(ctx context.Context) (wanted map[provisionedKey]provisionedVersion, err error) {
	err = p.store.View(ctx, func(tx *store.Tx) error {
		wanted = map[provisionedKey]provisionedVersion{}
		var last lamina.Provisioned
		for {
			configs, err := tx.AllProvisioned(ctx, last, provisionedPage)
			if err != nil || len(configs) == 0 {
				return err
			}
			for _, c := range configs {
				if err := addShares(ctx, tx, c, wanted); err != nil {
					return err
				}
			}
			last = configs[len(configs)-1]
		}
	})
	return wanted, err
}

func addShares(ctx context.Context, tx *store.Tx, c lamina.Provisioned, wanted map[provisionedKey]provisionedVersion) error {
	for qualifier, n := range c.Shares() {
		v, err := targetOf(ctx, tx, c.Function, qualifier)
		if err != nil {
			return err
		}
		if v.Status.State != lamina.StateActive {
			continue
		}
		key := provisionedKey{v.Function, v.Incarnation, v.Number}
		wanted[key] = provisionedVersion{Version: v, n: wanted[key].n + n}
	}
	return nil
}
