//go:build linux

package nat

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is a way whose device is a pair of sockets: what the kernel of a sandbox
// would do is done by the test.
type wire struct {
	t      *testing.T
	way    *Way
	router *Router
	kernel *os.File // the other end of the device
	relay  string   // where the listener inside is in truth
}

func newWire(t *testing.T, o Options) *wire {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, router: NewRouter(o), kernel: os.NewFile(uintptr(pair[1]), "kernel"), relay: l.Addr().String()}
	w.way, err = w.router.Start(t.Context(), os.NewFile(uintptr(pair[0]), "device"), l, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.way.Close()
		w.kernel.Close()
	})
	return w
}

func (w *wire) send(b []byte) {
	w.t.Helper()
	if _, err := w.kernel.Write(b); err != nil {
		w.t.Fatal(err)
	}
}

// receive returns the next packet, whose checksums must be right.
func (w *wire) receive() []byte {
	w.t.Helper()
	b := make([]byte, 1<<16)
	if err := w.kernel.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		w.t.Fatal(err)
	}
	n, err := w.kernel.Read(b)
	if err != nil {
		w.t.Fatal(err)
	}
	if !sound(w.t, b[:n]) {
		w.t.Errorf("packet %x has a wrong checksum", b[:n])
	}
	return b[:n]
}

// silentBut sends b and returns the packet that comes next.
func (w *wire) silentBut(b []byte) packet {
	w.t.Helper()
	w.send(b)
	got := w.receive()
	p, ok := parse(got)
	if !ok {
		w.t.Fatalf("received %x; want a packet", got)
	}
	return p
}

func listener(t *testing.T) (net.Listener, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, l.Addr().String()
}

func TestSYNIsAnsweredWhenTheWorldDoes(t *testing.T) {
	t.Parallel()
	w := newWire(t, Options{Policy: Policy{Host: true}})
	l, at := listener(t)
	w.send(segment("169.254.100.3:40000", at, flagSYN, ""))
	c, err := l.Accept() // it was dialled before anything was answered
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, ok := parse(w.receive())
	if !ok || p.src.Addr() != peer || p.dst != Relay || p.flags() != flagSYN {
		t.Fatalf("the SYN goes to %v from %v; want to the relay", p.dst, p.src)
	}
	port := p.src
	// The relay's kernel answers, and the function sees whom it called.
	p = w.silentBut(segment(Relay.String(), port.String(), flagSYN|flagACK, ""))
	if p.src.String() != at || p.dst.String() != "169.254.100.3:40000" {
		t.Errorf("the answer is from %v to %v; want from %s to the function", p.src, p.dst, at)
	}
	p = w.silentBut(segment("169.254.100.3:40000", at, flagACK, "data"))
	if p.src != port || p.dst != Relay {
		t.Errorf("data goes from %v to %v; want from %v to the relay", p.src, p.dst, port)
	}
}

func TestWhatNobodyAskedForIsReset(t *testing.T) {
	t.Parallel()
	w := newWire(t, Options{Policy: Policy{Host: true}})
	_, at := listener(t)
	for name, b := range map[string][]byte{
		"data without a connection":        segment("169.254.100.3:40000", at, flagACK, "data"),
		"an answer of the relay to nobody": segment(Relay.String(), netip.AddrPortFrom(peer, 9).String(), flagACK|flagSYN, ""),
		"the relay to elsewhere":           segment(Relay.String(), at, flagACK, ""),
	} {
		if p := w.silentBut(b); p.flags()&flagRST == 0 {
			t.Errorf("%s is answered by flags %b; want a reset", name, p.flags())
		}
	}
	// Another address than the function's is not heard at all.
	w.send(segment("169.254.100.1:40000", at, flagSYN, ""))
	w.send(datagram("10.0.0.1:40000", "198.51.100.1:9", "x"))
	if p := w.silentBut(segment("169.254.100.3:40001", at, flagACK, "")); p.dst.Port() != 40001 {
		t.Errorf("a packet of a made-up sender is answered: %v > %v", p.src, p.dst)
	}
}

func TestRefusalsAreTold(t *testing.T) {
	t.Parallel()
	w := newWire(t, Options{Policy: Policy{Own: func() ([]netip.Addr, error) { return nil, nil }}})
	for _, c := range []struct {
		dst string
		icm byte
	}{{"169.254.169.254:80", unreachableByPolicy}, {"127.0.0.1:22", unreachableByPolicy}, {"169.254.100.2:80", unreachableByPolicy}} {
		sent := segment("169.254.100.3:40000", c.dst, flagSYN, "")
		w.send(sent)
		if b := w.receive(); b[9] != protoICMP || b[ipHeader] != 3 || b[ipHeader+1] != c.icm {
			t.Errorf("SYN to %s is answered by %x; want ICMP code %d", c.dst, b, c.icm)
		}
		w.send(datagram("169.254.100.3:40000", c.dst, "x"))
		if b := w.receive(); b[9] != protoICMP || b[ipHeader+1] != c.icm {
			t.Errorf("datagram to %s is answered by %x; want ICMP code %d", c.dst, b, c.icm)
		}
	}
}

func TestSocketsAreCounted(t *testing.T) {
	t.Parallel()
	w := newWire(t, Options{Policy: Policy{Host: true}, Sockets: 4})
	_, at := listener(t)
	for i, want := range []uint8{flagSYN, flagSYN, flagRST | flagACK} {
		b := segment("169.254.100.3:40000", at, flagSYN, "")
		b[ipHeader+1] += byte(i) // another port; the checksum is the way's business only as far as it changes it
		w.send(b)
		got := make([]byte, 1<<16)
		if err := w.kernel.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := w.kernel.Read(got)
		if err != nil {
			t.Fatal(err)
		}
		if p, _ := parse(got[:n]); p.flags() != want {
			t.Errorf("connection %d is answered by flags %b; want %b", i, p.flags(), want)
		}
	}
	w.way.Close()
	if got := w.router.sockets.Load(); got != 4 {
		t.Errorf("sockets to be had after the end = %d; want all 4", got)
	}
}

func TestEndLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWire(t, Options{Policy: Policy{Host: true}, Sockets: 100, Resolvers: func() []netip.AddrPort {
		return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}
	}})
	l, at := listener(t)
	w.send(segment("169.254.100.3:40000", at, flagSYN, ""))
	if c, err := l.Accept(); err == nil {
		defer c.Close()
	}
	w.receive()
	w.send(datagram("169.254.100.3:40000", at, "x"))
	w.send(datagram("169.254.100.3:40000", "169.254.100.2:53", "a query, as it were"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for w.router.sockets.Load() > 97 && ctx.Err() == nil { // until it has all, some of which may be over already
		time.Sleep(time.Millisecond)
	}
	w.way.Close()
	if got := w.router.sockets.Load(); got != 100 {
		t.Errorf("sockets to be had after the end = %d; want all 100", got)
	}
	w.way.Forward(l, 1)
	if _, err := l.Accept(); err == nil {
		t.Error("a listener given after the end is open; want it closed")
	}
}

func TestServerFailure(t *testing.T) {
	t.Parallel()
	w := newWire(t, Options{Resolvers: func() []netip.AddrPort { return nil }})
	p := w.silentBut(datagram("169.254.100.3:5353", "169.254.100.2:53", "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01"))
	b := p.transport[udpHeader:]
	if b[0] != 0x12 || b[1] != 0x34 || b[2]&0x80 == 0 || b[3]&0xf != 2 {
		t.Errorf("answer %x; want SERVFAIL to 1234", b)
	}
}
