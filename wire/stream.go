package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
)

// scanner reads JSON in pieces. The string at path goes to its sink; all other
// bytes are collected in rest, where that string is left empty. It follows
// strings and brackets only: whoever parses rest finds what is no JSON, for
// rest is valid exactly if the whole was.
type scanner struct {
	path []string
	rest []byte
	sink sink

	stack     []frame
	inSink    bool // within the string at path
	inString  bool // within another one
	escaped   bool // after a backslash in it
	isKey     bool // it is the name of a member
	keyStart  int  // of its opening quote in rest
	expectKey bool // the next string is the name of a member
}

// frame is an open bracket.
type frame struct {
	object  bool
	onPath  bool // an object whose own name and those above are the path's
	hit     bool // the value after the current name is on the path
	hitOnce bool // so was one before
}

// feed takes the next piece.
func (s *scanner) feed(p []byte) error {
	for len(p) > 0 {
		if s.inSink {
			n, done, err := s.sink.feed(p)
			if err != nil {
				return err
			}
			p = p[n:]
			if done {
				s.inSink = false
				s.rest = append(s.rest, '"')
			}
			continue
		}
		n, err := s.scan(p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// scan collects p, or as much of it as precedes the string at path.
func (s *scanner) scan(p []byte) (int, error) {
	for i, c := range p {
		s.rest = append(s.rest, c)
		if s.inString {
			switch {
			case s.escaped:
				s.escaped = false
			case c == '\\':
				s.escaped = true
			case c == '"':
				s.inString = false
				if s.isKey {
					if err := s.key(); err != nil {
						return i, err
					}
				}
			}
			continue
		}
		switch c {
		case '{', '[':
			s.push(c == '{')
		case '}', ']':
			s.stack = s.stack[:max(len(s.stack)-1, 0)]
			s.expectKey = false
		case ',':
			s.expectKey = len(s.stack) > 0 && s.top().object
		case '"':
			if s.atPath() {
				s.top().hit = false
				s.inSink = true
				return i + 1, s.sink.start()
			}
			s.inString, s.isKey, s.keyStart = true, s.expectKey, len(s.rest)-1
			s.expectKey = false
		}
	}
	return len(p), nil
}

func (s *scanner) top() *frame { return &s.stack[len(s.stack)-1] }

func (s *scanner) atPath() bool {
	return len(s.stack) == len(s.path) && !s.expectKey && s.top().hit
}

func (s *scanner) push(object bool) {
	f := frame{object: object, onPath: object && len(s.stack) == 0}
	if len(s.stack) > 0 {
		f.onPath = object && s.top().hit && len(s.stack) < len(s.path)
		s.top().hit = false
	}
	s.stack = append(s.stack, f)
	s.expectKey = object
}

// key looks at the name of a member that rest ends with.
func (s *scanner) key() error {
	top := s.top()
	top.hit = false
	if !top.onPath || len(s.stack) > len(s.path) {
		return nil
	}
	name, want := s.rest[s.keyStart:], s.path[len(s.stack)-1]
	if len(name) > len(want)*len(`\u0000`)+2 {
		return nil
	}
	var text string
	if err := json.Unmarshal(name, &text); err != nil || text != want {
		return nil //nolint:nilerr // rest tells the error, too
	}
	if top.hitOnce {
		return Serialization.Errorf("Duplicate member %s", want)
	}
	top.hit, top.hitOnce = true, true
	return nil
}

// sink decodes the Base64 inside a JSON string into an upload. It works on
// chunks: what it does per byte is done by bytes.IndexByte and package base64.
type sink struct {
	max    int64
	open   func() (Upload, error)
	upload Upload

	text   []byte // Base64 without escapes, not decoded yet
	bytes  []byte // reused
	escape []byte // a JSON escape that is not complete yet
	padded bool   // padding was seen: nothing may follow
}

const (
	textSize  = 64 << 10 // a multiple of 4
	bytesSize = textSize / 4 * 3
)

func (k *sink) start() error {
	var err error
	k.upload, err = k.open()
	k.text = make([]byte, 0, textSize)
	k.bytes = make([]byte, bytesSize)
	return err
}

// feed takes the next piece of the string, and says how much of it was the
// string's and whether the string is complete.
func (k *sink) feed(p []byte) (n int, done bool, err error) {
	// An escaped quote ends the string here as well; it is no Base64 anyway.
	end := bytes.IndexByte(p, '"')
	rest := p
	if end >= 0 {
		rest = p[:end]
	}
	for len(rest) > 0 {
		if len(k.escape) > 0 {
			if err := k.unescape(rest[0]); err != nil {
				return 0, false, err
			}
			rest = rest[1:]
			continue
		}
		piece := rest
		if i := bytes.IndexByte(rest, '\\'); i >= 0 {
			piece = rest[:i]
			k.escape = append(k.escape, '\\')
			rest = rest[i+1:]
		} else {
			rest = nil
		}
		if err := k.add(piece); err != nil {
			return 0, false, err
		}
	}
	if end < 0 {
		return len(p), false, nil
	}
	if len(k.escape) > 0 {
		return 0, false, badBase64()
	}
	if err := k.flush(); err != nil {
		return 0, false, err
	}
	if len(k.text) > 0 {
		return 0, false, badBase64()
	}
	k.text, k.bytes = nil, nil
	return end + 1, true, nil
}

// add takes Base64 without escapes.
func (k *sink) add(p []byte) error {
	for len(p) > 0 {
		n := copy(k.text[len(k.text):cap(k.text)], p)
		k.text = k.text[:len(k.text)+n]
		p = p[n:]
		if len(k.text) == cap(k.text) {
			if err := k.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// unescape takes one more byte of an escape. Besides the slash, encoders escape
// plus and equals signs, and line breaks between lines of Base64.
func (k *sink) unescape(c byte) error {
	k.escape = append(k.escape, c)
	switch {
	case len(k.escape) == 2 && c == '/':
	case len(k.escape) == 2 && (c == 'n' || c == 'r'):
		k.escape = k.escape[:0]
		return nil
	case len(k.escape) == 2 && c == 'u', len(k.escape) > 2 && len(k.escape) < len(`\u0000`):
		return nil
	case len(k.escape) == len(`\u0000`):
		v, err := strconv.ParseUint(string(k.escape[2:]), 16, 16)
		if err != nil || v > 0x7f {
			return badBase64()
		}
		c = byte(v)
	default:
		return badBase64()
	}
	k.escape = k.escape[:0]
	if c == '\n' || c == '\r' {
		return nil
	}
	return k.add([]byte{c})
}

// flush decodes the whole quanta of text.
func (k *sink) flush() error {
	whole := len(k.text) &^ 3
	if whole == 0 {
		return nil
	}
	if k.padded {
		return badBase64()
	}
	text := k.text[:whole]
	n, err := base64.StdEncoding.Decode(k.bytes, text)
	padding := len(text) - len(bytes.TrimRight(text, "="))
	k.padded = padding > 0
	// The decoder skips line breaks, which are no JSON here: then a byte is missing.
	if err != nil || n != whole/4*3-padding {
		return badBase64()
	}
	if k.upload.Size()+int64(n) > k.max {
		return RequestEntityTooLarge.Errorf("Zipped size must be smaller than %d bytes", k.max)
	}
	if _, err := k.upload.Write(k.bytes[:n]); err != nil {
		return fmt.Errorf("write upload: %w", err)
	}
	k.text = k.text[:copy(k.text, k.text[whole:])]
	return nil
}
