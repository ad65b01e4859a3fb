package runtimeapi

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Function is what an extension learns about the function when it registers.
type Function struct {
	Name      string
	Version   string
	Handler   string
	AccountID string
}

// MaxExtensions is how many extensions one environment has, external and internal.
const MaxExtensions = 10

// Events that an extension registers for.
const (
	EventInvoke   = "INVOKE"
	EventShutdown = "SHUTDOWN"
)

// Reasons of a shutdown.
const (
	ReasonSpindown = "spindown"
	ReasonTimeout  = "timeout"
	ReasonFailure  = "failure"
)

// States of an extension, as AWS names them.
const (
	stateStarted    = "Started"
	stateRegistered = "Registered"
	stateReady      = "Ready"
	stateRunning    = "Running"
	stateInitError  = "InitError"
	stateExitError  = "ExitError"
	stateLaunch     = "LaunchError"
)

// Extension is how far one extension is.
type Extension struct {
	Name      string
	External  bool // a process of its own
	State     string
	Events    []string
	ErrorType string
}

const (
	extensionPrefix = "Lambda-Extension-"
	extensionPath   = "/2020-01-01/extension/"
	maxExtBody      = 256 << 10 // of a request that is not the function's result
	maxExtName      = 255
	eventPatience   = time.Second
)

// extension is one that was started or has registered. The session's mutex
// guards it.
type extension struct {
	Extension
	id     string // empty until it registers
	ready  bool   // has asked for an event since it got the last one
	parked *conn  // waits in event/next
	event  []byte // an answer that found no connection to go to
}

func (e *extension) wants(event string) bool { return slices.Contains(e.Events, event) }

// extensionHeader is what matters of the head of an extension's request.
type extensionHeader struct {
	name, id, features, errorType string
}

// set keeps a header line whose name starts with extensionPrefix.
func (h *extensionHeader) set(name string, value []byte) {
	if len(value) > 4096 {
		value = value[:4096]
	}
	text := strings.ToValidUTF8(string(value), "")
	switch strings.ToLower(name[len(extensionPrefix):]) {
	case "name":
		h.name = text
	case "identifier":
		h.id = text
	case "accept-feature":
		h.features = text
	case "function-error-type":
		h.errorType = text
	}
}

// Expect says which external extensions are about to start. [Session.Registered]
// tells when all of them have registered.
func (s *Session) Expect(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unregistered = len(names)
	for _, n := range names {
		s.extensions = append(s.extensions, &extension{Extension: Extension{Name: n, External: true, State: stateStarted}})
	}
}

// LaunchFailed says that an expected extension could not be started.
func (s *Session) LaunchFailed(name, errorType string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.extensions {
		if e.Name == name {
			e.State, e.ErrorType = stateLaunch, errorType
		}
	}
}

// Registered yields one value when all expected extensions have registered.
func (s *Session) Registered() <-chan struct{} { return s.registered }

// Settled yields a value when, after an invocation, the runtime and every
// extension ask for the next event. Without extensions it yields nothing.
func (s *Session) Settled() <-chan struct{} { return s.settled }

// Extensions returns how far all extensions are, in the order of their start.
func (s *Session) Extensions() []Extension {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Extension, len(s.extensions))
	for i, e := range s.extensions {
		out[i] = e.Extension
		out[i].Events = slices.Clone(e.Events)
	}
	return out
}

// Extended says whether there is any extension.
func (s *Session) Extended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.extensions) > 0
}

// Fatal returns the error type of the first extension that said that it failed.
func (s *Session) Fatal() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fatal
}

// AskedAt returns when the runtime first asked for an invocation, the end of the
// function's own initialization.
func (s *Session) AskedAt() (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.askedAt, !s.askedAt.IsZero()
}

// Shutdown tells the external extensions that registered for it that the
// environment ends.
func (s *Session) Shutdown(reason string, deadline time.Time) {
	body := fmt.Appendf(nil, `{"eventType":"SHUTDOWN","deadlineMs":%d,"shutdownReason":"%s"}`, deadline.UnixMilli(), reason)
	s.mu.Lock()
	var to []delivery
	for _, e := range s.extensions {
		if e.wants(EventShutdown) {
			to = e.notify(to, body)
		}
	}
	s.mu.Unlock()
	send(to)
}

// delivery is an event on its way to a connection, whose writing mutex is held.
type delivery struct {
	conn *conn
	id   string
	body []byte
}

// notify gives e an event: now, if it waits for one. It wants s.mu.
func (e *extension) notify(to []delivery, body []byte) []delivery {
	e.ready = false
	c := e.parked
	if c == nil {
		e.event = body
		return to
	}
	e.parked = nil
	e.State = stateRunning
	c.writing.Lock() // before the session's is given up, so that nothing comes in between
	return append(to, delivery{c, e.id, body})
}

