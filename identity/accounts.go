package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// Accounts is what the operator of an installation does about accounts and
// organizations. Its errors are exceptions, or say that something is broken.
type Accounts struct{ Options }

var accountNameForm = regexp.MustCompile(`^[\x20-\x7e]{1,50}$`)

// newAccountID makes up an account: twelve digits, the first of them not 0.
func newAccountID() string {
	n, err := rand.Int(rand.Reader, big.NewInt(900_000_000_000))
	if err != nil {
		panic("identity: " + err.Error()) // never fails (crypto/rand)
	}
	return n.Add(n, big.NewInt(100_000_000_000)).String()
}

// insertAccount adds an account under a number that nobody has.
func insertAccount(ctx context.Context, tx *store.Tx, a store.Account) (store.Account, error) {
	for {
		a.ID = newAccountID()
		if err := tx.InsertAccount(ctx, a); !errors.Is(err, lamina.ErrExists) {
			return a, err
		}
	}
}

// Create makes an account and returns its root's access key.
func (a *Accounts) Create(ctx context.Context, name string) (c Credentials, err error) {
	if !accountNameForm.MatchString(name) || strings.TrimSpace(name) == "" {
		return c, wire.InvalidParameterValue.Errorf("An account's name has 1 to 50 printable ASCII characters.")
	}
	now := a.Now()
	err = a.update(ctx, func(tx *store.Tx) error {
		made, err := insertAccount(ctx, tx, store.Account{Name: name, Created: now})
		if err != nil {
			return err
		}
		c = newCredentials(made.ID)
		return tx.PutAccessKey(ctx, store.AccessKey{ID: c.AccessKeyID, Secret: c.SecretAccessKey, Account: made.ID, Created: now})
	})
	if err != nil {
		return Credentials{}, fmt.Errorf("create account: %w", err)
	}
	return c, nil
}

// Account is an account as the operator sees it.
type Account struct {
	AccountID    string `json:"AccountId"`
	Name         string
	Organization string `json:"OrganizationId,omitempty"`
	Created      time.Time
}

// Organization is an organization as the operator sees it.
type Organization struct {
	ID      string `json:"OrganizationId"`
	Name    string
	Created time.Time
}

// List returns all accounts, ordered by their numbers.
func (a *Accounts) List(ctx context.Context) (all []Account, err error) {
	err = a.Store.View(ctx, func(tx *store.Tx) error {
		accounts, err := tx.Accounts(ctx)
		for _, a := range accounts {
			all = append(all, Account{a.ID, a.Name, a.Organization, a.Created})
		}
		return err
	})
	return all, err
}

// newOrganization makes up the identifiers of an organization.
func newOrganization(name, management string) store.Organization {
	text := func(n int) string { return strings.ToLower(rand.Text())[:n] }
	return store.Organization{ID: "o-" + text(10), Root: "r-" + text(4), Name: name, Management: management}
}

// CreateOrganization makes an organization without accounts.
func (a *Accounts) CreateOrganization(ctx context.Context, name string) (Organization, error) {
	if !accountNameForm.MatchString(name) || strings.TrimSpace(name) == "" {
		return Organization{}, wire.InvalidParameterValue.Errorf("An organization's name has 1 to 50 printable ASCII characters.")
	}
	o := newOrganization(name, "")
	o.Created = a.Now()
	if err := a.update(ctx, func(tx *store.Tx) error { return tx.InsertOrganization(ctx, o) }); err != nil {
		return Organization{}, fmt.Errorf("create organization: %w", err)
	}
	return Organization{o.ID, o.Name, o.Created}, nil
}

// Organizations returns all organizations, ordered by their IDs.
func (a *Accounts) Organizations(ctx context.Context) (all []Organization, err error) {
	err = a.Store.View(ctx, func(tx *store.Tx) error {
		organizations, err := tx.Organizations(ctx)
		for _, o := range organizations {
			all = append(all, Organization{o.ID, o.Name, o.Created})
		}
		return err
	})
	return all, err
}

// Join puts an account into an organization. Both are meant by their ID or, when
// that says it as clearly, their name. An account that is in it already stays.
func (a *Accounts) Join(ctx context.Context, organization, account string) error {
	return a.update(ctx, func(tx *store.Tx) error {
		o, locked, err := a.find(ctx, tx, organization, account)
		switch {
		case err != nil:
			return err
		case locked.Organization == o.ID:
			return nil
		case locked.Organization != "":
			return wire.ResourceConflict.Errorf("Account %s is in organization %s already. Remove it there first.", locked.ID, locked.Organization)
		}
		return tx.SetAccountOrganization(ctx, locked.ID, o.ID, a.Now())
	})
}

// Leave takes an account out of an organization.
func (a *Accounts) Leave(ctx context.Context, organization, account string) error {
	return a.update(ctx, func(tx *store.Tx) error {
		o, locked, err := a.find(ctx, tx, organization, account)
		switch {
		case err != nil:
			return err
		case locked.Organization != o.ID:
			return wire.ResourceNotFound.Errorf("Account %s is not in organization %s.", locked.ID, o.ID)
		case o.Management == locked.ID:
			return wire.ResourceConflict.Errorf("Account %s manages organization %s, so it stays.", locked.ID, o.ID)
		}
		return tx.SetAccountOrganization(ctx, locked.ID, "", a.Now())
	})
}

// find returns the organization and the account that are meant, the account
// locked.
func (a *Accounts) find(ctx context.Context, tx *store.Tx, organization, account string) (store.Organization, store.Account, error) {
	organizations, err := tx.Organizations(ctx)
	if err != nil {
		return store.Organization{}, store.Account{}, err
	}
	o, err := meant("organization", organization, organizations, func(o store.Organization) (string, string) { return o.ID, o.Name })
	if err != nil {
		return store.Organization{}, store.Account{}, err
	}
	accounts, err := tx.Accounts(ctx)
	if err != nil {
		return store.Organization{}, store.Account{}, err
	}
	found, err := meant("account", account, accounts, func(a store.Account) (string, string) { return a.ID, a.Name })
	if err != nil {
		return store.Organization{}, store.Account{}, err
	}
	locked, err := tx.LockAccount(ctx, found.ID)
	return o, locked, err
}

// meant finds the one with an ID or, when it is the only one, a name.
func meant[T any](what, reference string, all []T, key func(T) (id, name string)) (T, error) {
	var named []T
	for _, t := range all {
		id, name := key(t)
		if id == reference {
			return t, nil
		}
		if name == reference {
			named = append(named, t)
		}
	}
	var none T
	switch len(named) {
	case 0:
		return none, wire.ResourceNotFound.Errorf("There is no %s %s.", what, printable(reference))
	case 1:
		return named[0], nil
	default:
		return none, wire.ResourceConflict.Errorf("%d %ss are called %s. Give the ID.", len(named), what, printable(reference))
	}
}
