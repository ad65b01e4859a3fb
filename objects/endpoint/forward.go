package endpoint

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/wire"
)

// forward is a request as the backend gets it.
type forward struct {
	method string
	bucket string
	key    string
	query  values
	header http.Header
	body   io.Reader // nil for none
	length int64     // of the body; -1 when it is not known
}

// forwarded is a client's request for the backend, without its body: what the
// operation has, in the spelling that we read.
func (r *request) forwarded() forward {
	f := forward{method: r.http.Method, bucket: r.name, key: r.key, query: values{}, header: http.Header{}}
	if r.op.param != "" {
		f.query[r.op.param] = r.query[r.op.param]
	}
	for _, name := range r.op.params {
		if r.query.has(name) {
			f.query[name] = r.query[name]
		}
	}
	if r.op.header != "" {
		f.header.Set(r.op.header, r.header(r.op.header))
	}
	for name, texts := range r.http.Header {
		if slices.ContainsFunc(r.op.headers, func(own string) bool {
			return name == own || strings.HasSuffix(own, "-") && strings.HasPrefix(name, own)
		}) && !strings.HasPrefix(name, attributesHeader) {
			f.header.Set(name, strings.Join(texts, ","))
		}
	}
	return f
}

// send sends a request to the backend. The answer may be a refusal.
func (e *Endpoint) send(ctx context.Context, f forward) (*http.Response, error) {
	path := "/" + f.bucket
	if f.key != "" {
		path += "/" + f.key
	}
	u := &url.URL{Path: path, RawPath: escape(path, true), RawQuery: f.query.encode()}
	body := f.body
	if body == nil || f.length == 0 {
		body = http.NoBody
	}
	req := &http.Request{Method: f.method, URL: u, Header: f.header, ContentLength: f.length, Body: io.NopCloser(body)}
	if body == http.NoBody {
		req.Body = http.NoBody
	}
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header["User-Agent"] = []string{"lamina"}
	resp, err := e.o.Backend.RoundTrip(req.WithContext(ctx))
	if err != nil {
		if u, ok := f.body.(*upload); ctx.Err() == nil && (!ok || u.failed() == nil) {
			e.o.Log.LogAttrs(ctx, slog.LevelError, "embedded S3 did not answer", slog.String("request_id", wire.RequestID(ctx)),
				slog.String("method", f.method), slog.Any("err", err))
		}
		return nil, errUnavailable
	}
	return resp, nil
}

// answerBytes bounds an answer that is read whole: a list of a thousand keys, each
// of a kilobyte of which every byte is escaped.
const answerBytes = 16 << 20

// answer is an answer of the backend, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask sends a request and reads the answer. A refusal is an *Error.
func (e *Endpoint) ask(ctx context.Context, f forward) (*answer, error) {
	resp, err := e.send(ctx, f)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return e.readAnswer(ctx, f, resp)
}

func (e *Endpoint) readAnswer(ctx context.Context, f forward, resp *http.Response) (*answer, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerBytes+1))
	if err == nil && len(body) > answerBytes {
		err = fmt.Errorf("the answer has more than %d bytes", answerBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", f.method, err)
	}
	if resp.StatusCode < 300 {
		return &answer{resp.StatusCode, resp.Header, body}, nil
	}
	refused := readError(resp.StatusCode, body)
	if refused.Code == errNoSuchBucket.Code && f.method != http.MethodDelete && (f.method != http.MethodPut || f.key != "" || len(f.query) > 0) {
		return nil, e.repair(ctx, f.bucket)
	}
	if refused.Status >= http.StatusInternalServerError && refused.Code == "InternalError" {
		e.o.Log.LogAttrs(ctx, slog.LevelError, "embedded S3 failed", slog.String("request_id", wire.RequestID(ctx)), slog.String("method", f.method),
			slog.String("bucket", f.bucket), slog.String("key", f.key))
	}
	return nil, refused
}

// relay has the backend answer, and gives the answer as it is.
func (e *Endpoint) relay(r *request) error {
	a, err := e.ask(r.ctx(), r.forwarded())
	if err != nil {
		if refused, ok := errors.AsType[*Error](err); ok && r.key != "" {
			return e.hidden(r, refused)
		}
		return err
	}
	return r.answer(a)
}

