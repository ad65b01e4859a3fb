package identity

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity/policy"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// permit answers IAM's AccessDenied when the caller may not do what a request
// asks for. Without an authority everybody may all in their own account.
func (s *iam) permit(ctx context.Context, c Caller, action string, in form) error {
	if s.Authority == nil || c.IsRoot() {
		return nil // every operation of IAM stays in the caller's account
	}
	all, err := s.needs(ctx, c, action, in)
	if err != nil {
		return err
	}
	for _, n := range all {
		if err := s.Authority.Permit(ctx, c, n); err != nil {
			return denied(err)
		}
	}
	return nil
}

// denied is an exception as query services call it.
func denied(err error) error {
	if ex, ok := errors.AsType[*wire.Exception](err); ok && wire.AccessDenied.Is(err) {
		return refuse(http.StatusForbidden, "AccessDenied", "%s", ex.Message())
	}
	return err
}

// subject is what an operation of IAM is about. The operation alone tells: what
// else a request names may be there to mislead.
type subject uint8

const (
	noSubject     subject = iota + 1
	aUser                 // UserName, or else the caller
	aGroup                // GroupName
	aRole                 // RoleName
	aProfile              // InstanceProfileName
	aPolicy               // PolicyArn
	aNewPolicy            // PolicyName and Path
	aKey                  // AccessKeyId, which is a user's
	aLinkedRole           // AWSServiceName
	identityPaths         // PathPrefix
	policyPaths           // PathPrefix
)

// subjects are by operation. A test proves that each one that is offered is here.
var subjects = bySubject(map[subject]string{
	noSubject: `GetAccountSummary GetAccountAuthorizationDetails ListAccountAliases CreateAccountAlias DeleteAccountAlias ListVirtualMFADevices
		GetServiceLinkedRoleDeletionStatus`,
	aUser: `CreateUser GetUser UpdateUser DeleteUser TagUser UntagUser ListUserTags AttachUserPolicy DetachUserPolicy ListAttachedUserPolicies
		PutUserPolicy GetUserPolicy DeleteUserPolicy ListUserPolicies PutUserPermissionsBoundary DeleteUserPermissionsBoundary ListGroupsForUser
		CreateAccessKey ListAccessKeys UpdateAccessKey DeleteAccessKey GetLoginProfile DeleteLoginProfile ListMFADevices ListSSHPublicKeys
		ListServiceSpecificCredentials ListSigningCertificates`,
	aGroup: `CreateGroup GetGroup UpdateGroup DeleteGroup AddUserToGroup RemoveUserFromGroup AttachGroupPolicy DetachGroupPolicy
		ListAttachedGroupPolicies PutGroupPolicy GetGroupPolicy DeleteGroupPolicy ListGroupPolicies`,
	aRole: `CreateRole GetRole UpdateRole UpdateRoleDescription UpdateAssumeRolePolicy DeleteRole TagRole UntagRole ListRoleTags AttachRolePolicy
		DetachRolePolicy ListAttachedRolePolicies PutRolePolicy GetRolePolicy DeleteRolePolicy ListRolePolicies PutRolePermissionsBoundary
		DeleteRolePermissionsBoundary ListInstanceProfilesForRole DeleteServiceLinkedRole`,
	aProfile: `CreateInstanceProfile GetInstanceProfile DeleteInstanceProfile AddRoleToInstanceProfile RemoveRoleFromInstanceProfile
		TagInstanceProfile UntagInstanceProfile ListInstanceProfileTags`,
	aPolicy: `GetPolicy DeletePolicy CreatePolicyVersion GetPolicyVersion ListPolicyVersions SetDefaultPolicyVersion DeletePolicyVersion TagPolicy
		UntagPolicy ListPolicyTags ListEntitiesForPolicy`,
	aNewPolicy:    "CreatePolicy",
	aKey:          "GetAccessKeyLastUsed",
	aLinkedRole:   "CreateServiceLinkedRole",
	identityPaths: "ListUsers ListGroups ListRoles ListInstanceProfiles",
	policyPaths:   "ListPolicies",
})

func bySubject(names map[subject]string) map[string]subject {
	out := map[string]subject{}
	for s, text := range names {
		for _, name := range strings.Fields(text) {
			out[name] = s
		}
	}
	return out
}

