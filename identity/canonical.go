package identity

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	upperHex = "0123456789ABCDEF"
	// maxSigned bounds the work that a stranger's list of headers makes.
	maxSigned = 256
)

// scratch is the memory of one canonical request, used again for the next.
type scratch struct {
	text  []byte // the canonical request
	query []byte // the query's parts, encoded
	pairs []pair
	name  []byte // of a header, in net/http's spelling
}

// pair is one query parameter: offsets into scratch.query.
type pair struct{ key, value, end int }

var scratches = sync.Pool{New: func() any { return &scratch{text: make([]byte, 0, 2048)} }}

// release returns s for the next request, unless this one made it huge.
func (s *scratch) release() {
	if cap(s.text)+cap(s.query) > 64<<10 {
		return
	}
	scratches.Put(s)
}

// canonical writes the canonical request but its last line, the payload's hash,
// into s.text. It reports what is wrong with the headers, or empty.
func (s *scratch) canonical(req *http.Request, a *authorization) (wrong string) {
	s.text = append(s.text[:0], req.Method...)
	s.text = append(s.text, '\n')
	s.path(requestPath(req), a.service == "s3")
	s.text = append(s.text, '\n')
	s.canonicalQuery(req.URL.RawQuery, a.presigned)
	s.text = append(s.text, '\n')
	if wrong = s.headers(req, a.signedHeaders); wrong != "" {
		return wrong
	}
	s.text = append(s.text, '\n')
	s.text = append(s.text, a.signedHeaders...)
	s.text = append(s.text, '\n')
	return ""
}

// requestPath returns the path as it arrived. Go's URL has decoded it, and
// encoding it again would not give back what the client signed.
func requestPath(req *http.Request) string {
	target := req.RequestURI
	if !strings.HasPrefix(target, "/") {
		if req.URL.Opaque != "" {
			return "/"
		}
		target = req.URL.EscapedPath()
	}
	target, _, _ = strings.Cut(target, "?")
	if target == "" {
		return "/"
	}
	return target
}

// path writes the canonical path. Services other than S3 sign the path as sent,
// cleaned and encoded once more; S3 signs the key encoded once.
func (s *scratch) path(raw string, s3 bool) {
	if !s3 {
		s.text = appendEncoded(s.text, cleanPath(raw), true)
		return
	}
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '%' && i+2 < len(raw) {
			if hi, lo := fromHex(raw[i+1]), fromHex(raw[i+2]); hi < 16 && lo < 16 {
				c = hi<<4 | lo
				i += 2
			}
		}
		if c == '/' || unreserved[c] {
			s.text = append(s.text, c)
			continue
		}
		s.text = append(s.text, '%', upperHex[c>>4], upperHex[c&15])
	}
}

// cleanPath removes dot segments and repeated slashes, as AWS does before it
// verifies. The usual path comes back as it is.
func cleanPath(raw string) string {
	if !strings.Contains(raw, "//") && !strings.Contains(raw, "/.") {
		return raw
	}
	var kept []string
	for part := range strings.SplitSeq(raw, "/") {
		switch part {
		case "", ".":
		case "..":
			if len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
		default:
			kept = append(kept, part)
		}
	}
	path := "/" + strings.Join(kept, "/")
	if strings.HasSuffix(raw, "/") && len(kept) > 0 {
		path += "/"
	}
	return path
}

// straighten makes the request's path the one that was signed, so that nothing
// is routed that the signature does not name.
func straighten(req *http.Request, service string) {
	raw := requestPath(req)
	clean := cleanPath(raw)
	if service == "s3" || clean == raw {
		return
	}
	u, err := url.ParseRequestURI(clean)
	if err != nil {
		return
	}
	u.RawQuery = req.URL.RawQuery
	req.URL.Path, req.URL.RawPath = u.Path, u.RawPath
	req.RequestURI = u.RequestURI()
}

