// Package jsontarget speaks AWS's JSON protocol 1.1: every operation is a POST to /,
// a header names it, and what is wrong is told in the body. It answers how such a
// request travels; what an operation does is its [Service]'s business.
package jsontarget

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina/wire"
)

// Header names the operation, after the service's prefix.
const Header = "X-Amz-Target"

// ContentType is that of requests and answers.
const ContentType = "application/x-amz-json-1.1"

// Service answers the requests of one service. Its fields do not change.
type Service struct {
	Name    string // of signatures: logs
	Title   string // for people: CloudWatch Logs
	Prefix  string // of the header: Logs_20140328.
	MaxBody int64  // bytes of a request
	Failure string // the code of a failure that is nobody's fault but the server's
	Log     *slog.Logger
	// Answer answers an operation; the body of its request is read and proven. An
	// empty answer is one. The error is an [*Error], a [*wire.Exception], or says
	// that something is broken.
	Answer func(ctx context.Context, operation string, body []byte) ([]byte, error)
}

// Error is an error that the client sees as it is.
type Error struct {
	Code    string
	Status  int // HTTP
	Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf makes an error of status 400, as nearly all are.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

// ServeHTTP answers one request. The exception's code goes into its [wire.Record].
func (s *Service) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	operation, answer, err := s.answer(req)
	if err == nil {
		w.Header().Set("Content-Type", ContentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = w.Write(answer) // the client is gone
		return
	}
	ctx := req.Context()
	record := wire.RecordOf(ctx)
	if e, ok := errors.AsType[*Error](err); ok {
		record.Code = e.Code
		WriteError(w, e.Status, e.Code, e.Message)
		return
	}
	if ex, ok := errors.AsType[*wire.Exception](err); ok {
		record.Code = ex.Code()
		WriteException(w, ex)
		return
	}
	if ctx.Err() == nil {
		s.Log.LogAttrs(ctx, slog.LevelError, "operation failed", slog.String("service", s.Name),
			slog.String("operation", operation), slog.String("request_id", wire.RequestID(ctx)), slog.Any("err", err))
	}
	record.Code = s.Failure
	WriteError(w, http.StatusInternalServerError, record.Code,
		fmt.Sprintf("Internal error; see the server's log for request %s.", wire.RequestID(ctx)))
}

func (s *Service) answer(req *http.Request) (operation string, answer []byte, err error) {
	body, err := io.ReadAll(io.LimitReader(req.Body, s.MaxBody+1))
	if int64(len(body)) > s.MaxBody {
		return "", nil, wire.RequestEntityTooLarge.Errorf("Request must be smaller than %d bytes", s.MaxBody)
	}
	if ex, ok := errors.AsType[*wire.Exception](err); ok {
		return "", nil, ex // the payload is not the one that was signed
	}
	if err != nil {
		return "", nil, wire.Serialization.New("The request body ended before its end")
	}
	// Only now is the body read to its end, and the caller proven.
	operation, ok := strings.CutPrefix(req.Header.Get(Header), s.Prefix)
	if !ok || req.Method != http.MethodPost {
		return "", nil, wire.UnknownOperation.Errorf("%s wants POST requests with the header %s: %s<operation>.", s.Title, Header, s.Prefix)
	}
	answer, err = s.Answer(req.Context(), operation, body)
	return operation, answer, err
}

// Speaks reports whether a request is of this protocol.
func Speaks(req *http.Request) bool { return req.Header.Get(Header) != "" }

// WriteException answers an exception. What the client did wrong is 400 here,
// whatever it was.
func WriteException(w http.ResponseWriter, ex *wire.Exception) {
	status := http.StatusBadRequest
	if ex.Status() >= http.StatusInternalServerError {
		status = ex.Status()
	}
	WriteError(w, status, ex.Code(), ex.Message())
}

// WriteError answers an error.
func WriteError(w http.ResponseWriter, status int, code, message string) {
	text, err := json.Marshal(struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}{code, message})
	if err != nil {
		panic("jsontarget: error " + code + ": " + err.Error()) // strings always marshal
	}
	w.Header().Set("Content-Type", ContentType)
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client is gone
}
