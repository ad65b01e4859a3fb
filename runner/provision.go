package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner/runtimeapi"
	"github.com/lamina-run/lamina/runner/runtimes"
)

const (
	// provisionedInitLimit is how long a provisioned environment may take to
	// initialize, or the function's timeout where that is longer.
	provisionedInitLimit = 130 * time.Second
	// startAtOnce bounds the provisioned environments that start at the same
	// time, so that invocations have the processors, too.
	startAtOnce = 4
	// After a failed start the next one waits, twice as long each time.
	firstRetry = time.Second
	lastRetry  = time.Minute
	// lookEvery is how often dead environments are looked for.
	lookEvery = time.Second
)

// provision is the environments of one published version that are initialized
// ahead of invocations. The runner's mutex guards it.
type provision struct {
	key     provisionKey
	version lamina.Version
	pool    *pool
	want    int
	live    int            // those that exist or are being started
	warm    int            // of these, the initialized ones
	ready   []*environment // of these, those that wait for an invocation

	failure  string // a StatusReason; empty after a success
	failures int
	retryAt  time.Time
}

type provisionKey struct {
	function    lamina.FunctionID
	incarnation string
	number      int64
}

func provisionKeyOf(v *lamina.Version) provisionKey {
	return provisionKey{v.Function, v.Incarnation, v.Number}
}

// Provision keeps n environments of a published version initialized, whatever
// was asked for it before: invocations use them first, and those that die are
// replaced. 0 releases them, the idle ones at once, the others after their
// invocation. Provision does not wait; see [Runner.Provisioned].
func (r *Runner) Provision(v lamina.Version, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := provisionKeyOf(&v)
	s := r.provisions[key]
	if s == nil {
		if n == 0 || r.stopped {
			return
		}
		p, _ := r.poolOf(&v) // a published version outdates none
		s = &provision{key: key, version: v, pool: p}
		p.provision = s
		r.provisions[key] = s
	}
	if s.want != int(n) {
		s.want, s.failure, s.failures, s.retryAt = int(n), "", 0, time.Time{}
	}
	for surplus := s.live - s.want; surplus > 0 && len(s.ready) > 0; surplus-- {
		e := s.ready[0]
		s.ready = s.ready[1:]
		r.environments.Go(e.discard)
	}
	if n == 0 {
		r.forget(s)
		if s.pool.live == 0 {
			r.retire(s.pool)
		}
	}
	r.refillSoon()
}

// forget ends a provision; environments in use are discarded by put. It wants r.mu.
func (r *Runner) forget(s *provision) {
	s.want = 0
	if s.pool.provision == s {
		s.pool.provision = nil
	}
	if r.provisions[s.key] == s {
		delete(r.provisions, s.key)
	}
}

// Provisioned tells how far the environments of a version are.
func (r *Runner) Provisioned(v lamina.Version) lamina.Provisioning {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.provisions[provisionKeyOf(&v)]
	if s == nil {
		return lamina.Provisioning{}
	}
	return lamina.Provisioning{Ready: int64(min(s.warm, s.want)), Failure: s.failure}
}

// refillSoon wakes Run, which starts what is missing.
func (r *Runner) refillSoon() {
	select {
	case r.refilling <- struct{}{}:
	default: // already awake
	}
}

// refill discards provisioned environments that died while idle, and starts
// those that are missing.
func (r *Runner) refill() {
	now := r.options.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return
	}
	provisioned := 0
	for _, s := range r.provisions {
		alive := s.ready[:0]
		for _, e := range s.ready {
			if len(e.box.Exited()) > 0 {
				r.environments.Go(e.discard)
			} else {
				alive = append(alive, e)
			}
		}
		s.ready = alive
		provisioned += s.live
	}
	room := r.max - max(r.max/10, 1) // invocations beyond what is provisioned need some
	for _, s := range r.provisions {
		for s.live < s.want && r.starting < startAtOnce && !now.Before(s.retryAt) {
			if provisioned >= room {
				s.failure = fmt.Sprintf("This server provisions at most %d execution environments.", room)
				break
			}
			if r.slots >= r.max {
				if e := r.oldest(); e != nil {
					r.environments.Go(e.discard) // wakes Run again
				}
				return
			}
			r.slots++
			s.pool.live++
			s.live++
			r.starting++
			provisioned++
			r.environments.Add(1) // the slot's
			r.environments.Go(func() { r.startProvisioned(s) })
		}
	}
}

