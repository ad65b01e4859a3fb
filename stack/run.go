package stack

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
)

const (
	stacksAtOnce = 64               // that are worked on at the same time, those nested in others aside
	stepsAtOnce  = 64               // of all stacks, unless the options say otherwise
	stepsOfStack = 32               // of one stack
	stacksEvery  = 15 * time.Second // look again, should a wake-up be lost to another server
	stackLease   = 30 * time.Second // a stack whose lease nobody renewed for so long has lost its server
	stackRenewal = 10 * time.Second
	signalsEvery = time.Second     // how soon a run hears what another server was asked
	stackGrace   = 3 * time.Second // for steps that run when the server stops
	stackAgain   = 5 * time.Second // after the database failed

	stacksKept   = 90 * 24 * time.Hour // deleted ones, and all events
	eventsKept   = 20_000              // of a stack
	prunedAtOnce = 1_000
	pruneEvery   = time.Hour

	batchWrites = 256 // in one transaction
)

var (
	errLost     = errors.New("another server works on the stack")
	errStopping = errors.New("the server is stopping")
	errChanged  = errors.New("the stack is to do something else")
)

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// newSeed returns 12 random characters of A-Z0-9.
func newSeed() string { return rand.Text()[:12] }

// write is a part of a transaction about one stack.
type write struct {
	run  *run
	fn   func(ctx context.Context, tx *store.Tx) error
	done chan error // one send, when it is durable or never will be; buffered for it
}

// refusal is the error of a write that the others of its transaction are not to
// suffer from.
type refusal struct {
	w   *write
	err error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// worker is one Run.
type worker struct {
	*Engine
	owner    string
	writes   chan *write     // runs send; the writer receives until runs have ended, and nobody closes it
	stopping chan struct{}   // closed when nothing new is to begin
	steps    chan struct{}   // holds one for each step that runs
	work     context.Context // of what runs do: its end is abrupt

	runs  map[string]*run // the loop's alone
	ended chan string     // each run sends its stack once
}

// Run works on stacks until ctx ends, starting with those that an earlier process
// left. It takes a lease on each stack, so that another server on the same
// database takes over when this one dies; where there can be no other, it takes
// over at once. When ctx ends, steps that are under way
// have a moment to end; the rest is left to the next start.
func (e *Engine) Run(ctx context.Context) error {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	w := &worker{
		Engine: e, owner: newID(), writes: make(chan *write, 4*batchWrites), stopping: make(chan struct{}),
		steps: make(chan struct{}, e.o.AtOnce), work: work, runs: map[string]*run{}, ended: make(chan string),
	}
	if e.kill != nil {
		defer context.AfterFunc(e.kill, func() { cancel(context.Cause(e.kill)) })()
	}
	if _, alone := e.o.Store.Commits(); alone && !e.shared {
		err := e.o.Store.Update(ctx, func(tx *store.Tx) error { return tx.ReleaseAllStacks(ctx, e.o.Now()) })
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("take over stacks: %w", err)
		}
	}
	idle := make(chan struct{}) // closed when the writer may end
	var children sync.WaitGroup
	children.Go(func() { w.writer(idle) })
	err := w.loop(ctx, cancel)
	close(idle)
	children.Wait()
	return err
}

// wakeUp has Run look for work.
func (e *Engine) wakeUp() {
	select {
	case e.wake <- struct{}{}:
	default: // already awake
	}
}

// poke has a run of this process look at its stack again.
func (e *Engine) poke(stack string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r, ok := e.running[stack]; ok {
		r.pokeIt()
	}
}

