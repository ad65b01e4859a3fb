package stack

import (
	"context"
	"log/slog"
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

// Roles are assumed for CloudFormation.
type Roles interface {
	// AssumedBy returns a caller with the rights of a role that lets the service
	// assume it, or lamina.ErrNotFound.
	AssumedBy(ctx context.Context, service, role, session string) (identity.Caller, error)
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
type Engine struct{ o Options }

// New returns an engine that does nothing until [Engine.Run].
func New(o Options) *Engine { return &Engine{o: o} }

// Run works on stacks until ctx ends, starting with those that an earlier process
// left.
func (e *Engine) Run(ctx context.Context) error { panic("soon") }

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

// CreateStack begins to create a stack, and returns its ARN. A stack that is
// created by a step of another is nested in that.
func (e *Engine) CreateStack(ctx context.Context, name string, w Wanted) (id string, err error) {
	panic("soon")
}

// UpdateStack begins to update a stack, named by name or ARN, and returns its ARN.
func (e *Engine) UpdateStack(ctx context.Context, reference string, w Wanted) (id string, err error) {
	panic("soon")
}

// Deletion is how a stack is to be deleted.
type Deletion struct {
	Retain  []string // RetainResources
	RoleARN string
	Token   string
	Force   bool // DeletionMode FORCE_DELETE_STACK
}

// DeleteStack begins to delete a stack. One that does not exist is a success.
func (e *Engine) DeleteStack(ctx context.Context, reference string, d Deletion) error { panic("soon") }

// CancelUpdateStack has an update that is under way rolled back.
func (e *Engine) CancelUpdateStack(ctx context.Context, reference, token string) error { panic("soon") }

// ContinueUpdateRollback goes on with a rollback of an update that failed. The
// logical IDs to be skipped may be of nested stacks: Nested.Resource.
func (e *Engine) ContinueUpdateRollback(ctx context.Context, reference, role, token string, skip []string) error {
	panic("soon")
}

// RollbackStack rolls back what failed with rollback disabled, and returns the
// stack's ARN.
func (e *Engine) RollbackStack(ctx context.Context, reference, role, token string, retainOnCreate bool) (id string, err error) {
	panic("soon")
}

// UpdateTerminationProtection says whether a stack may be deleted, and returns its
// ARN.
func (e *Engine) UpdateTerminationProtection(ctx context.Context, reference string, protected bool) (id string, err error) {
	panic("soon")
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

// CreateChangeSet computes what an update would change, or a creation make; for
// the latter it makes a stack in REVIEW_IN_PROGRESS if there is none. The change
// set is complete, or has failed, when it returns: its Changes are a list of [Change] as
// JSON.
func (e *Engine) CreateChangeSet(ctx context.Context, reference string, w ChangeSetWanted) (store.StackChangeSet, error) {
	panic("soon")
}

// ExecuteChangeSet begins what a change set says. Reference is an ARN, or a name
// within the stack; disableRollback may be nil.
func (e *Engine) ExecuteChangeSet(ctx context.Context, stack, reference, token string, disableRollback *bool, retainOnCreate bool) error {
	panic("soon")
}

// DeleteChangeSet forgets a change set. One that does not exist is a success, if
// its stack does.
func (e *Engine) DeleteChangeSet(ctx context.Context, stack, reference string) error { panic("soon") }

// Find returns a stack by its name or its ARN, which also finds deleted ones, of
// the caller's account and region. The error is AWS's ValidationError:
// "Stack with id X does not exist".
func (e *Engine) Find(ctx context.Context, tx *store.Tx, reference string) (store.Stack, error) {
	panic("soon")
}

// FindChangeSet returns a change set by its ARN, or by its name within a stack.
// The error is AWS's ChangeSetNotFound.
func (e *Engine) FindChangeSet(ctx context.Context, tx *store.Tx, stack, reference string) (store.StackChangeSet, error) {
	panic("soon")
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

// ShownResources are the resources of a stack as DescribeStackResources tells
// them: one for each logical ID, ordered by it.
func ShownResources(all []store.StackResource) []store.StackResource { panic("soon") }
