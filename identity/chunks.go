package identity

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina/wire"
)

// The forms of aws-chunked bodies. A signed chunk's signature is over the
// previous one, so that no chunk can be left out, moved or repeated:
//
//	<size in hex>;chunk-signature=<64 hex>\r\n <data> \r\n
//	…
//	0;chunk-signature=<64 hex>\r\n
//	x-amz-checksum-crc32:<value>\r\n             with -TRAILER
//	x-amz-trailer-signature:<64 hex>\r\n         with -TRAILER, when signed
//	\r\n
const (
	signedChunks          = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	signedChunksTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	unsignedChunksTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

	trailerSignature = "x-amz-trailer-signature"
	maxTrailers      = 16
)

// chunked proves the claim of a request whose body arrives in chunks, and makes
// the request look as if it had arrived at once.
func (c *claim) chunked(req *http.Request, s *scratch, form string) (io.ReadCloser, error) {
	if err := c.prove(s.text, form); err != nil {
		return nil, err
	}
	r := &chunkReader{trailer: form != signedChunks, got: http.Header{}}
	switch form {
	case signedChunks, signedChunksTrailer:
		r.key, r.a, r.previous = c.key, c.a, hex.EncodeToString(c.a.signature[:])
		r.sum = sha256.New()
	case unsignedChunksTrailer:
	default:
		return nil, wire.InvalidSignature.Errorf("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD or a valid sha256 value.")
	}
	length, err := strconv.ParseInt(req.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
	if err != nil || length < 0 {
		return nil, malformed("x-amz-decoded-content-length is missing")
	}
	if r.trailer {
		for _, v := range req.Header["X-Amz-Trailer"] {
			for name := range strings.SplitSeq(v, ",") {
				r.announced = append(r.announced, strings.ToLower(strings.TrimSpace(name)))
			}
		}
		if len(r.announced) > maxTrailers {
			return nil, malformed("too many trailers")
		}
	}
	r.decoded = length
	body := req.Body
	if body == nil {
		body = http.NoBody
	}
	r.body, r.src = body, bufio.NewReaderSize(body, 32<<10)
	req.ContentLength = length
	req.TransferEncoding = nil
	req.Trailer = r.got
	dropEncoding(req.Header)
	return r, nil
}

// dropEncoding takes aws-chunked out of Content-Encoding.
func dropEncoding(h http.Header) {
	var kept []string
	for _, v := range h["Content-Encoding"] {
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.TrimSpace(name); name != "" && !strings.EqualFold(name, "aws-chunked") {
				kept = append(kept, name)
			}
		}
	}
	h.Del("Content-Encoding")
	h.Del("Content-Length")
	if len(kept) > 0 {
		h.Set("Content-Encoding", strings.Join(kept, ","))
	}
}

// malformed is the error of a chunked body that is none.
func malformed(why string) error {
	return wire.Serialization.Errorf("The aws-chunked body is malformed: %s", why)
}

// chunkReader decodes an aws-chunked body. The end of each chunk is handed out
// only when the chunk is the one that was signed, and the end of the last only
// with everything that follows it. Trailers are then in the request's Trailer.
type chunkReader struct {
	body io.Closer
	src  *bufio.Reader

	key      *signingKey // nil when chunks are not signed
	a        authorization
	previous string    // signature
	want     string    // of the chunk that is being read
	sum      hash.Hash // of it

	trailer   bool
	announced []string    // by x-amz-trailer
	got       http.Header // the request's Trailer, filled at the end

	began   bool
	left    int64 // of the chunk
	decoded int64 // still to come, by x-amz-decoded-content-length
	err     error // of every further Read
}

func (r *chunkReader) Close() error { return r.body.Close() }

func (r *chunkReader) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	if !r.began {
		r.began = true
		if r.err = r.next(); r.err != nil {
			return 0, r.err
		}
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.src.Read(p)
	if err != nil && n == 0 {
		r.err = cut(err)
		return 0, r.err
	}
	if r.sum != nil {
		r.sum.Write(p[:n]) //nolint:errcheck // a hash never fails
	}
	r.left -= int64(n)
	r.decoded -= int64(n)
	if r.left > 0 {
		return n, nil
	}
	if r.err = r.finish(); r.err == nil {
		r.err = r.next()
	}
	switch r.err {
	case nil, io.EOF: //nolint:errorlint // next returns the bare value
		return n, nil
	}
	return 0, r.err
}

