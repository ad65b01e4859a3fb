package control_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// fakeProvisioner remembers what it is asked for. The test says how far it is.
type fakeProvisioner struct {
	mu      sync.Mutex
	asked   map[string]int64 // by the version's ARN; released ones are absent
	state   map[string]lamina.Provisioning
	changed chan struct{} // closed and replaced at every change
}

func newFakeProvisioner() *fakeProvisioner {
	return &fakeProvisioner{asked: map[string]int64{}, state: map[string]lamina.Provisioning{}, changed: make(chan struct{})}
}

func (f *fakeProvisioner) Provision(v lamina.Version, n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[v.ARN()] = n
	if n == 0 {
		delete(f.asked, v.ARN())
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeProvisioner) Provisioned(v lamina.Version) lamina.Provisioning {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state[v.ARN()]
}

func (f *fakeProvisioner) set(arn string, s lamina.Provisioning) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state[arn] = s
}

// wait returns when n environments of the version are asked for.
func (f *fakeProvisioner) wait(t *testing.T, arn string, n int64) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		f.mu.Lock()
		got, changed := f.asked[arn], f.changed
		f.mu.Unlock()
		if got == n {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("asked for %d environments of %s; want %d", got, arn, n)
		}
	}
}

const hello = "arn:aws:lambda:eu-west-1:000000000000:function:hello"

