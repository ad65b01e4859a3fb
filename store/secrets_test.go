package store

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
)

// sealedFixture writes what is secret and returns it.
func sealedFixture(t *testing.T, s *Store) (lamina.Version, AccessKey) {
	t.Helper()
	k := AccessKey{ID: "AKIDSEALED", Secret: "secret-of-a-key", Account: scope.Account, Created: fromMillis(1_700_000_000_000)}
	f, v := newFunction(functionID("sealed"))
	v.Config.Environment = map[string]string{"PASSWORD": "secret-in-a-variable", "EMPTY": ""}
	update(t, s, func(tx *Tx) error {
		if err := tx.InsertAccount(t.Context(), Account{ID: scope.Account, Name: "a", Created: time.Now()}); err != nil {
			return err
		}
		if err := tx.PutAccessKey(t.Context(), k); err != nil {
			return err
		}
		if err := tx.PutSecretSetting(t.Context(), "door", "secret-of-a-setting"); err != nil {
			return err
		}
		return tx.InsertFunction(t.Context(), f, v)
	})
	return v, k
}

func checkSealed(t *testing.T, s *Store, v lamina.Version, k AccessKey) {
	t.Helper()
	view(t, s, func(tx *Tx) error {
		got, err := tx.FunctionVersion(t.Context(), v.Function, 0)
		if err != nil {
			return err
		}
		if got.Config.Environment["PASSWORD"] != "secret-in-a-variable" || len(got.Config.Environment) != 2 {
			t.Errorf("environment = %v; want %v", got.Config.Environment, v.Config.Environment)
		}
		key, err := tx.AccessKey(t.Context(), k.ID)
		if err != nil {
			return err
		}
		if key != k {
			t.Errorf("access key = %+v; want %+v", key, k)
		}
		setting, err := tx.SecretSetting(t.Context(), "door")
		if setting != "secret-of-a-setting" {
			t.Errorf("setting = %q; want secret-of-a-setting", setting)
		}
		return err
	})
}

func TestSecretsAreSealed(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, o Options) {
		t.Parallel()
		s := open(t, o)
		v, k := sealedFixture(t, s)
		checkSealed(t, s, v, k)
		// What the database was told, by the columns that have secrets.
		view(t, s, func(tx *Tx) error {
			for _, query := range []string{"SELECT config FROM function_version", "SELECT secret FROM access_key", "SELECT value FROM setting"} {
				texts, err := tx.texts(t.Context(), query)
				if err != nil {
					return err
				}
				if len(texts) == 0 {
					t.Errorf("%s: nothing", query)
				}
				for _, text := range texts {
					if strings.Contains(text, "secret-") || strings.Contains(text, "PASSWORD") {
						t.Errorf("%s: %s is not sealed", query, text)
					}
				}
			}
			return nil
		})
		// A row's secret is of no use in another row.
		f, other := newFunction(functionID("thief"))
		update(t, s, func(tx *Tx) error {
			if err := tx.InsertFunction(t.Context(), f, other); err != nil {
				return err
			}
			return tx.exec(t.Context(), "UPDATE function_version SET config = (SELECT config FROM function_version WHERE name = $1) WHERE name = $2",
				v.Function.Name, other.Function.Name)
		})
		err := s.View(t.Context(), func(tx *Tx) error {
			_, err := tx.FunctionVersion(t.Context(), other.Function, 0)
			return err
		})
		if err == nil {
			t.Error("a function reads the variables of another")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}

		for name, key := range map[string][]byte{"another key": bytes.Repeat([]byte{9}, SecretKeyBytes), "no key": nil} {
			o := o
			o.SecretKey = key
			if s, err := Open(t.Context(), o); !errors.Is(err, ErrOtherKey) {
				if err == nil {
					s.Close()
				}
				t.Errorf("with %s: %v; want ErrOtherKey", name, err)
			}
		}
		o.SecretKey = []byte("short")
		if s, err := Open(t.Context(), o); err == nil {
			s.Close()
			t.Error("a short key was taken")
		}
	})
}

// TestPlainSecretsAreSealed opens what a release without sealing wrote.
func TestPlainSecretsAreSealed(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, o Options) {
		t.Parallel()
		key := o.SecretKey
		o.SecretKey = nil
		s := open(t, o)
		v, k := sealedFixture(t, s)
		checkSealed(t, s, v, k)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		o.SecretKey = key
		s = open(t, o)
		checkSealed(t, s, v, k)
		view(t, s, func(tx *Tx) error {
			for _, query := range []string{"SELECT config FROM function_version", "SELECT secret FROM access_key"} {
				texts, err := tx.texts(t.Context(), query)
				if err != nil {
					return err
				}
				for _, text := range texts {
					if strings.Contains(text, "secret-") {
						t.Errorf("%s: %s is not sealed", query, text)
					}
				}
			}
			return nil
		})
	})
}

// TestNoSecretInFile looks at the bytes of the database.
func TestNoSecretInFile(t *testing.T) {
	t.Parallel()
	o := sqliteOptions(t)
	s := open(t, o)
	sealedFixture(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte("AKIDSEALED")) {
		t.Fatal("the file does not have what was written")
	}
	for _, secret := range []string{"secret-of-a-key", "secret-in-a-variable", "secret-of-a-setting"} {
		if bytes.Contains(data, []byte(secret)) {
			t.Errorf("the file has %q in clear text", secret)
		}
	}
}
