package server_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/lamina-run/lamina/audit"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/server"
	"github.com/lamina-run/lamina/wire"
)

// TestRequestFromInside: what a part of Lamina asks is asked for a caller, and
// audited as any other request.
func TestRequestFromInside(t *testing.T) {
	t.Parallel()
	var told []audit.Entry
	s := server.New(server.Options{
		Audit: func(e audit.Entry) { told = append(told, e) },
		Services: map[string]http.Handler{"iam": http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			c, _ := identity.CallerOf(req.Context())
			r := wire.RecordOf(req.Context())
			r.Operation, r.Mutates = "CreateRole", true
			body, _ := io.ReadAll(req.Body)
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, c.Service+" "+c.Account+" "+string(body))
		})},
	})
	ctx := identity.WithCaller(t.Context(), identity.Caller{Account: "111122223333", Service: "cloudformation", ARN: "arn:aws:iam::111122223333:root"})
	ask := func(service, body string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://lamina/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return s.Do(service, req)
	}
	resp, err := ask("iam", "hello")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusCreated || string(body) != "iam 111122223333 hello" {
		t.Errorf("answer = %d %q; want 201 and the caller", resp.StatusCode, body)
	}
	if len(told) != 1 || told[0].Operation != "CreateRole" || told[0].Service != "iam" || told[0].Status != http.StatusCreated || told[0].RequestID == "" {
		t.Errorf("audited = %+v; want CreateRole once", told)
	}
	if _, err := ask("rds", ""); err == nil {
		t.Error("a service that there is not answered")
	}
	ctx = t.Context()
	if _, err := ask("iam", ""); err == nil {
		t.Error("nobody was answered")
	}
}
