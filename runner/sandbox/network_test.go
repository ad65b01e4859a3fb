//go:build linux

package sandbox

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/lamina-run/lamina/runner/sandbox/nat"
)

// needNetwork skips where there is no TUN device, or fails when LAMINA_TEST_MUST
// names sandboxes.
func needNetwork(t testing.TB) {
	t.Helper()
	need(t)
	_, err := DefaultNetwork()
	if err == nil {
		return
	}
	if strings.Contains(os.Getenv("LAMINA_TEST_MUST"), "sandbox") {
		t.Fatalf("networks are a must here: %v", err)
	}
	t.Skipf("needs a TUN device: %v", err)
}

// serve answers every connection on l with word until the test ends.
func serve(t testing.TB, network, address, word string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with l
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, word)
			c.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// hostAddress is one of this host's that is not loopback.
func hostAddress(t testing.TB) netip.Addr {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			return netip.AddrFrom4([4]byte(n.IP.To4()))
		}
	}
	t.Log("this host has no address but its loopback")
	return netip.Addr{}
}

func TestNetworkModes(t *testing.T) {
	t.Parallel()
	needNetwork(t)
	service := serve(t, "tcp", "127.0.0.1:0", "service")
	endpoint := serve(t, "tcp", "127.0.0.1:0", "lamina")
	closed := serve(t, "tcp", "127.0.0.1:0", "")
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes a port that is free again at once
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().(*net.TCPAddr).Port
	l.Close()
	_ = closed
	own := hostAddress(t)
	var ownService netip.AddrPort
	if own.IsValid() {
		ownService = serve(t, "tcp", own.String()+":0", "own")
	}
	gateway := func(port uint16) string { return netip.AddrPortFrom(nat.Gateway, port).String() }
	for _, c := range []struct {
		mode Network
		want map[string]string // by address, what dialling it says
	}{
		{NetworkNone, map[string]string{
			gateway(endpoint.Port()): "ENETUNREACH", service.String(): "ECONNREFUSED", ownService.String(): "ENETUNREACH",
			"169.254.169.254:80": "ENETUNREACH",
		}},
		{NetworkNAT, map[string]string{
			gateway(endpoint.Port()): "lamina", gateway(service.Port()): "EHOSTUNREACH", service.String(): "ECONNREFUSED",
			ownService.String(): "EHOSTUNREACH", "169.254.169.254:80": "EHOSTUNREACH", "0.0.0.0:" + fmt.Sprint(service.Port()): "ECONNREFUSED",
			"169.254.100.4:1": "ECONNRESET", "100.100.100.200:80": "EHOSTUNREACH", "255.255.255.255:80": "ENETUNREACH", "224.0.0.1:80": "ENETUNREACH",
			"[::1]:" + fmt.Sprint(service.Port()): "ECONNREFUSED", "[fe80::1]:80": "EINVAL", "[2001:db8::1]:80": "ENETUNREACH",
		}},
		{NetworkHost, map[string]string{
			gateway(endpoint.Port()): "lamina", gateway(service.Port()): "service", service.String(): "service", ownService.String(): "own",
			gateway(uint16(free)): "ECONNREFUSED", "localhost:" + strconv.Itoa(int(service.Port())): "service",
			"host.docker.internal:" + strconv.Itoa(int(service.Port())): "service",
		}},
	} {
		t.Run(string(c.mode), func(t *testing.T) {
			t.Parallel()
			p := newPool(t, Options{Network: c.mode, Endpoint: endpoint})
			sb := start(t, p, Spec{})
			for address, want := range c.want {
				if strings.HasPrefix(address, "invalid") {
					continue
				}
				out, _ := run(t, sb, "dial", address)
				if got := strings.TrimSpace(strings.Replace(out, address, "", 1)); got != want {
					t.Errorf("dial %s = %q; want %q", address, got, want)
				}
			}
		})
	}
}

// outside makes p's router take this host's addresses for somebody else's, so
// that a test has a world to reach.
func outside(p *Pool, resolvers ...netip.AddrPort) *Pool {
	p.router = nat.NewRouter(nat.Options{
		Policy:    nat.Policy{Own: func() ([]netip.Addr, error) { return nil, nil }},
		Resolvers: func() []netip.AddrPort { return resolvers },
	})
	return p
}

// world is an address that [outside] makes reachable, in any network that the
// test's host may have, or none at all.
func world(t testing.TB) netip.Addr {
	t.Helper()
	own := hostAddress(t)
	if !own.IsValid() {
		t.Skip("needs a host with an address besides its loopback")
	}
	return own
}

