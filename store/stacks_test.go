package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
)

func newStack(name string, n int) Stack {
	s := Stack{ID: fmt.Sprintf("arn:aws:cloudformation:eu-west-1:123456789012:stack/%s/%d", name, n), Scope: scope, Name: name, Status: "CREATE_IN_PROGRESS", Created: now.Add(time.Duration(n) * time.Second)}
	s.Template, s.Tags = "digest", map[string]string{"k": "v"}
	s.Parameters = []StackParameter{{Key: "P", Value: "hushed", NoEcho: true}}
	s.Outputs = []StackOutput{{Key: "O", Value: "hushed"}}
	s.Operation = &StackOperation{ID: "op", Caller: json.RawMessage(`{"Account":"123456789012"}`), Began: now, Previous: &Deployment{Template: "before"}}
	return s
}

func TestStacks(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		one, two, other := newStack("one", 1), newStack("two", 2), newStack("one", 3)
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.InsertStack(ctx, one, now), tx.InsertStack(ctx, two, now.Add(time.Hour)))
		})
		for _, read := range []func(tx *Tx) (Stack, error){
			func(tx *Tx) (Stack, error) { return tx.Stack(ctx, one.ID) },
			func(tx *Tx) (Stack, error) { return tx.StackNamed(ctx, scope, "one") },
		} {
			if diff := cmp.Diff(one, get(t, s, read)); diff != "" {
				t.Error(diff)
			}
		}
		err := s.Update(ctx, func(tx *Tx) error { return tx.InsertStack(ctx, other, time.Time{}) })
		if !errors.Is(err, lamina.ErrExists) {
			t.Errorf("InsertStack(the same name) = %v; want ErrExists", err)
		}
		// A deleted one frees its name, and is found by its ARN.
		update(t, s, func(tx *Tx) error {
			gone, err := tx.LockStack(ctx, one.ID)
			gone.Status, gone.Deleted, gone.Operation = "DELETE_COMPLETE", now, nil
			return errors.Join(err, tx.PutStack(ctx, gone), tx.ScheduleStack(ctx, one.ID, time.Time{}), tx.InsertStack(ctx, other, time.Time{}))
		})
		if got := get(t, s, func(tx *Tx) (Stack, error) { return tx.StackNamed(ctx, scope, "one") }); got.ID != other.ID {
			t.Errorf("StackNamed = %s; want the new one", got.ID)
		}
		ids := func(deleted bool, before Stack, limit int) (ids []string) {
			view(t, s, func(tx *Tx) error {
				all, err := tx.Stacks(ctx, scope, deleted, before, limit)
				for _, one := range all {
					ids = append(ids, one.ID)
				}
				return err
			})
			return ids
		}
		if got := ids(true, Stack{}, 10); !slices.Equal(got, []string{other.ID, two.ID, one.ID}) {
			t.Errorf("Stacks = %v; want all, the youngest first", got)
		}
		if got := ids(false, other, 10); !slices.Equal(got, []string{two.ID}) {
			t.Errorf("Stacks(before the youngest) = %v; want two", got)
		}
		view(t, s, func(tx *Tx) error {
			n, err := tx.CountStacks(ctx, scope)
			if n != 2 || err != nil {
				t.Errorf("CountStacks = %d, %v; want 2", n, err)
			}
			return nil
		})
	})
}

