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
	"time"

	"golang.org/x/sys/unix"

	"github.com/lamina-run/lamina/runner/sandbox/nat"
)

var errGone = errors.New("sandbox is gone")

// Sandbox is one isolated environment. Its methods may be called from several
// goroutines. Whoever got it from [Pool.Start] closes it.
type Sandbox struct {
	pool     *Pool
	slot     int
	proc     *process
	conn     *net.UnixConn
	output   *os.File
	listener net.Listener
	group    *group   // nil without control groups
	way      *nat.Way // nil without a network

	extensions []string // set by start

	exited  chan Exit     // reader sends and closes; has room for one exit of each process that may run
	answers chan answer   // reader sends, call receives; one call at a time
	calls   chan struct{} // holds the right to call; capacity 1
	gone    chan struct{} // reader closes, after the init ended

	closing sync.Once

	mu      sync.Mutex
	running map[string]bool // names of processes, from exec to exit
	broken  bool            // a call was cut off; its answer may still come
	status  *os.File        // /proc/…/status of the runtime process
	peak    int64           // what PeakMemory said last
}

type answer struct {
	event
	fd   *os.File   // nil if none came along
	more []*os.File // those after it
}

// close closes what came along.
func (a answer) close() {
	if a.fd != nil {
		a.fd.Close()
	}
	for _, f := range a.more {
		f.Close()
	}
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
	hello := helloRequest{UID: p.uid(slot), Rootless: p.rootless, Network: p.network}
	if !p.rootless {
		// Programs that open /dev/stdout open the pipe anew, with its owner checked.
		if err := write.Chown(hello.UID, hello.UID); err != nil {
			conn.Close()
			output.Close()
			return nil, step("give output pipe", err)
		}
	}

	group, joins, err := p.group(&hello)
	if err != nil {
		conn.Close()
		output.Close()
		return nil, err
	}
	defer closeAll(joins)
	proc, err := p.clone(ctx, theirs, group)
	if err != nil {
		conn.Close()
		output.Close()
		return nil, errors.Join(step("clone namespaces", err), group.remove())
	}
	s = &Sandbox{
		pool: p, slot: slot, proc: proc, conn: conn, output: output, group: group,
		exited:  make(chan Exit, 2*(MaxExtensions+1)),
		running: map[string]bool{},
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
		return nil, errors.Join(err, group.remove())
	}

	theirs.Close() // or its end of the socket outlives the init
	a, err := s.call(ctx, request{Op: "hello", Hello: &hello}, descriptors(append([]*os.File{write}, joins...))...)
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
	if err := s.connect(context.WithoutCancel(ctx), a.more); err != nil {
		return nil, err
	}
	return s, nil
}

// connect starts the way out of the sandbox, if there is to be one, through the
// device and the listener that it made. It takes the files.
func (s *Sandbox) connect(ctx context.Context, made []*os.File) error {
	if s.pool.router == nil {
		return nil
	}
	if len(made) != 2 {
		return step("receive network device", errGone)
	}
	defer made[1].Close()
	relay, err := net.FileListener(made[1])
	if err != nil {
		made[0].Close()
		return step("receive network device", err)
	}
	s.way, err = s.pool.router.Start(ctx, made[0], relay, s.pool.log)
	return step("open network device", err)
}

// clone starts the init with theirs as its descriptor 3.
func (p *Pool) clone(ctx context.Context, theirs *os.File, g *group) (*process, error) {
	entrance, err := g.entrance()
	if err != nil {
		return nil, err
	}
	if entrance != nil {
		defer entrance.Close()
	}
	if p.spawner != nil {
		return p.spawner.spawn(ctx, theirs, entrance)
	}
	return p.fork(theirs, entrance)
}

// fork clones an init from this process.
func (p *Pool) fork(theirs, entrance *os.File) (*process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	f := initFiles{null: int(null.Fd()), stderr: int(os.Stderr.Fd()), socket: int(theirs.Fd()), entrance: -1}
	if entrance != nil {
		f.entrance = int(entrance.Fd())
	}
	pid, pidfd, err := forkInit(p.executable, p.rootless, f)
	if err != nil {
		return nil, err
	}
	return newProcess(pid, pidfd), nil
}

