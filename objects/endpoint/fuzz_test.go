package endpoint

import (
	"context"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
)

// FuzzDocuments: whatever a client sends, it is a document or an error, and what
// is kept can be read again.
func FuzzDocuments(f *testing.F) {
	for _, text := range []string{
		"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
		"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>",
		"<LifecycleConfiguration><Rule><Status>Enabled</Status><Filter/></Rule></LifecycleConfiguration>",
		"<NotificationConfiguration><CloudFunctionConfiguration><CloudFunction>f</CloudFunction><Event>s3:ObjectCreated:*</Event></CloudFunctionConfiguration></NotificationConfiguration>",
		"<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>",
		"<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>",
		strings.Repeat("<a>", 100), "<!DOCTYPE a [<!ENTITY b \"c\">]><Tagging>&b;</Tagging>",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for i := range documents {
			d := &documents[i]
			if wellFormed(text, d.root) != nil {
				continue
			}
			kept := text
			if d.check != nil {
				r := &request{http: (&http.Request{Header: http.Header{"X-Amz-Skip-Destination-Validation": {"true"}}}).WithContext(context.Background()), b: &bucket{}}
				var err error
				if kept, err = d.check(&Endpoint{}, r, text); err != nil {
					continue
				}
			}
			b := &bucket{}
			b.Documents = map[string]string{d.param: string(kept)}
			if err := b.read(); err != nil {
				t.Errorf("%s: %q is kept as %q and can't be read: %v", d.param, text, kept, err)
			}
		}
	})
}

// FuzzKeys: a key that is taken is one path, below its bucket, and no other key's.
func FuzzKeys(f *testing.F) {
	for _, key := range []string{"a/b", "a/", "../a", "a//b", ".", "a/.", ".sgwtmp/x", "\x00", "a\xff"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if key == "" || checkKey(key) != nil {
			return
		}
		if clean := path.Join("bucket", key); clean != "bucket/"+strings.TrimSuffix(key, "/") || strings.HasPrefix(clean, "bucket/"+ownPrefix+"/") {
			t.Errorf("key %q is the path %s", key, clean)
		}
		if back, err := url.PathUnescape(escape(key, true)); err != nil || back != key {
			t.Errorf("key %q is sent as %q", key, escape(key, true))
		}
	})
}

// FuzzQueries: what is sent to the backend is what was read.
func FuzzQueries(f *testing.F) {
	f.Add("prefix=a%20b&delimiter=/&x")
	f.Add("a=1&a=2")
	f.Fuzz(func(t *testing.T, raw string) {
		v, err := parseQuery(raw)
		if err != nil {
			return
		}
		again, err := parseQuery(v.encode())
		if err != nil || len(again) != len(v) {
			t.Fatalf("%q becomes %q: %v", raw, v.encode(), err)
		}
		for name, text := range v {
			if again[name] != text {
				t.Errorf("%q: %s is %q, then %q", raw, name, text, again[name])
			}
		}
	})
}

// FuzzPolicies: whatever is put as a policy is one that can be read again.
func FuzzPolicies(f *testing.F) {
	f.Add(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}}`)
	f.Add(`{"Statement":[{"Effect":"Deny","NotPrincipal":{"AWS":"111122223333"},"NotAction":["s3:*"],"NotResource":["arn:aws:s3:::b"]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := parsePolicy(text, "b"); err != nil {
			return
		}
		b := &bucket{}
		b.Documents = map[string]string{policyKind: text}
		if err := b.readPolicy(); err != nil {
			t.Errorf("policy %q can't be read: %v", text, err)
		}
	})
}
