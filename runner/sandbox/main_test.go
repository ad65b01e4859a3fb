//go:build linux

package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary plays every part: the init, the function's program (as
// /var/runtime/inside), and the server that gets killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case InitVerb:
			Init()
		case SpawnVerb:
			Spawn()
		case "inside":
			os.Exit(inside(os.Args[2:]))
		case "server":
			os.Exit(doomedServer(os.Args[2:]))
		case "images-server":
			os.Exit(doomedImages(os.Args[2:]))
		case "rootless":
			os.Exit(rootlessServer(os.Args[2:]))
		case "frugal":
			os.Exit(frugalServer(os.Args[2:]))
		case "heavy":
			os.Exit(heavyServer(os.Args[2:]))
		}
	}
	goleak.VerifyTestMain(m)
}

const program = "/var/runtime/inside"

// need skips without what sandboxes take, or fails when LAMINA_TEST_MUST names it.
func need(t testing.TB) {
	t.Helper()
	r := Probe(t.Context())
	if r.Usable && !r.Rootless {
		return
	}
	if strings.Contains(os.Getenv("LAMINA_TEST_MUST"), "sandbox") {
		t.Fatalf("sandboxes of root are a must here: %+v", r.Checks)
	}
	t.Skipf("needs root and namespaces: %+v", r.Checks)
}

func newPool(t testing.TB, o Options) *Pool {
	t.Helper()
	need(t)
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	p, err := NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close) // takes the control groups away, also without Run
	return p
}

// running runs p until the test ends.
func running(t testing.TB, p *Pool) *Pool {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1) // Run's result, sent once
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v; want nil", err)
		}
	})
	return p
}

// spec returns s with the test binary bound as program.
func spec(t testing.TB, s Spec) Spec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.Binds = append(s.Binds, Bind{Source: self, Target: program})
	return s
}

func start(t testing.TB, p *Pool, s Spec) *Sandbox {
	t.Helper()
	sb, err := p.Start(t.Context(), spec(t, s))
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() {
		if err := sb.Close(); err != nil {
			t.Errorf("Close = %v; want nil", err)
		}
	})
	return sb
}

// run executes program with args and returns what it wrote and how it ended.
func run(t testing.TB, sb *Sandbox, args ...string) (string, Exit) {
	t.Helper()
	return runProcess(t, sb, Process{Path: program, Args: append([]string{"inside", "inside"}, args...)})
}

func runProcess(t testing.TB, sb *Sandbox, p Process) (string, Exit) {
	t.Helper()
	if err := sb.Exec(t.Context(), p); err != nil {
		t.Fatalf("Exec: %v", err)
	}
	return finish(t, sb)
}

func finish(t testing.TB, sb *Sandbox) (string, Exit) {
	t.Helper()
	out := sb.Output()
	if err := out.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := io.Copy(&b, out); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read output: %v", err)
		}
	})
	var exit Exit
	select {
	case exit = <-sb.Exited():
	case <-time.After(30 * time.Second):
		t.Error("process did not exit")
	}
	// What the process wrote is in the pipe; take it, then stop.
	if err := out.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	return b.String(), exit
}

// fields reads lines of "key value".
func fields(out string) map[string]string {
	m := map[string]string{}
	for l := range strings.Lines(out) {
		k, v, _ := strings.Cut(strings.TrimSpace(l), " ")
		m[k] = v
	}
	return m
}

func write(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// awaitReady waits until the process says so.
func awaitReady(t testing.TB, sb *Sandbox) {
	t.Helper()
	if err := sb.Output().SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if l, err := firstLine(sb.Output()); l != "ready" {
		t.Fatalf("first line = %q, %v; want ready", l, err)
	}
}

func firstLine(r io.Reader) (string, error) {
	l, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("read first line: %w", err)
	}
	return strings.TrimSpace(l), nil
}
