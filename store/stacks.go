package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lamina-run/lamina"
)

// Stack is a stack of CloudFormation.
type Stack struct {
	ID     string // ARN
	Scope  lamina.Scope
	Name   string
	Status string // as DescribeStacks tells it; the engine of package stack goes by it
	Reason string

	Created time.Time
	Updated time.Time // zero when it never was
	Deleted time.Time // zero while it is not

	Parent string // ARN of the stack that it is nested in, or empty
	Root   string // and of the outermost one

	StackSettings
	Operation *StackOperation // that is under way, or that failed and can be gone on with; else nil
	Signal    StackSignal
}

// StackSettings are what a stack is, beside its resources.
type StackSettings struct {
	Deployment
	Outputs   []StackOutput `json:",omitzero"`
	Protected bool          `json:",omitzero"` // from being deleted
	Token     string        `json:",omitzero"` // ClientRequestToken of the last operation
	Deletion  time.Time     `json:",omitzero"` // when its deletion began
}

// Deployment is what a client asked a stack to be.
type Deployment struct {
	Template         string // digest of its template; empty before the first
	Description      string `json:",omitzero"`
	Parameters       []StackParameter
	Tags             map[string]string
	Capabilities     []string `json:",omitzero"`
	NotificationARNs []string `json:",omitzero"`
	RoleARN          string   `json:",omitzero"`
	ChangeSet        string   `json:",omitzero"` // ARN of the change set that was executed
	DisableRollback  bool     `json:",omitzero"`
	TimeoutMinutes   int      `json:",omitzero"`
	RetainOnCreate   bool     `json:",omitzero"` // RetainExceptOnCreate
	Adopt            bool     `json:",omitzero"` // ImportExistingResources
}

// StackParameter is a parameter with its value.
type StackParameter struct {
	Key      string
	Value    string
	Resolved string `json:",omitzero"` // the value of the SSM parameter that Value names
	SSM      bool   `json:",omitzero"`
	NoEcho   bool   `json:",omitzero"`
}

// StackOutput is an output with its value.
type StackOutput struct {
	Key         string
	Value       string
	Description string `json:",omitzero"`
	Export      string `json:",omitzero"` // its name, or empty
}

// StackOperation is what a stack is in the middle of.
type StackOperation struct {
	ID       string
	Kind     string          // CREATE_STACK, UPDATE_STACK, DELETE_STACK, …
	Token    string          `json:",omitzero"` // ClientRequestToken
	Caller   json.RawMessage // on whose behalf, without secrets
	Began    time.Time
	Deadline time.Time `json:",omitzero"`

	OnFailure       string   `json:",omitzero"` // ROLLBACK, DELETE or DO_NOTHING
	Retain          []string `json:",omitzero"` // logical IDs that a deletion leaves alone
	Skip            []string `json:",omitzero"` // and those that a rollback does
	ForceDeletion   bool     `json:",omitzero"`
	Previous        *Deployment
	PreviousOutputs []StackOutput `json:",omitzero"`
	PreviousImports []string      `json:",omitzero"` // names of exports
}

// StackSignal asks whoever runs an operation of a stack to end it.
type StackSignal string

// Signals.
const (
	StackCancel StackSignal = "cancel" // an update, and roll back
	StackDelete StackSignal = "delete" // a creation, and delete
)

// decodeJSON keeps the spelling of numbers.
func decodeJSON(text string, v any) error {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	return d.Decode(v)
}

func stackSettingsOwner(id string) string  { return "settings of " + id }
func stackOperationOwner(id string) string { return "operation of " + id }

// sealJSON is what the database gets of a value that may hold secrets.
func (tx *Tx) sealJSON(v any, owner string) (string, error) {
	text, err := toJSON(v)
	if err != nil {
		return "", err
	}
	return tx.secrets.seal(text, owner), nil
}

func (tx *Tx) openJSON(text, owner string, v any) error {
	text, err := tx.secrets.open(text, owner)
	if err != nil {
		return err
	}
	return decodeJSON(text, v)
}

func (tx *Tx) stackTexts(s *Stack) (settings, operation string, err error) {
	settings, err = tx.sealJSON(s.StackSettings, stackSettingsOwner(s.ID))
	if err == nil && s.Operation != nil {
		operation, err = tx.sealJSON(s.Operation, stackOperationOwner(s.ID))
	}
	return settings, operation, err
}

func millisOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return toMillis(t)
}

func timeOrZero(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return fromMillis(ms)
}

func nullMillis(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: millisOrZero(t), Valid: !t.IsZero()}
}

