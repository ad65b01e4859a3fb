package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	socket  = 3         // the init's end of the socket pair
	maxPack = 256 << 10 // above what the kernel lets a SOCK_SEQPACKET message have
	maxFDs  = 253       // and what it lets one carry

	maxAnswer = 8 << 10 // of what the init says at once
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
	changed *sync.Cond     // idle changed
	idle    bool           // the last wait found no child
	running map[string]int // PIDs of what exec started, by name

	melter int // the file that thaws the others; -1 if they can't be frozen, or die all the same
}

func runInit() error {
	if os.Getpid() != 1 {
		return errors.New("is started by the server only")
	}
	// The server's parent may have left it descriptors that are not its own.
	if err := closeOnExec(); err != nil {
		return err
	}
	// When the machine runs out of memory, functions go before all others. Where it
	// can't be said, nothing else depends on it.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	// Without a server that is root the function has the same user as this
	// process; it must not trace it, nor open its files through /proc.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return step("forbid tracing", err)
	}
	// A function of the same user may also signal it. Caught, unlike ignored, is
	// not inherited by the function; nobody reads the channel.
	signal.Notify(make(chan os.Signal, 1))
	if err := catchRest(); err != nil {
		return err
	}
	unix.Umask(0o022)
	warmUp()

	p := &initProcess{idle: true, running: map[string]int{}, melter: -1}
	defer p.melt()
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

// dropSignalAt is the address of a signal handler that does nothing, which Go code
// can't be. It is never written.
var dropSignalAt uintptr

// catchRest gives a handler to the signals that Go leaves to C libraries. The kernel
// drops what would end a namespace's first process, but not if the thread that it is
// sent to has it blocked, as in a handler, and another thread has not: then it ends
// (complete_signal in kernel/signal.c).
func catchRest() error {
	type action [8]uintptr // a struct sigaction of the kernel's and more; first comes the handler, 0 is SIG_DFL
	sigaction := func(n syscall.Signal, set, old *action) error {
		// No wrapper exists. 8 bytes are a set of 64 signals.
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n),
			uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
		if errno != 0 {
			return step("catch signal "+strconv.Itoa(int(n)), errno)
		}
		return nil
	}
	var drop action // how to return from it and on which stack to run is as with Go's handlers
	if err := sigaction(unix.SIGTERM, nil, &drop); err != nil {
		return err
	}
	drop[0] = dropSignalAt
	for n := syscall.Signal(1); n <= 64; n++ {
		if n == unix.SIGKILL || n == unix.SIGSTOP { // can't be caught, nor blocked
			continue
		}
		var now action
		if err := sigaction(n, nil, &now); err != nil {
			return err
		}
		if now[0] != 0 {
			continue
		}
		if err := sigaction(n, &drop, nil); err != nil {
			return err
		}
	}
	return nil
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
	case r.Op == "hello" && r.Hello != nil && len(fds) == r.Hello.fds():
		made, err := p.prepare(*r.Hello, fds)
		for _, fd := range made {
			defer unix.Close(fd)
		}
		if err != nil {
			return p.answer(err)
		}
		return p.answer(nil, made...)
	case r.Op == "start" && r.Start != nil:
		err := p.root.start(*r.Start, fds)
		for _, fd := range fds {
			unix.Close(fd)
		}
		if err != nil {
			return p.answer(err)
		}
		return p.started(listenAs(r.Start.Ports))
	case r.Op == "exec" && r.Exec != nil:
		output := -1
		if len(fds) > 0 {
			output = fds[0]
		}
		err := p.exec(r.Exec, output)
		for _, fd := range fds {
			unix.Close(fd)
		}
		return err
	case r.Op == "signal":
		return p.answer(p.signal(r.Name, syscall.Signal(r.Signal)))
	case r.Op == "socket":
		return p.socket()
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