// finish reads the line end after a chunk's data and checks its signature.
func (r *chunkReader) finish() error {
	line, err := r.line()
	if err != nil {
		return err
	}
	if line != "" {
		return malformed("a chunk is longer than its size")
	}
	return r.checkChunk()
}

func (r *chunkReader) checkChunk() error {
	if r.key == nil {
		return nil
	}
	var sum [sha256.Size]byte
	r.sum.Sum(sum[:0])
	r.sum.Reset()
	return r.check("AWS4-HMAC-SHA256-PAYLOAD", r.want, emptyText, hex.EncodeToString(sum[:]))
}

// check compares a signature of the chain with the one it should be.
func (r *chunkReader) check(kind, got string, lines ...string) error {
	text := strings.Join(append([]string{kind, r.a.stamp, r.a.scope(), r.previous}, lines...), "\n")
	sum := r.key.sign([]byte(text))
	want := hex.EncodeToString(sum[:])
	if !hmac.Equal([]byte(want), []byte(got)) {
		return wire.InvalidSignature.New(mismatch)
	}
	r.previous = want
	return nil
}

// next reads the head of a chunk. At the last one it goes on to the end of the
// body and returns io.EOF.
func (r *chunkReader) next() error {
	line, err := r.line()
	if err != nil {
		return err
	}
	size, extension, _ := strings.Cut(line, ";")
	n, err := strconv.ParseUint(size, 16, 62)
	if err != nil {
		return malformed("a chunk has no size")
	}
	r.left = int64(n) //nolint:gosec // 62 bits
	if r.left > r.decoded {
		return malformed("it is longer than x-amz-decoded-content-length")
	}
	if r.key != nil {
		name, signature, _ := strings.Cut(extension, "=")
		if strings.TrimSpace(name) != "chunk-signature" {
			return malformed("a chunk has no signature")
		}
		r.want = strings.TrimSpace(signature)
	}
	if r.left > 0 {
		return nil
	}
	if err := r.checkChunk(); err != nil {
		return err
	}
	if r.decoded > 0 {
		return malformed("it is shorter than x-amz-decoded-content-length")
	}
	return r.trailers()
}

// trailers reads what follows the last chunk's head, to the end of the body.
func (r *chunkReader) trailers() error {
	got := http.Header{} // until the signature is right
	var signature string
	for {
		line, err := r.line()
		if err != nil {
			return err
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		switch {
		case !ok || !r.trailer:
			return malformed("it goes on after its last chunk")
		case name == trailerSignature && r.key != nil && signature == "":
			signature = value
		case !slices.Contains(r.announced, name) || got.Get(name) != "" || signature != "":
			return malformed("a trailer was not announced by x-amz-trailer")
		default:
			got.Set(name, value)
		}
	}
	if _, err := r.src.ReadByte(); !errors.Is(err, io.EOF) {
		return malformed("it goes on after its end")
	}
	for _, name := range r.announced {
		if got.Get(name) == "" {
			return malformed("a trailer that x-amz-trailer announced is missing")
		}
	}
	if r.trailer && r.key != nil {
		names := slices.Clone(r.announced)
		slices.Sort(names)
		var text strings.Builder
		for _, name := range slices.Compact(names) {
			text.WriteString(name + ":" + got.Get(name) + "\n")
		}
		sum := sha256.Sum256([]byte(text.String()))
		if err := r.check("AWS4-HMAC-SHA256-TRAILER", signature, hex.EncodeToString(sum[:])); err != nil {
			return err
		}
	}
	maps.Copy(r.got, got)
	return io.EOF
}

// line reads a line of the framing, whose length is bounded by the buffer.
func (r *chunkReader) line() (string, error) {
	line, err := r.src.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", malformed("a line is too long")
	case err != nil:
		return "", cut(err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"), nil
}

// cut is the error of a body that ends before its last chunk.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return malformed("it ends before its last chunk")
	}
	return err
}
