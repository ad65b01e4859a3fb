package policy

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// cases is for those who want to look longer: go test -args -cases 1000000.
var cases = flag.Int("cases", 3000, "random cases of each comparison with the simple evaluator")

// generator makes requests and policies out of few words, so that they often meet.
type generator struct{ *rand.Rand }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

// some returns one to most of the words.
func (g generator) some(most int, from []string) any {
	n := 1 + g.IntN(most)
	if n == 1 && g.chance(70) {
		return pick(g, from...)
	}
	var all []any
	for range n {
		all = append(all, pick(g, from...))
	}
	return all
}

var (
	wordActions = []string{
		"*", "lambda:*", "lambda:InvokeFunction", "LAMBDA:invoke*", "lambda:Get*", "lambda:?etFunction", "s3:*", "s3:GetObject", "s3:*Object", "*:Get*", "sts:AssumeRole", "lambda:*Function", "lambda:InvokeFunction?", "sts:*",
	}
	wordRequestActions = []string{"lambda:InvokeFunction", "lambda:GetFunction", "s3:GetObject", "sts:AssumeRole"}
	wordResources      = []string{
		"*", function, function + ":*", "arn:aws:lambda:*:*:function:*", "arn:aws:lambda:us-east-1:111122223333:*", "arn:aws:lambda:us-*:111122223333:function:f", "arn:aws:lambda:*:function:f",
		"arn:aws:lambda:us-*1:*:function:?", "arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::b/*", "arn:aws:s3:::b/*/x", "arn:aws:s3:::?/${aws:PrincipalTag/team, 'red'}/*", "arn:aws:s3:::b/${aws:SourceIdentity}/*",
		"arn:aws:lambda:us-east-1:${aws:PrincipalAccount}:function:f", "arn:aws:s3:::b/${*}/x", "arn:aws:lambda:*:*:function:*:*", "arn:aws:iam::*:role/target", "arn:aws:lambda:*:111122223333:*:f",
	}
	wordRequestResources = []string{
		"*", function, function + ":7", theirs, "arn:aws:s3:::b/alice/x", "arn:aws:s3:::b/red/x", "arn:aws:s3:::b/*/x", "arn:aws:s3:::b/a:b/x", "arn:aws:iam::111122223333:role/target", "arn:aws:iam::444455556666:role/target",
	}
	wordPrincipals = []any{
		"*",
		object{"AWS": "*"},
		object{"AWS": here},
		object{"AWS": "arn:aws:iam::111122223333:root"},
		object{"AWS": aliceARN},
		object{"AWS": roleARN},
		object{"AWS": sessionARN},
		object{"AWS": fedARN},
		object{"AWS": there},
		object{"AWS": "AIDAALICE"},
		object{"AWS": "AROAWORKER"},
		object{"Service": "s3.amazonaws.com"},
		object{"Service": []any{"s3.us-east-1.amazonaws.com", "x.amazonaws.com"}},
		object{"Federated": "accounts.google.com"},
		object{"CanonicalUser": "79a5"},
		object{"AWS": []any{sessionARN, roleARN, here}},
		object{"AWS": []any{aliceARN, here}},
		object{"AWS": []any{fedARN, aliceARN}, "Service": "s3.amazonaws.com"},
	}
	wordKeys = []string{
		"x:text", "X:Text", "x:number", "x:date", "x:flag", "x:address", "x:arn", "x:many", "x:absent", "aws:username", "aws:PrincipalArn", "aws:PrincipalTag/Team", "aws:PrincipalTag/color", "aws:PrincipalOrgID", "aws:PrincipalOrgPaths",
		"aws:PrincipalType", "aws:userid", "aws:PrincipalIsAWSService", "aws:PrincipalServiceNamesList", "aws:PrincipalAccount", "aws:ResourceAccount", "aws:CurrentTime", "aws:EpochTime",
	}
	wordValues = []any{
		"a", "A", "abc", "a*", "*", "?bc", "", "${aws:username}", "alice", "a${*}", "a*c", "${aws:PrincipalTag/team}", "${x:absent, 'abc'}", "${x:absent}", "red", "RED", "o-one", "o-one/*", "User", "AssumedRole", "111122223333", "true", "false", true, false,
		10, 9.5, "10", "-3", "10.0", "ten", "2020-01-01T00:00:00Z", "2020-01-01", "2019-12-31T23:00:00-01:00", "1577836800", "203.0.113.0/24", "203.0.113.9", "2001:db8::/32", "0.0.0.0/0", "nowhere", "YWJj", "!",
		aliceARN, "arn:aws:iam::*:user/*", "arn:aws:iam::111122223333:*", "arn:aws:*:*:111122223333:*/worker", "arn:aws:iam::111122223333:user/${aws:username}", "AROA*", "s3.*",
	}
)

