package runner

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner/telemetry"
)

const (
	tailSize = 4 << 10   // of Result.LogTail
	lineSize = 256 << 10 // of one event; what is longer is cut into several
	pipeSize = 64 << 10  // what a pipe holds: more can't have been written before a response
)

// level is what LoggingConfig's levels compare.
type level int

const (
	levelTrace level = iota
	levelDebug
	levelInfo
	levelWarn
	levelError
	levelFatal
)

// parseLevel reads a level, or returns the one to take instead.
func parseLevel(s string, instead level) level {
	switch strings.ToUpper(s) {
	case "TRACE":
		return levelTrace
	case "DEBUG":
		return levelDebug
	case "INFO":
		return levelInfo
	case "WARN", "WARNING":
		return levelWarn
	case "ERROR":
		return levelError
	case "FATAL", "CRITICAL":
		return levelFatal
	}
	return instead
}

// output reads what an environment's processes print, and writes it with the
// platform's own events to the log stream, to the tail and to telemetry. Whoever
// reads a pipe holds the mutex, so that what is read is in order whether the
// reader or somebody who drains the pipe got it.
type output struct {
	version     *lamina.Version
	stream      string
	logs        Logs
	hub         *telemetry.Hub
	json        bool
	system      level // of platform events, with the JSON format
	application level // of the function's lines, with the JSON format
	now         func() time.Time

	function   *source
	extensions *source // nil without any

	mu      sync.Mutex
	tailing bool      // the invocation wants its tail
	kept    bool      // the tail begins before START
	tail    []byte    // of this invocation, or of the initialization before; at most twice tailSize
	last    time.Time // of what was passed on
	buf     []byte
}

// source is one pipe. What is read of it so far, and not passed on, is guarded by
// the output's mutex.
type source struct {
	pipe     syscall.RawConn
	category telemetry.Category
	framed   bool // there may be frames between the lines

	line    []byte // not ended yet; what frames come in between is not its end
	head    []byte // the begin of a frame's, or what looks like it
	frame   frame
	inFrame bool
	left    int    // how much of its text is missing
	text    []byte // of it, at most lineSize
	late    bool   // it was incomplete when an invocation began
}

func newSource(f *os.File, c telemetry.Category) (*source, error) {
	pipe, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &source{pipe: pipe, category: c}, nil
}

// newOutput reads f, in which there may be frames if framed.
func newOutput(f *os.File, framed bool, v *lamina.Version, stream string, logs Logs, hub *telemetry.Hub, now func() time.Time) (*output, error) {
	function, err := newSource(f, telemetry.Function)
	if err != nil {
		return nil, err
	}
	function.framed = framed
	l := v.Config.Logging
	return &output{
		version: v, stream: stream, logs: logs, hub: hub, now: now, last: now(), function: function, buf: make([]byte, 16<<10),
		json: l.Format == "JSON", system: parseLevel(l.SystemLevel, levelInfo), application: parseLevel(l.ApplicationLevel, levelInfo),
	}, nil
}

// read reads a source until it ends or is closed.
func (o *output) read(s *source) {
	for {
		err := error(nil)
		waitErr := s.pipe.Read(func(fd uintptr) bool {
			o.mu.Lock()
			defer o.mu.Unlock()
			err = o.take(s, int(fd))
			return !errors.Is(err, syscall.EAGAIN)
		})
		if waitErr != nil || err != nil { // closed, or ended
			o.mu.Lock()
			o.giveUp(s)
			o.flush()
			o.mu.Unlock()
			return
		}
	}
}

// take reads what is there, once. It wants o.mu.
func (o *output) take(s *source, fd int) error {
	for {
		n, err := syscall.Read(fd, o.buf)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return io.EOF
		}
		o.append(s, o.buf[:n])
		return nil
	}
}

// drain takes what was written so far. It wants o.mu. Control, unlike Read, may
// be called while another goroutine waits in Read.
func (o *output) drain() {
	for _, s := range [...]*source{o.extensions, o.function} {
		if s == nil {
			continue
		}
		_ = s.pipe.Control(func(fd uintptr) { // fails only when closed: then there is nothing
			for range pipeSize/len(o.buf) + 1 {
				if o.take(s, int(fd)) != nil {
					return
				}
			}
		})
	}
}

// lines takes text that is cut into events at its newlines. It wants o.mu.
func (o *output) lines(s *source, at time.Time, b []byte) {
	for len(b) > 0 {
		n, rest := bytes.IndexByte(b, '\n'), 1
		if n < 0 {
			n, rest = len(b), 0
		}
		if room := lineSize - len(s.line); n > room {
			n, rest = room, 0 // cut
		} else if rest == 0 {
			s.line = append(s.line, b...)
			return
		}
		line := b[:n]
		if len(s.line) > 0 {
			s.line = append(s.line, line...)
			line = s.line
		}
		o.event(s, at, levelNone, line)
		s.line = s.line[:0]
		b = b[n+rest:]
	}
}

