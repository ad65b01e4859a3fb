package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
)

const identityAccount = "111111111111"

func identityNamed(kind IdentityKind, name, path string) Identity {
	return Identity{IdentityRef: IdentityRef{identityAccount, kind, name}, ID: strings.ToUpper(string(kind)) + name, Path: path, Created: now}
}

func TestAccounts(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		a, b := Account{ID: "111111111111", Name: "a", Created: now}, Account{ID: "222222222222", Email: "b@c.de", Created: now}
		o := Organization{ID: "o-1", Name: "org", Root: "r-1", Management: a.ID, Created: now}
		c := Account{ID: "333333333333", Organization: o.ID, Joined: now, Created: now}
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.InsertAccount(ctx, b), tx.InsertAccount(ctx, a), tx.InsertOrganization(ctx, o), tx.InsertAccount(ctx, c),
				tx.SetAccountOrganization(ctx, a.ID, o.ID, now), tx.SetAccountAlias(ctx, a.ID, "alias"))
		})
		a.Organization, a.Joined, a.Alias = o.ID, now, "alias"
		update(t, s, func(tx *Tx) error {
			if err := tx.SetAccountAlias(ctx, b.ID, "alias"); !errors.Is(err, lamina.ErrExists) {
				t.Errorf("SetAccountAlias of a taken one = %v; want ErrExists", err)
			}
			return errors.Join(tx.SetAccountAlias(ctx, a.ID, "alias"), tx.SetAccountAlias(ctx, b.ID, ""), tx.SetAccountAlias(ctx, c.ID, ""))
		})
		view(t, s, func(tx *Tx) error {
			accounts, err := tx.Accounts(ctx)
			if diff := cmp.Diff([]Account{a, b, c}, accounts); diff != "" || err != nil {
				t.Errorf("Accounts: %v, differ (-want +got):\n%s", err, diff)
			}
			if got, err := tx.Account(ctx, a.ID); got != a || err != nil {
				t.Errorf("Account = %v, %v; want %v", got, err, a)
			}
			if got, err := tx.OrganizationAccounts(ctx, o.ID); !slices.Equal(got, []Account{a, c}) || err != nil {
				t.Errorf("OrganizationAccounts = %v, %v; want %v", got, err, []Account{a, c})
			}
			if got, err := tx.Organizations(ctx); !slices.Equal(got, []Organization{o}) || err != nil {
				t.Errorf("Organizations = %v, %v; want %v", got, err, o)
			}
			return nil
		})
		update(t, s, func(tx *Tx) error { return tx.SetAccountOrganization(ctx, a.ID, "", now) })
		if got := get(t, s, func(tx *Tx) (Account, error) { return tx.Account(ctx, a.ID) }); got.Organization != "" || !got.Joined.IsZero() {
			t.Errorf("Account after it left = %+v; want none of an organization", got)
		}
	})
}

func TestAccessKeys(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		ann := identityNamed(KindUser, "ann", "/team/")
		key := AccessKey{ID: "AKIA1", Secret: "s", Account: identityAccount, User: "ann", Created: now}
		root := AccessKey{ID: "AKIA2", Secret: "s", Account: identityAccount, Created: now, Inactive: true}
		orphan := AccessKey{ID: "AKIA3", Secret: "s", Account: identityAccount, User: "bob", Created: now}
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.InsertAccount(ctx, Account{ID: identityAccount}), tx.InsertIdentity(ctx, ann),
				tx.PutAccessKey(ctx, key), tx.PutAccessKey(ctx, root), tx.PutAccessKey(ctx, orphan))
		})
		owned := func(want AccessKey, owner KeyOwner) {
			t.Helper()
			view(t, s, func(tx *Tx) error {
				if got, o, err := tx.AccessKeyOwner(ctx, want.ID); got != want || o != owner || err != nil {
					t.Errorf("AccessKeyOwner = %+v, %+v, %v; want %+v, %+v", got, o, err, want, owner)
				}
				if got, err := tx.AccessKeys(ctx, identityAccount, want.User); !slices.Equal(got, []AccessKey{want}) || err != nil {
					t.Errorf("AccessKeys(%q) = %v, %v; want %v", want.User, got, err, want)
				}
				return nil
			})
		}
		owned(key, KeyOwner{"USERann", "/team/"})
		owned(root, KeyOwner{})
		view(t, s, func(tx *Tx) error {
			if _, err := tx.AccessKey(ctx, orphan.ID); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("AccessKey of nobody = %v; want ErrNotFound", err)
			}
			return nil
		})
		use := AccessKeyUse{now, "lambda", "eu-west-1"}
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.UseAccessKey(ctx, key.ID, use), tx.UseAccessKey(ctx, key.ID, AccessKeyUse{Time: now.Add(-time.Hour), Service: "sts"}),
				tx.UseAccessKey(ctx, "absent", use), tx.RenameIdentity(ctx, ann.IdentityRef, "Ann"))
		})
		key.Use, key.User = use, "Ann"
		owned(key, KeyOwner{"USERann", "/team/"})
		key.Inactive, key.Secret = true, "t"
		update(t, s, func(tx *Tx) error { return tx.PutAccessKey(ctx, key) })
		owned(key, KeyOwner{"USERann", "/team/"})
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

