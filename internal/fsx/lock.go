package fsx

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Lock is the claim of one process on a directory.
type Lock struct{ file *os.File }

// LockedError says who has the directory.
type LockedError struct {
	Dir string
	PID int // 0 when it is not known
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return "lock " + e.Dir + ": another process uses it"
	}
	return fmt.Sprintf("lock %s: process %d uses it", e.Dir, e.PID)
}

// LockDir claims a directory until [Lock.Close] or the end of the process,
// however it ends. It returns a *[LockedError] when another process has it.
func LockDir(dir string) (*Lock, error) {
	file, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := flock(file); err != nil {
		defer file.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		locked := &LockedError{Dir: dir}
		if text, err := io.ReadAll(io.LimitReader(file, 32)); err == nil {
			locked.PID, _ = strconv.Atoi(strings.TrimSpace(string(text))) // 0 while the other is about to write it
		}
		return nil, locked
	}
	// The file stays when the lock is gone: removing it would let a third process
	// lock a new file while a second one holds the old.
	if err := errors.Join(file.Truncate(0), writeAt(file, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), file.Close())
	}
	return &Lock{file: file}, nil
}

// Close gives the directory up.
func (l *Lock) Close() error { return l.file.Close() }

func flock(file *os.File) error {
	for {
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EINTR {
			return err
		}
	}
}

func writeAt(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}
