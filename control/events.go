package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

const (
	eventsAtOnce = 64               // events run at the same time, unless the options say otherwise
	eventsEvery  = 30 * time.Second // look again, should a wake-up be lost to a crash or another server
	eventLease   = 30 * time.Second // an event that nobody renewed for so long has lost its server
	eventRenewal = 10 * time.Second
	eventGrace   = 3 * time.Second // for events that run when the server stops

	eventsKept     = time.Hour // how long the end of an event is remembered
	eventsRetained = 10_000    // and of how many
	prunedAtOnce   = 1_000
	pruneEvery     = time.Minute
)

func (p *Plane) registerEvents(r *wire.Router) {
	wire.Handle(r, "InvokeAsync", p.InvokeAsync)
}

// InvokeAsync is the deprecated form of Invoke with the invocation type Event.
func (p *Plane) InvokeAsync(ctx context.Context, in *wire.InvokeAsyncRequest) (*wire.InvokeAsyncResponse, error) {
	_, err := p.Invoke(ctx, &wire.InvocationRequest{FunctionName: in.FunctionName, InvocationType: ptr("Event"), Payload: in.InvokeArgs})
	if err != nil {
		return nil, err
	}
	return &wire.InvokeAsyncResponse{Status: ptr[int64](202)}, nil
}

// accept queues an event. When it returns nil, the event is on disk.
func (p *Plane) accept(ctx context.Context, ref reference, payload []byte, clientContext string) error {
	v, err := p.drawn(ctx, ref)
	if err != nil {
		return err
	}
	if v.Status.State == lamina.StateFailed {
		return errFailedState
	}
	id := wire.RequestID(ctx)
	if id == "" {
		id = newID()
	}
	e := lamina.Event{
		RequestID: id, Function: ref.FunctionID, Qualifier: ref.Qualifier,
		Payload: payload, ClientContext: clientContext, Accepted: p.now(), TraceID: lamina.TraceOf(wire.TraceID(ctx), p.now()),
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		return tx.InsertEvent(ctx, e, store.Backlog{Events: p.limits.QueuedEvents, Bytes: p.limits.QueuedEventBytes})
	})
	if errors.Is(err, lamina.ErrBusy) {
		return errThrottled("CallerRateLimitExceeded")
	}
	if err != nil {
		return fmt.Errorf("queue an event for %s: %w", ref.arn(), err)
	}
	wire.RecordOf(ctx).Trace = e.TraceID
	p.meter.ReceiveEvent(ref.FunctionID)
	p.wakeEvents()
	return nil
}

func (p *Plane) wakeEvents() {
	select {
	case p.eventsWake <- struct{}{}:
	default: // already awake
	}
}

// RunEvents runs queued events until ctx ends, starting with those that an
// earlier process left. Events are due at a time that the store knows; who runs
// one renews its lease, so that it runs elsewhere when this process dies, and
// may then run twice, as AWS warns. When ctx ends, events that run have a moment
// to end; the others are handed back and count as not tried. An Invoker that
// runs functions to their end may outlive RunEvents; what it then returns is
// dropped. It also delivers what destinations and dead-letter targets are to be
// told about the ends of events.
func (p *Plane) RunEvents(ctx context.Context) error {
	var children sync.WaitGroup
	defer children.Wait()
	for _, service := range delivers {
		children.Go(func() { p.runDeliveries(ctx, service) })
	}
	runs, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	q := &eventQueue{
		Plane: p, owner: newID(), runs: runs, cancel: cancel,
		running: map[string]lamina.FunctionID{}, functions: map[lamina.FunctionID]int{},
		ended: make(chan string, p.eventsAtOnce),
	}
	return q.run(ctx)
}

var errEventsStopped = errors.New("the server is stopping")

// eventQueue is one RunEvents. Its fields are the loop's alone.
type eventQueue struct {
	*Plane
	owner  string          // of the leases
	runs   context.Context // of the invocations
	cancel context.CancelCauseFunc

	running   map[string]lamina.FunctionID // by request
	functions map[lamina.FunctionID]int    // how many of running
	ended     chan string                  // each run sends its request once; buffered for all
}

