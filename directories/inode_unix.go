//go:build unix

package directories

import (
	"encoding/binary"
	"io/fs"
	"os"
	"syscall"
)

// appendInode appends what a file that replaced another one can't fake.
func appendInode(to []byte, info fs.FileInfo) []byte {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return to
	}
	to = binary.LittleEndian.AppendUint64(to, st.Ino)
	if info.IsDir() {
		return to
	}
	return binary.LittleEndian.AppendUint64(to, uint64(changed(st)))
}

// openRegular does not wait for a writer, should the file have become a pipe.
func openRegular(root *os.Root, path string) (*os.File, error) {
	f, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fs.ErrNotExist
	}
	return f, nil
}
