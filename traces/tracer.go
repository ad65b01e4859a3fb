package traces

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
)

// Options configures [New]. Endpoint, Log and Now are required.
type Options struct {
	// Endpoint is the collector's URL; spans go to v1/traces below it.
	Endpoint string
	// Headers go with each request to it.
	Headers http.Header
	// Ratio is how many of the traces that begin here are wanted, from 0 to 1. Of
	// others, who began them decides.
	Ratio float64
	// Version of the server.
	Version string
	Log     *slog.Logger
	Now     func() time.Time
	// Proxy chooses one for a request, as that of http.Transport; nil uses none.
	Proxy func(*http.Request) (*url.URL, error)
	// Queue bounds the spans that wait to be sent; zero is 8192. More are dropped.
	Queue int
	// Every is how long spans wait for others to be sent with; zero is a second.
	Every time.Duration
	// Retry is the wait before the second attempt to send, which then doubles; zero
	// is a second.
	Retry time.Duration
}

// Tracer makes spans and sends them. [Tracer.Run] must run meanwhile.
type Tracer struct {
	o      Options
	url    string
	client *http.Client
	wake   chan struct{} // whoever fills half a batch sends without blocking; Run receives; never closed

	mu      sync.Mutex
	queue   []span
	dropped uint64 // since it was last logged
	total   uint64
}

// ParseEndpoint checks the URL of a collector, and returns where spans go.
func ParseEndpoint(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q: want a URL such as http://127.0.0.1:4318", text)
	}
	if !strings.HasSuffix(u.Path, "/v1/traces") {
		u.Path = strings.TrimSuffix(u.Path, "/") + "/v1/traces"
	}
	return u.String(), nil
}

// ParseHeaders reads name=value pairs with commas between them, percent-encoded as
// OTEL_EXPORTER_OTLP_HEADERS has them.
func ParseHeaders(text string) (http.Header, error) {
	h := http.Header{}
	for pair := range strings.SplitSeq(text, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || name == "" || strings.ContainsAny(name, " \t\r\n:") || strings.ContainsAny(value, "\r\n") {
			return nil, errors.New("want NAME=VALUE, with commas between several") // what is wrong may be a secret
		}
		h.Add(name, value)
	}
	return h, nil
}

// New returns a tracer that has sent nothing.
func New(o Options) (*Tracer, error) {
	at, err := ParseEndpoint(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("open traces: %w", err)
	}
	o.Queue, o.Every, o.Retry = cmp.Or(o.Queue, 8192), cmp.Or(o.Every, time.Second), cmp.Or(o.Retry, time.Second)
	return &Tracer{
		o: o, url: at, wake: make(chan struct{}, 1),
		client: &http.Client{Transport: &http.Transport{Proxy: o.Proxy, MaxIdleConns: 1, IdleConnTimeout: time.Minute}, Timeout: sendTime},
	}, nil
}

// maxPath is how much of a path a span has.
const maxPath = 1024

// Request is what is told of a request when it is answered.
type Request struct {
	Service   string // signing name, or empty for a function URL
	Operation string
	Method    string
	Path      string
	RequestID string
	Account   string
	Region    string
	Status    int
}

// Request says that a request began, with the X-Amzn-Trace-Id that it had, if
// any. Next is the header of what happens because of it. The func is called once,
// with what is told of the request; it is nil when nobody wants the trace.
func (t *Tracer) Request(header string, began time.Time) (next string, end func(Request)) {
	s, ok := lamina.SpanOf(header)
	if !ok {
		s = lamina.Span{Trace: newTrace(began), Sampled: true}
		s.Sampled = rand.Float64() < t.o.Ratio
	} else if !s.Decided {
		s.Sampled = rand.Float64() < t.o.Ratio
	}
	parent := s.ID
	s.ID = newID()
	next = s.Header(header)
	if !s.Sampled {
		return next, nil
	}
	return next, func(r Request) {
		name := r.Operation
		if name == "" {
			name = r.Method
		}
		out := span{
			trace: s.Trace, id: s.ID, parent: parent, name: name, kind: kindServer, start: began, end: t.o.Now(), failed: r.Status >= 500,
			attributes: []attribute{
				{"http.request.method", r.Method},
				{"url.path", r.Path[:min(len(r.Path), maxPath)]},
				{"http.response.status_code", strconv.Itoa(r.Status)},
				{"aws.request_id", r.RequestID},
				{"cloud.account.id", r.Account},
				{"cloud.region", r.Region},
			},
		}
		if r.Service != "" {
			out.attributes = append(out.attributes, attribute{"rpc.system", "aws-api"}, attribute{"rpc.service", r.Service}, attribute{"rpc.method", r.Operation})
		}
		t.add(out)
	}
}

