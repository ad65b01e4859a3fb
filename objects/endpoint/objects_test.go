package endpoint_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestObjectsComeBack(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	c, b, ctx := s.root(), s.bucket(t, "come-back"), t.Context()
	big := strings.Repeat("0123456789abcdef", 20_000) // several chunks
	for key, body := range map[string]string{
		"a": "1", "dir/b.txt": "two", "empty": "", "a b+c&d=ü/%2F?#.zip": "escaped", "~-._!$'()*,;:@": "kept", "日本/語": "unicode", "big": big,
		"x/" + strings.Repeat("k", 220): "long",
	} {
		for _, algorithm := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmSha256} {
			in := &s3.PutObjectInput{
				Bucket: &b, Key: &key, Body: strings.NewReader(body), ContentType: aws.String("text/x"), ContentEncoding: aws.String("identity"),
				Metadata: map[string]string{"word": "value"}, ChecksumAlgorithm: algorithm, CacheControl: aws.String("no-store"),
			}
			put, err := c.PutObject(ctx, in)
			if err != nil {
				t.Errorf("PutObject(%q) = %v", key, err)
				continue
			}
			got, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &b, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
			if err != nil {
				t.Errorf("GetObject(%q) = %v", key, err)
				continue
			}
			text, err := io.ReadAll(got.Body) // checks the checksum
			got.Body.Close()
			if string(text) != body || err != nil || aws.ToString(got.ContentType) != "text/x" || got.Metadata["word"] != "value" || aws.ToString(got.ETag) != aws.ToString(put.ETag) ||
				aws.ToString(got.ContentEncoding) != "identity" || aws.ToString(got.CacheControl) != "no-store" || got.ServerSideEncryption != "AES256" || put.ServerSideEncryption != "AES256" {
				t.Errorf("GetObject(%q) = %d bytes, %+v, %v; want %d bytes", key, len(text), got, err, len(body))
			}
			if sum := aws.ToString(got.ChecksumCRC32) + aws.ToString(got.ChecksumSHA256); sum == "" || sum != aws.ToString(put.ChecksumCRC32)+aws.ToString(put.ChecksumSHA256) {
				t.Errorf("checksum of %q = %q; want the one of the upload", key, sum)
			}
		}
	}
	s.put(t, b, "dir/", "") // a directory, which has no content type
	if got, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &b, Key: aws.String("big"), Range: aws.String("bytes=16-19")}); err != nil {
		t.Error(err)
	} else if text, _ := io.ReadAll(got.Body); string(text) != "0123" || aws.ToString(got.ContentRange) != fmt.Sprintf("bytes 16-19/%d", len(big)) {
		t.Errorf("range = %q, %s", text, aws.ToString(got.ContentRange))
	}
	head, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b, Key: aws.String("big")})
	if err != nil || aws.ToInt64(head.ContentLength) != int64(len(big)) {
		t.Errorf("HeadObject = %+v, %v", head, err)
	}
	list, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &b, Delimiter: aws.String("/"), FetchOwner: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, o := range list.Contents {
		keys = append(keys, *o.Key)
		if o.Owner == nil || len(aws.ToString(o.Owner.ID)) != 64 || strings.HasPrefix(*o.Owner.ID, "0000") {
			t.Errorf("owner of %s = %+v; want the account's canonical user", *o.Key, o.Owner)
		}
	}
	for _, p := range list.CommonPrefixes {
		keys = append(keys, *p.Prefix)
	}
	slices.Sort(keys)
	if want := []string{"a", "a b+c&d=ü/", "big", "dir/", "empty", "x/", "~-._!$'()*,;:@", "日本/"}; !slices.Equal(keys, want) {
		t.Errorf("ListObjectsV2 = %q; want %q", keys, want)
	}
	old, err := c.ListObjects(ctx, &s3.ListObjectsInput{Bucket: &b, Prefix: aws.String("dir/"), MaxKeys: aws.Int32(1)})
	if err != nil || len(old.Contents) != 1 || *old.Contents[0].Key != "dir/" || !aws.ToBool(old.IsTruncated) {
		t.Errorf("ListObjects = %+v, %v; want dir/ and more", old, err)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	c, b, ctx := s.root(), s.bucket(t, "versions"), t.Context()
	if v, err := c.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &b}); err != nil || v.Status != "" {
		t.Errorf("GetBucketVersioning of a new bucket = %+v, %v", v, err)
	}
	enable := &s3.PutBucketVersioningInput{Bucket: &b, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}}
	if _, err := c.PutBucketVersioning(ctx, enable); err != nil {
		t.Fatal(err)
	}
	if v, err := c.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &b}); err != nil || v.Status != types.BucketVersioningStatusEnabled {
		t.Errorf("GetBucketVersioning = %+v, %v", v, err)
	}
	one, two := s.put(t, b, "k", "one"), s.put(t, b, "k", "two")
	if one == "" || one == two {
		t.Fatalf("versions = %q, %q", one, two)
	}
	for version, want := range map[string]string{one: "one", two: "two", "": "two"} {
		in := &s3.GetObjectInput{Bucket: &b, Key: aws.String("k")}
		if version != "" {
			in.VersionId = &version
		}
		got, err := c.GetObject(ctx, in)
		if err != nil {
			t.Errorf("version %q: %v", version, err)
			continue
		}
		if text, _ := io.ReadAll(got.Body); string(text) != want {
			t.Errorf("version %q = %q; want %q", version, text, want)
		}
	}
	gone, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b, Key: aws.String("k")})
	if err != nil || !aws.ToBool(gone.DeleteMarker) {
		t.Fatalf("DeleteObject = %+v, %v; want a delete marker", gone, err)
	}
	if _, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &b, Key: aws.String("k")}); code(err) != "NoSuchKey" {
		t.Errorf("GetObject behind a delete marker = %v; want NoSuchKey", err)
	}
	if _, err := c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &b}); code(err) != "BucketNotEmpty" {
		t.Errorf("DeleteBucket with versions = %v; want BucketNotEmpty", err)
	}
	list, err := c.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &b})
	if err != nil || len(list.Versions) != 2 || len(list.DeleteMarkers) != 1 {
		t.Fatalf("ListObjectVersions = %+v, %v; want two versions and a marker", list, err)
	}
	var all []types.ObjectIdentifier
	for _, v := range list.Versions {
		all = append(all, types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
	}
	all = append(all, types.ObjectIdentifier{Key: aws.String("k"), VersionId: list.DeleteMarkers[0].VersionId})
	out, err := c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &b, Delete: &types.Delete{Objects: all}})
	if err != nil || len(out.Deleted) != 3 || len(out.Errors) != 0 {
		t.Fatalf("DeleteObjects = %+v, %v", out, err)
	}
	if _, err := c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &b}); err != nil {
		t.Errorf("DeleteBucket of an empty one = %v", err)
	}
	if _, err := c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &b}); code(err) != "NotFound" {
		t.Errorf("HeadBucket of a deleted one = %v", err)
	}
}

