package telemetry

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// received is what a listener got.
type received struct {
	mu     sync.Mutex
	events []map[string]any
	posts  int
	paths  []string
	more   chan struct{} // capacity 1; the listener sends without waiting
}

func (r *received) add(t *testing.T, text []byte) {
	t.Helper()
	var events []map[string]any
	if err := json.Unmarshal(text, &events); err != nil {
		t.Errorf("%s: %v", text, err)
	}
	r.mu.Lock()
	r.events = append(r.events, events...)
	r.posts++
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *received) kinds() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.events {
		out = append(out, e["type"].(string))
	}
	return out
}

// await waits until the listener has n events.
func (r *received) await(t *testing.T, n int) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		if len(r.kinds()) >= n {
			return
		}
		select {
		case <-r.more:
		case <-timeout:
			t.Fatalf("got %v; want %d events", r.kinds(), n)
		}
	}
}

func newHub(t *testing.T, dial func(context.Context, int) (net.Conn, error)) *Hub {
	t.Helper()
	h := New(t.Context(), Options{Dial: dial, Now: time.Now})
	t.Cleanup(h.Close)
	return h
}

func listen(t *testing.T, status int) (*received, func(context.Context, int) (net.Conn, error)) {
	t.Helper()
	r := &received{more: make(chan struct{}, 1)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		r.paths = append(r.paths, q.Method+" "+q.Host+q.URL.Path)
		r.mu.Unlock()
		w.WriteHeader(status)
		r.add(t, body)
	}))
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	return r, func(ctx context.Context, _ int) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
}

const destination = `"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:8080/x"}`

func request(version, types, more string) []byte {
	return []byte(`{"schemaVersion":"` + version + `","types":` + types + `,` + destination + more + `}`)
}

func TestDelivery(t *testing.T) {
	t.Parallel()
	got, dial := listen(t, 200)
	h := newHub(t, dial)
	h.Publish(Platform, "platform.initStart", time.Unix(0, 0), []byte(`{"phase":"init"}`))
	h.PublishLine(Function, time.Unix(1, 0), []byte("before"), false)
	types, err := h.Subscribe("agent", Telemetry, request("2022-12-13", `["platform","function"]`, `,"buffering":{"timeoutMs":25}`))
	if err != nil || !slices.Equal(types, []Category{Platform, Function}) {
		t.Fatalf("Subscribe = %v, %v", types, err)
	}
	h.PublishLine(Extension, time.Unix(1, 0), []byte("not wanted"), false)
	h.PublishLine(Function, time.Unix(1, 0), []byte(`{"level":"INFO"}`), true)
	h.Publish(Platform, "platform.end", time.Unix(2, 0), []byte(`{}`))
	h.Publish(Platform, "platform.report", time.Unix(2, 0), []byte(`{"requestId":"1"}`))
	got.await(t, 4)
	if want := []string{"platform.initStart", "function", "function", "platform.report"}; !slices.Equal(got.kinds(), want) {
		t.Errorf("events = %v; want %v", got.kinds(), want)
	}
	got.mu.Lock()
	defer got.mu.Unlock()
	if got.events[0]["time"] != "1970-01-01T00:00:00.000Z" || got.events[1]["record"] != "before\n" {
		t.Errorf("events = %v", got.events)
	}
	if object, ok := got.events[2]["record"].(map[string]any); !ok || object["level"] != "INFO" {
		t.Errorf("record of a JSON line = %v; want the object", got.events[2]["record"])
	}
	if got.paths[0] != "POST sandbox.localdomain:8080/x" {
		t.Errorf("request = %s", got.paths[0])
	}
}