func TestStackClaims(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		nested := newStack("nested", 9)
		nested.Parent, nested.Root = "p", "p"
		update(t, s, func(tx *Tx) error {
			for i := range 6 {
				if err := tx.InsertStack(ctx, newStack(fmt.Sprint("s", i), i), now); err != nil {
					return err
				}
			}
			return tx.InsertStack(ctx, nested, now)
		})
		claimed := make([][]string, 3)
		together(3, func(i int) {
			update(t, s, func(tx *Tx) (err error) {
				claimed[i], err = tx.ClaimStacks(ctx, fmt.Sprint("o", i), now, now.Add(time.Minute), false, 4)
				return err
			})
		})
		var all []string
		for _, ids := range claimed {
			all = append(all, ids...)
		}
		slices.Sort(all)
		if len(all) > 6 || len(slices.Compact(slices.Clone(all))) != len(all) {
			t.Errorf("claimed %v; want each at most once", claimed)
		}
		update(t, s, func(tx *Tx) error {
			ids, err := tx.ClaimStacks(ctx, "n", now, now.Add(time.Minute), true, 4)
			if !slices.Equal(ids, []string{nested.ID}) {
				t.Errorf("claimed nested %v; want one", ids)
			}
			return err
		})
		update(t, s, func(tx *Tx) error {
			signal, held, err := tx.HoldStack(ctx, nested.ID, "n")
			if signal != "" || !held || err != nil {
				t.Errorf("HoldStack = %q, %v, %v; want held", signal, held, err)
			}
			nested.Signal = StackCancel
			err = tx.PutStack(ctx, nested)
			signal, held, err2 := tx.HoldStack(ctx, nested.ID, "n")
			if signal != StackCancel || !held {
				t.Errorf("HoldStack = %q, %v; want the signal", signal, held)
			}
			if _, held, _ := tx.HoldStack(ctx, nested.ID, "m"); held {
				t.Error("somebody else holds the stack")
			}
			ids, err3 := tx.RenewStacks(ctx, "n", now.Add(2*time.Minute))
			if !slices.Equal(ids, []string{nested.ID}) {
				t.Errorf("signalled %v; want one", ids)
			}
			return errors.Join(err, err2, err3)
		})
		update(t, s, func(tx *Tx) error {
			if ids, _ := tx.ClaimStacks(ctx, "m", now.Add(90*time.Second), now.Add(time.Hour), true, 4); len(ids) > 0 {
				t.Errorf("claimed %v, whose lease was renewed", ids)
			}
			err := tx.ReleaseStacks(ctx, "n", now)
			ids, err2 := tx.ClaimStacks(ctx, "m", now, now.Add(time.Hour), true, 4)
			if len(ids) != 1 {
				t.Errorf("claimed %v; want the one that was released", ids)
			}
			return errors.Join(err, err2, tx.ReleaseAllStacks(ctx, now))
		})
		next := get(t, s, func(tx *Tx) (time.Time, error) { return tx.NextStack(ctx) })
		if !next.Equal(now) {
			t.Errorf("NextStack = %v; want now", next)
		}
	})
}

