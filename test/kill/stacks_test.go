package kill

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/lamina-run/lamina/internal/testkit"
)

// stacks asks CloudFormation and IAM in their query protocol.
type stacks struct {
	t *testing.T
	s *testkit.Server
}

// stack is one as DescribeStacks tells it.
type stack struct{ StackID, StackStatus, StackStatusReason string }

// ask returns the answer's body. A server that does not answer is asked again:
// what is asked can be.
func (c stacks) ask(service, version, action string, form url.Values) []byte {
	c.t.Helper()
	form.Set("Action", action)
	form.Set("Version", version)
	body := form.Encode()
	sum := sha256.Sum256([]byte(body))
	config := c.s.Config()
	credentials, err := config.Credentials.Retrieve(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; {
		req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.s.URL+"/", strings.NewReader(body))
		if err != nil {
			c.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if err := v4.NewSigner().SignHTTP(c.t.Context(), credentials, req, hex.EncodeToString(sum[:]), service, c.s.Region, time.Now()); err != nil {
			c.t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		var answer []byte
		if err == nil {
			answer, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		switch {
		case err == nil && resp.StatusCode == http.StatusOK:
			return answer
		case err == nil:
			c.t.Fatalf("%s: %s\n%s", action, resp.Status, answer)
		case time.Now().After(end):
			c.t.Fatalf("%s: %v", action, err)
		}
		time.Sleep(20 * time.Millisecond) // the server is starting
	}
}

func (c stacks) cloudFormation(action string, params ...string) []byte {
	c.t.Helper()
	form := url.Values{"Capabilities.member.1": {"CAPABILITY_IAM"}}
	for i := 0; i < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	return c.ask("cloudformation", "2010-05-15", action, form)
}

// begin begins an operation and returns the stack's ARN.
func (c stacks) begin(action string, params ...string) string {
	c.t.Helper()
	_, rest, _ := bytes.Cut(c.cloudFormation(action, params...), []byte("<StackId>"))
	id, _, _ := bytes.Cut(rest, []byte("</StackId>"))
	return string(id)
}

// settled waits until nothing changes a stack any more.
func (c stacks) settled(id string) stack {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) { // it works in the background
		var out struct {
			Stacks []struct {
				StackStatus, StackStatusReason string
			} `xml:"DescribeStacksResult>Stacks>member"`
		}
		if err := xml.Unmarshal(c.cloudFormation("DescribeStacks", "StackName", id), &out); err != nil || len(out.Stacks) != 1 {
			c.t.Fatalf("DescribeStacks: %v, %d stacks", err, len(out.Stacks))
		}
		s := stack{id, out.Stacks[0].StackStatus, out.Stacks[0].StackStatusReason}
		if !strings.HasSuffix(s.StackStatus, "_IN_PROGRESS") {
			return s
		}
		if time.Now().After(end) {
			c.t.Fatalf("%s is still in %s", id, s.StackStatus)
		}
	}
}

// template has n times a role, a function, a version, an alias and a log group.
func template(n, value int, fails bool) string {
	all := map[string]any{}
	ref := func(id string) any { return map[string]any{"Ref": id} }
	add := func(id, typ string, properties map[string]any) {
		all[id] = map[string]any{"Type": typ, "Properties": properties}
	}
	for i := range n {
		is := strconv.Itoa(i)
		add("Role"+is, "AWS::IAM::Role", map[string]any{"AssumeRolePolicyDocument": map[string]any{"Version": "2012-10-17", "Statement": []any{
			map[string]any{"Effect": "Allow", "Principal": map[string]any{"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
		}}})
		add("Function"+is, "AWS::Lambda::Function", map[string]any{
			"Runtime": "python3.11", "Handler": "index.handler", "Role": map[string]any{"Fn::GetAtt": []any{"Role" + is, "Arn"}},
			"Code": map[string]any{"ZipFile": fmt.Sprintf("def handler(e, c): return %d + %d\n", i, value)},
		})
		add("Version"+is, "AWS::Lambda::Version", map[string]any{"FunctionName": ref("Function" + is), "Description": strconv.Itoa(value)})
		add("Alias"+is, "AWS::Lambda::Alias", map[string]any{"FunctionName": ref("Function" + is), "FunctionVersion": map[string]any{"Fn::GetAtt": []any{"Version" + is, "Version"}}, "Name": "live"})
		add("Log"+is, "AWS::Logs::LogGroup", map[string]any{"LogGroupName": map[string]any{"Fn::Sub": "/aws/lambda/${Function" + is + "}"}})
	}
	if fails {
		add("Bad", "AWS::Lambda::Alias", map[string]any{"FunctionName": "absent", "FunctionVersion": "1", "Name": "x"})
		all["Bad"].(map[string]any)["DependsOn"] = []string{"Alias0", "Alias1", "Log2"}
	}
	text, err := json.Marshal(map[string]any{"Resources": all})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// count tells how many functions, published versions and roles there are.
func (c stacks) count() (functions, versions, roles int) {
	c.t.Helper()
	client := c.s.Lambda()
	out, err := client.ListFunctions(c.t.Context(), &lambda.ListFunctionsInput{})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range out.Functions {
		all, err := client.ListVersionsByFunction(c.t.Context(), &lambda.ListVersionsByFunctionInput{FunctionName: f.FunctionName})
		if err != nil {
			c.t.Fatal(err)
		}
		versions += len(all.Versions) - 1
	}
	list := c.ask("iam", "2010-05-08", "ListRoles", url.Values{"MaxItems": {"1000"}})
	return len(out.Functions), versions, bytes.Count(list, []byte("<RoleName>stack-"))
}

// TestKilledStacks kills the server while it creates, updates and deletes stacks,
// with resources that fail among them. Each stack ends in the status that AWS
// documents, and nothing is left that it does not know.
func TestKilledStacks(t *testing.T) {
	s := testkit.Start(t, testkit.Options{})
	c := stacks{t, s}
	const n = 6
	lives := 2
	if testing.Short() {
		lives = 1
	}
	during := func(what, id, want string, within time.Duration, left int) {
		t.Helper()
		at := rand.N(within)
		time.Sleep(at) // the moment of the kill is what the test varies
		s.Kill()
		s.Restart()
		if got := c.settled(id); got.StackStatus != want {
			t.Fatalf("%s, killed after %v: %s (%s); want %s", what, at, got.StackStatus, got.StackStatusReason, want)
		}
		if functions, versions, roles := c.count(); functions != left || versions != left || roles != left {
			t.Fatalf("%s, killed after %v: %d functions, %d versions, %d roles; want %d of each", what, at, functions, versions, roles, left)
		}
	}
	for life := range lives {
		name := fmt.Sprint("stack-", life)
		bad := c.begin("CreateStack", "StackName", name+"-bad", "TemplateBody", template(n, 1, true))
		during("a creation that fails", bad, "ROLLBACK_COMPLETE", 300*time.Millisecond, 0)
		id := c.begin("CreateStack", "StackName", name, "TemplateBody", template(n, 1, false))
		during("a creation", id, "CREATE_COMPLETE", 300*time.Millisecond, n)
		c.begin("UpdateStack", "StackName", name, "TemplateBody", template(n, 2, true))
		during("an update that fails", id, "UPDATE_ROLLBACK_COMPLETE", 300*time.Millisecond, n)
		c.begin("UpdateStack", "StackName", name, "TemplateBody", template(n, 3, false))
		during("an update", id, "UPDATE_COMPLETE", 200*time.Millisecond, n)
		c.cloudFormation("DeleteStack", "StackName", name)
		during("a deletion", id, "DELETE_COMPLETE", 100*time.Millisecond, 0)
	}
}

// TestManyResources: a stack of 200 resources is deployed in less than 10 s, on more
// than one core.
func TestManyResources(t *testing.T) {
	s := testkit.Start(t, testkit.Options{})
	c := stacks{t, s}
	began := time.Now()
	id := c.begin("CreateStack", "StackName", "stack-many", "TemplateBody", template(40, 1, false))
	if got := c.settled(id); got.StackStatus != "CREATE_COMPLETE" {
		t.Fatalf("the stack is %s (%s)", got.StackStatus, got.StackStatusReason)
	}
	took := time.Since(began)
	t.Logf("200 resources in %v", took)
	if took > 10*time.Second {
		t.Errorf("200 resources took %v; want less than 10 s", took)
	}
	// Threads that had a share of the work.
	var most, all int
	var times []int
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.PID()))
	if err != nil || len(stats) == 0 {
		t.Skip("the system does not tell what threads did")
	}
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // the thread is gone
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		times = append(times, user+system)
		most, all = max(most, user+system), all+user+system
	}
	if most > all*9/10 {
		t.Errorf("threads took %v ticks; want the work on more than one", times)
	}
	c.cloudFormation("DeleteStack", "StackName", "stack-many")
	if got := c.settled(id); got.StackStatus != "DELETE_COMPLETE" {
		t.Errorf("the stack is %s (%s)", got.StackStatus, got.StackStatusReason)
	}
	if functions, versions, roles := c.count(); functions+versions+roles > 0 {
		t.Errorf("%d functions, %d versions, %d roles are left", functions, versions, roles)
	}
}
