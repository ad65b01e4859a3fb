package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/logs"
	"github.com/lamina-run/lamina/wire"
)

// LogsService is the signing name of CloudWatch Logs.
const LogsService = "logs"

const (
	// targetHeader names the operation in AWS's JSON protocol 1.1.
	targetHeader = "X-Amz-Target"
	logsTarget   = "Logs_20140328."

	jsonType = "application/x-amz-json-1.1"
	// logsBody is more than a full batch of PutLogEvents, each byte escaped.
	logsBody = 8 << 20
)

// NewLogs serves CloudWatch Logs of a store. Its requests are authenticated and
// carry their caller.
func NewLogs(store *logs.Store, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		answer, err := answerLogs(store, req)
		if err == nil {
			w.Header().Set("Content-Type", jsonType)
			w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
			_, _ = w.Write(answer) // the client is gone
			return
		}
		ctx := req.Context()
		record := wire.RecordOf(ctx)
		if ex, ok := errors.AsType[*logs.Exception](err); ok {
			record.Code = ex.Code
			writeTargetError(w, ex.Status, ex.Code, ex.Message)
			return
		}
		if ex, ok := errors.AsType[*wire.Exception](err); ok {
			record.Code = ex.Code()
			writeTargetError(w, targetStatus(ex), ex.Code(), ex.Message())
			return
		}
		if ctx.Err() == nil {
			log.LogAttrs(ctx, slog.LevelError, "operation failed", slog.String("service", LogsService),
				slog.String("operation", req.Header.Get(targetHeader)), slog.String("request_id", wire.RequestID(ctx)), slog.Any("err", err))
		}
		record.Code = "ServiceUnavailableException"
		writeTargetError(w, http.StatusInternalServerError, record.Code,
			fmt.Sprintf("Internal error; see the server's log for request %s.", wire.RequestID(ctx)))
	})
}

func answerLogs(store *logs.Store, req *http.Request) ([]byte, error) {
	ctx := req.Context()
	body, err := io.ReadAll(io.LimitReader(req.Body, logsBody+1))
	if len(body) > logsBody {
		return nil, wire.RequestEntityTooLarge.Errorf("Request must be smaller than %d bytes", logsBody)
	}
	if ex, ok := errors.AsType[*wire.Exception](err); ok {
		return nil, ex // the payload is not the one that was signed
	}
	if err != nil {
		return nil, wire.Serialization.New("The request body ended before its end")
	}
	// Only now is the body read to its end, and the caller proven.
	caller, ok := identity.CallerOf(ctx)
	if !ok {
		return nil, wire.MissingAuthenticationToken.New("Missing Authentication Token")
	}
	operation, ok := strings.CutPrefix(req.Header.Get(targetHeader), logsTarget)
	if !ok || req.Method != http.MethodPost {
		return nil, wire.UnknownOperation.Errorf("CloudWatch Logs wants POST requests with the header %s: %s<operation>.", targetHeader, logsTarget)
	}
	record := wire.RecordOf(ctx)
	if record.Operation, record.Mutates = operation, logsMutates(operation); record.Mutates {
		var about struct{ LogGroupName, LogStreamName, ResourceArn string }
		_ = json.Unmarshal(body, &about) // what is wrong with it, the operation tells
		record.Tell("logGroupName", about.LogGroupName)
		record.Tell("logStreamName", about.LogStreamName)
		record.Tell("resourceArn", about.ResourceArn)
	}
	return store.Answer(ctx, lamina.Scope{Account: caller.Account, Region: caller.Region}, operation, body)
}

// logsMutates reports whether an operation changes more than the lines of a stream.
func logsMutates(operation string) bool {
	return operation != "PutLogEvents" && slices.ContainsFunc([]string{"Create", "Put", "Delete", "Tag", "Untag", "Associate", "Disassociate"},
		func(verb string) bool { return strings.HasPrefix(operation, verb) })
}

// speaksTarget reports whether a request is of AWS's JSON protocol.
func speaksTarget(req *http.Request) bool { return req.Header.Get(targetHeader) != "" }

// targetStatus is the status of an exception in AWS's JSON protocol, where what
// the client did wrong is 400 whatever it was.
func targetStatus(ex *wire.Exception) int {
	if ex.Status() >= http.StatusInternalServerError {
		return ex.Status()
	}
	return http.StatusBadRequest
}

// writeTargetError answers an error as AWS's JSON protocol 1.1 has it.
func writeTargetError(w http.ResponseWriter, status int, code, message string) {
	text, err := json.Marshal(struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}{code, message})
	if err != nil {
		panic("server: error " + code + ": " + err.Error()) // strings always marshal
	}
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client is gone
}