func TestStackContents(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		one, two := newStack("one", 1), newStack("two", 2)
		r := StackResource{
			Stack: one.ID, LogicalID: "A", Generation: 1, Type: "T", PhysicalID: "p", Standing: StackLive, Status: "CREATE_COMPLETE", Updated: now,
			StackResourceState: StackResourceState{
				Properties: map[string]any{"N": json.Number("1.50"), "S": "hushed"}, DependsOn: []string{"B"}, Seed: "seed",
				Step: &StackStep{Kind: "update", Token: "t", Note: "n", Next: &StackResourceState{Properties: map[string]any{}}},
			},
		}
		update(t, s, func(tx *Tx) error {
			return errors.Join(
				tx.InsertStack(ctx, one, now), tx.InsertStack(ctx, two, now),
				tx.PutStackResource(ctx, r), tx.PutStackTemplate(ctx, one.ID, StackTemplate{"d", "o", "p"}), tx.PutStackTemplate(ctx, one.ID, StackTemplate{"e", "o", ""}),
				tx.InsertStackEvents(ctx, one.ID, now, []StackEvent{{LogicalID: "A", Status: "X"}, {LogicalID: "B", Status: "Y", ID: "id"}}),
				tx.InsertStackEvents(ctx, one.ID, now, []StackEvent{{LogicalID: "C", Status: "Z"}}),
				tx.InsertStackEvents(ctx, one.ID, now.Add(time.Second), []StackEvent{{LogicalID: "D"}}),
			)
		})
		if diff := cmp.Diff([]StackResource{r}, get(t, s, func(tx *Tx) ([]StackResource, error) { return tx.StackResources(ctx, one.ID) })); diff != "" {
			t.Error(diff)
		}
		if got := get(t, s, func(tx *Tx) (string, error) { return tx.StackOfResource(ctx, scope, "p") }); got != one.ID {
			t.Errorf("StackOfResource = %s; want %s", got, one.ID)
		}
		events := get(t, s, func(tx *Tx) ([]StackEvent, error) { return tx.StackEvents(ctx, one.ID, 0, 10) })
		var lines []string
		for _, e := range events {
			lines = append(lines, fmt.Sprint(e.Number, e.LogicalID, e.Time.Sub(now), e.ID))
		}
		if diff := cmp.Diff([]string{"4D1sD--2023-11-14T22:13:21.123Z", "3C2msC-Z-2023-11-14T22:13:20.125Z", "2B1msid", "1A0sA-X-2023-11-14T22:13:20.123Z"}, lines); diff != "" {
			t.Error(diff)
		}
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.KeepStackEvents(ctx, one.ID, 2), tx.PruneStackTemplates(ctx, one.ID, "d"), tx.DeleteStackResource(ctx, one.ID, "A", 1))
		})
		view(t, s, func(tx *Tx) error {
			events, err := tx.StackEvents(ctx, one.ID, 4, 10)
			if len(events) != 1 || events[0].LogicalID != "C" {
				t.Errorf("events = %v, %v; want C", events, err)
			}
			got, err := tx.StackTemplate(ctx, one.ID, "d")
			if got.Original != "o" || got.Processed != "p" || err != nil {
				t.Errorf("StackTemplate = %+v, %v", got, err)
			}
			if _, err := tx.StackTemplate(ctx, one.ID, "e"); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("StackTemplate(pruned) = %v; want ErrNotFound", err)
			}
			return nil
		})
		set := StackChangeSet{ID: "arn:cs", Stack: one.ID, Name: "cs", Status: "CREATE_COMPLETE", Execution: "AVAILABLE", Created: now, StackChangeSetDetail: StackChangeSetDetail{Type: "UPDATE", Stamp: now, Changes: json.RawMessage(`[]`)}}
		update(t, s, func(tx *Tx) error {
			err := tx.InsertStackChangeSet(ctx, set)
			twice := tx.InsertStackChangeSet(ctx, set)
			if !errors.Is(twice, lamina.ErrExists) {
				t.Errorf("InsertStackChangeSet again = %v; want ErrExists", twice)
			}
			set.Reason = "r"
			return errors.Join(err, tx.PutStackChangeSet(ctx, set))
		})
		for _, read := range []func(tx *Tx) (StackChangeSet, error){
			func(tx *Tx) (StackChangeSet, error) { return tx.StackChangeSet(ctx, "arn:cs") },
			func(tx *Tx) (StackChangeSet, error) { return tx.StackChangeSetNamed(ctx, one.ID, "cs") },
		} {
			if diff := cmp.Diff(set, get(t, s, read)); diff != "" {
				t.Error(diff)
			}
		}

		update(t, s, func(tx *Tx) error {
			err := tx.PutStackExport(ctx, scope, StackExport{"shared", one.ID, "hushed"})
			if taken := tx.PutStackExport(ctx, scope, StackExport{"shared", two.ID, "x"}); !errors.Is(taken, lamina.ErrExists) {
				t.Errorf("PutStackExport of another = %v; want ErrExists", taken)
			}
			e, err2 := tx.LockStackExport(ctx, scope, "shared")
			if e.Value != "hushed" || e.Stack != one.ID {
				t.Errorf("export = %+v", e)
			}
			return errors.Join(err, err2, tx.PutStackImport(ctx, scope, "shared", two.ID), tx.PutStackImport(ctx, scope, "shared", two.ID), tx.PutStackImport(ctx, scope, "more", two.ID))
		})
		view(t, s, func(tx *Tx) error {
			by, err := tx.StackImports(ctx, scope, "shared", "", 10)
			of, err2 := tx.ExportsOfStack(ctx, one.ID)
			all, err3 := tx.StackExports(ctx, scope, "", 10)
			if !slices.Equal(by, []string{"two"}) || !slices.Equal(of, []string{"shared"}) || len(all) != 1 {
				t.Errorf("imports = %v, exports = %v, %v", by, of, all)
			}
			return errors.Join(err, err2, err3)
		})
		update(t, s, func(tx *Tx) error {
			err := tx.KeepStackImports(ctx, two.ID, []string{"more"})
			left, err2 := tx.ImportsOfStack(ctx, two.ID)
			if !slices.Equal(left, []string{"more"}) {
				t.Errorf("imports = %v; want more", left)
			}
			two.Deleted = now
			return errors.Join(err, err2, tx.DeleteStackExport(ctx, scope, "shared"), tx.PutStack(ctx, two))
		})
		update(t, s, func(tx *Tx) error {
			n, err := tx.PruneStacks(ctx, now.Add(2*time.Second), 10)
			if n != 3 {
				t.Errorf("PruneStacks = %d; want a stack and two events", n)
			}
			return err
		})
		view(t, s, func(tx *Tx) error {
			if _, err := tx.Stack(ctx, two.ID); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("Stack(pruned) = %v; want ErrNotFound", err)
			}
			return nil
		})
		update(t, s, func(tx *Tx) error { return tx.DeleteStack(ctx, one.ID) })
	})
}

