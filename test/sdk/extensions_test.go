package sdk

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

// agent is an external extension that keeps the telemetry it gets in /tmp.
const agent = `#!/usr/bin/python3
import http.client, http.server, json, os, threading
def call(method, path, headers, body=None):
    c = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    c.request(method, path, body, headers)
    r = c.getresponse()
    return r, r.read()
r, _ = call("POST", "/2020-01-01/extension/register", {"Lambda-Extension-Name": "agent.py"}, '{"events":["INVOKE","SHUTDOWN"]}')
me = {"Lambda-Extension-Identifier": r.getheader("Lambda-Extension-Identifier")}
class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        with open("/tmp/telemetry", "a") as f:
            for e in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
                f.write(json.dumps(e) + "\n")
        self.send_response(200)
        self.end_headers()
    def log_message(self, *args):
        pass
server = http.server.HTTPServer(("sandbox.localdomain", 4243), Listener)
threading.Thread(target=server.serve_forever, daemon=True).start()
r, body = call("PUT", "/2022-07-01/telemetry", me, json.dumps({"schemaVersion": "2022-12-13", "types": ["platform", "function"],
    "buffering": {"timeoutMs": 25}, "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243"}}))
assert r.status == 200, body
while True:
    _, body = call("GET", "/2020-01-01/extension/event/next", me)
    if json.loads(body)["eventType"] == "SHUTDOWN":
        break
`

// TestLayersThatCarryAgents: one layer brings an external extension, which sees
// platform and function events, another a wrapper script.
func TestLayersThatCarryAgents(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Overlay, testkit.Python)
	b := open(t)
	extension := b.layer("agent", testkit.Zip(t, testkit.File{Name: "extensions/agent.py", Body: agent, Mode: 0o755}))
	wrapper := b.layer("wrapper", testkit.Zip(t, testkit.File{Name: "wrap", Body: "#!/bin/sh\nexport WRAPPED=yes\nexec \"$@\"\n", Mode: 0o755}))
	b.function("watched", archive(t, "app.py", `
import os, time
def handler(event, context):
    print("handling")
    deadline = time.time() + 5
    text = ""
    while "platform.report" not in text and event.get("wait") and time.time() < deadline:
        time.sleep(0.01)
        if os.path.exists("/tmp/telemetry"):
            text = open("/tmp/telemetry").read()
    return [os.environ.get("WRAPPED"), text]
`), aws.ToString(extension.LayerVersionArn), aws.ToString(wrapper.LayerVersionArn))
	if _, err := b.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{
		FunctionName: aws.String("watched"), Environment: &types.Environment{Variables: map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrap"}},
	}); err != nil {
		t.Fatal(err)
	}
	b.updated("watched")
	invoke := func(payload string) (got [2]string, log string) {
		t.Helper()
		out, err := b.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("watched"), Payload: []byte(payload), LogType: types.LogTypeTail})
		if err != nil {
			t.Fatal(err)
		}
		tail, err := base64.StdEncoding.DecodeString(aws.ToString(out.LogResult))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out.Payload, &got); err != nil || out.FunctionError != nil {
			t.Fatalf("answer = %s: %v\n%s", out.Payload, err, tail)
		}
		return got, string(tail)
	}
	got, log := invoke("{}")
	if got[0] != "yes" {
		t.Errorf("WRAPPED = %q; want the wrapper script to have run", got[0])
	}
	if !strings.HasPrefix(log, "START ") || !strings.Contains(log, "\nhandling\nEND ") || !strings.Contains(log, "Init Duration: ") {
		t.Errorf("log = %q", log)
	}
	got, _ = invoke(`{"wait":true}`)
	var kinds []string
	for line := range strings.Lines(got[1]) {
		var e struct{ Type string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		kinds = append(kinds, e.Type)
	}
	for _, want := range []string{
		"platform.initStart", "platform.initRuntimeDone", "platform.initReport", "platform.extension", "platform.telemetrySubscription",
		"platform.start", "function", "platform.runtimeDone", "platform.report",
	} {
		if !slices.Contains(kinds, want) {
			t.Errorf("no %s in %v", want, kinds)
		}
	}
}
