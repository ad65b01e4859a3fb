// Package control is what each Lambda operation does: one method per operation,
// named as AWS names it, one file per resource. It reads the generated request
// shapes of wire, applies the rules of package lamina inside store transactions,
// and answers shapes or wire exceptions. Bytes, sandboxes and download links are
// behind the small interfaces below; HTTP is none of its business.
//
// A walk: PublishVersion locks the function's row, compares RevisionId and
// CodeSha256 inside the lock, freezes $LATEST (lamina.Version.Freeze), inserts
// the version, and converts it to the answer (convert.go).
package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// Invoker runs versions of functions.
type Invoker interface {
	// Invoke runs the version and returns what came of it. A function that
	// fails is a result. Errors: *lamina.RuntimeError when the machine lacks the
	// runtime, lamina.ErrBusy when every place for an environment is taken.
	Invoke(ctx context.Context, in lamina.Invocation) (lamina.Result, error)
	// Prepare makes the version ready to start quickly. An error means that its
	// archives can't be used.
	Prepare(ctx context.Context, v lamina.Version) error
	// Retire lets go of environments of a version that changed or is gone.
	Retire(v lamina.Version)
}

// Authority decides what callers may do.
type Authority interface {
	// Permit answers AWS's AccessDeniedException when the caller lacks a permission.
	Permit(ctx context.Context, c identity.Caller, n identity.Need) error
	// Serves answers AWS's exception for a role of the account that exists and that
	// Lambda may not assume for a function.
	Serves(ctx context.Context, role, function, account string) error
}

// Locations makes links under which an archive can be downloaded for a while.
type Locations interface {
	Location(ctx context.Context, d lamina.Digest) string
}

// Options are what a Plane works with. All fields are required, but those of S3, of EC2 and of events.
type Options struct {
	Store       *store.Store
	Invoker     Invoker
	Provisioner Provisioner
	Locations   Locations
	Limits      lamina.Limits
	Log         *slog.Logger
	Now         func() time.Time
	// Authority decides what callers may do; nil allows everything within the
	// caller's account.
	Authority Authority
	// PrepareLayer makes a layer version that was published ready to be used. It is
	// called in the background; what it returns is logged. Nil prepares none.
	PrepareLayer func(ctx context.Context, v lamina.LayerVersion) error
	// URLAddress is where the client of the request in ctx reaches a function
	// URL; nil writes it as AWS does.
	URLAddress func(ctx context.Context, u lamina.FunctionURL) string

	// Objects is the S3 that archives are read from, and Stage opens the storage
	// they are written to. Both are nil where there is no S3.
	Objects Objects
	Stage   func(context.Context) (wire.Upload, error)
	// ObjectsDecide says that Objects asks for the caller's permissions itself, and
	// with the bucket's policy. Otherwise the plane does, without one.
	ObjectsDecide bool

	// Directories are those of the host that may be shown to functions as they
	// are; nil where none may. With them, Stage is required.
	Directories Directories

	// Queues is the SQS that the ends of events are told to; nil where there is none.
	Queues Queues
	// DeliveryDelay is the wait after so many failed attempts to tell a target of
	// an event's end; nil is lamina.EventDeferral.
	DeliveryDelay func(attempts int) time.Duration
	// Networks is the EC2 that subnets and security groups are looked up in. Nil
	// keeps them unchecked.
	Networks Networks

	// Meter counts invocations; nil counts none.
	Meter Meter
	// Tracer follows invocations; nil follows none.
	Tracer Tracer

	// EventsAtOnce bounds how many events run at the same time; 0 is 64.
	EventsAtOnce int
	// EventRetryDelay is the wait after so many failed attempts of an event; nil
	// is AWS's.
	EventRetryDelay func(attempts int) time.Duration
}

