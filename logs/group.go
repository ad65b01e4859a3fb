package logs

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/fsx"
)

// groupID names one log group.
type groupID struct {
	lamina.Scope
	Name string
}

// ARN of the group, without the :* that stands for its streams.
func (g groupID) ARN() string {
	return "arn:" + lamina.Partition + ":logs:" + g.Region + ":" + g.Account + ":log-group:" + g.Name
}

// description is what clients say about a group; the file of that name has it.
type description struct {
	Name               string
	Created            int64
	RetentionInDays    int64             `json:",omitzero"`
	KMSKeyID           string            `json:",omitzero"`
	Class              string            `json:",omitzero"`
	DeletionProtection bool              `json:",omitzero"`
	Tags               map[string]string `json:",omitzero"`
}

const (
	descriptionFile = "group.json"
	indexFile       = "index"
	segmentSuffix   = ".log"

	// groupBytes is what a group without segments takes on the disk.
	groupBytes = 8 << 10
	blockBytes = 4 << 10
	// eventBytes is what AWS counts for an event besides its message.
	eventBytes = 26
	// writeBytes is about what is written at a time.
	writeBytes = 1 << 20
)

// segment is one file of a group: the events from a number on.
type segment struct {
	first   uint64 // number of its first event, and its name
	size    int64
	written int64 // milliseconds, the last time

	// Known when the group is loaded. Without events, earliest is after latest.
	began            int64
	earliest, latest int64
	bytes            int64 // of events, as AWS counts
}

func newSegment(first uint64) segment {
	return segment{first: first, earliest: math.MaxInt64, latest: math.MinInt64}
}

func (s *segment) disk() int64 { return (s.size + blockBytes - 1) / blockBytes * blockBytes }

func segmentName(first uint64) string { return fmt.Sprintf("%016x%s", first, segmentSuffix) }

// stream is one log stream.
type stream struct {
	id       uint64 // a number of its own, never given twice within the group
	name     string
	created  int64
	own      bool   // made for an environment: it goes when its last event goes
	declared uint64 // the segment that has its name already

	// Of its events; from and to are zero without any.
	first, last, ingested int64
	from, to              uint64 // the segments that may have some
}

// group is one log group on the disk.
type group struct {
	id    groupID
	dir   string
	store *Store

	// writing is the turn to change the files: unlike other mutexes it is held
	// across I/O. Taken before mu.
	writing sync.Mutex

	mu       sync.Mutex
	about    description
	segments []segment // oldest first; only the last one grows
	gone     bool      // deleted
	used     time.Time

	// Known when the group is loaded.
	loaded bool
	next   uint64 // number of the next event or stream
	names  map[string]*stream
	ids    map[uint64]*stream
}

// errGone says that a group was deleted meanwhile.
var errGone = errors.New("log group is gone")

// openGroup finds a group's segments. What they hold is read when it is wanted.
func openGroup(s *Store, scope lamina.Scope, dir string) (*group, error) {
	text, err := os.ReadFile(filepath.Join(dir, descriptionFile))
	if err != nil {
		return nil, err
	}
	g := &group{dir: dir, store: s}
	if err := json.Unmarshal(text, &g.about); err != nil {
		return nil, fmt.Errorf("read %s: %w", dir, err)
	}
	g.id = groupID{Scope: scope, Name: g.about.Name}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		first, err := strconv.ParseUint(name, 16, 64)
		if !ok || err != nil || e.Name() != segmentName(first) {
			if strings.HasPrefix(e.Name(), ".") {
				_ = os.Remove(filepath.Join(dir, e.Name())) // left by a write that a crash ended; does no harm
			}
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		seg := newSegment(first)
		seg.size, seg.written = info.Size(), info.ModTime().UnixMilli()
		g.segments = append(g.segments, seg)
	}
	slices.SortFunc(g.segments, func(a, b segment) int { return cmp.Compare(a.first, b.first) })
	return g, nil
}

func (g *group) path(seg *segment) string { return filepath.Join(g.dir, segmentName(seg.first)) }

// disk is what the group takes.
func (g *group) disk() int64 {
	n := int64(groupBytes)
	for i := range g.segments {
		n += g.segments[i].disk()
	}
	return n
}

