package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lamina-run/lamina"
)

// wants fails the test unless an error has this code and text; "none" is no error.
func wants(t *testing.T, what string, err error, want string) {
	t.Helper()
	if got := code(err); got != want {
		t.Errorf("%s: %s; want %s", what, got, want)
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := startService(t)
	client := awsiam.NewFromConfig(s.config())
	ann := aws.String("ann")
	_, err := client.GetUser(ctx, &awsiam.GetUserInput{UserName: ann})
	wants(t, "GetUser of nobody", err, "NoSuchEntity: The user with name ann cannot be found.")
	made, err := client.CreateUser(ctx, &awsiam.CreateUserInput{
		UserName: ann, Path: aws.String("/team/"), PermissionsBoundary: aws.String(basic), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	u := made.User
	if *u.Arn != "arn:aws:iam::123456789012:user/team/ann" || !strings.HasPrefix(*u.UserId, "AIDA") || len(*u.UserId) != 21 ||
		*u.PermissionsBoundary.PermissionsBoundaryArn != basic || u.PermissionsBoundary.PermissionsBoundaryType != "Policy" || len(u.Tags) != 1 {
		t.Errorf("CreateUser = %+v", u)
	}
	_, err = client.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("ANN")})
	wants(t, "CreateUser of another case", err, "EntityAlreadyExists: User with name ANN already exists.")
	_, err = client.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("bob"), PermissionsBoundary: aws.String("arn:aws:iam::123456789012:policy/absent")})
	wants(t, "CreateUser with an absent boundary", err, "NoSuchEntity: Scope ARN: arn:aws:iam::123456789012:policy/absent does not exist or is not attachable.")

	root, err := client.GetUser(ctx, &awsiam.GetUserInput{})
	if err != nil || *root.User.Arn != "arn:aws:iam::123456789012:root" || *root.User.UserId != testAccount || root.User.UserName != nil {
		t.Errorf("GetUser of the root = %+v, %v", root, err)
	}

	// Keys: two at most, and each is the user's.
	var keys []*types.AccessKey
	for range 2 {
		k, err := client.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: ann})
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k.AccessKey)
	}
	_, err = client.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: ann})
	wants(t, "a third key", err, "LimitExceeded: Cannot exceed quota for AccessKeysPerUser: 2")
	config := s.as(aws.Credentials{AccessKeyID: *keys[0].AccessKeyId, SecretAccessKey: *keys[0].SecretAccessKey})
	own, tokens := awsiam.NewFromConfig(config), awssts.NewFromConfig(config)
	me := func(want string) {
		t.Helper()
		id, err := tokens.GetCallerIdentity(ctx, nil)
		if err != nil || *id.Arn != want || *id.UserId != *u.UserId || *id.Account != testAccount {
			t.Errorf("GetCallerIdentity = %+v, %v; want %s", id, err, want)
		}
	}
	me("arn:aws:iam::123456789012:user/team/ann")
	if got, err := own.GetUser(ctx, nil); err != nil || *got.User.UserName != "ann" || len(got.User.Tags) != 1 {
		t.Errorf("GetUser of oneself = %+v, %v", got, err)
	}
	if got, err := own.ListAccessKeys(ctx, nil); err != nil || len(got.AccessKeyMetadata) != 2 || *got.AccessKeyMetadata[0].UserName != "ann" {
		t.Errorf("ListAccessKeys of oneself = %+v, %v", got, err)
	}
	if got, err := client.ListAccessKeys(ctx, nil); err != nil || len(got.AccessKeyMetadata) != 1 || got.AccessKeyMetadata[0].UserName != nil {
		t.Errorf("ListAccessKeys of the root = %+v, %v", got, err)
	}
	if err := s.v.writeUses(ctx, s.Store); err != nil {
		t.Fatal(err)
	}
	used, err := client.GetAccessKeyLastUsed(ctx, &awsiam.GetAccessKeyLastUsedInput{AccessKeyId: keys[0].AccessKeyId})
	if err != nil || *used.UserName != "ann" || used.AccessKeyLastUsed.LastUsedDate == nil || *used.AccessKeyLastUsed.Region != testRegion {
		t.Errorf("GetAccessKeyLastUsed = %+v, %v", used, err)
	}
	unused, err := client.GetAccessKeyLastUsed(ctx, &awsiam.GetAccessKeyLastUsedInput{AccessKeyId: keys[1].AccessKeyId})
	if err != nil || unused.AccessKeyLastUsed.LastUsedDate != nil || *unused.AccessKeyLastUsed.ServiceName != "N/A" {
		t.Errorf("GetAccessKeyLastUsed of an unused one = %+v, %v", unused, err)
	}

	// A change counts at once.
	status := func(v types.StatusType) {
		t.Helper()
		_, err := client.UpdateAccessKey(ctx, &awsiam.UpdateAccessKeyInput{UserName: ann, AccessKeyId: keys[0].AccessKeyId, Status: v})
		wants(t, "UpdateAccessKey", err, "none")
	}
	status(types.StatusTypeInactive)
	_, err = tokens.GetCallerIdentity(ctx, nil)
	wants(t, "with an inactive key", err, "InvalidClientTokenId: "+invalidToken)
	status(types.StatusTypeActive)
	me("arn:aws:iam::123456789012:user/team/ann")
	_, err = client.UpdateUser(ctx, &awsiam.UpdateUserInput{UserName: ann, NewUserName: aws.String("anna"), NewPath: aws.String("/")})
	wants(t, "UpdateUser", err, "none")
	ann = aws.String("anna")
	me("arn:aws:iam::123456789012:user/anna")

	for name, call := range map[string]func() error{
		"none": func() error {
			_, err := client.TagUser(ctx, &awsiam.TagUserInput{UserName: ann, Tags: []types.Tag{{Key: aws.String("b"), Value: aws.String("2")}}})
			return err
		},
		"NoSuchEntity: Login Profile for User anna cannot be found.": func() error {
			_, err := client.GetLoginProfile(ctx, &awsiam.GetLoginProfileInput{UserName: ann})
			return err
		},
		"NoSuchEntity: The Access Key with id AKIAABSENT0000000000 cannot be found.": func() error {
			_, err := client.DeleteAccessKey(ctx, &awsiam.DeleteAccessKeyInput{UserName: ann, AccessKeyId: aws.String("AKIAABSENT0000000000")})
			return err
		},
		"DeleteConflict: Cannot delete entity, must delete access keys first.": func() error { _, err := client.DeleteUser(ctx, &awsiam.DeleteUserInput{UserName: ann}); return err },
	} {
		wants(t, name, call(), name)
	}
	if got, err := client.ListUserTags(ctx, &awsiam.ListUserTagsInput{UserName: ann}); err != nil || len(got.Tags) != 2 {
		t.Errorf("ListUserTags = %+v, %v; want 2", got, err)
	}
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	if got, err := client.ListMFADevices(ctx, &awsiam.ListMFADevicesInput{UserName: ann}); err != nil || len(got.MFADevices) != 0 {
		t.Errorf("ListMFADevices = %+v, %v", got, err)
	}
	must(client.ListVirtualMFADevices(ctx, nil))
	must(client.ListSSHPublicKeys(ctx, &awsiam.ListSSHPublicKeysInput{UserName: ann}))
	must(client.ListSigningCertificates(ctx, &awsiam.ListSigningCertificatesInput{UserName: ann}))
	must(client.ListServiceSpecificCredentials(ctx, &awsiam.ListServiceSpecificCredentialsInput{UserName: ann}))
	must(client.UntagUser(ctx, &awsiam.UntagUserInput{UserName: ann, TagKeys: []string{"b"}}))
	must(client.DeleteUserPermissionsBoundary(ctx, &awsiam.DeleteUserPermissionsBoundaryInput{UserName: ann}))
	_, err = client.DeleteUserPermissionsBoundary(ctx, &awsiam.DeleteUserPermissionsBoundaryInput{UserName: ann})
	wants(t, "DeleteUserPermissionsBoundary again", err, "NoSuchEntity: User anna does not have a permissions boundary.")
	for _, k := range keys {
		must(client.DeleteAccessKey(ctx, &awsiam.DeleteAccessKeyInput{UserName: ann, AccessKeyId: k.AccessKeyId}))
	}
	_, err = tokens.GetCallerIdentity(ctx, nil)
	wants(t, "with a deleted key", err, "InvalidClientTokenId: "+invalidToken)
	must(client.PutUserPolicy(ctx, &awsiam.PutUserPolicyInput{UserName: ann, PolicyName: aws.String("p"), PolicyDocument: aws.String(inline)}))
	must(client.AttachUserPolicy(ctx, &awsiam.AttachUserPolicyInput{UserName: ann, PolicyArn: aws.String(basic)}))
	remove := func(want string) {
		t.Helper()
		_, err := client.DeleteUser(ctx, &awsiam.DeleteUserInput{UserName: ann})
		wants(t, "DeleteUser", err, want)
	}
	remove("DeleteConflict: Cannot delete entity, must detach all policies first.")
	must(client.DetachUserPolicy(ctx, &awsiam.DetachUserPolicyInput{UserName: ann, PolicyArn: aws.String(basic)}))
	remove("DeleteConflict: Cannot delete entity, must delete policies first.")
	must(client.DeleteUserPolicy(ctx, &awsiam.DeleteUserPolicyInput{UserName: ann, PolicyName: aws.String("p")}))
	must(client.CreateGroup(ctx, &awsiam.CreateGroupInput{GroupName: aws.String("g")}))
	must(client.AddUserToGroup(ctx, &awsiam.AddUserToGroupInput{UserName: ann, GroupName: aws.String("g")}))
	remove("DeleteConflict: Cannot delete entity, must remove users from group first.")
	must(client.RemoveUserFromGroup(ctx, &awsiam.RemoveUserFromGroupInput{UserName: ann, GroupName: aws.String("g")}))
	remove("none")
	remove("NoSuchEntity: The user with name anna cannot be found.")
}

