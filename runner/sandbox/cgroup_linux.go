package sandbox

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Control groups hold what a function may use. The tree is the same in both
// versions of the kernel's interface; version 1 has one for each controller:
//
//	lamina/             one for all servers
//	  <instance>/       of one server, which holds a lock on it as long as it lives
//	    <sandbox>/      limits, and in version 1 the function's processes
//	      function/     in version 2: the function's processes; the init is above
//
// The init stays outside what is frozen, so that it can end the sandbox when
// the server is gone. What makes this possible is that it forks the function's
// processes from one thread ([launcher]), and a thread can be in another group
// than its process: in version 1 in any, in version 2 in a threaded one.
const (
	topGroup      = "lamina"
	functionGroup = "function"
	serverGroup   = "lamina-server" // where the server goes when it stands in its own way
)

// The controllers. In version 2 the freezer is no controller, and always there.
const (
	memory  = "memory"
	cpu     = "cpu"
	pids    = "pids"
	freezer = "freezer"
)

// controllers are in the order in which a sandbox's groups are made. The first
// that there is has the instance's lock.
var controllers = []string{freezer, memory, cpu, pids}

// hierarchy is where control groups can be made, and with which controllers.
type hierarchy struct {
	version int               // 0 when there is none
	bases   map[string]string // directory for each controller, in version 2 always the same

	// mkdir and rmdir are os.Mkdir and os.Remove, except in tests of directories
	// that are no control groups.
	mkdir, rmdir func(dir string) error
}

func (h hierarchy) makeGroup(dir string) error {
	if h.mkdir != nil {
		return h.mkdir(dir)
	}
	return os.Mkdir(dir, 0o755)
}

func (h hierarchy) dropGroup(dir string) error {
	if h.rmdir != nil {
		return h.rmdir(dir)
	}
	return os.Remove(dir)
}

// thisHost looks for control groups. It changes nothing.
func thisHost() (hierarchy, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return hierarchy{}, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without any
		return hierarchy{}, err
	}
	return chooseHierarchy(string(mounts), string(own)), nil
}

// chooseHierarchy takes the version that offers more of the limits, and the
// second where both offer the same.
func chooseHierarchy(mountinfo, own string) hierarchy {
	one, two := hierarchy{version: 1, bases: map[string]string{}}, hierarchy{version: 2}
	for line := range strings.Lines(mountinfo) {
		kind, point, options := parseMount(line)
		switch kind {
		case "cgroup":
			if !writable(point) || !exists(filepath.Join(point, "tasks")) {
				continue
			}
			for _, o := range options {
				if slices.Contains(controllers, o) {
					one.bases[o] = point
				}
			}
		case "cgroup2":
			if len(two.bases) == 0 {
				two.bases = delegated(point, own)
			}
		}
	}
	switch {
	case two.limits() > 0 && two.limits() >= one.limits():
		return two
	case one.limits() > 0:
		return one
	case len(two.bases) > 0: // it freezes at least
		return two
	case len(one.bases) > 0:
		return one
	}
	return hierarchy{}
}

// delegated finds a group of version 2 in which groups may be made: the top of
// the mount, else the process's own.
func delegated(point, own string) map[string]string {
	dirs := []string{point}
	for line := range strings.Lines(own) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/"); ok && path != "" && !strings.HasPrefix(path, "../") {
			dirs = append(dirs, filepath.Join(point, path))
		}
	}
	for _, dir := range dirs {
		if !writable(dir) || !writable(filepath.Join(dir, "cgroup.procs")) {
			continue
		}
		bases := map[string]string{freezer: dir}
		for _, c := range words(filepath.Join(dir, "cgroup.controllers")) {
			if slices.Contains(controllers, c) {
				bases[c] = dir
			}
		}
		return bases
	}
	return nil
}

// parseMount takes a line of mountinfo apart; kind is empty when it is none.
func parseMount(line string) (kind, point string, options []string) {
	before, after, ok := strings.Cut(line, " - ")
	f, g := strings.Fields(before), strings.Fields(after)
	if !ok || len(f) < 5 || len(g) < 3 {
		return "", "", nil
	}
	return g[0], unescape(f[4]), strings.Split(g[2], ",")
}

// unescape undoes what the kernel does to spaces and the like in mountinfo.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func writable(path string) bool { return unix.Access(path, unix.W_OK) == nil }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// words are those of a file; a file that can't be read has none.
func words(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(b))
}

func (h hierarchy) has(controller string) bool { return h.bases[controller] != "" }

// limits counts the controllers that limit something.
func (h hierarchy) limits() int {
	n := 0
	for _, c := range []string{memory, cpu, pids} {
		if h.has(c) {
			n++
		}
	}
	return n
}

