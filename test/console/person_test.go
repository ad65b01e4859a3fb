// Package console has a browser without scripts go through the console of a running
// server: what people do there does what the API does, and no more than they may.
package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lamina-run/lamina/internal/testkit"
)

// pages is where the console is.
const pages = "/_console/"

// person is somebody with a browser, signed in.
type person struct {
	t    *testing.T
	url  string // of the server
	http *http.Client
	csrf string
}

// signIn opens the console with an access key.
func signIn(t *testing.T, s *testkit.Server, key, secret string) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, url: s.URL, http: &http.Client{Jar: jar}}
	p.get(pages+"signin", http.StatusOK)
	p.post(pages+"signin", url.Values{"key": {key}, "secret": {secret}, "region": {s.Region}, "to": {pages}}, http.StatusOK, "Overview")
	return p
}

var (
	csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)
	noteText  = regexp.MustCompile(`<p class="note[^"]*"[^>]*>([^<]*)<`)
)

// do sends a request, follows where it leads, and wants the page to have the texts.
func (p *person) do(req *http.Request, status int, texts ...string) string {
	p.t.Helper()
	resp, err := p.http.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	page := string(text)
	if m := csrfField.FindStringSubmatch(page); m != nil {
		p.csrf = m[1]
	}
	told := ""
	for _, m := range noteText.FindAllStringSubmatch(page, -1) {
		told += m[1] + "\n"
	}
	if resp.StatusCode != status {
		p.t.Errorf("%s %s = %s; want %d\n%s%.1500s", req.Method, req.URL, resp.Status, status, told, page[max(0, strings.Index(page, "<main")):])
	}
	for _, want := range texts {
		if !strings.Contains(page, want) {
			p.t.Errorf("%s %s lacks %q\n%s%.3000s", req.Method, req.URL, want, told, page[max(0, strings.Index(page, "<main")):])
		}
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		if len(page) > 150<<10 {
			p.t.Errorf("%s %s has %d bytes; want at most 150 KB", req.Method, req.URL, len(page))
		}
		if strings.Contains(page, evil) {
			p.t.Errorf("%s %s has the markup that somebody stored", req.Method, req.URL)
		}
	}
	return page
}

func (p *person) request(method, path string, body io.Reader) *http.Request {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	return req
}

func (p *person) get(path string, status int, texts ...string) string {
	p.t.Helper()
	return p.do(p.request(http.MethodGet, path, nil), status, texts...)
}

func (p *person) post(path string, form url.Values, status int, texts ...string) string {
	p.t.Helper()
	form.Set("csrf", p.csrf)
	req := p.request(http.MethodPost, path, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return p.do(req, status, texts...)
}

// upload sends a form with a file.
func (p *person) upload(path string, form url.Values, field string, file []byte, status int, texts ...string) string {
	p.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	form.Set("csrf", p.csrf)
	for name, values := range form {
		for _, value := range values {
			if err := w.WriteField(name, value); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	part, err := w.CreateFormFile(field, "some.zip")
	if err == nil {
		_, err = part.Write(file)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	req := p.request(http.MethodPost, path, &body)
	req.Header.Set("Content-Type", w.FormDataContentType())
	return p.do(req, status, texts...)
}

// evil is what somebody may have stored anywhere.
const evil = `<img src=x onerror="alert('1')">`

var safe = html.EscapeString(evil)

// newUser makes a user that may do what a policy says, and returns its key.
func newUser(t *testing.T, s *testkit.Server, name, policy string) (id, secret string) {
	t.Helper()
	c := iam.NewFromConfig(s.Config())
	if _, err := c.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("p"), PolicyDocument: &policy}); err != nil {
		t.Fatal(err)
	}
	out, err := c.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return *out.AccessKey.AccessKeyId, *out.AccessKey.SecretAccessKey
}

// newAccount makes another account and returns it with its root's key.
func newAccount(t *testing.T, s *testkit.Server, name string) (account, id, secret string) {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), testkit.Binary(t), "account", "create", name, "--data", s.Data).Output()
	if err != nil {
		t.Fatalf("make an account: %v", err)
	}
	var out struct{ AccountID, AccessKeyID, SecretAccessKey string }
	if err := json.Unmarshal(text, &out); err != nil || out.AccessKeyID == "" {
		t.Fatalf("make an account: %v; %s", err, fmt.Sprintf("%.40s", text))
	}
	return out.AccountID, out.AccessKeyID, out.SecretAccessKey
}
