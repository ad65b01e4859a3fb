package control

import (
	"errors"
	"sync"
)

// pipeRoom is how much of a streamed response is kept for a client that reads
// more slowly than the function writes; then the function waits.
const pipeRoom = 256 << 10

var errPipeClosed = errors.New("nobody reads the response any more")

// pipe is the [lamina.Sink] of one invocation: bounded memory between the
// function and the client. The function's side calls Begin, Write and End, the
// client's next and abandon.
type pipe struct {
	began chan struct{} // closed by Begin
	done  chan struct{} // closed by End or abandon, whichever comes first
	room  chan struct{} // capacity 1; next sends without blocking, Write receives
	more  chan struct{} // capacity 1; Write sends without blocking, next receives

	closing sync.Once

	mu          sync.Mutex
	contentType string
	buf         []byte // to be read
	spare       []byte // what next returned last
	closed      bool
}

func newPipe() *pipe {
	return &pipe{
		began: make(chan struct{}), done: make(chan struct{}),
		room: make(chan struct{}, 1), more: make(chan struct{}, 1),
	}
}

// Begin implements [lamina.Sink].
func (p *pipe) Begin(contentType string) {
	p.mu.Lock()
	p.contentType = contentType
	p.mu.Unlock()
	close(p.began)
}

// Write implements [lamina.Sink].
func (p *pipe) Write(b []byte) error {
	for {
		n, err := p.put(b)
		if err != nil {
			return err
		}
		if b = b[n:]; len(b) == 0 {
			return nil
		}
		select {
		case <-p.room:
		case <-p.done:
		}
	}
}

// put takes as much as there is room for.
func (p *pipe) put(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, errPipeClosed
	}
	n := min(len(b), pipeRoom-len(p.buf))
	p.buf = append(p.buf, b[:n]...)
	if n > 0 {
		signal(p.more)
	}
	return n, nil
}

// End implements [lamina.Sink]. What was written can still be read.
func (p *pipe) End() {
	p.closing.Do(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		close(p.done)
	})
}

// abandon ends the pipe for a client that is gone. It may be called while next waits.
func (p *pipe) abandon() {
	p.End()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buf = nil
}

// next returns what was written since the last call, as soon as there is
// something, and nil at the end. It is the caller's until the next call.
func (p *pipe) next() []byte {
	for {
		b, end := p.get()
		if end || len(b) > 0 {
			return b
		}
		select {
		case <-p.more:
		case <-p.done:
		}
	}
}

func (p *pipe) get() (b []byte, end bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.buf) == 0 {
		return nil, p.closed
	}
	b, p.buf = p.buf, p.spare[:0]
	p.spare = b
	signal(p.room)
	return b, false
}

// signal wakes whoever waits for c, or will.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // awake already
	}
}
