package layer_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/runner/layer"
)

// countingImages shows a directory of one file, called probe, for every image,
// and counts what is mounted.
type countingImages struct {
	dir    string
	refuse error // what Mount returns, if not nil

	mu      sync.Mutex
	mounted map[string]int // how often, by the image's name
	total   int
	most    int // together
	now     int
}

func (c *countingImages) Mount(file string) (string, func() error, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse != nil {
		return "", nil, c.refuse
	}
	if _, err := os.Stat(file); err != nil {
		return "", nil, err
	}
	name := filepath.Base(file)
	if c.mounted[name]++; c.mounted[name] > 1 {
		return "", nil, fmt.Errorf("%s is mounted already", name)
	}
	c.total, c.now = c.total+1, c.now+1
	c.most = max(c.most, c.now)
	return c.dir, sync.OnceValue(func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.mounted[name]--
		c.now--
		return nil
	}), nil
}

func newCountingImages(t *testing.T) *countingImages {
	t.Helper()
	c := &countingImages{dir: t.TempDir(), mounted: map[string]int{}}
	if err := os.WriteFile(filepath.Join(c.dir, "probe"), []byte("probe"), 0o644); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestMountsAreBounded uses more archives than stay mounted.
func TestMountsAreBounded(t *testing.T) {
	t.Parallel()
	const kept, inUse = 128, 3
	var zips [][]byte
	for i := range kept + 50 {
		zips = append(zips, testkit.Zip(t, testkit.File{Name: "f", Body: fmt.Sprint(i)}))
	}
	b, digests := newBlobs(zips...)
	images := newCountingImages(t)
	c := openCache(t, t.TempDir(), b, images)
	var releases []func()
	for i, digest := range digests {
		_, release, err := c.Acquire(t.Context(), digest)
		if err != nil {
			t.Fatal(err)
		}
		if i < inUse {
			releases = append(releases, release)
		} else {
			release()
		}
	}
	if images.now < kept || images.now > kept+inUse || images.most > kept+inUse+1 {
		t.Errorf("%d images are mounted, at most %d were; want %d, and %d in use", images.now, images.most, kept, inUse)
	}
	// The last used are still there, the first used are not.
	before := images.total
	dirOf(c, t, digests[len(digests)-1])
	dirOf(c, t, digests[0]) // in use
	if images.total != before {
		t.Errorf("%d images mounted anew; want none", images.total-before)
	}
	dirOf(c, t, digests[inUse])
	if images.total != before+1 {
		t.Errorf("%d images mounted anew; want one", images.total-before)
	}
	// An eviction unmounts what it removes.
	if err := c.Evict(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if images.now != inUse {
		t.Errorf("%d images are mounted after eviction; want the %d in use", images.now, inUse)
	}
	// What is in use when the cache closes is unmounted when it is released.
	dirOf(c, t, digests[inUse])
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if images.now != inUse {
		t.Errorf("%d images are mounted after Close; want the %d in use", images.now, inUse)
	}
	for _, release := range releases {
		release()
	}
	if images.now != 0 {
		t.Errorf("%d images are mounted in the end; want none", images.now)
	}
}

// TestMountsTogether acquires, releases and evicts at once: no image is mounted
// twice at a time, and none is left.
func TestMountsTogether(t *testing.T) {
	t.Parallel()
	b, digests := newBlobs(testkit.Zip(t, testkit.File{Name: "a"}), testkit.Zip(t, testkit.File{Name: "b"}))
	images := newCountingImages(t)
	c := openCache(t, t.TempDir(), b, images)
	var workers sync.WaitGroup
	for i := range 8 {
		workers.Go(func() {
			for range 100 {
				if i == 0 {
					if err := c.Evict(t.Context(), 0); err != nil {
						t.Errorf("Evict() = %v; want nil", err)
					}
					continue
				}
				_, release, err := c.Acquire(t.Context(), digests[i%2])
				if err != nil {
					t.Errorf("Acquire() = %v; want nil", err)
					return
				}
				release()
			}
		})
	}
	workers.Wait()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if images.now != 0 {
		t.Errorf("%d images are mounted; want none", images.now)
	}
}

// TestKindsOfCache opens one cache with images, without, and with images that
// can't be mounted: what is of no use goes, what is stays.
func TestKindsOfCache(t *testing.T) {
	t.Parallel()
	b, digests := newBlobs(testkit.Zip(t, testkit.File{Name: "f", Body: "body"}))
	dir := t.TempDir()
	images := newCountingImages(t)
	use := func(images layer.Images, wantNames ...string) string {
		t.Helper()
		var log strings.Builder
		c, err := layer.NewCache(layer.Options{Dir: dir, Blobs: b, Images: images, Limits: lamina.DefaultLimits(), Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		dirOf(c, t, digests[0])
		if got := names(t, dir); fmt.Sprint(got) != fmt.Sprint(wantNames) {
			t.Errorf("cache has %v; want %v", got, wantNames)
		}
		return log.String()
	}
	unpacked := digests[0].String()
	use(images, unpacked+".erofs")
	use(images, unpacked+".erofs")
	if b.opened != 1 {
		t.Errorf("archive was read %d times; want once", b.opened)
	}
	images.refuse = errors.New("no such luck")
	if log := use(images, unpacked); !strings.Contains(log, "unpacked to directories") || !strings.Contains(log, "no such luck") {
		t.Errorf("log says %q; want it to tell what and why", log)
	}
	images.refuse = nil
	use(images, unpacked) // made before, and as good
	if b.opened != 2 {
		t.Errorf("archive was read %d times; want twice", b.opened)
	}
	if err := os.WriteFile(filepath.Join(dir, unpacked+".erofs"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	use(images, unpacked+".erofs") // of both it is the image that stays
	if images.now != 0 {
		t.Errorf("%d images are mounted; want none", images.now)
	}
}

// TestMountFails has no image mounted for one caller, and then for the next.
func TestMountFails(t *testing.T) {
	t.Parallel()
	b, digests := newBlobs(testkit.Zip(t, testkit.File{Name: "f"}))
	images := newCountingImages(t)
	c := openCache(t, t.TempDir(), b, images)
	reason := errors.New("too many mounts")
	images.refuse = reason
	if _, _, err := c.Acquire(t.Context(), digests[0]); !errors.Is(err, reason) {
		t.Errorf("Acquire() = %v; want %v", err, reason)
	}
	images.refuse = nil
	dirOf(c, t, digests[0])
}
