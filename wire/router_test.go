package wire

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, method, url, want string }{
		{"a plain route", "POST", "/2015-03-31/functions", "CreateFunction"},
		{"a trailing slash", "GET", "/2015-03-31/functions/", "ListFunctions"},
		{"two trailing slashes", "POST", "/2015-03-31/functions//", "CreateFunction"},
		{"a name", "GET", "/2015-03-31/functions/hello", "GetFunction"},
		{"an ARN in one segment", "GET", "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A111111111111%3Afunction%3Ahello", "GetFunction"},
		{"an ARN with plain colons", "DELETE", "/2015-03-31/functions/arn:aws:lambda:us-east-1:111111111111:function:hello", "DeleteFunction"},
		{"an escaped slash within a name", "GET", "/2015-03-31/functions/a%2Fb/configuration", "GetFunctionConfiguration"},
		{"an escaped dollar sign", "GET", "/2015-03-31/functions/hello%3A%24LATEST", "GetFunction"},
		{"a literal query", "GET", "/2018-10-31/layers?find=LayerVersion&Arn=a", "GetLayerVersionByArn"},
		{"its path without the query", "GET", "/2018-10-31/layers?MaxItems=1", "ListLayers"},
		{"its path with another value", "GET", "/2018-10-31/layers?find=Layer", "ListLayers"},
		{"the other literal query", "GET", "/2019-09-30/functions/f/provisioned-concurrency?List=ALL", "ListProvisionedConcurrencyConfigs"},
		{"its path without the query", "GET", "/2019-09-30/functions/f/provisioned-concurrency?Qualifier=1", "GetProvisionedConcurrencyConfig"},
		{"the method decides", "DELETE", "/2019-09-30/functions/f/provisioned-concurrency?Qualifier=1", "DeleteProvisionedConcurrencyConfig"},
		{"a literal after a name", "GET", "/2019-09-25/functions/f/event-invoke-config/list", "ListFunctionEventInvokeConfigs"},
		{"an unknown path", "GET", "/2015-03-31/nothing", ""},
		{"the root", "GET", "/", ""},
		{"another date", "GET", "/2016-03-31/functions", ""},
		{"an empty name", "GET", "/2015-03-31/functions//configuration", ""},
		{"another method", "PATCH", "/2015-03-31/functions", ""},
	}
	r := NewRouter(Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, ok := r.Match(httptest.NewRequest(tt.method, tt.url, nil))
			if got != tt.want || ok != (tt.want != "") {
				t.Errorf("Match(%s %s) = %q, %t; want %q", tt.method, tt.url, got, ok, tt.want)
			}
		})
	}
}

func TestEveryOperationHasItsOwnRequest(t *testing.T) {
	t.Parallel()
	r := NewRouter(Options{})
	for _, op := range Operations() {
		path := strings.NewReplacer("{", "x", "}", "").Replace(op.Path)
		got, _ := r.Match(httptest.NewRequest(op.Method, path+"?"+op.Query, nil))
		if got != op.Name {
			t.Errorf("Match(%s %s?%s) = %q; want %s", op.Method, path, op.Query, got, op.Name)
		}
	}
}

func TestUnknownRequests(t *testing.T) {
	t.Parallel()
	r := NewRouter(Options{})
	wantException(t, do(r, httptest.NewRequest("GET", "/2015-03-31/nothing", nil)), 404, "UnknownOperationException",
		`{"message":"No operation of this service has the request GET /2015-03-31/nothing"}`)
	wantException(t, do(r, httptest.NewRequest("PATCH", "/2015-03-31/functions", nil)), 405, "UnknownOperationException",
		`{"message":"No operation of this service has the request PATCH /2015-03-31/functions"}`)
}

func TestOperationThatIsNotOffered(t *testing.T) {
	t.Parallel()
	r := NewRouter(Options{})
	req := httptest.NewRequest("POST", "/2015-03-31/functions", nil)
	req.Body = unreadBody{t}
	wantException(t, do(r, req), 501, "NotImplementedException", `{"Message":"Lamina does not offer CreateFunction yet.","Type":"User"}`)
	if r.Handled("CreateFunction") {
		t.Error("Handled = true; want false")
	}
}

type unreadBody struct{ t *testing.T }

func (b unreadBody) Read([]byte) (int, error) {
	b.t.Error("the body is read")
	return 0, http.ErrBodyReadAfterClose
}
func (unreadBody) Close() error { return nil }

func TestHandleRefusesABrokenProgram(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*Router){
		"an unknown operation": func(r *Router) {
			Handle(r, "MakeCoffee", func(context.Context, *GetFunctionRequest) (*GetFunctionResponse, error) { return nil, nil })
		},
		"another input": func(r *Router) {
			Handle(r, "GetFunction", func(context.Context, *GetAliasRequest) (*GetFunctionResponse, error) { return nil, nil })
		},
		"another output": func(r *Router) {
			Handle(r, "GetFunction", func(context.Context, *GetFunctionRequest) (*NoContent, error) { return nil, nil })
		},
		"a second handler": func(r *Router) {
			for range 2 {
				Handle(r, "GetFunction", func(context.Context, *GetFunctionRequest) (*GetFunctionResponse, error) { return nil, nil })
			}
		},
	}
	for name, register := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() == nil {
					t.Error("Handle returns; want a panic")
				}
			}()
			register(NewRouter(Options{}))
		})
	}
}

// Every generated tag must be one that the engine understands.
func TestEveryShapeHasAPlan(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		for _, typ := range []reflect.Type{op.in, op.out} {
			if s := shapeOf(typ); s.name == "" {
				t.Errorf("shape of %s has no name", typ)
			}
		}
	}
	for _, p := range patterns {
		p.matches("") // panics if it can not be compiled
	}
}

func TestOperationsTable(t *testing.T) {
	t.Parallel()
	got := OperationsTable(func(name string) bool { return name == "ListLayers" }, func(name string) string {
		if name == "GetCapacityProvider" {
			return "capacity providers"
		}
		return ""
	})
	for _, want := range []string{
		"Lamina offers 1 of 85 operations and declines 1.\n",
		"| GetCapacityProvider | `GET /2025-11-30/capacity-providers/{CapacityProviderName}` | 200 | declined: capacity providers |\n",
		"| ListLayers | `GET /2018-10-31/layers` | 200 | yes |\n",
		"| GetLayerVersionByArn | `GET /2018-10-31/layers?find=LayerVersion` | 200 | no |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("table = %s; want %q in it", got, want)
		}
	}
}

// FuzzRoute: an escaped name comes back as it was, and no path panics.
func FuzzRoute(f *testing.F) {
	for _, seed := range []string{"hello", "arn:aws:lambda:us-east-1:1:function:f:$LATEST", "a/b", "%2F", "..", ".", "a?b#c", " ", "\x00", "ü"} {
		f.Add(seed)
	}
	r := NewRouter(Options{})
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" {
			return
		}
		u, err := url.Parse("http://localhost/2015-03-31/functions/" + url.PathEscape(name) + "/configuration")
		if err != nil {
			t.Fatal(err)
		}
		rt, params, ex := r.match(&http.Request{Method: "GET", URL: u})
		if ex != nil || rt.Name != "GetFunctionConfiguration" || params["FunctionName"] != name {
			t.Fatalf("match(%q) = %v, %q, %v; want the name", u, rt, params, ex)
		}
		if u, err := url.Parse("http://localhost/" + name); err == nil {
			r.match(&http.Request{Method: "GET", URL: u})
		}
	})
}
