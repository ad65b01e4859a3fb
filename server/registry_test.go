package server

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/wire"
)

// onlyIn permits what is about one account.
type onlyIn string

func (o onlyIn) Permit(_ context.Context, _ identity.Caller, n identity.Need) error {
	if n.Account != string(o) {
		return wire.AccessDenied.New("not yours")
	}
	return nil
}

// TestRegistry: there is no repository, and no way to one.
func TestRegistry(t *testing.T) {
	t.Parallel()
	const account = "111122223333"
	h := NewRegistry(onlyIn(account), slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		operation, body string
		status          int
		want            string
	}{
		{"DescribeRepositories", `{}`, 200, `{"repositories":[]}`},
		{
			"DescribeRepositories", `{"repositoryNames":["greeter"],"registryId":"111122223333"}`, 400,
			`{"__type":"RepositoryNotFoundException","message":"The repository with name 'greeter' does not exist in the registry with id '111122223333'"}`,
		},
		{"DescribeRepositories", `{"registryId":"999999999999"}`, 400, `{"__type":"AccessDeniedException","message":"not yours"}`},
		{"DescribeRepositories", `[]`, 400, "SerializationException"},
		{"CreateRepository", `{}`, 400, "Lamina has no registry"},
	} {
		req := httptest.NewRequest("POST", "/", strings.NewReader(c.body))
		req.Header.Set("X-Amz-Target", registryTarget+c.operation)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req.WithContext(identity.WithCaller(t.Context(), identity.Caller{Account: account, Region: "us-east-1"})))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s = %d %s; want %d %s", c.operation, c.body, w.Code, w.Body, c.status, c.want)
		}
	}
}
