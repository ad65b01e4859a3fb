package wire

import (
	"bytes"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

// TestAppendEvent reads with the SDK's decoder, which checks lengths and sums.
func TestAppendEvent(t *testing.T) {
	t.Parallel()
	events := []struct{ eventType, contentType, payload string }{
		{"PayloadChunk", "application/octet-stream", "hello"},
		{"PayloadChunk", "application/octet-stream", string(bytes.Repeat([]byte{0, 255}, 100_000))},
		{"InvokeComplete", "application/json", "{}"},
		{"PayloadChunk", "application/octet-stream", ""},
	}
	var stream []byte
	for _, e := range events {
		stream = AppendEvent(stream, e.eventType, e.contentType, []byte(e.payload))
	}
	in := bytes.NewReader(stream)
	decoder := eventstream.NewDecoder()
	for i, want := range events {
		m, err := decoder.Decode(in, nil)
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		for name, value := range map[string]string{":event-type": want.eventType, ":content-type": want.contentType, ":message-type": "event"} {
			if got := m.Headers.Get(name); got == nil || got.String() != value {
				t.Errorf("message %d: %s = %v; want %s", i, name, got, value)
			}
		}
		if string(m.Payload) != want.payload {
			t.Errorf("message %d: payload of %d bytes; want %d", i, len(m.Payload), len(want.payload))
		}
	}
	if in.Len() > 0 {
		t.Errorf("%d bytes after the last message; want none", in.Len())
	}
}
