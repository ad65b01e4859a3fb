package stack

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lamina-run/lamina/stack/resources"
	"github.com/lamina-run/lamina/stack/template"
	"github.com/lamina-run/lamina/store"
)

const (
	kindCreate  = "create"
	kindUpdate  = "update"
	kindDelete  = "delete"
	kindRestore = "restore" // an update that takes one back

	// longestStep bounds a step that waits for nobody.
	longestStep = 15 * time.Minute

	longestPhysicalID = 1024 // bytes

	hence             = "Requested update requires the creation of a new physical resource; hence creating one."
	initiated         = "Resource creation Initiated"
	creationCancelled = "Resource creation cancelled"
	updateCancelled   = "Resource update cancelled"

	resourceCreate       = "CREATE_IN_PROGRESS"
	resourceUpdate       = "UPDATE_IN_PROGRESS"
	resourceDelete       = "DELETE_IN_PROGRESS"
	cleanups             = 3 // attempts to delete what an update left over
	notDeleted           = "Update successful. One or more resources could not be deleted."
	notDeletedInRollback = "Update rollback successful. One or more resources could not be deleted."
	timeExceeded         = "Stack creation time exceeded the specified timeout"
	failedDeletes        = "The following resource(s) failed to delete: ["
	failedUpdates        = "The following resource(s) failed to update: ["
	typeChanged          = "Update of resource type is not permitted. The new template modifies resource type of the following resources: "
)

// deploy makes and changes the resources that the target has, and returns the
// logical IDs of those that failed.
func (r *run) deploy() (failed []string, err error) {
	if err := r.enter(); err != nil {
		return nil, err
	}
	// What other stacks export has to be there before anything is done.
	scope := *r.target.scope
	scope.Ref, scope.GetAtt = nil, nil
	ids := slices.Sorted(maps.Keys(r.target.graph))
	for _, id := range ids {
		if _, err := scope.PreviewProperties(id); err != nil {
			return nil, r.failing(err)
		}
	}
	for _, o := range r.target.t.Outputs {
		if scope.Condition(o.Condition) {
			if _, err := scope.Preview(o.Value); err != nil {
				return nil, r.failing(err)
			}
		}
	}
	tasks := make([]task, 0, len(ids))
	for _, id := range ids {
		tasks = append(tasks, task{
			key: id, needs: r.target.graph[id], typ: r.target.t.Resources[id].Type,
			begin: func() (func(context.Context) outcome, bool, error) { return r.beginDeploy(id) },
			end:   func(o outcome, cancelled bool) (bool, error) { return r.endStep(r.live[id], o, cancelled) },
		})
	}
	o := walkOptions{cancels: !r.s.DisableRollback && r.s.Operation.OnFailure != "DO_NOTHING"}
	if r.s.Status == createInProgress {
		o.deadline = r.s.Operation.Deadline
	}
	failed, err = r.walk(tasks, o)
	late := errors.Is(err, errDeadline)
	if late || err == nil && len(failed) > 0 {
		// Another server may have begun steps that this one has not come to.
		var more []string
		if more, err = r.settle(late || o.cancels); err != nil {
			return nil, err
		}
		failed = append(failed, more...)
	}
	if late {
		return nil, &failure{timeExceeded}
	}
	slices.Sort(failed)
	return failed, err
}

