//go:build linux

package sandbox

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// verdict runs the filter as the kernel would. The machine of package bpf reads
// big endian, which no system of ours is, so that is what it gets.
func verdict(t testing.TB, vm *bpf.VM, arch, number uint32, args ...uint32) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[offNumber:], number)
	binary.BigEndian.PutUint32(data[offArch:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[offArg0+8*i:], a)
	}
	v, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(v)
}

func machine(t testing.TB) *bpf.VM {
	t.Helper()
	vm, err := bpf.NewVM(seccompProgram())
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

const allowIt = uint32(unix.SECCOMP_RET_ALLOW)

func refuseWith(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }

func TestEverySystemCallHasItsVerdict(t *testing.T) {
	t.Parallel()
	vm := machine(t)
	depends := decided()
	for n := range uint32(1024) {
		if _, ok := depends[n]; ok {
			continue
		}
		want := refuseWith(unix.ENOSYS)
		in := 0
		for _, list := range []struct {
			numbers []uint32
			want    uint32
		}{
			{allowed, allowIt}, {archAllowed, allowIt}, {refused, refuseWith(unix.EPERM)}, {archRefused, refuseWith(unix.EPERM)}, {pretended, refuseWith(0)},
		} {
			if slices.Contains(list.numbers, n) {
				want = list.want
				in++
			}
		}
		if in > 1 {
			t.Errorf("system call %d is in %d lists; want one at most", n, in)
		}
		if got := verdict(t, vm, auditArch, n); got != want {
			t.Errorf("system call %d = %#x; want %#x", n, got, want)
		}
	}
	for _, n := range []uint32{0x40000000 | unix.SYS_GETPID, 0xffffffff, 1 << 31} {
		if got := verdict(t, vm, auditArch, n); got != refuseWith(unix.ENOSYS) {
			t.Errorf("system call %#x = %#x; want ENOSYS", n, got)
		}
	}
	if got := verdict(t, vm, unix.AUDIT_ARCH_I386, unix.SYS_GETPID); got != unix.SECCOMP_RET_KILL_PROCESS {
		t.Errorf("32-bit call = %#x; want the process killed", got)
	}
	if n := len(seccompProgram()); n > 300 {
		t.Errorf("the filter has %d instructions; want at most 300", n)
	}
}

func TestArgumentsDecide(t *testing.T) {
	t.Parallel()
	vm := machine(t)
	for _, c := range []struct {
		name   string
		number uint32
		args   []uint32
		want   uint32
	}{
		{"a thread", unix.SYS_CLONE, []uint32{unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND}, allowIt},
		{"a process", unix.SYS_CLONE, []uint32{uint32(unix.SIGCHLD)}, allowIt},
		{"a user namespace", unix.SYS_CLONE, []uint32{unix.CLONE_NEWUSER}, refuseWith(unix.EPERM)},
		{"a network namespace among others", unix.SYS_CLONE, []uint32{unix.CLONE_VM | unix.CLONE_NEWNET}, refuseWith(unix.EPERM)},
		{"clone3", unix.SYS_CLONE3, nil, refuseWith(unix.ENOSYS)},
		{"TCP", unix.SYS_SOCKET, []uint32{unix.AF_INET, unix.SOCK_STREAM, 0}, allowIt},
		{"UDP by name", unix.SYS_SOCKET, []uint32{unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP}, allowIt},
		{"UNIX, whatever the protocol", unix.SYS_SOCKET, []uint32{unix.AF_UNIX, unix.SOCK_DGRAM, 1234}, allowIt},
		{"SCTP", unix.SYS_SOCKET, []uint32{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP}, refuseWith(unix.EPROTONOSUPPORT)},
		{"MPTCP", unix.SYS_SOCKET, []uint32{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}, refuseWith(unix.EPROTONOSUPPORT)},
		{"routes", unix.SYS_SOCKET, []uint32{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, allowIt},
		{"firewall", unix.SYS_SOCKET, []uint32{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, refuseWith(unix.EPROTONOSUPPORT)},
		{"vsock", unix.SYS_SOCKET, []uint32{unix.AF_VSOCK, unix.SOCK_STREAM, 0}, refuseWith(unix.EAFNOSUPPORT)},
		{"packets", unix.SYS_SOCKET, []uint32{unix.AF_PACKET, unix.SOCK_RAW, 0}, refuseWith(unix.EAFNOSUPPORT)},
		{"a pair", unix.SYS_SOCKETPAIR, []uint32{unix.AF_UNIX, unix.SOCK_STREAM}, allowIt},
		{"a pair of TIPC", unix.SYS_SOCKETPAIR, []uint32{unix.AF_TIPC, unix.SOCK_STREAM}, refuseWith(unix.EAFNOSUPPORT)},
		{"an ioctl", unix.SYS_IOCTL, []uint32{1, unix.TIOCGWINSZ}, allowIt},
		{"a signal to the init", unix.SYS_KILL, []uint32{1, 15}, refuseWith(unix.EPERM)},
		{"a signal to its thread", unix.SYS_TGKILL, []uint32{1, 2, 15}, refuseWith(unix.EPERM)},
		{"a signal to everybody", unix.SYS_KILL, []uint32{^uint32(0), 9}, allowIt},
		{"limits of one's own", unix.SYS_PRLIMIT64, []uint32{0, unix.RLIMIT_NOFILE}, allowIt},
		{"limits of the init", unix.SYS_PRLIMIT64, []uint32{1, unix.RLIMIT_NOFILE}, refuseWith(unix.EPERM)},
		{"typing", unix.SYS_IOCTL, []uint32{1, unix.TIOCSTI}, refuseWith(unix.EPERM)},
	} {
		if got := verdict(t, vm, auditArch, c.number, c.args...); got != c.want {
			t.Errorf("%s = %#x; want %#x", c.name, got, c.want)
		}
	}
}
