package clients

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lamina-run/lamina/internal/testkit"
)

// person is whose credentials the AWS CLI has.
type person struct {
	account, arn      string
	id, secret, token string
}

// call is one run of the AWS CLI, and how it has to end.
type call struct {
	by   person
	want string // a part of the answer, or of the error when it says so; empty for any success
	fail bool
	args []string
}

// ok is a call that succeeds, with an answer that has a text in it.
func ok(by person, want string, args ...string) call { return call{by: by, want: want, args: args} }

// refused is a call that fails with an error.
func refused(by person, want string, args ...string) call {
	return call{by: by, want: want, fail: true, args: args}
}

// atOnce is how many calls run at the same time.
const atOnce = 4

// worker runs the AWS CLI's own entry point once for each line that it reads:
// most of what a process of the CLI costs is to import itself.
const worker = `import contextlib, io, json, os, sys
from awscli.clidriver import create_clidriver
for line in sys.stdin:
    call = json.loads(line)
    os.environ.update(call["env"])
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = create_clidriver().main(call["args"])
        except SystemExit as e:
            code = e.code
    print(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}), flush=True)
`

// shell runs the AWS CLI for several people.
type shell struct {
	*testkit.Server
	t       *testing.T
	dir     string
	workers chan *cli // those that wait for work
}

// cli is a running worker.
type cli struct {
	in  *json.Encoder
	out *json.Decoder
}

func newShell(t *testing.T) shell {
	t.Helper()
	s := shell{testkit.Start(t, testkit.Options{}), t, t.TempDir(), make(chan *cli, atOnce)}
	for range atOnce {
		cmd := exec.CommandContext(t.Context(), testkit.Tool("python3"), "-c", worker)
		cmd.Dir, cmd.Env, cmd.Stderr = s.dir, append(s.Env(), "AWS_MAX_ATTEMPTS=1", "AWS_DEFAULT_OUTPUT=json"), t.Output()
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			in.Close()
			if err := cmd.Wait(); err != nil && t.Context().Err() == nil {
				t.Errorf("the AWS CLI's worker: %v", err)
			}
		})
		s.workers <- &cli{json.NewEncoder(in), json.NewDecoder(out)}
	}
	return s
}

// aws runs the AWS CLI once.
func (s shell) aws(by person, args ...string) (string, error) {
	w := <-s.workers
	defer func() { s.workers <- w }()
	var answer struct {
		Code     int
		Out, Err string
	}
	err := w.in.Encode(map[string]any{"args": args, "env": map[string]string{
		"AWS_ACCESS_KEY_ID": by.id, "AWS_SECRET_ACCESS_KEY": by.secret, "AWS_SESSION_TOKEN": by.token,
	}})
	if err == nil {
		err = w.out.Decode(&answer)
	}
	if err == nil && answer.Code != 0 {
		err = fmt.Errorf("exit status %d: %s", answer.Code, strings.TrimSpace(answer.Err))
	}
	return answer.Out, err
}

// all runs calls at the same time and returns their answers in order.
func (s shell) all(calls ...call) []string {
	s.t.Helper()
	answers := make([]string, len(calls))
	var running sync.WaitGroup
	for i, c := range calls {
		running.Go(func() {
			out, err := s.aws(c.by, c.args...)
			answers[i] = out
			name := fmt.Sprintf("%s: aws %s", c.by.arn, strings.Join(c.args, " "))
			switch {
			case c.fail && err == nil:
				s.t.Errorf("%s\nanswers %s\nwant an error with %s", name, out, c.want)
			case c.fail && !strings.Contains(err.Error(), c.want):
				s.t.Errorf("%s\nfails with %v\nwant %s", name, err, c.want)
			case !c.fail && err != nil:
				s.t.Errorf("%s\nfails with %v", name, err)
			case !c.fail && !strings.Contains(out, c.want):
				s.t.Errorf("%s\nanswers %s\nwant %s in it", name, out, c.want)
			}
		})
	}
	running.Wait()
	return answers
}

// lamina runs a verb of the binary on the running server.
func (s shell) lamina(args ...string) string {
	s.t.Helper()
	return strings.TrimSpace(command(s.t, s.Server, s.dir, testkit.Binary(s.t), append(args, "--data", s.Data)...))
}