// failing makes an error of a template's functions a failure, unless it is one of
// ours.
func (r *run) failing(err error) error {
	if errors.Is(err, errLost) || r.work.Err() != nil {
		return err
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	return &failure{reason(err)}
}

// beginDeploy finds out what has to be done to a resource.
func (r *run) beginDeploy(id string) (do func(context.Context) outcome, failed bool, err error) {
	row, exists := r.current(id)
	if exists && row.Step != nil {
		return r.resume(row), false, nil
	}
	if exists && row.Operation == r.s.Operation.ID {
		return nil, strings.HasSuffix(row.Status, "_FAILED"), nil
	}
	def := r.target.t.Resources[id]
	next, err := r.wanted(id)
	if err != nil {
		if errors.Is(err, errLost) || r.work.Err() != nil {
			return nil, false, err
		}
		r.fail(id, row, exists, reason(err))
		return nil, true, nil
	}
	typ, ok := r.o.Types.Type(def.Type)
	if !ok {
		r.fail(id, row, exists, "Template format error: Unrecognized resource types: ["+def.Type+"]")
		return nil, true, nil
	}
	if exists && row.PhysicalID != "" && row.Type != def.Type {
		r.fail(id, row, exists, typeChanged+"["+id+"]")
		return nil, true, nil
	}
	switch {
	case !exists || row.PhysicalID == "":
		generation := row.Generation
		if !exists {
			generation = r.last[id] + 1
		}
		return r.create(id, generation, def.Type, next), false, nil
	case row.Status == createFailed || replaces(typ.Compare(row.Properties, next.Properties)):
		return r.replace(row, next), false, nil
	}
	changed := len(typ.Compare(row.Properties, next.Properties)) > 0 || typ.TakesTags() && !maps.Equal(row.Tags, next.Tags) ||
		row.Type == nestedType || row.Status == updateFailed
	if changed {
		return r.update(row, next), false, nil
	}
	r.adopt(row, next)
	return nil, false, nil
}

func replaces(all []resources.Difference) bool {
	return slices.ContainsFunc(all, func(d resources.Difference) bool { return d.Recreation == resources.Always })
}

// wanted is what the target says about a resource whose dependencies are there.
func (r *run) wanted(id string) (next store.StackResourceState, err error) {
	def := r.target.t.Resources[id]
	next = store.StackResourceState{
		DeletionPolicy: def.DeletionPolicy, UpdateReplacePolicy: def.UpdateReplacePolicy, DependsOn: r.target.graph[id], Tags: r.target.Tags,
		Operation: r.s.Operation.ID,
	}
	if next.Properties, err = r.target.scope.Properties(id); err != nil {
		return next, err
	}
	secret, err := r.target.masked.Properties(id)
	if err != nil {
		return next, err
	}
	if !reflect.DeepEqual(secret, next.Properties) {
		next.Secret = secret
	}
	next.Metadata, err = r.target.metadata(id)
	return next, err
}

// fail records that nothing could be done to a resource.
func (r *run) fail(id string, row store.StackResource, exists bool, why string) {
	status := updateFailed
	if !exists {
		status = createFailed
		row = store.StackResource{
			Stack: r.id, LogicalID: id, Generation: r.last[id] + 1, Type: r.target.t.Resources[id].Type, Standing: store.StackLive,
			StackResourceState: store.StackResourceState{Made: true, DependsOn: r.target.graph[id]},
		}
	} else if row.PhysicalID == "" {
		status = createFailed
	} else {
		row.Before = before(row)
	}
	row.Operation = r.s.Operation.ID
	r.set(&row, status, why)
	r.put([]store.StackResource{row}, nil, []store.StackEvent{r.event(row, status, why)})
}

// before is what a rollback brings back.
func before(row store.StackResource) *store.StackResourceState {
	if row.Before != nil {
		return row.Before
	}
	b := row.StackResourceState
	b.Step, b.Before = nil, nil
	return &b
}

func (r *run) set(row *store.StackResource, status, why string) {
	row.Status, row.Reason, row.Updated = status, why, r.o.Now()
}

// create begins to make a resource.
func (r *run) create(id string, generation int64, typ string, next store.StackResourceState) func(context.Context) outcome {
	row := store.StackResource{Stack: r.id, LogicalID: id, Generation: generation, Type: typ, Standing: store.StackLive, StackResourceState: next}
	row.Seed, row.Made = newSeed(), true
	row.Step = &store.StackStep{Kind: kindCreate, Token: newID()}
	r.set(&row, resourceCreate, "")
	return r.step(row, r.put([]store.StackResource{row}, nil, []store.StackEvent{r.event(row, resourceCreate, "")}), false)
}

// replace begins to make a resource beside the one that there is.
func (r *run) replace(old store.StackResource, next store.StackResourceState) func(context.Context) outcome {
	row := old
	old.Standing = store.StackReplaced
	row.Generation, row.PhysicalID, row.StackResourceState = r.last[old.LogicalID]+1, "", next
	row.Seed, row.Made = newSeed(), true
	row.Step = &store.StackStep{Kind: kindCreate, Token: newID()}
	r.set(&row, resourceUpdate, hence)
	e := r.event(row, resourceUpdate, hence)
	e.PhysicalID = old.PhysicalID
	return r.step(row, r.put([]store.StackResource{old, row}, nil, []store.StackEvent{e}), false)
}

// update begins to change a resource in place.
func (r *run) update(row store.StackResource, next store.StackResourceState) func(context.Context) outcome {
	row.Before = before(row)
	row.Operation = r.s.Operation.ID
	row.Tried = true
	row.Step = &store.StackStep{Kind: kindUpdate, Token: newID(), Next: &next}
	r.set(&row, resourceUpdate, "")
	shown := row
	shown.Properties, shown.Secret = next.Properties, next.Secret
	return r.step(row, r.put([]store.StackResource{row}, nil, []store.StackEvent{r.event(shown, resourceUpdate, "")}), false)
}

// adopt records what is wanted of a resource and nothing has to be done for.
func (r *run) adopt(row store.StackResource, next store.StackResourceState) {
	was := row
	metadata := text(row.Metadata) != text(next.Metadata)
	if !metadata && row.DeletionPolicy == next.DeletionPolicy && row.UpdateReplacePolicy == next.UpdateReplacePolicy &&
		slices.Equal(row.DependsOn, next.DependsOn) && text(row.Properties) == text(next.Properties) && text(row.Secret) == text(next.Secret) && maps.Equal(row.Tags, next.Tags) {
		return
	}
	next.Seed, next.Attributes, next.NoEcho, next.Made, next.Tried, next.Before = was.Seed, was.Attributes, was.NoEcho, was.Made, was.Tried, before(was)
	row.StackResourceState = next
	var events []store.StackEvent
	if metadata || row.DeletionPolicy != was.DeletionPolicy || row.UpdateReplacePolicy != was.UpdateReplacePolicy {
		events = append(events, r.event(row, resourceUpdate, ""), r.event(row, updateComplete, ""))
		r.set(&row, updateComplete, "")
	}
	r.put([]store.StackResource{row}, nil, events)
}

// resume goes on with a step that was begun before.
func (r *run) resume(row store.StackResource) func(context.Context) outcome {
	durable := make(chan error, 1)
	durable <- nil
	return r.step(row, durable, true)
}

// step is what is done aside once the row, with its Step, is durable.
func (r *run) step(row store.StackResource, durable <-chan error, again bool) func(context.Context) outcome {
	s, token := r.s, row.Step.Token
	return func(ctx context.Context) outcome {
		if err := <-durable; err != nil {
			return outcome{unrecorded: err}
		}
		if !waits(row.Type) {
			select {
			case r.steps <- struct{}{}:
				defer func() { <-r.steps }()
			case <-ctx.Done():
				return outcome{unrecorded: context.Cause(ctx)}
			}
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, longestStep)
			defer cancel()
		}
		out := outcome{note: row.Step.Note}
		typ, ok := r.o.Types.Type(row.Type)
		if !ok {
			out.err = errors.New("Unrecognized resource type: " + row.Type)
			return out
		}
		wanted := row.StackResourceState
		step := &resources.Step{
			LogicalID: row.LogicalID, Type: row.Type, Seed: row.Seed, PhysicalID: row.PhysicalID, Attributes: row.Attributes,
			Token: token, Again: again, Note: row.Step.Note,
			Adopt: s.Adopt && strings.HasPrefix(row.DeletionPolicy, "Retain"), // never what a rollback would delete
		}
		if row.Step.Next != nil {
			wanted = *row.Step.Next
			step.Old, step.OldTags = row.Properties, row.Tags
		}
		step.Stack = stepStack(s, wanted.Tags)
		step.Keep = func(note string) error {
			kept := row
			kept.Step = &store.StackStep{Kind: row.Step.Kind, Token: token, Next: row.Step.Next, Note: note}
			err := <-r.submit(func(ctx context.Context, tx *store.Tx) error { return tx.PutStackResource(ctx, kept) })
			if err == nil {
				out.note = note
			}
			return err
		}
		var made resources.Made
		properties, err := template.Dereference(wanted.Properties, func(ref template.Reference) (string, error) { return r.dereference(ctx, ref) })
		if err == nil {
			step.Properties, _ = properties.(map[string]any) // it was one
			switch row.Step.Kind {
			case kindCreate:
				made, err = typ.Create(ctx, step)
			case kindUpdate:
				made, err = typ.Update(ctx, step)
			case kindRestore:
				if row.Type == nestedType {
					if err = r.restoreNested(ctx, row.PhysicalID); err != nil {
						break
					}
					step.Again = true // an update of it may be under way
				}
				made, err = typ.Update(ctx, step)
			case kindDelete:
				err = typ.Delete(ctx, step)
			}
		}
		if len(made.PhysicalID) > longestPhysicalID || strings.Contains(made.PhysicalID, "\x00") || !utf8.ValidString(made.PhysicalID) {
			made, err = resources.Made{}, errors.New("the physical ID has more than 1024 bytes, or is no text")
		}
		out.physicalID, out.attributes, out.noEcho, out.err = made.PhysicalID, made.Attributes, made.NoEcho, err
		return out
	}
}