func TestIdentities(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		a, b, c := identityNamed(KindRole, "a", "/"), identityNamed(KindRole, "b", "/team/"), identityNamed(KindRole, "c", "/team%/")
		a.Description, a.TrustPolicy, a.MaxSessionSeconds, a.Boundary = "d", "{}", 3600, "arn:b"
		a.Tags = map[string]string{"k": "v"}
		user, group := identityNamed(KindUser, "a", "/"), identityNamed(KindGroup, "a", "/")
		profile := identityNamed(KindInstanceProfile, "a", "/")
		update(t, s, func(tx *Tx) error {
			return errors.Join(
				tx.InsertAccount(ctx, Account{ID: identityAccount}),
				tx.InsertIdentity(ctx, c), tx.InsertIdentity(ctx, a), tx.InsertIdentity(ctx, b),
				tx.InsertIdentity(ctx, user), tx.InsertIdentity(ctx, group), tx.InsertIdentity(ctx, profile),
				tx.AttachPolicy(ctx, a.IdentityRef, "arn:2"),
				tx.AttachPolicy(ctx, a.IdentityRef, "arn:1"),
				tx.AttachPolicy(ctx, a.IdentityRef, "arn:1"),
				tx.AttachPolicy(ctx, user.IdentityRef, "arn:1"),
				tx.PutInlinePolicy(ctx, a.IdentityRef, InlinePolicy{"z", "1"}),
				tx.PutInlinePolicy(ctx, a.IdentityRef, InlinePolicy{"inline", "1"}),
				tx.PutInlinePolicy(ctx, a.IdentityRef, InlinePolicy{"inline", "2"}),
				tx.AddMember(ctx, group.IdentityRef, user.IdentityRef),
				tx.AddMember(ctx, group.IdentityRef, user.IdentityRef),
				tx.AddMember(ctx, profile.IdentityRef, a.IdentityRef),
			)
		})
		update(t, s, func(tx *Tx) error {
			for _, taken := range []Identity{identityNamed(KindRole, "A", "/"), identityNamed(KindUser, "A", "/")} {
				if err := tx.InsertIdentity(ctx, taken); !errors.Is(err, lamina.ErrExists) {
					t.Errorf("InsertIdentity(%s) = %v; want ErrExists", taken.IdentityRef, err)
				}
			}
			if err := tx.RenameIdentity(ctx, b.IdentityRef, "C"); !errors.Is(err, lamina.ErrExists) {
				t.Errorf("RenameIdentity to a taken name = %v; want ErrExists", err)
			}
			return nil
		})
		b.Description, b.Tags = "changed", map[string]string{"x": ""}
		update(t, s, func(tx *Tx) error { return tx.UpdateIdentity(ctx, b) })
		view(t, s, func(tx *Tx) error {
			for _, want := range []Identity{a, b, c, user, group, profile} {
				got, err := tx.Identity(ctx, want.IdentityRef)
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("Identity(%s): %v, differs (-want +got):\n%s", want.IdentityRef, err, diff)
				}
			}
			for prefix, want := range map[string][]Identity{"": {a, b, c}, "/": {a, b, c}, "/team": {b, c}, "/team%/": {c}, "/x": nil} {
				got, err := tx.Identities(ctx, identityAccount, KindRole, prefix, "", 10)
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("Identities(%q): %v, differ (-want +got):\n%s", prefix, err, diff)
				}
			}
			if got, err := tx.Identities(ctx, identityAccount, KindRole, "/", "a", 1); len(got) != 1 || got[0].Name != "b" {
				t.Errorf("Identities after a = %v, %v; want b", got, err)
			}
			if got, err := tx.CountIdentities(ctx, identityAccount, KindRole); got != 3 || err != nil {
				t.Errorf("CountIdentities = %d, %v; want 3", got, err)
			}
			if got, err := tx.AttachedPolicies(ctx, a.IdentityRef); !slices.Equal(got, []string{"arn:1", "arn:2"}) {
				t.Errorf("AttachedPolicies = %v, %v; want arn:1, arn:2", got, err)
			}
			if got, err := tx.InlinePolicies(ctx, a.IdentityRef); !slices.Equal(got, []InlinePolicy{{"inline", "2"}, {"z", "1"}}) {
				t.Errorf("InlinePolicies = %v, %v; want inline, z", got, err)
			}
			attached, bounded, err := tx.IdentitiesWith(ctx, identityAccount, "arn:1")
			if !slices.Equal(attached, []IdentityRef{a.IdentityRef, user.IdentityRef}) || len(bounded) > 0 || err != nil {
				t.Errorf("IdentitiesWith(arn:1) = %v, %v, %v", attached, bounded, err)
			}
			if _, bounded, err = tx.IdentitiesWith(ctx, identityAccount, "arn:b"); !slices.Equal(bounded, []IdentityRef{a.IdentityRef}) {
				t.Errorf("IdentitiesWith(arn:b) = %v, %v; want %v", bounded, err, a.IdentityRef)
			}
			uses, bounding, err := tx.PolicyUses(ctx, identityAccount)
			if diff := cmp.Diff([]map[string]int64{{"arn:1": 2, "arn:2": 1}, {"arn:b": 1}}, []map[string]int64{uses, bounding}); diff != "" || err != nil {
				t.Errorf("PolicyUses: %v, differ (-want +got):\n%s", err, diff)
			}
			return nil
		})
		update(t, s, func(tx *Tx) error { return tx.RenameIdentity(ctx, user.IdentityRef, "ann") })
		user.Name = "ann"
		view(t, s, func(tx *Tx) error {
			members, err := tx.Members(ctx, group.IdentityRef, KindUser)
			groups, err2 := tx.MemberOf(ctx, user.IdentityRef, KindGroup)
			profiles, err3 := tx.MemberOf(ctx, a.IdentityRef, KindInstanceProfile)
			attached, err4 := tx.AttachedPolicies(ctx, user.IdentityRef)
			if !slices.Equal(members, []string{"ann"}) || !slices.Equal(groups, []string{"a"}) || !slices.Equal(profiles, []string{"a"}) || len(attached) != 1 {
				t.Errorf("after RenameIdentity: members %v, groups %v, profiles %v, attached %v", members, groups, profiles, attached)
			}
			return errors.Join(err, err2, err3, err4)
		})
		for _, want := range []bool{true, false} {
			update(t, s, func(tx *Tx) error {
				detached, err1 := tx.DetachPolicy(ctx, a.IdentityRef, "arn:1")
				deleted, err2 := tx.DeleteInlinePolicy(ctx, a.IdentityRef, "inline")
				removed, err3 := tx.RemoveMember(ctx, group.IdentityRef, user.IdentityRef)
				if detached != want || deleted != want || removed != want {
					t.Errorf("DetachPolicy, DeleteInlinePolicy, RemoveMember = %t, %t, %t; want %t", detached, deleted, removed, want)
				}
				return errors.Join(err1, err2, err3)
			})
		}
		for _, want := range []bool{true, false} {
			update(t, s, func(tx *Tx) error {
				existed, err := tx.DeleteIdentity(ctx, a.IdentityRef)
				if existed != want {
					t.Errorf("DeleteIdentity = %t; want %t", existed, want)
				}
				return err
			})
		}
		if got := get(t, s, func(tx *Tx) ([]string, error) { return tx.Members(ctx, profile.IdentityRef, KindRole) }); len(got) > 0 {
			t.Errorf("Members of %s = %v; want none", profile.IdentityRef, got)
		}
	})
}

