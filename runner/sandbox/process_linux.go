package sandbox

import (
	"errors"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is one that was forked by this server, or for it by its [spawner].
// Its methods may be called from several goroutines.
type process struct {
	Pid  int
	file *os.File // a pidfd: the number may come to mean another, this does not
}

func newProcess(pid, pidfd int) *process {
	return &process{Pid: pid, file: os.NewFile(uintptr(pidfd), "process")}
}

// Kill sends SIGKILL. It fails with [os.ErrProcessDone] when the process ended.
func (p *process) Kill() error {
	err := p.use(func(fd int) error { return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) })
	if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrClosed) {
		return os.ErrProcessDone
	}
	return err
}

// Wait returns when the process ended, and reaps it if that is ours to do. It is
// to be called once.
func (p *process) Wait() error {
	err := p.use(func(fd int) error {
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if err == nil {
				break
			}
			if err != unix.EINTR {
				return err
			}
		}
		err := unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG, nil)
		if err == unix.ECHILD { // its parent is another
			return nil
		}
		return err
	})
	return errors.Join(err, p.file.Close())
}

// use calls f with the descriptor, which stays open meanwhile.
func (p *process) use(f func(fd int) error) error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return os.ErrClosed
	}
	return err
}

// initFiles are the descriptors that an init is started with.
type initFiles struct {
	null, stderr, socket int
	entrance             int // of its control group; -1 is none
}

// forkInit starts an init. Without privileges it lives in a user namespace in
// which only the server's user exists, under the name of [innerID].
func forkInit(executable string, rootless bool, f initFiles) (pid, pidfd int, err error) {
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
		Setsid:     true, // the terminal's ^C is for the server, which then closes its sandboxes
		PidFD:      &pidfd,
	}
	if f.entrance >= 0 {
		attr.UseCgroupFD, attr.CgroupFD = true, f.entrance
	}
	if rootless {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: innerID, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: innerID, HostID: os.Getegid(), Size: 1}}
		// A user other than 0 loses its capabilities at exec unless they are ambient.
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE, unix.CAP_SETPCAP}
	}
	pid, err = syscall.ForkExec(executable, []string{"lamina", InitVerb}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{},                                                                        // nil would be the server's
		Files: []uintptr{uintptr(f.null), uintptr(f.null), uintptr(f.stderr), uintptr(f.socket)}, // stderr for the init's own panics; the function never has it
		Sys:   attr,
	})
	return pid, pidfd, err
}

// closeOnExec keeps what descriptors this process has been left to itself.
func closeOnExec() error {
	return step("close descriptors on exec", unix.CloseRange(socket, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC))
}
