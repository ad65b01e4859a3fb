package contents

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
)

// Entry is one path of a tree.
type Entry struct {
	// Path is clean and relative, with slashes; it is never ".". Its bytes are those
	// of the zip, which need not be UTF-8 nor printable.
	Path string
	Kind lamina.ArchiveKind
	// Mode are the permissions that functions see.
	Mode fs.FileMode
	// Declared are the permissions in the zip, which AWS unpacks files with.
	Declared fs.FileMode
	// Size is the number of bytes of a file, or of the target of a symlink; 0 for a
	// directory.
	Size int64
	// Compressed is what of the zip is the content, in bytes.
	Compressed int64
	Target     string // of a symlink
	// Modified is in UTC; zero for a directory that is implied.
	Modified time.Time
	// Implied says that the zip has no entry for the directory, only for what is in it.
	Implied bool

	archive *lamina.ArchiveEntry // nil for what is implied
	crc     uint32
}

// Name is the last part of the path.
func (e Entry) Name() string { return path.Base(e.Path) }

// Depth is the number of directories that the entry is in.
func (e Entry) Depth() int { return strings.Count(e.Path, "/") }

// IsDirectory reports whether the entry is a directory.
func (e Entry) IsDirectory() bool { return e.Kind == lamina.ArchiveDirectory }

// Copy writes the content of a file, or the target of a symlink, to w. It fails
// with a *[lamina.ArchiveError] when that is not what the zip declares; what was
// written is then worthless. The archive must still be readable.
func (e Entry) Copy(ctx context.Context, w io.Writer) error {
	if e.archive == nil {
		return nil
	}
	var in lamina.Inflater
	return in.Copy(ctx, w, e.archive)
}

// Tree is what unpacking an archive leaves behind, or what a function sees of
// several. It does not change.
type Tree struct {
	// Entries are all paths, a directory before what is in it and that before
	// anything else: in the order of their parts. Every entry but those at the top is
	// in a directory that is an entry, too.
	Entries     []Entry
	Files       int
	Directories int
	Symlinks    int
	// Size is what the archive counts as against the limit of unzipped bytes: all
	// files, those that later entries of the same name overwrite, too.
	Size int64
	// Overwritten are names that the zip has more than once, except for the last
	// entry of each.
	Overwritten []string
}

// targetBytes bounds the targets of all symlinks of an archive, which are kept in
// memory.
const targetBytes = 16 << 20

// Read makes a tree of a zip. It returns a *[lamina.ArchiveError] for one that
// Lamina would not take under the limits, but for what only inflating everything
// tells. What it returns reads from r.
func Read(ctx context.Context, r io.ReaderAt, size int64, limits lamina.Limits) (*Tree, error) {
	a, err := lamina.ReadArchive(r, size, limits)
	if err != nil {
		return nil, err
	}
	t := &Tree{Entries: make([]Entry, 0, len(a.Entries)), Size: a.UnpackedSize, Overwritten: a.Overwritten()}
	var in lamina.Inflater
	left := int64(targetBytes)
	for i := range a.Entries {
		at := &a.Entries[i]
		packed := at.Packed()
		e := Entry{
			Path: at.Name, Kind: at.Kind, Mode: at.Mode, Declared: at.DeclaredMode(), Size: at.Size, Compressed: packed.Size,
			Modified: at.Modified, archive: at, crc: packed.CRC,
		}
		switch at.Kind {
		case lamina.ArchiveDirectory:
			e.Size, e.Compressed = 0, 0
		case lamina.ArchiveSymlink:
			if left -= at.Size; left < 0 {
				return nil, &lamina.ArchiveError{Reason: lamina.ArchiveTooLarge, Entry: at.Name, Size: at.Size, Err: fmt.Errorf("symlinks have more than %d bytes of targets", targetBytes)}
			}
			if e.Target, err = in.Target(ctx, at); err != nil {
				return nil, err
			}
		}
		t.Entries = append(t.Entries, e)
	}
	t.imply()
	slices.SortFunc(t.Entries, func(a, b Entry) int { return comparePaths(a.Path, b.Path) })
	t.count()
	return t, nil
}

// imply adds the directories that have no entry of their own.
func (t *Tree) imply() {
	known := make(map[string]struct{}, len(t.Entries))
	for _, e := range t.Entries {
		if e.IsDirectory() {
			known[e.Path] = struct{}{}
		}
	}
	for i := range len(t.Entries) {
		for dir := above(t.Entries[i].Path); dir != ""; dir = above(dir) {
			if _, ok := known[dir]; ok {
				break // as are those above, unless it has an entry of its own
			}
			known[dir] = struct{}{}
			t.Entries = append(t.Entries, Entry{Path: dir, Kind: lamina.ArchiveDirectory, Mode: 0o755, Declared: 0o755, Implied: true})
		}
	}
}

func (t *Tree) count() {
	for _, e := range t.Entries {
		switch e.Kind {
		case lamina.ArchiveDirectory:
			t.Directories++
		case lamina.ArchiveSymlink:
			t.Symlinks++
		default:
			t.Files++
		}
	}
}

