package sandbox

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lamina-run/lamina/runner/sandbox/nat"
)

// loopback brings lo up, which gives it 127.0.0.1, and adds the address of the
// Runtime API.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return step("open loopback", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return step("bring loopback up", err)
	}
	if ifr, err = unix.NewIfreq("lo:1"); err != nil {
		return err
	}
	if err := ifr.SetInet4Addr([]byte{169, 254, 100, 1}); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, ifr); err != nil {
		return step("add address to loopback", err)
	}
	if err := ifr.SetInet4Addr([]byte{255, 255, 255, 255}); err != nil {
		return err
	}
	return step("set netmask of loopback", unix.IoctlIfreq(fd, unix.SIOCSIFNETMASK, ifr))
}

// listen makes the socket of the Runtime API. It stays in this namespace
// wherever its descriptor goes.
func listen() (fd int, err error) {
	return listenAt(&unix.SockaddrInet4{Port: 9001})
}

const device = "eth0" // the TUN device, as a function sees it

// way makes the device that leads out, with its address and the default route,
// and the listener that its connections are answered at.
func way() (fds []int, err error) {
	// What it sends of its own accord in IPv6 leads nowhere; a kernel without IPv6
	// has no such file.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	tun, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, step("open "+tunPath, err)
	}
	defer func() {
		if err != nil {
			unix.Close(tun)
		}
	}()
	ifr, err := unix.NewIfreq(device)
	if err != nil {
		return nil, err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(tun, unix.TUNSETIFF, ifr); err != nil {
		return nil, step("make network device", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, step("make network device", err)
	}
	defer unix.Close(fd)
	one, relay := nat.Function.As4(), nat.Relay.Addr().As4()
	for _, set := range []struct {
		name    string
		request uint
		value   func(*unix.Ifreq) error
	}{
		{device, unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(nat.MTU); return nil }},
		{device, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(one[:]) }},
		{device, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 255}) }},
		{device, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
		{"lo:2", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(relay[:]) }},
		{"lo:2", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 255}) }},
	} {
		r, err := unix.NewIfreq(set.name)
		if err == nil {
			err = set.value(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(fd, set.request, r)
		}
		if err != nil {
			return nil, step("set up network device", err)
		}
	}
	index, err := unix.NewIfreq(device)
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, index); err != nil {
		return nil, step("set up network device", err)
	}
	if err := defaultRoute(index.Uint32()); err != nil {
		return nil, step("add default route", err)
	}
	listener, err := listenAt(&unix.SockaddrInet4{Addr: relay, Port: int(nat.Relay.Port())})
	if err != nil {
		return nil, err
	}
	return []int{tun, listener}, nil
}

// defaultRoute sends everything that is not local to a device.
func defaultRoute(index uint32) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	n := binary.NativeEndian
	m := n.AppendUint32(nil, unix.SizeofNlMsghdr+unix.SizeofRtMsg+8)
	m = n.AppendUint16(m, unix.RTM_NEWROUTE)
	m = n.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	m = append(m, 1, 0, 0, 0, 0, 0, 0, 0) // sequence number; port
	m = append(m, unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_LINK, unix.RTN_UNICAST, 0, 0, 0, 0)
	m = n.AppendUint16(m, 8)
	m = n.AppendUint16(m, unix.RTA_OIF)
	m = n.AppendUint32(m, index)
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 512)
	got, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if got < unix.SizeofNlMsghdr+4 || n.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return unix.EPROTO
	}
	if errno := -int32(n.Uint32(answer[unix.SizeofNlMsghdr:])); errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}

// listenAt makes a listening socket in this namespace.
func listenAt(at unix.Sockaddr) (fd int, err error) {
	family := unix.AF_INET
	if _, six := at.(*unix.SockaddrInet6); six {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, step("open listener", err)
	}
	if family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	if err == nil {
		err = unix.Bind(fd, at)
	}
	if err == nil {
		err = unix.Listen(fd, 128)
	}
	if err != nil {
		unix.Close(fd)
		return -1, step("listen", err)
	}
	return fd, nil
}

// listenAs makes a listener for each port that is free inside, on all addresses
// of both IPs if there are both, and returns the ports, too. It is for services
// of the host's that a function is to find on its own loopback.
func listenAs(ports []uint16) (got []uint16, fds []int) {
	for _, port := range ports {
		fd, err := listenAt(&unix.SockaddrInet6{Port: int(port)})
		if err != nil {
			fd, err = listenAt(&unix.SockaddrInet4{Port: int(port)})
		}
		if err == nil {
			got, fds = append(got, port), append(fds, fd)
		}
	}
	return got, fds
}

// tunPath is where the kernel makes TUN devices.
const tunPath = "/dev/net/tun"

// DefaultNetwork is the safest mode with which functions still work as their
// authors expect: nat if this host can do it, else none, and then why.
func DefaultNetwork() (Network, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return NetworkNone, step("open "+tunPath, err)
	}
	unix.Close(fd)
	return NetworkNAT, nil
}

// hostPorts are the TCP ports on which something of this host's listens on
// loopback or on all addresses, at most max of them.
func hostPorts(max int) []uint16 {
	var all []uint16
	for _, name := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // a kernel without IPv6
		}
		all = append(all, listening(b)...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), max)]
}

// listening reads /proc/net/tcp or tcp6.
func listening(table []byte) (ports []uint16) {
	for line := range bytes.Lines(table) {
		f := strings.Fields(string(line))
		if len(f) < 4 || f[3] != "0A" { // TCP_LISTEN
			continue
		}
		addr, port, ok := strings.Cut(f[1], ":")
		n, err := strconv.ParseUint(port, 16, 16)
		if !ok || err != nil || n == 0 {
			continue
		}
		switch addr { // words in the host's order; both architectures are little endian
		case "00000000", "00000000000000000000000000000000", "00000000000000000000000001000000":
		default:
			if len(addr) != 8 || !strings.HasSuffix(addr, "7F") {
				continue
			}
		}
		ports = append(ports, uint16(n))
	}
	return ports
}

func resolvConf(n Network) string {
	if n == NetworkNone {
		return "" // there is no network to ask
	}
	text := "nameserver " + nat.Gateway.String() + "\noptions timeout:3\n"
	if n != NetworkHost {
		return text
	}
	// Short names mean what they mean on the host.
	conf, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return text
	}
	for line := range strings.Lines(string(conf)) {
		if f := strings.Fields(line); len(f) > 1 && (f[0] == "search" || f[0] == "domain") {
			text += strings.Join(f, " ") + "\n"
		}
	}
	return text
}

// hostNames are lines of /etc/hosts.
func hostNames(n Network) string {
	if n == NetworkNone || n == "" {
		return ""
	}
	text := nat.Responses.Addr().String() + " " + nat.ResponsesName + "\n"
	if n != NetworkHost {
		return text
	}
	text += nat.Gateway.String() + " host.docker.internal host.lamina.internal\n"
	if own, err := os.ReadFile("/etc/hosts"); err == nil {
		text += string(own)
	}
	return text
}

// functionSockets is how many sockets functions may hold open in the server: half of
// its descriptors at most, so that they can't take the server's own.
func functionSockets() int {
	const most = 1 << 14
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return most // a guess as good as any
	}
	return int(min(limit.Cur/2, most))
}
