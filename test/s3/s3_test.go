// Package s3 has the S3 inside Lamina do what functions need of it: code and
// layers come from it, functions learn of its objects, unchanged clients use it,
// and what it acknowledged outlives kills of the server and of its child.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/lamina-run/lamina/internal/testkit"
)

func client(s *testkit.Server) *awss3.Client {
	return awss3.NewFromConfig(s.Config(), func(o *awss3.Options) { o.UsePathStyle = true })
}

func put(t *testing.T, c *awss3.Client, bucket, key string, body []byte) string {
	t.Helper()
	out, err := c.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.VersionId)
}

// child is the process that keeps the buckets.
func child(t *testing.T, s *testkit.Server) int {
	t.Helper()
	m := regexp.MustCompile(`embedded S3 started" pid=(\d+)`).FindAllStringSubmatch(s.Output(), -1)
	if len(m) == 0 {
		t.Fatalf("the embedded S3 did not start:\n%s", s.Output())
	}
	pid, err := strconv.Atoi(m[len(m)-1][1])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// gone waits until a process has ended.
func gone(t *testing.T, pid int) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("process %d lives on", pid)
		}
	}
}

const code = `
import json, os, urllib.parse
def handler(event, context):
    record = event["Records"][0]
    print("heard", record["eventName"], urllib.parse.unquote_plus(record["s3"]["object"]["key"]), record["s3"]["object"].get("size"), flush=True)
    return json.dumps(record["eventName"])
`

// TestFunctionsAndObjects: a function whose code is in a bucket learns of the
// objects in it.
func TestFunctionsAndObjects(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	t.Parallel()
	s := testkit.Start(t, testkit.Options{})
	c, functions, ctx, bucket := client(s), s.Lambda(), t.Context(), "code-and-events"
	if _, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutBucketVersioning(ctx, &awss3.PutBucketVersioningInput{Bucket: &bucket, VersioningConfiguration: &s3types.VersioningConfiguration{Status: "Enabled"}}); err != nil {
		t.Fatal(err)
	}
	old := put(t, c, bucket, "code.zip", testkit.Zip(t, testkit.File{Name: "app.py", Body: code}))
	put(t, c, bucket, "code.zip", []byte("not a zip"))
	create := func(name, key, version string) error {
		in := &lambda.CreateFunctionInput{
			FunctionName: &name, Role: aws.String("arn:aws:iam::" + testkit.Account + ":role/app"), Runtime: types.RuntimePython311, Handler: aws.String("app.handler"),
			Code: &types.FunctionCode{S3Bucket: &bucket, S3Key: &key},
		}
		if version != "" {
			in.Code.S3ObjectVersion = &version
		}
		_, err := functions.CreateFunction(ctx, in)
		return err
	}
	for name, c := range map[string]struct{ key, version, want string }{
		"the latest version is no zip": {"code.zip", "", "Could not unzip uploaded file"},
		"no such key":                  {"none.zip", "", "S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist."},
		"no such version":              {"code.zip", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "S3 Error Code: NoSuchVersion. S3 Error Message: The specified version does not exist."},
	} {
		if err := create("listener", c.key, c.version); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %s", name, err, c.want)
		}
	}
	if err := create("listener", "code.zip", old); err != nil {
		t.Fatal(err)
	}
	layer, err := functions.PublishLayerVersion(ctx, &lambda.PublishLayerVersionInput{LayerName: aws.String("l"), Content: &types.LayerVersionContentInput{S3Bucket: &bucket, S3Key: aws.String("code.zip"), S3ObjectVersion: &old}})
	if err != nil || aws.ToInt64(&layer.Content.CodeSize) == 0 {
		t.Errorf("PublishLayerVersion = %+v, %v", layer, err)
	}
	arn := "arn:aws:lambda:" + s.Region + ":" + testkit.Account + ":function:listener"
	notify := func() error {
		_, err := c.PutBucketNotificationConfiguration(ctx, &awss3.PutBucketNotificationConfigurationInput{
			Bucket: &bucket, NotificationConfiguration: &s3types.NotificationConfiguration{LambdaFunctionConfigurations: []s3types.LambdaFunctionConfiguration{{
				LambdaFunctionArn: &arn, Events: []s3types.Event{"s3:ObjectCreated:*", "s3:ObjectRemoved:*"},
				Filter: &s3types.NotificationConfigurationFilter{Key: &s3types.S3KeyFilter{FilterRules: []s3types.FilterRule{{Name: "prefix", Value: aws.String("in/")}}}},
			}}},
		})
		return err
	}
	if err := notify(); err == nil || !strings.Contains(err.Error(), "Unable to validate the following destination configurations") {
		t.Errorf("a notification that the function does not allow = %v", err)
	}
	_, err = functions.AddPermission(ctx, &lambda.AddPermissionInput{
		FunctionName: aws.String("listener"), StatementId: aws.String("s3"), Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("s3.amazonaws.com"),
		SourceArn: aws.String("arn:aws:s3:::" + bucket), SourceAccount: aws.String(testkit.Account),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := notify(); err != nil {
		t.Fatal(err)
	}
	put(t, c, bucket, "elsewhere/a", []byte("x"))
	put(t, c, bucket, "in/a b.txt", []byte("hello"))
	if _, err := c.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("in/a b.txt")}); err != nil {
		t.Fatal(err)
	}
	want := []string{"heard ObjectCreated:Put in/a b.txt 5", "heard ObjectRemoved:DeleteMarkerCreated in/a b.txt None"}
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		text := said(t, s)
		if strings.Contains(text, want[0]) && strings.Contains(text, want[1]) {
			if strings.Contains(text, "elsewhere") {
				t.Errorf("the function heard of what it did not ask for:\n%s", text)
			}
			break
		}
		if time.Now().After(until) {
			t.Fatalf("the function said %q; want %q\n%s", text, want, s.Output())
		}
	}
}