// above is the directory that a path is in; empty at the top.
func above(name string) string {
	i := strings.LastIndexByte(name, '/')
	return name[:max(i, 0)]
}

// comparePaths orders paths by their parts: a slash is before everything else, so
// that what is in a directory follows it.
func comparePaths(a, b string) int {
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		switch {
		case x == y:
		case x == '/':
			return -1
		case y == '/' || x > y:
			return 1
		default:
			return -1
		}
	}
	return len(a) - len(b)
}

// Lookup returns the entry of a path. It follows no symlink.
func (t *Tree) Lookup(name string) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(t.Entries, name, func(e Entry, name string) int { return comparePaths(e.Path, name) })
	if !ok {
		return Entry{}, false
	}
	return t.Entries[i], true
}

// Below returns everything in a directory, at any depth, in the order of
// [Tree.Entries]; the empty path is the root. It is part of Entries, not a copy.
func (t *Tree) Below(dir string) []Entry {
	if dir == "" {
		return t.Entries
	}
	i, ok := slices.BinarySearchFunc(t.Entries, dir, func(e Entry, name string) int { return comparePaths(e.Path, name) })
	if !ok {
		return nil
	}
	return t.Entries[i+1 : i+1+inside(t.Entries[i+1:], dir)]
}

// inside is how many of the entries, which follow those of a directory, are in it.
func inside(entries []Entry, dir string) int {
	return sort.Search(len(entries), func(i int) bool {
		p := entries[i].Path
		return len(p) <= len(dir) || p[len(dir)] != '/' || p[:len(dir)] != dir
	})
}

// Children returns what is directly in a directory; the empty path is the root.
func (t *Tree) Children(dir string) []Entry {
	var out []Entry
	below := t.Below(dir)
	for i := 0; i < len(below); {
		e := below[i]
		out = append(out, e)
		if i++; e.IsDirectory() {
			i += inside(below[i:], e.Path)
		}
	}
	return out
}

// Sizes are sums over what is in a directory.
type Sizes struct {
	Files      int   // files and symlinks
	Size       int64 // bytes of them
	Compressed int64 // what they take of the zip
}

func (s *Sizes) add(o Sizes) {
	s.Files += o.Files
	s.Size += o.Size
	s.Compressed += o.Compressed
}

// Sum adds up everything in a directory, at any depth; the empty path is the root.
func (t *Tree) Sum(dir string) Sizes {
	var s Sizes
	for _, e := range t.Below(dir) {
		if !e.IsDirectory() {
			s.Files++
			s.Size += e.Size
			s.Compressed += e.Compressed
		}
	}
	return s
}

// Bounds of [Tree.Resolve]: Linux follows no more symlinks in one path, and no path
// has more parts.
const (
	maxLinks = 40
	maxSteps = 4096
)

// Resolve follows symlinks as a function does in whose /opt the tree is, and
// returns the path that is reached; it is empty for /opt itself. It reports false
// for a path that leads to nothing, round in circles, or out of /opt, where nothing
// is known; outside tells the last.
func (t *Tree) Resolve(name string) (reached string, outside, ok bool) {
	rest := strings.Split(name, "/")
	var at []string
	for links, steps := 0, 0; len(rest) > 0; steps++ {
		if steps > maxSteps {
			return "", false, false
		}
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return "", true, false
			}
			at = at[:len(at)-1]
			continue
		}
		e, found := t.Lookup(strings.Join(append(slices.Clone(at), part), "/"))
		if !found || e.Kind == lamina.ArchiveFile && len(rest) > 0 {
			return "", false, false
		}
		if e.Kind != lamina.ArchiveSymlink {
			at = append(at, part)
			continue
		}
		if links++; links > maxLinks {
			return "", false, false
		}
		target := e.Target
		if strings.HasPrefix(target, "/") {
			clean := path.Clean(target)
			if clean != "/opt" && !strings.HasPrefix(clean, "/opt/") {
				return "", true, false
			}
			target, at = strings.TrimPrefix(clean, "/opt"), nil
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return strings.Join(at, "/"), false, true
}

// errEnough ends the copy of a file whose beginning is all that is wanted.
var errEnough = errors.New("enough")

// prefix keeps the first bytes of what is written to it.
type prefix struct {
	data []byte
	most int
	// enough is asked after each write, with what there is; nil is never.
	enough func(data []byte) bool
}

func (p *prefix) Write(b []byte) (int, error) {
	p.data = append(p.data, b[:min(len(b), p.most-len(p.data))]...)
	if len(p.data) == p.most || p.enough != nil && p.enough(p.data) {
		return 0, errEnough
	}
	return len(b), nil
}

// read returns the first bytes of a file, at most p.most of them.
func (p *prefix) read(ctx context.Context, in *lamina.Inflater, e Entry) ([]byte, error) {
	p.data = p.data[:0]
	if e.archive == nil {
		return nil, nil
	}
	if err := in.Copy(ctx, p, e.archive); err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	return p.data, nil
}
