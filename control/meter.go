package control

import (
	"context"
	"errors"
	"time"

	"github.com/lamina-run/lamina"
)

// Meter counts what happens to functions. Its methods are called for every
// invocation, and are quick.
type Meter interface {
	// Begin counts an invocation as one that runs, until what it returns is called,
	// once.
	Begin(id lamina.FunctionID) (end func(lamina.Invoked))
	// Throttle counts an invocation that was refused because too many ran.
	Throttle(id lamina.FunctionID)
	// ReceiveEvent counts an event that was queued.
	ReceiveEvent(id lamina.FunctionID)
	// DropEvent counts an event that was given up.
	DropEvent(id lamina.FunctionID)
}

// Tracer follows invocations.
type Tracer interface {
	// Invoke says that an invocation begins, and may give it another TraceID, so that
	// what the function does belongs to it. What it returns, nil for an invocation
	// that nobody follows, is called once with what came of it.
	Invoke(in *lamina.Invocation) (end func(lamina.Result, error))
}

// noMeter counts nothing.
type noMeter struct{}

func (noMeter) Begin(lamina.FunctionID) func(lamina.Invoked) { return func(lamina.Invoked) {} }
func (noMeter) Throttle(lamina.FunctionID)                   {}
func (noMeter) ReceiveEvent(lamina.FunctionID)               {}
func (noMeter) DropEvent(lamina.FunctionID)                  {}

// run has the invoker run an invocation, and counts it. The age is that of an
// event, else zero.
func (p *Plane) run(ctx context.Context, in lamina.Invocation, age time.Duration) (result lamina.Result, err error) {
	count := p.meter.Begin(in.Version.Function)
	ran := false // also when the invoker panics
	defer func() {
		count(lamina.Invoked{
			RequestID: in.RequestID, Version: in.Version.Number, Ran: ran, Failed: result.FunctionError != "", EventAge: age, Measures: result.Measures,
		})
	}()
	if p.tracer != nil {
		if told := p.tracer.Invoke(&in); told != nil {
			defer func() { told(result, err) }()
		}
	}
	result, err = p.invoker.Invoke(ctx, in)
	ran = err == nil
	if errors.Is(err, lamina.ErrBusy) {
		p.meter.Throttle(in.Version.Function)
	}
	return result, err
}
