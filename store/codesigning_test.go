package store

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
)

func codeSigningConfig(id string) lamina.CodeSigningConfig {
	return lamina.CodeSigningConfig{Scope: scope, ID: id, Publishers: []string{"arn:p"}, Policy: lamina.SigningWarn, Modified: now}
}

func TestCodeSigningConfigs(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		var all []lamina.CodeSigningConfig
		for i := range 3 {
			c := codeSigningConfig(fmt.Sprint("csc-", i))
			if i == 1 {
				c.Description = pointer("")
			}
			update(t, s, func(tx *Tx) error { return tx.InsertCodeSigningConfig(ctx, c) })
			all = append(all, c)
		}
		if err := s.Update(ctx, func(tx *Tx) error { return tx.InsertCodeSigningConfig(ctx, all[0]) }); !errors.Is(err, lamina.ErrExists) {
			t.Errorf("InsertCodeSigningConfig again = %v; want ErrExists", err)
		}
		other := codeSigningConfig("csc-0")
		other.Region = "us-east-1"
		update(t, s, func(tx *Tx) error { return tx.InsertCodeSigningConfig(ctx, other) })

		all[2].Publishers, all[2].Policy, all[2].Modified = []string{"a", "b"}, lamina.SigningEnforce, now.Add(time.Second)
		update(t, s, func(tx *Tx) error { return tx.PutCodeSigningConfig(ctx, all[2]) })
		got := get(t, s, func(tx *Tx) ([]lamina.CodeSigningConfig, error) { return tx.CodeSigningConfigs(ctx, scope, "", 10) })
		if diff := cmp.Diff(all, got); diff != "" {
			t.Errorf("CodeSigningConfigs differs (-want +got):\n%s", diff)
		}
		got = get(t, s, func(tx *Tx) ([]lamina.CodeSigningConfig, error) { return tx.CodeSigningConfigs(ctx, scope, "csc-0", 1) })
		if diff := cmp.Diff(all[1:2], got); diff != "" {
			t.Errorf("second page differs (-want +got):\n%s", diff)
		}
		absent := codeSigningConfig("absent")
		for name, fn := range map[string]func(tx *Tx) error{
			"CodeSigningConfig":       func(tx *Tx) error { _, err := tx.CodeSigningConfig(ctx, scope, "absent"); return err },
			"LockCodeSigningConfig":   func(tx *Tx) error { _, err := tx.LockCodeSigningConfig(ctx, scope, "absent"); return err },
			"PutCodeSigningConfig":    func(tx *Tx) error { return tx.PutCodeSigningConfig(ctx, absent) },
			"DeleteCodeSigningConfig": func(tx *Tx) error { return tx.DeleteCodeSigningConfig(ctx, absent) },
		} {
			if err := s.Update(ctx, fn); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("%s of none = %v; want ErrNotFound", name, err)
			}
		}
	})
}

