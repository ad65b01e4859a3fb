package runtimes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina/runner/runtimeapi"
	"github.com/lamina-run/lamina/runner/runtimes"
)

// These tests run AWS's own runtime interface clients against our Runtime API,
// as clients that know nothing of us, and compare this package's clients with
// them. .ci/setup installs them. That of Java is in java_test.go.

// awsClient returns the path of something below the cache.
func awsClient(t *testing.T, family string, path ...string) string {
	t.Helper()
	name := filepath.Join(append([]string{cache()}, path...)...)
	if _, err := os.Stat(name); err != nil {
		missing(t, family, "AWS's runtime client is not in "+cache()+"; run .ci/setup")
	}
	return name
}

// interpreterOf returns what serves a runtime here.
func interpreterOf(t *testing.T, runtime string) runtimes.Interpreter {
	t.Helper()
	for _, in := range interpreters(t) {
		if in.Runtime == runtime {
			return in
		}
	}
	t.Fatalf("no interpreter for %s", runtime)
	panic("unreachable")
}

// same compares what this package's client and AWS's told about one event.
// Traces, request IDs and the like may differ; fields names those that may not.
func same(t *testing.T, what string, got, want runtimeapi.Outcome, fields ...string) {
	t.Helper()
	// Not all of AWS's clients repeat the type in a header.
	if got.Kind != want.Kind || (want.ErrorType != "" && got.ErrorType != want.ErrorType) {
		t.Errorf("%s = %v %s %s; AWS has %v %s %s", what, got.Kind, got.ErrorType, got.Payload, want.Kind, want.ErrorType, want.Payload)
		return
	}
	if want.Kind == runtimeapi.Responded {
		if string(got.Payload) != string(want.Payload) {
			t.Errorf("%s\n got %s\nwant %s", what, got.Payload, want.Payload)
		}
		return
	}
	var g, w map[string]any
	if err := json.Unmarshal(got.Payload, &g); err != nil {
		t.Fatalf("%s: %s: %v", what, got.Payload, err)
	}
	if err := json.Unmarshal(want.Payload, &w); err != nil {
		t.Fatalf("%s: %s: %v", what, want.Payload, err)
	}
	for _, f := range fields {
		if diff := cmp.Diff(g[f], w[f]); diff != "" {
			t.Errorf("%s: %s (-got +want):\n%s", what, f, diff)
		}
	}
}

const comparedPython = `
import collections, decimal, json, os
P = collections.namedtuple("P", "x y")
class Custom(Exception): pass
class Text(str): pass
def deep(n): return deep(n - 1) if n else 1 / 0
def handler(event, context):
    do = event.get("do") if isinstance(event, dict) else None
    if do == "decimal": return {"a": decimal.Decimal("1.10"), "b": [decimal.Decimal("NaN"), decimal.Decimal("1E+3")]}
    if do == "bare decimal": return decimal.Decimal("1.50")
    if do == "bytes": return b"as it is"
    if do == "nested bytes": return {"a": b"text", b"k": 1}
    if do == "bad bytes": return {"a": b"\xff"}
    if do == "nan": return [float("nan"), float("inf")]
    if do == "named": return [P(1, P(2, 3)), (4, 5)]
    if do == "keys": return {1: "a", 2.5: "b", True: "c", None: "d"}
    if do == "tuple key": return {(1, 2): 3}
    if do == "set": return {"a": {1}}
    if do == "object": return object()
    if do == "circular":
        a = []
        a.append(a)
        return a
    if do == "text": return {"t": Text("ü\u2028😀\u0000</\\"), "b": True, "n": None, "f": 1e100, "i": 10**30}
    if do == "surrogate": return "\ud800"
    if do == "raise": raise Custom("some error occurred")
    if do == "empty": raise Custom()
    if do == "recursion": return deep(20)
    if do == "key": return {}["missing"]
    if do == "chained":
        try: raise ValueError("first")
        except ValueError as e: raise Custom("second") from e
    if do == "context":
        c = context
        return [c.function_name, c.function_version, c.invoked_function_arn, c.memory_limit_in_mb, c.log_group_name, c.log_stream_name, c.aws_request_id,
                repr(c.client_context), repr(c.identity), c.client_context.client.app_title, c.client_context.custom, c.client_context.env,
                0 < c.get_remaining_time_in_millis() <= 3000, repr(c), os.environ.get("_X_AMZN_TRACE_ID"), c.w3c()]
    return event
`

