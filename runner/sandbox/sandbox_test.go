//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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

	"github.com/google/go-cmp/cmp"
)

func TestFunctionSeesOnlyItsOwn(t *testing.T) {
	t.Parallel()
	sb := start(t, newPool(t, Options{}), Spec{Task: t.TempDir()})
	if err := sb.Exec(t.Context(), Process{
		Path: program, Args: []string{"inside", "inside", "look"}, Env: []string{"A=1", "B=two words"},
	}); err != nil {
		t.Fatal(err)
	}
	out, exit := finish(t, sb)
	if exit != (Exit{}) {
		t.Errorf("exit = %v; want zero", exit)
	}
	checkLook(t, fields(out))
	if got, want := fields(out)["Uid:"], fmt.Sprintf("%[1]d %[1]d %[1]d %[1]d", 100000+sb.slot); got != want {
		t.Errorf("Uid = %q; want %q", got, want)
	}
	if t.Failed() {
		t.Log(out)
	}
}

// checkLook holds for root and rootless sandboxes.
func checkLook(t *testing.T, got map[string]string) {
	t.Helper()
	want := map[string]string{
		"stat:/root": "ENOENT", "stat:/home": "ENOENT", "stat:/etc/shadow": "ENOENT", "stat:/etc/ssh": "ENOENT",
		"stat:/dev/shm": "ENOENT", "stat:/dev/kmsg": "ENOENT", "stat:/sys": "ENOENT", "stat:/run": "ENOENT", "stat:/boot": "ENOENT",
		"create:/": "EROFS", "create:/var/task": "EROFS", "create:/opt": "EROFS", "create:/usr": "EROFS", "create:/etc": "EROFS",
		"create:/var/runtime": "EROFS", "create:/dev": "EROFS", "create:/usr/local": "EROFS", "create:/var": "EROFS", "create:/tmp": "",
		"CapInh:": "0000000000000000", "CapPrm:": "0000000000000000", "CapEff:": "0000000000000000",
		"CapBnd:": "0000000000000000", "CapAmb:": "0000000000000000", "NoNewPrivs:": "1", "Seccomp:": "2",
		"pids": got["self"], "user": "sbx_user1051", "cwd": "/var/task", "hostname": "sandbox", "env": "A=1 B=two words", "umask": "22",
		"oom_score_adj":        "1000",
		"limit:Max-open-files": "1024,1024", "limit:Max-processes": "742,742",
		"limit:Max-locked-memory": "65536,65536", "limit:Max-stack-size": "8388608,8388608",
		"fds": "0=/dev/null,1=pipe,2=pipe", "interfaces": "lo[127.0.0.1/8 169.254.100.1/32 ::1/128]", "stdout": "",
	}
	for k, w := range want {
		if g, ok := got[k]; g != w || !ok {
			if k == "interfaces" && g == strings.Replace(w, " ::1/128", "", 1) {
				continue // a host without IPv6
			}
			t.Errorf("%s = %q; want %q", k, g, w)
		}
	}
	for m := range strings.SplitSeq(got["mounts"], "|") {
		f := strings.Fields(m)
		if len(f) < 6 || f[4] == "/tmp" || f[4] == "/proc" || strings.HasPrefix(f[4], "/dev/") || strings.HasPrefix(f[4], "/proc/") {
			continue
		}
		if o := "," + f[5] + ","; !strings.Contains(o, ",ro,") || !strings.Contains(o, ",nosuid,") || !strings.Contains(o, ",nodev,") {
			t.Errorf("mount %s has %s; want ro,nosuid,nodev", f[4], f[5])
		}
	}
}

func TestTaskAndOptBelongToRoot(t *testing.T) {
	t.Parallel()
	sb := start(t, newPool(t, Options{}), Spec{Task: t.TempDir(), Layers: []string{t.TempDir()}})
	out, _ := run(t, sb, "look")
	got := fields(out)
	for k, want := range map[string]string{"owner:/var/task": "0:0 755", "owner:/opt": "0:0 755", "owner:/tmp": "0:0 1777"} {
		if got[k] != want {
			t.Errorf("%s = %q; want %q", k, got[k], want)
		}
	}
}

