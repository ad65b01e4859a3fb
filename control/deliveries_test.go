package control_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// fakeQueues keeps what it takes, and refuses what the test says.
type fakeQueues struct {
	refuse func(attempt int) error // nil takes everything

	mu       sync.Mutex
	attempts int
	taken    []lamina.Message
}

func (f *fakeQueues) Send(_ context.Context, m lamina.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attempts++
	if f.refuse != nil {
		if err := f.refuse(f.attempts); err != nil {
			return err
		}
	}
	f.taken = append(f.taken, m)
	return nil
}

// wait returns the messages when there are n.
func (f *fakeQueues) wait(t *testing.T, n int) []lamina.Message {
	t.Helper()
	var taken []lamina.Message
	eventually(t, fmt.Sprintf("%d messages", n), func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		taken = append([]lamina.Message{}, f.taken...)
		return len(taken) >= n
	})
	if len(taken) > n {
		t.Errorf("%d messages; want %d", len(taken), n)
	}
	return taken
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(patience); !is(); <-poll.C {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}

// safeBuffer is a log that a test reads while it is written.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func queueARN(name string) string { return "arn:aws:sqs:eu-west-1:000000000000:" + name }

func functionARN(name string) string { return "arn:aws:lambda:eu-west-1:000000000000:function:" + name }

