package logs

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// A segment, and the index, is a head and then frames: length and CRC-32C of the
// payload (four bytes each, little-endian), and the payload. A payload is its
// kind and then varints and texts:
//
//	stream   id, created, flags, name       the name that events go by in this segment
//	gone     id                             the stream was deleted
//	events   id, first number, ingested, earliest, span, count, then
//	         (time after the earliest, length, message) for each event
//	segment  first number, size, began, written, earliest, latest, bytes
//	state    id, created, flags, name, declared, first, last, ingested, from, to
//	end      next number                    an index without it was cut off
const (
	kindStream  = 1
	kindGone    = 2
	kindEvents  = 3
	kindSegment = 4
	kindState   = 5
	kindEnd     = 6
)

const (
	segmentHead = "lamina logs 1\r\n\x00"
	indexHead   = "lamina index 1\r\n"

	frameHead = 8
	// maxFrame is more than a batch of PutLogEvents takes.
	maxFrame = 2 << 20
)

// The flags of a stream.
const flagOwn = 1 // an environment's, not a client's

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn says that a file ends in something that is no whole frame.
var errTorn = errors.New("torn frame")

// event is one entry of a log.
type event struct {
	time    int64 // milliseconds
	message []byte
}

// openFrame begins a frame of a kind and closeFrame ends it.
func openFrame(b []byte, kind byte) (_ []byte, start int) {
	start = len(b)
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0, kind), start
}

func closeFrame(b []byte, start int) []byte {
	payload := b[start+frameHead:]
	binary.LittleEndian.PutUint32(b[start:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Checksum(payload, castagnoli))
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func appendStreamFrame(b []byte, s *stream) []byte {
	b, start := openFrame(b, kindStream)
	b = appendStreamHead(b, s)
	return closeFrame(b, start)
}

func appendStreamHead(b []byte, s *stream) []byte {
	b = binary.AppendUvarint(b, s.id)
	b = binary.AppendVarint(b, s.created)
	flags := uint64(0)
	if s.own {
		flags = flagOwn
	}
	b = binary.AppendUvarint(b, flags)
	return appendText(b, s.name)
}

func appendGoneFrame(b []byte, id uint64) []byte {
	b, start := openFrame(b, kindGone)
	b = binary.AppendUvarint(b, id)
	return closeFrame(b, start)
}

// appendEventsFrame writes events of one stream, of which there is at least one.
func appendEventsFrame(b []byte, id, first uint64, ingested int64, events []event) []byte {
	earliest, latest := span(events)
	b, start := openFrame(b, kindEvents)
	b = binary.AppendUvarint(b, id)
	b = binary.AppendUvarint(b, first)
	b = binary.AppendVarint(b, ingested)
	b = binary.AppendVarint(b, earliest)
	b = binary.AppendUvarint(b, uint64(latest-earliest))
	b = binary.AppendUvarint(b, uint64(len(events)))
	for _, e := range events {
		b = binary.AppendUvarint(b, uint64(e.time-earliest))
		b = binary.AppendUvarint(b, uint64(len(e.message)))
		b = append(b, e.message...)
	}
	return closeFrame(b, start)
}

func span(events []event) (earliest, latest int64) {
	earliest, latest = math.MaxInt64, math.MinInt64
	for _, e := range events {
		earliest, latest = min(earliest, e.time), max(latest, e.time)
	}
	return earliest, latest
}

// cursor reads a payload. After a failure it yields zeros; bad tells.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.b, c.bad = nil, true
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.b, c.bad = nil, true
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) text() []byte {
	n := c.uvarint()
	if n > uint64(len(c.b)) {
		c.b, c.bad = nil, true
		return nil
	}
	text := c.b[:n]
	c.b = c.b[n:]
	return text
}

// eventsHead is what an events frame says ahead of its events.
type eventsHead struct {
	stream           uint64
	first            uint64
	ingested         int64
	earliest, latest int64
	count            uint64
}

func (c *cursor) eventsHead() eventsHead {
	h := eventsHead{stream: c.uvarint(), first: c.uvarint(), ingested: c.varint(), earliest: c.varint()}
	h.latest = h.earliest + int64(c.uvarint())
	h.count = c.uvarint()
	// Each event has at least two bytes.
	if h.latest < h.earliest || h.count > uint64(len(c.b))/2 || h.first > math.MaxUint64-h.count {
		c.b, c.bad = nil, true
	}
	return h
}

// event reads the next event; its message is part of the payload.
func (c *cursor) event(h *eventsHead) event {
	e := event{time: h.earliest + int64(c.uvarint())}
	e.message = c.text()
	return e
}

func (c *cursor) streamHead() *stream {
	s := &stream{id: c.uvarint(), created: c.varint()}
	s.own = c.uvarint()&flagOwn != 0
	s.name = string(c.text())
	if s.id == 0 || s.name == "" {
		c.bad = true
	}
	return s
}

// frameReader reads the frames of files, one file after another.
type frameReader struct {
	in      *bufio.Reader
	payload []byte
}

func newFrameReader() *frameReader { return &frameReader{in: bufio.NewReaderSize(nil, 64<<10)} }

// read calls visit with the payload of each frame from off to end; a payload is
// valid until visit returns. It returns where the last whole frame ends, with
// errTorn when something follows that is none, or the error of visit.
func (r *frameReader) read(file io.ReaderAt, off, end int64, visit func(payload []byte) error) (int64, error) {
	r.in.Reset(io.NewSectionReader(file, off, max(end-off, 0)))
	for off < end {
		var head [frameHead]byte
		if _, err := io.ReadFull(r.in, head[:]); err != nil {
			return off, torn(err)
		}
		n := int64(binary.LittleEndian.Uint32(head[:]))
		if n == 0 || n > maxFrame || n > end-off-frameHead {
			return off, errTorn
		}
		if int64(cap(r.payload)) < n {
			r.payload = make([]byte, n, max(n, 64<<10))
		}
		r.payload = r.payload[:n]
		if _, err := io.ReadFull(r.in, r.payload); err != nil {
			return off, torn(err)
		}
		if crc32.Checksum(r.payload, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
			return off, errTorn
		}
		if err := visit(r.payload); err != nil {
			return off, err
		}
		off += frameHead + n
	}
	return off, nil
}

func torn(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTorn
	}
	return fmt.Errorf("read log segment: %w", err)
}
