package stack

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

const (
	maxStacks     = 2000 // of an account in a region, as at AWS
	maxChangeSets = 100  // of a stack
)

// asException is the message of what a client is told.
func asException(err error) (string, bool) {
	ex, ok := errors.AsType[*wire.Exception](err)
	if !ok {
		return "", false
	}
	return ex.Message(), true
}

type parentKey struct{}

// withParent returns the context of a stack's steps.
func withParent(ctx context.Context, s store.Stack) context.Context {
	return context.WithValue(ctx, parentKey{}, s)
}

// parentOf returns the stack whose step a request is part of, if any.
func parentOf(ctx context.Context) (store.Stack, bool) {
	s, ok := ctx.Value(parentKey{}).(store.Stack)
	return s, ok
}

// asks returns who asks and where.
func asks(ctx context.Context) (identity.Caller, lamina.Scope) {
	caller, _ := identity.CallerOf(ctx)
	return caller, lamina.Scope{Account: caller.Account, Region: caller.Region}
}

// callerJSON is a caller as an operation keeps it.
func callerJSON(c identity.Caller) (json.RawMessage, error) {
	c.AccessKeyID = "" // it is not needed, and may be gone by then
	return json.Marshal(c)
}

func stackARN(in lamina.Scope, name string) string {
	return "arn:" + lamina.Partition + ":cloudformation:" + in.Region + ":" + in.Account + ":stack/" + name + "/" + newID()
}

func missing(err error) bool { return errors.Is(err, lamina.ErrNotFound) }

// Find returns a stack by its name or its ARN, which also finds deleted ones, of
// the caller's account and region. The error is AWS's ValidationError: "Stack with
// id X does not exist".
func (e *Engine) Find(ctx context.Context, tx *store.Tx, reference string) (store.Stack, error) {
	_, in := asks(ctx)
	s, err := find(ctx, tx, in, reference)
	if missing(err) {
		return store.Stack{}, Validation.Errorf("Stack with id %s does not exist", reference)
	}
	return s, err
}

func find(ctx context.Context, tx *store.Tx, in lamina.Scope, reference string) (store.Stack, error) {
	if !strings.HasPrefix(reference, "arn:") {
		return tx.StackNamed(ctx, in, reference)
	}
	s, err := tx.Stack(ctx, reference)
	if err == nil && s.Scope != in {
		err = lamina.ErrNotFound
	}
	return s, err
}

// look returns a stack outside of a transaction.
func (e *Engine) look(ctx context.Context, reference string) (s store.Stack, err error) {
	err = e.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		s, err = e.Find(ctx, tx, reference)
		return err
	})
	return s, err
}

// assumable refuses a role that CloudFormation may not assume.
func (e *Engine) assumable(ctx context.Context, account, role, stack string) error {
	if role == "" {
		return nil
	}
	_, err := e.o.Roles.AssumedBy(ctx, account, service, role, roleSession, stack)
	if missing(err) {
		return Validation.Errorf("Role %s is invalid or cannot be assumed", role)
	}
	return err
}

// operation is the beginning of one.
func (e *Engine) operation(ctx context.Context, token string) (*store.StackOperation, error) {
	caller, _ := asks(ctx)
	text, err := callerJSON(caller)
	if err != nil {
		return nil, err
	}
	return &store.StackOperation{ID: newID(), Token: token, Caller: text, Began: e.o.Now()}, nil
}

// start has somebody work on a stack whose lock the transaction has, and tells
// what happened.
func (e *Engine) start(ctx context.Context, tx *store.Tx, s store.Stack) error {
	if err := tx.PutStack(ctx, s); err != nil {
		return err
	}
	if err := tx.InsertStackEvents(ctx, s.ID, e.o.Now(), []store.StackEvent{stackEvent(s, s.Token)}); err != nil {
		return err
	}
	if s.Signal != "" {
		return nil // who works on it already looks again
	}
	return tx.ScheduleStack(ctx, s.ID, e.o.Now())
}

// newStack is a stack that does not exist yet.
func (e *Engine) newStack(ctx context.Context, name string) store.Stack {
	_, in := asks(ctx)
	s := store.Stack{ID: stackARN(in, name), Scope: in, Name: name, Created: e.o.Now()}
	if parent, ok := parentOf(ctx); ok {
		s.Parent, s.Root = parent.ID, parent.Root
		if s.Root == "" {
			s.Root = parent.ID
		}
	}
	return s
}

