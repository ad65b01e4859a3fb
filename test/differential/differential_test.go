// Package differential sends random requests to a server and asks botocore
// whether the answers are what a client of AWS understands.
package differential

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/lamina-run/lamina/internal/testkit"
)

const (
	perOperation = 250              // requests, at most
	patience     = 1000             // requests of an operation of which none succeeded, and of those about the same thing
	within       = 45 * time.Second // all of them, but for operations of which none succeeded yet
	hang         = 20 * time.Second // one of them
	enough       = 10               // of each operation, however slow the machine
)

// subject is an operation's name without its verb.
func subject(operation string) string {
	return strings.TrimLeftFunc(operation[1:], unicode.IsLower)
}

// onlyRefused are operations that refuse every request for a function of Lamina's.
var onlyRefused = []string{"GetFunctionScalingConfig", "PutFunctionScalingConfig"}

// seedVariable names the environment variable with another seed than 1.
const seedVariable = "LAMINA_TEST_SEED"

// answer is what the server said.
type answer struct {
	Operation string            `json:"operation"`
	Status    int               `json:"status"`
	Headers   map[string]string `json:"headers"`
	Body      []byte            `json:"body"`

	request request
}

// TestEveryRequest: no request makes the server fail or hang, and botocore
// understands every answer.
func TestEveryRequest(t *testing.T) {
	testkit.Need(t, testkit.Boto)
	seed := uint64(1)
	if text := os.Getenv(seedVariable); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("%s=%d", seedVariable, seed)
	s := start(t)
	g := &generator{
		model: readModel(t), r: rand.New(rand.NewPCG(seed, 0)), zip: testkit.Zip(t, testkit.File{Name: "app.py", Body: "def handler(e, c): return e"}),
	}
	g.introduce()
	botocore := startChecker(t)
	counts, statuses, told, succeeded := map[string]int{}, map[int]int{}, map[string]bool{}, map[string]bool{}
	failures := 0
	began := time.Now()
	for round := range patience {
		late := round >= perOperation || round >= enough && time.Since(began) > within
		missing := map[string]bool{} // what operations are about of which none succeeded
		for _, name := range g.names() {
			if !succeeded[name] && mustSucceed(s, name) {
				missing[subject(name)] = true
			}
		}
		if late && len(missing) == 0 {
			break
		}
		s.furnish(t, g.zip)
		for _, name := range g.names() {
			if late && !missing[subject(name)] {
				continue
			}
			req := g.request(name)
			a, err := s.send(req)
			if err != nil {
				t.Errorf("%s: no answer: %v", req, err)
				failures++
				continue
			}
			counts[name]++
			statuses[a.Status]++
			succeeded[name] = succeeded[name] || a.Status < 300
			for _, complaint := range append(judge(s, a), botocore.check(a)...) {
				if told[name+complaint] {
					continue
				}
				told[name+complaint] = true
				t.Errorf("%s\n\tanswers %d %.600s\n\t%s", req, a.Status, a.Body, complaint)
				failures++
			}
			if failures > 20 {
				t.Fatal("too many failures")
			}
			g.learn(a)
		}
	}
	t.Logf("%d requests of %d operations in %v; statuses %v", total(counts), len(counts), time.Since(began).Round(time.Second), statuses)
	for _, name := range g.names() {
		if counts[name] < enough {
			t.Errorf("%s: %d requests; want at least %d", name, counts[name], enough)
		}
		if !succeeded[name] && mustSucceed(s, name) {
			t.Errorf("%s: no request of %d succeeded", name, counts[name])
		}
	}
	for _, status := range []int{200, 201, 202, 204, 400, 404, 409} {
		if statuses[status] == 0 {
			t.Errorf("no answer %d among %v: the requests are too tame or too wild", status, statuses)
		}
	}
}

// mustSucceed reports whether some request of an operation is to succeed, so that
// the answers that botocore reads are not errors only.
func mustSucceed(s *inProcess, name string) bool {
	return s.router.Handled(name) && !slices.Contains(onlyRefused, name)
}

