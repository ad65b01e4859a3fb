//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inside is the function's program. Each command prints lines of "key value".
func inside(args []string) int {
	switch args[0] {
	case "look":
		look()
	case "refused":
		refusals()
	case "cat":
		for _, f := range args[1:] {
			b, err := os.ReadFile(f)
			fmt.Printf("%s %s%s\n", f, strings.TrimSpace(string(b)), code(err))
		}
	case "list":
		for _, d := range args[1:] {
			es, err := os.ReadDir(d)
			var names []string
			for _, e := range es {
				names = append(names, e.Name())
			}
			fmt.Printf("%s %s%s\n", d, strings.Join(names, ","), code(err))
		}
	case "dial":
		for _, a := range args[1:] {
			c, err := net.DialTimeout("tcp", a, time.Second)
			if err == nil {
				_, err = io.Copy(os.Stdout, c)
				c.Close()
			}
			fmt.Printf("%s %s\n", a, code(err))
		}
	case "udp":
		c, err := net.Dial("udp", args[1])
		b := make([]byte, 1<<16)
		n := 0
		if err == nil {
			c.SetDeadline(time.Now().Add(3 * time.Second))
			for range 2 { // the first learns of an ICMP message at the earliest afterwards
				c.Write([]byte(args[2]))
				if n, err = c.Read(b); err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
					break
				}
			}
		}
		fmt.Printf("%s%s\n", b[:n], code(err))
	case "lookup":
		for _, name := range args[1:] {
			all, err := net.DefaultResolver.LookupHost(context.Background(), name)
			fmt.Println(name, strings.Join(all, ","), code(err))
		}
	case "swap": // sends 64 MiB, half-closes, and counts what comes back
		c, err := net.Dial("tcp", args[1])
		if err != nil {
			fmt.Println(code(err))
			return 1
		}
		begin := time.Now()
		go func() {
			io.Copy(c, io.LimitReader(zeros{}, 64<<20))
			c.(*net.TCPConn).CloseWrite()
		}()
		n, err := io.Copy(io.Discard, c)
		fmt.Println("received", n, code(err))
		fmt.Println("took", time.Since(begin))
	case "many": // keeps so many connections open
		n, _ := strconv.Atoi(args[2])
		open, errs := []net.Conn{}, map[string]int{}
		for range n {
			c, err := net.Dial("tcp", args[1])
			if err != nil {
				errs[code(err)]++
				continue
			}
			open = append(open, c)
		}
		fmt.Println("open", len(open))
		for e, n := range errs {
			fmt.Println(e, n)
		}
	case "share": // leaves 1 MiB of memory, a queue and a semaphore that outlive it
		_, err := unix.SysvShmGet(7, 1<<20, unix.IPC_CREAT|0o600)
		_, _, queue := syscall.RawSyscall(unix.SYS_MSGGET, 7, unix.IPC_CREAT|0o600, 0)
		_, _, semaphore := syscall.RawSyscall(unix.SYS_SEMGET, 7, 1, unix.IPC_CREAT|0o600)
		fmt.Println("shared", code(err), queue, semaphore)
	case "connect":
		c, err := net.Dial("tcp", args[1])
		if err != nil {
			fmt.Println(err)
			return 1
		}
		c.Close()
	case "fill":
		f, err := os.Create(args[1])
		if err != nil {
			fmt.Println("create", code(err))
			return 1
		}
		n, err := io.Copy(f, io.LimitReader(zeros{}, 64<<20))
		fmt.Println("written", n)
		fmt.Println("end", code(err))
	case "hog": // takes memory until it has so many MiB, or is killed
		n, _ := strconv.Atoi(args[1])
		var all [][]byte
		for range n {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			all = append(all, b)
		}
		fmt.Println("has", len(all))
	case "children": // starts so many, and says how many it got
		n, _ := strconv.Atoi(args[1])
		got := 0
		for range n {
			if _, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "600"}, nil); err != nil {
				fmt.Println("end", code(err))
				break
			}
			got++
		}
		fmt.Println("children", got)
	case "spin":
		fmt.Println("ready")
		for n := 0; ; n++ {
			runtime.KeepAlive(n)
		}
	case "tick":
		for i := 0; ; i++ {
			fmt.Println("tick", i)
			time.Sleep(2 * time.Millisecond)
		}
	case "echo": // sends every line back that comes over a connection
		c, err := net.Dial("tcp", args[1])
		if err != nil {
			fmt.Println(err)
			return 1
		}
		_, err = io.Copy(c, c)
		fmt.Println("end", code(err))
	case "write":
		fmt.Println("write", code(os.WriteFile(args[1], []byte(args[2]), 0o644)))
	case "exit":
		n, _ := strconv.Atoi(args[1])
		return n
	case "signal":
		n, _ := strconv.Atoi(args[1])
		signal.Reset()
		syscall.Kill(os.Getpid(), syscall.Signal(n))
		select {}
	case "signals": // sends every signal to all threads that are older than it
		for range 50 {
			for thread := 2; thread < os.Getpid(); thread++ {
				for n := syscall.Signal(1); n <= 64; n++ {
					if err := syscall.Kill(thread, n); err != nil && err != syscall.ESRCH {
						fmt.Println(thread, n, code(err))
						return 1
					}
				}
			}
		}
		fmt.Println("sent 50")
	case "orphans":
		// Grandchildren that ignore what they can, in sessions of their own.
		for range 5 {
			c := exec.Command("/bin/sh", "-c", "trap '' TERM HUP; (setsid sleep 600 &) ; sleep 600")
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := c.Start(); err != nil {
				fmt.Println("start", err)
			}
		}
		fmt.Println("ready")
		select {}
	case "sleep":
		fmt.Println("ready")
		time.Sleep(10 * time.Minute)
	case "memory":
		b := make([]byte, 64<<20)
		for i := range b {
			b[i] = 1
		}
		fmt.Println("ready")
		time.Sleep(10 * time.Minute)
		fmt.Println(b[0])
	default:
		fmt.Println("unknown", args)
		return 99
	}
	return 0
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// code is the name of the kernel's answer.
func code(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return unix.ErrnoName(e)
	}
	return err.Error()
}

