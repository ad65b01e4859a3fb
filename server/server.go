// Package server assembles Lamina's HTTP side: it decides which service a
// request is for, gives each request an identifier, authenticates it, and
// serves health and archive downloads. What an operation does is control's
// question, how it travels is wire's, who may ask is identity's.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/audit"
	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/traces"
	"github.com/lamina-run/lamina/wire"
	"github.com/lamina-run/lamina/wire/jsontarget"
	"github.com/lamina-run/lamina/wire/query"
)

// Options are the parts that New assembles.
type Options struct {
	Log      *slog.Logger
	Verifier *identity.Verifier
	Links    *Links
	Archives Archives
	// Services maps a signing name (lambda, sts, iam, logs) to what answers it. Each
	// gets authenticated requests, the caller in their context.
	Services map[string]http.Handler
	// S3 answers requests of the signing name s3, and those that nobody signed and
	// that are meant for it; nil for none.
	S3 S3
	// Requests limits the requests of an account; nil has no limits.
	Requests *Requests
	// Responses answers, without a signature, the paths that begin with ResponsePath:
	// what stacks are told from outside. Nil answers none.
	Responses http.Handler
	// Plane answers at function URLs; nil serves none.
	Plane *control.Plane
	// Metrics answers MetricsPath; nil answers nothing there.
	Metrics http.Handler
	// Answered is told of each answer and the service it came from: a signing name,
	// or one of those in OtherServices. Nil tells nobody.
	Answered func(service string, status int)
	// Tracer follows requests to Lambda and to function URLs; nil follows none.
	Tracer *traces.Tracer
	// Audit is told of each request that may have changed something, or was not
	// allowed to; nil tells nobody.
	Audit func(audit.Entry)
	// Console answers what is below ConsolePath to browsers, which the root leads
	// there; nil has none.
	Console http.Handler
	// Ready is closed when requests can be answered; /healthz tells.
	Ready <-chan struct{}
}

// ResponsePath begins the paths of [Options.Responses]. No bucket has such a name.
const ResponsePath = "/_lamina/cloudformation/"

// ConsolePath begins the paths of [Options.Console]. No bucket has such a name.
const ConsolePath = "/_console/"

// What [Options.Answered] calls requests that go to no service.
const (
	urlRequests     = "function-url"
	healthRequests  = "health"
	metricsRequests = "metrics"
	archiveRequests = "archives"
	stackResponses  = "stack-responses"
	consoleRequests = "console"
	refusedRequests = "refused"
)

// OtherServices are the names that [Options.Answered] gets besides signing names.
// Refused is a request that proved no caller.
var OtherServices = []string{urlRequests, healthRequests, metricsRequests, archiveRequests, stackResponses, consoleRequests, refusedRequests}

// S3 is a service whose requests need no signature, and whose errors are its own.
type S3 interface {
	http.Handler
	// Meant reports whether a request that nobody signed can be one for it.
	Meant(req *http.Request) bool
	// Refuse answers an error of a request that does not come to it.
	Refuse(w http.ResponseWriter, req *http.Request, err error)
}

// s3Service is the signing name of S3.
const s3Service = "s3"

// Server answers everything that arrives on Lamina's one endpoint.
type Server struct {
	o Options
}

// New returns a server. It starts nothing.
func New(o Options) *Server { return &Server{o: o} }

// Serve answers connections of l until ctx ends, then lets requests in flight
// finish for at most grace. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 20 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1) // sent once, by the goroutine below
	go func() { failed <- h.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := h.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = h.Close()
	}
	<-failed
	if err != nil {
		return fmt.Errorf("stop serving: %w", err)
	}
	return nil
}

// ServeHTTP routes one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	id := newRequestID()
	w.Header().Set("x-amzn-RequestId", id)
	ctx := wire.WithRequestID(req.Context(), id)
	trace := req.Header.Get("X-Amzn-Trace-Id")
	if trace == "" {
		trace = lamina.TraceParent(req.Header.Get("Traceparent"))
	}
	ctx = wire.WithTraceID(ctx, trace)
	ctx = withBase(ctx, req)
	req = req.WithContext(ctx)
	if s.o.Answered == nil {
		s.route(w, req, new(string))
		return
	}
	told := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	service := refusedRequests
	defer func() { s.o.Answered(service, told.status) }() // also when a handler breaks the connection off
	s.route(told, req, &service)
}

