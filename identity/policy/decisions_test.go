package policy

import (
	"fmt"
	"strings"
	"testing"
)

// The cast of the published examples: two accounts, and an organization that only
// the first is in.
const (
	here  = "111122223333"
	there = "444455556666"

	aliceARN   = "arn:aws:iam::111122223333:user/alice"
	roleARN    = "arn:aws:iam::111122223333:role/app/worker"
	sessionARN = "arn:aws:sts::111122223333:assumed-role/worker/s1"
	fedARN     = "arn:aws:sts::111122223333:federated-user/bob"
	function   = "arn:aws:lambda:us-east-1:111122223333:function:f"
	theirs     = "arn:aws:lambda:us-east-1:444455556666:function:f"
	invoke     = "lambda:InvokeFunction"
)

func alice() Principal {
	return Principal{
		Kind: User, Account: here, ARN: aliceARN, UserID: "AIDAALICE", UserName: "alice", OrgID: "o-one", OrgPaths: []string{"o-one/r-1/ou-a/"},
		Tags: map[string]string{"Department": "data", "costCenter": "17"},
	}
}

func worker() Principal {
	return Principal{Kind: RoleSession, Account: here, ARN: sessionARN, Issuer: roleARN, UserID: "AROAWORKER:s1", OrgID: "o-one"}
}

func federated() Principal {
	return Principal{Kind: FederatedUser, Account: here, ARN: fedARN, Issuer: aliceARN, UserID: here + ":bob"}
}

func root() Principal {
	return Principal{Kind: Root, Account: here, ARN: "arn:aws:iam::111122223333:root"}
}

func s3Service() Principal {
	return Principal{Kind: Service, Services: []string{"s3.amazonaws.com", "s3.us-east-1.amazonaws.com"}}
}

// documents are the texts of a case's policies; the empty text is no policy.
type documents struct {
	identity, session         []string
	resource, trust, boundary string
	control                   [][]string
}

func (d documents) parse(t testing.TB) *Policies {
	t.Helper()
	var p Policies
	several := func(texts []string) []*Document {
		var all []*Document
		for _, text := range texts {
			all = append(all, mustParse(t, Identity, text))
		}
		return all
	}
	p.Identity, p.Session = several(d.identity), several(d.session)
	for _, level := range d.control {
		p.Control = append(p.Control, several(level))
	}
	if d.boundary != "" {
		p.Boundary = mustParse(t, Identity, d.boundary)
	}
	if d.resource != "" {
		p.Resource = mustParse(t, Resource, d.resource)
	}
	if d.trust != "" {
		p.Resource = mustParse(t, Trust, d.trust)
	}
	return &p
}

// identityOf is a document of one statement.
func identityOf(effect, action, resource string, more ...string) string {
	return statements(members(append([]string{"Effect", q(effect), "Action", q(action), "Resource", q(resource)}, more...)...))
}

// resourceOf is a document of one statement about a principal, which is JSON.
func resourceOf(effect, principal, action string, more ...string) string {
	return statements(members(append([]string{"Effect", q(effect), "Principal", principal, "Action", q(action), "Resource", `"*"`}, more...)...))
}

func trustOf(effect, principal string, more ...string) string {
	return statements(members(append([]string{"Effect", q(effect), "Principal", principal, "Action", `"sts:AssumeRole"`}, more...)...))
}

func q(s string) string { return fmt.Sprintf("%q", s) }

func aws(name string) string { return `{"AWS":` + q(name) + `}` }

func these(s ...string) []string { return s }

// Outcomes, as the reports of a decision.
const (
	allowed = "allowed"
	not     = "no "
	denied  = "denied by "
)

func outcome(d Decision) string {
	switch {
	case d.Allowed:
		return allowed
	case d.Explicit:
		return denied + d.By.String()
	}
	return not + d.By.String()
}

type decisionCase struct {
	name string
	documents
	request Request
	want    string
}

