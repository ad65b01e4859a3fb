package sandbox

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Probe makes one sandbox with two layers to find out whether this host runs
// functions, and looks around for what the rest of the server may use. It takes
// some 10 ms, without privileges some more. The program must be one that calls [Init].
func Probe(ctx context.Context) Report {
	var r Report
	caps, err := capabilities()
	r.Rootless = err != nil || caps&rootCapabilities != rootCapabilities
	r.Checks = append(r.Checks, privileges(r.Rootless), userNamespaces(!r.Rootless))
	trial, host := trial(ctx)
	r.Usable = trial.OK
	r.Checks = append(r.Checks, trial,
		fileSystem("overlay", "load the kernel module overlay; functions with more than one layer need it"),
		seccomp(), cgroups(host), network(ctx))

	r.NotEnforced = notEnforced(host, r.Rootless)
	return r
}

// notEnforced says in sentences what a function may do here that it should not.
func notEnforced(host hierarchy, rootless bool) []string {
	all := append(host.notEnforced(), "disk bandwidth of a function is not limited; the size of /tmp is")
	if !rootless {
		return all
	}
	if !host.has(pids) && initialRoot() {
		all = append(all, "a function may have any number of processes: the kernel limits those of other users than root only")
	}
	return append(all, "all functions run as the server's user, with its supplementary groups, and share with it and each other what the kernel "+
		"counts for a user: processes, buffers of pipes, descriptors on their way, pending signals; run the server as root to give each its own")
}

// initialRoot says whether the server's user is the one whose processes the
// kernel does not count: root, and not a namespace's.
func initialRoot() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return os.Geteuid() == 0 && (err != nil || slices.Equal(strings.Fields(string(b)), []string{"0", "0", "4294967295"}))
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
// The control groups are those that it had.
func trial(ctx context.Context) (c Check, host hierarchy) {
	c = Check{Name: "sandbox", OK: true, Detail: "namespaces, mounts, overlay, loopback and seccomp work together"}
	host, err := try(ctx)
	if err != nil {
		c.OK, c.Detail = false, err.Error()
		c.Hint = "needs Linux 5.12 or later"
		switch errno, _ := errors.AsType[syscall.Errno](err); errno {
		case unix.EPERM, unix.EACCES:
			c.Hint = "in a container, allow user namespaces and mounts (--privileged, or --security-opt seccomp=unconfined " +
				"--security-opt apparmor=unconfined --security-opt systempaths=unconfined); on Ubuntu see kernel.apparmor_restrict_unprivileged_userns"
		case unix.ENOSPC:
			c.Hint = "raise user.max_user_namespaces and its sisters in /proc/sys/user"
		case unix.ENOMEM, unix.EAGAIN:
			c.Hint = "free memory, or raise the limit of processes"
		}
	}
	return c, host
}

func try(ctx context.Context) (host hierarchy, err error) {
	dir, err := os.MkdirTemp("", "lamina-probe-")
	if err != nil {
		return host, err
	}
	defer os.RemoveAll(dir)
	var layers []string
	for _, l := range []string{"a", "b"} {
		layers = append(layers, filepath.Join(dir, l))
		if err := os.Mkdir(filepath.Join(dir, l), 0o755); err != nil {
			return host, err
		}
	}
	p, err := NewPool(Options{})
	if err != nil {
		return host, err
	}
	defer p.close()
	host = p.instance.hierarchy
	s, err := p.Start(ctx, Spec{ID: "probe", Task: dir, Layers: layers, TmpBytes: 1 << 20})
	if err != nil {
		return host, err
	}
	return p.instance.hierarchy, s.Close()
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

func seccomp() Check {
	b, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	if err != nil {
		return Check{Name: "seccomp", Detail: err.Error(), Hint: "use a kernel with CONFIG_SECCOMP_FILTER"}
	}
	return Check{Name: "seccomp", OK: strings.Contains(string(b), "errno"), Detail: strings.TrimSpace(string(b))}
}

// cgroups says which version of control groups sandboxes use, and for what.
func cgroups(host hierarchy) Check {
	c := Check{Name: "cgroup", OK: host.limits() == 3 && host.has(freezer), Detail: host.String()}
	if c.OK {
		return c
	}
	c.Hint = "mount cgroup v2 at /sys/fs/cgroup, or have a group of your own there (systemd: Delegate=yes), with the controllers memory, cpu and pids"
	if host.version == 0 {
		c.Detail = "none that this process may write"
	}
	return c
}