// started answers a start with the extensions that the layers brought along,
// and with the listeners at ports, which it closes.
func (p *initProcess) started(ports []uint16, listeners []int) error {
	for _, fd := range listeners {
		defer unix.Close(fd)
	}
	names, err := extensions()
	if err != nil {
		return p.answer(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.send(event{Op: "done", Extensions: names, Ports: ports}, listeners...)
}

// extensions lists the files in /opt/extensions, whether executable or not. One
// more than can run is enough for the server to see that there are too many.
func extensions() ([]string, error) {
	dir, err := os.Open("/opt/extensions")
	if err != nil {
		return nil, nil // a layer need not have any; a file of that name has no entries
	}
	defer dir.Close()
	var names []string
	length := 0
	for len(names) <= MaxExtensions {
		entries, err := dir.ReadDir(64)
		for _, e := range entries {
			if !e.IsDir() && len(names) <= MaxExtensions {
				names = append(names, e.Name())
				length += 6*len(e.Name()) + 3 // as JSON, at worst
			}
		}
		if err != nil {
			break // the end; what can't be read can't be run either
		}
	}
	if length > maxAnswer-512 {
		return nil, step("list extensions", unix.ENAMETOOLONG)
	}
	slices.Sort(names)
	return names, nil
}

// signal sends sig to everybody in the session of a process. One that is gone
// already is no failure.
func (p *initProcess) signal(name string, sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	pid := p.running[name]
	if pid == 0 {
		return nil
	}
	// The lock keeps the reaper from recycling the PID meanwhile.
	if err := unix.Kill(-pid, sig); err != nil && err != unix.ESRCH {
		return step("signal process", err)
	}
	return nil
}

// socket sends a TCP socket of this network to the server, which connects it:
// a connect that hangs must not keep this process from its other duties.
func (p *initProcess) socket() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return p.answer(step("open socket", err))
	}
	defer unix.Close(fd)
	return p.answer(nil, fd)
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

// prepare does all that every function needs and returns what the server needs:
// the listener, then what [way] made if there is to be one.
func (p *initProcess) prepare(h helloRequest, fds []int) (made []int, err error) {
	if h.Melts {
		p.melter = fds[1+h.Joins]
	}
	if err := setLimits(); err != nil {
		return nil, err
	}
	if err := unix.Sethostname([]byte(defaultHostname)); err != nil {
		return nil, step("set host name", err)
	}
	if err := loopback(); err != nil {
		return nil, err
	}
	listener, err := listen()
	if err != nil {
		return nil, err
	}
	made = append(made, listener)
	if h.Network != NetworkNone {
		out, err := way()
		if err != nil {
			return made, err
		}
		made = append(made, out...)
	}
	// Anew: Node.js makes its stdout non-blocking, which is a matter of the open file.
	log, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fds[0]), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return made, step("open output", err)
	}
	if err := p.root.prepare(h); err != nil {
		return made, err
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return made, step("open /dev/null", err)
	}
	if err := p.launcher.prepare(h, null, fds[0], log, fds[1:1+h.Joins]); err != nil {
		return made, err
	}
	go p.reap()
	return made, nil
}

// exec starts a process. The lock keeps its exit behind the answer.
func (p *initProcess) exec(proc *Process, output int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running[proc.Name] != 0 {
		return p.answerLocked(step("exec "+proc.Path, unix.EBUSY))
	}
	pid, err := p.launcher.launch(proc, output)
	if err != nil {
		return p.answerLocked(step("exec "+proc.Path, err))
	}
	p.running[proc.Name] = pid
	p.idle = false
	p.changed.Broadcast()
	if proc.Name != "" {
		return p.answerLocked(nil)
	}
	// A program that is executable but not readable has a closed /proc entry.
	status, err := p.status(pid)
	if err != nil {
		return p.answerLocked(nil)
	}
	defer unix.Close(status)
	return p.answerLocked(nil, status)
}

// status opens what the kernel tells of a process. In a user namespace its entry is
// hidden for as long as execve(2) has closed descriptors, which is what launch
// waits for, and not yet made the new program dumpable.
func (p *initProcess) status(pid int) (fd int, err error) {
	path := p.root.path("/proc/" + strconv.Itoa(pid) + "/status")
	for range 20 {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != unix.ENOENT && err != unix.EACCES || !p.root.rootless {
			break
		}
		time.Sleep(100 * time.Microsecond)
	}
	return fd, err
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
			p.idle = len(p.running) == 0 // else one was started after the wait
			p.changed.Broadcast()
			for p.idle {
				p.changed.Wait()
			}
		} else if name, ok := p.named(pid); ok {
			delete(p.running, name)
			e := event{Op: "exit", Name: name, Code: status.ExitStatus()}
			if status.Signaled() {
				e.Code, e.Signal = 0, int(status.Signal())
			}
			if err := p.send(e); err != nil {
				p.melt()
				os.Exit(1)
			}
		}
		p.mu.Unlock()
	}
}

// named tells which process has a PID. It wants p.mu.
func (p *initProcess) named(pid int) (string, bool) {
	for name, id := range p.running {
		if id == pid {
			return name, true
		}
	}
	return "", false
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
	return p.removeIPC()
}

// melt thaws the others, or the signal that they get when this process ends
// does not reach them.
func (p *initProcess) melt() {
	if p.melter >= 0 {
		_, _ = unix.Write(p.melter, []byte("THAWED")) // the next server's start does what this could not
	}
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
