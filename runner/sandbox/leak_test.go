//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var coldStarts = flag.Int("cold-starts", 200, "sandboxes that the leak test starts and kills; CI asks for 5000")

// noops are the code of two programs: one that exits, one that waits for ever.
var noops = map[string][2][]byte{
	"amd64": {
		{0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05}, // xor edi, edi; mov eax, exit; syscall
		{0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7}, // mov eax, pause; syscall; jmp to the start
	},
	"arm64": {
		{0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4},                                                       // mov x0, 0; mov x8, exit; svc 0
		{0, 0, 0x80, 0xd2, 1, 0, 0x80, 0xd2, 2, 0, 0x80, 0xd2, 3, 0, 0x80, 0xd2, 0x28, 0x09, 0x80, 0xd2, 1, 0, 0, 0xd4}, // ppoll of nothing
	},
}

// static makes a static program of some hundred bytes, so that starting it
// costs next to nothing.
func static(t testing.TB, path string, code []byte) {
	t.Helper()
	const base, header = 0x400000, 64 + 56
	number := uint16(62) // EM_X86_64
	if runtime.GOARCH == "arm64" {
		number = 183
	}
	var b bytes.Buffer
	for _, part := range []any{
		[16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1},
		uint16(2), number, uint32(1), uint64(base + header), uint64(64), uint64(0),
		uint32(0), uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), uint64(header + len(code)), uint64(header + len(code)), uint64(0x1000),
		code,
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, b.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
}

// held is what this process and its children have of the machine.
func held(t *testing.T, groups []string) map[string]int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{"goroutines": runtime.NumGoroutine()}
	for _, f := range fds {
		target, err := os.Readlink("/proc/self/fd/" + f.Name())
		if err != nil {
			continue // the listing's own
		}
		kind, _, _ := strings.Cut(target, ":")
		kinds["descriptor "+kind]++
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	kinds["mounts"] = bytes.Count(mounts, []byte("\n"))
	kinds["processes"] = len(descendants(t, os.Getpid()))
	namespaces := map[string]bool{}
	for _, pid := range append(descendants(t, os.Getpid()), os.Getpid()) {
		links, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/ns/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if ns, err := os.Readlink(l); err == nil {
				namespaces[ns] = true
			}
		}
	}
	kinds["namespaces"] = len(namespaces)
	for _, dir := range groups {
		if exists(dir) {
			kinds["control groups"] += 1 + len(children(dir))
		}
	}
	interfaces, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	kinds["network devices"] = len(interfaces)
	return kinds
}

// Not parallel: it counts what the whole process has.
func TestColdStartsLeaveNothing(t *testing.T) {
	code, ok := noops[runtime.GOARCH]
	if !ok {
		t.Fatalf("no program for %s", runtime.GOARCH)
	}
	task := t.TempDir()
	static(t, filepath.Join(task, "exits"), code[0])
	static(t, filepath.Join(task, "waits"), code[1])
	layers := []string{t.TempDir(), t.TempDir()}
	network, err := DefaultNetwork()
	if err != nil {
		t.Logf("without a network: %v", err)
	}
	var groups []string // of all pools; other servers have some of their own
	// The first round makes what a process makes once.
	round := func(count int) {
		t.Helper()
		p := newPool(t, Options{Parked: 4, Network: network})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1) // Run's result, sent once
		go func() { done <- p.Run(ctx) }()
		var left atomic.Int64
		left.Store(int64(count))
		var starters sync.WaitGroup
		for range runtime.GOMAXPROCS(0) + 2 {
			starters.Go(func() {
				for i := left.Add(-1); i >= 0 && !t.Failed(); i = left.Add(-1) {
					coldStart(t, p, Spec{
						Task: task, Layers: layers, TmpBytes: 1 << 20, MemoryBytes: 128 << 20, CPUs: 0.5, Pids: 64,
					}, i)
				}
			})
		}
		starters.Wait()
		p.instance.mu.Lock()
		if p.instance.name != "" {
			groups = append(groups, p.instance.dirs()...)
		}
		p.instance.mu.Unlock()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v; want nil", err)
		}
	}
	round(20)
	before := held(t, groups)
	begin := time.Now()
	round(*coldStarts)
	took := time.Since(begin)
	t.Logf("%d cold starts and kills in %s: %s each", *coldStarts, took.Round(time.Millisecond), (took / time.Duration(*coldStarts)).Round(time.Microsecond))
	more := func() (kinds []string) {
		for kind, n := range held(t, groups) {
			if n > before[kind] {
				kinds = append(kinds, fmt.Sprintf("%s: %d, before %d", kind, n, before[kind]))
			}
		}
		return kinds
	}
	left := more()
	for end := time.Now().Add(10 * time.Second); len(left) > 0 && time.Now().Before(end); left = more() {
		time.Sleep(10 * time.Millisecond) // goroutines end after what they did is seen
	}
	if len(left) > 0 {
		t.Errorf("left behind: %s", strings.Join(left, "; "))
	}
}

// coldStart starts a program that exits, or one that must be killed, awake or
// frozen, and closes its sandbox.
func coldStart(t *testing.T, p *Pool, s Spec, i int64) {
	sb, err := p.Start(t.Context(), s)
	if err != nil {
		t.Error(err)
		return
	}
	path := "/var/task/exits"
	if i%3 != 0 {
		path = "/var/task/waits"
	}
	if err := sb.Exec(t.Context(), Process{Path: path, Args: []string{path}}); err != nil {
		t.Error(err)
	}
	switch i % 3 {
	case 0:
		if x := <-sb.Exited(); x != (Exit{}) {
			t.Errorf("exit = %v; want none", x)
		}
	case 1:
		sb.Idle(0)
	}
	if err := sb.Close(); err != nil {
		t.Errorf("Close = %v; want nil", err)
	}
	if x, ok := <-sb.Exited(); i%3 != 0 && ok && x.Signal != syscall.SIGKILL {
		t.Errorf("exit = %v; want it killed", x)
	}
}
