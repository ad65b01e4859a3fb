package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
)

func TestAliases(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		id := functionID("hello")
		createFunction(t, s, id)
		all := []lamina.Alias{
			{Function: id, Name: "beta", Target: "2", Description: "d", RevisionID: "r", Weights: map[string]float64{"1": 0.1}},
			{Function: id, Name: "dev", Target: lamina.Latest},
			{Function: id, Name: "prod", Target: "1"},
			{Function: id, Name: "zero", Target: "1", Weights: map[string]float64{"3": 0}},
		}
		for _, a := range all {
			update(t, s, func(tx *Tx) error { return tx.InsertAlias(ctx, a) })
		}
		view(t, s, func(tx *Tx) error {
			for _, want := range all {
				got, err := tx.Alias(ctx, id, want.Name)
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("Alias(%s): %v, differs (-want +got):\n%s", want.Name, err, diff)
				}
			}
			for target, want := range map[string][]string{
				"":            {"beta", "dev", "prod", "zero"},
				"1":           {"prod", "zero"},
				"3":           nil,
				lamina.Latest: {"dev"},
			} {
				var got []string
				for after := ""; ; {
					page, err := tx.Aliases(ctx, id, target, after, 1)
					if err != nil {
						return err
					}
					if len(page) == 0 {
						break
					}
					after = page[0].Name
					got = append(got, after)
				}
				if !slices.Equal(got, want) {
					t.Errorf("Aliases(%q) = %v; want %v", target, got, want)
				}
			}
			for number, want := range map[int64][]string{0: {"dev"}, 1: {"beta", "prod", "zero"}, 2: {"beta"}, 3: {"zero"}, 4: nil} {
				got, err := tx.AliasesOf(ctx, id, number)
				if !slices.Equal(got, want) || err != nil {
					t.Errorf("AliasesOf(%d) = %v, %v; want %v", number, got, err, want)
				}
			}
			return nil
		})

		moved := all[0]
		moved.Target, moved.Weights, moved.RevisionID = "3", nil, "r2"
		update(t, s, func(tx *Tx) error { return tx.PutAlias(ctx, moved) })
		got := get(t, s, func(tx *Tx) (lamina.Alias, error) { return tx.Alias(ctx, id, "beta") })
		if diff := cmp.Diff(moved, got); diff != "" {
			t.Errorf("after PutAlias differs (-want +got):\n%s", diff)
		}
		policy := lamina.Policy{Resource: moved.ARN(), Statements: []lamina.Statement{{Sid: "s"}}}
		update(t, s, func(tx *Tx) error { return tx.PutPolicy(ctx, policy) })
		for _, want := range []bool{true, false} {
			update(t, s, func(tx *Tx) error {
				existed, err := tx.DeleteAlias(ctx, id, "beta")
				if existed != want {
					t.Errorf("DeleteAlias = %t; want %t", existed, want)
				}
				return err
			})
		}
		view(t, s, func(tx *Tx) error {
			if _, err := tx.Policy(ctx, moved.ARN()); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("Policy = %v; want ErrNotFound", err)
			}
			return nil
		})
		two := lamina.Alias{Function: id, Name: "two", Weights: map[string]float64{"1": 0.1, "2": 0.1}}
		if err := s.Update(ctx, func(tx *Tx) error { return tx.PutAlias(ctx, two) }); err == nil {
			t.Error("PutAlias with two additional versions = nil")
		}
	})
}

func TestPolicies(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		p := lamina.Policy{Resource: "arn", RevisionID: "r1", Statements: []lamina.Statement{
			{Sid: "z", Effect: "Allow", Principal: lamina.Principal{Value: "*"}, Action: "a", Resource: "arn"},
			{
				Sid: "a", Effect: "Allow", Principal: lamina.Principal{Kind: "AWS", Value: "arn:root"},
				Condition: map[string]map[string]string{"StringEquals": {"aws:PrincipalOrgID": "o-1"}},
			},
		}}
		update(t, s, func(tx *Tx) error { return tx.PutPolicy(ctx, p) })
		got := get(t, s, func(tx *Tx) (lamina.Policy, error) { return tx.Policy(ctx, "arn") })
		if diff := cmp.Diff(p, got); diff != "" {
			t.Errorf("Policy differs (-want +got):\n%s", diff)
		}
		update(t, s, func(tx *Tx) error {
			got, err := tx.LockPolicy(ctx, "arn")
			if diff := cmp.Diff(p, got); diff != "" {
				t.Errorf("LockPolicy differs (-want +got):\n%s", diff)
			}
			return err
		})
		p.Statements = nil
		update(t, s, func(tx *Tx) error { return tx.PutPolicy(ctx, p) })
		update(t, s, func(tx *Tx) error {
			if _, err := tx.LockPolicy(ctx, "arn"); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("LockPolicy = %v; want ErrNotFound", err)
			}
			return nil
		})
		view(t, s, func(tx *Tx) error {
			if _, err := tx.Policy(ctx, "arn"); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("Policy after a lock on nothing = %v; want ErrNotFound", err)
			}
			return nil
		})
	})
}

