package runner_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/runner/runtimes"
)

// stuckSink takes a few bytes and then waits for its end, as a pipe does whose
// reader stalls.
type stuckSink struct {
	ended chan struct{} // closed by End
	once  sync.Once

	mu    sync.Mutex
	got   strings.Builder
	stuck bool
}

func (*stuckSink) Begin(string) {}

func (s *stuckSink) Write(p []byte) error {
	s.mu.Lock()
	s.got.Write(p)
	s.stuck = s.got.Len() > 1000
	stuck := s.stuck
	s.mu.Unlock()
	if stuck {
		<-s.ended
		return os.ErrClosed
	}
	return nil
}

func (s *stuckSink) End() { s.once.Do(func() { close(s.ended) }) }

// takingSink takes everything.
type takingSink struct {
	mu  sync.Mutex
	got strings.Builder
}

func (*takingSink) Begin(string) {}

func (s *takingSink) Write(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got.Write(p)
	return nil
}

func (*takingSink) End() {}

// TestStreamProducedBytes: platform.runtimeDone tells how much was produced, of a
// streamed response too.
func TestStreamProducedBytes(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Node)
	log := &events{}
	h := loggedHost(t, nil, nil, log)
	found, _ := h.runtimes.Interpreters(t.Context())
	at := slices.IndexFunc(found, func(in runtimes.Interpreter) bool { return lamina.RuntimeFamily(in.Runtime) == "nodejs" })
	if at < 0 {
		t.Fatal("no Node.js")
	}
	v := h.version(t, found[at].Runtime, "index.handler", map[string]string{"index.js": `
const { pipeline, finished } = require('stream/promises');
const { Readable } = require('stream');
exports.handler = awslambda.streamifyResponse(async (event, out) => {
  if (event.pipe) { await pipeline(Readable.from(['x'.repeat(70000), 'y']), out); await finished(out); } else { out.end('12345'); await finished(out); }
});
`})
	v.Config.Logging.Format, v.Config.Logging.SystemLevel = "JSON", "DEBUG"
	for _, c := range []struct {
		name, event string
		sink        bool
		want        int
	}{
		{"streamed", `{}`, true, 5},
		{"through a pipeline", `{"pipe":true}`, true, 70001},
		{"collected", `{"pipe":true}`, false, 70001},
	} {
		log.clear()
		in := lamina.Invocation{RequestID: requestID, Version: v, InvokedARN: v.Function.ARN(), Payload: []byte(c.event)}
		taken := &takingSink{}
		if c.sink {
			in.Sink = taken
		}
		r, err := h.Invoke(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if got := taken.got.Len() + len(r.Payload); got != c.want || r.FunctionError != "" {
			t.Errorf("%s: %d bytes, %s %.200s; want %d", c.name, got, r.FunctionError, r.Payload, c.want)
		}
		var events []map[string]any
		for _, line := range log.list() {
			var e map[string]any
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if e["type"] == "platform.runtimeDone" {
				events = append(events, e["record"].(map[string]any)["metrics"].(map[string]any))
			}
		}
		if len(events) != 1 || events[0]["producedBytes"] != float64(c.want) {
			t.Errorf("%s: runtimeDone = %v; want %d bytes", c.name, events, c.want)
		}
	}
}

// streamer does what its event says.
func streamer(t *testing.T, h *host) lamina.Version {
	t.Helper()
	bootstrap, err := os.ReadFile("../test/sdk/testdata/streaming_bootstrap.py")
	if err != nil {
		t.Fatal(err)
	}
	return h.version(t, "provided.al2023", "x", map[string]string{"bootstrap": string(bootstrap)})
}

// TestStreamExit: that a stream broke off is told by the exit of its process,
// whichever of the two is seen first.
func TestStreamExit(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Python)
	h := newHost(t, nil)
	v := streamer(t, h)
	for range 40 {
		s := &takingSink{}
		r, err := h.Invoke(t.Context(), lamina.Invocation{
			RequestID: requestID, Version: v, InvokedARN: v.Function.ARN(), Sink: s,
			Payload: []byte(`{"steps": [{"write": "one"}, {"exit": 3}]}`),
		})
		if err != nil {
			t.Fatal(err)
		}
		if s.got.String() != "one" || !strings.Contains(string(r.Payload), "exit status 3") {
			t.Fatalf("%q, then %s %s; want one, then exit status 3", s.got.String(), r.FunctionError, r.Payload)
		}
	}
}

// TestStreamNobodyReads runs a function that writes more than anybody takes: its
// timeout ends it, and the environment works again.
func TestStreamNobodyReads(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Python)
	h := newHost(t, nil)
	v := streamer(t, h)
	v.Config.Timeout = 3
	s := &stuckSink{ended: make(chan struct{})}
	began := time.Now()
	r, err := h.Invoke(t.Context(), lamina.Invocation{
		RequestID: requestID, Version: v, InvokedARN: v.Function.ARN(), Sink: s,
		Payload: []byte(`{"steps": [{"write": "begun"}, {"sleep": 0.2}, {"fill": 50000000}]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.FunctionError != lamina.Unhandled || !strings.Contains(string(r.Payload), "Task timed out after 3.00 seconds") {
		t.Errorf("result = %s %s; want a timeout", r.FunctionError, r.Payload)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("the invocation took %v with a timeout of 3s", took)
	}
	select {
	case <-s.ended:
	default:
		t.Error("the sink was not ended")
	}
	s.mu.Lock()
	if got := s.got.String(); !strings.HasPrefix(got, "begun") || !s.stuck {
		t.Errorf("the sink got %d bytes; want more than it can take", len(got))
	}
	s.mu.Unlock()
	if r := h.invoke(t, v, `{"reply": "fine"}`); string(r.Payload) != `"fine"` {
		t.Errorf("the next invocation = %s %s; want fine", r.Payload, r.FunctionError)
	}
}