// TestDecisions holds decisions to AWS's published rules. Each group names the
// page of the IAM User Guide, and the rule on it.
func TestDecisions(t *testing.T) {
	t.Parallel()
	on := func(p Principal) Request {
		return Request{Principal: p, Action: invoke, Resource: function, ResourceAccount: here}
	}
	across := func(p Principal) Request {
		return Request{Principal: p, Action: invoke, Resource: theirs, ResourceAccount: there}
	}
	assume := func(p Principal, account string) Request {
		return Request{Principal: p, Action: "sts:AssumeRole", Resource: "arn:aws:iam::" + account + ":role/target", ResourceAccount: account}
	}
	yes, no := identityOf(allow, invoke, "*"), identityOf(deny, invoke, "*")
	other := identityOf(allow, "lambda:GetFunction", "*")
	toAlice, toRole, toSession := resourceOf(allow, aws(aliceARN), invoke), resourceOf(allow, aws(roleARN), invoke), resourceOf(allow, aws(sessionARN), invoke)
	toFed, toAccount, toAll := resourceOf(allow, aws(fedARN), invoke), resourceOf(allow, aws(here), invoke), resourceOf(allow, `"*"`, invoke)
	toRootARN := resourceOf(allow, aws("arn:aws:iam::111122223333:root"), invoke)
	toService := resourceOf(allow, `{"Service":"s3.amazonaws.com"}`, invoke)
	noIdentity, noResource := not+IdentityBased.String(), not+ResourceBased.String()
	noBoundary, noSession, noControl := not+PermissionsBoundary.String(), not+SessionPolicy.String(), not+ServiceControl.String()
	noTrust := not + RoleTrust.String()
	orgOne := `{"StringEquals":{"aws:PrincipalOrgID":"o-one"}}`

	count := 0
	for group, cases := range map[string][]decisionCase{
		// reference_policies_evaluation-logic_policy-eval-denyallow: "By default, all
		// requests are implicitly denied with the exception of the root user";
		// "Requests must be explicitly allowed"; "An explicit deny overrides".
		"evaluation logic: default deny, explicit deny": {
			{"no policy at all", documents{}, on(alice()), noIdentity},
			{"a role without policies", documents{}, on(worker()), noIdentity},
			{"an allow", documents{identity: these(yes)}, on(alice()), allowed},
			{"an allow of something else", documents{identity: these(other)}, on(alice()), noIdentity},
			{"the second of two policies allows", documents{identity: these(other, yes)}, on(alice()), allowed},
			{"a deny beside an allow", documents{identity: these(yes, no)}, on(alice()), denied + IdentityBased.String()},
			{"a deny before an allow", documents{identity: these(no, yes)}, on(alice()), denied + IdentityBased.String()},
			{"a deny alone", documents{identity: these(no)}, on(alice()), denied + IdentityBased.String()},
			{"a deny in the resource's policy", documents{identity: these(yes), resource: resourceOf(deny, `"*"`, invoke)}, on(alice()), denied + ResourceBased.String()},
			{"a deny in the identity's policy against a resource's allow", documents{identity: these(no), resource: toAlice}, on(alice()), denied + IdentityBased.String()},
			{"a deny in the boundary", documents{identity: these(yes), boundary: no}, on(alice()), denied + PermissionsBoundary.String()},
			{"a deny in the boundary against a direct grant", documents{resource: toAlice, boundary: no}, on(alice()), denied + PermissionsBoundary.String()},
			{"a deny in a session policy", documents{identity: these(yes), session: these(no)}, on(worker()), denied + SessionPolicy.String()},
			{"a deny in a session policy against a direct grant", documents{resource: toSession, session: these(no)}, on(worker()), denied + SessionPolicy.String()},
			{"a deny in a service control policy", documents{identity: these(yes), control: [][]string{{no}}}, on(alice()), denied + ServiceControl.String()},
			{"a deny that is about something else", documents{identity: these(yes, identityOf(deny, "lambda:DeleteFunction", "*"))}, on(alice()), allowed},
			{"a deny of another resource", documents{identity: these(yes, identityOf(deny, "*", function+"x"))}, on(alice()), allowed},
			{"a deny whose condition is not met", documents{identity: these(yes, identityOf(deny, "*", "*", "Condition", `{"Bool":{"aws:SecureTransport":"false"}}`))}, on(alice()), allowed},
		},
		// Same page: the root user "has full access"; service control policies limit
		// "each AWS account root user".
		"evaluation logic: root user": {
			{"in its own account", documents{}, on(root()), allowed},
			{"policies of users do not bind it", documents{identity: these(no), boundary: no}, on(root()), allowed},
			{"in another account without a policy there", documents{}, across(root()), noResource},
			{"in another account that names its account", documents{resource: toAccount}, across(root()), allowed},
			{"in another account that names everyone", documents{resource: toAll}, across(root()), allowed},
			{"in another account that names one of its users", documents{resource: toAlice}, across(root()), noResource},
			{"a service control policy denies", documents{control: [][]string{{no}}}, on(root()), denied + ServiceControl.String()},
			{"no service control policy allows", documents{control: [][]string{{other}}}, on(root()), noControl},
			{"a resource's policy denies everyone", documents{resource: resourceOf(deny, `"*"`, "*")}, on(root()), denied + ResourceBased.String()},
		},
		// reference_policies_evaluation-logic_policy-eval-basics: "If an action is
		// allowed by an identity-based policy, a resource-based policy, or both, then
		// AWS allows the action".
		"single account: identity or resource": {
			{"identity only", documents{identity: these(yes), resource: resourceOf(allow, aws(aliceARN+"x"), invoke)}, on(alice()), allowed},
			{"resource only", documents{identity: these(other), resource: toAlice}, on(alice()), allowed},
			{"both", documents{identity: these(yes), resource: toAlice}, on(alice()), allowed},
			{"neither", documents{identity: these(other), resource: resourceOf(allow, aws(aliceARN+"x"), invoke)}, on(alice()), noIdentity},
			{"the account's resource named without an owner", documents{identity: these(yes)}, Request{Principal: alice(), Action: invoke, Resource: "*"}, allowed},
		},
		// Same page, Carlos: DenyS3Logs against the bucket's own policy.
		"single account: example of Carlos": func() []decisionCase {
			carlos := Principal{Kind: User, Account: "123456789012", ARN: "arn:aws:iam::123456789012:user/carlossalazar", UserName: "carlossalazar"}
			d := documents{
				identity: these(statements(
					members("Sid", `"AllowS3ListRead"`, "Effect", `"Allow"`, "Action", `["s3:GetBucketLocation","s3:ListAllMyBuckets"]`, "Resource", `"arn:aws:s3:::*"`),
					members("Sid", `"AllowS3Self"`, "Effect", `"Allow"`, "Action", `"s3:*"`, "Resource", `["arn:aws:s3:::carlossalazar/*","arn:aws:s3:::carlossalazar"]`),
					members("Sid", `"DenyS3Logs"`, "Effect", `"Deny"`, "Action", `"s3:*"`, "Resource", `"arn:aws:s3:::*log*"`))),
				resource: statements(members("Effect", `"Allow"`, "Principal", aws(carlos.ARN), "Action", `"s3:*"`, "Resource", `["arn:aws:s3:::carlossalazar/*","arn:aws:s3:::carlossalazar"]`)),
			}
			s3 := func(action, resource string) Request {
				return Request{Principal: carlos, Action: action, Resource: resource, ResourceAccount: "123456789012"}
			}
			return []decisionCase{
				{"to the logs", d, s3("s3:PutObject", "arn:aws:s3:::carlossalazar-logs/x"), denied + IdentityBased.String()},
				{"to his own bucket", d, s3("s3:PutObject", "arn:aws:s3:::carlossalazar/x"), allowed},
				{"lists buckets", d, s3("s3:ListAllMyBuckets", "arn:aws:s3:::*"), allowed},
				{"to another bucket", d, s3("s3:PutObject", "arn:aws:s3:::elsewhere/x"), noIdentity},
			}
		}(),
		// reference_policies_evaluation-logic_AccessPolicyLanguage_Interplay:
		// AllowGetList and DenyReports.
		"explicit and implicit denies": func() []decisionCase {
			d := documents{identity: these(statements(
				members("Sid", `"AllowGetList"`, "Effect", `"Allow"`, "Action", `["iam:Get*","iam:List*"]`, "Resource", `"*"`),
				members("Sid", `"DenyReports"`, "Effect", `"Deny"`, "Action", `"iam:*Report"`, "Resource", `"*"`)))}
			iam := func(action string) Request { return Request{Principal: alice(), Action: action, Resource: "*"} }
			return []decisionCase{
				{"reads", d, iam("iam:GetUser"), allowed},
				{"lists", d, iam("iam:ListRoles"), allowed},
				{"creates", d, iam("iam:CreatePolicy"), noIdentity},
				{"reports that are also reads", d, iam("iam:GetOrganizationsAccessReport"), denied + IdentityBased.String()},
				{"reports", d, iam("iam:GenerateCredentialReport"), denied + IdentityBased.String()},
			}
		}(),
		// reference_policies_evaluation-logic_policy-eval-denyallow, resource-based
		// policies: IAM user: "not limited by an implicit deny in an identity-based
		// policy or permissions boundary".
		"implicit denies: IAM user named": {
			{"no identity policy", documents{resource: toAlice}, on(alice()), allowed},
			{"a boundary without the action", documents{resource: toAlice, boundary: other}, on(alice()), allowed},
			{"a user of the same name elsewhere", documents{resource: resourceOf(allow, aws("arn:aws:iam::444455556666:user/alice"), invoke)}, on(alice()), noIdentity},
			{"names are case-sensitive", documents{resource: resourceOf(allow, aws("arn:aws:iam::111122223333:user/Alice"), invoke)}, on(alice()), noIdentity},
			{"by unique ID", documents{resource: resourceOf(allow, aws("AIDAALICE"), invoke)}, on(alice()), allowed},
		},
		// Same: IAM role: "limited by an implicit deny in a permissions boundary or
		// session policy".
		"implicit denies: IAM role named": {
			{"no identity policy", documents{resource: toRole}, on(worker()), allowed},
			{"a boundary without the action", documents{resource: toRole, boundary: other}, on(worker()), noBoundary},
			{"a boundary with the action", documents{resource: toRole, boundary: yes}, on(worker()), allowed},
			{"a session policy without the action", documents{resource: toRole, session: these(other)}, on(worker()), noSession},
			{"a session policy with the action", documents{resource: toRole, session: these(yes)}, on(worker()), allowed},
			{"another role", documents{resource: resourceOf(allow, aws(roleARN+"x"), invoke)}, on(worker()), noIdentity},
			{"by unique ID", documents{resource: resourceOf(allow, aws("AROAWORKER"), invoke)}, on(worker()), allowed},
			{"by the beginning of its ID", documents{resource: resourceOf(allow, aws("AROAWORK"), invoke)}, on(worker()), noIdentity},
			{"by unique ID, limited", documents{resource: resourceOf(allow, aws("AROAWORKER"), invoke), boundary: other}, on(worker()), noBoundary},
		},
		// Same: role session: "not limited by an implicit deny in an identity-based
		// policy, a permissions boundary, or session policy".
		"implicit denies: role session named": {
			{"no identity policy", documents{resource: toSession}, on(worker()), allowed},
			{"a boundary without the action", documents{resource: toSession, boundary: other}, on(worker()), allowed},
			{"a session policy without the action", documents{resource: toSession, session: these(other)}, on(worker()), allowed},
			{"all of them", documents{resource: toSession, identity: these(other), boundary: other, session: these(other)}, on(worker()), allowed},
			{"another session of the role", documents{resource: resourceOf(allow, aws(sessionARN+"x"), invoke)}, on(worker()), noIdentity},
			{"a service control policy without the action limits it", documents{resource: toSession, control: [][]string{{other}}}, on(worker()), noControl},
		},
		// Same: federated user sessions; and "if there is no session policy … the
		// principal is a role session … Otherwise, the request is implicitly denied".
		"implicit denies: federated user": {
			{"session named, no session policy", documents{resource: toFed}, on(federated()), allowed},
			{"session named, a session policy without the action", documents{resource: toFed, session: these(other)}, on(federated()), allowed},
			{"session named, a boundary without the action", documents{resource: toFed, boundary: other}, on(federated()), allowed},
			{"the user named, a session policy with the action", documents{resource: toAlice, session: these(yes)}, on(federated()), allowed},
			{"the user named, a session policy without the action", documents{resource: toAlice, session: these(other)}, on(federated()), noSession},
			{"the user named, a boundary without the action", documents{resource: toAlice, session: these(yes), boundary: other}, on(federated()), noBoundary},
			{"identity and session policy", documents{identity: these(yes), session: these(yes)}, on(federated()), allowed},
			{"identity without a session policy", documents{identity: these(yes)}, on(federated()), noSession},
		},
		// reference_policies_elements_principal: account principals "delegate
		// authority to the account"; the ARN of root and the digits "behave the same";
		// all principals: "For IAM users and role principals within your account, no
		// other permissions are required".
		"principals: account and everyone": {
			{"the account does not stand for its users", documents{resource: toAccount}, on(alice()), noIdentity},
			{"the account's ARN does not either", documents{resource: toRootARN}, on(alice()), noIdentity},
			{"the account and the user's policy", documents{resource: toAccount, identity: these(yes)}, on(alice()), allowed},
			{"the account, across", documents{resource: toAccount, identity: these(yes)}, across(alice()), allowed},
			{"the account's ARN, across", documents{resource: toRootARN, identity: these(yes)}, across(alice()), allowed},
			{"another account, across", documents{resource: resourceOf(allow, aws("999999999999"), invoke), identity: these(yes)}, across(alice()), noResource},
			{"everyone, a user", documents{resource: toAll}, on(alice()), allowed},
			{"everyone, a session with limits", documents{resource: toAll, boundary: other, session: these(other)}, on(worker()), allowed},
			{"everyone spelled in AWS", documents{resource: resourceOf(allow, aws("*"), invoke)}, on(alice()), allowed},
			{"everyone, across, without identity policy", documents{resource: toAll}, across(alice()), noIdentity},
			{"everyone, across, with identity policy", documents{resource: toAll, identity: these(yes)}, across(alice()), allowed},
			{"the account and then the user", documents{resource: statements(
				members("Effect", `"Allow"`, "Principal", aws(here), "Action", `"*"`, "Resource", `"*"`),
				members("Effect", `"Allow"`, "Principal", aws(aliceARN), "Action", `"*"`, "Resource", `"*"`))}, on(alice()), allowed},
			{"one of several", documents{resource: resourceOf(allow, `{"AWS":["999999999999",`+q(aliceARN)+`]}`, invoke)}, on(alice()), allowed},
			{"a canonical user, across", documents{resource: resourceOf(allow, `{"CanonicalUser":"79a5"}`, invoke), identity: these(yes)}, func() Request {
				r := across(alice())
				r.Principal.CanonicalUser = "79a5"
				return r
			}(), allowed},
			{"another canonical user, across", documents{resource: resourceOf(allow, `{"CanonicalUser":"79a5"}`, invoke), identity: these(yes)}, across(alice()), noResource},
			{"a denied account is its users, too", documents{identity: these(yes), resource: resourceOf(deny, aws(here), "*")}, on(alice()), denied + ResourceBased.String()},
			{"a denied role is its sessions, too", documents{identity: these(yes), resource: resourceOf(deny, aws(roleARN), "*")}, on(worker()), denied + ResourceBased.String()},
		},
		// reference_policies_evaluation-logic-cross-account: "The request is allowed
		// only if both evaluations return a decision of Allow".
		"cross-account": {
			{"identity only", documents{identity: these(yes)}, across(alice()), noResource},
			{"resource only", documents{resource: toAlice}, across(alice()), noIdentity},
			{"both", documents{identity: these(yes), resource: toAlice}, across(alice()), allowed},
			{"neither", documents{}, across(alice()), noIdentity},
			{"a resource policy about another action", documents{identity: these(yes), resource: resourceOf(allow, aws(aliceARN), "lambda:GetFunction")}, across(alice()), noResource},
			{"the resource's account denies", documents{identity: these(yes), resource: statements(
				members("Effect", `"Allow"`, "Principal", `"*"`, "Action", `"*"`, "Resource", `"*"`),
				members("Effect", `"Deny"`, "Principal", aws(here), "Action", `"*"`, "Resource", `"*"`))}, across(alice()), denied + ResourceBased.String()},
			{"the principal's account denies", documents{identity: these(yes, no), resource: toAlice}, across(alice()), denied + IdentityBased.String()},
			{"a boundary limits", documents{identity: these(yes), resource: toAlice, boundary: other}, across(alice()), noBoundary},
			{"a session policy limits, also a session that is named", documents{identity: these(yes), resource: toSession, session: these(other)}, across(worker()), noSession},
			{"a service control policy limits", documents{identity: these(yes), resource: toAlice, control: [][]string{{other}}}, across(alice()), noControl},
			{"a role named", documents{identity: these(yes), resource: toRole}, across(worker()), allowed},
			{"a session named", documents{identity: these(yes), resource: toSession}, across(worker()), allowed},
			{"a session named, the role without policies", documents{resource: toSession}, across(worker()), noIdentity},
			{"an organization, member", documents{identity: these(yes), resource: resourceOf(allow, `"*"`, invoke, "Condition", orgOne)}, across(alice()), allowed},
			{"an organization, stranger", documents{identity: these(yes), resource: resourceOf(allow, `"*"`, invoke, "Condition", orgOne)}, func() Request {
				r := across(alice())
				r.Principal.OrgID = "o-two"
				return r
			}(), noResource},
		},
		// Same page, Carlos of 111111111111 and the bucket Production of 222222222222.
		"cross-account: example of Carlos": func() []decisionCase {
			carlos := Principal{Kind: User, Account: "111111111111", ARN: "arn:aws:iam::111111111111:user/carlossalazar", UserName: "carlossalazar"}
			identity := these(statements(
				members("Effect", `"Allow"`, "Action", `"s3:ListAllMyBuckets"`, "Resource", `"*"`),
				members("Effect", `"Allow"`, "Action", `"s3:*Object*"`, "Resource", `"arn:aws:s3:::Production/*"`),
				members("Effect", `"Deny"`, "Action", `"s3:*"`, "Resource", `["arn:aws:s3:::*log*","arn:aws:s3:::*log*/*"]`)))
			bucket := statements(members("Effect", `"Allow"`, "Action", `["s3:GetObject*","s3:PutObject*","s3:ReplicateObject","s3:RestoreObject"]`, "Principal", aws(carlos.ARN), "Resource", `"arn:aws:s3:::Production/*"`))
			s3 := func(action, resource string) Request {
				return Request{Principal: carlos, Action: action, Resource: resource, ResourceAccount: "222222222222"}
			}
			return []decisionCase{
				{"to the logs", documents{identity: identity}, s3("s3:PutObject", "arn:aws:s3:::Production-logs/x"), denied + IdentityBased.String()},
				{"to Production", documents{identity: identity, resource: bucket}, s3("s3:PutObject", "arn:aws:s3:::Production/x"), allowed},
				{"deletes in Production", documents{identity: identity, resource: bucket}, s3("s3:DeleteObject", "arn:aws:s3:::Production/x"), noResource},
				{"manages Production", documents{identity: identity, resource: bucket}, s3("s3:DeleteBucket", "arn:aws:s3:::Production"), noIdentity},
			}
		}(),
		// access_policies_boundaries: "the entity can perform only the actions that are
		// allowed by both"; boundaries grant nothing.
		"permissions boundaries": func() []decisionCase {
			boundary := statements(members("Effect", `"Allow"`, "Action", `["s3:*","cloudwatch:*","ec2:*"]`, "Resource", `"*"`))
			shirley := func(action string) Request {
				return Request{Principal: alice(), Action: action, Resource: "*"}
			}
			return []decisionCase{
				{"Shirley creates a user", documents{identity: these(identityOf(allow, "iam:CreateUser", "*")), boundary: boundary}, shirley("iam:CreateUser"), noBoundary},
				{"Shirley uses S3 that only the boundary allows", documents{identity: these(identityOf(allow, "iam:CreateUser", "*")), boundary: boundary}, shirley("s3:ListAllMyBuckets"), noIdentity},
				{"both allow", documents{identity: these(identityOf(allow, "s3:*", "*")), boundary: boundary}, shirley("s3:ListAllMyBuckets"), allowed},
				{"boundary, session policy and identity allow", documents{identity: these(yes), boundary: yes, session: these(yes)}, on(worker()), allowed},
				{"the boundary of the three does not", documents{identity: these(yes), boundary: other, session: these(yes)}, on(worker()), noBoundary},
				{"a boundary that allows only with a condition", documents{identity: these(yes), boundary: identityOf(allow, "*", "*", "Condition", `{"StringEquals":{"aws:PrincipalTag/Department":"data"}}`)}, on(alice()), allowed},
			}
		}(),
		// access_policies#policies_session: "the intersection of the identity-based
		// policies and the session policies"; several are passed together.
		"session policies": {
			{"none passed", documents{identity: these(yes)}, on(worker()), allowed},
			{"allows", documents{identity: these(yes), session: these(yes)}, on(worker()), allowed},
			{"allows more than the role", documents{identity: these(other), session: these(identityOf(allow, "*", "*"))}, on(worker()), noIdentity},
			{"does not allow", documents{identity: these(yes), session: these(other)}, on(worker()), noSession},
			{"one of two allows", documents{identity: these(yes), session: these(other, yes)}, on(worker()), allowed},
			{"one of two denies", documents{identity: these(yes), session: these(yes, no)}, on(worker()), denied + SessionPolicy.String()},
		},
		// orgs_manage_policies_scps_evaluation: each level from the root to the account
		// must allow; a deny anywhere denies; they grant nothing.
		"service control policies": {
			{"all levels allow", documents{identity: these(yes), control: [][]string{{yes}, {yes}}}, on(alice()), allowed},
			{"a level does not", documents{identity: these(yes), control: [][]string{{yes}, {other}}}, on(alice()), noControl},
			{"a level has none", documents{identity: these(yes), control: [][]string{{yes}, {}}}, on(alice()), noControl},
			{"one of two at a level", documents{identity: these(yes), control: [][]string{{other, yes}}}, on(alice()), allowed},
			{"a lower level denies", documents{identity: these(yes), control: [][]string{{yes}, {yes, no}}}, on(alice()), denied + ServiceControl.String()},
			{"they grant nothing", documents{control: [][]string{{yes}}}, on(alice()), noIdentity},
			{"services are not bound", documents{resource: toService, control: [][]string{{no}}}, on(s3Service()), allowed},
		},
		// reference_policies_elements_principal, AWS service principals; lambda
		// access-control-resource-based: aws:SourceArn and aws:SourceAccount.
		"service principals": func() []decisionCase {
			from := func(arn, account string) Request {
				r := on(s3Service())
				r.Context = Context{}
				r.Context.Set("aws:SourceArn", arn)
				r.Context.Set("aws:SourceAccount", account)
				return r
			}
			bucket := resourceOf(allow, `{"Service":"s3.amazonaws.com"}`, invoke, "Condition",
				`{"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::photos"},"StringEquals":{"AWS:SourceAccount":"111122223333"}}`)
			return []decisionCase{
				{"named", documents{resource: toService}, on(s3Service()), allowed},
				{"not named", documents{resource: resourceOf(allow, `{"Service":"sns.amazonaws.com"}`, invoke)}, on(s3Service()), noResource},
				{"one of several", documents{resource: resourceOf(allow, `{"Service":["sns.amazonaws.com","s3.amazonaws.com"]}`, invoke)}, on(s3Service()), allowed},
				{"named by another of its names", documents{resource: resourceOf(allow, `{"Service":"s3.us-east-1.amazonaws.com"}`, invoke)}, on(s3Service()), allowed},
				{"everyone", documents{resource: toAll}, on(s3Service()), allowed},
				{"an account does not mean services", documents{resource: toAccount}, on(s3Service()), noResource},
				{"no policy", documents{}, on(s3Service()), noResource},
				{"identity policies are not asked", documents{identity: these(yes)}, on(s3Service()), noResource},
				{"denied", documents{resource: resourceOf(deny, `{"Service":"s3.amazonaws.com"}`, "*")}, on(s3Service()), denied + ResourceBased.String()},
				{"of the right bucket", documents{resource: bucket}, from("arn:aws:s3:::photos", here), allowed},
				{"of another bucket", documents{resource: bucket}, from("arn:aws:s3:::others", here), noResource},
				{"of a bucket that has moved to another account", documents{resource: bucket}, from("arn:aws:s3:::photos", there), noResource},
				{"a user is not the service", documents{resource: bucket}, on(alice()), noIdentity},
				{"aws:PrincipalIsAWSService", documents{resource: resourceOf(allow, `"*"`, invoke, "Condition", `{"Bool":{"aws:PrincipalIsAWSService":"true"}}`)}, on(s3Service()), allowed},
				{"aws:PrincipalIsAWSService of a user", documents{resource: resourceOf(allow, `"*"`, invoke, "Condition", `{"Bool":{"aws:PrincipalIsAWSService":"true"}}`)}, on(alice()), noIdentity},
				{"aws:PrincipalServiceName", documents{resource: resourceOf(allow, `"*"`, invoke, "Condition", `{"StringEquals":{"aws:PrincipalServiceName":"s3.amazonaws.com"}}`)}, on(s3Service()), allowed},
				{"aws:PrincipalServiceNamesList", documents{resource: resourceOf(allow, `"*"`, invoke, "Condition", `{"ForAnyValue:StringEquals":{"aws:PrincipalServiceNamesList":"s3.us-east-1.amazonaws.com"}}`)}, on(s3Service()), allowed},
			}
		}(),
		// reference_policies_elements_principal, all principals: "grants access to all
		// users, including anonymous users".
		"anonymous": {
			{"everyone", documents{resource: toAll}, on(Principal{}), allowed},
			{"everyone spelled in AWS", documents{resource: resourceOf(allow, aws("*"), invoke)}, on(Principal{}), allowed},
			{"an account", documents{resource: toAccount}, on(Principal{}), noResource},
			{"no policy", documents{}, on(Principal{}), noResource},
			{"everyone of an organization", documents{resource: resourceOf(allow, `"*"`, invoke, "Condition", orgOne)}, on(Principal{}), noResource},
			{"denied", documents{resource: resourceOf(deny, `"*"`, invoke)}, on(Principal{}), denied + ResourceBased.String()},
			{"a function URL of type NONE", documents{resource: resourceOf(allow, `"*"`, "lambda:InvokeFunctionUrl", "Condition", `{"StringEquals":{"lambda:FunctionUrlAuthType":"NONE"}}`)}, Request{
				Action: "lambda:InvokeFunctionUrl", Resource: function, ResourceAccount: here, Context: Context{"lambda:functionurlauthtype": {"NONE"}},
			}, allowed},
			{"a function URL of type AWS_IAM", documents{resource: resourceOf(allow, `"*"`, "lambda:InvokeFunctionUrl", "Condition", `{"StringEquals":{"lambda:FunctionUrlAuthType":"NONE"}}`)}, Request{
				Action: "lambda:InvokeFunctionUrl", Resource: function, ResourceAccount: here, Context: Context{"lambda:functionurlauthtype": {"AWS_IAM"}},
			}, noResource},
		},
		// reference_policies_elements_notprincipal: Deny spares those of whom the user
		// or session, its role and the account are listed; Allow allows "all
		// principals except".
		"NotPrincipal": func() []decisionCase {
			except := func(effect string, names ...string) string {
				return statements(
					members("Effect", q(effect), "NotPrincipal", `{"AWS":["`+strings.Join(names, `","`)+`"]}`, "Action", `"*"`, "Resource", `"*"`))
			}
			rootARN := "arn:aws:iam::111122223333:root"
			return []decisionCase{
				{"Bob and his account", documents{identity: these(yes), resource: except(deny, aliceARN, rootARN)}, on(alice()), allowed},
				{"someone else", documents{identity: these(yes), resource: except(deny, aliceARN+"x", rootARN)}, on(alice()), denied + ResourceBased.String()},
				{"session, role and account", documents{identity: these(yes), resource: except(deny, sessionARN, roleARN, rootARN)}, on(worker()), allowed},
				{"another session of the role", documents{identity: these(yes), resource: except(deny, sessionARN+"x", roleARN, rootARN)}, on(worker()), denied + ResourceBased.String()},
				{"another account", documents{identity: these(yes), resource: except(deny, aliceARN, rootARN)}, Request{
					Principal: Principal{Kind: User, Account: there, ARN: "arn:aws:iam::444455556666:user/eve"}, Action: invoke, Resource: function, ResourceAccount: here,
				}, denied + ResourceBased.String()},
				{"strangers", documents{resource: except(deny, aliceARN, rootARN)}, on(Principal{}), denied + ResourceBased.String()},
				{"the root user of a listed account", documents{resource: except(deny, rootARN)}, on(root()), allowed},
				{"a service that is listed", documents{resource: statements(
					members("Effect", `"Allow"`, "Principal", `"*"`, "Action", `"*"`, "Resource", `"*"`),
					members("Effect", `"Deny"`, "NotPrincipal", `{"Service":"s3.amazonaws.com"}`, "Action", `"*"`, "Resource", `"*"`))}, on(s3Service()), allowed},
				{"Allow: those who are not named", documents{resource: except(allow, aliceARN)}, on(worker()), allowed},
				{"Allow: strangers, too", documents{resource: except(allow, aliceARN)}, on(Principal{}), allowed},
				{"Allow: who is named", documents{resource: except(allow, aliceARN)}, on(alice()), noIdentity},
			}
		}(),
		// id_roles_compare-resource-policies and policy-eval-denyallow: trust policies
		// "must explicitly allow access for principals", also within an account.
		"trust policies": {
			{"same account, the user named", documents{trust: trustOf(allow, aws(aliceARN))}, assume(alice(), here), allowed},
			{"same account, identity policy alone", documents{identity: these(identityOf(allow, "sts:AssumeRole", "*")), trust: trustOf(allow, aws(there))}, assume(alice(), here), noTrust},
			{"same account, the account named", documents{trust: trustOf(allow, aws(here))}, assume(alice(), here), noIdentity},
			{"same account, the account named and an identity policy", documents{identity: these(identityOf(allow, "sts:AssumeRole", "*")), trust: trustOf(allow, aws(here))}, assume(alice(), here), allowed},
			{"another account, both", documents{identity: these(identityOf(allow, "sts:AssumeRole", "arn:aws:iam::444455556666:role/*")), trust: trustOf(allow, aws(here))}, assume(alice(), there), allowed},
			{"another account, trust alone", documents{trust: trustOf(allow, aws(aliceARN))}, assume(alice(), there), noIdentity},
			{"another account, identity alone", documents{identity: these(identityOf(allow, "sts:AssumeRole", "*")), trust: trustOf(allow, aws("999999999999"))}, assume(alice(), there), noTrust},
			{"the role of a session named", documents{trust: trustOf(allow, aws(roleARN))}, assume(worker(), here), allowed},
			{"denied", documents{identity: these(identityOf(allow, "*", "*")), trust: trustOf(deny, `"*"`)}, assume(alice(), here), denied + RoleTrust.String()},
			{"Lambda", documents{trust: trustOf(allow, `{"Service":"lambda.amazonaws.com"}`)}, assume(Principal{Kind: Service, Services: []string{"lambda.amazonaws.com"}}, here), allowed},
			{"another service", documents{trust: trustOf(allow, `{"Service":"ec2.amazonaws.com"}`)}, assume(Principal{Kind: Service, Services: []string{"lambda.amazonaws.com"}}, here), noTrust},
			{"the external ID", documents{trust: trustOf(allow, aws(aliceARN), "Condition", `{"StringEquals":{"sts:ExternalId":"12345"}}`)}, func() Request {
				r := assume(alice(), here)
				r.Context = Context{"sts:externalid": {"12345"}}
				return r
			}(), allowed},
			{"another external ID", documents{trust: trustOf(allow, aws(aliceARN), "Condition", `{"StringEquals":{"sts:ExternalId":"12345"}}`)}, func() Request {
				r := assume(alice(), here)
				r.Context = Context{"sts:externalid": {"54321"}}
				return r
			}(), noTrust},
			{"no external ID", documents{trust: trustOf(allow, aws(aliceARN), "Condition", `{"StringEquals":{"sts:ExternalId":"12345"}}`)}, assume(alice(), here), noTrust},
			{"an identity provider", documents{trust: statements(members("Effect", `"Allow"`, "Principal", `{"Federated":"accounts.google.com"}`, "Action", `"sts:AssumeRoleWithWebIdentity"`, "Condition", `{"StringEquals":{"accounts.google.com:aud":"app"}}`))}, Request{
				Principal: Principal{Kind: WebIdentity, Provider: "accounts.google.com"}, Action: "sts:AssumeRoleWithWebIdentity", Resource: "arn:aws:iam::111122223333:role/target", ResourceAccount: here,
				Context: Context{"accounts.google.com:aud": {"app"}},
			}, allowed},
			{"another identity provider", documents{trust: statements(members("Effect", `"Allow"`, "Principal", `{"Federated":"accounts.google.com"}`, "Action", `"sts:AssumeRoleWithWebIdentity"`))}, Request{
				Principal: Principal{Kind: WebIdentity, Provider: "graph.facebook.com"}, Action: "sts:AssumeRoleWithWebIdentity", Resource: "arn:aws:iam::111122223333:role/target", ResourceAccount: here,
			}, noTrust},
		},
		// lambda permissions-layer-cross-account: a layer version for an account, an
		// organization, everyone.
		"lambda: layers": func() []decisionCase {
			const get, layer = "lambda:GetLayerVersion", "arn:aws:lambda:us-east-1:444455556666:layer:geo:3"
			mine := these(identityOf(allow, get, "*"))
			r := func(p Principal) Request {
				return Request{Principal: p, Action: get, Resource: layer, ResourceAccount: there}
			}
			return []decisionCase{
				{"no permission", documents{identity: mine}, r(alice()), noResource},
				{"its account", documents{identity: mine, resource: resourceOf(allow, aws("arn:aws:iam::111122223333:root"), get)}, r(alice()), allowed},
				{"its account, another version", documents{identity: mine, resource: statements(members("Effect", `"Allow"`, "Principal", aws(here), "Action", q(get), "Resource", `"arn:aws:lambda:us-east-1:444455556666:layer:geo:2"`))}, r(alice()), noResource},
				{"its organization", documents{identity: mine, resource: resourceOf(allow, `"*"`, get, "Condition", orgOne)}, r(alice()), allowed},
				{"everyone", documents{identity: mine, resource: resourceOf(allow, `"*"`, get)}, r(worker()), allowed},
				{"its account, but the user may not", documents{resource: resourceOf(allow, aws(here), get)}, r(alice()), noIdentity},
			}
		}(),
	} {
		for _, c := range cases {
			count++
			t.Run(group+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				p := c.parse(t)
				if got := outcome(Evaluate(&c.request, p)); got != c.want {
					t.Errorf("Evaluate = %s; want %s", got, c.want)
				}
				if got := simple(&c.request, c.documents); got != (c.want == allowed) {
					t.Errorf("the simple evaluator allows = %t; want %s", got, c.want)
				}
			})
		}
	}
	t.Logf("%d decisions", count)
	if count < 150 {
		t.Errorf("%d decisions; want at least 150", count)
	}
}

