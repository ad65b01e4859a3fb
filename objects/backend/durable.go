package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3api/middlewares"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

// durable is the posix backend whose changes are on the disk when it returns.
//
// An object's bytes are synced before it gets its name, and so are those of a
// version that is made of an object, so that what is safe is never replaced by
// what is not. Names, attributes and versions
// lie in several directories that only the backend knows; one sync of the file
// system has them all, and those who wait at the same time share it.
type durable struct {
	*posix.Posix
	sync *syncer
}

var _ backend.Backend = (*durable)(nil)

func newDurable(p *posix.Posix, dir string) (*durable, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory of buckets: %w", err)
	}
	return &durable{Posix: p, sync: newSyncer(func() error { return syncFS(f) })}, nil
}

// syncer has callers share syncs: one that began after a caller came serves it.
type syncer struct {
	sync func() error

	mu      sync.Mutex
	running *round
	next    *round // of those who came while another ran
}

// round is one sync.
type round struct {
	done chan struct{} // closed by who ran it
	err  error         // before done is closed
}

func newSyncer(sync func() error) *syncer { return &syncer{sync: sync} }

// wait returns when everything that was written before the call is on the disk.
func (s *syncer) wait() error {
	s.mu.Lock()
	if s.running == nil {
		r := &round{done: make(chan struct{})}
		s.running = r
		s.mu.Unlock()
		s.run(r)
		return r.err
	}
	r := s.next
	leads := r == nil
	if leads {
		r = &round{done: make(chan struct{})}
		s.next = r
	}
	before := s.running
	s.mu.Unlock()
	if leads {
		<-before.done
		s.mu.Lock()
		s.running, s.next = r, nil
		s.mu.Unlock()
		s.run(r)
		return r.err
	}
	<-r.done
	return r.err
}

func (s *syncer) run(r *round) {
	r.err = s.sync()
	s.mu.Lock()
	if s.running == r && s.next == nil {
		s.running = nil
	}
	s.mu.Unlock()
	close(r.done)
}

// etagAttribute is one that the library gives each object.
const etagAttribute = "etag"

// versionsFirst syncs the copy of an object that becomes a version, before the
// object is replaced. The library writes such a copy's attributes, as those of a
// "bucket" without an object, when it has its bytes and not yet its name.
type versionsFirst struct{ meta.MetadataStorer }

func (m versionsFirst) StoreAttribute(f *os.File, bucket, object, attribute string, value []byte) error {
	if err := m.MetadataStorer.StoreAttribute(f, bucket, object, attribute, value); err != nil {
		return err
	}
	if f == nil || object != "" || attribute != etagAttribute {
		return nil
	}
	return f.Sync()
}

// after waits for the disk unless the operation failed.
func (d *durable) after(err error) error {
	if err != nil {
		return err
	}
	if err := d.sync.wait(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// whole is a body that ends with an error when it is shorter than promised, which
// the library takes for its end. The parent breaks a body off that is not the one
// that was signed.
type whole struct {
	io.Reader
	left int64
}

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if w.left -= int64(n); errors.Is(err, io.EOF) && w.left != 0 {
		err = s3err.GetAPIError(s3err.ErrIncompleteBody)
	}
	return n, err
}

// wholeSum is a whole body that knows its checksum at its end.
type wholeSum struct {
	whole
	middlewares.ChecksumReader
}

func (w *wholeSum) Read(p []byte) (int, error) { return w.whole.Read(p) }

// wholeBody wraps a body whose length was promised.
func wholeBody(body io.Reader, length *int64) io.Reader {
	if body == nil || length == nil {
		return body
	}
	w := whole{body, *length}
	if sum, ok := body.(middlewares.ChecksumReader); ok {
		return &wholeSum{w, sum}
	}
	return &w
}

func syncFile(f *os.File) error { return f.Sync() }

func (d *durable) PutObject(ctx context.Context, in s3response.PutObjectInput) (s3response.PutObjectOutput, error) {
	in.Body = wholeBody(in.Body, in.ContentLength)
	out, err := d.PutObjectWithPostFunc(ctx, in, syncFile)
	return out, d.after(err)
}

func (d *durable) UploadPart(ctx context.Context, in *s3.UploadPartInput) (*s3.UploadPartOutput, error) {
	in.Body = wholeBody(in.Body, in.ContentLength)
	out, err := d.UploadPartWithPostFunc(ctx, in, syncFile)
	return out, d.after(err)
}

func (d *durable) UploadPartCopy(ctx context.Context, in *s3.UploadPartCopyInput) (s3response.CopyPartResult, error) {
	out, err := d.Posix.UploadPartCopy(ctx, in)
	return out, d.after(err)
}

func (d *durable) CopyObject(ctx context.Context, in s3response.CopyObjectInput) (s3response.CopyObjectOutput, error) {
	out, err := d.Posix.CopyObject(ctx, in)
	return out, d.after(err)
}

func (d *durable) CreateMultipartUpload(ctx context.Context, in s3response.CreateMultipartUploadInput) (s3response.InitiateMultipartUploadResult, error) {
	out, err := d.Posix.CreateMultipartUpload(ctx, in)
	return out, d.after(err)
}

func (d *durable) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput) (s3response.CompleteMultipartUploadResult, string, error) {
	out, version, err := d.Posix.CompleteMultipartUpload(ctx, in)
	return out, version, d.after(err)
}

func (d *durable) AbortMultipartUpload(ctx context.Context, in *s3.AbortMultipartUploadInput) error {
	return d.after(d.Posix.AbortMultipartUpload(ctx, in))
}

func (d *durable) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput) (*s3.DeleteObjectOutput, error) {
	out, err := d.Posix.DeleteObject(ctx, in)
	return out, d.after(err)
}

func (d *durable) DeleteObjects(ctx context.Context, in *s3.DeleteObjectsInput) (s3response.DeleteResult, error) {
	out, err := d.Posix.DeleteObjects(ctx, in)
	return out, d.after(err)
}

func (d *durable) PutObjectTagging(ctx context.Context, bucket, object, version string, tags map[string]string) error {
	return d.after(d.Posix.PutObjectTagging(ctx, bucket, object, version, tags))
}

func (d *durable) DeleteObjectTagging(ctx context.Context, bucket, object, version string) error {
	return d.after(d.Posix.DeleteObjectTagging(ctx, bucket, object, version))
}

func (d *durable) PutObjectLegalHold(ctx context.Context, bucket, object, version string, on bool) error {
	return d.after(d.Posix.PutObjectLegalHold(ctx, bucket, object, version, on))
}

func (d *durable) PutObjectRetention(ctx context.Context, bucket, object, version string, retention []byte) error {
	return d.after(d.Posix.PutObjectRetention(ctx, bucket, object, version, retention))
}

func (d *durable) PutObjectLockConfiguration(ctx context.Context, bucket string, config []byte) error {
	return d.after(d.Posix.PutObjectLockConfiguration(ctx, bucket, config))
}

func (d *durable) CreateBucket(ctx context.Context, in *s3.CreateBucketInput, acl []byte) error {
	return d.after(d.Posix.CreateBucket(ctx, in, acl))
}

func (d *durable) DeleteBucket(ctx context.Context, bucket string) error {
	return d.after(d.Posix.DeleteBucket(ctx, bucket))
}

func (d *durable) PutBucketVersioning(ctx context.Context, bucket string, status types.BucketVersioningStatus) error {
	return d.after(d.Posix.PutBucketVersioning(ctx, bucket, status))
}
