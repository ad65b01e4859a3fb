package resources

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// element is one of a document of S3's.
type element struct {
	name string
	text string
	in   []element
}

func el(name string, in ...element) element { return element{name: name, in: in} }

func text(name, value string) element { return element{name: name, text: value} }

// texts makes an element of each property that is there, under another name when
// as has one.
func texts(p properties, as map[string]string, names ...string) (all []element) {
	for _, name := range names {
		v, ok := asString(p[name])
		if !ok {
			continue
		}
		if other := as[name]; other != "" {
			name = other
		}
		all = append(all, text(name, v))
	}
	return all
}

func (e element) write(b *bytes.Buffer) {
	b.WriteString("<" + e.name + ">")
	_ = xml.EscapeText(b, []byte(e.text)) // a buffer takes everything
	for _, in := range e.in {
		in.write(b)
	}
	b.WriteString("</" + e.name + ">")
}

func (e element) document() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<%s xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`, e.name)
	_ = xml.EscapeText(&b, []byte(e.text)) // as above
	for _, in := range e.in {
		in.write(&b)
	}
	b.WriteString("</" + e.name + ">")
	return b.Bytes()
}

// bucketPart is a property of a bucket that S3 keeps as a document of its own.
type bucketPart struct {
	property string
	query    string
	document func(w *work) (element, error)
	// none is what S3 is told when the property is gone; nil deletes the document.
	none func() element
}

// bucketParts are in the order in which they are put: nobody can get at a new
// bucket before what keeps them out.
var bucketParts = []bucketPart{
	{property: "OwnershipControls", query: "ownershipControls", document: ownershipDocument},
	{property: "PublicAccessBlockConfiguration", query: "publicAccessBlock", document: func(w *work) (element, error) {
		return el("PublicAccessBlockConfiguration", texts(w.in.sub("PublicAccessBlockConfiguration"), nil,
			"BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")...), nil
	}},
	{property: "BucketEncryption", query: "encryption", document: encryptionDocument},
	{property: "VersioningConfiguration", query: "versioning", document: func(w *work) (element, error) {
		return el("VersioningConfiguration", text("Status", w.in.sub("VersioningConfiguration").str("Status"))), nil
	}, none: func() element { return el("VersioningConfiguration", text("Status", "Suspended")) }},
	{property: "LifecycleConfiguration", query: "lifecycle", document: lifecycleDocument},
	{property: "CorsConfiguration", query: "cors", document: corsDocument},
	{property: "ObjectLockConfiguration", query: "object-lock", document: objectLockDocument, none: func() element {
		return el("ObjectLockConfiguration", text("ObjectLockEnabled", "Enabled"))
	}},
	{property: "NotificationConfiguration", query: "notification", document: notificationDocument, none: func() element {
		return el("NotificationConfiguration")
	}},
}

func ownershipDocument(w *work) (element, error) {
	all := el("OwnershipControls")
	for _, r := range w.in.sub("OwnershipControls").objects("Rules") {
		all.in = append(all.in, el("Rule", texts(r, nil, "ObjectOwnership")...))
	}
	return all, nil
}

func encryptionDocument(w *work) (element, error) {
	all := el("ServerSideEncryptionConfiguration")
	for _, r := range w.in.sub("BucketEncryption").objects("ServerSideEncryptionConfiguration") {
		rule := el("Rule")
		if by := r.sub("ServerSideEncryptionByDefault"); by != nil {
			rule.in = append(rule.in, el("ApplyServerSideEncryptionByDefault", texts(by, nil, "SSEAlgorithm", "KMSMasterKeyID")...))
		}
		rule.in = append(rule.in, texts(r, nil, "BucketKeyEnabled")...)
		all.in = append(all.in, rule)
	}
	return all, nil
}

func corsDocument(w *work) (element, error) {
	all := el("CORSConfiguration")
	for _, r := range w.in.sub("CorsConfiguration").objects("CorsRules") {
		rule := el("CORSRule", texts(r, map[string]string{"Id": "ID"}, "Id")...)
		for _, list := range []struct{ property, name string }{
			{"AllowedHeaders", "AllowedHeader"}, {"AllowedMethods", "AllowedMethod"}, {"AllowedOrigins", "AllowedOrigin"}, {"ExposedHeaders", "ExposeHeader"},
		} {
			for _, v := range r.strings(list.property) {
				rule.in = append(rule.in, text(list.name, v))
			}
		}
		rule.in = append(rule.in, texts(r, map[string]string{"MaxAge": "MaxAgeSeconds"}, "MaxAge")...)
		all.in = append(all.in, rule)
	}
	return all, nil
}

func objectLockDocument(w *work) (element, error) {
	c := w.in.sub("ObjectLockConfiguration")
	all := el("ObjectLockConfiguration", texts(c, nil, "ObjectLockEnabled")...)
	if by := c.sub("Rule").sub("DefaultRetention"); by != nil {
		all.in = append(all.in, el("Rule", el("DefaultRetention", texts(by, nil, "Mode", "Days", "Years")...)))
	}
	return all, nil
}

func lifecycleDocument(w *work) (element, error) {
	all := el("LifecycleConfiguration")
	for _, r := range w.in.sub("LifecycleConfiguration").objects("Rules") {
		rule := el("Rule", texts(r, map[string]string{"Id": "ID"}, "Id", "Status")...)
		conditions := texts(r, nil, "Prefix", "ObjectSizeGreaterThan", "ObjectSizeLessThan")
		for _, t := range r.objects("TagFilters") {
			conditions = append(conditions, el("Tag", texts(t, nil, "Key", "Value")...))
		}
		switch len(conditions) {
		case 0:
			rule.in = append(rule.in, el("Filter", text("Prefix", "")))
		case 1:
			rule.in = append(rule.in, el("Filter", conditions...))
		default:
			rule.in = append(rule.in, el("Filter", el("And", conditions...)))
		}
		expiration := texts(r, map[string]string{"ExpirationInDays": "Days", "ExpirationDate": "Date"}, "ExpirationInDays", "ExpirationDate", "ExpiredObjectDeleteMarker")
		if len(expiration) > 0 {
			rule.in = append(rule.in, el("Expiration", expiration...))
		}
		noncurrent := texts(r.sub("NoncurrentVersionExpiration"), nil, "NoncurrentDays", "NewerNoncurrentVersions")
		noncurrent = append(noncurrent, texts(r, map[string]string{"NoncurrentVersionExpirationInDays": "NoncurrentDays"}, "NoncurrentVersionExpirationInDays")...)
		if len(noncurrent) > 0 {
			rule.in = append(rule.in, el("NoncurrentVersionExpiration", noncurrent...))
		}
		if abort := r.sub("AbortIncompleteMultipartUpload"); abort != nil {
			rule.in = append(rule.in, el("AbortIncompleteMultipartUpload", texts(abort, nil, "DaysAfterInitiation")...))
		}
		all.in = append(all.in, rule)
	}
	return all, nil
}

func notificationDocument(w *work) (element, error) {
	all := el("NotificationConfiguration")
	for i, c := range w.in.sub("NotificationConfiguration").objects("LambdaConfigurations") {
		one := el("CloudFunctionConfiguration", text("Id", uuidOf(w.Stack.ID+w.LogicalID+strconv.Itoa(i))))
		one.in = append(one.in, texts(c, map[string]string{"Function": "CloudFunction"}, "Function", "Event")...)
		if rules := c.sub("Filter").sub("S3Key").objects("Rules"); len(rules) > 0 {
			key := el("S3Key")
			for _, r := range rules {
				key.in = append(key.in, el("FilterRule", texts(r, nil, "Name", "Value")...))
			}
			one.in = append(one.in, el("Filter", key))
		}
		all.in = append(all.in, one)
	}
	return all, nil
}

var cannedACLs = map[string]string{
	"AuthenticatedRead": "authenticated-read", "AwsExecRead": "aws-exec-read", "BucketOwnerFullControl": "bucket-owner-full-control",
	"BucketOwnerRead": "bucket-owner-read", "LogDeliveryWrite": "log-delivery-write", "Private": "private", "PublicRead": "public-read",
	"PublicReadWrite": "public-read-write",
}

func checkBucket(c *checker, p map[string]any) {
	if name, ok := p["BucketName"].(string); ok && (len(name) < 3 || len(name) > 63 || name != strings.ToLower(name)) {
		c.add("/BucketName", "Bucket name should be between 3 and 63 characters long and should not contain uppercase characters")
	}
}

func (w *work) madeBucket(name string) Made {
	region := w.Stack.Region
	return Made{PhysicalID: name, Attributes: map[string]any{
		"Arn": "arn:aws:s3:::" + name, "DomainName": name + ".s3.amazonaws.com", "DualStackDomainName": name + ".s3.dualstack." + region + ".amazonaws.com",
		"RegionalDomainName": name + ".s3." + region + ".amazonaws.com", "WebsiteURL": "http://" + name + ".s3-website-" + region + ".amazonaws.com",
	}}
}

func createBucket(ctx context.Context, w *work) (Made, error) {
	name, given := w.in.str("BucketName"), true
	mine := w.Again
	if name == "" {
		name, given = lower(w.generated(63)), false
	}
	if given {
		var err error
		mine, err = w.absent(ctx, name, func() error { _, err := w.s3(ctx, http.MethodGet, name, "location", nil, nil); return err })
		if err != nil {
			return Made{}, err
		}
	}
	header := http.Header{}
	if acl := w.in.str("AccessControl"); acl != "" && acl != "Private" {
		header.Set("X-Amz-Acl", cannedACLs[acl])
	}
	if rules := w.in.sub("OwnershipControls").objects("Rules"); len(rules) > 0 {
		header.Set("X-Amz-Object-Ownership", rules[0].str("ObjectOwnership"))
	}
	if w.in["ObjectLockEnabled"] == true {
		header.Set("X-Amz-Bucket-Object-Lock-Enabled", "true")
	}
	var body []byte
	if w.Stack.Region != "us-east-1" {
		body = el("CreateBucketConfiguration", text("LocationConstraint", w.Stack.Region)).document()
	}
	if _, err := w.s3(ctx, http.MethodPut, name, "", header, body); err != nil {
		f, ok := asFailure(err)
		if !ok || f.Code != "BucketAlreadyOwnedByYou" {
			return Made{}, err
		}
		if !mine {
			return Made{}, w.alreadyExists(name)
		}
	}
	made := w.madeBucket(name)
	if err := w.tagBucket(ctx, name); err != nil {
		return made, err
	}
	for _, part := range bucketParts {
		if w.in.has(part.property) {
			if err := w.putPart(ctx, name, part); err != nil {
				return made, err
			}
		}
	}
	return made, nil
}

func (w *work) putPart(ctx context.Context, name string, part bucketPart) error {
	e, err := part.document(w)
	if err == nil {
		_, err = w.s3(ctx, http.MethodPut, name, part.query, nil, e.document())
	}
	return err
}

func (w *work) tagBucket(ctx context.Context, name string) error {
	set := el("TagSet")
	tags := w.allTags()
	for _, key := range sortedKeys(tags) {
		set.in = append(set.in, el("Tag", text("Key", key), text("Value", tags[key])))
	}
	_, err := w.s3(ctx, http.MethodPut, name, "tagging", nil, el("Tagging", set).document())
	return err
}

func updateBucket(ctx context.Context, w *work) (Made, error) {
	name := w.PhysicalID
	made := w.madeBucket(name)
	if w.changed("AccessControl") {
		acl := cannedACLs[w.in.str("AccessControl")]
		if acl == "" {
			acl = "private"
		}
		if _, err := w.s3(ctx, http.MethodPut, name, "acl", http.Header{"X-Amz-Acl": {acl}}, nil); err != nil {
			return made, err
		}
	}
	if w.changed("ObjectLockEnabled") && w.in["ObjectLockEnabled"] != true {
		return made, invalid("Object Lock of a bucket can't be turned off.")
	}
	for _, part := range bucketParts {
		if !w.changed(part.property) {
			continue
		}
		var err error
		switch {
		case w.in.has(part.property):
			err = w.putPart(ctx, name, part)
		case part.none != nil:
			_, err = w.s3(ctx, http.MethodPut, name, part.query, nil, part.none().document())
		default:
			_, err = w.s3(ctx, http.MethodDelete, name, part.query, nil, nil)
		}
		if err != nil {
			return made, err
		}
	}
	if set, remove := w.tagChanges(); len(set)+len(remove) > 0 {
		return made, w.tagBucket(ctx, name)
	}
	return made, nil
}

func deleteBucket(ctx context.Context, w *work) error {
	_, err := w.s3(ctx, http.MethodDelete, w.PhysicalID, "", nil, nil)
	return err
}

func createBucketPolicy(ctx context.Context, w *work) (Made, error) {
	name := w.in.str("Bucket")
	_, err := w.absent(ctx, name, func() error { _, err := w.s3(ctx, http.MethodGet, name, "policy", nil, nil); return err })
	if f, ok := asFailure(err); ok && f.Handler == "AlreadyExists" {
		return Made{}, &Failure{Handler: "AlreadyExists", Message: "The bucket policy already exists on bucket " + name + "."}
	}
	if err != nil {
		return Made{}, err
	}
	return putBucketPolicy(ctx, w)
}

func putBucketPolicy(ctx context.Context, w *work) (Made, error) {
	name := w.in.str("Bucket")
	document, err := w.in.document("PolicyDocument")
	if err == nil {
		_, err = w.s3(ctx, http.MethodPut, name, "policy", http.Header{}, []byte(document))
	}
	return Made{PhysicalID: name}, err
}

func deleteBucketPolicy(ctx context.Context, w *work) error {
	_, err := w.s3(ctx, http.MethodDelete, w.in.str("Bucket"), "policy", nil, nil)
	return err
}

func lower(s string) string { return strings.ToLower(s) }
