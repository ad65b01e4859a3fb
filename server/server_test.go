package server

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
)

// oneArchive holds one archive in memory.
type oneArchive struct {
	digest lamina.Digest
	body   string
}

func (o oneArchive) OpenArchive(_ context.Context, d lamina.Digest) (io.ReadSeekCloser, error) {
	if d != o.digest {
		return nil, lamina.ErrNotFound
	}
	return struct {
		io.ReadSeeker
		io.Closer
	}{strings.NewReader(o.body), io.NopCloser(nil)}, nil
}

type noKeys struct{}

func (noKeys) AccessKey(context.Context, string) (identity.Key, error) {
	return identity.Key{}, lamina.ErrNotFound
}

// start serves with a clock that the test moves.
func start(t *testing.T, now *time.Time, held oneArchive) (*httptest.Server, *Links, chan struct{}) {
	t.Helper()
	clock := func() time.Time { return *now }
	links := &Links{Key: []byte("secret"), Life: 10 * time.Minute, Now: clock}
	ready := make(chan struct{}) // the test closes it
	s := httptest.NewServer(New(Options{
		Log: slog.New(slog.DiscardHandler), Verifier: identity.NewVerifier(noKeys{}, clock), Links: links, Archives: held, Ready: ready,
	}))
	t.Cleanup(s.Close)
	return s, links, ready
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

func TestDownloadLinks(t *testing.T) {
	t.Parallel()
	made := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	held := oneArchive{digest: lamina.Digest{1, 2, 3}, body: "PK the very bytes"}
	now := made
	s, links, _ := start(t, &now, held)
	ctx := context.WithValue(t.Context(), baseKey{}, s.URL)
	link := links.Location(ctx, held.digest)
	absent := links.Location(ctx, lamina.Digest{9})
	for _, c := range []struct {
		name   string
		after  time.Duration
		url    string
		status int
		body   string
	}{
		{"a fresh link downloads", 0, link, 200, held.body},
		{"it still does in the last second", 10*time.Minute - time.Second, link, 200, held.body},
		{"it does not at ten minutes", 10 * time.Minute, link, 403, ""},
		{"another signature is refused", 0, strings.Replace(link, "Signature=", "Signature=0", 1), 403, ""},
		{"a longer life is refused", 0, strings.Replace(link, "Expires=600", "Expires=6000", 1), 403, ""},
		{"a later date is refused", 0, strings.Replace(link, "20260102T0304", "20270102T0304", 1), 403, ""},
		{"another archive is refused", 0, strings.Replace(link, held.digest.String(), lamina.Digest{9}.String(), 1), 403, ""},
		{"no parameters are refused", 0, link[:strings.Index(link, "?")], 403, ""},
		{"an archive that is gone is not found", 0, absent, 404, ""},
	} {
		now = made.Add(c.after)
		status, body := get(t, c.url)
		if status != c.status || (c.body != "" && body != c.body) {
			t.Errorf("%s: %d %q; want %d %q", c.name, status, body, c.status, c.body)
		}
	}
}

// TestEachByteOfALink: a link is for one archive and one time, and says so in
// what was signed.
func TestEachByteOfALink(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	digest := lamina.Digest{1, 2, 3, 0xab}
	links := &Links{Key: []byte("secret"), Life: 10 * time.Minute, Now: func() time.Time { return now }}
	link := links.Location(t.Context(), digest)
	opens := func(l *Links, link string) bool {
		u, err := url.ParseRequestURI(link)
		if err != nil || !isLink(&http.Request{URL: u}) {
			return false
		}
		got, ok := l.check(u)
		if ok && got != digest {
			t.Errorf("%s opens %s; want %s", link, got, digest)
		}
		return ok
	}
	if !opens(links, link) {
		t.Fatalf("%s does not open", link)
	}
	for i := range link {
		for _, b := range []byte{link[i] ^ 1, link[i] ^ 0x20, '0', 'x'} {
			if changed := link[:i] + string(b) + link[i+1:]; changed != link && opens(links, changed) {
				t.Errorf("byte %d changed to %q still opens: %s", i, b, changed)
			}
		}
		if opens(links, link[:i]) {
			t.Errorf("%s still opens", link[:i])
		}
	}
	other := *links
	other.Key = []byte("another secret")
	if opens(&other, link) {
		t.Error("a link opens at another installation")
	}
	for _, life := range []string{"-600", "600.5", "", "99999999999999999999"} {
		forged := archivePath + digest.String() + "?X-Amz-Date=20260102T030405Z&X-Amz-Expires=" + life + "&X-Amz-Signature=" + links.signature(digest.String(), "20260102T030405Z", life)
		if opens(links, forged) {
			t.Errorf("a link with a life of %q opens", life)
		}
	}
}

// TestLinksLeaveRoomForABucket: of the requests below the path of links, those for
// a bucket of that name are not taken for one.
func TestLinksLeaveRoomForABucket(t *testing.T) {
	t.Parallel()
	name := lamina.Digest{1, 2, 3}.String()
	for _, c := range []struct {
		target, authorization string
		want                  bool
	}{
		{"/archives/" + name + "?X-Amz-Date=x&X-Amz-Expires=600&X-Amz-Signature=ff", "", true},
		{"/archives/" + name, "", true},
		{"/archives/" + name, "AWS4-HMAC-SHA256 Credential=…", false},
		{"/archives/" + name + "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20260102&X-Amz-Signature=ff", "", false},
		{"/archives/app.zip", "", false},
		{"/archives/" + name + "/x", "", false},
		{"/archives", "", false},
	} {
		req := httptest.NewRequest(http.MethodGet, c.target, nil)
		if c.authorization != "" {
			req.Header.Set("Authorization", c.authorization)
		}
		if got := isLink(req); got != c.want {
			t.Errorf("isLink(%s, %s) = %v; want %v", c.target, c.authorization, got, c.want)
		}
	}
}

func TestHealthTellsWhenReady(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s, _, ready := start(t, &now, oneArchive{})
	if status, _ := get(t, s.URL+"/healthz"); status != 503 {
		t.Errorf("before: %d; want 503", status)
	}
	close(ready)
	if status, _ := get(t, s.URL+"/healthz"); status != 200 {
		t.Errorf("after: %d; want 200", status)
	}
}

func TestRefusalsSpeakTheServicesDialect(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s, _, _ := start(t, &now, oneArchive{})
	if _, body := get(t, s.URL+"/2018-10-31/layers"); body != `{"message":"Missing Authentication Token"}` {
		t.Errorf("Lambda: %s; want JSON", body)
	}
	resp, err := http.Post(s.URL+"/", "application/x-www-form-urlencoded", strings.NewReader("Action=GetCallerIdentity&Version=2011-06-15"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(body, []byte("<ErrorResponse")) {
		t.Errorf("STS: %s; want XML", body)
	}
}

func TestRefusedUploadSeesTheAnswer(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s, _, _ := start(t, &now, oneArchive{})
	resp, err := http.Post(s.URL+"/2015-03-31/functions", "application/json", bytes.NewReader(make([]byte, 20<<20)))
	if err != nil {
		t.Fatalf("large unsigned upload: %v; want an answer", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("large unsigned upload: %d; want 403", resp.StatusCode)
	}
}