func TestGroupsAndProfiles(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client := awsiam.NewFromConfig(startService(t).config())
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	g := aws.String("devs")
	must(client.CreateGroup(ctx, &awsiam.CreateGroupInput{GroupName: g, Path: aws.String("/a/")}))
	for i := range 3 {
		name := fmt.Sprint("u", i)
		must(client.CreateUser(ctx, &awsiam.CreateUserInput{UserName: &name}))
		must(client.AddUserToGroup(ctx, &awsiam.AddUserToGroupInput{UserName: &name, GroupName: g}))
		must(client.AddUserToGroup(ctx, &awsiam.AddUserToGroupInput{UserName: &name, GroupName: g}))
	}
	var members []string
	for p := awsiam.NewGetGroupPaginator(client, &awsiam.GetGroupInput{GroupName: g, MaxItems: aws.Int32(2)}); p.HasMorePages(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if *page.Group.Arn != "arn:aws:iam::123456789012:group/a/devs" || !strings.HasPrefix(*page.Group.GroupId, "AGPA") {
			t.Errorf("GetGroup = %+v", page.Group)
		}
		for _, u := range page.Users {
			members = append(members, *u.UserName)
		}
	}
	if !slices.Equal(members, []string{"u0", "u1", "u2"}) {
		t.Errorf("GetGroup has %v; want u0, u1, u2", members)
	}
	if got, err := client.ListGroupsForUser(ctx, &awsiam.ListGroupsForUserInput{UserName: aws.String("u1")}); err != nil || len(got.Groups) != 1 || *got.Groups[0].GroupName != "devs" {
		t.Errorf("ListGroupsForUser = %+v, %v", got, err)
	}
	_, err := client.DeleteGroup(ctx, &awsiam.DeleteGroupInput{GroupName: g})
	wants(t, "DeleteGroup with users", err, "DeleteConflict: Cannot delete entity, must remove users from group first.")
	_, err = client.AddUserToGroup(ctx, &awsiam.AddUserToGroupInput{UserName: aws.String("u1"), GroupName: aws.String("absent")})
	wants(t, "AddUserToGroup of no group", err, "NoSuchEntity: The group with name absent cannot be found.")
	for i := range maxGroupsPerUser {
		name := fmt.Sprint("g", i)
		must(client.CreateGroup(ctx, &awsiam.CreateGroupInput{GroupName: &name}))
		_, err = client.AddUserToGroup(ctx, &awsiam.AddUserToGroupInput{UserName: aws.String("u1"), GroupName: &name})
		if i < maxGroupsPerUser-1 {
			wants(t, "AddUserToGroup", err, "none")
		}
	}
	wants(t, "the eleventh group", err, "LimitExceeded: Cannot exceed quota for GroupsPerUser: 10")
	must(client.UpdateGroup(ctx, &awsiam.UpdateGroupInput{GroupName: g, NewGroupName: aws.String("team")}))
	must(client.PutGroupPolicy(ctx, &awsiam.PutGroupPolicyInput{GroupName: aws.String("team"), PolicyName: aws.String("p"), PolicyDocument: aws.String(inline)}))
	if got, err := client.GetGroupPolicy(ctx, &awsiam.GetGroupPolicyInput{GroupName: aws.String("team"), PolicyName: aws.String("p")}); err != nil || *got.GroupName != "team" {
		t.Errorf("GetGroupPolicy = %+v, %v", got, err)
	}
	long := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::` + strings.Repeat("x", 5100) + `"}]}`
	_, err = client.PutGroupPolicy(ctx, &awsiam.PutGroupPolicyInput{GroupName: aws.String("team"), PolicyName: aws.String("q"), PolicyDocument: &long})
	wants(t, "a policy that is too long", err, "LimitExceeded: Maximum policy size of 5120 bytes exceeded for group team")

	p, r := aws.String("prof"), aws.String("r")
	must(client.CreateInstanceProfile(ctx, &awsiam.CreateInstanceProfileInput{InstanceProfileName: p, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}))
	must(client.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: r, AssumeRolePolicyDocument: aws.String(trust)}))
	must(client.AddRoleToInstanceProfile(ctx, &awsiam.AddRoleToInstanceProfileInput{InstanceProfileName: p, RoleName: r}))
	_, err = client.AddRoleToInstanceProfile(ctx, &awsiam.AddRoleToInstanceProfileInput{InstanceProfileName: p, RoleName: r})
	wants(t, "a second role", err, "LimitExceeded: Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
	got, err := client.GetInstanceProfile(ctx, &awsiam.GetInstanceProfileInput{InstanceProfileName: p})
	if err != nil || len(got.InstanceProfile.Roles) != 1 || *got.InstanceProfile.Roles[0].RoleName != "r" || len(got.InstanceProfile.Tags) != 1 {
		t.Errorf("GetInstanceProfile = %+v, %v", got, err)
	}
	if got, err := client.ListInstanceProfilesForRole(ctx, &awsiam.ListInstanceProfilesForRoleInput{RoleName: r}); err != nil || len(got.InstanceProfiles) != 1 {
		t.Errorf("ListInstanceProfilesForRole = %+v, %v", got, err)
	}
	_, err = client.DeleteRole(ctx, &awsiam.DeleteRoleInput{RoleName: r})
	wants(t, "DeleteRole in a profile", err, "DeleteConflict: Cannot delete entity, must remove roles from instance profile first.")
	_, err = client.DeleteInstanceProfile(ctx, &awsiam.DeleteInstanceProfileInput{InstanceProfileName: p})
	wants(t, "DeleteInstanceProfile with a role", err, "DeleteConflict: Cannot delete entity, must remove roles from instance profile first.")
	must(client.RemoveRoleFromInstanceProfile(ctx, &awsiam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: p, RoleName: r}))
	must(client.DeleteInstanceProfile(ctx, &awsiam.DeleteInstanceProfileInput{InstanceProfileName: p}))
	_, err = client.GetInstanceProfile(ctx, &awsiam.GetInstanceProfileInput{InstanceProfileName: p})
	wants(t, "GetInstanceProfile of none", err, "NoSuchEntity: Instance Profile prof cannot be found.")
}

