// Package escape is hostile function code against a running server: what a
// stranger would try, one by one, each with the answer that it must get. A
// neighbour works on meanwhile, and must neither lose its secrets nor its pace.
package escape

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

var (
	//go:embed testdata/hostile.py
	hostile string
	//go:embed testdata/victim.py
	victim string
)

// attempt is one thing to try, and the only answers that mean that it failed.
type attempt struct {
	name string
	want string // a regular expression for the whole answer
	on   string // the function that tries; empty is attacker

	rootless string // what a server of an ordinary user's answers, if that is another
	needs    string // what is said not to be enforced where the attempt succeeds; empty is never
}

// What a machine may not enforce, in the words of doctor.
const (
	memoryGroup = "no control group for memory"
	cpuGroup    = "no control group for the processors"
	freezing    = "no control group that freezes"
)

const (
	attacker = "attacker" // room and time for much
	spinner  = "spinner"  // little time
)

// attempts are in an order that some need.
var attempts = []attempt{
	{name: "read /etc/shadow", want: "ENOENT"},
	{name: "read homes", want: "ENOENT"},
	{name: "read the data directory", want: "ENOENT"},
	{name: "list the root", want: "known"},
	{name: "list /etc", want: "known"},
	{name: "read the server's environment", want: "ENOENT"},
	{name: "read the init", want: "ENOENT"},
	{name: "climb out by /proc", want: "ENOENT"},
	{name: "read devices", want: "ENOENT"},
	{name: "open the terminal", want: "ENOENT"},
	{name: "read the kernel's memory", want: "EACCES"},
	{name: "see the kernel's addresses", want: "hidden"},
	{name: "see keys of the kernel", want: "got b''"},
	{name: "write /sys", want: "ENOENT"},
	{name: "write a control group", want: "ENOENT"},
	{name: "see control groups", want: "hidden"},
	{name: "write core_pattern", want: "EACCES"},
	{name: "press sysrq", want: "EACCES|ENOENT"},
	{name: "write sysctls", want: "EACCES"},
	{name: "escape the memory killer", want: "EACCES"},
	{name: "map users", want: "EPERM"},

	{name: "find the victim's code", want: "none"},
	{name: "find the victim's layer", want: "none"},
	{name: "find the victim's /tmp", want: "none"},
	{name: "find the victim's environment", want: "none"},
	{name: "see other processes", want: "none"},
	{name: "answer the victim's invocation", want: `HTTP/1.1 400 .*`},
	{name: "reach the victim's Runtime API", want: "EHOSTUNREACH"},

	{name: "reach the host's loopback", want: "ECONNREFUSED"},
	{name: "reach the host by the gateway", want: "EHOSTUNREACH"},
	{name: "reach the host by its own address", want: "EHOSTUNREACH"},
	{name: "reach the metadata address", want: "EHOSTUNREACH"},
	{name: "reach the metadata address by UDP", want: "EHOSTUNREACH"},
	{name: "reach the relay", want: "ECONNRESET|EPIPE"},
	{name: "broadcast", want: "EACCES"},
	{name: "ask Lamina without a key", want: "403"},
	{name: "connect to the host's abstract socket", want: "ECONNREFUSED"},
	{name: "connect to the host's sockets", want: "ENOENT"},
	{name: "raw sockets", want: "EPERM"},
	{name: "raw sockets of any protocol", want: "EPROTONOSUPPORT"},
	{name: "packet sockets", want: "EAFNOSUPPORT"},
	{name: "vsock", want: "EAFNOSUPPORT"},
	{name: "sockets of the kernel's cryptography", want: "EAFNOSUPPORT"},
	{name: "bluetooth and other families", want: "EAFNOSUPPORT"},
	{name: "firewall by netlink", want: "EPROTONOSUPPORT"},
	{name: "change the network", want: "EPERM"},
	{name: "serve a privileged port", want: "EACCES"},

	{name: "write code, layers and system", want: "EROFS"},
	{name: "replace files", want: "EROFS"},
	{name: "change modes", want: "EROFS"},
	{name: "write in /dev/shm", want: "ENOENT"},
	{name: "link out of /tmp by name", want: "ENOENT"},
	{name: "link out of a layer", want: "ENOENT"},
	{name: "hard links", want: "EXDEV|EPERM"},
	{name: "set-user-ID program of a layer", want: "own user", rootless: "not of root"},
	{name: "set-user-ID program of one's own", want: "own user"},
	{name: "inherited descriptors", want: "known"},
	{name: "make devices", want: "EPERM"},

	{name: "capabilities", want: "none"},
	{name: "new privileges", want: "12"}, // forbidden; filtered
	{name: "become root", want: "EPERM"},
	{name: "supplementary groups", want: "none"},
	{name: "raise limits", want: "not allowed to raise maximum limit"},
	{name: "limits of the init", want: "EPERM"},
	{name: "real-time priority", want: "EPERM"},
	{name: "signal outside", want: "ESRCH"},
	{name: "signal the init", want: "EPERM"},
	{name: "signal the init by its threads", want: "done"},
	{name: "the init has survived", want: "yes"},
	{name: "hold of a process outside", want: "ESRCH"},

	{name: "mount", want: "EPERM"},
	{name: "mount by descriptors", want: "EPERM"},
	{name: "unshare", want: "EPERM"},
	{name: "setns", want: "EPERM"},
	{name: "clone with namespaces", want: "EPERM"},
	{name: "clone3", want: "ENOSYS"},
	{name: "ptrace", want: "EPERM"},
	{name: "memory of others", want: "EPERM"},
	{name: "bpf", want: "EPERM"},
	{name: "perf", want: "EPERM"},
	{name: "keyctl", want: "EPERM"},
	{name: "modules", want: "EPERM"},
	{name: "kexec and reboot", want: "EPERM"},
	{name: "io_uring", want: "EPERM"},
	{name: "userfaultfd", want: "EPERM"},
	{name: "swap", want: "EPERM"},
	{name: "names", want: "EPERM"},
	{name: "clocks", want: "EPERM"},
	{name: "accounting and quotas", want: "EPERM"},
	{name: "file handles", want: "EPERM"},
	{name: "ports and segments", want: "EPERM"},
	{name: "memory of other processors", want: "EPERM"},
	{name: "a call that nobody knows", want: "ENOSYS"},
	{name: "calls of x32", want: "ENOSYS"},
	{name: "calls of i386", want: "signal 31"}, // SIGSYS
}