// judge is what can be said of an answer without a model.
func judge(s *inProcess, a answer) (complaints []string) {
	offered := s.router.Handled(a.Operation)
	switch {
	case a.Status == http.StatusNotImplemented && !offered:
	case a.Status >= 500:
		complaints = append(complaints, "a failure of the server")
	case !offered && a.Status != http.StatusNotFound:
		complaints = append(complaints, "an answer of an operation that is not offered")
	}
	if a.Headers["X-Amzn-Requestid"] == "" {
		complaints = append(complaints, "no request ID")
	}
	return complaints
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

func (r request) String() string {
	return fmt.Sprintf("%s: %s %.300s %v %.600q", r.Operation, r.Method, r.Path, r.Header, r.Body)
}

// send signs a request and sends it.
func (s *inProcess) send(r request) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.Method, s.URL+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return answer{}, err
	}
	for name, value := range r.Header {
		req.Header.Set(name, value)
	}
	if len(r.Body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	sum := sha256.Sum256(r.Body)
	err = v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}, req, hex.EncodeToString(sum[:]), "lambda", region, time.Now())
	if err != nil {
		return answer{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{Operation: r.Operation, Status: resp.StatusCode, Headers: map[string]string{}, request: r}
	for name := range resp.Header {
		a.Headers[name] = resp.Header.Get(name)
	}
	a.Body, err = io.ReadAll(resp.Body)
	return a, err
}

// introduce tells the generator the names of what furnish makes, and of what
// nobody does.
func (g *generator) introduce() {
	arn := "arn:aws:lambda:" + region + ":" + account + ":"
	g.known = map[string][]string{
		"FunctionName":         {"one", "two", "one", "two", "one", "two", "one", "two", "one:1", "one:live", "two:$LATEST", arn + "function:one", arn + "function:two:1", account + ":function:two", "function:one", "absent", "arn:aws:lambda:us-east-1:" + account + ":function:one", "arn:aws:lambda:" + region + ":111111111111:function:one"},
		"FunctionVersion":      {"1", "2", "$LATEST", "99"},
		"Qualifier":            {"1", "2", "live", "$LATEST", "absent", "99"},
		"Name":                 {"live", "beta", "absent"},
		"LayerName":            {"geo", "math", "absent", arn + "layer:geo"},
		"LayerVersionArn":      {arn + "layer:geo:1", arn + "layer:geo:2", arn + "layer:absent:1"},
		"Arn":                  {arn + "layer:geo:1", arn + "layer:math:1", arn + "function:one", arn + "function:one:live"},
		"Resource":             {arn + "function:one", arn + "function:two", arn + "function:absent", arn + "layer:geo"},
		"Role":                 {"arn:aws:iam::" + account + ":role/app"},
		"Runtime":              {"python3.12", "nodejs22.x", "provided.al2023"},
		"Handler":              {"app.handler"},
		"StatementId":          {"s1", "s2"},
		"Principal":            {"*", account, "s3.amazonaws.com"},
		"Action":               {"lambda:InvokeFunction", "lambda:GetLayerVersion", "lambda:InvokeFunctionUrl"},
		"S3Bucket":             {"bucket"},
		"EventSourceArn":       {"arn:aws:sqs:" + region + ":" + account + ":queue", "arn:aws:kinesis:" + region + ":" + account + ":stream/s", "arn:aws:dynamodb:" + region + ":" + account + ":table/t/stream/2024-01-01T00:00:00.000"},
		"Destination":          {"arn:aws:sqs:" + region + ":" + account + ":queue", arn + "function:two", "arn:aws:sns:" + region + ":" + account + ":topic"},
		"TargetArn":            {"arn:aws:sqs:" + region + ":" + account + ":queue"},
		"UUID":                 {"00000000-0000-4000-8000-000000000000"},
		"CodeSigningConfigArn": {arn + "code-signing-config:csc-00000000000000000"},
		"SubnetId":             {"subnet-1"}, "SecurityGroupId": {"sg-1"},
		"MasterRegion":  {"ALL", region},
		"ClientContext": {base64.StdEncoding.EncodeToString([]byte(`{"a":1}`)), "none"},
		"RevisionId":    {"absent"}, "CodeSha256": {"absent"}, "Marker": {"", "bWFya2Vy"},
	}
	type members = map[string]any
	mapping := func() members { return members{"UUID": g.known["UUID"][len(g.known["UUID"])-1]} }
	statement := func() members { return members{"LayerName": "geo", "VersionNumber": 1, "StatementId": "s1"} }
	g.tame = map[string]func() map[string]any{
		"CreateFunction": func() members {
			return members{
				"FunctionName": fmt.Sprint("made-", g.made), "Runtime": "python3.12", "Handler": "app.handler", "Role": "arn:aws:iam::" + account + ":role/app",
				"Code": members{"ZipFile": base64.StdEncoding.EncodeToString(g.zip)},
			}
		},
		"CreateEventSourceMapping": func() members {
			return members{"FunctionName": "one", "EventSourceArn": arn[:len("arn:aws:")] + "sqs:" + region + ":" + account + fmt.Sprint(":queue-", g.made)}
		},
		"GetEventSourceMapping":    mapping,
		"UpdateEventSourceMapping": mapping,
		"DeleteEventSourceMapping": mapping,
		"AddLayerVersionPermission": func() members {
			s := statement()
			s["Principal"], s["Action"] = "*", "lambda:GetLayerVersion"
			return s
		},
		"GetLayerVersionPolicy":        func() members { return members{"LayerName": "geo", "VersionNumber": 1} },
		"RemoveLayerVersionPermission": statement,
		"PutProvisionedConcurrencyConfig": func() members {
			return members{"FunctionName": "one", "Qualifier": "live", "ProvisionedConcurrentExecutions": 1}
		},
		"GetProvisionedConcurrencyConfig": func() members { return members{"FunctionName": "one", "Qualifier": "live"} },
		"PutFunctionEventInvokeConfig":    func() members { return members{"FunctionName": "one", "MaximumRetryAttempts": 1} },
		"UpdateFunctionEventInvokeConfig": func() members { return members{"FunctionName": "one", "MaximumRetryAttempts": 0} },
	}
}

// furnish makes the things that requests name, those that a request deleted
// again. It is called before each round.
func (s *inProcess) furnish(t *testing.T, zip []byte) {
	t.Helper()
	archive := base64.StdEncoding.EncodeToString(zip)
	for _, step := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"POST", "/2018-10-31/layers/geo/versions", map[string]any{"Content": map[string]any{"ZipFile": archive}, "CompatibleRuntimes": []string{"python3.12"}}, 201},
		{"POST", "/2018-10-31/layers/math/versions", map[string]any{"Content": map[string]any{"ZipFile": archive}, "CompatibleArchitectures": []string{"arm64"}}, 201},
		{"POST", "/2015-03-31/functions", function("one", archive), 201},
		{"POST", "/2015-03-31/functions", function("two", archive), 201},
		{"POST", "/2015-03-31/functions/one/aliases", map[string]any{"Name": "live", "FunctionVersion": "1"}, 201},
	} {
		body, err := json.Marshal(step.body)
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.send(request{Method: step.method, Path: step.path, Body: body})
		// A version that the alias needs may have been deleted for good.
		if err != nil || a.Status != step.status && a.Status != http.StatusConflict && a.Status != http.StatusNotFound {
			t.Fatalf("%s %s = %d %s, %v; want %d", step.method, step.path, a.Status, a.Body, err, step.status)
		}
	}
}

