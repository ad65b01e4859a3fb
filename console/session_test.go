package console_test

import (
	"context"
	"io"
	"log/slog"
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
	"github.com/lamina-run/lamina/wire"
)

// lentKey is an access key until some time, and for ever with the zero time.
type lentKey struct {
	now   func() time.Time
	until time.Time
}

func (k lentKey) SignIn(ctx context.Context, id, _, token string) (identity.Caller, error) {
	return k.SignedIn(ctx, id, token)
}

func (k lentKey) SignedIn(_ context.Context, id, _ string) (identity.Caller, error) {
	c := identity.Caller{Account: "111122223333", ARN: "arn:aws:sts::111122223333:assumed-role/r/s", AccessKeyID: id, Kind: identity.KindUser}
	if k.until.IsZero() {
		return c, nil
	}
	if !k.now().Before(k.until) {
		return identity.Caller{}, wire.ExpiredToken.New("The security token included in the request is expired")
	}
	c.Session = &identity.Session{Expires: k.until}
	return c, nil
}

func TestSessionsExpire(t *testing.T) {
	start := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		lent time.Duration // how long the key is one; 0 is for ever
		in   time.Duration // after which the person is still in
		out  time.Duration // and after which no more
	}{
		"a key of a user lasts a working day":                {0, 12*time.Hour - time.Second, 12 * time.Hour},
		"temporary credentials that end before":              {15 * time.Minute, 15*time.Minute - time.Second, 15 * time.Minute},
		"temporary credentials that would end after the day": {36 * time.Hour, 12*time.Hour - time.Second, 12 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			now := start
			clock := func() time.Time { return now }
			key := lentKey{now: clock}
			if c.lent != 0 {
				key.until = start.Add(c.lent)
			}
			pages, err := console.New(console.Options{
				API: services{}, Archives: shelf{}, Keys: key, Secret: make([]byte, 32), Region: "eu-central-1", Operator: "111122223333",
				Limits: lamina.DefaultLimits(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: clock,
			})
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(pages)
			defer server.Close()
			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			client := &http.Client{Jar: keepAll{jar}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			read := func(resp *http.Response, err error) (int, string) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				return resp.StatusCode, string(text)
			}
			signIn := func() (int, string) {
				t.Helper()
				_, page := read(client.Get(server.URL + console.Path + "signin"))
				m := regexp.MustCompile(`name="csrf" value="(\w+)"`).FindStringSubmatch(page)
				if m == nil {
					t.Fatal("the sign-in has no form")
				}
				return read(client.PostForm(server.URL+console.Path+"signin", url.Values{"csrf": {m[1]}, "key": {"ASIA"}, "secret": {"s"}, "token": {"t"}, "region": {"eu-central-1"}}))
			}
			if status, text := signIn(); status != http.StatusSeeOther {
				t.Fatalf("sign-in = %d: %s", status, text)
			}
			for _, step := range []struct {
				after time.Duration
				want  int
			}{{c.in, http.StatusOK}, {c.out, http.StatusSeeOther}} {
				now = start.Add(step.after)
				if status, _ := read(client.Get(server.URL + console.Path + "layers-new")); status != step.want {
					t.Errorf("a page after %v = %d; want %d", step.after, status, step.want)
				}
			}
			if status, text := signIn(); c.lent == c.out && (status != http.StatusForbidden || !strings.Contains(text, "These temporary credentials have expired.")) {
				t.Errorf("sign-in with what has expired = %d", status)
			} else if c.lent != c.out && status != http.StatusSeeOther {
				t.Errorf("another sign-in = %d", status)
			}
		})
	}
}

// keepAll keeps cookies whatever they say of when they end, as a thief would.
type keepAll struct{ *cookiejar.Jar }

func (k keepAll) SetCookies(u *url.URL, cookies []*http.Cookie) {
	for _, c := range cookies {
		c.Expires, c.MaxAge = time.Time{}, 0
	}
	k.Jar.SetCookies(u, cookies)
}
