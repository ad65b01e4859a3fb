package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
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

// Authority decides what callers may do.
type Authority interface {
	// Permit answers AWS's AccessDeniedException when the caller lacks a permission.
	Permit(ctx context.Context, c identity.Caller, n identity.Need) error
}

// NewLogs serves CloudWatch Logs of a store. Its requests are authenticated and
// carry their caller.
func NewLogs(store *logs.Store, authority Authority, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		answer, err := answerLogs(store, authority, req)
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

func answerLogs(store *logs.Store, authority Authority, req *http.Request) ([]byte, error) {
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
	var about logsNames
	if record.Operation, record.Mutates = operation, logsMutates(operation); record.Mutates || !caller.IsRoot() {
		_ = json.Unmarshal(body, &about) // what is wrong with it, the operation tells
	}
	if !caller.IsRoot() { // every operation stays in the caller's account
		for _, n := range about.needs(caller, operation) {
			if err := authority.Permit(ctx, caller, n); err != nil {
				return nil, err
			}
		}
	}
	if record.Mutates {
		record.Tell("logGroupName", about.LogGroupName)
		record.Tell("logStreamName", about.LogStreamName)
		record.Tell("resourceArn", about.ResourceArn)
	}
	return store.Answer(ctx, lamina.Scope{Account: caller.Account, Region: caller.Region}, operation, body)
}

// logsNames are the members of requests that say what they are about.
type logsNames struct {
	LogGroupName, LogGroupIdentifier, ResourceIdentifier, LogStreamName, ResourceArn string
	LogGroupIdentifiers                                                              []string
	Tags                                                                             json.RawMessage // an object, or with UntagLogGroup a list of keys
	TagKeys                                                                          []string
}

// needs says what an operation takes, as the Service Authorization Reference has
// it: the permission on each group that the request names, since no client names
// more of them than the operation is about.
func (a logsNames) needs(c identity.Caller, operation string) (all []identity.Need) {
	base := "arn:" + lamina.Partition + ":logs:" + c.Region + ":" + c.Account + ":log-group:"
	var tags map[string]string
	keys := slices.Clone(a.TagKeys)
	if json.Unmarshal(a.Tags, &tags) != nil {
		_ = json.Unmarshal(a.Tags, &keys) // neither: the operation says so
	}
	keys = slices.AppendSeq(keys, maps.Keys(tags))
	slices.Sort(keys)
	add := func(resource string) {
		n := identity.Need{Action: "logs:" + operation, Account: c.Account, Resource: resource}
		for key, value := range tags {
			n.Set("aws:RequestTag/"+key, value)
		}
		n.Set("aws:TagKeys", keys...)
		all = append(all, n)
	}
	groups := slices.Clone(a.LogGroupIdentifiers)
	for _, identifier := range []string{a.LogGroupName, a.LogGroupIdentifier, a.ResourceIdentifier} {
		if identifier != "" {
			groups = append(groups, identifier)
		}
	}
	if a.ResourceArn != "" {
		add(strings.TrimSuffix(a.ResourceArn, ":*"))
	}
	if len(groups) == 0 && a.ResourceArn == "" {
		groups = []string{""}
	}
	for _, g := range groups {
		if !strings.HasPrefix(g, "arn:") {
			g = base + g
		}
		add(strings.TrimSuffix(g, ":*") + ":log-stream:" + a.LogStreamName)
	}
	return all
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
