package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/blob"
	"github.com/lamina-run/lamina/identity"
)

// blobs keeps archives by digest: a [blob.Disk] or a [blob.Bucket].
type blobs interface {
	Stage(ctx context.Context) (*blob.Staged, error)
	// Open fails with [lamina.ErrNotFound] for an archive that is not kept.
	Open(ctx context.Context, d lamina.Digest) (*blob.Blob, error)
	// Sweep removes those older than grace that nothing refers to.
	Sweep(ctx context.Context, grace time.Duration, now time.Time, referenced func(context.Context, lamina.Digest) (bool, error)) (removed int, err error)
}

// blobsYoung is far less than sweepGrace, and far more than clocks of servers
// should differ.
const blobsYoung = sweepGrace / 4

// openBlobs opens the archives of the data directory, or of --blobs, and returns
// what closes them.
func (c *settings) openBlobs(ctx context.Context, root identity.Credentials, log *slog.Logger) (blobs, func(), error) {
	if c.Blobs == "" {
		disk, err := blob.OpenDisk(c.file("blobs"))
		if err != nil {
			return nil, nil, fmt.Errorf("open the archives: %w", err)
		}
		return disk, func() {}, nil
	}
	at, err := blob.ParseLocation(c.Blobs)
	if err != nil {
		return nil, nil, fmt.Errorf("--blobs: %w", err)
	}
	o := blob.BucketOptions{
		Location: at, Endpoint: c.BlobsEndpoint, Region: c.BlobsRegion, Now: time.Now, Proxy: http.ProxyFromEnvironment, Log: log,
		Dir: c.file("blob-cache"), CacheBytes: c.BlobsCacheBytes, Young: blobsYoung,
	}
	if o.Region == "" {
		o.Region = c.Region
	}
	if o.Endpoint == "" {
		o.Endpoint = "https://s3." + o.Region + ".amazonaws.com"
	}
	o.AccessKeyID, o.SecretAccessKey = keyOr(root, c.BlobsAccessKeyID, c.BlobsSecretAccessKey)
	bucket, err := blob.OpenBucket(ctx, o)
	if err != nil {
		return nil, nil, hint(fmt.Errorf("open the archives: %w", err), "check --blobs, --blobs-endpoint, --blobs-region and the key; the bucket has to be there, and the key may list, read, write and delete what begins with the prefix")
	}
	return bucket, bucket.Close, nil
}

// archives serves the bytes of download links.
type archives struct{ blobs blobs }

func (a archives) OpenArchive(ctx context.Context, d lamina.Digest) (io.ReadSeekCloser, error) {
	return a.blobs.Open(ctx, d)
}
