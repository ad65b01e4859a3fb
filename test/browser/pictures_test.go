package browser

import (
	"bytes"
	"cmp"
	"flag"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var screenshots = flag.String("screenshots", "", "folder for pictures of the main pages, and of those where a test failed")

// keepPicture writes a PNG into the folder of -screenshots, with 256 colours.
func keepPicture(t testing.TB, name string, text []byte) {
	t.Helper()
	if *screenshots == "" {
		return
	}
	if err := os.MkdirAll(*screenshots, 0o755); err != nil {
		t.Fatal(err)
	}
	whole, err := png.Decode(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, fewerColors(whole)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// fewerColors paints a picture with at most 256 colours: the commonest, and those
// that are far from all others.
func fewerColors(in image.Image) image.Image {
	type shade struct {
		color.RGBA
		count int
		far   int // squared distance to what the palette has
		index uint8
	}
	at := func(x, y int) color.RGBA {
		r, g, b, _ := in.At(x, y).RGBA()
		return color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}
	}
	size, count := in.Bounds(), map[color.RGBA]int{}
	for y := size.Min.Y; y < size.Max.Y; y++ {
		for x := size.Min.X; x < size.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	all := make([]shade, 0, len(count))
	for c, n := range count {
		all = append(all, shade{RGBA: c, count: n, far: 1 << 20})
	}
	slices.SortFunc(all, func(a, b shade) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	const most, common = 256, 64
	var palette color.Palette
	for len(palette) < min(most, len(all)) {
		next, worst := len(palette), -1
		if len(palette) >= common {
			for i := range all {
				if cost := all[i].far * all[i].count; cost > worst {
					next, worst = i, cost
				}
			}
			if worst == 0 {
				break
			}
		}
		c := all[next]
		for i := range all {
			r, g, b := int(all[i].R)-int(c.R), int(all[i].G)-int(c.G), int(all[i].B)-int(c.B)
			if d := r*r + g*g + b*b; d < all[i].far {
				all[i].far, all[i].index = d, uint8(len(palette))
			}
		}
		palette = append(palette, c.RGBA)
	}
	index := map[color.RGBA]uint8{}
	for _, s := range all {
		index[s.RGBA] = s.index
	}
	out := image.NewPaletted(size, palette)
	for y := size.Min.Y; y < size.Max.Y; y++ {
		for x := size.Min.X; x < size.Max.X; x++ {
			out.SetColorIndex(x, y, index[at(x, y)])
		}
	}
	return out
}
