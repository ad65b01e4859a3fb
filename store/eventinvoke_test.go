package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
)

func TestEventInvokeConfigs(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		id := functionID("hello")
		createFunction(t, s, id)
		createFunction(t, s, functionID("hello-2"))
		all := []lamina.EventInvokeConfig{
			{Function: id, Qualifier: lamina.Latest, MaximumRetries: pointer(int64(0)), LastModified: now},
			{Function: id, Qualifier: "1", MaximumEventAge: pointer(int64(60)), OnFailure: pointer("arn:f"), LastModified: now},
			{Function: id, Qualifier: "live", OnSuccess: pointer("arn:s"), LastModified: now},
		}
		for _, c := range append(all, lamina.EventInvokeConfig{Function: functionID("hello-2"), Qualifier: "1"}) {
			update(t, s, func(tx *Tx) error { return tx.PutEventInvokeConfig(ctx, c) })
		}
		list := func() (qualifiers []string) {
			t.Helper()
			view(t, s, func(tx *Tx) error {
				for after := ""; ; {
					page, err := tx.EventInvokeConfigs(ctx, id, after, 1)
					if err != nil || len(page) == 0 {
						return err
					}
					after = page[0].Qualifier
					qualifiers = append(qualifiers, after)
				}
			})
			return qualifiers
		}
		if got, want := list(), []string{lamina.Latest, "1", "live"}; !slices.Equal(got, want) {
			t.Errorf("EventInvokeConfigs = %v; want %v", got, want)
		}
		all[0].MaximumRetries, all[0].OnFailure = nil, pointer("arn:q")
		update(t, s, func(tx *Tx) error { return tx.PutEventInvokeConfig(ctx, all[0]) })
		for _, want := range all {
			got := get(t, s, func(tx *Tx) (lamina.EventInvokeConfig, error) { return tx.EventInvokeConfig(ctx, id, want.Qualifier) })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("EventInvokeConfig(%s) differs (-want +got):\n%s", want.Qualifier, diff)
			}
		}
		for _, want := range []bool{true, false} {
			update(t, s, func(tx *Tx) error {
				existed, err := tx.DeleteEventInvokeConfig(ctx, id, lamina.Latest)
				if existed != want {
					t.Errorf("DeleteEventInvokeConfig = %t; want %t", existed, want)
				}
				return err
			})
		}
		err := s.Update(ctx, func(tx *Tx) error {
			return tx.PutEventInvokeConfig(ctx, lamina.EventInvokeConfig{Function: functionID("absent"), Qualifier: "1"})
		})
		if !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("PutEventInvokeConfig of an unknown function = %v; want ErrNotFound", err)
		}
	})
}

// TestEventInvokeConfigsGoWithTheirQualifier: with the version, the alias, and
// the whole function.
func TestEventInvokeConfigsGoWithTheirQualifier(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		id := functionID("hello")
		createFunction(t, s, id)
		publish(t, s, id)
		update(t, s, func(tx *Tx) error {
			return tx.InsertAlias(ctx, lamina.Alias{Function: id, Name: "live", Target: lamina.Latest})
		})
		for _, qualifier := range []string{lamina.Latest, "1", "live"} {
			update(t, s, func(tx *Tx) error {
				return tx.PutEventInvokeConfig(ctx, lamina.EventInvokeConfig{Function: id, Qualifier: qualifier})
			})
		}
		left := func() (qualifiers []string) {
			t.Helper()
			for _, c := range get(t, s, func(tx *Tx) ([]lamina.EventInvokeConfig, error) { return tx.EventInvokeConfigs(ctx, id, "", 9) }) {
				qualifiers = append(qualifiers, c.Qualifier)
			}
			return qualifiers
		}
		update(t, s, func(tx *Tx) error { _, err := tx.DeleteFunctionVersion(ctx, id, 1); return err })
		if got, want := left(), []string{lamina.Latest, "live"}; !slices.Equal(got, want) {
			t.Errorf("after DeleteFunctionVersion: %v; want %v", got, want)
		}
		update(t, s, func(tx *Tx) error { _, err := tx.DeleteAlias(ctx, id, "live"); return err })
		if got, want := left(), []string{lamina.Latest}; !slices.Equal(got, want) {
			t.Errorf("after DeleteAlias: %v; want %v", got, want)
		}
		update(t, s, func(tx *Tx) error { return tx.DeleteFunction(ctx, id) })
		createFunction(t, s, id)
		if got := left(); got != nil {
			t.Errorf("after DeleteFunction and a new one: %v; want none", got)
		}
	})
}

// TestEventInvokeConfigUpdatesAtOnce: each writer changes a setting of its own
// under the function's lock, and none is lost.
func TestEventInvokeConfigUpdatesAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		id := functionID("hello")
		createFunction(t, s, id)
		change := []func(c *lamina.EventInvokeConfig){
			func(c *lamina.EventInvokeConfig) { c.MaximumRetries = pointer(int64(1)) },
			func(c *lamina.EventInvokeConfig) { c.MaximumEventAge = pointer(int64(60)) },
			func(c *lamina.EventInvokeConfig) { c.OnSuccess = pointer("s") },
			func(c *lamina.EventInvokeConfig) { c.OnFailure = pointer("f") },
		}
		together(len(change), func(i int) {
			err := s.Update(ctx, func(tx *Tx) error {
				if _, err := tx.LockFunction(ctx, id); err != nil {
					return err
				}
				c, err := tx.EventInvokeConfig(ctx, id, lamina.Latest)
				if ignoreNotFound(err) != nil {
					return err
				}
				c.Function, c.Qualifier, c.LastModified = id, lamina.Latest, now
				change[i](&c)
				return tx.PutEventInvokeConfig(ctx, c)
			})
			if err != nil {
				t.Error(fmt.Errorf("writer %d: %w", i, err))
			}
		})
		want := lamina.EventInvokeConfig{Function: id, Qualifier: lamina.Latest, LastModified: now}
		for _, c := range change {
			c(&want)
		}
		got := get(t, s, func(tx *Tx) (lamina.EventInvokeConfig, error) { return tx.EventInvokeConfig(ctx, id, lamina.Latest) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("EventInvokeConfig differs (-want +got):\n%s", diff)
		}
	})
}
