package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity/policy"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// Need is one permission that a request takes.
type Need struct {
	Action   string // lambda:GetFunction
	Resource string // its ARN, or * for actions that are on none in particular
	Account  string // that owns it
	Policy   string // ARN of the function or layer version whose policy has a say; empty for none
	Tagged   string // ARN that has the resource's tags; empty for none. Those of other accounts are not looked at
	Context  policy.Context
}

// Set gives a condition key its values.
func (n *Need) Set(key string, values ...string) {
	if n.Context == nil {
		n.Context = policy.Context{}
	}
	n.Context.Set(key, values...)
}

// Authority decides what callers may do, by the policies that are stored.
type Authority struct {
	principals *Principals
	store      *store.Store
	log        *slog.Logger
	now        func() time.Time
	resources  recentPolicies
}

// NewAuthority returns the authority over a database.
func NewAuthority(st *store.Store, principals *Principals, log *slog.Logger, now func() time.Time) *Authority {
	return &Authority{principals: principals, store: st, log: log, now: now}
}

// Permit answers AWS's AccessDeniedException when the caller may not do it.
func (a *Authority) Permit(ctx context.Context, c Caller, n Need) error {
	d, err := a.Decide(ctx, c, n)
	if err != nil {
		return err
	}
	if !d.Allowed {
		return wire.AccessDenied.New(d.Message())
	}
	return nil
}

// Decide tells whether the caller may do it, and why not.
func (a *Authority) Decide(ctx context.Context, c Caller, n Need) (policy.Decision, error) {
	return a.decide(ctx, c, n, nil)
}

// DecideOn is Decide for a resource whose policy is at hand, nil when it has none.
// The zero caller is who did not sign.
func (a *Authority) DecideOn(ctx context.Context, c Caller, n Need, resource *policy.Document) (policy.Decision, error) {
	if c.Kind == "" {
		r := policy.Request{Action: n.Action, Resource: n.Resource, ResourceAccount: n.Account, Time: a.now(), Context: contextOf(c, n)}
		return policy.Evaluate(&r, &policy.Policies{Resource: resource}), nil
	}
	return a.decide(ctx, c, n, resource)
}

// Mention reports whether a policy of the caller's asks for a condition key that
// begins with a prefix.
func (a *Authority) Mention(ctx context.Context, c Caller, prefix string) (bool, error) {
	if c.Kind == "" || c.IsRoot() {
		return false, nil
	}
	rights, err := a.principals.Rights(ctx, c)
	if missing(err) {
		return false, nil // may do nothing
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", prefix, err)
	}
	have, err := rights.compiled()
	if err != nil {
		return false, nil //nolint:nilerr // who has such a policy may do nothing
	}
	asks := func(d *policy.Document) bool { return d.Mentions(prefix) }
	return slices.ContainsFunc(have.Identity, asks) || slices.ContainsFunc(have.Session, asks) || have.Boundary != nil && asks(have.Boundary), nil
}

// Assumable tells whether the caller may do it to a role that has this trust policy.
func (a *Authority) Assumable(ctx context.Context, c Caller, n Need, trust string) (policy.Decision, error) {
	document, err := policy.Parse(trust, policy.Rules{Kind: policy.Trust})
	if err != nil {
		return policy.Decision{}, fmt.Errorf("read the trust policy of %s: %w", n.Resource, err)
	}
	return a.decide(ctx, c, n, document)
}

func (a *Authority) decide(ctx context.Context, c Caller, n Need, resource *policy.Document) (policy.Decision, error) {
	rights, err := a.principals.Rights(ctx, c)
	if missing(err) {
		return policy.Decision{}, wire.UnrecognizedClient.New("The security token included in the request is invalid.")
	}
	if err != nil {
		return policy.Decision{}, fmt.Errorf("decide on %s: %w", n.Action, err)
	}
	have, err := rights.compiled()
	if err != nil {
		// Half of somebody's policies could allow what the other half denies.
		a.log.LogAttrs(ctx, slog.LevelError, "policy not understood", slog.String("principal", c.ARN), slog.Any("err", err))
		have = nobody
	}
	if n.Tagged != "" && n.Account == c.Account && rights.lazy.tags {
		if err := a.addTags(ctx, &n); err != nil {
			return policy.Decision{}, err
		}
	}
	r := policy.Request{
		Principal: principalOf(c, rights), Action: n.Action, Resource: n.Resource, ResourceAccount: n.Account, Time: a.now(), Context: contextOf(c, n),
	}
	p := *have
	p.Resource = resource
	d := policy.Evaluate(&r, &p)
	if d.Allowed || d.Explicit || n.Policy == "" {
		return d, nil
	}
	// Policies of functions and layers only ever allow, so they are read when that
	// is still open.
	if p.Resource, err = a.resourcePolicy(ctx, n.Policy); err != nil {
		return policy.Decision{}, fmt.Errorf("decide on %s: %w", n.Action, err)
	}
	if p.Resource == nil {
		return d, nil
	}
	return policy.Evaluate(&r, &p), nil
}

