//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// python is the host's own, for programs of a few lines.
func python(name, script string) Process {
	return Process{Name: name, Path: "/usr/bin/python3", Args: []string{"python3", "-c", script}}
}

func awaitExit(t *testing.T, sb *Sandbox) Exit {
	t.Helper()
	select {
	case x := <-sb.Exited():
		return x
	case <-time.After(30 * time.Second):
		t.Fatal("no exit")
	}
	panic("unreachable")
}

func TestSeveralProcesses(t *testing.T) {
	t.Parallel()
	sb := start(t, newPool(t, Options{}), Spec{Task: t.TempDir()})
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	const sleeping = "import time; time.sleep(60)"
	beside := python("beside", "print('from beside', flush=True); "+sleeping)
	beside.Output = write
	for _, p := range []Process{beside, python("", sleeping), python("third", "import signal, sys; signal.signal(15, lambda *a: sys.exit(3)); print('ready', flush=True); signal.pause()")} {
		if err := sb.Exec(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if err := sb.Exec(t.Context(), python("beside", sleeping)); err == nil {
		t.Error("a second process of a name started")
	}
	line := make([]byte, 100)
	n, err := read.Read(line)
	if err != nil || string(line[:n]) != "from beside\n" {
		t.Errorf("output of one = %q, %v; want only its own", line[:n], err)
	}
	awaitReady(t, sb)
	if err := sb.Signal(t.Context(), "third", syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if x := awaitExit(t, sb); x != (Exit{Name: "third", Code: 3}) {
		t.Errorf("exit = %+v; want the third's", x)
	}
	if err := sb.Signal(t.Context(), "third", syscall.SIGTERM); err != nil {
		t.Errorf("signal to nobody = %v; want nil", err)
	}
	if err := sb.Signal(t.Context(), "beside", syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if x := awaitExit(t, sb); x != (Exit{Name: "beside", Signal: syscall.SIGKILL}) {
		t.Errorf("exit = %+v; want beside's", x)
	}
	for i := range MaxExtensions {
		if err := sb.Exec(t.Context(), python(fmt.Sprint(i), sleeping)); err != nil {
			t.Fatal(err)
		}
	}
	if err := sb.Exec(t.Context(), python("one more", sleeping)); err == nil {
		t.Error("one process too many started")
	}
	if err := sb.KillProcesses(t.Context()); err != nil {
		t.Fatal(err)
	}
	var names []string
	for range MaxExtensions + 1 {
		names = append(names, awaitExit(t, sb).Name)
	}
	slices.Sort(names)
	if want := []string{"", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}; !slices.Equal(names, want) {
		t.Errorf("exits of %v; want %v", names, want)
	}
}

func TestDial(t *testing.T) {
	t.Parallel()
	sb := start(t, newPool(t, Options{}), Spec{Task: t.TempDir()})
	if _, err := sb.Dial(t.Context(), 8080); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Dial without a listener = %v; want ECONNREFUSED", err)
	}
	if err := sb.Exec(t.Context(), python("", `
import socket
s = socket.create_server(("sandbox.localdomain", 8080))
print("ready", flush=True)
while True:
    c, _ = s.accept()
    c.sendall(c.recv(100).upper())
    c.close()
`)); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, sb)
	for range 20 {
		c, err := sb.Dial(t.Context(), 8080)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "hello"); err != nil {
			t.Error(err)
		}
		if got, err := io.ReadAll(c); string(got) != "HELLO" {
			t.Errorf("answer = %q, %v; want HELLO", got, err)
		}
		c.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c, err := sb.Dial(ctx, 8080); err == nil {
		c.Close() // quick enough
	}
	if err := sb.Exec(t.Context(), python("after", "pass")); err != nil {
		t.Errorf("Exec after a cancelled Dial = %v; want a sandbox that works", err)
	}
}

func TestExtensionsAreListed(t *testing.T) {
	t.Parallel()
	p := newPool(t, Options{})
	a := write(t, t.TempDir(), map[string]string{"extensions/b": "", "extensions/dir/c": ""})
	b := write(t, t.TempDir(), map[string]string{"extensions/a": "", "extensions/b": ""})
	if got := start(t, p, Spec{Layers: []string{a, b}}).Extensions(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("extensions = %v; want a and b", got)
	}
	if got := start(t, p, Spec{}).Extensions(); len(got) != 0 {
		t.Errorf("extensions without layers = %v", got)
	}
	file := write(t, t.TempDir(), map[string]string{"extensions": "no directory"})
	if got := start(t, p, Spec{Layers: []string{file}}).Extensions(); len(got) != 0 {
		t.Errorf("extensions of a file = %v", got)
	}
	many := t.TempDir()
	for i := range 500 {
		write(t, many, map[string]string{filepath.Join("extensions", fmt.Sprintf("%03d", i)): ""})
	}
	if got := start(t, p, Spec{Layers: []string{many}}).Extensions(); len(got) != MaxExtensions+1 {
		t.Errorf("%d extensions listed; want one too many", len(got))
	}
	long := t.TempDir()
	for i := range 11 {
		write(t, long, map[string]string{filepath.Join("extensions", strings.Repeat("\x01", 240)+fmt.Sprint(i)): ""})
	}
	if _, err := p.Start(t.Context(), spec(t, Spec{Layers: []string{long}})); !errors.Is(err, syscall.ENAMETOOLONG) {
		t.Errorf("Start with giant names = %v; want ENAMETOOLONG", err)
	}
}

// TestLogDescriptor: a process has one more descriptor for its output if it shall,
// and only that; what it does to stdout is not done to the other.
func TestLogDescriptor(t *testing.T) {
	t.Parallel()
	sb := start(t, newPool(t, Options{}), Spec{Task: t.TempDir()})
	const script = `
import os
def of(fd):
    try:
        return os.fstat(fd).st_ino, os.get_blocking(fd)
    except OSError:
        return None
os.set_blocking(1, False)
if of(62):
    os.write(62, b"written\n")
print(of(62) == (of(1)[0], True), [fd for fd in range(3, 300) if of(fd)], flush=True)
`
	for _, c := range []struct {
		fd   int
		want string
	}{{62, "written\nTrue [62]\n"}, {0, "False []\n"}, {255, "False [255]\n"}, {256, "False []\n"}} {
		p := python("", script)
		p.LogFD = c.fd
		if out, x := runProcess(t, sb, p); out != c.want || x.Code != 0 {
			t.Errorf("with %d: %q, %+v; want %q", c.fd, out, x, c.want)
		}
	}
}