// TestPythonAsAWS compares with awslambdaric.
func TestPythonAsAWS(t *testing.T) {
	t.Parallel()
	dir := awsClient(t, "python", "ric-python")
	version, err := os.ReadFile(filepath.Join(dir, ".python"))
	if err != nil {
		t.Fatal(err)
	}
	in := interpreterOf(t, "python"+strings.TrimSpace(string(version)))
	files := map[string]string{
		"app.py": comparedPython, "syntax.py": "def (:\n", "fails.py": "x = 1\nraise Exception('Runtime startup fails')\n", "imports.py": "import nothing_of_that_name\n",
	}
	task := write(t, files)
	aws := func(handler string) *process {
		return run(t, func(ctx context.Context, api string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, in.Path, "-m", "awslambdaric", handler)
			cmd.Dir = task
			cmd.Env = clientEnvironment(api, task, handler, "PYTHONPATH="+dir, "LD_LIBRARY_PATH="+filepath.Join(in.Prefix, "lib"), "AWS_EXECUTION_ENV=AWS_Lambda_"+in.Runtime)
			return cmd
		})
	}
	own, theirs := startIn(t, in, "app.handler", task), aws("app.handler")
	for _, event := range []string{
		`{}`, `[1, 2.5, null, "ü"]`, `"text"`, `null`, `{"a": {"b": [true, 12345678901234567890, 1e3]}}`,
		`{"do":"decimal"}`, `{"do":"bare decimal"}`, `{"do":"bytes"}`, `{"do":"nested bytes"}`, `{"do":"nan"}`, `{"do":"named"}`, `{"do":"keys"}`,
		`{"do":"text"}`, `{"do":"context"}`,
	} {
		same(t, event, own.invoke(t, event), theirs.invoke(t, event))
	}
	for _, event := range []string{
		`{"do":"set"}`, `{"do":"object"}`, `{"do":"circular"}`, `{"do":"tuple key"}`, `{"do":"raise"}`, `{"do":"empty"}`, `{"do":"recursion"}`, `{"do":"key"}`, `{"do":"chained"}`,
	} {
		same(t, event, own.invoke(t, event), theirs.invoke(t, event), "errorMessage", "errorType", "requestId", "stackTrace")
	}
	same(t, "bad bytes", own.invoke(t, `{"do":"bad bytes"}`), theirs.invoke(t, `{"do":"bad bytes"}`), "errorType")

	for _, handler := range []string{"absent.handler", "app.absent", "app", "syntax.handler", "imports.handler", "fails.handler", "sys.exit"} {
		a, b := startIn(t, in, handler, task), aws(handler)
		same(t, handler, a.wait(t), b.wait(t), "errorMessage", "errorType", "requestId", "stackTrace")
		if got, want := fmt.Sprint(<-a.exit), fmt.Sprint(<-b.exit); got != want {
			t.Errorf("%s: exit = %s; AWS has %s", handler, got, want)
		}
	}

	// The log, but for times and what only one of them says.
	logs := map[string]string{"log.py": "import logging\nlog = logging.getLogger()\nlog.setLevel('INFO')\ndef handler(e, c):\n    print('printed')\n    log.info('informed %d', 7)\n" +
		"    logging.getLogger('x').error('failed', extra={'k': {'a': 1}})\n    try:\n        1 / 0\n    except Exception:\n        log.exception('caught')\n    raise ValueError('at last')\n"}
	logTask := write(t, logs)
	for _, format := range []string{"Text", "JSON"} {
		a := startIn(t, in, "log.handler", logTask, "AWS_LAMBDA_LOG_FORMAT="+format)
		b := run(t, func(ctx context.Context, api string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, in.Path, "-m", "awslambdaric", "log.handler")
			cmd.Dir = logTask
			cmd.Env = clientEnvironment(api, logTask, "log.handler", "PYTHONPATH="+dir, "LD_LIBRARY_PATH="+filepath.Join(in.Prefix, "lib"), "AWS_LAMBDA_LOG_FORMAT="+format)
			return cmd
		})
		a.invoke(t, "{}")
		b.invoke(t, "{}")
		// AWS's client does not end an event with a trace.
		want := strings.ReplaceAll(b.out.String(), "by zero[ERROR]", "by zero\n[ERROR]")
		if got := plainTimes(a.out.String()); got != plainTimes(want) {
			t.Errorf("%s log (-got +want):\n%s", format, cmp.Diff(got, plainTimes(want)))
		}
	}
}

