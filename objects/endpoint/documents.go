package endpoint

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5" //nolint:gosec // S3's header
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // S3's header
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
)

// document is a configuration of a bucket that is kept as it was written.
type document struct {
	param   string // that means it, and its kind in the store
	name    string // of its operations: Get…, Put…, Delete…
	deletes bool   // whether there is a Delete…
	action  string // of its permissions: s3:Get…, s3:Put…, which Delete… takes too
	root    string // element
	missing *Error // what GET answers when there is none, nil when there is
	initial string // what GET then answers, without the root element

	status int // of a PUT; 0 is 200
	// check holds a document to S3's rules. It may change it.
	check func(e *Endpoint, r *request, text []byte) ([]byte, error)
	// answer adds headers.
	answer func(r *request)
}

func noSuch(code, message string) *Error { return &Error{Status: 404, Code: code, Message: message} }

// documents are the configurations that are kept. What of them has an effect,
// docs/s3.md tells.
var documents = []document{
	{param: "accelerate", name: "BucketAccelerateConfiguration", action: "AccelerateConfiguration", root: "AccelerateConfiguration"},
	{
		param: "cors", name: "BucketCors", deletes: true, action: "BucketCORS", root: "CORSConfiguration", check: checkCORS,
		missing: noSuch("NoSuchCORSConfiguration", "The CORS configuration does not exist"),
	},
	{
		param: "encryption", name: "BucketEncryption", deletes: true, action: "EncryptionConfiguration", root: "ServerSideEncryptionConfiguration", check: checkEncryption,
		initial: "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule>",
	},
	{
		param: "lifecycle", name: "BucketLifecycleConfiguration", deletes: true, action: "LifecycleConfiguration", root: "LifecycleConfiguration", check: checkLifecycle,
		missing: noSuch("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"), answer: tellMinimumSize,
	},
	{param: "logging", name: "BucketLogging", action: "BucketLogging", root: "BucketLoggingStatus"},
	{param: "notification", name: "BucketNotificationConfiguration", action: "BucketNotification", root: "NotificationConfiguration", check: checkNotifications},
	{
		param: "ownershipControls", name: "BucketOwnershipControls", deletes: true, action: "BucketOwnershipControls", root: "OwnershipControls", check: checkOwnership,
		missing: noSuch("OwnershipControlsNotFoundError", "The bucket ownership controls were not found"),
	},
	{
		param: "publicAccessBlock", name: "PublicAccessBlock", deletes: true, action: "BucketPublicAccessBlock", root: "PublicAccessBlockConfiguration", check: checkAccess,
		missing: noSuch("NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found"),
	},
	{param: "requestPayment", name: "BucketRequestPayment", action: "BucketRequestPayment", root: "RequestPaymentConfiguration", check: checkPayment, initial: "<Payer>BucketOwner</Payer>"},
	{
		param: "tagging", name: "BucketTagging", deletes: true, action: "BucketTagging", root: "Tagging", check: checkBucketTags, status: http.StatusNoContent,
		missing: noSuch("NoSuchTagSet", "The TagSet does not exist"),
	},
	{
		param: "website", name: "BucketWebsite", deletes: true, action: "BucketWebsite", root: "WebsiteConfiguration",
		missing: noSuch("NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration"),
	},
}

// never are configurations that no bucket has and none can get: what GET answers
// for one, by its parameter; and for a list of them, its root element.
var never = []struct {
	param, name, list string
	missing           *Error
}{
	{"replication", "Replication", "", noSuch("ReplicationConfigurationNotFoundError", "The replication configuration was not found")},
	{"analytics", "Analytics", "ListBucketAnalyticsConfigurationsResult", noSuch("NoSuchConfiguration", "The specified configuration does not exist.")},
	{"intelligent-tiering", "IntelligentTiering", "ListBucketIntelligentTieringConfigurationsOutput", noSuch("NoSuchConfiguration", "The specified configuration does not exist.")},
	{"inventory", "Inventory", "ListInventoryConfigurationsResult", noSuch("NoSuchConfiguration", "The specified configuration does not exist.")},
	{"metrics", "Metrics", "ListMetricsConfigurationsResult", noSuch("NoSuchConfiguration", "The specified configuration does not exist.")},
}

