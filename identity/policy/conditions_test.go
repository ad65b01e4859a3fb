package policy

import (
	"testing"
	"time"
)

// conditionCase is one value, or several, of a key against a condition.
type conditionCase struct {
	name      string
	condition string
	context   Context
	want      bool
}

// TestConditions holds conditions to the published rules, as decisions of a policy
// that allows nothing else.
func TestConditions(t *testing.T) {
	t.Parallel()
	k := func(v ...string) Context { return Context{"x:k": v} }
	var absent Context
	in := func(operator, values string) string { return `{` + q(operator) + `:{"x:K":` + values + `}}` }
	count := 0
	for group, cases := range map[string][]conditionCase{
		// reference_policies_elements_condition_operators#Conditions_String
		"strings": {
			{"equal", in("StringEquals", `"a"`), k("a"), true},
			{"case", in("StringEquals", `"a"`), k("A"), false},
			{"no wildcards", in("StringEquals", `"a*"`), k("ab"), false},
			{"an asterisk is one", in("StringEquals", `"a*"`), k("a*"), true},
			{"not equal", in("StringNotEquals", `"a"`), k("b"), true},
			{"not not equal", in("StringNotEquals", `"a"`), k("a"), false},
			{"ignoring case", in("StringEqualsIgnoreCase", `"aBc"`), k("AbC"), true},
			{"ignoring case, another", in("StringEqualsIgnoreCase", `"aBc"`), k("AbD"), false},
			{"not, ignoring case", in("StringNotEqualsIgnoreCase", `"aBc"`), k("AbC"), false},
			{"not, ignoring case, another", in("StringNotEqualsIgnoreCase", `"aBc"`), k("AbD"), true},
			{"like", in("StringLike", `"home/*"`), k("home/alice/x"), true},
			{"like, case", in("StringLike", `"home/*"`), k("Home/x"), false},
			{"like, one character", in("StringLike", `"a?c"`), k("abc"), true},
			{"like, one character of several bytes", in("StringLike", `"a?c"`), k("aéc"), true},
			{"like, no character", in("StringLike", `"a?c"`), k("ac"), false},
			{"like, in the middle", in("StringLike", `"a*c*e"`), k("abcde"), true},
			{"like, nothing", in("StringLike", `""`), k(""), true},
			{"like, partial without wildcards", in("StringLike", `"ab"`), k("abc"), false},
			{"like, across colons", in("StringLike", `"arn:aws:someservice:*:111122223333:finance/*"`), k("arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt"), true},
			{"not like", in("StringNotLike", `"a*"`), k("ba"), true},
			{"not not like", in("StringNotLike", `"a*"`), k("ab"), false},
		},
		// #Conditions_Numeric
		"numbers": {
			{"equal", in("NumericEquals", `"10"`), k("10"), true},
			{"equal in another spelling", in("NumericEquals", `"10"`), k("10.0"), true},
			{"equal, unquoted", in("NumericEquals", `10`), k("10"), true},
			{"not equal", in("NumericNotEquals", `"10"`), k("11"), true},
			{"less", in("NumericLessThan", `"10"`), k("9"), true},
			{"not less", in("NumericLessThan", `"10"`), k("10"), false},
			{"by number, not by text", in("NumericLessThan", `"10"`), k("9.5"), true},
			{"at most", in("NumericLessThanEquals", `"10"`), k("10"), true},
			{"more than at most", in("NumericLessThanEquals", `"10"`), k("11"), false},
			{"greater", in("NumericGreaterThan", `"-1"`), k("0"), true},
			{"not greater", in("NumericGreaterThan", `"0"`), k("-1"), false},
			{"at least", in("NumericGreaterThanEquals", `"1.5"`), k("1.5"), true},
			{"less than at least", in("NumericGreaterThanEquals", `"1.5"`), k("1.49"), false},
			{"no number", in("NumericLessThan", `"10"`), k("nine"), false},
			{"more digits than a double has", in("NumericEquals", `"9007199254740993"`), k("9007199254740992"), false},
		},
		// #Conditions_Date
		"dates": {
			{"the same instant", in("DateEquals", `"2020-01-01T00:00:01Z"`), k("2020-01-01T00:00:01Z"), true},
			{"the same instant in another zone", in("DateEquals", `"2020-01-01T00:00:01Z"`), k("2020-01-01T01:30:01+01:30"), true},
			{"the same instant since 1970", in("DateEquals", `"2020-01-01T00:00:01Z"`), k("1577836801"), true},
			{"a day", in("DateEquals", `"2020-01-01"`), k("2020-01-01T00:00:00.000Z"), true},
			{"not the same", in("DateNotEquals", `"2020-01-01T00:00:01Z"`), k("2020-01-01T00:00:02Z"), true},
			{"before", in("DateLessThan", `"2020-01-01T00:00:01Z"`), k("2019-12-31T23:59:59Z"), true},
			{"not before", in("DateLessThan", `"2020-01-01T00:00:01Z"`), k("2020-01-01T00:00:01Z"), false},
			{"at", in("DateLessThanEquals", `"2020-01-01T00:00:01Z"`), k("2020-01-01T00:00:01Z"), true},
			{"after", in("DateGreaterThan", `"2020-01-01T00:00:01Z"`), k("2020-01-01T00:00:01.5Z"), true},
			{"not after", in("DateGreaterThan", `"2020-01-01T00:00:01Z"`), k("2020-01-01T00:00:01Z"), false},
			{"at or after", in("DateGreaterThanEquals", `"2020-01-01T00:00:01Z"`), k("2020-01-01T00:00:01Z"), true},
			{"a minute without seconds", in("DateGreaterThan", `"2020-01-01T00:01Z"`), k("2020-01-01T00:00:59Z"), false},
			{"no date", in("DateLessThan", `"2020-01-01T00:00:01Z"`), k("yesterday"), false},
		},
		// #Conditions_Boolean, #Conditions_BinaryEquals
		"booleans and bytes": {
			{"true", in("Bool", `"true"`), k("true"), true},
			{"true, unquoted", in("Bool", `true`), k("true"), true},
			{"false", in("Bool", `"false"`), k("false"), true},
			{"other", in("Bool", `"true"`), k("false"), false},
			{"neither", in("Bool", `"true"`), k("1"), false},
			{"neither in the policy", in("Bool", `"no"`), k("false"), false},
			{"bytes", in("BinaryEquals", `"QmluYXJ5VmFsdWVJbkJhc2U2NA=="`), k("BinaryValueInBase64"), true},
			{"other bytes", in("BinaryEquals", `"QmluYXJ5VmFsdWVJbkJhc2U2NA=="`), k("BinaryValueInBase65"), false},
		},
		// #Conditions_IPAddress
		"addresses": {
			{"in the range", in("IpAddress", `"203.0.113.0/24"`), k("203.0.113.77"), true},
			{"outside", in("IpAddress", `"203.0.113.0/24"`), k("203.0.114.0"), false},
			{"without a prefix it is /32", in("IpAddress", `"203.0.113.7"`), k("203.0.113.7"), true},
			{"without a prefix, another", in("IpAddress", `"203.0.113.7"`), k("203.0.113.8"), false},
			{"IPv6", in("IpAddress", `["203.0.113.0/24","2001:DB8:1234:5678::/64"]`), k("2001:db8:1234:5678:ffff::1"), true},
			{"IPv6 outside", in("IpAddress", `["203.0.113.0/24","2001:DB8:1234:5678::/64"]`), k("2001:db8:1234:5679::1"), false},
			{"IPv4 in IPv6", in("IpAddress", `"203.0.113.0/24"`), k("::ffff:203.0.113.9"), true},
			{"IPv4 in IPv6 in the policy", in("IpAddress", `["::ffff:203.0.113.9","::ffff:192.0.2.0/120"]`), k("203.0.113.9"), true},
			{"a range of IPv4 in IPv6 in the policy", in("IpAddress", `["::ffff:203.0.113.9","::ffff:192.0.2.0/120"]`), k("192.0.2.200"), true},
			{"a range with bits of hosts", in("IpAddress", `"203.0.113.9/24"`), k("203.0.113.200"), true},
			{"not in the range", in("NotIpAddress", `"203.0.113.0/24"`), k("198.51.100.1"), true},
			{"not, but inside", in("NotIpAddress", `"203.0.113.0/24"`), k("203.0.113.1"), false},
			{"no address", in("IpAddress", `"0.0.0.0/0"`), k("localhost"), false},
		},
		// #Conditions_ARN: "Each of the six colon-delimited components of the ARN is
		// checked separately".
		"ARNs": {
			{"the documented example", in("ArnLike", `"arn:aws:someservice:*:111122223333:finance/*"`), k("arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt"), false},
			{"equals has wildcards, too", in("ArnEquals", `"arn:aws:sns:*:123456789012:TOPIC-*"`), k("arn:aws:sns:eu-west-1:123456789012:TOPIC-ID"), true},
			{"like", in("ArnLike", `"arn:aws:s3:::photos"`), k("arn:aws:s3:::photos"), true},
			{"case", in("ArnLike", `"arn:aws:s3:::photos"`), k("arn:aws:s3:::Photos"), false},
			{"a wildcard in a component", in("ArnLike", `"arn:aws:ec2:us-*-?:*:instance/i-*"`), k("arn:aws:ec2:us-east-1:1:instance/i-0"), true},
			{"colons in the last component", in("ArnLike", `"arn:aws:lambda:*:*:function:*"`), k("arn:aws:lambda:us-east-1:1:function:f:7"), true},
			{"not equals", in("ArnNotEquals", `"arn:aws:s3:::photos"`), k("arn:aws:s3:::others"), true},
			{"not like", in("ArnNotLike", `"arn:aws:s3:::ph*"`), k("arn:aws:s3:::photos"), false},
		},
		// reference_policies_elements_condition_operators, Important: "If the key … is
		// not present in the request context, the values do not match … If the policy
		// condition requires that the key is not matched … the condition is true".
		"absent keys": {
			{"StringEquals", in("StringEquals", `"a"`), absent, false},
			{"StringLike", in("StringLike", `"*"`), absent, false},
			{"NumericLessThan", in("NumericLessThan", `"10"`), absent, false},
			{"DateGreaterThan", in("DateGreaterThan", `"2020-01-01"`), absent, false},
			{"Bool", in("Bool", `"false"`), absent, false},
			{"IpAddress", in("IpAddress", `"0.0.0.0/0"`), absent, false},
			{"ArnLike", in("ArnLike", `"*"`), absent, false},
			{"StringNotEquals", in("StringNotEquals", `"a"`), absent, true},
			{"StringNotLike", in("StringNotLike", `"*"`), absent, true},
			{"NumericNotEquals", in("NumericNotEquals", `"1"`), absent, true},
			{"DateNotEquals", in("DateNotEquals", `"2020-01-01"`), absent, true},
			{"NotIpAddress", in("NotIpAddress", `"0.0.0.0/0"`), absent, true},
			{"ArnNotLike", in("ArnNotLike", `"*"`), absent, true},
			{"another key", in("StringEquals", `"a"`), Context{"x:l": {"a"}}, false},
			{"a key without values", in("StringEquals", `"a"`), k(), false},
		},
		// #Conditions_IfExists
		"IfExists": {
			{"absent", in("StringLikeIfExists", `"t1.*"`), absent, true},
			{"present and matching", in("StringLikeIfExists", `"t1.*"`), k("t1.micro"), true},
			{"present and not matching", in("StringLikeIfExists", `"t1.*"`), k("t2.micro"), false},
			{"negated, absent", in("StringNotEqualsIfExists", `"a"`), absent, true},
			{"negated, present", in("StringNotEqualsIfExists", `"a"`), k("a"), false},
			{"Bool", in("BoolIfExists", `"false"`), absent, true},
			{"another condition still decides", `{"StringLikeIfExists":{"x:k":"a"},"StringEquals":{"x:l":"b"}}`, absent, false},
		},
		// #Conditions_Null
		"Null": {
			{"true, absent", in("Null", `"true"`), absent, true},
			{"true, present", in("Null", `"true"`), k("v"), false},
			{"false, absent", in("Null", `"false"`), absent, false},
			{"false, present", in("Null", `"false"`), k("v"), true},
			{"unquoted", in("Null", `true`), absent, true},
			{"without values", in("Null", `"true"`), k(), true},
		},
		// reference_policies_condition-logic-multiple-context-keys-or-values: operators
		// and keys AND, values OR, values of negated operators NOR; keys are
		// case-insensitive.
		"several": {
			{"one of the values", in("StringEquals", `["a","b"]`), k("b"), true},
			{"none of the values", in("StringEquals", `["a","b"]`), k("c"), false},
			{"negated, none", in("StringNotEquals", `["a","b"]`), k("c"), true},
			{"negated, one", in("StringNotEquals", `["a","b"]`), k("b"), false},
			{"two keys", `{"StringEquals":{"x:k":"a","x:l":"b"}}`, Context{"x:k": {"a"}, "x:l": {"b"}}, true},
			{"one of two keys", `{"StringEquals":{"x:k":"a","x:l":"b"}}`, Context{"x:k": {"a"}, "x:l": {"c"}}, false},
			{"two operators", `{"StringEquals":{"x:k":"a"},"StringLike":{"x:l":"b*"}}`, Context{"x:k": {"a"}, "x:l": {"bc"}}, true},
			{"one of two operators", `{"StringEquals":{"x:k":"a"},"StringLike":{"x:l":"b*"}}`, Context{"x:k": {"a"}, "x:l": {"c"}}, false},
			{"no condition", `{}`, absent, true},
			{"no value", in("StringEquals", `[]`), k("a"), false},
		},
		// reference_policies_condition-single-vs-multi-valued-context-keys and
		// reference_policies_multi-value-conditions, the table of the thread's
		// attributes: ForAllValues and ForAnyValue.
		"sets": {
			{"all, a subset", in("ForAllValues:StringEquals", `["PostDateTime","Message","Tags"]`), k("PostDateTime", "Message"), true},
			{"all, one too many", in("ForAllValues:StringEquals", `["PostDateTime","Message","Tags"]`), k("PostDateTime", "UserName"), false},
			{"all, absent", in("ForAllValues:StringEquals", `["PostDateTime"]`), absent, true},
			{"all, empty", in("ForAllValues:StringEquals", `["PostDateTime"]`), k(), true},
			{"all, an empty string", in("ForAllValues:StringEquals", `["PostDateTime"]`), k(""), true},
			{"all, with Null", `{"ForAllValues:StringEquals":{"x:k":"a"},"Null":{"x:k":"false"}}`, absent, false},
			{"any", in("ForAnyValue:StringEquals", `["ID","PostDateTime"]`), k("UserName", "Message", "PostDateTime"), true},
			{"any, none", in("ForAnyValue:StringEquals", `["ID","PostDateTime"]`), k("UserName"), false},
			{"any, absent", in("ForAnyValue:StringEquals", `["ID"]`), absent, false},
			{"any, an empty string", in("ForAnyValue:StringLike", `["*"]`), k(""), false},
			{"any, wildcards", in("ForAnyValue:StringLike", `["o-1/r-1/ou-a/*"]`), k("o-1/r-1/ou-b/", "o-1/r-1/ou-a/x/"), true},
			{"all, negated", in("ForAllValues:StringNotEquals", `["a","b"]`), k("c", "d"), true},
			{"all, negated, one of them", in("ForAllValues:StringNotEquals", `["a","b"]`), k("c", "a"), false},
			{"any, negated", in("ForAnyValue:StringNotEquals", `["a","b"]`), k("a", "c"), true},
			{"any, negated, all of them", in("ForAnyValue:StringNotEquals", `["a","b"]`), k("a", "b"), false},
			{"any, if it exists", in("ForAnyValue:StringEqualsIfExists", `["a"]`), absent, true},
			{"all, other kinds", in("ForAllValues:NumericLessThan", `"10"`), k("1", "9"), true},
		},
	} {
		for _, c := range cases {
			count++
			t.Run(group+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				r := Request{Principal: alice(), Action: invoke, Resource: function, ResourceAccount: here, Context: c.context}
				d := documents{identity: these(identityOf(allow, "*", "*", "Condition", c.condition))}
				if got := Evaluate(&r, d.parse(t)).Allowed; got != c.want {
					t.Errorf("%s with %v allows = %t; want %t", c.condition, c.context, got, c.want)
				}
				if got := simple(&r, d); got != c.want {
					t.Errorf("simple evaluator: %s with %v allows = %t; want %t", c.condition, c.context, got, c.want)
				}
				// The same as a denial: the condition holds or does not, whatever it is for.
				d.identity = these(identityOf(allow, "*", "*"), identityOf(deny, "*", "*", "Condition", c.condition))
				if got := Evaluate(&r, d.parse(t)).Allowed; got == c.want {
					t.Errorf("a denial if %s with %v allows = %t; want %t", c.condition, c.context, got, !c.want)
				}
			})
		}
	}
	t.Logf("%d conditions", count)
}

