package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/fsx"
)

const temporary = ".put-"

// Disk keeps blobs as files: dir/sha256/ab/cdef…. One process at a time may have
// a directory open; see [fsx.LockDir].
type Disk struct {
	dir string
	// keeping has a lock per first byte of the digest. It is held across I/O on
	// purpose: it makes "is it old and unused? then unlink" and "is it there? then
	// refresh its age" exclude each other.
	keeping [256]sync.Mutex

	mu     sync.Mutex
	staged map[string]struct{} // temporary files in use
}

// OpenDisk opens the directory, makes it when it is missing, and removes what
// uploads left there that never finished.
func OpenDisk(dir string) (*Disk, error) {
	if err := os.MkdirAll(filepath.Join(dir, "sha256"), 0o700); err != nil {
		return nil, fmt.Errorf("open blobs: %w", err)
	}
	d := &Disk{dir: dir, staged: make(map[string]struct{})}
	if err := d.sweepStaged(func(fs.FileInfo) bool { return true }); err != nil {
		return nil, fmt.Errorf("open blobs: %w", err)
	}
	if err := errors.Join(fsx.SyncDir(filepath.Join(dir, "sha256")), fsx.SyncDir(dir), fsx.SyncDir(filepath.Dir(filepath.Clean(dir)))); err != nil {
		return nil, fmt.Errorf("open blobs: %w", err)
	}
	return d, nil
}

func (d *Disk) path(digest lamina.Digest) string {
	name := digest.String()
	return filepath.Join(d.dir, "sha256", name[:2], name[2:])
}

// Stage begins a blob. The caller ends it with [Staged.Keep] or [Staged.Discard].
func (d *Disk) Stage(ctx context.Context) (*Staged, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("stage blob: %w", context.Cause(ctx))
	}
	// Known before it exists, or a sweep could take it for a leftover.
	d.mu.Lock()
	defer d.mu.Unlock()
	file, err := os.CreateTemp(d.dir, temporary+"*")
	if err != nil {
		return nil, fmt.Errorf("stage blob: %w", err)
	}
	d.staged[filepath.Base(file.Name())] = struct{}{}
	return &Staged{disk: d, file: file, hash: sha256.New()}, nil
}

// Blob is an open blob. The caller closes it.
type Blob struct {
	file *os.File
	size int64
}

// Open opens a blob for reading. The error is [lamina.ErrNotFound] when it was
// never kept or was swept; sweeping does not disturb a blob that is open.
func (d *Disk) Open(ctx context.Context, digest lamina.Digest) (*Blob, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("open blob %s: %w", digest, context.Cause(ctx))
	}
	file, err := os.Open(d.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open blob %s: %w", digest, lamina.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", digest, err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open blob %s: %w", digest, err), file.Close())
	}
	return &Blob{file: file, size: info.Size()}, nil
}

// Size returns the number of bytes.
func (b *Blob) Size() int64 { return b.size }

// Read implements [io.Reader].
func (b *Blob) Read(p []byte) (int, error) { return b.file.Read(p) }

// ReadAt implements [io.ReaderAt].
func (b *Blob) ReadAt(p []byte, off int64) (int, error) { return b.file.ReadAt(p, off) }

// Seek implements [io.Seeker].
func (b *Blob) Seek(offset int64, whence int) (int64, error) { return b.file.Seek(offset, whence) }

// Close implements [io.Closer].
func (b *Blob) Close() error { return b.file.Close() }

// Staged is a blob on its way in. Its methods are for one goroutine at a time,
// but for ReadAt.
type Staged struct {
	disk    *Disk
	bucket  *Bucket // nil, or where the bytes become durable
	file    *os.File
	hash    hash.Hash
	size    int64
	flushed int64
	err     error // of the first write that failed; it spoils the blob
	ended   bool
}

