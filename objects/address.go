package objects

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Hosts are the names under which S3 is asked on an endpoint, in both styles:
// https://HOST/BUCKET/KEY, and https://BUCKET.HOST/KEY. Besides the names given,
// localhost and those of AWS are known, s3.amazonaws.com and s3.REGION.amazonaws.com.
type Hosts []string

// Bucket returns the bucket that a host name has in front, or empty for one that
// has none; ports do not matter. It reports false for a host that is none of S3's.
func (h Hosts) Bucket(host string) (bucket string, ok bool) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if net.ParseIP(strings.Trim(host, "[]")) != nil {
		return "", true
	}
	if m := serviceHost.FindStringSubmatch(host); m != nil {
		return strings.TrimSuffix(m[1], "."), true
	}
	if slices.ContainsFunc(h, func(own string) bool { return strings.EqualFold(own, host) }) {
		return "", true
	}
	for _, own := range append([]string{"localhost"}, h...) {
		own = strings.ToLower(own)
		if net.ParseIP(own) != nil {
			continue // no name is below an address
		}
		rest, below := strings.CutSuffix(host, own)
		switch {
		case !below || rest != "" && !strings.HasSuffix(rest, "."):
			continue
		case rest == "" || rest == "s3.":
			return "", true
		}
		rest = strings.TrimSuffix(rest, ".")
		if front, ok := strings.CutSuffix(rest, ".s3"); ok {
			rest = front
		}
		return rest, true
	}
	return "", false
}

// serviceHost is a name of S3's own: s3.amazonaws.com, with a region or not, and
// the same below localhost, where there is no other than S3's.
var serviceHost = regexp.MustCompile(`^((?:[a-z0-9][a-z0-9.-]*\.)??)s3(?:[.-](?:dualstack\.)?[a-z]{2}(?:-[a-z]+)+-\d|-external-1|\.dualstack\.[a-z]{2}(?:-[a-z]+)+-\d)?\.(?:amazonaws\.com(?:\.cn)?|localhost)$`)

// Location is an object that a URL names.
type Location struct {
	Bucket  string
	Key     string
	Version string // empty is the latest
}

// ParseURL returns the object that an http or https URL names at AWS's S3 or at
// the endpoint of these hosts, in either style, or an s3:// URL. It reports false
// for a URL of anything else, and for one without a key.
func (h Hosts) ParseURL(text string) (Location, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return Location{}, false
	}
	var at Location
	path := strings.TrimPrefix(u.Path, "/")
	switch u.Scheme {
	case "s3":
		at.Bucket, at.Key = u.Host, path
	case "http", "https":
		bucket, ok := h.Bucket(u.Host)
		if !ok {
			return Location{}, false
		}
		if at.Bucket, at.Key = bucket, path; bucket == "" {
			at.Bucket, at.Key, _ = strings.Cut(path, "/")
		}
	default:
		return Location{}, false
	}
	at.Version = u.Query().Get("versionId")
	return at, at.Bucket != "" && at.Key != ""
}
