package identity

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/lamina-run/lamina/wire"
	"github.com/lamina-run/lamina/wire/query"
)

const (
	maxQueryBody = query.MaxBody

	stsVersion = "2011-06-15"
	iamVersion = "2010-05-08"
)

// queryError is an error of a query service as its client sees it.
type queryError = query.Error

// refuse makes a queryError.
func refuse(status int, code, format string, args ...any) error {
	return query.Errorf(status, code, format, args...)
}

// action answers one operation. Its result becomes the members of <Action>Result;
// nil is an operation without one.
type action func(ctx context.Context, c Caller, in form) (result any, err error)

// queryService is a service of the AWS query protocol: IAM or STS.
type queryService struct {
	name    string
	version string
	actions map[string]action
	// permit refuses who may not; nil refuses nobody.
	permit func(ctx context.Context, c Caller, action string, in form) error
	later  map[string]bool // operations that are known, but not offered
	log    *slog.Logger

	once  sync.Once
	query query.Service // made of the above
}

// ServeHTTP answers one request, whose caller is in its context.
func (s *queryService) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s.once.Do(s.build)
	s.query.ServeHTTP(w, req)
}

func (s *queryService) build() {
	s.query = query.Service{
		Name: s.name, Version: s.version, Failure: "ServiceFailure", Later: s.later, Telling: telling, Mutates: mutates, Prove: prove, Log: s.log,
		Actions: make(map[string]query.Action, len(s.actions)),
	}
	for name, do := range s.actions {
		s.query.Actions[name] = func(ctx context.Context, in query.Form) (any, error) {
			caller, _ := CallerOf(ctx) // prove has seen it
			return do(ctx, caller, form{in})
		}
	}
	if s.permit != nil {
		s.query.Permit = func(ctx context.Context, action string, in query.Form) error {
			caller, _ := CallerOf(ctx)
			return s.permit(ctx, caller, action, form{in})
		}
	}
}

// prove refuses a request whose caller is not known, or no longer once its body
// is read.
func prove(ctx context.Context) error {
	if _, ok := CallerOf(ctx); !ok {
		return wire.MissingAuthenticationToken.New("Missing Authentication Token")
	}
	return nil
}

// telling are the parameters that name what a request is about.
var telling = []string{
	"RoleName", "UserName", "GroupName", "PolicyArn", "PolicyName", "AccessKeyId", "RoleArn", "RoleSessionName", "InstanceProfileName", "VersionId",
}

// mutates reports whether an operation may change something, or hands out keys.
func mutates(action string) bool {
	return !strings.HasPrefix(action, "Get") && !strings.HasPrefix(action, "List") && !strings.HasPrefix(action, "Simulate") || action == "GetSessionToken" || action == "GetFederationToken"
}

// form is the parameters of a query request.
type form struct{ query.Form }

func (f form) get(name string) string { return f.Get(name) }

// given returns a parameter, or nil when there is none.
func (f form) given(name string) *string { return f.Given(name) }

// list returns name.member.1, name.member.2 and so on.
func (f form) list(name string) []string { return f.List(name) }

// xmlTime is a time as query services write it.
type xmlTime = query.Time