func (w *worker) loop(ctx context.Context, cancel context.CancelCauseFunc) error {
	renewal, signals, prune := time.NewTicker(stackRenewal), time.NewTicker(signalsEvery), time.NewTicker(pruneEvery)
	defer renewal.Stop()
	defer signals.Stop()
	defer prune.Stop()
	for {
		wait, err := w.fill(ctx)
		if err != nil && ctx.Err() == nil {
			w.o.Log.LogAttrs(ctx, slog.LevelError, "stacks not read", slog.Any("err", err))
			wait = time.Second
		}
		due := time.NewTimer(wait)
		err = nil
		renew, ask := renewal.C, signals.C
		if len(w.runs) == 0 {
			renew, ask = nil, nil // nobody is woken for nothing
		}
		select {
		case <-ctx.Done():
			due.Stop()
			return w.stop(ctx, cancel)
		case <-w.work.Done(): // killed, in a test
			due.Stop()
			w.settle(time.Hour)
			return context.Cause(w.work)
		case <-due.C:
		case <-w.wake:
		case id := <-w.ended:
			w.forget(id)
		case <-renew:
			err = w.renew(ctx)
		case <-ask:
			err = w.signalled(ctx)
		case <-prune.C:
			err = w.prune(ctx)
		}
		due.Stop()
		if err != nil && ctx.Err() == nil {
			w.o.Log.LogAttrs(ctx, slog.LevelError, "stacks not kept", slog.Any("err", err))
		}
	}
}

// fill begins with stacks that are due, and tells how long to wait for the next
// one. Stacks that are nested in others always find room, since those wait for
// them.
func (w *worker) fill(ctx context.Context) (wait time.Duration, err error) {
	for ctx.Err() == nil && w.work.Err() == nil {
		now := w.o.Now()
		var next time.Time
		err := w.o.Store.View(ctx, func(tx *store.Tx) (err error) {
			next, err = tx.NextStack(ctx)
			return err
		})
		if errors.Is(err, lamina.ErrNotFound) {
			return stacksEvery, nil
		}
		if err != nil {
			return 0, err
		}
		if next.After(now) {
			return min(next.Sub(now), stacksEvery), nil
		}
		room := stacksAtOnce
		for _, r := range w.runs {
			if !r.nested {
				room--
			}
		}
		var roots, nested []string
		err = w.o.Store.Update(ctx, func(tx *store.Tx) (err error) {
			roots = nil
			if room > 0 {
				if roots, err = tx.ClaimStacks(ctx, w.owner, now, now.Add(stackLease), false, room); err != nil {
					return err
				}
			}
			nested, err = tx.ClaimStacks(ctx, w.owner, now, now.Add(stackLease), true, prunedAtOnce)
			return err
		})
		if err != nil {
			return 0, err
		}
		for _, id := range roots {
			w.begin(id, false)
		}
		for _, id := range nested {
			w.begin(id, true)
		}
		if len(roots)+len(nested) == 0 {
			// Another server was quicker, or there is no room.
			return 10*time.Millisecond + time.Second*time.Duration(1-min(1, room)), nil
		}
	}
	return 0, ctx.Err()
}

func (w *worker) begin(id string, nested bool) {
	if r, running := w.runs[id]; running {
		r.again = true // it may be about to end
		return
	}
	select {
	case <-w.stopping:
		return
	default:
	}
	r := &run{worker: w, id: id, nested: nested, poked: make(chan struct{}, 1)}
	w.runs[id] = r
	w.mu.Lock()
	w.running[id] = r
	w.mu.Unlock()
	go func() {
		defer func() { w.ended <- id }()
		r.run()
	}()
}

func (w *worker) forget(id string) {
	r := w.runs[id]
	delete(w.runs, id)
	w.mu.Lock()
	delete(w.running, id)
	w.mu.Unlock()
	if r.again && w.work.Err() == nil {
		w.begin(id, r.nested)
	}
}

func (w *worker) renew(ctx context.Context) error {
	return w.o.Store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.RenewStacks(ctx, w.owner, w.o.Now().Add(stackLease))
		return err
	})
}

func (w *worker) signalled(ctx context.Context) error {
	var ids []string
	err := w.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		ids, err = tx.SignalledStacks(ctx, w.owner)
		return err
	})
	for _, id := range ids {
		if r, ok := w.runs[id]; ok {
			r.pokeIt()
		}
	}
	return err
}

