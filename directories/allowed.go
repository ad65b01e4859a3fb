package directories

import (
	"archive/zip"
	"compress/flate"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/lamina-run/lamina"
)

// MaxEntries is how many files and directories one directory may hold: each is
// looked at when a function is invoked.
const MaxEntries = 50_000

// Allowed are directories of the host whose subdirectories may be shown. It is
// safe for concurrent use.
type Allowed struct {
	roots []string // canonical
	seed  maphash.Seed

	mu      sync.Mutex
	watched map[string]*watch // by directory; see Stamp
}

// New returns what the operator allows. It fails for what is no directory.
func New(roots []string) (*Allowed, error) {
	a := &Allowed{seed: maphash.MakeSeed(), watched: map[string]*watch{}}
	for _, root := range roots {
		path, err := filepath.Abs(root)
		if err == nil {
			path, err = filepath.EvalSymlinks(path)
		}
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("%s is no directory", root)
		}
		a.roots = append(a.roots, path)
	}
	return a, nil
}

// Check vouches that a path is a directory that may be shown, and returns its
// canonical form, without symbolic links. The error is a *lamina.DirectoryError.
func (a *Allowed) Check(path string) (string, error) {
	refuse := func(format string, args ...any) (string, error) {
		return "", &lamina.DirectoryError{Directory: path, Reason: fmt.Sprintf(format, args...)}
	}
	if !filepath.IsAbs(path) {
		return refuse("not an absolute path")
	}
	canonical, err := filepath.EvalSymlinks(path)
	if err != nil {
		return refuse("%v", reason(err))
	}
	// Of a path outside nothing more is told than that.
	if !slices.ContainsFunc(a.roots, func(root string) bool { return within(root, canonical) }) {
		return refuse("not allowed by --hot-reload")
	}
	info, err := os.Lstat(canonical)
	if err != nil {
		return refuse("%v", reason(err))
	}
	if !info.IsDir() {
		return refuse("not a directory")
	}
	if os.Geteuid() == 0 && info.Mode()&0o005 != 0o005 { // functions run as another user
		return refuse("functions can't read it (chmod o+rx)")
	}
	return canonical, nil
}

func within(root, path string) bool {
	return path == root || strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/")
}

// reason is an error without the path, which the message has already.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// again is Check for a path that Check returned earlier.
func (a *Allowed) again(dir string) error {
	now, err := a.Check(dir)
	if err == nil && now != dir {
		err = &lamina.DirectoryError{Directory: dir, Reason: "it has become a symbolic link"}
	}
	return err
}

// Stamp vouches that a directory that Check returned may still be shown, and
// returns text that is another one when anything in it has changed. It looks at
// sizes, times and inodes, not at contents. The error is a *lamina.DirectoryError
// when the directory is gone, not allowed any more or too large.
func (a *Allowed) Stamp(ctx context.Context, dir string) (string, error) {
	if err := a.again(dir); err != nil {
		return "", err
	}
	if w := a.watchOf(dir); w != nil {
		return w.stamp(ctx)
	}
	return a.scan(ctx, dir, nil)
}

