package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/lamina-run/lamina"
)

// Backlog is how much is queued for one account and region.
type Backlog struct {
	Events int64
	Bytes  int64 // of payloads and client contexts
}

// InsertEvent queues an event, to be run at its Accepted time. It fails with
// lamina.ErrBusy, and the caller must not commit, when the account and region
// would have more than limit; with ErrExists if the request is known.
func (tx *Tx) InsertEvent(ctx context.Context, e lamina.Event, limit Backlog) error {
	if err := tx.insertEvent(ctx, e, limit); err != nil {
		return fmt.Errorf("insert event %s: %w", e.RequestID, err)
	}
	return nil
}

func (tx *Tx) insertEvent(ctx context.Context, e lamina.Event, limit Backlog) error {
	id := e.Function
	err := tx.insert(ctx, `INSERT INTO event (request_id, account, region, function, qualifier, payload, client_context,
			accepted, attempts, deferrals, due, owner, condition, finished, trace)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $8, '', '', NULL, $11)
		ON CONFLICT DO NOTHING`,
		e.RequestID, id.Account, id.Region, id.Name, e.Qualifier, string(e.Payload), e.ClientContext,
		toMillis(e.Accepted), e.Attempts, e.Deferrals, e.TraceID)
	if err != nil {
		return err
	}
	// Last: from here to the commit, others wait who queue for the same account.
	now, err := tx.addBacklog(ctx, id.Scope, 1, eventBytes(e))
	if err != nil {
		return err
	}
	if now.Events > limit.Events || now.Bytes > limit.Bytes {
		return fmt.Errorf("%d events, %d bytes queued: %w", now.Events, now.Bytes, lamina.ErrBusy)
	}
	return nil
}

func eventBytes(e lamina.Event) int64 { return int64(len(e.Payload) + len(e.ClientContext)) }

func (tx *Tx) addBacklog(ctx context.Context, in lamina.Scope, events, bytes int64) (now Backlog, err error) {
	err = tx.one(ctx, func(r scanner) error { return r.Scan(&now.Events, &now.Bytes) },
		`INSERT INTO event_backlog (account, region, events, bytes) VALUES ($1, $2, $3, $4)
		ON CONFLICT (account, region) DO UPDATE SET
			events = event_backlog.events + excluded.events, bytes = event_backlog.bytes + excluded.bytes
		RETURNING events, bytes`,
		in.Account, in.Region, events, bytes)
	if err != nil {
		return Backlog{}, fmt.Errorf("count backlog: %w", err)
	}
	return now, nil
}

// EventBacklog tells how much is queued for an account and region.
func (tx *Tx) EventBacklog(ctx context.Context, in lamina.Scope) (now Backlog, err error) {
	err = tx.one(ctx, func(r scanner) error { return r.Scan(&now.Events, &now.Bytes) },
		"SELECT events, bytes FROM event_backlog WHERE account = $1 AND region = $2", in.Account, in.Region)
	if err != nil && !errors.Is(err, lamina.ErrNotFound) {
		return Backlog{}, fmt.Errorf("backlog of %s in %s: %w", in.Account, in.Region, err)
	}
	return now, nil
}

const eventColumns = `request_id, account, region, function, qualifier, payload, client_context, accepted, attempts, deferrals,
	trace, executed, function_error, response`

func scanEvent(r scanner, e *lamina.Event, more ...any) error {
	var payload, response string
	var accepted int64
	id := &e.Function
	dest := []any{
		&e.RequestID, &id.Account, &id.Region, &id.Name, &e.Qualifier, &payload, &e.ClientContext, &accepted, &e.Attempts, &e.Deferrals,
		&e.TraceID, &e.Last.ExecutedVersion, &e.Last.FunctionError, &response,
	}
	if err := r.Scan(append(dest, more...)...); err != nil {
		return err
	}
	e.Payload, e.Accepted = []byte(payload), fromMillis(accepted)
	if response != "" {
		e.Last.Payload = []byte(response)
	}
	return nil
}

// ClaimEvents makes owner the one who runs the events that have been due the
// longest, at most limit of them, and makes them due again at until. Events of
// the function except, which may be none, wait. Two owners never get the same
// event.
func (tx *Tx) ClaimEvents(ctx context.Context, owner string, now, until time.Time, except lamina.FunctionID, limit int) ([]lamina.Event, error) {
	var all []lamina.Event
	// The outer due is what decides: PostgreSQL reads it again when it has waited
	// for another owner's commit.
	err := tx.each(ctx, func(r scanner) error {
		var e lamina.Event
		if err := scanEvent(r, &e); err != nil {
			return err
		}
		all = append(all, e)
		return nil
	}, `UPDATE event SET owner = $1, due = $2
		WHERE finished IS NULL AND due <= $3 AND request_id IN (
			SELECT request_id FROM event WHERE finished IS NULL AND due <= $3
				AND NOT (account = $4 AND region = $5 AND function = $6)
			ORDER BY due, request_id LIMIT $7)
		RETURNING `+eventColumns,
		owner, toMillis(until), toMillis(now), except.Account, except.Region, except.Name, limit)
	if err != nil {
		return nil, fmt.Errorf("claim events: %w", err)
	}
	return all, nil
}

