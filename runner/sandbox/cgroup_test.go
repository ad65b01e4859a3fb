//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeFiles are what the kernel puts into a new group, by version and controller.
var fakeFiles = map[int]map[string][]string{
	1: {
		memory:  {"tasks", "cgroup.procs", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.stat", "memory.oom_control"},
		cpu:     {"tasks", "cgroup.procs", "cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.cfs_burst_us", "cpu.stat", "cpu.shares"},
		pids:    {"tasks", "cgroup.procs", "pids.max"},
		freezer: {"tasks", "cgroup.procs", "freezer.state"},
	},
	2: {
		freezer: {
			"cgroup.procs", "cgroup.threads", "cgroup.type", "cgroup.freeze", "cgroup.controllers", "cgroup.subtree_control",
			"memory.max", "memory.swap.max", "memory.current", "memory.peak", "memory.stat", "memory.events", "cpu.max", "cpu.max.burst", "cpu.weight", "pids.max",
		},
	},
}

// fakeHost makes directories that look like control groups, and their mounts.
// What the kernel would say is in the files that the test writes.
func fakeHost(t *testing.T, version int, have ...string) hierarchy {
	t.Helper()
	root := t.TempDir()
	h := hierarchy{version: version, bases: map[string]string{}}
	fill := func(dir string, files []string) error {
		for _, f := range files {
			if err := os.WriteFile(filepath.Join(dir, f), nil, 0o644); err != nil {
				return err
			}
		}
		return nil
	}
	h.mkdir = func(dir string) error {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if version == 2 {
			if err := os.WriteFile(filepath.Join(dir, "memory.current"), []byte("4194304\n"), 0o644); err != nil {
				return err
			}
			return fill(dir, slices.DeleteFunc(slices.Clone(fakeFiles[2][freezer]), func(f string) bool { return f == "memory.current" }))
		}
		for c := range h.bases {
			if strings.HasPrefix(dir, h.bases[c]+"/") {
				if err := fill(dir, fakeFiles[1][c]); err != nil {
					return err
				}
			}
		}
		if exists(filepath.Join(dir, "memory.usage_in_bytes")) {
			return os.WriteFile(filepath.Join(dir, "memory.usage_in_bytes"), []byte("8192\n"), 0o644)
		}
		return nil
	}
	h.rmdir = func(dir string) error { // as the kernel: groups inside stop it, files don't
		if len(children(dir)) > 0 {
			return &fs.PathError{Op: "rmdir", Path: dir, Err: syscall.ENOTEMPTY}
		}
		if !exists(dir) {
			return &fs.PathError{Op: "rmdir", Path: dir, Err: syscall.ENOENT}
		}
		return os.RemoveAll(dir)
	}
	for _, c := range have {
		base := root
		if version == 1 {
			base = filepath.Join(root, c)
			if err := os.Mkdir(base, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := fill(base, fakeFiles[1][c]); err != nil {
				t.Fatal(err)
			}
		}
		h.bases[c] = base
	}
	if version == 2 {
		h.bases[freezer] = root
		if err := fill(root, fakeFiles[2][freezer]); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte(strings.Join(have, " ")+" io\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// mounts are the lines of mountinfo for a fake host.
func fakeMounts(h hierarchy) string {
	var b strings.Builder
	if h.version == 2 {
		fmt.Fprintf(&b, "30 20 0:26 / %s rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n", h.bases[freezer])
		return b.String()
	}
	for c, base := range h.bases {
		fmt.Fprintf(&b, "31 20 0:27 / %s rw,relatime - cgroup cgroup rw,%s\n", base, c)
	}
	return b.String()
}

func TestChooseHierarchy(t *testing.T) {
	t.Parallel()
	all := []string{memory, cpu, pids}
	for _, c := range []struct {
		name     string
		one, two []string // controllers of each version; nil is not mounted
		want     string
	}{
		{"nothing", nil, nil, "v0 with "},
		{"version 1", append(all, freezer), nil, "v1 with freezer, memory, cpu, pids"},
		{"version 2", nil, all, "v2 with freezer, memory, cpu, pids"},
		{"both with all: the second", append(all, freezer), all, "v2 with freezer, memory, cpu, pids"},
		{"hybrid: the first has the limits", append(all, freezer), []string{}, "v1 with freezer, memory, cpu, pids"},
		{"hybrid: the second has more", []string{cpu}, []string{memory, pids}, "v2 with freezer, memory, pids"},
		{"only freezing, by the second", []string{freezer}, []string{}, "v2 with freezer"},
		{"only freezing, by the first", []string{freezer}, nil, "v1 with freezer"},
		{"some of the first", []string{memory, cpu}, nil, "v1 with memory, cpu"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mounts := "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n25 22 0:5 / /proc rw - proc proc rw\nnonsense\n"
			if c.one != nil {
				mounts += fakeMounts(fakeHost(t, 1, c.one...))
			}
			if c.two != nil {
				mounts += fakeMounts(fakeHost(t, 2, c.two...))
			}
			if got := chooseHierarchy(mounts, "0::/\n").String(); got != c.want {
				t.Errorf("hierarchy = %s; want %s", got, c.want)
			}
		})
	}
}

func TestDelegatedGroup(t *testing.T) {
	t.Parallel()
	h := fakeHost(t, 2, memory, pids)
	top := h.bases[freezer]
	own := filepath.Join(top, "user.slice", "lamina.service")
	if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := h.mkdir(own); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(own, "cgroup.controllers"), []byte("memory pids\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// Without the file at the top, as if it were not ours to write (we may be root).
	if err := os.Remove(filepath.Join(top, "cgroup.procs")); err != nil {
		t.Fatal(err)
	}
	got := delegated(top, "12:memory:/x\n0::/user.slice/lamina.service\n")
	if diff := cmp.Diff(got, map[string]string{memory: own, pids: own, freezer: own}); diff != "" {
		t.Errorf("own group (-got +want):\n%s", diff)
	}
	for _, own := range []string{"", "0::/\n", "0::/../../x\n", "0::/absent\n", "4:cpu:/user.slice/lamina.service\n"} {
		if got := delegated(top, own); got != nil {
			t.Errorf("delegated(%q) = %v; want nothing", own, got)
		}
	}
}

func TestParseMount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line, kind, point string
		options           []string
	}{
		{"34 25 0:29 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n", "cgroup", "/sys/fs/cgroup/memory", []string{"rw", "memory"}},
		{"34 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct", "cgroup", "/sys/fs/cgroup/cpu,cpuacct", []string{"rw", "cpu", "cpuacct"}},
		{`34 25 0:29 / /a\040b\134c rw - cgroup2 none rw`, "cgroup2", `/a b\c`, []string{"rw"}},
		{`34 25 0:29 / /a\9 rw - cgroup2 none rw`, "cgroup2", `/a\9`, []string{"rw"}},
		{"34 25 0:29 / /x rw", "", "", nil},
		{" - a b c", "", "", nil},
		{"", "", "", nil},
	} {
		kind, point, options := parseMount(c.line)
		if kind != c.kind || point != c.point || !slices.Equal(options, c.options) {
			t.Errorf("parseMount(%q) = %q, %q, %q; want %q, %q, %q", c.line, kind, point, options, c.kind, c.point, c.options)
		}
	}
}

func FuzzParseMount(f *testing.F) {
	f.Add(`34 25 0:29 / /a\040b rw,relatime shared:9 - cgroup cgroup rw,memory`)
	f.Add(`\`)
	f.Fuzz(func(t *testing.T, line string) {
		kind, point, _ := parseMount(line)
		if kind == "" && point != "" {
			t.Errorf("parseMount(%q) = a point without a kind", line)
		}
	})
}

// read returns what was written to files below a fake host's root.
func read(t *testing.T, dir string, files ...string) map[string]string {
	t.Helper()
	got := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Error(err)
		}
		got[f] = string(b)
	}
	return got
}

func TestGroupsOfVersion2(t *testing.T) {
	t.Parallel()
	h := fakeHost(t, 2, memory, cpu, pids)
	n := &instance{hierarchy: h}
	g, err := n.group()
	if err != nil {
		t.Fatal(err)
	}
	top := h.bases[freezer]
	dir := filepath.Join(top, "lamina", n.name, "1")
	if diff := cmp.Diff(g.joins(), []string{filepath.Join(dir, "function", "cgroup.threads")}); diff != "" {
		t.Errorf("joins (-got +want):\n%s", diff)
	}
	if got := g.melter(); got != "" {
		t.Errorf("melter = %q; want none: the kernel kills what is frozen", got)
	}
	if f, err := g.entrance(); err != nil || f == nil {
		t.Errorf("entrance = %v, %v; want the group", f, err)
	} else {
		f.Close()
	}
	if got := read(t, filepath.Join(dir, "function"), "cgroup.type")["cgroup.type"]; got != "threaded" {
		t.Errorf("type of the function's group = %q; want threaded", got)
	}
	for _, d := range []string{top, filepath.Join(top, "lamina"), filepath.Join(top, "lamina", n.name)} {
		if got := read(t, d, "cgroup.subtree_control")["cgroup.subtree_control"]; got != "+pids" { // the last of three writes
			t.Errorf("controllers of %s = %q; want all handed on", d, got)
		}
	}

	if err := g.start(Spec{MemoryBytes: 128 << 20, TmpBytes: 1 << 20, CPUs: 0.0723, Share: 0.0723, Pids: 1024}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"memory.max":      fmt.Sprint(128<<20 + 1<<20 + 4<<20 + spare), // the init has 4 MiB of it
		"memory.swap.max": "0", "pids.max": "1088", "cpu.max": "40000 20000", "cpu.max.burst": "", "cpu.weight": "7",
	}
	files := []string{"memory.max", "memory.swap.max", "pids.max", "cpu.max", "cpu.max.burst", "cpu.weight"}
	if diff := cmp.Diff(read(t, dir, files...), want); diff != "" {
		t.Errorf("limits at the start (-got +want):\n%s", diff)
	}
	if err := g.settle(true); err != nil {
		t.Fatal(err)
	}
	want["cpu.max"], want["cpu.max.burst"] = "1446 20000", "1446"
	if diff := cmp.Diff(read(t, dir, files...), want); diff != "" {
		t.Errorf("limits after initialization (-got +want):\n%s", diff)
	}
	if err := g.settle(false); err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir, "cpu.max")["cpu.max"]; got != "40000 20000" {
		t.Errorf("cpu.max for the next initialization = %q; want 40000 20000", got)
	}

	checkMemory(t, g, dir, "memory.current", "memory.peak", "file", "memory.events", 4<<20)
	checkFreezing(t, g, filepath.Join(dir, "function", "cgroup.freeze"), "1", "0")
	if err := errors.Join(g.remove(), n.close()); err != nil {
		t.Error(err)
	}
	if got := children(top); len(got) != 0 {
		t.Errorf("groups left = %v; want none", got)
	}
	if _, err := n.group(); !errors.Is(err, errClosed) {
		t.Errorf("group after close = %v; want %v", err, errClosed)
	}
}

func TestGroupsOfVersion1(t *testing.T) {
	t.Parallel()
	h := fakeHost(t, 1, memory, cpu, pids, freezer)
	n := &instance{hierarchy: h}
	g, err := n.group()
	if err != nil {
		t.Fatal(err)
	}
	dir := func(c string) string { return filepath.Join(h.bases[c], "lamina", n.name, "1") }
	want := []string{dir(freezer) + "/tasks", dir(memory) + "/tasks", dir(cpu) + "/tasks", dir(pids) + "/tasks"}
	if diff := cmp.Diff(g.joins(), want); diff != "" {
		t.Errorf("joins (-got +want):\n%s", diff)
	}
	if got, want := g.melter(), dir(freezer)+"/freezer.state"; got != want {
		t.Errorf("melter = %q; want %q", got, want)
	}
	if f, err := g.entrance(); f != nil || err != nil {
		t.Errorf("entrance = %v, %v; want none in version 1", f, err)
	}
	if got, want := read(t, filepath.Join(h.bases[cpu], "lamina"), "cpu.shares")["cpu.shares"], fmt.Sprint(4096*runtime.NumCPU()); got != want {
		t.Errorf("shares of all functions = %q; want %q", got, want)
	}
	if err := g.start(Spec{MemoryBytes: 128 << 20, CPUs: 6, Share: 0.001, Pids: 1024}); err != nil {
		t.Fatal(err)
	}
	bytes := fmt.Sprint(128<<20 + defaultTmp + spare)
	for c, want := range map[string]map[string]string{
		memory: {"memory.limit_in_bytes": bytes, "memory.memsw.limit_in_bytes": bytes},
		cpu:    {"cpu.cfs_period_us": "20000", "cpu.cfs_quota_us": "120000", "cpu.cfs_burst_us": "", "cpu.shares": "2"},
		pids:   {"pids.max": "1025"},
	} {
		var files []string
		for f := range want {
			files = append(files, f)
		}
		if diff := cmp.Diff(read(t, dir(c), files...), want); diff != "" {
			t.Errorf("limits of %s (-got +want):\n%s", c, diff)
		}
	}
	if err := g.settle(true); err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir(cpu), "cpu.cfs_burst_us")["cpu.cfs_burst_us"]; got != "120000" {
		t.Errorf("burst = %q; want 120000", got)
	}
	checkMemory(t, g, dir(memory), "memory.usage_in_bytes", "memory.max_usage_in_bytes", "total_cache", "memory.oom_control", 0)
	checkFreezing(t, g, dir(freezer)+"/freezer.state", "FROZEN", "THAWED")
	if err := errors.Join(g.remove(), n.close()); err != nil {
		t.Error(err)
	}
	for c, base := range h.bases {
		if got := children(base); len(got) != 0 {
			t.Errorf("groups left of %s = %v; want none", c, got)
		}
	}
}

// checkMemory plays the kernel for a group with 128 MiB.
func checkMemory(t *testing.T, g *group, dir, usage, peak, cached, events string, base int64) {
	t.Helper()
	say := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const mib = 1 << 20
	for _, c := range []struct {
		name        string
		used, files int64 // of all the memory, and of files
		most        int64 // that measure knows
		greedy      bool
	}{
		{"little", 40 * mib, 10 * mib, 30 * mib, false},
		{"as much as there is", 128 * mib, 0, 118 * mib, false}, // files were 10 at least once
		{"a large /tmp", 400 * mib, 350 * mib, 118 * mib, false},
		{"too much", 500 * mib, 300 * mib, 200 * mib, true},
		{"too much, known", 500 * mib, 300 * mib, 200 * mib, false},
	} {
		say(usage, fmt.Sprintf("%d\n", c.used+base))
		say(peak, fmt.Sprintf("%d\n", c.used+base))
		say("memory.stat", fmt.Sprintf("anon 1\n%s %d\nother 2\n", cached, c.files))
		if got := g.greedy(); got != c.greedy {
			t.Errorf("%s: greedy = %t; want %t", c.name, got, c.greedy)
		}
		if got, _, err := g.measure(); got != c.most || err != nil {
			t.Errorf("%s: measure = %d MiB, %v; want %d", c.name, got/mib, err, c.most/mib)
		}
		if _, changed, err := g.measure(); changed || err != nil {
			t.Errorf("%s: second measure changed = %t, %v; want false", c.name, changed, err)
		}
	}
	say(events, "low 0\noom 7\noom_kill 0\n")
	if !g.starved() { // greedy said so
		t.Error("starved = false; want true")
	}
	if g.starved() {
		t.Error("starved asked twice = true; want false")
	}
	say(events, "oom 8\noom_kill 2\n")
	if !g.starved() || g.starved() {
		t.Error("starved after a kill by the kernel is not true once")
	}
}

func checkFreezing(t *testing.T, g *group, file, on, off string) {
	t.Helper()
	state := func() string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	freeze := func() {
		t.Helper()
		g.mu.Lock()
		defer g.mu.Unlock()
		if err := g.freeze(true); err != nil {
			t.Fatal(err)
		}
	}
	freeze()
	if got := state(); got != on {
		t.Errorf("state = %q; want %q", got, on)
	}
	if thawed, err := g.wake(); !thawed || err != nil || state() != off {
		t.Errorf("wake = %t, %v, state %q; want true, nil, %q", thawed, err, state(), off)
	}
	if thawed, err := g.wake(); thawed || err != nil {
		t.Errorf("second wake = %t, %v; want false, nil", thawed, err)
	}
	freeze()
	if err := g.melt(); err != nil || state() != off {
		t.Errorf("melt = %v, state %q; want nil, %q", err, state(), off)
	}
	freeze()
	if got := state(); got != off {
		t.Errorf("state after melt and freeze = %q; want %q", got, off)
	}
}

func TestControllerThatCanNotBeHandedOn(t *testing.T) {
	t.Parallel()
	h := fakeHost(t, 2, memory, cpu, pids)
	// A directory can't be written: the kernel's EBUSY and EINVAL are such errors, too.
	file := filepath.Join(h.bases[freezer], "cgroup.subtree_control")
	if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o755)); err != nil {
		t.Fatal(err)
	}
	n := &instance{hierarchy: h}
	g, err := n.group()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := n.String(), "v2 with freezer"; got != want {
		t.Errorf("hierarchy = %s; want %s", got, want)
	}
	if got := len(n.notEnforced()); got != 3 {
		t.Errorf("not enforced: %d things; want 3", got)
	}
	if err := g.start(Spec{MemoryBytes: 1 << 20, CPUs: 1, Pids: 1}); err != nil {
		t.Errorf("start = %v; want nil, for there is nothing to write", err)
	}
	if _, _, err := g.measure(); err == nil {
		t.Error("measure = nil error; want one")
	}
}

func TestSweepLeavesTheLiving(t *testing.T) {
	t.Parallel()
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			t.Parallel()
			h := fakeHost(t, version, memory, cpu, pids)
			if version == 1 {
				h = fakeHost(t, version, memory, cpu, pids, freezer)
			}
			living, dead := &instance{hierarchy: h}, &instance{hierarchy: h}
			for _, n := range []*instance{living, dead} {
				if _, err := n.group(); err != nil {
					t.Fatal(err)
				}
			}
			tops := h.tops()
			foreign := filepath.Join(tops[0], "not-ours")
			half := filepath.Join(tops[len(tops)-1], "0123456789ab") // of a server that died while it made it
			for _, dir := range []string{foreign, half} {
				if err := h.mkdir(dir); err != nil {
					t.Fatal(err)
				}
			}
			if removed, err := h.sweep(); removed != 1 || err != nil {
				t.Errorf("sweep = %d, %v; want only the half one", removed, err)
			}
			if err := dead.lock.Close(); err != nil { // as its end would
				t.Fatal(err)
			}
			// A process that another test is starting has the lock, too, until it becomes
			// another program.
			removed, err := h.sweep()
			for until := time.Now().Add(10 * time.Second); removed == 0 && err == nil && time.Now().Before(until); removed, err = h.sweep() {
				time.Sleep(5 * time.Millisecond)
			}
			if removed != 1 || err != nil {
				t.Errorf("sweep = %d, %v; want one", removed, err)
			}
			for _, dir := range append(dead.dirs(), half) {
				if exists(dir) {
					t.Errorf("%s is still there", dir)
				}
			}
			for _, dir := range append(living.dirs(), foreign) {
				if !exists(dir) {
					t.Errorf("%s is gone", dir)
				}
			}
			// A name that somebody removed and locks at the same time is not taken.
			if _, err := lockGroup(living.dirs()[0]); !errors.Is(err, syscall.EWOULDBLOCK) {
				t.Errorf("lock = %v; want EWOULDBLOCK", err)
			}
		})
	}
}
