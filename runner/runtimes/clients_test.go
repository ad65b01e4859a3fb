package runtimes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/runner/runtimeapi"
	"github.com/lamina-run/lamina/runner/runtimes"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if dir := installed.dir; dir != "" {
			_ = os.RemoveAll(dir) // of the temporary directory of the machine
		}
		os.Exit(code)
	}))
}

// installed is what eachInterpreter found, once for all tests: to find them
// takes longer than most tests.
var installed struct {
	sync.Once
	dir   string
	found []runtimes.Interpreter
	err   error
}

// interpreters returns everything that this machine and .ci/setup have.
func interpreters(t *testing.T) []runtimes.Interpreter {
	t.Helper()
	installed.Do(func() {
		if installed.dir, installed.err = os.MkdirTemp("", "lamina-runtimes-"); installed.err != nil {
			return
		}
		var broken []runtimes.Missing
		installed.found, broken = newSet(t, installed.dir, cachedNodes()...).Interpreters(t.Context())
		for _, m := range broken {
			installed.err = errors.Join(installed.err, fmt.Errorf("%s: %w", m.Runtime, m.Err))
		}
	})
	if installed.err != nil {
		t.Fatal(installed.err)
	}
	return installed.found
}

// cache is where .ci/setup puts what tests need from package registries.
func cache() string {
	if dir := os.Getenv("LAMINA_TEST_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "lamina-test")
}

// nodeMajors are the versions that .ci/setup installs besides the machine's.
var nodeMajors = []string{"16", "18", "22", "24"}

// cachedNodes names the Node.js that .ci/setup installed.
func cachedNodes() []string {
	var out []string
	for _, major := range nodeMajors {
		found, err := filepath.Glob(filepath.Join(cache(), "node", major, "node_modules", "node-linux-*", "bin", "node"))
		if err == nil && len(found) == 1 {
			out = append(out, "nodejs"+major+".x="+found[0])
		}
	}
	return out
}

func newSet(t testing.TB, dir string, explicit ...string) *runtimes.Set {
	t.Helper()
	s, err := runtimes.New(runtimes.Config{
		Log: slog.New(slog.DiscardHandler), Dir: dir, Explicit: explicit, Getenv: os.Getenv, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eachInterpreter runs f for everything of a family that this machine has.
func eachInterpreter(t *testing.T, family string, f func(t *testing.T, in runtimes.Interpreter)) {
	t.Helper()
	found := interpreters(t)
	must := slices.Contains(strings.Split(os.Getenv(testkit.Must), ","), family)
	if n := len(cachedNodes()); family == "nodejs" && n < len(nodeMajors) {
		if must {
			t.Fatalf("%d of %d versions of Node.js in %s; run .ci/setup", n, len(nodeMajors), cache())
		}
		t.Logf("%d of %d versions of Node.js in %s; .ci/setup installs them", n, len(nodeMajors), cache())
	}
	n := 0
	for _, in := range found {
		if lamina.RuntimeFamily(in.Runtime) == family {
			n++
			t.Run(in.Runtime, func(t *testing.T) {
				t.Parallel()
				f(t, in)
			})
		}
	}
	if n == 0 {
		if must {
			t.Fatalf("no %s interpreter on this machine", family)
		}
		t.Skipf("no %s interpreter on this machine", family)
	}
}

// output is what a function writes. It is a file, so that it is all there as
// soon as the outcome is.
type output struct{ *os.File }

func (o output) String() string {
	data, err := os.ReadFile(o.Name())
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// process is a runtime client outside of any sandbox.
type process struct {
	*runtimeapi.Session
	out  output
	exit chan error // one send by the goroutine that waits for the process
	n    int

	clientContext string
}

// command is a runtime client on its own.
func command(ctx context.Context, in runtimes.Interpreter, api, task, handler string, env ...string) *exec.Cmd {
	var args []string
	switch lamina.RuntimeFamily(in.Runtime) {
	case "python":
		args = []string{"-S", filepath.Join(in.Client, "bootstrap.py")}
	case "nodejs":
		args = []string{filepath.Join(in.Client, "bootstrap.cjs")}
	case "ruby":
		args = []string{filepath.Join(in.Client, "bootstrap.rb")}
	case "java":
		args = []string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(in.Client, "lamina-runtime.jar"), "run.lamina.client.Main"}
	}
	cmd := exec.CommandContext(ctx, in.Path, args...)
	cmd.Dir = task
	cmd.Env = clientEnvironment(api, task, handler, append([]string{
		"LD_LIBRARY_PATH=" + filepath.Join(in.Prefix, "lib"), "PYTHONPATH=" + in.Client, "LAMBDA_RUNTIME_DIR=" + in.Client,
		"AWS_EXECUTION_ENV=AWS_Lambda_" + in.Runtime,
	}, env...)...)
	return cmd
}

// clientEnvironment is what every runtime client reads.
func clientEnvironment(api, task, handler string, more ...string) []string {
	return append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + api, "LAMBDA_TASK_ROOT=" + task, "_HANDLER=" + handler, "LANG=en_US.UTF-8", "TZ=:UTC",
		"AWS_LAMBDA_FUNCTION_NAME=fn", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/fn", "AWS_LAMBDA_LOG_STREAM_NAME=stream", "PATH=/usr/bin:/bin", "AWS_REGION=us-east-1",
	}, more...)
}

func start(t *testing.T, in runtimes.Interpreter, handler string, files map[string]string, env ...string) *process {
	t.Helper()
	return startIn(t, in, handler, write(t, files), env...)
}

// write makes a directory of files.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// startIn starts a client with the code of a directory.
func startIn(t *testing.T, in runtimes.Interpreter, handler, task string, env ...string) *process {
	t.Helper()
	return run(t, func(ctx context.Context, api string) *exec.Cmd { return command(ctx, in, api, task, handler, env...) })
}

// run starts a program that is or has a client of the Runtime API.
func run(t *testing.T, program func(ctx context.Context, api string) *exec.Cmd) *process {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(filepath.Join(t.TempDir(), "out"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p := &process{out: output{out}, exit: make(chan error, 1)}
	p.Session = runtimeapi.New(runtimeapi.Options{MaxPayload: 6<<20 + 100, Now: time.Now})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := p.Run(ctx, l); err != nil {
			t.Error(err)
		}
	})
	cmd := program(ctx, l.Addr().String())
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	running.Go(func() { p.exit <- cmd.Wait() })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return p
}

func (p *process) wait(t *testing.T) runtimeapi.Outcome {
	t.Helper()
	select {
	case o := <-p.Outcomes():
		return o
	case err := <-p.exit:
		p.exit <- err
		select { // what it said last
		case o := <-p.Outcomes():
			return o
		default:
		}
		t.Fatalf("the runtime exited: %v\n%s", err, p.out.String())
	case <-time.After(20 * time.Second):
		t.Fatalf("no outcome\n%s", p.out.String())
	}
	panic("unreachable")
}

func (p *process) deliver(t *testing.T, event string) {
	t.Helper()
	p.n++
	if err := p.Deliver(&runtimeapi.Request{
		ID: fmt.Sprintf("request-%d", p.n), InvokedARN: "arn:fn:alias", TraceID: "Root=1-2-3", Payload: []byte(event), Timeout: 3 * time.Second,
		ClientContext: orelse(p.clientContext, `{"client":{"app_title":"t"},"custom":{"k":"v"},"env":{"e":"1"}}`),
	}); err != nil {
		t.Fatal(err)
	}
}

func orelse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (p *process) invoke(t *testing.T, event string) runtimeapi.Outcome {
	t.Helper()
	p.deliver(t, event)
	return p.wait(t)
}

// failure is the payload of an error, of either language.
type failure struct {
	ErrorMessage string
	ErrorType    string
	RequestID    *string
	StackTrace   []string
	Trace        []string
}

func parse(t *testing.T, o runtimeapi.Outcome) failure {
	t.Helper()
	var f failure
	if err := json.Unmarshal(o.Payload, &f); err != nil {
		t.Fatalf("parse %s: %v", o.Payload, err)
	}
	if o.ErrorType != f.ErrorType {
		t.Errorf("error type header = %q; want that of the body, %q", o.ErrorType, f.ErrorType)
	}
	return f
}

const pythonHandler = `
import os, sys
n = 0

def handler(event, context):
    global n
    n += 1
    what = event.get("do")
    if what == "context":
        c = context.client_context
        return {
            "id": context.aws_request_id, "arn": context.invoked_function_arn, "memory": context.memory_limit_in_mb,
            "name": context.function_name, "version": context.function_version, "group": context.log_group_name,
            "stream": context.log_stream_name, "left": 0 < context.get_remaining_time_in_millis() <= 3000,
            "title": c.client.app_title, "custom": c.custom, "env": c.env, "identity": context.identity.cognito_identity_id,
            "trace": os.environ["_X_AMZN_TRACE_ID"],
        }
    if what == "raise":
        class Custom(Exception):
            pass
        raise Custom("some error occurred")
    if what == "set":
        return {1}
    if what == "log":
        import logging
        print("printed")
        logging.getLogger().warning("warned %d", 7)
        sys.stderr.write("to stderr\n")
    if what == "exit":
        sys.exit(3)
    if what == "text":
        return "\u00fc\U0001f600"
    if what == "count":
        return n
    if what == "path":
        return sys.path[:3]
    if what == "size":
        return "x" * event["n"]
    return event
`

func TestPython(t *testing.T) {
	t.Parallel()
	eachInterpreter(t, "python", func(t *testing.T, in runtimes.Interpreter) {
		var minor int
		fmt.Sscanf(in.Runtime, "python3.%d", &minor)
		p := start(t, in, "handler.handler", map[string]string{"handler.py": pythonHandler})
		task := p.invoke(t, `{"do":"path"}`)
		if !strings.HasSuffix(string(task.Payload), `"/opt/python/lib/python3.`+fmt.Sprint(minor)+`/site-packages", "/opt/python"]`) {
			t.Errorf("head of sys.path = %s", task.Payload)
		}
		for event, want := range map[string]string{
			`{"a": [1, 2.5, null, "ü"]}`: `{"a":[1,2.5,null,"ü"]}`,
			`{"do":"context"}`: `{"arn":"arn:fn:alias","custom":{"k":"v"},"env":{"e":"1"},"group":"/aws/lambda/fn","id":"request-N",
				"identity":null,"left":true,"memory":"128","name":"fn","stream":"stream","title":"t","trace":"Root=1-2-3","version":"$LATEST"}`,
			`{"do":"text"}`: `"ü😀"`,
		} {
			o := p.invoke(t, event)
			want = strings.ReplaceAll(want, "request-N", fmt.Sprintf("request-%d", p.n))
			var g, w any
			if err := json.Unmarshal(o.Payload, &g); err != nil {
				t.Fatalf("%s: %v", o.Payload, err)
			}
			if err := json.Unmarshal([]byte(want), &w); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(g, w); diff != "" || o.Kind != runtimeapi.Responded {
				t.Errorf("%s (-got +want):\n%s", event, diff)
			}
		}
		if got, escaped := string(p.invoke(t, `{"do":"text"}`).Payload), minor < 12; strings.Contains(got, `\u`) != escaped {
			t.Errorf("text = %s; want escapes only before 3.12", got)
		}

		o := p.invoke(t, `{"do":"raise"}`)
		f := parse(t, o)
		id := fmt.Sprintf("request-%d", p.n)
		if o.Kind != runtimeapi.Failed || f.ErrorType != "Custom" || f.ErrorMessage != "some error occurred" ||
			len(f.StackTrace) != 1 || !regexp.MustCompile(`^  File ".*/handler.py", line 21, in handler\n    raise Custom\("some error occurred"\)\n$`).MatchString(f.StackTrace[0]) {
			t.Errorf("raise = %+v", f)
		}
		if (f.RequestID == nil) != (minor < 9) || (f.RequestID != nil && *f.RequestID != id) {
			t.Errorf("requestId = %v; want %s from 3.9 on", f.RequestID, id)
		}
		if want := "[ERROR] Custom: some error occurred\rTraceback (most recent call last):\r\u00a0\u00a0File \""; !strings.Contains(p.out.String(), want) {
			t.Errorf("log = %q; want %q in it", p.out.String(), want)
		}

		f = parse(t, p.invoke(t, `{"do":"set"}`))
		if f.ErrorType != "Runtime.MarshalError" || f.ErrorMessage != "Unable to marshal response: Object of type set is not JSON serializable" {
			t.Errorf("set = %+v", f)
		}

		p.invoke(t, `{"do":"log"}`)
		want := regexp.MustCompile(`(?m)^printed\n\[WARNING\]\t\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\t` + fmt.Sprintf("request-%d", p.n) + `\twarned 7\nto stderr\n`)
		if !want.MatchString(p.out.String()) {
			t.Errorf("log = %q; want %s in it", p.out.String(), want)
		}

		if o := p.invoke(t, `{"do":"size","n":6291555}`); o.Kind != runtimeapi.TooLarge {
			t.Errorf("6291557 bytes: kind = %v; want TooLarge", o.Kind)
		}
		if o := p.invoke(t, `{"do":"size","n":6291554}`); o.Kind != runtimeapi.Responded || len(o.Payload) != 6291556 {
			t.Errorf("6291556 bytes: kind, length = %v, %d", o.Kind, len(o.Payload))
		}
		big := `{"x":"` + strings.Repeat("y", 6<<20-8) + `"}`
		if o := p.invoke(t, big); len(o.Payload) != 6<<20+1 { // a space after the colon
			t.Errorf("6 MiB event: result has %d bytes", len(o.Payload))
		}
		if got, want := string(p.invoke(t, `{"do":"count"}`).Payload), fmt.Sprint(p.n); got != want {
			t.Errorf("count = %s; want %s", got, want)
		}
		p.deliver(t, `{"do":"exit"}`)
		if err := <-p.exit; err == nil || err.Error() != "exit status 3" {
			t.Errorf("sys.exit(3) = %v", err)
		}
	})
}

func TestPythonInitErrors(t *testing.T) {
	t.Parallel()
	eachInterpreter(t, "python", func(t *testing.T, in runtimes.Interpreter) {
		for _, c := range []struct {
			name, handler, source, kind, message string
			trace                                string // a pattern for all frames together
		}{
			{"a missing module", "absent.handler", "", "Runtime.ImportModuleError", "Unable to import module 'absent': No module named 'absent'", `^$`},
			{"a missing import", "m.handler", "import nothing_of_that_name", "Runtime.ImportModuleError", "Unable to import module 'm': No module named 'nothing_of_that_name'", `^$`},
			{"a missing handler", "m.absent", "x = 1", "Runtime.HandlerNotFound", "Handler 'absent' missing on module 'm'", `^$`},
			{"a handler without a dot", "handler", "", "Runtime.MalformedHandlerName", "Bad handler 'handler': not enough values to unpack (expected 2, got 1)", `^$`},
			{"a syntax error", "m.handler", "def (:\n", "Runtime.UserCodeSyntaxError", "Syntax error in module 'm': invalid syntax (m.py, line 1)", `^  File ".*m.py" Line 1\n    def \(:\n?$`},
			{"a failing module", "m.handler", "raise Exception('Runtime startup fails')", "Exception", "Runtime startup fails", `^  File ".*importlib/__init__.py", line \d+, in import_module\n(?s:.*)m.py", line 1, in <module>\n    raise Exception`},
		} {
			p := start(t, in, c.handler, map[string]string{"m.py": c.source})
			o := p.wait(t)
			f := parse(t, o)
			if o.Kind != runtimeapi.InitFailed || f.ErrorType != c.kind || f.ErrorMessage != c.message {
				t.Errorf("%s: %v %s: %s; want %s: %s", c.name, o.Kind, f.ErrorType, f.ErrorMessage, c.kind, c.message)
			}
			if got := strings.Join(f.StackTrace, ""); !regexp.MustCompile(c.trace).MatchString(got) {
				t.Errorf("%s: trace = %q; want %s", c.name, got, c.trace)
			}
			if f.RequestID != nil && *f.RequestID != "" {
				t.Errorf("%s: requestId = %q; want none", c.name, *f.RequestID)
			}
			if err := <-p.exit; err == nil {
				t.Errorf("%s: the process exited with 0", c.name)
			}
		}
		p := start(t, in, "pkg/sub/m.handler", map[string]string{"pkg/sub/m.py": "def handler(e, c):\n    return 5\n"})
		if got := string(p.invoke(t, "{}").Payload); got != "5" {
			t.Errorf("handler in a directory = %s; want 5", got)
		}
		p = start(t, in, "m.handler", map[string]string{"m.py": "import logging\nlogging.info('quiet')\nlogging.error('loud', extra={'k': 1})\ndef handler(e, c):\n    logging.error('again')\n"},
			"AWS_LAMBDA_LOG_FORMAT=JSON", "AWS_LAMBDA_LOG_LEVEL=WARN")
		p.invoke(t, "{}")
		if got := p.out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, `"level": "ERROR", "message": "loud", "logger": "root", "requestId": "", "k": 1}`) ||
			!strings.Contains(got, `"requestId": "request-1"}`) {
			t.Errorf("JSON log = %s", got)
		}
	})
}

// modern reports whether handlers are what their promise says, and nothing else.
func modern(in runtimes.Interpreter) bool { return in.Runtime == "nodejs24.x" }

const nodeHandler = `
let n = 0;
exports.handler = async (event, context) => {
  n++;
  switch (event.do) {
    case 'context': return { ...JSON.parse(JSON.stringify(context)), left: context.getRemainingTimeInMillis() > 0, trace: process.env._X_AMZN_TRACE_ID };
    case 'raise': throw new TypeError('some error occurred');
    case 'text': throw 'just text';
    case 'circular': { const a = {}; a.a = a; return a; }
    case 'log': console.log('printed %d', 7); console.error('failed'); return;
    case 'size': return 'x'.repeat(event.n);
    case 'count': return n;
    case 'never': return new Promise(() => {});
    case 'reject': Promise.reject(new Error('nobody cares')); return new Promise((r) => setTimeout(r, 1000));
  }
  return event;
};
exports.callback = (event, context, callback) => {
  if (event.wait) { setTimeout(() => { event.late = true; }, 50); callback(null, event); return; }
  context.callbackWaitsForEmptyEventLoop = false;
  if (event.fail) callback(new Error('by callback')); else callback(null, 'called');
};
exports.succeed = (event, context) => { setTimeout(() => context.succeed({ ok: 1 }), 1); };
exports.streamed = awslambda.streamifyResponse(async (event, stream) => { stream.write('a'); stream.write('b'); stream.end(); });
exports.notFunction = 1;
`

func TestNode(t *testing.T) {
	t.Parallel()
	eachInterpreter(t, "nodejs", func(t *testing.T, in runtimes.Interpreter) {
		p := start(t, in, "index.handler", map[string]string{"index.js": nodeHandler})
		for event, want := range map[string]string{
			`{"a": [1, 2.5, null, "ü"]}`: `{"a":[1,2.5,null,"ü"]}`,
			`{"do":"context"}`: `{"functionVersion":"$LATEST","functionName":"fn","memoryLimitInMB":"128",` +
				`"logGroupName":"/aws/lambda/fn","logStreamName":"stream","clientContext":{"client":{"app_title":"t"},"custom":{"k":"v"},"env":{"e":"1"}},` +
				`"invokedFunctionArn":"arn:fn:alias","awsRequestId":"request-N","left":true,"trace":"Root=1-2-3"}`,
		} {
			o := p.invoke(t, event)
			o.Payload = bytes.Replace(o.Payload, []byte(`"callbackWaitsForEmptyEventLoop":true,`), nil, 1)
			if got, want := string(o.Payload), strings.ReplaceAll(want, "request-N", fmt.Sprintf("request-%d", p.n)); got != want || o.Kind != runtimeapi.Responded {
				t.Errorf("%s = %s; want %s", event, got, want)
			}
		}
		o := p.invoke(t, `{"do":"raise"}`)
		f := parse(t, o)
		if o.Kind != runtimeapi.Failed || f.ErrorType != "TypeError" || f.ErrorMessage != "some error occurred" || len(f.Trace) < 2 ||
			f.Trace[0] != "TypeError: some error occurred" || !strings.Contains(f.Trace[1], "index.js:7:") {
			t.Errorf("raise = %+v", f)
		}
		f = parse(t, p.invoke(t, `{"do":"text"}`))
		if f.ErrorType != "string" || f.ErrorMessage != "just text" {
			t.Errorf("text = %+v", f)
		}
		f = parse(t, p.invoke(t, `{"do":"circular"}`))
		kind := "Error"
		if modern(in) {
			kind = "Runtime.JSONStringifyError"
		}
		if f.ErrorMessage != "Unable to stringify response body" || f.ErrorType != kind {
			t.Errorf("circular = %+v", f)
		}
		if !modern(in) {
			if got := string(p.invoke(t, `{"do":"never"}`).Payload); got != "null" {
				t.Errorf("never = %s; want null", got)
			}
		}
		p.invoke(t, `{"do":"log"}`)
		id := fmt.Sprintf("request-%d", p.n)
		if want := regexp.MustCompile(`(?m)^\S+Z\t` + id + `\tINFO\tprinted 7\n\S+Z\t` + id + `\tERROR\tfailed\n`); !want.MatchString(p.out.String()) {
			t.Errorf("log = %q; want %s in it", p.out.String(), want)
		}
		if o := p.invoke(t, `{"do":"size","n":6291555}`); o.Kind != runtimeapi.TooLarge {
			t.Errorf("6291557 bytes: kind = %v; want TooLarge", o.Kind)
		}
		big := `{"x":"` + strings.Repeat("y", 6<<20-8) + `"}`
		if o := p.invoke(t, big); len(o.Payload) != 6<<20 {
			t.Errorf("6 MiB event: result has %d bytes", len(o.Payload))
		}
		if got, want := string(p.invoke(t, `{"do":"count"}`).Payload), fmt.Sprint(p.n); got != want {
			t.Errorf("count = %s; want %s", got, want)
		}
		if modern(in) { // the loop is empty, and nothing is left that could answer
			q := start(t, in, "index.handler", map[string]string{"index.js": nodeHandler})
			q.deliver(t, `{"do":"never"}`)
			if err := <-q.exit; err == nil || err.Error() != "exit status 13" {
				t.Errorf("exit of a promise that nobody settles = %v; want 13", err)
			}
		}
		f = parse(t, p.invoke(t, `{"do":"reject"}`))
		if f.ErrorType != "Runtime.UnhandledPromiseRejection" || f.ErrorMessage != "Error: nobody cares" {
			t.Errorf("reject = %+v", f)
		}
		if err := <-p.exit; err == nil || err.Error() != "exit status 128" {
			t.Errorf("exit after rejection = %v", err)
		}
	})
}

func TestNodeHandlers(t *testing.T) {
	t.Parallel()
	eachInterpreter(t, "nodejs", func(t *testing.T, in runtimes.Interpreter) {
		files := map[string]string{
			"index.js":                      nodeHandler,
			"esm.mjs":                       "import fs from 'fs';\nconst x = await Promise.resolve(2);\nexport const handler = async () => [x, typeof fs.readFileSync];",
			"typed/package.json":            `{"type":"module"}`,
			"typed/m.js":                    "export const handler = async () => 'typed';",
			"cjs.cjs":                       "exports.nested = { handler: async () => 'nested' };",
			"syntax.js":                     "exports.handler = (",
			"require.js":                    "require('absent-package');",
			"fails.js":                      "throw new RangeError('at start');",
			"rejects.js":                    "Promise.reject(new Error('at start')); exports.handler = async () => 1;",
			"missing.mjs":                   "import 'absent-package';\nexport const handler = 1;",
			"src/lib/app.js":                "exports.handler = async () => 'nested path';",
			"node_modules/package/index.js": "exports.handler = async () => 'a package';",
			"default.mjs":                   "export default { handler: async () => 'default' };",
		}
		for _, c := range []struct{ handler, event, want string }{
			{"esm.handler", "{}", `[2,"function"]`},
			{"typed/m.handler", "{}", `"typed"`},
			{"cjs.nested.handler", "{}", `"nested"`},
			{"src/lib/app.handler", "{}", `"nested path"`},
			{"package.handler", "{}", `"a package"`},
			{"default.handler", "{}", `"default"`},
			{"index.callback", "{}", `"called"`},
			{"index.callback", `{"wait":1}`, `{"wait":1,"late":true}`},
			{"index.succeed", "{}", `{"ok":1}`},
		} {
			if modern(in) && (strings.HasSuffix(c.handler, "callback") || strings.HasSuffix(c.handler, "succeed")) {
				continue
			}
			p := start(t, in, c.handler, files)
			for range 2 {
				if got := string(p.invoke(t, c.event).Payload); got != c.want {
					t.Errorf("%s(%s) = %s; want %s", c.handler, c.event, got, c.want)
				}
			}
		}
		refused := []struct{ handler, kind, message string }{
			{"absent.handler", "Runtime.ImportModuleError", "Error: Cannot find module 'absent'\nRequire stack:\n- "},
			{"require.handler", "Runtime.ImportModuleError", "Error: Cannot find module 'absent-package'\nRequire stack:\n- "},
			{"index.absent", "Runtime.HandlerNotFound", "index.absent is undefined or not exported"},
			{"index.notFunction", "Runtime.HandlerNotFound", "index.notFunction is not a function"},
			{"index", "Runtime.MalformedHandlerName", "Bad handler"},
			{"../index.handler", "Runtime.MalformedHandlerName", "'../index.handler' is not a valid handler name."},
			{"missing.handler", "Error", "Cannot find package 'absent-package' imported from "},
			{"rejects.handler", "Runtime.UnhandledPromiseRejection", "Error: at start"},
			{"syntax.handler", "Runtime.UserCodeSyntaxError", "SyntaxError: "},
			{"fails.handler", "RangeError", "at start"},
		}
		if modern(in) {
			refused = append(refused, struct{ handler, kind, message string }{
				"index.callback", "Runtime.CallbackHandlerDeprecated", "ERROR: AWS Lambda has removed support for callback-based function handlers",
			})
		}
		for _, c := range refused {
			p := start(t, in, c.handler, files)
			o := p.wait(t)
			if f := parse(t, o); o.Kind != runtimeapi.InitFailed || f.ErrorType != c.kind || !strings.HasPrefix(f.ErrorMessage, c.message) {
				t.Errorf("%s: %s: %s; want %s: %s", c.handler, f.ErrorType, f.ErrorMessage, c.kind, c.message)
			}
			if err := <-p.exit; err == nil {
				t.Errorf("%s: the process exited with 0", c.handler)
			}
		}
	})
}