// read takes the init's messages until it is gone, then reaps it and tells everybody.
func (s *Sandbox) read() {
	buf, oob := make([]byte, maxAnswer), make([]byte, unix.CmsgSpace(4*maxFDs))
	for {
		n, oobn, _, _, err := s.conn.ReadMsgUnix(buf, oob)
		if err != nil || n == 0 {
			break
		}
		a := answer{}
		if all := received(oob[:oobn]); len(all) > 0 {
			a.fd, a.more = all[0], all[1:]
		}
		if err := json.Unmarshal(buf[:n], &a.event); err != nil {
			s.pool.log.Error("sandbox spoke nonsense", slog.Any("err", err))
			a.close()
			break
		}
		if a.Op == "exit" {
			s.mu.Lock()
			delete(s.running, a.Name)
			// Under the lock, so that Exec can't empty the channel in between and
			// let this exit pass for the next.
			s.exit(Exit{Name: a.Name, Code: a.Code, Signal: syscall.Signal(a.Signal)})
			s.mu.Unlock()
			continue
		}
		s.answers <- a // there is room: call waits for each or breaks the sandbox
	}
	// Whatever ended the loop, nothing may survive it.
	s.melt()
	if err := s.proc.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.pool.log.Error("sandbox not killed", slog.Any("err", err))
	}
	if err := s.proc.Wait(); err != nil {
		s.pool.log.Error("sandbox not reaped", slog.Any("err", err))
	}
	s.mu.Lock()
	for name := range s.running {
		s.exit(Exit{Name: name, Signal: syscall.SIGKILL})
	}
	clear(s.running)
	s.mu.Unlock()
	close(s.exited)
	s.ungroup()
	s.pool.release(s)
	close(s.gone)
}

// exit sends x to whoever waits. It wants s.mu.
func (s *Sandbox) exit(x Exit) {
	for {
		select {
		case s.exited <- x:
			return
		default:
		}
		select {
		case <-s.exited: // nobody has wanted the oldest for long
		default:
		}
	}
}

// received returns the files in a control message.
func received(oob []byte) []*os.File {
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
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "sandbox")
	}
	return files
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
	if s.pool.network == NetworkHost {
		start.Ports = hostPorts(maxPorts)
	}
	if start.TmpBytes <= 0 {
		start.TmpBytes = defaultTmp
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
			fd, err := s.pool.images.openTree(start.Mounts[i].Sources)
			if err != nil {
				return err
			}
			trees = append(trees, fd)
			start.Mounts[i].Sources = nil
		}
	}
	limited := make(chan error, 1) // one send, when the limits are written
	go func() { limited <- s.group.start(spec) }()
	a, err := s.call(ctx, request{Op: "start", Start: &start}, trees...)
	if e := <-limited; e != nil && err == nil {
		a.close()
		err = e
	}
	s.extensions = a.Extensions
	if err != nil {
		return err
	}
	return s.forward(a)
}

// maxPorts is how many of the host's services a sandbox has on its loopback.
const maxPorts = 200

// forward has the listeners of an answer lead to the host's services.
func (s *Sandbox) forward(a answer) error {
	defer a.close()
	if a.fd == nil {
		return nil
	}
	for i, f := range append([]*os.File{a.fd}, a.more...) {
		if s.way == nil || i >= len(a.Ports) {
			return step("receive listeners", errGone)
		}
		l, err := net.FileListener(f)
		if err != nil {
			return step("receive listeners", err)
		}
		s.way.Forward(l, a.Ports[i])
	}
	return nil
}

// Extensions are the names of the files in /opt/extensions, in order; of more
// than [MaxExtensions] it lists one too many.
func (s *Sandbox) Extensions() []string { return s.extensions }

// Exec starts a process and returns when its program is loaded. The error is an
// [*Error] that wraps the kernel's number, such as ENOENT when there is no such
// program. At most one process of a name runs at a time, and at most
// [MaxExtensions] with one; it may be called again after the former ended. When
// nothing runs, an [Exit] that nobody received by then is dropped. When ctx ends
// before the answer, the sandbox is good only for Close.
func (s *Sandbox) Exec(ctx context.Context, p Process) error {
	if !strings.HasPrefix(p.Path, "/") {
		return step("exec "+strconv.Quote(p.Path), errors.New("path is not absolute"))
	}
	if p.Dir == "" {
		p.Dir = "/var/task"
	}
	s.mu.Lock()
	if s.running[p.Name] || len(s.running) > MaxExtensions {
		s.mu.Unlock()
		return step("exec "+p.Path, errors.New("a process is running already"))
	}
	s.mu.Unlock()
	if err := s.ready(p); err != nil {
		return err
	}
	s.mu.Lock()
	// From here to the answer the init counts as running, so that its death is an exit.
	for stale := len(s.running) == 0; stale; {
		select {
		case _, stale = <-s.exited:
		default:
			stale = false
		}
	}
	s.running[p.Name] = true
	s.mu.Unlock()
	var fds []int
	if p.Output != nil {
		fds = []int{int(p.Output.Fd())}
	}
	a, err := s.call(ctx, request{Op: "exec", Exec: &p}, fds...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if !s.broken {
			delete(s.running, p.Name)
		}
		return err
	}
	if p.Name != "" {
		return nil
	}
	if s.status != nil {
		s.status.Close()
	}
	s.status = a.fd
	return nil
}

