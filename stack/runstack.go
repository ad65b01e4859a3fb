package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/stack/template"
	"github.com/lamina-run/lamina/store"
)

// Statuses of stacks.
const (
	reviewInProgress         = "REVIEW_IN_PROGRESS"
	createInProgress         = "CREATE_IN_PROGRESS"
	createComplete           = "CREATE_COMPLETE"
	createFailed             = "CREATE_FAILED"
	rollbackInProgress       = "ROLLBACK_IN_PROGRESS"
	rollbackComplete         = "ROLLBACK_COMPLETE"
	rollbackFailed           = "ROLLBACK_FAILED"
	updateInProgress         = "UPDATE_IN_PROGRESS"
	updateCleanup            = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
	updateComplete           = "UPDATE_COMPLETE"
	updateFailed             = "UPDATE_FAILED"
	updateRollbackInProgress = "UPDATE_ROLLBACK_IN_PROGRESS"
	updateRollbackCleanup    = "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"
	updateRollbackComplete   = "UPDATE_ROLLBACK_COMPLETE"
	updateRollbackFailed     = "UPDATE_ROLLBACK_FAILED"
	deleteInProgress         = "DELETE_IN_PROGRESS"
	deleteComplete           = "DELETE_COMPLETE"
	deleteFailed             = "DELETE_FAILED"
	deleteSkipped            = "DELETE_SKIPPED" // of resources
)

const userInitiated = "User Initiated"

// rowKey names a physical resource.
type rowKey struct {
	id         string
	generation int64
}

// run is one stack that is worked on. Its fields are its goroutine's alone.
type run struct {
	*worker
	id     string
	nested bool
	poked  chan struct{} // capacity 1: the stack may have been asked for something else
	again  bool          // the loop's: the stack was claimed while it ran
	broken error         // the writer's: why nothing is written any more

	ctx    context.Context // of steps, with their caller
	s      store.Stack
	target *deployment // what a creation or an update leads to
	rows   map[rowKey]store.StackResource
	live   map[string]rowKey
	last   map[string]int64 // highest generation
}

func (r *run) pokeIt() {
	select {
	case r.poked <- struct{}{}:
	default: // it looks already
	}
}

// run works until the stack's status lasts, and gives it back.
func (r *run) run() {
	err := r.toTheEnd()
	attrs := []slog.Attr{slog.String("stack", r.id)}
	switch {
	case err == nil:
		r.o.Log.LogAttrs(r.work, slog.LevelInfo, "stack settled", append(attrs, slog.String("status", r.s.Status))...)
	case errors.Is(err, errStopping), errors.Is(err, errLost), r.work.Err() != nil:
		r.o.Log.LogAttrs(r.work, slog.LevelInfo, "stack left to others", append(attrs, slog.Any("err", err))...)
	default:
		r.o.Log.LogAttrs(r.work, slog.LevelError, "stack not worked on", append(attrs, slog.Any("err", err))...)
		ctx := context.WithoutCancel(r.work)
		err := r.worker.update(ctx, func(tx *store.Tx) error {
			if _, mine, err := tx.HoldStack(ctx, r.id, r.owner); err != nil || !mine {
				return err
			}
			return tx.ScheduleStack(ctx, r.id, r.o.Now().Add(stackAgain))
		})
		if err != nil {
			// The lease runs out.
			r.o.Log.LogAttrs(r.work, slog.LevelError, "stack not given back", append(attrs, slog.Any("err", err))...)
		}
	}
}

func (r *run) toTheEnd() error {
	for {
		if err := r.load(); err != nil {
			return err
		}
		var err error
		switch r.s.Status {
		case createInProgress, updateInProgress:
			err = r.forward()
		case rollbackInProgress, deleteInProgress:
			err = r.remove()
		case updateRollbackInProgress:
			err = r.back()
		case updateCleanup, updateRollbackCleanup:
			err = r.cleanup()
		default:
			return r.release()
		}
		if err != nil && !errors.Is(err, errChanged) {
			return err
		}
		select {
		case <-r.stopping:
			return errStopping
		default:
		}
	}
}

