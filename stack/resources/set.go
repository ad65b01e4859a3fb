package resources

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options are what resources are made with.
type Options struct {
	Services Services
	// Responses takes the answers of custom resources and the signals of wait
	// conditions; nil offers neither.
	Responses *Responses
	Log       *slog.Logger
	Now       func() time.Time
}

// Set is the types of resources.
type Set struct {
	o     Options
	types map[string]*kind
}

// kind is one type.
type kind struct {
	*schema
	set *Set
	behaviour
}

// behaviour is how resources of a type come to be, change and go. Properties of
// the work have the forms that the schema says.
type behaviour struct {
	create, update func(ctx context.Context, w *work) (Made, error)
	remove         func(ctx context.Context, w *work) error
	// differ corrects what the schema says about a difference; nil agrees.
	differ func(d *Difference, old, new map[string]any)
	// check finds what the schema can't say; nil finds nothing.
	check func(c *checker, properties map[string]any)
}

var schemas = sync.OnceValue(func() map[string]*schema { return readSchemas(typesText) })

// New returns all types. It starts nothing.
func New(o Options) *Set {
	s := &Set{o: o, types: map[string]*kind{}}
	for name, sc := range schemas() {
		b, ok := behaviours[name]
		if !ok && sc.refusal == "" {
			panic("resources: nobody makes " + name)
		}
		s.types[name] = &kind{schema: sc, set: s, behaviour: b}
	}
	return s
}

// customPrefix begins the names of types that are custom resources.
const customPrefix = "Custom::"

const customResource = "AWS::CloudFormation::CustomResource"

// Type returns a type by its name. A type that is known and not offered says so
// when it checks properties.
func (s *Set) Type(name string) (Type, bool) {
	if strings.HasPrefix(name, customPrefix) {
		name = customResource
	}
	k, ok := s.types[name]
	if !ok {
		return nil, false
	}
	return k, true
}

// Names lists the types that are offered, sorted.
func (s *Set) Names() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(s.types)) {
		if s.types[name].refusal == "" {
			all = append(all, name)
		}
	}
	return all
}

func (k *kind) Check(properties map[string]any) error {
	if k.refusal != "" {
		return errors.New(k.refusal)
	}
	err := k.schema.check(properties)
	if err != nil || k.behaviour.check == nil {
		return err
	}
	var c checker
	k.behaviour.check(&c, properties)
	if len(c.found) > 0 {
		return violations(c.found)
	}
	return nil
}

func (k *kind) HasAttribute(name string) bool {
	for _, known := range k.gets {
		if prefix, open := strings.CutSuffix(known, "*"); name == known || open && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return k.name == customResource
}

func (k *kind) Compare(old, new map[string]any) []Difference {
	all := k.compare(old, new)
	if k.differ != nil {
		for i := range all {
			k.differ(&all[i], old, new)
		}
	}
	return all
}

func (k *kind) TakesTags() bool { return k.member("Tags") != nil }

func (k *kind) Create(ctx context.Context, s *Step) (Made, error) {
	w := k.work(s)
	made, err := k.create(ctx, w)
	return made, w.told(err)
}

func (k *kind) Update(ctx context.Context, s *Step) (Made, error) {
	w := k.work(s)
	made, err := k.update(ctx, w)
	if err == nil && made.PhysicalID == "" {
		return made, fmt.Errorf("update %s: it has no physical ID", s.LogicalID)
	}
	return made, w.told(err)
}

func (k *kind) Delete(ctx context.Context, s *Step) error {
	w := k.work(s)
	err := k.remove(ctx, w)
	if isGone(err) {
		return nil
	}
	return w.told(err)
}

func (k *kind) work(s *Step) *work {
	return &work{Step: s, set: k.set, kind: k, in: k.settle(s.Properties), old: k.settle(s.Old)}
}

// work is a step of one type's.
type work struct {
	*Step
	set  *Set
	kind *kind
	in   properties // Properties
	old  properties // Old
}

// told is an error as a client reads it.
func (w *work) told(err error) error {
	if f, ok := errors.AsType[*Failure](err); ok && f.Token == "" {
		named := *f
		named.Token = w.Token
		return &named
	}
	return err
}

// Failure is what a service said no with.
type Failure struct {
	Service   string // as AWS's SDK for Java names it
	Status    int    // HTTP; zero when no service was asked
	Code      string // of the exception
	Message   string
	RequestID string
	Token     string // of the step
	Handler   string // HandlerErrorCode, when not the one that Status and Code tell
}

func (f *Failure) Error() string {
	message := f.Message
	if f.Status != 0 {
		message = fmt.Sprintf("%s (Service: %s, Status Code: %d, Request ID: %s)", message, f.Service, f.Status, f.RequestID)
	}
	return fmt.Sprintf("Resource handler returned message: %q (RequestToken: %s, HandlerErrorCode: %s)", message, f.Token, f.HandlerErrorCode())
}

// HandlerErrorCode is CloudFormation's word for what went wrong.
func (f *Failure) HandlerErrorCode() string {
	switch {
	case f.Handler != "":
		return f.Handler
	case f.throttled():
		return "Throttling"
	case f.gone():
		return "NotFound"
	case f.exists():
		return "AlreadyExists"
	case f.Status == http.StatusConflict || f.Code == "DeleteConflict":
		return "ResourceConflict"
	case strings.HasPrefix(f.Code, "AccessDenied"), f.Status == http.StatusForbidden:
		return "AccessDenied"
	case strings.Contains(f.Code, "LimitExceeded"):
		return "ServiceLimitExceeded"
	case f.Status >= http.StatusInternalServerError:
		return "ServiceInternalError"
	case f.Status == http.StatusBadRequest:
		return "InvalidRequest"
	}
	return "GeneralServiceException"
}

func (f *Failure) throttled() bool {
	return f.Status == http.StatusTooManyRequests || strings.HasPrefix(f.Code, "Throttl") || f.Code == "RequestLimitExceeded" || f.Code == "SlowDown"
}

func (f *Failure) gone() bool {
	switch f.Code {
	case "ResourceNotFoundException", "NoSuchEntity", "NoSuchBucket", "NoSuchBucketPolicy", "ParameterNotFound", "NoSuchKey", "ProvisionedConcurrencyConfigNotFoundException":
		return true
	}
	return f.Status == http.StatusNotFound
}

func (f *Failure) exists() bool {
	switch f.Code {
	case "EntityAlreadyExists", "ResourceAlreadyExistsException", "ParameterAlreadyExists", "BucketAlreadyOwnedByYou", "BucketAlreadyExists", "AlreadyExistsException":
		return true
	}
	return f.Code == "ResourceConflictException" && strings.Contains(f.Message, "exist")
}

func isGone(err error) bool {
	f, ok := errors.AsType[*Failure](err)
	return ok && f.gone()
}

func isExisting(err error) bool {
	f, ok := errors.AsType[*Failure](err)
	return ok && f.exists()
}

// alreadyExists is the failure of a create that met what is not the stack's.
func (w *work) alreadyExists(identifier string) error {
	return &Failure{Handler: "AlreadyExists", Message: fmt.Sprintf("Resource of type '%s' with identifier '%s' already exists.", w.Type, identifier)}
}

// invalid is the failure of properties that no service was asked about.
func invalid(format string, args ...any) error {
	return &Failure{Handler: "InvalidRequest", Message: fmt.Sprintf(format, args...)}
}

// reason is an error in CloudFormation's own words.
type reason string

func (r reason) Error() string { return string(r) }

func because(format string, args ...any) error { return reason(fmt.Sprintf(format, args...)) }
