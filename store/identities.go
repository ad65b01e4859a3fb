package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
)

// IdentityKind tells what an [Identity] is.
type IdentityKind string

// The kinds of identities.
const (
	KindUser            IdentityKind = "user"
	KindGroup           IdentityKind = "group"
	KindRole            IdentityKind = "role"
	KindInstanceProfile IdentityKind = "instance-profile"
)

// IdentityRef names an identity.
type IdentityRef struct {
	Account string
	Kind    IdentityKind
	Name    string
}

func (r IdentityRef) String() string { return string(r.Kind) + " " + r.Name }

// Identity is a user, a group, a role or an instance profile of an account.
type Identity struct {
	IdentityRef
	ID                string // such as AROA…
	Path              string
	Description       string // of a role
	TrustPolicy       string // of a role: AssumeRolePolicyDocument
	MaxSessionSeconds int64  // of a role
	Boundary          string // ARN of the permissions boundary, "" without
	Tags              map[string]string
	Created           time.Time
}

const identityColumns = `account, kind, name, id, path, description, trust, max_session, boundary, tags, created`

func identityValues(i Identity) ([]any, error) {
	tags, err := toJSON(i.Tags)
	return []any{
		i.Account, string(i.Kind), i.Name, i.ID, i.Path, i.Description, i.TrustPolicy, i.MaxSessionSeconds, i.Boundary,
		tags, toMillis(i.Created),
	}, err
}

func scanIdentity(row scanner, i *Identity) error {
	var tags []byte
	var created int64
	err := row.Scan(&i.Account, &i.Kind, &i.Name, &i.ID, &i.Path, &i.Description, &i.TrustPolicy, &i.MaxSessionSeconds, &i.Boundary,
		&tags, &created)
	if err != nil {
		return err
	}
	i.Created = fromMillis(created)
	if err := json.Unmarshal(tags, &i.Tags); err != nil {
		return err
	}
	if len(i.Tags) == 0 {
		i.Tags = nil
	}
	return nil
}

// InsertIdentity adds an identity. It fails with ErrExists if the name, in
// whichever case, or the ID is taken, and with ErrNotFound if the account is
// unknown.
func (tx *Tx) InsertIdentity(ctx context.Context, i Identity) error {
	taken, err := tx.nameTaken(ctx, i.IdentityRef)
	if err == nil && taken {
		err = lamina.ErrExists
	}
	var values []any
	if err == nil {
		values, err = identityValues(i)
	}
	if err == nil {
		err = tx.insert(ctx, `INSERT INTO identity (`+identityColumns+`)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
			ON CONFLICT DO NOTHING`, values...)
	}
	if err != nil {
		return fmt.Errorf("insert %s: %w", i.IdentityRef, err)
	}
	return nil
}

func (tx *Tx) nameTaken(ctx context.Context, r IdentityRef) (taken bool, err error) {
	err = tx.one(ctx, func(row scanner) error { return row.Scan(&taken) },
		`SELECT EXISTS (SELECT 1 FROM identity WHERE account = $1 AND kind = $2 AND lower(name) = $3)`,
		r.Account, string(r.Kind), strings.ToLower(r.Name))
	return taken, err
}

// UpdateIdentity writes all of an identity that exists, or fails with
// ErrNotFound.
func (tx *Tx) UpdateIdentity(ctx context.Context, i Identity) error {
	values, err := identityValues(i)
	var changed bool
	if err == nil {
		changed, err = tx.change(ctx, `UPDATE identity SET id = $4, path = $5, description = $6, trust = $7,
				max_session = $8, boundary = $9, tags = $10, created = $11
			WHERE account = $1 AND kind = $2 AND name = $3`, values...)
	}
	if err == nil && !changed {
		err = lamina.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("update %s: %w", i.IdentityRef, err)
	}
	return nil
}

// RenameIdentity gives an identity another name, and all that belongs to it: its
// policies, memberships and access keys. It fails with ErrNotFound if there is
// none and with ErrExists if another has the name.
func (tx *Tx) RenameIdentity(ctx context.Context, r IdentityRef, name string) error {
	err := tx.renameIdentity(ctx, r, name)
	if err != nil {
		return fmt.Errorf("rename %s to %s: %w", r, name, err)
	}
	return nil
}

