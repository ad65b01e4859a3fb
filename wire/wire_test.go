package wire

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// memoryUpload is an upload for tests; with keepNothing it counts and hashes only.
type memoryUpload struct {
	bytes       []byte
	size        int64
	hash        hash.Hash
	keepNothing bool
	kept        bool
	discarded   int
	fail        error
}

func (u *memoryUpload) Write(p []byte) (int, error) {
	if u.fail != nil {
		return 0, u.fail
	}
	u.size += int64(len(p))
	if u.hash == nil {
		u.hash = sha256.New()
	}
	u.hash.Write(p)
	if !u.keepNothing {
		u.bytes = append(u.bytes, p...)
	}
	return len(p), nil
}

func (u *memoryUpload) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(u.bytes).ReadAt(p, off)
}

func (u *memoryUpload) Size() int64 { return u.size }

func (u *memoryUpload) Sum() (sum [32]byte) {
	if u.hash == nil {
		return sha256.Sum256(nil)
	}
	u.hash.Sum(sum[:0])
	return sum
}

func (u *memoryUpload) Keep(context.Context) error { u.kept = true; return nil }

func (u *memoryUpload) Discard() error { u.discarded++; return nil }

// stager opens memory uploads and remembers them.
type stager struct {
	mu      sync.Mutex
	uploads []*memoryUpload
}

func (s *stager) stage(context.Context) (Upload, error) {
	u := &memoryUpload{}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uploads = append(s.uploads, u)
	return u, nil
}

// offerAll makes r answer every operation with its empty output.
func offerAll(r *Router) {
	for _, rt := range r.byName {
		if rt.call == nil {
			rt.input, rt.output = shapeOf(rt.in), shapeOf(rt.out)
			rt.call = func(context.Context, any) (any, error) { return newOutput(rt), nil }
		}
	}
}

// request is what a client sends for an operation with these members.
func request(t testing.TB, operation string, params map[string]any) *http.Request {
	t.Helper()
	var op Operation
	for _, o := range operations {
		if o.Name == operation {
			op = o
		}
	}
	if op.in == nil {
		t.Fatalf("no operation %s", operation)
	}
	path, query, header := op.Path, url.Values{}, http.Header{}
	if key, value, ok := strings.Cut(op.Query, "="); ok {
		query.Set(key, value)
	}
	var payload io.Reader
	body := map[string]any{}
	for _, f := range shapeOf(op.in).fields {
		name := op.in.Field(f.index).Name
		v, ok := params[name]
		if !ok {
			continue
		}
		switch f.place {
		case inURI:
			path = strings.ReplaceAll(path, "{"+f.name+"}", url.PathEscape(fmt.Sprint(v)))
		case inQuery:
			if list, ok := v.([]any); ok {
				for _, e := range list {
					query.Add(f.name, fmt.Sprint(e))
				}
				continue
			}
			query.Set(f.name, fmt.Sprint(v))
		case inHeader:
			header.Set(f.name, fmt.Sprint(v))
		case inPayload:
			payload = strings.NewReader(fmt.Sprint(v))
		default:
			body[f.name] = v
		}
	}
	if payload == nil && len(body) > 0 {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		payload = bytes.NewReader(text)
	}
	req := httptest.NewRequest(op.Method, path+"?"+query.Encode(), payload)
	req.Header = header
	return req
}

func do(r *Router, req *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w
}

// quiet is a router with a memory stage and a log that the test can read.
func quiet() (*Router, *stager, *bytes.Buffer) {
	s, log := &stager{}, &bytes.Buffer{}
	r := NewRouter(Options{Stage: s.stage, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	return r, s, log
}

func wantException(t *testing.T, w *httptest.ResponseRecorder, status int, code, body string) {
	t.Helper()
	if w.Code != status {
		t.Errorf("status = %d; want %d", w.Code, status)
	}
	if got := w.Header().Get("X-Amzn-Errortype"); got != code {
		t.Errorf("error type = %q; want %q", got, code)
	}
	if got := w.Body.String(); got != body {
		t.Errorf("body = %s; want %s", got, body)
	}
}

var errTest = errors.New("disk on fire")

func newOutput(rt *route) any { return newValue(rt.out) }
