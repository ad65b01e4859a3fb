package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Options say where the metadata is.
type Options struct {
	Path string       // SQLite file; it and its folder are created when absent
	URL  string       // postgres://…; wins over Path
	Log  *slog.Logger // nil for none

	// SecretKey seals the variables of functions and the secrets of access keys:
	// [SecretKeyBytes] bytes, the same at every start. Nil leaves them plain; then
	// a database that was sealed fails with [ErrOtherKey].
	SecretKey []byte
}

// Store is the metadata of one server. It is safe for concurrent use.
type Store struct {
	log     *slog.Logger
	db      database
	alone   bool          // no other process writes to the database
	commits atomic.Uint64 // of Update, also those whose outcome is unknown
	secrets *secrets
}

// database is what differs between the dialects. Both hand out sessions: a
// connection that is the caller's alone until it is released.
type database interface {
	// acquire waits for a session or for ctx.
	acquire(ctx context.Context, mode mode) (*session, error)
	// release takes a session back. A broken one is closed instead of reused.
	release(s *session, mode mode, broken bool)
	// begin is the statement that starts a transaction.
	begin(mode mode) string
	// lockMigrations makes other servers wait until the transaction ends.
	lockMigrations(ctx context.Context, tx *Tx) error
	// retriable reports whether the same transaction may succeed next time.
	retriable(err error) bool
	// isReference reports whether a row refers to one that does not exist.
	isReference(err error) bool
	// close waits for the sessions that are out.
	close() error
}

type mode int

const (
	read mode = iota
	write
)

// attempts bounds how often an Update that met others is tried.
const attempts = 12

var errClosed = errors.New("store is closed")

// Open opens the database that the options name, creates what is absent and
// brings the tables up to date. The caller closes the store.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{log: o.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.secrets, err = newSecrets(o.SecretKey); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if o.URL != "" {
		s.db, err = openPostgres(ctx, o.URL)
	} else {
		s.db, err = openSQLite(ctx, o.Path)
		s.alone = true
	}
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	err = s.migrate(ctx)
	if err == nil {
		err = s.adopt(ctx, o.SecretKey)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), s.db.close())
	}
	return s, nil
}

// Close waits for running transactions and closes the database. Transactions
// that start later fail.
func (s *Store) Close() error {
	if err := s.db.close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// View runs fn on a snapshot: nothing that others commit meanwhile shows, and
// writing fails. fn must not start another View or Update.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	return s.run(ctx, read, fn)
}

// Update runs fn and commits what it wrote when it returns nil; otherwise
// nothing happened. See the package comment for the locks that fn takes. fn runs
// again when the database broke a deadlock, so it must have no effects but
// through the transaction, and must not start another View or Update.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	for try := 1; ; try++ {
		err := s.run(ctx, write, fn)
		if err == nil || try == attempts || ctx.Err() != nil || !s.db.retriable(err) {
			return err
		}
		s.log.LogAttrs(ctx, slog.LevelDebug, "transaction retried",
			slog.Int("attempt", try), slog.Any("err", err))
		if err := pause(ctx, time.Duration(1+rand.IntN(4*try))*time.Millisecond); err != nil {
			return err
		}
	}
}

// Commits counts the Updates that ended before the call. What a View read stays
// true until the count changes, if alone; otherwise another process may have
// written meanwhile, and nothing can be remembered.
func (s *Store) Commits() (n uint64, alone bool) { return s.commits.Load(), s.alone }

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Store) run(ctx context.Context, m mode, fn func(*Tx) error) error {
	session, err := s.db.acquire(ctx, m)
	if err != nil {
		return err
	}
	// Until the transaction is known to have ended, the session is not for
	// others. A panic in fn leaves it so, too.
	broken := true
	defer func() { s.db.release(session, m, broken) }()

	tx := &Tx{session: session, db: s.db, secrets: s.secrets}
	if err := tx.exec(ctx, s.db.begin(m)); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	err = fn(tx)
	if err == nil {
		err = ctx.Err()
	}
	// The end does not depend on ctx: a commit that a cancelled request
	// interrupts might have happened or not.
	ending := context.WithoutCancel(ctx)
	if err != nil {
		broken = tx.exec(ending, "ROLLBACK") != nil
		if ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return err
	}
	if m == write {
		// Whatever the answer says: before Update returns, what was remembered
		// is old.
		defer s.commits.Add(1)
	}
	if err := tx.exec(ending, "COMMIT"); err != nil {
		broken = tx.exec(ending, "ROLLBACK") != nil
		return fmt.Errorf("commit: %w", err)
	}
	broken = false
	return nil
}

// session is one connection and the statements prepared on it.
type session struct {
	conn *sql.Conn
	// stmts is nil when the driver keeps prepared statements itself.
	stmts map[string]*sql.Stmt
}

// context returns what a statement runs with. SQLite would start a goroutine for
// each statement to watch a context that can end, which costs more than the
// statement. None takes long: all are seeks and pages. So there ctx counts
// between statements, and in the wait for a session; with PostgreSQL, where a
// statement may wait for a lock, always.
func (s *session) context(ctx context.Context) (context.Context, error) {
	if s.stmts == nil {
		return ctx, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return context.WithoutCancel(ctx), nil
}

// prepare returns the statement for a text. Texts are constants, so the map
// stays as small as the package.
func (s *session) prepare(ctx context.Context, text string) (*sql.Stmt, error) {
	if stmt, ok := s.stmts[text]; ok {
		return stmt, nil
	}
	stmt, err := s.conn.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	s.stmts[text] = stmt
	return stmt, nil
}

// close closes the connection itself, not only the handle on it.
func (s *session) close() {
	for _, stmt := range s.stmts {
		_ = stmt.Close() // the connection goes next
	}
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn }) // tells the pool to close it
	_ = s.conn.Close()                                           // says that it is closed already
}
