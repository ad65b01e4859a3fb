package identity

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina/internal/testkit"
)

// sdkProcess signs with somebody else's code: it is a running script of testdata.
type sdkProcess struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

func startBotocore(t *testing.T) *sdkProcess {
	t.Helper()
	testkit.Need(t, testkit.Boto)
	return startSDK(t, testkit.Tool("python3"), "testdata/botocore_client.py")
}

func startSDK(t *testing.T, name string, args ...string) *sdkProcess {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait() //nolint:errcheck // its answers are what counts
	})
	return &sdkProcess{t: t, in: in, out: bufio.NewReader(out)}
}

type sdkCase struct {
	Sign      string            `json:"sign,omitempty"`
	Call      string            `json:"call,omitempty"`
	ID        string            `json:"id"`
	Secret    string            `json:"secret"`
	Region    string            `json:"region"`
	Service   string            `json:"service,omitempty"`
	Method    string            `json:"method,omitempty"`
	URL       string            `json:"url"`
	Headers   map[string]string `json:"headers,omitempty"`
	Body      string            `json:"body,omitempty"`
	Operation string            `json:"operation,omitempty"`
	Presign   bool              `json:"presign,omitempty"`
	Args      map[string]any    `json:"args,omitempty"`
	Bytes     map[string]string `json:"bytes,omitempty"`

	// Of the JavaScript SDKs only.
	SDK     int    `json:"sdk,omitempty"`
	Token   string `json:"token,omitempty"`
	Expires int    `json:"expires,omitempty"` // seconds
}

type sdkAnswer struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Error   string            `json:"error"`
	Answer  map[string]any    `json:"answer"`
}

func (b *sdkProcess) ask(c sdkCase) sdkAnswer {
	b.t.Helper()
	if c.ID == "" {
		c.ID, c.Secret = docKey.ID, docKey.Secret
	}
	c.Region = testRegion
	if err := json.NewEncoder(b.in).Encode(c); err != nil {
		b.t.Fatalf("ask the SDK: %v", err)
	}
	line, err := b.out.ReadBytes('\n')
	if err != nil {
		b.t.Fatalf("the SDK answers %q, %v", line, err)
	}
	var a sdkAnswer
	if err := json.Unmarshal(line, &a); err != nil {
		b.t.Fatalf("the SDK answers %q: %v", line, err)
	}
	return a
}

// TestBotocoreSigners signs requests with each signer that botocore has.
func TestBotocoreSigners(t *testing.T) {
	t.Parallel()
	b := startBotocore(t)
	v := NewVerifier(fakeKeys{docKey.ID: docKey}, time.Now)
	for _, c := range []sdkCase{
		{Sign: "header", Service: "lambda", Method: "GET", URL: "/2015-03-31/functions/"},
		{Sign: "header", Service: "lambda", Method: "GET", URL: "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-central-1%3A123456789012%3Afunction%3Aa%3A1/configuration"},
		{Sign: "header", Service: "lambda", Method: "GET", URL: "/2015-03-31/functions/a?Qualifier=%24LATEST&List=ALL&Empty=&a=2&a=1&a%20b=c%2Bd"},
		{Sign: "header", Service: "lambda", Method: "POST", URL: "/2015-03-31/functions/a/invocations", Body: `{"ä":"漢"}`, Headers: map[string]string{"X-Amz-Invocation-Type": "Event", "X-Amz-Client-Context": " a   b "}},
		{Sign: "header", Service: "lambda", Method: "POST", URL: "//2015-03-31/./functions/x/../a//invocations", Body: "{}"},
		{Sign: "header", Service: "lambda", Method: "DELETE", URL: "/2017-03-31/tags/arn%3Aaws?tagKeys=a&tagKeys=B&tagKeys=%C3%A4"},
		{Sign: "header", Service: "iam", Method: "POST", URL: "/", Body: "Action=ListRoles&Version=2010-05-08", Headers: map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}},
		{Sign: "header", Service: "lambda", Method: "POST", URL: "/x", Body: strings.Repeat("big", smallBody)},
		{Sign: "header", Service: "lambda", Method: "GET", URL: "/x", Headers: map[string]string{"Date": "Mon, 01 Jan 2024 00:00:00 GMT"}},
		{Sign: "query", Service: "sts", Method: "GET", URL: "/?Action=GetCallerIdentity&Version=2011-06-15"},
		{Sign: "query", Service: "lambda", Method: "GET", URL: "/2015-03-31/functions/arn%3Aaws?a=b%20c"},
		{Sign: "s3", Service: "s3", Method: "PUT", URL: "/bucket/a%20key/with%2Bplus//and/../dots", Body: "bytes"},
		{Sign: "s3query", Service: "s3", Method: "GET", URL: "/bucket/a%20key?versionId=x"},
	} {
		t.Run(c.Sign+" "+c.Method+" "+c.URL, func(t *testing.T) {
			body, target := c.Body, "http://lamina.test:9000"
			c.URL, c.Body = target+c.URL, base64.StdEncoding.EncodeToString([]byte(body))
			a := b.ask(c)
			path, ok := strings.CutPrefix(a.URL, target)
			if !ok {
				t.Fatalf("botocore answers %+v", a)
			}
			var text strings.Builder
			text.WriteString(c.Method + " " + path + " HTTP/1.1\r\nHost: lamina.test:9000\r\n")
			for name, value := range a.Headers {
				text.WriteString(name + ": " + value + "\r\n")
			}
			text.WriteString("\r\n" + body)
			got, read, err := verify(v, parse(t, text.String()))
			if err != nil || string(read) != body || got.Service != c.Service || got.Region != testRegion {
				t.Errorf("Verify = %+v, %d bytes, %v; want %s with %d bytes\n%.2000s", got, len(read), err, c.Service, len(body), text.String())
			}
		})
	}
}