func function(name, zip string) map[string]any {
	return map[string]any{
		"FunctionName": name, "Runtime": "python3.12", "Handler": "app.handler", "Role": "arn:aws:iam::" + account + ":role/app",
		"Code": map[string]any{"ZipFile": zip}, "Publish": true,
	}
}

// learn remembers names that the server made up.
func (g *generator) learn(a answer) {
	const most = 20
	if a.Status >= 300 || !strings.HasPrefix(a.Headers["Content-Type"], "application/json") {
		return
	}
	var found any
	if json.Unmarshal(a.Body, &found) != nil {
		return
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			for _, member := range sorted(v) {
				text, isText := v[member].(string)
				if !isText {
					walk(v[member])
					continue
				}
				name := map[string]string{"NextMarker": "Marker"}[member]
				if name == "" {
					name = member
				}
				if !slices.Contains([]string{"UUID", "CodeSigningConfigArn", "RevisionId", "CodeSha256", "Marker"}, name) || slices.Contains(g.known[name], text) {
					continue
				}
				if len(g.known[name]) >= most {
					g.known[name] = slices.Delete(g.known[name], 0, 1)
				}
				g.known[name] = append(g.known[name], text)
			}
		}
	}
	walk(found)
}

// checker is a running testdata/check.py.
type checker struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
}

