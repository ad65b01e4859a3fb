package nat

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// The addresses of a sandbox. All are link-local, as inside AWS's environments,
// so none is ever in the way of a network that a function wants to reach.
var (
	// Gateway is where a function finds the server: DNS on port 53, and the
	// endpoint on the port that it has outside.
	Gateway = netip.AddrFrom4([4]byte{169, 254, 100, 2})
	// Function is the address of the TUN device.
	Function = netip.AddrFrom4([4]byte{169, 254, 100, 3})
	// Relay is where the listener inside is, on a port that no function can take.
	Relay = netip.AddrPortFrom(netip.AddrFrom4([4]byte{169, 254, 100, 4}), 1)

	// Responses is where functions answer CloudFormation, on port 443: custom resources
	// know nothing but the name of a host, [ResponsesName].
	Responses = netip.AddrPortFrom(netip.AddrFrom4([4]byte{169, 254, 100, 6}), 443)

	// peer is from where connections come to the relay; only packets have it.
	peer = netip.AddrFrom4([4]byte{169, 254, 100, 5})
)

// ResponsesName is the host name of [Responses], inside.
const ResponsesName = "responses.cloudformation.lamina.internal"

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

const portDNS = 53

// errPolicy says that a function may not go there.
var errPolicy = errors.New("not allowed by the network mode")

// denied are networks that nat does not lead to: those that mean this host, those
// that mean many, and where clouds tell a machine its secrets.
var denied = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),     // metadata of AWS, Google, Azure, …; the sandboxes' own
	netip.MustParsePrefix("100.100.100.200/32"), // of Alibaba
	netip.MustParsePrefix("168.63.129.16/32"),   // of Azure, the host agent
	netip.MustParsePrefix("192.0.0.192/32"),     // of Oracle, the old one
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("240.0.0.0/4"), // and broadcast
}

// Policy is what functions may reach.
type Policy struct {
	// Endpoint is the server's own, as this host reaches it. Functions find it at
	// [Gateway] and its port; an invalid one is none.
	Endpoint netip.AddrPort
	// Responses is what functions find at the variable of that name; an invalid one
	// is none.
	Responses netip.AddrPort
	// Host leads everywhere that the host itself gets, its loopback at [Gateway].
	Host bool
	// Own returns the addresses of this host, which are not neighbours' and yet
	// nobody's business; nil asks the kernel.
	Own func() ([]netip.Addr, error)
}

// target is where a packet to dst has to go. DNS is not its business.
func (p Policy) target(dst netip.AddrPort) (netip.AddrPort, error) {
	if dst.Addr() == Gateway {
		switch {
		case p.Endpoint.IsValid() && dst.Port() == p.Endpoint.Port():
			return p.Endpoint, nil
		case p.Host:
			return netip.AddrPortFrom(loopback, dst.Port()), nil
		}
		return dst, errPolicy
	}
	if dst == Responses && p.Responses.IsValid() {
		return p.Responses, nil
	}
	if p.Host {
		return dst, nil
	}
	if slices.ContainsFunc(denied, func(n netip.Prefix) bool { return n.Contains(dst.Addr()) }) {
		return dst, errPolicy
	}
	own := p.Own
	if own == nil {
		own = ownAddresses
	}
	mine, err := own()
	if err != nil {
		return dst, fmt.Errorf("list own addresses: %w", err)
	}
	if slices.Contains(mine, dst.Addr()) {
		return dst, errPolicy
	}
	return dst, nil
}

// ownAddresses are asked for each time: they come and go.
func ownAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var own []netip.Addr
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				own = append(own, ip.Unmap())
			}
		}
	}
	return own, nil
}

// Resolvers are the name servers of a resolv.conf; as libc has it, none is the
// one on loopback.
func Resolvers(conf []byte) []netip.AddrPort {
	var all []netip.AddrPort
	for line := range bytes.Lines(conf) {
		f := strings.Fields(string(line))
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && len(all) < 3 {
			all = append(all, netip.AddrPortFrom(a, portDNS))
		}
	}
	if all == nil {
		all = []netip.AddrPort{netip.AddrPortFrom(loopback, portDNS)}
	}
	return all
}
