package identity

import (
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire/query"
)

// TestNeeds calls every operation of IAM as a user who may not, who may exactly
// that, and to whom it is denied. Each request names all that any request can
// name, so that the test fails when an operation looks at what it is not about.
func TestNeeds(t *testing.T) {
	t.Parallel()
	s := startServiceWith(t, func(o *Options) {
		o.Authority = NewAuthority(o.Store, o.Principals, slog.New(slog.DiscardHandler), time.Now)
	})
	root := awsiam.NewFromConfig(s.config())
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const everything = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`
	path := aws.String("/team/")
	must(root.CreateUser(t.Context(), &awsiam.CreateUserInput{UserName: aws.String("target"), Path: path}))
	must(root.CreateGroup(t.Context(), &awsiam.CreateGroupInput{GroupName: aws.String("target"), Path: path}))
	must(root.CreateRole(t.Context(), &awsiam.CreateRoleInput{RoleName: aws.String("target"), Path: path, AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ec2.amazonaws.com"}}}`)}))
	must(root.CreateInstanceProfile(t.Context(), &awsiam.CreateInstanceProfileInput{InstanceProfileName: aws.String("target"), Path: path}))
	must(root.CreatePolicy(t.Context(), &awsiam.CreatePolicyInput{PolicyName: aws.String("target"), Path: path, PolicyDocument: aws.String(everything)}))
	key, err := root.CreateAccessKey(t.Context(), &awsiam.CreateAccessKeyInput{UserName: aws.String("target")})
	must(key, err)
	user, err := root.CreateUser(t.Context(), &awsiam.CreateUserInput{UserName: aws.String("caller")})
	must(user, err)
	caller := Caller{Account: testAccount, Kind: KindUser, Name: "caller", ARN: *user.User.Arn, UserID: *user.User.UserId}
	values := url.Values{
		"UserName": {"target"}, "GroupName": {"target"}, "RoleName": {"target"}, "InstanceProfileName": {"target"}, "PolicyName": {"target"},
		"PolicyArn": {arnOf(testAccount, "policy/team/target")}, "Path": {"/team/"}, "PathPrefix": {"/team/"}, "AccessKeyId": {*key.AccessKey.AccessKeyId},
		"AWSServiceName": {"lambda.amazonaws.com"}, "PermissionsBoundary": {arnOf("aws", "policy/ReadOnlyAccess")},
	}
	form := form{query.NewForm(values)}
	// what each is about, by the words of its name: not how the code tells it
	about := func(action string) string {
		has := func(words ...string) bool {
			return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(action, w) })
		}
		switch {
		case has("AccountAlias", "AccountSummary", "AuthorizationDetails", "VirtualMFA", "DeletionStatus"):
			return "*"
		case slices.Contains([]string{"ListUsers", "ListGroups", "ListRoles"}, action):
			return arnOf(testAccount, strings.ToLower(action[4:len(action)-1])+"/team/")
		case action == "ListInstanceProfiles":
			return arnOf(testAccount, "instance-profile/team/")
		case action == "ListPolicies":
			return "policy path /team/"
		case action == "CreateServiceLinkedRole":
			return arnOf(testAccount, "role/aws-service-role/lambda.amazonaws.com/AWSServiceRoleForLambda")
		case action == "ListInstanceProfilesForRole":
			return arnOf(testAccount, "role/team/target")
		case has("InstanceProfile"):
			return arnOf(testAccount, "instance-profile/team/target")
		case action == "ListGroupsForUser":
			return arnOf(testAccount, "user/team/target")
		case has("Group"):
			return arnOf(testAccount, "group/team/target")
		case has("Role"): // UpdateAssumeRolePolicy, too
			return arnOf(testAccount, "role/team/target")
		case has("User", "AccessKey", "LoginProfile", "MFADevices", "SSHPublicKeys", "Credentials", "Certificates"):
			return arnOf(testAccount, "user/team/target")
		}
		return arnOf(testAccount, "policy/team/target")
	}
	set := func(statements string) {
		t.Helper()
		must(root.PutUserPolicy(t.Context(), &awsiam.PutUserPolicyInput{
			UserName: aws.String("caller"), PolicyName: aws.String("p"), PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[` + statements + `]}`),
		}))
	}
	service := NewIAM(s.Options).(*queryService)
	for _, action := range slices.Sorted(maps.Keys(service.actions)) {
		resource := about(action)
		inPolicy := resource
		if !strings.HasPrefix(resource, "arn:") {
			inPolicy = "*" // AWS cannot express it otherwise either
		}
		pass := ""
		if action == "AddRoleToInstanceProfile" {
			pass = fmt.Sprintf(`{"Effect":"Allow","Action":"iam:PassRole","Resource":%q},`, arnOf(testAccount, "role/team/target"))
		}
		message := "User: " + caller.ARN + " is not authorized to perform: iam:" + action + " on resource: " + resource
		permitted := func(what, want string) {
			t.Helper()
			got := "none"
			if err := service.permit(t.Context(), caller, action, form); err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("%s, %s: %s; want %s", action, what, got, want)
			}
		}
		set(pass + `{"Effect":"Allow","Action":"iam:` + action + `x","Resource":"*"}`)
		permitted("without the permission", "AccessDenied: "+message+" because no identity-based policy allows the iam:"+action+" action")
		set(pass + fmt.Sprintf(`{"Effect":"Allow","Action":"iam:*","Resource":"*"},{"Effect":"Deny","Action":"iam:%s","Resource":%q}`, action, inPolicy))
		permitted("denied", "AccessDenied: "+message+" with an explicit deny in an identity-based policy")
		if inPolicy != "*" {
			set(pass + fmt.Sprintf(`{"Effect":"Allow","Action":"iam:%s","NotResource":%q}`, action, inPolicy))
			permitted("for all others", "AccessDenied: "+message+" because no identity-based policy allows the iam:"+action+" action")
		}
		set(pass + fmt.Sprintf(`{"Effect":"Allow","Action":"iam:%s","Resource":%q}`, action, inPolicy))
		permitted("with exactly that", "none")
	}
	for action := range subjects {
		if service.actions[action] == nil {
			t.Errorf("%s is said to be about something, and is not offered", action)
		}
	}

	// A new name takes the permission on both.
	values.Set("NewUserName", "renamed")
	set(fmt.Sprintf(`{"Effect":"Allow","Action":"iam:UpdateUser","Resource":%q}`, arnOf(testAccount, "user/team/target")))
	if err := service.permit(t.Context(), caller, "UpdateUser", form); err == nil || !strings.Contains(err.Error(), "user/team/renamed") {
		t.Errorf("UpdateUser to a name that is not the caller's to give: %v", err)
	}
}

// TestBrokenPolicies: whose policies are not understood may nothing, not even what
// somebody else's policy permits.
func TestBrokenPolicies(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	root, err := EnsureRoot(t.Context(), st, RootOptions{AccountID: testAccount, File: t.TempDir() + "/root.json"})
	if err != nil {
		t.Fatal(err)
	}
	ref := store.IdentityRef{Account: root.AccountID, Kind: store.KindUser, Name: "u"}
	err = st.Update(t.Context(), func(tx *store.Tx) error {
		if err := tx.InsertIdentity(t.Context(), store.Identity{IdentityRef: ref, ID: "AIDAX", Path: "/", Created: time.Now()}); err != nil {
			return err
		}
		if err := tx.PutInlinePolicy(t.Context(), ref, store.InlinePolicy{Name: "ok", Document: `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`}); err != nil {
			return err
		}
		return tx.PutInlinePolicy(t.Context(), ref, store.InlinePolicy{Name: "broken", Document: `{"Statement":{"Effect":"Denies"}}`})
	})
	if err != nil {
		t.Fatal(err)
	}
	a := NewAuthority(st, NewPrincipals(st, time.Now), slog.New(slog.DiscardHandler), time.Now)
	d, err := a.Decide(t.Context(), Caller{Account: testAccount, Kind: KindUser, Name: "u", UserID: "AIDAX", ARN: arnOf(testAccount, "user/u")}, Need{Action: "lambda:GetFunction", Resource: "*"})
	if err != nil || d.Allowed || !d.Explicit {
		t.Errorf("Decide = %+v, %v; want a denial", d, err)
	}
}
