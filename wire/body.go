package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// body is a request's body, read to its end.
type body struct {
	document []byte // without the member that was streamed
	upload   Upload // what was streamed, or nil
}

// readBody reads the body of a request to its end, because the layer below may
// report only there that the bytes are not those that were signed. Its upload,
// if any, is the caller's to discard; with an error there is none.
func (r *Router) readBody(ctx context.Context, rt *route, req *http.Request) (body, error) {
	if req.Body == nil {
		return body{}, nil
	}
	var b body
	var err error
	if rt.upload != nil {
		b, err = r.stream(ctx, rt, req)
	} else {
		limit := int64(maxDocument)
		if rt.hasPayload() {
			limit = r.opts.MaxPayload
		}
		b.document, err = readDocument(rt, req, limit)
	}
	if _, ok := errors.AsType[*Exception](err); ok {
		// A client that is still sending would miss the answer.
		_, _ = io.CopyN(io.Discard, req.Body, r.opts.MaxBody) // best effort
	}
	return b, err
}

// BodyFor is how large a request may be that carries a zip of that size: its
// base64, and 256 KiB for the rest, which gives AWS's own bound.
func BodyFor(zip int64) int64 { return (zip+2)/3*4 + 256<<10 - 1 }

func readDocument(rt *route, req *http.Request, limit int64) ([]byte, error) {
	if req.ContentLength > limit {
		return nil, tooLarge(rt, limit)
	}
	var out bytes.Buffer
	if req.ContentLength > 0 {
		out.Grow(int(min(req.ContentLength, 1<<20)) + bytes.MinRead)
	}
	_, err := out.ReadFrom(io.LimitReader(req.Body, limit+1))
	if int64(out.Len()) > limit {
		return nil, tooLarge(rt, limit)
	}
	if err != nil {
		return nil, unreadable(rt, err)
	}
	return out.Bytes(), nil
}

// tooLarge is recorded of CreateFunction and of Invoke, whose old name it uses.
func tooLarge(rt *route, limit int64) *Exception {
	name := rt.Name
	if name == "Invoke" {
		name = "InvokeFunction"
	}
	return RequestEntityTooLarge.Errorf("Request must be smaller than %d bytes for the %s operation", limit, name)
}

// unreadable says why a body has no end: the layer below may have an exception
// of its own.
func unreadable(rt *route, err error) error {
	if ex, ok := errors.AsType[*Exception](err); ok {
		return ex
	}
	if tooBig, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(rt, tooBig.Limit)
	}
	return Serialization.New("The request body ended before its end")
}

// stream reads a body whose JSON carries a zip: the zip goes to an upload, the
// rest is collected.
func (r *Router) stream(ctx context.Context, rt *route, req *http.Request) (_ body, err error) {
	s := &scanner{path: rt.upload}
	s.sink.max = r.opts.MaxZip
	s.sink.open = func() (Upload, error) {
		if r.opts.Stage == nil {
			return nil, errors.New("no storage for uploads")
		}
		u, err := r.opts.Stage(ctx)
		if err != nil {
			return nil, fmt.Errorf("stage upload: %w", err)
		}
		return u, nil
	}
	defer func() {
		if err != nil && s.sink.upload != nil {
			s.sink.upload.Discard() //nolint:errcheck // err says more
		}
	}()
	var total int64
	buf := make([]byte, 128<<10)
	for {
		n, readErr := req.Body.Read(buf)
		total += int64(n)
		// The size of the zip is checked before that of the request.
		if err := s.feed(buf[:n]); err != nil {
			return body{}, err
		}
		switch {
		case total > r.opts.MaxBody:
			return body{}, tooLarge(rt, r.opts.MaxBody)
		case len(s.rest) > maxDocument && req.ContentLength > r.opts.MaxBody:
			return body{}, tooLarge(rt, r.opts.MaxBody)
		case len(s.rest) > maxDocument:
			return body{}, tooLarge(rt, maxDocument)
		case readErr == io.EOF: //nolint:errorlint // io.Reader promises the bare value
			return body{document: s.rest, upload: s.sink.upload}, nil
		case readErr != nil:
			return body{}, unreadable(rt, readErr)
		}
	}
}
