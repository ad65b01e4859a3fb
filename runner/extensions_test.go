package runner_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner"
)

// agent is an external extension as a layer carries it. AGENT in the function's
// environment says what it does; what it sees goes to files in /tmp.
const agent = `#!/usr/bin/python3
import http.client, http.server, json, os, signal, socket, sys, threading, time
name = os.path.basename(sys.argv[0])
do = json.loads(os.environ.get("AGENT", "{}")).get(name, {})
api = os.environ["AWS_LAMBDA_RUNTIME_API"]

def call(method, path, headers={}, body=None):
    c = http.client.HTTPConnection(api)
    c.request(method, path, body, headers)
    r = c.getresponse()
    return r, r.read().decode()

def note(file, value):
    with open("/tmp/" + file, "a") as f:
        f.write(json.dumps(value) + "\n")

note(name + ".env", dict(os.environ, PWD_=os.getcwd()))
if "exit" in do:
    sys.exit(do["exit"])
r, body = call("POST", "/2020-01-01/extension/register", {"Lambda-Extension-Name": name, "Lambda-Extension-Accept-Feature": "accountId"},
    json.dumps({"events": do.get("events", ["INVOKE", "SHUTDOWN"])}))
note(name + ".registered", [r.status, body])
me = {"Lambda-Extension-Identifier": r.getheader("Lambda-Extension-Identifier", "")}
print(name, "registered", flush=True)
if "initError" in do:
    r, body = call("POST", "/2020-01-01/extension/init/error", dict(me, **{"Lambda-Extension-Function-Error-Type": do["initError"]}), "{}")
    note(name + ".error", [r.status, body])
    sys.exit(1)

def keep(events):
    with open("/tmp/" + name + ".telemetry", "a") as f:
        for e in events:
            f.write(json.dumps(e) + "\n")

class Listener(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        keep(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass

if "telemetry" in do:
    want = do["telemetry"]
    destination = want["destination"]
    if "4243" in destination.get("URI", ""):
        server = http.server.ThreadingHTTPServer(("sandbox.localdomain", 4243), Listener)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    elif "port" in destination:
        listener = socket.create_server(("127.0.0.1", destination["port"]))
        def lines():
            c, _ = listener.accept()
            for line in c.makefile():
                keep([json.loads(line)])
        threading.Thread(target=lines, daemon=True).start()
    r, body = call("PUT", do.get("api", "/2022-07-01/telemetry"), me, json.dumps(want))
    note(name + ".subscribed", [r.status, body])

while True:
    r, body = call("GET", "/2020-01-01/extension/event/next", me)
    if r.status != 200:
        note(name + ".error", [r.status, body])
        sys.exit(3)
    event = json.loads(body)
    note(name + ".events", event)
    print(name, event["eventType"], event.get("shutdownReason", ""), flush=True)
    if event["eventType"] == "SHUTDOWN":
        if do.get("linger"):
            time.sleep(60)
        sys.exit(0)
    if "sleep" in do:
        time.sleep(do["sleep"])
    if "exitError" in do:
        call("POST", "/2020-01-01/extension/exit/error", dict(me, **{"Lambda-Extension-Function-Error-Type": do["exitError"]}), "{}")
        sys.exit(4)
    if "crash" in do:
        os._exit(do["crash"])
    if "die" in do:
        threading.Timer(do["die"], lambda: os._exit(7)).start()
`

// observed is a function that shows what the agents left in /tmp.
const observed = `
import json, os, sys, time
print("initializing")
def handler(event, context):
    print("handling", event)
    deadline = time.time() + 5
    while "until" in event and time.time() < deadline:
        try:
            if event["until"] in open("/tmp/" + event["file"]).read():
                break
        except FileNotFoundError:
            pass
        time.sleep(0.01)
    if "sleep" in event:
        time.sleep(event["sleep"])
    if "exit" in event:
        os._exit(event["exit"])
    if "raise" in event:
        raise ValueError(event["raise"])
    if "file" in event:
        try:
            return open("/tmp/" + event["file"]).read()
        except FileNotFoundError:
            return ""
    return event
`

