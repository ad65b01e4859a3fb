package identity

import (
	"bufio"
	"encoding/hex"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// vector is a request of AWS's published signing test suite.
type vector struct {
	name, how      string
	method, target string
	headers        []string // a folded one has its line ends in it
	body, token    string
	header, query  string // signatures
}

func vectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/sigv4.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 9 {
			t.Fatalf("testdata/sigv4.tsv: %d columns in %q; want 9", len(f), line)
		}
		v := vector{name: f[0], how: f[1], method: f[2], target: f[3], body: f[5], token: f[6], header: f[7], query: f[8]}
		for h := range strings.SplitSeq(f[4], `\n`) {
			switch {
			case strings.HasPrefix(h, " "):
				v.headers[len(v.headers)-1] += "\r\n" + h
			case h != "":
				v.headers = append(v.headers, h)
			}
		}
		all = append(all, v)
	}
	if len(all) != 38 {
		t.Fatalf("testdata/sigv4.tsv has %d requests; want 38", len(all))
	}
	return all
}

// signed lists the names of the signed headers.
func (v vector) signed(more ...string) string {
	names := append(more, "host")
	for _, h := range v.headers {
		name, _, _ := strings.Cut(h, ":")
		names = append(names, strings.ToLower(name))
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ";")
}

const vectorScope = "20150830/us-east-1/service"

// inHeader is the request as it is sent with an Authorization header.
func (v vector) inHeader() string {
	head := append([]string{v.method + " " + v.target + " HTTP/1.1", "Host: example.amazonaws.com", "X-Amz-Date: 20150830T123600Z"}, v.headers...)
	names := []string{"x-amz-date"}
	if v.how == "hash" {
		sum := sha(v.body)
		head = append(head, "X-Amz-Content-Sha256: "+hex.EncodeToString(sum[:]))
		names = append(names, "x-amz-content-sha256")
	}
	if v.token != "" {
		head = append(head, "X-Amz-Security-Token: "+v.token)
	}
	if v.how == "token" {
		names = append(names, "x-amz-security-token")
	}
	return lines(append(head, docAuth(vectorScope, v.signed(names...), v.header))...) + v.body
}

// presigned is the request as it is sent without headers of its own.
func (v vector) presigned() string {
	q := "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + url.QueryEscape(docKey.ID+"/"+vectorScope+"/aws4_request") +
		"&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=" + url.QueryEscape(v.signed()) + "&X-Amz-Expires=3600"
	if v.token != "" {
		q += "&X-Amz-Security-Token=" + url.QueryEscape(v.token)
	}
	join := "?"
	if strings.Contains(v.target, "?") {
		join = "&"
	}
	head := append([]string{v.method + " " + v.target + join + q + "&X-Amz-Signature=" + v.query + " HTTP/1.1", "Host: example.amazonaws.com"}, v.headers...)
	return lines(head...) + v.body
}

// readVector reads a request as the server does, but for a space in its path,
// which HTTP does not have and AWS's suite does.
func readVector(text string) (*http.Request, bool) {
	first, rest, _ := strings.Cut(text, "\r\n")
	method, target, _ := strings.Cut(first, " ")
	target, http11 := strings.CutSuffix(target, " HTTP/1.1")
	spaced := http11 && strings.Contains(target, " ")
	if spaced {
		text = method + " " + strings.ReplaceAll(target, " ", "%20") + " HTTP/1.1\r\n" + rest
	}
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		return nil, false
	}
	if spaced {
		req.RequestURI = target
	}
	return req, true
}

