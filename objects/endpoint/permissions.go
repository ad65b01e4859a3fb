package endpoint

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
)

// needs are the permissions that a request takes. The condition keys that say
// what the request is are in all of them.
type needs struct {
	all  []need
	keys map[string][]string
}

// need is one permission on something of a bucket.
type need struct {
	action string
	bucket *bucket // nil for one that there is not yet, and for none
	arn    string
	keys   map[string][]string // beside those of all
}

func (n *needs) set(key string, texts ...string) {
	if len(texts) > 0 && texts[0] != "" {
		n.keys[key] = texts
	}
}

func (n *needs) add(action string, b *bucket, arn string) {
	n.all = append(n.all, need{action: action, bucket: b, arn: arn})
}

// arn is what the request is about.
func (r *request) arn() string {
	switch {
	case r.key != "":
		return objectARN(r.name, r.key)
	case r.name != "":
		return "arn:" + lamina.Partition + ":s3:::" + r.name
	}
	return "*"
}

func objectARN(bucket, key string) string {
	return "arn:" + lamina.Partition + ":s3:::" + bucket + "/" + key
}

// authorize asks for everything that the request takes.
func (e *Endpoint) authorize(r *request) error {
	n := &needs{keys: map[string][]string{}}
	if action := r.op.action; action != "" {
		if r.op.versioned != "" && r.query["versionId"] != "" {
			action = r.op.versioned
		}
		n.add(action, r.b, r.arn())
	}
	n.set("s3:versionid", r.query["versionId"])
	n.set("s3:x-amz-content-sha256", r.header("X-Amz-Content-Sha256"))
	if r.caller.Kind != "" {
		n.set("s3:signatureversion", "AWS4-HMAC-SHA256")
		n.set("s3:authType", "REST-HEADER")
		if r.query.has("X-Amz-Signature") {
			n.set("s3:authType", "REST-QUERY-STRING")
		}
	}
	if r.op.needs != nil {
		if err := r.op.needs(e, r, n); err != nil {
			return err
		}
	}
	for _, one := range n.all {
		if err := e.permit(r, n, one); err != nil {
			return err
		}
	}
	return nil
}

// permit answers AccessDenied when the caller lacks one permission.
func (e *Endpoint) permit(r *request, n *needs, one need) error {
	b := one.bucket
	own := r.caller.Account // of what nobody owns
	if b != nil {
		own = b.Account
	}
	in := identity.Need{Action: one.action, Resource: one.arn, Account: own}
	for key, texts := range n.keys {
		in.Set(key, texts...)
	}
	for key, texts := range one.keys {
		in.Set(key, texts...)
	}
	if b == nil {
		return e.decided(r, in, nil)
	}
	if r.caller.IsRoot() && r.caller.Account == own && rootMay[one.action] {
		return nil // so that nobody locks an account out of its bucket
	}
	if b.public && b.access.RestrictPublicBuckets && r.caller.Account != own {
		return errAccessDenied
	}
	return e.decided(r, in, b)
}

// rootMay are the actions that a bucket's policy can't deny to its account's root.
var rootMay = map[string]bool{"s3:GetBucketPolicy": true, "s3:PutBucketPolicy": true, "s3:DeleteBucketPolicy": true}

func (e *Endpoint) decided(r *request, in identity.Need, b *bucket) error {
	in.Set("s3:ResourceAccount", in.Account)
	d, err := e.o.Authority.DecideOn(r.ctx(), r.caller, in, b.document())
	if err != nil {
		return err
	}
	if d.Allowed {
		return nil
	}
	if r.caller.Kind == "" || r.caller.Account != in.Account {
		return errAccessDenied
	}
	// S3 has the resource in quotes, other than other services.
	return errAccessDenied.messagef("%s", strings.Replace(d.Message(), " on resource: "+in.Resource, ` on resource: "`+in.Resource+`"`, 1))
}

func needsNothing(*Endpoint, *request, *needs) error { return nil }