var times = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// plainTimes makes the times in a log equal.
func plainTimes(s string) string { return times.ReplaceAllString(s, "TIME") }

const comparedNode = `
let n = 0;
exports.handler = async (event, context) => {
  switch (event && event.do) {
    case 'context': { const { getRemainingTimeInMillis, ...rest } = JSON.parse(JSON.stringify(context)); return [rest, context.getRemainingTimeInMillis() > 0, process.env._X_AMZN_TRACE_ID, n++]; }
    case 'raise': throw Object.assign(new TypeError('some error occurred'), { code: 'E_CODE', extra: { a: 1 } });
    case 'text': throw 'just text';
    case 'object': throw { a: 1 };
    case 'undefined': return undefined;
    case 'function': return () => 1;
    case 'circular': { const a = {}; a.a = a; return a; }
    case 'big': return { a: 10n };
    case 'log': console.log('printed %d', 7, { a: [1] }); console.error(new Error('failed').message); console.debug({ a: 1 }); console.warn('x', new RangeError('r').message); return;
    case 'never': return new Promise(() => {});
    case 'dates': return { d: new Date(0), m: new Map([[1, 2]]), u: undefined, n: NaN, b: Buffer.from('hi') };
  }
  return event;
};
exports.callback = (event, context, callback) => {
  switch (event.do) {
    case 'error': callback(new RangeError('by callback')); return;
    case 'text': callback('text'); return;
    case 'done': context.done(null, 'done'); return;
    case 'succeed': context.succeed({ a: 1 }); return;
    case 'fail': context.fail(); return;
    case 'throw': throw new EvalError('thrown');
    case 'wait': setTimeout(() => { event.late = true; }, 30); callback(null, event); return;
    case 'now': context.callbackWaitsForEmptyEventLoop = false; setTimeout(() => {}, 30); callback(null, 'now'); return;
    case 'twice': callback(null, 1); callback(null, 2); return;
    case 'nothing': return 'ignored';
  }
  callback(null, event);
};
exports.nested = { deep: { handler: async () => 'nested' } };
exports.notFunction = 1;
`

