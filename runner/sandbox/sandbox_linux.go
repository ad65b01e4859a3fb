package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

var errGone = errors.New("sandbox is gone")

// Sandbox is one isolated environment. Its methods may be called from several
// goroutines. Whoever got it from [Pool.Start] closes it.
type Sandbox struct {
	pool     *Pool
	slot     int
	proc     *os.Process
	conn     *net.UnixConn
	output   *os.File
	listener net.Listener

	exited  chan Exit     // reader sends and closes; holds the last exit only
	answers chan answer   // reader sends, call receives; one call at a time
	calls   chan struct{} // holds the right to call; capacity 1
	gone    chan struct{} // reader closes, after the init was waited for

	closing sync.Once

	mu      sync.Mutex
	running bool     // between an exec's answer and its exit
	broken  bool     // a call was cut off; its answer may still come
	status  *os.File // /proc/…/status of the runtime process
}

type answer struct {
	event
	fd *os.File // nil if none came along
}

// spawn clones an init and waits until it is parked.
func (p *Pool) spawn(ctx context.Context) (_ *Sandbox, err error) {
	slot, err := p.takeSlot()
	if err != nil {
		return nil, err
	}
	var s *Sandbox
	defer func() {
		if err == nil {
			return
		}
		if s == nil {
			p.releaseSlot(slot)
			return
		}
		err = errors.Join(err, s.Close())
	}()

	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, step("create socket pair", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "init")
	defer theirs.Close()
	ours := os.NewFile(uintptr(pair[0]), "init")
	c, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, step("open socket", err)
	}
	conn := c.(*net.UnixConn)
	output, write, err := os.Pipe()
	if err != nil {
		conn.Close()
		return nil, step("create output pipe", err)
	}
	defer write.Close()
	hello := helloRequest{UID: p.uid(slot), Rootless: p.rootless}
	if !p.rootless {
		// Programs that open /dev/stdout open the pipe anew, with its owner checked.
		if err := write.Chown(hello.UID, hello.UID); err != nil {
			conn.Close()
			output.Close()
			return nil, step("give output pipe", err)
		}
	}

	proc, err := p.clone(theirs)
	if err != nil {
		conn.Close()
		output.Close()
		return nil, step("clone namespaces", err)
	}
	s = &Sandbox{
		pool: p, slot: slot, proc: proc, conn: conn, output: output,
		exited:  make(chan Exit, 1),
		answers: make(chan answer, 1),
		calls:   make(chan struct{}, 1),
		gone:    make(chan struct{}),
	}
	if err := p.adopt(s); err != nil {
		proc.Kill() // the wait below tells
		proc.Wait()
		conn.Close()
		output.Close()
		s = nil
		return nil, err
	}

	theirs.Close() // or its end of the socket outlives the init
	a, err := s.call(ctx, request{Op: "hello", Hello: &hello}, int(write.Fd()))
	if err != nil {
		return nil, err
	}
	if a.fd == nil {
		return nil, step("receive listener", errGone)
	}
	defer a.fd.Close()
	s.listener, err = net.FileListener(a.fd)
	if err != nil {
		return nil, step("receive listener", err)
	}
	return s, nil
}

// clone starts the init with theirs as its descriptor 3.
func (p *Pool) clone(theirs *os.File) (*os.Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
		Setsid:     true, // the terminal's ^C is for the server, which then closes its sandboxes
	}
	if p.rootless {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: innerID, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: innerID, HostID: os.Getegid(), Size: 1}}
		// A user other than 0 loses its capabilities at exec unless they are ambient.
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP}
	}
	return os.StartProcess(p.executable, []string{"lamina", InitVerb}, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{},                                // nil would be the server's
		Files: []*os.File{null, null, os.Stderr, theirs}, // stderr for the init's own panics; the function never has it
		Sys:   attr,
	})
}

