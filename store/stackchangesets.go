package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// StackChangeSet is what an update would change, or a creation make.
type StackChangeSet struct {
	ID        string // ARN
	Stack     string // ARN
	Name      string
	Status    string // CREATE_COMPLETE
	Execution string // AVAILABLE
	Reason    string
	Created   time.Time
	StackChangeSetDetail
}

// StackChangeSetDetail is what is remembered of a change set.
type StackChangeSetDetail struct {
	Deployment             // what the stack becomes; its Description is the template's
	Type         string    // CREATE or UPDATE
	Comment      string    `json:",omitzero"` // the Description of the change set
	Token        string    `json:",omitzero"` // ClientToken
	OnFailure    string    `json:",omitzero"` // OnStackFailure
	Nested       bool      `json:",omitzero"` // IncludeNestedStacks
	ImportExist  bool      `json:",omitzero"` // ImportExistingResources
	Parent       string    `json:",omitzero"`
	Root         string    `json:",omitzero"`
	Stamp        time.Time // of the stack when the change set was made: of its last change
	Changes      json.RawMessage
	PlanFailures []string `json:",omitzero"`
}

func stackChangeSetOwner(id string) string { return "change set " + id }

// InsertStackChangeSet inserts a change set. It fails with ErrExists if the stack
// has one of that name, and with ErrNotFound if there is no such stack.
func (tx *Tx) InsertStackChangeSet(ctx context.Context, c StackChangeSet) error {
	detail, err := tx.sealJSON(c.StackChangeSetDetail, stackChangeSetOwner(c.ID))
	if err == nil {
		err = tx.insert(ctx, `INSERT INTO stack_change_set (id, stack, name, status, execution, reason, created, detail)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
			c.ID, c.Stack, c.Name, c.Status, c.Execution, c.Reason, toMillis(c.Created), detail)
	}
	if err != nil {
		return fmt.Errorf("insert change set %s: %w", c.Name, err)
	}
	return nil
}

// PutStackChangeSet writes what became of a change set.
func (tx *Tx) PutStackChangeSet(ctx context.Context, c StackChangeSet) error {
	detail, err := tx.sealJSON(c.StackChangeSetDetail, stackChangeSetOwner(c.ID))
	if err == nil {
		err = tx.exec(ctx, "UPDATE stack_change_set SET status = $2, execution = $3, reason = $4, detail = $5 WHERE id = $1",
			c.ID, c.Status, c.Execution, c.Reason, detail)
	}
	if err != nil {
		return fmt.Errorf("put change set %s: %w", c.Name, err)
	}
	return nil
}

const changeSetColumns = "c.id, c.stack, c.name, c.status, c.execution, c.reason, c.created, c.detail"

func (tx *Tx) scanChangeSet(r scanner, c *StackChangeSet) error {
	var created int64
	var detail string
	if err := r.Scan(&c.ID, &c.Stack, &c.Name, &c.Status, &c.Execution, &c.Reason, &created, &detail); err != nil {
		return err
	}
	c.Created = fromMillis(created)
	return tx.openJSON(detail, stackChangeSetOwner(c.ID), &c.StackChangeSetDetail)
}

// StackChangeSet returns a change set by its ARN, or ErrNotFound.
func (tx *Tx) StackChangeSet(ctx context.Context, id string) (c StackChangeSet, err error) {
	err = tx.one(ctx, func(r scanner) error { return tx.scanChangeSet(r, &c) },
		"SELECT "+changeSetColumns+" FROM stack_change_set c WHERE c.id = $1", id)
	if err != nil {
		return StackChangeSet{}, fmt.Errorf("change set %s: %w", id, err)
	}
	return c, nil
}

// StackChangeSetNamed returns a change set of a stack, or ErrNotFound.
func (tx *Tx) StackChangeSetNamed(ctx context.Context, stack, name string) (c StackChangeSet, err error) {
	err = tx.one(ctx, func(r scanner) error { return tx.scanChangeSet(r, &c) },
		"SELECT "+changeSetColumns+" FROM stack_change_set c WHERE c.stack = $1 AND c.name = $2", stack, name)
	if err != nil {
		return StackChangeSet{}, fmt.Errorf("change set %s: %w", name, err)
	}
	return c, nil
}

// StackChangeSets returns at most limit change sets of a stack, by name, after
// one.
func (tx *Tx) StackChangeSets(ctx context.Context, stack, after string, limit int) ([]StackChangeSet, error) {
	var all []StackChangeSet
	err := tx.each(ctx, func(r scanner) error {
		var c StackChangeSet
		err := tx.scanChangeSet(r, &c)
		all = append(all, c)
		return err
	}, "SELECT "+changeSetColumns+" FROM stack_change_set c WHERE c.stack = $1 AND c.name > $2 ORDER BY c.name LIMIT $3", stack, after, limit)
	if err != nil {
		return nil, fmt.Errorf("change sets of %s: %w", stack, err)
	}
	return all, nil
}

// DeleteStackChangeSet removes a change set and reports whether there was one.
func (tx *Tx) DeleteStackChangeSet(ctx context.Context, id string) (existed bool, err error) {
	existed, err = tx.change(ctx, "DELETE FROM stack_change_set WHERE id = $1", id)
	if err != nil {
		return false, fmt.Errorf("delete change set %s: %w", id, err)
	}
	return existed, nil
}
