package sandbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A server without privileges makes user namespaces, and Go then forks without
// vfork: the kernel copies the page tables of whoever forks, some 30 ms for a
// gigabyte. So it does not fork itself, but asks a process that stays small: the
// same binary, started as `lamina spawn`, over one SOCK_SEQPACKET pair:
//
//	server                                      lamina spawn
//	a byte + fds of socket [, control group] -->  clone, exec `lamina init`
//	        <--  pid, errno [+ fd of the process]
//
// What it spawns are its children, which it reaps; the server knows them by
// their pidfds, and does not need it for anything else. At the end of file it
// goes, and the inits find their own ends of files.
type spawner struct {
	executable string
	log        *slog.Logger

	turn chan struct{} // holds the right to what follows; capacity 1

	conn     *net.UnixConn // nil when none runs
	proc     *process
	failures int       // starts in a row that came to nothing
	earliest time.Time // of the next start
	closed   bool
}

const (
	spawnLimit   = 10 * time.Second // for an answer, which takes a millisecond
	stopLimit    = time.Second      // for the end, which takes less
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 10 * time.Second
)

var errSpawner = errors.New("spawner is gone")

func newSpawner(executable string, log *slog.Logger) *spawner {
	return &spawner{executable: executable, log: log, turn: make(chan struct{}, 1)}
}

// spawn clones an init with socket as its descriptor 3, in the control group
// that entrance is if that is not nil. A spawner that died is replaced; one that
// dies at its first request is not replaced before a while. When ctx ends first,
// nothing was cloned.
func (s *spawner) spawn(ctx context.Context, socket, entrance *os.File) (*process, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for {
		fresh := s.conn == nil
		if fresh {
			if err := s.start(); err != nil {
				return nil, err
			}
		}
		p, err := s.ask(socket, entrance)
		if !errors.Is(err, errSpawner) {
			s.failures = 0
			return p, err
		}
		s.stop()
		if fresh {
			s.delay()
			return nil, err
		}
		s.log.LogAttrs(ctx, slog.LevelWarn, "spawner replaced", slog.Any("err", err))
	}
}

// start starts the process. It wants the turn, as stop, delay and ask do.
func (s *spawner) start() (err error) {
	if s.closed {
		return errClosed
	}
	if wait := time.Until(s.earliest); wait > 0 {
		return fmt.Errorf("%w; the next try is in %v", errSpawner, wait.Round(time.Millisecond))
	}
	defer func() {
		if err != nil {
			s.delay()
		}
	}()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return step("create socket pair", err)
	}
	defer unix.Close(pair[1])
	ours := os.NewFile(uintptr(pair[0]), "spawner")
	defer ours.Close() // FileConn has a copy
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		return step("open socket", err)
	}
	pidfd := -1
	pid, err := syscall.ForkExec(s.executable, []string{"lamina", SpawnVerb}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{}, // nil would be the server's
		Files: []uintptr{null.Fd(), null.Fd(), os.Stderr.Fd(), uintptr(pair[1])},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd}, // as the init
	})
	if err != nil {
		c.Close()
		return step("start spawner", err)
	}
	s.conn, s.proc = c.(*net.UnixConn), newProcess(pid, pidfd)
	return nil
}

func (s *spawner) stop() {
	if s.conn == nil {
		return
	}
	s.conn.Close()
	if err := s.proc.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.log.Error("spawner not killed", slog.Any("err", err))
	}
	if err := s.proc.Wait(); err != nil {
		s.log.Error("spawner not reaped", slog.Any("err", err))
	}
	s.conn, s.proc = nil, nil
}

func (s *spawner) delay() {
	s.earliest = time.Now().Add(min(firstBackoff<<min(s.failures, 10), lastBackoff))
	s.failures++
}