// NextEvent tells when the next event is due, those that run included and those
// of the function except left out, or ErrNotFound when there is none.
func (tx *Tx) NextEvent(ctx context.Context, except lamina.FunctionID) (time.Time, error) {
	var due int64
	err := tx.one(ctx, func(r scanner) error { return r.Scan(&due) },
		`SELECT due FROM event WHERE finished IS NULL
			AND NOT (account = $1 AND region = $2 AND function = $3)
		ORDER BY due, request_id LIMIT 1`,
		except.Account, except.Region, except.Name)
	if err != nil {
		return time.Time{}, fmt.Errorf("next event: %w", err)
	}
	return fromMillis(due), nil
}

// RenewEvents keeps others from the events that owner runs until another time.
func (tx *Tx) RenewEvents(ctx context.Context, owner string, until time.Time) error {
	err := tx.exec(ctx, "UPDATE event SET due = $2 WHERE owner = $1 AND owner <> '' AND finished IS NULL", owner, toMillis(until))
	if err != nil {
		return fmt.Errorf("renew events of %s: %w", owner, err)
	}
	return nil
}

// ReleaseEvents lets others run, from now on, the events that owner has.
func (tx *Tx) ReleaseEvents(ctx context.Context, owner string, now time.Time) error {
	err := tx.exec(ctx, "UPDATE event SET due = $2, owner = '' WHERE owner = $1 AND owner <> '' AND finished IS NULL", owner, toMillis(now))
	if err != nil {
		return fmt.Errorf("release events of %s: %w", owner, err)
	}
	return nil
}

// PutBackEvent makes an event due at another time, with its attempts, deferrals
// and last result as they are in e. changed is false when owner has lost it.
func (tx *Tx) PutBackEvent(ctx context.Context, e lamina.Event, owner string, due time.Time) (changed bool, err error) {
	changed, err = tx.change(ctx, `UPDATE event SET due = $3, owner = '', attempts = $4, deferrals = $5,
			executed = $6, function_error = $7, response = $8
		WHERE request_id = $1 AND owner = $2 AND finished IS NULL`,
		e.RequestID, owner, toMillis(due), e.Attempts, e.Deferrals,
		e.Last.ExecutedVersion, e.Last.FunctionError, string(e.Last.Payload))
	if err != nil {
		return false, fmt.Errorf("put back event %s: %w", e.RequestID, err)
	}
	return changed, nil
}

// FinishEvent says how an event ended, with its attempts as they are in e, and
// drops its payload and response. changed is false when owner has lost it.
func (tx *Tx) FinishEvent(ctx context.Context, e lamina.Event, owner string, condition lamina.EventCondition, at time.Time) (changed bool, err error) {
	changed, err = tx.change(ctx, `UPDATE event SET condition = $3, finished = $4, attempts = $5, owner = '', payload = '', client_context = '',
			response = ''
		WHERE request_id = $1 AND owner = $2 AND finished IS NULL`,
		e.RequestID, owner, string(condition), toMillis(at), e.Attempts)
	if err == nil && changed {
		_, err = tx.addBacklog(ctx, e.Function.Scope, -1, -eventBytes(e))
	}
	if err != nil {
		return false, fmt.Errorf("finish event %s: %w", e.RequestID, err)
	}
	return changed, nil
}

// EventState is how far an event has come.
type EventState struct {
	lamina.Event
	Due       time.Time
	Owner     string                // who runs it, or empty
	Condition lamina.EventCondition // empty while it is not over
	Finished  time.Time             // zero while it is not over
}

// Event returns an event, or ErrNotFound.
func (tx *Tx) Event(ctx context.Context, requestID string) (s EventState, err error) {
	var due int64
	var finished sql.NullInt64
	err = tx.one(ctx, func(r scanner) error {
		return scanEvent(r, &s.Event, &due, &s.Owner, &s.Condition, &finished)
	}, "SELECT "+eventColumns+", due, owner, condition, finished FROM event WHERE request_id = $1", requestID)
	if err != nil {
		return EventState{}, fmt.Errorf("event %s: %w", requestID, err)
	}
	s.Due = fromMillis(due)
	if finished.Valid {
		s.Finished = fromMillis(finished.Int64)
	}
	return s, nil
}

// PruneEvents forgets events that finished before a time, and the oldest of
// those beyond keep, at most limit in one call; it tells how many. Those that
// finished in one millisecond go together.
func (tx *Tx) PruneEvents(ctx context.Context, before time.Time, keep, limit int) (removed int64, err error) {
	oldest := toMillis(before)
	var beyond int64
	err = tx.one(ctx, func(r scanner) error { return r.Scan(&beyond) },
		"SELECT finished FROM event WHERE finished IS NOT NULL ORDER BY finished DESC, request_id DESC LIMIT 1 OFFSET $1", keep)
	switch {
	case err == nil:
		oldest = max(oldest, beyond+1)
	case !errors.Is(err, lamina.ErrNotFound):
		return 0, fmt.Errorf("prune events: %w", err)
	}
	res, err := tx.result(ctx, `DELETE FROM event WHERE request_id IN (
			SELECT request_id FROM event WHERE finished IS NOT NULL AND finished < $1
			ORDER BY finished, request_id LIMIT $2)`, []any{oldest, limit})
	if err != nil {
		return 0, fmt.Errorf("prune events: %w", err)
	}
	if removed, err = res.RowsAffected(); err != nil {
		return 0, fmt.Errorf("prune events: %w", err)
	}
	return removed, nil
}