// dereference looks a dynamic reference up.
func (r *run) dereference(ctx context.Context, ref template.Reference) (string, error) {
	name := ref.Name
	if ref.Version > 0 {
		name += ":" + strconv.FormatInt(ref.Version, 10)
	}
	v, secure, err := r.o.Parameters.StackParameter(ctx, name)
	if err == nil && secure {
		err = Validation.Errorf("SSM Secure reference is not supported in: [{{resolve:ssm:%s}}]", name)
	}
	return v, err
}

// endStep records how a creation or an update of a resource went.
func (r *run) endStep(k rowKey, o outcome, cancelled bool) (failed bool, err error) {
	row := r.rows[k]
	step := row.Step
	row.Step = nil
	if step.Kind == kindUpdate {
		return r.endUpdate(row, step, o, cancelled)
	}
	replacing := row.Status == resourceUpdate
	inProgress, complete, bad := resourceCreate, createComplete, createFailed
	if replacing {
		inProgress, complete, bad = resourceUpdate, updateComplete, updateFailed
	}
	row.PhysicalID = o.physicalID
	row.Attributes, row.NoEcho = o.attributes, o.noEcho
	var events []store.StackEvent
	if row.PhysicalID != "" {
		events = append(events, r.event(row, inProgress, initiated))
	}
	switch {
	case o.err == nil && row.PhysicalID == "":
		o.err = errors.New("the resource has no physical ID")
		fallthrough
	case o.err != nil && !cancelledStep(o.err):
		r.set(&row, bad, reason(o.err))
		failed = true
	case o.err != nil || cancelled:
		r.set(&row, bad, creationCancelled)
		failed = true
	default:
		r.set(&row, complete, "")
	}
	r.put([]store.StackResource{row}, nil, append(events, r.event(row, row.Status, row.Reason)))
	return failed, nil
}

