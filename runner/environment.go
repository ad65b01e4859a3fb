package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner/runtimeapi"
	"github.com/lamina-run/lamina/runner/runtimes"
	"github.com/lamina-run/lamina/runner/sandbox"
)

// initLimit is how long a new process may take to ask for its first invocation,
// before the function's own timeout begins to count.
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

	request     *runtimeapi.Request // of the invocation that runs; never reused, the session may still write it
	running     bool                // the process was started and not seen to exit
	initialized bool                // the process has asked for an invocation
	restarted   bool                // it is not the sandbox's first
	execAt      time.Time
	peak        int64 // bytes, as last seen

	idleSince time.Time // guarded by the runner's mutex
	warm      bool      // counted in the provision's warm; guarded by the runner's mutex

	tasks sync.WaitGroup // serving the session, reading the output
}

// start makes an environment in the slot that the caller has, on demand or as
// one of those of s. On an error the slot stays the caller's.
func (r *Runner) start(p *pool, v lamina.Version, s *provision) (_ *environment, err error) {
	ctx := r.life
	archives, err := r.acquire(ctx, v)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			archives.release()
		}
	}()
	now := r.options.Now()
	request := runtimes.Request{Version: v, LogStream: runtimes.LogStream(v, now), Task: archives.task, Layers: archives.layers, Provisioned: s != nil}
	if r.options.Credentials != nil {
		request.Credentials = r.options.Credentials(v)
	}
	launch, err := r.options.Runtimes.Launch(ctx, request)
	if err != nil {
		return nil, err
	}
	spec := sandbox.Spec{
		ID:       v.ARN(),
		Task:     archives.task,
		Layers:   archives.layers,
		Binds:    make([]sandbox.Bind, len(launch.Binds)),
		Masks:    launch.Masks,
		TmpBytes: v.Config.EphemeralStorage << 20,
	}
	for i, b := range launch.Binds {
		spec.Binds[i] = sandbox.Bind(b)
	}
	box, err := r.options.Sandboxes.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	e := &environment{
		runner: r, pool: p, provision: s, version: v, launch: launch, archives: archives, box: box,
		timer: time.NewTimer(time.Hour),
	}
	e.timer.Stop()
	e.out, err = newOutput(box.Output(), &e.version, request.LogStream, r.options.Logs, r.options.Now)
	if err != nil {
		return nil, errors.Join(err, box.Close())
	}
	e.session = runtimeapi.New(runtimeapi.Options{
		MaxPayload: r.options.Limits.ResponsePayload,
		Begin:      func(r *runtimeapi.Request, at time.Time) { e.out.begin(at, r.ID) },
		Now:        r.options.Now,
	})
	// Not ended with ctx: closing the sandbox closes its listener.
	forever := context.WithoutCancel(ctx)
	e.tasks.Go(func() {
		if err := e.session.Run(forever, box.Listener()); err != nil {
			r.options.Log.LogAttrs(forever, slog.LevelError, "runtime API stopped", slog.String("version", v.ARN()), slog.Any("err", err))
		}
	})
	e.tasks.Go(e.out.read)

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
	e.kill()
	e.tasks.Wait()
	e.archives.release()
	r.free(e.pool)
	r.refillSoon()
}

// exec starts the process.
func (e *environment) exec(ctx context.Context) error {
	e.execAt = e.runner.options.Now()
	e.initialized = false
	if !e.restarted {
		e.out.initStart(e.execAt)
	}
	p := sandbox.Process{Path: e.launch.Path, Args: e.launch.Args, Env: e.launch.Env, Dir: e.launch.Dir}
	err := e.box.Exec(ctx, p)
	if e.launch.Wrapper != "" && errors.Is(err, syscall.ENOEXEC) {
		// A script without an interpreter line, which a shell would run.
		p.Path, p.Args = "/bin/sh", append([]string{"/bin/sh"}, p.Args...)
		err = e.box.Exec(ctx, p)
	}
	e.running = err == nil
	return err
}

// reset kills what is left of the process, so that exec can start another.
func (e *environment) reset() error {
	e.running = false
	e.restarted = true
	ctx, cancel := context.WithTimeout(e.runner.life, killLimit)
	defer cancel()
	if err := e.box.KillProcesses(ctx); err != nil {
		return err
	}
	select {
	case <-e.box.Exited():
	default:
	}
	e.session.Reset()
	return nil
}

// invoke runs one invocation. The environment is reusable unless it says
// otherwise. An error is Lamina's, not the function's.
func (e *environment) invoke(in *lamina.Invocation) (_ lamina.Result, reusable bool, err error) {
	timeout := time.Duration(e.version.Config.Timeout) * time.Second
	e.request = &runtimeapi.Request{
		ID: in.RequestID, InvokedARN: in.InvokedARN, TraceID: in.TraceID, ClientContext: in.ClientContext,
		Payload: in.Payload, Timeout: timeout,
	}
	if e.request.TraceID == "" {
		e.request.TraceID = newTraceID(e.runner.options.Now())
	}
	if len(in.Payload) == 0 {
		e.request.Payload = []byte("{}")
	}
	e.out.expect(in.Tail)

	if e.running {
		select {
		case _, ok := <-e.box.Exited(): // between two invocations
			if !ok {
				return lamina.Result{}, false, errGone
			}
			if err := e.reset(); err != nil {
				return lamina.Result{}, false, err
			}
		default:
		}
	}
	cold := !e.restarted && !e.running
	for attempt := 0; ; attempt++ {
		if !e.running {
			if err := e.exec(e.runner.life); err != nil {
				result, err := e.execFailed(in, err)
				return result, false, err
			}
		}
		if err := e.session.Deliver(e.request); err != nil {
			return lamina.Result{}, false, err
		}
		end, err := e.await(timeout, cold && attempt == 0)
		if err != nil {
			return lamina.Result{}, false, err
		}
		if end.again && attempt == 0 {
			if err := e.reset(); err != nil {
				return lamina.Result{}, false, err
			}
			continue
		}
		return e.conclude(in, end, e.report(end, cold, timeout), timeout)
	}
}

