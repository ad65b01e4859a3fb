package stack

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/stack/resources"
	"github.com/lamina-run/lamina/stack/template"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
	"github.com/lamina-run/lamina/wire/query"
)

const (
	// Service is the signing name of CloudFormation.
	Service = "cloudformation"

	apiVersion = "2010-05-15"
	apiBody    = 4 << 20 // of a form, which has 200 parameters of 4 KB and a template
)

// APIOptions are what CloudFormation's API is made of. All are needed.
type APIOptions struct {
	Engine *Engine

	// Authority says who may do what.
	Authority *identity.Authority

	// Services has templates that are in S3.
	Services resources.Services

	Log *slog.Logger
}

// api answers the requests of CloudFormation.
type api struct {
	APIOptions
	store *store.Store
	types Types
}

// NewAPI serves the query protocol of CloudFormation. Its requests are
// authenticated and carry their caller.
func NewAPI(o APIOptions) http.Handler {
	a := &api{APIOptions: o, store: o.Engine.o.Store, types: o.Engine.o.Types}
	s := &query.Service{
		Name: Service, Version: apiVersion, MaxBody: apiBody, Failure: "InternalFailure", Actions: map[string]query.Action{}, Later: map[string]bool{},
		Why: declined, Telling: []string{"StackName", "ChangeSetName", "RoleARN", "LogicalResourceId"},
		Mutates: mutates, Prove: proven, Permit: a.permit, Log: o.Log,
	}
	for name := range declined {
		s.Later[name] = true
	}
	for name, op := range a.operations() {
		s.Actions[name] = func(ctx context.Context, in query.Form) (any, error) {
			c, _ := identity.CallerOf(ctx) // proven
			_, nested := parentOf(ctx)
			result, err := op(ctx, request{Form: in, Caller: c, nested: nested})
			return result, told(err)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), hostKey{}, req.Host)))
	})
}

// hostKey is of the address that a client knows the server by.
type hostKey struct{}

// operation answers one operation. Its result becomes the members of its Result.
type operation func(ctx context.Context, in request) (any, error)

func (a *api) operations() map[string]operation {
	return map[string]operation{
		"ValidateTemplate": a.ValidateTemplate, "GetTemplate": a.GetTemplate, "GetTemplateSummary": a.GetTemplateSummary,
		"CreateStack": a.CreateStack, "UpdateStack": a.UpdateStack, "DeleteStack": a.DeleteStack, "CancelUpdateStack": a.CancelUpdateStack,
		"ContinueUpdateRollback": a.ContinueUpdateRollback, "RollbackStack": a.RollbackStack, "UpdateTerminationProtection": a.UpdateTerminationProtection,
		"CreateChangeSet": a.CreateChangeSet, "DescribeChangeSet": a.DescribeChangeSet, "ExecuteChangeSet": a.ExecuteChangeSet,
		"DeleteChangeSet": a.DeleteChangeSet, "ListChangeSets": a.ListChangeSets,
		"DescribeStacks": a.DescribeStacks, "ListStacks": a.ListStacks, "DescribeStackEvents": a.DescribeStackEvents,
		"DescribeStackResource": a.DescribeStackResource, "DescribeStackResources": a.DescribeStackResources, "ListStackResources": a.ListStackResources,
		"ListExports": a.ListExports, "ListImports": a.ListImports, "GetStackPolicy": a.GetStackPolicy, "DescribeAccountLimits": a.DescribeAccountLimits,
	}
}

