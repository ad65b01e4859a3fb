package sdk

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lamina-run/lamina/internal/testkit"
)

// caller is a function that signs requests to AWS services with its own
// credentials, and nothing but the standard library.
const caller = `import datetime, hashlib, hmac, json, os, urllib.error, urllib.parse, urllib.request

def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()

def send(service, method, path, body, headers, env):
    endpoint = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL_" + {"logs": "CLOUDWATCH_LOGS"}.get(service, service.upper())])
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    headers = {k.lower(): v for k, v in headers.items()}
    headers |= {"host": endpoint.netloc, "x-amz-date": stamp}
    if env.get("AWS_SESSION_TOKEN"):
        headers["x-amz-security-token"] = env["AWS_SESSION_TOKEN"]
    names = ";".join(sorted(headers))
    path, _, query = path.partition("?")
    canonical = "\n".join([method, urllib.parse.quote(path, safe="/~"), query] + [k + ":" + headers[k] for k in sorted(headers)] +
                          ["", names, hashlib.sha256(body.encode()).hexdigest()])
    scope = "/".join([stamp[:8], os.environ["AWS_REGION"], service, "aws4_request"])
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + env["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in scope.split("/"):
        key = mac(key, part)
    headers["authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        env["AWS_ACCESS_KEY_ID"], scope, names, mac(key, text).hex())
    req = urllib.request.Request(endpoint.geturl() + path + ("?" + query if query else ""), data=body.encode() if body else None, headers=headers, method=method)
    try:
        with urllib.request.urlopen(req, timeout=10) as resp:
            return [resp.status, resp.read().decode()]
    except urllib.error.HTTPError as e:
        return [e.code, e.read().decode()]

def handler(event, context):
    if event.get("credentials"):
        return {k: os.environ[k] for k in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")}
    env = dict(os.environ) | event.get("env", {})
    return [send(c["service"], c["method"], c["path"], c.get("body", ""), c.get("headers", {}), env) for c in event["calls"]]
`

