package stack

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lamina-run/lamina/stack/resources"
	"github.com/lamina-run/lamina/store"
)

var (
	randomRuns = flag.Int("stacks", 12, "random stacks to work on")
	killEvery  = flag.Int("kill-every", 9, "end servers at every so manyth transaction of a life")
)

var errKilled = errors.New("killed")

// killer ends an engine at one of its transactions: as the process's end would
// before it, or after it and before anybody knows.
type killer struct {
	mu    sync.Mutex
	at    int // which transaction; 0 is none
	after bool
	seen  int
	fired bool
}

func (k *killer) mend(e *Engine) {
	ctx, cancel := context.WithCancelCause(context.Background())
	e.kill = ctx
	e.gate = func(update func() error) error {
		k.mu.Lock()
		k.seen++
		fire := k.seen == k.at && !k.fired
		k.fired = k.fired || fire
		after := k.after
		k.mu.Unlock()
		if ctx.Err() != nil {
			return errKilled
		}
		if !fire {
			return update()
		}
		if after {
			_ = update() // nobody hears of it
		}
		cancel(errKilled)
		return errKilled
	}
}

// finish waits until a stack is settled, through the ends of servers.
func (r *rig) finish(id string) store.Stack {
	r.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	over := time.After(30 * time.Second)
	for {
		if s := r.stack(id); !inProgress(s.Status) {
			return s
		}
		select {
		case <-tick.C:
		case err := <-r.ended:
			if !errors.Is(err, errKilled) {
				r.t.Fatalf("Run = %v", err)
			}
			r.cancel()
			r.close()
			if r.o.URL != "" {
				r.skew += 2 * stackLease
			}
			r.open()
			r.start()
		case <-over:
			r.t.Fatalf("in vain: %s settles\n%s", id, strings.Join(r.events(id), "\n"))
		}
	}
}

// consistent checks that the stack knows every resource that there is, and that
// all of them are there.
func (r *rig) consistent(id string) {
	r.t.Helper()
	known, there := map[string]bool{}, r.world.physical()
	for _, row := range r.rows(id) {
		if row.Step != nil {
			r.t.Errorf("%s has a step that did not end: %+v", row.LogicalID, row.Step)
		}
		// A deletion that a killed server did may fail when it is done again.
		if row.PhysicalID != "" && row.Status != deleteComplete && (row.Status != deleteFailed || slices.Contains(there, row.PhysicalID)) {
			known[row.PhysicalID] = true
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(known)), there, cmpopts.EquateEmpty()); diff != "" {
		r.t.Errorf("what the stack knows (-) and what there is (+):\n%s\n%s", diff, strings.Join(r.events(id), "\n"))
	}
}

// snapshot is all there is.
func (r *rig) snapshot(id string) map[string]string {
	all := map[string]string{}
	r.world.mu.Lock()
	for physical, p := range r.world.things {
		all[physical] = text(p)
	}
	r.world.mu.Unlock()
	for _, row := range r.rows(id) {
		all["row "+row.LogicalID] = row.PhysicalID + string(row.Standing) + text(row.Properties) + text(row.DependsOn) + text(row.Attributes)
	}
	return all
}

// matches checks that resources are what a template says.
func (r *rig) matches(id string, w Wanted) {
	r.t.Helper()
	var body struct {
		Resources map[string]struct {
			Type       string
			Properties map[string]any
		}
	}
	if err := json.Unmarshal([]byte(w.Template.Original), &body); err != nil {
		r.t.Fatal(err)
	}
	shown := ShownResources(r.rows(id))
	if len(shown) != len(body.Resources) {
		r.t.Errorf("%d resources; want %d", len(shown), len(body.Resources))
	}
	for _, row := range shown {
		want := body.Resources[row.LogicalID].Properties
		for name, v := range want {
			if ref, ok := v.(map[string]any); ok {
				want[name] = r.resource(id, fmt.Sprint(ref["Ref"])).PhysicalID
			}
		}
		r.world.mu.Lock()
		got := r.world.things[row.PhysicalID]
		r.world.mu.Unlock()
		if diff := cmp.Diff(want, got); diff != "" || row.Type != body.Resources[row.LogicalID].Type {
			r.t.Errorf("%s is not as wanted:\n%s", row.LogicalID, diff)
		}
	}
}

// randomStack makes a template of resources that need each other.
func randomStack(rnd *rand.Rand, types map[string]string) Wanted {
	n := 1 + rnd.IntN(8)
	order := rnd.Perm(12)
	var all []string
	for i := range n {
		id := fmt.Sprint("R", order[i])
		if types[id] == "" {
			types[id] = []string{"Test::Thing", "Test::Thing", "Test::Thing", "Custom::Moves", "Test::Tagged", "Custom::Waits"}[rnd.IntN(6)]
		}
		p := map[string]any{}
		if rnd.IntN(2) == 0 {
			p["Name"] = fmt.Sprint(rnd.IntN(3))
		}
		if rnd.IntN(2) == 0 {
			p["Value"] = fmt.Sprint(rnd.IntN(3))
		}
		var depends []string
		for j := range i {
			switch rnd.IntN(4) {
			case 0:
				p[fmt.Sprint("Refs", j)] = map[string]any{"Ref": fmt.Sprint("R", order[j])}
			case 1:
				depends = append(depends, fmt.Sprint("R", order[j]))
			}
		}
		res := map[string]any{"Type": types[id], "Properties": p}
		if depends != nil {
			res["DependsOn"] = depends
		}
		all = append(all, fmt.Sprintf("%q: %s", id, text(res)))
	}
	return body(strings.Join(all, ","))
}

