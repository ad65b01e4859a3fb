package sam

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/lamina-run/lamina/stack/template"
)

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	body, err := template.Parse(text)
	if err != nil {
		t.Fatalf("Parse(%s): %v", text, err)
	}
	return body
}

func TestRefused(t *testing.T) {
	t.Parallel()
	function := func(more string) string {
		return "Resources: {F: {Type: AWS::Serverless::Function, Properties: {Runtime: python3.12, Handler: a.b, InlineCode: x, " + more + "}}}"
	}
	for name, tt := range map[string]struct{ text, want string }{
		"an event of API Gateway": {
			function("Events: {Get: {Type: Api, Properties: {Path: /, Method: get}}}"),
			"Number of errors found: 1. Resource with id [F] is invalid. Event with id [Get] is invalid. Lamina does not offer events of type Api: there is no API Gateway; FunctionUrlConfig gives a function an address.",
		},
		"a schedule": {
			function("Events: {Daily: {Type: Schedule, Properties: {Schedule: rate(1 day)}}}"),
			"Event with id [Daily] is invalid. Lamina does not offer events of type Schedule: there is no EventBridge.",
		},
		"hooks of deployments": {
			function("AutoPublishAlias: live, DeploymentPreference: {Type: AllAtOnce, Hooks: {PreTraffic: !Ref G}}"),
			"Resource with id [F] is invalid. Lamina does not offer Hooks of DeploymentPreference",
		},
		"several types at once": {
			"Resources: {T: {Type: AWS::Serverless::SimpleTable}, A: {Type: AWS::Serverless::Api, Properties: {StageName: s}}}",
			"Number of errors found: 2. Resource with id [A] is invalid. Lamina does not offer AWS::Serverless::Api: there is no API Gateway; FunctionUrlConfig gives a function an address. " +
				"Resource with id [T] is invalid. Lamina does not offer AWS::Serverless::SimpleTable: there is no DynamoDB.",
		},
		"a connector": {
			"Resources: {F: {Type: AWS::Lambda::Function, Connectors: {C: {}}}}",
			"Resource with id [F] is invalid. Lamina does not offer connectors: write the permissions in Policies.",
		},
		"an application of a repository": {
			"Resources: {A: {Type: AWS::Serverless::Application, Properties: {Location: {ApplicationId: a, SemanticVersion: '1'}}}}",
			"Resource with id [A] is invalid. Lamina does not offer applications of the Serverless Application Repository",
		},
		"a macro": {
			function("Description: {Fn::Transform: {Name: AWS::Include, Parameters: {Location: s3://a/b}}}"),
			"Structure of the SAM template is invalid. Lamina does not offer Fn::Transform",
		},
		"a substitution that grows": {
			"Parameters: {P: {Type: String, Default: " + strings.Repeat("x", 4096) + "}}\nResources: {L: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: s3://a/b, Description: !Sub '" + strings.Repeat("${P}", 1000) + "'}}}",
			"A Fn::Sub makes a text of more than 1048576 characters.",
		},
		"globals that grow": {
			"Globals: {Function: {Runtime: python3.12, Handler: a.b, Description: " + strings.Repeat("x", 500_000) + "}}\nResources:\n" + strings.Join(func() (all []string) {
				for _, c := range "ABCDEFGHIJKLMNOPQRS" {
					all = append(all, "  "+string(c)+": {Type: AWS::Serverless::Function, Properties: {InlineCode: x}}")
				}
				return all
			}(), "\n"),
			"It becomes larger than 8388608 bytes.",
		},
	} {
		got, err := Transform(parse(t, tt.text), Options{})
		if _, ok := errors.AsType[*Error](err); !ok || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Transform = %v, %.500v; want an *Error with %q", name, got, err, tt.want)
		}
	}
}

// TestOwnPolicies gives names to policies that AWS does not have.
func TestOwnPolicies(t *testing.T) {
	t.Parallel()
	got, err := Transform(parse(t, "Resources: {F: {Type: AWS::Serverless::Function, Properties: {Runtime: python3.12, Handler: a.b, InlineCode: x, Policies: [Own, Other]}}}"),
		Options{ManagedPolicies: map[string]string{"Own": "arn:aws:iam::111122223333:policy/Own"}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := template.JSON(got)
	if want := `"ManagedPolicyArns":["arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole","arn:aws:iam::111122223333:policy/Own","Other"]`; err != nil || !strings.Contains(text, want) {
		t.Errorf("Transform = %s, %v; want %s", text, err, want)
	}
}

// FuzzTransform holds the transform to end, whatever it is given, and to leave its
// argument alone.
func FuzzTransform(f *testing.F) {
	for _, seed := range []string{
		"Resources: {F: {Type: AWS::Serverless::Function, Properties: {Runtime: p, Handler: a.b, CodeUri: s3://a/b, AutoPublishAlias: !Ref P}}}",
		"Parameters: {P: {Default: {Ref: P}}}\nResources: {L: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: s3://a/b, LayerName: !Ref P}}}",
		"Globals: {Function: {Tags: {a: b}}}\nResources: {F: {Type: AWS::Serverless::Function, IgnoreGlobals: [Tags], Properties: {}}}",
	} {
		f.Add(seed)
	}
	for seed := range uint64(20) {
		text, err := json.Marshal(randomTemplate(seed).Template)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		body, err := template.Parse(text)
		if err != nil {
			return
		}
		before, err := template.JSON(body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Transform(body, Options{Order: template.Order(text)})
		if (got == nil) == (err == nil) {
			t.Errorf("Transform(%q) = %v, %v", text, got, err)
		}
		if after, _ := template.JSON(body); after != before {
			t.Errorf("Transform(%q) changed its argument", text)
		}
	})
}
