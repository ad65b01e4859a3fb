//go:build linux

package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"
)

const teardown = 60 * time.Millisecond

// started are medians of starts, in microseconds.
type started struct{ Scratch, Parked float64 }

// heavyServer measures starts by a server with so many MiB of heap, which has
// its inits cloned by the spawner or clones them itself, and prints them.
func heavyServer(args []string) int {
	fail := func(err error) int {
		fmt.Println(err)
		return 1
	}
	mib, err := strconv.Atoi(args[0])
	if err != nil {
		return fail(err)
	}
	heap := make([]byte, mib<<20)
	for i := 0; i < len(heap); i += 4096 {
		heap[i] = 1
	}
	defer runtime.KeepAlive(heap)
	p, err := NewPool(Options{Parked: 2})
	if err != nil {
		return fail(err)
	}
	if args[1] == "itself" {
		p.spawner = nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	once := func() (time.Duration, error) {
		begin := time.Now()
		s, err := p.Start(ctx, Spec{Task: args[2]})
		if err != nil {
			return 0, err
		}
		took := time.Since(begin)
		return took, s.Close()
	}
	measure := func(ready func()) (float64, error) {
		var all []time.Duration
		for range 40 {
			ready()
			took, err := once()
			if err != nil {
				return 0, err
			}
			all = append(all, took)
		}
		slices.Sort(all)
		return float64(all[len(all)/2].Microseconds()), nil
	}
	var got started
	if _, err := once(); err != nil { // starts the spawner
		return fail(err)
	}
	// The kernel takes some time to tear a network namespace down, and makes none meanwhile.
	if got.Scratch, err = measure(func() { time.Sleep(teardown) }); err != nil {
		return fail(err)
	}
	done := make(chan error, 1) // Run's result, sent once
	go func() { done <- p.Run(ctx) }()
	if got.Parked, err = measure(func() {
		for {
			p.mu.Lock()
			n := len(p.parked)
			p.mu.Unlock()
			if n == p.parkedMax {
				return
			}
			time.Sleep(100 * time.Microsecond) // the pool tells nobody
		}
	}); err != nil {
		return fail(err)
	}
	cancel()
	if err := <-done; err != nil {
		return fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(got); err != nil {
		return fail(err)
	}
	return 0
}

// BenchmarkRootlessStart measures p50 of a start without privileges, from
// scratch and of a parked sandbox, by servers of different sizes. "ratio" is
// what a start from scratch costs without the spawner, over what it costs with it.
func BenchmarkRootlessStart(b *testing.B) {
	dir, bin := ordinaryUser(b)
	for _, mib := range []string{"16", "256", "1024"} {
		b.Run(mib+"MiB", func(b *testing.B) {
			var all [2][]started
			for b.Loop() {
				for i, how := range []string{"spawner", "itself"} { // in turns
					out, err := asOrdinaryUser(b, bin, "heavy", mib, how, dir).Output()
					if err != nil {
						b.Fatalf("%v: %s", err, out)
					}
					var got started
					if err := json.Unmarshal(out, &got); err != nil {
						b.Fatal(err)
					}
					all[i] = append(all[i], got)
				}
			}
			median := func(of func(started) float64, runs []started) float64 {
				slices.SortFunc(runs, func(a, b started) int { return int(of(a) - of(b)) })
				return of(runs[len(runs)/2])
			}
			scratch, parked := func(s started) float64 { return s.Scratch }, func(s started) float64 { return s.Parked }
			b.ReportMetric(0, "ns/op") // would count the waits
			b.ReportMetric(median(scratch, all[0]), "p50-scratch-µs")
			b.ReportMetric(median(scratch, all[1]), "p50-scratch-itself-µs")
			b.ReportMetric(median(scratch, all[1])/median(scratch, all[0]), "ratio")
			b.ReportMetric(median(parked, all[0]), "p50-parked-µs")
			b.ReportMetric(median(parked, all[1]), "p50-parked-itself-µs")
		})
	}
}
