package layerbuild

import (
	"archive/zip"
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lay writes files below a directory: "a -> b" is a link, a body that begins with
// #! may be executed.
func lay(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if link, to, ok := strings.Cut(name, " -> "); ok {
			at := filepath.Join(dir, link)
			if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o750), os.Symlink(to, at)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		at := filepath.Join(dir, name)
		mode := os.FileMode(0o640)
		if strings.HasPrefix(files[name], "#!") {
			mode = 0o750
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o750), os.WriteFile(at, []byte(files[name]), mode)); err != nil {
			t.Fatal(err)
		}
	}
}

// buffer is an output in memory.
type buffer struct{ bytes.Buffer }

func (b *buffer) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(b.Bytes()).ReadAt(p, off)
}

// tried is what came of a build.
type tried struct {
	Result
	zip []byte
	err error
	log string
}

func try(t *testing.T, path string, o Options) tried {
	t.Helper()
	var out buffer
	var log bytes.Buffer
	source, err := Find(path, FindOptions{Runtime: o.Runtime})
	if err != nil {
		return tried{err: err}
	}
	o.Source, o.Log, o.Env, o.Temp = source, &log, os.Environ(), t.TempDir()
	if o.Arch == "" {
		o.Arch = X86
	}
	r, err := Build(t.Context(), &out, o)
	if left, _ := os.ReadDir(o.Temp); len(left) > 0 {
		t.Errorf("left behind in the temporary directory: %v", left)
	}
	return tried{Result: r, zip: out.Bytes(), err: err, log: log.String()}
}

// unpack returns what is in a zip: bodies by name; links as "-> to".
func unpack(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	last := ""
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if f.Name < last || !f.Modified.Equal(epoch) {
			t.Errorf("%s of %v comes after %s; want names in order, and the time %v", f.Name, f.Modified, last, epoch)
		}
		last = f.Name
		text := string(body)
		switch f.Mode() {
		case 0o644, os.ModeDir | 0o755:
		case 0o755:
			text = "(x) " + text
		case os.ModeSymlink | 0o777:
			text = "-> " + text
		default:
			t.Errorf("%s has mode %v", f.Name, f.Mode())
		}
		out[f.Name] = text
	}
	return out
}