var wantRefused = map[string]string{
	"mount": "EPERM", "umount2": "EPERM", "unshare": "EPERM", "setns": "EPERM", "ptrace": "EPERM", "bpf": "EPERM", "keyctl": "EPERM",
	"clone3": "ENOSYS", "clone-newuser": "EPERM", "chroot": "EPERM", "io_uring": "EPERM", "open_by_handle_at": "EPERM",
	"vsock": "EAFNOSUPPORT", "alg": "EAFNOSUPPORT", "packet": "EAFNOSUPPORT", "raw-inet": "EPERM", "setuid": "EPERM",
	"kill-init": "EPERM",
}

func TestSystemCallsAreRefused(t *testing.T) {
	t.Parallel()
	sb := start(t, newPool(t, Options{}), Spec{Task: t.TempDir()})
	out, _ := run(t, sb, "refused")
	got := fields(out)
	for k, want := range wantRefused {
		if got[k] != want {
			t.Errorf("%s = %q; want %q", k, got[k], want)
		}
	}
	for k, want := range map[string]string{"init-environ": "ENOENT", "init-root": "ENOENT"} {
		if got[k] != want {
			t.Errorf("%s = %q; want %q", k, got[k], want)
		}
	}
}

func TestLayers(t *testing.T) {
	t.Parallel()
	a := write(t, t.TempDir(), map[string]string{"who": "a", "only-a": "a", "thing": "file in a", "dir/a": "a"})
	b := write(t, t.TempDir(), map[string]string{"who": "b", "thing/inner": "dir in b", "dir/b": "b"})
	c := write(t, t.TempDir(), map[string]string{"who": "c", "dir": "file in c"})
	odd := write(t, filepath.Join(t.TempDir(), `x:y,z w\q`), map[string]string{"who": "odd"})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(a, link); err != nil {
		t.Fatal(err)
	}
	long := write(t, filepath.Join(t.TempDir(), strings.Repeat("d", 200), strings.Repeat("e", 200)), map[string]string{"who": "long"})
	p := newPool(t, Options{})
	for _, c := range []struct {
		name   string
		layers []string
		want   map[string]string
	}{
		{"no layer is an empty directory", nil, map[string]string{"/opt": ""}},
		{"one layer", []string{a}, map[string]string{"/opt": "dir,only-a,thing,who", "/opt/who": "a"}},
		{"the last wins and a directory replaces a file", []string{a, b}, map[string]string{
			"/opt": "dir,only-a,thing,who", "/opt/who": "b", "/opt/thing/inner": "dir in b", "/opt/dir": "a,b",
		}},
		{"and the other way round", []string{b, a}, map[string]string{
			"/opt/who": "a", "/opt/thing": "file in a", "/opt/dir": "a,b",
		}},
		{"a file replaces directories", []string{a, b, c}, map[string]string{"/opt/who": "c", "/opt/dir": "file in c"}},
		{"of a layer given twice the later counts", []string{a, b, a}, map[string]string{"/opt/who": "a", "/opt/thing": "file in a"}},
		{"also through a link", []string{link, b, a}, map[string]string{"/opt/who": "a"}},
		{"the same twice is one", []string{a, a}, map[string]string{"/opt/who": "a"}},
		{"odd characters, alone", []string{odd}, map[string]string{"/opt/who": "odd"}},
		{"odd characters, stacked", []string{a, odd}, map[string]string{"/opt/who": "odd", "/opt/only-a": "a"}},
		{"long paths", []string{a, b, c, odd, long}, map[string]string{"/opt/who": "long", "/opt/only-a": "a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sb := start(t, p, Spec{Task: t.TempDir(), Layers: c.layers})
			for path, want := range c.want {
				verb := "list"
				if path != "/opt" && (path != "/opt/dir" || !strings.Contains(want, ",")) {
					verb = "cat"
				}
				out, _ := run(t, sb, verb, path)
				if got := fields(out)[path]; got != want {
					t.Errorf("%s %s = %q; want %q", verb, path, got, want)
				}
			}
			out, _ := run(t, sb, "write", "/opt/new", "x")
			if got := fields(out)["write"]; got != "EROFS" {
				t.Errorf("write in /opt = %q; want EROFS", got)
			}
		})
	}
}

