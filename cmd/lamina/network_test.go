package main

import (
	"log/slog"
	"net"
	"testing"

	"github.com/lamina-run/lamina/runner/sandbox"
)

func TestOwnEndpoint(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		"127.0.0.1:4566": "127.0.0.1:4566", "0.0.0.0:80": "127.0.0.1:80", "[::]:80": "127.0.0.1:80", "[::1]:4566": "[::1]:4566",
		"192.0.2.7:4566": "192.0.2.7:4566", "[::ffff:10.0.0.1]:1": "10.0.0.1:1",
	} {
		a, err := net.ResolveTCPAddr("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		if got := ownEndpoint(a).String(); got != want {
			t.Errorf("ownEndpoint(%s) = %s; want %s", listen, got, want)
		}
	}
}

func TestChooseNetwork(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	best, missing := sandbox.DefaultNetwork()
	for setting, want := range map[string]sandbox.Network{"auto": best, "none": sandbox.NetworkNone} {
		if got, err := chooseNetwork(t.Context(), setting, log); got != want || err != nil {
			t.Errorf("chooseNetwork(%s) = %s, %v; want %s", setting, got, err, want)
		}
	}
	for _, asked := range []sandbox.Network{sandbox.NetworkNAT, sandbox.NetworkHost} {
		got, err := chooseNetwork(t.Context(), string(asked), log)
		if missing == nil && (got != asked || err != nil) {
			t.Errorf("chooseNetwork(%s) = %s, %v; want it", asked, got, err)
		}
		if missing != nil && err == nil {
			t.Errorf("chooseNetwork(%s) = %s; want an error, for it can't be had: %v", asked, got, missing)
		}
	}
}
