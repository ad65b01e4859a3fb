package metrics

import (
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/lamina-run/lamina"
)

const (
	minute = 60
	hour   = 60 * minute
)

// function is what is known of one function.
type function struct {
	metrics *Metrics
	end     func(lamina.Invoked) // finish, bound once so that Begin makes nothing

	mu      sync.Mutex
	running uint64
	used    int64 // Unix seconds, when it was last counted in
	dropped bool
	size    int64 // bytes, counted in the metrics' too
	minute  tally
	hour    tally // without the minute
	total   tally
	minutes []point // the oldest first
	hours   []point
	cold    []ColdStart // the oldest first
}

// tally is what is counted of a time that is not over.
type tally struct {
	at          int64 // its begin, Unix seconds
	invocations uint64
	errors      uint64
	counted     [kinds]uint64
	concurrency uint64 // the most at once
	duration    histogram
	cold        brief // whole cold starts
	init        brief // of them, what functions did
	age         brief // of events
	versions    [maxVersions]versionCount
}

// brief is what is kept of durations whose percentiles nobody asks for.
type brief struct {
	count    uint64
	sum, max time.Duration
}

func (b *brief) add(d time.Duration) { b.merge(&brief{1, d, d}) }

func (b *brief) merge(other *brief) {
	b.count += other.count
	b.sum += other.sum
	b.max = max(b.max, other.max)
}

// point is a period that is over.
type point struct {
	at          int64
	invocations uint64
	errors      uint64
	counted     [kinds]uint64
	concurrency uint64
	duration    packed
	cold        brief // whole cold starts
	init        brief // of them, what functions did
	age         brief // of events
	versions    []versionCount
}

// versionCount is what one version has of a point.
type versionCount struct {
	number      int64 // 0 is $LATEST
	invocations uint64
	errors      uint64
}

// ColdStart is one that a function had.
type ColdStart struct {
	RequestID string
	Version   int64
	lamina.ColdStart
}

func newFunction(m *Metrics) *function {
	f := &function{metrics: m}
	f.end = f.finish
	f.grow(int64(unsafe.Sizeof(*f))) // so that a bound on bytes means something
	return f
}

// grow counts bytes that the function takes, or no longer takes, while it is known.
func (f *function) grow(by int64) {
	if f.dropped {
		return
	}
	f.size += by
	f.metrics.bytes.Add(by)
}

// use is when it was last counted in, and how many run now.
func (f *function) use() (at int64, running uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used, f.running
}

// drop counts the function as gone. Who still has it may go on using it.
func (f *function) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.grow(-f.size)
	f.dropped = true
}

// finish counts an invocation that ended.
func (f *function) finish(i lamina.Invoked) {
	now := f.metrics.now().Unix()
	f.mu.Lock()
	packed := f.touch(now)
	f.running--
	if i.Ran {
		bucket := bucketOf(i.Measures.Duration)
		f.minute.count(&i, bucket)
		f.total.count(&i, bucket)
		if i.Measures.Cold != nil {
			f.started(&i)
		}
	}
	f.mu.Unlock()
	if i.Ran && i.Measures.Cold != nil {
		f.metrics.started(i.Measures.Cold)
	}
	if packed {
		f.metrics.shrink()
	}
}

// started remembers a cold start. It wants f.mu.
func (f *function) started(i *lamina.Invoked) {
	c := ColdStart{RequestID: i.RequestID, Version: i.Version, ColdStart: *i.Measures.Cold}
	if len(f.cold) < coldKept {
		f.cold = append(f.cold, c)
		f.grow(int64(unsafe.Sizeof(c)) + int64(len(c.RequestID)))
		return
	}
	copy(f.cold, f.cold[1:])
	f.cold[len(f.cold)-1] = c
}

// count counts an invocation, whose duration is in the bucket.
func (p *tally) count(i *lamina.Invoked, bucket int) {
	p.invocations++
	failed := uint64(0)
	if i.Failed {
		failed = 1
	}
	p.errors += failed
	p.duration.addTo(bucket, i.Measures.Duration)
	if i.Measures.Cold != nil {
		p.cold.add(i.Measures.Cold.Total())
		p.init.add(i.Measures.Cold.Init)
	}
	if i.EventAge > 0 {
		p.age.add(i.EventAge)
	}
	p.version(i.Version, 1, failed)
}

