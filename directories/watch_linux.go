package directories

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	maxWatches = 4096 // directories of one tree
	maxWatched = 64   // trees
)

// local are the file systems on which the kernel reports every change, wherever
// it is made. On others, such as those that Docker Desktop shares, only a look at
// the files tells.
var local = map[int64]bool{
	unix.EXT4_SUPER_MAGIC: true, unix.XFS_SUPER_MAGIC: true, unix.BTRFS_SUPER_MAGIC: true,
	unix.TMPFS_MAGIC: true, unix.F2FS_SUPER_MAGIC: true, 0x2fc12fc1: true, // ZFS
}

const changes = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM |
	unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK

// watch knows the state of one directory as long as the kernel reports no change.
// The kernel queues a report before the call that makes the change returns, so
// that an empty queue means that nothing has changed; a change through a shared
// mapping is the exception, and shows when the file is closed.
type watch struct {
	allowed *Allowed
	dir     string

	mu     sync.Mutex
	fd     int    // -1 while nothing is watched
	known  string // the state when fd was empty
	writes int    // reports of files that were written, whose times may be too coarse to tell
}

// watchOf is nil where every Stamp has to look at the files.
func (a *Allowed) watchOf(dir string) *watch {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w, ok := a.watched[dir]; ok {
		return w
	}
	if len(a.watched) >= maxWatched {
		return nil
	}
	var w *watch
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) == nil && local[int64(fs.Type)] {
		w = &watch{allowed: a, dir: dir, fd: -1}
	}
	a.watched[dir] = w
	return w
}

// Close ends the watching. Stamp may still be called.
func (a *Allowed) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.watched {
		if w != nil {
			w.mu.Lock()
			w.end()
			w.mu.Unlock()
		}
	}
	clear(a.watched)
}

// end wants w.mu.
func (w *watch) end() {
	if w.fd >= 0 {
		unix.Close(w.fd)
		w.fd, w.known = -1, ""
	}
}

func (w *watch) stamp(ctx context.Context) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd >= 0 {
		reported, written := w.drain()
		if !reported {
			return w.known, nil
		}
		if written {
			w.writes++
		}
	}
	// Everything anew: what moved may be watched under a name that it has no more.
	w.end()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return w.allowed.scan(ctx, w.dir, nil)
	}
	watches := 0
	complete := true
	// A directory is watched before it is read: what changes after that is reported.
	known, err := w.allowed.scan(ctx, w.dir, func(path string) {
		if watches++; watches > maxWatches {
			complete = false
			return
		}
		var st unix.Statfs_t
		if unix.Statfs(path, &st) != nil || !local[int64(st.Type)] {
			complete = false // something else is mounted there
			return
		}
		if _, err := unix.InotifyAddWatch(fd, path, changes); err != nil {
			complete = false
		}
	})
	if err != nil || !complete {
		unix.Close(fd)
		return known, err
	}
	w.fd, w.known = fd, known+"-"+strconv.Itoa(w.writes)
	return w.known, nil
}

// drain reads what the kernel has to report.
func (w *watch) drain() (reported, written bool) {
	var buf [16 << 10]byte
	for {
		n, err := unix.Read(w.fd, buf[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 {
			return reported || !errors.Is(err, unix.EAGAIN), written
		}
		reported = true
		for at := 0; at+unix.SizeofInotifyEvent <= n; {
			mask, length := binary.NativeEndian.Uint32(buf[at+4:]), binary.NativeEndian.Uint32(buf[at+12:])
			written = written || mask&(unix.IN_MODIFY|unix.IN_Q_OVERFLOW) != 0
			at += unix.SizeofInotifyEvent + int(length)
		}
	}
}