// load reads what the group has, if it is not known. It wants writing.
func (g *group) load() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return errGone
	}
	g.used = g.store.now()
	if g.loaded {
		return nil
	}
	before := g.disk()
	if err := g.restore(); err != nil {
		return fmt.Errorf("load log group %s: %w", g.id.ARN(), err)
	}
	g.loaded = true
	g.store.account(g.disk() - before)
	return nil
}

// restore reads the index, and the segments as far as they are newer. It wants mu
// and holds it across I/O: nobody has any use of the group before.
func (g *group) restore() error {
	g.next, g.names, g.ids = 1, map[string]*stream{}, map[uint64]*stream{}
	known, next, err := g.readIndex()
	if err != nil {
		g.names, g.ids, known = map[string]*stream{}, map[uint64]*stream{}, nil
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errTorn) {
			return err
		}
		next = 0
	}
	g.next = max(g.next, next)
	kept := make([]segment, 0, len(g.segments))
	for i := range g.segments {
		seg := g.segments[i]
		if at, ok := slices.BinarySearchFunc(known, seg.first, func(k segment, first uint64) int {
			return cmp.Compare(k.first, first)
		}); ok {
			read := min(known[at].size, seg.size) // the disk may have lost the end of it
			size := seg.size
			seg = known[at]
			seg.size = size
			if err := g.replay(&seg, read, i == len(g.segments)-1); err != nil {
				return err
			}
		} else if seg.first < next {
			// It was dropped, and only the file was not removed.
			if err := os.Remove(g.path(&seg)); err != nil {
				return err
			}
			continue
		} else {
			seg.began = seg.written
			seg.written = 0
			if err := g.replay(&seg, 0, i == len(g.segments)-1); err != nil {
				return err
			}
		}
		if seg.written == 0 {
			seg.written = g.segments[i].written
		}
		kept = append(kept, seg)
	}
	g.segments = kept
	return nil
}

// replay reads a segment from an offset on, and cuts off what a crash left of a
// frame when the segment is the newest one.
func (g *group) replay(seg *segment, off int64, newest bool) error {
	g.next = max(g.next, seg.first+1)
	if off == seg.size && off > 0 {
		return nil
	}
	file, err := os.Open(g.path(seg))
	if err != nil {
		return err
	}
	defer file.Close()
	end := int64(0)
	if off == 0 {
		var head [len(segmentHead)]byte
		if n, _ := file.ReadAt(head[:], 0); string(head[:n]) == segmentHead { // what can't be read is no head
			off = int64(len(segmentHead))
		}
	}
	if off > 0 {
		end, err = newFrameReader().read(file, off, seg.size, func(payload []byte) error {
			return g.apply(seg, payload)
		})
		if err != nil && !errors.Is(err, errTorn) {
			return err
		}
	}
	if end == seg.size {
		return nil
	}
	g.store.warnTorn(g, seg.size-end)
	seg.size = end
	if !newest {
		return nil
	}
	if end == 0 {
		if err := os.WriteFile(g.path(seg), []byte(segmentHead), 0o600); err != nil {
			return err
		}
		seg.size = int64(len(segmentHead))
		return nil
	}
	return os.Truncate(g.path(seg), end)
}

// apply learns from one frame of a segment. It wants mu.
func (g *group) apply(seg *segment, payload []byte) error {
	c := cursor{b: payload[1:]}
	switch payload[0] {
	case kindStream:
		s := c.streamHead()
		if c.bad {
			return errTorn
		}
		if have := g.ids[s.id]; have != nil {
			have.declared = seg.first
			return nil
		}
		s.declared = seg.first
		g.add(s)
	case kindGone:
		if s := g.ids[c.uvarint()]; s != nil {
			g.remove(s)
		}
	case kindEvents:
		h := c.eventsHead()
		if c.bad {
			return errTorn
		}
		g.next = max(g.next, h.first+h.count)
		if seg.bytes == 0 {
			seg.began = h.ingested
		}
		seg.earliest, seg.latest = min(seg.earliest, h.earliest), max(seg.latest, h.latest)
		seg.written = max(seg.written, h.ingested)
		seg.bytes += int64(len(c.b)) + eventBytes*int64(h.count) // close enough: lengths are counted too
		s := g.ids[h.stream]
		if s == nil {
			return nil // deleted
		}
		if s.from == 0 {
			s.from, s.first, s.last = seg.first, h.earliest, h.latest
		}
		s.to = seg.first
		s.first, s.last, s.ingested = min(s.first, h.earliest), max(s.last, h.latest), max(s.ingested, h.ingested)
	}
	return nil
}

