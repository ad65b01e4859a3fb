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

func TestAccounts(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		a, b := Account{ID: "111111111111", Name: "a", Created: now}, Account{ID: "222222222222", Created: now}
		key := AccessKey{ID: "AKIA1", Secret: "s", Account: a.ID, User: "ann", Created: now}
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.InsertAccount(ctx, b), tx.InsertAccount(ctx, a), tx.PutAccessKey(ctx, key))
		})
		key.Secret, key.User = "t", ""
		update(t, s, func(tx *Tx) error { return tx.PutAccessKey(ctx, key) })
		view(t, s, func(tx *Tx) error {
			accounts, err := tx.Accounts(ctx)
			if diff := cmp.Diff([]Account{a, b}, accounts); diff != "" || err != nil {
				t.Errorf("Accounts: %v, differ (-want +got):\n%s", err, diff)
			}
			if got, err := tx.Account(ctx, a.ID); got != a || err != nil {
				t.Errorf("Account = %v, %v; want %v", got, err, a)
			}
			if got, err := tx.AccessKey(ctx, key.ID); got != key || err != nil {
				t.Errorf("AccessKey = %v, %v; want %v", got, err, key)
			}
			if got, err := tx.AccessKeys(ctx, a.ID); !slices.Equal(got, []AccessKey{key}) || err != nil {
				t.Errorf("AccessKeys = %v, %v; want %v", got, err, key)
			}
			return nil
		})
		for _, want := range []bool{true, false} {
			update(t, s, func(tx *Tx) error {
				existed, err := tx.DeleteAccessKey(ctx, key.ID)
				if existed != want {
					t.Errorf("DeleteAccessKey = %t; want %t", existed, want)
				}
				return err
			})
		}
	})
}

func TestRoles(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		const account = "111111111111"
		role := func(name, path string) Role {
			return Role{
				Account: account, Name: name, ID: "AROA" + name, Path: path, Description: "d", TrustPolicy: "{}",
				MaxSessionSeconds: 3600, Created: now,
			}
		}
		a, b, c := role("a", "/"), role("b", "/team/"), role("c", "/team%/")
		a.Tags = map[string]string{"k": "v"}
		update(t, s, func(tx *Tx) error {
			return errors.Join(
				tx.InsertAccount(ctx, Account{ID: account}),
				tx.InsertRole(ctx, c), tx.InsertRole(ctx, a), tx.InsertRole(ctx, b),
				tx.AttachRolePolicy(ctx, account, "a", "arn:2"),
				tx.AttachRolePolicy(ctx, account, "a", "arn:1"),
				tx.AttachRolePolicy(ctx, account, "a", "arn:1"),
				tx.PutRolePolicy(ctx, account, "a", "inline", "1"),
				tx.PutRolePolicy(ctx, account, "a", "inline", "2"),
			)
		})
		b.Description, b.Tags = "changed", map[string]string{"x": ""}
		update(t, s, func(tx *Tx) error { return tx.UpdateRole(ctx, b) })
		view(t, s, func(tx *Tx) error {
			for _, want := range []Role{a, b, c} {
				got, err := tx.Role(ctx, account, want.Name)
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("Role(%s): %v, differs (-want +got):\n%s", want.Name, err, diff)
				}
			}
			for prefix, want := range map[string][]Role{"": {a, b, c}, "/": {a, b, c}, "/team": {b, c}, "/team%/": {c}, "/x": nil} {
				got, err := tx.Roles(ctx, account, prefix, "", 10)
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("Roles(%q): %v, differ (-want +got):\n%s", prefix, err, diff)
				}
			}
			if got, err := tx.Roles(ctx, account, "/", "a", 1); len(got) != 1 || got[0].Name != "b" {
				t.Errorf("Roles after a = %v, %v; want b", got, err)
			}
			if got, err := tx.AttachedRolePolicies(ctx, account, "a"); !slices.Equal(got, []string{"arn:1", "arn:2"}) {
				t.Errorf("AttachedRolePolicies = %v, %v; want arn:1, arn:2", got, err)
			}
			if got, err := tx.RolePolicies(ctx, account, "a"); !slices.Equal(got, []string{"inline"}) {
				t.Errorf("RolePolicies = %v, %v; want inline", got, err)
			}
			if got, err := tx.RolePolicy(ctx, account, "a", "inline"); got != "2" {
				t.Errorf("RolePolicy = %q, %v; want 2", got, err)
			}
			return nil
		})
		for _, want := range []bool{true, false} {
			update(t, s, func(tx *Tx) error {
				detached, err1 := tx.DetachRolePolicy(ctx, account, "a", "arn:1")
				deleted, err2 := tx.DeleteRolePolicy(ctx, account, "a", "inline")
				if detached != want || deleted != want {
					t.Errorf("DetachRolePolicy, DeleteRolePolicy = %t, %t; want %t", detached, deleted, want)
				}
				return errors.Join(err1, err2)
			})
		}
		for _, want := range []bool{true, false} {
			update(t, s, func(tx *Tx) error {
				existed, err := tx.DeleteRole(ctx, account, "a")
				if existed != want {
					t.Errorf("DeleteRole = %t; want %t", existed, want)
				}
				return err
			})
		}
	})
}