// TestPolicyStatementsAreNotLost: all who add a statement at once keep theirs,
// the first of a resource included.
func TestPolicyStatementsAreNotLost(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		together(8, func(i int) {
			for k := range 5 {
				update(t, s, func(tx *Tx) error {
					p, err := tx.LockPolicy(ctx, "arn")
					if err != nil && !errors.Is(err, lamina.ErrNotFound) {
						return err
					}
					p.Resource = "arn"
					p.Statements = append(p.Statements, lamina.Statement{Sid: fmt.Sprint(i, k)})
					return tx.PutPolicy(ctx, p)
				})
			}
		})
		p := get(t, s, func(tx *Tx) (lamina.Policy, error) { return tx.Policy(ctx, "arn") })
		if got := len(p.Statements); got != 40 {
			t.Errorf("%d statements; want 40", got)
		}
	})
}

func TestTags(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		update(t, s, func(tx *Tx) error {
			return errors.Join(
				tx.SetTags(ctx, "arn", map[string]string{"a": "1", "b": "", "A": "other case"}),
				tx.SetTags(ctx, "arn", map[string]string{"a": "2", "c": "3"}),
				tx.SetTags(ctx, "arn:other", map[string]string{"a": "x"}),
				tx.DeleteTags(ctx, "arn", []string{"c", "absent"}),
				tx.SetTags(ctx, "arn", nil),
			)
		})
		got := get(t, s, func(tx *Tx) (map[string]string, error) { return tx.Tags(ctx, "arn") })
		if diff := cmp.Diff(map[string]string{"a": "2", "b": "", "A": "other case"}, got); diff != "" {
			t.Errorf("Tags differ (-want +got):\n%s", diff)
		}
		none := get(t, s, func(tx *Tx) (map[string]string, error) { return tx.Tags(ctx, "absent") })
		if none == nil || len(none) > 0 {
			t.Errorf("Tags of nothing = %#v; want an empty map", none)
		}
	})
}

