// Package endpoint is S3 as its clients see it. It decides which operation a
// request is, whether the caller may do it, and keeps what is configured about
// buckets; objects are the business of a backend behind it, which trusts it in
// everything (package backend, reached by package embedded).
//
// A walk: a request comes authenticated, its caller in the context.
// [Endpoint.ServeHTTP] finds bucket, key and operation, reads the bucket's row with
// its policy, and asks [Authority] for each permission that the operation takes.
// What is about a bucket's configuration is then answered out of the store. What
// is about objects is written anew for the backend: only the headers and
// parameters that the operation has, each in one spelling, so that the backend
// cannot understand a request otherwise than the permissions did. Its answer goes
// back as it streams. When objects came or went, functions that the bucket's
// notifications name get an event each before the client has its answer.
package endpoint

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/identity/policy"
	"github.com/lamina-run/lamina/objects"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// Service is the signing name of S3.
const Service = "s3"

// Authority decides what callers may do.
type Authority interface {
	// DecideOn tells whether a caller may do it to what has a policy; the zero caller
	// did not sign.
	DecideOn(ctx context.Context, c identity.Caller, n identity.Need, resource *policy.Document) (policy.Decision, error)
	// Mention reports whether the caller's policies ask for condition keys with a prefix.
	Mention(ctx context.Context, c identity.Caller, prefix string) (bool, error)
}

// Functions are who learns of objects that come and go.
type Functions interface {
	// ServiceMayInvoke returns an error for the operator when there is no such
	// function, or its policy does not let the service invoke it about a source.
	ServiceMayInvoke(ctx context.Context, function string, by lamina.Source) error
	// AcceptEvent queues an asynchronous invocation by a service. When it returns nil,
	// the event is on disk. A function that is gone, or does not let the service
	// invoke it, gets none, and that is no error.
	AcceptEvent(ctx context.Context, function string, by lamina.Source, payload []byte) error
}

// Options are the parts that New assembles. All but Hosts are required.
type Options struct {
	Store     *store.Store
	Authority Authority
	Backend   http.RoundTripper // an S3 that everything is sent to, with RawPath and RawQuery as they go on the wire
	Functions Functions
	Log       *slog.Logger
	Now       func() time.Time
	Hosts     objects.Hosts // names of the endpoint
	// Owner is the ID under which the backend owns everything.
	Owner string
}

// bucketsPerAccount is AWS's quota.
const bucketsPerAccount = 10_000

// Endpoint serves S3. It is safe for concurrent use.
type Endpoint struct {
	o     Options
	known recentBuckets
	// turn is held by who makes or removes a bucket, so that its row and its
	// directory come and go together.
	turn     chan struct{} // who holds it has put a value in; capacity 1
	sequence atomic.Uint64 // of events within a millisecond
}

// New returns an S3 that has not asked its backend anything.
func New(o Options) *Endpoint { return &Endpoint{o: o, turn: make(chan struct{}, 1)} }

// request is one under way.
type request struct {
	http   *http.Request
	w      http.ResponseWriter
	caller identity.Caller // the zero caller did not sign
	record *wire.Record

	op    *operation
	name  string  // of the bucket, empty for none
	key   string  // empty for none
	query values  // of the URL
	b     *bucket // nil for operations on none, and for CreateBucket
}

func (r *request) ctx() context.Context { return r.http.Context() }

func (r *request) header(name string) string { return r.http.Header.Get(name) }

// ServeHTTP answers one request, which is verified and carries its caller, the
// zero caller when nobody signed it.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r := &request{http: req, w: w, record: wire.RecordOf(req.Context())}
	r.caller = callerOf(req.Context())
	err := e.serve(r)
	if errors.Is(err, errAnswered) {
		return
	}
	if err != nil {
		e.Refuse(w, req, err)
	}
}

