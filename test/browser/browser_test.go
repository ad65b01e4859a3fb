// Package browser uses the console as people do, with a real browser: with a
// mouse, with the keyboard only, in light and dark, on a phone; and as those who
// mean harm. Elements are found by role and name, as assistive technology finds
// them. Each test has a browser profile of its own.
package browser

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/lamina-run/lamina/internal/testkit"
)

const console = "/_console/"

// signIn signs the tab in as the operator.
func (p *tab) signIn(s *testkit.Server) {
	p.t.Helper()
	p.signInAs(s.AccessKeyID, s.SecretAccessKey, "")
}

// signInAs signs the tab in with a key.
func (p *tab) signInAs(id, secret, token string) {
	p.t.Helper()
	p.visit(console + "signin")
	p.fill("Access key ID", id)
	p.fill("Secret access key", secret)
	if token != "" {
		p.fill("Session token…", token)
	}
	p.click("button", "Sign in")
	p.at(console)
}

func TestConsole(t *testing.T) {
	testkit.Need(t, testkit.Browser)
	s := testkit.Start(t, testkit.Options{})
	tests := []struct {
		name string
		test func(*testing.T, *testkit.Server)
	}{
		{"pages", testPages}, // takes longest
		{"functions", testFunctions},
		{"functions by keyboard", testFunctionsByKeyboard},
		{"layers", testLayers},
		{"layers by keyboard", testLayersByKeyboard},
		{"stacks", testStacks},
		{"sign-in", testSignIn},
		{"sessions", testSessions},
		{"forms", testForms},
		{"way back", testWayBack},
		{"permissions", testPermissions},
		{"origin", testOrigin},
		{"elsewhere", testElsewhere},
		{"TLS", testTLS},
		{"watch", testWatch},
	}
	if *screenshots != "" {
		tests = append(tests, struct {
			name string
			test func(*testing.T, *testkit.Server)
		}{"screenshots", testScreenshots})
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, s)
		})
	}
}

// testWatch: markup that runs, and markup that a policy stops, are both heard of.
func testWatch(t *testing.T, _ *testkit.Server) {
	policy := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if policy != "" {
			w.Header().Set("Content-Security-Policy", policy)
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>x</title><link rel=icon href='data:,'>"+evil("here")) // or the test fails
	}))
	defer server.Close()
	p := open(t, server.URL)
	for _, policy = range []string{"", "default-src 'none'"} {
		p.visit("/")
		var ran string
		p.eval(`document.documentElement.dataset.xss || ""`, &ran)
		if heard := p.complaints(); len(heard) == 0 || (ran == "here") != (policy == "") {
			t.Errorf("with the policy %q: ran %q, heard %q", policy, ran, heard)
		}
	}
}

// testSignIn: nobody gets in with the wrong key, the right one leads to the page
// that was asked for, and signing out ends it.
func testSignIn(t *testing.T, s *testkit.Server) {
	p := open(t, s.URL)
	p.visit("/")
	p.at(console + "signin?to=" + url.QueryEscape(console))
	p.visit(console + "?x=1")
	p.at(console + "signin?to=" + url.QueryEscape(console+"?x=1"))
	p.accessible()
	p.fits()

	// The browser itself asks for what is missing.
	p.fill("Access key ID", s.AccessKeyID)
	p.click("button", "Sign in")
	p.holds(`document.querySelector("[name=secret]").validity.valueMissing && document.activeElement.name === "secret"`)

	p.expect(`status of (403|422)`)
	p.fill("Secret access key", "wrong")
	p.click("button", "Sign in")
	p.shows("There is no such access key, or the secret is another one.")
	p.find("alert", "")
	p.fill("Region", "nowhere")
	p.fill("Secret access key", s.SecretAccessKey)
	p.click("button", "Sign in")
	p.shows("A region looks like eu-central-1.")
	p.accessible()

	// With the keyboard only. The key is still there.
	p.fill("Region", s.Region)
	p.on("document.activeElement.blur(); document.body.focus()")
	p.tabTo("textbox", "Secret access key")
	p.write(s.SecretAccessKey)
	p.press("Enter")
	p.at(console + "?x=1")
	p.find("heading", "Overview")
	p.accessible()
	p.fits()
}

// on evaluates what has no answer.
func (p *tab) on(expression string) { p.t.Helper(); p.eval(expression+"; undefined", nil) }
