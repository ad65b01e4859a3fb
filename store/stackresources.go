package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
)

// StackStanding tells what a physical resource is to its stack.
type StackStanding string

// Standings.
const (
	StackLive     StackStanding = "live"     // the one that the logical ID means
	StackReplaced StackStanding = "replaced" // was it before the update that is under way
	StackLeftover StackStanding = "leftover" // to be deleted, and no part of the stack
)

// StackResource is one physical resource of a stack.
type StackResource struct {
	Stack      string // ARN
	LogicalID  string
	Generation int64 // tells apart the physical resources of a logical one
	Type       string
	PhysicalID string
	Standing   StackStanding
	Status     string
	Reason     string
	Updated    time.Time
	StackResourceState
}

// StackResourceState is what is remembered of a resource. Numbers in it are
// json.Number.
type StackResourceState struct {
	Properties          map[string]any    // without intrinsic functions
	Secret              map[string]any    `json:",omitzero"` // Properties with secrets masked, when there are any
	Attributes          map[string]any    `json:",omitzero"`
	Metadata            any               `json:",omitzero"`
	DeletionPolicy      string            `json:",omitzero"`
	UpdateReplacePolicy string            `json:",omitzero"`
	DependsOn           []string          `json:",omitzero"` // logical IDs that it needs, references included
	Tags                map[string]string `json:",omitzero"` // of the stack
	Seed                string            `json:",omitzero"`

	NoEcho    bool                `json:",omitzero"` // nobody is to be shown the attributes
	Operation string              `json:",omitzero"` // that dealt with it last
	Tried     bool                `json:",omitzero"` // an update in place was begun since
	Made      bool                `json:",omitzero"` // since the stack was last as it was wanted
	Keep      bool                `json:",omitzero"` // a leftover that is not deleted, only forgotten
	Before    *StackResourceState `json:",omitzero"` // it was changed in place: as it was when the stack was last as it was wanted
	Step      *StackStep          `json:",omitzero"` // that was begun, and is not known to have ended
}

// StackStep is a change of a resource that was begun.
type StackStep struct {
	Kind  string // create, update or delete
	Token string
	Note  string              `json:",omitzero"`
	Next  *StackResourceState `json:",omitzero"` // what an update makes of it
}

func stackResourceOwner(stack, logicalID string) string {
	return "resource " + logicalID + " of " + stack
}

// PutStackResource writes a resource, new or not, under its stack's lock.
func (tx *Tx) PutStackResource(ctx context.Context, r StackResource) error {
	state, err := tx.sealJSON(r.StackResourceState, stackResourceOwner(r.Stack, r.LogicalID))
	if err == nil {
		err = tx.exec(ctx, `INSERT INTO stack_resource (stack, logical_id, generation, type, physical_id, standing, status, reason, updated, state)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT (stack, logical_id, generation) DO UPDATE SET type = excluded.type, physical_id = excluded.physical_id,
				standing = excluded.standing, status = excluded.status, reason = excluded.reason, updated = excluded.updated, state = excluded.state`,
			r.Stack, r.LogicalID, r.Generation, r.Type, r.PhysicalID, string(r.Standing), r.Status, r.Reason, toMillis(r.Updated), state)
	}
	if err != nil {
		return fmt.Errorf("put resource %s of %s: %w", r.LogicalID, r.Stack, err)
	}
	return nil
}

// DeleteStackResource forgets a physical resource.
func (tx *Tx) DeleteStackResource(ctx context.Context, stack, logicalID string, generation int64) error {
	err := tx.exec(ctx, "DELETE FROM stack_resource WHERE stack = $1 AND logical_id = $2 AND generation = $3", stack, logicalID, generation)
	if err != nil {
		return fmt.Errorf("delete resource %s of %s: %w", logicalID, stack, err)
	}
	return nil
}

// StackResources returns all physical resources of a stack, ordered by logical ID
// and generation.
func (tx *Tx) StackResources(ctx context.Context, stack string) ([]StackResource, error) {
	var all []StackResource
	err := tx.each(ctx, func(row scanner) error {
		r := StackResource{Stack: stack}
		var updated int64
		var state string
		if err := row.Scan(&r.LogicalID, &r.Generation, &r.Type, &r.PhysicalID, &r.Standing, &r.Status, &r.Reason, &updated, &state); err != nil {
			return err
		}
		r.Updated = fromMillis(updated)
		all = append(all, r)
		return tx.openJSON(state, stackResourceOwner(stack, r.LogicalID), &all[len(all)-1].StackResourceState)
	}, `SELECT logical_id, generation, type, physical_id, standing, status, reason, updated, state FROM stack_resource
		WHERE stack = $1 ORDER BY logical_id, generation`, stack)
	if err != nil {
		return nil, fmt.Errorf("resources of %s: %w", stack, err)
	}
	return all, nil
}

// mostHomes bounds how many stacks with one physical ID are looked at.
const mostHomes = 1000