// said is what functions printed.
func said(t *testing.T, s *testkit.Server) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(filepath.Join(s.Data, "logs"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			text, readErr := os.ReadFile(path)
			all.Write(text)
			err = readErr
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil // a file that was written anew
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// TestAcknowledgedObjectsSurvive kills the server and its child under writers.
// Whatever was acknowledged is there afterwards, and nothing is that hashes wrong;
// no child outlives its server.
func TestAcknowledgedObjectsSurvive(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.Options{})
	c, ctx, bucket := client(s), t.Context(), "survivors"
	if _, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	versioned := "versions-survive"
	if _, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: &versioned}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutBucketVersioning(ctx, &awss3.PutBucketVersioningInput{Bucket: &versioned, VersioningConfiguration: &s3types.VersioningConfiguration{Status: "Enabled"}}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	versions := map[string]string{} // acknowledged bodies, by key and version
	known := map[string]string{}    // acknowledged bodies, by key; empty is a deletion
	open := map[string]bool{}       // keys with a request whose answer never came
	acknowledged := make(chan struct{}, 1)
	writing, stop := context.WithCancel(ctx)
	defer stop()
	gate := &sync.RWMutex{} // writers hold it for reading; the test for writing while the server is down
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for n := 0; writing.Err() == nil; n++ {
				gate.RLock()
				key := fmt.Sprintf("w%d/%d", w, n%7)
				body := fmt.Sprintf("%s %d %s", key, n, strings.Repeat("x", n%5*40_000))
				mu.Lock()
				open[key] = true
				mu.Unlock()
				var err error
				if n%5 == 4 {
					body = ""
					_, err = c.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &bucket, Key: &key})
				} else {
					_, err = c.PutObject(ctx, &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(body)})
				}
				if err == nil {
					mu.Lock()
					known[key] = body
					delete(open, key)
					mu.Unlock()
					select {
					case acknowledged <- struct{}{}:
					default:
					}
				}
				gate.RUnlock()
			}
		})
	}
	writers.Go(func() { // versions, with now and then a delete marker
		for n := 0; writing.Err() == nil; n++ {
			gate.RLock()
			key, body := fmt.Sprint(n%2), fmt.Sprint(n, strings.Repeat("y", 50_000))
			if n%5 == 4 {
				_, _ = c.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &versioned, Key: &key}) // killed servers don't answer
			} else if out, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: &versioned, Key: &key, Body: strings.NewReader(body)}); err == nil {
				mu.Lock()
				versions[key+" "+aws.ToString(out.VersionId)] = body
				mu.Unlock()
			}
			gate.RUnlock()
		}
	})
	check := func() {
		mu.Lock()
		defer mu.Unlock()
		list, err := c.ListObjectVersions(ctx, &awss3.ListObjectVersionsInput{Bucket: &versioned})
		if err != nil {
			t.Error(err)
			return
		}
		seen := map[string]bool{}
		for _, v := range list.Versions {
			if name := *v.Key + " " + *v.VersionId; seen[name] {
				t.Errorf("version %s is listed twice", name)
			} else {
				seen[name] = true
			}
		}
		for name, want := range versions {
			key, version, _ := strings.Cut(name, " ")
			out, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: &versioned, Key: &key, VersionId: &version})
			if err != nil {
				t.Errorf("version %s of %s: %v", version, key, err)
				continue
			}
			if text, err := io.ReadAll(out.Body); string(text) != want || err != nil {
				t.Errorf("version %s of %s has %d bytes, %v; want the %d that were acknowledged", version, key, len(text), err, len(want))
			}
			out.Body.Close()
		}
		for key, want := range known {
			out, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
			var got string
			if err == nil {
				text, readErr := io.ReadAll(out.Body)
				out.Body.Close()
				got, err = string(text), readErr
			} else if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "NoSuchKey" {
				err = nil
			}
			switch {
			case err != nil:
				t.Errorf("%s: %v", key, err)
			case open[key] && (got == "" || strings.HasPrefix(got, key+" ")): // one of the two, and whole
				fields := strings.SplitN(got, " ", 3)
				if n, err := strconv.Atoi(strings.Join(fields[1:min(2, len(fields))], "")); got != "" && (err != nil || len(fields) < 3 || len(fields[2]) != n%5*40_000) {
					t.Errorf("%s is half an object of %d bytes", key, len(got))
				}
				known[key] = got
				delete(open, key)
			case got != want:
				t.Errorf("%s has %d bytes (%.20q); want the %d that were acknowledged (%.20q)", key, len(got), got, len(want), want)
			}
		}
	}
	wait := func() {
		select {
		case <-acknowledged:
		case <-time.After(30 * time.Second):
			t.Fatalf("nothing was acknowledged in 30 s:\n%s", s.Output())
		}
	}
	for n := range 4 {
		for range 3 {
			wait()
		}
		pid := child(t, s)
		if n%2 == 0 {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			for range 8 { // those that were sent before, and some of the next life
				wait()
			}
			gate.Lock()
			check()
			gate.Unlock()
			continue
		}
		s.Kill()
		gate.Lock() // requests under way fail
		s.Restart()
		gone(t, pid)
		check()
		gate.Unlock()
	}
	stop()
	writers.Wait()
	check()
	mu.Lock()
	t.Logf("%d keys, %d versions", len(known), len(versions))
	mu.Unlock()
	pid := child(t, s)
	s.Stop()
	gone(t, pid)
}

