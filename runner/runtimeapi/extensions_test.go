package runtimeapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func ext(method, path, body string, headers ...string) string {
	return fmt.Sprintf("%s /2020-01-01/extension/%s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", method, path, strings.Join(headers, ""), len(body), body)
}

func named(name string) string { return "Lambda-Extension-Name: " + name + "\r\n" }

func by(id string) string { return "lambda-extension-identifier: " + id + "\r\n" }

const failing = "Lambda-Extension-Function-Error-Type: My.Error\r\n"

// register takes an extension in and returns its connection and identifier.
func register(t *testing.T, dial func() *client, name, events string) (*client, string) {
	t.Helper()
	c := dial()
	c.send(ext("POST", "register", `{"events":`+events+`}`, named(name)))
	r, body := c.read()
	id := r.Header.Get("Lambda-Extension-Identifier")
	if r.StatusCode != 200 || !isID(id) {
		t.Fatalf("register = %d %s; want 200 and an identifier", r.StatusCode, body)
	}
	return c, id
}

func (c *client) wantEvent(kind, requestID string) {
	c.t.Helper()
	r, body := c.read()
	var e struct{ EventType, RequestID, ShutdownReason string }
	if err := json.Unmarshal([]byte(body), &e); err != nil || r.StatusCode != 200 {
		c.t.Fatalf("event = %d %s: %v", r.StatusCode, body, err)
	}
	if e.EventType != kind || e.RequestID != requestID || !isID(r.Header.Get("Lambda-Extension-Event-Identifier")) {
		c.t.Errorf("event = %s; want %s %s", body, kind, requestID)
	}
}

func yields(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("not %s", what)
	}
}

func TestExtensionsLifecycle(t *testing.T) {
	t.Parallel()
	begun := make(chan string, 9) // one send for each invocation that is taken
	s, dial := serve(t, Options{
		Function: Function{Name: "fn", Version: "$LATEST", Handler: "a.b", AccountID: "123456789012"},
		Begin:    func(r *Request, _ time.Time) { begun <- r.ID },
	})
	s.Expect([]string{"one", "two"})
	one := dial()
	one.send(ext("POST", "register", `{"events":["SHUTDOWN","INVOKE","INVOKE"]}`, named("one"), "Lambda-Extension-Accept-Feature: x, accountId\r\n"))
	r, body := one.read()
	oneID := r.Header.Get("Lambda-Extension-Identifier")
	if body != `{"functionName":"fn","functionVersion":"$LATEST","handler":"a.b","accountId":"123456789012"}` {
		t.Errorf("answer = %s", body)
	}
	select {
	case <-s.Registered():
		t.Fatal("registered with one of two")
	default:
	}
	two, twoID := register(t, dial, "two", `["SHUTDOWN"]`)
	yields(t, s.Registered(), "registered")
	inside, insideID := register(t, dial, "inside", `["INVOKE"]`)

	// The initialization is over, and the invocation begins, when all have asked.
	deliver(t, s, "a")
	runtime := dial()
	runtime.send(get("invocation/next"))
	one.send(ext("GET", "event/next", "", by(oneID)))
	two.send(ext("GET", "event/next", "", by(twoID)))
	for {
		if x := s.Extensions(); x[0].State == stateReady && x[1].State == stateReady {
			break
		}
		time.Sleep(time.Millisecond) // until the server has read both
	}
	select {
	case <-s.Ready():
		t.Fatal("ready without the internal extension")
	case id := <-begun:
		t.Fatalf("%s began without the internal extension", id)
	default:
	}
	inside.send(ext("GET", "event/next", "", by(insideID)))
	yields(t, s.Ready(), "ready")
	if _, body := runtime.read(); body != `{"e":"a"}` {
		t.Errorf("event = %s", body)
	}
	one.wantEvent("INVOKE", "a")
	inside.wantEvent("INVOKE", "a")
	late := dial()
	late.send(ext("POST", "register", `{"events":[]}`, named("late")))
	late.want(403, "Extension.RegistrationClosed")

	// It is over when the runtime and those that heard of it ask again; another
	// that is delivered meanwhile waits for that.
	runtime.send(post("invocation/a/response", "x") + get("invocation/next"))
	outcome(t, s, Responded, "x")
	one.send(ext("GET", "event/next", "", by(oneID)))
	select {
	case <-s.Settled():
		t.Fatal("settled while an extension is at work")
	case <-time.After(20 * time.Millisecond):
	}
	inside.send(ext("GET", "event/next", "", by(insideID)))
	yields(t, s.Settled(), "settled")
	deliver(t, s, "b")
	runtime.want(202, "") // with the next event
	runtime.read()
	one.wantEvent("INVOKE", "b")
	inside.wantEvent("INVOKE", "b")

	// An event that finds no connection waits for one.
	one.Close()
	s.Shutdown(ReasonTimeout, time.UnixMilli(5))
	_, body = two.read()
	if body != `{"eventType":"SHUTDOWN","deadlineMs":5,"shutdownReason":"timeout"}` {
		t.Errorf("shutdown = %s", body)
	}
	again := dial()
	again.send(ext("GET", "event/next", "", by(oneID)))
	again.wantEvent("SHUTDOWN", "")

	s.Reset()
	if len(s.Extensions()) != 0 || s.Extended() || s.Fatal() != "" {
		t.Error("Reset kept extensions")
	}
	fresh := dial()
	fresh.send(ext("GET", "event/next", "", by(oneID)))
	fresh.want(403, "Extension.UnknownExtensionIdentifier")
}

