package control_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/wire"
)

// events reads a stream with the SDK's decoder: type, then payload of each.
func events(t *testing.T, stream []byte) (all [][2]string) {
	t.Helper()
	in, decoder := bytes.NewReader(stream), eventstream.NewDecoder()
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