func look() {
	for _, p := range []string{"/root", "/home", "/etc/shadow", "/etc/ssh", "/dev/shm", "/dev/kmsg", "/sys", "/run", "/work", "/boot"} {
		_, err := os.Stat(p)
		fmt.Println("stat:"+p, code(err))
	}
	for _, p := range []string{"/", "/var/task", "/opt", "/usr", "/etc", "/var/runtime", "/dev", "/usr/local", "/var", "/tmp"} {
		fmt.Println("create:"+p, code(os.WriteFile(filepath.Join(p, "new"), nil, 0o644)))
	}
	for _, p := range []string{"/var/task", "/opt", "/tmp"} {
		var st syscall.Stat_t
		err := syscall.Stat(p, &st)
		fmt.Printf("owner:%s %d:%d %o%s\n", p, st.Uid, st.Gid, st.Mode&0o7777, code(err))
	}
	status, err := os.ReadFile("/proc/self/status")
	fmt.Print(strings.ReplaceAll(string(status), "\t", " "), code(err))
	adjusted, err := os.ReadFile("/proc/self/oom_score_adj")
	fmt.Println("oom_score_adj", strings.TrimSpace(string(adjusted)), code(err))
	var pids []string
	es, err := os.ReadDir("/proc")
	for _, e := range es {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, e.Name())
		}
	}
	fmt.Println("pids", strings.Join(pids, ","), code(err))
	fmt.Println("self", os.Getpid())
	u, err := user.Current()
	if err == nil {
		fmt.Println("user", u.Username)
	} else {
		fmt.Println("user", err)
	}
	wd, err := os.Getwd()
	fmt.Println("cwd", wd, code(err))
	host, err := os.Hostname()
	fmt.Println("hostname", host, code(err))
	fmt.Println("env", strings.Join(os.Environ(), " "))
	old := syscall.Umask(0)
	fmt.Printf("umask %o\n", old)
	limits, err := os.ReadFile("/proc/self/limits")
	fmt.Println("limits", code(err))
	for l := range strings.Lines(string(limits)) {
		for _, n := range []string{"Max open files", "Max processes", "Max locked memory", "Max stack size", "Max core file size"} {
			if rest, ok := strings.CutPrefix(l, n); ok {
				fmt.Println("limit:"+strings.ReplaceAll(n, " ", "-"), strings.Join(strings.Fields(rest)[:2], ","))
			}
		}
	}
	fds, err := os.ReadDir("/proc/self/fd")
	var open []string
	for _, f := range fds {
		target, err := os.Readlink("/proc/self/fd/" + f.Name())
		if err != nil || strings.Contains(target, "/proc/") || strings.Contains(target, "anon_inode:") {
			continue // the listing's own, and the Go runtime's
		}
		open = append(open, f.Name()+"="+strings.SplitN(target, ":", 2)[0])
	}
	fmt.Println("fds", strings.Join(open, ","), code(err))
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	fmt.Println("mounts", strings.ReplaceAll(string(mounts), "\n", "|"), code(err))
	ifs, err := net.Interfaces()
	var names []string
	for _, i := range ifs {
		as, err := i.Addrs()
		names = append(names, fmt.Sprint(i.Name, as, code(err)))
	}
	fmt.Println("interfaces", strings.Join(names, ","), code(err))
	out, err := os.OpenFile("/dev/stdout", os.O_WRONLY, 0)
	fmt.Println("stdout", code(err))
	out.Close()
}

func refusals() {
	raw := func(name string, nr uintptr, args ...uintptr) {
		var a [6]uintptr
		copy(a[:], args)
		_, _, e := syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
		fmt.Println(name, unix.ErrnoName(e))
	}
	raw("mount", unix.SYS_MOUNT)
	raw("umount2", unix.SYS_UMOUNT2)
	raw("unshare", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
	raw("setns", unix.SYS_SETNS)
	raw("ptrace", unix.SYS_PTRACE, unix.PTRACE_TRACEME)
	raw("bpf", unix.SYS_BPF)
	raw("keyctl", unix.SYS_KEYCTL)
	raw("clone3", unix.SYS_CLONE3)
	raw("clone-newuser", unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(syscall.SIGCHLD))
	raw("chroot", unix.SYS_CHROOT)
	raw("io_uring", unix.SYS_IO_URING_SETUP)
	raw("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT)
	raw("vsock", unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM)
	raw("alg", unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET)
	raw("packet", unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW)
	raw("raw-inet", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	raw("x32", 0x40000000|unix.SYS_GETPID)
	raw("setuid", unix.SYS_SETUID, 0)
	raw("kill-init", unix.SYS_KILL, 1, uintptr(syscall.SIGTERM))
	_, err := os.ReadFile("/proc/1/environ")
	fmt.Println("init-environ", code(err))
	_, err = os.ReadDir("/proc/1/root")
	fmt.Println("init-root", code(err))
}
