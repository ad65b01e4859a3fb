package runtimes

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTrust(t *testing.T) {
	t.Parallel()
	trust := Trust{Authority: "/data/ca.pem", Bundle: "/data/bundle.pem", BundleAt: "/etc/ssl/certs/ca-certificates.crt"}
	for _, c := range []struct {
		runtime string
		binds   []Bind
		node    bool // NODE_EXTRA_CA_CERTS with an authority to trust
		always  bool // and without
	}{
		{"python3.12", []Bind{{"/data/ca.pem", "/etc/ssl/lamina.pem"}}, false, false},
		{"nodejs18.x", []Bind{{"/data/ca.pem", "/var/runtime/ca-cert.pem"}}, true, true},
		{"nodejs22.x", []Bind{{"/data/ca.pem", "/var/runtime/ca-cert.pem"}}, true, false},
		{"provided.al2023", []Bind{{"/data/bundle.pem", "/etc/ssl/certs/ca-certificates.crt"}}, false, false},
		{"java21", nil, false, false},
	} {
		family := map[byte]string{'p': "python", 'n': "nodejs", 'j': "java"}[c.runtime[0]]
		if c.runtime[1] == 'r' {
			family = "provided"
		}
		if d := cmp.Diff(c.binds, trust.binds(family)); d != "" {
			t.Errorf("%s (-want +got)\n%s", c.runtime, d)
		}
		if got := (Trust{}).binds(family); got != nil {
			t.Errorf("%s without an authority: %v", c.runtime, got)
		}
		for _, with := range []bool{true, false} {
			var r Request
			r.Version.Config.Runtime = c.runtime
			want := c.always
			if with {
				r.Trust, want = trust, c.node
			}
			if got := slices.Contains(environment(r), "NODE_EXTRA_CA_CERTS=/var/runtime/ca-cert.pem"); got != want {
				t.Errorf("%s, trust %v: NODE_EXTRA_CA_CERTS is set: %v; want %v", c.runtime, with, got, want)
			}
		}
	}
}
