package endpoint

import (
	"context"
	"crypto/md5" //nolint:gosec // S3's header
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina"
)

func md5Of(text []byte) string {
	sum := md5.Sum(text) //nolint:gosec // S3's header
	return base64.StdEncoding.EncodeToString(sum[:])
}

// attributesHeader keeps what the backend has no place for among an object's
// metadata: how it is to be encrypted, and its storage class. Clients neither see
// it nor can set it.
const attributesHeader = "X-Amz-Meta-Lamina-Attributes"

// The headers that are kept there, by their names there.
var attributes = map[string]string{
	"sse":    "X-Amz-Server-Side-Encryption",
	"key":    "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id",
	"bucket": "X-Amz-Server-Side-Encryption-Bucket-Key-Enabled",
	"class":  "X-Amz-Storage-Class",
}

var classes = []string{"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"}

// setAttributes checks what a request wants an object to have, and puts it where
// the backend keeps it.
func (r *request) setAttributes(h http.Header) (url.Values, error) {
	for name := range r.http.Header {
		if strings.Contains(name, "-Server-Side-Encryption-Customer-") {
			return nil, errNotImplemented.messagef("Lamina does not offer encryption with a key of the client's.")
		}
	}
	if acl := r.header("X-Amz-Acl"); acl != "" || r.grants() {
		switch {
		case acl == "bucket-owner-full-control":
		case r.b.ownership() == enforced:
			return nil, errNoACL
		case acl != "private" || r.grants():
			return nil, errNotImplemented.messagef("Lamina offers no access control lists but private ones; use a bucket policy.")
		}
	}
	kept := url.Values{}
	switch class := r.header(attributes["class"]); {
	case class == "" || class == "STANDARD":
	case slices.Contains(classes, class):
		kept.Set("class", class)
	default:
		return nil, &Error{Status: 400, Code: "InvalidStorageClass", Message: "The storage class you specified is not valid", Fields: []Field{{"StorageClassRequested", class}}}
	}
	sse, key := r.header(attributes["sse"]), r.header(attributes["key"])
	fromBucket := false
	if sse == "" {
		var c struct {
			Algorithm string `xml:"Rule>ApplyServerSideEncryptionByDefault>SSEAlgorithm"`
			Key       string `xml:"Rule>ApplyServerSideEncryptionByDefault>KMSMasterKeyID"`
			Bucket    bool   `xml:"Rule>BucketKeyEnabled"`
		}
		if xml.Unmarshal([]byte(r.b.Documents["encryption"]), &c) == nil {
			sse, key, fromBucket = c.Algorithm, c.Key, c.Bucket
		}
	}
	switch sse {
	case "", "AES256":
		if r.header(attributes["key"]) != "" {
			return nil, errInvalid.messagef("Server Side Encryption with KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms")
		}
	case "aws:kms", "aws:kms:dsse":
		kept.Set("sse", sse)
		if key != "" {
			kept.Set("key", key)
		}
		if fromBucket || strings.EqualFold(r.header(attributes["bucket"]), "true") {
			kept.Set("bucket", "true")
		}
	default:
		return nil, errInvalid.messagef("The encryption method specified is not supported")
	}
	h.Del(attributesHeader)
	if len(kept) > 0 {
		h.Set(attributesHeader, kept.Encode())
	}
	return kept, nil
}

// tellAttributes gives a client what an object has.
func tellAttributes(h http.Header, kept url.Values, stored bool) {
	h.Set(attributes["sse"], "AES256")
	h.Del(attributes["class"]) // S3 does not tell the usual one
	for name, header := range attributes {
		if text := kept.Get(name); text != "" && (stored || name != "class") {
			h.Set(header, text)
		}
	}
}

// revealAttributes does so with an answer of the backend's about an object.
func revealAttributes(h http.Header) {
	kept, _ := url.ParseQuery(h.Get(attributesHeader)) // we wrote it
	h.Del(attributesHeader)
	tellAttributes(h, kept, true)
}

func (e *Endpoint) putObject(r *request) error {
	f := r.forwarded()
	kept, err := r.setAttributes(f.header)
	if err != nil {
		return err
	}
	a, err := e.sendBody(r, f)
	if err != nil {
		return err
	}
	tellAttributes(a.header, kept, false)
	size := r.http.ContentLength
	if err := e.notify(r, "ObjectCreated:Put", changed{key: r.key, size: size, etag: a.header.Get("Etag"), version: a.header.Get("X-Amz-Version-Id")}); err != nil {
		return err
	}
	return r.answer(a)
}