func TestPolicyVersions(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client := awsiam.NewFromConfig(startService(t).config())
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	made, err := client.CreatePolicy(ctx, &awsiam.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: aws.String(inline)})
	if err != nil {
		t.Fatal(err)
	}
	arn := made.Policy.Arn
	document := func(n int) *string {
		return aws.String(strings.Replace(inline, "s3:*", fmt.Sprint("s3:Get", n), 1))
	}
	for n := 2; n <= 5; n++ {
		v, err := client.CreatePolicyVersion(ctx, &awsiam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: document(n), SetAsDefault: n == 3})
		if err != nil || *v.PolicyVersion.VersionId != fmt.Sprint("v", n) || v.PolicyVersion.IsDefaultVersion != (n == 3) {
			t.Errorf("CreatePolicyVersion = %+v, %v; want v%d", v, err, n)
		}
	}
	_, err = client.CreatePolicyVersion(ctx, &awsiam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: document(6)})
	wants(t, "a sixth version", err, "LimitExceeded: A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.")
	is := func(id, action string, isDefault bool) {
		t.Helper()
		v, err := client.GetPolicyVersion(ctx, &awsiam.GetPolicyVersionInput{PolicyArn: arn, VersionId: &id})
		if err != nil {
			t.Errorf("GetPolicyVersion %s: %v", id, err)
			return
		}
		if doc, _ := url.QueryUnescape(*v.PolicyVersion.Document); !strings.Contains(doc, action) || v.PolicyVersion.IsDefaultVersion != isDefault {
			t.Errorf("GetPolicyVersion %s = %s, default %t; want %s, %t", id, doc, v.PolicyVersion.IsDefaultVersion, action, isDefault)
		}
	}
	is("v1", "s3:*", false)
	is("v3", "s3:Get3", true)
	_, err = client.DeletePolicyVersion(ctx, &awsiam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v3")})
	wants(t, "DeletePolicyVersion of the default", err, "DeleteConflict: Cannot delete the default version of a policy.")
	_, err = client.DeletePolicyVersion(ctx, &awsiam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v9")})
	wants(t, "DeletePolicyVersion of none", err, "NoSuchEntity: Policy "+*arn+" version v9 does not exist or is not attachable.")
	must(client.SetDefaultPolicyVersion(ctx, &awsiam.SetDefaultPolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v5")}))
	is("v5", "s3:Get5", true)
	_, err = client.DeletePolicy(ctx, &awsiam.DeletePolicyInput{PolicyArn: arn})
	wants(t, "DeletePolicy with versions", err, "DeleteConflict: This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
	for _, id := range []string{"v1", "v2", "v3", "v4"} {
		must(client.DeletePolicyVersion(ctx, &awsiam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: &id}))
	}
	v, err := client.CreatePolicyVersion(ctx, &awsiam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: document(6)})
	if err != nil || *v.PolicyVersion.VersionId != "v6" {
		t.Errorf("CreatePolicyVersion after deletions = %+v, %v; want v6", v, err)
	}
	must(client.DeletePolicyVersion(ctx, &awsiam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v6")}))

	must(client.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(trust), PermissionsBoundary: arn}))
	must(client.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("u")}))
	must(client.CreateGroup(ctx, &awsiam.CreateGroupInput{GroupName: aws.String("g")}))
	must(client.AttachUserPolicy(ctx, &awsiam.AttachUserPolicyInput{UserName: aws.String("u"), PolicyArn: arn}))
	must(client.AttachGroupPolicy(ctx, &awsiam.AttachGroupPolicyInput{GroupName: aws.String("g"), PolicyArn: arn}))
	all, err := client.ListEntitiesForPolicy(ctx, &awsiam.ListEntitiesForPolicyInput{PolicyArn: arn})
	if err != nil || len(all.PolicyUsers) != 1 || len(all.PolicyGroups) != 1 || len(all.PolicyRoles) != 1 {
		t.Errorf("ListEntitiesForPolicy = %+v, %v; want one of each", all, err)
	}
	some, err := client.ListEntitiesForPolicy(ctx, &awsiam.ListEntitiesForPolicyInput{PolicyArn: arn, PolicyUsageFilter: types.PolicyUsageTypePermissionsPolicy, EntityFilter: types.EntityTypeGroup})
	if err != nil || len(some.PolicyUsers)+len(some.PolicyRoles) != 0 || len(some.PolicyGroups) != 1 {
		t.Errorf("ListEntitiesForPolicy of groups = %+v, %v; want one group", some, err)
	}
	got, err := client.GetPolicy(ctx, &awsiam.GetPolicyInput{PolicyArn: arn})
	if err != nil || *got.Policy.AttachmentCount != 2 || *got.Policy.PermissionsBoundaryUsageCount != 1 || *got.Policy.DefaultVersionId != "v5" {
		t.Errorf("GetPolicy = %+v, %v", got.Policy, err)
	}
	if got, err := client.GetRole(ctx, &awsiam.GetRoleInput{RoleName: aws.String("r")}); err != nil || *got.Role.PermissionsBoundary.PermissionsBoundaryArn != *arn {
		t.Errorf("GetRole = %+v, %v; want its boundary", got, err)
	}
	_, err = client.DeletePolicy(ctx, &awsiam.DeletePolicyInput{PolicyArn: arn})
	wants(t, "DeletePolicy in use", err, "DeleteConflict: Cannot delete a policy attached to entities.")

	details, err := client.GetAccountAuthorizationDetails(ctx, nil)
	if err != nil || len(details.UserDetailList) != 1 || len(details.GroupDetailList) != 1 || len(details.RoleDetailList) != 1 || len(details.Policies) != 1 {
		t.Fatalf("GetAccountAuthorizationDetails = %+v, %v; want one of each", details, err)
	}
	if u := details.UserDetailList[0]; *u.UserName != "u" || len(u.AttachedManagedPolicies) != 1 {
		t.Errorf("details of the user = %+v", u)
	}
	if p := details.Policies[0]; len(p.PolicyVersionList) != 1 || *p.AttachmentCount != 2 {
		t.Errorf("details of the policy = %+v", p)
	}
	summary, err := client.GetAccountSummary(ctx, nil)
	if err != nil || summary.SummaryMap["Users"] != 1 || summary.SummaryMap["Policies"] != 1 || summary.SummaryMap["AccessKeysPerUserQuota"] != 2 {
		t.Errorf("GetAccountSummary = %+v, %v", summary, err)
	}
}

