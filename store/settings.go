package store

import (
	"context"
	"fmt"
)

// Setting returns a server setting, or ErrNotFound.
func (tx *Tx) Setting(ctx context.Context, key string) (string, error) {
	var value string
	err := tx.one(ctx, func(r scanner) error { return r.Scan(&value) },
		"SELECT value FROM setting WHERE name = $1", key)
	if err != nil {
		return "", fmt.Errorf("setting %s: %w", key, err)
	}
	return value, nil
}

// PutSetting writes a server setting.
func (tx *Tx) PutSetting(ctx context.Context, key, value string) error {
	err := tx.exec(ctx, `INSERT INTO setting (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, key, value)
	if err != nil {
		return fmt.Errorf("put setting %s: %w", key, err)
	}
	return nil
}
