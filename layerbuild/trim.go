package layerbuild

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// sdks are the packages of the AWS SDK, and what only it needs, that AWS's
// runtimes have.
var sdks = map[string]*regexp.Regexp{
	"python": regexp.MustCompile(`^(?:boto3|botocore|s3transfer|jmespath)$`),
	"nodejs": regexp.MustCompile(`^(?:@aws-sdk/.+|@smithy/.+|@aws-crypto/.+|@aws/lambda-invoke-store)$`),
	"ruby":   regexp.MustCompile(`^(?:aws-sdk-.+|aws-sdk|aws-partitions|aws-sigv4|aws-eventstream|jmespath)$`),
}

// dropSDK leaves the AWS SDK out.
func (b *builder) dropSDK(files *tree) error {
	sdk := sdks[b.target.family]
	if b.target.runtime == "nodejs16.x" {
		sdk = regexp.MustCompile(`^aws-sdk$`) // later ones have version 3
	}
	if sdk == nil || b.Source.Kind == Directory {
		return advise(fmt.Errorf("no AWS SDK can be told from the rest in a %s for %s", b.Source.Kind, b.target.runtime), "leave out --without-sdk")
	}
	var dropped []string
	files.remove(func(f *file) bool {
		name, _, _ := strings.Cut(f.group, " ")
		if b.target.family == "python" {
			name = normalName(name)
		}
		if !sdk.MatchString(name) {
			return false
		}
		dropped = append(dropped, f.group)
		return true
	})
	if len(dropped) == 0 {
		b.note("there is no AWS SDK in it to be left out")
		return nil
	}
	b.note("left to the runtime: %s", some(dropped))
	return nil
}

// Names of directories that hold what only a package's authors need. Such a
// directory stays when something else of the package refers to it.
var (
	pythonExtras = []string{"tests", "test", "docs", "doc", "examples", "benchmarks"}
	nodeExtras   = []string{"test", "tests", "__tests__", "docs", "doc", "example", "examples", "benchmark", "benchmarks", "coverage", ".github", ".vscode", ".idea"}
	rubyExtras   = []string{"test", "tests", "spec", "features", "doc", "docs", "examples", "benchmark", "benchmarks", "samples", ".github"}
)

// keptInfo are the files of a dist-info that count when code runs, and those that
// a licence asks for.
var keptInfo = regexp.MustCompile(`(?i)^(?:METADATA|entry_points\.txt|top_level\.txt|(?:licenses?|licences?)/.*|(?:licen[cs]e|copying|notice|authors)[^/]*)$`)

var (
	typeFile   = regexp.MustCompile(`\.(?:pyi|pxd|pyx)$|/py\.typed$`)
	nodeTypes  = regexp.MustCompile(`\.d\.[cm]?ts$|\.(?:js|mjs|cjs|css|ts|mts|cts)\.map$|\.(?:tsbuildinfo|flow)$`)
	readme     = regexp.MustCompile(`(?i)^(?:readme|changelog|changes|history|contributing|upgrading|security|code_of_conduct)(?:[-._][^/]*)?$`)
	nodeConfig = regexp.MustCompile(`^(?:\.eslintrc.*|\.prettierrc.*|\.editorconfig|\.travis\.yml|\.npmignore|\.nycrc|\.eslintignore|tsconfig\.json|Makefile|Gulpfile\.js|Gruntfile\.js|karma\.conf\.js)$`)
	nodeSource = regexp.MustCompile(`\.(?:js|cjs|mjs|json)$`)
)

// trim leaves out what functions don't need.
func (b *builder) trim(ctx context.Context, files *tree) error {
	before := files.size()
	var err error
	switch b.target.family {
	case "python":
		err = b.trimPython(files)
	case "nodejs":
		err = b.trimNode(files)
	case "ruby":
		trimRuby(files)
	}
	if err != nil {
		return err
	}
	if err := b.strip(ctx, files); err != nil {
		return err
	}
	b.note("trimmed from %d to %d bytes", before, files.size())
	return nil
}

func (b *builder) trimPython(files *tree) error {
	if err := files.dropExtras(pythonExtra, func(f *file) bool { return path.Ext(f.name) == ".py" }, pythonMentions); err != nil {
		return err
	}
	files.remove(func(f *file) bool {
		if !strings.HasPrefix(f.name, "python/") {
			return false
		}
		below := strings.TrimPrefix(f.name, "python/")
		if info, rest, ok := strings.Cut(below, ".dist-info/"); ok && !strings.Contains(info, "/") {
			return !keptInfo.MatchString(rest)
		}
		return typeFile.MatchString(f.name) || nodeTypes.MatchString(f.name) || strings.HasPrefix(below, "share/man/") || strings.HasPrefix(below, "share/doc/")
	})
	for i := range files.files {
		f := &files.files[i]
		if !isDistInfo(path.Dir(f.name)) || path.Base(f.name) != "METADATA" {
			continue
		}
		text, err := f.read()
		if err != nil {
			return err
		}
		// Behind the first empty line is the description.
		if head, _, ok := bytes.Cut(text, []byte("\n\n")); ok {
			f.replace(append(bytes.Clone(head), '\n'))
		}
	}
	return nil
}

