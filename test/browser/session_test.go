package browser

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lamina-run/lamina/internal/testkit"
)

// testForms: a form does its work only when it comes from a page of the session.
func testForms(t *testing.T, s *testkit.Server) {
	mine, other := operator(t, s), operator(t, s)
	own, foreign, nobodys := mine.token(), other.token(), newVisitor(t, s.URL).token()
	from := func(name, value string) http.Header { return http.Header{name: {value}} }
	for name, c := range map[string]struct {
		token  string
		header http.Header
		want   int
	}{
		"the session's token":                        {own, nil, http.StatusSeeOther},
		"the session's token, from the same origin":  {own, from("Sec-Fetch-Site", "same-origin"), http.StatusSeeOther},
		"the token in a header":                      {"", from("X-Csrf-Token", own), http.StatusSeeOther},
		"no token":                                   {"", nil, http.StatusForbidden},
		"the token of another session of the person": {foreign, nil, http.StatusForbidden},
		"the token of a session of nobody":           {nobodys, nil, http.StatusForbidden},
		"another's in the header, its own below":     {own, from("X-Csrf-Token", foreign), http.StatusForbidden},
		"from another site":                          {own, from("Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
		"from another port of the host":              {own, from("Sec-Fetch-Site", "same-site"), http.StatusForbidden},
		"from another origin, an older browser":      {own, from("Origin", "http://evil.example"), http.StatusForbidden},
		"from a sandboxed page, an older browser":    {own, from("Origin", "null"), http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			form := url.Values{"csrf": {c.token}, "region": {"eu-west-1"}}
			r := mine.send(http.MethodPost, console+"region", "application/x-www-form-urlencoded", strings.NewReader(form.Encode()), c.header)
			if r.StatusCode != c.want {
				t.Errorf("POST = %s; want %d", r.Status, c.want)
			}
			if changed := r.Header.Get("Set-Cookie") != ""; changed != (c.want == http.StatusSeeOther) {
				t.Errorf("POST with %s: Set-Cookie %q", r.Status, r.Header.Get("Set-Cookie"))
			}
		})
	}
	if r := mine.get(console + "region?region=eu-west-1&csrf=" + own); r.StatusCode != http.StatusMethodNotAllowed && r.StatusCode != http.StatusNotFound {
		t.Errorf("GET of what a form does = %s", r.Status)
	}
	// A query is no form.
	if r := mine.send(http.MethodPost, console+"region?region=eu-west-1&csrf="+own, "application/x-www-form-urlencoded", nil, nil); r.StatusCode != http.StatusForbidden {
		t.Errorf("POST with the token in the query = %s", r.Status)
	}
}

// testSessions: a session is somebody's from the sign-in on, under a new name, and
// ends when the person or the key says so.
func testSessions(t *testing.T, s *testkit.Server) {
	t.Run("an identifier that somebody planted is worth nothing", func(t *testing.T) {
		attacker, victim := newVisitor(t, s.URL), newVisitor(t, s.URL)
		token := attacker.token()
		planted := attacker.sessionCookie()
		victim.plant(planted)
		if got := victim.token(); got != token {
			t.Fatalf("the planted session has the token %s; want %s, or this test shows nothing", got, token)
		}
		if r := victim.signIn(s.AccessKeyID, s.SecretAccessKey, ""); r.StatusCode != http.StatusSeeOther {
			t.Fatalf("sign-in = %s", r.Status)
		}
		if victim.sessionCookie() == planted || !victim.isIn() {
			t.Error("the sign-in kept the cookie that was planted")
		}
		if victim.token() == token {
			t.Error("the sign-in kept the token that the attacker knows")
		}
		if attacker.isIn() {
			t.Error("the attacker is signed in")
		}
		form := url.Values{"csrf": {token}, "theme": {"dark"}}
		attacker.plant(planted)
		if r := attacker.send(http.MethodPost, console+"theme", "application/x-www-form-urlencoded", strings.NewReader(form.Encode()), nil); r.StatusCode != http.StatusForbidden {
			t.Errorf("a form of the ended session = %s; want 403", r.Status)
		}
	})
	t.Run("cookies that nobody sealed", func(t *testing.T) {
		v := operator(t, s)
		good := v.sessionCookie()
		note := v.post(console+"region", url.Values{"region": {"?"}})
		var notes string
		for _, c := range note.Cookies() {
			if c.Name == "lamina-note" {
				notes = c.Value
			}
		}
		if notes == "" {
			t.Fatal("no note to try")
		}
		flipped := []byte(good)
		flipped[len(flipped)/2] ^= 1
		for name, value := range map[string]string{
			"changed": string(flipped), "cut": good[:len(good)-4], "of another kind": notes, "none": "", "long": strings.Repeat("A", 4000), "plain": "testing",
		} {
			w := newVisitor(t, s.URL)
			w.plant(value)
			if w.isIn() {
				t.Errorf("a cookie that is %s signs in", name)
			}
		}
	})
	t.Run("cookies are for the console, and for no script", func(t *testing.T) {
		v := newVisitor(t, s.URL)
		cookies := append(v.get(console+"signin").Cookies(), v.signIn(s.AccessKeyID, s.SecretAccessKey, "").Cookies()...)
		cookies = append(cookies, v.post(console+"theme", url.Values{"theme": {"dark"}}).Cookies()...)
		cookies = append(cookies, v.post(console+"region", url.Values{"region": {"?"}}).Cookies()...)
		if len(cookies) < 4 {
			t.Errorf("%d cookies; want those of two sessions, the appearance and a note", len(cookies))
		}
		for _, c := range cookies {
			if !c.HttpOnly || c.SameSite < http.SameSiteLaxMode || c.SameSite == http.SameSiteNoneMode || c.Path != console || c.Domain != "" || c.Secure {
				t.Errorf("cookie %s over HTTP", c)
			}
		}
	})
	t.Run("signing out", func(t *testing.T) {
		v := operator(t, s)
		old := v.sessionCookie()
		if r := v.post(console+"signout", nil); r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != console+"signin" {
			t.Errorf("sign-out = %s to %s", r.Status, r.Header.Get("Location"))
		}
		if v.isIn() {
			t.Error("still signed in")
		}
		v.plant(old)
		if v.isIn() {
			t.Error("the old cookie signs in again")
		}
	})
	t.Run("temporary credentials come with their token", func(t *testing.T) {
		user := newUser(t, s, "temporary", `{"Effect":"Allow","Action":"*","Resource":"*"}`)
		config := s.Config()
		config.Credentials = credentials.NewStaticCredentialsProvider(user.id, user.secret, "")
		out, err := sts.NewFromConfig(config).GetSessionToken(t.Context(), &sts.GetSessionTokenInput{})
		if err != nil {
			t.Fatal(err)
		}
		id, secret, token := aws.ToString(out.Credentials.AccessKeyId), aws.ToString(out.Credentials.SecretAccessKey), aws.ToString(out.Credentials.SessionToken)
		for name, c := range map[string]struct {
			id, secret, token string
			want              int
		}{
			"with its token":         {id, secret, token, http.StatusSeeOther},
			"without a token":        {id, secret, "", http.StatusForbidden},
			"with a part of it":      {id, secret, token[:len(token)-8], http.StatusForbidden},
			"with another's token":   {user.id, user.secret, token, http.StatusForbidden},
			"with another's secret":  {id, user.secret, token, http.StatusForbidden},
			"a user's key, no token": {user.id, user.secret, "", http.StatusSeeOther},
		} {
			v := newVisitor(t, s.URL)
			if r := v.signIn(c.id, c.secret, c.token); r.StatusCode != c.want || v.isIn() != (c.want == http.StatusSeeOther) {
				t.Errorf("%s: %s; want %d", name, r.Status, c.want)
			}
		}
	})
	t.Run("keys that are taken away", func(t *testing.T) {
		ctx, c := t.Context(), iam.NewFromConfig(s.Config())
		user := newUser(t, s, "leaver", `{"Effect":"Allow","Action":"*","Resource":"*"}`)
		v := signedIn(t, s, user.id, user.secret, "")
		set := func(status iamtypes.StatusType) {
			if _, err := c.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: &user.name, AccessKeyId: &user.id, Status: status}); err != nil {
				t.Fatal(err)
			}
		}
		if !v.isIn() {
			t.Fatal("the user is not signed in")
		}
		set(iamtypes.StatusTypeInactive)
		old := v.sessionCookie()
		if v.isIn() {
			t.Error("a session outlives that its key is deactivated")
		}
		if r := v.signIn(user.id, user.secret, ""); r.StatusCode != http.StatusForbidden {
			t.Errorf("sign-in with a key that is inactive = %s", r.Status)
		}
		set(iamtypes.StatusTypeActive)
		again := newVisitor(t, s.URL)
		again.plant(old)
		if !again.isIn() {
			t.Error("the session does not go on with its key") // it was the key that was asked, not a list of sessions
		}
		if _, err := c.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &user.name, AccessKeyId: &user.id}); err != nil {
			t.Fatal(err)
		}
		if again.isIn() {
			t.Error("a session outlives its key")
		}
	})
}