// InsertStack inserts a stack, whose operation is due at a time, zero for a stack
// without one. It fails with ErrExists if there is one of that name that is not
// deleted.
func (tx *Tx) InsertStack(ctx context.Context, s Stack, due time.Time) error {
	settings, operation, err := tx.stackTexts(&s)
	if err == nil {
		err = tx.insert(ctx, `INSERT INTO stack (id, account, region, name, status, reason, created, updated, deleted, parent, root,
				settings, operation, signal, due, owner, event, event_time)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, '', 0, 0)
			ON CONFLICT DO NOTHING`,
			s.ID, s.Scope.Account, s.Scope.Region, s.Name, s.Status, s.Reason, toMillis(s.Created), millisOrZero(s.Updated), millisOrZero(s.Deleted),
			s.Parent, s.Root, settings, operation, string(s.Signal), nullMillis(due))
	}
	if err != nil {
		return fmt.Errorf("insert stack %s: %w", s.Name, err)
	}
	return nil
}

const stackColumns = `s.id, s.account, s.region, s.name, s.status, s.reason, s.created, s.updated, s.deleted, s.parent, s.root,
	s.settings, s.operation, s.signal`

func (tx *Tx) scanStack(r scanner, s *Stack) error {
	var created, updated, deleted int64
	var settings, operation string
	err := r.Scan(&s.ID, &s.Scope.Account, &s.Scope.Region, &s.Name, &s.Status, &s.Reason, &created, &updated, &deleted, &s.Parent, &s.Root,
		&settings, &operation, &s.Signal)
	if err != nil {
		return err
	}
	s.Created, s.Updated, s.Deleted = fromMillis(created), timeOrZero(updated), timeOrZero(deleted)
	if err := tx.openJSON(settings, stackSettingsOwner(s.ID), &s.StackSettings); err != nil {
		return err
	}
	if operation != "" {
		s.Operation = &StackOperation{}
		return tx.openJSON(operation, stackOperationOwner(s.ID), s.Operation)
	}
	return nil
}

func (tx *Tx) stacks(ctx context.Context, text string, args ...any) (all []Stack, err error) {
	err = tx.each(ctx, func(r scanner) error {
		var s Stack
		if err := tx.scanStack(r, &s); err != nil {
			return err
		}
		all = append(all, s)
		return nil
	}, text, args...)
	return all, err
}

// Stack returns a stack by its ARN, a deleted one included, or ErrNotFound.
func (tx *Tx) Stack(ctx context.Context, id string) (s Stack, err error) {
	err = tx.one(ctx, func(r scanner) error { return tx.scanStack(r, &s) },
		"SELECT "+stackColumns+" FROM stack s WHERE s.id = $1", id)
	if err != nil {
		return Stack{}, fmt.Errorf("stack %s: %w", id, err)
	}
	return s, nil
}

// StackNamed returns the stack that has a name, or ErrNotFound. Deleted ones have
// none.
func (tx *Tx) StackNamed(ctx context.Context, in lamina.Scope, name string) (s Stack, err error) {
	err = tx.one(ctx, func(r scanner) error { return tx.scanStack(r, &s) },
		"SELECT "+stackColumns+" FROM stack s WHERE s.account = $1 AND s.region = $2 AND s.name = $3 AND s.deleted = 0",
		in.Account, in.Region, name)
	if err != nil {
		return Stack{}, fmt.Errorf("stack %s: %w", name, err)
	}
	return s, nil
}

// Stacks returns at most limit stacks of an account and region, the youngest
// first, deleted ones among them if wanted. They were created before a stack, the
// zero value for all.
func (tx *Tx) Stacks(ctx context.Context, in lamina.Scope, deleted bool, before Stack, limit int) ([]Stack, error) {
	created := ifAny(0)
	if before.ID != "" {
		created = toMillis(before.Created)
	}
	all, err := tx.stacks(ctx, `SELECT `+stackColumns+` FROM stack s
		WHERE s.account = $1 AND s.region = $2 AND (s.created, s.id) < ($3, $4) AND ($5 = 1 OR s.deleted = 0)
		ORDER BY s.created DESC, s.id DESC LIMIT $6`,
		in.Account, in.Region, created, before.ID, bit(deleted), limit)
	if err != nil {
		return nil, fmt.Errorf("stacks of %s in %s: %w", in.Account, in.Region, err)
	}
	return all, nil
}

// CountStacks tells how many stacks an account has in a region that are not
// deleted.
func (tx *Tx) CountStacks(ctx context.Context, in lamina.Scope) (n int64, err error) {
	err = tx.one(ctx, func(r scanner) error { return r.Scan(&n) },
		"SELECT COUNT(*) FROM stack WHERE account = $1 AND region = $2 AND deleted = 0", in.Account, in.Region)
	if err != nil {
		return 0, fmt.Errorf("count stacks of %s in %s: %w", in.Account, in.Region, err)
	}
	return n, nil
}

