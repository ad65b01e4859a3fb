package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lamina-run/lamina/internal/fsx"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// readers is how many Views run at once. A View is short; more connections
// would only cost their page caches.
const readers = 8

// sqliteDB is one writing connection and a pool of reading ones, all kept open
// with their prepared statements. Writers queue here, where ctx can end the
// wait, rather than in SQLite's busy loop.
type sqliteDB struct {
	db *sql.DB // only opens connections
	// writers and readers hold the idle sessions. acquire receives, release
	// sends, close drains them; nobody closes them. A slot whose session
	// broke holds an empty session, to be opened by who acquires it.
	writers chan *session
	readers chan *session

	closed chan struct{} // closed by close, to wake those who wait
	once   sync.Once
}

// openPatience is how long a file that others open or close is waited for.
const openPatience = 5 * time.Second

func openSQLite(ctx context.Context, path string) (database, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := createPrivate(path); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", sqliteDSN(path))
	if err != nil {
		return nil, err
	}
	d := &sqliteDB{
		db:      db,
		writers: make(chan *session, 1),
		readers: make(chan *session, readers),
		closed:  make(chan struct{}),
	}
	db.SetMaxOpenConns(1 + readers)
	db.SetMaxIdleConns(1 + readers)
	d.writers <- &session{}
	for range readers {
		d.readers <- &session{}
	}
	s, err := d.acquire(ctx, write) // so that Open reports a file that is no database
	for began := time.Now(); err != nil && d.retriable(err) && time.Since(began) < openPatience; {
		// Who switches to WAL while another does, or closes the file as the last one,
		// does not wait as busy_timeout says.
		if e := pause(ctx, 10*time.Millisecond); e != nil {
			err = e
			break
		}
		s, err = d.acquire(ctx, write)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	d.release(s, write, false)
	return d, nil
}

// sqliteDSN carries the pragmas in the name, so that every connection has them.
// synchronous=FULL: a commit that was answered survives a power cut.
func sqliteDSN(path string) string {
	pragmas := url.Values{"_pragma": {
		"busy_timeout(5000)", // first: the switch to WAL itself may have to wait
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"foreign_keys(1)",
		"temp_store(MEMORY)",
		"cache_size(-8000)", // 8 MB, for the writer; see connect
	}}
	return "file://" + (&url.URL{Path: path}).EscapedPath() + "?" + pragmas.Encode()
}

// createPrivate makes an absent database file readable by its owner only: it
// holds secret keys. SQLite gives its log files the same permissions.
func createPrivate(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return fsx.SyncDir(dir)
}

func (d *sqliteDB) slots(m mode) chan *session {
	if m == write {
		return d.writers
	}
	return d.readers
}

func (d *sqliteDB) acquire(ctx context.Context, m mode) (*session, error) {
	select {
	case <-d.closed:
		return nil, errClosed
	default:
	}
	select {
	case s := <-d.slots(m):
		if s.conn != nil {
			return s, nil
		}
		s, err := d.connect(ctx, m)
		if err != nil {
			d.slots(m) <- &session{}
			return nil, err
		}
		return s, nil
	case <-d.closed:
		return nil, errClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a transaction: %w", context.Cause(ctx))
	}
}

func (d *sqliteDB) connect(ctx context.Context, m mode) (*session, error) {
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, stmts: make(map[string]*sql.Stmt)}
	if m == read {
		// 2 MB: each reader comes to fill its cache, whatever it reads, and what
		// is in the system's cache is quickly read again.
		if _, err := conn.ExecContext(ctx, "PRAGMA query_only = 1; PRAGMA cache_size = -2000"); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func (d *sqliteDB) release(s *session, m mode, broken bool) {
	if broken {
		s.close()
		s = &session{}
	}
	d.slots(m) <- s
}

func (d *sqliteDB) begin(m mode) string {
	if m == write {
		return "BEGIN IMMEDIATE"
	}
	return "BEGIN"
}

func (d *sqliteDB) lockMigrations(context.Context, *Tx) error {
	return nil // BEGIN IMMEDIATE locked the file
}

func (d *sqliteDB) retriable(err error) bool {
	switch code := sqliteCode(err) & 0xff; code {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return true
	default:
		return false
	}
}

func (d *sqliteDB) isReference(err error) bool {
	return sqliteCode(err) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}

func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return sqlite3.SQLITE_OK
}

func (d *sqliteDB) close() error {
	var err error
	d.once.Do(func() {
		close(d.closed)
		for range readers {
			d.drain(d.readers)
		}
		d.drain(d.writers) // last: the last connection folds the log into the file
		err = d.db.Close()
	})
	return err
}

func (d *sqliteDB) drain(slots chan *session) {
	if s := <-slots; s.conn != nil {
		s.close()
	}
}
