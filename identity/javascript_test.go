package identity

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina/internal/testkit"
)

func startJavaScript(t *testing.T) *sdkProcess {
	t.Helper()
	testkit.Need(t, testkit.JavaScript)
	return startSDK(t, "node", "testdata/javascript_client.cjs", testkit.JavaScriptSDKs())
}

// sent is a request as its SDK would send it.
func (a sdkAnswer) sent(t *testing.T, method, body string) *http.Request {
	t.Helper()
	const target = "http://lamina.test:9000"
	path, ok := strings.CutPrefix(a.URL, target)
	if !ok {
		t.Fatalf("the SDK answers %+v", a)
	}
	var text strings.Builder
	text.WriteString(method + " " + path + " HTTP/1.1\r\n")
	for name, value := range a.Headers {
		text.WriteString(name + ": " + value + "\r\n")
	}
	if a.Headers["host"] == "" && a.Headers["Host"] == "" {
		text.WriteString("Host: lamina.test:9000\r\n")
	}
	if body != "" {
		return parse(t, text.String()+"Content-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body)
	}
	return parse(t, text.String()+"\r\n")
}

// TestJavaScriptSigner signs requests with the signer of version 3.
func TestJavaScriptSigner(t *testing.T) {
	t.Parallel()
	js := startJavaScript(t)
	v := NewVerifier(fakeKeys{docKey.ID: docKey}, time.Now)
	odd := "/2015-03-31/functions/a%21%27%28b%29%2A%20%C3%A4%25%2B~_.-/configuration"
	for _, c := range []struct {
		name string
		sdkCase
	}{
		{"a list", sdkCase{Sign: "header", Method: "GET", URL: "/2015-03-31/functions/"}},
		{"an ARN in the path", sdkCase{Sign: "header", Method: "GET", URL: "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-central-1%3A123456789012%3Afunction%3Aa%3A1"}},
		{"odd characters in the path", sdkCase{Sign: "header", Method: "GET", URL: odd}},
		{"a path to clean", sdkCase{Sign: "header", Method: "GET", URL: "//2015-03-31//functions/"}},
		{"a query", sdkCase{Sign: "header", Method: "GET", URL: "/x?Qualifier=%24LATEST&a=2&a=1&a=%C3%A4&empty=&sp%20ace=c%2Bd%27%28%29%2A%21"}},
		{"a body", sdkCase{Sign: "header", Method: "POST", URL: "/x", Body: `{"ä":"漢"}`, Headers: map[string]string{"x-amz-invocation-type": "Event", "X-Amz-Client-Context": " a   b "}}},
		{"a big body", sdkCase{Sign: "header", Method: "POST", URL: "/x", Body: strings.Repeat("big", smallBody)}},
		{"a body that is not signed", sdkCase{Sign: "header", Method: "POST", URL: "/x", Body: "{}", Headers: map[string]string{"x-amz-content-sha256": unsignedPayload}}},
		{"presigned", sdkCase{Sign: "query", Method: "GET", URL: odd + "?Qualifier=%24LATEST&a=2&a=1", Expires: 60}},
		{"presigned with headers", sdkCase{Sign: "query", Method: "GET", URL: "/x", Headers: map[string]string{"x-k8s-aws-id": "cluster"}, Expires: 60}},
		{"presigned with a body", sdkCase{Sign: "query", Method: "POST", URL: "/x", Body: "{}", Expires: 60}},
		{"presigned for STS", sdkCase{Sign: "query", Method: "GET", Service: "sts", URL: "/?Action=GetCallerIdentity&Version=2011-06-15", Expires: 900}},
	} {
		body := c.Body
		if c.Service == "" {
			c.Service = "lambda"
		}
		c.URL, c.Body = "http://lamina.test:9000"+c.URL, base64.StdEncoding.EncodeToString([]byte(body))
		a := js.ask(c.sdkCase)
		got, read, err := verify(v, a.sent(t, c.Method, body))
		if err != nil || string(read) != body || got.Service != c.Service || got.Region != testRegion {
			t.Errorf("%s: Verify = %+v, %d bytes, %v; want %s with %d bytes\n%+v", c.name, got, len(read), err, c.Service, len(body), a)
		}
		if body == "" || c.Headers["x-amz-content-sha256"] != "" {
			continue
		}
		if _, _, err := verify(v, a.sent(t, c.Method, "X"+body[1:])); refusal(err) != "InvalidSignatureException" {
			t.Errorf("%s, another body: %v; want InvalidSignatureException", c.name, err)
		}
	}
}

// TestJavaScriptClients has clients of both versions call a server.
func TestJavaScriptClients(t *testing.T) {
	t.Parallel()
	js := startJavaScript(t)
	s := startService(t)
	role, _ := s.role(t, "app", "/", 3600)
	found, err := s.Principals.Role(t.Context(), *role)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	session, err := s.Sessions.Assume(found, Session{Name: "sess", Issued: now, Expires: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	v := NewVerifier(fakeKeys{docKey.ID: docKey}, time.Now).AcceptSessions(s.Sessions, s.Principals)
	var mu sync.Mutex
	var last struct {
		caller Caller
		body   string
		err    error
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c, body, err := verify(v, req)
		mu.Lock()
		last.caller, last.body, last.err = c, string(body), err
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{}") //nolint:errcheck // the SDK says what it misses
	}))
	defer server.Close()
	zip := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("zip", 100<<10)))
	const arn = "arn:aws:lambda:eu-central-1:123456789012:function:a"
	for _, c := range []sdkCase{
		{Call: "lambda", Operation: "ListFunctions"},
		{Call: "lambda", Operation: "GetFunction", Args: map[string]any{"FunctionName": arn, "Qualifier": "$LATEST"}},
		{Call: "lambda", Operation: "GetFunction", Args: map[string]any{"FunctionName": "a!b'(c)*d e~ä%+", "Qualifier": "x y&z=1+ä'"}},
		{Call: "lambda", Operation: "GetLayerVersionByArn", Args: map[string]any{"Arn": "arn:aws:lambda:eu-central-1:123456789012:layer:a:1"}},
		{Call: "lambda", Operation: "Invoke", Args: map[string]any{"FunctionName": "a:b", "LogType": "Tail"}, Bytes: map[string]string{"Payload": base64.StdEncoding.EncodeToString([]byte(`{"a":"漢"}`))}},
		{Call: "lambda", Operation: "PublishLayerVersion", Args: map[string]any{"LayerName": "l", "Content": map[string]any{"ZipFile": zip}}},
		{Call: "lambda", Operation: "UntagResource", Args: map[string]any{"Resource": arn, "TagKeys": []string{"b", "a", "ä ö+'"}}},
		{Call: "sts", Operation: "GetCallerIdentity"},
	} {
		for _, sdk := range []int{3, 2} {
			for _, temporary := range []bool{false, true} {
				c.SDK, c.URL, c.ID, c.Secret, c.Token = sdk, server.URL, docKey.ID, docKey.Secret, ""
				want := docKey.ID
				if temporary {
					c.ID, c.Secret, c.Token, want = session.AccessKeyID, session.SecretAccessKey, session.SessionToken, session.AccessKeyID
				}
				a := js.ask(c)
				mu.Lock()
				got := last
				last.caller, last.err, last.body = Caller{}, nil, ""
				mu.Unlock()
				if got.err != nil || got.caller.Service != c.Call || got.caller.Region != testRegion || got.caller.AccessKeyID != want {
					t.Errorf("%s by version %d, %v: Verify = %+v, %v; want %s (the SDK: %+v)", c.Operation, sdk, temporary, got.caller, got.err, want, a)
				}
				if c.Bytes != nil && got.body != `{"a":"漢"}` {
					t.Errorf("%s by version %d sent %q", c.Operation, sdk, got.body)
				}
			}
		}
	}
	for name, c := range map[string]sdkCase{
		"lambda":                {Call: "lambda", Operation: "GetFunction", Args: map[string]any{"FunctionName": "a"}},
		"sts":                   {Call: "sts", Operation: "GetCallerIdentity"},
		"sts, with a token":     {Call: "sts", Operation: "GetCallerIdentity", Token: session.SessionToken, ID: session.AccessKeyID, Secret: session.SecretAccessKey},
		"a token and no secret": {Call: "sts", Operation: "GetCallerIdentity", Token: session.SessionToken, ID: session.AccessKeyID, Secret: "wrong"},
	} {
		c.SDK, c.URL, c.Presign, c.Expires = 2, server.URL, true, 60
		a := js.ask(c)
		res, err := http.Get(a.URL) //nolint:noctx // of this test
		if err != nil {
			t.Fatalf("%s: %v (the SDK: %+v)", name, err, a)
		}
		res.Body.Close()
		want := "accepted"
		if c.Secret == "wrong" {
			want = "InvalidSignatureException"
		}
		if got := refusal(last.err); got != want {
			t.Errorf("%s, presigned by version 2: %s (%v); want %s\n%s", name, got, last.err, want, a.URL)
		}
	}
}
