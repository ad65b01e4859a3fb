package identity

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity/policy"
	"github.com/lamina-run/lamina/store"
)

// Options are what the services of this package share.
type Options struct {
	Store      *store.Store
	Log        *slog.Logger
	Now        func() time.Time
	Keys       *KeyCache   // told of changes; nil for none
	Principals *Principals // told of changes; nil for none
	Sessions   *Sessions   // of STS
	// Trusts reports whether a role's trust policy, and what else has to, lets
	// somebody assume it. Nil is root and users of the role's own account.
	Trusts func(ctx context.Context, a Assumption) (bool, error)
	// Authority decides who may use IAM and Organizations; nil lets everybody do all
	// in their own account.
	Authority *Authority
}

// changed makes what was written count at once.
func (o *Options) changed() {
	if o.Keys != nil {
		o.Keys.Forget()
	}
	if o.Principals != nil {
		o.Principals.Forget()
	}
}

// update is store.Update for what callers' rights depend on.
func (o *Options) update(ctx context.Context, fn func(*store.Tx) error) error {
	defer o.changed() // also when nobody knows whether it was committed
	return o.Store.Update(ctx, fn)
}

// iam is Identity and Access Management: users, groups, roles and instance
// profiles, their policies and access keys.
type iam struct{ Options }

// NewIAM returns Identity and Access Management. Its requests are authenticated
// and carry their caller.
func NewIAM(o Options) http.Handler {
	s := &iam{o}
	actions := map[string]action{
		"CreateUser": s.createUser, "UpdateUser": s.updateUser, "DeleteUser": s.deleteUser,
		"CreateAccessKey": s.createAccessKey, "ListAccessKeys": s.listAccessKeys, "UpdateAccessKey": s.updateAccessKey,
		"DeleteAccessKey": s.deleteAccessKey, "GetAccessKeyLastUsed": s.getAccessKeyLastUsed,

		"CreateGroup": s.createGroup, "GetGroup": s.getGroup, "UpdateGroup": s.updateGroup, "DeleteGroup": s.deleteGroup,
		"AddUserToGroup": s.addUserToGroup, "RemoveUserFromGroup": s.removeUserFromGroup, "ListGroupsForUser": s.listGroupsForUser,

		"CreateRole": s.createRole, "UpdateRole": s.updateRole, "UpdateRoleDescription": s.updateRoleDescription,
		"UpdateAssumeRolePolicy": s.updateAssumeRolePolicy, "DeleteRole": s.deleteRole,
		"CreateServiceLinkedRole": s.createServiceLinkedRole, "DeleteServiceLinkedRole": s.deleteServiceLinkedRole,
		"GetServiceLinkedRoleDeletionStatus": s.getServiceLinkedRoleDeletionStatus,

		"CreateInstanceProfile": s.createInstanceProfile, "DeleteInstanceProfile": s.deleteInstanceProfile,
		"AddRoleToInstanceProfile": s.addRoleToInstanceProfile, "RemoveRoleFromInstanceProfile": s.removeRoleFromInstanceProfile,
		"ListInstanceProfilesForRole": s.listInstanceProfilesForRole,

		"CreatePolicy": s.createPolicy, "GetPolicy": s.getPolicy, "ListPolicies": s.listPolicies, "DeletePolicy": s.deletePolicy,
		"CreatePolicyVersion": s.createPolicyVersion, "GetPolicyVersion": s.getPolicyVersion, "ListPolicyVersions": s.listPolicyVersions,
		"SetDefaultPolicyVersion": s.setDefaultPolicyVersion, "DeletePolicyVersion": s.deletePolicyVersion,
		"TagPolicy": s.tagPolicy, "UntagPolicy": s.untagPolicy, "ListPolicyTags": s.listPolicyTags,
		"ListEntitiesForPolicy": s.listEntitiesForPolicy,

		"GetAccountSummary": s.getAccountSummary, "GetAccountAuthorizationDetails": s.getAccountAuthorizationDetails,
		"ListAccountAliases": s.listAccountAliases, "CreateAccountAlias": s.createAccountAlias, "DeleteAccountAlias": s.deleteAccountAlias,

		"GetLoginProfile": s.noLoginProfile, "DeleteLoginProfile": s.noLoginProfile,
		"ListMFADevices": s.none("MFADevices"), "ListSSHPublicKeys": s.none("SSHPublicKeys"),
		"ListServiceSpecificCredentials": s.none("ServiceSpecificCredentials"), "ListSigningCertificates": s.none("Certificates"),
		"ListVirtualMFADevices": s.noVirtualDevices,
	}
	for _, k := range []*kind{users, groups, roles, instanceProfiles} {
		actions["List"+k.title+"s"] = s.listIdentities(k)
		if k != groups {
			actions["Get"+k.title] = s.getIdentity(k)
			actions["Tag"+k.title], actions["Untag"+k.title], actions["List"+k.title+"Tags"] = s.tagIdentity(k), s.untagIdentity(k), s.listIdentityTags(k)
		}
		if k == instanceProfiles {
			continue
		}
		actions["Attach"+k.title+"Policy"], actions["Detach"+k.title+"Policy"] = s.attachPolicy(k), s.detachPolicy(k)
		actions["ListAttached"+k.title+"Policies"] = s.listAttachedPolicies(k)
		actions["Put"+k.title+"Policy"], actions["Get"+k.title+"Policy"] = s.putInlinePolicy(k), s.getInlinePolicy(k)
		actions["Delete"+k.title+"Policy"], actions["List"+k.title+"Policies"] = s.deleteInlinePolicy(k), s.listInlinePolicies(k)
		if k != groups {
			actions["Put"+k.title+"PermissionsBoundary"], actions["Delete"+k.title+"PermissionsBoundary"] = s.putBoundary(k), s.deleteBoundary(k)
		}
	}
	for name, do := range actions {
		actions[name] = lasting(do)
	}
	return &queryService{
		name: "iam", version: iamVersion, log: o.Log, actions: actions, permit: s.permit,
		later: set("SimulatePrincipalPolicy", "SimulateCustomPolicy", "GetContextKeysForPrincipalPolicy", "GetContextKeysForCustomPolicy",
			"CreateLoginProfile", "UpdateLoginProfile", "ChangePassword", "CreateVirtualMFADevice", "EnableMFADevice", "DeactivateMFADevice",
			"GetAccountPasswordPolicy", "UpdateAccountPasswordPolicy", "DeleteAccountPasswordPolicy", "GenerateCredentialReport", "GetCredentialReport",
			"CreateOpenIDConnectProvider", "GetOpenIDConnectProvider", "ListOpenIDConnectProviders", "DeleteOpenIDConnectProvider",
			"CreateSAMLProvider", "GetSAMLProvider", "ListSAMLProviders", "DeleteSAMLProvider", "UploadSSHPublicKey", "UploadServerCertificate",
			"ListServerCertificates", "UploadSigningCertificate", "CreateServiceSpecificCredential", "GenerateServiceLastAccessedDetails",
			"GetServiceLastAccessedDetails", "ListPoliciesGrantingServiceAccess"),
	}
}

