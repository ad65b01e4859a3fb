package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Images shows EROFS images of this host as directories, without anything
// appearing among the host's mounts: they are in a mount namespace of which one
// thread of this process is all there is, so that they are gone with the
// process, however it ends. Give it to [NewPool], as [Options.Images], so that
// sandboxes can show those directories. It is safe for concurrent use.
type Images struct {
	requests chan func()   // what the thread is to do; do sends, nobody closes
	stop     chan struct{} // Close closes
	ended    chan struct{} // the thread closes, when it is about to be gone

	mu     sync.Mutex
	closed bool
	last   int
	dirs   map[string]string // from the directory given out to that in the thread's namespace
}

var errImagesClosed = errors.New("images are closed")

// OpenImages starts the thread. It fails without the privileges that mounting
// takes. Whether the kernel can mount images is known when one is: kernels before
// 6.12 need a block device for them. The caller calls [Images.Close].
func OpenImages() (*Images, error) {
	caps, err := capabilities()
	if err != nil {
		return nil, step("read capabilities", err)
	}
	if caps&rootCapabilities != rootCapabilities {
		// Sandboxes of user namespaces open what they show themselves.
		return nil, step("mount images", errors.New("only root may"))
	}
	m := &Images{requests: make(chan func()), stop: make(chan struct{}), ended: make(chan struct{}), dirs: map[string]string{}}
	ready := make(chan error, 1) // one send, by the thread
	go m.run(ready)
	if err := <-ready; err != nil {
		<-m.ended
		return nil, err
	}
	return m, nil
}

// run is the thread.
func (m *Images) run(ready chan<- error) {
	// Never unlocked: the namespace is the thread's, and it must not run anything
	// else. It ends with this function.
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// /proc/self is about this one, and it does not end before the process.
		// While it is locked the other goroutine gets another.
		other := make(chan struct{}) // closed when the other has its thread
		go func() {
			runtime.LockOSThread()
			close(other)
			m.serve(ready)
		}()
		<-other
		runtime.UnlockOSThread() // nothing was changed
		return
	}
	m.serve(ready)
}

func (m *Images) serve(ready chan<- error) {
	defer close(m.ended)
	if err := enterEmpty(); err != nil {
		ready <- err
		return
	}
	ready <- nil
	for {
		select {
		case f := <-m.requests:
			f()
		case <-m.stop:
			return
		}
	}
}

// Where things are in the thread's namespace.
const (
	imageDir = "/image/"
	hostDir  = "/host/" // directories of the host, while they are being stacked with images
)

// enterEmpty gives the calling thread a namespace with nothing in it but /proc,
// through which descriptors have paths. The host's mounts would be kept busy by it.
func enterEmpty() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return step("make mount namespace", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return step("make mounts private", err)
	}
	proc, err := cloneTree(unix.AT_FDCWD, "/proc", readOnly, false)
	if err != nil {
		return err
	}
	tmp, err := newTree("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, "mode", "0700")
	if err != nil {
		unix.Close(proc)
		return err
	}
	r := root{fd: tmp}
	defer func() {
		if r.fd >= 0 {
			unix.Close(r.fd)
		}
	}()
	if err := unix.MoveMount(tmp, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		unix.Close(proc)
		return step("mount root", err)
	}
	if err := r.place(proc, "/proc"); err != nil {
		return err
	}
	for _, dir := range []string{imageDir, hostDir} {
		if err := unix.Mkdirat(r.fd, dir[1:len(dir)-1], 0o700); err != nil {
			return step("make "+dir, err)
		}
	}
	return r.leave()
}

// do runs f on the thread and returns its error.
func (m *Images) do(f func() error) error {
	done := make(chan error, 1) // one send, by the thread
	select {
	case m.requests <- func() { done <- f() }:
		return <-done
	case <-m.ended:
		return errImagesClosed
	}
}

// Close ends the thread, and its namespace with all that was mounted in it.
// Sandboxes keep what they show. Directories can be unmounted later, and should
// be: each is a descriptor.
func (m *Images) Close() error {
	m.mu.Lock()
	closed := m.closed
	m.closed = true
	m.mu.Unlock()
	if !closed {
		close(m.stop)
	}
	<-m.ended
	return nil
}