func (tx *Tx) renameIdentity(ctx context.Context, r IdentityRef, name string) error {
	if !strings.EqualFold(r.Name, name) {
		taken, err := tx.nameTaken(ctx, IdentityRef{r.Account, r.Kind, name})
		if err != nil {
			return err
		}
		if taken {
			return lamina.ErrExists
		}
	}
	changed, err := tx.change(ctx, `UPDATE identity SET name = $4 WHERE account = $1 AND kind = $2 AND name = $3`,
		r.Account, string(r.Kind), r.Name, name)
	if err != nil {
		return err
	}
	if !changed {
		return lamina.ErrNotFound
	}
	if r.Kind != KindUser {
		return nil
	}
	return tx.exec(ctx, `UPDATE access_key SET user_name = $3 WHERE account = $1 AND user_name = $2`, r.Account, r.Name, name)
}

// Identity returns an identity, or ErrNotFound.
func (tx *Tx) Identity(ctx context.Context, r IdentityRef) (Identity, error) {
	var i Identity
	err := tx.one(ctx, func(row scanner) error { return scanIdentity(row, &i) },
		`SELECT `+identityColumns+` FROM identity WHERE account = $1 AND kind = $2 AND name = $3`,
		r.Account, string(r.Kind), r.Name)
	if err != nil {
		return Identity{}, fmt.Errorf("%s: %w", r, err)
	}
	return i, nil
}

// LockIdentity is Identity for a caller that will change it, or what belongs to
// it: others who lock it wait until the transaction ends.
func (tx *Tx) LockIdentity(ctx context.Context, r IdentityRef) (Identity, error) {
	var i Identity
	err := tx.one(ctx, func(row scanner) error { return scanIdentity(row, &i) },
		`UPDATE identity SET path = path WHERE account = $1 AND kind = $2 AND name = $3 RETURNING `+identityColumns,
		r.Account, string(r.Kind), r.Name)
	if err != nil {
		return Identity{}, fmt.Errorf("lock %s: %w", r, err)
	}
	return i, nil
}

// Identities returns at most limit identities of a kind with names after a given
// one, ordered by name, whose path begins with a prefix.
func (tx *Tx) Identities(ctx context.Context, account string, kind IdentityKind, pathPrefix, after string, limit int) ([]Identity, error) {
	var all []Identity
	err := tx.each(ctx, func(row scanner) error {
		var i Identity
		if err := scanIdentity(row, &i); err != nil {
			return err
		}
		all = append(all, i)
		return nil
	}, `SELECT `+identityColumns+` FROM identity
		WHERE account = $1 AND kind = $2 AND name > $3
			AND substr(path, 1, length(CAST($4 AS TEXT))) = CAST($4 AS TEXT)
		ORDER BY name LIMIT $5`, account, string(kind), after, pathPrefix, limit)
	if err != nil {
		return nil, fmt.Errorf("%ss of account %s: %w", kind, account, err)
	}
	return all, nil
}

// CountIdentities returns how many identities of a kind an account has.
func (tx *Tx) CountIdentities(ctx context.Context, account string, kind IdentityKind) (n int64, err error) {
	err = tx.one(ctx, func(row scanner) error { return row.Scan(&n) },
		`SELECT COUNT(*) FROM identity WHERE account = $1 AND kind = $2`, account, string(kind))
	if err != nil {
		return 0, fmt.Errorf("count %ss of account %s: %w", kind, account, err)
	}
	return n, nil
}

// DeleteIdentity removes an identity with its attachments, inline policies and
// memberships, and reports whether there was one. Access keys of a user are the
// caller's concern.
func (tx *Tx) DeleteIdentity(ctx context.Context, r IdentityRef) (existed bool, err error) {
	existed, err = tx.change(ctx, "DELETE FROM identity WHERE account = $1 AND kind = $2 AND name = $3",
		r.Account, string(r.Kind), r.Name)
	if err != nil {
		return false, fmt.Errorf("delete %s: %w", r, err)
	}
	return existed, nil
}

