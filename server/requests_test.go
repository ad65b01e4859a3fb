package server

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/wire"
	"github.com/lamina-run/lamina/wire/jsontarget"
)

// limited serves with a limit of two requests of each kind, three of GetFunction,
// and a clock that stands still until it is moved.
type limited struct {
	t      *testing.T
	server *Server

	mu  sync.Mutex
	now time.Time
}

func startLimited(t *testing.T) *limited {
	t.Helper()
	l := &limited{t: t, now: time.Now().Truncate(time.Second)}
	clock := func() time.Time {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.now
	}
	reads := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if err := identity.Settle(req); err != nil {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	router := wire.NewRouter(wire.Options{})
	keys := someKeys{}
	for id, account := range map[string]string{"OWN": "000000000000", "OTHER": "111111111111"} {
		keys[id] = identity.Key{ID: id, Secret: "secret", Account: account}
	}
	l.server = New(Options{
		Log: slog.New(slog.DiscardHandler), Verifier: identity.NewVerifier(keys, clock), Requests: NewRequests(2, 3, clock),
		Services: map[string]http.Handler{"lambda": router, "sts": reads, "iam": reads, LogsService: reads},
	})
	return l
}

func (l *limited) move(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.now.Add(d)
}

// ask sends a request signed with the secret, and returns the answer.
func (l *limited) ask(key, secret, service, region, method, target, body string, headers ...string) *http.Response {
	l.t.Helper()
	req := httptest.NewRequest(method, "http://lamina.test"+target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	signAt(l.t, req, key, secret, service, region, body, l.now)
	w := httptest.NewRecorder()
	l.server.ServeHTTP(w, req)
	return w.Result()
}

const (
	listed  = "/2015-03-31/functions"
	getting = listed + "/f/policy"
	invoked = listed + "/f/invocations"
)

// throttled reports whether the answer is that of one request too many.
func throttled(t *testing.T, res *http.Response) bool {
	t.Helper()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), "Rate exceeded")
}

func TestRequestLimits(t *testing.T) {
	t.Parallel()
	l := startLimited(t)
	lambda := func(key, region, method, target string) bool {
		return throttled(t, l.ask(key, "secret", "lambda", region, method, target, ""))
	}
	// Two at once are fine, whatever they are, a third is not.
	for i, want := range []bool{false, false, true, true} {
		if got := lambda("OWN", "eu-west-1", "GET", []string{listed, "/nothing", listed, "/2018-10-31/layers"}[i]); got != want {
			t.Errorf("request %d is throttled: %v; want %v", i+1, got, want)
		}
	}
	for _, c := range []struct {
		name, key, region, method, target string
		before                            time.Duration
		want                              bool
	}{
		{"an invocation", "OWN", "eu-west-1", "POST", invoked, 0, false},
		{"another account", "OTHER", "eu-west-1", "GET", listed, 0, false},
		{"another region", "OWN", "eu-west-2", "GET", listed, 0, false},
		{"GetPolicy", "OWN", "eu-west-1", "GET", getting, 0, false},
		{"GetPolicy again", "OWN", "eu-west-1", "GET", getting, 0, false},
		{"GetPolicy a third time", "OWN", "eu-west-1", "GET", getting, 0, true},
		{"GetFunction", "OWN", "eu-west-1", "GET", listed + "/f", 0, false},
		{"GetFunction again", "OWN", "eu-west-1", "GET", listed + "/f", 0, false},
		{"GetFunction a third time", "OWN", "eu-west-1", "GET", listed + "/f", 0, false},
		{"GetFunction a fourth time", "OWN", "eu-west-1", "GET", listed + "/f", 0, true},
		{"after 0.4 s", "OWN", "eu-west-1", "GET", listed, 400 * time.Millisecond, true},
		{"after 0.5 s", "OWN", "eu-west-1", "GET", listed, 100 * time.Millisecond, false},
		{"at once", "OWN", "eu-west-1", "GET", listed, 0, true},
		{"after an hour", "OWN", "eu-west-1", "GET", listed, time.Hour, false},
		{"no more than a second's worth came back", "OWN", "eu-west-1", "GET", listed, 0, false},
		{"really", "OWN", "eu-west-1", "GET", listed, 0, true},
	} {
		l.move(c.before)
		if got := lambda(c.key, c.region, c.method, c.target); got != c.want {
			t.Errorf("%s is throttled: %v; want %v", c.name, got, c.want)
		}
	}
	for range 20 {
		if lambda("OWN", "eu-west-1", "POST", invoked) {
			t.Error("an invocation is throttled")
		}
	}
}

// TestRequestLimitAnswers: each protocol has its own way to say it.
func TestRequestLimitAnswers(t *testing.T) {
	t.Parallel()
	l := startLimited(t)
	const form = "application/x-www-form-urlencoded"
	for service, c := range map[string]struct {
		method, target, body string
		headers              []string
		status               int
		code, want           string
	}{
		"lambda":    {"GET", listed, "", nil, 429, "TooManyRequestsException", `{"Reason":"CallerRateLimitExceeded","Type":"User","message":"Rate exceeded"}`},
		"sts":       {"POST", "/", "Action=GetCallerIdentity&Version=2011-06-15", []string{"Content-Type", form}, 400, "", "<Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message>"},
		"iam":       {"POST", "/", "Action=ListUsers&Version=2010-05-08", []string{"Content-Type", form}, 400, "", "<Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message>"},
		LogsService: {"POST", "/", "{}", []string{jsontarget.Header, logsTarget + "DescribeLogGroups"}, 400, "", `{"__type":"ThrottlingException","message":"Rate exceeded"}`},
	} {
		var res *http.Response
		for range 3 {
			res = l.ask("OWN", "secret", service, "eu-west-1", c.method, c.target, c.body, c.headers...)
		}
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != c.status || res.Header.Get("X-Amzn-Errortype") != c.code || !strings.Contains(string(text), c.want) {
			t.Errorf("%s: %d %s %s; want %d %s %s", service, res.StatusCode, res.Header.Get("X-Amzn-Errortype"), text, c.status, c.code, c.want)
		}
	}
}