// release makes the stack nobody's.
func (r *run) release() error {
	return <-r.submit(func(ctx context.Context, tx *store.Tx) error {
		// Whoever began another operation since has made it due.
		s, err := tx.Stack(ctx, r.id)
		if err != nil || inProgress(s.Status) {
			return err
		}
		return tx.ScheduleStack(ctx, r.id, time.Time{})
	})
}

// inProgress reports whether somebody has to work on a stack of the status.
func inProgress(status string) bool {
	return strings.HasSuffix(status, "_IN_PROGRESS") && status != reviewInProgress
}

// load reads what is to be done, once what was written is durable.
func (r *run) load() error {
	if err := <-r.submit(func(context.Context, *store.Tx) error { return nil }); err != nil {
		return err
	}
	r.rows, r.live, r.last = map[rowKey]store.StackResource{}, map[string]rowKey{}, map[string]int64{}
	var all []store.StackResource
	err := r.o.Store.View(r.work, func(tx *store.Tx) (err error) {
		if r.s, err = tx.Stack(r.work, r.id); err != nil {
			return err
		}
		all, err = tx.StackResources(r.work, r.id)
		return err
	})
	if err != nil {
		return err
	}
	for _, row := range all {
		r.keep(row)
	}
	if !inProgress(r.s.Status) {
		return nil
	}
	if r.s.Operation == nil {
		return fmt.Errorf("stack %s is in %s without an operation", r.id, r.s.Status)
	}
	var caller identity.Caller
	if err := json.Unmarshal(r.s.Operation.Caller, &caller); err != nil {
		return fmt.Errorf("read the caller of %s: %w", r.id, err)
	}
	if role := r.s.RoleARN; role != "" {
		if caller, err = r.o.Roles.AssumedBy(r.work, r.s.Scope.Account, service, role, roleSession, r.id); err != nil && !errors.Is(err, lamina.ErrNotFound) {
			return err
		}
		// Who has no role any more may do nothing: each step fails with a reason.
		caller.Account = r.s.Scope.Account
	}
	caller.Region, caller.Agent = r.s.Scope.Region, service
	r.ctx = withParent(identity.WithCaller(r.work, caller), r.s)
	return nil
}

const (
	service     = "cloudformation.amazonaws.com"
	roleSession = "AWSCloudFormation"
)

func (r *run) keep(row store.StackResource) {
	k := rowKey{row.LogicalID, row.Generation}
	r.rows[k] = row
	r.last[row.LogicalID] = max(r.last[row.LogicalID], row.Generation)
	if row.Standing == store.StackLive {
		r.live[row.LogicalID] = k
	} else if r.live[row.LogicalID] == k {
		delete(r.live, row.LogicalID)
	}
}

// current returns the resource that a logical ID means.
func (r *run) current(id string) (store.StackResource, bool) {
	k, ok := r.live[id]
	return r.rows[k], ok
}

// submit has something written. The channel gets one value when it is durable, or
// why it is not.
func (r *run) submit(fn func(ctx context.Context, tx *store.Tx) error) <-chan error {
	w := &write{run: r, fn: fn, done: make(chan error, 1)}
	r.writes <- w
	return w.done
}

// put writes resources and what happened to them. Forget are rows that are gone.
func (r *run) put(rows []store.StackResource, forget []rowKey, events []store.StackEvent) <-chan error {
	for _, row := range rows {
		r.keep(row)
	}
	for _, k := range forget {
		delete(r.rows, k)
		if r.live[k.id] == k {
			delete(r.live, k.id)
		}
	}
	for _, row := range rows { // a forgotten row may have had the place
		r.keep(row)
	}
	return r.submit(func(ctx context.Context, tx *store.Tx) error {
		for _, k := range forget {
			if err := tx.DeleteStackResource(ctx, r.id, k.id, k.generation); err != nil {
				return err
			}
		}
		for _, row := range rows {
			if err := tx.PutStackResource(ctx, row); err != nil {
				return err
			}
		}
		return tx.InsertStackEvents(ctx, r.id, r.o.Now(), events)
	})
}

