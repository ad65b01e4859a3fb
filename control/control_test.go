package control_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// upload is a zip in memory.
type upload struct{ *bytes.Reader }

func (upload) Write([]byte) (int, error)  { return 0, errors.New("read only") }
func (upload) Keep(context.Context) error { return nil }
func (upload) Discard() error             { return nil }
func (u upload) Sum() (sum [32]byte)      { return sha256.Sum256(u.bytes()) }
func (u upload) bytes() []byte            { b := make([]byte, u.Size()); _, _ = u.ReadAt(b, 0); return b }

func zipOf(t *testing.T, body string) upload {
	return upload{bytes.NewReader(testkit.Zip(t, testkit.File{Name: "app.py", Body: body}))}
}

// fakeInvoker answers every invocation with the version that it was asked to
// run. Gate, when set, holds Prepare until it is closed.
type fakeInvoker struct {
	gate    chan struct{} // the test closes it
	refuse  error         // what Prepare returns
	holding chan struct{} // when set, each Invoke receives once before it answers

	mu      sync.Mutex
	retired []string
}

func (f *fakeInvoker) Invoke(ctx context.Context, in lamina.Invocation) (lamina.Result, error) {
	if f.holding != nil {
		select {
		case <-f.holding:
		case <-ctx.Done():
			return lamina.Result{}, ctx.Err()
		}
	}
	return lamina.Result{Payload: []byte(`"` + in.Version.Qualifier() + `"`)}, nil
}

func (f *fakeInvoker) Prepare(ctx context.Context, _ lamina.Version) error {
	if f.gate != nil {
		select {
		case <-f.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return f.refuse
}

func (f *fakeInvoker) Retire(v lamina.Version) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.retired = append(f.retired, v.ARN())
}

type noLocations struct{}

func (noLocations) Location(_ context.Context, d lamina.Digest) string {
	return "http://archives/" + d.String()
}

// emptyDatabase is one that was just made. Making it takes longer than most tests
// do, so it is made once and copied.
var emptyDatabase = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "control")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "lamina.db")
	db, err := store.Open(context.Background(), store.Options{Path: path})
	if err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil { // its log becomes part of the file
		return nil, err
	}
	return os.ReadFile(path)
})

// database returns the path of an empty database.
func database(t *testing.T) string {
	t.Helper()
	data, err := emptyDatabase()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "lamina.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// plane is a running plane on a database of its own, and the context of a caller.
func plane(t *testing.T, f *fakeInvoker) (*control.Plane, context.Context) {
	t.Helper()
	return planeOn(t, f, database(t))
}

func planeOn(t *testing.T, f *fakeInvoker, path string) (*control.Plane, context.Context) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	limits := lamina.DefaultLimits()
	limits.ConcurrentExecutions = 103
	p := control.New(control.Options{
		Store: db, Invoker: f, Locations: noLocations{}, Limits: limits, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // Run sends once
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, db.Close()); err != nil {
			t.Error(err)
		}
	})
	return p, identity.WithCaller(t.Context(), identity.Caller{Account: "000000000000", Region: "eu-west-1", ARN: "arn:aws:iam::000000000000:root"})
}

func ptr[T any](v T) *T { return &v }

func create(t *testing.T, p *control.Plane, ctx context.Context, name string, edit ...func(*wire.CreateFunctionRequest)) *wire.FunctionConfiguration {
	t.Helper()
	in := &wire.CreateFunctionRequest{
		FunctionName: name, Runtime: ptr("python3.12"), Handler: ptr("app.handler"), Role: "arn:aws:iam::000000000000:role/r",
		Code: &wire.FunctionCode{ZipFile: zipOf(t, name)},
	}
	for _, e := range edit {
		e(in)
	}
	out, err := p.CreateFunction(ctx, in)
	if err != nil {
		t.Fatalf("CreateFunction(%s): %v", name, err)
	}
	return out
}

