package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	socket  = 3         // the init's end of the socket pair
	maxPack = 256 << 10 // above what the kernel lets a SOCK_SEQPACKET message have
	maxFDs  = 253       // and what it lets one carry
)

// Init is the whole life of a sandbox's first process, and never returns. The
// program calls it before anything else when its first argument is [InitVerb].
func Init() {
	runtime.LockOSThread() // the main goroutine keeps the thread that /proc/self means
	if err := runInit(); err != nil {
		fmt.Fprintln(os.Stderr, "lamina init: "+err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

// initProcess is PID 1 of a sandbox.
type initProcess struct {
	root     root
	launcher launcher

	mu      sync.Mutex
	changed *sync.Cond // idle changed
	idle    bool       // the last wait found no child
	runtime int        // PID of the runtime process; 0 when none
}

func runInit() error {
	if os.Getpid() != 1 {
		return errors.New("is started by the server only")
	}
	// The server's parent may have left it descriptors that are not its own.
	if err := unix.CloseRange(socket, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return step("close descriptors on exec", err)
	}
	// Without a server that is root the function has the same user as this
	// process; it must not trace it, nor open its files through /proc.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return step("forbid tracing", err)
	}
	// A function of the same user may also signal it. Caught, unlike ignored, is
	// not inherited by the function; nobody reads the channel.
	signal.Notify(make(chan os.Signal, 1))
	unix.Umask(0o022)
	warmUp()

	p := &initProcess{idle: true}
	p.changed = sync.NewCond(&p.mu)
	buf, oob := make([]byte, maxPack), make([]byte, unix.CmsgSpace(4*maxFDs))
	for {
		n, oobn, _, _, err := unix.Recvmsg(socket, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return err // at the end of file the server is gone, and the kernel kills everybody with us
		}
		fds, err := rights(oob[:oobn])
		if err != nil {
			return err
		}
		var r request
		if err := json.Unmarshal(buf[:n], &r); err != nil {
			return err
		}
		if err := p.handle(r, fds); err != nil {
			return err
		}
	}
}

func rights(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) == 0 {
		return nil, err
	}
	return unix.ParseUnixRights(&msgs[0])
}

// warmUp makes encoding/json know the types while nobody waits.
func warmUp() {
	b, err := json.Marshal(request{Op: "start", Hello: &helloRequest{}, Start: &startRequest{
		Mounts: []mount{{Target: "/opt", Sources: []string{"/"}}}, Masks: []string{"/"},
	}, Exec: &Process{Args: []string{""}, Env: []string{""}}})
	if err == nil {
		var r request
		err = json.Unmarshal(b, &r)
	}
	if err == nil {
		_, err = json.Marshal(event{Op: "done", Err: &wireError{}})
	}
	if err != nil {
		panic(err) // the types can't be encoded
	}
}

// handle answers one request. An error means that the server can't be told.
func (p *initProcess) handle(r request, fds []int) error {
	switch {
	case r.Op == "hello" && r.Hello != nil && len(fds) == 1:
		listener, err := p.prepare(*r.Hello, fds[0])
		if err != nil {
			return p.answer(err)
		}
		defer unix.Close(listener)
		return p.answer(nil, listener)
	case r.Op == "start" && r.Start != nil:
		err := p.root.start(*r.Start, fds)
		for _, fd := range fds {
			unix.Close(fd)
		}
		return p.answer(err)
	case r.Op == "exec" && r.Exec != nil:
		return p.exec(r.Exec)
	case r.Op == "kill":
		return p.answer(p.kill())
	}
	return fmt.Errorf("unknown request %q", r.Op)
}

func (p *initProcess) answer(err error, fds ...int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answerLocked(err, fds...)
}

func (p *initProcess) answerLocked(err error, fds ...int) error {
	e := event{Op: "done"}
	if err != nil {
		e.Err = toWire(err)
	}
	return p.send(e, fds...)
}

func (p *initProcess) send(e event, fds ...int) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		err = unix.Sendmsg(socket, b, oob, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

// prepare does all that every function needs and returns the listener.
func (p *initProcess) prepare(h helloRequest, output int) (listener int, err error) {
	if err := setLimits(); err != nil {
		return -1, err
	}
	if err := unix.Sethostname([]byte(defaultHostname)); err != nil {
		return -1, step("set host name", err)
	}
	if err := loopback(); err != nil {
		return -1, err
	}
	if listener, err = listen(); err != nil {
		return -1, err
	}
	if err := p.root.prepare(h); err != nil {
		return -1, err
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, step("open /dev/null", err)
	}
	if err := p.launcher.prepare(h, null, output); err != nil {
		return -1, err
	}
	go p.reap()
	return listener, nil
}

// exec starts the runtime process. The lock keeps its exit behind the answer.
func (p *initProcess) exec(proc *Process) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runtime != 0 {
		return p.answerLocked(step("exec "+proc.Path, unix.EBUSY))
	}
	pid, err := p.launcher.launch(proc)
	if err != nil {
		return p.answerLocked(step("exec "+proc.Path, err))
	}
	p.runtime = pid
	p.idle = false
	p.changed.Broadcast()
	// A program that is executable but not readable has a closed /proc entry.
	status, err := unix.Open(p.root.path("/proc/"+strconv.Itoa(pid)+"/status"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return p.answerLocked(nil)
	}
	defer unix.Close(status)
	return p.answerLocked(nil, status)
}

// reap waits for every process that ends inside, as PID 1 must.
func (p *initProcess) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		p.mu.Lock()
		if err != nil { // ECHILD
			p.idle = p.runtime == 0 // else it was started after the wait
			p.changed.Broadcast()
			for p.idle {
				p.changed.Wait()
			}
		} else if pid == p.runtime {
			p.runtime = 0
			e := event{Op: "exit", Code: status.ExitStatus()}
			if status.Signaled() {
				e.Code, e.Signal = 0, int(status.Signal())
			}
			if err := p.send(e); err != nil {
				os.Exit(1)
			}
		}
		p.mu.Unlock()
	}
}

// kill ends every process but this one. The kernel signals all of them under
// one lock that a fork also takes, so none escapes.
func (p *initProcess) kill() error {
	if err := unix.Kill(-1, unix.SIGKILL); err != nil && err != unix.ESRCH {
		return step("kill processes", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.idle {
		p.changed.Wait()
	}
	return nil
}

// setLimits gives this process, and so its children, the limits that a function
// sees at AWS, as far as the server's own allow.
func setLimits() error {
	for _, l := range []struct {
		name     string
		resource int
		value    uint64
	}{
		{"open files", unix.RLIMIT_NOFILE, 1024},
		{"processes", unix.RLIMIT_NPROC, 742},
		{"core size", unix.RLIMIT_CORE, 10737418240},
		{"locked memory", unix.RLIMIT_MEMLOCK, 65536},
		{"stack", unix.RLIMIT_STACK, 8 << 20},
	} {
		// Package syscall's, because it then stops restoring the number of open
		// files that it found at the start in every child.
		var old syscall.Rlimit
		if err := syscall.Getrlimit(l.resource, &old); err != nil {
			return step("read limit of "+l.name, err)
		}
		value := min(l.value, old.Max)
		if err := syscall.Setrlimit(l.resource, &syscall.Rlimit{Cur: value, Max: value}); err != nil {
			return step("limit "+l.name, err)
		}
	}
	return nil
}
