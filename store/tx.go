package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/lamina-run/lamina"
)

// Tx is one transaction. It ends with the function that [Store.View] or
// [Store.Update] ran, and belongs to that function's goroutine.
type Tx struct {
	session *session
	db      database
	secrets *secrets
}

// scanner is a *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

func (tx *Tx) exec(ctx context.Context, text string, args ...any) error {
	_, err := tx.result(ctx, text, args)
	return err
}

// change is exec for a statement that may change nothing.
func (tx *Tx) change(ctx context.Context, text string, args ...any) (changed bool, err error) {
	res, err := tx.result(ctx, text, args)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// insert runs an INSERT … ON CONFLICT DO NOTHING: unlike a unique violation,
// that leaves a PostgreSQL transaction usable, so callers may go on after
// ErrExists on both databases.
func (tx *Tx) insert(ctx context.Context, text string, args ...any) error {
	inserted, err := tx.change(ctx, text, args...)
	if err != nil {
		return err
	}
	if !inserted {
		return lamina.ErrExists
	}
	return nil
}

func (tx *Tx) result(ctx context.Context, text string, args []any) (sql.Result, error) {
	ctx, err := tx.session.context(ctx)
	if err != nil {
		return nil, err
	}
	var res sql.Result
	if tx.session.stmts == nil {
		res, err = tx.session.conn.ExecContext(ctx, text, args...)
	} else {
		var stmt *sql.Stmt
		if stmt, err = tx.session.prepare(ctx, text); err == nil {
			res, err = stmt.ExecContext(ctx, args...)
		}
	}
	if err != nil && tx.db.isReference(err) {
		return nil, fmt.Errorf("owner: %w", lamina.ErrNotFound)
	}
	return res, err
}

// one scans the only row; no row is ErrNotFound.
func (tx *Tx) one(ctx context.Context, scan func(scanner) error, text string, args ...any) error {
	ctx, err := tx.session.context(ctx)
	if err != nil {
		return err
	}
	var row *sql.Row
	if tx.session.stmts == nil {
		row = tx.session.conn.QueryRowContext(ctx, text, args...)
	} else {
		stmt, err := tx.session.prepare(ctx, text)
		if err != nil {
			return err
		}
		row = stmt.QueryRowContext(ctx, args...)
	}
	return notFound(scan(row))
}

// each scans every row. It returns when the rows are read, so that a session
// never has two results open.
func (tx *Tx) each(ctx context.Context, scan func(scanner) error, text string, args ...any) error {
	ctx, err := tx.session.context(ctx)
	if err != nil {
		return err
	}
	var rows *sql.Rows
	if tx.session.stmts == nil {
		rows, err = tx.session.conn.QueryContext(ctx, text, args...)
	} else {
		var stmt *sql.Stmt
		if stmt, err = tx.session.prepare(ctx, text); err == nil {
			rows, err = stmt.QueryContext(ctx, args...)
		}
	}
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// texts returns the rows of a statement with one text column.
func (tx *Tx) texts(ctx context.Context, text string, args ...any) ([]string, error) {
	var all []string
	err := tx.each(ctx, func(r scanner) error {
		var s string
		if err := r.Scan(&s); err != nil {
			return err
		}
		all = append(all, s)
		return nil
	}, text, args...)
	return all, err
}

func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return lamina.ErrNotFound
	}
	return err
}

func toMillis(t time.Time) int64    { return t.UnixMilli() }
func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// ifAny turns 0, which asks for no bound, into a number that is none.
func ifAny(before int64) int64 {
	if before == 0 {
		return math.MaxInt64
	}
	return before
}

func toJSON(v any) (string, error) {
	data, err := json.Marshal(v)
	return string(data), err
}

// listToText keeps nil and empty apart: nil is NULL.
func listToText(list []string) (sql.NullString, error) {
	if list == nil {
		return sql.NullString{}, nil
	}
	text, err := toJSON(list)
	return sql.NullString{String: text, Valid: true}, err
}

func textToList(text sql.NullString) (list []string, err error) {
	if text.Valid {
		err = json.Unmarshal([]byte(text.String), &list)
	}
	return list, err
}

// digestText is empty for the absent digest, which no index should find.
func digestText(d lamina.Digest) string {
	if d.IsZero() {
		return ""
	}
	return d.String()
}

func textDigest(s string) (d lamina.Digest, err error) {
	err = d.UnmarshalText([]byte(s))
	return d, err
}
