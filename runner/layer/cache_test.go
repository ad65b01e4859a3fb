package layer_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/erofs/go-erofs"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/runner/layer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// blobs keeps zips in memory and counts how often they are opened.
type blobs struct {
	mu     sync.Mutex
	zips   map[lamina.Digest][]byte
	opened int
	closed int
	hold   chan struct{} // Open waits until the test closes it, when it is not nil
}

func newBlobs(zips ...[]byte) (*blobs, []lamina.Digest) {
	b := &blobs{zips: make(map[lamina.Digest][]byte)}
	var digests []lamina.Digest
	for _, data := range zips {
		digest := lamina.Digest(sha256.Sum256(data))
		b.zips[digest] = data
		digests = append(digests, digest)
	}
	return b, digests
}

type blob struct {
	*bytes.Reader
	from *blobs
}

func (b *blobs) Open(ctx context.Context, digest lamina.Digest) (layer.Reader, error) {
	b.mu.Lock()
	b.opened++
	data, ok := b.zips[digest]
	b.mu.Unlock()
	if b.hold != nil {
		select {
		case <-b.hold:
		case <-ctx.Done():
			b.mu.Lock()
			b.closed++
			b.mu.Unlock()
			return nil, context.Cause(ctx)
		}
	}
	if !ok {
		b.closed++
		return nil, fmt.Errorf("open blob %s: %w", digest, lamina.ErrNotFound)
	}
	return blob{bytes.NewReader(data), b}, nil
}

func (b blob) Close() error {
	b.from.mu.Lock()
	defer b.from.mu.Unlock()
	b.from.closed++
	return nil
}

// both runs a test with a cache of directories and with one of images.
func both(t *testing.T, test func(t *testing.T, images layer.Images)) {
	t.Helper()
	t.Parallel()
	t.Run("directories", func(t *testing.T) {
		t.Parallel()
		test(t, nil)
	})
	t.Run("images", func(t *testing.T) {
		t.Parallel()
		test(t, openImages(t))
	})
}

// name is what an archive is called in the cache's directory.
func name(digest lamina.Digest, images layer.Images) string {
	if images == nil {
		return digest.String()
	}
	return digest.String() + ".erofs"
}

