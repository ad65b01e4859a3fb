package identity

import (
	"bytes"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// envelope is a request in parts that can be changed one by one.
type envelope struct {
	method string
	path   []string
	query  [][2]string // as sent, encoded
	header [][2]string
	body   string
}

func open(t *testing.T, text string) envelope {
	t.Helper()
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	l := strings.Split(head, "\r\n")
	first := strings.Split(l[0], " ")
	path, query, _ := strings.Cut(first[1], "?")
	e := envelope{method: first[0], path: strings.Split(path, "/"), body: body}
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		e.query = append(e.query, [2]string{name, value})
	}
	for _, h := range l[1:] {
		name, value, _ := strings.Cut(h, ": ")
		e.header = append(e.header, [2]string{name, value})
	}
	if e.seal() != text {
		t.Fatalf("the envelope loses something:\n%s\nof\n%s", e.seal(), text)
	}
	return e
}

func (e envelope) seal() string {
	var query []string
	for _, q := range e.query {
		query = append(query, q[0]+"="+q[1])
	}
	head := []string{e.method + " " + strings.Join(e.path, "/") + "?" + strings.Join(query, "&") + " HTTP/1.1"}
	for _, h := range e.header {
		head = append(head, h[0]+": "+h[1])
	}
	return lines(head...) + e.body
}

func (e envelope) clone() envelope {
	e.path, e.query, e.header = slices.Clone(e.path), slices.Clone(e.query), slices.Clone(e.header)
	return e
}

// changes are all ways to alter one part of a request, by what it is that changed.
func (e envelope) changes() map[string]envelope {
	all := map[string]envelope{}
	add := func(what string, change func(*envelope)) {
		c := e.clone()
		change(&c)
		all[what] = c
	}
	add("the method", func(c *envelope) { c.method = "PUT" })
	add("the body", func(c *envelope) { c.body = strings.Replace(c.body, "v", "w", 1) })
	add("a path part added", func(c *envelope) { c.path = append(c.path, "x") })
	for i := range e.path[1:] {
		add("path part "+e.path[i+1], func(c *envelope) { c.path[i+1] += "x" })
		add("path part left out: "+e.path[i+1], func(c *envelope) { c.path = slices.Delete(c.path, i+1, i+2) })
	}
	add("a parameter added", func(c *envelope) { c.query = append(c.query, [2]string{"added", ""}) })
	for i, q := range e.query {
		add("the name of parameter "+q[0]+"="+q[1], func(c *envelope) { c.query[i][0] += "x" })
		add("the value of parameter "+q[0]+"="+q[1], func(c *envelope) { c.query[i][1] += "0" })
		add("parameter left out: "+q[0]+"="+q[1], func(c *envelope) { c.query = slices.Delete(c.query, i, i+1) })
		add("parameter twice: "+q[0]+"="+q[1], func(c *envelope) { c.query = append(c.query, q) })
	}
	add("an X-Amz header added", func(c *envelope) { c.header = append(c.header, [2]string{"X-Amz-Added", "x"}) })
	for i, h := range e.header {
		if h[0] == "User-Agent" {
			continue // nobody signs it
		}
		add("the name of header "+h[0], func(c *envelope) { c.header[i][0] += "x" })
		add("header left out: "+h[0], func(c *envelope) { c.header = slices.Delete(c.header, i, i+1) })
		switch h[0] {
		case "Content-Length": // twice the same is once to HTTP
			add("the value of header "+h[0], func(c *envelope) { c.header[i][1] = "1" })
			continue
		case "Authorization":
		default:
			add("the value of header "+h[0], func(c *envelope) { c.header[i][1] += "0" })
		}
		add("header twice: "+h[0], func(c *envelope) { c.header = append(c.header, h) })
	}
	return all
}

