package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
)

var roomy = Backlog{Events: 1000, Bytes: 1 << 20}

func event(n int) lamina.Event {
	return lamina.Event{
		RequestID: fmt.Sprintf("request-%03d", n), Function: functionID("hello"), Qualifier: "live",
		Payload: []byte(`{"n":"ä"}`), ClientContext: `{"c":1}`, Accepted: now.Add(time.Duration(n) * time.Millisecond),
	}
}

func queue(t testing.TB, s *Store, all ...lamina.Event) {
	t.Helper()
	for _, e := range all {
		update(t, s, func(tx *Tx) error { return tx.InsertEvent(t.Context(), e, roomy) })
	}
}

func claim(t testing.TB, s *Store, owner string, at time.Time, limit int) (ids []string) {
	t.Helper()
	var all []lamina.Event
	update(t, s, func(tx *Tx) (err error) {
		all, err = tx.ClaimEvents(t.Context(), owner, at, at.Add(time.Minute), lamina.FunctionID{}, limit)
		return err
	})
	for _, e := range all {
		ids = append(ids, e.RequestID)
	}
	slices.Sort(ids)
	return ids
}

func backlog(t testing.TB, s *Store) Backlog {
	t.Helper()
	return get(t, s, func(tx *Tx) (Backlog, error) { return tx.EventBacklog(t.Context(), scope) })
}

func TestEventLife(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		want := event(1)
		queue(t, s, want)
		if got := claim(t, s, "a", now, 5); got != nil {
			t.Fatalf("claim before it is due = %v; want none", got)
		}
		var claimed []lamina.Event
		at := now.Add(time.Second)
		update(t, s, func(tx *Tx) (err error) {
			claimed, err = tx.ClaimEvents(ctx, "a", at, at.Add(time.Minute), lamina.FunctionID{}, 5)
			return err
		})
		if diff := cmp.Diff([]lamina.Event{want}, claimed); diff != "" {
			t.Fatalf("claimed differs (-want +got):\n%s", diff)
		}
		if got := claim(t, s, "b", at, 5); got != nil {
			t.Errorf("claim of another's = %v; want none", got)
		}
		e := claimed[0]
		e.Attempts, e.Deferrals = 1, 2
		due := at.Add(time.Hour)
		for owner, want := range map[string]bool{"b": false, "a": true} {
			update(t, s, func(tx *Tx) error {
				changed, err := tx.PutBackEvent(ctx, e, owner, due)
				if changed != want {
					t.Errorf("PutBackEvent by %s = %t; want %t", owner, changed, want)
				}
				return err
			})
		}
		next := get(t, s, func(tx *Tx) (time.Time, error) { return tx.NextEvent(ctx, lamina.FunctionID{}) })
		if !next.Equal(due) {
			t.Errorf("NextEvent = %v; want %v", next, due)
		}
		if err := s.View(ctx, func(tx *Tx) error {
			_, err := tx.NextEvent(ctx, e.Function)
			return err
		}); !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("NextEvent but those of the function = %v; want ErrNotFound", err)
		}
		if got := claim(t, s, "b", due, 5); !slices.Equal(got, []string{e.RequestID}) {
			t.Fatalf("claim when it is due again = %v; want it", got)
		}
		if got, want := backlog(t, s), (Backlog{Events: 1, Bytes: eventBytes(e)}); got != want {
			t.Errorf("backlog = %+v; want %+v", got, want)
		}
		finish := func(owner string) (changed bool) {
			update(t, s, func(tx *Tx) (err error) {
				changed, err = tx.FinishEvent(ctx, e, owner, lamina.EventRetriesExhausted, due)
				return err
			})
			return changed
		}
		if finish("a") || !finish("b") || finish("b") {
			t.Error("FinishEvent must work once, for who runs the event")
		}
		got := get(t, s, func(tx *Tx) (EventState, error) { return tx.Event(ctx, e.RequestID) })
		if got.Condition != lamina.EventRetriesExhausted || !got.Finished.Equal(due) || got.Attempts != 1 || len(got.Payload) != 0 || got.Owner != "" {
			t.Errorf("finished event = %+v; want RetriesExhausted after 1 attempt, without its payload", got)
		}
		if got := backlog(t, s); got != (Backlog{}) {
			t.Errorf("backlog after the end = %+v; want none", got)
		}
		if got := claim(t, s, "a", due.Add(time.Hour), 5); got != nil {
			t.Errorf("claim of a finished event = %v; want none", got)
		}
	})
}