func send(to []delivery) {
	for _, d := range to {
		d.conn.event(d.id, d.body)
		d.conn.writing.Unlock()
	}
}

// event answers event/next. It wants c.writing.
func (c *conn) event(id string, body []byte) {
	b := append(c.begin(), "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Extension-Identifier: "...)
	b = append(b, id...)
	b = append(b, "\r\nLambda-Extension-Event-Identifier: "...)
	b = append(b, newID()...)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"...)
	c.out = append(b, body...)
	// It fits the socket's buffers, unless the extension reads nothing at all; the
	// invocation must not wait for that.
	c.net.SetWriteDeadline(time.Now().Add(eventPatience)) // an unsupported deadline leaves the kill at the function's
	c.send(c.out)
	c.net.SetWriteDeadline(time.Time{}) // as above
}

// invokeEvent is what extensions learn about an invocation.
func invokeEvent(r *Request, deadline time.Time) []byte {
	type tracing struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	}
	body, err := json.Marshal(struct {
		EventType          string   `json:"eventType"`
		DeadlineMs         int64    `json:"deadlineMs"`
		RequestID          string   `json:"requestId"`
		InvokedFunctionARN string   `json:"invokedFunctionArn"`
		Tracing            *tracing `json:"tracing,omitempty"`
	}{EventInvoke, deadline.UnixMilli(), r.ID, r.InvokedARN, &tracing{"X-Amzn-Trace-Id", r.TraceID}})
	if err != nil {
		panic(err) // strings and a number
	}
	return body
}

// allReady says whether every extension waits for an event. It wants s.mu.
func (s *Session) allReady() bool {
	for _, e := range s.extensions {
		if !e.ready {
			return false
		}
	}
	return true
}

// advance goes on when the runtime and all extensions wait for an event: the
// initialization is over, or the invocation, and the next one may begin. It
// wants s.mu, and gives it up.
func (s *Session) advance() {
	if s.parked == nil || s.current != "" || !s.allReady() {
		s.mu.Unlock()
		return
	}
	if !s.initialized {
		s.initialized = true
		s.ready <- struct{}{} // Reset emptied it
	} else if len(s.extensions) > 0 && s.pending == nil {
		select {
		case s.settled <- struct{}{}:
		default:
		}
	}
	if s.pending == nil {
		s.mu.Unlock()
		return
	}
	s.release()
}

// release hands the pending invocation to everybody. It wants s.mu, and gives it up.
func (s *Session) release() {
	r, c := s.pending, s.parked
	s.pending, s.parked = nil, nil
	at := s.take(r)
	extended := len(s.extensions) > 0
	// The connection's goroutine may answer the invocation's response while
	// this write returns; writing keeps the two apart.
	c.writing.Lock()
	s.mu.Unlock()
	if begin := s.options.Begin; begin != nil {
		begin(r, at)
	}
	if extended {
		s.invokeExtensions(r, at)
	}
	c.deliver(r, at)
	c.writing.Unlock()
}

// invokeExtensions tells the extensions of an invocation, unless Reset came in
// between.
func (s *Session) invokeExtensions(r *Request, at time.Time) {
	body := invokeEvent(r, r.deadline(at))
	s.mu.Lock()
	select { // of the invocation before, for which nobody waited
	case <-s.settled:
	default:
	}
	var to []delivery
	for _, e := range s.extensions {
		if s.current == r.ID && e.wants(EventInvoke) {
			to = e.notify(to, body)
		}
	}
	s.mu.Unlock()
	send(to)
}

// deadline is when the function's time is up. at is when it took the invocation.
func (r *Request) deadline(at time.Time) time.Time {
	if !r.Deadline.IsZero() {
		return r.Deadline
	}
	return at.Add(r.Timeout)
}

// forget drops what is known of extensions. It wants s.mu.
func (s *Session) forget() {
	s.extensions, s.unregistered, s.fatal = nil, 0, ""
	s.initialized, s.askedAt = false, time.Time{}
	for _, c := range []chan struct{}{s.registered, s.settled} {
		select {
		case <-c:
		default:
		}
	}
}

// waits says whether an extension waits for an event on c. It wants s.mu.
func (s *Session) waits(c *conn) bool {
	for _, e := range s.extensions {
		if e.parked == c {
			return true
		}
	}
	return false
}

// unpark forgets a connection that ended. It wants s.mu.
func (s *Session) unpark(c *conn) {
	for _, e := range s.extensions {
		if e.parked == c {
			e.parked = nil
		}
	}
}

