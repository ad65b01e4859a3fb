package control_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// eventInvoker sends every invocation to the test and answers what the test
// makes of it.
type eventInvoker struct {
	fakeInvoker

	calls  chan lamina.Invocation // each Invoke sends one; the test receives
	answer func(ctx context.Context, in lamina.Invocation) (lamina.Result, error)
}

func (f *eventInvoker) Invoke(ctx context.Context, in lamina.Invocation) (lamina.Result, error) {
	select {
	case f.calls <- in:
	case <-ctx.Done():
		return lamina.Result{}, ctx.Err()
	}
	if f.answer == nil {
		return lamina.Result{Payload: []byte("null")}, nil
	}
	return f.answer(ctx, in)
}

func fails(context.Context, lamina.Invocation) (lamina.Result, error) {
	return lamina.Result{Payload: []byte("{}"), FunctionError: lamina.Unhandled}, nil
}

// eventServer is a plane whose queue runs, and what a test asks it.
type eventServer struct {
	*control.Plane
	*eventInvoker
	t    *testing.T
	ctx  context.Context // of a caller
	db   *store.Store
	late atomic.Int64 // nanoseconds by which its clock is late
	stop func()
}

type eventOptions struct {
	path   string // of a database that exists, perhaps
	answer func(ctx context.Context, in lamina.Invocation) (lamina.Result, error)
	delay  time.Duration // between attempts
	atOnce int
	idle   bool // RunEvents does not run
	ahead  time.Duration
	limits func(*lamina.Limits)
	queues control.Queues
	log    io.Writer // nil drops it
	meter  control.Meter
	tracer control.Tracer
}

