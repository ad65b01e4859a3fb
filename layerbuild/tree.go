package layerbuild

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lamina-run/lamina"
)

// tree is what will be in the zip, before there is one. It refers to files below
// roots, which it owns; nothing is read through a symbolic link that leaves them.
type tree struct {
	files []file
	roots []*os.Root
	skip  []string      // names that are left out, beside leftOut
	cache bool          // compiled modules go in
	not   []fs.FileInfo // files that are left out
	// inside is the directory that links may lead to that are followed; empty is
	// anywhere.
	inside string
}

// file is a name in the zip.
type file struct {
	name   string // in the zip
	size   int64
	exec   bool
	dir    bool     // an empty directory
	target string   // of a symbolic link
	body   []byte   // instead of the file, when not nil
	root   *os.Root // nil for what a link of the user's leads to
	path   string   // below root
	group  string   // the package that it is of, as reports show it
}

func (t *tree) close() error {
	var errs []error
	for _, r := range t.roots {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}

func (f *file) open() (io.ReadCloser, error) {
	if f.body != nil {
		return opened{bytes.NewReader(f.body)}, nil
	}
	if f.root == nil {
		return os.Open(f.path)
	}
	return f.root.Open(f.path)
}

// opened is a body that reads like a file.
type opened struct{ *bytes.Reader }

func (opened) Close() error { return nil }

// maxText bounds what is read into memory of one file.
const maxText = 16 << 20

// read returns what is in a small file.
func (f *file) read() ([]byte, error) {
	if f.size > maxText {
		return nil, fmt.Errorf("read %s: larger than %d bytes", f.name, maxText)
	}
	in, err := f.open()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.name, err)
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxText))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.name, err)
	}
	return text, nil
}

// replace gives a file other content.
func (f *file) replace(body []byte) { f.body, f.size = body, int64(len(body)) }

// outward says what becomes of a symbolic link that leads out of the root.
type outward uint8

const (
	refuse outward = iota // it is an error: nothing that a registry sent may do so
	follow                // what it leads to goes in, as zip does; a user's own
)

// leftOut are names that never go in: they change without the code changing.
var leftOut = []string{".git", ".DS_Store", "__pycache__"}

// maxDepth bounds directories in directories.
const maxDepth = 200

// add puts what is below dir into the zip, below at. Symbolic links that stay
// inside are kept.
func (t *tree) add(dir, at string, out outward) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("read %s: %w", dir, err)
	}
	t.roots = append(t.roots, root)
	return t.walk(root, ".", at, out, nil)
}

// walk adds one directory. Above are the directories that lead to it by links.
func (t *tree) walk(root *os.Root, dir, at string, out outward, above []fs.FileInfo) error {
	if strings.Count(at, "/") > maxDepth {
		return fmt.Errorf("read %s: more than %d directories in each other", at, maxDepth)
	}
	d, err := root.Open(dir)
	if err != nil {
		return fmt.Errorf("read %s: %w", at, err)
	}
	entries, err := d.ReadDir(-1)
	if err := errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("read %s: %w", at, err)
	}
	if len(entries) == 0 && at != "" {
		return t.append(file{name: at, dir: true})
	}
	for _, e := range entries {
		if slices.Contains(leftOut, e.Name()) && !(t.cache && e.Name() == "__pycache__") || slices.Contains(t.skip, e.Name()) {
			continue
		}
		name := path.Join(at, e.Name())
		below := path.Join(dir, e.Name())
		info, err := e.Info()
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		switch {
		case info.IsDir():
			err = t.walk(root, below, name, out, above)
		case slices.ContainsFunc(t.not, func(one fs.FileInfo) bool { return os.SameFile(one, info) }):
		case info.Mode().IsRegular():
			err = t.append(file{name: name, size: info.Size(), exec: info.Mode()&0o100 != 0, root: root, path: below})
		case info.Mode()&fs.ModeSymlink != 0:
			err = t.link(root, below, name, out, above)
		default:
			err = fmt.Errorf("read %s: it is neither a file nor a directory nor a link", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refused is the error for a link that may not be followed.
func refused(name, to string) error {
	return fmt.Errorf("%s is a link to %s, which is outside of what was installed", name, to)
}

// link adds a symbolic link, or what it leads to.
func (t *tree) link(root *os.Root, below, name string, out outward, above []fs.FileInfo) error {
	to, err := root.Readlink(below)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if !path.IsAbs(to) && within(path.Join(path.Dir(below), to)) {
		return t.append(file{name: name, target: to})
	}
	if out == refuse {
		return refused(name, to)
	}
	real := root.Name() + "/" + below
	if t.inside != "" {
		if real, err = filepath.EvalSymlinks(real); err != nil {
			return fmt.Errorf("follow the link %s: %w", name, err)
		}
		if !strings.HasPrefix(real, t.inside+"/") {
			return refused(name, to)
		}
	}
	info, err := os.Stat(real)
	if err != nil {
		return fmt.Errorf("follow the link %s: %w", name, err)
	}
	if !info.IsDir() {
		return t.outside(real, name, info)
	}
	if len(above) >= 8 || slices.ContainsFunc(above, func(one fs.FileInfo) bool { return os.SameFile(one, info) }) {
		return fmt.Errorf("follow the link %s: it leads to a directory that it is in, or through too many links", name)
	}
	other, err := os.OpenRoot(real)
	if err != nil {
		return fmt.Errorf("follow the link %s: %w", name, err)
	}
	t.roots = append(t.roots, other)
	if self, err := root.Stat("."); err == nil && os.SameFile(self, info) {
		return fmt.Errorf("follow the link %s: it leads to a directory that it is in", name)
	}
	return t.walk(other, ".", name, out, append(slices.Clone(above), info))
}

// outside adds a file that a link leads to.
func (t *tree) outside(real, name string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("follow the link %s: it leads to no file", name)
	}
	return t.append(file{name: name, size: info.Size(), exec: info.Mode()&0o100 != 0, path: real})
}

// within reports whether a clean relative name stays below where it starts.
func within(name string) bool { return name != ".." && !strings.HasPrefix(name, "../") }

func (t *tree) append(f file) error {
	if len(t.files) >= lamina.DefaultLimits().ArchiveEntries {
		return fmt.Errorf("there are more than %d files", len(t.files))
	}
	t.files = append(t.files, f)
	return nil
}

// sort puts the files into the order that they have in the zip.
func (t *tree) sort() {
	slices.SortFunc(t.files, func(a, b file) int { return cmp.Compare(a.name, b.name) })
}

// remove takes out the files that drop is true for.
func (t *tree) remove(drop func(f *file) bool) (n int, size int64) {
	t.files = slices.DeleteFunc(t.files, func(f file) bool {
		if !drop(&f) {
			return false
		}
		n, size = n+1, size+f.size
		return true
	})
	return n, size
}

// size is the sum of all files.
func (t *tree) size() (n int64) {
	for i := range t.files {
		n += t.files[i].size
	}
	return n
}

// index returns the places of the files by their names.
func (t *tree) index() map[string]int {
	out := make(map[string]int, len(t.files))
	for i, f := range t.files {
		out[f.name] = i
	}
	return out
}

// copyTo writes a file of the tree to a path of this machine, which must be new.
func (f *file) copyTo(at string) (err error) {
	in, err := f.open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
