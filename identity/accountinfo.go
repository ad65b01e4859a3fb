package identity

import (
	"context"
	"encoding/xml"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
)

// noLoginProfile: nobody has a password.
func (s *iam) noLoginProfile(ctx context.Context, c Caller, in form) (any, error) {
	return nil, s.view(ctx, c, in, users, func(_ *store.Tx, u store.Identity) error {
		return noEntity("Login Profile for User %s cannot be found.", u.Name)
	})
}

// emptyXML is an answer with one empty list.
type emptyXML struct {
	page
	List emptyList
}

type emptyList struct{ XMLName xml.Name }

// none lists what no user has, since Lamina has none of it.
func (s *iam) none(list string) action {
	return func(ctx context.Context, c Caller, in form) (any, error) {
		out := emptyXML{List: emptyList{xml.Name{Local: list}}}
		if in.given("UserName") == nil && c.Kind != KindUser {
			return out, nil
		}
		return out, s.view(ctx, c, in, users, func(*store.Tx, store.Identity) error { return nil })
	}
}

func (s *iam) noVirtualDevices(context.Context, Caller, form) (any, error) {
	return emptyXML{List: emptyList{xml.Name{Local: "VirtualMFADevices"}}}, nil
}

var aliasForm = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9]|-[a-z0-9])*$`)

// alias returns the parameter AccountAlias.
func (f form) alias() (string, error) {
	v := f.get("AccountAlias")
	if len(v) < 3 || len(v) > 63 || !aliasForm.MatchString(v) {
		return "", invalid("1 validation error detected: Value '%s' at 'accountAlias' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$", printable(v))
	}
	return v, nil
}

func (s *iam) listAccountAliases(ctx context.Context, c Caller, _ form) (result any, err error) {
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		a, err := tx.Account(ctx, c.Account)
		var list namesXML
		if a.Alias != "" {
			list.Member = []string{a.Alias}
		}
		result = struct {
			page
			AccountAliases namesXML
		}{AccountAliases: list}
		return err
	})
	return result, err
}

// createAccountAlias replaces the alias that the account has: it has one at most.
func (s *iam) createAccountAlias(ctx context.Context, c Caller, in form) (any, error) {
	alias, err := in.alias()
	if err != nil {
		return nil, err
	}
	err = s.update(ctx, func(tx *store.Tx) error { return tx.SetAccountAlias(ctx, c.Account, alias) })
	if errors.Is(err, lamina.ErrExists) {
		return nil, refuse(http.StatusConflict, "EntityAlreadyExists", "The account alias %s already exists.", alias)
	}
	return nil, err
}

func (s *iam) deleteAccountAlias(ctx context.Context, c Caller, in form) (any, error) {
	alias, err := in.alias()
	if err != nil {
		return nil, err
	}
	return nil, s.update(ctx, func(tx *store.Tx) error {
		a, err := tx.LockAccount(ctx, c.Account)
		if err != nil {
			return err
		}
		if a.Alias != alias {
			return noEntity("The account alias %s cannot be found.", alias)
		}
		return tx.SetAccountAlias(ctx, c.Account, "")
	})
}

func (s *iam) getAccountSummary(ctx context.Context, c Caller, _ form) (any, error) {
	type entry struct {
		Key   string `xml:"key"`
		Value int64  `xml:"value"`
	}
	var out struct {
		SummaryMap struct {
			Entry []entry `xml:"entry"`
		}
	}
	add := func(key string, value int64) {
		out.SummaryMap.Entry = append(out.SummaryMap.Entry, entry{key, value})
	}
	err := s.Store.View(ctx, func(tx *store.Tx) error {
		for _, k := range []*kind{users, groups, roles, instanceProfiles} {
			n, err := tx.CountIdentities(ctx, c.Account, k.of)
			if err != nil {
				return err
			}
			add(k.title+"s", n)
			add(k.title+"sQuota", int64(k.account))
		}
		own, err := allPolicies(ctx, tx, c.Account)
		if err != nil {
			return err
		}
		var versions int64
		for _, p := range own {
			all, err := tx.PolicyDocumentVersions(ctx, c.Account, p.Name)
			if err != nil {
				return err
			}
			versions += int64(len(all))
		}
		add("Policies", int64(len(own)))
		add("PolicyVersionsInUse", versions)
		keys, err := tx.AccessKeys(ctx, c.Account, "")
		if err != nil {
			return err
		}
		add("AccountAccessKeysPresent", min(1, int64(len(keys))))
		return nil
	})
	if err != nil {
		return nil, err
	}
	add("PoliciesQuota", maxPolicies)
	add("PolicySizeQuota", maxPolicyDocument)
	add("PolicyVersionsInUseQuota", 10000)
	add("VersionsPerPolicyQuota", maxPolicyVersions)
	add("AccessKeysPerUserQuota", maxAccessKeys)
	add("GroupsPerUserQuota", maxGroupsPerUser)
	add("AttachedPoliciesPerUserQuota", int64(users.attached))
	add("AttachedPoliciesPerGroupQuota", int64(groups.attached))
	add("AttachedPoliciesPerRoleQuota", int64(roles.attached))
	add("UserPolicySizeQuota", int64(users.inline))
	add("GroupPolicySizeQuota", int64(groups.inline))
	add("RolePolicySizeQuota", int64(roles.inline))
	add("AssumeRolePolicySizeQuota", maxTrustPolicy)
	for _, absent := range []string{
		"AccountMFAEnabled", "AccountPasswordPresent", "AccountSigningCertificatesPresent", "MFADevices", "MFADevicesInUse", "Providers", "ServerCertificates",
	} {
		add(absent, 0)
	}
	return out, nil
}

// allPolicies reads all of an account's own policies.
func allPolicies(ctx context.Context, tx *store.Tx, account string) ([]store.PolicyDocument, error) {
	var all []store.PolicyDocument
	for after := ""; ; {
		own, err := tx.PolicyDocuments(ctx, account, after, storePage)
		if err != nil {
			return nil, err
		}
		all = append(all, own...)
		if len(own) < storePage {
			return all, nil
		}
		after = own[len(own)-1].Name
	}
}

type inlineXML struct {
	PolicyName     string
	PolicyDocument string
}

type inlineListXML struct {
	Member []inlineXML `xml:"member"`
}

// detailXML is one user, group, role or policy of GetAccountAuthorizationDetails.
type detailXML struct {
	identityXML
	UserPolicyList          *inlineListXML   `xml:",omitempty"`
	GroupPolicyList         *inlineListXML   `xml:",omitempty"`
	RolePolicyList          *inlineListXML   `xml:",omitempty"`
	GroupList               *namesXML        `xml:",omitempty"`
	InstanceProfileList     *identitiesXML   `xml:",omitempty"`
	AttachedManagedPolicies *attachedListXML `xml:",omitempty"`
}

type policyDetailXML struct {
	policyXML
	PolicyVersionList struct {
		Member []policyVersionXML `xml:"member"`
	}
}

// authorization is an item of GetAccountAuthorizationDetails before it is shown.
type authorizationItem struct {
	key      string // sorts, and marks where a page ends
	identity *store.Identity
	policy   *anyPolicy
}

func (s *iam) getAccountAuthorizationDetails(ctx context.Context, c Caller, in form) (result any, err error) {
	filter := in.list("Filter")
	wants := func(name string) bool { return len(filter) == 0 || slices.Contains(filter, name) }
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		items, err := authorizationItems(ctx, tx, c.Account, wants)
		if err != nil {
			return err
		}
		items, p, err := paginate(in, items, func(i authorizationItem) string { return i.key })
		if err != nil {
			return err
		}
		var out struct {
			page
			UserDetailList struct {
				Member []detailXML `xml:"member"`
			}
			GroupDetailList struct {
				Member []detailXML `xml:"member"`
			}
			RoleDetailList struct {
				Member []detailXML `xml:"member"`
			}
			Policies struct {
				Member []policyDetailXML `xml:"member"`
			}
		}
		out.page = p
		for _, item := range items {
			if item.policy != nil {
				d, err := policyDetail(ctx, tx, c.Account, *item.policy)
				if err != nil {
					return err
				}
				out.Policies.Member = append(out.Policies.Member, d)
				continue
			}
			d, err := identityDetail(ctx, tx, *item.identity)
			if err != nil {
				return err
			}
			switch item.identity.Kind {
			case store.KindUser:
				out.UserDetailList.Member = append(out.UserDetailList.Member, d)
			case store.KindGroup:
				out.GroupDetailList.Member = append(out.GroupDetailList.Member, d)
			case store.KindRole:
				out.RoleDetailList.Member = append(out.RoleDetailList.Member, d)
			}
		}
		result = out
		return nil
	})
	return result, err
}

func authorizationItems(ctx context.Context, tx *store.Tx, account string, wants func(string) bool) (items []authorizationItem, err error) {
	for _, k := range []*kind{users, groups, roles} {
		for after, more := "", wants(k.title); more; {
			all, err := tx.Identities(ctx, account, k.of, "", after, storePage)
			if err != nil {
				return nil, err
			}
			for _, i := range all {
				items = append(items, authorizationItem{key: string(i.Kind) + "/" + i.Name, identity: &i})
				after = i.Name
			}
			more = len(all) == storePage
		}
	}
	attached, bounding, err := tx.PolicyUses(ctx, account)
	if err != nil {
		return nil, err
	}
	add := func(p anyPolicy) {
		p.attached, p.bounding = attached[p.arn], bounding[p.arn]
		items = append(items, authorizationItem{key: "z/" + p.arn, policy: &p})
	}
	if wants("LocalManagedPolicy") {
		own, err := allPolicies(ctx, tx, account)
		if err != nil {
			return nil, err
		}
		for _, p := range own {
			add(ownPolicy(p))
		}
	}
	if wants("AWSManagedPolicy") {
		for _, p := range managedPolicies {
			if attached[p.ARN()]+bounding[p.ARN()] > 0 { // AWS shows those in use
				add(awsPolicy(p))
			}
		}
	}
	slices.SortFunc(items, func(a, b authorizationItem) int { return strings.Compare(a.key, b.key) })
	return items, nil
}

func policyDetail(ctx context.Context, tx *store.Tx, account string, p anyPolicy) (policyDetailXML, error) {
	d := policyDetailXML{policyXML: p.show()}
	d.Description = p.description
	versions, err := p.versions(ctx, tx, account)
	for _, v := range versions {
		x := p.showVersion(v)
		x.Document = escaped(v.Document)
		d.PolicyVersionList.Member = append(d.PolicyVersionList.Member, x)
	}
	return d, err
}

func identityDetail(ctx context.Context, tx *store.Tx, i store.Identity) (detailXML, error) {
	d := detailXML{identityXML: showIdentity(i)}
	d.Description, d.MaxSessionDuration, d.Tags = "", 0, tagList(i.Tags)
	inline, err := tx.InlinePolicies(ctx, i.IdentityRef)
	if err != nil {
		return d, err
	}
	list := &inlineListXML{}
	for _, p := range inline {
		list.Member = append(list.Member, inlineXML{p.Name, escaped(p.Document)})
	}
	attached, err := tx.AttachedPolicies(ctx, i.IdentityRef)
	if err != nil {
		return d, err
	}
	all := showAttached(attached)
	d.AttachedManagedPolicies = &all
	switch i.Kind {
	case store.KindUser:
		d.UserPolicyList = list
		of, err := tx.MemberOf(ctx, i.IdentityRef, store.KindGroup)
		d.GroupList = &namesXML{of}
		return d, err
	case store.KindGroup:
		d.GroupPolicyList = list
		return d, nil
	}
	d.RolePolicyList, d.RoleLastUsed = list, &struct{}{}
	names, err := tx.MemberOf(ctx, i.IdentityRef, store.KindInstanceProfile)
	if err != nil {
		return d, err
	}
	profiles, err := readAll(ctx, tx, i.Account, store.KindInstanceProfile, names)
	if err != nil {
		return d, err
	}
	members, err := showProfiles(ctx, tx, profiles)
	d.InstanceProfileList = &identitiesXML{members}
	return d, err
}
