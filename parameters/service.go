package parameters

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
	"github.com/lamina-run/lamina/wire/jsontarget"
)

// Service is the signing name of Systems Manager.
const Service = "ssm"

const (
	prefix  = "AmazonSSM."
	maxBody = 1 << 20
)

// Authority decides what callers may do.
type Authority interface {
	// Permit answers AWS's AccessDeniedException when the caller lacks a permission.
	Permit(ctx context.Context, c identity.Caller, n identity.Need) error
}

// Options are what the operations need.
type Options struct {
	Store     *store.Store
	Authority Authority
	Log       *slog.Logger
	Now       func() time.Time
}

// service has the operations.
type service struct{ Options }

// New serves the Parameter Store. Its requests are authenticated and carry their
// caller.
func New(o Options) http.Handler {
	s := &service{o}
	return &jsontarget.Service{
		Name: Service, Title: "Systems Manager", Prefix: prefix, MaxBody: maxBody, Failure: "InternalServerError", Log: o.Log, Answer: s.answer,
	}
}

// call is one request.
type call struct {
	caller    identity.Caller
	operation string
	mutates   bool
	body      []byte
}

func (c *call) scope() lamina.Scope {
	return lamina.Scope{Account: c.caller.Account, Region: c.caller.Region}
}

type operation struct {
	do      func(s *service, ctx context.Context, c *call) (any, error)
	mutates bool
}

var operations = map[string]operation{
	"PutParameter":            {(*service).put, true},
	"GetParameter":            {(*service).get, false},
	"GetParameters":           {(*service).getSome, false},
	"GetParametersByPath":     {(*service).getByPath, false},
	"GetParameterHistory":     {(*service).history, false},
	"DescribeParameters":      {(*service).describe, false},
	"DeleteParameter":         {(*service).delete, true},
	"DeleteParameters":        {(*service).deleteSome, true},
	"LabelParameterVersion":   {(*service).label, true},
	"UnlabelParameterVersion": {(*service).unlabel, true},
	"AddTagsToResource":       {(*service).addTags, true},
	"RemoveTagsFromResource":  {(*service).removeTags, true},
	"ListTagsForResource":     {(*service).listTags, false},
}

func (s *service) answer(ctx context.Context, name string, body []byte) ([]byte, error) {
	caller, ok := identity.CallerOf(ctx)
	if !ok {
		return nil, wire.MissingAuthenticationToken.New("Missing Authentication Token")
	}
	o, ok := operations[name]
	if !ok {
		return nil, &jsontarget.Error{
			Code: "UnknownOperationException", Status: http.StatusBadRequest,
			Message: fmt.Sprintf("Lamina does not offer the operation %.100q of Systems Manager.", name),
		}
	}
	record := wire.RecordOf(ctx)
	record.Operation, record.Mutates = name, o.mutates
	out, err := o.do(s, ctx, &call{caller, name, o.mutates, body})
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}

// read decodes the request.
func (c *call) read(in any) error {
	err := json.Unmarshal(c.body, in)
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return wire.Serialization.Errorf("%s can not be converted to %s", strings.ToUpper(e.Value), e.Type)
	}
	if err != nil {
		return wire.Serialization.New("The request is not JSON")
	}
	return nil
}

func invalid(format string, args ...any) error {
	return jsontarget.Errorf("ValidationException", format, args...)
}

// violation is the exception about one member.
func violation(value, member, constraint string) error {
	return invalid("1 validation error detected: Value %s at '%s' failed to satisfy constraint: %s", value, member, constraint)
}

func quoted(s string) string { return "'" + s + "'" }

func required(member string) error { return violation("null", member, "Member must not be null") }

func notFound() error { return jsontarget.Errorf("ParameterNotFound", "") }

// permit asks for the permission of the request's operation on a parameter.
func (s *service) permit(ctx context.Context, c *call, arn string, tags map[string]string, keys []string) error {
	if c.caller.IsRoot() {
		return nil // everything stays in the caller's account
	}
	n := identity.Need{Action: "ssm:" + c.operation, Resource: arn, Account: c.caller.Account, Tagged: arn}
	for key, value := range tags {
		n.Set("aws:RequestTag/"+key, value)
		keys = append(keys, key)
	}
	slices.Sort(keys)
	if len(keys) > 0 {
		n.Set("aws:TagKeys", keys...)
	}
	return s.Authority.Permit(ctx, c.caller, n)
}