// pythonExtra returns the outermost extra directory that a file is in, or "".
func pythonExtra(name string) string {
	parts := strings.Split(name, "/")
	for n := 1; parts[0] == "python" && n < len(parts)-1; n++ {
		if slices.Contains(pythonExtras, parts[n]) {
			return strings.Join(parts[:n+1], "/")
		}
	}
	return ""
}

// nodeExtra is that for Node.js: of a package its own directories only, since
// dist/doc and the like are code.
func nodeExtra(name string) string {
	dir, ok := moduleOf(name)
	if !ok {
		return ""
	}
	first, _, ok := strings.Cut(strings.TrimPrefix(name, dir+"/"), "/")
	if !ok || !slices.Contains(nodeExtras, first) {
		return ""
	}
	return dir + "/" + first
}

// pythonMentions returns what looks for code that refers to a directory: by its
// dotted name, relative to where it is, or as a path.
func pythonMentions(dir string) *regexp.Regexp {
	dotted := regexp.QuoteMeta(strings.ReplaceAll(strings.TrimPrefix(dir, "python/"), "/", "."))
	base := regexp.QuoteMeta(path.Base(dir))
	return regexp.MustCompile(`\b` + dotted + `\b|from\s+\.+` + base + `\b|from\s+\.+\s+import\s[^\n]*\b` + base + `\b|["']` + base + `/`)
}

// nodeMentions is that for JavaScript: './test/x', "docs".
func nodeMentions(dir string) *regexp.Regexp {
	base := regexp.QuoteMeta(path.Base(dir))
	return regexp.MustCompile("[\"'`](?:\\.{0,2}/)*" + base + "(?:/[^\"'`\\n]*)?[\"'`]")
}

// maxMentions bounds the text that is searched for each package.
const maxMentions = 64 << 20

// dropExtras leaves out the directories that extraOf names for the files in them,
// unless a text file of the same package, outside of those, refers to them.
func (t *tree) dropExtras(extraOf func(name string) string, isText func(*file) bool, mentions func(dir string) *regexp.Regexp) error {
	dirs := map[string][]int{} // the files that each has
	for i := range t.files {
		if dir := extraOf(t.files[i].name); dir != "" {
			dirs[dir] = append(dirs[dir], i)
		}
	}
	inside := make([]bool, len(t.files))
	byScope := map[string][]string{}
	for dir, list := range dirs {
		for _, i := range list {
			inside[i] = true
		}
		byScope[scopeOf(dir)] = append(byScope[scopeOf(dir)], dir)
	}
	drop := map[int]bool{}
	for _, scope := range sortedKeys(byScope) {
		patterns := map[string]*regexp.Regexp{}
		for _, dir := range byScope[scope] {
			patterns[dir] = mentions(dir)
		}
		var read int64
		for i := range t.files {
			f := &t.files[i]
			if inside[i] || !strings.HasPrefix(f.name, scope) || !isText(f) || f.dir || f.target != "" || len(patterns) == 0 {
				continue
			}
			if read += f.size; read > maxMentions || f.size > maxText {
				clear(patterns) // unread code may refer to any of them
				break
			}
			text, err := f.read()
			if err != nil {
				return err
			}
			for dir, pattern := range patterns {
				if bytes.Contains(text, []byte(path.Base(dir))) && pattern.Match(text) {
					delete(patterns, dir)
				}
			}
		}
		for dir := range patterns {
			for _, i := range dirs[dir] {
				drop[i] = true
			}
		}
	}
	i := -1
	t.remove(func(*file) bool { i++; return drop[i] })
	return nil
}

// scopeOf returns the directory, with a slash, of the package that another is in:
// for Node.js that with the package.json, for Python the first below python/.
func scopeOf(dir string) string {
	if module, ok := moduleOf(dir + "/x"); ok {
		return module + "/"
	}
	parts := strings.Split(dir, "/")
	if len(parts) > 2 {
		return strings.Join(parts[:2], "/") + "/"
	}
	return parts[0] + "/"
}