func TestNATLeadsOut(t *testing.T) {
	t.Parallel()
	needNetwork(t)
	here := world(t).String()
	echo, err := net.Listen("tcp", here+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() { // ends with echo
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	udp, err := net.ListenPacket("udp", here+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	go func() { // ends with udp
		b := make([]byte, 1<<16)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			udp.WriteTo(append([]byte("echo "), b[:n]...), from)
		}
	}()
	silent, err := net.ListenPacket("udp", here+":0") // for a port that is free at once
	if err != nil {
		t.Fatal(err)
	}
	deaf := silent.LocalAddr().String()
	silent.Close()

	sb := start(t, outside(newPool(t, Options{Network: NetworkNAT})), Spec{})
	out, _ := run(t, sb, "swap", echo.Addr().String())
	t.Log(out)
	if got, want := fields(out)["received"], fmt.Sprint(64<<20); got != want {
		t.Errorf("received %s; want %s", got, want)
	}
	out, _ = run(t, sb, "many", echo.Addr().String(), "600")
	if got := fields(out); got["open"] != "512" || got["ECONNREFUSED"] != "88" {
		t.Errorf("connections = %v; want 512 and the rest refused", got)
	}
	out, _ = run(t, sb, "many", echo.Addr().String(), "100") // those of a process that is gone don't count
	if got := fields(out); got["open"] != "100" {
		t.Errorf("connections = %v; want 100", got)
	}
	for address, want := range map[string]string{
		udp.LocalAddr().String(): "echo hello", deaf: "ECONNREFUSED", "169.254.169.254:53": "EHOSTUNREACH",
	} {
		out, _ := run(t, sb, "udp", address, "hello")
		if got := strings.TrimSpace(out); got != want {
			t.Errorf("datagram to %s = %q; want %q", address, got, want)
		}
	}
	out, _ = run(t, sb, "udp", udp.LocalAddr().String(), strings.Repeat("x", 9000))
	if got, want := len(strings.TrimSpace(out)), 9005; got != want {
		t.Errorf("large datagram came back with %d bytes; want %d", got, want)
	}
}

// nameServer answers each query with one address, or not at all.
func nameServer(t testing.TB, address netip.Addr, answers bool) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() { // ends with c
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			var p dnsmessage.Parser
			h, err := p.Start(b[:n])
			if err != nil || !answers {
				continue
			}
			q, err := p.Question()
			if err != nil {
				continue
			}
			m := dnsmessage.Message{
				Header:    dnsmessage.Header{ID: h.ID, Response: true, RecursionAvailable: true},
				Questions: []dnsmessage.Question{q},
			}
			if q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: address.As4()},
				}}
			}
			out, err := m.Pack()
			if err != nil {
				t.Error(err)
				return
			}
			c.WriteTo(out, from)
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestNamesAreResolved(t *testing.T) {
	t.Parallel()
	needNetwork(t)
	answer := netip.MustParseAddr("198.51.100.7")
	deaf, hears := nameServer(t, answer, false), nameServer(t, answer, true)
	for _, c := range []struct {
		name      string
		resolvers []netip.AddrPort
		want      string
	}{
		{"the first answers", []netip.AddrPort{hears}, answer.String()},
		{"the second answers", []netip.AddrPort{deaf, hears}, answer.String()},
		{"nobody is there", []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}, "server misbehaving"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sb := start(t, outside(newPool(t, Options{Network: NetworkNAT}), c.resolvers...), Spec{})
			out, _ := run(t, sb, "lookup", "db.example.com")
			if !strings.Contains(out, c.want) {
				t.Errorf("lookup = %q; want %s", out, c.want)
			}
			for _, python := range []string{"/usr/bin/python3"} { // libc asks in its own way
				if _, err := os.Stat(python); err != nil {
					continue
				}
				out, _ := runProcess(t, sb, Process{Path: python, Args: []string{
					python, "-c", "import socket\ntry: print(socket.gethostbyname('db.example.com'))\nexcept OSError as e: print('server misbehaving', e)",
				}})
				if !strings.Contains(out, c.want) {
					t.Errorf("python's lookup = %q; want %s", out, c.want)
				}
			}
		})
	}
}

// BenchmarkNetwork measures what the way out costs where somebody waits, a start
// from the full pool, and where nobody does, the making of a parked sandbox.
func BenchmarkNetwork(b *testing.B) {
	needNetwork(b)
	for _, mode := range []Network{NetworkNone, NetworkNAT} {
		b.Run("parked-"+string(mode), func(b *testing.B) {
			p := running(b, newPool(b, Options{Parked: 2, Network: mode}))
			s := spec(b, Spec{})
			var took []time.Duration
			for b.Loop() {
				awaitParked(b, p)
				begin := time.Now()
				sb, err := p.Start(b.Context(), s)
				if err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begin))
				if err := sb.Close(); err != nil {
					b.Fatal(err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(0, "ns/op") // would count the waits
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-start-µs")
		})
		b.Run("made-"+string(mode), func(b *testing.B) {
			p := newPool(b, Options{Network: mode})
			var took []time.Duration
			for b.Loop() {
				begin := time.Now()
				sb, err := p.spawn(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begin))
				if err := sb.Close(); err != nil {
					b.Fatal(err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-spawn-µs")
		})
	}
}