// documentOperations are the operations on documents.
func documentOperations() (all []*operation) {
	for i := range documents {
		d := &documents[i]
		all = append(all,
			&operation{
				name: "Get" + d.name, method: http.MethodGet, level: onBucket, param: d.param, action: "s3:Get" + d.action,
				serve: func(e *Endpoint, r *request) error { return e.getDocument(r, d) },
			},
			&operation{
				name: "Put" + d.name, method: http.MethodPut, level: onBucket, param: d.param, mutates: true, action: "s3:Put" + d.action,
				serve: func(e *Endpoint, r *request) error { return e.putDocument(r, d) },
			})
		if d.deletes {
			all = append(all, &operation{
				name: "Delete" + d.name, method: http.MethodDelete, level: onBucket, param: d.param, mutates: true, action: "s3:Put" + d.action,
				serve: func(e *Endpoint, r *request) error { return e.deleteDocument(r, d.param) },
			})
		}
	}
	for _, d := range never {
		all = append(all,
			&operation{name: "GetBucket" + d.name + "Configuration", method: http.MethodGet, level: onBucket, param: d.param, action: "s3:Get" + d.name + "Configuration", serve: func(_ *Endpoint, r *request) error {
				if d.list == "" || r.query.has("id") {
					return d.missing
				}
				return r.writeXML(http.StatusOK, []byte("<"+d.list+` xmlns="`+namespace+`"><IsTruncated>false</IsTruncated></`+d.list+">"))
			}},
			&operation{name: "DeleteBucket" + d.name + "Configuration", method: http.MethodDelete, level: onBucket, param: d.param, mutates: true, action: "s3:Put" + d.name + "Configuration", serve: func(_ *Endpoint, r *request) error {
				if d.list != "" {
					return d.missing
				}
				r.w.WriteHeader(http.StatusNoContent)
				return nil
			}})
	}
	return all
}

func (e *Endpoint) getDocument(r *request, d *document) error {
	text, ok := r.b.Documents[d.param]
	switch {
	case !ok && d.missing != nil:
		return d.missing.with(Field{"BucketName", r.name})
	case !ok:
		text = "<" + d.root + ` xmlns="` + namespace + `">` + d.initial + "</" + d.root + ">"
	}
	if d.answer != nil {
		d.answer(r)
	}
	return r.writeXML(http.StatusOK, []byte(text))
}

func (e *Endpoint) putDocument(r *request, d *document) error {
	text, err := r.document(d.root)
	if err != nil {
		return err
	}
	if d.check != nil {
		if text, err = d.check(e, r, text); err != nil {
			return err
		}
	}
	kept := map[string]string{d.param: string(text)}
	if d.param == "lifecycle" {
		kept[minimumSizeKind] = r.header(minimumSizeHeader)
	}
	if err := e.keep(r.ctx(), r.name, kept); err != nil {
		return err
	}
	if d.answer != nil {
		if r.b, err = e.bucket(r.ctx(), r.name); err != nil {
			return err
		}
		d.answer(r)
	}
	r.w.WriteHeader(cmp.Or(d.status, http.StatusOK))
	return nil
}

