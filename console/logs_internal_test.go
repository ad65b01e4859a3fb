package console

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// fakeLog is a log group whose lines arrive out of the order of their times.
type fakeLog struct {
	events []logEvent // by their times, and then as they arrived
	page   int
}

func (f *fakeLog) add(at int64) {
	n := len(f.events)
	e := logEvent{EventID: fmt.Sprintf("%020d%036d", at, n), Timestamp: at, Message: fmt.Sprintf("line-%d\n", n), LogStreamName: "s"}
	i, _ := slices.BinarySearchFunc(f.events, e, func(a, b logEvent) int { return strings.Compare(a.EventID, b.EventID) })
	f.events = slices.Insert(f.events, i, e)
}

// Do implements API: FilterLogEvents.
func (f *fakeLog) Do(_ string, req *http.Request) (*http.Response, error) {
	var in struct {
		StartTime, EndTime int64
		NextToken          string
		Limit              int
	}
	if err := json.NewDecoder(req.Body).Decode(&in); err != nil {
		return nil, err
	}
	out := map[string]any{}
	var page []any
	for _, e := range f.events {
		if e.Timestamp < in.StartTime || e.EventID < in.NextToken {
			continue
		}
		if len(page) == min(f.page, in.Limit) {
			out["nextToken"] = e.EventID
			break
		}
		page = append(page, map[string]any{"eventId": e.EventID, "timestamp": e.Timestamp, "message": e.Message, "logStreamName": e.LogStreamName})
	}
	out["events"] = page
	w := httptest.NewRecorder()
	if err := json.NewEncoder(w).Encode(out); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// TestTail follows logs whose lines arrive up to nine seconds late, on pages of
// several sizes, and shows each once.
func TestTail(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 7))
		now := time.UnixMilli(1_700_000_000_000)
		log := &fakeLog{page: 20 + r.IntN(40)}
		v := &visit{Console: &Console{o: Options{API: log, Now: func() time.Time { return now }}}, req: httptest.NewRequest(http.MethodGet, "/", nil)}
		state := tailing{Spans: []tailed{{Time: now.UnixMilli()}}}
		seen := map[string]int{}
		read := func() bool {
			text, more, err := v.readTail("g", "", nil, &state, 20+r.IntN(60), 1000+r.IntN(4000))
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(text) {
				seen[strings.TrimSpace(line[strings.Index(line, "line-"):])]++
			}
			next, ok := readTailing(state.text()) // it goes through the browser
			if !ok {
				t.Fatalf("seed %d: the state %+v does not come back", seed, state)
			}
			state = next
			return more
		}
		for range 30 {
			for range r.IntN(30) {
				late := int64(0)
				if r.IntN(3) == 0 {
					late = r.Int64N(min(9000, now.UnixMilli()-1_700_000_000_000+1))
				}
				log.add(now.UnixMilli() - late)
				now = now.Add(time.Duration(r.IntN(3)) * time.Millisecond)
			}
			for range 40 { // or as far as it goes
				if !read() {
					break
				}
			}
			now = now.Add(time.Duration(r.IntN(4000)) * time.Millisecond)
			if len(state.text()) > 2000 {
				t.Fatalf("seed %d: the state has %d bytes", seed, len(state.text()))
			}
		}
		for i := 0; read(); i++ {
			if i > 10_000 {
				t.Fatalf("seed %d: the log has no end", seed)
			}
		}
		for _, e := range log.events {
			if n := seen[strings.TrimSpace(e.Message)]; n != 1 {
				t.Fatalf("seed %d: %s is there %d times; want once", seed, strings.TrimSpace(e.Message), n)
			}
		}
	}
}

// FuzzTailing reads states that no page of ours made.
func FuzzTailing(f *testing.F) {
	f.Add((&tailing{Spans: []tailed{{Time: 1, Number: 2, Seen: 3}, {Time: 2}}, Token: "t"}).text(), int64(5), "token", true)
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"s":[{"t":-9223372036854775808},{"t":9223372036854775807,"m":18446744073709551615}]}`)), int64(-1), "", false)
	f.Fuzz(func(t *testing.T, text string, at int64, token string, cut bool) {
		state, ok := readTailing(text)
		if !ok {
			return
		}
		read := []logEvent{{Timestamp: at, EventID: strings.Repeat("0", 55) + "7"}, {Timestamp: at, EventID: text}}
		for range 4 {
			state.advance(read, cut, token, time.UnixMilli(at))
			if n := len(state.Spans); n == 0 || n > 2*maxTails {
				t.Fatalf("%d spans", n)
			}
			if _, ok := readTailing(state.text()); !ok && len(token) < 1000 && strings.ToValidUTF8(token, "") == token {
				t.Fatalf("%+v does not come back", state)
			}
		}
	})
}

func TestChart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ most, top, step float64 }{{0, 1, 1}, {1, 1, 0.2}, {0.93, 1, 0.2}, {7, 8, 2}, {10, 10, 2}, {43, 50, 10}, {1234567, 1500000, 500000}} {
		top, step := scale(c.most)
		if top < c.most || fmt.Sprintf("%.4g %.4g", top, step) != fmt.Sprintf("%.4g %.4g", c.top, c.step) {
			t.Errorf("scale(%g) = %g, %g; want %g, %g", c.most, top, step, c.top, c.step)
		}
	}
	for v, want := range map[float64]string{0: "0", 0.2: "0.2", 12.345: "12.3", 1234.5: "1235", 12345: "12.3k", 1234567: "1.23M"} {
		if got := figure(v); got != want {
			t.Errorf("figure(%g) = %s; want %s", v, got, want)
		}
	}
}

func TestLineEnds(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]ends{"": unixEnds, "a\n": unixEnds, "a": unixEnds, "a\r\nb\r\n": dosEnds, "a\r\nb": dosEnds, "a\r\nb\n": mixedEnds, "a\rb": mixedEnds, "a\r\r\n": mixedEnds} {
		got := lineEnds(text)
		if got != want {
			t.Errorf("lineEnds(%q) = %d; want %d", text, got, want)
		}
		sent := strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n") // as browsers do
		if back := withEnds(sent, got); got != mixedEnds && back != text {
			t.Errorf("%q comes back as %q", text, back)
		}
	}
}
