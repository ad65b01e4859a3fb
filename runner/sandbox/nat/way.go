package nat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// What one sandbox may have at once. A function has 1024 descriptors.
const (
	maxConnections = 512
	maxDatagrams   = 128 // conversations over UDP
	maxQueries     = 64
	lingering      = time.Minute      // of an ended connection's addresses, for its last packets
	silence        = 2 * time.Minute  // after which a conversation over UDP has ended
	acceptLimit    = 10 * time.Second // from the dialled connection to the one inside
)

// MTU is that of the device: there is no wire, so the more at a time the better.
const MTU = 65520

// buffers hold a packet each. Only who has something in it holds one.
var buffers = sync.Pool{New: func() any { return new([1 << 16]byte) }}

// Way is the way out of one sandbox. [Way.Close] ends it.
type Way struct {
	router   *Router
	log      *slog.Logger
	device   *os.File
	raw      syscall.RawConn
	listener net.Listener

	life   context.Context // of what [Start] started
	cancel context.CancelCauseFunc
	tasks  sync.WaitGroup

	mu         sync.Mutex
	tcp        map[flowKey]*flow
	byPort     map[uint16]*flow // by the port that the relay sees
	lastPort   uint16
	udp        map[flowKey]*conversation
	queries    int
	forwarding []net.Listener
	closed     bool
}

// flowKey tells connections of one function apart.
type flowKey struct {
	port uint16 // the function's
	dst  netip.AddrPort
}

// flow is one TCP connection.
type flow struct {
	key   flowKey
	port  uint16
	state flowState
	syn   []byte // while it is dialled
	out   *net.TCPConn
	ended time.Time
}

type flowState int

const (
	dialling flowState = iota
	waiting            // dialled; the listener inside has yet to accept
	relaying
	over // but its last packets may still come
)

// conversation is one socket for UDP.
type conversation struct {
	key  flowKey
	conn *net.UDPConn
	used time.Time
}

var errClosed = errors.New("way is closed")

// Start begins to forward what comes from device, a TUN device without packet
// information in the sandbox's network namespace, whose address [Function] has,
// and to accept on listener, which listens at [Relay] there. Both belong to the
// way from now on, which ends with ctx and with [Way.Close].
func (r *Router) Start(ctx context.Context, device *os.File, listener net.Listener, log *slog.Logger) (*Way, error) {
	raw, err := device.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open device: %w", err), device.Close(), listener.Close())
	}
	w := &Way{
		router: r, log: log, device: device, raw: raw, listener: listener,
		tcp: map[flowKey]*flow{}, byPort: map[uint16]*flow{}, udp: map[flowKey]*conversation{},
	}
	w.life, w.cancel = context.WithCancelCause(ctx)
	context.AfterFunc(w.life, w.shut)
	w.tasks.Go(w.read)
	w.tasks.Go(w.accept)
	return w, nil
}

// Close cuts every connection and returns when nothing of the way is left.
func (w *Way) Close() error {
	w.cancel(errClosed)
	w.shut()
	w.tasks.Wait()
	return nil
}

// shut closes all that somebody may be waiting for.
func (w *Way) shut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.closed = true
	w.device.Close() // nobody could do anything about an error of these
	w.listener.Close()
	for _, l := range w.forwarding {
		l.Close()
	}
	for _, f := range w.byPort {
		w.abandonLocked(f)
	}
	for _, c := range w.udp {
		c.conn.Close()
	}
}

