package template

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// read parses and reads a template, extended when it asks for that.
func read(text string, given map[string]string) (*Template, error) {
	body, err := Parse(text)
	if err != nil {
		return nil, err
	}
	if body, err = Extend(body, given, Pseudo{Region: "eu-west-1"}); err != nil {
		return nil, err
	}
	return Read(body)
}

const one = "Resources: {A: {Type: T}}\n"

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	many := func(section, member string, n int) string {
		var b strings.Builder
		b.WriteString(section + ":\n")
		for i := range n {
			fmt.Fprintf(&b, "  X%d: %s\n", i, member)
		}
		return b.String()
	}
	props := func(v string) string { return "Resources: {A: {Type: T, Properties: {P: " + v + "}}}\n" }
	for _, tc := range []struct{ name, text, want string }{
		{"no resources", "Description: x", "Template format error: At least one Resources member must be defined."},
		{"empty resources", "Resources: {}", "Template format error: At least one Resources member must be defined."},
		{"unknown sections", "Foo: 1\nBar: 1\n" + one, "Invalid template property or properties [Bar, Foo]"},
		{"Globals without a transform", "Globals: {}\n" + one, "Invalid template property or properties [Globals]"},
		{"version", "AWSTemplateFormatVersion: 2011-01-01\n" + one, "Template format error: unsupported value for AWSTemplateFormatVersion."},
		{"description", "Description: " + strings.Repeat("x", 1025) + "\n" + one, "Template format error: 'Description' length is greater than 1024"},
		{"null", "Resources: {A: {Type: T, Properties: {P: }}}", "[/Resources/A/Properties/P] 'null' values are not allowed in templates"},
		{"resource without a type", "Resources: {A: {Properties: {}}}", "Template format error: [/Resources/A] Every Resources object must contain a Type member."},
		{"unknown member of a resource", "Resources: {A: {Type: T, Foo: 1}}", "Invalid template resource property 'Foo'"},
		{"resource name", "Resources: {A_B: {Type: T}}", "Template format error: Resource name A_B is non alphanumeric."},
		{"parameter name", "Parameters: {A-B: {Type: String}}\n" + one, "Template format error: Parameter name A-B is non alphanumeric."},
		{"parameter without a type", "Parameters: {P: {Default: x}}\n" + one, "Template format error: Every Parameters object must contain a Type member."},
		{"parameter type", "Parameters: {P: {Type: Strin}}\n" + one, "Template format error: Unrecognized parameter type: Strin"},
		{"unknown member of a parameter", "Parameters: {P: {Type: String, Foo: x}}\n" + one, "Invalid template parameter property 'Foo'"},
		{"default that is not allowed", "Parameters: {P: {Type: String, Default: x, AllowedValues: [a]}}\n" + one, "Template format error: Parameter 'P' must be one of AllowedValues"},
		{"output without a value", one + "Outputs: {O: {Description: x}}", "Template format error: Every Outputs member must contain a Value object"},
		{"export without a name", one + "Outputs: {O: {Value: x, Export: {}}}", "Template format error: Output O is malformed. The Name field of every Export member must be specified and consist only of alphanumeric characters, colons, or hyphens."},
		{"mapping too flat", "Mappings: {M: {A: b}}\n" + one, "Template format error: Every Mappings member A must be a map"},
		{"mapping too deep", "Mappings: {M: {A: {b: {c: d}}}}\n" + one, "Template format error: Every Mappings attribute must be a String or a List."},
		{"resources over the limit", many("Resources", "{Type: T}", 501), "Template format error: Number of resources, 501, is greater than maximum allowed, 500"},
		{"parameters over the limit", many("Parameters", "{Type: String}", 201) + one, "Template format error: Number of parameters, 201, is greater than maximum allowed, 200"},
		{"outputs over the limit", one + many("Outputs", "{Value: x}", 201), "Template format error: Number of outputs, 201, is greater than maximum allowed, 200"},
		{"deletion policy", "Resources: {A: {Type: T, DeletionPolicy: Keep}}", "Template error: Unrecognized DeletionPolicy Keep for resource A"},
		{"deletion policy that is a function", "Resources: {A: {Type: T, DeletionPolicy: !Ref X}}", "Template format error: Every DeletionPolicy member must be a string."},
		{"snapshot", "Resources: {A: {Type: T, DeletionPolicy: Snapshot}}", "Template error: resource type T does not support deletion policy Snapshot"},
		{"DependsOn", "Resources: {A: {Type: T, DependsOn: {a: b}}}", "Template format error: DependsOn must be a string or list of strings."},
		{"macros", "Resources: {A: {Type: T, Properties: {Fn::Transform: {Name: X}}}}", "Lamina does not offer Fn::Transform: it has no macros, and no AWS::Include."},
		{
			"references to nothing", "Resources: {A: {Type: T, DependsOn: Z, Properties: {P: [!Ref Y, !Sub '${X}${AWS::Foo}']}}}",
			"Template format error: Unresolved resource dependencies [AWS::Foo, X, Y, Z] in the Resources block of the template",
		},
		{"an output's reference to nothing", one + "Outputs: {O: {Value: !Ref X}}", "Template format error: Unresolved resource dependencies [X] in the Outputs block of the template"},
		{"an attribute of nothing", props("!GetAtt X.Arn"), "Template error: instance of Fn::GetAtt references undefined resource X"},
		{"an attribute of nothing in a text", props("!Sub '${X.Arn}'"), "Template error: instance of Fn::Sub references invalid resource attribute X.Arn"},
		{"GetAtt without an attribute", props("!GetAtt A"), "Template error: every Fn::GetAtt object requires two non-empty parameters, the resource name and the resource attribute"},
		{"Ref to a list", props("{Ref: [a]}"), "Template error: every Ref object must have a single String value."},
		{"Sub with a bad variable", props("!Sub '${a b}'"), "Template error: variable names in Fn::Sub syntax must contain only alphanumeric characters, underscores, periods, and colons"},
		{"Sub with too much", props("!Sub [a, {}, {}]"), "Template error: One or more Fn::Sub intrinsic functions don't specify expected arguments."},
		{"Join", props("!Join [a]"), "Template error: every Fn::Join object requires two parameters,"},
		{"a mapping that is not there", props("!FindInMap [M, a, b]"), "Template error: Mapping named 'M' is not present in the 'Mappings' section of template."},
		{"an unknown function", props("{Fn::Foo: a}"), "Template Error: Encountered unsupported function: Fn::Foo Supported functions are: ["},
		{"a boolean function in a resource", props("!Equals [a, b]"), "Template error: Fn::Equals cannot be partially collapsed"},
		{"If without a condition", props("!If [X, a, b]"), "Template error: unresolved condition dependency X in Fn::If"},
		{"a resource's condition", "Resources: {A: {Type: T, Condition: X}}", "Template format error: Unresolved condition dependency X in the Resources block of the template"},
		{"a condition that is a text", "Conditions: {C: yes}\n" + one, "Template format error: Conditions can only be boolean operations on parameters and other conditions"},
		{"a condition about a resource", "Conditions: {C: !Equals [!Ref A, x]}\n" + one, "Template format error: Unresolved dependencies [A]. Cannot reference resources in the Conditions block of the template"},
		{"conditions in a circle", "Conditions: {C: !Not [!Condition D], D: !Not [!Condition C]}\n" + one, "Template format error: Circular dependencies for conditions: [C, D]"},
		{"Equals of three", "Conditions: {C: !Equals [a, b, c]}\n" + one, "Template error: every Fn::Equals object requires a list of 2 string parameters."},
		{"And of one", "Conditions: {C: !And [!Equals [a, b]]}\n" + one, "Template error: every Fn::And object requires a list of at least 2 and at most 10 boolean parameters."},
		{"a loop that makes a name twice", "Transform: AWS::LanguageExtensions\nResources: {'Fn::ForEach::L': [X, [a, a], {'R${X}': {Type: T}}]}", "Template error: Fn::ForEach makes Ra twice"},
		{"a loop that asks a resource", "Transform: AWS::LanguageExtensions\nResources: {A: {Type: T}, 'Fn::ForEach::L': [X, !GetAtt A.B, {'R${X}': {Type: T}}]}", "may only depend on parameters and mappings"},
		{"loops in loops", "Transform: AWS::LanguageExtensions\nResources: {A: {Type: T, Properties: " + bomb(7) + "}}", "Fn::ForEach makes more than 250000 values"},
		{"a transform's name", "Transform: [{Name: {Ref: X}}]\n" + one, "Key Name of transform definition must be a string."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := read(tc.text, nil)
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) && !strings.HasSuffix(err.Error(), tc.want) && !strings.Contains(err.Error(), "may only") {
				t.Fatalf("Read = %v; want %s", err, tc.want)
			}
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Errorf("the error is a %T", err)
			}
		})
	}
}