// cancelledStep reports whether a step says that it was told to end.
func cancelledStep(err error) bool {
	return errors.Is(err, errCancelled) || errors.Is(err, context.Canceled)
}

func (r *run) endUpdate(row store.StackResource, step *store.StackStep, o outcome, cancelled bool) (failed bool, err error) {
	next := *step.Next
	next.Seed, next.Made, next.Before, next.Tried = row.Seed, row.Made, row.Before, row.Tried
	next.Attributes, next.NoEcho = row.Attributes, row.NoEcho
	was := row
	row.StackResourceState = next
	rows := []store.StackResource{}
	switch {
	case o.err != nil && !cancelledStep(o.err):
		r.set(&row, updateFailed, reason(o.err))
		failed = true
	case o.err != nil || cancelled:
		r.set(&row, updateFailed, updateCancelled)
		failed = true
	default:
		r.set(&row, updateComplete, "")
	}
	var forget []rowKey
	if o.err == nil {
		row.Attributes, row.NoEcho = o.attributes, o.noEcho
	}
	if o.physicalID != "" && o.physicalID != row.PhysicalID {
		forget = r.moved(&row, was, o.physicalID, &rows)
	}
	rows = append(rows, row)
	r.put(rows, forget, []store.StackEvent{r.event(row, row.Status, row.Reason)})
	return failed, nil
}