// relayDocument is relay for requests with an XML body.
func (e *Endpoint) relayDocument(r *request) error {
	text, err := r.body()
	if err != nil {
		return err
	}
	return e.relayBody(r, text)
}

func (e *Endpoint) relayBody(r *request, text []byte) error {
	f := r.forwarded()
	f.setBody(text)
	a, err := e.ask(r.ctx(), f)
	if err != nil {
		return err
	}
	return r.answer(a)
}

// setBody gives a request a body, and the checksum that some operations want.
func (f *forward) setBody(text []byte) {
	f.body, f.length = bytes.NewReader(text), int64(len(text))
	f.header.Set("Content-Md5", md5Of(text))
	f.header.Set("Content-Type", xmlType)
}

// ids are S3's names for the request's ID.
func (r *request) ids() {
	id := wire.RequestID(r.ctx())
	r.w.Header().Set("X-Amz-Request-Id", id)
	r.w.Header().Set("X-Amz-Id-2", id)
}

// dropped are headers of the backend's that are ours to give, or nobody's.
var dropped = []string{
	"Server", "Date", "Connection", "Keep-Alive", "Transfer-Encoding", "X-Amz-Request-Id", "X-Amz-Id-2", "Vary",
	"Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Expose-Headers",
	"Access-Control-Max-Age", "Access-Control-Allow-Credentials",
}

// copyHeader gives the backend's headers to the client.
func (r *request) copyHeader(from http.Header) {
	to := r.w.Header()
	for name, texts := range from {
		switch {
		case slices.Contains(dropped, name):
		case strings.HasPrefix(name, metaPrefix): // clients take what follows as it is written
			to[strings.ToLower(name)] = texts
		default:
			to[name] = texts
		}
	}
	r.ids()
}

// answer gives an answer that was read whole.
func (r *request) answer(a *answer) error {
	r.copyHeader(a.header)
	if r.http.Method != http.MethodHead {
		r.w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	if a.status == http.StatusNoContent {
		r.w.Header().Del("Content-Length")
	}
	r.w.WriteHeader(a.status)
	if r.http.Method != http.MethodHead && a.status != http.StatusNoContent {
		_, _ = r.w.Write(a.body) // the client is gone
	}
	return nil
}

// list relays a list. To the backend everything has one owner, to the client the
// bucket's.
func (e *Endpoint) list(r *request) error {
	for _, p := range []string{"prefix", "marker", "start-after", "key-marker"} {
		if err := checkPrefix(r.query[p]); err != nil {
			return err
		}
	}
	a, err := e.ask(r.ctx(), r.forwarded())
	if err != nil {
		return err
	}
	a.body = e.ownedBy(a.body, r.b)
	if r.key == "" {
		r.w.Header().Set("X-Amz-Bucket-Region", r.b.Region)
	}
	return r.answer(a)
}

// ownedBy names a bucket's owner as that of everything in an answer. No text of
// an answer has a bracket.
func (e *Endpoint) ownedBy(text []byte, b *bucket) []byte {
	return bytes.ReplaceAll(text, []byte("<ID>"+e.o.Owner+"</ID>"), []byte("<ID>"+identity.CanonicalUser(b.Account)+"</ID>"))
}

// upload is the body of a client's request on its way to the backend. It remembers
// what was wrong with it: then the backend has less than it was promised.
type upload struct {
	io.Reader

	mu  sync.Mutex
	err error // of the client's body; nil at its end
}

func (u *upload) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		u.mu.Lock()
		u.err = err
		u.mu.Unlock()
	}
	return n, err
}

