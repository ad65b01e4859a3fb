package policy

import (
	"testing"

	"github.com/lamina-run/lamina"
)

// typical are three policies of five statements each, as an execution role has
// them, and a request that the last one allows.
func typical(tb testing.TB) (*Request, *Policies) {
	s := func(action, resource string, more ...string) string {
		return members(append([]string{"Effect", `"Allow"`, "Action", action, "Resource", resource}, more...)...)
	}
	logs := statements(
		s(`["logs:CreateLogGroup","logs:CreateLogStream","logs:PutLogEvents"]`, `"arn:aws:logs:*:*:*"`),
		s(`"logs:Describe*"`, `"*"`),
		s(`"xray:PutTraceSegments"`, `"*"`),
		s(`"cloudwatch:PutMetricData"`, `"*"`, "Condition", `{"StringEquals":{"cloudwatch:namespace":"app"}}`),
		s(`"sqs:SendMessage"`, `"arn:aws:sqs:us-east-1:111122223333:dead-*"`))
	data := statements(
		s(`["s3:GetObject","s3:PutObject"]`, `["arn:aws:s3:::photos/*","arn:aws:s3:::thumbnails/*"]`),
		s(`"s3:ListBucket"`, `"arn:aws:s3:::photos"`, "Condition", `{"StringLike":{"s3:prefix":["","home/${aws:username}/*"]}}`),
		s(`"dynamodb:*Item"`, `"arn:aws:dynamodb:*:111122223333:table/app-*"`),
		s(`"kms:Decrypt"`, `"*"`, "Condition", `{"StringEquals":{"kms:ViaService":"s3.us-east-1.amazonaws.com"}}`),
		members("Effect", `"Deny"`, "Action", `"s3:Delete*"`, "Resource", `"*"`))
	lambda := statements(
		s(`"lambda:GetFunction*"`, `"*"`),
		s(`"lambda:InvokeFunction"`, `"arn:aws:lambda:us-east-1:111122223333:function:other-*"`),
		s(`"lambda:InvokeFunction"`, `"arn:aws:lambda:*:111122223333:function:*"`, "Condition", `{"Bool":{"aws:SecureTransport":"true"},"StringEquals":{"aws:PrincipalOrgID":"o-one"}}`),
		members("Effect", `"Deny"`, "Action", `"lambda:*"`, "Resource", `"*"`, "Condition", `{"NotIpAddress":{"aws:SourceIp":["10.0.0.0/8","192.0.2.0/24"]}}`),
		s(`"lambda:ListFunctions"`, `"*"`))
	d := documents{identity: these(logs, data, lambda)}
	r := &Request{Principal: worker(), Action: invoke, Resource: function, ResourceAccount: here, Context: Context{}}
	r.Context.Set("aws:SecureTransport", "true")
	r.Context.Set("aws:SourceIp", "192.0.2.7")
	return r, d.parse(tb)
}

func permission() lamina.Policy {
	return lamina.Policy{Resource: function, Statements: []lamina.Statement{{
		Sid: "s3", Effect: "Allow", Principal: lamina.Principal{Kind: "Service", Value: "s3.amazonaws.com"}, Action: invoke, Resource: function,
		Condition: map[string]map[string]string{"ArnLike": {"AWS:SourceArn": "arn:aws:s3:::photos"}, "StringEquals": {"AWS:SourceAccount": here}},
	}, {
		Sid: "org", Effect: "Allow", Principal: lamina.Principal{Value: "*"}, Action: invoke, Resource: function,
		Condition: map[string]map[string]string{"StringEquals": {"aws:PrincipalOrgID": "o-one"}},
	}}}
}

// TestTypicalAllocates holds the way of every invocation to no allocation.
func TestTypicalAllocates(t *testing.T) {
	r, p := typical(t)
	p.Resource = FromPolicy(permission())
	if got := Evaluate(r, p); !got.Allowed {
		t.Fatalf("Evaluate = %s; want %s", outcome(got), allowed)
	}
	if n := testing.AllocsPerRun(100, func() { Evaluate(r, p) }); n > 0 {
		t.Errorf("Evaluate allocates %v times; want 0", n)
	}
}

func BenchmarkEvaluate(b *testing.B) {
	r, p := typical(b)
	other := *r
	other.Action = "lambda:DeleteFunction"
	resource := &Policies{Identity: p.Identity, Resource: FromPolicy(permission())}
	for _, c := range []struct {
		name    string
		request *Request
		p       *Policies
	}{{"allowed", r, p}, {"refused", &other, p}, {"with a resource policy", r, resource}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Evaluate(c.request, c.p)
			}
		})
	}
}

func BenchmarkFromPolicy(b *testing.B) {
	b.ReportAllocs()
	p := permission()
	for b.Loop() {
		FromPolicy(p)
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	text, err := permission().Document()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Parse(text, Rules{Kind: Resource}); err != nil {
			b.Fatal(err)
		}
	}
}
