package sandbox

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// launcher is a thread that has given up everything a function may not have.
// What it forks is born without.
type launcher struct {
	requests chan launching // launch sends; nobody closes
	results  chan launched  // the thread sends, one for each request and one when it is ready
}

type launching struct {
	process *Process
	output  int // -1 is the sandbox's
}

type launched struct {
	pid int
	err error
}

func (l *launcher) prepare(h helloRequest, null, output, log int, groups []int) error {
	l.requests, l.results = make(chan launching), make(chan launched, 1)
	go func() {
		// Never unlocked: credentials and filter are the thread's, and it must
		// not run anything else.
		runtime.LockOSThread()
		err := join(groups)
		for _, fd := range groups {
			unix.Close(fd)
		}
		if err == nil {
			err = giveUp(h)
		}
		l.results <- launched{err: err}
		if err != nil {
			return
		}
		for r := range l.requests {
			p, out := r.process, output
			if r.output >= 0 {
				out = r.output
			}
			files := []uintptr{uintptr(null), uintptr(out), uintptr(out)}
			if p.LogFD > 2 && p.LogFD < 256 {
				for len(files) < p.LogFD {
					files = append(files, ^uintptr(0)) // closed
				}
				files = append(files, uintptr(log))
			}
			pid, err := syscall.ForkExec(p.Path, p.Args, &syscall.ProcAttr{
				Dir:   p.Dir,
				Env:   p.Env,
				Files: files,
				Sys:   &syscall.SysProcAttr{Setsid: true},
			})
			l.results <- launched{pid, err}
		}
	}()
	return (<-l.results).err
}

func (l *launcher) launch(p *Process, output int) (pid int, err error) {
	l.requests <- launching{p, output}
	r := <-l.results
	return r.pid, r.err
}

// giveUp turns the calling thread, and only it, into the function's user
// without any privilege or way to one.
func giveUp(h helloRequest) error {
	for c := range uintptr(64) {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if err == unix.EINVAL { // past the last one
			break
		}
		if err != nil {
			return step("drop capability bounds", err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return step("clear ambient capabilities", err)
	}
	if !h.Rootless { // in a user namespace it is that user already, and setgroups is forbidden
		id := uintptr(h.UID)
		for _, c := range []struct {
			name         string
			trap         uintptr
			one, two, th uintptr
		}{
			{"clear groups", unix.SYS_SETGROUPS, 0, 0, 0},
			{"set group", unix.SYS_SETRESGID, id, id, id},
			{"set user", unix.SYS_SETRESUID, id, id, id},
		} {
			if _, _, errno := unix.RawSyscall(c.trap, c.one, c.two, c.th); errno != 0 { // raw: the wrappers change all threads
				return step(c.name, errno)
			}
		}
	}
	var none [2]unix.CapUserData
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		return step("drop capabilities", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return step("set no_new_privs", err)
	}
	filter, err := seccompFilter()
	if err != nil {
		return step("assemble filter", err)
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))) // no wrapper exists
	if errno != 0 {
		return step("install filter", errno)
	}
	return nil
}
