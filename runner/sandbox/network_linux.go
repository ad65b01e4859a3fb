package sandbox

import (
	"golang.org/x/sys/unix"
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
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, step("open listener", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 9001}); err != nil {
		unix.Close(fd)
		return -1, step("bind listener", err)
	}
	if err := unix.Listen(fd, 128); err != nil {
		unix.Close(fd)
		return -1, step("listen", err)
	}
	return fd, nil
}
