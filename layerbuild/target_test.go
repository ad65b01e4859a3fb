package layerbuild

import (
	"strings"
	"testing"
)

func TestTarget(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		runtime, arch      string
		version            string
		glibc              int
		best, worst        string // platform tags of wheels
		uv, full, searched string
	}{
		{"python3.11", X86, "3.11", 26, "manylinux_2_26_x86_64", "linux_x86_64", "x86_64-manylinux_2_17", "3.11.10", "python"},
		{"python3.12", ARM, "3.12", 34, "manylinux_2_34_aarch64", "linux_aarch64", "aarch64-manylinux_2_34", "3.12.7", "python"},
		{"python3.14", X86, "3.14", 34, "manylinux_2_34_x86_64", "linux_x86_64", "x86_64-manylinux_2_34", "3.14.0", "python"},
		{runtime: "nodejs18.x", arch: ARM, version: "18", glibc: 26, searched: "nodejs/node_modules"},
		{runtime: "nodejs20.x", arch: X86, version: "20", glibc: 34, searched: "nodejs/node_modules"},
		{runtime: "ruby3.2", arch: X86, version: "3.2", glibc: 26, searched: "ruby/lib"},
		{runtime: "ruby3.4", arch: X86, version: "3.4", glibc: 34, searched: "ruby/lib"},
		{runtime: "java8.al2", arch: X86, version: "8", glibc: 26, searched: "java/lib"},
		{runtime: "java21", arch: X86, version: "21", glibc: 34, searched: "java/lib"},
		{runtime: "provided.al2", arch: X86, glibc: 26},
		{runtime: "provided.al2023", arch: ARM, glibc: 34},
	} {
		got, err := newTarget(c.runtime, c.arch)
		if err != nil {
			t.Errorf("newTarget(%s) = %v", c.runtime, err)
			continue
		}
		if got.version != c.version || got.glibc != c.glibc || got.searchPath() != c.searched {
			t.Errorf("%s: version %q, glibc 2.%d, searches %q; want %q, 2.%d, %q", c.runtime, got.version, got.glibc, got.searchPath(), c.version, c.glibc, c.searched)
		}
		if c.best == "" {
			continue
		}
		tags := got.wheelPlatforms()
		if tags[0] != c.best || tags[len(tags)-1] != c.worst || got.uvPlatform() != c.uv || got.pythonFull() != c.full {
			t.Errorf("%s: tags %s … %s, uv %s, full %s; want %s … %s, %s, %s", c.runtime, tags[0], tags[len(tags)-1], got.uvPlatform(), got.pythonFull(), c.best, c.worst, c.uv, c.full)
		}
		if all := strings.Join(tags, " "); !strings.Contains(all, "manylinux2014_"+got.machine()) || strings.Contains(all, "manylinux1_") != (c.arch == X86) {
			t.Errorf("%s: tags %s; want manylinux2014, and manylinux1 for %s only", c.runtime, all, X86)
		}
	}
	for runtime, want := range map[string]string{"python3.7": "no longer offered", "cobol85": "unknown", "": "unknown"} {
		if _, err := newTarget(runtime, X86); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("newTarget(%q) = %v; want it to say %q", runtime, err, want)
		}
	}
	if _, err := newTarget("python3.12", "amd64"); err == nil {
		t.Error("newTarget(amd64) = nil; want an error")
	}
}

func TestPlatformNames(t *testing.T) {
	t.Parallel()
	for name, cpu := range map[string]string{
		"@esbuild/linux-x64": "x64", "@node-rs/crc32-linux-arm64-gnu": "arm64", "@parcel/watcher-linux-x64-glibc": "x64", "lightningcss-linux-arm64-gnu": "arm64",
		"@node-rs/crc32-linux-arm64-musl": "", "@img/sharp-linuxmusl-x64": "", "@esbuild/darwin-x64": "", "@node-rs/crc32-linux-arm-gnueabihf": "", "fsevents": "",
	} {
		got := ""
		if m := platformName.FindStringSubmatch(name); m != nil {
			got = m[1]
		}
		if got != cpu {
			t.Errorf("platform of %s = %q; want %q", name, got, cpu)
		}
	}
}

func TestCause(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, want string }{
		{"pip", "Collecting a\n\x1b[31mERROR: No matching distribution found for a\x1b[0m\n", "ERROR: No matching distribution found for a"},
		{"npm", "npm warn x\nnpm error code E404\nnpm error 404 Not Found\nnpm error A complete log of this run can be found in: /root/x\n", "npm error code E404\n  npm error 404 Not Found"},
		{"maven", "[INFO] Scanning\n[ERROR] Failed to execute goal\n[INFO] -\n", "[ERROR] Failed to execute goal"},
		{"nothing marked", "one\ntwo\n\nthree\nfour\x07\n", "two\n  three\n  four"},
		{"silence", "", ""},
	} {
		if got := causeOf(c.text); got != c.want {
			t.Errorf("%s: causeOf = %q; want %q", c.name, got, c.want)
		}
	}
}

func TestPinned(t *testing.T) {
	t.Parallel()
	const text = `# comment
Orjson==3.10.0
six >= 1
idna == 3.* 
attrs===23.1 ; python_version < "4"
requests[socks]==2.31.0 --hash=sha256:00 \
    --hash=sha256:11
mine @ https://example.com/mine-1.whl
loose
`
	var got []string
	for _, m := range pinned.FindAllStringSubmatch(text, -1) {
		got = append(got, normalName(m[1]))
	}
	if want := "orjson attrs requests mine"; strings.Join(got, " ") != want {
		t.Errorf("pinned are %q; want %q", got, want)
	}
}

// FuzzNative looks into bytes that claim to be native code.
func FuzzNative(f *testing.F) {
	f.Add([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\xb7\x00" + strings.Repeat("\x00", 100)))
	f.Add([]byte(strings.Repeat("x", 64)))
	f.Fuzz(func(t *testing.T, body []byte) {
		one := &file{name: "a.so"}
		one.replace(body)
		machine, err := machineOf(one)
		if err != nil {
			t.Fatal(err)
		}
		if machine == "" && (glibcOf(one) > 0 || debugInfo(one)) && !strings.HasPrefix(string(body), "\x7fELF") {
			t.Error("found something in what is no native code")
		}
	})
}