// provisionedPlane is a running plane with room for ten reserved executions,
// and the context of a caller. stop ends it early.
func provisionedPlane(t *testing.T, f *fakeProvisioner, invoker *fakeInvoker, path string) (p *control.Plane, ctx context.Context, stop func()) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	limits := lamina.DefaultLimits()
	limits.ConcurrentExecutions = 110
	p = control.New(control.Options{
		Store: db, Invoker: invoker, Provisioner: f, Locations: noLocations{}, Limits: limits,
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	running, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	for _, run := range []func(context.Context) error{p.Run, p.KeepProvisioned} {
		parts.Go(func() {
			if err := run(running); err != nil {
				t.Error(err)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		parts.Wait()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	ctx = identity.WithCaller(t.Context(), identity.Caller{Account: "000000000000", Region: "eu-west-1", ARN: "arn:aws:iam::000000000000:root"})
	return p, ctx, stop
}

// published makes the function hello with so many versions.
func published(t *testing.T, p *control.Plane, ctx context.Context, versions int) {
	t.Helper()
	create(t, p, ctx, "hello")
	for i := range versions {
		settled(t, p, ctx, "hello")
		if i > 0 {
			_, err := p.UpdateFunctionConfiguration(ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "hello", Description: ptr(string(rune('a' + i)))})
			if err != nil {
				t.Fatal(err)
			}
			settled(t, p, ctx, "hello")
		}
		if _, err := p.PublishVersion(ctx, &wire.PublishVersionRequest{FunctionName: "hello"}); err != nil {
			t.Fatal(err)
		}
	}
}

func putProvisioned(p *control.Plane, ctx context.Context, qualifier string, n int64) (*wire.PutProvisionedConcurrencyConfigResponse, error) {
	return p.PutProvisionedConcurrencyConfig(ctx, &wire.PutProvisionedConcurrencyConfigRequest{
		FunctionName: "hello", Qualifier: qualifier, ProvisionedConcurrentExecutions: n,
	})
}

func mustProvision(t *testing.T, p *control.Plane, ctx context.Context, qualifier string, n int64) {
	t.Helper()
	if _, err := putProvisioned(p, ctx, qualifier, n); err != nil {
		t.Fatalf("PutProvisionedConcurrencyConfig(%s, %d): %v", qualifier, n, err)
	}
}

func alias(t *testing.T, p *control.Plane, ctx context.Context, name, version string) {
	t.Helper()
	if _, err := p.CreateAlias(ctx, &wire.CreateAliasRequest{FunctionName: "hello", Name: name, FunctionVersion: version}); err != nil {
		t.Fatal(err)
	}
}

func wantProvisioned(t *testing.T, p *control.Plane, ctx context.Context, qualifier, status, reason string, ready int64) {
	t.Helper()
	got, err := p.GetProvisionedConcurrencyConfig(ctx, &wire.GetProvisionedConcurrencyConfigRequest{FunctionName: "hello", Qualifier: qualifier})
	if err != nil {
		t.Fatalf("GetProvisionedConcurrencyConfig(%s): %v", qualifier, err)
	}
	gotReason := ""
	if got.StatusReason != nil {
		gotReason = *got.StatusReason
	}
	if *got.Status != status || gotReason != reason || *got.AvailableProvisionedConcurrentExecutions != ready || *got.AllocatedProvisionedConcurrentExecutions != ready {
		t.Errorf("%s = %s %q, %d available, %d allocated; want %s %q, %d", qualifier, *got.Status, gotReason,
			*got.AvailableProvisionedConcurrentExecutions, *got.AllocatedProvisionedConcurrentExecutions, status, reason, ready)
	}
}

func TestProvisionedStatesAreTheEnvironments(t *testing.T) {
	t.Parallel()
	f := newFakeProvisioner()
	p, ctx, _ := provisionedPlane(t, f, &fakeInvoker{}, database(t))
	published(t, p, ctx, 1)
	revision := func() string {
		v, err := p.GetFunctionConfiguration(ctx, &wire.GetFunctionConfigurationRequest{FunctionName: "hello", Qualifier: ptr("1")})
		if err != nil {
			t.Fatal(err)
		}
		return *v.RevisionId
	}
	before := revision()
	put, err := putProvisioned(p, ctx, "1", 3)
	if err != nil {
		t.Fatal(err)
	}
	if *put.Status != "IN_PROGRESS" || *put.AllocatedProvisionedConcurrentExecutions != 0 || *put.RequestedProvisionedConcurrentExecutions != 3 {
		t.Errorf("Put = %s, %d of %d; want IN_PROGRESS, 0 of 3", *put.Status, *put.AllocatedProvisionedConcurrentExecutions, *put.RequestedProvisionedConcurrentExecutions)
	}
	if revision() == before {
		t.Error("the version's RevisionId did not change")
	}
	f.wait(t, hello+":1", 3)
	wantProvisioned(t, p, ctx, "1", "IN_PROGRESS", "", 0)
	f.set(hello+":1", lamina.Provisioning{Ready: 2})
	wantProvisioned(t, p, ctx, "1", "IN_PROGRESS", "", 2)
	f.set(hello+":1", lamina.Provisioning{Failure: lamina.InitFailure})
	wantProvisioned(t, p, ctx, "1", "FAILED", "FUNCTION_ERROR_INIT_FAILURE", 0)
	f.set(hello+":1", lamina.Provisioning{Ready: 3})
	wantProvisioned(t, p, ctx, "1", "READY", "", 3)

	list, err := p.ListProvisionedConcurrencyConfigs(ctx, &wire.ListProvisionedConcurrencyConfigsRequest{FunctionName: "hello"})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.ProvisionedConcurrencyConfigs) != 1 || *list.ProvisionedConcurrencyConfigs[0].FunctionArn != hello+":1" || *list.ProvisionedConcurrencyConfigs[0].Status != "READY" {
		t.Errorf("List = %v; want %s:1 READY", list.ProvisionedConcurrencyConfigs, hello)
	}

	if _, err := p.DeleteProvisionedConcurrencyConfig(ctx, &wire.DeleteProvisionedConcurrencyConfigRequest{FunctionName: "hello", Qualifier: "1"}); err != nil {
		t.Fatal(err)
	}
	f.wait(t, hello+":1", 0)
	_, err = p.GetProvisionedConcurrencyConfig(ctx, &wire.GetProvisionedConcurrencyConfigRequest{FunctionName: "hello", Qualifier: "1"})
	wantException(t, "Get after Delete", err, wire.ProvisionedConcurrencyConfigNotFound, "No Provisioned Concurrency Config found for this function")
}

func TestProvisionedFollowsItsAlias(t *testing.T) {
	t.Parallel()
	f := newFakeProvisioner()
	path := database(t)
	p, ctx, stop := provisionedPlane(t, f, &fakeInvoker{}, path)
	published(t, p, ctx, 2)
	alias(t, p, ctx, "live", "1")
	mustProvision(t, p, ctx, "live", 4)
	f.wait(t, hello+":1", 4)

	move := &wire.UpdateAliasRequest{FunctionName: "hello", Name: "live", RoutingConfig: &wire.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"2": 0.25}}}
	if _, err := p.UpdateAlias(ctx, move); err != nil {
		t.Fatal(err)
	}
	f.wait(t, hello+":1", 3)
	f.wait(t, hello+":2", 1)
	move = &wire.UpdateAliasRequest{FunctionName: "hello", Name: "live", FunctionVersion: ptr("2"), RoutingConfig: &wire.AliasRoutingConfiguration{}}
	if _, err := p.UpdateAlias(ctx, move); err != nil {
		t.Fatal(err)
	}
	f.wait(t, hello+":1", 0)
	f.wait(t, hello+":2", 4)
	_, err := p.UpdateAlias(ctx, &wire.UpdateAliasRequest{FunctionName: "hello", Name: "live", FunctionVersion: ptr("$LATEST")})
	wantException(t, "move to $LATEST", err, wire.InvalidParameterValue, "Provisioned Concurrency Configs cannot be applied to unpublished function versions.")

	stop()
	f = newFakeProvisioner()
	p, ctx, _ = provisionedPlane(t, f, &fakeInvoker{}, path)
	f.wait(t, hello+":2", 4) // resumed

	if _, err := p.DeleteAlias(ctx, &wire.DeleteAliasRequest{FunctionName: "hello", Name: "live"}); err != nil {
		t.Fatal(err)
	}
	f.wait(t, hello+":2", 0)
}

func TestProvisionedGoesWithTheVersionAndTheFunction(t *testing.T) {
	t.Parallel()
	f := newFakeProvisioner()
	p, ctx, _ := provisionedPlane(t, f, &fakeInvoker{}, database(t))
	published(t, p, ctx, 2)
	for _, v := range []string{"1", "2"} {
		mustProvision(t, p, ctx, v, 2)
		f.wait(t, hello+":"+v, 2)
	}
	if _, err := p.DeleteFunction(ctx, &wire.DeleteFunctionRequest{FunctionName: "hello", Qualifier: ptr("1")}); err != nil {
		t.Fatal(err)
	}
	f.wait(t, hello+":1", 0)
	if _, err := p.DeleteFunction(ctx, &wire.DeleteFunctionRequest{FunctionName: "hello"}); err != nil {
		t.Fatal(err)
	}
	f.wait(t, hello+":2", 0)
}

func TestProvisionedWaitsForThePreparation(t *testing.T) {
	t.Parallel()
	f := newFakeProvisioner()
	invoker := &fakeInvoker{gate: make(chan struct{})}
	p, ctx, _ := provisionedPlane(t, f, invoker, database(t))
	create(t, p, ctx, "hello", func(in *wire.CreateFunctionRequest) { in.Publish = ptr(true) })
	mustProvision(t, p, ctx, "1", 1)
	wantProvisioned(t, p, ctx, "1", "IN_PROGRESS", "", 0)
	close(invoker.gate)
	f.wait(t, hello+":1", 1)
}

func TestProvisionedConflicts(t *testing.T) {
	t.Parallel()
	p, ctx, _ := provisionedPlane(t, newFakeProvisioner(), &fakeInvoker{}, database(t))
	published(t, p, ctx, 2)
	alias(t, p, ctx, "live", "1")
	alias(t, p, ctx, "other", "1")
	alias(t, p, ctx, "newest", "$LATEST")
	mustProvision(t, p, ctx, "1", 1)
	const provisioned = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
	_, err := putProvisioned(p, ctx, "live", 1)
	wantException(t, "alias of a provisioned version", err, wire.ResourceConflict, provisioned)
	if _, err := p.DeleteProvisionedConcurrencyConfig(ctx, &wire.DeleteProvisionedConcurrencyConfigRequest{FunctionName: "hello", Qualifier: "1"}); err != nil {
		t.Fatal(err)
	}
	mustProvision(t, p, ctx, "live", 1)
	_, err = putProvisioned(p, ctx, "1", 1)
	wantException(t, "version of a provisioned alias", err, wire.ResourceConflict, "Version is pointed by a Provisioned Concurrency alias")
	_, err = putProvisioned(p, ctx, "other", 1)
	wantException(t, "second alias of the version", err, wire.ResourceConflict, provisioned)
	mustProvision(t, p, ctx, "2", 1)
	_, err = p.UpdateAlias(ctx, &wire.UpdateAliasRequest{FunctionName: "hello", Name: "live", FunctionVersion: ptr("2")})
	wantException(t, "move to a provisioned version", err, wire.ResourceConflict, provisioned)
	_, err = putProvisioned(p, ctx, "newest", 1)
	wantException(t, "alias of $LATEST", err, wire.InvalidParameterValue, "Provisioned Concurrency Configs cannot be applied to unpublished function versions.")
	mustProvision(t, p, ctx, "live", 2) // its own configuration is no conflict
}

func TestProvisionedLimits(t *testing.T) {
	t.Parallel()
	p, ctx, _ := provisionedPlane(t, newFakeProvisioner(), &fakeInvoker{}, database(t))
	published(t, p, ctx, 2)
	create(t, p, ctx, "neighbour")
	reserve := func(name string, n int64) error {
		_, err := p.PutFunctionConcurrency(ctx, &wire.PutFunctionConcurrencyRequest{FunctionName: name, ReservedConcurrentExecutions: n})
		return err
	}
	unreserved := func() int64 {
		s, err := p.GetAccountSettings(ctx, &wire.GetAccountSettingsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return *s.AccountLimit.UnreservedConcurrentExecutions
	}
	_, err := putProvisioned(p, ctx, "1", 111)
	wantException(t, "above the account", err, wire.InvalidParameterValue, "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [110].")
	_, err = putProvisioned(p, ctx, "1", 11)
	wantException(t, "below the minimum", err, wire.InvalidParameterValue, "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100].")
	mustProvision(t, p, ctx, "1", 6)
	mustProvision(t, p, ctx, "2", 1)
	if got := unreserved(); got != 103 {
		t.Errorf("unreserved = %d; want 103", got)
	}
	_, err = putProvisioned(p, ctx, "2", 5)
	wantException(t, "both together", err, wire.InvalidParameterValue, "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100].")
	wantException(t, "a neighbour's reservation", reserve("neighbour", 4), wire.InvalidParameterValue,
		"Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100].")
	wantException(t, "reserved below provisioned", reserve("hello", 6), wire.InvalidParameterValue,
		" ReservedConcurrentExecutions  6 should not be lower than function's total provisioned concurrency [7].")
	if err := reserve("hello", 8); err != nil {
		t.Fatal(err)
	}
	if got := unreserved(); got != 102 {
		t.Errorf("unreserved = %d; want 102: what is provisioned is part of what is reserved", got)
	}
	_, err = putProvisioned(p, ctx, "2", 3)
	wantException(t, "above the reservation", err, wire.InvalidParameterValue, "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function")
	mustProvision(t, p, ctx, "2", 2)
}

// TestProvisionedTakesFromReserved has one execution reserved and provisioned
// for version 1: the rest of the function has none.
func TestProvisionedTakesFromReserved(t *testing.T) {
	t.Parallel()
	invoker := &fakeInvoker{holding: make(chan struct{})}
	p, ctx, _ := provisionedPlane(t, newFakeProvisioner(), invoker, database(t))
	published(t, p, ctx, 1)
	if _, err := p.PutFunctionConcurrency(ctx, &wire.PutFunctionConcurrencyRequest{FunctionName: "hello", ReservedConcurrentExecutions: 1}); err != nil {
		t.Fatal(err)
	}
	mustProvision(t, p, ctx, "1", 1)
	_, err := p.Invoke(ctx, &wire.InvocationRequest{FunctionName: "hello"})
	wantException(t, "Invoke($LATEST)", err, wire.TooManyRequests, "Rate Exceeded.")
	first := make(chan error, 1)
	go func() {
		_, err := p.Invoke(ctx, &wire.InvocationRequest{FunctionName: "hello", Qualifier: ptr("1")})
		first <- err
	}()
	invoker.holding <- struct{}{}
	if err := <-first; err != nil {
		t.Errorf("Invoke(1) = %v; want success", err)
	}
}
