package runtimeapi

import (
	"bytes"
	"encoding/base64"
	"io"
	"strconv"
)

// chunked reads a body in HTTP's chunked coding from c, with its trailers. A
// streamed response says in two of them that it failed on the way.
type chunked struct {
	conn   *conn
	budget int // of all lines together
	left   int64
	begun  bool
	done   bool
	stream bool // chunks are as small as the function makes them

	errorType string
	errorBody []byte
}

func (r *chunked) Read(p []byte) (int, error) {
	for r.left == 0 {
		if r.done {
			return 0, io.EOF
		}
		if err := r.chunk(); err != nil {
			return 0, err
		}
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.conn.r.Read(p)
	r.left -= int64(n)
	return n, unexpected(err)
}

// chunk reads the line that starts a chunk, and after the last one the trailers.
func (r *chunked) chunk() error {
	if r.begun {
		line, err := r.line()
		if err != nil {
			return err
		}
		if len(line) != 0 {
			return errMalformed
		}
	}
	r.begun = true
	line, err := r.line()
	if err != nil {
		return err
	}
	size, _, _ := bytes.Cut(line, []byte(";"))
	n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 31)
	if err != nil {
		return errMalformed
	}
	// A body of one-byte chunks costs lines; each chunk pays part of its own.
	r.budget += int(min(n, 16))
	if r.stream {
		r.budget += 8 // the shortest lines of a chunk are paid for: the limit of the body is enough
	}
	r.left = int64(n)
	if n > 0 {
		return nil
	}
	r.done = true
	for {
		line, err := r.conn.longLine(&r.budget)
		if err != nil {
			return unexpected(err)
		}
		if len(line) == 0 {
			return nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte(errorTypeHeader)):
			r.errorType = string(value)
		case bytes.EqualFold(name, []byte("Lambda-Runtime-Function-Error-Body")):
			if body, err := base64.StdEncoding.DecodeString(string(value)); err == nil {
				r.errorBody = body
			}
		}
	}
}

func (r *chunked) line() ([]byte, error) {
	line, err := r.conn.line(&r.budget)
	return line, unexpected(err)
}
