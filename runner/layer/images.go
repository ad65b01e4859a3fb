package layer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner/layer/erofs"
)

// Images shows EROFS images as directories.
type Images interface {
	// Mount shows the image in a file as a directory until unmount is called, which
	// is done once. The file may lose its name meanwhile.
	Mount(file string) (dir string, unmount func() error, err error)
}

// keptMounts is how many images stay mounted that nobody has acquired: mounting
// anew takes a tenth of a millisecond, and what the kernel remembered of the
// files is lost.
const keptMounts = 128

// mount is an image that is shown, or not. The cache's mutex guards it.
type mount struct {
	dir     string // empty when it is not mounted
	unmount func() error
	// busy is closed by whoever mounts or unmounts, when that is done; else nil.
	busy chan struct{}
}

// pack makes the image of an archive and returns its size.
func (c *Cache) pack(ctx context.Context, archive *lamina.Archive, temporary, name string) (size int64, err error) {
	// Mode 0600: who mounts it reads it.
	file, err := os.CreateTemp(c.dir, temporary)
	if err != nil {
		return 0, err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	if err := Pack(ctx, archive, file); err != nil {
		return 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(file.Name(), c.path(name))
}

// show returns the directory of an entry that the caller has a reference to.
func (c *Cache) show(ctx context.Context, e *entry) (dir string, err error) {
	if !e.image {
		return c.path(e.file), nil
	}
	for {
		c.mu.Lock()
		dir, busy := e.mount.dir, e.mount.busy
		if dir == "" && busy == nil {
			e.mount.busy = make(chan struct{})
		}
		c.mu.Unlock()
		switch {
		case dir != "":
			return dir, nil
		case busy == nil:
			m := mount{}
			m.dir, m.unmount, err = c.images.Mount(c.path(e.file))
			c.mu.Lock()
			close(e.mount.busy)
			e.mount = m
			if err == nil {
				c.mounted++
			}
			c.mu.Unlock()
			return m.dir, err
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// hide unmounts images that nobody has, the least recently used first, until no
// more of them are mounted than is worth it.
func (c *Cache) hide() {
	for {
		e := c.idle()
		if e == nil {
			return
		}
		err := c.unmount(e)
		c.mu.Lock()
		close(e.mount.busy)
		e.mount.busy = nil
		c.mu.Unlock()
		if err != nil {
			c.log.Error("image not unmounted", slog.String("file", e.file), slog.Any("err", err))
		}
	}
}

// idle makes the image busy that hide is to unmount, if there is one.
func (c *Cache) idle() (oldest *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	keep, count := keptMounts, 0
	if c.closed {
		keep = 0
	}
	if c.mounted <= keep {
		return nil
	}
	for _, e := range c.entries {
		if e.mount.dir == "" || e.mount.busy != nil || e.refs > 0 || e.gone != nil {
			continue
		}
		count++
		if oldest == nil || e.used < oldest.used {
			oldest = e
		}
	}
	if count <= keep {
		return nil
	}
	oldest.mount.busy = make(chan struct{})
	return oldest
}

// unmount undoes show for an entry that nobody else can have.
func (c *Cache) unmount(e *entry) error {
	c.mu.Lock()
	m := e.mount
	e.mount.dir, e.mount.unmount = "", nil
	if m.unmount != nil {
		c.mounted--
	}
	c.mu.Unlock()
	if m.unmount == nil {
		return nil
	}
	return m.unmount()
}

// ProbeImages says why images in the directory dir can't be mounted; nil is that
// they can. It mounts one.
func ProbeImages(dir string, images Images) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("try an image: %w", err)
		}
	}()
	file, err := os.CreateTemp(dir, unpacking+"probe-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	const name = "probe"
	image, err := erofs.Plan([]erofs.Node{{Name: name, Mode: 0o644, Modified: time.Unix(0, 0), Size: int64(len(name))}}, time.Unix(0, 0))
	if err != nil {
		return err
	}
	content := image.Contents(file)
	content.Begin(0)
	if _, err := content.Write([]byte(name)); err != nil {
		return err
	}
	if err := errors.Join(file.Truncate(image.Size()), image.WriteTree(file), content.End()); err != nil {
		return err
	}
	shown, unmount, err := images.Mount(file.Name())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	if data, err := os.ReadFile(filepath.Join(shown, name)); err != nil || string(data) != name {
		return errors.Join(err, fmt.Errorf("its file reads %q", data))
	}
	return nil
}
