package sdk

import (
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

//go:embed testdata/streaming_bootstrap.py
var streamingBootstrap string

// streamer makes a function with a runtime of its own, which streams.
func (b desk) streamer(name string, timeout int32) {
	b.Helper()
	zip := testkit.Zip(b.TB, testkit.File{Name: "bootstrap", Body: streamingBootstrap, Mode: 0o755})
	_, err := b.CreateFunction(b.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String(name), Runtime: types.RuntimeProvidedal2023, Handler: aws.String("x"), Role: aws.String(role),
		Code: &types.FunctionCode{ZipFile: zip}, Timeout: aws.Int32(timeout),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.updated(name)
}

// stream invokes and gives each chunk to see, with how long after the request it came.
func (b desk) stream(name, order string, see func(chunk string, at time.Duration)) (body string, end types.InvokeWithResponseStreamCompleteEvent) {
	b.Helper()
	began := time.Now()
	out, err := b.InvokeWithResponseStream(b.Context(), &lambda.InvokeWithResponseStreamInput{
		FunctionName: aws.String(name), Payload: []byte(order), LogType: types.LogTypeTail,
	})
	if err != nil {
		b.Fatalf("InvokeWithResponseStream(%s): %v", order, err)
	}
	if aws.ToString(out.ExecutedVersion) != "$LATEST" {
		b.Errorf("ExecutedVersion = %s", aws.ToString(out.ExecutedVersion))
	}
	stream := out.GetStream()
	defer stream.Close()
	var all strings.Builder
	ends := 0
	for event := range stream.Events() {
		switch e := event.(type) {
		case *types.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
			all.Write(e.Value.Payload)
			if see != nil {
				see(string(e.Value.Payload), time.Since(began))
			}
		case *types.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
			end = e.Value
			ends++
		}
	}
	if err := stream.Err(); err != nil || ends != 1 {
		b.Fatalf("stream of %s: %d ends, %v; want one", order, ends, err)
	}
	return all.String(), end
}

// TestStreaming streams from a custom runtime through a real server to the SDK.
func TestStreaming(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	b := open(t)
	b.streamer("streamer", 3)
	b.streamer("patient", 60) // for what takes as long as it takes

	var first, last time.Duration
	body, end := b.stream("streamer", `{"steps": [{"write": "one"}, {"sleep": 1}, {"write": "two"}]}`, func(chunk string, at time.Duration) {
		if chunk == "one" {
			first = at
		}
		last = at
	})
	if body != "onetwo" || end.ErrorCode != nil {
		t.Errorf("stream = %q, %s; want onetwo", body, aws.ToString(end.ErrorCode))
	}
	if first == 0 || last-first < 900*time.Millisecond {
		t.Errorf("the first chunk came after %v, the last after %v; want a second between them", first, last)
	}
	log, err := base64.StdEncoding.DecodeString(aws.ToString(end.LogResult))
	if err != nil || !strings.Contains(string(log), "REPORT RequestId: ") {
		t.Errorf("LogResult = %s, %v; want a REPORT", log, err)
	}

	for _, c := range []struct{ order, body, details string }{
		{`{"reply": {"a": 1}}`, `{"a": 1}`, ""},
		{`{"steps": []}`, "", ""},
		{`{"fail": "early"}`, "", `"errorMessage": "early"`},
		{`{"steps": [{"write": "one"}, {"fail": "` + strings.Repeat("late", 3000) + `"}]}`, "one", `"errorMessage": "latelate`},
		{`{"steps": [{"write": "one"}, {"exit": 3}]}`, "one", `"errorMessage":"RequestId: `},
		{`{"steps": [{"write": "one"}, {"exit": 3}]}`, "one", `Error: Runtime exited with error: exit status 3"`},
		{`{"steps": [{"write": "one"}, {"close": 0}, {"sleep": 1}]}`, "one", `"Runtime.TruncatedResponse"`},
		{`{"steps": [{"write": "one"}, {"sleep": 10}]}`, "one", `Task timed out after 3.00 seconds`},
		{`{"steps": [{"write": "after all"}]}`, "after all", ""},
	} {
		body, end := b.stream("streamer", c.order, nil)
		wantCode := ""
		if c.details != "" {
			wantCode = "Unhandled"
		}
		if body != c.body || aws.ToString(end.ErrorCode) != wantCode || !strings.Contains(aws.ToString(end.ErrorDetails), c.details) {
			t.Errorf("%.60s = %q, %s %s; want %q, %s %s", c.order, body, aws.ToString(end.ErrorCode), aws.ToString(end.ErrorDetails), c.body, wantCode, c.details)
		}
	}

	// Larger than a response may be that is not streamed.
	const size = 20 << 20 // bytes
	if body, end := b.stream("patient", fmt.Sprintf(`{"steps": [{"fill": %d}]}`, size), nil); len(body) != size || end.ErrorCode != nil {
		t.Errorf("%d bytes, %s; want %d", len(body), aws.ToString(end.ErrorCode), size)
	}
	// Invoke has the same responses whole, and its own limit.
	out := b.invoke("streamer", `{"steps": [{"write": "one"}, {"write": "two"}]}`)
	if string(out.Payload) != "onetwo" || out.FunctionError != nil {
		t.Errorf("Invoke = %q, %s; want onetwo", out.Payload, aws.ToString(out.FunctionError))
	}
	out = b.invoke("patient", `{"steps": [{"fill": 7000000}]}`)
	if !strings.Contains(string(out.Payload), "Function.ResponseSizeTooLarge") || !strings.Contains(string(out.Payload), "6291556") {
		t.Errorf("Invoke of 7 MB = %.200s; want ResponseSizeTooLarge", out.Payload)
	}
	out = b.invoke("streamer", `{"steps": [{"write": "one"}, {"fail": "late"}]}`)
	if aws.ToString(out.FunctionError) != "Unhandled" || !strings.Contains(string(out.Payload), `"errorMessage": "late"`) {
		t.Errorf("Invoke of a stream that fails = %s %s", out.Payload, aws.ToString(out.FunctionError))
	}
}

// TestStreamingLimit ends a stream at the limit of the server.
func TestStreamingLimit(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	t.Parallel()
	s := testkit.Start(t, testkit.Options{Region: region, Args: []string{"--limit", "StreamedResponse=100000"}})
	b := desk{s, s.Lambda(), t}
	b.streamer("streamer", 10)
	body, end := b.stream("streamer", `{"steps": [{"fill": 300000}]}`, nil)
	if len(body) != 100_000 || !strings.Contains(aws.ToString(end.ErrorDetails), "(100000 bytes)") {
		t.Errorf("%d bytes, %s; want 100000 and ResponseSizeTooLarge", len(body), aws.ToString(end.ErrorDetails))
	}
	if body, _ := b.stream("streamer", `{"steps": [{"write": "fine"}]}`, nil); body != "fine" {
		t.Errorf("after it %q; want fine", body)
	}
}

const boto = `
import boto3, json, time
client = boto3.client("lambda")
began = time.time()
answer = client.invoke_with_response_stream(FunctionName="streamer",
    Payload=json.dumps({"steps": [{"write": "one"}, {"sleep": 1}, {"write": "two"}, {"fail": "late"}]}))
first, body = None, b""
for event in answer["EventStream"]:
    if "PayloadChunk" in event:
        first = first or time.time() - began
        body += event["PayloadChunk"]["Payload"]
    else:
        complete = event["InvokeComplete"]
print(body.decode(), first < time.time() - began - 0.9, complete["ErrorCode"], json.loads(complete["ErrorDetails"])["errorMessage"])
`

func TestStreamingBoto(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Python, testkit.Boto)
	b := open(t)
	b.streamer("streamer", 10)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, testkit.Tool("python3"), "-c", boto)
	cmd.Env = b.Env()
	out, err := cmd.CombinedOutput()
	if want := "onetwo True Unhandled late\n"; err != nil || string(out) != want {
		t.Errorf("boto3 prints %q, %v; want %q", out, err, want)
	}
}

