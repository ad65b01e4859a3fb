package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/audit"
	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/directories"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/internal/fsx"
	"github.com/lamina-run/lamina/logs"
	"github.com/lamina-run/lamina/networks"
	"github.com/lamina-run/lamina/parameters"
	"github.com/lamina-run/lamina/queues"
	"github.com/lamina-run/lamina/runner"
	"github.com/lamina-run/lamina/runner/layer"
	"github.com/lamina-run/lamina/runner/runtimes"
	"github.com/lamina-run/lamina/runner/sandbox"
	"github.com/lamina-run/lamina/server"
	"github.com/lamina-run/lamina/stack"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

type serveVerb struct {
	settings
}

// Run serves until the process is told to stop.
func (v *serveVerb) Run(ctx context.Context, s streams) error {
	return serve(ctx, &v.settings, s, func(at doors) {
		fmt.Fprintf(s.notes, "lamina: serving on %s, data in %s\nlamina: point clients at it with: eval \"$(lamina env --data %s)\"\n",
			at.endpoint, v.Data, shellQuote(v.Data))
	})
}

const (
	requestGrace = 10 * time.Second // for requests in flight when the server stops
	sweepEvery   = time.Hour
	sweepGrace   = time.Hour // younger blobs may belong to a publish that is under way
	cacheBytes   = 10 << 30  // of unpacked archives that nothing uses now
)

