package endpoint_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/lamina-run/lamina/objects/embedded"
)

// BenchmarkMegabyte is a megabyte up and down: signed, through the server, and
// to the child alone.
func BenchmarkMegabyte(b *testing.B) {
	s := newStage(b)
	name := s.bucket(b, "bench")
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	child := embedded.New(embedded.Options{Dir: filepath.Join(b.TempDir(), "s3"), Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1) // one send, when Run has returned
	go func() { ended <- child.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	through := func(req *http.Request) (*http.Response, error) {
		req.URL.Scheme, req.URL.Host = "http", s.url[len("http://"):]
		req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
		if err := signer.SignHTTP(ctx, s.credentials(account, ""), req, "UNSIGNED-PAYLOAD", "s3", region, time.Now()); err != nil {
			return nil, err
		}
		return http.DefaultTransport.RoundTrip(req)
	}
	send := func(by func(*http.Request) (*http.Response, error), method, path string, body []byte) {
		req := (&http.Request{Method: method, URL: &url.URL{Path: path, RawPath: path}, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}).WithContext(ctx)
		if len(body) == 0 {
			req.Body = http.NoBody
		}
		resp, err := by(req)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
			b.Fatal(resp.Status, err)
		}
	}
	send(child.RoundTrip, "PUT", "/"+name, nil)
	for _, way := range []struct {
		name string
		by   func(*http.Request) (*http.Response, error)
	}{{"child", child.RoundTrip}, {"lamina", through}} {
		for _, method := range []string{"PUT", "GET"} {
			b.Run(way.name+"/"+method, func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				for b.Loop() {
					if method == "PUT" {
						send(way.by, method, "/"+name+"/k", body)
					} else {
						send(way.by, method, "/"+name+"/k", nil)
					}
				}
			})
		}
	}
}