func (w *worker) prune(ctx context.Context) error {
	for {
		var removed int64
		err := w.o.Store.Update(ctx, func(tx *store.Tx) (err error) {
			removed, err = tx.PruneStacks(ctx, w.o.Now().Add(-stacksKept), prunedAtOnce)
			return err
		})
		if err != nil || removed < prunedAtOnce {
			return err
		}
	}
}

// stop waits a moment for steps that run, and leaves the rest to others.
func (w *worker) stop(ctx context.Context, cancel context.CancelCauseFunc) error {
	close(w.stopping)
	w.settle(stackGrace)
	cancel(errStopping)
	w.settle(time.Hour) // steps listen to their contexts
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	err := w.o.Store.Update(ctx, func(tx *store.Tx) error { return tx.ReleaseStacks(ctx, w.owner, w.o.Now()) })
	if err != nil {
		return fmt.Errorf("hand stacks back: %w", err)
	}
	return nil
}

func (w *worker) settle(within time.Duration) {
	over := time.NewTimer(within)
	defer over.Stop()
	for len(w.runs) > 0 {
		select {
		case id := <-w.ended:
			w.forget(id)
		case <-over.C:
			return
		}
	}
}

// writer makes what runs write durable, in their order: what waits while a
// transaction is under way shares the next one, and its sync of the disk.
func (w *worker) writer(idle <-chan struct{}) {
	for {
		var batch []*write
		select {
		case <-idle:
			return
		case one := <-w.writes:
			batch = append(batch, one)
		}
		for more := true; more && len(batch) < batchWrites; {
			select {
			case one := <-w.writes:
				batch = append(batch, one)
			default:
				more = false
			}
		}
		w.commit(batch)
	}
}

// commit writes a batch. After a write that failed, no later one of its run is
// done: what is durable has no gaps.
func (w *worker) commit(batch []*write) {
	for len(batch) > 0 {
		batch = slices.DeleteFunc(batch, func(one *write) bool {
			if one.run.broken != nil {
				one.done <- one.run.broken
			}
			return one.run.broken != nil
		})
		err := context.Cause(w.work)
		if err == nil || errors.Is(err, errStopping) {
			err = w.transact(batch)
		}
		bad, refused := errors.AsType[*refusal](err)
		if !refused {
			for _, one := range batch {
				if err != nil {
					one.run.broken = err
				}
				one.done <- err
			}
			return
		}
		// The others did nothing wrong.
		if _, wish := errors.AsType[*failure](bad.err); !wish && !errors.Is(bad.err, errChanged) {
			bad.w.run.broken = bad.err
		}
		bad.w.done <- bad.err
		batch = slices.DeleteFunc(batch, func(one *write) bool { return one == bad.w })
	}
}

func (w *worker) transact(batch []*write) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.work), 30*time.Second)
	defer cancel()
	return w.update(ctx, func(tx *store.Tx) error {
		// Whoever locks several stacks does so in this order.
		inOrder := slices.SortedStableFunc(slices.Values(batch), func(a, b *write) int { return strings.Compare(a.run.id, b.run.id) })
		held := ""
		for _, one := range inOrder {
			if one.run.id != held {
				_, mine, err := tx.HoldStack(ctx, one.run.id, w.owner)
				if err == nil && !mine {
					err = &refusal{one, errLost}
				}
				if err != nil {
					return err
				}
				held = one.run.id
			}
			if err := one.fn(ctx, tx); err != nil {
				return &refusal{one, err}
			}
		}
		return nil
	})
}

// update is the store's, but for tests.
func (w *worker) update(ctx context.Context, fn func(*store.Tx) error) error {
	if w.gate != nil {
		return w.gate(func() error { return w.o.Store.Update(ctx, fn) })
	}
	return w.o.Store.Update(ctx, fn)
}
