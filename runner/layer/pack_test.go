package layer_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/erofs/go-erofs"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/flate"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/runner/layer"
	"github.com/lamina-run/lamina/runner/sandbox"
)

// openImages returns what mounts images.
func openImages(t testing.TB) *sandbox.Images {
	t.Helper()
	testkit.Need(t, testkit.Root, testkit.EROFS)
	images, err := sandbox.OpenImages()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := images.Close(); err != nil {
			t.Error(err)
		}
	})
	return images
}

func readArchive(t testing.TB, data []byte) *lamina.Archive {
	t.Helper()
	limits := lamina.DefaultLimits()
	limits.Unzipped = 1 << 30
	a, err := lamina.ReadArchive(bytes.NewReader(data), int64(len(data)), limits)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// pack makes an image.
func pack(t testing.TB, a *lamina.Archive) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := layer.Pack(t.Context(), a, file); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}

// describe tells everything about a tree that a function can see, but for the
// times of directories that are not among dated.
func describe(t testing.TB, tree fs.FS, dated map[string]bool) map[string]string {
	t.Helper()
	got := make(map[string]string)
	err := fs.WalkDir(tree, ".", func(name string, item fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := item.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		if item.Type() != info.Mode().Type() {
			text += " listed as " + item.Type().String()
		}
		if !info.IsDir() || dated[name] {
			text += " " + info.ModTime().UTC().Format(time.RFC3339Nano)
		}
		switch info.Mode().Type() {
		case fs.ModeSymlink:
			target, err := fs.ReadLink(tree, name)
			if err != nil {
				return err
			}
			text += " to " + target
		case 0:
			data, err := fs.ReadFile(tree, name)
			if err != nil {
				return err
			}
			if int64(len(data)) != info.Size() {
				t.Errorf("%s: %d bytes; want %d", name, len(data), info.Size())
			}
			if len(data) > 100 {
				text += fmt.Sprintf(" %d bytes %x", len(data), sha256.Sum256(data))
			} else {
				text += fmt.Sprintf(" %q", data)
			}
		}
		got[name] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// hostTree is a directory like [os.DirFS], with names that are not UTF-8 too.
type hostTree string

func (d hostTree) Open(name string) (fs.File, error) { return os.Open(filepath.Join(string(d), name)) }

func (d hostTree) ReadDir(name string) ([]fs.DirEntry, error) {
	return os.ReadDir(filepath.Join(string(d), name))
}

func (d hostTree) ReadLink(name string) (string, error) {
	return os.Readlink(filepath.Join(string(d), name))
}

func (d hostTree) Lstat(name string) (fs.FileInfo, error) {
	return os.Lstat(filepath.Join(string(d), name))
}

// valid reports whether package fs takes all names.
func valid(a *lamina.Archive) bool {
	return !slices.ContainsFunc(a.Entries, func(e lamina.ArchiveEntry) bool { return !fs.ValidPath(e.Name) })
}

// oddArchives are zips whose trees have what trees seldom have.
func oddArchives(t testing.TB) map[string][]byte {
	t.Helper()
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	var sizes, many []testkit.File
	for _, base := range []int{0, 2048, 4032, 4096, 6144, 8192, 1 << 18} {
		for d := -2; d <= 2; d++ {
			if base+d >= 0 {
				sizes = append(sizes, testkit.File{Name: fmt.Sprintf("sizes/%d", base+d), Body: string(noise[:base+d])})
			}
		}
	}
	for i := range 10_000 {
		many = append(many, testkit.File{Name: fmt.Sprintf("one/directory/%d", i*7919%10_000), Body: fmt.Sprint(i)})
	}
	long := strings.Repeat("n", 255)
	var targets []testkit.File
	for _, n := range []int{1, 59, 60, 2047, 2048, 2049, 4031, 4032, 4033, 4095} {
		targets = append(targets, testkit.File{Name: fmt.Sprintf("links/%d", n), Link: strings.Repeat("t", n)})
	}
	var names []testkit.File
	for i := range 100 { // directories of blocks that are full to the last byte, or nearly
		names = append(names, testkit.File{Name: fmt.Sprintf("%03d%s", i, long[3:255-i%5]), Body: "x"})
	}
	return map[string][]byte{
		"an empty archive":            testkit.Zip(t),
		"one empty file":              testkit.Zip(t, testkit.File{Name: "empty"}),
		"an empty directory":          testkit.Zip(t, testkit.File{Name: "d/"}),
		"sizes around blocks":         testkit.Zip(t, sizes...),
		"10,000 files in a directory": testkit.Zip(t, many...),
		"deep directories":            testkit.Zip(t, testkit.File{Name: strings.Repeat("d/", 100) + "f", Body: "deep"}, testkit.File{Name: strings.Repeat("e/", 90)}),
		"long names":                  testkit.Zip(t, names...),
		"long targets":                testkit.Zip(t, targets...),
		"names that sort around dots": testkit.Zip(t, testkit.File{Name: "!"}, testkit.File{Name: "-a/b"}, testkit.File{Name: "...", Body: "dots"}, testkit.File{Name: ".a"}, testkit.File{Name: "..a/-"}, testkit.File{Name: "\x01"}),
		"names that are no ASCII":     testkit.Zip(t, testkit.File{Name: "grüße/日本語.txt", Body: "unicode"}, testkit.File{Name: "\xff\xfe", Body: "not even UTF-8"}, testkit.File{Name: "a b'c\"\n:,\\", Body: "odd"}),
		"implied directories":         testkit.Zip(t, testkit.File{Name: "a/b/c", Body: "x"}, testkit.File{Name: "a/", Mode: fs.ModeDir | 0o700}, testkit.File{Name: "z/y/", Mode: fs.ModeDir}),
		"a name twice":                testkit.Zip(t, testkit.File{Name: "f", Body: "first"}, testkit.File{Name: "f", Body: "second and longer"}),
		"modes": testkit.Zip(t, testkit.File{Name: "a", Mode: 0o600}, testkit.File{Name: "b", Mode: 0o777}, testkit.File{Name: "c", Mode: 0o100 | fs.ModeSetuid},
			testkit.File{Name: "s", Link: "../../etc/passwd"}, testkit.File{Name: "t", Link: "/"}),
		"times before 1970": oldTimes(t),
		"large files":       testkit.Zip(t, testkit.File{Name: "a", Body: string(bytes.Repeat(noise, 3))}, testkit.File{Name: "b", Body: strings.Repeat("\x00", 5<<20+1)}),
	}
}

// oldTimes is a zip with times that only the extended timestamp can tell.
func oldTimes(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i, when := range []int32{-1 << 31, -1, 0, 1<<31 - 1} {
		n := uint32(when)
		if _, err := w.CreateHeader(&zip.FileHeader{Name: fmt.Sprint(i), Extra: []byte{0x55, 0x54, 5, 0, 1, byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestPackLikeUnpack compares an image with the directory of the same archive, as
// the kernel shows it and as a reader that others wrote does.
func TestPackLikeUnpack(t *testing.T) {
	t.Parallel()
	var images *sandbox.Images
	if os.Geteuid() == 0 {
		images = openImages(t)
	}
	cases := oddArchives(t)
	cases["like a package"] = sources(t, 500, 5<<20)
	for name, data := range cases {
		t.Run(name, func(t *testing.T) {
			a := readArchive(t, data)
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := layer.Unpack(t.Context(), a, dir); err != nil {
				t.Fatal(err)
			}
			dated := map[string]bool{}
			for _, e := range a.Entries {
				dated[e.Name] = true
			}
			want := describe(t, hostTree(dir), dated)
			image := pack(t, a)
			again := pack(t, a)
			if one, two := read(t, image), read(t, again); !bytes.Equal(one, two) {
				t.Error("two images of one archive differ")
			} else if len(one)%4096 != 0 {
				t.Errorf("image has %d bytes; want whole blocks", len(one))
			}
			file, err := os.Open(image)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if valid(a) {
				theirs, err := erofs.Open(file)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(describe(t, theirs, dated), want); diff != "" {
					t.Errorf("image, read by go-erofs, and directory differ (-image +directory):\n%s", diff)
				}
			}
			if images == nil {
				return
			}
			shown, unmount, err := images.Mount(image)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(describe(t, hostTree(shown), dated), want); diff != "" {
				t.Errorf("image, mounted, and directory differ (-image +directory):\n%s", diff)
			}
			sameStat(t, shown, dir, want)
			if err := unmount(); err != nil {
				t.Error(err)
			}
		})
	}
	if images == nil {
		testkit.Need(t, testkit.Root) // what was not looked at
	}
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestPackStops packs with a context that has ended.
func TestPackStops(t *testing.T) {
	t.Parallel()
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	file, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := layer.Pack(ctx, readArchive(t, sources(t, 100, 1<<20)), file); !errors.Is(err, reason) {
		t.Errorf("Pack(cancelled) = %v; want %v", err, reason)
	}
}

// sources makes a zip of count files that look like source code, of size bytes
// together.
func sources(t testing.TB, count, size int) []byte {
	t.Helper()
	words := strings.Fields("def class return import self value for in range if else None True False name result open close list dict")
	random := rand.New(rand.NewPCG(1, 2))
	var files []testkit.File
	for i := range count {
		var text strings.Builder
		for text.Len() < size/count {
			fmt.Fprintf(&text, "%s_%x %s = %s\n", words[random.IntN(len(words))], random.Uint32(), words[random.IntN(len(words))], words[random.IntN(len(words))])
		}
		files = append(files, testkit.File{Name: fmt.Sprintf("python/pkg%d/sub%d/f%d.py", i%50, i%7, i), Body: text.String()[:size/count]})
	}
	return testkit.Zip(t, files...)
}

// BenchmarkPack makes images and, in the same run, inflates the same zips to
// nowhere, which is what can't be left out, and unpacks them to directories.
func BenchmarkPack(b *testing.B) {
	for _, tt := range []struct {
		name        string
		count, size int
	}{{"50MB,2000files", 2_000, 50 << 20}, {"257MB,10000files", 10_000, 257 << 20}} {
		a := readArchive(b, sources(b, tt.count, tt.size))
		base := b.TempDir()
		bench := func(name string, f func() error) {
			b.Run(tt.name+"/"+name, func(b *testing.B) {
				b.SetBytes(a.UnpackedSize)
				b.ReportAllocs()
				for b.Loop() {
					if err := f(); err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					if err := os.RemoveAll(filepath.Join(base, "out")); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			})
		}
		bench("image", func() error {
			file, err := os.Create(filepath.Join(base, "out"))
			if err != nil {
				return err
			}
			return errors.Join(layer.Pack(b.Context(), a, file), file.Close())
		})
		bench("baseline/inflate", func() error {
			return inflateAll(b.Context(), a)
		})
		bench("baseline/directory", func() error {
			dir := filepath.Join(base, "out")
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
			return layer.Unpack(b.Context(), a, dir)
		})
	}
}

// inflateAll inflates on two cores into nothing.
func inflateAll(ctx context.Context, a *lamina.Archive) error {
	done := make(chan error, 2) // one send of each half
	for half := range 2 {
		go func() {
			in := lamina.Inflater{Flate: flate.NewReader}
			for i := half; i < len(a.Entries); i += 2 {
				if err := in.Copy(ctx, io.Discard, &a.Entries[i]); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	return errors.Join(<-done, <-done)
}