func (e *Endpoint) copyObject(r *request) error {
	f := r.forwarded()
	s, err := e.copySource(r.ctx(), r.header("X-Amz-Copy-Source"))
	if err != nil {
		return err
	}
	kept, err := r.setAttributes(f.header)
	if err != nil {
		return err
	}
	if !strings.EqualFold(r.header("X-Amz-Metadata-Directive"), "REPLACE") {
		// The backend takes all metadata from the source or none. A copy has its own
		// encryption and class, so its metadata is written anew when these differ.
		if err := e.takeMetadata(r, s, f.header, kept); err != nil {
			return err
		}
	}
	a, err := e.ask(r.ctx(), f)
	if err != nil {
		return e.hiddenSource(r, s, err)
	}
	tellAttributes(a.header, kept, true)
	var out struct {
		ETag string
	}
	_ = xml.Unmarshal(a.body, &out) // without one, the event has none
	if r.b.wants("ObjectCreated:Copy", r.key) {
		size, _, err := e.sizeOf(r.ctx(), r.name, r.key, a.header.Get("X-Amz-Version-Id"))
		if err == nil {
			err = e.notify(r, "ObjectCreated:Copy", changed{key: r.key, size: size, etag: out.ETag, version: a.header.Get("X-Amz-Version-Id")})
		}
		if err != nil {
			return err
		}
	}
	return r.answer(a)
}

// takeMetadata turns a copy with the source's metadata into one whose metadata is
// told, when the source's encryption or class is not what the copy is to have.
func (e *Endpoint) takeMetadata(r *request, s source, h http.Header, kept url.Values) error {
	f := forward{method: http.MethodHead, bucket: s.bucket.Name, key: s.key, query: values{}}
	if s.version != "" {
		f.query["versionId"] = s.version
	}
	a, err := e.ask(r.ctx(), f)
	if err != nil {
		return e.hiddenSource(r, s, err)
	}
	if a.header.Get(attributesHeader) == kept.Encode() {
		h.Del(attributesHeader)
		return nil
	}
	for name := range h {
		if slices.Contains(contents, name) && !strings.HasPrefix(name, "X-Amz-") || strings.HasPrefix(name, metaPrefix) {
			h.Del(name)
		}
	}
	for name, texts := range a.header {
		if slices.Contains(contents, name) && !strings.HasPrefix(name, "X-Amz-") || strings.HasPrefix(name, metaPrefix) {
			h[name] = texts
		}
	}
	h.Del(attributesHeader)
	if len(kept) > 0 {
		h.Set(attributesHeader, kept.Encode())
	}
	h.Set("X-Amz-Metadata-Directive", "REPLACE")
	if !strings.EqualFold(r.header("X-Amz-Tagging-Directive"), "REPLACE") {
		h.Set("X-Amz-Tagging-Directive", "COPY")
	}
	return nil
}

// hiddenSource is the error of a copy. Who may not list the source's bucket is
// not told that the source is missing.
func (e *Endpoint) hiddenSource(r *request, s source, err error) error {
	refused, ok := errors.AsType[*Error](err)
	if !ok || refused.Status != http.StatusNotFound {
		return err
	}
	if len(refused.Message) == 0 || refused.Code == "NotFound" {
		refused = errNoSuchKey
		if s.version != "" {
			refused = noSuch("NoSuchVersion", "The specified version does not exist.")
		}
	}
	asked := *r
	asked.b, asked.name, asked.key = s.bucket, s.bucket.Name, s.key
	return e.hidden(&asked, refused.with(Field{"Key", s.key}))
}

func (e *Endpoint) createUpload(r *request) error {
	f := r.forwarded()
	kept, err := r.setAttributes(f.header)
	if err != nil {
		return err
	}
	a, err := e.ask(r.ctx(), f)
	if err != nil {
		return err
	}
	tellAttributes(a.header, kept, false)
	return r.answer(a)
}

func (e *Endpoint) uploadPart(r *request) error {
	a, err := e.sendBody(r, r.forwarded())
	if err != nil {
		return err
	}
	a.header.Set(attributes["sse"], "AES256")
	return r.answer(a)
}

