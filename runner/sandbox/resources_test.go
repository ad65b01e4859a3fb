//go:build linux

package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// needGroups skips without control groups, or fails when LAMINA_TEST_MUST names cgroup.
func needGroups(t testing.TB, wanted ...string) hierarchy {
	t.Helper()
	h, err := thisHost()
	for _, c := range wanted {
		if err == nil && !h.has(c) {
			err = fmt.Errorf("no control group for %s", c)
		}
	}
	if err == nil {
		return h
	}
	if strings.Contains(os.Getenv("LAMINA_TEST_MUST"), "cgroup") {
		t.Fatalf("control groups are a must here: %v", err)
	}
	t.Skipf("needs control groups: %v", err)
	return h
}

func TestMemoryIsLimited(t *testing.T) {
	t.Parallel()
	needGroups(t, memory)
	p := running(t, newPool(t, Options{}))
	for _, c := range []struct {
		name string
		tmp  int64
	}{
		{"by the kernel when /tmp is small", 1 << 20},
		{"by the pool when /tmp is large", 2 << 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sb := start(t, p, Spec{MemoryBytes: 160 << 20, TmpBytes: c.tmp})
			out, exit := run(t, sb, "hog", "1000")
			if exit.Signal != syscall.SIGKILL || out != "" {
				t.Errorf("hog = %q, %v; want it killed", out, exit)
			}
			if !sb.OutOfMemory() {
				t.Error("OutOfMemory = false; want true")
			}
			if got, err := sb.PeakMemory(); err != nil || got < 140<<20 || got > 160<<20 {
				t.Errorf("PeakMemory = %d MiB, %v; want a little less than 160", got>>20, err)
			}
			// What comes after has all of it again.
			if _, exit := run(t, sb, "hog", "20"); exit != (Exit{}) {
				t.Errorf("small hog = %v; want it to end well", exit)
			}
			if sb.OutOfMemory() {
				t.Error("OutOfMemory afterwards = true; want false")
			}
			if err := sb.KillProcesses(t.Context()); err != nil {
				t.Error(err)
			}
			if sb.OutOfMemory() {
				t.Error("OutOfMemory after a kill = true; want false")
			}
		})
	}
}

func TestTmpIsNotMemory(t *testing.T) {
	t.Parallel()
	needGroups(t, memory)
	p := running(t, newPool(t, Options{}))
	sb := start(t, p, Spec{MemoryBytes: 96 << 20, TmpBytes: 300 << 20})
	for i := range 4 {
		if out, exit := run(t, sb, "fill", fmt.Sprintf("/tmp/%d", i)); exit != (Exit{}) || !strings.Contains(out, "written 67108864") {
			t.Fatalf("fill %d = %q, %v; want 64 MiB written", i, out, exit)
		}
	}
	if got, err := sb.PeakMemory(); err != nil || got > 80<<20 {
		t.Errorf("PeakMemory with a full /tmp = %d MiB, %v; want that of the process", got>>20, err)
	}
	if _, exit := run(t, sb, "hog", "200"); exit.Signal != syscall.SIGKILL || !sb.OutOfMemory() {
		t.Errorf("hog beside a full /tmp = %v; want it killed for its memory", exit)
	}
}

// All processes count, and the one that ended, too.
func TestPeakMemoryIsOfAllProcesses(t *testing.T) {
	t.Parallel()
	needGroups(t, memory)
	sb := start(t, newPool(t, Options{}), Spec{MemoryBytes: 512 << 20})
	script := program + " inside hog 60 & " + program + " inside hog 60; wait"
	out, exit := runProcess(t, sb, Process{Path: "/bin/sh", Args: []string{"sh", "-c", script}})
	if exit != (Exit{}) || strings.Count(out, "has 60") != 2 {
		t.Fatalf("two hogs = %q, %v; want both to end well", out, exit)
	}
	got, err := sb.PeakMemory()
	if err != nil || got < 61<<20 || got > 400<<20 {
		t.Errorf("PeakMemory = %d MiB, %v; want that of the children", got>>20, err)
	}
	if again, err := sb.PeakMemory(); again < got || err != nil {
		t.Errorf("second PeakMemory = %d, %v; want at least %d", again, err, got)
	}
}

