package runner

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner/telemetry"
)

// heard is a log that keeps what it hears.
type heard struct {
	texts []string
	times []time.Time
}

func (h *heard) Write(_ *lamina.Version, _ string, at time.Time, text []byte) {
	h.texts = append(h.texts, string(text))
	h.times = append(h.times, at)
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// listening is an output that nobody reads; the test appends what it would have
// read. Its clock goes on by a second each time it is asked.
func listening(t testing.TB, logging lamina.Logging) (*output, *heard) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	now := noon
	clock := func() time.Time {
		now = now.Add(time.Second)
		return now
	}
	hub := telemetry.New(t.Context(), telemetry.Options{Now: clock, Dial: func(context.Context, int) (net.Conn, error) { return nil, os.ErrClosed }})
	h := &heard{}
	o, err := newOutput(read, true, &lamina.Version{Config: lamina.Config{Logging: logging}}, "stream", h, hub, clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		hub.Close()
		read.Close()
		write.Close()
	})
	return o, h
}

// framed is a frame of text.
func framed(flags byte, at time.Time, text string) string {
	b := append(slices.Clone(frameMagic), flags)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	if flags&flagTime != 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(at.UnixMicro()))
	}
	return string(b) + text
}

func TestFrames(t *testing.T) {
	t.Parallel()
	head := func(length uint32) string {
		return string(binary.BigEndian.AppendUint32([]byte{0xa5, 0x5a, 0x00, 0x01}, length))
	}
	long := strings.Repeat("x", lineSize)
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"a frame is one event", framed(3, noon, "a\nb\n"), []string{"a\nb"}},
		{"lines are one each", "a\nb\n", []string{"a", "b"}},
		{"one without a time", framed(1, noon, "a\nb"), []string{"a\nb"}},
		{"frames and lines keep their order", "a\n" + framed(3, noon, "b\nc") + "d\n" + framed(2, noon, `{"e":1}`) + framed(0x17, noon, "f") + "g\n", []string{"a", "b\nc", "d", `{"e":1}`, "f", "g"}},
		{"a frame within a line does not end it", "be" + framed(3, noon, "frame") + "gun\n", []string{"frame", "begun"}},
		{"only one newline is the end", framed(3, noon, "a\n\n"), []string{"a\n"}},
		{"an empty one", framed(3, noon, "") + framed(1, noon, "") + "a\n", []string{"", "", "a"}},
		{"a frame in a frame is text", framed(3, noon, framed(3, noon, "a")), []string{framed(3, noon, "a")}},
		{"what is too long is cut", framed(3, noon, long+"y\n"), []string{long, "y"}},
		{"as long as can be", framed(3, noon, long), []string{long}},
		{"a line that is too long is cut", long + "y\n", []string{long, "y"}},
		{"a length beyond reason", head(frameSize+1) + "a\nb\n", []string{head(frameSize+1) + "a", "b"}},
		{"the greatest length", head(1<<32-1) + "a\n", []string{head(1<<32-1) + "a"}},
		{"flags that mean nothing", "\xa5\x5a\x00\x20\x00\x00\x00\x01a\n", []string{"\xa5\x5a\x00\x20\x00\x00\x00\x01a"}},
		{"nearly a head", "\xa5\xa5\x5a\xa5\x5a\x01\n", []string{"\xa5\xa5\x5a\xa5\x5a\x01"}},
		{"a head after one that is none", "\xa5" + framed(3, noon, "a\nb") + "\n", []string{"a\nb", "\xa5"}},
		{"text of the same bytes", "¥Z¥\n", []string{"¥Z¥"}},
		{"a line as long as can be", long + "\ny\n", []string{long, "y"}},
		{"a line without an end", "a\nb", []string{"a", "b"}},
		{"the begin of a head at the end", "a\xa5\x5a", []string{"a\xa5\x5a"}},
		{"half a head at the end", "a" + head(7)[:6], []string{"a"}},
		{"half a frame at the end", "a\n" + head(7) + "b\nc", []string{"a", "b\nc"}},
	} {
		for _, size := range []int{1 << 20, 1, 3, 5000} { // as read at once, byte by byte, …
			if size < 5 && len(c.in) > 1000 {
				continue
			}
			o, h := listening(t, lamina.Logging{})
			for part := range slices.Chunk([]byte(c.in), size) {
				o.append(o.function, part)
			}
			o.restart()
			if !slices.Equal(h.texts, c.want) {
				t.Errorf("%s, %d bytes at a time:\n got %.200q\nwant %.200q", c.name, size, h.texts, c.want)
			}
		}
	}
}

// TestFrameTimes: an event has the time that its frame says, unless that would
// put it before the one before it, or into the future.
func TestFrameTimes(t *testing.T) {
	t.Parallel()
	o, h := listening(t, lamina.Logging{}) // at 1 second
	o.append(o.function, []byte("line\n"+  // at 2 seconds
		framed(3, noon, "before that")+framed(3, noon.Add(1500*time.Millisecond), "too")))
	o.append(o.function, []byte(framed(3, noon.Add(2500*time.Millisecond), "as said")+ // at 3
		framed(3, noon.Add(time.Hour), "later")+framed(1, noon, "does not say")+framed(3, time.UnixMicro(-1), "absurd")))
	var got []time.Duration
	for _, at := range h.times {
		got = append(got, at.Sub(noon))
	}
	want := []time.Duration{2 * time.Second, 2 * time.Second, 2 * time.Second, 2500 * time.Millisecond, 3 * time.Second, 3 * time.Second, 3 * time.Second}
	if !slices.Equal(got, want) {
		t.Errorf("times of %q = %v; want %v", h.texts, got, want)
	}
}

