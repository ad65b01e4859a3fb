package runner_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/runner"
	"github.com/lamina-run/lamina/runner/layer"
	"github.com/lamina-run/lamina/runner/runtimes"
	"github.com/lamina-run/lamina/runner/sandbox"
)

// The test binary is the sandboxes' init, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == sandbox.SpawnVerb {
		sandbox.Spawn()
	}
	if len(os.Args) > 1 && os.Args[1] == sandbox.InitVerb {
		sandbox.Init()
	}
	goleak.VerifyTestMain(m)
}

// host is a runner with everything real below it.
type host struct {
	*runner.Runner
	runtimes *runtimes.Set
	stop     func()

	mu    sync.Mutex
	blobs map[lamina.Digest][]byte
	n     int
}

// events keeps what the runner writes to log streams.
type events struct {
	mu    sync.Mutex
	lines []string
}

func (e *events) Write(_ *lamina.Version, _ string, _ time.Time, line []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, string(line))
}

func (e *events) clear() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = nil
}

func (e *events) all() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.lines, "\n")
}

type blob struct{ *bytes.Reader }

func (blob) Close() error { return nil }

func newHost(t testing.TB, change func(*runner.Options)) *host {
	t.Helper()
	testkit.Need(t, testkit.Sandbox)
	h := &host{blobs: map[lamina.Digest][]byte{}}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	dir := t.TempDir()
	var mounter layer.Images // nil without root
	images, err := sandbox.OpenImages()
	if err == nil {
		mounter = images
	}
	cache, err := layer.NewCache(layer.Options{Dir: filepath.Join(dir, "layers"), Images: mounter, Limits: lamina.DefaultLimits(), Log: log, Blobs: layer.BlobsFunc(func(_ context.Context, d lamina.Digest) (layer.Reader, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		data, ok := h.blobs[d]
		if !ok {
			return nil, lamina.ErrNotFound
		}
		return blob{bytes.NewReader(data)}, nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := sandbox.NewPool(sandbox.Options{Log: log, Parked: 2, Images: images})
	if err != nil {
		t.Fatal(err)
	}
	h.runtimes, err = runtimes.New(runtimes.Config{Log: log, Dir: filepath.Join(dir, "runtimes"), Getenv: os.Getenv, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	o := runner.Options{
		Log: log, Sandboxes: pool, Layers: cache, Runtimes: h.runtimes, Limits: lamina.DefaultLimits(), Now: time.Now,
		Credentials: func(context.Context, lamina.Version) (runtimes.Credentials, error) {
			return runtimes.Credentials{AccessKeyID: "AKID", SecretAccessKey: "SECRET", SessionToken: "TOKEN"}, nil
		},
	}
	if change != nil {
		change(&o)
	}
	h.Runner = runner.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	var running, parking sync.WaitGroup
	running.Go(func() {
		if err := h.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	poolCtx, cancelPool := context.WithCancel(context.Background())
	parking.Go(func() {
		if err := pool.Run(poolCtx); err != nil {
			t.Error(err)
		}
	})
	h.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		cancelPool()
		parking.Wait()
		if n := h.Environments().Live; n != 0 {
			t.Errorf("%d environments after Run; want none", n)
		}
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
		if images != nil {
			images.Close()
		}
	})
	t.Cleanup(h.stop)
	return h
}

// archive stores a zip of files; those named bootstrap, or in bin, are executable.
func (h *host) archive(t testing.TB, files map[string]string) lamina.Digest {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for name, text := range files {
		header := &zip.FileHeader{Name: name, Method: zip.Deflate}
		mode := os.FileMode(0o644)
		if filepath.Base(name) == "bootstrap" || strings.Contains(name, "bin/") || strings.HasPrefix(name, "extensions/") {
			mode = 0o755
		}
		header.SetMode(mode)
		f, err := w.CreateHeader(header)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	d := lamina.Digest(sha256.Sum256(buf.Bytes()))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.blobs[d] = buf.Bytes()
	return d
}

// version makes a $LATEST with the given files, and layers of their own files.
func (h *host) version(t testing.TB, runtime, handler string, files map[string]string, layers ...map[string]string) lamina.Version {
	t.Helper()
	h.mu.Lock()
	h.n++
	name := fmt.Sprintf("fn%d", h.n)
	h.mu.Unlock()
	v := lamina.Version{
		Function:    lamina.FunctionID{Scope: lamina.Scope{Account: "000000000000", Region: "eu-central-1"}, Name: name},
		Incarnation: "1", RevisionID: "r1",
		Code: lamina.Code{Digest: h.archive(t, files)},
		Config: lamina.Config{
			Runtime: runtime, Handler: handler, PackageType: lamina.PackageZip, Timeout: 10, MemorySize: 128, EphemeralStorage: 512,
			Logging: lamina.Logging{Format: "Text", Group: "/aws/lambda/" + name},
		},
	}
	for i, files := range layers {
		v.Config.Layers = append(v.Config.Layers, lamina.AttachedLayer{ARN: fmt.Sprintf("layer:%d", i), Digest: h.archive(t, files)})
	}
	return v
}

// python is the newest Python that the machine has.
func (h *host) python(t testing.TB) string {
	t.Helper()
	found, _ := h.runtimes.Interpreters(t.Context())
	for i := len(found) - 1; i >= 0; i-- {
		if lamina.RuntimeFamily(found[i].Runtime) == "python" {
			return found[i].Runtime
		}
	}
	testkit.Need(t, testkit.Python)
	t.Skip("no Python")
	return ""
}

func (h *host) invoke(t testing.TB, v lamina.Version, event string) lamina.Result {
	t.Helper()
	r, err := h.Invoke(t.Context(), lamina.Invocation{
		RequestID: "7d7b3d6c-9f0e-4b3e-8a52-0123456789ab", Version: v, InvokedARN: v.Function.ARN(), Payload: []byte(event), Tail: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const requestID = "7d7b3d6c-9f0e-4b3e-8a52-0123456789ab"

func wantPayload(t *testing.T, r lamina.Result, functionError, payload string) {
	t.Helper()
	if string(r.Payload) != payload || r.FunctionError != functionError {
		t.Errorf("result = %q %s; want %q %s\n%s", r.FunctionError, r.Payload, functionError, payload, r.LogTail)
	}
}

const function = `
import json, os, sys, time
print("initializing")
n = -1

def handler(event, context):
    global n
    n += 1
    what = event.get("do")
    if what == "print":
        print("one\ntwo")
        sys.stderr.write("three")
        return None
    if what == "sleep":
        print("starting wait")
        time.sleep(event["seconds"])
        return n
    if what == "exit":
        sys.exit(event["status"])
    if what == "segfault":
        import ctypes
        ctypes.string_at(0)
    if what == "size":
        return "x" * event["n"]
    if what == "count":
        return n
    if what == "env":
        return dict(os.environ)
    if what == "tmp":
        with open("/tmp/kept", "a") as f:
            f.write("x")
        return len(open("/tmp/kept").read())
    if what == "raise":
        raise Exception("Handler fails")
    if what == "import":
        import shared, only1, only2
        return [shared.name, only1.name, only2.name, sys.prefix, shared.__file__]
    if what == "flood":
        for _ in range(event["n"]):
            print("y" * 99)
        return None
    if what == "after":
        import threading
        threading.Timer(0.5, lambda: os._exit(5)).start()
        return n
    return event
`

func TestInvoke(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": function})
	unhandled := lamina.Unhandled

	r := h.invoke(t, v, `{"do":"print"}`)
	wantPayload(t, r, "", "null")
	want := regexp.MustCompile(`^START RequestId: ` + requestID + ` Version: \$LATEST\none\ntwo\nthree\nEND RequestId: ` + requestID +
		`\nREPORT RequestId: ` + requestID + `\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\tMax Memory Used: [1-9]\d* MB\tInit Duration: \d+\.\d\d ms\t\n$`)
	if !want.Match(r.LogTail) {
		t.Errorf("tail = %q; want %s", r.LogTail, want)
	}
	r = h.invoke(t, v, `{"do":"count"}`)
	wantPayload(t, r, "", "1")
	if bytes.Contains(r.LogTail, []byte("Init Duration")) {
		t.Errorf("warm tail = %q; want no Init Duration", r.LogTail)
	}
	wantPayload(t, h.invoke(t, v, `{"do":"tmp"}`), "", "1")
	if r, err := h.Invoke(t.Context(), lamina.Invocation{RequestID: "x", Version: v, Payload: nil}); err != nil || string(r.Payload) != "{}" || r.LogTail != nil {
		t.Errorf("without payload = %s, %q, %v; want {} and no tail", r.Payload, r.LogTail, err)
	}

	r = h.invoke(t, v, `{"do":"raise"}`)
	if r.FunctionError != unhandled || !bytes.Contains(r.Payload, []byte(`{"errorMessage": "Handler fails", "errorType": "Exception", "requestId": "`+requestID+`", "stackTrace": ["  File \"/var/task/handler.py\", line 34, in handler\n`)) {
		t.Errorf("raise = %s", r.Payload)
	}
	if !bytes.Contains(r.LogTail, []byte("\n[ERROR] Exception: Handler fails\nTraceback (most recent call last):\n\u00a0\u00a0File ")) {
		t.Errorf("tail = %q", r.LogTail)
	}

	r = h.invoke(t, v, `{"do":"size","n":6291555}`)
	wantPayload(t, r, unhandled, `{"errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes).","errorType":"Function.ResponseSizeTooLarge"}`)
	wantPayload(t, h.invoke(t, v, `{"do":"count"}`), "", "6")

	r = h.invoke(t, v, `{"do":"flood","n":2000}`)
	if len(r.LogTail) != 4096 || !bytes.HasSuffix(r.LogTail, []byte("\t\n")) || bytes.Count(r.LogTail, []byte("y\n")) < 30 {
		t.Errorf("tail of a flood has %d bytes: %q", len(r.LogTail), r.LogTail)
	}

	// Exits and timeouts start the process again, and keep /tmp.
	wantPayload(t, h.invoke(t, v, `{"do":"exit","status":0}`), unhandled,
		`{"errorType":"Runtime.ExitError","errorMessage":"RequestId: `+requestID+` Error: Runtime exited without providing a reason"}`)
	wantPayload(t, h.invoke(t, v, `{"do":"count"}`), "", "0")
	wantPayload(t, h.invoke(t, v, `{"do":"exit","status":9}`), unhandled,
		`{"errorType":"Runtime.ExitError","errorMessage":"RequestId: `+requestID+` Error: Runtime exited with error: exit status 9"}`)
	wantPayload(t, h.invoke(t, v, `{"do":"segfault"}`), unhandled,
		`{"errorType":"Runtime.ExitError","errorMessage":"RequestId: `+requestID+` Error: Runtime exited with error: signal: segmentation fault"}`)
	wantPayload(t, h.invoke(t, v, `{"do":"tmp"}`), "", "2")
	if s := h.Environments(); s != (runner.Stats{Live: 1, Idle: 1}) {
		t.Errorf("environments = %+v; want one, idle", s)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": function})
	v.Config.Timeout = 1
	wantPayload(t, h.invoke(t, v, `{"do":"tmp"}`), "", "1")
	r := h.invoke(t, v, `{"do":"sleep","seconds":30}`)
	wantPayload(t, r, lamina.Unhandled, `{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: `+requestID+` Error: Task timed out after 1.00 seconds"}`)
	want := regexp.MustCompile(`^START .*\nstarting wait\n\S+Z ` + requestID + ` Task timed out after 1\.00 seconds\nEND .*\nREPORT .*Duration: 1\d\d\d\.\d\d ms\tBilled Duration: 1\d\d\d ms\t.*Max Memory Used: [1-9]\d* MB\tStatus: timeout\n$`)
	if !want.Match(r.LogTail) {
		t.Errorf("tail = %q; want %s", r.LogTail, want)
	}
	wantPayload(t, h.invoke(t, v, `{"do":"count"}`), "", "0")
	wantPayload(t, h.invoke(t, v, `{"do":"tmp"}`), "", "2")
	if s := h.Environments(); s.Live != 1 {
		t.Errorf("environments = %+v; want one", s)
	}
}

func TestExitWhileIdle(t *testing.T) {
	t.Parallel()
	h := newHost(t, func(o *runner.Options) { o.FreezeAfter = -1 }) // frozen it would not exit
	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": function})
	v.Config.Environment = map[string]string{"TEST_EXIT": v.Function.Name + t.TempDir()}
	for range 3 {
		wantPayload(t, h.invoke(t, v, `{"do":"after"}`), "", "0")
		for alive(t, "TEST_EXIT="+v.Config.Environment["TEST_EXIT"]) {
			time.Sleep(time.Millisecond) // the function's own timer, which no clock of ours reaches
		}
		// A process that dies in this very moment takes the invocation along.
		if r := h.invoke(t, v, `{"do":"count"}`); string(r.Payload) != "0" && !bytes.Contains(r.Payload, []byte("Runtime exited with error: exit status 5")) {
			t.Errorf("after the exit = %s", r.Payload)
		}
		h.Retire(v)
	}
}

// alive looks for a process with a variable in its environment.
func alive(t *testing.T, variable string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(name string) bool {
		env, err := os.ReadFile(name)
		return err == nil && bytes.Contains(env, []byte(variable)) // another process may have gone meanwhile
	})
}

func TestInitErrors(t *testing.T) {
	t.Parallel()
	log := &events{}
	h := newHost(t, func(o *runner.Options) { o.Logs = log })
	python := h.python(t)
	for _, c := range []struct{ name, source, kind, message string }{
		{"a failing module", "print('before')\nraise Exception('Runtime startup fails')", "Exception", "Runtime startup fails"},
		{"an exit", "import sys\nprint('before', flush=True)\nsys.exit(0)", "Runtime.ExitError", "RequestId: " + requestID + " Error: Runtime exited without providing a reason"},
		{"a segmentation fault", "import ctypes\nprint('before', flush=True)\nctypes.string_at(0)", "Runtime.ExitError", "RequestId: " + requestID + " Error: Runtime exited with error: signal: segmentation fault"},
		{"a missing handler", "print('before')", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'handler'"},
		{"a missing module", "print('before')\nimport absent", "Runtime.ImportModuleError", "Unable to import module 'handler': No module named 'absent'"},
	} {
		v := h.version(t, python, "handler.handler", map[string]string{"handler.py": c.source})
		r := h.invoke(t, v, "{}")
		var got struct{ ErrorType, ErrorMessage string }
		if err := json.Unmarshal(r.Payload, &got); err != nil {
			t.Fatalf("%s: %s: %v", c.name, r.Payload, err)
		}
		if r.FunctionError != lamina.Unhandled || got.ErrorType != c.kind || got.ErrorMessage != c.message {
			t.Errorf("%s: %s; want %s: %s", c.name, r.Payload, c.kind, c.message)
		}
		logged, note := c.kind, ""
		if c.kind == "Exception" {
			logged = "Runtime.Unknown" // to the platform
		}
		if c.kind == "Runtime.ExitError" {
			note = regexp.QuoteMeta(c.message) + "\nRuntime\\.ExitError\n"
		}
		// The second initialization is part of the invocation, the first is not.
		want := `(?s)^before\n.*INIT_REPORT Init Duration: \d+\.\d\d ms\tPhase: invoke\tStatus: error\tError Type: ` + logged +
			`\nSTART [^\n]*\n` + note + `END [^\n]*\nREPORT [^\n]*\tStatus: error\tError Type: ` + logged + `\n$`
		if !regexp.MustCompile(want).Match(r.LogTail) {
			t.Errorf("%s: tail = %q; want %s", c.name, r.LogTail, want)
		}
		before := strings.Count(log.all(), "\nbefore\n")
		if !regexp.MustCompile(`(?s)^INIT_START .*\nbefore\n.*INIT_REPORT [^\n]*\tPhase: init\tStatus: error\tError Type: `+logged+`\n`).MatchString(log.all()) || before != 2 {
			t.Errorf("%s: events = %s; want a failed initialization before", c.name, log.all())
		}
		// The next invocation tries once, in the same sandbox.
		h.invoke(t, v, "{}")
		if n := strings.Count(log.all(), "\nbefore\n"); n != 3 {
			t.Errorf("%s: %d initializations after two invocations; want 3", c.name, n)
		}
		if s := h.Environments(); s != (runner.Stats{Live: 1, Idle: 1}) {
			t.Errorf("environments = %+v; want one, idle", s)
		}
		h.Retire(v)
		log.clear()
	}
}

func TestLayersAndEnvironment(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	python := h.python(t)
	v := h.version(t, python, "handler.handler", map[string]string{"handler.py": function},
		map[string]string{"python/shared.py": "name = 'first'", "python/only1.py": "name = 1"},
		map[string]string{"python/shared.py": "name = 'second'", "python/lib/" + python + "/site-packages/only2.py": "name = 2"})
	v.Config.Environment = map[string]string{"MINE": "1", "TZ": "UTC", "AWS_REGION": "mine"}
	wantPayload(t, h.invoke(t, v, `{"do":"import"}`), "", `["second", 1, 2, "/var/lang", "/opt/python/shared.py"]`)
	var env map[string]string
	if err := json.Unmarshal(h.invoke(t, v, `{"do":"env"}`).Payload, &env); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"MINE": `1`, "TZ": `UTC`, "AWS_REGION": `eu-central-1`, "AWS_ACCESS_KEY_ID": `AKID`, "AWS_SESSION_TOKEN": `TOKEN`,
		"AWS_EXECUTION_ENV": `AWS_Lambda_` + python, "AWS_LAMBDA_RUNTIME_API": `169\.254\.100\.1:9001`, "PYTHONPATH": `/var/runtime`,
		"AWS_LAMBDA_LOG_STREAM_NAME": `\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}`, "_X_AMZN_TRACE_ID": `Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0`,
		"LD_LIBRARY_PATH": `/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib`, "SHLVL": "0", "PWD": "/var/task",
	} {
		if !regexp.MustCompile(`^` + want + `$`).MatchString(env[name]) {
			t.Errorf("%s = %q; want %s", name, env[name], want)
		}
	}
}

func TestEveryInterpreter(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	found, _ := h.runtimes.Interpreters(t.Context())
	for _, in := range found {
		switch lamina.RuntimeFamily(in.Runtime) {
		case "python":
			v := h.version(t, in.Runtime, "m.handler", map[string]string{"m.py": `
import sys, ctypes, hashlib, ssl, sqlite3, decimal
def handler(event, context):
    return ["%d.%d" % sys.version_info[:2], [m for m in ("pip", "setuptools") if __import__("importlib.util").util.find_spec(m)]]
`})
			wantPayload(t, h.invoke(t, v, "{}"), "", `["`+strings.TrimPrefix(in.Runtime, "python")+`", []]`)
		case "nodejs":
			v := h.version(t, in.Runtime, "index.handler", map[string]string{"index.js": "exports.handler = async () => [process.execPath, require('dep')];"},
				map[string]string{"nodejs/node_modules/dep/index.js": "module.exports = 'dep';"})
			wantPayload(t, h.invoke(t, v, "{}"), "", `["/var/lang/bin/node","dep"]`)
		}
	}
}

// bootstrapScript is a custom runtime of a few lines.
const bootstrapScript = `#!/usr/bin/python3
import os, http.client
c = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    c.request("GET", "/2018-06-01/runtime/invocation/next")
    r = c.getresponse(); body = r.read(); id = r.getheader("Lambda-Runtime-Aws-Request-Id")
    if body == b'"fail"':
        c.request("POST", "/2018-06-01/runtime/invocation/%s/error" % id, b'{"errorMessage":"m","errorType":"errorString"}', {"Lambda-Runtime-Function-Error-Type": "errorString"})
    else:
        c.request("POST", "/2018-06-01/runtime/invocation/%s/response" % id, iter([b"custom ", body, os.environ["PATH"].encode()]))
    c.getresponse().read()
`

func TestProvided(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	v := h.version(t, "provided.al2", "x", map[string]string{"bootstrap": bootstrapScript})
	wantPayload(t, h.invoke(t, v, `"e"`), "", `custom "e"/usr/local/bin:/usr/bin/:/bin:/opt/bin`)
	wantPayload(t, h.invoke(t, v, `"fail"`), lamina.Unhandled, `{"errorMessage":"m","errorType":"errorString"}`)
	v = h.version(t, "provided.al2023", "x", map[string]string{"a": ""}, map[string]string{"bootstrap": bootstrapScript})
	wantPayload(t, h.invoke(t, v, `"e"`), "", `custom "e"/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin`)
	v = h.version(t, "provided.al2023", "x", map[string]string{"a": ""})
	wantPayload(t, h.invoke(t, v, `"e"`), lamina.Unhandled,
		`{"errorType":"Runtime.InvalidEntrypoint","errorMessage":"RequestId: `+requestID+` Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"}`)
	v = h.version(t, "provided.al2023", "x", map[string]string{"bootstrap": "no program"})
	wantPayload(t, h.invoke(t, v, `"e"`), lamina.Unhandled,
		`{"errorType":"Runtime.InvalidEntrypoint","errorMessage":"RequestId: `+requestID+` Error: fork/exec /var/task/bootstrap: exec format error"}`)
}

func TestWrapper(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": "import os\ndef handler(e, c): return os.environ.get('WRAPPED')"},
		map[string]string{"bin/wrap": "#!/bin/sh\nexport WRAPPED=\"$#\"\nexec \"$@\"\n", "bin/bare": "export WRAPPED=bare\nexec \"$@\"\n"})
	for wrapper, want := range map[string]string{"/opt/bin/wrap": `"2"`, "/opt/bin/bare": `"bare"`} {
		v.Config.Environment = map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": wrapper}
		v.RevisionID = wrapper
		wantPayload(t, h.invoke(t, v, "{}"), "", want)
	}
	v.Config.Environment = map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": "/idontexist"}
	v.RevisionID = "absent"
	wantPayload(t, h.invoke(t, v, "{}"), lamina.Unhandled,
		`{"errorType":"Runtime.ExitError","errorMessage":"RequestId: `+requestID+` Error: Runtime exited with error: exit status 127"}`)
}

func TestMissingRuntime(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	for _, runtime := range []string{"python3.99", "nodejs98.x", "dotnet8"} {
		v := h.version(t, runtime, "a.b", map[string]string{"a.py": ""})
		if err := h.Prepare(t.Context(), v); err != nil && runtime != "dotnet8" {
			t.Errorf("Prepare(%s) = %v; want nil", runtime, err)
		}
		_, err := h.Invoke(t.Context(), lamina.Invocation{Version: v})
		if e, ok := errors.AsType[*lamina.RuntimeError](err); !ok || e.Runtime != runtime || e.Hint == "" {
			t.Errorf("Invoke(%s) = %v; want a RuntimeError", runtime, err)
		} else {
			t.Log(e)
		}
	}
	broken := h.version(t, "python3.12", "a.b", map[string]string{"a.py": ""})
	broken.Code.Digest = lamina.Digest{1}
	if err := h.Prepare(t.Context(), broken); !errors.Is(err, lamina.ErrNotFound) {
		t.Errorf("Prepare without an archive = %v; want ErrNotFound", err)
	}
	if s := h.Environments(); s.Live != 0 {
		t.Errorf("environments = %+v; want none", s)
	}
}

func TestConcurrency(t *testing.T) {
	t.Parallel()
	h := newHost(t, func(o *runner.Options) { o.MaxEnvironments = 3 })
	python := h.python(t)
	a := h.version(t, python, "handler.handler", map[string]string{"handler.py": function})
	b := h.version(t, python, "handler.handler", map[string]string{"handler.py": function})
	var calling sync.WaitGroup
	for i := range 24 {
		v := a
		if i%3 == 0 {
			v = b
		}
		calling.Go(func() {
			want := fmt.Sprintf(`{"i": %d}`, i)
			r, err := h.Invoke(context.Background(), lamina.Invocation{RequestID: fmt.Sprint(i), Version: v, Payload: []byte(want), Tail: true})
			if err != nil || string(r.Payload) != want {
				t.Errorf("invoke %d = %s, %v", i, r.Payload, err)
			}
			if s := h.Environments(); s.Live > 3 {
				t.Errorf("environments = %+v; want at most 3", s)
			}
		})
	}
	calling.Wait()

	a.Config.Timeout, a.RevisionID = 1, "r2"
	for range 3 {
		calling.Go(func() { h.invoke(t, a, `{"do":"sleep","seconds":0.9}`) })
	}
	for h.Environments().Idle > 0 || h.Environments().Live < 3 {
		time.Sleep(time.Millisecond) // three real processes start
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Invoke(ctx, lamina.Invocation{Version: b}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled invoke = %v; want context.Canceled", err)
	}
	calling.Wait()
}

func TestBusy(t *testing.T) {
	t.Parallel()
	h := newHost(t, func(o *runner.Options) { o.MaxEnvironments = 1 })
	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": function})
	var calling sync.WaitGroup
	calling.Go(func() { h.invoke(t, v, `{"do":"sleep","seconds":2.5}`) })
	for h.Environments().Live == 0 {
		time.Sleep(time.Millisecond) // until the invocation has its slot
	}
	other := v
	other.Config.Timeout = 1
	other.Number = 1
	if _, err := h.Invoke(t.Context(), lamina.Invocation{Version: other}); !errors.Is(err, lamina.ErrBusy) {
		t.Errorf("invoke of another version = %v; want ErrBusy", err)
	}
	calling.Wait()
	wantPayload(t, h.invoke(t, other, `{"do":"count"}`), "", "0") // the idle one makes room
}

func TestRetire(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": function})
	h.invoke(t, v, `{"do":"count"}`)
	wantPayload(t, h.invoke(t, v, `{"do":"count"}`), "", "1")
	v.RevisionID = "same content"
	wantPayload(t, h.invoke(t, v, `{"do":"count"}`), "", "2")
	changed := v
	changed.RevisionID = "r2"
	changed.Config.Environment = map[string]string{"NEW": "1"}
	wantPayload(t, h.invoke(t, changed, `{"do":"count"}`), "", "0")
	h.Retire(changed)
	if s := h.Environments(); s.Live != 0 {
		// The update's retirement goes on beside the invocation.
		for h.Environments().Live != 0 {
			time.Sleep(time.Millisecond)
		}
	}
	wantPayload(t, h.invoke(t, changed, `{"do":"count"}`), "", "0")

	done := make(chan lamina.Result, 1) // one send by the invocation
	go func() { done <- h.invoke(t, changed, `{"do":"sleep","seconds":0.3}`) }()
	for h.Environments().Idle != 0 {
		time.Sleep(time.Millisecond)
	}
	h.Retire(changed)
	wantPayload(t, <-done, "", "1")
	if s := h.Environments(); s.Live != 0 {
		t.Errorf("environments = %+v; want none", s)
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	h := newHost(t, func(o *runner.Options) { o.Idle = 20 * time.Millisecond })
	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": function})
	h.invoke(t, v, `{"do":"count"}`)
	for h.Environments().Live > 0 {
		time.Sleep(time.Millisecond) // until the reaper has been there
	}
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": function})
	failed := make(chan error, 1) // one send by the invocation
	go func() {
		_, err := h.Invoke(context.Background(), lamina.Invocation{Version: v, Payload: []byte(`{"do":"sleep","seconds":9}`)})
		failed <- err
	}()
	for h.Environments().Live == 0 {
		time.Sleep(time.Millisecond)
	}
	h.stop()
	if err := <-failed; err == nil {
		t.Error("an invocation that shutdown cut off = nil; want an error")
	}
	if _, err := h.Invoke(context.Background(), lamina.Invocation{Version: v}); err == nil {
		t.Error("Invoke after Run = nil; want an error")
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	log := &events{}
	h := newHost(t, func(o *runner.Options) { o.Logs = log })
	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": function})
	h.invoke(t, v, `{"do":"print"}`)
	v.Config.Logging.Format, v.RevisionID = "JSON", "r2"
	h.invoke(t, v, `{"do":"print"}`)
	want := regexp.MustCompile(`^INIT_START Runtime Version: python:3\.\d+\.v1\tRuntime Version ARN: arn:aws:lambda:eu-central-1::runtime:[0-9a-f]{64}\ninitializing\nSTART .*\none\ntwo\nthree\nEND .*\nREPORT .*\n` +
		`\{"time":".*Z","type":"platform.initStart","record":\{"initializationType":"on-demand","phase":"init","runtimeVersion":"python:.*\n` +
		`initializing\n\{"time":".*Z","type":"platform.start","record":\{"requestId":"` + requestID + `","version":"\$LATEST"\}\}\none\ntwo\nthree\n` +
		`\{"time":".*Z","type":"platform.report","record":\{.*"initDurationMs":.*"status":"success"\}\}$`)
	if got := log.all(); !want.MatchString(got) {
		t.Errorf("events = %s", got)
	}
}

func TestLogLevels(t *testing.T) {
	t.Parallel()
	log := &events{}
	h := newHost(t, func(o *runner.Options) { o.Logs = log })
	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": `
import json, os, sys
def handler(event, context):
    for level in ("DEBUG", "INFO", "WARN", "ERROR"):
        sys.stdout.write(json.dumps({"level": level, "timestamp": "2026-01-01T00:00:00Z", "message": level.lower()}) + "\n")
    sys.stdout.write("plain\n")
    sys.stdout.flush()
    if event.get("exit"):
        os._exit(1)
`})
	kinds := regexp.MustCompile(`"type":"(platform\.\w+)"|"message": "(\w+)"|^(plain)$`)
	for _, c := range []struct {
		application, system string
		payload             string
		want                string
	}{
		{"", "", "{}", "initStart start info warn error plain report"},
		{"DEBUG", "DEBUG", "{}", "initStart initRuntimeDone initReport start debug info warn error plain runtimeDone report"},
		{"ERROR", "WARN", "{}", "error plain"},
		{"FATAL", "WARN", `{"exit":true}`, "plain runtimeDone report"},
		{"WARN", "INFO", `{"exit":true}`, "initStart start warn error plain runtimeDone report"},
	} {
		log.clear()
		v.Config.Logging = lamina.Logging{Format: "JSON", Group: "g", ApplicationLevel: c.application, SystemLevel: c.system}
		v.RevisionID = c.application + c.system + c.payload
		r := h.invoke(t, v, c.payload)
		var got []string
		for line := range strings.Lines(log.all()) {
			if m := kinds.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
				got = append(got, strings.TrimPrefix(m[1]+m[2]+m[3], "platform."))
			}
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("levels %q and %q: %s; want %s\n%s", c.application, c.system, g, c.want, log.all())
		}
		if bytes.Contains(r.LogTail, []byte("debug")) != (c.application == "DEBUG") {
			t.Errorf("tail = %s", r.LogTail)
		}
		if c.payload != "{}" && !strings.Contains(log.all(), `"status":"error","errorType":"Runtime.ExitError"`) {
			t.Errorf("events = %s; want the error", log.all())
		}
	}
}
