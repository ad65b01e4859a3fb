package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// mustParse compiles a text that a test relies on.
func mustParse(t testing.TB, kind DocumentKind, text string) *Document {
	t.Helper()
	d, err := Parse(text, Rules{Kind: kind})
	if err != nil {
		t.Fatalf("Parse(%s) = %v", text, err)
	}
	return d
}

// statements wraps statements into a document of the second version.
func statements(s ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(s, ",") + `]}`
}

// members is a statement of name and value pairs; values are JSON.
func members(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, "%q:%s", pairs[i], pairs[i+1])
	}
	return "{" + b.String() + "}"
}

// altered is a sound statement with some members replaced, or left out where the
// value is empty.
func altered(pairs ...string) string {
	sound := []string{"Effect", `"Allow"`, "Action", `"s3:ListBucket"`, "Resource", `"arn:aws:s3:::b"`}
	for i := 0; i < len(pairs); i += 2 {
		found := false
		for k := 0; k < len(sound); k += 2 {
			if sound[k] == pairs[i] {
				sound[k+1], found = pairs[i+1], true
			}
		}
		if !found {
			sound = append(sound, pairs[i], pairs[i+1])
		}
	}
	var kept []string
	for k := 0; k < len(sound); k += 2 {
		if sound[k+1] != "" {
			kept = append(kept, sound[k], sound[k+1])
		}
	}
	return members(kept...)
}

