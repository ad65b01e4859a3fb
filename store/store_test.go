package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
)

func TestUpdateIsAllOrNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		write := func(tx *Tx) {
			if err := tx.PutSetting(ctx, "k", "v"); err != nil {
				t.Error(err)
			}
		}
		errGiveUp := errors.New("give up")
		if err := s.Update(ctx, func(tx *Tx) error { write(tx); return errGiveUp }); !errors.Is(err, errGiveUp) {
			t.Errorf("Update = %v; want %v", err, errGiveUp)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("Update swallowed a panic")
				}
			}()
			_ = s.Update(ctx, func(tx *Tx) error { write(tx); panic("broken program") }) // panics
		}()
		cancelled, cancel := context.WithCancel(ctx)
		if err := s.Update(cancelled, func(tx *Tx) error { write(tx); cancel(); return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("Update with a context cancelled at its end = %v; want Canceled", err)
		}
		view(t, s, func(tx *Tx) error {
			if got, err := tx.Setting(ctx, "k"); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("Setting = %q, %v; want ErrNotFound", got, err)
			}
			return nil
		})
		update(t, s, func(tx *Tx) error { write(tx); return nil })
		if got := get(t, s, func(tx *Tx) (string, error) { return tx.Setting(ctx, "k") }); got != "v" {
			t.Errorf("Setting = %q; want v", got)
		}
	})
}

func TestViewIsASnapshotThatCannotWrite(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		set := func(v string) {
			update(t, s, func(tx *Tx) error { return tx.PutSetting(ctx, "k", v) })
		}
		set("before")
		view(t, s, func(tx *Tx) error {
			for range 2 {
				if got, err := tx.Setting(ctx, "k"); got != "before" || err != nil {
					t.Errorf("Setting = %q, %v; want before", got, err)
				}
				set("after")
			}
			return nil
		})
		if err := s.View(ctx, func(tx *Tx) error { return tx.PutSetting(ctx, "k", "v") }); err == nil {
			t.Error("a View wrote")
		}
		if got := get(t, s, func(tx *Tx) (string, error) { return tx.Setting(ctx, "k") }); got != "after" {
			t.Errorf("Setting = %q; want after", got)
		}
	})
}

// TestWaitEndsWithContext: who waits for a lock that another holds gives up when
// its request does, and leaves the store usable.
func TestWaitEndsWithContext(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		id := functionID("hello")
		createFunction(t, s, id)
		errGone := errors.New("client is gone")
		update(t, s, func(tx *Tx) error {
			if _, err := tx.LockFunction(t.Context(), id); err != nil {
				return err
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			waited := make(chan error, 1) // sent to once
			go func() {
				waited <- s.Update(ctx, func(tx *Tx) error {
					_, err := tx.LockFunction(ctx, id)
					return err
				})
			}()
			cancel(errGone)
			if err := <-waited; !errors.Is(err, errGone) && !errors.Is(err, context.Canceled) {
				t.Errorf("Update = %v; want its context's cause", err)
			}
			return nil
		})
		publish(t, s, id)
	})
}

// TestInterruptedRead: a connection whose statement was interrupted is not used
// again, and its place is taken by another.
func TestInterruptedRead(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		for range 2*readers + connections {
			ctx, cancel := context.WithCancel(t.Context())
			err := s.View(ctx, func(tx *Tx) error {
				cancel()
				_, err := tx.Setting(ctx, "k")
				return err
			})
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("View = %v; want Canceled", err)
			}
		}
		view(t, s, func(tx *Tx) error {
			_, err := tx.Accounts(t.Context())
			return err
		})
	})
}

func TestClosedStore(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, o Options) {
		s, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		running, end := make(chan struct{}), make(chan struct{}) // closed by View, and by the test
		var wg sync.WaitGroup
		wg.Go(func() {
			view(t, s, func(tx *Tx) error {
				close(running)
				<-end
				_, err := tx.Accounts(t.Context())
				return err
			})
		})
		<-running
		closed := make(chan error, 1) // sent to once
		go func() { closed <- s.Close() }()
		close(end)
		if err := <-closed; err != nil {
			t.Errorf("Close = %v", err)
		}
		wg.Wait()
		if err := s.View(t.Context(), func(*Tx) error { return nil }); err == nil {
			t.Error("View of a closed store = nil")
		}
		if err := s.Close(); err != nil {
			t.Errorf("second Close = %v", err)
		}
	})
}

