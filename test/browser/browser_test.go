// Package browser uses the console as people do, with a real browser: with a
// mouse, with the keyboard only, in light and dark, on a phone; and as those who
// mean harm. Elements are found by role and name, as assistive technology finds
// them. Each test has a browser profile of its own.
package browser

import (
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
	for name, test := range map[string]func(*testing.T, *testkit.Server){
		"sign-in":               testSignIn,
		"forms":                 testForms,
		"sessions":              testSessions,
		"TLS":                   func(t *testing.T, _ *testkit.Server) { testTLS(t) },
		"way back":              testWayBack,
		"origin":                testOrigin,
		"stacks":                testStacks,
		"permissions":           testPermissions,
		"functions":             testFunctions,
		"functions by keyboard": testFunctionsByKeyboard,
		"pages":                 testPages,
		"layers":                testLayers,
		"layers by keyboard":    testLayersByKeyboard,
		"elsewhere":             testElsewhere,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
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
