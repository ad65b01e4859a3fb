package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/logs"
	"github.com/lamina-run/lamina/wire"
	"github.com/lamina-run/lamina/wire/jsontarget"
)

// LogsService is the signing name of CloudWatch Logs.
const LogsService = "logs"

const (
	logsTarget = "Logs_20140328."
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
	return &jsontarget.Service{
		Name: LogsService, Title: "CloudWatch Logs", Prefix: logsTarget, MaxBody: logsBody, Failure: "ServiceUnavailableException", Log: log,
		Answer: func(ctx context.Context, operation string, body []byte) ([]byte, error) {
			answer, err := answerLogs(ctx, store, authority, operation, body)
			if ex, ok := errors.AsType[*logs.Exception](err); ok {
				return nil, &jsontarget.Error{Code: ex.Code, Status: ex.Status, Message: ex.Message}
			}
			return answer, err
		},
	}
}

func answerLogs(ctx context.Context, store *logs.Store, authority Authority, operation string, body []byte) ([]byte, error) {
	caller, ok := identity.CallerOf(ctx)
	if !ok {
		return nil, wire.MissingAuthenticationToken.New("Missing Authentication Token")
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
