package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"text/tabwriter"
	"time"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/internal/fsx"
	"github.com/lamina-run/lamina/server"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// accountVerbs work whether or not the server runs: it is asked when it has the
// data directory, else the database is opened.
type accountVerbs struct {
	Create createAccountVerb `cmd:"" help:"Make an account, and print its root's access key as JSON."`
	List   listAccountsVerb  `cmd:"" help:"List all accounts."`
}

type orgVerbs struct {
	Create createOrgVerb `cmd:"" help:"Make an organization without accounts, and print its ID."`
	Add    addToOrgVerb  `cmd:"" help:"Put an account into an organization."`
	Remove removeOrgVerb `cmd:"" help:"Take an account out of an organization."`
	List   listOrgsVerb  `cmd:"" help:"List all organizations and their accounts."`
}

const (
	accountsPath      = "/_lamina/accounts"
	organizationsPath = "/_lamina/organizations"
)

// installation says whose accounts a verb is about.
type installation struct {
	Data          string `env:"LAMINA_DATA" default:"${data}" type:"path" help:"Data directory of the server."`
	Database      string `env:"LAMINA_DATABASE" help:"PostgreSQL URL that the server is started with, if any. Needed only while it does not run."`
	SecretKeyFile string `env:"LAMINA_SECRET_KEY_FILE" type:"path" placeholder:"FILE" help:"Key file that the server is started with, if any. Needed only while it does not run."`
}

// settleTime is how long a verb waits for a server that starts or stops, or for
// another verb.
const settleTime = 15 * time.Second

// do runs here with the database when no server has the data directory, else
// there with the server.
func (v installation) do(ctx context.Context, here func(*identity.Accounts) error, there func(*apiClient) error) error {
	where := settings{Data: v.Data, SecretKeyFile: v.SecretKeyFile}
	running := runningServer{Data: v.Data, Region: "us-east-1"}
	if err := os.MkdirAll(v.Data, 0o700); err != nil {
		return hint(fmt.Errorf("make the data directory: %w", err), "choose another with --data")
	}
	for deadline := time.Now().Add(settleTime); ; {
		lock, err := fsx.LockDir(v.Data)
		if err == nil {
			return errors.Join(v.open(ctx, where, here), lock.Close())
		}
		if _, taken := errors.AsType[*fsx.LockedError](err); !taken {
			return fmt.Errorf("lock the data directory: %w", err)
		}
		api, err := running.client()
		if err == nil {
			err = there(api)
		}
		_, answered := errors.AsType[*apiError](err)
		if err == nil || answered || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (v installation) open(ctx context.Context, where settings, here func(*identity.Accounts) error) error {
	if v.Database == "" {
		_, keyErr := os.Stat(where.file(keyFile))
		_, dbErr := os.Stat(where.file(databaseFile))
		if keyErr == nil && errors.Is(dbErr, os.ErrNotExist) {
			return hint(errors.New("the directory has no database"), "its server keeps the metadata elsewhere: give --database, or start the server")
		}
	}
	secret, err := where.secretKey()
	if err != nil {
		return fmt.Errorf("read the secret key: %w", err)
	}
	db, err := store.Open(ctx, store.Options{Path: where.file(databaseFile), URL: v.Database, SecretKey: secret})
	if err != nil {
		return hint(fmt.Errorf("open the database: %w", err), "check --database, or the disk of %s", v.Data)
	}
	accounts := &identity.Accounts{Options: identity.Options{Store: db, Log: slog.New(slog.DiscardHandler), Now: time.Now}}
	return errors.Join(here(accounts), db.Close())
}

// told is an error without what only a program wants to know of it.
func told(what string, err error) error {
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*apiError](err); ok && refused.Text != "" {
		return fmt.Errorf("%s: %s", what, refused.Text)
	}
	if ex, ok := errors.AsType[*wire.Exception](err); ok {
		return fmt.Errorf("%s: %s", what, ex.Message())
	}
	return fmt.Errorf("%s: %w", what, err)
}

type createAccountVerb struct {
	Name string `arg:"" help:"Name of the account: 1 to 50 printable characters."`
	installation
}

// Run prints the key as credential_process answers it.
func (v *createAccountVerb) Run(ctx context.Context, s streams) error {
	var made identity.Credentials
	err := v.do(ctx,
		func(a *identity.Accounts) (err error) { made, err = a.Create(ctx, v.Name); return err },
		func(api *apiClient) error {
			return api.do(ctx, http.MethodPost, accountsPath, server.NewAccount{Name: v.Name}, &made)
		})
	if err != nil {
		return told("create account "+v.Name, err)
	}
	text, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, string(text))
	return err
}

