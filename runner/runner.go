package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner/layer"
	"github.com/lamina-run/lamina/runner/runtimes"
	"github.com/lamina-run/lamina/runner/sandbox"
)

// Options configures a [Runner]. Log, Sandboxes, Layers, Runtimes and Now are required.
type Options struct {
	Log       *slog.Logger
	Sandboxes *sandbox.Pool
	Layers    *layer.Cache
	Runtimes  *runtimes.Set
	Limits    lamina.Limits
	Now       func() time.Time
	// Credentials makes those of one environment, which is not used any more when
	// they are about to expire; nil gives none.
	Credentials func(context.Context, lamina.Version) (runtimes.Credentials, error)
	// Logs takes what functions print; nil drops it.
	Logs Logs
	// Directories shows those of the host that versions name; nil shows none.
	Directories Directories
	// Endpoint is the server's URL as functions reach it; empty if they don't.
	Endpoint string
	// Trust is an authority that functions trust besides the host's; the zero value
	// is none.
	Trust runtimes.Trust
	// Idle is how long an environment waits for another invocation; zero is 10
	// minutes.
	Idle time.Duration
	// FreezeAfter is how long an environment's processes run on after an
	// invocation before they are frozen until the next; zero is 100 ms, less never.
	FreezeAfter time.Duration
	// CPUQuota holds functions to their share of the processors even while nobody
	// else wants them, as AWS does.
	CPUQuota bool
	// MaxEnvironments bounds how many there are at a time; zero is the limit of
	// concurrent executions.
	MaxEnvironments int
}

// Logs takes the log streams of all environments.
type Logs interface {
	// Write takes one event: a line that the function printed, without its end,
	// or one of the platform, such as START. The line is the caller's again when
	// Write returns, and the function may wait meanwhile, so Write must be quick.
	Write(v *lamina.Version, stream string, at time.Time, line []byte)
}

// Stats counts environments.
type Stats struct {
	Live    int // all of them, those that start too
	Idle    int
	Waiting int // invocations that wait for one
}

var (
	errStopped = errors.New("runner is stopped")
	errGone    = errors.New("sandbox is gone") // while it was idle
)

// Runner executes invocations. [Runner.Run] must run meanwhile.
type Runner struct {
	options Options
	idle    time.Duration
	max     int

	// started is closed by Run, once life is set.
	started chan struct{}
	// life is the context of Run: the environments' too, whichever request
	// happened to start them.
	life context.Context

	mu         sync.Mutex
	pools      map[poolKey]*pool
	revisions  map[revisionKey]*pool // a shortcut to pools without a fingerprint
	live       map[*environment]bool
	slots      int // environments that exist or are being started
	starting   int // of these, provisioned ones that are being started
	waiting    []*waiter
	provisions map[provisionKey]*provision
	stopped    bool

	environments sync.WaitGroup // those with a slot

	// refilling receives from whoever may have made provisioned environments
	// missing, without blocking; Run receives; never closed.
	refilling chan struct{}
}

// New returns a runner that does nothing until [Runner.Run].
func New(o Options) *Runner {
	return &Runner{
		options:   o,
		idle:      cmp.Or(o.Idle, 10*time.Minute),
		max:       cmp.Or(o.MaxEnvironments, int(o.Limits.ConcurrentExecutions), 1000),
		started:   make(chan struct{}),
		pools:     map[poolKey]*pool{},
		revisions: map[revisionKey]*pool{},
		live:      map[*environment]bool{},

		provisions: map[provisionKey]*provision{},
		refilling:  make(chan struct{}, 1),
	}
}

// Run closes environments that nobody used for a while. When ctx ends it closes
// all of them, in use or not, and returns when they are gone. It may be called once.
func (r *Runner) Run(ctx context.Context) error {
	r.life = ctx
	close(r.started)
	ticker := time.NewTicker(max(r.idle/4, time.Millisecond))
	defer ticker.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-r.refilling:
			r.refill()
		case <-look.C:
			r.refill()
		case <-ticker.C:
			closeAll(r.expired(r.options.Now().Add(-r.idle)))
		case <-ctx.Done():
			r.stop()
			r.environments.Wait()
			return nil
		}
	}
}

// stop lets no invocation begin any more and ends those that run.
func (r *Runner) stop() {
	r.mu.Lock()
	r.stopped = true
	var idle, busy []*environment
	for _, p := range r.pools {
		idle = append(idle, p.idle...)
		p.idle = nil
	}
	for _, s := range r.provisions {
		idle = append(idle, s.ready...)
		s.ready = nil
	}
	for e := range r.live {
		if !slices.Contains(idle, e) {
			busy = append(busy, e)
		}
	}
	for _, w := range r.waiting {
		close(w.granted)
	}
	r.waiting = nil
	r.mu.Unlock()
	for _, e := range idle {
		r.environments.Go(e.discard)
	}
	// Whoever waits for a busy one sees its process exit, and closes the rest.
	for _, e := range busy {
		r.environments.Go(e.kill)
	}
}