func (b *builder) trimNode(files *tree) error {
	const top = "nodejs/node_modules/"
	names := func(f *file) (dir, rest string) {
		dir, ok := moduleOf(f.name)
		if !ok {
			return "", ""
		}
		return dir, strings.TrimPrefix(f.name, dir+"/")
	}
	if err := files.dropExtras(nodeExtra, func(f *file) bool { return nodeSource.MatchString(f.name) }, nodeMentions); err != nil {
		return err
	}
	right := map[string]bool{} // packages with a native part for the target
	machine := map[string]string{}
	for i := range files.files {
		f := &files.files[i]
		if path.Ext(f.name) != ".node" {
			continue
		}
		is, err := machineOf(f)
		if err != nil {
			return err
		}
		machine[f.name] = is
		if dir, _ := names(f); is == b.target.machine() {
			right[dir] = true
		}
	}
	files.remove(func(f *file) bool {
		if !strings.HasPrefix(f.name, top) {
			return false
		}
		if strings.Contains(f.name, "/node_modules/.bin/") {
			return true
		}
		dir, rest := names(f)
		if dir == "" {
			return false
		}
		if is, native := machine[f.name]; native {
			return right[dir] && is != b.target.machine()
		}
		return nodeTypes.MatchString(f.name) || readme.MatchString(rest) || nodeConfig.MatchString(rest)
	})
	return nil
}

func trimRuby(files *tree) {
	files.remove(func(f *file) bool {
		_, rest, ok := strings.Cut(f.name, "/gems/")
		parts := strings.Split(rest, "/")
		if !ok || len(parts) < 4 || parts[1] != "gems" { // ruby/gems/3.3.0/gems/NAME/…
			return false
		}
		if len(parts) > 4 {
			return slices.Contains(rubyExtras, parts[3])
		}
		return readme.MatchString(parts[3])
	})
}

// strip leaves debugging information out of shared libraries, where a tool for
// the architecture is at hand.
func (b *builder) strip(ctx context.Context, files *tree) error {
	var fat []*file
	for i := range files.files {
		f := &files.files[i]
		machine, err := machineOf(f)
		if err != nil {
			return err
		}
		if machine == b.target.machine() && debugInfo(f) {
			fat = append(fat, f)
		}
	}
	if len(fat) == 0 {
		return nil
	}
	tool, err := b.findStrip()
	if err != nil {
		return err
	}
	if tool == "" {
		b.note("%d native files keep their debugging information: there is no strip for %s in PATH", len(fat), b.target.arch)
		return nil
	}
	dir := filepath.Join(b.work, "strip")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open a temporary directory: %w", err)
	}
	files.roots = append(files.roots, root)
	stripped, saved := 0, int64(0)
	for i, f := range fat {
		name := strconv.Itoa(i)
		at := filepath.Join(dir, name)
		if err := f.copyTo(at); err != nil {
			return fmt.Errorf("strip %s: %w", f.name, err)
		}
		_, err := b.tools.run(ctx, command{name: "strip", argv: []string{tool, "--strip-debug", at}, dir: dir, quiet: true})
		if _, failed := errors.AsType[*ToolError](err); failed {
			continue // it stays as it is
		}
		if err != nil {
			return err
		}
		info, err := os.Stat(at)
		if err != nil {
			return fmt.Errorf("strip %s: %w", f.name, err)
		}
		if info.Size() >= f.size || !loadable(at) {
			continue
		}
		stripped, saved = stripped+1, saved+f.size-info.Size()
		f.root, f.path, f.size, f.body = root, name, info.Size(), nil
	}
	b.note("%s took %d bytes of debugging information out of %d native files", filepath.Base(tool), saved, stripped)
	return nil
}

// findStrip returns a strip that knows the architecture: llvm's knows all.
func (b *builder) findStrip() (string, error) {
	if _, ok := b.Tools["strip"]; ok {
		return b.tools.find("strip")
	}
	names := []string{b.target.machine() + "-linux-gnu-strip", "llvm-strip"}
	if b.target.isHost() {
		names = append([]string{"strip"}, names...)
	}
	if runtime.GOOS != "linux" {
		names = []string{"llvm-strip"} // macOS has a strip of its own format
	}
	for _, name := range names {
		if found, err := b.tools.lookPath(name); err == nil {
			return found, nil
		}
	}
	return "", nil
}

// debugInfo reports whether native code has debugging information.
func debugInfo(f *file) (has bool) {
	in, err := f.open()
	if err != nil {
		return false
	}
	defer in.Close()
	at, ok := in.(io.ReaderAt)
	if !ok || f.size > maxELF {
		return false
	}
	defer func() {
		if recover() != nil { // as in glibcOf
			has = false
		}
	}()
	e, err := elf.NewFile(at)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(e.Sections, func(s *elf.Section) bool {
		return strings.HasPrefix(s.Name, ".debug_") || strings.HasPrefix(s.Name, ".zdebug_")
	})
}

// loadable reports whether the loader takes what strip has made: old ones spoil
// libraries that wheels bring along, whose segments were moved before.
func loadable(at string) (fine bool) {
	f, err := os.Open(at)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false
	}
	defer func() {
		if recover() != nil { // as in glibcOf
			fine = false
		}
	}()
	e, err := elf.NewFile(f)
	if err != nil {
		return false
	}
	for _, p := range e.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		if p.Off+p.Filesz > uint64(info.Size()) || p.Align > 1 && p.Off%p.Align != p.Vaddr%p.Align {
			return false
		}
	}
	return true
}