// site makes a function URL that everybody may use, and returns its address.
func (b desk) site(name string, mode types.InvokeMode) string {
	b.Helper()
	out, err := b.CreateFunctionUrlConfig(b.Context(), &lambda.CreateFunctionUrlConfigInput{
		FunctionName: aws.String(name), AuthType: types.FunctionUrlAuthTypeNone, InvokeMode: mode,
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range []*lambda.AddPermissionInput{
		{StatementId: aws.String("url"), Action: aws.String("lambda:InvokeFunctionUrl"), FunctionUrlAuthType: types.FunctionUrlAuthTypeNone},
		{StatementId: aws.String("function"), Action: aws.String("lambda:InvokeFunction"), InvokedViaFunctionUrl: aws.Bool(true)},
	} {
		p.FunctionName, p.Principal = aws.String(name), aws.String("*")
		if _, err := b.AddPermission(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	}
	return *out.FunctionUrl
}

// visit reads a page of a site. It does not trust this machine to know names
// below localhost.
func (b desk) visit(method, address, body string) (*http.Response, string) {
	b.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.Fatal(err)
	}
	host := u.Host
	u.Host = strings.TrimPrefix(b.URL, "http://")
	req, err := http.NewRequestWithContext(b.Context(), method, u.String(), strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	return resp, string(data)
}

// TestFunctionURL visits the URL of a Python function with and without a client's
// help in finding it.
func TestFunctionURL(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	b := open(t)
	b.function("site", python(t, `{"statusCode": 201, "headers": {"x-path": event["rawPath"]}, "cookies": ["a=1"], "body": event["requestContext"]["http"]["method"] + " " + event.get("body", "")}`))
	address := b.site("site", types.InvokeModeBuffered)
	id, _, _ := strings.Cut(strings.TrimPrefix(address, "http://"), ".")
	if want := "http://" + id + ".lambda-url." + region + ".localhost:"; !strings.HasPrefix(address, want) || !strings.HasSuffix(address, "/") {
		t.Fatalf("FunctionUrl = %s; want %sPORT/", address, want)
	}
	for _, at := range []string{address + "a/b", b.URL + "/_lamina/url/" + id + "/a/b"} {
		resp, body := b.visit(http.MethodPost, at, "text")
		if resp.StatusCode != 201 || body != "POST text" || resp.Header.Get("X-Path") != "/a/b" || resp.Header.Get("Set-Cookie") != "a=1" {
			t.Errorf("%s = %d %q %v", at, resp.StatusCode, body, resp.Header)
		}
	}
	if out, err := exec.LookPath("curl"); err == nil { // which knows names below localhost
		data, err := exec.CommandContext(t.Context(), out, "--silent", "--show-error", "--noproxy", "*", address+"x").CombinedOutput()
		if err != nil || string(data) != "GET " {
			t.Errorf("curl %sx = %q, %v", address, data, err)
		}
	}
	// The permission goes, and so does the page.
	if _, err := b.RemovePermission(t.Context(), &lambda.RemovePermissionInput{FunctionName: aws.String("site"), StatementId: aws.String("function")}); err != nil {
		t.Fatal(err)
	}
	if resp, _ := b.visit(http.MethodGet, address, ""); resp.StatusCode != 403 {
		t.Errorf("without a permission = %d; want 403", resp.StatusCode)
	}
	if _, err := b.DeleteFunctionUrlConfig(t.Context(), &lambda.DeleteFunctionUrlConfigInput{FunctionName: aws.String("site")}); err != nil {
		t.Fatal(err)
	}
	if resp, body := b.visit(http.MethodGet, address, ""); resp.StatusCode != 403 || body != `{"Message":null}` {
		t.Errorf("without a URL = %d %s; want 403", resp.StatusCode, body)
	}
}

const nodeStream = `exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {
	stream = awslambda.HttpResponseStream.from(stream, {statusCode: 202, headers: {'content-type': 'text/event-stream', 'x-a': 'b'}, cookies: ['c=1']});
	stream.write('one');
	await new Promise(done => setTimeout(done, 1000));
	stream.write('two');
	stream.end();
});`

// TestFunctionURLStream streams through a function URL, from a custom runtime and
// from Node.js.
func TestFunctionURLStream(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Python, testkit.Node)
	b := open(t)
	b.streamer("streamer", 10)
	custom := b.site("streamer", types.InvokeModeResponseStream)
	_, err := b.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String("node"), Runtime: types.RuntimeNodejs20x, Handler: aws.String("index.handler"), Role: aws.String(role),
		Code: &types.FunctionCode{ZipFile: archive(t, "index.js", nodeStream)}, Timeout: aws.Int32(10),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.updated("node")
	node := b.site("node", types.InvokeModeResponseStream)

	prelude, err := json.Marshal(map[string]any{"steps": []any{
		map[string]any{"write": `{"statusCode":202,"headers":{"content-type":"text/event-stream","x-a":"b"},"cookies":["c=1"]}` + strings.Repeat("\x00", 8) + "one"},
		map[string]any{"sleep": 1},
		map[string]any{"write": "two"},
	}, "type": "application/vnd.awslambda.http-integration-response"})
	if err != nil {
		t.Fatal(err)
	}
	for name, address := range map[string]string{"custom runtime": custom + "?do=" + url.QueryEscape(string(prelude)), "Node.js": node} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		host := u.Host
		u.Host = strings.TrimPrefix(b.URL, "http://")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 3)
		if _, err := io.ReadFull(resp.Body, first); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		came := time.Now()
		rest, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(first)+string(rest) != "onetwo" || err != nil || time.Since(came) < 900*time.Millisecond {
			t.Errorf("%s: %q, then %q %v later, %v; want a second between one and two", name, first, rest, time.Since(came), err)
		}
		if h := resp.Header; resp.StatusCode != 202 || h.Get("Content-Type") != "text/event-stream" || h.Get("X-A") != "b" || h.Get("Set-Cookie") != "c=1" {
			t.Errorf("%s: %d %v", name, resp.StatusCode, h)
		}
	}
}