// bomb is loops in each other that make 10 to the nth values.
func bomb(n int) string {
	if n == 0 {
		return "{x: y}"
	}
	v := fmt.Sprintf("V%d", n)
	return fmt.Sprintf("{'Fn::ForEach::%s': [%s, [a, b, c, d, e, f, g, h, i, j], {'K${%s}': %s}]}", v, v, v, bomb(n-1))
}

const whole = `
Parameters:
  Env: {Type: String, Default: dev, AllowedValues: [dev, prod]}
  Subnets: {Type: CommaDelimitedList, Default: 'a, b,c'}
  Ports: {Type: List<Number>, Default: '80,443'}
  Flag: {Type: String, Default: true}
Mappings:
  Regions:
    eu-west-1: {Ami: ami-1, Size: 2, Zones: [x, y]}
Conditions:
  Prod: !Equals [!Ref Env, prod]
  Flagged: !Equals [!Ref Flag, true]
  Either: !Or [!Condition Prod, !Condition Flagged]
  Both: !And [!Condition Prod, !Not [!Condition Flagged]]
Resources:
  R: {Type: T, Properties: {Name: r}}
  OnlyProd: {Type: T, Condition: Prod, Properties: {A: !GetAtt R.Arn}}
  Q: {Type: T, DependsOn: S, Properties: {V: !If [Prod, !Ref OnlyProd, !Sub '${R}'], Condition: {Condition: x}}}
  S: {Type: T}
Outputs:
  O: {Value: !GetAtt R.Arn, Export: {Name: !Sub '${AWS::StackName}-o'}}
  P: {Value: !Ref OnlyProd, Condition: Prod}
`

