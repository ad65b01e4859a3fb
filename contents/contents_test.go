package contents_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/contents"
	"github.com/lamina-run/lamina/internal/testkit"
)

func read(t testing.TB, data []byte) *contents.Tree {
	t.Helper()
	tree, err := contents.Read(t.Context(), bytes.NewReader(data), int64(len(data)), lamina.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func tree(t testing.TB, files ...testkit.File) *contents.Tree {
	t.Helper()
	return read(t, testkit.Zip(t, files...))
}

func paths(entries []contents.Entry) []string {
	var out []string
	for _, e := range entries {
		name := e.Path
		switch e.Kind {
		case lamina.ArchiveDirectory:
			name += "/"
		case lamina.ArchiveSymlink:
			name += " -> " + e.Target
		}
		out = append(out, name)
	}
	return out
}

func TestTree(t *testing.T) {
	t.Parallel()
	got := tree(t,
		testkit.File{Name: "b/d/file", Body: "old"},
		testkit.File{Name: "b-c", Body: "x"},
		testkit.File{Name: "b/"},
		testkit.File{Name: `win\dows`, Body: "x"},
		testkit.File{Name: "b/link", Link: "../b-c"},
		testkit.File{Name: "b/d/file", Body: "newer"},
		testkit.File{Name: "empty/"},
	)
	want := []string{"b/", "b/d/", "b/d/file", "b/link -> ../b-c", "b-c", "empty/", `win\dows`}
	if diff := cmp.Diff(want, paths(got.Entries)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if got.Files != 3 || got.Directories != 3 || got.Symlinks != 1 || !slices.Equal(got.Overwritten, []string{"b/d/file"}) {
		t.Errorf("%d files, %d directories, %d symlinks, overwritten %q; want 3, 3, 1, b/d/file", got.Files, got.Directories, got.Symlinks, got.Overwritten)
	}
	// As the limit counts: what is overwritten, too, and the target of the symlink.
	if want := int64(len("old") + len("x") + len("x") + len("../b-c") + len("newer")); got.Size != want {
		t.Errorf("Size = %d; want %d", got.Size, want)
	}
	if e, ok := got.Lookup("b/d"); !ok || !e.Implied || e.Mode != 0o755 {
		t.Errorf("Lookup(b/d) = %+v, %t; want an implied directory", e, ok)
	}
	if e, ok := got.Lookup("b"); !ok || e.Implied {
		t.Errorf("Lookup(b) = %+v, %t; want a directory with an entry", e, ok)
	}
	if _, ok := got.Lookup("b/absent"); ok {
		t.Error("Lookup(b/absent) finds something")
	}
	for dir, want := range map[string][]string{"": {"b/", "b-c", "empty/", `win\dows`}, "b": {"b/d/", "b/link -> ../b-c"}, "empty": nil, "absent": nil, "b-c": nil} {
		if diff := cmp.Diff(want, paths(got.Children(dir))); diff != "" {
			t.Errorf("Children(%q) (-want +got):\n%s", dir, diff)
		}
	}
	if s := got.Sum("b"); s.Files != 2 || s.Size != int64(len("newer")+len("../b-c")) || s.Compressed == 0 {
		t.Errorf("Sum(b) = %+v; want 2 files of 11 bytes", s)
	}
	var body bytes.Buffer
	e, _ := got.Lookup("b/d/file")
	if err := e.Copy(t.Context(), &body); err != nil || body.String() != "newer" {
		t.Errorf("Copy() = %q, %v; want newer", body.String(), err)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	got := tree(t,
		testkit.File{Name: "a/file"},
		testkit.File{Name: "up", Link: "a/../a/file"},
		testkit.File{Name: "a/down", Link: "../b"},
		testkit.File{Name: "b/x/y"},
		testkit.File{Name: "opt", Link: "/opt/b/x"},
		testkit.File{Name: "out", Link: "/usr/lib"},
		testkit.File{Name: "above", Link: "../etc"},
		testkit.File{Name: "loop", Link: "loop"},
		testkit.File{Name: "gone", Link: "a/absent"},
		testkit.File{Name: "root", Link: "/opt"},
	)
	for path, want := range map[string]string{
		"a/file": "a/file", "up": "a/file", "a/down/x": "b/x", "opt/y": "b/x/y", "root/a": "a", "root": "",
		"out": "outside", "above": "outside", "loop": "nothing", "gone": "nothing", "a/file/x": "nothing",
	} {
		at, outside, ok := got.Resolve(path)
		switch {
		case !ok && outside:
			at = "outside"
		case !ok:
			at = "nothing"
		}
		if at != want {
			t.Errorf("Resolve(%s) = %q; want %q", path, at, want)
		}
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	same := strings.Repeat("same bytes ", 1000)
	a := tree(t,
		testkit.File{Name: "same", Body: same}, testkit.File{Name: "content", Body: "one"}, testkit.File{Name: "mode", Body: "x"},
		testkit.File{Name: "kind", Body: "x"}, testkit.File{Name: "link", Link: "same"}, testkit.File{Name: "gone/", Body: ""},
		testkit.File{Name: "removed/file", Body: "12345"}, testkit.File{Name: "large", Body: "x"},
	)
	b := read(t, slices.Concat(testkit.Zip(t,
		testkit.File{Name: "new/file", Body: "123"}, testkit.File{Name: "same", Body: same}, testkit.File{Name: "content", Body: "two"},
		testkit.File{Name: "mode", Body: "x", Mode: 0o755}, testkit.File{Name: "kind", Link: "same"}, testkit.File{Name: "link", Link: "mode"},
		testkit.File{Name: "large", Body: "xyz"},
	)))
	d, err := contents.Compare(t.Context(), a, b)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range d.Changes {
		got = append(got, fmt.Sprintf("%s %s %s %+d", c.Kind, c.Path, strings.Join(c.What, "+"), c.Growth()))
	}
	want := []string{
		"changed content content +0", "removed gone  +0", "changed kind kind +3", "changed large content +2", "changed link target +0",
		"changed mode mode +0", "added new/file  +3", "removed removed/file  -5",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if d.Added != 1 || d.Removed != 2 || d.Changed != 5 || d.Same != 1 {
		t.Errorf("%d added, %d removed, %d changed, %d same; want 1, 2, 5, 1", d.Added, d.Removed, d.Changed, d.Same)
	}
}

// TestCompareBytes holds that contents are told apart by their bytes where size
// and checksum are equal, and found equal where they are compressed otherwise.
func TestCompareBytes(t *testing.T) {
	t.Parallel()
	stored := read(t, testkit.RawZip(testkit.Record{Name: "f", Body: "plain text"}))
	deflated := tree(t, testkit.File{Name: "f", Body: "plain text"})
	if d, err := contents.Compare(t.Context(), stored, deflated); err != nil || d.Same != 1 {
		t.Errorf("stored and deflated: %+v, %v; want no change", d, err)
	}
	// Two texts of one length and one CRC-32.
	x, y := collision()
	d, err := contents.Compare(t.Context(), tree(t, testkit.File{Name: "f", Body: x}), tree(t, testkit.File{Name: "f", Body: y}))
	if err != nil || d.Changed != 1 {
		t.Errorf("a collision: %+v, %v; want a change", d, err)
	}
}

// collision returns two texts of the same length and CRC-32: the polynomial, laid
// over the bits of a text, leaves its remainder as it is.
func collision() (string, string) {
	x := []byte("0123456789abcdef")
	y := bytes.Clone(x)
	// The generator with its leading one, in the bit order of CRC-32, least
	// significant bit first: 33 bits from bit 8 on.
	const generator = uint64(0x1db710641)
	for i := range 33 {
		if generator>>uint(32-i)&1 == 0 {
			continue
		}
		bit := 8 + i
		y[bit/8] ^= 1 << (bit % 8)
	}
	return string(x), string(y)
}

func TestMerge(t *testing.T) {
	t.Parallel()
	bottom := tree(t,
		testkit.File{Name: "both/one", Body: "1"}, testkit.File{Name: "file-to-dir", Body: "x"}, testkit.File{Name: "dir-to-file/deep/f", Body: "x"},
		testkit.File{Name: "same", Body: "same"}, testkit.File{Name: "other", Body: "old"}, testkit.File{Name: "sandwich/low", Body: "x"},
		testkit.File{Name: "linked/f", Body: "x"},
	)
	middle := tree(t,
		testkit.File{Name: "both/two", Body: "2"}, testkit.File{Name: "same", Body: "same"}, testkit.File{Name: "sandwich", Body: "a file"},
		testkit.File{Name: "linked", Link: "both"},
	)
	top := tree(t,
		testkit.File{Name: "file-to-dir/f", Body: "x"}, testkit.File{Name: "dir-to-file", Body: "x"}, testkit.File{Name: "other", Body: "new"},
		testkit.File{Name: "sandwich/high", Body: "x"}, testkit.File{Name: "both/one", Body: "one"},
	)
	m := contents.Merge(contents.Layer{Name: "bottom", Tree: bottom}, contents.Layer{Name: "middle", Tree: middle}, contents.Layer{Name: "top", Tree: top})
	var got []string
	for i, e := range m.Entries {
		got = append(got, e.Path+" "+m.Layers[m.From[i]].Name)
	}
	want := []string{
		"both top", "both/one top", "both/two middle", "dir-to-file top", "file-to-dir top", "file-to-dir/f top", "linked middle",
		"other top", "same middle", "sandwich top", "sandwich/high top",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("merged (-want +got):\n%s", diff)
	}
	got = nil
	for _, s := range m.Shadows {
		got = append(got, fmt.Sprintf("%s of %s by %s of %s: %s %t", s.Path, m.Layers[s.Layer].Name, s.ByPath, m.Layers[s.By].Name, s.Reason, s.Same))
	}
	want = []string{
		"both/one of bottom by both/one of top: replaced false",
		"dir-to-file of bottom by dir-to-file of top: file over directory false",
		"dir-to-file/deep of bottom by dir-to-file of top: file over directory false",
		"dir-to-file/deep/f of bottom by dir-to-file of top: file over directory false",
		"file-to-dir of bottom by file-to-dir of top: directory over file false",
		"linked of bottom by linked of middle: file over directory false",
		"linked/f of bottom by linked of middle: file over directory false",
		"other of bottom by other of top: replaced false",
		"same of bottom by same of middle: replaced true",
		"sandwich of middle by sandwich of top: directory over file false",
		"sandwich of bottom by sandwich of middle: file over directory false",
		"sandwich/low of bottom by sandwich of middle: file over directory false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("shadows (-want +got):\n%s", diff)
	}
	if by, ok := m.Giver("both/two"); !ok || by != 1 {
		t.Errorf("Giver(both/two) = %d, %t; want 1", by, ok)
	}
	if hidden := m.HiddenBy("sandwich"); len(hidden) != 2 {
		t.Errorf("HiddenBy(sandwich) = %+v; want two", hidden)
	}
}

func codesOf(all []contents.Mistake) []string {
	var out []string
	for _, m := range all {
		out = append(out, string(m.Code))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// program is the beginning of an ELF file, with texts behind it.
func program(machine elf.Machine, strings ...string) string {
	data := make([]byte, 64)
	copy(data, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(data[16:], uint16(elf.ET_DYN))
	binary.LittleEndian.PutUint16(data[18:], uint16(machine))
	for _, s := range strings {
		data = append(append(append(data, 0), s...), 0)
	}
	return string(data)
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	const amd, arm = elf.EM_X86_64, elf.EM_AARCH64
	python := []string{"python3.12"}
	x86 := []string{"x86_64"}
	file := func(name string) testkit.File { return testkit.File{Name: name, Body: "text of some length"} }
	moded := func(name string, mode fs.FileMode, body string) testkit.File {
		return testkit.File{Name: name, Body: body, Mode: mode}
	}
	for _, c := range []struct {
		name  string
		use   contents.Use
		want  string // codes, then the path of the first
		files []testkit.File
	}{
		{"a good layer for Python", contents.Use{Runtimes: python, Architectures: x86}, "", []testkit.File{
			file("python/pkg/__init__.py"), moded("python/pkg/x.cpython-312-x86_64-linux-gnu.so", 0o755, program(amd, "libc.so.6", "GLIBC_2.34")),
		}},
		{"a good layer for Node.js", contents.Use{Runtimes: []string{"nodejs22.x"}}, "", []testkit.File{file("nodejs/node_modules/left-pad/index.js"), file("nodejs/node_modules/a/node_modules/b/index.js")}},
		{"a good extension", contents.Use{}, "", []testkit.File{moded("extensions/agent", 0o755, program(amd))}},
		{"programs only", contents.Use{Runtimes: python}, "", []testkit.File{moded("bin/ffmpeg", 0o755, program(amd))}},
		{"a good runtime", contents.Use{Runtimes: []string{"provided.al2023"}}, "", []testkit.File{moded("bootstrap", 0o755, "#!/bin/sh\n")}},
		{"a folder around it", contents.Use{Runtimes: python}, "wrapped layer/python", []testkit.File{file("layer/python/pkg/__init__.py")}},
		{"a folder around it, by a Mac", contents.Use{}, "wrapped layer/nodejs", []testkit.File{file("layer/nodejs/node_modules/x/index.js"), file("__MACOSX/layer/._x")}},
		{"packages at the top", contents.Use{Runtimes: python}, "top-level requests", []testkit.File{file("requests/__init__.py"), file("requests-2.0.dist-info/METADATA")}},
		{"packages at the top, nothing declared", contents.Use{}, "top-level requests", []testkit.File{file("requests/__init__.py")}},
		{"node_modules at the top", contents.Use{Runtimes: []string{"nodejs20.x"}}, "top-level node_modules", []testkit.File{file("node_modules/x/index.js")}},
		{"a jar at the top", contents.Use{Runtimes: []string{"java21"}}, "top-level a.jar", []testkit.File{file("a.jar")}},
		{"jars in lib", contents.Use{Runtimes: []string{"java21"}}, "top-level lib/a.jar", []testkit.File{file("lib/a.jar")}},
		{"gems at the top", contents.Use{Runtimes: []string{"ruby3.4"}}, "top-level gems", []testkit.File{file("gems/x/lib/x.rb")}},
		{"site-packages in python", contents.Use{Runtimes: python}, "misplaced python/site-packages", []testkit.File{file("python/site-packages/x/__init__.py")}},
		{"node_modules elsewhere", contents.Use{}, "misplaced nodejs/app/node_modules", []testkit.File{file("nodejs/app/node_modules/x/index.js")}},
		{"the other runtime finds nothing", contents.Use{Runtimes: []string{"python3.12", "nodejs22.x"}}, "nothing-found ", []testkit.File{file("python/x.py")}},
		{"data only", contents.Use{}, "nothing-found ", []testkit.File{file("data/words.txt")}},
		{"an empty zip", contents.Use{}, "nothing-found ", nil},
		{"a zip in a zip", contents.Use{}, "nested-zip layer.zip", []testkit.File{file("layer.zip")}},
		{"another Python", contents.Use{Runtimes: python}, "nothing-found,other-version python/lib/python3.11/site-packages", []testkit.File{file("python/lib/python3.11/site-packages/x.py")}},
		{"another Node.js", contents.Use{Runtimes: []string{"nodejs22.x"}}, "nothing-found,other-version nodejs/node18/node_modules", []testkit.File{file("nodejs/node18/node_modules/x/index.js")}},
		{"another Ruby", contents.Use{Runtimes: []string{"ruby3.4"}}, "nothing-found,other-version ruby/gems/3.2.0", []testkit.File{file("ruby/gems/3.2.0/gems/x.rb")}},
		{"a native module of another Python", contents.Use{Runtimes: python}, "other-version python/x.cpython-311-x86_64-linux-gnu.so", []testkit.File{
			moded("python/x.cpython-311-x86_64-linux-gnu.so", 0o755, program(amd)),
		}},
		{"native modules of several Pythons", contents.Use{Runtimes: python}, "", []testkit.File{
			moded("python/x.cpython-311-x86_64-linux-gnu.so", 0o755, program(amd)), moded("python/x.cpython-312-x86_64-linux-gnu.so", 0o755, program(amd)),
		}},
		{"another architecture", contents.Use{Architectures: x86}, "architecture python/x.so", []testkit.File{moded("python/x.so", 0o644, program(arm))}},
		{"an architecture that Lambda has not", contents.Use{}, "architecture lib/libx.so.1", []testkit.File{moded("lib/libx.so.1", 0o644, program(elf.EM_RISCV))}},
		{"one of two architectures", contents.Use{Architectures: []string{"arm64", "x86_64"}}, "architecture bin/x", []testkit.File{moded("bin/x", 0o755, program(arm))}},
		{"both architectures", contents.Use{Architectures: []string{"arm64", "x86_64"}}, "", []testkit.File{moded("bin/x", 0o755, program(arm)), moded("bin/y", 0o755, program(amd))}},
		{"prebuilds for all", contents.Use{Architectures: x86}, "", []testkit.File{moded("nodejs/node_modules/x/prebuilds/linux-arm64/x.node", 0o755, program(arm))}},
		{"an object file", contents.Use{Architectures: x86}, "", []testkit.File{moded("python/x.so", 0o644, strings.Replace(program(arm), "\x03\x00\xb7", "\x01\x00\xb7", 1))}},
		{"macOS", contents.Use{}, "platform python/x.so", []testkit.File{moded("python/x.so", 0o755, "\xcf\xfa\xed\xfe"+strings.Repeat("\x00", 60))}},
		{"Windows", contents.Use{}, "platform python/x.pyd", []testkit.File{moded("python/x.pyd", 0o755, "MZ"+strings.Repeat("\x00", 60))}},
		{"launchers of pip", contents.Use{}, "", []testkit.File{moded("python/pip/t64.exe", 0o755, "MZ"+strings.Repeat("\x00", 60))}},
		{"musl", contents.Use{}, "platform python/x.so", []testkit.File{moded("python/x.so", 0o755, program(amd, "libc.musl-x86_64.so.1"))}},
		{"a newer glibc", contents.Use{Runtimes: []string{"python3.11"}}, "c-library python/x.so", []testkit.File{moded("python/x.so", 0o755, program(amd, "libc.so.6", "GLIBC_2.2.5", "GLIBC_2.28"))}},
		{"a mode that nobody else can read", contents.Use{}, "unreadable python/x.py", []testkit.File{moded("python/x.py", 0o600, "x")}},
		{"an extension that can't be run", contents.Use{}, "not-executable extensions/agent", []testkit.File{moded("extensions/agent", 0o644, "#!/bin/sh\n")}},
		{"a program that can't be run", contents.Use{}, "not-executable bin/tool", []testkit.File{moded("bin/tool", 0o644, "#!/bin/sh\n"), moded("bin/README", 0o644, "text")}},
		{"a bootstrap that can't be run", contents.Use{Runtimes: []string{"provided.al2023"}}, "not-executable bootstrap", []testkit.File{moded("bootstrap", 0o644, "x")}},
		{"names by Windows", contents.Use{}, `backslashes,nothing-found python\x.py`, []testkit.File{file(`python\x.py`)}},
		{"a name twice", contents.Use{}, "twice python/x.py", []testkit.File{file("python/x.py"), file("python/x.py")}},
		{"a link to nothing", contents.Use{}, "dangling lib/libx.so", []testkit.File{{Name: "lib/libx.so", Link: "libx.so.1"}}},
		{"a link to the system", contents.Use{}, "", []testkit.File{{Name: "lib/libx.so", Link: "/usr/lib64/libx.so.1"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := tree(t, c.files...).Mistakes(t.Context(), c.use)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Join(codesOf(got), ",")
			if len(got) > 0 {
				path := ""
				for _, m := range got {
					if m.Path != "" {
						path = m.Path
						break
					}
				}
				text += " " + path
			}
			if text != c.want {
				t.Errorf("Mistakes() = %q; want %q\n%+v", text, c.want, got)
			}
			for _, m := range got {
				if m.Text == "" || m.Advice == "" || m.Count < 1 || !strings.HasSuffix(m.Text, ".") {
					t.Errorf("%+v: want a sentence and advice", m)
				}
			}
		})
	}
}

func TestMergedMistakes(t *testing.T) {
	t.Parallel()
	one := tree(t, testkit.File{Name: "python/a.py", Body: "1"}, testkit.File{Name: "python/same.py", Body: "same"}, testkit.File{Name: "x/y", Body: "1"})
	two := tree(t, testkit.File{Name: "python/a.py", Body: "2"}, testkit.File{Name: "python/same.py", Body: "same"}, testkit.File{Name: "x", Body: "1"})
	limits := lamina.DefaultLimits()
	limits.LayersPerFunction, limits.Unzipped = 1, 20
	got := contents.Merge(contents.Layer{Name: "one", Tree: one}, contents.Layer{Name: "two", Tree: two}).Mistakes(contents.Function{Unpacked: 9, Limits: limits})
	var texts []string
	for _, m := range got {
		texts = append(texts, string(m.Code)+": "+m.Text)
	}
	want := []string{
		"too-many-layers: There are 2 layers, and a function can have 1.",
		"over-budget: Code and layers have 21 bytes unzipped, 1 more than the limit of 20.",
		"shadowed: python/a.py of one is replaced by another of two.",
		"hidden: x and 1 more: each of one is hidden by two, which has a file where the other has a folder.",
	}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
}

func TestSearch(t *testing.T) {
	t.Parallel()
	layer := tree(t,
		testkit.File{Name: "python/lib/python3.12/site-packages/a/__init__.py", Body: "x"}, testkit.File{Name: "python/b.py", Body: "xyz"},
		testkit.File{Name: "nodejs", Link: "js"}, testkit.File{Name: "js/node_modules/c/index.js", Body: "x"},
		testkit.File{Name: "java/lib/d.jar", Body: "x"}, testkit.File{Name: "java/lib/readme.txt", Body: "x"}, testkit.File{Name: "bootstrap", Body: "x", Mode: 0o755},
		testkit.File{Name: "bin/tool", Body: "x", Mode: 0o755}, testkit.File{Name: "lib/"},
	)
	find := func(runtime string) string {
		var out []string
		for _, f := range layer.Search(runtime) {
			if f.Present {
				out = append(out, fmt.Sprintf("%s=%s:%d", f.Path, strings.Join(f.Names, "+"), f.Files))
			}
		}
		return strings.Join(out, " ")
	}
	for runtime, want := range map[string]string{
		"python3.12":      "python/lib/python3.12/site-packages=a:1 python=b.py:1 bin=tool:1",
		"python3.13":      "python=b.py:1 bin=tool:1",
		"nodejs22.x":      "nodejs/node_modules=c:1 bin=tool:1",
		"java21":          "java/lib=d.jar:1 bin=tool:1",
		"ruby3.4":         "bin=tool:1",
		"provided.al2023": "bootstrap=:1 bin=tool:1",
		"dotnet8":         "bin=tool:1",
	} {
		if got := find(runtime); got != want {
			t.Errorf("Search(%s) = %q; want %q", runtime, got, want)
		}
	}
	marks := layer.Marks("python3.12", "python3.13")
	if got := strings.Join(marks["python"], " "); got != "python3.12 python3.13" {
		t.Errorf("Marks()[python] = %q; want both", got)
	}
	if all := layer.Marks()["bin"]; len(all) != len(lamina.RuntimesWithLayers()) {
		t.Errorf("Marks()[bin] = %q; want all runtimes", all)
	}
}

func TestHostileZips(t *testing.T) {
	t.Parallel()
	for _, z := range testkit.HostileZips(t) {
		tree, err := contents.Read(t.Context(), bytes.NewReader(z.Zip), int64(len(z.Zip)), lamina.DefaultLimits())
		if !z.Content && err == nil {
			t.Errorf("%s: Read() = %d entries; want it refused", z.Name, len(tree.Entries))
		}
	}
	links := make([]testkit.File, 4200)
	for i := range links {
		links[i] = testkit.File{Name: fmt.Sprint(i), Link: strings.Repeat("x", 4095)}
	}
	data := testkit.Zip(t, links...)
	if _, err := contents.Read(t.Context(), bytes.NewReader(data), int64(len(data)), lamina.DefaultLimits()); err == nil {
		t.Error("17 MB of symlink targets are read; want them refused")
	}
}

// FuzzRead holds that whatever is accepted is a tree, that it is no different from
// itself, and that nothing breaks when it is looked into.
func FuzzRead(f *testing.F) {
	f.Add(testkit.Zip(f, testkit.File{Name: "python/a.py", Body: "x"}, testkit.File{Name: "python/b", Link: "a.py"}, testkit.File{Name: "bin/", Mode: 0o700}))
	f.Add(testkit.Zip(f, testkit.File{Name: "python/x.so", Body: program(elf.EM_AARCH64, "GLIBC_2.99"), Mode: 0o755}, testkit.File{Name: "a-b"}, testkit.File{Name: "a/b"}))
	f.Add(testkit.RawZip(testkit.Record{Name: "a"}, testkit.Record{Name: "a", Body: "x"}, testkit.Record{Name: "a\\b/c"}))
	limits := lamina.DefaultLimits()
	limits.Unzipped, limits.ArchiveEntries = 1<<20, 1000
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := contents.Read(t.Context(), bytes.NewReader(data), int64(len(data)), limits)
		if err != nil {
			return
		}
		for i, e := range tree.Entries {
			if got, ok := tree.Lookup(e.Path); !ok || got.Path != e.Path {
				t.Fatalf("Lookup(%q) = %q, %t", e.Path, got.Path, ok)
			}
			if i > 0 && e.Path == tree.Entries[i-1].Path {
				t.Fatalf("%q is there twice", e.Path)
			}
			if j := strings.LastIndexByte(e.Path, '/'); j >= 0 {
				if dir, ok := tree.Lookup(e.Path[:j]); !ok || !dir.IsDirectory() {
					t.Fatalf("%q is in no directory", e.Path)
				}
				if !slices.ContainsFunc(tree.Children(e.Path[:j]), func(c contents.Entry) bool { return c.Path == e.Path }) {
					t.Fatalf("Children(%q) lacks %q", e.Path[:j], e.Path)
				}
			}
			tree.Resolve(e.Path)
		}
		d, err := contents.Compare(t.Context(), tree, tree)
		if err == nil && len(d.Changes) > 0 {
			t.Fatalf("it differs from itself: %+v", d.Changes)
		}
		other, err := contents.Read(t.Context(), bytes.NewReader(bytes.Clone(data)), int64(len(data)), limits)
		if err != nil {
			t.Fatalf("read again: %v", err)
		}
		if d, err := contents.Compare(t.Context(), tree, other); err == nil && len(d.Changes) > 0 {
			t.Fatalf("it differs from its copy: %+v", d.Changes)
		}
		m := contents.Merge(contents.Layer{Name: "a", Tree: tree}, contents.Layer{Name: "b", Tree: other})
		if diff := cmp.Diff(paths(tree.Entries), paths(m.Entries)); diff != "" {
			t.Fatalf("merged with itself:\n%s", diff)
		}
		for _, r := range []string{"python3.12", "provided.al2023", "java21"} {
			m.Search(r)
		}
		_, _ = tree.Mistakes(t.Context(), contents.Use{Runtimes: []string{"python3.12"}, Architectures: []string{"x86_64"}})
		m.Mistakes(contents.Function{Limits: limits})
	})
}