// route hands a request to what answers it, and says what that is.
func (s *Server) route(w http.ResponseWriter, req *http.Request, service *string) {
	if t, ok := urlTarget(req); ok && s.o.Plane != nil {
		*service = urlRequests
		s.serveURL(s.apart(w, req), req, t)
		return
	}
	if s.isForConsole(req) {
		*service = consoleRequests
		if strings.HasPrefix(req.URL.Path, ConsolePath) {
			s.o.Console.ServeHTTP(w, req)
		} else {
			http.Redirect(w, req, ConsolePath, http.StatusFound)
		}
		return
	}
	w = s.apart(w, req)
	switch path := req.URL.Path; {
	case identity.ClaimedService(req) == s3Service: // whatever a bucket is called
		s.operation(w, req, service)
	case path == "/healthz":
		*service = healthRequests
		s.health(w)
	case s.o.Metrics != nil && path == MetricsPath:
		*service = metricsRequests
		s.o.Metrics.ServeHTTP(w, req)
	case s.o.Responses != nil && strings.HasPrefix(path, ResponsePath):
		*service = stackResponses
		s.o.Responses.ServeHTTP(w, req)
	case isLink(req):
		*service = archiveRequests
		s.download(w, req)
	default:
		s.operation(w, req, service)
	}
}

// isForConsole reports whether a request is for a page of the console, or a
// browser's for the root. One that somebody signed is not.
func (s *Server) isForConsole(req *http.Request) bool {
	if s.o.Console == nil || identity.ClaimedService(req) != "" || s.o.S3 != nil && s.o.S3.Meant(req) {
		return false
	}
	return strings.HasPrefix(req.URL.Path, ConsolePath) ||
		req.Method == http.MethodGet && (req.URL.Path == "/" || req.URL.Path == strings.TrimSuffix(ConsolePath, "/")) && strings.Contains(req.Header.Get("Accept"), "text/html")
}

func (s *Server) health(w http.ResponseWriter) {
	select {
	case <-s.o.Ready:
		fmt.Fprintln(w, "ok")
	default:
		http.Error(w, "starting", http.StatusServiceUnavailable)
	}
}

// operation authenticates a request and hands it to the service that its
// signature names, which it tells once that is proven.
func (s *Server) operation(w http.ResponseWriter, req *http.Request, served *string) {
	began := time.Now()
	id := wire.RequestID(req.Context())
	caller, err := s.o.Verifier.Verify(req)
	if wire.MissingAuthenticationToken.Is(err) && s.isAnonymous(req) {
		caller, err = identity.Caller{Service: s3Service, Region: anonymousRegion}, nil
	}
	if err != nil {
		s.refuse(w, req, err)
		return
	}
	caller.Source, caller.Agent = source(req), req.UserAgent()
	caller.Secure = req.TLS != nil || isLoopback(caller.Source)
	service, ok := s.service(caller.Service)
	if !ok {
		s.refuse(w, req, wire.UnknownOperation.Errorf("Lamina does not offer the service %q.", caller.Service))
		return
	}
	*served = caller.Service
	var class string
	if s.o.Requests != nil {
		class = classOf(caller.Service, service, req)
	}
	proven := identity.Proven(req)
	if err := s.o.Requests.admit(caller, class, proven); err != nil {
		s.refuse(w, req, err)
		return
	}
	if !proven {
		defer func() {
			if identity.Proven(req) {
				s.o.Requests.settle(caller, class)
			}
		}()
	}
	record := &wire.Record{}
	ctx := wire.WithRecord(identity.WithCaller(req.Context(), caller), record)
	told := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	defer s.audit(caller, record, told, id) // also when a handler breaks the connection off
	if s.o.Tracer != nil && caller.Service == lambdaService {
		var end func()
		ctx, end = s.follow(ctx, req, began, func() traces.Request {
			return traces.Request{Service: "Lambda", Operation: record.Operation, Account: caller.Account, Region: caller.Region, Status: told.status}
		})
		defer end()
	}
	service.ServeHTTP(told, req.WithContext(ctx))
	s.o.Log.LogAttrs(req.Context(), slog.LevelDebug, "request answered",
		slog.String("request_id", id), slog.String("service", caller.Service), slog.String("account", caller.Account),
		slog.String("method", req.Method), slog.String("path", req.URL.Path), slog.Duration("took", time.Since(began)))
}

// lambdaService is the signing name of Lambda.
const lambdaService = "lambda"

