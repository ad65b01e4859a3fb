package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina/wire"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	stampForm  = "20060102T150405Z"
)

// authorization is what a request claims: who signed which headers when.
type authorization struct {
	credential string // keyID/date/region/service/aws4_request
	keyID      string
	date       string
	region     string
	service    string

	signedHeaders string // as sent: lower case, separated by semicolons
	signature     [sha256.Size]byte
	legible       bool // the signature is hexadecimal of the right length

	stamp     string // the signing time in the form of stampForm
	signed    time.Time
	presigned bool
	expires   time.Duration // of a presigned request
	payload   string        // X-Amz-Content-Sha256 of a presigned request's query
}

// scope is the credential without the key: date/region/service/aws4_request.
func (a *authorization) scope() string { return a.credential[len(a.keyID)+1:] }

// read parses the claim of a request. Every error is an exception.
func (a *authorization) read(req *http.Request) error {
	headers := req.Header["Authorization"]
	presigned := strings.Contains(req.URL.RawQuery, "X-Amz-Signature=") || strings.Contains(req.URL.RawQuery, "X-Amz-Algorithm=")
	switch {
	case len(headers) > 1 || len(headers) == 1 && presigned:
		return wire.IncompleteSignature.New("Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or one Authorization header should be specified")
	case len(headers) == 1 && strings.TrimSpace(headers[0]) != "":
		return a.readHeader(headers[0], req.Header)
	case presigned:
		return a.readQuery(req.URL.RawQuery)
	}
	return wire.MissingAuthenticationToken.New("Missing Authentication Token")
}

