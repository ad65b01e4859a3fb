package sandbox

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// network says which mode functions get when nobody chose, and why that one.
func network(ctx context.Context) Check {
	c := Check{Name: "network", Hint: "load the kernel module tun; until then functions reach nothing, which is safe, and --network none says so without this line"}
	mode, err := DefaultNetwork()
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		c.Hint = "let the server's user open " + tunPath + ", as most systems let everybody (chmod 666; udev's rule is KERNEL==\"tun\", MODE=\"0666\"): " +
			"what it makes it makes in namespaces of its own; until then functions reach nothing, which is safe"
	}
	if err == nil {
		err = tryNetwork(ctx, mode)
	}
	if err != nil {
		c.Detail = "none: " + err.Error()
		return c
	}
	return Check{Name: c.Name, OK: true, Detail: "nat: functions reach the world and this server, but not this host's other services, its loopback, each other, or cloud metadata; " +
		"--network host lets them reach all that this host does, none nothing"}
}

func tryNetwork(ctx context.Context, mode Network) error {
	p, err := NewPool(Options{Network: mode})
	if err != nil {
		return err
	}
	defer p.close()
	s, err := p.Start(ctx, Spec{ID: "probe", TmpBytes: 1 << 20})
	if err != nil {
		return err
	}
	return s.Close()
}