// Invoke says that an invocation begins; see control.Tracer.
func (t *Tracer) Invoke(in *lamina.Invocation) func(lamina.Result, error) {
	s, ok := lamina.SpanOf(in.TraceID)
	if !ok || !s.Sampled {
		return nil
	}
	began := t.o.Now()
	parent, invocation, work := s.ID, newID(), newID()
	s.ID = work
	in.TraceID = s.Header(in.TraceID)
	v, requestID, arn := &in.Version, in.RequestID, in.InvokedARN
	name, number, account, region := v.Function.Name, v.Qualifier(), v.Function.Account, v.Function.Region
	return func(r lamina.Result, err error) {
		m := &r.Measures
		out := span{
			trace: s.Trace, id: invocation, parent: parent, name: "invoke " + name, kind: kindInternal, start: began, end: t.o.Now(),
			attributes: []attribute{
				{"faas.invoked_name", name},
				{"faas.invoked_provider", "lamina"},
				{"faas.invoked_region", region},
				{"aws.lambda.invoked_arn", arn},
				{"faas.invocation_id", requestID},
			},
		}
		if err != nil {
			out.failed, out.message = true, "the function did not run"
		}
		spans := append(make([]span, 0, 8), out)
		child := func(id, parent [8]byte, name string, at time.Time, took time.Duration) *span {
			spans = append(spans, span{trace: s.Trace, id: id, parent: parent, name: name, kind: kindInternal, start: at, end: at.Add(took)})
			return &spans[len(spans)-1]
		}
		if m.Waited > 0 {
			child(newID(), invocation, "wait for an environment", began, m.Waited)
		}
		if c := m.Cold; c != nil {
			whole := newID()
			child(whole, invocation, "cold start", c.At, c.Total())
			at := c.At
			for _, part := range [...]struct {
				name string
				took time.Duration
			}{{"archives", c.Archives}, {"runtime", c.Runtime}, {"sandbox", c.Sandbox}, {"init", c.Init}} {
				child(newID(), whole, part.name, at, part.took)
				at = at.Add(part.took)
			}
		}
		if !m.Start.IsZero() {
			f := child(work, invocation, name, m.Start, m.Duration)
			f.kind = kindServer
			f.attributes = []attribute{
				{"faas.name", name},
				{"faas.version", number},
				{"faas.coldstart", strconv.FormatBool(m.Cold != nil)},
				{"faas.invocation_id", requestID},
				{"cloud.account.id", account},
				{"cloud.region", region},
				{"cloud.resource_id", arn},
			}
			if r.FunctionError != "" {
				f.failed, f.message = true, r.FunctionError
			}
		}
		t.add(spans...)
	}
}

// Dropped is how many spans were lost since the start, because the queue was full
// or the collector took none.
func (t *Tracer) Dropped() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}

// add queues spans, all or none.
func (t *Tracer) add(spans ...span) {
	t.mu.Lock()
	if len(t.queue)+len(spans) > t.o.Queue {
		t.lose(len(spans))
		t.mu.Unlock()
		return
	}
	t.queue = append(t.queue, spans...)
	full := len(t.queue) >= batch/2
	t.mu.Unlock()
	if full {
		select {
		case t.wake <- struct{}{}:
		default: // already awake
		}
	}
}

// lose counts spans that nobody will see. It wants t.mu.
func (t *Tracer) lose(n int) {
	t.dropped += uint64(n)
	t.total += uint64(n)
}

// newTrace names a trace as X-Ray does: the time first.
func newTrace(now time.Time) (id [16]byte) { // names, not secrets
	binary.BigEndian.PutUint32(id[:], uint32(now.Unix()))
	binary.BigEndian.PutUint64(id[4:], rand.Uint64())
	binary.BigEndian.PutUint32(id[12:], rand.Uint32())
	return id
}

func newID() (id [8]byte) {
	binary.BigEndian.PutUint64(id[:], rand.Uint64()|1) // never zero
	return id
}

// warn logs what was lost, now and then.
func (t *Tracer) warn(ctx context.Context, err error) {
	t.mu.Lock()
	n := t.dropped
	t.dropped = 0
	t.mu.Unlock()
	if n > 0 {
		t.o.Log.LogAttrs(ctx, slog.LevelWarn, "spans dropped", slog.Uint64("spans", n), slog.Any("err", err))
	}
}
