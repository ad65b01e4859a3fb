package runtimeapi

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
)

// sink keeps what it gets, and fails once it has enough.
type sink struct {
	enough int // bytes; 0 is no bound
	begun  chan string
	came   chan string // what each Write got, while there is room

	mu   sync.Mutex
	got  strings.Builder
	late bool // a Write after one that failed
	full bool
}

func newSink() *sink { return &sink{begun: make(chan string, 1), came: make(chan string, 100)} }

func (s *sink) Begin(contentType string) { s.begun <- contentType }

func (s *sink) Write(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = s.full
	s.got.Write(p)
	select {
	case s.came <- string(p):
	default:
	}
	if s.enough > 0 && s.got.Len() >= s.enough {
		s.full = true
		return errors.New("enough")
	}
	return nil
}

func (*sink) End() {}

func (s *sink) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.String()
}

func deliverTo(t *testing.T, s *Session, id string, to lamina.Sink) {
	t.Helper()
	if err := s.Deliver(&Request{ID: id, InvokedARN: "arn", Payload: []byte("{}"), Timeout: time.Minute, Sink: to}); err != nil {
		t.Fatal(err)
	}
}

const streamLimit = 5000

// streamed begins a response in streaming mode.
func streamed(id string, headers ...string) string {
	return "POST /2018-06-01/runtime/invocation/" + id + "/response HTTP/1.1\r\nHost: x\r\nlambda-runtime-function-response-mode: Streaming\r\n" +
		strings.Join(headers, "") + "Transfer-Encoding: chunked\r\n\r\n"
}

func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

func TestStream(t *testing.T) {
	t.Parallel()
	long := `{"errorType":"Late","errorMessage":"` + strings.Repeat("m", 20_000) + `"}`
	tiny := strings.Repeat(chunk("x"), streamLimit)
	for name, c := range map[string]struct {
		request  string
		sent     string // to the sink
		mimeType string
		kind     Kind
		payload  string
		errType  string
		status   int // of the answer; 0 when the connection is cut
		body     string
		enough   int
	}{
		"chunks":               {request: streamed("a", "Content-Type: text/plain; charset=utf-8\r\n") + chunk("one") + chunk("two") + "0\r\n\r\n", sent: "onetwo", mimeType: "text/plain; charset=utf-8", kind: Responded, status: 202},
		"nothing":              {request: streamed("a") + "0\r\n\r\n", kind: Responded, status: 202},
		"as many as may be":    {request: streamed("a") + tiny + "0\r\n\r\n", sent: strings.Repeat("x", streamLimit), kind: Responded, status: 202},
		"with a length":        {request: post("invocation/a/response", "whole", "Lambda-Runtime-Function-Response-Mode: streaming\r\n"), sent: "whole", kind: Responded, status: 202},
		"trailers of an error": {request: streamed("a") + chunk("one") + "0\r\nLambda-Runtime-Function-Error-Type: Late\r\nLambda-Runtime-Function-Error-Body: " + base64.StdEncoding.EncodeToString([]byte(long)) + "\r\n\r\n", sent: "one", kind: Failed, payload: long, errType: "Late", status: 202},
		"a trailer that is no base64": {
			request: streamed("a") + "0\r\nLambda-Runtime-Function-Error-Type: Late\r\nLambda-Runtime-Function-Error-Body: ?\r\n\r\n",
			kind:    Failed, errType: "Late", status: 202,
		},
		"too large":               {request: streamed("a") + chunk(strings.Repeat("y", streamLimit)) + chunk("z") + chunk("z") + "0\r\n\r\n", sent: strings.Repeat("y", streamLimit), kind: TooLarge, status: 413},
		"nobody wants it":         {request: streamed("a") + chunk("one") + chunk("two") + chunk("three") + "0\r\n\r\n", enough: 3, kind: Responded, status: 202},
		"no end":                  {request: streamed("a") + chunk("one") + "5\r\ntw", sent: "onetw", kind: Truncated},
		"not chunked after all":   {request: streamed("a") + chunk("one") + "no number\r\n", sent: "one", kind: Truncated, status: 400},
		"shorter than its length": {request: "POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nLambda-Runtime-Function-Response-Mode: streaming\r\nContent-Length: 10\r\n\r\nshort", sent: "short", kind: Truncated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, dial := serve(t, Options{MaxStream: streamLimit})
			to := newSink()
			to.enough = c.enough
			deliverTo(t, s, "a", to)
			next := dial()
			next.send(get("invocation/next"))
			next.want(200, "{}")
			r := dial()
			r.send(c.request)
			if c.status == 0 {
				closeWrite(t, r)
			}
			o := outcome(t, s, c.kind, c.payload)
			if o.ErrorType != c.errType {
				t.Errorf("error type = %q; want %q", o.ErrorType, c.errType)
			}
			if c.kind == TooLarge && o.Limit != streamLimit {
				t.Errorf("limit = %d; want %d", o.Limit, streamLimit)
			}
			if got := <-to.begun; got != c.mimeType {
				t.Errorf("content type = %q; want %q", got, c.mimeType)
			}
			if got := to.text(); c.enough == 0 && got != c.sent {
				t.Errorf("the sink got %d bytes %.50q; want %d %.50q", len(got), got, len(c.sent), c.sent)
			}
			if to.late {
				t.Error("Write after a Write that failed")
			}
			if c.status != 0 {
				r.want(c.status, c.body)
			}
			if s.Streaming() {
				t.Error("still streaming after the outcome")
			}
		})
	}
}

