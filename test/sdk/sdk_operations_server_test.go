package sdk_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/blob"
	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/logs"
	"github.com/lamina-run/lamina/server"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

const (
	account = "000000000000"
	home    = "eu-central-1"
	keyID   = "testing"
	secret  = "testing"
)

// inProcess is the server of cmd/lamina, assembled without processes: functions
// are an echo.
type inProcess struct {
	URL      string
	router   *wire.Router
	accounts *identity.Accounts
	store    *store.Store
}

func startInProcess(t *testing.T) *inProcess {
	t.Helper()
	dir := t.TempDir()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "lamina.db"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.EnsureRoot(t.Context(), db, identity.RootOptions{
		AccountID: account, AccessKeyID: keyID, SecretAccessKey: secret, File: filepath.Join(dir, "key.json"),
	}); err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.OpenDisk(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	stage := func(ctx context.Context) (wire.Upload, error) {
		staged, err := blobs.Stage(ctx)
		if err != nil {
			return nil, err
		}
		return staged, nil
	}
	limits := lamina.DefaultLimits()
	links := &server.Links{Key: make([]byte, 32), Life: time.Minute, Now: time.Now}
	sessions, err := identity.NewSessions(make([]byte, identity.SessionKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	who := identity.Options{Store: db, Log: log, Now: time.Now, Keys: identity.StoreKeys(db), Principals: identity.NewPrincipals(db, time.Now), Sessions: sessions}
	who.Authority = identity.NewAuthority(db, who.Principals, log, time.Now)
	who.Trusts = who.Authority.Trusts
	kept, err := logs.Open(logs.Options{Dir: filepath.Join(dir, "logs"), Log: log, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	plane := control.New(control.Options{
		Authority: who.Authority,
		Store:     db, Invoker: echo{}, Provisioner: echo{}, Locations: links, Limits: limits, Log: log, Now: time.Now, Stage: stage,
		EventRetryDelay: func(int) time.Duration { return 10 * time.Millisecond },
	})
	router := wire.NewRouter(wire.Options{Log: log, Authorize: plane.Authorize, MaxZip: limits.ZippedUpload, Stage: stage})
	plane.Register(router)
	ready := make(chan struct{})
	close(ready)
	front := httptest.NewServer(server.New(server.Options{
		Log: log, Verifier: identity.NewVerifier(who.Keys, time.Now).AcceptSessions(sessions, who.Principals), Links: links, Archives: archives{blobs},
		Ready: ready, Plane: plane,
		Services: map[string]http.Handler{
			"lambda": router, "iam": identity.NewIAM(who), "sts": identity.NewSTS(who), server.LogsService: server.NewLogs(kept, who.Authority, log),
		},
	}))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{kept.Run, plane.Run, plane.KeepProvisioned, plane.RunEvents} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		front.Close()
		cancel()
		running.Wait()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &inProcess{URL: front.URL, router: router, accounts: &identity.Accounts{Options: who}, store: db}
}

type archives struct{ blobs *blob.Disk }

func (a archives) OpenArchive(ctx context.Context, d lamina.Digest) (io.ReadSeekCloser, error) {
	return a.blobs.Open(ctx, d)
}

// echo runs functions: they return their payload, or fail when it says so.
type echo struct{}

func (echo) Invoke(_ context.Context, in lamina.Invocation) (lamina.Result, error) {
	switch string(in.Payload) {
	case `"fail"`:
		return lamina.Result{
			Payload: []byte(`{"errorType":"Error","errorMessage":"asked for"}`), FunctionError: lamina.Unhandled, LogTail: []byte("log"),
		}, nil
	case `"busy"`:
		return lamina.Result{}, lamina.ErrBusy
	case `"no runtime"`:
		return lamina.Result{}, &lamina.RuntimeError{Runtime: in.Version.Config.Runtime, Hint: "Nothing runs here."}
	}
	return lamina.Result{Payload: in.Payload, LogTail: []byte("log")}, nil
}

func (echo) Prepare(context.Context, lamina.Version) error { return nil }
func (echo) Retire(lamina.Version)                         {}

func (echo) Provision(lamina.Version, int64) {}

func (echo) Provisioned(lamina.Version) lamina.Provisioning { return lamina.Provisioning{} }
