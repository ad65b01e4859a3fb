package wire

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"runtime/debug"
	"strings"
)

// Limits of the service, in bytes.
const (
	DefaultMaxBody = 70167211 // a request that carries a zip
	DefaultMaxZip  = 52428800 // the zip itself
	maxDocument    = 6 << 20  // JSON without the zip, and a payload
)

// Options of a [Router].
type Options struct {
	Log *slog.Logger // for errors that clients are not told; nil discards

	// Stage opens the storage that a request's zip is written to while it is
	// read. Operations that carry a zip answer ServiceException without it.
	Stage func(ctx context.Context) (Upload, error)

	// Authorize answers the exception of a caller who may not do what a request asks
	// for, and returns the context for its handler. Nil allows everything.
	Authorize func(ctx context.Context, operation string, in any) (context.Context, error)

	MaxBody    int64 // of a request that carries a zip; 0 is DefaultMaxBody
	MaxZip     int64 // 0 is DefaultMaxZip
	MaxPayload int64 // of an invocation; less than 6 MiB is 6 MiB, and the handler's to refuse
}

// Router is the HTTP handler of the service. Its operations are registered with
// [Handle] before it serves.
type Router struct {
	opts   Options
	routes map[int][]*route // by number of path segments
	byName map[string]*route
}

type route struct {
	Operation
	segments []string // a variable is its name in braces
	query    [2]string

	input, output *shape
	call          func(ctx context.Context, in any) (any, error) // nil: not offered
	declined      string                                         // why it will not be offered, or empty
}

// NewRouter makes a router that knows all operations and offers none.
func NewRouter(o Options) *Router {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	o.MaxPayload = max(o.MaxPayload, maxDocument)
	if o.MaxZip == 0 {
		o.MaxZip = DefaultMaxZip
	}
	r := &Router{opts: o, routes: map[int][]*route{}, byName: map[string]*route{}}
	for _, op := range operations {
		rt := &route{Operation: op, segments: strings.Split(strings.Trim(op.Path, "/"), "/")}
		n := len(rt.segments)
		if key, value, ok := strings.Cut(op.Query, "="); ok {
			rt.query = [2]string{key, value}
			r.routes[n] = append([]*route{rt}, r.routes[n]...) // asked before the one without
		} else {
			r.routes[n] = append(r.routes[n], rt)
		}
		r.byName[op.Name] = rt
	}
	return r
}

// Handle makes r offer an operation. It panics if the operation is unknown,
// offered already, or has another input or output.
func Handle[In, Out any](r *Router, operation string, fn func(context.Context, *In) (*Out, error)) {
	rt, ok := r.byName[operation]
	switch {
	case !ok:
		panic("wire: unknown operation " + operation)
	case rt.call != nil || rt.declined != "":
		panic("wire: operation " + operation + " has a handler already, or is declined")
	case rt.in != reflect.TypeFor[In]() || rt.out != reflect.TypeFor[Out]():
		panic(fmt.Sprintf("wire: operation %s is func(%s) %s", operation, rt.in, rt.out))
	}
	rt.input, rt.output = shapeOf(rt.in), shapeOf(rt.out)
	rt.call = func(ctx context.Context, in any) (any, error) {
		out, err := fn(ctx, in.(*In))
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = new(Out)
		}
		return out, nil
	}
}

// Decline says why an operation is not going to be offered; its answer does, too.
// What is the feature that it belongs to, in the plural. It panics if the
// operation is unknown or offered.
func (r *Router) Decline(operation, what string) {
	rt, ok := r.byName[operation]
	if !ok || rt.call != nil {
		panic("wire: can not decline operation " + operation)
	}
	rt.declined = what
}

// Declined names the feature for which an operation is declined, or is empty.
func (r *Router) Declined(name string) string {
	rt, ok := r.byName[name]
	if !ok {
		return ""
	}
	return rt.declined
}

// Handled reports whether an operation is offered.
func (r *Router) Handled(name string) bool {
	rt, ok := r.byName[name]
	return ok && rt.call != nil
}

// Match names the operation that a request asks for, offered or not. It looks
// at method, path and query only.
func (r *Router) Match(req *http.Request) (operation string, ok bool) {
	rt, _, ex := r.match(req)
	if ex != nil {
		return "", false
	}
	return rt.Name, true
}

func (r *Router) match(req *http.Request) (*route, map[string]string, *Exception) {
	// Escaped, because an ARN or a slash inside a name is one segment.
	parts := strings.Split(strings.Trim(req.URL.EscapedPath(), "/"), "/")
	found := UnknownOperation
	for _, rt := range r.routes[len(parts)] {
		params, ok := rt.params(parts)
		if !ok {
			continue
		}
		if rt.query[0] != "" && req.URL.Query().Get(rt.query[0]) != rt.query[1] {
			continue
		}
		if rt.Method != req.Method {
			found = MethodNotAllowed
			continue
		}
		return rt, params, nil
	}
	return nil, nil, found.Errorf("No operation of this service has the request %s %s", req.Method, req.URL.Path)
}

