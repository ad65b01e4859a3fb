package runner

import (
	"bytes"
	"encoding/binary"
	"time"
)

// A runtime client writes what shall be one event of the log, however many lines
// it has, as a frame:
//
//	0xA5 0x5A 0x00   flags, a byte   length, 4 bytes   [time, 8 bytes]   text
//
// Numbers are big-endian, the time is in microseconds since 1970. Of the flags
// the lowest says that the text is not JSON, the next that there is a time, and
// three more give the level; the rest are zero.
const (
	flagTime   = 1 << 1
	flagsLevel = 2 // bits below the level
	flagsEnd   = 1 << 5

	frameHead = 16       // without a time 8
	frameSize = 16 << 20 // a length beyond is none: the bytes are not a frame
)

var frameMagic = []byte{0xa5, 0x5a, 0x00}

// frame is what the head of one says.
type frame struct {
	length int
	level  level // levelNone when it does not say
	time   int64 // microseconds since 1970; zero when it does not say
}

// levelNone is that of what names no level.
const levelNone level = -1

// findFrame looks for the head of a frame. Before start there is none. When head
// is zero there is none at all, or b ends before that can be said of what follows
// start; else it is the head's length.
func findFrame(b []byte) (f frame, start, head int) {
	for {
		i := bytes.IndexByte(b[start:], frameMagic[0])
		if i < 0 {
			return frame{}, len(b), 0
		}
		start += i
		f, head, ok := parseFrame(b[start:])
		if ok {
			return f, start, head
		}
		start++
	}
}

// parseFrame reads a head at the begin of b. It is not ok when there is none, and
// has no length when b is too short for it.
func parseFrame(b []byte) (f frame, head int, ok bool) {
	if n := min(len(b), len(frameMagic)); !bytes.Equal(b[:n], frameMagic[:n]) {
		return frame{}, 0, false
	}
	if len(b) < 4 {
		return frame{}, 0, true
	}
	flags := b[3]
	if flags >= flagsEnd {
		return frame{}, 0, false
	}
	if len(b) < 8 {
		return frame{}, 0, true
	}
	length := binary.BigEndian.Uint32(b[4:])
	if length > frameSize {
		return frame{}, 0, false
	}
	f = frame{length: int(length), level: level(flags>>flagsLevel) - 1}
	if f.level > levelFatal {
		f.level = levelNone
	}
	head = 8
	if flags&flagTime != 0 {
		head = frameHead
		if len(b) < head {
			return frame{}, 0, true
		}
		f.time = int64(binary.BigEndian.Uint64(b[8:]))
	}
	return f, head, true
}

// append takes what was read of a source. It wants o.mu.
func (o *output) append(s *source, b []byte) {
	at := o.now()
	if !s.framed {
		o.lines(s, at, b)
		return
	}
	if len(s.head) > 0 {
		b = append(s.head, b...)
		s.head = nil
	}
	for len(b) > 0 {
		if s.inFrame {
			b = o.text(s, at, b)
			continue
		}
		f, start, head := findFrame(b)
		o.lines(s, at, b[:start])
		if head == 0 {
			s.head = bytes.Clone(b[start:])
			return
		}
		b = b[start+head:]
		s.frame, s.left, s.inFrame, s.late = f, f.length, true, false
		if f.length == 0 {
			o.pass(s, at, nil)
			s.inFrame = false
		}
	}
}

// text takes what b has of the frame's text, and returns the rest of b.
func (o *output) text(s *source, at time.Time, b []byte) []byte {
	n := min(s.left, len(b), lineSize-len(s.text))
	part := b[:n]
	s.left -= n
	s.inFrame = s.left > 0
	if len(s.text) > 0 || (s.inFrame && n < lineSize) {
		s.text = append(s.text, part...)
		part = s.text
	}
	if !s.inFrame || len(part) == lineSize {
		o.pass(s, at, part)
		s.text = s.text[:0]
	}
	return b[n:]
}

// pass passes a frame's text on, or a part of one that is too long for an event.
func (o *output) pass(s *source, at time.Time, text []byte) {
	// In order with what was passed on before, whatever the function says.
	if t := time.UnixMicro(s.frame.time); s.frame.time > 0 && t.Before(at) {
		at = t
		if at.Before(o.last) {
			at = o.last
		}
	}
	o.event(s, at, s.frame.level, bytes.TrimSuffix(text, []byte("\n")))
}

// giveUp ends a frame whose end is not going to come. It wants o.mu.
func (o *output) giveUp(s *source) {
	o.unhead(s)
	s.head = nil
	if len(s.text) > 0 {
		o.pass(s, o.now(), s.text)
		s.text = s.text[:0]
	}
	s.inFrame, s.left, s.late = false, 0, false
}

// unhead takes back for text what only might have become the head of a frame. It
// wants o.mu.
func (o *output) unhead(s *source) {
	if len(s.head) <= len(frameMagic) {
		o.lines(s, o.now(), s.head)
		s.head = nil
	}
}

// overdue gives up a frame that was not complete when an invocation began and
// still is not when the next one does, so that what looks like the head of one
// can't hide the log. It wants o.mu.
func (o *output) overdue(s *source) {
	switch waiting := s.inFrame || len(s.head) > 0; {
	case waiting && s.late:
		o.giveUp(s)
	case waiting:
		s.late = true
	}
}