const boto = `
import boto3, io, os, urllib.request
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
s3 = boto3.client("s3")
s3.create_bucket(Bucket="boto", CreateBucketConfiguration={"LocationConstraint": os.environ["AWS_REGION"]})
s3.put_object(Bucket="boto", Key="a ü/b", Body=b"text", Metadata={"k": "v"}, ChecksumAlgorithm="SHA256")
got = s3.get_object(Bucket="boto", Key="a ü/b", ChecksumMode="ENABLED")
assert got["Body"].read() == b"text" and got["Metadata"] == {"k": "v"} and got["ChecksumSHA256"], got
big = os.urandom(17 << 20)
s3.upload_fileobj(io.BytesIO(big), "boto", "big", Config=TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20))
out = io.BytesIO()
s3.download_fileobj("boto", "big", out)
assert out.getvalue() == big
url = s3.generate_presigned_url("get_object", Params={"Bucket": "boto", "Key": "a ü/b"})
assert urllib.request.urlopen(url).read() == b"text"
url = s3.generate_presigned_url("put_object", Params={"Bucket": "boto", "Key": "by-url"})
urllib.request.urlopen(urllib.request.Request(url, data=b"by url", method="PUT", headers={"Content-Type": ""}))
assert s3.head_object(Bucket="boto", Key="by-url")["ContentLength"] == 6
try:
    s3.get_object(Bucket="boto", Key="none")
    raise AssertionError("an object that is not there")
except s3.exceptions.NoSuchKey:
    pass
assert [b["Name"] for b in s3.list_buckets()["Buckets"]].count("boto") == 1
keys = [o["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket="boto", PaginationConfig={"PageSize": 1}) for o in page["Contents"]]
assert keys == ["a ü/b", "big", "by-url"], keys
s3.delete_objects(Bucket="boto", Delete={"Objects": [{"Key": k} for k in keys]})
s3.delete_bucket(Bucket="boto")
`

