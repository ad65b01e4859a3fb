package runtimeapi

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
)

// Request is one invocation on its way to the runtime.
type Request struct {
	ID              string
	InvokedARN      string
	TraceID         string
	ClientContext   string // JSON, or empty
	CognitoIdentity string // JSON, or empty
	Payload         []byte
	// Timeout counts from the moment the runtime takes the invocation.
	Timeout time.Duration
	// Deadline, if not zero, is when the function's time is up, whenever the
	// runtime takes the invocation.
	Deadline time.Time
	// Sink takes a streamed response; with nil it is buffered as any other.
	Sink lamina.Sink
}

// Kind tells what an [Outcome] is.
type Kind int

// Kinds of outcome.
const (
	// Responded carries the function's result.
	Responded Kind = iota
	// Failed carries the error that the function, or the runtime for it, reported.
	Failed
	// InitFailed carries the error that the runtime reported before it ever
	// asked for an invocation.
	InitFailed
	// TooLarge says that the response exceeded the limit; it has no payload.
	TooLarge
	// Truncated says that a streamed response broke off; it has no payload.
	Truncated
)

// Outcome is what the runtime told about an invocation, or about its start.
type Outcome struct {
	Kind      Kind
	Payload   []byte
	ErrorType string    // Lambda-Runtime-Function-Error-Type of an error, or empty
	Limit     int64     // in bytes, what a TooLarge response exceeded
	Streamed  int64     // in bytes, what was read for the sink, taken or not
	At        time.Time // when the whole request had arrived
}

// ErrOutstanding says that the session already has an invocation.
var ErrOutstanding = errors.New("an invocation is outstanding")

// Options configures a [Session].
type Options struct {
	// MaxPayload bounds responses and errors, in bytes.
	MaxPayload int64
	// MaxStream bounds a response that goes to a sink, in bytes.
	MaxStream int64
	// Function is what extensions learn when they register.
	Function Function
	// Subscribe, if not nil, takes an extension's request for telemetry. The api
	// is telemetry or logs.
	Subscribe func(extension, api string, body []byte) *SubscribeError
	// Begin, if not nil, is called when the runtime takes an invocation, just
	// before its first byte is written.
	Begin func(r *Request, at time.Time)
	Now   func() time.Time
}

const (
	maxConnections = 64
	maxDiscard     = 256 << 20 // of a body that is refused, before the connection is cut instead
	// An invocation of this size fits the socket's buffers, so that writing it
	// can't block on a runtime that does not read.
	buffered = 32 << 10
)

// Session is the Runtime API of one environment. [Session.Run] serves it, and
// everything else may be called meanwhile from other goroutines.
type Session struct {
	options Options

	outcomes chan Outcome  // capacity 1; sent by the connection that finishes an invocation or init; never closed
	ready    chan struct{} // capacity 1; one send when a process and its extensions have initialized

	registered chan struct{} // capacity 1; one send when the last expected extension registers
	settled    chan struct{} // capacity 1; sent when an invocation and all that extensions do about it is over

	mu           sync.Mutex
	conns        map[*conn]struct{}
	drained      chan struct{} // of the last Drained; nil once closed
	closed       bool
	parked       *conn    // waits in invocation/next
	pending      *Request // delivered, not taken yet
	started      bool     // the process asked for an invocation, or failed to start
	current      string   // ID of the invocation that the runtime has taken
	last         string   // ID of the invocation before
	responding   *conn    // is sending the current invocation's answer
	takenAt      time.Time
	extensions   []*extension
	unregistered int       // external extensions that have not
	initialized  bool      // the runtime and all extensions asked for an event
	askedAt      time.Time // when the runtime did; registration is closed since
	fatal        string
	sink         lamina.Sink // of the current invocation, or nil
	streaming    bool        // the current invocation's response goes to the sink
}

// New returns a session that serves nothing until [Session.Run].
func New(o Options) *Session {
	return &Session{
		options:  o,
		outcomes: make(chan Outcome, 1),
		ready:    make(chan struct{}, 1),

		registered: make(chan struct{}, 1),
		settled:    make(chan struct{}, 1),
		conns:      map[*conn]struct{}{},
	}
}