// testTLS: over TLS the cookies are for TLS only.
func testTLS(t *testing.T, _ *testkit.Server) {
	s := testkit.Start(t, testkit.Options{TLS: true, Args: []string{"--no-s3"}})
	v := newVisitor(t, s.URL)
	v.client.Transport = s.Client().Transport
	cookies := append(v.get(console+"signin").Cookies(), v.signIn(s.AccessKeyID, s.SecretAccessKey, "").Cookies()...)
	if !v.isIn() || len(cookies) < 2 {
		t.Fatalf("not signed in, with %v", cookies)
	}
	for _, c := range cookies {
		if !c.Secure || !c.HttpOnly {
			t.Errorf("cookie %s over TLS", c)
		}
	}
}

// testWayBack: what a link says about where to go after the sign-in leads to the
// console, or nowhere.
func testWayBack(t *testing.T, s *testkit.Server) {
	v := operator(t, s)
	for _, to := range []string{
		"//evil.example/", "https://evil.example/", "https:evil.example", `/\evil.example`, `\\evil.example`, "javascript:xss(1)", "data:text/html,x", "/", "/bucket/page.html",
		"/_console/../bucket/page.html", "/_console/%2e%2e/bucket/", "/_console/..;/x", "/_console/./../x", "/_console//../../x", "/_console", "/_consolex/", "//_console/",
		" /_console/", "/_console/\r\nX: y", "/_console/\t/../../x", "http:///_console/", "///_console/", `/_console/\..\..\x`, "/_console/x/..%2f..%2fbucket/",
	} {
		query := "?to=" + url.QueryEscape(to)
		nobody := newVisitor(t, s.URL)
		page := nobody.get(console + "signin" + query)
		form := url.Values{"csrf": {tokenOf(t, page.text)}, "to": {to}, "key": {s.AccessKeyID}, "secret": {s.SecretAccessKey}, "region": {s.Region}}
		for what, r := range map[string]response{
			"the sign-in":     nobody.send(http.MethodPost, console+"signin", "application/x-www-form-urlencoded", strings.NewReader(form.Encode()), nil),
			"a second one":    v.get(console + "signin" + query),
			"the appearance":  v.post(console+"theme", url.Values{"theme": {"dark"}, "to": {to}}),
			"a wrong region":  v.post(console+"region", url.Values{"region": {"?"}, "to": {to}}),
			"another, though": v.post(console+"region", url.Values{"region": {s.Region}, "to": {to}}),
		} {
			at, err := r.Location()
			if err != nil {
				t.Errorf("%s to %q = %s: %v", what, to, r.Status, err)
				continue
			}
			// As browsers read it: backslashes are slashes, dots are gone.
			read, err := url.Parse(strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(at.String(), `\`, "/"), "%5C", "/"), "%2e", "."))
			if err != nil {
				t.Fatal(err)
			}
			clean := read.JoinPath()
			if "http://"+read.Host != s.URL || !strings.HasPrefix(clean.Path+"/", console) {
				t.Errorf("%s to %q leads to %s", what, to, r.Header.Get("Location"))
			}
		}
	}
}

// user is one of the account, with a key.
type user struct{ name, id, secret string }

// newUser makes a user with these statements of a policy.
func newUser(t testing.TB, s *testkit.Server, name, statements string) user {
	t.Helper()
	return newUserOf(t, iam.NewFromConfig(s.Config()), name, statements)
}

// newUserOf does so in the account of the client.
func newUserOf(t testing.TB, c *iam.Client, name, statements string) user {
	t.Helper()
	ctx := t.Context()
	if _, err := c.CreateUser(ctx, &iam.CreateUserInput{UserName: &name}); err != nil {
		t.Fatal(err)
	}
	if statements != "" {
		in := &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("p"), PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[` + statements + `]}`)}
		if _, err := c.PutUserPolicy(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	key, err := c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return user{name, aws.ToString(key.AccessKey.AccessKeyId), aws.ToString(key.AccessKey.SecretAccessKey)}
}