// Signal sends sig to the process of that name and its descendants. It is no
// error when the process is gone.
func (s *Sandbox) Signal(ctx context.Context, name string, sig syscall.Signal) error {
	if err := s.Wake(); err != nil {
		return err
	}
	_, err := s.call(ctx, request{Op: "signal", Name: name, Signal: int(sig)})
	return err
}

// Dial connects to a port of the sandbox's own loopback. The caller closes the
// connection; it does not end with ctx.
func (s *Sandbox) Dial(ctx context.Context, port int) (net.Conn, error) {
	a, err := s.call(context.WithoutCancel(ctx), request{Op: "socket"}) // giving up would break the sandbox
	if err != nil {
		return nil, err
	}
	if a.fd == nil {
		return nil, step("receive socket", errGone)
	}
	defer a.fd.Close() // FileConn has a copy
	if err := connect(ctx, a.fd, port); err != nil {
		return nil, step("connect to port "+strconv.Itoa(port), err)
	}
	return net.FileConn(a.fd)
}

// connect waits for the connection without a thread of its own.
func connect(ctx context.Context, f *os.File, port int) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(time.Unix(1, 0)) }) // one without deadlines ends by itself
	defer stop()
	asked := false
	waited := raw.Write(func(fd uintptr) bool {
		if !asked {
			// In here, so that the poller can't tell of the end before anybody listens.
			asked = true
			err = unix.Connect(int(fd), &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
			return err != unix.EINPROGRESS
		}
		var errno int
		errno, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && errno != 0 {
			err = syscall.Errno(errno)
		}
		if err == nil {
			// The poller also wakes for what the socket was before the connect.
			_, peer := unix.Getpeername(int(fd))
			return peer == nil
		}
		return true
	})
	if waited != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return waited
	}
	return err
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
// when the sandbox is gone. Only the sandbox sends and closes. When nobody
// receives for long the oldest are dropped.
func (s *Sandbox) Exited() <-chan Exit { return s.exited }

// KillProcesses kills everything inside, waits until it is gone, and leaves the
// sandbox with its /tmp ready for another Exec. The Exit of each process that
// ran has been sent when this returns.
func (s *Sandbox) KillProcesses(ctx context.Context) error {
	if err := s.Wake(); err != nil {
		return err
	}
	_, err := s.call(ctx, request{Op: "kill"})
	return err
}

// PeakMemory is the most memory, in bytes, that all processes inside together
// had so far, without contents of files. With no limit of memory, or on a host
// without control groups for it, it is what the runtime process alone had, and
// fails when that is gone.
func (s *Sandbox) PeakMemory() (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, changed, err := s.group.measure()
	if err == nil && !changed && s.peak > 0 {
		return s.peak, nil
	}
	own, e := s.residentPeak() // counts the parts of libraries that others have in memory already, too
	if err != nil && e != nil {
		return 0, e
	}
	s.peak = max(s.peak, all, own)
	if s.group != nil && s.group.limit > 0 {
		s.peak = min(s.peak, s.group.limit)
	}
	return s.peak, nil
}

// residentPeak is the most resident memory of the runtime process. It wants s.mu.
func (s *Sandbox) residentPeak() (int64, error) {
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
		s.melt()
		if e := s.proc.Kill(); e != nil && !errors.Is(e, os.ErrProcessDone) {
			err = step("kill sandbox", e)
		}
		<-s.gone
		if s.listener != nil {
			err = errors.Join(err, s.listener.Close())
		}
		if s.way != nil {
			_ = s.way.Close() // never fails
		}
		err = errors.Join(err, s.conn.Close(), s.output.Close())
		select { // an answer that nobody waited for
		case a := <-s.answers:
			a.close()
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