func startChecker(t *testing.T) *checker {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testkit.Tool("python3"), "testdata/check.py")
	cmd.Stderr = t.Output()
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
		_ = cmd.Wait() // its answers are what counts
	})
	return &checker{t: t, in: in, out: bufio.NewReader(out)}
}

// check asks what is wrong with an answer.
func (c *checker) check(a answer) (complaints []string) {
	c.t.Helper()
	if err := json.NewEncoder(c.in).Encode(a); err != nil {
		c.t.Fatalf("ask botocore: %v", err)
	}
	line, err := c.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &complaints)
	}
	if err != nil {
		c.t.Fatalf("botocore answers %q: %v", line, err)
	}
	return complaints
}

// TestChecker: the checker complains about what clients do not understand.
func TestChecker(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Boto)
	c := startChecker(t)
	for _, test := range []struct {
		name, operation string
		status          int
		code, body      string
		want            string // in the first complaint; empty for none
	}{
		{"a good answer", "ListAliases", 200, "", `{"Aliases":[{"Name":"a"}]}`, ""},
		{"an unknown member", "ListAliases", 200, "", `{"Aliass":[]}`, "unknown"},
		{"a wrong type", "ListAliases", 200, "", `{"Aliases":[{"Name":1}]}`, "no string"},
		{"a null", "ListAliases", 200, "", `{"Aliases":null}`, "is null"},
		{"a missing member", "GetFunctionRecursionConfig", 200, "", `{`, "no JSON"},
		{"a required member that is missing", "CreateFunctionUrlConfig", 201, "", `{}`, "required"},
		{"a body without content", "DeleteAlias", 204, "", `{}`, "with a body"},
		{"a number that is text", "GetLayerVersion", 200, "", `{"Version":"1"}`, "no integer"},
		{"a good error", "GetAlias", 404, "ResourceNotFoundException", `{"Type":"User","Message":"gone"}`, ""},
		{"a message that is spelled wrong", "GetAlias", 404, "ResourceNotFoundException", `{"Type":"User","message":"gone"}`, "unknown"},
		{"an error with another status", "GetAlias", 400, "ResourceNotFoundException", `{"Type":"User","Message":"gone"}`, "status"},
		{"an error without a code", "GetAlias", 404, "", `{}`, "x-amzn-errortype"},
		{"an unknown error", "GetAlias", 400, "NoSuchException", `{"message":"m"}`, "unknown"},
		{"an error without a message", "GetAlias", 400, "ValidationException", `{}`, "no message"},
		{"no stream", "InvokeWithResponseStream", 200, "", ``, "ends with None"},
	} {
		headers := map[string]string{"Content-Type": "application/json"}
		if test.code != "" {
			headers["X-Amzn-Errortype"] = test.code
		}
		got := c.check(answer{Operation: test.operation, Status: test.status, Headers: headers, Body: []byte(test.body)})
		switch {
		case test.want == "" && len(got) > 0:
			t.Errorf("%s: complaints %v; want none", test.name, got)
		case test.want != "" && (len(got) == 0 || !strings.Contains(got[0], test.want)):
			t.Errorf("%s: complaints %v; want %q", test.name, got, test.want)
		}
	}
}
