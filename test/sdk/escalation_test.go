package sdk_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/lamina-run/lamina/logs"
)

const administrator = "arn:aws:iam::aws:policy/AdministratorAccess"

// TestEscalation has the known ways from few rights to many. Each is refused.
func TestEscalation(t *testing.T) {
	t.Parallel()
	s := startInProcess(t)
	root, victim := s.root(t), s.newAccount(t, "victim")
	trust := trusts(`"Service":"lambda.amazonaws.com"`)
	weak, strong := root.newRole("weak", trust, allow("lambda:GetFunction", "*")), root.newRole("strong", trust, allow("*", "*"))
	e := root.newEstate("f", weak)
	foreign := victim.newEstate("f", victim.newRole("app", trust))
	ops := operations()
	call := func(operation string, params map[string]string, query string, members map[string]any) func(*party) answer {
		return func(p *party) answer {
			return p.send("lambda", sample{params: params, query: query, body: members}.call(ops[operation]))
		}
	}
	refuses := func(t *testing.T, who *party, got answer, action string) {
		t.Helper()
		if !strings.HasPrefix(got.code, "AccessDenied") || !strings.Contains(got.message, who.arn) || !strings.Contains(got.message, action) {
			t.Errorf("%s = %d %s: %s; want AccessDenied", action, got.status, got.code, got.message)
		}
	}

	t.Run("roles that are not to be passed", func(t *testing.T) {
		root := root.in(t)
		user := root.newUser("developer")
		root.may(user, allow("lambda:*", "*"), allow("iam:PassRole", weak))
		function := map[string]any{
			"FunctionName": "backdoor", "Role": strong, "Runtime": "python3.12", "Handler": "app.handler", "Code": map[string]any{"ZipFile": e.zip},
		}
		create := call("CreateFunction", nil, "", function)
		user.wants("CreateFunction", create(user), "AccessDeniedException", user.refusal("iam:PassRole", strong, "identity-based"))
		swap := call("UpdateFunctionConfiguration", map[string]string{"FunctionName": "f"}, "", map[string]any{"Role": strong})
		user.wants("UpdateFunctionConfiguration", swap(user), "AccessDeniedException", user.refusal("iam:PassRole", strong, "identity-based"))
		function["Role"] = strings.Replace(strong, account, victim.account, 1)
		refuses(t, user, create(user), "iam:PassRole")
		function["Role"] = weak
		user.wants("with the role that may be passed", create(user), "", "")
		// A role that does not trust Lambda is of no use to a function, whoever passes it.
		person := root.newRole("person", trusts(`"AWS":"`+account+`"`), allow("*", "*"))
		function["Role"], function["FunctionName"] = person, "backdoor-2"
		root.wants("a role that does not trust Lambda", create(root), "InvalidParameterValueException", "The role defined for the function cannot be assumed by Lambda.")
		// Whether a role of another account exists, or whom it trusts, is its secret.
		for _, name := range []string{"app", "absent", "person"} {
			if name == "person" {
				victim.in(t).newRole("person", trusts(`"AWS":"`+victim.account+`"`))
			}
			function["Role"], function["FunctionName"] = "arn:aws:iam::"+victim.account+":role/"+name, "elsewhere-"+name
			root.wants("another account's role "+name, create(root), "", "")
		}
	})

	t.Run("rights of one's own", func(t *testing.T) {
		root := root.in(t)
		root.done(root.iam("CreateGroup", "GroupName", "admins"))
		root.done(root.iam("AttachGroupPolicy", "GroupName", "admins", "PolicyArn", administrator))
		root.done(root.iam("CreatePolicy", "PolicyName", "mine", "PolicyDocument", document(allow("lambda:GetFunction", "*"))))
		mine := "arn:aws:iam::" + account + ":policy/mine"
		root.done(root.iam("CreatePolicyVersion", "PolicyArn", mine, "PolicyDocument", document(allow("*", "*"))))
		admin := root.newUser("admin")
		root.done(root.iam("AttachUserPolicy", "UserName", "admin", "PolicyArn", administrator))
		user := root.newUser("mallory")
		root.may(user, allow("lambda:*", "*"), allow("iam:Get*", "*"), allow("iam:List*", "*"))
		root.done(root.iam("AttachUserPolicy", "UserName", user.name(), "PolicyArn", mine))
		all := document(allow("*", "*"))
		trustsMe := trusts(`"AWS":"` + user.arn + `"`)
		for _, c := range [][]string{
			{"AttachUserPolicy", "UserName", user.name(), "PolicyArn", administrator},
			{"AttachUserPolicy", "PolicyArn", administrator},
			{"PutUserPolicy", "UserName", user.name(), "PolicyName", "p", "PolicyDocument", all},
			{"DeleteUserPolicy", "UserName", user.name(), "PolicyName", "p"},
			{"DetachUserPolicy", "UserName", user.name(), "PolicyArn", mine},
			{"AddUserToGroup", "UserName", user.name(), "GroupName", "admins"},
			{"AttachGroupPolicy", "GroupName", "admins", "PolicyArn", administrator},
			{"PutGroupPolicy", "GroupName", "admins", "PolicyName", "p", "PolicyDocument", all},
			{"CreateAccessKey", "UserName", "admin"},
			{"CreateAccessKey"},
			{"UpdateAccessKey", "UserName", "admin", "AccessKeyId", admin.keyID, "Status", "Inactive"},
			{"DeleteAccessKey", "UserName", "admin", "AccessKeyId", admin.keyID},
			{"CreatePolicyVersion", "PolicyArn", mine, "PolicyDocument", all, "SetAsDefault", "true"},
			{"SetDefaultPolicyVersion", "PolicyArn", mine, "VersionId", "v2"},
			{"AttachRolePolicy", "RoleName", "weak", "PolicyArn", administrator},
			{"PutRolePolicy", "RoleName", "weak", "PolicyName", "q", "PolicyDocument", all},
			{"UpdateAssumeRolePolicy", "RoleName", "strong", "PolicyDocument", trustsMe},
			{"CreateRole", "RoleName", "new", "AssumeRolePolicyDocument", trustsMe},
			{"CreateUser", "UserName", "new"},
			{"PutUserPermissionsBoundary", "UserName", user.name(), "PermissionsBoundary", administrator},
			{"DeleteUserPermissionsBoundary", "UserName", user.name()},
			{"DeleteRolePermissionsBoundary", "RoleName", "weak"},
			{"TagUser", "UserName", user.name(), "Tags.member.1.Key", "team", "Tags.member.1.Value", "admins"},
			{"UpdateUser", "UserName", user.name(), "NewUserName", "other"},
			{"AddRoleToInstanceProfile", "InstanceProfileName", "absent", "RoleName", "strong"},
		} {
			refuses(t, user, user.iam(c[0], c[1:]...), "iam:"+c[0])
		}
		user.wants("CreateLoginProfile", user.iam("CreateLoginProfile", "UserName", "admin", "Password", "x"), "InvalidAction", "")
	})

	t.Run("names that an operation is not about", func(t *testing.T) {
		root := root.in(t)
		user := root.newUser("lead")
		dev := "arn:aws:iam::" + account + ":role/dev-*"
		root.may(user, allow("iam:*", dev), allow("iam:*", "arn:aws:iam::"+account+":group/dev-*"),
			allow("iam:*", "arn:aws:iam::"+account+":instance-profile/dev-*"), allow("iam:*", "arn:aws:iam::"+account+":policy/dev-*"))
		decoys := []string{"RoleName", "dev-1", "GroupName", "dev-1", "InstanceProfileName", "dev-1", "PolicyName", "dev-1"}
		attach := append([]string{"UserName", user.name(), "PolicyArn", administrator}, decoys...)
		user.wants("AttachUserPolicy", user.iam("AttachUserPolicy", attach...), "AccessDenied", user.refusal("iam:AttachUserPolicy", user.arn, "identity-based"))
		key := append([]string{"UserName", "admin"}, decoys...)
		refuses(t, user, user.iam("CreateAccessKey", key...), "iam:CreateAccessKey")
		key = append([]string{"PolicyDocument", document(allow("*", "*")), "PolicyArn", "arn:aws:iam::" + account + ":policy/dev-1"}, decoys...)
		refuses(t, user, user.iam("PutUserPolicy", key...), "iam:PutUserPolicy")
		swap := []string{"RoleName", "strong", "PolicyDocument", trusts(`"AWS":"` + user.arn + `"`), "InstanceProfileName", "dev-1", "GroupName", "dev-1"}
		refuses(t, user, user.iam("UpdateAssumeRolePolicy", swap...), "iam:UpdateAssumeRolePolicy")

		root.may(user, allow("logs:*", "arn:aws:logs:*:*:log-group:dev*"))
		root.done(root.logs("CreateLogGroup", `{"logGroupName":"secret"}`))
		root.done(root.logs("CreateLogGroup", `{"logGroupName":"dev"}`))
		dev = `"arn:aws:logs:` + home + `:` + account + `:log-group:dev"`
		refuses(t, user, user.logs("DeleteLogGroup", `{"logGroupName":"secret","resourceArn":`+dev+`}`), "logs:DeleteLogGroup")
		refuses(t, user, user.logs("DeleteLogGroup", `{"LOGGROUPNAME":"dev","logGroupName":"secret"}`), "logs:DeleteLogGroup")
		refuses(t, user, user.logs("PutLogGroupDeletionProtection", `{"logGroupIdentifier":"secret","logGroupName":"dev","deletionProtectionEnabled":true}`), "logs:PutLogGroupDeletionProtection")
		refuses(t, user, user.logs("AssociateKmsKey", `{"resourceIdentifier":"arn:aws:logs:`+home+`:`+account+`:log-group:secret","kmsKeyId":"k"}`), "logs:AssociateKmsKey")
		refuses(t, user, user.logs("DescribeLogGroups", `{"logGroupIdentifiers":["dev","secret"]}`), "logs:DescribeLogGroups")
		user.wants("one's own", user.logs("DescribeLogGroups", `{"logGroupIdentifiers":["dev"]}`), "", "")
		user.wants("one's own", user.logs("DeleteLogGroup", `{"logGroupName":"dev"}`), "", "")
	})

	t.Run("sessions", func(t *testing.T) {
		root := root.in(t)
		user := root.newUser("sam")
		root.may(user, allow("sts:AssumeRole", "*"), allow("lambda:*", "*"))
		refused := func(role string) {
			t.Helper()
			user.wants("AssumeRole", user.query("sts", "AssumeRole", "RoleArn", role, "RoleSessionName", "session"), "AccessDenied", user.refusal("sts:AssumeRole", role, ""))
		}
		refused(strong) // trusts Lambda only
		refused("arn:aws:iam::" + victim.account + ":role/app")
		refused("arn:aws:iam::" + victim.account + ":role/absent")
		named := root.newRole("named", trusts(`"AWS":"arn:aws:iam::`+account+`:user/somebody"`), allow("*", "*"))
		refused(named)

		role := root.newRole("reader", trusts(`"AWS":"`+account+`"`), allow("lambda:GetFunction", "*"), allow("sts:AssumeRole", "*"))
		get, list := call("GetFunction", map[string]string{"FunctionName": "f"}, "", nil), call("ListFunctions", nil, "", nil)
		session := user.assumes(role)
		session.wants("as the role", get(session), "", "")
		session.wants("beyond the role", list(session), "AccessDeniedException", session.refusal("lambda:ListFunctions", "*", "identity-based"))
		session = user.assumes(role, "Policy", document(allow("*", "*")))
		session.wants("beyond the role with a session policy", list(session), "AccessDeniedException", session.refusal("lambda:ListFunctions", "*", "identity-based"))
		session = user.assumes(role, "Policy", document(allow("lambda:ListFunctions", "*")))
		session.wants("beyond the session policy", get(session), "AccessDeniedException", session.refusal("lambda:GetFunction", e.function, "session"))
		session = user.assumes(role, "PolicyArns.member.1.arn", administrator)
		session.wants("beyond the role with a managed session policy", list(session), "AccessDeniedException", "")
		refuses(t, session, session.query("sts", "AssumeRole", "RoleArn", strong, "RoleSessionName", "chained"), "sts:AssumeRole")
		user.wants("with a policy of another account", user.query("sts", "AssumeRole", "RoleArn", role, "RoleSessionName", "session",
			"PolicyArns.member.1.arn", "arn:aws:iam::"+victim.account+":policy/x"), "NoSuchEntity", "")

		// A session ends with its role or user, and is not that of the next of the name.
		session = user.assumes(role)
		token := root.done(user.query("sts", "GetSessionToken"))
		temporary := &party{s: s, t: t, account: account, arn: user.arn, keyID: token.element("AccessKeyId"), secret: token.element("SecretAccessKey"), token: token.element("SessionToken")}
		temporary.wants("a user's session", list(temporary), "", "")
		temporary.wants("a user's session at IAM", temporary.iam("ListUsers"), "AccessDenied", "")
		root.done(root.iam("PutUserPolicy", "UserName", user.name(), "PolicyName", "iam", "PolicyDocument", document(allow("iam:*", "*"))))
		temporary.wants("a user's session at IAM", temporary.iam("ListUsers"), "InvalidClientTokenId", "")
		root.done(root.iam("DeleteRolePolicy", "RoleName", "reader", "PolicyName", "p"))
		session.wants("a role without its policy", get(session), "AccessDeniedException", "")
		root.done(root.iam("DeleteRole", "RoleName", "reader"))
		session.wants("a role that is gone", get(session), "UnrecognizedClientException", "")
		root.newRole("reader", trusts(`"AWS":"`+account+`"`), allow("*", "*"))
		session.wants("another role of the name", get(session), "UnrecognizedClientException", "")
		wrong := *session
		wrong.token = temporary.token
		wrong.wants("another session's token", get(&wrong), "UnrecognizedClientException", "")
		wrong.keyID, wrong.secret = temporary.keyID, user.secret
		wrong.wants("another secret", get(&wrong), "InvalidSignatureException", "")
	})

	t.Run("permissions boundaries", func(t *testing.T) {
		root := root.in(t)
		root.done(root.iam("CreatePolicy", "PolicyName", "boundary", "PolicyDocument", document(
			allow("lambda:*", "*"), allow("sts:*", "*"), allow("iam:*", "*"),
			deny("iam:DeleteUserPermissionsBoundary", "*"), deny("iam:CreatePolicyVersion", "arn:aws:iam::"+account+":policy/boundary"),
			deny("iam:CreateUser", "*", `{"StringNotEquals":{"iam:PermissionsBoundary":"arn:aws:iam::`+account+`:policy/boundary"}}`),
			deny("iam:PutUserPermissionsBoundary", "*", `{"StringNotEquals":{"iam:PermissionsBoundary":"arn:aws:iam::`+account+`:policy/boundary"}}`),
		)))
		boundary := "arn:aws:iam::" + account + ":policy/boundary"
		user := root.newUser("delegate", "PermissionsBoundary", boundary)
		root.may(user, allow("*", "*"))
		why := func(action, resource string) string {
			return user.refusal(action, resource, "denied")[:len(user.refusal(action, resource, ""))] + " with an explicit deny in a permissions boundary"
		}
		user.wants("its own boundary", user.iam("DeleteUserPermissionsBoundary", "UserName", "delegate"), "AccessDenied", why("iam:DeleteUserPermissionsBoundary", user.arn))
		user.wants("another boundary", user.iam("PutUserPermissionsBoundary", "UserName", "delegate", "PermissionsBoundary", administrator), "AccessDenied", why("iam:PutUserPermissionsBoundary", user.arn))
		user.wants("a wider boundary", user.iam("CreatePolicyVersion", "PolicyArn", boundary, "PolicyDocument", document(allow("*", "*")), "SetAsDefault", "true"), "AccessDenied", why("iam:CreatePolicyVersion", boundary))
		user.wants("a user without", user.iam("CreateUser", "UserName", "free"), "AccessDenied", why("iam:CreateUser", "arn:aws:iam::"+account+":user/free"))
		user.wants("a user with it", user.iam("CreateUser", "UserName", "bound", "PermissionsBoundary", boundary), "", "")
		user.wants("beyond", user.logs("DescribeLogGroups", "{}"), "AccessDeniedException", user.refusal("logs:DescribeLogGroups", "arn:aws:logs:"+home+":"+account+":log-group::log-stream:", "")+" because no permissions boundary allows the logs:DescribeLogGroups action")
		// A policy that is a boundary does not go away from under it.
		user.wants("the boundary itself", user.iam("DeletePolicy", "PolicyArn", boundary), "DeleteConflict", "")
	})

	t.Run("what is another account's", func(t *testing.T) {
		victim, root := victim.in(t), root.in(t)
		user := root.newUser("outsider")
		root.may(user, allow("*", "*"))
		absent := strings.Replace(foreign.function, ":function:f", ":function:absent", 1)
		before := victim.state(foreign)
		for _, who := range []*party{root, user} {
			for name, pair := range map[string][2]answer{
				"a mapping to its function": {
					call("CreateEventSourceMapping", nil, "", map[string]any{"FunctionName": foreign.function, "EventSourceArn": "arn:aws:sqs:" + home + ":" + account + ":q"})(who),
					call("CreateEventSourceMapping", nil, "", map[string]any{"FunctionName": absent, "EventSourceArn": "arn:aws:sqs:" + home + ":" + account + ":q"})(who),
				},
				"a mapping turned to its function": {
					call("UpdateEventSourceMapping", map[string]string{"UUID": e.mapping}, "", map[string]any{"FunctionName": foreign.function})(who),
					call("UpdateEventSourceMapping", map[string]string{"UUID": e.mapping}, "", map[string]any{"FunctionName": absent})(who),
				},
				"its function as a destination": {
					call("PutFunctionEventInvokeConfig", map[string]string{"FunctionName": "f"}, "", map[string]any{"DestinationConfig": map[string]any{"OnSuccess": map[string]any{"Destination": foreign.function}}})(who),
					call("PutFunctionEventInvokeConfig", map[string]string{"FunctionName": "f"}, "", map[string]any{"DestinationConfig": map[string]any{"OnSuccess": map[string]any{"Destination": absent}}})(who),
				},
				"its code signing config": {
					call("PutFunctionCodeSigningConfig", map[string]string{"FunctionName": "f"}, "", map[string]any{"CodeSigningConfigArn": foreign.signing})(who),
					call("PutFunctionCodeSigningConfig", map[string]string{"FunctionName": "f"}, "", map[string]any{"CodeSigningConfigArn": foreign.signing[:len(foreign.signing)-4] + "none"})(who),
				},
				"an alias of its function": {
					call("CreateAlias", map[string]string{"FunctionName": foreign.function}, "", map[string]any{"Name": "mine", "FunctionVersion": "1"})(who),
					call("CreateAlias", map[string]string{"FunctionName": absent}, "", map[string]any{"Name": "mine", "FunctionVersion": "1"})(who),
				},
				"a URL of its function": {
					call("CreateFunctionUrlConfig", map[string]string{"FunctionName": foreign.function}, "", map[string]any{"AuthType": "NONE"})(who),
					call("CreateFunctionUrlConfig", map[string]string{"FunctionName": absent}, "", map[string]any{"AuthType": "NONE"})(who),
				},
				"tags of its function": {
					call("TagResource", map[string]string{"Resource": foreign.function}, "", map[string]any{"Tags": map[string]string{"k": "x"}})(who),
					call("TagResource", map[string]string{"Resource": absent}, "", map[string]any{"Tags": map[string]string{"k": "x"}})(who),
				},
				"its policy": {
					who.iam("AttachUserPolicy", "UserName", "outsider", "PolicyArn", "arn:aws:iam::"+victim.account+":policy/f"),
					who.iam("AttachUserPolicy", "UserName", "outsider", "PolicyArn", "arn:aws:iam::"+victim.account+":policy/absent"),
				},
				"its logs": {
					who.logs("FilterLogEvents", `{"logGroupIdentifier":"arn:aws:logs:`+home+`:`+victim.account+`:log-group:/aws/lambda/f"}`),
					who.logs("FilterLogEvents", `{"logGroupIdentifier":"arn:aws:logs:`+home+`:`+victim.account+`:log-group:/aws/lambda/absent"}`),
				},
				"its access keys": {
					who.iam("GetAccessKeyLastUsed", "AccessKeyId", victim.keyID), who.iam("GetAccessKeyLastUsed", "AccessKeyId", "AKIAAAAAAAAAAAAAAAAA"),
				},
			} {
				erase := strings.NewReplacer("absent", "f", foreign.signing[:len(foreign.signing)-4]+"none", foreign.signing, "AKIAAAAAAAAAAAAAAAAA", victim.keyID).Replace
				if pair[0].status < 400 || pair[0].code != pair[1].code || erase(pair[0].message) != erase(pair[1].message) {
					t.Errorf("%s, %s = %d %s: %s; what nobody has: %s: %s", who.arn, name, pair[0].status, pair[0].code, pair[0].message, pair[1].code, pair[1].message)
				}
			}
		}
		function := map[string]any{
			"FunctionName": "signed", "Role": weak, "Runtime": "python3.12", "Handler": "app.handler", "Code": map[string]any{"ZipFile": e.zip}, "CodeSigningConfigArn": foreign.signing,
		}
		user.wants("a function with its code signing config", call("CreateFunction", nil, "", function)(user), "CodeSigningConfigNotFoundException", "")
		if after := victim.state(foreign); after != before {
			t.Errorf("strangers changed\n%s\nto\n%s", before, after)
		}
	})

	t.Run("permissions of what is gone", func(t *testing.T) {
		victim, root := victim.in(t), root.in(t)
		invoke := call("Invoke", map[string]string{"FunctionName": foreign.function}, "Qualifier=shared", nil)
		alias := func() {
			t.Helper()
			victim.done(victim.lambda(http.MethodPost, "/2015-03-31/functions/f/aliases", `{"Name":"shared","FunctionVersion":"1"}`))
		}
		alias()
		victim.done(call("AddPermission", map[string]string{"FunctionName": "f"}, "Qualifier=shared", map[string]any{"StatementId": "x", "Action": "lambda:InvokeFunction", "Principal": account})(victim))
		root.wants("a shared alias", invoke(root), "", "")
		root.wants("the version behind it", call("Invoke", map[string]string{"FunctionName": foreign.function}, "Qualifier=1", nil)(root), "AccessDeniedException", "")
		victim.done(call("DeleteAlias", map[string]string{"FunctionName": "f", "Name": "shared"}, "", nil)(victim))
		root.wants("a deleted alias", invoke(root), "AccessDeniedException", "")
		alias()
		root.wants("another alias of the name", invoke(root), "AccessDeniedException", "")
	})

	t.Run("presigned requests", func(t *testing.T) {
		root := root.in(t)
		user := root.newUser("presigner")
		root.may(user, allow("lambda:GetFunction", e.function))
		presign := func(path string) string {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path+"?X-Amz-Expires=60", nil)
			if err != nil {
				t.Fatal(err)
			}
			link, _, err := v4.NewSigner().PresignHTTP(t.Context(), aws.Credentials{AccessKeyID: user.keyID, SecretAccessKey: user.secret}, req, emptyPayload, "lambda", home, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return link
		}
		status := func(link string) int {
			t.Helper()
			resp, err := http.Get(link)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			return resp.StatusCode
		}
		link := presign("/2015-03-31/functions/f")
		if got := status(link); got != http.StatusOK {
			t.Errorf("a presigned request: %d; want 200", got)
		}
		if got := status(strings.Replace(link, "functions/f", "functions/f/policy", 1)); got != http.StatusForbidden {
			t.Errorf("for something else: %d; want 403", got)
		}
		if got := status(presign("/2015-03-31/functions/f/policy")); got != http.StatusForbidden {
			t.Errorf("beyond the signer's rights: %d; want 403", got)
		}
		root.may(user)
		if got := status(link); got != http.StatusForbidden {
			t.Errorf("after the signer lost the right: %d; want 403", got)
		}
		root.may(user, allow("*", "*"))
		root.done(root.iam("DeleteAccessKey", "UserName", user.name(), "AccessKeyId", user.keyID))
		if got := status(link); got != http.StatusForbidden {
			t.Errorf("after the key was deleted: %d; want 403", got)
		}
		// A link to an archive is for that archive, whoever has it.
		mine := root.done(call("GetFunction", map[string]string{"FunctionName": "f"}, "", nil)(root)).text
		_, rest, _ := strings.Cut(mine, `"Location":"`)
		location, _, _ := strings.Cut(rest, `"`)
		location = strings.ReplaceAll(location, `\u0026`, "&")
		u, err := url.Parse(location)
		if err != nil {
			t.Fatal(err)
		}
		if got := status(location); got != http.StatusOK {
			t.Errorf("a link: %d; want 200", got)
		}
		u.Path = u.Path[:len(u.Path)-4] + "0000"
		if got := status(u.String()); got != http.StatusForbidden {
			t.Errorf("a link to another archive: %d; want 403", got)
		}
	})
}

