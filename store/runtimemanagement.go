package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/lamina-run/lamina"
)

// PutRuntimeManagement says when a version changes its runtime's release. Number
// 0 is $LATEST. It fails with ErrNotFound for an unknown version.
func (tx *Tx) PutRuntimeManagement(ctx context.Context, id lamina.FunctionID, number int64, m lamina.RuntimeManagement) error {
	err := tx.exec(ctx, `INSERT INTO runtime_management (account, region, name, number, update_on, runtime_version)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (account, region, name, number) DO UPDATE SET
			update_on = excluded.update_on, runtime_version = excluded.runtime_version`,
		id.Account, id.Region, id.Name, number, m.UpdateOn, m.VersionARN)
	if err != nil {
		return fmt.Errorf("put runtime management of version %d of function %s: %w", number, id.Name, err)
	}
	return nil
}

// RuntimeManagement returns when a version changes its runtime's release: what
// was put, else RuntimeUpdateAuto, for an unknown version too.
func (tx *Tx) RuntimeManagement(ctx context.Context, id lamina.FunctionID, number int64) (lamina.RuntimeManagement, error) {
	var m lamina.RuntimeManagement
	err := tx.one(ctx, func(r scanner) error { return r.Scan(&m.UpdateOn, &m.VersionARN) },
		`SELECT update_on, runtime_version FROM runtime_management
		WHERE account = $1 AND region = $2 AND name = $3 AND number = $4`,
		id.Account, id.Region, id.Name, number)
	if errors.Is(err, lamina.ErrNotFound) {
		return lamina.RuntimeManagement{UpdateOn: lamina.RuntimeUpdateAuto}, nil
	}
	if err != nil {
		return lamina.RuntimeManagement{}, fmt.Errorf("runtime management of version %d of function %s: %w", number, id.Name, err)
	}
	return m, nil
}
