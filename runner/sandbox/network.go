package sandbox

import (
	"fmt"
	"net/netip"

	"github.com/lamina-run/lamina/runner/sandbox/nat"
)

// Network is what functions can reach besides their own loopback and their
// Runtime API. Each sandbox has a network namespace of its own in every mode, so
// that no mode shows a function another's Runtime API.
type Network string

const (
	// NetworkNone leads nowhere. It is what the zero value means.
	NetworkNone Network = "none"
	// NetworkNAT leads out by IPv4, but neither to this host, its loopback least
	// of all, nor to link-local addresses, such as those of cloud metadata. The
	// exceptions are names, which the host's resolvers answer, and the server.
	NetworkNAT Network = "nat"
	// NetworkHost leads wherever the host itself gets by IPv4: its own addresses,
	// link-local ones, and its loopback. What listens on the host when a sandbox
	// starts is on the sandbox's loopback, too; all ports are always at
	// host.docker.internal.
	NetworkHost Network = "host"
)

// ParseNetwork reads the name of a mode.
func ParseNetwork(s string) (Network, error) {
	switch n := Network(s); n {
	case NetworkNone, NetworkNAT, NetworkHost:
		return n, nil
	case "":
		return NetworkNone, nil
	}
	return "", fmt.Errorf("network mode %q: want nat, host or none", s)
}

// Inside is where functions of a sandbox with that network find what this host
// has at endpoint, the address of [Options.Endpoint]. It is invalid if they don't.
func (n Network) Inside(endpoint netip.AddrPort) netip.AddrPort {
	if n == NetworkNone || n == "" || !endpoint.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(nat.Gateway, endpoint.Port())
}

// ResponsesName is the name by which functions of a sandbox with a network find
// what is at [Options.Responses], on port 443.
const ResponsesName = nat.ResponsesName