// event is what happened to a resource.
func (r *run) event(row store.StackResource, status, reason string) store.StackEvent {
	properties := row.Properties
	if row.Secret != nil {
		properties = row.Secret
	}
	return store.StackEvent{
		LogicalID: row.LogicalID, PhysicalID: row.PhysicalID, Type: row.Type, Status: status, Reason: reason,
		Token: r.s.Operation.Token, Properties: text(properties),
	}
}

// stackEvent is what happened to a stack.
func stackEvent(s store.Stack, token string) store.StackEvent {
	return store.StackEvent{
		ID: newID(), LogicalID: s.Name, PhysicalID: s.ID, Type: nestedType, Status: s.Status, Reason: s.Reason, Token: token,
	}
}

// transit brings the stack to another status. More may change the stack and write
// with it; its refusals are returned as they are. The error is errChanged when the
// stack was asked for something else meanwhile.
func (r *run) transit(status, reason string, more func(ctx context.Context, tx *store.Tx, s *store.Stack) error) error {
	from, operation := r.s.Status, r.s.Operation.ID
	var next store.Stack
	err := <-r.submit(func(ctx context.Context, tx *store.Tx) error {
		s, err := tx.Stack(ctx, r.id)
		if err != nil {
			return err
		}
		if s.Status != from || s.Operation == nil || s.Operation.ID != operation {
			return errChanged
		}
		token := s.Operation.Token
		s.Status, s.Reason, s.Signal = status, reason, ""
		if more != nil {
			if err := more(ctx, tx, &s); err != nil {
				return err
			}
		}
		if err := tx.InsertStackEvents(ctx, r.id, r.o.Now(), []store.StackEvent{stackEvent(s, token)}); err != nil {
			return err
		}
		next = s
		return tx.PutStack(ctx, s)
	})
	if err == nil {
		r.s = next
	}
	return err
}

// changed reports whether the stack was asked for something else.
func (r *run) changed() (bool, error) {
	var s store.Stack
	err := r.o.Store.View(r.work, func(tx *store.Tx) (err error) {
		s, err = tx.Stack(r.work, r.id)
		return err
	})
	return err == nil && (s.Status != r.s.Status || s.Operation == nil || s.Operation.ID != r.s.Operation.ID), err
}

// failure is why a stack did not become what was wanted, as its reason.
type failure struct{ reason string }

func (f *failure) Error() string { return f.reason }

// longestReason bounds what is told of an error, in bytes.
const longestReason = 4096

// reason is what a client is told of an error: text that every database takes.
func reason(err error) string {
	why, ok := asException(err)
	if !ok {
		why = err.Error()
	}
	if len(why) > longestReason {
		why = why[:longestReason]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(why, "?"), "\x00", "?")
}

// enter gives the template's functions what they need to know of resources, of
// other stacks and of parameters.
func (r *run) enter() error {
	if r.target != nil && text(r.target.Deployment) == text(r.s.Deployment) {
		return nil
	}
	var source store.StackTemplate
	err := r.o.Store.View(r.work, func(tx *store.Tx) (err error) {
		source, err = tx.StackTemplate(r.work, r.id, r.s.Template)
		return err
	})
	if err != nil {
		return err
	}
	r.target, err = read(r.s, r.s.Deployment, source)
	if err != nil {
		return &failure{reason(err)}
	}
	imports := map[string]string{}
	for _, scope := range []*template.Scope{r.target.scope, r.target.masked} {
		masked := scope == r.target.masked
		scope.Ref = func(id string) (any, error) {
			row, ok := r.current(id)
			if !ok || !made(row) {
				return nil, template.ErrUnknown
			}
			return row.PhysicalID, nil
		}
		scope.GetAtt = func(id, attribute string) (any, error) {
			row, ok := r.current(id)
			if !ok || !made(row) {
				return nil, template.ErrUnknown
			}
			if masked && row.NoEcho {
				return Mask, nil
			}
			return r.attribute(row, attribute)
		}
		scope.Import = func(name string) (any, error) {
			if v, ok := imports[name]; ok {
				return v, nil
			}
			v, err := r.importValue(name)
			if err != nil {
				return nil, err
			}
			imports[name] = v
			return v, nil
		}
	}
	return nil
}