// Run accepts connections from l until ctx ends or l is closed or fails, and
// returns when all of them are closed. It closes l.
func (s *Session) Run(ctx context.Context, l net.Listener) error {
	var served sync.WaitGroup
	stop := context.AfterFunc(ctx, func() {
		l.Close() // it has no way to fail that matters: Accept returns
		s.closeConns(true)
	})
	defer served.Wait()
	defer func() {
		stop()
		l.Close() // as above; the second close is harmless
		s.closeConns(true)
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		cn := newConn(s, c)
		if !s.adopt(cn) {
			c.Close()
			continue
		}
		served.Go(cn.serve)
	}
}

func (s *Session) adopt(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= maxConnections {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

// drop forgets a connection that ended. An answer that it was sending is as if
// it had never begun.
func (s *Session) drop(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.parked == c {
		s.parked = nil
	}
	s.unpark(c)
	if s.responding == c {
		s.responding = nil
	}
	s.tellDrained()
}

// Drained returns a channel that is closed when every connection has ended but
// those of extensions that wait for an event: then all has been read that a process
// wrote before it ended. The channels of earlier calls are not closed any more.
func (s *Session) Drained() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drained = make(chan struct{})
	drained := s.drained
	s.tellDrained()
	return drained
}

// tellDrained wants s.mu.
func (s *Session) tellDrained() {
	if s.drained == nil {
		return
	}
	for c := range s.conns {
		if !s.waits(c) {
			return
		}
	}
	close(s.drained)
	s.drained = nil
}

func (s *Session) closeConns(final bool) {
	s.mu.Lock()
	s.closed = s.closed || final
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.net.Close()
	}
}

// Outcomes yields one outcome per delivered invocation, at most, and one if the
// runtime fails to start.
func (s *Session) Outcomes() <-chan Outcome { return s.outcomes }

// Ready yields one value when the process and all extensions ask for their first
// event: the initialization is over.
func (s *Session) Ready() <-chan struct{} { return s.ready }

// TakenAt returns when the runtime took the last invocation, and false when
// the one delivered last still waits.
func (s *Session) TakenAt() (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takenAt, s.pending == nil && !s.takenAt.IsZero()
}

// Reset makes the session ready for another process: it cuts all connections
// and forgets every invocation and outcome. The former process must be gone.
func (s *Session) Reset() {
	s.closeConns(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = map[*conn]struct{}{}
	s.parked, s.pending, s.responding = nil, nil, nil
	s.started = false
	s.current, s.last = "", ""
	s.takenAt = time.Time{}
	s.forget()
	s.sink, s.streaming = nil, false
	select {
	case <-s.outcomes:
	default:
	}
	select {
	case <-s.ready:
	default:
	}
}

// Deliver hands r to the runtime, now or as soon as it asks. It fails with
// [ErrOutstanding] while an invocation has no outcome yet. A runtime that is
// gone is no failure of Deliver: its exit is the caller's to see. r must not
// change any more.
func (s *Session) Deliver(r *Request) error {
	if r.ID == "" {
		return errors.New("the invocation has no request ID")
	}
	s.mu.Lock()
	if s.current != "" || s.pending != nil {
		s.mu.Unlock()
		return ErrOutstanding
	}
	s.pending = r
	if s.parked == nil || !s.allReady() {
		s.mu.Unlock()
		return nil
	}
	s.release()
	return nil
}

// Withdraw takes back an invocation that the runtime has not taken, and reports
// whether it could.
func (s *Session) Withdraw() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	withdrawn := s.pending != nil
	s.pending = nil
	return withdrawn
}

// take makes r the current invocation. It wants s.mu.
func (s *Session) take(r *Request) time.Time {
	s.current, s.sink = r.ID, r.Sink
	s.takenAt = s.options.Now()
	return s.takenAt
}

// next is invocation/next on c.
func (s *Session) next(c *conn) {
	s.mu.Lock()
	if s.current != "" {
		s.mu.Unlock()
		r := transition(invalidTransition, stateRunning, stateReady, "runtime")
		c.fail(r.status, r.kind, r.message)
		return
	}
	if _, ok := s.conns[c]; !ok { // a process from before Reset
		s.mu.Unlock()
		c.net.Close()
		return
	}
	s.started = true
	if s.askedAt.IsZero() {
		s.askedAt = s.options.Now()
	}
	former := s.parked
	s.parked = c
	s.advance()
	if former != nil {
		former.net.Close() // its client asked again elsewhere
	}
}

const invalidTransition = "InvalidStateTransition"

// refusal is why a request is out of order; the zero value is none.
type refusal struct {
	status  string
	kind    string
	message string
}

