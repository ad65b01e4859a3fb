package store

import (
	"context"
	"fmt"
	"time"
)

// Account owns resources.
type Account struct {
	ID      string // twelve digits
	Name    string
	Created time.Time
}

// AccessKey signs requests for a user of an account.
type AccessKey struct {
	ID      string
	Secret  string
	Account string
	User    string // "" is the root of the account
	Created time.Time
}

// InsertAccount adds an account. It fails with ErrExists if the ID is taken.
func (tx *Tx) InsertAccount(ctx context.Context, a Account) error {
	err := tx.insert(ctx, `INSERT INTO account (id, name, created) VALUES ($1, $2, $3)
		ON CONFLICT DO NOTHING`, a.ID, a.Name, toMillis(a.Created))
	if err != nil {
		return fmt.Errorf("insert account %s: %w", a.ID, err)
	}
	return nil
}

func scanAccount(r scanner, a *Account) error {
	var created int64
	err := r.Scan(&a.ID, &a.Name, &created)
	a.Created = fromMillis(created)
	return err
}

// Account returns an account, or ErrNotFound.
func (tx *Tx) Account(ctx context.Context, id string) (Account, error) {
	var a Account
	err := tx.one(ctx, func(r scanner) error { return scanAccount(r, &a) },
		"SELECT id, name, created FROM account WHERE id = $1", id)
	if err != nil {
		return Account{}, fmt.Errorf("account %s: %w", id, err)
	}
	return a, nil
}

// Accounts returns all accounts, ordered by ID.
func (tx *Tx) Accounts(ctx context.Context) ([]Account, error) {
	var all []Account
	err := tx.each(ctx, func(r scanner) error {
		var a Account
		if err := scanAccount(r, &a); err != nil {
			return err
		}
		all = append(all, a)
		return nil
	}, "SELECT id, name, created FROM account ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	return all, nil
}

// PutAccessKey writes all of an access key, new or not. It fails with
// ErrNotFound if the account is unknown.
func (tx *Tx) PutAccessKey(ctx context.Context, k AccessKey) error {
	err := tx.exec(ctx, `INSERT INTO access_key (id, secret, account, user_name, created)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (id) DO UPDATE SET secret = excluded.secret, account = excluded.account,
			user_name = excluded.user_name, created = excluded.created`,
		k.ID, tx.secrets.seal(k.Secret, keyOwner(k.ID)), k.Account, k.User, toMillis(k.Created))
	if err != nil {
		return fmt.Errorf("put access key %s: %w", k.ID, err)
	}
	return nil
}

// keyOwner names the secret of an access key.
func keyOwner(id string) string { return "access key " + id }

func (tx *Tx) scanAccessKey(r scanner, k *AccessKey) error {
	var created int64
	err := r.Scan(&k.ID, &k.Secret, &k.Account, &k.User, &created)
	if err != nil {
		return err
	}
	k.Created = fromMillis(created)
	k.Secret, err = tx.secrets.open(k.Secret, keyOwner(k.ID))
	return err
}

// AccessKey returns an access key, or ErrNotFound.
func (tx *Tx) AccessKey(ctx context.Context, id string) (AccessKey, error) {
	var k AccessKey
	err := tx.one(ctx, func(r scanner) error { return tx.scanAccessKey(r, &k) },
		"SELECT id, secret, account, user_name, created FROM access_key WHERE id = $1", id)
	if err != nil {
		return AccessKey{}, fmt.Errorf("access key %s: %w", id, err)
	}
	return k, nil
}

// AccessKeys returns the access keys of an account, ordered by ID.
func (tx *Tx) AccessKeys(ctx context.Context, account string) ([]AccessKey, error) {
	var all []AccessKey
	err := tx.each(ctx, func(r scanner) error {
		var k AccessKey
		if err := tx.scanAccessKey(r, &k); err != nil {
			return err
		}
		all = append(all, k)
		return nil
	}, `SELECT id, secret, account, user_name, created FROM access_key
		WHERE account = $1 ORDER BY id`, account)
	if err != nil {
		return nil, fmt.Errorf("access keys of account %s: %w", account, err)
	}
	return all, nil
}

// DeleteAccessKey removes an access key and reports whether there was one.
func (tx *Tx) DeleteAccessKey(ctx context.Context, id string) (existed bool, err error) {
	existed, err = tx.change(ctx, "DELETE FROM access_key WHERE id = $1", id)
	if err != nil {
		return false, fmt.Errorf("delete access key %s: %w", id, err)
	}
	return existed, nil
}
