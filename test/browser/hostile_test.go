package browser

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

// account is one of its own on the server, with the key of its root.
type account struct {
	server     *testkit.Server
	number     string
	id, secret string
}

func newAccount(t testing.TB, s *testkit.Server, name string) *account {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), testkit.Binary(t), "account", "create", name, "--data", s.Data).Output()
	if err != nil {
		t.Fatalf("make an account: %v", err)
	}
	var out struct{ AccountID, AccessKeyID, SecretAccessKey string }
	if err := json.Unmarshal(text, &out); err != nil || out.AccessKeyID == "" {
		t.Fatalf("make an account: %v", err)
	}
	return &account{s, out.AccountID, out.AccessKeyID, out.SecretAccessKey}
}

func (a *account) config() aws.Config {
	c := a.server.Config()
	c.Credentials = credentials.NewStaticCredentialsProvider(a.id, a.secret, "")
	return c
}

// query asks a service of the query protocol.
func (a *account) query(t testing.TB, service, version string, form url.Values) string {
	t.Helper()
	form.Set("Version", version)
	body := form.Encode()
	sum := sha256.Sum256([]byte(body))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.server.URL+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	key := aws.Credentials{AccessKeyID: a.id, SecretAccessKey: a.secret}
	if err := v4.NewSigner().SignHTTP(t.Context(), key, req, hex.EncodeToString(sum[:]), service, a.server.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s = %s, %v: %s", form.Get("Action"), resp.Status, err, text)
	}
	return string(text)
}

const cloudFormation = "2010-05-15"

// settled waits until a stack has the status.
func (a *account) settled(t testing.TB, stack, status string) {
	t.Helper()
	last := ""
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		last = a.query(t, "cloudformation", cloudFormation, url.Values{"Action": {"DescribeStacks"}, "StackName": {stack}})
		if strings.Contains(last, "<StackStatus>"+status+"<") {
			return
		}
	}
	t.Fatalf("stack %s does not become %s: %s", stack, status, last)
}

// evil is markup that tells which field it is from when a browser takes it for
// markup. It leaves whatever encloses it first.
func evil(field string) string {
	return `"'></textarea></title></pre><script>xss("` + field + `")</script><img src=x onerror=xss("` + field + `")>`
}

// evilName is the same, as a name without slashes.
func evilName(field string) string { return `<img src=x onerror=xss('` + field + `')>` }