// moved gives a resource that an update replaced its new physical ID. The one that
// was there before is kept beside it, unless it comes back.
func (r *run) moved(row *store.StackResource, was store.StackResource, physicalID string, rows *[]store.StackResource) (forget []rowKey) {
	for k, other := range r.rows {
		if k.id == row.LogicalID && other.Standing == store.StackReplaced && other.PhysicalID == physicalID {
			forget = append(forget, k)
		}
	}
	other := was
	other.Generation, other.Standing, other.Step, other.Before = r.last[was.LogicalID]+1, store.StackReplaced, nil, nil
	other.Made = true // it does not come back by itself
	*rows = append(*rows, other)
	row.PhysicalID = physicalID
	return forget
}

// settle finds out what became of steps that a server began and did not end. It
// returns the logical IDs of those that failed, which all have when they count as
// cancelled.
func (r *run) settle(cancelled bool) (failed []string, err error) {
	var tasks []task
	for _, k := range r.keys() {
		row := r.rows[k]
		if row.Step == nil || row.Step.Kind == kindDelete || row.Step.Kind == kindRestore {
			continue
		}
		tasks = append(tasks, task{
			key: k.String(), typ: row.Type,
			begin: func() (func(context.Context) outcome, bool, error) { return r.resume(row), false, nil },
			end:   func(o outcome, _ bool) (bool, error) { return r.endStep(k, o, cancelled) },
		})
	}
	if len(tasks) == 0 {
		return nil, nil
	}
	failed, err = r.walk(tasks, walkOptions{independent: true})
	return names(failed), err
}

func (k rowKey) String() string { return k.id + "#" + strconv.FormatInt(k.generation, 10) }

// deletions are the tasks that delete resources, each after those that need it.
func (r *run) deletions(doomed []rowKey, keep func(store.StackResource) bool, forget bool) []task {
	needed := map[string][]string{} // by logical ID: keys of what depends on it
	for _, k := range doomed {
		for _, on := range r.rows[k].DependsOn {
			if on != k.id {
				needed[on] = append(needed[on], k.String())
			}
		}
	}
	var tasks []task
	for _, k := range doomed {
		tasks = append(tasks, task{
			key: k.String(), needs: needed[k.id], typ: r.rows[k].Type,
			begin: func() (func(context.Context) outcome, bool, error) { return r.beginDelete(k, keep, forget) },
			end:   func(o outcome, _ bool) (bool, error) { return r.endDelete(k, o, forget) },
		})
	}
	return tasks
}

func (r *run) beginDelete(k rowKey, keep func(store.StackResource) bool, forget bool) (do func(context.Context) outcome, failed bool, err error) {
	row := r.rows[k]
	switch {
	case row.Step != nil && row.Step.Kind == kindDelete:
		return r.resume(row), false, nil
	case row.Status == deleteComplete, row.Status == deleteSkipped:
		return nil, false, nil
	case row.PhysicalID == "":
		r.deleted(row, deleteComplete, "", forget)
		return nil, false, nil
	case keep(row):
		r.deleted(row, deleteSkipped, "", forget)
		return nil, false, nil
	}
	row.Step = &store.StackStep{Kind: kindDelete, Token: newID()}
	r.set(&row, resourceDelete, "")
	return r.step(row, r.put([]store.StackResource{row}, nil, []store.StackEvent{r.event(row, resourceDelete, "")}), false), false, nil
}

// deleted records that a resource is no part of the stack any more.
func (r *run) deleted(row store.StackResource, status, why string, forget bool) {
	row.Step = nil
	r.set(&row, status, why)
	events := []store.StackEvent{r.event(row, status, why)}
	if forget {
		r.put(nil, []rowKey{{row.LogicalID, row.Generation}}, events)
	} else {
		r.put([]store.StackResource{row}, nil, events)
	}
}

func (r *run) endDelete(k rowKey, o outcome, forget bool) (failed bool, err error) {
	row := r.rows[k]
	switch {
	case o.err == nil:
		r.deleted(row, deleteComplete, "", forget)
	case r.s.Operation.ForceDeletion:
		r.deleted(row, deleteSkipped, reason(o.err), forget)
	default:
		row.Step = nil
		r.set(&row, deleteFailed, reason(o.err))
		r.put([]store.StackResource{row}, nil, []store.StackEvent{r.event(row, deleteFailed, row.Reason)})
		return true, nil
	}
	return false, nil
}

