package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Probe makes one sandbox with two layers to find out whether this host runs
// functions, and looks around for what the rest of the server may use. It takes
// some 10 ms. The program must be one that calls [Init].
func Probe(ctx context.Context) Report {
	var r Report
	caps, err := capabilities()
	r.Rootless = err != nil || caps&rootCapabilities != rootCapabilities
	r.Checks = append(r.Checks, privileges(r.Rootless), userNamespaces(!r.Rootless))
	trial := trial(ctx)
	r.Usable = trial.OK
	r.Checks = append(r.Checks, trial,
		fileSystem("overlay", "load the kernel module overlay; functions with more than one layer need it"),
		erofs(r.Rootless), seccomp(), cgroups())

	r.NotEnforced = append(r.NotEnforced,
		"memory, CPU and disk use of a function are not limited yet; a limit on processes and open files is",
		"a function has no network but its own loopback")
	if r.Rootless {
		r.NotEnforced = append(r.NotEnforced,
			"all functions run as the server's user, with its supplementary groups; run the server as root to give each its own")
	}
	return r
}

func privileges(rootless bool) Check {
	if rootless {
		return Check{
			Name: "root", Detail: "without privileges: sandboxes use user namespaces",
			Hint: "run the server as root, in a container with --privileged, for a user of its own per sandbox",
		}
	}
	return Check{Name: "root", OK: true, Detail: "each sandbox gets a host user of its own"}
}

func userNamespaces(asRoot bool) Check {
	c := Check{Name: "user namespaces", OK: true, Detail: "allowed"}
	if asRoot {
		c.Detail = "allowed, and not needed"
	}
	for file, stop := range map[string]string{
		"/proc/sys/user/max_user_namespaces":                     "0",
		"/proc/sys/kernel/unprivileged_userns_clone":             "0",
		"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
	} {
		if b, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(b)) == stop {
			name := strings.ReplaceAll(strings.TrimPrefix(file, "/proc/sys/"), "/", ".")
			c.OK, c.Detail = false, name+" is "+stop
			c.Hint = "only a server without root needs them: sysctl -w " + name + "=…, or run the server as root"
		}
	}
	return c
}

// trial is the one check that counts: do what a function will need.
func trial(ctx context.Context) (c Check) {
	c = Check{Name: "sandbox", OK: true, Detail: "namespaces, mounts, overlay, loopback and seccomp work together"}
	if err := try(ctx); err != nil {
		c.OK, c.Detail = false, err.Error()
		c.Hint = "needs Linux 5.12 or later"
		switch errno, _ := errors.AsType[syscall.Errno](err); errno {
		case unix.EPERM, unix.EACCES:
			c.Hint = "in a container, allow user namespaces and mounts (--privileged, or --security-opt seccomp=unconfined " +
				"--security-opt apparmor=unconfined); on Ubuntu see kernel.apparmor_restrict_unprivileged_userns"
		case unix.ENOSPC:
			c.Hint = "raise user.max_user_namespaces and its sisters in /proc/sys/user"
		case unix.ENOMEM, unix.EAGAIN:
			c.Hint = "free memory, or raise the limit of processes"
		}
	}
	return c
}

func try(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "lamina-probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var layers []string
	for _, l := range []string{"a", "b"} {
		layers = append(layers, filepath.Join(dir, l))
		if err := os.Mkdir(filepath.Join(dir, l), 0o755); err != nil {
			return err
		}
	}
	p, err := NewPool(Options{})
	if err != nil {
		return err
	}
	s, err := p.Start(ctx, Spec{ID: "probe", Task: dir, Layers: layers, TmpBytes: 1 << 20})
	if err != nil {
		return err
	}
	return s.Close()
}

func fileSystem(name, hint string) Check {
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return Check{Name: name, Detail: err.Error(), Hint: hint}
	}
	if slices.Contains(strings.Fields(string(b)), name) {
		return Check{Name: name, OK: true, Detail: "in the kernel"}
	}
	return Check{Name: name, Detail: "not in /proc/filesystems", Hint: hint}
}

func erofs(rootless bool) Check {
	c := fileSystem("erofs", "load the kernel module erofs; layers are unpacked to directories meanwhile")
	if c.OK && rootless {
		c.OK, c.Detail, c.Hint = false, "in the kernel, but only root may mount it", "run the server as root"
	}
	return c
}

func seccomp() Check {
	b, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	if err != nil {
		return Check{Name: "seccomp", Detail: err.Error(), Hint: "use a kernel with CONFIG_SECCOMP_FILTER"}
	}
	return Check{Name: "seccomp", OK: strings.Contains(string(b), "errno"), Detail: strings.TrimSpace(string(b))}
}

func cgroups() Check {
	c := Check{Name: "cgroup", Hint: "mount cgroup v2 at /sys/fs/cgroup with the controllers memory, cpu and pids"}
	const top = "/sys/fs/cgroup"
	var st unix.Statfs_t
	if err := unix.Statfs(top, &st); err != nil {
		c.Detail = err.Error()
		return c
	}
	version, controllers := "v1", ""
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		b, err := os.ReadFile(top + "/cgroup.controllers")
		if err != nil {
			c.Detail = err.Error()
			return c
		}
		version, controllers = "v2", strings.TrimSpace(string(b))
	} else {
		var have []string
		for _, name := range []string{"memory", "cpu", "pids"} {
			if _, err := os.Stat(filepath.Join(top, name, "tasks")); err == nil {
				have = append(have, name)
			}
		}
		controllers = strings.Join(have, " ")
	}
	c.Detail = fmt.Sprintf("%s with %s", version, cmp.Or(controllers, "no controllers"))
	if c.OK = unix.Access(top, unix.W_OK) == nil && controllers != ""; c.OK {
		c.Hint = ""
		c.Detail += "; not used yet"
	}
	return c
}
