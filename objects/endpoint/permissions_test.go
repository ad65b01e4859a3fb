package endpoint_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
)

// attempt names what a client tried, and how it went: "ok" or the code.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	return code(err)
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b, ctx := s.bucket(t, "permissions"), t.Context()
	s.put(t, b, "open/a", "text")
	s.put(t, b, "shut/a", "text")
	s.allow(t, account, "ann", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:DeleteObject"],"Resource":"arn:aws:s3:::permissions/open/*"},
		{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::permissions/secret/*"},
		{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::permissions/tagged/*","Condition":{"StringEquals":{"s3:ExistingObjectTag/level":"public"}}},
		{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::permissions","Condition":{"StringLike":{"s3:prefix":"open/*"}}},
		{"Effect":"Allow","Action":"s3:CreateBucket","Resource":"arn:aws:s3:::ann-*"}]}`)
	for key, level := range map[string]string{"tagged/public": "level=public", "tagged/private": "level=private"} {
		if _, err := s.root().PutObject(ctx, &s3.PutObjectInput{Bucket: &b, Key: &key, Body: strings.NewReader("x"), Tagging: &level}); err != nil {
			t.Fatal(err)
		}
	}
	ann := s.client(account, "ann")
	get := func(key string) error {
		_, err := ann.GetObject(ctx, &s3.GetObjectInput{Bucket: &b, Key: &key})
		return err
	}
	put := func(in *s3.PutObjectInput) error {
		in.Bucket, in.Body = &b, strings.NewReader("x")
		_, err := ann.PutObject(ctx, in)
		return err
	}
	list := func(prefix string) error {
		_, err := ann.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &b, Prefix: &prefix})
		return err
	}
	copyOf := func(from string) error {
		_, err := ann.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &b, Key: aws.String("open/copy"), CopySource: aws.String(b + "/" + from)})
		return err
	}
	create := func(name string) error {
		_, err := ann.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name})
		return err
	}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"an object that is hers to read", get("open/a"), "ok"},
		{"one that is not", get("shut/a"), "AccessDenied"},
		{"one that is not there, where she may list", get("open/none"), "NoSuchKey"},
		{"one that is not there, where she may not", get("secret/none"), "AccessDenied"},
		{"one whose tag lets her", get("tagged/public"), "ok"},
		{"one whose tag does not", get("tagged/private"), "AccessDenied"},
		{"a way around by dots", get("open/../shut/a"), "InvalidArgument"},
		{"a way around by slashes", get("open//../shut/a"), "InvalidArgument"},
		{"the backend's own", get(".sgwtmp/multipart"), "InvalidArgument"},
		{"writing", put(&s3.PutObjectInput{Key: aws.String("open/b")}), "ok"},
		{"writing elsewhere", put(&s3.PutObjectInput{Key: aws.String("shut/b")}), "AccessDenied"},
		{"writing with tags takes more", put(&s3.PutObjectInput{Key: aws.String("open/b"), Tagging: aws.String("a=b")}), "AccessDenied"},
		{"an old version takes more", func() error {
			_, err := ann.GetObject(ctx, &s3.GetObjectInput{Bucket: &b, Key: aws.String("open/a"), VersionId: aws.String("null")})
			return err
		}(), "AccessDenied"},
		{"a list of what is hers", list("open/"), "ok"},
		{"a list of all", list(""), "AccessDenied"},
		{"a copy of what she may read", copyOf("open/a"), "ok"},
		{"a copy of what she may not", copyOf("shut/a"), "AccessDenied"},
		{"a copy of what is not there", copyOf("secret/none"), "AccessDenied"},
		{"a bucket of a name that she may", create("ann-1"), "ok"},
		{"a bucket of another", create("bob-1"), "AccessDenied"},
		{"somebody else's bucket", create(b), "AccessDenied"},
	} {
		if got := outcome(c.err); got != c.want {
			t.Errorf("%s = %s (%v); want %s", c.name, got, c.err, c.want)
		}
	}
	want := `User: arn:aws:iam::111111111111:user/ann is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::permissions/shut/a" because no identity-based policy allows the s3:GetObject action`
	if err := get("shut/a"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the message = %v; want %s", err, want)
	}
	// Several at once: each for itself.
	out, err := ann.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &b, Delete: &types.Delete{Objects: []types.ObjectIdentifier{
		{Key: aws.String("open/b")}, {Key: aws.String("shut/a")}, {Key: aws.String("open/../shut/a")},
	}}})
	if err != nil || len(out.Deleted) != 1 || len(out.Errors) != 2 || *out.Errors[0].Code != "AccessDenied" || *out.Errors[1].Code != "InvalidArgument" {
		t.Errorf("DeleteObjects = %+v, %v; want one deleted and two refused", out, err)
	}
	if _, err := s.root().HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b, Key: aws.String("shut/a")}); err != nil {
		t.Errorf("what she may not delete is gone: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var seen []string
	for _, e := range s.audited {
		if e.Names["Bucket"] == b || e.Code != "" && e.Names["Bucket"] == "bob-1" {
			seen = append(seen, e.Operation+" "+e.Names["Key"]+" "+e.Code)
		}
	}
	for _, want := range []string{"PutObject open/b ", "PutObject shut/b AccessDenied", "CreateBucket  AccessDenied", "DeleteObjects  ", "GetObject shut/a AccessDenied"} {
		if !slices.Contains(seen, want) {
			t.Errorf("the audit log has no %q: %q", want, seen)
		}
	}
	if slices.Contains(seen, "GetObject open/a ") {
		t.Error("the audit log has reads that succeeded")
	}
}

func TestBucketPolicies(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b, ctx := s.bucket(t, "policies"), t.Context()
	s.put(t, b, "shared/a", "text")
	s.put(t, b, "a", "text")
	root := s.root()
	setPolicy := func(text string) error {
		_, err := root.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &b, Policy: &text})
		return err
	}
	read := func(c *s3.Client, key string) string {
		_, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &b, Key: &key})
		return outcome(err)
	}
	strangers, theirs, anonymous := s.client(other, ""), s.client(other, "bob"), s.anonymous()
	if _, err := root.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &b}); code(err) != "NoSuchBucketPolicy" {
		t.Errorf("GetBucketPolicy of none = %v", err)
	}
	for name, c := range map[string]*s3.Client{"another account": strangers, "nobody": anonymous, "a user": s.client(account, "bob")} {
		if got := read(c, "a"); got != "AccessDenied" {
			t.Errorf("%s reads: %s; want AccessDenied", name, got)
		}
	}
	across := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
		{"Sid":"share","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::policies/shared/*"},
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:user/bob"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::policies/*"},
		{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::%[2]s:root"},"Action":"s3:DeleteBucketPolicy","Resource":"arn:aws:s3:::policies"},
		{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::policies/never/*"}]}`, other, account)
	if err := setPolicy(across); err != nil {
		t.Fatal(err)
	}
	if got, err := root.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &b}); err != nil || *got.Policy != across {
		t.Errorf("GetBucketPolicy = %v, %v; want what was put", got, err)
	}
	if got, err := root.GetBucketPolicyStatus(ctx, &s3.GetBucketPolicyStatusInput{Bucket: &b}); err != nil || aws.ToBool(got.PolicyStatus.IsPublic) {
		t.Errorf("GetBucketPolicyStatus = %+v, %v; want not public", got, err)
	}
	s.put(t, b, "never/a", "text")
	for _, c := range []struct {
		name, got, want string
	}{
		{"the account's root reads what is shared", read(strangers, "shared/a"), "ok"},
		{"and nothing else", read(strangers, "a"), "AccessDenied"},
		{"its user needs a policy of its own", read(theirs, "shared/a"), "AccessDenied"},
		{"our user does not", read(s.client(account, "bob"), "a"), "ok"},
		{"a denial binds the owner", read(root, "never/a"), "AccessDenied"},
		{"nobody reads", read(anonymous, "shared/a"), "AccessDenied"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s; want %s", c.name, c.got, c.want)
		}
	}
	s.allow(t, other, "bob", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)
	if got := read(theirs, "shared/a"); got != "ok" {
		t.Errorf("with both policies: %s; want ok", got)
	}
	if _, err := theirs.PutObject(ctx, &s3.PutObjectInput{Bucket: &b, Key: aws.String("shared/b"), Body: strings.NewReader("x")}); err != nil {
		t.Errorf("writing across = %v", err)
	}
	if _, err := theirs.PutObject(ctx, &s3.PutObjectInput{Bucket: &b, Key: aws.String("shared/b"), Body: strings.NewReader("x"), ExpectedBucketOwner: aws.String(other)}); code(err) != "AccessDenied" {
		t.Errorf("a bucket of another owner than expected = %v; want AccessDenied", err)
	}
	if _, err := strangers.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &b}); code(err) != "AccessDenied" {
		t.Errorf("DeleteBucket by another account = %v; want AccessDenied", err)
	}
	if _, err := strangers.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &b}); code(err) != "BucketAlreadyExists" {
		t.Errorf("CreateBucket of a taken name = %v; want BucketAlreadyExists", err)
	}
	if _, err := root.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &b}); code(err) != "BucketAlreadyOwnedByYou" {
		t.Errorf("CreateBucket of one's own = %v; want BucketAlreadyOwnedByYou", err)
	}
	if out, err := strangers.ListBuckets(ctx, &s3.ListBucketsInput{}); err != nil || len(out.Buckets) != 0 {
		t.Errorf("ListBuckets of another account = %+v, %v; want none", out, err)
	}
	// The public is let in only when nothing blocks it.
	open := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::policies/shared/*"}}`
	if err := setPolicy(open); code(err) != "AccessDenied" || !strings.Contains(err.Error(), "BlockPublicPolicy") {
		t.Errorf("a public policy = %v; want AccessDenied by BlockPublicPolicy", err)
	}
	block := func(policy, buckets bool) {
		_, err := root.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: &b, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
			BlockPublicPolicy: &policy, RestrictPublicBuckets: &buckets,
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	block(false, false)
	if err := setPolicy(open); err != nil {
		t.Fatal(err)
	}
	if got := read(anonymous, "shared/a"); got != "ok" {
		t.Errorf("anybody: %s; want ok", got)
	}
	if got := read(anonymous, "shared/none"); got != "AccessDenied" {
		t.Errorf("anybody, of what is not there: %s; want AccessDenied", got)
	}
	if got := read(anonymous, "a"); got != "AccessDenied" {
		t.Errorf("anybody, of what is not shared: %s; want AccessDenied", got)
	}
	block(false, true)
	if got := read(anonymous, "shared/a"); got != "AccessDenied" {
		t.Errorf("anybody, with RestrictPublicBuckets: %s; want AccessDenied", got)
	}
	// What a policy demands of the transport, this machine has.
	if err := setPolicy(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::policies","arn:aws:s3:::policies/*"],"Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`); err != nil {
		t.Fatal(err)
	}
	if got := read(root, "a"); got != "ok" {
		t.Errorf("from this machine, where TLS is demanded: %s; want ok", got)
	}
	far := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, "/"+b+"/a", nil)
	from := identity.Caller{Account: account, Kind: identity.KindRoot, ARN: "arn:aws:iam::" + account + ":root", Service: "s3", Region: region, Source: "192.0.2.1"}
	s.endpoint.ServeHTTP(far, req.WithContext(identity.WithCaller(ctx, from)))
	if far.Code != 403 {
		t.Errorf("from another machine without TLS = %d; want 403", far.Code)
	}
	// Root can always mend a policy that locks everybody out.
	if err := setPolicy(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::policies","arn:aws:s3:::policies/*"]}]}`); err != nil {
		t.Fatal(err)
	}
	if got := read(root, "a"); got != "AccessDenied" {
		t.Errorf("root, denied: %s; want AccessDenied", got)
	}
	if _, err := root.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: &b}); err != nil {
		t.Errorf("DeleteBucketPolicy of one that denies it = %v", err)
	}
	if got := read(root, "a"); got != "ok" {
		t.Errorf("root, again: %s; want ok", got)
	}
	for text, want := range map[string]string{
		"":         "MalformedPolicy",
		"nonsense": "Policies must be valid JSON and the first byte must be '{'",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::other/*"}]}`:                   "Policy has invalid resource",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"*"}]}`:                                      "Policy has invalid resource",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"lambda:Invoke","Resource":"arn:aws:s3:::policies/*"}]}`:               "Policy has invalid action",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::policies/*"}]}`:                                "Missing required field Principal",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:us*"},"Action":"s3:*","Resource":"arn:aws:s3:::policies"}]}`: "Invalid principal in policy",
		strings.Repeat(" ", 1) + `{"Version":"` + strings.Repeat("x", 21<<10) + `"}`:                                                                            "PolicyTooLarge",
	} {
		if err := setPolicy(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("PutBucketPolicy(%.80s) = %v; want %s", text, err, want)
		}
	}
}

// TestArchivesAreReadAsTheCaller is how code and layers come from S3.
func TestArchivesAreReadAsTheCaller(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b, ctx := s.bucket(t, "archives"), t.Context()
	_, err := s.root().PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: &b, VersioningConfiguration: &types.VersioningConfiguration{Status: "Enabled"}})
	if err != nil {
		t.Fatal(err)
	}
	old := s.put(t, b, "code/a.zip", "old")
	s.put(t, b, "code/a.zip", "the archive")
	as := func(c identity.Caller, o lamina.Object, most int64) string {
		var got bytes.Buffer
		err := s.endpoint.Get(identity.WithCaller(ctx, c), o, most, &got)
		if refused, ok := errors.AsType[*lamina.ObjectError](err); ok {
			return refused.Code
		}
		if err != nil {
			return err.Error()
		}
		return got.String()
	}
	root := identity.Caller{Account: account, Kind: identity.KindRoot, ARN: "arn:aws:iam::" + account + ":root", Service: "lambda", Region: region}
	user := identity.Caller{Account: account, Kind: identity.KindUser, Name: "bob", UserID: "AIDABOB" + account, ARN: "arn:aws:iam::" + account + ":user/bob", Service: "lambda", Region: region}
	stranger := identity.Caller{Account: other, Kind: identity.KindRoot, ARN: "arn:aws:iam::" + other + ":root", Service: "lambda", Region: region}
	object := func(bucket, key, version string) lamina.Object {
		return lamina.Object{Region: region, Bucket: bucket, Key: key, Version: version}
	}
	for _, c := range []struct {
		name, got, want string
	}{
		{"the latest", as(root, object(b, "code/a.zip", ""), 100), "the archive"},
		{"an old version", as(root, object(b, "code/a.zip", old), 100), "old"},
		{"as much as allowed", as(root, object(b, "code/a.zip", ""), 11), "the archive"},
		{"more than allowed", as(root, object(b, "code/a.zip", ""), 10), lamina.ErrTooLarge.Error()},
		{"no bucket", as(root, object("no-such-bucket", "k", ""), 100), "NoSuchBucket"},
		{"no bucket's name", as(root, object("No_Bucket", "k", ""), 100), "NoSuchBucket"},
		{"no key", as(root, object(b, "none", ""), 100), "NoSuchKey"},
		{"no key that there could be", as(root, object(b, "../x", ""), 100), "NoSuchKey"},
		{"no version", as(root, object(b, "code/a.zip", "01ARZ3NDEKTSV4RRFFQ69G5FAV"), 100), "NoSuchVersion"},
		{"a version that can't be", as(root, object(b, "code/a.zip", "nonsense"), 100), "InvalidArgument"},
		{"a user without rights", as(user, object(b, "code/a.zip", ""), 100), "AccessDenied"},
		{"another account", as(stranger, object(b, "code/a.zip", ""), 100), "AccessDenied"},
	} {
		if c.got != c.want {
			t.Errorf("%s = %s; want %s", c.name, c.got, c.want)
		}
	}
	text := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["%s","arn:aws:iam::%s:user/bob"]},"Action":"s3:GetObject","Resource":"arn:aws:s3:::archives/code/*"}]}`, other, account)
	if _, err := s.root().PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &b, Policy: &text}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]identity.Caller{"the other account": stranger, "the user": user} {
		if got := as(c, object(b, "code/a.zip", ""), 100); got != "the archive" {
			t.Errorf("%s, by the bucket's policy = %s; want the archive", name, got)
		}
	}
	if err := s.endpoint.Get(ctx, object(b, "code/a.zip", ""), 100, io.Discard); err == nil {
		t.Error("nobody reads an archive")
	}
}
