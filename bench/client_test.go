package bench

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/lamina-run/lamina/internal/testkit"
)

// request is a request as it goes over the wire, signed. It may be sent again
// while its signature is fresh.
type request struct {
	head, body []byte
}

func sign(t testing.TB, s *testkit.Server, method, path string, body []byte) request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	digest := hex.EncodeToString(sum[:])
	// Declared, so that the server need not hold the body until its hash is known.
	req.Header.Set("X-Amz-Content-Sha256", digest)
	req.Header.Set("Content-Type", "application/json")
	keys := aws.Credentials{AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(t.Context(), keys, req, digest, "lambda", s.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", method, req.URL.RequestURI(), req.Host, len(body))
	if err := req.Header.Write(&head); err != nil {
		t.Fatal(err)
	}
	head.WriteString("\r\n")
	return request{head: head.Bytes(), body: body}
}

// line is one kept connection.
type line struct {
	net.Conn
	r *bufio.Reader
}

func dial(t testing.TB, url string) *line {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &line{c, bufio.NewReader(c)}
}

// send sends the request and reads the answer. The time is from the first byte of
// the body, or of the request when it has none, to the last of the answer.
func (l *line) send(t testing.TB, r request) (body []byte, took time.Duration) {
	t.Helper()
	status, body, took, err := l.try(r)
	if err != nil || status >= 300 {
		t.Fatalf("%s: %d %s %v", strings.SplitN(string(r.head), "\r\n", 2)[0], status, body, err)
	}
	return body, took
}

func (l *line) try(r request) (status int, body []byte, took time.Duration, err error) {
	var began time.Time
	if len(r.body) > 64<<10 {
		if _, err := l.Write(r.head); err != nil {
			return 0, nil, 0, err
		}
		began = time.Now()
		if _, err := l.Write(r.body); err != nil {
			return 0, nil, 0, err
		}
	} else {
		whole := append(r.head[:len(r.head):len(r.head)], r.body...)
		began = time.Now()
		if _, err := l.Write(whole); err != nil {
			return 0, nil, 0, err
		}
	}
	resp, err := http.ReadResponse(l.r, nil)
	if err != nil {
		return 0, nil, 0, err
	}
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, 0, err
	}
	return resp.StatusCode, body, time.Since(began), nil
}

// call is send for what is not measured.
func call(t testing.TB, s *testkit.Server, l *line, method, path string, in, out any) {
	t.Helper()
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			t.Fatal(err)
		}
	}
	answer, _ := l.send(t, sign(t, s, method, path, body))
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, answer)
		}
	}
}

// publishLayer publishes a zip and returns the ARN of the layer version.
func publishLayer(t testing.TB, s *testkit.Server, l *line, name string, zip []byte) string {
	t.Helper()
	var out struct{ LayerVersionArn string }
	call(t, s, l, http.MethodPost, "/2018-10-31/layers/"+name+"/versions", map[string]any{"Content": map[string]any{"ZipFile": zip}}, &out)
	return out.LayerVersionArn
}

const (
	pythonName = "python3.11"
	nodeName   = "nodejs20.x"
)

// function is what createFunction makes.
type function struct {
	name, runtime, handler string
	zip                    []byte
	layers                 []string
}

// createFunction creates a function and waits until it is active.
func createFunction(t testing.TB, s *testkit.Server, l *line, f function) {
	t.Helper()
	call(t, s, l, http.MethodPost, "/2015-03-31/functions", map[string]any{
		"FunctionName": f.name, "Runtime": f.runtime, "Handler": f.handler, "Timeout": 30,
		"Role": "arn:aws:iam::" + testkit.Account + ":role/bench", "Code": map[string]any{"ZipFile": f.zip}, "Layers": f.layers,
	}, nil)
	await(t, s, l, f.name)
}

// await waits until a function is active, and the last change of it done.
func await(t testing.TB, s *testkit.Server, l *line, name string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var out struct{ State, StateReason, LastUpdateStatus string }
		call(t, s, l, http.MethodGet, "/2015-03-31/functions/"+name+"/configuration", nil, &out)
		if out.State == "Active" && out.LastUpdateStatus == "Successful" {
			return
		}
		if out.State == "Failed" || out.LastUpdateStatus == "Failed" || time.Now().After(deadline) {
			t.Fatalf("%s is %s: %s", name, out.State, out.StateReason)
		}
	}
}