// serve opens everything, starts it in order, and stops it in reverse order when
// ctx ends. It is the one place that knows every package. Ready is called when
// requests can be answered.
func serve(ctx context.Context, c *settings, s streams, ready func(at doors)) (err error) {
	limits, err := c.limits()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(s.notes, &slog.HandlerOptions{Level: c.LogLevel}))
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return hint(fmt.Errorf("make the data directory: %w", err), "choose another with --data")
	}
	lock, err := fsx.LockDir(c.Data)
	if err != nil {
		return hint(fmt.Errorf("lock the data directory: %w", err), "stop the other server, or choose another directory with --data")
	}
	defer func() { err = errors.Join(err, lock.Close()) }()

	at, err := c.open()
	if err != nil {
		return err
	}
	defer at.close()

	secret, err := c.secretKey()
	if err != nil {
		return hint(fmt.Errorf("read the secret key: %w", err), "it has to be the one of the first start; check --secret-key-file")
	}
	db, err := store.Open(ctx, store.Options{Path: c.file(databaseFile), URL: c.Database, Log: log, SecretKey: secret})
	if errors.Is(err, store.ErrOtherKey) {
		return hint(fmt.Errorf("open the database: %w", err), "give the key of the first start: --secret-key-file; without it, variables and access keys are lost")
	}
	if err != nil {
		return hint(fmt.Errorf("open the database: %w", err), "check --database, or the disk of %s", c.Data)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	root, err := identity.EnsureRoot(ctx, db, identity.RootOptions{
		AccountID: c.Account, AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, File: c.file(keyFile),
	})
	if err != nil {
		return fmt.Errorf("make the root key: %w", err)
	}
	sessions, err := newSessions(ctx, db)
	if err != nil {
		return err
	}
	who := identity.Options{
		Store: db, Log: log, Now: time.Now, Keys: identity.StoreKeys(db), Principals: identity.NewPrincipals(db, time.Now), Sessions: sessions,
	}
	who.Authority = identity.NewAuthority(db, who.Principals, log, time.Now)
	who.Trusts = who.Authority.Trusts
	blobs, closeBlobs, err := c.openBlobs(ctx, root, log)
	if err != nil {
		return err
	}
	defer closeBlobs()
	links, err := newLinks(ctx, db, time.Duration(limits.LocationMinutes)*time.Minute)
	if err != nil {
		return err
	}
	images, mounter, err := openImages()
	if err != nil {
		log.LogAttrs(ctx, slog.LevelWarn, "archives are unpacked to directories, not mounted as images", slog.Any("err", err))
	} else {
		defer func() { err = errors.Join(err, images.Close()) }()
	}
	layers, err := layer.NewCache(layer.Options{Dir: c.file("layers"), Limits: limits, Log: log, Images: mounter, Blobs: layer.BlobsFunc(func(ctx context.Context, d lamina.Digest) (layer.Reader, error) {
		b, err := blobs.Open(ctx, d)
		if err != nil {
			return nil, err
		}
		return b, nil
	})})
	if err != nil {
		return fmt.Errorf("open the unpacked archives: %w", err)
	}
	defer func() { err = errors.Join(err, layers.Close()) }()
	set, err := newRuntimes(c.Runtime, c.Library, c.file("runtime"), log)
	if err != nil {
		return hint(fmt.Errorf("read --runtime and --library: %w", err), "give them as python3.12=/path/to/python3.12 and python=/srv/boto3")
	}
	kept, err := logs.Open(logs.Options{Dir: c.file("logs"), Bytes: c.LogsBytes, Log: log, Now: time.Now})
	if err != nil {
		return err
	}
	audited, closeAudit, err := openAudit(c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAudit()) }()
	tracer, err := openTraces(c, log)
	if err != nil {
		return err
	}
	token, err := c.metricsToken()
	if err != nil {
		return hint(fmt.Errorf("read the metrics token: %w", err), "remove the file for a new one")
	}
	var running ensemble
	defer func() { err = errors.Join(err, running.stop()) }()
	running.start(ctx, "logs", kept.Run) // first, and so ended after those who print
	if tracer != nil {
		running.start(ctx, "traces", tracer.Run)
	}
	seen := newObserver(c, layers, tracer, []string{
		"lambda", "sts", "iam", stack.Service, identity.OrganizationsService, server.LogsService, server.RegistryService, parameters.Service,
		server.SigningService, "s3",
	})
	var invoker interface {
		control.Invoker
		control.Provisioner
	}
	var prepareLayer func(context.Context, lamina.LayerVersion) error // nil when functions can't run
	var shown interface {                                             // nil when no directory is allowed
		control.Directories
		runner.Directories
	}
	if len(c.HotReload) > 0 {
		allowed, err := directories.New(c.HotReload)
		if err != nil {
			return hint(fmt.Errorf("allow hot reload: %w", err), "check --hot-reload")
		}
		defer allowed.Close()
		shown = allowed
	}
	network, err := chooseNetwork(ctx, c.Network, log)
	if err != nil {
		return err
	}
	api := ownEndpoint(at.local.Addr())
	answers, err := openResponses(c, db, at, network, log)
	if err != nil {
		return err
	}
	running.start(ctx, "responses", answers.serve)
	pool, err := sandbox.NewPool(sandbox.Options{
		Log: log, Parked: c.Parked, Network: network, Endpoint: api, Images: images, Responses: ownEndpoint(answers.addr()),
	})
	if err == nil {
		inside := ""
		if at := network.Inside(api); at.IsValid() {
			inside = "http://" + at.String()
		}
		functions := runner.New(runner.Options{
			Endpoint: inside, Directories: shown, Trust: answers.trust,
			Log: log, Sandboxes: pool, Layers: layers, Runtimes: set, Limits: limits, Now: time.Now,
			Credentials: credentialsOf(who), Logs: kept, Idle: c.Idle, MaxEnvironments: c.Environments, CPUQuota: c.CPU == "quota",
		})
		running.start(ctx, "sandboxes", pool.Run)
		running.start(ctx, "runner", functions.Run)
		invoker, prepareLayer = functions, functions.PrepareLayer
		seen.functions, seen.pool = functions, pool
	} else {
		log.LogAttrs(ctx, slog.LevelWarn, "functions can't run here", slog.Any("err", err))
		invoker = noInvoker{reason: err}
	}
	stage := func(ctx context.Context) (wire.Upload, error) {
		staged, err := blobs.Stage(ctx)
		if err != nil {
			return nil, err
		}
		return staged, nil
	}
	buckets, err := c.openS3(root, db, who.Authority, log)
	if err != nil {
		return err
	}
	queue, err := openQueues(c, root)
	if err != nil {
		return err
	}
	vpcs, err := openNetworks(c, root)
	if err != nil {
		return err
	}
	var follow control.Tracer // nil, rather than one of its own type, without
	if tracer != nil {
		follow = tracer
	}
	plane := control.New(control.Options{
		Meter: seen.metrics, Tracer: follow,
		Objects: buckets.objects, ObjectsDecide: buckets.own != nil, Stage: stage, Queues: queue, Directories: shown, Networks: vpcs,
		EventRetryDelay: func(attempts int) time.Duration { return lamina.EventRetryDelay(attempts, c.EventRetryDelay) },
		Store:           db, Invoker: invoker, Provisioner: invoker, Authority: who.Authority, Locations: links, Limits: limits, Log: log, Now: time.Now,
		URLAddress: server.URLAddress, PrepareLayer: prepareLayer,
	})
	router := wire.NewRouter(wire.Options{Log: log, Authorize: plane.Authorize, MaxZip: limits.ZippedUpload, MaxBody: wire.BodyFor(limits.ZippedUpload), MaxPayload: limits.RequestPayload, Stage: stage})
	plane.Register(router)
	buckets.functions.Plane = plane
	verifier := identity.NewVerifier(who.Keys, time.Now).AcceptSessions(sessions, who.Principals)
	inside := &within{}
	pages, err := newConsole(ctx, c, db, inside, verifier, archives{blobs}, root.AccountID, log)
	if err != nil {
		return err
	}
	stacks, cloudFormation := newStacks(db, who, answers.Responses, inside, log)
	answering := make(chan struct{})
	front := server.New(server.Options{
		Log: log, Verifier: verifier, Links: links, Archives: archives{blobs}, Ready: answering, Plane: plane, Audit: audited, S3: buckets.front,
		Responses: answers, Console: pages, Metrics: server.NewMetrics(token, seen.write), Answered: seen.requests.Count, Tracer: tracer,
		Requests: server.NewRequests(limits.APIRequests, limits.GetFunctionRequests, time.Now),
		Services: map[string]http.Handler{
			"lambda": router, "sts": identity.NewSTS(who), "iam": identity.NewIAM(who), stack.Service: cloudFormation,
			identity.OrganizationsService: identity.NewOrganizations(who),
			server.LogsService:            server.NewLogs(kept, who.Authority, log),
			server.RegistryService:        server.NewRegistry(who.Authority, log),
			parameters.Service:            parameters.New(parameters.Options{Store: db, Authority: who.Authority, Log: log, Now: time.Now}),
			server.SigningService: server.NewInternal(server.Internal{
				Profiles: plane, Accounts: &identity.Accounts{Options: who}, Layers: plane, Operator: root.AccountID, Log: log,
				Observed: server.Observed{Metrics: seen.metrics, Authority: who.Authority, Environments: seen.environments, Machine: seen.machine, Now: time.Now},
			}),
		},
	})

	inside.Server = front
	running.start(ctx, "letterboxes", answers.Run)
	if buckets.own != nil {
		running.start(ctx, "S3", buckets.own.Run)
	}
	running.start(ctx, "key uses", func(ctx context.Context) error { return verifier.Run(ctx, db) })
	running.start(ctx, "preparation", plane.Run)
	running.start(ctx, "provisioned concurrency", plane.KeepProvisioned)
	running.start(ctx, "events", plane.RunEvents)
	running.start(ctx, "stacks", stacks.Run)
	running.start(ctx, "sweeper", func(ctx context.Context) error { return sweep(ctx, db, blobs, layers, log) })
	for _, l := range at.all() {
		running.start(ctx, "listener", func(ctx context.Context) error { return front.Serve(ctx, l, requestGrace) })
	}
	if err := at.tell(c); err != nil {
		return fmt.Errorf("write the endpoint: %w", err)
	}
	close(answering)
	ready(at)
	return running.wait(ctx)
}

