package blob

import (
	"bytes"
	"cmp"
	"container/list"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/peer"
)

// BucketOptions say where the bucket is. All fields but Proxy are required.
type BucketOptions struct {
	Location        Location
	Endpoint        string // an http or https URL; buckets are the first element of paths below it
	Region          string // that requests are signed for
	AccessKeyID     string
	SecretAccessKey string
	Now             func() time.Time
	Proxy           func(*http.Request) (*url.URL, error) // nil for none
	Log             *slog.Logger

	// Dir holds what arrives, and what was read of late: at most CacheBytes of the
	// latter. One process at a time may have it open.
	Dir        string
	CacheBytes int64

	// Young is how long ago bytes may have been stored for Keep to rely on them as
	// they are. It must be much shorter than the grace of sweeps, by what a row
	// takes to be written after Keep and what clocks differ.
	Young time.Duration
}

// Location is a bucket, and what all keys in it begin with: nothing, or a name
// that ends in a slash.
type Location struct{ Bucket, Prefix string }

var (
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	prefixName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)
)

// ParseLocation reads s3://BUCKET or s3://BUCKET/PREFIX.
func ParseLocation(text string) (Location, error) {
	rest, ok := strings.CutPrefix(text, "s3://")
	bucket, prefix, _ := strings.Cut(rest, "/")
	prefix = strings.TrimSuffix(prefix, "/")
	if !ok || !bucketName.MatchString(bucket) || len(prefix) > 512 || (prefix != "" && !prefixName.MatchString(prefix)) {
		return Location{}, fmt.Errorf("%q: want s3://BUCKET or s3://BUCKET/PREFIX, the prefix of letters, digits, dots, dashes and slashes", text)
	}
	if prefix != "" {
		prefix += "/"
	}
	return Location{bucket, prefix}, nil
}

// String returns what ParseLocation reads.
func (l Location) String() string { return strings.TrimSuffix("s3://"+l.Bucket+"/"+l.Prefix, "/") }

// ParseEndpoint reads the URL of an S3 endpoint.
func ParseEndpoint(text string) (*url.URL, error) { return peer.ParseEndpoint(text) }

// Bucket keeps blobs in S3, where many servers share them. Each has a directory
// for what arrives and what it read of late.
//
// A blob is an object under a name that no other has: the digest and something
// random. So nothing is ever overwritten, and a server that sweeps what it saw
// old and unused can't hit what another one has stored since: bytes that are kept
// again get a new object, copied within S3, unless there is a young one. Objects
// that have become too many are swept. Names of the digest alone are read, too:
// what `aws s3 sync` made of the directory of a [Disk].
type Bucket struct {
	o    BucketOptions
	s3   *s3
	disk *Disk
	used *uses

	// keeping has a lock per first byte of the digest. It is held while S3 is asked,
	// on purpose: "unused? then delete" and "is a young one there? then rely on it"
	// exclude each other in this process. Between processes Young does that.
	keeping [256]sync.Mutex

	mu sync.Mutex

	fetching map[lamina.Digest]*fetch
}

// fetch is one under way. Who waits reads the rest after done was closed, by who
// fetches.
type fetch struct {
	done      chan struct{}
	err       error
	calledOff bool // by who fetched
}

// OpenBucket opens a bucket, and writes, reads, lists and deletes an object there
// to see that it can be relied on. The caller closes it.
func OpenBucket(ctx context.Context, o BucketOptions) (*Bucket, error) {
	client, err := peer.New(peer.Options{
		Service: "s3", Endpoint: o.Endpoint, AccessKeyID: o.AccessKeyID, SecretAccessKey: o.SecretAccessKey,
		Now: o.Now, Proxy: o.Proxy, Answer: answerLimit, Plain: true,
	})
	if err != nil {
		return nil, err
	}
	b := &Bucket{o: o, s3: &s3{peer: client, bucket: o.Location.Bucket, region: o.Region}, fetching: make(map[lamina.Digest]*fetch)}
	if b.disk, err = OpenDisk(o.Dir); err != nil {
		return nil, err
	}
	if b.used, err = openUses(b.disk, o.CacheBytes); err != nil {
		return nil, err
	}
	if err := b.try(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("open %s at %s: %w", o.Location, o.Endpoint, err)
	}
	return b, nil
}

// Close gives up idle connections.
func (b *Bucket) Close() { b.s3.peer.Close() }

