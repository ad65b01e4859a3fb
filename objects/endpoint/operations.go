package endpoint

import (
	"net/http"
	"slices"
	"strings"
)

// operation is one operation of S3.
type operation struct {
	name    string
	method  string
	level   level
	param   string // query parameter that says which, empty for none of them
	header  string // and header
	mutates bool

	// action is the permission, on the object or the bucket; empty when needs tells.
	action string
	// versioned is the permission instead when the request names a version.
	versioned string
	// needs adds to what action says.
	needs func(e *Endpoint, r *request, n *needs) error

	// params and headers are those that go to the backend.
	params  []string
	headers []string
	serve   func(e *Endpoint, r *request) error
}

// level is what a path names.
type level uint8

const (
	onService level = iota
	onBucket
	onObject
)

func (r *request) level() level {
	switch {
	case r.key != "":
		return onObject
	case r.name != "":
		return onBucket
	}
	return onService
}

// Headers of requests that say something about an object.
var (
	conditions = []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"}
	contents   = []string{
		"Content-Type", "Content-Encoding", "Content-Disposition", "Content-Language", "Cache-Control", "Expires", "X-Amz-Tagging",
		"X-Amz-Website-Redirect-Location", "X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date", "X-Amz-Object-Lock-Legal-Hold",
		metaPrefix,
	}
	checksums = []string{"Content-Md5", "X-Amz-Sdk-Checksum-Algorithm", checksumPrefix}
	copies    = []string{
		"X-Amz-Copy-Source-If-Match", "X-Amz-Copy-Source-If-None-Match", "X-Amz-Copy-Source-If-Modified-Since",
		"X-Amz-Copy-Source-If-Unmodified-Since",
	}
	bypass = []string{"X-Amz-Bypass-Governance-Retention"}
)

// Prefixes of headers, which stand for all that begin so.
const (
	metaPrefix     = "X-Amz-Meta-"
	checksumPrefix = "X-Amz-Checksum-"
)

// Parameters of answers to GetObject.
var overrides = []string{
	"response-cache-control", "response-content-disposition", "response-content-encoding", "response-content-language",
	"response-content-type", "response-expires",
}

var createBucket = &operation{
	name: "CreateBucket", method: http.MethodPut, level: onBucket, mutates: true, action: "s3:CreateBucket", needs: needsCreateBucket,
	headers: []string{"X-Amz-Bucket-Object-Lock-Enabled"}, serve: (*Endpoint).createBucket,
}