// names are the logical IDs of physical resources, sorted.
func names(keys []string) []string {
	var all []string
	for _, k := range keys {
		id, _, _ := strings.Cut(k, "#")
		all = append(all, id)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// remove deletes all resources of a stack that is rolled back or deleted.
func (r *run) remove() error {
	if _, err := r.settle(true); err != nil {
		return err
	}
	op, deleting := r.s.Operation, r.s.Status == deleteInProgress
	keep := func(row store.StackResource) bool {
		switch {
		case row.Standing == store.StackLeftover:
			return row.Keep
		case deleting && slices.Contains(op.Retain, row.LogicalID):
			return true
		case row.Status == createFailed, row.Standing != store.StackLive:
			return false
		case deleting:
			return retains(row.DeletionPolicy)
		default:
			return row.DeletionPolicy == "Retain" && !r.s.RetainOnCreate
		}
	}
	failed, err := r.walk(r.deletions(r.keys(), keep, false), walkOptions{independent: true})
	if err != nil {
		return err
	}
	if len(failed) > 0 {
		status := rollbackFailed
		if deleting {
			status = deleteFailed
		}
		return r.transit(status, failedDeletes+strings.Join(names(failed), ", ")+"]. ", func(ctx context.Context, tx *store.Tx, s *store.Stack) error {
			return r.end(ctx, tx, s, nil)
		})
	}
	if !deleting {
		return r.transit(rollbackComplete, "", func(ctx context.Context, tx *store.Tx, s *store.Stack) error {
			if err := tx.KeepStackImports(ctx, r.id, nil); err != nil {
				return err
			}
			return r.end(ctx, tx, s, r.settled())
		})
	}
	return r.transit(deleteComplete, "", func(ctx context.Context, tx *store.Tx, s *store.Stack) error { return erase(ctx, tx, s, r.o.Now()) })
}

// erase takes a stack without resources out of everybody's way.
func erase(ctx context.Context, tx *store.Tx, s *store.Stack, now time.Time) error {
	s.Operation, s.Signal, s.Deleted = nil, "", now
	if err := tx.KeepStackImports(ctx, s.ID, nil); err != nil {
		return err
	}
	exports, err := tx.ExportsOfStack(ctx, s.ID)
	if err != nil {
		return err
	}
	for _, name := range exports {
		if err := tx.DeleteStackExport(ctx, s.Scope, name); err != nil {
			return err
		}
	}
	sets, err := tx.StackChangeSets(ctx, s.ID, "", maxChangeSets)
	if err != nil {
		return err
	}
	for _, c := range sets {
		if _, err := tx.DeleteStackChangeSet(ctx, c.ID); err != nil {
			return err
		}
	}
	return tx.KeepStackEvents(ctx, s.ID, eventsKept)
}

// back takes an update back.
func (r *run) back() error {
	if _, err := r.settle(true); err != nil {
		return err
	}
	var tasks []task
	for _, k := range r.keys() {
		row := r.rows[k]
		restored := row
		switch {
		case row.Standing == store.StackReplaced && !row.Made && r.rows[r.live[k.id]].Made:
		case row.Standing == store.StackLive && !row.Made && row.Before != nil:
			restored.StackResourceState = *row.Before
		default:
			continue
		}
		tasks = append(tasks, task{
			key: k.id, needs: restored.DependsOn, typ: row.Type,
			begin: func() (func(context.Context) outcome, bool, error) { return r.beginBack(k) },
			end:   func(o outcome, _ bool) (bool, error) { return r.endBack(k, o) },
		})
	}
	failed, err := r.walk(tasks, walkOptions{independent: true})
	if err != nil {
		return err
	}
	if len(failed) > 0 {
		return r.transit(updateRollbackFailed, failedUpdates+strings.Join(names(failed), ", ")+"]. ", nil)
	}
	rows := r.settled()
	for i, row := range rows {
		was := r.rows[rowKey{row.LogicalID, row.Generation}]
		switch {
		case row.Standing == store.StackReplaced:
			rows[i].Standing, rows[i].Keep = store.StackLeftover, false
		case row.Standing == store.StackLive && was.Made:
			rows[i].Standing = store.StackLeftover
			rows[i].Keep = row.DeletionPolicy == "Retain" && !r.s.RetainOnCreate && row.Status != createFailed
		}
	}
	return r.transit(updateRollbackCleanup, "", func(ctx context.Context, tx *store.Tx, s *store.Stack) error {
		s.Deployment, s.Outputs = *s.Operation.Previous, s.Operation.PreviousOutputs
		if err := tx.KeepStackImports(ctx, r.id, s.Operation.PreviousImports); err != nil {
			return err
		}
		return r.write(ctx, tx, rows)
	})
}

// beginBack brings back what a resource was.
func (r *run) beginBack(k rowKey) (do func(context.Context) outcome, failed bool, err error) {
	row := r.rows[k]
	if row.Step != nil {
		return r.resume(row), false, nil
	}
	var rows []store.StackResource
	if row.Standing == store.StackReplaced {
		other := r.rows[r.live[k.id]]
		other.Standing = store.StackReplaced
		row.Standing = store.StackLive
		rows = append(rows, other)
	}
	if row.Before == nil || !row.Tried || r.skips(k.id) {
		if row.Before != nil {
			row.StackResourceState = *row.Before
		}
		r.set(&row, updateComplete, "")
		r.put(append(rows, row), nil, []store.StackEvent{r.event(row, resourceUpdate, ""), r.event(row, updateComplete, "")})
		return nil, false, nil
	}
	next := *row.Before
	row.Step = &store.StackStep{Kind: kindRestore, Token: newID(), Next: &next}
	r.set(&row, resourceUpdate, "")
	shown := row
	shown.Properties, shown.Secret = next.Properties, next.Secret
	return r.step(row, r.put(append(rows, row), nil, []store.StackEvent{r.event(shown, resourceUpdate, "")}), false), false, nil
}

func (r *run) endBack(k rowKey, o outcome) (failed bool, err error) {
	row := r.rows[k]
	step := row.Step
	was := row
	was.Step, row.Step = nil, nil
	var rows []store.StackResource
	var forget []rowKey
	if o.err != nil {
		// It stays as it is, with what it was before, for another attempt.
		if o.physicalID != "" && o.physicalID != row.PhysicalID {
			forget = r.moved(&row, was, o.physicalID, &rows)
		}
		r.set(&row, updateFailed, reason(o.err))
		r.put(append(rows, row), forget, []store.StackEvent{r.event(row, updateFailed, row.Reason)})
		return true, nil
	}
	seed := row.Seed
	row.StackResourceState = *step.Next
	row.Seed, row.Before, row.Tried = seed, nil, false
	row.Attributes, row.NoEcho = o.attributes, o.noEcho
	if o.physicalID != "" && o.physicalID != row.PhysicalID {
		forget = r.moved(&row, was, o.physicalID, &rows)
	}
	r.set(&row, updateComplete, "")
	r.put(append(rows, row), forget, []store.StackEvent{r.event(row, updateComplete, "")})
	return false, nil
}

// cleanup deletes what an update, or its rollback, has left over.
func (r *run) cleanup() error {
	status, sorry := updateComplete, notDeleted
	if r.s.Status == updateRollbackCleanup {
		status, sorry = updateRollbackComplete, notDeletedInRollback
	}
	why := ""
	for attempt := 1; ; attempt++ {
		var doomed []rowKey
		for _, k := range r.keys() {
			if r.rows[k].Standing == store.StackLeftover {
				doomed = append(doomed, k)
			}
		}
		failed, err := r.walk(r.deletions(doomed, func(row store.StackResource) bool { return row.Keep }, true), walkOptions{independent: true})
		if err != nil {
			return err
		}
		if len(failed) == 0 {
			break
		}
		if attempt == cleanups {
			why = sorry
			break
		}
		if err := r.pause(time.Duration(attempt) * r.cleanupPause); err != nil {
			return err
		}
	}
	return r.transit(status, why, func(ctx context.Context, tx *store.Tx, s *store.Stack) error {
		return r.end(ctx, tx, s, r.settled())
	})
}

func (r *run) pause(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-r.stopping:
		return errStopping
	case <-r.work.Done():
		return context.Cause(r.work)
	}
}

// skips reports whether a rollback is to leave a resource as it is.
func (r *run) skips(id string) bool {
	return slices.Contains(r.s.Operation.Skip, id) || slices.Contains(r.s.Operation.Skip, r.s.Name+"."+id)
}
