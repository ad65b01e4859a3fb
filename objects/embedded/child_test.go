package embedded_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lamina-run/lamina/objects/backend"
	"github.com/lamina-run/lamina/objects/embedded"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == backend.Verb {
		backend.Main()
	}
	goleak.VerifyTestMain(m)
}

// pids remembers the processes that the log tells of.
type pids struct {
	slog.Handler
	last atomic.Int64
}

func (*pids) Enabled(context.Context, slog.Level) bool { return true }

func (p *pids) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "pid" {
			p.last.Store(a.Value.Int64())
		}
		return true
	})
	return nil
}

type runner struct {
	*embedded.Child
	pids *pids
	stop func()
}

func run(t *testing.T, o embedded.Options) *runner {
	t.Helper()
	r := &runner{pids: &pids{Handler: slog.DiscardHandler}}
	o.Log = slog.New(r.pids)
	r.Child = embedded.New(o)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1) // one send, when Run has returned
	go func() { ended <- r.Run(ctx) }()
	stopped := false
	r.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run = %v", err)
			}
		}
	}
	t.Cleanup(r.stop)
	return r
}

func (r *runner) do(t *testing.T, method, path, body string) (int, string, http.Header, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://s3"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.URL = &url.URL{Path: req.URL.Path, RawPath: req.URL.EscapedPath(), RawQuery: req.URL.RawQuery}
	req.Header.Set("X-Amz-Meta-Word", "value")
	resp, err := r.RoundTrip(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), resp.Header, err
}

// eventually asks again until there is an answer.
func (r *runner) eventually(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); ; {
		status, text, _, err := r.do(t, method, path, body)
		if err == nil {
			return status, text
		}
		if time.Now().After(until) {
			t.Fatalf("%s %s = %v", method, path, err)
		}
		time.Sleep(10 * time.Millisecond) // another process starts
	}
}

// gone waits until a process has ended.
func gone(t *testing.T, pid int) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("process %d lives on", pid)
		}
	}
}

func TestChild(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]bool{"metadata in attributes, where there are": false, "metadata in files": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "s3")
			if files {
				if err := os.MkdirAll(filepath.Join(dir, "metadata"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			r := run(t, embedded.Options{Dir: dir})
			if r.pids.last.Load() != 0 {
				t.Error("it runs before it is wanted")
			}
			for _, path := range []string{"/bucket", "/bucket?versioning", "/bucket/a/b", "/bucket/a/b"} {
				body := "text"
				if !strings.Contains(path, "/a/") {
					body = ""
				}
				if strings.HasSuffix(path, "?versioning") {
					body = `<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>`
				}
				if status, text, _, err := r.do(t, "PUT", path, body); err != nil || status != 200 {
					t.Fatalf("PUT %s = %d %s, %v", path, status, text, err)
				}
			}
			pid := int(r.pids.last.Load())
			if info, err := os.Stat(filepath.Join(dir, "socket")); err == nil && info.Mode().Perm() != 0o700 {
				t.Errorf("the socket's directory is %v; want nobody else's", info.Mode())
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if status, text := r.eventually(t, "GET", "/bucket/a/b", ""); status != 200 || text != "text" {
				t.Errorf("GET after a crash = %d %s", status, text)
			}
			if _, _, h, err := r.do(t, "HEAD", "/bucket/a/b", ""); err != nil || h.Get("X-Amz-Meta-Word") != "value" || h.Get("X-Amz-Version-Id") == "" {
				t.Errorf("HEAD after a crash = %v, %v; want metadata and a version", h, err)
			}
			if _, text, _, err := r.do(t, "GET", "/bucket?versions", ""); err != nil || strings.Count(text, "<Version>") != 2 {
				t.Errorf("versions after a crash = %s, %v; want two", text, err)
			}
			again := int(r.pids.last.Load())
			if again == pid {
				t.Error("the process is the old one")
			}
			gone(t, pid)
			r.stop()
			gone(t, again)
			if _, _, _, err := r.do(t, "GET", "/bucket/a/b", ""); !errors.Is(err, embedded.ErrStopped) {
				t.Errorf("GET after the end = %v; want ErrStopped", err)
			}
		})
	}
}

func TestChildThatCannotRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "buckets"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broken := run(t, embedded.Options{Dir: dir})
	if _, _, _, err := broken.do(t, "GET", "/bucket", ""); err == nil || !strings.Contains(err.Error(), "make the directory of buckets") {
		t.Errorf("GET = %v; want why it does not run", err)
	}
	if err := os.Remove(filepath.Join(dir, "buckets")); err != nil {
		t.Fatal(err)
	}
	if status, _ := broken.eventually(t, "PUT", "/bucket", ""); status != 200 {
		t.Errorf("PUT once it can run = %d", status)
	}
	missing := run(t, embedded.Options{Dir: t.TempDir(), Executable: "/nonexistent/lamina"})
	if _, _, _, err := missing.do(t, "GET", "/bucket", ""); err == nil || !strings.Contains(err.Error(), "start the process") {
		t.Errorf("GET without a program = %v", err)
	}
	long := run(t, embedded.Options{Dir: filepath.Join(t.TempDir(), strings.Repeat("d", 100))})
	if status, _, _, err := long.do(t, "PUT", "/bucket", ""); err != nil || status != 200 {
		t.Errorf("PUT below a long name = %d, %v", status, err)
	}
}