func startEvents(t *testing.T, o eventOptions) *eventServer {
	t.Helper()
	if o.path == "" {
		o.path = database(t)
	}
	db, err := store.Open(t.Context(), store.Options{Path: o.path})
	if err != nil {
		t.Fatal(err)
	}
	s := &eventServer{t: t, db: db, eventInvoker: &eventInvoker{calls: make(chan lamina.Invocation, 100), answer: o.answer}}
	s.late.Store(int64(o.ahead))
	limits := lamina.DefaultLimits()
	if o.limits != nil {
		o.limits(&limits)
	}
	log := slog.New(slog.DiscardHandler)
	if o.log != nil {
		log = slog.New(slog.NewTextHandler(o.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s.Plane = control.New(control.Options{
		Store: db, Invoker: s.eventInvoker, Locations: noLocations{}, Limits: limits, Log: log,
		Meter: o.meter, Tracer: o.tracer, Queues: o.queues, DeliveryDelay: func(int) time.Duration { return 10 * time.Millisecond },
		Now:          func() time.Time { return time.Now().Add(time.Duration(s.late.Load())) },
		EventsAtOnce: o.atOnce, EventRetryDelay: func(attempts int) time.Duration { return o.delay * time.Duration(attempts) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	run := func(f func(context.Context) error) {
		running.Go(func() {
			if err := f(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	run(s.Run)
	if !o.idle {
		run(s.RunEvents)
	}
	s.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(func() {
		s.stop()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	s.ctx = identity.WithCaller(t.Context(), identity.Caller{Account: "000000000000", Region: "eu-west-1", ARN: "arn:aws:iam::000000000000:root"})
	return s
}

func (s *eventServer) function(name string) {
	s.t.Helper()
	create(s.t, s.Plane, s.ctx, name)
	settled(s.t, s.Plane, s.ctx, name)
}

// send queues an event under a request ID.
func (s *eventServer) send(id, name string) {
	s.t.Helper()
	out, err := s.Plane.Invoke(wire.WithRequestID(s.ctx, id), &wire.InvocationRequest{
		FunctionName: name, InvocationType: ptr("Event"), Payload: []byte(`{"id":"` + id + `"}`),
	})
	if err != nil || *out.StatusCode != 202 || out.ExecutedVersion != nil || out.Payload != nil {
		s.t.Fatalf("Invoke(%s, Event) = %+v, %v; want 202 and nothing else", name, out, err)
	}
}

const patience = 20 * time.Second

func (s *eventServer) call() lamina.Invocation {
	s.t.Helper()
	select {
	case in := <-s.calls:
		return in
	case <-time.After(patience):
		s.t.Fatal("no invocation")
		panic("unreachable")
	}
}

func (s *eventServer) event(id string) (e store.EventState) {
	s.t.Helper()
	err := s.db.View(s.t.Context(), func(tx *store.Tx) (err error) {
		e, err = tx.Event(s.t.Context(), id)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

// ended waits until an event is over.
func (s *eventServer) ended(id string) store.EventState {
	s.t.Helper()
	return s.until(id, func(e store.EventState) bool { return e.Condition != "" })
}

func (s *eventServer) until(id string, is func(store.EventState) bool) store.EventState {
	s.t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-poll.C {
		if e := s.event(id); is(e) {
			return e
		}
	}
	s.t.Fatalf("event %s = %+v", id, s.event(id))
	panic("unreachable")
}

func (s *eventServer) configure(name string, retries, age *int64) {
	s.t.Helper()
	_, err := s.PutFunctionEventInvokeConfig(s.ctx, &wire.PutFunctionEventInvokeConfigRequest{
		FunctionName: name, MaximumRetryAttempts: retries, MaximumEventAgeInSeconds: age,
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func TestEventRuns(t *testing.T) {
	t.Parallel()
	s := startEvents(t, eventOptions{})
	s.function("fn")
	if _, err := s.PublishVersion(s.ctx, &wire.PublishVersionRequest{FunctionName: "fn"}); err != nil {
		t.Fatal(err)
	}
	s.send("a", "fn:1")
	in := s.call()
	if in.RequestID != "a" || string(in.Payload) != `{"id":"a"}` || !strings.HasSuffix(in.InvokedARN, ":function:fn:1") || in.Version.Number != 1 {
		t.Errorf("invocation = %s %s %s, version %d; want those of the event", in.RequestID, in.InvokedARN, in.Payload, in.Version.Number)
	}
	if e := s.ended("a"); e.Condition != lamina.EventSuccess || e.Attempts != 1 {
		t.Errorf("event = %s after %d attempts; want Success after 1", e.Condition, e.Attempts)
	}

	out, err := s.InvokeAsync(wire.WithRequestID(s.ctx, "b"), &wire.InvokeAsyncRequest{FunctionName: "fn", InvokeArgs: []byte(`{"x":1}`)})
	if err != nil || *out.Status != 202 {
		t.Fatalf("InvokeAsync = %+v, %v; want 202", out, err)
	}
	if in := s.call(); in.RequestID != "b" || string(in.Payload) != `{"x":1}` {
		t.Errorf("invocation = %s %s; want b {\"x\":1}", in.RequestID, in.Payload)
	}
	s.ended("b")
}

func TestRefusedEvents(t *testing.T) {
	t.Parallel()
	s := startEvents(t, eventOptions{idle: true, limits: func(l *lamina.Limits) { l.QueuedEvents = 2 }})
	s.function("fn")
	event := func(name, payload string) error {
		_, err := s.Plane.Invoke(s.ctx, &wire.InvocationRequest{FunctionName: name, InvocationType: ptr("Event"), Payload: []byte(payload)})
		return err
	}
	wantException(t, "unknown function", event("absent", "{}"), wire.ResourceNotFound,
		"Function not found: arn:aws:lambda:eu-west-1:000000000000:function:absent:$LATEST")
	wantException(t, "unknown alias", event("fn:absent", "{}"), wire.ResourceNotFound,
		"Function not found: arn:aws:lambda:eu-west-1:000000000000:function:fn:absent")
	big := `"` + strings.Repeat("x", 1<<20) + `"`
	wantException(t, "too large", event("fn", big), wire.RequestTooLarge,
		"1048578 byte payload is too large for the Event invocation type (limit 1048576 bytes)")
	if err := event("fn", "no json"); !wire.InvalidRequestContent.Is(err) {
		t.Errorf("no JSON = %v; want InvalidRequestContentException", err)
	}
	if err := event("fn", "\"\xff\""); !wire.InvalidRequestContent.Is(err) {
		t.Errorf("no UTF-8 = %v; want InvalidRequestContentException", err)
	}
	if _, err := s.InvokeAsync(s.ctx, &wire.InvokeAsyncRequest{FunctionName: "absent", InvokeArgs: []byte("{}")}); !wire.ResourceNotFound.Is(err) {
		t.Errorf("InvokeAsync(absent) = %v; want ResourceNotFoundException", err)
	}
	for i := range 2 {
		if err := event("fn", big[:1000]+`"`); err != nil {
			t.Errorf("event %d: %v", i, err)
		}
	}
	wantException(t, "queue is full", event("fn", "{}"), wire.TooManyRequests, "Rate Exceeded.")
}

func TestEventRetries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		retries  *int64
		attempts int
	}{{"two by default", nil, 3}, {"none", ptr[int64](0), 1}, {"one", ptr[int64](1), 2}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := startEvents(t, eventOptions{answer: fails, delay: 20 * time.Millisecond})
			s.function("fn")
			if c.retries != nil {
				s.configure("fn", c.retries, nil)
			}
			s.send("a", "fn")
			for i := range c.attempts {
				if in := s.call(); in.RequestID != "a" {
					t.Errorf("attempt %d has request ID %s; want a", i+1, in.RequestID)
				}
			}
			if e := s.ended("a"); e.Condition != lamina.EventRetriesExhausted || e.Attempts != c.attempts {
				t.Errorf("event = %s after %d attempts; want RetriesExhausted after %d", e.Condition, e.Attempts, c.attempts)
			}
			if len(s.calls) > 0 {
				t.Errorf("%d more attempts; want none", len(s.calls))
			}
		})
	}
}

// TestEventRunsWhatIsThere: the version is resolved at each attempt.
func TestEventRunsWhatIsThere(t *testing.T) {
	t.Parallel()
	s := startEvents(t, eventOptions{answer: fails, delay: time.Hour})
	s.function("fn")
	s.send("a", "fn")
	before := s.call()
	s.until("a", func(e store.EventState) bool { return e.Attempts == 1 && e.Owner == "" })
	if _, err := s.UpdateFunctionConfiguration(s.ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "fn", Description: ptr("new")}); err != nil {
		t.Fatal(err)
	}
	settled(t, s.Plane, s.ctx, "fn")
	s.late.Add(int64(2 * time.Hour))
	s.send("b", "fn") // wakes the queue
	after := []lamina.Invocation{s.call(), s.call()}
	i := slices.IndexFunc(after, func(in lamina.Invocation) bool { return in.RequestID == "a" })
	if i < 0 || before.Version.Config.Description != "" || after[i].Version.Config.Description != "new" {
		t.Errorf("second attempt = %+v; want the function as it is now", after)
	}
}

func TestEventWithNothingReserved(t *testing.T) {
	t.Parallel()
	s := startEvents(t, eventOptions{})
	s.function("fn")
	if _, err := s.PutFunctionConcurrency(s.ctx, &wire.PutFunctionConcurrencyRequest{FunctionName: "fn", ReservedConcurrentExecutions: 0}); err != nil {
		t.Fatal(err)
	}
	s.send("a", "fn")
	if e := s.ended("a"); e.Condition != lamina.EventZeroReservedConcurrency || e.Attempts != 0 {
		t.Errorf("event = %s after %d attempts; want ZeroReservedConcurrency after 0", e.Condition, e.Attempts)
	}
}

func TestThrottledEventWaits(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	s := startEvents(t, eventOptions{answer: func(ctx context.Context, in lamina.Invocation) (lamina.Result, error) {
		if in.RequestID == "a" {
			select {
			case <-hold:
			case <-ctx.Done():
			}
		}
		return lamina.Result{}, nil
	}})
	s.function("fn")
	if _, err := s.PutFunctionConcurrency(s.ctx, &wire.PutFunctionConcurrencyRequest{FunctionName: "fn", ReservedConcurrentExecutions: 1}); err != nil {
		t.Fatal(err)
	}
	s.send("a", "fn")
	s.call()
	s.send("b", "fn")
	s.until("b", func(e store.EventState) bool { return e.Deferrals > 0 && e.Attempts == 0 && e.Owner == "" })
	close(hold)
	if in := s.call(); in.RequestID != "b" {
		t.Errorf("next invocation = %s; want b", in.RequestID)
	}
	if e := s.ended("b"); e.Condition != lamina.EventSuccess || e.Attempts != 1 {
		t.Errorf("event = %s after %d attempts; want Success after 1", e.Condition, e.Attempts)
	}
}

func TestEventBecomesTooOld(t *testing.T) {
	t.Parallel()
	s := startEvents(t, eventOptions{delay: time.Minute, answer: func(ctx context.Context, in lamina.Invocation) (lamina.Result, error) {
		if in.RequestID == "busy" {
			return lamina.Result{}, lamina.ErrBusy
		}
		return fails(ctx, in)
	}})
	s.function("fn")
	s.configure("fn", nil, ptr[int64](60))
	for _, id := range []string{"failing", "busy"} {
		s.send(id, "fn")
		s.call()
	}
	failing := s.until("failing", func(e store.EventState) bool { return e.Attempts == 1 && e.Owner == "" })
	if want := failing.Accepted.Add(time.Minute); failing.Due.After(want) {
		t.Errorf("event is due at %v; want %v, when it becomes too old", failing.Due, want)
	}
	s.until("busy", func(e store.EventState) bool { return e.Deferrals > 0 && e.Owner == "" })
	s.late.Add(int64(61 * time.Second))
	s.send("waker", "fn")
	for id, attempts := range map[string]int{"failing": 1, "busy": 0} {
		if e := s.ended(id); e.Condition != lamina.EventAgeExceeded || e.Attempts != attempts {
			t.Errorf("%s = %s after %d attempts; want EventAgeExceeded after %d", id, e.Condition, e.Attempts, attempts)
		}
	}
}

func TestEventOfADeletedFunction(t *testing.T) {
	t.Parallel()
	s := startEvents(t, eventOptions{answer: fails, delay: 100 * time.Millisecond})
	s.function("fn")
	s.send("a", "fn")
	s.call()
	if _, err := s.DeleteFunction(s.ctx, &wire.DeleteFunctionRequest{FunctionName: "fn"}); err != nil {
		t.Fatal(err)
	}
	if e := s.ended("a"); e.Condition != lamina.EventFunctionGone {
		t.Errorf("event = %s; want FunctionGone", e.Condition)
	}
}

// TestSlowFunctionLeavesRoom: however many of its events wait, others run.
func TestSlowFunctionLeavesRoom(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	s := startEvents(t, eventOptions{atOnce: 4, answer: func(ctx context.Context, in lamina.Invocation) (lamina.Result, error) {
		if in.Version.Function.Name == "slow" {
			select {
			case <-hold:
			case <-ctx.Done():
			}
		}
		return lamina.Result{}, nil
	}})
	s.function("slow")
	s.function("quick")
	for i := range 10 {
		s.send(fmt.Sprint("slow-", i), "slow")
	}
	s.send("quick", "quick")
	s.ended("quick")
	if got := len(s.calls); got != 3 {
		t.Errorf("%d invocations; want 2 of the slow function and 1 of the quick one", got)
	}
	close(hold)
	for i := range 10 {
		s.ended(fmt.Sprint("slow-", i))
	}
}

// TestEventServersAtOnce: two servers on one database share the events.
func TestEventServersAtOnce(t *testing.T) {
	t.Parallel()
	path := database(t)
	const events = 30
	a := startEvents(t, eventOptions{path: path})
	a.function("fn") // before there are two: it waits for its preparation only so long
	b := startEvents(t, eventOptions{path: path})
	for i := range events {
		[]*eventServer{a, b}[i%2].send(fmt.Sprint(i), "fn")
	}
	for i := range events {
		if e := a.ended(fmt.Sprint(i)); e.Condition != lamina.EventSuccess || e.Attempts != 1 {
			t.Errorf("event %d = %s after %d attempts; want Success after 1", i, e.Condition, e.Attempts)
		}
	}
	if got := len(a.calls) + len(b.calls); got != events {
		t.Errorf("%d invocations; want %d", got, events)
	}
}

// TestStoppingHandsEventsBack: what a stopping server could not finish runs on
// another, and counts as not tried.
func TestStoppingHandsEventsBack(t *testing.T) {
	t.Parallel()
	path := database(t)
	a := startEvents(t, eventOptions{path: path, answer: func(ctx context.Context, _ lamina.Invocation) (lamina.Result, error) {
		<-ctx.Done()
		return lamina.Result{FunctionError: lamina.Unhandled}, nil
	}})
	a.function("fn")
	a.send("a", "fn")
	a.call()
	a.stop()
	if e := a.event("a"); e.Owner != "" || e.Attempts != 0 || e.Condition != "" {
		t.Errorf("event after the stop = %+v; want it free and not tried", e)
	}
	b := startEvents(t, eventOptions{path: path})
	b.call()
	if e := b.ended("a"); e.Condition != lamina.EventSuccess || e.Attempts != 1 {
		t.Errorf("event = %s after %d attempts; want Success after 1", e.Condition, e.Attempts)
	}
}

// eventChild names the database of TestEventChild.
const eventChild = "LAMINA_TEST_EVENT_CHILD"

// TestEventSurvivesKill kills a server that has accepted two events and runs one
// of them; the next one runs both, with their request IDs.
func TestEventSurvivesKill(t *testing.T) {
	t.Parallel()
	path := database(t)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEventChild$")
	child.Env = append(os.Environ(), eventChild+"="+path)
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

	s := startEvents(t, eventOptions{path: path, ahead: time.Minute}) // its lease is over by then
	got := []string{s.call().RequestID, s.call().RequestID}
	slices.Sort(got)
	if !slices.Equal(got, []string{"running", "waiting"}) {
		t.Errorf("events after the kill = %v; want running, waiting", got)
	}
	for _, id := range got {
		if e := s.ended(id); e.Condition != lamina.EventSuccess || e.Attempts != 1 {
			t.Errorf("%s = %s after %d attempts; want Success after 1", id, e.Condition, e.Attempts)
		}
	}
}

// TestEventChild is the process that TestEventSurvivesKill kills; without it,
// there is nothing to test.
func TestEventChild(t *testing.T) {
	path := os.Getenv(eventChild)
	if path == "" {
		return
	}
	s := startEvents(t, eventOptions{path: path, atOnce: 1, answer: func(ctx context.Context, _ lamina.Invocation) (lamina.Result, error) {
		<-ctx.Done()
		return lamina.Result{}, ctx.Err()
	}})
	s.function("fn")
	s.send("running", "fn")
	s.call()
	s.send("waiting", "fn")
	fmt.Println("ready")
	<-t.Context().Done() // until it is killed
}