// leads is the controller whose directory of an instance has the lock.
func (h hierarchy) lead() string {
	i := slices.IndexFunc(controllers, h.has)
	if i < 0 {
		return ""
	}
	return controllers[i]
}

// tops are the directories of Lamina's group, the leading one first, each once.
func (h hierarchy) tops() (dirs []string) {
	for _, c := range controllers {
		if !h.has(c) {
			continue
		}
		if dir := filepath.Join(h.bases[c], topGroup); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func (h hierarchy) String() string {
	var have []string
	for _, c := range controllers {
		if h.has(c) {
			have = append(have, c)
		}
	}
	return fmt.Sprintf("v%d with %s", h.version, strings.Join(have, ", "))
}

// notEnforced says what is not limited for want of control groups.
func (h hierarchy) notEnforced() (sentences []string) {
	for _, s := range []struct{ controller, sentence string }{
		{memory, "a function may use more memory than it is configured with, and what is reported is its runtime process's only: there is no control group for memory"},
		{cpu, "a function may use all processors: there is no control group for the processors"},
		{pids, "a function's processes are limited by a resource limit only: there is no control group for processes"},
		{freezer, "a function's processes go on running between invocations: there is no control group that freezes"},
	} {
		if !h.has(s.controller) {
			sentences = append(sentences, s.sentence)
		}
	}
	return sentences
}

// instance is one server's part of the tree. Nothing is made before the first
// sandbox needs it.
type instance struct {
	hierarchy

	mu     sync.Mutex
	name   string   // empty before it is made
	lock   *os.File // the leading directory, locked
	closed bool
	serial int
}

// dir is the instance's directory for a controller.
func (n *instance) dir(controller string) string {
	return filepath.Join(n.bases[controller], topGroup, n.name)
}

// dirs are all of them, the leading one first.
func (n *instance) dirs() (dirs []string) {
	for _, top := range n.tops() {
		dirs = append(dirs, filepath.Join(top, n.name))
	}
	return dirs
}

// make makes the instance's directories. It wants n.mu.
func (n *instance) make() error {
	if n.closed {
		return errClosed
	}
	for try := 0; ; try++ {
		err := n.tryMake()
		if err == nil {
			return nil
		}
		n.name = ""
		// A server that stops takes Lamina's group away when it was the last, and
		// one that starts takes what nobody has locked.
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EWOULDBLOCK) || try == 10 {
			return err
		}
	}
}

func (n *instance) tryMake() (err error) {
	var id [6]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	n.name = hex.EncodeToString(id[:])
	var made []string
	defer func() {
		if err != nil {
			for _, dir := range slices.Backward(made) {
				_ = n.dropGroup(dir) // what stays is empty, and the next server's to remove
			}
			if n.lock != nil {
				n.lock.Close()
				n.lock = nil
			}
		}
	}()
	for i, top := range n.tops() {
		if n.version == 2 {
			if err := n.enable(n.bases[freezer]); err != nil {
				return err
			}
		}
		if err := n.makeGroup(top); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := n.weigh(top); err != nil {
			return err
		}
		dir := filepath.Join(top, n.name)
		if err := n.makeGroup(dir); err != nil {
			return err
		}
		made = append(made, dir)
		if n.version == 2 {
			if err := errors.Join(n.enable(top), n.enable(dir)); err != nil {
				return err
			}
		}
		if i == 0 {
			if n.lock, err = lockGroup(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// weigh gives all functions together more than one process's share of the
// processors, in version 1, where who is in no group of its own competes as a
// process with groups. As much as four for each processor leaves the server a
// fifth of all when functions want everything.
func (n *instance) weigh(top string) error {
	if n.version != 1 || filepath.Dir(top) != n.bases[cpu] {
		return nil
	}
	shares := min(4*1024*runtime.NumCPU(), 1<<18) // the kernel's most
	return writeGroup(filepath.Join(top, "cpu.shares"), strconv.Itoa(shares))
}

// lockGroup locks a group's directory. The lock goes with the process, however
// it ends. It fails with ErrNotExist when somebody removed the group meanwhile.
func lockGroup(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	f := os.NewFile(uintptr(fd), dir)
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "lock", Path: dir, Err: err}
	}
	mine, err := f.Stat()
	if err == nil {
		var now os.FileInfo
		if now, err = os.Stat(dir); err == nil && !os.SameFile(mine, now) {
			err = &fs.PathError{Op: "lock", Path: dir, Err: fs.ErrNotExist}
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// enable hands the controllers of version 2 on to the groups below dir. Those
// that it can't are no longer among n's.
func (n *instance) enable(dir string) error {
	file := filepath.Join(dir, "cgroup.subtree_control")
	for _, c := range []string{memory, cpu, pids} {
		if !n.has(c) || slices.Contains(words(file), c) {
			continue
		}
		err := writeGroup(file, "+"+c)
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTSUP) {
			// A group with processes can't hand controllers on, unless it is the
			// very top. If they are ours, they can move.
			own := filepath.Join(dir, serverGroup)
			if e := n.makeGroup(own); e != nil && !errors.Is(e, fs.ErrExist) {
				return e
			}
			if e := writeGroup(filepath.Join(own, "cgroup.procs"), "0"); e != nil {
				return e
			}
			err = writeGroup(file, "+"+c)
		}
		if err != nil {
			delete(n.bases, c)
		}
	}
	return nil
}

// writeGroup writes a value to a file of a group, in one write as the kernel wants it.
func writeGroup(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Write(fd, []byte(value))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: "write " + value + " to", Path: path, Err: err}
		}
		return nil
	}
}

// close removes what is left of the instance; its sandboxes are gone.
func (n *instance) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	if n.name == "" {
		return nil
	}
	err := n.remove()
	n.name = ""
	err = errors.Join(err, n.lock.Close())
	n.lock = nil
	for _, top := range n.tops() {
		_ = n.dropGroup(top) // unless another server uses it
	}
	return err
}

// remove removes the directories, the leading one last: as long as it is there
// and locked, nobody takes the others for left over.
func (n *instance) remove() (err error) {
	for _, dir := range slices.Backward(n.dirs()) {
		err = errors.Join(err, n.removeGroup(dir))
	}
	return err
}

// sweep removes what servers that were killed have left: processes first, then
// groups. It returns the number of their instances.
func (h hierarchy) sweep() (removed int, err error) {
	tops := h.tops()
	if len(tops) == 0 {
		return 0, nil
	}
	// A server makes the leading directory first and removes it last, so what is
	// seen elsewhere before, and not there after, is left over.
	names := map[string]bool{}
	for _, top := range slices.Backward(tops) {
		for _, name := range children(top) {
			names[name] = true
		}
	}
	for name := range names {
		if len(name) != 12 || strings.Trim(name, "0123456789abcdef") != "" {
			continue // not ours
		}
		lock, e := lockGroup(filepath.Join(tops[0], name))
		if errors.Is(e, unix.EWOULDBLOCK) {
			continue // its server lives
		}
		if e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
			continue
		}
		err = errors.Join(err, thawGroup(filepath.Join(tops[0], name)))
		for _, top := range slices.Backward(tops) {
			if dir := filepath.Join(top, name); exists(dir) {
				err = errors.Join(err, h.clearGroup(dir))
			}
		}
		removed++
		if lock != nil {
			err = errors.Join(err, lock.Close())
		}
	}
	if h.version == 2 {
		_ = h.dropGroup(filepath.Join(h.bases[freezer], serverGroup)) // unless a server is in it
	}
	return removed, err
}