// openAudit returns what appends to the audit log, nil when there is none, and
// what closes it.
func openAudit(c *settings, log *slog.Logger) (func(audit.Entry), func() error, error) {
	if c.AuditBytes == 0 {
		return nil, func() error { return nil }, nil
	}
	l, err := audit.Open(audit.Options{Dir: c.file("audit"), Bytes: c.AuditBytes, Now: time.Now})
	if err != nil {
		return nil, nil, err
	}
	return func(e audit.Entry) {
		if err := l.Append(e); err != nil {
			log.LogAttrs(context.Background(), slog.LevelError, "request not audited", slog.String("request_id", e.RequestID), slog.Any("err", err))
		}
	}, l.Close, nil
}

// openImages returns what mounts images, twice: the layer cache wants nothing
// rather than a nil of its own type when there is an error.
func openImages() (*sandbox.Images, layer.Images, error) {
	images, err := sandbox.OpenImages()
	if err != nil {
		return nil, nil, err
	}
	return images, images, nil
}

// keyOr is the access key for another service: the one given, else the root's.
func keyOr(root identity.Credentials, id, secret string) (string, string) {
	if id == "" {
		return root.AccessKeyID, root.SecretAccessKey
	}
	return id, secret
}

// openQueues returns the SQS that the ends of events are told to, nil when there
// is none.
func openQueues(c *settings, root identity.Credentials) (control.Queues, error) {
	if c.SQSEndpoint == "" {
		return nil, nil
	}
	o := queues.Options{Endpoint: c.SQSEndpoint, Now: time.Now, Proxy: http.ProxyFromEnvironment}
	o.AccessKeyID, o.SecretAccessKey = keyOr(root, c.SQSAccessKeyID, c.SQSSecretAccessKey)
	sqs, err := queues.New(o)
	if err != nil {
		return nil, hint(fmt.Errorf("open SQS: %w", err), "check --sqs-endpoint")
	}
	return sqs, nil
}

