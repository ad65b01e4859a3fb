package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
)

var update = flag.Bool("update", false, "rewrite golden files")

const (
	urlRegion  = "eu-west-1"
	urlAccount = "000000000000"
	urlID      = "abcdefghijklmnopqrstuvwxyz234567"
)

// urlFunction answers invocations as the test says.
type urlFunction struct {
	mu     sync.Mutex
	answer func(in lamina.Invocation) (lamina.Result, error)
	last   lamina.Invocation
	calls  int
}

func (f *urlFunction) Invoke(_ context.Context, in lamina.Invocation) (lamina.Result, error) {
	f.mu.Lock()
	f.last = in
	f.calls++
	answer := f.answer
	f.mu.Unlock()
	if answer == nil {
		return lamina.Result{Payload: in.Payload}, nil
	}
	return answer(in)
}

func (*urlFunction) Prepare(context.Context, lamina.Version) error { return nil }

func (*urlFunction) Retire(lamina.Version) {}

func (f *urlFunction) answers(with func(in lamina.Invocation) (lamina.Result, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = with
}

func (f *urlFunction) seen() (lamina.Invocation, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last, f.calls
}

func returns(payload string) func(lamina.Invocation) (lamina.Result, error) {
	return func(lamina.Invocation) (lamina.Result, error) { return lamina.Result{Payload: []byte(payload)}, nil }
}

type someKeys map[string]identity.Key

func (k someKeys) AccessKey(_ context.Context, id string) (identity.Key, error) {
	key, ok := k[id]
	if !ok {
		return identity.Key{}, lamina.ErrNotFound
	}
	return key, nil
}

// urlServer serves one function fn and its URL, from a real store.
type urlServer struct {
	*httptest.Server
	*urlFunction
	t  *testing.T
	db *store.Store
}

func serveURLs(t *testing.T, u lamina.FunctionURL, statements ...lamina.Statement) *urlServer {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "lamina.db")})
	if err != nil {
		t.Fatal(err)
	}
	s := &urlServer{t: t, db: db, urlFunction: &urlFunction{}}
	log := slog.New(slog.DiscardHandler)
	limits := lamina.DefaultLimits()
	limits.RequestPayload = 10_000
	plane := control.New(control.Options{
		Store: db, Invoker: s.urlFunction, Limits: limits, Log: log, Now: time.Now,
		Authority: identity.NewAuthority(db, identity.NewPrincipals(db, time.Now), log, time.Now),
	})
	keys := someKeys{
		"OWN":   {ID: "OWN", Secret: "secret", Account: urlAccount},
		"OTHER": {ID: "OTHER", Secret: "secret", Account: "111111111111"},
	}
	s.Server = httptest.NewServer(New(Options{Log: log, Verifier: identity.NewVerifier(keys, time.Now), Plane: plane, Links: &Links{Now: time.Now}}))
	t.Cleanup(func() {
		s.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	id := lamina.FunctionID{Scope: lamina.Scope{Account: urlAccount, Region: urlRegion}, Name: "fn"}
	u.Function, u.ID = id, urlID
	now := time.Now()
	s.change(func(ctx context.Context, tx *store.Tx) error {
		for _, account := range []string{urlAccount, "111111111111"} {
			if err := tx.InsertAccount(ctx, store.Account{ID: account, Name: account, Created: now}); err != nil {
				return err
			}
		}
		f := lamina.Function{ID: id, Incarnation: "i", Created: now}
		v := lamina.Version{
			Function: id, Incarnation: "i", RevisionID: "r", LastModified: now,
			Config: lamina.Config{Runtime: "python3.12", Handler: "app.handler", PackageType: lamina.PackageZip, Timeout: 3},
			Status: lamina.Status{State: lamina.StateActive, LastUpdate: lamina.UpdateSuccessful},
		}
		if err := tx.InsertFunction(ctx, f, v); err != nil {
			return err
		}
		if err := tx.InsertFunctionURL(ctx, u); err != nil {
			return err
		}
		own := slices.Clone(statements)
		for i := range own {
			own[i].Resource = u.ARN()
		}
		return tx.PutPolicy(ctx, lamina.Policy{Resource: u.ARN(), RevisionID: "r", Statements: own})
	})
	return s
}

func (s *urlServer) change(fn func(ctx context.Context, tx *store.Tx) error) {
	s.t.Helper()
	if err := s.db.Update(s.t.Context(), func(tx *store.Tx) error { return fn(s.t.Context(), tx) }); err != nil {
		s.t.Fatal(err)
	}
}

// request makes one to the function URL's own host, which is this server.
func (s *urlServer) request(method, path, body string, headers ...string) *http.Request {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(req.URL.Host)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = urlID + ".lambda-url." + urlRegion + ".localhost:" + port
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return req
}

type response struct {
	*http.Response
	body string
	err  error // of reading the body
}

func (s *urlServer) do(req *http.Request) response {
	s.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return response{resp, string(body), err}
}

func (s *urlServer) get(headers ...string) response {
	s.t.Helper()
	return s.do(s.request(http.MethodGet, "/", "", headers...))
}

func (r response) want(t *testing.T, what string, status int, body string) {
	t.Helper()
	if r.StatusCode != status || r.body != body || r.err != nil {
		t.Errorf("%s = %d %q, %v; want %d %q", what, r.StatusCode, r.body, r.err, status, body)
	}
}

func (r response) header(t *testing.T, name, want string) {
	t.Helper()
	if got := strings.Join(r.Header.Values(name), "|"); got != want {
		t.Errorf("%s: %q; want %q", name, got, want)
	}
}

// public is what makes a URL without authentication work.
func public() []lamina.Statement {
	everyone := lamina.Principal{Value: "*"}
	return []lamina.Statement{
		{Sid: "a", Effect: "Allow", Principal: everyone, Action: "lambda:InvokeFunctionUrl", Condition: map[string]map[string]string{"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}},
		{Sid: "b", Effect: "Allow", Principal: everyone, Action: "lambda:InvokeFunction", Condition: map[string]map[string]string{"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}},
	}
}

const forbiddenBody = `{"Message":"Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"}`

// TestURLEvent compares the event with a golden file.
func TestURLEvent(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 12, 19, 3, 58, 390e6, time.UTC)
	u := lamina.FunctionURL{Function: lamina.FunctionID{Scope: lamina.Scope{Account: urlAccount, Region: urlRegion}, Name: "fn"}, ID: urlID}
	for name, c := range map[string]struct {
		request string
		body    []byte
		caller  *identity.Caller
	}{
		"get": {request: "GET / HTTP/1.1\r\nHost: %HOST%:4566\r\nUser-Agent: agent\r\nConnection: close\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"},
		"everything": {
			request: "POST /a%20b/%2F/c?x=1&y=%C3%A4+&x=2&flag&%zz=1&&e= HTTP/1.1\r\nHost: %HOST%:4566\r\nUser-Agent: agent\r\nX-Two: 1\r\nx-two: 2\r\n" +
				"Cookie: a=1; b=2\r\nCookie: c=3\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 7\r\nX-Amzn-Trace-Id: Root=1-2-3\r\n\r\n",
			body:   []byte(`{"a":1}`),
			caller: &identity.Caller{Account: "111122223333", AccessKeyID: "AKIA", ARN: "arn:aws:iam::111122223333:user/u", UserID: "AIDA"},
		},
		"binary": {
			request: "PUT /p HTTP/1.1\r\nHost: %HOST%:4566\r\nContent-Type: application/octet-stream\r\nContent-Length: 2\r\n\r\n",
			body:    []byte{0xff, 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			domain := urlID + ".lambda-url." + urlRegion + ".localhost"
			req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(c.request, "%HOST%", domain))))
			if err != nil {
				t.Fatal(err)
			}
			req.RemoteAddr = "127.0.0.1:5000"
			where, ok := urlTarget(req)
			if !ok || where.id != urlID || where.region != urlRegion {
				t.Fatalf("urlTarget = %+v, %t", where, ok)
			}
			a := arrival{url: u, domain: domain, path: where.path, caller: c.caller, id: "request-id", trace: "Root=1-2-3", now: at}
			event, err := a.event(req, c.body)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, event, "", "  "); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			golden := filepath.Join("testdata", "url-event-"+name+".json")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("event =\n%s\nwant\n%s", got.String(), want)
			}
		})
	}
}

