package store

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
)

func provision(t testing.TB, s *Store, c lamina.Provisioned) {
	t.Helper()
	update(t, s, func(tx *Tx) error { return tx.PutProvisioned(t.Context(), c) })
}

func provisionedTotal(t testing.TB, s *Store, id lamina.FunctionID) int64 {
	t.Helper()
	return get(t, s, func(tx *Tx) (lamina.Function, error) { return tx.Function(t.Context(), id) }).ProvisionedConcurrency
}

func qualifiers(all []lamina.Provisioned) (names []string) {
	for _, c := range all {
		names = append(names, c.Function.Name+":"+c.Qualifier)
	}
	return names
}

func TestProvisionedOfVersionsAndAliases(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		id := functionID("hello")
		createFunction(t, s, id)
		publish(t, s, id)
		publish(t, s, id)
		live := lamina.Alias{Function: id, Name: "live", Target: "1", Weights: map[string]float64{"2": 0.25}}
		update(t, s, func(tx *Tx) error { return tx.InsertAlias(ctx, live) })

		onAlias := lamina.Provisioned{Function: id, Qualifier: "live", Requested: 8, Modified: now}
		provision(t, s, onAlias)
		provision(t, s, lamina.Provisioned{Function: id, Qualifier: "2", Requested: 3, Modified: now})
		onVersion := lamina.Provisioned{Function: id, Qualifier: "2", Requested: 5, Modified: now.Add(time.Second)}
		provision(t, s, onVersion) // again: the new number counts

		onAlias.Alias = &lamina.Alias{Function: id, Name: "live", Target: "1", Weights: live.Weights}
		for _, want := range []lamina.Provisioned{onAlias, onVersion} {
			got := get(t, s, func(tx *Tx) (lamina.Provisioned, error) { return tx.Provisioned(ctx, id, want.Qualifier) })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Provisioned(%s) (-want +got):\n%s", want.Qualifier, diff)
			}
		}
		if got := provisionedTotal(t, s, id); got != 13 {
			t.Errorf("total = %d; want 13", got)
		}
		first := get(t, s, func(tx *Tx) ([]lamina.Provisioned, error) { return tx.FunctionProvisioned(ctx, id, "", 1) })
		rest := get(t, s, func(tx *Tx) ([]lamina.Provisioned, error) { return tx.FunctionProvisioned(ctx, id, "2", 5) })
		if got, want := qualifiers(append(first, rest...)), []string{"hello:2", "hello:live"}; !slices.Equal(got, want) {
			t.Errorf("pages = %v; want %v", got, want)
		}
		err := s.View(ctx, func(tx *Tx) error { _, err := tx.Provisioned(ctx, id, "1"); return err })
		if !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("Provisioned(1) = %v; want ErrNotFound", err)
		}
		err = s.Update(ctx, func(tx *Tx) error {
			return tx.PutProvisioned(ctx, lamina.Provisioned{Function: functionID("absent"), Qualifier: "1", Requested: 1})
		})
		if !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("PutProvisioned(absent) = %v; want ErrNotFound", err)
		}
	})
}

func TestProvisionedGoesWithWhatItIsOf(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		id, other := functionID("hello"), functionID("other")
		for _, id := range []lamina.FunctionID{id, other} {
			createFunction(t, s, id)
			publish(t, s, id)
			update(t, s, func(tx *Tx) error { return tx.InsertAlias(ctx, lamina.Alias{Function: id, Name: "live", Target: "1"}) })
			provision(t, s, lamina.Provisioned{Function: id, Qualifier: "1", Requested: 2})
			provision(t, s, lamina.Provisioned{Function: id, Qualifier: "live", Requested: 4})
		}
		update(t, s, func(tx *Tx) error { _, err := tx.DeleteAlias(ctx, id, "live"); return err })
		if got := provisionedTotal(t, s, id); got != 2 {
			t.Errorf("total after DeleteAlias = %d; want 2", got)
		}
		update(t, s, func(tx *Tx) error { _, err := tx.DeleteFunctionVersion(ctx, id, 1); return err })
		if got := provisionedTotal(t, s, id); got != 0 {
			t.Errorf("total after DeleteFunctionVersion = %d; want 0", got)
		}
		all := func() []string {
			return qualifiers(get(t, s, func(tx *Tx) ([]lamina.Provisioned, error) {
				return tx.AllProvisioned(ctx, lamina.Provisioned{}, 10)
			}))
		}
		if got, want := all(), []string{"other:1", "other:live"}; !slices.Equal(got, want) {
			t.Errorf("all = %v; want %v", got, want)
		}
		after := get(t, s, func(tx *Tx) ([]lamina.Provisioned, error) {
			return tx.AllProvisioned(ctx, lamina.Provisioned{Function: other, Qualifier: "1"}, 10)
		})
		if got, want := qualifiers(after), []string{"other:live"}; !slices.Equal(got, want) {
			t.Errorf("after other:1 = %v; want %v", got, want)
		}
		update(t, s, func(tx *Tx) error { return tx.DeleteFunction(ctx, other) })
		if got := all(); got != nil {
			t.Errorf("all after DeleteFunction = %v; want none", got)
		}
	})
}

func TestReservedTotalCountsProvisionedOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		for name, reserved := range map[string]*int64{"a": pointer[int64](10), "b": nil, "c": pointer[int64](0)} {
			id := functionID(name)
			createFunction(t, s, id)
			publish(t, s, id)
			update(t, s, func(tx *Tx) error { return tx.SetReservedConcurrency(ctx, id, reserved) })
			if name != "c" {
				provision(t, s, lamina.Provisioned{Function: id, Qualifier: "1", Requested: 7})
			}
		}
		for except, want := range map[string]int64{"": 17, "a": 7, "b": 10} {
			got := get(t, s, func(tx *Tx) (int64, error) { return tx.ReservedTotal(ctx, scope, functionID(except)) })
			if got != want {
				t.Errorf("ReservedTotal without %q = %d; want %d", except, got, want)
			}
		}
	})
}

func TestProvisionedByTwoAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		const writers = 8
		id := functionID("hello")
		createFunction(t, s, id)
		for range writers {
			publish(t, s, id)
		}
		together(writers, func(i int) {
			err := s.Update(t.Context(), func(tx *Tx) error {
				return tx.PutProvisioned(t.Context(), lamina.Provisioned{Function: id, Qualifier: strconv.Itoa(i + 1), Requested: 3})
			})
			if err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		})
		if got := provisionedTotal(t, s, id); got != 3*writers {
			t.Errorf("total = %d; want %d", got, 3*writers)
		}
	})
}

func TestSetRevisionChangesNothingElse(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		id := functionID("hello")
		createFunction(t, s, id)
		want := publish(t, s, id)
		update(t, s, func(tx *Tx) error { return tx.SetRevision(t.Context(), want, "fresh") })
		want.RevisionID = "fresh"
		got := get(t, s, func(tx *Tx) (lamina.Version, error) { return tx.FunctionVersion(t.Context(), id, 1) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("version (-want +got):\n%s", diff)
		}
	})
}
