package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/fsx"
)

// Blobs is where the zips are.
type Blobs interface {
	// Open returns the bytes, or an error that is [lamina.ErrNotFound]. The cache
	// closes the reader.
	Open(ctx context.Context, digest lamina.Digest) (Reader, error)
}

// BlobsFunc adapts a func to [Blobs].
type BlobsFunc func(ctx context.Context, digest lamina.Digest) (Reader, error)

// Open calls f.
func (f BlobsFunc) Open(ctx context.Context, digest lamina.Digest) (Reader, error) {
	return f(ctx, digest)
}

// Reader is an open blob.
type Reader interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// ErrClosed says that the cache is closed.
var ErrClosed = errors.New("layer cache is closed")

// Names in the cache's directory, next to the digests.
const (
	unpacking = ".new-"
	doomed    = ".old-"
	bootFile  = ".boot"
	imageName = ".erofs" // what follows the digest
)

// Options configures a [Cache]. All but Images are required.
type Options struct {
	Dir    string
	Blobs  Blobs
	Limits lamina.Limits
	Log    *slog.Logger
	// Images mounts what the cache makes; with nil it makes directories.
	Images Images
}

// Cache keeps archives ready to be mounted, in a directory of its own: as images
// where those can be mounted, else unpacked.
type Cache struct {
	dir    string
	blobs  Blobs
	limits lamina.Limits
	log    *slog.Logger
	images Images // nil when archives are unpacked

	mu      sync.Mutex
	entries map[lamina.Digest]*entry
	clock   int64 // counts uses, for the order of eviction
	mounted int   // images
	closed  bool

	work sync.WaitGroup // goroutines that unpack
}

// entry is one archive. The cache's mutex guards it.
type entry struct {
	refs int   // Acquire calls that wait for it or have it
	used int64 // the cache's clock when it was last wanted
	size int64 // bytes on disk; -1 when nobody has looked yet
	err  error // why unpacking failed

	file  string // what it is in the cache's directory
	image bool   // file is an image, else a directory
	mount mount  // of the image

	// ready is closed by whoever unpacks, when the directory is there or err is
	// set. It is closed from the start for what an earlier process left.
	ready chan struct{}
	// gone is nil until Evict takes the entry, which closes it when the file no
	// longer has its name.
	gone chan struct{}
	// cancel stops the unpacking; nil when it is done.
	cancel context.CancelCauseFunc
}

// NewCache opens the cache in a directory, which it makes when it is missing. It
// removes what earlier processes left unfinished and, after another boot,
// everything. Images that can't be mounted are logged and done without. The
// caller calls [Cache.Close]. Only one process at a time may have the directory.
func NewCache(o Options) (*Cache, error) {
	c := &Cache{dir: o.Dir, blobs: o.Blobs, limits: o.Limits, log: o.Log, entries: make(map[lamina.Digest]*entry)}
	if err := c.open(o.Images); err != nil {
		return nil, fmt.Errorf("open layer cache: %w", err)
	}
	return c, nil
}

