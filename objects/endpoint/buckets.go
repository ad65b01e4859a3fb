package endpoint

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
)

const defaultRegion = "us-east-1" // which S3 doesn't name

// take waits for the turn to make or remove a bucket.
func (e *Endpoint) take(ctx context.Context) (release func(), err error) {
	select {
	case e.turn <- struct{}{}:
		return func() { <-e.turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (e *Endpoint) createBucket(r *request) error {
	var in struct {
		LocationConstraint string
		Location, Bucket   *struct{}
		Tags               []tag `xml:"Tags>Tag"`
	}
	text, err := r.body()
	if err != nil {
		return err
	}
	if len(text) > 0 {
		if err := wellFormed(text, "CreateBucketConfiguration"); err != nil {
			return err
		}
		if err := parse(text, &in); err != nil {
			return err
		}
	}
	region := r.caller.Region
	switch {
	case in.Location != nil || in.Bucket != nil:
		return errNotImplemented.messagef("Lamina does not offer directory buckets.")
	case in.LocationConstraint == "EU":
		region = "eu-west-1"
	case in.LocationConstraint != "":
		region = in.LocationConstraint
	}
	if !validRegion(region) {
		return &Error{Status: 400, Code: "InvalidLocationConstraint", Message: "The specified location-constraint is not valid", Fields: []Field{{"LocationConstraint", region}}}
	}
	if acl := r.header("X-Amz-Acl"); acl != "" && acl != "private" || r.grants() {
		return &Error{Status: 400, Code: "InvalidBucketAclWithObjectOwnership", Message: "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"}
	}
	owner := r.header("X-Amz-Object-Ownership")
	if owner == "" {
		owner = enforced
	}
	if !slices.Contains(ownerships, owner) {
		return errInvalid.messagef("Invalid x-amz-object-ownership header: %s", owner)
	}
	b := store.Bucket{Name: r.name, Account: r.caller.Account, Region: region, Created: e.o.Now(), Documents: map[string]string{
		"publicAccessBlock": string(marshal(allBlocked)),
		"ownershipControls": string(marshal(ownershipControls{Space: namespace, Rules: []string{owner}})),
	}}
	if len(in.Tags) > 0 {
		text := marshal(tagSet{Tags: in.Tags})
		if _, err := checkBucketTags(e, r, text); err != nil {
			return err
		}
		if err := e.authorizeTags(r, in.Tags); err != nil {
			return err
		}
		b.Documents["tagging"] = string(text)
	}
	release, err := e.take(r.ctx())
	if err != nil {
		return err
	}
	defer release()
	existed, err := e.insertBucket(r, b)
	if err != nil {
		return err
	}
	if err := e.makeBucket(r.ctx(), r.name, r.header("X-Amz-Bucket-Object-Lock-Enabled")); err != nil {
		if existed {
			return err
		}
		// The client may be gone; the name is to be free again all the same.
		ctx := context.WithoutCancel(r.ctx())
		undo := e.o.Store.Update(ctx, func(tx *store.Tx) error {
			_, err := tx.DeleteBucket(ctx, r.name)
			return err
		})
		return errors.Join(err, undo)
	}
	r.w.Header().Set("Location", "/"+r.name)
	r.w.Header().Set("X-Amz-Bucket-Arn", "arn:"+lamina.Partition+":s3:::"+r.name)
	r.w.Header().Set("Content-Length", "0")
	r.ids()
	r.w.WriteHeader(http.StatusOK)
	return nil
}

func (e *Endpoint) authorizeTags(r *request, tags []tag) error {
	n := &needs{keys: map[string][]string{}}
	keys := make([]string, 0, len(tags))
	for _, t := range tags {
		n.set("aws:RequestTag/"+t.Key, t.Value)
		keys = append(keys, t.Key)
	}
	n.set("aws:TagKeys", keys...)
	return e.permit(r, n, need{action: "s3:TagResource", arn: r.arn()})
}

// insertBucket takes the name, unless it is the caller's and S3 would not mind.
func (e *Endpoint) insertBucket(r *request, b store.Bucket) (existed bool, err error) {
	var other store.Bucket
	err = e.o.Store.Update(r.ctx(), func(tx *store.Tx) error {
		have, err := tx.Buckets(r.ctx(), b.Account, "", bucketsPerAccount)
		if err != nil {
			return err
		}
		if err := tx.InsertBucket(r.ctx(), b); !errors.Is(err, lamina.ErrExists) {
			if err == nil && len(have) >= bucketsPerAccount {
				return errTooMany
			}
			return err
		}
		if other, err = tx.Bucket(r.ctx(), b.Name); err != nil {
			return err
		}
		return lamina.ErrExists
	})
	switch {
	case !errors.Is(err, lamina.ErrExists):
		return false, err
	case other.Account != b.Account:
		return false, errExists.with(Field{"BucketName", b.Name})
	case other.Region == defaultRegion && b.Region == defaultRegion: // S3's oldest region takes it once more
		return true, nil
	}
	return false, errOwned.with(Field{"BucketName", b.Name})
}

// makeBucket makes the bucket's directory. That it is there already is fine: its
// row was lost, or is from before a crash.
func (e *Endpoint) makeBucket(ctx context.Context, name, lock string) error {
	f := forward{method: http.MethodPut, bucket: name, header: http.Header{}}
	if lock != "" {
		f.header.Set("X-Amz-Bucket-Object-Lock-Enabled", lock)
	}
	_, err := e.ask(ctx, f)
	if refused, ok := errors.AsType[*Error](err); ok && refused.Code == errOwned.Code {
		return nil
	}
	return err
}

// repair makes the directory of a bucket that has a row and no directory: the
// server was killed between the two. The client is asked to come again.
func (e *Endpoint) repair(ctx context.Context, name string) error {
	release, err := e.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	if _, err := e.bucket(ctx, name); err != nil {
		return err // it went meanwhile
	}
	e.o.Log.LogAttrs(ctx, slog.LevelWarn, "bucket had no directory, and gets an empty one", slog.String("bucket", name))
	if err := e.makeBucket(ctx, name, ""); err != nil {
		return err
	}
	return errUnavailable
}

func (e *Endpoint) deleteBucket(r *request) error {
	release, err := e.take(r.ctx())
	if err != nil {
		return err
	}
	defer release()
	if _, err := e.ask(r.ctx(), forward{method: http.MethodDelete, bucket: r.name}); err != nil {
		if refused, ok := errors.AsType[*Error](err); !ok || refused.Code != errNoSuchBucket.Code {
			return err
		}
	}
	ctx := context.WithoutCancel(r.ctx()) // the directory is gone
	err = e.o.Store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.DeleteBucket(ctx, r.name)
		return err
	})
	if err != nil {
		return err
	}
	r.ids()
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (e *Endpoint) headBucket(r *request) error {
	h := r.w.Header()
	h.Set("X-Amz-Bucket-Region", r.b.Region)
	h.Set("X-Amz-Bucket-Arn", r.b.arn())
	h.Set("X-Amz-Access-Point-Alias", "false")
	h.Set("Content-Type", xmlType)
	r.ids()
	r.w.WriteHeader(http.StatusOK)
	return nil
}

func (e *Endpoint) getBucketLocation(r *request) error {
	region := r.b.Region
	if region == defaultRegion {
		region = ""
	}
	return r.writeXML(http.StatusOK, []byte(`<LocationConstraint xmlns="`+namespace+`">`+region+`</LocationConstraint>`))
}

func (e *Endpoint) listBuckets(r *request) error {
	if r.caller.Kind == "" {
		return errAccessDenied
	}
	most := bucketsPerAccount
	if text := r.query["max-buckets"]; text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return errInvalid.messagef("Provided max-buckets not an integer or within integer range").with(Field{"ArgumentName", "max-buckets"}, Field{"ArgumentValue", text})
		}
		most = n
	}
	prefix, region := r.query["prefix"], r.query["bucket-region"]
	type entry struct {
		Name         string
		CreationDate string
		BucketRegion string `xml:",omitempty"`
		BucketArn    string
	}
	var out struct {
		XMLName           xml.Name `xml:"ListAllMyBucketsResult"`
		Space             string   `xml:"xmlns,attr"`
		ID                string   `xml:"Owner>ID"`
		Buckets           []entry  `xml:"Buckets>Bucket"`
		ContinuationToken string   `xml:",omitempty"`
		Prefix            *string  `xml:",omitempty"`
	}
	out.Space, out.ID = namespace, identity.CanonicalUser(r.caller.Account)
	if r.query.has("prefix") {
		out.Prefix = &prefix
	}
	var all []store.Bucket
	err := e.o.Store.View(r.ctx(), func(tx *store.Tx) (err error) {
		all, err = tx.Buckets(r.ctx(), r.caller.Account, r.query["continuation-token"], bucketsPerAccount)
		return err
	})
	if err != nil {
		return err
	}
	for _, b := range all {
		if !strings.HasPrefix(b.Name, prefix) || region != "" && b.Region != region {
			continue
		}
		if len(out.Buckets) == most {
			out.ContinuationToken = out.Buckets[most-1].Name
			break
		}
		out.Buckets = append(out.Buckets, entry{Name: b.Name, CreationDate: stamp(b.Created), BucketRegion: b.Region, BucketArn: "arn:" + lamina.Partition + ":s3:::" + b.Name})
	}
	return r.writeXML(http.StatusOK, marshal(out))
}

