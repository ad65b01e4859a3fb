package contents

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina"
)

// Code names a kind of mistake, for programs.
type Code string

// Kinds of mistakes.
const (
	// Everything is in one folder that should not be there.
	Wrapped Code = "wrapped"
	// Packages are at the top of the zip, instead of in the folder of their language.
	TopLevel Code = "top-level"
	// Packages are in a folder that nobody searches.
	Misplaced Code = "misplaced"
	// A runtime that is declared finds nothing by itself.
	NothingFound Code = "nothing-found"
	// The zip has a zip in it, and nothing else.
	NestedZip Code = "nested-zip"
	// Something is for another version of the language than declared.
	OtherVersion Code = "other-version"
	// Machine code is for another architecture than declared.
	Architecture Code = "architecture"
	// Machine code is for another system, or another C library.
	Platform Code = "platform"
	// Machine code wants a newer C library than AWS has.
	CLibrary Code = "c-library"
	// The function's user can't read a file on AWS.
	Unreadable Code = "unreadable"
	// The function's user can't execute what is there to be executed.
	NotExecutable Code = "not-executable"
	// Names have backslashes, which are no separators on Linux.
	Backslashes Code = "backslashes"
	// The zip has two entries of one name.
	Twice Code = "twice"
	// A symlink leads to nothing.
	Dangling Code = "dangling"
	// A later layer has another file of the same path.
	Shadowed Code = "shadowed"
	// A later layer has a file where a layer has a directory, or the reverse.
	Hidden Code = "hidden"
	// Code and layers are too large together.
	OverBudget Code = "over-budget"
	// There are more layers than a function can have.
	TooManyLayers Code = "too-many-layers"
)

// Severity says how sure it is that something goes wrong.
type Severity string

// Severities.
const (
	// Functions will not find it, not load it, or not be made.
	Error Severity = "error"
	// It may be meant so.
	Warning Severity = "warning"
)

// Mistake is something that people did not mean.
type Mistake struct {
	Code     Code
	Severity Severity
	Text     string // one sentence
	// Path is the first that it is about; empty when it is about the whole.
	Path   string
	Count  int    // of paths that it is about; at least 1
	Advice string // what to do
}

// Use is what is declared of a layer version, or of the function that has it. Where
// nothing is declared, nothing is held against it.
type Use struct {
	Runtimes      []string
	Architectures []string
}

// group counts what one mistake is about.
type group struct {
	first string
	count int
	what  []string
}

func (g *group) add(path string) {
	if g.count == 0 {
		g.first = path
	}
	g.count++
}

// mistake is one about the group. The text goes on after the name of a file.
func (g group) mistake(code Code, severity Severity, text, advice string) Mistake {
	who := printable(g.first)
	if g.count > 1 {
		who += " and " + strconv.Itoa(g.count-1) + " more: each"
	}
	return Mistake{Code: code, Severity: severity, Text: who + " " + text + ".", Path: g.first, Count: g.count, Advice: advice}
}

