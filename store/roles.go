package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lamina-run/lamina"
)

// Role is an IAM role of an account.
type Role struct {
	Account           string
	Name              string
	ID                string // such as AROA…
	Path              string
	Description       string
	TrustPolicy       string // AssumeRolePolicyDocument
	MaxSessionSeconds int64
	Tags              map[string]string // nil and empty come back as nil
	Created           time.Time
}

const roleColumns = `account, name, id, path, description, trust, max_session, tags, created`

func roleValues(r Role) ([]any, error) {
	tags, err := toJSON(r.Tags)
	return []any{
		r.Account, r.Name, r.ID, r.Path, r.Description, r.TrustPolicy, r.MaxSessionSeconds,
		tags, toMillis(r.Created),
	}, err
}

func scanRole(row scanner, r *Role) error {
	var tags []byte
	var created int64
	err := row.Scan(&r.Account, &r.Name, &r.ID, &r.Path, &r.Description, &r.TrustPolicy, &r.MaxSessionSeconds,
		&tags, &created)
	if err != nil {
		return err
	}
	r.Created = fromMillis(created)
	if err := json.Unmarshal(tags, &r.Tags); err != nil {
		return err
	}
	if len(r.Tags) == 0 {
		r.Tags = nil
	}
	return nil
}

// InsertRole adds a role. It fails with ErrExists if the name or the ID is taken
// and with ErrNotFound if the account is unknown.
func (tx *Tx) InsertRole(ctx context.Context, r Role) error {
	values, err := roleValues(r)
	if err == nil {
		err = tx.insert(ctx, `INSERT INTO role (`+roleColumns+`)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT DO NOTHING`, values...)
	}
	if err != nil {
		return fmt.Errorf("insert role %s: %w", r.Name, err)
	}
	return nil
}

// UpdateRole writes all of a role that exists, or fails with ErrNotFound.
func (tx *Tx) UpdateRole(ctx context.Context, r Role) error {
	values, err := roleValues(r)
	var changed bool
	if err == nil {
		changed, err = tx.change(ctx, `UPDATE role SET id = $3, path = $4, description = $5, trust = $6,
				max_session = $7, tags = $8, created = $9
			WHERE account = $1 AND name = $2`, values...)
	}
	if err == nil && !changed {
		err = lamina.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("update role %s: %w", r.Name, err)
	}
	return nil
}

// Role returns a role, or ErrNotFound.
func (tx *Tx) Role(ctx context.Context, account, name string) (Role, error) {
	var r Role
	err := tx.one(ctx, func(row scanner) error { return scanRole(row, &r) },
		`SELECT `+roleColumns+` FROM role WHERE account = $1 AND name = $2`, account, name)
	if err != nil {
		return Role{}, fmt.Errorf("role %s: %w", name, err)
	}
	return r, nil
}

// Roles returns at most limit roles with names after a given one, ordered by
// name, whose path begins with a prefix.
func (tx *Tx) Roles(ctx context.Context, account, pathPrefix, after string, limit int) ([]Role, error) {
	var all []Role
	err := tx.each(ctx, func(row scanner) error {
		var r Role
		if err := scanRole(row, &r); err != nil {
			return err
		}
		all = append(all, r)
		return nil
	}, `SELECT `+roleColumns+` FROM role
		WHERE account = $1 AND name > $2
			AND substr(path, 1, length(CAST($3 AS TEXT))) = CAST($3 AS TEXT)
		ORDER BY name LIMIT $4`, account, after, pathPrefix, limit)
	if err != nil {
		return nil, fmt.Errorf("roles of account %s: %w", account, err)
	}
	return all, nil
}

// DeleteRole removes a role with its attachments and inline policies, and
// reports whether there was one.
func (tx *Tx) DeleteRole(ctx context.Context, account, name string) (existed bool, err error) {
	existed, err = tx.change(ctx, "DELETE FROM role WHERE account = $1 AND name = $2", account, name)
	if err != nil {
		return false, fmt.Errorf("delete role %s: %w", name, err)
	}
	return existed, nil
}

// AttachRolePolicy attaches a managed policy; attaching it again changes
// nothing. It fails with ErrNotFound if the role is unknown.
func (tx *Tx) AttachRolePolicy(ctx context.Context, account, role, policyARN string) error {
	err := tx.exec(ctx, `INSERT INTO role_attachment (account, role, policy) VALUES ($1, $2, $3)
		ON CONFLICT DO NOTHING`, account, role, policyARN)
	if err != nil {
		return fmt.Errorf("attach %s to role %s: %w", policyARN, role, err)
	}
	return nil
}

// DetachRolePolicy detaches a managed policy and reports whether it was attached.
func (tx *Tx) DetachRolePolicy(ctx context.Context, account, role, policyARN string) (existed bool, err error) {
	existed, err = tx.change(ctx, "DELETE FROM role_attachment WHERE account = $1 AND role = $2 AND policy = $3",
		account, role, policyARN)
	if err != nil {
		return false, fmt.Errorf("detach %s from role %s: %w", policyARN, role, err)
	}
	return existed, nil
}

// AttachedRolePolicies returns the ARNs of the attached policies, in order. An
// unknown role has none.
func (tx *Tx) AttachedRolePolicies(ctx context.Context, account, role string) ([]string, error) {
	arns, err := tx.texts(ctx, `SELECT policy FROM role_attachment
		WHERE account = $1 AND role = $2 ORDER BY policy`, account, role)
	if err != nil {
		return nil, fmt.Errorf("policies attached to role %s: %w", role, err)
	}
	return arns, nil
}

// PutRolePolicy writes an inline policy. It fails with ErrNotFound if the role
// is unknown.
func (tx *Tx) PutRolePolicy(ctx context.Context, account, role, name, document string) error {
	err := tx.exec(ctx, `INSERT INTO role_policy (account, role, name, document) VALUES ($1, $2, $3, $4)
		ON CONFLICT (account, role, name) DO UPDATE SET document = excluded.document`,
		account, role, name, document)
	if err != nil {
		return fmt.Errorf("put policy %s of role %s: %w", name, role, err)
	}
	return nil
}

// RolePolicy returns the document of an inline policy, or ErrNotFound.
func (tx *Tx) RolePolicy(ctx context.Context, account, role, name string) (document string, err error) {
	err = tx.one(ctx, func(r scanner) error { return r.Scan(&document) },
		`SELECT document FROM role_policy WHERE account = $1 AND role = $2 AND name = $3`, account, role, name)
	if err != nil {
		return "", fmt.Errorf("policy %s of role %s: %w", name, role, err)
	}
	return document, nil
}

// DeleteRolePolicy removes an inline policy and reports whether there was one.
func (tx *Tx) DeleteRolePolicy(ctx context.Context, account, role, name string) (existed bool, err error) {
	existed, err = tx.change(ctx, "DELETE FROM role_policy WHERE account = $1 AND role = $2 AND name = $3",
		account, role, name)
	if err != nil {
		return false, fmt.Errorf("delete policy %s of role %s: %w", name, role, err)
	}
	return existed, nil
}

// RolePolicies returns the names of the inline policies, in order. An unknown
// role has none.
func (tx *Tx) RolePolicies(ctx context.Context, account, role string) ([]string, error) {
	names, err := tx.texts(ctx, `SELECT name FROM role_policy
		WHERE account = $1 AND role = $2 ORDER BY name`, account, role)
	if err != nil {
		return nil, fmt.Errorf("inline policies of role %s: %w", role, err)
	}
	return names, nil
}
