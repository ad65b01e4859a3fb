package stack

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/stack/resources"
	"github.com/lamina-run/lamina/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is where fake resources are: what outlives engines.
type world struct {
	mu     sync.Mutex
	things map[string]map[string]any // properties, by physical ID
	most   int                       // steps at the same time
	busy   int
	calls  []string // kind and logical ID
	caller []identity.Caller

	fail func(kind string, s *resources.Step) error         // nil: nothing fails; asked before anything is done
	late func(kind string, s *resources.Step) error         // asked when it is done
	hold func(ctx context.Context, s *resources.Step) error // nil: nothing waits
}

func newWorld() *world { return &world{things: map[string]map[string]any{}} }

// Type makes every type there is but those of AWS::Missing.
func (w *world) Type(name string) (resources.Type, bool) {
	return fakeType{w, name}, !strings.HasPrefix(name, "AWS::Missing")
}

// physical returns the physical IDs that there are.
func (w *world) physical() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.things))
}

func (w *world) value(physicalID string) any {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.things[physicalID]["Value"]
}

func (w *world) count(call string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if c == call {
			n++
		}
	}
	return n
}

func (w *world) begin(ctx context.Context, kind string, s *resources.Step) error {
	w.mu.Lock()
	caller, _ := identity.CallerOf(ctx)
	w.caller = append(w.caller, caller)
	w.calls = append(w.calls, kind+" "+s.LogicalID)
	w.busy++
	w.most = max(w.most, w.busy)
	fail, hold := w.fail, w.hold
	w.mu.Unlock()
	if hold != nil {
		if err := hold(ctx, s); err != nil {
			return err
		}
	}
	if fail != nil {
		return fail(kind, s)
	}
	return nil
}

func (w *world) end(kind string, s *resources.Step) error {
	w.mu.Lock()
	late := w.late
	w.mu.Unlock()
	if late != nil {
		return late(kind, s)
	}
	return nil
}

func (w *world) over() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy--
}

// fakeType has the properties Name, which replaces, Value and Refs. Types of
// Custom::Moves replace themselves when their Value changes.
type fakeType struct {
	w    *world
	name string
}

func (f fakeType) Check(p map[string]any) error {
	for name := range p {
		if name == "Wrong" {
			return errors.New("extraneous key [Wrong] is not permitted")
		}
	}
	return nil
}

func (f fakeType) HasAttribute(name string) bool {
	return name == "Arn" || name == "Value" || name == "Secret"
}

func (f fakeType) TakesTags() bool { return f.name == "Test::Tagged" }

func (f fakeType) Compare(old, new map[string]any) (all []resources.Difference) {
	keys := maps.Clone(old)
	maps.Copy(keys, new)
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if !reflect.DeepEqual(old[name], new[name]) {
			d := resources.Difference{Property: name, Recreation: resources.Never}
			if name == "Name" {
				d.Recreation = resources.Always
			} else if f.name == "Custom::Moves" {
				d.Recreation = resources.Conditionally
			}
			all = append(all, d)
		}
	}
	return all
}

func (f fakeType) made(id string, p map[string]any) resources.Made {
	return resources.Made{PhysicalID: id, NoEcho: f.name == "Test::Secret", Attributes: map[string]any{"Arn": "arn:" + id, "Value": fmt.Sprint(p["Value"]), "Secret": "s3cr3t"}}
}

func (f fakeType) physicalID(s *resources.Step) string {
	id := s.Stack.Name + "-" + s.LogicalID + "-" + s.Seed
	if f.name == "Custom::Moves" {
		id += fmt.Sprint("-", s.Properties["Value"])
	}
	return id
}

func (f fakeType) Create(ctx context.Context, s *resources.Step) (resources.Made, error) {
	defer f.w.over()
	id := f.physicalID(s)
	if err := f.w.begin(ctx, "create", s); err != nil {
		f.w.mu.Lock()
		defer f.w.mu.Unlock()
		if _, exists := f.w.things[id]; exists && s.Again {
			return resources.Made{PhysicalID: id}, err // by an earlier attempt
		}
		return resources.Made{}, err
	}
	f.w.mu.Lock()
	if _, exists := f.w.things[id]; exists && !s.Again {
		f.w.mu.Unlock()
		return resources.Made{}, fmt.Errorf("%s already exists", id)
	}
	f.w.things[id] = maps.Clone(s.Properties)
	f.w.mu.Unlock()
	if err := f.w.end("create", s); err != nil {
		if errors.Is(err, errStays) {
			return resources.Made{PhysicalID: id}, err
		}
		f.w.mu.Lock()
		delete(f.w.things, id)
		f.w.mu.Unlock()
		return resources.Made{}, err
	}
	return f.made(id, s.Properties), nil
}