// Sizes that were measured: below pipelined, starting a goroutine costs more than
// it saves; writeback is what the disk is given to do while more bytes arrive.
const (
	pipelined = 64 << 10
	writeback = 8 << 20
	copying   = 512 << 10
)

// Write appends to the blob.
func (s *Staged) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	var hashing sync.WaitGroup
	if len(p) >= pipelined {
		hashing.Go(func() { s.hash.Write(p) })
	} else {
		s.hash.Write(p)
	}
	n, err := s.file.Write(p)
	hashing.Wait()
	s.size += int64(n)
	if err != nil {
		s.err = fmt.Errorf("write blob: %w", err)
		return n, s.err
	}
	if s.size-s.flushed >= writeback {
		fsx.StartWriteback(s.file, s.flushed, s.size-s.flushed)
		s.flushed = s.size
	}
	return n, nil
}

// ReadFrom makes [io.Copy] use writes that are large enough to be pipelined.
func (s *Staged) ReadFrom(r io.Reader) (int64, error) {
	buf := make([]byte, copying)
	total := int64(0)
	for {
		// Not io.ReadFull: it could not tell a source that ended from one that
		// broke off with io.ErrUnexpectedEOF.
		n := 0
		var end error
		for n < len(buf) && end == nil {
			var more int
			more, end = r.Read(buf[n:])
			n += more
		}
		written, err := s.Write(buf[:n])
		total += int64(written)
		if err != nil {
			return total, err
		}
		if end == io.EOF {
			return total, nil
		}
		if end != nil {
			return total, end
		}
	}
}

// ReadAt reads what was written, until the blob is kept or discarded.
func (s *Staged) ReadAt(p []byte, off int64) (int, error) { return s.file.ReadAt(p, off) }

// Size returns the number of bytes written.
func (s *Staged) Size() int64 { return s.size }

// Sum returns the SHA-256 of the bytes written.
func (s *Staged) Sum() [sha256.Size]byte { return [sha256.Size]byte(s.hash.Sum(nil)) }

// Digest returns the name that the blob will have.
func (s *Staged) Digest() lamina.Digest { return s.Sum() }

// Keep makes the blob durable and ends the staging. Bytes that are kept already
// stay one blob and are young again to Sweep. When Keep fails, nothing is
// acknowledged, and the caller still has to discard.
func (s *Staged) Keep(ctx context.Context) error {
	digest := s.Digest()
	if err := s.keep(ctx, digest); err != nil {
		return fmt.Errorf("keep blob %s: %w", digest, err)
	}
	if s.bucket != nil {
		s.bucket.used.add(digest, s.size)
	}
	return nil
}