// needs says what an operation of IAM takes, as the Service Authorization
// Reference has it.
func (s *iam) needs(ctx context.Context, c Caller, action string, in form) ([]Need, error) {
	n := Need{Action: "iam:" + action, Resource: "*", Account: c.Account}
	var more []Need
	var about store.Identity
	var err error
	named := func(k *kind) {
		if about, err = s.named(ctx, store.IdentityRef{Account: c.Account, Kind: k.of, Name: in.get(k.param())}, in); err == nil {
			n.Resource = identityARN(about)
		}
	}
	switch subjects[action] {
	case noSubject:
	case aUser:
		switch {
		case in.given("UserName") != nil:
			named(users)
		case c.Kind == KindUser:
			about, err = s.named(ctx, store.IdentityRef{Account: c.Account, Kind: store.KindUser, Name: c.Name}, in)
			n.Resource = c.ARN
		}
	case aGroup:
		named(groups)
	case aRole:
		named(roles)
	case aProfile:
		named(instanceProfiles)
	case aPolicy:
		n.Resource = in.get("PolicyArn")
		n.Tagged = n.Resource
	case aNewPolicy:
		n.Resource = arnOf(c.Account, "policy"+in.prefixOr("Path")+in.get("PolicyName"))
	case aKey:
		n.Resource, err = s.keyARN(ctx, c, in.get("AccessKeyId"))
	case aLinkedRole:
		service := in.get("AWSServiceName")
		n.Resource = arnOf(c.Account, "role"+serviceLinkedPath+service+"/"+serviceLinked[service])
		n.Set("iam:AWSServiceName", service)
	case identityPaths:
		kind := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(action, "List"), "s"))
		if kind == "instanceprofile" {
			kind = string(store.KindInstanceProfile)
		}
		n.Resource = arnOf(c.Account, kind+in.prefixOr("PathPrefix"))
	case policyPaths:
		n.Resource = "policy path " + in.prefixOr("PathPrefix")
	default:
		err = fmt.Errorf("identity: nobody said what %s is about", action)
	}
	if err != nil {
		return nil, err
	}
	for key, value := range about.Tags {
		if !strings.HasPrefix(action, "Create") {
			n.Set(resourceTag+key, value)
			n.Set("iam:ResourceTag/"+key, value)
		}
	}
	switch {
	case action == "CreateUser" || action == "CreateRole" || action == "PutUserPermissionsBoundary" || action == "PutRolePermissionsBoundary":
		if arn := in.get("PermissionsBoundary"); arn != "" {
			n.Set("iam:PermissionsBoundary", arn)
		}
	case about.Boundary != "": // that whose policies change has it
		n.Set("iam:PermissionsBoundary", about.Boundary)
	}
	if strings.HasPrefix(action, "Attach") || strings.HasPrefix(action, "Detach") {
		n.Set("iam:PolicyARN", in.get("PolicyArn"))
	}
	switch {
	case strings.HasPrefix(action, "Create") || strings.HasPrefix(action, "Tag"):
		tags, err := in.tags()
		if err != nil {
			return nil, err
		}
		for key, value := range tags {
			n.Set("aws:RequestTag/"+key, value)
		}
		n.Set("aws:TagKeys", slices.Sorted(maps.Keys(tags))...)
	case strings.HasPrefix(action, "Untag"):
		n.Set("aws:TagKeys", in.list("TagKeys")...)
	}
	switch action {
	case "UpdateUser", "UpdateGroup": // both what it was and what it is going to be
		to := about
		if path := in.given("NewPath"); path != nil {
			to.Path = *path
		}
		if name := in.given("New" + string(action[len("Update"):]) + "Name"); name != nil {
			to.Name = *name
		}
		if arn := identityARN(to); arn != n.Resource {
			renamed := n
			renamed.Resource = arn
			more = append(more, renamed)
		}
	case "AddRoleToInstanceProfile":
		role, err := s.named(ctx, store.IdentityRef{Account: c.Account, Kind: store.KindRole, Name: in.get("RoleName")}, in)
		if err != nil {
			return nil, err
		}
		pass := Need{Action: "iam:PassRole", Resource: identityARN(role), Account: c.Account}
		pass.Set("iam:PassedToService", "ec2.amazonaws.com")
		more = append(more, pass)
	}
	return append([]Need{n}, more...), nil
}

func (f form) prefixOr(param string) string {
	if p := f.get(param); strings.HasPrefix(p, "/") {
		return p
	}
	return "/"
}

// named is an identity, or one of the name and path that a new one is to have.
func (s *iam) named(ctx context.Context, ref store.IdentityRef, in form) (i store.Identity, err error) {
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		i, err = tx.Identity(ctx, ref)
		return err
	})
	if missing(err) {
		return store.Identity{IdentityRef: ref, Path: in.prefixOr("Path")}, nil
	}
	if err != nil {
		return i, fmt.Errorf("look for %s: %w", ref, err)
	}
	return i, nil
}

// keyARN is the user whose access key it is. Whether there is such a key is only
// told to who may ask about all.
func (s *iam) keyARN(ctx context.Context, c Caller, id string) (string, error) {
	arn := "*"
	err := s.Store.View(ctx, func(tx *store.Tx) error {
		k, err := tx.AccessKey(ctx, id)
		if err != nil || k.Account != c.Account || k.User == "" {
			return err
		}
		i, err := tx.Identity(ctx, store.IdentityRef{Account: c.Account, Kind: store.KindUser, Name: k.User})
		if err == nil {
			arn = identityARN(i)
		}
		return err
	})
	if err != nil && !missing(err) {
		return "", fmt.Errorf("look for an access key: %w", err)
	}
	return arn, nil
}