// ask has the process clone an init. With errSpawner it is of no use any more; an
// init that it may have cloned ends by itself, for nobody has its other end.
func (s *spawner) ask(socket, entrance *os.File) (*process, error) {
	gone := func(err error) error { return fmt.Errorf("%w: %w", errSpawner, err) }
	if err := s.conn.SetDeadline(time.Now().Add(spawnLimit)); err != nil {
		return nil, gone(err)
	}
	fds := []int{int(socket.Fd())}
	if entrance != nil {
		fds = append(fds, int(entrance.Fd()))
	}
	if _, _, err := s.conn.WriteMsgUnix([]byte{0}, unix.UnixRights(fds...), nil); err != nil {
		return nil, gone(err)
	}
	buf, oob := make([]byte, 16), make([]byte, unix.CmsgSpace(4*maxFDs))
	n, oobn, _, _, err := s.conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, gone(err)
	}
	files := received(oob[:oobn])
	pid, errno, ok := decodeSpawned(buf[:n])
	if ok && errno != 0 && len(files) == 0 {
		return nil, errno
	}
	if !ok || errno != 0 || len(files) != 1 {
		closeAll(files)
		return nil, gone(errors.New("it spoke nonsense"))
	}
	return &process{Pid: pid, file: files[0]}, nil
}

// close ends the process, and with it the possibility to have another.
func (s *spawner) close() {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.closed = true
	if s.conn == nil {
		return
	}
	// It learns of this, reaps what there is to reap, and goes.
	s.conn.Close()
	proc := s.proc
	late := time.AfterFunc(stopLimit, func() { _ = proc.Kill() }) // it may be gone
	defer late.Stop()
	if err := proc.Wait(); err != nil {
		s.log.Error("spawner not reaped", slog.Any("err", err))
	}
	s.conn, s.proc = nil, nil
}

func encodeSpawned(pid int, errno syscall.Errno) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(pid))
	return binary.NativeEndian.AppendUint32(b, uint32(errno))
}

func decodeSpawned(b []byte) (pid int, errno syscall.Errno, ok bool) {
	if len(b) != 8 {
		return 0, 0, false
	}
	return int(binary.NativeEndian.Uint32(b)), syscall.Errno(binary.NativeEndian.Uint32(b[4:])), true
}

// Spawn is the whole life of the process that clones the inits of a server
// without privileges, and never returns. The program calls it before anything
// else when its first argument is [SpawnVerb].
func Spawn() {
	if err := runSpawner(); err != nil {
		fmt.Fprintln(os.Stderr, "lamina spawn: "+err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

func runSpawner() error {
	if kind, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
		return errors.New("is started by the server only")
	}
	if err := closeOnExec(); err != nil {
		return err
	}
	// Who stops a service signals all its processes; this one goes when the server
	// does. Caught, unlike ignored, is not inherited. Nobody reads the first channel.
	signal.Notify(make(chan os.Signal, 1))
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		for range ended { // nobody closes it
			reapAll()
		}
	}()
	defer reapAll()
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return step("open "+os.DevNull, err)
	}
	buf, oob := make([]byte, 16), make([]byte, unix.CmsgSpace(4*maxFDs))
	for {
		n, oobn, _, _, err := unix.Recvmsg(socket, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return err // at the end of file the server is gone
		}
		fds, err := rights(oob[:oobn])
		if err != nil || len(fds) == 0 || len(fds) > 2 {
			return errors.New("a request without its descriptors")
		}
		f := initFiles{null: null, stderr: 2, socket: fds[0], entrance: -1}
		if len(fds) == 2 {
			f.entrance = fds[1]
		}
		pid, pidfd, err := forkInit("/proc/self/exe", true, f)
		for _, fd := range fds {
			unix.Close(fd)
		}
		if err := answerSpawned(pid, pidfd, err); err != nil {
			return err
		}
	}
}

func answerSpawned(pid, pidfd int, err error) error {
	var oob []byte
	errno, _ := errors.AsType[syscall.Errno](err)
	if err == nil {
		defer unix.Close(pidfd)
		oob = unix.UnixRights(pidfd)
	} else if errno == 0 {
		errno = unix.EIO // of no error of ours: ForkExec has the kernel's only
	}
	for {
		err := unix.Sendmsg(socket, encodeSpawned(pid, errno), oob, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

// reapAll takes leave of all children that ended.
func reapAll() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
	}
}
