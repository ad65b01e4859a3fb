package runtimeapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = 1000

// client is a runtime that talks to a session.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func serve(t *testing.T, o Options) (*Session, func() *client) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.MaxPayload = limit
	if o.Now == nil {
		o.Now = time.Now
	}
	s := New(o)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return s, func() *client {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return &client{t, c, bufio.NewReader(c)}
	}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) read() (*http.Response, string) {
	c.t.Helper()
	r, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return r, string(body)
}

func (c *client) want(status int, body string) {
	c.t.Helper()
	if r, got := c.read(); r.StatusCode != status || !strings.Contains(got, body) {
		c.t.Errorf("answer = %d %s; want %d %s", r.StatusCode, got, status, body)
	}
}

func get(path string) string {
	return "GET /2018-06-01/runtime/" + path + " HTTP/1.1\r\nHost: x\r\n\r\n"
}

func post(path, body string, headers ...string) string {
	return fmt.Sprintf("POST /2018-06-01/runtime/%s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", path, strings.Join(headers, ""), len(body), body)
}

func deliver(t *testing.T, s *Session, id string) {
	t.Helper()
	if err := s.Deliver(&Request{ID: id, InvokedARN: "arn", TraceID: "trace", ClientContext: "{\r\n\"a\": 1}", Payload: []byte(`{"e":"` + id + `"}`), Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
}

func outcome(t *testing.T, s *Session, kind Kind, payload string) Outcome {
	t.Helper()
	select {
	case o := <-s.Outcomes():
		if o.Kind != kind || string(o.Payload) != payload {
			t.Errorf("outcome = %v %q; want %v %q", o.Kind, o.Payload, kind, payload)
		}
		return o
	case <-time.After(10 * time.Second):
		t.Fatal("no outcome")
	}
	panic("unreachable")
}

func TestSession(t *testing.T) {
	t.Parallel()
	s, dial := serve(t, Options{Now: func() time.Time { return time.UnixMilli(1_000_000) }})
	c := dial()
	deliver(t, s, "a") // before the runtime asks
	if err := s.Deliver(&Request{ID: "b"}); !errors.Is(err, ErrOutstanding) {
		t.Errorf("second Deliver = %v; want ErrOutstanding", err)
	}
	c.send(get("invocation/next"))
	r, body := c.read()
	if body != `{"e":"a"}` {
		t.Errorf("event = %s", body)
	}
	for name, want := range map[string]string{
		"Lambda-Runtime-Aws-Request-Id": "a", "Lambda-Runtime-Deadline-Ms": "1060000", "Lambda-Runtime-Invoked-Function-Arn": "arn",
		"Lambda-Runtime-Trace-Id": "trace", "Lambda-Runtime-Client-Context": `{  "a": 1}`, "Lambda-Runtime-Cognito-Identity": "",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s = %q; want %q", name, got, want)
		}
	}
	<-s.Ready()

	c.send(get("invocation/next"))
	c.want(403, "InvalidStateTransition")
	c.send(post("invocation/b/response", "x"))
	c.want(400, "InvalidRequestID")
	c.send(post("init/error", "x"))
	c.want(403, "InvalidStateTransition")
	c.send(get("nothing"))
	c.want(404, "")
	c.send(post("invocation/next", ""))
	c.want(405, "")

	// A response and the next request in one go, as Lamina's own clients do, is
	// answered in one go.
	c.send(post("invocation/a/response", "result") + get("invocation/next"))
	outcome(t, s, Responded, "result")
	other := dial()
	other.send(post("invocation/a/response", "again"))
	other.want(403, "InvalidStateTransition")

	deliver(t, s, "b") // to the parked connection
	c.want(202, `{"status":"OK"}`)
	c.read()
	c.send("POST /2018-06-01/runtime/invocation/b/response HTTP/1.1\r\nTransfer-Encoding: chunked\r\nLambda-Runtime-Function-Response-Mode: streaming\r\nTrailer: x\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
	outcome(t, s, Responded, "abcde")
	c.want(202, "")

	deliver(t, s, "c")
	c.send(get("invocation/next"))
	c.read()
	c.send(post("invocation/c/error", `{"errorType":"T"}`, "Lambda-Runtime-Function-Error-Type: T\r\n", "Lambda-Runtime-Function-XRay-Error-Cause: "+strings.Repeat("x", 200<<10)+"\r\n"))
	if o := outcome(t, s, Failed, `{"errorType":"T"}`); o.ErrorType != "T" {
		t.Errorf("error type = %q", o.ErrorType)
	}
	c.want(202, "")

	for _, chunked := range []bool{false, true} {
		deliver(t, s, "d")
		c.send(get("invocation/next"))
		c.read()
		big := strings.Repeat("x", limit+1)
		if chunked {
			c.send(fmt.Sprintf("POST /2018-06-01/runtime/invocation/d/response HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(big), big))
		} else {
			c.send(post("invocation/d/response", big))
		}
		outcome(t, s, TooLarge, "")
		c.want(413, "Exceeded maximum allowed payload size (1000 bytes).")
	}

	// A stream that fails on the way says so at its end.
	deliver(t, s, "e")
	c.send(get("invocation/next"))
	c.read()
	c.send("POST /2018-06-01/runtime/invocation/e/response HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nLambda-Runtime-Function-Error-Type: Late\r\nLambda-Runtime-Function-Error-Body: e30=\r\n\r\n")
	if o := outcome(t, s, Failed, "{}"); o.ErrorType != "Late" {
		t.Errorf("error type = %q", o.ErrorType)
	}
	c.want(202, "")

	// An answer that breaks off is none.
	deliver(t, s, "f")
	c.send(get("invocation/next"))
	c.read()
	half := dial()
	half.send("POST /2018-06-01/runtime/invocation/f/response HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
	half.Close()
	for {
		s.mu.Lock()
		n := len(s.conns)
		s.mu.Unlock()
		if n == 2 { // c and other
			break
		}
		time.Sleep(time.Millisecond) // until the server has seen the end
	}
	c.send(post("invocation/f/response", "whole"))
	outcome(t, s, Responded, "whole")
	c.want(202, "")
}

func TestInitErrorAndReset(t *testing.T) {
	t.Parallel()
	s, dial := serve(t, Options{})
	c := dial()
	deliver(t, s, "a")
	c.send(post("init/error", `{}`, "Lambda-Runtime-Function-Error-Type: Runtime.Bad\r\n"))
	if o := outcome(t, s, InitFailed, "{}"); o.ErrorType != "Runtime.Bad" {
		t.Errorf("error type = %q", o.ErrorType)
	}
	c.want(202, "")
	s.Reset()
	if _, err := c.r.ReadByte(); err == nil {
		t.Error("the former process is still connected")
	}
	if s.Withdraw() {
		t.Error("Withdraw after Reset = true; want nothing to withdraw")
	}
	c = dial()
	c.send(get("invocation/next"))
	<-s.Ready()
	deliver(t, s, "b")
	c.read()
	c.send(post("invocation/b/response", "x"))
	outcome(t, s, Responded, "x")
}

func TestHostileRequests(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"two lengths":         "POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"a length and chunks": "POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"a negative length":   "POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"a giant length":      "POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nContent-Length: 9223372036854775807\r\n\r\n",
		"an endless header":   "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 2<<20),
		"endless headers":     "GET / HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", 400_000),
		"a bad chunk":         "POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"no protocol":         "hello\r\n\r\n",
		"pipelined nexts":     get("invocation/next") + get("invocation/next"),
	} {
		s, dial := serve(t, Options{})
		if name != "pipelined nexts" {
			deliver(t, s, "a")
			c := dial()
			c.send(get("invocation/next"))
			c.read()
		}
		c := dial()
		_, _ = io.WriteString(c, request) // the server may close before it has read all
		_, _ = io.Copy(io.Discard, c)     // returns when the server has closed, with a reset or not
		select {
		case o := <-s.Outcomes():
			t.Errorf("%s: outcome %+v; want none", name, o)
		default:
		}
	}
	s, dial := serve(t, Options{})
	for range maxConnections + 10 {
		dial()
	}
	c := dial()
	if _, err := c.r.ReadByte(); err == nil {
		t.Error("one connection too many is served")
	}
	_ = s
}

// FuzzSession feeds whatever a process may send. Nothing may panic, hang or
// yield more than one outcome.
func FuzzSession(f *testing.F) {
	f.Add([]byte(get("invocation/next") + post("invocation/a/response", "x")))
	f.Add([]byte(get("invocation/next") + post("invocation/a/error", "{}", "Lambda-Runtime-Function-Error-Type: T\r\n") + get("invocation/next")))
	f.Add([]byte(post("init/error", "{}")))
	f.Add([]byte(get("invocation/next") + "POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n"))
	f.Add([]byte("POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := New(Options{MaxPayload: limit, Now: time.Now})
		ours, theirs := net.Pipe()
		c := newConn(s, ours)
		if !s.adopt(c) {
			t.Fatal("not adopted")
		}
		if err := s.Deliver(&Request{ID: "a", Payload: []byte("{}"), Timeout: time.Second}); err != nil {
			t.Fatal(err)
		}
		var running sync.WaitGroup
		running.Go(c.serve)
		running.Go(func() { _, _ = io.Copy(io.Discard, theirs) }) // ends with the connection
		_, _ = theirs.Write(data)                                 // the server may close before it has read all
		theirs.Close()
		running.Wait()
		n := 0
		for len(s.outcomes) > 0 {
			o := <-s.outcomes
			n++
			if len(o.Payload) > limit {
				t.Errorf("payload of %d bytes; want at most %d", len(o.Payload), limit)
			}
		}
		if n > 1 {
			t.Errorf("%d outcomes; want at most one", n)
		}
	})
}
