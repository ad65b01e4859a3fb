package browser

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

// deed is what somebody does in the console, and the permission that it takes.
// A path without a form is one to look at.
type deed struct {
	action string
	path   string
	form   url.Values
	file   []byte // of the field zip
}

// testPermissions: what the policies of a principal deny, the console does not do
// for it either: to one without any rights, and to one with every right but the one
// that it takes. The account's root then does it by the same form, so that it was
// the right that was missing.
func testPermissions(t *testing.T, s *testkit.Server) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	a := newAccount(t, s, "permissions")
	ctx, api, name := t.Context(), lambda.NewFromConfig(a.config()), "deeds"
	zip := testkit.Zip(t, testkit.File{Name: "app.py", Body: "def handler(event, context):\n    return 'answered'\n"})
	again := testkit.Zip(t, testkit.File{Name: "app.py", Body: "def handler(event, context):\n    return 'answered again'\n"})
	function := func(of string) string { return console + "functions/" + of }
	if _, err := api.PublishLayerVersion(ctx, &lambda.PublishLayerVersionInput{LayerName: &name, Content: &types.LayerVersionContentInput{ZipFile: zip}}); err != nil {
		t.Fatal(err)
	}
	aRole := "arn:aws:iam::" + a.number + ":role/app"
	if _, err := api.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: &name, Role: &aRole, Runtime: types.RuntimePython312, Handler: aws.String("app.handler"), Code: &types.FunctionCode{ZipFile: zip},
	}); err != nil {
		t.Fatal(err)
	}
	active(t, api, name)
	a.query(t, "cloudformation", cloudFormation, url.Values{"Action": {"CreateStack"}, "StackName": {name}, "TemplateBody": {`{"Resources":{"H":{"Type":"AWS::CloudFormation::WaitConditionHandle"}}}`}})
	a.settled(t, name, "CREATE_COMPLETE")
	group := "/aws/lambda/" + name
	if _, err := api.Invoke(ctx, &lambda.InvokeInput{FunctionName: &name}); err != nil { // makes the log group
		t.Fatal(err)
	}

	layer := console + "layers/" + name
	one := func(pairs ...string) url.Values {
		form := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			form.Set(pairs[i], pairs[i+1])
		}
		return form
	}
	deeds := []deed{
		{"lambda:ListLayers", console + "layers", nil, nil},
		{"lambda:GetLayerVersion", layer + "/versions/1", nil, nil},
		{"lambda:GetLayerVersion", layer + "/versions/1/download", nil, nil},
		{"lambda:GetLayerVersionPolicy", layer + "/versions/1/policy", nil, nil},
		{"lambda:PublishLayerVersion", console + "layers-new", one("name", "another"), zip},
		{"lambda:PublishLayerVersion", layer + "/publish", one(), zip},
		{"lambda:AddLayerVersionPermission", layer + "/versions/1/policy", one("sid", "x", "who", "everyone"), nil},
		{"lambda:RemoveLayerVersionPermission", layer + "/versions/1/policy/remove", one("sid", "x"), nil},
		{"lambda:DeleteLayerVersion", layer + "/versions/2/delete", one(), nil},

		{"lambda:ListFunctions", console + "functions", nil, nil},
		{"lambda:GetFunction", function(name) + "/code/archive", nil, nil},
		{"lambda:CreateFunction", console + "functions-new", one("name", "another", "runtime", "python3.12", "architecture", "x86_64", "role", aRole, "source", "zip", "handler", "app.handler"), zip},
		{"lambda:UpdateFunctionCode", function(name) + "/code/upload", one("revision", ""), again},
		{"lambda:UpdateFunctionCode", function(name) + "/code/file", one("revision", "", "path", "app.py", "text", "def handler(event, context):\n    return 2\n"), nil},
		{"lambda:UpdateFunctionConfiguration", function(name) + "/configuration", one("description", "changed"), nil},
		{"lambda:UpdateFunctionConfiguration", function(name) + "/environment", one("key", "KEY", "value", "V"), nil},
		{"lambda:UpdateFunctionConfiguration", function(name) + "/layers", one("action", "save", "addarn", "arn:aws:lambda:"+s.Region+":"+a.number+":layer:"+name+":1"), nil},
		{"lambda:InvokeFunction", function(name) + "/test", one("event", "{}", "type", "RequestResponse"), nil},
		{"lambda:PublishVersion", function(name) + "/versions", one("description", "v"), nil},
		{"lambda:CreateAlias", function(name) + "/aliases", one("name", "live", "version", "1"), nil},
		{"lambda:UpdateAlias", function(name) + "/aliases/live", one("version", "1", "description", "changed"), nil},
		{"lambda:PutFunctionConcurrency", function(name) + "/concurrency", one("reserve", "1", "reserved", "3"), nil},
		{"lambda:DeleteFunctionConcurrency", function(name) + "/concurrency", one(), nil},
		{"lambda:CreateFunctionUrlConfig", function(name) + "/url", one("new", "1", "auth", "AWS_IAM", "mode", "BUFFERED"), nil},
		{"lambda:UpdateFunctionUrlConfig", function(name) + "/url", one("auth", "AWS_IAM", "mode", "RESPONSE_STREAM"), nil},
		{"lambda:DeleteFunctionUrlConfig", function(name) + "/url/delete", one(), nil},
		{"lambda:AddPermission", function(name) + "/permissions", one("statement", "x", "principal", "s3.amazonaws.com", "action", "lambda:InvokeFunction"), nil},
		{"lambda:RemovePermission", function(name) + "/permissions/remove", one("statement", "x"), nil},
		{"lambda:TagResource", function(name) + "/tags", one("key", "k", "value", "v"), nil},
		{"logs:FilterLogEvents", console + "logs/tail?group=" + url.QueryEscape(group), nil, nil},
		{"logs:DescribeLogGroups", console + "logs", nil, nil},
		{"logs:PutRetentionPolicy", console + "logs/group/retention", one("name", group, "days", "7"), nil},
		{"lambda:DeleteAlias", function(name) + "/aliases/live/delete", one(), nil},
		{"lambda:DeleteFunction", function(name) + "/versions/1/delete", one(), nil},
		{"lambda:DeleteFunction", function("another") + "/delete", one("confirm", "another"), nil},
		{"cloudformation:ListStacks", console + "stacks", nil, nil},
		{"cloudformation:GetTemplate", console + "stacks/" + name + "/template", nil, nil},
		{"cloudformation:DeleteStack", console + "stacks/" + name + "/delete", one(), nil},
	}

	who := &principals{t: t, a: a, c: iam.NewFromConfig(a.config())}
	root := signedIn(t, s, a.id, a.secret, "")
	nobody := who.signedIn("nobody", "")
	without := map[string]*visitor{}
	for i, d := range deeds {
		if without[d.action] == nil {
			without[d.action] = who.signedIn(fmt.Sprint("without-", i), `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"`+d.action+`","Resource":"*"}`)
		}
		if d.form.Has("revision") { // as the page has it
			out, err := api.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &name})
			if err != nil {
				t.Fatal(err)
			}
			d.form.Set("revision", aws.ToString(out.RevisionId))
		}
		before := estate(t, a, api, name)
		for what, v := range map[string]*visitor{"without any right": nobody, "with every right but " + d.action: without[d.action]} {
			text := d.do(v)
			if !strings.Contains(text, "not authorized to perform") || v != nobody && !strings.Contains(text, d.action) {
				t.Errorf("%s, to one %s: not refused\n%s", d.path, what, main(text))
			}
			if strings.Contains(text, "answered") && d.action == "lambda:InvokeFunction" {
				t.Errorf("%s: one %s got the answer", d.path, what)
			}
		}
		if after := estate(t, a, api, name); after != before {
			t.Errorf("%s changed something, by one who may not %s:\n%s\n%s", d.path, d.action, before, after)
		}
		if text := d.do(root); strings.Contains(text, "not authorized") || strings.Contains(text, `class="note bad"`) || strings.Contains(text, `role="alert"`) {
			t.Errorf("%s, to the root: it does not work\n%s", d.path, main(text))
		} else if after := estate(t, a, api, name); d.form != nil && after == before && d.action != "lambda:InvokeFunction" && !strings.HasPrefix(d.action, "logs:") {
			t.Errorf("%s, to the root: nothing changed\n%s", d.path, main(text))
		}
		active(t, api, name)
	}
}

