// Package rootless has a server of an ordinary user's do what one of root's does,
// and holds it to what it says that it does not enforce.
package rootless

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

const role = "arn:aws:iam::" + testkit.Account + ":role/app"

const code = `
import os, time
import one, two

def handler(event, context):
    if event.get("sleep"):
        time.sleep(event["sleep"])
    if event.get("exit"):
        os._exit(event["exit"])
    if event.get("take"):
        b"x" * (event["take"] << 20)
    print("heard", event)
    with open("/tmp/count", "a+") as f:
        f.write("x")
        f.seek(0)
        return {"layers": one.word + two.word, "which": one.which, "uid": os.getuid(), "pid": os.getpid(), "count": len(f.read())}
`

type answer struct {
	Layers, Which string
	UID, PID      int
	Count         int
}

// open starts a server of u's with a function that has two layers.
func open(t *testing.T, u *testkit.Ordinary, args ...string) (*testkit.Server, *lambda.Client) {
	t.Helper()
	s := testkit.Start(t, testkit.Options{User: u, Args: args})
	c := s.Lambda()
	var layers []string
	for name, files := range map[string][]testkit.File{
		"first":  {{Name: "python/one.py", Body: "word, which = 'one', 'first'\n"}, {Name: "python/two.py", Body: "word = 'lost'\n"}},
		"second": {{Name: "python/two.py", Body: "word = 'two'\n"}},
	} {
		out, err := c.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{
			LayerName: &name, Content: &types.LayerVersionContentInput{ZipFile: testkit.Zip(t, files...)},
		})
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, aws.ToString(out.LayerVersionArn))
	}
	slices.Sort(layers) // the second over the first
	name := "app"
	if _, err := c.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: &name, Role: aws.String(role), Runtime: python(t, u), Handler: aws.String("app.handler"), Timeout: aws.Int32(2),
		Code: &types.FunctionCode{ZipFile: testkit.Zip(t, testkit.File{Name: "app.py", Body: code})}, Layers: layers,
	}); err != nil {
		t.Fatal(err)
	}
	if err := lambda.NewFunctionActiveV2Waiter(c, func(o *lambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, 100*time.Millisecond
	}).Wait(t.Context(), &lambda.GetFunctionInput{FunctionName: &name}, time.Minute); err != nil {
		t.Fatal(err)
	}
	return s, c
}

// doctor is what the user's doctor says.
func doctor(t *testing.T, u *testkit.Ordinary) string {
	t.Helper()
	var notes bytes.Buffer
	cmd := u.Command("doctor")
	cmd.Stderr = &notes
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("doctor: %v: %s%s", err, out, notes.Bytes())
	}
	return string(out)
}

func python(t *testing.T, u *testkit.Ordinary) types.Runtime {
	t.Helper()
	m := regexp.MustCompile(`(?m)^  yes (python3\.\d+) `).FindStringSubmatch(doctor(t, u))
	if m == nil {
		t.Fatal("doctor finds no Python")
	}
	return types.Runtime(m[1])
}

// invoke returns the answer, or the error that the function ended with, and its log.
func invoke(ctx context.Context, c *lambda.Client, event string) (answer, string, error) {
	var a answer
	out, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("app"), Payload: []byte(event), LogType: types.LogTypeTail})
	if err != nil {
		return a, "", err
	}
	log, err := base64.StdEncoding.DecodeString(aws.ToString(out.LogResult))
	if err != nil {
		return a, "", err
	}
	if out.FunctionError != nil {
		return a, string(log), errors.New(string(out.Payload))
	}
	return a, string(log), json.Unmarshal(out.Payload, &a)
}