func (c *Cache) open(images Images) error {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	// Functions read as other users, whatever the umask was.
	if err := os.Chmod(c.dir, 0o755); err != nil {
		return err
	}
	list, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	boot := bootID()
	then, err := os.ReadFile(filepath.Join(c.dir, bootFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	trusted := boot != "" && string(then) == boot
	if images != nil {
		if err := ProbeImages(c.dir, images); err != nil {
			c.log.Warn("archives are unpacked to directories, not mounted as images", slog.Any("err", err))
		} else {
			c.images = images
		}
	}

	type left struct {
		digest lamina.Digest
		name   string
		image  bool
		used   time.Time
	}
	var lefts []left
	for _, item := range list {
		name, image := strings.CutSuffix(item.Name(), imageName)
		digest, err := lamina.ParseDigest(name)
		if err == nil && trusted && (!image || c.images != nil) {
			info, err := item.Info()
			if err != nil {
				return err
			}
			lefts = append(lefts, left{digest, item.Name(), image, info.ModTime()})
			continue
		}
		if err == nil || strings.HasPrefix(item.Name(), unpacking) || strings.HasPrefix(item.Name(), doomed) {
			if err := fsx.RemoveAll(filepath.Join(c.dir, item.Name())); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(lefts, func(a, b left) int { return a.used.Compare(b.used) })
	for _, l := range lefts {
		if e := c.entries[l.digest]; e != nil { // unpacked and an image: that is enough
			directory := e.file
			if !l.image {
				directory = l.name
			}
			if err := fsx.RemoveAll(filepath.Join(c.dir, directory)); err != nil {
				return err
			}
			if !l.image {
				continue
			}
		}
		c.clock++
		c.entries[l.digest] = &entry{used: c.clock, size: -1, file: l.name, image: l.image, ready: closedChannel()}
	}
	// Last: it vouches for every directory that is there.
	return fsx.WriteFile(filepath.Join(c.dir, bootFile), []byte(boot), 0o644)
}

// bootID identifies this boot of the machine; it is empty when the kernel's name
// for it can't be read, and then nothing is trusted.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(id)
}

func closedChannel() chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}

// Acquire returns the directory with the files of an archive, which stays as it is
// until release is called. It may be a path that means something to this process
// only. Whoever asks first unpacks for all; a caller that gives up leaves the
// others what they wait for. The error is [lamina.ErrNotFound] when there is no
// such blob and a *[lamina.ArchiveError] when it is no good archive; the next
// Acquire tries again.
func (c *Cache) Acquire(ctx context.Context, digest lamina.Digest) (dir string, release func(), err error) {
	e, err := c.claim(ctx, digest)
	if err != nil {
		return "", nil, fmt.Errorf("acquire archive %s: %w", digest, err)
	}
	select {
	case <-e.ready:
		if err = e.err; err == nil {
			dir, err = c.show(ctx, e)
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		c.release(e)
		return "", nil, fmt.Errorf("acquire archive %s: %w", digest, err)
	}
	return dir, sync.OnceFunc(func() {
		// The order of use survives a restart in the file's time; losing it costs no
		// more than a worse choice in Evict.
		_ = os.Chtimes(c.path(e.file), time.Time{}, time.Now())
		c.release(e)
	}), nil
}

func (c *Cache) path(file string) string { return filepath.Join(c.dir, file) }

// claim returns the entry of a digest with one reference more, and has it
// unpacked when it is new.
func (c *Cache) claim(ctx context.Context, digest lamina.Digest) (*entry, error) {
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, ErrClosed
		}
		e := c.entries[digest]
		if e != nil && e.gone != nil {
			gone := e.gone
			c.mu.Unlock()
			select {
			case <-gone:
				continue
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		if e == nil {
			e = &entry{size: -1, ready: make(chan struct{})}
			c.entries[digest] = e
			work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
			e.cancel = cancel
			c.work.Go(func() { c.fill(work, digest, e) })
		}
		e.refs++
		c.clock++
		e.used = c.clock
		c.mu.Unlock()
		return e, nil
	}
}

func (c *Cache) release(e *entry) {
	c.mu.Lock()
	e.refs--
	c.clock++
	e.used = c.clock
	c.mu.Unlock()
	c.hide()
}

// fill unpacks the archive of a new entry.
func (c *Cache) fill(ctx context.Context, digest lamina.Digest, e *entry) {
	start := time.Now()
	made, err := c.unpack(ctx, digest)
	if err == nil {
		c.log.LogAttrs(ctx, slog.LevelInfo, "archive unpacked", slog.String("digest", digest.String()),
			slog.Int64("bytes", made.size), slog.Bool("image", made.image), slog.Duration("took", time.Since(start)))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e.cancel(nil)
	e.cancel, e.err = nil, err
	e.file, e.image, e.size = made.file, made.image, made.size
	if err != nil {
		delete(c.entries, digest)
	}
	close(e.ready)
}

// unpacked is what became of an archive.
type unpacked struct {
	file  string
	image bool
	size  int64
}

// unpack makes the image or the directory of a digest.
func (c *Cache) unpack(ctx context.Context, digest lamina.Digest) (made unpacked, err error) {
	blob, err := c.blobs.Open(ctx, digest)
	if err != nil {
		return unpacked{}, err
	}
	defer blob.Close()
	archive, err := lamina.ReadArchive(blob, blob.Size(), c.limits)
	if err != nil {
		return unpacked{}, err
	}
	temporary := unpacking + digest.String()[:12] + "-*"
	if c.images != nil {
		made = unpacked{file: digest.String() + imageName, image: true}
		made.size, err = c.pack(ctx, archive, temporary, made.file)
		return made, err
	}
	// Mode 0700 until it is complete.
	dir, err := os.MkdirTemp(c.dir, temporary)
	if err != nil {
		return unpacked{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, fsx.RemoveAll(dir))
		}
	}()
	if err := Unpack(ctx, archive, dir); err != nil {
		return unpacked{}, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return unpacked{}, err
	}
	made = unpacked{file: digest.String(), size: onDisk(archive)}
	return made, os.Rename(dir, c.path(made.file))
}

// block is what file systems give to the smallest file, and to most directories.
const block = 4096

// onDisk estimates what an archive takes, as [walkSize] would measure it.
func onDisk(archive *lamina.Archive) int64 {
	size := int64(block)
	for _, e := range archive.Entries {
		switch e.Kind {
		case lamina.ArchiveFile:
			size += (e.Size + block - 1) / block * block
		case lamina.ArchiveDirectory:
			size += block
		}
	}
	return size
}

// walkSize measures a directory.
func walkSize(ctx context.Context, dir string) (int64, error) {
	size := int64(0)
	err := filepath.WalkDir(dir, func(_ string, item fs.DirEntry, err error) error {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		info, err := item.Info()
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			size += stat.Blocks * 512
		}
		return nil
	})
	return size, err
}

// Evict removes archives that nobody has acquired, the least recently used first,
// until the cache takes no more than maxBytes. It may end above that when the rest
// is in use.
func (c *Cache) Evict(ctx context.Context, maxBytes int64) error {
	if err := c.measure(ctx); err != nil {
		return fmt.Errorf("evict archives: %w", err)
	}
	for {
		digest, e, old := c.victim(maxBytes)
		if e == nil {
			return nil
		}
		err := context.Cause(ctx)
		if err == nil {
			err = c.unmount(e)
		}
		if err == nil {
			err = os.Rename(c.path(e.file), old)
		}
		c.mu.Lock()
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			delete(c.entries, digest)
		}
		close(e.gone)
		e.gone = nil
		c.mu.Unlock()
		if err == nil {
			err = fsx.RemoveAll(old)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("evict archive %s: %w", digest, err)
		}
		c.log.LogAttrs(ctx, slog.LevelDebug, "archive evicted", slog.String("digest", digest.String()))
	}
}

// Usage is what a cache holds.
type Usage struct {
	Archives int
	InUse    int   // of these, that somebody acquired
	Mounted  int   // images
	Bytes    int64 // on disk, but for archives of an earlier process that nobody wanted yet
}

// Usage tells what the cache holds. It touches no disk.
func (c *Cache) Usage() Usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := Usage{Mounted: c.mounted}
	for _, e := range c.entries {
		if e.gone != nil || e.cancel != nil || e.err != nil {
			continue
		}
		u.Archives++
		u.Bytes += max(e.size, 0)
		if e.refs > 0 {
			u.InUse++
		}
	}
	return u
}

