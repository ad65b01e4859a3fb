package server

import (
	"net/http"
	"slices"
	"strings"

	"github.com/lamina-run/lamina"
)

// allowOrigin sets the headers that let a page of another origin read the
// response, if the settings allow the request's origin. They are set before the
// function's, which then can't change them.
func allowOrigin(h http.Header, c *lamina.CORS, origin string) bool {
	if c == nil {
		return false
	}
	h.Add("Vary", "Origin")
	if origin == "" || !slices.ContainsFunc(c.AllowOrigins, func(o string) bool { return o == "*" || strings.EqualFold(o, origin) }) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if c.AllowCredentials != nil && *c.AllowCredentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	if len(c.ExposeHeaders) > 0 {
		h.Set("Access-Control-Expose-Headers", strings.Join(c.ExposeHeaders, ","))
	}
	return true
}

// isPreflight reports whether a browser asks what it may send.
func isPreflight(req *http.Request) bool {
	return req.Method == http.MethodOptions && req.Header.Get("Origin") != "" && req.Header.Get("Access-Control-Request-Method") != ""
}

// preflight answers a browser's question from the settings. The function does
// not learn of it.
func preflight(w http.ResponseWriter, req *http.Request, c *lamina.CORS, allowed bool) {
	h := w.Header()
	if allowed {
		h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
		setList(h, "Access-Control-Allow-Methods", c.AllowMethods, req.Header.Get("Access-Control-Request-Method"))
		setList(h, "Access-Control-Allow-Headers", c.AllowHeaders, req.Header.Get("Access-Control-Request-Headers"))
		if c.MaxAge != nil {
			h.Set("Access-Control-Max-Age", decimal(*c.MaxAge))
		}
	}
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// setList sets a header to the allowed words. A wildcard becomes what was asked
// for: beside credentials, browsers take the wildcard itself for a word.
func setList(h http.Header, name string, allowed []string, asked string) {
	switch {
	case len(allowed) == 0:
	case slices.Contains(allowed, "*"):
		if asked != "" {
			h.Set(name, asked)
		}
	default:
		h.Set(name, strings.Join(allowed, ","))
	}
}
