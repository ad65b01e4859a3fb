package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner/runtimeapi"
	"github.com/lamina-run/lamina/runner/runtimes"
	"github.com/lamina-run/lamina/runner/sandbox"
	"github.com/lamina-run/lamina/runner/telemetry"
)

// initLimit is how long new processes may take to ask for their first invocation,
// before the function's own timeout begins to count. When they take longer, or
// fail, they are started once more, and the timeout includes that.
const initLimit = 10 * time.Second

// killLimit is how long killing a sandbox's processes may take before the
// sandbox is given up.
const killLimit = 5 * time.Second

// environment is a sandbox that runs one version's invocations, one at a time.
// Only the invocation that took it uses it, except for kill.
type environment struct {
	runner    *Runner
	pool      *pool
	provision *provision // nil on demand
	version   lamina.Version
	launch    runtimes.Launch
	archives  archives
	box       *sandbox.Sandbox
	session   *runtimeapi.Session
	out       *output
	timer     *time.Timer

	request     *runtimeapi.Request            // of the invocation that runs; never reused, the session may still write it
	running     bool                           // processes were started, and none of them was seen to exit
	initialized bool                           // they have asked for an invocation
	restarted   bool                           // they are not the sandbox's first
	init        atomic.Pointer[initialization] // the last one
	peak        atomic.Int64                   // bytes, as last seen
	made        lamina.ColdStart               // what it took, Init with the first invocation

	hub      *telemetry.Hub
	external []string        // extensions in /opt/extensions
	pipes    []*os.File      // both ends of what external extensions print to; empty without any
	alive    map[string]bool // processes that were started and not seen to exit; the runtime has no name
	crashed  *ending         // an exit that was seen when the invocation was over already
	after    func() bool     // what is left of an invocation whose result is known; tells whether the environment is reusable

	idleSince time.Time // guarded by the runner's mutex
	until     time.Time // when credentials are about to expire; zero is never
	warm      bool      // counted in the provision's warm; guarded by the runner's mutex

	tasks sync.WaitGroup // serving the session, reading the output
}

// longest is how long an invocation can take: credentials hold until it has ended.
const longest = 15 * time.Minute

// outlived reports whether no invocation should begin in e any more.
func (e *environment) outlived(now time.Time) bool { return !e.until.IsZero() && now.After(e.until) }

// start makes an environment in the slot that the caller has, on demand or as
// one of those of s. On an error the slot stays the caller's.
func (r *Runner) start(p *pool, v lamina.Version, s *provision) (_ *environment, err error) {
	ctx := r.life
	began := r.options.Now()
	archives, err := r.acquire(ctx, v)
	if err != nil {
		return nil, err
	}
	acquired := r.options.Now()
	defer func() {
		if err != nil {
			archives.release()
		}
	}()
	now := r.options.Now()
	request := runtimes.Request{Version: v, LogStream: runtimes.LogStream(v, now), Task: archives.task, Layers: archives.layers, Provisioned: s != nil, Endpoint: r.options.Endpoint, Trust: r.options.Trust}
	if r.options.Credentials != nil {
		if request.Credentials, err = r.options.Credentials(ctx, v); err != nil {
			return nil, fmt.Errorf("credentials of %s: %w", v.ARN(), err)
		}
	}
	launch, err := r.options.Runtimes.Launch(ctx, request)
	if err != nil {
		return nil, err
	}
	spec := sandbox.Spec{
		ID:     v.ARN(),
		Task:   archives.task,
		Layers: archives.layers,
		Binds:  make([]sandbox.Bind, len(launch.Binds)),
		Masks:  launch.Masks,
	}
	r.allot(&spec, &v.Config)
	for i, b := range launch.Binds {
		spec.Binds[i] = sandbox.Bind(b)
	}
	launched := r.options.Now()
	box, err := r.options.Sandboxes.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	e := &environment{
		runner: r, pool: p, provision: s, version: v, launch: launch, archives: archives, box: box,
		timer: time.NewTimer(time.Hour), alive: map[string]bool{},
		made: lamina.ColdStart{At: began, Archives: acquired.Sub(began), Runtime: launched.Sub(acquired), Sandbox: r.options.Now().Sub(launched)},
	}
	if t := request.Credentials.Expires; !t.IsZero() {
		e.until = t.Add(-longest)
	}
	e.timer.Stop()
	// Not ended with ctx: closing the sandbox closes its listener and connections.
	forever := context.WithoutCancel(ctx)
	e.hub = telemetry.New(forever, telemetry.Options{Dial: box.Dial, Now: r.options.Now})
	e.out, err = newOutput(box.Output(), launch.LogFD > 0, &e.version, request.LogStream, r.options.Logs, e.hub, r.options.Now)
	if err == nil {
		err = e.extend()
	}
	if err != nil {
		e.closePipes()
		return nil, errors.Join(err, box.Close())
	}
	e.session = runtimeapi.New(runtimeapi.Options{
		MaxPayload: r.options.Limits.ResponsePayload,
		MaxStream:  r.options.Limits.StreamedResponse,
		Function: runtimeapi.Function{
			Name: v.Function.Name, Version: v.Qualifier(), Handler: v.Config.Handler, AccountID: v.Function.Account,
		},
		Subscribe: e.subscribe,
		Begin: func(r *runtimeapi.Request, at time.Time) {
			e.initSucceeded(at)
			e.out.begin(at, e.startEvent(r))
		},
		Now: r.options.Now,
	})
	e.tasks.Go(func() {
		if err := e.session.Run(forever, box.Listener()); err != nil {
			r.options.Log.LogAttrs(forever, slog.LevelError, "runtime API stopped", slog.String("version", v.ARN()), slog.Any("err", err))
		}
	})
	e.tasks.Go(func() { e.out.read(e.out.function) })
	if len(e.pipes) > 0 {
		e.tasks.Go(func() { e.out.read(e.out.extensions) })
	}

	r.mu.Lock()
	stopped := r.stopped
	r.live[e] = true
	r.mu.Unlock()
	if stopped {
		e.kill() // stop did not know it yet; the invocation sees the exit
	}
	return e, nil
}

