package browser

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/lamina-run/lamina/internal/testkit"
)

// intruder is a page of somebody else's on the console's host. What it gets hold of
// becomes its title.
const intruder = `<!doctype html><html lang="en"><title>…</title><body><script>
(async () => {
	const got = {}, pause = (ms) => new Promise((done) => setTimeout(done, ms));
	const attempt = async (name, what) => { try { got[name] = String(await what()); } catch (e) { got[name] = "no: " + e.name; } };
	await attempt("ran", () => "yes");
	await attempt("origin", () => self.origin);
	await attempt("cookie", () => document.cookie);
	await attempt("storage", () => localStorage.length);
	await attempt("fetch", async () => (await fetch("/_console/")).text());
	await attempt("sync", () => { const r = new XMLHttpRequest(); r.open("GET", "/_console/", false); r.send(); return r.responseText; });
	await attempt("worker", async () => (await navigator.serviceWorker.register(location.pathname + "?sw")).scope);
	await attempt("popup", async () => { const w = open("/_console/"); await pause(300); return w.document.title; });
	await attempt("frame", async () => {
		const f = document.createElement("iframe");
		f.src = "/_console/";
		document.body.append(f);
		await pause(300);
		return f.contentDocument.title;
	});
	await attempt("post", async () => (await fetch("/_console/signout", {method: "POST", credentials: "include", headers: {"Content-Type": "application/x-www-form-urlencoded"}, body: "csrf=x"})).status);
	document.title = JSON.stringify(got);
})();
</script>`

// publicBucket makes a bucket whose objects everybody may read.
func publicBucket(t *testing.T, s *testkit.Server, bucket string) *awss3.Client {
	t.Helper()
	ctx, c := t.Context(), awss3.NewFromConfig(s.Config(), func(o *awss3.Options) { o.UsePathStyle = true })
	if _, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeletePublicAccessBlock(ctx, &awss3.DeletePublicAccessBlockInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	policy := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::` + bucket + `/*"}}`
	if _, err := c.PutBucketPolicy(ctx, &awss3.PutBucketPolicyInput{Bucket: &bucket, Policy: &policy}); err != nil {
		t.Fatal(err)
	}
	return c
}

func put(t *testing.T, c *awss3.Client, bucket, key, contentType, body string) {
	t.Helper()
	in := &awss3.PutObjectInput{Bucket: &bucket, Key: &key, ContentType: &contentType, Body: strings.NewReader(body)}
	if _, err := c.PutObject(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

// testOrigin: a page that somebody stored in a bucket, or that a function answers,
// is on the console's host and can do nothing in the name of who is signed in.
func testOrigin(t *testing.T, s *testkit.Server) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	const bucket = "pages-of-others"
	c := publicBucket(t, s, bucket)
	put(t, c, bucket, "page.html", "text/html", intruder)
	put(t, c, bucket, "page.svg", "image/svg+xml", `<svg xmlns="http://www.w3.org/2000/svg"><script>document.documentElement.setAttribute("data-origin", self.origin)</script></svg>`)
	put(t, c, bucket, "plain.txt", "text/plain", "plain")
	answer, err := json.Marshal(map[string]any{
		"statusCode": 200, "body": intruder, "cookies": []string{"lamina-session=planted; Path=/_console/", "own=1"},
		"headers": map[string]string{"Content-Type": "text/html", "Content-Security-Policy": "script-src 'unsafe-inline'", "Service-Worker-Allowed": "/"},
	})
	if err != nil {
		t.Fatal(err)
	}
	url := publicFunction(t, s, "page-of-a-function", string(answer))

	p := open(t, s.URL)
	p.signIn(s)
	before := p.cookies()
	pages := map[string]string{"an object": "/" + bucket + "/page.html", "a function": url}
	if v, err := awss3.NewPresignClient(c).PresignGetObject(t.Context(), &awss3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("page.html")}); err != nil {
		t.Error(err)
	} else {
		pages["an object with a signed link"] = v.URL
	}
	p.expect(`.`) // the intruder is told no, again and again
	for name, page := range pages {
		p.visit(page)
		p.await("the intruder", func() error {
			var title string
			if err := p.try("document.title", &title); err != nil || strings.HasPrefix(title, "{") {
				return err
			}
			return fmt.Errorf("the title is %q", title)
		})
		got := map[string]string{}
		var title string
		p.eval("document.title", &title)
		p.must(json.Unmarshal([]byte(title), &got))
		if got["ran"] != "yes" || got["origin"] != "null" {
			t.Errorf("%s: scripts ran: %s, in the origin %s; want yes, in one of their own", name, got["ran"], got["origin"])
		}
		for what, result := range got {
			if what != "ran" && what != "origin" && !strings.HasPrefix(result, "no: ") {
				t.Errorf("%s got the %s: %.200s", name, what, result)
			}
		}
	}
	p.visit("/" + bucket + "/page.svg")
	p.holds(`document.documentElement.dataset.origin === "null"`)
	if after := p.cookies(); len(after) < len(before) || after[0].Value == "planted" {
		t.Errorf("cookies %v; want %v", after, before)
	}
	for _, c := range p.cookies() {
		if strings.HasPrefix(c.Name, "lamina-") && (c.Value == "planted" || !c.HTTPOnly) {
			t.Errorf("cookie %+v", c)
		}
	}
	p.visit(console)
	p.find("heading", "Overview") // still signed in

	// What is not a browser gets what it always got.
	v := newVisitor(t, s.URL)
	for _, path := range []string{"/" + bucket + "/page.html", "/" + bucket + "/plain.txt", url} {
		sdk := v.send(http.MethodGet, strings.TrimPrefix(path, s.URL), "", nil, http.Header{"Accept": {"*/*"}, "User-Agent": {"aws-sdk-go-v2/1.41"}})
		if got := sdk.Header.Values("Content-Security-Policy"); len(got) > 0 && got[0] != "script-src 'unsafe-inline'" || sdk.Header.Get("X-Content-Type-Options") != "" || sdk.StatusCode != http.StatusOK {
			t.Errorf("a program gets %s of %s: %s, %v", sdk.Status, path, got, sdk.Header)
		}
		browser := v.send(http.MethodGet, strings.TrimPrefix(path, s.URL), "", nil, nil)
		if got := strings.Join(browser.Header.Values("Content-Security-Policy"), ", "); !strings.Contains(got, "sandbox") || strings.Contains(got, "allow-same-origin") || browser.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("a browser gets %s of %s: policy %q, %v", browser.Status, path, got, browser.Header)
		}
	}
	// No bucket is where the console is, and a signed request does not come to it.
	for _, name := range []string{"_console", "_lamina"} {
		_, made := c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &name})
		_, kept := c.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &name, Key: aws.String("signin"), Body: strings.NewReader("planted")})
		for what, err := range map[string]error{"CreateBucket": made, "PutObject": kept} {
			if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "InvalidBucketName" {
				t.Errorf("%s(%s) = %v; want InvalidBucketName", what, name, err)
			}
		}
	}
	if r := v.get(console + "signin"); r.StatusCode != http.StatusOK || strings.Contains(r.text, "planted") {
		t.Errorf("the sign-in is %s: %.100s", r.Status, r.text)
	}
	// A link to an archive, and what nobody may have.
	for _, path := range []string{"/archives/" + strings.Repeat("0", 64), "/no-such-bucket/x", "/2015-03-31/functions", "/healthz"} {
		if r := v.get(path); !strings.Contains(r.Header.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s of %s has the policy %q", r.Status, path, r.Header.Get("Content-Security-Policy"))
		}
	}
}

