package stack

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/stack/resources"
	"github.com/lamina-run/lamina/store"
)

// Types are the types of resources that there are: *resources.Set.
type Types interface {
	Type(name string) (resources.Type, bool)
}

// Parameters are values of the Systems Manager, which parameters of stacks and
// dynamic references name.
type Parameters interface {
	// StackParameter returns the value of a parameter, which may be followed by a
	// colon and a version, as the caller in the context may read it. The error is what
	// a client is told. Secure says that it is a SecureString.
	StackParameter(ctx context.Context, name string) (value string, secure bool, err error)
}

// Roles are assumed for CloudFormation: *identity.Authority.
type Roles interface {
	// AssumedBy returns a caller with the rights of a role of an account that lets
	// the service assume it for a stack, or lamina.ErrNotFound.
	AssumedBy(ctx context.Context, account, service, role, session, source string) (identity.Caller, error)
}

// Options of an engine. All are needed but AtOnce.
type Options struct {
	Store      *store.Store
	Types      Types
	Parameters Parameters
	Roles      Roles
	Log        *slog.Logger
	Now        func() time.Time
	AtOnce     int // steps of resources at the same time, of all stacks; 64 unless set
}

// Engine works on the stacks of all accounts. Its operations are safe for
// concurrent use; the caller of each is in its context (identity.CallerOf), and
// may do it: permissions are not asked for here. Errors that a client is told are
// *wire.Exception of the kinds in this package.
type Engine struct {
	o            Options
	wake         chan struct{} // capacity 1: there may be work
	cleanupPause time.Duration // between attempts to delete what an update left over

	// For tests: the end of kill is as abrupt as that of the process, gate is around
	// each transaction of runs, and shared has others work on the same file.
	kill   context.Context
	gate   func(update func() error) error
	shared bool

	mu      sync.Mutex
	running map[string]*run // by stack
}

// New returns an engine that does nothing until [Engine.Run].
func New(o Options) *Engine {
	o.AtOnce = cmp.Or(o.AtOnce, stepsAtOnce)
	return &Engine{o: o, wake: make(chan struct{}, 1), cleanupPause: 2 * time.Second, running: map[string]*run{}}
}

// Source is a template as the client sent it, and as JSON after its transforms;
// Processed is empty for one without transforms.
type Source struct{ Original, Processed string }

// Parameter is a parameter as a client gives it.
type Parameter struct {
	Key      string
	Value    string
	Previous bool // UsePreviousValue
}

// Wanted is what a stack is to become.
type Wanted struct {
	Template         Source // zero: the previous one
	Parameters       []Parameter
	Tags             map[string]string // nil: the previous ones
	Capabilities     []string          // as given; whether they suffice has been checked
	NotificationARNs []string          // nil: the previous ones
	RoleARN          string            // empty: the previous one
	DisableRollback  bool
	RetainOnCreate   bool // RetainExceptOnCreate
	TimeoutMinutes   int  // of a creation; 0 is none
	OnFailure        string
	Token            string // ClientRequestToken
	Protected        bool   // EnableTerminationProtection, of a creation
}

// Deletion is how a stack is to be deleted.
type Deletion struct {
	Retain  []string // RetainResources
	RoleARN string
	Token   string
	Force   bool // DeletionMode FORCE_DELETE_STACK
}

// ChangeSetWanted is a change set to be made.
type ChangeSetWanted struct {
	Wanted
	Name        string
	Type        string // CREATE or UPDATE
	Description string
	Nested      bool // IncludeNestedStacks
	ImportExist bool // ImportExistingResources
}

// Change is what happens to a resource, as change sets tell it.
type Change struct {
	Action      string // Add, Modify, Remove
	LogicalID   string
	PhysicalID  string `json:",omitzero"`
	Type        string
	Replacement string   `json:",omitzero"` // True, False, Conditional; of Modify
	Policy      string   `json:",omitzero"` // PolicyAction: Delete, Retain, Snapshot, ReplaceAndDelete, ReplaceAndRetain
	Scope       []string `json:",omitzero"` // Properties, Metadata, Tags, …
	Details     []Detail `json:",omitzero"`
	Before      string   `json:",omitzero"` // BeforeContext, JSON
	After       string   `json:",omitzero"` // AfterContext
}

// Detail is one reason of a change.
type Detail struct {
	Attribute  string // Properties, Metadata, Tags, …
	Name       string `json:",omitzero"` // of the property
	Path       string `json:",omitzero"`
	Recreation string // Never, Conditionally, Always
	Evaluation string // Static, Dynamic
	Source     string `json:",omitzero"` // ChangeSource: ParameterReference, ResourceReference, ResourceAttribute, DirectModification, Automatic
	Entity     string `json:",omitzero"` // CausingEntity
	Before     string `json:",omitzero"`
	After      string `json:",omitzero"`
	ChangeType string `json:",omitzero"` // Add, Remove, Modify
}

// Mask is what takes the place of a secret.
const Mask = "****"
