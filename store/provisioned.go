package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/lamina-run/lamina"
)

// PutProvisioned writes provisioned concurrency, new or not. It locks the
// function, and fails with ErrNotFound if that is unknown. The Alias of c is not
// read: the alias has a row of its own.
func (tx *Tx) PutProvisioned(ctx context.Context, c lamina.Provisioned) error {
	id := c.Function
	_, err := tx.LockFunction(ctx, id)
	if err == nil {
		err = tx.exec(ctx, `INSERT INTO provisioned (account, region, function, qualifier, requested, modified)
			VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (account, region, function, qualifier) DO UPDATE SET
				requested = excluded.requested, modified = excluded.modified`,
			id.Account, id.Region, id.Name, c.Qualifier, c.Requested, toMillis(c.Modified))
	}
	if err == nil {
		err = tx.sumProvisioned(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("put provisioned concurrency of %s: %w", c.ARN(), err)
	}
	return nil
}

// DeleteProvisioned removes provisioned concurrency; there need not be any. The
// caller has locked the function.
func (tx *Tx) DeleteProvisioned(ctx context.Context, id lamina.FunctionID, qualifier string) error {
	if err := tx.deleteProvisioned(ctx, id, qualifier); err != nil {
		return fmt.Errorf("delete provisioned concurrency of %s: %w", id.QualifiedARN(qualifier), err)
	}
	return nil
}

func (tx *Tx) deleteProvisioned(ctx context.Context, id lamina.FunctionID, qualifier string) error {
	existed, err := tx.change(ctx, `DELETE FROM provisioned
		WHERE account = $1 AND region = $2 AND function = $3 AND qualifier = $4`,
		id.Account, id.Region, id.Name, qualifier)
	if err != nil || !existed {
		return err
	}
	return tx.sumProvisioned(ctx, id)
}

func (tx *Tx) sumProvisioned(ctx context.Context, id lamina.FunctionID) error {
	return tx.exec(ctx, `UPDATE function SET provisioned = (
			SELECT CAST(COALESCE(SUM(p.requested), 0) AS BIGINT) FROM provisioned p
			WHERE p.account = $1 AND p.region = $2 AND p.function = $3)
		WHERE account = $1 AND region = $2 AND name = $3`,
		id.Account, id.Region, id.Name)
}

const selectProvisioned = `SELECT p.account, p.region, p.function, p.qualifier, p.requested, p.modified,
		a.target, a.additional, a.weight
	FROM provisioned p LEFT JOIN alias a
		ON a.account = p.account AND a.region = p.region AND a.function = p.function AND a.name = p.qualifier`

func scanProvisioned(r scanner, c *lamina.Provisioned) error {
	var target, additional sql.NullString
	var weight sql.NullFloat64
	var modified int64
	id := &c.Function
	err := r.Scan(&id.Account, &id.Region, &id.Name, &c.Qualifier, &c.Requested, &modified, &target, &additional, &weight)
	if err != nil {
		return err
	}
	c.Modified = fromMillis(modified)
	if target.Valid {
		c.Alias = &lamina.Alias{Function: *id, Name: c.Qualifier, Target: target.String}
		if additional.Valid {
			c.Alias.Weights = map[string]float64{additional.String: weight.Float64}
		}
	}
	return nil
}

// SetRevision gives a version another revision and changes nothing else of it. It
// is no error if the version is gone.
func (tx *Tx) SetRevision(ctx context.Context, v lamina.Version, revisionID string) error {
	id := v.Function
	err := tx.exec(ctx, `UPDATE function_version SET revision = $5
		WHERE account = $1 AND region = $2 AND name = $3 AND number = $4`,
		id.Account, id.Region, id.Name, v.Number, revisionID)
	if err != nil {
		return fmt.Errorf("set revision of %s: %w", v.ARN(), err)
	}
	return nil
}

// Provisioned returns the provisioned concurrency of a version or alias, or
// ErrNotFound. Of an alias it has the name and where it points.
func (tx *Tx) Provisioned(ctx context.Context, id lamina.FunctionID, qualifier string) (c lamina.Provisioned, err error) {
	err = tx.one(ctx, func(r scanner) error { return scanProvisioned(r, &c) }, selectProvisioned+`
		WHERE p.account = $1 AND p.region = $2 AND p.function = $3 AND p.qualifier = $4`,
		id.Account, id.Region, id.Name, qualifier)
	if err != nil {
		return lamina.Provisioned{}, fmt.Errorf("provisioned concurrency of %s: %w", id.QualifiedARN(qualifier), err)
	}
	return c, nil
}

// FunctionProvisioned returns at most limit configurations of a function with
// qualifiers after a given one, ordered by qualifier.
func (tx *Tx) FunctionProvisioned(ctx context.Context, id lamina.FunctionID, after string, limit int) ([]lamina.Provisioned, error) {
	all, err := tx.provisioned(ctx, selectProvisioned+`
		WHERE p.account = $1 AND p.region = $2 AND p.function = $3 AND p.qualifier > $4
		ORDER BY p.qualifier LIMIT $5`,
		id.Account, id.Region, id.Name, after, limit)
	if err != nil {
		return nil, fmt.Errorf("provisioned concurrency of function %s: %w", id.Name, err)
	}
	return all, nil
}

// AllProvisioned returns at most limit configurations of all accounts that come
// after a given one; the zero value starts with the first.
func (tx *Tx) AllProvisioned(ctx context.Context, after lamina.Provisioned, limit int) ([]lamina.Provisioned, error) {
	id := after.Function
	all, err := tx.provisioned(ctx, selectProvisioned+`
		WHERE (p.account, p.region, p.function, p.qualifier) > ($1, $2, $3, $4)
		ORDER BY p.account, p.region, p.function, p.qualifier LIMIT $5`,
		id.Account, id.Region, id.Name, after.Qualifier, limit)
	if err != nil {
		return nil, fmt.Errorf("all provisioned concurrency: %w", err)
	}
	return all, nil
}

func (tx *Tx) provisioned(ctx context.Context, text string, args ...any) (all []lamina.Provisioned, err error) {
	err = tx.each(ctx, func(r scanner) error {
		var c lamina.Provisioned
		if err := scanProvisioned(r, &c); err != nil {
			return err
		}
		all = append(all, c)
		return nil
	}, text, args...)
	return all, err
}
