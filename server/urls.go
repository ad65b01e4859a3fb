package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/traces"
	"github.com/lamina-run/lamina/wire"
)

// A function URL is served under a host name and, for clients that can't resolve
// it, below a path of any host name:
//
//	http://<url-id>.lambda-url.<region>.localhost:PORT/
//	http://HOST:PORT/_lamina/url/<url-id>/
const (
	urlPath  = "/_lamina/url/"
	urlLabel = "lambda-url"
)

const (
	urlBodyTime = 2 * time.Minute // to send the body of a request
	urlPatience = 2 * time.Minute // to read what was written of a streamed response
	preludeSize = 128 << 10       // of a streamed response's metadata

	integrationResponse = "application/vnd.awslambda.http-integration-response"
	octetStream         = "application/octet-stream"
)

// target is which function URL a request is for.
type target struct {
	id     string
	region string // empty when the request does not say
	path   string // below the URL, escaped as it was sent; it starts with a slash
}

// urlTarget finds out which function URL a request is for, if any.
func urlTarget(req *http.Request) (target, bool) {
	path, _, _ := strings.Cut(req.RequestURI, "?")
	if !strings.HasPrefix(path, "/") { // OPTIONS *, or a proxy's absolute form
		path = req.URL.EscapedPath()
	}
	if rest, ok := strings.CutPrefix(path, urlPath); ok {
		id, below, _ := strings.Cut(rest, "/")
		return target{id: strings.ToLower(id), path: "/" + below}, true
	}
	labels := strings.SplitN(strings.ToLower(req.Host), ".", 4)
	if len(labels) < 4 || labels[1] != urlLabel {
		return target{}, false
	}
	if path == "" {
		path = "/"
	}
	return target{id: labels[0], region: labels[2], path: path}, true
}

// URLAddress returns the address of a function URL for the client of the request
// in ctx. A client on this machine gets a host name below localhost, others the
// path on the host that they know; without a request it is the address that AWS
// would give.
func URLAddress(ctx context.Context, u lamina.FunctionURL) string {
	base, _ := ctx.Value(baseKey{}).(string)
	at, err := url.Parse(base)
	if err != nil || at.Host == "" {
		return u.Address()
	}
	if name := at.Hostname(); !isLoopback(name) {
		return base + urlPath + u.ID + "/"
	}
	host := urlDomain(u)
	if port := at.Port(); port != "" {
		host = net.JoinHostPort(host, port)
	}
	return at.Scheme + "://" + host + "/"
}

func isLoopback(name string) bool {
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}

func urlDomain(u lamina.FunctionURL) string {
	return u.ID + "." + urlLabel + "." + u.Function.Region + ".localhost"
}

// forbidden is what AWS says to whom a function URL does not let in (recorded).
var forbidden = wire.AccessDenied.Errorf("Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html")

// serveURL answers one request at a function URL.
func (s *Server) serveURL(w http.ResponseWriter, req *http.Request, t target) {
	began := time.Now()
	ctx := req.Context()
	u, err := s.o.Plane.ServedURL(ctx, t.id)
	if err == nil && t.region != "" && t.region != u.Function.Region {
		err = lamina.ErrNotFound
	}
	if errors.Is(err, lamina.ErrNotFound) {
		err = wire.AccessDenied.Null() // recorded
	}
	if err != nil {
		s.refuseURL(w, req, err)
		return
	}
	if s.o.Tracer != nil {
		told := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		w = told
		var end func()
		ctx, end = s.follow(ctx, req, began, func() traces.Request {
			return traces.Request{Path: t.path, Account: u.Function.Account, Region: u.Function.Region, Status: told.status}
		})
		defer end()
		req = req.WithContext(ctx)
	}
	allowed := allowOrigin(w.Header(), u.CORS, req.Header.Get("Origin"))
	if u.CORS != nil && isPreflight(req) {
		preflight(w, req, u.CORS, allowed)
		return
	}
	if err := s.invokeURL(w, req, u, t); err != nil {
		s.refuseURL(w, req, err)
	}
	s.o.Log.LogAttrs(ctx, slog.LevelDebug, "function url answered", slog.String("request_id", wire.RequestID(ctx)),
		slog.String("function", u.ARN()), slog.String("method", req.Method), slog.Duration("took", time.Since(began)))
}

