package store

import (
	"context"
	"fmt"

	"github.com/lamina-run/lamina"
)

// RecursiveLoop returns what happens when a function invokes itself in a loop,
// Allow or Terminate. It fails with ErrNotFound for an unknown function.
func (tx *Tx) RecursiveLoop(ctx context.Context, id lamina.FunctionID) (string, error) {
	var loop string
	err := tx.one(ctx, func(r scanner) error { return r.Scan(&loop) },
		`SELECT recursive_loop FROM function
		WHERE account = $1 AND region = $2 AND name = $3`,
		id.Account, id.Region, id.Name)
	if err != nil {
		return "", fmt.Errorf("recursive loop of function %s: %w", id.Name, err)
	}
	return loop, nil
}

// SetRecursiveLoop says what happens when a function invokes itself in a loop. It
// fails with ErrNotFound for an unknown function.
func (tx *Tx) SetRecursiveLoop(ctx context.Context, id lamina.FunctionID, loop string) error {
	changed, err := tx.change(ctx, `UPDATE function SET recursive_loop = $4
		WHERE account = $1 AND region = $2 AND name = $3`,
		id.Account, id.Region, id.Name, loop)
	if err == nil && !changed {
		err = lamina.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("set recursive loop of function %s: %w", id.Name, err)
	}
	return nil
}