// processes are those of the server: its descendants, and with a user of its own
// whatever that has, the server included.
func processes(t *testing.T, s *testkit.Server) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	type one struct{ pid, parent, uid int }
	var all []one
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		status, err := os.ReadFile(filepath.Join("/proc", e.Name(), "status"))
		if err != nil || strings.Contains(string(status), "\nState:\tZ") {
			continue // gone
		}
		p := one{pid: pid}
		for line := range strings.Lines(string(status)) {
			_, _ = fmt.Sscanf(line, "PPid: %d", &p.parent) // other lines are no such
			_, _ = fmt.Sscanf(line, "Uid: %d", &p.uid)
		}
		all = append(all, p)
	}
	of := map[int]bool{s.PID(): true}
	for range 4 { // as deep as it gets: spawner, init, function, its child
		for _, p := range all {
			if of[p.parent] {
				of[p.pid] = true
			}
		}
	}
	uid := -1
	if os.Geteuid() == 0 {
		info, err := os.Stat(s.Data)
		if err != nil {
			t.Fatal(err)
		}
		uid = int(info.Sys().(*syscall.Stat_t).Uid)
	}
	for _, p := range all {
		if of[p.pid] || p.uid == uid {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// spawners are the processes that the server has clone sandboxes.
func spawners(t *testing.T, s *testkit.Server) (pids []int) {
	t.Helper()
	for _, pid := range processes(t, s) {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && string(line) == "lamina\x00spawn\x00" {
			pids = append(pids, pid)
		}
	}
	return pids
}

func need(t *testing.T) *testkit.Ordinary {
	t.Helper()
	testkit.Need(t, testkit.Sandbox, testkit.Overlay, testkit.Python)
	return testkit.OrdinaryUser(t)
}

func TestFunctionsRun(t *testing.T) {
	t.Parallel()
	_, c := open(t, need(t))
	want := answer{Layers: "onetwo", Which: "first", UID: 993, Count: 1}
	a, log, err := invoke(t.Context(), c, `{"hello": 1}`)
	if want.PID = a.PID; err != nil || a != want {
		t.Errorf("answer = %+v, %v; want %+v", a, err, want)
	}
	if !strings.Contains(log, "heard {'hello': 1}") {
		t.Errorf("log = %s; want what the function printed", log)
	}
	before := maxMemory(t, log)
	if before < 5 || before > 60 {
		t.Errorf("Max Memory Used = %d MB; want what a Python takes", before)
	}
	if _, log, err = invoke(t.Context(), c, `{"take": 60}`); err != nil {
		t.Error(err)
	}
	if got := maxMemory(t, log); got < before+50 {
		t.Errorf("Max Memory Used = %d MB with 60 more than %d; want it to be seen", got, before)
	}

	_, _, err = invoke(t.Context(), c, `{"sleep": 60}`)
	if err == nil || !strings.Contains(err.Error(), "Task timed out after 2.00 seconds") {
		t.Errorf("timeout = %v; want it to be one", err)
	}
	_, _, err = invoke(t.Context(), c, `{"exit": 3}`)
	if err == nil || !strings.Contains(err.Error(), "Runtime.ExitError") {
		t.Errorf("exit = %v; want Runtime.ExitError", err)
	}
	if a, _, err = invoke(t.Context(), c, `{}`); err != nil || a.Layers != "onetwo" {
		t.Errorf("answer after both = %+v, %v; want one", a, err)
	}

	var all sync.WaitGroup
	for range 5 { // at once, in an environment each
		all.Go(func() {
			if _, _, err := invoke(t.Context(), c, `{"sleep": 0.5}`); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func maxMemory(t *testing.T, log string) int {
	t.Helper()
	m := regexp.MustCompile(`Max Memory Used: (\d+) MB`).FindStringSubmatch(log)
	if m == nil {
		t.Fatalf("log = %s; want a REPORT", log)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWhatIsNotEnforcedIsTold(t *testing.T) {
	t.Parallel()
	u := need(t)
	s := testkit.Start(t, testkit.Options{User: u})
	lines := func(text, pattern string) (all []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			all = append(all, m[1])
		}
		return all
	}
	told := lines(doctor(t, u), `(?m)^  not enforced: (.*)$`)
	if len(told) < 2 || !slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, "all functions run as the server's user") }) {
		t.Errorf("doctor tells %q; want at least that functions share a user", told)
	}
	var logged []string
	for end := time.Now().Add(10 * time.Second); len(logged) < len(told) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // it is written behind the start
		logged = lines(s.Output(), `msg="not enforced here" what="(.*)"`)
	}
	if !slices.Equal(logged, told) {
		t.Errorf("the log has %q; want what doctor tells, once: %q", logged, told)
	}
}

func TestSpawnerIsReplaced(t *testing.T) {
	t.Parallel()
	s, c := open(t, need(t), "--parked", "1")
	seen := map[int]bool{}
	for round := range 3 {
		before, _, err := invoke(t.Context(), c, `{}`)
		if err != nil {
			t.Fatal(err)
		}
		var now []int
		for end := time.Now().Add(10 * time.Second); len(now) == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // at the first need
			now = spawners(t, s)
		}
		if len(now) != 1 || seen[now[0]] {
			t.Fatalf("spawners = %v after %v; want a new one", now, seen)
		}
		seen[now[0]] = true
		if err := syscall.Kill(now[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		after, _, err := invoke(t.Context(), c, `{}`)
		if err != nil || after.PID != before.PID || after.Count != before.Count+1 {
			t.Errorf("answer = %+v, %v; want it of the environment that was there: %+v", after, err, before)
		}
		var all sync.WaitGroup
		for range 3 * (round + 1) { // more than there are environments
			all.Go(func() {
				if _, _, err := invoke(t.Context(), c, `{"sleep": 1}`); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
}

func TestKilledServerLeavesNoProcess(t *testing.T) {
	t.Parallel()
	s, c := open(t, need(t))
	if _, _, err := invoke(t.Context(), c, `{}`); err != nil {
		t.Fatal(err)
	}
	cut := make(chan error, 1) // one send, at the kill
	go func() {
		_, _, err := invoke(context.WithoutCancel(t.Context()), c, `{"sleep": 1.9}`)
		cut <- err
	}()
	for end := time.Now().Add(10 * time.Second); len(spawners(t, s)) == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	if all := processes(t, s); len(all) < 4 {
		t.Errorf("processes = %v; want the server, its spawner, inits and a function", all)
	}
	watched := processes(t, s)
	s.Kill()
	<-cut
	alive := func() (left []int) {
		if os.Geteuid() == 0 {
			return processes(t, s)
		}
		for _, pid := range watched {
			if syscall.Kill(pid, 0) == nil {
				left = append(left, pid)
			}
		}
		return left
	}
	left := alive()
	for end := time.Now().Add(10 * time.Second); len(left) > 0 && time.Now().Before(end); left = alive() {
		time.Sleep(5 * time.Millisecond) // not our children: nothing tells
	}
	if len(left) > 0 {
		t.Errorf("processes %v outlive the server", left)
	}
	s.Restart()
	if _, _, err := invoke(t.Context(), c, `{}`); err != nil {
		t.Error(err)
	}
}

// TestStoppedServerLeavesNoProcess is the same for the orderly end.
func TestStoppedServerLeavesNoProcess(t *testing.T) {
	t.Parallel()
	s, c := open(t, need(t))
	if _, _, err := invoke(t.Context(), c, `{}`); err != nil {
		t.Fatal(err)
	}
	watched := processes(t, s)
	s.Stop()
	for _, pid := range watched {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(b), ") Z ") {
			t.Errorf("process %d outlives the server: %s", pid, b)
		}
	}
}

// frozenGroup is a group below dir that is frozen, empty if there is none.
func frozenGroup(dir string) (found string) {
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error {
		if b, e := os.ReadFile(filepath.Join(path, "cgroup.freeze")); e == nil && strings.TrimSpace(string(b)) == "1" {
			found = path
		}
		return nil // groups come and go
	})
	return found
}

// TestDelegatedGroup is for what systemd calls Delegate=yes.
func TestDelegatedGroup(t *testing.T) {
	t.Parallel()
	u := need(t)
	testkit.Need(t, testkit.Probe{Name: "cgroup2", Missing: func() string { return u.Delegate(t) }})
	s, c := open(t, u)
	for range 2 {
		for range 2 {
			if _, _, err := invoke(t.Context(), c, `{}`); err != nil {
				t.Fatal(err)
			}
			frozen := ""
			for end := time.Now().Add(10 * time.Second); frozen == "" && time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // the kernel tells nobody
				frozen = frozenGroup(u.Group)
			}
			if frozen == "" {
				t.Fatal("the function is not frozen between invocations")
			}
		}
		s.Kill()
		s.Restart()
	}
	if text := doctor(t, u); strings.Contains(text, "no control group that freezes") || !strings.Contains(text, "v2 with freezer") {
		t.Errorf("doctor says:\n%s\nwant it to know the group", text)
	}
}