// errStays is the failure of a creation that leaves something.
var errStays = errors.New("half made")

func (f fakeType) Update(ctx context.Context, s *resources.Step) (resources.Made, error) {
	defer f.w.over()
	id := s.PhysicalID
	if f.name == "Custom::Moves" {
		id = f.physicalID(s)
	}
	if err := f.w.begin(ctx, "update", s); err != nil {
		f.w.mu.Lock()
		defer f.w.mu.Unlock()
		if _, exists := f.w.things[id]; exists && s.Again {
			return resources.Made{PhysicalID: id}, err // by an earlier attempt
		}
		return resources.Made{}, err
	}
	f.w.mu.Lock()
	if _, exists := f.w.things[s.PhysicalID]; !exists {
		f.w.mu.Unlock()
		return resources.Made{}, fmt.Errorf("%s does not exist", s.PhysicalID)
	}
	f.w.things[id] = maps.Clone(s.Properties)
	f.w.mu.Unlock()
	return f.made(id, s.Properties), f.w.end("update", s)
}

func (f fakeType) Delete(ctx context.Context, s *resources.Step) error {
	defer f.w.over()
	if err := f.w.begin(ctx, "delete", s); err != nil {
		return err
	}
	if err := f.w.end("delete", s); err != nil {
		return err
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	delete(f.w.things, s.PhysicalID)
	return nil
}

type fakeParameters map[string]string

func (f fakeParameters) StackParameter(_ context.Context, name string) (string, bool, error) {
	v, ok := f[name]
	if !ok {
		return "", false, Validation.Errorf("Unable to fetch parameters [%s] from parameter store for this account.", name)
	}
	return v, false, nil
}

type fakeRoles struct{}

func (fakeRoles) AssumedBy(_ context.Context, account, _, role, _, _ string) (identity.Caller, error) {
	if !strings.HasSuffix(role, ":role/deployer") {
		return identity.Caller{}, lamina.ErrNotFound
	}
	return identity.Caller{Account: account, Kind: identity.KindAssumedRole, Name: "deployer", Session: &identity.Session{RoleARN: role}}, nil
}

// rig is an engine on a world.
type rig struct {
	t      testing.TB
	o      store.Options
	db     *store.Store
	world  *world
	ssm    fakeParameters
	e      *Engine
	cancel context.CancelFunc
	ended  chan error // Run's result
	skew   time.Duration
	mend   func(*Engine) // changes a new engine; may be nil
}

var testKey = []byte("01234567890123456789012345678901")

func newRig(t testing.TB) *rig {
	return newRigOn(t, store.Options{Path: filepath.Join(t.TempDir(), "lamina.db"), SecretKey: testKey})
}

func newRigOn(t testing.TB, o store.Options) *rig {
	r := &rig{t: t, o: o, world: newWorld(), ssm: fakeParameters{}}
	r.open()
	t.Cleanup(func() {
		r.stop()
		r.close()
	})
	return r
}

func (r *rig) open() {
	r.t.Helper()
	var err error
	if r.db, err = store.Open(context.Background(), r.o); err != nil {
		r.t.Fatal(err)
	}
	skew := r.skew
	level := slog.LevelError
	if os.Getenv("STACK_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	r.e = New(Options{
		Store: r.db, Types: r.world, Parameters: r.ssm, Roles: fakeRoles{}, Now: func() time.Time { return time.Now().Add(skew) },
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	})
	r.e.cleanupPause = time.Millisecond
	if r.mend != nil {
		r.mend(r.e)
	}
}

func (r *rig) close() {
	if err := r.db.Close(); err != nil {
		r.t.Error(err)
	}
}

// start has the engine work.
func (r *rig) start() *rig {
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	ended := make(chan error, 1)
	r.ended = ended
	e := r.e
	go func() { ended <- e.Run(ctx) }()
	return r
}

func (r *rig) stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	if err := <-r.ended; err != nil && !errors.Is(err, errKilled) {
		r.t.Errorf("Run = %v", err)
	}
	r.cancel = nil
}

var tester = identity.Caller{Account: "123456789012", Region: "eu-west-1", Kind: identity.KindRoot, ARN: "arn:aws:iam::123456789012:root", AccessKeyID: "AKIAX"}

func (r *rig) ctx() context.Context { return identity.WithCaller(context.Background(), tester) }

func (r *rig) create(name string, w Wanted) string {
	r.t.Helper()
	id, err := r.e.CreateStack(r.ctx(), name, w)
	if err != nil {
		r.t.Fatalf("CreateStack(%s): %v", name, err)
	}
	return id
}