func check(t *testing.T, got tried, want map[string]string) {
	t.Helper()
	if got.err != nil {
		t.Fatalf("Build = %v\n%s", got.err, got.log)
	}
	if diff := cmp.Diff(want, unpack(t, got.zip)); diff != "" {
		t.Errorf("the zip differs from what is wanted (-want +got):\n%s", diff)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	all := map[string]string{}
	for _, name := range []string{
		"uv/pyproject.toml", "uv/uv.lock", "uv/requirements.txt", "both/pyproject.toml", "both/requirements.txt", "bare/pyproject.toml", "node/package.json", "node/package-lock.json",
		"shrunk/package.json", "shrunk/package-lock.json", "shrunk/npm-shrinkwrap.json", "ruby/Gemfile", "ruby/Gemfile.lock", "java/pom.xml", "mixed/package.json", "mixed/requirements.txt",
		"dir/python/a.py", "dir/requirements.dev.txt", "lone/uv.lock", "binary.exe",
	} {
		all[name] = "x"
	}
	dir := t.TempDir()
	lay(t, dir, all)
	for _, c := range []struct {
		path, runtime string
		plain         bool
		want          string
	}{
		{"uv", "python3.12", false, "pyproject.toml with uv.lock"},
		{"uv/uv.lock", "python3.12", false, "pyproject.toml with uv.lock"},
		{"uv/requirements.txt", "python3.12", false, "requirements.txt"},
		{"uv", "python3.12", true, "directory, taken as it is"},
		{"both", "python3.12", false, "requirements.txt"},
		{"bare", "python3.12", false, "pyproject.toml"},
		{"node", "nodejs22.x", false, "package.json with package-lock.json"},
		{"shrunk", "nodejs22.x", false, "package.json with npm-shrinkwrap.json"},
		{"shrunk/package-lock.json", "nodejs22.x", false, "package.json with package-lock.json"},
		{"ruby", "ruby3.3", false, "Gemfile with Gemfile.lock"},
		{"java", "java21", false, "pom.xml"},
		{"mixed", "python3.12", false, "requirements.txt"},
		{"mixed", "nodejs22.x", false, "package.json"},
		{"dir", "provided.al2023", false, "directory, taken as it is"},
		{"dir/requirements.dev.txt", "python3.12", false, "requirements.dev.txt"},
		{"node", "python3.12", false, "error: node has a package.json, which is not for python3.12"},
		{"node/package.json", "python3.12", false, "error: package.json is not for python3.12"},
		{"node/package.json", "nodejs22.x", true, "error: node/package.json is a file: only a directory can be taken as it is"},
		{"lone/uv.lock", "python3.12", false, "error: find the source: beside uv.lock there is no pyproject.toml"},
		{"binary.exe", "python3.12", false, "error: find the source: binary.exe is no file that names dependencies"},
		{"absent", "python3.12", false, "error: find the source: stat absent: no such file or directory"},
		{"dir", "python9.9", false, `error: runtime "python9.9" is unknown`},
	} {
		s, err := Find(filepath.Join(dir, c.path), FindOptions{Runtime: c.runtime, Plain: c.plain})
		got := s.String()
		if err != nil {
			got = "error: " + strings.ReplaceAll(err.Error(), dir+"/", "")
			if _, ok := errors.AsType[*AdvisedError](err); !ok {
				t.Errorf("Find(%s): %v has no advice", c.path, err)
			}
		}
		if got != c.want {
			t.Errorf("Find(%s, %s) = %s; want %s", c.path, c.runtime, got, c.want)
		}
	}
}

// TestDirectory builds the same files twice, written in another order, with other
// times, at another place.
func TestDirectory(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"python/greet.py": "def greet(): return 1\n", "python/__pycache__/greet.cpython-312.pyc": "stale", "bin/tool": "#!/bin/sh\n", "python/.DS_Store": "x",
		"python/data/ü.txt": "text", "lib/libx.so -> libx.so.1": "", "lib/libx.so.1": "library", ".git/config": "never", "python/up.py -> ../../shared/up.py": "", "python/more -> ../../shared": "",
	}
	want := map[string]string{
		"python/greet.py": "def greet(): return 1\n", "bin/tool": "(x) #!/bin/sh\n", "python/data/ü.txt": "text", "lib/libx.so": "-> libx.so.1", "lib/libx.so.1": "library",
		"python/up.py": "shared", "python/more/up.py": "shared", "python/more/sub/": "",
	}
	var archives [][]byte
	for i := range 2 {
		dir := t.TempDir()
		lay(t, dir, map[string]string{"shared/up.py": "shared"})
		if err := errors.Join(os.Mkdir(filepath.Join(dir, "shared/sub"), 0o700), os.Mkdir(filepath.Join(dir, "layer"), 0o755)); err != nil {
			t.Fatal(err)
		}
		lay(t, filepath.Join(dir, "layer"), files)
		when := time.Date(2001+i, 2, 3, 4, 5, 6, 0, time.UTC)
		if err := errors.Join(os.Chtimes(filepath.Join(dir, "layer/python/greet.py"), when, when), os.Chmod(filepath.Join(dir, "layer/bin/tool"), 0o711|os.FileMode(i)*0o044)); err != nil {
			t.Fatal(err)
		}
		got := try(t, filepath.Join(dir, "layer"), Options{Runtime: "python3.12"})
		check(t, got, want)
		archives = append(archives, got.zip)
		if got.CodeSize != int64(len(got.zip)) || got.UnpackedSize != int64(len("def greet(): return 1\n#!/bin/sh\ntextlibx.so.1librarysharedshared")) || got.Files != 7 {
			t.Errorf("sizes are %d, %d, %d files; want %d, 66, 7", got.CodeSize, got.UnpackedSize, got.Files, len(got.zip))
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two builds of the same files differ")
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, runtime string
		files         []string
		want          []string
	}{
		{"modules for Python", "python3.12", []string{"greet.py", "pkg/__init__.py"}, []string{"python/greet.py", "python/pkg/__init__.py"}},
		{"what pip --prefix leaves", "python3.12", []string{"lib/python3.12/site-packages/a.py", "bin/x"}, []string{"bin/x", "lib/python3.12/site-packages/a.py"}},
		{"what a virtual environment's lib is", "python3.12", []string{"lib/python3.12/site-packages/a.py"}, []string{"python/lib/python3.12/site-packages/a.py"}},
		{"node_modules", "nodejs22.x", []string{"node_modules/a/index.js", "package-lock.txt"}, []string{"nodejs/node_modules/a/index.js", "nodejs/package-lock.txt"}},
		{"a module for Node.js", "nodejs22.x", []string{"greet/index.js"}, []string{"nodejs/node_modules/greet/index.js"}},
		{"jars", "java21", []string{"a.jar"}, []string{"java/lib/a.jar"}},
		{"a module for Ruby", "ruby3.3", []string{"greet.rb"}, []string{"ruby/lib/greet.rb"}},
		{"a runtime", "provided.al2023", []string{"bootstrap"}, []string{"bootstrap"}},
		{"a layer", "nodejs22.x", []string{"nodejs/node_modules/a/index.js", "README"}, []string{"README", "nodejs/node_modules/a/index.js"}},
		{"an extension", "python3.12", []string{"extensions/agent"}, []string{"extensions/agent"}},
		{"a file called like a folder", "python3.12", []string{"bin"}, []string{"python/bin"}},
	} {
		files := map[string]string{}
		for _, name := range c.files {
			files[name] = "x"
		}
		dir := t.TempDir()
		lay(t, dir, files)
		got := try(t, dir, Options{Runtime: c.runtime})
		if got.err != nil {
			t.Errorf("%s: %v", c.name, got.err)
			continue
		}
		if names := slices.Sorted(maps.Keys(unpack(t, got.zip))); !slices.Equal(names, c.want) {
			t.Errorf("%s: the zip has %q; want %q", c.name, names, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"nothing", nil, "there is nothing to put into a layer"},
		{"a name that some tools take for a way out", map[string]string{`python/a\..\..\b.py`: "x"}, "name has .. in it"},
		{"a link in a circle", map[string]string{"python/a.py": "x", "python/up -> HERE": ""}, "it leads to a directory that it is in"},
		{"a link to nothing", map[string]string{"python/a.py": "x", "python/gone -> /nonexistent/file": ""}, "follow the link python/gone"},
		{"a link to a device", map[string]string{"python/a.py": "x", "python/dev -> /dev/null": ""}, "it leads to no file"},
	} {
		dir := filepath.Join(t.TempDir(), "a", "b")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		for name, body := range c.files {
			files[strings.ReplaceAll(name, "-> HERE", "-> "+filepath.Dir(dir))] = body
		}
		lay(t, dir, files)
		if got := try(t, dir, Options{Runtime: "python3.12"}); got.err == nil || !strings.Contains(got.err.Error(), c.want) {
			t.Errorf("%s: Build = %v; want an error with %q", c.name, got.err, c.want)
		}
	}
	dir := t.TempDir()
	lay(t, dir, map[string]string{"python/a.py": "x", "python/large.bin": ""})
	if err := os.Truncate(filepath.Join(dir, "python/large.bin"), 262_144_000); err != nil {
		t.Fatal(err)
	}
	got := try(t, dir, Options{Runtime: "python3.12"})
	if large, ok := errors.AsType[*TooLargeError](got.err); !ok || large.Size != 262_144_001 || got.Packages[0].Name != "python/large.bin" || len(got.zip) > 0 {
		t.Errorf("Build(too large) = %v, %v, %d bytes; want a TooLargeError by one byte, the largest first, and no zip", got.err, got.Packages, len(got.zip))
	}
}

// native returns the least that counts as native code.
func native(machine elf.Machine) string {
	head := make([]byte, 100)
	copy(head, "\x7fELF\x02\x01\x01")
	head[16] = byte(elf.ET_DYN)
	binary.LittleEndian.PutUint16(head[18:], uint16(machine))
	return string(head)
}

func TestTrim(t *testing.T) {
	t.Parallel()
	arm, intel := native(elf.EM_AARCH64), native(elf.EM_X86_64)
	for _, c := range []struct {
		runtime string
		files   map[string]string
		gone    []string
		notes   []string
	}{
		{"python3.12", map[string]string{
			"python/pkg/__init__.py": "from . import docs\n", "python/pkg/docs/__init__.py": "", "python/pkg/tests/test_a.py": "import pkg.tests", "python/pkg/sub/tests/a.py": "", "python/pkg/sub/x.py": "",
			"python/num/core/tests/natype.py": "", "python/num/testing.py": "from num.core.tests.natype import x\n", "python/num/tests/a.py": "", "python/num/a.pyi": "", "python/num/py.typed": "",
			"python/pkg-1.dist-info/METADATA": "Name: pkg\nVersion: 1\n\nLong text", "python/pkg-1.dist-info/RECORD": "pkg/__init__.py,,\n", "python/pkg-1.dist-info/WHEEL": "x",
			"python/pkg-1.dist-info/licenses/LICENSE": "free", "python/pkg-1.dist-info/entry_points.txt": "[x]", "python/pkg-1.dist-info/sboms/a.json": "{}",
			"python/pkg/fast.so": arm, "bin/tests/keep": "x",
		}, []string{
			"python/pkg/tests/test_a.py", "python/pkg/sub/tests/a.py", "python/num/tests/a.py", "python/num/a.pyi", "python/num/py.typed", "python/pkg-1.dist-info/RECORD", "python/pkg-1.dist-info/WHEEL",
			"python/pkg-1.dist-info/sboms/a.json",
		}, []string{"trimmed from ", "native code that is not for x86_64, and none that is: python/pkg"}},
		{"nodejs22.x", map[string]string{
			"nodejs/node_modules/a/package.json": `{"main":"index.js"}`, "nodejs/node_modules/a/index.js": "require('./docs/x'); require('./lib')", "nodejs/node_modules/a/docs/x.js": "", "nodejs/node_modules/a/test/t.js": "",
			"nodejs/node_modules/a/lib/doc/y.js": "", "nodejs/node_modules/a/index.d.ts": "", "nodejs/node_modules/a/index.js.map": "", "nodejs/node_modules/a/README.md": "", "nodejs/node_modules/a/LICENSE": "free",
			"nodejs/node_modules/test/package.json": "{}", "nodejs/node_modules/test/index.js": "", "nodejs/node_modules/@s/b/example/x.js": "", "nodejs/node_modules/@s/b/i.js": "", "nodejs/node_modules/.bin/a": "#!x",
			"nodejs/node_modules/c/prebuilds/linux-arm64/c.node": arm, "nodejs/node_modules/c/prebuilds/linux-x64/c.node": intel, "nodejs/node_modules/c/prebuilds/win32-x64/c.node": "MZ",
			"nodejs/node_modules/c/node_modules/d/README": "", "nodejs/node_modules/c/node_modules/d/d.js": "",
		}, []string{
			"nodejs/node_modules/a/test/t.js", "nodejs/node_modules/a/index.d.ts", "nodejs/node_modules/a/index.js.map", "nodejs/node_modules/a/README.md", "nodejs/node_modules/@s/b/example/x.js", "nodejs/node_modules/.bin/a",
			"nodejs/node_modules/c/prebuilds/linux-arm64/c.node", "nodejs/node_modules/c/prebuilds/win32-x64/c.node", "nodejs/node_modules/c/node_modules/d/README",
		}, []string{"trimmed from "}},
		{"ruby3.3", map[string]string{
			"ruby/gems/3.3.0/gems/a-1/lib/a.rb": "", "ruby/gems/3.3.0/gems/a-1/lib/test/b.rb": "", "ruby/gems/3.3.0/gems/a-1/spec/a.rb": "", "ruby/gems/3.3.0/gems/a-1/README.md": "", "ruby/gems/3.3.0/specifications/a-1.gemspec": "",
		}, []string{"ruby/gems/3.3.0/gems/a-1/spec/a.rb", "ruby/gems/3.3.0/gems/a-1/README.md"}, []string{"trimmed from "}},
	} {
		dir := t.TempDir()
		lay(t, dir, c.files)
		got := try(t, dir, Options{Runtime: c.runtime, Trim: true})
		if got.err != nil {
			t.Errorf("%s: %v", c.runtime, got.err)
			continue
		}
		left := unpack(t, got.zip)
		var gone []string
		for name := range c.files {
			if _, ok := left[name]; !ok {
				gone = append(gone, name)
			}
		}
		slices.Sort(gone)
		slices.Sort(c.gone)
		if diff := cmp.Diff(c.gone, gone); diff != "" {
			t.Errorf("%s: trimming takes out other files than it should (-want +got):\n%s", c.runtime, diff)
		}
		if c.runtime == "python3.12" && left["python/pkg-1.dist-info/METADATA"] != "Name: pkg\nVersion: 1\n" {
			t.Errorf("METADATA = %q; want it without its text", left["python/pkg-1.dist-info/METADATA"])
		}
		for i, want := range c.notes {
			if len(got.Notes) != len(c.notes) || !strings.HasPrefix(got.Notes[i], want) {
				t.Errorf("%s: notes are %q; want them to begin %q", c.runtime, got.Notes, c.notes)
				break
			}
		}
	}
}

// fake writes a tool: a shell script that notes how it was called in the file
// calls beside it.
func fake(t *testing.T, script string) (path string, calls func() string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "tool")
	text := "#!/bin/sh\nprintf '%s\\n' \"$*\" >> '" + dir + "/calls'\n" + script
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path, func() string {
		text, _ := os.ReadFile(filepath.Join(dir, "calls")) // none when it was not called
		return string(text)
	}
}

func wantCalls(t *testing.T, calls string, want ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(calls), "\n")
	if len(lines) != len(want) {
		t.Fatalf("calls are %q; want %d", lines, len(want))
	}
	for i, one := range want {
		for _, part := range strings.Split(one, " … ") {
			if !strings.Contains(" "+lines[i]+" ", " "+part+" ") {
				t.Errorf("call %d is %q; want %q in it", i+1, lines[i], part)
			}
		}
	}
}