func (s *Staged) keep(ctx context.Context, digest lamina.Digest) error {
	if s.ended {
		return fs.ErrClosed
	}
	if s.err != nil {
		return s.err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if s.bucket != nil {
		if err := s.bucket.store(ctx, s, digest); err != nil {
			return err
		}
	}
	// Before the lock, so that the syncs of many uploads overlap.
	if err := s.file.Sync(); err != nil {
		// The kernel reports a lost page once. A second Sync would say that all is well.
		s.err = err
		return err
	}
	path := s.disk.path(digest)
	dir := filepath.Dir(path)

	lock := &s.disk.keeping[digest[0]]
	lock.Lock()
	defer lock.Unlock()

	// A name that is there already may be that of a process that died before it
	// had synced it: so directories are synced even when nothing is made in them.
	if err := os.Mkdir(dir, 0o700); err == nil {
		if err := fsx.SyncDir(filepath.Dir(dir)); err != nil {
			return errors.Join(err, os.Remove(dir))
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if info, err := os.Lstat(path); err == nil && info.Size() == s.size {
		if err := errors.Join(os.Chtimes(path, time.Time{}, time.Now()), fsx.SyncDir(dir)); err != nil {
			return err
		}
		s.end()
		_ = os.Remove(s.file.Name()) // the blob is safe; Sweep takes what is left
		return nil
	}
	// Nothing there, or a file that a broken disk has cut short.
	if err := os.Rename(s.file.Name(), path); err != nil {
		return err
	}
	s.end()
	if err := fsx.SyncDir(dir); err != nil {
		// Not acknowledged, so it must not be there for the next Keep to trust.
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// Discard ends the staging without keeping anything. After Keep, or a second
// time, it does nothing.
func (s *Staged) Discard() error {
	if s.ended {
		return nil
	}
	s.end()
	if err := os.Remove(s.file.Name()); err != nil {
		return fmt.Errorf("discard blob: %w", err)
	}
	return nil
}

// end gives up the temporary file, which no longer exists under its name or is
// about to be removed.
func (s *Staged) end() {
	s.ended = true
	_ = s.file.Close() // synced, or unwanted
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	delete(s.disk.staged, filepath.Base(s.file.Name()))
}

// Sweep removes blobs that were kept longer than grace ago and that nothing
// refers to, and temporary files of that age that nobody uses. The grace must be
// longer than it takes from [Staged.Keep] to the row that refers to the blob.
func (d *Disk) Sweep(ctx context.Context, grace time.Duration, now time.Time, referenced func(context.Context, lamina.Digest) (bool, error)) (int, error) {
	before := now.Add(-grace)
	if err := d.sweepStaged(func(info fs.FileInfo) bool { return info.ModTime().Before(before) }); err != nil {
		return 0, fmt.Errorf("sweep blobs: %w", err)
	}
	removed := 0
	root := filepath.Join(d.dir, "sha256")
	shards, err := os.ReadDir(root)
	if err != nil {
		return 0, fmt.Errorf("sweep blobs: %w", err)
	}
	for _, shard := range shards {
		names, err := os.ReadDir(filepath.Join(root, shard.Name()))
		if err != nil {
			return removed, fmt.Errorf("sweep blobs: %w", err)
		}
		for _, name := range names {
			digest, err := lamina.ParseDigest(shard.Name() + name.Name())
			if err != nil {
				continue // not ours to remove
			}
			if ctx.Err() != nil {
				return removed, fmt.Errorf("sweep blobs: %w", context.Cause(ctx))
			}
			swept, err := d.sweep(ctx, digest, before, referenced)
			if err != nil {
				return removed, fmt.Errorf("sweep blob %s: %w", digest, err)
			}
			if swept {
				removed++
			}
		}
	}
	return removed, nil
}

// sweep removes one blob if it may. Most are in use: that is found out without
// the lock, and asked again with it.
func (d *Disk) sweep(ctx context.Context, digest lamina.Digest, before time.Time, referenced func(context.Context, lamina.Digest) (bool, error)) (bool, error) {
	path := d.path(digest)
	unused := func() (bool, error) {
		info, err := os.Lstat(path)
		if err != nil || !info.ModTime().Before(before) {
			return false, err
		}
		used, err := referenced(ctx, digest)
		return !used, err
	}
	if ok, err := unused(); err != nil || !ok {
		return false, err
	}
	lock := &d.keeping[digest[0]]
	lock.Lock()
	defer lock.Unlock()
	if ok, err := unused(); err != nil || !ok {
		return false, err
	}
	if err := os.Remove(path); err != nil {
		return false, err
	}
	return true, nil
}

// sweepStaged removes the temporary files that nobody uses and that are old.
func (d *Disk) sweepStaged(old func(fs.FileInfo) bool) error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), temporary) {
			continue
		}
		d.mu.Lock()
		_, used := d.staged[entry.Name()]
		d.mu.Unlock()
		info, err := entry.Info()
		if used || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !old(info) {
			continue
		}
		if err := os.Remove(filepath.Join(d.dir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// remove removes a blob, which may be gone already.
func (d *Disk) remove(digest lamina.Digest) error {
	lock := &d.keeping[digest[0]]
	lock.Lock()
	defer lock.Unlock()
	if err := os.Remove(d.path(digest)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
