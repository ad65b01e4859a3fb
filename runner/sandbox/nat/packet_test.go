package nat

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// segment makes a TCP packet with right checksums.
func segment(src, dst string, flags uint8, payload string) []byte {
	from, to := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	b := make([]byte, ipHeader+tcpHeader+len(payload))
	t := b[ipHeader:]
	binary.BigEndian.PutUint16(t, from.Port())
	binary.BigEndian.PutUint16(t[2:], to.Port())
	binary.BigEndian.PutUint32(t[4:], 1000)
	binary.BigEndian.PutUint32(t[8:], 2000)
	t[12], t[13] = tcpHeader/4<<4, flags
	copy(t[tcpHeader:], payload)
	putIP(b, protoTCP, from.Addr(), to.Addr())
	binary.BigEndian.PutUint16(t[16:], ^fold(sum(pseudo(b), t)))
	return b
}

func datagram(src, dst, payload string) []byte {
	b := append(make([]byte, datagramRoom), payload...)
	putDatagram(b, netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst))
	return b
}

func pseudo(b []byte) uint32 {
	return sum(uint32(b[9])+uint32(len(b)-ipHeader), b[12:20])
}

// sound says whether both checksums are right.
func sound(t *testing.T, b []byte) bool {
	t.Helper()
	if fold(sum(0, b[:ipHeader])) != 0xffff {
		return false
	}
	switch b[9] {
	case protoTCP:
		return fold(sum(pseudo(b), b[ipHeader:])) == 0xffff
	case protoICMP:
		return fold(sum(0, b[ipHeader:])) == 0xffff
	}
	return true
}

func TestReaddressKeepsChecksums(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{"", "x", "even", "a longer one, and odd"} {
		b := segment("169.254.100.3:40000", "203.0.113.9:443", flagACK, payload)
		p, ok := parse(b)
		if !ok || !sound(t, b) {
			t.Fatalf("packet %x is not sound to begin with", b)
		}
		p.readdress(netip.MustParseAddrPort("169.254.100.5:7"), Relay)
		if !sound(t, b) {
			t.Errorf("payload %q: checksums are wrong after", payload)
		}
		p, _ = parse(b)
		if got, want := p.src.String()+" "+p.dst.String(), "169.254.100.5:7 169.254.100.4:1"; got != want {
			t.Errorf("addresses = %s; want %s", got, want)
		}
	}
}

func TestReset(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		flags         uint8
		payload       string
		want          uint8
		seq, acknowls uint32
	}{
		{"to a SYN", flagSYN, "", flagRST | flagACK, 0, 1001},
		{"to data", flagACK, "12345", flagRST, 2000, 0},
		{"to a FIN without an acknowledgement", flagFIN, "123", flagRST | flagACK, 0, 1004},
	} {
		p, _ := parse(segment("169.254.100.3:40000", "203.0.113.9:443", c.flags, c.payload))
		b := reset(p)
		r, ok := parse(b)
		if !ok || !sound(t, b) {
			t.Fatalf("%s: reset %x is not sound", c.name, b)
		}
		if r.src != p.dst || r.dst != p.src || r.flags() != c.want {
			t.Errorf("%s: %v > %v flags %b; want back with %b", c.name, r.src, r.dst, r.flags(), c.want)
		}
		if seq, ack := binary.BigEndian.Uint32(r.transport[4:]), binary.BigEndian.Uint32(r.transport[8:]); seq != c.seq || ack != c.acknowls {
			t.Errorf("%s: numbers %d, %d; want %d, %d", c.name, seq, ack, c.seq, c.acknowls)
		}
	}
	p, _ := parse(segment("169.254.100.3:40000", "203.0.113.9:443", flagRST, ""))
	if b := reset(p); b != nil {
		t.Errorf("reset of a reset = %x; want none", b)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	sent := segment("169.254.100.3:40000", "203.0.113.9:443", flagSYN, "payload")
	b := unreachable(sent, unreachableByPolicy)
	if !sound(t, b) {
		t.Errorf("message %x is not sound", b)
	}
	if got, want := b[ipHeader+8:], sent[:ipHeader+8]; !bytes.Equal(got, want) {
		t.Errorf("quotes %x; want %x", got, want)
	}
	if !bytes.Equal(b[16:20], sent[12:16]) {
		t.Errorf("goes to %v; want the sender", b[16:20])
	}
}

