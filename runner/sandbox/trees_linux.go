package sandbox

import (
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

const readOnly = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV

// mounts is what s shows besides the generic root, in the order of mounting.
func (s Spec) mounts() []mount {
	var ms []mount
	if s.Task != "" {
		ms = append(ms, mount{Target: "/var/task", Sources: []string{s.Task}})
	}
	if len(s.Layers) > 0 {
		// The last layer wins; the kernel lets the first lowerdir win.
		layers := slices.Clone(s.Layers)
		slices.Reverse(layers)
		ms = append(ms, mount{Target: "/opt", Sources: layers})
	}
	for _, b := range s.Binds {
		ms = append(ms, mount{Target: b.Target, Sources: []string{b.Source}})
	}
	return ms
}

// openTree returns a detached mount of sources, one bound, several stacked. It
// belongs to no namespace until it is moved to its place; closing the file
// descriptor before that makes it vanish.
func openTree(sources []string, recursive bool) (fd int, err error) {
	if len(sources) == 1 {
		return cloneTree(unix.AT_FDCWD, sources[0], readOnly, recursive)
	}
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	var lower []int
	defer func() {
		for _, l := range lower {
			unix.Close(l)
		}
	}()
	for _, path := range sources {
		l, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, step("open layer "+path, err)
		}
		lower = append(lower, l)
		var st unix.Stat_t
		if err := unix.Fstat(l, &st); err != nil {
			return -1, step("open layer "+path, err)
		}
		key := inode{uint64(st.Dev), st.Ino}
		if seen[key] { // overlayfs answers ELOOP; the stronger one is there already
			lower = lower[:len(lower)-1]
			unix.Close(l)
			continue
		}
		seen[key] = true
	}
	if len(lower) == 1 { // overlayfs wants two
		return cloneTree(lower[0], "", readOnly, recursive)
	}
	return overlayTree(lower)
}

// overlayTree stacks directories given by descriptors, so that no path needs
// escaping and none exceeds the 256 bytes that the kernel takes at a time.
func overlayTree(lower []int) (int, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, step("open overlay", err)
	}
	defer unix.Close(fs)
	paths := make([]string, len(lower))
	for i, l := range lower {
		paths[i] = "/proc/self/fd/" + strconv.Itoa(l)
	}
	err = nil
	for i, p := range paths {
		if err = unix.FsconfigSetString(fs, "lowerdir+", p); err == unix.EINVAL && i == 0 {
			// Before Linux 6.7 there is only the joined form.
			joined := p
			for _, q := range paths[1:] {
				joined += ":" + q
			}
			err = unix.FsconfigSetString(fs, "lowerdir", joined)
			break
		}
		if err != nil {
			break
		}
	}
	if err != nil {
		return -1, step(fmt.Sprintf("stack %d layers", len(lower)), err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, step(fmt.Sprintf("stack %d layers", len(lower)), err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, readOnly)
	return fd, step("mount overlay", err)
}

// cloneTree is a detached bind mount of path (of dir itself if path is empty).
// Mounts below path come along only if recursive, which a user namespace
// demands: it must not uncover what a mount hides.
func cloneTree(dir int, path string, attrs uint64, recursive bool) (int, error) {
	name := "clone mount " + path
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	set := uint(unix.AT_EMPTY_PATH)
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if recursive {
		flags |= unix.AT_RECURSIVE
		set |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(dir, path, flags)
	if err != nil {
		return -1, step(name, err)
	}
	if err := unix.MountSetattr(fd, "", set, &unix.MountAttr{Attr_set: attrs, Propagation: unix.MS_PRIVATE}); err != nil {
		unix.Close(fd)
		return -1, step("restrict mount "+path, err)
	}
	return fd, nil
}

// newTree is a detached mount of a file system that needs no device.
func newTree(fsType string, attrs int, options ...string) (int, error) {
	fs, err := unix.Fsopen(fsType, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, step("open "+fsType, err)
	}
	defer unix.Close(fs)
	for i := 0; i+1 < len(options); i += 2 {
		if err := unix.FsconfigSetString(fs, options[i], options[i+1]); err != nil {
			return -1, step("set "+fsType+" "+options[i], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, step("create "+fsType, err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	return fd, step("mount "+fsType, err)
}