// invokeURL lets the function answer. An error is for the client, when nothing
// has been sent yet.
func (s *Server) invokeURL(w http.ResponseWriter, req *http.Request, u control.ServedURL, t target) error {
	ctx := req.Context()
	a := arrival{url: u.FunctionURL, domain: urlDomain(u.FunctionURL), path: t.path, id: wire.RequestID(ctx), trace: traceOf(req), now: time.Now()}
	if t.region != "" {
		a.domain, _, _ = strings.Cut(req.Host, ":")
	}
	w.Header().Set("X-Amzn-Trace-Id", a.trace)
	if u.AuthType == lamina.URLAuthIAM {
		c, err := s.urlCaller(req, u.FunctionURL)
		if err != nil {
			return err
		}
		a.caller = &c
	}
	if ok, err := s.o.Plane.Permits(ctx, u, a.caller); err != nil || !ok {
		return cmp.Or(err, error(forbidden))
	}
	body, err := readURLBody(w, req, s.o.Plane.RequestLimit())
	if err != nil {
		return err
	}
	event, err := a.event(req, body)
	if err != nil {
		return fmt.Errorf("make an event: %w", err)
	}
	in := control.URLRequest{Payload: event, TraceID: a.trace}
	if u.Mode() == lamina.URLResponseStream {
		return s.streamURL(w, req, u, in)
	}
	result, err := s.o.Plane.InvokeURL(ctx, u, in)
	if err != nil {
		return err
	}
	if result.FunctionError != "" {
		badGateway(w)
		return nil
	}
	answer, err := readAnswer(result.Payload)
	if err != nil {
		s.logAnswer(ctx, u, err)
		badGateway(w)
		return nil
	}
	answer.write(w)
	return nil
}

// urlCaller tells who signed a request to a URL that wants a signature.
func (s *Server) urlCaller(req *http.Request, u lamina.FunctionURL) (identity.Caller, error) {
	c, err := s.o.Verifier.Verify(req)
	switch {
	case wire.MissingAuthenticationToken.Is(err):
		return c, forbidden
	case err != nil:
		return c, err
	case c.Service != "lambda":
		return c, wire.InvalidSignature.Errorf("Credential should be scoped to correct service: '%s'. ", "lambda")
	case c.Region != u.Function.Region:
		return c, wire.InvalidSignature.Errorf("Credential should be scoped to a valid region. ")
	}
	return c, nil
}

// readURLBody reads a request's body whole. When it returns nil, the body is the
// one that was signed, if any was.
func readURLBody(w http.ResponseWriter, req *http.Request, limit int64) ([]byte, error) {
	tooLarge := wire.RequestEntityTooLarge.Errorf("Request must be smaller than %d bytes for the InvokeFunction operation", limit)
	if req.ContentLength > limit {
		return nil, tooLarge
	}
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(urlBodyTime)) // a connection without deadlines is not a client's
	body, err := io.ReadAll(io.LimitReader(req.Body, limit+1))
	_ = c.SetReadDeadline(time.Time{}) // as above
	switch {
	case int64(len(body)) > limit:
		return nil, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, wire.RequestTimeout.Errorf("The request took too long to arrive")
	case err != nil:
		if ex, ok := errors.AsType[*wire.Exception](err); ok {
			return nil, ex
		}
		return nil, wire.Serialization.Errorf("The request body ended before its end")
	}
	return body, nil
}

// refuseURL answers an error that is not the function's.
func (s *Server) refuseURL(w http.ResponseWriter, req *http.Request, err error) {
	ctx := req.Context()
	ex, ok := errors.AsType[*wire.Exception](err)
	if !ok {
		s.o.Log.LogAttrs(ctx, slog.LevelError, "function url failed", slog.String("request_id", wire.RequestID(ctx)), slog.Any("err", err))
		ex = wire.Service.Errorf("Internal error; see the server's log for request %s.", wire.RequestID(ctx))
	}
	s.o.Log.LogAttrs(ctx, slog.LevelDebug, "function url refused", slog.String("request_id", wire.RequestID(ctx)), slog.Any("err", err))
	drain(w, req)
	wire.WriteException(w, ex)
}

// badGateway is the answer for a function that failed; why is in its log.
func badGateway(w http.ResponseWriter) {
	urlAnswer{status: http.StatusBadGateway, body: []byte("Internal Server Error")}.write(w)
}