// kill ends the environment's processes while it is in use.
func (e *environment) kill() {
	if err := e.box.Close(); err != nil {
		e.runner.options.Log.LogAttrs(context.WithoutCancel(e.runner.life), slog.LevelError, "sandbox not closed",
			slog.String("version", e.version.ARN()), slog.Any("err", err))
	}
}

func (e *environment) closePipes() {
	for _, f := range e.pipes {
		f.Close() // nothing was written that could be lost
	}
}

// discard closes the environment and gives its slot back.
func (e *environment) discard() {
	r := e.runner
	r.mu.Lock()
	delete(r.live, e)
	if s := e.provision; s != nil {
		s.live--
		if e.warm {
			s.warm--
		}
	}
	r.mu.Unlock()
	e.shutdown(runtimeapi.ReasonSpindown)
	e.kill()
	e.hub.Close()
	e.closePipes()
	e.tasks.Wait()
	e.archives.release()
	r.free(e.pool)
	r.refillSoon()
}

// invoke runs one invocation. The environment is reusable unless it says
// otherwise. An error is Lamina's, not the function's.
func (e *environment) invoke(in *lamina.Invocation) (_ lamina.Result, reusable bool, err error) {
	timeout := time.Duration(e.version.Config.Timeout) * time.Second
	traceID := in.TraceID
	if traceID == "" {
		traceID = newTraceID(e.runner.options.Now())
	}
	payload := in.Payload
	if len(payload) == 0 {
		payload = []byte("{}")
	}
	if err := e.wake(); err != nil {
		return lamina.Result{}, false, err
	}
	e.out.expect(in.Tail)

	if e.running {
		select {
		case x, ok := <-e.box.Exited(): // between two invocations
			if !ok {
				return lamina.Result{}, false, errGone
			}
			delete(e.alive, x.Name)
			if err := e.reset(runtimeapi.ReasonFailure); err != nil {
				return lamina.Result{}, false, err
			}
		default:
		}
	}
	cold := !e.restarted && !e.running
	suppressed := false // the invocation includes an initialization
	for attempt := 0; ; attempt++ {
		free := cold && attempt == 0
		e.request = &runtimeapi.Request{
			ID: in.RequestID, InvokedARN: in.InvokedARN, TraceID: traceID, ClientContext: in.ClientContext,
			Payload: payload, Timeout: timeout, Sink: in.Sink,
		}
		var failed *ending
		if !e.running {
			limit := initLimit
			if !free {
				limit, suppressed = timeout, true
				e.out.suppress()
			}
			if failed, err = e.begin(free, limit); err != nil {
				return lamina.Result{}, false, err
			}
		}
		if suppressed {
			e.request.Deadline = e.init.Load().until
		}
		var end ending
		if failed != nil {
			end = *failed
		} else {
			if err := e.session.Deliver(e.request); err != nil {
				return lamina.Result{}, false, err
			}
			if end, err = e.await(timeout, free); err != nil {
				return lamina.Result{}, false, err
			}
		}
		if !e.initialized {
			e.initFailed(end)
			end.again = free
		}
		if end.again && attempt == 0 {
			reason := runtimeapi.ReasonFailure
			if end.timedOut {
				reason = runtimeapi.ReasonTimeout
			}
			if err := e.reset(reason); err != nil {
				return lamina.Result{}, false, err
			}
			continue
		}
		return e.conclude(in, end, timeout, cold && attempt == 0, suppressed)
	}
}

