package endpoint

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Meant reports whether a request that nobody signed can be one for S3: its host
// has a bucket in front, or is S3's, or its path begins like a bucket's name.
func (e *Endpoint) Meant(req *http.Request) bool {
	bucket, ok := e.o.Hosts.Bucket(req.Host)
	if ok && bucket != "" {
		return bucketName(bucket)
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	return bucketName(name) && !apiVersion.MatchString(name)
}

// apiVersion begins the paths of other services.
var apiVersion = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`)

// address returns the bucket and the key that a request names, in either style.
func (e *Endpoint) address(req *http.Request) (bucket, key string, err error) {
	path := strings.TrimPrefix(req.URL.Path, "/")
	if bucket, _ = e.o.Hosts.Bucket(req.Host); bucket != "" && req.Host != "" {
		key = path
	} else {
		bucket, key, _ = strings.Cut(path, "/")
	}
	if bucket == "" && key != "" || bucket != "" && !bucketName(bucket) {
		return "", "", errBucketName.with(Field{"BucketName", bucket})
	}
	return bucket, key, nil
}

var (
	bucketForm = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$`)
	fourParts  = regexp.MustCompile(`^\d+\.\d+\.\d+\.\d+$`)
)

// bucketName reports whether S3 takes a name for a bucket's.
func bucketName(s string) bool {
	return len(s) >= 3 && len(s) <= 63 && bucketForm.MatchString(s) && !fourParts.MatchString(s) &&
		!strings.HasPrefix(s, "xn--") && !strings.HasSuffix(s, "-s3alias") && !strings.HasSuffix(s, "--ol-s3") && !strings.HasSuffix(s, "--x-s3")
}

const (
	keyBytes  = 1024 // of a key
	partBytes = 220  // of what is between two slashes: a file's name, with what the backend adds to one that it replaces
	ownPrefix = ".sgwtmp"
)

// checkKey holds a key to what the backend can keep: it is a path of files, so
// that two keys that are one path would be one object.
func checkKey(key string) error {
	switch {
	case len(key) > keyBytes:
		return errKeyTooLong.with(Field{"Size", "1024"})
	case !utf8.ValidString(key) || strings.ContainsFunc(key, func(r rune) bool {
		return r < ' ' || r == 0x7f || r == utf8.RuneError || r == '\ufffe' || r == '\uffff'
	}):
		return errInvalid.messagef("Lamina keeps objects as files: a key is UTF-8 without control characters.")
	}
	return checkParts(strings.TrimSuffix(key, "/"))
}

// checkParts holds what is between slashes to be names of files.
func checkParts(path string) error {
	for i, part := range strings.Split(path, "/") {
		switch {
		case part == "", part == ".", part == "..":
			return errInvalid.messagef("Lamina keeps objects as files: a key can't begin with a slash, nor have //, /./ or /../ in it.")
		case i == 0 && part == ownPrefix:
			return errInvalid.messagef("Lamina keeps objects as files: a key can't begin with %s.", ownPrefix)
		case len(part) > partBytes:
			return errKeyTooLong.messagef("Your key is too long: Lamina keeps objects as files, which have at most %d bytes between two slashes.", partBytes)
		}
	}
	return nil
}

// checkPrefix holds the prefix of a list to what keys can begin with.
func checkPrefix(prefix string) error {
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		return checkParts(prefix[:i])
	}
	return nil
}

// values are the parameters of a query, each with at most one value.
type values map[string]string

func (v values) has(name string) bool { _, ok := v[name]; return ok }

// parseQuery reads a query. A parameter that comes twice would be another one to
// us than to the backend.
func parseQuery(raw string) (values, error) {
	all, err := url.ParseQuery(raw)
	if err != nil {
		return nil, errInvalid.messagef("The query can't be read.")
	}
	out := values{}
	for name, texts := range all {
		if len(texts) > 1 {
			return nil, errInvalid.messagef("The parameter comes more than once.").with(Field{"ArgumentName", name})
		}
		out[name] = texts[0]
	}
	return out, nil
}

// encode writes parameters as the backend gets them and the signature has them.
func (v values) encode() string {
	names := make([]string, 0, len(v))
	for name := range v {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(escape(name, false) + "=" + escape(v[name], false))
	}
	return b.String()
}

// escape encodes everything but letters, digits and -_.~, and slashes of paths.
func escape(text string, path bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0 || path && c == '/' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}
