package objects

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/peer"
)

// Options say where S3 is. All fields but Proxy are required.
type Options struct {
	Endpoint        string // an http or https URL; buckets are the first element of paths below it
	AccessKeyID     string
	SecretAccessKey string
	Now             func() time.Time
	Proxy           func(*http.Request) (*url.URL, error) // nil for none
}

const (
	answerLimit = 30 * time.Second // until S3's first byte
	getLimit    = 10 * time.Minute // for everything, retries included
	errorBytes  = 64 << 10         // of an error's body
	attempts    = 3                // while S3 is unreachable or has troubles of its own
	firstPause  = 100 * time.Millisecond
	emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

var errSlow = errors.New("S3 took too long")

// S3 is an S3 endpoint. It is safe for concurrent use.
type S3 struct{ peer *peer.Client }

// New returns the S3 at an endpoint, which is not asked anything yet.
func New(o Options) (*S3, error) {
	p, err := peer.New(peer.Options{
		Service: "s3", Endpoint: o.Endpoint, AccessKeyID: o.AccessKeyID, SecretAccessKey: o.SecretAccessKey,
		Now: o.Now, Proxy: o.Proxy, Answer: answerLimit, Plain: true,
	})
	if err != nil {
		return nil, err
	}
	return &S3{p}, nil
}

// ParseEndpoint reads the URL of an S3 endpoint.
func ParseEndpoint(text string) (*url.URL, error) { return peer.ParseEndpoint(text) }

// Close gives up idle connections.
func (s *S3) Close() { s.peer.Close() }

// Get writes the bytes of an object to w. It fails with a *lamina.ObjectError
// when S3 refuses, and with [lamina.ErrTooLarge] when the object has more than
// most bytes. After an error, some bytes may have been written.
func (s *S3) Get(ctx context.Context, o lamina.Object, most int64, w io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, getLimit, errSlow)
	defer cancel()
	for attempt := 1; ; attempt++ {
		resp, err := s.ask(ctx, o)
		if err == nil {
			err = receive(resp, most, w)
			if err != nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return wrap(o, err)
		}
		// Nothing was written yet.
		if ctx.Err() != nil {
			return wrap(o, context.Cause(ctx))
		}
		if refused, ok := errors.AsType[*lamina.ObjectError](err); (ok && !transient[refused.Code]) || attempt == attempts {
			return wrap(o, err)
		}
		pause := time.NewTimer(firstPause << (2 * (attempt - 1)))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return wrap(o, context.Cause(ctx))
		}
	}
}

func wrap(o lamina.Object, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("get s3://%s/%s: %w", o.Bucket, o.Key, err)
}

// transient are the codes with which S3 asks to try again.
var transient = map[string]bool{"InternalError": true, "SlowDown": true, "ServiceUnavailable": true, "RequestTimeout": true}

// ask sends one GetObject. A response is a success; the caller reads and closes it.
func (s *S3) ask(ctx context.Context, o lamina.Object) (*http.Response, error) {
	u := s.peer.Endpoint()
	base := strings.TrimSuffix(u.Path, "/") + "/" + o.Bucket + "/"
	u.Path, u.RawPath = base+o.Key, escape(base+o.Key)
	if o.Version != "" {
		u.RawQuery = url.Values{"versionId": {o.Version}}.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Amz-Content-Sha256", emptySHA256)
	resp, err := s.peer.Do(req, emptySHA256, o.Region)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

// receive copies the body of a success and closes it.
func receive(resp *http.Response, most int64, w io.Writer) error {
	defer resp.Body.Close()
	if resp.ContentLength > most {
		return lamina.ErrTooLarge
	}
	n, err := io.Copy(w, io.LimitReader(resp.Body, most+1))
	if err == nil && n > most {
		err = lamina.ErrTooLarge
	}
	return err
}

// refusal reads what S3 says about a request that it did not serve.
func refusal(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, errorBytes))
	if err != nil {
		return fmt.Errorf("read refusal: %w", err)
	}
	var told struct {
		Code    string
		Message string
		Region  string
	}
	if xml.Unmarshal(body, &told) != nil || told.Code == "" {
		told.Code, told.Message = unexplained(resp.StatusCode), http.StatusText(resp.StatusCode)
	}
	region := resp.Header.Get("X-Amz-Bucket-Region")
	if region == "" {
		region = told.Region
	}
	if told.Code == "AuthorizationHeaderMalformed" && region != "" { // how S3 says it to a signature for another region
		told.Code = "PermanentRedirect"
	}
	return &lamina.ObjectError{Code: told.Code, Message: told.Message, Region: region}
}

// unexplained is the code of an answer without one.
func unexplained(status int) string {
	switch {
	case status == http.StatusNotFound:
		return "NoSuchKey"
	case status == http.StatusForbidden:
		return "AccessDenied"
	case status == http.StatusMovedPermanently, status == http.StatusTemporaryRedirect:
		return "PermanentRedirect"
	case status >= 500:
		return "ServiceUnavailable"
	}
	return "InvalidRequest"
}

// escape encodes a path as S3 does for signatures: everything but letters,
// digits, slashes and -_.~ is a percent code.
func escape(path string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(path) {
		c := path[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~/", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}