func TestWhatIsNoPacket(t *testing.T) {
	t.Parallel()
	good := segment("169.254.100.3:40000", "203.0.113.9:443", flagSYN, "12")
	change := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	for name, b := range map[string][]byte{
		"nothing": {}, "short": good[:19], "IPv6": change(0, 0x65), "a header of 16": change(0, 0x44), "a header longer than it is": change(0, 0x4f),
		"longer than it is": change(3, 200), "shorter than its header": change(3, 10), "a fragment": change(7, 9), "more fragments": change(6, 0x20),
		"ICMP": change(9, protoICMP), "TCP options outside": change(ipHeader+12, 0xf0), "a TCP header of 4": change(ipHeader+12, 0x10),
		"UDP longer than it is": datagram("1.2.3.4:5", "6.7.8.9:10", "")[:27],
	} {
		if p, ok := parse(b); ok {
			t.Errorf("%s: parsed as %+v; want it refused", name, p)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(segment("169.254.100.3:40000", "203.0.113.9:443", flagSYN, "12"))
	f.Add(segment("169.254.100.4:1", "169.254.100.5:443", flagFIN, ""))
	f.Add(datagram("169.254.100.3:40000", "203.0.113.9:53", "query"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := parse(b)
		if !ok {
			return
		}
		if p.proto == protoTCP {
			if r := reset(p); r != nil {
				if _, ok := parse(r); !ok || !sound(t, r) {
					t.Errorf("reset of %x is %x", b, r)
				}
			}
			p.readdress(p.dst, p.src)
		}
		if u := unreachable(p.data, unreachableHost); !sound(t, u) {
			t.Errorf("unreachable for %x is %x", b, u)
		}
	})
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	own := func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("192.0.2.10")}, nil }
	endpoint := netip.MustParseAddrPort("127.0.0.1:4566")
	nat := Policy{Endpoint: endpoint, Own: own, Responses: netip.MustParseAddrPort("127.0.0.1:7777")}
	host := Policy{Endpoint: endpoint, Own: own, Host: true}
	for _, c := range []struct {
		dst       string
		nat, host string // empty is denied
	}{
		{"203.0.113.9:443", "203.0.113.9:443", "203.0.113.9:443"},
		{"10.0.0.7:5432", "10.0.0.7:5432", "10.0.0.7:5432"},
		{"169.254.100.2:4566", "127.0.0.1:4566", "127.0.0.1:4566"},
		{"169.254.100.2:5432", "", "127.0.0.1:5432"},
		{"169.254.100.6:443", "127.0.0.1:7777", "169.254.100.6:443"}, // host has no responses here
		{"169.254.100.6:80", "", "169.254.100.6:80"},
		{"169.254.100.5:1", "", "169.254.100.5:1"},
		{"192.0.2.10:22", "", "192.0.2.10:22"},
		{"127.0.0.1:22", "", "127.0.0.1:22"},
		{"169.254.169.254:80", "", "169.254.169.254:80"},
		{"169.254.170.2:80", "", "169.254.170.2:80"},
		{"100.100.100.200:80", "", "100.100.100.200:80"},
		{"168.63.129.16:80", "", "168.63.129.16:80"},
		{"0.0.0.0:22", "", "0.0.0.0:22"},
		{"255.255.255.255:67", "", "255.255.255.255:67"},
		{"239.1.2.3:9", "", "239.1.2.3:9"},
	} {
		for _, m := range []struct {
			name string
			p    Policy
			want string
		}{{"nat", nat, c.nat}, {"host", host, c.host}} {
			got, err := m.p.target(netip.MustParseAddrPort(c.dst))
			if m.want == "" {
				if err != errPolicy { //nolint:errorlint // the bare error is what is promised to code
					t.Errorf("%s to %s = %v, %v; want it denied", m.name, c.dst, got, err)
				}
				continue
			}
			if err != nil || got.String() != m.want {
				t.Errorf("%s to %s = %v, %v; want %s", m.name, c.dst, got, err, m.want)
			}
		}
	}
}

func TestResolvers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		conf string
		want []string
	}{
		{"", []string{"127.0.0.1:53"}},
		{"# nameserver 9.9.9.9\nsearch x\nnameserver 10.0.0.1\nnameserver\t fe80::1%eth0\nnameserver nonsense\n", []string{"10.0.0.1:53", "[fe80::1%eth0]:53"}},
		{"nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4", []string{"1.1.1.1:53", "1.1.1.2:53", "1.1.1.3:53"}},
	} {
		var got []string
		for _, r := range Resolvers([]byte(c.conf)) {
			got = append(got, r.String())
		}
		if diff := cmp.Diff(got, c.want); diff != "" {
			t.Errorf("Resolvers(%q) (-got +want):\n%s", c.conf, diff)
		}
	}
}