// AttachPolicy attaches a managed policy; attaching it again changes nothing. It
// fails with ErrNotFound if the identity is unknown.
func (tx *Tx) AttachPolicy(ctx context.Context, r IdentityRef, policyARN string) error {
	err := tx.exec(ctx, `INSERT INTO identity_attachment (account, kind, name, policy) VALUES ($1, $2, $3, $4)
		ON CONFLICT DO NOTHING`, r.Account, string(r.Kind), r.Name, policyARN)
	if err != nil {
		return fmt.Errorf("attach %s to %s: %w", policyARN, r, err)
	}
	return nil
}

// DetachPolicy detaches a managed policy and reports whether it was attached.
func (tx *Tx) DetachPolicy(ctx context.Context, r IdentityRef, policyARN string) (existed bool, err error) {
	existed, err = tx.change(ctx, "DELETE FROM identity_attachment WHERE account = $1 AND kind = $2 AND name = $3 AND policy = $4",
		r.Account, string(r.Kind), r.Name, policyARN)
	if err != nil {
		return false, fmt.Errorf("detach %s from %s: %w", policyARN, r, err)
	}
	return existed, nil
}

// AttachedPolicies returns the ARNs of the attached policies, in order. An
// unknown identity has none.
func (tx *Tx) AttachedPolicies(ctx context.Context, r IdentityRef) ([]string, error) {
	arns, err := tx.texts(ctx, `SELECT policy FROM identity_attachment
		WHERE account = $1 AND kind = $2 AND name = $3 ORDER BY policy`, r.Account, string(r.Kind), r.Name)
	if err != nil {
		return nil, fmt.Errorf("policies attached to %s: %w", r, err)
	}
	return arns, nil
}

// IdentitiesWith returns which identities of an account have a policy attached,
// and which have it as their permissions boundary, each ordered by kind and name.
func (tx *Tx) IdentitiesWith(ctx context.Context, account, policyARN string) (attached, bounded []IdentityRef, err error) {
	scan := func(to *[]IdentityRef) func(scanner) error {
		return func(row scanner) error {
			r := IdentityRef{Account: account}
			if err := row.Scan(&r.Kind, &r.Name); err != nil {
				return err
			}
			*to = append(*to, r)
			return nil
		}
	}
	err = tx.each(ctx, scan(&attached), `SELECT kind, name FROM identity_attachment
		WHERE account = $1 AND policy = $2 ORDER BY kind, name`, account, policyARN)
	if err == nil {
		err = tx.each(ctx, scan(&bounded), `SELECT kind, name FROM identity
			WHERE account = $1 AND boundary = $2 AND boundary <> '' ORDER BY kind, name`, account, policyARN)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("identities with %s: %w", policyARN, err)
	}
	return attached, bounded, nil
}

// PolicyUses counts, by the policy's ARN, how many identities of an account have
// a policy attached and how many have it as their permissions boundary.
func (tx *Tx) PolicyUses(ctx context.Context, account string) (attached, bounding map[string]int64, err error) {
	scan := func(to map[string]int64) func(scanner) error {
		return func(row scanner) error {
			var arn string
			var n int64
			if err := row.Scan(&arn, &n); err != nil {
				return err
			}
			to[arn] = n
			return nil
		}
	}
	attached, bounding = map[string]int64{}, map[string]int64{}
	err = tx.each(ctx, scan(attached), `SELECT policy, COUNT(*) FROM identity_attachment WHERE account = $1 GROUP BY policy`, account)
	if err == nil {
		err = tx.each(ctx, scan(bounding), `SELECT boundary, COUNT(*) FROM identity
			WHERE account = $1 AND boundary <> '' GROUP BY boundary`, account)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("uses of policies of account %s: %w", account, err)
	}
	return attached, bounding, nil
}

// InlinePolicy is a policy that belongs to one identity.
type InlinePolicy struct {
	Name     string
	Document string
}