// publicFunction makes a function that gives this answer at a URL for everybody,
// and returns the URL's path.
func publicFunction(t *testing.T, s *testkit.Server, name, answer string) string {
	t.Helper()
	ctx, c := t.Context(), s.Lambda()
	code := testkit.Zip(t, testkit.File{Name: "app.py", Body: "import json\nanswer = json.load(open('/var/task/answer.json'))\ndef handler(event, context):\n    return answer\n"}, testkit.File{Name: "answer.json", Body: answer})
	_, err := c.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: &name, Role: aws.String("arn:aws:iam::" + testkit.Account + ":role/app"), Runtime: types.RuntimePython312, Handler: aws.String("app.handler"),
		Code: &types.FunctionCode{ZipFile: code},
	})
	if err != nil {
		t.Fatal(err)
	}
	u, err := c.CreateFunctionUrlConfig(ctx, &lambda.CreateFunctionUrlConfigInput{FunctionName: &name, AuthType: types.FunctionUrlAuthTypeNone})
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []*lambda.AddPermissionInput{
		{StatementId: aws.String("url"), Action: aws.String("lambda:InvokeFunctionUrl"), FunctionUrlAuthType: types.FunctionUrlAuthTypeNone},
		{StatementId: aws.String("invoke"), Action: aws.String("lambda:InvokeFunction"), InvokedViaFunctionUrl: aws.Bool(true)},
	} {
		in.FunctionName, in.Principal = &name, aws.String("*")
		if _, err := c.AddPermission(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	host := strings.TrimPrefix(aws.ToString(u.FunctionUrl), "http://")
	id, _, _ := strings.Cut(host, ".")
	return "/_lamina/url/" + id + "/"
}

// testElsewhere: a page of another site leads to the console, and does nothing
// there: its forms are refused, and it can't show the console in a frame.
func testElsewhere(t *testing.T, s *testkit.Server) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><html lang="en"><title>Elsewhere</title><a href="%[1]s/_console/?from=elsewhere">In</a>
<form method="post" action="%[1]s/_console/signout"><button>Out</button></form><iframe src="%[1]s/_console/" title="Console"></iframe>`, s.URL)
	}))
	defer other.Close()
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1) // another site than the number
	p := open(t, s.URL)
	p.signIn(s)
	p.visit(elsewhere)
	p.await("the frame is refused", func() error {
		for _, text := range p.complaints() {
			if strings.Contains(text, "frame-ancestors") || strings.Contains(text, "X-Frame-Options") {
				return nil
			}
		}
		return errors.New("nobody complained")
	})
	p.expect(`frame-ancestors|X-Frame-Options|chrome-error|status of 403`)
	p.click("link", "In")
	p.at(console + "?from=elsewhere")
	p.find("heading", "Overview")
	p.visit(elsewhere)
	p.click("button", "Out")
	p.shows("The form is not from this session.")
	p.visit(console)
	p.find("heading", "Overview")
}
