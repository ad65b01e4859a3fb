package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	defaultHostname = "sandbox"
	userName        = "sbx_user1051"
	emptyDir        = "/var/empty" // what masks show
)

// dirs are the directories of the root, all read-only in the end.
var dirs = []string{
	"/usr", "/etc", "/etc/ssl", "/etc/pki", "/etc/pki/tls", "/etc/pki/ca-trust", "/dev", "/proc", "/tmp", "/opt",
	"/var", "/var/task", "/var/runtime", "/var/lang", emptyDir,
}

// hostEntries are what the root shows of the host: directories and files
// read-only, symbolic links as links, absent ones not at all. In /etc that is
// the dynamic linker's cache, public certificates and how to use them, and the
// links that Debian's /usr/bin needs.
var hostEntries = []string{
	"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
	"/etc/ld.so.cache", "/etc/alternatives", "/etc/crypto-policies",
	"/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf",
	"/etc/pki/ca-trust/extracted", "/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/tls/openssl.cnf",
}

var devices = []string{"null", "zero", "full", "random", "urandom"}

// hidden are directories of the host's that hold what an administrator put there.
var hidden = []string{"/usr/local", "/usr/src"}

// root is the file system of a sandbox. Until leave its paths are reached
// through fd, since "/" is still the host's.
type root struct {
	fd       int // of the root directory; -1 after leave
	rootless bool
	names    string // lines of /etc/hosts besides the sandbox's own
}

// prepare builds the generic part, and leaves the host unless what the
// function needs of it has yet to be mounted from here.
func (r *root) prepare(h helloRequest) error {
	r.rootless, r.names = h.Rootless, hostNames(h.Network)
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return step("make mounts private", err)
	}
	fd, err := newTree("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, "mode", "0755", "size", "4m")
	if err != nil {
		return err
	}
	r.fd = fd
	// On top of "/" it is out of sight until pivot_root, and needs no directory of the host's.
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return step("mount root", err)
	}
	for _, d := range dirs {
		if err := unix.Mkdirat(fd, d[1:], 0o755); err != nil {
			return step("make "+d, err)
		}
	}
	for _, e := range hostEntries {
		if err := r.hostEntry(e); err != nil {
			return err
		}
	}
	if err := r.etc(h); err != nil {
		return err
	}
	if err := r.dev(); err != nil {
		return err
	}
	// hidepid keeps this process, the only one of another user, out of the listing.
	proc, err := newTree("proc", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, "hidepid", "2")
	if err != nil {
		return err
	}
	if err := r.place(proc, "/proc"); err != nil {
		return err
	}
	if err := r.mask([]string{"/proc/keys", "/proc/key-users", "/proc/acpi", "/proc/scsi"}); err != nil {
		return err
	}
	if err := r.mask(hidden); err != nil {
		return err
	}
	if r.rootless {
		return nil
	}
	return r.leave()
}

// path is where an absolute path of the sandbox is found from this process.
func (r *root) path(p string) string {
	if r.fd < 0 {
		return p
	}
	return "/proc/self/fd/" + strconv.Itoa(r.fd) + p
}

func (r *root) hostEntry(name string) error {
	var st unix.Stat_t
	err := unix.Lstat(name, &st)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return step("look at "+name, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		target, err := os.Readlink(name)
		if err != nil {
			return step("read link "+name, err)
		}
		return step("link "+name, unix.Symlinkat(target, r.fd, name[1:]))
	}
	tree, err := cloneTree(unix.AT_FDCWD, name, readOnly, r.rootless)
	if err != nil {
		return err
	}
	return r.place(tree, name)
}

// etc writes the files that a program expects. None says anything about the host.
func (r *root) etc(h helloRequest) error {
	uid := h.UID
	for name, text := range map[string]string{
		"/etc/passwd": fmt.Sprintf("root:x:0:0:root:/root:/sbin/nologin\n%s:x:%d:%d::/home/%s:/sbin/nologin\n",
			userName, uid, uid, userName),
		"/etc/group":         fmt.Sprintf("root:x:0:\n%s:x:%d:\n", userName, uid),
		"/etc/hosts":         hosts(defaultHostname) + r.names,
		"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
		"/etc/resolv.conf":   resolvConf(h.Network),
	} {
		if err := r.write(name, text); err != nil {
			return err
		}
	}
	return step("write /lambda-entrypoint.sh", os.WriteFile(r.path("/lambda-entrypoint.sh"), []byte(entrypoint), 0o755))
}

// entrypoint is a file that there is at AWS, and that some programs take for a
// sign of where they are.
const entrypoint = "#!/bin/sh\nexec /var/runtime/bootstrap \"$@\"\n"

func hosts(name string) string {
	// Extensions name the address on which they want telemetry so.
	return "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 sandbox.localdomain " + name + "\n"
}

func (r *root) write(name, text string) error {
	return step("write "+name, os.WriteFile(r.path(name), []byte(text), 0o644))
}

