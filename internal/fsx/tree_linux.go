package fsx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Tree writes below one directory and nowhere else. No name leaves it, and no
// symlink in it is followed, whoever made it. Names are relative, clean and with
// slashes. A Tree is safe for concurrent use until it is closed.
type Tree struct{ dir *os.File }

// OpenTree opens an existing directory.
func OpenTree(dir string) (*Tree, error) {
	f, err := os.OpenFile(dir, unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &Tree{dir: f}, nil
}

// Close ends the use of the tree. What was written stays.
func (t *Tree) Close() error { return t.dir.Close() }

// MkdirAll makes a directory and the ones above it. Those that exist are left as
// they are; those it makes have mode perm whatever the umask.
func (t *Tree) MkdirAll(name string, perm fs.FileMode) error {
	if fd, err := t.open(name, unix.O_PATH|unix.O_DIRECTORY, 0); err == nil {
		return unix.Close(fd)
	} else if err != unix.ENOENT {
		return failure("mkdir", name, err)
	}
	at, opened := int(t.dir.Fd()), false
	defer func() {
		if opened {
			_ = unix.Close(at) // a directory: nothing to lose
		}
	}()
	for part := range strings.SplitSeq(name, "/") {
		fd, err := openat(at, part, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == unix.ENOENT {
			fd, err = mkdirat(at, part, perm)
		}
		if err != nil {
			return failure("mkdir", name, err)
		}
		if opened {
			_ = unix.Close(at) // a directory: nothing to lose
		}
		at, opened = fd, true
	}
	return nil
}

// mkdirat makes one directory and opens it.
func mkdirat(at int, name string, perm fs.FileMode) (int, error) {
	if err := unix.Mkdirat(at, name, uint32(perm.Perm())); err != nil && err != unix.EEXIST {
		return -1, err
	}
	fd, err := openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Fchmod(fd, uint32(perm.Perm())); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// Create makes a file that must not exist yet. Its directory must.
func (t *Tree) Create(name string) (*File, error) {
	fd, err := t.open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, failure("create", name, err)
	}
	return &File{fd: fd, name: name}, nil
}

// Symlink makes a symlink, which must not exist yet. The target is data: it may
// be anything.
func (t *Tree) Symlink(target, name string, modified time.Time) error {
	above, err := t.open(path.Dir(name), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return failure("symlink", name, err)
	}
	defer unix.Close(above)
	if err := unix.Symlinkat(target, above, path.Base(name)); err != nil {
		return failure("symlink", name, err)
	}
	return failure("symlink", name, unix.UtimesNanoAt(above, path.Base(name), times(modified), unix.AT_SYMLINK_NOFOLLOW))
}

// SetDirTime sets the time of a directory. Anything made in it later changes it.
func (t *Tree) SetDirTime(name string, modified time.Time) error {
	fd, err := t.open(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return failure("set time", name, err)
	}
	return failure("set time", name, errors.Join(setTime(fd, modified), unix.Close(fd)))
}

// open opens a name below the root. Kernels before 5.6 and old seccomp profiles
// have no openat2, and it takes no path above 4 KB: then the path is walked by
// hand, one component at a time and no symlink followed either.
func (t *Tree) open(name string, flags int, perm uint32) (int, error) {
	if !local(name) {
		return -1, fmt.Errorf("%q: %w", name, fs.ErrInvalid)
	}
	flags |= unix.O_CLOEXEC
	how := unix.OpenHow{
		Flags: uint64(flags), Mode: uint64(perm),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(int(t.dir.Fd()), name, &how)
		switch err {
		case unix.EINTR, unix.EAGAIN: // EAGAIN: a rename elsewhere raced with the walk
			continue
		case unix.ENOSYS, unix.EPERM, unix.ENAMETOOLONG:
			return t.walk(name, flags, perm)
		}
		return fd, err
	}
}

func (t *Tree) walk(name string, flags int, perm uint32) (int, error) {
	at, opened := int(t.dir.Fd()), false
	for {
		part, rest, more := strings.Cut(name, "/")
		f, p := unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, uint32(0)
		if !more {
			f, p = flags, perm
		}
		fd, err := openat(at, part, f|unix.O_NOFOLLOW, p)
		if opened {
			_ = unix.Close(at) // O_PATH: nothing to lose
		}
		if err != nil || !more {
			return fd, err
		}
		at, opened, name = fd, true, rest
	}
}

func openat(at int, name string, flags int, perm uint32) (int, error) {
	for {
		if fd, err := unix.Openat(at, name, flags, perm); err != unix.EINTR {
			return fd, err
		}
	}
}

// local reports whether name is "." or a clean relative path.
func local(name string) bool {
	if name == "." {
		return true
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return strings.IndexByte(name, 0) < 0
}

// File is a file that [Tree.Create] made. It is no [os.File], whose poller and
// finalizer cost more than the rest of writing a small file.
type File struct {
	fd   int
	name string
}

// Write appends to the file.
func (f *File) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Write(f.fd, p[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, failure("write", f.name, err)
		}
		done += n
	}
	return done, nil
}

// Finish sets the mode, whatever the umask, and the time of a file that is
// written.
func (f *File) Finish(perm fs.FileMode, modified time.Time) error {
	if err := unix.Fchmod(f.fd, uint32(perm.Perm())); err != nil {
		return failure("set mode", f.name, err)
	}
	return failure("set time", f.name, setTime(f.fd, modified))
}

// Close must be called exactly once.
func (f *File) Close() error { return failure("close", f.name, unix.Close(f.fd)) }

// setTime needs Linux 5.8 for the empty path; before that /proc names the file.
func setTime(fd int, modified time.Time) error {
	err := unix.UtimesNanoAt(fd, "", times(modified), unix.AT_EMPTY_PATH)
	if err == unix.EINVAL || err == unix.ENOENT {
		err = unix.UtimesNanoAt(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), times(modified), 0)
	}
	return err
}

func times(modified time.Time) []unix.Timespec {
	ts := unix.NsecToTimespec(modified.UnixNano())
	return []unix.Timespec{ts, ts}
}

func failure(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
