package control_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/wire"
)

// counting remembers what it is told, as text.
type counting struct {
	mu      sync.Mutex
	said    []string
	running int
}

func (c *counting) say(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said = append(c.said, fmt.Sprintf(format, args...))
}

func (c *counting) Begin(id lamina.FunctionID) func(lamina.Invoked) {
	c.mu.Lock()
	c.running++
	c.mu.Unlock()
	return func(i lamina.Invoked) {
		c.mu.Lock()
		c.running--
		c.mu.Unlock()
		c.say("%s %s ran=%v failed=%v event=%v took=%v", i.RequestID, id.Name, i.Ran, i.Failed, i.EventAge > 0, i.Measures.Duration)
	}
}

func (c *counting) Throttle(id lamina.FunctionID)     { c.say("%s throttled", id.Name) }
func (c *counting) ReceiveEvent(id lamina.FunctionID) { c.say("%s received", id.Name) }
func (c *counting) DropEvent(id lamina.FunctionID)    { c.say("%s dropped", id.Name) }

// Invoke gives the function a trace of its own.
func (c *counting) Invoke(in *lamina.Invocation) func(lamina.Result, error) {
	if in.RequestID == "ignored" {
		return nil
	}
	in.TraceID = "Root=of-" + in.RequestID
	return func(r lamina.Result, err error) { c.say("%s traced %q %v", in.RequestID, r.FunctionError, err) }
}

func TestMeter(t *testing.T) {
	t.Parallel()
	c := &counting{}
	var traces sync.Map // by request
	s := startEvents(t, eventOptions{
		meter: c, tracer: c, idle: true,
		answer: func(_ context.Context, in lamina.Invocation) (lamina.Result, error) {
			traces.Store(in.RequestID, in.TraceID)
			switch in.RequestID {
			case "fails":
				return lamina.Result{FunctionError: lamina.Unhandled, Measures: lamina.Measures{Duration: time.Second}}, nil
			case "busy":
				return lamina.Result{}, lamina.ErrBusy
			case "breaks":
				panic("broken invoker")
			}
			return lamina.Result{Payload: []byte("null"), Measures: lamina.Measures{Duration: time.Minute}}, nil
		},
	})
	s.function("fn")
	invoke := func(id string) (header string, err error) {
		record := &wire.Record{}
		ctx := wire.WithTraceID(wire.WithRecord(wire.WithRequestID(s.ctx, id), record), "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1")
		_, err = s.Plane.Invoke(ctx, &wire.InvocationRequest{FunctionName: "fn"})
		return record.Trace, err
	}
	if header, err := invoke("works"); err != nil || !strings.HasPrefix(header, "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=") {
		t.Errorf("Invoke = %v, the answer's trace is %q", err, header)
	}
	for _, id := range []string{"fails", "busy", "ignored"} {
		if _, err := invoke(id); (err != nil) != (id == "busy") {
			t.Errorf("Invoke(%s) = %v", id, err)
		}
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic of the invoker is lost")
			}
		}()
		_, _ = invoke("breaks") // it panics
	}()
	if _, err := s.PutFunctionConcurrency(s.ctx, &wire.PutFunctionConcurrencyRequest{FunctionName: "fn", ReservedConcurrentExecutions: 0}); err != nil {
		t.Fatal(err)
	}
	if _, err := invoke("refused"); !wire.TooManyRequests.Is(err) {
		t.Errorf("Invoke = %v; want it throttled", err)
	}
	s.send("event", "fn")

	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.said)
	want := []string{
		"breaks fn ran=false failed=false event=false took=0s",
		`breaks traced "" <nil>`,
		"busy fn ran=false failed=false event=false took=0s",
		`busy traced "" ` + lamina.ErrBusy.Error(),
		"fails fn ran=true failed=true event=false took=1s",
		`fails traced "Unhandled" <nil>`,
		"fn received",
		"fn throttled", // busy
		"fn throttled", // refused
		"ignored fn ran=true failed=false event=false took=1m0s",
		"works fn ran=true failed=false event=false took=1m0s",
		`works traced "" <nil>`,
	}
	if !slices.Equal(c.said, want) {
		t.Errorf("told:\n%s\nwant:\n%s", strings.Join(c.said, "\n"), strings.Join(want, "\n"))
	}
	if c.running != 0 {
		t.Errorf("%d run; want none", c.running)
	}
	if got, _ := traces.Load("works"); got != "Root=of-works" {
		t.Errorf("the function gets the trace %v; want that of the tracer", got)
	}
}

// TestMeterEvents: each attempt to run an event counts, and what is given up.
func TestMeterEvents(t *testing.T) {
	t.Parallel()
	c := &counting{}
	s := startEvents(t, eventOptions{meter: c, answer: fails})
	s.function("fn")
	zero := int64(0)
	s.configure("fn", &zero, nil)
	s.send("event", "fn")
	s.ended("event")
	want := []string{"event fn ran=true failed=true event=true took=0s", "fn dropped", "fn received"}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // the end is recorded before it is counted
		c.mu.Lock()
		got := slices.Sorted(slices.Values(c.said))
		c.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("told %q; want %q", got, want)
		}
	}
}