func TestBindsAndMasks(t *testing.T) {
	t.Parallel()
	host := write(t, filepath.Join(t.TempDir(), "a b:c,d"), map[string]string{"bin/x": "x", "lib/site/secret": "s", "lib/ok": "ok"})
	sb := start(t, newPool(t, Options{}), Spec{
		Task: host,
		Binds: []Bind{
			{Source: host, Target: "/var/lang"},
			{Source: filepath.Join(host, "bin/x"), Target: "/var/runtime/deep/x"},
		},
		Masks: []string{"/var/lang/lib/site", "/absent", "/var/task/lib/ok"},
	})
	out, _ := run(t, sb, "cat", "/var/lang/bin/x", "/var/runtime/deep/x", "/var/lang/lib/site/secret", "/var/lang/lib/ok", "/var/task/lib/ok", "/var/task/bin/x")
	got := fields(out)
	for k, want := range map[string]string{
		"/var/lang/bin/x": "x", "/var/runtime/deep/x": "x", "/var/lang/lib/site/secret": "ENOENT",
		"/var/lang/lib/ok": "ok", "/var/task/lib/ok": "", "/var/task/bin/x": "x",
	} {
		if got[k] != want {
			t.Errorf("%s = %q; want %q", k, got[k], want)
		}
	}
	for _, path := range []string{"/var/lang/lib/site/new", "/var/lang/new", "/var/runtime/deep/x"} {
		out, _ := run(t, sb, "write", path, "x")
		if got := fields(out)["write"]; got != "EROFS" {
			t.Errorf("write %s = %q; want EROFS", path, got)
		}
	}
}