// settled waits until nothing is under way for $LATEST, by invoking it: an
// invocation waits for that.
func settled(t *testing.T, p *control.Plane, ctx context.Context, name string) *wire.FunctionConfiguration {
	t.Helper()
	if _, err := p.Invoke(ctx, &wire.InvocationRequest{FunctionName: name, InvocationType: ptr("DryRun")}); err != nil {
		t.Fatalf("Invoke(%s, DryRun): %v", name, err)
	}
	out, err := p.GetFunctionConfiguration(ctx, &wire.GetFunctionConfigurationRequest{FunctionName: name})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wantException(t *testing.T, what string, err error, kind *wire.Kind, message string) {
	t.Helper()
	ex, ok := errors.AsType[*wire.Exception](err)
	if !ok || !kind.Is(err) || ex.Message() != message {
		t.Errorf("%s = %v; want %s: %s", what, err, kind.Code, message)
	}
}

func TestPendingUntilPrepared(t *testing.T) {
	t.Parallel()
	f := &fakeInvoker{gate: make(chan struct{})}
	p, ctx := plane(t, f)
	made := create(t, p, ctx, "slow")
	if got := *made.State; got != "Pending" {
		t.Errorf("State = %s; want Pending", got)
	}
	_, err := p.UpdateFunctionConfiguration(ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "slow", Description: ptr("x")})
	wantException(t, "update while pending", err, wire.ResourceConflict,
		"The operation cannot be performed at this time. The function is currently in the following state: Pending")
	close(f.gate)
	active := settled(t, p, ctx, "slow")
	if *active.State != "Active" || *active.LastUpdateStatus != "Successful" || active.StateReason != nil {
		t.Errorf("settled = %s, %s, reason %v; want Active, Successful, none", *active.State, *active.LastUpdateStatus, active.StateReason)
	}
	if *active.RevisionId == *made.RevisionId {
		t.Error("RevisionId did not change from Pending to Active")
	}
}

func TestUpdateInProgressRefusesAnother(t *testing.T) {
	t.Parallel()
	f := &fakeInvoker{}
	p, ctx := plane(t, f)
	create(t, p, ctx, "busy")
	settled(t, p, ctx, "busy")
	f.gate = make(chan struct{})
	first, err := p.UpdateFunctionCode(ctx, &wire.UpdateFunctionCodeRequest{FunctionName: "busy", ZipFile: zipOf(t, "2"), Publish: ptr(true)})
	if err != nil {
		t.Fatal(err)
	}
	if *first.Version != "1" || *first.State != "Pending" || first.LastUpdateStatus != nil {
		t.Errorf("published = version %s, %s, %v; want 1, Pending, no LastUpdateStatus", *first.Version, *first.State, first.LastUpdateStatus)
	}
	const busy = "The operation cannot be performed at this time. An update is in progress for resource: arn:aws:lambda:eu-west-1:000000000000:function:busy"
	_, err = p.UpdateFunctionCode(ctx, &wire.UpdateFunctionCodeRequest{FunctionName: "busy", ZipFile: zipOf(t, "3")})
	wantException(t, "second update", err, wire.ResourceConflict, busy)
	_, err = p.PublishVersion(ctx, &wire.PublishVersionRequest{FunctionName: "busy"})
	wantException(t, "publish", err, wire.ResourceConflict, busy)
	close(f.gate)
	settled(t, p, ctx, "busy")
}

func TestPreparationOutlivesTheServer(t *testing.T) {
	t.Parallel()
	path := database(t)
	t.Run("first server stops before the function is active", func(t *testing.T) {
		p, ctx := planeOn(t, &fakeInvoker{gate: make(chan struct{})}, path)
		create(t, p, ctx, "left")
	})
	p, ctx := planeOn(t, &fakeInvoker{}, path)
	if got := settled(t, p, ctx, "left"); *got.State != "Active" {
		t.Errorf("State after the restart = %s; want Active", *got.State)
	}
}

func TestArchiveThatCannotBeUnpacked(t *testing.T) {
	t.Parallel()
	p, ctx := plane(t, &fakeInvoker{refuse: errors.New("broken")})
	create(t, p, ctx, "broken")
	_, err := p.Invoke(ctx, &wire.InvocationRequest{FunctionName: "broken"})
	wantException(t, "invoke", err, wire.ResourceConflict,
		"The operation cannot be performed at this time. The function is currently in the following state: Failed")
}