func TestExtensionStateErrors(t *testing.T) {
	t.Parallel()
	var subscribed []string
	s, dial := serve(t, Options{Subscribe: func(name, api string, body []byte) *SubscribeError {
		subscribed = append(subscribed, name+" "+api+" "+string(body))
		switch len(subscribed) {
		case 1:
			return nil
		case 2:
			return &SubscribeError{Message: `types "x"`}
		}
		return &SubscribeError{Closed: true}
	}})
	s.Expect([]string{"one"})
	c := dial()
	for _, step := range []struct {
		name, request string
		status        int
		body          string
	}{
		{"no name", ext("POST", "register", `{}`), 403, `{"errorMessage":"Empty extension name","errorType":"Extension.InvalidExtensionName"}`},
		{"no body", ext("POST", "register", ``, named("x")), 403, `"errorType":"InvalidRequestFormat"`},
		{"keys", ext("POST", "register", `{"configurationKeys":["a"]}`, named("x")), 403, "deprecated"},
		{"an unknown event", ext("POST", "register", `{"events":["RESTORE"]}`, named("one")), 403, "Extension.InvalidEventType"},
		{"SHUTDOWN inside", ext("POST", "register", `{"events":["SHUTDOWN"]}`, named("inside")), 403, "Extension.InvalidEventType"},
		{"no identifier", ext("GET", "event/next", ""), 403, `{"errorMessage":"Missing Lambda-Extension-Identifier header","errorType":"Extension.MissingExtensionIdentifier"}`},
		{"a broken identifier", ext("GET", "event/next", "", by("x")), 403, "Extension.InvalidExtensionIdentifier"},
		{"an unknown identifier", ext("GET", "event/next", "", by(newID())), 403, "Extension.UnknownExtensionIdentifier"},
		{"an unknown identifier's error", ext("POST", "init/error", "", by(newID()), failing), 403, "Unknown Lambda-Extension-Identifier"},
		{"a wrong method", ext("GET", "register", ""), 405, ""},
		{"a wrong path", ext("GET", "nothing", ""), 404, ""},
		{"a subscription of nobody", "PUT /2022-07-01/telemetry HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 403, "Extension.MissingExtensionIdentifier"},
		{"another PUT", "PUT /x HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 404, ""},
	} {
		t.Log(step.name)
		c.send(step.request)
		c.want(step.status, step.body)
	}
	_, id := register(t, dial, "one", `["INVOKE"]`)
	put := func(path string) string {
		return "PUT " + path + " HTTP/1.1\r\n" + by(id) + "Content-Length: 2\r\n\r\n{}"
	}
	for _, step := range []struct {
		name, request string
		status        int
		body          string
	}{
		{"once more", ext("POST", "register", `{}`, named("one")), 403, `State transition from Registered to Registered failed for extension one. Error: State transition is not allowed`},
		{"a subscription", put("/2022-07-01/telemetry"), 200, `"OK"`},
		{"a bad one", put("/2022-07-01/telemetry/"), 400, `{"errorMessage":"types \"x\"","errorType":"ValidationError"}`},
		{"a late one", put("/2020-08-15/logs"), 403, `{"errorMessage":"Logs API subscription is closed already","errorType":"Logs.SubscriptionClosed"}`},
		{"an error without a type", ext("POST", "init/error", "{}", by(id)), 403, `Lambda-Extension-Function-Error-Type not found`},
		{"an error", ext("POST", "init/error", "{}", by(id), failing), 202, `{"status":"OK"}`},
		{"the error again", ext("POST", "init/error", "{}", by(id), failing), 202, `{"status":"OK"}`},
		{"next after it", ext("GET", "event/next", "", by(id)), 403, "State transition from InitError to Ready failed"},
		{"another error after it", ext("POST", "exit/error", "{}", by(id), failing), 403, "State transition from InitError to ExitError failed"},
	} {
		t.Log(step.name)
		c.send(step.request)
		c.want(step.status, step.body)
	}
	if s.Fatal() != "Extension.InitError" {
		t.Errorf("Fatal = %q; want Extension.InitError", s.Fatal())
	}
	if want := []string{"one telemetry {}", "one telemetry {}", "one logs {}"}; !slices.Equal(subscribed, want) {
		t.Errorf("subscriptions = %v; want %v", subscribed, want)
	}
	for i := range MaxExtensions - 1 {
		register(t, dial, fmt.Sprint(i), `[]`)
	}
	c.send(ext("POST", "register", `{}`, named("0")))
	c.want(403, "Extension with this name already registered")
	c.send(ext("POST", "register", `{}`, named("eleventh")))
	c.want(403, `{"errorMessage":"Extension limit (10) reached","errorType":"Extension.TooManyExtensions"}`)
	if x := s.Extensions()[0]; x.State != stateInitError || x.ErrorType != "My.Error" || !x.External {
		t.Errorf("extension = %+v", x)
	}
}

func TestRuntimeStateErrors(t *testing.T) {
	t.Parallel()
	s, dial := serve(t, Options{})
	c := dial()
	c.send(get("restore/next"))
	c.want(200, "")
	deliver(t, s, "a")
	c.send(get("invocation/next"))
	c.read()
	for _, step := range []struct {
		request string
		status  int
		body    string
	}{
		{get("invocation/next"), 403, `{"errorMessage":"State transition from Running to Ready failed for runtime. Error: State transition is not allowed","errorType":"InvalidStateTransition"}`},
		{post("init/error", "{}"), 403, `State transition from Ready to InitError failed for runtime`},
		{post("restore/error", "{}"), 403, `InvalidStateTransition`},
		{post("invocation/b/response", "x"), 400, `{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}`},
		{post("invocation/b/error", "x"), 400, `InvalidRequestID`},
		{post("invocation/a/response", strings.Repeat("x", limit+1)), 413, `{"errorMessage":"Exceeded maximum allowed payload size (1000 bytes).","errorType":"RequestEntityTooLarge"}`},
		{post("invocation/a/response", "x"), 403, `InvalidStateTransition`},
	} {
		c.send(step.request)
		c.want(step.status, step.body)
	}
	outcome(t, s, TooLarge, "")
	// A deadline of its own counts, not the time since the runtime took it.
	if err := s.Deliver(&Request{ID: "c", Payload: []byte("{}"), Timeout: time.Minute, Deadline: time.UnixMilli(77)}); err != nil {
		t.Fatal(err)
	}
	c.send(get("invocation/next"))
	if r, _ := c.read(); r.Header.Get("Lambda-Runtime-Deadline-Ms") != "77" {
		t.Errorf("deadline = %s; want 77", r.Header.Get("Lambda-Runtime-Deadline-Ms"))
	}
}

// FuzzExtensions feeds whatever processes may send, some of it with a valid
// identifier. Nothing may panic or hang.
func FuzzExtensions(f *testing.F) {
	f.Add([]byte(ext("POST", "register", `{"events":["INVOKE"]}`, named("one")) + ext("GET", "event/next", "", by("ID"))))
	f.Add([]byte(ext("POST", "init/error", `{}`, by("ID"), failing) + get("invocation/next")))
	f.Add([]byte("PUT /2022-07-01/telemetry HTTP/1.1\r\n" + by("ID") + "Content-Length: 2\r\n\r\n{}"))
	f.Add([]byte(ext("GET", "event/next", "", by("ID")) + get("invocation/next") + ext("GET", "event/next", "", by("ID"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := New(Options{MaxPayload: limit, Now: time.Now, Subscribe: func(string, string, []byte) *SubscribeError { return nil }})
		s.Expect([]string{"one"})
		s.mu.Lock()
		id := newID()
		s.extensions[0].id, s.extensions[0].State, s.extensions[0].Events = id, stateRegistered, []string{EventInvoke}
		s.mu.Unlock()
		ours, theirs := net.Pipe()
		c := newConn(s, ours)
		if !s.adopt(c) {
			t.Fatal("not adopted")
		}
		if err := s.Deliver(&Request{ID: "a", Payload: []byte("{}"), Timeout: time.Second}); err != nil {
			t.Fatal(err)
		}
		var running sync.WaitGroup
		running.Go(c.serve)
		running.Go(func() {
			buf := make([]byte, 4096)
			for {
				if _, err := theirs.Read(buf); err != nil {
					return
				}
			}
		})
		_, _ = theirs.Write(bytes.ReplaceAll(data, []byte("ID"), []byte(id))) // the server may close before it has read all
		theirs.Close()
		running.Wait()
		s.Shutdown(ReasonSpindown, time.Now())
		s.Reset()
		if len(s.Extensions()) != 0 {
			t.Error("Reset kept extensions")
		}
	})
}