// ending is how the wait for an invocation, or for an initialization, ended:
// with an outcome, or in time with what kind and text say, or too late.
type ending struct {
	outcome  *runtimeapi.Outcome
	timedOut bool
	kind     string // error type
	text     string
	// again says that the processes are gone or stuck without having seen the
	// invocation.
	again bool
	at    time.Time
}

func (end *ending) ok() bool { return end.outcome == nil && !end.timedOut && end.kind == "" }

// await waits for what comes of the delivered invocation. With free, the
// initialization has a limit of its own; else the function's timeout includes it.
func (e *environment) await(timeout time.Duration, free bool) (ending, error) {
	now := e.runner.options.Now
	var ready <-chan struct{}
	was := e.initialized
	if was {
		e.timer.Reset(timeout)
	} else {
		ready = e.session.Ready()
		e.timer.Reset(e.init.Load().until.Sub(now()))
	}
	defer e.timer.Stop()
	defer func() {
		// What came of it may have been quicker than the word that it began.
		if _, taken := e.session.TakenAt(); taken && !e.initialized {
			e.initialized = true
		}
	}()
	for {
		select {
		case o := <-e.session.Outcomes():
			if o.Kind != runtimeapi.InitFailed {
				e.initialized = true
			}
			if o.Kind == runtimeapi.Truncated {
				return e.truncated(o)
			}
			return ending{outcome: &o, at: o.At}, nil
		case <-ready:
			ready = nil
			e.initialized = true
			if free {
				at, _ := e.session.TakenAt()
				e.timer.Reset(timeout - now().Sub(at))
			}
		case x, ok := <-e.box.Exited():
			end, err := e.exited(x, ok)
			if err != nil {
				return ending{}, err
			}
			e.running = false
			if o := e.rest(x.Name == ""); o != nil {
				e.crashed = &end
				return ending{outcome: o, at: o.At}, nil
			}
			end.again = was && e.session.Withdraw()
			return end, nil
		case <-e.timer.C:
			select {
			case o := <-e.session.Outcomes():
				return ending{outcome: &o, at: o.At}, nil
			default:
			}
			if at, taken := e.session.TakenAt(); was && taken {
				// The time counts from there, not from when it was delivered.
				if left := timeout - now().Sub(at); left > 0 {
					e.timer.Reset(left)
					continue
				}
			}
			return ending{timedOut: true, at: now()}, nil
		}
	}
}

// verdict is what an ending means for the log, and for the processes.
type verdict struct {
	status    string
	errorType string // as reported
	note      string // a line before END
	fault     string // what the Logs API says instead
	reset     string // why the processes must go; empty when they may stay
}

// judge says what an ending means.
func (e *environment) judge(requestID string, end *ending, timeout time.Duration) (lamina.Result, verdict) {
	switch {
	case end.timedOut:
		text := fmt.Sprintf("Task timed out after %.2f seconds", timeout.Seconds())
		note := requestID + " " + text
		return failure("Sandbox.Timedout", requestID, text),
			verdict{status: statusTimeout, note: stamp(end.at) + " " + note, fault: note, reset: runtimeapi.ReasonTimeout}
	case end.kind != "":
		text := "RequestId: " + requestID + " Error: " + end.text
		return failure(end.kind, requestID, end.text), verdict{
			status: statusError, errorType: end.kind, note: text + "\n" + end.kind, fault: text, reset: runtimeapi.ReasonFailure,
		}
	case end.outcome == nil:
		return lamina.Result{}, verdict{status: statusSuccess}
	}
	switch o := end.outcome; o.Kind {
	case runtimeapi.Responded:
		return lamina.Result{Payload: o.Payload}, verdict{status: statusSuccess}
	case runtimeapi.Truncated:
		return truncation(requestID), verdict{status: statusError, errorType: truncatedResponse, reset: runtimeapi.ReasonFailure}
	case runtimeapi.TooLarge:
		const kind = "Function.ResponseSizeTooLarge"
		return lamina.Result{FunctionError: lamina.Unhandled, Payload: fmt.Appendf(nil,
				`{"errorMessage":"Response payload size exceeded maximum allowed payload size (%d bytes).","errorType":"%s"}`, o.Limit, kind)},
			verdict{status: statusError, errorType: kind}
	default:
		result := lamina.Result{FunctionError: lamina.Unhandled, Payload: o.Payload}
		if len(result.Payload) == 0 {
			result.Payload = errorPayload(o.ErrorType, "")
		}
		v := verdict{status: statusError, errorType: o.ErrorType}
		if o.Kind == runtimeapi.InitFailed {
			v.reset, v.errorType = runtimeapi.ReasonFailure, errorTypeOf(o.ErrorType)
		}
		return result, v
	}
}

