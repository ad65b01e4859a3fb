package endpoint_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const ns = ` xmlns="http://s3.amazonaws.com/doc/2006-03-01/"`

// TestConfigurations are kept and come back as they were written, as Terraform
// wants them.
func TestConfigurations(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := s.bucket(t, "configurations")
	one := func(method, param, body string) (int, string) {
		resp, text := s.do(t, raw{method: method, path: "/" + b + "?" + param, body: body})
		_, text, _ = strings.Cut(text, "?>\n")
		return resp.StatusCode, text
	}
	for _, c := range []struct {
		param   string
		missing string // what a new bucket answers: part of it
		document,
		bad string // what is refused
		status, deleted int // of PUT and DELETE; 0 is that there is no DELETE
	}{
		{"tagging", "NoSuchTagSet", "<Tagging" + ns + "><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>", "<Tagging><TagSet><Tag><Key></Key></Tag></TagSet></Tagging>", 204, 204},
		{
			"cors", "NoSuchCORSConfiguration",
			"<CORSConfiguration" + ns + "><CORSRule><AllowedHeader>*</AllowedHeader><AllowedMethod>GET</AllowedMethod><AllowedOrigin>https://*.example.org</AllowedOrigin><MaxAgeSeconds>60</MaxAgeSeconds></CORSRule></CORSConfiguration>",
			"<CORSConfiguration><CORSRule><AllowedMethod>PATCH</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>", 200, 204,
		},
		{
			"encryption", "<SSEAlgorithm>AES256</SSEAlgorithm>",
			"<ServerSideEncryptionConfiguration" + ns + "><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>k</KMSMasterKeyID></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>true</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>",
			"<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>ROT13</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>", 200, 204,
		},
		{
			"lifecycle", "NoSuchLifecycleConfiguration",
			"<LifecycleConfiguration" + ns + "><Rule><ID>old</ID><Filter><Prefix>a/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>",
			"<LifecycleConfiguration><Rule><Status>Perhaps</Status></Rule></LifecycleConfiguration>", 200, 204,
		},
		{
			"ownershipControls", "<ObjectOwnership>BucketOwnerEnforced</ObjectOwnership>", "<OwnershipControls" + ns + "><Rule><ObjectOwnership>BucketOwnerPreferred</ObjectOwnership></Rule></OwnershipControls>",
			"<OwnershipControls><Rule><ObjectOwnership>Mine</ObjectOwnership></Rule></OwnershipControls>", 200, 204,
		},
		{
			"publicAccessBlock", "<BlockPublicPolicy>true</BlockPublicPolicy>",
			"<PublicAccessBlockConfiguration" + ns + "><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>false</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>false</RestrictPublicBuckets></PublicAccessBlockConfiguration>",
			"<PublicAccessBlockConfiguration><BlockPublicAcls>perhaps</BlockPublicAcls></PublicAccessBlockConfiguration>", 200, 204,
		},
		{"website", "NoSuchWebsiteConfiguration", "<WebsiteConfiguration" + ns + "><IndexDocument><Suffix>index.html</Suffix></IndexDocument></WebsiteConfiguration>", "<Other/>", 200, 204},
		{"logging", "<BucketLoggingStatus", "<BucketLoggingStatus" + ns + "><LoggingEnabled><TargetBucket>x</TargetBucket><TargetPrefix/></LoggingEnabled></BucketLoggingStatus>", "<BucketLoggingStatus>", 200, 0},
		{"accelerate", "<AccelerateConfiguration", "<AccelerateConfiguration" + ns + "><Status>Enabled</Status></AccelerateConfiguration>", "x", 200, 0},
		{"requestPayment", "<Payer>BucketOwner</Payer>", "<RequestPaymentConfiguration" + ns + "><Payer>Requester</Payer></RequestPaymentConfiguration>", "<RequestPaymentConfiguration><Payer>Me</Payer></RequestPaymentConfiguration>", 200, 0},
		{"notification", "<NotificationConfiguration", "<NotificationConfiguration" + ns + "></NotificationConfiguration>", "<NotificationConfiguration><TopicConfiguration><Topic>arn</Topic><Event>s3:ObjectCreated:*</Event></TopicConfiguration></NotificationConfiguration>", 200, 0},
	} {
		t.Run(c.param, func(t *testing.T) {
			if _, text := one("GET", c.param, ""); !strings.Contains(text, c.missing) {
				t.Errorf("GET of a new bucket = %s; want %s", text, c.missing)
			}
			if status, text := one("PUT", c.param, c.bad); status != 400 || !strings.Contains(text, "<Error>") {
				t.Errorf("PUT of a bad one = %d %s; want 400", status, text)
			}
			if status, text := one("PUT", c.param, c.document); status != c.status {
				t.Errorf("PUT = %d %s; want %d", status, text, c.status)
			}
			if status, text := one("GET", c.param, ""); status != 200 || text != c.document {
				t.Errorf("GET = %d %s; want %s", status, text, c.document)
			}
			status, text := one("DELETE", c.param, "")
			if c.deleted == 0 && status != 405 && status != 501 || c.deleted != 0 && status != c.deleted {
				t.Errorf("DELETE = %d %s; want %d", status, text, c.deleted)
			}
			if status, text = one("GET", c.param, ""); c.deleted != 0 && c.param != "encryption" && status != 404 {
				t.Errorf("GET of a deleted one = %d %s; want 404", status, text)
			}
		})
	}
	if _, text := one("PUT", "lifecycle", "<LifecycleConfiguration><Rule><Status>Enabled</Status><Filter/></Rule><Rule><Status>Disabled</Status><Filter/></Rule></LifecycleConfiguration>"); text != "" {
		t.Errorf("PUT of rules without IDs = %s", text)
	}
	if _, text := one("GET", "lifecycle", ""); len(regexp.MustCompile(`<ID>[a-z0-9-]{36}</ID>`).FindAllString(text, -1)) != 2 {
		t.Errorf("rules without IDs came back as %s; want an ID for each", text)
	}
	for path, want := range map[string]string{
		"?replication":               "404 ReplicationConfigurationNotFoundError",
		"?analytics":                 "200 ListBucketAnalyticsConfigurationsResult",
		"?metrics&id=x":              "404 NoSuchConfiguration",
		"?object-lock":               "404 ObjectLockConfigurationNotFoundError",
		"?versioning":                "200 VersioningConfiguration",
		"?acl":                       "200 FULL_CONTROL",
		"?location":                  "200 >eu-central-1<",
		"?policyStatus":              "404 NoSuchBucketPolicy",
		"?torrent":                   "501 NotImplemented",
		"?acl&policy":                "501 NotImplemented",
		"?policy=1&policy=2":         "400 InvalidArgument",
		"?list-type=2&prefix=../x/y": "400 InvalidArgument",
		"/k?torrent":                 "501 NotImplemented",
		"/k?acl":                     "404 NoSuchKey",
	} {
		resp, text := s.do(t, raw{method: "GET", path: "/" + b + path})
		if status, part, _ := strings.Cut(want, " "); fmt.Sprint(resp.StatusCode) != status || !strings.Contains(text, part) {
			t.Errorf("GET %s = %d %s; want %s", path, resp.StatusCode, text, want)
		}
	}
}

