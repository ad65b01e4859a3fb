package endpoint_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lamina-run/lamina/objects/endpoint"
)

func TestErrorsAreS3s(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := s.bucket(t, "errors")
	for name, c := range map[string]struct {
		raw
		want string // status and code
	}{
		"no bucket":                  {raw{method: "GET", path: "/no-such-bucket-there/k"}, "404 NoSuchBucket"},
		"no key":                     {raw{method: "GET", path: "/errors/none"}, "404 NoSuchKey"},
		"no signature":               {raw{method: "GET", path: "/errors/none", unsigned: true}, "403 AccessDenied"},
		"no signature, no bucket":    {raw{method: "GET", path: "/no-such-bucket-there", unsigned: true}, "404 NoSuchBucket"},
		"no signature, no name":      {raw{method: "GET", path: "/", unsigned: true}, "403 Missing Authentication Token"},
		"another service's path":     {raw{method: "GET", path: "/2015-03-31/functions", unsigned: true}, "403 Missing Authentication Token"},
		"a method that nobody has":   {raw{method: "PATCH", path: "/errors/k"}, "405 MethodNotAllowed"},
		"a form":                     {raw{method: "POST", path: "/errors"}, "501 NotImplemented"},
		"a key that is too long":     {raw{method: "PUT", path: "/errors/" + strings.Repeat("k", 1025)}, "400 KeyTooLongError"},
		"a name that is too long":    {raw{method: "PUT", path: "/errors/" + strings.Repeat("k", 221)}, "400 KeyTooLongError"},
		"a control character":        {raw{method: "PUT", path: "/errors/%00"}, "400 InvalidArgument"},
		"no UTF-8":                   {raw{method: "PUT", path: "/errors/%FF"}, "400 InvalidArgument"},
		"a customer's key":           {raw{method: "PUT", path: "/errors/k", header: map[string]string{"X-Amz-Server-Side-Encryption-Customer-Algorithm": "AES256"}}, "501 NotImplemented"},
		"a public object":            {raw{method: "PUT", path: "/errors/k", header: map[string]string{"X-Amz-Acl": "public-read"}}, "400 AccessControlListNotSupported"},
		"a class that there is not":  {raw{method: "PUT", path: "/errors/k", header: map[string]string{"X-Amz-Storage-Class": "ATTIC"}}, "400 InvalidStorageClass"},
		"another key's secret":       {raw{method: "GET", path: "/errors/k", unsigned: true, header: map[string]string{"Authorization": "AWS4-HMAC-SHA256 Credential=AKIANOBODY/" + time.Now().UTC().Format("20060102") + "/eu-central-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + strings.Repeat("0", 64), "X-Amz-Date": time.Now().UTC().Format("20060102T150405Z")}}, "403 InvalidAccessKeyId"},
		"a time that is long ago":    {raw{method: "GET", path: "/errors/k", unsigned: true, header: map[string]string{"Authorization": "AWS4-HMAC-SHA256 Credential=AKIANOBODY/20200101/eu-central-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + strings.Repeat("0", 64), "X-Amz-Date": "20200101T000000Z"}}, "403 RequestTimeTooSkewed"},
		"a header that is no such":   {raw{method: "GET", path: "/errors/k", unsigned: true, header: map[string]string{"Authorization": "AWS4-HMAC-SHA256 Credential=a/b/c/s3/e"}}, "400 AuthorizationHeaderMalformed"},
		"another bucket's directory": {raw{method: "GET", path: "/errors/../versions/k"}, "400 InvalidArgument"},
	} {
		resp, text := s.do(t, c.raw)
		status, code, _ := strings.Cut(c.want, " ")
		if fmt.Sprint(resp.StatusCode) != status || !strings.Contains(text, code) {
			t.Errorf("%s = %d %s; want %s", name, resp.StatusCode, text, c.want)
		}
		if strings.HasPrefix(status, "4") && code != "Missing Authentication Token" && (!strings.HasPrefix(text, `<?xml version="1.0" encoding="UTF-8"?>`+"\n<Error><Code>") || resp.Header.Get("X-Amz-Request-Id") == "") {
			t.Errorf("%s = %v %s; want S3's XML, and a request ID", name, resp.Header, text)
		}
	}
	if resp, text := s.do(t, raw{method: "HEAD", path: "/" + b + "/none"}); resp.StatusCode != 404 || text != "" {
		t.Errorf("HEAD of no key = %d %q; want 404 and nothing", resp.StatusCode, text)
	}
}

// TestHostStyle has buckets in front of the host.
func TestHostStyle(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := s.bucket(t, "host.style")
	for host, path := range map[string]string{
		"host.style.s3.localhost:4566": "/a/b", "host.style.localhost": "/a/b", "host.style.lamina.test:80": "/a/b",
		"host.style.s3.eu-west-1.amazonaws.com": "/a/b", "s3.localhost": "/host.style/a/b", "lamina.test": "/host.style/a/b",
	} {
		if resp, text := s.do(t, raw{method: "PUT", path: path, host: host, body: host}); resp.StatusCode != 200 {
			t.Errorf("PUT at %s = %d %s", host, resp.StatusCode, text)
		}
		if _, text := s.do(t, raw{method: "GET", path: "/" + b + "/a/b"}); text != host {
			t.Errorf("the object = %q; want the one put at %s", text, host)
		}
	}
	if resp, text := s.do(t, raw{method: "GET", path: "/", host: "host.style.s3.localhost"}); resp.StatusCode != 200 || !strings.Contains(text, "<Name>host.style</Name>") {
		t.Errorf("the bucket = %d %s; want its list", resp.StatusCode, text)
	}
}

// TestBodiesThatAreNotWhatWasSigned leave nothing behind.
func TestBodiesThatAreNotWhatWasSigned(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := s.bucket(t, "bodies")
	sum := sha256.Sum256([]byte("the body"))
	hash := hex.EncodeToString(sum[:])
	long := strings.Repeat("x", 300<<10)
	for name, c := range map[string]struct {
		raw
		want string
	}{
		"the right hash":           {raw{body: "the body", hash: hash}, "200"},
		"another hash":             {raw{body: "the b0dy", hash: hash}, "400 XAmzContentSHA256Mismatch"},
		"another hash of a lot":    {raw{body: long, hash: hash}, "400 XAmzContentSHA256Mismatch"},
		"another MD5":              {raw{body: "the body", header: map[string]string{"Content-Md5": "AAAAAAAAAAAAAAAAAAAAAA=="}}, "400 BadDigest"},
		"another checksum":         {raw{body: "the body", header: map[string]string{"X-Amz-Checksum-Crc32": "AAAAAA=="}}, "400 "},
		"a trailer that is right":  {chunked("the body", "x-amz-checksum-crc32:yDPETQ==\r\n"), ""},
		"a trailer that is wrong":  {chunked("the body", "x-amz-checksum-crc32:AAAAAA==\r\n"), "400 "},
		"a trailer that is none":   {chunked("the body", "x-amz-checksum-crc32:nonsense\r\n"), "400 "},
		"a trailer that is absent": {chunked("the body", ""), "400 "},
		"a trailer and a lot":      {chunked(long, "x-amz-checksum-crc32:AAAAAA==\r\n"), "400 "},
	} {
		key := "/" + b + "/" + url.PathEscape(strings.ReplaceAll(name, " ", "-"))
		c.method, c.path = "PUT", key
		resp, text := s.do(t, c.raw)
		if status, code, _ := strings.Cut(c.want, " "); c.want != "" && (fmt.Sprint(resp.StatusCode) != status || !strings.Contains(text, code)) {
			t.Errorf("%s = %d %s; want %s", name, resp.StatusCode, text, c.want)
		}
		if resp, _ := s.do(t, raw{method: "HEAD", path: key}); strings.HasPrefix(c.want, "4") && resp.StatusCode != 404 {
			t.Errorf("%s left an object behind", name)
		}
	}
	s.hangUp(t, "/"+b+"/cut")
	if resp, _ := s.do(t, raw{method: "HEAD", path: "/" + b + "/cut"}); resp.StatusCode != 404 {
		t.Error("half a body is an object")
	}
	up, err := s.root().CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &b, Key: aws.String("parts")})
	if err != nil {
		t.Fatal(err)
	}
	s.hangUp(t, "/"+b+"/parts?partNumber=1&uploadId="+*up.UploadId)
	if list, err := s.root().ListParts(t.Context(), &s3.ListPartsInput{Bucket: &b, Key: aws.String("parts"), UploadId: up.UploadId}); err != nil || len(list.Parts) != 0 {
		t.Errorf("after half a part there are %+v, %v; want none", list.Parts, err)
	}
}

// hangUp is a client that goes in the middle of its body.
func (s *stage) hangUp(t *testing.T, path string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err := signer.SignHTTP(t.Context(), s.credentials(account, ""), req, "UNSIGNED-PAYLOAD", "s3", region, time.Now()); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(conn)
	fmt.Fprintf(w, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000000\r\n", path, req.URL.Host)
	for name := range req.Header {
		fmt.Fprintf(w, "%s: %s\r\n", name, req.Header.Get(name))
	}
	fmt.Fprintf(w, "\r\n%s", strings.Repeat("x", 500_000))
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).CloseWrite() //nolint:errcheck // the answer tells
	answer, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err == nil {
		text, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != 400 || !strings.Contains(string(text), "IncompleteBody") {
			t.Errorf("half a body = %d %s; want IncompleteBody", answer.StatusCode, text)
		}
		answer.Body.Close()
	}
	conn.Close()
}

// chunked is an upload whose checksum comes at the end.
func chunked(body, trailer string) raw {
	return raw{
		body: fmt.Sprintf("%x\r\n%s\r\n0\r\n%s\r\n", len(body), body, trailer), hash: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
		header: map[string]string{"Content-Encoding": "aws-chunked", "X-Amz-Decoded-Content-Length": fmt.Sprint(len(body)), "X-Amz-Trailer": "x-amz-checksum-crc32"},
	}
}

// TestNoBackend is what a client learns while the child is not there.
func TestNoBackend(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := s.bucket(t, "no-backend")
	broken := endpoint.New(endpoint.Options{
		Store: s.store, Authority: allowing{}, Backend: failing{}, Functions: s.told, Log: discard(), Now: time.Now, Owner: "x",
	})
	for method, path := range map[string]string{"GET": "/k", "PUT": "/k", "HEAD": "/k", "DELETE": ""} {
		w := httptest.NewRecorder()
		req := httptest.NewRequest(method, "/"+b+path, strings.NewReader("x"))
		broken.ServeHTTP(w, req)
		if w.Code != 503 || method != "HEAD" && !strings.Contains(w.Body.String(), "ServiceUnavailable") {
			t.Errorf("%s = %d %s; want ServiceUnavailable", method, w.Code, w.Body)
		}
	}
	if _, err := s.root().HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String(b)}); err != nil {
		t.Errorf("the bucket is gone: %v", err)
	}
	gone := endpoint.NewElsewhere(endpoint.Options{Store: s.store, Log: discard()}, "It is not here.")
	w := httptest.NewRecorder()
	gone.ServeHTTP(w, httptest.NewRequest("GET", "/b/k", nil))
	if w.Code != 501 || !strings.Contains(w.Body.String(), "It is not here.") {
		t.Errorf("S3 that is elsewhere = %d %s", w.Code, w.Body)
	}
}