func needsCreateBucket(_ *Endpoint, r *request, n *needs) error {
	n.set("s3:x-amz-acl", r.header("X-Amz-Acl"))
	n.set("s3:x-amz-object-ownership", r.header("X-Amz-Object-Ownership"))
	if r.header("X-Amz-Bucket-Object-Lock-Enabled") == "true" {
		n.add("s3:PutBucketObjectLockConfiguration", nil, r.arn())
		n.add("s3:PutBucketVersioning", nil, r.arn())
	}
	if r.header("X-Amz-Object-Ownership") != "" {
		n.add("s3:PutBucketOwnershipControls", nil, r.arn())
	}
	return nil
}

// needsList tells what a list is to show.
func needsList(_ *Endpoint, r *request, n *needs) error {
	for _, p := range []string{"prefix", "delimiter", "max-keys"} {
		if r.query.has(p) { // an empty one counts
			n.keys["s3:"+p] = []string{r.query[p]}
		}
	}
	return nil
}

// needsPut is about what an object gets besides its bytes.
func needsPut(_ *Endpoint, r *request, n *needs) error {
	n.set("s3:x-amz-acl", r.header("X-Amz-Acl"))
	n.set("s3:x-amz-storage-class", r.header("X-Amz-Storage-Class"))
	n.set("s3:x-amz-server-side-encryption", r.header("X-Amz-Server-Side-Encryption"))
	n.set("s3:x-amz-server-side-encryption-aws-kms-key-id", r.header("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"))
	n.set("s3:if-none-match", r.header("If-None-Match"))
	n.set("s3:if-match", r.header("If-Match"))
	n.set("s3:object-lock-mode", r.header("X-Amz-Object-Lock-Mode"))
	n.set("s3:object-lock-retain-until-date", r.header("X-Amz-Object-Lock-Retain-Until-Date"))
	n.set("s3:object-lock-legal-hold", r.header("X-Amz-Object-Lock-Legal-Hold"))
	if text := r.header("X-Amz-Tagging"); text != "" {
		tags, err := url.ParseQuery(text)
		if err != nil {
			return errInvalid.messagef("The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.")
		}
		for key, texts := range tags {
			n.set("s3:RequestObjectTag/"+key, texts...)
		}
		n.set("s3:RequestObjectTagKeys", slices.Sorted(maps.Keys(tags))...)
		n.add("s3:PutObjectTagging", r.b, r.arn())
	}
	if r.header("X-Amz-Object-Lock-Mode") != "" || r.header("X-Amz-Object-Lock-Retain-Until-Date") != "" {
		n.add("s3:PutObjectRetention", r.b, r.arn())
	}
	if r.header("X-Amz-Object-Lock-Legal-Hold") != "" {
		n.add("s3:PutObjectLegalHold", r.b, r.arn())
	}
	return nil
}

func needsBypass(e *Endpoint, r *request, n *needs) error {
	if strings.EqualFold(r.header("X-Amz-Bypass-Governance-Retention"), "true") {
		n.add("s3:BypassGovernanceRetention", r.b, r.arn())
	}
	return needsExisting(e, r, n)
}

func needsAttributes(e *Endpoint, r *request, n *needs) error {
	action := "s3:GetObjectAttributes"
	if r.query["versionId"] != "" {
		action = "s3:GetObjectVersionAttributes"
	}
	n.add(action, r.b, r.arn())
	return needsExisting(e, r, n)
}

// existingTag begins the condition keys about the tags that an object has.
const existingTag = "s3:ExistingObjectTag/"

// needsExisting tells the tags of the object when some policy asks for them.
func needsExisting(e *Endpoint, r *request, n *needs) error {
	for i := range n.all {
		if err := e.addTags(r, &n.all[i], r.key, r.query["versionId"]); err != nil {
			return err
		}
	}
	return nil
}