// made reports whether a resource is there, for others to refer to.
func made(row store.StackResource) bool {
	return row.PhysicalID != "" && (row.Status == createComplete || row.Status == updateComplete)
}

func (r *run) attribute(row store.StackResource, attribute string) (any, error) {
	if v, ok := row.Attributes[attribute]; ok {
		return v, nil
	}
	if isCustom(row.Type) {
		return nil, fmt.Errorf("CustomResource attribute error: Vendor response doesn't contain %s attribute in object %s|%s", attribute, r.id, row.LogicalID)
	}
	return nil, noAttribute(row.LogicalID, attribute)
}

// importValue returns what another stack exports, which from then on can't go.
func (r *run) importValue(name string) (value string, err error) {
	found := false
	err = <-r.submit(func(ctx context.Context, tx *store.Tx) error {
		value, found, err = useExport(ctx, tx, r.s, name)
		return err
	})
	if err != nil {
		return "", err
	}
	if !found {
		return "", &failure{noExport(name)}
	}
	return value, nil
}

func noExport(name string) string { return "No export named " + name + " found" }

// useExport notes that a stack imports an export.
func useExport(ctx context.Context, tx *store.Tx, s store.Stack, name string) (value string, found bool, err error) {
	e, err := tx.LockStackExport(ctx, s.Scope, name)
	if errors.Is(err, lamina.ErrNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	if of, err := tx.Stack(ctx, e.Stack); err != nil || of.Status == deleteInProgress {
		return "", false, err // who deletes it has looked for imports
	}
	return e.Value, true, tx.PutStackImport(ctx, s.Scope, name, s.ID)
}

// forward makes the stack what its deployment says.
func (r *run) forward() error {
	failed, err := r.deploy()
	var f *failure
	if errors.As(err, &f) {
		failed = nil
	} else if err != nil {
		return err
	}
	if f == nil && len(failed) == 0 {
		if err = r.complete(); !errors.As(err, &f) {
			return err
		}
	}
	why := ""
	switch {
	case f == nil:
		why = r.failedTo(failed)
	case r.s.Status == createInProgress:
		why = strings.TrimSuffix(f.reason, ".") + ". "
	default:
		why = f.reason
	}
	op := r.s.Operation
	switch {
	case r.s.Status == createInProgress && (op.OnFailure == "DO_NOTHING" || r.s.DisableRollback):
		return r.transit(createFailed, why, nil)
	case r.s.Status == createInProgress && op.OnFailure == "DELETE":
		return r.transit(deleteInProgress, why+"Delete requested by user.", func(_ context.Context, _ *store.Tx, s *store.Stack) error {
			s.Deletion = r.o.Now()
			return nil
		})
	case r.s.Status == createInProgress:
		return r.transit(rollbackInProgress, why+"Rollback requested by user.", func(_ context.Context, _ *store.Tx, s *store.Stack) error {
			s.Deletion = r.o.Now()
			return nil
		})
	case r.s.DisableRollback:
		return r.transit(updateFailed, why, nil)
	case op.Previous == nil || op.Previous.Template == "":
		return r.transit(rollbackInProgress, why, nil)
	default:
		return r.transit(updateRollbackInProgress, why, nil)
	}
}

// failedTo is why a stack fails because of its resources.
func (r *run) failedTo(failed []string) string {
	var create, update []string
	for _, id := range failed {
		if row, ok := r.current(id); ok && row.Status == updateFailed {
			update = append(update, id)
		} else {
			create = append(create, id)
		}
	}
	why := ""
	if len(create) > 0 {
		why += "The following resource(s) failed to create: [" + strings.Join(create, ", ") + "]. "
	}
	if len(update) > 0 {
		why += "The following resource(s) failed to update: [" + strings.Join(update, ", ") + "]. "
	}
	return why
}

// complete makes it final that a stack is what was wanted.
func (r *run) complete() error {
	outputs, err := r.target.outputs()
	if err != nil {
		if errors.Is(err, errLost) || r.work.Err() != nil {
			return err
		}
		return &failure{reason(err)}
	}
	imports := r.target.imports()
	commit := func(ctx context.Context, tx *store.Tx, s *store.Stack) error {
		if err := r.export(ctx, tx, *s, outputs); err != nil {
			return err
		}
		s.Outputs = outputs
		return tx.KeepStackImports(ctx, r.id, imports)
	}
	if r.s.Status == createInProgress {
		rows := r.settled()
		err := r.transit(createComplete, "", func(ctx context.Context, tx *store.Tx, s *store.Stack) error {
			if err := commit(ctx, tx, s); err != nil {
				return err
			}
			return r.end(ctx, tx, s, rows)
		})
		return err
	}
	rows := r.settled()
	for i, row := range rows {
		_, wanted := r.target.graph[row.LogicalID]
		switch {
		case row.Standing == store.StackReplaced:
			rows[i].Standing = store.StackLeftover
			rows[i].Keep = r.target.t.Resources[row.LogicalID].UpdateReplacePolicy == "Retain"
			if !wanted { // it was removed after an update that failed had replaced it
				rows[i].Keep = retains(row.DeletionPolicy)
			}
		case row.Standing == store.StackLive && !wanted:
			rows[i].Standing, rows[i].Keep = store.StackLeftover, retains(row.DeletionPolicy)
		}
	}
	err = r.transit(updateCleanup, "", func(ctx context.Context, tx *store.Tx, s *store.Stack) error {
		if err := commit(ctx, tx, s); err != nil {
			return err
		}
		return r.write(ctx, tx, rows)
	})
	return err
}

// settled are all resources without what only an operation needs to know.
func (r *run) settled() []store.StackResource {
	var rows []store.StackResource
	for _, k := range r.keys() {
		row := r.rows[k]
		row.Made, row.Tried, row.Before, row.Operation = false, false, nil, ""
		rows = append(rows, row)
	}
	return rows
}

// keys are those of all resources, in order.
func (r *run) keys() []rowKey {
	return slices.SortedFunc(maps.Keys(r.rows), func(a, b rowKey) int {
		if c := strings.Compare(a.id, b.id); c != 0 {
			return c
		}
		return int(a.generation - b.generation)
	})
}

// write writes resources in a transaction of the stack's.
func (r *run) write(ctx context.Context, tx *store.Tx, rows []store.StackResource) error {
	for _, row := range rows {
		if err := tx.PutStackResource(ctx, row); err != nil {
			return err
		}
	}
	return nil
}

// end makes a stack's status last: nothing is to be done any more.
func (r *run) end(ctx context.Context, tx *store.Tx, s *store.Stack, rows []store.StackResource) error {
	if err := r.write(ctx, tx, rows); err != nil {
		return err
	}
	s.Operation = nil
	keep := []string{s.Template}
	sets, err := tx.StackChangeSets(ctx, r.id, "", maxChangeSets)
	if err != nil {
		return err
	}
	for _, c := range sets {
		keep = append(keep, c.Template)
	}
	if err := tx.PruneStackTemplates(ctx, r.id, keep...); err != nil {
		return err
	}
	return tx.KeepStackEvents(ctx, r.id, eventsKept)
}

// export makes the outputs of a stack known to others, unless they use what is
// gone or differs.
func (r *run) export(ctx context.Context, tx *store.Tx, s store.Stack, outputs []store.StackOutput) error {
	wanted := map[string]string{}
	for _, o := range outputs {
		if o.Export == "" {
			continue
		}
		if _, twice := wanted[o.Export]; twice {
			return &failure{"Duplicate Export names: [" + o.Export + "]"}
		}
		wanted[o.Export] = o.Value
	}
	have, err := tx.ExportsOfStack(ctx, s.ID)
	if err != nil {
		return err
	}
	for _, name := range have {
		e, err := tx.LockStackExport(ctx, s.Scope, name)
		if err != nil {
			return err
		}
		v, stays := wanted[name]
		if stays && v == e.Value {
			continue
		}
		by, err := tx.StackImports(ctx, s.Scope, name, "", mostImports)
		if err != nil {
			return err
		}
		if len(by) > 0 {
			if stays {
				return &failure{"Export " + name + " cannot be updated as it is in use by " + listed(by)}
			}
			return &failure{"Export " + name + " cannot be deleted as it is in use by " + listed(by)}
		}
		if !stays {
			if err := tx.DeleteStackExport(ctx, s.Scope, name); err != nil {
				return err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		err := tx.PutStackExport(ctx, s.Scope, store.StackExport{Name: name, Stack: s.ID, Value: wanted[name]})
		if errors.Is(err, lamina.ErrExists) {
			other, err := tx.StackExport(ctx, s.Scope, name)
			if err != nil {
				return err
			}
			return &failure{"Export with name " + name + " is already exported by stack " + stackName(other.Stack)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mostImports is how many stacks that use an export are named.
const mostImports = 10

// listed is A, B and C.
func listed(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// stackName is the name in a stack's ARN.
func stackName(id string) string {
	_, rest, _ := strings.Cut(id, ":stack/")
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// longestExport bounds the name of an export, in bytes.
const longestExport = 1024

// outputs are the outputs of a stack whose resources are made.
func (d *deployment) outputs() ([]store.StackOutput, error) {
	var all []store.StackOutput
	for _, key := range slices.Sorted(maps.Keys(d.t.Outputs)) {
		o := d.t.Outputs[key]
		if !d.scope.Condition(o.Condition) {
			continue
		}
		v, err := d.scope.Resolve(o.Value)
		if err != nil {
			return nil, err
		}
		value, ok := scalar(v)
		if !ok {
			return nil, Validation.Errorf("Template format error: Output %s is malformed. The Value field of every Outputs member must evaluate to a String.", key)
		}
		out := store.StackOutput{Key: key, Value: value, Description: o.Description}
		if o.Export != nil {
			v, err := d.scope.Resolve(o.Export)
			if err != nil {
				return nil, err
			}
			if out.Export, ok = scalar(v); !ok || out.Export == "" || len(out.Export) > longestExport || strings.Contains(out.Export, "\x00") {
				return nil, Validation.Errorf("Template format error: Output %s is malformed. The Name field of every Export member must be specified and consist only of alphanumeric characters, colons, or hyphens.", key)
			}
		}
		all = append(all, out)
	}
	return all, nil
}

// scalar is a string, a number or a boolean as text.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return fmt.Sprint(v), true
	}
	return "", false
}

// imports are the names of the exports that a deployment uses, whose Import
// functions have been asked.
func (d *deployment) imports() []string {
	used := map[string]bool{}
	scope := *d.scope
	scope.Import = func(name string) (any, error) {
		used[name] = true
		return nil, template.ErrUnknown
	}
	for id := range d.graph {
		_, _ = scope.PreviewProperties(id) // only its calls count
	}
	for _, o := range d.t.Outputs {
		if scope.Condition(o.Condition) {
			_, _ = scope.Preview(o.Value)  // as above
			_, _ = scope.Preview(o.Export) // as above
		}
	}
	return slices.Sorted(maps.Keys(used))
}