type listAccountsVerb struct {
	installation
}

// Run prints a line for each account.
func (v *listAccountsVerb) Run(ctx context.Context, s streams) error {
	accounts, err := v.accounts(ctx)
	if err != nil {
		return told("list accounts", err)
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ACCOUNT\tNAME\tORGANIZATION\tCREATED")
	for _, a := range accounts {
		organization := a.Organization
		if organization == "" {
			organization = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", a.AccountID, a.Name, organization, a.Created.UTC().Format(time.RFC3339))
	}
	return table.Flush()
}

func (v installation) accounts(ctx context.Context) (all []identity.Account, err error) {
	err = v.do(ctx,
		func(a *identity.Accounts) (err error) { all, err = a.List(ctx); return err },
		func(api *apiClient) error {
			var out struct{ Accounts []identity.Account }
			err := api.do(ctx, http.MethodGet, accountsPath, nil, &out)
			all = out.Accounts
			return err
		})
	return all, err
}

type createOrgVerb struct {
	Name string `arg:"" help:"Name of the organization: 1 to 50 printable characters."`
	installation
}

// Run prints the ID.
func (v *createOrgVerb) Run(ctx context.Context, s streams) error {
	var made identity.Organization
	err := v.do(ctx,
		func(a *identity.Accounts) (err error) { made, err = a.CreateOrganization(ctx, v.Name); return err },
		func(api *apiClient) error {
			return api.do(ctx, http.MethodPost, organizationsPath, server.NewAccount{Name: v.Name}, &made)
		})
	if err != nil {
		return told("create organization "+v.Name, err)
	}
	_, err = fmt.Fprintln(s.out, made.ID)
	return err
}

// membership is which account of which organization a verb is about.
type membership struct {
	Org     string `arg:"" help:"ID or name of the organization."`
	Account string `arg:"" help:"Number or name of the account."`
	installation
}

func (m membership) path() string {
	return organizationsPath + "/" + url.PathEscape(m.Org) + "/accounts/" + url.PathEscape(m.Account)
}

type addToOrgVerb struct{ membership }

// Run puts the account into the organization.
func (v *addToOrgVerb) Run(ctx context.Context, _ streams) error {
	return told("add account "+v.Account, v.do(ctx,
		func(a *identity.Accounts) error { return a.Join(ctx, v.Org, v.Account) },
		func(api *apiClient) error { return api.do(ctx, http.MethodPut, v.path(), struct{}{}, nil) }))
}

type removeOrgVerb struct{ membership }

// Run takes the account out of the organization.
func (v *removeOrgVerb) Run(ctx context.Context, _ streams) error {
	return told("remove account "+v.Account, v.do(ctx,
		func(a *identity.Accounts) error { return a.Leave(ctx, v.Org, v.Account) },
		func(api *apiClient) error { return api.do(ctx, http.MethodDelete, v.path(), nil, nil) }))
}

type listOrgsVerb struct {
	installation
}

// Run prints a line for each account of each organization, and one for an
// organization without any.
func (v *listOrgsVerb) Run(ctx context.Context, s streams) error {
	var all []identity.Organization
	err := v.do(ctx,
		func(a *identity.Accounts) (err error) { all, err = a.Organizations(ctx); return err },
		func(api *apiClient) error {
			var out struct{ Organizations []identity.Organization }
			err := api.do(ctx, http.MethodGet, organizationsPath, nil, &out)
			all = out.Organizations
			return err
		})
	if err != nil {
		return told("list organizations", err)
	}
	accounts, err := v.accounts(ctx)
	if err != nil {
		return told("list organizations", err)
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ORGANIZATION\tNAME\tACCOUNT\tACCOUNT NAME")
	for _, o := range all {
		empty := true
		for _, a := range accounts {
			if a.Organization == o.ID {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", o.ID, o.Name, a.AccountID, a.Name)
				empty = false
			}
		}
		if empty {
			fmt.Fprintf(table, "%s\t%s\t-\t-\n", o.ID, o.Name)
		}
	}
	return table.Flush()
}