// read takes the init's messages until it is gone, then reaps it and tells everybody.
func (s *Sandbox) read() {
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := s.conn.ReadMsgUnix(buf, oob)
		if err != nil || n == 0 {
			break
		}
		a := answer{fd: received(oob[:oobn])}
		if err := json.Unmarshal(buf[:n], &a.event); err != nil {
			s.pool.log.Error("sandbox spoke nonsense", slog.Any("err", err))
			if a.fd != nil {
				a.fd.Close()
			}
			break
		}
		if a.Op == "exit" {
			s.mu.Lock()
			s.running = false
			// Under the lock, so that Exec can't empty the channel in between and
			// let this exit pass for the next; it emptied it, so there is room.
			s.exited <- Exit{Code: a.Code, Signal: syscall.Signal(a.Signal)}
			s.mu.Unlock()
			continue
		}
		s.answers <- a // there is room: call waits for each or breaks the sandbox
	}
	// Whatever ended the loop, nothing may survive it.
	if err := s.proc.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.pool.log.Error("sandbox not killed", slog.Any("err", err))
	}
	if _, err := s.proc.Wait(); err != nil {
		s.pool.log.Error("sandbox not reaped", slog.Any("err", err))
	}
	s.mu.Lock()
	if s.running {
		s.running = false
		s.exited <- Exit{Signal: syscall.SIGKILL}
	}
	s.mu.Unlock()
	close(s.exited)
	s.pool.release(s)
	close(s.gone)
}

// received returns the first file in a control message and closes any other.
func received(oob []byte) *os.File {
	if len(oob) == 0 {
		return nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) == 0 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) == 0 {
		return nil
	}
	for _, fd := range fds[1:] {
		unix.Close(fd)
	}
	return os.NewFile(uintptr(fds[0]), "sandbox")
}

// call sends r with fds and waits for the answer. When ctx ends first, nothing
// but Close is possible any more.
func (s *Sandbox) call(ctx context.Context, r request, fds ...int) (answer, error) {
	select {
	case s.calls <- struct{}{}:
		defer func() { <-s.calls }()
	case <-s.gone:
		return answer{}, step(r.Op, errGone)
	case <-ctx.Done():
		return answer{}, step(r.Op, context.Cause(ctx))
	}
	s.mu.Lock()
	broken := s.broken
	s.mu.Unlock()
	if broken {
		return answer{}, step(r.Op, errors.New("an earlier call was cut off"))
	}
	b, err := json.Marshal(r)
	if err != nil {
		return answer{}, step(r.Op, err)
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if _, _, err := s.conn.WriteMsgUnix(b, oob, nil); err != nil {
		return answer{}, step(r.Op, err)
	}
	select {
	case a := <-s.answers:
		if a.Err != nil {
			return a, a.Err.err()
		}
		return a, nil
	case <-s.gone:
		return answer{}, step(r.Op, errGone)
	case <-ctx.Done():
		s.mu.Lock()
		s.broken = true
		s.mu.Unlock()
		return answer{}, step(r.Op, context.Cause(ctx))
	}
}

// start makes the parked sandbox the one of spec.
func (s *Sandbox) start(ctx context.Context, spec Spec) error {
	start := startRequest{Hostname: spec.Hostname, TmpBytes: spec.TmpBytes, Mounts: spec.mounts(), Masks: spec.Masks}
	if start.Hostname == "" {
		start.Hostname = "sandbox"
	}
	if start.TmpBytes <= 0 {
		start.TmpBytes = 512 << 20
	}
	var trees []int
	defer func() {
		for _, fd := range trees {
			unix.Close(fd)
		}
	}()
	if !s.pool.rootless {
		// Made here, not there: the init has left the host's root behind, and
		// would not see what was mounted since it was cloned.
		for i := range start.Mounts {
			fd, err := openTree(start.Mounts[i].Sources, false)
			if err != nil {
				return err
			}
			trees = append(trees, fd)
			start.Mounts[i].Sources = nil
		}
	}
	_, err := s.call(ctx, request{Op: "start", Start: &start}, trees...)
	return err
}

// Exec starts the runtime process and returns when its program is loaded. The
// error is an [*Error] that wraps the kernel's number, such as ENOENT when
// there is no such program. It may be called again after the former process
// ended; an [Exit] that nobody received by then is dropped. When ctx ends
// before the answer, the sandbox is good only for Close.
func (s *Sandbox) Exec(ctx context.Context, p Process) error {
	if !strings.HasPrefix(p.Path, "/") {
		return step("exec "+strconv.Quote(p.Path), errors.New("path is not absolute"))
	}
	if p.Dir == "" {
		p.Dir = "/var/task"
	}
	s.mu.Lock()
	if s.running {
		s.mu.Unlock()
		return step("exec "+p.Path, errors.New("a process is running already"))
	}
	// From here to the answer the init counts as running, so that its death is an exit.
	s.running = true
	select {
	case <-s.exited:
	default:
	}
	s.mu.Unlock()
	a, err := s.call(ctx, request{Op: "exec", Exec: &p})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if !s.broken {
			s.running = false
		}
		return err
	}
	if s.status != nil {
		s.status.Close()
	}
	s.status = a.fd
	return nil
}

