package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/lamina-run/lamina"
)

// Account owns resources.
type Account struct {
	ID           string // twelve digits
	Name         string
	Email        string
	Alias        string // "" without one
	Organization string // ID of the organization that the account is in, "" for none
	Joined       time.Time
	Created      time.Time
}

const accountColumns = `id, name, email, alias, organization, joined, created`

// InsertAccount adds an account, in the organization that it names. It fails
// with ErrExists if the ID is taken and with ErrNotFound if there is no such
// organization.
func (tx *Tx) InsertAccount(ctx context.Context, a Account) error {
	var joined int64
	if a.Organization != "" {
		joined = toMillis(a.Joined)
	}
	err := tx.insert(ctx, `INSERT INTO account (`+accountColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT DO NOTHING`, a.ID, a.Name, a.Email, a.Alias, textOrNull(a.Organization), joined, toMillis(a.Created))
	if err != nil {
		return fmt.Errorf("insert account %s: %w", a.ID, err)
	}
	return nil
}

func textOrNull(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

func scanAccount(r scanner, a *Account) error {
	var organization sql.NullString
	var joined, created int64
	err := r.Scan(&a.ID, &a.Name, &a.Email, &a.Alias, &organization, &joined, &created)
	a.Organization, a.Created = organization.String, fromMillis(created)
	if organization.Valid {
		a.Joined = fromMillis(joined)
	}
	return err
}

// Account returns an account, or ErrNotFound.
func (tx *Tx) Account(ctx context.Context, id string) (Account, error) {
	var a Account
	err := tx.one(ctx, func(r scanner) error { return scanAccount(r, &a) },
		"SELECT "+accountColumns+" FROM account WHERE id = $1", id)
	if err != nil {
		return Account{}, fmt.Errorf("account %s: %w", id, err)
	}
	return a, nil
}

// Accounts returns all accounts, ordered by ID.
func (tx *Tx) Accounts(ctx context.Context) ([]Account, error) {
	return tx.accounts(ctx, "SELECT "+accountColumns+" FROM account ORDER BY id")
}

// OrganizationAccounts returns the accounts of an organization, ordered by ID.
func (tx *Tx) OrganizationAccounts(ctx context.Context, organization string) ([]Account, error) {
	return tx.accounts(ctx, "SELECT "+accountColumns+" FROM account WHERE organization = $1 ORDER BY id", organization)
}

func (tx *Tx) accounts(ctx context.Context, text string, args ...any) ([]Account, error) {
	var all []Account
	err := tx.each(ctx, func(r scanner) error {
		var a Account
		if err := scanAccount(r, &a); err != nil {
			return err
		}
		all = append(all, a)
		return nil
	}, text, args...)
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	return all, nil
}

// SetAccountAlias gives an account an alias, or takes it away. It fails with
// ErrExists if another account has it and with ErrNotFound if there is no such
// account.
func (tx *Tx) SetAccountAlias(ctx context.Context, id, alias string) error {
	var taken bool
	err := tx.one(ctx, func(r scanner) error { return r.Scan(&taken) },
		"SELECT EXISTS (SELECT 1 FROM account WHERE alias = $1 AND alias <> '' AND id <> $2)", alias, id)
	if err == nil && taken {
		err = lamina.ErrExists
	}
	changed := true
	if err == nil {
		changed, err = tx.change(ctx, "UPDATE account SET alias = $2 WHERE id = $1", id, alias)
	}
	if err == nil && !changed {
		err = lamina.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("alias of account %s: %w", id, err)
	}
	return nil
}

// SetAccountOrganization puts an account into an organization, or, with "", out
// of the one that it is in. It fails with ErrNotFound if there is no such account
// or organization.
func (tx *Tx) SetAccountOrganization(ctx context.Context, id, organization string, joined time.Time) error {
	var at int64
	if organization != "" {
		at = toMillis(joined)
	}
	changed, err := tx.change(ctx, "UPDATE account SET organization = $2, joined = $3 WHERE id = $1", id, textOrNull(organization), at)
	if err == nil && !changed {
		err = lamina.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("organization of account %s: %w", id, err)
	}
	return nil
}

// LockAccount is Account for a caller that will change it: others who lock it
// wait until the transaction ends.
func (tx *Tx) LockAccount(ctx context.Context, id string) (Account, error) {
	var a Account
	err := tx.one(ctx, func(r scanner) error { return scanAccount(r, &a) },
		"UPDATE account SET name = name WHERE id = $1 RETURNING "+accountColumns, id)
	if err != nil {
		return Account{}, fmt.Errorf("lock account %s: %w", id, err)
	}
	return a, nil
}

// Organization is a set of accounts.
type Organization struct {
	ID         string // such as o-a1b2c3d4e5
	Name       string
	Root       string // such as r-ab12
	Management string // the account that made it, "" when the operator did
	Created    time.Time
}

const organizationColumns = `id, name, root, management, created`

func scanOrganization(r scanner, o *Organization) error {
	var created int64
	err := r.Scan(&o.ID, &o.Name, &o.Root, &o.Management, &created)
	o.Created = fromMillis(created)
	return err
}

// InsertOrganization adds an organization. It fails with ErrExists if the ID is
// taken.
func (tx *Tx) InsertOrganization(ctx context.Context, o Organization) error {
	err := tx.insert(ctx, `INSERT INTO organization (`+organizationColumns+`) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`, o.ID, o.Name, o.Root, o.Management, toMillis(o.Created))
	if err != nil {
		return fmt.Errorf("insert organization %s: %w", o.ID, err)
	}
	return nil
}

// Organization returns an organization, or ErrNotFound.
func (tx *Tx) Organization(ctx context.Context, id string) (Organization, error) {
	var o Organization
	err := tx.one(ctx, func(r scanner) error { return scanOrganization(r, &o) },
		"SELECT "+organizationColumns+" FROM organization WHERE id = $1", id)
	if err != nil {
		return Organization{}, fmt.Errorf("organization %s: %w", id, err)
	}
	return o, nil
}

// Organizations returns all organizations, ordered by ID.
func (tx *Tx) Organizations(ctx context.Context) ([]Organization, error) {
	var all []Organization
	err := tx.each(ctx, func(r scanner) error {
		var o Organization
		if err := scanOrganization(r, &o); err != nil {
			return err
		}
		all = append(all, o)
		return nil
	}, "SELECT "+organizationColumns+" FROM organization ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("organizations: %w", err)
	}
	return all, nil
}