// insert makes a stack, unless there are too many or one has its name.
func (e *Engine) insert(ctx context.Context, tx *store.Tx, s store.Stack, due time.Time) error {
	n, err := tx.CountStacks(ctx, s.Scope)
	if err != nil {
		return err
	}
	if n >= maxStacks {
		return LimitExceeded.New("Limit for stack has been exceeded")
	}
	if err := tx.InsertStack(ctx, s, due); err != nil {
		return err
	}
	return tx.InsertStackEvents(ctx, s.ID, e.o.Now(), []store.StackEvent{stackEvent(s, s.Token)})
}

// CreateStack begins to create a stack, and returns its ARN. A stack that is
// created by a step of another is nested in that.
func (e *Engine) CreateStack(ctx context.Context, name string, w Wanted) (id string, err error) {
	s := e.newStack(ctx, name)
	if err := e.assumable(ctx, s.Scope.Account, w.RoleARN, s.ID); err != nil {
		return "", err
	}
	d, err := e.prepare(ctx, s, nil, w)
	if err != nil {
		return "", err
	}
	if s.Operation, err = e.operation(ctx, w.Token); err != nil {
		return "", err
	}
	s.Status, s.Reason = createInProgress, userInitiated
	s.Deployment, s.Token, s.Protected = d.Deployment, w.Token, w.Protected
	s.Operation.OnFailure = w.OnFailure
	e.limit(&s)
	err = e.o.Store.Update(ctx, func(tx *store.Tx) error {
		id = s.ID
		have, err := tx.StackNamed(ctx, s.Scope, name)
		if err == nil {
			if w.Token != "" && have.Token == w.Token {
				id = have.ID // the same request, sent again
				return nil
			}
			return AlreadyExists.Errorf("Stack [%s] already exists", name)
		}
		if !missing(err) {
			return err
		}
		if err := e.insert(ctx, tx, s, e.o.Now()); err != nil {
			return err
		}
		return tx.PutStackTemplate(ctx, s.ID, d.source)
	})
	if errors.Is(err, lamina.ErrExists) {
		err = AlreadyExists.Errorf("Stack [%s] already exists", name)
	}
	if err != nil {
		return "", err
	}
	e.wakeUp()
	return id, nil
}

// limit gives a creation its deadline.
func (e *Engine) limit(s *store.Stack) {
	if s.TimeoutMinutes > 0 {
		s.Operation.Deadline = e.o.Now().Add(time.Duration(s.TimeoutMinutes) * time.Minute)
	}
}

// updatable are the statuses in which a stack can be updated.
var updatable = []string{
	createComplete, updateComplete, updateRollbackComplete, updateFailed, createFailed,
}

func cannotUpdate(s store.Stack) error {
	return Validation.Errorf("Stack:%s is in %s state and can not be updated.", s.ID, s.Status)
}

// stable is what a stack was when it last was what was wanted; nil when it never
// was.
func stable(s store.Stack) (*store.Deployment, []store.StackOutput) {
	switch s.Status {
	case createFailed:
		return nil, nil
	case updateFailed:
		if s.Operation != nil {
			return s.Operation.Previous, s.Operation.PreviousOutputs
		}
	}
	return &s.Deployment, s.Outputs
}

// UpdateStack begins to update a stack, named by name or ARN, and returns its ARN.
func (e *Engine) UpdateStack(ctx context.Context, reference string, w Wanted) (id string, err error) {
	s, err := e.look(ctx, reference)
	if err != nil {
		return "", err
	}
	if w.Token != "" && s.Token == w.Token {
		return s.ID, nil // the same request, sent again
	}
	if !slices.Contains(updatable, s.Status) {
		return "", cannotUpdate(s)
	}
	d, p, err := e.update(ctx, s, w)
	if err != nil {
		return "", err
	}
	if p.empty() && s.Status != updateFailed && s.Status != createFailed {
		return "", Validation.New("No updates are to be performed.")
	}
	err = e.o.Store.Update(ctx, func(tx *store.Tx) error {
		now, err := tx.LockStack(ctx, s.ID)
		if err != nil {
			return err
		}
		if !slices.Contains(updatable, now.Status) {
			return cannotUpdate(now)
		}
		sets, err := tx.StackChangeSets(ctx, s.ID, "", maxChangeSets)
		if err != nil {
			return err
		}
		for _, c := range sets {
			if c.Execution == "AVAILABLE" {
				c.Execution = "OBSOLETE"
				if err := tx.PutStackChangeSet(ctx, c); err != nil {
					return err
				}
			}
		}
		return e.begin(ctx, tx, now, d, w)
	})
	if err != nil {
		return "", err
	}
	e.wakeUp()
	return s.ID, nil
}