const fakePip = `
if [ "$1" = --version ]; then echo "pip 24.0 from /x (python 3.10)"; exit; fi
while [ "$1" != --target ]; do shift; done
cd "$2" && mkdir -p pkg pkg/__pycache__ Pkg_x-1.0.dist-info bin
echo 'x = 1' >pkg/__init__.py
echo stale >pkg/__pycache__/__init__.pyc
printf '#!/some/where/bin/python3.10\nimport pkg\n' >bin/one
printf "#!/bin/sh\n'''exec' /very/long/python3 \"\$0\" \"\$@\"\n' '''\nimport pkg\n" >bin/two
printf '#!/bin/sh\necho\n' >bin/three
chmod +x bin/*
for f in INSTALLER REQUESTED direct_url.json; do echo "$PWD" >Pkg_x-1.0.dist-info/$f; done
printf 'Name: Pkg-X\n' >Pkg_x-1.0.dist-info/METADATA
printf 'pkg/__init__.py,sha256=abc,6\n../../bin/one,sha256=%s,9\npkg/__pycache__/__init__.pyc,,\nPkg_x-1.0.dist-info/INSTALLER,,\nPkg_x-1.0.dist-info/RECORD,,\n../../../etc/passwd,,\n' "$PWD" >Pkg_x-1.0.dist-info/RECORD
`