func TestPublishVersion(t *testing.T) {
	t.Parallel()
	f := &fakeInvoker{}
	p, ctx := plane(t, f)
	create(t, p, ctx, "fn")
	before := settled(t, p, ctx, "fn")
	one, err := p.PublishVersion(ctx, &wire.PublishVersionRequest{FunctionName: "fn", Description: ptr("one")})
	if err != nil {
		t.Fatal(err)
	}
	after := settled(t, p, ctx, "fn")
	if *after.RevisionId == *before.RevisionId || *after.RevisionId == *one.RevisionId {
		t.Error("publishing must give $LATEST a revision of its own")
	}
	again, err := p.PublishVersion(ctx, &wire.PublishVersionRequest{FunctionName: "fn", Description: ptr("two")})
	if err != nil {
		t.Fatal(err)
	}
	if *again.Version != "1" || *again.Description != "one" || *again.RevisionId != *one.RevisionId {
		t.Errorf("unchanged publish = version %s %q %s; want 1 \"one\" %s", *again.Version, *again.Description, *again.RevisionId, *one.RevisionId)
	}
	_, err = p.PublishVersion(ctx, &wire.PublishVersionRequest{FunctionName: "fn", RevisionId: ptr("other")})
	wantException(t, "publish of another revision", err, wire.PreconditionFailed,
		"The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id")

	if _, err := p.DeleteFunction(ctx, &wire.DeleteFunctionRequest{FunctionName: "fn:1"}); err != nil {
		t.Fatal(err)
	}
	two, err := p.PublishVersion(ctx, &wire.PublishVersionRequest{FunctionName: "fn"})
	if err != nil {
		t.Fatal(err)
	}
	if *two.Version != "2" {
		t.Errorf("publish after deleting version 1 = %s; want 2: numbers are not reused", *two.Version)
	}
}

func TestPublishersAtOnce(t *testing.T) {
	t.Parallel()
	p, ctx := plane(t, &fakeInvoker{})
	const writers, each = 8, 10
	numbers := make(chan int64, writers*each) // every publish sends once
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				out, err := p.PublishLayerVersion(ctx, &wire.PublishLayerVersionRequest{
					LayerName: "shared", Content: &wire.LayerVersionContentInput{ZipFile: zipOf(t, fmt.Sprint(w, i))},
				})
				if err != nil {
					t.Error(err)
					return
				}
				numbers <- *out.Version
			}
		})
	}
	group.Wait()
	close(numbers)
	var got []int64
	for n := range numbers {
		got = append(got, n)
	}
	slices.Sort(got)
	for i, n := range got {
		if n != int64(i+1) {
			t.Fatalf("numbers = %v; want 1 to %d, each once", got, writers*each)
		}
	}
}

func TestDeletedLayerStaysWithItsFunctions(t *testing.T) {
	t.Parallel()
	p, ctx := plane(t, &fakeInvoker{})
	layer, err := p.PublishLayerVersion(ctx, &wire.PublishLayerVersionRequest{LayerName: "l", Content: &wire.LayerVersionContentInput{ZipFile: zipOf(t, "l")}})
	if err != nil {
		t.Fatal(err)
	}
	create(t, p, ctx, "fn", func(in *wire.CreateFunctionRequest) { in.Layers = []string{*layer.LayerVersionArn} })
	settled(t, p, ctx, "fn")
	if _, err := p.DeleteLayerVersion(ctx, &wire.DeleteLayerVersionRequest{LayerName: "l", VersionNumber: 1}); err != nil {
		t.Fatal(err)
	}
	updated, err := p.UpdateFunctionConfiguration(ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "fn", Description: ptr("changed")})
	if err != nil {
		t.Fatal(err)
	}
	if len(updated.Layers) != 1 || *updated.Layers[0].Arn != *layer.LayerVersionArn {
		t.Errorf("Layers after an unrelated update = %v; want the deleted version still", updated.Layers)
	}
	settled(t, p, ctx, "fn")
	_, err = p.UpdateFunctionConfiguration(ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "fn", Layers: []string{*layer.LayerVersionArn}})
	wantException(t, "attach a deleted version", err, wire.InvalidParameterValue, "Layer version "+*layer.LayerVersionArn+" does not exist.")
}