// readHeader parses an Authorization header, with or without spaces after its
// commas.
func (a *authorization) readHeader(value string, h http.Header) error {
	value = strings.TrimSpace(value)
	name, rest, _ := strings.Cut(value, " ")
	if strings.HasPrefix(name, "AWS4-") && name != algorithm {
		return wire.IncompleteSignature.Errorf("Unsupported AWS 'algorithm': '%s'.", name)
	}
	if name != algorithm {
		rest = value
	}
	var credential, signature, signedHeaders string
	for rest != "" {
		var pair string
		pair, rest, _ = strings.Cut(rest, ",")
		pair = strings.TrimSpace(pair)
		if pair == "" {
			continue
		}
		key, v, ok := strings.Cut(pair, "=")
		if !ok {
			return wire.IncompleteSignature.Errorf("Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): '%s'.", fingerprint(value))
		}
		var to *string
		switch key {
		case "Credential":
			to = &credential
		case "Signature":
			to = &signature
		case "SignedHeaders":
			to = &signedHeaders
		default:
			continue
		}
		if *to != "" {
			return wire.IncompleteSignature.Errorf("Authorization header requires one '%s' parameter. (Hashed with SHA-256 and encoded with Base64) Authorization=%s", key, fingerprint(value))
		}
		*to = v
	}
	stamp, ok := headerDate(h)
	if credential == "" || signature == "" || signedHeaders == "" || !ok {
		var b strings.Builder
		if credential == "" {
			b.WriteString("Authorization header requires 'Credential' parameter. ")
		}
		if signature == "" {
			b.WriteString("Authorization header requires 'Signature' parameter. ")
		}
		if signedHeaders == "" {
			b.WriteString("Authorization header requires 'SignedHeaders' parameter. ")
		}
		if !ok {
			b.WriteString("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
		}
		return wire.IncompleteSignature.New(b.String() + "(Hashed with SHA-256 and encoded with Base64) Authorization=" + fingerprint(value))
	}
	a.signedHeaders = signedHeaders
	a.readSignature(signature)
	return a.readScope(credential, stamp)
}

// fingerprint stands for an Authorization header in an answer, as AWS's does.
func fingerprint(value string) string {
	sum := sha256.Sum256([]byte(value))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// headerDate finds the signing time: X-Amz-Date, or else Date in either form.
func headerDate(h http.Header) (string, bool) {
	if v := h["X-Amz-Date"]; len(v) > 0 {
		return strings.TrimSpace(v[0]), len(v) == 1
	}
	v := h["Date"]
	if len(v) != 1 {
		return "", false
	}
	if t, err := http.ParseTime(v[0]); err == nil {
		return t.UTC().Format(stampForm), true
	}
	if t, err := time.Parse(time.RFC1123Z, v[0]); err == nil { // botocore writes -0000 for GMT
		return t.UTC().Format(stampForm), true
	}
	return strings.TrimSpace(v[0]), true
}

// maxPresign is the longest life of a presigned request, presignLife that of one
// that does not say.
const (
	maxPresign  = 7 * 24 * time.Hour
	presignLife = 15 * time.Minute
)

func (a *authorization) readQuery(raw string) error {
	a.presigned, a.expires = true, presignLife
	var names, credential, signature, signedHeaders, stamp, expires string
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		key, v, _ := strings.Cut(pair, "=")
		var to *string
		switch key {
		case "X-Amz-Algorithm":
			to = &names
		case "X-Amz-Credential":
			to = &credential
		case "X-Amz-Signature":
			to = &signature
		case "X-Amz-SignedHeaders":
			to = &signedHeaders
		case "X-Amz-Date":
			to = &stamp
		case "X-Amz-Expires":
			to = &expires
		case "X-Amz-Content-Sha256":
			to = &a.payload
		default:
			continue
		}
		text, err := url.QueryUnescape(v)
		if err != nil || *to != "" || text == "" {
			return wire.IncompleteSignature.Errorf("AWS query-string parameters must include one legible '%s'.", key)
		}
		*to = text
	}
	for _, p := range [...]struct{ name, value string }{
		{"X-Amz-Algorithm", names},
		{"X-Amz-Credential", credential},
		{"X-Amz-Signature", signature},
		{"X-Amz-SignedHeaders", signedHeaders},
		{"X-Amz-Date", stamp},
	} {
		if p.value == "" {
			return wire.IncompleteSignature.Errorf("AWS query-string parameters must include '%s'.", p.name)
		}
	}
	if names != algorithm {
		return wire.IncompleteSignature.Errorf("Unsupported AWS 'algorithm': '%s'.", names)
	}
	if expires != "" {
		seconds, err := strconv.ParseUint(expires, 10, 32)
		a.expires = time.Duration(seconds) * time.Second
		if err != nil || a.expires > maxPresign {
			return wire.IncompleteSignature.New("X-Amz-Expires must be a number of seconds less than a week; that is, the given X-Amz-Expires must be less than 604800 seconds")
		}
	}
	a.signedHeaders = signedHeaders
	a.readSignature(signature)
	return a.readScope(credential, stamp)
}

// readSignature decodes the signature. An illegible one is wrong, not malformed,
// so that it takes the way of every wrong one.
func (a *authorization) readSignature(s string) {
	if len(s) != hex.EncodedLen(sha256.Size) {
		return
	}
	var text [2 * sha256.Size]byte
	copy(text[:], s)
	_, err := hex.Decode(a.signature[:], text[:])
	a.legible = err == nil && strings.ToLower(s) == s
}

// readScope parses the credential and the signing time, which must agree.
func (a *authorization) readScope(credential, stamp string) error {
	rest, n := credential, strings.Count(credential, "/")
	if n != 4 || credential[0] == '/' {
		return wire.IncompleteSignature.Errorf("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", printable(credential))
	}
	var term string
	a.credential = credential
	a.keyID, rest, _ = strings.Cut(rest, "/")
	a.date, rest, _ = strings.Cut(rest, "/")
	a.region, rest, _ = strings.Cut(rest, "/")
	a.service, term, _ = strings.Cut(rest, "/")
	signed, ok := parseStamp(stamp)
	switch {
	case !ok:
		return wire.IncompleteSignature.Errorf("Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", printable(stamp))
	case term != terminator:
		return wire.InvalidSignature.Errorf("Credential should be scoped with a valid terminator: '%s', not '%s'.", terminator, printable(term))
	case a.date != stamp[:8]:
		return wire.InvalidSignature.Errorf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", printable(a.date), stamp[:8], stamp)
	case !isRegion(a.region):
		return wire.InvalidSignature.Errorf("Credential should be scoped to a valid region, not '%s'. ", printable(a.region))
	case !isService(a.service):
		return wire.InvalidSignature.Errorf("Credential should be scoped to correct service: '%s'. ", "lambda")
	}
	a.stamp, a.signed = stamp, signed
	return nil
}

// check says whether the request was signed at a time that still counts.
func (a *authorization) check(now time.Time) error {
	now = now.UTC()
	if latest := now.Add(maxSkew); a.signed.After(latest) {
		return wire.InvalidSignature.Errorf("Signature not yet current: %s is still later than %s (%s + 15 min.)", a.stamp, latest.Format(stampForm), now.Format(stampForm))
	}
	if a.presigned {
		if end := a.signed.Add(a.expires); now.After(end) {
			return wire.InvalidSignature.Errorf("Signature expired: %s is now earlier than %s", end.Format(stampForm), now.Format(stampForm))
		}
		return nil
	}
	if earliest := now.Add(-maxSkew); a.signed.Before(earliest.Truncate(time.Second)) {
		return wire.InvalidSignature.Errorf("Signature expired: %s is now earlier than %s (%s - 15 min.)", a.stamp, earliest.Format(stampForm), now.Format(stampForm))
	}
	return nil
}

const maxSkew = 15 * time.Minute

// parseStamp reads 20060102T150405Z. It is time.Parse without its generality:
// every request comes through here.
func parseStamp(s string) (time.Time, bool) {
	if len(s) != len(stampForm) || s[8] != 'T' || s[15] != 'Z' {
		return time.Time{}, false
	}
	for i := range 15 {
		if i != 8 && (s[i] < '0' || s[i] > '9') {
			return time.Time{}, false
		}
	}
	two := func(i int) int { return int(s[i]-'0')*10 + int(s[i+1]-'0') }
	year, month, day := two(0)*100+two(2), time.Month(two(4)), two(6)
	hour, minute, second := two(9), two(11), two(13)
	t := time.Date(year, month, day, hour, minute, second, 0, time.UTC)
	// time.Date carries what overflows; a date that does not come back is none.
	ok := t.Month() == month && t.Day() == day && hour < 24 && minute < 60 && second < 60
	return t, ok
}

// isRegion reports whether s has the form of a region. There is no list: one
// server serves every region, and an invented one works as well.
func isRegion(s string) bool {
	s = strings.TrimPrefix(s, "eusc-")
	area, rest, ok := strings.Cut(s, "-")
	if !ok || len(area) != 2 || !isLower(area) || len(rest) > 32 || len(rest) < 3 {
		return false
	}
	place, digit := rest[:len(rest)-2], rest[len(rest)-2:]
	if digit[0] != '-' || digit[1] < '0' || digit[1] > '9' {
		return false
	}
	if group, p, ok := strings.Cut(place, "-"); ok {
		if group != "gov" && (!strings.HasPrefix(group, "iso") || len(group) > 4) {
			return false
		}
		return isLower(group) && isLower(p)
	}
	return isLower(place)
}

func isLower(s string) bool {
	for i := range len(s) {
		if s[i] < 'a' || s[i] > 'z' {
			return false
		}
	}
	return s != ""
}

// isService reports whether s has the form of a signing name.
func isService(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// printable bounds and cleans what a client sent before it is sent back.
func printable(s string) string {
	const most = 256
	if len(s) > most {
		s = s[:most]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