// TestFrameLevels: with the JSON format the level in a frame's head counts, and
// without one what the object says.
func TestFrameLevels(t *testing.T) {
	t.Parallel()
	o, h := listening(t, lamina.Logging{Format: "JSON", ApplicationLevel: "WARN"})
	var in string
	for l := range 8 {
		in += framed(byte(2|l<<flagsLevel), noon, fmt.Sprint("frame ", l)) + framed(byte(3|l<<flagsLevel), noon, fmt.Sprint("text ", l))
	}
	for _, l := range []string{"DEBUG", "ERROR"} {
		in += framed(2, noon, `{"level":"`+l+`"}`)
	}
	o.append(o.function, []byte(in+"line\n"))
	want := []string{
		"frame 0", "text 0", "frame 4", "text 4", "frame 5", "text 5", "frame 6", "text 6", "frame 7", "text 7", `{"level":"ERROR"}`, "line",
	}
	if !slices.Equal(h.texts, want) {
		t.Errorf("events = %q; want %q", h.texts, want)
	}
}

// TestFrameTail: the tail has events as the log does, each with its newline.
func TestFrameTail(t *testing.T) {
	t.Parallel()
	o, _ := listening(t, lamina.Logging{})
	o.expect(true)
	o.append(o.function, []byte("a\nbe"+framed(3, noon, "b\nc")+"gun\n"+framed(3, noon, "d\n")+"e"))
	if got, want := string(o.end(noon, "")), "a\nb\nc\nbegun\nd\ne\n"; got != want {
		t.Errorf("tail = %q; want %q", got, want)
	}
}

// TestFrameGivenUp: a frame may end in the next invocation, but what never ends
// does not hide the log for long.
func TestFrameGivenUp(t *testing.T) {
	t.Parallel()
	say := func(text string) event {
		return event{kind: "platform.x", text: func() string { return text }, record: func(bool) string { return "{}" }}
	}
	invocation := func(o *output, in string) {
		o.begin(noon, say("START"))
		o.append(o.function, []byte(in))
		o.end(noon, "", say("END"))
	}
	whole := framed(3, noon, "a\nb")
	for _, c := range []struct {
		name string
		in   []string
		want string
	}{
		{"ends in the next", []string{whole[:5], whole[5:] + "c\n"}, "START END START a|b c END"},
		{"never ends", []string{whole[:18], "", "b\nc\n"}, "START END START END a START b c END"},
		{"never begins", []string{whole[:9], "", "b\nc\n"}, "START END START END START b c END"},
		{"hides one invocation at most", []string{framed(3, noon, strings.Repeat("x", 99))[:16], "a\nb\n", "c\n"}, "START END START END a|b START c END"},
	} {
		o, h := listening(t, lamina.Logging{})
		for _, in := range c.in {
			invocation(o, in)
		}
		if got := strings.ReplaceAll(strings.Join(h.texts, " "), "\n", "|"); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// FuzzFrames: whatever bytes come, in whatever parts, they end in the same events,
// none is longer than one may be, and no more is kept than of one.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("a\nb"+framed(3, noon, "c\nd")+"e\n"), 3)
	f.Add([]byte(framed(1, noon, "a")+"\xa5\x5a\x00"), 1)
	f.Add([]byte("\xa5\x5a\x00\x01\xff\xff\xff\xff\n\xa5\x5a\x00\x1f\x00\x00\x00\x20"), 5)
	f.Add([]byte("\xa5\xa5\x5a\x00\x01\x00\x00\x00"), 2)
	f.Add([]byte(framed(3, noon, strings.Repeat("x", 100))[:60]), 7)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		o, whole := listening(t, lamina.Logging{})
		o.append(o.function, bytes.Clone(in))
		o.restart()
		p, parts := listening(t, lamina.Logging{})
		size = max(size&0xfff, 1)
		for part := range slices.Chunk(in, size) {
			p.append(p.function, bytes.Clone(part))
			if s := p.function; cap(s.text) > 2*lineSize || cap(s.line) > 2*lineSize || len(s.head) >= frameHead {
				t.Fatalf("keeps %d, %d and %d bytes", cap(s.text), cap(s.line), len(s.head))
			}
		}
		p.restart()
		if !slices.Equal(whole.texts, parts.texts) {
			t.Errorf("%q in parts of %d = %q; at once %q", in, size, parts.texts, whole.texts)
		}
		for _, text := range whole.texts {
			if len(text) > lineSize {
				t.Errorf("an event of %d bytes", len(text))
			}
		}
		if s := p.function; s.inFrame || len(s.head)+len(s.text)+len(s.line) > 0 {
			t.Errorf("%q leaves something: %+v", in, s)
		}
	})
}
