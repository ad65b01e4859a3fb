package control_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// staged is storage in memory that counts what becomes of it.
type staged struct {
	bytes.Buffer
	kept, discarded int
}

func (s *staged) ReadAt(b []byte, off int64) (int, error) {
	return bytes.NewReader(s.Bytes()).ReadAt(b, off)
}
func (s *staged) Size() int64                { return int64(s.Len()) }
func (s *staged) Sum() [32]byte              { return sha256.Sum256(s.Bytes()) }
func (s *staged) Keep(context.Context) error { s.kept++; return nil }
func (s *staged) Discard() error             { s.discarded++; return nil }

// fakeObjects are the objects of a bucket by key and version, or a refusal.
type fakeObjects struct {
	objects map[string][]byte
	refuse  error
	region  string // of the last request
}

func (f *fakeObjects) Get(_ context.Context, o lamina.Object, most int64, w io.Writer) error {
	f.region = o.Region
	if f.refuse != nil {
		return fmt.Errorf("get: %w", f.refuse)
	}
	data, ok := f.objects[o.Bucket+"/"+o.Key+"@"+o.Version]
	switch {
	case !ok:
		return &lamina.ObjectError{Code: "NoSuchKey", Message: "nothing here"}
	case int64(len(data)) > most:
		return lamina.ErrTooLarge
	}
	_, err := w.Write(data)
	return err
}

func planeWithObjects(t *testing.T, f *fakeObjects) (*control.Plane, context.Context, *[]*staged) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: database(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	var all []*staged
	o := control.Options{
		Store: db, Invoker: &fakeInvoker{}, Provisioner: newFakeProvisioner(), Locations: noLocations{}, Limits: lamina.DefaultLimits(),
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Stage: func(context.Context) (wire.Upload, error) {
			all = append(all, &staged{})
			return all[len(all)-1], nil
		},
	}
	if f != nil {
		o.Objects = f
	}
	ctx := identity.WithCaller(t.Context(), identity.Caller{Account: "000000000000", Region: "eu-west-1", ARN: "arn:aws:iam::000000000000:root"})
	return control.New(o), ctx, &all
}

func createFrom(p *control.Plane, ctx context.Context, key string, version *string) (*wire.FunctionConfiguration, error) {
	return p.CreateFunction(ctx, &wire.CreateFunctionRequest{
		FunctionName: "hello", Runtime: ptr("python3.12"), Handler: ptr("app.handler"), Role: "arn:aws:iam::000000000000:role/r",
		Code: &wire.FunctionCode{S3Bucket: ptr("code"), S3Key: ptr(key), S3ObjectVersion: version},
	})
}