// declined are the operations that are not offered, and why.
var declined = because(map[string]string{
	"it has no stack sets": `ActivateOrganizationsAccess CreateStackInstances CreateStackSet DeactivateOrganizationsAccess DeleteStackInstances DeleteStackSet
		DescribeOrganizationsAccess DescribeStackInstance DescribeStackSet DescribeStackSetOperation DetectStackSetDrift ImportStacksToStackSet
		ListStackInstanceResourceDrifts ListStackInstances ListStackSetAutoDeploymentTargets ListStackSetOperationResults ListStackSetOperations
		ListStackSets StopStackSetOperation UpdateStackInstances UpdateStackSet`,
	"it does not look for drift": `DescribeStackDriftDetectionStatus DescribeStackResourceDrifts DetectStackDrift DetectStackResourceDrift`,
	"its types of resources are built in": `ActivateType BatchDescribeTypeConfigurations DeactivateType DeregisterType DescribePublisher DescribeType
		DescribeTypeRegistration ListTypeRegistrations ListTypeVersions ListTypes PublishType RecordHandlerProgress RegisterPublisher RegisterType
		SetTypeConfiguration SetTypeDefaultVersion TestType`,
	"it makes no templates of what is there": `CreateGeneratedTemplate DeleteGeneratedTemplate DescribeGeneratedTemplate DescribeResourceScan
		GetGeneratedTemplate ListGeneratedTemplates ListResourceScanRelatedResources ListResourceScanResources ListResourceScans StartResourceScan
		UpdateGeneratedTemplate`,
	"it does not move resources between stacks": `CreateStackRefactor DescribeStackRefactor ExecuteStackRefactor ListStackRefactorActions ListStackRefactors`,
	"it has no hooks":                                        `DescribeChangeSetHooks GetHookResult ListHookResults`,
	"it has no stack policies":                               `SetStackPolicy`,
	"nothing it runs has a price":                            `EstimateTemplateCost`,
	"no resource waits for signals":                          `SignalResource`,
	"the events of a stack are those of DescribeStackEvents": `DescribeEvents`,
})

func because(reasons map[string]string) map[string]string {
	out := map[string]string{}
	for why, names := range reasons {
		for name := range strings.FieldsSeq(names) {
			out[name] = why + "."
		}
	}
	return out
}

func mutates(action string) bool {
	for _, prefix := range []string{"Describe", "List", "Get", "Validate", "Estimate"} {
		if strings.HasPrefix(action, prefix) {
			return false
		}
	}
	return true
}

// proven refuses a request whose caller is not known, or no longer once its body
// is read.
func proven(ctx context.Context) error {
	if _, ok := identity.CallerOf(ctx); !ok {
		return wire.MissingAuthenticationToken.New("Missing Authentication Token")
	}
	return nil
}

// kinds are the exceptions whose codes are told as they are. Query services
// shorten those of others.
var kinds = []*wire.Kind{Validation, AlreadyExists, LimitExceeded, InsufficientCapabilities, TokenAlreadyExists, ChangeSetNotFound, InvalidChangeSetStatus}

// told is an error as CloudFormation's client is told it.
func told(err error) error {
	if e, ok := errors.AsType[*template.Error](err); ok {
		return query.Errorf(http.StatusBadRequest, Validation.Code, "%s", e.Error())
	}
	if ex, ok := errors.AsType[*wire.Exception](err); ok && slices.Contains(kinds, ex.Kind()) {
		return query.Errorf(ex.Status(), ex.Code(), "%s", ex.Message())
	}
	return err
}

// request is one request and who sent it.
type request struct {
	query.Form
	Caller identity.Caller
	nested bool // by a step of a stack
}

func (in request) scope() lamina.Scope {
	return lamina.Scope{Account: in.Caller.Account, Region: in.Caller.Region}
}

var (
	newStackName  = regexp.MustCompile(`^[a-zA-Z][-a-zA-Z0-9]*$`)
	nameOrARN     = regexp.MustCompile(`^(?:[a-zA-Z][-a-zA-Z0-9]*|arn:[-a-zA-Z0-9:/._+]*)$`)
	changeSetName = regexp.MustCompile(`^(?:[a-zA-Z][-a-zA-Z0-9]*|arn:[-a-zA-Z0-9:/]*)$`)
	tokenText     = regexp.MustCompile(`^[a-zA-Z0-9][-a-zA-Z0-9]*$`)
	roleARN       = regexp.MustCompile(`^arn:[-a-z]+:iam::([0-9]{12}):role/[\x21-\x7e]+$`)
)

