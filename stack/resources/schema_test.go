package resources

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the documents that are generated")

func TestCheck(t *testing.T) {
	t.Parallel()
	set := New(Options{})
	for _, c := range []struct{ name, typ, properties, want string }{
		{"what is well", "AWS::Lambda::Function", `{"Role":"r","Code":{"ZipFile":"x"},"Timeout":"5","MemorySize":256,"SnapStart":{"ApplyOn":"None"}}`, ""},
		{"values that are not known yet", "AWS::Lambda::Function", `{"Role":{"Fn::GetAtt":["R","Arn"]},"Code":{"S3Bucket":{"Ref":"B"},"S3Key":"k"},"Timeout":{"Ref":"T"},"Layers":{"Fn::Split":[",","a"]},"Environment":{"Variables":{"A":{"Ref":"B"}}}}`, ""},
		{"members that there are not", "AWS::Lambda::Function", `{"Role":"r","Code":{"ZipFile":"x","Zip":1},"Foo":1}`, "#/Code: extraneous key [Zip] is not permitted\n#: extraneous key [Foo] is not permitted"},
		{"members that are missing", "AWS::Lambda::Function", `{}`, "#: required key [Code] not found\n#: required key [Role] not found"},
		{"missing deep inside", "AWS::IAM::Role", `{"AssumeRolePolicyDocument":{},"Policies":[{"PolicyName":"p"}]}`, "#/Policies/0: required key [PolicyDocument] not found"},
		{"no number", "AWS::Lambda::Function", `{"Role":"r","Code":{"ZipFile":"x"},"Timeout":"soon"}`, "#/Timeout: expected type: Integer, found: String"},
		{"half a number", "AWS::Lambda::Function", `{"Role":"r","Code":{"ZipFile":"x"},"Timeout":1.5}`, "#/Timeout: expected type: Integer, found: Number"},
		{"no list", "AWS::Lambda::Function", `{"Role":"r","Code":{"ZipFile":"x"},"Layers":"arn"}`, "#/Layers: expected type: JSONArray, found: String"},
		{"no object", "AWS::Lambda::Function", `{"Role":"r","Code":["x"]}`, "#/Code: expected type: JSONObject, found: JSONArray"},
		{"no text", "AWS::Lambda::Function", `{"Role":{"a":"b"},"Code":{"ZipFile":"x"}}`, "#/Role: expected type: String, found: JSONObject"},
		{"no truth", "AWS::Lambda::EventSourceMapping", `{"FunctionName":"f","Enabled":"yes"}`, "#/Enabled: expected type: Boolean, found: String"},
		{"null", "AWS::Lambda::Function", `{"Role":null,"Code":{"ZipFile":"x"}}`, "#/Role: expected type: String, found: Null"},
		{"an unknown value", "AWS::Lambda::Function", `{"Role":"r","Code":{"ZipFile":"x"},"PackageType":"Tar"}`, "#/PackageType: Tar is not a valid enum value"},
		{"two sources of code", "AWS::Lambda::Function", `{"Role":"r","Code":{"ZipFile":"x","ImageUri":"y"}}`, "#/Code: Please provide exactly one source of code"},
		{"half a source of code", "AWS::Lambda::Function", `{"Role":"r","Code":{"S3Bucket":"x"}}`, "#/Code: required key [S3Key] not found"},
		{"what Lamina does not offer", "AWS::S3::Bucket", `{"WebsiteConfiguration":{"IndexDocument":"x"}}`, "#/WebsiteConfiguration: Lamina does not offer this property: static websites"},
		{"not offered deep inside", "AWS::S3::Bucket", `{"NotificationConfiguration":{"QueueConfigurations":[]}}`, "#/NotificationConfiguration/QueueConfigurations: Lamina does not offer this property"},
		{"a type that is not offered", "AWS::KMS::Key", `{}`, "Lamina has no keys of KMS."},
		{"a bucket in capitals", "AWS::S3::Bucket", `{"BucketName":"Mine"}`, "#/BucketName: Bucket name should be between 3 and 63 characters long and should not contain uppercase characters"},
		{"a policy of nobody", "AWS::IAM::Policy", `{"PolicyName":"p","PolicyDocument":{}}`, "At least one of [Groups,Roles,Users] must be non-empty."},
		{"a tag without a value", "AWS::Lambda::Function", `{"Role":"r","Code":{"ZipFile":"x"},"Tags":[{"Key":"a"}]}`, "#/Tags/0: required key [Value] not found"},
		{"a topic as service token", customResource, `{"ServiceToken":"arn:aws:sns:us-east-1:123456789012:t"}`, "#/ServiceToken: Lamina has no SNS"},
		{"no service token", customResource, `{"Anything":[1]}`, "#: required key [ServiceToken] not found"},
		{"a timeout that is too long", "Custom::X", `{"ServiceToken":"` + fnARN + `","ServiceTimeout":"3601"}`, "#/ServiceTimeout: 3601 is not between 1 and 3600"},
		{"a condition without an end", "AWS::CloudFormation::WaitCondition", `{"Handle":"h"}`, "#: required key [Timeout] not found"},
	} {
		k, ok := set.Type(c.typ)
		if !ok {
			t.Errorf("%s: there is no type %s", c.name, c.typ)
			continue
		}
		got := ""
		if err := k.Check(props(c.properties)); err != nil {
			got = err.Error()
		}
		if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) && !strings.Contains(got, "\n"+c.want) && got != c.want && !strings.Contains(got, c.want) {
			t.Errorf("%s: %q; want %q", c.name, got, c.want)
		}
	}
	if _, ok := set.Type("AWS::EC2::Instance"); ok {
		t.Error("there is a type AWS::EC2::Instance")
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	set := New(Options{})
	for _, c := range []struct{ typ, old, new, want string }{
		{"AWS::Lambda::Function", `{"Timeout":"5","Environment":{"Variables":{"A":1}}}`, `{"Timeout":5,"Environment":{"Variables":{"A":"1"}}}`, "[]"},
		{"AWS::Lambda::Function", `{"Timeout":5}`, `{"Timeout":6,"FunctionName":"f","Description":"d"}`, "[{Description Never} {FunctionName Always} {Timeout Never}]"},
		{"AWS::Lambda::Function", `{"Role":"r"}`, `{"Role":{"Ref":"R"}}`, "[{Role Never}]"},
		{"AWS::Lambda::Function", `{"Tags":[{"Key":"a","Value":1}]}`, `{"Tags":[{"Key":"a","Value":"1"}]}`, "[]"},
		{"AWS::IAM::Policy", `{"PolicyDocument":{"b":1,"a":[1]}}`, `{"PolicyDocument":{"a":["1"],"b":"1"}}`, "[]"},
		{"AWS::SSM::Parameter", `{"Type":"String"}`, `{}`, "[{Type Never}]"},
		{"Custom::X", `{"ServiceToken":"a","N":1}`, `{"ServiceToken":"a","N":true}`, "[{N Conditionally}]"},
	} {
		k, _ := set.Type(c.typ)
		if got := fmt.Sprint(k.Compare(props(c.old), props(c.new))); got != c.want {
			t.Errorf("%s from %s to %s: %s; want %s", c.typ, c.old, c.new, got, c.want)
		}
	}
}

func TestGeneratedNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 60)
	for _, c := range []struct {
		stack, logical string
		most           int
		want           string
	}{
		{"stack", "Thing", 64, "stack-Thing-ABCDEFGHIJKL"},
		{long, "Thing", 64, long[:45] + "-Thing-ABCDEFGHIJKL"},
		{"stack", long, 64, "stack-" + long[:45] + "-ABCDEFGHIJKL"},
		{long, long, 64, long[:25] + "-" + long[:25] + "-ABCDEFGHIJKL"},
		{"a-b-" + long, long, 20, "a-b-xxx"[:3] + "-" + long[:3] + "-ABCDEFGHIJKL"},
	} {
		w := &work{Step: &Step{Stack: Stack{Name: c.stack}, LogicalID: c.logical, Seed: "ABCDEFGHIJKL"}}
		if got := w.generated(c.most); got != c.want || len(got) > c.most {
			t.Errorf("generated(%d) of %s and %s = %s; want %s", c.most, c.stack, c.logical, got, c.want)
		}
	}
}

func TestFailuresAsCloudFormationWritesThem(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		f    Failure
		want string
	}{
		{
			Failure{Service: "Lambda", Status: 404, Code: "ResourceNotFoundException", Message: "Function not found: f", RequestID: "id", Token: "t"},
			`Resource handler returned message: "Function not found: f (Service: Lambda, Status Code: 404, Request ID: id)" (RequestToken: t, HandlerErrorCode: NotFound)`,
		},
		{Failure{Message: "m", Handler: "AlreadyExists", Token: "t"}, `Resource handler returned message: "m" (RequestToken: t, HandlerErrorCode: AlreadyExists)`},
	} {
		if got := c.f.Error(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	for _, c := range []struct {
		status     int
		code, want string
	}{
		{429, "TooManyRequestsException", "Throttling"},
		{400, "Throttling", "Throttling"},
		{404, "NoSuchEntity", "NotFound"},
		{409, "EntityAlreadyExists", "AlreadyExists"},
		{409, "ResourceConflictException", "ResourceConflict"},
		{403, "AccessDenied", "AccessDenied"},
		{400, "AccessDeniedException", "AccessDenied"},
		{400, "LimitExceededException", "ServiceLimitExceeded"},
		{500, "ServiceException", "ServiceInternalError"},
		{400, "ValidationException", "InvalidRequest"},
		{418, "Teapot", "GeneralServiceException"},
	} {
		if got := (&Failure{Status: c.status, Code: c.code}).HandlerErrorCode(); got != c.want {
			t.Errorf("%d %s is %s; want %s", c.status, c.code, got, c.want)
		}
	}
}

func FuzzProperties(f *testing.F) {
	set := New(Options{})
	for _, l := range lives {
		f.Add(l.typ, l.first)
	}
	f.Add("AWS::Lambda::Function", `{"Role":null,"Code":[],"Tags":[1],"Environment":{"Variables":[]},"Timeout":1e400,"MemorySize":"0x10"}`)
	f.Fuzz(func(t *testing.T, typ, text string) {
		k, ok := set.Type(typ)
		var p map[string]any
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if !ok || d.Decode(&p) != nil {
			return
		}
		_ = k.Check(p)
		for _, d := range k.Compare(p, p) {
			if !strings.Contains(text, "Ref") && !strings.Contains(text, "Fn::") && !strings.Contains(text, "Condition") {
				t.Errorf("%s %s differs from itself in %v", typ, text, d)
			}
		}
		sc := k.(*kind).schema
		once := sc.settle(p)
		if twice := sc.settle(once); fmt.Sprint(once) != fmt.Sprint(twice) {
			t.Errorf("%s settles to %v, and that to %v", text, once, twice)
		}
	})
}

const resourcesDocument = "../../docs/cloudformation-resources.md"

// TestResourcesDocument holds the document to types.txt.
func TestResourcesDocument(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(resourcesHead)
	set := New(Options{})
	for _, name := range set.Names() {
		k := set.types[name]
		fmt.Fprintf(&b, "\n## %s\n\n", name)
		if k.gets != nil {
			fmt.Fprintf(&b, "`Fn::GetAtt`: `%s`\n\n", strings.Join(k.gets, "`, `"))
		}
		if k.anything {
			b.WriteString("Further properties are the resource's own.\n\n")
		}
		if len(k.members) == 0 {
			b.WriteString("No properties.\n")
			continue
		}
		var refused []string
		b.WriteString("| property | shape | update |\n|---|---|---|\n")
		for _, m := range k.members {
			if m.refused != "" {
				refused = append(refused, "`"+m.name+"` ("+m.refused+")")
				continue
			}
			name := "`" + m.name + "`"
			if m.required {
				name = "**" + name + "**"
			}
			how := "in place"
			if m.replaces {
				how = "replaces"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", name, m.prose(), how)
		}
		if refused != nil {
			fmt.Fprintf(&b, "\nNot offered: %s.\n", strings.Join(refused, ", "))
		}
	}
	var known []string
	for name, k := range set.types {
		if k.refusal != "" {
			known = append(known, "`"+name+"`")
		}
	}
	slices.Sort(known)
	fmt.Fprintf(&b, "\n## Known, and refused when a template wants one\n\n%s\n", strings.Join(known, ", "))
	if *update {
		if err := os.WriteFile(resourcesDocument, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(resourcesDocument)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("%s is not what types.txt says; write it with: go test ./stack/resources -run TestResourcesDocument -update", resourcesDocument)
	}
}

// prose says what a shape is.
func (s *shape) prose() string {
	switch s.form {
	case formList:
		return "list of " + s.item.prose()
	case formTags:
		return "tags"
	case formObject:
		var all []string
		for _, m := range s.members {
			if m.refused == "" {
				all = append(all, "`"+m.name+"`")
			}
		}
		return "object: " + strings.Join(all, ", ")
	case formMap:
		return "map of strings"
	case formJSON:
		return "JSON"
	}
	if s.values != nil {
		return "`" + strings.Join(s.values, "`, `") + "`"
	}
	return string(s.form)
}

const resourcesHead = `# Resources of CloudFormation

Written by ` + "`go test ./stack/resources -run TestResourcesDocument -update`" + ` from [types.txt](../stack/resources/types.txt), which is also what
templates are checked against before anything is created; never edited. Bold properties are required. "Replaces" is what an
update of the property does to the resource, as AWS's resource documents say. Other types answer one error before anything is created.

- Names that a template does not give are made as CloudFormation makes them: stack, logical ID and twelve random characters,
  shortened to what the service takes. A layer without a name has its logical ID, so that its versions are one series.
- Tags of the stack are on every resource that has tags. Functions, event source mappings, code signing configurations, log
  groups, buckets and parameters have ` + "`aws:cloudformation:stack-id`, `stack-name` and `logical-id`" + `, too.
- **Custom resources** (` + "`AWS::CloudFormation::CustomResource`, `Custom::*`" + `): the ServiceToken is a function's ARN; topics of SNS are
  refused. The function is invoked as an event, and answers by a PUT of at most 4096 bytes to ResponseURL, within ServiceTimeout
  (3600 seconds). The URL's host is one that only functions know, on port 443, since AWS's handlers ignore scheme and port. Its
  certificate comes from an authority of this installation that can vouch for this name alone: Node.js and Python trust it without
  further ado, and so do programs of provided runtimes that read the host's file of authorities. Java and Ruby have
  authorities of their own: functions of these get a URL without TLS, with a port.
  With ` + "`--network none`" + ` functions can't answer, and such a resource fails at once.
- **Wait conditions**: the handle's URL is on Lamina's endpoint, and takes signals for 24 hours. A wait condition is not updated.
- **Inline code** (ZipFile): a file index.js or index.py, and beside it a module cfn-response or cfnresponse of Lamina's own when the code
  asks for it.
- **AWS::ECR::Repository** is a name, an ARN and the address that it would have at AWS: Lamina has no registry, and images do not run. It is
  what CDK's bootstrap stack wants.
- **AWS::S3::Bucket**: what S3 is told about the bucket is the embedded S3's, or the external one's, to carry out; what it refuses
  fails the resource. DomainName and its like are the names at AWS.
`