func (u *upload) failed() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// sendBody streams the client's body to the backend. The answer is a success; a
// refusal is an *Error, and so is a body that is not the one that was signed.
func (e *Endpoint) sendBody(r *request, f forward) (*answer, error) {
	length := r.http.ContentLength
	switch {
	case length < 0:
		return nil, errNoLength
	case length > maxObject:
		return nil, errTooLarge.with(Field{"ProposedSize", itoa(length)}, Field{"MaxSizeAllowed", itoa(maxObject)})
	}
	u := &upload{Reader: r.http.Body}
	f.body, f.length = u, length
	name := trailing(r.http.Header)
	switch {
	case length == 0: // the transport reads nothing for nothing
		if _, err := io.Copy(io.Discard, u); err != nil {
			return nil, bodyError(r.http, err)
		}
		if name != "" {
			f.header.Set(name, r.http.Trailer.Get(name))
		}
	case name != "":
		f.header.Set("X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
		f.header.Set("X-Amz-Decoded-Content-Length", itoa(length))
		f.header.Set("X-Amz-Trailer", strings.ToLower(name))
		c := newChunks(r.http.Body, length, name, r.http)
		u.Reader, f.length = c, c.length()
	}
	a, err := e.ask(r.ctx(), f)
	if failed := u.failed(); failed != nil {
		return nil, bodyError(r.http, failed)
	}
	return a, err
}

// maxObject is the most bytes of one upload.
const maxObject = 5 << 30

// bodyError is what S3 answers about a body that is not what was promised.
func bodyError(req *http.Request, err error) error {
	if refused, ok := errors.AsType[*Error](err); ok {
		return refused
	}
	switch {
	case wire.InvalidSignature.Is(err) && len(req.Header.Get("X-Amz-Content-Sha256")) == 64:
		return errContentHash
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errIncomplete
	}
	if _, ok := errors.AsType[*wire.Exception](err); ok {
		return err
	}
	return errors.Join(errIncomplete, err)
}

// trailing returns the header of the checksum that follows a body, or empty.
func trailing(h http.Header) string {
	for _, v := range h["X-Amz-Trailer"] {
		for name := range strings.SplitSeq(v, ",") {
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); strings.HasPrefix(name, checksumPrefix) {
				return name
			}
		}
	}
	return ""
}

// chunks is a body as the backend wants one whose checksum comes at the end:
//
//	10000\r\n <64 KiB> \r\n
//	…
//	0\r\n
//	x-amz-checksum-crc32:<value>\r\n
//	\r\n
type chunks struct {
	src   io.Reader
	left  int64 // of src
	name  string
	value func() (string, bool) // after the end of src

	buf     bytes.Buffer
	ended   bool
	trailer int // its length
}

const chunkBytes = 64 << 10

// checksumChars are the lengths of checksums in base64, by the end of the header.
var checksumChars = map[string]int{"Crc32": 8, "Crc32c": 8, "Crc64nvme": 12, "Sha1": 28, "Sha256": 44, "Sha512": 88, "Md5": 24, "Xxhash64": 12, "Xxhash3": 12, "Xxhash128": 24}

func newChunks(src io.Reader, length int64, name string, req *http.Request) *chunks {
	chars := checksumChars[strings.TrimPrefix(name, checksumPrefix)]
	return &chunks{
		src: src, left: length, name: strings.ToLower(name), trailer: len(name) + 1 + chars + 2,
		value: func() (string, bool) {
			text := req.Trailer.Get(name)
			return text, len(text) == chars
		},
	}
}

// length is how many bytes there will be.
func (c *chunks) length() int64 {
	full, rest := c.left/chunkBytes, c.left%chunkBytes
	n := full * (int64(len(strconv.FormatInt(chunkBytes, 16))) + 2 + chunkBytes + 2)
	if rest > 0 {
		n += int64(len(strconv.FormatInt(rest, 16))) + 2 + rest + 2
	}
	return n + 3 + int64(c.trailer) + 2
}

func (c *chunks) Read(p []byte) (int, error) {
	if c.buf.Len() == 0 {
		if c.ended {
			return 0, io.EOF
		}
		c.buf.Reset()
		if c.left > 0 {
			n := min(c.left, chunkBytes)
			c.buf.WriteString(strconv.FormatInt(n, 16) + "\r\n")
			if _, err := io.CopyN(&c.buf, c.src, n); err != nil {
				return 0, cmp.Or(notEOF(err), io.ErrUnexpectedEOF)
			}
			c.buf.WriteString("\r\n")
			c.left -= n
		}
		if c.left == 0 {
			// The last bytes go out only when everything behind them was read and is right.
			if n, err := io.Copy(io.Discard, c.src); err != nil || n > 0 {
				return 0, cmp.Or(err, io.ErrUnexpectedEOF)
			}
			value, ok := c.value()
			if !ok {
				return 0, errInvalid.messagef("Value for %s trailing header is invalid.", c.name)
			}
			c.buf.WriteString("0\r\n" + c.name + ":" + value + "\r\n\r\n")
			c.ended = true
		}
	}
	return c.buf.Read(p)
}

func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
