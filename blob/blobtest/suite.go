// Package blobtest holds what every implementation of a blob store promises, as a
// suite of tests.
package blobtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
)

// Store keeps blobs by digest.
type Store interface {
	Stage(ctx context.Context) (Staged, error)
	// Open returns an error that is [lamina.ErrNotFound] for a blob that is not kept.
	Open(ctx context.Context, digest lamina.Digest) (Blob, error)
	Sweep(ctx context.Context, grace time.Duration, now time.Time, referenced func(context.Context, lamina.Digest) (bool, error)) (removed int, err error)
}

// Staged is a blob on its way in.
type Staged interface {
	io.Writer
	io.ReaderAt
	Size() int64
	Sum() [sha256.Size]byte
	Digest() lamina.Digest
	Keep(ctx context.Context) error
	Discard() error
}

// Blob is an open blob.
type Blob interface {
	io.ReadSeekCloser
	io.ReaderAt
	Size() int64
}

// Suite runs all tests, each on a new, empty store.
func Suite(t *testing.T, newStore func(testing.TB) Store) {
	for name, test := range map[string]func(*testing.T, Store){
		"what is kept can be read":                  kept,
		"large blobs in writes of any size":         large,
		"what is discarded is gone":                 discarded,
		"nothing is found under unknown digests":    unknown,
		"same bytes are one blob":                   same,
		"same bytes at once are one blob":           sameAtOnce,
		"a cancelled Keep acknowledges nothing":     cancelled,
		"sweep takes what is old and unused":        swept,
		"sweep leaves what is young or in use":      spared,
		"sweep reports that it can't know":          unsure,
		"sweep leaves what is staged":               staged,
		"keeping again makes a blob young":          refreshed,
		"an open blob outlives a sweep":             outlives,
		"keeping and sweeping at once lose nothing": race,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newStore(t))
		})
	}
}

func stage(t testing.TB, s Store, data []byte) Staged {
	t.Helper()
	b, err := s.Stage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Discard(); err != nil {
			t.Errorf("Discard() = %v; want nil", err)
		}
	})
	if n, err := b.Write(data); n != len(data) || err != nil {
		t.Fatalf("Write() = %d, %v; want %d", n, err, len(data))
	}
	return b
}

func keep(t testing.TB, s Store, data []byte) lamina.Digest {
	t.Helper()
	b := stage(t, s, data)
	if err := b.Keep(t.Context()); err != nil {
		t.Fatalf("Keep() = %v; want nil", err)
	}
	return b.Digest()
}

// expect holds that a blob is there, or isn't when want is nil.
func expect(t testing.TB, s Store, digest lamina.Digest, want []byte) {
	t.Helper()
	b, err := s.Open(t.Context(), digest)
	if want == nil {
		if !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("Open() = %v; want %v", err, lamina.ErrNotFound)
		}
		return
	}
	if err != nil {
		t.Errorf("Open() = %v; want nil", err)
		return
	}
	defer b.Close()
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, want) || b.Size() != int64(len(want)) {
		t.Errorf("content = %d bytes, size %d, %v; want the %d bytes that were kept", len(got), b.Size(), err, len(want))
	}
}

func kept(t *testing.T, s Store) {
	data := []byte("hello, world")
	b := stage(t, s, data)
	if b.Size() != int64(len(data)) || b.Sum() != sha256.Sum256(data) || b.Digest() != b.Sum() {
		t.Errorf("staged size %d, sum %x, digest %v; want those of the bytes", b.Size(), b.Sum(), b.Digest())
	}
	part := make([]byte, 5)
	if _, err := b.ReadAt(part, 7); err != nil || string(part) != "world" {
		t.Errorf("ReadAt(staged) = %q, %v; want world", part, err)
	}
	expect(t, s, b.Digest(), nil)
	if err := b.Keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Keep(t.Context()); err == nil {
		t.Error("second Keep() = nil; want an error")
	}
	if err := b.Discard(); err != nil {
		t.Errorf("Discard() after Keep = %v; want nil", err)
	}
	expect(t, s, b.Digest(), data)

	open, err := s.Open(t.Context(), b.Digest())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if _, err := open.ReadAt(part, 7); err != nil || string(part) != "world" {
		t.Errorf("ReadAt() = %q, %v; want world", part, err)
	}
	if n, err := open.Seek(-5, io.SeekEnd); n != 7 || err != nil {
		t.Errorf("Seek() = %d, %v; want 7", n, err)
	}
	if got, err := io.ReadAll(open); err != nil || string(got) != "world" {
		t.Errorf("after Seek = %q, %v; want world", got, err)
	}
	empty := keep(t, s, nil)
	expect(t, s, empty, []byte{})
}