func openCache(t testing.TB, dir string, b *blobs, images layer.Images) *layer.Cache {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	c, err := layer.NewCache(layer.Options{Dir: dir, Blobs: b, Images: images, Limits: lamina.DefaultLimits(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.opened != b.closed {
			t.Errorf("%d blobs opened and %d closed", b.opened, b.closed)
		}
	})
	return c
}

// names lists a directory without the file that names the boot.
func names(t testing.TB, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, item := range list {
		if item.Name() != ".boot" {
			got = append(got, item.Name())
		}
	}
	return got
}

func TestAcquire(t *testing.T) { both(t, testAcquire) }

func testAcquire(t *testing.T, images layer.Images) {
	dir := filepath.Join(t.TempDir(), "layers")
	b, digests := newBlobs(testkit.Zip(t,
		testkit.File{Name: "python/"}, testkit.File{Name: "python/lib/a.py", Body: "one", Mode: 0o600},
		testkit.File{Name: "bin/tool", Body: "two", Mode: 0o700}, testkit.File{Name: "bin/alias", Link: "/opt/bin/tool"},
		testkit.File{Name: "python/lib/a.py", Body: "later", Mode: 0o600}, testkit.File{Name: "empty"}))
	c := openCache(t, dir, b, images)
	got, release, err := c.Acquire(t.Context(), digests[0])
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if want := filepath.Join(dir, digests[0].String()); images == nil && got != want {
		t.Errorf("directory = %s; want %s", got, want)
	}
	want := map[string]string{
		".": "drwxr-xr-x", "python": "drwxr-xr-x", "python/lib": "drwxr-xr-x", "python/lib/a.py": "-rw-r--r-- later",
		"bin": "drwxr-xr-x", "bin/tool": "-rwxr-xr-x two", "bin/alias": "Lrwxrwxrwx /opt/bin/tool", "empty": "-rw-r--r-- ",
	}
	if diff := cmp.Diff(tree(t, got), want); diff != "" {
		t.Errorf("files differ (-got +want):\n%s", diff)
	}
	for _, name := range []string{"python", "bin/tool", "bin/alias"} {
		info, err := os.Lstat(filepath.Join(got, name))
		if want := time.Date(2024, 2, 29, 12, 30, 42, 0, time.UTC); err != nil || !info.ModTime().Equal(want) {
			t.Errorf("time of %s = %v, %v; want %v", name, info.ModTime(), err, want)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode of the cache = %v, %v; want others to get through", info.Mode(), err)
	}
}

// tree describes what is below a directory.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	got := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, item fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := item.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		text := info.Mode().String()
		switch info.Mode().Type() {
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " " + target
		case 0:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + string(data)
		}
		got[name] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAcquireHostile(t *testing.T) { both(t, testAcquireHostile) }

func testAcquireHostile(t *testing.T, images layer.Images) {
	for _, tt := range testkit.HostileZips(t) {
		t.Run(tt.Name, func(t *testing.T) {
			t.Parallel()
			above := t.TempDir()
			dir := filepath.Join(above, "layers")
			b, digests := newBlobs(tt.Zip)
			c := openCache(t, dir, b, images)
			_, _, err := c.Acquire(t.Context(), digests[0])
			if refused, ok := errors.AsType[*lamina.ArchiveError](err); tt.Name == "wrong checksum of an overwritten entry" {
				// Publishing refuses it; here the entry is never read.
				if err != nil {
					t.Errorf("Acquire() = %v; want nil", err)
				}
				return
			} else if !ok || string(refused.Reason) != tt.Reason {
				t.Errorf("Acquire() = %v; want reason %q", err, tt.Reason)
			}
			if got := names(t, dir); len(got) != 0 {
				t.Errorf("left behind %v; want nothing", got)
			}
			if got := names(t, above); len(got) != 1 {
				t.Errorf("next to the cache: %v; want nothing", got)
			}
		})
	}
}

func TestAcquireAbsent(t *testing.T) { both(t, testAcquireAbsent) }

func testAcquireAbsent(t *testing.T, images layer.Images) {
	b, _ := newBlobs()
	c := openCache(t, t.TempDir(), b, images)
	if _, _, err := c.Acquire(t.Context(), lamina.Digest{1}); !errors.Is(err, lamina.ErrNotFound) {
		t.Errorf("Acquire(absent) = %v; want %v", err, lamina.ErrNotFound)
	}
	// The failure is not remembered.
	data := testkit.Zip(t, testkit.File{Name: "a"})
	b.zips[lamina.Digest{1}] = data
	_, release, err := c.Acquire(t.Context(), lamina.Digest{1})
	if err != nil {
		t.Fatalf("Acquire(present) = %v; want nil", err)
	}
	release()
}

func TestAcquireOnce(t *testing.T) { both(t, testAcquireOnce) }

func testAcquireOnce(t *testing.T, images layer.Images) {
	b, digests := newBlobs(testkit.Zip(t, testkit.File{Name: "a", Body: "body"}))
	b.hold = make(chan struct{})
	c := openCache(t, t.TempDir(), b, images)

	// The first, whose unpacking it is, gives up; the others don't notice.
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("caller went away")
	first := make(chan error, 1) // one send, by the goroutine below
	go func() {
		_, _, err := c.Acquire(ctx, digests[0])
		first <- err
	}()
	var waiting sync.WaitGroup
	for range 50 {
		waiting.Go(func() {
			dir, release, err := c.Acquire(t.Context(), digests[0])
			if err != nil {
				t.Errorf("Acquire() = %v; want nil", err)
				return
			}
			if got, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(got) != "body" {
				t.Errorf("content = %q, %v; want body", got, err)
			}
			release()
			release() // does nothing
		})
	}
	cancel(reason)
	if err := <-first; !errors.Is(err, reason) {
		t.Errorf("Acquire(cancelled) = %v; want %v", err, reason)
	}
	close(b.hold)
	waiting.Wait()
	if b.opened != 1 {
		t.Errorf("blob opened %d times; want once", b.opened)
	}
	if err := c.Evict(t.Context(), 0); err != nil {
		t.Error(err)
	}
	if got := names(t, dirOf(c, t, digests[0])); len(got) != 1 {
		t.Errorf("after eviction and another Acquire: %v", got)
	}
}

// dirOf acquires and releases.
func dirOf(c *layer.Cache, t testing.TB, digest lamina.Digest) string {
	t.Helper()
	dir, release, err := c.Acquire(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	release()
	return dir
}

func TestCloseStopsUnpacking(t *testing.T) { both(t, testCloseStopsUnpacking) }

func testCloseStopsUnpacking(t *testing.T, images layer.Images) {
	b, digests := newBlobs(testkit.Zip(t, testkit.File{Name: "a"}))
	b.hold = make(chan struct{})
	dir := t.TempDir()
	c := openCache(t, dir, b, images)
	acquired := make(chan error, 1) // one send, by the goroutine below
	go func() {
		_, _, err := c.Acquire(t.Context(), digests[0])
		acquired <- err
	}()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-acquired; !errors.Is(err, layer.ErrClosed) {
		t.Errorf("Acquire(closing) = %v; want %v", err, layer.ErrClosed)
	}
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("left behind %v; want nothing", got)
	}
}

func TestEvict(t *testing.T) { both(t, testEvict) }

func testEvict(t *testing.T, images layer.Images) {
	var zips [][]byte
	for i := range 4 {
		zips = append(zips, testkit.Zip(t, testkit.File{Name: fmt.Sprint(i), Body: strings.Repeat("x", 100<<10)}))
	}
	b, digests := newBlobs(zips...)
	dir := t.TempDir()
	c := openCache(t, dir, b, images)
	var release func()
	for i, digest := range digests {
		var err error
		var r func()
		if _, r, err = c.Acquire(t.Context(), digest); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			release = r // stays in use
			continue
		}
		r()
	}
	dirOf(c, t, digests[1]) // so that 2 is the least recently used
	kept := func(want ...int) {
		t.Helper()
		for i, digest := range digests {
			_, err := os.Stat(filepath.Join(dir, name(digest, images)))
			if got, want := err == nil, strings.Contains(fmt.Sprint(want), fmt.Sprint(i)); got != want {
				t.Errorf("archive %d there: %v; want %v", i, got, want)
			}
		}
	}
	if err := c.Evict(t.Context(), 350<<10); err != nil {
		t.Fatal(err)
	}
	kept(0, 1, 3)

	// Another process of the same boot finds them, and what was left unfinished goes.
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".new-x/sub", ".old-x"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	release()
	opened := b.opened
	c = openCache(t, dir, b, images)
	kept(0, 1, 3)
	if got := names(t, dir); len(got) != 3 {
		t.Errorf("cache has %v; want three archives", got)
	}
	dirOf(c, t, digests[1])
	if b.opened != opened {
		t.Error("a cached archive was unpacked again")
	}
	if err := c.Evict(t.Context(), 150<<10); err != nil {
		t.Fatal(err)
	}
	kept(1)
	if err := c.Evict(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("cache has %v; want nothing", got)
	}
}

func TestOtherBootEmptiesCache(t *testing.T) { both(t, testOtherBootEmptiesCache) }

func testOtherBootEmptiesCache(t *testing.T, images layer.Images) {
	b, digests := newBlobs(testkit.Zip(t, testkit.File{Name: "a", Body: "whole"}))
	dir := t.TempDir()
	c := openCache(t, dir, b, images)
	got := dirOf(c, t, digests[0])
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	// Power fails: what was made has its name, and the file nothing in it.
	lost := filepath.Join(got, "a")
	if images != nil {
		lost = filepath.Join(dir, name(digests[0], images))
	}
	if err := errors.Join(os.WriteFile(lost, nil, 0o644), os.WriteFile(filepath.Join(dir, ".boot"), []byte("earlier\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	c = openCache(t, dir, b, images)
	if data, err := os.ReadFile(filepath.Join(dirOf(c, t, digests[0]), "a")); err != nil || string(data) != "whole" {
		t.Errorf("content = %q, %v; want it whole", data, err)
	}
}

// TestEvictWhileAcquiring has everything happen at once: what is acquired is there.
func TestEvictWhileAcquiring(t *testing.T) { both(t, testEvictWhileAcquiring) }

func testEvictWhileAcquiring(t *testing.T, images layer.Images) {
	b, digests := newBlobs(testkit.Zip(t, testkit.File{Name: "a", Body: "body"}), testkit.Zip(t, testkit.File{Name: "a", Body: "body"}, testkit.File{Name: "b"}))
	dir := t.TempDir()
	c := openCache(t, dir, b, images)
	var workers sync.WaitGroup
	for i := range 8 {
		workers.Go(func() {
			for range 100 {
				if i < 2 {
					if err := c.Evict(t.Context(), 0); err != nil {
						t.Errorf("Evict() = %v; want nil", err)
					}
					continue
				}
				got, release, err := c.Acquire(t.Context(), digests[i%2])
				if err != nil {
					t.Errorf("Acquire() = %v; want nil", err)
					return
				}
				if data, err := os.ReadFile(filepath.Join(got, "a")); err != nil || string(data) != "body" {
					t.Errorf("content = %q, %v; want body", data, err)
				}
				release()
			}
		})
	}
	workers.Wait()
	for _, name := range names(t, dir) {
		if strings.HasPrefix(name, ".") {
			t.Errorf("left behind %s", name)
		}
	}
}

// TestLikeUnzip compares with what the zip and unzip commands make of a tree.
func TestLikeUnzip(t *testing.T) { both(t, testLikeUnzip) }

func testLikeUnzip(t *testing.T, images layer.Images) {
	for _, tool := range []string{"zip", "unzip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s command", tool)
		}
	}
	base := t.TempDir()
	src := filepath.Join(base, "src")
	files := map[string]string{
		"python/lib/python3.12/site-packages/pkg/__init__.py": "", "bin/tool": "#!/bin/sh\n", "grüße/日本語 ü.txt": "unicode",
		"spaces and 'quotes'": "x", "deep/" + strings.Repeat("d/", 40) + "f": "deep", "data.bin": strings.Repeat("\x00\x01\x02", 100_000),
	}
	for name, body := range files {
		path := filepath.Join(src, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(body), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(filepath.Join(src, "bin/tool"), 0o755), os.Mkdir(filepath.Join(src, "empty"), 0o755),
		os.Symlink("tool", filepath.Join(src, "bin/alias")), os.Symlink("python", filepath.Join(src, "dirlink")), os.Symlink("/opt/nowhere", filepath.Join(src, "dangling"))); err != nil {
		t.Fatal(err)
	}
	when := time.Date(2020, 1, 2, 3, 4, 6, 0, time.UTC)
	for _, name := range []string{"bin/tool", "empty", "python"} {
		if err := os.Chtimes(filepath.Join(src, name), when, when); err != nil {
			t.Fatal(err)
		}
	}
	run := func(dir, name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	run(src, "zip", "-qry", "../a.zip", ".")
	run(base, "unzip", "-q", "a.zip", "-d", "theirs")
	data, err := os.ReadFile(filepath.Join(base, "a.zip"))
	if err != nil {
		t.Fatal(err)
	}
	b, digests := newBlobs(data)
	ours := dirOf(openCache(t, filepath.Join(base, "layers"), b, images), t, digests[0])
	theirs := filepath.Join(base, "theirs")
	if err := os.Chmod(theirs, 0o755); err != nil {
		t.Fatal(err)
	}
	got, want := tree(t, ours), tree(t, theirs)
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("trees differ (-ours +unzip):\n%s", diff)
	}
	for name := range want {
		a, err := os.Lstat(filepath.Join(ours, name))
		if err != nil {
			continue
		}
		b, err := os.Lstat(filepath.Join(theirs, name))
		if err != nil || name != "." && a.Mode().Type() != fs.ModeSymlink && !a.ModTime().Equal(b.ModTime()) {
			t.Errorf("time of %s = %v; want %v, %v", name, a.ModTime(), b.ModTime(), err)
		}
		if stat := a.Sys().(*syscall.Stat_t); int(stat.Uid) != os.Geteuid() { //nolint:forcetypeassert // Linux
			t.Errorf("owner of %s = %d; want %d", name, stat.Uid, os.Geteuid())
		}
	}
}

// FuzzUnpack holds that whatever a zip says, nothing appears outside of the cache,
// and in the cache only a whole archive; and that what can be unpacked makes an
// image of the same, as a reader that others wrote sees it, and nothing else does.
func FuzzUnpack(f *testing.F) {
	for _, h := range testkit.HostileZips(f) {
		if len(h.Zip) < 10_000 {
			f.Add(h.Zip)
		}
	}
	f.Add(testkit.Zip(f, testkit.File{Name: "d/"}, testkit.File{Name: "d/a", Body: "body"}, testkit.File{Name: "s", Link: "../out"}))
	f.Add(testkit.RawZip(testkit.Record{Name: "s", Body: "../out", Attributes: 0xa1ff}, testkit.Record{Name: "t/f"}))
	for _, data := range oddArchives(f) {
		if len(data) < 5_000 {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		base := t.TempDir()
		out := filepath.Join(base, "out")
		if err := os.Mkdir(out, 0o755); err != nil {
			t.Fatal(err)
		}
		before := tree(t, base)
		limits := lamina.DefaultLimits()
		limits.Unzipped, limits.ArchiveEntries = 1<<20, 1000
		b, digests := newBlobs(data)
		c, err := layer.NewCache(layer.Options{Dir: filepath.Join(base, "layers"), Blobs: b, Limits: limits, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		dir, release, err := c.Acquire(t.Context(), digests[0])
		if err != nil {
			if got := names(t, filepath.Join(base, "layers")); len(got) > 0 {
				t.Errorf("left behind %v", got)
			}
			if _, ok := errors.AsType[*lamina.ArchiveError](err); !ok {
				t.Errorf("Acquire() = %v; want an ArchiveError", err)
			}
			if archive, err := lamina.ReadArchive(bytes.NewReader(data), int64(len(data)), limits); err == nil {
				file, err := os.Create(filepath.Join(t.TempDir(), "image"))
				if err != nil {
					t.Fatal(err)
				}
				defer file.Close()
				err = layer.Pack(t.Context(), archive, file)
				if _, ok := errors.AsType[*lamina.ArchiveError](err); !ok {
					t.Errorf("Pack() = %v; want an ArchiveError", err)
				}
			}
		} else {
			defer release()
			archive, err := lamina.ReadArchive(bytes.NewReader(data), int64(len(data)), limits)
			if err != nil {
				t.Fatal(err)
			}
			if valid(archive) {
				file, err := os.Open(pack(t, archive))
				if err != nil {
					t.Fatal(err)
				}
				defer file.Close()
				image, err := erofs.Open(file)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(describe(t, image, nil), describe(t, hostTree(dir), nil)); diff != "" {
					t.Errorf("image and directory differ (-image +directory):\n%s", diff)
				}
			}
			for _, e := range archive.Entries {
				if _, err := os.Lstat(filepath.Join(dir, e.Name)); err != nil {
					t.Errorf("entry %q: %v", e.Name, err)
				}
			}
		}
		if err := os.RemoveAll(filepath.Join(base, "layers")); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tree(t, base), before); diff != "" {
			t.Errorf("outside of the cache (-got +want):\n%s", diff)
		}
	})
}

// BenchmarkUnpack unpacks 10,000 files of 50 MB, with the unzip command and with
// archive/zip in a row as baselines.
func BenchmarkUnpack(b *testing.B) {
	var files []testkit.File
	for i := range 10_000 {
		files = append(files, testkit.File{Name: fmt.Sprintf("pkg%d/sub%d/f%d.py", i%50, i%7, i), Body: strings.Repeat(fmt.Sprintf("line %d of some source\n", i*7919), 200)})
	}
	data := testkit.Zip(b, files...)
	archive, err := lamina.ReadArchive(bytes.NewReader(data), int64(len(data)), lamina.DefaultLimits())
	if err != nil {
		b.Fatal(err)
	}
	source := filepath.Join(b.TempDir(), "a.zip")
	if err := os.WriteFile(source, data, 0o600); err != nil {
		b.Fatal(err)
	}
	run := func(name string, unpack func(dir string) error) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(archive.UnpackedSize)
			base := b.TempDir()
			for i := 0; b.Loop(); i++ {
				dir := filepath.Join(base, fmt.Sprint(i))
				if err := os.Mkdir(dir, 0o755); err != nil {
					b.Fatal(err)
				}
				if err := unpack(dir); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := os.RemoveAll(dir); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
	run("lamina", func(dir string) error {
		a, err := lamina.ReadArchive(bytes.NewReader(data), int64(len(data)), lamina.DefaultLimits())
		if err != nil {
			return err
		}
		return layer.Unpack(b.Context(), a, dir)
	})
	run("baseline/unzip", func(dir string) error {
		return exec.CommandContext(b.Context(), "unzip", "-q", source, "-d", dir).Run()
	})
	run("baseline/archive-zip", func(dir string) error {
		r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return err
		}
		return os.CopyFS(dir, r)
	})
}
