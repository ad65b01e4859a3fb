package contents

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/lamina-run/lamina"
)

// ChangeKind says what happened to a path.
type ChangeKind string

// Kinds of changes.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
)

// Change is one path that two trees don't have in common.
type Change struct {
	Path string
	Kind ChangeKind
	// Old is nil for what was added, New for what was removed.
	Old, New *Entry
	// What says what of it changed: kind, content, target, mode. It is nil unless
	// Kind is Changed.
	What []string
}

// Growth is by how many bytes the path grew; negative when it shrank.
func (c Change) Growth() int64 {
	var n int64
	if c.New != nil {
		n += c.New.Size
	}
	if c.Old != nil {
		n -= c.Old.Size
	}
	return n
}

// Difference is what a tree has otherwise than an older one.
type Difference struct {
	// Changes are in the order of [Tree.Entries]. Directories that only other names
	// imply are left out: what is in them tells.
	Changes                 []Change
	Added, Removed, Changed int
	Same                    int   // files and symlinks
	OldSize, NewSize        int64 // [Tree.Size]
}

// Compare tells what b has otherwise than a. Contents are compared by their bytes:
// equal compressed bytes are equal, what differs in size or checksum differs, and
// only the rest is inflated. Times are not compared. It fails when an archive can't
// be read, or is not what it declares.
func Compare(ctx context.Context, a, b *Tree) (*Difference, error) {
	d := &Difference{OldSize: a.Size, NewSize: b.Size}
	c := &comparison{}
	for i, j := 0, 0; i < len(a.Entries) || j < len(b.Entries); {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		order := 0
		switch {
		case i == len(a.Entries):
			order = 1
		case j == len(b.Entries):
			order = -1
		default:
			order = comparePaths(a.Entries[i].Path, b.Entries[j].Path)
		}
		switch {
		case order < 0:
			if e := &a.Entries[i]; !e.Implied {
				d.Changes = append(d.Changes, Change{Path: e.Path, Kind: Removed, Old: e})
				d.Removed++
			}
			i++
		case order > 0:
			if e := &b.Entries[j]; !e.Implied {
				d.Changes = append(d.Changes, Change{Path: e.Path, Kind: Added, New: e})
				d.Added++
			}
			j++
		default:
			what, err := c.what(ctx, &a.Entries[i], &b.Entries[j])
			if err != nil {
				return nil, err
			}
			if len(what) > 0 {
				d.Changes = append(d.Changes, Change{Path: a.Entries[i].Path, Kind: Changed, Old: &a.Entries[i], New: &b.Entries[j], What: what})
				d.Changed++
			} else if !a.Entries[i].IsDirectory() {
				d.Same++
			}
			i, j = i+1, j+1
		}
	}
	return d, nil
}

// comparison compares contents, with buffers that it keeps.
type comparison struct {
	in   lamina.Inflater
	a, b [64 << 10]byte
}

// what returns what differs between two entries of one path.
func (c *comparison) what(ctx context.Context, a, b *Entry) ([]string, error) {
	if a.Kind != b.Kind {
		return []string{"kind"}, nil
	}
	var what []string
	switch a.Kind {
	case lamina.ArchiveSymlink:
		if a.Target != b.Target {
			what = append(what, "target")
		}
		return what, nil
	case lamina.ArchiveDirectory:
		return nil, nil
	}
	same, err := c.same(ctx, a, b)
	if err != nil {
		return nil, err
	}
	if !same {
		what = append(what, "content")
	}
	if a.Mode != b.Mode {
		what = append(what, "mode")
	}
	return what, nil
}

// same reports whether two files have the same bytes.
func (c *comparison) same(ctx context.Context, a, b *Entry) (bool, error) {
	if a.archive == b.archive {
		return true, nil
	}
	if a.Size != b.Size || a.crc != b.crc {
		return false, nil
	}
	x, y := a.archive.Packed(), b.archive.Packed()
	if x.Deflated == y.Deflated && x.Size == y.Size {
		equal, err := c.equal(x, y)
		if err != nil {
			return false, fmt.Errorf("compare %q: %w", a.Path, err)
		}
		if equal || !x.Deflated {
			return equal, nil
		}
	}
	first, second := sha256.New(), sha256.New()
	if err := errors.Join(c.in.Copy(ctx, first, a.archive), c.in.Copy(ctx, second, b.archive)); err != nil {
		return false, err
	}
	return bytes.Equal(first.Sum(nil), second.Sum(nil)), nil
}

// equal compares two streams of the same length.
func (c *comparison) equal(x, y io.Reader) (bool, error) {
	for {
		n, err := io.ReadFull(x, c.a[:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return false, err
		}
		m, second := io.ReadFull(y, c.b[:])
		if second != nil && second != io.EOF && second != io.ErrUnexpectedEOF {
			return false, second
		}
		if !bytes.Equal(c.a[:n], c.b[:m]) {
			return false, nil
		}
		if err != nil {
			return true, nil
		}
	}
}