// measure looks at the archives that an earlier process unpacked.
func (c *Cache) measure(ctx context.Context) error {
	var unknown []*entry
	c.mu.Lock()
	for _, e := range c.entries {
		if e.size < 0 && e.cancel == nil && e.gone == nil {
			e.refs++ // so that it stays; it does not count as a use
			unknown = append(unknown, e)
		}
	}
	c.mu.Unlock()
	var failed error
	for _, e := range unknown {
		size := int64(-1)
		if failed == nil {
			size, failed = walkSize(ctx, c.path(e.file))
		}
		c.mu.Lock()
		e.refs--
		if failed == nil {
			e.size = size
		}
		c.mu.Unlock()
	}
	return failed
}

// victim takes the least recently used entry that nobody has, when the cache is
// larger than maxBytes, and a name that its directory can get. It returns no
// entry when there is nothing to evict.
func (c *Cache) victim(maxBytes int64) (lamina.Digest, *entry, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var digest lamina.Digest
	var oldest *entry
	total := int64(0)
	for d, e := range c.entries {
		if e.gone != nil || e.cancel != nil {
			continue
		}
		total += max(e.size, 0)
		if e.refs == 0 && e.mount.busy == nil && (oldest == nil || e.used < oldest.used) {
			digest, oldest = d, e
		}
	}
	if oldest == nil || total <= maxBytes {
		return lamina.Digest{}, nil, ""
	}
	oldest.gone = make(chan struct{})
	c.clock++
	return digest, oldest, filepath.Join(c.dir, fmt.Sprintf("%s%s-%d", doomed, digest, c.clock))
}

// Close stops what is being unpacked and waits for it. Directories that were
// acquired stay until they are released; later calls of Acquire return [ErrClosed].
func (c *Cache) Close() error {
	c.mu.Lock()
	c.closed = true
	for _, e := range c.entries {
		if e.cancel != nil {
			e.cancel(ErrClosed)
		}
	}
	c.mu.Unlock()
	c.work.Wait()
	c.hide()
	return nil
}