// extended makes a function with agents; do is what each does, as JSON.
func (h *host) extended(t testing.TB, do string, names ...string) lamina.Version {
	t.Helper()
	files := map[string]string{}
	for _, n := range names {
		files["extensions/"+n] = agent
	}
	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": observed}, files)
	v.Config.Environment = map[string]string{"AGENT": do}
	return v
}

// file is what an agent wrote, as lines of JSON.
func (h *host) file(t testing.TB, v lamina.Version, name, until string) []map[string]any {
	t.Helper()
	event := map[string]string{"file": name}
	if until != "" {
		event["until"] = until
	}
	data, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	r := h.invoke(t, v, string(data))
	var text string
	if err := json.Unmarshal(r.Payload, &text); err != nil {
		t.Fatalf("%s: %v\n%s", r.Payload, err, r.LogTail)
	}
	return parseLines(t, text)
}

func parseLines(t testing.TB, text string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for line := range strings.Lines(text) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, m)
	}
	return out
}

func TestExternalExtension(t *testing.T) {
	t.Parallel()
	log := &events{}
	h := newHost(t, func(o *runner.Options) { o.Logs = log })
	v := h.extended(t, `{"quiet":{"events":[]}}`, "agent", "quiet")
	r := h.invoke(t, v, `{"file":"agent.registered"}`)
	want := `"[200, \"{\\\"functionName\\\":\\\"` + v.Function.Name + `\\\",\\\"functionVersion\\\":\\\"$LATEST\\\",\\\"handler\\\":\\\"handler.handler\\\",\\\"accountId\\\":\\\"000000000000\\\"}\"]\n"`
	wantJSON(t, string(r.Payload), want)
	if got := log.all(); !regexp.MustCompile(`(?s)^INIT_START .*\nagent registered\n.*EXTENSION\tName: agent\tState: Ready\tEvents: \[INVOKE, SHUTDOWN\]\nEXTENSION\tName: quiet\tState: Ready\tEvents: \[\]\nSTART `).MatchString(got) {
		t.Errorf("events = %s", got)
	}
	if !bytes.HasPrefix(r.LogTail, []byte("START ")) || !bytes.Contains(r.LogTail, []byte("\nagent INVOKE \n")) {
		t.Errorf("tail = %q; want the invocation's, with the extension's line", r.LogTail)
	}

	seen := h.file(t, v, "agent.events", "INVOKE")
	if len(seen) == 0 || len(seen) > 2 { // it writes while the function reads
		t.Fatalf("agent saw %v; want two invocations", seen)
	}
	e := seen[0]
	deadline, _ := e["deadlineMs"].(float64)
	tracing, _ := e["tracing"].(map[string]any)
	if e["eventType"] != "INVOKE" || e["requestId"] != requestID || e["invokedFunctionArn"] != v.Function.ARN() || tracing["type"] != "X-Amzn-Trace-Id" ||
		time.Until(time.UnixMilli(int64(deadline))) > 10*time.Second || deadline == 0 {
		t.Errorf("event = %v", e)
	}
	if quiet := h.file(t, v, "quiet.events", ""); len(quiet) != 0 {
		t.Errorf("an extension without events saw %v", quiet)
	}

	env := h.file(t, v, "agent.env", "")[0]
	for _, name := range []string{"_HANDLER", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR", "AWS_EXECUTION_ENV", "AWS_LAMBDA_LOG_STREAM_NAME", "_AWS_XRAY_DAEMON_PORT"} {
		if value, ok := env[name]; ok {
			t.Errorf("extension has %s=%v; want none", name, value)
		}
	}
	for name, want := range map[string]string{"AWS_LAMBDA_FUNCTION_NAME": v.Function.Name, "AWS_ACCESS_KEY_ID": "AKID", "AWS_LAMBDA_RUNTIME_API": "169.254.100.1:9001", "PWD_": "/"} {
		if env[name] != want {
			t.Errorf("extension has %s=%v; want %s", name, env[name], want)
		}
	}
	log.clear()
	h.Retire(v)
	if got := log.all(); got != "agent SHUTDOWN spindown" {
		t.Errorf("events at the end = %q; want that the agent was told", got)
	}
}

