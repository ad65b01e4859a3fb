package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/lamina-run/lamina"
)

// InsertFunction adds a function with its $LATEST, which gets the function's
// identity. It fails with ErrExists if the name is taken.
func (tx *Tx) InsertFunction(ctx context.Context, f lamina.Function, latest lamina.Version) error {
	latest.Function, latest.Incarnation, latest.Number = f.ID, f.Incarnation, 0
	if err := tx.insertFunction(ctx, f, latest); err != nil {
		return fmt.Errorf("insert function %s: %w", f.ID.Name, err)
	}
	return nil
}

func (tx *Tx) insertFunction(ctx context.Context, f lamina.Function, latest lamina.Version) error {
	err := tx.insert(ctx, `INSERT INTO function (account, region, name, incarnation, last_number, reserved, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT DO NOTHING`,
		f.ID.Account, f.ID.Region, f.ID.Name, f.Incarnation, f.LastNumber, f.ReservedConcurrency, toMillis(f.Created))
	if err != nil {
		return err
	}
	if err := tx.insertVersion(ctx, latest); err != nil {
		return err
	}
	return tx.addUsage(ctx, f.ID.Scope, latest.Code.CodeSize, 1)
}

const functionColumns = `account, region, name, incarnation, last_number, reserved, provisioned, created`

func (tx *Tx) function(ctx context.Context, text string, args ...any) (f lamina.Function, err error) {
	var created int64
	err = tx.one(ctx, func(r scanner) error {
		return r.Scan(&f.ID.Account, &f.ID.Region, &f.ID.Name, &f.Incarnation, &f.LastNumber, &f.ReservedConcurrency, &f.ProvisionedConcurrency, &created)
	}, text, args...)
	f.Created = fromMillis(created)
	return f, err
}

// Function returns what all versions of a function share, or ErrNotFound.
func (tx *Tx) Function(ctx context.Context, id lamina.FunctionID) (lamina.Function, error) {
	f, err := tx.function(ctx, `SELECT `+functionColumns+` FROM function
		WHERE account = $1 AND region = $2 AND name = $3`,
		id.Account, id.Region, id.Name)
	if err != nil {
		return lamina.Function{}, fmt.Errorf("function %s: %w", id.Name, err)
	}
	return f, nil
}

// LockFunction returns the function, or ErrNotFound, and makes others who lock
// it wait until the transaction ends.
func (tx *Tx) LockFunction(ctx context.Context, id lamina.FunctionID) (lamina.Function, error) {
	f, err := tx.function(ctx, `UPDATE function SET last_number = last_number
		WHERE account = $1 AND region = $2 AND name = $3
		RETURNING `+functionColumns,
		id.Account, id.Region, id.Name)
	if err != nil {
		return lamina.Function{}, fmt.Errorf("lock function %s: %w", id.Name, err)
	}
	return f, nil
}

// SetReservedConcurrency reserves concurrency, or with nil none. It fails with
// ErrNotFound for an unknown function.
func (tx *Tx) SetReservedConcurrency(ctx context.Context, id lamina.FunctionID, reserved *int64) error {
	changed, err := tx.change(ctx, `UPDATE function SET reserved = $4
		WHERE account = $1 AND region = $2 AND name = $3`,
		id.Account, id.Region, id.Name, reserved)
	if err == nil && !changed {
		err = lamina.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("reserve concurrency of function %s: %w", id.Name, err)
	}
	return nil
}

// DeleteFunction removes a function with its versions, aliases, policies, tags,
// settings, URLs and references to layers. It fails with ErrNotFound for an unknown function.
func (tx *Tx) DeleteFunction(ctx context.Context, id lamina.FunctionID) error {
	if err := tx.deleteFunction(ctx, id); err != nil {
		return fmt.Errorf("delete function %s: %w", id.Name, err)
	}
	return nil
}

func (tx *Tx) deleteFunction(ctx context.Context, id lamina.FunctionID) error {
	if _, err := tx.LockFunction(ctx, id); err != nil {
		return err
	}
	var size int64
	err := tx.one(ctx, func(r scanner) error { return r.Scan(&size) },
		`SELECT CAST(COALESCE(SUM(code_size), 0) AS BIGINT) FROM function_version
		WHERE account = $1 AND region = $2 AND name = $3`,
		id.Account, id.Region, id.Name)
	if err != nil {
		return err
	}
	// Versions, aliases, settings, URLs and layer references go with the
	// function's row.
	err = tx.exec(ctx, "DELETE FROM function WHERE account = $1 AND region = $2 AND name = $3",
		id.Account, id.Region, id.Name)
	if err != nil {
		return err
	}
	// Qualified ARNs lie between "…:name:" and "…:name;", the next character.
	for _, table := range []string{
		"DELETE FROM policy WHERE resource = $1 OR (resource > $2 AND resource < $3)",
		"DELETE FROM tag WHERE resource = $1 OR (resource > $2 AND resource < $3)",
	} {
		if err := tx.exec(ctx, table, id.ARN(), id.ARN()+":", id.ARN()+";"); err != nil {
			return err
		}
	}
	return tx.addUsage(ctx, id.Scope, -size, -1)
}

// lockIncarnation is LockFunction for a caller that read the function earlier:
// one that was deleted since, or deleted and created again, is not found.
func (tx *Tx) lockIncarnation(ctx context.Context, id lamina.FunctionID, incarnation string) error {
	f, err := tx.LockFunction(ctx, id)
	if err != nil {
		return err
	}
	if f.Incarnation != incarnation {
		return fmt.Errorf("incarnation %q: %w", incarnation, lamina.ErrNotFound)
	}
	return nil
}

// ignoreNotFound is for removals, which are content with nothing to remove.
func ignoreNotFound(err error) error {
	if errors.Is(err, lamina.ErrNotFound) {
		return nil
	}
	return err
}