func TestStartFailsTyped(t *testing.T) {
	t.Parallel()
	p := newPool(t, Options{})
	absent := filepath.Join(t.TempDir(), "absent")
	for _, c := range []struct {
		name string
		spec Spec
	}{
		{"task", Spec{Task: absent}},
		{"one layer", Spec{Layers: []string{absent}}},
		{"layer of two", Spec{Layers: []string{t.TempDir(), absent}}},
		{"bind", Spec{Binds: []Bind{{Source: absent, Target: "/var/lang"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := p.Start(t.Context(), c.spec)
			e, ok := errors.AsType[*Error](err)
			if !ok || !errors.Is(err, syscall.ENOENT) || !strings.Contains(e.Step, absent) {
				t.Errorf("Start = %v; want an *Error about %s that is ENOENT", err, absent)
			}
		})
	}
	if n := len(p.live); n != 0 {
		t.Errorf("%d sandboxes left; want none", n)
	}
}

func TestTmpIsLimited(t *testing.T) {
	t.Parallel()
	sb := start(t, newPool(t, Options{}), Spec{TmpBytes: 8 << 20})
	out, _ := run(t, sb, "fill", "/tmp/big")
	if got, want := fields(out), map[string]string{"written": strconv.Itoa(8 << 20), "end": "ENOSPC"}; !cmp.Equal(got, want) {
		t.Errorf("fill = %v; want %v", got, want)
	}
}

func TestNetworkIsPrivate(t *testing.T) {
	t.Parallel()
	p := newPool(t, Options{})
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	one, two := start(t, p, Spec{}), start(t, p, Spec{})
	var wg sync.WaitGroup
	defer wg.Wait()
	for name, sb := range map[string]*Sandbox{"one": one, "two": two} {
		wg.Go(func() {
			for {
				c, err := sb.Listener().Accept()
				if err != nil {
					return
				}
				io.WriteString(c, "api-of-"+name)
				c.Close()
			}
		})
	}
	for name, sb := range map[string]*Sandbox{"one": one, "two": two} {
		out, _ := run(t, sb, "dial", Address, "127.0.0.1:9001", host.Addr().String(), "8.8.8.8:53", "169.254.169.254:80")
		want := "api-of-" + name + Address + " \napi-of-" + name + "127.0.0.1:9001 \n" +
			host.Addr().String() + " ECONNREFUSED\n8.8.8.8:53 ENETUNREACH\n169.254.169.254:80 ENETUNREACH\n"
		if out != want {
			t.Errorf("dial from %s = %q; want %q", name, out, want)
		}
	}
	if err := errors.Join(one.Close(), two.Close()); err != nil { // ends the accepts
		t.Error(err)
	}
}

func TestExits(t *testing.T) {
	t.Parallel()
	sb := start(t, newPool(t, Options{}), Spec{})
	for _, c := range []struct {
		args []string
		want Exit
	}{
		{[]string{"exit", "0"}, Exit{}},
		{[]string{"exit", "7"}, Exit{Code: 7}},
		{[]string{"signal", "9"}, Exit{Signal: syscall.SIGKILL}},
		{[]string{"signal", "15"}, Exit{Signal: syscall.SIGTERM}},
	} {
		if _, got := run(t, sb, c.args...); got != c.want {
			t.Errorf("%v: exit = %v; want %v", c.args, got, c.want)
		}
	}
}

func TestExecErrors(t *testing.T) {
	t.Parallel()
	task := write(t, t.TempDir(), map[string]string{"plain": "text", "script": "#!/absent\n"})
	if err := os.Chmod(filepath.Join(task, "script"), 0o755); err != nil {
		t.Fatal(err)
	}
	sb := start(t, newPool(t, Options{}), Spec{Task: task})
	for _, c := range []struct {
		path, dir string
		want      error
	}{
		{"/var/task/bootstrap", "", syscall.ENOENT},
		{"/var/task/script", "", syscall.ENOENT},
		{"/var/task/plain", "", syscall.EACCES},
		{"/var/task", "", syscall.EACCES},
		{"/bin/true", "/absent", syscall.ENOENT},
	} {
		err := sb.Exec(t.Context(), Process{Path: c.path, Args: []string{"x"}, Dir: c.dir})
		if e, ok := errors.AsType[*Error](err); !ok || !errors.Is(err, c.want) || e.Step != "exec "+c.path {
			t.Errorf("Exec(%s) = %v; want *Error that is %v", c.path, err, c.want)
		}
	}
	if err := sb.Exec(t.Context(), Process{Path: "true"}); err == nil {
		t.Error("Exec of a relative path = nil; want an error")
	}
	if _, got := run(t, sb, "exit", "3"); got.Code != 3 {
		t.Errorf("exit after errors = %v; want code 3", got)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	t.Parallel()
	sb := start(t, newPool(t, Options{}), Spec{})
	sleep := Process{Path: program, Args: []string{"inside", "inside", "sleep"}}
	if err := sb.Exec(t.Context(), sleep); err != nil {
		t.Fatal(err)
	}
	if err := sb.Exec(t.Context(), sleep); err == nil {
		t.Error("second Exec = nil; want an error")
	}
}

func TestKilledProcessStartsAgainAndKeepsTmp(t *testing.T) {
	t.Parallel()
	sb := start(t, newPool(t, Options{}), Spec{})
	if err := sb.KillProcesses(t.Context()); err != nil {
		t.Errorf("KillProcesses of none = %v; want nil", err)
	}
	run(t, sb, "write", "/tmp/kept", "still here")
	for range 3 {
		if err := sb.Exec(t.Context(), Process{Path: program, Args: []string{"inside", "inside", "orphans"}}); err != nil {
			t.Fatal(err)
		}
		awaitReady(t, sb)
		if err := sb.KillProcesses(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-sb.Exited():
			if got.Signal != syscall.SIGKILL {
				t.Errorf("exit = %v; want killed", got)
			}
		default:
			t.Error("no exit when KillProcesses returned; want one")
		}
		if got := descendants(t, sb.proc.Pid); len(got) != 0 {
			t.Errorf("processes left: %v; want none", got)
		}
	}
	out, _ := run(t, sb, "cat", "/tmp/kept")
	if got := fields(out)["/tmp/kept"]; got != "still here" {
		t.Errorf("/tmp/kept = %q; want still here", got)
	}
}

func TestKillingRemovesWhatOutlivesProcesses(t *testing.T) {
	t.Parallel()
	sb := start(t, newPool(t, Options{}), Spec{})
	count := func() (n int) {
		out, _ := run(t, sb, "cat", "/proc/sysvipc/shm", "/proc/sysvipc/msg", "/proc/sysvipc/sem")
		return strings.Count(strings.TrimSpace(out), "\n") + 1 - 3 // each has a heading
	}
	out, _ := run(t, sb, "share")
	if got := count(); got != 3 {
		t.Fatalf("%d things shared; want 3 (%s)", got, out)
	}
	if err := sb.KillProcesses(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := count(); got != 0 {
		t.Errorf("%d things left; want none", got)
	}
}

// An exit that nobody received must not pass for the next process's.
func TestExecDropsAnExitNobodyReceived(t *testing.T) {
	t.Parallel()
	sb := start(t, newPool(t, Options{}), Spec{})
	if err := sb.Exec(t.Context(), Process{Path: program, Args: []string{"inside", "inside", "exit", "9"}}); err != nil {
		t.Fatal(err)
	}
	if err := sb.KillProcesses(t.Context()); err != nil { // whether or not it exited by itself
		t.Fatal(err)
	}
	if _, got := run(t, sb, "exit", "4"); got != (Exit{Code: 4}) {
		t.Errorf("exit = %v; want code 4", got)
	}
}

func TestControlGroupPathsAreHidden(t *testing.T) {
	t.Parallel()
	sb := start(t, newPool(t, Options{}), Spec{})
	out, _ := run(t, sb, "cat", "/proc/self/cgroup")
	for l := range strings.Lines(strings.TrimPrefix(out, "/proc/self/cgroup ")) {
		if path := strings.TrimSpace(l[strings.LastIndex(l, ":")+1:]); path != "/" {
			t.Errorf("control group = %q; want /", path)
		}
	}
}

// Interpreters and shells need more of the system than a Go program does.
func TestProgramsOfTheHostRun(t *testing.T) {
	t.Parallel()
	sb := start(t, newPool(t, Options{}), Spec{Task: t.TempDir()})
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"/bin/sh", "-c", "echo out > /dev/stdout; echo err >&2; id -un; cd /tmp && echo hi | cat > f && cat f"}, "out\nerr\nsbx_user1051\nhi\n"},
		{[]string{"/usr/bin/python3", "-c", "import socket, ssl, threading, subprocess; print(subprocess.check_output(['pwd']).decode(), end='')"}, "/var/task\n"},
		{[]string{"/usr/bin/node", "-e", "require('fs').writeFileSync('/dev/stdout', require('os').userInfo().username + '\\n')"}, "sbx_user1051\n"},
	} {
		if _, err := os.Stat(c.args[0]); err != nil {
			t.Logf("skipped: %v", err)
			continue
		}
		out, exit := runProcess(t, sb, Process{Path: c.args[0], Args: c.args, Env: []string{"PATH=/usr/bin:/bin"}})
		if out != c.want || exit != (Exit{}) {
			t.Errorf("%v = %q, %v; want %q", c.args, out, exit, c.want)
		}
	}
}

func TestPeakMemory(t *testing.T) {
	t.Parallel()
	sb := start(t, newPool(t, Options{}), Spec{})
	if _, err := sb.PeakMemory(); err == nil {
		t.Error("PeakMemory before Exec = nil error; want one")
	}
	if err := sb.Exec(t.Context(), Process{Path: program, Args: []string{"inside", "inside", "memory"}}); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, sb)
	if got, err := sb.PeakMemory(); err != nil || got < 64<<20 || got > 256<<20 {
		t.Errorf("PeakMemory = %d, %v; want a little over 64 MiB", got, err)
	}
	if err := sb.KillProcesses(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := sb.PeakMemory(); err == nil { // without a limit there is only the process to ask
		t.Errorf("PeakMemory of a dead process = %d; want an error", got)
	}
}

// offspring are the children of each process that has some, zombies too.
func offspring() (map[int][]int, error) {
	children := map[int][]int{}
	es, err := os.ReadDir("/proc")
	for _, e := range es {
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		self, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		if parent, err := strconv.Atoi(strings.Fields(rest)[1]); err == nil {
			children[parent] = append(children[parent], self)
		}
	}
	return children, err
}

// descendants lists the processes below pid, as the host sees them.
func descendants(t testing.TB, pid int) []int {
	t.Helper()
	children, err := offspring()
	if err != nil {
		t.Fatal(err)
	}
	var all []int
	for next := children[pid]; len(next) > 0; next = next[1:] {
		all = append(all, next[0])
		next = append(next, children[next[0]]...)
	}
	return all
}

// Not parallel: it counts what the whole process has.
func TestNothingIsLeft(t *testing.T) {
	count := func() map[string]int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return map[string]int{
			"descriptors": len(fds), "mounts": bytes.Count(mounts, []byte("\n")), "processes": len(descendants(t, os.Getpid())),
		}
	}
	need(t) // has its own first-time descriptors, such as the poller's
	before := count()
	p := newPool(t, Options{Parked: 2})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1) // Run's result, sent once
	go func() { done <- p.Run(ctx) }()
	layers := []string{t.TempDir(), t.TempDir()}
	for i := range 4 {
		sb, err := p.Start(t.Context(), spec(t, Spec{Task: t.TempDir(), Layers: layers}))
		if err != nil {
			t.Fatal(err)
		}
		if err := sb.Exec(t.Context(), Process{Path: program, Args: []string{"inside", "inside", "orphans"}}); err != nil {
			t.Fatal(err)
		}
		if i == 3 {
			break // Run closes what its owner did not
		}
		if err := sb.Close(); err != nil {
			t.Error(err)
		}
		if err := sb.Close(); err != nil {
			t.Errorf("second Close = %v; want nil", err)
		}
		if _, ok := <-sb.Exited(); ok {
			if _, ok := <-sb.Exited(); ok {
				t.Error("Exited has two values; want one and the end")
			}
		}
		if err := sb.Exec(t.Context(), Process{Path: program}); err == nil {
			t.Error("Exec after Close = nil; want an error")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v; want nil", err)
	}
	if _, err := p.Start(t.Context(), Spec{}); !errors.Is(err, errClosed) {
		t.Errorf("Start after Run = %v; want %v", err, errClosed)
	}
	if after := count(); !cmp.Equal(before, after) {
		t.Errorf("left behind: %s", cmp.Diff(before, after))
	}
}

