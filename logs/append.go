package logs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/lamina-run/lamina/internal/fsx"
)

// entry is events for one stream. Together their messages are at most 1 MB.
type entry struct {
	stream string
	own    bool // make the stream if there is none
	events []event
}

func (e *entry) bytes() int {
	n := 0
	for i := range e.events {
		n += len(e.events[i].message) + 2*10
	}
	return n
}

// durability is when a write may be called done.
type durability int

const (
	written durability = iota // the kernel has it
	synced                    // the disk has it
)

// append writes entries, and returns how many of them it wrote: all of them
// without an error. Streams that are not there and not to be made are skipped.
func (g *group) append(entries []entry, d durability) (done int, err error) {
	g.writing.Lock()
	defer g.writing.Unlock()
	if err := g.load(); err != nil {
		return 0, err
	}
	for done < len(entries) {
		n, size := 0, 0
		for n < len(entries)-done && (n == 0 || size+entries[done+n].bytes() <= writeBytes) {
			size += entries[done+n].bytes()
			n++
		}
		now := g.store.now().UnixMilli()
		err := g.write(d, now, func(b []byte, seg *segment) []byte {
			return g.encode(b, seg, entries[done:done+n], now)
		})
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// encode appends the frames of entries, for a segment.
func (g *group) encode(b []byte, seg *segment, entries []entry, now int64) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := g.next
	fresh := map[string]*stream{} // their frames have not been applied
	declared := map[string]bool{}
	for _, e := range entries {
		s := g.names[e.stream]
		if s == nil {
			s = fresh[e.stream]
		}
		if s == nil {
			if !e.own {
				continue
			}
			s = &stream{id: next, name: e.stream, created: now, own: true}
			fresh[e.stream] = s
			next++
		}
		if s.declared != seg.first && !declared[s.name] {
			b = appendStreamFrame(b, s)
			declared[s.name] = true
		}
		if len(e.events) > 0 {
			b = appendEventsFrame(b, s.id, next, now, e.events)
			next += uint64(len(e.events))
		}
	}
	return b
}

// write appends frames to the newest segment, a new one when that is full. It
// wants writing. After an error the segment is as it was before.
func (g *group) write(d durability, now int64, frames func([]byte, *segment) []byte) error {
	seg, err := g.newest(now)
	if err != nil {
		return err
	}
	b := frames(nil, &seg)
	if len(b) == 0 {
		return nil
	}
	if err := appendFile(g.path(&seg), seg.size, b, d); err != nil {
		return fmt.Errorf("append to log group %s: %w", g.id.ARN(), err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	before := seg.disk()
	if _, err := newFrameReader().read(bytesAt(b), 0, int64(len(b)), func(payload []byte) error {
		return g.apply(&seg, payload)
	}); err != nil {
		panic("logs: own frames can't be read: " + err.Error()) // they were made just now
	}
	seg.size += int64(len(b))
	seg.written = now
	g.segments[len(g.segments)-1] = seg
	g.store.account(seg.disk() - before)
	g.crowd()
	return nil
}

// bytesAt reads from memory.
type bytesAt []byte

func (b bytesAt) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, b[min(off, int64(len(b))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// appendFile appends to the file that has a size. It opens the file each time, so
// that any number of groups needs no descriptors while nobody writes.
func appendFile(path string, size int64, b []byte, d durability) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = file.Truncate(size) // if that fails too, the frame's checksum tells
		}
		err = errors.Join(err, file.Close())
	}()
	if _, err := file.WriteAt(b, size); err != nil {
		return err
	}
	if d == synced {
		return file.Sync()
	}
	return nil
}

// newest returns the segment that is written to, and makes one when there is none
// or it is full. It wants writing.
func (g *group) newest(now int64) (segment, error) {
	g.mu.Lock()
	n, next := len(g.segments), g.next
	var seg segment
	if n > 0 {
		seg = g.segments[n-1]
	}
	retention := g.about.RetentionInDays
	g.mu.Unlock()
	if n > 0 && seg.size < g.store.segmentBytes && !aged(&seg, retention, now) {
		return seg, nil
	}
	if n > 0 {
		if err := syncFile(g.path(&seg)); err != nil {
			return segment{}, err
		}
		if err := g.save(); err != nil {
			return segment{}, err
		}
	}
	seg = newSegment(next)
	seg.size, seg.began, seg.written = int64(len(segmentHead)), now, now
	if err := os.WriteFile(g.path(&seg), []byte(segmentHead), 0o600); err != nil {
		return segment{}, err
	}
	if err := fsx.SyncDir(g.dir); err != nil {
		return segment{}, err
	}
	g.mu.Lock()
	// The number is taken by the name: no later segment can have it again, even
	// when nothing is written to this one.
	g.next = next + 1
	g.segments = append(g.segments, seg)
	g.mu.Unlock()
	g.store.account(seg.disk())
	return seg, nil
}

// aged reports whether a segment of a group with retention has to end, so that
// what is in it can go in time: it is dropped whole.
func aged(seg *segment, retention, now int64) bool {
	if retention == 0 {
		return false
	}
	day := (24 * time.Hour).Milliseconds()
	return now-seg.began > max(day, retention*day/16)
}

func syncFile(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// crowd forgets the environments' streams that were written to longest ago, when
// there are more streams than the group may have. It wants mu.
func (g *group) crowd() {
	if len(g.ids) <= g.store.maxStreams {
		return
	}
	own := make([]*stream, 0, len(g.ids))
	for _, s := range g.ids {
		if s.own {
			own = append(own, s)
		}
	}
	slices.SortFunc(own, func(a, b *stream) int { return cmp.Compare(a.ingested, b.ingested) })
	for _, s := range own[:min(len(own), max(g.store.maxStreams/10, 1))] {
		g.remove(s)
	}
}

// drop removes the oldest segments. It wants writing.
func (g *group) drop(n int) error {
	if err := g.load(); err != nil {
		return err
	}
	g.mu.Lock()
	dropped := slices.Clone(g.segments[:n])
	g.segments = slices.Delete(g.segments, 0, n)
	first := g.next
	if len(g.segments) > 0 {
		first = g.segments[0].first
	}
	for _, s := range g.ids {
		switch {
		case s.from >= first || s.from == 0 && !s.own:
		case s.to >= first:
			s.from = first
			s.first = max(s.first, min(g.segments[0].earliest, s.last))
		case s.own:
			g.remove(s)
		default:
			s.from, s.to, s.first, s.last = 0, 0, 0, 0
		}
	}
	g.mu.Unlock()
	// The index first: a stream without events may have its name nowhere else.
	if err := g.save(); err != nil {
		return err
	}
	for i := range dropped {
		g.store.account(-dropped[i].disk())
		if err := os.Remove(g.path(&dropped[i])); err != nil {
			return err
		}
	}
	return nil
}

// createStream makes a stream for a client.
func (g *group) createStream(name string) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	if err := g.load(); err != nil {
		return err
	}
	g.mu.Lock()
	_, exists := g.names[name]
	full := len(g.ids) >= g.store.maxStreams
	g.mu.Unlock()
	switch {
	case exists:
		return streamExists()
	case full:
		return unavailable("Lamina keeps at most %d log streams of a log group.", g.store.maxStreams)
	}
	now := g.store.now().UnixMilli()
	return g.write(synced, now, func(b []byte, _ *segment) []byte {
		g.mu.Lock()
		defer g.mu.Unlock()
		return appendStreamFrame(b, &stream{id: g.next, name: name, created: now})
	})
}

// deleteStream removes a stream. Its events take room until their segment goes.
func (g *group) deleteStream(name string) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	if err := g.load(); err != nil {
		return err
	}
	g.mu.Lock()
	s := g.names[name]
	g.mu.Unlock()
	if s == nil {
		return noStream()
	}
	return g.write(synced, g.store.now().UnixMilli(), func(b []byte, _ *segment) []byte {
		return appendGoneFrame(b, s.id)
	})
}