// operations are in the order in which they are tried: those with a parameter or
// a header first.
var operations = append(documentOperations(), []*operation{
	{name: "ListBuckets", method: "GET", level: onService, action: "s3:ListAllMyBuckets", serve: (*Endpoint).listBuckets},

	{name: "GetBucketLocation", method: "GET", level: onBucket, param: "location", action: "s3:GetBucketLocation", serve: (*Endpoint).getBucketLocation},
	{name: "GetBucketPolicy", method: "GET", level: onBucket, param: "policy", action: "s3:GetBucketPolicy", serve: (*Endpoint).getBucketPolicy},
	{name: "PutBucketPolicy", method: "PUT", level: onBucket, param: "policy", mutates: true, action: "s3:PutBucketPolicy", serve: (*Endpoint).putBucketPolicy},
	{name: "DeleteBucketPolicy", method: "DELETE", level: onBucket, param: "policy", mutates: true, action: "s3:DeleteBucketPolicy", serve: (*Endpoint).deleteBucketPolicy},
	{name: "GetBucketPolicyStatus", method: "GET", level: onBucket, param: "policyStatus", action: "s3:GetBucketPolicyStatus", serve: (*Endpoint).getBucketPolicyStatus},
	{name: "GetBucketAcl", method: "GET", level: onBucket, param: "acl", action: "s3:GetBucketAcl", serve: (*Endpoint).getACL},
	{name: "PutBucketAcl", method: "PUT", level: onBucket, param: "acl", mutates: true, action: "s3:PutBucketAcl", serve: (*Endpoint).putACL},
	{name: "GetBucketVersioning", method: "GET", level: onBucket, param: "versioning", action: "s3:GetBucketVersioning", serve: (*Endpoint).relay},
	{name: "PutBucketVersioning", method: "PUT", level: onBucket, param: "versioning", mutates: true, action: "s3:PutBucketVersioning", serve: (*Endpoint).putBucketVersioning},
	{name: "GetObjectLockConfiguration", method: "GET", level: onBucket, param: "object-lock", action: "s3:GetBucketObjectLockConfiguration", serve: (*Endpoint).relay},
	{
		name: "PutObjectLockConfiguration", method: "PUT", level: onBucket, param: "object-lock", mutates: true,
		action: "s3:PutBucketObjectLockConfiguration", serve: (*Endpoint).relayDocument,
	},
	{
		name: "ListObjectVersions", method: "GET", level: onBucket, param: "versions", action: "s3:ListBucketVersions", needs: needsList,
		params: []string{"prefix", "key-marker", "version-id-marker", "max-keys", "delimiter", "encoding-type"}, serve: (*Endpoint).list,
	},
	{
		name: "ListMultipartUploads", method: "GET", level: onBucket, param: "uploads", action: "s3:ListBucketMultipartUploads",
		params: []string{"prefix", "key-marker", "upload-id-marker", "max-uploads", "delimiter", "encoding-type"}, serve: (*Endpoint).list,
	},
	{
		name: "ListObjectsV2", method: "GET", level: onBucket, param: "list-type", action: "s3:ListBucket", needs: needsList,
		params: []string{"list-type", "prefix", "continuation-token", "start-after", "max-keys", "delimiter", "encoding-type", "fetch-owner"}, serve: (*Endpoint).list,
	},
	{name: "DeleteObjects", method: "POST", level: onBucket, param: "delete", mutates: true, headers: bypass, needs: needsNothing, serve: (*Endpoint).deleteObjects},
	{
		name: "ListObjects", method: "GET", level: onBucket, action: "s3:ListBucket", needs: needsList,
		params: []string{"prefix", "marker", "max-keys", "delimiter", "encoding-type"}, serve: (*Endpoint).list,
	},
	{name: "HeadBucket", method: "HEAD", level: onBucket, action: "s3:ListBucket", serve: (*Endpoint).headBucket},
	createBucket,
	{name: "DeleteBucket", method: "DELETE", level: onBucket, mutates: true, action: "s3:DeleteBucket", serve: (*Endpoint).deleteBucket},

	{
		name: "GetObjectTagging", method: "GET", level: onObject, param: "tagging", params: []string{"versionId"},
		action: "s3:GetObjectTagging", versioned: "s3:GetObjectVersionTagging", needs: needsExisting, serve: (*Endpoint).relay,
	},
	{
		name: "PutObjectTagging", method: "PUT", level: onObject, param: "tagging", mutates: true, params: []string{"versionId"},
		action: "s3:PutObjectTagging", versioned: "s3:PutObjectVersionTagging", needs: needsExisting, serve: (*Endpoint).putObjectTagging,
	},
	{
		name: "DeleteObjectTagging", method: "DELETE", level: onObject, param: "tagging", mutates: true, params: []string{"versionId"},
		action: "s3:DeleteObjectTagging", versioned: "s3:DeleteObjectVersionTagging", needs: needsExisting, serve: (*Endpoint).relay,
	},
	{name: "GetObjectAcl", method: "GET", level: onObject, param: "acl", action: "s3:GetObjectAcl", versioned: "s3:GetObjectVersionAcl", serve: (*Endpoint).getACL},
	{name: "PutObjectAcl", method: "PUT", level: onObject, param: "acl", mutates: true, action: "s3:PutObjectAcl", versioned: "s3:PutObjectVersionAcl", serve: (*Endpoint).putACL},
	{
		name: "GetObjectRetention", method: "GET", level: onObject, param: "retention", params: []string{"versionId"},
		action: "s3:GetObjectRetention", serve: (*Endpoint).relay,
	},
	{
		name: "PutObjectRetention", method: "PUT", level: onObject, param: "retention", mutates: true, params: []string{"versionId"},
		action: "s3:PutObjectRetention", needs: needsBypass, headers: bypass, serve: (*Endpoint).relayDocument,
	},
	{
		name: "GetObjectLegalHold", method: "GET", level: onObject, param: "legal-hold", params: []string{"versionId"},
		action: "s3:GetObjectLegalHold", serve: (*Endpoint).relay,
	},
	{
		name: "PutObjectLegalHold", method: "PUT", level: onObject, param: "legal-hold", mutates: true, params: []string{"versionId"},
		action: "s3:PutObjectLegalHold", serve: (*Endpoint).relayDocument,
	},
	{
		name: "GetObjectAttributes", method: "GET", level: onObject, param: "attributes", params: []string{"versionId"},
		action: "s3:GetObject", versioned: "s3:GetObjectVersion", needs: needsAttributes,
		headers: []string{"X-Amz-Object-Attributes", "X-Amz-Max-Parts", "X-Amz-Part-Number-Marker"}, serve: (*Endpoint).read,
	},
	{name: "RestoreObject", method: "POST", level: onObject, param: "restore", action: "s3:RestoreObject", serve: notOffered},
	{name: "SelectObjectContent", method: "POST", level: onObject, param: "select", action: "s3:GetObject", serve: notOffered},
	{name: "GetObjectTorrent", method: "GET", level: onObject, param: "torrent", action: "s3:GetObjectTorrent", serve: notOffered},

	{
		name: "CreateMultipartUpload", method: "POST", level: onObject, param: "uploads", mutates: true, action: "s3:PutObject", needs: needsPut,
		headers: slices.Concat(contents, []string{"X-Amz-Checksum-Algorithm", "X-Amz-Checksum-Type"}), serve: (*Endpoint).createUpload,
	},
	{
		name: "UploadPartCopy", method: "PUT", level: onObject, param: "uploadId", header: "X-Amz-Copy-Source", mutates: true, action: "s3:PutObject",
		needs: needsCopy, params: []string{"uploadId", "partNumber"}, headers: slices.Concat(copies, []string{"X-Amz-Copy-Source-Range"}), serve: (*Endpoint).copyPart,
	},
	{
		name: "UploadPart", method: "PUT", level: onObject, param: "uploadId", mutates: true, action: "s3:PutObject",
		params: []string{"uploadId", "partNumber"}, headers: checksums, serve: (*Endpoint).uploadPart,
	},
	{
		name: "CompleteMultipartUpload", method: "POST", level: onObject, param: "uploadId", mutates: true, action: "s3:PutObject", params: []string{"uploadId"},
		headers: slices.Concat(conditions, []string{"X-Amz-Mp-Object-Size", checksumPrefix}), serve: (*Endpoint).completeUpload,
	},
	{
		name: "AbortMultipartUpload", method: "DELETE", level: onObject, param: "uploadId", mutates: true, action: "s3:AbortMultipartUpload",
		params: []string{"uploadId"}, headers: []string{"X-Amz-If-Match-Initiated-Time"}, serve: (*Endpoint).relay,
	},
	{
		name: "ListParts", method: "GET", level: onObject, param: "uploadId", action: "s3:ListMultipartUploadParts",
		params: []string{"uploadId", "max-parts", "part-number-marker"}, serve: (*Endpoint).list,
	},
	{
		name: "CopyObject", method: "PUT", level: onObject, header: "X-Amz-Copy-Source", mutates: true, action: "s3:PutObject", needs: needsCopy,
		headers: slices.Concat(contents, copies, conditions, []string{"X-Amz-Metadata-Directive", "X-Amz-Tagging-Directive", "X-Amz-Checksum-Algorithm"}),
		serve:   (*Endpoint).copyObject,
	},
	{
		name: "PutObject", method: "PUT", level: onObject, mutates: true, action: "s3:PutObject", needs: needsPut,
		headers: slices.Concat(contents, conditions, checksums), serve: (*Endpoint).putObject,
	},
	{
		name: "GetObject", method: "GET", level: onObject, action: "s3:GetObject", versioned: "s3:GetObjectVersion", needs: needsExisting,
		params: append([]string{"versionId", "partNumber"}, overrides...), headers: append([]string{"Range", "X-Amz-Checksum-Mode"}, conditions...), serve: (*Endpoint).read,
	},
	{
		name: "HeadObject", method: "HEAD", level: onObject, action: "s3:GetObject", versioned: "s3:GetObjectVersion", needs: needsExisting,
		params: append([]string{"versionId", "partNumber"}, overrides...), headers: append([]string{"Range", "X-Amz-Checksum-Mode"}, conditions...), serve: (*Endpoint).read,
	},
	{
		name: "DeleteObject", method: "DELETE", level: onObject, mutates: true, action: "s3:DeleteObject", versioned: "s3:DeleteObjectVersion", needs: needsBypass,
		params: []string{"versionId"}, headers: append([]string{"If-Match", "X-Amz-If-Match-Last-Modified-Time", "X-Amz-If-Match-Size"}, bypass...), serve: (*Endpoint).deleteObject,
	},
}...)