// NestedStacks returns the stacks that are directly nested in another and not
// deleted.
func (tx *Tx) NestedStacks(ctx context.Context, parent string) ([]Stack, error) {
	all, err := tx.stacks(ctx, "SELECT "+stackColumns+" FROM stack s WHERE s.parent = $1 AND s.parent <> '' AND s.deleted = 0 ORDER BY s.id", parent)
	if err != nil {
		return nil, fmt.Errorf("stacks in %s: %w", parent, err)
	}
	return all, nil
}

// LockStack returns a stack and keeps others from changing it until the
// transaction ends.
func (tx *Tx) LockStack(ctx context.Context, id string) (Stack, error) {
	locked, err := tx.change(ctx, "UPDATE stack SET name = name WHERE id = $1", id)
	if err == nil && !locked {
		err = lamina.ErrNotFound
	}
	if err != nil {
		return Stack{}, fmt.Errorf("lock stack %s: %w", id, err)
	}
	return tx.Stack(ctx, id)
}

// HoldStack is LockStack for the owner of the stack's operation: it tells what the
// owner is asked to do. held is false when it is not the owner any more.
func (tx *Tx) HoldStack(ctx context.Context, id, owner string) (signal StackSignal, held bool, err error) {
	err = tx.one(ctx, func(r scanner) error { return r.Scan(&signal) },
		"UPDATE stack SET name = name WHERE id = $1 AND owner = $2 AND owner <> '' RETURNING signal", id, owner)
	if errors.Is(err, lamina.ErrNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("hold stack %s: %w", id, err)
	}
	return signal, true, nil
}

// PutStack writes what a stack is, under its lock. Whose it is and when it is due
// stay as they are.
func (tx *Tx) PutStack(ctx context.Context, s Stack) error {
	settings, operation, err := tx.stackTexts(&s)
	if err == nil {
		err = tx.exec(ctx, `UPDATE stack SET status = $2, reason = $3, updated = $4, deleted = $5, settings = $6, operation = $7, signal = $8
			WHERE id = $1`,
			s.ID, s.Status, s.Reason, millisOrZero(s.Updated), millisOrZero(s.Deleted), settings, operation, string(s.Signal))
	}
	if err != nil {
		return fmt.Errorf("put stack %s: %w", s.ID, err)
	}
	return nil
}

// ScheduleStack makes a stack's operation due at a time, zero when there is none
// any more, and nobody's.
func (tx *Tx) ScheduleStack(ctx context.Context, id string, due time.Time) error {
	err := tx.exec(ctx, "UPDATE stack SET due = $2, owner = '' WHERE id = $1", id, nullMillis(due))
	if err != nil {
		return fmt.Errorf("schedule stack %s: %w", id, err)
	}
	return nil
}

// ClaimStacks makes owner the one who runs the operations that have been due the
// longest, at most limit of stacks that are nested in others or of those that are
// not, and makes them due again at until. Two owners never get the same stack.
func (tx *Tx) ClaimStacks(ctx context.Context, owner string, now, until time.Time, nested bool, limit int) ([]string, error) {
	// The outer due is what decides: PostgreSQL reads it again when it has waited
	// for another owner's commit.
	ids, err := tx.texts(ctx, `UPDATE stack SET owner = $1, due = $2
		WHERE due IS NOT NULL AND due <= $3 AND id IN (
			SELECT id FROM stack WHERE due IS NOT NULL AND due <= $3 AND (parent <> '') = ($4 = 1) ORDER BY due, id LIMIT $5)
		RETURNING id`, owner, toMillis(until), toMillis(now), bit(nested), limit)
	if err != nil {
		return nil, fmt.Errorf("claim stacks: %w", err)
	}
	return ids, nil
}

// NextStack tells when the next operation is due, those that run included, or
// ErrNotFound when there is none.
func (tx *Tx) NextStack(ctx context.Context) (time.Time, error) {
	var due int64
	err := tx.one(ctx, func(r scanner) error { return r.Scan(&due) },
		"SELECT due FROM stack WHERE due IS NOT NULL ORDER BY due, id LIMIT 1")
	if err != nil {
		return time.Time{}, fmt.Errorf("next stack: %w", err)
	}
	return fromMillis(due), nil
}

// RenewStacks keeps others from the stacks that owner has until another time, and
// returns those that somebody signalled.
func (tx *Tx) RenewStacks(ctx context.Context, owner string, until time.Time) (signalled []string, err error) {
	err = tx.exec(ctx, "UPDATE stack SET due = $2 WHERE owner = $1 AND owner <> '' AND due IS NOT NULL", owner, toMillis(until))
	if err == nil {
		signalled, err = tx.SignalledStacks(ctx, owner)
	}
	if err != nil {
		return nil, fmt.Errorf("renew stacks of %s: %w", owner, err)
	}
	return signalled, nil
}

