package store

import (
	"context"
	"fmt"

	"github.com/lamina-run/lamina"
)

const eventInvokeColumns = `account, region, function, qualifier, retries, age_seconds, on_success, on_failure, modified`

func scanEventInvokeConfig(r scanner, c *lamina.EventInvokeConfig) error {
	var modified int64
	id := &c.Function
	err := r.Scan(&id.Account, &id.Region, &id.Name, &c.Qualifier,
		&c.MaximumRetries, &c.MaximumEventAge, &c.OnSuccess, &c.OnFailure, &modified)
	c.LastModified = fromMillis(modified)
	return err
}

// PutEventInvokeConfig writes all settings of one qualifier, new or not. It fails
// with ErrNotFound if the function is unknown. The caller has locked the
// function, so that what the qualifier names stays.
func (tx *Tx) PutEventInvokeConfig(ctx context.Context, c lamina.EventInvokeConfig) error {
	id := c.Function
	err := tx.exec(ctx, `INSERT INTO event_invoke_config (`+eventInvokeColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (account, region, function, qualifier) DO UPDATE SET
			retries = excluded.retries, age_seconds = excluded.age_seconds,
			on_success = excluded.on_success, on_failure = excluded.on_failure, modified = excluded.modified`,
		id.Account, id.Region, id.Name, c.Qualifier,
		c.MaximumRetries, c.MaximumEventAge, c.OnSuccess, c.OnFailure, toMillis(c.LastModified))
	if err != nil {
		return fmt.Errorf("put event invoke config of %s: %w", c.ARN(), err)
	}
	return nil
}

// EventInvokeConfig returns the settings of one qualifier, or ErrNotFound.
func (tx *Tx) EventInvokeConfig(ctx context.Context, id lamina.FunctionID, qualifier string) (lamina.EventInvokeConfig, error) {
	var c lamina.EventInvokeConfig
	err := tx.one(ctx, func(r scanner) error { return scanEventInvokeConfig(r, &c) },
		`SELECT `+eventInvokeColumns+` FROM event_invoke_config
		WHERE account = $1 AND region = $2 AND function = $3 AND qualifier = $4`,
		id.Account, id.Region, id.Name, qualifier)
	if err != nil {
		return lamina.EventInvokeConfig{}, fmt.Errorf("event invoke config of %s: %w", id.QualifiedARN(qualifier), err)
	}
	return c, nil
}

// EventInvokeConfigs returns at most limit of a function's settings with
// qualifiers after a given one, ordered by qualifier.
func (tx *Tx) EventInvokeConfigs(ctx context.Context, id lamina.FunctionID, after string, limit int) ([]lamina.EventInvokeConfig, error) {
	var all []lamina.EventInvokeConfig
	err := tx.each(ctx, func(r scanner) error {
		var c lamina.EventInvokeConfig
		if err := scanEventInvokeConfig(r, &c); err != nil {
			return err
		}
		all = append(all, c)
		return nil
	}, `SELECT `+eventInvokeColumns+` FROM event_invoke_config
		WHERE account = $1 AND region = $2 AND function = $3 AND qualifier > $4
		ORDER BY qualifier LIMIT $5`,
		id.Account, id.Region, id.Name, after, limit)
	if err != nil {
		return nil, fmt.Errorf("event invoke configs of function %s: %w", id.Name, err)
	}
	return all, nil
}

// DeleteEventInvokeConfig removes the settings of one qualifier, and reports
// whether there were any.
func (tx *Tx) DeleteEventInvokeConfig(ctx context.Context, id lamina.FunctionID, qualifier string) (existed bool, err error) {
	existed, err = tx.change(ctx, deleteEventInvokeConfig, id.Account, id.Region, id.Name, qualifier)
	if err != nil {
		return false, fmt.Errorf("delete event invoke config of %s: %w", id.QualifiedARN(qualifier), err)
	}
	return existed, nil
}

const deleteEventInvokeConfig = `DELETE FROM event_invoke_config
	WHERE account = $1 AND region = $2 AND function = $3 AND qualifier = $4`

// deleteEventInvokeConfig is for removals of what the qualifier names.
func (tx *Tx) deleteEventInvokeConfig(ctx context.Context, id lamina.FunctionID, qualifier string) error {
	return tx.exec(ctx, deleteEventInvokeConfig, id.Account, id.Region, id.Name, qualifier)
}