// follow begins the span of a request, whose end asks what is told of it. What
// happens for the request does so with the returned context.
func (s *Server) follow(ctx context.Context, req *http.Request, began time.Time, tell func() traces.Request) (context.Context, func()) {
	next, told := s.o.Tracer.Request(wire.TraceID(ctx), began)
	ctx = wire.WithTraceID(ctx, next)
	return ctx, func() {
		if told != nil {
			r := tell()
			r.Method, r.RequestID = req.Method, wire.RequestID(ctx)
			if r.Path == "" {
				r.Path = req.URL.Path
			}
			told(r)
		}
	}
}

// service is what answers requests of a signing name.
func (s *Server) service(name string) (http.Handler, bool) {
	if name == s3Service && s.o.S3 != nil {
		return s.o.S3, true
	}
	h, ok := s.o.Services[name]
	return h, ok
}

// anonymousRegion is that of requests that nobody signed.
const anonymousRegion = "us-east-1"

// isAnonymous reports whether a request without a signature is for S3, as no other
// service has a use for it.
func (s *Server) isAnonymous(req *http.Request) bool {
	if s.o.S3 == nil || jsontarget.Speaks(req) || identity.QueryService(req) != "" || !s.o.S3.Meant(req) {
		return false
	}
	if router, ok := s.o.Services["lambda"].(*wire.Router); ok {
		if operation, _ := router.Match(req); operation != "" {
			return false
		}
	}
	return true
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if status >= http.StatusOK { // not 100 Continue and its like
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// ReadFrom lets the connection copy by itself, from a file without this process.
func (w *statusWriter) ReadFrom(r io.Reader) (int64, error) { return io.Copy(w.ResponseWriter, r) }

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// source is the IP address of the client.
func source(req *http.Request) string {
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		return req.RemoteAddr
	}
	return host
}

// audit tells of a request that changed something, or was not allowed to.
func (s *Server) audit(c identity.Caller, r *wire.Record, w *statusWriter, id string) {
	denied := w.status == http.StatusForbidden || strings.HasPrefix(r.Code, "AccessDenied")
	if s.o.Audit == nil || r.Operation == "" || !r.Mutates && !denied {
		return
	}
	s.o.Audit(audit.Entry{
		RequestID: id, Account: c.Account, Principal: c.ARN, KeyID: c.AccessKeyID, Source: c.Source, Agent: c.Agent,
		Service: c.Service, Region: c.Region, Operation: r.Operation, Names: r.Names, Status: w.status, Code: r.Code,
	})
}

// refuse answers an error in the dialect of the service that the request looks
// like: XML for the query protocol, JSON of either kind for the rest.
func (s *Server) refuse(w http.ResponseWriter, req *http.Request, err error) {
	ex, ok := errors.AsType[*wire.Exception](err)
	if !ok {
		s.o.Log.LogAttrs(req.Context(), slog.LevelError, "request not verified",
			slog.String("request_id", wire.RequestID(req.Context())), slog.Any("err", err))
		ex = wire.Service.Errorf("Internal error; see the server's log for request %s.", wire.RequestID(req.Context()))
	}
	s.o.Log.LogAttrs(req.Context(), slog.LevelDebug, "request refused",
		slog.String("request_id", wire.RequestID(req.Context())), slog.String("path", req.URL.Path), slog.Any("err", err))
	drain(w, req)
	if s.o.S3 != nil && identity.ClaimedService(req) == s3Service {
		s.o.S3.Refuse(w, req, ex)
		return
	}
	if service := identity.QueryService(req); service != "" {
		query.WriteError(w, service, wire.RequestID(req.Context()), ex)
		return
	}
	if jsontarget.Speaks(req) {
		jsontarget.WriteException(w, ex)
		return
	}
	wire.WriteException(w, ex)
}

// Bounds of what is read of a body that was refused already.
const (
	drainBytes = 80 << 20
	drainTime  = 10 * time.Second
)

// drain reads what a refused client is still sending, so that it sees the answer
// instead of a broken connection.
func drain(w http.ResponseWriter, req *http.Request) {
	if req.Body == nil || req.Header.Get("Expect") != "" {
		return // a client that waits for 100 Continue sends nothing after a refusal
	}
	// Both may fail on a connection that is gone already, which is fine here.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(drainTime))
	_, _ = io.CopyN(io.Discard, req.Body, drainBytes)
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
}

// newRequestID returns a random UUID (version 4), as AWS's request identifiers are.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