// read takes the function's packets until the device is gone.
func (w *Way) read() {
	for {
		buf := (*[1 << 16]byte)(nil)
		var n int
		var err error
		waitErr := w.raw.Read(func(fd uintptr) bool {
			// Here and not before, so that who waits holds no buffer.
			buf = buffers.Get().(*[1 << 16]byte)
			for {
				n, err = syscall.Read(int(fd), buf[:])
				if !errors.Is(err, syscall.EINTR) {
					break
				}
			}
			if errors.Is(err, syscall.EAGAIN) {
				buffers.Put(buf)
				buf = nil
				return false
			}
			return true
		})
		if waitErr != nil || err != nil || n <= 0 {
			if buf != nil {
				buffers.Put(buf)
			}
			if w.life.Err() == nil {
				w.log.LogAttrs(w.life, slog.LevelWarn, "network of a sandbox ended", slog.Any("err", errors.Join(waitErr, err)))
			}
			return
		}
		if p, ok := parse(buf[:n]); ok {
			if p.proto == protoTCP {
				w.segment(p)
			} else {
				w.datagram(p)
			}
		}
		buffers.Put(buf)
	}
}

// send gives the function a packet. One that does not fit is lost, as packets are.
func (w *Way) send(b []byte) {
	if b != nil {
		_, _ = w.device.Write(b)
	}
}

// segment forwards a TCP packet of either end inside.
func (w *Way) segment(p packet) {
	if p.src == Relay {
		w.mu.Lock()
		f := w.byPort[p.dst.Port()]
		w.mu.Unlock()
		if f == nil || p.dst.Addr() != peer {
			w.send(reset(p))
			return
		}
		p.readdress(f.key.dst, netip.AddrPortFrom(Function, f.key.port))
		w.send(p.data)
		return
	}
	if p.src.Addr() != Function {
		return
	}
	key := flowKey{p.src.Port(), p.dst}
	first := p.flags()&(flagSYN|flagACK|flagRST) == flagSYN
	w.mu.Lock()
	f := w.tcp[key]
	if f != nil && f.state == over && first { // the port is used again
		delete(w.tcp, key)
		f = nil
	}
	switch {
	case f == nil && first:
		f = w.openLocked(key, p)
		w.mu.Unlock()
		if f == nil {
			w.send(reset(p))
		}
		return
	case f == nil:
		w.mu.Unlock()
		w.send(reset(p))
		return
	case f.state == dialling:
		w.mu.Unlock() // it says so again, until the destination has answered
		return
	}
	port := f.port
	w.mu.Unlock()
	p.readdress(netip.AddrPortFrom(peer, port), Relay)
	w.send(p.data)
}

// openLocked begins a connection, or returns nil if there are too many.
func (w *Way) openLocked(key flowKey, p packet) *flow {
	if w.closed {
		return nil
	}
	now := time.Now()
	if len(w.byPort) >= maxConnections {
		var oldest *flow
		for _, f := range w.byPort {
			switch {
			case f.state != over:
			case now.Sub(f.ended) > lingering:
				w.forgetLocked(f)
			case oldest == nil || f.ended.Before(oldest.ended):
				oldest = f
			}
		}
		if len(w.byPort) >= maxConnections {
			if oldest == nil {
				return nil
			}
			w.forgetLocked(oldest)
		}
	}
	if !w.router.take(2) {
		return nil
	}
	for {
		if w.lastPort++; w.lastPort != 0 && w.byPort[w.lastPort] == nil {
			break
		}
	}
	f := &flow{key: key, port: w.lastPort, syn: append([]byte(nil), p.data...)}
	w.tcp[key], w.byPort[f.port] = f, f
	w.tasks.Go(func() { w.dial(f) })
	return f
}

func (w *Way) forgetLocked(f *flow) {
	delete(w.byPort, f.port)
	if w.tcp[f.key] == f {
		delete(w.tcp, f.key)
	}
}

