package contents

import (
	"regexp"
	"slices"
	"strings"

	"github.com/lamina-run/lamina"
)

// Found is a search path of a runtime, and what a tree has there.
type Found struct {
	lamina.SearchPath
	// Present says that there is something that the runtime finds.
	Present bool
	// Sizes are of everything that is found.
	Sizes
	// Names are of what is directly in it and found, at most [MaxNames].
	Names []string
	// More is how many names there are besides.
	More int
}

// MaxNames bounds the names in a [Found].
const MaxNames = 20

// Search returns every search path of a runtime, in the order in which they are
// searched, with what the tree has there. Symlinks are followed.
func (t *Tree) Search(runtime string) []Found {
	var out []Found
	for _, p := range lamina.RuntimeSearchPaths(runtime) {
		out = append(out, t.find(p))
	}
	return out
}

func (t *Tree) find(p lamina.SearchPath) Found {
	f := Found{SearchPath: p}
	at, _, ok := t.Resolve(p.Path)
	if !ok {
		return f
	}
	e, _ := t.Lookup(at) // absent for the root, which is a directory
	if p.File {
		if at != "" && e.Kind == lamina.ArchiveFile {
			f.Present, f.Sizes = true, Sizes{Files: 1, Size: e.Size, Compressed: e.Compressed}
		}
		return f
	}
	if at != "" && !e.IsDirectory() {
		return f
	}
	for _, child := range t.Children(at) {
		if !strings.HasSuffix(child.Name(), p.Suffix) || p.Suffix != "" && child.IsDirectory() || p.Path == "python" && t.isVersioned(child) {
			continue
		}
		if child.IsDirectory() {
			f.add(t.Sum(child.Path))
		} else {
			f.add(Sizes{Files: 1, Size: child.Size, Compressed: child.Compressed})
		}
		if f.Present = true; len(f.Names) < MaxNames {
			f.Names = append(f.Names, child.Name())
		} else {
			f.More++
		}
	}
	return f
}

var pythonFolder = regexp.MustCompile(`/python3\.\d+$`)

// isVersioned reports whether a folder of /opt/python has the packages of single
// versions of Python in it, and no module.
func (t *Tree) isVersioned(e Entry) bool {
	if !e.IsDirectory() || e.Name() != "lib" {
		return false
	}
	children := t.Children(e.Path)
	return len(children) > 0 && !slices.ContainsFunc(children, func(c Entry) bool { return !pythonFolder.MatchString(c.Path) })
}

// Finds reports whether a runtime finds anything in the tree by itself.
func (t *Tree) Finds(runtime string) bool {
	return slices.ContainsFunc(t.Search(runtime), func(f Found) bool { return f.Present })
}

// Marks returns the search paths that are in the tree, each with those of the
// runtimes that look there. Without runtimes it is about all that there are.
func (t *Tree) Marks(runtimes ...string) map[string][]string {
	if len(runtimes) == 0 {
		runtimes = lamina.RuntimesWithLayers()
	}
	out := map[string][]string{}
	for _, r := range runtimes {
		for _, f := range t.Search(r) {
			if f.Present {
				out[f.Path] = append(out[f.Path], r)
			}
		}
	}
	return out
}
