package server

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/traces"
	"github.com/lamina-run/lamina/wire"
)

// TestTraces: a request's span, and what the function is told of it, whichever way
// the request came.
func TestTraces(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	spans := map[string]string{} // trace and name, by ID
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		zip, err := gzip.NewReader(req.Body)
		if err != nil {
			t.Error(err)
			return
		}
		var in struct {
			ResourceSpans []struct {
				ScopeSpans []struct {
					Spans []struct{ TraceID, SpanID, Name string }
				}
			}
		}
		if err := json.NewDecoder(zip).Decode(&in); err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, s := range in.ResourceSpans[0].ScopeSpans[0].Spans {
			spans[s.SpanID] = s.TraceID + " " + s.Name
		}
	}))
	defer collector.Close()
	tracer, err := traces.New(traces.Options{Endpoint: collector.URL, Ratio: 1, Log: slog.New(slog.DiscardHandler), Now: time.Now, Every: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	running.Go(func() {
		if err := tracer.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()

	function := http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		wire.RecordOf(req.Context()).Operation = "Invoke"
		mu.Lock()
		defer mu.Unlock()
		spans["passed on"] = wire.TraceID(req.Context())
	})
	var answered []string
	s := New(Options{
		Log: slog.New(slog.DiscardHandler), Verifier: identity.NewVerifier(someKeys{"OWN": {ID: "OWN", Secret: "secret", Account: urlAccount}}, time.Now),
		Links: &Links{Now: time.Now}, Services: map[string]http.Handler{"lambda": function}, Tracer: tracer,
		Answered: func(service string, status int) {
			mu.Lock()
			defer mu.Unlock()
			answered = append(answered, service+" "+http.StatusText(status))
		},
	})
	const trace = "5759e988bd862e3fe1be46a994272793"
	send := func(inside bool, headers ...string) {
		req := httptest.NewRequest(http.MethodPost, "http://lamina.test/2015-03-31/functions/fn/invocations", strings.NewReader(""))
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		if inside {
			req = req.WithContext(wire.WithTraceID(identity.WithCaller(req.Context(), identity.Caller{Account: urlAccount}), req.Header.Get("X-Amzn-Trace-Id")))
			if _, err := s.Do("lambda", req); err != nil {
				t.Error(err)
			}
			return
		}
		sign(t, req, "OWN", "lambda", urlRegion, "")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		if w.Code != 200 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	for _, c := range []struct {
		name    string
		inside  bool
		headers []string
	}{
		{"of X-Ray", false, []string{"X-Amzn-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"}},
		{"of the W3C", false, []string{"Traceparent", "00-" + trace + "-53995c3f42cd8ad8-01"}},
		{"from inside", true, []string{"X-Amzn-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"}},
	} {
		mu.Lock()
		clear(spans)
		mu.Unlock()
		send(c.inside, c.headers...)
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			mu.Lock()
			span, ok := lamina.SpanOf(spans["passed on"])
			_, header, _ := strings.Cut(span.Header(""), "Parent=")
			parent, _, _ := strings.Cut(header, ";")
			got := spans[parent]
			mu.Unlock()
			if ok && span.Sampled && got == trace+" Invoke" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %q is passed on, and the collector has %q", c.name, spans["passed on"], spans)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"lambda OK", "lambda OK"}; !slices.Equal(answered, want) {
		t.Errorf("answered %q; want %q", answered, want)
	}
}

// TestTraceOfW3C: a function learns of a W3C trace without anybody who collects.
func TestTraceOfW3C(t *testing.T) {
	t.Parallel()
	s := serveURLs(t, lamina.FunctionURL{AuthType: lamina.URLAuthNone}, public()...)
	resp := s.get("Traceparent", "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01")
	const want = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
	if got, _ := s.seen(); !strings.HasPrefix(got.TraceID, want) || resp.Header.Get("X-Amzn-Trace-Id") != want {
		t.Errorf("the function gets %q and the client %q; want %q", got.TraceID, resp.Header.Get("X-Amzn-Trace-Id"), want)
	}
}