func TestCodeSigningConfigOfFunctions(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		one, two := codeSigningConfig("csc-1"), codeSigningConfig("csc-2")
		for _, c := range []lamina.CodeSigningConfig{one, two} {
			update(t, s, func(tx *Tx) error {
				return errors.Join(tx.InsertCodeSigningConfig(ctx, c), tx.SetTags(ctx, c.ARN(), map[string]string{"a": "b"}))
			})
		}
		for _, name := range []string{"a", "b", "c"} {
			createFunction(t, s, functionID(name))
			update(t, s, func(tx *Tx) error { return tx.SetFunctionCodeSigningConfig(ctx, functionID(name), "csc-1") })
		}
		update(t, s, func(tx *Tx) error { return tx.SetFunctionCodeSigningConfig(ctx, functionID("b"), "csc-2") })
		names := func(config, after string) []string {
			return get(t, s, func(tx *Tx) ([]string, error) { return tx.FunctionsSignedBy(ctx, scope, config, after, 10) })
		}
		if got := names("csc-1", ""); !slices.Equal(got, []string{"a", "c"}) {
			t.Errorf("functions of csc-1 = %v; want a, c", got)
		}
		if got := names("csc-1", "a"); !slices.Equal(got, []string{"c"}) {
			t.Errorf("functions of csc-1 after a = %v; want c", got)
		}
		got := get(t, s, func(tx *Tx) (lamina.CodeSigningConfig, error) {
			return tx.FunctionCodeSigningConfig(ctx, functionID("b"))
		})
		if diff := cmp.Diff(two, got); diff != "" {
			t.Errorf("FunctionCodeSigningConfig(b) differs (-want +got):\n%s", diff)
		}
		if err := s.Update(ctx, func(tx *Tx) error { return tx.DeleteCodeSigningConfig(ctx, one) }); !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("DeleteCodeSigningConfig in use = %v; want a reference's error", err)
		}
		update(t, s, func(tx *Tx) error { return tx.DeleteFunctionCodeSigningConfig(ctx, functionID("a")) })
		update(t, s, func(tx *Tx) error { return tx.DeleteFunction(ctx, functionID("c")) })
		view(t, s, func(tx *Tx) error {
			if _, err := tx.FunctionCodeSigningConfig(ctx, functionID("a")); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("FunctionCodeSigningConfig(a) = %v; want ErrNotFound", err)
			}
			return nil
		})
		update(t, s, func(tx *Tx) error { return tx.DeleteCodeSigningConfig(ctx, one) })
		if tags := get(t, s, func(tx *Tx) (map[string]string, error) { return tx.Tags(ctx, one.ARN()) }); len(tags) > 0 {
			t.Errorf("tags of a deleted configuration = %v; want none", tags)
		}
	})
}

// TestCodeSigningConfigIsNotDeletedWhileAttached has many give a configuration to
// functions while another deletes it, as control does both.
func TestCodeSigningConfigIsNotDeletedWhileAttached(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		const functions = 6
		for i := range functions {
			createFunction(t, s, functionID(fmt.Sprint("f", i)))
		}
		c := codeSigningConfig("csc-1")
		update(t, s, func(tx *Tx) error { return tx.InsertCodeSigningConfig(ctx, c) })
		var attached, deleted atomic.Int64
		together(functions+2, func(i int) {
			err := s.Update(ctx, func(tx *Tx) error {
				if i < functions {
					if _, err := tx.LockFunction(ctx, functionID(fmt.Sprint("f", i))); err != nil {
						return err
					}
				}
				if _, err := tx.LockCodeSigningConfig(ctx, scope, c.ID); err != nil {
					return err
				}
				if i < functions {
					return tx.SetFunctionCodeSigningConfig(ctx, functionID(fmt.Sprint("f", i)), c.ID)
				}
				users, err := tx.FunctionsSignedBy(ctx, scope, c.ID, "", 1)
				if err != nil || len(users) > 0 {
					return errors.Join(err, lamina.ErrBusy)
				}
				return tx.DeleteCodeSigningConfig(ctx, c)
			})
			switch {
			case err == nil && i < functions:
				attached.Add(1)
			case err == nil:
				deleted.Add(1)
			case !errors.Is(err, lamina.ErrNotFound) && !errors.Is(err, lamina.ErrBusy):
				t.Errorf("writer %d: %v", i, err)
			}
		})
		users := get(t, s, func(tx *Tx) ([]string, error) { return tx.FunctionsSignedBy(ctx, scope, c.ID, "", 10) })
		if a, d := attached.Load(), deleted.Load(); (a > 0) == (d > 0) || d > 1 || int64(len(users)) != a {
			t.Errorf("attached %d times to %d functions, deleted %d times; want either, deletion once", a, len(users), d)
		}
	})
}

