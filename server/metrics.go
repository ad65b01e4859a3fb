package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/lamina-run/lamina/metrics"
)

// MetricsPath is where Prometheus finds figures of the whole machine.
const MetricsPath = "/metrics"

// NewMetrics serves what write writes to whoever has the token. Names of all
// accounts' functions are in it, and functions reach the endpoint: so nobody is
// let in without.
func NewMetrics(token string, write func(*metrics.Text)) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET", http.StatusMethodNotAllowed)
			return
		}
		scheme, given, _ := strings.Cut(req.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(given))) // of one length, so that comparing tells nothing of it
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="metrics"`)
			http.Error(w, "the token is in the file metrics-token of the data directory", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", metrics.ContentType)
		w.Header().Set("Cache-Control", "no-store")
		text := metrics.NewText(w)
		write(text)
		_ = text.Flush() // the client is gone
	})
}