// StackOfResource returns the ARN of the stack that a physical ID belongs to, the
// youngest of an account and region when there are several, deleted ones last, or
// ErrNotFound.
func (tx *Tx) StackOfResource(ctx context.Context, in lamina.Scope, physicalID string) (id string, err error) {
	var best, when int64 = 2, 0
	err = tx.each(ctx, func(r scanner) error {
		var one string
		var deleted, created int64
		if err := r.Scan(&one, &deleted, &created); err != nil {
			return err
		}
		deleted = min(deleted, 1)
		if deleted < best || deleted == best && created > when {
			id, best, when = one, deleted, created
		}
		return nil
	}, `SELECT s.id, s.deleted, s.created FROM stack_resource r JOIN stack s ON s.id = r.stack
		WHERE r.physical_id = $1 AND r.physical_id <> '' AND s.account = $2 AND s.region = $3 LIMIT $4`,
		physicalID, in.Account, in.Region, mostHomes)
	if err == nil && id == "" {
		err = lamina.ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("stack of %s: %w", physicalID, err)
	}
	return id, nil
}

// StackEvent is something that happened to a stack or one of its resources.
type StackEvent struct {
	Number     int64 // given when it is inserted, as its time
	ID         string
	Time       time.Time
	LogicalID  string
	PhysicalID string
	Type       string
	Status     string
	Reason     string
	Token      string // ClientRequestToken
	Properties string // JSON, with secrets masked; empty without
}

