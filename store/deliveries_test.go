package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
)

func delivery(n int) lamina.Delivery {
	return lamina.Delivery{
		ID: fmt.Sprintf("delivery-%03d", n), Kind: lamina.ToDeadLetters, RequestID: "r", Function: functionID("hello"), Qualifier: "live",
		Message: lamina.Message{
			Target: "arn:aws:sqs:eu-west-1:123456789012:q", Body: []byte(`{"n":"ä"}`),
			Attributes: []lamina.Attribute{{Name: "ErrorMessage", Type: "String", Value: "no \"tea\""}},
		},
		TraceID: "Root=1", Created: now.Add(time.Duration(n) * time.Millisecond),
	}
}

func deliveryBacklog(t testing.TB, s *Store) Backlog {
	t.Helper()
	return get(t, s, func(tx *Tx) (Backlog, error) { return tx.DeliveryBacklog(t.Context(), scope) })
}

func TestDeliveryLife(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		want := delivery(1)
		update(t, s, func(tx *Tx) error { return tx.InsertDelivery(ctx, want, roomy) })
		claim := func(service, owner string, at time.Time) (all []lamina.Delivery) {
			t.Helper()
			update(t, s, func(tx *Tx) (err error) {
				all, err = tx.ClaimDeliveries(ctx, service, owner, at, at.Add(time.Minute), 5)
				return err
			})
			return all
		}
		at := now.Add(time.Second)
		if got := slices.Concat(claim("sqs", "a", now), claim("lambda", "a", at)); got != nil {
			t.Fatalf("claim too early and for another service = %v; want none", got)
		}
		got := claim("sqs", "a", at)
		if diff := cmp.Diff([]lamina.Delivery{want}, got); diff != "" {
			t.Fatalf("claimed differs (-want +got):\n%s", diff)
		}
		if got := claim("sqs", "b", at); got != nil {
			t.Errorf("claim of another's = %v; want none", got)
		}
		d := got[0]
		d.Attempts = 3
		due := at.Add(time.Hour)
		for _, c := range []struct {
			owner string
			want  bool
		}{{"b", false}, {"a", true}, {"a", false}} {
			update(t, s, func(tx *Tx) error {
				changed, err := tx.PutBackDelivery(ctx, d, c.owner, due)
				if changed != c.want {
					t.Errorf("PutBackDelivery by %s = %t; want %t", c.owner, changed, c.want)
				}
				return err
			})
		}
		if next := get(t, s, func(tx *Tx) (time.Time, error) { return tx.NextDelivery(ctx, "sqs") }); !next.Equal(due) {
			t.Errorf("NextDelivery = %v; want %v", next, due)
		}
		if got := claim("sqs", "b", due); len(got) != 1 || got[0].Attempts != 3 {
			t.Fatalf("claim when it is due again = %v; want it after 3 attempts", got)
		}
		update(t, s, func(tx *Tx) error { return tx.ReleaseDeliveries(ctx, "b", due) })
		if got := claim("sqs", "c", due); len(got) != 1 {
			t.Fatalf("claim of what was handed back = %v; want it", got)
		}
		for _, c := range []struct {
			owner string
			want  bool
		}{{"b", false}, {"c", true}, {"c", false}} {
			update(t, s, func(tx *Tx) error {
				changed, err := tx.RemoveDelivery(ctx, d, c.owner)
				if changed != c.want {
					t.Errorf("RemoveDelivery by %s = %t; want %t", c.owner, changed, c.want)
				}
				return err
			})
		}
		if got := deliveryBacklog(t, s); got != (Backlog{}) {
			t.Errorf("backlog after the end = %+v; want none", got)
		}
	})
}