func (r *root) dev() error {
	for _, d := range devices {
		tree, err := cloneTree(unix.AT_FDCWD, "/dev/"+d, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, false)
		if err != nil {
			return err
		}
		if err := r.place(tree, "/dev/"+d); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := unix.Symlinkat(target, r.fd, "dev/"+name); err != nil {
			return step("link /dev/"+name, err)
		}
	}
	return nil
}

// open opens p, which may be absent, without following any link out of the root.
func (r *root) open(p string) (int, error) {
	dir := r.fd
	if dir < 0 {
		var err error
		if dir, err = unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return -1, err
		}
		defer unix.Close(dir)
	}
	return unix.Openat2(dir, p, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// place moves a detached tree to p, which it makes when it is missing, and
// closes the tree in any case.
func (r *root) place(tree int, p string) error {
	defer unix.Close(tree)
	at, err := r.open(p)
	if errors.Is(err, unix.ENOENT) {
		at, err = r.make(tree, p)
	}
	if err != nil {
		return step("make "+p, err)
	}
	defer unix.Close(at)
	return step("mount "+p, unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// make creates p as a directory or a file, whichever tree is.
func (r *root) make(tree int, p string) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(tree, &st); err != nil {
		return -1, err
	}
	parent, err := r.makeDir(path.Dir(p))
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = unix.Mkdirat(parent, path.Base(p), 0o755)
	} else {
		err = unix.Mknodat(parent, path.Base(p), unix.S_IFREG|0o644, 0)
	}
	if err != nil {
		return -1, err
	}
	return r.open(p)
}

func (r *root) makeDir(p string) (int, error) {
	fd, err := r.open(p)
	if !errors.Is(err, unix.ENOENT) || p == "/" {
		return fd, err
	}
	parent, err := r.makeDir(path.Dir(p))
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if err := unix.Mkdirat(parent, path.Base(p), 0o755); err != nil {
		return -1, err
	}
	return r.open(p)
}

// mask shows nothing in place of paths: an empty directory, or /dev/null.
func (r *root) mask(paths []string) error {
	for _, p := range paths {
		at, err := r.open(p)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return step("mask "+p, err)
		}
		var st unix.Stat_t
		err = unix.Fstat(at, &st)
		unix.Close(at)
		if err != nil {
			return step("mask "+p, err)
		}
		cover, attrs := emptyDir, uint64(readOnly)
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			cover, attrs = "/dev/null", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC
		}
		source, err := r.open(cover)
		if err != nil {
			return step("mask "+p, err)
		}
		tree, err := cloneTree(source, "", attrs, false)
		unix.Close(source)
		if err != nil {
			return step("mask "+p, err)
		}
		if err := r.place(tree, p); err != nil {
			return step("mask "+p, err)
		}
	}
	return nil
}

// start adds what one function needs, and seals the root.
func (r *root) start(s startRequest, trees []int) error {
	for i, m := range s.Mounts {
		if !strings.HasPrefix(m.Target, "/") || path.Clean(m.Target) == "/" {
			return step("mount "+strconv.Quote(m.Target), errors.New("not a path inside"))
		}
		var tree int
		var err error
		switch {
		case len(m.Sources) > 0:
			tree, err = openTree(m.Sources, r.rootless)
		case i < len(trees):
			tree, err = unix.FcntlInt(uintptr(trees[i]), unix.F_DUPFD_CLOEXEC, 0)
		default:
			err = unix.EBADF
		}
		if err != nil {
			return step("mount "+m.Target, err)
		}
		if err := r.place(tree, m.Target); err != nil {
			return err
		}
	}
	if err := r.mask(s.Masks); err != nil {
		return err
	}
	tmp, err := newTree("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV,
		"mode", "1777", "size", strconv.FormatInt(s.TmpBytes, 10), "nr_inodes", strconv.FormatInt(inodes(s.TmpBytes), 10))
	if err != nil {
		return err
	}
	if err := r.place(tmp, "/tmp"); err != nil {
		return err
	}
	if s.Hostname != defaultHostname {
		if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
			return step("set host name", err)
		}
		if err := r.write("/etc/hosts", hosts(s.Hostname)+r.names); err != nil {
			return err
		}
	}
	if r.fd >= 0 {
		if err := r.leave(); err != nil {
			return err
		}
	}
	return step("seal root", unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{Attr_set: readOnly}))
}

// inodes is how many files /tmp may have: each takes memory of the kernel's,
// which would else be bounded by the host's only.
func inodes(size int64) int64 { return min(max(size/8192, 1024), 1<<20) }

// leave makes r the root and detaches the host's from the namespace.
func (r *root) leave() error {
	if err := unix.Fchdir(r.fd); err != nil {
		return step("enter root", err)
	}
	// The old root lands on top of the new one, and the next call takes it off.
	if err := unix.PivotRoot(".", "."); err != nil {
		return step("pivot root", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return step("detach host", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return step("enter root", err)
	}
	unix.Close(r.fd)
	r.fd = -1
	return nil
}
