package backend

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncFS writes the file system that f is on to its disk.
func syncFS(f *os.File) error { return unix.Syncfs(int(f.Fd())) }
