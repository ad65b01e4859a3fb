package runtimeapi

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"

	"github.com/lamina-run/lamina"
)

const responseModeHeader = "Lambda-Runtime-Function-Response-Mode"

// Modes of a response. Without one it is buffered.
const (
	modeStreaming = "streaming"
	modeUnknown   = "unknown"
)

func responseMode(value []byte) string {
	switch {
	case bytes.EqualFold(value, []byte(modeStreaming)):
		return modeStreaming
	case len(value) == 0, bytes.EqualFold(value, []byte("buffered")):
		return ""
	}
	return modeUnknown
}

// mediaType is string(value) without an allocation for what nearly all responses say.
func mediaType(value []byte) string {
	const usual = "application/json"
	if string(value) == usual {
		return usual
	}
	return strings.ToValidUTF8(string(value), "")
}

// streamBuffer is how much of a response is read at a time.
const streamBuffer = 32 << 10

// Streaming reports whether the current invocation's response is on its way to
// its sink. When that breaks off, an outcome follows all the same.
func (s *Session) Streaming() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streaming
}

// beginStream returns the sink of the invocation that a connection claimed, or nil.
func (s *Session) beginStream() lamina.Sink {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streaming = s.sink != nil
	return s.sink
}

// stream passes the response that c claimed on as it arrives. A sink that wants
// no more does not stop the function: the rest is read into nothing. It reports
// whether the connection can go on.
func (s *Session) stream(c *conn, h *header, sink lamina.Sink) bool {
	if h.expect && h.length != 0 {
		c.write("HTTP/1.1 100 Continue\r\n\r\n")
	}
	sink.Begin(h.contentType)
	source := io.LimitReader(c.r, max(h.length, 0))
	var trailers chunked
	if h.chunked {
		trailers = chunked{conn: c, budget: maxHeader, stream: true}
		source = &trailers
	}
	total, err := pass(source, sink, s.options.MaxStream)
	usable := true
	var o Outcome
	switch {
	case errors.Is(err, errTooLarge):
		o = Outcome{Kind: TooLarge, Limit: s.options.MaxStream}
		usable = c.skip(source, -1) == nil
	case err != nil:
		s.finish(c, Outcome{Kind: Truncated, Streamed: total})
		return c.broken(err)
	case !h.chunked && total < h.length:
		s.finish(c, Outcome{Kind: Truncated, Streamed: total})
		return false
	case trailers.errorType != "":
		o = Outcome{Kind: Failed, ErrorType: trailers.errorType, Payload: trailers.errorBody}
	}
	o.Streamed = total
	if !s.finish(c, o) {
		return false
	}
	runtime.Gosched() // as for a buffered response
	if o.Kind == TooLarge {
		c.fail(statusTooLarge, "RequestEntityTooLarge", "Exceeded maximum allowed payload size.")
		return usable
	}
	c.accept(true)
	return true
}

// pass reads source to its end and gives it to the sink while that wants it. It
// stops with errTooLarge after limit bytes.
func pass(source io.Reader, sink lamina.Sink, limit int64) (total int64, err error) {
	buf := make([]byte, streamBuffer)
	wanted := true
	for {
		n, err := source.Read(buf)
		left := limit - total
		total += int64(n)
		if take := min(int64(n), left); wanted && take > 0 {
			wanted = sink.Write(buf[:take]) == nil
		}
		switch {
		case int64(n) > left:
			return total, errTooLarge
		case errors.Is(err, io.EOF):
			return total, nil
		case err != nil:
			return total, err
		}
	}
}

// longLine is line for lines that matter beyond the reader's buffer.
func (c *conn) longLine(budget *int) ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	*budget -= len(line)
	if errors.Is(err, bufio.ErrBufferFull) {
		line = bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) && *budget >= 0 {
			var more []byte
			more, err = c.r.ReadSlice('\n')
			*budget -= len(more)
			line = append(line, more...)
		}
	}
	if *budget < 0 {
		return nil, errHeader
	}
	if err != nil {
		return nil, err
	}
	line = bytes.TrimSuffix(line, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}