// TestMessages has the texts of troubleshoot_access-denied.
func TestMessages(t *testing.T) {
	t.Parallel()
	on := func(p Principal, action, resource string) Request {
		return Request{Principal: p, Action: action, Resource: resource, ResourceAccount: here}
	}
	john := Principal{Kind: User, Account: here, ARN: "arn:aws:iam::111122223333:user/JohnDoe"}
	all, none := identityOf(allow, "*", "*"), identityOf(deny, "*", "*")
	other := identityOf(allow, "s3:*", "*")
	foreign := on(john, "lambda:GetLayerVersion", "arn:aws:lambda:us-east-1:444455556666:layer:geo:1")
	foreign.ResourceAccount = there
	const group = "arn:aws:codedeploy:us-east-1:111122223333:deploymentgroup:*"
	const user = "User: arn:aws:iam::111122223333:user/JohnDoe is not authorized to perform: "
	for name, c := range map[string]struct {
		documents
		request Request
		want    string
	}{
		"identity, implicit":   {documents{}, on(john, "codecommit:ListRepositories", ""), user + "codecommit:ListRepositories because no identity-based policy allows the codecommit:ListRepositories action"},
		"identity, explicit":   {documents{identity: these(none)}, on(john, "codedeploy:ListDeployments", group), user + "codedeploy:ListDeployments on resource: " + group + " with an explicit deny in an identity-based policy"},
		"resource, implicit":   {documents{identity: these(all)}, foreign, user + "lambda:GetLayerVersion on resource: arn:aws:lambda:us-east-1:444455556666:layer:geo:1 because no resource-based policy allows the lambda:GetLayerVersion action"},
		"resource, explicit":   {documents{resource: resourceOf(deny, `"*"`, "*")}, on(john, "secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-east-1:111122223333:secret:s"), user + "secretsmanager:GetSecretValue on resource: arn:aws:secretsmanager:us-east-1:111122223333:secret:s with an explicit deny in a resource-based policy"},
		"boundary, implicit":   {documents{identity: these(all), boundary: other}, on(john, "codedeploy:ListDeployments", group), user + "codedeploy:ListDeployments on resource: " + group + " because no permissions boundary allows the codedeploy:ListDeployments action"},
		"boundary, explicit":   {documents{identity: these(all), boundary: none}, on(john, "sagemaker:ListModels", ""), user + "sagemaker:ListModels with an explicit deny in a permissions boundary"},
		"session, implicit":    {documents{identity: these(all), session: these(other)}, on(worker(), invoke, function), "User: arn:aws:sts::111122223333:assumed-role/worker/s1 is not authorized to perform: lambda:InvokeFunction on resource: " + function + " because no session policy allows the lambda:InvokeFunction action"},
		"session, explicit":    {documents{identity: these(all), session: these(none)}, on(worker(), invoke, function), "User: arn:aws:sts::111122223333:assumed-role/worker/s1 is not authorized to perform: lambda:InvokeFunction on resource: " + function + " with an explicit deny in a session policy"},
		"control, implicit":    {documents{identity: these(all), control: [][]string{{other}}}, on(john, invoke, function), user + invoke + " on resource: " + function + " because no service control policy allows the lambda:InvokeFunction action"},
		"control, explicit":    {documents{identity: these(all), control: [][]string{{none}}}, on(john, "codecommit:ListRepositories", ""), user + "codecommit:ListRepositories with an explicit deny in a service control policy"},
		"trust, implicit":      {documents{identity: these(all), trust: trustOf(allow, aws(there))}, on(john, "sts:AssumeRole", ""), user + "sts:AssumeRole because no role trust policy allows the sts:AssumeRole action"},
		"trust, explicit":      {documents{identity: these(all), trust: trustOf(deny, aws(here))}, on(john, "sts:AssumeRole", ""), user + "sts:AssumeRole with an explicit deny in the role trust policy"},
		"a stranger":           {documents{}, on(Principal{}, invoke, function), "User: anonymous is not authorized to perform: lambda:InvokeFunction on resource: " + function + " because no resource-based policy allows the lambda:InvokeFunction action"},
		"a service":            {documents{}, on(s3Service(), invoke, function), "User: s3.amazonaws.com is not authorized to perform: lambda:InvokeFunction on resource: " + function + " because no resource-based policy allows the lambda:InvokeFunction action"},
		"an identity provider": {documents{}, on(Principal{Kind: WebIdentity, Provider: "accounts.google.com"}, invoke, "*"), "User: accounts.google.com is not authorized to perform: lambda:InvokeFunction on resource: * because no resource-based policy allows the lambda:InvokeFunction action"},
		"allowed":              {documents{identity: these(all)}, on(john, invoke, function), ""},
	} {
		d := Evaluate(&c.request, c.parse(t))
		if got := d.Message(); got != c.want {
			t.Errorf("%s: Message = %q; want %q", name, got, c.want)
		}
		brief, _, _ := strings.Cut(c.want, " because ")
		brief, _, _ = strings.Cut(brief, " with an explicit")
		if got := d.Brief(); got != brief {
			t.Errorf("%s: Brief = %q; want %q", name, got, brief)
		}
	}
}

