package control

import (
	"context"
	"log/slog"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
)

// mappingsEvery is how often mappings under way are looked for without a wake-up,
// should one be lost to a crash or another server.
const mappingsEvery = 30 * time.Second

// alarm wakes one goroutine, however often it is rung meanwhile.
type alarm chan struct{} // whoever leaves work sends without blocking; one goroutine receives; never closed

func (a alarm) soon() {
	select {
	case a <- struct{}{}:
	default: // already awake
	}
}

// runMappings settles event source mappings until ctx ends, starting with those
// that an earlier process left.
func (p *Plane) runMappings(ctx context.Context) {
	tick := time.NewTicker(mappingsEvery)
	defer tick.Stop()
	for {
		if err := p.settleMappings(ctx); err != nil && ctx.Err() == nil {
			p.log.LogAttrs(ctx, slog.LevelError, "event source mappings not settled", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-p.mappings:
		case <-tick.C:
		}
	}
}

// settleMappings gives every mapping that is under way the state that it is
// meant to have. Nothing has to be prepared for that, as nothing polls yet.
func (p *Plane) settleMappings(ctx context.Context) error {
	for ctx.Err() == nil {
		var underWay []lamina.EventSourceMapping
		err := p.store.View(ctx, func(tx *store.Tx) (err error) {
			underWay, err = tx.EventSourceMappingsUnderWay(ctx, prepareBatch)
			return err
		})
		if err != nil || len(underWay) == 0 {
			return err
		}
		for _, m := range underWay {
			err := p.store.Update(ctx, func(tx *store.Tx) error {
				// Another server may have been first: then there is nothing to do.
				_, err := tx.SettleEventSourceMapping(ctx, m, m.Settled(), p.now())
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
