//go:build linux

package sandbox

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func testSpawner(t *testing.T, executable string) *spawner {
	t.Helper()
	s := newSpawner(executable, slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(s.close)
	return s
}

// spawned asks s for an init. It ends when the test does, or when its other end is closed.
func spawned(t *testing.T, s *spawner, entrance *os.File) (p *process, end *os.File, err error) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "theirs")
	defer theirs.Close()
	end = os.NewFile(uintptr(pair[0]), "ours")
	t.Cleanup(func() { end.Close() })
	p, err = s.spawn(t.Context(), theirs, entrance)
	return p, end, err
}

func TestSpawnerThatDiesIsReplaced(t *testing.T) {
	t.Parallel()
	need(t)
	s := testSpawner(t, "/proc/self/exe")
	first, end, err := spawned(t, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		before := s.proc.Pid
		if err := s.proc.Kill(); err != nil {
			t.Fatal(err)
		}
		p, end, err := spawned(t, s, nil)
		if err != nil || s.proc.Pid == before {
			t.Fatalf("spawn = %v; want it from another than %d", err, before)
		}
		end.Close()
		if err := p.Wait(); err != nil {
			t.Errorf("Wait at the end of file = %v; want nil", err)
		}
		if err := p.Kill(); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("Kill after that = %v; want %v", err, os.ErrProcessDone)
		}
	}
	if err := first.Kill(); err != nil {
		t.Errorf("Kill of the first = %v; want it to live", err)
	}
	if err := first.Wait(); err != nil {
		t.Error(err)
	}
	end.Close()
}

func TestSpawnerThatIsNoneIsNotTriedAtOnce(t *testing.T) {
	t.Parallel()
	for _, executable := range []string{"/bin/true", "/nonexistent"} {
		s := testSpawner(t, executable)
		if _, _, err := spawned(t, s, nil); err == nil {
			t.Errorf("spawn by %s = nil; want an error", executable)
		}
		if _, _, err := spawned(t, s, nil); !errors.Is(err, errSpawner) || !strings.Contains(err.Error(), "next try") {
			t.Errorf("spawn by %s = %v; want to be told of the next try", executable, err)
		}
		for range 20 {
			s.delay()
		}
		if wait := time.Until(s.earliest); wait > lastBackoff {
			t.Errorf("the next try is in %v; want at most %v", wait, lastBackoff)
		}
	}
}

func TestSpawnerTellsTheKernelsAnswer(t *testing.T) {
	t.Parallel()
	need(t)
	s := testSpawner(t, "/proc/self/exe")
	dir, err := os.Open(t.TempDir()) // no control group
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, _, err := spawned(t, s, dir); !errors.Is(err, unix.EBADF) {
		t.Errorf("spawn into a directory = %v; want EBADF", err)
	}
	before := s.proc.Pid
	p, end, err := spawned(t, s, nil)
	if err != nil || s.proc.Pid != before {
		t.Fatalf("spawn = %v by %d; want it of the same spawner, %d", err, s.proc.Pid, before)
	}
	end.Close()
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.turn <- struct{}{}
	if _, err := s.spawn(ctx, dir, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("spawn that waits = %v; want %v", err, context.Canceled)
	}
	<-s.turn
	s.close()
	if _, _, err := spawned(t, s, nil); !errors.Is(err, errClosed) {
		t.Errorf("spawn after close = %v; want %v", err, errClosed)
	}
}

// kinds counts this process's descriptors by what they are of.
func kinds() map[string]int {
	all := map[string]int{}
	entries, _ := os.ReadDir("/proc/self/fd") // for a message
	for _, e := range entries {
		target, _ := os.Readlink("/proc/self/fd/" + e.Name())
		kind, _, _ := strings.Cut(target, "[")
		all[kind]++
	}
	return all
}

// frugalServer starts and closes sandboxes without privileges, and tells what stays.
func frugalServer(args []string) int {
	p, err := NewPool(Options{Parked: 2})
	if err != nil {
		slog.Error("no pool", slog.Any("err", err))
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1) // Run's result, sent once
	go func() { done <- p.Run(ctx) }()
	round := func(n int) {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range n {
					s, err := p.Start(ctx, Spec{Task: args[0]})
					if err == nil {
						err = s.Close()
					}
					if err != nil {
						slog.Error("no start", slog.Any("err", err))
						os.Exit(1)
					}
				}
			})
		}
		all.Wait()
	}
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			slog.Error("no descriptors", slog.Any("err", err))
			os.Exit(1)
		}
		return len(entries)
	}
	round(3)
	before, parked := count(), 2*8 // descriptors of two that may be on their way
	round(25)
	if after := count(); after > before+parked {
		slog.Error("descriptors stay", slog.Int("before", before), slog.Int("after", after), slog.Any("kinds", kinds()), slog.Int("live", len(p.live)), slog.Int("parked", len(p.parked)))
		return 1
	}
	// Those that ended were reaped; what is parked, or about to be, is there.
	left := 0
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // nothing tells
		children, err := offspring()
		if err != nil {
			slog.Error("no processes", slog.Any("err", err))
			return 1
		}
		if left = len(children[p.spawner.proc.Pid]); left <= p.parkedMax {
			break
		}
	}
	if left > p.parkedMax {
		slog.Error("processes stay", slog.Int("count", left))
		return 1
	}
	cancel()
	if err := <-done; err != nil {
		slog.Error("Run", slog.Any("err", err))
		return 1
	}
	if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG, nil); err != unix.ECHILD {
		slog.Error("a child stays", slog.Any("err", err))
		return 1
	}
	return 0
}

func TestRootlessStartsLeaveNothing(t *testing.T) {
	t.Parallel()
	dir, bin := ordinaryUser(t)
	if out, err := asOrdinaryUser(t, bin, "frugal", dir).Output(); err != nil {
		t.Errorf("server = %v: %s; want it to leave nothing", err, out)
	}
}