// newID makes a UUID. It lets extensions call, so nobody else may guess it.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func isID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, r := range s {
		switch i {
		case 8, 13, 18, 23:
			if r != '-' {
				return false
			}
		default:
			if !strings.ContainsRune("0123456789abcdefABCDEF", r) {
				return false
			}
		}
	}
	return true
}

func forbidden(kind, format string, args ...any) refusal {
	return refusal{statusForbidden, kind, fmt.Sprintf(format, args...)}
}

// transition is AWS's word for a request out of order.
func transition(kind, from, to, whom string) refusal {
	return forbidden(kind, "State transition from %s to %s failed for %s. Error: State transition is not allowed", from, to, whom)
}

// dispatchExtension serves one request of the Extensions or the Telemetry API,
// and reports whether the connection can go on.
func (s *Session) dispatchExtension(c *conn, h *header) bool {
	method := "POST"
	var serve func(*conn, *header, []byte)
	switch h.path {
	case extensionPath + "register":
		serve = s.register
	case extensionPath + "event/next":
		method, serve = "GET", s.nextEvent
	case extensionPath + "init/error":
		serve = func(c *conn, h *header, _ []byte) { s.extensionError(c, h, stateInitError, "Extension.InitError") }
	case extensionPath + "exit/error":
		serve = func(c *conn, h *header, _ []byte) { s.extensionError(c, h, stateExitError, "Extension.ExitError") }
	case "/2022-07-01/telemetry", "/2022-07-01/telemetry/":
		method, serve = "PUT", func(c *conn, h *header, body []byte) { s.subscribe(c, h, "telemetry", body) }
	case "/2020-08-15/logs", "/2020-08-15/logs/":
		method, serve = "PUT", func(c *conn, h *header, body []byte) { s.subscribe(c, h, "logs", body) }
	default:
		return c.refuse(h, refusal{statusNotFound, "NotFound", "No such path"})
	}
	if h.method != method {
		return c.refuse(h, refusal{statusMethod, "MethodNotAllowed", "Use " + method})
	}
	body, err := c.body(h, maxExtBody)
	if err != nil {
		c.fail(statusTooLarge, "RequestEntityTooLarge", "Request too large")
		return false
	}
	serve(c, h, body)
	return true
}

func (s *Session) register(c *conn, h *header, body []byte) {
	id, r := s.admit(c, h, body)
	if r != (refusal{}) {
		c.fail(r.status, r.kind, r.message)
		return
	}
	f := s.options.Function
	out := struct {
		FunctionName    string `json:"functionName"`
		FunctionVersion string `json:"functionVersion"`
		Handler         string `json:"handler"`
		AccountID       string `json:"accountId,omitempty"`
	}{f.Name, f.Version, f.Handler, ""}
	for feature := range strings.SplitSeq(h.extension.features, ",") {
		if strings.TrimSpace(feature) == "accountId" {
			out.AccountID = f.AccountID
		}
	}
	answer, err := json.Marshal(out)
	if err != nil {
		panic(err) // four strings
	}
	c.write("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Extension-Identifier: " + id +
		"\r\nContent-Length: " + strconv.Itoa(len(answer)) + "\r\n\r\n" + string(answer))
}

