package stack

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
)

// Statuses of change sets.
const (
	changeSetAvailable   = "AVAILABLE"
	changeSetUnavailable = "UNAVAILABLE"
	changeSetObsolete    = "OBSOLETE"
	changeSetExecuted    = "EXECUTE_COMPLETE"
)

const (
	nothingSubmitted = "The submitted information didn't contain changes. Submit different information to create a change set."
	nothingToUpdate  = "No updates are to be performed."
)

// FindChangeSet returns a change set by its ARN, or by its name within a stack.
// The error is AWS's ChangeSetNotFound.
func (e *Engine) FindChangeSet(ctx context.Context, tx *store.Tx, stack, reference string) (c store.StackChangeSet, err error) {
	_, in := asks(ctx)
	if strings.HasPrefix(reference, "arn:") {
		c, err = tx.StackChangeSet(ctx, reference)
		if err == nil {
			var s store.Stack
			if s, err = tx.Stack(ctx, c.Stack); err == nil && s.Scope != in {
				err = lamina.ErrNotFound
			}
		}
	} else {
		var s store.Stack
		if stack == "" {
			return c, Validation.New("StackName must be specified if ChangeSetName is not specified as an ARN.")
		}
		if s, err = find(ctx, tx, in, stack); missing(err) {
			return c, Validation.Errorf("Stack [%s] does not exist", stack)
		}
		if err == nil {
			c, err = tx.StackChangeSetNamed(ctx, s.ID, reference)
		}
	}
	if missing(err) {
		return store.StackChangeSet{}, ChangeSetNotFound.Errorf("ChangeSet [%s] does not exist", reference)
	}
	return c, err
}

// CreateChangeSet computes what an update would change, or a creation make; for
// the latter it makes a stack in REVIEW_IN_PROGRESS if there is none. The change
// set is complete, or has failed, when it returns: its Changes are a list of
// [Change] as JSON.
func (e *Engine) CreateChangeSet(ctx context.Context, reference string, w ChangeSetWanted) (store.StackChangeSet, error) {
	_, in := asks(ctx)
	creates := w.Type == "CREATE"
	var s store.Stack
	err := e.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		s, err = find(ctx, tx, in, reference)
		return err
	})
	fresh := missing(err) || err == nil && s.Status == deleteComplete
	switch {
	case err != nil && !missing(err):
		return store.StackChangeSet{}, err
	case fresh && !creates:
		return store.StackChangeSet{}, Validation.Errorf("Stack [%s] does not exist", reference)
	case !fresh && creates && s.Status != reviewInProgress:
		return store.StackChangeSet{}, Validation.Errorf("Stack [%s] already exists and cannot be created again with the changeSet [%s].", s.Name, w.Name)
	case !fresh && !creates && !slices.Contains(updatable, s.Status):
		return store.StackChangeSet{}, cannotUpdate(s)
	case fresh:
		s = e.newStack(ctx, reference)
		s.Status, s.Reason, s.Token = reviewInProgress, userInitiated, w.Token
	}
	if err := e.assumable(ctx, in.Account, w.RoleARN, s.ID); err != nil {
		return store.StackChangeSet{}, err
	}
	var previous *store.Deployment
	if s.Template != "" {
		previous = &s.Deployment
	}
	d, err := e.prepare(ctx, s, previous, w.Wanted)
	if err != nil {
		return store.StackChangeSet{}, err
	}
	d.Adopt = w.ImportExist
	c := store.StackChangeSet{
		ID:    strings.Replace(strings.Replace(s.ID, ":stack/"+s.Name+"/", ":changeSet/"+w.Name+"/", 1), s.ID[strings.LastIndexByte(s.ID, '/')+1:], newID(), 1),
		Stack: s.ID, Name: w.Name, Status: createComplete, Execution: changeSetAvailable, Created: e.o.Now(),
		StackChangeSetDetail: store.StackChangeSetDetail{
			Deployment: d.Deployment, Type: w.Type, Comment: w.Description, Token: w.Token, OnFailure: w.OnFailure, Nested: w.Nested,
			ImportExist: w.ImportExist, Stamp: stamp(s),
		},
	}
	c.ChangeSet = c.ID
	p, err := e.plan(ctx, s, d)
	switch why, told := asException(err); {
	case told:
		c.Status, c.Execution, c.Reason = "FAILED", changeSetUnavailable, why
		p = &plan{}
	case err != nil:
		return store.StackChangeSet{}, err
	case !creates && p.empty() && s.Status != updateFailed && s.Status != createFailed:
		c.Status, c.Execution, c.Reason = "FAILED", changeSetUnavailable, nothingToUpdate
		if d.Template == s.Template {
			c.Reason = nothingSubmitted
		}
	}
	if c.Changes, err = json.Marshal(p.Changes); err != nil {
		return store.StackChangeSet{}, err
	}
	err = e.o.Store.Update(ctx, func(tx *store.Tx) error {
		if fresh {
			if err := e.insert(ctx, tx, s, time.Time{}); err != nil {
				return err
			}
		} else if _, err := tx.LockStack(ctx, s.ID); err != nil {
			return err
		}
		sets, err := tx.StackChangeSets(ctx, s.ID, "", maxChangeSets)
		if err != nil {
			return err
		}
		for _, other := range sets {
			if other.Name != c.Name {
				continue
			}
			if w.Token != "" && other.Token == w.Token {
				c = other // the same request, sent again
				return nil
			}
			return AlreadyExists.Errorf("ChangeSet [%s] already exists", c.Name)
		}
		if len(sets) == maxChangeSets {
			// Failed ones pile up, since those who made them leave them behind.
			old := slices.DeleteFunc(sets, func(o store.StackChangeSet) bool { return o.Status != "FAILED" })
			if len(old) == 0 {
				return LimitExceeded.New("ChangeSet limit exceeded for stack " + s.ID)
			}
			oldest := slices.MinFunc(old, func(a, b store.StackChangeSet) int { return a.Created.Compare(b.Created) })
			if _, err := tx.DeleteStackChangeSet(ctx, oldest.ID); err != nil {
				return err
			}
		}
		if err := tx.PutStackTemplate(ctx, s.ID, d.source); err != nil {
			return err
		}
		return tx.InsertStackChangeSet(ctx, c)
	})
	if errors.Is(err, lamina.ErrExists) {
		err = AlreadyExists.Errorf("Stack [%s] already exists", s.Name)
	}
	if err != nil {
		return store.StackChangeSet{}, err
	}
	return c, nil
}