// version counts invocations of a version, if it is one of the first that the
// period has.
func (p *tally) version(number int64, invocations, errors uint64) {
	for i := range p.versions {
		v := &p.versions[i]
		if v.number == number || v.invocations == 0 {
			v.number = number
			v.invocations += invocations
			v.errors += errors
			return
		}
	}
}

func (p *tally) counts() []versionCount {
	n := 0
	for n < len(p.versions) && p.versions[n].invocations > 0 {
		n++
	}
	return p.versions[:n]
}

func (p *tally) empty() bool {
	return p.invocations == 0 && p.concurrency == 0 && p.counted == [kinds]uint64{}
}

// merge adds another period's counts.
func (p *tally) merge(other *tally) {
	p.invocations += other.invocations
	p.errors += other.errors
	for i, n := range other.counted {
		p.counted[i] += n
	}
	p.concurrency = max(p.concurrency, other.concurrency)
	p.duration.merge(&other.duration)
	p.cold.merge(&other.cold)
	p.init.merge(&other.init)
	p.age.merge(&other.age)
	for _, v := range other.counts() {
		p.version(v.number, v.invocations, v.errors)
	}
}

func (p *tally) pack() point {
	return point{
		at: p.at, invocations: p.invocations, errors: p.errors, counted: p.counted, concurrency: p.concurrency,
		duration: p.duration.pack(), cold: p.cold, init: p.init, age: p.age, versions: slices.Clone(p.counts()),
	}
}

// addTo adds the point to a period.
func (p *point) addTo(to *tally) {
	to.invocations += p.invocations
	to.errors += p.errors
	for i, n := range p.counted {
		to.counted[i] += n
	}
	to.concurrency = max(to.concurrency, p.concurrency)
	p.duration.addTo(&to.duration)
	to.cold.merge(&p.cold)
	to.init.merge(&p.init)
	to.age.merge(&p.age)
	for _, v := range p.versions {
		to.version(v.number, v.invocations, v.errors)
	}
}

func (p *point) bytes() int64 {
	return int64(unsafe.Sizeof(*p)) + int64(len(p.duration.counts)) + int64(len(p.versions))*int64(unsafe.Sizeof(versionCount{}))
}

// touch is roll for something that is counted now.
func (f *function) touch(now int64) bool {
	f.used = now
	return f.roll(now)
}

// roll ends the minute, and the hour, when they are over. It reports whether it
// did, and wants f.mu. A clock that goes back stays in the minute that there is.
func (f *function) roll(now int64) bool {
	if now < f.minute.at+minute {
		return false
	}
	f.rollTo(now)
	return true
}

func (f *function) rollTo(now int64) {
	this := now - now%minute
	if f.minute.at == 0 { // the first
		f.minute.at, f.hour.at = this, now-now%hour
		return
	}
	was := f.minute.at
	f.endMinute()
	// What ran on did so in the minutes between, too.
	if f.running > 0 {
		for at := max(was+minute, this-int64(MinutesKept/time.Second)); at < this; at += minute {
			f.startMinute(at)
			f.endMinute()
		}
	}
	f.startMinute(this)
}

func (f *function) startMinute(at int64) {
	if at >= f.hour.at+hour {
		f.endHour()
		f.hour = tally{at: at - at%hour}
	}
	f.minute = tally{at: at, concurrency: f.running}
}

func (f *function) endMinute() {
	if f.minute.empty() {
		return
	}
	f.hour.merge(&f.minute)
	f.minutes = f.keep(f.minutes, f.minute.pack(), MinutesKept)
}

func (f *function) endHour() {
	if !f.hour.empty() {
		f.hours = f.keep(f.hours, f.hour.pack(), HoursKept)
	}
}

// keep appends a point, and lets go of those that are too old.
func (f *function) keep(points []point, p point, kept time.Duration) []point {
	old, gone := 0, int64(0)
	for old < len(points) && points[old].at <= p.at-int64(kept/time.Second) {
		gone += points[old].bytes()
		old++
	}
	if old > 0 {
		points = slices.Delete(points, 0, old)
	}
	f.grow(p.bytes() - gone)
	return append(points, p)
}
