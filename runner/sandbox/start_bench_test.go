//go:build linux

package sandbox

import (
	"net"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// BenchmarkStart measures from the call of Start until the runtime process
// connects to its Runtime API, and in the same run the same program forked
// without any sandbox. The pool is full before each start; p50 is of one sandbox
// at a time. "over" is what the sandbox costs.
func BenchmarkStart(b *testing.B) {
	p := running(b, newPool(b, Options{Parked: 2}))
	s := spec(b, Spec{Task: b.TempDir(), Layers: []string{b.TempDir(), b.TempDir(), b.TempDir()}})
	self := s.Binds[0].Source
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	accept := func(l net.Listener) {
		c, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
	var bare, started, execed, connected, closed []time.Duration
	for b.Loop() {
		awaitParked(b, p)
		begin := time.Now()
		cmd := exec.Command(self, "inside", "connect", l.Addr().String())
		cmd.Env = []string{"A=1"}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		accept(l)
		bare = append(bare, time.Since(begin))
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}

		begin = time.Now()
		sb, err := p.Start(b.Context(), s)
		if err != nil {
			b.Fatal(err)
		}
		started = append(started, time.Since(begin))
		if err := sb.Exec(b.Context(), Process{
			Path: program, Args: []string{"inside", "inside", "connect", Address}, Env: []string{"A=1"},
		}); err != nil {
			b.Fatal(err)
		}
		execed = append(execed, time.Since(begin))
		accept(sb.Listener())
		connected = append(connected, time.Since(begin))
		<-sb.Exited()
		begin = time.Now()
		if err := sb.Close(); err != nil {
			b.Fatal(err)
		}
		closed = append(closed, time.Since(begin))
	}
	p50 := func(ds []time.Duration) float64 {
		slices.Sort(ds)
		return float64(ds[len(ds)/2].Microseconds())
	}
	b.ReportMetric(0, "ns/op") // would count the waits
	b.ReportMetric(p50(bare), "p50-bare-µs")
	b.ReportMetric(p50(started), "p50-start-µs")
	b.ReportMetric(p50(execed), "p50-start+exec-µs")
	b.ReportMetric(p50(connected), "p50-connect-µs")
	b.ReportMetric(p50(connected)-p50(bare), "p50-over-µs")
	b.ReportMetric(p50(closed), "p50-close-µs")
}

// BenchmarkSpawn measures a start without a pool.
func BenchmarkSpawn(b *testing.B) {
	p := newPool(b, Options{})
	s := spec(b, Spec{Task: b.TempDir()})
	for b.Loop() {
		sb, err := p.Start(b.Context(), s)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := sb.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