// bombs are what a neighbour might feel.
var bombs = []attempt{
	{name: "fork bomb", want: "EAGAIN within 1024"},
	{name: "thread bomb", want: "refused within 1024"},
	{name: "descriptor bomb", want: "EMFILE within 1024"},
	{name: "pipe bomb", want: "bounded"},
	{name: "disk bomb", want: "ENOSPC within 4096 MiB"},
	{name: "inode bomb", want: "ENOSPC within 200000"},
	{name: "log bomb", want: "done"},
	{name: "connection flood", want: "done"},
	{name: "memory bomb", want: ".*signal: killed", needs: memoryGroup},
	{name: "memory bomb of many", want: ".*signal: killed", needs: memoryGroup},
	{name: "memory bomb without a file", want: ".*signal: killed", needs: memoryGroup},
	{name: "memory bomb that outlives", want: ".*signal: killed", needs: memoryGroup},
	// Which limit is met first depends on how fast the machine forks.
	{name: "replicate", want: "Sandbox.Timedout: .*Task timed out after 2.00 seconds|Runtime.OutOfMemory: .*signal: killed", on: spinner},
	{name: "spin", want: "Sandbox.Timedout: .*Task timed out after 2.00 seconds", on: spinner},
	{name: "ignore signals and spin", want: "Sandbox.Timedout: .*Task timed out after 2.00 seconds", on: spinner},
	{name: "kill everybody", want: "nobody but its own"},
	{name: "crash", want: "Runtime.ExitError: .*signal: segmentation fault"},
	{name: "daemon, then spin", want: "Sandbox.Timedout: .*", on: spinner},
	{name: "daemon is gone", want: "gone", on: spinner},
	{name: "daemon stays", want: "started"},
	{name: "daemon is idle", want: "stopped meanwhile", needs: freezing},
}

const role = "arn:aws:iam::" + testkit.Account + ":role/app"

func TestEscape(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Overlay, testkit.Network, testkit.Python, testkit.Root)
	attack(t, open(t, nil))
}

// TestEscapeRootless is the same with a server of an ordinary user's. Attempts
// against which it says that it has nothing are left out, and listed.
func TestEscapeRootless(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Overlay, testkit.Network, testkit.Python)
	attack(t, open(t, testkit.OrdinaryUser(t)))
}