// resourcePolicy returns the policy of a function or a layer version, nil when
// there is none.
func (a *Authority) resourcePolicy(ctx context.Context, arn string) (*policy.Document, error) {
	commits, alone := a.store.Commits()
	if alone {
		if d, ok := a.resources.find(commits, arn); ok {
			return d, nil
		}
	}
	var d *policy.Document
	err := a.store.View(ctx, func(tx *store.Tx) error {
		stored, err := tx.Policy(ctx, arn)
		if err == nil {
			d = policy.FromPolicy(stored)
		}
		return err
	})
	if err != nil && !missing(err) {
		return nil, err
	}
	if alone {
		a.resources.keep(commits, arn, d)
	}
	return d, nil
}

// knownPolicies bounds how many policies of resources are remembered.
const knownPolicies = 4096

// recentPolicies remembers policies of resources since the store last changed, so
// that an invocation from another account needs no database.
type recentPolicies struct {
	mu      sync.RWMutex
	commits uint64
	known   map[string]*policy.Document
}

func (r *recentPolicies) find(commits uint64, arn string) (*policy.Document, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.commits != commits {
		return nil, false
	}
	d, ok := r.known[arn]
	return d, ok
}

// keep remembers d, which was read when the store had seen that many commits.
func (r *recentPolicies) keep(commits uint64, arn string, d *policy.Document) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if commits < r.commits {
		return // read before a change that somebody else already saw
	}
	if r.known == nil || commits > r.commits || len(r.known) >= knownPolicies {
		r.known, r.commits = map[string]*policy.Document{}, commits
	}
	r.known[strings.Clone(arn)] = d
}

// resourceTag begins the condition keys about the tags that a resource has.
const resourceTag = "aws:ResourceTag/"

// addTags reads the tags of what a request is about.
func (a *Authority) addTags(ctx context.Context, n *Need) error {
	return a.store.View(ctx, func(tx *store.Tx) error {
		tags, err := tx.Tags(ctx, n.Tagged)
		if err != nil {
			return fmt.Errorf("decide on %s: %w", n.Action, err)
		}
		n.Context = maps.Clone(n.Context)                    // the caller's
		for _, key := range slices.Sorted(maps.Keys(tags)) { // of keys that differ in case only, the lower case counts
			n.Set(resourceTag+key, tags[key])
		}
		return nil
	})
}

// nobody is the policies of who may do nothing at all.
var nobody = &policy.Policies{Session: []*policy.Document{policy.FromPolicy(lamina.Policy{Statements: []lamina.Statement{
	{Effect: "Deny", Principal: lamina.Principal{Value: "*"}, Action: "*", Resource: "*"},
}})}}

// compiledRights are a principal's documents, once they were needed.
type compiledRights struct {
	once     sync.Once
	policies policy.Policies
	tags     bool // some policy asks for tags of resources
	err      error
}

// compiled returns the documents without those of resources. They are shared.
func (r *Rights) compiled() (*policy.Policies, error) {
	r.lazy.once.Do(func() {
		read := func(d Document) *policy.Document {
			got, err := policy.Parse(d.Text, policy.Rules{Kind: policy.Identity})
			r.lazy.err = errors.Join(r.lazy.err, err)
			r.lazy.tags = r.lazy.tags || err == nil && got.Mentions(resourceTag)
			return got
		}
		p := &r.lazy.policies
		for _, d := range r.Policies {
			p.Identity = append(p.Identity, read(d))
		}
		for _, d := range r.Session {
			p.Session = append(p.Session, read(d))
		}
		if r.Boundary != nil {
			p.Boundary = read(*r.Boundary)
		}
	})
	return &r.lazy.policies, r.lazy.err
}

// principalOf is the caller as policies see it.
func principalOf(c Caller, r *Rights) policy.Principal {
	p := policy.Principal{Account: c.Account, ARN: c.ARN, UserID: c.UserID, Tags: r.Tags, OrgID: r.OrganizationID}
	if c.Service == s3Service {
		p.CanonicalUser = CanonicalUser(c.Account)
	}
	if r.OrganizationPath != "" {
		p.OrgPaths = []string{r.OrganizationPath}
	}
	switch c.Kind {
	case KindUser:
		p.Kind, p.UserName = policy.User, c.Name
	case KindAssumedRole:
		p.Kind, p.Issuer = policy.RoleSession, c.Session.RoleARN
	default:
		p.Kind = policy.Root
	}
	return p
}

// contextOf adds the condition keys of every request. Every invocation comes
// through here, so the keys are in lower case already and share their values.
func contextOf(c Caller, n Need) policy.Context {
	all := make(policy.Context, len(n.Context)+10)
	maps.Copy(all, n.Context)
	text := make([]string, 0, 8)
	set := func(key, value string) {
		text = append(text, value)
		all[key] = text[len(text)-1 : len(text) : len(text)]
	}
	all["aws:securetransport"], all["aws:viaawsservice"] = no, no
	if c.Secure {
		all["aws:securetransport"] = yes
	}
	if c.Inside {
		all["aws:viaawsservice"] = yes
	}
	set("aws:requestedregion", c.Region)
	if c.Source != "" {
		set("aws:sourceip", c.Source)
	}
	if c.Agent != "" {
		set("aws:useragent", c.Agent)
	}
	if s := c.Session; s != nil {
		set("aws:tokenissuetime", s.Issued.UTC().Format(time.RFC3339))
		all["aws:multifactorauthpresent"] = no
		if s.SourceIdentity != "" {
			set("aws:sourceidentity", s.SourceIdentity)
		}
	}
	return all
}

// yes and no are values of condition keys. Nobody changes them.
var yes, no = []string{"true"}, []string{"false"}