// InsertStackEvents appends events to those of a stack. They get the next numbers,
// and times that no two have: now, or a moment later. An ID that is empty is made
// of the event.
func (tx *Tx) InsertStackEvents(ctx context.Context, stack string, now time.Time, events []StackEvent) error {
	if len(events) == 0 {
		return nil
	}
	n := int64(len(events))
	var number, last int64
	err := tx.one(ctx, func(r scanner) error { return r.Scan(&number, &last) },
		`UPDATE stack SET event = event + $2, event_time = CASE WHEN event_time < $3 THEN $3 + $2 - 1 ELSE event_time + $2 END
		WHERE id = $1 RETURNING event, event_time`, stack, n, toMillis(now))
	for i, e := range events {
		if err != nil {
			break
		}
		back := n - 1 - int64(i)
		at := fromMillis(last - back)
		if e.ID == "" {
			e.ID = e.LogicalID + "-" + e.Status + "-" + at.Format("2006-01-02T15:04:05.000Z")
		}
		err = tx.exec(ctx, `INSERT INTO stack_event (stack, number, id, time, logical_id, physical_id, type, status, reason, token, properties)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			stack, number-back, e.ID, last-back, e.LogicalID, e.PhysicalID, e.Type, e.Status, e.Reason, e.Token, e.Properties)
	}
	if err != nil {
		return fmt.Errorf("insert events of %s: %w", stack, err)
	}
	return nil
}

// StackEvents returns at most limit events of a stack, the youngest first, from
// before a number; 0 is all.
func (tx *Tx) StackEvents(ctx context.Context, stack string, before int64, limit int) ([]StackEvent, error) {
	var all []StackEvent
	err := tx.each(ctx, func(r scanner) error {
		var e StackEvent
		var at int64
		err := r.Scan(&e.Number, &e.ID, &at, &e.LogicalID, &e.PhysicalID, &e.Type, &e.Status, &e.Reason, &e.Token, &e.Properties)
		e.Time = fromMillis(at)
		all = append(all, e)
		return err
	}, `SELECT number, id, time, logical_id, physical_id, type, status, reason, token, properties FROM stack_event
		WHERE stack = $1 AND number < $2 ORDER BY number DESC LIMIT $3`, stack, ifAny(before), limit)
	if err != nil {
		return nil, fmt.Errorf("events of %s: %w", stack, err)
	}
	return all, nil
}

// KeepStackEvents forgets the events of a stack but the youngest.
func (tx *Tx) KeepStackEvents(ctx context.Context, stack string, keep int64) error {
	err := tx.exec(ctx, `DELETE FROM stack_event WHERE stack = $1 AND number <= (SELECT event FROM stack WHERE id = $1) - $2`, stack, keep)
	if err != nil {
		return fmt.Errorf("prune events of %s: %w", stack, err)
	}
	return nil
}

// StackExport is an output that other stacks of the account and region can
// import.
type StackExport struct {
	Name  string
	Stack string // ARN
	Value string
}

func stackExportOwner(in lamina.Scope, name string) string {
	return strings.Join([]string{"export", in.Account, in.Region, name}, " ")
}

// PutStackExport writes an export of a stack. It fails with ErrExists if another
// stack exports that name.
func (tx *Tx) PutStackExport(ctx context.Context, in lamina.Scope, e StackExport) error {
	err := tx.insert(ctx, `INSERT INTO stack_export (account, region, name, stack, value) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (account, region, name) DO UPDATE SET value = excluded.value WHERE stack_export.stack = excluded.stack`,
		in.Account, in.Region, e.Name, e.Stack, tx.secrets.seal(e.Value, stackExportOwner(in, e.Name)))
	if err != nil {
		return fmt.Errorf("put export %s: %w", e.Name, err)
	}
	return nil
}

// LockStackExport returns an export and keeps it from being changed until the
// transaction ends, or ErrNotFound.
func (tx *Tx) LockStackExport(ctx context.Context, in lamina.Scope, name string) (StackExport, error) {
	if err := tx.exec(ctx, "UPDATE stack_export SET name = name WHERE account = $1 AND region = $2 AND name = $3", in.Account, in.Region, name); err != nil {
		return StackExport{}, fmt.Errorf("lock export %s: %w", name, err)
	}
	return tx.StackExport(ctx, in, name)
}

// StackExport returns an export, or ErrNotFound.
func (tx *Tx) StackExport(ctx context.Context, in lamina.Scope, name string) (e StackExport, err error) {
	err = tx.one(ctx, func(r scanner) error { return r.Scan(&e.Name, &e.Stack, &e.Value) },
		"SELECT name, stack, value FROM stack_export WHERE account = $1 AND region = $2 AND name = $3", in.Account, in.Region, name)
	if err == nil {
		e.Value, err = tx.secrets.open(e.Value, stackExportOwner(in, name))
	}
	if err != nil {
		return StackExport{}, fmt.Errorf("export %s: %w", name, err)
	}
	return e, nil
}

// StackExports returns at most limit exports of an account and region, by name,
// after one.
func (tx *Tx) StackExports(ctx context.Context, in lamina.Scope, after string, limit int) ([]StackExport, error) {
	var all []StackExport
	err := tx.each(ctx, func(r scanner) (err error) {
		var e StackExport
		if err := r.Scan(&e.Name, &e.Stack, &e.Value); err != nil {
			return err
		}
		e.Value, err = tx.secrets.open(e.Value, stackExportOwner(in, e.Name))
		all = append(all, e)
		return err
	}, "SELECT name, stack, value FROM stack_export WHERE account = $1 AND region = $2 AND name > $3 ORDER BY name LIMIT $4",
		in.Account, in.Region, after, limit)
	if err != nil {
		return nil, fmt.Errorf("exports of %s in %s: %w", in.Account, in.Region, err)
	}
	return all, nil
}

// ExportsOfStack returns the names that a stack exports, in order.
func (tx *Tx) ExportsOfStack(ctx context.Context, stack string) ([]string, error) {
	names, err := tx.texts(ctx, "SELECT name FROM stack_export WHERE stack = $1 ORDER BY name", stack)
	if err != nil {
		return nil, fmt.Errorf("exports of %s: %w", stack, err)
	}
	return names, nil
}

// DeleteStackExport removes an export.
func (tx *Tx) DeleteStackExport(ctx context.Context, in lamina.Scope, name string) error {
	err := tx.exec(ctx, "DELETE FROM stack_export WHERE account = $1 AND region = $2 AND name = $3", in.Account, in.Region, name)
	if err != nil {
		return fmt.Errorf("delete export %s: %w", name, err)
	}
	return nil
}

// PutStackImport notes that a stack uses an export, whose lock the transaction
// has.
func (tx *Tx) PutStackImport(ctx context.Context, in lamina.Scope, name, stack string) error {
	err := tx.exec(ctx, `INSERT INTO stack_import (account, region, name, importer, stack)
		SELECT $1, $2, $3, s.name, s.id FROM stack s WHERE s.id = $4 ON CONFLICT DO NOTHING`,
		in.Account, in.Region, name, stack)
	if err != nil {
		return fmt.Errorf("put import of %s: %w", name, err)
	}
	return nil
}

// ImportsOfStack returns the names of the exports that a stack uses.
func (tx *Tx) ImportsOfStack(ctx context.Context, stack string) ([]string, error) {
	names, err := tx.texts(ctx, "SELECT name FROM stack_import WHERE stack = $1", stack)
	if err != nil {
		return nil, fmt.Errorf("imports of %s: %w", stack, err)
	}
	return names, nil
}

// KeepStackImports forgets the imports of a stack but those of names.
func (tx *Tx) KeepStackImports(ctx context.Context, stack string, keep []string) error {
	have, err := tx.ImportsOfStack(ctx, stack)
	for _, name := range have {
		if err == nil && !slices.Contains(keep, name) {
			err = tx.exec(ctx, "DELETE FROM stack_import WHERE stack = $1 AND name = $2", stack, name)
		}
	}
	if err != nil {
		return fmt.Errorf("prune imports of %s: %w", stack, err)
	}
	return nil
}

// StackImports returns the names of at most limit stacks that import an export,
// in order, after one.
func (tx *Tx) StackImports(ctx context.Context, in lamina.Scope, export, after string, limit int) ([]string, error) {
	names, err := tx.texts(ctx, `SELECT importer FROM stack_import
		WHERE account = $1 AND region = $2 AND name = $3 AND importer > $4 ORDER BY importer LIMIT $5`,
		in.Account, in.Region, export, after, limit)
	if err != nil {
		return nil, fmt.Errorf("imports of %s: %w", export, err)
	}
	return names, nil
}