func TestURLBodyKinds(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]bool{
		"": true, "text/plain": true, "text/html; charset=utf-8": true, "APPLICATION/JSON": true, "application/problem+json": true,
		"application/xml": true, "image/svg+xml": true, "application/javascript": true, "text/plain; charset=\"": true,
		"application/x-www-form-urlencoded": false, "multipart/form-data; boundary=x": false, "application/octet-stream": false, "image/png": false,
	} {
		if got := isText(contentType); got != want {
			t.Errorf("isText(%q) = %t; want %t", contentType, got, want)
		}
	}
}

func TestURLTarget(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		host, uri string
		want      target
		ok        bool
	}{
		{"ID.lambda-url.eu-west-1.localhost:4566", "/a%2Fb?x", target{"id", "eu-west-1", "/a%2Fb"}, true},
		{"id.lambda-url.eu-west-1.example.com", "/", target{"id", "eu-west-1", "/"}, true},
		{"localhost:4566", "/_lamina/url/id/a/b?x", target{"id", "", "/a/b"}, true},
		{"localhost:4566", "/_lamina/url/id", target{"id", "", "/"}, true},
		{"localhost:4566", "/_lamina/urls/id", target{}, false},
		{"lambda-url.eu-west-1.localhost", "/", target{}, false},
		{"localhost:4566", "/2015-03-31/functions/", target{}, false},
	} {
		req := httptest.NewRequest(http.MethodGet, c.uri, nil)
		req.Host, req.RequestURI = c.host, c.uri
		if got, ok := urlTarget(req); got != c.want || ok != c.ok {
			t.Errorf("urlTarget(%s%s) = %+v, %t; want %+v, %t", c.host, c.uri, got, ok, c.want, c.ok)
		}
	}
}

