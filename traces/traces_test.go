package traces

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lamina-run/lamina"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collector takes spans as one of OpenTelemetry does.
type collector struct {
	*httptest.Server

	mu     sync.Mutex
	spans  map[string]otlpSpan // by name
	header http.Header
	wrong  error
	refuse []int // statuses of the next answers
	calls  int
}

func newCollector(t *testing.T) *collector {
	c := &collector{spans: map[string]otlpSpan{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if len(c.refuse) > 0 {
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(c.refuse[0])
		c.refuse = c.refuse[1:]
		return
	}
	c.header = req.Header
	var in otlpRequest
	zip, err := gzip.NewReader(req.Body)
	if err == nil {
		d := json.NewDecoder(zip)
		d.DisallowUnknownFields()
		err = d.Decode(&in)
	}
	if err != nil || req.URL.Path != "/v1/traces" || req.Method != http.MethodPost || len(in.ResourceSpans) != 1 {
		c.wrong = errors.Join(err, errors.New(req.Method+" "+req.URL.Path))
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	for _, s := range in.ResourceSpans[0].ScopeSpans[0].Spans {
		c.spans[s.Name] = s
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("{}")) // the client is gone
}

// text is an attribute, as text.
func text(s otlpSpan, key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			for _, v := range a.Value {
				data, _ := json.Marshal(v) // of JSON
				return strings.Trim(string(data), `"`)
			}
		}
	}
	return ""
}

// running runs a tracer until the returned func is called.
func running(t *testing.T, o Options) (*Tracer, func()) {
	t.Helper()
	o.Log, o.Now = slog.New(slog.NewTextHandler(t.Output(), nil)), time.Now
	tracer, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := tracer.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop := sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(stop)
	return tracer, stop
}

var version = lamina.Version{Function: lamina.FunctionID{Scope: lamina.Scope{Account: "000000000000", Region: "eu-west-1"}, Name: "hello"}, Number: 3}

func TestTrace(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	c.refuse = []int{503, 429}
	tracer, stop := running(t, Options{Endpoint: c.URL + "/", Headers: http.Header{"X-Key": {"secret"}}, Ratio: 1, Version: "1.2.3", Every: time.Hour, Retry: time.Millisecond})
	began := time.Now()
	const root = "Root=1-5759e988-bd862e3fe1be46a994272793"
	next, end := tracer.Request(root+";Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:4", began)
	if !strings.HasPrefix(next, root+";Parent=") || strings.Contains(next, "53995c3f42cd8ad8") || !strings.HasSuffix(next, ";Sampled=1;Lineage=a87bd80c:4") {
		t.Errorf("the request passes on %q; want another parent", next)
	}
	in := lamina.Invocation{RequestID: "r-1", Version: version, InvokedARN: "arn:hello", TraceID: next}
	done := tracer.Invoke(&in)
	inside, ok := lamina.SpanOf(in.TraceID)
	if !ok || !strings.HasSuffix(in.TraceID, ";Sampled=1;Lineage=a87bd80c:4") || in.TraceID == next {
		t.Errorf("the function gets %q; want a parent of its own", in.TraceID)
	}
	done(lamina.Result{FunctionError: "Unhandled", Measures: lamina.Measures{
		Start: began.Add(60 * time.Millisecond), Duration: 40 * time.Millisecond, Waited: time.Millisecond,
		Cold: &lamina.ColdStart{At: began.Add(time.Millisecond), Archives: 9 * time.Millisecond, Runtime: time.Millisecond, Sandbox: 10 * time.Millisecond, Init: 30 * time.Millisecond},
	}}, nil)
	end(Request{Service: "Lambda", Operation: "Invoke", Method: "POST", Path: "/x", RequestID: "r-1", Account: "000000000000", Region: "eu-west-1", Status: 200})
	stop() // sends what is left

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wrong != nil || c.calls != 3 || tracer.Dropped() != 0 {
		t.Fatalf("%d requests, %d spans dropped, %v; want the third to be taken", c.calls, tracer.Dropped(), c.wrong)
	}
	if c.header.Get("X-Key") != "secret" || c.header.Get("User-Agent") != "lamina/1.2.3" {
		t.Errorf("headers %v", c.header)
	}
	invocation, function, cold := c.spans["invoke hello"], c.spans["hello"], c.spans["cold start"]
	for name, want := range map[string]string{ // the parent of each
		"Invoke": "53995c3f42cd8ad8", "invoke hello": c.spans["Invoke"].SpanID, "hello": invocation.SpanID, "cold start": invocation.SpanID,
		"wait for an environment": invocation.SpanID, "archives": cold.SpanID, "runtime": cold.SpanID, "sandbox": cold.SpanID, "init": cold.SpanID,
	} {
		s, ok := c.spans[name]
		if !ok || s.ParentID != want || s.TraceID != "5759e988bd862e3fe1be46a994272793" || s.SpanID == "" {
			t.Errorf("span %s: %+v, %v; want one below %q", name, s, ok, want)
		}
	}
	if len(c.spans) != 9 {
		t.Errorf("%d spans; want 9", len(c.spans))
	}
	parent := inside.Header("")
	if !strings.Contains(parent, "Parent="+function.SpanID) {
		t.Errorf("what the function does is below %s; want %s", parent, function.SpanID)
	}
	if function.Status == nil || function.Status.Code != statusError || c.spans["Invoke"].Status != nil {
		t.Errorf("statuses %v and %v; want that the function failed, and the request did not", function.Status, c.spans["Invoke"].Status)
	}
	if text(function, "faas.coldstart") != "true" || text(function, "faas.version") != "3" || text(c.spans["Invoke"], "http.response.status_code") != "200" || text(c.spans["Invoke"], "rpc.method") != "Invoke" {
		t.Errorf("attributes of %+v and %+v", function, c.spans["Invoke"])
	}
	if c.spans["init"].Start != cold.spanAt(20*time.Millisecond) || c.spans["init"].End != cold.End {
		t.Errorf("init is from %s to %s; want the end of the cold start, %s to %s", c.spans["init"].Start, c.spans["init"].End, cold.Start, cold.End)
	}
}

// spanAt is a while after the begin of a span.
func (s otlpSpan) spanAt(d time.Duration) string {
	n, _ := json.Number(s.Start).Int64() // a number, as OTLP has it
	data, _ := json.Marshal(n + int64(d))
	return string(data)
}

func TestSampling(t *testing.T) {
	t.Parallel()
	const root = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8"
	for _, c := range []struct {
		name, header string
		ratio        float64
		want         bool
	}{
		{"a new trace", "", 1, true},
		{"a new trace, none wanted", "", 0, false},
		{"nonsense", "Root=x", 1, true},
		{"its begin wanted it", root + ";Sampled=1", 0, true},
		{"its begin did not", root + ";Sampled=0", 1, false},
		{"its begin leaves it to us", root + ";Sampled=?", 1, true},
	} {
		tracer, err := New(Options{Endpoint: "http://127.0.0.1:1", Ratio: c.ratio, Log: slog.New(slog.DiscardHandler), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		next, end := tracer.Request(c.header, time.Now())
		in := lamina.Invocation{Version: version, TraceID: next}
		done := tracer.Invoke(&in)
		if s, ok := lamina.SpanOf(next); !ok || s.Sampled != c.want || (end != nil) != c.want || (done != nil) != c.want {
			t.Errorf("%s: %q, request %v, invocation %v; want %v", c.name, next, end != nil, done != nil, c.want)
		}
		if !c.want && in.TraceID != next {
			t.Errorf("%s: the function gets %q; want %q", c.name, in.TraceID, next)
		}
	}
}

// TestCollectorGone: a collector that takes nothing costs spans, not time or memory.
func TestCollectorGone(t *testing.T) {
	t.Parallel()
	stuck := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stuck }))
	defer server.Close()
	defer close(stuck)
	tracer, stop := running(t, Options{Endpoint: server.URL, Ratio: 1, Queue: 100, Every: time.Millisecond, Retry: time.Millisecond})
	began := time.Now()
	const n = 20_000
	for range n {
		_, end := tracer.Request("", began)
		end(Request{Operation: "Invoke", Status: 200})
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("%d requests took %v while nobody collects", n, took)
	}
	tracer.mu.Lock()
	queued := len(tracer.queue)
	tracer.mu.Unlock()
	if lost := tracer.Dropped(); queued > 100 || lost < n-2*batch-100 {
		t.Errorf("%d spans wait and %d are lost; want 100 at most to wait", queued, lost)
	}
	began = time.Now()
	stop()
	if took := time.Since(began); took > lastCall+2*time.Second {
		t.Errorf("stopping took %v", took)
	}
}