// add makes a stream known. It wants mu.
func (g *group) add(s *stream) {
	if old := g.names[s.name]; old != nil {
		g.remove(old)
	}
	g.names[s.name], g.ids[s.id] = s, s
	g.next = max(g.next, s.id+1)
}

func (g *group) remove(s *stream) {
	delete(g.ids, s.id)
	if g.names[s.name] == s {
		delete(g.names, s.name)
	}
}

// readIndex reads streams into the group, and returns what it knows of segments.
func (g *group) readIndex() (segments []segment, next uint64, err error) {
	file, err := os.Open(filepath.Join(g.dir, indexFile))
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	var head [len(indexHead)]byte
	if n, _ := file.ReadAt(head[:], 0); string(head[:n]) != indexHead { // what can't be read is no head
		return nil, 0, errTorn
	}
	ended := false
	_, err = newFrameReader().read(file, int64(len(indexHead)), info.Size(), func(payload []byte) error {
		c := cursor{b: payload[1:]}
		switch payload[0] {
		case kindSegment:
			segments = append(segments, segment{
				first: c.uvarint(), size: c.varint(), began: c.varint(), written: c.varint(),
				earliest: c.varint(), latest: c.varint(), bytes: c.varint(),
			})
		case kindState:
			s := c.streamHead()
			s.declared = c.uvarint()
			s.first, s.last, s.ingested = c.varint(), c.varint(), c.varint()
			s.from, s.to = c.uvarint(), c.uvarint()
			if !c.bad {
				g.add(s)
			}
		case kindEnd:
			next, ended = c.uvarint(), true
		}
		if c.bad {
			return errTorn
		}
		return nil
	})
	if err == nil && !ended {
		err = errTorn
	}
	return segments, next, err
}

// save writes the index. It wants writing, and the group loaded.
func (g *group) save() error {
	g.mu.Lock()
	b := []byte(indexHead)
	for i := range g.segments {
		seg := &g.segments[i]
		frame, start := openFrame(b, kindSegment)
		frame = binary.AppendUvarint(frame, seg.first)
		for _, v := range []int64{seg.size, seg.began, seg.written, seg.earliest, seg.latest, seg.bytes} {
			frame = binary.AppendVarint(frame, v)
		}
		b = closeFrame(frame, start)
	}
	for _, s := range g.ids {
		frame, start := openFrame(b, kindState)
		frame = appendStreamHead(frame, s)
		frame = binary.AppendUvarint(frame, s.declared)
		for _, v := range []int64{s.first, s.last, s.ingested} {
			frame = binary.AppendVarint(frame, v)
		}
		frame = binary.AppendUvarint(frame, s.from)
		frame = binary.AppendUvarint(frame, s.to)
		b = closeFrame(frame, start)
	}
	frame, start := openFrame(b, kindEnd)
	frame = binary.AppendUvarint(frame, g.next)
	b = closeFrame(frame, start)
	g.mu.Unlock()
	return fsx.WriteFile(filepath.Join(g.dir, indexFile), b, 0o600)
}

// saveDescription writes what clients said about the group. It wants writing.
func (g *group) saveDescription(about description) error {
	text, err := json.Marshal(about)
	if err != nil {
		return err
	}
	if err := fsx.WriteFile(filepath.Join(g.dir, descriptionFile), text, 0o600); err != nil {
		return err
	}
	g.mu.Lock()
	g.about = about
	g.mu.Unlock()
	return nil
}

// change changes the description.
func (g *group) change(f func(*description) error) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	g.mu.Lock()
	about, gone := g.about, g.gone
	g.mu.Unlock()
	if gone {
		return errGone
	}
	if err := f(&about); err != nil {
		return err
	}
	return g.saveDescription(about)
}

// describe returns the description and the bytes of the events.
func (g *group) describe() (about description, bytes int64, err error) {
	g.writing.Lock()
	defer g.writing.Unlock()
	if err := g.load(); err != nil {
		return description{}, 0, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.segments {
		bytes += g.segments[i].bytes
	}
	return g.about, bytes, nil
}
