package control_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// TestPublishedLayersArePrepared publishes more layers than may wait for their
// preparation, fails some of that, and ends the plane during another.
func TestPublishedLayersArePrepared(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), store.Options{Path: database(t)})
	if err != nil {
		t.Fatal(err)
	}
	begun := make(chan lamina.LayerVersion) // the plane sends
	stopped := make(chan error, 1)          // one send, by the third preparation
	p := control.New(control.Options{
		Store: db, Invoker: &fakeInvoker{}, Locations: noLocations{}, Limits: lamina.DefaultLimits(), Log: slog.New(slog.DiscardHandler), Now: time.Now,
		PrepareLayer: func(ctx context.Context, v lamina.LayerVersion) error {
			begun <- v
			if v.Number < 3 {
				return errors.New("of no use")
			}
			<-ctx.Done()
			stopped <- context.Cause(ctx)
			return context.Cause(ctx)
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // Run sends once
	go func() { ended <- p.Run(ctx) }()
	caller := identity.WithCaller(t.Context(), identity.Caller{Account: "000000000000", Region: "eu-west-1", ARN: "arn:aws:iam::000000000000:root"})
	for range 300 { // more than may wait
		if _, err := p.PublishLayerVersion(caller, &wire.PublishLayerVersionRequest{LayerName: "geo", Content: &wire.LayerVersionContentInput{ZipFile: zipOf(t, "one")}}); err != nil {
			t.Fatal(err)
		}
	}
	for want := range int64(3) {
		if got := <-begun; got.Number != want+1 || got.Layer.Name != "geo" || got.Digest == (lamina.Digest{}) {
			t.Errorf("prepared version %d of %s; want %d of geo", got.Number, got.Layer.Name, want+1)
		}
	}
	cancel()
	if err := errors.Join(<-ended, db.Close()); err != nil {
		t.Error(err)
	}
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("preparation ended with %v; want %v", err, context.Canceled)
	}
}