func (q *eventQueue) run(ctx context.Context) error {
	renewal := time.NewTicker(eventRenewal)
	defer renewal.Stop()
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	for {
		wait, err := q.fill(ctx)
		if err != nil && ctx.Err() == nil {
			q.log.LogAttrs(ctx, slog.LevelError, "queued events not read", slog.Any("err", err))
			wait = time.Second
		}
		due := time.NewTimer(wait)
		err = nil
		select {
		case <-ctx.Done():
			due.Stop()
			return q.stop(ctx)
		case <-due.C:
		case <-q.eventsWake:
		case id := <-q.ended:
			q.forget(id)
		case <-renewal.C:
			err = q.renew(ctx)
		case <-prune.C:
			err = q.prune(ctx)
		}
		due.Stop()
		if err != nil && ctx.Err() == nil {
			q.log.LogAttrs(ctx, slog.LevelError, "queued events not kept", slog.Any("err", err))
		}
	}
}

// fill runs due events while there is room, and tells how long to wait for the
// next one. No function gets more than half of the room, so that a slow one
// does not hold up the rest.
func (q *eventQueue) fill(ctx context.Context) (wait time.Duration, err error) {
	for ctx.Err() == nil {
		room := q.eventsAtOnce - len(q.running)
		if room == 0 {
			return eventsEvery, nil
		}
		share, busiest := max(q.eventsAtOnce/2, 1), 0
		var full lamina.FunctionID
		for id, n := range q.functions {
			if n >= share {
				full = id
			} else {
				busiest = max(busiest, n)
			}
		}
		now := q.now()
		var next time.Time
		err := q.store.View(ctx, func(tx *store.Tx) (err error) {
			next, err = tx.NextEvent(ctx, full)
			return err
		})
		if missing(err) {
			return eventsEvery, nil
		}
		if err != nil {
			return 0, err
		}
		if next.After(now) {
			return min(next.Sub(now), eventsEvery), nil
		}
		var claimed []lamina.Event
		err = q.store.Update(ctx, func(tx *store.Tx) (err error) {
			claimed, err = tx.ClaimEvents(ctx, q.owner, now, now.Add(eventLease), full, min(room, share-busiest))
			return err
		})
		if err != nil {
			return 0, err
		}
		for _, e := range claimed {
			if _, running := q.running[e.RequestID]; running {
				continue // the lease ran out, and we took it again
			}
			q.running[e.RequestID] = e.Function
			q.functions[e.Function]++
			go func() {
				defer func() { q.ended <- e.RequestID }()
				q.try(q.runs, q.owner, e)
			}()
		}
		if len(claimed) == 0 {
			return 10 * time.Millisecond, nil // another server was quicker
		}
	}
	return 0, ctx.Err()
}

func (q *eventQueue) forget(id string) {
	f := q.running[id]
	delete(q.running, id)
	if q.functions[f]--; q.functions[f] == 0 {
		delete(q.functions, f)
	}
}

func (q *eventQueue) renew(ctx context.Context) error {
	if len(q.running) == 0 {
		return nil
	}
	return q.store.Update(ctx, func(tx *store.Tx) error {
		return tx.RenewEvents(ctx, q.owner, q.now().Add(eventLease))
	})
}

func (q *eventQueue) prune(ctx context.Context) error {
	for {
		var removed int64
		err := q.store.Update(ctx, func(tx *store.Tx) (err error) {
			removed, err = tx.PruneEvents(ctx, q.now().Add(-eventsKept), eventsRetained, prunedAtOnce)
			return err
		})
		if err != nil || removed < prunedAtOnce {
			return err
		}
	}
}

// stop waits a moment for what runs, and hands the rest back.
func (q *eventQueue) stop(ctx context.Context) error {
	q.settle(eventGrace)
	q.cancel(errEventsStopped)
	q.settle(time.Second) // those that listen
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := q.store.Update(ctx, func(tx *store.Tx) error { return tx.ReleaseEvents(ctx, q.owner, q.now()) })
	if err != nil {
		return fmt.Errorf("hand events back: %w", err)
	}
	return nil
}

func (q *eventQueue) settle(within time.Duration) {
	over := time.NewTimer(within)
	defer over.Stop()
	for len(q.running) > 0 {
		select {
		case id := <-q.ended:
			q.forget(id)
		case <-over.C:
			return
		}
	}
}