// account makes an account and returns its root.
func (s shell) account(name string) person {
	s.t.Helper()
	var made struct{ AccountID, AccessKeyID, SecretAccessKey string } // the JSON's names differ in case only
	if err := json.Unmarshal([]byte(s.lamina("account", "create", name)), &made); err != nil {
		s.t.Fatal(err)
	}
	return person{account: made.AccountID, arn: "arn:aws:iam::" + made.AccountID + ":root", id: made.AccessKeyID, secret: made.SecretAccessKey}
}

// TestAccounts shares layers and functions among three accounts, two of them in an
// organization for a while, and takes it all back.
func TestAccounts(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.AWSCLI, testkit.Sandbox, testkit.Python)
	s := newShell(t)
	owner, member, stranger := s.account("owner"), s.account("member"), s.account("stranger")
	org := s.lamina("org", "create", "acme")
	s.lamina("org", "add", org, member.account)
	s.lamina("org", "add", "acme", "owner")

	kinds := []string{"account", "everyone", "org", "private"}
	code := "def handler(event, context):\n    out = []\n    for name in " + `("account", "everyone", "org")` + ":\n        try:\n            out.append(__import__('l_' + name).X)\n        except ImportError:\n            pass\n    return out\n"
	files := map[string][]byte{"app.zip": testkit.Zip(t, testkit.File{Name: "app.py", Body: code})}
	for _, kind := range kinds {
		files[kind+".zip"] = testkit.Zip(t, testkit.File{Name: "python/l_" + kind + ".py", Body: "X = '" + kind + "'\n"})
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	scope := "arn:aws:lambda:" + s.Region + ":" + owner.account + ":"
	layer := func(kind string) string { return scope + "layer:" + kind + ":1" }
	denied := func(p person, action, resource string) string {
		return "User: " + p.arn + " is not authorized to perform: lambda:" + action + " on resource: " + resource + " because no resource-based policy allows the lambda:" + action + " action"
	}
	function := func(p person, name string, layers ...string) []string {
		args := []string{
			"lambda", "create-function", "--function-name", name, "--role", "arn:aws:iam::" + p.account + ":role/app", "--runtime", "python3.11",
			"--handler", "app.handler", "--zip-file", "fileb://app.zip", "--timeout", "30", "--query", "FunctionArn",
		}
		if len(layers) > 0 {
			args = append(append(args, "--layers"), layers...)
		}
		return args
	}
	invoke := func(name string) []string {
		out := strings.NewReplacer(":", "-", "/", "-").Replace(name) + ".json"
		return []string{"lambda", "invoke", "--function-name", name, out, "--query", "[StatusCode,FunctionError]", "--output", "text"}
	}
	answers := func(p person, name, want string) {
		t.Helper()
		file := filepath.Join(s.dir, p.account+".json")
		_, err := s.aws(p, "lambda", "invoke", "--function-name", name, file, "--query", "FunctionError", "--output", "text")
		text, _ := os.ReadFile(file)
		if string(text) != want || err != nil {
			t.Errorf("%s of %s answers %s, %v; want %s", name, p.account, text, err, want)
		}
	}
	byARN := func(kind string) []string {
		return []string{"lambda", "get-layer-version-by-arn", "--arn", layer(kind), "--query", "Content.Location"}
	}

	// Layers: published, then shared in each of the ways.
	var publish []call
	for _, kind := range kinds {
		publish = append(publish, ok(owner, layer(kind), "lambda", "publish-layer-version", "--layer-name", kind, "--zip-file", "fileb://"+kind+".zip", "--query", "LayerVersionArn"))
	}
	share := func(kind string, who ...string) call {
		return ok(owner, "", append([]string{
			"lambda", "add-layer-version-permission", "--layer-name", kind, "--version-number", "1", "--statement-id", "s", "--action", "lambda:GetLayerVersion", "--principal",
		}, who...)...)
	}
	s.all(append(publish, ok(owner, scope+"function:shared", function(owner, "shared")...))...)
	s.all(share("account", member.account), share("everyone", "*"), share("org", "*", "--organization-id", org))

	calls := []call{
		refused(stranger, denied(stranger, "GetLayerVersion", layer("absent")), byARN("absent")...), // as if it were there
		refused(stranger, denied(stranger, "GetLayerVersion", scope+"layer:everyone:2"), "lambda", "get-layer-version", "--layer-name", scope+"layer:everyone", "--version-number", "2"),
		ok(member, "/archives/", "lambda", "get-layer-version", "--layer-name", scope+"layer:account", "--version-number", "1"),
		refused(member, denied(member, "ListLayerVersions", scope+"layer:account"), "lambda", "list-layer-versions", "--layer-name", scope+"layer:account"),
		ok(stranger, "[]", "lambda", "list-layers", "--query", "Layers"),
		refused(member, denied(member, "AddLayerVersionPermission", layer("account")), "lambda", "add-layer-version-permission", "--layer-name", scope+"layer:account",
			"--version-number", "1", "--statement-id", "mine", "--action", "lambda:GetLayerVersion", "--principal", "*"),
		ok(member, member.account, function(member, "f", layer("account"), layer("everyone"), layer("org"))...),
		ok(stranger, stranger.account, function(stranger, "f", layer("everyone"))...),
		refused(member, denied(member, "GetLayerVersion", layer("private")), function(member, "g", layer("private"))...),
		refused(stranger, denied(stranger, "GetLayerVersion", layer("account")), function(stranger, "g", layer("account"))...),
	}
	for kind, who := range map[string][]person{"account": {member}, "everyone": {member, stranger}, "org": {member}, "private": nil} {
		for _, p := range []person{member, stranger} {
			c := refused(p, denied(p, "GetLayerVersion", layer(kind)), byARN(kind)...)
			for _, may := range who {
				if may == p {
					c = ok(p, "/archives/", byARN(kind)...)
				}
			}
			calls = append(calls, c)
		}
	}
	s.all(calls...)
	configure := func(layers ...string) []string {
		return append([]string{"lambda", "update-function-configuration", "--function-name", "f", "--query", "FunctionArn", "--layers"}, layers...)
	}
	s.all(refused(stranger, denied(stranger, "GetLayerVersion", layer("org")), configure(layer("everyone"), layer("org"))...))
	answers(member, "f", `["account", "everyone", "org"]`)
	answers(stranger, "f", `["everyone"]`)

	// All is taken back. The functions that have the layers keep them.
	s.lamina("org", "remove", org, "member")
	s.all(
		ok(owner, "", "lambda", "remove-layer-version-permission", "--layer-name", "account", "--version-number", "1", "--statement-id", "s"),
		ok(owner, "", "lambda", "delete-layer-version", "--layer-name", "everyone", "--version-number", "1"),
	)
	calls = []call{
		refused(member, denied(member, "GetLayerVersion", layer("account")), function(member, "g", layer("account"))...),
		refused(member, denied(member, "GetLayerVersion", layer("org")), function(member, "g", layer("org"))...),
		refused(stranger, denied(stranger, "GetLayerVersion", layer("everyone")), function(stranger, "g", layer("everyone"))...),
		refused(member, denied(member, "GetLayerVersion", layer("account")), configure(layer("account"))...),
		ok(member, member.account, "lambda", "update-function-configuration", "--function-name", "f", "--description", "another environment", "--query", "FunctionArn"),
	}
	for kind, p := range map[string]person{"account": member, "everyone": stranger, "org": member} {
		calls = append(calls, refused(p, denied(p, "GetLayerVersion", layer(kind)), byARN(kind)...))
	}
	s.all(calls...)
	answers(member, "f", `["account", "everyone", "org"]`)
	s.Stop()
	s.Restart()
	answers(member, "f", `["account", "everyone", "org"]`)
	answers(stranger, "f", `["everyone"]`)

	// Functions: a permission for an account on the function, one for a role on its
	// alias, one for the organization on its version.
	s.lamina("org", "add", org, "member")
	trust := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"` + member.account + `"}}}`
	rights := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"lambda:InvokeFunction","Resource":"*"}}`
	s.all(
		ok(owner, "", "lambda", "publish-version", "--function-name", "shared"),
		ok(member, "", "iam", "create-role", "--role-name", "caller", "--assume-role-policy-document", trust),
	)
	grant := func(qualifier, who string, more ...string) call {
		args := append([]string{"lambda", "add-permission", "--function-name", "shared", "--statement-id", "s", "--action", "lambda:InvokeFunction", "--principal", who}, more...)
		if qualifier != "" {
			args = append(args, "--qualifier", qualifier)
		}
		return ok(owner, "", args...)
	}
	role := "arn:aws:iam::" + member.account + ":role/caller"
	s.all(
		ok(owner, "", "lambda", "create-alias", "--function-name", "shared", "--name", "live", "--function-version", "1"),
		ok(member, "", "iam", "put-role-policy", "--role-name", "caller", "--policy-name", "p", "--policy-document", rights),
	)
	assumed := s.all(ok(member, "assumed-role/caller/session", "sts", "assume-role", "--role-arn", role, "--role-session-name", "session", "--query", "[AssumedRoleUser.Arn,Credentials]"),
		grant("", member.account), grant("live", role), grant("1", "*", "--principal-org-id", org))[0]
	var session []json.RawMessage
	var as person
	var keys struct{ AccessKeyID, SecretAccessKey, SessionToken string }
	if err := json.Unmarshal([]byte(assumed), &session); err != nil || json.Unmarshal(session[0], &as.arn) != nil || json.Unmarshal(session[1], &keys) != nil {
		t.Fatalf("AssumeRole = %s, %v", assumed, err)
	}
	as.account, as.id, as.secret, as.token = member.account, keys.AccessKeyID, keys.SecretAccessKey, keys.SessionToken
	shared := scope + "function:shared"
	no := func(p person, arn string) call { return refused(p, denied(p, "InvokeFunction", arn), invoke(arn)...) }
	yes := func(p person, arn string) call { return ok(p, "200\tNone", invoke(arn)...) }
	s.all(
		yes(member, shared), no(member, shared+":live"), yes(member, shared+":1"),
		yes(as, shared), yes(as, shared+":live"),
		no(stranger, shared), no(stranger, shared+":live"), no(stranger, shared+":1"),
		no(stranger, scope+"function:absent"), no(member, scope+"function:absent"),
	)
	revoke := func(qualifier ...string) call {
		return ok(owner, "", append([]string{"lambda", "remove-permission", "--function-name", "shared", "--statement-id", "s"}, qualifier...)...)
	}
	s.all(revoke(), revoke("--qualifier", "live"), revoke("--qualifier", "1"))
	s.all(no(member, shared), no(as, shared+":live"), no(member, shared+":1"))

	// Nothing else of an account is of use to another, whether it is there or not.
	calls = nil
	for _, name := range []string{"shared", "absent"} {
		arn := scope + "function:" + name
		for action, args := range map[string][]string{
			"GetFunction":        {"get-function", "--function-name", arn},
			"UpdateFunctionCode": {"update-function-code", "--function-name", arn, "--zip-file", "fileb://app.zip"},
			"DeleteFunction":     {"delete-function", "--function-name", arn},
			"AddPermission":      {"add-permission", "--function-name", arn, "--statement-id", "m", "--action", "lambda:*", "--principal", stranger.account},
			"TagResource":        {"tag-resource", "--resource", arn, "--tags", "a=b"},
		} {
			calls = append(calls, refused(stranger, denied(stranger, action, arn), append([]string{"lambda"}, args...)...))
		}
		calls = append(calls, refused(stranger, "The specified log group does not exist.", "logs", "filter-log-events", "--log-group-identifier",
			"arn:aws:logs:"+s.Region+":"+owner.account+":log-group:/aws/lambda/"+name))
	}
	calls = append(calls, ok(stranger, `"f"`, "lambda", "list-functions", "--query", "Functions[].FunctionName"), ok(owner, `"shared"`, "lambda", "list-functions", "--query", "Functions[].FunctionName"))
	got := s.all(calls...)
	if list := got[len(got)-2]; strings.Contains(list, "shared") {
		t.Errorf("a stranger lists %s", list)
	}
}