func TestURLAddress(t *testing.T) {
	t.Parallel()
	u := lamina.FunctionURL{Function: lamina.FunctionID{Scope: lamina.Scope{Region: urlRegion}}, ID: "id"}
	for base, want := range map[string]string{
		"":                       "https://id.lambda-url.eu-west-1.on.aws/",
		"http://127.0.0.1:4566":  "http://id.lambda-url.eu-west-1.localhost:4566/",
		"http://localhost":       "http://id.lambda-url.eu-west-1.localhost/",
		"http://[::1]:4566":      "http://id.lambda-url.eu-west-1.localhost:4566/",
		"http://other.localhost": "http://id.lambda-url.eu-west-1.localhost/",
		"http://10.0.0.5:4566":   "http://10.0.0.5:4566/_lamina/url/id/",
		"https://lamina.example": "https://lamina.example/_lamina/url/id/",
	} {
		if got := URLAddress(context.WithValue(t.Context(), baseKey{}, base), u); got != want {
			t.Errorf("URLAddress for a client of %q = %s; want %s", base, got, want)
		}
	}
}

func TestURLAnswers(t *testing.T) {
	t.Parallel()
	s := serveURLs(t, lamina.FunctionURL{AuthType: lamina.URLAuthNone}, public()...)
	const plain = "application/json"
	for name, c := range map[string]struct {
		payload string
		status  int
		body    string
		headers map[string]string
	}{
		"an object without a statusCode": {`{"hello": "w\u00f6rld", "n": 1.0}`, 200, `{"hello":"w\u00f6rld","n":1.0}`, map[string]string{"Content-Type": plain}},
		"a string":                       {`"hello"`, 200, "hello", map[string]string{"Content-Type": plain}},
		"a list":                         {`["hello", 3, true]`, 200, `["hello",3,true]`, nil},
		"null":                           {"null", 200, "null", nil},
		"a number":                       {"3.1", 200, "3.1", nil},
		"a response":                     {`{"statusCode": 201, "headers": {"content-type": "text/html", "X-A": "b", "x-n": 3, "x-t": true}, "body": "<p>"}`, 201, "<p>", map[string]string{"Content-Type": "text/html", "X-A": "b", "X-N": "3", "X-T": "true"}},
		"a status as a string":           {`{"statusCode": "418", "body": "i'm a teapot"}`, 418, "i'm a teapot", nil},
		"a status alone":                 {`{"statusCode": 404}`, 404, "", map[string]string{"Content-Length": "0"}},
		"nulls":                          {`{"statusCode": 200, "headers": null, "cookies": null, "body": null}`, 200, "", nil},
		"no content":                     {`{"statusCode": 204, "body": ""}`, 204, "", nil},
		"base64":                         {`{"statusCode": 200, "body": "AP8=", "isBase64Encoded": true, "headers": {"content-type": "image/png"}}`, 200, "\x00\xff", map[string]string{"Content-Type": "image/png"}},
		"cookies":                        {`{"statusCode": 200, "cookies": ["a=1; Secure", "b=2"], "body": ""}`, 200, "", map[string]string{"Set-Cookie": "a=1; Secure|b=2"}},
		"a body that is an object":       {`{"statusCode": 200, "body": {"a": 1}}`, 200, `{"a":1}`, nil},
		"headers of the connection":      {`{"statusCode": 200, "headers": {"Content-Length": "99", "date": "then", "Transfer-Encoding": "chunked"}, "body": "x"}`, 200, "x", map[string]string{"Content-Length": "1", "X-Amzn-Remapped-Date": "then", "X-Amzn-Remapped-Content-Length": "99"}},
		"no JSON":                        {"hello", 502, "Internal Server Error", map[string]string{"Content-Type": plain}},
		"nothing":                        {"", 502, "Internal Server Error", nil},
		"a status that is none":          {`{"statusCode": 99, "body": "x"}`, 502, "Internal Server Error", nil},
		"a status that is no number":     {`{"statusCode": "ok"}`, 502, "Internal Server Error", nil},
		"a header that is a list":        {`{"statusCode": 200, "headers": {"a": ["b"]}}`, 502, "Internal Server Error", nil},
		"a header that ends the line":    {`{"statusCode": 200, "headers": {"a": "b\r\nSet-Cookie: x=1"}}`, 502, "Internal Server Error", nil},
		"a header whose name is a line":  {`{"statusCode": 200, "headers": {"a: b\r\nc": "d"}}`, 502, "Internal Server Error", nil},
		"a cookie that ends the line":    {`{"statusCode": 200, "cookies": ["a=1\r\nX: y"]}`, 502, "Internal Server Error", nil},
		"base64 that is none":            {`{"statusCode": 200, "body": "?", "isBase64Encoded": true}`, 502, "Internal Server Error", nil},
	} {
		s.answers(returns(c.payload))
		r := s.get()
		r.want(t, name, c.status, c.body)
		for header, want := range c.headers {
			r.header(t, header, want)
		}
		if r.Header.Get("X-Amzn-Requestid") == "" || !strings.HasPrefix(r.Header.Get("X-Amzn-Trace-Id"), "Root=1-") {
			t.Errorf("%s: headers %v lack request or trace", name, r.Header)
		}
	}
}

