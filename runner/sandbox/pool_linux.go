package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lamina-run/lamina/runner/sandbox/nat"
)

const (
	innerID  = 993                   // what the function's user is called inside when the server is not root
	maxSlots = 1 << 15               // sandboxes at once, and the length of the range of user IDs
	quiet    = 50 * time.Millisecond // without a start before the pool refills
	patience = 4 * quiet             // after which it refills even so
)

var errClosed = errors.New("pool is closed")

// Pool makes sandboxes, some of them ahead of need.
type Pool struct {
	log        *slog.Logger
	executable string
	parkedMax  int
	uidBase    int
	rootless   bool
	spawner    *spawner // nil when root
	network    Network
	router     *nat.Router // nil without a network
	instance   *instance
	keeper     *keeper
	images     *Images // nil without images

	wake chan struct{} // Start sends without waiting, Run receives; capacity 1

	mu        sync.Mutex
	parked    []*Sandbox
	live      map[*Sandbox]bool // parked ones too
	slots     []bool
	lastStart time.Time
	short     time.Time // since when the pool is not full; zero if it is
	closed    bool
	readers   sync.WaitGroup
}

// NewPool starts nothing: [Pool.Run] fills the pool, and [Pool.Start] works without it.
func NewPool(o Options) (*Pool, error) {
	if len(os.Args) == 2 && os.Args[0] == "lamina" && (os.Getpid() == 1 && os.Args[1] == InitVerb || os.Args[1] == SpawnVerb) {
		// We are what a pool started, and should have become its init or spawner.
		return nil, errors.New("the program does not call sandbox.Init and sandbox.Spawn")
	}
	caps, err := capabilities()
	if err != nil {
		return nil, step("read capabilities", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	network, err := ParseNetwork(string(o.Network))
	if err != nil {
		return nil, err
	}
	var router *nat.Router
	if network != NetworkNone {
		if _, err := DefaultNetwork(); err != nil {
			return nil, fmt.Errorf("network mode %s: %w", network, err)
		}
		router = nat.NewRouter(nat.Options{
			Policy: nat.Policy{Endpoint: o.Endpoint, Responses: o.Responses, Host: network == NetworkHost}, Sockets: functionSockets(),
		})
	}
	host, err := thisHost()
	if err != nil {
		return nil, step("look for control groups", err)
	}
	p := &Pool{
		instance:   &instance{hierarchy: host},
		keeper:     newKeeper(),
		images:     o.Images,
		network:    network,
		router:     router,
		log:        o.Log,
		executable: cmp.Or(o.Executable, "/proc/self/exe"),
		parkedMax:  o.Parked,
		uidBase:    cmp.Or(o.UIDBase, 100000),
		rootless:   caps&rootCapabilities != rootCapabilities,
		wake:       make(chan struct{}, 1),
		live:       map[*Sandbox]bool{},
	}
	if p.rootless {
		p.spawner = newSpawner(p.executable, p.log)
	}
	return p, nil
}

// rootCapabilities are what it takes to sandbox without a user namespace.
const rootCapabilities = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_SETPCAP |
	1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID | 1<<unix.CAP_CHOWN | 1<<unix.CAP_KILL

func capabilities() (uint64, error) {
	var data [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
		return 0, err
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

// Rootless says whether sandboxes live in user namespaces, because the server
// may not make others.
func (p *Pool) Rootless() bool { return p.rootless }

// Run keeps Options.Parked sandboxes waiting until ctx ends. Then it closes
// every sandbox, in use or not, and returns nil when all of them are gone.
func (p *Pool) Run(ctx context.Context) error {
	defer p.close()
	p.prepareGroups(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() { p.keeper.keep(ctx) })
	defer keeping.Wait()
	var backoff time.Duration
	for {
		wait, full := p.due()
		if full {
			select {
			case <-ctx.Done():
				return nil
			case <-p.wake:
			}
			continue
		}
		if wait = max(wait, backoff); wait > 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(wait):
			}
			if backoff == 0 {
				continue
			}
		}
		s, err := p.spawn(ctx)
		if err == nil {
			backoff = 0
			p.park(s)
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		backoff = min(max(2*backoff, time.Second), 30*time.Second)
		p.log.LogAttrs(ctx, slog.LevelWarn, "sandbox not parked", slog.Duration("retry", backoff), slog.Any("err", err))
	}
}

// due says whether the pool is full and how long a refill should leave the
// processors to the starts that are under way.
func (p *Pool) due() (wait time.Duration, full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.parked) >= p.parkedMax {
		p.short = time.Time{}
		return 0, true
	}
	if p.short.IsZero() {
		p.short = time.Now()
	}
	return min(quiet-time.Since(p.lastStart), patience-time.Since(p.short)), false
}

// Start takes a parked sandbox, or makes one, and gives it what spec asks for.
// The caller owns the result and closes it. An error about the sandbox itself
// is an [*Error]; nothing is left behind then.
func (p *Pool) Start(ctx context.Context, spec Spec) (*Sandbox, error) {
	s, err := p.take(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.start(ctx, spec); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Parked is how many sandboxes wait for a Start.
func (p *Pool) Parked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.parked)
}

func (p *Pool) take(ctx context.Context) (*Sandbox, error) {
	p.mu.Lock()
	p.lastStart = time.Now()
	if p.closed {
		p.mu.Unlock()
		return nil, step("start", errClosed)
	}
	var s *Sandbox
	if n := len(p.parked); n > 0 {
		s = p.parked[0] // on its own: in one assignment with the next, Go may look after the deletion
		p.parked = slices.Delete(p.parked, 0, 1)
	}
	p.mu.Unlock()
	p.refill()
	if s != nil {
		return s, nil
	}
	return p.spawn(ctx)
}

func (p *Pool) park(s *Sandbox) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live[s] { // else it died meanwhile
		p.parked = append(p.parked, s)
	}
}

// adopt starts the reader of s, unless the pool is closed.
func (p *Pool) adopt(s *Sandbox) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return step("start", errClosed)
	}
	p.live[s] = true
	p.readers.Go(s.read)
	return nil
}

// refill tells Run to look.
func (p *Pool) refill() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// release forgets s, whose processes are all gone.
func (p *Pool) release(s *Sandbox) {
	defer p.refill()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.live, s)
	if i := slices.Index(p.parked, s); i >= 0 {
		p.parked = slices.Delete(p.parked, i, i+1)
	}
	p.slots[s.slot] = false
}

func (p *Pool) close() {
	p.mu.Lock()
	p.closed = true
	var all []*Sandbox
	for s := range p.live {
		all = append(all, s)
	}
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(func() {
			if err := s.Close(); err != nil {
				p.log.Error("sandbox not closed", slog.Any("err", err))
			}
		})
	}
	wg.Wait()
	p.readers.Wait()
	if p.spawner != nil {
		p.spawner.close()
	}
	if err := p.instance.close(); err != nil {
		p.log.Error("control groups not removed", slog.Any("err", err))
	}
}

// takeSlot returns the lowest free one. Each has a host user of its own, so
// that neither signals nor the limit on processes cross sandboxes.
func (p *Pool) takeSlot() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, taken := range p.slots {
		if !taken {
			p.slots[i] = true
			return i, nil
		}
	}
	if len(p.slots) == maxSlots {
		return 0, step("take user", errors.New("too many sandboxes"))
	}
	p.slots = append(p.slots, true)
	return len(p.slots) - 1, nil
}

func (p *Pool) releaseSlot(slot int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots[slot] = false
}

func (p *Pool) uid(slot int) int {
	if p.rootless {
		return innerID
	}
	return p.uidBase + slot
}
