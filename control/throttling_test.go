package control_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// throttlePlane is a plane with its own limits and clock.
func throttlePlane(t *testing.T, f *fakeInvoker, now func() time.Time, edit func(*lamina.Limits)) (*control.Plane, context.Context) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: database(t)})
	if err != nil {
		t.Fatal(err)
	}
	limits := lamina.DefaultLimits()
	edit(&limits)
	p := control.New(control.Options{
		Store: db, Invoker: f, Provisioner: newFakeProvisioner(), Locations: noLocations{}, Limits: limits,
		Log: slog.New(slog.DiscardHandler), Now: now,
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
	t.Cleanup(func() {
		cancel()
		parts.Wait()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, identity.WithCaller(t.Context(), identity.Caller{Account: "000000000000", Region: "eu-west-1", ARN: "arn:aws:iam::000000000000:root"})
}

// reasonOf is why an invocation was refused, "" for one that was not.
func reasonOf(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*wire.Exception](err)
	if !ok || !wire.TooManyRequests.Is(err) {
		t.Errorf("Invoke = %v; want TooManyRequestsException", err)
		return "?"
	}
	rec := httptest.NewRecorder()
	wire.WriteException(rec, e)
	body := rec.Body.String()
	if rec.Code != 429 || !strings.Contains(body, `"Rate Exceeded."`) {
		t.Errorf("answer = %d %s; want 429 Rate Exceeded.", rec.Code, body)
	}
	for _, reason := range []string{
		"ReservedFunctionConcurrentInvocationLimitExceeded", "ConcurrentInvocationLimitExceeded",
		"ReservedFunctionInvocationRateLimitExceeded", "FunctionInvocationRateLimitExceeded",
	} {
		if strings.Contains(body, `"Reason":"`+reason+`"`) {
			return reason
		}
	}
	return body
}

const (
	reservedFull   = "ReservedFunctionConcurrentInvocationLimitExceeded"
	unreservedFull = "ConcurrentInvocationLimitExceeded"
)

func TestParallelInvocations(t *testing.T) {
	t.Parallel()
	reserve := func(p *control.Plane, ctx context.Context, name string, n int64) error {
		_, err := p.PutFunctionConcurrency(ctx, &wire.PutFunctionConcurrencyRequest{FunctionName: name, ReservedConcurrentExecutions: n})
		return err
	}
	for _, c := range []struct {
		name    string
		prepare func(p *control.Plane, ctx context.Context) error
		calls   map[string]int // by what is invoked, all at once
		want    map[string]int // by reason; "" succeeded
	}{
		{"the account's concurrency is shared", nil, map[string]int{"hello": 4, "other": 4}, map[string]int{"": 6, unreservedFull: 2}},
		{
			"nothing reserved blocks", func(p *control.Plane, ctx context.Context) error { return reserve(p, ctx, "hello", 0) },
			map[string]int{"hello": 3, "other": 3},
			map[string]int{"": 3, reservedFull: 3},
		},
		{
			"the reservation is a bound", func(p *control.Plane, ctx context.Context) error { return reserve(p, ctx, "hello", 2) },
			map[string]int{"hello": 5},
			map[string]int{"": 2, reservedFull: 3},
		},
		{
			"and a guarantee, which others don't get", func(p *control.Plane, ctx context.Context) error { return reserve(p, ctx, "hello", 2) },
			map[string]int{"hello": 2, "other": 7},
			map[string]int{"": 6, unreservedFull: 3},
		},
		{"provisioned concurrency spills over into the account's", func(p *control.Plane, ctx context.Context) error {
			_, err := putProvisioned(p, ctx, "1", 2)
			return err
		}, map[string]int{"hello:1": 8}, map[string]int{"": 6, unreservedFull: 2}},
		{"it is the version's alone", func(p *control.Plane, ctx context.Context) error {
			_, err := putProvisioned(p, ctx, "1", 2)
			return err
		}, map[string]int{"other": 6, "hello:1": 2}, map[string]int{"": 6, unreservedFull: 2}},
		{"it spills over into what the function reserves", func(p *control.Plane, ctx context.Context) error {
			if err := reserve(p, ctx, "hello", 3); err != nil {
				return err
			}
			_, err := putProvisioned(p, ctx, "1", 2)
			return err
		}, map[string]int{"hello:1": 5}, map[string]int{"": 3, reservedFull: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := &fakeInvoker{holding: make(chan struct{})}
			p, ctx := throttlePlane(t, f, time.Now, func(l *lamina.Limits) { l.ConcurrentExecutions, l.MinimumUnreserved = 6, 1 })
			published(t, p, ctx, 1)
			create(t, p, ctx, "other")
			settled(t, p, ctx, "other")
			if c.prepare != nil {
				if err := c.prepare(p, ctx); err != nil {
					t.Fatal(err)
				}
			}
			total := 0
			for _, n := range c.calls {
				total += n
			}
			answers := make(chan error, total) // each invocation sends once
			var calls sync.WaitGroup
			for name, n := range c.calls {
				for range n {
					calls.Go(func() {
						_, err := p.Invoke(ctx, &wire.InvocationRequest{FunctionName: name})
						answers <- err
					})
				}
			}
			got := map[string]int{}
			for range total - c.want[""] { // while the others are held
				got[reasonOf(t, <-answers)]++
			}
			for range c.want[""] {
				f.holding <- struct{}{}
			}
			for range c.want[""] {
				got[reasonOf(t, <-answers)]++
			}
			calls.Wait()
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("answers differ (-want +got):\n%s", diff)
			}
			f.holding = nil
			if _, err := p.Invoke(ctx, &wire.InvocationRequest{FunctionName: "other"}); err != nil {
				t.Errorf("Invoke afterwards: %v", err)
			}
		})
	}
}

func TestRequestRate(t *testing.T) {
	t.Parallel()
	var late atomic.Int64
	start := time.Now()
	p, ctx := throttlePlane(t, &fakeInvoker{}, func() time.Time { return start.Add(time.Duration(late.Load())) }, func(l *lamina.Limits) {
		l.ConcurrentExecutions, l.MinimumUnreserved, l.RequestRate = 3, 1, 10
	})
	for _, name := range []string{"hello", "other"} {
		create(t, p, ctx, name)
		settled(t, p, ctx, name)
	}
	if _, err := p.PutFunctionConcurrency(ctx, &wire.PutFunctionConcurrencyRequest{FunctionName: "hello", ReservedConcurrentExecutions: 1}); err != nil {
		t.Fatal(err)
	}
	served := func(name string, n int, reason string) (served int) {
		t.Helper()
		for range n {
			_, err := p.Invoke(ctx, &wire.InvocationRequest{FunctionName: name})
			switch got := reasonOf(t, err); got {
			case "":
				served++
			case reason:
			default:
				t.Errorf("reason = %s; want %s", got, reason)
			}
		}
		return served
	}
	if n := served("hello", 15, "ReservedFunctionInvocationRateLimitExceeded"); n != 10 {
		t.Errorf("%d of 15 at once served; want 10", n)
	}
	if n := served("other", 40, "FunctionInvocationRateLimitExceeded"); n != 30 {
		t.Errorf("%d of 40 at once served; want 30", n)
	}
	late.Add(int64(300 * time.Millisecond))
	if n := served("hello", 15, "ReservedFunctionInvocationRateLimitExceeded"); n != 3 {
		t.Errorf("%d of 15 after 0.3 s served; want 3", n)
	}
	late.Add(int64(time.Hour))
	if n := served("hello", 15, "ReservedFunctionInvocationRateLimitExceeded"); n != 10 {
		t.Errorf("%d of 15 after an hour served; want 10", n)
	}
}
