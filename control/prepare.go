package control

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
)

const (
	prepareAtOnce = 2                // archives unpacked at the same time
	prepareBatch  = 64               // pending versions read at once
	prepareAhead  = 256              // layer versions that wait; more are prepared when they are used
	prepareEvery  = 30 * time.Second // look again, should a wake-up be lost to a crash or another server
)

// prepareLayerSoon has a layer version prepared that is in the store. When too
// many wait, or the process ends first, the first function that uses it does.
func (p *Plane) prepareLayerSoon(v lamina.LayerVersion) {
	if p.prepareOne == nil || v.Directory != "" {
		return
	}
	select {
	case p.published <- v:
	default:
	}
}

// prepareLayers prepares one layer version after the other until ctx ends: each
// takes all processors.
func (p *Plane) prepareLayers(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case v := <-p.published:
			if err := p.prepareOne(ctx, v); err != nil && ctx.Err() == nil {
				p.log.LogAttrs(ctx, slog.LevelWarn, "layer not prepared", slog.String("layer", v.ARN()), slog.Any("err", err))
			}
		}
	}
}

// settling lets invocations wait for a version that is being prepared.
type settling struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever a version settles
}

// next returns a channel that is closed when any version settles after the call.
func (s *settling) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

func (s *settling) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// prepareSoon wakes Run. The pending version is in the store, so that nothing is
// lost when the process ends first.
func (p *Plane) prepareSoon() {
	select {
	case p.wake <- struct{}{}:
	default: // already awake
	}
}

// Run prepares versions that are pending or being updated until ctx ends,
// starting with those that an earlier process left. It prepares layer versions and
// settles event source mappings besides.
func (p *Plane) Run(ctx context.Context) error {
	var children sync.WaitGroup
	defer children.Wait()
	children.Go(func() { p.runMappings(ctx) })
	children.Go(func() { p.prepareLayers(ctx) })
	tick := time.NewTicker(prepareEvery)
	defer tick.Stop()
	for {
		if err := p.preparePending(ctx); err != nil && ctx.Err() == nil {
			p.log.LogAttrs(ctx, slog.LevelError, "pending versions not read", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		case <-tick.C:
		}
	}
}

// preparePending settles every version that is under way.
func (p *Plane) preparePending(ctx context.Context) error {
	for ctx.Err() == nil {
		var versions []lamina.Version
		err := p.store.View(ctx, func(tx *store.Tx) (err error) {
			versions, err = tx.PendingVersions(ctx, prepareBatch)
			return err
		})
		if err != nil {
			return err
		}
		var settled int64
		var mu sync.Mutex
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(prepareAtOnce)
		for _, v := range versions {
			group.Go(func() error {
				changed, err := p.settle(groupCtx, v)
				if changed {
					mu.Lock()
					settled++
					mu.Unlock()
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		if settled == 0 {
			return nil // nothing left, or nothing that can be settled now
		}
	}
	return nil
}

// settle prepares one version and records how that went, unless the version
// changed meanwhile. $LATEST gets a new revision, a published version keeps its
// own (docs/quirks.md#revisions).
func (p *Plane) settle(ctx context.Context, v lamina.Version) (changed bool, err error) {
	status := lamina.Status{State: lamina.StateActive, LastUpdate: lamina.UpdateSuccessful}
	if err := p.invoker.Prepare(ctx, v); err != nil {
		if ctx.Err() != nil {
			return false, nil // stopping; the version stays pending for the next start
		}
		p.log.LogAttrs(ctx, slog.LevelWarn, "version not prepared", slog.String("version", v.ARN()), slog.Any("err", err))
		status = failed(v.Status)
	}
	revision := v.RevisionID
	if v.Number == 0 {
		revision = newID()
	}
	err = p.store.Update(ctx, func(tx *store.Tx) (err error) {
		changed, err = tx.SetStatus(ctx, v, status, revision)
		return err
	})
	if err != nil {
		return false, err
	}
	p.settled.announce()
	return changed, nil
}

// failed is the status of a version whose archives can't be used.
func failed(before lamina.Status) lamina.Status {
	const reason, code = "The function's code or one of its layers could not be unpacked.", "InvalidZipFileException"
	if before.State == lamina.StatePending {
		return lamina.Status{State: lamina.StateFailed, StateReason: reason, StateReasonCode: code}
	}
	return lamina.Status{State: lamina.StateActive, LastUpdate: lamina.UpdateFailed, LastUpdateReason: reason, LastUpdateReasonCode: code}
}
