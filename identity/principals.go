package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
)

// Document is a policy that bounds what a caller may do.
type Document struct {
	Name string // of the policy
	ARN  string // of a managed policy, "" for an inline one
	Via  string // the group that a user has it from, else ""
	Text string // JSON
}

// Rights are all that the database and the session say about what a caller may
// do. They are shared by all who ask: not to be changed. Nil lists are empty.
type Rights struct {
	// Policies are the identity policies: inline and attached, a user's groups'
	// included. The root has none, and may all.
	Policies []Document
	// Boundary is the permissions boundary, nil without one.
	Boundary *Document
	// Session are the session policies. Without one of them, while
	// [Session.Bounded], nothing is allowed.
	Session []Document
	// Tags are aws:PrincipalTag: of the user or the role, and over those the
	// session's.
	Tags map[string]string
	// OrganizationID and OrganizationPath are aws:PrincipalOrgID and the one element
	// of aws:PrincipalOrgPaths, "" for an account that is in no organization.
	OrganizationID   string
	OrganizationPath string // o-…/r-…/

	lazy compiledRights
}

// Principals tells what callers may do, and which roles there are, from memory
// for a few seconds.
type Principals struct {
	store *store.Store
	now   func() time.Time

	mu        sync.RWMutex
	forgotten uint64 // how often Forget was called
	known     map[principalKey]*principal
}

// principalKey is whose rights are kept. A session has some of its own only when
// it has policies or tags.
type principalKey struct {
	ref     store.IdentityRef // the zero Kind is the account's root
	id      string
	session *Session
}

type principal struct {
	rights   Rights
	identity store.Identity // without a kind for the root
	until    time.Time
	commits  uint64 // of the store, when this was read
}

const knownPrincipals = 4096

// NewPrincipals returns the principals of a database.
func NewPrincipals(st *store.Store, now func() time.Time) *Principals {
	return &Principals{store: st, now: now, known: map[principalKey]*principal{}}
}

// Forget drops all that is remembered, so that a change counts at once.
func (p *Principals) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgotten++
	clear(p.known)
}

// Rights returns what bounds a caller. When the user or the role is gone, or
// another has its name now, that is lamina.ErrNotFound.
func (p *Principals) Rights(ctx context.Context, c Caller) (*Rights, error) {
	key := principalKey{ref: store.IdentityRef{Account: c.Account, Name: c.Name}}
	switch c.Kind {
	case KindUser:
		key.ref.Kind, key.id = store.KindUser, c.UserID
	case KindAssumedRole:
		key.ref.Kind, key.id = store.KindRole, c.Session.RoleID
	case KindRoot:
	default:
		return nil, fmt.Errorf("rights of %q: %w", c.ARN, lamina.ErrNotFound)
	}
	if s := c.Session; s != nil && (s.Bounded() || len(s.Tags) > 0) {
		key.session = s
	}
	found, err := p.find(ctx, key)
	if err != nil {
		return nil, err
	}
	return &found.rights, nil
}

// Role returns a role by its ARN, from memory, or lamina.ErrNotFound. It is not
// to be changed.
func (p *Principals) Role(ctx context.Context, arn string) (store.Identity, error) {
	account, name, ok := parseRoleARN(arn)
	if !ok {
		return store.Identity{}, fmt.Errorf("role %s: %w", printable(arn), lamina.ErrNotFound)
	}
	found, err := p.find(ctx, principalKey{ref: store.IdentityRef{Account: account, Kind: store.KindRole, Name: name}})
	if err != nil {
		return store.Identity{}, err
	}
	if identityARN(found.identity) != arn {
		return store.Identity{}, fmt.Errorf("role %s: %w", printable(arn), lamina.ErrNotFound)
	}
	return found.identity, nil
}

// parseRoleARN takes arn:aws:iam::123456789012:role/path/name apart.
func parseRoleARN(arn string) (account, name string, ok bool) {
	rest, ok := strings.CutPrefix(arn, "arn:"+lamina.Partition+":iam::")
	if !ok {
		return "", "", false
	}
	account, rest, _ = strings.Cut(rest, ":")
	path, ok := strings.CutPrefix(rest, "role/")
	name = path[strings.LastIndexByte(path, '/')+1:]
	return account, name, ok && accountForm.MatchString(account) && nameForm.MatchString(name)
}

// exists returns lamina.ErrNotFound when the user or the role of a session is
// gone.
func (p *Principals) exists(ctx context.Context, k Key) error {
	key := principalKey{ref: store.IdentityRef{Account: k.Account}}
	switch {
	case k.Session.RoleARN != "":
		key.ref.Kind, key.ref.Name, key.id = store.KindRole, k.Session.Role, k.Session.RoleID
	case k.User != "":
		key.ref.Kind, key.ref.Name, key.id = store.KindUser, k.User, k.UserID
	}
	_, err := p.find(ctx, key)
	return err
}

