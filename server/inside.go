package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/traces"
	"github.com/lamina-run/lamina/wire"
)

// insideBytes bounds an answer to a request from inside.
const insideBytes = 64 << 20

// Do serves a request that a part of Lamina sends in the name of the caller in
// its context: without a signature, with the same permissions asked for and the
// same audit. The request counts against no limit of requests.
func (s *Server) Do(service string, req *http.Request) (*http.Response, error) {
	return s.inside(service, req, func(c *identity.Caller) { c.Secure, c.Inside = true, true })
}

// DoFor is Do for a caller who sends the request as from outside, through a part of
// Lamina that has proven who it is.
func (s *Server) DoFor(service string, req *http.Request) (*http.Response, error) {
	return s.inside(service, req, func(c *identity.Caller) { c.Secure, c.Inside = req.TLS != nil || isLoopback(c.Source), false })
}

func (s *Server) inside(service string, req *http.Request, tell func(*identity.Caller)) (*http.Response, error) {
	caller, ok := identity.CallerOf(req.Context())
	if !ok {
		return nil, fmt.Errorf("request to %s: nobody sends it", service)
	}
	h, ok := s.service(service)
	if !ok {
		return nil, fmt.Errorf("request to %s: there is no such service", service)
	}
	caller.Service = service
	tell(&caller)
	if req.Body == nil {
		req.Body = http.NoBody
	}
	id := newRequestID()
	record := &wire.Record{}
	ctx := wire.WithRecord(identity.WithCaller(wire.WithRequestID(req.Context(), id), caller), record)
	answer := &insideAnswer{header: http.Header{"X-Amzn-Requestid": {id}}}
	told := &statusWriter{ResponseWriter: answer, status: http.StatusOK}
	broken := false
	if s.o.Tracer != nil && service == lambdaService {
		var end func()
		ctx, end = s.follow(ctx, req, time.Now(), func() traces.Request {
			return traces.Request{Service: "Lambda", Operation: record.Operation, Account: caller.Account, Region: caller.Region, Status: told.status}
		})
		defer end()
	}
	func() {
		defer s.audit(caller, record, told, id)
		defer func() {
			switch cause := recover(); cause {
			case nil:
			case http.ErrAbortHandler: // how a handler breaks the connection off
				broken = true
			default:
				panic(cause)
			}
		}()
		h.ServeHTTP(told, req.WithContext(ctx))
	}()
	if broken && !answer.full {
		return nil, fmt.Errorf("request to %s: the answer broke off", service)
	}
	if answer.full {
		return nil, fmt.Errorf("request to %s: the answer has more than %d bytes", service, insideBytes)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err // the answer may be cut short
	}
	return &http.Response{
		Status:     strconv.Itoa(told.status) + " " + http.StatusText(told.status),
		StatusCode: told.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: answer.header,
		Body: io.NopCloser(&answer.body), ContentLength: int64(answer.body.Len()), Request: req,
	}, nil
}

// insideAnswer keeps an answer in memory.
type insideAnswer struct {
	header http.Header
	body   bytes.Buffer
	full   bool
}

func (a *insideAnswer) Header() http.Header { return a.header }

func (*insideAnswer) WriteHeader(int) {} // statusWriter remembers it

func (a *insideAnswer) Write(p []byte) (int, error) {
	if a.body.Len()+len(p) > insideBytes {
		a.full = true
		return 0, io.ErrShortWrite
	}
	return a.body.Write(p)
}
