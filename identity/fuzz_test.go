package identity

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/encoding/httpbinding"

	"github.com/lamina-run/lamina/wire"
)

// FuzzCanonical has aws-sdk-go-v2 sign whatever request: what it signs and HTTP
// can carry is accepted, and not with another path, query, header or body.
func FuzzCanonical(f *testing.F) {
	f.Add("POST", "/2015-03-31/functions/arn%3Aaws/invocations", "b=2&b=1&a=%20+", "X-Amz-Log-Type", "Tail", "{}", false)
	f.Add("GET", "//a/./../b%2F%2f", "&&=&a&%zz=%", "X-Y", "  a   b ", "", true)
	f.Add("GET", "/\xe1\x88\xb4/~!$&'()*,;=:@", "\xe1\x88\xb4=1", "My-Header", "\xff", "x", false)
	f.Fuzz(func(t *testing.T, method, path, query, name, value, body string, s3 bool) {
		service := "lambda"
		if s3 {
			service = "s3"
		}
		u, err := url.ParseRequestURI(path)
		if err != nil || method == "" || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") {
			return
		}
		if strings.Contains(value, "\t") {
			return // this SDK keeps what the others, and the verifier, take for a space
		}
		if s3 { // its clients encode as AWS does, and sign that
			u.RawPath = httpbinding.EscapePath(u.Path, false)
		}
		req := &http.Request{Method: method, URL: &url.URL{Scheme: "http", Host: "lamina.test", Path: u.Path, RawPath: u.RawPath, RawQuery: query}, Host: "lamina.test", Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
		req.Header.Set(name, value)
		sum := sha(body)
		hash := hex.EncodeToString(sum[:])
		req.Header.Set(contentHash, hash)
		if _, err := url.ParseQuery(query); err != nil || req.URL.EscapedPath() != cleanPath(req.URL.EscapedPath()) {
			return // the SDK drops what it does not understand, and leaves cleaning to others
		}
		if body != "" {
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		}
		err = v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: docKey.ID, SecretAccessKey: docKey.Secret}, req, hash, service, testRegion, testNow, func(o *v4.SignerOptions) { o.DisableURIPathEscaping = s3 })
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := req.Write(&out); err != nil {
			return // not HTTP
		}
		sent, ok := readVector(out.String())
		if !ok || sent.URL.Host != "" || sent.Host != "lamina.test" || !sameHeaders(sent.Header, req.Header) {
			return
		}
		_, got, err := verify(verifierAt(testNow), sent)
		if err != nil || string(got) != body {
			t.Fatalf("Verify = %v, body %q\n%s", err, got, out.String())
		}
		for what, change := range map[string]func(*http.Request){
			"path":   func(r *http.Request) { r.RequestURI = "/x" + r.RequestURI },
			"query":  func(r *http.Request) { r.URL.RawQuery += "&x=y" },
			"header": func(r *http.Request) { r.Header.Add("X-Amz-Date", "x") },
			"method": func(r *http.Request) { r.Method += "X" },
			"host":   func(r *http.Request) { r.Host += "x" },
			"body": func(r *http.Request) {
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body+"x")), int64(len(body)+1)
			},
		} {
			other, _ := readVector(out.String())
			change(other)
			if _, _, err := verify(verifierAt(testNow), other); err == nil {
				t.Errorf("accepted with another %s\n%s", what, out.String())
			}
		}
	})
}

// sameHeaders reports whether HTTP carried the headers as they were signed.
func sameHeaders(got, want http.Header) bool {
	for name, values := range want {
		trimmed := slices.Clone(values)
		for i := range trimmed {
			trimmed[i] = strings.Trim(trimmed[i], " \t")
		}
		if !slices.Equal(got[name], trimmed) {
			return false
		}
	}
	return true
}

// FuzzPresigned changes a presigned URL in all sorts of ways: it counts only as
// long as it says the same.
func FuzzPresigned(f *testing.F) {
	req, err := http.NewRequest("GET", "http://lamina.test/2018-10-31/layers?find=LayerVersion&Arn=a%3Ab%20c", nil) //nolint:noctx // never sent
	if err != nil {
		f.Fatal(err)
	}
	target, _, err := v4.NewSigner().PresignHTTP(f.Context(), aws.Credentials{AccessKeyID: docKey.ID, SecretAccessKey: docKey.Secret}, req, emptyText, "lambda", testRegion, testNow)
	if err != nil {
		f.Fatal(err)
	}
	_, right, _ := strings.Cut(target, "?")
	want, err := url.ParseQuery(right)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(right)
	f.Add(right + "&X-Amz-Expires=3600")
	f.Add(right + "&X-Amz-Security-Token=x")
	f.Add(strings.Replace(right, "X-Amz-Signature", "x-amz-signature", 1))
	f.Add(strings.Replace(right, "%20", "+", 1))
	f.Add(strings.Replace(right, "X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=", 1))
	f.Add(strings.Replace(right, "find=", "f%69nd=", 1))
	f.Fuzz(func(t *testing.T, query string) {
		asked := &http.Request{Method: "GET", Host: "lamina.test", RequestURI: "/2018-10-31/layers?" + query, URL: &url.URL{Path: "/2018-10-31/layers", RawQuery: query}, Header: http.Header{}, Body: http.NoBody}
		_, err := verifierAt(testNow).Verify(asked)
		if err != nil {
			if _, ok := errors.AsType[*wire.Exception](err); !ok {
				t.Errorf("Verify = %v; want an exception", err)
			}
			return
		}
		got, err := url.ParseQuery(query)
		if err != nil || !maps.EqualFunc(got, want, func(a, b []string) bool { return slices.Equal(a, b) }) {
			t.Errorf("accepted with the parameters %v, %v; want %v", got, err, want)
		}
	})
}