// Mount shows the image in a file as a directory, read-only, without set-user-ID
// and without devices. Every goroutine of this process may read it, and nobody
// else; it stays until unmount is called, which may be called once. The file must
// not change meanwhile, but may lose its name. An error is an [*Error].
func (m *Images) Mount(file string) (dir string, unmount func() error, err error) {
	tree, err := imageTree(file)
	if err != nil {
		return "", nil, err
	}
	// A descriptor of the directory, since that of the mount is one that unmounts.
	at, err := unix.Openat(tree, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(tree)
		return "", nil, step("open image", err)
	}
	m.mu.Lock()
	m.last++
	place := imageDir + strconv.Itoa(m.last)
	m.mu.Unlock()
	err = m.do(func() error { return attach(tree, place) })
	unix.Close(tree)
	if err != nil {
		unix.Close(at)
		return "", nil, err
	}
	dir = "/proc/self/fd/" + strconv.Itoa(at) + "/." // without the end it would be a symlink
	m.mu.Lock()
	m.dirs[dir] = place
	m.mu.Unlock()
	return dir, func() error {
		m.mu.Lock()
		delete(m.dirs, dir)
		m.mu.Unlock()
		unix.Close(at)
		err := m.do(func() error { return detach(place) })
		if errors.Is(err, errImagesClosed) {
			return nil // it is gone already
		}
		return err
	}, nil
}

// imageTree is a detached mount of an image.
func imageTree(file string) (int, error) {
	source, err := os.Open(file)
	if err != nil {
		return -1, step("open image", err)
	}
	defer source.Close()
	fs, err := unix.Fsopen("erofs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, step("open erofs", err)
	}
	defer unix.Close(fs)
	// Not the path: what shows the mount shows its source.
	if err := unix.FsconfigSetString(fs, "source", "/proc/self/fd/"+strconv.Itoa(int(source.Fd()))); err != nil {
		return -1, step("set erofs source", err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, step("read image "+filepath.Base(file), err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, readOnly)
	return fd, step("mount erofs", err)
}

// attach mounts a tree at a new directory of the thread's namespace.
func attach(tree int, place string) error {
	if err := unix.Mkdir(place, 0o700); err != nil {
		return step("make "+place, err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, place, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return errors.Join(step("mount "+place, err), unix.Rmdir(place))
	}
	return nil
}

// detach undoes attach. What others have of the mount, or open in it, they keep.
func detach(place string) error {
	if err := unix.Unmount(place, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return step("unmount "+place, err)
	}
	return step("remove "+place, unix.Rmdir(place))
}

// openTree is the function of that name, for sources of which some are images.
// Those have to be cloned, and stacked, by a thread of the namespace that they
// are in: before Linux 6.15 the kernel does neither with mounts of another
// namespace, nor with those that are in none.
func (m *Images) openTree(sources []string) (fd int, err error) {
	if m == nil {
		return openTree(sources, false)
	}
	places := make([]string, len(sources))
	var host []string
	m.mu.Lock()
	for i, s := range sources {
		if places[i] = m.dirs[s]; places[i] == "" {
			host = append(host, s)
		}
	}
	m.mu.Unlock()
	if len(host) == len(sources) {
		return openTree(sources, false)
	}
	var trees []int // of host, in order
	defer func() {
		for _, t := range trees {
			unix.Close(t)
		}
	}()
	for _, s := range host {
		t, err := cloneTree(unix.AT_FDCWD, s, readOnly, false)
		if err != nil {
			return -1, err
		}
		trees = append(trees, t)
	}
	fd = -1
	err = m.do(func() (err error) {
		attached := 0
		defer func() {
			for i := range attached {
				err = errors.Join(err, detach(hostDir+strconv.Itoa(i)))
			}
		}()
		for i := range places {
			if places[i] != "" {
				continue
			}
			places[i] = hostDir + strconv.Itoa(attached)
			if err := attach(trees[attached], places[i]); err != nil {
				return err
			}
			attached++
		}
		fd, err = openTree(places, false)
		return err
	})
	if err != nil && fd >= 0 {
		unix.Close(fd)
		fd = -1
	}
	return fd, err
}