// logAnswer tells the operator why the client got a 502 from a function that did
// not fail.
func (s *Server) logAnswer(ctx context.Context, u control.ServedURL, err error) {
	s.o.Log.LogAttrs(ctx, slog.LevelWarn, "function url answer not understood",
		slog.String("request_id", wire.RequestID(ctx)), slog.String("function", u.ARN()), slog.Any("err", err))
}

// streamURL passes a response on as the function writes it.
func (s *Server) streamURL(w http.ResponseWriter, req *http.Request, u control.ServedURL, in control.URLRequest) error {
	ctx := req.Context()
	r, err := s.o.Plane.StreamURL(ctx, u, in)
	if err != nil {
		return err
	}
	defer r.Abandon()
	contentType, streamed := r.Streamed()
	if !streamed {
		result, err := r.Result()
		switch {
		case err != nil:
			return err
		case result.FunctionError != "":
			badGateway(w)
		default: // as it is: this mode has no other way to say status and headers than the prelude
			urlAnswer{status: http.StatusOK, body: result.Payload}.write(w)
		}
		return nil
	}
	answer := urlAnswer{status: http.StatusOK}
	var first []byte
	if strings.EqualFold(contentType, integrationResponse) {
		contentType = ""
		answer, first, err = readStart(r)
	} else {
		first = r.Next()
	}
	if first == nil { // nothing was sent yet, so that a failure still has a status
		r.Abandon()
		result, lost := r.Result()
		switch {
		case lost != nil:
			return lost
		case result.FunctionError != "":
			badGateway(w)
			return nil
		case err != nil:
			s.logAnswer(ctx, u, err)
			badGateway(w)
			return nil
		}
	}
	if contentType == "" {
		contentType = octetStream
	}
	answer.writeHeader(w, contentType)
	s.copyResponse(ctx, w, r, first)
	return nil
}

// readStart reads the metadata of a streamed response: JSON, then eight zero
// bytes. It returns what has come of the body behind them, which is nil only
// after an error or at the end of the response.
func readStart(r *control.Response) (a urlAnswer, body []byte, err error) {
	var got []byte
	for b := r.Next(); b != nil; b = r.Next() {
		from := max(len(got)-7, 0)
		got = append(got, b...)
		if i := bytes.Index(got[from:], make([]byte, 8)); i >= 0 {
			if a, err = readPrelude(got[:from+i]); err != nil {
				return a, nil, err
			}
			return a, got[from+i+8:], nil
		}
		if len(got) > preludeSize {
			return a, nil, fmt.Errorf("%w: the prelude does not end", errInvalidAnswer)
		}
	}
	a, err = readPrelude(got)
	return a, nil, err
}

// copyResponse sends the rest of a response, after its header. When it ends with
// an error, so does the connection: the client must not take what it has for all
// there is.
func (s *Server) copyResponse(ctx context.Context, w http.ResponseWriter, r *control.Response, first []byte) {
	c := http.NewResponseController(w)
	gone := false
	send := func(b []byte) {
		_ = c.SetWriteDeadline(time.Now().Add(urlPatience)) // as for reading
		_, err := w.Write(b)
		if err == nil {
			err = c.Flush()
		}
		if err != nil && !errors.Is(err, http.ErrBodyNotAllowed) {
			gone = true
			r.Abandon()
		}
	}
	send(first)
	for b := r.Next(); b != nil; b = r.Next() {
		send(b)
	}
	result, err := r.Result()
	if err != nil {
		s.o.Log.LogAttrs(ctx, slog.LevelError, "streamed invocation failed", slog.String("request_id", wire.RequestID(ctx)), slog.Any("err", err))
	}
	if gone || err != nil || result.FunctionError != "" {
		panic(http.ErrAbortHandler)
	}
	_ = c.SetWriteDeadline(time.Time{}) // the connection is for other requests again
}

// traceOf is the trace that a request belongs to, or a new one, not sampled.
func traceOf(req *http.Request) string {
	if h := wire.TraceID(req.Context()); strings.Contains(h, "Root=") && len(h) <= 1024 {
		return h
	}
	var b [20]byte // names, not secrets
	binary.BigEndian.PutUint64(b[:], rand.Uint64())
	binary.BigEndian.PutUint64(b[8:], rand.Uint64())
	binary.BigEndian.PutUint32(b[16:], rand.Uint32())
	return fmt.Sprintf("Root=1-%08x-%s;Parent=%s;Sampled=0", time.Now().Unix(), hex.EncodeToString(b[:12]), hex.EncodeToString(b[12:]))
}
