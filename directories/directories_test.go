package directories_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/directories"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// allow makes a directory that is allowed, readable by everybody as Check wants.
func allow(t *testing.T) (*directories.Allowed, string) {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a, err := directories.New([]string{root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a, root
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	a, root := allow(t)
	outside := t.TempDir()
	write(t, root+"/app/app.py", "")
	write(t, root+"-sibling/app.py", "")
	t.Cleanup(func() { os.RemoveAll(root + "-sibling") })
	for link, target := range map[string]string{"inside": "app", "out": outside, "out-and-in": outside, "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ name, path, want, reason string }{
		{"a subdirectory", root + "/app", root + "/app", ""},
		{"the directory itself", root, root, ""},
		{"a slash at the end", root + "/app/", root + "/app", ""},
		{"dots that stay inside", root + "/app/../app/.", root + "/app", ""},
		{"a link that stays inside", root + "/inside", root + "/app", ""},
		{"a relative path", "app", "", "not an absolute path"},
		{"no path", "", "", "not an absolute path"},
		{"the parent", root + "/..", "", "not allowed by --hot-reload"},
		{"dots that lead out", root + "/app/../../..", "", "not allowed by --hot-reload"},
		{"the root of all", "/", "", "not allowed by --hot-reload"},
		{"a link that leads out", root + "/out", "", "not allowed by --hot-reload"},
		{"a path through such a link", root + "/out/..", "", "not allowed by --hot-reload"},
		{"a name that only begins the same", root + "-sibling", "", "not allowed by --hot-reload"},
		{"nothing", root + "/absent", "", "no such file or directory"},
		{"a file", root + "/app/app.py", "", "not a directory"},
		{"a loop of links", root + "/loop", "", "too many"},
		{"a zero byte", root + "/app\x00", "", "invalid argument"},
	} {
		got, err := a.Check(c.path)
		if c.reason == "" {
			if err != nil || got != c.want {
				t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
			}
			continue
		}
		if refused, ok := errors.AsType[*lamina.DirectoryError](err); !ok || !strings.Contains(refused.Reason, c.reason) || got != "" {
			t.Errorf("%s: %q, %v; want refusal, %s", c.name, got, err, c.reason)
		}
	}
}

// TestSwappedForALink: what Check vouched for is looked at again each time.
func TestSwappedForALink(t *testing.T) {
	t.Parallel()
	a, root := allow(t)
	secret := t.TempDir()
	write(t, secret+"/shadow", "root:x")
	write(t, root+"/a/b/app.py", "")
	dir, err := a.Check(root + "/a/b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Stamp(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	for _, swap := range []string{"/a/b", "/a"} {
		for _, target := range []string{secret, root} {
			if err := errors.Join(os.Rename(root+swap, root+"/kept"), os.Symlink(target, root+swap)); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Stamp(t.Context(), dir); err == nil {
				t.Errorf("Stamp after %s became a link to %s succeeds", swap, target)
			}
			var out bytes.Buffer
			if err := a.Archive(t.Context(), dir, 1<<20, &out); err == nil || bytes.Contains(out.Bytes(), []byte("shadow")) {
				t.Errorf("Archive after %s became a link to %s = %v", swap, target, err)
			}
			if err := errors.Join(os.Remove(root+swap), os.Rename(root+"/kept", root+swap)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestStampTellsEveryChange(t *testing.T) {
	t.Parallel()
	t.Run("watched", func(t *testing.T) {
		t.Parallel()
		stampTellsEveryChange(t, true)
	})
	t.Run("not watched", func(t *testing.T) {
		t.Parallel()
		stampTellsEveryChange(t, false)
	})
}

func stampTellsEveryChange(t *testing.T, watched bool) {
	a, root := allow(t)
	dir := root + "/app"
	if !watched {
		a.Unwatched(dir)
	}
	write(t, dir+"/app.py", "one")
	write(t, dir+"/deep/er/lib.py", "lib")
	stamp := func() string {
		t.Helper()
		s, err := a.Stamp(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	last := stamp()
	if again := stamp(); again != last {
		t.Fatalf("stamps of the same = %s, %s", last, again)
	}
	for _, c := range []struct {
		name   string
		change func() error
	}{
		{"a file is written", func() error { return os.WriteFile(dir+"/app.py", []byte("two!"), 0o644) }},
		{"again, to the same length", func() error {
			if !watched { // times may be as coarse as a tick of the kernel
				<-time.After(20 * time.Millisecond)
			}
			return os.WriteFile(dir+"/app.py", []byte("six!"), 0o644)
		}},
		{"a deep file is written", func() error { return os.WriteFile(dir+"/deep/er/lib.py", []byte("libr"), 0o644) }},
		{"a file is replaced, as editors do", func() error {
			return errors.Join(os.WriteFile(dir+"/.app.py.tmp", []byte("new"), 0o644), os.Rename(dir+"/.app.py.tmp", dir+"/app.py"))
		}},
		{"a file is new", func() error { return os.WriteFile(dir+"/new.py", nil, 0o644) }},
		{"a file is gone", func() error { return os.Remove(dir + "/new.py") }},
		{"a directory is new", func() error { return os.Mkdir(dir+"/pkg", 0o755) }},
		{"a file in the new directory", func() error { return os.WriteFile(dir+"/pkg/x.py", []byte("x"), 0o644) }},
		{"it is written again, longer", func() error { return os.WriteFile(dir+"/pkg/x.py", []byte("yy"), 0o644) }},
		{"a directory moves", func() error { return os.Rename(dir+"/pkg", dir+"/deep/pkg") }},
		{"a file in it after that", func() error { return os.WriteFile(dir+"/deep/pkg/x.py", []byte("z"), 0o644) }},
		{"a mode", func() error { return os.Chmod(dir+"/app.py", 0o755) }},
		{"a link", func() error { return os.Symlink("app.py", dir+"/link") }},
		{"the link's target", func() error { return errors.Join(os.Remove(dir+"/link"), os.Symlink("new.py", dir+"/link")) }},
		{"the directory is another one", func() error {
			return errors.Join(os.Rename(dir, root+"/old"), os.CopyFS(dir, os.DirFS(root+"/old/deep")))
		}},
	} {
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		now := stamp()
		if now == last {
			t.Errorf("%s: the stamp is the same", c.name)
		}
		if again := stamp(); again != now {
			t.Errorf("%s: stamps afterwards = %s, %s; want one", c.name, now, again)
		}
		last = now
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if s, err := a.Stamp(t.Context(), dir); err == nil {
		t.Errorf("Stamp of what is gone = %s; want an error", s)
	}
}

func TestArchive(t *testing.T) {
	t.Parallel()
	a, root := allow(t)
	dir := root + "/app"
	write(t, dir+"/app.py", "print()\n")
	write(t, dir+"/bin/tool", "#!/bin/sh\n")
	if err := errors.Join(os.Chmod(dir+"/bin/tool", 0o750), os.Symlink("../app.py", dir+"/bin/link"), os.Symlink("/etc/passwd", dir+"/host")); err != nil {
		t.Fatal(err)
	}
	pack := func() []byte {
		t.Helper()
		var out bytes.Buffer
		if err := a.Archive(t.Context(), dir, 1<<20, &out); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	first := pack()
	if err := os.Chtimes(dir+"/app.py", time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, pack()) {
		t.Error("the same files make other bytes")
	}
	z, err := zip.NewReader(bytes.NewReader(first), int64(len(first)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		got[f.Name] = f.Mode().String() + " " + string(body)
	}
	want := map[string]string{
		"app.py": "-rw-r--r-- print()\n", "bin/": "drwxr-xr-x ", "bin/tool": "-rwxr-xr-- #!/bin/sh\n",
		"bin/link": "Lrwxrwxrwx ../app.py", "host": "Lrwxrwxrwx /etc/passwd",
	}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s = %q; want %q", name, got[name], text)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d entries %v; want %d", len(got), got, len(want))
	}
	if err := a.Archive(t.Context(), dir, 50, io.Discard); !errors.Is(err, lamina.ErrTooLarge) {
		t.Errorf("Archive with room for 50 bytes = %v; want ErrTooLarge", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Archive(ctx, dir, 1<<20, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("Archive after the end = %v; want Canceled", err)
	}
}

func TestNewRefusesWhatIsNoDirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	if _, err := directories.New([]string{file}); err == nil {
		t.Error("a file is allowed")
	}
	if _, err := directories.New([]string{file + "/absent"}); !errors.Is(err, fs.ErrNotExist) && err == nil {
		t.Error("what does not exist is allowed")
	}
}

// BenchmarkStamp is what hot reload adds to each invocation.
func BenchmarkStamp(b *testing.B) {
	root, err := filepath.EvalSymlinks(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	for i := range 50 {
		for j := range 40 {
			path := filepath.Join(root, "pkg", string(rune('a'+i/26))+string(rune('a'+i%26)), string(rune('a'+j/26))+string(rune('a'+j%26)))
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
				b.Fatal(err)
			}
		}
	}
	a, err := directories.New([]string{root})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(a.Close)
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			if _, err := a.Stamp(b.Context(), root); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("changed, 2000 files", func(b *testing.B) {
		for b.Loop() {
			if err := os.WriteFile(root+"/pkg/aa/aa", nil, 0o644); err != nil {
				b.Fatal(err)
			}
			if err := os.Chmod(root+"/pkg/aa/aa", 0o644); err != nil {
				b.Fatal(err)
			}
			if _, err := a.Stamp(b.Context(), root); err != nil {
				b.Fatal(err)
			}
		}
	})
}