// TestBotocoreClients has the real clients call a server, over HTTP and HTTPS:
// on the latter S3 uploads come in unsigned chunks with a trailer.
func TestBotocoreClients(t *testing.T) {
	t.Parallel()
	b := startBotocore(t)
	v := NewVerifier(fakeKeys{docKey.ID: docKey}, time.Now)
	var mu sync.Mutex
	var last struct {
		caller  Caller
		body    string
		payload string
		err     error
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		payload := req.Header.Get(contentHash)
		c, body, err := verify(v, req)
		mu.Lock()
		last.caller, last.body, last.payload, last.err = c, string(body), payload, err
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{}") //nolint:errcheck // botocore says what it misses
	})
	servers := []*httptest.Server{httptest.NewServer(h), httptest.NewTLSServer(h)}
	for _, s := range servers {
		defer s.Close()
	}
	zip := strings.Repeat("zip", 100<<10)
	forms := map[string]int{}
	for _, c := range []sdkCase{
		{Call: "lambda", Operation: "ListFunctions"},
		{Call: "lambda", Operation: "GetFunction", Args: map[string]any{"FunctionName": "arn:aws:lambda:eu-central-1:123456789012:function:a", "Qualifier": "$LATEST"}},
		{Call: "lambda", Operation: "GetLayerVersionByArn", Args: map[string]any{"Arn": "arn:aws:lambda:eu-central-1:123456789012:layer:a:1"}},
		{Call: "lambda", Operation: "Invoke", Args: map[string]any{"FunctionName": "a:b", "LogType": "Tail"}, Bytes: map[string]string{"Payload": base64.StdEncoding.EncodeToString([]byte(`{"a":1}`))}},
		{Call: "lambda", Operation: "PublishLayerVersion", Args: map[string]any{"LayerName": "l", "Content": map[string]any{"ZipFile": zip}}},
		{Call: "lambda", Operation: "UntagResource", Args: map[string]any{"Resource": "arn:aws:lambda:eu-central-1:123456789012:function:a", "TagKeys": []string{"b", "a", "ä ö+"}}},
		{Call: "lambda", Operation: "DeleteFunction", Args: map[string]any{"FunctionName": "a"}},
		{Call: "s3", Operation: "PutObject", Args: map[string]any{"Bucket": "bucket", "Key": "a key+with/ümlaut", "ContentType": "text/plain"}, Bytes: map[string]string{"Body": base64.StdEncoding.EncodeToString([]byte(zip))}},
		{Call: "cloudformation", Operation: "CancelUpdateStack", Args: map[string]any{"StackName": "s"}},
	} {
		for _, s := range servers {
			scheme, _, _ := strings.Cut(s.URL, ":")
			t.Run(c.Call+" "+c.Operation+" "+scheme, func(t *testing.T) {
				c.URL = s.URL
				a := b.ask(c)
				mu.Lock()
				defer mu.Unlock()
				if last.err != nil || last.caller.Service != c.Call || last.caller.Region != testRegion {
					t.Errorf("Verify = %+v, %v; want %s (botocore: %s)", last.caller, last.err, c.Call, a.Error)
				}
				if c.Operation == "PutObject" && last.body != zip {
					t.Errorf("PutObject sent %d bytes as %s; want %d", len(last.body), last.payload, len(zip))
				}
				if len(last.payload) == 64 {
					last.payload = "hash"
				}
				forms[last.payload]++
				last.caller, last.err, last.body = Caller{}, nil, ""
			})
		}
	}
	for _, form := range []string{"", unsignedChunksTrailer} {
		if forms[form] == 0 {
			t.Errorf("botocore sent the forms %v; want %q among them", forms, form)
		}
	}
}