func TestServiceLinkedRoles(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client := awsiam.NewFromConfig(startService(t).config())
	made, err := client.CreateServiceLinkedRole(ctx, &awsiam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("lambda.amazonaws.com")})
	if err != nil || *made.Role.Arn != "arn:aws:iam::123456789012:role/aws-service-role/lambda.amazonaws.com/AWSServiceRoleForLambda" {
		t.Fatalf("CreateServiceLinkedRole = %+v, %v", made, err)
	}
	name := made.Role.RoleName
	_, err = client.CreateServiceLinkedRole(ctx, &awsiam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("lambda.amazonaws.com")})
	wants(t, "CreateServiceLinkedRole again", err, "InvalidInput: Service role name AWSServiceRoleForLambda has been taken in this account, please try a different suffix.")
	protected := "UnmodifiableEntity: Cannot perform the operation on the protected role 'AWSServiceRoleForLambda' - this role is only modifiable by AWS: lambda.amazonaws.com"
	_, err = client.DeleteRole(ctx, &awsiam.DeleteRoleInput{RoleName: name})
	wants(t, "DeleteRole", err, protected)
	_, err = client.AttachRolePolicy(ctx, &awsiam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String(basic)})
	wants(t, "AttachRolePolicy", err, protected)
	_, err = client.UpdateRole(ctx, &awsiam.UpdateRoleInput{RoleName: name, MaxSessionDuration: aws.Int32(7200)})
	wants(t, "UpdateRole of the duration", err, protected)
	_, err = client.UpdateRole(ctx, &awsiam.UpdateRoleInput{RoleName: name, Description: aws.String("ours")})
	wants(t, "UpdateRole of the description", err, "none")
	_, err = client.TagRole(ctx, &awsiam.TagRoleInput{RoleName: name, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
	wants(t, "TagRole", err, "none")
	if got, err := client.GetRole(ctx, &awsiam.GetRoleInput{RoleName: name}); err != nil || *got.Role.Description != "ours" || len(got.Role.Tags) != 1 {
		t.Errorf("GetRole = %+v, %v; want the description and the tag", got, err)
	}
	task, err := client.DeleteServiceLinkedRole(ctx, &awsiam.DeleteServiceLinkedRoleInput{RoleName: name})
	if err != nil {
		t.Fatal(err)
	}
	status, err := client.GetServiceLinkedRoleDeletionStatus(ctx, &awsiam.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: task.DeletionTaskId})
	if err != nil || status.Status != types.DeletionTaskStatusTypeSucceeded {
		t.Errorf("GetServiceLinkedRoleDeletionStatus = %+v, %v", status, err)
	}
}