func wantJSON(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}

func TestExtensionTelemetry(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	const types = `"types":["platform","function","extension"],"buffering":{"maxItems":1000,"maxBytes":262144,"timeoutMs":25}`
	v := h.extended(t, `{
		"http":{"telemetry":{"schemaVersion":"2022-12-13",`+types+`,"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:4243/x"}}},
		"tcp":{"telemetry":{"schemaVersion":"2022-07-01",`+types+`,"destination":{"protocol":"TCP","port":4244}}},
		"logs":{"api":"/2020-08-15/logs","telemetry":{"schemaVersion":"2021-03-18",`+types+`,"destination":{"protocol":"TCP","port":4245}}},
		"bad":{"telemetry":{"schemaVersion":"2022-07-01","types":[],"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain"}}}
	}`, "http", "tcp", "logs", "bad")
	// All four at once, whichever port the agent's own listener has.
	r := h.invoke(t, v, `{"file":"bad.subscribed"}`)
	if !strings.Contains(string(r.Payload), `400`) || !strings.Contains(string(r.Payload), `types should not be empty; URI port is not provided`) {
		t.Errorf("bad subscription = %s\n%s", r.Payload, r.LogTail)
	}
	r = h.invoke(t, v, `{"file":"http.subscribed"}`)
	wantJSON(t, string(r.Payload), `"[200, \"\\\"OK\\\"\"]\n"`)
	h.invoke(t, v, `{"raise":"two\nlines"}`)
	for _, c := range []struct {
		name          string
		want, without []string
	}{
		{"http", []string{
			"platform.initStart", "extension", "platform.telemetrySubscription", "function", "platform.initRuntimeDone", "platform.extension",
			"platform.initReport", "platform.start", "platform.runtimeDone", "platform.report",
		}, []string{"platform.end"}},
		{"tcp", []string{"platform.initStart", "platform.start", "function", "platform.runtimeDone", "platform.report"}, []string{"platform.end"}},
		{"logs", []string{"platform.extension", "platform.start", "function", "platform.runtimeDone", "platform.end", "platform.report", "platform.logsSubscription"}, []string{"platform.initStart", "platform.initReport"}},
	} {
		got := h.file(t, v, c.name+".telemetry", "platform.report")
		var kinds []string
		for _, e := range got {
			kinds = append(kinds, e["type"].(string))
			if _, err := time.Parse("2006-01-02T15:04:05.000Z", e["time"].(string)); err != nil {
				t.Error(err)
			}
		}
		for _, k := range c.want {
			if !slices.Contains(kinds, k) {
				t.Errorf("%s: no %s in %v", c.name, k, kinds)
			}
		}
		for _, k := range c.without {
			if slices.Contains(kinds, k) {
				t.Errorf("%s: %s in %v; want none", c.name, k, kinds)
			}
		}
		// The error is one event, the print another.
		failed := slices.IndexFunc(got, func(e map[string]any) bool {
			text, _ := e["record"].(string)
			return e["type"] == "function" && strings.HasPrefix(text, "[ERROR] ValueError: two\nlines\nTraceback (most recent call last):\n\u00a0\u00a0File ") &&
				strings.HasSuffix(text, "\n\u00a0\u00a0\u00a0\u00a0raise ValueError(event[\"raise\"])\n")
		})
		if failed < 1 || got[failed-1]["record"] != "handling {'raise': 'two\\nlines'}\n" {
			t.Errorf("%s: error at %d of %v", c.name, failed, got)
		}
		if c.name != "http" {
			continue
		}
		// In the order in which they happened.
		last := -1
		for _, k := range []string{"platform.initStart", "platform.initRuntimeDone", "platform.extension", "platform.initReport", "platform.start", "platform.runtimeDone", "platform.report"} {
			at := slices.Index(kinds, k)
			if at <= last {
				t.Errorf("%s at %d; want it after %d: %v", k, at, last, kinds)
			}
			last = at
		}
		done := got[slices.Index(kinds, "platform.runtimeDone")]["record"].(map[string]any)
		if done["status"] != "success" || done["requestId"] != requestID || done["metrics"].(map[string]any)["durationMs"] == nil {
			t.Errorf("platform.runtimeDone = %v", done)
		}
		report := got[slices.Index(kinds, "platform.report")]["record"].(map[string]any)
		if m := report["metrics"].(map[string]any); m["initDurationMs"] == nil || m["memorySizeMB"] != 128.0 || report["status"] != "success" {
			t.Errorf("platform.report = %v", report)
		}
		subscribed := got[slices.Index(kinds, "platform.telemetrySubscription")]["record"].(map[string]any)
		if subscribed["state"] != "Subscribed" || len(subscribed["types"].([]any)) != 3 {
			t.Errorf("platform.telemetrySubscription = %v", subscribed)
		}
		if i := slices.Index(kinds, "function"); got[i]["record"] != "initializing\n" {
			t.Errorf("first function line = %v; want initializing", got[i])
		}
	}
}

