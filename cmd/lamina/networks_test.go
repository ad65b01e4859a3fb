package main

import (
	"io"
	"strings"
	"testing"

	"github.com/lamina-run/lamina/identity"
)

func TestEC2Flags(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		flags []string
		want  string // in what is said; empty is success
	}{
		"an endpoint":          {[]string{"--ec2-endpoint=http://127.0.0.1:5000"}, ""},
		"a key of its own":     {[]string{"--ec2-endpoint=http://127.0.0.1:5000", "--ec2-access-key-id=a", "--ec2-secret-access-key=b"}, ""},
		"no URL":               {[]string{"--ec2-endpoint=127.0.0.1:5000"}, "--ec2-endpoint"},
		"half a key":           {[]string{"--ec2-access-key-id=a"}, "--ec2-access-key-id and --ec2-secret-access-key"},
		"the other half of it": {[]string{"--ec2-secret-access-key=b"}, "--ec2-access-key-id and --ec2-secret-access-key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var notes strings.Builder
			code := run(append([]string{"config"}, c.flags...), streams{out: io.Discard, notes: &notes})
			if (code == exitOK) != (c.want == "") || !strings.Contains(notes.String(), c.want) {
				t.Errorf("config %q = %d, %q; want %q", c.flags, code, notes.String(), c.want)
			}
		})
	}
}

func TestOpenNetworks(t *testing.T) {
	t.Parallel()
	if got, err := openNetworks(&settings{}, identity.Credentials{}); got != nil || err != nil {
		t.Errorf("openNetworks without an endpoint = %v, %v; want nothing", got, err)
	}
	if got, err := openNetworks(&settings{EC2Endpoint: "http://127.0.0.1:5000"}, identity.Credentials{}); got == nil || err != nil {
		t.Errorf("openNetworks = %v, %v; want EC2", got, err)
	}
}
