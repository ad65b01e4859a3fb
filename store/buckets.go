package store

import (
	"context"
	"fmt"
	"time"
)

// Bucket is a bucket of the embedded S3. Names are unique among all accounts.
type Bucket struct {
	Name    string
	Account string
	Region  string
	Created time.Time
	// Documents are its configurations, by S3's name for each. Only [Tx.Bucket]
	// fills them in.
	Documents map[string]string
}

const bucketColumns = `name, account, region, created`

func scanBucket(r scanner, b *Bucket) error {
	var created int64
	err := r.Scan(&b.Name, &b.Account, &b.Region, &created)
	b.Created = fromMillis(created)
	return err
}

// InsertBucket adds a bucket with its documents. It fails with ErrExists if the
// name is taken.
func (tx *Tx) InsertBucket(ctx context.Context, b Bucket) error {
	err := tx.insert(ctx, `INSERT INTO bucket (`+bucketColumns+`) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		b.Name, b.Account, b.Region, toMillis(b.Created))
	if err != nil {
		return fmt.Errorf("insert bucket %s: %w", b.Name, err)
	}
	for kind, text := range b.Documents {
		if err := tx.PutBucketDocument(ctx, b.Name, kind, text); err != nil {
			return err
		}
	}
	return nil
}

// Bucket returns a bucket with its documents, or ErrNotFound.
func (tx *Tx) Bucket(ctx context.Context, name string) (Bucket, error) {
	b := Bucket{Documents: map[string]string{}}
	err := tx.one(ctx, func(r scanner) error { return scanBucket(r, &b) },
		`SELECT `+bucketColumns+` FROM bucket WHERE name = $1`, name)
	if err == nil {
		err = tx.each(ctx, func(r scanner) error {
			var kind, text string
			if err := r.Scan(&kind, &text); err != nil {
				return err
			}
			b.Documents[kind] = text
			return nil
		}, `SELECT kind, text FROM bucket_document WHERE bucket = $1`, name)
	}
	if err != nil {
		return Bucket{}, fmt.Errorf("bucket %s: %w", name, err)
	}
	return b, nil
}

// Buckets returns at most limit buckets of an account with names after a given
// one, ordered by name.
func (tx *Tx) Buckets(ctx context.Context, account, after string, limit int) ([]Bucket, error) {
	all, err := tx.buckets(ctx, `SELECT `+bucketColumns+` FROM bucket
		WHERE account = $1 AND name > $2 ORDER BY name LIMIT $3`, account, after, limit)
	if err != nil {
		return nil, fmt.Errorf("buckets of account %s: %w", account, err)
	}
	return all, nil
}

// BucketsOfAll is [Tx.Buckets] for all accounts together.
func (tx *Tx) BucketsOfAll(ctx context.Context, after string, limit int) ([]Bucket, error) {
	all, err := tx.buckets(ctx, `SELECT `+bucketColumns+` FROM bucket WHERE name > $1 ORDER BY name LIMIT $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("buckets: %w", err)
	}
	return all, nil
}

func (tx *Tx) buckets(ctx context.Context, text string, args ...any) ([]Bucket, error) {
	var all []Bucket
	err := tx.each(ctx, func(r scanner) error {
		var b Bucket
		if err := scanBucket(r, &b); err != nil {
			return err
		}
		all = append(all, b)
		return nil
	}, text, args...)
	return all, err
}

// DeleteBucket removes a bucket with its documents and reports whether there was
// one.
func (tx *Tx) DeleteBucket(ctx context.Context, name string) (existed bool, err error) {
	existed, err = tx.change(ctx, `DELETE FROM bucket WHERE name = $1`, name)
	if err != nil {
		return false, fmt.Errorf("delete bucket %s: %w", name, err)
	}
	return existed, nil
}

// PutBucketDocument writes a document of a bucket. It fails with ErrNotFound if
// there is no such bucket.
func (tx *Tx) PutBucketDocument(ctx context.Context, bucket, kind, text string) error {
	err := tx.exec(ctx, `INSERT INTO bucket_document (bucket, kind, text) VALUES ($1, $2, $3)
		ON CONFLICT (bucket, kind) DO UPDATE SET text = excluded.text`, bucket, kind, text)
	if err != nil {
		return fmt.Errorf("put %s of bucket %s: %w", kind, bucket, err)
	}
	return nil
}

// DeleteBucketDocument removes a document of a bucket, if there is one.
func (tx *Tx) DeleteBucketDocument(ctx context.Context, bucket, kind string) error {
	if err := tx.exec(ctx, `DELETE FROM bucket_document WHERE bucket = $1 AND kind = $2`, bucket, kind); err != nil {
		return fmt.Errorf("delete %s of bucket %s: %w", kind, bucket, err)
	}
	return nil
}