// hostile fills an account with markup wherever something is stored, and returns
// the fields that it is in.
func hostile(t *testing.T, a *account) (fields []string) {
	ctx, c := t.Context(), lambda.NewFromConfig(a.config())
	field := func(name string) string {
		fields = append(fields, name)
		return evil(name)
	}
	name := func(of string) string {
		fields = append(fields, of)
		return evilName(of)
	}
	var layers []string
	for i := range 2 {
		content := testkit.Zip(t, testkit.File{Name: "python/" + evilName("file"), Body: strings.Repeat("x", i)}, testkit.File{Name: "python/" + evilName("directory") + "/x.py", Body: "1"}, testkit.File{Name: "lib/link", Link: evilName("target")})
		out, err := c.PublishLayerVersion(ctx, &lambda.PublishLayerVersionInput{
			LayerName: aws.String("hostile"), Description: aws.String(evil("layer description")), LicenseInfo: aws.String(evil("license")), Content: &types.LayerVersionContentInput{ZipFile: content},
			CompatibleRuntimes: []types.Runtime{types.RuntimePython312},
		})
		if err != nil {
			t.Fatal(err)
		}
		layers = []string{aws.ToString(out.LayerVersionArn)}
	}
	fields = append(fields, "layer description", "license", "file", "directory", "target")
	function := "hostile"
	code := "import json\nanswer = json.load(open('/var/task/answer.json'))\ndef handler(event, context):\n    print(answer['log'])\n    if event.get('fail'):\n        raise Exception(answer['error'])\n    return answer['result']\n"
	answer, err := json.Marshal(map[string]string{"log": field("log"), "result": field("result"), "error": field("error")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: &function, Role: aws.String("arn:aws:iam::" + a.number + ":role/app"), Runtime: types.RuntimePython312, Handler: aws.String("app.handler"), Layers: layers,
		Code:        &types.FunctionCode{ZipFile: testkit.Zip(t, testkit.File{Name: "app.py", Body: code + "# " + field("code")}, testkit.File{Name: "answer.json", Body: string(answer)}, testkit.File{Name: name("file of code"), Body: "x"})},
		Description: aws.String(field("function description")), Environment: &types.Environment{Variables: map[string]string{"HOSTILE": field("variable")}},
		Tags: map[string]string{"hostile": field("tag"), name("tag key"): "x"},
	})
	if err != nil {
		t.Fatal(err)
	}
	active(t, c, function)
	version, err := c.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: &function, Description: aws.String(field("version description"))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: &function, Name: aws.String("live"), FunctionVersion: version.Version, Description: aws.String(field("alias description"))}); err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateFunctionUrlConfig(ctx, &lambda.CreateFunctionUrlConfigInput{FunctionName: &function, AuthType: types.FunctionUrlAuthTypeAwsIam, Cors: &types.Cors{
		AllowOrigins: []string{"https://x.example"}, AllowHeaders: []string{"x-hostile"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.AddPermission(ctx, &lambda.AddPermissionInput{
		FunctionName: &function, StatementId: aws.String("hostile"), Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("s3.amazonaws.com"),
		SourceArn: aws.String("arn:aws:s3:::" + name("statement")),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range []string{"{}", `{"fail": true}`} {
		if _, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: &function, Payload: []byte(event)}); err != nil {
			t.Fatal(err)
		}
	}
	template, err := json.Marshal(map[string]any{
		"Description": field("stack description"), "Parameters": map[string]any{"P": map[string]any{"Type": "String"}},
		"Resources": map[string]any{"Handle": map[string]any{"Type": "AWS::CloudFormation::WaitConditionHandle"}},
		"Outputs":   map[string]any{"Out": map[string]any{"Value": field("output"), "Description": field("output description")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.query(t, "cloudformation", cloudFormation, url.Values{
		"Action": {"CreateStack"}, "StackName": {"hostile"}, "TemplateBody": {string(template)}, "Tags.member.1.Key": {"hostile"}, "Tags.member.1.Value": {field("stack tag")},
		"Parameters.member.1.ParameterKey": {"P"}, "Parameters.member.1.ParameterValue": {field("parameter")},
	})
	a.settled(t, "hostile", "CREATE_COMPLETE")
	return fields
}

// active waits until a function can be published, and changed.
func active(t testing.TB, c *lambda.Client, function string) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		out, err := c.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: &function})
		if err != nil {
			t.Fatal(err)
		}
		if out.State == types.StateActive && out.LastUpdateStatus == types.LastUpdateStatusSuccessful {
			return
		}
	}
	t.Fatalf("%s does not become active", function)
}

const (
	mostPages   = 150       // that a crawl looks at
	mostAlike   = 4         // of those that differ in numbers only
	heaviest    = 150 << 10 // bytes of a page with all that it needs
	paintWithin = 2000      // milliseconds until there is something to see; 100 on a quiet machine
)

var (
	numbers = regexp.MustCompile(`/[0-9a-f-]{36}|[0-9]+|\$LATEST`)
	inline  = regexp.MustCompile(`(?i)<[a-z][^>"']*(?:"[^"]*"[^>"']*|'[^']*'[^>"']*)*\s(?:on[a-z]+|style)\s*=`)
	// policyForm is what each page allows: scripts and styles by the answer's nonce.
	policyForm = regexp.MustCompile(`^default-src 'none'; script-src 'nonce-([A-Z0-9]{26})'; style-src 'nonce-([A-Z0-9]{26})'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types lamina$`)
)

// shape is what pages have in common that differ in numbers and parameters only.
func shape(path string) string {
	at, err := url.Parse(path)
	if err != nil {
		return path
	}
	return numbers.ReplaceAllString(at.Path, "n") + "?" + strings.Join(slices.Sorted(maps.Keys(at.Query())), ",")
}

// checkHeaders holds an answer of the console to what keeps it safe.
func checkHeaders(t *testing.T, r response, nonces map[string]bool) {
	t.Helper()
	where, csp := r.Request.URL.RequestURI(), r.Header.Values("Content-Security-Policy")
	if len(csp) != 1 {
		t.Errorf("%s: policies %q; want one", where, csp)
		return
	}
	for name, want := range map[string]string{
		"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %s %q; want %q", where, name, got, want)
		}
	}
	m := policyForm.FindStringSubmatch(csp[0])
	switch {
	case m == nil:
		t.Errorf("%s: policy %q", where, csp[0])
		return
	case m[1] != m[2] || nonces[m[1]]:
		t.Errorf("%s: nonce %s is not new", where, m[1])
	}
	nonces[m[1]] = true
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") {
		return
	}
	if m := inline.FindString(r.text); m != "" {
		t.Errorf("%s: inline %.200s", where, m)
	}
	for _, tag := range regexp.MustCompile(`(?i)<(script|style|link|base|object|embed|iframe)\b[^>]*>`).FindAllString(r.text, -1) {
		if strings.HasPrefix(tag, "<script") && !strings.Contains(tag, `nonce="`+m2(csp[0])+`"`) || regexp.MustCompile(`(?i)^<(style|base|object|embed|iframe)`).MatchString(tag) {
			t.Errorf("%s has %s", where, tag)
		}
	}
}

func m2(policy string) string { return policyForm.FindStringSubmatch(policy)[1] }