// stamp is a time as S3 writes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func validRegion(s string) bool {
	return len(s) > 0 && len(s) <= 40 && !strings.ContainsFunc(s, func(c rune) bool { return c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') })
}

// putBucketVersioning is the backend's, but what it would misread.
func (e *Endpoint) putBucketVersioning(r *request) error {
	text, err := r.document("VersioningConfiguration")
	if err != nil {
		return err
	}
	var in struct {
		Status    string
		MFADelete string `xml:"MfaDelete"`
	}
	if err := parse(text, &in); err != nil {
		return err
	}
	switch {
	case in.MFADelete == "Enabled":
		return errNotImplemented.messagef("Lamina does not offer MfaDelete.")
	case in.Status != "Enabled" && in.Status != "Suspended":
		return &Error{Status: 400, Code: "IllegalVersioningConfigurationException", Message: "The Versioning element must be specified"}
	}
	return e.relayBody(r, fmt.Appendf(nil, `<VersioningConfiguration xmlns="%s"><Status>%s</Status></VersioningConfiguration>`, namespace, in.Status))
}

// grants reports whether a request brings an access control list other than by a
// canned one's name.
func (r *request) grants() bool {
	for name := range r.http.Header {
		if strings.HasPrefix(name, "X-Amz-Grant-") {
			return true
		}
	}
	return false
}

// getACL is the list of buckets and objects that have none: all is the owner's.
func (e *Endpoint) getACL(r *request) error {
	if r.key != "" {
		if err := e.head(r); err != nil {
			return err
		}
	}
	id := identity.CanonicalUser(r.b.Account)
	return r.writeXML(http.StatusOK, []byte(`<AccessControlPolicy xmlns="`+namespace+`"><Owner><ID>`+id+`</ID></Owner><AccessControlList><Grant>`+
		`<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>`+id+`</ID></Grantee>`+
		`<Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>`))
}

// putACL takes what changes nothing, on buckets that may have lists.
func (e *Endpoint) putACL(r *request) error {
	text, err := r.body()
	if err != nil {
		return err
	}
	if r.b.ownership() == enforced {
		return errNoACL
	}
	if r.key != "" {
		if err := e.head(r); err != nil {
			return err
		}
	}
	acl := r.header("X-Amz-Acl")
	private := acl == "private" || acl == "bucket-owner-full-control"
	if acl == "" && len(text) > 0 {
		var in struct {
			Grants []struct {
				ID         string `xml:"Grantee>ID"`
				URI        string `xml:"Grantee>URI"`
				Permission string
			} `xml:"AccessControlList>Grant"`
		}
		if err := wellFormed(text, "AccessControlPolicy"); err != nil {
			return err
		}
		if err := parse(text, &in); err != nil {
			return err
		}
		private = len(in.Grants) == 1 && in.Grants[0].ID == identity.CanonicalUser(r.b.Account) && in.Grants[0].Permission == "FULL_CONTROL"
	}
	if !private || r.grants() {
		return errNotImplemented.messagef("Lamina offers no access control lists but private ones; use a bucket policy.")
	}
	r.ids()
	r.w.WriteHeader(http.StatusOK)
	return nil
}
