package console

import (
	"cmp"
	"context"
	"errors"
	"html"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/contents"
)

const (
	// treeBytes bounds what of a tree is on a page, about, in bytes of HTML.
	treeBytes = 64 << 10
	// readingTime bounds how long an archive is read for one page.
	readingTime = 20 * time.Second
)

// layerContents is what is in a version's archive, or why nobody can tell.
type layerContents struct {
	Wrong       string // why there is no tree; empty when there is one
	Nothing     bool   // there is no archive
	Top         string // the page with the first of Nodes, when Earlier
	Files       int
	Directories int
	Symlinks    int
	Unpacked    int64 // bytes of the files, as the limit counts them
	Limit       int64 // of code and layers together
	Searched    []searched
	Dir         string // whose contents Nodes are; empty for the top
	Crumbs      []link // the directories above, and Dir
	Nodes       []*treeNode
	Earlier     bool   // Nodes do not begin with the first
	Next        string // the path of a page with those that have no room here
}

// searched is a search path, and what its runtimes find there.
type searched struct {
	contents.Found
	Runtimes []string
}

// treeNode is one entry of a tree on a page.
type treeNode struct {
	Name      string
	Path      string
	Directory bool
	Target    string // of a symlink
	Size      int64
	Files     int
	Program   bool // that everyone may run
	Runtimes  []string
	Holds     string // what the runtimes look for there
	Open      bool
	Children  []*treeNode
	Elsewhere string // the page that has the children, when there is no room here
}

// openTree reads the archive of a CodeSha256. The tree is nil where there is no
// archive. The caller calls done when nothing of the tree is read any more.
func (v *visit) openTree(ctx context.Context, sha256 string) (_ *contents.Tree, done func(), err error) {
	a, err := v.openArchive(ctx, sha256)
	if err != nil || a == nil {
		return nil, func() {}, err
	}
	done = func() { a.Close() }
	tree, err := contents.Read(ctx, a, a.size, v.o.Limits)
	return tree, done, err
}

// turn waits until this request may read archives, which takes memory. The caller
// calls leave when it has.
func (v *visit) turn() (ctx context.Context, leave func(), err error) {
	ctx, cancel := context.WithTimeout(v.context(), readingTime)
	select {
	case v.reading <- struct{}{}:
		return ctx, func() { cancel(); <-v.reading }, nil
	case <-ctx.Done():
		cancel()
		return nil, nil, context.Cause(ctx)
	}
}

// unreadable tells why an archive can't be shown; an error that is the server's
// stays one.
func (v *visit) unreadable(err error) (string, error) {
	if broken, ok := errors.AsType[*lamina.ArchiveError](err); ok {
		return "The archive can't be shown: " + broken.Error() + ".", nil
	}
	if errors.Is(err, context.DeadlineExceeded) && v.context().Err() == nil {
		return "Reading the archive takes too long. Download it instead, or run lamina layer inspect.", nil
	}
	return "", err
}

// layerContents reads the archive of a version, as far as its page shows it.
func (v *visit) layerContents(h layerVersionHead) (d layerContents, err error) {
	ctx, leave, err := v.turn()
	if err != nil {
		d.Wrong, err = v.unreadable(err)
		return d, err
	}
	defer leave()
	tree, done, err := v.openTree(ctx, h.Content.CodeSha256)
	defer done()
	if err != nil {
		d.Wrong, err = v.unreadable(err)
		return d, err
	}
	if tree == nil {
		d.Wrong, d.Nothing = errNoArchive.Message, true
		return d, nil
	}
	d.Files, d.Directories, d.Symlinks = tree.Files, tree.Directories, tree.Symlinks
	d.Unpacked, d.Limit = tree.Size, v.o.Limits.Unzipped
	d.Searched = searchedIn(tree, h.CompatibleRuntimes)
	q := v.req.URL.Query()
	d.Dir = q.Get("path")
	if e, ok := tree.Lookup(d.Dir); d.Dir != "" && (!ok || !e.IsDirectory()) {
		d.Wrong = "The archive has no directory " + printable(d.Dir) + "."
		return d, nil
	}
	for dir := d.Dir; dir != ""; dir = parent(dir) {
		d.Crumbs = slices.Insert(d.Crumbs, 0, link{printable(path.Base(dir)), h.treePath(dir, 0)})
	}
	from, err := strconv.Atoi(cmp.Or(q.Get("from"), "0"))
	if err != nil || from < 0 {
		from = 0
	}
	d.plant(tree, h, from)
	return d, nil
}

// parent is the directory that a path is in; empty at the top.
func parent(name string) string { return name[:max(strings.LastIndexByte(name, '/'), 0)] }

// treePath is the page of a directory of the archive.
func (h layerVersionHead) treePath(dir string, from int) string {
	q := url.Values{}
	if dir != "" {
		q.Set("path", dir)
	}
	if from > 0 {
		q.Set("from", strconv.Itoa(from))
	}
	if len(q) == 0 {
		return h.Path()
	}
	return h.Path() + "?" + q.Encode()
}