// TestNodeAsAWS compares with aws-lambda-ric.
func TestNodeAsAWS(t *testing.T) {
	t.Parallel()
	client := awsClient(t, "nodejs", "ric-node", "node_modules", "aws-lambda-ric", "bin", "index.mjs")
	awsClient(t, "nodejs", "ric-node", "node_modules", "aws-lambda-ric", "dist", "rapid-client.node")
	version, err := os.ReadFile(awsClient(t, "nodejs", "ric-node", ".node"))
	if err != nil {
		t.Fatal(err)
	}
	in := interpreterOf(t, "nodejs"+strings.TrimSpace(string(version))+".x")
	task := write(t, map[string]string{
		"index.js": comparedNode, "syntax.js": "exports.handler = (", "require.js": "require('absent-package');", "fails.js": "throw new RangeError('at start');",
		"esm.mjs": "import 'absent-package';",
	})
	aws := func(handler string, env ...string) *process {
		return run(t, func(ctx context.Context, api string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, in.Path, client, handler)
			cmd.Dir = task
			cmd.Env = clientEnvironment(api, task, handler, env...)
			return cmd
		})
	}
	own, theirs := startIn(t, in, "index.handler", task), aws("index.handler")
	for _, event := range []string{
		`{}`, `[1,2.5,null,"ü😀"]`, `"text"`, `null`, `{"do":"context"}`, `{"do":"undefined"}`, `{"do":"function"}`, `{"do":"dates"}`, `{"do":"never"}`,
		`{"do":"text"}`, `{"do":"object"}`, `{"do":"circular"}`, `{"do":"big"}`,
	} {
		same(t, event, own.invoke(t, event), theirs.invoke(t, event), "errorMessage", "errorType")
	}
	same(t, "raise", own.invoke(t, `{"do":"raise"}`), theirs.invoke(t, `{"do":"raise"}`), "errorMessage", "errorType")

	own, theirs = startIn(t, in, "index.callback", task), aws("index.callback")
	for _, do := range []string{"", "error", "text", "done", "succeed", "fail", "throw", "wait", "now", "twice", "nothing"} {
		event := `{"do":"` + do + `"}`
		same(t, "callback "+do, own.invoke(t, event), theirs.invoke(t, event), "errorMessage", "errorType")
	}

	for _, handler := range []string{
		"absent.handler", "index.absent", "index.notFunction", "index", "../index.handler", "syntax.handler", "require.handler", "fails.handler", "esm.handler",
	} {
		a, b := startIn(t, in, handler, task), aws(handler)
		got, want := a.wait(t), b.wait(t)
		fields := []string{"errorMessage", "errorType"}
		if handler == "absent.handler" || handler == "require.handler" {
			fields = fields[1:] // names the file of either client
		}
		same(t, handler, got, want, fields...)
		if got, want := fmt.Sprint(<-a.exit), fmt.Sprint(<-b.exit); got != want {
			t.Errorf("%s: exit = %s; AWS has %s", handler, got, want)
		}
	}

	for _, format := range []string{"Text", "JSON"} {
		a, b := startIn(t, in, "index.handler", task, "AWS_LAMBDA_LOG_FORMAT="+format, "AWS_LAMBDA_LOG_LEVEL=DEBUG"),
			aws("index.handler", "AWS_LAMBDA_LOG_FORMAT="+format, "AWS_LAMBDA_LOG_LEVEL=DEBUG")
		a.invoke(t, `{"do":"log"}`)
		b.invoke(t, `{"do":"log"}`)
		_, want, _ := strings.Cut(b.out.String(), "\n") // the first line says what it executes
		if diff := cmp.Diff(plainTimes(a.out.String()), plainTimes(want)); diff != "" {
			t.Errorf("%s log (-got +want):\n%s", format, diff)
		}
	}
}

// TestRustClient runs a function on the crate lambda_runtime.
func TestRustClient(t *testing.T) {
	t.Parallel()
	program := awsClient(t, "rust", "rust", "release", "echo")
	p := run(t, func(ctx context.Context, api string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, program)
		cmd.Env = clientEnvironment(api, "/var/task", "echo")
		return cmd
	})
	p.clientContext = `{"client":{"installationId":"i","appTitle":"t","appVersionName":"n","appVersionCode":"c","appPackageName":"p"},"custom":{"k":"v"},"env":{}}` // it wants all of it
	if o := p.invoke(t, `{"a":[1,2.5,null,"ü"]}`); o.Kind != runtimeapi.Responded || string(o.Payload) != `{"a":[1,2.5,null,"ü"]}` {
		t.Errorf("echo = %v %s", o.Kind, o.Payload)
	}
	o := p.invoke(t, `{"do":"context"}`)
	var got map[string]any
	if err := json.Unmarshal(o.Payload, &got); err != nil {
		t.Fatalf("%s: %v", o.Payload, err)
	}
	want := map[string]any{"id": "request-2", "arn": "arn:fn:alias", "name": "fn", "memory": 128.0, "trace": "Root=1-2-3", "custom": map[string]any{"k": "v"}}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("context (-got +want):\n%s", diff)
	}
	var f failure
	o = p.invoke(t, `{"do":"raise"}`)
	if err := json.Unmarshal(o.Payload, &f); err != nil || o.Kind != runtimeapi.Failed || f.ErrorMessage != "some error occurred" {
		t.Errorf("raise = %v %s", o.Kind, o.Payload)
	}
	big := `{"x":"` + strings.Repeat("y", 6<<20-8) + `"}`
	if o := p.invoke(t, big); len(o.Payload) != 6<<20 {
		t.Errorf("6 MiB event: %v, result has %d bytes", o.Kind, len(o.Payload))
	}
}
