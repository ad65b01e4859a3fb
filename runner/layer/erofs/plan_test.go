package erofs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina/runner/layer/erofs"
)

// What images look like is tested where zips become some, in package layer.

func TestPlanRefuses(t *testing.T) {
	t.Parallel()
	node := func(name string) erofs.Node { return erofs.Node{Name: name, Mode: 0o644} }
	for name, nodes := range map[string][]erofs.Node{
		"a name twice":          {node("a"), node("b"), node("a")},
		"a name below a file":   {node("a"), node("a/b")},
		"a name above a file":   {node("a/b"), node("a")},
		"no name":               {node("")},
		"the root":              {node(".")},
		"an absolute name":      {node("/a")},
		"a slash at the end":    {node("a/")},
		"two slashes":           {node("a//b")},
		"a way up":              {node("a/../b")},
		"a dot":                 {node("a/./b")},
		"a NUL":                 {node("a\x00b")},
		"a part of 256 bytes":   {node("a/" + strings.Repeat("b", 256) + "/c")},
		"a device":              {{Name: "a", Mode: fs.ModeDevice}},
		"a negative size":       {{Name: "a", Size: -1}},
		"more than 16 terabyte": {{Name: "a", Size: 1 << 44}},
	} {
		if _, err := erofs.Plan(nodes, time.Time{}); !errors.Is(err, erofs.ErrTree) {
			t.Errorf("%s: Plan() = %v; want %v", name, err, erofs.ErrTree)
		}
	}
	var many []erofs.Node
	for _, name := range []string{"a", "b", "c"} {
		many = append(many, erofs.Node{Name: name, Size: 1 << 43})
	}
	if _, err := erofs.Plan(many, time.Time{}); err == nil {
		t.Error("Plan(more blocks than can be counted) = nil; want an error")
	}
}

// TestContentsHoldsThePlan writes more and less than was planned.
func TestContentsHoldsThePlan(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{0, 10, 4096, 5000} {
		image, err := erofs.Plan([]erofs.Node{{Name: "a", Size: size}}, time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.Create(filepath.Join(t.TempDir(), "image"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		c := image.Contents(file)
		for _, length := range []int64{size - 1, size, size + 1} {
			if length < 0 {
				continue
			}
			c.Begin(0)
			_, err := c.Write(make([]byte, length))
			if err == nil {
				err = c.End()
			}
			if (err == nil) != (length == size) {
				t.Errorf("%d bytes where %d were planned: %v", length, size, err)
			}
		}
		if info, err := file.Stat(); err != nil || info.Size() > image.Size() {
			t.Errorf("image has %d bytes, %v; want at most the %d planned", info.Size(), err, image.Size())
		}
	}
}
