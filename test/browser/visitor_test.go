package browser

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/lamina-run/lamina/internal/testkit"
)

// visitor is a browser without scripts, who follows no redirect and can lie about
// where it comes from.
type visitor struct {
	t      testing.TB
	base   string
	client *http.Client
}

// response is what a visitor got, read whole.
type response struct {
	*http.Response
	text string
}

func newVisitor(t testing.TB, base string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t: t, base: base, client: &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (v *visitor) send(method, path, contentType string, body io.Reader, header http.Header) response {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), method, v.base+path, body)
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html,application/xhtml+xml")
	req.Header.Set("User-Agent", "Mozilla/5.0 (visitor)")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := v.client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return response{resp, string(text)}
}

func (v *visitor) get(path string) response {
	v.t.Helper()
	return v.send(http.MethodGet, path, "", nil, nil)
}

// post sends a form of this session's.
func (v *visitor) post(path string, form url.Values) response {
	v.t.Helper()
	all := url.Values{"csrf": {v.token()}}
	for name, values := range form {
		all[name] = values
	}
	return v.send(http.MethodPost, path, "application/x-www-form-urlencoded", strings.NewReader(all.Encode()), nil)
}

// upload sends a form with a file.
func (v *visitor) upload(path string, form url.Values, field, name string, file []byte) response {
	v.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	put := func(name, value string) {
		if err := w.WriteField(name, value); err != nil {
			v.t.Fatal(err)
		}
	}
	put("csrf", v.token())
	for name, values := range form {
		for _, value := range values {
			put(name, value)
		}
	}
	part, err := w.CreateFormFile(field, name)
	if err != nil {
		v.t.Fatal(err)
	}
	if _, err := part.Write(file); err != nil {
		v.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		v.t.Fatal(err)
	}
	return v.send(http.MethodPost, path, w.FormDataContentType(), &body, nil)
}

var tokenForm = regexp.MustCompile(`name="csrf" value="([A-Z0-9]+)"`)

// tokenOf is the token in the forms of a page.
func tokenOf(t testing.TB, page string) string {
	t.Helper()
	m := tokenForm.FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no token in the page: %s", page)
	}
	return m[1]
}

// token is that of the session.
func (v *visitor) token() string {
	v.t.Helper()
	r := v.get(console)
	if r.StatusCode != http.StatusOK {
		r = v.get(console + "signin")
	}
	return tokenOf(v.t, r.text)
}

// signIn returns the answer to the form.
func (v *visitor) signIn(id, secret, token string) response {
	v.t.Helper()
	page := v.get(console + "signin")
	form := url.Values{"csrf": {tokenOf(v.t, page.text)}, "to": {console}, "key": {id}, "secret": {secret}, "token": {token}, "region": {"eu-central-1"}}
	return v.send(http.MethodPost, console+"signin", "application/x-www-form-urlencoded", strings.NewReader(form.Encode()), nil)
}

// signedIn is a visitor with a key's session.
func signedIn(t testing.TB, s *testkit.Server, id, secret, token string) *visitor {
	t.Helper()
	v := newVisitor(t, s.URL)
	if r := v.signIn(id, secret, token); r.StatusCode != http.StatusSeeOther {
		t.Fatalf("sign-in = %s; want a redirect: %s", r.Status, r.text)
	}
	return v
}

// operator is a visitor with the session of the operator.
func operator(t testing.TB, s *testkit.Server) *visitor {
	t.Helper()
	return signedIn(t, s, s.AccessKeyID, s.SecretAccessKey, "")
}

const sessionName = "lamina-session"

// sessionCookie is the one that the visitor has now, empty for none.
func (v *visitor) sessionCookie() string {
	at, err := url.Parse(v.base + console)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, c := range v.client.Jar.Cookies(at) {
		if c.Name == sessionName {
			return c.Value
		}
	}
	return ""
}

// plant gives the visitor a session's cookie.
func (v *visitor) plant(value string) {
	at, err := url.Parse(v.base + console)
	if err != nil {
		v.t.Fatal(err)
	}
	v.client.Jar.SetCookies(at, []*http.Cookie{{Name: sessionName, Value: value, Path: console}})
}

// isIn reports whether the visitor's session is somebody's.
func (v *visitor) isIn() bool {
	v.t.Helper()
	return v.get(console).StatusCode == http.StatusOK
}
