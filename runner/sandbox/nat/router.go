package nat

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	dialLimit  = 30 * time.Second // longer than most clients wait
	dnsLimit   = 5 * time.Second  // for an answer to a query
	dnsNext    = time.Second      // after which the next resolver is asked, too
	maxSockets = 1 << 14          // of all ways together, when Options says nothing
)

// Options configures a [Router].
type Options struct {
	Policy Policy
	// Resolvers returns the name servers to ask; nil reads the host's
	// /etc/resolv.conf, each time.
	Resolvers func() []netip.AddrPort
	// Sockets is how many the functions may have open at once, all together;
	// zero is 16384.
	Sockets int
}

// Router is what the ways of all sandboxes share.
type Router struct {
	policy    Policy
	resolvers func() []netip.AddrPort
	sockets   atomic.Int64 // how many may still be opened
}

// NewRouter starts nothing.
func NewRouter(o Options) *Router {
	r := &Router{policy: o.Policy, resolvers: o.Resolvers}
	if r.resolvers == nil {
		r.resolvers = hostResolvers
	}
	if o.Sockets == 0 {
		o.Sockets = maxSockets
	}
	r.sockets.Store(int64(o.Sockets))
	return r
}

func hostResolvers() []netip.AddrPort {
	conf, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		conf = nil // as libc: loopback
	}
	return Resolvers(conf)
}

// take reserves n sockets, if there are that many.
func (r *Router) take(n int64) bool {
	if r.sockets.Add(-n) >= 0 {
		return true
	}
	r.sockets.Add(n)
	return false
}

func (r *Router) give(n int64) { r.sockets.Add(n) }

// dial opens the connection that a function asked for.
func (r *Router) dial(ctx context.Context, dst netip.AddrPort) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	targets := []netip.AddrPort{dst}
	if dst.Addr() == Gateway && dst.Port() == portDNS {
		targets = r.resolvers()
	} else {
		to, err := r.policy.target(dst)
		if err != nil {
			return nil, err
		}
		targets[0] = to
	}
	var dialer net.Dialer
	var c net.Conn
	var err error
	for _, to := range targets {
		if c, err = dialer.DialContext(ctx, "tcp", to.String()); err == nil {
			return c.(*net.TCPConn), nil
		}
	}
	return nil, err
}

// ask sends a DNS query to the resolvers, one after the other and none without
// time to answer, and returns the first answer.
func (r *Router) ask(ctx context.Context, query []byte) ([]byte, error) {
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithTimeout(ctx, dnsLimit)
	defer cancel() // ends those whose answer is not needed any more
	resolvers := r.resolvers()
	if len(resolvers) == 0 {
		return nil, errors.New("no name servers")
	}
	type answer struct {
		b   []byte
		err error
	}
	answers := make(chan answer, len(resolvers)) // each asks once and sends once
	next := time.NewTimer(0)
	defer next.Stop()
	asked, failed := 0, 0
	for {
		select {
		case <-next.C:
			if asked == len(resolvers) {
				continue
			}
			to := resolvers[asked]
			asked++
			asking.Go(func() {
				b, err := exchange(ctx, to, query)
				answers <- answer{b, err}
			})
			next.Reset(dnsNext)
		case a := <-answers:
			if a.err == nil {
				return a.b, nil
			}
			if failed++; failed == len(resolvers) {
				return nil, a.err
			}
			if failed == asked {
				next.Reset(0)
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// exchange asks one resolver.
func exchange(ctx context.Context, to netip.AddrPort, query []byte) ([]byte, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	defer c.Close()
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if err != nil {
			return nil, err
		}
		if n >= dnsHeader && b[0] == query[0] && b[1] == query[1] {
			return b[:n], nil
		}
	}
}

const dnsHeader = 12

// serverFailure is the answer to a query that nobody answered.
func serverFailure(query []byte) []byte {
	b := append([]byte(nil), query...)
	b[2] |= 0x80            // an answer
	b[3] = b[3]&0x70 | 0x82 // with recursion, SERVFAIL
	return b
}

// code is the ICMP code that makes a function see what err is about; ok is false
// when it has to find out by waiting, and refused when it is the destination's no.
func code(err error) (code uint8, refused, ok bool) {
	var errno syscall.Errno
	switch {
	case errors.Is(err, errPolicy):
		return unreachableByPolicy, false, true
	case !errors.As(err, &errno):
		return 0, false, false
	}
	switch errno {
	case syscall.ECONNREFUSED, syscall.ECONNRESET:
		return unreachablePort, true, true
	case syscall.ENETUNREACH:
		return unreachableNet, false, true
	case syscall.ETIMEDOUT:
		return 0, false, false
	}
	return unreachableHost, false, true
}

// dialLoopback connects to a service of the host's, of either IP.
func (r *Router) dialLoopback(ctx context.Context, port uint16) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(loopback, port).String())
	if err != nil {
		c, err = dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(netip.IPv6Loopback(), port).String())
	}
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}
