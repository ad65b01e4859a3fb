package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	attempts   = 5                     // to deliver one batch
	firstPause = 50 * time.Millisecond // after a failed one; then twice as long each time
	lastPause  = time.Second
	maxAnswer  = 64 << 10 // of an extension's answer that is read

	fallenBehind = "Consumer seems to have fallen behind as it has not acknowledged receipt of logs."
)

// subscriber is the buffer of one extension and what empties it.
type subscriber struct {
	hub          *Hub
	subscription *subscription

	ctx    context.Context // its life; a type whose life is that context
	cancel context.CancelCauseFunc
	wake   chan struct{} // whoever adds or stops sends without waiting, run receives; capacity 1; never closed

	mu      sync.Mutex
	events  [][]byte
	bytes   int
	oldest  time.Time     // when the first of events came
	now     bool          // send without waiting for more
	ending  bool          // send what there is, then end
	dropped int           // events since the last batch
	lost    int           // their bytes
	idle    chan struct{} // closed by run when nothing is buffered or under way; nil when nobody waits
}

var errUnsubscribed = errors.New("subscription ended")

func newSubscriber(h *Hub, s *subscription) *subscriber {
	ctx, cancel := context.WithCancelCause(h.life)
	return &subscriber{hub: h, subscription: s, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1)}
}

// add buffers e, or drops it when the buffer is full.
func (s *subscriber) add(e *event) {
	if !s.subscription.accepts(e) {
		return
	}
	text := s.subscription.encode(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) >= s.subscription.items || (s.bytes > 0 && s.bytes+len(text) > s.subscription.bytes) {
		s.dropped++
		s.lost += len(text)
		return
	}
	if len(s.events) == 0 {
		s.oldest = time.Now() // it is the machine's timer that measures from here
		defer s.poke()
	}
	s.events = append(s.events, text)
	s.bytes += len(text)
	if s.full() {
		s.poke()
	}
}

// full says that a batch need not wait for more. Half the buffer is left for
// what comes while it is under way. It wants s.mu.
func (s *subscriber) full() bool {
	return len(s.events) >= s.subscription.items/2 || s.bytes >= s.subscription.bytes/2
}

func (s *subscriber) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *subscriber) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = len(s.events) > 0
	s.poke()
}

// drained flushes and returns a channel that is closed when all has left.
func (s *subscriber) drained() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	s.now = len(s.events) > 0
	s.poke()
	return s.idle
}

// stop ends run: at once, or after what is buffered was sent.
func (s *subscriber) stop(atOnce bool) {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	if atOnce {
		s.cancel(errUnsubscribed)
	}
	s.poke()
}

// run sends batches until stop.
func (s *subscriber) run() {
	defer s.cancel(errUnsubscribed)
	out := s.sender()
	defer out.close()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		batch, wait, end := s.next()
		switch {
		case batch != nil:
			if !s.deliver(out, batch) && s.ctx.Err() == nil {
				s.mu.Lock()
				s.dropped += len(batch)
				for _, e := range batch {
					s.lost += len(e)
				}
				s.mu.Unlock()
			}
			continue
		case end:
			return
		}
		timer.Reset(wait)
		select {
		case <-s.ctx.Done():
			s.mu.Lock()
			s.rest()
			s.mu.Unlock()
			return
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// rest tells those who wait that nothing is under way. It wants s.mu.
func (s *subscriber) rest() {
	if s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// next takes the batch that is due, or says how long none will be.
func (s *subscriber) next() (batch [][]byte, wait time.Duration, end bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) == 0 {
		s.now = false
		s.rest()
		return nil, time.Hour, s.ending
	}
	wait = s.subscription.timeout - time.Since(s.oldest)
	if !s.now && !s.ending && !s.full() && wait > 0 {
		return nil, wait, false
	}
	batch = s.events
	if s.dropped > 0 && s.subscription.wants(Platform) {
		record := fmt.Appendf(nil, `{"droppedBytes":%d,"droppedRecords":%d,"reason":"%s"}`, s.lost, s.dropped, fallenBehind)
		e := event{category: Platform, kind: "platform.logsDropped", at: s.hub.options.Now(), record: record}
		batch = append(batch, s.subscription.encode(&e))
	}
	s.events, s.bytes, s.now = nil, 0, false
	s.dropped, s.lost = 0, 0
	return batch, 0, false
}

// deliver tries until the batch has left, and reports whether it has. An
// extension that answers slowly, or is frozen, is waited for: its buffer is
// bounded, and nobody else waits.
func (s *subscriber) deliver(out sender, batch [][]byte) bool {
	pause := firstPause
	for try := range attempts {
		if try > 0 {
			select {
			case <-s.ctx.Done():
				return false
			case <-time.After(pause):
			}
			pause = min(2*pause, lastPause)
		}
		if out.send(s.ctx, batch) == nil {
			return true
		}
	}
	return false
}

// sender carries one batch to the extension.
type sender interface {
	send(ctx context.Context, batch [][]byte) error
	close()
}

func (s *subscriber) sender() sender {
	dial := func(ctx context.Context) (net.Conn, error) {
		return s.hub.options.Dial(ctx, s.subscription.port)
	}
	if !s.subscription.http {
		return &lines{dial: dial}
	}
	p := &posts{url: "http://sandbox.localdomain:" + strconv.Itoa(s.subscription.port) + s.subscription.path}
	p.transport = &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		MaxResponseHeaderBytes: maxAnswer,
		DisableCompression:     true,
	}
	return p
}

// posts sends a batch as the JSON array of a POST.
type posts struct {
	url       string
	transport *http.Transport
}

func (p *posts) send(ctx context.Context, batch [][]byte) error {
	var body bytes.Buffer
	body.WriteByte('[')
	for i, e := range batch {
		if i > 0 {
			body.WriteByte(',')
		}
		body.Write(e)
	}
	body.WriteByte(']')
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, &body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := p.transport.RoundTrip(r) // a redirect would be a way out of the environment; there is none
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.CopyN(io.Discard, answer.Body, maxAnswer); err == nil {
		return errors.New("endless answer")
	}
	if answer.StatusCode >= 400 {
		return fmt.Errorf("answer %s", answer.Status)
	}
	return nil
}

func (p *posts) close() { p.transport.CloseIdleConnections() }

// lines sends a batch as lines of JSON over one connection.
type lines struct {
	dial func(context.Context) (net.Conn, error)
	conn net.Conn
}

func (l *lines) send(ctx context.Context, batch [][]byte) error {
	if l.conn == nil {
		c, err := l.dial(ctx)
		if err != nil {
			return err
		}
		l.conn = c
	}
	c := l.conn
	stop := context.AfterFunc(ctx, func() { c.Close() }) // the write fails, and says so
	defer stop()
	if _, err := c.Write(append(bytes.Join(batch, []byte("\n")), '\n')); err != nil {
		l.close()
		return err
	}
	return nil
}

func (l *lines) close() {
	if l.conn != nil {
		l.conn.Close() // what was written has left or is lost; nobody asks
		l.conn = nil
	}
}