// try runs an event once and records how that went. Nothing is recorded once ctx
// has ended: then the event belongs to somebody else.
func (p *Plane) try(ctx context.Context, owner string, e lamina.Event) {
	policy, err := p.eventPolicy(ctx, e)
	var condition lamina.EventCondition
	var wait time.Duration
	if err == nil {
		condition, wait, err = p.attempt(ctx, &e, policy)
	}
	if ctx.Err() != nil {
		return
	}
	attrs := []slog.Attr{slog.String("request_id", e.RequestID), slog.String("function", e.InvokedARN()), slog.Int("attempts", e.Attempts)}
	if err != nil {
		e.Deferrals++
		wait = jittered(lamina.EventDeferral(e.Deferrals))
		if !wire.TooManyRequests.Is(err) {
			p.log.LogAttrs(ctx, slog.LevelWarn, "event not run", append(attrs, slog.Duration("again", wait), slog.Any("err", err))...)
		}
	}
	now := p.now()
	queued := 0
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		var err error
		if condition == "" {
			_, err = tx.PutBackEvent(ctx, e, owner, e.Next(now, wait, policy))
		} else {
			queued, err = p.finish(ctx, tx, e, owner, condition, policy)
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		// It stays leased, and runs again when the lease is over.
		p.log.LogAttrs(ctx, slog.LevelError, "event not recorded", append(attrs, slog.Any("err", err))...)
		return
	}
	if queued > 0 {
		p.deliveryWake.ring()
	}
	switch condition {
	case "", lamina.EventSuccess:
	default:
		p.meter.DropEvent(e.Function)
		p.log.LogAttrs(ctx, slog.LevelWarn, "event dropped", append(attrs, slog.String("condition", string(condition)))...)
	}
}

// attempt runs an event unless it is too old or may not run. It counts the
// attempt in e. Without a condition and an error, the event is to be retried
// after the wait; an error says why it could not be run at all.
func (p *Plane) attempt(ctx context.Context, e *lamina.Event, policy lamina.EventPolicy) (_ lamina.EventCondition, wait time.Duration, err error) {
	if e.Expired(p.now(), policy) {
		return lamina.EventAgeExceeded, 0, nil
	}
	ref := reference{FunctionID: e.Function, Qualifier: e.Qualifier}
	v, err := p.invocable(ctx, ref)
	if wire.ResourceNotFound.Is(err) {
		return lamina.EventFunctionGone, 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	if reserved := v.function.ReservedConcurrency; reserved != nil && *reserved == 0 {
		return lamina.EventZeroReservedConcurrency, 0, nil
	}
	trace, err := p.trace(ctx, v, e.TraceID)
	if wire.RecursiveInvocation.Is(err) {
		return lamina.EventRecursiveLoop, 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	release, err := p.occupy(ctx, v)
	if wire.TooManyRequests.Is(err) {
		p.meter.Throttle(v.Function)
	}
	if err != nil {
		return "", 0, err
	}
	defer release()
	result, err := p.run(ctx, lamina.Invocation{
		RequestID: e.RequestID, Version: v.Version, InvokedARN: ref.arn(), Payload: e.Payload, ClientContext: e.ClientContext,
		TraceID: trace,
	}, max(p.now().Sub(e.Accepted), 1)) // an event has an age
	if err != nil {
		return "", 0, p.invokeError(ref, err)
	}
	e.Attempts++
	e.Deferrals = 0
	e.Last = lamina.ResultOf(v.Version, result, p.limits.EventPayload)
	switch {
	case result.FunctionError == "":
		return lamina.EventSuccess, 0, nil
	case e.Attempts > policy.MaximumRetryAttempts:
		return lamina.EventRetriesExhausted, 0, nil
	default:
		return "", p.eventRetryDelay(e.Attempts), nil
	}
}

// eventPolicy is what the event invoke config of the invoked function, version
// or alias says, AWS's defaults where it says nothing.
func (p *Plane) eventPolicy(ctx context.Context, e lamina.Event) (lamina.EventPolicy, error) {
	policy := lamina.DefaultEventPolicy()
	qualifier := cmp.Or(e.Qualifier, lamina.Latest)
	var c lamina.EventInvokeConfig
	err := p.store.View(ctx, func(tx *store.Tx) (err error) {
		c, err = tx.EventInvokeConfig(ctx, e.Function, qualifier)
		return err
	})
	if err != nil {
		return policy, ignoreMissing(err)
	}
	if c.MaximumRetries != nil {
		policy.MaximumRetryAttempts = int(*c.MaximumRetries)
	}
	if c.MaximumEventAge != nil {
		policy.MaximumAge = time.Duration(*c.MaximumEventAge) * time.Second
	}
	policy.OnSuccess, policy.OnFailure = value(c.OnSuccess), value(c.OnFailure)
	return policy, nil
}

// jittered spreads what was refused together.
func jittered(d time.Duration) time.Duration { return d + time.Duration(rand.Int64N(int64(d)/4+1)) }
