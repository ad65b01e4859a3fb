package contents

import (
	"cmp"
	"slices"

	"github.com/lamina-run/lamina"
)

// Layer is one archive in a merge.
type Layer struct {
	Name string // as people know it: an ARN, the name of a file
	*Tree
}

// ShadowReason says why a function does not see an entry of a layer.
type ShadowReason string

// Reasons of shadows.
const (
	// A later layer has a file or a symlink of the same path.
	Replaced ShadowReason = "replaced"
	// A later layer has a file or a symlink where the layer has a directory. This is
	// the reason for everything in it, too.
	FileOverDirectory ShadowReason = "file over directory"
	// A later layer has a directory where the layer has a file or a symlink.
	DirectoryOverFile ShadowReason = "directory over file"
)

// Shadow is an entry of a layer that functions don't see.
type Shadow struct {
	*Entry        // of the layer's tree
	Layer  int    // whose it is, as an index into [Merged.Layers]
	By     int    // the layer that hides it
	ByPath string // what of that layer hides it: the same path, or a directory above
	Reason ShadowReason
	// Same says that what is seen instead has, as size and checksum tell, the same
	// content: hiding it changes nothing.
	Same bool
}

// Merged is what a function sees of its layers at /opt.
type Merged struct {
	*Tree // what there is. Its Size is that of all layers, as the limit counts them
	// Layers are in the function's order: the last wins.
	Layers []Layer
	// From has, for each entry of the tree, the layer that gives it. Of a directory
	// that several layers have it is the last of them.
	From []int
	// Shadows are in the order of [Tree.Entries], of one path the strongest first.
	Shadows []Shadow
}

// part is what a layer has in a directory, and everything below that.
type part struct {
	layer   int
	entries []Entry
}

// Merge puts layers on top of each other, in the order of a function's
// configuration: the last wins. Directories of one path become one, and everything
// else hides what is below it. A directory over a file over a directory shows
// nothing of the lowest. Symlinks are not followed: one is as good as a file. So does
// the overlay file system of the sandbox, and Lambda, where archives are unpacked one over the
// other, wherever that works.
func Merge(layers ...Layer) *Merged {
	m := &Merged{Tree: &Tree{}, Layers: layers}
	var parts []part
	for i, l := range slices.Backward(layers) {
		m.Size += l.Size
		parts = append(parts, part{i, l.Entries})
	}
	m.merge(parts)
	m.count()
	slices.SortStableFunc(m.Shadows, func(a, b Shadow) int {
		return cmp.Or(comparePaths(a.Path, b.Path), cmp.Compare(b.Layer, a.Layer))
	})
	return m
}

// merge works on one directory, with the strongest layer first.
func (m *Merged) merge(parts []part) {
	for {
		// The next name, and who has it.
		var next string
		found := false
		for _, p := range parts {
			if len(p.entries) > 0 && (!found || comparePaths(p.entries[0].Path, next) < 0) {
				next, found = p.entries[0].Path, true
			}
		}
		if !found {
			return
		}
		var have []part
		for i := range parts {
			p := &parts[i]
			if len(p.entries) == 0 || p.entries[0].Path != next {
				continue
			}
			length := 1
			if p.entries[0].IsDirectory() {
				length += inside(p.entries[1:], next)
			}
			have = append(have, part{p.layer, p.entries[:length]})
			p.entries = p.entries[length:]
		}
		m.add(have)
	}
}

// add puts one path into the tree, of which the layers have these.
func (m *Merged) add(have []part) {
	winner := have[0]
	m.Entries = append(m.Entries, winner.entries[0])
	m.From = append(m.From, winner.layer)
	if !winner.entries[0].IsDirectory() {
		m.hide(have[1:], winner)
		return
	}
	// Directories down to the first that is none.
	end := slices.IndexFunc(have, func(p part) bool { return !p.entries[0].IsDirectory() })
	if end < 0 {
		end = len(have)
	}
	below := make([]part, end)
	for i, p := range have[:end] {
		below[i] = part{p.layer, p.entries[1:]}
	}
	m.merge(below)
	if end < len(have) {
		m.hide(have[end:end+1], winner)
		m.hide(have[end+1:], have[end])
	}
}

// hide notes what nobody sees because of one entry.
func (m *Merged) hide(hidden []part, by part) {
	over := by.entries[0]
	for _, p := range hidden {
		reason := Replaced
		switch {
		case p.entries[0].IsDirectory():
			reason = FileOverDirectory
		case over.IsDirectory():
			reason = DirectoryOverFile
		}
		for i := range p.entries {
			e := &p.entries[i]
			same := reason == Replaced && e.Kind == over.Kind && e.Target == over.Target && e.Size == over.Size && e.crc == over.crc && e.Mode == over.Mode
			m.Shadows = append(m.Shadows, Shadow{Entry: e, Layer: p.layer, By: by.layer, ByPath: over.Path, Reason: reason, Same: same})
		}
	}
}

// Giver returns the layer that gives a path, as an index into Layers.
func (m *Merged) Giver(name string) (int, bool) {
	i, ok := slices.BinarySearchFunc(m.Entries, name, func(e Entry, name string) int { return comparePaths(e.Path, name) })
	if !ok {
		return 0, false
	}
	return m.From[i], true
}

// HiddenBy returns what the entries of a path hide, the strongest layer's first.
func (m *Merged) HiddenBy(name string) []Shadow {
	i, _ := slices.BinarySearchFunc(m.Shadows, name, func(s Shadow, name string) int { return comparePaths(s.Path, name) })
	var out []Shadow
	for ; i < len(m.Shadows) && m.Shadows[i].Path == name; i++ {
		out = append(out, m.Shadows[i])
	}
	return out
}

// Budget says how much of the limit of unzipped bytes a function takes.
type Budget struct {
	Limit    int64
	Function int64   // bytes of the function's code, unzipped
	Layers   []int64 // of each layer
}

// Used is the sum of code and layers.
func (b Budget) Used() int64 {
	sum := b.Function
	for _, n := range b.Layers {
		sum += n
	}
	return sum
}

// Budget counts the layers, and a function's code of so many bytes, against the limit.
func (m *Merged) Budget(function int64, limits lamina.Limits) Budget {
	b := Budget{Limit: limits.Unzipped, Function: function, Layers: make([]int64, len(m.Layers))}
	for i, l := range m.Layers {
		b.Layers[i] = l.Size
	}
	return b
}