// sized returns a parameter that has to match, within its length.
func (in request) sized(name string, required bool, most int, of *regexp.Regexp) (string, error) {
	member := strings.ToLower(name[:1]) + name[1:]
	v := in.Given(name)
	switch {
	case v == nil && required:
		return "", Validation.Errorf("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", member)
	case v == nil:
		return "", nil
	case *v == "" && (required || name != "StackName"):
		return "", Validation.Errorf("1 validation error detected: Value '' at '%s' failed to satisfy constraint: Member must have length greater than or equal to 1", member)
	case len(*v) > most:
		return "", Validation.Errorf("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", query.Printable(*v), member, most)
	case *v != "" && of != nil && !of.MatchString(*v):
		pattern := strings.TrimSuffix(strings.TrimPrefix(of.String(), "^"), "$")
		return "", Validation.Errorf("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must satisfy regular expression pattern: %s", query.Printable(*v), member, pattern)
	}
	return *v, nil
}

// longest is the longest ARN that names anything here.
const longest = 1600

func (in request) stack() (string, error) { return in.sized("StackName", true, longest, nameOrARN) }

func (in request) token() (string, error) {
	return in.sized("ClientRequestToken", false, 128, tokenText)
}

// one returns a parameter that is one of some values, empty when not given.
func (in request) one(name string, of ...string) (string, error) {
	v := in.Given(name)
	if v == nil {
		return "", nil
	}
	if !slices.Contains(of, *v) {
		return "", Validation.Errorf("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must satisfy enum value set: [%s]",
			query.Printable(*v), strings.ToLower(name[:1])+name[1:], strings.Join(of, ", "))
	}
	return *v, nil
}

// flag returns a boolean, nil when it is not given.
func (in request) flag(name string) (*bool, error) {
	v := in.Given(name)
	if v == nil {
		return nil, nil
	}
	switch strings.ToLower(*v) {
	case "true", "false":
		b := strings.EqualFold(*v, "true")
		return &b, nil
	}
	return nil, query.Errorf(http.StatusBadRequest, "MalformedInput", "Invalid value for a boolean: %s", query.Printable(*v))
}

func (in request) is(name string) (bool, error) {
	v, err := in.flag(name)
	return v != nil && *v, err
}

func (in request) number(name string, least, most int) (int, error) {
	v := in.Given(name)
	if v == nil {
		return 0, nil
	}
	n, err := strconv.Atoi(*v)
	if err != nil || n < least || n > most {
		return 0, Validation.Errorf("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must have value between %d and %d",
			query.Printable(*v), strings.ToLower(name[:1])+name[1:], least, most)
	}
	return n, nil
}

// members is a list as the protocol has it: its element is there when it is empty.
type members[T any] struct {
	All []T `xml:"member"`
}

func list[T any](all []T) members[T] { return members[T]{all} }

// some is a list whose element is left out when it is empty.
func some[T any](all []T) *members[T] {
	if len(all) == 0 {
		return nil
	}
	return &members[T]{all}
}

// moment is a time to the millisecond, by which clients order events.
type moment time.Time

// MarshalText implements encoding.TextMarshaler.
func (t moment) MarshalText() ([]byte, error) {
	return []byte(time.Time(t).UTC().Format("2006-01-02T15:04:05.000Z")), nil
}

func momentOf(t time.Time) *moment {
	if t.IsZero() {
		return nil
	}
	s := moment(t)
	return &s
}

// next makes a NextToken, of an operation and what it is about.
func next(of string, at any) string {
	text, err := json.Marshal(map[string]any{"of": of, "at": at})
	if err != nil {
		panic(fmt.Sprintf("stack: %v", err)) // strings and numbers
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// after reads a NextToken into at, and reports whether there is one.
func (in request) after(of string, at any) (bool, error) {
	given := in.Get("NextToken")
	if given == "" {
		return false, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(given)
	token := struct {
		Of string          `json:"of"`
		At json.RawMessage `json:"at"`
	}{}
	if err == nil {
		err = json.Unmarshal(text, &token)
	}
	if err == nil {
		err = json.Unmarshal(token.At, at)
	}
	if err != nil || token.Of != of {
		return false, Validation.New("Invalid NextToken")
	}
	return true, nil
}

// view reads in a transaction.
func (a *api) view(ctx context.Context, read func(tx *store.Tx) error) error {
	return a.store.View(ctx, read)
}

// find returns the stack that a request names.
func (a *api) find(ctx context.Context, tx *store.Tx, reference string) (store.Stack, error) {
	return a.Engine.Find(ctx, tx, reference)
}
