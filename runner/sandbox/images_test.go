//go:build linux

package sandbox

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lamina-run/lamina/internal/testkit"
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

func openImages(t testing.TB) *Images {
	t.Helper()
	testkit.Need(t, testkit.Root, testkit.EROFS)
	m, err := OpenImages()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func mounted(t testing.TB, m *Images, text string, names ...string) (dir string, unmount func()) {
	t.Helper()
	dir, done, err := m.Mount(image(t, text, names...))
	if err != nil {
		t.Fatal(err)
	}
	unmount = sync.OnceFunc(func() {
		if err := done(); err != nil {
			t.Errorf("unmount = %v; want nil", err)
		}
	})
	t.Cleanup(unmount)
	return dir, unmount
}

// TestImagesInSandbox shows images, alone and stacked with each other and with
// directories of the host, and takes them away while the sandbox runs.
func TestImagesInSandbox(t *testing.T) {
	t.Parallel()
	m := openImages(t)
	p := newPool(t, Options{Images: m})
	task, unmountTask := mounted(t, m, " of task", "main", "sub/other")
	one, unmountOne := mounted(t, m, " of one", "a", "both", "dir/one")
	two, unmountTwo := mounted(t, m, " of two", "b", "both", "dir/two")
	host := write(t, t.TempDir(), map[string]string{"h": "h of host", "both": "both of host", "dir/host": "x"})
	if err := os.Chmod(host, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(task, "sub/other")); err != nil || string(got) != "sub/other of task" {
		t.Errorf("server reads %q, %v; want the file", got, err)
	}
	if info, err := os.Lstat(task); err != nil || !info.IsDir() {
		t.Errorf("Lstat = %v, %v; want a directory", info, err)
	}
	if err := os.WriteFile(filepath.Join(task, "new"), nil, 0o644); !errors.Is(err, syscall.EROFS) {
		t.Errorf("write = %v; want %v", err, syscall.EROFS)
	}
	for _, tt := range []struct {
		layers []string
		want   string // of /opt/both
		dir    string // what /opt/dir has
	}{
		{[]string{one}, "both of one", "one"},
		{[]string{one, one}, "both of one", "one"},
		{[]string{one, two}, "both of two", "one,two"},
		{[]string{two, one}, "both of one", "one,two"},
		{[]string{one, host, two}, "both of two", "host,one,two"},
		{[]string{one, two, host}, "both of host", "host,one,two"},
		{[]string{host, one, host}, "both of host", "host,one"},
		{[]string{host}, "both of host", "host"},
	} {
		sb := start(t, p, Spec{Task: task, Layers: tt.layers})
		out, exit := run(t, sb, "cat", "/opt/both", "/var/task/main")
		if got := fields(out); got["/opt/both"] != tt.want || got["/var/task/main"] != "main of task" || exit != (Exit{}) {
			t.Errorf("%v: files read %q, %v; want %q, and main of task", tt.layers, got, exit, tt.want)
		}
		if out, _ := run(t, sb, "list", "/opt/dir"); fields(out)["/opt/dir"] != tt.dir {
			t.Errorf("%v: files %q; want %q", tt.layers, out, tt.dir)
		}
		mounts, err := os.ReadFile("/proc/" + strconv.Itoa(sb.proc.Pid) + "/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(mounts)) {
			if strings.Contains(line, " - erofs ") && (!strings.Contains(line, " ro,nosuid,nodev") || strings.Contains(line, t.Name())) {
				t.Errorf("sandbox has the mount %q; want it read-only, and no path of the host", line)
			}
		}
		if got := scratch(t, m); got != 0 {
			t.Errorf("%d directories of the host are still mounted for stacking; want none", got)
		}
		if err := sb.Close(); err != nil {
			t.Error(err)
		}
	}
	for file, wanted := range map[string]bool{"/proc/self/mountinfo": false, "/proc/thread-self/mountinfo": false} {
		if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), " - erofs ") != wanted {
			t.Errorf("%s: %v, has the images; want them to be in no namespace but their own", file, err)
		}
	}

	sb := start(t, p, Spec{Task: task, Layers: []string{one, two}})
	unmountTask()
	unmountOne()
	unmountTwo()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if out, exit := run(t, sb, "cat", "/opt/dir/two"); fields(out)["/opt/dir/two"] != "dir/two of two" || exit != (Exit{}) {
		t.Errorf("after unmounting, the sandbox reads %q, %v; want what it had", out, exit)
	}
	if _, err := p.Start(t.Context(), Spec{Task: task}); err == nil {
		t.Error("a directory that is unmounted is still shown")
	}
	if _, _, err := m.Mount(image(t, "", "a")); !errors.Is(err, errImagesClosed) {
		t.Errorf("Mount(closed) = %v; want %v", err, errImagesClosed)
	}
}