func TestPolicyDocuments(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		p := PolicyDocument{Account: identityAccount, Name: "p", ID: "ANPA1", Path: "/", Description: "d", Document: "1", Created: now}
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.InsertAccount(ctx, Account{ID: p.Account}), tx.InsertPolicyDocument(ctx, p))
		})
		p.DefaultVersion, p.LastVersion, p.Modified = 1, 1, now
		is := func() {
			t.Helper()
			view(t, s, func(tx *Tx) error {
				if got, err := tx.PolicyDocument(ctx, p.Account, "p"); got != p || err != nil {
					t.Errorf("PolicyDocument = %+v, %v; want %+v", got, err, p)
				}
				if got, err := tx.PolicyDocuments(ctx, p.Account, "", 5); !slices.Equal(got, []PolicyDocument{p}) || err != nil {
					t.Errorf("PolicyDocuments = %v, %v; want %v", got, err, p)
				}
				return nil
			})
		}
		is()
		later := now.Add(time.Hour)
		add := func(document string, makeDefault bool) {
			t.Helper()
			update(t, s, func(tx *Tx) error {
				locked, err := tx.LockPolicyDocument(ctx, p.Account, p.Name)
				if err != nil {
					return err
				}
				_, err = tx.InsertPolicyDocumentVersion(ctx, locked, document, later, makeDefault)
				return err
			})
		}
		add("2", false)
		p.LastVersion, p.Modified = 2, later
		is()
		add("3", true)
		p.LastVersion, p.DefaultVersion, p.Document = 3, 3, "3"
		is()
		for _, want := range []bool{true, false} {
			update(t, s, func(tx *Tx) error {
				existed, err := tx.DeletePolicyDocumentVersion(ctx, p.Account, "p", 2)
				if existed != want {
					t.Errorf("DeletePolicyDocumentVersion = %t; want %t", existed, want)
				}
				return err
			})
		}
		versions := get(t, s, func(tx *Tx) ([]PolicyDocumentVersion, error) { return tx.PolicyDocumentVersions(ctx, p.Account, "p") })
		if want := []PolicyDocumentVersion{{3, "3", later}, {1, "1", now}}; !slices.Equal(versions, want) {
			t.Errorf("PolicyDocumentVersions = %v; want %v", versions, want)
		}
		for _, want := range []bool{true, false} {
			update(t, s, func(tx *Tx) error {
				existed, err := tx.DeletePolicyDocument(ctx, p.Account, "p")
				if existed != want {
					t.Errorf("DeletePolicyDocument = %t; want %t", existed, want)
				}
				return err
			})
		}
		if left := get(t, s, func(tx *Tx) ([]PolicyDocumentVersion, error) { return tx.PolicyDocumentVersions(ctx, p.Account, "p") }); len(left) > 0 {
			t.Errorf("versions after DeletePolicyDocument = %v; want none", left)
		}
	})
}

