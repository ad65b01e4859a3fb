package main

import (
	"context"
	"log/slog"
	"net"
	"net/netip"

	"github.com/lamina-run/lamina/runner/sandbox"
)

// chooseNetwork turns the setting into a mode. What was asked for and can't be
// had is an error; auto is content with none, and says so.
func chooseNetwork(ctx context.Context, setting string, log *slog.Logger) (sandbox.Network, error) {
	best, err := sandbox.DefaultNetwork()
	switch {
	case setting == "auto":
		if err != nil {
			log.LogAttrs(ctx, slog.LevelWarn, "functions have no network", slog.Any("err", err))
		}
		return best, nil
	case setting != string(sandbox.NetworkNone) && err != nil:
		return "", hint(err, "load the kernel module tun, or choose --network none")
	}
	return sandbox.ParseNetwork(setting)
}

// ownEndpoint is where this host reaches what listens at a.
func ownEndpoint(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := tcp.AddrPort()
	if at.Addr().Unmap().IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port())
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}
