package layer_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// sameStat compares what only stat tells: links, owners, and that inodes have
// numbers of their own.
func sameStat(t *testing.T, got, want string, names map[string]string) {
	t.Helper()
	seen := map[uint64]string{}
	for name := range names {
		a, err := os.Lstat(got + "/" + name)
		if err != nil {
			t.Error(err)
			continue
		}
		b, err := os.Lstat(filepath.Join(want, name))
		if err != nil {
			t.Fatal(err)
		}
		x, y := a.Sys().(*syscall.Stat_t), b.Sys().(*syscall.Stat_t) //nolint:forcetypeassert // Linux
		if x.Nlink != y.Nlink || x.Uid != y.Uid || x.Gid != y.Gid || x.Rdev != y.Rdev {
			t.Errorf("%s: %d links, owner %d:%d; want %d, %d:%d", name, x.Nlink, x.Uid, x.Gid, y.Nlink, y.Uid, y.Gid)
		}
		if other, taken := seen[x.Ino]; taken || x.Ino == 0 {
			t.Errorf("%s has the inode %d, of %q", name, x.Ino, other)
		}
		seen[x.Ino] = name
	}
}