// admit takes an extension in, or says why not.
func (s *Session) admit(c *conn, h *header, body []byte) (id string, _ refusal) {
	name := h.extension.name
	if name == "" || len(name) > maxExtName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		if name != "" {
			return "", forbidden("Extension.InvalidExtensionName", "Invalid extension name")
		}
		return "", forbidden("Extension.InvalidExtensionName", "Empty extension name")
	}
	var in struct {
		Events            []string `json:"events"`
		ConfigurationKeys []string `json:"configurationKeys"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return "", forbidden("InvalidRequestFormat", "%s", err.Error())
	}
	if len(in.ConfigurationKeys) > 0 {
		return "", forbidden("InvalidRequestFormat", "configurationKeys are deprecated; use environment variables instead")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.conns[c]; !known { // of a process from before Reset
		return "", forbidden("Extension.RegistrationClosed", "Extension registration closed already")
	}
	i := slices.IndexFunc(s.extensions, func(e *extension) bool { return e.Name == name })
	external := i >= 0 && s.extensions[i].External
	for _, e := range in.Events {
		switch {
		case e != EventInvoke && e != EventShutdown:
			return "", forbidden("Extension.InvalidEventType", "%.40s: event type is not valid", e)
		case e == EventShutdown && !external:
			return "", forbidden("Extension.InvalidEventType", "SHUTDOWN: event is not supported for internal extensions")
		}
	}
	slices.Sort(in.Events)
	in.Events = slices.Compact(in.Events)
	if external {
		e := s.extensions[i]
		if e.State != stateStarted {
			return "", transition("Extension.InvalidExtensionState", e.State, stateRegistered, "extension "+name)
		}
		e.State, e.Events, e.id = stateRegistered, in.Events, newID()
		s.unregistered--
		if s.unregistered == 0 {
			s.registered <- struct{}{} // Reset emptied it
		}
		return e.id, refusal{}
	}
	switch {
	case !s.askedAt.IsZero():
		return "", forbidden("Extension.RegistrationClosed", "Extension registration closed already")
	case i >= 0:
		return "", forbidden("Extension.InvalidExtensionState", "Extension with this name already registered")
	case len(s.extensions) >= MaxExtensions:
		return "", forbidden("Extension.TooManyExtensions", "Extension limit (%d) reached", MaxExtensions)
	}
	e := &extension{Extension: Extension{Name: name, State: stateRegistered, Events: in.Events}, id: newID()}
	s.extensions = append(s.extensions, e)
	return e.id, refusal{}
}

// identify finds the extension that a request is from. It wants s.mu.
func (s *Session) identify(h *header) (*extension, refusal) {
	id := h.extension.id
	switch {
	case id == "":
		return nil, forbidden("Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")
	case !isID(id):
		return nil, forbidden("Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier")
	}
	for _, e := range s.extensions {
		if e.id != "" && strings.EqualFold(e.id, id) {
			return e, refusal{}
		}
	}
	return nil, forbidden("Extension.UnknownExtensionIdentifier", "Unknown extension %s", id)
}

// nextEvent is event/next on c.
func (s *Session) nextEvent(c *conn, h *header, _ []byte) {
	s.mu.Lock()
	e, r := s.identify(h)
	if _, known := s.conns[c]; r == (refusal{}) && !known {
		s.mu.Unlock()
		c.net.Close()
		return
	}
	if r == (refusal{}) && e.State != stateRegistered && e.State != stateReady && e.State != stateRunning {
		r = transition("Extension.InvalidExtensionState", e.State, stateReady, "extension "+e.id)
	}
	if r != (refusal{}) {
		s.mu.Unlock()
		c.fail(r.status, r.kind, r.message)
		return
	}
	former := e.parked
	e.State, e.parked = stateReady, c
	if body := e.event; body != nil {
		e.event = nil
		to := e.notify(nil, body)
		s.mu.Unlock()
		send(to)
	} else {
		e.ready = true
		s.advance()
	}
	if former != nil {
		former.net.Close() // its client asked again elsewhere
	}
}

// extensionError is init/error and exit/error: the extension says why it is
// going to exit. Its exit is what ends the environment.
func (s *Session) extensionError(c *conn, h *header, state, fatal string) {
	s.mu.Lock()
	e, r := s.identify(h)
	switch {
	case r != (refusal{}):
		if r.kind == "Extension.UnknownExtensionIdentifier" {
			r.message = "Unknown Lambda-Extension-Identifier"
		}
	case h.extension.errorType == "":
		r = forbidden("Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found")
	case e.State == state: // once more
	case e.State == stateInitError || e.State == stateExitError || (state == stateInitError && e.State != stateRegistered):
		r = transition("Extension.InvalidExtensionState", e.State, state, "extension "+e.id)
	default:
		e.State, e.ErrorType, e.ready = state, h.extension.errorType, false
		if s.fatal == "" {
			s.fatal = fatal
		}
	}
	s.mu.Unlock()
	if r != (refusal{}) {
		c.fail(r.status, r.kind, r.message)
		return
	}
	c.write("HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"status\":\"OK\"}")
}

// A SubscribeError is why a subscription is refused.
type SubscribeError struct {
	Closed  bool // the time to subscribe is over
	Message string
}

func (e *SubscribeError) Error() string { return e.Message }

func (s *Session) subscribe(c *conn, h *header, api string, body []byte) {
	s.mu.Lock()
	e, r := s.identify(h)
	s.mu.Unlock()
	if r != (refusal{}) {
		c.fail(r.status, r.kind, r.message)
		return
	}
	prefix, word := "Telemetry", "Telemetry API"
	if api == "logs" {
		prefix, word = "Logs", "Logs API"
	}
	if s.options.Subscribe == nil {
		c.fail(statusForbidden, prefix+".NotSupported", word+" is not supported")
		return
	}
	switch err := s.options.Subscribe(e.Name, api, body); {
	case err == nil:
		c.reply(statusOK, []byte(`"OK"`))
	case err.Closed:
		c.fail(statusForbidden, prefix+".SubscriptionClosed", word+" subscription is closed already")
	default:
		c.fail(statusBadRequest, "ValidationError", err.Message)
	}
}
