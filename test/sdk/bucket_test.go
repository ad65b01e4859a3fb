package sdk

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lamina-run/lamina/internal/testkit"
)

// TestArchivesInABucket has two servers with one database and one bucket, which a
// third server's S3 keeps. What is published through one runs through the other,
// also when the one is killed all the time: no version is listed without its bytes.
func TestArchivesInABucket(t *testing.T) {
	testkit.Need(t, testkit.Postgres, testkit.Sandbox, testkit.Python)
	t.Parallel()
	third := testkit.Start(t, testkit.Options{Region: region})
	objects := s3.NewFromConfig(third.Config(), func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := objects.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("archives")}); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(base64.StdEncoding.EncodeToString([]byte("01234567890123456789012345678901"))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--database", newDatabase(t), "--secret-key-file", key, "--blobs", "s3://archives/of/lamina", "--blobs-endpoint", third.URL,
		"--blobs-access-key-id", third.AccessKeyID, "--blobs-secret-access-key", third.SecretAccessKey, "--no-s3",
	}
	start := func() desk {
		s := testkit.Start(t, testkit.Options{Region: region, Args: args})
		return desk{s, s.Lambda(), t}
	}
	a, b := start(), start()

	layer := *a.layer("words", archive(t, "python/words.py", "said = 'from one bucket'\n")).LayerVersionArn
	a.function("speaker", archive(t, "app.py", "import words\ndef handler(e, c): return words.said\n"), layer)
	if got := string(b.invoke("speaker", "{}").Payload); got != `"from one bucket"` {
		t.Errorf("through the other server: %s; want what the layer says", got)
	}
	b.update("speaker", archive(t, "app.py", "def handler(e, c): return 'anew'\n"))
	b.publish("speaker")
	if got := string(a.invoke("speaker:1", "{}").Payload); got != `"anew"` {
		t.Errorf("through the first server: %s; want what the other published", got)
	}
	list, err := objects.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("archives")})
	if err != nil || len(list.Contents) != 3 {
		t.Errorf("%d objects, %v; want 3", len(list.Contents), err)
	} else if name := *list.Contents[0].Key; !strings.HasPrefix(name, "of/lamina/sha256/") {
		t.Errorf("object %s; want it below of/lamina/sha256/", name)
	}

	ctx, stop := context.WithCancel(t.Context())
	acknowledged := make(chan struct{}, 1) // publishers send without blocking; the loop below drains; never closed
	var publishing sync.WaitGroup
	for p := range 4 {
		publishing.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				zip := archive(t, "python/m.py", fmt.Sprintf("%d %d %s", p, i, strings.Repeat("x", rand.IntN(100_000))))
				_, err := a.PublishLayerVersion(ctx, &lambda.PublishLayerVersionInput{LayerName: aws.String("many"), Content: &types.LayerVersionContentInput{ZipFile: zip}})
				if err == nil {
					select {
					case acknowledged <- struct{}{}:
					default:
					}
				}
			}
		})
	}
	for range 4 {
		for range 2 { // the first may be of the life before
			select {
			case <-acknowledged:
			case <-time.After(30 * time.Second):
				t.Fatal("nothing was acknowledged in 30 s")
			}
		}
		time.Sleep(rand.N(200 * time.Millisecond)) // the moment of the kill is what the test varies
		a.Kill()
		a.Restart()
	}
	stop()
	publishing.Wait()
	versions, page := 0, lambda.NewListLayerVersionsPaginator(b.Client, &lambda.ListLayerVersionsInput{LayerName: aws.String("many")})
	for page.HasMorePages() {
		out, err := page.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range out.LayerVersions {
			versions++
			b.wantBytes(v.LayerVersionArn)
		}
	}
	if versions < 8 {
		t.Errorf("%d versions; want at least the 8 that were waited for", versions)
	}

	if _, err := objects.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: aws.String("archives")}); err == nil {
		t.Error("the bucket is empty")
	}
}

// wantBytes downloads a layer version and compares it with its digest.
func (b desk) wantBytes(arn *string) {
	b.Helper()
	out, err := b.GetLayerVersionByArn(b.Context(), &lambda.GetLayerVersionByArnInput{Arn: arn})
	if err != nil {
		b.Errorf("GetLayerVersionByArn(%s): %v", *arn, err)
		return
	}
	resp, err := http.Get(*out.Content.Location)
	if err != nil {
		b.Errorf("download %s: %v", *arn, err)
		return
	}
	defer resp.Body.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, resp.Body)
	if got := base64.StdEncoding.EncodeToString(sum.Sum(nil)); err != nil || resp.StatusCode != 200 || n != out.Content.CodeSize || got != *out.Content.CodeSha256 {
		b.Errorf("%s: %s, %d bytes with %s, %v; want %d with %s", *arn, resp.Status, n, got, err, out.Content.CodeSize, *out.Content.CodeSha256)
	}
}