func TestResolve(t *testing.T) {
	t.Parallel()
	tmpl, err := read(whole, nil)
	if err != nil {
		t.Fatal(err)
	}
	values, err := tmpl.Values(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := tmpl.Scope(values, Pseudo{AccountID: "123456789012", Region: "eu-west-1", Partition: "aws", URLSuffix: "amazonaws.com", StackName: "st", NotificationARNs: []string{"n"}})
	if err != nil {
		t.Fatal(err)
	}
	s.Ref = func(id string) (any, error) {
		if id == "S" {
			return nil, ErrUnknown
		}
		return "ref-" + id, nil
	}
	s.GetAtt = func(id, name string) (any, error) {
		switch {
		case name == "No":
			return nil, ErrUnknown
		case name == "List":
			return []any{"l1", "l2"}, nil
		}
		return "att-" + id + "-" + name, nil
	}
	s.Import = func(name string) (any, error) { return "import-" + name, nil }
	for _, tc := range []struct{ value, want, fails string }{
		{value: "!Ref Env", want: `"dev"`},
		{value: "!Ref Subnets", want: `["a","b","c"]`},
		{value: "!Ref Ports", want: `["80","443"]`},
		{value: "!Ref AWS::NotificationARNs", want: `["n"]`},
		{value: "!Ref R", want: `"ref-R"`},
		{value: "!GetAtt R.Outputs.X", want: `"att-R-Outputs.X"`},
		{value: "!GetAtt [R, !Ref Env]", want: `"att-R-dev"`},
		{value: "[a, !Ref AWS::NoValue, !If [Prod, b, !Ref 'AWS::NoValue'], c]", want: `["a","c"]`},
		{value: "{a: 1, b: !If [Prod, x, !Ref 'AWS::NoValue'], c: {d: !Ref AWS::NoValue}}", want: `{"a":1,"c":{}}`},
		{value: "!Ref AWS::NoValue", want: `null`},
		{value: "!If [Either, 1, 2]", want: `1`},
		{value: "!If [Both, 1, 2]", want: `2`},
		{value: "!Sub 'x-${Env}-${AWS::AccountId}-${!Env}-${R.Arn}-${R}-$${Env}-${'", want: `"x-dev-123456789012-${Env}-att-R-Arn-ref-R-$dev-${"`},
		{value: "!Sub ['${a}${b}${Env}', {a: !Ref Env, b: 1.50}]", want: `"dev1.50dev"`},
		{value: "!Sub '${Subnets}'", fails: "every value of a Fn::Sub object must be a string"},
		{value: "!Join ['|', !Ref Subnets]", want: `"a|b|c"`},
		{value: "!Join ['', [a, !Ref AWS::NoValue, 1, true, !Sub '${Env}']]", want: `"a1truedev"`},
		{value: "!Join ['', [a, [b]]]", fails: "every Fn::Join object requires"},
		{value: "!Split [',', 'a,,b']", want: `["a","","b"]`},
		{value: "!Select [1, !Split ['-', x-y]]", want: `"y"`},
		{value: "!Select ['2', !Ref Subnets]", want: `"c"`},
		{value: "!Select [0, [a, !Ref S]]", want: `"a"`},
		{value: "!Select [1, [a, !If [Prod, x, !Ref 'AWS::NoValue'], b]]", want: `"b"`},
		{value: "!Select [3, [a, b]]", fails: "Template error: Fn::Select cannot select nonexistent value at index 3"},
		{value: "!Select [x, [a, b]]", fails: "Template error: Fn::Select requires a list argument with two elements: an integer index and a list"},
		{value: "!FindInMap [Regions, !Ref 'AWS::Region', Ami]", want: `"ami-1"`},
		{value: "!FindInMap [Regions, eu-west-1, Size]", want: `2`},
		{value: "!FindInMap [Regions, eu-west-1, Zones]", want: `["x","y"]`},
		{value: "!FindInMap [Regions, us-east-1, Ami]", fails: "Template error: Unable to get mapping for Regions::us-east-1::Ami"},
		{value: "!FindInMap [Regions, us-east-1, Ami, {DefaultValue: !Ref Env}]", want: `"dev"`},
		{value: "!Base64 hello world", want: `"aGVsbG8gd29ybGQ="`},
		{value: "!GetAZs ''", want: `["eu-west-1a","eu-west-1b","eu-west-1c"]`},
		{value: "!ImportValue {'Fn::Sub': '${Env}-x'}", want: `"import-dev-x"`},
		{value: "!Cidr [192.168.0.0/24, 6, 5]", want: `["192.168.0.0/27","192.168.0.32/27","192.168.0.64/27","192.168.0.96/27","192.168.0.128/27","192.168.0.160/27"]`},
		{value: "!Cidr ['2600:1f18:abc:de00::/56', '2', '64']", want: `["2600:1f18:abc:de00::/64","2600:1f18:abc:de01::/64"]`},
		{value: "!Cidr [10.0.0.0/24, 9, 5]", fails: "has no room"},
		{value: "!Length [a, b]", want: `2`},
		{value: "!ToJsonString {b: !Ref Env, a: [1, '<']}", want: `"{\"a\":[1,\"<\"],\"b\":\"dev\"}"`},
		{value: "{Condition: {StringEquals: {a: b}}}", want: `{"Condition":{"StringEquals":{"a":"b"}}}`},
		{value: "!GetAtt R.List", want: `["l1","l2"]`},
		{value: "!Ref OnlyProd", fails: "Unresolved resource dependencies [OnlyProd] in the Resources block of the template"},
		{value: "!Ref S", fails: "not known yet"},
		{value: "!Join ['', [a, !GetAtt R.No]]", fails: "not known yet"},
	} {
		t.Run(tc.value, func(t *testing.T) {
			t.Parallel()
			body, err := Parse("v: " + tc.value)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.Resolve(body["v"])
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) {
					t.Errorf("Resolve = %v, %v; want %s", got, err, tc.fails)
				}
				return
			}
			if err != nil {
				t.Fatalf("Resolve = %v", err)
			}
			if text, err := JSON(got); err != nil || text != tc.want {
				t.Errorf("Resolve = %s, %v; want %s", text, err, tc.want)
			}
		})
	}
	body, err := Parse("v: {a: !Ref Env, b: !Sub '${S}', c: [!If [Either, {d: !Ref S, e: !Ref Env}, x]]}")
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Preview(body["v"])
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := JSON(got); text != `{"a":"dev","b":{"Fn::Sub":"${S}"},"c":[{"d":{"Ref":"S"},"e":"dev"}]}` {
		t.Errorf("Preview = %s", text)
	}
	graph, err := s.Graph()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]string{"R": nil, "S": nil, "Q": {"R", "S"}}, graph); diff != "" {
		t.Errorf("Graph (-want +got):\n%s", diff)
	}
	prod, err := tmpl.Scope(map[string]string{"Env": "prod", "Flag": "false"}, Pseudo{})
	if err != nil {
		t.Fatal(err)
	}
	if on, err := prod.Dependencies("Q"); err != nil || !cmp.Equal(on, []string{"OnlyProd", "S"}) {
		t.Errorf("Dependencies(Q) = %v, %v; want OnlyProd and S", on, err)
	}
}

func TestGraphRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, want string }{
		{
			"a circle", "Resources: {A: {Type: T, DependsOn: B}, B: {Type: T, Properties: {P: !Sub '${C.X}'}}, C: {Type: T, Properties: {P: !Ref A}}, D: {Type: T, DependsOn: A}}",
			"Circular dependency between resources: [A, B, C]",
		},
		{"itself", "Resources: {A: {Type: T, Properties: {P: !Ref A}}}", "Circular dependency between resources: [A]"},
		{
			"DependsOn what is not made", "Conditions: {N: !Equals [a, b]}\nResources: {A: {Type: T, Condition: N}, B: {Type: T, DependsOn: A}}",
			"Template format error: Unresolved resource dependencies [A] in the Resources block of the template",
		},
		{
			"an output of what is not made", "Conditions: {N: !Equals [a, b]}\nResources: {A: {Type: T, Condition: N}, B: {Type: T}}\nOutputs: {O: {Value: !Ref A}}",
			"Unresolved resource dependencies [A] in the Outputs block of the template",
		},
		{
			"a rule", "Rules: {R: {RuleCondition: !Equals [a, a], Assertions: [{Assert: !Contains [[x, y], z], AssertDescription: z it is not}]}}\n" + one,
			"Template error: Following Rules are not satisfied: (R) z it is not",
		},
		{
			"too much", "Parameters: {P: {Type: String, Default: " + strings.Repeat("x", 4096) + "}}\nResources: {A: {Type: T, Properties: {P: [" + strings.Repeat("!Ref P, ", 20_000) + "]}}}",
			"Template error: a value comes to more than 16777216 bytes",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tmpl, err := read(tc.text, nil)
			if err != nil {
				t.Fatal(err)
			}
			values, err := tmpl.Values(nil)
			if err != nil {
				t.Fatal(err)
			}
			s, err := tmpl.Scope(values, Pseudo{})
			if err == nil {
				_, err = s.Graph()
			}
			if err == nil {
				_, err = s.Properties("A")
			}
			if err == nil || err.Error() != tc.want {
				t.Errorf("= %v; want %s", err, tc.want)
			}
		})
	}
}

