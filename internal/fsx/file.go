package fsx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile makes data the content of the file at path. After a crash the file
// has its old content or the new, and the new once WriteFile has returned nil.
func WriteFile(path string, data []byte, perm fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = tmp.Close() // the first error tells more
			_ = os.Remove(tmp.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := tmp.Chmod(perm); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// SyncDir makes the names in a directory survive a crash.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// RemoveAll removes path and what is below it, also from directories that their
// owner may not write, which stop [os.RemoveAll] unless it runs as root.
func RemoveAll(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	root, err := os.OpenRoot(path)
	if errors.Is(err, fs.ErrPermission) {
		if err := os.Chmod(path, 0o700); err != nil {
			return err
		}
		root, err = os.OpenRoot(path)
	}
	if err != nil {
		return err
	}
	defer root.Close()
	// Directories before what is in them: only then can it be listed.
	walk := func(name string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.IsDir() && err == nil {
			return root.Chmod(name, 0o700)
		}
		return nil // RemoveAll reports what is left
	}
	_ = fs.WalkDir(root.FS(), ".", walk) // walk returns no other error than the second RemoveAll
	return os.RemoveAll(path)
}
