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

func queueMapping(n int, function, queue string) lamina.EventSourceMapping {
	return lamina.EventSourceMapping{
		Scope: scope, UUID: fmt.Sprintf("uuid-%d", n), FunctionARN: functionID(function).ARN(), Enabled: true,
		State: lamina.MappingCreating, LastModified: now.Add(time.Duration(n) * time.Second),
		Source: lamina.EventSource{Kind: lamina.SourceSQS, ARN: "arn:aws:sqs:eu-west-1:123456789012:" + queue, BatchSize: 10},
	}
}

func topicMapping(n int, function, topic string, servers ...string) lamina.EventSourceMapping {
	m := queueMapping(n, function, "")
	m.Source = lamina.EventSource{Kind: lamina.SourceSelfManagedKafka, Servers: servers, Topics: []string{topic}, BatchSize: 100}
	return m
}

func TestEventSourceMappings(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		start := now.Add(time.Hour)
		full := queueMapping(1, "a", "orders")
		full.Source = lamina.EventSource{
			Kind: lamina.SourceKinesis, ARN: "arn:aws:kinesis:eu-west-1:123456789012:stream/s", Access: []lamina.SourceAccess{{Type: "T", URI: "u"}},
			StartingPosition: "AT_TIMESTAMP", StartingTimestamp: &start, BatchSize: 7, BatchingWindow: pointer(int64(0)), Parallelization: pointer(int64(2)),
			MaximumRecordAge: pointer(int64(-1)), MaximumRetries: pointer(int64(3)), BisectOnError: pointer(false), TumblingWindow: pointer(int64(9)),
			OnFailure: pointer(""), ResponseTypes: []string{}, Filters: []string{`{"a":[1]}`}, KMSKeyARN: pointer("k"), Metrics: []string{"EventCount"},
			Registry: &lamina.SchemaRegistry{URI: "u", Format: "JSON", Validations: []string{"KEY"}}, LogLevel: pointer("INFO"),
			DocumentDB: &lamina.DocumentDBSource{Database: "d", Collection: pointer("c")}, Pollers: &lamina.ProvisionedEventPollers{Maximum: pointer(int64(4))},
		}
		all := []lamina.EventSourceMapping{full, queueMapping(2, "a", "bills"), queueMapping(3, "b", "bills"), topicMapping(4, "b", "t", "x:1", "y:1")}
		all[1].State, all[2].State = lamina.MappingEnabled, lamina.MappingDeleting
		for _, m := range all {
			update(t, s, func(tx *Tx) error { return tx.InsertEventSourceMapping(ctx, m) })
		}
		for _, want := range all {
			got := get(t, s, func(tx *Tx) (lamina.EventSourceMapping, error) { return tx.EventSourceMapping(ctx, scope, want.UUID) })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("EventSourceMapping(%s) differs (-want +got):\n%s", want.UUID, diff)
			}
		}
		elsewhere := lamina.Scope{Account: scope.Account, Region: "us-east-1"}
		if err := s.View(ctx, func(tx *Tx) error { _, err := tx.EventSourceMapping(ctx, elsewhere, "uuid-1"); return err }); !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("EventSourceMapping of another region = %v; want ErrNotFound", err)
		}

		a, b := functionID("a").ARN(), functionID("b").ARN()
		for filter, want := range map[EventSourceFilter][]string{
			{}:                             {"uuid-1", "uuid-2", "uuid-3", "uuid-4"},
			{FunctionARN: a}:               {"uuid-1", "uuid-2"},
			{SourceARN: all[1].Source.ARN}: {"uuid-2", "uuid-3"},
			{FunctionARN: b, SourceARN: all[1].Source.ARN}: {"uuid-3"},
			{FunctionARN: a + ":live"}:                     nil,
		} {
			var got []string
			for after := ""; ; {
				page := get(t, s, func(tx *Tx) ([]lamina.EventSourceMapping, error) {
					return tx.EventSourceMappings(ctx, scope, filter, after, 1)
				})
				if len(page) == 0 {
					break
				}
				after = page[0].UUID
				got = append(got, after)
			}
			if !slices.Equal(got, want) {
				t.Errorf("EventSourceMappings(%+v) = %v; want %v", filter, got, want)
			}
		}
		underWay := get(t, s, func(tx *Tx) ([]lamina.EventSourceMapping, error) { return tx.EventSourceMappingsUnderWay(ctx, 2) })
		if len(underWay) != 2 || underWay[0].UUID != "uuid-1" || underWay[1].UUID != "uuid-3" {
			t.Errorf("EventSourceMappingsUnderWay = %v; want uuid-1 and uuid-3", underWay)
		}
	})
}