func TestExtend(t *testing.T) {
	t.Parallel()
	body, err := Parse(`
Transform: [AWS::LanguageExtensions, AWS::Serverless-2016-10-31]
Parameters:
  Names: {Type: CommaDelimitedList, Default: 'x-1,y'}
  Keep: {Type: String, Default: Retain}
Mappings: {M: {a: {l: [p, q]}}}
Resources:
  Fn::ForEach::Outer:
    - N
    - !Ref Names
    - R&{N}:
        Type: T
        DeletionPolicy: !Ref Keep
        Properties:
          Name: !Sub '${N}-${AWS::Region}'
          Raw: !Ref N
          Plain: 'plain-${N}'
          Count: !Length [!Ref AWS::Region, b]
          Fn::ForEach::Inner: [K, !FindInMap [M, a, l], {'P${K}': {Both: '${N}${K}'}}]
  After: {Type: T, Properties: {J: !ToJsonString {a: !Ref After2}}, DependsOn: Ry}
  After2: {Type: T}
Outputs:
  Fn::ForEach::Out: [Id, [x1, y], {'O${Id}': {Value: !GetAtt [!Sub 'R${Id}', Arn]}}]
`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Extend(body, map[string]string{"Names": "x-1,y", "Keep": "Retain"}, Pseudo{Region: "eu-west-1"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := JSON([]any{got["Transform"], got["Resources"], got["Outputs"]})
	if err != nil {
		t.Fatal(err)
	}
	want := `[["AWS::Serverless-2016-10-31"],{"After":{"DependsOn":"Ry","Properties":{"J":{"Fn::ToJsonString":{"a":{"Ref":"After2"}}}},"Type":"T"},"After2":{"Type":"T"},` +
		`"Rx1":{"DeletionPolicy":"Retain","Properties":{"Count":2,"Name":{"Fn::Sub":"x-1-${AWS::Region}"},"Plain":"plain-x-1","Pp":{"Both":"x-1p"},"Pq":{"Both":"x-1q"},"Raw":"x-1"},"Type":"T"},` +
		`"Ry":{"DeletionPolicy":"Retain","Properties":{"Count":2,"Name":{"Fn::Sub":"y-${AWS::Region}"},"Plain":"plain-y","Pp":{"Both":"yp"},"Pq":{"Both":"yq"},"Raw":"y"},"Type":"T"}},` +
		`{"Ox1":{"Value":{"Fn::GetAtt":["Rx1","Arn"]}},"Oy":{"Value":{"Fn::GetAtt":["Ry","Arn"]}}}]`
	if text != want {
		t.Errorf("Extend = %s\nwant %s", text, want)
	}
	plain, _ := Parse(one)
	for text, ok := range map[string]bool{"!Length [a]": false, "{'Fn::ForEach::X': [A, [b], {c: d}]}": false, "[1]": true} {
		plain["Metadata"], _ = Parse("v: " + text)
		if err := CheckExtensions(plain); (err == nil) != ok {
			t.Errorf("CheckExtensions of %s = %v", text, err)
		}
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	tmpl, err := read(`
Resources: {R: {Type: T}}
Parameters:
  S: {Type: String, MinLength: 2, MaxLength: 4, Default: abc}
  P: {Type: String, AllowedPattern: '[a-z]+', Default: a}
  C: {Type: String, AllowedPattern: '[a-z]+', Default: a, ConstraintDescription: only letters}
  N: {Type: Number, MinValue: -1.5, MaxValue: 10, Default: 1}
  L: {Type: List<Number>, Default: '1, 2'}
  A: {Type: CommaDelimitedList, AllowedValues: [x, y], Default: 'x'}
  M: {Type: 'AWS::SSM::Parameter::Value<List<String>>', Default: /a/b, AllowedPattern: '/.*'}
  K: {Type: 'AWS::EC2::KeyPair::KeyName', Default: k, NoEcho: true}
  V: {Type: String}
  W: {Type: 'List<AWS::EC2::Subnet::Id>'}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ given, want string }{
		{"", "Parameters: [V, W] must have values"},
		{"V=1", "Parameters: [W] must have values"},
		{"Y=1,X=1", "Parameters: [X, Y] do not exist in the template"},
		{"V=,W=,S=a", "Parameter 'S' must contain at least 2 characters"},
		{"V=,W=,S=äöüßx", "Parameter 'S' must contain at most 4 characters"},
		{"V=,W=,P=a1", "Parameter 'P' must match pattern [a-z]+"},
		{"V=,W=,C=1", "Parameter C failed to satisfy constraint: only letters"},
		{"V=,W=,N=x", "Parameter 'N' must be a number"},
		{"V=,W=,N=-1.6", "Parameter 'N' must be a number not less than -1.5"},
		{"V=,W=,N=11", "Parameter 'N' must be a number not greater than 10"},
		{"V=,W=,L=1;x", "Parameter 'L' must be a number"},
		{"V=,W=,A=x;z", "Parameter 'A' must be one of AllowedValues"},
		{"V=,W=,M=b", "Parameter 'M' must match pattern /.*"},
		{"V=,W=,A=y; x,N=1e1,L=7", ""},
	} {
		given := map[string]string{}
		for pair := range strings.SplitSeq(tc.given, ",") {
			if name, v, ok := strings.Cut(pair, "="); ok {
				given[name] = strings.ReplaceAll(v, ";", ",")
			}
		}
		_, err := tmpl.Values(given)
		if got := fmt.Sprint(err); got != tc.want && (tc.want != "" || err != nil) {
			t.Errorf("Values(%s) = %v; want %s", tc.given, err, tc.want)
		}
	}
	if m := tmpl.Parameters["M"]; !m.SSM() || !m.List() || !cmp.Equal(m.Value("a, b"), any([]any{"a", "b"})) {
		t.Errorf("M is %+v", m)
	}
}

func TestDynamicReferences(t *testing.T) {
	t.Parallel()
	v := map[string]any{"a": "x{{resolve:ssm:/p/q:3}}y{{resolve:ssm:r}}", "b": []any{"{{other}}"}}
	all, err := References(v)
	if err != nil || !cmp.Equal(all, []Reference{{"/p/q", 3}, {"r", 0}}) {
		t.Errorf("References = %v, %v", all, err)
	}
	got, err := Dereference(v, func(r Reference) (string, error) { return fmt.Sprint("<", r.Name, r.Version, ">"), nil })
	if err != nil || !cmp.Equal(got, any(map[string]any{"a": "x</p/q3>y<r0>", "b": []any{"{{other}}"}})) {
		t.Errorf("Dereference = %v, %v", got, err)
	}
	for _, text := range []string{"{{resolve:ssm-secure:a:1}}", "{{resolve:secretsmanager:a}}", "{{resolve:ssm:a:x}}", "{{resolve:ssm:}}"} {
		if _, err := References([]any{text}); err == nil {
			t.Errorf("References(%s) is no error", text)
		}
	}
}