// keep writes documents of a bucket, which may have gone meanwhile.
func (e *Endpoint) keep(ctx context.Context, name string, texts map[string]string) error {
	err := e.o.Store.Update(ctx, func(tx *store.Tx) error {
		for kind, text := range texts {
			if err := tx.PutBucketDocument(ctx, name, kind, text); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, lamina.ErrNotFound) {
		return errNoSuchBucket.with(Field{"BucketName", name})
	}
	return err
}

func (e *Endpoint) deleteDocument(r *request, kind string) error {
	if kind == "tagging" {
		switch system, err := r.systemTags(nil); {
		case err != nil:
			return err
		case len(system) > 0: // they stay
			if err := e.keep(r.ctx(), r.name, map[string]string{kind: string(marshal(tagSet{Tags: system}))}); err != nil {
				return err
			}
			r.w.WriteHeader(http.StatusNoContent)
			return nil
		}
	}
	err := e.o.Store.Update(r.ctx(), func(tx *store.Tx) error { return tx.DeleteBucketDocument(r.ctx(), r.name, kind) })
	if err != nil {
		return err
	}
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}

// documentBytes bounds a document in a request. The longest is the list of ten
// thousand parts.
const documentBytes = 4 << 20

// body reads a request's body whole, and holds it to the hashes that it came with.
func (r *request) body() ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r.http.Body, documentBytes+1))
	switch {
	case err != nil:
		return nil, bodyError(r.http, err)
	case len(text) > documentBytes:
		return nil, errTooLarge
	}
	if want := r.header("Content-Md5"); want != "" {
		if sum := md5.Sum(text); base64.StdEncoding.EncodeToString(sum[:]) != want { //nolint:gosec // S3's header
			return nil, errDigest
		}
	}
	for name, sum := range sums {
		want := cmp.Or(r.header(checksumPrefix+name), r.http.Trailer.Get(checksumPrefix+name))
		if want == "" {
			continue
		}
		h := sum()
		_, _ = h.Write(text) // a hash never fails
		if base64.StdEncoding.EncodeToString(h.Sum(nil)) != want {
			return nil, errDigest.messagef("The %s you specified did not match the calculated checksum.", name)
		}
	}
	return text, nil
}

// sums are the checksums of documents that are compared.
var sums = map[string]func() hash.Hash{
	"Crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"Crc32c":    func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
	"Crc64nvme": func() hash.Hash { return crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5)) },
	"Sha1":      sha1.New,
	"Sha256":    sha256.New,
}

// document reads a body that is XML with a root element.
func (r *request) document(root string) ([]byte, error) {
	text, err := r.body()
	if err != nil {
		return nil, err
	}
	if err := wellFormed(text, root); err != nil {
		return nil, err
	}
	return text, nil
}

// depth of elements in a document.
const depth = 16

// wellFormed holds a text to be one element of a name, as deep as documents are,
// without a document type.
func wellFormed(text []byte, root string) error {
	d := xml.NewDecoder(bytes.NewReader(text))
	level, seen := 0, false
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) && seen && level == 0 {
			return nil
		}
		if err != nil {
			return errMalformedXML
		}
		switch t := t.(type) {
		case xml.StartElement:
			if level == 0 && (seen || t.Name.Local != root) || level == depth {
				return errMalformedXML
			}
			level++
			seen = true
		case xml.EndElement:
			level--
		case xml.Directive:
			return errMalformedXML
		case xml.CharData:
			if level == 0 && len(bytes.TrimSpace(t)) > 0 {
				return errMalformedXML
			}
		}
	}
}

// parse reads a well-formed document into v.
func parse(text []byte, v any) error {
	if xml.Unmarshal(text, v) != nil {
		return errMalformedXML
	}
	return nil
}

// marshal writes an answer. Its own structures always marshal.
func marshal(v any) []byte {
	text, err := xml.Marshal(v)
	if err != nil {
		panic("endpoint: " + err.Error())
	}
	return text
}

// writeXML answers a document.
func (r *request) writeXML(status int, text []byte) error {
	h := r.w.Header()
	h.Set("Content-Type", xmlType)
	if !bytes.HasPrefix(text, []byte("<?xml")) {
		text = append([]byte(xmlHeader), text...)
	}
	h.Set("Content-Length", strconv.Itoa(len(text)))
	r.ids()
	r.w.WriteHeader(status)
	_, _ = r.w.Write(text) // the client is gone
	return nil
}

// Tags.

type tagSet struct {
	XMLName xml.Name `xml:"Tagging"`
	Tags    []tag    `xml:"TagSet>Tag"`
}

type tag struct {
	Key   string
	Value string
}

// isSystem reports whether a tag is AWS's to set.
func (t tag) isSystem() bool { return strings.HasPrefix(strings.ToLower(t.Key), "aws:") }