// update reads and checks what a stack is to become, and what that changes.
func (e *Engine) update(ctx context.Context, s store.Stack, w Wanted) (*deployment, *plan, error) {
	if err := e.assumable(ctx, s.Scope.Account, w.RoleARN, s.ID); err != nil {
		return nil, nil, err
	}
	d, err := e.prepare(ctx, s, &s.Deployment, w)
	if err != nil {
		return nil, nil, err
	}
	p, err := e.plan(ctx, s, d)
	return d, p, err
}

// begin begins an update of a stack whose lock the transaction has.
func (e *Engine) begin(ctx context.Context, tx *store.Tx, s store.Stack, d *deployment, w Wanted) error {
	op, err := e.operation(ctx, w.Token)
	if err != nil {
		return err
	}
	op.Previous, op.PreviousOutputs = stable(s)
	if s.Status == updateFailed && s.Operation != nil {
		op.PreviousImports = s.Operation.PreviousImports
	} else if op.PreviousImports, err = tx.ImportsOfStack(ctx, s.ID); err != nil {
		return err
	}
	if err := tx.PutStackTemplate(ctx, s.ID, d.source); err != nil {
		return err
	}
	s.Operation, s.Deployment, s.Token = op, d.Deployment, w.Token
	s.Status, s.Reason, s.Updated = updateInProgress, userInitiated, e.o.Now()
	return e.start(ctx, tx, s)
}

