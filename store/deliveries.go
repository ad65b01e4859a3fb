package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lamina-run/lamina"
)

// InsertDelivery queues a message about an event's end, to be sent when it was
// created. It fails with lamina.ErrBusy, and has queued nothing, when the account
// and region would have more than limit.
func (tx *Tx) InsertDelivery(ctx context.Context, d lamina.Delivery, limit Backlog) error {
	if err := tx.insertDelivery(ctx, d, limit); err != nil {
		return fmt.Errorf("insert delivery to %s: %w", d.Message.Target, err)
	}
	return nil
}

func (tx *Tx) insertDelivery(ctx context.Context, d lamina.Delivery, limit Backlog) error {
	now, err := tx.addDeliveries(ctx, d.Function.Scope, 1, int64(len(d.Message.Body)))
	if err != nil {
		return err
	}
	if now.Events > limit.Events || now.Bytes > limit.Bytes {
		if _, err := tx.addDeliveries(ctx, d.Function.Scope, -1, -int64(len(d.Message.Body))); err != nil {
			return err
		}
		return fmt.Errorf("%d messages, %d bytes queued: %w", now.Events, now.Bytes, lamina.ErrBusy)
	}
	attributes, err := toJSON(d.Message.Attributes)
	if err != nil {
		return err
	}
	id := d.Function
	return tx.insert(ctx, `INSERT INTO delivery (id, kind, request_id, account, region, function, qualifier, service, target,
			body, attributes, trace, created, attempts, due, owner)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $13, '')
		ON CONFLICT DO NOTHING`,
		d.ID, string(d.Kind), d.RequestID, id.Account, id.Region, id.Name, d.Qualifier, d.Message.Service(), d.Message.Target,
		string(d.Message.Body), attributes, d.TraceID, toMillis(d.Created), d.Attempts)
}

func (tx *Tx) addDeliveries(ctx context.Context, in lamina.Scope, deliveries, bytes int64) (now Backlog, err error) {
	err = tx.one(ctx, func(r scanner) error { return r.Scan(&now.Events, &now.Bytes) },
		`INSERT INTO delivery_backlog (account, region, deliveries, bytes) VALUES ($1, $2, $3, $4)
		ON CONFLICT (account, region) DO UPDATE SET
			deliveries = delivery_backlog.deliveries + excluded.deliveries, bytes = delivery_backlog.bytes + excluded.bytes
		RETURNING deliveries, bytes`,
		in.Account, in.Region, deliveries, bytes)
	if err != nil {
		return Backlog{}, fmt.Errorf("count deliveries: %w", err)
	}
	return now, nil
}

const deliveryColumns = `id, kind, request_id, account, region, function, qualifier, target, body, attributes, trace, created, attempts`

func scanDelivery(r scanner, d *lamina.Delivery, more ...any) error {
	var body, attributes string
	var created int64
	id := &d.Function
	dest := []any{
		&d.ID, &d.Kind, &d.RequestID, &id.Account, &id.Region, &id.Name, &d.Qualifier, &d.Message.Target,
		&body, &attributes, &d.TraceID, &created, &d.Attempts,
	}
	if err := r.Scan(append(dest, more...)...); err != nil {
		return err
	}
	d.Message.Body, d.Created = []byte(body), fromMillis(created)
	return json.Unmarshal([]byte(attributes), &d.Message.Attributes)
}

// ClaimDeliveries makes owner the one who sends the messages to a service that
// have been due the longest, at most limit of them, and makes them due again at
// until. Two owners never get the same message.
func (tx *Tx) ClaimDeliveries(ctx context.Context, service, owner string, now, until time.Time, limit int) ([]lamina.Delivery, error) {
	var all []lamina.Delivery
	// The outer due is what decides; see ClaimEvents.
	err := tx.each(ctx, func(r scanner) error {
		var d lamina.Delivery
		if err := scanDelivery(r, &d); err != nil {
			return err
		}
		all = append(all, d)
		return nil
	}, `UPDATE delivery SET owner = $2, due = $3
		WHERE due <= $4 AND id IN (
			SELECT id FROM delivery WHERE service = $1 AND due <= $4
			ORDER BY due, id LIMIT $5)
		RETURNING `+deliveryColumns,
		service, owner, toMillis(until), toMillis(now), limit)
	if err != nil {
		return nil, fmt.Errorf("claim deliveries: %w", err)
	}
	return all, nil
}

// NextDelivery tells when the next message to a service is due, or ErrNotFound
// when there is none.
func (tx *Tx) NextDelivery(ctx context.Context, service string) (time.Time, error) {
	var due int64
	err := tx.one(ctx, func(r scanner) error { return r.Scan(&due) },
		"SELECT due FROM delivery WHERE service = $1 ORDER BY due, id LIMIT 1", service)
	if err != nil {
		return time.Time{}, fmt.Errorf("next delivery: %w", err)
	}
	return fromMillis(due), nil
}

// PutBackDelivery makes a message due at another time, with its attempts as they
// are in d. changed is false when owner has lost it.
func (tx *Tx) PutBackDelivery(ctx context.Context, d lamina.Delivery, owner string, due time.Time) (changed bool, err error) {
	changed, err = tx.change(ctx, "UPDATE delivery SET due = $3, owner = '', attempts = $4 WHERE id = $1 AND owner = $2",
		d.ID, owner, toMillis(due), d.Attempts)
	if err != nil {
		return false, fmt.Errorf("put back delivery %s: %w", d.ID, err)
	}
	return changed, nil
}

// RemoveDelivery forgets a message that has arrived or is given up. changed is
// false when owner has lost it.
func (tx *Tx) RemoveDelivery(ctx context.Context, d lamina.Delivery, owner string) (changed bool, err error) {
	changed, err = tx.change(ctx, "DELETE FROM delivery WHERE id = $1 AND owner = $2", d.ID, owner)
	if err == nil && changed {
		_, err = tx.addDeliveries(ctx, d.Function.Scope, -1, -int64(len(d.Message.Body)))
	}
	if err != nil {
		return false, fmt.Errorf("remove delivery %s: %w", d.ID, err)
	}
	return changed, nil
}

// ReleaseDeliveries lets others send, from now on, the messages that owner has.
func (tx *Tx) ReleaseDeliveries(ctx context.Context, owner string, now time.Time) error {
	err := tx.exec(ctx, "UPDATE delivery SET due = $2, owner = '' WHERE owner = $1 AND owner <> ''", owner, toMillis(now))
	if err != nil {
		return fmt.Errorf("release deliveries of %s: %w", owner, err)
	}
	return nil
}

// DeliveryBacklog tells how much waits to be delivered for an account and region.
func (tx *Tx) DeliveryBacklog(ctx context.Context, in lamina.Scope) (now Backlog, err error) {
	err = tx.one(ctx, func(r scanner) error { return r.Scan(&now.Events, &now.Bytes) },
		"SELECT deliveries, bytes FROM delivery_backlog WHERE account = $1 AND region = $2", in.Account, in.Region)
	if err != nil && !errors.Is(err, lamina.ErrNotFound) {
		return Backlog{}, fmt.Errorf("deliveries of %s in %s: %w", in.Account, in.Region, err)
	}
	return now, nil
}