func (rt *route) params(parts []string) (map[string]string, bool) {
	var params map[string]string
	for i, s := range rt.segments {
		name, variable := strings.CutPrefix(s, "{")
		if !variable {
			if s != parts[i] {
				return nil, false
			}
			continue
		}
		value, err := url.PathUnescape(parts[i])
		if err != nil || value == "" {
			return nil, false
		}
		if params == nil {
			params = make(map[string]string, 3)
		}
		params[strings.TrimSuffix(name, "}")] = value
	}
	return params, true
}

type requestIDKey struct{}

// WithRequestID gives the request of ctx an ID.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// RequestID of ctx, or empty. Handlers always have one.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

type traceIDKey struct{}

// WithTraceID gives the request of ctx an X-Amzn-Trace-Id; an empty one is none.
func WithTraceID(ctx context.Context, header string) context.Context {
	if header == "" {
		return ctx
	}
	return context.WithValue(ctx, traceIDKey{}, header)
}

// TraceID of ctx as the client sent it, or empty.
func TraceID(ctx context.Context) string {
	header, _ := ctx.Value(traceIDKey{}).(string)
	return header
}

func newRequestID() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

const (
	requestIDHeader = "X-Amzn-Requestid"
	traceHeader     = "X-Amzn-Trace-Id"
)

// ServeHTTP answers one request of the service. It returns after the handler of
// the operation has returned and the request's upload is released.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	ctx := req.Context()
	if RequestID(ctx) == "" {
		ctx = WithRequestID(ctx, newRequestID())
	}
	if w.Header().Get(requestIDHeader) == "" {
		w.Header().Set(requestIDHeader, RequestID(ctx))
	}
	rt, params, ex := r.match(req)
	if ex != nil {
		WriteException(w, ex)
		return
	}
	if rt.call == nil && rt.declined != "" {
		WriteException(w, NotImplemented.Errorf("Lamina does not offer %s, and so not %s.", rt.declined, rt.Name))
		return
	}
	if rt.call == nil {
		WriteException(w, NotImplemented.Errorf("Lamina does not offer %s yet.", rt.Name))
		return
	}
	record := RecordOf(ctx)
	record.Operation, record.Mutates = rt.Name, rt.mutates()
	answer, err := r.serve(ctx, rt, req, params)
	if err != nil {
		answer.exception = r.exception(ctx, rt, err)
		record.Code = answer.exception.Code()
	}
	if record.Trace != "" {
		w.Header().Set(traceHeader, record.Trace)
	}
	answer.write(w)
}

// serve runs one operation, from the request's bytes to the answer's.
func (r *Router) serve(ctx context.Context, rt *route, req *http.Request, params map[string]string) (a answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // net/http's own sentinel, compared as net/http does
				panic(p)
			}
			err = &panicError{p, debug.Stack()}
		}
	}()
	body, err := r.readBody(ctx, rt, req)
	if err != nil {
		return a, err
	}
	if body.upload != nil {
		defer body.upload.Discard() //nolint:errcheck // nothing after Keep; before, the sweeper has it too
	}
	in, err := rt.decode(req, params, body)
	if err != nil {
		return a, err
	}
	if record := RecordOf(ctx); record.Mutates {
		record.tell(in)
	}
	if !rt.hasPayload() {
		ctx = withDocument(ctx, body.document)
	}
	if r.opts.Authorize != nil {
		ctx, err = r.opts.Authorize(ctx, rt.Name, in)
	}
	var out any
	if err == nil {
		out, err = rt.call(ctx, in)
	}
	if err != nil {
		if AccessDenied.Is(err) {
			RecordOf(ctx).tell(in)
		}
		return a, err
	}
	return rt.encode(out)
}

// mutates says whether an operation may change something other than by running code.
func (rt *route) mutates() bool { return rt.Method != http.MethodGet && !rt.hasPayload() }

// exception is what the client sees of err. What it does not see is logged here,
// and nowhere else.
func (r *Router) exception(ctx context.Context, rt *route, err error) *Exception {
	if ex, ok := errors.AsType[*Exception](err); ok {
		return ex
	}
	level, text := slog.LevelError, "operation failed"
	if _, broken := errors.AsType[*panicError](err); !broken && errors.Is(ctx.Err(), context.Canceled) {
		level, text = slog.LevelDebug, "client gone"
	}
	r.opts.Log.LogAttrs(ctx, level, text, slog.String("operation", rt.Name),
		slog.String("request_id", RequestID(ctx)), slog.Any("err", err))
	return Service.Errorf("Internal error; see the server's log for request %s", RequestID(ctx))
}

// panicError is a panic of a handler.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }
