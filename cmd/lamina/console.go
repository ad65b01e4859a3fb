package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/lamina-run/lamina/console"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
)

// newConsole makes the web console, nil when it is not wanted. Its sessions are
// sealed with a key that this installation drew at its first start.
func newConsole(ctx context.Context, c *settings, db *store.Store, inside *within, keys *identity.Verifier, archives archives, operator string, log *slog.Logger) (http.Handler, error) {
	if !c.Console {
		return nil, nil //nolint:nilnil // the server has a case for it
	}
	secret, err := settingKey(ctx, db, "console-key")
	if err != nil {
		return nil, err
	}
	limits, err := c.limits()
	if err != nil {
		return nil, err
	}
	return console.New(console.Options{
		API: visitors{inside}, Archives: archives, Keys: keys, Secret: secret, Region: c.Region, Operator: operator, Limits: limits, Log: log, Now: time.Now,
	})
}

// visitors sends what people do in the console to the services of this server.
type visitors struct{ inside *within }

// Do implements console.API.
func (v visitors) Do(service string, req *http.Request) (*http.Response, error) {
	return v.inside.DoFor(service, req)
}