// TestSentinels: taken names are ErrExists, and the transaction goes on; absent
// things, and owners, are ErrNotFound.
func TestSentinels(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		layer := publishLayer(t, s, layerID("geo"), nil)
		id, absent := functionID("hello"), functionID("absent")
		createFunction(t, s, id)
		version := publish(t, s, id)
		f, latest := newFunction(id)
		_, orphan := newFunction(absent)
		alias := lamina.Alias{Function: id, Name: "prod", Target: "1"}
		account := Account{ID: "111111111111"}
		role := Identity{IdentityRef: IdentityRef{account.ID, KindRole, "r"}, ID: "AROA1"}
		nobody := IdentityRef{account.ID, KindRole, "absent"}
		document := PolicyDocument{Account: account.ID, Name: "p", ID: "ANPA1"}
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.InsertAlias(ctx, alias), tx.InsertAccount(ctx, account), tx.InsertIdentity(ctx, role), tx.InsertPolicyDocument(ctx, document))
		})
		update(t, s, func(tx *Tx) error { // one transaction: ErrExists does not end it
			for name, err := range map[string]error{
				"InsertLayerVersion":    tx.InsertLayerVersion(ctx, layer),
				"InsertFunction":        tx.InsertFunction(ctx, f, latest),
				"InsertFunctionVersion": tx.InsertFunctionVersion(ctx, version),
				"InsertAlias":           tx.InsertAlias(ctx, alias),
				"InsertAccount":         tx.InsertAccount(ctx, account),
				"InsertIdentity":        tx.InsertIdentity(ctx, role),
				"InsertPolicyDocument":  tx.InsertPolicyDocument(ctx, document),
			} {
				if !errors.Is(err, lamina.ErrExists) {
					t.Errorf("%s of a taken name = %v; want ErrExists", name, err)
				}
			}
			return tx.PutSetting(ctx, "k", "v")
		})
		reserve := int64(1)
		for name, call := range map[string]func(tx *Tx) error{
			"LayerVersion":           func(tx *Tx) error { _, err := tx.LayerVersion(ctx, layer.Layer, 9); return err },
			"LockLayerVersion":       func(tx *Tx) error { _, err := tx.LockLayerVersion(ctx, layer.Layer, 9); return err },
			"InsertLayerVersion":     func(tx *Tx) error { return tx.InsertLayerVersion(ctx, layerVersion(layerID("absent"), 1)) },
			"Function":               func(tx *Tx) error { _, err := tx.Function(ctx, absent); return err },
			"LockFunction":           func(tx *Tx) error { _, err := tx.LockFunction(ctx, absent); return err },
			"SetReservedConcurrency": func(tx *Tx) error { return tx.SetReservedConcurrency(ctx, absent, &reserve) },
			"DeleteFunction":         func(tx *Tx) error { return tx.DeleteFunction(ctx, absent) },
			"FunctionVersion":        func(tx *Tx) error { _, err := tx.FunctionVersion(ctx, id, 9); return err },
			"LastFunctionVersion":    func(tx *Tx) error { _, err := tx.LastFunctionVersion(ctx, absent); return err },
			"PutFunctionVersion":     func(tx *Tx) error { return tx.PutFunctionVersion(ctx, orphan) },
			"InsertFunctionVersion": func(tx *Tx) error {
				return tx.InsertFunctionVersion(ctx, orphan.Freeze(1, nil, "r", now))
			},
			"Alias":          func(tx *Tx) error { _, err := tx.Alias(ctx, id, "absent"); return err },
			"InsertAlias":    func(tx *Tx) error { return tx.InsertAlias(ctx, lamina.Alias{Function: absent, Name: "a"}) },
			"PutAlias":       func(tx *Tx) error { return tx.PutAlias(ctx, lamina.Alias{Function: absent, Name: "a"}) },
			"Policy":         func(tx *Tx) error { _, err := tx.Policy(ctx, "absent"); return err },
			"Account":        func(tx *Tx) error { _, err := tx.Account(ctx, "absent"); return err },
			"AccessKey":      func(tx *Tx) error { _, err := tx.AccessKey(ctx, "absent"); return err },
			"PutAccessKey":   func(tx *Tx) error { return tx.PutAccessKey(ctx, AccessKey{ID: "k", Account: "absent"}) },
			"Identity":       func(tx *Tx) error { _, err := tx.Identity(ctx, nobody); return err },
			"LockIdentity":   func(tx *Tx) error { _, err := tx.LockIdentity(ctx, nobody); return err },
			"RenameIdentity": func(tx *Tx) error { return tx.RenameIdentity(ctx, nobody, "another") },
			"InsertIdentity": func(tx *Tx) error {
				return tx.InsertIdentity(ctx, Identity{IdentityRef: IdentityRef{"absent", KindRole, "r"}, ID: "AROA2"})
			},
			"UpdateIdentity":  func(tx *Tx) error { return tx.UpdateIdentity(ctx, Identity{IdentityRef: nobody}) },
			"AttachPolicy":    func(tx *Tx) error { return tx.AttachPolicy(ctx, nobody, "arn") },
			"PutInlinePolicy": func(tx *Tx) error { return tx.PutInlinePolicy(ctx, nobody, InlinePolicy{"n", "{}"}) },
			"AddMember": func(tx *Tx) error {
				return tx.AddMember(ctx, IdentityRef{account.ID, KindInstanceProfile, "absent"}, role.IdentityRef)
			},
			"LockAccount":            func(tx *Tx) error { _, err := tx.LockAccount(ctx, "absent"); return err },
			"SetAccountAlias":        func(tx *Tx) error { return tx.SetAccountAlias(ctx, "absent", "a") },
			"SetAccountOrganization": func(tx *Tx) error { return tx.SetAccountOrganization(ctx, account.ID, "o-absent", now) },
			"Organization":           func(tx *Tx) error { _, err := tx.Organization(ctx, "o-absent"); return err },
			"LockPolicyDocument":     func(tx *Tx) error { _, err := tx.LockPolicyDocument(ctx, account.ID, "absent"); return err },
			"PolicyDocument":         func(tx *Tx) error { _, err := tx.PolicyDocument(ctx, account.ID, "absent"); return err },
			"Setting":                func(tx *Tx) error { _, err := tx.Setting(ctx, "absent"); return err },
		} {
			if err := s.Update(ctx, call); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("%s of something absent = %v; want ErrNotFound", name, err)
			}
		}
	})
}