// TestUndecided has what AWS leaves open and this package decides against the
// caller: docs/decisions/0010-policies.md.
func TestUndecided(t *testing.T) {
	t.Parallel()
	but := func(effect string) string {
		return members("Effect", q(effect), "Action", `"*"`, "NotResource", `"arn:aws:lambda:us-east-1:111122223333:function:${aws:SourceIdentity}"`)
	}
	on := func(effect, condition string) string {
		return members("Effect", q(effect), "Action", `"*"`, "Resource", `"*"`, "Condition", condition)
	}
	for name, statement := range map[string]func(effect string) string{
		"all but a resource that is not known": but,
		"not what is not known":                func(e string) string { return on(e, `{"StringNotEquals":{"aws:username":"${aws:SourceIdentity}"}}`) },
		"not like what is not known":           func(e string) string { return on(e, `{"ArnNotLike":{"aws:PrincipalArn":"${aws:SourceIdentity}"}}`) },
		"not in a range that is none":          func(e string) string { return on(e, `{"NotIpAddress":{"aws:SourceIp":"somewhere"}}`) },
		"not from an address that is none":     func(e string) string { return on(e, `{"NotIpAddress":{"x:host":"10.0.0.0/8"}}`) },
		"not a number":                         func(e string) string { return on(e, `{"NumericNotEquals":{"x:host":"1"}}`) },
	} {
		r := Request{Principal: alice(), Action: invoke, Resource: function, ResourceAccount: here, Context: Context{"aws:sourceip": {"192.0.2.1"}, "x:host": {"localhost"}}}
		for effect, texts := range map[string][]string{
			allow: {statement(allow)},
			deny:  {members("Effect", `"Allow"`, "Action", `"*"`, "Resource", `"*"`), statement(deny)},
		} {
			d := documents{identity: these(statements(texts...))}
			if Evaluate(&r, d.parse(t)).Allowed {
				t.Errorf("%s, %s: allowed", name, effect)
			}
			if simple(&r, d) {
				t.Errorf("%s, %s: the simple evaluator allows", name, effect)
			}
		}
	}
	// Tags are clients' text: what stands for a variable is never a pattern, and
	// never bytes that stand for one.
	for name, tag := range map[string]string{"an asterisk": "*", "a byte that stands for one": "\xff", "a question mark": "?"} {
		r := Request{Principal: alice(), Action: invoke, Resource: "arn:aws:s3:::b/x", ResourceAccount: here}
		r.Principal.Tags["t"] = tag
		d := documents{identity: these(identityOf(allow, "*", "arn:aws:s3:::b/${aws:PrincipalTag/t}"))}
		if Evaluate(&r, d.parse(t)).Allowed {
			t.Errorf("a tag of %s is a wildcard", name)
		}
	}
}