const emptyPayload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// TestLogsEnforcement calls every operation of CloudWatch Logs as [TestEnforcement]
// does.
func TestLogsEnforcement(t *testing.T) {
	t.Parallel()
	s := startInProcess(t)
	root, stranger := s.root(t), s.newAccount(t, "stranger")
	base := "arn:aws:logs:" + home + ":" + account + ":log-group:"
	named := map[string]string{ // what requests have besides the name of their group
		"CreateLogGroup": "", "DeleteLogGroup": "", "DeleteRetentionPolicy": "", "DescribeMetricFilters": "", "DescribeSubscriptionFilters": "",
		"ListTagsLogGroup": "", "DisassociateKmsKey": "", "DescribeLogStreams": "", "FilterLogEvents": "",
		"PutRetentionPolicy": `,"retentionInDays":7`, "AssociateKmsKey": `,"kmsKeyId":"k"`, "TagLogGroup": `,"tags":{"k":"v"}`, "UntagLogGroup": `,"tags":["k"]`,
		"CreateLogStream": `,"logStreamName":"new"`, "DeleteLogStream": `,"logStreamName":"s"`, "GetLogEvents": `,"logStreamName":"s"`,
		"PutLogEvents": fmt.Sprintf(`,"logStreamName":"s","logEvents":[{"timestamp":%d,"message":"m"}]`, time.Now().UnixMilli()),
	}
	byARN := map[string]string{"TagResource": `,"tags":{"k":"v"}`, "UntagResource": `,"tagKeys":["k"]`, "ListTagsForResource": ""}
	for _, operation := range logs.Operations() {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			root, stranger := root.in(t), stranger.in(t)
			user, group := root.newUser(operation), "group-"+operation
			if operation != "CreateLogGroup" {
				root.done(root.logs("CreateLogGroup", `{"logGroupName":"`+group+`"}`))
				root.done(root.logs("CreateLogStream", `{"logGroupName":"`+group+`","logStreamName":"s"}`))
			}
			request := func(group, at string) (body, resource string) {
				stream := ""
				if strings.Contains(named[operation], "logStreamName") {
					stream = "s"
					if operation == "CreateLogStream" {
						stream = "new"
					}
				}
				resource = at + group + ":log-stream:" + stream
				if more, ok := named[operation]; ok {
					return `{"logGroupName":"` + group + `"` + more + `}`, resource
				}
				if more, ok := byARN[operation]; ok {
					return `{"resourceArn":"` + at + group + `"` + more + `}`, at + group
				}
				switch operation {
				case "DescribeLogGroups":
					return `{}`, at + ":log-stream:"
				case "PutLogGroupDeletionProtection":
					return `{"logGroupIdentifier":"` + at + group + `","deletionProtectionEnabled":false}`, resource
				}
				t.Fatalf("%s is offered, but no test calls it", operation)
				return "", ""
			}
			body, resource := request(group, base)
			action := "logs:" + operation
			user.wants("without a policy", user.logs(operation, body), "AccessDeniedException", user.refusal(action, resource, "identity-based"))
			root.may(user, allow("logs:*", "*"), deny(action, resource))
			user.wants("denied", user.logs(operation, body), "AccessDeniedException", user.refusal(action, resource, "denied"))
			root.may(user, allow(action, resource+"x"))
			user.wants("for another", user.logs(operation, body), "AccessDeniedException", user.refusal(action, resource, "identity-based"))

			// Nothing but an ARN leads to another account, and it does not.
			if operation == "DescribeLogGroups" {
				if got := stranger.logs(operation, body); strings.Contains(got.text, "group-") {
					t.Errorf("a stranger sees %s", got.text)
				}
			} else if strings.Contains(body, "arn:") {
				body, _ := request(group, base)
				none, _ := request("absent", base)
				real, unreal := stranger.logs(operation, body), stranger.logs(operation, none)
				if real.code != "ResourceNotFoundException" || real.message != unreal.message || unreal.code != real.code {
					t.Errorf("a stranger's = %s: %s; nobody's = %s: %s", real.code, real.message, unreal.code, unreal.message)
				}
			}
			root.may(user, allow(action, resource))
			user.wants("with exactly that", user.logs(operation, body), "", "")
		})
	}
}