// DeleteStack begins to delete a stack. One that does not exist is a success.
func (e *Engine) DeleteStack(ctx context.Context, reference string, w Deletion) error {
	s, err := e.look(ctx, reference)
	if Validation.Is(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if w.RoleARN != "" && w.RoleARN != s.RoleARN {
		if err := e.assumable(ctx, s.Scope.Account, w.RoleARN, s.ID); err != nil {
			return err
		}
	}
	op, err := e.operation(ctx, w.Token)
	if err != nil {
		return err
	}
	err = e.o.Store.Update(ctx, func(tx *store.Tx) error {
		s, err := tx.LockStack(ctx, s.ID)
		if missing(err) || err == nil && (s.Status == deleteComplete || s.Status == deleteInProgress) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := e.deletable(ctx, tx, s, w); err != nil {
			return err
		}
		busy := inProgress(s.Status)
		s.Operation = op
		op.Retain, op.ForceDeletion = w.Retain, w.Force
		if w.RoleARN != "" {
			s.RoleARN = w.RoleARN
		}
		s.Status, s.Reason, s.Deletion, s.Token = deleteInProgress, userInitiated, e.o.Now(), w.Token
		if busy {
			s.Signal = store.StackDelete
		}
		return e.start(ctx, tx, s)
	})
	if err != nil {
		return err
	}
	e.poke(s.ID)
	e.wakeUp()
	return nil
}

// deletable refuses to delete a stack that is protected, busy, or needed by
// others.
func (e *Engine) deletable(ctx context.Context, tx *store.Tx, s store.Stack, w Deletion) error {
	switch {
	case inProgress(s.Status) && s.Status != createInProgress && s.Status != rollbackInProgress:
		return Validation.Errorf("Stack [%s] cannot be deleted while in status %s", s.ID, s.Status)
	case len(w.Retain) > 0 && s.Status != deleteFailed:
		return Validation.Errorf("Invalid operation on stack [%s]. When you delete a stack, specify which resources to retain only when the stack is in the DELETE_FAILED state.", s.ID)
	case w.Force && s.Status != deleteFailed:
		return Validation.Errorf("Invalid operation on stack [%s]. FORCE_DELETE_STACK is only allowed when the stack is in the DELETE_FAILED state.", s.ID)
	}
	protected := s
	if _, byParent := parentOf(ctx); s.Root != "" && !byParent {
		root, err := tx.Stack(ctx, s.Root)
		if err != nil && !missing(err) {
			return err
		}
		protected.Protected = root.Protected
	}
	if protected.Protected {
		return Validation.Errorf("Stack [%s] cannot be deleted while TerminationProtection is enabled", s.Name)
	}
	exports, err := tx.ExportsOfStack(ctx, s.ID)
	if err != nil {
		return err
	}
	for _, name := range exports {
		if _, err := tx.LockStackExport(ctx, s.Scope, name); err != nil {
			return err
		}
		by, err := tx.StackImports(ctx, s.Scope, name, "", mostImports)
		if err != nil {
			return err
		}
		if len(by) > 0 {
			return Validation.Errorf("Export %s cannot be deleted as it is in use by %s", name, listed(by))
		}
	}
	if len(w.Retain) == 0 {
		return nil
	}
	all, err := tx.StackResources(ctx, s.ID)
	if err != nil {
		return err
	}
	for _, id := range w.Retain {
		if !slices.ContainsFunc(all, func(r store.StackResource) bool { return r.LogicalID == id }) {
			return Validation.Errorf("The specified resources to retain must be in a valid state. The following resources are not part of the stack: [%s]", id)
		}
	}
	return nil
}

// change does something to a stack under its lock.
func (e *Engine) change(ctx context.Context, reference string, fn func(tx *store.Tx, s store.Stack) error) (id string, err error) {
	s, err := e.look(ctx, reference)
	if err != nil {
		return "", err
	}
	err = e.o.Store.Update(ctx, func(tx *store.Tx) error {
		s, err := tx.LockStack(ctx, s.ID)
		if err != nil {
			return err
		}
		return fn(tx, s)
	})
	if err != nil {
		return "", err
	}
	e.poke(s.ID)
	e.wakeUp()
	return s.ID, nil
}

// CancelUpdateStack has an update that is under way rolled back.
func (e *Engine) CancelUpdateStack(ctx context.Context, reference, token string) error {
	_, err := e.change(ctx, reference, func(tx *store.Tx, s store.Stack) error {
		if s.Status == updateRollbackInProgress && token != "" && s.Token == token {
			return nil
		}
		if s.Status != updateInProgress || s.Operation == nil || s.Operation.Previous == nil {
			return Validation.New("CancelUpdateStack cannot be called from current stack status")
		}
		s.Status, s.Reason, s.Token, s.Operation.Token, s.Signal = updateRollbackInProgress, userInitiated, token, token, store.StackCancel
		return e.start(ctx, tx, s)
	})
	return err
}

// ContinueUpdateRollback goes on with a rollback of an update that failed. The
// resources to be skipped count as rolled back; those of nested stacks have the
// form Stack.Resource.
func (e *Engine) ContinueUpdateRollback(ctx context.Context, reference, role, token string, skip []string) error {
	s, err := e.look(ctx, reference)
	if err != nil {
		return err
	}
	if err := e.assumable(ctx, s.Scope.Account, role, s.ID); err != nil {
		return err
	}
	_, err = e.change(ctx, reference, func(tx *store.Tx, s store.Stack) error {
		if token != "" && s.Token == token {
			return nil
		}
		if s.Status != updateRollbackFailed || s.Operation == nil {
			return Validation.Errorf("Stack:%s is in %s state and can not continue rollback.", s.ID, s.Status)
		}
		all, err := tx.StackResources(ctx, s.ID)
		if err != nil {
			return err
		}
		for _, id := range skip {
			if of, rest, nested := strings.Cut(id, "."); nested {
				if id = rest; of != s.Name {
					continue // a nested stack's, which it looks at
				}
			}
			i := slices.IndexFunc(all, func(r store.StackResource) bool { return r.LogicalID == id && r.Standing == store.StackLive })
			if i < 0 || all[i].Status != updateFailed {
				return Validation.Errorf("The following resources to skip are not in UPDATE_FAILED state, or are no resources of this stack: [%s]", id)
			}
		}
		op, err := e.operation(ctx, token)
		if err != nil {
			return err
		}
		op.Previous, op.PreviousOutputs, op.PreviousImports, op.Skip = s.Operation.Previous, s.Operation.PreviousOutputs, s.Operation.PreviousImports, skip
		if role != "" {
			s.RoleARN = role
		}
		s.Operation, s.Token = op, token
		s.Status, s.Reason = updateRollbackInProgress, userInitiated
		return e.start(ctx, tx, s)
	})
	return err
}

// interruptNested has the stacks that are nested in this one end what they are in
// the middle of, and take it back.
func (r *run) interruptNested() {
	err := r.o.Store.Update(r.work, func(tx *store.Tx) error {
		all, err := tx.NestedStacks(r.work, r.id)
		if err != nil {
			return err
		}
		for _, s := range all {
			if s, err = tx.LockStack(r.work, s.ID); err != nil {
				return err
			}
			switch {
			case s.Status == createInProgress:
				s.Status, s.Deletion = rollbackInProgress, r.o.Now()
			case s.Status == updateInProgress && s.Operation.Previous != nil:
				s.Status = updateRollbackInProgress
			default:
				continue
			}
			s.Reason, s.Signal = "The stack that it is nested in ended its operation.", store.StackCancel
			if err := r.start(r.work, tx, s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.o.Log.LogAttrs(r.work, slog.LevelWarn, "nested stacks not told", slog.String("stack", r.id), slog.Any("err", err))
		return
	}
	r.pokeNested()
}

// pokeNested has all runs of this process look at their stacks again.
func (r *run) pokeNested() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, other := range r.running {
		if other.nested {
			other.pokeIt()
		}
	}
}

// restoreNested has a nested stack whose rollback failed go on with it, before
// what it was is asked of it.
func (r *run) restoreNested(ctx context.Context, id string) error {
	s, err := r.look(ctx, id)
	if Validation.Is(err) {
		return nil // it is gone, as the type will tell
	}
	if err != nil || s.Status != updateRollbackFailed {
		return err
	}
	var skip []string
	for _, one := range r.s.Operation.Skip {
		if strings.Contains(one, ".") {
			skip = append(skip, one)
		}
	}
	return r.ContinueUpdateRollback(ctx, s.ID, "", "", skip)
}

// RollbackStack rolls back what failed with rollback disabled, and returns the
// stack's ARN.
func (e *Engine) RollbackStack(ctx context.Context, reference, role, token string, retainOnCreate bool) (id string, err error) {
	s, err := e.look(ctx, reference)
	if err != nil {
		return "", err
	}
	if err := e.assumable(ctx, s.Scope.Account, role, s.ID); err != nil {
		return "", err
	}
	return e.change(ctx, reference, func(tx *store.Tx, s store.Stack) error {
		if token != "" && s.Token == token {
			return nil
		}
		op, err := e.operation(ctx, token)
		if err != nil {
			return err
		}
		switch {
		case s.Status == createFailed:
			s.Status, s.Deletion = rollbackInProgress, e.o.Now()
		case s.Status == updateFailed && s.Operation != nil && s.Operation.Previous != nil:
			s.Status = updateRollbackInProgress
			op.Previous, op.PreviousOutputs, op.PreviousImports = s.Operation.Previous, s.Operation.PreviousOutputs, s.Operation.PreviousImports
		case s.Status == updateFailed:
			s.Status, s.Deletion = rollbackInProgress, e.o.Now()
		default:
			return Validation.Errorf("Stack:%s is in %s state and can not be rolled back.", s.ID, s.Status)
		}
		if role != "" {
			s.RoleARN = role
		}
		s.Operation, s.Token, s.Reason, s.RetainOnCreate = op, token, userInitiated, retainOnCreate
		return e.start(ctx, tx, s)
	})
}

// UpdateTerminationProtection says whether a stack may be deleted, and returns its
// ARN.
func (e *Engine) UpdateTerminationProtection(ctx context.Context, reference string, protected bool) (id string, err error) {
	return e.change(ctx, reference, func(tx *store.Tx, s store.Stack) error {
		if s.Parent != "" {
			return Validation.Errorf("Termination protection cannot be set on a nested stack. Set it on the root stack [%s].", s.Root)
		}
		if s.Status == deleteComplete || s.Status == deleteInProgress {
			return Validation.Errorf("Stack [%s] does not exist", s.Name)
		}
		s.Protected = protected
		return tx.PutStack(ctx, s)
	})
}

// ShownResources are the resources of a stack as DescribeStackResources tells
// them: one for each logical ID, ordered by it.
func ShownResources(all []store.StackResource) []store.StackResource {
	shown := map[string]store.StackResource{}
	for _, r := range all {
		if r.Standing == store.StackLive {
			shown[r.LogicalID] = r
		}
	}
	var list []store.StackResource
	for _, id := range slices.Sorted(maps.Keys(shown)) {
		list = append(list, shown[id])
	}
	return list
}