func TestMultipartUploads(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	c, b, ctx, key := s.root(), s.bucket(t, "multipart"), t.Context(), "big"
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &b, Key: &key, Metadata: map[string]string{"m": "v"}, StorageClass: types.StorageClassStandardIa})
	if err != nil {
		t.Fatal(err)
	}
	first, second := bytes.Repeat([]byte("a"), 5<<20), []byte("tail")
	var parts []types.CompletedPart
	for n, body := range [][]byte{first, second} {
		out, err := c.UploadPart(ctx, &s3.UploadPartInput{Bucket: &b, Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(int32(n + 1)), Body: bytes.NewReader(body)})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, types.CompletedPart{PartNumber: aws.Int32(int32(n + 1)), ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32})
	}
	s.put(t, b, "source", "copied")
	copied, err := c.UploadPartCopy(ctx, &s3.UploadPartCopyInput{Bucket: &b, Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(3), CopySource: aws.String(b + "/source")})
	if err != nil || copied.CopyPartResult == nil {
		t.Fatalf("UploadPartCopy = %+v, %v", copied, err)
	}
	if list, err := c.ListParts(ctx, &s3.ListPartsInput{Bucket: &b, Key: &key, UploadId: up.UploadId}); err != nil || len(list.Parts) != 3 {
		t.Errorf("ListParts = %+v, %v", list, err)
	}
	if list, err := c.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &b}); err != nil || len(list.Uploads) != 1 || *list.Uploads[0].Key != key {
		t.Errorf("ListMultipartUploads = %+v, %v", list, err)
	}
	done, err := c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &b, Key: &key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	if err != nil || !strings.HasPrefix(aws.ToString(done.Location), s.url) || !strings.HasSuffix(aws.ToString(done.ETag), `-2"`) {
		t.Fatalf("CompleteMultipartUpload = %+v, %v", done, err)
	}
	got, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &b, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(got.Body)
	if err != nil || !bytes.Equal(text, append(first, second...)) || got.Metadata["m"] != "v" || len(got.Metadata) != 1 || got.StorageClass != types.StorageClassStandardIa {
		t.Errorf("the object has %d bytes, metadata %v, class %s, %v", len(text), got.Metadata, got.StorageClass, err)
	}
	up, err = c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &b, Key: aws.String("other")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &b, Key: aws.String("other"), UploadId: up.UploadId}); err != nil {
		t.Error(err)
	}
	if _, err := c.ListParts(ctx, &s3.ListPartsInput{Bucket: &b, Key: aws.String("other"), UploadId: up.UploadId}); code(err) != "NoSuchUpload" {
		t.Errorf("ListParts of an aborted upload = %v; want NoSuchUpload", err)
	}
}