func wordOperators() []string {
	names := slices.Sorted(maps.Keys(operators))
	for _, n := range names {
		if n != "Null" {
			names = append(names, n+"IfExists", "ForAnyValue:"+n, "ForAllValues:"+n, "ForAnyValue:"+n+"IfExists", "ForAllValues:"+n+"IfExists")
		}
	}
	return names
}

var allOperators = wordOperators()

func (g generator) statement(kind DocumentKind) object {
	s := object{"Effect": allow}
	if g.chance(20) {
		s["Effect"] = deny
	}
	actions := wordActions
	if kind == Trust {
		actions = []string{"sts:AssumeRole", "sts:*", "sts:Assume*", "sts:TagSession"}
	}
	s[pick(g, "Action", "Action", "Action", "NotAction")] = g.some(3, actions)
	if kind != Trust {
		s[pick(g, "Resource", "Resource", "Resource", "NotResource")] = g.some(3, wordResources)
	}
	if kind != Identity {
		element := pick(g, "Principal", "Principal", "Principal", "NotPrincipal")
		if kind == Trust && s["Effect"] == allow {
			element = "Principal"
		}
		s[element] = pick(g, wordPrincipals...)
	}
	if g.chance(50) {
		s["Condition"] = g.conditions()
	}
	return s
}

// family is what an operator is likely to be used with.
type family struct {
	keys   []string
	values []any
}

var families = map[string]family{
	"Numeric": {[]string{"x:number", "x:many"}, []any{10, 9.5, "10", "-3", "10.0", 11, "9", "ten"}},
	"Date":    {[]string{"x:date", "aws:CurrentTime", "aws:EpochTime"}, []any{"2020-01-01T00:00:00Z", "2020-01-01", "2019-12-31T23:00:00-01:00", "1577836800", 1577836801, "2019-06-01"}},
	"Bool":    {[]string{"x:flag", "aws:PrincipalIsAWSService"}, []any{"true", "false", true, false, "TRUE"}},
	"Null":    {wordKeys, []any{"true", "false", true, false, "yes"}},
	"Binary":  {[]string{"x:text", "x:many"}, []any{"YWJj", "YQ==", "!"}},
	"Ip":      {[]string{"x:address"}, []any{"203.0.113.0/24", "203.0.113.9", "2001:db8::/32", "0.0.0.0/0", "198.51.100.2", "nowhere"}},
	"Arn":     {[]string{"x:arn", "aws:PrincipalArn"}, []any{aliceARN, roleARN, "arn:aws:iam::*:user/*", "arn:aws:iam::111122223333:*", "arn:aws:*:*:111122223333:*/worker", "arn:aws:iam::111122223333:user/${aws:username}", "arn:aws:s3:::?", "*"}},
	"String":  {[]string{"x:text", "X:Text", "x:many", "aws:PrincipalTag/Team"}, []any{"a", "A", "abc", "a*", "?bc", "red", "RED", "${aws:PrincipalTag/team}", "${aws:username}"}},
}

// conditions returns conditions of one or two operators.
func (g generator) conditions() object {
	names := []string{pick(g, allOperators...)}
	if g.chance(50) {
		names = append(names, pick(g, allOperators...))
	}
	return g.conditionsOf(1+g.IntN(2), names...)
}

