package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
)

// Queues sends messages to SQS.
type Queues interface {
	// Send fails with a *lamina.QueueError when SQS refuses the message. After any
	// other error the message may have arrived.
	Send(ctx context.Context, m lamina.Message) error
}

const (
	deliveriesAtOnce = 16               // of one service
	deliveryLease    = 90 * time.Second // longer than any Send takes
	deliveryEvery    = 30 * time.Second // look again, should a wake-up be lost to a crash or another server
)

// delivers are the services of targets that something is delivered to.
var delivers = []string{"lambda", "sqs"}

// deliveryAlarm wakes the loops of RunEvents that deliver: whoever queues a
// delivery sends without blocking, they receive; never closed.
type deliveryAlarm map[string]chan struct{}

func newDeliveryAlarm() deliveryAlarm {
	a := deliveryAlarm{}
	for _, service := range delivers {
		a[service] = make(chan struct{}, 1)
	}
	return a
}

func (a deliveryAlarm) ring() {
	for _, wake := range a {
		select {
		case wake <- struct{}{}:
		default: // already awake
		}
	}
}

// finish records how an event ended, and what its destination and its dead-letter
// target are to be told, in one transaction.
func (p *Plane) finish(ctx context.Context, tx *store.Tx, e lamina.Event, owner string, condition lamina.EventCondition, policy lamina.EventPolicy) (queued int, err error) {
	now := p.now()
	changed, err := tx.FinishEvent(ctx, e, owner, condition, now)
	if err != nil || !changed {
		return 0, err
	}
	all, err := p.deliveries(ctx, tx, e, condition, policy, now)
	if err != nil {
		return 0, err
	}
	for _, d := range all {
		reason := p.undeliverable(d)
		if condition == lamina.EventRecursiveLoop && loops(d) {
			reason = "the target is in the loop, too"
		}
		if reason == "" {
			err := tx.InsertDelivery(ctx, d, store.Backlog{Events: p.limits.QueuedEvents, Bytes: p.limits.QueuedEventBytes})
			if !errors.Is(err, lamina.ErrBusy) {
				if err != nil {
					return 0, err
				}
				queued++
				continue
			}
			reason = "too many deliveries wait: " + err.Error()
		}
		p.logUndelivered(ctx, d, reason)
	}
	return queued, nil
}

// deliveries are the messages about the end of an event.
func (p *Plane) deliveries(ctx context.Context, tx *store.Tx, e lamina.Event, condition lamina.EventCondition, policy lamina.EventPolicy, now time.Time) (all []lamina.Delivery, err error) {
	trace, _ := lamina.Trace(e.TraceID, e.Function, now)
	base := lamina.Delivery{RequestID: e.RequestID, Function: e.Function, Qualifier: e.Qualifier, TraceID: trace, Created: now}
	if target := policy.Destination(condition); target != "" {
		d := base
		d.ID, d.Kind = newID(), lamina.ToDestination
		d.Message = lamina.Message{Target: target, Body: e.Record(condition, now)}
		all = append(all, d)
	}
	if condition == lamina.EventSuccess || condition == lamina.EventFunctionGone {
		return all, nil
	}
	v, err := version(ctx, tx, reference{FunctionID: e.Function, Qualifier: e.Qualifier})
	if err != nil {
		return all, ignoreMissing(err)
	}
	if target := value(v.Config.DeadLetterTarget); target != "" {
		d := base
		d.ID, d.Kind = newID(), lamina.ToDeadLetters
		d.Message.Target = target
		d.Message.Body, d.Message.Attributes = e.DeadLetter(condition)
		all = append(all, d)
	}
	return all, nil
}

// undeliverable says why a message can't be delivered by this server at all.
func (p *Plane) undeliverable(d lamina.Delivery) string {
	switch service := d.Message.Service(); {
	case service == "sqs" && p.queues == nil:
		return "this server has no SQS: start it with --sqs-endpoint"
	case service != "lambda" && service != "sqs":
		return "Lamina delivers to Lambda functions and SQS queues only"
	case int64(len(d.Message.Body)) > p.limits.EventPayload:
		return fmt.Sprintf("%d bytes are more than a target takes (%d)", len(d.Message.Body), p.limits.EventPayload)
	}
	return ""
}

// loops reports whether the target is a function that the chain of invocations
// has run often enough: told about the loop's end, it would only go on.
func loops(d lamina.Delivery) bool {
	ref, ok := lamina.ParseFunctionReference(d.Message.Target)
	if !ok || d.Message.Service() != "lambda" {
		return false
	}
	_, visits := lamina.Trace(d.TraceID, lamina.FunctionID{Scope: d.Function.Scope, Name: ref.Name}, d.Created)
	return visits >= lamina.MostVisits
}

// logUndelivered says that a message is given up: what AWS counts as a metric.
func (p *Plane) logUndelivered(ctx context.Context, d lamina.Delivery, reason string) {
	p.log.LogAttrs(ctx, slog.LevelWarn, "event record dropped",
		slog.String("metric", string(d.Kind)), slog.String("request_id", d.RequestID),
		slog.String("function", d.Function.QualifiedARN(d.Qualifier)), slog.String("target", d.Message.Target),
		slog.Int("attempts", d.Attempts), slog.String("reason", reason))
}

// runDeliveries delivers what waits for a service until ctx ends. A message that
// was claimed by a process that died is sent again by whoever finds it due: it
// arrives at least once.
func (p *Plane) runDeliveries(ctx context.Context, service string) {
	owner := newID()
	for {
		wait, err := p.deliverDue(ctx, service, owner)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			p.log.LogAttrs(ctx, slog.LevelError, "deliveries not read", slog.Any("err", err))
			wait = time.Second
		}
		due := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-due.C:
		case <-p.deliveryWake[service]:
		}
		due.Stop()
	}
	// Those that were claimed and not sent.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := p.store.Update(ctx, func(tx *store.Tx) error { return tx.ReleaseDeliveries(ctx, owner, p.now()) })
	if err != nil {
		p.log.LogAttrs(ctx, slog.LevelError, "deliveries not handed back", slog.Any("err", err))
	}
}