// stamp is when a stack was changed last, as precisely as the store knows it.
func stamp(s store.Stack) time.Time {
	at := s.Created
	if s.Updated.After(at) {
		at = s.Updated
	}
	return at.Truncate(time.Millisecond)
}

// ExecuteChangeSet begins what a change set says. Reference is an ARN, or a name
// within the stack; disableRollback may be nil. The other change sets of the stack
// are gone.
func (e *Engine) ExecuteChangeSet(ctx context.Context, stack, reference, token string, disableRollback *bool, retainOnCreate bool) error {
	var c store.StackChangeSet
	var s store.Stack
	var source store.StackTemplate
	err := e.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		if c, err = e.FindChangeSet(ctx, tx, stack, reference); err != nil {
			return err
		}
		if s, err = tx.Stack(ctx, c.Stack); err != nil {
			return err
		}
		source, err = tx.StackTemplate(ctx, s.ID, c.Template)
		return err
	})
	if err != nil {
		return err
	}
	if err := e.assumable(ctx, s.Scope.Account, c.RoleARN, s.ID); err != nil {
		return err
	}
	if _, err := read(s, c.Deployment, source); err != nil {
		return err
	}
	err = e.o.Store.Update(ctx, func(tx *store.Tx) error {
		s, err := tx.LockStack(ctx, s.ID)
		if err != nil {
			return err
		}
		c, err := tx.StackChangeSet(ctx, c.ID)
		if missing(err) {
			return ChangeSetNotFound.Errorf("ChangeSet [%s] does not exist", reference)
		}
		if err != nil {
			return err
		}
		if c.Execution == changeSetExecuted && token != "" && s.Token == token {
			return nil // the same request, sent again
		}
		if c.Execution == changeSetAvailable && !c.Stamp.Equal(stamp(s)) {
			c.Execution = changeSetObsolete
		}
		if c.Status != createComplete || c.Execution != changeSetAvailable {
			if c.Status != createComplete {
				return InvalidChangeSetStatus.Errorf("ChangeSet [%s] cannot be executed in its current status of [%s]", c.ID, c.Status)
			}
			return InvalidChangeSetStatus.Errorf("ChangeSet [%s] cannot be executed in its current execution status of [%s]", c.ID, c.Execution)
		}
		sets, err := tx.StackChangeSets(ctx, s.ID, "", maxChangeSets)
		if err != nil {
			return err
		}
		for _, other := range sets {
			if other.ID == c.ID {
				continue
			}
			if _, err := tx.DeleteStackChangeSet(ctx, other.ID); err != nil {
				return err
			}
		}
		c.Execution = changeSetExecuted
		if err := tx.PutStackChangeSet(ctx, c); err != nil {
			return err
		}
		d := c.Deployment
		if disableRollback != nil {
			d.DisableRollback = *disableRollback
		}
		d.RetainOnCreate = d.RetainOnCreate || retainOnCreate
		if s.Status != reviewInProgress {
			if !slices.Contains(updatable, s.Status) {
				return cannotUpdate(s)
			}
			d.DisableRollback = d.DisableRollback || c.OnFailure == "DO_NOTHING"
			return e.begin(ctx, tx, s, &deployment{Deployment: d, source: source}, Wanted{Token: token})
		}
		if s.Operation, err = e.operation(ctx, token); err != nil {
			return err
		}
		s.Operation.OnFailure = c.OnFailure
		s.Deployment, s.Token = d, token
		s.Status, s.Reason, s.Updated = createInProgress, userInitiated, e.o.Now()
		e.limit(&s)
		return e.start(ctx, tx, s)
	})
	if err != nil {
		return err
	}
	e.wakeUp()
	return nil
}

// DeleteChangeSet forgets a change set. One that does not exist is a success, if
// its stack does.
func (e *Engine) DeleteChangeSet(ctx context.Context, stack, reference string) error {
	return e.o.Store.Update(ctx, func(tx *store.Tx) error {
		c, err := e.FindChangeSet(ctx, tx, stack, reference)
		if ChangeSetNotFound.Is(err) {
			return nil
		}
		if err == nil {
			_, err = tx.DeleteStackChangeSet(ctx, c.ID)
		}
		return err
	})
}
