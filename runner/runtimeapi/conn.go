package runtimeapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	statusOK         = "200 OK"
	statusAccepted   = "202 Accepted"
	statusBadRequest = "400 Bad Request"
	statusForbidden  = "403 Forbidden"
	statusNotFound   = "404 Not Found"
	statusMethod     = "405 Method Not Allowed"
	statusTooLarge   = "413 Content Too Large"
	statusHeader     = "431 Request Header Fields Too Large"
)

// maxHeader leaves room for Lambda-Runtime-Function-XRay-Error-Cause, which AWS
// allows a megabyte.
const maxHeader = 1<<20 + 64<<10

var (
	errTooLarge  = errors.New("body exceeds the limit")
	errMalformed = errors.New("malformed request")
	errHeader    = errors.New("header exceeds the limit")
)

// conn is one connection of the runtime. Its goroutine reads; it writes, too,
// except that [Session.Deliver] answers a parked invocation/next.
type conn struct {
	session *Session
	net     net.Conn
	r       *bufio.Reader
	header  header

	writing sync.Mutex // held across a write on purpose: it only orders the two writers of this connection
	out     []byte     // reused; guarded by writing
	held    bool       // the answer to a result waits for the next one; guarded by writing
}

// header is what matters of a request's head.
type header struct {
	method       string
	path         string
	length       int64 // -1 when chunked
	chunked      bool
	expect       bool // 100-continue
	close        bool
	errorType    string
	trailerError bool // a streamed response ended with an error in its trailers
	extension    extensionHeader
	contentType  string
	mode         string // Lambda-Runtime-Function-Response-Mode
}

func newConn(s *Session, c net.Conn) *conn {
	return &conn{session: s, net: c, r: bufio.NewReaderSize(c, 4096)}
}

func (c *conn) serve() {
	defer func() {
		c.session.drop(c)
		c.net.Close()
	}()
	for {
		h := &c.header
		if err := c.readHeader(h); err != nil {
			c.broken(err)
			return
		}
		if c.isParked() {
			return // a request before the answer to the last one
		}
		if !c.session.dispatch(c, h) || h.close {
			return
		}
	}
}

func (c *conn) isParked() bool {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	return c.session.parked == c || c.session.waits(c)
}

// broken answers a request that can't be understood and ends the connection.
// It returns false for dispatch to pass on.
func (c *conn) broken(err error) bool {
	switch {
	case errors.Is(err, errHeader):
		c.fail(statusHeader, "RequestHeaderFieldsTooLarge", "Header too large")
	case errors.Is(err, errMalformed):
		c.fail(statusBadRequest, "BadRequest", "Malformed request")
	}
	return false
}

