package metrics

import (
	"cmp"
	"slices"
	"time"

	"github.com/lamina-run/lamina"
)

// Point is what happened to a function in a period, under the names of
// CloudWatch's metrics. Durations are in milliseconds.
type Point struct {
	Start                time.Time
	Invocations          uint64
	Errors               uint64 // invocations that failed
	Throttles            uint64 // refused, and not in Invocations
	ConcurrentExecutions uint64 // the most at once
	ColdStarts           uint64
	Duration             Durations
	ColdStart            Span // all that had to be made before the handler
	InitDuration         Span // of that, the function's own initialization
	AsyncEventAge        Span // of events, each attempt to run one
	AsyncEventsReceived  uint64
	AsyncEventsDropped   uint64
	// Versions has the first eight that ran in the period.
	Versions []VersionCount `json:",omitempty"`
}

// VersionCount is what one version has of a point.
type VersionCount struct {
	Version     string // $LATEST or a number
	Invocations uint64
	Errors      uint64
}

// Durations are milliseconds. The percentiles are right within 7 %.
type Durations struct {
	Average, Minimum, Maximum float64
	P50, P90, P99             float64
}

// Span is durations of which only so much is known, in milliseconds.
type Span struct {
	Average, Maximum float64
}

// Series is a function's history. Every period between From and To has a point,
// those in which nothing happened too.
type Series struct {
	Since  time.Time // when counting began
	Period int64     // of each point, in seconds: 60 or 3600
	Points []Point   // the oldest first
}

// Series returns the points of a function from one time to another: by the minute
// when from is in the last three hours, else by the hour. It begins no earlier
// than two weeks ago, and ends with the period that is not over. A function that
// is not known has points without anything.
func (m *Metrics) Series(account, region, function string, from, to time.Time) Series {
	now := m.now()
	period, kept := int64(minute), MinutesKept
	if now.Sub(from) > MinutesKept {
		period, kept = hour, HoursKept
	}
	first := max(from.Unix(), now.Add(-kept).Unix()+1)
	first -= first % period
	last := min(to.Unix(), now.Unix())
	s := Series{Since: m.since, Period: period}
	if last < first {
		return s
	}
	s.Points = make([]Point, (last-first)/period+1)
	for i := range s.Points {
		s.Points[i].Start = time.Unix(first+int64(i)*period, 0).UTC()
	}
	f := (*m.functions.Load())[lamina.FunctionID{Scope: lamina.Scope{Account: account, Region: region}, Name: function}]
	if f == nil {
		return s
	}
	put := func(at int64, p *tally) {
		if i := (at - first) / period; at >= first && i < int64(len(s.Points)) {
			s.Points[i] = p.point()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.roll(now.Unix())
	points := f.minutes
	if period == hour {
		points = f.hours
	}
	for i := range points {
		if points[i].at < first || points[i].at > last {
			continue
		}
		p := tally{at: points[i].at}
		points[i].addTo(&p)
		put(p.at, &p)
	}
	if period == minute {
		put(f.minute.at, &f.minute)
		return s
	}
	p := f.hour
	p.merge(&f.minute)
	put(p.at, &p)
	return s
}

// Summary is a function over a while.
type Summary struct {
	Function lamina.FunctionID
	Running  uint64 // now
	Point           // Start is when the while began
}

// Functions sums up what happened to functions in the last while, at most three
// hours and in whole minutes, for those that match and to which something happened.
// They are in the order of their accounts, regions and names.
func (m *Metrics) Functions(match func(lamina.FunctionID) bool, last time.Duration) []Summary {
	now := m.now()
	from := now.Add(-min(last, MinutesKept)).Unix()
	from += minute - 1
	from -= from % minute
	var all []Summary
	for id, f := range *m.functions.Load() {
		if !match(id) {
			continue
		}
		p := tally{at: from}
		f.mu.Lock()
		f.roll(now.Unix())
		running := f.running
		for i := len(f.minutes) - 1; i >= 0 && f.minutes[i].at >= from; i-- {
			f.minutes[i].addTo(&p)
		}
		p.merge(&f.minute)
		f.mu.Unlock()
		if running == 0 && p.empty() {
			continue
		}
		all = append(all, Summary{Function: id, Running: running, Point: p.point()})
	}
	slices.SortFunc(all, func(a, b Summary) int { return compare(a.Function, b.Function) })
	return all
}

func compare(a, b lamina.FunctionID) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Name, b.Name))
}

// ColdStarts returns the last twenty that a function had, the newest first.
func (m *Metrics) ColdStarts(id lamina.FunctionID) []ColdStart {
	f := (*m.functions.Load())[id]
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.Clone(f.cold)
	slices.Reverse(all)
	return all
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (p *tally) point() Point {
	out := Point{
		Start: time.Unix(p.at, 0).UTC(), Invocations: p.invocations, Errors: p.errors, Throttles: p.counted[throttled],
		ConcurrentExecutions: p.concurrency, ColdStarts: p.cold.count, ColdStart: p.cold.span(), InitDuration: p.init.span(), AsyncEventAge: p.age.span(),
		AsyncEventsReceived: p.counted[eventReceived], AsyncEventsDropped: p.counted[eventDropped],
	}
	for _, v := range p.counts() {
		out.Versions = append(out.Versions, VersionCount{lamina.Version{Number: v.number}.Qualifier(), v.invocations, v.errors})
	}
	if h := &p.duration; h.count > 0 {
		out.Duration = Durations{
			Average: milliseconds(h.sum) / float64(h.count), Minimum: milliseconds(h.min), Maximum: milliseconds(h.max),
			P50: milliseconds(h.quantile(0.5)), P90: milliseconds(h.quantile(0.9)), P99: milliseconds(h.quantile(0.99)),
		}
	}
	return out
}

func (b *brief) span() Span {
	if b.count == 0 {
		return Span{}
	}
	return Span{Average: milliseconds(b.sum) / float64(b.count), Maximum: milliseconds(b.max)}
}
