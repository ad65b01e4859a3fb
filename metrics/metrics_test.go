package metrics

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
)

var start = time.Date(2026, 1, 2, 3, 4, 30, 0, time.UTC)

// clock is a time that tests move.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ns.Store(start.UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

func id(name string) lamina.FunctionID {
	return lamina.FunctionID{Scope: lamina.Scope{Account: "000000000000", Region: "eu-west-1"}, Name: name}
}

func ran(took time.Duration) lamina.Invoked {
	return lamina.Invoked{RequestID: "r", Ran: true, Measures: lamina.Measures{Duration: took}}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() float64{ // milliseconds
		"uniform":     func() float64 { return 1 + 99*random.Float64() },
		"log-normal":  func() float64 { return 20 * math.Exp(random.NormFloat64()) },
		"two kinds":   func() float64 { return []float64{3.1, 812}[random.IntN(2)] },
		"very long":   func() float64 { return 1e6 * (1 + random.Float64()) },
		"very short":  func() float64 { return 0.01 * random.Float64() },
		"all the one": func() float64 { return 42 },
	} {
		var h, a, b histogram
		var all []time.Duration
		for i := range 20_000 {
			d := time.Duration(draw() * float64(time.Millisecond))
			all = append(all, d)
			h.add(d)
			[]*histogram{&a, &b}[i%2].add(d)
		}
		slices.Sort(all)
		var again histogram
		p, q := a.pack(), b.pack()
		p.addTo(&again)
		q.addTo(&again)
		if h != again {
			t.Errorf("%s: packed and merged it is not what it was", name)
		}
		for _, q := range []float64{0, 0.5, 0.9, 0.99, 1} {
			got, want := h.quantile(q), all[min(int(q*float64(len(all))), len(all)-1)]
			within := 0.07 * float64(want)
			if name == "very long" || name == "very short" {
				within = float64(all[len(all)-1] - all[0]) // beyond what has buckets, only the extremes are known
			}
			if name == "two kinds" && q == 0.5 {
				continue // either is right
			}
			if math.Abs(float64(got-want)) > within {
				t.Errorf("%s: quantile %v is %v; want %v", name, q, got, want)
			}
		}
	}
	if got := new(histogram).quantile(0.5); got != 0 {
		t.Errorf("quantile of nothing is %v; want 0", got)
	}
	if !slices.IsSorted(bounds[:]) {
		t.Error("the bounds are in no order")
	}
}

