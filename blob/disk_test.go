package blob_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/blob"
	"github.com/lamina-run/lamina/blob/blobtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store gives a disk the types of the suite.
type store struct{ *blob.Disk }

func (s store) Stage(ctx context.Context) (blobtest.Staged, error) {
	b, err := s.Disk.Stage(ctx)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (s store) Open(ctx context.Context, digest lamina.Digest) (blobtest.Blob, error) {
	b, err := s.Disk.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func open(t testing.TB, dir string) *blob.Disk {
	t.Helper()
	d, err := blob.OpenDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDisk(t *testing.T) {
	t.Parallel()
	blobtest.Suite(t, func(t testing.TB) blobtest.Store {
		dir := filepath.Join(t.TempDir(), "blobs")
		t.Cleanup(func() { noLeftovers(t, dir) })
		return store{open(t, dir)}
	})
}

func noLeftovers(t testing.TB, dir string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 || list[0].Name() != "sha256" {
		t.Errorf("directory has %v, %v; want sha256 only", list, err)
	}
}

func stage(t testing.TB, d *blob.Disk, data string) *blob.Staged {
	t.Helper()
	s, err := d.Stage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Discard() })
	if _, err := io.WriteString(s, data); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDiskLayout(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// An upload that died with its process.
	if err := os.WriteFile(filepath.Join(dir, ".put-123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := open(t, dir)
	noLeftovers(t, dir)
	if err := stage(t, d, "hello").Keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "sha256/2c/f24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"))
	if err != nil || string(got) != "hello" {
		t.Errorf("file = %q, %v; want hello", got, err)
	}
	// What another process finds.
	b, err := open(t, dir).Open(t.Context(), sha256.Sum256([]byte("hello")))
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
}

func TestKeepReplacesWhatIsCutShort(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	if err := stage(t, d, "hello").Keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "sha256/2c/f24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
	if err := os.Truncate(path, 2); err != nil {
		t.Fatal(err)
	}
	if err := stage(t, d, "hello").Keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "hello" {
		t.Errorf("file = %q, %v; want it whole again", got, err)
	}
}

// TestKeepFails has the disk refuse the name: nothing is acknowledged or left.
func TestKeepFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "sha256/2c"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := stage(t, d, "hello")
	if err := s.Keep(t.Context()); err == nil {
		t.Error("Keep() = nil; want an error")
	}
	if err := s.Discard(); err != nil {
		t.Errorf("Discard() = %v; want nil", err)
	}
	noLeftovers(t, dir)
}

func TestSweepRemovesLeftovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	for _, name := range []string{".put-left", "sha256/README"} {
		if err := errors.Join(os.WriteFile(filepath.Join(dir, ".put-left"), nil, 0o600), os.MkdirAll(filepath.Join(dir, "sha256/zz"), 0o700), os.WriteFile(filepath.Join(dir, "sha256/zz/"+filepath.Base(name)), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	unused := func(context.Context, lamina.Digest) (bool, error) { return false, nil }
	for _, age := range []time.Duration{0, time.Hour} {
		if n, err := d.Sweep(t.Context(), time.Minute, time.Now().Add(age), unused); n != 0 || err != nil {
			t.Errorf("Sweep() = %d, %v; want 0", n, err)
		}
		_, err := os.Stat(filepath.Join(dir, ".put-left"))
		if got, want := errors.Is(err, fs.ErrNotExist), age > 0; got != want {
			t.Errorf("after %v the leftover is gone: %v; want %v", age, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "sha256/zz/README")); err != nil {
		t.Errorf("a stranger's file: %v; want it left alone", err)
	}
}

// BenchmarkKeep compares with the plain way: hash, then write, then fsync.
func BenchmarkKeep(b *testing.B) {
	data := make([]byte, 50<<20)
	random := rand.NewChaCha8([32]byte{})
	fresh := func() { // other bytes, or Keep would have nothing to do
		random.Read(data[:64])
	}
	b.Run("lamina", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		d := open(b, b.TempDir())
		for b.Loop() {
			fresh()
			s, err := d.Stage(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(s, struct{ io.Reader }{bytes.NewReader(data)}); err != nil {
				b.Fatal(err)
			}
			if err := s.Keep(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("baseline", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		dir := b.TempDir()
		for b.Loop() {
			fresh()
			if sum := sha256.Sum256(data); sum == [32]byte{} {
				b.Fatal("impossible")
			}
			f, err := os.CreateTemp(dir, "*")
			if err != nil {
				b.Fatal(err)
			}
			_, err = f.Write(data)
			if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
				b.Fatal(err)
			}
		}
	})
	small := func(b *testing.B, workers int) {
		d := open(b, b.TempDir())
		for b.Loop() {
			var keeping sync.WaitGroup
			for i := range workers {
				body := make([]byte, 4096)
				random.Read(body)
				body[0] = byte(i)
				keeping.Go(func() {
					s, err := d.Stage(b.Context())
					if err != nil {
						b.Error(err)
						return
					}
					_, err = s.Write(body)
					if err := errors.Join(err, s.Keep(b.Context())); err != nil {
						b.Error(err)
					}
				})
			}
			keeping.Wait()
		}
	}
	b.Run("small/1", func(b *testing.B) { small(b, 1) })
	b.Run("small/16 at once", func(b *testing.B) { small(b, 16) })
}
