package store

import (
	"errors"
	"fmt"
	"testing"

	"github.com/lamina-run/lamina"
)

func TestRuntimeManagement(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		id := functionID("hello")
		createFunction(t, s, id)
		publish(t, s, id)
		want := func(number int64, want lamina.RuntimeManagement) {
			t.Helper()
			got := get(t, s, func(tx *Tx) (lamina.RuntimeManagement, error) { return tx.RuntimeManagement(ctx, id, number) })
			if got != want {
				t.Errorf("RuntimeManagement(%d) = %v; want %v", number, got, want)
			}
		}
		put := func(number int64, m lamina.RuntimeManagement) {
			t.Helper()
			update(t, s, func(tx *Tx) error { return tx.PutRuntimeManagement(ctx, id, number, m) })
		}
		automatic := lamina.RuntimeManagement{UpdateOn: lamina.RuntimeUpdateAuto}
		manual := lamina.RuntimeManagement{UpdateOn: lamina.RuntimeUpdateManual, VersionARN: "arn"}
		onUpdate := lamina.RuntimeManagement{UpdateOn: lamina.RuntimeUpdateFunction}
		want(0, automatic)
		put(0, manual)
		put(1, onUpdate)
		want(0, manual)
		want(1, onUpdate)
		put(0, onUpdate)
		want(0, onUpdate)
		err := s.Update(ctx, func(tx *Tx) error { return tx.PutRuntimeManagement(ctx, id, 7, manual) })
		if !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("PutRuntimeManagement of an unknown version = %v; want ErrNotFound", err)
		}
		update(t, s, func(tx *Tx) error { // an update of $LATEST keeps what was put
			latest, err := tx.FunctionVersion(ctx, id, 0)
			if err != nil {
				return err
			}
			return tx.PutFunctionVersion(ctx, latest)
		})
		want(0, onUpdate)
		update(t, s, func(tx *Tx) error { _, err := tx.DeleteFunctionVersion(ctx, id, 1); return err })
		want(1, automatic)
		update(t, s, func(tx *Tx) error { return tx.DeleteFunction(ctx, id) })
		createFunction(t, s, id)
		want(0, automatic)
	})
}

func TestRuntimeManagementAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		id := functionID("hello")
		createFunction(t, s, id)
		together(8, func(i int) {
			m := lamina.RuntimeManagement{UpdateOn: lamina.RuntimeUpdateManual, VersionARN: fmt.Sprint(i)}
			if err := s.Update(ctx, func(tx *Tx) error { return tx.PutRuntimeManagement(ctx, id, 0, m) }); err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		})
		got := get(t, s, func(tx *Tx) (lamina.RuntimeManagement, error) { return tx.RuntimeManagement(ctx, id, 0) })
		if got.UpdateOn != lamina.RuntimeUpdateManual || len(got.VersionARN) != 1 {
			t.Errorf("RuntimeManagement = %v; want one writer's", got)
		}
	})
}
