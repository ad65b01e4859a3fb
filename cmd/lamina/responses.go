package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/lamina-run/lamina/certificates"
	"github.com/lamina-run/lamina/internal/fsx"
	"github.com/lamina-run/lamina/runner/runtimes"
	"github.com/lamina-run/lamina/runner/sandbox"
	"github.com/lamina-run/lamina/stack/resources"
	"github.com/lamina-run/lamina/store"
)

// responses is how custom resources and others answer stacks.
type responses struct {
	*resources.Responses
	listener net.Listener // for functions; nil when they reach no network
	trust    runtimes.Trust
	log      *slog.Logger
}

// openResponses listens for what custom resources answer. Functions find that by
// one name on port 443, and an authority that can vouch for this name alone, since
// what AWS gives its customers to answer with ignores all of a URL but its host
// and path.
func openResponses(c *settings, db *store.Store, at doors, network sandbox.Network, log *slog.Logger) (_ *responses, err error) {
	o := resources.ResponsesOptions{Store: db, Log: log, Now: time.Now, Public: at.endpoint}
	r := &responses{log: log}
	plain := network.Inside(ownEndpoint(at.local.Addr()))
	if !plain.IsValid() {
		r.Responses = resources.NewResponses(o)
		return r, nil
	}
	o.Plain, o.Secure = "http://"+plain.String(), "https://"+sandbox.ResponsesName
	r.Responses = resources.NewResponses(o)
	dir := c.file("responses")
	source, err := certificates.MakeOwnFor(dir, sandbox.ResponsesName, time.Now)
	if err != nil {
		return nil, fmt.Errorf("prepare for responses: %w", err)
	}
	r.trust.Authority = filepath.Join(dir, certificates.AuthorityFile)
	if r.trust.BundleAt, r.trust.Bundle, err = bundle(dir, r.trust.Authority); err != nil {
		return nil, fmt.Errorf("prepare for responses: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for responses: %w", err)
	}
	r.listener = tls.NewListener(l, certificates.Config(source))
	return r, nil
}

// bundles are the files in which hosts have their authorities.
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
}

// bundle writes the host's authorities and one more into a file.
func bundle(dir, authority string) (at, file string, err error) {
	for _, at = range bundles {
		text, err := os.ReadFile(at)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", "", err
		}
		own, err := os.ReadFile(authority)
		if err != nil {
			return "", "", err
		}
		file = filepath.Join(dir, "bundle.pem")
		return at, file, fsx.WriteFile(file, append(append(text, '\n'), own...), 0o644)
	}
	return "", "", nil // a host that trusts nobody
}

// serve answers functions until ctx ends.
func (r *responses) serve(ctx context.Context) error {
	if r.listener == nil {
		<-ctx.Done()
		return nil
	}
	h := &http.Server{
		Handler: r, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1) // sent once, by the goroutine below
	go func() { failed <- h.Serve(r.listener) }()
	select {
	case err := <-failed:
		if errors.Is(err, net.ErrClosed) { // by close: the server is ending, and this part's turn comes
			<-ctx.Done()
			return nil
		}
		return fmt.Errorf("serve responses: %w", err)
	case <-ctx.Done():
	}
	err := h.Close()
	<-failed
	return err
}

// address is where this host has the listener; invalid without one.
func (r *responses) addr() net.Addr {
	if r.listener == nil {
		return nil
	}
	return r.listener.Addr()
}
