package nat

import (
	"encoding/binary"
	"net/netip"
)

const (
	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17

	flagFIN = 1
	flagSYN = 2
	flagRST = 4
	flagACK = 16

	ipHeader  = 20 // of the packets made here
	udpHeader = 8
	tcpHeader = 20
)

// Why the world can't be reached, as the codes of ICMP "destination unreachable".
const (
	unreachableNet      = 0  // ENETUNREACH
	unreachableHost     = 1  // EHOSTUNREACH
	unreachablePort     = 3  // ECONNREFUSED
	unreachableByPolicy = 13 // EHOSTUNREACH
)

// packet is a whole IPv4 packet of TCP or UDP whose headers lie within it.
type packet struct {
	data      []byte // from the IP header to the end that it states
	transport []byte // the part of data behind the IP header
	proto     uint8
	src, dst  netip.AddrPort
}

// parse looks at bytes that a function may have made up.
func parse(b []byte) (p packet, ok bool) {
	if len(b) < ipHeader || b[0]>>4 != 4 {
		return p, false
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < ipHeader || total < header || total > len(b) {
		return p, false
	}
	if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 { // a fragment; what a function sends fits into one packet
		return p, false
	}
	p.data, p.transport, p.proto = b[:total], b[header:total], b[9]
	switch p.proto {
	case protoTCP:
		if len(p.transport) < tcpHeader {
			return p, false
		}
		if n := int(p.transport[12]>>4) * 4; n < tcpHeader || n > len(p.transport) {
			return p, false
		}
	case protoUDP:
		if len(p.transport) < udpHeader {
			return p, false
		}
		n := int(binary.BigEndian.Uint16(p.transport[4:]))
		if n < udpHeader || n > len(p.transport) {
			return p, false
		}
		p.transport = p.transport[:n]
	default:
		return p, false
	}
	p.src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), binary.BigEndian.Uint16(p.transport))
	p.dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:])), binary.BigEndian.Uint16(p.transport[2:]))
	return p, true
}

// flags are those of a TCP packet.
func (p packet) flags() uint8 { return p.transport[13] }

// readdress gives a TCP packet another source and destination, and corrects its
// checksums by the difference alone, so that its length costs nothing.
func (p packet) readdress(src, dst netip.AddrPort) {
	s, d := src.Addr().As4(), dst.Addr().As4()
	var old, now [12]byte
	copy(old[:], p.data[12:20])
	copy(old[8:], p.transport[:4])
	copy(now[:], s[:])
	copy(now[4:], d[:])
	binary.BigEndian.PutUint16(now[8:], src.Port())
	binary.BigEndian.PutUint16(now[10:], dst.Port())
	copy(p.data[12:], now[:8])
	copy(p.transport, now[8:])
	adjust(p.data[10:], old[:8], now[:8])
	adjust(p.transport[16:], old[:], now[:]) // the addresses are part of it, too
}

// adjust corrects the checksum at sum for words that changed (RFC 1624).
func adjust(sum, old, now []byte) {
	total := uint32(^binary.BigEndian.Uint16(sum))
	for i := 0; i < len(old); i += 2 {
		total += uint32(^binary.BigEndian.Uint16(old[i:])) + uint32(binary.BigEndian.Uint16(now[i:]))
	}
	binary.BigEndian.PutUint16(sum, ^fold(total))
}

func fold(total uint32) uint16 {
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}

// sum is the one's complement sum of b on top of what there is already.
func sum(total uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		if total += uint32(binary.BigEndian.Uint16(b)); total >= 1<<31 {
			total = uint32(fold(total))
		}
	}
	if len(b) == 1 {
		total += uint32(b[0]) << 8
	}
	return total
}

// putIP writes the header of a packet of the given length.
func putIP(b []byte, proto uint8, src, dst netip.Addr) {
	clear(b[:ipHeader])
	b[0] = 4<<4 | ipHeader/4
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[6] = 0x40 // don't fragment
	b[8] = 64
	b[9] = proto
	s, d := src.As4(), dst.As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	binary.BigEndian.PutUint16(b[10:], ^fold(sum(0, b[:ipHeader])))
}

// datagramRoom is how much there must be in front of a payload for [putDatagram].
const datagramRoom = ipHeader + udpHeader

// putDatagram writes the headers of a UDP packet into b, whose payload is in
// place. Its checksum is left out, which IPv4 allows: nothing on the way can
// damage it.
func putDatagram(b []byte, src, dst netip.AddrPort) {
	putIP(b, protoUDP, src.Addr(), dst.Addr())
	u := b[ipHeader:]
	binary.BigEndian.PutUint16(u, src.Port())
	binary.BigEndian.PutUint16(u[2:], dst.Port())
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	u[6], u[7] = 0, 0
}

// reset is the answer to a TCP packet that there is no connection for. A reset
// has none.
func reset(p packet) []byte {
	if p.flags()&flagRST != 0 {
		return nil
	}
	b := make([]byte, ipHeader+tcpHeader)
	t := b[ipHeader:]
	binary.BigEndian.PutUint16(t, p.dst.Port())
	binary.BigEndian.PutUint16(t[2:], p.src.Port())
	t[12] = tcpHeader / 4 << 4
	if p.flags()&flagACK != 0 {
		copy(t[4:8], p.transport[8:12]) // starts where they are
		t[13] = flagRST
	} else {
		length := uint32(len(p.transport) - int(p.transport[12]>>4)*4)
		if p.flags()&flagSYN != 0 {
			length++
		}
		if p.flags()&flagFIN != 0 {
			length++
		}
		binary.BigEndian.PutUint32(t[8:], binary.BigEndian.Uint32(p.transport[4:])+length)
		t[13] = flagRST | flagACK
	}
	putIP(b, protoTCP, p.dst.Addr(), p.src.Addr())
	total := sum(uint32(protoTCP)+tcpHeader, b[12:20])
	binary.BigEndian.PutUint16(t[16:], ^fold(sum(total, t)))
	return b
}

// unreachable tells the sender of an IPv4 packet why it did not get there. Of the
// packet its header and 8 bytes are wanted.
func unreachable(original []byte, code uint8) []byte {
	header := int(original[0]&15) * 4
	quote := original[:min(len(original), header+8)]
	b := make([]byte, ipHeader+8+len(quote))
	i := b[ipHeader:]
	i[0], i[1] = 3, code
	copy(i[8:], quote)
	binary.BigEndian.PutUint16(i[2:], ^fold(sum(0, i)))
	from, to := netip.AddrFrom4([4]byte(original[16:20])), netip.AddrFrom4([4]byte(original[12:16]))
	putIP(b, protoICMP, from, to)
	return b
}