// ending is how the wait for an invocation ended.
type ending struct {
	outcome  *runtimeapi.Outcome
	exit     *sandbox.Exit
	timedOut bool
	// again says that the process is gone or stuck without having seen the
	// invocation.
	again bool
	at    time.Time
}

// await waits for what comes of the delivered invocation. With free, the
// initialization has a limit of its own; else the function's timeout includes it.
func (e *environment) await(timeout time.Duration, free bool) (ending, error) {
	var ready <-chan struct{}
	if !e.initialized {
		ready = e.session.Ready()
	}
	was := e.initialized
	if ready != nil && free {
		e.timer.Reset(initLimit)
	} else {
		e.timer.Reset(timeout)
	}
	defer e.timer.Stop()
	for {
		select {
		case o := <-e.session.Outcomes():
			if o.Kind != runtimeapi.InitFailed {
				e.initialized = true
			}
			return ending{outcome: &o, at: o.At}, nil
		case <-ready:
			ready = nil
			e.initialized = true
			if free {
				at, _ := e.session.TakenAt()
				e.timer.Reset(timeout - e.runner.options.Now().Sub(at))
			}
		case x, ok := <-e.box.Exited():
			if e.runner.life.Err() != nil {
				return ending{}, errStopped
			}
			if !ok {
				return ending{}, errors.New("the sandbox vanished without an exit")
			}
			e.running = false
			select { // what it said last
			case o := <-e.session.Outcomes():
				return ending{outcome: &o, at: o.At}, nil
			default:
			}
			return ending{exit: &x, again: was && e.session.Withdraw(), at: e.runner.options.Now()}, nil
		case <-e.timer.C:
			select {
			case o := <-e.session.Outcomes():
				return ending{outcome: &o, at: o.At}, nil
			default:
			}
			again := free && !e.initialized && e.session.Withdraw()
			return ending{timedOut: true, again: again, at: e.runner.options.Now()}, nil
		}
	}
}

// conclude makes the result of an ending and sees what becomes of the process.
func (e *environment) conclude(in *lamina.Invocation, end ending, rep report, timeout time.Duration) (lamina.Result, bool, error) {
	var result lamina.Result
	reusable := true
	kill := false
	switch {
	case end.timedOut:
		text := fmt.Sprintf("Task timed out after %.2f seconds", timeout.Seconds())
		result = failure("Sandbox.Timedout", in.RequestID, text)
		rep.status, rep.note = "timeout", in.RequestID+" "+text
		kill = true
	case end.exit != nil:
		text := exitText(*end.exit)
		result = failure("Runtime.ExitError", in.RequestID, text)
		rep.status, rep.note = "error", "RequestId: "+in.RequestID+" Error: "+text
		rep.errorType = "Runtime.ExitError"
		// A process that can't even start is not worth its /tmp.
		kill, reusable = e.initialized, e.initialized
	case end.outcome.Kind == runtimeapi.Responded:
		result.Payload = end.outcome.Payload
	case end.outcome.Kind == runtimeapi.TooLarge:
		result = lamina.Result{FunctionError: lamina.Unhandled, Payload: fmt.Appendf(nil,
			`{"errorMessage":"Response payload size exceeded maximum allowed payload size (%d bytes).","errorType":"Function.ResponseSizeTooLarge"}`,
			e.runner.options.Limits.ResponsePayload)}
		rep.status, rep.errorType = "error", "Function.ResponseSizeTooLarge"
	default:
		result = lamina.Result{FunctionError: lamina.Unhandled, Payload: end.outcome.Payload}
		if len(result.Payload) == 0 {
			result.Payload = errorPayload(end.outcome.ErrorType, "")
		}
		rep.status, rep.errorType = "error", end.outcome.ErrorType
		reusable = end.outcome.Kind != runtimeapi.InitFailed
	}
	result.LogTail = e.out.end(in.RequestID, rep)
	if kill {
		if err := e.reset(); err != nil {
			e.runner.options.Log.LogAttrs(e.runner.life, slog.LevelWarn, "environment not reusable",
				slog.String("version", e.version.ARN()), slog.Any("err", err))
			reusable = false
		}
	}
	return result, reusable, nil
}

// execFailed is the result of a process that did not start. What the function
// brought along is its own fault; an interpreter is Lamina's.
func (e *environment) execFailed(in *lamina.Invocation, err error) (lamina.Result, error) {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return lamina.Result{}, err
	}
	var result lamina.Result
	switch {
	case e.launch.Wrapper != "":
		status := 126
		if errno == syscall.ENOENT {
			status = 127
		}
		e.out.print(e.runner.options.Now(), fmt.Sprintf("/var/runtime/bootstrap: %s: %s", e.launch.Wrapper, sentence(errno)))
		result = failure("Runtime.ExitError", in.RequestID, exitText(sandbox.Exit{Code: status}))
	case lamina.RuntimeFamily(e.version.Config.Runtime) == "provided":
		result = failure("Runtime.InvalidEntrypoint", in.RequestID, "fork/exec "+e.launch.Path+": "+errno.Error())
	default:
		return lamina.Result{}, err
	}
	now := e.runner.options.Now()
	e.out.beginLate(now, in.RequestID)
	result.LogTail = e.out.end(in.RequestID, report{start: now, end: now, memorySize: e.version.Config.MemorySize, status: "error"})
	return result, nil
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
