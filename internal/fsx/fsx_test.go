package fsx_test

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lamina-run/lamina/internal/fsx"
)

func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, want := range []string{"one", "two"} {
		if err := fsx.WriteFile(path, []byte(want), 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("content = %q, %v; want %q", got, err, want)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode = %v, %v; want %v", info.Mode(), err, fs.FileMode(0o640))
	}
	// A directory can't be replaced by a file.
	if err := fsx.WriteFile(dir, nil, 0o600); err == nil {
		t.Error("WriteFile(directory) = nil; want an error")
	}
	for _, in := range []string{dir, filepath.Dir(dir)} {
		if left, _ := filepath.Glob(filepath.Join(in, ".*-*")); len(left) > 0 {
			t.Errorf("left behind %v; want nothing", left)
		}
	}
}

// TestRemoveAllReadOnly runs as an ordinary user: root may write anywhere.
func TestRemoveAllReadOnly(t *testing.T) {
	if dir := os.Getenv("LAMINA_FSX_REMOVE"); dir != "" {
		for _, d := range []string{"top/a/b", "top/c"} {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(os.WriteFile(filepath.Join(dir, "top/a/b/f"), nil, 0o400), os.Symlink(dir, filepath.Join(dir, "top/a/s")),
			os.Chmod(filepath.Join(dir, "top/a/b"), 0o555), os.Chmod(filepath.Join(dir, "top/a"), 0), os.Chmod(filepath.Join(dir, "top"), 0o100)); err != nil {
			t.Fatal(err)
		}
		if err := fsx.RemoveAll(filepath.Join(dir, "top")); err != nil {
			t.Errorf("RemoveAll() = %v; want nil", err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "top")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after RemoveAll = %v; want it gone", err)
		}
		return
	}
	// Not t.TempDir, which other users can't enter.
	dir, err := os.MkdirTemp("", "fsx-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "fsx.test")
	if err := errors.Join(os.WriteFile(binary, self, 0o755), os.Mkdir(filepath.Join(dir, "data"), 0o777), os.Chmod(filepath.Join(dir, "data"), 0o777), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), binary, "-test.run=^TestRemoveAllReadOnly$")
	child.Dir = "/"
	child.Env = []string{"LAMINA_FSX_REMOVE=" + filepath.Join(dir, "data"), "TMPDIR=" + filepath.Join(dir, "data")}
	if os.Geteuid() == 0 {
		child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("as another user: %v\n%s", err, out)
	}
}

// TestLockDir asks for a directory that another process has.
func TestLockDir(t *testing.T) {
	if dir := os.Getenv("LAMINA_FSX_LOCK"); dir != "" {
		lock, err := fsx.LockDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		os.Stdout.WriteString("locked\n")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the parent has seen enough
		return
	}
	t.Parallel()
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLockDir$")
	child.Env = append(os.Environ(), "LAMINA_FSX_LOCK="+dir)
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "locked\n" {
		t.Fatalf("other process says %q, %v; want locked", line, err)
	}
	_, err = fsx.LockDir(dir)
	if locked, ok := errors.AsType[*fsx.LockedError](err); !ok || locked.PID != child.Process.Pid {
		t.Errorf("LockDir(locked) = %v; want it to name process %d", err, child.Process.Pid)
	}
	stdin.Close()
	_ = child.Wait() // its pipe is closed on it; only that it is gone counts
	lock, err := fsx.LockDir(dir)
	if err != nil {
		t.Fatalf("LockDir(free) = %v; want nil", err)
	}
	if _, err := fsx.LockDir(dir); err == nil {
		t.Error("LockDir(own) = nil; want an error: one owner is one owner")
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
}

func TestTree(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	inside, outside := filepath.Join(base, "in"), filepath.Join(base, "out")
	for _, dir := range []string{inside, outside} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"up": "..", "out": outside, "loop": "loop", "here": "."} {
		if err := os.Symlink(target, filepath.Join(inside, name)); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := fsx.OpenTree(inside)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	when := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	deep := strings.Repeat("d/", 3000) + "f" // more than one system call can name
	for _, name := range []string{"../f", "/f", "a/../../f", "up/f", "out/f", "loop/f", "here/f", "up", "out/sub/f", "", "a//f", "a/./f", ".", "no/dir"} {
		if file, err := tree.Create(name); err == nil {
			file.Close()
			t.Errorf("Create(%q) = nil; want an error", name)
		}
		if name == "." || name == "no/dir" {
			continue
		}
		if err := tree.MkdirAll(name, 0o755); err == nil {
			t.Errorf("MkdirAll(%q) = nil; want an error", name)
		}
		if err := tree.Symlink("x", name, when); err == nil {
			t.Errorf("Symlink(%q) = nil; want an error", name)
		}
	}
	if list, err := os.ReadDir(outside); err != nil || len(list) != 0 {
		t.Errorf("outside has %v, %v; want nothing", list, err)
	}
	if list, err := os.ReadDir(base); err != nil || len(list) != 2 {
		t.Errorf("above has %v, %v; want the two directories", list, err)
	}
	for _, name := range []string{"a/b/c", "f", deep} {
		if i := strings.LastIndex(name, "/"); i > 0 {
			if err := tree.MkdirAll(name[:i], 0o755); err != nil {
				t.Fatal(err)
			}
		}
		file, err := tree.Create(name)
		if err != nil {
			t.Fatalf("Create: %v", err)
		}
		if _, err := file.Write([]byte("body")); err != nil {
			t.Error(err)
		}
		if err := errors.Join(file.Finish(0o777, when), file.Close()); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(tree.SetDirTime("a/b", when), tree.Symlink("/nowhere", "a/s", when)); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"a/b/c", "a/b", "a/s"} {
		info, err := os.Lstat(filepath.Join(inside, name))
		if err != nil || !info.ModTime().Equal(when) || name == "a/b/c" && info.Mode() != 0o777 {
			t.Errorf("%s is %v of %v, %v; want the time %v and all permissions", name, info.Mode(), info.ModTime(), err, when)
		}
	}
	if err := fsx.RemoveAll(inside); err != nil {
		t.Errorf("RemoveAll(very deep) = %v; want nil", err)
	}
}