func TestURLFailures(t *testing.T) {
	t.Parallel()
	s := serveURLs(t, lamina.FunctionURL{AuthType: lamina.URLAuthNone}, public()...)
	s.answers(func(lamina.Invocation) (lamina.Result, error) {
		return lamina.Result{FunctionError: lamina.Unhandled, Payload: []byte(`{"errorMessage":"secret"}`)}, nil
	})
	s.get().want(t, "function error", 502, "Internal Server Error")
	s.answers(func(lamina.Invocation) (lamina.Result, error) { return lamina.Result{}, lamina.ErrBusy })
	r := s.get()
	r.want(t, "no environment", 429, `{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}`)
	r.header(t, "X-Amzn-Errortype", "TooManyRequestsException")
	s.answers(func(lamina.Invocation) (lamina.Result, error) { return lamina.Result{}, errors.New("secret") })
	if r := s.get(); r.StatusCode != 500 || strings.Contains(r.body, "secret") {
		t.Errorf("Lamina's own failure = %d %s; want 500 and no details", r.StatusCode, r.body)
	}
	s.answers(nil)
	_, calls := s.seen()
	for _, size := range []int{10_001, 9_900} { // the second is too large as an event
		if r := s.do(s.request(http.MethodPost, "/", strings.Repeat("x", size))); r.StatusCode != 413 || r.Header.Get("X-Amzn-Errortype") != "RequestEntityTooLargeException" {
			t.Errorf("body of %d bytes = %d %v; want 413", size, r.StatusCode, r.Header)
		}
	}
	large := s.request(http.MethodPost, "/", "")
	large.Body, large.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", 10_001))), -1
	if r := s.do(large); r.StatusCode != 413 {
		t.Errorf("chunked body of 10001 bytes = %d; want 413", r.StatusCode)
	}
	if _, n := s.seen(); n != calls {
		t.Errorf("%d invocations with requests that are too large", n-calls)
	}
	for what, req := range map[string]*http.Request{
		"unknown ID":     s.request(http.MethodGet, "/_lamina/url/unknown/", ""),
		"another region": s.request(http.MethodGet, "/", ""),
	} {
		req.Host = "localhost"
		if what == "another region" {
			req.Host = urlID + ".lambda-url.us-east-1.localhost"
		}
		r := s.do(req)
		r.want(t, what, 403, `{"Message":null}`)
		r.header(t, "X-Amzn-Errortype", "AccessDeniedException")
		r.header(t, "Content-Type", "application/json")
	}
	zero := int64(0)
	s.change(func(ctx context.Context, tx *store.Tx) error {
		return tx.SetReservedConcurrency(ctx, lamina.FunctionID{Scope: lamina.Scope{Account: urlAccount, Region: urlRegion}, Name: "fn"}, &zero)
	})
	if r := s.get(); r.StatusCode != 429 || !strings.Contains(r.body, "ReservedFunctionConcurrentInvocationLimitExceeded") {
		t.Errorf("no concurrency = %d %s; want 429", r.StatusCode, r.body)
	}
}