// Trusts reports whether a role's trust policy and the caller's own policies let
// the caller assume the role.
func (a *Authority) Trusts(ctx context.Context, as Assumption) (bool, error) {
	n := Need{Action: "sts:AssumeRole", Resource: as.RoleARN, Account: as.Role.Account}
	n.Set("sts:RoleSessionName", as.SessionName)
	n.Set("sts:DurationSeconds", fmt.Sprint(int64(as.Duration/time.Second)))
	if as.ExternalID != "" {
		n.Set("sts:ExternalId", as.ExternalID)
	}
	actions := []string{n.Action}
	if as.SourceIdentity != "" {
		n.Set("sts:SourceIdentity", as.SourceIdentity)
		actions = append(actions, "sts:SetSourceIdentity")
	}
	if len(as.Tags) > 0 {
		for key, value := range as.Tags {
			n.Set("aws:RequestTag/"+key, value)
		}
		n.Set("aws:TagKeys", slices.Sorted(maps.Keys(as.Tags))...)
		actions = append(actions, "sts:TagSession")
	}
	for key, value := range as.Role.Tags {
		n.Set(resourceTag+key, value)
		n.Set("iam:ResourceTag/"+key, value)
	}
	if len(as.TransitiveTags) > 0 {
		n.Set("sts:TransitiveTagKeys", as.TransitiveTags...)
	}
	for _, n.Action = range actions {
		d, err := a.Assumable(ctx, as.Caller, n, as.Role.TrustPolicy)
		if err != nil || !d.Allowed {
			return false, err
		}
	}
	return true, nil
}

// trustsLambda reports whether a role lets Lambda assume it for a function.
func (a *Authority) trustsLambda(role store.Identity, function string) (bool, error) {
	return a.trustsService(role, "lambda.amazonaws.com", function)
}

// trustsService reports whether a role lets a service assume it for a resource.
func (a *Authority) trustsService(role store.Identity, service, source string) (bool, error) {
	trust, err := policy.Parse(role.TrustPolicy, policy.Rules{Kind: policy.Trust})
	if err != nil {
		return false, fmt.Errorf("read the trust policy of %s: %w", identityARN(role), err)
	}
	r := policy.Request{
		Principal: policy.Principal{Kind: policy.Service, Services: []string{service}},
		Action:    "sts:AssumeRole", Resource: identityARN(role), ResourceAccount: role.Account, Time: a.now(), Context: policy.Context{},
	}
	r.Context.Set("aws:SourceAccount", role.Account)
	r.Context.Set("aws:SourceArn", source)
	r.Context.Set("aws:PrincipalIsAWSService", "true")
	return policy.Evaluate(&r, &policy.Policies{Resource: trust}).Allowed, nil
}

// Serves answers AWS's exception for a role that exists and that Lambda may not
// assume for a function of an account. A role that does not exist is no error:
// functions can have one for form's sake, and then no rights. Neither is a role
// of another account, which gives no rights and whose existence stays its secret.
func (a *Authority) Serves(ctx context.Context, role, function, account string) error {
	if owner, _, ok := parseRoleARN(role); !ok || owner != account {
		return nil
	}
	found, err := a.principals.Role(ctx, role)
	if missing(err) {
		return nil
	}
	ok := false
	if err == nil {
		ok, err = a.trustsLambda(found, function)
	}
	if err != nil {
		return err
	}
	if !ok {
		return wire.InvalidParameterValue.New("The role defined for the function cannot be assumed by Lambda.")
	}
	return nil
}

// FunctionLife is how long the credentials of an execution environment hold.
const FunctionLife = 12 * time.Hour

// FunctionCredentials are those of a function's role for one execution
// environment. The error is lamina.ErrNotFound when there is no such role, or it
// does not let Lambda assume it.
func (a *Authority) FunctionCredentials(ctx context.Context, sessions *Sessions, role string, function lamina.FunctionID) (TemporaryCredentials, error) {
	found, err := a.principals.Role(ctx, role)
	ok := false
	if err == nil && found.Account == function.Account {
		ok, err = a.trustsLambda(found, function.ARN())
	}
	if err == nil && !ok {
		err = lamina.ErrNotFound
	}
	if err != nil {
		return TemporaryCredentials{}, fmt.Errorf("assume %s: %w", role, err)
	}
	now := a.now()
	return sessions.Assume(found, Session{Name: function.Name, Issued: now, Expires: now.Add(FunctionLife)})
}

// serviceSession is how long a service may act with a role before it assumes the
// role again.
const serviceSession = time.Hour

// AssumedBy returns a caller with the rights of a role of an account that a
// service assumes for a resource. The error is lamina.ErrNotFound when the account
// has no such role, or it does not let the service assume it.
func (a *Authority) AssumedBy(ctx context.Context, account, service, role, session, source string) (Caller, error) {
	found, err := a.principals.Role(ctx, role)
	ok := false
	if err == nil && found.Account == account {
		ok, err = a.trustsService(found, service, source)
	}
	if err == nil && !ok {
		err = lamina.ErrNotFound
	}
	if err != nil {
		return Caller{}, fmt.Errorf("assume %s: %w", role, err)
	}
	now := a.now()
	return callerFor(Key{Account: account, Session: &Session{
		Role: found.Name, RoleARN: identityARN(found), RoleID: found.ID, Name: session, Issued: now, Expires: now.Add(serviceSession),
	}}, "", ""), nil
}
