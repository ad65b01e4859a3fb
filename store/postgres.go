package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// connections bounds what one server takes of PostgreSQL's 100.
const connections = 20

// migrationLock is the advisory lock under which one server changes the tables.
// The number means nothing.
const migrationLock = 4606310582

// Conditions that PostgreSQL reports by these codes.
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	foreignKeyViolation  = "23503"
)

// postgresDB leaves the pool to database/sql and prepared statements to pgx,
// which keeps them for each connection.
type postgresDB struct {
	db *sql.DB
}

func openPostgres(ctx context.Context, url string) (database, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err // pgx leaves the password out
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "lamina"
	}
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &postgresDB{db: db}, nil
}

func (d *postgresDB) acquire(ctx context.Context, _ mode) (*session, error) {
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("wait for a transaction: %w", err)
	}
	return &session{conn: conn}, nil
}

func (d *postgresDB) release(s *session, _ mode, broken bool) {
	if broken {
		s.close()
		return
	}
	_ = s.conn.Close() // gives it back to the pool
}

// begin: readers get a snapshot. Writers wait for row locks and then see the
// newest row, which a stricter level would turn into failures.
func (d *postgresDB) begin(m mode) string {
	if m == write {
		return "BEGIN ISOLATION LEVEL READ COMMITTED"
	}
	return "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
}

func (d *postgresDB) lockMigrations(ctx context.Context, tx *Tx) error {
	if err := tx.exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
		return err
	}
	return tx.exec(ctx, `CREATE COLLATION IF NOT EXISTS "binary" FROM "C"`)
}

func (d *postgresDB) retriable(err error) bool {
	switch postgresCode(err) {
	case serializationFailure, deadlockDetected:
		return true
	default:
		return false
	}
}

func (d *postgresDB) isReference(err error) bool {
	return postgresCode(err) == foreignKeyViolation
}

func postgresCode(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

func (d *postgresDB) close() error { return d.db.Close() }