func (e *Endpoint) addTags(r *request, one *need, key, version string) error {
	if p := one.bucket.document(); p == nil || !p.Mentions(existingTag) {
		if asks, err := e.o.Authority.Mention(r.ctx(), r.caller, existingTag); err != nil || !asks {
			return err
		}
	}
	tags, err := e.tags(r.ctx(), one.bucket.Name, key, version)
	if err != nil {
		return err
	}
	for key, text := range tags {
		if one.keys == nil {
			one.keys = map[string][]string{}
		}
		one.keys[existingTag+key] = []string{text}
	}
	return nil
}

// source is what a copy is made of.
type source struct {
	bucket  *bucket
	key     string
	version string
}

// header is the source as the backend gets it.
func (s source) header() string {
	text := s.bucket.Name + "/" + escape(s.key, true)
	if s.version != "" {
		text += "?versionId=" + escape(s.version, false)
	}
	return text
}

// copySource reads X-Amz-Copy-Source: /BUCKET/KEY?versionId=ID, the slash in
// front as one likes.
func (e *Endpoint) copySource(ctx context.Context, text string) (s source, err error) {
	wrong := errInvalid.messagef("Copy Source must mention the source bucket and key: sourcebucket/sourcekey").with(
		Field{"ArgumentName", "x-amz-copy-source"}, Field{"ArgumentValue", text})
	path, version, versioned := strings.Cut(text, "?versionId=")
	if path, err = url.PathUnescape(path); err != nil {
		return s, wrong
	}
	if s.version, err = url.QueryUnescape(version); err != nil || versioned && s.version == "" {
		return s, wrong
	}
	name, key, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || key == "" || !bucketName(name) {
		return s, wrong
	}
	if err := checkKey(key); err != nil {
		return s, err
	}
	s.key = key
	s.bucket, err = e.bucket(ctx, name)
	return s, err
}

// needsCopy takes that the source may be read, too.
func needsCopy(e *Endpoint, r *request, n *needs) error {
	s, err := e.copySource(r.ctx(), r.header("X-Amz-Copy-Source"))
	if err != nil {
		return err
	}
	r.http.Header.Set("X-Amz-Copy-Source", s.header())
	if err := needsPut(e, r, n); err != nil {
		return err
	}
	n.set("s3:x-amz-copy-source", s.header())
	n.set("s3:x-amz-metadata-directive", r.header("X-Amz-Metadata-Directive"))
	action := "s3:GetObject"
	if s.version != "" {
		action = "s3:GetObjectVersion"
	}
	read := need{action: action, bucket: s.bucket, arn: objectARN(s.bucket.Name, s.key)}
	if s.version != "" {
		read.keys = map[string][]string{"s3:versionid": {s.version}}
	}
	if err := e.addTags(r, &read, s.key, s.version); err != nil {
		return err
	}
	n.all = append(n.all, read)
	if r.op.name != "CopyObject" || strings.EqualFold(r.header("X-Amz-Tagging-Directive"), "REPLACE") {
		return nil
	}
	// The tags come along, which takes reading and writing them, if there are any.
	if r.caller.IsRoot() && r.caller.Account == s.bucket.Account && r.caller.Account == r.b.Account && s.bucket.policy == nil && r.b.policy == nil {
		return nil
	}
	tags, err := e.tags(r.ctx(), s.bucket.Name, s.key, s.version)
	if err != nil || len(tags) == 0 {
		return err
	}
	reading := read
	reading.action = action + "Tagging" // of the object, or of its version
	n.all = append(n.all, reading)
	n.add("s3:PutObjectTagging", r.b, r.arn())
	return nil
}

// mayList reports whether the caller may know which keys there are: who may not,
// is not told that one is missing.
func (e *Endpoint) mayList(r *request) bool {
	n := &needs{keys: map[string][]string{"s3:prefix": {r.key}}}
	return e.permit(r, n, need{action: "s3:ListBucket", bucket: r.b, arn: r.b.arn()}) == nil
}

// hidden is the error for an object that is not there.
func (e *Endpoint) hidden(r *request, refused *Error) *Error {
	if refused.Status == http.StatusNotFound && refused.Code != "NoSuchBucket" && !e.mayList(r) {
		return errAccessDenied
	}
	return refused
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