// lasting refuses the sessions of GetSessionToken, which without a second factor
// are no credentials for IAM.
func lasting(do action) action {
	return func(ctx context.Context, c Caller, in form) (any, error) {
		if c.Session != nil && c.Kind != KindAssumedRole {
			return nil, refuse(http.StatusForbidden, "InvalidClientTokenId", invalidToken)
		}
		return do(ctx, c, in)
	}
}

func set(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

func invalid(format string, args ...any) error {
	return refuse(http.StatusBadRequest, "ValidationError", format, args...)
}

func noEntity(format string, args ...any) error {
	return refuse(http.StatusNotFound, "NoSuchEntity", format, args...)
}

func conflict(format string, args ...any) error {
	return refuse(http.StatusConflict, "DeleteConflict", format, args...)
}

func missing(err error) bool { return errors.Is(err, lamina.ErrNotFound) }

var (
	nameForm = regexp.MustCompile(`^[\w+=,.@-]+$`)
	pathForm = regexp.MustCompile("^(?:/|/[\x21-\x7e]+/)$")
	arnForm  = regexp.MustCompile(`^arn:aws[\w-]*:iam::(\d{12}|aws):policy/([\x21-\x7e]+)$`)
)

// name returns a parameter that names something, of at most most characters.
func (f form) name(param string, most int) (string, error) {
	v := f.get(param)
	member := strings.ToLower(param[:1]) + param[1:]
	switch {
	case v == "":
		return "", invalid("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", member)
	case len(v) > most:
		return "", invalid("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", printable(v), member, most)
	case !nameForm.MatchString(v):
		return "", invalid("The specified value for %s is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-", member)
	}
	return v, nil
}

// path returns the Path of a role or policy to be, / when there is none.
func (f form) path() (string, error) {
	v := f.given("Path")
	if v == nil {
		return "/", nil
	}
	return *v, checkPath(*v)
}

// text returns a free text, of at most most bytes.
func (f form) text(param string, most int) (string, error) {
	v := f.get(param)
	if len(v) > most {
		return "", invalid("1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", strings.ToLower(param[:1])+param[1:], most)
	}
	return v, nil
}

// document returns a policy document. A trust policy names principals, every
// other one must not.
func (f form) document(param string, trust bool) (string, error) {
	text := f.get(param)
	if text == "" {
		return "", invalid("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", strings.ToLower(param[:1])+param[1:])
	}
	if len(text) > policy.MaxText {
		return "", invalid("1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length less than or equal to 131072", strings.ToLower(param[:1])+param[1:])
	}
	rules := policy.Rules{Kind: policy.Identity}
	if trust {
		rules.Kind = policy.Trust
	}
	if _, err := policy.Parse(text, rules); err != nil {
		return "", refuse(http.StatusBadRequest, "MalformedPolicyDocument", "%s", err)
	}
	if size := documentSize(text); trust && size > maxTrustPolicy {
		return "", limit("ACLSizePerRole", maxTrustPolicy)
	}
	return text, nil
}

// documentSize is how much of a quota a policy takes: white space is free.
func documentSize(text string) (n int) {
	for _, r := range text {
		if r != ' ' && r != '\t' && r != '\n' && r != '\r' {
			n++
		}
	}
	return n
}

// limit is the refusal of what would exceed a quota.
func limit(quota string, most int) error {
	return refuse(http.StatusConflict, "LimitExceeded", "Cannot exceed quota for %s: %d", quota, most)
}

const maxTags = 50

// tags returns the tags of Tags.member.N.
func (f form) tags() (map[string]string, error) {
	tags := map[string]string{}
	for i := 1; ; i++ {
		at := "Tags.member." + strconv.Itoa(i)
		key := f.given(at + ".Key")
		if key == nil {
			return tags, nil
		}
		value := f.get(at + ".Value")
		switch twice := hasTag(tags, *key); {
		case *key == "" || len(*key) > 128 || len(value) > 256:
			return nil, invalid("1 validation error detected: Value at 'tags.%d.member' failed to satisfy constraint: a key has 1 to 128 characters, a value 0 to 256", i)
		case twice:
			return nil, refuse(http.StatusBadRequest, "InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		case i > maxTags:
			return nil, limit("TagsPerResource", maxTags)
		}
		tags[*key] = value
	}
}

// hasTag reports whether there is a tag of this key, whatever its case.
func hasTag(tags map[string]string, key string) bool {
	for k := range tags {
		if strings.EqualFold(k, key) {
			return true
		}
	}
	return false
}

// merge adds tags to those that a resource has. Keys that differ in case only are
// one.
func merge(have, more map[string]string) (map[string]string, error) {
	all := maps.Clone(have)
	if all == nil {
		all = map[string]string{}
	}
	for key, value := range more {
		overrideTag(all, key, value)
	}
	if len(all) > maxTags {
		return nil, limit("TagsPerResource", maxTags)
	}
	return all, nil
}

// newID returns an identifier as IAM's: AROA and ANPA are roles and policies.
func newID(prefix string) string {
	var b [11]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return prefix + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])[:17]
}