// conditionsOf returns conditions of some operators, each for up to some keys.
func (g generator) conditionsOf(keys int, names ...string) object {
	conditions := object{}
	for _, name := range names {
		f := family{wordKeys, wordValues}
		for prefix, own := range families {
			if !strings.Contains(name, prefix) {
				continue
			}
			if g.chance(85) {
				f = own
			} else if prefix == "Date" {
				f.values = own.values // others are refused
			}
		}
		below := object{}
		for range keys {
			values := []any{pick(g, f.values...)}
			for g.chance(30) {
				values = append(values, pick(g, f.values...))
			}
			if len(values) == 1 && g.chance(60) {
				below[pick(g, f.keys...)] = values[0]
			} else {
				below[pick(g, f.keys...)] = values
			}
		}
		conditions[name] = below
	}
	return conditions
}

func (g generator) document(kind DocumentKind) string {
	doc := object{"Version": pick(g, "2012-10-17", "2012-10-17", "2012-10-17", "2008-10-17")}
	var all []any
	for range 1 + g.IntN(3) {
		all = append(all, g.statement(kind))
	}
	doc["Statement"] = all
	text, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (g generator) documents() documents {
	var d documents
	several := func(most int) []string {
		var all []string
		for range g.IntN(most + 1) {
			all = append(all, g.document(Identity))
		}
		return all
	}
	d.identity = several(3)
	switch g.IntN(4) {
	case 0, 1:
		d.resource = g.document(Resource)
	case 2:
		if g.chance(40) {
			d.trust = g.document(Trust)
		}
	}
	if g.chance(25) {
		d.boundary = g.document(Identity)
	}
	if g.chance(25) {
		d.session = several(2)
	}
	if g.chance(15) {
		for range 1 + g.IntN(2) {
			d.control = append(d.control, append(several(1), g.document(Identity)))
		}
	}
	return d
}

func (g generator) request() Request {
	r := Request{
		Principal: pick(g, alice(), alice(), worker(), worker(), federated(), root(), s3Service(), Principal{}, Principal{Kind: WebIdentity, Provider: "accounts.google.com"}),
		Action:    pick(g, wordRequestActions...), Resource: pick(g, wordRequestResources...), ResourceAccount: pick(g, "", here, here, there),
		Context: Context{},
	}
	if g.chance(50) {
		r.Time = time.Unix(1577836800+int64(g.IntN(3))-1, 0)
	}
	if g.chance(50) {
		r.Principal.Tags = map[string]string{"team": pick(g, "red", "blue", ""), "Color": "abc"}
	}
	if g.chance(20) && r.Principal.Account != "" {
		r.Principal.CanonicalUser = "79a5"
	}
	set := func(name string, values ...string) {
		if g.chance(70) {
			r.Context.Set(name, values...)
		}
	}
	set("x:text", pick(g, "a", "abc", "A", "", "a*", "red"))
	set("x:number", pick(g, "10", "9.5", "-3", "11", "ten"))
	set("x:date", pick(g, "2020-01-01T00:00:00Z", "2020-01-01T00:00:01Z", "1577836800", "2019-06-01", "soon"))
	set("x:flag", pick(g, "true", "false", "TRUE", "yes"))
	set("x:address", pick(g, "203.0.113.9", "198.51.100.1", "2001:db8::7", "nowhere"))
	set("x:arn", pick(g, aliceARN, function, "arn:aws:s3:::b", "none"))
	set("x:many", pick(g, []string{"a", "abc"}, []string{"a"}, []string{""}, []string{"10", "9"}, []string{"o-one/r", "b", ""}, nil)...)
	return r
}

// TestAgainstSimple compares the evaluators on random requests and policies.
func TestAgainstSimple(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	g := generator{rand.New(rand.NewPCG(seed, 1))}
	permitted := 0
	reasons := map[string]int{}
	for i := range *cases {
		d, r := g.documents(), g.request()
		got := Evaluate(&r, d.parse(t))
		reasons[outcome(got)]++
		if got.Allowed {
			permitted++
		}
		if want := simple(&r, d); got.Allowed != want {
			t.Fatalf("seed %d, case %d: Evaluate = %s; the simple evaluator allows: %t\nrequest %+v\npolicies %+v", seed, i, outcome(got), want, r, d)
		}
		if (got.Message() == "") != got.Allowed {
			t.Fatalf("seed %d, case %d: %+v has the message %q", seed, i, got, got.Message())
		}
	}
	t.Logf("seed %d: %d of %d allowed; %v", seed, permitted, *cases, reasons)
	// The comparison means something only where all outcomes happen.
	if permitted < *cases/20 || len(reasons) != 13 {
		t.Errorf("%d of %d allowed, %d kinds of outcomes: %v", permitted, *cases, len(reasons), reasons)
	}
}

// TestConditionsAgainstSimple compares the evaluators on random conditions, of a
// permission and of a denial for whom nothing else decides.
func TestConditionsAgainstSimple(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	// One half is the same each time, and so large that each operator, in each
	// form, is met and not met.
	always, sometimes := generator{rand.New(rand.NewPCG(1, 3))}, generator{rand.New(rand.NewPCG(seed, 3))}
	met := map[string]int{}
	for i := range max(*cases, 10000) {
		g := sometimes
		if i%2 == 0 {
			g = always
		}
		r := g.request()
		r.Principal, r.ResourceAccount = pick(g, alice(), worker()), here
		conditions := g.conditions()
		if i%2 == 0 {
			conditions = g.conditionsOf(1, allOperators[i/2%len(allOperators)])
		}
		text, err := json.Marshal(conditions)
		if err != nil {
			t.Fatal(err)
		}
		version := pick(g, firstVersion, secondVersion, secondVersion)
		effect := pick(g, allow, deny)
		d := documents{identity: these(strings.Replace(identityOf(effect, "*", "*", "Condition", string(text)), secondVersion, version, 1))}
		if effect == deny {
			d.identity = append(d.identity, identityOf(allow, "*", "*"))
		}
		got := Evaluate(&r, d.parse(t)).Allowed
		if want := simple(&r, d); got != want {
			t.Fatalf("seed %d, case %d: %s %s, version %s: allowed = %t; want %t\nrequest %+v", seed, i, effect, text, version, got, want, r)
		}
		if i%2 == 0 {
			for name := range conditions {
				met[fmt.Sprintf("%s %t", name, got == (effect == allow))]++
			}
		}
	}
	for _, name := range allOperators {
		for _, is := range []bool{true, false} {
			if met[fmt.Sprintf("%s %t", name, is)] == 0 {
				t.Errorf("%s was never %t", name, is)
			}
		}
	}
}

// TestPatternsAgainstRegexp compares the matchers with regular expressions, on
// random patterns of few characters.
func TestPatternsAgainstRegexp(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	g := generator{rand.New(rand.NewPCG(seed, 2))}
	text := func(most int, from ...string) string {
		var b strings.Builder
		for range g.IntN(most + 1) {
			b.WriteString(pick(g, from...))
		}
		return b.String()
	}
	matched := map[string]int{}
	for range 4 * *cases {
		p, s := text(14, "a", "b", ":", ":", "*", "?", "é", "/"), text(16, "a", "b", ":", ":", "é", "/")
		if g.chance(30) {
			// A pattern that was a name is likelier to match.
			s = strings.NewReplacer("*", text(3, "a", ":", "é"), "?", "é").Replace(p)
		}
		encoded := classify(encode(p))
		byARN, _ := arnExpression(p, nil, false, false)
		byResource, _ := arnExpression(p, nil, false, true)
		for name, c := range map[string]struct {
			got        bool
			expression string
		}{
			"StringLike": {matchesText(encoded, s), wild(p, ".*", ".")},
			"ArnLike":    {matchesARN(encoded, s), byARN},
			"Resource":   {matchesResource(encoded, s), byResource},
			"Action":     {encoded.matchesAction(strings.ToUpper(s)), "(?i)" + wild(p, ".*", ".")},
		} {
			if name == "Action" && strings.Contains(p+s, "é") {
				continue // actions are ASCII
			}
			want := regexp.MustCompile("^(?s:" + c.expression + ")$").MatchString(map[bool]string{true: strings.ToUpper(s), false: s}[name == "Action"])
			if c.got != want {
				t.Fatalf("seed %d: %s %q matches %q = %t; want %t", seed, name, p, s, c.got, want)
			}
			if want {
				matched[name]++
			}
		}
	}
	for _, name := range []string{"StringLike", "ArnLike", "Resource", "Action"} {
		if matched[name] < *cases/10 {
			t.Errorf("%s: %d matches; the comparison means little", name, matched[name])
		}
	}
}