func TestSeries(t *testing.T) {
	t.Parallel()
	c := newClock()
	m := New(Options{Now: c.now})
	f := id("hello")
	end := m.Begin(f)
	c.advance(2 * time.Minute) // it runs through a minute in which nothing begins or ends
	end(ran(2 * time.Minute))
	for i := range 3 {
		e := m.Begin(f)
		in := ran(time.Duration(i+1) * 10 * time.Millisecond)
		in.Failed, in.Version = i == 0, int64(i)
		if i == 1 {
			in.EventAge = 5 * time.Second
			in.Measures.Cold = &lamina.ColdStart{Archives: time.Millisecond, Sandbox: 2 * time.Millisecond, Init: 30 * time.Millisecond}
		}
		e(in)
	}
	m.Begin(f)(lamina.Invoked{}) // the server kept it from running
	m.Throttle(f)
	m.ReceiveEvent(f)
	m.DropEvent(f)

	s := m.Series(f.Account, f.Region, f.Name, start, c.now())
	if len(s.Points) != 3 || s.Period != 60 || !s.Since.Equal(start) {
		t.Fatalf("series %+v; want three minutes", s)
	}
	at := start.Truncate(time.Minute)
	want := []Point{
		{Start: at, ConcurrentExecutions: 1},
		{Start: at.Add(time.Minute), ConcurrentExecutions: 1},
		{
			Start: at.Add(2 * time.Minute), ConcurrentExecutions: 1, Invocations: 4, Errors: 1, Throttles: 1, ColdStarts: 1,
			Duration:  s.Points[2].Duration, // below
			ColdStart: Span{33, 33}, InitDuration: Span{30, 30}, AsyncEventAge: Span{5000, 5000}, AsyncEventsReceived: 1, AsyncEventsDropped: 1,
			Versions: []VersionCount{{"$LATEST", 2, 1}, {"1", 1, 0}, {"2", 1, 0}},
		},
	}
	if diff := cmp.Diff(want, s.Points); diff != "" {
		t.Errorf("the points differ (-want +got):\n%s", diff)
	}
	if d := s.Points[2].Duration; d.Minimum != 10 || d.Maximum != 120_000 || d.Average != 30_015 || math.Abs(d.P50-20) > 1.4 {
		t.Errorf("durations %+v; want 10, 20, 30 and 120000 ms", d)
	}
	if all := m.ColdStarts(f); len(all) != 1 || all[0].Version != 1 || all[0].Total() != 33*time.Millisecond {
		t.Errorf("cold starts %+v; want one of 33 ms", all)
	}

	// Later the minutes are gone, and the hours have it all.
	c.advance(26 * time.Hour)
	e := m.Begin(f)
	if s = m.Series(f.Account, f.Region, f.Name, c.now().Add(-MinutesKept), c.now()); len(s.Points) != 181 || s.Points[180].ConcurrentExecutions != 1 || s.Points[179].ConcurrentExecutions != 0 {
		t.Errorf("%d points, the last %+v; want 181 of which only the last has something", len(s.Points), s.Points[len(s.Points)-1])
	}
	e(ran(time.Millisecond))
	s = m.Series(f.Account, f.Region, f.Name, start, c.now())
	if len(s.Points) != 27 || s.Period != 3600 || s.Points[0].Invocations != 4 || s.Points[0].Throttles != 1 || s.Points[0].Duration.Maximum != 120_000 ||
		s.Points[26].Invocations != 1 || len(s.Points[0].Versions) != 3 {
		t.Errorf("series of hours %+v; want 27, with 4 invocations and 1", s)
	}
	// After two weeks nothing of it is left, and nobody asks for more than there is.
	c.advance(HoursKept)
	if s = m.Series(f.Account, f.Region, f.Name, start.AddDate(-10, 0, 0), c.now().AddDate(10, 0, 0)); len(s.Points) != 337 {
		t.Errorf("%d hours; want two weeks", len(s.Points))
	}
	for _, p := range s.Points {
		if p.Invocations > 1 {
			t.Errorf("%v has %d invocations; it is too old", p.Start, p.Invocations)
		}
	}
	for _, s := range []Series{
		m.Series(f.Account, f.Region, "absent", c.now().Add(-time.Minute), c.now()),
		m.Series("111111111111", f.Region, f.Name, c.now().Add(-time.Minute), c.now()),
	} {
		if len(s.Points) != 2 || s.Points[0].Invocations+s.Points[1].Invocations != 0 {
			t.Errorf("series of another function %+v; want empty points", s)
		}
	}
	if s := m.Series(f.Account, f.Region, f.Name, c.now(), c.now().Add(-time.Hour)); len(s.Points) != 0 {
		t.Errorf("series that ends before it begins: %+v", s)
	}
}