// deliverDue delivers what is due, some at a time, and tells how long to wait for
// the next one.
func (p *Plane) deliverDue(ctx context.Context, service, owner string) (wait time.Duration, err error) {
	for ctx.Err() == nil {
		now := p.now()
		var next time.Time
		err := p.store.View(ctx, func(tx *store.Tx) (err error) {
			next, err = tx.NextDelivery(ctx, service)
			return err
		})
		if missing(err) {
			return deliveryEvery, nil
		}
		if err != nil {
			return 0, err
		}
		if next.After(now) {
			return min(next.Sub(now), deliveryEvery), nil
		}
		var claimed []lamina.Delivery
		err = p.store.Update(ctx, func(tx *store.Tx) (err error) {
			claimed, err = tx.ClaimDeliveries(ctx, service, owner, now, now.Add(deliveryLease), deliveriesAtOnce)
			return err
		})
		if err != nil {
			return 0, err
		}
		var sending sync.WaitGroup
		for _, d := range claimed {
			sending.Go(func() { p.deliver(ctx, owner, d) })
		}
		sending.Wait()
		if len(claimed) == 0 {
			return 10 * time.Millisecond, nil // another server was quicker
		}
	}
	return 0, ctx.Err()
}

// errUndeliverable says that a message would never arrive.
type errUndeliverable string

func (e errUndeliverable) Error() string { return string(e) }

// deliver sends one message and records how that went.
func (p *Plane) deliver(ctx context.Context, owner string, d lamina.Delivery) {
	var err error
	if reason := p.undeliverable(d); reason != "" {
		err = errUndeliverable(reason)
	} else if d.Message.Service() == "lambda" {
		var done bool
		if done, err = p.deliverEvent(ctx, owner, d); done {
			return
		}
	} else if err = p.checkQueue(ctx, d); err == nil {
		err = p.queues.Send(ctx, d.Message)
	}
	if ctx.Err() != nil && err != nil {
		return // handed back
	}
	now := p.now()
	again := time.Duration(0)
	if err != nil {
		d.Attempts++
		again = jittered(p.deliveryDelay(d.Attempts))
		_, never := errors.AsType[errUndeliverable](err)
		if refused, ok := errors.AsType[*lamina.QueueError](err); ok {
			never = never || refused.Final
		}
		if never || now.Add(again).After(d.Created.Add(lamina.DeliveryLife)) {
			p.logUndelivered(ctx, d, err.Error())
			err = nil
		} else {
			level := slog.LevelDebug
			if d.Attempts == 1 { // the others say the same
				level = slog.LevelWarn
			}
			p.log.LogAttrs(ctx, level, "event record not delivered",
				slog.String("request_id", d.RequestID), slog.String("function", d.Function.QualifiedARN(d.Qualifier)),
				slog.String("target", d.Message.Target), slog.Duration("again", again), slog.Any("err", err))
		}
	}
	recordErr := p.store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		var lost error
		if err != nil {
			_, lost = tx.PutBackDelivery(ctx, d, owner, now.Add(again))
		} else {
			_, lost = tx.RemoveDelivery(context.WithoutCancel(ctx), d, owner)
		}
		return lost
	})
	if recordErr != nil && ctx.Err() == nil {
		// It stays leased, and is sent again when the lease is over.
		p.log.LogAttrs(ctx, slog.LevelError, "delivery not recorded", slog.String("request_id", d.RequestID), slog.Any("err", recordErr))
	}
}

// checkQueue refuses queues of another account that is here, too: Lamina sends
// with the operator's key, which may all, and not with the function's role.
func (p *Plane) checkQueue(ctx context.Context, d lamina.Delivery) error {
	parts := strings.SplitN(d.Message.Target, ":", 6)
	if len(parts) < 6 || parts[4] == d.Function.Account {
		return nil
	}
	err := p.store.View(ctx, func(tx *store.Tx) error {
		_, err := tx.Account(ctx, parts[4])
		return err
	})
	if err == nil {
		return errUndeliverable("the queue is another account's")
	}
	return ignoreMissing(err)
}

// deliverEvent queues an event for the function that is the target. The message
// goes and the event comes in one transaction, so that it is invoked for it once.
// done says that nothing is left to record.
func (p *Plane) deliverEvent(ctx context.Context, owner string, d lamina.Delivery) (done bool, err error) {
	ref, ok := lamina.ParseFunctionReference(d.Message.Target)
	if !ok || ref.Account != d.Function.Account || ref.Region != d.Function.Region {
		return false, errUndeliverable("the target is no function of this account and region")
	}
	target := reference{FunctionID: lamina.FunctionID{Scope: d.Function.Scope, Name: ref.Name}, Qualifier: ref.Qualifier}
	e := lamina.Event{
		RequestID: d.ID, Function: target.FunctionID, Qualifier: target.Qualifier,
		Payload: d.Message.Body, Accepted: p.now(), TraceID: d.TraceID,
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := version(ctx, tx, target); err != nil {
			return err
		}
		if ours, err := tx.RemoveDelivery(ctx, d, owner); err != nil || !ours {
			return err
		}
		return tx.InsertEvent(ctx, e, store.Backlog{Events: p.limits.QueuedEvents, Bytes: p.limits.QueuedEventBytes})
	})
	if missing(err) {
		return false, errUndeliverable("the function does not exist")
	}
	if err != nil {
		return false, err
	}
	p.wakeEvents()
	return true, nil
}