// TestPublishedVectors has AWS's own requests accepted, and none of them with
// any one character changed.
func TestPublishedVectors(t *testing.T) {
	t.Parallel()
	s := startService(t)
	v := NewVerifier(fakeKeys{docKey.ID: docKey}, func() time.Time { return testNow }).AcceptSessions(s.Sessions, s.Principals)
	session := docKey
	session.Session = &Session{Issued: testNow, Expires: testNow.Add(time.Hour)}
	ask := func(text string) (answer string, ok bool) {
		req, ok := readVector(text)
		if !ok {
			return "", false
		}
		_, _, err := verify(v, req)
		return refusal(err), true
	}
	for k, c := range vectors(t) {
		for form, text := range map[string]string{"header": c.inHeader(), "query": c.presigned()} {
			if c.token != "" {
				s.Sessions.opened[c.token] = session // AWS's, so we could not have opened it
			}
			want := "accepted"
			switch {
			case c.how == "as-is" && cleanPath(c.target) != c.target:
				// Only S3 signs a path that is not cleaned; the suite's service is another.
				want = "InvalidSignatureException"
				wantUncleaned(t, c, form, text)
			case c.how == "token-after":
				// Services to which the token is added unsigned are none of ours; the rest of
				// the request is signed right.
				want = "InvalidSignatureException"
				without := c
				without.token = ""
				bare := without.inHeader()
				if form == "query" {
					bare = without.presigned()
				}
				if got, _ := ask(bare); got != "accepted" {
					t.Errorf("%s, %s, without the token: %s; want accepted", c.name, form, got)
				}
			}
			if got, _ := ask(text); got != want {
				t.Errorf("%s, %s: %s; want %s\n%s", c.name, form, got, want, text)
				continue
			}
			if want != "accepted" {
				continue
			}
			for i := range len(text) {
				b := [...]byte{text[i] ^ 1, text[i] ^ 0x20, 'x'}[(i+k)%3] // most requests have the same bytes
				changed := text[:i] + string(b) + text[i+1:]
				if b == text[i] || sameToAWS(text, changed) {
					continue
				}
				if got, ok := ask(changed); ok && got == "accepted" {
					t.Errorf("%s, %s: accepted with byte %d changed to %q\n%s", c.name, form, i, b, changed)
				}
			}
		}
	}
}

var escape = regexp.MustCompile("%[0-9A-Fa-f]{2}")

// sameToAWS reports whether a change is none: in the capitals of a header's name
// or of an escape in the query, in a part of the path that cleaning removes, or
// in HTTP's version.
func sameToAWS(a, b string) bool {
	plain := func(text string) string {
		head, body, _ := strings.Cut(text, "\r\n\r\n")
		l := strings.Split(head, "\r\n")
		path, query, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(l[0], "GET "), "POST "), "?")
		path, _, _ = strings.Cut(path, " HTTP/")
		query, _, _ = strings.Cut(query, " HTTP/")
		l[0] = l[0][:min(4, len(l[0]))] + cleanPath(path) + "?" + escape.ReplaceAllStringFunc(query, strings.ToUpper)
		for i := range l[1:] {
			name, value, _ := strings.Cut(l[i+1], ":")
			l[i+1] = strings.ToLower(name) + ":" + value
		}
		return strings.Join(l, "\r\n") + "\r\n\r\n" + body
	}
	return plain(a) == plain(b)
}

// wantUncleaned compares the signature of a request whose path is signed as S3
// has it.
func wantUncleaned(t *testing.T, c vector, form, text string) {
	t.Helper()
	req, _ := readVector(text)
	var a authorization
	if err := a.read(req); err != nil {
		t.Fatal(err)
	}
	key := newSigningKey(docKey, &a)
	a.service = "s3" // for the path only: the key and the scope are the suite's
	var s scratch
	if wrong := s.canonical(req, &a); wrong != "" {
		t.Fatal(wrong)
	}
	claim := claim{v: verifierAt(testNow), a: a, key: key}
	if err := claim.prove(s.text, emptyText); err != nil {
		t.Errorf("%s, %s, as S3 has paths: %v", c.name, form, err)
	}
}

// TestPathsAreEncodedTwice: the suite has its paths decoded. On the wire they
// are encoded, and the services other than S3 sign that once more.
func TestPathsAreEncodedTwice(t *testing.T) {
	t.Parallel()
	for _, c := range vectors(t) {
		if c.name != "get-space-normalized" {
			continue
		}
		c.target = strings.ReplaceAll(c.target, " ", "%20")
		if _, _, err := verify(verifierAt(testNow), parse(t, c.inHeader())); refusal(err) != "InvalidSignatureException" {
			t.Errorf("a path encoded once: %v; want InvalidSignatureException", err)
		}
		return
	}
	t.Error("no get-space-normalized in the suite")
}