// Listener accepts on [Address] and on port 9001 of 127.0.0.1, both inside.
// Close closes it.
func (s *Sandbox) Listener() net.Listener { return s.listener }

// Output is the read end of the pipe that is stdout and stderr of every process
// inside. It ends when the sandbox is gone, not when a process exits: what a
// process wrote is there before its [Exit], so a reader can drain it with a
// read deadline. Close closes it. Nobody reading makes the process wait.
func (s *Sandbox) Output() *os.File { return s.output }

// Exited receives one value for each process that Exec started, and is closed
// when the sandbox is gone. Only the sandbox sends and closes.
func (s *Sandbox) Exited() <-chan Exit { return s.exited }

// KillProcesses kills everything inside, waits until it is gone, and leaves the
// sandbox with its /tmp ready for another Exec. If the runtime process ran, its
// Exit has been sent when this returns.
func (s *Sandbox) KillProcesses(ctx context.Context) error {
	_, err := s.call(ctx, request{Op: "kill"})
	return err
}

// PeakMemory is the most resident memory that the runtime process had so far,
// in bytes; its children do not count. It fails when the process is gone.
func (s *Sandbox) PeakMemory() (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status == nil {
		return 0, step("read peak memory", errors.New("no process was started"))
	}
	buf := make([]byte, 2048)
	n, err := s.status.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, step("read peak memory", err)
	}
	return peakMemory(string(buf[:n]))
}

func peakMemory(status string) (int64, error) {
	_, rest, ok := strings.Cut(status, "\nVmHWM:")
	if !ok { // a zombie has no memory
		return 0, step("read peak memory", syscall.ESRCH)
	}
	line, _, _ := strings.Cut(rest, "\n")
	kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(line), " kB"), 10, 64)
	if err != nil {
		return 0, step("read peak memory", fmt.Errorf("parse %q: %w", line, err))
	}
	return kib << 10, nil
}

// Close kills every process inside and returns when they, the mounts, the
// network and the descriptors are gone. Calling it again is harmless.
func (s *Sandbox) Close() error {
	var err error
	s.closing.Do(func() {
		if e := s.proc.Kill(); e != nil && !errors.Is(e, os.ErrProcessDone) {
			err = step("kill sandbox", e)
		}
		<-s.gone
		if s.listener != nil {
			err = errors.Join(err, s.listener.Close())
		}
		err = errors.Join(err, s.conn.Close(), s.output.Close())
		select { // an answer that nobody waited for
		case a := <-s.answers:
			if a.fd != nil {
				a.fd.Close()
			}
		default:
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.status != nil {
			s.status.Close()
			s.status = nil
		}
	})
	<-s.gone
	return err
}
