package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// missingSandbox starts a process in namespaces of its own, as every function is.
func missingSandbox() string {
	if missing := missingOverlay(); missing != "" {
		return missing
	}
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	cmd := exec.Command("true")
	cmd.SysProcAttr = attr
	if err := cmd.Run(); err != nil {
		return "no namespaces here: " + err.Error()
	}
	return ""
}

func missingNetwork() string {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return err.Error()
	}
	f.Close()
	return ""
}

func missingOverlay() string { return missingFileSystem("overlay") }

// missingEROFS looks for a kernel of at least 6.12, which needs no block device.
func missingEROFS() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err.Error()
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(text), "%d.%d", &major, &minor); err != nil || major < 6 || major == 6 && minor < 12 {
		return "kernel older than 6.12"
	}
	return missingFileSystem("erofs")
}

func missingFileSystem(name string) string {
	list, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err.Error()
	}
	if strings.Contains(string(list), "\t"+name+"\n") {
		return ""
	}
	// The list has loaded modules only; a mount would load it.
	if err := exec.Command("modprobe", name).Run(); err != nil {
		return "no " + name + " file system in this kernel"
	}
	return ""
}

// missingCgroup looks at the usual places of both versions.
func missingCgroup() string {
	const top = "/sys/fs/cgroup"
	if list, err := os.ReadFile(top + "/cgroup.controllers"); err == nil {
		for _, name := range []string{"memory", "cpu", "pids"} {
			if !strings.Contains(" "+strings.TrimSpace(string(list))+" ", " "+name+" ") {
				return "no controller " + name + " of cgroup v2"
			}
		}
		if syscall.Access(top+"/cgroup.procs", 2) != nil {
			return "no right to make groups of cgroup v2"
		}
		return ""
	}
	for _, name := range []string{"memory", "cpu", "pids", "freezer"} {
		if syscall.Access(top+"/"+name+"/tasks", 2) != nil {
			return "no cgroup v1 for " + name
		}
	}
	return ""
}
