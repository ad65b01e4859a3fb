package server

import (
	"net/http"
	"net/url"
	"strings"
)

// Who may store an object, or writes a function with a URL, can have a browser show
// a page of theirs on the console's own origin, where its scripts could do what the
// person can who is signed in. So browsers are told to give such pages an origin of
// their own: their scripts run, and see neither the console nor each other. A
// bucket or a function URL under a host name of its own needs none of it.
const apartPolicy = "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts"

// consoleCookies begins the names of cookies that only the console sets.
const consoleCookies = "lamina-"

// apart returns a writer for an answer that did not come from the console. Clients
// other than browsers get it as it is.
func (s *Server) apart(w http.ResponseWriter, req *http.Request) http.ResponseWriter {
	if s.o.Console == nil || !isBrowser(req) || !s.sharesOrigin(req) {
		return w
	}
	kind := req.Header.Get("Sec-Fetch-Dest")
	return &apartWriter{ResponseWriter: w, part: kind == "script" || kind == "style"}
}

// sharesOrigin reports whether the console is at the host of a request, too.
func (s *Server) sharesOrigin(req *http.Request) bool {
	if t, ok := urlTarget(req); ok && t.region != "" {
		return false
	}
	page := &http.Request{Method: http.MethodGet, Host: req.Host, URL: &url.URL{Path: ConsolePath}}
	return s.o.S3 == nil || !s.o.S3.Meant(page)
}

// isBrowser reports whether a browser asks, to show the answer or not: it may keep
// what it got for one purpose, and use it for the other.
func isBrowser(req *http.Request) bool {
	h := req.Header
	return h.Get("Sec-Fetch-Mode") != "" || strings.Contains(h.Get("Accept"), "text/html") || strings.HasPrefix(h.Get("User-Agent"), "Mozilla/")
}

// apartWriter adds to an answer what keeps it apart, whatever else is in its header.
type apartWriter struct {
	http.ResponseWriter
	part  bool // it is for a part of somebody else's page, which may know its type better
	began bool
}

func (w *apartWriter) WriteHeader(status int) {
	if !w.began && status >= http.StatusOK {
		w.began = true
		h := w.Header()
		h.Add("Content-Security-Policy", apartPolicy) // one more policy only forbids more
		if !w.part {
			h.Set("X-Content-Type-Options", "nosniff")
		}
		cookies := h["Set-Cookie"]
		h.Del("Set-Cookie")
		for _, c := range cookies {
			if !strings.HasPrefix(strings.TrimSpace(c), consoleCookies) {
				h.Add("Set-Cookie", c)
			}
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *apartWriter) Write(p []byte) (int, error) {
	if !w.began {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// FlushError is for [http.ResponseController], as is Unwrap.
func (w *apartWriter) FlushError() error {
	if !w.began {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for [http.ResponseController].
func (w *apartWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
