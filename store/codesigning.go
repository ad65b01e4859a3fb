package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lamina-run/lamina"
)

// optionalMillis is NULL for the zero time.
func optionalMillis(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: toMillis(t), Valid: !t.IsZero()}
}

func fromOptionalMillis(ms sql.NullInt64) time.Time {
	if !ms.Valid {
		return time.Time{}
	}
	return fromMillis(ms.Int64)
}

const codeSigningColumns = `account, region, id, description, publishers, policy, modified`

func scanCodeSigningConfig(r scanner, c *lamina.CodeSigningConfig) error {
	var publishers []byte
	var modified int64
	if err := r.Scan(&c.Account, &c.Region, &c.ID, &c.Description, &publishers, &c.Policy, &modified); err != nil {
		return err
	}
	c.Modified = fromMillis(modified)
	return json.Unmarshal(publishers, &c.Publishers)
}

func (tx *Tx) codeSigningConfig(ctx context.Context, text string, args ...any) (c lamina.CodeSigningConfig, err error) {
	err = tx.one(ctx, func(r scanner) error { return scanCodeSigningConfig(r, &c) }, text, args...)
	return c, err
}

// InsertCodeSigningConfig adds a configuration. It fails with ErrExists if its
// ID is taken.
func (tx *Tx) InsertCodeSigningConfig(ctx context.Context, c lamina.CodeSigningConfig) error {
	publishers, err := toJSON(c.Publishers)
	if err == nil {
		err = tx.insert(ctx, `INSERT INTO code_signing_config (`+codeSigningColumns+`)
			VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
			c.Account, c.Region, c.ID, c.Description, publishers, c.Policy, toMillis(c.Modified))
	}
	if err != nil {
		return fmt.Errorf("insert code signing config %s: %w", c.ID, err)
	}
	return nil
}

// CodeSigningConfig returns a configuration, or ErrNotFound.
func (tx *Tx) CodeSigningConfig(ctx context.Context, in lamina.Scope, id string) (lamina.CodeSigningConfig, error) {
	c, err := tx.codeSigningConfig(ctx, `SELECT `+codeSigningColumns+` FROM code_signing_config
		WHERE account = $1 AND region = $2 AND id = $3`, in.Account, in.Region, id)
	if err != nil {
		return lamina.CodeSigningConfig{}, fmt.Errorf("code signing config %s: %w", id, err)
	}
	return c, nil
}

// LockCodeSigningConfig returns a configuration, or ErrNotFound, and makes
// others who lock it wait until the transaction ends. Functions are locked
// before, layers after it.
func (tx *Tx) LockCodeSigningConfig(ctx context.Context, in lamina.Scope, id string) (lamina.CodeSigningConfig, error) {
	c, err := tx.codeSigningConfig(ctx, `UPDATE code_signing_config SET policy = policy
		WHERE account = $1 AND region = $2 AND id = $3
		RETURNING `+codeSigningColumns, in.Account, in.Region, id)
	if err != nil {
		return lamina.CodeSigningConfig{}, fmt.Errorf("lock code signing config %s: %w", id, err)
	}
	return c, nil
}

// PutCodeSigningConfig changes a configuration, or fails with ErrNotFound.
func (tx *Tx) PutCodeSigningConfig(ctx context.Context, c lamina.CodeSigningConfig) error {
	publishers, err := toJSON(c.Publishers)
	changed := false
	if err == nil {
		changed, err = tx.change(ctx, `UPDATE code_signing_config
			SET description = $4, publishers = $5, policy = $6, modified = $7
			WHERE account = $1 AND region = $2 AND id = $3`,
			c.Account, c.Region, c.ID, c.Description, publishers, c.Policy, toMillis(c.Modified))
	}
	if err == nil && !changed {
		err = lamina.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("put code signing config %s: %w", c.ID, err)
	}
	return nil
}

// DeleteCodeSigningConfig removes a configuration, which no function has, and
// its tags. It fails with ErrNotFound if there is none.
func (tx *Tx) DeleteCodeSigningConfig(ctx context.Context, c lamina.CodeSigningConfig) error {
	changed, err := tx.change(ctx, "DELETE FROM code_signing_config WHERE account = $1 AND region = $2 AND id = $3",
		c.Account, c.Region, c.ID)
	if err == nil && !changed {
		err = lamina.ErrNotFound
	}
	if err == nil {
		err = tx.exec(ctx, "DELETE FROM tag WHERE resource = $1", c.ARN())
	}
	if err != nil {
		return fmt.Errorf("delete code signing config %s: %w", c.ID, err)
	}
	return nil
}

// CodeSigningConfigs returns at most limit configurations with IDs after a given
// one, ordered by ID.
func (tx *Tx) CodeSigningConfigs(ctx context.Context, in lamina.Scope, after string, limit int) ([]lamina.CodeSigningConfig, error) {
	var all []lamina.CodeSigningConfig
	err := tx.each(ctx, func(r scanner) error {
		var c lamina.CodeSigningConfig
		if err := scanCodeSigningConfig(r, &c); err != nil {
			return err
		}
		all = append(all, c)
		return nil
	}, `SELECT `+codeSigningColumns+` FROM code_signing_config
		WHERE account = $1 AND region = $2 AND id > $3 ORDER BY id LIMIT $4`,
		in.Account, in.Region, after, limit)
	if err != nil {
		return nil, fmt.Errorf("code signing configs of %s in %s: %w", in.Account, in.Region, err)
	}
	return all, nil
}

// SetFunctionCodeSigningConfig attaches a configuration to a function in the
// place of another one. The caller has locked both.
func (tx *Tx) SetFunctionCodeSigningConfig(ctx context.Context, id lamina.FunctionID, config string) error {
	err := tx.exec(ctx, `INSERT INTO function_code_signing (account, region, function, config) VALUES ($1, $2, $3, $4)
		ON CONFLICT (account, region, function) DO UPDATE SET config = excluded.config`,
		id.Account, id.Region, id.Name, config)
	if err != nil {
		return fmt.Errorf("attach code signing config %s to function %s: %w", config, id.Name, err)
	}
	return nil
}

// DeleteFunctionCodeSigningConfig detaches the configuration of a function, if
// it has one. The caller has locked the function.
func (tx *Tx) DeleteFunctionCodeSigningConfig(ctx context.Context, id lamina.FunctionID) error {
	err := tx.exec(ctx, "DELETE FROM function_code_signing WHERE account = $1 AND region = $2 AND function = $3",
		id.Account, id.Region, id.Name)
	if err != nil {
		return fmt.Errorf("detach code signing config from function %s: %w", id.Name, err)
	}
	return nil
}

// FunctionCodeSigningConfig returns the configuration of a function, or
// ErrNotFound when it has none.
func (tx *Tx) FunctionCodeSigningConfig(ctx context.Context, id lamina.FunctionID) (lamina.CodeSigningConfig, error) {
	c, err := tx.codeSigningConfig(ctx, `SELECT c.account, c.region, c.id, c.description, c.publishers, c.policy, c.modified
		FROM function_code_signing f
		JOIN code_signing_config c ON c.account = f.account AND c.region = f.region AND c.id = f.config
		WHERE f.account = $1 AND f.region = $2 AND f.function = $3`,
		id.Account, id.Region, id.Name)
	if err != nil {
		return lamina.CodeSigningConfig{}, fmt.Errorf("code signing config of function %s: %w", id.Name, err)
	}
	return c, nil
}

// FunctionsSignedBy returns the names of at most limit functions that have a
// configuration, after a given one, ordered.
func (tx *Tx) FunctionsSignedBy(ctx context.Context, in lamina.Scope, config, after string, limit int) ([]string, error) {
	names, err := tx.texts(ctx, `SELECT function FROM function_code_signing
		WHERE account = $1 AND region = $2 AND config = $3 AND function > $4
		ORDER BY function LIMIT $5`,
		in.Account, in.Region, config, after, limit)
	if err != nil {
		return nil, fmt.Errorf("functions of code signing config %s: %w", config, err)
	}
	return names, nil
}

// InsertSigningProfile adds a version of a signing profile. It fails with
// ErrExists if the version is taken.
func (tx *Tx) InsertSigningProfile(ctx context.Context, p lamina.SigningProfile) error {
	err := tx.insert(ctx, `INSERT INTO signing_profile (account, region, name, version, certificate, created, revoked)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
		p.Account, p.Region, p.Name, p.Version, base64.StdEncoding.EncodeToString(p.Certificate),
		toMillis(p.Created), optionalMillis(p.Revoked))
	if err != nil {
		return fmt.Errorf("insert signing profile %s: %w", p.Name, err)
	}
	return nil
}

// SigningProfiles returns all versions of all signing profiles of a scope,
// revoked ones too, ordered by name and age. Callers that add to them keep
// their number small.
func (tx *Tx) SigningProfiles(ctx context.Context, in lamina.Scope) ([]lamina.SigningProfile, error) {
	var all []lamina.SigningProfile
	err := tx.each(ctx, func(r scanner) error {
		p := lamina.SigningProfile{Scope: in}
		var certificate string
		var created int64
		var revoked sql.NullInt64
		err := r.Scan(&p.Name, &p.Version, &certificate, &created, &revoked)
		if err != nil {
			return err
		}
		p.Created, p.Revoked = fromMillis(created), fromOptionalMillis(revoked)
		p.Certificate, err = base64.StdEncoding.DecodeString(certificate)
		all = append(all, p)
		return err
	}, `SELECT name, version, certificate, created, revoked FROM signing_profile
		WHERE account = $1 AND region = $2 ORDER BY name, created, version`,
		in.Account, in.Region)
	if err != nil {
		return nil, fmt.Errorf("signing profiles of %s in %s: %w", in.Account, in.Region, err)
	}
	return all, nil
}

// RevokeSigningProfile revokes all versions of a signing profile that are not
// revoked yet. It fails with ErrNotFound if there never was one.
func (tx *Tx) RevokeSigningProfile(ctx context.Context, in lamina.Scope, name string, now time.Time) error {
	exists := false
	err := tx.one(ctx, func(r scanner) error { return r.Scan(&exists) },
		"SELECT EXISTS (SELECT 1 FROM signing_profile WHERE account = $1 AND region = $2 AND name = $3)",
		in.Account, in.Region, name)
	if err == nil && !exists {
		err = lamina.ErrNotFound
	}
	if err == nil {
		err = tx.exec(ctx, `UPDATE signing_profile SET revoked = $4
			WHERE account = $1 AND region = $2 AND name = $3 AND revoked IS NULL`,
			in.Account, in.Region, name, toMillis(now))
	}
	if err != nil {
		return fmt.Errorf("revoke signing profile %s: %w", name, err)
	}
	return nil
}
