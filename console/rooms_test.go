package console_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/console"
	"github.com/lamina-run/lamina/identity"
)

// services answers what the console asks: a handler for each service.
type services map[string]http.HandlerFunc

// Do implements console.API. The body is what a service has to read.
func (s services) Do(service string, req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if h, ok := s[service]; ok {
		h(w, req)
	} else {
		refuse(w, http.StatusForbidden, "AccessDeniedException", "User is not authorized to ask "+service)
	}
	return w.Result(), nil
}

// refuse answers an error as Lambda does.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("X-Amzn-Errortype", code)
	w.WriteHeader(status)
	writeJSON(w, map[string]string{"message": message})
}

func writeJSON(w io.Writer, v any) { _ = json.NewEncoder(w).Encode(v) } // a test sees what is missing

// shelf holds archives by the CodeSha256 that services tell.
type shelf map[lamina.Digest][]byte

func (s shelf) put(data []byte) (sha256Text string) {
	d := lamina.Digest(sha256.Sum256(data))
	s[d] = data
	return base64.StdEncoding.EncodeToString(d[:])
}

// OpenArchive implements console.Archives. What it returns is no io.ReaderAt to the
// console, so that both ways of reading are tested.
func (s shelf) OpenArchive(_ context.Context, d lamina.Digest) (io.ReadSeekCloser, error) {
	data, ok := s[d]
	if !ok {
		return nil, fmt.Errorf("open archive: %w", lamina.ErrNotFound)
	}
	return struct {
		io.ReadSeeker
		io.Closer
	}{bytes.NewReader(data), io.NopCloser(nil)}, nil
}

// anyKey lets everybody in.
type anyKey struct{}

func (anyKey) SignIn(_ context.Context, id, _, _ string) (identity.Caller, error) {
	return anyKey{}.SignedIn(context.Background(), id, "")
}

func (anyKey) SignedIn(_ context.Context, id, _ string) (identity.Caller, error) {
	return identity.Caller{Account: "111122223333", ARN: "arn:aws:iam::111122223333:user/someone", AccessKeyID: id, Kind: identity.KindUser}, nil
}

// visitor is a browser without scripts, signed in.
type visitor struct {
	t    testing.TB
	url  string
	http *http.Client
	csrf string
}

// visitRooms starts a console before the services and signs in.
func visitRooms(t testing.TB, s services, archives shelf) *visitor {
	t.Helper()
	c, err := console.New(console.Options{
		API: s, Archives: archives, Keys: anyKey{}, Secret: make([]byte, 32), Region: "eu-central-1", Operator: "111122223333",
		Limits: lamina.DefaultLimits(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &visitor{t: t, url: server.URL + console.Path, http: &http.Client{Jar: jar}}
	v.get("signin", http.StatusOK)
	v.post("signin", url.Values{"key": {"AKIA"}, "secret": {"secret"}, "region": {"eu-central-1"}, "to": {console.Path + "assets/lamina.svg"}}, http.StatusOK)
	v.get("signout-is-no-page", http.StatusNotFound)
	v.get("", http.StatusOK)
	return v
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

func (v *visitor) do(req *http.Request, status int) string {
	v.t.Helper()
	resp, err := v.http.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	if resp.StatusCode != status {
		v.t.Errorf("%s %s = %s; want %d\n%.2000s", req.Method, req.URL, resp.Status, status, text)
	}
	if m := csrfField.FindSubmatch(text); m != nil {
		v.csrf = string(m[1])
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") && len(text) > 150<<10 {
		v.t.Errorf("%s %s has %d bytes; want at most 150 KB", req.Method, req.URL, len(text))
	}
	return string(text)
}

func (v *visitor) get(path string, status int, headers ...string) string {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.url+path, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return v.do(req, status)
}

func (v *visitor) post(path string, form url.Values, status int) string {
	v.t.Helper()
	form.Set("csrf", v.csrf)
	req, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return v.do(req, status)
}

// upload sends a form with a file, of which nothing but one piece is in memory.
func (v *visitor) upload(path string, form url.Values, file io.Reader, status int) string {
	v.t.Helper()
	r, w := io.Pipe()
	defer r.Close()
	body := multipart.NewWriter(w)
	form.Set("csrf", v.csrf)
	go func() {
		var err error
		for name, values := range form {
			for _, value := range values {
				if err == nil {
					err = body.WriteField(name, value)
				}
			}
		}
		if err == nil {
			var part io.Writer
			if part, err = body.CreateFormFile("zip", "layer.zip"); err == nil {
				_, err = io.Copy(part, file)
			}
		}
		if err == nil {
			err = body.Close()
		}
		w.CloseWithError(err)
	}()
	req, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.url+path, r)
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Content-Type", body.FormDataContentType())
	return v.do(req, status)
}

// has fails the test where a page lacks one of the texts.
func has(t testing.TB, what, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("%s lacks %s; it is\n%.6000s", what, text, page)
		}
	}
}

// evil is what somebody may have stored anywhere.
const evil = `<img src=x onerror="alert('1')">`

// tame fails the test where a page has evil as markup, or does not have it at all.
func tame(t testing.TB, what, page string) {
	t.Helper()
	if strings.Contains(page, "<img src=x") || strings.Contains(page, `onerror="alert`) {
		t.Errorf("%s has the markup that somebody stored", what)
	}
	has(t, what, page, "&lt;img src=x onerror=")
}