const lambdaTrust = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"lambda.amazonaws.com"}}}`

// TestExecutionRole: the code's own calls have the rights of the function's role,
// and no others.
func TestExecutionRole(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	b := open(t)
	people := iam.NewFromConfig(b.Config())
	newRole := func(name, trust, policy string) {
		t.Helper()
		if _, err := people.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust}); err != nil {
			t.Fatal(err)
		}
		if policy == "" {
			return
		}
		if _, err := people.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("p"), PolicyDocument: &policy}); err != nil {
			t.Fatal(err)
		}
	}
	const account = "arn:aws:iam::" + testkit.Account + ":"
	newRole("app", lambdaTrust, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"lambda:GetFunctionConfiguration","Resource":"arn:aws:lambda:*:*:function:called"},
		{"Effect":"Allow","Action":"logs:CreateLogGroup","Resource":"*"}]}`)
	newRole("untrusting", strings.ReplaceAll(lambdaTrust, "lambda.", "ec2."), "")

	_, err := b.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String("refused"), Role: aws.String(account + "role/untrusting"), Handler: aws.String("app.handler"), Runtime: types.RuntimePython311,
		Code: &types.FunctionCode{ZipFile: archive(t, "app.py", caller)},
	})
	if e := wantError[*types.InvalidParameterValueException](t, "CreateFunction", err); e != nil && e.ErrorMessage() != "The role defined for the function cannot be assumed by Lambda." {
		t.Errorf("message = %q", e.ErrorMessage())
	}

	b.function("called", archive(t, "app.py", caller))
	invoke := func(name, payload string) string {
		t.Helper()
		out := b.invoke(name, payload)
		if out.FunctionError != nil {
			t.Fatalf("%s failed: %s\n%s", name, out.Payload, logOf(t, out))
		}
		return string(out.Payload)
	}
	const form = `"headers":{"Content-Type":"application/x-www-form-urlencoded"}`
	me := `{"service":"sts","method":"POST","path":"/","body":"Action=GetCallerIdentity&Version=2011-06-15",` + form + `}`
	config := func(name string) string {
		return `{"service":"lambda","method":"GET","path":"/2015-03-31/functions/` + name + `/configuration"}`
	}
	logs := func(operation, body string) string {
		return fmt.Sprintf(`{"service":"logs","method":"POST","path":"/","body":%q,"headers":{"Content-Type":"application/x-amz-json-1.1","X-Amz-Target":"Logs_20140328.%s"}}`, body, operation)
	}
	type results [][2]any
	calls := func(name string, all ...string) (out results) {
		t.Helper()
		text := invoke(name, `{"calls":[`+strings.Join(all, ",")+`]}`)
		if err := json.Unmarshal([]byte(text), &out); err != nil || len(out) != len(all) {
			t.Fatalf("%s answered %s", name, text)
		}
		return out
	}
	got := calls("called", me, config("called"), config("other"), logs("CreateLogGroup", `{"logGroupName":"mine"}`), logs("DeleteLogGroup", `{"logGroupName":"mine"}`),
		`{"service":"iam","method":"POST","path":"/","body":"Action=ListUsers&Version=2010-05-08",`+form+`}`,
		`{"service":"lambda","method":"POST","path":"/2015-03-31/functions/called/invocations","body":"{}"}`)
	session := "arn:aws:sts::" + testkit.Account + ":assumed-role/app/called"
	for i, want := range []struct {
		status int
		text   string
	}{
		{200, "<Arn>" + session + "</Arn>"},
		{200, `"FunctionName":"called"`},
		{403, "User: " + session + " is not authorized to perform: lambda:GetFunctionConfiguration on resource: arn:aws:lambda:" + region + ":" + testkit.Account + ":function:other because no identity-based policy allows"},
		{200, ""},
		{400, "is not authorized to perform: logs:DeleteLogGroup"},
		{403, "is not authorized to perform: iam:ListUsers"},
		{403, "is not authorized to perform: lambda:InvokeFunction"},
	} {
		if got[i][0] != float64(want.status) || !strings.Contains(got[i][1].(string), want.text) {
			t.Errorf("call %d = %v; want %d with %s", i, got[i], want.status, want.text)
		}
	}

	// What the role loses, the environments that run lose at once.
	if _, err := people.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: aws.String("app"), PolicyName: aws.String("p")}); err != nil {
		t.Fatal(err)
	}
	if got := calls("called", config("called")); got[0][0] != float64(403) {
		t.Errorf("after the policy was removed = %v; want 403", got)
	}

	// The credentials hold outside, too, for as long as they are told to, and are
	// bound to each other.
	var keys struct {
		ID     string `json:"AWS_ACCESS_KEY_ID"`
		Secret string `json:"AWS_SECRET_ACCESS_KEY"`
		Token  string `json:"AWS_SESSION_TOKEN"`
	}
	if err := json.Unmarshal([]byte(invoke("called", `{"credentials":true}`)), &keys); err != nil {
		t.Fatal(err)
	}
	who := func(id, secret, token string) error {
		c := b.Config()
		c.Credentials = credentials.NewStaticCredentialsProvider(id, secret, token)
		out, err := sts.NewFromConfig(c).GetCallerIdentity(t.Context(), nil)
		if err == nil && *out.Arn != session {
			return fmt.Errorf("they are of %s", *out.Arn)
		}
		return err
	}
	if err := who(keys.ID, keys.Secret, keys.Token); err != nil {
		t.Errorf("the credentials outside: %v", err)
	}
	if err := who(keys.ID, keys.Secret, ""); err == nil {
		t.Error("they hold without the token")
	}
	if err := who(b.AccessKeyID, b.SecretAccessKey, keys.Token); err == nil {
		t.Error("the token holds with another key")
	}

	// A role that does not exist is accepted, and gives no rights.
	_, err = b.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String("roleless"), Role: aws.String(account + "role/absent"), Handler: aws.String("app.handler"), Runtime: types.RuntimePython311,
		Code: &types.FunctionCode{ZipFile: archive(t, "app.py", caller)}, Timeout: aws.Int32(20),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := lambda.NewFunctionActiveV2Waiter(b.Client).Wait(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("roleless")}, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, got := range calls("roleless", me, config("roleless")) {
		if got[0] != float64(403) || !strings.Contains(got[1].(string), "The security token included in the request is invalid") {
			t.Errorf("without a role = %v; want 403 of an invalid token", got)
		}
	}
}