// checkTags holds tags to S3's rules. System tags have to be among those that
// there are.
func checkTags(text []byte, most int, system []tag) (tagSet, error) {
	var set tagSet
	if err := parse(text, &set); err != nil {
		return set, err
	}
	if len(set.Tags) > most {
		if most == objectTags {
			return set, &Error{Status: 400, Code: "BadRequest", Message: "Object tags cannot be greater than 10"}
		}
		return set, &Error{Status: 400, Code: "BadRequest", Message: "Bucket tag count cannot be greater than 50"}
	}
	seen := map[string]bool{}
	for _, t := range set.Tags {
		switch {
		case t.Key == "" || len([]rune(t.Key)) > 128:
			return set, errTags.messagef("The TagKey you have provided is invalid")
		case len([]rune(t.Value)) > 256:
			return set, errTags
		case t.isSystem() && !slices.Contains(system, t):
			return set, errTags.messagef("System tags cannot be added/updated by requester")
		case seen[t.Key]:
			return set, errTags.messagef("Cannot provide multiple Tags with the same key").with(Field{"TagKey", t.Key})
		}
		seen[t.Key] = true
	}
	return set, nil
}

// How many tags there may be.
const (
	bucketTags = 50
	objectTags = 10
)

// checkBucketTags leaves system tags alone, unless a part of Lamina sets them.
func checkBucketTags(_ *Endpoint, r *request, text []byte) ([]byte, error) {
	system, err := r.systemTags(text)
	if err != nil {
		return nil, err
	}
	set, err := checkTags(text, bucketTags+len(system), system)
	if err != nil || r.caller.Inside {
		return text, err
	}
	for _, t := range system {
		if !slices.Contains(set.Tags, t) {
			return nil, errTags.messagef("System tags cannot be removed by requester")
		}
	}
	return text, nil
}

// systemTags are the system tags that a bucket may have: those that it has, or,
// when a part of Lamina asks, those that it is to get.
func (r *request) systemTags(wanted []byte) ([]tag, error) {
	text := wanted
	if !r.caller.Inside {
		if r.b == nil {
			return nil, nil // it is made just now
		}
		text = []byte(r.b.Documents["tagging"])
	}
	if len(text) == 0 {
		return nil, nil
	}
	var set tagSet
	if err := parse(text, &set); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(set.Tags, func(t tag) bool { return !t.isSystem() }), nil
}

// Encryption.

func checkEncryption(_ *Endpoint, _ *request, text []byte) ([]byte, error) {
	var c struct {
		Rules []struct {
			Default *struct {
				Algorithm string `xml:"SSEAlgorithm"`
				Key       string `xml:"KMSMasterKeyID"`
			} `xml:"ApplyServerSideEncryptionByDefault"`
		} `xml:"Rule"`
	}
	if err := parse(text, &c); err != nil {
		return nil, err
	}
	if len(c.Rules) != 1 {
		return nil, errMalformedXML
	}
	if d := c.Rules[0].Default; d != nil {
		switch {
		case !slices.Contains([]string{"AES256", "aws:kms", "aws:kms:dsse"}, d.Algorithm):
			return nil, errMalformedXML
		case d.Algorithm == "AES256" && d.Key != "":
			return nil, errInvalid.messagef("a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse")
		}
	}
	return text, nil
}

// Lifecycle.

const (
	minimumSizeHeader = "X-Amz-Transition-Default-Minimum-Object-Size"
	minimumSizeKind   = "lifecycle-minimum-size"
)

func tellMinimumSize(r *request) {
	r.w.Header().Set(minimumSizeHeader, cmp.Or(r.b.Documents[minimumSizeKind], "all_storage_classes_128K"))
}