func TestExtensionErrors(t *testing.T) {
	t.Parallel()
	log := &events{}
	h := newHost(t, func(o *runner.Options) { o.Logs = log })
	for _, c := range []struct {
		name, do, kind, text, line string
		init                       bool
	}{
		{"an exit before it registers", `{"agent":{"exit":0}}`, "Extension.Crash", "exit code 0", "State: Started\tEvents: []", true},
		{"an exit with a status", `{"agent":{"exit":3}}`, "Extension.Crash", "exit status 3", "State: Started\tEvents: []", true},
		{"an initialization error", `{"agent":{"initError":"Agent.NoConfig"}}`, "Extension.InitError", "exit status 1", "State: InitError\tEvents: [INVOKE, SHUTDOWN]\tError Type: Agent.NoConfig", true},
		{"an error during an invocation", `{"agent":{"exitError":"Agent.Lost"}}`, "Extension.ExitError", "exit status 4", "", false},
		{"a crash during an invocation", `{"agent":{"crash":9}}`, "Extension.Crash", "exit status 9", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			log.clear()
			v := h.extended(t, c.do, "agent")
			r := h.invoke(t, v, `{"sleep":1}`)
			wantPayload(t, r, lamina.Unhandled, `{"errorType":"`+c.kind+`","errorMessage":"RequestId: `+requestID+` Error: `+c.text+`"}`)
			all := log.all()
			for _, want := range []string{
				"RequestId: " + requestID + " Error: " + c.text + "\n" + c.kind + "\n", "\tStatus: error\tError Type: " + c.kind,
			} {
				if !strings.Contains(all, want) {
					t.Errorf("events = %s; want %q", all, want)
				}
			}
			if c.line != "" && strings.Count(all, "EXTENSION\tName: agent\t"+c.line) != 2 {
				t.Errorf("events = %s; want the extension's line twice: %q", all, c.line)
			}
			if n := strings.Count(all, "INIT_REPORT "); c.init != (n == 2) {
				t.Errorf("%d INIT_REPORT lines; want them for a failed initialization only\n%s", n, all)
			}
			h.Retire(v)
		})
	}

	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": observed}, map[string]string{"extensions/broken": "no program"})
	r := h.invoke(t, v, `{}`)
	wantPayload(t, r, lamina.Unhandled, `{"errorType":"Extension.LaunchError","errorMessage":"RequestId: `+requestID+` Error: fork/exec /opt/extensions/broken: exec format error"}`)
	if !bytes.Contains(r.LogTail, []byte("EXTENSION\tName: broken\tState: LaunchError\tEvents: []\tError Type: Extension.LaunchError\n")) {
		t.Errorf("tail = %q", r.LogTail)
	}
	names := make([]string, 11)
	for i := range names {
		names[i] = "agent" + string(rune('a'+i))
	}
	r = h.invoke(t, h.extended(t, "{}", names...), `{}`)
	wantPayload(t, r, lamina.Unhandled, `{"errorType":"Extension.LaunchError","errorMessage":"RequestId: `+requestID+` Error: Extension limit (10) reached"}`)
	r = h.invoke(t, h.extended(t, "{}", names[:10]...), `{"a":1}`)
	wantPayload(t, r, "", `{"a": 1}`)

	// One that dies between two invocations is started again with the runtime.
	v = h.extended(t, `{"agent":{"die":0.2}}`, "agent")
	h.invoke(t, v, `{}`)
	log.clear()
	h.invoke(t, v, `{"sleep":0}`)
	for !strings.Contains(log.all(), "agent registered") {
		time.Sleep(50 * time.Millisecond) // the extension's own timer
		h.invoke(t, v, `{"sleep":0}`)
	}
}