func closeAll(environments []*environment) {
	var closing sync.WaitGroup
	for _, e := range environments {
		closing.Go(e.discard)
	}
	closing.Wait()
}

// Prepare unpacks what a version consists of, so that its first invocation needs
// not, and looks for its interpreter. A missing interpreter is no error: it may
// be installed later. It does not need [Runner.Run].
func (r *Runner) Prepare(ctx context.Context, v lamina.Version) error {
	if v.Config.PackageType == lamina.PackageImage {
		return nil // nothing to unpack; Invoke says that images don't run
	}
	a, err := r.acquire(ctx, v)
	if err != nil {
		return fmt.Errorf("prepare %s: %w", v.ARN(), err)
	}
	defer a.release()
	if lamina.RuntimeFamily(v.Config.Runtime) == "provided" {
		return nil
	}
	_, err = r.options.Runtimes.Find(ctx, v.Config.Runtime)
	if _, missing := errors.AsType[*lamina.RuntimeError](err); err != nil && !missing {
		return fmt.Errorf("prepare %s: %w", v.ARN(), err)
	}
	return nil
}

// PrepareLayer unpacks a layer version, so that the first function that uses it
// need not. It does not need [Runner.Run].
func (r *Runner) PrepareLayer(ctx context.Context, v lamina.LayerVersion) error {
	_, release, err := r.tree(ctx, v.Directory, v.Digest)
	if err != nil {
		return fmt.Errorf("prepare %s: %w", v.ARN(), err)
	}
	release()
	return nil
}

// archives are the directories of a version, in use until release.
type archives struct {
	task     string
	layers   []string
	releases []func()
}

func (a archives) release() {
	for _, f := range a.releases {
		if f != nil {
			f()
		}
	}
}

func (r *Runner) acquire(ctx context.Context, v lamina.Version) (archives, error) {
	if v.Config.PackageType == lamina.PackageImage {
		return archives{}, &lamina.RuntimeError{Runtime: lamina.PackageImage, Hint: "Functions of PackageType Image can be created and updated, but not invoked yet: Lamina runs zip packages only."}
	}
	n := len(v.Config.Layers)
	a := archives{layers: make([]string, n), releases: make([]func(), n+1)}
	group, ctx := errgroup.WithContext(ctx)
	for i, l := range v.Config.Layers {
		group.Go(func() (err error) {
			a.layers[i], a.releases[i], err = r.tree(ctx, l.Directory, l.Digest)
			if err != nil {
				return fmt.Errorf("layer %s: %w", l.ARN, err)
			}
			return nil
		})
	}
	var err error
	a.task, a.releases[n], err = r.tree(ctx, v.Code.Directory, v.Code.Digest)
	if err = cmp.Or(group.Wait(), err); err != nil {
		a.release()
		return archives{}, err
	}
	return a, nil
}

// Invoke runs one invocation and returns what came of it. The function runs to
// its end even if ctx ends before; ctx bounds only the wait for an environment.
// It fails with [lamina.ErrBusy] when all environments stay busy for as long as
// the function may take, and with a [*lamina.RuntimeError] when the host can't
// run the function's runtime.
func (r *Runner) Invoke(ctx context.Context, in lamina.Invocation) (lamina.Result, error) {
	select {
	case <-r.started:
	default:
		select {
		case <-r.started:
		case <-ctx.Done():
			return lamina.Result{}, context.Cause(ctx)
		}
	}
	generation, err := r.generation(ctx, &in.Version)
	if err != nil {
		return lamina.Result{}, fmt.Errorf("invoke %s: %w", in.Version.ARN(), err)
	}
	in.Version.Code.Generation = generation
	waited := time.Duration(0)
	for {
		e, p, err := r.take(ctx, &in.Version, &waited)
		if err != nil {
			return lamina.Result{}, fmt.Errorf("invoke %s: %w", in.Version.ARN(), err)
		}
		cold := e == nil
		if cold {
			e, err = r.start(p, in.Version, nil)
			if err != nil {
				r.free(p)
				if errors.Is(err, runtimes.ErrNoBootstrap) {
					return failure("Runtime.InvalidEntrypoint", in.RequestID,
						"Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"), nil
				}
				return lamina.Result{}, fmt.Errorf("start %s: %w", in.Version.ARN(), err)
			}
		}
		result, reusable, err := e.invoke(&in)
		result.Measures.Waited = waited
		if cold {
			made := e.made // put may let another invocation have the environment
			result.Measures.Cold = &made
		}
		if in.Sink != nil && !errors.Is(err, errGone) {
			in.Sink.End() // before put, which may wait for a connection that writes
		}
		r.finish(e, reusable)
		if errors.Is(err, errGone) {
			continue // the next one is another, at the latest a new one
		}
		if err != nil {
			return lamina.Result{}, fmt.Errorf("invoke %s: %w", in.Version.ARN(), err)
		}
		return result, nil
	}
}