func TestCopies(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	c, b, ctx := s.root(), s.bucket(t, "copies"), t.Context()
	_, err := c.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b, Key: aws.String("from ü+"), Body: strings.NewReader("text"), Metadata: map[string]string{"m": "v"}, ContentType: aws.String("a/b"),
		Tagging: aws.String("k=v"), ServerSideEncryption: types.ServerSideEncryptionAwsKms, SSEKMSKeyId: aws.String("key-1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if h, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b, Key: aws.String("from ü+")}); err != nil || h.ServerSideEncryption != types.ServerSideEncryptionAwsKms || aws.ToString(h.SSEKMSKeyId) != "key-1" || len(h.Metadata) != 1 {
		t.Errorf("HeadObject = %+v, %v; want what was asked for", h, err)
	}
	source := b + "/from%20%C3%BC%2B"
	out, err := c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &b, Key: aws.String("to"), CopySource: &source})
	if err != nil || out.CopyObjectResult == nil {
		t.Fatalf("CopyObject = %+v, %v", out, err)
	}
	h, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b, Key: aws.String("to")})
	if err != nil || h.Metadata["m"] != "v" || len(h.Metadata) != 1 || aws.ToString(h.ContentType) != "a/b" || h.ServerSideEncryption != types.ServerSideEncryptionAes256 {
		t.Errorf("the copy = %+v, %v; want the source's metadata, and its own encryption", h, err)
	}
	tags, err := c.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &b, Key: aws.String("to")})
	if err != nil || len(tags.TagSet) != 1 || *tags.TagSet[0].Value != "v" {
		t.Errorf("tags of the copy = %+v, %v", tags, err)
	}
	_, err = c.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &b, Key: aws.String("to"), CopySource: aws.String(b + "/to"), MetadataDirective: types.MetadataDirectiveReplace, Metadata: map[string]string{"n": "w"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if h, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b, Key: aws.String("to")}); err != nil || h.Metadata["n"] != "w" || len(h.Metadata) != 1 {
		t.Errorf("the copy with metadata of its own = %+v, %v", h, err)
	}
	for from, want := range map[string]string{b + "/absent": "NoSuchKey", "no-such-bucket-here/k": "NoSuchBucket", "copies": "InvalidArgument", b + "/x/../to": "InvalidArgument"} {
		if _, err := c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &b, Key: aws.String("x"), CopySource: &from}); code(err) != want {
			t.Errorf("CopyObject of %s = %v; want %s", from, err, want)
		}
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	c, b, ctx, key := s.root(), s.bucket(t, "tags"), t.Context(), "k"
	s.put(t, b, key, "x")
	set := func(pairs ...string) *types.Tagging {
		var tags []types.Tag
		for i := 0; i < len(pairs); i += 2 {
			tags = append(tags, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
		}
		return &types.Tagging{TagSet: tags}
	}
	if _, err := c.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: &b, Key: &key, Tagging: set("a", "1", "b", "2 @=")}); err != nil {
		t.Fatal(err)
	}
	if got, err := c.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &b, Key: &key}); err != nil || len(got.TagSet) != 2 {
		t.Errorf("GetObjectTagging = %+v, %v", got, err)
	}
	if _, err := c.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: &b, Key: &key, Tagging: set("a", "1", "a", "2")}); code(err) != "InvalidTag" {
		t.Errorf("a key twice = %v; want InvalidTag", err)
	}
	if _, err := c.DeleteObjectTagging(ctx, &s3.DeleteObjectTaggingInput{Bucket: &b, Key: &key}); err != nil {
		t.Error(err)
	}
	if got, err := c.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &b, Key: &key}); err != nil || len(got.TagSet) != 0 {
		t.Errorf("GetObjectTagging of none = %+v, %v", got, err)
	}
}