// TestExtensionReset looks at how extensions learn why an environment is reset.
func TestExtensionReset(t *testing.T) {
	t.Parallel()
	log := &events{}
	h := newHost(t, func(o *runner.Options) { o.Logs = log })
	v := h.extended(t, `{}`, "agent")
	v.Config.Timeout = 4
	r := h.invoke(t, v, `{"sleep":9}`)
	wantPayload(t, r, lamina.Unhandled, `{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: `+requestID+` Error: Task timed out after 4.00 seconds"}`)
	h.invoke(t, v, `{"exit":5}`)
	var reasons []string
	for _, e := range h.file(t, v, "agent.events", "") {
		if e["eventType"] == "SHUTDOWN" {
			reasons = append(reasons, e["shutdownReason"].(string))
		}
	}
	if !slices.Equal(reasons, []string{"timeout", "failure"}) {
		t.Errorf("reasons = %v; want timeout and failure\n%s", reasons, log.all())
	}

	// One that does not end is killed when its two seconds are over.
	v = h.extended(t, `{"agent":{"linger":true}}`, "agent")
	h.invoke(t, v, `{}`)
	begin := time.Now()
	h.Retire(v)
	if took := time.Since(begin); took < 1900*time.Millisecond || took > 6*time.Second {
		t.Errorf("the end of a lingering extension took %v; want two seconds", took)
	}
}