func TestAccountAlias(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client := awsiam.NewFromConfig(startService(t).config())
	aliases := func(want ...string) {
		t.Helper()
		got, err := client.ListAccountAliases(ctx, nil)
		if err != nil || !slices.Equal(got.AccountAliases, want) {
			t.Errorf("ListAccountAliases = %v, %v; want %v", got.AccountAliases, err, want)
		}
	}
	aliases()
	for _, alias := range []string{"first", "second"} {
		_, err := client.CreateAccountAlias(ctx, &awsiam.CreateAccountAliasInput{AccountAlias: &alias})
		wants(t, "CreateAccountAlias", err, "none")
		aliases(alias)
	}
	_, err := client.DeleteAccountAlias(ctx, &awsiam.DeleteAccountAliasInput{AccountAlias: aws.String("first")})
	wants(t, "DeleteAccountAlias of an old one", err, "NoSuchEntity: The account alias first cannot be found.")
	_, err = client.DeleteAccountAlias(ctx, &awsiam.DeleteAccountAliasInput{AccountAlias: aws.String("second")})
	wants(t, "DeleteAccountAlias", err, "none")
	aliases()
}

// TestAccountsApart: nothing of one account is seen from another.
func TestAccountsApart(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := startService(t)
	accounts := &Accounts{s.Options}
	other, err := accounts.Create(ctx, "other")
	if err != nil {
		t.Fatal(err)
	}
	if !accountForm.MatchString(other.AccountID) || other.AccountID[0] == '0' {
		t.Errorf("Create = %+v; want twelve digits", other)
	}
	mine := awsiam.NewFromConfig(s.config())
	theirs := awsiam.NewFromConfig(s.as(aws.Credentials{AccessKeyID: other.AccessKeyID, SecretAccessKey: other.SecretAccessKey}))
	for _, client := range []*awsiam.Client{mine, theirs} { // the same names
		if _, err := client.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("ann")}); err != nil {
			t.Error(err)
		}
	}
	made, err := mine.CreatePolicy(ctx, &awsiam.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: aws.String(inline)})
	if err != nil {
		t.Fatal(err)
	}
	key, err := mine.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: aws.String("ann")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = theirs.GetPolicy(ctx, &awsiam.GetPolicyInput{PolicyArn: made.Policy.Arn})
	wants(t, "GetPolicy of another account", err, "NoSuchEntity: Policy "+*made.Policy.Arn+" was not found.")
	_, err = theirs.AttachUserPolicy(ctx, &awsiam.AttachUserPolicyInput{UserName: aws.String("ann"), PolicyArn: made.Policy.Arn})
	wants(t, "AttachUserPolicy of another account", err, "NoSuchEntity: Policy "+*made.Policy.Arn+" does not exist or is not attachable.")
	_, err = theirs.DeleteAccessKey(ctx, &awsiam.DeleteAccessKeyInput{UserName: aws.String("ann"), AccessKeyId: key.AccessKey.AccessKeyId})
	wants(t, "DeleteAccessKey of another account", err, "NoSuchEntity: The Access Key with id "+*key.AccessKey.AccessKeyId+" cannot be found.")
	if _, err = theirs.GetAccessKeyLastUsed(ctx, &awsiam.GetAccessKeyLastUsedInput{AccessKeyId: key.AccessKey.AccessKeyId}); !strings.HasPrefix(code(err), "AccessDenied: ") {
		t.Errorf("GetAccessKeyLastUsed of another account = %v; want AccessDenied", err)
	}
	if got, err := theirs.ListPolicies(ctx, &awsiam.ListPoliciesInput{Scope: types.PolicyScopeTypeLocal}); err != nil || len(got.Policies) != 0 {
		t.Errorf("ListPolicies of another account = %+v, %v; want none", got, err)
	}
	info, err := awssts.NewFromConfig(s.config()).GetAccessKeyInfo(ctx, &awssts.GetAccessKeyInfoInput{AccessKeyId: &other.AccessKeyID})
	if err != nil || *info.Account != other.AccountID {
		t.Errorf("GetAccessKeyInfo = %+v, %v; want %s", info, err, other.AccountID)
	}
}

