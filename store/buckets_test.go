package store

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
)

func TestBuckets(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		made := time.UnixMilli(1_750_000_000_123).UTC()
		b := Bucket{Name: "b", Account: "1", Region: "eu-west-1", Created: made, Documents: map[string]string{"cors": "<c/>"}}
		update(t, s, func(tx *Tx) error {
			err := errors.Join(tx.InsertBucket(ctx, b),
				tx.InsertBucket(ctx, Bucket{Name: "a", Account: "1"}), tx.InsertBucket(ctx, Bucket{Name: "c", Account: "2"}),
				tx.PutBucketDocument(ctx, "b", "tagging", "<t/>"), tx.PutBucketDocument(ctx, "b", "tagging", "<u/>"),
				tx.PutBucketDocument(ctx, "b", "website", "<w/>"), tx.DeleteBucketDocument(ctx, "b", "website"), tx.DeleteBucketDocument(ctx, "b", "website"))
			if err := tx.InsertBucket(ctx, Bucket{Name: "b", Account: "2"}); !errors.Is(err, lamina.ErrExists) {
				t.Errorf("InsertBucket of a taken name = %v; want ErrExists", err)
			}
			return err
		})
		view(t, s, func(tx *Tx) error {
			got, err := tx.Bucket(ctx, "b")
			want := b
			want.Documents = map[string]string{"cors": "<c/>", "tagging": "<u/>"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Bucket (-want +got):\n%s", diff)
			}
			names := func(all []Bucket, err error) (names string) {
				for _, b := range all {
					names += b.Name
				}
				if err != nil {
					t.Error(err)
				}
				return names
			}
			if got := names(tx.Buckets(ctx, "1", "", 10)); got != "ab" {
				t.Errorf("Buckets = %s; want ab", got)
			}
			if got := names(tx.Buckets(ctx, "1", "a", 10)); got != "b" {
				t.Errorf("Buckets after a = %s; want b", got)
			}
			if got := names(tx.BucketsOfAll(ctx, "", 2)); got != "ab" {
				t.Errorf("two BucketsOfAll = %s; want ab", got)
			}
			return err
		})
		err := s.Update(ctx, func(tx *Tx) error { return tx.PutBucketDocument(ctx, "none", "cors", "") })
		if !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("PutBucketDocument of no bucket = %v; want ErrNotFound", err)
		}
		update(t, s, func(tx *Tx) error {
			existed, err := tx.DeleteBucket(ctx, "b")
			again, againErr := tx.DeleteBucket(ctx, "b")
			if !existed || again {
				t.Errorf("DeleteBucket twice = %v, %v; want true, false", existed, again)
			}
			if _, err := tx.Bucket(ctx, "b"); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("Bucket after its deletion = %v; want ErrNotFound", err)
			}
			return errors.Join(err, againErr)
		})
	})
}