func TestConcurrentStarts(t *testing.T) {
	t.Parallel()
	p := running(t, newPool(t, Options{Parked: 3}))
	task := write(t, t.TempDir(), map[string]string{"f": "x"})
	var mu sync.Mutex
	uids := map[string]bool{}
	var wg sync.WaitGroup
	var all []*Sandbox
	for range 8 {
		sb := start(t, p, Spec{Task: task, Layers: []string{task, t.TempDir()}})
		all = append(all, sb)
	}
	for _, sb := range all {
		wg.Go(func() {
			out, exit := run(t, sb, "look")
			if exit != (Exit{}) {
				t.Errorf("exit = %v; want zero", exit)
			}
			mu.Lock()
			defer mu.Unlock()
			uids[fields(out)["Uid:"]] = true
		})
	}
	for range 8 {
		wg.Go(func() {
			sb, err := p.Start(t.Context(), Spec{Task: task})
			if err != nil {
				t.Errorf("Start = %v; want nil", err)
				return
			}
			if err := sb.Close(); err != nil {
				t.Errorf("Close = %v; want nil", err)
			}
		})
	}
	wg.Wait()
	if len(uids) != 8 {
		t.Errorf("users = %v; want 8 different", uids)
	}
}

func TestContextBoundsTheWait(t *testing.T) {
	t.Parallel()
	p := newPool(t, Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("asked to")
	cancel(why)
	if _, err := p.Start(ctx, Spec{}); !errors.Is(err, why) {
		t.Errorf("Start = %v; want %v", err, why)
	}
	if n := len(p.live); n != 0 {
		t.Errorf("%d sandboxes left; want none", n)
	}
}

func TestParkedThatDiedIsReplaced(t *testing.T) {
	t.Parallel()
	p := running(t, newPool(t, Options{Parked: 1}))
	first := awaitParked(t, p)
	if err := first.proc.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.gone
	if second := awaitParked(t, p); second == first {
		t.Error("the dead one is parked")
	}
	run(t, start(t, p, Spec{}), "exit", "0")
}

func TestParkedAreTakenInTurn(t *testing.T) {
	t.Parallel()
	p := running(t, newPool(t, Options{Parked: 2}))
	for range 3 {
		first := awaitParked(t, p)
		if got := start(t, p, Spec{}); got != first {
			t.Error("Start made another sandbox than the one that waits longest")
		}
		p.mu.Lock()
		if slices.Contains(p.parked, first) {
			t.Error("a sandbox that was taken is parked")
		}
		p.mu.Unlock()
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // for the one that is being made
		p.mu.Lock()
		live, parked := len(p.live), len(p.parked)
		p.mu.Unlock()
		if parked == 2 && live == 5 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d sandboxes live, %d of them parked; want 5, and 2", live, parked)
		}
	}
}