func large(t *testing.T, s Store) {
	data := make([]byte, 20<<20+13)
	rand.NewChaCha8([32]byte{1}).Read(data)
	b := stage(t, s, nil)
	rest := data
	for _, n := range []int{1, 4096, 64<<10 - 1, 64 << 10, 1 << 20, 10 << 20} {
		if _, err := b.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if n, err := io.Copy(b, bytes.NewReader(rest)); n != int64(len(rest)) || err != nil {
		t.Fatalf("Copy() = %d, %v; want %d", n, err, len(rest))
	}
	if b.Sum() != sha256.Sum256(data) {
		t.Errorf("sum = %x; want %x", b.Sum(), sha256.Sum256(data))
	}
	if err := b.Keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, s, b.Digest(), data)
	broken := stage(t, s, nil)
	if _, err := io.Copy(broken, io.MultiReader(bytes.NewReader(data), brokenReader{})); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Copy(broken off) = %v; want %v", err, io.ErrUnexpectedEOF)
	}
}

// brokenReader is an upload whose client went away.
type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func discarded(t *testing.T, s Store) {
	b := stage(t, s, []byte("unwanted"))
	for range 2 {
		if err := b.Discard(); err != nil {
			t.Errorf("Discard() = %v; want nil", err)
		}
	}
	if err := b.Keep(t.Context()); err == nil {
		t.Error("Keep() after Discard = nil; want an error")
	}
	expect(t, s, b.Digest(), nil)
}

func unknown(t *testing.T, s Store) {
	expect(t, s, lamina.Digest{}, nil)
	expect(t, s, sha256.Sum256([]byte("never seen")), nil)
}

func same(t *testing.T, s Store) {
	data := []byte("twice")
	first, second := stage(t, s, data), stage(t, s, data)
	for _, b := range []Staged{first, second} {
		if err := b.Keep(t.Context()); err != nil {
			t.Fatal(err)
		}
		expect(t, s, b.Digest(), data)
	}
	if n := sweep(t, s, time.Now().Add(time.Hour), nobody); n != 1 {
		t.Errorf("Sweep() = %d; want one blob", n)
	}
}

func sameAtOnce(t *testing.T, s Store) {
	data := bytes.Repeat([]byte("many "), 50_000)
	var keeping sync.WaitGroup
	for i := range 16 {
		b := stage(t, s, data)
		other := stage(t, s, fmt.Append(nil, "other ", i))
		keeping.Go(func() {
			if err := errors.Join(b.Keep(t.Context()), other.Keep(t.Context())); err != nil {
				t.Errorf("Keep() = %v; want nil", err)
			}
			expect(t, s, b.Digest(), data)
		})
	}
	keeping.Wait()
	if n := sweep(t, s, time.Now().Add(time.Hour), nobody); n != 17 {
		t.Errorf("Sweep() = %d; want 17 blobs", n)
	}
}

func cancelled(t *testing.T, s Store) {
	ctx, cancel := context.WithCancel(t.Context())
	b := stage(t, s, []byte("too late"))
	cancel()
	if err := b.Keep(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Keep(cancelled) = %v; want %v", err, context.Canceled)
	}
	expect(t, s, b.Digest(), nil)
}

const grace = time.Minute

func nobody(context.Context, lamina.Digest) (bool, error)    { return false, nil }
func everybody(context.Context, lamina.Digest) (bool, error) { return true, nil }

func sweep(t testing.TB, s Store, now time.Time, referenced func(context.Context, lamina.Digest) (bool, error)) int {
	t.Helper()
	n, err := s.Sweep(t.Context(), grace, now, referenced)
	if err != nil {
		t.Errorf("Sweep() = %v; want nil", err)
	}
	return n
}

