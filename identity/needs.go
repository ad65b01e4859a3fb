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
	n, err := s.need(ctx, c, action, in)
	if err != nil {
		return err
	}
	return denied(s.Authority.Permit(ctx, c, n))
}

// denied is an exception as query services call it.
func denied(err error) error {
	if ex, ok := errors.AsType[*wire.Exception](err); ok && wire.AccessDenied.Is(err) {
		return refuse(http.StatusForbidden, "AccessDenied", "%s", ex.Message())
	}
	return err
}

// aboutOneself are operations that are about the caller when they name nobody.
var aboutOneself = []string{
	"GetUser", "CreateAccessKey", "ListAccessKeys", "UpdateAccessKey", "DeleteAccessKey", "ListMFADevices", "ListSigningCertificates",
	"ListServiceSpecificCredentials", "ListSSHPublicKeys", "GetLoginProfile", "DeleteLoginProfile",
}

// need says what an operation of IAM takes, as the Service Authorization
// Reference has it.
func (s *iam) need(ctx context.Context, c Caller, action string, in form) (Need, error) {
	n := Need{Action: "iam:" + action, Resource: "*", Account: c.Account}
	about := func(kind store.IdentityKind, name string) error {
		path, err := s.pathOf(ctx, store.IdentityRef{Account: c.Account, Kind: kind, Name: name}, in)
		n.Resource = arnOf(c.Account, string(kind)+path+name)
		return err
	}
	var err error
	switch {
	case action == "ListUsers" || action == "ListRoles" || action == "ListGroups" || action == "ListInstanceProfiles":
		kind := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(action, "List"), "s"))
		if kind == "instanceprofile" {
			kind = string(store.KindInstanceProfile)
		}
		n.Resource = arnOf(c.Account, kind+in.prefix())
	case action == "ListPolicies":
		n.Resource = "policy path " + in.prefix()
	case in.get("InstanceProfileName") != "":
		err = about(store.KindInstanceProfile, in.get("InstanceProfileName"))
	case in.get("GroupName") != "":
		err = about(store.KindGroup, in.get("GroupName"))
	case in.get("RoleName") != "":
		err = about(store.KindRole, in.get("RoleName"))
	case in.get("UserName") != "":
		err = about(store.KindUser, in.get("UserName"))
	case slices.Contains(aboutOneself, action) && c.Kind == KindUser:
		n.Resource = c.ARN
	case in.get("PolicyArn") != "":
		n.Resource = in.get("PolicyArn")
	case in.get("PolicyName") != "":
		n.Resource = arnOf(c.Account, "policy"+in.prefixOr("Path")+in.get("PolicyName"))
	}
	if arn := in.get("PolicyArn"); strings.HasPrefix(action, "Attach") || strings.HasPrefix(action, "Detach") {
		n.Set("iam:PolicyARN", arn)
	}
	if arn := in.get("PermissionsBoundary"); arn != "" {
		n.Set("iam:PermissionsBoundary", arn)
	}
	if tags, tagErr := in.tags(); tagErr == nil && len(tags) > 0 {
		for key, value := range tags {
			n.Set("aws:RequestTag/"+key, value)
		}
		n.Set("aws:TagKeys", slices.Sorted(maps.Keys(tags))...)
	} else if keys := in.list("TagKeys"); len(keys) > 0 {
		n.Set("aws:TagKeys", keys...)
	}
	return n, err
}

// prefix is PathPrefix, / when there is none.
func (f form) prefix() string { return f.prefixOr("PathPrefix") }

func (f form) prefixOr(param string) string {
	if p := f.get(param); strings.HasPrefix(p, "/") {
		return p
	}
	return "/"
}

// pathOf is the path of an identity, or the one that it is going to have.
func (s *iam) pathOf(ctx context.Context, ref store.IdentityRef, in form) (path string, err error) {
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		i, err := tx.Identity(ctx, ref)
		if missing(err) {
			path = in.prefixOr("Path")
			return nil
		}
		path = i.Path
		return err
	})
	if err != nil {
		return "", fmt.Errorf("look for %s: %w", ref, err)
	}
	return path, nil
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

// serves is the principal of the service that runs functions.
var serves = policy.Principal{Kind: policy.Service, Services: []string{"lambda.amazonaws.com"}}

// trustsLambda reports whether a role lets Lambda assume it for a function.
func (a *Authority) trustsLambda(role store.Identity, function string) (bool, error) {
	trust, err := policy.Parse(role.TrustPolicy, policy.Rules{Kind: policy.Trust})
	if err != nil {
		return false, fmt.Errorf("read the trust policy of %s: %w", identityARN(role), err)
	}
	r := policy.Request{
		Principal: serves, Action: "sts:AssumeRole", Resource: identityARN(role), ResourceAccount: role.Account, Time: a.now(), Context: policy.Context{},
	}
	r.Context.Set("aws:SourceAccount", role.Account)
	r.Context.Set("aws:SourceArn", function)
	r.Context.Set("aws:PrincipalIsAWSService", "true")
	return policy.Evaluate(&r, &policy.Policies{Resource: trust}).Allowed, nil
}

// Serves answers AWS's exception for a role that exists and that Lambda may not
// assume for a function. A role that does not exist is no error: functions can
// have one for form's sake, and then no rights.
func (a *Authority) Serves(ctx context.Context, role, function string) error {
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
