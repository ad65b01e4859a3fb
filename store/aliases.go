package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lamina-run/lamina"
)

// InsertAlias adds an alias. It fails with ErrExists if the name is taken and
// with ErrNotFound if the function is unknown. The caller has locked the
// function, so that the versions the alias points at stay.
func (tx *Tx) InsertAlias(ctx context.Context, a lamina.Alias) error {
	values, err := aliasValues(a)
	if err == nil {
		err = tx.insert(ctx, insertAlias+` ON CONFLICT DO NOTHING`, values...)
	}
	if err != nil {
		return fmt.Errorf("insert alias %s: %w", a.ARN(), err)
	}
	return nil
}

// PutAlias writes all of an alias, new or not. It fails with ErrNotFound if the
// function is unknown. The caller has locked the function.
func (tx *Tx) PutAlias(ctx context.Context, a lamina.Alias) error {
	values, err := aliasValues(a)
	if err == nil {
		err = tx.exec(ctx, insertAlias+` ON CONFLICT (account, region, function, name) DO UPDATE SET
			target = excluded.target, description = excluded.description, revision = excluded.revision,
			additional = excluded.additional, weight = excluded.weight`, values...)
	}
	if err != nil {
		return fmt.Errorf("put alias %s: %w", a.ARN(), err)
	}
	return nil
}

const insertAlias = `INSERT INTO alias (account, region, function, name, target, description, revision, additional, weight)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

const aliasColumns = `account, region, function, name, target, description, revision, additional, weight`

func aliasValues(a lamina.Alias) ([]any, error) {
	if len(a.Weights) > 1 {
		return nil, fmt.Errorf("%d additional versions: at most one", len(a.Weights))
	}
	var additional sql.NullString
	var weight sql.NullFloat64
	for version, share := range a.Weights {
		additional = sql.NullString{String: version, Valid: true}
		weight = sql.NullFloat64{Float64: share, Valid: true}
	}
	id := a.Function
	return []any{
		id.Account, id.Region, id.Name, a.Name, a.Target, a.Description, a.RevisionID,
		additional, weight,
	}, nil
}

func scanAlias(r scanner, a *lamina.Alias) error {
	var additional sql.NullString
	var weight sql.NullFloat64
	id := &a.Function
	err := r.Scan(&id.Account, &id.Region, &id.Name, &a.Name, &a.Target, &a.Description, &a.RevisionID,
		&additional, &weight)
	if additional.Valid {
		a.Weights = map[string]float64{additional.String: weight.Float64}
	}
	return err
}

// Alias returns an alias, or ErrNotFound.
func (tx *Tx) Alias(ctx context.Context, id lamina.FunctionID, name string) (lamina.Alias, error) {
	var a lamina.Alias
	err := tx.one(ctx, func(r scanner) error { return scanAlias(r, &a) },
		`SELECT `+aliasColumns+` FROM alias
		WHERE account = $1 AND region = $2 AND function = $3 AND name = $4`,
		id.Account, id.Region, id.Name, name)
	if err != nil {
		return lamina.Alias{}, fmt.Errorf("alias %s of function %s: %w", name, id.Name, err)
	}
	return a, nil
}

// DeleteAlias removes an alias with its policy, its provisioned concurrency and
// its event invoke config, and reports whether there was one. A URL of the alias
// stays (docs/quirks.md#alias-url). The caller has locked the function.
func (tx *Tx) DeleteAlias(ctx context.Context, id lamina.FunctionID, name string) (existed bool, err error) {
	existed, err = tx.change(ctx, `DELETE FROM alias
		WHERE account = $1 AND region = $2 AND function = $3 AND name = $4`,
		id.Account, id.Region, id.Name, name)
	if err == nil && existed {
		err = errors.Join(
			tx.exec(ctx, "DELETE FROM policy WHERE resource = $1", id.QualifiedARN(name)),
			tx.deleteProvisioned(ctx, id, name),
			tx.deleteEventInvokeConfig(ctx, id, name))
	}
	if err != nil {
		return false, fmt.Errorf("delete alias %s of function %s: %w", name, id.Name, err)
	}
	return existed, nil
}

// Aliases returns at most limit aliases with names after a given one, ordered by
// name: all, or those whose primary version is target.
func (tx *Tx) Aliases(ctx context.Context, id lamina.FunctionID, target, after string, limit int) ([]lamina.Alias, error) {
	var all []lamina.Alias
	scan := func(r scanner) error {
		var a lamina.Alias
		if err := scanAlias(r, &a); err != nil {
			return err
		}
		all = append(all, a)
		return nil
	}
	var err error
	if target == "" {
		err = tx.each(ctx, scan, `SELECT `+aliasColumns+` FROM alias
			WHERE account = $1 AND region = $2 AND function = $3 AND name > $4
			ORDER BY name LIMIT $5`,
			id.Account, id.Region, id.Name, after, limit)
	} else {
		err = tx.each(ctx, scan, `SELECT `+aliasColumns+` FROM alias
			WHERE account = $1 AND region = $2 AND function = $3 AND target = $4 AND name > $5
			ORDER BY name LIMIT $6`,
			id.Account, id.Region, id.Name, target, after, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("aliases of function %s: %w", id.Name, err)
	}
	return all, nil
}

// AliasesOf returns the names of the aliases that point at a version, as primary
// or additional one, in order. Number 0 is $LATEST.
func (tx *Tx) AliasesOf(ctx context.Context, id lamina.FunctionID, number int64) ([]string, error) {
	names, err := tx.texts(ctx, `SELECT name FROM alias
		WHERE account = $1 AND region = $2 AND function = $3 AND (target = $4 OR additional = $4)
		ORDER BY name`,
		id.Account, id.Region, id.Name, lamina.Version{Number: number}.Qualifier())
	if err != nil {
		return nil, fmt.Errorf("aliases of version %d of function %s: %w", number, id.Name, err)
	}
	return names, nil
}