// callerOf is who asks, the zero caller when nobody signed. A request that does
// not leave the machine is as good as one over TLS: nobody listens in between, and
// bucket policies that demand TLS, as the CDK's do, are about that.
func callerOf(ctx context.Context) identity.Caller {
	c, _ := identity.CallerOf(ctx)
	c.Service = Service
	if ip := net.ParseIP(c.Source); c.Source == "" || ip != nil && ip.IsLoopback() {
		c.Secure = true
	}
	return c
}

// errAnswered says that the client has the answer, error or not.
var errAnswered = errors.New("answered")

func (e *Endpoint) serve(r *request) (err error) {
	if r.name, r.key, err = e.address(r.http); err != nil {
		return err
	}
	if r.query, err = parseQuery(r.http.URL.RawQuery); err != nil {
		return err
	}
	if r.http.Method == http.MethodOptions && r.name != "" {
		return e.preflight(r)
	}
	if r.op = find(r); r.op == nil {
		return errMethod.with(Field{"Method", r.http.Method}, Field{"ResourceType", r.kind()})
	}
	r.record.Operation, r.record.Mutates = r.op.name, r.op.mutates
	r.record.Tell("Bucket", r.name)
	r.record.Tell("Key", r.key)
	if !identity.Proven(r.http) { // nothing is to be found out before the body has come
		return errNoHash
	}
	if r.name != "" && r.op != createBucket {
		if r.b, err = e.bucket(r.ctx(), r.name); err != nil {
			return err
		}
		if owner := r.header("X-Amz-Expected-Bucket-Owner"); owner != "" && owner != r.b.Account {
			return errAccessDenied
		}
	}
	if r.key != "" {
		if err := checkKey(r.key); err != nil {
			return err
		}
	}
	if err := e.authorize(r); err != nil {
		return err
	}
	if r.b != nil {
		r.b.allowOrigin(r)
	}
	return r.op.serve(e, r)
}

// kind is what S3 calls what a request is about.
func (r *request) kind() string {
	switch {
	case r.key != "":
		return "OBJECT"
	case r.name != "":
		return "BUCKET"
	}
	return "SERVICE"
}

// bucket is a bucket's row, read.
type bucket struct {
	store.Bucket
	policy        *policy.Document // nil without one
	public        bool             // that policy is
	access        publicAccess
	notifications []notification
	cors          []corsRule
}

// document is the bucket's policy, nil without one; a bucket that is not there has
// none.
func (b *bucket) document() *policy.Document {
	if b == nil {
		return nil
	}
	return b.policy
}

func (b *bucket) arn() string { return "arn:" + lamina.Partition + ":s3:::" + b.Name }

// knownBuckets bounds how many buckets are remembered.
const knownBuckets = 4096

// recentBuckets remembers buckets since the store last changed.
type recentBuckets struct {
	mu      sync.RWMutex
	commits uint64
	known   map[string]*bucket
}

// bucket returns a bucket, or NoSuchBucket.
func (e *Endpoint) bucket(ctx context.Context, name string) (*bucket, error) {
	commits, alone := e.o.Store.Commits()
	if alone {
		e.known.mu.RLock()
		b := e.known.known[name]
		current := e.known.commits == commits
		e.known.mu.RUnlock()
		if current && b != nil {
			return b, nil
		}
	}
	b := &bucket{}
	err := e.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		b.Bucket, err = tx.Bucket(ctx, name)
		return err
	})
	if errors.Is(err, lamina.ErrNotFound) {
		return nil, errNoSuchBucket.with(Field{"BucketName", name})
	}
	if err == nil {
		err = b.read()
	}
	if err != nil {
		return nil, err
	}
	if alone {
		e.known.mu.Lock()
		defer e.known.mu.Unlock()
		if commits > e.known.commits || e.known.known == nil || len(e.known.known) >= knownBuckets {
			e.known.known, e.known.commits = map[string]*bucket{}, max(commits, e.known.commits)
		}
		if commits == e.known.commits {
			e.known.known[name] = b
		}
	}
	return b, nil
}