// TestPip has a pip that leaves what depends on place and time.
func TestPip(t *testing.T) {
	t.Parallel()
	pip, calls := fake(t, fakePip)
	dir := t.TempDir()
	lay(t, dir, map[string]string{"requirements.txt": "pkg-x\n"})
	o := Options{Runtime: "python3.12", Arch: ARM, Tools: map[string]string{"pip": pip}}
	first, second := try(t, dir, o), try(t, filepath.Join(dir, "requirements.txt"), o)
	check(t, first, map[string]string{
		"python/pkg/__init__.py": "x = 1\n", "python/bin/one": "(x) #!/usr/bin/env python3\nimport pkg\n", "python/bin/two": "(x) #!/usr/bin/env python3\nimport pkg\n", "python/bin/three": "(x) #!/bin/sh\necho\n",
		"python/Pkg_x-1.0.dist-info/METADATA": "Name: Pkg-X\n",
		"python/Pkg_x-1.0.dist-info/RECORD":   "Pkg_x-1.0.dist-info/RECORD,,\nbin/one,sha256=qncAZrGfJVj-ZCwdLYoXKaOtDx7Px39VbFfqM3fl4HA,34\npkg/__init__.py,sha256=abc,6\n",
	})
	if !bytes.Equal(first.zip, second.zip) {
		t.Error("two builds differ")
	}
	if first.Tool != "pip 24.0" || first.Packages[0].Name != "Pkg_x" || first.Packages[0].Version != "1.0" || first.Packages[0].Files != 4 {
		t.Errorf("result = %s, %+v; want pip 24.0, and four files of Pkg_x 1.0", first.Tool, first.Packages)
	}
	if notes := strings.Join(first.Notes, "\n"); !strings.Contains(notes, "does not fix the version of Pkg_x") || !strings.Contains(notes, "Python 3.10") {
		t.Errorf("notes = %q; want the version that is not fixed, and the Python", notes)
	}
	const install = "--only-binary :all: … --implementation cp --python-version 3.12.7 --abi cp312 … --platform manylinux_2_34_aarch64 --platform manylinux_2_33_aarch64 … --platform manylinux2014_aarch64 --platform linux_aarch64 … --no-compile"
	wantCalls(t, calls(), "--version", install, "--version", install)

	old, _ := fake(t, `echo "pip 19.3 from /x (python 3.6)"`)
	o.Tools["pip"] = old
	if got := try(t, dir, o); got.err == nil || !strings.Contains(got.err.Error(), "pip 19.3 is too old") {
		t.Errorf("Build(old pip) = %v; want it to be too old", got.err)
	}
	o.Tools["pip"] = filepath.Join(dir, "absent")
	if got := try(t, dir, o); got.err == nil || !strings.Contains(got.err.Error(), "find pip") {
		t.Errorf("Build(absent pip) = %v; want it not to be found", got.err)
	}
}