func TestEventSourceClaims(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		first := topicMapping(1, "a", "t", "x:1", "y:1")
		update(t, s, func(tx *Tx) error { return tx.InsertEventSourceMapping(ctx, first) })
		for name, m := range map[string]lamina.EventSourceMapping{
			"another topic":    topicMapping(2, "a", "u", "y:1"),
			"another function": topicMapping(3, "b", "t", "y:1"),
		} {
			if err := s.Update(ctx, func(tx *Tx) error { return tx.InsertEventSourceMapping(ctx, m) }); err != nil {
				t.Errorf("InsertEventSourceMapping, %s: %v", name, err)
			}
		}
		again := topicMapping(4, "a", "t", "z:1", "y:1")
		err := s.Update(ctx, func(tx *Tx) error {
			err := tx.InsertEventSourceMapping(ctx, again)
			other, readErr := tx.EventSourceMappingReading(ctx, again) // the transaction is usable
			if other.UUID != first.UUID || readErr != nil {
				t.Errorf("EventSourceMappingReading = %s, %v; want %s", other.UUID, readErr, first.UUID)
			}
			return err
		})
		if !errors.Is(err, lamina.ErrExists) {
			t.Errorf("InsertEventSourceMapping with one server and topic in common = %v; want ErrExists", err)
		}
		if err := s.View(ctx, func(tx *Tx) error { _, err := tx.EventSourceMappingReading(ctx, first); return err }); !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("EventSourceMappingReading of the only one = %v; want ErrNotFound", err)
		}

		moved := first
		moved.FunctionARN = functionID("c").ARN()
		update(t, s, func(tx *Tx) error { return tx.PutEventSourceMapping(ctx, moved) })
		update(t, s, func(tx *Tx) error { return tx.InsertEventSourceMapping(ctx, again) }) // what moved claimed is free
		moved.FunctionARN = functionID("b").ARN()
		if err := s.Update(ctx, func(tx *Tx) error { return tx.PutEventSourceMapping(ctx, moved) }); !errors.Is(err, lamina.ErrExists) {
			t.Errorf("PutEventSourceMapping onto a function that reads it = %v; want ErrExists", err)
		}
		absent := topicMapping(9, "a", "t", "w:1")
		if err := s.Update(ctx, func(tx *Tx) error { return tx.PutEventSourceMapping(ctx, absent) }); !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("PutEventSourceMapping of an unknown one = %v; want ErrNotFound", err)
		}
	})
}

func TestSettleEventSourceMapping(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		m := queueMapping(1, "a", "orders")
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.InsertEventSourceMapping(ctx, m), tx.SetTags(ctx, m.ARN(), map[string]string{"k": "v"}))
		})
		settle := func(seen lamina.EventSourceMapping, state string, want bool) {
			t.Helper()
			update(t, s, func(tx *Tx) error {
				got, err := tx.SettleEventSourceMapping(ctx, seen, state, seen.LastModified.Add(time.Minute))
				if got != want {
					t.Errorf("SettleEventSourceMapping(%q) = %t; want %t", state, got, want)
				}
				return err
			})
		}
		settle(m, lamina.MappingEnabled, true)
		settle(m, lamina.MappingEnabled, false) // another server did
		got := get(t, s, func(tx *Tx) (lamina.EventSourceMapping, error) { return tx.EventSourceMapping(ctx, scope, m.UUID) })
		if want := m.LastModified.Add(time.Minute); got.State != lamina.MappingEnabled || !got.LastModified.Equal(want) {
			t.Errorf("settled = %s at %s; want Enabled at %s", got.State, got.LastModified, want)
		}
		got.State = lamina.MappingDeleting
		update(t, s, func(tx *Tx) error { return tx.PutEventSourceMapping(ctx, got) })
		settle(m, "", false)
		settle(got, "", true)
		view(t, s, func(tx *Tx) error {
			if _, err := tx.EventSourceMapping(ctx, scope, m.UUID); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("EventSourceMapping after Deleting = %v; want ErrNotFound", err)
			}
			tags, err := tx.Tags(ctx, m.ARN())
			if len(tags) != 0 {
				t.Errorf("tags after Deleting = %v; want none", tags)
			}
			return err
		})
		update(t, s, func(tx *Tx) error { return tx.InsertEventSourceMapping(ctx, queueMapping(2, "a", "orders")) })
	})
}

// Two who want the same queue for one function: one of them gets it. Two who
// delete the same mapping: it goes once.
func TestEventSourceMappingsAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		const writers = 8
		errs := make([]error, writers)
		together(writers, func(i int) {
			m := topicMapping(i, "a", "t", "x:1", "y:1")
			if i%2 == 0 {
				m.Source.Servers = []string{"y:1", "x:1"} // claimed in one order all the same
			}
			errs[i] = s.Update(ctx, func(tx *Tx) error { return tx.InsertEventSourceMapping(ctx, m) })
		})
		made := 0
		for _, err := range errs {
			switch {
			case err == nil:
				made++
			case !errors.Is(err, lamina.ErrExists):
				t.Errorf("InsertEventSourceMapping = %v; want nil or ErrExists", err)
			}
		}
		all := get(t, s, func(tx *Tx) ([]lamina.EventSourceMapping, error) {
			return tx.EventSourceMappings(ctx, scope, EventSourceFilter{}, "", writers)
		})
		if made != 1 || len(all) != 1 {
			t.Fatalf("%d of %d inserts succeeded and left %d mappings; want 1", made, writers, len(all))
		}
		settled := make([]bool, writers)
		together(writers, func(i int) {
			errs[i] = s.Update(ctx, func(tx *Tx) (err error) {
				settled[i], err = tx.SettleEventSourceMapping(ctx, all[0], "", now)
				return err
			})
		})
		times := 0
		for _, did := range settled {
			if did {
				times++
			}
		}
		if err := errors.Join(errs...); err != nil || times != 1 {
			t.Errorf("settled %d times, %v; want once", times, err)
		}
	})
}