// openNetworks returns the EC2 that functions' subnets and security groups are
// looked up in, nil when there is none.
func openNetworks(c *settings, root identity.Credentials) (control.Networks, error) {
	if c.EC2Endpoint == "" {
		return nil, nil
	}
	o := networks.Options{Endpoint: c.EC2Endpoint, Now: time.Now, Proxy: http.ProxyFromEnvironment}
	o.AccessKeyID, o.SecretAccessKey = keyOr(root, c.EC2AccessKeyID, c.EC2SecretAccessKey)
	ec2, err := networks.New(o)
	if err != nil {
		return nil, hint(fmt.Errorf("open EC2: %w", err), "check --ec2-endpoint")
	}
	return ec2, nil
}

// newLinks makes the signer of download links, with the key that this
// installation drew at its first start.
func newLinks(ctx context.Context, db *store.Store, life time.Duration) (*server.Links, error) {
	key, err := settingKey(ctx, db, "link-key")
	if err != nil {
		return nil, err
	}
	return &server.Links{Key: key, Life: life, Now: time.Now}, nil
}

// newSessions makes what issues temporary credentials, with the key that this
// installation drew at its first start. All servers of one database share it.
func newSessions(ctx context.Context, db *store.Store) (*identity.Sessions, error) {
	key, err := settingKey(ctx, db, "session-key")
	if err != nil {
		return nil, err
	}
	return identity.NewSessions(key)
}

// settingKey returns the 32 random bytes that a setting keeps, drawn when first
// asked for.
func settingKey(ctx context.Context, db *store.Store, name string) ([]byte, error) {
	var text string
	err := db.Update(ctx, func(tx *store.Tx) (err error) {
		text, err = tx.SecretSetting(ctx, name)
		if !errors.Is(err, lamina.ErrNotFound) {
			return err
		}
		var fresh [32]byte
		_, _ = rand.Read(fresh[:]) // never fails (crypto/rand)
		text = hex.EncodeToString(fresh[:])
		return tx.PutSecretSetting(ctx, name, text)
	})
	if err != nil {
		return nil, fmt.Errorf("read the %s: %w", name, err)
	}
	key, err := hex.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("read the %s: %w", name, err)
	}
	return key, nil
}

// noInvoker stands in where the machine can't run functions: everything else of
// Lamina works.
type noInvoker struct{ reason error }