func TestURLOfAnAliasThatIsGone(t *testing.T) {
	t.Parallel()
	s := serveURLs(t, lamina.FunctionURL{AuthType: lamina.URLAuthNone, Qualifier: "gone"}, public()...)
	if r := s.get(); r.StatusCode != 404 || r.Header.Get("X-Amzn-Errortype") != "ResourceNotFoundException" {
		t.Errorf("URL of a missing alias = %d %v; want 404 ResourceNotFoundException", r.StatusCode, r.Header)
	}
}

func TestURLPermissions(t *testing.T) {
	t.Parallel()
	everyone := lamina.Principal{Value: "*"}
	for name, c := range map[string]struct {
		statements []lamina.Statement
		status     int
	}{
		"both":              {public(), 200},
		"none":              {nil, 403},
		"only the URL's":    {public()[:1], 403},
		"only the function": {public()[1:], 403},
		"every action":      {[]lamina.Statement{{Sid: "a", Effect: "Allow", Principal: everyone, Action: "lambda:*"}}, 200},
		"for IAM": {[]lamina.Statement{
			{Sid: "a", Effect: "Allow", Principal: everyone, Action: "lambda:InvokeFunctionUrl", Condition: map[string]map[string]string{"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}},
			public()[1],
		}, 403},
		"for an account": {[]lamina.Statement{{Sid: "a", Effect: "Allow", Principal: lamina.Principal{Kind: "AWS", Value: "arn:aws:iam::" + urlAccount + ":root"}, Action: "*"}}, 403},
		"for a source":   {[]lamina.Statement{{Sid: "a", Effect: "Allow", Principal: everyone, Action: "*", Condition: map[string]map[string]string{"ArnLike": {"AWS:SourceArn": "arn:*"}}}}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serveURLs(t, lamina.FunctionURL{AuthType: lamina.URLAuthNone}, c.statements...)
			s.answers(returns(`"in"`))
			r := s.get()
			if c.status == 200 {
				r.want(t, name, 200, "in")
				return
			}
			r.want(t, name, 403, forbiddenBody)
			r.header(t, "X-Amzn-Errortype", "AccessDeniedException")
		})
	}
}

// sign signs as SDKs do for function URLs.
func sign(t *testing.T, req *http.Request, key, service, region, body string) {
	t.Helper()
	signAt(t, req, key, "secret", service, region, body, time.Now())
}

func signAt(t *testing.T, req *http.Request, key, secret, service, region, body string, now time.Time) {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: key, SecretAccessKey: secret}, req, hex.EncodeToString(sum[:]), service, region, now)
	if err != nil {
		t.Fatal(err)
	}
}

