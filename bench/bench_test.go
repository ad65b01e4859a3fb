// Package bench measures what Lamina promises to be quick at, each figure beside
// a baseline that was measured in the same run, in turns with it. Ratios of one
// run can be compared between machines; milliseconds can't.
//
//	make bench
//
// It uses the HTTP interface with requests that were signed beforehand, over kept
// connections, so that the client costs next to nothing and the same on both sides.
package bench

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/lamina-run/lamina/internal/testkit"
)

var (
	ratios = flag.Bool("ratios", false, "measure; without it the test skips")
	rounds = flag.Int("rounds", 7, "rounds of each figure, at least 5")
	stored = flag.Int("stored", 10_000, "versions of the layer that GetLayerVersion reads from")
	only   = flag.String("only", "publish,read,first,warm,throughput,idle,frozen", "which figures to measure")
	frozen = flag.Int("frozen", 1000, "frozen environments beside which others are measured")
	echo   = flag.String("echo", "", "internal: be the echo server on this address")
)

const (
	mostGrowth = 32 << 20 // what a publish of 50 MB may add to the server's memory
	mostIdle   = 40 << 20 // what a server may have that nobody has asked for anything
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *echo != "" {
		serveEcho(*echo)
		return
	}
	os.Exit(m.Run())
}

// figure is one line of the table: samples of ours and of the baseline, one of
// each a round.
type figure struct {
	name, baseline string
	unit           time.Duration
	bound          float64       // of the ratio; 0 is none
	limit          time.Duration // of ours; 0 is none
	ours, theirs   []time.Duration
}

func (f *figure) add(ours, theirs time.Duration) {
	f.ours = append(f.ours, ours)
	f.theirs = append(f.theirs, theirs)
}

func (f *figure) ratio() float64 {
	return float64(percentile(f.ours, 50)) / float64(percentile(f.theirs, 50))
}

// spread is the smallest and largest ratio of a round.
func (f *figure) spread() (low, high float64) {
	for i := range f.ours {
		r := float64(f.ours[i]) / float64(f.theirs[i])
		if i == 0 || r < low {
			low = r
		}
		high = max(high, r)
	}
	return low, high
}

func TestRatios(t *testing.T) {
	if !*ratios {
		t.Skip("measures for minutes; run make bench")
	}
	*rounds = max(*rounds, 5)
	load, _ := os.ReadFile("/proc/loadavg") // absent elsewhere than on Linux
	var figures []*figure
	growth := int64(-1) // not measured
	var idle []int64
	for name := range strings.SplitSeq(*only, ",") {
		switch name {
		case "publish":
			growth = publishLarge(t, &figures)
		case "read":
			readAmongMany(t, &figures)
		case "first":
			firstInvoke(t, &figures, python)
			firstInvoke(t, &figures, node)
		case "warm":
			warmInvoke(t, &figures, warmPython)
			warmInvoke(t, &figures, warmGo)
			warmInvoke(t, &figures, warmNode)
		case "throughput":
			throughput(t, &figures, warmPython)
		case "idle":
			idle = idleMemory(t)
		case "frozen":
			besideFrozen(t, &figures)
		default:
			t.Fatalf("-only %s: want some of publish, read, first, warm, throughput, idle and frozen", name)
		}
	}

	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nfigure\tours\tbaseline\t\tratio\tspread\tbound\n")
	for _, f := range figures {
		low, high := f.spread()
		bound := "-"
		switch median := percentile(f.ours, 50); {
		case f.bound > 0:
			bound = fmt.Sprintf("%.2f", f.bound)
			if f.ratio() > f.bound {
				bound += "  EXCEEDED"
				t.Errorf("%s: ratio %.2f; want at most %.2f", f.name, f.ratio(), f.bound)
			}
		case f.limit > 0:
			bound = show(f.limit, f.unit)
			if median > f.limit {
				bound += "  EXCEEDED"
				t.Errorf("%s: %v; want at most %v", f.name, median, f.limit)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.2f\t%.2f to %.2f\t%s\n",
			f.name, show(percentile(f.ours, 50), f.unit), show(percentile(f.theirs, 50), f.unit), f.baseline, f.ratio(), low, high, bound)
	}
	if growth >= 0 {
		verdict := "32 MB"
		if growth > mostGrowth {
			verdict += "  EXCEEDED"
			t.Errorf("memory growth of a 50 MB publish: %d MB; want at most 32", growth>>20)
		}
		fmt.Fprintf(w, "server's memory growth during that publish\t%.1f MB\t\tresident before it\t\tlargest of %d\t%s\n", float64(growth)/(1<<20), *rounds, verdict)
	}
	if len(idle) > 0 {
		verdict := "40 MB"
		if slices.Max(idle) > mostIdle {
			verdict += "  EXCEEDED"
			t.Errorf("an idle server has %d MB; want at most 40", slices.Max(idle)>>20)
		}
		fmt.Fprintf(w, "idle server's memory\t%.1f MB\t\tresident, with its parked sandboxes\t\tlargest of %d\t%s\n", float64(slices.Max(idle))/(1<<20), len(idle), verdict)
	}
	w.Flush()
	fmt.Printf("\nmedians of %d rounds, ours and baseline in turns; spread: ratio of the best and worst round\n%s/%s, %d cores, %s, load before: %s\n",
		*rounds, runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), strings.TrimSpace(string(load)))
}

func show(d, unit time.Duration) string {
	name := map[time.Duration]string{time.Millisecond: "ms", time.Microsecond: "µs"}[unit]
	return fmt.Sprintf("%.1f %s", float64(d)/float64(unit), name)
}

// percentile does not change its argument.
func percentile(samples []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

// serveEcho answers every request with its body, and does nothing else that an
// HTTP server does not do anyway. It is the floor of an invocation.
func serveEcho(address string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	err = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // the client is gone
	}))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func start(t *testing.T) *testkit.Server {
	return testkit.Start(t, testkit.Options{Env: []string{"LAMINA_LOG_LEVEL=warn"}})
}