// children are the groups in dir, which need not exist.
func children(dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// thawGroup thaws dir and the groups below it: what is frozen in version 1 does
// not die of a signal.
func thawGroup(dir string) (err error) {
	for _, name := range children(dir) {
		err = errors.Join(err, thawGroup(filepath.Join(dir, name)))
	}
	for file, value := range map[string]string{"freezer.state": "THAWED", "cgroup.freeze": "0"} {
		if path := filepath.Join(dir, file); exists(path) {
			err = errors.Join(err, writeGroup(path, value))
		}
	}
	return err
}

// clearGroup kills what is in dir and the groups below it, and removes them.
func (h hierarchy) clearGroup(dir string) error {
	for _, name := range children(dir) {
		if err := h.clearGroup(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(removeLimit); ; {
		// In version 1 threads count, too; in a threaded group of version 2 the
		// file can't be read, and the group above has the process.
		list := words(filepath.Join(dir, "cgroup.procs"))
		for _, text := range list {
			if pid, err := strconv.Atoi(text); err == nil && pid > 1 && pid != os.Getpid() {
				if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
					return &fs.PathError{Op: "kill process " + text + " in", Path: dir, Err: err}
				}
			}
		}
		err := h.dropGroup(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(removePause) // the kernel tells nobody in version 1
	}
}

const (
	removeLimit = 5 * time.Second
	removePause = 2 * time.Millisecond
)

// removeGroup removes a group whose processes are gone or about to be.
func (h hierarchy) removeGroup(dir string) error {
	for deadline := time.Now().Add(removeLimit); ; {
		err := h.dropGroup(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(removePause) // as above
	}
}