func TestProcessesAreLimited(t *testing.T) {
	t.Parallel()
	h := needGroups(t, pids)
	sb := start(t, newPool(t, Options{}), Spec{Pids: 100})
	out, _ := run(t, sb, "children", "400")
	got, err := strconv.Atoi(fields(out)["children"])
	most := 100
	if h.version == 2 {
		most += ownPids
	}
	if err != nil || got < 50 || got >= most || fields(out)["end"] != "EAGAIN" {
		t.Errorf("children = %q; want less than %d and EAGAIN", out, most)
	}
}

func TestProcessorsAreLimitedAfterInitialization(t *testing.T) {
	t.Parallel()
	h := needGroups(t, cpu)
	sb := start(t, newPool(t, Options{}), Spec{CPUs: 0.1})
	throttled := func() int64 {
		t.Helper()
		n, err := sb.group.field(cpu, "cpu.stat", "nr_throttled")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	used := func() time.Duration {
		t.Helper()
		file, key, unit := "cpu.stat", "usage_usec", time.Microsecond
		if h.version == 1 {
			b, err := os.ReadFile("/proc/" + strconv.Itoa(descendants(t, sb.proc.Pid)[0]) + "/schedstat")
			if err != nil {
				t.Fatal(err)
			}
			n, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return time.Duration(n)
		}
		n, err := sb.group.field(cpu, file, key)
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(n) * unit
	}
	spin := Process{Path: program, Args: []string{"inside", "inside", "spin"}, Env: []string{"GOMAXPROCS=1"}}
	for round := range 2 {
		before := throttled()
		if err := sb.Exec(t.Context(), spin); err != nil {
			t.Fatal(err)
		}
		awaitReady(t, sb)
		time.Sleep(200 * time.Millisecond) // a limit has to show over time
		if got := throttled(); got != before {
			t.Errorf("round %d: throttled %d times during initialization; want never", round, got-before)
		}
		if err := sb.LimitCPU(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // what was saved may be used first
		before = throttled()
		begin, u := time.Now(), used()
		time.Sleep(time.Second)
		if got := throttled(); got == before {
			t.Errorf("round %d: throttled never; want now and then", round)
		}
		if share := float64(used()-u) / float64(time.Since(begin)); share > 0.15 {
			t.Errorf("round %d: used %.2f processors; want at most 0.1", round, share)
		}
		if err := sb.KillProcesses(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// silent waits until the process says nothing for a while.
func silent(t testing.TB, sb *Sandbox) bool {
	t.Helper()
	buf := make([]byte, 64<<10)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if err := sb.Output().SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := sb.Output().Read(buf); errors.Is(err, os.ErrDeadlineExceeded) {
			return true
		}
	}
	return false
}

// speaks waits until the process says something.
func speaks(t testing.TB, sb *Sandbox) bool {
	t.Helper()
	if err := sb.Output().SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err := sb.Output().Read(make([]byte, 1))
	return err == nil
}

// freezing are pools that freeze with the version of this host's that limits
// most, and with the second if it is mounted.
func freezing(t *testing.T) map[string]*Pool {
	h := needGroups(t, freezer)
	pools := map[string]*Pool{h.String(): running(t, newPool(t, Options{}))}
	if h.version == 2 {
		return pools
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if kind, point, _ := parseMount(line); kind == "cgroup2" {
			if two := (hierarchy{version: 2, bases: delegated(point, "")}); two.has(freezer) {
				p := newPool(t, Options{})
				p.instance = &instance{hierarchy: two}
				pools[two.String()] = running(t, p)
			}
		}
	}
	return pools
}

func TestFreezing(t *testing.T) {
	t.Parallel()
	for name, p := range freezing(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sb := start(t, p, Spec{})
			tick := Process{Path: program, Args: []string{"inside", "inside", "tick"}}
			if err := sb.Exec(t.Context(), tick); err != nil {
				t.Fatal(err)
			}
			if !speaks(t, sb) {
				t.Fatal("the process says nothing")
			}
			for range 3 {
				sb.Idle(time.Millisecond)
				if !silent(t, sb) {
					t.Fatal("the process runs on")
				}
				if err := sb.Wake(); err != nil || !speaks(t, sb) {
					t.Fatalf("Wake = %v; want the process to go on", err)
				}
			}
			sb.Idle(time.Hour)
			if err := sb.Wake(); err != nil || !speaks(t, sb) {
				t.Errorf("Wake before a freeze = %v; want the process to go on", err)
			}
			// A second one of another name thaws all.
			sb.Idle(0)
			if !silent(t, sb) {
				t.Fatal("the process runs on")
			}
			if err := sb.Exec(t.Context(), Process{Name: "x", Path: program, Args: []string{"inside", "inside", "exit", "3"}}); err != nil {
				t.Fatal(err)
			}
			if got := <-sb.Exited(); got != (Exit{Name: "x", Code: 3}) {
				t.Errorf("exit = %v; want code 3 of x", got)
			}
			// So do a signal and a kill.
			sb.Idle(0)
			if !silent(t, sb) {
				t.Fatal("the process runs on")
			}
			if err := sb.Signal(t.Context(), "", syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if got := <-sb.Exited(); got.Signal != syscall.SIGTERM {
				t.Errorf("exit = %v; want SIGTERM", got)
			}
			if err := sb.Exec(t.Context(), tick); err != nil {
				t.Fatal(err)
			}
			sb.Idle(0)
			if !silent(t, sb) {
				t.Fatal("the process runs on")
			}
			if err := sb.KillProcesses(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := <-sb.Exited(); got.Signal != syscall.SIGKILL {
				t.Errorf("exit = %v; want SIGKILL", got)
			}
			if err := sb.Exec(t.Context(), tick); err != nil {
				t.Fatal(err)
			}
			sb.Idle(0)
			if !silent(t, sb) {
				t.Fatal("the process runs on")
			}
			if err := sb.Close(); err != nil {
				t.Errorf("Close while frozen = %v; want nil", err)
			}
			sb.Idle(0) // comes too late, and does no harm
			if err := sb.Wake(); err != nil {
				t.Errorf("Wake after Close = %v; want nil", err)
			}
		})
	}
}

// A frozen process keeps its connections: that is how it waits for an invocation.
func TestFrozenProcessKeepsItsConnection(t *testing.T) {
	t.Parallel()
	for name, p := range freezing(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sb := start(t, p, Spec{})
			if err := sb.Exec(t.Context(), Process{Path: program, Args: []string{"inside", "inside", "echo", Address}}); err != nil {
				t.Fatal(err)
			}
			c, err := sb.Listener().Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			lines := bufio.NewReader(c)
			for i := range 5 {
				sb.Idle(0)
				awaitFrozen(t, sb)
				line := fmt.Sprintf("line %d\n", i)
				if _, err := io.WriteString(c, line); err != nil {
					t.Fatal(err)
				}
				if err := sb.Wake(); err != nil {
					t.Fatal(err)
				}
				if got, err := lines.ReadString('\n'); got != line {
					t.Fatalf("answer = %q, %v; want %q", got, err, line)
				}
			}
		})
	}
}

func awaitFrozen(t testing.TB, sb *Sandbox) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) { // the kernel tells nobody
		sb.group.mu.Lock()
		frozen := sb.group.frozen
		sb.group.mu.Unlock()
		if frozen {
			return
		}
	}
	t.Fatal("not frozen after 10 s")
}