// claim gives c the right to answer the invocation id.
func (s *Session) claim(c *conn, id string) refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.conns[c]
	switch {
	case id == "" || (id != s.current && id != s.last):
		return refusal{statusBadRequest, "InvalidRequestID", "Invalid request ID"}
	case id != s.current || s.responding != nil || !known:
		return transition(invalidTransition, "ResponseSent", "InvocationResponse", "runtime")
	}
	s.responding = c
	return refusal{}
}

// finish ends the invocation that c claimed.
func (s *Session) finish(c *conn, o Outcome) bool {
	o.At = s.options.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.responding != c {
		return false // Reset came in between
	}
	s.last, s.current = s.current, ""
	s.responding, s.sink, s.streaming = nil, nil, false
	// Under the lock, so that Reset can't miss it; there is room, because each
	// invocation has one outcome and Deliver's caller received the one before.
	select {
	case s.outcomes <- o:
	default:
	}
	return true
}

func (s *Session) claimInit(c *conn) refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.conns[c]; s.started || s.responding != nil || !known {
		return transition(invalidTransition, stateReady, stateInitError, "runtime")
	}
	s.responding = c
	return refusal{}
}

func (s *Session) finishInit(c *conn, o Outcome) {
	o.At = s.options.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.responding != c {
		return
	}
	s.responding = nil
	s.started = true
	o.Kind = InitFailed
	select {
	case s.outcomes <- o: // see finish
	default:
	}
}

// dispatch serves one request whose header was read. It reports whether the
// connection can go on.
func (s *Session) dispatch(c *conn, h *header) bool {
	const version = "/2018-06-01/runtime/"
	path, ok := strings.CutPrefix(h.path, version)
	if !ok && (strings.HasPrefix(h.path, extensionPath) || h.method == "PUT") {
		return s.dispatchExtension(c, h)
	}
	if !ok {
		return c.refuse(h, refusal{statusNotFound, "NotFound", "No such path"})
	}
	switch path {
	case "invocation/next", "restore/next":
		if h.method != "GET" {
			return c.refuse(h, refusal{statusMethod, "MethodNotAllowed", "Use GET"})
		}
		if !c.discard(h) {
			return false
		}
		if path == "restore/next" { // nothing is ever restored: the runtime may go on
			c.reply(statusOK, nil)
			return true
		}
		s.next(c)
		return true
	case "init/error", "restore/error":
		if h.method != "POST" {
			return c.refuse(h, refusal{statusMethod, "MethodNotAllowed", "Use POST"})
		}
		if r := s.claimInit(c); r != (refusal{}) {
			return c.refuse(h, r)
		}
		body, err := c.body(h, s.options.MaxPayload)
		if err != nil && !errors.Is(err, errTooLarge) {
			return c.broken(err)
		}
		s.finishInit(c, Outcome{Payload: body, ErrorType: h.errorType})
		c.accept(err == nil)
		return true
	}
	rest, ok := strings.CutPrefix(path, "invocation/")
	id, verb, found := strings.Cut(rest, "/")
	if !ok || !found || (verb != "response" && verb != "error") {
		return c.refuse(h, refusal{statusNotFound, "NotFound", "No such path"})
	}
	if h.method != "POST" {
		return c.refuse(h, refusal{statusMethod, "MethodNotAllowed", "Use POST"})
	}
	if h.mode == modeUnknown {
		return c.refuse(h, refusal{statusBadRequest, "InvalidFunctionResponseMode", "Invalid function response mode"})
	}
	if r := s.claim(c, id); r != (refusal{}) {
		return c.refuse(h, r)
	}
	if verb == "response" && h.mode == modeStreaming {
		if sink := s.beginStream(); sink != nil {
			return s.stream(c, h, sink)
		}
	}
	body, err := c.body(h, s.options.MaxPayload)
	o := Outcome{Payload: body, ErrorType: h.errorType}
	switch {
	case errors.Is(err, errTooLarge):
		o = Outcome{Kind: TooLarge, Limit: s.options.MaxPayload}
	case err != nil:
		return c.broken(err)
	case verb == "error" || h.trailerError:
		o.Kind = Failed
	}
	if !s.finish(c, o) {
		return false
	}
	// Whoever waits for the outcome goes first: the runtime has nothing to do
	// until its next invocation.
	runtime.Gosched()
	c.accept(err == nil)
	return true
}
