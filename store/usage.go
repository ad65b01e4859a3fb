package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/lamina-run/lamina"
)

// addUsage counts what the transaction added or removed. It is the last thing a
// method does: from here to the end of the transaction, PostgreSQL lets no
// other change the code of the same scope.
func (tx *Tx) addUsage(ctx context.Context, in lamina.Scope, codeBytes, functions int64) error {
	if codeBytes == 0 && functions == 0 {
		return nil
	}
	err := tx.exec(ctx, `INSERT INTO usage (account, region, code_bytes, functions) VALUES ($1, $2, $3, $4)
		ON CONFLICT (account, region) DO UPDATE SET
			code_bytes = usage.code_bytes + excluded.code_bytes,
			functions = usage.functions + excluded.functions`,
		in.Account, in.Region, codeBytes, functions)
	if err != nil {
		return fmt.Errorf("count usage: %w", err)
	}
	return nil
}

// CodeUsage returns the bytes of all archives, each function version's and each
// layer version's counted, and the number of functions. It reads one row.
func (tx *Tx) CodeUsage(ctx context.Context, in lamina.Scope) (codeBytes, functions int64, err error) {
	err = tx.one(ctx, func(r scanner) error { return r.Scan(&codeBytes, &functions) },
		"SELECT code_bytes, functions FROM usage WHERE account = $1 AND region = $2",
		in.Account, in.Region)
	if errors.Is(err, lamina.ErrNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("code usage of %s in %s: %w", in.Account, in.Region, err)
	}
	return codeBytes, functions, nil
}

// LockUsage makes others wait who lock or change the usage of the scope, for
// limits that must hold when two come at once: call it before CodeUsage or
// ReservedTotal.
func (tx *Tx) LockUsage(ctx context.Context, in lamina.Scope) error {
	err := tx.exec(ctx, `INSERT INTO usage (account, region, code_bytes, functions) VALUES ($1, $2, 0, 0)
		ON CONFLICT (account, region) DO UPDATE SET functions = usage.functions`,
		in.Account, in.Region)
	if err != nil {
		return fmt.Errorf("lock usage of %s in %s: %w", in.Account, in.Region, err)
	}
	return nil
}

// ReservedTotal returns the sum of what the functions of a scope take from the
// account's concurrency, one function left out: what each reserves, or without
// that what is provisioned for it. It reads two indexes of such functions.
func (tx *Tx) ReservedTotal(ctx context.Context, in lamina.Scope, except lamina.FunctionID) (int64, error) {
	var name string
	if except.Scope == in {
		name = except.Name
	}
	var total int64
	err := tx.one(ctx, func(r scanner) error { return r.Scan(&total) },
		`SELECT CAST(
			COALESCE((SELECT SUM(reserved) FROM function
				WHERE account = $1 AND region = $2 AND reserved IS NOT NULL AND name <> $3), 0)
			+ COALESCE((SELECT SUM(provisioned) FROM function
				WHERE account = $1 AND region = $2 AND provisioned > 0 AND reserved IS NULL AND name <> $3), 0)
			AS BIGINT)`,
		in.Account, in.Region, name)
	if err != nil {
		return 0, fmt.Errorf("reserved concurrency of %s in %s: %w", in.Account, in.Region, err)
	}
	return total, nil
}

// Referenced reports whether any layer version, any version's code or any layer
// that a version holds has the digest. The absent digest is never referenced.
func (tx *Tx) Referenced(ctx context.Context, d lamina.Digest) (bool, error) {
	if d.IsZero() {
		return false, nil
	}
	var referenced bool
	err := tx.one(ctx, func(r scanner) error { return r.Scan(&referenced) },
		`SELECT EXISTS (SELECT 1 FROM layer_version WHERE digest = $1)
			OR EXISTS (SELECT 1 FROM function_version WHERE code_digest = $1)
			OR EXISTS (SELECT 1 FROM function_layer WHERE digest = $1)`,
		d.String())
	if err != nil {
		return false, fmt.Errorf("references to %s: %w", d, err)
	}
	return referenced, nil
}
