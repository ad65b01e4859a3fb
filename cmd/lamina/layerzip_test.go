package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/contents"
)

// makeFiles writes files below a new directory: a name that ends in a slash is a
// directory, a body that begins with "-> " a symlink.
func makeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, body := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch target, isLink := strings.CutPrefix(body, "-> "); {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case isLink:
			err = os.Symlink(target, path)
		default:
			err = os.WriteFile(path, []byte(body), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestZipLayer(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(makeFiles(t, map[string]string{"secret": "from outside"}), "secret")
	const stale, kept = "\x61\x0d\x0d\x0a\x00\x00\x00\x00 by time", "\x61\x0d\x0d\x0a\x01\x00\x00\x00 by hash"
	files := map[string]string{
		"python/a.py": "a", "python/__pycache__/a.cpython-312.pyc": stale, "python/b/__pycache__/b.cpython-312.pyc": kept, "python/b/b.py": "b",
		"lib/libx.so.1": "x", "lib/libx.so": "-> libx.so.1", "lib/up": "-> ../python", "lib/out": "-> " + outside,
		"empty/": "", ".git/config": "x", "python/.DS_Store": "x", "bin/tool": "#!/bin/sh",
	}
	dir := makeFiles(t, files)
	if err := os.Chmod(filepath.Join(dir, "bin/tool"), 0o700); err != nil {
		t.Fatal(err)
	}
	zipped := func(dir string) []byte {
		t.Helper()
		var out bytes.Buffer
		if err := zipLayer(&out, dir); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	data := zipped(dir)
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, f.Name+" "+f.Mode().String()+" "+string(body))
	}
	want := []string{
		"bin/tool -rwxr-xr-x #!/bin/sh", "empty/ drwxr-xr-x ", "lib/libx.so Lrwxrwxrwx libx.so.1", "lib/libx.so.1 -rw-r--r-- x",
		"lib/out -rw-r--r-- from outside", "lib/up Lrwxrwxrwx ../python", "python/a.py -rw-r--r-- a",
		"python/b/__pycache__/b.cpython-312.pyc -rw-r--r-- " + kept, "python/b/b.py -rw-r--r-- b",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("zip (-want +got):\n%s", diff)
	}
	if _, err := contents.Read(t.Context(), bytes.NewReader(data), int64(len(data)), lamina.DefaultLimits()); err != nil {
		t.Errorf("Lamina would not publish it: %v", err)
	}

	// The same files, written at another time, through a symlink to the directory.
	if err := os.Chtimes(filepath.Join(dir, "python/a.py"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(zipped(link), data) {
		t.Error("the same files make another zip")
	}

	for name, files := range map[string]map[string]string{
		"there are no files":     {".git/config": "x"},
		"a folder that it is in": {"a/b": "-> " + t.TempDir()},
	} {
		dir := makeFiles(t, files)
		if name == "a folder that it is in" {
			if err := os.Symlink(dir, filepath.Join(dir, "a", "loop")); err != nil {
				t.Fatal(err)
			}
		}
		if err := zipLayer(io.Discard, dir); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("zipLayer() = %v; want %q", err, name)
		}
	}
	if err := zipLayer(io.Discard, makeFiles(t, map[string]string{"gone": "-> nowhere"})); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a dangling symlink: %v; want it told", err)
	}
}

// TestPublishBody holds that the streamed request is the JSON that it stands for,
// and as long as it says.
func TestPublishBody(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 2, 3, 24<<10 - 1, 24 << 10, 24<<10 + 1, 100_000} {
		data := bytes.Repeat([]byte{0xfb, 0x00, 'x', 7, '"'}, size/5+1)[:size]
		path := filepath.Join(t.TempDir(), "zip")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		body, err := newPublishBody(publishMeta{Description: `"}} <tricky>`, CompatibleRuntimes: []string{"python3.12"}}, &openLayer{file: file, size: int64(size)})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // once for the hash, once for the server
			seen := sha256.New()
			text, err := io.ReadAll(body.reader(seen))
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Description        string
				CompatibleRuntimes []string
				Content            struct{ ZipFile []byte }
			}
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			if int64(len(text)) != body.size() || !bytes.Equal(got.Content.ZipFile, data) || got.Description != `"}} <tricky>` || len(got.CompatibleRuntimes) != 1 {
				t.Errorf("%d bytes: the request differs; it has %d bytes and says %d", size, len(text), body.size())
			}
			if sum := sha256.Sum256(data); !bytes.Equal(seen.Sum(nil), sum[:]) {
				t.Errorf("%d bytes: the bar has seen others", size)
			}
		}
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"plain name.txt": "plain name.txt", "ü": "ü", `a\b`: `a\b`, "\x1b[2J": `"\x1b[2J"`, "a\tb": `"a\tb"`, "a\nb": `"a\nb"`, "\xff": `"\xff"`, "a\u202eb": `"a\u202eb"`,
	} {
		if got := printable(name); got != want {
			t.Errorf("printable(%q) = %s; want %s", name, got, want)
		}
	}
}