// awaitParked waits until a sandbox is parked.
func awaitParked(t testing.TB, p *Pool) *Sandbox {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Microsecond) { // the pool tells nobody
		p.mu.Lock()
		n := len(p.parked)
		var s *Sandbox
		if n == p.parkedMax {
			s = p.parked[0]
		}
		p.mu.Unlock()
		if s != nil {
			return s
		}
	}
	t.Fatal("pool did not fill")
	return nil
}

// doomedServer runs a function and says which process is its init.
func doomedServer(args []string) int {
	p, err := NewPool(Options{})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ctx := context.Background()
	s, err := p.Start(ctx, Spec{Binds: []Bind{{Source: args[0], Target: program}}})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if err := s.Exec(ctx, Process{Path: program, Args: []string{"inside", "inside", "orphans"}}); err != nil {
		fmt.Println(err)
		return 1
	}
	if l, err := firstLine(s.Output()); l != "ready" {
		fmt.Println(l, err)
		return 1
	}
	fmt.Println(s.proc.Pid)
	if s.group != nil && len(args) > 1 {
		if args[1] == "frozen" {
			s.group.mu.Lock()
			err := s.group.freeze(true)
			s.group.mu.Unlock()
			if err != nil {
				fmt.Println(err)
				return 1
			}
		}
		fmt.Println(p.instance.name)
	}
	select {}
}

func TestKillingTheServerKillsTheSandbox(t *testing.T) {
	t.Parallel()
	need(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "server", self)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := firstLine(out)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatalf("server said %q; want a process ID", line)
	}
	all := append(descendants(t, pid), pid)
	if len(all) < 3 {
		t.Errorf("processes = %v; want an init and several more", all)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // killed, as we know
	alive := func(pid int) bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err == nil && !strings.Contains(string(b), ") Z ") // nobody may reap it here
	}
	for end := time.Now().Add(10 * time.Second); slices.ContainsFunc(all, alive); time.Sleep(time.Millisecond) { // not our children: nothing tells
		if time.Now().After(end) {
			t.Fatalf("processes %v outlive the server", all)
		}
	}
}