// TestFromSource has a pip that finds no wheel until one was built.
func TestFromSource(t *testing.T) {
	t.Parallel()
	const script = `
if [ "$1" = --version ]; then echo "pip 24.0 from /x (python 3.12)"; exit; fi
if [ "$1" = wheel ]; then while [ "$1" != --wheel-dir ]; do shift; done; mkdir -p "$2"; touch "$2/$WHEEL"; exit; fi
case "$*" in *--find-links*) [ "$WHEEL" = right ] && good=1;; esac
if [ -z "$good" ]; then echo "ERROR: No matching distribution found for old-thing==1.0" >&2; exit 1; fi
while [ "$1" != --target ]; do shift; done
echo >"$2/old.py"
`
	dir := t.TempDir()
	lay(t, dir, map[string]string{"requirements.txt": "old-thing==1.0\n"})
	for _, c := range []struct {
		name, wheel string
		fromSource  bool
		want        string
	}{
		{"another machine", "right", false, "old-thing==1.0 has no wheel for python3.12 on arm64: run pip: exit status 1: ERROR: No matching distribution"},
		{"Python only", "right", true, ""},
		{"of this machine", "wrong", true, "what its source makes on this machine is not for it either"},
	} {
		pip, calls := fake(t, "WHEEL="+c.wheel+"\n"+script)
		got := try(t, dir, Options{Runtime: "python3.12", Arch: ARM, host: X86, FromSource: c.fromSource, Tools: map[string]string{"pip": pip}})
		if c.want == "" && got.err != nil || c.want != "" && (got.err == nil || !strings.Contains(got.err.Error(), c.want)) {
			t.Errorf("%s: Build = %v; want %q", c.name, got.err, c.want)
		}
		if c.fromSource {
			wantCalls(t, calls(), "--version", "install", "wheel … --no-deps --no-binary old-thing … old-thing==1.0", "install … --find-links")
		}
	}
}

