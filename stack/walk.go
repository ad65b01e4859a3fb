package stack

import (
	"context"
	"errors"
	"time"
)

// task is a part of a walk.
type task struct {
	key   string
	needs []string // keys of tasks that come first
	typ   string   // of the resource

	// begin prepares the task. What it returns is done aside; when it is nil, the
	// task is over, and has failed or not.
	begin func() (do func(context.Context) outcome, failed bool, err error)
	// end records how it went.
	end func(o outcome, cancelled bool) (failed bool, err error)
}

// outcome is how a step went.
type outcome struct {
	physicalID string
	attributes map[string]any
	noEcho     bool
	note       string
	err        error // of the step
	unrecorded error // the step was not done, since it could not be recorded
}

// walkOptions say how a walk goes on when a task fails.
type walkOptions struct {
	independent bool      // tasks that need no failed one are done all the same
	cancels     bool      // what runs when one fails counts as cancelled
	deadline    time.Time // zero for none
}

var errDeadline = errors.New("the deadline has passed")

// errCancelled is why a step that waits was told to end.
var errCancelled = errors.New("the step was cancelled")

// walk does tasks, some at the same time, each after those that it needs. It
// returns the keys of those that failed, in the order in which they did. When it
// returns, nothing runs any more. The error is errStopping, errChanged,
// errDeadline, or of the database.
func (r *run) walk(tasks []task, o walkOptions) (failed []string, err error) {
	w := newWalk(tasks)
	work, cancelWork := context.WithCancelCause(r.ctx)
	defer cancelWork(nil)
	waiting, cancelWaiting := context.WithCancelCause(work)
	defer cancelWaiting(nil)
	// Stacks that are nested in this one are not left alone but told to end, and
	// awaited.
	nesting, cancelNesting := context.WithCancelCause(work)
	defer cancelNesting(nil)
	again := time.NewTicker(signalsEvery)
	defer again.Stop()
	var deadline <-chan time.Time
	if !o.deadline.IsZero() {
		t := time.NewTimer(o.deadline.Sub(r.o.Now()))
		defer t.Stop()
		deadline = t.C
	}
	type result struct {
		i int
		outcome
	}
	results := make(chan result, stepsOfStack) // each step sends once; buffered for all
	stopping := r.stopping
	running, nested, cancelled := 0, 0, false
	interrupt := func() {
		cancelWaiting(errCancelled)
		if nested > 0 && (cancelled || errors.Is(err, errDeadline) || errors.Is(err, errChanged)) {
			r.interruptNested()
		}
	}
	halt := func(why error) {
		if err == nil {
			err = why
		}
		if !errors.Is(why, errChanged) && !errors.Is(why, errDeadline) {
			cancelNesting(why)
		}
		interrupt()
	}
	for {
		for err == nil && (len(failed) == 0 || o.independent) && running < stepsOfStack && r.work.Err() == nil {
			i, ok := w.next(running == 0)
			if !ok {
				break
			}
			do, bad, e := tasks[i].begin()
			switch {
			case e != nil:
				halt(e)
				cancelWork(e)
			case do != nil:
				running++
				ctx := work
				switch {
				case tasks[i].typ == nestedType:
					nested++
					ctx = nesting
				case waits(tasks[i].typ):
					ctx = waiting
				}
				go func() { results <- result{i, do(ctx)} }()
			default:
				w.done(i, bad)
				if bad {
					failed = append(failed, tasks[i].key)
				}
			}
		}
		if len(failed) > 0 && !o.independent && !cancelled {
			cancelled = o.cancels
			if cancelled {
				interrupt()
			}
		}
		if running == 0 {
			if err == nil && r.work.Err() != nil {
				err = context.Cause(r.work)
			}
			return failed, err
		}
		select {
		case got := <-results:
			running--
			if tasks[got.i].typ == nestedType {
				nested--
			}
			if got.unrecorded != nil {
				halt(got.unrecorded)
				cancelWork(got.unrecorded)
				break
			}
			if got.err != nil && (r.work.Err() != nil || errors.Is(err, errStopping) && waits(tasks[got.i].typ)) {
				break // it was interrupted, and is resumed by the next server
			}
			bad, e := tasks[got.i].end(got.outcome, cancelled)
			if e != nil {
				halt(e)
				cancelWork(e)
				break
			}
			w.done(got.i, bad)
			if bad {
				failed = append(failed, tasks[got.i].key)
			}
		case <-r.poked:
			changed, e := r.changed()
			if e != nil {
				halt(e)
			} else if changed {
				cancelled = o.cancels
				halt(errChanged)
			}
		case <-deadline:
			cancelled = o.cancels
			halt(errDeadline)
		case <-again.C:
			if nested > 0 && (cancelled || err != nil) {
				interrupt() // one may have been created since
			}
		case <-stopping:
			stopping = nil
			halt(errStopping)
		}
	}
}

// order is which tasks may begin.
type order struct {
	tasks      []task
	dependents [][]int
	unmet      []int // how many needed tasks are not done
	ready      []int
	state      []byte // of tasks: waiting, begun, done, failed
}

const (
	taskWaits = iota
	taskBegun
	taskDone
	taskFailed
)

func newWalk(tasks []task) *order {
	w := &order{tasks: tasks, dependents: make([][]int, len(tasks)), unmet: make([]int, len(tasks)), state: make([]byte, len(tasks))}
	index := make(map[string]int, len(tasks))
	for i, t := range tasks {
		index[t.key] = i
	}
	for i, t := range tasks {
		for _, need := range t.needs {
			if j, ok := index[need]; ok && j != i {
				w.dependents[j] = append(w.dependents[j], i)
				w.unmet[i]++
			}
		}
	}
	for i := range tasks {
		if w.unmet[i] == 0 {
			w.ready = append(w.ready, i)
		}
	}
	return w
}

// next returns a task that may begin. When none runs and some need each other,
// which resources of several deployments can, one of those may.
func (w *order) next(idle bool) (int, bool) {
	if len(w.ready) == 0 && idle {
		if i, ok := w.knot(); ok {
			w.ready = append(w.ready, i)
		}
	}
	if len(w.ready) == 0 {
		return 0, false
	}
	i := w.ready[0]
	w.ready = w.ready[1:]
	w.state[i] = taskBegun
	return i, true
}

// knot returns a task that waits, but for none that failed.
func (w *order) knot() (int, bool) {
	blocked := make([]bool, len(w.tasks))
	var block func(i int)
	block = func(i int) {
		for _, j := range w.dependents[i] {
			if !blocked[j] {
				blocked[j] = true
				block(j)
			}
		}
	}
	for i, s := range w.state {
		if s == taskFailed {
			block(i)
		}
	}
	for i, s := range w.state {
		if s == taskWaits && !blocked[i] {
			w.unmet[i] = -len(w.tasks) // it begins once
			return i, true
		}
	}
	return 0, false
}

func (w *order) done(i int, failed bool) {
	if failed {
		w.state[i] = taskFailed
		return
	}
	w.state[i] = taskDone
	for _, j := range w.dependents[i] {
		if w.unmet[j]--; w.unmet[j] == 0 {
			w.ready = append(w.ready, j)
		}
	}
}