// A server that is killed leaves no processes, and the next one no groups.
func TestKilledServerLeavesNothing(t *testing.T) {
	t.Parallel()
	h := needGroups(t, freezer)
	need(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	alive := start(t, running(t, newPool(t, Options{})), Spec{MemoryBytes: 128 << 20})
	for _, frozen := range []string{"frozen", "running"} {
		cmd := exec.Command(self, "server", self, frozen)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		first, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(first))
		if err != nil {
			t.Fatalf("server said %q; want a process ID", first)
		}
		name, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		name = strings.TrimSpace(name)
		all := append(descendants(t, pid), pid)
		if len(all) < 3 {
			t.Errorf("%s: processes = %v; want an init and several more", frozen, all)
		}
		if _, err := h.sweep(); err != nil { // its server lives
			t.Error(err)
		}
		for _, top := range h.tops() {
			if !exists(filepath.Join(top, name)) {
				t.Errorf("%s: %s is gone while its server lives", frozen, filepath.Join(top, name))
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()                                                                                                   // killed, as we know
		for end := time.Now().Add(10 * time.Second); slices.ContainsFunc(all, lives); time.Sleep(time.Millisecond) { // not our children: nothing tells
			if time.Now().After(end) {
				t.Fatalf("%s: processes %v outlive the server", frozen, slices.DeleteFunc(all, func(p int) bool { return !lives(p) }))
			}
		}
		var dirs []string
		for _, top := range h.tops() {
			dirs = append(dirs, filepath.Join(top, name))
		}
		sweepUntilGone(t, h, dirs)
	}
	for _, dir := range alive.group.dirs() {
		if !exists(dir) {
			t.Errorf("%s of a living server is gone", dir)
		}
	}
}

// What was not killed with its server, for whatever reason, is by the next.
func TestSweepKills(t *testing.T) {
	t.Parallel()
	h := needGroups(t, freezer)
	need(t)
	dead := &instance{hierarchy: h}
	g, err := dead.group()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1) // one send, when it has ended
	go func() { gone <- cmd.Wait() }()
	for _, dir := range g.dirs() {
		if err := writeGroup(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(cmd.Process.Pid)); err != nil {
			t.Fatal(err)
		}
	}
	g.mu.Lock()
	err = g.freeze(true)
	g.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.lock.Close(); err != nil { // as the end of a process does
		t.Fatal(err)
	}
	sweepUntilGone(t, h, dead.dirs())
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the process lives")
		cmd.Process.Kill()
	}
}