func (e *Endpoint) copyPart(r *request) error {
	a, err := e.ask(r.ctx(), r.forwarded())
	if err != nil {
		s, sourceErr := e.copySource(r.ctx(), r.header("X-Amz-Copy-Source"))
		if refused, ok := errors.AsType[*Error](err); sourceErr == nil && ok && refused.Code == errNoSuchKey.Code {
			return e.hiddenSource(r, s, err)
		}
		return err
	}
	return r.answer(a)
}

func (e *Endpoint) completeUpload(r *request) error {
	text, err := r.document("CompleteMultipartUpload")
	if err != nil {
		return err
	}
	f := r.forwarded()
	f.setBody(text)
	a, err := e.ask(r.ctx(), f)
	if err != nil {
		return err
	}
	var out struct {
		XMLName  xml.Name
		Location string
		Bucket   string
		Key      string
		ETag     string
		Rest     []struct {
			XMLName xml.Name
			Text    string `xml:",chardata"`
		} `xml:",any"`
	}
	if err := xml.Unmarshal(a.body, &out); err != nil {
		return err
	}
	// The backend's own address is nobody's business.
	answer := struct {
		XMLName  xml.Name `xml:"CompleteMultipartUploadResult"`
		Space    string   `xml:"xmlns,attr"`
		Location string
		Bucket   string
		Key      string
		ETag     string
		Rest     []element
	}{Space: namespace, Location: r.base() + "/" + r.name + "/" + escape(r.key, true), Bucket: r.name, Key: r.key, ETag: out.ETag}
	for _, x := range out.Rest {
		answer.Rest = append(answer.Rest, element{XMLName: xml.Name{Local: x.XMLName.Local}, Text: x.Text})
	}
	a.body = append([]byte(xmlHeader), marshal(answer)...)
	version := a.header.Get("X-Amz-Version-Id")
	a.header.Set(attributes["sse"], "AES256")
	if r.b.wants("ObjectCreated:CompleteMultipartUpload", r.key) {
		size, _, err := e.sizeOf(r.ctx(), r.name, r.key, version)
		if err == nil {
			err = e.notify(r, "ObjectCreated:CompleteMultipartUpload", changed{key: r.key, size: size, etag: out.ETag, version: version})
		}
		if err != nil {
			return err
		}
	}
	return r.answer(a)
}

// element is one of a name that is known only at run time.
type element struct {
	XMLName xml.Name
	Text    string `xml:",chardata"`
}

// base is how the client reached us.
func (r *request) base() string {
	scheme := "http://"
	if r.http.TLS != nil {
		scheme = "https://"
	}
	return scheme + r.http.Host
}

// sizeOf tells the size and the ETag of an object.
func (e *Endpoint) sizeOf(ctx context.Context, bucket, key, version string) (size int64, etag string, err error) {
	f := forward{method: http.MethodHead, bucket: bucket, key: key, query: values{}}
	if version != "" {
		f.query["versionId"] = version
	}
	a, err := e.ask(ctx, f)
	if err != nil {
		return 0, "", err
	}
	size, err = strconv.ParseInt(a.header.Get("Content-Length"), 10, 64)
	return size, a.header.Get("Etag"), err
}

// head answers NoSuchKey when the object that a request names is not there.
func (e *Endpoint) head(r *request) error {
	f := forward{method: http.MethodHead, bucket: r.name, key: r.key, query: values{}}
	if v := r.query["versionId"]; v != "" {
		f.query["versionId"] = v
	}
	_, err := e.ask(r.ctx(), f)
	if refused, ok := errors.AsType[*Error](err); ok && refused.Status == http.StatusNotFound {
		return e.hidden(r, errNoSuchKey.with(Field{"Key", r.key}))
	}
	return err
}

