package metrics

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lamina-run/lamina"
)

// How long points are kept.
const (
	MinutesKept = 3 * time.Hour
	HoursKept   = 14 * 24 * time.Hour
)

const (
	maxFunctions = 4096
	maxBytes     = 128 << 20
	coldKept     = 20 // cold starts that are remembered of each function
	maxVersions  = 8  // whose counts a point has
)

// Options configures [New].
type Options struct {
	Now func() time.Time // required
	// MaxFunctions bounds how many functions are known; zero is 4096. Those not
	// used for longest are forgotten.
	MaxFunctions int
	// MaxBytes bounds what all of them take, about; zero is 128 MB.
	MaxBytes int64
}

// Metrics counts invocations by function. Its methods may be called at once.
type Metrics struct {
	now          func() time.Time
	maxFunctions int
	maxBytes     int64
	since        time.Time
	bytes        atomic.Int64 // what all functions take, about

	// functions is read without a lock. Who changes it has mu, and stores another map.
	functions atomic.Pointer[map[lamina.FunctionID]*function]

	mu sync.Mutex

	cold struct { // of all functions together
		sync.Mutex

		total  histogram
		phases [len(Phases)]histogram
	}
}

// Phases are the parts of a cold start, in order.
var Phases = [...]string{"archives", "runtime", "sandbox", "init"}

// New returns metrics that know no function yet.
func New(o Options) *Metrics {
	m := &Metrics{
		now: o.Now, maxFunctions: cmp.Or(o.MaxFunctions, maxFunctions), maxBytes: cmp.Or(o.MaxBytes, maxBytes), since: o.Now(),
	}
	m.functions.Store(&map[lamina.FunctionID]*function{})
	return m
}

// Since is when counting began.
func (m *Metrics) Since() time.Time { return m.since }

// counted is what happens to functions besides invocations.
type counted int

const (
	throttled counted = iota
	eventReceived
	eventDropped
	kinds
)

// Begin counts an invocation as one that runs until the returned func is called,
// which the caller does once.
func (m *Metrics) Begin(id lamina.FunctionID) (end func(lamina.Invoked)) {
	f := m.find(id)
	now := m.now()
	f.mu.Lock()
	f.touch(now.Unix())
	f.running++
	f.minute.concurrency = max(f.minute.concurrency, f.running)
	f.mu.Unlock()
	return f.end
}

// Throttle counts an invocation that was refused because too many ran.
func (m *Metrics) Throttle(id lamina.FunctionID) { m.count(id, throttled) }

// ReceiveEvent counts an event that was queued.
func (m *Metrics) ReceiveEvent(id lamina.FunctionID) { m.count(id, eventReceived) }

// DropEvent counts an event that was given up.
func (m *Metrics) DropEvent(id lamina.FunctionID) { m.count(id, eventDropped) }

func (m *Metrics) count(id lamina.FunctionID, kind counted) {
	f := m.find(id)
	now := m.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.touch(now.Unix())
	f.minute.counted[kind]++
	f.total.counted[kind]++
}

// find returns the function, which is a new one when it is not known.
func (m *Metrics) find(id lamina.FunctionID) *function {
	if f := (*m.functions.Load())[id]; f != nil {
		return f
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.functions.Load()
	if f := old[id]; f != nil {
		return f
	}
	next := maps.Clone(old)
	f := newFunction(m)
	next[id] = f
	m.forget(next, id)
	m.functions.Store(&next)
	return f
}

// forget drops the functions that were not used for longest when there are too
// many, a few more than it must so that it is seldom. It wants m.mu.
func (m *Metrics) forget(all map[lamina.FunctionID]*function, but lamina.FunctionID) {
	if len(all) <= m.maxFunctions && m.bytes.Load() <= m.maxBytes {
		return
	}
	type candidate struct {
		id   lamina.FunctionID
		used int64
	}
	var idle []candidate
	for id, f := range all {
		if used, running := f.use(); running == 0 && id != but {
			idle = append(idle, candidate{id, used})
		}
	}
	slices.SortFunc(idle, func(a, b candidate) int { return cmp.Compare(a.used, b.used) })
	most, bytes := m.maxFunctions-m.maxFunctions/16, m.maxBytes-m.maxBytes/16
	for _, c := range idle {
		if len(all) <= most && m.bytes.Load() <= bytes {
			return
		}
		all[c.id].drop()
		delete(all, c.id)
	}
}

// shrink forgets functions when what all of them keep has become too much.
func (m *Metrics) shrink() {
	if m.bytes.Load() <= m.maxBytes {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	next := maps.Clone(*m.functions.Load())
	m.forget(next, lamina.FunctionID{})
	m.functions.Store(&next)
}

// started counts a cold start for all functions together.
func (m *Metrics) started(c *lamina.ColdStart) {
	m.cold.Lock()
	defer m.cold.Unlock()
	m.cold.total.add(c.Total())
	for i, d := range [...]time.Duration{c.Archives, c.Runtime, c.Sandbox, c.Init} {
		m.cold.phases[i].add(d)
	}
}