// dial connects to where the function wants to, and then lets its SYN in.
func (w *Way) dial(f *flow) {
	out, err := w.router.dial(w.life, f.key.dst)
	syn, _ := parse(f.syn)
	if err != nil {
		w.mu.Lock()
		w.forgetLocked(f)
		w.mu.Unlock()
		w.router.give(2)
		switch c, refused, ok := code(err); {
		case refused:
			w.send(reset(syn))
		case ok:
			w.send(unreachable(f.syn, c))
		}
		return
	}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		out.Close()
		w.router.give(2)
		return
	}
	f.out, f.state, f.syn = out, waiting, nil
	w.mu.Unlock()
	syn.readdress(netip.AddrPortFrom(peer, f.port), Relay)
	w.send(syn.data)
	time.AfterFunc(acceptLimit, func() { // who asked may have given up
		w.mu.Lock()
		defer w.mu.Unlock()
		w.abandonLocked(f)
	})
}

// abandonLocked ends a connection that nobody accepts any more.
func (w *Way) abandonLocked(f *flow) {
	if f.state == waiting {
		f.out.Close()
		w.endLocked(f)
		w.router.give(2)
	}
}

func (w *Way) endLocked(f *flow) {
	f.state, f.out, f.ended = over, nil, time.Now()
}

// accept takes the inner ends of the connections and relays each.
func (w *Way) accept() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			if w.life.Err() != nil {
				return
			}
			w.log.LogAttrs(w.life, slog.LevelWarn, "connection of a sandbox not accepted", slog.Any("err", err))
			select {
			case <-time.After(100 * time.Millisecond): // too many open files, perhaps
			case <-w.life.Done():
				return
			}
			continue
		}
		in := c.(*net.TCPConn)
		from := in.RemoteAddr().(*net.TCPAddr).AddrPort()
		w.mu.Lock()
		f := w.byPort[from.Port()]
		if w.closed || from.Addr().Unmap() != peer || f == nil || f.state != waiting {
			// A function that found the listener itself, or one whose patience ended.
			w.mu.Unlock()
			abort(in)
			continue
		}
		out := f.out
		f.state = relaying
		w.tasks.Go(func() {
			relay(w.life, in, out)
			w.mu.Lock()
			w.endLocked(f)
			w.mu.Unlock()
			w.router.give(2)
		})
		w.mu.Unlock()
	}
}

// abort closes with a reset.
func abort(c *net.TCPConn) {
	_ = c.SetLinger(0) // an orderly end is good enough
	c.Close()
}

// relay moves bytes both ways until both directions have ended, or one broke, or
// ctx ends; it closes both.
func relay(ctx context.Context, a, b *net.TCPConn) {
	stop := context.AfterFunc(ctx, func() { abort(a); abort(b) })
	defer stop()
	one := func(to, from *net.TCPConn) {
		if _, err := io.Copy(to, from); err != nil {
			abort(to)
			abort(from)
			return
		}
		_ = to.CloseWrite() // if it is gone already, the other direction sees it
	}
	var both sync.WaitGroup
	both.Go(func() { one(a, b) })
	one(b, a)
	both.Wait()
	a.Close()
	b.Close()
}

// datagram forwards what a function sends over UDP.
func (w *Way) datagram(p packet) {
	if p.src.Addr() != Function {
		return
	}
	payload := p.transport[udpHeader:]
	if p.dst.Addr() == Gateway && p.dst.Port() == portDNS {
		w.query(p.src, payload)
		return
	}
	c, err := w.conversation(flowKey{p.src.Port(), p.dst})
	if err == nil {
		_, err = c.conn.Write(payload)
	}
	if err != nil {
		if c, _, ok := code(err); ok {
			w.send(unreachable(p.data, c))
		}
	}
}

var errBusy = errors.New("too many sockets")

