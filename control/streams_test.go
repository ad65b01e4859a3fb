package control_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/wire"
)

// events reads a stream with the SDK's decoder: type, then payload of each.
func events(t *testing.T, stream wire.EventStream) (all [][2]string) {
	t.Helper()
	to := httptest.NewRecorder()
	wire.WriteEvents(to, http.StatusOK, stream)
	in, decoder := bytes.NewReader(to.Body.Bytes()), eventstream.NewDecoder()
	for in.Len() > 0 {
		m, err := decoder.Decode(in, nil)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		all = append(all, [2]string{m.Headers.Get(":event-type").String(), string(m.Payload)})
	}
	return all
}

func TestInvokeWithResponseStream(t *testing.T) {
	t.Parallel()
	big := bytes.Repeat([]byte("x"), 150_000)
	s := startEvents(t, eventOptions{answer: func(_ context.Context, in lamina.Invocation) (lamina.Result, error) {
		if string(in.Payload) == `"fail"` {
			return lamina.Result{Payload: []byte(`{"errorType":"E"}`), FunctionError: lamina.Unhandled, LogTail: []byte("log")}, nil
		}
		return lamina.Result{Payload: big}, nil
	}})
	s.function("fn")
	out, err := s.InvokeWithResponseStream(s.ctx, &wire.InvokeWithResponseStreamRequest{FunctionName: "fn"})
	if err != nil {
		t.Fatal(err)
	}
	if *out.StatusCode != 200 || *out.ExecutedVersion != "$LATEST" || *out.ResponseStreamContentType != wire.EventStreamType {
		t.Errorf("answer = %d, %s, %s; want 200, $LATEST, an event stream", *out.StatusCode, *out.ExecutedVersion, *out.ResponseStreamContentType)
	}
	all := events(t, out.EventStream)
	var body string
	for _, e := range all[:len(all)-1] {
		if e[0] != "PayloadChunk" {
			t.Errorf("event %s before the end; want PayloadChunk", e[0])
		}
		body += e[1]
	}
	if body != string(big) || len(all) < 3 {
		t.Errorf("%d bytes in %d events; want %d in chunks", len(body), len(all), len(big))
	}
	if end := all[len(all)-1]; end != [2]string{"InvokeComplete", "{}"} {
		t.Errorf("last event = %q; want an InvokeComplete without a word", end)
	}

	out, err = s.InvokeWithResponseStream(s.ctx, &wire.InvokeWithResponseStreamRequest{FunctionName: "fn", Payload: []byte(`"fail"`), LogType: ptr("Tail")})
	if err != nil {
		t.Fatal(err)
	}
	all = events(t, out.EventStream)
	const want = `{"ErrorCode":"Unhandled","ErrorDetails":"{\"errorType\":\"E\"}","LogResult":"bG9n"}`
	if len(all) != 1 || all[0] != [2]string{"InvokeComplete", want} {
		t.Errorf("events of a failure = %q; want InvokeComplete %s", all, want)
	}

	out, err = s.InvokeWithResponseStream(s.ctx, &wire.InvokeWithResponseStreamRequest{FunctionName: "fn", InvocationType: ptr("DryRun")})
	if err != nil || *out.StatusCode != 204 || out.EventStream != nil {
		t.Errorf("dry run = %+v, %v; want 204 and no stream", out, err)
	}
	_, err = s.InvokeWithResponseStream(s.ctx, &wire.InvokeWithResponseStreamRequest{FunctionName: "absent"})
	wantException(t, "unknown function", err, wire.ResourceNotFound, "Function not found: arn:aws:lambda:eu-west-1:000000000000:function:absent:$LATEST")
}

// decoded reads events from a stream that is still being written.
func decoded(t *testing.T, from io.Reader) (kind, payload string) {
	t.Helper()
	m, err := eventstream.NewDecoder().Decode(from, nil)
	if err != nil {
		t.Fatalf("read an event: %v", err)
	}
	return m.Headers.Get(":event-type").String(), string(m.Payload)
}