// scratch counts directories of the host in the namespace of the images.
func scratch(t testing.TB, m *Images) (count int) {
	t.Helper()
	if err := m.do(func() error {
		list, err := os.ReadDir(hostDir)
		count = len(list)
		return err
	}); err != nil {
		t.Error(err)
	}
	return count
}

func TestMountRefuses(t *testing.T) {
	t.Parallel()
	m := openImages(t)
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	cut := image(t, "text", "a")
	if err := os.Truncate(cut, 512); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{garbage, cut, filepath.Join(t.TempDir(), "absent"), t.TempDir()} {
		_, _, err := m.Mount(file)
		if _, ok := errors.AsType[*Error](err); !ok {
			t.Errorf("Mount(%s) = %v; want an Error", file, err)
		}
	}
	// It works on.
	mounted(t, m, "", "a")
}

var alone = flag.Bool("alone", false, "nobody else has sandboxes here: what the kernel has of images is counted, too; CI asks for that in a step of its own")

// imagesMounted are the names under which the kernel has the images, of everybody.
func imagesMounted(t testing.TB) map[string]bool {
	t.Helper()
	list, err := os.ReadDir("/sys/fs/erofs")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, item := range list {
		if item.Name() != "features" {
			names[item.Name()] = true
		}
	}
	return names
}

// Not parallel: it counts what the whole process has.
func TestImagesLeaveNothing(t *testing.T) {
	testkit.Need(t, testkit.Root, testkit.EROFS)
	files := []string{image(t, "one", "a", "b/c"), image(t, "two", "a", "d/e")}
	const together = 50
	round := func(count int) {
		m, err := OpenImages()
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		var unmounts []func() error
		for i := range count {
			one, unmount, err := m.Mount(files[i%2])
			if err != nil {
				t.Fatal(err)
			}
			unmounts = append(unmounts, unmount)
			if i%10 == 1 {
				other, unmount, err := m.Mount(files[0])
				if err != nil {
					t.Fatal(err)
				}
				unmounts = append(unmounts, unmount)
				fd, err := m.openTree([]string{one, filepath.Dir(files[0]), other})
				if err != nil {
					t.Fatal(err)
				}
				syscall.Close(fd)
			}
			if len(unmounts) < together {
				continue
			}
			for _, unmount := range unmounts {
				if err := unmount(); err != nil {
					t.Fatal(err)
				}
			}
			unmounts = nil
		}
		// The last ones are left to Close, but for their descriptors.
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		for _, unmount := range unmounts {
			if err := unmount(); err != nil {
				t.Errorf("unmount after Close = %v; want nil", err)
			}
		}
	}
	round(20)
	before, images := held(t, nil), len(imagesMounted(t))
	began := time.Now()
	round(520)
	t.Logf("520 images mounted and unmounted in %s", time.Since(began).Round(time.Millisecond))
	left := func() (kinds []string) {
		for kind, n := range held(t, nil) {
			if n > before[kind] {
				kinds = append(kinds, fmt.Sprintf("%s: %d, before %d", kind, n, before[kind]))
			}
		}
		if n := len(imagesMounted(t)); *alone && n > images {
			kinds = append(kinds, fmt.Sprintf("images in the kernel: %d, before %d", n, images))
		}
		return kinds
	}
	awaitNothing(t, left)
}

