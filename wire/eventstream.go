package wire

import (
	"encoding/binary"
	"hash/crc32"
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