func TestEventLeases(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		queue(t, s, event(1), event(2))
		at := now.Add(time.Second)
		claim(t, s, "a", at, 1)
		claim(t, s, "b", at, 1)
		update(t, s, func(tx *Tx) error { return tx.RenewEvents(ctx, "a", at.Add(time.Hour)) })
		if got := claim(t, s, "c", at.Add(2*time.Minute), 5); !slices.Equal(got, []string{"request-002"}) {
			t.Errorf("claim after one lease ran out = %v; want the event that was not renewed", got)
		}
		update(t, s, func(tx *Tx) error { return tx.ReleaseEvents(ctx, "a", at.Add(150*time.Second)) })
		if got := claim(t, s, "d", at.Add(150*time.Second), 5); !slices.Equal(got, []string{"request-001"}) {
			t.Errorf("claim of what was released = %v; want it", got)
		}
	})
}

// TestEventClaimersAtOnce: every event goes to one claimer.
func TestEventClaimersAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		const events, claimers = 40, 8
		together(4, func(i int) {
			for n := i; n < events; n += 4 {
				queue(t, s, event(n))
			}
		})
		var mu sync.Mutex
		owners := map[string]string{}
		together(claimers, func(i int) {
			for range events {
				for _, id := range claim(t, s, fmt.Sprint(i), now.Add(time.Second), 3) {
					mu.Lock()
					if other, taken := owners[id]; taken {
						t.Errorf("%s claimed by %s and %d", id, other, i)
					}
					owners[id] = fmt.Sprint(i)
					mu.Unlock()
				}
			}
		})
		if len(owners) != events {
			t.Errorf("%d events claimed; want %d", len(owners), events)
		}
	})
}

// TestEventBacklogAtOnce: the bound holds when many come at once.
func TestEventBacklogAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		const limit = 5
		var mu sync.Mutex
		accepted := 0
		together(8, func(i int) {
			for n := range 4 {
				err := s.Update(t.Context(), func(tx *Tx) error {
					return tx.InsertEvent(t.Context(), event(10*i+n), Backlog{Events: limit, Bytes: 1 << 20})
				})
				if err != nil && !errors.Is(err, lamina.ErrBusy) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					accepted++
					mu.Unlock()
				}
			}
		})
		if got := backlog(t, s); accepted != limit || got.Events != limit {
			t.Errorf("%d accepted, backlog %+v; want %d", accepted, got, limit)
		}
		err := s.Update(t.Context(), func(tx *Tx) error {
			return tx.InsertEvent(t.Context(), event(900), Backlog{Events: 100, Bytes: limit * eventBytes(event(1))})
		})
		if !errors.Is(err, lamina.ErrBusy) {
			t.Errorf("InsertEvent beyond the bytes = %v; want ErrBusy", err)
		}
		err = s.Update(t.Context(), func(tx *Tx) error {
			return errors.Join(tx.InsertEvent(t.Context(), event(901), roomy), tx.InsertEvent(t.Context(), event(901), roomy))
		})
		if !errors.Is(err, lamina.ErrExists) {
			t.Errorf("InsertEvent of a known request = %v; want ErrExists", err)
		}
	})
}

func TestEventPruning(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		for n := range 10 {
			e := event(n)
			queue(t, s, e)
			claim(t, s, "a", now.Add(time.Second), 1)
			update(t, s, func(tx *Tx) error {
				_, err := tx.FinishEvent(ctx, e, "a", lamina.EventSuccess, e.Accepted)
				return err
			})
		}
		queue(t, s, event(10)) // not over
		prune := func(before time.Time, keep, limit int) (n int64) {
			update(t, s, func(tx *Tx) (err error) {
				n, err = tx.PruneEvents(ctx, before, keep, limit)
				return err
			})
			return n
		}
		for _, c := range []struct {
			name        string
			before      time.Time
			keep, limit int
			want        int64
		}{
			{"nothing is old or beyond", now, 10, 99, 0},
			{"three are old", now.Add(3 * time.Millisecond), 99, 99, 3},
			{"two are beyond", now, 5, 99, 2},
			{"no more than the limit", now.Add(time.Hour), 0, 4, 4},
			{"the rest", now.Add(time.Hour), 0, 4, 1},
		} {
			if got := prune(c.before, c.keep, c.limit); got != c.want {
				t.Errorf("%s: pruned %d; want %d", c.name, got, c.want)
			}
		}
		if got := claim(t, s, "a", now.Add(time.Second), 5); !slices.Equal(got, []string{"request-010"}) {
			t.Errorf("claim after pruning = %v; want the event that was not over", got)
		}
	})
}
