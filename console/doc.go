// Package console is the web console: what the API does, for people with a
// browser. It decides nothing. Every page and every action is one or more
// requests that it sends to the services in the name of who signed in
// ([API]), so permissions, messages and the audit log are the API's own.
//
// A walk: a browser gets /_console/layers. The session cookie is opened
// (session.go) and its access key looked up again, so that a key that was
// deactivated ends the session; the handler asks lambda for the layers (ask.go)
// and fills a template (page.go). A form comes back as a POST with the token of
// the session, does one request, leaves a note in a cookie and redirects.
//
// Pages work without scripts: assets/console.js only makes them nicer. No page
// has an inline script or style, and the policy of every answer forbids them
// (security.go), so a name that somebody stored can't become code.
package console
