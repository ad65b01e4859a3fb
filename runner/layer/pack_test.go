package layer_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/runner/layer"
)

// sources makes a zip of count files that look like source code, of size bytes
// together: it deflates to about a fifth.
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

// BenchmarkPack makes images and, as the baseline of the same run, directories of
// the same zips.
func BenchmarkPack(b *testing.B) {
	for _, tt := range []struct {
		name        string
		count, size int
	}{{"50MB-2000files", 2_000, 50 << 20}, {"257MB-10000files", 10_000, 257 << 20}} {
		data := sources(b, tt.count, tt.size)
		limits := lamina.DefaultLimits()
		limits.Unzipped = 1 << 30
		archive, err := lamina.ReadArchive(bytes.NewReader(data), int64(len(data)), limits)
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("zip of %d MB", len(data)>>20)
		base := b.TempDir()
		b.Run(tt.name+"/image", func(b *testing.B) {
			b.SetBytes(archive.UnpackedSize)
			for b.Loop() {
				file, err := os.Create(filepath.Join(base, "image"))
				if err != nil {
					b.Fatal(err)
				}
				if err := layer.Pack(b.Context(), archive, file); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				file.Close()
				os.Remove(file.Name())
				b.StartTimer()
			}
		})
		b.Run(tt.name+"/baseline-directory", func(b *testing.B) {
			b.SetBytes(archive.UnpackedSize)
			for b.Loop() {
				dir := filepath.Join(base, "directory")
				if err := os.Mkdir(dir, 0o755); err != nil {
					b.Fatal(err)
				}
				if err := layer.Unpack(b.Context(), archive, dir); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := os.RemoveAll(dir); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