// printable quotes what would not be one line of text.
func printable(name string) string {
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

func list(words []string) string {
	words = slices.Clone(words)
	slices.Sort(words)
	if len(words) > 1 {
		return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
	}
	return strings.Join(words, "")
}

func appendNew(words []string, word string) []string {
	if slices.Contains(words, word) {
		return words
	}
	return append(words, word)
}

// junk are names that archivers leave behind, at the top of zips.
var junk = []string{"__MACOSX", ".DS_Store"}

// tops are the first parts of all search paths.
var tops = []string{"python", "nodejs", "ruby", "java", "bin", "lib", "extensions"}

// Mistakes finds what is likely to be wrong with an archive as a layer, the worst
// first. It fails when the archive can't be read.
func (t *Tree) Mistakes(ctx context.Context, u Use) ([]Mistake, error) {
	out := t.placeMistakes(u)
	out = append(out, t.versionMistakes(u)...)
	native, err := t.nativeMistakes(ctx, u)
	if err != nil {
		return nil, err
	}
	out = append(out, native...)
	executable, err := t.executableMistakes(ctx, u)
	if err != nil {
		return nil, err
	}
	out = append(out, executable...)
	out = append(out, t.archiveMistakes()...)
	bySeverity(out)
	return out, nil
}

func bySeverity(all []Mistake) {
	slices.SortStableFunc(all, func(a, b Mistake) int { return cmp.Compare(a.Severity, b.Severity) }) // error before warning
}

// placeMistakes are about what nobody finds where it is.
func (t *Tree) placeMistakes(u Use) []Mistake {
	var out []Mistake
	top := slices.DeleteFunc(t.Children(""), func(e Entry) bool { return slices.Contains(junk, e.Name()) })
	if len(top) == 0 {
		return []Mistake{{Code: NothingFound, Severity: Error, Text: "The archive is empty.", Count: 1, Advice: "zip the folder that has python, nodejs, bin or the like in it"}}
	}
	if len(top) == 1 && top[0].Kind == lamina.ArchiveFile && strings.HasSuffix(strings.ToLower(top[0].Name()), ".zip") {
		return []Mistake{{
			Code: NestedZip, Severity: Error, Path: top[0].Path, Count: 1,
			Text:   "The archive has nothing but another zip in it, " + printable(top[0].Path) + ".",
			Advice: "publish the inner zip",
		}}
	}
	if len(top) == 1 && top[0].IsDirectory() && !slices.Contains(tops, top[0].Path) {
		for _, e := range t.Children(top[0].Path) {
			if slices.Contains(tops, e.Name()) && e.IsDirectory() || e.Name() == "bootstrap" {
				return []Mistake{{
					Code: Wrapped, Severity: Error, Path: e.Path, Count: 1,
					Text:   fmt.Sprintf("Everything is in the folder %s, so that it is /opt/%s instead of /opt/%s.", printable(top[0].Path), printable(e.Path), e.Name()),
					Advice: "zip what is in the folder, not the folder: cd into it, then zip -r ../layer.zip .",
				}}
			}
		}
	}
	runtimes := u.Runtimes
	if len(runtimes) == 0 {
		runtimes = lamina.RuntimesWithLayers()
	}
	moved := map[string]bool{} // languages whose packages are at the top
	for _, r := range runtimes {
		family := lamina.RuntimeFamily(r)
		if moved[family] || t.findsOwn(r) || len(u.Runtimes) == 0 && slices.ContainsFunc(runtimes, t.Finds) {
			continue
		}
		if sign, ok := t.topLevel(family, top); ok {
			moved[family] = true
			l := languages[family]
			out = append(out, Mistake{
				Code: TopLevel, Severity: Error, Path: sign, Count: 1,
				Text:   fmt.Sprintf("%s is at the top of the archive, where %s does not look; it looks in %s.", printable(sign), l.name, l.place),
				Advice: l.advice,
			})
		}
	}
	misplaced := t.misplaced()
	if misplaced.count > 0 {
		out = append(out, misplaced.mistake(Misplaced, Error, "has packages where no runtime looks for them",
			"Python looks in python and python/lib/python3.x/site-packages, Node.js in nodejs/node_modules and nodejs/nodeNN/node_modules"))
	}
	if len(out) > 0 {
		return out
	}
	var nothing []string
	for _, r := range runtimes {
		if !t.Finds(r) {
			nothing = append(nothing, r)
		}
	}
	switch {
	case len(nothing) == len(runtimes) && len(u.Runtimes) == 0:
		out = append(out, Mistake{
			Code: NothingFound, Severity: Warning, Count: 1,
			Text:   "No runtime finds anything of it by itself: nothing is in " + strings.Join(tops, ", ") + ".",
			Advice: "functions can read it below /opt; packages belong into the folder of their language",
		})
	case len(nothing) > 0 && len(u.Runtimes) > 0:
		var places []string
		for _, r := range nothing {
			for _, p := range lamina.RuntimeSearchPaths(r) {
				places = appendNew(places, p.Path)
			}
		}
		out = append(out, Mistake{
			Code: NothingFound, Severity: Warning, Count: 1,
			Text:   fmt.Sprintf("%s is declared, and finds nothing of it by itself.", list(nothing)),
			Advice: "it looks in " + strings.Join(places, ", "),
		})
	}
	return out
}

// findsOwn reports whether a runtime finds something of its language.
func (t *Tree) findsOwn(runtime string) bool {
	own := len(lamina.RuntimeSearchPaths(runtime)) - len(lamina.RuntimeSearchPaths(""))
	return slices.ContainsFunc(t.Search(runtime)[:own], func(f Found) bool { return f.Present })
}

// languages tells, by family, where packages belong.
var languages = map[string]struct{ name, place, advice string }{
	"python": {"Python", "python", "put the packages into a folder python, and zip that: pip install --target python …, zip -r layer.zip python"},
	"nodejs": {"Node.js", "nodejs/node_modules", "put package.json and node_modules into a folder nodejs, and zip that: zip -r layer.zip nodejs"},
	"ruby":   {"Ruby", "ruby/gems and ruby/lib", "put gems into ruby/gems/3.4.0 and other files into ruby/lib, and zip the folder ruby"},
	"java":   {"Java", "java/lib", "put the jars into java/lib, and zip the folder java"},
}

// topLevel returns what at the top of an archive are a language's packages.
func (t *Tree) topLevel(family string, top []Entry) (string, bool) {
	for _, e := range top {
		name, ext := e.Name(), path.Ext(e.Path)
		if slices.Contains(tops, name) && e.IsDirectory() && name != "lib" || strings.Contains(name, `\`) {
			continue
		}
		has := func(child string) bool {
			_, ok := t.Lookup(e.Path + "/" + child)
			return ok
		}
		yes := false
		switch family {
		case "python":
			yes = e.IsDirectory() && (name == "site-packages" || ext == ".dist-info" || ext == ".egg-info" || has("__init__.py")) ||
				!e.IsDirectory() && ext == ".py"
		case "nodejs":
			yes = e.IsDirectory() && (name == "node_modules" || has("package.json")) ||
				!e.IsDirectory() && (name == "package.json" || ext == ".js" || ext == ".mjs" || ext == ".cjs")
		case "ruby":
			yes = e.IsDirectory() && name == "gems" || !e.IsDirectory() && ext == ".rb"
		case "java":
			yes = !e.IsDirectory() && ext == ".jar"
			if name == "lib" {
				for _, jar := range t.Children("lib") {
					if path.Ext(jar.Path) == ".jar" {
						return jar.Path, true
					}
				}
			}
		}
		if yes {
			return e.Path, true
		}
	}
	return "", false
}

// packages are the names of folders that are made to be search paths.
var packages = []string{"site-packages", "dist-packages", "node_modules"}

// misplaced are folders of packages that are no search path of any runtime, below the top.
func (t *Tree) misplaced() group {
	var out group
	for i := 0; i < len(t.Entries); {
		e := t.Entries[i]
		i++
		if !e.IsDirectory() || !slices.Contains(packages, e.Name()) {
			continue
		}
		// Below python/ a package may have a folder of such a name.
		inPython := strings.HasPrefix(e.Path, "python/")
		if inPython && lonely.MatchString(e.Path) || !inPython && strings.Contains(e.Path, "/") && !searched.MatchString(e.Path) {
			out.add(e.Path)
		}
		i += inside(t.Entries[i:], e.Path) // what packages have in them is their own
	}
	return out
}

var (
	// searched are folders of packages that some runtime looks in.
	searched = regexp.MustCompile(`^(python/lib/python3\.\d+/site-packages|nodejs/(node\d+/)?node_modules)$`)
	// lonely are those that pip and venv make, and that are left where they were made.
	lonely = regexp.MustCompile(`^python/(site-packages|dist-packages|lib64/python3\.\d+/site-packages|lib/python3\.\d+/dist-packages|python/lib/python3\.\d+/site-packages|\.?venv/lib/python3\.\d+/site-packages)$`)
)

// versions match paths that are for one version of a language.
var versions = []struct {
	family string
	path   *regexp.Regexp
	prefix string
	suffix string
}{
	{"python", regexp.MustCompile(`^python/lib/python(3\.\d+)/site-packages$`), "python", ""},
	{"nodejs", regexp.MustCompile(`^nodejs/node(\d+)/node_modules$`), "nodejs", ".x"},
	{"ruby", regexp.MustCompile(`^ruby/gems/(\d+\.\d+)\.0$`), "ruby", ""},
}

// extension is a native module of Python that only one version loads.
var extension = regexp.MustCompile(`\.cpython-3(\d+)[a-z]*(-[^/]*)?\.so$`)

// versionMistakes are about what other versions of a language than the declared ones find.
func (t *Tree) versionMistakes(u Use) []Mistake {
	var out []Mistake
	for _, v := range versions {
		declared := ofFamily(u.Runtimes, v.family)
		if len(declared) == 0 {
			continue
		}
		for _, e := range t.Entries {
			m := v.path.FindStringSubmatch(e.Path)
			if m == nil || e.Kind == lamina.ArchiveFile {
				continue
			}
			if runtime := v.prefix + m[1] + v.suffix; !slices.Contains(declared, runtime) {
				out = append(out, Mistake{
					Code: OtherVersion, Severity: Error, Path: e.Path, Count: 1,
					Text:   fmt.Sprintf("%s is for %s, and declared is %s.", printable(e.Path), runtime, list(declared)),
					Advice: "install the packages for the declared runtime, or declare " + runtime,
				})
			}
		}
	}
	declared := ofFamily(u.Runtimes, "python")
	if len(declared) == 0 {
		return out
	}
	var native group
	for _, e := range t.Entries {
		if m := extension.FindStringSubmatch(e.Path); m != nil && strings.HasPrefix(e.Path, "python/") {
			if runtime := "python3." + m[1]; !slices.Contains(declared, runtime) {
				native.add(e.Path)
				native.what = appendNew(native.what, runtime)
			}
		}
	}
	// A package may bring a module for each version.
	if native.count > 0 && !t.hasExtensionFor(declared) {
		out = append(out, native.mistake(OtherVersion, Error, fmt.Sprintf("is a native module for %s, and declared is %s", list(native.what), list(declared)),
			"install the packages for the declared runtime: lamina layer build --runtime, or pip install --python-version"))
	}
	return out
}

func (t *Tree) hasExtensionFor(runtimes []string) bool {
	return slices.ContainsFunc(t.Entries, func(e Entry) bool {
		m := extension.FindStringSubmatch(e.Path)
		return m != nil && slices.Contains(runtimes, "python3."+m[1])
	})
}

func ofFamily(runtimes []string, family string) []string {
	var out []string
	for _, r := range runtimes {
		if lamina.RuntimeFamily(r) == family {
			out = append(out, r)
		}
	}
	return out
}

// executableMistakes are about programs that the function's user can't run.
func (t *Tree) executableMistakes(ctx context.Context, u Use) ([]Mistake, error) {
	var out []Mistake
	var bad group
	var in lamina.Inflater
	p := prefix{most: 4}
	check := func(e Entry, always bool) error {
		if e.Kind != lamina.ArchiveFile || e.Declared&0o001 != 0 {
			return nil
		}
		if !always {
			head, err := p.read(ctx, &in, e)
			if err != nil {
				return err
			}
			if !bytes.HasPrefix(head, []byte("#!")) && !bytes.HasPrefix(head, []byte("\x7fELF")) {
				return nil
			}
		}
		bad.add(e.Path)
		return nil
	}
	if e, ok := t.Lookup("bootstrap"); ok && (len(u.Runtimes) == 0 || len(ofFamily(u.Runtimes, "provided")) > 0) {
		if err := check(e, true); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{"extensions", "bin"} {
		for i, e := range t.Children(dir) {
			if i == maxNative {
				break
			}
			if err := check(e, dir == "extensions"); err != nil {
				return nil, err
			}
		}
	}
	if bad.count > 0 {
		out = append(out, bad.mistake(NotExecutable, Error, "is there to be run, and not everyone may execute it", "chmod 755 it before it is zipped"))
	}
	return out, nil
}

// archiveMistakes are about how the zip was made.
func (t *Tree) archiveMistakes() []Mistake {
	var out []Mistake
	var unreadable, backslashes, dangling group
	links := 0
	for _, e := range t.Entries {
		if strings.Contains(e.Path, `\`) {
			backslashes.add(e.Path)
		}
		switch e.Kind {
		case lamina.ArchiveFile:
			if e.Declared&0o004 == 0 {
				unreadable.add(e.Path)
			}
		case lamina.ArchiveDirectory:
			if e.Declared&0o005 != 0o005 {
				unreadable.add(e.Path)
			}
		case lamina.ArchiveSymlink:
			if links++; links > maxNative {
				continue
			}
			if _, outside, ok := t.Resolve(e.Path); !ok && !outside {
				dangling.add(e.Path)
			}
		}
	}
	if unreadable.count > 0 {
		out = append(out, unreadable.mistake(Unreadable, Warning, "has a mode with which functions can't read it on AWS; here everyone may read it", "chmod -R a+rX before zipping"))
	}
	if backslashes.count > 0 {
		out = append(out, backslashes.mistake(Backslashes, Error, "has a backslash in its name, which Linux takes for a letter and not for a folder", "zip with a tool that writes slashes, such as tar -a or 7-Zip"))
	}
	if dangling.count > 0 {
		out = append(out, dangling.mistake(Dangling, Warning, "is a symlink that leads to nothing in the layer", "zip what it leads to as well, unless another layer brings it"))
	}
	if n := len(t.Overwritten); n > 0 {
		g := group{first: t.Overwritten[0], count: n}
		out = append(out, g.mistake(Twice, Warning, "is more than once in the zip; the last counts", "make the zip anew: zip and jar add to one that exists"))
	}
	return out
}

// Function is who has the layers of a merge.
type Function struct {
	Runtime      string
	Architecture string
	Unpacked     int64 // bytes of its code, unzipped; 0 when there is no function yet
	Limits       lamina.Limits
}

// Use is what a function asks of its layers.
func (f Function) Use() Use {
	var u Use
	if f.Runtime != "" {
		u.Runtimes = []string{f.Runtime}
	}
	if f.Architecture != "" {
		u.Architectures = []string{f.Architecture}
	}
	return u
}

// Mistakes finds what is likely to be wrong with the layers together; what is wrong
// with one alone its own [Tree.Mistakes] tells.
func (m *Merged) Mistakes(f Function) []Mistake {
	var out []Mistake
	if n := len(m.Layers); n > f.Limits.LayersPerFunction {
		out = append(out, Mistake{
			Code: TooManyLayers, Severity: Error, Count: n,
			Text:   fmt.Sprintf("There are %d layers, and a function can have %d.", n, f.Limits.LayersPerFunction),
			Advice: "make one layer of several",
		})
	}
	if b := m.Budget(f.Unpacked, f.Limits); b.Used() > b.Limit {
		out = append(out, Mistake{
			Code: OverBudget, Severity: Error, Count: 1,
			Text:   fmt.Sprintf("Code and layers have %d bytes unzipped, %d more than the limit of %d.", b.Used(), b.Used()-b.Limit, b.Limit),
			Advice: "leave out what the function does not need, or use an image",
		})
	}
	type pair struct {
		layer, by int
		hidden    bool
	}
	groups := map[pair]*group{}
	var order []pair
	for _, s := range m.Shadows {
		if s.Same || s.Kind == lamina.ArchiveDirectory && s.Path != s.ByPath {
			continue // harmless, or told of by the directory above
		}
		k := pair{s.Layer, s.By, s.Reason != Replaced}
		if groups[k] == nil {
			groups[k] = &group{}
			order = append(order, k)
		}
		groups[k].add(s.Path)
	}
	for _, k := range order {
		layer, by := m.Layers[k.layer].Name, m.Layers[k.by].Name
		if k.hidden {
			out = append(out, groups[k].mistake(Hidden, Warning, fmt.Sprintf("of %s is hidden by %s, which has a file where the other has a folder", layer, by),
				"rename one of them, or put the layer that should win behind the other"))
			continue
		}
		out = append(out, groups[k].mistake(Shadowed, Warning, fmt.Sprintf("of %s is replaced by another of %s", layer, by),
			"put the layer that should win behind the other, or leave the file out of one"))
	}
	bySeverity(out)
	return out
}