// try does to the bucket all that will be done to it.
func (b *Bucket) try(ctx context.Context) error {
	text := []byte("whether Lamina may write here; " + rand.Text())
	sum := sha256.Sum256(text)
	key := b.o.Location.Prefix + "lamina-probe-" + rand.Text()
	if err := b.s3.put(ctx, key, bytes.NewReader(text), int64(len(text)), hex.EncodeToString(sum[:])); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	err := b.s3.get(ctx, key, func(r io.Reader) error {
		got, err := io.ReadAll(io.LimitReader(r, int64(len(text))+1))
		if err == nil && !bytes.Equal(got, text) {
			err = final{errors.New("other bytes than were written")}
		}
		return err
	})
	if err != nil {
		return errors.Join(fmt.Errorf("read: %w", err), b.s3.delete(ctx, key))
	}
	if p, err := b.s3.list(ctx, key, ""); err != nil || len(p.Contents) != 1 {
		return errors.Join(fmt.Errorf("list: %d of one object, %w", len(p.Contents), err), b.s3.delete(ctx, key))
	}
	if err := b.s3.delete(ctx, key); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

// prefix is what the keys of a digest begin with.
func (b *Bucket) prefix(d lamina.Digest) string {
	name := d.String()
	return b.root() + name[:2] + "/" + name[2:]
}

func (b *Bucket) root() string { return b.o.Location.Prefix + "sha256/" }

// digest reads a key, and reports whether it is one of ours.
func (b *Bucket) digest(key string) (lamina.Digest, bool) {
	name, ok := strings.CutPrefix(key, b.root())
	shard, rest, ok2 := strings.Cut(name, "/")
	rest, unique, named := strings.Cut(rest, ".")
	d, err := lamina.ParseDigest(shard + rest)
	return d, ok && ok2 && len(shard) == 2 && err == nil && (unique != "") == named && !strings.ContainsAny(unique, "./")
}

// objects returns the objects of a digest, the youngest first, and S3's time.
func (b *Bucket) objects(ctx context.Context, d lamina.Digest) ([]object, time.Time, error) {
	const most = 10_000 // objects; the next sweep takes all but one
	var all []object
	for token := ""; ; {
		p, err := b.s3.list(ctx, b.prefix(d), token)
		if err != nil {
			return nil, time.Time{}, err
		}
		for _, o := range p.Contents {
			if of, ok := b.digest(o.Key); ok && of == d {
				all = append(all, o)
			}
		}
		if token = p.NextContinuationToken; !p.IsTruncated || token == "" || len(all) >= most {
			slices.SortFunc(all, younger)
			return all, p.at, nil
		}
	}
}

// younger orders objects: the youngest first, and always the same.
func younger(a, b object) int {
	return cmp.Or(b.LastModified.Compare(a.LastModified), cmp.Compare(b.Key, a.Key))
}

// Stage begins a blob. The caller ends it with [Staged.Keep], which stores it in
// the bucket before it returns, or [Staged.Discard].
func (b *Bucket) Stage(ctx context.Context) (*Staged, error) {
	s, err := b.disk.Stage(ctx)
	if err != nil {
		return nil, err
	}
	s.bucket = b
	return s, nil
}

// store makes the bucket have the bytes in an object that no sweep takes before
// their row is there.
func (b *Bucket) store(ctx context.Context, s *Staged, d lamina.Digest) error {
	lock := &b.keeping[d[0]]
	lock.Lock()
	all, at, err := b.objects(ctx, d)
	lock.Unlock()
	if err != nil {
		return err
	}
	// One of another size was cut short, or is a stranger's.
	all = slices.DeleteFunc(all, func(o object) bool { return o.Size != s.size })
	if len(all) > 0 && at.Sub(all[0].LastModified) < b.o.Young {
		return nil
	}
	key := b.prefix(d) + "." + rand.Text()
	if len(all) > 0 {
		if err := b.s3.copy(ctx, all[0].Key, key); !gone(err) {
			return err
		}
	}
	return b.s3.put(ctx, key, s.file, s.size, d.String())
}

// Open opens a blob for reading, from the disk when it was read of late. What
// comes from the bucket is compared with its digest first. The error is
// [lamina.ErrNotFound] when it was never kept or was swept; sweeping does not
// disturb a blob that is open.
func (b *Bucket) Open(ctx context.Context, digest lamina.Digest) (*Blob, error) {
	for {
		blob, err := b.disk.Open(ctx, digest)
		if err == nil {
			b.used.touch(digest)
			return blob, nil
		}
		if !errors.Is(err, lamina.ErrNotFound) {
			return nil, err
		}
		blob, err = b.fetch(ctx, digest)
		if err != nil {
			return nil, fmt.Errorf("open blob %s: %w", digest, err)
		}
		if blob != nil {
			return blob, nil
		}
		// Another has brought it to the disk, which it may have left again.
	}
}

// fetch brings a blob to the disk, once for all who want it at that time: one gets
// it open, the others nil when it is there.
func (b *Bucket) fetch(ctx context.Context, d lamina.Digest) (*Blob, error) {
	for {
		b.mu.Lock()
		f, under := b.fetching[d]
		if !under {
			f = &fetch{done: make(chan struct{})}
			b.fetching[d] = f
		}
		b.mu.Unlock()
		if !under {
			var blob *Blob
			blob, f.err = b.download(ctx, d)
			f.calledOff = f.err != nil && ctx.Err() != nil
			b.mu.Lock()
			delete(b.fetching, d)
			b.mu.Unlock()
			close(f.done)
			return blob, f.err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if !f.calledOff {
			return nil, f.err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

func (b *Bucket) download(ctx context.Context, d lamina.Digest) (*Blob, error) {
	const listings = 3 // the objects seen may be swept, while there are others
	for range listings {
		all, _, err := b.objects(ctx, d)
		if err != nil {
			return nil, err
		}
		if len(all) == 0 {
			return nil, lamina.ErrNotFound
		}
		var failed error
		for _, o := range all {
			blob, err := b.receive(ctx, o, d)
			if err == nil {
				return blob, nil
			}
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if !gone(err) {
				b.o.Log.LogAttrs(ctx, slog.LevelWarn, "object not usable", slog.String("key", o.Key), slog.Any("err", err))
				failed = errors.Join(failed, fmt.Errorf("get %s: %w", o.Key, err))
			}
		}
		if failed != nil {
			return nil, failed
		}
	}
	return nil, lamina.ErrNotFound
}

// receive writes an object to the disk, if it has the digest, and opens it before
// it can leave again.
func (b *Bucket) receive(ctx context.Context, o object, d lamina.Digest) (blob *Blob, err error) {
	err = b.s3.get(ctx, o.Key, func(r io.Reader) error {
		s, err := b.disk.Stage(ctx)
		if err != nil {
			return final{err}
		}
		defer s.Discard()
		n, err := io.Copy(s, io.LimitReader(r, o.Size+1))
		if s.err != nil {
			return final{s.err}
		}
		if err != nil {
			return err
		}
		if n != o.Size || s.Digest() != d {
			return final{fmt.Errorf("%d bytes with digest %s", n, s.Digest())}
		}
		file, err := os.Open(s.file.Name())
		if err != nil {
			return final{err}
		}
		if err := s.Keep(ctx); err != nil {
			return final{errors.Join(err, file.Close())}
		}
		b.used.add(d, n)
		blob = &Blob{file: file, size: n}
		return nil
	})
	return blob, err
}

// Sweep deletes blobs that were kept longer than grace ago and that nothing refers
// to, and returns how many; further objects of blobs that have a younger one; and
// temporary files of that age. The grace must be longer than it takes from
// [Staged.Keep] to the row that refers to the blob, by far more than clocks differ.
func (b *Bucket) Sweep(ctx context.Context, grace time.Duration, now time.Time, referenced func(context.Context, lamina.Digest) (bool, error)) (int, error) {
	before := now.Add(-grace)
	if err := b.disk.sweepStaged(func(info fs.FileInfo) bool { return info.ModTime().Before(before) }); err != nil {
		return 0, fmt.Errorf("sweep blobs: %w", err)
	}
	removed := 0
	var of lamina.Digest // whose objects, which follow one another, were collected
	var all []object
	finish := func() error {
		if len(all) == 0 {
			return nil
		}
		swept, err := b.sweep(ctx, of, all, before, referenced)
		if err != nil {
			return fmt.Errorf("sweep blob %s: %w", of, err)
		}
		if swept {
			removed++
		}
		all = all[:0]
		return nil
	}
	for token := ""; ; {
		p, err := b.s3.list(ctx, b.root(), token)
		if err != nil {
			return removed, fmt.Errorf("sweep blobs: %w", err)
		}
		for _, o := range p.Contents {
			d, ok := b.digest(o.Key)
			if !ok {
				continue // not ours to remove
			}
			if d != of {
				if err := finish(); err != nil {
					return removed, err
				}
			}
			of, all = d, append(all, o)
		}
		if token = p.NextContinuationToken; !p.IsTruncated || token == "" {
			return removed, finish()
		}
	}
}

// sweep deletes what may go of the objects of a digest, and reports whether that
// was the blob. Most are in use: that is found out without the lock, and asked
// again with it.
func (b *Bucket) sweep(ctx context.Context, d lamina.Digest, all []object, before time.Time, referenced func(context.Context, lamina.Digest) (bool, error)) (bool, error) {
	slices.SortFunc(all, younger)
	old := slices.IndexFunc(all, func(o object) bool { return o.LastModified.Before(before) })
	if old < 0 {
		return false, nil
	}
	blob := false
	if old == 0 {
		used, err := referenced(ctx, d)
		if err != nil {
			return false, err
		}
		blob = !used
	}
	if old = max(old, 1); !blob && old == len(all) {
		return false, nil
	}
	lock := &b.keeping[d[0]]
	lock.Lock()
	defer lock.Unlock()
	if blob {
		used, err := referenced(ctx, d)
		if err != nil {
			return false, err
		}
		if blob = !used; blob {
			old = 0
		}
	}
	for _, o := range all[old:] {
		if err := b.s3.delete(ctx, o.Key); err != nil {
			return false, err
		}
	}
	if blob {
		if err := b.used.drop(d); err != nil {
			return false, err
		}
	}
	return blob, nil
}

// uses bounds what a disk that is a cache holds: those that were not used for the
// longest time go.
type uses struct {
	disk *Disk
	most int64

	mu sync.Mutex

	total int64
	order *list.List // of use; the last used in front
	of    map[lamina.Digest]*list.Element
}

type use struct {
	digest lamina.Digest
	size   int64
}

// openUses takes up what is on the disk, in the order of its age.
func openUses(disk *Disk, most int64) (*uses, error) {
	u := &uses{disk: disk, most: most, order: list.New(), of: make(map[lamina.Digest]*list.Element)}
	type file struct {
		digest lamina.Digest
		info   fs.FileInfo
	}
	var files []file
	err := fs.WalkDir(os.DirFS(disk.dir), "sha256", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		d, err := lamina.ParseDigest(strings.ReplaceAll(strings.TrimPrefix(name, "sha256"), "/", ""))
		if err != nil {
			return nil // not ours
		}
		info, err := entry.Info()
		files = append(files, file{d, info})
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(a, b file) int { return a.info.ModTime().Compare(b.info.ModTime()) })
	for _, f := range files {
		u.add(f.digest, f.info.Size())
	}
	return u, nil
}

// touch notes a use.
func (u *uses) touch(d lamina.Digest) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if e := u.of[d]; e != nil {
		u.order.MoveToFront(e)
	}
}

// add notes a blob that is on the disk, and removes what is too much with it.
func (u *uses) add(d lamina.Digest, size int64) {
	u.mu.Lock()
	u.forget(d)
	u.of[d] = u.order.PushFront(use{d, size})
	u.total += size
	var excess []use
	for u.total > u.most && u.order.Len() > 1 {
		oldest := u.order.Back().Value.(use)
		u.forget(oldest.digest)
		excess = append(excess, oldest)
	}
	u.mu.Unlock()
	for _, e := range excess {
		if u.disk.remove(e.digest) != nil { // it is tried again when it is the oldest again
			u.mu.Lock()
			if u.of[e.digest] == nil {
				u.of[e.digest] = u.order.PushFront(e)
				u.total += e.size
			}
			u.mu.Unlock()
		}
	}
}

// forget is called with the lock.
func (u *uses) forget(d lamina.Digest) {
	if e := u.of[d]; e != nil {
		u.total -= u.order.Remove(e).(use).size
		delete(u.of, d)
	}
}

// drop removes a blob from the disk, if it is there.
func (u *uses) drop(d lamina.Digest) error {
	if err := u.disk.remove(d); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.forget(d)
	return nil
}