func TestLateAndMixedSubscriptions(t *testing.T) {
	t.Parallel()
	_, dial := listen(t, 200)
	h := newHub(t, dial)
	if _, err := h.Subscribe("agent", Logs, request("2020-08-15", `["platform"]`, "")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Subscribe("agent", Telemetry, request("2022-07-01", `["platform"]`, "")); err == nil || errors.Is(err, ErrClosed) {
		t.Errorf("the other API = %v; want an error of its own", err)
	}
	if _, err := h.Subscribe("agent", Logs, request("2021-03-18", `["function"]`, "")); err != nil {
		t.Errorf("once more = %v; want nil", err)
	}
	h.CloseSubscriptions()
	if !h.Wanted() {
		t.Error("Wanted with a subscriber = false")
	}
	if _, err := h.Subscribe("late", Telemetry, request("2022-07-01", `["platform"]`, "")); !errors.Is(err, ErrClosed) {
		t.Errorf("late = %v; want ErrClosed", err)
	}
	h.Reset()
	if _, err := h.Subscribe("late", Telemetry, request("2022-07-01", `["platform"]`, "")); err != nil {
		t.Errorf("after Reset = %v; want nil", err)
	}
	quiet := newHub(t, dial)
	quiet.CloseSubscriptions()
	if quiet.Wanted() {
		t.Error("Wanted without a subscriber = true")
	}
}

// TestSlowSubscriber never answers: publishing goes on, memory is bounded, and
// what is dropped is told.
func TestSlowSubscriber(t *testing.T) {
	t.Parallel()
	release := make(chan struct{}) // closed by the test
	got := &received{more: make(chan struct{}, 1)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		<-release
		body, err := io.ReadAll(q.Body)
		if err != nil {
			t.Error(err)
		}
		got.add(t, body)
	}))
	t.Cleanup(server.Close)
	h := newHub(t, func(ctx context.Context, _ int) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", server.Listener.Addr().String())
	})
	if _, err := h.Subscribe("agent", Telemetry, request("2022-07-01", `["platform","function"]`, `,"buffering":{"maxItems":1000,"timeoutMs":25}`)); err != nil {
		t.Fatal(err)
	}
	const n = 20_000
	begin := time.Now()
	for i := range n {
		h.PublishLine(Function, time.Now(), fmt.Appendf(nil, "line %d", i), false)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("publishing took %v; want it not to wait", took)
	}
	h.mu.Lock()
	sub := h.subs["agent"]
	h.mu.Unlock()
	sub.mu.Lock()
	buffered := len(sub.events)
	sub.mu.Unlock()
	if buffered > 1000 {
		t.Errorf("%d events buffered; want at most 1000", buffered)
	}
	close(release)
	// What was dropped is told with what is delivered next, so perhaps in parts.
	for deadline := time.Now().Add(20 * time.Second); ; {
		if records, size := got.dropped(t); records >= n-2*1000-1 && size > 0 {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("%v records of %v bytes are told to be dropped; want at least %d", records, size, n-2*1000-1)
		}
		select {
		case <-got.more:
		case <-time.After(time.Second):
		}
	}
}

// dropped adds up what was told to be dropped.
func (r *received) dropped(t *testing.T) (records, size float64) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e["type"] != "platform.logsDropped" {
			continue
		}
		told := e["record"].(map[string]any)
		if told["reason"] != fallenBehind {
			t.Errorf("platform.logsDropped = %v", told)
		}
		records += told["droppedRecords"].(float64)
		size += told["droppedBytes"].(float64)
	}
	return records, size
}

func TestRetriesAndEnds(t *testing.T) {
	t.Parallel()
	got, dial := listen(t, 200)
	var mu sync.Mutex
	failures := 3
	h := newHub(t, func(ctx context.Context, port int) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if failures > 0 {
			failures--
			return nil, syscall.ECONNREFUSED
		}
		return dial(ctx, port)
	})
	if _, err := h.Subscribe("agent", Telemetry, request("2022-07-01", `["platform"]`, "")); err != nil {
		t.Fatal(err)
	}
	h.Publish(Platform, "platform.start", time.Now(), []byte("{}"))
	h.Drain(t.Context())
	if len(got.kinds()) != 1 {
		t.Errorf("events = %v; want the one that took four attempts", got.kinds())
	}

	// A subscriber whose connection never comes does not keep Close waiting.
	stuck := newHub(t, func(ctx context.Context, _ int) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if _, err := stuck.Subscribe("agent", Telemetry, request("2022-07-01", `["platform"]`, "")); err != nil {
		t.Fatal(err)
	}
	stuck.Publish(Platform, "platform.start", time.Now(), []byte("{}"))
	stuck.Flush()
	stuck.Close()
}

