package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/metrics"
	"github.com/lamina-run/lamina/wire"
)

// onlyAnn permits everything to ann.
type onlyAnn struct{}

func (onlyAnn) Permit(_ context.Context, c identity.Caller, n identity.Need) error {
	if c.Name != "ann" || n.Action != "cloudwatch:GetMetricData" || n.Resource != "*" || n.Account != c.Account {
		return wire.AccessDenied.Errorf("User: %s is not authorized to perform: %s", c.ARN, n.Action)
	}
	return nil
}

func TestObserved(t *testing.T) {
	t.Parallel()
	const operator, tenant = "000000000000", "222222222222"
	now := time.Date(2026, 1, 2, 3, 4, 30, 0, time.UTC)
	m := metrics.New(metrics.Options{Now: func() time.Time { return now }})
	for i, account := range []string{operator, tenant, tenant} {
		id := lamina.FunctionID{Scope: lamina.Scope{Account: account, Region: "eu-west-1"}, Name: fmt.Sprintf("fn%d", i)}
		m.Begin(id)(lamina.Invoked{RequestID: "r", Ran: true, Version: 2, Measures: lamina.Measures{
			Duration: 20 * time.Millisecond, Cold: &lamina.ColdStart{At: now, Sandbox: 7 * time.Millisecond, Init: 3 * time.Millisecond},
		}})
	}
	elsewhere := lamina.FunctionID{Scope: lamina.Scope{Account: tenant, Region: "us-east-1"}, Name: "fn9"}
	h := NewInternal(Internal{Operator: operator, Log: slog.New(slog.DiscardHandler), Observed: Observed{
		Metrics: m, Authority: onlyAnn{}, Now: func() time.Time { return now },
		Machine: func() Machine { return Machine{CPUs: 3} },
		Environments: func() []VersionEnvironments {
			return []VersionEnvironments{
				{lamina.FunctionID{Scope: lamina.Scope{Account: tenant, Region: "eu-west-1"}, Name: "fn1"}, "$LATEST", Environments{Idle: 1, MaxMemory: 5, Oldest: &now}},
				{lamina.FunctionID{Scope: lamina.Scope{Account: tenant, Region: "eu-west-1"}, Name: "fn1"}, "2", Environments{Busy: 2, MaxMemory: 9}},
				{lamina.FunctionID{Scope: lamina.Scope{Account: tenant, Region: "eu-west-1"}, Name: "fn0"}, "2", Environments{Idle: 1}},
				{elsewhere, "1", Environments{Idle: 1}},
			}
		},
	}})
	root := func(account string) *identity.Caller {
		return &identity.Caller{Account: account, Region: "eu-west-1", Kind: identity.KindRoot, ARN: "root of " + account}
	}
	user := func(account, name string) *identity.Caller {
		return &identity.Caller{Account: account, Region: "eu-west-1", Kind: identity.KindUser, Name: name}
	}
	bounded := root(operator)
	bounded.Session = &identity.Session{}
	for _, c := range []struct {
		name, path string
		caller     *identity.Caller
		status     int
		want       []string // in the answer
		not        []string
	}{
		{"the root's functions", "/_lamina/top", root(tenant), 200, []string{`"FunctionName":"fn1"`, `"FunctionName":"fn2"`, `"Minutes":5`, `"Busy":2,"Idle":1`, `"MaxMemory":9`}, []string{"fn9", operator}},
		{"in the order of names", "/_lamina/top", root(tenant), 200, []string{`"FunctionName":"fn0","Running":0`}, nil},
		{"of a user who may", "/_lamina/top?minutes=180", user(tenant, "ann"), 200, []string{"fn2", `"P50":20`, `"Versions":[{"Version":"2","Invocations":1,"Errors":0}]`}, nil},
		{"of a user who may not", "/_lamina/top", user(tenant, "eve"), 403, []string{"cloudwatch:GetMetricData"}, []string{"fn1"}},
		{"of nobody", "/_lamina/top", nil, 403, nil, []string{"fn1"}},
		{"of a root whose session is bounded", "/_lamina/machine", bounded, 403, nil, []string{"CPUs"}},
		{"everybody's, for the operator", "/_lamina/top?all=true", root(operator), 200, []string{"fn0", "fn1", "fn2", "fn9", tenant}, nil},
		{"everybody's, for a tenant", "/_lamina/top?all=true", root(tenant), 403, nil, []string{"fn0"}},
		{"everybody's, for a user of the operator", "/_lamina/top?all=true", user(operator, "ann"), 403, nil, []string{"fn1"}},
		{"no number", "/_lamina/top?minutes=x", root(tenant), 400, []string{"1 to 180"}, nil},
		{"too many minutes", "/_lamina/top?minutes=181", root(tenant), 400, []string{"1 to 180"}, nil},
		{"neither", "/_lamina/top?all=1", root(tenant), 400, nil, nil},
		{"a history", "/_lamina/functions/fn1/metrics", user(tenant, "ann"), 200, []string{`"FunctionName":"fn1"`, `"Period":60`, `"Invocations":1`}, nil},
		{"a history of hours", "/_lamina/functions/fn1/metrics?from=2026-01-01T00:00:00Z&to=1767323070", user(tenant, "ann"), 200, []string{`"Period":3600`, `"Invocations":1`}, nil},
		{"another account's history", "/_lamina/functions/fn0/metrics", root(tenant), 200, []string{`"Invocations":0`}, []string{`"Invocations":1`}},
		{"a history without permission", "/_lamina/functions/fn1/metrics", user(tenant, "eve"), 403, nil, []string{"Period"}},
		{"no time", "/_lamina/functions/fn1/metrics?from=yesterday", root(tenant), 400, []string{"is no time"}, nil},
		{"backwards", "/_lamina/functions/fn1/metrics?from=200&to=100", root(tenant), 400, nil, nil},
		{"cold starts", "/_lamina/functions/fn1/cold-starts", root(tenant), 200, []string{`"Sandbox":7,"Init":3,"Total":10`, `"RequestId":"r","Version":"2"`}, nil},
		{"another account's cold starts", "/_lamina/functions/fn0/cold-starts", root(tenant), 200, []string{`"ColdStarts":[]`}, nil},
		{"the machine", "/_lamina/machine", root(operator), 200, []string{`"CPUs":3`}, nil},
		{"the machine, for a user of the operator", "/_lamina/machine", user(operator, "ann"), 200, []string{`"CPUs":3`}, nil},
		{"the machine, for a tenant", "/_lamina/machine", root(tenant), 403, nil, []string{"CPUs"}},
		{"only the root has this", "/_lamina/signing-profiles", user(tenant, "ann"), 403, nil, nil},
	} {
		req := httptest.NewRequest(http.MethodGet, c.path, nil)
		if c.caller != nil {
			req = req.WithContext(identity.WithCaller(req.Context(), *c.caller))
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		body := w.Body.String()
		if w.Code != c.status || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d %s; want %d", c.name, w.Code, body, c.status)
		}
		for _, want := range c.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: %s; want %s in it", c.name, body, want)
			}
		}
		for _, not := range c.not {
			if strings.Contains(body, not) {
				t.Errorf("%s: %s; want no %s in it", c.name, body, not)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	h := NewMetrics("the-token-of-this-test", func(text *metrics.Text) {
		text.Family("up", metrics.Gauge, "It is.")
		text.Sample(1, "function", "secret")
	})
	s := New(Options{Log: slog.New(slog.DiscardHandler), Metrics: h, Ready: make(chan struct{})})
	for _, c := range []struct {
		method, authorization string
		status                int
	}{
		{"GET", "Bearer the-token-of-this-test", 200},
		{"HEAD", "bearer  the-token-of-this-test", 200},
		{"GET", "", 401},
		{"GET", "Bearer", 401},
		{"GET", "Bearer ", 401},
		{"GET", "Bearer the-token-of-this-tes", 401},
		{"GET", "Basic the-token-of-this-test", 401},
		{"POST", "Bearer the-token-of-this-test", 405},
	} {
		req := httptest.NewRequest(c.method, "/metrics", nil)
		if c.authorization != "" {
			req.Header.Set("Authorization", c.authorization)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		told := strings.Contains(w.Body.String(), "secret")
		if w.Code != c.status || told != (c.status == 200) {
			t.Errorf("%s with %q: %d %s; want %d", c.method, c.authorization, w.Code, w.Body, c.status)
		}
		if c.status == 401 && w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s with %q is not told how", c.method, c.authorization)
		}
	}
	w := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	req.Header.Set("Authorization", "Bearer ")
	NewMetrics("", func(*metrics.Text) { t.Error("an empty token lets everybody in") }).ServeHTTP(w, req)
}