// subresources are the parameters that make a request another operation. One that
// no operation has makes it one that is not offered.
var subresources = []string{
	"abac", "accelerate", "acl", "analytics", "attributes", "cors", "delete", "encryption", "intelligent-tiering", "inventory", "legal-hold",
	"lifecycle", "list-type", "location", "logging", "metadataConfiguration", "metadataTable", "metrics", "notification", "object-lock",
	"ownershipControls", "policy", "policyStatus", "publicAccessBlock", "renameObject", "replication", "requestPayment", "restore", "retention",
	"select", "session", "tagging", "torrent", "uploadId", "uploads", "versioning", "versions", "website",
}

// find returns the operation that a request is, nil for none.
func find(r *request) *operation {
	var asked []string
	for _, p := range subresources {
		if r.query.has(p) {
			asked = append(asked, p)
		}
	}
	for _, o := range operations {
		switch {
		case o.method != r.http.Method || o.level != r.level():
		case o.param == "" && len(asked) > 0, o.param != "" && !slices.Equal(asked, []string{o.param}):
		case o.header != "" && r.header(o.header) == "":
		default:
			return o
		}
	}
	if len(asked) > 0 && slices.Contains([]string{"GET", "HEAD", "PUT", "POST", "DELETE"}, r.http.Method) {
		return &operation{name: r.http.Method + " " + strings.Join(asked, " "), needs: needsNothing, mutates: r.http.Method != "GET" && r.http.Method != "HEAD", serve: notOffered}
	}
	if r.http.Method == http.MethodPost && r.level() == onBucket {
		return &operation{name: "PostObject", needs: needsNothing, mutates: true, serve: notOffered}
	}
	return nil
}

// notOffered answers for operations that Lamina does not have.
func notOffered(_ *Endpoint, r *request) error {
	return errNotImplemented.messagef("Lamina does not offer %s. See docs/s3.md for what it offers.", r.op.name)
}