// TestRequestLimitsOfOthers: who can't sign for an account does not use up what
// is the account's, with whatever body; who can, does.
func TestRequestLimitsOfOthers(t *testing.T) {
	t.Parallel()
	l := startLimited(t)
	big := strings.Repeat("x", 100<<10) // its sender is proven at its end
	for range 10 {
		for _, body := range []string{"", "a=b", big} {
			if res := l.ask("OWN", "wrong", "sts", "eu-west-1", "POST", "/", body); res.StatusCode != 403 {
				t.Fatalf("a wrong signature answers %d", res.StatusCode)
			}
		}
	}
	for i, want := range []bool{false, false, true} {
		if got := throttled(t, l.ask("OWN", "secret", "sts", "eu-west-1", "POST", "/", big)); got != want {
			t.Errorf("request %d with a big body is throttled: %v; want %v", i+1, got, want)
		}
	}
}

// TestRequestLimitsAreBounded: a client can name any region, and gets neither
// memory nor requests without end for it.
func TestRequestLimitsAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	r := NewRequests(2, 0, func() time.Time { return now })
	admitted := 0
	for i := range 1000 {
		c := identity.Caller{Account: "000000000000", Region: fmt.Sprintf("xx-r%d-1", i), Service: "sts"}
		if r.admit(c, "sts", true) == nil {
			admitted++
		}
		if got := len(r.accounts[c.Account]); got > maxRegions+1 {
			t.Fatalf("%d regions have buckets; want at most %d", got, maxRegions+1)
		}
	}
	if want := maxRegions + 2; admitted != want {
		t.Errorf("%d requests of 1000 regions are admitted; want %d", admitted, want)
	}
	now = now.Add(time.Second)
	for i := range 1000 { // what is full again makes room
		c := identity.Caller{Account: "000000000000", Region: fmt.Sprintf("yy-r%d-1", i), Service: "sts"}
		if i < maxRegions && r.admit(c, "sts", true) != nil {
			t.Errorf("the request of new region %d is not admitted", i)
		}
	}
	// Several big bodies that were under way at once leave less than nothing, but
	// not so much that it lasts.
	c := identity.Caller{Account: "111111111111", Region: "eu-west-1", Service: "sts"}
	for range 100 {
		if err := r.admit(c, "sts", false); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		r.settle(c, "sts")
	}
	if r.admit(c, "sts", false) == nil {
		t.Error("a request is admitted after 100 of two")
	}
	now = now.Add(1500 * time.Millisecond)
	if err := r.admit(c, "sts", true); err != nil {
		t.Errorf("1.5 s later: %v", err)
	}
	none := NewRequests(0, 0, time.Now)
	for range 100 {
		if err := none.admit(c, "sts", true); err != nil {
			t.Fatalf("without a limit: %v", err)
		}
	}
}

// TestWhatCounts: nothing but invocations is free.
func TestWhatCounts(t *testing.T) {
	t.Parallel()
	router := wire.NewRouter(wire.Options{})
	for request, want := range map[string]string{
		"POST /2015-03-31/functions/f/invocations":                                "",
		"POST /2015-03-31/functions/f%3Ax/invocations?Qualifier=1":                "",
		"POST /2015-03-31/functions/arn%3Aaws%3Alambda%3Aa%2Fb/invocations":       "",
		"POST /2014-11-13/functions/f/invoke-async":                               "",
		"POST /2014-11-13/functions/f/invoke-async/":                              "",
		"POST /2021-11-15/functions/f/response-streaming-invocations":             "",
		"GET /2015-03-31/functions/f/invocations":                                 "lambda",
		"GET /2015-03-31/functions/invocations":                                   classGetFunction,
		"GET /2015-03-31/functions/f?Qualifier=1":                                 classGetFunction,
		"GET /2015-03-31/functions/f/policy":                                      classGetPolicy,
		"POST /2015-03-31/functions/f/policy":                                     "lambda",
		"POST /2015-03-31/functions":                                              "lambda",
		"POST /2015-03-31/functions//invocations":                                 "lambda",
		"POST /2015-03-31/functions/f/versions/invocations":                       "lambda",
		"DELETE /2017-03-31/tags/invocations":                                     "lambda",
		"POST /2015-03-31/functions/f/aliases/../invocations":                     "lambda",
		"GET /2018-10-31/layers?find=LayerVersion&Arn=arn%3Aaws%3A%2Finvocations": "lambda",
		"GET /": "lambda",
	} {
		method, target, _ := strings.Cut(request, " ")
		if got := classOf("lambda", router, httptest.NewRequest(method, target, nil)); got != want {
			t.Errorf("%s counts for %q; want %q", request, got, want)
		}
	}
	if got := classOf("sts", http.NotFoundHandler(), httptest.NewRequest("POST", invoked, nil)); got != "sts" {
		t.Errorf("a request for STS counts for %q; want sts", got)
	}
}

func BenchmarkRequestLimit(b *testing.B) {
	r := NewRequests(1<<40, 1<<40, time.Now)
	router := wire.NewRouter(wire.Options{})
	c := identity.Caller{Account: "000000000000", Region: "eu-west-1", Service: "lambda"}
	for name, target := range map[string]string{"an invocation": invoked, "a list": listed} {
		method := http.MethodGet
		if target == invoked {
			method = http.MethodPost
		}
		req := httptest.NewRequest(method, target, nil)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := r.admit(c, classOf("lambda", router, req), true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