func (r *rig) update(id string, w Wanted) {
	r.t.Helper()
	if _, err := r.e.UpdateStack(r.ctx(), id, w); err != nil {
		r.t.Fatalf("UpdateStack(%s): %v", id, err)
	}
}

func (r *rig) delete(id string) {
	r.t.Helper()
	if err := r.e.DeleteStack(r.ctx(), id, Deletion{}); err != nil {
		r.t.Fatalf("DeleteStack(%s): %v", id, err)
	}
}

func (r *rig) stack(id string) (s store.Stack) {
	r.t.Helper()
	err := r.db.View(context.Background(), func(tx *store.Tx) (err error) {
		s, err = tx.Stack(context.Background(), id)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// settled waits until nothing is to be done to a stack, and returns it.
func (r *rig) settled(id string) store.Stack {
	r.t.Helper()
	var s store.Stack
	r.eventually(id+" settles", func() bool {
		s = r.stack(id)
		return !inProgress(s.Status)
	})
	return s
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	over := time.After(5 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case err := <-r.ended:
			r.t.Fatalf("Run = %v before %s", err, what)
		case <-over:
			buf := make([]byte, 1<<20)
			r.t.Fatalf("in vain: %s\n%s", what, buf[:runtime.Stack(buf, true)])
		}
	}
}

func (r *rig) want(id, status string) store.Stack {
	r.t.Helper()
	s := r.settled(id)
	if s.Status != status {
		r.t.Fatalf("%s is %s (%s); want %s\n%s", s.Name, s.Status, s.Reason, status, strings.Join(r.events(id), "\n"))
	}
	return s
}

func (r *rig) rows(id string) (all []store.StackResource) {
	r.t.Helper()
	err := r.db.View(context.Background(), func(tx *store.Tx) (err error) {
		all, err = tx.StackResources(context.Background(), id)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

func (r *rig) resource(id, logicalID string) store.StackResource {
	r.t.Helper()
	for _, row := range ShownResources(r.rows(id)) {
		if row.LogicalID == logicalID {
			return row
		}
	}
	r.t.Fatalf("stack %s has no %s", id, logicalID)
	return store.StackResource{}
}

func (r *rig) allEvents(id string) (all []store.StackEvent) {
	r.t.Helper()
	err := r.db.View(context.Background(), func(tx *store.Tx) (err error) {
		all, err = tx.StackEvents(context.Background(), id, 0, 100_000)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Reverse(all)
	return all
}

// events are those of a stack, oldest first: logical ID, status, whether it has a
// physical ID, and reason.
func (r *rig) events(id string) (lines []string) {
	r.t.Helper()
	for _, e := range r.allEvents(id) {
		line := e.LogicalID + " " + e.Status
		if e.PhysicalID != "" && e.Type != nestedType {
			line += " *"
		}
		if e.Reason != "" {
			line += ": " + e.Reason
		}
		lines = append(lines, line)
	}
	return lines
}

func body(resources string) Wanted {
	return Wanted{Template: Source{Original: `{"Resources": {` + resources + `}}`}}
}

func thing(id, properties string, more ...string) string {
	return fmt.Sprintf(`"%s": {"Type": "Test::Thing", "Properties": {%s}%s}`, id, properties, strings.Join(append([]string{""}, more...), ", "))
}

func things(all ...string) Wanted { return body(strings.Join(all, ", ")) }

// testPostgres names the environment variable with the URL of a server on which
// the tests may create databases; .ci/postgres.sh starts one.
const testPostgres = "LAMINA_TEST_POSTGRES"

var needPostgres = testkit.Probe{Name: "postgres", Missing: func() string {
	if os.Getenv(testPostgres) == "" {
		return testPostgres + " is not set; see .ci/postgres.sh"
	}
	return ""
}}

func eachDatabase(t *testing.T, run func(t *testing.T, o store.Options)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		run(t, store.Options{Path: filepath.Join(t.TempDir(), "lamina.db"), SecretKey: testKey})
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		run(t, postgresOptions(t))
	})
}

func postgresOptions(t testing.TB) store.Options {
	testkit.Need(t, needPostgres)
	server, err := url.Parse(os.Getenv(testPostgres))
	if err != nil {
		t.Fatal(err)
	}
	name := "lamina_" + strings.ToLower(rand.Text())
	on := func(statement string) {
		db, err := sql.Open("pgx", os.Getenv(testPostgres))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	on("CREATE DATABASE " + name)
	t.Cleanup(func() { on("DROP DATABASE " + name + " WITH (FORCE)") })
	server.Path = "/" + name
	return store.Options{URL: server.String(), SecretKey: testKey}
}