// about permits the operation on a parameter and tells the audit log of it.
func (s *service) about(ctx context.Context, c *call, id store.ParameterID) error {
	if c.mutates {
		wire.RecordOf(ctx).Tell("Name", id.Name)
	}
	return s.permit(ctx, c, id.ARN(), nil, nil)
}

const maxName = 1011 // of the whole ARN

var (
	plainName   = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	pathName    = regexp.MustCompile(`^(/[A-Za-z0-9_.-]+)+$`)
	namedARN    = regexp.MustCompile(`^arn:[\w-]+:ssm:([a-z0-9-]+):(\d{12}):parameter/(.+)$`)
	labelForm   = regexp.MustCompile(`^[A-Za-z_.-][A-Za-z0-9_.-]*$`)
	imageID     = regexp.MustCompile(`^ami-[0-9a-f]{8}([0-9a-f]{9})?$`)
	invalidPath = `The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash "/". ` +
		`It can't be prefixed with "aws" or "ssm" (case-insensitive). It must use only letters, numbers, or the following symbols: ` +
		`. (period), - (hyphen), _ (underscore). Special characters are not allowed. All sub-paths, if specified, must use the forward ` +
		`slash symbol "/". Valid example: /get/parameters2-/by1./path0_.`
)

// id is the parameter that a name or an ARN means, which may have a selector.
func (c *call) id(reference string) (id store.ParameterID, selector string, err error) {
	if reference == "" {
		return id, "", violation("''", "name", "Member must have length greater than or equal to 1")
	}
	if len(reference) > 2048 {
		return id, "", violation(quoted(reference[:100]+"…"), "name", "Member must have length less than or equal to 2048")
	}
	name := reference
	if strings.HasPrefix(name, "arn:") {
		m := namedARN.FindStringSubmatch(name)
		if m == nil {
			return id, "", jsontarget.Errorf("InvalidResourceId", "The resource ID %q is not valid. Verify that you entered the correct ID and try again.", reference)
		}
		if m[1] != c.caller.Region || m[2] != c.caller.Account {
			return id, "", notFound() // parameters are shared with nobody
		}
		if name = m[3]; strings.Contains(name, "/") {
			name = "/" + name
		}
	}
	name, selector, _ = strings.Cut(name, ":")
	id = store.ParameterID{Scope: c.scope(), Name: name}
	if !plainName.MatchString(name) && !pathName.MatchString(name) {
		return id, "", invalid("%s", invalidName(name))
	}
	// /name and name have one ARN; a name without further slashes has both spellings.
	return id, selector, nil
}

func invalidName(name string) string {
	if strings.Contains(strings.TrimPrefix(name, "/"), "/") && !strings.HasPrefix(name, "/") {
		return "Parameter name must be a fully qualified name."
	}
	return `Parameter name: can't be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; ` +
		`each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_`
}

// newName tells what is wrong with the name of a parameter that is to be made.
func newName(id store.ParameterID) error {
	folded := strings.ToLower(strings.TrimPrefix(id.Name, "/"))
	switch {
	case len(id.ARN()) > maxName:
		return invalid("Parameter name must not exceed %d characters, its ARN included.", maxName)
	case strings.Count(id.Name, "/") > 15:
		return jsontarget.Errorf("HierarchyLevelLimitExceededException", "A hierarchy can have a maximum of 15 levels.")
	case strings.HasPrefix(folded, "aws") && strings.Count(id.Name, "/") > 1 && strings.HasPrefix(id.Name, "/"):
		return jsontarget.Errorf("AccessDeniedException", "No access to reserved parameter name: %s.", id.Name)
	case (strings.HasPrefix(folded, "aws") || strings.HasPrefix(folded, "ssm")) && strings.Count(id.Name, "/") < 2:
		return invalid(`Parameter name: can't be prefixed with "aws" or "ssm" (case-insensitive).`)
	case strings.HasPrefix(folded, "ssm"):
		return invalid("%s", invalidName(id.Name))
	}
	return nil
}

// epoch is a time as the protocol writes it.
type epoch time.Time

// MarshalJSON writes seconds with three decimals.
func (e epoch) MarshalJSON() ([]byte, error) {
	ms := time.Time(e).UnixMilli()
	return fmt.Appendf(nil, "%d.%03d", ms/1000, ms%1000), nil
}