// destinations configures where the ends of a function's events are told.
func (s *eventServer) destinations(name, onSuccess, onFailure string, retries int64) {
	s.t.Helper()
	c := &wire.DestinationConfig{}
	if onSuccess != "" {
		c.OnSuccess = &wire.OnSuccess{Destination: &onSuccess}
	}
	if onFailure != "" {
		c.OnFailure = &wire.OnFailure{Destination: &onFailure}
	}
	_, err := s.PutFunctionEventInvokeConfig(s.ctx, &wire.PutFunctionEventInvokeConfigRequest{
		FunctionName: name, MaximumRetryAttempts: &retries, DestinationConfig: c,
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *eventServer) deadLetters(name, target string) {
	s.t.Helper()
	_, err := s.UpdateFunctionConfiguration(s.ctx, &wire.UpdateFunctionConfigurationRequest{
		FunctionName: name, DeadLetterConfig: &wire.DeadLetterConfig{TargetArn: &target},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	settled(s.t, s.Plane, s.ctx, name)
}

var timestampMember = regexp.MustCompile(`"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`)

func told(m lamina.Message) string {
	return m.Target[strings.LastIndexByte(m.Target, ':')+1:] + " " + timestampMember.ReplaceAllString(string(m.Body), `"timestamp":T`)
}

func TestDestinationRecords(t *testing.T) {
	t.Parallel()
	answers := func(result lamina.Result) func(context.Context, lamina.Invocation) (lamina.Result, error) {
		return func(context.Context, lamina.Invocation) (lamina.Result, error) { return result, nil }
	}
	failing := answers(lamina.Result{Payload: []byte(`{"errorMessage":"no <tea>","errorType":"T"}`), FunctionError: lamina.Unhandled})
	const request = `"requestContext":{"requestId":"a","functionArn":"arn:aws:lambda:eu-west-1:000000000000:function:fn:$LATEST",`
	for _, c := range []struct {
		name    string
		retries int64
		answer  func(context.Context, lamina.Invocation) (lamina.Result, error)
		prepare func(s *eventServer)
		want    string
	}{
		{
			"success", 0, answers(lamina.Result{Payload: []byte(`{"x": 12345678901234567890}`)}), nil,
			`good {"version":"1.0","timestamp":T,` + request + `"condition":"Success","approximateInvokeCount":1},` +
				`"requestPayload":{"id":"a"},"responseContext":{"statusCode":200,"executedVersion":"$LATEST"},"responsePayload":{"x":12345678901234567890}}`,
		},
		{
			"nothing returned", 0, answers(lamina.Result{Payload: []byte(`null`)}), nil,
			`good {"version":"1.0","timestamp":T,` + request + `"condition":"Success","approximateInvokeCount":1},` +
				`"requestPayload":{"id":"a"},"responseContext":{"statusCode":200,"executedVersion":"$LATEST"},"responsePayload":null}`,
		},
		{
			"a response that is no JSON", 0, answers(lamina.Result{Payload: []byte("tea\n")}), nil,
			`good {"version":"1.0","timestamp":T,` + request + `"condition":"Success","approximateInvokeCount":1},` +
				`"requestPayload":{"id":"a"},"responseContext":{"statusCode":200,"executedVersion":"$LATEST"},"responsePayload":"tea\n"}`,
		},
		{
			"no retries", 0, failing, nil,
			`bad {"version":"1.0","timestamp":T,` + request + `"condition":"RetriesExhausted","approximateInvokeCount":1},` +
				`"requestPayload":{"id":"a"},"responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"},` +
				`"responsePayload":{"errorMessage":"no <tea>","errorType":"T"}}`,
		},
		{
			"two retries", 2, failing, nil,
			`bad {"version":"1.0","timestamp":T,` + request + `"condition":"RetriesExhausted","approximateInvokeCount":3},` +
				`"requestPayload":{"id":"a"},"responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"},` +
				`"responsePayload":{"errorMessage":"no <tea>","errorType":"T"}}`,
		},
		{
			"nothing reserved", 2, failing, func(s *eventServer) {
				if _, err := s.PutFunctionConcurrency(s.ctx, &wire.PutFunctionConcurrencyRequest{FunctionName: "fn"}); err != nil {
					s.t.Fatal(err)
				}
			},
			`bad {"version":"1.0","timestamp":T,` + request + `"condition":"ZeroReservedConcurrency","approximateInvokeCount":0},"requestPayload":{"id":"a"}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			q := &fakeQueues{}
			s := startEvents(t, eventOptions{answer: c.answer, queues: q})
			s.function("fn")
			s.destinations("fn", queueARN("good"), queueARN("bad"), c.retries)
			if c.prepare != nil {
				c.prepare(s)
			}
			s.send("a", "fn")
			m := q.wait(t, 1)[0]
			if got := told(m); got != c.want {
				t.Errorf("message:\n%s; want\n%s", got, c.want)
			}
			if len(m.Attributes) > 0 {
				t.Errorf("attributes = %v; want none", m.Attributes)
			}
		})
	}
}

// TestDestinationAfterOldAge: the record of an event that became too old has
// what its last run came to.
func TestDestinationAfterOldAge(t *testing.T) {
	t.Parallel()
	q := &fakeQueues{}
	s := startEvents(t, eventOptions{answer: fails, delay: time.Hour, queues: q})
	s.function("fn")
	s.destinations("fn", "", queueARN("bad"), 2)
	s.send("a", "fn")
	s.until("a", func(e store.EventState) bool { return e.Attempts == 1 && e.Owner == "" })
	s.late.Add(int64(7 * time.Hour))
	s.send("waker", "fn")
	for _, m := range q.wait(t, 1) {
		if !strings.Contains(string(m.Body), `"condition":"EventAgeExceeded","approximateInvokeCount":1}`) ||
			!strings.Contains(string(m.Body), `"functionError":"Unhandled"},"responsePayload":{}}`) {
			t.Errorf("message = %s; want EventAgeExceeded after 1, with the last response", m.Body)
		}
	}
}

// TestDestinationOfAlias: each qualifier has destinations of its own, and the
// record names the alias and the version that ran.
func TestDestinationOfAlias(t *testing.T) {
	t.Parallel()
	q := &fakeQueues{}
	s := startEvents(t, eventOptions{queues: q})
	s.function("fn")
	if _, err := s.PublishVersion(s.ctx, &wire.PublishVersionRequest{FunctionName: "fn"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateAlias(s.ctx, &wire.CreateAliasRequest{FunctionName: "fn", Name: "live", FunctionVersion: "1"}); err != nil {
		t.Fatal(err)
	}
	s.destinations("fn:live", queueARN("live"), "", 0)
	s.destinations("fn:1", queueARN("one"), "", 0)
	s.send("unqualified", "fn")
	s.ended("unqualified")
	s.send("a", "fn:live")
	got := told(q.wait(t, 1)[0])
	if !strings.HasPrefix(got, "live ") || !strings.Contains(got, `function:fn:live","condition"`) || !strings.Contains(got, `"executedVersion":"1"`) {
		t.Errorf("message = %s; want one about fn:live, which ran version 1", got)
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 1000)
	q := &fakeQueues{}
	s := startEvents(t, eventOptions{queues: q, answer: func(_ context.Context, in lamina.Invocation) (lamina.Result, error) {
		message := map[string]string{"a": "no \x01tea", "b": long}[in.RequestID]
		payload, err := json.Marshal(map[string]string{"errorMessage": message})
		return lamina.Result{Payload: payload, FunctionError: lamina.Unhandled}, err
	}})
	s.function("fn")
	s.deadLetters("fn", queueARN("dead"))
	s.configure("fn", ptr[int64](0), nil)
	for _, c := range []struct{ id, message string }{{"a", "no  tea"}, {"b", long[:1024]}, {"c", "Unhandled"}} {
		q.mu.Lock()
		q.taken = nil
		q.mu.Unlock()
		s.send(c.id, "fn")
		m := q.wait(t, 1)[0]
		if got, want := told(m), `dead {"id":"`+c.id+`"}`; got != want {
			t.Errorf("message = %s; want the event, %s", got, want)
		}
		want := fmt.Sprint([]lamina.Attribute{{Name: "RequestID", Type: "String", Value: c.id}, {Name: "ErrorCode", Type: "Number", Value: "200"}, {Name: "ErrorMessage", Type: "String", Value: c.message}})
		if got := fmt.Sprint(m.Attributes); got != want {
			t.Errorf("attributes = %s; want %s", got, want)
		}
	}
	t.Run("and a failure destination", func(t *testing.T) {
		q.mu.Lock()
		q.taken = nil
		q.mu.Unlock()
		s.destinations("fn", queueARN("good"), queueARN("bad"), 0)
		s.send("d", "fn")
		got := []string{}
		for _, m := range q.wait(t, 2) {
			name, _, _ := strings.Cut(told(m), " ")
			got = append(got, name)
		}
		if text := strings.Join(got, " "); text != "bad dead" && text != "dead bad" {
			t.Errorf("told %s; want bad and dead", text)
		}
	})
}

// TestQueueOfAnotherAccount: what is sent with the operator's key does not reach
// the queue of another account that is here. Accounts elsewhere are as ever.
func TestQueueOfAnotherAccount(t *testing.T) {
	t.Parallel()
	q, log := &fakeQueues{}, &safeBuffer{}
	s := startEvents(t, eventOptions{queues: q, log: log})
	err := s.db.Update(s.ctx, func(tx *store.Tx) error {
		return tx.InsertAccount(s.ctx, store.Account{ID: "111111111111", Name: "another", Created: time.Now()})
	})
	if err != nil {
		t.Fatal(err)
	}
	s.function("fn")
	s.function("other")
	s.destinations("fn", strings.Replace(queueARN("theirs"), "000000000000", "111111111111", 1), "", 0)
	s.destinations("other", strings.Replace(queueARN("elsewhere"), "000000000000", "222222222222", 1), "", 0)
	s.send("a", "fn")
	s.ended("a")
	s.noDeliveries()
	s.send("b", "other")
	if got := told(q.wait(t, 1)[0]); !strings.HasPrefix(got, "elsewhere ") {
		t.Errorf("message = %s; want one for the queue elsewhere", got)
	}
	if want := `reason="the queue is another account's"`; !strings.Contains(log.String(), want) {
		t.Errorf("log = %s; want %s", log, want)
	}
}

// TestFunctionDestination: the target is invoked once with the record, under a
// request ID of its own, and its lineage goes on.
func TestFunctionDestination(t *testing.T) {
	t.Parallel()
	s := startEvents(t, eventOptions{answer: func(_ context.Context, in lamina.Invocation) (lamina.Result, error) {
		return lamina.Result{Payload: []byte(`"from ` + in.Version.Function.Name + `"`)}, nil
	}})
	s.function("fn")
	s.function("next")
	s.destinations("fn", functionARN("next"), "", 0)
	s.send("a", "fn")
	first, second := s.call(), s.call()
	if second.RequestID == "a" || second.RequestID == "" || second.Version.Function.Name != "next" || second.InvokedARN != functionARN("next") {
		t.Errorf("second invocation = %s %s; want another of next", second.RequestID, second.InvokedARN)
	}
	if got := string(second.Payload); !strings.Contains(got, `"requestPayload":{"id":"a"}`) || !strings.HasSuffix(got, `"responsePayload":"from fn"}`) {
		t.Errorf("payload = %s; want the record of fn's success", got)
	}
	root := regexp.MustCompile(`^Root=1-[0-9a-f]{8}-[0-9a-f]{24};`)
	if a := root.FindString(first.TraceID); a == "" || !strings.HasPrefix(second.TraceID, a) {
		t.Errorf("traces %q, %q; want one root", first.TraceID, second.TraceID)
	}
	if !regexp.MustCompile(`;Lineage=[0-9a-f]{8}:0$`).MatchString(first.TraceID) || !regexp.MustCompile(`;Lineage=[0-9a-f]{8}:0\|[0-9a-f]{8}:0$`).MatchString(second.TraceID) {
		t.Errorf("traces %q, %q; want one function, then two", first.TraceID, second.TraceID)
	}
	s.ended(second.RequestID)
	if len(s.calls) > 0 {
		t.Errorf("%d more invocations; want none", len(s.calls))
	}
}

// TestRecursiveLoop: two functions that are each other's destinations stop after
// sixteen rounds, unless they may go on.
func TestRecursiveLoop(t *testing.T) {
	t.Parallel()
	log := &safeBuffer{}
	q := &fakeQueues{}
	s := startEvents(t, eventOptions{queues: q, log: log})
	s.function("ping")
	s.function("pong")
	s.destinations("ping", functionARN("pong"), queueARN("bad"), 0)
	s.destinations("pong", functionARN("ping"), functionARN("ping"), 0)
	s.send("a", "ping")
	var got struct {
		RequestContext  struct{ Condition string }
		ResponseContext any
	}
	if err := json.Unmarshal(q.wait(t, 1)[0].Body, &got); err != nil || got.RequestContext.Condition != "RecursiveLoop" || got.ResponseContext != nil {
		t.Errorf("record = %+v, %v; want RecursiveLoop", got, err)
	}
	if n := len(s.calls); n != 2*lamina.MostVisits {
		t.Errorf("%d invocations; want %d", n, 2*lamina.MostVisits)
	}
	if _, err := s.Plane.Invoke(wire.WithTraceID(s.ctx, looped(s)), &wire.InvocationRequest{FunctionName: "ping"}); !wire.RecursiveInvocation.Is(err) {
		t.Errorf("Invoke in the loop = %v; want RecursiveInvocationException", err)
	}
	allow := func(name string) {
		if _, err := s.PutFunctionRecursionConfig(s.ctx, &wire.PutFunctionRecursionConfigRequest{FunctionName: name, RecursiveLoop: "Allow"}); err != nil {
			t.Fatal(err)
		}
	}
	allow("ping")
	allow("pong")
	s.send("b", "ping")
	for range 5 * lamina.MostVisits {
		s.call()
	}
}

// looped empties the calls and returns the header of the last one of pong.
func looped(s *eventServer) (trace string) {
	for len(s.calls) > 0 {
		if in := <-s.calls; in.Version.Function.Name == "pong" {
			trace = in.TraceID
		}
	}
	return trace
}

// TestLoopOfFailures: a loop's end is not told to functions in the loop.
func TestLoopOfFailures(t *testing.T) {
	t.Parallel()
	log := &safeBuffer{}
	s := startEvents(t, eventOptions{answer: fails, log: log})
	s.function("ping")
	s.function("pong")
	s.destinations("ping", "", functionARN("pong"), 0)
	s.destinations("pong", "", functionARN("ping"), 0)
	s.send("a", "ping")
	for range 2 * lamina.MostVisits {
		s.call()
	}
	eventually(t, "end of the loop", func() bool { return strings.Contains(log.String(), "the target is in the loop, too") })
	if n := len(s.calls); n > 0 {
		t.Errorf("%d more invocations; want none", n)
	}
}

func TestDeliveryIsRepeated(t *testing.T) {
	t.Parallel()
	q := &fakeQueues{refuse: func(attempt int) error {
		switch attempt {
		case 1:
			return errors.New("connection refused")
		case 2:
			return &lamina.QueueError{Code: "AWS.SimpleQueueService.NonExistentQueue"}
		}
		return nil
	}}
	s := startEvents(t, eventOptions{queues: q})
	s.function("fn")
	s.destinations("fn", queueARN("good"), "", 0)
	s.send("a", "fn")
	q.wait(t, 1)
	s.noDeliveries()
}

func (s *eventServer) deliveriesLeft() (n store.Backlog) {
	err := s.db.View(s.t.Context(), func(tx *store.Tx) (err error) {
		n, err = tx.DeliveryBacklog(s.t.Context(), lamina.Scope{Account: "000000000000", Region: "eu-west-1"})
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
	return n
}

func (s *eventServer) noDeliveries() {
	s.t.Helper()
	eventually(s.t, "end of the deliveries", func() bool { return s.deliveriesLeft() == store.Backlog{} })
}

func TestDeliveryIsGivenUp(t *testing.T) {
	t.Parallel()
	down := func(int) error { return errors.New("connection refused") }
	for _, c := range []struct {
		name   string
		refuse func(int) error
		none   bool // no SQS
		target string
		after  time.Duration
		want   string // in the log
	}{
		{"what the queue never takes", func(int) error {
			return &lamina.QueueError{Code: "InvalidMessageContents", Message: "odd", Final: true}
		}, false, queueARN("q"), 0, "InvalidMessageContents: odd"},
		{"what the queue did not take for hours", down, false, queueARN("q"), lamina.DeliveryLife, "connection refused"},
		{"a queue without SQS", nil, true, queueARN("q"), 0, "start it with --sqs-endpoint"},
		{"a topic", nil, false, "arn:aws:sns:eu-west-1:000000000000:topic", 0, "Lambda functions and SQS queues only"},
		{"a bus", nil, false, "arn:aws:events:eu-west-1:000000000000:event-bus/default", 0, "Lambda functions and SQS queues only"},
		{"a bucket", nil, false, "arn:aws:s3:::bucket", 0, "Lambda functions and SQS queues only"},
		{"a function that is gone", nil, false, functionARN("gone"), 0, "the function does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			log := &safeBuffer{}
			q := &fakeQueues{refuse: c.refuse}
			o := eventOptions{answer: fails, queues: q, log: log}
			if c.none {
				o.queues = nil
			}
			s := startEvents(t, o)
			s.function("fn")
			if c.target == functionARN("gone") {
				s.function("gone")
			}
			s.destinations("fn", "", c.target, 0)
			if c.target == functionARN("gone") {
				if _, err := s.DeleteFunction(s.ctx, &wire.DeleteFunctionRequest{FunctionName: "gone"}); err != nil {
					t.Fatal(err)
				}
			}
			s.send("a", "fn")
			if c.after > 0 {
				eventually(t, "first attempt", func() bool { return strings.Contains(log.String(), "event record not delivered") })
				s.late.Add(int64(c.after))
			}
			eventually(t, "drop in the log", func() bool {
				return strings.Contains(log.String(), `msg="event record dropped" metric=DestinationDeliveryFailures request_id=a`) && strings.Contains(log.String(), c.want)
			})
			s.noDeliveries()
		})
	}
}

// TestDeliveriesAreBounded: what waits takes no more than events may.
func TestDeliveriesAreBounded(t *testing.T) {
	t.Parallel()
	log := &safeBuffer{}
	q := &fakeQueues{refuse: func(int) error { return errors.New("connection refused") }}
	s := startEvents(t, eventOptions{queues: q, log: log, limits: func(l *lamina.Limits) { l.QueuedEvents = 2 }})
	s.function("fn")
	s.destinations("fn", queueARN("q"), "", 0)
	for i := range 3 {
		s.send(fmt.Sprint(i), "fn")
		s.ended(fmt.Sprint(i))
	}
	if n := s.deliveriesLeft().Events; n != 2 {
		t.Errorf("%d deliveries wait; want 2", n)
	}
	if !strings.Contains(log.String(), "too many deliveries wait") {
		t.Error("the log does not say that one was dropped")
	}
}

const deliveryChild = "LAMINA_TEST_DELIVERY_CHILD"

// TestDeliverySurvivesKill kills a server that tries to reach a queue; the next
// one delivers what it left.
func TestDeliverySurvivesKill(t *testing.T) {
	t.Parallel()
	path := database(t)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDeliveryChild$")
	child.Env = append(os.Environ(), deliveryChild+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, readErr := bufio.NewReader(out).ReadString('\n')
	if err := errors.Join(readErr, child.Process.Kill()); err != nil || line != "ready\n" {
		t.Fatalf("child says %q, %v; want ready", line, err)
	}
	_, _ = io.Copy(io.Discard, out)
	_ = child.Wait() // killed

	q := &fakeQueues{}
	s := startEvents(t, eventOptions{path: path, queues: q, ahead: 2 * time.Minute}) // the lease is over by then
	if got := told(q.wait(t, 1)[0]); !strings.Contains(got, `"requestId":"a"`) {
		t.Errorf("message = %s; want that about a", got)
	}
	s.noDeliveries()
}

// TestDeliveryChild is the process that TestDeliverySurvivesKill kills; without
// it, there is nothing to test.
func TestDeliveryChild(t *testing.T) {
	path := os.Getenv(deliveryChild)
	if path == "" {
		return
	}
	sending := make(chan struct{})
	q := &fakeQueues{refuse: func(int) error {
		close(sending)
		select {} // until it is killed
	}}
	s := startEvents(t, eventOptions{path: path, queues: q})
	s.function("fn")
	s.destinations("fn", queueARN("good"), "", 0)
	s.send("a", "fn")
	<-sending
	fmt.Println("ready")
	<-t.Context().Done()
}

// TestStoppingHandsDeliveriesBack: what a stopping server has not sent is sent by
// the next one at once.
func TestStoppingHandsDeliveriesBack(t *testing.T) {
	t.Parallel()
	path := database(t)
	tried := make(chan struct{}, 1000)
	a := startEvents(t, eventOptions{path: path, queues: &fakeQueues{refuse: func(int) error {
		tried <- struct{}{}
		return errors.New("connection refused")
	}}})
	a.function("fn")
	a.destinations("fn", queueARN("good"), "", 0)
	a.send("a", "fn")
	<-tried
	a.stop()
	q := &fakeQueues{}
	startEvents(t, eventOptions{path: path, queues: q})
	q.wait(t, 1)
}