// TestResponseStreams runs functions that write before they end.
func TestResponseStreams(t *testing.T) {
	t.Parallel()
	var goOn chan struct{} // the test sends before the function may write on
	gone := make(chan error, 1)
	s := startEvents(t, eventOptions{answer: func(_ context.Context, in lamina.Invocation) (lamina.Result, error) {
		if in.Sink == nil {
			return lamina.Result{Payload: []byte("buffered")}, nil
		}
		in.Sink.Begin("text/plain")
		write := func(text string) error { return in.Sink.Write([]byte(text)) }
		if err := write("one"); err != nil {
			return lamina.Result{}, err
		}
		<-goOn
		switch string(in.Payload) {
		case `"fail"`:
			return lamina.Result{Payload: []byte(`{"errorType":"E"}`), FunctionError: lamina.Unhandled, LogTail: []byte("log")}, nil
		case `"break"`:
			return lamina.Result{}, errors.New("the sandbox is on fire")
		case `"long"`:
			for {
				if err := write(strings.Repeat("x", 100_000)); err != nil {
					gone <- err
					return lamina.Result{}, nil
				}
			}
		}
		return lamina.Result{LogTail: []byte("log")}, write("two")
	}})
	goOn = make(chan struct{}, 1)
	s.function("fn")
	router := wire.NewRouter(wire.Options{Log: slog.New(slog.DiscardHandler)})
	s.Plane.Register(router)
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c := identity.Caller{Account: "000000000000", Region: "eu-west-1", ARN: "arn:aws:iam::000000000000:root"}
		router.ServeHTTP(w, req.WithContext(identity.WithCaller(req.Context(), c)))
	}))
	t.Cleanup(served.Close)
	stream := func(ctx context.Context, payload string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, served.URL+"/2021-11-15/functions/fn/response-streaming-invocations", strings.NewReader(payload))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Log-Type", "Tail")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		<-s.calls
		return resp
	}
	for payload, want := range map[string][][2]string{
		`"ok"`:    {{"PayloadChunk", "two"}, {"InvokeComplete", `{"LogResult":"bG9n"}`}},
		`"fail"`:  {{"InvokeComplete", `{"ErrorCode":"Unhandled","ErrorDetails":"{\"errorType\":\"E\"}","LogResult":"bG9n"}`}},
		`"break"`: {{"InvokeComplete", `"ErrorCode":"ServiceException"`}},
	} {
		resp := stream(t.Context(), payload)
		if got := resp.Header; got.Get("Content-Type") != wire.EventStreamType || got.Get("X-Amz-Executed-Version") != "$LATEST" || resp.StatusCode != 200 {
			t.Errorf("%s: %d %v; want an event stream of $LATEST", payload, resp.StatusCode, got)
		}
		// The function has not ended: goOn holds it.
		if kind, text := decoded(t, resp.Body); kind != "PayloadChunk" || text != "one" {
			t.Errorf("%s: first event = %s %s; want PayloadChunk one", payload, kind, text)
		}
		goOn <- struct{}{}
		for _, w := range want {
			if kind, text := decoded(t, resp.Body); kind != w[0] || !strings.Contains(text, w[1]) {
				t.Errorf("%s: event = %s %s; want %s %s", payload, kind, text, w[0], w[1])
			}
		}
		if rest, err := io.ReadAll(resp.Body); len(rest) != 0 || err != nil {
			t.Errorf("%s: after the last event %q, %v; want the end", payload, rest, err)
		}
	}

	// A client that goes away leaves the function running, and its sink says so.
	ctx, cancel := context.WithCancel(t.Context())
	resp := stream(ctx, `"long"`)
	decoded(t, resp.Body)
	goOn <- struct{}{}
	cancel()
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("the function is not told that its client is gone")
	}

	// Invoke gives no sink, so that the runtime is asked for the whole response.
	out, err := s.Plane.Invoke(s.ctx, &wire.InvocationRequest{FunctionName: "fn"})
	if err != nil || string(out.Payload) != "buffered" {
		t.Errorf("Invoke = %+v, %v; want the buffered response", out, err)
	}
}

func TestResponseStreamRefused(t *testing.T) {
	t.Parallel()
	s := startEvents(t, eventOptions{answer: func(context.Context, lamina.Invocation) (lamina.Result, error) {
		return lamina.Result{}, lamina.ErrBusy
	}})
	s.function("fn")
	in := &wire.InvokeWithResponseStreamRequest{FunctionName: "fn"}
	_, err := s.InvokeWithResponseStream(s.ctx, in)
	wantException(t, "no environment", err, wire.TooManyRequests, "Rate Exceeded.")
	if _, err := s.PutFunctionConcurrency(s.ctx, &wire.PutFunctionConcurrencyRequest{FunctionName: "fn"}); err != nil {
		t.Fatal(err)
	}
	_, err = s.InvokeWithResponseStream(s.ctx, in)
	wantException(t, "no concurrency", err, wire.TooManyRequests, "Rate Exceeded.")
	in.Payload = []byte("{")
	_, err = s.InvokeWithResponseStream(s.ctx, in)
	if !wire.InvalidRequestContent.Is(err) {
		t.Errorf("payload that is no JSON: %v; want InvalidRequestContentException", err)
	}
}
