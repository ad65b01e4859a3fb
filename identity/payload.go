package identity

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"

	"github.com/lamina-run/lamina/wire"
)

// Settle reads what is left of a verified request's body and returns what the
// body had to say against the signature. After nil the caller is proven. It is
// for handlers that act without reading the body to its end.
func Settle(req *http.Request) error {
	if req.Body == nil {
		return nil
	}
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	return nil
}

// Proven reports whether it is certain who signed a verified request. It is not
// while a body whose hash the client did not declare has not been read.
func Proven(req *http.Request) bool {
	h, ok := req.Body.(*hashed)
	return !ok || !h.proves || errors.Is(h.err, io.EOF)
}

// small is a body that was read and proven before anybody else saw it.
type small struct {
	text []byte
	bytes.Reader
	io.Closer
}

// readSmall reads the body of a request that is not bigger than smallBody.
func readSmall(req *http.Request) (*small, error) {
	b := &small{Closer: req.Body}
	var err error
	if req.ContentLength > 0 {
		b.text = make([]byte, req.ContentLength)
		_, err = io.ReadFull(req.Body, b.text)
	} else {
		b.text, err = io.ReadAll(io.LimitReader(req.Body, smallBody+1))
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, wire.InvalidSignature.New(mismatch) // the client hung up
	case err != nil:
		return nil, fmt.Errorf("read body: %w", err)
	case len(b.text) > smallBody:
		return nil, wire.RequestEntityTooLarge.Errorf("Request must be smaller than %d bytes", smallBody)
	}
	b.Reset(b.text)
	return b, nil
}

// hashed is a body that is hashed while it is read. The verdict falls before the
// last bytes are handed out: by the request's length, or else by looking one
// byte ahead.
type hashed struct {
	body    io.Closer
	src     io.Reader
	ahead   *bufio.Reader // src, when the length is not known
	left    int64         // when it is
	sum     hash.Hash
	verdict func([sha256.Size]byte) error
	proves  bool  // the verdict is on who sent it, too
	err     error // of every further Read
}

func newHashed(req *http.Request, verdict func([sha256.Size]byte) error) *hashed {
	h := &hashed{body: req.Body, src: req.Body, left: req.ContentLength, sum: sha256.New(), verdict: verdict}
	if req.ContentLength < 0 {
		h.ahead = bufio.NewReaderSize(req.Body, 32<<10)
		h.src = h.ahead
	}
	return h
}

func (h *hashed) Close() error { return h.body.Close() }

func (h *hashed) Read(p []byte) (int, error) {
	if h.err != nil || len(p) == 0 {
		return 0, h.err
	}
	if h.ahead == nil && int64(len(p)) > h.left {
		p = p[:h.left]
	}
	n, err := h.src.Read(p)
	h.sum.Write(p[:n]) //nolint:errcheck // a hash never fails
	end := errors.Is(err, io.EOF)
	switch {
	case h.ahead == nil:
		if h.left -= int64(n); h.left == 0 {
			end, err = true, nil
		} else if end {
			end, err = false, io.ErrUnexpectedEOF
		}
	case err == nil:
		_, err = h.ahead.Peek(1)
		end = errors.Is(err, io.EOF)
	}
	switch {
	case end:
		h.err = io.EOF
		var sum [sha256.Size]byte
		h.sum.Sum(sum[:0])
		if err := h.verdict(sum); err != nil {
			h.err = err
			return 0, err
		}
		return n, nil
	case err != nil:
		h.err = err
	}
	return n, err
}
