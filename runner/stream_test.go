package runner_test

import (
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/testkit"
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

// TestStreamNobodyReads runs a function that writes more than anybody takes: its
// timeout ends it, and the environment works again.
func TestStreamNobodyReads(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Python)
	h := newHost(t, nil)
	bootstrap, err := os.ReadFile("../test/sdk/testdata/streaming_bootstrap.py")
	if err != nil {
		t.Fatal(err)
	}
	v := h.version(t, "provided.al2023", "x", map[string]string{"bootstrap": string(bootstrap)})
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
