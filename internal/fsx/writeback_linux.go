package fsx

import (
	"os"

	"golang.org/x/sys/unix"
)

// StartWriteback asks the kernel to begin writing a range of a file to the disk,
// so that a later fsync finds less to do. It promises nothing.
func StartWriteback(file *os.File, off, length int64) {
	_ = unix.SyncFileRange(int(file.Fd()), off, length, unix.SYNC_FILE_RANGE_WRITE) // a hint; fsync reports
}