func attack(t *testing.T, b *bench) {
	began := time.Now()
	b.invokeVictim() // warm
	if got := b.secretsSeen(); got != nil {
		t.Fatalf("the victim tells %v itself", got)
	}

	watch := b.watch()
	defer watch.end()
	for _, name := range []string{attacker, spinner} {
		if got := b.try(attempt{name: "list the root", on: name}); got != "known" {
			t.Fatalf("%s does not work: %s", name, got)
		}
	}
	quiet := watch.phase(2 * time.Second)
	for _, a := range attempts {
		t.Run(a.name, func(t *testing.T) { b.check(t, a) })
	}
	watch.mark()
	for _, a := range bombs {
		t.Run(a.name, func(t *testing.T) { b.check(t, a) })
	}
	storm := watch.marked()
	watch.end()

	t.Run("archives", b.archives)
	t.Run("nobody's secrets are told", func(t *testing.T) {
		if got := b.secretsSeen(); got != nil {
			t.Errorf("answers have %v in them; want none of the secrets", got)
		}
	})
	t.Run("the victim is as it was", func(t *testing.T) {
		if got := watch.born(); len(got) != 1 {
			t.Errorf("the victim was started %d times; want once", len(got))
		}
		for _, err := range watch.failures() {
			t.Errorf("the victim: %v; want it intact", err)
		}
	})
	t.Run("the victim keeps its pace", func(t *testing.T) {
		if strings.Contains(b.doctor, cpuGroup) {
			t.Logf("not enforced here, as doctor says: %s", cpuGroup)
			return
		}
		t.Logf("quiet: p50 %v, worst %v of %d; under attack: p50 %v, worst %v of %d",
			half(quiet), slices.Max(quiet), len(quiet), half(storm), slices.Max(storm), len(storm))
		// Generous, for machines with other work; without limits it is seconds.
		if got, want := half(storm), 20*max(half(quiet), 2*time.Millisecond); got > want {
			t.Errorf("p50 under attack = %v; want at most %v", got, want)
		}
		if got := slices.Max(storm); got > 5*time.Second {
			t.Errorf("worst under attack = %v; want at most 5 s", got)
		}
	})
	t.Run("the server is as it was", func(t *testing.T) {
		if err := testkit.Healthy(b.s.URL); err != nil {
			t.Error(err)
		}
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.s.PID()))
		if err != nil {
			t.Fatal(err)
		}
		if len(fds) > 1000 {
			t.Errorf("the server has %d descriptors; want at most 1000", len(fds))
		}
	})
	t.Logf("%d attempts in %v; not enforced here, as doctor says: %q", len(attempts)+len(bombs)-len(b.open), time.Since(began).Round(time.Second), b.open)
}

// bench is a server, its functions, and the secrets that nobody must learn.
type bench struct {
	t       *testing.T
	s       *testkit.Server
	client  *lambda.Client
	user    *testkit.Ordinary // nil is root
	doctor  string            // what it says
	open    []string          // attempts that it says would succeed
	runtime types.Runtime
	secrets map[string]string // what they are, by whose
	event   map[string]any    // what attempts are told

	mu    sync.Mutex
	heard bytes.Buffer // every answer and log of a hostile function
}

