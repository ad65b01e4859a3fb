package sandbox

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// glance is how often the memory of those that run is looked at. What the
	// kernel limits by itself needs no look.
	glance = 10 * time.Millisecond
	// killLimit is how long the init may take to kill a function that uses more
	// memory than it has; then the sandbox goes.
	killLimit = 5 * time.Second
)

// keeper knows the sandboxes whose processes are not frozen.
type keeper struct {
	wake chan struct{} // watch sends without waiting, keep receives; capacity 1

	mu    sync.Mutex
	awake map[*Sandbox]bool
}

func newKeeper() *keeper {
	return &keeper{wake: make(chan struct{}, 1), awake: map[*Sandbox]bool{}}
}

func (k *keeper) watch(s *Sandbox) {
	k.mu.Lock()
	k.awake[s] = true
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) forget(s *Sandbox) {
	k.mu.Lock()
	delete(k.awake, s)
	k.mu.Unlock()
}

func (k *keeper) list(into []*Sandbox) []*Sandbox {
	k.mu.Lock()
	defer k.mu.Unlock()
	for s := range k.awake {
		into = append(into, s)
	}
	return into
}

// keep freezes sandboxes when their time has come, and ends what uses more
// memory than it has, until ctx ends.
func (k *keeper) keep(ctx context.Context) {
	var kills sync.WaitGroup
	defer kills.Wait()
	ticker := time.NewTicker(glance)
	defer ticker.Stop()
	var list []*Sandbox
	for {
		if list = k.list(list[:0]); len(list) == 0 {
			ticker.Stop()
			select {
			case <-ctx.Done():
				return
			case <-k.wake:
			}
			ticker.Reset(glance)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, s := range list {
				if s.look(now) {
					kills.Go(s.starve)
				}
			}
		}
		clear(list)
	}
}

// look freezes s when it is due, and says whether s must be ended for its memory.
func (s *Sandbox) look(now time.Time) bool {
	g := s.group
	g.mu.Lock()
	if !g.due.IsZero() && !now.Before(g.due) {
		defer g.mu.Unlock()
		if err := g.freeze(true); err != nil {
			s.pool.log.Warn("sandbox not frozen", slog.Any("err", err))
		}
		s.pool.keeper.forget(s) // under the lock, or a wake that follows would be forgotten
		return false
	}
	g.mu.Unlock()
	return g.greedy()
}

// starve kills the processes inside as the kernel does when memory is used up.
func (s *Sandbox) starve() {
	ctx, cancel := context.WithTimeout(context.Background(), killLimit) // keep's end must not save them
	defer cancel()
	err := s.KillProcesses(ctx)
	if err == nil {
		return
	}
	if err := s.proc.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.pool.log.Error("sandbox not killed", slog.Any("err", err))
	}
}

// Idle says that nothing inside is wanted before the next [Sandbox.Wake]. When
// that did not come after a while, the processes are frozen: they keep their
// memory and connections, and do not run. It does nothing where the host can't
// freeze. It returns at once; [Pool.Run] must run.
func (s *Sandbox) Idle(after time.Duration) {
	g := s.group
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed && !g.frozen {
		g.due = time.Now().Add(after)
		s.pool.keeper.watch(s)
	}
}

// Wake lets frozen processes go on and keeps them from being frozen until the
// next [Sandbox.Idle]. [Sandbox.Exec], [Sandbox.Signal], [Sandbox.KillProcesses]
// and [Sandbox.Close] do so, too.
func (s *Sandbox) Wake() error {
	if s.group == nil {
		return nil
	}
	thawed, err := s.group.wake()
	if thawed {
		s.pool.keeper.watch(s)
	}
	return err
}

// LimitCPU says that the runtime process has initialized: from here on the
// sandbox gets [Spec.CPUs] and not what every initialization has. The next Exec
// of a runtime process ends it.
func (s *Sandbox) LimitCPU() error {
	if s.group == nil {
		return nil
	}
	return s.group.settle(true)
}

// OutOfMemory says whether a process inside was killed since the last call, or
// the last Exec of a runtime process, because all of them together used more
// than [Spec.MemoryBytes].
func (s *Sandbox) OutOfMemory() bool { return s.group != nil && s.group.starved() }

// ready prepares the control group for another process.
func (s *Sandbox) ready(p Process) error {
	g := s.group
	if g == nil {
		return nil
	}
	if err := s.Wake(); err != nil {
		return err
	}
	s.pool.keeper.watch(s)
	if p.Name != "" {
		return nil
	}
	g.mu.Lock()
	again := g.executed
	g.executed = true
	g.mu.Unlock()
	if !again {
		return nil
	}
	g.starved()
	return g.settle(false)
}

// melt thaws s for good. What is inside is about to be killed.
func (s *Sandbox) melt() {
	if s.group == nil {
		return
	}
	if err := s.group.melt(); err != nil {
		s.pool.log.Error("sandbox not thawed", slog.Any("err", err))
	}
}

// ungroup removes the control group of s, whose processes are gone.
func (s *Sandbox) ungroup() {
	s.pool.keeper.forget(s)
	if s.group == nil {
		return
	}
	if err := s.group.remove(); err != nil {
		s.pool.log.Error("control group not removed", slog.Any("err", err))
	}
}

// group makes a control group, opens what the init needs of it, and says so in
// the hello. The caller closes the files.
func (p *Pool) group(h *helloRequest) (_ *group, files []*os.File, err error) {
	g, err := p.instance.group()
	if g == nil || err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			closeAll(files)
			err = errors.Join(err, g.remove())
		}
	}()
	paths := g.joins()
	h.Joins = len(paths)
	if melter := g.melter(); melter != "" {
		h.Melts = true
		paths = append(paths, melter)
	}
	for _, path := range paths {
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, files, step("open control group", err)
		}
		files = append(files, os.NewFile(uintptr(fd), path))
	}
	return g, files, nil
}

func descriptors(files []*os.File) (fds []int) {
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	return fds
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// join puts the calling thread, and what it forks from now on, into the groups
// whose files are given, and hides from it where they are.
func join(files []int) error {
	for _, fd := range files {
		for {
			_, err := unix.Write(fd, []byte("0"))
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return step("join control group", err)
			}
			break
		}
	}
	if len(files) == 0 {
		return nil
	}
	return step("hide control groups", unix.Unshare(unix.CLONE_NEWCGROUP))
}

// prepareGroups removes what killed servers left, and makes this one's groups,
// so that the first sandbox finds them. It logs what is not enforced, as [Probe]
// lists it.
func (p *Pool) prepareGroups(ctx context.Context) {
	n := p.instance
	removed, err := n.sweep()
	if err != nil {
		p.log.LogAttrs(ctx, slog.LevelWarn, "leftovers of a killed server not removed", slog.Any("err", err))
	}
	if removed > 0 {
		p.log.LogAttrs(ctx, slog.LevelInfo, "leftovers of killed servers removed", slog.Int("servers", removed))
	}
	n.mu.Lock()
	if n.lead() != "" && n.name == "" {
		err = n.make()
	} else {
		err = nil
	}
	h := n.hierarchy
	n.mu.Unlock()
	if err != nil {
		p.log.LogAttrs(ctx, slog.LevelWarn, "control groups not made", slog.Any("err", err))
	}
	for _, s := range notEnforced(h, p.rootless) {
		p.log.LogAttrs(ctx, slog.LevelWarn, "not enforced here", slog.String("what", s))
	}
}
