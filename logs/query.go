package logs

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"slices"
)

// position is a place between events: just before the event that has this time
// and number. Events are in the order of their times, and among equal times in
// the order in which they came.
type position struct {
	time   int64
	number uint64
}

var (
	beginning = position{}
	theEnd    = position{time: math.MaxInt64}
)

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.time, q.time), cmp.Compare(p.number, q.number))
}

func (p position) before(q position) bool { return p.compare(q) < 0 }

// after is the place behind the event that p is before.
func (p position) after() position { return position{p.time, p.number + 1} }

// found is an event as a read returns it.
type found struct {
	position
	stream   string
	ingested int64
	message  string
}

func (f *found) size() int { return len(f.message) + eventBytes }

// query says which events of a group are wanted: those at or after from and
// before to, of the streams that pass, with the messages that match.
type query struct {
	from, to position
	stream   func(name string) bool
	match    func(message []byte) bool // nil is all
	limit    int
	backward bool // the last ones, not the first
}

// result is one page, in order. When there may be more, the next page ends or
// begins at edge.
type result struct {
	events []found
	more   bool
	edge   position
}

const (
	pageBytes = 1 << 20
	// scanBytes is how much one request reads. Clients then ask for the next page.
	scanBytes = 128 << 20
)

// read answers a query. A read that is cut short because there was too much to
// look through returns what it has, and more.
func (g *group) read(ctx context.Context, q query) (result, error) {
	select {
	case g.store.reading <- struct{}{}:
		defer func() { <-g.store.reading }()
	case <-ctx.Done():
		return result{}, context.Cause(ctx)
	}
	g.writing.Lock()
	err := g.load()
	g.writing.Unlock()
	if err != nil {
		return result{}, err
	}
	g.mu.Lock()
	segments := slices.Clone(g.segments)
	if days := g.about.RetentionInDays; days > 0 {
		if expired := (position{time: g.store.now().AddDate(0, 0, -int(days)).UnixMilli()}); q.from.before(expired) {
			q.from = expired
		}
	}
	g.mu.Unlock()

	p := page{q: q, group: g, in: newFrameReader(), passed: map[uint64]*string{}}
	slices.SortFunc(segments, func(a, b segment) int {
		if q.backward {
			return cmp.Compare(b.latest, a.latest)
		}
		return cmp.Compare(a.earliest, b.earliest)
	})
	scanned := int64(0)
	for i := range segments {
		seg := &segments[i]
		first, last := position{time: seg.earliest}, position{time: seg.latest}.later()
		if seg.earliest > seg.latest || !first.before(p.q.to) || !p.q.from.before(last) {
			continue // also when the page is full of events beyond it
		}
		if err := ctx.Err(); err != nil {
			return result{}, context.Cause(ctx)
		}
		if scanned > scanBytes && p.stop(first, last) {
			break
		}
		if err := p.scan(seg); err != nil {
			return result{}, err
		}
		scanned += seg.size
	}
	p.trim()
	return result{events: p.found, more: p.more, edge: p.edge}, nil
}

// later is behind all events of p's time.
func (p position) later() position {
	if p.time == math.MaxInt64 {
		return theEnd
	}
	return position{time: p.time + 1}
}

// page gathers the first or last events that a query finds, segment by segment.
// As it fills, the query narrows to what can still get on it.
type page struct {
	q      query
	group  *group
	in     *frameReader
	passed map[uint64]*string // names of streams, nil for those that don't pass

	found []found
	bytes int
	more  bool
	edge  position
}

// scan adds what a segment has.
func (p *page) scan(seg *segment) error {
	file, err := os.Open(p.group.path(seg))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // dropped meanwhile
	}
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = p.in.read(file, int64(len(segmentHead)), seg.size, p.frame)
	if errors.Is(err, errTorn) {
		p.group.store.warn("log segment is damaged", p.group.id.ARN(), err)
		return nil
	}
	return err
}

func (p *page) frame(payload []byte) error {
	if payload[0] != kindEvents {
		return nil
	}
	c := cursor{b: payload[1:]}
	h := c.eventsHead()
	if c.bad {
		return errTorn
	}
	if !(position{time: h.earliest}).before(p.q.to) || !p.q.from.before(position{time: h.latest}.later()) {
		return nil
	}
	name := p.name(h.stream)
	if name == nil {
		return nil
	}
	for i := range h.count {
		e := c.event(&h)
		if c.bad {
			return errTorn
		}
		at := position{e.time, h.first + i}
		if at.before(p.q.from) || !at.before(p.q.to) || p.q.match != nil && !p.q.match(e.message) {
			continue
		}
		f := found{position: at, stream: *name, ingested: h.ingested, message: string(e.message)}
		p.found = append(p.found, f)
		p.bytes += f.size()
		if len(p.found) >= 2*p.q.limit || p.bytes >= 2*pageBytes {
			p.trim()
		}
	}
	return nil
}

// name returns the name of a stream that passes.
func (p *page) name(id uint64) *string {
	name, known := p.passed[id]
	if !known {
		p.group.mu.Lock()
		if s := p.group.ids[id]; s != nil && p.q.stream(s.name) {
			name = &s.name
		}
		p.group.mu.Unlock()
		p.passed[id] = name
	}
	return name
}

// trim cuts the page to its size, and the query to what is within it.
func (p *page) trim() {
	slices.SortFunc(p.found, func(a, b found) int { return a.compare(b.position) })
	n, bytes := 0, 0
	at := func(i int) *found {
		if p.q.backward {
			return &p.found[len(p.found)-1-i]
		}
		return &p.found[i]
	}
	for n < len(p.found) && n < p.q.limit && (n == 0 || bytes+at(n).size() <= pageBytes) {
		bytes += at(n).size()
		n++
	}
	p.bytes = bytes
	if n == len(p.found) {
		return
	}
	p.more = true
	if p.q.backward {
		p.edge = at(n).after()
		p.q.from = p.edge
		p.found = slices.Delete(p.found, 0, len(p.found)-n)
		return
	}
	p.edge = at(n).position
	p.q.to = p.edge
	p.found = slices.Delete(p.found, n, len(p.found))
}

// stop ends the page ahead of a segment, and all that come after it, if that
// leaves the page some of the query.
func (p *page) stop(first, last position) bool {
	if p.q.backward {
		if !last.before(p.q.to) {
			return false
		}
		p.more, p.edge, p.q.from = true, last, last
		p.found = slices.DeleteFunc(p.found, func(f found) bool { return f.before(last) })
		return true
	}
	if !p.q.from.before(first) {
		return false
	}
	p.more, p.edge, p.q.to = true, first, first
	p.found = slices.DeleteFunc(p.found, func(f found) bool { return !f.before(first) })
	return true
}