func TestConfiguration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"http://127.0.0.1:4318":               "http://127.0.0.1:4318/v1/traces",
		"https://otel.example/otlp/":          "https://otel.example/otlp/v1/traces",
		"https://otel.example/otlp/v1/traces": "https://otel.example/otlp/v1/traces",
		"127.0.0.1:4318":                      "",
		"grpc://127.0.0.1:4317":               "",
		"http://":                             "",
		"http://a?b":                          "",
	} {
		if got, err := ParseEndpoint(text); got != want || (err == nil) != (want != "") {
			t.Errorf("ParseEndpoint(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
	h, err := ParseHeaders("api-key=a%20b, x = y,,")
	if err != nil || h.Get("Api-Key") != "a b" || h.Get("X") != "y" || len(h) != 2 {
		t.Errorf("ParseHeaders = %v, %v", h, err)
	}
	for _, wrong := range []string{"x", "=y", "a b=c", "a=%zz", "a=b%0d%0ac"} {
		if h, err := ParseHeaders(wrong); err == nil {
			t.Errorf("ParseHeaders(%q) = %v; want an error", wrong, h)
		}
	}
}

// BenchmarkInvoke is what following adds to an invocation that nobody follows, and
// to one that somebody does while the queue is full.
func BenchmarkInvoke(b *testing.B) {
	tracer, err := New(Options{Endpoint: "http://127.0.0.1:1", Ratio: 1, Queue: 1, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	for name, header := range map[string]string{
		"not sampled": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
		"sampled":     "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				in := lamina.Invocation{Version: version, TraceID: header}
				if end := tracer.Invoke(&in); end != nil {
					end(lamina.Result{}, nil)
				}
			}
		})
	}
}
