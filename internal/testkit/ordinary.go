package testkit

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// Ordinary is a user without privileges: one of its own when the test is root,
// else the test's.
type Ordinary struct {
	Home  string // a directory of its own, which others can enter
	Group string // control group that was handed to it by [Ordinary.Delegate]; empty is none

	binary string
	id     string // empty when the test is not root
	tun    string // what it finds at /dev/net/tun; empty is the host's
}

// ordinaries counts those of this process.
var ordinaries atomic.Int32

// OrdinaryUser makes one that can open TUN devices, as on most machines. Its
// number is most likely nobody else's: the kernel counts by user.
func OrdinaryUser(t testing.TB) *Ordinary {
	t.Helper()
	u := &Ordinary{binary: Binary(t)}
	if os.Geteuid() != 0 {
		u.Home = t.TempDir()
		return u
	}
	number := 60000 + (os.Getpid()*8+int(ordinaries.Add(1)))%5000
	u.id = strconv.Itoa(number)
	home, err := os.MkdirTemp("", "lamina-ordinary-") // those of t.TempDir are root's alone
	if err != nil {
		t.Fatal(err)
	}
	u.Home = home
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Errorf("remove the home of user %s: %v", u.id, err)
		}
	})
	binary := filepath.Join(home, "lamina")
	u.tun = filepath.Join(home, "tun")
	for _, command := range [][]string{
		{"cp", u.binary, binary}, // not by this process: who forks meanwhile would keep it open for writing
		{"mknod", "-m", "666", u.tun, "c", "10", "200"},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
	}
	u.binary = binary
	if err := errors.Join(os.Chmod(home, 0o755), os.Chown(home, number, number)); err != nil {
		t.Fatal(err)
	}
	return u
}

// Delegate hands a control group of version 2 to the user, as systemd does with
// Delegate=yes, with whatever controllers this machine has for it. The group is
// taken away at the end of the test. It says what is missing, if something is.
func (u *Ordinary) Delegate(t testing.TB) (missing string) {
	t.Helper()
	if u.id == "" {
		return "not root"
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err.Error()
	}
	top := ""
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); strings.Contains(line, " - cgroup2 ") && len(f) > 4 {
			top = f[4]
		}
	}
	if top == "" {
		return "no cgroup v2"
	}
	group := filepath.Join(top, "lamina-test-"+u.id)
	if err := os.Mkdir(group, 0o755); err != nil {
		return err.Error()
	}
	t.Cleanup(func() {
		if err := removeGroups(group); err != nil {
			t.Errorf("remove the control group: %v", err)
		}
	})
	for _, c := range []string{"+memory", "+cpu", "+pids"} {
		_ = os.WriteFile(filepath.Join(top, "cgroup.subtree_control"), []byte(c), 0) // version 1 has it
	}
	number, _ := strconv.Atoi(u.id) // we made it
	for _, name := range []string{"", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"} {
		if err := os.Chown(filepath.Join(group, name), number, number); err != nil {
			return err.Error()
		}
	}
	u.Group = group
	return ""
}

// removeGroups removes empty groups, the inner ones first.
func removeGroups(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroups(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.Remove(dir)
}

// Command is one of lamina, run by the user. Its process is the one that starts.
func (u *Ordinary) Command(args ...string) *exec.Cmd {
	if u.id == "" {
		return exec.Command(u.binary, args...)
	}
	const script = `set -e
[ -z "$1" ] || echo $$ >"$1/cgroup.procs"
[ ! -e /dev/net/tun ] || mount --bind "$2" /dev/net/tun
user=$3
shift 3
exec setpriv --reuid "$user" --regid "$user" --clear-groups -- "$@"`
	all := append([]string{"--mount", "sh", "-c", script, "sh", u.Group, u.tun, u.id, u.binary}, args...)
	cmd := exec.Command("unshare", all...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "HOME="+u.Home, "XDG_DATA_HOME=", "TMPDIR=")
	return cmd
}