// find returns a principal from memory, or else from the database.
func (p *Principals) find(ctx context.Context, key principalKey) (*principal, error) {
	now := p.now()
	commits, alone := p.store.Commits()
	p.mu.RLock()
	hit, forgotten := p.known[key], p.forgotten
	p.mu.RUnlock()
	if hit != nil && (now.Before(hit.until) || alone && hit.commits == commits) {
		return hit, nil
	}
	fresh := &principal{until: now.Add(keyLife), commits: commits}
	err := p.store.View(ctx, func(tx *store.Tx) error { return fresh.read(ctx, tx, key) })
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if forgotten == p.forgotten { // else what was read may be old already
		room(p.known, knownPrincipals)
		p.known[key] = fresh
	}
	return fresh, nil
}

func (p *principal) read(ctx context.Context, tx *store.Tx, key principalKey) error {
	account, err := tx.Account(ctx, key.ref.Account)
	if err != nil {
		return err
	}
	r := &p.rights
	if account.Organization != "" {
		o, err := tx.Organization(ctx, account.Organization)
		if err != nil {
			return err
		}
		r.OrganizationID, r.OrganizationPath = o.ID, o.ID+"/"+o.Root+"/"
	}
	p.identity.IdentityRef = key.ref
	if key.ref.Kind != "" {
		if err := p.readIdentity(ctx, tx, key); err != nil {
			return err
		}
	}
	if s := key.session; s != nil {
		if s.Policy != "" {
			r.Session = append(r.Session, Document{Text: s.Policy})
		}
		for _, arn := range s.PolicyARNs {
			if err := appendManaged(ctx, tx, key.ref.Account, arn, "", &r.Session); err != nil {
				return err
			}
		}
		if r.Tags, err = merge(r.Tags, nil); err != nil { // a copy
			return err
		}
		for k, v := range s.Tags {
			overrideTag(r.Tags, k, v)
		}
	}
	return nil
}

// overrideTag sets a tag; keys that differ in case only are one.
func overrideTag(tags map[string]string, key, value string) {
	for k := range tags {
		if strings.EqualFold(k, key) {
			delete(tags, k)
		}
	}
	tags[key] = value
}

func (p *principal) readIdentity(ctx context.Context, tx *store.Tx, key principalKey) error {
	var err error
	if p.identity, err = tx.Identity(ctx, key.ref); err != nil {
		return err
	}
	if key.id != "" && p.identity.ID != key.id {
		return fmt.Errorf("%s with ID %s: %w", key.ref, key.id, lamina.ErrNotFound)
	}
	r := &p.rights
	r.Tags = p.identity.Tags
	if err := appendPolicies(ctx, tx, key.ref, "", &r.Policies); err != nil {
		return err
	}
	if key.ref.Kind == store.KindUser {
		groups, err := tx.MemberOf(ctx, key.ref, store.KindGroup)
		if err != nil {
			return err
		}
		for _, g := range groups {
			if err := appendPolicies(ctx, tx, store.IdentityRef{Account: key.ref.Account, Kind: store.KindGroup, Name: g}, g, &r.Policies); err != nil {
				return err
			}
		}
	}
	if p.identity.Boundary == "" {
		return nil
	}
	var boundary []Document
	if err := appendManaged(ctx, tx, key.ref.Account, p.identity.Boundary, "", &boundary); err != nil {
		return err
	}
	// A boundary that can't be found allows nothing.
	boundary = append(boundary, Document{ARN: p.identity.Boundary, Text: `{"Version":"2012-10-17","Statement":[]}`})
	r.Boundary = &boundary[0]
	return nil
}

// appendPolicies adds the inline and the attached policies of an identity.
func appendPolicies(ctx context.Context, tx *store.Tx, ref store.IdentityRef, via string, to *[]Document) error {
	inline, err := tx.InlinePolicies(ctx, ref)
	if err != nil {
		return err
	}
	for _, p := range inline {
		*to = append(*to, Document{Name: p.Name, Via: via, Text: p.Document})
	}
	attached, err := tx.AttachedPolicies(ctx, ref)
	if err != nil {
		return err
	}
	for _, arn := range attached {
		if err := appendManaged(ctx, tx, ref.Account, arn, via, to); err != nil {
			return err
		}
	}
	return nil
}

// appendManaged adds the default version of a managed policy. One that does not
// exist adds nothing.
func appendManaged(ctx context.Context, tx *store.Tx, account, arn, via string, to *[]Document) error {
	p, err := findPolicy(ctx, tx, account, arn)
	_, refused := errors.AsType[*queryError](err)
	switch {
	case missing(err), refused:
		return nil
	case err != nil:
		return err
	}
	*to = append(*to, Document{Name: p.name, ARN: p.arn, Via: via, Text: p.document})
	return nil
}