func TestURLSignatures(t *testing.T) {
	t.Parallel()
	guest := lamina.Statement{Sid: "a", Effect: "Allow", Principal: lamina.Principal{Kind: "AWS", Value: "arn:aws:iam::111111111111:root"}, Action: "lambda:*"}
	s := serveURLs(t, lamina.FunctionURL{AuthType: lamina.URLAuthIAM})
	open := serveURLs(t, lamina.FunctionURL{AuthType: lamina.URLAuthIAM}, guest)
	for name, c := range map[string]struct {
		server               *urlServer
		key, service, region string
		byPath, otherBody    bool
		status               int
		code                 string
	}{
		"the account itself":       {server: s, key: "OWN", service: "lambda", region: urlRegion, status: 200},
		"by path":                  {server: s, key: "OWN", service: "lambda", region: urlRegion, byPath: true, status: 200},
		"another account":          {server: s, key: "OTHER", service: "lambda", region: urlRegion, status: 403, code: "AccessDeniedException"},
		"another, with permission": {server: open, key: "OTHER", service: "lambda", region: urlRegion, status: 200},
		"nobody":                   {server: s, status: 403, code: "AccessDeniedException"},
		"an unknown key":           {server: s, key: "NONE", service: "lambda", region: urlRegion, status: 403, code: "UnrecognizedClientException"},
		"another service":          {server: s, key: "OWN", service: "iam", region: urlRegion, status: 403, code: "InvalidSignatureException"},
		"another region":           {server: s, key: "OWN", service: "lambda", region: "us-east-1", status: 403, code: "InvalidSignatureException"},
		"another body":             {server: s, key: "OWN", service: "lambda", region: urlRegion, otherBody: true, status: 403, code: "InvalidSignatureException"},
	} {
		path := "/a%20b?x=1"
		if c.byPath {
			path = "/_lamina/url/" + urlID + path
		}
		body := `{"a":1}`
		req := c.server.request(http.MethodPost, path, body, "Content-Type", "application/json")
		if c.byPath {
			req.Host = ""
		}
		signed := body
		if c.otherBody {
			signed = "{}"
		}
		if c.key != "" {
			sign(t, req, c.key, c.service, c.region, signed)
		}
		_, before := c.server.seen()
		r := c.server.do(req)
		if r.StatusCode != c.status || r.Header.Get("X-Amzn-Errortype") != c.code {
			t.Errorf("%s = %d %s %s; want %d %s", name, r.StatusCode, r.Header.Get("X-Amzn-Errortype"), r.body, c.status, c.code)
			continue
		}
		if _, calls := c.server.seen(); c.status != 200 {
			if calls != before {
				t.Errorf("%s: the function ran", name)
			}
			continue
		}
		var event urlEvent
		if err := json.Unmarshal([]byte(r.body), &event); err != nil {
			t.Fatalf("%s: %v in %s", name, err, r.body)
		}
		if a := event.Context.Authorizer; a == nil || a.IAM.AccessKey != c.key || event.Context.AccountID != a.IAM.AccountID || event.RawPath != "/a%20b" || *event.Body != body {
			t.Errorf("%s: event %s", name, r.body)
		}
	}
}

