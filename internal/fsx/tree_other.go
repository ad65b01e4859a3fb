//go:build !linux

package fsx

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// Tree writes below one directory and nowhere else; see the Linux file. Functions
// only run on Linux: here it follows symlinks that stay inside, as [os.Root] does.
type Tree struct{ root *os.Root }

// OpenTree opens an existing directory.
func OpenTree(dir string) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Tree{root: root}, nil
}

// Close ends the use of the tree. What was written stays.
func (t *Tree) Close() error { return t.root.Close() }

// MkdirAll makes a directory and the ones above it.
func (t *Tree) MkdirAll(name string, perm fs.FileMode) error { return t.root.MkdirAll(name, perm) }

// Create makes a file that must not exist yet. Its directory must.
func (t *Tree) Create(name string) (*File, error) {
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &File{file: f, root: t.root, name: name}, nil
}

// Symlink makes a symlink, which must not exist yet. Its time is that of making it.
func (t *Tree) Symlink(target, name string, _ time.Time) error { return t.root.Symlink(target, name) }

// SetDirTime sets the time of a directory.
func (t *Tree) SetDirTime(name string, modified time.Time) error {
	return t.root.Chtimes(name, modified, modified)
}

// File is a file that [Tree.Create] made.
type File struct {
	file *os.File
	root *os.Root
	name string
}

// Write appends to the file.
func (f *File) Write(p []byte) (int, error) { return f.file.Write(p) }

// Finish sets the mode and the time of a file that is written.
func (f *File) Finish(perm fs.FileMode, modified time.Time) error {
	return errors.Join(f.file.Chmod(perm), f.root.Chtimes(f.name, modified, modified))
}

// Close must be called exactly once.
func (f *File) Close() error { return f.file.Close() }