// TestRights: what the wiring of the evaluation gets to know of callers.
func TestRights(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := startService(t)
	client := awsiam.NewFromConfig(s.config())
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	accounts := &Accounts{s.Options}
	o, err := accounts.CreateOrganization(ctx, "org")
	if err != nil {
		t.Fatal(err)
	}
	policy, err := client.CreatePolicy(ctx, &awsiam.CreatePolicyInput{PolicyName: aws.String("own"), PolicyDocument: aws.String(inline)})
	if err != nil {
		t.Fatal(err)
	}
	ann, devs := aws.String("ann"), aws.String("devs")
	u, err := client.CreateUser(ctx, &awsiam.CreateUserInput{UserName: ann, PermissionsBoundary: policy.Policy.Arn, Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}}})
	if err != nil {
		t.Fatal(err)
	}
	must(client.CreateGroup(ctx, &awsiam.CreateGroupInput{GroupName: devs}))
	must(client.AddUserToGroup(ctx, &awsiam.AddUserToGroupInput{UserName: ann, GroupName: devs}))
	must(client.PutUserPolicy(ctx, &awsiam.PutUserPolicyInput{UserName: ann, PolicyName: aws.String("inline"), PolicyDocument: aws.String(inline)}))
	must(client.AttachUserPolicy(ctx, &awsiam.AttachUserPolicyInput{UserName: ann, PolicyArn: policy.Policy.Arn}))
	must(client.AttachGroupPolicy(ctx, &awsiam.AttachGroupPolicyInput{GroupName: devs, PolicyArn: aws.String(basic)}))

	c := callerFor(Key{Account: testAccount, User: "ann", UserID: *u.User.UserId, UserPath: "/"}, testRegion, "lambda")
	rights := func() *Rights {
		t.Helper()
		r, err := s.Principals.Rights(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	names := func(all []Document) string {
		var b strings.Builder
		for _, d := range all {
			b.WriteString(d.Name + "(" + d.Via + ") ")
		}
		return b.String()
	}
	r := rights()
	if got, want := names(r.Policies), "inline() own() AWSLambdaBasicExecutionRole(devs) "; got != want {
		t.Errorf("policies = %s; want %s", got, want)
	}
	if r.Boundary == nil || r.Boundary.Text != inline || r.Tags["team"] != "a" || r.OrganizationID != "" {
		t.Errorf("rights = %+v", r)
	}
	commits, _ := s.Store.Commits()
	if again := rights(); again != r {
		t.Error("rights were read again, though nothing changed")
	}
	if after, _ := s.Store.Commits(); after != commits {
		t.Error("asking for rights wrote")
	}
	// Each change counts at once.
	must(client.CreatePolicyVersion(ctx, &awsiam.CreatePolicyVersionInput{PolicyArn: policy.Policy.Arn, PolicyDocument: aws.String(strings.Replace(inline, "s3", "sqs", 1)), SetAsDefault: true}))
	if r := rights(); !strings.Contains(r.Boundary.Text, "sqs") || !strings.Contains(r.Policies[1].Text, "sqs") {
		t.Errorf("rights after a new version = %+v; want it", r)
	}
	must(client.RemoveUserFromGroup(ctx, &awsiam.RemoveUserFromGroupInput{UserName: ann, GroupName: devs}))
	if got, want := names(rights().Policies), "inline() own() "; got != want {
		t.Errorf("policies = %s; want %s", got, want)
	}
	if err := accounts.Join(ctx, "org", testAccount); err != nil {
		t.Fatal(err)
	}
	r = rights()
	if r.OrganizationID != o.ID || !strings.HasPrefix(r.OrganizationPath, o.ID+"/r-") {
		t.Errorf("organization = %s %s; want %s", r.OrganizationID, r.OrganizationPath, o.ID)
	}
	root := callerFor(Key{Account: testAccount}, testRegion, "lambda")
	if r, err := s.Principals.Rights(ctx, root); err != nil || r.OrganizationID != o.ID || r.Policies != nil {
		t.Errorf("rights of the root = %+v, %v", r, err)
	}

	role, err := client.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(trust), Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("role")}, {Key: aws.String("x"), Value: aws.String("y")}}})
	if err != nil {
		t.Fatal(err)
	}
	must(client.PutRolePolicy(ctx, &awsiam.PutRolePolicyInput{RoleName: aws.String("r"), PolicyName: aws.String("p"), PolicyDocument: aws.String(inline)}))
	session := &Session{Role: "r", RoleARN: *role.Role.Arn, RoleID: *role.Role.RoleId, Name: "s", Policy: inline, PolicyARNs: []string{basic}, Tags: map[string]string{"team": "session"}}
	c = callerFor(Key{Account: testAccount, Session: session}, testRegion, "lambda")
	r = rights()
	if names(r.Policies) != "p() " || names(r.Session) != "() AWSLambdaBasicExecutionRole() " || len(r.Tags) != 2 || r.Tags["team"] != "session" {
		t.Errorf("rights of a session = %+v", r)
	}
	if c.PrincipalARN() != *role.Role.Arn || c.ARN != "arn:aws:sts::123456789012:assumed-role/r/s" || c.UserID != *role.Role.RoleId+":s" {
		t.Errorf("caller = %+v", c)
	}
	if got, err := s.Principals.Role(ctx, *role.Role.Arn); err != nil || got.TrustPolicy != trust {
		t.Errorf("Role = %+v, %v", got, err)
	}
	for _, arn := range []string{"arn:aws:iam::123456789012:role/other/r", "arn:aws:iam::210987654321:role/r", "arn:aws:iam::123456789012:user/r", ""} {
		if _, err := s.Principals.Role(ctx, arn); !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("Role(%s) = %v; want ErrNotFound", arn, err)
		}
	}
	must(client.DeleteRolePolicy(ctx, &awsiam.DeleteRolePolicyInput{RoleName: aws.String("r"), PolicyName: aws.String("p")}))
	must(client.DeleteRole(ctx, &awsiam.DeleteRoleInput{RoleName: aws.String("r")}))
	if _, err := s.Principals.Rights(ctx, c); !errors.Is(err, lamina.ErrNotFound) {
		t.Errorf("rights of a session of a role that is gone = %v; want ErrNotFound", err)
	}
}