func TestURLCORS(t *testing.T) {
	t.Parallel()
	yes, age := true, int64(60)
	s := serveURLs(t, lamina.FunctionURL{AuthType: lamina.URLAuthNone, CORS: &lamina.CORS{
		AllowCredentials: &yes, AllowHeaders: []string{"x-one", "x-two"}, AllowMethods: []string{"GET", "PUT"},
		AllowOrigins: []string{"https://a.example"}, ExposeHeaders: []string{"x-three"}, MaxAge: &age,
	}}, public()...)
	s.answers(returns(`{"statusCode": 200, "headers": {"Access-Control-Allow-Origin": "*", "Vary": "Accept", "x-three": "3"}, "body": "x"}`))

	ask := func(origin string) response {
		return s.do(s.request(http.MethodOptions, "/", "", "Origin", origin, "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "x-one"))
	}
	r := ask("https://a.example")
	r.want(t, "preflight", 200, "")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "https://a.example", "Access-Control-Allow-Methods": "GET,PUT", "Access-Control-Allow-Headers": "x-one,x-two",
		"Access-Control-Max-Age": "60", "Access-Control-Allow-Credentials": "true",
	} {
		r.header(t, name, want)
	}
	r = ask("https://b.example")
	r.want(t, "preflight of another origin", 200, "")
	r.header(t, "Access-Control-Allow-Origin", "")
	r.header(t, "Access-Control-Allow-Methods", "")
	if _, calls := s.seen(); calls != 0 {
		t.Errorf("%d invocations by preflights", calls)
	}
	r = s.get("Origin", "https://a.example")
	r.want(t, "get", 200, "x")
	r.header(t, "Access-Control-Allow-Origin", "https://a.example")
	r.header(t, "Access-Control-Expose-Headers", "x-three")
	r.header(t, "Vary", "Origin|Accept")
	// Another origin has what the function says.
	s.get("Origin", "https://b.example").header(t, "Access-Control-Allow-Origin", "*")
	// An OPTIONS that is no preflight is the function's.
	s.do(s.request(http.MethodOptions, "/", "")).want(t, "OPTIONS", 200, "x")
	// Errors can be read by the page, too.
	s.answers(returns("no JSON"))
	r = s.get("Origin", "https://a.example")
	r.want(t, "bad gateway", 502, "Internal Server Error")
	r.header(t, "Access-Control-Allow-Origin", "https://a.example")

	all := serveURLs(t, lamina.FunctionURL{AuthType: lamina.URLAuthIAM, CORS: &lamina.CORS{
		AllowOrigins: []string{"*"}, AllowMethods: []string{"*"}, AllowHeaders: []string{"*"},
	}})
	r = all.do(all.request(http.MethodOptions, "/", "", "Origin", "null", "Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", "authorization,x"))
	r.want(t, "preflight without a signature", 200, "")
	r.header(t, "Access-Control-Allow-Origin", "null")
	r.header(t, "Access-Control-Allow-Methods", "PATCH")
	r.header(t, "Access-Control-Allow-Headers", "authorization,x")
}

// TestURLStream holds responses open and reads what has come of them.
func TestURLStream(t *testing.T) {
	t.Parallel()
	s := serveURLs(t, lamina.FunctionURL{AuthType: lamina.URLAuthNone, InvokeMode: lamina.URLResponseStream}, public()...)
	const prelude = `{"statusCode":201,"headers":{"content-type":"text/event-stream","x-a":"b"},"cookies":["c=1"]}` + "\x00\x00\x00\x00\x00\x00\x00\x00"
	hold := make(chan struct{}) // the test closes it
	for name, c := range map[string]struct {
		contentType string
		writes      []string
		wait        bool // for the test, before the last write
		result      lamina.Result
		status      int
		body        string
		header      map[string]string
		broken      bool
	}{
		"plain":                       {contentType: "text/plain", writes: []string{"one", "two"}, wait: true, status: 200, body: "onetwo", header: map[string]string{"Content-Type": "text/plain"}},
		"without a type":              {writes: []string{"one"}, status: 200, body: "one", header: map[string]string{"Content-Type": octetStream}},
		"nothing":                     {contentType: "text/plain", status: 200},
		"prelude":                     {contentType: integrationResponse, writes: []string{prelude[:20], prelude[20 : len(prelude)-3], prelude[len(prelude)-3:] + "one", "two"}, wait: true, status: 201, body: "onetwo", header: map[string]string{"Content-Type": "text/event-stream", "X-A": "b", "Set-Cookie": "c=1"}},
		"prelude alone":               {contentType: integrationResponse, writes: []string{prelude}, status: 201},
		"prelude, and the body later": {contentType: integrationResponse, writes: []string{prelude, "late"}, wait: true, status: 201, body: "late"},
		"prelude that is none":        {contentType: integrationResponse, writes: []string{"{\x00\x00\x00\x00\x00\x00\x00\x00"}, status: 502, body: "Internal Server Error"},
		"prelude without an end":      {contentType: integrationResponse, writes: []string{strings.Repeat(" ", preludeSize), " ", " "}, status: 502, body: "Internal Server Error"},
		"failure before anything":     {result: lamina.Result{FunctionError: lamina.Unhandled}, status: 502, body: "Internal Server Error"},
		"failure within the prelude":  {contentType: integrationResponse, writes: []string{prelude[:20]}, result: lamina.Result{FunctionError: lamina.Unhandled}, status: 502, body: "Internal Server Error"},
		"failure on the way":          {contentType: "text/plain", writes: []string{"one"}, result: lamina.Result{FunctionError: lamina.Unhandled}, status: 200, body: "one", broken: true},
	} {
		gate := hold
		s.answers(func(in lamina.Invocation) (lamina.Result, error) {
			in.Sink.Begin(c.contentType)
			for i, w := range c.writes {
				if c.wait && i == len(c.writes)-1 {
					<-gate
				}
				if err := in.Sink.Write([]byte(w)); err != nil {
					return lamina.Result{}, nil
				}
			}
			return c.result, nil
		})
		resp, err := http.DefaultClient.Do(s.request(http.MethodGet, "/", ""))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if c.wait { // the header is here, and the function has not ended
			close(hold)
			hold = make(chan struct{})
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		r := response{resp, string(body), err}
		if c.broken {
			if r.err == nil {
				t.Errorf("%s: the response ends as if it were whole", name)
			}
			r.err = nil
		}
		r.want(t, name, c.status, c.body)
		for header, want := range c.header {
			r.header(t, header, want)
		}
	}
	// A function that does not stream answers as it is.
	s.answers(returns(`{"statusCode": 201, "body": "x"}`))
	s.get().want(t, "buffered function", 200, `{"statusCode": 201, "body": "x"}`)
}

func TestURLStreamClientGone(t *testing.T) {
	t.Parallel()
	s := serveURLs(t, lamina.FunctionURL{AuthType: lamina.URLAuthNone, InvokeMode: lamina.URLResponseStream}, public()...)
	gone := make(chan error, 1)
	s.answers(func(in lamina.Invocation) (lamina.Result, error) {
		in.Sink.Begin("")
		for {
			if err := in.Sink.Write(make([]byte, 100_000)); err != nil {
				gone <- err
				return lamina.Result{}, nil
			}
		}
	})
	resp, err := http.DefaultClient.Do(s.request(http.MethodGet, "/", ""))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Error("the function is not told that its client is gone")
	}
}

func TestURLTrace(t *testing.T) {
	t.Parallel()
	s := serveURLs(t, lamina.FunctionURL{AuthType: lamina.URLAuthNone}, public()...)
	const trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
	r := s.get("X-Amzn-Trace-Id", trace)
	r.header(t, "X-Amzn-Trace-Id", trace)
	in, _ := s.seen()
	if !strings.HasPrefix(in.TraceID, "Root=1-5759e988-bd862e3fe1be46a994272793;") || in.RequestID != r.Header.Get("X-Amzn-Requestid") || in.InvokedARN != "arn:aws:lambda:"+urlRegion+":"+urlAccount+":function:fn" {
		t.Errorf("invocation = %s %s %s", in.TraceID, in.RequestID, in.InvokedARN)
	}
	var e urlEvent
	if err := json.Unmarshal([]byte(r.body), &e); err != nil {
		t.Fatal(err)
	}
	if e.Headers["x-amzn-trace-id"] != trace || e.Context.RequestID != in.RequestID {
		t.Errorf("event = %s", r.body)
	}
}

func FuzzURLAnswer(f *testing.F) {
	for _, seed := range []string{
		`"x"`, "null", "{}", `{"statusCode":200,"headers":{"a":"b"},"cookies":["c"],"body":"AA==","isBase64Encoded":true}`,
		`{"statusCode":"200"}`, `{"statusCode":200,"headers":[]}`, "", "[", `{"statusCode":200,"headers":{"Vary":"x","":"y"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		a, err := readAnswer(payload)
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		a.write(w) // panics for a status that is none
		var raw bytes.Buffer
		if err := w.Result().Header.Write(&raw); err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(raw.String(), "\r\n"), "\r\n") {
			if name, _, ok := strings.Cut(line, ": "); !ok || !isToken(name) {
				t.Errorf("header line %q of %q", line, payload)
			}
		}
	})
}

func FuzzURLEvent(f *testing.F) {
	f.Add("/a%20b?x=1&y=%zz", "a=1; b", "text/plain", []byte("body"))
	f.Add("/%", ";;", "", []byte{0xff})
	f.Fuzz(func(t *testing.T, uri, cookie, contentType string, body []byte) {
		path, query, _ := strings.Cut(uri, "?")
		req := &http.Request{
			Method: http.MethodPost, URL: &url.URL{Path: path, RawQuery: query}, RequestURI: uri, Host: "h", RemoteAddr: "x",
			Header: http.Header{"Cookie": {cookie}, "Content-Type": {contentType}}, ContentLength: int64(len(body)), Proto: "HTTP/1.1",
		}
		data, err := arrival{path: path}.event(req, body)
		if err != nil {
			t.Fatal(err)
		}
		var e urlEvent
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
		if len(body) == 0 {
			return
		}
		got := []byte(*e.Body)
		if e.IsBase64Encoded {
			if got, err = base64.StdEncoding.DecodeString(*e.Body); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, body) {
			t.Errorf("the body of %q became %q", body, got)
		}
	})
}