// scan looks at every entry of a directory. Each directory in it is told to enter,
// if there is one, before it is read.
func (a *Allowed) scan(ctx context.Context, dir string, enter func(path string)) (string, error) {
	var hash maphash.Hash
	hash.SetSeed(a.seed)
	entries := 0
	err := walk(ctx, dir, func(path string, info fs.FileInfo) error {
		if entries++; entries > MaxEntries {
			return &lamina.DirectoryError{Directory: dir, Reason: fmt.Sprintf("more than %d files and directories", MaxEntries)}
		}
		hash.WriteString(path)
		hash.WriteByte(0)
		var numbers [64]byte
		hash.Write(appendState(numbers[:0], info))
		if enter != nil && info.IsDir() {
			enter(filepath.Join(dir, path))
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return strconv.FormatUint(hash.Sum64(), 36), nil
}

// appendState appends what tells a file from what it was.
func appendState(to []byte, info fs.FileInfo) []byte {
	to = binary.LittleEndian.AppendUint32(to, uint32(info.Mode()))
	if info.IsDir() { // its entries tell, but for another one of the same name
		return appendInode(to, info)
	}
	to = binary.LittleEndian.AppendUint64(to, uint64(info.Size()))
	to = binary.LittleEndian.AppendUint64(to, uint64(info.ModTime().UnixNano()))
	return appendInode(to, info)
}

// walk calls each for the directory itself, ".", and all below it, in the order
// of names. Symbolic links are not followed. What vanishes meanwhile is left out.
func walk(ctx context.Context, dir string, each func(path string, info fs.FileInfo) error) error {
	var descend func(path string) error
	descend = func(path string) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		list, err := os.ReadDir(filepath.Join(dir, path))
		if err != nil && path != "." && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return &lamina.DirectoryError{Directory: dir, Reason: fmt.Sprintf("%s: %v", path, reason(err))}
		}
		for _, item := range list {
			info, err := item.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return &lamina.DirectoryError{Directory: dir, Reason: fmt.Sprintf("%s: %v", filepath.Join(path, item.Name()), reason(err))}
			}
			name := filepath.Join(path, item.Name())
			if err := each(name, info); err != nil {
				return err
			}
			if info.IsDir() {
				if err := descend(name); err != nil {
					return err
				}
			}
		}
		return nil
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return &lamina.DirectoryError{Directory: dir, Reason: reason(err).Error()}
	}
	if err := each(".", info); err != nil {
		return err
	}
	return descend(".")
}

// Archive writes a zip of a directory that Check returned. The same names, modes
// and contents make the same bytes. It writes a little more than most bytes at
// the most, and then fails with lamina.ErrTooLarge. Symbolic links stay what they
// are; what is neither file, directory nor link is left out.
func (a *Allowed) Archive(ctx context.Context, dir string, most int64, w io.Writer) error {
	if err := a.again(dir); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // so that no name leads out, whoever changes it meanwhile
	if err != nil {
		return &lamina.DirectoryError{Directory: dir, Reason: reason(err).Error()}
	}
	defer root.Close()
	out := &bounded{w: w, left: most}
	archive := zip.NewWriter(out)
	archive.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	entries := 0
	err = walk(ctx, dir, func(path string, info fs.FileInfo) error {
		if entries++; entries > MaxEntries {
			return &lamina.DirectoryError{Directory: dir, Reason: fmt.Sprintf("more than %d files and directories", MaxEntries)}
		}
		if path == "." {
			return nil
		}
		err := add(archive, root, path, info)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		return err
	})
	if err == nil {
		err = archive.Close()
	}
	if err != nil {
		return fmt.Errorf("archive %s: %w", dir, err)
	}
	return nil
}

func add(archive *zip.Writer, root *os.Root, path string, info fs.FileInfo) error {
	h := &zip.FileHeader{Name: filepath.ToSlash(path), Method: zip.Deflate} // no time: the same files are the same bytes
	switch mode := info.Mode(); {
	case mode.IsDir():
		h.Name, h.Method = h.Name+"/", zip.Store
		h.SetMode(fs.ModeDir | 0o755)
		_, err := archive.CreateHeader(h)
		return err
	case mode&fs.ModeSymlink != 0:
		target, err := root.Readlink(path)
		if err != nil {
			return err
		}
		h.SetMode(fs.ModeSymlink | 0o777)
		w, err := archive.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(w, target)
		}
		return err
	case !mode.IsRegular():
		return nil
	default:
		f, err := openRegular(root, path)
		if err != nil {
			return err
		}
		defer f.Close()
		h.SetMode(0o644 | mode&0o111)
		w, err := archive.CreateHeader(h)
		if err == nil {
			_, err = io.Copy(w, f)
		}
		return err
	}
}

// bounded fails when more is written than it may take.
type bounded struct {
	w    io.Writer
	left int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, lamina.ErrTooLarge
	}
	return b.w.Write(p)
}