// TestResponseBeforeExtensions looks at who waits for extensions: the next
// invocation does, the caller only when it wants to read about it.
func TestResponseBeforeExtensions(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	v := h.extended(t, `{"agent":{"sleep":1.5}}`, "agent")
	r := h.invoke(t, v, `{}`)
	if m := regexp.MustCompile(`Duration: (1[5-9]\d\d|[2-9]\d\d\d)\.\d\d ms`).Find(r.LogTail); m == nil {
		t.Errorf("tail = %q; want a duration that includes the extension's", r.LogTail)
	}
	begin := time.Now()
	if _, err := h.Invoke(t.Context(), lamina.Invocation{RequestID: "x", Version: v, Payload: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 1200*time.Millisecond {
		t.Errorf("invocation took %v; want its caller not to wait for the extension", took)
	}
	if s := h.Environments(); s.Idle != 0 || s.Live != 1 {
		t.Errorf("environments = %+v; want it busy", s)
	}
	for h.Environments().Idle == 0 {
		time.Sleep(10 * time.Millisecond) // the extension's own sleep
	}

	// The function's timeout is the extension's, too.
	v.Config.Timeout, v.RevisionID = 1, "short"
	r = h.invoke(t, v, `{"a":1}`)
	wantPayload(t, r, "", `{"a": 1}`)
	if !bytes.Contains(r.LogTail, []byte("Task timed out after 1.00 seconds")) || !bytes.Contains(r.LogTail, []byte("Status: timeout")) {
		t.Errorf("tail = %q; want a timeout", r.LogTail)
	}
}

// internal is a custom runtime in whose process an extension lives.
const internal = `#!/usr/bin/python3
import http.client, json, os, signal, sys, threading, time
api = os.environ["AWS_LAMBDA_RUNTIME_API"]
def call(method, path, headers={}, body=None):
    c = http.client.HTTPConnection(api)
    c.request(method, path, body, headers)
    r = c.getresponse()
    return r, r.read().decode()
def term(*args):
    print("runtime terminates", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, term)
refused, why = call("POST", "/2020-01-01/extension/register", {"Lambda-Extension-Name": "inside"}, '{"events":["SHUTDOWN"]}')
r, _ = call("POST", "/2020-01-01/extension/register", {"Lambda-Extension-Name": "inside"}, '{"events":["INVOKE"]}')
me = {"Lambda-Extension-Identifier": r.getheader("Lambda-Extension-Identifier")}
seen = []
def listen():
    while True:
        _, body = call("GET", "/2020-01-01/extension/event/next", me)
        seen.append(json.loads(body)["eventType"])
threading.Thread(target=listen, daemon=True).start()
c = http.client.HTTPConnection(api)
while True:
    c.request("GET", "/2018-06-01/runtime/invocation/next")
    r = c.getresponse(); r.read(); id = r.getheader("Lambda-Runtime-Aws-Request-Id")
    late, _ = call("POST", "/2020-01-01/extension/register", {"Lambda-Extension-Name": "late"}, '{"events":["INVOKE"]}')
    deadline = time.time() + 5
    while not seen and time.time() < deadline:
        time.sleep(0.01)
    c.request("POST", "/2018-06-01/runtime/invocation/%s/response" % id, json.dumps([refused.status, why, late.status, seen]))
    c.getresponse().read()
`

func TestInternalExtension(t *testing.T) {
	t.Parallel()
	log := &events{}
	h := newHost(t, func(o *runner.Options) { o.Logs = log })
	v := h.version(t, "provided.al2023", "x", map[string]string{"bootstrap": internal})
	r := h.invoke(t, v, `{}`)
	wantPayload(t, r, "", `[403, "{\"errorMessage\":\"SHUTDOWN: event is not supported for internal extensions\",\"errorType\":\"Extension.InvalidEventType\"}", 403, ["INVOKE"]]`)
	if !strings.Contains(log.all(), "\nEXTENSION\tName: inside\tState: Ready\tEvents: [INVOKE]\nSTART ") {
		t.Errorf("events = %s", log.all())
	}
	log.clear()
	h.Retire(v)
	if got := log.all(); got != "runtime terminates" {
		t.Errorf("events at the end = %q; want a runtime that got SIGTERM", got)
	}
}

// TestInitTimeout waits AWS's ten seconds once.
func TestInitTimeout(t *testing.T) {
	t.Parallel()
	log := &events{}
	h := newHost(t, func(o *runner.Options) { o.Logs = log })
	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": `
import os, time
if not os.path.exists("/tmp/second"):
    open("/tmp/second", "w").close()
    time.sleep(60)
print("second")
def handler(event, context):
    return context.get_remaining_time_in_millis() < 30000
`})
	v.Config.Timeout = 30
	r := h.invoke(t, v, `{}`)
	wantPayload(t, r, "", "true")
	if !regexp.MustCompile(`^second\nSTART [^\n]*\nEND [^\n]*\nREPORT [^\n]*MB\t\n$`).Match(r.LogTail) {
		t.Errorf("tail = %q", r.LogTail)
	}
	if got := log.all(); !regexp.MustCompile(`^INIT_START [^\n]*\nINIT_REPORT Init Duration: 10\d\d\d\.\d\d ms\tPhase: init\tStatus: timeout\nsecond\nSTART `).MatchString(got) {
		t.Errorf("events = %s", got)
	}
}

// TestQueueing has many callers and one environment with an extension that
// takes its time: every request is answered, and one runs at a time.
func TestQueueing(t *testing.T) {
	t.Parallel()
	h := newHost(t, func(o *runner.Options) { o.MaxEnvironments = 1 })
	v := h.extended(t, `{"agent":{"sleep":0.02}}`, "agent")
	v.Config.Timeout = 30
	var calling sync.WaitGroup
	for i := range 20 {
		calling.Go(func() {
			want := fmt.Sprintf(`{"i": %d}`, i)
			r, err := h.Invoke(context.Background(), lamina.Invocation{RequestID: fmt.Sprint(i), Version: v, Payload: []byte(want), Tail: i%2 == 0})
			if err != nil || string(r.Payload) != want {
				t.Errorf("invoke = %s, %v; want %s", r.Payload, err, want)
			}
			if s := h.Environments(); s.Live > 1 {
				t.Errorf("environments = %+v; want at most one", s)
			}
		})
	}
	calling.Wait()
}