// TestDeadlock: two who lock two functions in opposite order both succeed.
func TestDeadlock(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ids := []lamina.FunctionID{functionID("a"), functionID("b")}
		createFunction(t, s, ids[0])
		createFunction(t, s, ids[1])
		var mu sync.Mutex
		runs := 0
		together(4, func(i int) {
			err := s.Update(t.Context(), func(tx *Tx) error {
				mu.Lock()
				runs++
				mu.Unlock()
				for _, k := range []int{i % 2, 1 - i%2} {
					if _, err := tx.LockFunction(t.Context(), ids[k]); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		})
		t.Logf("%d runs of 4 transactions", runs)
	})
}

func TestReopen(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, o Options) {
		s, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		v := publishLayer(t, s, layerID("geo"), nil)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, o)
		if got := publishLayer(t, s, v.Layer, nil).Number; got != 2 {
			t.Errorf("number after opening again = %d; want 2", got)
		}
	})
}

func TestOpenAtOnce(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, o Options) {
		together(4, func(int) {
			s, err := Open(t.Context(), o)
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			publishLayer(t, s, layerID("geo"), nil)
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
		if got := publishLayer(t, open(t, o), layerID("geo"), nil).Number; got != 5 {
			t.Errorf("number after four servers = %d; want 5", got)
		}
	})
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, o Options) {
		s := open(t, o)
		update(t, s, func(tx *Tx) error {
			return tx.exec(t.Context(), "INSERT INTO migration (name, applied) VALUES ('9999_future.sql', 0)")
		})
		if s, err := Open(t.Context(), o); err == nil {
			t.Errorf("Open = nil; want an error that names 9999_future.sql (Close: %v)", s.Close())
		} else if !strings.Contains(err.Error(), "9999_future.sql") {
			t.Errorf("Open = %v; want an error that names 9999_future.sql", err)
		}
	})
}

func TestOpenReportsWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database\n", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{
		"folder":         {Path: dir},
		"other file":     {Path: text},
		"below a file":   {Path: filepath.Join(text, "lamina.db")},
		"no such server": {URL: "postgres://user:hidden@127.0.0.1:1/db?connect_timeout=2"},
		"ill-formed URL": {URL: "postgres://user:hidden@:x"},
	} {
		s, err := Open(t.Context(), o)
		if err == nil {
			t.Errorf("%s: Open = nil (Close: %v)", name, s.Close())
		} else if strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: Open shows the password: %v", name, err)
		}
	}
}

func TestSQLitePath(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new folder", "a?b#c%20d&_pragma=synchronous(0).db")
	s := open(t, Options{Path: path})
	publishLayer(t, s, layerID("geo"), nil)
	for _, name := range []string{path, path + "-wal"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("mode of %s = %v; want 0600: it holds secret keys", name, got)
		}
	}
}

// TestSQLiteSurvivesPowerCuts checks what that rests on: every commit is synced.
func TestSQLiteSurvivesPowerCuts(t *testing.T) {
	t.Parallel()
	s := open(t, sqliteOptions(t))
	check := func(tx *Tx) error {
		for pragma, want := range map[string]string{
			"synchronous":  "2", // FULL
			"journal_mode": "wal",
			"foreign_keys": "1",
			"busy_timeout": "5000",
		} {
			var got string
			err := tx.one(t.Context(), func(r scanner) error { return r.Scan(&got) }, "PRAGMA "+pragma)
			if got != want || err != nil {
				t.Errorf("%s = %s, %v; want %s", pragma, got, err, want)
			}
		}
		return nil
	}
	update(t, s, check)
	var all sync.WaitGroup // until every reader was seen
	all.Add(readers)
	together(readers, func(int) {
		view(t, s, func(tx *Tx) error {
			all.Done()
			all.Wait()
			return check(tx)
		})
	})
}

func TestPostgresSyncsCommits(t *testing.T) {
	t.Parallel()
	s := open(t, postgresOptions(t))
	update(t, s, func(tx *Tx) error {
		var got string
		err := tx.one(t.Context(), func(r scanner) error { return r.Scan(&got) }, "SHOW synchronous_commit")
		if got != "on" {
			t.Errorf("synchronous_commit = %s; want on", got)
		}
		return err
	})
}

func TestUpdateWaitsOnlyAsLongAsItMay(t *testing.T) {
	t.Parallel()
	s := open(t, sqliteOptions(t))
	update(t, s, func(*Tx) error { // the only writer
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		err := s.Update(ctx, func(*Tx) error { return nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("second Update = %v; want DeadlineExceeded", err)
		}
		return nil
	})
}