func TestOrganizations(t *testing.T) {
	t.Parallel()
	s := startService(t)
	ctx := t.Context()
	h := NewOrganizations(s.Options)
	call := func(account, operation, body string) (status int, out map[string]any) {
		t.Helper()
		req, err := http.NewRequestWithContext(WithCaller(ctx, callerFor(Key{Account: account}, testRegion, OrganizationsService)), http.MethodPost, "/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Target", organizationsTarget+operation)
		w := &recorder{header: http.Header{}}
		h.ServeHTTP(w, req)
		if err := json.Unmarshal([]byte(w.body.String()), &out); err != nil {
			t.Fatalf("%s = %s", operation, w.body.String())
		}
		return w.status, out
	}
	refused := func(account, operation, body, want string) {
		t.Helper()
		if status, out := call(account, operation, body); status != 400 || out["__type"] != want {
			t.Errorf("%s = %d %v; want %s", operation, status, out, want)
		}
	}
	refused(testAccount, "DescribeOrganization", "{}", "AWSOrganizationsNotInUseException")
	refused(testAccount, "ListAccounts", "{}", "AWSOrganizationsNotInUseException")
	_, out := call(testAccount, "CreateOrganization", `{"FeatureSet":"ALL"}`)
	o := out["Organization"].(map[string]any)
	id := o["Id"].(string)
	if !strings.HasPrefix(id, "o-") || o["MasterAccountId"] != testAccount || o["FeatureSet"] != "ALL" {
		t.Errorf("CreateOrganization = %v", out)
	}
	refused(testAccount, "CreateOrganization", "{}", "AlreadyInOrganizationException")
	create := `{"AccountName":"dev","Email":"dev@example.com"}`
	_, out = call(testAccount, "CreateAccount", create)
	made := out["CreateAccountStatus"].(map[string]any)
	account, _ := made["AccountId"].(string)
	if made["State"] != "SUCCEEDED" || !accountForm.MatchString(account) || !createdForm.MatchString(made["Id"].(string)) {
		t.Fatalf("CreateAccount = %v", out)
	}
	_, out = call(testAccount, "DescribeCreateAccountStatus", `{"CreateAccountRequestId":"`+made["Id"].(string)+`"}`)
	if out["CreateAccountStatus"].(map[string]any)["AccountId"] != account {
		t.Errorf("DescribeCreateAccountStatus = %v; want %s", out, account)
	}
	_, out = call(testAccount, "CreateAccount", create)
	if again := out["CreateAccountStatus"].(map[string]any); again["State"] != "FAILED" || again["FailureReason"] != takenEmail || !createdForm.MatchString(again["Id"].(string)) {
		t.Errorf("CreateAccount with a taken address = %v; want FAILED", out)
	}
	_, out = call(testAccount, "ListAccounts", `{"MaxResults":1}`)
	if len(out["Accounts"].([]any)) != 1 || out["NextToken"] == nil {
		t.Errorf("ListAccounts = %v; want one of two", out)
	}
	_, out = call(testAccount, "DescribeAccount", `{"AccountId":"`+account+`"}`)
	if a := out["Account"].(map[string]any); a["Email"] != "dev@example.com" || a["JoinedMethod"] != "CREATED" {
		t.Errorf("DescribeAccount = %v", out)
	}
	_, out = call(account, "DescribeOrganization", "")
	if out["Organization"].(map[string]any)["Id"] != id {
		t.Errorf("DescribeOrganization of a member = %v; want %s", out, id)
	}
	refused(account, "ListAccounts", "{}", "AccessDeniedException")
	refused(testAccount, "DescribeAccount", `{"AccountId":"999999999999"}`, "AccountNotFoundException")
	refused(testAccount, "CreateAccount", `{"AccountName":"dev","Email":"x"}`, "InvalidInputException")
	refused(testAccount, "CreatePolicy", `{}`, "UnknownOperationException")
	if _, out := call(testAccount, "ListRoots", ""); len(out["Roots"].([]any)) != 1 {
		t.Errorf("ListRoots = %v", out)
	}
	// The management account's way into the new account is a role.
	role, err := s.Principals.Role(ctx, "arn:aws:iam::"+account+":role/"+accessRole)
	if err != nil || !strings.Contains(role.TrustPolicy, testAccount) {
		t.Errorf("Role(%s) = %+v, %v; want it to trust %s", accessRole, role, err, testAccount)
	}
}

type recorder struct {
	header http.Header
	status int
	body   strings.Builder
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