// TestParseRefusals has the texts that IAM answers with, as others observed them
// of the real service, and as identity answered them before.
func TestParseRefusals(t *testing.T) {
	t.Parallel()
	one := func(pairs ...string) string { return statements(altered(pairs...)) }
	const (
		vendor  = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
		colons  = "Actions/Condition can contain only one colon."
		iamPath = `IAM resource path must either be "*" or start with user/, federated-user/, role/, group/, instance-profile/, mfa/, server-certificate/, policy/, sms-mfa/, saml-provider/, oidc-provider/, report/, access-report/.`
		twice   = "Statement IDs (SID) in a single policy must be unique."
		alnum   = "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"
	)
	for name, c := range map[string]struct{ text, want string }{
		"no JSON":                         {"This is not a json document", textJSON},
		"JSON and more":                   {statements(altered()) + "x", textJSON},
		"not UTF-8":                       {one("Sid", "\"\xff\""), textJSON},
		"endless depth":                   {strings.Repeat("[", 20000), textJSON},
		"deep, but JSON":                  {`{"Statement":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + "}", textSyntax},
		"an array":                        {"[]", textSyntax},
		"nothing":                         {"{}", textSyntax},
		"another version":                 {`{"Version":"2013-10-17","Statement":` + altered() + "}", "The policy must contain a valid version string"},
		"a version that is no string":     {`{"Version":20121017,"Statement":` + altered() + "}", textSyntax},
		"no statement":                    {`{"Version":"2012-10-17"}`, textSyntax},
		"an empty list of statements":     {statements(), textSyntax},
		"a statement that is a string":    {statements(`"afd"`), textSyntax},
		"an unknown element":              {`{"Extra field":"v","Statement":` + altered() + "}", textSyntax},
		"an unknown element inside":       {one("Extra field", `"v"`), textSyntax},
		"small letters":                   {one("effect", `"Allow"`, "Effect", ""), textSyntax},
		"an element twice":                {statements(`{"Effect":"Allow","Effect":"Deny","Action":"s3:*","Resource":"*"}`), textSyntax},
		"an Id that is a list":            {`{"Id":["x"],"Statement":` + altered() + "}", textSyntax},
		"a Sid that is an object":         {one("Sid", "{}"), textSyntax},
		"a Sid with a space":              {one("Sid", `"Space Space"`), alnum},
		"an effect that is none":          {one("Effect", `"invalid"`), textSyntax},
		"no effect":                       {one("Effect", ""), textSyntax},
		"an effect in small letters":      {one("Effect", `"allow"`), textLegacy},
		"an action without a vendor":      {one("Action", `"invalid"`), vendor},
		"an empty NotAction":              {one("Action", "", "NotAction", `""`), vendor},
		"a vendor with a space":           {one("Action", `"a a:ListBucket"`), "Vendor a a is not valid"},
		"an action of three parts":        {one("Action", `"s3:List:Bucket"`), colons},
		"the second of two actions":       {one("Action", `["s3:List","s:3:x"]`), colons},
		"an action before no resource":    {one("Action", `"invalid"`, "Resource", ""), vendor},
		"no action":                       {one("Action", ""), textNoActions},
		"no action and no resource":       {one("Action", "", "Resource", ""), textNoActions},
		"an empty list of actions":        {one("Action", "[]"), textNoActions},
		"actions in a list in a list":     {one("Action", "[[]]"), textSyntax},
		"an action that is an object":     {one("Action", "{}"), textSyntax},
		"an action that is null":          {one("Action", "null"), textSyntax},
		"Action and NotAction":            {one("NotAction", `"s3:Get"`), textSyntax},
		"no resource":                     {one("Resource", ""), textNoResources},
		"an empty list of resources":      {one("Resource", "[]"), textNoResources},
		"Resource and NotResource":        {one("NotResource", "[]"), textSyntax},
		"a resource that is an object":    {one("Resource", `{"a":"arn:aws:s3:::b"}`), textSyntax},
		"a resource that is no ARN":       {one("Resource", `"invalid resource"`), `Resource invalid resource must be in ARN format or "*".`},
		"an empty resource":               {one("Resource", `""`), `Resource  must be in ARN format or "*".`},
		"a resource before an action":     {one("Action", `"s:3:ListBucket"`, "Resource", `"sdfsadf"`), `Resource sdfsadf must be in ARN format or "*".`},
		"two parts":                       {one("Resource", `"a:b"`), `Partition "b" is not valid for resource "arn:b:*:*:*:*".`},
		"three parts":                     {one("Resource", `"a:b:c"`), `Partition "b" is not valid for resource "arn:b:c:*:*:*".`},
		"eight parts":                     {one("Resource", `"a:b:c:d:e:f:g:h"`), `Partition "b" is not valid for resource "arn:b:c:d:e:f:g:h".`},
		"arn forgotten":                   {one("Resource", `"aws:s3:::b"`), `Partition "s3" is not valid for resource "arn:s3:::b:*".`},
		"the first of two partitions":     {one("Resource", `["arn:error:s3:::b","arn:error:s3::b"]`), `Partition "error" is not valid for resource "arn:error:s3:::b".`},
		"no service":                      {one("Resource", `"arn:aws"`), "Resource vendor must be fully qualified and cannot contain regexes."},
		"any service":                     {one("Resource", `"arn:aws:*:*:*:*"`), "Resource vendor must be fully qualified and cannot contain regexes."},
		"a colon too few":                 {one("Resource", `"arn:aws:s3::b"`), textLegacy},
		"a colon too few in NotResource":  {one("Resource", "", "NotResource", `"arn:aws:s3::b"`), textLegacy},
		"a colon too few before actions":  {one("Resource", `"arn:aws:s3::b"`, "Action", ""), textLegacy},
		"an empty service":                {one("Resource", `"arn:aws::::b"`), textLegacy},
		"nothing of IAM":                  {one("Resource", `"arn:aws:iam:::b"`), iamPath},
		"IAM in a region":                 {one("Resource", `"arn:aws:iam:us-east-1::b"`), "IAM resource arn:aws:iam:us-east-1::b cannot contain region information."},
		"a bucket in a region":            {one("Resource", `"arn:aws:s3:us-east-1::b"`), "Resource arn:aws:s3:us-east-1::b can not contain region information."},
		"a principal":                     {one("Principal", `"*"`), textNoPrincipals},
		"NotPrincipal":                    {one("NotPrincipal", `{"AWS":"*"}`), textNoPrincipals},
		"one Sid twice":                   {statements(altered("Sid", `"sdf"`), altered("Sid", `"sdf"`, "Action", "", "Resource", "")), twice},
		"conditions in a list":            {one("Condition", "[]"), textSyntax},
		"a condition that is a string":    {one("Condition", `"a"`), textSyntax},
		"an operator that is a string":    {one("Condition", `{"DateGreaterThan":"b"}`), textSyntax},
		"a value that is an object":       {one("Condition", `{"DateGreaterThan":{"a":{}}}`), textSyntax},
		"a value that is null":            {one("Condition", `{"StringEquals":{"a":null}}`), textSyntax},
		"an unknown operator":             {one("Condition", `{"x":{"a":"1"}}`), textSyntax},
		"an operator in small letters":    {one("Condition", `{"stringequals":{"a":"1"}}`), textSyntax},
		"two colons":                      {one("Condition", `{"ForAnyValue::StringEqualsIfExists":{"a":"asf"}}`), textSyntax},
		"NullIfExists":                    {one("Condition", `{"NullIfExists":{"a":"true"}}`), textSyntax},
		"an operator twice":               {one("Condition", `{"StringEquals":{"a":"1"},"StringEquals":{"b":"1"}}`), textSyntax},
		"no date":                         {one("Condition", `{"DateGreaterThan":{"a":"sdfdsf"}}`), textLegacy},
		"no date before no action":        {one("Condition", `{"DateGreaterThan":{"a":"sdfdsf"}}`, "Action", ""), textLegacy},
		"no date before a partition":      {one("Condition", `{"DateGreaterThan":{"a":"sdfdsf"}}`, "Resource", `"arn:error:s3:::b"`), textLegacy},
		"month 13":                        {one("Condition", `{"DateLessThanEquals":{"a":"234-13"}}`), textLegacy},
		"a zone of one digit":             {one("Condition", `{"DateLessThanEquals":{"a":"2016-12-13t2:00:00.593194+1"}}`), textLegacy},
		"ten digits of a second":          {one("Condition", `{"DateLessThanEquals":{"a":"2016-12-13t2:00:00.1999999999+10:59"}}`), textLegacy},
		"more seconds than there will be": {one("Condition", `{"DateLessThan":{"a":"9223372036854775808"}}`), textLegacy},
	} {
		checkRefusal(t, name, c.text, Rules{}, c.want)
	}

	const no2012 = "Policy document must be version 2012-10-17 or greater."
	for name, c := range map[string]struct{ text, want string }{
		"no version":                    {`{"Statement":` + altered() + "}", no2012},
		"the first version":             {`{"Version":"2008-10-17","Statement":` + altered() + "}", no2012},
		"before other errors":           {`{"Statement":` + altered("Effect", `"denY"`) + "}", no2012},
		"behind an effect that is none": {`{"Statement":` + altered("Effect", `"x"`) + "}", textSyntax},
	} {
		checkRefusal(t, "managed: "+name, c.text, Rules{SecondVersion: true}, c.want)
	}

	trust := func(pairs ...string) string {
		return one(append([]string{"Resource", "", "Action", `"sts:AssumeRole"`, "Principal", `{"AWS":"*"}`}, pairs...)...)
	}
	for name, c := range map[string]struct{ text, want string }{
		"no JSON":                      {"{", textJSON},
		"no statement":                 {"{}", "Could not parse the policy: Statement is empty!"},
		"an unknown element":           {`{"statement":[]}`, "Unknown field statement"},
		"an unknown element inside":    {trust("_comment", `""`), "Unknown field _comment"},
		"another version":              {`{"Version":"2013","Statement":[]}`, "The policy must contain a valid version string"},
		"no effect":                    {trust("Effect", ""), "Missing required field Effect"},
		"an effect that is none":       {trust("Effect", `"allow"`), "Invalid effect: allow"},
		"no principal":                 {trust("Principal", ""), textNoPrincipal},
		"no principal, a wrong action": {trust("Principal", "", "Action", `"x"`), textNoPrincipal},
		"an empty principal":           {trust("Principal", "{}"), "Missing required field Principal cannot be empty!"},
		"nobody":                       {trust("Principal", `{"AWS":[]}`), "Missing required field Principal cannot be empty!"},
		"a name without a type":        {trust("Principal", `"lambda.amazonaws.com"`), `Invalid principal in policy: "AWS":"lambda.amazonaws.com"`},
		"an unknown type":              {trust("Principal", `{"Aws":"*"}`), `Invalid principal in policy: "Aws"`},
		"a part of a name":             {trust("Principal", `{"AWS":"arn:aws:iam::111122223333:role/*"}`), `Invalid principal in policy: "AWS":"arn:aws:iam::111122223333:role/*"`},
		"an empty name":                {trust("Principal", `{"Service":""}`), `Invalid principal in policy: "Service":""`},
		"Principal and NotPrincipal":   {trust("NotPrincipal", `{"AWS":"*"}`), textSyntax},
		"Allow with NotPrincipal":      {trust("Principal", "", "NotPrincipal", `{"AWS":"*"}`), "Allow with NotPrincipal is not allowed."},
		"no action":                    {trust("Action", ""), "Missing required field Action"},
		"another action":               {trust("Action", `"s3:GetObject"`), "AssumeRole policy may only specify STS AssumeRole actions."},
		"all actions":                  {trust("Action", `"*"`), "AssumeRole policy may only specify STS AssumeRole actions."},
		"a resource":                   {trust("Resource", `"*"`, "Action", `"x"`), "Has prohibited field Resource"},
		"no date":                      {trust("Condition", `{"DateLessThan":{"aws:CurrentTime":"soon"}}`), textLegacy},
		"one Sid twice":                {statements(altered("Sid", `"a"`, "Resource", "", "Action", `"sts:AssumeRole"`, "Principal", `"*"`), altered("Sid", `"a"`, "Resource", "", "Action", `"sts:AssumeRole"`, "Principal", `"*"`)), "The Statement Ids in the policy are not unique"},
	} {
		checkRefusal(t, "trust: "+name, c.text, Rules{Kind: Trust}, c.want)
	}

	for name, c := range map[string]struct{ text, want string }{
		"no principal":     {one(), textNoPrincipal},
		"a part of a name": {one("Principal", `{"AWS":"arn:aws:iam::111122223333:user/*"}`), `Invalid principal in policy: "AWS":"arn:aws:iam::111122223333:user/*"`},
		"an unknown type":  {one("Principal", `{"Group":"x"}`), textSyntax},
		"no resource":      {one("Principal", `"*"`, "Resource", ""), textNoResources},
		"no action":        {one("Principal", `"*"`, "Action", ""), textNoActions},
	} {
		checkRefusal(t, "resource: "+name, c.text, Rules{Kind: Resource}, c.want)
	}
}

func checkRefusal(t *testing.T, name, text string, rules Rules, want string) {
	t.Helper()
	d, err := Parse(text, rules)
	if m, ok := errors.AsType[*Malformed](err); !ok || m.Text != want || d != nil {
		t.Errorf("%s: Parse = %v, %v; want %q", name, d, err, want)
	}
}

func TestParseTakes(t *testing.T) {
	t.Parallel()
	one := func(pairs ...string) string { return statements(altered(pairs...)) }
	for name, text := range map[string]string{
		"one statement without a list":     `{"Version":"2012-10-17","Statement":` + altered() + "}",
		"no version":                       `{"Statement":` + altered() + "}",
		"the first version":                `{"Version":"2008-10-17","Statement":` + altered() + "}",
		"an Id":                            `{"Id":"x","Statement":` + altered() + "}",
		"Version behind Statement":         `{"Statement":` + altered() + `,"Version":"2012-10-17"}`,
		"white space":                      " \n{ \"Statement\" :\t" + altered() + "\r\n}\n",
		"spaces in an action":              one("Action", `"iam: asdf safdsf af "`),
		"all actions":                      one("Action", `"*"`),
		"all actions of all services":      one("Action", `["*:*","*:Describe*"]`),
		"a vendor with a dash and a dot":   one("Action", `["s3-s:List","s3.s:List"]`),
		"NotAction and NotResource":        one("Action", "", "NotAction", `"s3:Get"`, "Resource", "", "NotResource", `"*"`),
		"a resource and all":               one("Resource", `["arn:aws:s3:::b","*"]`),
		"a resource of a service only":     one("Resource", `"arn:aws:fdsasf"`),
		"a user":                           one("Resource", `"arn:aws:iam:::user/x"`),
		"all of IAM":                       one("Resource", `["arn:aws:iam::111122223333:*","arn:aws:iam::*:r*","arn:aws:iam::*:user/${aws:username}"]`),
		"an access point in a region":      one("Resource", `"arn:aws:s3:us-west-2:111122223333:accesspoint/x"`),
		"a policy of AWS":                  one("Resource", `"arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"`),
		"log groups":                       one("Resource", `"arn:aws:logs:*:*:*"`),
		"no conditions":                    one("Condition", "{}"),
		"an unknown operator of nothing":   one("Condition", `{"x":{},"y":{}}`),
		"no values":                        one("Condition", `{"DateGreaterThan":{"a":[]}}`),
		"numbers and booleans":             one("Condition", `{"NumericLessThan":{"s3:max-keys":10.5},"Bool":{"aws:SecureTransport":[true,"false"]}}`),
		"quantifier and IfExists":          one("Condition", `{"ForAnyValue:StringEqualsIfExists":{"a":"b"},"ForAllValues:StringLike":{"a":"b"}}`),
		"a year":                           one("Condition", `{"DateGreaterThan":{"a":"01T"}}`),
		"a year long ago":                  one("Condition", `{"DateLessThan":{"a":"-292275054"}}`),
		"a date with a zone of hours":      one("Condition", `{"DateLessThan":{"a":"2016-12-13t2:00:00.593194+23"}}`),
		"a date with a zone and fractions": one("Condition", `{"DateLessThan":{"a":"2016-12-13T21:20:37.593194+00:00"}}`),
		"empty Sids":                       statements(altered("Sid", `""`), altered("Sid", `""`)),
		"names in other scripts":           one("Resource", `"arn:aws:s3:::b/日本/é"`),
	} {
		if _, err := Parse(text, Rules{}); err != nil {
			t.Errorf("%s: Parse(%s) = %v; want none", name, text, err)
		}
	}
	for name, text := range map[string]string{
		"a service": members("Effect", `"Allow"`, "Principal", `{"Service":"lambda.amazonaws.com"}`, "Action", `"sts:AssumeRole"`),
		"several":   members("Sid", `"any thing"`, "Effect", `"Allow"`, "Principal", `{"AWS":["111122223333","arn:aws:iam::111122223333:user/u"],"Federated":"accounts.google.com"}`, "Action", `["sts:AssumeRole","sts:TagSession"]`, "Condition", `{"StringEquals":{"sts:ExternalId":"x"}}`),
		"a denial":  members("Effect", `"Deny"`, "NotPrincipal", `{"AWS":"111122223333"}`, "NotAction", `"sts:TagSession"`),
	} {
		if _, err := Parse(statements(text), Rules{Kind: Trust}); err != nil {
			t.Errorf("trust: %s: Parse = %v; want none", name, err)
		}
	}
}

func TestParseLimits(t *testing.T) {
	t.Parallel()
	text := statements(altered())
	if got, want := Size(" "+text+"\n\t"), len(text); got != want {
		t.Errorf("Size = %d; want %d", got, want)
	}
	if _, err := Parse(strings.Repeat(" ", 5000)+text, Rules{Limit: len(text)}); err != nil {
		t.Errorf("Parse of a text with white space = %v; want none", err)
	}
	many := strings.Repeat(altered()+",", MaxStatements)
	for name, c := range map[string]struct {
		text  string
		rules Rules
		want  TooLarge
	}{
		"a character more":    {text, Rules{Limit: len(text) - 1}, TooLarge{"characters", len(text) - 1}},
		"white space alone":   {strings.Repeat(" ", MaxText) + text, Rules{}, TooLarge{"characters", MaxText}},
		"too many statements": {statements(many + altered()), Rules{}, TooLarge{"statements", MaxStatements}},
	} {
		_, err := Parse(c.text, c.rules)
		if got, ok := errors.AsType[*TooLarge](err); !ok || *got != c.want {
			t.Errorf("%s: Parse = %v; want %v", name, err, &c.want)
		}
	}
	if _, err := Parse(statements(strings.TrimSuffix(many, ",")), Rules{}); err != nil {
		t.Errorf("Parse of %d statements = %v; want none", MaxStatements, err)
	}
}

// TestHostileTime holds parsing and matching to time in proportion: the worst
// patterns that fit into a policy, against the longest names.
func TestHostileTime(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 20000)
	stars := strings.Repeat("*a", 10000)
	key := strings.Repeat("a", 1000)
	const bound = 30 * time.Second // a fraction of a second alone; what is not in proportion takes hours
	for name, c := range map[string]struct{ pattern, resource string }{
		"asterisks":                {"arn:aws:s3:::" + stars + "b", "arn:aws:s3:::" + key},
		"asterisks and colons":     {"arn:aws:s3:*:*:" + strings.Repeat("*:", 10000) + "b", "arn:aws:s3:::" + strings.Repeat(":", 1000)},
		"across colons":            {"arn:aws:s3:*:*:" + strings.Repeat("*a", 5000) + "c" + strings.Repeat("*?", 4000) + "b", "arn:aws:s3:::" + strings.Repeat("a:", 500) + "b"},
		"question marks":           {"arn:aws:s3:*:*:*" + strings.Repeat("?", 20000), "arn:aws:s3:::" + key},
		"variables":                {"arn:aws:s3:::" + strings.Repeat("${aws:username}*", 1200), "arn:aws:s3:::" + key},
		"variables without an end": {"arn:aws:s3:::" + strings.Repeat("${'", 6000), "arn:aws:s3:::" + key},
		"defaults without an end":  {"arn:aws:s3:::" + strings.Repeat("${a, '}", 2800), "arn:aws:s3:::" + key},
		"literal":                  {"arn:aws:s3:::" + long, "arn:aws:s3:::" + key},
	} {
		begin := time.Now()
		text, err := json.Marshal(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		d := mustParse(t, Identity, statements(altered("Resource", string(text))))
		r := &Request{Principal: Principal{Kind: User, UserName: key}, Action: "s3:ListBucket", Resource: c.resource}
		if got := Evaluate(r, &Policies{Identity: []*Document{d}}); got.Allowed {
			t.Errorf("%s: allowed", name)
		}
		if took := time.Since(begin); took > bound {
			t.Errorf("%s: took %v; want less than %v", name, took, bound)
		}
	}
}
