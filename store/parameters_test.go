package store

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
)

func TestParameters(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		here := lamina.Scope{Account: "123456789012", Region: "eu-central-1"}
		update(t, s, func(tx *Tx) error { return tx.InsertAccount(t.Context(), Account{ID: "123456789012"}) })
		at := func(name string) ParameterID { return ParameterID{here, name} }
		put := func(p Parameter) {
			update(t, s, func(tx *Tx) error {
				if _, err := tx.LockParameter(t.Context(), p.ID); errors.Is(err, lamina.ErrNotFound) {
					if err := tx.InsertParameter(t.Context(), p.ID); err != nil {
						return err
					}
				}
				return tx.InsertParameterVersion(t.Context(), p)
			})
		}
		secret := Parameter{
			ID: at("/a/secret"), Version: 1, Type: SecureString, Value: "hush", DataType: "text", Tier: "Standard", KeyID: "alias/aws/ssm",
			Labels: []string{"live"}, Modified: time.UnixMilli(1).UTC(), ModifiedBy: "arn",
		}
		put(secret)
		second := secret
		second.Version, second.Value, second.Labels = 2, "hush, hush", []string{}
		put(second)
		put(Parameter{ID: at("/a-b"), Version: 1, Type: "String", Value: "x"})
		put(Parameter{ID: at("/a/b/c"), Version: 1, Type: "String", Value: "y"})
		view(t, s, func(tx *Tx) error {
			got, err := tx.Parameter(t.Context(), secret.ID)
			if d := cmp.Diff(second, got); err != nil || d != "" {
				t.Errorf("Parameter = %v, (-want +got)\n%s", err, d)
			}
			all, err := tx.ParameterVersions(t.Context(), secret.ID, 0, 10)
			if d := cmp.Diff([]Parameter{secret, second}, all); err != nil || d != "" {
				t.Errorf("ParameterVersions = %v, (-want +got)\n%s", err, d)
			}
			below, err := tx.Parameters(t.Context(), here, "/a/", "/a/b/c", 10)
			if err != nil || len(below) != 1 || below[0].ID.Name != "/a/secret" {
				t.Errorf("Parameters below /a/ after /a/b/c = %v, %v; want /a/secret", below, err)
			}
			if n, err := tx.CountParameters(t.Context(), here); n != 3 || err != nil {
				t.Errorf("CountParameters = %d, %v; want 3", n, err)
			}
			var raw string
			err = tx.one(t.Context(), func(r scanner) error { return r.Scan(&raw) }, "SELECT value FROM parameter_version WHERE kind = 'SecureString' AND version = 1")
			if err != nil || !strings.HasPrefix(raw, sealedPrefix) {
				t.Errorf("the secret is in the database as %q, %v", raw, err)
			}
			return nil
		})
		update(t, s, func(tx *Tx) error {
			if err := tx.SetTags(t.Context(), secret.ID.ARN(), map[string]string{"a": "b"}); err != nil {
				return err
			}
			existed, err := tx.DeleteParameter(t.Context(), secret.ID)
			if !existed {
				t.Error("DeleteParameter finds none")
			}
			return err
		})
		view(t, s, func(tx *Tx) error {
			all, err := tx.ParameterVersions(t.Context(), secret.ID, 0, 10)
			if err != nil || len(all) != 0 {
				t.Errorf("a deleted parameter has the versions %v, %v", all, err)
			}
			tags, err := tx.Tags(t.Context(), secret.ID.ARN())
			if len(tags) != 0 {
				t.Errorf("a deleted parameter has the tags %v", tags)
			}
			return err
		})
	})
}

// TestSecureValuesOfAPlainDatabase proves that a database without a key has its
// secure values sealed when it gets one.
func TestSecureValuesOfAPlainDatabase(t *testing.T) {
	t.Parallel()
	o := sqliteOptions(t)
	key := o.SecretKey
	o.SecretKey = nil
	plain, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	id := ParameterID{lamina.Scope{Account: "123456789012", Region: "r"}, "n"}
	update(t, plain, func(tx *Tx) error {
		if err := tx.InsertAccount(t.Context(), Account{ID: "123456789012"}); err != nil {
			return err
		}
		if err := tx.InsertParameter(t.Context(), id); err != nil {
			return err
		}
		return tx.InsertParameterVersion(t.Context(), Parameter{ID: id, Version: 1, Type: SecureString, Value: "hush"})
	})
	if err := plain.Close(); err != nil {
		t.Fatal(err)
	}
	o.SecretKey = key
	view(t, open(t, o), func(tx *Tx) error {
		var raw string
		err := tx.one(t.Context(), func(r scanner) error { return r.Scan(&raw) }, "SELECT value FROM parameter_version")
		p, err2 := tx.Parameter(t.Context(), id)
		if !strings.HasPrefix(raw, sealedPrefix) || p.Value != "hush" {
			t.Errorf("stored as %q and read as %q, %v %v; want sealed, hush", raw, p.Value, err, err2)
		}
		return nil
	})
}
