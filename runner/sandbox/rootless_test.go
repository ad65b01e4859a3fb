//go:build linux

package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ordinary is a user of nobody else's: the kernel counts processes by user.
const ordinary = 65533

// ordinaryUser returns a directory of that user's, and in it this program.
func ordinaryUser(t testing.TB) (dir, bin string) {
	t.Helper()
	need(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err = os.MkdirTemp("", "lamina-rootless-") // t.TempDir's parent is ours alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	bin = filepath.Join(dir, "bin")
	if err := os.WriteFile(bin, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, ordinary, ordinary); err != nil {
		t.Fatal(err)
	}
	return dir, bin
}

// asOrdinaryUser is a command that writes its errors to the test's log.
func asOrdinaryUser(t testing.TB, bin string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
	cmd.Stderr = t.Output()
	return cmd
}

// rootlessServer runs one function as a user without privileges and prints
// what it saw, as JSON strings a line.
func rootlessServer(args []string) int {
	fail := func(err error) int {
		fmt.Println(err)
		return 1
	}
	p, err := NewPool(Options{})
	if err != nil {
		return fail(err)
	}
	ctx := context.Background()
	s, err := p.Start(ctx, Spec{
		Task: args[1], Layers: []string{args[1], args[2]}, Hostname: "sandbox",
		Binds: []Bind{{Source: args[0], Target: program}}, Masks: []string{"/var/task/hidden"},
	})
	if err != nil {
		return fail(err)
	}
	defer s.Close()
	for _, cmd := range [][]string{{"look"}, {"refused"}, {"cat", "/opt/who"}, {"list", "/var/task/hidden", "/", "/work"}, {"signals"}, {"cat", "/opt/who"}} {
		if err := s.Exec(ctx, Process{
			Path: program, Args: append([]string{"inside", "inside"}, cmd...), Env: []string{"A=1", "B=two words"},
		}); err != nil {
			return fail(err)
		}
		<-s.Exited()
		s.Output().SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		b, err := io.ReadAll(s.Output())
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return fail(fmt.Errorf("%v: output ended: %w", cmd, err))
		}
		if err := json.NewEncoder(os.Stdout).Encode(string(b)); err != nil {
			return fail(err)
		}
	}
	return 0
}

func TestRootless(t *testing.T) {
	t.Parallel()
	need(t)
	dir, bin := ordinaryUser(t)
	one := write(t, filepath.Join(dir, "one"), map[string]string{"who": "one", "hidden/x": "x"})
	two := write(t, filepath.Join(dir, "two"), map[string]string{"who": "two"})
	cmd := asOrdinaryUser(t, bin, "rootless", bin, one, two)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("server: %v: %s", err, out)
	}
	var saw []map[string]string
	for l := range strings.Lines(string(out)) {
		var s string
		if err := json.Unmarshal([]byte(l), &s); err != nil {
			t.Fatal(err)
		}
		saw = append(saw, fields(s))
	}
	checkLook(t, saw[0])
	if got, want := saw[0]["Uid:"], "993 993 993 993"; got != want {
		t.Errorf("Uid = %q; want %q", got, want)
	}
	for k, want := range wantRefused {
		if k == "setuid" {
			want = "EINVAL" // the namespace has no other user
		}
		if got := saw[1][k]; got != want {
			t.Errorf("%s = %q; want %q", k, got, want)
		}
	}
	for _, k := range []string{"init-environ", "init-root"} {
		if saw[1][k] == "" {
			t.Errorf("%s can be read; want an error", k)
		}
	}
	if got := saw[2]["/opt/who"]; got != "two" {
		t.Errorf("/opt/who = %q; want two", got)
	}
	if got, ok := saw[3]["/var/task/hidden"]; got != "" || !ok {
		t.Errorf("masked directory = %q, %t; want it empty", got, ok)
	}
	if got := saw[4]["sent"]; got != "50" {
		t.Errorf("signals to the init: %v; want 50 rounds", saw[4])
	}
	if got := saw[5]["/opt/who"]; got != "two" {
		t.Errorf("after signals to the init /opt/who = %q; want two", got)
	}
	if t.Failed() {
		t.Logf("%v", saw)
	}
}