const cli = `
aws s3 mb s3://cli-bucket
mkdir -p tree/sub && echo one >tree/a.txt && echo two >tree/sub/b.txt && head -c 9000000 /dev/urandom >tree/big
aws s3 sync tree s3://cli-bucket/tree --only-show-errors
aws s3 ls s3://cli-bucket/tree/ --recursive | awk '{ print $4 }'
aws s3 sync s3://cli-bucket/tree copy --only-show-errors && diff -r tree copy && echo same
if aws s3 rb s3://cli-bucket 2>err; then echo "a bucket that is not empty went"; fi
grep -o BucketNotEmpty err
aws s3 rb s3://cli-bucket --force | tail -n 1
`

// TestUnchangedClients are boto3 and the AWS CLI.
func TestUnchangedClients(t *testing.T) {
	testkit.Need(t, testkit.AWSCLI, testkit.Boto)
	t.Parallel()
	s := testkit.Start(t, testkit.Options{})
	run := func(name string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Env = t.TempDir(), s.Env()
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v\n%s%s", name, err, out, stderr.String())
		}
		return string(out)
	}
	var both sync.WaitGroup
	both.Go(func() { run(testkit.Tool("python3"), "-c", boto) })
	out := run("bash", "-euo", "pipefail", "-c", cli)
	both.Wait()
	if want := "make_bucket: cli-bucket\ntree/a.txt\ntree/big\ntree/sub/b.txt\nsame\nBucketNotEmpty\nremove_bucket: cli-bucket\n"; out != want {
		t.Errorf("the AWS CLI printed\n%s\nwant\n%s", out, want)
	}
}

// TestOrdinaryUser: S3 needs no privileges.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.Options{User: testkit.OrdinaryUser(t)})
	c, bucket := client(s), "ordinary"
	if _, err := c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatalf("%v\n%s", err, s.Output())
	}
	put(t, c, bucket, "a/b", []byte("text"))
	out, err := c.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: aws.String("a/b")})
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := io.ReadAll(out.Body); string(text) != "text" {
		t.Errorf("the object is %q", text)
	}
	out.Body.Close()
	var status syscall.Stat_t
	if err := syscall.Stat(fmt.Sprintf("/proc/%d", child(t, s)), &status); err != nil || os.Geteuid() == 0 && status.Uid == 0 {
		t.Errorf("the child is user %d's, %v; want the ordinary user's", status.Uid, err)
	}
}

// TestSwitchedOff: without S3, requests for it say so, and code does not come
// from it.
func TestSwitchedOff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"--no-s3":       {[]string{"--no-s3"}, "--no-s3"},
		"--s3-endpoint": {[]string{"--s3-endpoint", "http://127.0.0.1:1"}, "http://127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testkit.Start(t, testkit.Options{Args: c.args})
			_, err := client(s).ListBuckets(t.Context(), &awss3.ListBucketsInput{})
			if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "NotImplemented" || !strings.Contains(api.ErrorMessage(), c.want) {
				t.Errorf("ListBuckets = %v; want NotImplemented, and why", err)
			}
			resp, err := http.Get(s.URL + "/bucket/key")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusForbidden || strings.Contains(resp.Header.Get("Content-Type"), "xml") {
				t.Errorf("GET of nobody's = %s %s; want the answer without S3", resp.Status, resp.Header.Get("Content-Type"))
			}
			if _, err := iam.NewFromConfig(s.Config()).ListUsers(t.Context(), &iam.ListUsersInput{}); err != nil {
				t.Errorf("ListUsers = %v", err)
			}
		})
	}
}
