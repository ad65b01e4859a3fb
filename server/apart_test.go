package server

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// onlyPaths is an S3 whose buckets are in paths, and in the host names below it.
type onlyPaths struct{ S3 }

func (onlyPaths) Meant(req *http.Request) bool {
	return strings.HasSuffix(req.Host, ".s3.example") || !strings.HasPrefix(req.URL.Path, "/_")
}

func TestApart(t *testing.T) {
	browser, program := http.Header{"User-Agent": {"Mozilla/5.0 (X11)"}}, http.Header{"User-Agent": {"aws-sdk-go-v2/1.41"}, "Accept": {"*/*"}}
	for name, c := range map[string]struct {
		host, path string
		header     http.Header
		console    bool
		apart      bool
		sniff      bool // the browser may guess the type
	}{
		"a browser":                          {"lamina.example", "/bucket/page.html", browser, true, true, false},
		"a browser by what it accepts":       {"lamina.example", "/bucket/page.html", http.Header{"Accept": {"text/html,*/*"}}, true, true, false},
		"a browser by how it asks":           {"lamina.example", "/bucket/page.html", http.Header{"Sec-Fetch-Mode": {"cors"}}, true, true, false},
		"a script of another's page":         {"lamina.example", "/bucket/x.js", http.Header{"Sec-Fetch-Mode": {"no-cors"}, "Sec-Fetch-Dest": {"script"}}, true, true, true},
		"a program":                          {"lamina.example", "/bucket/page.html", program, true, false, true},
		"without a console":                  {"lamina.example", "/bucket/page.html", browser, false, false, true},
		"a bucket's own host":                {"bucket.s3.example", "/page.html", browser, true, false, true},
		"a function URL below a path":        {"lamina.example", urlPath + urlID + "/", browser, true, true, false},
		"a function URL's own host":          {urlID + "." + urlLabel + ".eu-west-1.localhost", "/", browser, true, false, true},
		"a bucket called like a URL's label": {"lamina.example", "/lambda-url/x", browser, true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := New(Options{S3: onlyPaths{}})
			if c.console {
				s.o.Console = http.NotFoundHandler()
			}
			req := &http.Request{Method: http.MethodGet, Host: c.host, URL: &url.URL{Path: c.path}, Header: c.header, RequestURI: c.path}
			got := httptest.NewRecorder()
			w := s.apart(got, req)
			w.Header().Set("Content-Security-Policy", "script-src 'unsafe-inline'")
			w.Header()["Set-Cookie"] = []string{"own=1", consoleCookies + "session=planted; Path=/_console/"}
			if err := http.NewResponseController(w).Flush(); err != nil { // begins the answer, if need be
				t.Error(err)
			}
			if _, err := w.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			h := got.Result().Header
			policies := h.Values("Content-Security-Policy")
			if apart := slices.Contains(policies, apartPolicy); apart != c.apart || !slices.Contains(policies, "script-src 'unsafe-inline'") {
				t.Errorf("policies %q; want one of our own: %t", policies, c.apart)
			}
			if sniff := h.Get("X-Content-Type-Options") == ""; sniff != c.sniff {
				t.Errorf("X-Content-Type-Options %q", h.Get("X-Content-Type-Options"))
			}
			if planted := len(h.Values("Set-Cookie")) == 2; planted == c.apart || h.Get("Set-Cookie") != "own=1" {
				t.Errorf("cookies %q", h.Values("Set-Cookie"))
			}
		})
	}
	if strings.Contains(apartPolicy, "allow-same-origin") || strings.Contains(apartPolicy, "escape") {
		t.Errorf("%q lets pages of others be on our origin", apartPolicy)
	}
}