// PutInlinePolicy writes an inline policy. It fails with ErrNotFound if the
// identity is unknown.
func (tx *Tx) PutInlinePolicy(ctx context.Context, r IdentityRef, p InlinePolicy) error {
	err := tx.exec(ctx, `INSERT INTO identity_policy (account, kind, name, policy, document) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (account, kind, name, policy) DO UPDATE SET document = excluded.document`,
		r.Account, string(r.Kind), r.Name, p.Name, p.Document)
	if err != nil {
		return fmt.Errorf("put policy %s of %s: %w", p.Name, r, err)
	}
	return nil
}

// DeleteInlinePolicy removes an inline policy and reports whether there was one.
func (tx *Tx) DeleteInlinePolicy(ctx context.Context, r IdentityRef, name string) (existed bool, err error) {
	existed, err = tx.change(ctx, "DELETE FROM identity_policy WHERE account = $1 AND kind = $2 AND name = $3 AND policy = $4",
		r.Account, string(r.Kind), r.Name, name)
	if err != nil {
		return false, fmt.Errorf("delete policy %s of %s: %w", name, r, err)
	}
	return existed, nil
}

// InlinePolicies returns the inline policies, ordered by name. An unknown
// identity has none.
func (tx *Tx) InlinePolicies(ctx context.Context, r IdentityRef) ([]InlinePolicy, error) {
	var all []InlinePolicy
	err := tx.each(ctx, func(row scanner) error {
		var p InlinePolicy
		if err := row.Scan(&p.Name, &p.Document); err != nil {
			return err
		}
		all = append(all, p)
		return nil
	}, `SELECT policy, document FROM identity_policy
		WHERE account = $1 AND kind = $2 AND name = $3 ORDER BY policy`, r.Account, string(r.Kind), r.Name)
	if err != nil {
		return nil, fmt.Errorf("inline policies of %s: %w", r, err)
	}
	return all, nil
}

// AddMember puts a user into a group, or a role into an instance profile; again
// changes nothing. It fails with ErrNotFound if either is unknown. Both are of
// one account.
func (tx *Tx) AddMember(ctx context.Context, r, member IdentityRef) error {
	err := tx.exec(ctx, `INSERT INTO identity_member (account, kind, name, member_kind, member) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`, r.Account, string(r.Kind), r.Name, string(member.Kind), member.Name)
	if err != nil {
		return fmt.Errorf("add %s to %s: %w", member, r, err)
	}
	return nil
}

// RemoveMember undoes AddMember and reports whether there was something to undo.
func (tx *Tx) RemoveMember(ctx context.Context, r, member IdentityRef) (existed bool, err error) {
	existed, err = tx.change(ctx, `DELETE FROM identity_member
		WHERE account = $1 AND kind = $2 AND name = $3 AND member_kind = $4 AND member = $5`,
		r.Account, string(r.Kind), r.Name, string(member.Kind), member.Name)
	if err != nil {
		return false, fmt.Errorf("remove %s from %s: %w", member, r, err)
	}
	return existed, nil
}

// Members returns the names of the members of a kind, in order.
func (tx *Tx) Members(ctx context.Context, r IdentityRef, kind IdentityKind) ([]string, error) {
	names, err := tx.texts(ctx, `SELECT member FROM identity_member
		WHERE account = $1 AND kind = $2 AND name = $3 AND member_kind = $4 ORDER BY member`,
		r.Account, string(r.Kind), r.Name, string(kind))
	if err != nil {
		return nil, fmt.Errorf("members of %s: %w", r, err)
	}
	return names, nil
}

// MemberOf returns the names of those of a kind that have the member, in order.
func (tx *Tx) MemberOf(ctx context.Context, member IdentityRef, kind IdentityKind) ([]string, error) {
	names, err := tx.texts(ctx, `SELECT name FROM identity_member
		WHERE account = $1 AND member_kind = $2 AND member = $3 AND kind = $4 ORDER BY name`,
		member.Account, string(member.Kind), member.Name, string(kind))
	if err != nil {
		return nil, fmt.Errorf("%ss of %s: %w", kind, member, err)
	}
	return names, nil
}