// TestEachSignedPart changes whatever a signature covers, part by part, of a
// request with a session token: in headers, and presigned.
func TestEachSignedPart(t *testing.T) {
	t.Parallel()
	s := startService(t)
	arn, _ := s.role(t, "app", "/", 3600)
	role, err := s.Principals.Role(t.Context(), *arn)
	if err != nil {
		t.Fatal(err)
	}
	assume := func() TemporaryCredentials {
		made, err := s.Sessions.Assume(role, Session{Name: "sess", Issued: testNow, Expires: testNow.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	mine, other := assume(), assume()
	v := NewVerifier(fakeKeys{}, func() time.Time { return testNow }).AcceptSessions(s.Sessions, s.Principals)
	creds := aws.Credentials{AccessKeyID: mine.AccessKeyID, SecretAccessKey: mine.SecretAccessKey, SessionToken: mine.SessionToken}
	const body = `{"k":"v"}`
	request := func() *http.Request {
		req, err := http.NewRequest("POST", "http://lamina.test:9000/2015-03-31/functions/arn%3Aaws%3Alambda/invocations?Qualifier=%24LATEST&b=1&b=2", strings.NewReader(body)) //nolint:noctx // never sent
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Invocation-Type", "Event")
		req.Header.Set("Content-Type", "application/json")
		return req
	}
	write := func(req *http.Request) string {
		var out bytes.Buffer
		if err := req.Write(&out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	sum := sha(body)
	hash := hex.EncodeToString(sum[:])
	inHeaders := request()
	inHeaders.Header.Set(contentHash, hash)
	if err := v4.NewSigner().SignHTTP(t.Context(), creds, inHeaders, hash, "lambda", testRegion, testNow); err != nil {
		t.Fatal(err)
	}
	inQuery := request()
	target, signed, err := v4.NewSigner().PresignHTTP(t.Context(), creds, inQuery, hash, "lambda", testRegion, testNow)
	if err != nil {
		t.Fatal(err)
	}
	if inQuery.URL, err = url.Parse(target); err != nil {
		t.Fatal(err)
	}
	inQuery.Header = signed
	if inQuery.Header.Get("X-Amz-Security-Token") != "" {
		t.Fatal("the presigned request has its token in a header")
	}

	for form, text := range map[string]string{"header": write(inHeaders), "query": write(inQuery)} {
		ask := func(text string) string {
			req, ok := readVector(text)
			if !ok {
				return "not HTTP"
			}
			_, _, err := verify(v, req)
			return refusal(err)
		}
		if got := ask(text); got != "accepted" {
			t.Fatalf("%s: %s; want accepted\n%s", form, got, text)
		}
		e := open(t, text)
		all := e.changes()
		swap := func(what, old, with string) {
			changed := strings.ReplaceAll(text, old, with)
			if changed == text {
				t.Fatalf("%s: no %q in\n%s", form, old, text)
			}
			all[what] = open(t, changed)
		}
		escape := func(s string) string {
			if form == "query" {
				return url.QueryEscape(s)
			}
			return s
		}
		swap("the key", mine.AccessKeyID, other.AccessKeyID)
		swap("the token", escape(mine.SessionToken), escape(other.SessionToken))
		both := strings.ReplaceAll(strings.ReplaceAll(text, mine.AccessKeyID, other.AccessKeyID), escape(mine.SessionToken), escape(other.SessionToken))
		all["key and token"] = open(t, both)
		swap("the scope's date", escape("/20150830/"), escape("/20150829/"))
		swap("the scope's region", escape("/eu-central-1/"), escape("/eu-west-1/"))
		swap("the scope's service", escape("/lambda/"), escape("/sts/"))
		swap("the scope's end", "aws4_request", "aws5_request")
		swap("the time", "20150830T123600Z", "20150830T123601Z")
		swap("the algorithm", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512")
		for _, name := range strings.Split(listOfSigned(t, text), ";") {
			list := strings.Split(listOfSigned(t, text), ";")
			rest := slices.DeleteFunc(slices.Clone(list), func(n string) bool { return n == name })
			swap("a signed header that is not in the list: "+name, escape(strings.Join(list, ";")), escape(strings.Join(rest, ";")))
		}
		swap("a signed header added to the list", escape(listOfSigned(t, text)), escape(listOfSigned(t, text)+";zzz"))
		if form == "header" {
			swap("the payload's hash", hash, emptyText)
			swap("a payload said not to be signed", hash, unsignedPayload)
		}
		if len(all) < 50 {
			t.Errorf("%s: %d changes; want more", form, len(all))
		}
		for what, c := range all {
			if got := ask(c.seal()); got == "accepted" {
				t.Errorf("%s, %s: %s; want it refused\n%s", form, what, got, c.seal())
			}
		}
	}
}

// listOfSigned is SignedHeaders of a request in either form.
func listOfSigned(t *testing.T, text string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "SignedHeaders=")
	if !ok {
		t.Fatalf("no SignedHeaders in\n%s", text)
	}
	list, err := url.QueryUnescape(rest[:strings.IndexAny(rest, "&, \r")])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestTokensAreSigned: the services that take a session token unsigned, added
// once the rest was signed, are none of ours.
func TestTokensAreSigned(t *testing.T) {
	t.Parallel()
	s := startService(t)
	now := testNow
	key := Key{Account: testAccount}
	made, err := s.Sessions.issue(testAccount, key, Session{Issued: now, Expires: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	v := NewVerifier(fakeKeys{}, func() time.Time { return now }).AcceptSessions(s.Sessions, s.Principals)
	sign := func(token string) (header, query string) {
		creds := aws.Credentials{AccessKeyID: made.AccessKeyID, SecretAccessKey: made.SecretAccessKey, SessionToken: token}
		req, err := http.NewRequest("GET", "http://lamina.test/2015-03-31/functions?a=b", nil) //nolint:noctx // never sent
		if err != nil {
			t.Fatal(err)
		}
		target, _, err := v4.NewSigner().PresignHTTP(t.Context(), creds, req.Clone(t.Context()), emptyText, "lambda", testRegion, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := v4.NewSigner().SignHTTP(t.Context(), creds, req, emptyText, "lambda", testRegion, now); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := req.Write(&out); err != nil {
			t.Fatal(err)
		}
		return out.String(), lines("GET "+strings.TrimPrefix(target, "http://lamina.test")+" HTTP/1.1", "Host: lamina.test")
	}
	header, query := sign(made.SessionToken)
	bareHeader, bareQuery := sign("")
	for name, c := range map[string]struct{ text, want string }{
		"in a header":                       {text: header, want: "accepted"},
		"in a query":                        {text: query, want: "accepted"},
		"added to the headers":              {text: strings.Replace(bareHeader, "Host:", "X-Amz-Security-Token: "+made.SessionToken+"\r\nHost:", 1), want: "InvalidSignatureException"},
		"added to the query":                {text: strings.Replace(bareQuery, "a=b", "a=b&X-Amz-Security-Token="+url.QueryEscape(made.SessionToken), 1), want: "InvalidSignatureException"},
		"added to a presigned one's header": {text: strings.Replace(bareQuery, "Host:", "X-Amz-Security-Token: "+made.SessionToken+"\r\nHost:", 1), want: "InvalidSignatureException"},
		"left out of the headers":           {text: bareHeader, want: "UnrecognizedClientException"},
		"left out of the query":             {text: bareQuery, want: "UnrecognizedClientException"},
		"in both, one of them unsigned":     {text: strings.Replace(query, "Host:", "X-Amz-Security-Token: "+made.SessionToken+"\r\nHost:", 1), want: "InvalidSignatureException"},
		"a second one in the query":         {text: strings.Replace(query, "a=b", "a=b&X-Amz-Security-Token=x", 1), want: "InvalidSignatureException"},
	} {
		if _, _, err := verify(v, parse(t, c.text)); refusal(err) != c.want {
			t.Errorf("%s: %v; want %s", name, err, c.want)
		}
	}
}