func TestBucketsAndTheirRegions(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	c, ctx, name := s.root(), t.Context(), "regional"
	_, err := c.CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket: &name, ObjectOwnership: types.ObjectOwnershipObjectWriter,
		CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "ap-southeast-2", Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: &name}); err != nil || got.LocationConstraint != "ap-southeast-2" {
		t.Errorf("GetBucketLocation = %+v, %v", got, err)
	}
	if got, err := c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &name}); err != nil || aws.ToString(got.BucketRegion) != "ap-southeast-2" {
		t.Errorf("HeadBucket = %+v, %v", got, err)
	}
	if got, err := c.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: &name}); err != nil || len(got.TagSet) != 1 {
		t.Errorf("GetBucketTagging = %+v, %v", got, err)
	}
	// Lists may be private on buckets that allow any.
	if _, err := c.PutBucketAcl(ctx, &s3.PutBucketAclInput{Bucket: &name, ACL: types.BucketCannedACLPrivate}); err != nil {
		t.Errorf("PutBucketAcl private = %v", err)
	}
	if _, err := c.PutBucketAcl(ctx, &s3.PutBucketAclInput{Bucket: &name, ACL: types.BucketCannedACLPublicRead}); code(err) != "NotImplemented" {
		t.Errorf("PutBucketAcl public-read = %v; want NotImplemented", err)
	}
	for bad, want := range map[string]string{"Bad": "InvalidBucketName", "a": "InvalidBucketName", "1.2.3.4": "InvalidBucketName", "a..b": "InvalidBucketName", "x--x-s3": "InvalidBucketName"} {
		resp, text := s.do(t, raw{method: "PUT", path: "/" + bad})
		if resp.StatusCode != 400 || !strings.Contains(text, want) {
			t.Errorf("CreateBucket(%s) = %d %s; want %s", bad, resp.StatusCode, text, want)
		}
	}
	list, err := c.ListBuckets(ctx, &s3.ListBucketsInput{Prefix: aws.String("regi"), BucketRegion: aws.String("ap-southeast-2")})
	if err != nil || len(list.Buckets) != 1 || *list.Buckets[0].Name != name || len(aws.ToString(list.Owner.ID)) != 64 {
		t.Errorf("ListBuckets = %+v, %v", list, err)
	}
	// With a lock, objects can be kept from deletion.
	locked, key := "locked", "k"
	if _, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &locked, ObjectLockEnabledForBucket: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	version := s.put(t, locked, key, "x")
	if _, err := c.PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{Bucket: &locked, Key: &key, VersionId: &version, LegalHold: &types.ObjectLockLegalHold{Status: types.ObjectLockLegalHoldStatusOn}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &locked, Key: &key, VersionId: &version}); code(err) != "AccessDenied" {
		t.Errorf("DeleteObject under a legal hold = %v; want AccessDenied", err)
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := s.bucket(t, "cors-rules")
	s.put(t, b, "k", "x")
	ask := map[string]string{"Origin": "https://a.example.org", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "Content-Type, x-amz-meta-a"}
	if resp, text := s.do(t, raw{method: "OPTIONS", path: "/" + b + "/k", header: ask, unsigned: true}); resp.StatusCode != 403 || !strings.Contains(text, "CORS is not enabled") {
		t.Errorf("preflight without rules = %d %s", resp.StatusCode, text)
	}
	rules := "<CORSConfiguration><CORSRule><AllowedOrigin>https://*.example.org</AllowedOrigin><AllowedMethod>PUT</AllowedMethod><AllowedMethod>GET</AllowedMethod><AllowedHeader>x-amz-*</AllowedHeader><AllowedHeader>content-type</AllowedHeader><ExposeHeader>ETag</ExposeHeader></CORSRule></CORSConfiguration>"
	if resp, text := s.do(t, raw{method: "PUT", path: "/" + b + "?cors", body: rules}); resp.StatusCode != 200 {
		t.Fatal(text)
	}
	resp, text := s.do(t, raw{method: "OPTIONS", path: "/" + b + "/k", header: ask, unsigned: true})
	if h := resp.Header; resp.StatusCode != 200 || h.Get("Access-Control-Allow-Origin") != "https://a.example.org" || h.Get("Access-Control-Allow-Methods") != "PUT, GET" || h.Get("Access-Control-Allow-Headers") != "content-type, x-amz-meta-a" {
		t.Errorf("preflight = %d %s %v", resp.StatusCode, text, h)
	}
	for name, value := range map[string]string{"Origin": "https://example.net", "Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "x-other"} {
		changed := map[string]string{}
		for k, v := range ask {
			changed[k] = v
		}
		changed[name] = value
		if resp, _ := s.do(t, raw{method: "OPTIONS", path: "/" + b + "/k", header: changed, unsigned: true}); resp.StatusCode != 403 {
			t.Errorf("preflight with %s: %s = %d; want 403", name, value, resp.StatusCode)
		}
	}
	resp, _ = s.do(t, raw{method: "GET", path: "/" + b + "/k", header: map[string]string{"Origin": "https://b.example.org"}})
	if h := resp.Header; h.Get("Access-Control-Allow-Origin") != "https://b.example.org" || h.Get("Access-Control-Expose-Headers") != "ETag" || len(h["Access-Control-Allow-Origin"]) != 1 {
		t.Errorf("GET from a page = %v", h)
	}
}