func open(t *testing.T, user *testkit.Ordinary) *bench {
	t.Helper()
	b := &bench{t: t, user: user, secrets: map[string]string{}}
	for _, whose := range []string{"server", "env", "tmp", "code", "layer", "service"} {
		b.secrets[whose] = fmt.Sprintf("%s-%016x-secret", whose, rand.Uint64())
	}
	b.s = testkit.Start(t, testkit.Options{
		User: user,
		Args: []string{"--network", "nat"},
		Env:  []string{"ESCAPE_SECRET=" + b.secrets["server"]},
	})
	b.client = b.s.Lambda()
	cmd := exec.Command(testkit.Binary(t), "doctor")
	if user != nil {
		cmd = user.Command("doctor")
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("doctor: %v", err)
	}
	b.doctor = string(out)
	b.runtime = newestPython(t, b.doctor)

	own, ownPort := ownService(t, b.secrets["service"])
	file := filepath.Join(t.TempDir(), "socket")
	abstract := fmt.Sprintf("lamina-escape-%016x", rand.Uint64())
	serve(t, "unix", file, b.secrets["service"])
	serve(t, "unix", "@"+abstract, b.secrets["service"])
	api, err := netip.ParseAddrPort(strings.TrimPrefix(b.s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	b.event = map[string]any{
		"data": b.s.Data, "server": strconv.Itoa(b.s.PID()), "api": api.Port(),
		"port": serve(t, "tcp", "127.0.0.1:0", b.secrets["service"]).(*net.TCPAddr).Port, "own": own, "ownport": ownPort,
		"socket": file, "abstract": abstract, "victim_request": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
		"idle": idle.Seconds(),
	}
	for _, whose := range []string{"env", "tmp", "code", "layer"} {
		b.event[whose] = backwards(b.secrets[whose])
	}

	b.function("victim", 256, 30, testkit.Zip(t, testkit.File{Name: "hostile.py", Body: strings.Replace(victim, "@CODE@", b.secrets["code"], 1)}),
		map[string]string{"VICTIM_ENV": b.secrets["env"], "VICTIM_TMP": b.secrets["tmp"]},
		b.layer("victim", testkit.Zip(t, testkit.File{Name: "secret", Body: b.secrets["layer"]})))
	id, err := os.ReadFile("/usr/bin/id")
	if err != nil {
		t.Fatal(err)
	}
	deep := b.layer("hostile", testkit.Zip(
		t,
		testkit.File{Name: "suid", Body: string(id), Mode: 0o755 | fs.ModeSetuid | fs.ModeSetgid},
		testkit.File{Name: "deep/file", Body: "x"},
		testkit.File{Name: "deep/absolute", Link: "/etc/shadow"},
		testkit.File{Name: "deep/init", Link: "/proc/1/root/etc/shadow"},
		testkit.File{Name: "deep/up", Link: "../../../../../../etc/shadow"},
		testkit.File{Name: "deep/chain", Link: "absolute"},
	))
	code := testkit.Zip(t, testkit.File{Name: "hostile.py", Body: hostile}, testkit.File{Name: "task-link", Link: "/etc/shadow"})
	b.function(attacker, 1024, 60, code, nil, deep)
	b.function(spinner, 256, 2, code, nil, deep)
	return b
}

// idle is how long the daemon is left alone.
const idle = 1500 * time.Millisecond

func backwards(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// newestPython is the runtime of the best interpreter here.
func newestPython(t *testing.T, doctor string) types.Runtime {
	t.Helper()
	best := 0
	for _, m := range regexp.MustCompile(`(?m)^  yes python3\.(\d+) `).FindAllStringSubmatch(doctor, -1) {
		if n, err := strconv.Atoi(m[1]); err == nil && n >= 8 { // what hostile.py is written for
			best = max(best, n)
		}
	}
	if best == 0 {
		t.Fatalf("doctor finds no Python from 3.8 on:\n%s", doctor)
	}
	return types.Runtime(fmt.Sprintf("python3.%d", best))
}

// serve answers every connection with word until the test ends.
func serve(t *testing.T, network, address, word string) net.Addr {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with l
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, word) // whoever should not have come may go early
			c.Close()
		}
	}()
	return l.Addr()
}

// ownService is a service at an address of this host's that is not loopback; if
// there is none, an address that leads nowhere.
func ownService(t *testing.T, word string) (string, int) {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			return n.IP.String(), serve(t, "tcp", n.IP.String()+":0", word).(*net.TCPAddr).Port
		}
	}
	return "169.254.100.9", 80
}

func (b *bench) layer(name string, archive []byte) string {
	b.t.Helper()
	out, err := b.client.PublishLayerVersion(b.t.Context(), &lambda.PublishLayerVersionInput{
		LayerName: aws.String(name), Content: &types.LayerVersionContentInput{ZipFile: archive},
	})
	if err != nil {
		b.t.Fatalf("publish layer %s: %v", name, err)
	}
	return aws.ToString(out.LayerVersionArn)
}

func (b *bench) function(name string, memory, timeout int32, code []byte, env map[string]string, layers ...string) {
	b.t.Helper()
	in := &lambda.CreateFunctionInput{
		FunctionName: &name, Role: aws.String(role), Runtime: b.runtime, Handler: aws.String("hostile.handler"),
		Code: &types.FunctionCode{ZipFile: code}, Layers: layers, MemorySize: &memory, Timeout: &timeout,
	}
	if env != nil {
		in.Environment = &types.Environment{Variables: env}
	}
	if _, err := b.client.CreateFunction(b.t.Context(), in); err != nil {
		b.t.Fatalf("create %s: %v", name, err)
	}
	if err := lambda.NewFunctionActiveV2Waiter(b.client, func(o *lambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, 100*time.Millisecond
	}).Wait(b.t.Context(), &lambda.GetFunctionInput{FunctionName: &name}, time.Minute); err != nil {
		b.t.Fatalf("create %s: %v", name, err)
	}
}

// try has a hostile function try something, and returns what came of it.
func (b *bench) try(a attempt) string {
	b.event["attempt"] = a.name
	payload, err := json.Marshal(b.event)
	if err != nil {
		b.t.Fatal(err)
	}
	name := a.on
	if name == "" {
		name = attacker
	}
	out, err := b.client.Invoke(b.t.Context(), &lambda.InvokeInput{FunctionName: &name, Payload: payload, LogType: types.LogTypeTail})
	if err != nil {
		return "invoke: " + err.Error()
	}
	b.mu.Lock()
	b.heard.Write(out.Payload)
	b.heard.WriteString(aws.ToString(out.LogResult))
	b.mu.Unlock()
	if out.FunctionError != nil {
		var e struct{ ErrorType, ErrorMessage string }
		if err := json.Unmarshal(out.Payload, &e); err != nil {
			return string(out.Payload)
		}
		return e.ErrorType + ": " + e.ErrorMessage
	}
	var s string
	if err := json.Unmarshal(out.Payload, &s); err != nil {
		return string(out.Payload)
	}
	return s
}

