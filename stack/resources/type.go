package resources

import (
	"context"
	"net/http"
)

// Type is a type of resource. Its methods are safe for concurrent use.
type Type interface {
	// Check finds what can be found wrong before anything is created: members that
	// the type does not have, required ones that are missing, values of the wrong
	// shape. Intrinsic functions that have no value yet are in the properties as
	// maps of one key, and are believed. The error is what a client is told after
	// "Properties validation failed for resource X with message: ".
	Check(properties map[string]any) error

	// HasAttribute reports whether Fn::GetAtt knows the attribute. Custom resources
	// have every one.
	HasAttribute(name string) bool

	// Compare tells what an update does to each top-level property that differs,
	// sorted by name. Values that are not known yet differ.
	Compare(old, new map[string]any) []Difference

	// TakesTags reports whether its resources have the tags of their stack. Then an
	// update of those tags updates them, without any Difference.
	TakesTags() bool

	// Create makes the resource. When it fails, what was made of it is gone again,
	// or Made tells the PhysicalID of what is left, which is deleted when the stack
	// rolls back.
	Create(ctx context.Context, s *Step) (Made, error)

	// Update changes a resource in place. It is also how an update is taken back:
	// with Properties and Old the other way round. When Made has another PhysicalID
	// than the step, the resource was replaced, as custom resources decide by
	// themselves: the old one is to be deleted when the stack is updated, the new one
	// when that is rolled back.
	Update(ctx context.Context, s *Step) (Made, error)

	// Delete removes a resource. One that is not there any more is a success.
	Delete(ctx context.Context, s *Step) error
}

// Recreation tells whether a changed property makes a new resource, as change
// sets call it.
type Recreation string

// The kinds of recreation.
const (
	Never         Recreation = "Never"
	Conditionally Recreation = "Conditionally"
	Always        Recreation = "Always"
)

// Difference is a property that an update changes. A resource whose differences
// are all Never or Conditionally is updated in place; Conditionally means that its
// Update may replace it.
type Difference struct {
	Property   string
	Recreation Recreation
}

// Stack is the stack that a resource belongs to.
type Stack struct {
	ID      string // ARN
	Name    string
	Account string
	Region  string
	Tags    map[string]string // of the stack, which its resources get
}

// Step is one change of one resource. Properties have no intrinsic functions in
// them.
type Step struct {
	Stack     Stack
	LogicalID string
	Type      string

	// Seed is 12 random characters of A-Z0-9, from which the names are made that the
	// template does not give. It is recorded before Create.
	Seed string

	PhysicalID string // of Update and Delete
	Properties map[string]any
	Old        map[string]any    // of Update: those that the resource has
	OldTags    map[string]string // of Update: the stack's tags that the resource has
	Attributes map[string]any    // as recorded; of Update and Delete

	// Adopt, of Create, takes over what exists already under the name that the
	// properties give, instead of failing: change sets with ImportExistingResources
	// ask for it.
	Adopt bool

	// Token is the same for each attempt at this step, and for no other step.
	Token string

	// Again says that this step was begun before, and may have been done: by a server
	// that ended meanwhile.
	Again bool

	// Note is what an earlier attempt at this step had Keep remember. Keep returns
	// when the note is durable.
	Note string
	Keep func(note string) error
}

// Made is what a resource became. Its attributes can be secrets: an access key's, or
// what a custom resource answered with NoEcho.
type Made struct {
	PhysicalID string         // what Ref returns
	Attributes map[string]any // what Fn::GetAtt returns, by the attribute's name with its dots
	NoEcho     bool           // nobody is to be shown the attributes
}

// Services does requests of AWS services, as clients send them but for the
// signature. The caller is in the request's context; it needs the permissions
// that a client would.
type Services interface {
	Do(service string, req *http.Request) (*http.Response, error)
}