// TestRandomStacks creates, updates and deletes stacks while steps fail and
// servers die. Whatever happens, the stack ends in a state that CloudFormation
// documents, and every resource is the stack's or gone.
func TestRandomStacks(t *testing.T) {
	t.Parallel()
	for seed := range *randomRuns {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			randomLife(t, newRig(t), uint64(seed))
		})
	}
	for seed := range 3 {
		t.Run(fmt.Sprint("postgres ", seed), func(t *testing.T) {
			t.Parallel()
			randomLife(t, newRigOn(t, postgresOptions(t)), uint64(seed))
		})
	}
}

func randomLife(t *testing.T, r *rig, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var k killer
	r.mend = func(e *Engine) { k.mend(e) }
	r.mend(r.e)
	var chance struct {
		sync.Mutex
		rnd  *rand.Rand
		fail int // in 1000
		stay bool
	}
	chance.rnd = rand.New(rand.NewPCG(seed, 2))
	boom := func(when string) func(string, *resources.Step) error {
		return func(kind string, s *resources.Step) error {
			chance.Lock()
			defer chance.Unlock()
			if chance.rnd.IntN(1000) >= chance.fail {
				return nil
			}
			if kind == "create" && when == "late" && chance.rnd.IntN(2) == 0 {
				return errStays
			}
			return errors.New(when + " failure")
		}
	}
	r.world.fail, r.world.late = boom("early"), boom("late")
	plan := func() {
		chance.Lock()
		chance.fail = []int{0, 30, 80}[rnd.IntN(3)]
		chance.Unlock()
		k.mu.Lock()
		k.fired, k.at, k.after = false, 0, rnd.IntN(2) == 0
		if rnd.IntN(3) > 0 {
			k.at = k.seen + 1 + rnd.IntN(12)
		}
		k.mu.Unlock()
	}
	calm := func() {
		chance.Lock()
		chance.fail = 0
		chance.Unlock()
	}
	types := map[string]string{}
	plan()
	r.start()
	w := randomStack(rnd, types)
	id := r.create("s", w)
	switch s := r.finish(id); s.Status {
	case createComplete:
		r.consistent(id)
		r.matches(id, w)
	case rollbackComplete:
		r.consistent(id)
		if left := r.world.physical(); len(left) > 0 {
			t.Errorf("left = %v; want none", left)
		}
		return
	case rollbackFailed:
		r.consistent(id)
	default:
		t.Fatalf("create ended in %s", s.Status)
	}
	for range 4 {
		s := r.stack(id)
		if !slices.Contains(updatable, s.Status) {
			break
		}
		before := r.snapshot(id)
		stable := s.Status != updateFailed
		next := randomStack(rnd, types)
		next.DisableRollback = rnd.IntN(4) == 0
		plan()
		if _, err := r.e.UpdateStack(r.ctx(), id, next); err != nil {
			if strings.Contains(err.Error(), "No updates") {
				continue
			}
			if errors.Is(err, errKilled) {
				continue
			}
			t.Fatal(err)
		}
		s = r.finish(id)
		for tries := 0; s.Status == updateRollbackFailed && tries < 20; tries++ {
			r.consistent(id)
			if tries > 2 {
				calm()
			}
			if err := r.e.ContinueUpdateRollback(r.ctx(), id, "", "", nil); err != nil {
				t.Fatal(err)
			}
			s = r.finish(id)
		}
		r.consistent(id)
		switch s.Status {
		case updateComplete:
			r.matches(id, next)
			w = next
		case updateRollbackComplete:
			if s.Reason != "" || !stable {
				break // leftovers, or what was before has been forgotten
			}
			leftovers := false
			for what := range before {
				leftovers = leftovers || strings.Contains(before[what], string(store.StackLeftover))
			}
			if diff := cmp.Diff(before, r.snapshot(id)); diff != "" && !leftovers {
				t.Errorf("not as before:\n%s\n%s", diff, strings.Join(r.events(id), "\n"))
			}
			r.matches(id, w)
		case updateFailed:
		case rollbackComplete, rollbackFailed:
			t.Errorf("an update of a stack that was made ended in %s", s.Status)
		default:
			t.Fatalf("update ended in %s (%s)", s.Status, s.Reason)
		}
	}
	for tries := 0; ; tries++ {
		plan()
		if tries > 3 {
			calm()
		}
		r.delete(id)
		s := r.finish(id)
		r.consistent(id)
		if s.Status == deleteComplete {
			break
		}
		if s.Status != deleteFailed || tries > 10 {
			t.Fatalf("delete ended in %s", s.Status)
		}
	}
	if left := r.world.physical(); len(left) > 0 {
		t.Errorf("left = %v; want none", left)
	}
	for i, all := 1, r.allEvents(id); i < len(all); i++ {
		if !all[i].Time.After(all[i-1].Time) || all[i].Number != all[i-1].Number+1 {
			t.Errorf("events %d and %d are not in order", i-1, i)
		}
	}
}
