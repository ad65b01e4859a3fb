package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner/runtimeapi"
	"github.com/lamina-run/lamina/runner/runtimes"
	"github.com/lamina-run/lamina/runner/sandbox"
	"github.com/lamina-run/lamina/runner/telemetry"
)

// How long the processes of an environment may take to end, all together, and
// how much of it is the runtime's. Without extensions it is killed at once.
const (
	shutdownExternal = 2 * time.Second
	runtimeExternal  = 300 * time.Millisecond
	shutdownInternal = 500 * time.Millisecond
)

// runtimeOnly are the variables that extensions don't see.
var runtimeOnly = []string{
	"AWS_EXECUTION_ENV", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_XRAY_CONTEXT_MISSING", "AWS_XRAY_DAEMON_ADDRESS",
	"LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT", "_AWS_XRAY_DAEMON_ADDRESS", "_AWS_XRAY_DAEMON_PORT", "_HANDLER", runtimes.LogVariable,
}

// extensionEnv is the environment of external extensions: the function's
// without what is about the runtime's process.
func extensionEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(runtimeOnly, name)
	})
}

// extend prepares for the extensions that the layers brought along.
func (e *environment) extend() error {
	e.external = e.box.Extensions()
	if len(e.external) == 0 {
		return nil
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	e.pipes = []*os.File{read, write}
	e.out.extensions, err = newSource(read, telemetry.Extension)
	return err
}

// subscribe takes an extension's request for telemetry.
func (e *environment) subscribe(extension, api string, body []byte) *runtimeapi.SubscribeError {
	which := telemetry.Telemetry
	if api == "logs" {
		which = telemetry.Logs
	}
	categories, err := e.hub.Subscribe(extension, which, body)
	switch {
	case errors.Is(err, telemetry.ErrClosed):
		return &runtimeapi.SubscribeError{Closed: true, Message: err.Error()}
	case err != nil:
		return &runtimeapi.SubscribeError{Message: err.Error()}
	}
	types := make([]string, len(categories))
	for i, c := range categories {
		types[i] = string(c)
	}
	e.out.write(e.runner.options.Now(), subscriptionEvent(extension, which == telemetry.Logs, types))
	return nil
}

// initialization is one start of the processes.
type initialization struct {
	phase string
	at    time.Time
	until time.Time   // when it must be over
	told  atomic.Bool // its end is in the log
}

// begin starts an initialization: the extensions and, when all of them have
// registered, the runtime's process. When it ends before that, begin returns
// how. An error is Lamina's.
func (e *environment) begin(free bool, limit time.Duration) (*ending, error) {
	now := e.runner.options.Now()
	i := &initialization{phase: phaseInvoke, at: now, until: now.Add(limit)}
	if free {
		i.phase = phaseInit
	}
	e.init.Store(i)
	e.initialized, e.running = false, true
	e.out.write(now, e.initStart(i))
	if len(e.external) > 0 {
		if end, err := e.beginExtensions(); end != nil || err != nil {
			return end, err
		}
	}
	p := sandbox.Process{Path: e.launch.Path, Args: e.launch.Args, Env: e.launch.Env, Dir: e.launch.Dir, LogFD: e.launch.LogFD}
	err := e.exec(p)
	if e.launch.Wrapper != "" && errors.Is(err, syscall.ENOEXEC) {
		// A script without an interpreter line, which a shell would run.
		p.Path, p.Args = "/bin/sh", append([]string{"/bin/sh"}, p.Args...)
		err = e.exec(p)
	}
	if err != nil {
		return e.execFailed(err)
	}
	return nil, nil
}

func (e *environment) exec(p sandbox.Process) error {
	if err := e.box.Exec(e.runner.life, p); err != nil {
		return err
	}
	e.alive[p.Name] = true
	return nil
}

func (e *environment) beginExtensions() (*ending, error) {
	now := e.runner.options.Now
	e.session.Expect(e.external)
	if len(e.external) > sandbox.MaxExtensions {
		const kind = "Extension.LaunchError"
		e.session.LaunchFailed(e.external[sandbox.MaxExtensions], kind)
		return &ending{kind: kind, text: fmt.Sprintf("Extension limit (%d) reached", sandbox.MaxExtensions), at: now()}, nil
	}
	env := extensionEnv(e.launch.Env)
	for _, name := range e.external {
		path := "/opt/extensions/" + name
		err := e.exec(sandbox.Process{Name: name, Path: path, Args: []string{path}, Env: env, Dir: "/", Output: e.pipes[1]})
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			const kind = "Extension.LaunchError"
			e.session.LaunchFailed(name, kind)
			return &ending{kind: kind, text: "fork/exec " + path + ": " + errno.Error(), at: now()}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	e.timer.Reset(e.init.Load().until.Sub(now()))
	defer e.timer.Stop()
	select {
	case <-e.session.Registered():
		return nil, nil
	case x, ok := <-e.box.Exited():
		end, err := e.exited(x, ok)
		return &end, err
	case <-e.timer.C:
		return &ending{timedOut: true, at: now()}, nil
	case <-e.runner.life.Done():
		return nil, errStopped
	}
}

// execFailed is the ending of a process that did not start. What the function
// brought along is its own fault; an interpreter is Lamina's.
func (e *environment) execFailed(err error) (*ending, error) {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return nil, err
	}
	end := &ending{at: e.runner.options.Now()}
	switch {
	case e.launch.Wrapper != "":
		x := sandbox.Exit{Code: 126}
		if errno == syscall.ENOENT {
			x.Code = 127
		}
		e.out.print(end.at, fmt.Sprintf("/var/runtime/bootstrap: %s: %s", e.launch.Wrapper, sentence(errno)))
		end.kind, end.text = "Runtime.ExitError", exitText(x)
	case lamina.RuntimeFamily(e.version.Config.Runtime) == "provided":
		end.kind, end.text = "Runtime.InvalidEntrypoint", "fork/exec "+e.launch.Path+": "+errno.Error()
	default:
		return nil, err
	}
	return end, nil
}

// exited is what the exit of a process that nobody asked to end means.
func (e *environment) exited(x sandbox.Exit, ok bool) (ending, error) {
	if e.runner.life.Err() != nil {
		return ending{}, errStopped
	}
	if !ok {
		return ending{}, errors.New("the sandbox vanished without an exit")
	}
	delete(e.alive, x.Name)
	end := ending{at: e.runner.options.Now(), kind: e.exitType(x), text: exitText(x)}
	if x.Name != "" {
		end.kind, end.text = "Extension.Crash", extensionExitText(x)
	}
	if fatal := e.session.Fatal(); fatal != "" { // said by whoever exits, or by one that has yet to
		end.kind = fatal
	}
	return end, nil
}

func extensionExitText(x sandbox.Exit) string {
	switch {
	case x.Signal != 0:
		return "signal: " + x.Signal.String()
	case x.Code != 0:
		return fmt.Sprintf("exit status %d", x.Code)
	}
	return "exit code 0"
}

// initSucceeded tells that the initialization is over and went well.
func (e *environment) initSucceeded(at time.Time) {
	i := e.init.Load()
	if i.told.Load() || !i.told.CompareAndSwap(false, true) {
		return
	}
	e.limitCPU()
	if e.out.wanted() {
		e.out.write(at, e.initEnd(i, statusSuccess, "", at)...)
	}
	e.hub.CloseSubscriptions()
}

// initFailed tells that the initialization is over and failed.
func (e *environment) initFailed(end ending) {
	i := e.init.Load()
	if !i.told.CompareAndSwap(false, true) {
		return
	}
	status, errorType := statusError, end.kind
	switch {
	case end.timedOut:
		status = statusTimeout
	case end.outcome != nil:
		errorType = errorTypeOf(end.outcome.ErrorType)
	}
	e.out.write(end.at, e.initEnd(i, status, errorType, end.at)...)
}

// settle waits until the extensions are done with the invocation that the
// runtime has answered. It returns how else it ended, if it did.
func (e *environment) settle(until time.Time) (ending, error) {
	if e.crashed != nil {
		return *e.crashed, nil
	}
	if !e.alive[""] {
		return ending{kind: "Runtime.ExitError", text: exitText(sandbox.Exit{}), at: e.runner.options.Now()}, nil
	}
	e.timer.Reset(until.Sub(e.runner.options.Now()))
	defer e.timer.Stop()
	select {
	case <-e.session.Settled():
		return ending{at: e.runner.options.Now()}, nil
	case x, ok := <-e.box.Exited():
		return e.exited(x, ok)
	case <-e.timer.C:
		return ending{timedOut: true, at: e.runner.options.Now()}, nil
	}
}

// shutdown lets the processes end by themselves, for as long as AWS would. The
// caller then kills what is left. Without extensions nobody is asked.
func (e *environment) shutdown(reason string) {
	if len(e.alive) == 0 || !e.session.Extended() {
		return
	}
	defer func() { e.out.write(e.runner.options.Now()) }() // what they said last
	now := e.runner.options.Now
	total, share := shutdownInternal, shutdownInternal
	if len(e.external) > 0 {
		total, share = shutdownExternal, runtimeExternal
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.runner.life), killLimit)
	defer cancel()
	begin := now()
	if err := e.wake(); err != nil {
		e.runner.options.Log.LogAttrs(ctx, slog.LevelWarn, "environment not thawed",
			slog.String("version", e.version.ARN()), slog.Any("err", err))
	}
	e.hub.Flush()
	signal := func(name string, s syscall.Signal) {
		if err := e.box.Signal(ctx, name, s); err != nil {
			e.runner.options.Log.LogAttrs(ctx, slog.LevelDebug, "process not signalled",
				slog.String("version", e.version.ARN()), slog.Any("err", err))
		}
	}
	if e.alive[""] {
		signal("", syscall.SIGTERM)
		e.awaitExits(begin.Add(share), "")
		if e.alive[""] {
			signal("", syscall.SIGKILL)
		}
	}
	if len(e.external) == 0 {
		return
	}
	deadline := begin.Add(total)
	var asked []string
	for _, x := range e.session.Extensions() {
		switch {
		case !x.External || !e.alive[x.Name]:
		case slices.Contains(x.Events, runtimeapi.EventShutdown):
			asked = append(asked, x.Name)
		default:
			signal(x.Name, syscall.SIGKILL)
		}
	}
	e.session.Shutdown(reason, deadline)
	e.awaitExits(deadline, asked...)
}

// awaitExits waits until the named processes have ended, or the time is up.
func (e *environment) awaitExits(until time.Time, names ...string) {
	e.timer.Reset(until.Sub(e.runner.options.Now()))
	defer e.timer.Stop()
	for slices.ContainsFunc(names, func(n string) bool { return e.alive[n] }) {
		select {
		case x, ok := <-e.box.Exited():
			if !ok {
				clear(e.alive)
				return
			}
			delete(e.alive, x.Name)
		case <-e.timer.C:
			return
		}
	}
}

// reset ends the processes, so that begin can start others in the same sandbox.
func (e *environment) reset(reason string) error {
	e.shutdown(reason)
	e.running = false
	e.restarted = true
	e.crashed = nil
	clear(e.alive)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.runner.life), killLimit)
	defer cancel()
	if err := e.box.KillProcesses(ctx); err != nil {
		return err
	}
	for stale := true; stale; {
		select {
		case _, stale = <-e.box.Exited():
		default:
			stale = false
		}
	}
	e.out.restart()
	e.session.Reset()
	e.hub.Reset()
	return nil
}
