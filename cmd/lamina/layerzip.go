package main

import (
	"archive/zip"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// notInLayers are names that have no business in a layer.
var notInLayers = []string{".git", ".DS_Store", "__MACOSX"}

// layerFile is a file, a symlink or an empty directory on its way into a zip.
type layerFile struct {
	name   string // in the zip
	path   string
	mode   fs.FileMode
	target string // of a symlink
}

// zipLayer makes a zip of a directory. The same files make the same zip, whenever
// they were written and whoever owns them. Symlinks that stay in the directory are
// kept; others become what they lead to. Compiled Python that would be thrown away
// for its time is left out.
func zipLayer(out io.Writer, dir string) error {
	files, err := layerFiles(dir)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("there are no files in it")
	}
	w := zip.NewWriter(out)
	for _, f := range files {
		if err := f.writeTo(w); err != nil {
			return fmt.Errorf("%s: %w", f.name, bare(err))
		}
	}
	return w.Close()
}

func (f layerFile) writeTo(w *zip.Writer) error {
	header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	header.SetMode(f.mode)
	if f.mode.IsRegular() {
		return zipOne(w, header, f.path)
	}
	header.Method = zip.Store
	entry, err := w.CreateHeader(header)
	if err != nil {
		return err
	}
	_, err = io.WriteString(entry, f.target) // empty for a directory
	return err
}

// layerFiles lists what a zip of the directory has, sorted by name.
func layerFiles(dir string) ([]layerFile, error) {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, bare(err)
	}
	if root, err = filepath.Abs(root); err != nil {
		return nil, err
	}
	c := layerCollector{root: root}
	if _, err := c.collect(root, "", nil); err != nil {
		return nil, err
	}
	slices.SortFunc(c.files, func(a, b layerFile) int { return cmp.Compare(a.name, b.name) })
	return c.files, nil
}

// layerCollector walks a directory.
type layerCollector struct {
	root  string
	files []layerFile
	size  int64
}

// collect adds what is in a directory, and returns how much that is.
func (c *layerCollector) collect(dir, name string, outer []fs.FileInfo) (int, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, err
	}
	if slices.ContainsFunc(outer, func(one fs.FileInfo) bool { return os.SameFile(one, info) }) {
		return 0, fmt.Errorf("%s leads to a folder that it is in", name)
	}
	outer = append(slices.Clone(outer), info)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	added := 0
	for _, e := range entries {
		at, as := filepath.Join(dir, e.Name()), e.Name()
		if slices.Contains(notInLayers, as) || strings.HasSuffix(as, ".pyc") && isStalePython(at) {
			continue
		}
		if name != "" {
			as = name + "/" + e.Name()
		}
		n, err := c.one(at, as, e.Type(), outer)
		if err != nil {
			return 0, err
		}
		added += n
	}
	if added == 0 && name != "" && filepath.Base(dir) != "__pycache__" {
		return 1, c.add(layerFile{name: name + "/", path: dir, mode: fs.ModeDir | 0o755}, 0)
	}
	return added, nil
}

// one adds an entry of a directory.
func (c *layerCollector) one(at, as string, kind fs.FileMode, outer []fs.FileInfo) (int, error) {
	if kind&fs.ModeSymlink != 0 {
		if target, ok := c.inside(at); ok {
			return 1, c.add(layerFile{name: as, path: at, mode: fs.ModeSymlink | 0o777, target: target}, int64(len(target)))
		}
	}
	info, err := os.Stat(at)
	switch {
	case err != nil:
		return 0, err
	case info.IsDir():
		return c.collect(at, as, outer)
	case !info.Mode().IsRegular():
		return 0, nil // a socket or a device has no content
	}
	f := layerFile{name: as, path: at, mode: 0o644}
	if info.Mode()&0o111 != 0 {
		f.mode = 0o755
	}
	return 1, c.add(f, info.Size())
}

func (c *layerCollector) add(f layerFile, size int64) error {
	c.files = append(c.files, f)
	if c.size += size; len(c.files) > maxPackageFiles || c.size > maxPackageBytes {
		return fmt.Errorf("it has more than %d files or %s", maxPackageFiles, bytesText(maxPackageBytes))
	}
	return nil
}

// inside returns the target of a symlink that leads to something in the directory
// by a relative path, and so does in /opt, too.
func (c *layerCollector) inside(link string) (string, bool) {
	target, err := os.Readlink(link)
	if err != nil || filepath.IsAbs(target) {
		return "", false
	}
	if _, err := os.Stat(link); err != nil {
		return "", false // told of by whoever follows it
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(link))
	if err != nil {
		return "", false
	}
	within := func(path string) bool {
		rel, err := filepath.Rel(c.root, path)
		return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
	}
	reached, err := filepath.EvalSymlinks(link)
	return target, err == nil && within(parent) && within(filepath.Join(parent, target)) && within(reached)
}

// isStalePython reports whether a compiled file of Python depends on the time of
// its source, which is another one in the zip.
func isStalePython(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [8]byte
	_, err = io.ReadFull(f, head[:])
	return err != nil || head[4]&1 == 0
}
