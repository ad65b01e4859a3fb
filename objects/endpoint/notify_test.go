package endpoint_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/identity/policy"
)

// allowing lets everybody do everything.
type allowing struct{}

func (allowing) DecideOn(context.Context, identity.Caller, identity.Need, *policy.Document) (policy.Decision, error) {
	return policy.Decision{Allowed: true}, nil
}

func (allowing) Mention(context.Context, identity.Caller, string) (bool, error) { return false, nil }

// failing is a backend that is not there.
type failing struct{}

func (failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.New("gone") }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestNotifications(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	c, b, ctx := s.root(), s.bucket(t, "notifications"), t.Context()
	const made, gone = "arn:aws:lambda:eu-central-1:111111111111:function:made", "arn:aws:lambda:eu-central-1:111111111111:function:gone:prod"
	lambda := func(function string, events ...types.Event) types.LambdaFunctionConfiguration {
		return types.LambdaFunctionConfiguration{LambdaFunctionArn: &function, Events: events}
	}
	filtered := func(l types.LambdaFunctionConfiguration, prefix, suffix string) types.LambdaFunctionConfiguration {
		l.Filter = &types.NotificationConfigurationFilter{Key: &types.S3KeyFilter{FilterRules: []types.FilterRule{
			{Name: "prefix", Value: &prefix}, {Name: "Suffix", Value: &suffix},
		}}}
		return l
	}
	set := func(all ...types.LambdaFunctionConfiguration) error {
		_, err := c.PutBucketNotificationConfiguration(ctx, &s3.PutBucketNotificationConfigurationInput{
			Bucket: &b, NotificationConfiguration: &types.NotificationConfiguration{LambdaFunctionConfigurations: all},
		})
		return err
	}
	if err := set(lambda(made, "s3:ObjectCreated:*")); err == nil || !strings.Contains(err.Error(), "Unable to validate the following destination configurations") {
		t.Errorf("a function that S3 may not invoke = %v", err)
	}
	s.told.mu.Lock()
	for _, f := range []string{made, gone} {
		s.told.allowed[f+" arn:aws:s3:::notifications 111111111111 s3.amazonaws.com"] = true
	}
	s.told.mu.Unlock()
	for name, bad := range map[string][]types.LambdaFunctionConfiguration{
		"events that overlap":          {lambda(made, "s3:ObjectCreated:*"), lambda(gone, "s3:ObjectCreated:Put")},
		"filters that overlap":         {filtered(lambda(made, "s3:ObjectCreated:*"), "a/", ".zip"), filtered(lambda(gone, "s3:ObjectCreated:Put"), "a/b", "")},
		"an event that never comes":    {lambda(made, "s3:ObjectRestore:Post")},
		"an event that there is not":   {lambda(made, "s3:ObjectPainted")},
		"a filter that there is not":   {{LambdaFunctionArn: aws.String(made), Events: []types.Event{"s3:ObjectCreated:*"}, Filter: &types.NotificationConfigurationFilter{Key: &types.S3KeyFilter{FilterRules: []types.FilterRule{{Name: "infix", Value: aws.String("x")}}}}}},
		"two of the same identifier":   {{Id: aws.String("x"), LambdaFunctionArn: aws.String(made), Events: []types.Event{"s3:ObjectCreated:*"}}, {Id: aws.String("x"), LambdaFunctionArn: aws.String(gone), Events: []types.Event{"s3:ObjectRemoved:*"}}},
		"a function that is not there": {lambda(made+"-not", "s3:ObjectCreated:*")},
	} {
		if err := set(bad...); code(err) != "InvalidArgument" {
			t.Errorf("%s = %v; want InvalidArgument", name, err)
		}
	}
	if err := set(filtered(lambda(made, "s3:ObjectCreated:*"), "in ü/", ".txt"), lambda(gone, "s3:ObjectRemoved:*")); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetBucketNotificationConfiguration(ctx, &s3.GetBucketNotificationConfigurationInput{Bucket: &b})
	if err != nil || len(got.LambdaFunctionConfigurations) != 2 {
		t.Fatalf("GetBucketNotificationConfiguration = %+v, %v", got, err)
	}
	if l := got.LambdaFunctionConfigurations[0]; aws.ToString(l.Id) == "" || *l.LambdaFunctionArn != made || !slices.Equal(l.Events, []types.Event{"s3:ObjectCreated:*"}) ||
		len(l.Filter.Key.FilterRules) != 2 || l.Filter.Key.FilterRules[0].Name != "Prefix" || *l.Filter.Key.FilterRules[0].Value != "in ü/" {
		t.Errorf("the configuration = %+v", l)
	}
	if got.LambdaFunctionConfigurations[1].Filter != nil {
		t.Errorf("a configuration without a filter has %+v", got.LambdaFunctionConfigurations[1].Filter)
	}

	s.put(t, b, "in ü/a b.txt", "hello")
	s.put(t, b, "elsewhere.txt", "hello")
	if _, err := c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &b, Key: aws.String("in ü/copy.txt"), CopySource: aws.String(b + "/elsewhere.txt")}); err != nil {
		t.Fatal(err)
	}
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &b, Key: aws.String("in ü/up.txt")})
	if err != nil {
		t.Fatal(err)
	}
	part, err := c.UploadPart(ctx, &s3.UploadPartInput{Bucket: &b, Key: up.Key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("part")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &b, Key: up.Key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: part.ETag}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b, Key: aws.String("elsewhere.txt")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: &b, VersioningConfiguration: &types.VersioningConfiguration{Status: "Enabled"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &b, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: aws.String("in ü/up.txt")}}, Quiet: aws.Bool(true)}}); err != nil {
		t.Fatal(err)
	}
	s.told.mu.Lock()
	functions, events := s.told.function, s.told.events
	s.told.mu.Unlock()
	var names []string
	for i, text := range events {
		var e struct {
			Records []struct {
				EventVersion, EventSource, AwsRegion, EventTime, EventName string
				UserIdentity                                               struct{ PrincipalID string }
				RequestParameters                                          struct{ SourceIPAddress string }
				S3                                                         struct {
					S3SchemaVersion, ConfigurationID string
					Bucket                           struct{ Name, Arn string }
					Object                           struct {
						Key, ETag, VersionID, Sequencer string
						Size                            *int64
					}
				}
			}
		}
		if err := json.Unmarshal([]byte(text), &e); err != nil || len(e.Records) != 1 {
			t.Fatalf("event %s: %v", text, err)
		}
		r := e.Records[0]
		key, err := url.QueryUnescape(r.S3.Object.Key)
		if err != nil || r.EventVersion != "2.1" || r.EventSource != "aws:s3" || r.AwsRegion != region || r.S3.S3SchemaVersion != "1.0" || r.S3.Bucket.Name != b ||
			r.S3.Bucket.Arn != "arn:aws:s3:::notifications" || r.S3.Object.Sequencer == "" || r.UserIdentity.PrincipalID != "AWS:"+account || r.RequestParameters.SourceIPAddress != "127.0.0.1" {
			t.Errorf("event %s: %v", text, err)
		}
		size := int64(-1)
		if r.S3.Object.Size != nil {
			size = *r.S3.Object.Size
		}
		names = append(names, strings.TrimPrefix(functions[i], "arn:aws:lambda:eu-central-1:111111111111:function:")+" "+r.EventName+" "+key+" "+map[int64]string{-1: "-", 4: "4", 5: "5"}[size])
		if created := strings.HasPrefix(r.EventName, "ObjectCreated"); created != (r.S3.Object.ETag != "") {
			t.Errorf("event %s; want an ETag with what was created", text)
		}
	}
	want := []string{
		"made ObjectCreated:Put in ü/a b.txt 5", "made ObjectCreated:Copy in ü/copy.txt 5", "made ObjectCreated:CompleteMultipartUpload in ü/up.txt 4",
		"gone:prod ObjectRemoved:Delete elsewhere.txt -", "gone:prod ObjectRemoved:DeleteMarkerCreated in ü/up.txt -",
	}
	if !slices.Equal(names, want) {
		t.Errorf("events = %q; want %q", names, want)
	}
	// What can't be queued is not acknowledged.
	s.told.mu.Lock()
	s.told.fails = errors.New("the disk is full")
	s.told.mu.Unlock()
	defer func() {
		s.told.mu.Lock()
		s.told.fails = nil
		s.told.mu.Unlock()
	}()
	if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: &b, Key: aws.String("in ü/b.txt"), Body: strings.NewReader("x")}); code(err) != "InternalError" {
		t.Errorf("PutObject whose event is lost = %v; want InternalError", err)
	}
}
