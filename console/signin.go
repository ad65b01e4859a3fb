package console

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/lamina-run/lamina/wire"
)

var errSignIn = errors.New("nobody signed in")

// redirectToSignIn leads to the sign-in, and from there back. A script that asked
// for a part of a page is told plainly.
func (v *visit) redirectToSignIn() {
	if v.req.Method != http.MethodGet || v.isPart() {
		v.show(http.StatusUnauthorized, "error", page{Title: "Signed out", Data: &refusal{
			Status: http.StatusUnauthorized, Code: "SignedOut", Message: "The session has ended. Sign in again and repeat what you did.",
		}})
		return
	}
	http.Redirect(v.w, v.req, at("signin")+"?to="+url.QueryEscape(v.req.URL.RequestURI()), http.StatusSeeOther)
}

// wayBack is the page that a sign-in or a switch leads to: one of ours.
func wayBack(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(to, Path) || strings.ContainsAny(to, "\\\r\n") {
		return Path
	}
	for part := range strings.SplitSeq(u.Path, "/") {
		if part == "." || part == ".." { // leads out of the console, to what others stored
			return Path
		}
	}
	return to
}

type signInData struct {
	To, KeyID, Region, Wrong string
}

func (c *Console) signInPage(v *visit) error {
	if v.session.KeyID != "" {
		http.Redirect(v.w, v.req, wayBack(v.req.URL.Query().Get("to")), http.StatusSeeOther)
		return nil
	}
	return v.ok("signin", page{Title: "Sign in", Data: signInData{To: wayBack(v.req.URL.Query().Get("to")), Region: c.o.Region}})
}

var regionForm = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$`)

// signIn begins a session with a new identifier, so that one which somebody else
// knows is worth nothing.
func (c *Console) signIn(v *visit) error {
	form := v.req.PostForm
	in := signInData{To: wayBack(form.Get("to")), KeyID: strings.TrimSpace(form.Get("key")), Region: strings.TrimSpace(form.Get("region"))}
	token := strings.TrimSpace(form.Get("token"))
	again := func(status int, wrong string) error {
		in.Wrong = wrong
		v.show(status, "signin", page{Title: "Sign in", Data: in})
		return nil
	}
	if in.KeyID == "" || form.Get("secret") == "" {
		return again(http.StatusUnprocessableEntity, "Enter the access key ID and the secret access key.")
	}
	if !regionForm.MatchString(in.Region) {
		return again(http.StatusUnprocessableEntity, "A region looks like eu-central-1.")
	}
	caller, err := c.o.Keys.SignIn(v.context(), in.KeyID, strings.TrimSpace(form.Get("secret")), token)
	switch {
	case wire.ExpiredToken.Is(err):
		return again(http.StatusForbidden, "These temporary credentials have expired.")
	case wire.UnrecognizedClient.Is(err):
		return again(http.StatusForbidden, "There is no such access key, or the secret is another one.")
	case err != nil:
		return err
	}
	s := session{ID: newToken(), CSRF: newToken(), KeyID: caller.AccessKeyID, Token: token, Region: in.Region, Expires: c.o.Now().Add(sessionLife)}
	if caller.Session != nil && caller.Session.Expires.Before(s.Expires) {
		s.Expires = caller.Session.Expires
	}
	if err := v.keepSession(s); errors.Is(err, errCookieSize) {
		return again(http.StatusUnprocessableEntity, "The session token is too long for a browser's cookie. Sign in with a user's key, or assume the role without session policies.")
	} else if err != nil {
		return err
	}
	c.ended.add(v.session, c.o.Now())
	http.Redirect(v.w, v.req, in.To, http.StatusSeeOther)
	return nil
}

func (c *Console) signOut(v *visit) error {
	c.ended.add(v.session, c.o.Now())
	v.clearCookie(sessionCookie)
	http.Redirect(v.w, v.req, at("signin"), http.StatusSeeOther)
	return nil
}

// setRegion changes the region that the session looks at.
func (c *Console) setRegion(v *visit) error {
	region := strings.TrimSpace(v.req.PostForm.Get("region"))
	if !regionForm.MatchString(region) {
		return v.notDone(wayBack(v.req.PostForm.Get("to")), &refusal{Code: "InvalidRegion", Message: "A region looks like eu-central-1."})
	}
	s := v.session
	s.Region = region
	if err := v.keepSession(s); err != nil {
		return err
	}
	http.Redirect(v.w, v.req, Path, http.StatusSeeOther)
	return nil
}

// setTheme keeps the choice of light or dark in the browser.
func (c *Console) setTheme(v *visit) error {
	switch theme := v.req.PostForm.Get("theme"); theme {
	case "light", "dark":
		v.setCookie(themeCookie, theme, c.o.Now().AddDate(1, 0, 0))
	default:
		v.clearCookie(themeCookie)
	}
	http.Redirect(v.w, v.req, wayBack(v.req.PostForm.Get("to")), http.StatusSeeOther)
	return nil
}
