package runner

import (
	"cmp"
	"log/slog"
	"syscall"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner/sandbox"
)

const (
	// freezeAfter is how long an environment runs on after an invocation. One that
	// is used again at once pays nothing for being frozen in between.
	freezeAfter = 100 * time.Millisecond
	// oneCPU is the memory with which a function has a whole processor.
	oneCPU  = 1769 // MB
	maxCPUs = 6
	// maxPids is how many processes and threads AWS lets a function have.
	maxPids = 1024
)

// allot gives a sandbox what a function of that size has.
func (r *Runner) allot(s *sandbox.Spec, c *lamina.Config) {
	s.MemoryBytes = c.MemorySize << 20
	s.Share = min(float64(c.MemorySize)/oneCPU, maxCPUs)
	if r.options.CPUQuota {
		s.CPUs = s.Share
	}
	s.Pids = maxPids
	s.TmpBytes = c.EphemeralStorage << 20
}

// wake lets the processes run, if they were frozen, until idle is called.
func (e *environment) wake() error { return e.box.Wake() }

// idle says that the processes have nothing to do before the next wake.
func (e *environment) idle() {
	if after := cmp.Or(e.runner.options.FreezeAfter, freezeAfter); after > 0 {
		e.box.Idle(after)
	}
}

// limitCPU ends the time in which the processes have more than their share of
// the processors: they have initialized.
func (e *environment) limitCPU() {
	if err := e.box.LimitCPU(); err != nil {
		e.runner.options.Log.LogAttrs(e.runner.life, slog.LevelWarn, "processors not limited",
			slog.String("version", e.version.ARN()), slog.Any("err", err))
	}
}

// exitType is the error type of a runtime process's exit.
func (e *environment) exitType(x sandbox.Exit) string {
	if x.Signal == syscall.SIGKILL && e.box.OutOfMemory() {
		return "Runtime.OutOfMemory"
	}
	return "Runtime.ExitError"
}