// searchedIn tells what runtimes find: the declared ones, and where none is, all
// that find anything.
func searchedIn(tree *contents.Tree, declared []string) []searched {
	runtimes := declared
	if len(declared) == 0 {
		runtimes = lamina.RuntimesWithLayers()
	}
	var all []searched
	at := map[string]int{}
	for _, r := range runtimes {
		for _, f := range tree.Search(r) {
			if len(declared) == 0 && !f.Present {
				continue
			}
			i, ok := at[f.Path]
			if !ok {
				i = len(all)
				at[f.Path] = i
				all = append(all, searched{Found: f})
			}
			all[i].Runtimes = append(all[i].Runtimes, r)
		}
	}
	// What all runtimes look in comes after what is for one language.
	common := lamina.RuntimeSearchPaths("")
	isCommon := func(s searched) bool {
		return slices.ContainsFunc(common, func(p lamina.SearchPath) bool { return p.Path == s.Path })
	}
	slices.SortStableFunc(all, func(a, b searched) int {
		switch x, y := isCommon(a), isCommon(b); {
		case x == y:
			return 0
		case y:
			return -1
		}
		return 1
	})
	return all
}

// plant fills in the nodes: what is in the directory from one place on, and below
// that as much as there is room for, the upper levels first.
func (d *layerContents) plant(tree *contents.Tree, h layerVersionHead, from int) {
	marks, open := map[string]searched{}, map[string]bool{}
	for _, s := range d.Searched {
		if !s.Present {
			continue
		}
		marks[s.Path] = s
		for dir := parent(s.Path); dir != ""; dir = parent(dir) {
			open[dir] = true
		}
	}
	room := treeBytes
	nodes := func(entries []contents.Entry) (out []*treeNode, cost int) {
		for _, e := range entries {
			n := &treeNode{
				Name: printable(e.Name()), Path: e.Path, Directory: e.IsDirectory(), Size: e.Size, Target: printable(e.Target),
				Program: e.Kind == lamina.ArchiveFile && e.Mode&0o111 != 0,
			}
			if s, ok := marks[e.Path]; ok {
				n.Runtimes, n.Holds = s.Runtimes, s.Holds
			}
			if n.Directory {
				sum := tree.Sum(e.Path)
				n.Size, n.Files, n.Open = sum.Size, sum.Files, open[e.Path]
			}
			cost += 160 + len(html.EscapeString(n.Name)) + len(html.EscapeString(n.Target))
			if n.Directory { // whose children may be elsewhere
				cost += 120 + len(url.QueryEscape(e.Path))
			}
			if out = append(out, n); cost > room {
				break
			}
		}
		return out, cost
	}
	children := tree.Children(d.Dir)
	from = min(from, len(children))
	cost := 0
	d.Nodes, cost = nodes(children[from:])
	d.Earlier, d.Top = from > 0, h.treePath(d.Dir, 0)
	if shown := from + len(d.Nodes); shown < len(children) {
		d.Next = h.treePath(d.Dir, shown)
	}
	room -= cost
	for level := d.Nodes; len(level) > 0; {
		var below []*treeNode
		for _, n := range level {
			if !n.Directory || n.Files == 0 && len(tree.Below(n.Path)) == 0 {
				continue
			}
			inside, cost := nodes(tree.Children(n.Path))
			if cost > room {
				n.Elsewhere = h.treePath(n.Path, 0)
				continue
			}
			room -= cost
			n.Children = inside
			below = append(below, inside...)
		}
		level = below
	}
}

type layerChecksData struct {
	layerVersionHead
	Wrong    string
	Mistakes []contents.Mistake
}

// layerChecks tells what is likely to be wrong with a version: as a page, or as a
// part of the version's.
func (c *Console) layerChecks(v *visit) error {
	h, err := v.versionAsked("")
	if err != nil {
		return err
	}
	d := layerChecksData{layerVersionHead: h}
	if d.Mistakes, err = v.mistakes(h); errors.Is(err, errNoArchive) {
		d.Wrong = errNoArchive.Message
	} else if err != nil {
		if d.Wrong, err = v.unreadable(err); err != nil {
			return err
		}
	}
	return v.ok("layerchecks", h.page(d))
}

func (v *visit) mistakes(h layerVersionHead) ([]contents.Mistake, error) {
	ctx, leave, err := v.turn()
	if err != nil {
		return nil, err
	}
	defer leave()
	tree, done, err := v.openTree(ctx, h.Content.CodeSha256)
	defer done()
	if err != nil {
		return nil, err
	}
	if tree == nil {
		return nil, errNoArchive
	}
	return tree.Mistakes(ctx, contents.Use{Runtimes: h.CompatibleRuntimes, Architectures: h.CompatibleArchitectures})
}
