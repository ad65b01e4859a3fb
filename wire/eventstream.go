package wire

import (
	"encoding/binary"
	"hash/crc32"
	"net/http"
	"time"
)

// EventStreamType is the content type of an event stream.
const EventStreamType = "application/vnd.amazon.eventstream"

// InvokeComplete is the payload of the last event of InvokeWithResponseStream.
type InvokeComplete struct {
	ErrorCode    *string `json:",omitempty"`
	ErrorDetails *string `json:",omitempty"`
	LogResult    *string `json:",omitempty"`
}

// AppendEvent appends one message of an event stream to b: an event of a type,
// with a payload of a content type.
//
//	total length | headers length | CRC of both | headers | payload | CRC of all
//
// Lengths and CRCs (IEEE) are four bytes each, the highest first. A header is the
// length of its name, the name, 7 for a string, two bytes of length, the string.
func AppendEvent(b []byte, eventType, contentType string, payload []byte) []byte {
	const prelude, sums = 8, 4
	start := len(b)
	b = append(b, make([]byte, prelude+sums)...)
	for _, h := range [][2]string{{":event-type", eventType}, {":content-type", contentType}, {":message-type", "event"}} {
		b = append(b, byte(len(h[0])))
		b = append(b, h[0]...)
		b = append(b, 7)
		b = binary.BigEndian.AppendUint16(b, uint16(len(h[1])))
		b = append(b, h[1]...)
	}
	headers := len(b) - start - prelude - sums
	b = append(b, payload...)
	message := b[start:]
	binary.BigEndian.PutUint32(message, uint32(len(message)+sums))
	binary.BigEndian.PutUint32(message[4:], uint32(headers))
	binary.BigEndian.PutUint32(message[prelude:], crc32.ChecksumIEEE(message[:prelude]))
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(message))
}

// EventStream writes the events of an answer while they come to be. It is called
// once, after the answer's status and header were sent.
type EventStream func(w *EventWriter)

// eventPatience is how long a client may leave an event unread before its
// connection is cut.
const eventPatience = 2 * time.Minute

// EventWriter sends events to a client, each as soon as it is written.
type EventWriter struct {
	w   http.ResponseWriter
	c   *http.ResponseController
	buf []byte
	err error
}

// Write sends one event; see [AppendEvent]. It waits for a client that reads
// slowly, and fails when the client is gone or reads nothing for two minutes;
// then every further Write fails, too.
func (e *EventWriter) Write(eventType, contentType string, payload []byte) error {
	if e.err != nil {
		return e.err
	}
	_ = e.c.SetWriteDeadline(time.Now().Add(eventPatience)) // a connection without deadlines is not a client's
	e.buf = AppendEvent(e.buf[:0], eventType, contentType, payload)
	if _, e.err = e.w.Write(e.buf); e.err == nil {
		e.err = e.c.Flush()
	}
	return e.err
}

// WriteEvents sends a status and an event stream. When the client does not get
// all of it, it panics with http.ErrAbortHandler.
func WriteEvents(w http.ResponseWriter, status int, events EventStream) {
	e := &EventWriter{w: w, c: http.NewResponseController(w)}
	w.WriteHeader(status)
	e.err = e.c.Flush()
	events(e)
	if e.err != nil {
		// The client must not take what it has for all there is.
		panic(http.ErrAbortHandler)
	}
	_ = e.c.SetWriteDeadline(time.Time{}) // as in Write; the connection is for other requests again
}
