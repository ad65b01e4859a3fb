package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lamina-run/lamina"
)

const mappingColumns = `m.account, m.region, m.uuid, m.function, m.enabled, m.state, m.modified, m.config`

func scanMapping(r scanner, m *lamina.EventSourceMapping) error {
	var modified int64
	var config []byte
	err := r.Scan(&m.Scope.Account, &m.Scope.Region, &m.UUID, &m.FunctionARN, &m.Enabled, &m.State, &modified, &config)
	if err != nil {
		return err
	}
	m.LastModified = fromMillis(modified)
	return json.Unmarshal(config, &m.Source)
}

func (tx *Tx) mapping(ctx context.Context, text string, args ...any) (m lamina.EventSourceMapping, err error) {
	err = tx.one(ctx, func(r scanner) error { return scanMapping(r, &m) }, text, args...)
	return m, err
}

func (tx *Tx) mappings(ctx context.Context, text string, args ...any) (all []lamina.EventSourceMapping, err error) {
	err = tx.each(ctx, func(r scanner) error {
		var m lamina.EventSourceMapping
		if err := scanMapping(r, &m); err != nil {
			return err
		}
		all = append(all, m)
		return nil
	}, text, args...)
	return all, err
}

// InsertEventSourceMapping adds a mapping. It fails with ErrExists if another
// mapping of the same FunctionARN reads a part of its source; see
// [Tx.EventSourceMappingReading]. The transaction stays usable, but is not to be
// committed then.
func (tx *Tx) InsertEventSourceMapping(ctx context.Context, m lamina.EventSourceMapping) error {
	if err := tx.insertMapping(ctx, m); err != nil {
		return fmt.Errorf("insert event source mapping %s: %w", m.UUID, err)
	}
	return nil
}

func (tx *Tx) insertMapping(ctx context.Context, m lamina.EventSourceMapping) error {
	config, err := toJSON(m.Source)
	if err != nil {
		return err
	}
	err = tx.insert(ctx, `INSERT INTO event_source_mapping
			(account, region, uuid, function, source, enabled, state, modified, config)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT DO NOTHING`,
		m.Scope.Account, m.Scope.Region, m.UUID, m.FunctionARN, m.Source.ARN, m.Enabled, m.State, toMillis(m.LastModified), config)
	if err != nil {
		return err
	}
	return tx.claim(ctx, m)
}

// claim takes the parts in their order, so that two who want the same ones
// can't deadlock.
func (tx *Tx) claim(ctx context.Context, m lamina.EventSourceMapping) error {
	for _, c := range m.Source.Claims() {
		err := tx.insert(ctx, `INSERT INTO event_source_claim (account, region, function, source, part, uuid)
			VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT DO NOTHING`,
			m.Scope.Account, m.Scope.Region, m.FunctionARN, c.Source, c.Part, m.UUID)
		if err != nil {
			return err
		}
	}
	return nil
}

// EventSourceMapping returns a mapping, or ErrNotFound.
func (tx *Tx) EventSourceMapping(ctx context.Context, in lamina.Scope, uuid string) (lamina.EventSourceMapping, error) {
	m, err := tx.mapping(ctx, `SELECT `+mappingColumns+` FROM event_source_mapping m
		WHERE m.account = $1 AND m.region = $2 AND m.uuid = $3`,
		in.Account, in.Region, uuid)
	if err != nil {
		return lamina.EventSourceMapping{}, fmt.Errorf("event source mapping %s: %w", uuid, err)
	}
	return m, nil
}

// LockEventSourceMapping returns a mapping, or ErrNotFound, and makes others who
// lock it wait until the transaction ends.
func (tx *Tx) LockEventSourceMapping(ctx context.Context, in lamina.Scope, uuid string) (lamina.EventSourceMapping, error) {
	m, err := tx.mapping(ctx, `UPDATE event_source_mapping AS m SET state = state
		WHERE m.account = $1 AND m.region = $2 AND m.uuid = $3
		RETURNING account, region, uuid, function, enabled, state, modified, config`,
		in.Account, in.Region, uuid)
	if err != nil {
		return lamina.EventSourceMapping{}, fmt.Errorf("lock event source mapping %s: %w", uuid, err)
	}
	return m, nil
}

// EventSourceMappingReading returns a mapping with the FunctionARN of m that
// reads a part of the source of m, other than m itself, or ErrNotFound.
func (tx *Tx) EventSourceMappingReading(ctx context.Context, m lamina.EventSourceMapping) (lamina.EventSourceMapping, error) {
	for _, c := range m.Source.Claims() {
		found, err := tx.mapping(ctx, `SELECT `+mappingColumns+` FROM event_source_claim c
			JOIN event_source_mapping m ON m.account = c.account AND m.region = c.region AND m.uuid = c.uuid
			WHERE c.account = $1 AND c.region = $2 AND c.function = $3 AND c.source = $4 AND c.part = $5 AND c.uuid <> $6`,
			m.Scope.Account, m.Scope.Region, m.FunctionARN, c.Source, c.Part, m.UUID)
		if !errors.Is(err, lamina.ErrNotFound) {
			return found, err
		}
	}
	return lamina.EventSourceMapping{}, fmt.Errorf("event source mapping of %s: %w", m.FunctionARN, lamina.ErrNotFound)
}