// TestPatterns holds actions, resources and variables to the published rules.
func TestPatterns(t *testing.T) {
	t.Parallel()
	version := func(v, statement string) string {
		return `{"Version":` + q(v) + `,"Statement":` + statement + `}`
	}
	resource := func(pattern string, more ...string) string {
		return identityOf(allow, "*", pattern, more...)
	}
	const s3 = "arn:aws:s3:::"
	for group, cases := range map[string][]struct {
		name, document, action, resource string
		want                             bool
	}{
		// reference_policies_elements_action: wildcards, "The prefix and the action
		// name are case insensitive".
		"actions": {
			{"case", identityOf(allow, "IAM:listaccesskeys", "*"), "iam:ListAccessKeys", "*", true},
			{"all of a service", identityOf(allow, "lambda:*", "*"), invoke, "*", true},
			{"all of another", identityOf(allow, "s3:*", "*"), invoke, "*", false},
			{"in the middle", identityOf(allow, "iam:*AccessKey*", "*"), "iam:UpdateAccessKey", "*", true},
			{"in the middle, another", identityOf(allow, "iam:*AccessKey*", "*"), "iam:UpdateUser", "*", false},
			{"one character", identityOf(allow, "lambda:???Function", "*"), "lambda:GetFunction", "*", true},
			{"one character, more", identityOf(allow, "lambda:???Function", "*"), "lambda:DeleteFunction", "*", false},
			{"wildcards and case", identityOf(allow, "Lambda:GET*", "*"), "lambda:GetFunction", "*", true},
			{"all", identityOf(allow, "*", "*"), invoke, "*", true},
			{"any service", identityOf(allow, "*:Get*", "*"), "lambda:GetFunction", "*", true},
			{"not a prefix", identityOf(allow, "lambda:GetFunction", "*"), "lambda:GetFunctionConfiguration", "*", false},
		},
		// reference_policies_elements_notaction, reference_policies_elements_notresource
		"NotAction and NotResource": {
			{"another action", statements(members("Effect", `"Allow"`, "NotAction", `"iam:*"`, "Resource", `"*"`)), invoke, "*", true},
			{"the action", statements(members("Effect", `"Allow"`, "NotAction", `"iam:*"`, "Resource", `"*"`)), "iam:CreateUser", "*", false},
			{"one of the actions", statements(members("Effect", `"Allow"`, "NotAction", `["iam:*","s3:*"]`, "Resource", `"*"`)), "s3:GetObject", "*", false},
			{"another bucket", statements(members("Effect", `"Allow"`, "Action", `"s3:*"`, "NotResource", `["arn:aws:s3:::HRBucket/Payroll","arn:aws:s3:::HRBucket/Payroll/*"]`)), "s3:GetObject", s3 + "HRBucket/x", true},
			{"the bucket", statements(members("Effect", `"Allow"`, "Action", `"s3:*"`, "NotResource", `["arn:aws:s3:::HRBucket/Payroll","arn:aws:s3:::HRBucket/Payroll/*"]`)), "s3:GetObject", s3 + "HRBucket/Payroll/x", false},
			{"all but a service for those with no other policy", statements(
				members("Effect", `"Allow"`, "Action", `"*"`, "Resource", `"*"`),
				members("Effect", `"Deny"`, "NotAction", `"s3:*"`, "NotResource", `"arn:aws:s3:::b"`)), invoke, function, false},
		},
		// reference_policies_elements_resource#reference_policies_elements_resource_wildcards
		"resources": {
			{"exactly", resource(function), invoke, function, true},
			{"case", resource("arn:aws:lambda:us-east-1:111122223333:function:F"), invoke, function, false},
			{"a path below", resource("arn:aws:iam::111122223333:user/accounting/*"), "iam:GetUser", "arn:aws:iam::111122223333:user/accounting/bob", true},
			{"objects of a bucket", resource(s3 + "my_corporate_bucket/*"), "s3:GetObject", s3 + "my_corporate_bucket/a/b", true},
			{"the bucket is not one of its objects", resource(s3 + "my_corporate_bucket/*"), "s3:ListBucket", s3 + "my_corporate_bucket", false},
			{"test 1", resource(s3 + "b/*/test/*"), "s3:GetObject", s3 + "b/1/test/object.jpg", true},
			{"test 2", resource(s3 + "b/*/test/*"), "s3:GetObject", s3 + "b/1/2/test/3/object.jpg", true},
			{"test 3", resource(s3 + "b/*/test/*"), "s3:GetObject", s3 + "b/1///test///object.jpg", true},
			{"test 4", resource(s3 + "b/*/test/*"), "s3:GetObject", s3 + "b//test/object.jpg", true},
			{"test 5", resource(s3 + "b/*/test/*"), "s3:GetObject", s3 + "b/1/test/", true},
			{"test 6", resource(s3 + "b/*/test/*"), "s3:GetObject", s3 + "b/1-test/object.jpg", false},
			{"test 7", resource(s3 + "b/*/test/*"), "s3:GetObject", s3 + "b/test/object.jpg", false},
			{"test 8", resource(s3 + "b/*/test/*"), "s3:GetObject", s3 + "b/1/2/test.jpg", false},
			{"any region and account", resource("arn:aws:lambda:*:*:function:f"), invoke, function, true},
			{"any region, another account", resource("arn:aws:lambda:*:444455556666:function:f"), invoke, function, false},
			{"a wildcard inside a part stays there", resource("arn:aws:lambda:us-*1:function:f"), invoke, function, false},
			{"a question mark is no colon", resource("arn:aws:lambda:us-east-1?111122223333:function:f"), invoke, function, false},
			{"an asterisk that ends a part goes on", resource("arn:aws:dynamodb:*:table/prod-*"), "dynamodb:DeleteTable", "arn:aws:dynamodb:us-east-1:111122223333:table/prod-x", true},
			{"and finds its end", resource("arn:aws:dynamodb:*:table/prod-*"), "dynamodb:DeleteTable", "arn:aws:dynamodb:us-east-1:111122223333:table/dev-x", false},
			{"an asterisk that ends the pattern goes on", resource("arn:aws:lambda:us-east-1:*"), invoke, function, true},
			{"a function with all its versions and aliases", resource(function + ":*"), invoke, function + ":prod", true},
			{"and not without", resource(function + ":*"), invoke, function, false},
			{"the resource's own colons", resource("arn:aws:lambda:*:*:function:f*"), invoke, function + ":7", true},
			{"actions without a resource want all", resource("arn:aws:lambda:*:*:function:*"), "lambda:ListFunctions", "*", false},
			{"a character of several bytes", resource(s3 + "b/?.txt"), "s3:GetObject", s3 + "b/é.txt", true},
		},
		// reference_policies_variables: where, in which version, special characters,
		// defaults; "not present … any attempt to match it fails".
		"variables": {
			{"the user's name", resource(s3 + "home/${aws:username}/*"), "s3:GetObject", s3 + "home/alice/x", true},
			{"another user's name", resource(s3 + "home/${aws:username}/*"), "s3:GetObject", s3 + "home/bob/x", false},
			{"names of keys in any case", resource(s3 + "home/${AWS:UserName}/*"), "s3:GetObject", s3 + "home/alice/x", true},
			{"the first version has none", version("2008-10-17", members("Effect", `"Allow"`, "Action", `"*"`, "Resource", q(s3+"home/${aws:username}/*"))), "s3:GetObject", s3 + "home/alice/x", false},
			{"the first version has the text", version("2008-10-17", members("Effect", `"Allow"`, "Action", `"*"`, "Resource", q(s3+"home/${aws:username}/*"))), "s3:GetObject", s3 + "home/${aws:username}/x", true},
			{"a tag", resource(s3 + "bucket/${aws:PrincipalTag/department}"), "s3:GetObject", s3 + "bucket/data", true},
			{"two in a text", resource(s3 + "${aws:PrincipalTag/department}-${aws:username}"), "s3:GetObject", s3 + "data-alice", true},
			{"without a value", resource(s3 + "bucket/${aws:TokenIssueTime}*"), "s3:GetObject", s3 + "bucket/", false},
			{"without a value, a default", resource(s3 + "bucket/${aws:PrincipalTag/team, 'company-wide'}"), "s3:GetObject", s3 + "bucket/company-wide", true},
			{"with a value, a default", resource(s3 + "bucket/${aws:PrincipalTag/department, 'company-wide'}"), "s3:GetObject", s3 + "bucket/data", true},
			{"with a value, not the default", resource(s3 + "bucket/${aws:PrincipalTag/department, 'company-wide'}"), "s3:GetObject", s3 + "bucket/company-wide", false},
			{"an asterisk", resource(s3 + "b/${*}"), "s3:GetObject", s3 + "b/*", true},
			{"an asterisk is no wildcard", resource(s3 + "b/${*}"), "s3:GetObject", s3 + "b/x", false},
			{"a question mark", resource(s3 + "b/${?}"), "s3:GetObject", s3 + "b/x", false},
			{"a dollar sign", resource(s3 + "b/${$}{x}"), "s3:GetObject", s3 + "b/${x}", true},
			{"before the fifth colon they are not replaced", resource("arn:aws:sqs:us-east-1:${aws:PrincipalAccount}:q"), "sqs:SendMessage", "arn:aws:sqs:us-east-1:111122223333:q", false},
			{"in a string condition", resource("*", "Condition", `{"StringEquals":{"aws:PrincipalTag/Department":"${aws:PrincipalTag/department}"}}`), invoke, function, true},
			{"in StringLike", resource("*", "Condition", `{"StringLike":{"aws:PrincipalArn":"*user/${aws:username}"}}`), invoke, function, true},
			{"in an ARN condition", resource("*", "Condition", `{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/${aws:username}"}}`), invoke, function, true},
			{"in a string condition, without a value", resource("*", "Condition", `{"StringEquals":{"aws:username":"${aws:SourceIdentity}"}}`), invoke, function, false},
			{"a key of several values is no variable", resource(s3 + "b/${x:many}"), "s3:GetObject", s3 + "b/first", false},
			{"in a numeric condition they are text", resource("*", "Condition", `{"NumericEquals":{"aws:PrincipalTag/costCenter":"${aws:PrincipalTag/costCenter}"}}`), invoke, function, false},
			{"an asterisk in a string condition", resource("*", "Condition", `{"StringLike":{"aws:username":"a${*}"}}`), invoke, function, false},
		},
		// reference_policies_condition-keys: properties of the principal.
		"keys of the principal": {
			{"aws:PrincipalArn", resource("*", "Condition", `{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:user/alice"}}`), invoke, function, true},
			{"aws:PrincipalAccount", resource("*", "Condition", `{"StringEquals":{"aws:PrincipalAccount":"111122223333"}}`), invoke, function, true},
			{"aws:PrincipalOrgID", resource("*", "Condition", `{"StringEquals":{"aws:PrincipalOrgID":"o-one"}}`), invoke, function, true},
			{"aws:PrincipalOrgPaths", resource("*", "Condition", `{"ForAnyValue:StringLike":{"aws:PrincipalOrgPaths":"o-one/r-1/ou-a/*"}}`), invoke, function, true},
			{"aws:PrincipalType", resource("*", "Condition", `{"StringEquals":{"aws:PrincipalType":"User"}}`), invoke, function, true},
			{"aws:userid", resource("*", "Condition", `{"StringEquals":{"aws:userid":"AIDAALICE"}}`), invoke, function, true},
			{"aws:username", resource("*", "Condition", `{"StringEquals":{"aws:username":"alice"}}`), invoke, function, true},
			{"aws:PrincipalTag", resource("*", "Condition", `{"StringEquals":{"aws:PrincipalTag/department":"data"}}`), invoke, function, true},
			{"a tag that is not there", resource("*", "Condition", `{"Null":{"aws:PrincipalTag/team":"true"}}`), invoke, function, true},
			{"aws:ResourceAccount", resource("*", "Condition", `{"StringEquals":{"aws:ResourceAccount":"${aws:PrincipalAccount}"}}`), invoke, function, true},
			{"aws:CurrentTime", resource("*", "Condition", `{"DateGreaterThan":{"aws:CurrentTime":"2017-07-01T00:00:00Z"},"DateLessThan":{"aws:CurrentTime":"2017-12-31T23:59:59Z"}}`), invoke, function, true},
			{"aws:EpochTime", resource("*", "Condition", `{"DateGreaterThan":{"aws:EpochTime":"2017-12-31T23:59:59Z"}}`), invoke, function, false},
		},
	} {
		for _, c := range cases {
			t.Run(group+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				r := Request{Principal: alice(), Action: c.action, Resource: c.resource, ResourceAccount: here, Time: time.Date(2017, 8, 1, 12, 0, 0, 0, time.UTC), Context: Context{"x:many": {"first", "second"}}}
				d := documents{identity: these(c.document)}
				if got := Evaluate(&r, d.parse(t)).Allowed; got != c.want {
					t.Errorf("%s allows = %t; want %t", c.document, got, c.want)
				}
				if got := simple(&r, d); got != c.want {
					t.Errorf("simple evaluator: %s allows = %t; want %t", c.document, got, c.want)
				}
			})
		}
	}
}
