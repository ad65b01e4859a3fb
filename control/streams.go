package control

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/wire"
)

// chunkBytes is how much of a function's result one PayloadChunk carries.
const chunkBytes = 64 << 10

func (p *Plane) registerStreams(r *wire.Router) {
	wire.Handle(r, "InvokeWithResponseStream", p.InvokeWithResponseStream)
}

// Response is what a function answers, while it answers. Whoever has one reads
// it with Next until that returns nil, or calls Abandon, and then calls Result.
type Response struct {
	pipe    *pipe
	ended   chan struct{} // closed by the goroutine that runs the invocation
	version string
	stop    func() bool

	result lamina.Result // once ended is closed
	err    error
}

// respond starts an invocation and returns when its response begins, or it ends
// without one. The release is called when the invocation has ended. When ctx ends
// the response is abandoned; the function runs on to its end.
func (p *Plane) respond(ctx context.Context, in lamina.Invocation, release func()) (*Response, error) {
	r := &Response{pipe: newPipe(), ended: make(chan struct{}), version: in.Version.Qualifier()}
	in.Sink = r.pipe
	go func() { // Result waits for it
		defer close(r.ended)
		defer release()
		defer r.pipe.End()
		defer func() {
			if broken := recover(); broken != nil {
				r.err = fmt.Errorf("panic: %v\n%s", broken, debug.Stack())
			}
		}()
		r.result, r.err = p.run(ctx, in, 0)
	}()
	r.stop = context.AfterFunc(ctx, r.pipe.abandon)
	select {
	case <-r.pipe.began:
		return r, nil
	case <-r.ended:
	}
	if r.err != nil {
		r.stop()
		return nil, r.err
	}
	return r, nil
}

// Version is which version answers.
func (r *Response) Version() string { return r.version }

// Streamed reports whether the function streams, and the content type that it
// gave the response. Otherwise there is nothing for Next, and the Result has all.
func (r *Response) Streamed() (contentType string, ok bool) {
	select {
	case <-r.pipe.began:
		r.pipe.mu.Lock()
		defer r.pipe.mu.Unlock()
		return r.pipe.contentType, true
	default:
		return "", false
	}
}

// Next returns what came since the last call, as soon as something does, and nil
// at the end. The bytes are the caller's until the next call.
func (r *Response) Next() []byte { return r.pipe.next() }

// Abandon says that nobody reads the rest.
func (r *Response) Abandon() { r.pipe.abandon() }

// Result waits for the end of the invocation. An error is Lamina's, not the
// function's.
func (r *Response) Result() (lamina.Result, error) {
	<-r.ended
	r.stop()
	return r.result, r.err
}

// InvokeWithResponseStream runs a version of a function and answers what it
// writes as a stream of events, each when it comes. A function that does not
// stream is answered the same way, when it has returned.
func (p *Plane) InvokeWithResponseStream(ctx context.Context, in *wire.InvokeWithResponseStreamRequest) (*wire.InvokeWithResponseStreamResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	if err := p.checkInvocation(&wire.InvocationRequest{Payload: in.Payload}); err != nil {
		return nil, err
	}
	clientContext, err := clientContextOf(in.ClientContext)
	if err != nil {
		return nil, err
	}
	v, err := p.invocable(ctx, ref)
	if err != nil {
		return nil, err
	}
	if value(in.InvocationType) == "DryRun" {
		return &wire.InvokeWithResponseStreamResponse{StatusCode: ptr[int64](204)}, nil
	}
	trace, err := p.trace(ctx, v, wire.TraceID(ctx))
	if err != nil {
		return nil, err
	}
	release, err := p.enter(ctx, v)
	if err != nil {
		return nil, err
	}
	payload := in.Payload
	if len(payload) == 0 {
		payload = []byte("{}")
	}
	tail := value(in.LogType) == "Tail"
	r, err := p.respond(ctx, lamina.Invocation{
		RequestID: wire.RequestID(ctx), Version: v.Version, InvokedARN: ref.arn(), Payload: payload,
		ClientContext: clientContext, Tail: tail, TraceID: trace,
	}, release)
	if err != nil {
		return nil, p.invokeError(ref, err)
	}
	return &wire.InvokeWithResponseStreamResponse{
		StatusCode: ptr[int64](200), ExecutedVersion: ptr(r.version), ResponseStreamContentType: ptr(wire.EventStreamType),
		EventStream: func(w *wire.EventWriter) { p.writeResponse(ctx, w, r, tail) },
	}, nil
}

// writeResponse writes a response as events: chunks of what the function
// answers, then how it ended. The payload of a function that failed is its error.
func (p *Plane) writeResponse(ctx context.Context, w *wire.EventWriter, r *Response, tail bool) {
	for b := r.Next(); b != nil; b = r.Next() {
		if writeChunks(w, b) != nil {
			r.Abandon()
		}
	}
	result, err := r.Result()
	var complete wire.InvokeComplete
	switch {
	case err != nil:
		p.log.LogAttrs(ctx, slog.LevelError, "streamed invocation failed", slog.String("request_id", wire.RequestID(ctx)), slog.Any("err", err))
		complete.ErrorCode = ptr("ServiceException")
		complete.ErrorDetails = ptr(fmt.Sprintf("Internal error; see the server's log for request %s", wire.RequestID(ctx)))
	case result.FunctionError != "":
		complete.ErrorCode, complete.ErrorDetails = ptr(result.FunctionError), ptr(string(result.Payload))
	default:
		if writeChunks(w, result.Payload) != nil {
			return
		}
	}
	if tail && err == nil {
		complete.LogResult = ptr(base64.StdEncoding.EncodeToString(result.LogTail))
	}
	end, err := json.Marshal(complete)
	if err != nil {
		panic(err) // three strings
	}
	_ = w.Write("InvokeComplete", "application/json", end) // wire ends the connection
}

func writeChunks(w *wire.EventWriter, b []byte) error {
	for len(b) > 0 {
		n := min(len(b), chunkBytes)
		if err := w.Write("PayloadChunk", "application/octet-stream", b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