func TestPresignedURLs(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b, ctx := s.bucket(t, "presigned"), t.Context()
	sign := s3.NewPresignClient(s.root())
	put, err := sign.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: &b, Key: aws.String("a b")})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, put.URL, strings.NewReader("by url"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Expect", "100-continue")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("presigned PUT = %s", resp.Status)
	}
	get, err := sign.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &b, Key: aws.String("a b"), ResponseContentType: aws.String("x/y")}, s3.WithPresignExpires(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		get.URL: "200 by url",
		strings.Replace(get.URL, "X-Amz-Signature=", "X-Amz-Signature=0", 1):    "403 SignatureDoesNotMatch",
		strings.Replace(get.URL, "a%20b", "a%20c", 1):                           "403 SignatureDoesNotMatch",
		strings.Replace(get.URL, "X-Amz-Expires=60", "X-Amz-Expires=604801", 1): "400 AuthorizationQueryParametersError",
	} {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		status, word, _ := strings.Cut(want, " ")
		if fmt.Sprint(resp.StatusCode) != status || !strings.Contains(string(text), word) {
			t.Errorf("GET %s = %s %s; want %s", url, resp.Status, text, want)
		}
		if status == "200" && resp.Header.Get("Content-Type") != "x/y" {
			t.Errorf("Content-Type = %s; want the one that was signed", resp.Header.Get("Content-Type"))
		}
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	c, b, ctx, key := s.root(), s.bucket(t, "conditions"), t.Context(), "k"
	put := func(match, none *string) error {
		_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: &b, Key: &key, Body: strings.NewReader("x"), IfMatch: match, IfNoneMatch: none})
		return err
	}
	if err := put(nil, aws.String("*")); err != nil {
		t.Errorf("the first object = %v", err)
	}
	if err := put(nil, aws.String("*")); code(err) != "PreconditionFailed" {
		t.Errorf("a second one = %v; want PreconditionFailed", err)
	}
	if err := put(aws.String(`"0000"`), nil); code(err) != "PreconditionFailed" {
		t.Errorf("in place of another = %v; want PreconditionFailed", err)
	}
	h, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	if err := put(h.ETag, nil); err != nil {
		t.Errorf("in place of the one there is = %v", err)
	}
	if _, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &b, Key: &key, IfNoneMatch: h.ETag}); code(err) != "NotModified" {
		t.Errorf("GetObject if it changed = %v; want NotModified", err)
	}
}