// tags are those of an object; one that is not there has none.
func (e *Endpoint) tags(ctx context.Context, bucket, key, version string) (map[string]string, error) {
	f := forward{method: http.MethodGet, bucket: bucket, key: key, query: values{"tagging": ""}}
	if version != "" {
		f.query["versionId"] = version
	}
	a, err := e.ask(ctx, f)
	if refused, ok := errors.AsType[*Error](err); ok && refused.Status < http.StatusInternalServerError {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var set tagSet
	if err := xml.Unmarshal(a.body, &set); err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, t := range set.Tags {
		all[t.Key] = t.Value
	}
	return all, nil
}

func (e *Endpoint) putObjectTagging(r *request) error {
	text, err := r.document("Tagging")
	if err != nil {
		return err
	}
	if _, err := checkTags(text, objectTags, nil); err != nil {
		return err
	}
	return e.relayBody(r, text)
}

// read streams an object to the client, or tells about it.
func (e *Endpoint) read(r *request) error {
	f := r.forwarded()
	if r.caller.Kind == "" {
		for _, name := range overrides {
			if r.query.has(name) {
				return errRequest.messagef("Request specific response headers cannot be used for anonymous GET requests.")
			}
		}
	}
	resp, err := e.send(r.ctx(), f)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 && resp.StatusCode != http.StatusNotModified {
		_, err := e.readAnswer(r.ctx(), f, resp)
		refused, ok := errors.AsType[*Error](err)
		if !ok {
			return err
		}
		for _, name := range []string{"X-Amz-Delete-Marker", "X-Amz-Version-Id", "Last-Modified", "Content-Range", "Allow"} {
			if text := resp.Header.Get(name); text != "" {
				r.w.Header().Set(name, text)
			}
		}
		return e.hidden(r, refused)
	}
	if r.op.param == "" {
		revealAttributes(resp.Header)
	}
	r.copyHeader(resp.Header)
	r.w.WriteHeader(resp.StatusCode)
	if r.http.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(r.w, resp.Body); err != nil {
		panic(http.ErrAbortHandler) // half an object is not to look like one
	}
	return nil
}

func (e *Endpoint) deleteObject(r *request) error {
	a, err := e.ask(r.ctx(), r.forwarded())
	if err != nil {
		return err
	}
	version := a.header.Get("X-Amz-Version-Id")
	event := "ObjectRemoved:Delete"
	if a.header.Get("X-Amz-Delete-Marker") == "true" && r.query["versionId"] == "" {
		event = "ObjectRemoved:DeleteMarkerCreated"
	}
	if err := e.notify(r, event, changed{key: r.key, version: version}); err != nil {
		return err
	}
	return r.answer(a)
}

// Get writes an object's bytes to w, when the caller in the context may read it.
// It fails with a *lamina.ObjectError when S3 refuses, and with [lamina.ErrTooLarge]
// when there are more than most. After an error, some bytes may have been written.
func (e *Endpoint) Get(ctx context.Context, o lamina.Object, most int64, w io.Writer) error {
	r := &request{w: discarded{}, name: o.Bucket, key: o.Key, query: values{}, record: nil}
	r.caller = callerOf(ctx)
	r.http = (&http.Request{Method: http.MethodGet, URL: &url.URL{}, Header: http.Header{}, Body: http.NoBody}).WithContext(ctx)
	if o.Version != "" {
		r.query["versionId"] = o.Version
	}
	if err := e.get(r, most, w); err != nil {
		return objectError(err)
	}
	return nil
}

func (e *Endpoint) get(r *request, most int64, w io.Writer) (err error) {
	if !bucketName(r.name) {
		return errNoSuchBucket
	}
	if r.b, err = e.bucket(r.ctx(), r.name); err != nil {
		return err
	}
	r.op = find(r)
	if err := e.authorize(r); err != nil {
		return err
	}
	if err := checkKey(r.key); err != nil {
		return e.hidden(r, errNoSuchKey)
	}
	f := r.forwarded()
	resp, err := e.send(r.ctx(), f)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, err := e.readAnswer(r.ctx(), f, resp)
		if refused, ok := errors.AsType[*Error](err); ok {
			return e.hidden(r, refused)
		}
		return err
	}
	if resp.ContentLength > most {
		return lamina.ErrTooLarge
	}
	n, err := io.Copy(w, io.LimitReader(resp.Body, most+1))
	if err == nil && n > most {
		err = lamina.ErrTooLarge
	}
	return err
}

// discarded is where an answer goes that nobody gets.
type discarded struct{}

func (discarded) Header() http.Header         { return http.Header{} }
func (discarded) Write(p []byte) (int, error) { return len(p), nil }
func (discarded) WriteHeader(int)             {}