// SignalledStacks returns the stacks of an owner that are asked to do something
// else.
func (tx *Tx) SignalledStacks(ctx context.Context, owner string) ([]string, error) {
	return tx.texts(ctx, "SELECT id FROM stack WHERE owner = $1 AND owner <> '' AND signal <> ''", owner)
}

// ReleaseStacks lets others run, from now on, what owner has.
func (tx *Tx) ReleaseStacks(ctx context.Context, owner string, now time.Time) error {
	err := tx.exec(ctx, "UPDATE stack SET due = $2, owner = '' WHERE owner = $1 AND owner <> '' AND due IS NOT NULL", owner, toMillis(now))
	if err != nil {
		return fmt.Errorf("release stacks of %s: %w", owner, err)
	}
	return nil
}

// ReleaseAllStacks lets anybody run, from now on, what servers that are gone had.
func (tx *Tx) ReleaseAllStacks(ctx context.Context, now time.Time) error {
	err := tx.exec(ctx, "UPDATE stack SET due = $1, owner = '' WHERE owner <> '' AND due > $1", toMillis(now))
	if err != nil {
		return fmt.Errorf("release all stacks: %w", err)
	}
	return nil
}

// DeleteStack removes every trace of a stack.
func (tx *Tx) DeleteStack(ctx context.Context, id string) error {
	if err := tx.exec(ctx, "DELETE FROM stack WHERE id = $1", id); err != nil {
		return fmt.Errorf("delete stack %s: %w", id, err)
	}
	return nil
}

// PruneStacks forgets stacks that were deleted before a time, and events from
// before it, at most limit of each; it tells how many.
func (tx *Tx) PruneStacks(ctx context.Context, before time.Time, limit int) (removed int64, err error) {
	for _, text := range []string{
		`DELETE FROM stack WHERE id IN (SELECT id FROM stack WHERE deleted <> 0 AND deleted < $1 ORDER BY deleted, id LIMIT $2)`,
		`DELETE FROM stack_event WHERE (stack, number) IN (SELECT stack, number FROM stack_event WHERE time < $1 ORDER BY time LIMIT $2)`,
	} {
		res, err := tx.result(ctx, text, []any{toMillis(before), limit})
		if err != nil {
			return 0, fmt.Errorf("prune stacks: %w", err)
		}
		n, err := res.RowsAffected()
		if err != nil {
			return 0, fmt.Errorf("prune stacks: %w", err)
		}
		removed += n
	}
	return removed, nil
}

// StackTemplate is a template as it was given, and as it became. Processed is
// empty when that is the same.
type StackTemplate struct {
	Digest    string // SHA-256 of Original, a zero byte, and Processed
	Original  string
	Processed string
}

// PutStackTemplate remembers a template of a stack.
func (tx *Tx) PutStackTemplate(ctx context.Context, stack string, t StackTemplate) error {
	err := tx.exec(ctx, `INSERT INTO stack_template (stack, digest, original, processed) VALUES ($1, $2, $3, $4)
		ON CONFLICT (stack, digest) DO NOTHING`, stack, t.Digest, t.Original, t.Processed)
	if err != nil {
		return fmt.Errorf("put template of %s: %w", stack, err)
	}
	return nil
}

// StackTemplate returns a template of a stack, or ErrNotFound.
func (tx *Tx) StackTemplate(ctx context.Context, stack, digest string) (t StackTemplate, err error) {
	err = tx.one(ctx, func(r scanner) error { return r.Scan(&t.Digest, &t.Original, &t.Processed) },
		"SELECT digest, original, processed FROM stack_template WHERE stack = $1 AND digest = $2", stack, digest)
	if err != nil {
		return StackTemplate{}, fmt.Errorf("template of %s: %w", stack, err)
	}
	return t, nil
}

// PruneStackTemplates forgets the templates of a stack but those to be kept.
func (tx *Tx) PruneStackTemplates(ctx context.Context, stack string, keep ...string) error {
	digests, err := tx.texts(ctx, "SELECT digest FROM stack_template WHERE stack = $1", stack)
	for _, digest := range digests {
		if err == nil && !slices.Contains(keep, digest) {
			err = tx.exec(ctx, "DELETE FROM stack_template WHERE stack = $1 AND digest = $2", stack, digest)
		}
	}
	if err != nil {
		return fmt.Errorf("prune templates of %s: %w", stack, err)
	}
	return nil
}
