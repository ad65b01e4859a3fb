package layerbuild

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Kind is what a layer is made of.
type Kind string

// Kinds of sources, by the name of the file that they are read from.
const (
	Requirements Kind = "requirements.txt"
	Pyproject    Kind = "pyproject.toml"
	PackageJSON  Kind = "package.json"
	Gemfile      Kind = "Gemfile"
	POM          Kind = "pom.xml"
	Directory    Kind = "directory"
)

// families are the languages whose runtimes can use a kind; a directory is for all.
var families = map[Kind]string{Requirements: "python", Pyproject: "python", PackageJSON: "nodejs", Gemfile: "ruby", POM: "java"}

// Source is what SOURCE turned out to be.
type Source struct {
	Kind Kind
	Dir  string // absolute: the directory, or the one that File is in
	File string // name in Dir; empty for a directory
	Lock string // name in Dir of the file that fixes every version; empty without one
}

// String tells what was found.
func (s Source) String() string {
	switch {
	case s.Kind == Directory:
		return "directory, taken as it is"
	case s.Lock != "" && s.Lock != s.File:
		return s.File + " with " + s.Lock
	}
	return s.File
}

func (s Source) path(name string) string { return filepath.Join(s.Dir, name) }

// locks are the files that fix versions, by kind, the one that counts first.
var locks = map[Kind][]string{Pyproject: {"uv.lock"}, PackageJSON: {"npm-shrinkwrap.json", "package-lock.json"}, Gemfile: {"Gemfile.lock"}}

// manifests are looked for in a directory, those of one language in this order.
var manifests = []Kind{Pyproject, Requirements, PackageJSON, Gemfile, POM}

// FindOptions say how a source is looked at.
type FindOptions struct {
	Runtime string
	// Plain takes a directory as it is, whatever is in it.
	Plain bool
}

// Find tells what path is: a file that names dependencies, a directory that has
// one for the runtime, or a directory to be taken as it is. Where a directory has
// several, one with a lock file wins, then requirements.txt.
func Find(path string, o FindOptions) (Source, error) {
	t, err := newTarget(o.Runtime, X86)
	if err != nil {
		return Source{}, err
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return Source{}, fmt.Errorf("find the source: %w", err)
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Source{}, advise(fmt.Errorf("find the source: %w", err), "name a requirements.txt, pyproject.toml, package.json, Gemfile or pom.xml, or a directory")
	}
	if err != nil {
		return Source{}, fmt.Errorf("find the source: %w", err)
	}
	if !info.IsDir() {
		if o.Plain {
			return Source{}, advise(fmt.Errorf("%s is a file: only a directory can be taken as it is", path), "name the directory that it is in")
		}
		s, err := fileSource(path)
		if err != nil {
			return Source{}, err
		}
		return s, s.fits(t)
	}
	if o.Plain {
		return Source{Kind: Directory, Dir: path}, nil
	}
	var found []Source
	var other Kind
	for _, kind := range manifests {
		if !isFile(filepath.Join(path, string(kind))) {
			continue
		}
		if families[kind] != t.family {
			other = kind
			continue
		}
		found = append(found, withLock(Source{Kind: kind, Dir: path, File: string(kind)}))
	}
	if len(found) == 0 {
		s := Source{Kind: Directory, Dir: path}
		if other != "" {
			return s, advise(fmt.Errorf("%s has a %s, which is not for %s", path, other, o.Runtime), "choose a %s runtime, or take the directory as it is with --plain", families[other])
		}
		return s, nil
	}
	for _, s := range found {
		if s.Lock != "" {
			return s, nil
		}
	}
	if i := slices.IndexFunc(found, func(s Source) bool { return s.Kind == Requirements }); i >= 0 {
		return found[i], nil
	}
	return found[0], nil
}

// fileSource tells by its name what a file is.
func fileSource(path string) (Source, error) {
	dir, name := filepath.Split(path)
	s := Source{Dir: filepath.Clean(dir), File: name}
	switch {
	case name == "uv.lock":
		s.Kind, s.File, s.Lock = Pyproject, "pyproject.toml", name
	case name == "package-lock.json" || name == "npm-shrinkwrap.json":
		s.Kind, s.File, s.Lock = PackageJSON, "package.json", name
	case name == "Gemfile.lock":
		s.Kind, s.File, s.Lock = Gemfile, "Gemfile", name
	case name == "pyproject.toml" || name == "package.json" || name == "Gemfile" || name == "pom.xml":
		s.Kind = Kind(name)
	case strings.HasSuffix(name, ".txt") || strings.HasSuffix(name, ".in"):
		s.Kind = Requirements
	default:
		return Source{}, advise(fmt.Errorf("find the source: %s is no file that names dependencies", name), "name a requirements.txt (or another .txt), pyproject.toml, package.json, Gemfile or pom.xml, or a directory")
	}
	if !isFile(s.path(s.File)) {
		return Source{}, advise(fmt.Errorf("find the source: beside %s there is no %s", name, s.File), "a lock file goes with the file that it was made of")
	}
	return withLock(s), nil
}

func withLock(s Source) Source {
	for _, name := range locks[s.Kind] {
		if s.Lock == "" && isFile(s.path(name)) {
			s.Lock = name
		}
	}
	return s
}

// fits refuses dependencies of another language than the runtime's.
func (s Source) fits(t target) error {
	if families[s.Kind] == t.family {
		return nil
	}
	return advise(fmt.Errorf("%s is not for %s", s.File, t.runtime), "choose a %s runtime", families[s.Kind])
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