// Plane does the operations.
type Plane struct {
	store       *store.Store
	invoker     Invoker
	provisioner Provisioner
	locations   Locations
	authority   Authority
	limits      lamina.Limits
	log         *slog.Logger
	now         func() time.Time
	wake        chan struct{} // whoever leaves a version pending sends without blocking; Run receives; never closed
	prepareOne  func(ctx context.Context, v lamina.LayerVersion) error
	published   chan lamina.LayerVersion // PublishLayerVersion sends without blocking; Run receives; never closed
	settled     settling
	recent      recent
	urls        recentURLs
	urlAddress  func(ctx context.Context, u lamina.FunctionURL) string
	concurrency inFlight
	mappings    alarm // of runMappings

	directories Directories

	meter  Meter
	tracer Tracer

	objects       Objects
	objectsDecide bool
	stage         func(context.Context) (wire.Upload, error)
	networks      Networks

	provisionWake chan struct{} // whoever changes what is to be provisioned sends without blocking; KeepProvisioned receives; never closed

	eventsAtOnce    int
	eventRetryDelay func(attempts int) time.Duration
	queues          Queues
	deliveryDelay   func(attempts int) time.Duration
	deliveryWake    deliveryAlarm
	eventsWake      chan struct{} // whoever queues an event sends without blocking; RunEvents receives; never closed
}

// New returns a plane. It starts nothing; see [Plane.Run] and [Plane.RunEvents].
func New(o Options) *Plane {
	p := &Plane{
		store: o.Store, invoker: o.Invoker, locations: o.Locations, authority: o.Authority, limits: o.Limits, log: o.Log, now: o.Now,
		wake:        make(chan struct{}, 1),
		prepareOne:  o.PrepareLayer,
		published:   make(chan lamina.LayerVersion, prepareAhead),
		concurrency: newInFlight(),
		mappings:    make(alarm, 1),

		objects: o.Objects, objectsDecide: o.ObjectsDecide, stage: o.Stage, directories: o.Directories, networks: o.Networks,
		meter: o.Meter, tracer: o.Tracer,
		provisioner: o.Provisioner, provisionWake: make(chan struct{}, 1),

		eventsAtOnce: o.EventsAtOnce, eventRetryDelay: o.EventRetryDelay, eventsWake: make(chan struct{}, 1),
		queues: o.Queues, deliveryDelay: o.DeliveryDelay, deliveryWake: newDeliveryAlarm(),
	}
	if p.authority == nil {
		p.authority = ownAccount{}
	}
	if p.meter == nil {
		p.meter = noMeter{}
	}
	if p.urlAddress = o.URLAddress; p.urlAddress == nil {
		p.urlAddress = func(_ context.Context, u lamina.FunctionURL) string { return u.Address() }
	}
	if p.eventsAtOnce == 0 {
		p.eventsAtOnce = eventsAtOnce
	}
	if p.deliveryDelay == nil {
		p.deliveryDelay = lamina.EventDeferral
	}
	if p.eventRetryDelay == nil {
		p.eventRetryDelay = func(attempts int) time.Duration { return lamina.EventRetryDelay(attempts, time.Minute) }
	}
	return p
}

// Register makes the plane answer its operations on r.
func (p *Plane) Register(r *wire.Router) {
	p.registerLayers(r)
	p.registerFunctions(r)
	p.registerVersions(r)
	p.registerPolicies(r)
	p.registerSettings(r)
	p.registerCodeSigning(r)
	p.registerEventSources(r)
	p.registerProvisioned(r)
	p.registerEvents(r)
	p.registerStreams(r)
	declineOperations(r)
	p.registerEventInvokeConfigs(r)
	p.registerURLs(r)
	p.registerRecursion(r)
	p.registerRuntimeManagement(r)
	p.registerScaling(r)
}

// caller is who sent the request. The HTTP layer puts it into every context; a
// request without one is a mistake in the assembly.
func caller(ctx context.Context) identity.Caller {
	c, ok := identity.CallerOf(ctx)
	if !ok {
		panic("control: no caller in the context")
	}
	return c
}

// scope is the account and region that the request acts in.
func scope(ctx context.Context) lamina.Scope {
	c := caller(ctx)
	return lamina.Scope{Account: c.Account, Region: c.Region}
}

// newID returns a random UUID (version 4), as RevisionIds are.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// missing reports whether err says that something does not exist.
func missing(err error) bool { return errors.Is(err, lamina.ErrNotFound) }

// ignoreMissing is for removals, which are content with nothing to remove.
func ignoreMissing(err error) error {
	if missing(err) {
		return nil
	}
	return err
}

// notFound returns e when err says that something does not exist, else err.
func notFound(err error, format string, args ...any) error {
	if missing(err) {
		return wire.ResourceNotFound.Errorf(format, args...)
	}
	return err
}

// page cuts a list read with one entry more than asked for, and tells whether
// there are more.
func page[T any](entries []T, limit int) ([]T, bool) {
	if len(entries) > limit {
		return entries[:limit], true
	}
	return entries, false
}
