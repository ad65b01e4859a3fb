package store

import (
	"context"
	"fmt"
	"time"

	"github.com/lamina-run/lamina"
)

// AccessKey signs requests for a user of an account.
type AccessKey struct {
	ID       string
	Secret   string
	Account  string
	User     string // "" is the root of the account
	Inactive bool
	Created  time.Time
	Use      AccessKeyUse
}

// AccessKeyUse is when and for what a key was used last; the zero value is never.
type AccessKeyUse struct {
	Time    time.Time
	Service string
	Region  string
}

// PutAccessKey writes an access key, new or not, but its last use. It fails with
// ErrNotFound if the account is unknown.
func (tx *Tx) PutAccessKey(ctx context.Context, k AccessKey) error {
	err := tx.exec(ctx, `INSERT INTO access_key (id, secret, account, user_name, active, created)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (id) DO UPDATE SET secret = excluded.secret, account = excluded.account,
			user_name = excluded.user_name, active = excluded.active, created = excluded.created`,
		k.ID, tx.secrets.seal(k.Secret, keyOwner(k.ID)), k.Account, k.User, bit(!k.Inactive), toMillis(k.Created))
	if err != nil {
		return fmt.Errorf("put access key %s: %w", k.ID, err)
	}
	return nil
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

const accessKeyColumns = `k.id, k.secret, k.account, k.user_name, k.active, k.created, k.used, k.used_service, k.used_region`

// keyOwner names the secret of an access key.
func keyOwner(id string) string { return "access key " + id }

func (tx *Tx) scanAccessKey(r scanner, k *AccessKey, more ...any) error {
	var active, created, used int64
	err := r.Scan(append([]any{&k.ID, &k.Secret, &k.Account, &k.User, &active, &created, &used, &k.Use.Service, &k.Use.Region}, more...)...)
	if err != nil {
		return err
	}
	k.Inactive, k.Created = active == 0, fromMillis(created)
	if used != 0 {
		k.Use.Time = fromMillis(used)
	}
	k.Secret, err = tx.secrets.open(k.Secret, keyOwner(k.ID))
	return err
}

// AccessKey returns an access key, or ErrNotFound.
func (tx *Tx) AccessKey(ctx context.Context, id string) (AccessKey, error) {
	k, _, err := tx.AccessKeyOwner(ctx, id)
	return k, err
}

// KeyOwner is the user that an access key belongs to; its zero value is the
// account's root.
type KeyOwner struct {
	ID   string
	Path string
}

// AccessKeyOwner returns an access key and whose it is. A key of a user who is
// gone is ErrNotFound, as is one that does not exist.
func (tx *Tx) AccessKeyOwner(ctx context.Context, id string) (k AccessKey, owner KeyOwner, err error) {
	err = tx.one(ctx, func(r scanner) error { return tx.scanAccessKey(r, &k, &owner.ID, &owner.Path) },
		`SELECT `+accessKeyColumns+`, COALESCE(i.id, ''), COALESCE(i.path, '') FROM access_key k
			LEFT JOIN identity i ON i.account = k.account AND i.kind = 'user' AND i.name = k.user_name
			WHERE k.id = $1`, id)
	if err == nil && k.User != "" && owner.ID == "" {
		err = lamina.ErrNotFound
	}
	if err != nil {
		return AccessKey{}, KeyOwner{}, fmt.Errorf("access key %s: %w", id, err)
	}
	return k, owner, nil
}

// AccessKeys returns the access keys of a user, "" for the root, ordered by ID.
func (tx *Tx) AccessKeys(ctx context.Context, account, user string) ([]AccessKey, error) {
	var all []AccessKey
	err := tx.each(ctx, func(r scanner) error {
		var k AccessKey
		if err := tx.scanAccessKey(r, &k); err != nil {
			return err
		}
		all = append(all, k)
		return nil
	}, `SELECT `+accessKeyColumns+` FROM access_key k WHERE k.account = $1 AND k.user_name = $2 ORDER BY k.id`, account, user)
	if err != nil {
		return nil, fmt.Errorf("access keys of user %q of account %s: %w", user, account, err)
	}
	return all, nil
}

// UseAccessKey notes a use of a key, unless a later one is known or the key is
// gone.
func (tx *Tx) UseAccessKey(ctx context.Context, id string, u AccessKeyUse) error {
	err := tx.exec(ctx, `UPDATE access_key SET used = $2, used_service = $3, used_region = $4 WHERE id = $1 AND used < $2`,
		id, toMillis(u.Time), u.Service, u.Region)
	if err != nil {
		return fmt.Errorf("use access key %s: %w", id, err)
	}
	return nil
}

// DeleteAccessKey removes an access key and reports whether there was one.
func (tx *Tx) DeleteAccessKey(ctx context.Context, id string) (existed bool, err error) {
	existed, err = tx.change(ctx, "DELETE FROM access_key WHERE id = $1", id)
	if err != nil {
		return false, fmt.Errorf("delete access key %s: %w", id, err)
	}
	return existed, nil
}
