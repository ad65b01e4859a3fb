package store

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
)

func TestFunctionURLs(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		id := functionID("hello")
		createFunction(t, s, id)
		all := []lamina.FunctionURL{
			{Function: id, ID: "own", AuthType: lamina.URLAuthNone, Created: now, LastModified: now},
			{
				Function: id, Qualifier: "live", ID: "of-live", AuthType: lamina.URLAuthIAM, InvokeMode: lamina.URLResponseStream,
				CORS:    &lamina.CORS{AllowCredentials: pointer(false), AllowOrigins: []string{"*"}, AllowMethods: []string{}, MaxAge: pointer(int64(60))},
				Created: now, LastModified: now,
			},
			{Function: id, Qualifier: "next", ID: "of-next", AuthType: lamina.URLAuthNone, Created: now, LastModified: now},
		}
		for _, u := range all {
			update(t, s, func(tx *Tx) error { return tx.InsertFunctionURL(ctx, u) })
		}
		same := func() {
			t.Helper()
			for _, want := range all {
				got := get(t, s, func(tx *Tx) (lamina.FunctionURL, error) { return tx.FunctionURL(ctx, id, want.Qualifier) })
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("FunctionURL(%q) differs (-want +got):\n%s", want.Qualifier, diff)
				}
				byID := get(t, s, func(tx *Tx) (lamina.FunctionURL, error) { return tx.FunctionURLByID(ctx, want.ID) })
				if diff := cmp.Diff(want, byID); diff != "" {
					t.Errorf("FunctionURLByID(%q) differs (-want +got):\n%s", want.ID, diff)
				}
			}
		}
		same()
		for name, u := range map[string]lamina.FunctionURL{
			"the function has one": {Function: id, ID: "second"},
			"the ID is taken":      {Function: id, Qualifier: "other", ID: "own"},
		} {
			if err := s.Update(ctx, func(tx *Tx) error { return tx.InsertFunctionURL(ctx, u) }); !errors.Is(err, lamina.ErrExists) {
				t.Errorf("InsertFunctionURL, %s = %v; want ErrExists", name, err)
			}
		}
		absent := lamina.FunctionURL{Function: functionID("absent"), ID: "x"}
		if err := s.Update(ctx, func(tx *Tx) error { return tx.InsertFunctionURL(ctx, absent) }); !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("InsertFunctionURL of an unknown function = %v; want ErrNotFound", err)
		}
		if err := s.View(ctx, func(tx *Tx) error { _, err := tx.FunctionURLByID(ctx, "x"); return err }); !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("FunctionURLByID of an unknown ID = %v; want ErrNotFound", err)
		}
		if err := s.Update(ctx, func(tx *Tx) error { return tx.UpdateFunctionURL(ctx, absent) }); !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("UpdateFunctionURL of an unknown function = %v; want ErrNotFound", err)
		}

		all[0].CORS, all[0].InvokeMode, all[0].LastModified = &lamina.CORS{}, lamina.URLBuffered, now.Add(time.Second)
		all[1].CORS, all[1].AuthType = nil, lamina.URLAuthNone
		for _, u := range all[:2] {
			update(t, s, func(tx *Tx) error { return tx.UpdateFunctionURL(ctx, u) })
		}
		same()

		var got []string
		view(t, s, func(tx *Tx) error {
			for from := ""; ; {
				page, err := tx.FunctionURLs(ctx, id, from, 2)
				if err != nil {
					return err
				}
				got = append(got, page[0].ID)
				if len(page) < 2 {
					return nil
				}
				from = page[1].Qualifier
			}
		})
		if want := []string{"own", "of-live", "of-next"}; !slices.Equal(got, want) {
			t.Errorf("FunctionURLs = %v; want %v", got, want)
		}
		for _, want := range []bool{true, false} {
			update(t, s, func(tx *Tx) error {
				existed, err := tx.DeleteFunctionURL(ctx, id, "")
				if existed != want {
					t.Errorf("DeleteFunctionURL = %t; want %t", existed, want)
				}
				return err
			})
		}
	})
}

// TestFunctionURLOutlivesItsAlias, but not its function.
func TestFunctionURLOutlivesItsAlias(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		id := functionID("hello")
		createFunction(t, s, id)
		update(t, s, func(tx *Tx) error {
			return errors.Join(
				tx.InsertAlias(ctx, lamina.Alias{Function: id, Name: "live", Target: lamina.Latest}),
				tx.InsertFunctionURL(ctx, lamina.FunctionURL{Function: id, Qualifier: "live", ID: "u"}))
		})
		update(t, s, func(tx *Tx) error { _, err := tx.DeleteAlias(ctx, id, "live"); return err })
		left := func() int {
			t.Helper()
			return len(get(t, s, func(tx *Tx) ([]lamina.FunctionURL, error) { return tx.FunctionURLs(ctx, id, "", 9) }))
		}
		if got := left(); got != 1 {
			t.Errorf("%d URLs after DeleteAlias; want 1", got)
		}
		update(t, s, func(tx *Tx) error { return tx.DeleteFunction(ctx, id) })
		createFunction(t, s, id)
		if got := left(); got != 0 {
			t.Errorf("%d URLs after DeleteFunction and a new one; want none", got)
		}
	})
}

// TestFunctionURLsAtOnce: of all who give a function its URL, one does.
func TestFunctionURLsAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		id := functionID("hello")
		createFunction(t, s, id)
		var made, refused atomic.Int64
		together(8, func(i int) {
			err := s.Update(ctx, func(tx *Tx) error {
				if _, err := tx.LockFunction(ctx, id); err != nil {
					return err
				}
				return tx.InsertFunctionURL(ctx, lamina.FunctionURL{Function: id, ID: fmt.Sprint("u", i)})
			})
			switch {
			case err == nil:
				made.Add(1)
			case errors.Is(err, lamina.ErrExists):
				refused.Add(1)
			default:
				t.Errorf("writer %d: %v", i, err)
			}
		})
		if made.Load() != 1 || refused.Load() != 7 {
			t.Errorf("%d made, %d refused; want 1 and 7", made.Load(), refused.Load())
		}
	})
}