func closeWrite(t *testing.T, c *client) {
	t.Helper()
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		t.Fatalf("%T can not be closed half", c.Conn)
	}
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// TestStreamArrives holds a stream open and sees each piece come at once.
func TestStreamArrives(t *testing.T) {
	t.Parallel()
	s, dial := serve(t, Options{MaxStream: streamLimit})
	to := newSink()
	deliverTo(t, s, "a", to)
	next, r := dial(), dial()
	next.send(get("invocation/next"))
	next.want(200, "{}")
	r.send(streamed("a"))
	<-to.begun
	if !s.Streaming() {
		t.Error("Streaming() = false after Begin")
	}
	for _, piece := range []string{"one", "two"} {
		r.send(chunk(piece))
		select {
		case got := <-to.came:
			if got != piece {
				t.Errorf("the sink got %q; want %q", got, piece)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%q does not arrive while the stream is open", piece)
		}
	}
	other := dial()
	other.send(post("invocation/a/response", "again"))
	other.want(403, "InvalidStateTransition")
	r.send("0\r\n\r\n")
	outcome(t, s, Responded, "")
	r.want(202, "OK")

	// The next invocation is none of this sink's business.
	deliver(t, s, "b")
	next.send(get("invocation/next"))
	next.want(200, `{"e":"b"}`)
	r.send(streamed("b") + chunk("buf") + chunk("fered") + "0\r\n\r\n")
	outcome(t, s, Responded, "buffered")
	r.want(202, "OK")
	if got := to.text(); got != "onetwo" {
		t.Errorf("the sink of another invocation got %q", got)
	}
}

func TestStreamMode(t *testing.T) {
	t.Parallel()
	s, dial := serve(t, Options{MaxStream: streamLimit})
	to := newSink()
	deliverTo(t, s, "a", to)
	c := dial()
	c.send(get("invocation/next"))
	c.want(200, "{}")
	c.send(post("invocation/a/response", "x", "Lambda-Runtime-Function-Response-Mode: backwards\r\n"))
	c.want(400, "InvalidFunctionResponseMode")
	c.send(post("invocation/a/response", "whole", "Lambda-Runtime-Function-Response-Mode: buffered\r\n"))
	outcome(t, s, Responded, "whole")
	c.want(202, "OK")
	if len(to.begun) != 0 {
		t.Error("a buffered response began a stream")
	}
}

// TestDrained: what a process wrote before it ended has been read once Drained says
// so, and who goes on is waited for.
func TestDrained(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		last string
		kind Kind
		sent string
	}{
		"half a stream": {streamed("a") + chunk("one"), Truncated, "one"},
		"an answer":     {post("invocation/a/response", "whole"), Responded, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, dial := serve(t, Options{MaxStream: streamLimit})
			to := newSink()
			deliverTo(t, s, "a", to)
			process, child := dial(), dial()
			process.send(get("invocation/next"))
			process.want(200, "{}")
			child.send(post("init/error", "{}")) // refused; the connection is known
			child.read()
			process.send(c.last)
			process.Close()
			drained := s.Drained()
			select {
			case <-drained:
				t.Error("drained while a connection is open")
			case <-time.After(50 * time.Millisecond):
			}
			child.Close()
			select {
			case <-drained:
			case <-time.After(10 * time.Second):
				t.Fatal("not drained, though all connections have ended")
			}
			select {
			case o := <-s.Outcomes():
				if o.Kind != c.kind {
					t.Errorf("outcome = %v; want %v", o.Kind, c.kind)
				}
			default:
				t.Error("drained before all was read")
			}
			if got := to.text(); got != c.sent {
				t.Errorf("the sink has %q; want %q", got, c.sent)
			}
		})
	}
	s, _ := serve(t, Options{})
	select {
	case <-s.Drained():
	default:
		t.Error("without connections it is not drained")
	}
}