func TestDeliveriesAreBounded(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		body := int64(len(delivery(1).Message.Body))
		update(t, s, func(tx *Tx) error {
			limit := Backlog{Events: 1, Bytes: 10 * body}
			if err := tx.InsertDelivery(t.Context(), delivery(1), limit); err != nil {
				return err
			}
			if err := tx.InsertDelivery(t.Context(), delivery(2), limit); !errors.Is(err, lamina.ErrBusy) {
				t.Errorf("InsertDelivery beyond the count = %v; want ErrBusy", err)
			}
			if err := tx.InsertDelivery(t.Context(), delivery(2), Backlog{Events: 10, Bytes: 2*body - 1}); !errors.Is(err, lamina.ErrBusy) {
				t.Errorf("InsertDelivery beyond the bytes = %v; want ErrBusy", err)
			}
			return nil // what was refused left nothing behind
		})
		if got, want := deliveryBacklog(t, s), (Backlog{Events: 1, Bytes: body}); got != want {
			t.Errorf("backlog = %+v; want %+v", got, want)
		}
	})
}

// TestEventKeepsItsLastResult: over attempts, and no longer than the event.
func TestEventKeepsItsLastResult(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		e := event(1)
		e.TraceID = "Root=1"
		queue(t, s, e)
		at := now.Add(time.Second)
		claim(t, s, "a", at, 1)
		e.Last = lamina.EventResult{ExecutedVersion: "7", FunctionError: lamina.Unhandled, Payload: []byte(`{"errorMessage":"ä"}`)}
		update(t, s, func(tx *Tx) error { _, err := tx.PutBackEvent(ctx, e, "a", at); return err })
		got := get(t, s, func(tx *Tx) (EventState, error) { return tx.Event(ctx, e.RequestID) })
		if diff := cmp.Diff(e, got.Event); diff != "" {
			t.Errorf("event differs (-want +got):\n%s", diff)
		}
		claim(t, s, "a", at, 1)
		update(t, s, func(tx *Tx) error {
			_, err := tx.FinishEvent(ctx, e, "a", lamina.EventRetriesExhausted, at)
			return err
		})
		if got := get(t, s, func(tx *Tx) (EventState, error) { return tx.Event(ctx, e.RequestID) }); len(got.Last.Payload) > 0 {
			t.Errorf("response after the end = %s; want none", got.Last.Payload)
		}
	})
}

func TestDirectoriesAreKept(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		id := functionID("hello")
		createFunction(t, s, id)
		layer := lamina.LayerVersion{Layer: layerID("hot"), Directory: "/srv/layer", Created: now}
		update(t, s, func(tx *Tx) (err error) {
			if layer.Number, err = tx.NextLayerNumber(ctx, layer.Layer); err != nil {
				return err
			}
			if err := tx.InsertLayerVersion(ctx, layer); err != nil {
				return err
			}
			v, err := tx.FunctionVersion(ctx, id, 0)
			if err != nil {
				return err
			}
			v.Code = lamina.Code{Directory: "/srv/code"}
			v.Config.Layers = []lamina.AttachedLayer{{ARN: layer.ARN(), Directory: layer.Directory}}
			return tx.PutFunctionVersion(ctx, v)
		})
		v := get(t, s, func(tx *Tx) (lamina.Version, error) { return tx.FunctionVersion(ctx, id, 0) })
		if got := v.Directories(); !slices.Equal(got, []string{"/srv/code", "/srv/layer"}) {
			t.Errorf("directories = %q; want both", got)
		}
		for name, read := range map[string]func(tx *Tx) (lamina.LayerVersion, error){
			"LayerVersion":     func(tx *Tx) (lamina.LayerVersion, error) { return tx.LayerVersion(ctx, layer.Layer, 1) },
			"LockLayerVersion": func(tx *Tx) (lamina.LayerVersion, error) { return tx.LockLayerVersion(ctx, layer.Layer, 1) },
		} {
			update(t, s, func(tx *Tx) error {
				got, err := read(tx)
				if got.Directory != "/srv/layer" {
					t.Errorf("%s = %q; want /srv/layer", name, got.Directory)
				}
				return err
			})
		}
	})
}