func TestTCP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := newHub(t, func(ctx context.Context, _ int) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	})
	if _, err := h.Subscribe("agent", Telemetry, []byte(`{"schemaVersion":"2022-07-01","types":["function"],"destination":{"protocol":"TCP","port":8080},"buffering":{"timeoutMs":25}}`)); err != nil {
		t.Fatal(err)
	}
	h.PublishLine(Function, time.Unix(0, 0), []byte("one"), false)
	h.PublishLine(Function, time.Unix(0, 0), []byte(`{"two":2}`), true)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for _, want := range []string{
		`{"time":"1970-01-01T00:00:00.000Z","type":"function","record":"one\n"}`,
		`{"time":"1970-01-01T00:00:00.000Z","type":"function","record":"{\"two\":2}\n"}`, // the first schema has strings only
	} {
		line, err := r.ReadString('\n')
		if err != nil || line != want+"\n" {
			t.Errorf("line = %q, %v; want %s", line, err, want)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, body, want string }{
		{"all is well", `{"schemaVersion":"2022-07-01","types":["platform"],` + destination + `}`, ""},
		{"a path and the short name", `{"schemaVersion":"2025-01-29","types":["platform"],"destination":{"protocol":"HTTP","URI":"http://sandbox:8080/a/b?c"}}`, ""},
		{"bounds are inclusive", `{"schemaVersion":"2022-07-01","types":["platform"],"buffering":{"maxItems":10000,"maxBytes":1048576,"timeoutMs":30000},` + destination + `}`, ""},
		{"nothing", `{}`, "schemaVersion is not provided; types should not be empty; destination is not provided"},
		{"no JSON", `{`, "request body is not valid"},
		{"no port, no types", `{"schemaVersion":"2022-07-01","types":[],"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain"}}`, "types should not be empty; URI port is not provided"},
		{"another host", `{"schemaVersion":"2022-07-01","types":["platform"],"destination":{"protocol":"HTTP","URI":"http://169.254.169.254:80"}}`, "URI host should be sandbox.localdomain"},
		{"another scheme", `{"schemaVersion":"2022-07-01","types":["platform"],"destination":{"protocol":"HTTP","URI":"https://sandbox.localdomain:80"}}`, "URI should start with http://"},
		{"the reserved port", `{"schemaVersion":"2022-07-01","types":["platform"],"destination":{"protocol":"TCP","port":9001}}`, "port 9001 is reserved"},
		{"a port that is none", `{"schemaVersion":"2022-07-01","types":["platform"],"destination":{"protocol":"TCP","port":70000}}`, "port should be between 1 and 65535"},
		{"no port of TCP", `{"schemaVersion":"2022-07-01","types":["platform"],"destination":{"protocol":"TCP"}}`, "port is not provided"},
		{"another protocol", `{"schemaVersion":"2022-07-01","types":["platform"],"destination":{"protocol":"UDP"}}`, "protocol should be HTTP or TCP"},
		{"another version", `{"schemaVersion":"2020-01-01","types":["platform"],` + destination + `}`, "schemaVersion should be one of"},
		{"another type", `{"schemaVersion":"2022-07-01","types":["platform","x"],` + destination + `}`, "types should be platform, function or extension"},
		{"too few items", `{"schemaVersion":"2022-07-01","types":["platform"],"buffering":{"maxItems":999},` + destination + `}`, "buffering.maxItems should be between 1000 and 10000"},
		{"too many bytes", `{"schemaVersion":"2022-07-01","types":["platform"],"buffering":{"maxBytes":1048577},` + destination + `}`, "buffering.maxBytes should be between 262144 and 1048576"},
		{"too short a time", `{"schemaVersion":"2022-07-01","types":["platform"],"buffering":{"timeoutMs":24},` + destination + `}`, "buffering.timeoutMs should be between 25 and 30000"},
		{"a fraction", `{"schemaVersion":"2022-07-01","types":["platform"],"buffering":{"timeoutMs":25.5},` + destination + `}`, "buffering.timeoutMs should be between 25 and 30000"},
	} {
		_, err := parse(Telemetry, []byte(c.body))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v; want nil", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v; want %s", c.name, err, c.want)
		}
	}
}

// FuzzParse feeds what an extension may send. A subscription that is accepted
// stays within AWS's bounds and within the environment.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":"2022-07-01","types":["platform"],` + destination + `}`))
	f.Add([]byte(`{"schemaVersion":"2022-07-01","types":["function"],"destination":{"protocol":"TCP","port":1}}`))
	f.Add([]byte(`{"schemaVersion":"2022-07-01","types":["function"],"destination":{"protocol":"HTTP","URI":"http://sandbox:1@x:2/"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, api := range []API{Telemetry, Logs} {
			s, err := parse(api, body)
			if err != nil {
				continue
			}
			if s.port < 1 || s.port > 65535 || s.port == reservedPort || len(s.types) == 0 || len(s.types) > 3 ||
				s.items < minItems || s.items > maxItems || s.bytes < minBytes || s.bytes > maxBytes || s.timeout < minTimeout*time.Millisecond {
				t.Errorf("parse(%s) = %+v", body, s)
			}
			if s.http {
				if _, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://sandbox.localdomain:%d%s", s.port, s.path), nil); err != nil {
					t.Errorf("parse(%s) = path %q: %v", body, s.path, err)
				}
			}
		}
	})
}
