//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMounts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		spec Spec
		want []mount
	}{
		{"nothing", Spec{}, nil},
		{"the last layer comes first, for the kernel", Spec{Task: "/t", Layers: []string{"/a", "/b"}}, []mount{
			{Target: "/var/task", Sources: []string{"/t"}}, {Target: "/opt", Sources: []string{"/b", "/a"}},
		}},
		{"binds keep their order", Spec{Binds: []Bind{{"/x", "/var/lang"}, {"/y", "/var/runtime"}}}, []mount{
			{Target: "/var/lang", Sources: []string{"/x"}}, {Target: "/var/runtime", Sources: []string{"/y"}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.spec.mounts(), c.want); diff != "" {
				t.Errorf("mounts (-got +want):\n%s", diff)
			}
		})
	}
}

func TestPeakMemoryIsParsed(t *testing.T) {
	t.Parallel()
	if got, err := peakMemory("Name:\tx\nVmHWM:\t    5620 kB\nVmRSS:\t1 kB\n"); got != 5620<<10 || err != nil {
		t.Errorf("peakMemory = %d, %v; want %d", got, err, 5620<<10)
	}
	if _, err := peakMemory("Name:\tx\nState:\tZ (zombie)\n"); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("peakMemory of a zombie = %v; want %v", err, syscall.ESRCH)
	}
	if _, err := peakMemory("Name:\tx\nVmHWM:\tmany kB\n"); err == nil {
		t.Error("peakMemory of nonsense = nil error; want one")
	}
}

func TestErrorsKeepTheirNumberOnTheWay(t *testing.T) {
	t.Parallel()
	err := toWire(step("exec /x", fmt.Errorf("wrapped: %w", syscall.ENOENT))).err()
	if e, ok := errors.AsType[*Error](err); !ok || e.Step != "exec /x" || e.Err != syscall.ENOENT { //nolint:errorlint // the bare number is the promise
		t.Errorf("error = %#v; want exec /x: ENOENT", err)
	}
	if got, want := toWire(step("mask", errors.New("why"))).err().Error(), "mask: why"; got != want {
		t.Errorf("error = %q; want %q", got, want)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	need(t)
	r := Probe(t.Context())
	for _, c := range r.Checks {
		if !c.OK && c.Hint == "" {
			t.Errorf("check %s is not ok and has no hint: %s", c.Name, c.Detail)
		}
		t.Logf("%+v", c)
	}
}
