package sdk_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/wire"
)

// estate is what an account has for one operation to be called on.
type estate struct {
	function, layer string // ARNs; the layer has version 1, the function version 1 and the alias live
	mapping         string // UUID
	signing         string // ARN of a code signing config
	role            string
	zip             string // base64
	scope           string // arn:aws:lambda:REGION:ACCOUNT:
}

func (e estate) version() string    { return e.layer + ":1" }
func (e estate) mappingARN() string { return e.scope + "event-source-mapping:" + e.mapping }
func (e estate) another() string    { return e.function + "-another" }

// permission is an action on a resource.
type permission struct{ action, resource string }

// sample is how an operation is called, by the ARN of what it is about, and what
// that takes.
type sample struct {
	params map[string]string // of the path
	query  string
	body   map[string]any
	needs  []permission
	before []string // operations that the root calls first
}

// tagged is what a tag costs that something new gets.
func tagged(resource string) permission { return permission{"lambda:TagResource", resource} }

// samples are by operation. What each takes is from AWS's Service Authorization
// Reference, not from the code.
func samples(e estate) map[string]sample {
	f, l := map[string]string{"FunctionName": e.function}, map[string]string{"LayerName": e.layer, "VersionNumber": "1"}
	live := e.function + ":live"
	of := func(params map[string]string, more ...string) map[string]string {
		all := map[string]string{}
		for k, v := range params {
			all[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	on := func(operation, resource string) []permission { return []permission{{"lambda:" + operation, resource}} }
	tags := map[string]string{"k": "v"}
	csc := map[string]string{"CodeSigningConfigArn": e.signing}
	resource := map[string]string{"Resource": e.function}
	uuid := map[string]string{"UUID": e.mapping}
	all := map[string]sample{
		"AddLayerVersionPermission":    {params: l, body: map[string]any{"StatementId": "new", "Action": "lambda:GetLayerVersion", "Principal": "*"}, needs: on("AddLayerVersionPermission", e.version())},
		"GetLayerVersion":              {params: l, needs: on("GetLayerVersion", e.version())},
		"GetLayerVersionByArn":         {query: "Arn=" + url.QueryEscape(e.version()), needs: on("GetLayerVersion", e.version())},
		"GetLayerVersionPolicy":        {params: l, needs: on("GetLayerVersionPolicy", e.version())},
		"DeleteLayerVersion":           {params: l, needs: on("DeleteLayerVersion", e.version())},
		"RemoveLayerVersionPermission": {params: of(l, "StatementId", "s"), needs: on("RemoveLayerVersionPermission", e.version())},
		"PublishLayerVersion":          {params: l, body: map[string]any{"Content": map[string]any{"ZipFile": e.zip}}, needs: on("PublishLayerVersion", e.layer)},
		"ListLayerVersions":            {params: l, needs: on("ListLayerVersions", "*")},
		"ListLayers":                   {needs: on("ListLayers", "*")},

		"CreateFunction": {
			body: map[string]any{
				"FunctionName": e.another(), "Role": e.role, "Runtime": "python3.12", "Handler": "app.handler", "Code": map[string]any{"ZipFile": e.zip},
				"Tags": tags, "Layers": []string{e.version()},
			},
			needs: append(on("CreateFunction", e.another()), permission{"iam:PassRole", e.role}, tagged(e.another()), permission{"lambda:GetLayerVersion", e.version()}),
		},
		"UpdateFunctionConfiguration": {
			params: f, body: map[string]any{"Role": e.role, "Layers": []string{e.version()}},
			needs: append(on("UpdateFunctionConfiguration", e.function), permission{"iam:PassRole", e.role}, permission{"lambda:GetLayerVersion", e.version()}),
		},
		"UpdateFunctionCode":       {params: f, body: map[string]any{"ZipFile": e.zip}, needs: on("UpdateFunctionCode", e.function)},
		"DeleteFunction":           {params: f, needs: on("DeleteFunction", e.function)},
		"GetFunction":              {params: f, query: "Qualifier=live", needs: on("GetFunction", live)},
		"GetFunctionConfiguration": {params: f, query: "Qualifier=live", needs: on("GetFunctionConfiguration", live)},
		"ListFunctions":            {needs: on("ListFunctions", "*")},
		"GetAccountSettings":       {needs: on("GetAccountSettings", "*")},
		"PublishVersion":           {params: f, body: map[string]any{}, needs: on("PublishVersion", e.function)},
		"ListVersionsByFunction":   {params: f, needs: on("ListVersionsByFunction", e.function)},
		"CreateAlias":              {params: f, body: map[string]any{"Name": "next", "FunctionVersion": "1"}, needs: on("CreateAlias", e.function)},
		"GetAlias":                 {params: of(f, "Name", "live"), needs: on("GetAlias", e.function)},
		"UpdateAlias":              {params: of(f, "Name", "live"), body: map[string]any{"Description": "changed"}, needs: on("UpdateAlias", e.function)},
		"DeleteAlias":              {params: of(f, "Name", "live"), needs: on("DeleteAlias", e.function)},
		"ListAliases":              {params: f, needs: on("ListAliases", e.function)},

		"Invoke":                   {params: f, query: "Qualifier=live", body: map[string]any{}, needs: on("InvokeFunction", live)},
		"InvokeWithResponseStream": {params: f, query: "Qualifier=live", body: map[string]any{}, needs: on("InvokeFunction", live)},
		"InvokeAsync":              {params: f, body: map[string]any{}, needs: on("InvokeAsync", e.function)},

		"AddPermission":    {params: f, body: map[string]any{"StatementId": "new", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}, needs: on("AddPermission", e.function)},
		"RemovePermission": {params: of(f, "StatementId", "s"), needs: on("RemovePermission", e.function)},
		"GetPolicy":        {params: f, needs: on("GetPolicy", e.function)},

		"PutFunctionConcurrency":             {params: f, body: map[string]any{"ReservedConcurrentExecutions": 0}, needs: on("PutFunctionConcurrency", e.function)},
		"GetFunctionConcurrency":             {params: f, needs: on("GetFunctionConcurrency", e.function)},
		"DeleteFunctionConcurrency":          {params: f, needs: on("DeleteFunctionConcurrency", e.function)},
		"PutProvisionedConcurrencyConfig":    {params: f, query: "Qualifier=live", body: map[string]any{"ProvisionedConcurrentExecutions": 1}, needs: on("PutProvisionedConcurrencyConfig", live)},
		"GetProvisionedConcurrencyConfig":    {params: f, query: "Qualifier=live", needs: on("GetProvisionedConcurrencyConfig", live), before: []string{"PutProvisionedConcurrencyConfig"}},
		"DeleteProvisionedConcurrencyConfig": {params: f, query: "Qualifier=live", needs: on("DeleteProvisionedConcurrencyConfig", live), before: []string{"PutProvisionedConcurrencyConfig"}},
		"ListProvisionedConcurrencyConfigs":  {params: f, query: "List=ALL", needs: on("ListProvisionedConcurrencyConfigs", e.function)},
		"GetFunctionScalingConfig":           {params: f, query: "Qualifier=1", needs: on("GetFunctionScalingConfig", e.function+":1")},
		"PutFunctionScalingConfig":           {params: f, query: "Qualifier=1", body: map[string]any{}, needs: on("PutFunctionScalingConfig", e.function+":1")},
		"GetFunctionRecursionConfig":         {params: f, needs: on("GetFunctionRecursionConfig", e.function)},
		"PutFunctionRecursionConfig":         {params: f, body: map[string]any{"RecursiveLoop": "Allow"}, needs: on("PutFunctionRecursionConfig", e.function)},
		"GetRuntimeManagementConfig":         {params: f, needs: on("GetRuntimeManagementConfig", e.function)},
		"PutRuntimeManagementConfig":         {params: f, body: map[string]any{"UpdateRuntimeOn": "FunctionUpdate"}, needs: on("PutRuntimeManagementConfig", e.function)},

		"PutFunctionEventInvokeConfig":    {params: f, body: map[string]any{"MaximumRetryAttempts": 1}, needs: on("PutFunctionEventInvokeConfig", e.function)},
		"UpdateFunctionEventInvokeConfig": {params: f, body: map[string]any{"MaximumRetryAttempts": 0}, needs: on("UpdateFunctionEventInvokeConfig", e.function), before: []string{"PutFunctionEventInvokeConfig"}},
		"GetFunctionEventInvokeConfig":    {params: f, needs: on("GetFunctionEventInvokeConfig", e.function), before: []string{"PutFunctionEventInvokeConfig"}},
		"DeleteFunctionEventInvokeConfig": {params: f, needs: on("DeleteFunctionEventInvokeConfig", e.function), before: []string{"PutFunctionEventInvokeConfig"}},
		"ListFunctionEventInvokeConfigs":  {params: f, needs: on("ListFunctionEventInvokeConfigs", e.function)},

		"CreateFunctionUrlConfig": {params: f, body: map[string]any{"AuthType": "AWS_IAM"}, needs: on("CreateFunctionUrlConfig", e.function)},
		"UpdateFunctionUrlConfig": {params: f, body: map[string]any{"AuthType": "AWS_IAM"}, needs: on("UpdateFunctionUrlConfig", e.function), before: []string{"CreateFunctionUrlConfig"}},
		"GetFunctionUrlConfig":    {params: f, needs: on("GetFunctionUrlConfig", e.function), before: []string{"CreateFunctionUrlConfig"}},
		"DeleteFunctionUrlConfig": {params: f, needs: on("DeleteFunctionUrlConfig", e.function), before: []string{"CreateFunctionUrlConfig"}},
		"ListFunctionUrlConfigs":  {params: f, needs: on("ListFunctionUrlConfigs", e.function)},

		"CreateEventSourceMapping": {
			body:  map[string]any{"FunctionName": e.function, "EventSourceArn": "arn:aws:sqs:" + home + ":" + account + ":another", "Tags": tags},
			needs: append(on("CreateEventSourceMapping", "*"), tagged(e.scope+"event-source-mapping:*")),
		},
		"UpdateEventSourceMapping": {params: uuid, body: map[string]any{"BatchSize": 5}, needs: on("UpdateEventSourceMapping", e.mappingARN())},
		"GetEventSourceMapping":    {params: uuid, needs: on("GetEventSourceMapping", e.mappingARN())},
		"DeleteEventSourceMapping": {params: uuid, needs: on("DeleteEventSourceMapping", e.mappingARN())},
		"ListEventSourceMappings":  {needs: on("ListEventSourceMappings", "*")},

		"CreateCodeSigningConfig": {
			body:  map[string]any{"AllowedPublishers": map[string]any{"SigningProfileVersionArns": []string{publisher}}, "Tags": tags},
			needs: append(on("CreateCodeSigningConfig", "*"), tagged(e.scope+"code-signing-config:*")),
		},
		"GetCodeSigningConfig":             {params: csc, needs: on("GetCodeSigningConfig", e.signing)},
		"UpdateCodeSigningConfig":          {params: csc, body: map[string]any{"Description": "changed"}, needs: on("UpdateCodeSigningConfig", e.signing)},
		"DeleteCodeSigningConfig":          {params: csc, needs: on("DeleteCodeSigningConfig", e.signing)},
		"ListFunctionsByCodeSigningConfig": {params: csc, needs: on("ListFunctionsByCodeSigningConfig", e.signing)},
		"ListCodeSigningConfigs":           {needs: on("ListCodeSigningConfigs", "*")},
		"PutFunctionCodeSigningConfig": {
			params: f, body: map[string]any{"CodeSigningConfigArn": e.signing},
			needs: append(on("PutFunctionCodeSigningConfig", e.function), permission{"lambda:PutFunctionCodeSigningConfig", e.signing}),
		},
		"GetFunctionCodeSigningConfig":    {params: f, needs: on("GetFunctionCodeSigningConfig", e.function)},
		"DeleteFunctionCodeSigningConfig": {params: f, needs: on("DeleteFunctionCodeSigningConfig", e.function)},

		"TagResource":   {params: resource, body: map[string]any{"Tags": tags}, needs: on("TagResource", e.function)},
		"UntagResource": {params: resource, query: "tagKeys=k", needs: on("UntagResource", e.function)},
		"ListTags":      {params: resource, needs: on("ListTags", e.function)},
	}
	return all
}

const publisher = "arn:aws:signer:" + home + ":999999999999:/signing-profiles/p/abcdefghij"

// call makes the request of a sample.
func (x sample) call(op wire.Operation) request {
	path := op.Path
	for name, value := range x.params {
		path = strings.Replace(path, "{"+name+"}", url.PathEscape(value), 1)
	}
	query := op.Query
	if x.query != "" && x.query != query {
		if query != "" {
			query += "&"
		}
		query += x.query
	}
	if query != "" {
		path += "?" + query
	}
	r := request{method: op.Method, path: path}
	if x.body != nil {
		r.body = object(x.body)
	}
	return r
}

// newEstate makes what samples are called on. It is the caller's, who is a root.
func (p *party) newEstate(name, role string) estate {
	p.t.Helper()
	scope := "arn:aws:lambda:" + home + ":" + p.account + ":"
	zip := testkit.Zip(p.t, testkit.File{Name: "app.py", Body: "def handler(event, context): return event"})
	e := estate{function: scope + "function:" + name, layer: scope + "layer:" + name, role: role, zip: base64.StdEncoding.EncodeToString(zip), scope: scope}
	all := samples(e)
	create := all["CreateFunction"]
	create.body["FunctionName"] = e.function
	delete(create.body, "Layers")
	ops := operations()
	p.done(p.send("lambda", create.call(ops["CreateFunction"])))
	p.settled(e.function)
	for _, step := range []string{"PublishVersion", "PublishLayerVersion"} {
		p.done(p.send("lambda", all[step].call(ops[step])))
	}
	p.done(p.lambda(http.MethodPost, "/2015-03-31/functions/"+name+"/aliases", `{"Name":"live","FunctionVersion":"1"}`))
	for _, step := range []string{"AddPermission", "AddLayerVersionPermission"} {
		x := all[step]
		x.body["StatementId"] = "s"
		if step == "AddLayerVersionPermission" {
			x.body["Principal"] = "999999999999"
		}
		p.done(p.send("lambda", x.call(ops[step])))
	}
	signing := p.done(p.send("lambda", all["CreateCodeSigningConfig"].call(ops["CreateCodeSigningConfig"])))
	_, rest, _ := strings.Cut(signing.text, `"CodeSigningConfigArn":"`)
	e.signing, _, _ = strings.Cut(rest, `"`)
	mapping := all["CreateEventSourceMapping"]
	mapping.body["EventSourceArn"] = "arn:aws:sqs:" + home + ":" + p.account + ":queue"
	e.mapping = p.done(p.send("lambda", mapping.call(ops["CreateEventSourceMapping"]))).member("UUID")
	p.eventually("the mapping", func() bool {
		return p.done(p.lambda(http.MethodGet, "/2015-03-31/event-source-mappings/"+e.mapping, "")).member("State") == "Enabled"
	})
	p.settled(e.function + ":1")
	return e
}

func (p *party) settled(function string) {
	p.t.Helper()
	p.eventually(function, func() bool {
		a := p.done(p.lambda(http.MethodGet, "/2015-03-31/functions/"+url.PathEscape(function)+"/configuration", ""))
		return a.member("State") == "Active" && a.member("LastUpdateStatus") == "Successful"
	})
}

func (p *party) eventually(what string, ready func() bool) {
	p.t.Helper()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-poll.C {
		if ready() {
			return
		}
	}
	p.t.Fatalf("%s does not settle", what)
}

func operations() map[string]wire.Operation {
	all := map[string]wire.Operation{}
	for _, op := range wire.Operations() {
		all[op.Name] = op
	}
	return all
}

// state is what a root sees of its estate.
func (p *party) state(e estate) string {
	p.t.Helper()
	var all strings.Builder
	ops, calls := operations(), samples(e)
	for _, name := range []string{
		"GetFunctionConfiguration", "ListVersionsByFunction", "ListAliases", "GetPolicy", "ListTags", "GetLayerVersionPolicy", "ListLayerVersions",
		"GetEventSourceMapping", "GetCodeSigningConfig", "GetFunctionCodeSigningConfig", "ListFunctionUrlConfigs", "ListFunctionEventInvokeConfigs",
		"GetFunctionConcurrency", "ListProvisionedConcurrencyConfigs", "GetFunctionRecursionConfig", "GetRuntimeManagementConfig",
	} {
		fmt.Fprintln(&all, name, p.done(p.send("lambda", calls[name].call(ops[name]))).text)
	}
	return all.String()
}

// TestEnforcement calls every operation that Lamina offers as somebody who may not,
// as somebody who may do exactly that, as somebody to whom it is denied, and as
// the root of another account.
func TestEnforcement(t *testing.T) {
	t.Parallel()
	s := startInProcess(t)
	root, stranger := s.root(t), s.newAccount(t, "stranger")
	role := root.newRole("app", trusts(`"Service":"lambda.amazonaws.com"`))
	known := samples(estate{})
	for _, op := range wire.Operations() {
		if _, ok := known[op.Name]; ok != s.router.Handled(op.Name) {
			t.Errorf("%s: offered = %t, has a sample = %t", op.Name, s.router.Handled(op.Name), ok)
		}
		if !s.router.Handled(op.Name) {
			continue
		}
		t.Run(op.Name, func(t *testing.T) {
			t.Parallel()
			root, stranger := root.in(t), stranger.in(t)
			e := root.newEstate(op.Name, role)
			x := samples(e)[op.Name]
			for _, name := range x.before {
				root.done(root.send("lambda", samples(e)[name].call(operations()[name])))
			}
			call := x.call(op)
			user := root.newUser(op.Name)
			before := root.state(e)
			unchanged := func(by string) {
				t.Helper()
				if after := root.state(e); after != before {
					t.Errorf("%s changed\n%s\nto\n%s", by, before, after)
				}
			}

			own := x.needs[0]
			user.wants("without a policy", user.send("lambda", call), "AccessDeniedException", user.refusal(own.action, own.resource, "identity-based"))
			for i, missing := range x.needs {
				var statements []string
				for j, n := range x.needs {
					if j != i {
						statements = append(statements, allow(n.action, n.resource))
					}
				}
				statements = append(statements, allow(missing.action, strings.Replace(missing.resource, "*", "arn:aws:lambda:", 1)+"-not"), allow(missing.action+"Not", missing.resource))
				root.may(user, statements...)
				user.wants("without "+missing.action, user.send("lambda", call), "AccessDeniedException", user.refusal(missing.action, missing.resource, "identity-based"))
				root.may(user, allow("*", "*"), deny(missing.action, missing.resource))
				user.wants("denied "+missing.action, user.send("lambda", call), "AccessDeniedException", user.refusal(missing.action, missing.resource, "denied"))
			}
			unchanged("who may not")

			stranger.meets(op, e, x)
			unchanged("a stranger")

			var statements []string
			for _, n := range x.needs {
				statements = append(statements, allow(n.action, n.resource))
			}
			root.may(user, statements...)
			got := user.send("lambda", call)
			switch refuses := strings.HasSuffix(op.Name, "FunctionScalingConfig"); {
			case refuses && got.code == "InvalidParameterValueException":
			case got.status != op.Status || got.code != "":
				t.Errorf("with exactly that = %d %s: %s; want %d", got.status, got.code, got.message, op.Status)
			}
		})
	}
}

// meets calls an operation on what another account has, and on what nobody has.
func (p *party) meets(op wire.Operation, e estate, x sample) {
	p.t.Helper()
	real := p.send("lambda", x.call(op))
	name := e.function[strings.LastIndexByte(e.function, ':')+1:]
	none := e
	none.function, none.layer = e.function+"-none", e.layer+"-none"
	none.mapping = "00000000-0000-4000-8000-000000000000"
	none.signing = e.signing[:len(e.signing)-4] + "none"
	unreal := p.send("lambda", samples(none)[op.Name].call(op))
	erase := strings.NewReplacer(name+"-none", "X", name, "X", e.signing, "C", none.signing, "C", e.mapping, "M", none.mapping, "M").Replace
	if got, want := erase(real.message), erase(unreal.message); real.status != unreal.status || real.code != unreal.code || got != want {
		p.t.Errorf("of a stranger's = %d %s: %s; of nobody's = %d %s: %s", real.status, real.code, got, unreal.status, unreal.code, want)
	}
	switch {
	case len(x.params) == 0 && x.query == "" && x.body == nil, op.Name == "CreateCodeSigningConfig": // about one's own
		if real.status != op.Status || strings.Contains(real.text, name) || strings.Contains(real.text, account) {
			p.t.Errorf("a stranger sees %d %s", real.status, real.text)
		}
	case x.params["UUID"] != "":
		p.wants("a stranger's mapping", real, "ResourceNotFoundException", noSuchResource)
	case op.Name == "CreateEventSourceMapping":
		p.wants("a stranger's function", real, "AccessDeniedException", "User: "+p.arn+" is not authorized to access this resource: "+e.function)
	case op.Name == "ListLayerVersions": // on no resource, at AWS too
		p.wants("a stranger's layer", real, "AccessDeniedException", p.refusal("lambda:ListLayerVersions", e.layer, "resource-based"))
	default:
		own := x.needs[0]
		p.wants("a stranger", real, "AccessDeniedException", p.refusal(own.action, own.resource, "resource-based"))
	}
}
