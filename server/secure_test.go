package server

import "testing"

func TestLoopback(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"127.0.0.1": true, "127.8.9.10": true, "::1": true, "::ffff:127.0.0.1": true,
		"192.0.2.1": false, "::ffff:192.0.2.1": false, "2001:db8::1": false, "": false, "@": false, "@example": false, "localhost": true, "a.localhost": true,
	} {
		if got := isLoopback(name); got != want {
			t.Errorf("isLoopback(%q) = %t; want %t", name, got, want)
		}
	}
}