// PutEventSourceMapping writes all of a mapping that exists. It fails with
// ErrNotFound for an unknown one, and with ErrExists as
// [Tx.InsertEventSourceMapping] does.
func (tx *Tx) PutEventSourceMapping(ctx context.Context, m lamina.EventSourceMapping) error {
	if err := tx.putMapping(ctx, m); err != nil {
		return fmt.Errorf("put event source mapping %s: %w", m.UUID, err)
	}
	return nil
}

func (tx *Tx) putMapping(ctx context.Context, m lamina.EventSourceMapping) error {
	config, err := toJSON(m.Source)
	if err != nil {
		return err
	}
	changed, err := tx.change(ctx, `UPDATE event_source_mapping
		SET function = $4, source = $5, enabled = $6, state = $7, modified = $8, config = $9
		WHERE account = $1 AND region = $2 AND uuid = $3`,
		m.Scope.Account, m.Scope.Region, m.UUID, m.FunctionARN, m.Source.ARN, m.Enabled, m.State, toMillis(m.LastModified), config)
	if err != nil {
		return err
	}
	if !changed {
		return lamina.ErrNotFound
	}
	err = tx.exec(ctx, "DELETE FROM event_source_claim WHERE account = $1 AND region = $2 AND uuid = $3",
		m.Scope.Account, m.Scope.Region, m.UUID)
	if err != nil {
		return err
	}
	return tx.claim(ctx, m)
}

// SettleEventSourceMapping gives a mapping another state, or with an empty one
// removes it and its tags, if its state and LastModified are still those of m.
// settled is false when a change came first.
func (tx *Tx) SettleEventSourceMapping(ctx context.Context, m lamina.EventSourceMapping, state string, modified time.Time) (settled bool, err error) {
	settled, err = tx.settleMapping(ctx, m, state, modified)
	if err != nil {
		return false, fmt.Errorf("settle event source mapping %s: %w", m.UUID, err)
	}
	return settled, nil
}

func (tx *Tx) settleMapping(ctx context.Context, m lamina.EventSourceMapping, state string, modified time.Time) (settled bool, err error) {
	if state != "" {
		return tx.change(ctx, `UPDATE event_source_mapping SET state = $6, modified = $7
			WHERE account = $1 AND region = $2 AND uuid = $3 AND state = $4 AND modified = $5`,
			m.Scope.Account, m.Scope.Region, m.UUID, m.State, toMillis(m.LastModified), state, toMillis(modified))
	}
	settled, err = tx.change(ctx, `DELETE FROM event_source_mapping
		WHERE account = $1 AND region = $2 AND uuid = $3 AND state = $4 AND modified = $5`,
		m.Scope.Account, m.Scope.Region, m.UUID, m.State, toMillis(m.LastModified))
	if err != nil || !settled {
		return false, err
	}
	return true, tx.exec(ctx, "DELETE FROM tag WHERE resource = $1", m.ARN())
}

// EventSourceMappingsUnderWay returns at most limit mappings of all accounts
// that are neither Enabled nor Disabled, the longest unmodified first.
func (tx *Tx) EventSourceMappingsUnderWay(ctx context.Context, limit int) ([]lamina.EventSourceMapping, error) {
	all, err := tx.mappings(ctx, `SELECT `+mappingColumns+` FROM event_source_mapping m
		WHERE state <> 'Enabled' AND state <> 'Disabled'
		ORDER BY m.modified LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("event source mappings under way: %w", err)
	}
	return all, nil
}

// EventSourceFilter narrows a list of mappings; empty fields don't.
type EventSourceFilter struct {
	FunctionARN string // with the qualifier
	SourceARN   string
}

// EventSourceMappings returns at most limit mappings that fit the filter, with
// UUIDs after a given one, ordered by UUID.
func (tx *Tx) EventSourceMappings(ctx context.Context, in lamina.Scope, filter EventSourceFilter, after string, limit int) ([]lamina.EventSourceMapping, error) {
	text := `SELECT ` + mappingColumns + ` FROM event_source_mapping m
		WHERE m.account = $1 AND m.region = $2 AND m.uuid > $3`
	args := []any{in.Account, in.Region, after, limit}
	switch {
	case filter.FunctionARN != "" && filter.SourceARN != "":
		text += ` AND m.function = $5 AND m.source = $6`
		args = append(args, filter.FunctionARN, filter.SourceARN)
	case filter.FunctionARN != "":
		text += ` AND m.function = $5`
		args = append(args, filter.FunctionARN)
	case filter.SourceARN != "":
		text += ` AND m.source = $5`
		args = append(args, filter.SourceARN)
	}
	all, err := tx.mappings(ctx, text+` ORDER BY m.uuid LIMIT $4`, args...)
	if err != nil {
		return nil, fmt.Errorf("event source mappings of %s in %s: %w", in.Account, in.Region, err)
	}
	return all, nil
}
