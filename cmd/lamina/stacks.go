package main

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/server"
	"github.com/lamina-run/lamina/stack"
	"github.com/lamina-run/lamina/stack/resources"
	"github.com/lamina-run/lamina/store"
)

// within sends the requests of stacks to the services of this server, of which
// CloudFormation is one: so the server is set when there is one, before the engine
// runs and anybody asks.
type within struct{ *server.Server }

// Do implements resources.Services.
func (w *within) Do(service string, req *http.Request) (*http.Response, error) {
	if w.Server == nil {
		return nil, errors.New("the server is not made yet")
	}
	return w.Server.Do(service, req)
}

// newStacks makes what works on stacks, and the API that tells it what to do.
func newStacks(db *store.Store, who identity.Options, answers *resources.Responses, inside *within, log *slog.Logger) (*stack.Engine, http.Handler) {
	engine := stack.New(stack.Options{
		Store: db, Types: resources.New(resources.Options{Services: inside, Responses: answers, Log: log, Now: time.Now}),
		Parameters: stack.SystemsManager{Services: inside}, Roles: who.Authority, Log: log, Now: time.Now,
	})
	return engine, stack.NewAPI(stack.APIOptions{Engine: engine, Authority: who.Authority, Services: inside, Log: log})
}