// keep appends to the tail. It wants o.mu.
func (o *output) keep(b []byte) {
	o.tail = append(o.tail, b...)
	if len(o.tail) > 2*tailSize {
		o.tail = append(o.tail[:0], o.tail[len(o.tail)-tailSize:]...)
	}
}

// event passes one event on, of a level if the runtime client gave it one. It
// wants o.mu.
func (o *output) event(s *source, at time.Time, l level, text []byte) {
	if o.filtered(s, l, text) {
		return
	}
	if o.tailing {
		o.keep(text)
		o.keep([]byte{'\n'})
	}
	if o.logs != nil {
		o.logs.Write(o.version, o.stream, at, text)
	}
	o.hub.PublishLine(s.category, at, text, o.json)
	o.last = at
}

// filtered says whether an event is below the level that the function's
// configuration wants. Without a level it is never, unless it is a JSON object
// that has one.
func (o *output) filtered(s *source, l level, text []byte) bool {
	if !o.json || o.application <= levelTrace || s.category != telemetry.Function {
		return false
	}
	if l != levelNone {
		return l < o.application
	}
	if len(text) < 2 || text[0] != '{' || !bytes.Contains(text, []byte(`"level"`)) {
		return false
	}
	var record struct {
		Level string `json:"level"`
	}
	if json.Unmarshal(text, &record) != nil {
		return false
	}
	return parseLevel(record.Level, levelFatal) < o.application
}

// flush ends lines that were not ended. It wants o.mu.
func (o *output) flush() {
	for _, s := range [...]*source{o.extensions, o.function} {
		if s == nil {
			continue
		}
		o.unhead(s)
		if len(s.line) > 0 {
			o.event(s, o.now(), levelNone, s.line)
			s.line = s.line[:0]
		}
	}
}

// restart forgets what processes that are gone have begun, after passing it on.
func (o *output) restart() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drain()
	o.giveUp(o.function)
	o.flush()
}

// expect prepares for an invocation.
func (o *output) expect(tail bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tailing, o.kept = tail, false
	o.tail = o.tail[:0]
}

// suppress says that the initialization that now begins is part of the
// invocation, and what it prints of the tail.
func (o *output) suppress() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drain()
	o.kept = true
	o.tail = o.tail[:0]
}

// platform writes a line of Lamina's own. It wants o.mu.
func (o *output) platform(at time.Time, line string) {
	if o.tailing {
		o.keep([]byte(line))
		o.keep([]byte{'\n'})
	}
	if o.logs != nil {
		o.logs.Write(o.version, o.stream, at, []byte(line))
	}
}

// settle takes what was printed so far, and ends the line. It wants o.mu.
func (o *output) settle() {
	o.drain()
	o.flush()
}

// print writes a line as if the function had.
func (o *output) print(at time.Time, line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.platform(at, line)
	o.hub.PublishLine(telemetry.Function, at, []byte(line), o.json)
}

func (o *output) wanted() bool { return o.tailing || o.logs != nil || o.hub.Wanted() }

// details says whether anybody wants the events that no line of text shows.
func (o *output) details(status string) bool {
	return o.hub.Wanted() || (o.json && failed(status, levelDebug) >= o.system)
}

// begin writes START when the runtime takes the invocation. What is printed
// already belongs to the initialization and not in the tail.
func (o *output) begin(at time.Time, e event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.wanted() {
		return
	}
	o.settle()
	o.overdue(o.function)
	if !o.kept {
		o.tail = o.tail[:0]
	}
	o.emit(at, e)
}

// write writes events after what was printed before.
func (o *output) write(at time.Time, events ...event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.wanted() {
		return
	}
	o.settle()
	for _, e := range events {
		o.emit(at, e)
	}
}

// end writes the last events of an invocation and returns the tail.
func (o *output) end(at time.Time, note string, events ...event) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.wanted() {
		return nil
	}
	o.settle()
	if note != "" {
		o.platform(at, note)
	}
	for _, e := range events {
		o.emit(at, e)
	}
	if !o.tailing {
		return nil
	}
	o.tailing = false
	return bytes.Clone(o.tail[max(0, len(o.tail)-tailSize):])
}

// emit writes one of the platform's events in the format of the stream, and
// tells telemetry. It wants o.mu.
func (o *output) emit(at time.Time, e event) {
	if o.hub.Wanted() {
		o.hub.Publish(telemetry.Platform, e.kind, at, []byte(e.record(true)))
	}
	switch {
	case e.aside:
		if o.logs == nil {
			return
		}
		if o.json && e.level >= o.system {
			o.logs.Write(o.version, o.stream, at, []byte(e.line(at)))
		} else if !o.json && e.text != nil {
			o.logs.Write(o.version, o.stream, at, []byte(e.text()))
		}
	case o.json:
		if e.level >= o.system && !e.quiet && (o.tailing || o.logs != nil) {
			o.platform(at, e.line(at))
		}
	case e.text != nil && (o.tailing || o.logs != nil):
		o.platform(at, e.text())
	}
}

const stampLayout = "2006-01-02T15:04:05.000Z"

func stamp(at time.Time) string { return at.UTC().Format(stampLayout) }
