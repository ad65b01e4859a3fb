//go:build linux

package sandbox

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/lamina-run/lamina/runner/layer/erofs"
)

// image makes an image that has a file of each name, with the name and text in it.
func image(t testing.TB, text string, names ...string) string {
	t.Helper()
	nodes := make([]erofs.Node, len(names))
	for i, name := range names {
		nodes[i] = erofs.Node{Name: name, Mode: 0o644, Modified: time.Unix(1e9, 0), Size: int64(len(name) + len(text))}
	}
	plan, err := erofs.Plan(nodes, time.Unix(1e9, 0))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(plan.Size()); err != nil {
		t.Fatal(err)
	}
	if err := plan.WriteTree(file); err != nil {
		t.Fatal(err)
	}
	c := plan.Contents(file)
	for i, name := range names {
		c.Begin(i)
		if _, err := c.Write([]byte(name + text)); err != nil {
			t.Fatal(err)
		}
		if err := c.End(); err != nil {
			t.Fatal(err)
		}
	}
	return file.Name()
}

func TestImagesX(t *testing.T) {
	m, err := OpenImages()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	a, unmount, err := m.Mount(image(t, "A", "x", "d/y", "both"))
	if err != nil {
		t.Fatal(err)
	}
	defer unmount()
	b, unmountB, err := m.Mount(image(t, "B", "both", "z"))
	if err != nil {
		t.Fatal(err)
	}
	defer unmountB()
	list, err := os.ReadDir(a)
	t.Log(list, err)
	host := t.TempDir()
	os.WriteFile(host+"/h", []byte("host"), 0o644)
	for _, s := range [][]string{{a}, {a, a}, {a, b}, {a, host, b}, {host, a}} {
		begin := time.Now()
		fd, err := m.openTree(s)
		took := time.Since(begin)
		if err != nil {
			t.Error(s, err)
			continue
		}
		list, err := os.ReadDir("/proc/self/fd/" + strconv.Itoa(fd))
		t.Log(s, took, list, err)
	}
	e, _ := os.ReadDir("/sys/fs/erofs")
	t.Log(e)
}
