package control

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/wire"
)

// Objects reads archives from S3.
type Objects interface {
	// Get writes the bytes of an object to w. It fails with a
	// *lamina.ObjectError when S3 refuses, and with lamina.ErrTooLarge as soon as
	// they are known to be more than most.
	Get(ctx context.Context, o lamina.Object, most int64, w io.Writer) error
}

// zipOverhead is how many bytes a zip from S3 may have beyond the limit of what
// it unpacks to. AWS limits only the latter.
const zipOverhead = 64 << 20

// source is where code or a layer comes from: an archive, or a directory of the
// host that is shown as it is. An image has neither.
type source struct {
	archive   wire.Upload
	directory string
}

// fetch reads the archive that a request names in S3. When the request brings
// the archive itself, or an image, fetch returns what it was given; when it names
// a directory, there is nothing to read. The caller calls release when it has
// kept the archive, or does not want to.
func (p *Plane) fetch(ctx context.Context, zip wire.Upload, bucket, key, version *string) (_ source, release func(), err error) {
	if zip != nil || bucket == nil {
		return source{archive: zip}, func() {}, nil
	}
	if *bucket == lamina.HotReload && (p.directories != nil || p.objects == nil || p.objectsDecide) {
		directory, err := p.directory(key)
		return source{directory: directory}, func() {}, err
	}
	if p.objects == nil {
		return source{}, nil, errNoS3(*bucket)
	}
	if key == nil {
		return source{}, nil, wire.InvalidParameterValue.Errorf("Please provide S3Key together with S3Bucket.")
	}
	u, err := p.stage(ctx)
	if err != nil {
		return source{}, nil, fmt.Errorf("stage %s/%s: %w", *bucket, *key, err)
	}
	o := lamina.Object{Region: scope(ctx).Region, Bucket: *bucket, Key: *key, Version: value(version)}
	if err := p.objects.Get(ctx, o, p.limits.Unzipped+zipOverhead, u); err != nil {
		err = errors.Join(p.objectError(o, err), u.Discard())
		return source{}, nil, fmt.Errorf("read %s/%s: %w", *bucket, *key, err)
	}
	return source{archive: u}, func() { _ = u.Discard() }, nil // after Keep it does nothing; before, the sweeper has it too
}

// objectError is what AWS answers when S3 refuses. The texts of a missing bucket
// and key are recorded, whatever the S3 behind Lamina says.
func (p *Plane) objectError(o lamina.Object, err error) error {
	if errors.Is(err, lamina.ErrTooLarge) {
		return p.refusal(&lamina.ArchiveError{Reason: lamina.ArchiveTooLarge})
	}
	refused, ok := errors.AsType[*lamina.ObjectError](err)
	if !ok {
		return err
	}
	message := refused.Message
	switch refused.Code {
	case "NoSuchBucket":
		message = "The specified bucket does not exist"
	case "NoSuchKey":
		message = "The specified key does not exist."
	case "PermanentRedirect":
		message = fmt.Sprintf("The bucket is in this region: %s. Please use this region to retry the request", refused.Region)
	case "AccessDenied":
		return wire.AccessDenied.Errorf("Your access has been denied by S3, please make sure your request credentials have permission to GetObject for %s/%s. S3 Error Code: AccessDenied. S3 Error Message: %s", o.Bucket, o.Key, message)
	}
	return wire.InvalidParameterValue.Errorf("Error occurred while GetObject. S3 Error Code: %s. S3 Error Message: %s", refused.Code, message)
}

// errNoS3 is the answer to a request that names an object where no S3 is
// configured.
func errNoS3(bucket string) error {
	return wire.InvalidParameterValue.Errorf("Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not exist (%s: this server has no S3, start it with --s3-endpoint or send ZipFile)", bucket)
}