// testPages goes to every page that a link leads to, in an account where somebody
// stored markup wherever something can be stored. No page runs it; all of it is
// seen as text; every page is light and quick, fits a phone, and hinders nobody.
func testPages(t *testing.T, s *testkit.Server) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	a := newAccount(t, s, "hostile")
	fields := hostile(t, a)
	p := open(t, s.URL)
	p.signInAs(a.id, a.secret, "")
	v := signedIn(t, s, a.id, a.secret, "")
	p.call("Network.setCacheDisabled", map[string]any{"cacheDisabled": true}, nil)

	unseen := map[string]bool{}
	for _, f := range fields {
		unseen[f] = true
	}
	look := func() {
		p.on(`document.querySelectorAll("details").forEach((d) => { d.open = true })`)
		p.holds(`!document.querySelector("[aria-busy=true]")`)
		var text string
		p.eval(`document.documentElement.textContent + [...document.querySelectorAll("input, textarea")].map((f) => f.value).join(" ")`, &text)
		for f := range unseen {
			if strings.Contains(text, `xss("`+f+`")`) || strings.Contains(text, `xss('`+f+`')`) || strings.Contains(text, `xss(\"`+f+`\")`) {
				delete(unseen, f)
			}
		}
		var ran string
		if p.eval(`document.documentElement.dataset.xss || ""`, &ran); ran != "" {
			t.Errorf("%s ran the markup of %s", p.path(), ran)
		}
		var bad []string
		p.eval(`[...document.querySelectorAll("[href], [src], [action]")].map((e) => e.href || e.src || e.action).filter((u) => typeof u === "string" && u && !u.startsWith(location.origin + "/") && !u.startsWith(location.origin.replace("//", "//")) && !/lambda-url/.test(u))`, &bad)
		if len(bad) > 0 {
			t.Errorf("%s leads elsewhere: %q", p.path(), bad)
		}
	}
	nonces, shapes, seen, alike := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]int{}
	queue := []string{console}
	slowest, slowestPage, largest, largestPage := 0.0, "", 0, ""
	var paints []float64
	for len(queue) > 0 && len(seen) < mostPages {
		path := queue[0]
		queue = queue[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		r := v.get(path)
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s = %s", path, r.Status)
			continue
		}
		if !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") {
			if policy := r.Header.Get("Content-Security-Policy"); policy == "" || r.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s, a %s, has the policy %q", path, r.Header.Get("Content-Type"), policy)
			}
			continue
		}
		checkHeaders(t, r, nonces)
		p.visit(path)
		look()
		weight, _ := p.weigh()
		if weight > heaviest {
			t.Errorf("%s weighs %d bytes; want at most %d", path, weight, heaviest)
		}
		if weight > largest {
			largest, largestPage = weight, path
		}
		ms := p.painted()
		if paints = append(paints, ms); ms > slowest {
			slowest, slowestPage = ms, path
		}
		if shape := shape(path); !shapes[shape] {
			shapes[shape] = true
			p.accessible()
			p.look(360, "dark")
			p.fits()
			p.accessible("color-contrast")
			p.look(1280, "light")
		}
		var links []string
		p.eval(`[...document.querySelectorAll("a[href]")].filter((a) => a.origin === location.origin && !a.hasAttribute("download")).map((a) => a.pathname + a.search)`, &links)
		for _, link := range links {
			if strings.HasPrefix(link, console) && !seen[link] && alike[shape(link)] < mostAlike {
				alike[shape(link)]++
				queue = append(queue, link)
			}
		}
	}
	slices.Sort(paints)
	t.Logf("%d pages; the largest is %s with %d bytes; there is something to see after %.0f ms in the median, last %s after %.0f ms",
		len(seen), largestPage, largest, paints[len(paints)/2], slowestPage, slowest)
	if slowest > paintWithin {
		t.Errorf("%s shows nothing for %.0f ms", slowestPage, slowest)
	}
	for f := range unseen {
		t.Errorf("no page shows the %s, so nothing is known of it", f)
	}

	// What is in the address, and comes back.
	p.expect(`status of (400|404|422)`)
	for _, path := range []string{
		"layers?search=%s&runtime=%s&marker=%s", "layers/%s", "layers/hostile/versions/%s", "layers/hostile/compare?from=%s&to=%s", "layers-arn?arn=%s", "layers-new?name=%s",
		"stacks/%s", "stacks?search=%s&next=%s", "functions/%s", "functions/hostile/code/file?path=%s", "functions/hostile/test?template=%s", "functions/hostile?qualifier=%s",
		"logs/group?name=%s", "signin?to=%s", "%s",
	} {
		escaped := url.QueryEscape(evil("address"))
		if !strings.Contains(path, "?") {
			escaped = url.PathEscape(evil("address"))
		}
		path = console + strings.ReplaceAll(path, "%s", escaped)
		p.visit(path)
		var ran string
		if p.eval(`document.documentElement.dataset.xss || ""`, &ran); ran != "" {
			t.Errorf("%s ran what is in it", path)
		}
		if r := v.get(path); r.StatusCode < 300 || strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") {
			if r.StatusCode >= 300 && r.StatusCode < 400 {
				continue
			}
			checkHeaders(t, r, nonces)
		} else if policy := r.Header.Get("Content-Security-Policy"); policy == "" && !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s = %s, a %s without a policy: %s", path, r.Status, r.Header.Get("Content-Type"), fmt.Sprintf("%.100s", r.text))
		}
	}
}
