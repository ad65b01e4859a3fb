//go:build linux

package sandbox

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var idlers = flag.Int("idle", 1000, "frozen sandboxes beside which BenchmarkBesideIdle starts others")

// BenchmarkBesideIdle starts, executes and closes a sandbox beside many whose
// processes would be busy if they were not frozen. Its baseline are the same
// starts, before, without them.
func BenchmarkBesideIdle(b *testing.B) {
	p := running(b, newPool(b, Options{Parked: 2}))
	if p.instance.lead() == "" {
		b.Fatal("no control groups")
	}
	task := b.TempDir()
	static(b, filepath.Join(task, "exits"), noops[runtime.GOARCH][0])
	s := Spec{Task: task, TmpBytes: 1 << 20, MemoryBytes: 128 << 20, CPUs: 0.1, Pids: 64}
	once := func() time.Duration {
		awaitParked(b, p)
		begin := time.Now()
		sb, err := p.Start(b.Context(), s)
		if err != nil {
			b.Fatal(err)
		}
		if err := sb.Exec(b.Context(), Process{Path: "/var/task/exits", Args: []string{"exits"}}); err != nil {
			b.Fatal(err)
		}
		<-sb.Exited()
		took := time.Since(begin)
		if err := sb.Close(); err != nil {
			b.Fatal(err)
		}
		return took
	}
	measure := func(n int) float64 {
		var all []time.Duration
		for range n {
			all = append(all, once())
		}
		slices.Sort(all)
		return float64(all[n/2].Microseconds())
	}
	measure(10)
	alone := measure(60)
	for range *idlers {
		sb := start(b, p, s)
		// Spins until it is frozen.
		if err := sb.Exec(b.Context(), Process{Path: "/bin/sh", Args: []string{"sh", "-c", "while :; do :; done"}}); err != nil {
			b.Fatal(err)
		}
		sb.Idle(0)
		awaitFrozen(b, sb)
	}
	time.Sleep(time.Second)
	from := cpuTime(b)
	begin := time.Now()
	time.Sleep(2 * time.Second)
	busy := float64(cpuTime(b)-from) / float64(time.Since(begin))
	for b.Loop() {
		measure(1)
	}
	beside := measure(60)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(alone, "p50-alone-µs")
	b.ReportMetric(beside, "p50-beside-µs")
	b.ReportMetric(busy*100, "idle-cpu-%")
}

// cpuTime is what this process and all below it used, with those that ended.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var ticks int64
	for _, pid := range append(descendants(t, os.Getpid()), os.Getpid()) {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		for _, s := range f[11:13] {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * (time.Second / 100) // USER_HZ
}