// checkLifecycle gives rules without an ID one, as S3 does, and leaves the rest as
// it is written.
func checkLifecycle(_ *Endpoint, r *request, text []byte) ([]byte, error) {
	if size := r.header(minimumSizeHeader); size != "" && size != "all_storage_classes_128K" && size != "varies_by_storage_class" {
		return nil, errInvalid.messagef("Invalid transition default minimum object size: %s", size)
	}
	var c struct {
		Rules []struct {
			ID     *string
			Status string
			Inner  string `xml:",innerxml"`
		} `xml:"Rule"`
	}
	if err := parse(text, &c); err != nil {
		return nil, err
	}
	if len(c.Rules) == 0 || len(c.Rules) > 1000 {
		return nil, errMalformedXML
	}
	seen := map[string]bool{}
	var out strings.Builder
	out.WriteString(`<LifecycleConfiguration xmlns="` + namespace + `">`)
	for _, rule := range c.Rules {
		if rule.Status != "Enabled" && rule.Status != "Disabled" {
			return nil, errMalformedXML
		}
		out.WriteString("<Rule>")
		id := ""
		if rule.ID != nil {
			id = *rule.ID
		}
		switch {
		case rule.ID == nil:
			id = newID()
			out.WriteString("<ID>" + id + "</ID>")
		case len(id) > 255:
			return nil, errInvalid.messagef("ID length should not exceed allowed limit of 255")
		}
		if seen[id] {
			return nil, errInvalid.messagef("Rule ID must be unique. Found same ID for more than one rule")
		}
		seen[id] = true
		out.WriteString(rule.Inner + "</Rule>")
	}
	out.WriteString("</LifecycleConfiguration>")
	return []byte(out.String()), nil
}

// newID is an identifier such as S3 makes up for rules.
func newID() string {
	text := strings.ToLower(rand.Text())
	for len(text) < 32 {
		text += strings.ToLower(rand.Text())
	}
	return fmt.Sprintf("%s-%s-%s-%s-%s", text[:8], text[8:12], text[12:16], text[16:20], text[20:32])
}

// Ownership.

// enforced is the ownership of buckets that have no ACLs.
const enforced = "BucketOwnerEnforced"

var ownerships = []string{enforced, "BucketOwnerPreferred", "ObjectWriter"}

type ownershipControls struct {
	XMLName xml.Name `xml:"OwnershipControls"`
	Space   string   `xml:"xmlns,attr,omitempty"`
	Rules   []string `xml:"Rule>ObjectOwnership"`
}

func checkOwnership(_ *Endpoint, _ *request, text []byte) ([]byte, error) {
	var c ownershipControls
	if err := parse(text, &c); err != nil {
		return nil, err
	}
	if len(c.Rules) != 1 || !slices.Contains(ownerships, c.Rules[0]) {
		return nil, errMalformedXML
	}
	return text, nil
}

// ownership is what a bucket's ownership controls say, or what holds without.
func (b *bucket) ownership() string {
	var c ownershipControls
	if xml.Unmarshal([]byte(b.Documents["ownershipControls"]), &c) != nil || len(c.Rules) == 0 {
		return "ObjectWriter"
	}
	return c.Rules[0]
}

// Block Public Access.

type publicAccess struct {
	XMLName               xml.Name `xml:"PublicAccessBlockConfiguration"`
	Space                 string   `xml:"xmlns,attr,omitempty"`
	BlockPublicAcls       bool
	IgnorePublicAcls      bool
	BlockPublicPolicy     bool
	RestrictPublicBuckets bool
}

// allBlocked is how buckets begin.
var allBlocked = publicAccess{Space: namespace, BlockPublicAcls: true, IgnorePublicAcls: true, BlockPublicPolicy: true, RestrictPublicBuckets: true}

func checkAccess(_ *Endpoint, _ *request, text []byte) ([]byte, error) {
	var c publicAccess
	if err := parse(text, &c); err != nil {
		return nil, err
	}
	c.XMLName, c.Space = xml.Name{}, namespace
	return marshal(c), nil
}

// Request payment.

func checkPayment(_ *Endpoint, _ *request, text []byte) ([]byte, error) {
	var c struct{ Payer string }
	if err := parse(text, &c); err != nil {
		return nil, err
	}
	if c.Payer != "BucketOwner" && c.Payer != "Requester" {
		return nil, errMalformedXML
	}
	return text, nil
}

// read fills in what a bucket's documents say.
func (b *bucket) read() error {
	if text, ok := b.Documents["publicAccessBlock"]; ok {
		if err := xml.Unmarshal([]byte(text), &b.access); err != nil {
			return fmt.Errorf("read the public access block of bucket %s: %w", b.Name, err)
		}
	}
	if err := b.readPolicy(); err != nil {
		return err
	}
	if err := b.readNotifications(); err != nil {
		return err
	}
	return b.readCORS()
}