func (b *bench) check(t *testing.T, a attempt) {
	t.Helper()
	if a.needs != "" && strings.Contains(b.doctor, a.needs) {
		t.Logf("not enforced here, as doctor says: %s", a.needs)
		b.open = append(b.open, a.name)
		return
	}
	want := a.want
	if b.user != nil && a.rootless != "" {
		want = a.rootless
	}
	if a.name == "daemon is idle" {
		time.Sleep(idle) // it is what is tested: nothing happens
	}
	if got := b.try(a); !regexp.MustCompile(`^(?:` + want + `)$`).MatchString(got) {
		t.Errorf("answer = %q; want %s", got, want)
	}
}

// archives tries layers and code that a server must not even take.
func (b *bench) archives(t *testing.T) {
	for _, h := range testkit.HostileZips(t) {
		t.Run(h.Name, func(t *testing.T) {
			_, err := b.client.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{
				LayerName: aws.String("refused"), Content: &types.LayerVersionContentInput{ZipFile: h.Zip},
			})
			if err == nil {
				t.Errorf("published; want it refused, %s", h.Reason)
			}
		})
	}
	// A link whose place another entry wants to write through.
	through := testkit.Zip(t, testkit.File{Name: "out", Link: "/tmp"}, testkit.File{Name: "out/lamina-escaped", Body: "x"})
	_, err := b.client.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{
		LayerName: aws.String("through"), Content: &types.LayerVersionContentInput{ZipFile: through},
	})
	if err == nil {
		t.Error("a layer that writes through its link is published; want it refused")
	}
	if _, err := os.Lstat("/tmp/lamina-escaped"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("file outside = %v; want none", err)
	}
}

// secretsSeen are those that some hostile function told.
func (b *bench) secretsSeen() (whose []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, secret := range b.secrets {
		if bytes.Contains(b.heard.Bytes(), []byte(secret)) {
			whose = append(whose, name)
		}
	}
	return whose
}

type state struct {
	Born   string
	Intact bool
}

func (b *bench) invokeVictim() (state, error) {
	var s state
	out, err := b.client.Invoke(context.WithoutCancel(b.t.Context()), &lambda.InvokeInput{FunctionName: aws.String("victim"), Payload: []byte("{}")})
	if err != nil {
		return s, err
	}
	if out.FunctionError != nil {
		return s, fmt.Errorf("%s", out.Payload)
	}
	if err := json.Unmarshal(out.Payload, &s); err != nil {
		return s, err
	}
	if !s.Intact {
		return s, fmt.Errorf("not intact: %s", out.Payload)
	}
	return s, nil
}

// watcher invokes the victim all the time.
type watcher struct {
	stop chan struct{} // closed by end
	done chan struct{} // closed by the goroutine
	once sync.Once

	mu    sync.Mutex
	took  []time.Duration
	from  int
	lives map[string]bool
	errs  []error
}

func (b *bench) watch() *watcher {
	w := &watcher{stop: make(chan struct{}), done: make(chan struct{}), lives: map[string]bool{}}
	go func() {
		defer close(w.done)
		for {
			select {
			case <-w.stop:
				return
			case <-time.After(10 * time.Millisecond): // leaves it time to be idle
			}
			begin := time.Now()
			s, err := b.invokeVictim()
			took := time.Since(begin)
			w.mu.Lock()
			w.took = append(w.took, took)
			if err != nil && len(w.errs) < 5 {
				w.errs = append(w.errs, err)
			}
			if err == nil {
				w.lives[s.Born] = true
			}
			w.mu.Unlock()
		}
	}()
	return w
}

// phase measures for a while.
func (w *watcher) phase(d time.Duration) []time.Duration {
	w.mark()
	time.Sleep(d) // there is nothing to wait for: it is a measurement
	return w.marked()
}

func (w *watcher) mark() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.from = len(w.took)
}

func (w *watcher) marked() []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.took[w.from:])
}

func (w *watcher) born() map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lives
}

func (w *watcher) failures() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.errs
}

func (w *watcher) end() {
	w.once.Do(func() { close(w.stop) })
	<-w.done
}

func half(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}