// line reads one line without its end. What goes beyond the reader's buffer is
// read and dropped; budget counts all of it.
func (c *conn) line(budget *int) ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	*budget -= len(line)
	if errors.Is(err, bufio.ErrBufferFull) {
		line = bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) && *budget > 0 {
			var more []byte
			more, err = c.r.ReadSlice('\n')
			*budget -= len(more)
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

func (c *conn) readHeader(h *header) error {
	budget := maxHeader
	line, err := c.line(&budget)
	if err == nil && len(line) == 0 { // HTTP lets a client send an empty line between requests
		line, err = c.line(&budget)
	}
	if err != nil {
		return err
	}
	method, rest, ok := bytes.Cut(line, []byte(" "))
	path, protocol, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 || !bytes.HasPrefix(protocol, []byte("HTTP/1.")) || len(path) > 512 {
		return errMalformed
	}
	*h = header{method: methodName(method), close: string(protocol) == "HTTP/1.0"}
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	if string(path) == nextPath {
		h.path = nextPath
	} else {
		h.path = string(path)
	}
	lengths := 0
	for {
		line, err := c.line(&budget)
		if err != nil {
			return unexpected(err)
		}
		if len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 {
			return errMalformed
		}
		value = bytes.TrimSpace(value)
		if len(name) > len(extensionPrefix) && bytes.EqualFold(name[:len(extensionPrefix)], []byte(extensionPrefix)) {
			h.extension.set(string(name), value)
			continue
		}
		// The length decides first; most lines match none.
		switch len(name) {
		case len("Content-Length"):
			if bytes.EqualFold(name, []byte("Content-Length")) {
				n, err := strconv.ParseInt(string(value), 10, 64)
				if err != nil || n < 0 || value[0] == '+' || lengths > 0 {
					return errMalformed
				}
				h.length = n
				lengths++
			}
		case len("Transfer-Encoding"):
			if bytes.EqualFold(name, []byte("Transfer-Encoding")) {
				if !bytes.EqualFold(value, []byte("chunked")) {
					return errMalformed
				}
				h.chunked = true
			}
		case len("Connection"):
			if bytes.EqualFold(name, []byte("Connection")) {
				switch strings.ToLower(string(value)) {
				case "close":
					h.close = true
				case "keep-alive":
					h.close = false
				}
			} else if bytes.EqualFold(name, []byte("Expect")) {
				h.expect = true
			}
		case len("Expect"):
			h.expect = h.expect || bytes.EqualFold(name, []byte("Expect"))
		case len(errorTypeHeader):
			if bytes.EqualFold(name, []byte(errorTypeHeader)) {
				h.errorType = string(value)
			}
		case len("Content-Type"):
			if bytes.EqualFold(name, []byte("Content-Type")) {
				h.contentType = mediaType(value)
			}
		case len(responseModeHeader):
			if bytes.EqualFold(name, []byte(responseModeHeader)) {
				h.mode = responseMode(value)
			}
		}
	}
	if h.chunked {
		if lengths > 0 {
			return errMalformed // which of the two counts is how requests are smuggled
		}
		h.length = -1
	}
	return nil
}

const (
	nextPath        = "/2018-06-01/runtime/invocation/next"
	errorTypeHeader = "Lambda-Runtime-Function-Error-Type"
)

func methodName(b []byte) string {
	switch string(b) {
	case "GET":
		return "GET"
	case "POST":
		return "POST"
	case "PUT":
		return "PUT"
	}
	return "other"
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// body reads the body whole. Of one that is larger than limit it reads on to the
// end, so that the connection stays usable, and returns errTooLarge.
func (c *conn) body(h *header, limit int64) ([]byte, error) {
	if h.expect && h.length != 0 {
		c.write("HTTP/1.1 100 Continue\r\n\r\n")
	}
	if h.length > limit {
		if err := c.skip(c.r, h.length); err != nil {
			return nil, err
		}
		return nil, errTooLarge
	}
	if h.length >= 0 && h.length <= 64<<10 {
		data := make([]byte, h.length)
		_, err := io.ReadFull(c.r, data)
		return data, unexpected(err)
	}
	var source io.Reader = c.r
	var chunks *chunked
	if h.chunked {
		chunks = &chunked{conn: c, budget: maxHeader}
		source = chunks
	} else {
		source = io.LimitReader(c.r, h.length)
	}
	// It grows with what arrives, not with what was announced.
	var data bytes.Buffer
	n, err := data.ReadFrom(io.LimitReader(source, limit+1))
	switch {
	case err != nil:
		return nil, unexpected(err)
	case n > limit:
		if err := c.skip(source, -1); err != nil {
			return nil, err
		}
		return nil, errTooLarge
	case !h.chunked && n < h.length:
		return nil, io.ErrUnexpectedEOF
	}
	if chunks != nil && chunks.errorType != "" {
		h.trailerError = true
		h.errorType = chunks.errorType
		if chunks.errorBody != nil {
			return chunks.errorBody, nil
		}
	}
	return data.Bytes(), nil
}

// skip reads n bytes, or all if n is negative, into nothing.
func (c *conn) skip(r io.Reader, n int64) error {
	if n > maxDiscard {
		return errMalformed
	}
	if n < 0 {
		left, err := io.Copy(io.Discard, io.LimitReader(r, maxDiscard))
		if err == nil && left == maxDiscard {
			err = errMalformed
		}
		return err
	}
	_, err := io.CopyN(io.Discard, r, n)
	return err
}

// discard reads a body that nobody wants and reports whether the connection can go on.
func (c *conn) discard(h *header) bool {
	switch {
	case h.expect && h.length != 0:
		return false // the client waits for a 100 that it will not get
	case h.chunked:
		return c.skip(&chunked{conn: c, budget: maxHeader}, -1) == nil
	case h.length == 0:
		return true
	}
	return c.skip(c.r, h.length) == nil
}

func (c *conn) refuse(h *header, r refusal) bool {
	ok := c.discard(h)
	c.fail(r.status, r.kind, r.message)
	return ok
}

func (c *conn) fail(status, kind, message string) {
	body, err := json.Marshal(struct {
		ErrorMessage string `json:"errorMessage"`
		ErrorType    string `json:"errorType"`
	}{message, kind})
	if err != nil {
		panic(err) // two strings
	}
	c.reply(status, body)
}

const accepted = "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"status\":\"OK\"}"

// accept answers a result. A runtime that sent its next request along, which ours
// do, waits for the answer to that: both go out together, and wake it once.
func (c *conn) accept(whole bool) {
	if whole && c.r.Buffered() > 0 {
		c.writing.Lock()
		defer c.writing.Unlock()
		c.held = true
		return
	}
	if whole {
		c.write(accepted)
		return
	}
	c.fail(statusTooLarge, "RequestEntityTooLarge", "Exceeded maximum allowed payload size ("+
		strconv.FormatInt(c.session.options.MaxPayload, 10)+" bytes).")
}

func (c *conn) reply(status string, body []byte) {
	c.write("HTTP/1.1 " + status + "\r\nContent-Type: application/json\r\nContent-Length: " +
		strconv.Itoa(len(body)) + "\r\n\r\n" + string(body))
}

func (c *conn) write(s string) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.out = append(c.begin(), s...)
	c.send(c.out)
}

// begin returns what goes out before an answer. It wants c.writing.
func (c *conn) begin() []byte {
	if !c.held {
		return c.out[:0]
	}
	c.held = false
	return append(c.out[:0], accepted...)
}

// send writes to the runtime. When that fails, the runtime is gone or stuck:
// the connection is cut, and the goroutine that reads it ends.
func (c *conn) send(b []byte) {
	if _, err := c.net.Write(b); err != nil {
		c.net.Close()
	}
}

// deliver answers invocation/next. It wants c.writing.
func (c *conn) deliver(r *Request, at time.Time) {
	b := append(c.begin(), "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: "...)
	b = appendValue(b, r.ID)
	b = append(b, "\r\nLambda-Runtime-Deadline-Ms: "...)
	b = strconv.AppendInt(b, r.deadline(at).UnixMilli(), 10)
	b = append(b, "\r\nLambda-Runtime-Invoked-Function-Arn: "...)
	b = appendValue(b, r.InvokedARN)
	for _, optional := range [...]struct{ name, value string }{
		{"\r\nLambda-Runtime-Trace-Id: ", r.TraceID},
		{"\r\nLambda-Runtime-Client-Context: ", r.ClientContext},
		{"\r\nLambda-Runtime-Cognito-Identity: ", r.CognitoIdentity},
	} {
		if optional.value != "" {
			b = append(b, optional.name...)
			b = appendValue(b, optional.value)
		}
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(r.Payload)), 10)
	b = append(b, "\r\n\r\n"...)
	if len(b)+len(r.Payload) <= buffered {
		b = append(b, r.Payload...)
		c.out = b
		c.send(b)
		return
	}
	c.out = b
	// Only a large one can block. The runtime is killed at its deadline, but
	// whoever kills it may be the goroutine that writes here.
	c.net.SetWriteDeadline(time.Now().Add(r.Timeout)) // an unsupported deadline leaves the kill of another
	if _, err := (&net.Buffers{b, r.Payload}).WriteTo(c.net); err != nil {
		c.net.Close()
		return
	}
	c.net.SetWriteDeadline(time.Time{}) // as above
}

// appendValue appends s with what would end a header line made a space.
func appendValue(b []byte, s string) []byte {
	start := len(b)
	b = append(b, s...)
	for i := start; i < len(b); i++ {
		if b[i] == '\r' || b[i] == '\n' || b[i] == 0 {
			b[i] = ' '
		}
	}
	return b
}
