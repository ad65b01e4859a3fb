package blob

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/lamina-run/lamina/internal/peer"
)

const (
	answerLimit  = 30 * time.Second // until S3's first byte, after all of a request was sent
	requestLimit = 10 * time.Minute // for one request of S3, retries included
	attempts     = 5                // while S3 is unreachable or has troubles of its own
	firstPause   = 100 * time.Millisecond
	errorBytes   = 64 << 10 // of an error's body
	listBytes    = 16 << 20 // of a page of 1000 keys
	emptySHA256  = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	sha256Header = "X-Amz-Content-Sha256"
	sourceHeader = "X-Amz-Copy-Source"
	regionHeader = "X-Amz-Bucket-Region"
)

var errSlow = errors.New("S3 took too long")

// refusal is S3's answer to a request that it did not serve.
type refusal struct {
	status                int
	code, message, region string
}

func (r *refusal) Error() string {
	text := fmt.Sprintf("S3 says %s: %s", r.code, strings.TrimSuffix(r.message, "."))
	if r.region != "" {
		text += " (the bucket is in " + r.region + ")"
	}
	return text
}

// passing reports whether the same request may succeed soon.
func (r *refusal) passing() bool {
	return r.status >= 500 || r.status == http.StatusTooManyRequests || r.code == "SlowDown" || r.code == "RequestTimeout"
}

// gone reports whether S3 says that there is no such object.
func gone(err error) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && r.status == http.StatusNotFound && r.code != "NoSuchBucket"
}

// s3 is a bucket at an S3 endpoint. All that it asks for may be asked again.
type s3 struct {
	peer   *peer.Client
	bucket string
	region string
}

// request is one to the bucket. The body, if any, can be sent several times.
type request struct {
	method string
	key    string // empty for the bucket itself; of characters that no path escapes
	query  url.Values
	body   io.ReaderAt
	size   int64
	sha256 string // of the body, in hexadecimal; empty without one
	source string // of a copy: another key
}

// do sends a request until S3 has served or refused it, and gives the answer to
// read, which may be nil. What read returns is what do returns; it may be called
// several times, with another answer, when it fails with a network's error.
func (c *s3) do(ctx context.Context, r request, read func(*http.Response) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, requestLimit, errSlow)
	defer cancel()
	for attempt := 1; ; attempt++ {
		err := c.once(ctx, r, read)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		refused, ok := errors.AsType[*refusal](err)
		if _, over := errors.AsType[final](err); over || (ok && !refused.passing()) || attempt == attempts {
			return err
		}
		wait := firstPause << (attempt - 1)
		pause := time.NewTimer(wait + rand.N(wait))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		}
	}
}

// final is an error that another try would not mend.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

func (c *s3) once(ctx context.Context, r request, read func(*http.Response) error) error {
	u := c.peer.Endpoint()
	u.Path = strings.TrimSuffix(u.Path, "/") + "/" + c.bucket
	if r.key != "" {
		u.Path += "/" + r.key
	}
	u.RawQuery = r.query.Encode()
	var body io.Reader = http.NoBody
	sum := emptySHA256
	if r.size > 0 {
		body, sum = io.NewSectionReader(r.body, 0, r.size), r.sha256
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), body)
	if err != nil {
		return err
	}
	req.ContentLength = r.size
	req.Header.Set(sha256Header, sum)
	if r.source != "" {
		req.Header.Set(sourceHeader, "/"+c.bucket+"/"+r.source)
	}
	resp, err := c.peer.Do(req, sum, c.region)
	if err != nil {
		return err
	}
	defer func() {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, errorBytes)) // so that the connection is used again
		resp.Body.Close()
	}()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		return refused(resp)
	}
	if read == nil {
		return nil
	}
	return read(resp)
}

// told is what an error's body says.
type told struct {
	XMLName xml.Name
	Code    string
	Message string
	Region  string
}

func refused(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, errorBytes))
	if err != nil {
		return err
	}
	var t told
	if xml.Unmarshal(body, &t) != nil || t.Code == "" {
		t.Code, t.Message = fmt.Sprint(resp.StatusCode), http.StatusText(resp.StatusCode)
	}
	r := &refusal{status: resp.StatusCode, code: t.Code, message: t.Message}
	if resp.StatusCode == http.StatusMovedPermanently || t.Code == "AuthorizationHeaderMalformed" {
		if r.region = resp.Header.Get(regionHeader); r.region == "" {
			r.region = t.Region
		}
	}
	return r
}

// put stores size bytes, whose SHA-256 S3 compares with the given one.
func (c *s3) put(ctx context.Context, key string, body io.ReaderAt, size int64, sha256 string) error {
	return c.do(ctx, request{method: http.MethodPut, key: key, body: body, size: size, sha256: sha256}, nil)
}

// copy stores the bytes of a key under another one.
func (c *s3) copy(ctx context.Context, from, to string) error {
	return c.do(ctx, request{method: http.MethodPut, key: to, source: from}, func(resp *http.Response) error {
		// A copy that breaks off has the status of one that began well.
		body, err := io.ReadAll(io.LimitReader(resp.Body, errorBytes))
		if err != nil {
			return err
		}
		var t told
		if err := xml.Unmarshal(body, &t); err != nil {
			return fmt.Errorf("answer of a copy: %w", err)
		}
		if t.XMLName.Local == "Error" {
			return &refusal{status: http.StatusInternalServerError, code: t.Code, message: t.Message}
		}
		return nil
	})
}

// get gives read the bytes of a key; it may be given them anew after it failed.
func (c *s3) get(ctx context.Context, key string, read func(io.Reader) error) error {
	return c.do(ctx, request{method: http.MethodGet, key: key}, func(resp *http.Response) error { return read(resp.Body) })
}

// delete removes a key, which may be gone already.
func (c *s3) delete(ctx context.Context, key string) error {
	err := c.do(ctx, request{method: http.MethodDelete, key: key}, nil)
	if gone(err) {
		return nil
	}
	return err
}

// object is what a listing tells of a key.
type object struct {
	Key          string
	LastModified time.Time
	Size         int64
}

// page is one of a listing, and S3's time when it was made.
type page struct {
	Contents              []object
	IsTruncated           bool
	NextContinuationToken string

	at time.Time
}

// list returns the page of the keys with a prefix that a token of the page before
// names; the first for an empty one. Keys come in their order.
func (c *s3) list(ctx context.Context, prefix, token string) (p page, err error) {
	query := url.Values{"list-type": {"2"}, "prefix": {prefix}}
	if token != "" {
		query.Set("continuation-token", token)
	}
	err = c.do(ctx, request{method: http.MethodGet, query: query}, func(resp *http.Response) error {
		p = page{}
		if err := xml.NewDecoder(io.LimitReader(resp.Body, listBytes)).Decode(&p); err != nil {
			return fmt.Errorf("read listing: %w", err)
		}
		if p.at, err = http.ParseTime(resp.Header.Get("Date")); err != nil {
			return final{fmt.Errorf("read the time of S3: %w", err)}
		}
		return nil
	})
	return p, err
}
