package sdk

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

func TestLayerPublishAndRead(t *testing.T) {
	b := open(t)
	zip := archive(t, "python/geo.py", "R = 6371\n")
	got, err := b.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{
		LayerName: aws.String("geo"), Description: aws.String("distances"), LicenseInfo: aws.String("MIT"),
		Content:                 &types.LayerVersionContentInput{ZipFile: zip},
		CompatibleRuntimes:      []types.Runtime{types.RuntimePython312, types.RuntimePython311},
		CompatibleArchitectures: []types.Architecture{types.ArchitectureArm64, types.ArchitectureX8664},
	})
	if err != nil {
		t.Fatal(err)
	}
	arn := "arn:aws:lambda:" + region + ":000000000000:layer:geo"
	if got.Version != 1 || aws.ToString(got.LayerArn) != arn || aws.ToString(got.LayerVersionArn) != arn+":1" {
		t.Errorf("published %d %s %s; want 1 %s %[4]s:1", got.Version, aws.ToString(got.LayerArn), aws.ToString(got.LayerVersionArn), arn)
	}
	if aws.ToString(got.Content.CodeSha256) != codeSHA256(zip) || got.Content.CodeSize != int64(len(zip)) {
		t.Errorf("content %s, %d bytes; want %s, %d", aws.ToString(got.Content.CodeSha256), got.Content.CodeSize, codeSHA256(zip), len(zip))
	}
	if want := []types.Runtime{types.RuntimePython312, types.RuntimePython311}; !slices.Equal(got.CompatibleRuntimes, want) {
		t.Errorf("runtimes %v; want %v in the order sent", got.CompatibleRuntimes, want)
	}
	if date := aws.ToString(got.CreatedDate); !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000$`).MatchString(date) {
		t.Errorf("CreatedDate %q; want milliseconds and +0000", date)
	}

	read, err := b.GetLayerVersion(t.Context(), &lambda.GetLayerVersionInput{LayerName: &arn, VersionNumber: aws.Int64(1)})
	if err != nil {
		t.Fatalf("GetLayerVersion by layer ARN: %v", err)
	}
	if aws.ToString(read.Description) != "distances" || aws.ToString(read.LicenseInfo) != "MIT" {
		t.Errorf("read back %q, %q; want distances, MIT", aws.ToString(read.Description), aws.ToString(read.LicenseInfo))
	}
	byARN, err := b.GetLayerVersionByArn(t.Context(), &lambda.GetLayerVersionByArnInput{Arn: aws.String(arn + ":1")})
	if err != nil {
		t.Fatalf("GetLayerVersionByArn: %v", err)
	}
	if aws.ToString(byARN.Content.CodeSha256) != codeSHA256(zip) {
		t.Errorf("by ARN: %s; want %s", aws.ToString(byARN.Content.CodeSha256), codeSHA256(zip))
	}
	for _, link := range []*string{got.Content.Location, read.Content.Location, byARN.Content.Location} {
		if status, body := fetch(t, aws.ToString(link)); status != 200 || !bytes.Equal(body, zip) {
			t.Errorf("GET %s = %d, %d bytes; want 200 and the %d bytes sent", aws.ToString(link), status, len(body), len(zip))
		}
	}
}

func TestLayerNumbersAreNeverReused(t *testing.T) {
	b := open(t)
	zip := archive(t, "python/a.py", "")
	for range 2 {
		b.layer("gone", zip)
	}
	for n := range int64(2) {
		if _, err := b.DeleteLayerVersion(t.Context(), &lambda.DeleteLayerVersionInput{LayerName: aws.String("gone"), VersionNumber: aws.Int64(n + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := b.ListLayerVersions(t.Context(), &lambda.ListLayerVersionsInput{LayerName: aws.String("gone")})
	if err != nil || len(list.LayerVersions) != 0 {
		t.Errorf("after deleting all: %d versions, %v; want none", len(list.LayerVersions), err)
	}
	_, err = b.GetLayerVersion(t.Context(), &lambda.GetLayerVersionInput{LayerName: aws.String("gone"), VersionNumber: aws.Int64(1)})
	wantError[*types.ResourceNotFoundException](t, "GetLayerVersion of a deleted version", err)
	if got := b.layer("gone", zip).Version; got != 3 {
		t.Errorf("next version %d; want 3", got)
	}
}

func TestLayerPages(t *testing.T) {
	b := open(t)
	for i := range 7 {
		b.layer("paged", archive(t, "n", fmt.Sprint(i)))
	}
	var got []int64
	pages := 0
	for p := lambda.NewListLayerVersionsPaginator(b.Client, &lambda.ListLayerVersionsInput{LayerName: aws.String("paged"), MaxItems: aws.Int32(3)}); p.HasMorePages(); pages++ {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.LayerVersions {
			got = append(got, v.Version)
		}
	}
	if want := []int64{7, 6, 5, 4, 3, 2, 1}; !slices.Equal(got, want) || pages != 3 {
		t.Errorf("%d pages with %v; want 3 with %v", pages, got, want)
	}
	for i := range 4 {
		b.layer(fmt.Sprintf("other-%d", i), archive(t, "n", ""))
	}
	names := map[string]int64{}
	for p := lambda.NewListLayersPaginator(b.Client, &lambda.ListLayersInput{MaxItems: aws.Int32(2)}); p.HasMorePages(); {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range page.Layers {
			names[aws.ToString(l.LayerName)] = l.LatestMatchingVersion.Version
		}
	}
	if len(names) != 5 || names["paged"] != 7 {
		t.Errorf("ListLayers in pages: %v; want 5 layers, paged at 7", names)
	}
}

func TestLayerPublishersAtOnceGetEveryNumberOnce(t *testing.T) {
	b := open(t)
	const publishers, each = 8, 5
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex
		got []int64
	)
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				out, err := b.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{
					LayerName: aws.String("busy"), Content: &types.LayerVersionContentInput{ZipFile: archive(t, "n", fmt.Sprint(p, i))},
				})
				if err != nil {
					t.Errorf("PublishLayerVersion: %v", err)
					return
				}
				mu.Lock()
				got = append(got, out.Version)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(got)
	for i, n := range got {
		if n != int64(i+1) {
			t.Fatalf("numbers %v; want 1 to %d, each once", got, publishers*each)
		}
	}
}

func TestLayerErrors(t *testing.T) {
	b := open(t)
	_, err := b.GetLayerVersion(t.Context(), &lambda.GetLayerVersionInput{LayerName: aws.String("absent"), VersionNumber: aws.Int64(1)})
	wantError[*types.ResourceNotFoundException](t, "GetLayerVersion(absent)", err)
	_, err = b.GetLayerVersion(t.Context(), &lambda.GetLayerVersionInput{LayerName: aws.String("absent"), VersionNumber: aws.Int64(0)})
	wantError[*types.InvalidParameterValueException](t, "GetLayerVersion(absent, 0)", err)
	_, err = b.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{LayerName: aws.String("no zip"), Content: &types.LayerVersionContentInput{ZipFile: []byte("x")}})
	wantCode(t, "PublishLayerVersion(no zip)", err, "ValidationException")
	_, err = b.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{LayerName: aws.String("nozip"), Content: &types.LayerVersionContentInput{ZipFile: []byte("not a zip")}})
	wantError[*types.InvalidParameterValueException](t, "PublishLayerVersion(not a zip)", err)
	_, err = b.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{LayerName: aws.String("evil"), Content: &types.LayerVersionContentInput{ZipFile: archive(t, "../../etc/passwd", "root")}})
	wantError[*types.InvalidParameterValueException](t, "PublishLayerVersion(name that leaves the root)", err)
	if list, err := b.ListLayers(t.Context(), &lambda.ListLayersInput{}); err != nil || len(list.Layers) != 0 {
		t.Errorf("after refused publishes: %d layers, %v; want none", len(list.Layers), err)
	}
}

func TestLayerPolicy(t *testing.T) {
	b := open(t)
	b.layer("shared", archive(t, "n", ""))
	add := func(sid string, revision *string) (*lambda.AddLayerVersionPermissionOutput, error) {
		return b.AddLayerVersionPermission(t.Context(), &lambda.AddLayerVersionPermissionInput{
			LayerName: aws.String("shared"), VersionNumber: aws.Int64(1), StatementId: &sid,
			Action: aws.String("lambda:GetLayerVersion"), Principal: aws.String("111122223333"), RevisionId: revision,
		})
	}
	first, err := add("one", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = add("one", nil)
	wantError[*types.ResourceConflictException](t, "the same statement id again", err)
	if _, err := add("two", first.RevisionId); err != nil {
		t.Errorf("with the current RevisionId: %v", err)
	}
	_, err = add("three", first.RevisionId)
	wantError[*types.PreconditionFailedException](t, "with a stale RevisionId", err)
}
