package logs

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestFramesReadBack(t *testing.T) {
	t.Parallel()
	b := appendStreamFrame(nil, &stream{id: 7, name: "s", created: 5, own: true})
	b = appendEventsFrame(b, 7, 100, 50, []event{{30, []byte("a")}, {20, nil}, {40, []byte("bc")}})
	b = appendGoneFrame(b, 7)
	var kinds []byte
	end, err := newFrameReader().read(bytesAt(b), 0, int64(len(b)), func(payload []byte) error {
		kinds = append(kinds, payload[0])
		c := cursor{b: payload[1:]}
		switch payload[0] {
		case kindStream:
			if s := c.streamHead(); *s != (stream{id: 7, name: "s", created: 5, own: true}) {
				t.Errorf("stream %+v", *s)
			}
		case kindEvents:
			h := c.eventsHead()
			if h != (eventsHead{stream: 7, first: 100, ingested: 50, earliest: 20, latest: 40, count: 3}) {
				t.Errorf("head %+v", h)
			}
			for i, want := range []event{{30, []byte("a")}, {20, nil}, {40, []byte("bc")}} {
				if e := c.event(&h); e.time != want.time || string(e.message) != string(want.message) {
					t.Errorf("event %d is %v; want %v", i, e, want)
				}
			}
		}
		if c.bad {
			t.Errorf("frame of kind %d can't be read", payload[0])
		}
		return nil
	})
	if err != nil || end != int64(len(b)) || string(kinds) != "\x01\x03\x02" {
		t.Errorf("read %d of %d bytes, kinds %v: %v", end, len(b), kinds, err)
	}
	// Each byte matters: with one bit of it turned the frame does not count.
	for i := range b {
		damaged := append([]byte(nil), b...)
		damaged[i] ^= 0x10
		end, err := newFrameReader().read(bytesAt(damaged), 0, int64(len(b)), func([]byte) error { return nil })
		if !errors.Is(err, errTorn) || end > int64(i) {
			t.Fatalf("byte %d turned: read %d bytes, %v; want errTorn before it", i, end, err)
		}
	}
}

// FuzzSegment has a group read a segment, and an index, of any bytes: whole frames
// of nonsense too.
func FuzzSegment(f *testing.F) {
	whole := appendEventsFrame(appendStreamFrame(nil, &stream{id: 2, name: "s", created: 5, own: true}), 2, 3, 50, []event{{30, []byte("a")}})
	f.Add(whole, []byte(nil))
	f.Add(whole[:len(whole)-1], []byte("\x04\x01\x20\x00\x00\x00\x00\x00"))
	f.Add(appendEventsFrame(nil, 2, math.MaxUint64, 50, []event{{0, []byte("a")}, {math.MaxInt64, nil}}), []byte("\x06\x05"))
	f.Fuzz(func(t *testing.T, frames, payload []byte) {
		// Without the store's own hand: that syncs, and there are many of these.
		dir := t.TempDir()
		own := filepath.Join(dir, here.Account, here.Region, "g")
		if err := errors.Join(os.MkdirAll(own, 0o700), os.WriteFile(filepath.Join(own, descriptionFile), []byte(`{"Name":"g"}`), 0o600)); err != nil {
			t.Fatal(err)
		}
		if len(payload) > 0 { // as a frame with a sum that fits
			for _, kind := range []byte{kindStream, kindGone, kindEvents} {
				b, start := openFrame(nil, kind)
				frames = append(frames, closeFrame(append(b, payload...), start)...)
			}
			b, start := openFrame([]byte(indexHead), payload[0])
			index := closeFrame(append(b, payload[1:]...), start)
			if err := os.WriteFile(filepath.Join(own, indexFile), index, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(own, segmentName(1)), append([]byte(segmentHead), frames...), 0o600); err != nil {
			t.Fatal(err)
		}
		fx := open(t, dir, 0)
		if _, err := fx.try("FilterLogEvents", object{"logGroupName": "g"}); err != nil {
			t.Errorf("FilterLogEvents = %v", err)
		}
		if _, err := fx.try("DescribeLogStreams", object{"logGroupName": "g"}); err != nil {
			t.Errorf("DescribeLogStreams = %v", err)
		}
	})
}