// conversation finds or opens the socket for packets of key. Only read calls it.
func (w *Way) conversation(key flowKey) (*conversation, error) {
	w.mu.Lock()
	c := w.udp[key]
	if c != nil {
		c.used = time.Now()
	}
	w.mu.Unlock()
	if c != nil {
		return c, nil
	}
	to, err := w.router.policy.target(key.dst)
	if err != nil {
		return nil, err
	}
	if !w.router.take(1) {
		return nil, errBusy
	}
	// Connected, so it hears from nobody else. That takes no time.
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		w.router.give(1)
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		w.router.give(1)
		return nil, errors.Join(errClosed, conn.Close())
	}
	if len(w.udp) >= maxDatagrams {
		var oldest *conversation
		for _, c := range w.udp {
			if oldest == nil || c.used.Before(oldest.used) {
				oldest = c
			}
		}
		delete(w.udp, oldest.key)
		oldest.conn.Close() // which ends its listen
	}
	c = &conversation{key: key, conn: conn, used: time.Now()}
	w.udp[key] = c
	w.tasks.Go(func() { w.listen(c) })
	return c, nil
}

// listen brings back what comes in a conversation, until nobody spoke for long.
func (w *Way) listen(c *conversation) {
	defer w.router.give(1)
	defer c.conn.Close()
	function := netip.AddrPortFrom(Function, c.key.port)
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return
	}
	for {
		w.mu.Lock()
		until := c.used.Add(silence)
		if w.udp[c.key] == c && time.Now().After(until) {
			delete(w.udp, c.key)
		}
		gone := w.udp[c.key] != c
		w.mu.Unlock()
		if gone || w.life.Err() != nil {
			return
		}
		_ = c.conn.SetReadDeadline(until) // fails when it is closed, and so does the read
		var err error
		waitErr := raw.Read(func(fd uintptr) bool {
			buf := buffers.Get().(*[1 << 16]byte)
			defer buffers.Put(buf)
			var n int
			n, err = syscall.Read(int(fd), buf[datagramRoom:MTU])
			switch {
			case errors.Is(err, syscall.EAGAIN):
				return false
			case err == nil:
				b := buf[:datagramRoom+n]
				putDatagram(b, c.key.dst, function)
				w.send(b)
			}
			return true
		})
		if errors.Is(waitErr, os.ErrDeadlineExceeded) {
			continue // unless the function spoke
		}
		if waitErr != nil {
			return
		}
		if err == nil {
			w.mu.Lock()
			c.used = time.Now()
			w.mu.Unlock()
			continue
		}
		if errno, _, ok := code(err); ok {
			// What the function sent is gone; its header is all that is asked for.
			var sent [datagramRoom]byte
			putDatagram(sent[:], function, c.key.dst)
			w.send(unreachable(sent[:], errno))
		}
	}
}

// query has a DNS query answered by the host's resolvers.
func (w *Way) query(from netip.AddrPort, query []byte) {
	if len(query) < dnsHeader {
		return
	}
	w.mu.Lock()
	busy := w.closed || w.queries >= maxQueries || !w.router.take(3)
	if !busy {
		w.queries++
		query = append([]byte(nil), query...)
		w.tasks.Go(func() {
			answer, err := w.router.ask(w.life, query)
			if err != nil {
				answer = serverFailure(query)
			}
			b := make([]byte, datagramRoom+len(answer))
			copy(b[datagramRoom:], answer)
			putDatagram(b, netip.AddrPortFrom(Gateway, portDNS), from)
			w.send(b)
			w.router.give(3)
			w.mu.Lock()
			w.queries--
			w.mu.Unlock()
		})
	}
	w.mu.Unlock() // a query that is dropped is asked again
}

// Forward accepts on l, a listener inside, and connects each connection to the
// host's loopback at port: for the mode in which the host's services are the
// function's. The listener is the way's from now on.
func (w *Way) Forward(l net.Listener, port uint16) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || !w.router.policy.Host {
		l.Close()
		return
	}
	w.forwarding = append(w.forwarding, l)
	w.tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed; there is nothing else that could go wrong for long
			}
			in := c.(*net.TCPConn)
			if !w.router.take(2) {
				abort(in)
				continue
			}
			w.tasks.Go(func() {
				defer w.router.give(2)
				out, err := w.router.dialLoopback(w.life, port)
				if err != nil {
					abort(in)
					return
				}
				relay(w.life, in, out)
			})
		}
	})
}