// do does it, and returns what the person is told.
func (d deed) do(v *visitor) string {
	v.t.Helper()
	var r response
	switch {
	case d.form == nil:
		r = v.get(d.path)
	case d.file != nil:
		r = v.upload(d.path, d.form, "zip", "some.zip", d.file)
	default:
		r = v.post(d.path, d.form)
	}
	if r.StatusCode == http.StatusSeeOther {
		r = v.get(r.Header.Get("Location"))
	}
	return html.UnescapeString(r.text)
}

// main is the main part of a page, or its beginning.
func main(text string) string {
	if i := strings.Index(text, "<main"); i >= 0 {
		text = text[i:]
	}
	return text[:min(len(text), 1200)]
}

type principals struct {
	t *testing.T
	a *account
	c *iam.Client
}

// signedIn makes a user with these statements, and signs in as it.
func (p *principals) signedIn(name, statements string) *visitor {
	p.t.Helper()
	u := newUserOf(p.t, p.c, name, statements)
	return signedIn(p.t, p.a.server, u.id, u.secret, "")
}

// estate tells everything that the deeds change.
func estate(t *testing.T, a *account, c *lambda.Client, name string) string {
	t.Helper()
	ctx := t.Context()
	var all []any
	keep := func(out any, err error) {
		if err != nil {
			out = err.Error()[strings.LastIndex(err.Error(), ":")+1:]
		}
		all = append(all, out)
	}
	functions, err := c.ListFunctions(ctx, &lambda.ListFunctionsInput{FunctionVersion: types.FunctionVersionAll})
	keep(nil, err)
	if err == nil {
		for _, f := range functions.Functions {
			f.State, f.LastUpdateStatus, f.StateReason, f.StateReasonCode, f.LastUpdateStatusReason = "", "", nil, "", nil // of whether it is ready
			keep(f, nil)
		}
	}
	plain := func(out any, err error) {
		text, _ := json.Marshal(out) // to be without the request's identifier
		m := map[string]any{}
		if err == nil && json.Unmarshal(text, &m) == nil {
			delete(m, "ResultMetadata")
		}
		keep(m, err)
	}
	aliases, err := c.ListAliases(ctx, &lambda.ListAliasesInput{FunctionName: &name})
	plain(aliases, err)
	policy, err := c.GetPolicy(ctx, &lambda.GetPolicyInput{FunctionName: &name})
	plain(policy, err)
	concurrency, err := c.GetFunctionConcurrency(ctx, &lambda.GetFunctionConcurrencyInput{FunctionName: &name})
	plain(concurrency, err)
	address, err := c.GetFunctionUrlConfig(ctx, &lambda.GetFunctionUrlConfigInput{FunctionName: &name})
	plain(address, err)
	tags, err := c.ListTags(ctx, &lambda.ListTagsInput{Resource: aws.String("arn:aws:lambda:" + a.server.Region + ":" + a.number + ":function:" + name)})
	plain(tags, err)
	layers, err := c.ListLayers(ctx, &lambda.ListLayersInput{})
	plain(layers, err)
	versions, err := c.ListLayerVersions(ctx, &lambda.ListLayerVersionsInput{LayerName: &name})
	plain(versions, err)
	shared, err := c.GetLayerVersionPolicy(ctx, &lambda.GetLayerVersionPolicyInput{LayerName: &name, VersionNumber: aws.Int64(1)})
	plain(shared, err)
	stacks := a.query(t, "cloudformation", cloudFormation, url.Values{"Action": {"ListStacks"}})
	stacks, _, _ = strings.Cut(stacks, "<ResponseMetadata>")
	keep(stacks, nil)
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