// awaitNothing waits until left returns nothing: the kernel unmounts a little later.
func awaitNothing(t testing.TB, left func() []string) {
	t.Helper()
	what := left()
	for end := time.Now().Add(10 * time.Second); len(what) > 0 && time.Now().Before(end); what = left() {
		time.Sleep(10 * time.Millisecond) // nothing tells
	}
	if len(what) > 0 {
		t.Errorf("left behind: %s", strings.Join(what, "; "))
	}
}

// doomedImages mounts images and shows them to a function, and says so.
func doomedImages(args []string) int {
	fail := func(err error) int {
		fmt.Println(err)
		return 1
	}
	m, err := OpenImages()
	if err != nil {
		return fail(err)
	}
	var layers []string
	for _, file := range args[1:] {
		dir, _, err := m.Mount(file)
		if err != nil {
			return fail(err)
		}
		layers = append(layers, dir)
	}
	p, err := NewPool(Options{Images: m})
	if err != nil {
		return fail(err)
	}
	ctx := context.Background()
	s, err := p.Start(ctx, Spec{Layers: layers, Binds: []Bind{{Source: args[0], Target: program}}})
	if err != nil {
		return fail(err)
	}
	if err := s.Exec(ctx, Process{Path: program, Args: []string{"inside", "inside", "sleep"}}); err != nil {
		return fail(err)
	}
	fmt.Println("ready")
	select {}
}

// Not parallel: it looks at the images of the whole kernel.
func TestKillingTheServerUnmountsImages(t *testing.T) {
	need(t)
	testkit.Need(t, testkit.Root, testkit.EROFS)
	if !*alone {
		t.Skip("other tests have images, too; .ci/leaks runs it")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	before := imagesMounted(t)
	cmd := exec.Command(self, "images-server", self, image(t, "one", "a"), image(t, "two", "a"), image(t, "three", "a"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := firstLine(out); line != "ready" {
		t.Fatalf("server said %q, %v; want ready", line, err)
	}
	host, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/mountinfo")
	if err != nil || strings.Contains(string(host), " - erofs ") {
		t.Errorf("the server's mounts have images, %v; want them to be its thread's only", err)
	}
	var theirs []string
	for name := range imagesMounted(t) {
		if !before[name] {
			theirs = append(theirs, name)
		}
	}
	if len(theirs) < 3 {
		t.Fatalf("the kernel has %d new images; want 3", len(theirs))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, of course
	awaitNothing(t, func() (names []string) {
		now := imagesMounted(t)
		for _, name := range theirs {
			if now[name] {
				names = append(names, name)
			}
		}
		return names
	})
}

// BenchmarkAttach opens the tree of five layers, as images and as the directories
// that they were made from.
func BenchmarkAttach(b *testing.B) {
	m := openImages(b)
	var images, directories []string
	var names []string
	for i := range 2000 {
		names = append(names, fmt.Sprintf("python/pkg%d/f%d.py", i%20, i))
	}
	text := strings.Repeat("x", 25<<10) // 50 MB a layer
	for range 5 {
		dir, _ := mounted(b, m, text, names...)
		images = append(images, dir)
		files := map[string]string{}
		for _, name := range names[:100] { // attaching does not depend on how many
			files[name] = text
		}
		directories = append(directories, write(b, b.TempDir(), files))
	}
	for _, tt := range []struct {
		name    string
		sources []string
	}{{"images", images}, {"baseline-directories", directories}} {
		b.Run(tt.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				fd, err := m.openTree(tt.sources)
				if err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
				syscall.Close(fd)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
	b.Run("mount-and-attach", func(b *testing.B) {
		files := make([]string, 5)
		for i := range files {
			files[i] = image(b, text, names[:200]...)
		}
		var took []time.Duration
		for b.Loop() {
			began := time.Now()
			var dirs []string
			var unmounts []func() error
			for _, f := range files {
				dir, unmount, err := m.Mount(f)
				if err != nil {
					b.Fatal(err)
				}
				dirs, unmounts = append(dirs, dir), append(unmounts, unmount)
			}
			fd, err := m.openTree(dirs)
			if err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(began))
			syscall.Close(fd)
			for _, unmount := range unmounts {
				if err := unmount(); err != nil {
					b.Fatal(err)
				}
			}
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	})
}
