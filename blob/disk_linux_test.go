package blob_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWriteFails fills a file system: the blob stays spoilt.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("no tmpfs of our own: %v", err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	s := stage(t, open(t, dir), "")
	if _, err := io.Copy(s, io.LimitReader(rand.NewChaCha8([32]byte{}), 4<<20)); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Copy() = %v; want %v", err, unix.ENOSPC)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Write() after a failure = %v; want %v", err, unix.ENOSPC)
	}
	if err := s.Keep(t.Context()); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Keep() after a failure = %v; want %v", err, unix.ENOSPC)
	}
	if err := s.Discard(); err != nil {
		t.Errorf("Discard() = %v; want nil", err)
	}
	noLeftovers(t, dir)
}
