package layer_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lamina-run/lamina/runner/layer"
)

// BenchmarkRead reads 2,000 files of 50 MB from an image and, in the same run,
// from the directory of the same archive: when the kernel has them in memory,
// right after mounting, and from the disk. Of a directory the kernel still has the
// inodes then.
func BenchmarkRead(b *testing.B) {
	images := openImages(b)
	a := readArchive(b, sources(b, 2_000, 50<<20))
	dir := b.TempDir()
	if err := layer.Unpack(b.Context(), a, dir); err != nil {
		b.Fatal(err)
	}
	image := pack(b, a)
	all := func(dir string, each func(file string) error) {
		b.Helper()
		for _, e := range a.Entries {
			if err := each(filepath.Join(dir, e.Name)); err != nil {
				b.Fatal(err)
			}
		}
	}
	read := func(file string) error {
		_, err := os.ReadFile(file)
		return err
	}
	// mounted runs f with the image mounted, which is not measured.
	mounted := func(b *testing.B, f func(dir string)) {
		b.Helper()
		b.StopTimer()
		shown, unmount, err := images.Mount(image)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		f(shown)
		b.StopTimer()
		if err := unmount(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	run := func(name string, f func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(a.UnpackedSize)
			f(b)
		})
	}
	run("again/image", func(b *testing.B) {
		mounted(b, func(shown string) {
			all(shown, read)
			for b.Loop() {
				all(shown, read)
			}
		})
	})
	run("again/baseline-directory", func(b *testing.B) {
		for b.Loop() {
			all(dir, read)
		}
	})
	run("mounted/image", func(b *testing.B) {
		for b.Loop() {
			mounted(b, func(shown string) { all(shown, read) })
		}
	})
	run("disk/image", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			if err := forget(image); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			mounted(b, func(shown string) { all(shown, read) })
		}
	})
	run("disk/baseline-directory", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			all(dir, forget)
			b.StartTimer()
			all(dir, read)
		}
	})
}

// forget has the kernel drop the content of a file.
func forget(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
}
