package sdk_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestConditionKeys asks for the same twice, once as a condition wants it and once
// otherwise, through the services.
func TestConditionKeys(t *testing.T) {
	t.Parallel()
	s := startInProcess(t)
	root, other := s.root(t), s.newAccount(t, "other")
	o, err := s.accounts.CreateOrganization(t.Context(), "org")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.accounts.Join(t.Context(), o.ID, account); err != nil {
		t.Fatal(err)
	}
	trust := trusts(`"Service":"lambda.amazonaws.com"`)
	role := root.newRole("app", trust)
	e := root.newEstate("f", role)
	g := root.newEstate("g", role)
	g.scope = e.scope
	root.done(root.lambda(http.MethodPost, "/2017-03-31/tags/"+url.PathEscape(e.function), `{"Tags":{"team":"a","k":"f"}}`))
	root.done(root.lambda(http.MethodPost, "/2017-03-31/tags/"+url.PathEscape(e.mappingARN()), `{"Tags":{"team":"a"}}`))
	root.done(root.lambda(http.MethodPost, "/2017-03-31/tags/"+url.PathEscape(e.signing), `{"Tags":{"team":"a"}}`))
	second := e.layer + ":2"
	ops, calls := operations(), samples(e)
	root.done(root.send("lambda", calls["PublishLayerVersion"].call(ops["PublishLayerVersion"])))
	root.done(root.iam("CreatePolicy", "PolicyName", "edge", "PolicyDocument", document(allow("s3:*", "*"))))
	edge := "arn:aws:iam::" + account + ":policy/edge"
	root.done(root.iam("CreateUser", "UserName", "bounded", "PermissionsBoundary", edge))
	root.done(root.iam("CreateUser", "UserName", "unbounded"))
	root.done(root.iam("TagUser", "UserName", "bounded", "Tags.member.1.Key", "team", "Tags.member.1.Value", "a"))

	call := func(operation string, params map[string]string, query string, members map[string]any) func(*party) answer {
		op := ops[operation]
		return func(p *party) answer {
			return p.send("lambda", sample{params: params, query: query, body: members}.call(op))
		}
	}
	iam := func(action string, pairs ...string) func(*party) answer {
		return func(p *party) answer { return p.iam(action, pairs...) }
	}
	f, gf := map[string]string{"FunctionName": e.function}, map[string]string{"FunctionName": g.function}
	configure := func(members map[string]any) func(*party) answer {
		return call("UpdateFunctionConfiguration", f, "", members)
	}
	is := func(operator, key, value string) string { return fmt.Sprintf(`{%q:{%q:%q}}`, operator, key, value) }
	form := func(operator, key string, values ...string) string {
		return fmt.Sprintf(`{%q:{%q:["%s"]}}`, operator, key, strings.Join(values, `","`))
	}
	mapping := func(function string) func(*party) answer {
		return call("CreateEventSourceMapping", nil, "", map[string]any{"FunctionName": function, "EventSourceArn": "arn:aws:sqs:" + home + ":" + account + ":conditions"})
	}
	remap := func(uuid, function string) func(*party) answer {
		return call("UpdateEventSourceMapping", map[string]string{"UUID": uuid}, "", map[string]any{"FunctionName": function, "BatchSize": 7})
	}
	grant := func(params map[string]string, sid, who string) func(*party) answer {
		return call("AddPermission", params, "", map[string]any{"StatementId": sid, "Action": "lambda:InvokeFunction", "Principal": who})
	}
	tags := func(resource string, tags map[string]string) func(*party) answer {
		return call("TagResource", map[string]string{"Resource": resource}, "", map[string]any{"Tags": tags})
	}
	get := func(params map[string]string) func(*party) answer { return call("GetFunction", params, "", nil) }
	now := time.Now().UTC()
	for name, c := range map[string]struct {
		action    string
		condition string
		effect    string // Allow unless it says Deny
		more      []string
		met, not  func(*party) answer
	}{
		"lambda:Layer": {
			action: "lambda:UpdateFunctionConfiguration", condition: form("ForAllValues:StringEquals", "lambda:Layer", e.version()),
			more: []string{allow("lambda:GetLayerVersion", "*")},
			met:  configure(map[string]any{"Layers": []string{e.version()}}), not: configure(map[string]any{"Layers": []string{second}}),
		},
		"lambda:Layer, no layers of others": {
			action: "lambda:UpdateFunctionConfiguration", condition: form("ForAnyValue:StringNotLike", "lambda:Layer", "arn:aws:lambda:*:"+account+":layer:*:1"), effect: "Deny",
			more: []string{allow("*", "*")},
			met:  configure(map[string]any{"Layers": []string{e.version()}}), not: configure(map[string]any{"Layers": []string{second}}),
		},
		"lambda:SubnetIds": {
			action: "lambda:UpdateFunctionConfiguration", condition: `{"ForAllValues:StringEquals":{"lambda:SubnetIds":["subnet-1"],"lambda:SecurityGroupIds":["sg-1"]},"Null":{"lambda:SubnetIds":"false"}}`,
			met: configure(map[string]any{"VpcConfig": map[string]any{"SubnetIds": []string{"subnet-1"}, "SecurityGroupIds": []string{"sg-1"}}}),
			not: configure(map[string]any{"VpcConfig": map[string]any{"SubnetIds": []string{"subnet-1", "subnet-2"}, "SecurityGroupIds": []string{"sg-1"}}}),
		},
		"lambda:FunctionArn": {
			action: "lambda:CreateEventSourceMapping", condition: is("StringEquals", "lambda:FunctionArn", e.function),
			met: mapping(e.function), not: mapping(g.function),
		},
		"lambda:FunctionArn of the mapping that is": {
			action: "lambda:UpdateEventSourceMapping", condition: is("ArnLike", "lambda:FunctionArn", e.function),
			met: remap(e.mapping, e.function), not: remap(g.mapping, e.function),
		},
		"lambda:FunctionArn of the mapping to be": {
			action: "lambda:UpdateEventSourceMapping", condition: is("ArnLike", "lambda:FunctionArn", e.function),
			met: call("GetAccountSettings", nil, "", nil), more: []string{allow("lambda:GetAccountSettings", "*")}, not: remap(e.mapping, g.function),
		},
		"lambda:Principal": {
			action: "lambda:AddPermission", condition: is("StringEquals", "lambda:Principal", "s3.amazonaws.com"),
			met: grant(f, "principal", "s3.amazonaws.com"), not: grant(f, "principal-not", "*"),
		},
		"lambda:Principal of an account": {
			action: "lambda:AddPermission", condition: is("StringEquals", "lambda:Principal", "123456789012"),
			met: grant(f, "account", "arn:aws:iam::123456789012:root"), not: grant(f, "account-not", "arn:aws:iam::123456789013:root"),
		},
		"lambda:Principal of what is removed": {
			action: "lambda:RemovePermission", condition: is("StringLike", "lambda:Principal", "*.amazonaws.com"), more: []string{allow("lambda:GetPolicy", "*")},
			met: call("RemovePermission", map[string]string{"FunctionName": g.function, "StatementId": "s"}, "", nil),
			not: call("RemovePermission", map[string]string{"FunctionName": g.function, "StatementId": "absent"}, "", nil),
		},
		"lambda:FunctionUrlAuthType": {
			action: "lambda:CreateFunctionUrlConfig", condition: is("StringEquals", "lambda:FunctionUrlAuthType", "AWS_IAM"),
			met: call("CreateFunctionUrlConfig", f, "", map[string]any{"AuthType": "AWS_IAM"}), not: call("CreateFunctionUrlConfig", gf, "", map[string]any{"AuthType": "NONE"}),
		},
		"lambda:CodeSigningConfigArn": {
			action: "lambda:PutFunctionCodeSigningConfig", condition: is("StringEquals", "lambda:CodeSigningConfigArn", e.signing),
			met: call("PutFunctionCodeSigningConfig", gf, "", map[string]any{"CodeSigningConfigArn": e.signing}),
			not: call("PutFunctionCodeSigningConfig", gf, "", map[string]any{"CodeSigningConfigArn": g.signing}),
		},
		"aws:RequestTag": {
			action: "lambda:TagResource", condition: is("StringEquals", "aws:RequestTag/team", "b"),
			met: tags(g.function, map[string]string{"team": "b"}), not: tags(g.function, map[string]string{"team": "a"}),
		},
		"aws:RequestTag of a mapping to be": {
			action: "lambda:CreateEventSourceMapping", condition: is("StringEquals", "aws:RequestTag/k", "v"), more: []string{allow("lambda:TagResource", "*")},
			met: call("CreateEventSourceMapping", nil, "", map[string]any{"FunctionName": g.function, "Tags": map[string]string{"k": "v"}, "EventSourceArn": "arn:aws:sqs:" + home + ":" + account + ":tagged"}),
			not: call("CreateEventSourceMapping", nil, "", map[string]any{"FunctionName": g.function, "Tags": map[string]string{"k": "w"}, "EventSourceArn": "arn:aws:sqs:" + home + ":" + account + ":tagged-not"}),
		},
		"aws:TagKeys": {
			action: "lambda:UntagResource", condition: form("ForAllValues:StringEquals", "aws:TagKeys", "x", "y"),
			met: call("UntagResource", map[string]string{"Resource": g.function}, "tagKeys=y&tagKeys=x", nil),
			not: call("UntagResource", map[string]string{"Resource": g.function}, "tagKeys=x&tagKeys=team", nil),
		},
		"aws:ResourceTag of a function": {
			action: "lambda:GetFunction", condition: is("StringEquals", "aws:ResourceTag/Team", "a"), met: get(f), not: get(gf),
		},
		"aws:ResourceTag of its alias": {
			action: "lambda:InvokeFunction", condition: is("StringEquals", "aws:ResourceTag/k", "f"),
			met: call("Invoke", f, "Qualifier=live", nil), not: call("Invoke", gf, "Qualifier=live", nil),
		},
		"aws:ResourceTag denied": {
			action: "lambda:GetFunction", condition: is("StringNotEquals", "aws:ResourceTag/team", "a"), effect: "Deny", more: []string{allow("*", "*")}, met: get(f), not: get(gf),
		},
		"aws:ResourceTag of a mapping": {
			action: "lambda:GetEventSourceMapping", condition: is("StringEquals", "aws:ResourceTag/team", "a"),
			met: call("GetEventSourceMapping", map[string]string{"UUID": e.mapping}, "", nil), not: call("GetEventSourceMapping", map[string]string{"UUID": g.mapping}, "", nil),
		},
		"aws:ResourceTag of a code signing config": {
			action: "lambda:GetCodeSigningConfig", condition: is("StringEquals", "aws:ResourceTag/team", "a"),
			met: call("GetCodeSigningConfig", map[string]string{"CodeSigningConfigArn": e.signing}, "", nil), not: call("GetCodeSigningConfig", map[string]string{"CodeSigningConfigArn": g.signing}, "", nil),
		},
		"aws:ResourceTag as a variable": {
			action: "lambda:GetFunction", condition: is("StringEquals", "aws:PrincipalTag/team", "${aws:ResourceTag/team}"), met: get(f), not: get(gf),
		},
		"aws:ResourceTag of a user": {
			action: "iam:GetUser", condition: is("StringEquals", "iam:ResourceTag/team", "a"), met: iam("GetUser", "UserName", "bounded"), not: iam("GetUser", "UserName", "unbounded"),
		},
		"aws:SourceIp":               {action: "lambda:GetFunction", condition: is("IpAddress", "aws:SourceIp", "127.0.0.0/8"), met: get(f)},
		"aws:SourceIp, other":        {action: "lambda:GetFunction", condition: is("IpAddress", "aws:SourceIp", "10.0.0.0/8"), not: get(f)},
		"aws:SecureTransport":        {action: "lambda:GetFunction", condition: is("Bool", "aws:SecureTransport", "true"), met: get(f)}, // over loopback
		"aws:SecureTransport, other": {action: "lambda:GetFunction", condition: is("Bool", "aws:SecureTransport", "false"), not: get(f)},
		"aws:SecureTransport, required": {
			action: "lambda:GetFunction", condition: is("Bool", "aws:SecureTransport", "false"), effect: "Deny", more: []string{allow("*", "*")}, met: get(f),
		},
		"aws:PrincipalOrgID":        {action: "lambda:GetFunction", condition: is("StringEquals", "aws:PrincipalOrgID", o.ID), met: get(f)},
		"aws:PrincipalOrgID, other": {action: "lambda:GetFunction", condition: is("StringEquals", "aws:PrincipalOrgID", "o-0123456789"), not: get(f)},
		"aws:CurrentTime": {
			action: "lambda:GetFunction", condition: is("DateLessThan", "aws:CurrentTime", now.Add(time.Hour).Format(time.RFC3339)), met: get(f),
		},
		"aws:CurrentTime, over": {
			action: "lambda:GetFunction", condition: is("DateLessThan", "aws:CurrentTime", now.Add(-time.Hour).Format(time.RFC3339)), not: get(f),
		},
		"aws:RequestedRegion": {action: "lambda:GetFunction", condition: is("StringNotEquals", "aws:RequestedRegion", home), not: get(f)},
		"aws:username":        {action: "lambda:GetFunction", condition: is("StringLike", "aws:username", "nobody*"), not: get(f)},
		"iam:PassedToService": {
			action: "iam:PassRole", condition: is("StringEquals", "iam:PassedToService", "lambda.amazonaws.com"), more: []string{allow("lambda:UpdateFunctionConfiguration", "*")},
			met: configure(map[string]any{"Role": role}),
		},
		"iam:PassedToService, other": {
			action: "iam:PassRole", condition: is("StringEquals", "iam:PassedToService", "ec2.amazonaws.com"), more: []string{allow("lambda:UpdateFunctionConfiguration", "*")},
			not: configure(map[string]any{"Role": role}),
		},
		"iam:PolicyARN": {
			action: "iam:AttachUserPolicy", condition: is("ArnEquals", "iam:PolicyARN", edge),
			met: iam("AttachUserPolicy", "UserName", "unbounded", "PolicyArn", edge), not: iam("AttachUserPolicy", "UserName", "unbounded", "PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess"),
		},
		"iam:PermissionsBoundary of a user to be": {
			action: "iam:CreateUser", condition: is("StringEquals", "iam:PermissionsBoundary", edge),
			met: iam("CreateUser", "UserName", "with", "PermissionsBoundary", edge), not: iam("CreateUser", "UserName", "without"),
		},
		"iam:PermissionsBoundary of a user that is": {
			action: "iam:PutUserPolicy", condition: is("StringEquals", "iam:PermissionsBoundary", edge),
			met: iam("PutUserPolicy", "UserName", "bounded", "PolicyName", "p", "PolicyDocument", document(allow("s3:*", "*"))),
			not: iam("PutUserPolicy", "UserName", "unbounded", "PolicyName", "p", "PolicyDocument", document(allow("s3:*", "*")), "PermissionsBoundary", edge),
		},
		"iam:AWSServiceName": {
			action: "iam:CreateServiceLinkedRole", condition: is("StringEquals", "iam:AWSServiceName", "ec2.amazonaws.com"), not: iam("CreateServiceLinkedRole", "AWSServiceName", "lambda.amazonaws.com"),
		},
		"aws:RequestTag where nothing is tagged": {
			action: "iam:AttachUserPolicy", condition: is("StringEquals", "aws:RequestTag/k", "v"),
			not: iam("AttachUserPolicy", "UserName", "unbounded", "PolicyArn", edge, "Tags.member.1.Key", "k", "Tags.member.1.Value", "v"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := root.in(t)
			if strings.HasPrefix(name, "aws:ResourceTag") { // others tag it
				untag := call("UntagResource", map[string]string{"Resource": g.function}, "tagKeys=team&tagKeys=x&tagKeys=y", nil)
				root.wants("tags as they were", untag(root), "", "")
			}
			user := root.newUser("u-"+fmt.Sprint(names.Add(1)), "Tags.member.1.Key", "team", "Tags.member.1.Value", "a")
			if c.effect == "" {
				c.effect = "Allow"
			}
			root.may(user, append(c.more, statement(c.effect, c.action, "*", c.condition))...)
			if c.met != nil {
				root.settled(e.function)
				user.wants("as the condition wants it", c.met(user), "", "")
			}
			if c.not == nil {
				return
			}
			root.settled(e.function)
			got := c.not(user)
			if !strings.HasPrefix(got.code, "AccessDenied") || !strings.Contains(got.message, c.action) {
				t.Errorf("otherwise = %d %s: %s; want AccessDenied about %s", got.status, got.code, got.message, c.action)
			}
			root.may(user, append(c.more, allow("*", "*"))...) // so that only the condition was in the way
			if c.effect == "Allow" {
				if got := c.not(user); strings.HasPrefix(got.code, "AccessDenied") {
					t.Errorf("without the condition = %d %s: %s", got.status, got.code, got.message)
				}
			}
		})
	}

	// Conditions of resource policies, and of trust policies.
	t.Run("aws:PrincipalOrgID of a function's policy", func(t *testing.T) {
		root, other := root.in(t), other.in(t)
		invoke := call("Invoke", gf, "Qualifier=live", nil)
		root.done(call("AddPermission", gf, "Qualifier=live", map[string]any{"StatementId": "org", "Action": "lambda:InvokeFunction", "Principal": "*", "PrincipalOrgID": o.ID})(root))
		other.wants("out of the organization", invoke(other), "AccessDeniedException", other.refusal("lambda:InvokeFunction", g.function+":live", "resource-based"))
		if err := s.accounts.Join(t.Context(), o.ID, other.account); err != nil {
			t.Fatal(err)
		}
		other.wants("in the organization", invoke(other), "", "")
		if err := s.accounts.Leave(t.Context(), o.ID, other.account); err != nil {
			t.Fatal(err)
		}
		other.wants("no longer in the organization", invoke(other), "AccessDeniedException", "")
	})
	t.Run("sts:ExternalId", func(t *testing.T) {
		root, other := root.in(t), other.in(t)
		third := root.newRole("third", trusts(`"AWS":"`+other.account+`"`, is("StringEquals", "sts:ExternalId", "secret")), allow("lambda:GetFunction", e.function))
		user := other.newUser("third")
		other.may(user, allow("sts:AssumeRole", "*"))
		refused := user.refusal("sts:AssumeRole", third, "")
		user.wants("without", user.query("sts", "AssumeRole", "RoleArn", third, "RoleSessionName", "session"), "AccessDenied", refused)
		user.wants("with another", user.query("sts", "AssumeRole", "RoleArn", third, "RoleSessionName", "session", "ExternalId", "guess"), "AccessDenied", refused)
		session := user.assumes(third, "ExternalId", "secret")
		session.wants("as the role", get(f)(session), "", "")
		session.wants("as the role", get(gf)(session), "AccessDeniedException", session.refusal("lambda:GetFunction", g.function, "identity-based"))
	})
	t.Run("keys that differ in case only", func(t *testing.T) {
		root := root.in(t)
		user := root.newUser("cases")
		root.may(user, allow("lambda:TagResource", "*", is("StringEquals", "aws:RequestTag/team", "a")))
		for range 8 { // maps have no order
			got := tags(e.function, map[string]string{"team": "a", "Team": "b"})(user)
			user.wants("two values of one key", got, "InvalidParameterValueException", "")
		}
	})
}