// startProvisioned makes one environment in the slot that refill took.
func (r *Runner) startProvisioned(s *provision) {
	e, err := r.start(s.pool, s.version, s)
	if err == nil {
		err = e.initialize()
	}
	if _, own := errors.AsType[*initError](err); err != nil && !own && r.life.Err() == nil {
		r.options.Log.LogAttrs(r.life, slog.LevelWarn, "provisioned environment not started",
			slog.String("version", s.version.ARN()), slog.Any("err", err))
	}
	r.mu.Lock()
	r.starting--
	if err != nil {
		s.failure = statusReason(err)
		s.retryAt = r.options.Now().Add(min(firstRetry<<min(s.failures, 10), lastRetry))
		s.failures++
		if e == nil {
			s.live--
		}
	} else {
		s.failure, s.failures = "", 0
		s.warm++
		e.warm = true
	}
	r.mu.Unlock()
	switch {
	case err == nil:
		r.put(e, true)
	case e != nil:
		e.discard()
	default:
		r.free(s.pool)
	}
	r.refillSoon()
}

// initError is a function's own failure to initialize.
type initError struct{ kind string }

func (e *initError) Error() string { return "initialization: " + e.kind }

// statusReason is what clients read about a failed start.
func statusReason(err error) string {
	if lacks, ok := errors.AsType[*lamina.RuntimeError](err); ok {
		return fmt.Sprintf("The runtime %s is not available on this machine. %s", lacks.Runtime, lacks.Hint)
	}
	if _, ok := errors.AsType[*initError](err); ok || errors.Is(err, runtimes.ErrNoBootstrap) {
		return lamina.InitFailure
	}
	return "INTERNAL_ERROR"
}

// initialize starts the process and waits until it asks for its first
// invocation. An *initError is the function's own failure.
func (e *environment) initialize() error {
	failed, err := e.begin(true, max(provisionedInitLimit, time.Duration(e.version.Config.Timeout)*time.Second))
	if err != nil {
		return err
	}
	end := ending{at: e.runner.options.Now()}
	if failed != nil {
		end = *failed
	} else if end, err = e.awaitReady(); err != nil {
		return err
	}
	if end.ok() {
		e.initialized = true
		e.initSucceeded(end.at)
		return nil
	}
	e.initFailed(end)
	switch {
	case end.timedOut:
		return &initError{"Sandbox.Timedout"}
	case end.outcome != nil:
		return &initError{outcomeType(*end.outcome)}
	}
	return &initError{end.kind}
}

// awaitReady waits until the processes ask for their first invocation.
func (e *environment) awaitReady() (ending, error) {
	now := e.runner.options.Now
	e.timer.Reset(e.init.Load().until.Sub(now()))
	defer e.timer.Stop()
	select {
	case <-e.session.Ready():
		return ending{at: now()}, nil
	case o := <-e.session.Outcomes():
		return ending{outcome: &o, at: o.At}, nil
	case x, ok := <-e.box.Exited():
		end, err := e.exited(x, ok)
		if err != nil {
			return ending{}, err
		}
		e.running = false
		select { // what it said last
		case o := <-e.session.Outcomes():
			return ending{outcome: &o, at: o.At}, nil
		default:
			return end, nil
		}
	case <-e.timer.C:
		return ending{timedOut: true, at: now()}, nil
	case <-e.runner.life.Done():
		return ending{}, context.Cause(e.runner.life)
	}
}

func outcomeType(o runtimeapi.Outcome) string {
	if o.ErrorType == "" {
		return "Runtime.Unknown"
	}
	return o.ErrorType
}