func (n noInvoker) Invoke(_ context.Context, in lamina.Invocation) (lamina.Result, error) {
	return lamina.Result{}, &lamina.RuntimeError{Runtime: in.Version.Config.Runtime, Hint: "Functions can't run here: " + n.reason.Error() + "."}
}

func (noInvoker) Prepare(context.Context, lamina.Version) error { return nil }

func (noInvoker) Retire(lamina.Version) {}

func (noInvoker) Provision(lamina.Version, int64) {}

func (n noInvoker) Provisioned(lamina.Version) lamina.Provisioning {
	return lamina.Provisioning{Failure: "Functions can't run here: " + n.reason.Error() + "."}
}

// newRuntimes makes the set of interpreters, which looks for them when they are
// first wanted.
func newRuntimes(explicit, libraries []string, dir string, log *slog.Logger) (*runtimes.Set, error) {
	return runtimes.New(runtimes.Config{Log: log, Dir: dir, Explicit: explicit, Libraries: libraries, Getenv: os.Getenv, Now: time.Now})
}

// credentialsOf gives each environment credentials of its function's role. A
// function whose role does not exist gets some that no server knows.
func credentialsOf(who identity.Options) func(context.Context, lamina.Version) (runtimes.Credentials, error) {
	return func(ctx context.Context, v lamina.Version) (runtimes.Credentials, error) {
		c, err := who.Authority.FunctionCredentials(ctx, who.Sessions, v.Config.Role, v.Function)
		if errors.Is(err, lamina.ErrNotFound) {
			return runtimes.Credentials{AccessKeyID: "ASIA" + rand.Text()[:16], SecretAccessKey: rand.Text() + rand.Text()[:14], SessionToken: rand.Text() + rand.Text()}, nil
		}
		if err != nil {
			return runtimes.Credentials{}, err
		}
		return runtimes.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken, Expires: c.Expires}, nil
	}
}

// sweep removes archives that nothing refers to, now and then.
func sweep(ctx context.Context, db *store.Store, blobs blobs, layers *layer.Cache, log *slog.Logger) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		removed, err := blobs.Sweep(ctx, sweepGrace, time.Now(), func(ctx context.Context, d lamina.Digest) (used bool, err error) {
			err = db.View(ctx, func(tx *store.Tx) (err error) {
				used, err = tx.Referenced(ctx, d)
				return err
			})
			return used, err
		})
		err = errors.Join(err, layers.Evict(ctx, cacheBytes))
		if err != nil && ctx.Err() == nil {
			log.LogAttrs(ctx, slog.LevelError, "orphans not swept", slog.Any("err", err))
		}
		if removed > 0 {
			log.LogAttrs(ctx, slog.LevelInfo, "orphans swept", slog.Int("archives", removed))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// ensemble runs long-lived parts, each on top of those started before it, and stops
// them from the top down.
type ensemble struct {
	parts  []part
	failed chan error // one error for each part that ended by itself; buffered for all
}

type part struct {
	name   string
	cancel context.CancelFunc
	ended  chan error // one send, when run returned
}

// maxParts is how many parts an ensemble can hold.
const maxParts = 32

func (s *ensemble) start(ctx context.Context, name string, run func(context.Context) error) {
	if s.failed == nil {
		s.failed = make(chan error, maxParts)
	}
	// Each part has its own end, so that stop can choose the order.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := part{name: name, cancel: cancel, ended: make(chan error, 1)}
	s.parts = append(s.parts, p)
	go func() {
		err := run(own)
		if own.Err() == nil {
			if err == nil {
				err = errors.New("ended unexpectedly")
			}
			s.failed <- fmt.Errorf("%s: %w", name, err)
		}
		p.ended <- err
	}()
}

// wait returns when ctx ends or a part fails.
func (s *ensemble) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		return err
	}
}

// stop ends the parts in reverse order and reports what they returned.
func (s *ensemble) stop() error {
	var all []error
	for i := len(s.parts) - 1; i >= 0; i-- {
		s.parts[i].cancel()
		if err := <-s.parts[i].ended; err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, syscall.EPIPE) {
			all = append(all, fmt.Errorf("stop %s: %w", s.parts[i].name, err))
		}
	}
	return errors.Join(all...)
}
