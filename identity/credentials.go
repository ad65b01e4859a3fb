package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
)

// Credentials are an access key as a client needs it. As JSON they are what the
// AWS CLI's credential_process answers, so `cat` of the file is one.
type Credentials struct {
	Version         int    // of the format: 1
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	AccountID       string `json:"AccountId"`
}

// DefaultAccount is the account of an installation that did not choose one.
const DefaultAccount = "000000000000"

var (
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
	keyIDForm   = regexp.MustCompile(`^\w{3,128}$`)
)

// LoadCredentials reads the root's access key from the file that [EnsureRoot]
// keeps. Without a file it returns fs.ErrNotExist. A file that others could read
// is closed to them.
func LoadCredentials(file string) (Credentials, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Credentials{}, fmt.Errorf("read credentials: %w", err)
	}
	info, err := os.Stat(file)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = os.Chmod(file, 0o600)
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("close credentials to others: %w", err)
	}
	var c Credentials
	if err := json.Unmarshal(text, &c); err != nil {
		return Credentials{}, fmt.Errorf("read credentials %s: %w", file, err)
	}
	if err := c.check(); err != nil {
		return Credentials{}, fmt.Errorf("read credentials %s: %w", file, err)
	}
	return c, nil
}

// check says what is wrong with credentials.
func (c Credentials) check() error {
	switch {
	case !accountForm.MatchString(c.AccountID):
		return fmt.Errorf("account %q is not twelve digits", c.AccountID)
	case !keyIDForm.MatchString(c.AccessKeyID):
		return fmt.Errorf("access key ID %q is not 3 to 128 letters, digits and underscores", c.AccessKeyID)
	case len(c.SecretAccessKey) < 4:
		return errors.New("secret access key is too short")
	}
	return nil
}

// save writes the file as a whole or not at all, for its owner's eyes only.
func (c Credentials) save(file string) (err error) {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(file)
	tmp, err := os.CreateTemp(dir, ".credentials-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name()) //nolint:errcheck // err says more
			err = fmt.Errorf("write credentials: %w", err)
		}
	}()
	if _, err = tmp.Write(append(text, '\n')); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), file); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// newCredentials makes up an access key.
func newCredentials(account string) Credentials {
	var secret [30]byte
	_, _ = rand.Read(secret[:]) // never fails (crypto/rand)
	return Credentials{
		Version: 1, AccountID: account,
		AccessKeyID:     newKeyID("AKIA", account),
		SecretAccessKey: base64.StdEncoding.EncodeToString(secret[:]),
	}
}

// RootOptions are what [EnsureRoot] is to ensure.
type RootOptions struct {
	AccountID       string // twelve digits; empty is the one of File, or else DefaultAccount
	AccessKeyID     string // with SecretAccessKey; empty is the one of File, or else a new one
	SecretAccessKey string
	File            string // where the credentials are kept
}

// choose decides which credentials the root has, and whether the file has to be
// written. old is what the file had, its zero value without one.
func (o RootOptions) choose() (c, old Credentials, write bool, err error) {
	old, err = LoadCredentials(o.File)
	found := err == nil
	given := o.AccessKeyID != "" || o.SecretAccessKey != ""
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, old, false, err
	}
	account := o.AccountID
	if account == "" {
		account = DefaultAccount
		if found {
			account = old.AccountID
		}
	}
	switch {
	case given:
		c = Credentials{Version: 1, AccountID: account, AccessKeyID: o.AccessKeyID, SecretAccessKey: o.SecretAccessKey}
	case found && old.AccountID == account:
		c = old
	case found:
		return c, old, false, fmt.Errorf("root credentials %s are of account %s, not %s: start with the old account, give both keys, or remove the file", o.File, old.AccountID, account)
	case accountForm.MatchString(account):
		c = newCredentials(account)
	default:
		c = Credentials{AccountID: account}
	}
	if err := c.check(); err != nil {
		return c, old, false, fmt.Errorf("root credentials: %w", err)
	}
	return c, old, c != old, nil
}

// EnsureRoot makes the account and its root's access key, and returns the key.
// Keys that are given win over those of the file, which they replace; a key that
// the file had before is withdrawn. Without either, a key is made up.
func EnsureRoot(ctx context.Context, st *store.Store, o RootOptions) (Credentials, error) {
	c, old, write, err := o.choose()
	if err != nil {
		return Credentials{}, err
	}
	// The file comes first: a file without a row is mended by the next start, a
	// key that nobody has the secret of is not.
	if write {
		if err := c.save(o.File); err != nil {
			return Credentials{}, err
		}
	}
	now := time.Now()
	err = st.Update(ctx, func(tx *store.Tx) error {
		err := tx.InsertAccount(ctx, store.Account{ID: c.AccountID, Name: "root", Created: now})
		if err != nil && !errors.Is(err, lamina.ErrExists) {
			return err
		}
		have, err := tx.AccessKey(ctx, c.AccessKeyID)
		switch {
		case err == nil && have.User != "":
			return fmt.Errorf("access key %s belongs to user %s", c.AccessKeyID, have.User)
		case err == nil && have.Secret == c.SecretAccessKey && have.Account == c.AccountID:
		case err != nil && !missing(err):
			return err
		default:
			if err := tx.PutAccessKey(ctx, store.AccessKey{ID: c.AccessKeyID, Secret: c.SecretAccessKey, Account: c.AccountID, Created: now}); err != nil {
				return err
			}
		}
		if old.AccessKeyID != "" && old.AccessKeyID != c.AccessKeyID {
			_, err := tx.DeleteAccessKey(ctx, old.AccessKeyID)
			return err
		}
		return nil
	})
	if err != nil {
		return Credentials{}, fmt.Errorf("keep root credentials: %w", err)
	}
	return c, nil
}