// TestStacksAreSealed: no secret of a stack is in clear text, neither one that was
// written before there was a key.
func TestStacksAreSealed(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, o Options) {
		t.Parallel()
		ctx, key := t.Context(), o.SecretKey
		one := newStack("one", 1)
		o.SecretKey = nil
		s := open(t, o)
		update(t, s, func(tx *Tx) error {
			return errors.Join(
				tx.InsertStack(ctx, one, now),
				tx.PutStackResource(ctx, StackResource{Stack: one.ID, LogicalID: "A", StackResourceState: StackResourceState{Properties: map[string]any{"S": "hushed"}}}),
				tx.InsertStackChangeSet(ctx, StackChangeSet{ID: "c", Stack: one.ID, Name: "c", StackChangeSetDetail: StackChangeSetDetail{Deployment: one.Deployment, Changes: json.RawMessage("null")}}),
				tx.PutStackExport(ctx, scope, StackExport{"e", one.ID, "hushed"}),
			)
		})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		o.SecretKey = key
		s = open(t, o)
		view(t, s, func(tx *Tx) error {
			for _, query := range []string{"SELECT settings FROM stack", "SELECT operation FROM stack", "SELECT state FROM stack_resource", "SELECT detail FROM stack_change_set", "SELECT value FROM stack_export"} {
				texts, err := tx.texts(ctx, query)
				if err != nil || len(texts) != 1 || !strings.HasPrefix(texts[0], sealedPrefix) {
					t.Errorf("%s = %v, %v; want it sealed", query, texts, err)
				}
			}
			return nil
		})
		if diff := cmp.Diff(one, get(t, s, func(tx *Tx) (Stack, error) { return tx.Stack(ctx, one.ID) })); diff != "" {
			t.Error(diff)
		}
	})
}

// tourStacks calls every method about stacks.
func tourStacks(t *testing.T, s *Store) {
	ctx := t.Context()
	one := newStack("one", 1)
	update(t, s, func(tx *Tx) error {
		errs := []error{
			tx.InsertStack(ctx, one, now), tx.PutStack(ctx, one), tx.ScheduleStack(ctx, one.ID, now),
			tx.ReleaseStacks(ctx, "o", now), tx.ReleaseAllStacks(ctx, now),
			tx.PutStackTemplate(ctx, one.ID, StackTemplate{}), tx.PruneStackTemplates(ctx, one.ID),
			tx.PutStackResource(ctx, StackResource{Stack: one.ID, LogicalID: "A"}), tx.DeleteStackResource(ctx, one.ID, "A", 0),
			tx.InsertStackEvents(ctx, one.ID, now, []StackEvent{{}}), tx.KeepStackEvents(ctx, one.ID, 1),
			tx.PutStackExport(ctx, scope, StackExport{"e", one.ID, ""}), tx.PutStackImport(ctx, scope, "e", one.ID), tx.KeepStackImports(ctx, one.ID, nil),
			tx.DeleteStackExport(ctx, scope, "e"),
			tx.InsertStackChangeSet(ctx, StackChangeSet{ID: "c", Stack: one.ID}), tx.PutStackChangeSet(ctx, StackChangeSet{ID: "c"}),
		}
		_, err := tx.LockStack(ctx, one.ID)
		_, _, err1 := tx.HoldStack(ctx, one.ID, "o")
		_, err2 := tx.ClaimStacks(ctx, "o", now, now, false, 1)
		_, err3 := tx.RenewStacks(ctx, "o", now)
		_, err4 := tx.DeleteStackChangeSet(ctx, "c")
		_, err5 := tx.PruneStacks(ctx, now, 1)
		_, err6 := tx.LockStackExport(ctx, scope, "e")
		if errors.Is(err6, lamina.ErrNotFound) {
			err6 = nil
		}
		return errors.Join(append(errs, err, err1, err2, err3, err4, err5, err6)...)
	})
	view(t, s, func(tx *Tx) error {
		_, err := tx.StackNamed(ctx, scope, "one")
		_, err1 := tx.Stacks(ctx, scope, true, Stack{}, 1)
		_, err2 := tx.CountStacks(ctx, scope)
		_, err3 := tx.NestedStacks(ctx, "p")
		_, err4 := tx.NextStack(ctx)
		_, err5 := tx.StackResources(ctx, one.ID)
		_, err6 := tx.StackEvents(ctx, one.ID, 0, 1)
		_, err7 := tx.StackExports(ctx, scope, "", 1)
		_, err8 := tx.StackImports(ctx, scope, "e", "", 1)
		_, err9 := tx.StackChangeSets(ctx, one.ID, "", 1)
		_, _ = tx.StackTemplate(ctx, one.ID, "d")       // there is none
		_, _ = tx.StackOfResource(ctx, scope, "p")      // as above
		_, _ = tx.StackChangeSet(ctx, "c")              // as above
		_, _ = tx.StackChangeSetNamed(ctx, one.ID, "c") // as above
		return errors.Join(err, err1, err2, err3, err4, err5, err6, err7, err8, err9)
	})
	update(t, s, func(tx *Tx) error { return tx.DeleteStack(ctx, one.ID) })
}