// TestUV has a uv that reads a lock file.
func TestUV(t *testing.T) {
	t.Parallel()
	uv, calls := fake(t, `
case "$1" in
--version) echo "uv 0.9.18 (abc)";;
export) while [ "$1" != --output-file ]; do shift; done; echo six==1.16.0 >"$2";;
pip) while [ "$1" != --target ]; do shift; done; touch "$2/six.py" "$2/.lock";;
esac
`)
	dir := t.TempDir()
	lay(t, dir, map[string]string{"pyproject.toml": "[project]\n", "uv.lock": "version = 1\n"})
	got := try(t, dir, Options{Runtime: "python3.11", Arch: ARM, Tools: map[string]string{"uv": uv}})
	check(t, got, map[string]string{"python/six.py": ""})
	if got.Tool != "uv 0.9.18" || len(got.Notes) > 0 {
		t.Errorf("result = %s, %q; want uv 0.9.18, and nothing to note", got.Tool, got.Notes)
	}
	wantCalls(t, calls(), "--version", "export --frozen --no-dev … --no-emit-project", "pip install … --python-version 3.11 --python-platform aarch64-manylinux_2_17")
}

// TestNPM has an npm that installs what it is told by the project.
func TestNPM(t *testing.T) {
	t.Parallel()
	const script = `
if [ "$1" = --version ]; then echo 11.2.0; exit; fi
[ -e tree/own.js ] && [ ! -e node_modules ] || exit 9 # all of the project, but for what was installed before
cp -r "$INSTALLS/." .; [ -z "$FAIL" ] || { echo "npm error code $FAIL"; exit 1; }
`
	arm, intel := native(elf.EM_AARCH64), native(elf.EM_X86_64)
	for _, c := range []struct {
		name  string
		files map[string]string // that npm installs
		fail  string
		want  string // in the error
		notes string
		zip   map[string]string
	}{
		{name: "plain", files: map[string]string{
			"node_modules/a/package.json": `{"version":"1.2.3"}`, "node_modules/a/x.js": "1", "node_modules/.package-lock.json": `{"packages":{}}`, "node_modules/.bin/a -> ../a/x.js": "", "node_modules/.cache/x": "1",
		}, zip: map[string]string{"nodejs/node_modules/a/package.json": `{"version":"1.2.3"}`, "nodejs/node_modules/a/x.js": "1", "nodejs/node_modules/.bin/a": "-> ../a/x.js"}},
		{
			name: "install script", files: map[string]string{"node_modules/@s/a/package.json": `{"scripts":{"postinstall":"x"}}`}, notes: "install scripts were not run, since they would be for this machine: those of @s/a",
			zip: map[string]string{"nodejs/node_modules/@s/a/package.json": `{"scripts":{"postinstall":"x"}}`},
		},
		{name: "compiles itself", files: map[string]string{"node_modules/a/package.json": `{}`, "node_modules/a/binding.gyp": "{}"}, want: "a compiles itself when it is installed, which this machine can't do for arm64"},
		{
			name: "compiles itself, with a prebuilt", files: map[string]string{"node_modules/a/binding.gyp": "{}", "node_modules/a/prebuilds/linux-arm64/a.node": arm},
			zip: map[string]string{"nodejs/node_modules/a/binding.gyp": "{}", "nodejs/node_modules/a/prebuilds/linux-arm64/a.node": arm},
		},
		{name: "prebuilt for others only", files: map[string]string{"node_modules/a/a.node": intel}, want: "a has nothing that runs on arm64: a.node is for x86_64"},
		{
			name: "optional that compiles itself", files: map[string]string{"node_modules/a/binding.gyp": "{}", "node_modules/.package-lock.json": `{"packages":{"node_modules/a":{"optional":true}}}`},
			notes: "optional packages without their native part, which is compiled when they are installed: a", zip: map[string]string{"nodejs/node_modules/a/binding.gyp": "{}"},
		},
		{
			name: "lock of another machine", files: map[string]string{"node_modules/e/package.json": `{"optionalDependencies":{"@e/linux-arm64":"1","@e/linux-x64":"1"}}`, "node_modules/@e/linux-x64/package.json": "{}"},
			want: "e is there without @e/linux-arm64, its native part",
		},
		{name: "package of the project", files: map[string]string{"node_modules/own -> ../tree": ""}, zip: map[string]string{"nodejs/node_modules/own/own.js": "", "nodejs/node_modules/own/same.js": "-> own.js"}},
		{name: "link out", files: map[string]string{"node_modules/a -> /etc": ""}, want: "node_modules/a is a link to /etc, which is outside"},
		{name: "nothing", want: "package.json asks for no packages"},
		{name: "failure", fail: "E404", want: "run npm: exit status 1: npm error code E404"},
	} {
		dir := t.TempDir()
		// The project has a directory of its own, so that all of it is copied.
		lay(t, dir, map[string]string{"package.json": `{"dependencies":{"own":"file:./tree"}}`, "package-lock.json": "{}", "tree/own.js": "", "tree/same.js -> own.js": "", "node_modules/stale/x.js": "never"})
		installs := t.TempDir()
		lay(t, installs, c.files)
		npm, calls := fake(t, "FAIL="+c.fail+"\nINSTALLS='"+installs+"'"+script)
		got := try(t, dir, Options{Runtime: "nodejs22.x", Arch: ARM, host: X86, Tools: map[string]string{"npm": npm}})
		if c.want != "" {
			if got.err == nil || !strings.Contains(got.err.Error(), c.want) {
				t.Errorf("%s: Build = %v; want an error with %q", c.name, got.err, c.want)
			}
			continue
		}
		check(t, got, c.zip)
		if notes := strings.Join(got.Notes, "\n"); notes != c.notes {
			t.Errorf("%s: notes = %q; want %q", c.name, notes, c.notes)
		}
		wantCalls(t, calls(), "--version", "ci --omit=dev … --os=linux --cpu=arm64 --libc=glibc … --ignore-scripts")
	}
	for spec, want := range map[string]string{"file:../up": "outside of the directory of package.json", "/abs": "outside of the directory"} {
		npm, _ := fake(t, script)
		dir := t.TempDir()
		lay(t, dir, map[string]string{"package.json": `{"dependencies":{"own":"` + spec + `"}}`})
		if got := try(t, dir, Options{Runtime: "nodejs22.x", Tools: map[string]string{"npm": npm}}); got.err == nil || !strings.Contains(got.err.Error(), want) {
			t.Errorf("Build(%s) = %v; want an error with %q", spec, got.err, want)
		}
	}
}