// sweepUntilGone sweeps until dirs are gone: another server that starts now may
// have them in its hands.
func sweepUntilGone(t *testing.T, h hierarchy, dirs []string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // the other tells nobody
		if _, err := h.sweep(); err != nil {
			t.Error(err)
		}
		left := slices.DeleteFunc(slices.Clone(dirs), func(dir string) bool { return !exists(dir) })
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%v are still there", left)
			return
		}
	}
}

func lives(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ") // nobody may reap it here
}

func TestProbeTellsOfControlGroups(t *testing.T) {
	t.Parallel()
	need(t)
	h := needGroups(t, memory, cpu, pids, freezer)
	r := Probe(t.Context())
	i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Name == "cgroup" })
	if i < 0 || !r.Checks[i].OK || r.Checks[i].Detail != h.String() {
		t.Errorf("checks = %+v; want cgroup to be ok with %s", r.Checks, h)
	}
	for _, s := range r.NotEnforced {
		if strings.Contains(s, "control group") {
			t.Errorf("not enforced: %s; want nothing about control groups", s)
		}
	}
}

func TestWithoutControlGroups(t *testing.T) {
	t.Parallel()
	p := newPool(t, Options{})
	p.instance = &instance{}
	sb := start(t, running(t, p), Spec{MemoryBytes: 64 << 20, CPUs: 0.1, Pids: 10})
	if out, exit := run(t, sb, "hog", "100"); exit != (Exit{}) {
		t.Errorf("hog = %q, %v; want it to end well, for nothing limits it", out, exit)
	}
	sb.Idle(0)
	if err := errors.Join(sb.Wake(), sb.LimitCPU()); err != nil || sb.OutOfMemory() {
		t.Errorf("Wake, LimitCPU = %v, OutOfMemory = %t; want nil, false", err, sb.OutOfMemory())
	}
	if got := len(p.instance.notEnforced()); got != 4 {
		t.Errorf("not enforced: %d things; want 4", got)
	}
	if diff := cmp.Diff(p.instance.tops(), []string(nil)); diff != "" {
		t.Errorf("groups (-got +want):\n%s", diff)
	}
}

func BenchmarkFreezeAndThaw(b *testing.B) {
	p := newPool(b, Options{}) // not running: nothing else freezes
	sb := start(b, p, Spec{})
	if sb.group == nil {
		b.Fatal("no control groups")
	}
	if err := sb.Exec(context.Background(), Process{Path: program, Args: []string{"inside", "inside", "sleep"}}); err != nil {
		b.Fatal(err)
	}
	awaitReady(b, sb)
	var freeze, thaw []time.Duration
	for b.Loop() {
		begin := time.Now()
		sb.group.mu.Lock()
		err := sb.group.freeze(true)
		sb.group.mu.Unlock()
		freeze = append(freeze, time.Since(begin))
		if err != nil {
			b.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		begin = time.Now()
		if err := sb.Wake(); err != nil {
			b.Fatal(err)
		}
		thaw = append(thaw, time.Since(begin))
		time.Sleep(time.Millisecond)
	}
	p50 := func(ds []time.Duration) float64 {
		slices.Sort(ds)
		return float64(ds[len(ds)/2].Nanoseconds()) / 1e3
	}
	b.ReportMetric(0, "ns/op") // would count the pauses
	b.ReportMetric(p50(freeze), "p50-freeze-µs")
	b.ReportMetric(p50(thaw), "p50-thaw-µs")
}
