package policy

import (
	"testing"

	"github.com/lamina-run/lamina"
)

// TestFromPolicy compares what is compiled from permissions with what is compiled
// from their text.
func TestFromPolicy(t *testing.T) {
	t.Parallel()
	permit := func(kind, value, action string, condition map[string]map[string]string) lamina.Statement {
		return lamina.Statement{Sid: "s-1", Effect: allow, Principal: lamina.Principal{Kind: kind, Value: value}, Action: action, Resource: function, Condition: condition}
	}
	from := func(operator, key, value string) map[string]map[string]string {
		return map[string]map[string]string{operator: {key: value}}
	}
	photos := Context{}
	photos.Set("AWS:SourceArn", "arn:aws:s3:::photos")
	photos.Set("aws:SourceAccount", here)
	photos.Set("lambda:FunctionUrlAuthType", "NONE")
	photos.Set("lambda:InvokedViaFunctionUrl", "true")
	requests := map[string]Request{}
	for name, p := range map[string]Principal{"alice": alice(), "worker": worker(), "root": root(), "S3": s3Service(), "a stranger": {}} {
		requests[name] = Request{Principal: p, Action: invoke, Resource: function, ResourceAccount: there, Context: photos}
		r := requests[name]
		r.Resource += ":7"
		requests[name+", another version"] = r
	}
	identity := []*Document{mustParse(t, Identity, identityOf(allow, "*", "*"))}
	for name, c := range map[string]struct {
		statement lamina.Statement
		who       []string // those whom it permits
	}{
		"everyone":              {permit("", "*", invoke, nil), []string{"alice", "worker", "root", "S3", "a stranger"}},
		"everyone, all actions": {permit("AWS", "*", "lambda:*", nil), []string{"alice", "worker", "root", "S3", "a stranger"}},
		"an account":            {permit("AWS", "arn:aws:iam::111122223333:root", "lambda:invokefunction", nil), []string{"alice", "worker", "root"}},
		"a role":                {permit("AWS", roleARN, "*", nil), []string{"worker"}},
		"another action":        {permit("", "*", "lambda:GetFunction", nil), nil},
		"a service":             {permit("Service", "s3.amazonaws.com", invoke, from("ArnLike", "AWS:SourceArn", "arn:aws:s3:::ph*")), []string{"S3"}},
		"of another account":    {permit("Service", "s3.amazonaws.com", invoke, from("StringEquals", "AWS:SourceAccount", there)), nil},
		"an organization":       {permit("", "*", invoke, from("StringEquals", "aws:PrincipalOrgID", "o-one")), []string{"alice", "worker"}},
		"a function URL": {permit("", "*", invoke, map[string]map[string]string{
			"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}, "Bool": {"lambda:InvokedViaFunctionUrl": "true"},
		}), []string{"alice", "worker", "root", "S3", "a stranger"}},
	} {
		p := lamina.Policy{Resource: function, Statements: []lamina.Statement{c.statement}}
		text, err := p.Document()
		if err != nil {
			t.Fatal(err)
		}
		parsed, compiled := mustParse(t, Resource, text), FromPolicy(p)
		permitted := map[string]bool{}
		for _, who := range c.who {
			permitted[who] = true
		}
		for who, r := range requests {
			want := permitted[who]
			for way, d := range map[string]*Document{"Parse": parsed, "FromPolicy": compiled} {
				if got := Evaluate(&r, &Policies{Identity: identity, Resource: d}).Allowed; got != want {
					t.Errorf("%s, %s, %s: allowed = %t; want %t", name, way, who, got, want)
				}
			}
		}
	}

	// What nobody can have added permits nobody.
	r := requests["alice"]
	for name, s := range map[string]lamina.Statement{
		"an unknown operator":        permit("", "*", invoke, from("StringMatches", "aws:PrincipalOrgID", "o-one")),
		"an unknown kind":            permit("Group", "*", invoke, nil),
		"nobody":                     permit("", "", invoke, nil),
		"a name without a kind":      permit("", "alice", invoke, nil),
		"an effect in capitals":      {Effect: "ALLOW", Principal: lamina.Principal{Value: "*"}, Action: "*", Resource: "*"},
		"an empty value of a kind":   permit("AWS", "", invoke, nil),
		"an empty name of a service": permit("Service", "", invoke, nil),
	} {
		p := lamina.Policy{Statements: []lamina.Statement{s}}
		if got := Evaluate(&r, &Policies{Identity: identity, Resource: FromPolicy(p)}); got.Allowed {
			t.Errorf("%s: allowed", name)
		}
	}
	denial := permit("", "*", "*", nil)
	denial.Effect = deny
	p := lamina.Policy{Statements: []lamina.Statement{permit("", "*", invoke, nil), denial}}
	if got := Evaluate(&r, &Policies{Identity: identity, Resource: FromPolicy(p)}); got.Allowed || !got.Explicit {
		t.Errorf("a denial: %s", outcome(got))
	}
}

func TestMentions(t *testing.T) {
	t.Parallel()
	on := func(resource, condition string) string {
		return statements(members("Effect", `"Allow"`, "Action", `"*"`, "Resource", q(resource), "Condition", condition))
	}
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"a key":                    {on("*", `{"StringEquals":{"AWS:resourcetag/Team":"a"}}`), true},
		"whether it is there":      {on("*", `{"Null":{"aws:ResourceTag/team":"true"}}`), true},
		"a quantified key":         {on("*", `{"ForAllValues:StringLike":{"aws:ResourceTag/team":"a*"}}`), true},
		"a variable of a value":    {on("*", `{"StringEquals":{"aws:PrincipalTag/team":"${aws:ResourceTag/team}"}}`), true},
		"a variable of a resource": {on("arn:aws:lambda:us-east-1:111122223333:function:${aws:ResourceTag/team}", `{}`), true},
		"another key":              {on("*", `{"StringEquals":{"aws:RequestTag/team":"aws:ResourceTag/team"}}`), false},
		"no condition":             {identityOf(allow, "*", "*"), false},
	} {
		if got := mustParse(t, Identity, c.text).Mentions("aws:ResourceTag/"); got != c.want {
			t.Errorf("%s: Mentions = %t; want %t", name, got, c.want)
		}
	}
}
