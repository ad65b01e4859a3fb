package lamina

import (
	"slices"
	"strings"
)

// SearchPath is a place in a layer where functions of a runtime find something
// without being told.
type SearchPath struct {
	// Path is relative to /opt, such as python/lib/python3.12/site-packages.
	Path string
	// Holds says what is looked for there, in a word or two.
	Holds string
	// Variable is the environment variable that has the path; empty where the
	// runtime's client or the sandbox looks by itself.
	Variable string
	// Programs says that files directly in it are run, and so have to be executable.
	Programs bool
	// Suffix is what the names of files end in that are found directly in it; empty
	// for all.
	Suffix string
	// File says that the path is that of one file.
	File bool
}

// Absolute is the path as a function sees it.
func (p SearchPath) Absolute() string { return "/opt/" + p.Path }

// Variables that have search paths.
const (
	variablePath      = "PATH"
	variableLibraries = "LD_LIBRARY_PATH"
	variableNode      = "NODE_PATH"
	variableGems      = "GEM_PATH"
	variableRuby      = "RUBYLIB"
)

// every are the search paths of all runtimes.
var every = []SearchPath{
	{Path: "bin", Holds: "programs", Variable: variablePath, Programs: true},
	{Path: "lib", Holds: "shared libraries", Variable: variableLibraries},
	{Path: "extensions", Holds: "external extensions", Programs: true},
}

// RuntimeSearchPaths returns where in layers functions of a runtime look, those of
// its language first, in the order in which they are searched. A runtime that is
// not known has those of all runtimes only.
func RuntimeSearchPaths(runtime string) []SearchPath {
	return append(languageSearchPaths(runtime), every...)
}

func languageSearchPaths(runtime string) []SearchPath {
	family := RuntimeFamily(runtime)
	version := strings.TrimPrefix(runtime, family)
	switch family {
	case "python":
		return []SearchPath{
			{Path: "python/lib/python" + version + "/site-packages", Holds: "modules"},
			{Path: "python", Holds: "modules"},
		}
	case "nodejs":
		return []SearchPath{
			{Path: "nodejs/node" + strings.TrimSuffix(version, ".x") + "/node_modules", Holds: "modules for require", Variable: variableNode},
			{Path: "nodejs/node_modules", Holds: "modules for require", Variable: variableNode},
		}
	case "ruby":
		return []SearchPath{
			{Path: "ruby/gems/" + version + ".0", Holds: "gems", Variable: variableGems},
			{Path: "ruby/lib", Holds: "Ruby files", Variable: variableRuby},
		}
	case "java":
		return []SearchPath{{Path: "java/lib", Holds: "jars", Suffix: ".jar"}}
	case "provided":
		return []SearchPath{{Path: "bootstrap", Holds: "the runtime, when the code has none", File: true, Programs: true}}
	}
	return nil
}

// SearchVariable returns the value of a variable as far as it is about layers:
// the search paths of a runtime that it has, separated by colons.
func SearchVariable(runtime, variable string) string {
	var out []string
	for _, p := range RuntimeSearchPaths(runtime) {
		if p.Variable == variable {
			out = append(out, p.Absolute())
		}
	}
	return strings.Join(out, ":")
}

// RuntimesWithLayers returns the runtimes for which layers can be made today, by
// language and version.
func RuntimesWithLayers() []string {
	out := append(CreatableRuntimes(), newer...)
	slices.SortFunc(out, compareRuntimes)
	return out
}

// compareRuntimes orders runtimes by language, then by the numbers in their names.
func compareRuntimes(a, b string) int {
	if c := strings.Compare(RuntimeFamily(a), RuntimeFamily(b)); c != 0 {
		return c
	}
	if c := slices.Compare(runtimeNumbers(a), runtimeNumbers(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

func runtimeNumbers(runtime string) []int {
	var out []int
	in := false
	for _, r := range runtime {
		digit := '0' <= r && r <= '9'
		switch {
		case digit && in:
			out[len(out)-1] = out[len(out)-1]*10 + int(r-'0')
		case digit:
			out = append(out, int(r-'0'))
		}
		in = digit
	}
	return out
}