func TestConcurrencyLimits(t *testing.T) {
	t.Parallel()
	f := &fakeInvoker{holding: make(chan struct{})}
	p, ctx := plane(t, f)
	create(t, p, ctx, "fn")
	settled(t, p, ctx, "fn")
	_, err := p.PutFunctionConcurrency(ctx, &wire.PutFunctionConcurrencyRequest{FunctionName: "fn", ReservedConcurrentExecutions: 4})
	wantException(t, "reserve too much", err, wire.InvalidParameterValue,
		"Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100].")
	if _, err := p.PutFunctionConcurrency(ctx, &wire.PutFunctionConcurrencyRequest{FunctionName: "fn", ReservedConcurrentExecutions: 1}); err != nil {
		t.Fatal(err)
	}
	answers := make(chan error, 2) // each invocation sends once
	for range 2 {
		go func() {
			_, err := p.Invoke(ctx, &wire.InvocationRequest{FunctionName: "fn"})
			answers <- err
		}()
	}
	wantException(t, "invoke beyond the reservation", <-answers, wire.TooManyRequests, "Rate Exceeded.")
	f.holding <- struct{}{}
	if err := <-answers; err != nil {
		t.Errorf("invoke within the reservation: %v", err)
	}
	if _, err := p.PutFunctionConcurrency(ctx, &wire.PutFunctionConcurrencyRequest{FunctionName: "fn", ReservedConcurrentExecutions: 0}); err != nil {
		t.Fatal(err)
	}
	_, err = p.Invoke(ctx, &wire.InvocationRequest{FunctionName: "fn"})
	wantException(t, "invoke with nothing reserved", err, wire.TooManyRequests, "Rate Exceeded.")
}

func TestAliasFollowsItsTarget(t *testing.T) {
	t.Parallel()
	p, ctx := plane(t, &fakeInvoker{})
	create(t, p, ctx, "fn", func(in *wire.CreateFunctionRequest) { in.Publish = ptr(true) })
	settled(t, p, ctx, "fn")
	if _, err := p.UpdateFunctionConfiguration(ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "fn", Description: ptr("2")}); err != nil {
		t.Fatal(err)
	}
	settled(t, p, ctx, "fn")
	if _, err := p.PublishVersion(ctx, &wire.PublishVersionRequest{FunctionName: "fn"}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.CreateAlias(ctx, &wire.CreateAliasRequest{FunctionName: "fn", Name: "live", FunctionVersion: "1"}); err != nil {
		t.Fatal(err)
	}
	executed := func() string {
		t.Helper()
		out, err := p.Invoke(ctx, &wire.InvocationRequest{FunctionName: "fn:live"})
		if err != nil {
			t.Fatal(err)
		}
		return *out.ExecutedVersion
	}
	if got := executed(); got != "1" {
		t.Errorf("executed = %s; want 1", got)
	}
	if _, err := p.UpdateAlias(ctx, &wire.UpdateAliasRequest{FunctionName: "fn", Name: "live", FunctionVersion: ptr("2")}); err != nil {
		t.Fatal(err)
	}
	if got := executed(); got != "2" {
		t.Errorf("executed after the move = %s; want 2", got)
	}
	if _, err := p.UpdateAlias(ctx, &wire.UpdateAliasRequest{
		FunctionName: "fn", Name: "live", RoutingConfig: &wire.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"1": 1}},
	}); err != nil {
		t.Fatal(err)
	}
	if got := executed(); got != "1" {
		t.Errorf("executed with all weight on 1 = %s; want 1", got)
	}
	_, err := p.DeleteFunction(ctx, &wire.DeleteFunctionRequest{FunctionName: "fn", Qualifier: ptr("1")})
	if !wire.ResourceConflict.Is(err) {
		t.Errorf("delete a version that an alias weighs = %v; want ResourceConflictException", err)
	}
}

func TestRefusedPayload(t *testing.T) {
	t.Parallel()
	p, ctx := plane(t, &fakeInvoker{})
	create(t, p, ctx, "fn")
	const source = "\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: "
	const expected = "expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
	for _, c := range []struct{ name, payload, complaint string }{
		{"a control character", "\x99", "Unexpected character ((CTRL-CHAR, code 153)): " + expected + source + "1]"},
		{"a letter", "hello", "Unexpected character ('h' (code 104)): " + expected + source + "1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := p.Invoke(ctx, &wire.InvocationRequest{FunctionName: "fn", Payload: []byte(c.payload)})
			wantException(t, "invoke", err, wire.InvalidRequestContent,
				"Could not parse request body into json: Could not parse payload into json: "+c.complaint)
		})
	}
}