// conclude makes the result of an ending and sees what becomes of the processes.
// What extensions still do about the invocation is left to e.after, unless the
// caller wants to read about it.
func (e *environment) conclude(in *lamina.Invocation, end ending, timeout time.Duration, cold, suppressed bool) (lamina.Result, bool, error) {
	result, v := e.judge(in.RequestID, &end, timeout)
	rep := e.report(&end, cold, suppressed)
	result.Measures.Start, result.Measures.Duration = rep.start, max(end.at.Sub(rep.start), 0)
	if cold {
		e.made.Init = rep.init
	}
	if e.out.details(v.status) {
		produced := int64(len(result.Payload))
		if end.outcome != nil {
			produced += end.outcome.Streamed
		}
		e.out.write(end.at, e.runtimeDone(e.request, rep.start, end.at, v.status, v.errorType, produced))
	}
	extended := e.session.Extended()
	finish := func() (tail []byte, reusable bool) {
		if v.reset == "" && extended {
			last, err := e.settle(rep.start.Add(timeout))
			if err != nil {
				return nil, false
			}
			rep.end = last.at
			if !last.ok() {
				_, v = e.judge(in.RequestID, &last, timeout)
			}
		} else if v.reset == "" && e.crashed != nil {
			v.reset = runtimeapi.ReasonFailure // it answered before; the result is what counts
		}
		rep.status, rep.errorType = v.status, v.errorType
		if e.out.wanted() {
			e.measure(&rep)
		}
		tail = e.out.end(rep.end, v.note, rep.events(v.fault)...)
		if v.reset == "" {
			return tail, true
		}
		if err := e.reset(v.reset); err != nil {
			e.runner.options.Log.LogAttrs(e.runner.life, slog.LevelWarn, "environment not reusable",
				slog.String("version", e.version.ARN()), slog.Any("err", err))
			return tail, false
		}
		return tail, true
	}
	if extended && !in.Tail && v.reset == "" {
		e.after = func() bool {
			_, reusable := finish()
			return reusable
		}
		return result, true, nil
	}
	var reusable bool
	result.LogTail, reusable = finish()
	return result, reusable, nil
}

// report begins what the REPORT line says. Without one of the runtime it writes
// START, too.
func (e *environment) report(end *ending, cold, suppressed bool) report {
	r := report{request: e.request, end: end.at, memorySize: e.version.Config.MemorySize}
	taken, ok := e.session.TakenAt()
	i := e.init.Load()
	switch {
	case !ok || !e.initialized:
		// It never came to the invocation: what there was is initialization.
		r.start = i.at
		e.out.begin(end.at, e.startEvent(e.request))
	case suppressed:
		r.start = i.at
	default:
		r.start = taken
		if cold {
			r.init = max(taken.Sub(i.at), 0)
		}
	}
	return r
}

// measure adds the memory that was used. A process that is gone has none; then
// what was seen last counts.
func (e *environment) measure(r *report) {
	if peak, err := e.box.PeakMemory(); err == nil {
		e.peak.Store(peak)
	}
	r.peak = e.peak.Load()
}

func sentence(errno syscall.Errno) string {
	if errno == syscall.ENOENT {
		return "No such file or directory"
	}
	return errno.Error()
}

func exitText(x sandbox.Exit) string {
	switch {
	case x.Signal != 0:
		return "Runtime exited with error: signal: " + x.Signal.String()
	case x.Code != 0:
		return fmt.Sprintf("Runtime exited with error: exit status %d", x.Code)
	}
	return "Runtime exited without providing a reason"
}

// failure is the result of what the platform, not the function, found wrong.
func failure(kind, requestID, text string) lamina.Result {
	return lamina.Result{FunctionError: lamina.Unhandled, Payload: errorPayload(kind, "RequestId: "+requestID+" Error: "+text)}
}

func errorPayload(kind, message string) []byte {
	data, err := json.Marshal(struct {
		ErrorType    string `json:"errorType"`
		ErrorMessage string `json:"errorMessage"`
	}{kind, message})
	if err != nil {
		panic(err) // two strings
	}
	return data
}

// newTraceID is what a request without one would have got from X-Ray, not sampled.
func newTraceID(now time.Time) string {
	const digits = "0123456789abcdef"
	id := []byte("Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=0")
	hex := func(at, n int, v uint64) {
		for i := at + n - 1; i >= at; i-- {
			id[i] = digits[v&15]
			v >>= 4
		}
	}
	hex(7, 8, uint64(now.Unix()))
	hex(16, 16, rand.Uint64()) // names, not secrets
	hex(32, 8, rand.Uint64())
	hex(48, 16, rand.Uint64())
	return string(id)
}