func TestPolicyDocuments(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		p := PolicyDocument{Account: "111111111111", Name: "p", ID: "ANPA1", Path: "/", Description: "d", Document: "{}", Created: now}
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.InsertAccount(ctx, Account{ID: p.Account}), tx.InsertPolicyDocument(ctx, p))
		})
		view(t, s, func(tx *Tx) error {
			if got, err := tx.PolicyDocument(ctx, p.Account, "p"); got != p || err != nil {
				t.Errorf("PolicyDocument = %v, %v; want %v", got, err, p)
			}
			if got, err := tx.PolicyDocuments(ctx, p.Account, "", 5); !slices.Equal(got, []PolicyDocument{p}) || err != nil {
				t.Errorf("PolicyDocuments = %v, %v; want %v", got, err, p)
			}
			return nil
		})
		for _, want := range []bool{true, false} {
			update(t, s, func(tx *Tx) error {
				existed, err := tx.DeletePolicyDocument(ctx, p.Account, "p")
				if existed != want {
					t.Errorf("DeletePolicyDocument = %t; want %t", existed, want)
				}
				return err
			})
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
		role := Role{Account: account.ID, Name: "r", ID: "AROA1"}
		document := PolicyDocument{Account: account.ID, Name: "p", ID: "ANPA1"}
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.InsertAlias(ctx, alias), tx.InsertAccount(ctx, account), tx.InsertRole(ctx, role), tx.InsertPolicyDocument(ctx, document))
		})
		update(t, s, func(tx *Tx) error { // one transaction: ErrExists does not end it
			for name, err := range map[string]error{
				"InsertLayerVersion":    tx.InsertLayerVersion(ctx, layer),
				"InsertFunction":        tx.InsertFunction(ctx, f, latest),
				"InsertFunctionVersion": tx.InsertFunctionVersion(ctx, version),
				"InsertAlias":           tx.InsertAlias(ctx, alias),
				"InsertAccount":         tx.InsertAccount(ctx, account),
				"InsertRole":            tx.InsertRole(ctx, role),
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
			"Alias":            func(tx *Tx) error { _, err := tx.Alias(ctx, id, "absent"); return err },
			"InsertAlias":      func(tx *Tx) error { return tx.InsertAlias(ctx, lamina.Alias{Function: absent, Name: "a"}) },
			"PutAlias":         func(tx *Tx) error { return tx.PutAlias(ctx, lamina.Alias{Function: absent, Name: "a"}) },
			"Policy":           func(tx *Tx) error { _, err := tx.Policy(ctx, "absent"); return err },
			"Account":          func(tx *Tx) error { _, err := tx.Account(ctx, "absent"); return err },
			"AccessKey":        func(tx *Tx) error { _, err := tx.AccessKey(ctx, "absent"); return err },
			"PutAccessKey":     func(tx *Tx) error { return tx.PutAccessKey(ctx, AccessKey{ID: "k", Account: "absent"}) },
			"Role":             func(tx *Tx) error { _, err := tx.Role(ctx, account.ID, "absent"); return err },
			"InsertRole":       func(tx *Tx) error { return tx.InsertRole(ctx, Role{Account: "absent", Name: "r", ID: "AROA2"}) },
			"UpdateRole":       func(tx *Tx) error { return tx.UpdateRole(ctx, Role{Account: account.ID, Name: "absent"}) },
			"AttachRolePolicy": func(tx *Tx) error { return tx.AttachRolePolicy(ctx, account.ID, "absent", "arn") },
			"PutRolePolicy":    func(tx *Tx) error { return tx.PutRolePolicy(ctx, account.ID, "absent", "n", "{}") },
			"RolePolicy":       func(tx *Tx) error { _, err := tx.RolePolicy(ctx, account.ID, "r", "absent"); return err },
			"PolicyDocument":   func(tx *Tx) error { _, err := tx.PolicyDocument(ctx, account.ID, "absent"); return err },
			"Setting":          func(tx *Tx) error { _, err := tx.Setting(ctx, "absent"); return err },
		} {
			if err := s.Update(ctx, call); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("%s of something absent = %v; want ErrNotFound", name, err)
			}
		}
	})
}
