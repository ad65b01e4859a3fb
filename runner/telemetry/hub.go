package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Errors that [Hub.Subscribe] returns besides those about the request itself.
var (
	// ErrClosed says that the initialization, and with it the time to subscribe, is over.
	ErrClosed = errors.New("subscription is closed already")
	// errOther says that the extension uses the other API.
	errOther = errors.New("an extension can subscribe to the Telemetry API or to the Logs API, not to both")
)

const (
	keptEvents = 1000 // from before a subscription
	keptBytes  = 256 << 10
)

// Options configures a [Hub]. All are required.
type Options struct {
	// Dial connects to a port inside the environment.
	Dial func(ctx context.Context, port int) (net.Conn, error)
	Now  func() time.Time
}

// event is one of those that Publish was given.
type event struct {
	category Category
	kind     string
	at       time.Time
	record   []byte // JSON
	line     bool   // record is a log line; object is it as JSON, if it is an object
	object   []byte
}

func (e *event) size() int { return len(e.record) + len(e.kind) + 64 }

// Hub is the telemetry of one environment. Its methods may be called from
// several goroutines. Whoever made it closes it.
type Hub struct {
	options Options
	life    context.Context // of what is sent
	wanted  atomic.Bool     // there is a subscriber, or may be one

	mu       sync.Mutex
	open     bool // for subscriptions
	closed   bool
	kept     []event
	bytes    int
	subs     map[string]*subscriber // by extension
	watching map[Category]bool

	sending sync.WaitGroup
}

// New returns a hub that takes subscriptions. Nothing is sent after ctx.
func New(ctx context.Context, o Options) *Hub {
	h := &Hub{options: o, life: ctx, open: true, subs: map[string]*subscriber{}, watching: map[Category]bool{}}
	h.wanted.Store(true)
	return h
}

// Wanted says whether anybody gets, or may come to get, what is published.
func (h *Hub) Wanted() bool { return h.wanted.Load() }

// Subscribe starts the delivery to an extension, or changes it when it was
// subscribed, and returns the streams that it chose. The error is for the
// extension to read, and [ErrClosed] when it is late.
func (h *Hub) Subscribe(extension string, api API, body []byte) ([]Category, error) {
	s, err := parse(api, body)
	h.mu.Lock()
	if !h.open || h.closed {
		h.mu.Unlock()
		return nil, ErrClosed
	}
	if err != nil {
		h.mu.Unlock()
		return nil, err
	}
	former := h.subs[extension]
	if former != nil && former.subscription.api != api {
		h.mu.Unlock()
		return nil, errOther
	}
	sub := newSubscriber(h, s)
	if former == nil {
		for i := range h.kept {
			sub.add(&h.kept[i])
		}
	}
	h.subs[extension] = sub
	for _, c := range s.types {
		h.watching[c] = true
	}
	h.sending.Go(sub.run)
	h.mu.Unlock()
	if former != nil {
		former.stop(false)
	}
	return s.types, nil
}

// CloseSubscriptions ends the time to subscribe.
func (h *Hub) CloseSubscriptions() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = false
	h.kept, h.bytes = nil, 0
	h.wanted.Store(len(h.subs) > 0)
}

// Publish tells of an event whose record is JSON and the hub's from now on.
func (h *Hub) Publish(c Category, kind string, at time.Time, record []byte) {
	if h.Wanted() {
		h.publish(event{category: c, kind: kind, at: at, record: record})
	}
}

// PublishLine tells of a line that a process printed. If it is a JSON object and
// structured, newer subscribers get it as one, not as a string.
func (h *Hub) PublishLine(c Category, at time.Time, line []byte, structured bool) {
	if !h.Wanted() || !h.watches(c) {
		return
	}
	record, err := json.Marshal(string(line) + "\n")
	if err != nil {
		return // a string can be encoded
	}
	e := event{category: c, kind: string(c), at: at, record: record, line: true}
	if structured && len(line) > 1 && line[0] == '{' && json.Valid(line) {
		e.object = append([]byte(nil), line...)
	}
	h.publish(e)
}

// watches says whether an event of a category can be of use to anybody.
func (h *Hub) watches(c Category) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open || h.watching[c]
}

func (h *Hub) publish(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	if h.open && len(h.kept) < keptEvents && h.bytes+e.size() <= keptBytes {
		h.kept = append(h.kept, e)
		h.bytes += e.size()
	}
	for _, s := range h.subs {
		s.add(&e)
	}
}

// Flush makes buffered events leave now.
func (h *Hub) Flush() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.subs {
		s.flush()
	}
}

// Drain makes buffered events leave and waits until they have, at most until ctx
// ends.
func (h *Hub) Drain(ctx context.Context) {
	h.mu.Lock()
	var idle []<-chan struct{}
	for _, s := range h.subs {
		idle = append(idle, s.drained())
	}
	h.mu.Unlock()
	for _, c := range idle {
		select {
		case <-c:
		case <-ctx.Done():
			return
		}
	}
}

// Reset ends all subscriptions, with what is buffered, and takes new ones: the
// processes are gone and others start.
func (h *Hub) Reset() {
	h.mu.Lock()
	subs := h.subs
	h.subs, h.watching = map[string]*subscriber{}, map[Category]bool{}
	h.kept, h.bytes = nil, 0
	h.open = !h.closed
	h.wanted.Store(h.open)
	h.mu.Unlock()
	for _, s := range subs {
		s.stop(true)
	}
}

// Close ends everything and returns when nothing is sent any more. The
// connections end at the latest with the environment.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.Reset()
	h.sending.Wait()
}

const stampLayout = "2006-01-02T15:04:05.000Z"

// encode is the event as a subscriber reads it.
func (s *subscription) encode(e *event) []byte {
	kind := e.kind
	if s.api == Logs && kind == "platform.telemetrySubscription" {
		kind = "platform.logsSubscription"
	}
	record := e.record
	if s.objects && e.object != nil {
		record = e.object
	}
	return fmt.Appendf(nil, `{"time":"%s","type":"%s","record":%s}`, e.at.UTC().Format(stampLayout), kind, record)
}

// accepts says whether the subscription has a word for the event.
func (s *subscription) accepts(e *event) bool {
	if !s.wants(e.category) {
		return false
	}
	switch e.kind {
	case "platform.end", "platform.fault":
		return s.api == Logs
	case "platform.initStart", "platform.initRuntimeDone", "platform.initReport",
		"platform.restoreStart", "platform.restoreRuntimeDone", "platform.restoreReport":
		return s.api == Telemetry
	case "platform.runtimeDone":
		return s.done
	}
	return true
}