// canonicalQuery writes the parameters, each decoded and encoded AWS's way, and
// sorted. The signature of a presigned request is not one of them.
func (s *scratch) canonicalQuery(raw string, presigned bool) {
	if raw == "" {
		return
	}
	s.query, s.pairs = s.query[:0], s.pairs[:0]
	for raw != "" {
		var part string
		part, raw, _ = strings.Cut(raw, "&")
		if part == "" || presigned && strings.HasPrefix(part, "X-Amz-Signature=") {
			continue
		}
		key, value, _ := strings.Cut(part, "=")
		p := pair{key: len(s.query)}
		s.query = appendRecoded(s.query, key)
		p.value = len(s.query)
		s.query = appendRecoded(s.query, value)
		p.end = len(s.query)
		s.pairs = append(s.pairs, p)
	}
	if len(s.pairs) > 1 {
		slices.SortFunc(s.pairs, func(a, b pair) int {
			if c := slices.Compare(s.query[a.key:a.value], s.query[b.key:b.value]); c != 0 {
				return c
			}
			return slices.Compare(s.query[a.value:a.end], s.query[b.value:b.end])
		})
	}
	for i, p := range s.pairs {
		if i > 0 {
			s.text = append(s.text, '&')
		}
		s.text = append(s.text, s.query[p.key:p.value]...)
		s.text = append(s.text, '=')
		s.text = append(s.text, s.query[p.value:p.end]...)
	}
}

// headers writes the signed headers and reports what is wrong with them. Host
// and every X-Amz- header of the request have to be among them.
func (s *scratch) headers(req *http.Request, signed string) (wrong string) {
	var last string
	host, amz, count := false, 0, 0
	for rest := signed; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, ";")
		count++
		if name <= last || count > maxSigned { // neither sorted nor once
			return mismatch
		}
		last = name
		s.text = append(s.text, name...)
		s.text = append(s.text, ':')
		if name == "host" {
			host = true
			s.text = appendTrimmed(s.text, req.Host)
			s.text = append(s.text, '\n')
			continue
		}
		if !s.spell(name) {
			return mismatch
		}
		values, ok := req.Header[string(s.name)]
		switch {
		case ok:
			for i, v := range values {
				if i > 0 {
					s.text = append(s.text, ',')
				}
				s.text = appendTrimmed(s.text, v)
			}
			if strings.HasPrefix(name, "x-amz-") {
				amz++
			}
		case name == "content-length" && req.ContentLength >= 0:
			s.text = strconv.AppendInt(s.text, req.ContentLength, 10)
		case name == "transfer-encoding" && len(req.TransferEncoding) > 0:
			s.text = append(s.text, strings.Join(req.TransferEncoding, ",")...)
		default:
			return mismatch // signed, but not there
		}
		s.text = append(s.text, '\n')
	}
	if !host {
		return "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
	}
	for name := range req.Header {
		if strings.HasPrefix(name, "X-Amz-") {
			amz--
		}
	}
	if amz < 0 {
		return "There were headers present in the request which were not signed"
	}
	return ""
}

// spell puts the name into net/http's spelling: X-Amz-Date. It reports false for
// a name that is not lower case.
func (s *scratch) spell(name string) bool {
	s.name = s.name[:0]
	first := true
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' || c <= ' ' || c >= 0x7f {
			return false
		}
		if first && c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		first = c == '-'
		s.name = append(s.name, c)
	}
	return true
}

// appendTrimmed appends a header's value without outer white space and with
// each inner run of it as one space.
func appendTrimmed(dst []byte, v string) []byte {
	space := false
	start := len(dst)
	for i := range len(v) {
		switch c := v[i]; c {
		case ' ', '\t', '\n', '\v', '\f', '\r':
			space = true
		default:
			if space && len(dst) > start {
				dst = append(dst, ' ')
			}
			space = false
			dst = append(dst, c)
		}
	}
	return dst
}

// unreserved are the bytes that AWS never encodes.
var unreserved = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") {
		t[c] = true
	}
	return t
}()

func appendEncoded(dst []byte, v string, path bool) []byte {
	for i := range len(v) {
		c := v[i]
		if unreserved[c] || path && c == '/' {
			dst = append(dst, c)
			continue
		}
		dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
	}
	return dst
}

// appendRecoded decodes part of a query, where a plus is a space, and appends it
// encoded AWS's way.
func appendRecoded(dst []byte, v string) []byte {
	for i := 0; i < len(v); i++ {
		c := v[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(v):
			if hi, lo := fromHex(v[i+1]), fromHex(v[i+2]); hi < 16 && lo < 16 {
				c = hi<<4 | lo
				i += 2
			}
		}
		if unreserved[c] {
			dst = append(dst, c)
			continue
		}
		dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
	}
	return dst
}

// fromHex returns a digit's value, or more than 15.
func fromHex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
