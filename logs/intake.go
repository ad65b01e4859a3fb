package logs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
)

const (
	// gather is how long lines are gathered before they are written, unless
	// somebody reads or there are many: waking up costs more than writing.
	gather = 50 * time.Millisecond
	// takenBytes is what may wait to be written.
	takenBytes = 8 << 20
	// takenStreams is how many streams may have something waiting.
	takenStreams = 10_000
	// lineBytes is what a line counts besides its text.
	lineBytes = 64
	// entryBytes is the size of the frames of function output.
	entryBytes = 256 << 10
)

// streamKey names a stream of an environment.
type streamKey struct {
	group  groupID
	stream string
}

// intake is where lines wait for the disk.
type intake struct {
	// wake receives from Write, without blocking; Run receives; never closed.
	wake chan struct{}
	// full receives from Write, without blocking, when much is waiting; Run
	// receives; never closed.
	full chan struct{}

	mu     sync.Mutex
	taken  map[streamKey]*waiting
	bytes  int
	lost   uint64 // lines of streams for which there was no room at all
	waking bool   // Run knows that there is something
}

func (in *intake) init() {
	in.wake, in.full = make(chan struct{}, 1), make(chan struct{}, 1)
	in.taken = map[streamKey]*waiting{}
}

// waiting is the lines of one stream.
type waiting struct {
	text  []byte // of all lines
	lines []line
	// dropped counts lines that found no room, after those above.
	dropped   int
	droppedAt int64
}

type line struct {
	time int64
	end  int // in text
}

// Write takes one event for the log stream of an environment: a line, without its
// end, which becomes part of the message again. The line is the caller's again
// when Write returns. It only copies: when the disk can't keep up, lines are
// dropped, and the stream says how many.
//
// The group is the function's, and is made when there is none, as is the stream.
func (s *Store) Write(v *lamina.Version, stream string, at time.Time, text []byte) {
	key := streamKey{groupID{v.Function.Scope, v.Config.Logging.Group}, stream}
	if key.group.Name == "" {
		key.group.Name = "/aws/lambda/" + v.Function.Name
	}
	in := &s.in
	in.mu.Lock()
	w := in.stream(key)
	switch {
	case w == nil:
		in.lost++
	case w.dropped > 0 || in.bytes+len(text)+lineBytes > takenBytes:
		w.dropped++
		w.droppedAt = at.UnixMilli()
	default:
		w.text = append(append(w.text, text...), '\n')
		w.lines = append(w.lines, line{time: at.UnixMilli(), end: len(w.text)})
		in.bytes += len(text) + lineBytes
	}
	wake := !in.waking
	in.waking = true
	full := in.bytes > takenBytes/2
	in.mu.Unlock()
	if wake {
		select {
		case in.wake <- struct{}{}:
		default: // it is awake already
		}
	}
	if full {
		select {
		case in.full <- struct{}{}:
		default: // it knows
		}
	}
}

// stream returns what waits of a stream, nil when there are too many. It wants mu.
func (in *intake) stream(key streamKey) *waiting {
	w := in.taken[key]
	if w == nil && len(in.taken) < takenStreams {
		w = &waiting{}
		in.taken[key] = w
	}
	return w
}

// take takes everything that waits.
func (in *intake) take() (taken map[streamKey]*waiting, lost uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	taken, lost = in.taken, in.lost
	in.taken, in.bytes, in.lost, in.waking = map[streamKey]*waiting{}, 0, 0, false
	return taken, lost
}

// flush writes what waits. What Write took before flush was called is in the
// files when it returns, or counted as dropped.
func (s *Store) flush() {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	taken, lost := s.in.take()
	if lost > 0 {
		s.warn("log lines dropped", "", fmt.Errorf("%d lines of too many streams at once", lost))
	}
	if len(taken) == 0 {
		return
	}
	keys := make([]streamKey, 0, len(taken))
	for key := range taken {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b streamKey) int {
		if a.group != b.group {
			return strings.Compare(a.group.ARN(), b.group.ARN())
		}
		return strings.Compare(a.stream, b.stream)
	})
	for len(keys) > 0 {
		n := 1
		for n < len(keys) && keys[n].group == keys[0].group {
			n++
		}
		s.flushGroup(keys[:n], taken)
		keys = keys[n:]
	}
	s.bound()
}

// flushGroup writes the streams of one group.
func (s *Store) flushGroup(keys []streamKey, taken map[streamKey]*waiting) {
	var entries []entry
	var of []streamKey // the stream of each entry
	for _, key := range keys {
		for _, e := range taken[key].entries(key.stream) {
			entries, of = append(entries, e), append(of, key)
		}
	}
	done := 0
	var err error
	for range 2 { // again when the group is deleted meanwhile
		var g *group
		if g, err = s.group(keys[0].group); err != nil {
			g, err = s.createGroup(keys[0].group.Scope, description{Name: keys[0].group.Name, Created: s.now().UnixMilli()})
			if err != nil && g == nil {
				break
			}
		}
		var n int
		n, err = g.append(entries[done:], written)
		done += n
		if !errors.Is(err, errGone) {
			break
		}
	}
	if err == nil {
		return
	}
	s.warn("log lines dropped", keys[0].group.ARN(), err)
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	for i := done; i < len(entries); i++ {
		w := s.in.stream(of[i])
		if w == nil {
			s.in.lost += uint64(len(entries[i].events))
			continue
		}
		w.dropped += len(entries[i].events)
		w.droppedAt = entries[i].events[len(entries[i].events)-1].time
	}
}

// entries returns the lines as entries, none of them large.
func (w *waiting) entries(stream string) []entry {
	var all []entry
	e := entry{stream: stream, own: true}
	size, begin := 0, 0
	for _, l := range w.lines {
		if size > 0 && size+l.end-begin > entryBytes {
			all = append(all, e)
			e.events, size = nil, 0
		}
		e.events = append(e.events, event{time: l.time, message: w.text[begin:l.end]})
		size += l.end - begin
		begin = l.end
	}
	if w.dropped > 0 {
		text := fmt.Sprintf("[lamina] %d lines of this log were dropped: it could not be written as fast as they came\n", w.dropped)
		e.events = append(e.events, event{time: w.droppedAt, message: []byte(text)})
	}
	if len(e.events) > 0 {
		all = append(all, e)
	}
	return all
}
