package traces

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

const (
	batch     = 512 // spans in a request, at most
	sendTime  = 10 * time.Second
	attempts  = 4
	maxRetry  = 30 * time.Second
	warnEvery = time.Minute
	lastCall  = 3 * time.Second // for what is left when the server stops
)

// Kinds of spans, as OTLP numbers them.
const (
	kindInternal = 1
	kindServer   = 2
)

type span struct {
	trace      [16]byte
	id, parent [8]byte
	name       string
	kind       int
	start, end time.Time
	failed     bool
	message    string
	attributes []attribute
}

type attribute struct{ key, value string }

// Run sends spans until ctx ends, and then those that are left.
func (t *Tracer) Run(ctx context.Context) error {
	defer t.client.CloseIdleConnections()
	tick := time.NewTicker(t.o.Every)
	defer tick.Stop()
	var warned time.Time
	var failure error
	for {
		select {
		case <-t.wake:
		case <-tick.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastCall)
			defer cancel()
			t.flush(last)
			t.warn(last, context.Cause(ctx))
			return nil
		}
		if err := t.flush(ctx); err != nil {
			failure = err
		}
		if now := t.o.Now(); now.Sub(warned) >= warnEvery && ctx.Err() == nil {
			warned = now
			t.warn(ctx, failure)
			failure = nil
		}
	}
}

// flush sends what is queued. It returns why the last spans could not be sent.
func (t *Tracer) flush(ctx context.Context) (failure error) {
	for {
		t.mu.Lock()
		n := min(len(t.queue), batch)
		spans := t.queue[:n:n]
		t.queue = t.queue[n:]
		if len(t.queue) == 0 {
			t.queue = nil // its array goes with the spans
		}
		t.mu.Unlock()
		if n == 0 {
			return failure
		}
		if err := t.send(ctx, spans); err != nil {
			failure = err
			t.mu.Lock()
			t.lose(n)
			t.mu.Unlock()
		}
		if ctx.Err() != nil {
			return failure
		}
	}
}

// send sends spans, several times if the collector may take them later.
func (t *Tracer) send(ctx context.Context, spans []span) error {
	body, err := t.encode(spans)
	if err != nil {
		return err
	}
	wait := t.o.Retry
	for attempt := 1; ; attempt++ {
		after, again, err := t.post(ctx, body)
		if err == nil {
			return nil
		}
		if !again || attempt == attempts {
			return err
		}
		pause := time.NewTimer(min(max(wait, after), maxRetry))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
		wait *= 2
	}
}

// post sends one request. Again says that another may succeed, after a while that
// the collector may have told.
func (t *Tracer) post(ctx context.Context, body []byte) (after time.Duration, again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return 0, false, err
	}
	for name, values := range t.o.Headers {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Content-Encoding", "gzip")
	req.Header.Set("User-Agent", "lamina/"+t.o.Version)
	resp, err := t.client.Do(req)
	if err != nil {
		return 0, true, err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection serves again
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	default:
		if resp.StatusCode < 300 {
			return 0, false, nil
		}
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		after = time.Duration(min(max(seconds, 0), 60)) * time.Second
	}
	return after, again, fmt.Errorf("the collector answers %s", resp.Status)
}

// The shapes of OTLP in JSON, as far as they are used.
type (
	otlpRequest struct {
		ResourceSpans []otlpResource `json:"resourceSpans"`
	}
	otlpResource struct {
		Resource struct {
			Attributes []otlpAttribute `json:"attributes"`
		} `json:"resource"`
		ScopeSpans []otlpScope `json:"scopeSpans"`
	}
	otlpScope struct {
		Scope struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		} `json:"scope"`
		Spans []otlpSpan `json:"spans"`
	}
	otlpSpan struct {
		TraceID    string          `json:"traceId"`
		SpanID     string          `json:"spanId"`
		ParentID   string          `json:"parentSpanId,omitempty"`
		Name       string          `json:"name"`
		Kind       int             `json:"kind"`
		Start      string          `json:"startTimeUnixNano"`
		End        string          `json:"endTimeUnixNano"`
		Attributes []otlpAttribute `json:"attributes,omitempty"`
		Status     *otlpStatus     `json:"status,omitempty"`
	}
	otlpStatus struct {
		Code    int    `json:"code"`
		Message string `json:"message,omitempty"`
	}
	otlpAttribute struct {
		Key   string         `json:"key"`
		Value map[string]any `json:"value"`
	}
)

const statusError = 2

func told(a attribute) otlpAttribute {
	switch a.key { // those that are no text
	case "http.response.status_code":
		return otlpAttribute{a.key, map[string]any{"intValue": a.value}}
	case "faas.coldstart":
		return otlpAttribute{a.key, map[string]any{"boolValue": a.value == "true"}}
	}
	return otlpAttribute{a.key, map[string]any{"stringValue": a.value}}
}

// encode makes the compressed body of a request.
func (t *Tracer) encode(spans []span) ([]byte, error) {
	var r otlpResource
	r.Resource.Attributes = []otlpAttribute{told(attribute{"service.name", "lamina"}), told(attribute{"service.version", t.o.Version})}
	scope := otlpScope{Spans: make([]otlpSpan, len(spans))}
	scope.Scope.Name, scope.Scope.Version = "github.com/lamina-run/lamina", t.o.Version
	for i := range spans {
		s := &spans[i]
		o := otlpSpan{
			TraceID: hex.EncodeToString(s.trace[:]), SpanID: hex.EncodeToString(s.id[:]), Name: s.name, Kind: s.kind,
			Start: strconv.FormatInt(s.start.UnixNano(), 10), End: strconv.FormatInt(max(s.end.UnixNano(), s.start.UnixNano()), 10),
		}
		if s.parent != [8]byte{} {
			o.ParentID = hex.EncodeToString(s.parent[:])
		}
		for _, a := range s.attributes {
			if a.value != "" {
				o.Attributes = append(o.Attributes, told(a))
			}
		}
		if s.failed {
			o.Status = &otlpStatus{statusError, s.message}
		}
		scope.Spans[i] = o
	}
	r.ScopeSpans = []otlpScope{scope}
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	err := json.NewEncoder(zip).Encode(otlpRequest{[]otlpResource{r}})
	if err == nil {
		err = zip.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encode spans: %w", err)
	}
	return out.Bytes(), nil
}