func TestArchivesFromS3(t *testing.T) {
	t.Parallel()
	zip := testkit.Zip(t, testkit.File{Name: "app.py", Body: "1"})
	older := testkit.Zip(t, testkit.File{Name: "app.py", Body: "0"})
	f := &fakeObjects{objects: map[string][]byte{"code/app.zip@": zip, "code/app.zip@v0": older}}
	p, ctx, all := planeWithObjects(t, f)
	want := lamina.Digest(sha256.Sum256(zip)).CodeSHA256()

	made, err := createFrom(p, ctx, "app.zip", nil)
	if err != nil {
		t.Fatal(err)
	}
	if *made.CodeSha256 != want || *made.CodeSize != int64(len(zip)) {
		t.Errorf("CreateFunction = %s, %d bytes; want %s, %d", *made.CodeSha256, *made.CodeSize, want, len(zip))
	}
	if f.region != "eu-west-1" {
		t.Errorf("region = %s; want the request's", f.region)
	}
	layer, err := p.PublishLayerVersion(ctx, &wire.PublishLayerVersionRequest{
		LayerName: "geo", Content: &wire.LayerVersionContentInput{S3Bucket: ptr("code"), S3Key: ptr("app.zip"), S3ObjectVersion: ptr("v0")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := *layer.Content.CodeSha256, lamina.Digest(sha256.Sum256(older)).CodeSHA256(); got != want {
		t.Errorf("PublishLayerVersion = %s; want that of the version asked for, %s", got, want)
	}
	dry, err := p.UpdateFunctionCode(ctx, &wire.UpdateFunctionCodeRequest{
		FunctionName: "hello", S3Bucket: ptr("code"), S3Key: ptr("app.zip"), S3ObjectVersion: ptr("v0"), DryRun: ptr(true),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := *dry.CodeSha256, *layer.Content.CodeSha256; got != want {
		t.Errorf("UpdateFunctionCode(DryRun) = %s; want %s", got, want)
	}
	for i, wantKept := range []int{1, 1, 0} { // a dry run keeps nothing
		if s := (*all)[i]; s.kept != wantKept || s.discarded != 1 {
			t.Errorf("archive %d: kept %d, released %d times; want %d, 1", i, s.kept, s.discarded, wantKept)
		}
	}
}

func TestRefusalsOfS3(t *testing.T) {
	t.Parallel()
	const prefix = "Error occurred while GetObject. S3 Error Code: "
	for name, c := range map[string]struct {
		refuse  error
		kind    *wire.Kind
		message string
	}{
		"no bucket": {&lamina.ObjectError{Code: "NoSuchBucket", Message: "gone."}, wire.InvalidParameterValue, prefix + "NoSuchBucket. S3 Error Message: The specified bucket does not exist"},
		"no key":    {&lamina.ObjectError{Code: "NoSuchKey", Message: "gone"}, wire.InvalidParameterValue, prefix + "NoSuchKey. S3 Error Message: The specified key does not exist."},
		"another region": {
			&lamina.ObjectError{Code: "PermanentRedirect", Message: "x", Region: "us-west-2"}, wire.InvalidParameterValue,
			prefix + "PermanentRedirect. S3 Error Message: The bucket is in this region: us-west-2. Please use this region to retry the request",
		},
		"denied": {
			&lamina.ObjectError{Code: "AccessDenied", Message: "Access Denied"}, wire.AccessDenied,
			"Your access has been denied by S3, please make sure your request credentials have permission to GetObject for code/app.zip. S3 Error Code: AccessDenied. S3 Error Message: Access Denied",
		},
		"anything else": {&lamina.ObjectError{Code: "InvalidArgument", Message: "Invalid version id specified"}, wire.InvalidParameterValue, prefix + "InvalidArgument. S3 Error Message: Invalid version id specified"},
		"too large":     {lamina.ErrTooLarge, wire.InvalidParameterValue, "Unzipped size must be smaller than 262144000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, ctx, all := planeWithObjects(t, &fakeObjects{refuse: c.refuse})
			_, err := createFrom(p, ctx, "app.zip", nil)
			wantException(t, "CreateFunction", err, c.kind, c.message)
			if s := (*all)[0]; s.kept != 0 || s.discarded != 1 {
				t.Errorf("staged: kept %d, discarded %d times; want 0, 1", s.kept, s.discarded)
			}
		})
	}
}

func TestUnreachableS3IsNotTheClientsFault(t *testing.T) {
	t.Parallel()
	down := errors.New("connection refused")
	p, ctx, _ := planeWithObjects(t, &fakeObjects{refuse: down})
	_, err := createFrom(p, ctx, "app.zip", nil)
	if _, told := errors.AsType[*wire.Exception](err); told || !errors.Is(err, down) {
		t.Errorf("CreateFunction = %v; want the error itself", err)
	}
}

func TestSourcesOfCode(t *testing.T) {
	t.Parallel()
	p, ctx, _ := planeWithObjects(t, &fakeObjects{})
	_, err := p.PublishLayerVersion(ctx, &wire.PublishLayerVersionRequest{LayerName: "geo", Content: &wire.LayerVersionContentInput{S3Bucket: ptr("code")}})
	wantException(t, "a bucket alone", err, wire.InvalidParameterValue, "Please provide S3Key together with S3Bucket.")
	p, ctx, _ = planeWithObjects(t, nil)
	_, err = createFrom(p, ctx, "app.zip", nil)
	wantException(t, "no S3 at all", err, wire.InvalidParameterValue,
		"Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not exist (code: this server has no S3, start it with --s3-endpoint or send ZipFile)")
}