func TestSigningProfiles(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		profile := func(name, version string, age int) lamina.SigningProfile {
			return lamina.SigningProfile{Scope: scope, Name: name, Version: version, Certificate: []byte(name + version), Created: now.Add(time.Duration(age) * time.Second)}
		}
		all := []lamina.SigningProfile{profile("a", "z", 1), profile("a", "b", 2), profile("b", "a", 0)}
		for _, p := range all {
			update(t, s, func(tx *Tx) error { return tx.InsertSigningProfile(ctx, p) })
		}
		if err := s.Update(ctx, func(tx *Tx) error { return tx.InsertSigningProfile(ctx, all[0]) }); !errors.Is(err, lamina.ErrExists) {
			t.Errorf("InsertSigningProfile again = %v; want ErrExists", err)
		}
		for _, at := range []time.Time{now.Add(time.Hour), now.Add(2 * time.Hour)} { // the first time counts
			update(t, s, func(tx *Tx) error { return tx.RevokeSigningProfile(ctx, scope, "a", at) })
		}
		all[0].Revoked, all[1].Revoked = now.Add(time.Hour), now.Add(time.Hour)
		got := get(t, s, func(tx *Tx) ([]lamina.SigningProfile, error) { return tx.SigningProfiles(ctx, scope) })
		if diff := cmp.Diff(all, got); diff != "" {
			t.Errorf("SigningProfiles differs (-want +got):\n%s", diff)
		}
		if err := s.Update(ctx, func(tx *Tx) error { return tx.RevokeSigningProfile(ctx, scope, "c", now) }); !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("RevokeSigningProfile of none = %v; want ErrNotFound", err)
		}
		elsewhere := lamina.Scope{Account: scope.Account, Region: "us-east-1"}
		if got := get(t, s, func(tx *Tx) ([]lamina.SigningProfile, error) { return tx.SigningProfiles(ctx, elsewhere) }); len(got) > 0 {
			t.Errorf("signing profiles of another region = %v; want none", got)
		}
	})
}

func TestSignaturesAreKept(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		id := layerID("geo")
		for _, want := range []lamina.Signature{
			{},
			{Finding: lamina.SignatureAltered},
			{Finding: lamina.SignatureValid, ProfileVersionARN: "arn:profile", JobARN: "arn:job", Expires: now.Add(time.Hour)},
		} {
			v := publishLayer(t, s, id, func(v *lamina.LayerVersion) { v.Signature = want })
			got := get(t, s, func(tx *Tx) (lamina.LayerVersion, error) { return tx.LayerVersion(ctx, id, v.Number) })
			if diff := cmp.Diff(want, got.Signature); diff != "" {
				t.Errorf("LayerVersion differs (-want +got):\n%s", diff)
			}
			update(t, s, func(tx *Tx) error {
				locked, err := tx.LockLayerVersion(ctx, id, v.Number)
				if diff := cmp.Diff(v, locked); diff != "" {
					t.Errorf("LockLayerVersion differs (-want +got):\n%s", diff)
				}
				return err
			})
		}
		v := createFunction(t, s, functionID("hello"))
		v.Code.SigningProfileVersionARN, v.Code.SigningJobARN = "arn:profile", "arn:job"
		v.Config.Layers = []lamina.AttachedLayer{{ARN: "arn:layer", SigningProfileVersionARN: "arn:p", SigningJobARN: "arn:j"}}
		update(t, s, func(tx *Tx) error { return tx.PutFunctionVersion(ctx, v) })
		got := get(t, s, func(tx *Tx) (lamina.Version, error) { return tx.FunctionVersion(ctx, v.Function, 0) })
		if diff := cmp.Diff(v, got); diff != "" {
			t.Errorf("FunctionVersion differs (-want +got):\n%s", diff)
		}
		published := publish(t, s, v.Function)
		got = get(t, s, func(tx *Tx) (lamina.Version, error) { return tx.FunctionVersion(ctx, v.Function, 1) })
		if diff := cmp.Diff(published, got); diff != "" || !got.Repeats(v) {
			t.Errorf("published version differs (-want +got):\n%s", diff)
		}
	})
}