// TestMaven has an mvn that copies one jar.
func TestMaven(t *testing.T) {
	t.Parallel()
	mvn, calls := fake(t, `
if [ "$1" = --version ]; then printf '\033[1mApache Maven 3.9.9 (x)\033[m\n'; exit; fi
for a; do case $a in -DoutputDirectory=*) echo jar >"${a#*=}/some-lib-1.2.jar";; esac; done
`)
	dir := t.TempDir()
	lay(t, dir, map[string]string{"pom.xml": "<project/>"})
	got := try(t, dir, Options{Runtime: "java21", Tools: map[string]string{"mvn": mvn}})
	check(t, got, map[string]string{"java/lib/some-lib-1.2.jar": "jar\n"})
	if got.Tool != "mvn 3.9.9" || got.Packages[0].Name != "some-lib" || got.Packages[0].Version != "1.2" {
		t.Errorf("result = %s, %+v; want mvn 3.9.9 and some-lib 1.2", got.Tool, got.Packages)
	}
	wantCalls(t, calls(), "--version", "-f "+filepath.Join(dir, "pom.xml")+" dependency:copy-dependencies -DincludeScope=runtime")
}

// TestTimeout has a tool whose child would go on for long.
func TestTimeout(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lay(t, dir, map[string]string{"pom.xml": "<project/>"})
	mvn, _ := fake(t, `if [ "$1" = --version ]; then exit; fi; sleep 300 & wait`)
	began := time.Now()
	got := try(t, dir, Options{Runtime: "java21", Timeout: 500 * time.Millisecond, Tools: map[string]string{"mvn": mvn}})
	// A child that lives on has the tool's output, for which the build waits 5 seconds.
	if got.err == nil || !strings.Contains(got.err.Error(), "500ms are over") || time.Since(began) > 5*time.Second {
		t.Errorf("Build = %v after %v; want it to be over after half a second", got.err, time.Since(began))
	}
	if _, ok := errors.AsType[*AdvisedError](got.err); !ok || errors.Is(got.err, context.Canceled) {
		t.Errorf("Build = %v; want advice on the time", got.err)
	}
}