// TestPolicyVersionsAtOnce: all who add a version get a number of their own.
func TestPolicyVersionsAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.InsertAccount(ctx, Account{ID: identityAccount}),
				tx.InsertPolicyDocument(ctx, PolicyDocument{Account: identityAccount, Name: "p", ID: "ANPA1"}))
		})
		together(6, func(i int) {
			update(t, s, func(tx *Tx) error {
				locked, err := tx.LockPolicyDocument(ctx, identityAccount, "p")
				if err != nil {
					return err
				}
				_, err = tx.InsertPolicyDocumentVersion(ctx, locked, fmt.Sprint(i), now, i%2 == 0)
				return err
			})
		})
		versions := get(t, s, func(tx *Tx) ([]PolicyDocumentVersion, error) {
			return tx.PolicyDocumentVersions(ctx, identityAccount, "p")
		})
		if len(versions) != 7 || versions[0].Number != 7 {
			t.Errorf("versions = %v; want 7 down to 1", versions)
		}
	})
}

// TestRolesBecomeIdentities: what an older Lamina kept of roles and policies is
// there after the migration.
func TestRolesBecomeIdentities(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, o Options) {
		t.Parallel()
		ctx := t.Context()
		s := open(t, o)
		undo := []string{
			"DROP TABLE identity_member", "DROP TABLE identity_policy", "DROP TABLE identity_attachment", "DROP TABLE identity",
			"DROP TABLE managed_policy_version", "DROP INDEX access_key_user", "DROP INDEX account_alias", "DROP INDEX account_organization",
			"CREATE INDEX access_key_account ON access_key (account, id)",
			"ALTER TABLE managed_policy ADD COLUMN document TEXT NOT NULL DEFAULT ''", "DELETE FROM migration WHERE name = '0009_identities.sql'",
		}
		for table, columns := range map[string][]string{
			"managed_policy": {"default_version", "last_version", "modified"},
			"access_key":     {"active", "used", "used_service", "used_region"},
			"account":        {"organization", "joined", "email", "alias"},
		} {
			for _, c := range columns {
				undo = append(undo, "ALTER TABLE "+table+" DROP COLUMN "+c)
			}
		}
		undo = append(undo, "DROP TABLE organization")
		start, err := migrations.ReadFile("migrations/0001_start.sql")
		if err != nil {
			t.Fatal(err)
		}
		for statement := range statements(string(start)) {
			if strings.Contains(statement, "CREATE TABLE role") {
				undo = append(undo, statement)
			}
		}
		old := []string{
			"INSERT INTO account (id, name, created) VALUES ('1', 'root', 5)",
			"INSERT INTO access_key (id, secret, account, user_name, created) VALUES ('k', 's', '1', '', 5)",
			"INSERT INTO role (account, name, id, path, description, trust, max_session, tags, created) VALUES ('1', 'r', 'AROA', '/p/', 'd', 't', 3600, '{\"a\":\"b\"}', 5)",
			"INSERT INTO role_attachment (account, role, policy) VALUES ('1', 'r', 'arn')",
			"INSERT INTO role_policy (account, role, name, document) VALUES ('1', 'r', 'n', 'doc')",
			"INSERT INTO managed_policy (account, name, id, path, description, document, created) VALUES ('1', 'm', 'ANPA', '/', '', 'managed', 5)",
		}
		update(t, s, func(tx *Tx) error {
			for _, text := range append(undo, old...) {
				if err := tx.exec(ctx, text); err != nil {
					return fmt.Errorf("%s: %w", text, err)
				}
			}
			return nil
		})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, o)
		view(t, s, func(tx *Tx) error {
			ref := IdentityRef{"1", KindRole, "r"}
			want := Identity{IdentityRef: ref, ID: "AROA", Path: "/p/", Description: "d", TrustPolicy: "t", MaxSessionSeconds: 3600, Tags: map[string]string{"a": "b"}, Created: time.UnixMilli(5).UTC()}
			got, err := tx.Identity(ctx, ref)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("Identity: %v, differs (-want +got):\n%s", err, diff)
			}
			attached, err := tx.AttachedPolicies(ctx, ref)
			inline, err2 := tx.InlinePolicies(ctx, ref)
			if !slices.Equal(attached, []string{"arn"}) || !slices.Equal(inline, []InlinePolicy{{"n", "doc"}}) {
				t.Errorf("attached %v, inline %v; want arn and n", attached, inline)
			}
			p, err3 := tx.PolicyDocument(ctx, "1", "m")
			if p.Document != "managed" || p.DefaultVersion != 1 || !p.Modified.Equal(p.Created) {
				t.Errorf("PolicyDocument = %+v; want its only version", p)
			}
			key, err4 := tx.AccessKey(ctx, "k")
			if key.Inactive || key.Secret != "s" {
				t.Errorf("AccessKey = %+v; want an active one", key)
			}
			return errors.Join(err, err2, err3, err4)
		})
	})
}