func TestFunctions(t *testing.T) {
	t.Parallel()
	c := newClock()
	m := New(Options{Now: c.now})
	m.Begin(id("a"))(ran(time.Second))
	c.advance(10 * time.Minute)
	m.Begin(id("a"))(ran(time.Millisecond))
	still := m.Begin(id("b"))
	other := lamina.FunctionID{Scope: lamina.Scope{Account: "999999999999"}, Name: "a"}
	m.Begin(other)(ran(time.Second))
	mine := func(f lamina.FunctionID) bool { return f.Account == "000000000000" }
	var got []string
	for _, s := range m.Functions(mine, 5*time.Minute) {
		got = append(got, fmt.Sprintf("%s %d %d %v", s.Function.Name, s.Running, s.Invocations, s.Duration.Maximum))
	}
	if want := []string{"a 0 1 1", "b 1 0 0"}; !slices.Equal(got, want) {
		t.Errorf("functions %q; want %q", got, want)
	}
	if all := m.Functions(mine, time.Hour); all[0].Invocations != 2 || all[0].Duration.Maximum != 1000 {
		t.Errorf("functions of an hour %+v; want both invocations of a", all)
	}
	still(ran(time.Second))
	c.advance(time.Hour)
	if all := m.Functions(mine, 5*time.Minute); len(all) != 0 {
		t.Errorf("functions %+v; want none after an hour without anything", all)
	}
}

// TestBounds: whatever clients do, memory is bounded, and who runs is not forgotten.
func TestBounds(t *testing.T) {
	t.Parallel()
	c := newClock()
	m := New(Options{Now: c.now, MaxFunctions: 64, MaxBytes: 1 << 20})
	end := m.Begin(id("runs"))
	for i := range 1000 {
		f := id(fmt.Sprint("f", i))
		for j := range 40 {
			in := ran(time.Duration(1+i*j) * time.Millisecond)
			in.Version = int64(j)
			in.Measures.Cold = &lamina.ColdStart{}
			m.Begin(f)(in)
		}
		c.advance(3 * time.Second)
		if n := len(*m.functions.Load()); n > 64 {
			t.Fatalf("%d functions are known; want 64 at most", n)
		}
	}
	if known := *m.functions.Load(); known[id("runs")] == nil || known[id("f999")] == nil || known[id("f0")] != nil {
		t.Error("those forgotten are not those that were not used for longest")
	}
	end(ran(time.Second))
	// One that runs all the time has no more than two weeks.
	f := id("f999")
	for range 3 * 14 * 24 {
		for i := range 200 {
			m.Begin(f)(ran(time.Duration(i*i) * time.Millisecond))
		}
		c.advance(20 * time.Minute)
	}
	sum := int64(0)
	for _, f := range *m.functions.Load() {
		sum += f.size
	}
	if got := m.bytes.Load(); got != sum || got > 1<<20 {
		t.Errorf("%d bytes are counted, functions have %d; want the same, and less than a megabyte", got, sum)
	}
	if got := len((*m.functions.Load())[f].hours); got > 336 {
		t.Errorf("%d hours are kept; want two weeks", got)
	}
}

func TestAtOnce(t *testing.T) {
	t.Parallel()
	m := New(Options{Now: time.Now, MaxFunctions: 8})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 2000 {
				f := id(fmt.Sprint(j % 16))
				m.Begin(f)(ran(time.Millisecond))
				m.Throttle(f)
				if j%100 == i {
					m.Series(f.Account, f.Region, f.Name, time.Now().Add(-time.Hour), time.Now())
					m.Functions(func(lamina.FunctionID) bool { return true }, time.Hour)
				}
			}
		})
	}
	all.Wait()
	for _, s := range m.Functions(func(lamina.FunctionID) bool { return true }, time.Hour) {
		if s.Running != 0 {
			t.Errorf("%d of %s run; want none", s.Running, s.Function.Name)
		}
	}
}

// BenchmarkInvocation is what counting adds to an invocation, beside the cheapest
// thing that could count it: a look into a map and an addition.
func BenchmarkInvocation(b *testing.B) {
	b.Run("counted", func(b *testing.B) {
		m := New(Options{Now: time.Now})
		f := id("hello")
		in := ran(12 * time.Millisecond)
		b.ReportAllocs()
		for b.Loop() {
			m.Begin(f)(in)
		}
	})
	b.Run("baseline", func(b *testing.B) {
		counts := map[lamina.FunctionID]*atomic.Int64{id("hello"): new(atomic.Int64)}
		f := id("hello")
		for b.Loop() {
			counts[f].Add(1)
		}
	})
}