// escaped is a document as answers carry it.
func escaped(document string) string {
	return strings.ReplaceAll(url.QueryEscape(document), "+", "%20")
}

// The XML shapes that answers share.
type (
	tagXML struct {
		Key   string
		Value string
	}
	namesXML struct {
		Member []string `xml:"member"`
	}
	// page is what lists have besides their members.
	page struct {
		IsTruncated bool
		Marker      string `xml:",omitempty"`
	}
)

type tagsXML struct {
	Member []tagXML `xml:"member"`
}

// tagList is sorted, so that answers repeat. Without tags it is nil.
func tagList(tags map[string]string) *tagsXML {
	if len(tags) == 0 {
		return nil
	}
	l := &tagsXML{}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		l.Member = append(l.Member, tagXML{k, tags[k]})
	}
	return l
}

// page returns what MaxItems and Marker ask for: up to size items after a key.
func (f form) page() (after string, size int, err error) {
	size = 100
	if v := f.given("MaxItems"); v != nil {
		size, err = strconv.Atoi(*v)
		if err != nil || size < 1 || size > 1000 {
			return "", 0, invalid("1 validation error detected: Value '%s' at 'maxItems' failed to satisfy constraint: Member must have value between 1 and 1000", printable(*v))
		}
	}
	if v := f.given("Marker"); v != nil {
		key, err := base64.RawURLEncoding.DecodeString(*v)
		if err != nil {
			return "", 0, invalid("Invalid Marker.")
		}
		after = string(key)
	}
	return after, size, nil
}

// cutPage cuts items to size; the marker of what is left out is the last key.
func cutPage[T any](items []T, size int, key func(T) string) ([]T, page) {
	if len(items) <= size {
		return items, page{}
	}
	items = items[:size]
	return items, page{true, base64.RawURLEncoding.EncodeToString([]byte(key(items[size-1])))}
}

// paginate returns the page that a request asks for of items sorted by key.
func paginate[T any](in form, items []T, key func(T) string) ([]T, page, error) {
	after, size, err := in.page()
	if err != nil {
		return nil, page{}, err
	}
	at, found := slices.BinarySearchFunc(items, after, func(item T, k string) int { return strings.Compare(key(item), k) })
	if found {
		at++
	}
	items, p := cutPage(items[at:], size, key)
	return items, p, nil
}
