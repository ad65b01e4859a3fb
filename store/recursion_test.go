package store

import (
	"errors"
	"testing"

	"github.com/lamina-run/lamina"
)

func TestRecursiveLoop(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		id := functionID("hello")
		createFunction(t, s, id)
		want := func(want string) {
			t.Helper()
			if got := get(t, s, func(tx *Tx) (string, error) { return tx.RecursiveLoop(ctx, id) }); got != want {
				t.Errorf("RecursiveLoop = %s; want %s", got, want)
			}
		}
		want("Terminate")
		together(2, func(i int) {
			if err := s.Update(ctx, func(tx *Tx) error { return tx.SetRecursiveLoop(ctx, id, "Allow") }); err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		})
		want("Allow")
		update(t, s, func(tx *Tx) error { return tx.DeleteFunction(ctx, id) })
		if err := s.Update(ctx, func(tx *Tx) error { return tx.SetRecursiveLoop(ctx, id, "Allow") }); !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("SetRecursiveLoop of an unknown function = %v; want ErrNotFound", err)
		}
		if err := s.View(ctx, func(tx *Tx) error { _, err := tx.RecursiveLoop(ctx, id); return err }); !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("RecursiveLoop of an unknown function = %v; want ErrNotFound", err)
		}
		createFunction(t, s, id)
		want("Terminate")
	})
}