func swept(t *testing.T, s Store) {
	used, unused := keep(t, s, []byte("used")), keep(t, s, []byte("unused"))
	n := sweep(t, s, time.Now().Add(time.Hour), func(_ context.Context, d lamina.Digest) (bool, error) { return d == used, nil })
	if n != 1 {
		t.Errorf("Sweep() = %d; want 1", n)
	}
	expect(t, s, used, []byte("used"))
	expect(t, s, unused, nil)
}

func spared(t *testing.T, s Store) {
	digest := keep(t, s, []byte("young"))
	if n := sweep(t, s, time.Now(), nobody); n != 0 {
		t.Errorf("Sweep(young) = %d; want 0", n)
	}
	if n := sweep(t, s, time.Now().Add(time.Hour), everybody); n != 0 {
		t.Errorf("Sweep(in use) = %d; want 0", n)
	}
	expect(t, s, digest, []byte("young"))
}

func unsure(t *testing.T, s Store) {
	digest := keep(t, s, []byte("who knows"))
	down := errors.New("database is down")
	n, err := s.Sweep(t.Context(), grace, time.Now().Add(time.Hour), func(context.Context, lamina.Digest) (bool, error) { return false, down })
	if n != 0 || !errors.Is(err, down) {
		t.Errorf("Sweep() = %d, %v; want %v", n, err, down)
	}
	expect(t, s, digest, []byte("who knows"))
}

func staged(t *testing.T, s Store) {
	data := []byte("slow upload")
	b := stage(t, s, data)
	if n := sweep(t, s, time.Now().Add(time.Hour), nobody); n != 0 {
		t.Errorf("Sweep() = %d; want 0", n)
	}
	if err := b.Keep(t.Context()); err != nil {
		t.Fatalf("Keep() after a sweep = %v; want nil", err)
	}
	expect(t, s, b.Digest(), data)
}

func refreshed(t *testing.T, s Store) {
	data := []byte("again")
	digest := keep(t, s, data)
	between := time.Now()
	// The clock of a file system may tick once in 4 ms and more, and S3's once in a
	// second: the second Keep is asked for until its time is later.
	for deadline := between.Add(10 * time.Second); ; {
		keep(t, s, data)
		if n := sweep(t, s, between.Add(grace), nobody); n == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a blob that was kept again is as old as before")
		}
	}
	expect(t, s, digest, data)
}

func outlives(t *testing.T, s Store) {
	data := []byte("being read")
	b, err := s.Open(t.Context(), keep(t, s, data))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if n := sweep(t, s, time.Now().Add(time.Hour), nobody); n != 1 {
		t.Errorf("Sweep() = %d; want 1", n)
	}
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, data) {
		t.Errorf("content = %q, %v; want %q", got, err, data)
	}
}

// race keeps and refers to blobs while a sweep without grace runs all the time:
// what had its reference before it was kept may never be missing.
func race(t *testing.T, s Store) {
	var mu sync.Mutex
	used := make(map[lamina.Digest]bool)
	referenced := func(_ context.Context, d lamina.Digest) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		return used[d], nil
	}
	var done atomic.Bool
	var sweeping, keeping sync.WaitGroup
	sweeping.Go(func() {
		for !done.Load() {
			if _, err := s.Sweep(t.Context(), -time.Hour, time.Now(), referenced); err != nil {
				t.Errorf("Sweep() = %v; want nil", err)
			}
		}
	})
	for worker := range 4 {
		keeping.Go(func() {
			for i := range 25 {
				data := fmt.Append(nil, "blob ", i%5, worker)
				b := stage(t, s, data)
				digest := b.Digest()
				mu.Lock()
				used[digest] = true
				mu.Unlock()
				if err := b.Keep(t.Context()); err != nil {
					t.Errorf("Keep() = %v; want nil", err)
				}
				expect(t, s, digest, data)
				mu.Lock()
				used[digest] = false
				mu.Unlock()
			}
		})
	}
	keeping.Wait()
	done.Store(true)
	sweeping.Wait()
}
