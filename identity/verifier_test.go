package identity

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

const (
	testAccount = "123456789012"
	testRegion  = "eu-central-1"
)

// testNow is when the documentation's examples were signed.
var (
	testNow = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	docKey  = Key{ID: "AKIDEXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", Account: testAccount}
	s3Key   = Key{ID: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", Account: testAccount}
)

// fakeKeys has the keys of its map.
type fakeKeys map[string]Key

func (f fakeKeys) AccessKey(_ context.Context, id string) (Key, error) {
	k, ok := f[id]
	if !ok {
		return Key{}, lamina.ErrNotFound
	}
	return k, nil
}

func verifierAt(now time.Time) *Verifier {
	return NewVerifier(fakeKeys{docKey.ID: docKey, s3Key.ID: s3Key}, func() time.Time { return now })
}

// parse reads a request as a server would.
func parse(t testing.TB, text string) *http.Request {
	t.Helper()
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatalf("ReadRequest: %v in\n%s", err, text)
	}
	return req
}

// verify verifies and reads the body to its end.
func verify(v *Verifier, req *http.Request) (Caller, []byte, error) {
	c, err := v.Verify(req)
	if err != nil {
		return c, nil, err
	}
	body, err := io.ReadAll(req.Body)
	return c, body, err
}

// lines joins lines as HTTP does and ends the head.
func lines(l ...string) string { return strings.Join(l, "\r\n") + "\r\n\r\n" }

// refusal returns the code of an exception, or "accepted" or the error's text.
func refusal(err error) string {
	if err == nil {
		return "accepted"
	}
	if ex, ok := errors.AsType[*wire.Exception](err); ok {
		return ex.Code()
	}
	return err.Error()
}

func docAuth(scope, signed, signature string) string {
	return "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/" + scope + "/aws4_request, SignedHeaders=" + signed + ", Signature=" + signature
}

// TestDocumented checks signatures that AWS's documentation and test suite publish.
func TestDocumented(t *testing.T) {
	const s3Auth = "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
	s3Now := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	vanilla := func(method, target, signature string) string {
		return lines(method+" "+target+" HTTP/1.1", "Host: example.amazonaws.com", "X-Amz-Date: 20150830T123600Z",
			docAuth("20150830/us-east-1/service", "host;x-amz-date", signature))
	}
	for name, c := range map[string]struct {
		now  time.Time
		text string
	}{
		"get-vanilla":                      {testNow, vanilla("GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")},
		"post-vanilla":                     {testNow, vanilla("POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b")},
		"get-vanilla-query-order-key-case": {testNow, vanilla("GET", "/?Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500")},
		"get-relative (cleaned path)":      {testNow, vanilla("GET", "/example/..", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")},
		"get-slashes (cleaned path)":       {testNow, vanilla("GET", "//", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")},
		"iam ListUsers": {testNow, lines("GET /?Action=ListUsers&Version=2010-05-08 HTTP/1.1", "Host: iam.amazonaws.com",
			"Content-Type: application/x-www-form-urlencoded; charset=utf-8", "X-Amz-Date: 20150830T123600Z",
			docAuth("20150830/us-east-1/iam", "content-type;host;x-amz-date", "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"))},
		"s3 GET with Range": {s3Now, lines("GET /test.txt HTTP/1.1", "Host: examplebucket.s3.amazonaws.com", "Range: bytes=0-9",
			"x-amz-content-sha256: "+emptyText, "x-amz-date: 20130524T000000Z",
			s3Auth+"SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")},
		"s3 PUT, date in Date": {s3Now, lines("PUT /test%24file.text HTTP/1.1", "Host: examplebucket.s3.amazonaws.com", "Content-Length: 21",
			"Date: Fri, 24 May 2013 00:00:00 GMT", "x-amz-date: 20130524T000000Z", "x-amz-storage-class: REDUCED_REDUNDANCY",
			"x-amz-content-sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
			s3Auth+"SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd") +
			"Welcome to Amazon S3."},
		"s3 presigned": {s3Now, lines("GET /test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request" +
			"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host" +
			"&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404 HTTP/1.1\r\nHost: examplebucket.s3.amazonaws.com")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _, err := verify(verifierAt(c.now), parse(t, c.text))
			if err != nil {
				t.Fatalf("Verify: %v", err)
			}
			if got.Account != testAccount || got.Region != "us-east-1" || got.ARN != "arn:aws:iam::123456789012:root" || got.UserID != testAccount {
				t.Errorf("Verify = %+v; want the root of %s in us-east-1", got, testAccount)
			}
		})
	}
}

func TestCleanedPathIsRouted(t *testing.T) {
	t.Parallel()
	req := parse(t, lines("GET /example/..//?a HTTP/1.1", "Host: example.amazonaws.com"))
	straighten(req, "lambda")
	if req.URL.Path != "/" || req.RequestURI != "/?a" {
		t.Errorf("straighten: path %q, target %q; want / and /?a", req.URL.Path, req.RequestURI)
	}
}

// signed is a request that aws-sdk-go-v2 signed, as the server parses it.
func signed(t testing.TB, method, target, body string, edit func(*http.Request), options ...func(*v4.SignerOptions)) *http.Request {
	t.Helper()
	return parse(t, signedText(t, "lambda", method, target, body, edit, options...))
}

func signedText(t testing.TB, service, method, target, body string, edit func(*http.Request), options ...func(*v4.SignerOptions)) string {
	t.Helper()
	req, err := http.NewRequest(method, "http://lamina.test:9000"+target, strings.NewReader(body)) //nolint:noctx // never sent
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(body))
	payload := hex.EncodeToString(sum[:])
	if edit != nil {
		edit(req)
	}
	if h := req.Header.Get(contentHash); h != "" {
		payload = h
	}
	creds := aws.Credentials{AccessKeyID: docKey.ID, SecretAccessKey: docKey.Secret}
	if err := v4.NewSigner().SignHTTP(t.Context(), creds, req, payload, service, testRegion, testNow, options...); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := req.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestGoSDK signs random requests with aws-sdk-go-v2's signer.
func TestGoSDK(t *testing.T) {
	t.Parallel()
	v := verifierAt(testNow)
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // repeatable on purpose
	text := func(alphabet string, most int) string {
		var b strings.Builder
		r := []rune(alphabet)
		for range rnd.IntN(most + 1) {
			b.WriteRune(r[rnd.IntN(len(r))])
		}
		return b.String()
	}
	const wild = "abcXYZ019-_.~!$&'()*+,;=:@ %/?#[]{}|\\^\"<>äß漢"
	for i := range 3000 {
		method := []string{"GET", "POST", "PUT", "DELETE", "PATCH"}[rnd.IntN(5)]
		path := "/2015-03-31/functions"
		for range rnd.IntN(3) {
			if part := text(wild, 12); part != "" && part != "." && part != ".." {
				path += "/" + url.PathEscape(part)
			}
		}
		if strings.Contains(cleanPath(path+"/x"), "..") {
			continue
		}
		if rnd.IntN(4) == 0 {
			path += "/"
		}
		query := url.Values{}
		for range rnd.IntN(5) {
			query.Add(text(wild, 6), text(wild, 10))
		}
		if q := query.Encode(); q != "" {
			path += "?" + q
		}
		body := text(wild, 40)
		req := signed(t, method, path, body, func(req *http.Request) {
			for range rnd.IntN(4) {
				req.Header.Add("X-Amz-"+text("abcdef", 5)+"x", text("abc  ,;=\"'", 14))
			}
			if rnd.IntN(2) == 0 {
				req.Header.Add("Content-Type", "application/x-amz-json-1.1; x =  \"a  b\"")
			}
			if rnd.IntN(3) == 0 {
				req.ContentLength = -1
			}
			switch rnd.IntN(4) {
			case 0:
				sum := sha256.Sum256([]byte(body))
				req.Header.Set(contentHash, hex.EncodeToString(sum[:]))
			case 1:
				req.Header.Set(contentHash, unsignedPayload)
			}
		})
		target := req.RequestURI
		caller, got, err := verify(v, req)
		if err != nil {
			t.Fatalf("case %d, %s %s: %v", i, method, target, err)
		}
		if string(got) != body || caller.Region != testRegion || caller.Service != "lambda" {
			t.Fatalf("case %d: body %q, caller %+v; want %q for lambda in %s", i, got, caller, body, testRegion)
		}
	}
}

func TestGoSDKPresigned(t *testing.T) {
	t.Parallel()
	creds := aws.Credentials{AccessKeyID: docKey.ID, SecretAccessKey: docKey.Secret}
	presign := func(t *testing.T, query string) string {
		req := httptest.NewRequest(http.MethodGet, "http://lamina.test/?"+query, nil)
		req.Header.Set("X-K8s-Aws-Id", "cluster")
		u, _, err := v4.NewSigner().PresignHTTP(t.Context(), creds, req, emptyText, "sts", testRegion, testNow)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		return parsed.RequestURI()
	}
	const get = "Action=GetCallerIdentity&Version=2011-06-15"
	request := func(target string) string {
		return lines("GET "+target+" HTTP/1.1", "Host: lamina.test", "X-K8s-Aws-Id: cluster")
	}
	hour := presign(t, get+"&X-Amz-Expires=3600")
	for name, c := range map[string]struct {
		text string
		at   time.Duration
		want string
	}{
		"fresh":                           {request(presign(t, get)), 0, "accepted"},
		"within the default of 15 min":    {request(presign(t, get)), 14 * time.Minute, "accepted"},
		"after it":                        {request(presign(t, get)), 16 * time.Minute, "InvalidSignatureException"},
		"within X-Amz-Expires":            {request(hour), 59 * time.Minute, "accepted"},
		"after X-Amz-Expires":             {request(hour), 61 * time.Minute, "InvalidSignatureException"},
		"X-Amz-Expires stretched":         {request(strings.Replace(hour, "Expires=3600", "Expires=7200", 1)), 0, "InvalidSignatureException"},
		"more than a week":                {request(presign(t, get+"&X-Amz-Expires=604801")), 0, "IncompleteSignatureException"},
		"signed in the future":            {request(hour), -16 * time.Minute, "InvalidSignatureException"},
		"another action":                  {request(strings.Replace(hour, "GetCallerIdentity", "GetSessionToken", 1)), 0, "InvalidSignatureException"},
		"an added parameter":              {request(hour + "&a=b"), 0, "InvalidSignatureException"},
		"two signatures":                  {request(hour + "&X-Amz-Signature=" + emptyText), 0, "IncompleteSignatureException"},
		"no date":                         {request(strings.Replace(hour, "X-Amz-Date", "Y-Amz-Date", 1)), 0, "IncompleteSignatureException"},
		"a session token":                 {request(hour + "&X-Amz-Security-Token=x"), 0, "UnrecognizedClientException"},
		"an Authorization header as well": {strings.Replace(request(hour), "Host:", "Authorization: AWS4-HMAC-SHA256 x=y\r\nHost:", 1), 0, "IncompleteSignatureException"},
		"a signed header left out":        {strings.Replace(request(hour), "X-K8s-Aws-Id: cluster\r\n", "", 1), 0, "InvalidSignatureException"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := verify(verifierAt(testNow.Add(c.at)), parse(t, c.text))
			if got := refusal(err); got != c.want {
				t.Errorf("Verify = %s (%v); want %s", got, err, c.want)
			}
		})
	}
}

// TestTampered changes each thing that a signature covers.
func TestTampered(t *testing.T) {
	t.Parallel()
	const target = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-central-1%3A123456789012%3Afunction%3Aa/invocations?Qualifier=%24LATEST&b=1&b=2"
	text := signedText(t, "lambda", "POST", target, `{"k":"v"}`, func(r *http.Request) {
		r.Header.Set("X-Amz-Invocation-Type", "Event")
		r.Header.Set("Content-Type", "application/json")
	})
	swap := func(old, with string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				t.Fatalf("no %q in\n%s", old, s)
			}
			return strings.Replace(s, old, with, 1)
		}
	}
	const invalid = "InvalidSignatureException"
	for name, c := range map[string]struct {
		edit func(string) string
		want string
	}{
		"nothing":                       {func(s string) string { return s }, "accepted"},
		"nothing but User-Agent":        {swap("User-Agent: ", "User-Agent: x"), "accepted"},
		"repeated keys the other way":   {swap("b=1&b=2", "b=2&b=1"), "accepted"},
		"white space of a header":       {swap("X-Amz-Invocation-Type: Event", "X-Amz-Invocation-Type:    Event  "), "accepted"},
		"no space after commas":         {func(s string) string { return strings.ReplaceAll(s, ", S", ",S") }, "accepted"},
		"more space after commas":       {func(s string) string { return strings.ReplaceAll(s, ", S", " ,   S") }, "accepted"},
		"method":                        {swap("POST", "PUT"), invalid},
		"path":                          {swap("Afunction%3Aa/", "Afunction%3Ab/"), invalid},
		"encoding of the path":          {swap("arn%3Aaws", "arn:aws"), invalid},
		"query value":                   {swap("b=2", "b=3"), invalid},
		"query key left out":            {swap("&b=2", ""), invalid},
		"query key added":               {swap("&b=2", "&b=2&c"), invalid},
		"host":                          {swap("Host: lamina.test:9000", "Host: lamina.test:9001"), invalid},
		"signed header":                 {swap("Type: Event", "Type: RequestResponse"), invalid},
		"signed header left out":        {swap("X-Amz-Invocation-Type: Event\r\n", ""), invalid},
		"signed header repeated":        {swap("X-Amz-Invocation-Type: Event", "X-Amz-Invocation-Type: Event\r\nX-Amz-Invocation-Type: Event"), invalid},
		"x-amz header added":            {swap("Host:", "X-Amz-Log-Type: Tail\r\nHost:"), invalid},
		"body":                          {swap(`{"k":"v"}`, `{"k":"w"}`), invalid},
		"body cut":                      {swap(`"v"}`, `"v"`), invalid},
		"body and length cut":           {func(s string) string { return swap("Content-Length: 9", "Content-Length: 8")(s[:len(s)-1]) }, invalid},
		"body and length grown":         {func(s string) string { return swap("Content-Length: 9", "Content-Length: 10")(s + " ") }, invalid},
		"date":                          {swap("X-Amz-Date: 20150830T123600Z", "X-Amz-Date: 20150830T123601Z"), invalid},
		"date and not the scope":        {swap("X-Amz-Date: 20150830T", "X-Amz-Date: 20150831T"), invalid},
		"region":                        {swap("/eu-central-1/", "/eu-central-2/"), invalid},
		"region that is none":           {swap("/eu-central-1/", "/nowhere/"), invalid},
		"service":                       {swap("/lambda/", "/iam/"), invalid},
		"terminator":                    {swap("/aws4_request", "/aws5_request"), invalid},
		"signature":                     {swap("Signature=", "Signature=0"), invalid},
		"signature's last digit":        {func(s string) string { return flipHex(s, strings.Index(s, "Signature=")+10+63) }, invalid},
		"signed headers not sorted":     {swap("content-length;content-type", "content-type;content-length"), invalid},
		"signed headers without host":   {swap(";host", ""), invalid},
		"signed headers without x-amz":  {swap(";x-amz-invocation-type", ""), invalid},
		"another key":                   {swap("AKIDEXAMPLE", "AKIAIOSFODNN7EXAMPLE"), invalid},
		"unknown key":                   {swap("AKIDEXAMPLE", "AKIDNOTHERE"), "UnrecognizedClientException"},
		"session token":                 {swap("Host:", "X-Amz-Security-Token: t\r\nHost:"), "UnrecognizedClientException"},
		"algorithm":                     {swap("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "IncompleteSignatureException"},
		"scope with too few parts":      {swap("/lambda/", "/"), "IncompleteSignatureException"},
		"no date":                       {swap("X-Amz-Date: 20150830T123600Z\r\n", ""), "IncompleteSignatureException"},
		"illegible date":                {swap("X-Amz-Date: 20150830T123600Z", "X-Amz-Date: today"), "IncompleteSignatureException"},
		"date that does not exist":      {swap("X-Amz-Date: 20150830T123600Z", "X-Amz-Date: 20150230T123600Z"), "IncompleteSignatureException"},
		"no signature":                  {swap("Signature=", "Sig="), "IncompleteSignatureException"},
		"two signatures":                {swap("Signature=", "Signature=0, Signature="), "IncompleteSignatureException"},
		"no equals sign":                {swap("Credential=", "Credential"), "IncompleteSignatureException"},
		"bearer token":                  {func(s string) string { return replaceAuthorization(s, "Authorization: Bearer abc=\r\n") }, "IncompleteSignatureException"},
		"two Authorization headers":     {swap("Host:", "Authorization: AWS4-HMAC-SHA256 x=y\r\nHost:"), "IncompleteSignatureException"},
		"no Authorization header":       {func(s string) string { return replaceAuthorization(s, "") }, "MissingAuthenticationTokenException"},
		"empty Authorization header":    {func(s string) string { return replaceAuthorization(s, "Authorization: \r\n") }, "MissingAuthenticationTokenException"},
		"header in the signature twice": {swap("host;", "host;host;"), invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := verify(verifierAt(testNow), parse(t, c.edit(text)))
			if got := refusal(err); got != c.want {
				t.Errorf("Verify = %s (%v); want %s", got, err, c.want)
			}
		})
	}
}

func replaceAuthorization(s, with string) string {
	at := strings.Index(s, "Authorization:")
	end := at + strings.Index(s[at:], "\r\n") + 2
	return s[:at] + with + s[end:]
}

func flipHex(s string, at int) string {
	d := byte('0')
	if s[at] == d {
		d = '1'
	}
	return s[:at] + string(d) + s[at+1:]
}

func TestReplay(t *testing.T) {
	t.Parallel()
	text := signedText(t, "lambda", "GET", "/2015-03-31/functions", "", nil)
	for name, c := range map[string]struct {
		late time.Duration
		want string
	}{
		"15 minutes late":           {15 * time.Minute, "accepted"},
		"15 minutes 1 second late":  {15*time.Minute + time.Second, "InvalidSignatureException: Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T125101Z - 15 min.)"},
		"15 minutes early":          {-15 * time.Minute, "accepted"},
		"15 minutes 1 second early": {-15*time.Minute - time.Second, "InvalidSignatureException: Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T122059Z + 15 min.)"},
		"a year late":               {365 * 24 * time.Hour, "InvalidSignatureException: Signature expired: 20150830T123600Z is now earlier than 20160829T122100Z (20160829T123600Z - 15 min.)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := verify(verifierAt(testNow.Add(c.late)), parse(t, text))
			got := "accepted"
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("Verify = %s; want %s", got, c.want)
			}
		})
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ head, want string }{
		"nothing":      {"X: y", "MissingAuthenticationTokenException: Missing Authentication Token"},
		"basic":        {"Authorization: Basic abc", "IncompleteSignatureException: Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): 'ux0Ggx3x6WH4Gzh9i5LDKEO/bAQe1nx3dHHoRnFYEPI='."},
		"no parameter": {"Authorization: AWS4-HMAC-SHA256", "IncompleteSignatureException: Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. (Hashed with SHA-256 and encoded with Base64) Authorization=" + fingerprint("AWS4-HMAC-SHA256")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := verifierAt(testNow).Verify(parse(t, lines("GET / HTTP/1.1", "Host: h", c.head)))
			if err == nil || err.Error() != strings.Replace(c.want, "ux0Ggx3x6WH4Gzh9i5LDKEO/bAQe1nx3dHHoRnFYEPI=", fingerprint("Basic abc"), 1) {
				t.Errorf("Verify = %v; want %s", err, c.want)
			}
			if ex, ok := errors.AsType[*wire.Exception](err); !ok || ex.Status() != http.StatusForbidden {
				t.Errorf("Verify = %v; want a 403", err)
			}
		})
	}
}

// TestLastByte reads bodies in all sorts of pieces: however a reader goes about
// it, it can't have the whole of a body that was not signed.
func TestLastByte(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("0123456789abcdef", 6<<10) // more than smallBody
	sum := sha256.Sum256([]byte(big))
	readers := map[string]func(io.Reader) io.Reader{
		"at once":        func(r io.Reader) io.Reader { return r },
		"byte by byte":   iotest.OneByteReader,
		"in halves":      iotest.HalfReader,
		"with data last": iotest.DataErrReader,
	}
	for _, form := range []string{"undeclared", "declared", "undeclared, length unknown", "declared, length unknown"} {
		for how, wrap := range readers {
			t.Run(form+", "+how, func(t *testing.T) {
				t.Parallel()
				text := signedText(t, "lambda", "POST", "/x", big, func(r *http.Request) {
					if strings.HasSuffix(form, "unknown") {
						r.ContentLength = -1
					}
					if strings.HasPrefix(form, "declared") {
						r.Header.Set(contentHash, hex.EncodeToString(sum[:]))
					}
				})
				v := verifierAt(testNow)
				req := parse(t, text)
				if _, err := v.Verify(req); err != nil {
					t.Fatalf("Verify: %v", err)
				}
				got, err := io.ReadAll(wrap(req.Body))
				if err != nil || string(got) != big {
					t.Fatalf("read %d bytes, %v; want %d", len(got), err, len(big))
				}

				at := strings.Index(text, "789abcdef")
				req = parse(t, text[:at]+"X"+text[at+1:])
				if _, err := v.Verify(req); err != nil {
					t.Fatalf("Verify of a big body = %v; want the error at its end", err)
				}
				got, err = io.ReadAll(wrap(req.Body))
				if !wire.InvalidSignature.Is(err) || len(got) >= len(big) {
					t.Errorf("read %d of %d tampered bytes, %v; want fewer and InvalidSignatureException", len(got), len(big), err)
				}
				if _, again := req.Body.Read(make([]byte, 1)); !wire.InvalidSignature.Is(again) {
					t.Errorf("read again: %v; want InvalidSignatureException", again)
				}
				if err := Settle(req); !wire.InvalidSignature.Is(err) {
					t.Errorf("Settle = %v; want InvalidSignatureException", err)
				}

				// A reader that stops when it has all bytes, as decoders do, never sees EOF.
				req = parse(t, text[:at]+"X"+text[at+1:])
				if _, err := v.Verify(req); err != nil {
					t.Fatal(err)
				}
				if n, err := io.ReadFull(wrap(req.Body), make([]byte, len(big))); err == nil || n >= len(big) {
					t.Errorf("ReadFull = %d, %v; want fewer than %d", n, err, len(big))
				}

				req = parse(t, text[:len(text)-100])
				if _, err := v.Verify(req); err != nil {
					t.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, req.Body); err == nil {
					t.Errorf("read %d bytes of a truncated body without an error", n)
				}
			})
		}
	}
}

// TestUnreadBody sends bodies that no handler would read: the signature has to be
// wrong all the same.
func TestUnreadBody(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "HEAD", "DELETE", "OPTIONS"} {
		text := signedText(t, "lambda", method, "/x", "body", nil)
		if _, _, err := verify(verifierAt(testNow), parse(t, text)); err != nil {
			t.Errorf("%s: %v", method, err)
		}
		if _, err := verifierAt(testNow).Verify(parse(t, strings.Replace(text, "\r\n\r\nbody", "\r\n\r\nBODY", 1))); !wire.InvalidSignature.Is(err) {
			t.Errorf("%s with another body: Verify = %v; want InvalidSignatureException", method, err)
		}
		big := signedText(t, "lambda", method, "/x", strings.Repeat("x", smallBody+1), nil)
		if _, err := verifierAt(testNow).Verify(parse(t, big)); !wire.RequestEntityTooLarge.Is(err) {
			t.Errorf("%s with a big body: Verify = %v; want RequestEntityTooLargeException", method, err)
		}
		endless := signedText(t, "lambda", method, "/x", strings.Repeat("x", smallBody+1), func(r *http.Request) { r.ContentLength = -1 })
		if _, err := verifierAt(testNow).Verify(parse(t, endless)); !wire.RequestEntityTooLarge.Is(err) {
			t.Errorf("%s with a big body of unknown length: Verify = %v; want RequestEntityTooLargeException", method, err)
		}
	}
}

// countingKeys counts how often it is asked, and can change its mind.
type countingKeys struct {
	asked int
	key   Key
	err   error
}

func (c *countingKeys) AccessKey(context.Context, string) (Key, error) {
	c.asked++
	return c.key, c.err
}

func TestKeyCache(t *testing.T) {
	t.Parallel()
	now := testNow
	keys := &countingKeys{key: docKey}
	cache := NewKeyCache(keys, func() time.Time { return now })
	ask := func(want string, asked int) {
		t.Helper()
		k, err := cache.AccessKey(t.Context(), docKey.ID)
		if got := k.Secret + refusalOfKey(err); got != want || keys.asked != asked {
			t.Errorf("AccessKey = %s after asking %d times; want %s after %d", got, keys.asked, want, asked)
		}
	}
	ask(docKey.Secret, 1)
	keys.key.Secret = "changed"
	ask(docKey.Secret, 1)
	cache.Forget()
	ask("changed", 2)
	keys.key, keys.err = Key{}, lamina.ErrNotFound
	now = now.Add(keyLife)
	ask("absent", 3)
	ask("absent", 3)
	keys.key, keys.err = docKey, nil
	now = now.Add(keyLife)
	ask(docKey.Secret, 4)
	for i := range 2 * unknownKeys {
		keys.key, keys.err = Key{}, lamina.ErrNotFound
		cache.AccessKey(t.Context(), "x"+strconv.Itoa(i)) //nolint:errcheck // absent on purpose
	}
	if len(cache.unknown) > unknownKeys || len(cache.known) != 1 {
		t.Errorf("cache has %d unknown and %d known keys; want at most %d and 1", len(cache.unknown), len(cache.known), unknownKeys)
	}
}

func refusalOfKey(err error) string {
	if errors.Is(err, lamina.ErrNotFound) {
		return "absent"
	}
	return ""
}

// TestKeyChange: a derived key must not outlive its secret.
func TestKeyChange(t *testing.T) {
	t.Parallel()
	keys := fakeKeys{docKey.ID: docKey}
	v := NewVerifier(keys, func() time.Time { return testNow })
	text := signedText(t, "lambda", "GET", "/", "", nil)
	if _, err := v.Verify(parse(t, text)); err != nil {
		t.Fatal(err)
	}
	changed := docKey
	changed.Secret = "another"
	keys[docKey.ID] = changed
	if _, err := v.Verify(parse(t, text)); !wire.InvalidSignature.Is(err) {
		t.Errorf("Verify with the old secret = %v; want InvalidSignatureException", err)
	}
	delete(keys, docKey.ID)
	if _, err := v.Verify(parse(t, text)); !wire.UnrecognizedClient.Is(err) {
		t.Errorf("Verify with a deleted key = %v; want UnrecognizedClientException", err)
	}
}

func TestKeysOutOfOrder(t *testing.T) {
	t.Parallel()
	broken := errors.New("database is gone")
	v := NewVerifier(&countingKeys{err: broken}, func() time.Time { return testNow })
	_, err := v.Verify(signed(t, "GET", "/", "", nil))
	if !errors.Is(err, broken) {
		t.Errorf("Verify = %v; want %v", err, broken)
	}
	if _, ok := errors.AsType[*wire.Exception](err); ok {
		t.Errorf("Verify = %v; want no exception", err)
	}
}

// TestStrangers: what strangers send must not fill the cache of derived keys.
func TestStrangers(t *testing.T) {
	t.Parallel()
	v := verifierAt(testNow)
	text := signedText(t, "lambda", "GET", "/", "", nil)
	for i := range 100 {
		req := parse(t, strings.Replace(text, "/lambda/", "/lambda"+strconv.Itoa(i)+"/", 1))
		if _, err := v.Verify(req); !wire.InvalidSignature.Is(err) {
			t.Fatalf("Verify = %v; want InvalidSignatureException", err)
		}
	}
	if len(v.signing) != 0 {
		t.Errorf("%d keys remembered; want none", len(v.signing))
	}
}

func TestRegions(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"us-east-1": true, "ap-southeast-4": true, "us-gov-west-1": true, "us-isob-east-1": true, "eusc-de-east-1": true, "mx-central-1": true,
		"": false, "us": false, "us-1": false, "us-east": false, "us-east-": false, "us-east-12": false, "us-east-1-": false, "US-east-1": false,
		"us-x-east-1": false, "us--1": false, "us-east-1/x": false, "us-gov-": false, "aws-global": false,
	} {
		if got := isRegion(s); got != want {
			t.Errorf("isRegion(%q) = %v; want %v", s, got, want)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for name, edit := range map[string]func(*http.Request){
		"undeclared": func(r *http.Request) { r.Header.Set("Content-Type", "application/json") },
		"declared": func(r *http.Request) {
			sum := sha256.Sum256([]byte(`{"k":"v"}`))
			r.Header.Set(contentHash, hex.EncodeToString(sum[:]))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Amz-Sdk-Invocation-Id", "0ff1ce")
			r.Header.Set("Amz-Sdk-Request", "attempt=1; max=3")
		},
	} {
		b.Run(name, func(b *testing.B) {
			v := NewVerifier(NewKeyCache(fakeKeys{docKey.ID: docKey}, func() time.Time { return testNow }), func() time.Time { return testNow })
			req := signed(b, "POST", "/2015-03-31/functions/hello/invocations?Qualifier=%24LATEST", `{"k":"v"}`, edit)
			body := strings.NewReader("")
			closer := io.NopCloser(body)
			out := make([]byte, 64)
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(`{"k":"v"}`)
				req.Body = closer
				if _, err := v.Verify(req); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(req.Body, out[:9]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("no body", func(b *testing.B) {
		v := NewVerifier(NewKeyCache(fakeKeys{docKey.ID: docKey}, func() time.Time { return testNow }), func() time.Time { return testNow })
		req := signed(b, "GET", "/2015-03-31/functions/hello", "", nil)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(req); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("session", func(b *testing.B) {
		clock := func() time.Time { return testNow }
		st := openStore(b)
		if err := st.Update(b.Context(), func(tx *store.Tx) error {
			return tx.InsertAccount(b.Context(), store.Account{ID: testAccount})
		}); err != nil {
			b.Fatal(err)
		}
		sessions, err := NewSessions(make([]byte, SessionKeyBytes))
		if err != nil {
			b.Fatal(err)
		}
		made, err := sessions.issue(testAccount, Key{}, Session{Issued: testNow, Expires: testNow.Add(time.Hour)})
		if err != nil {
			b.Fatal(err)
		}
		req := httptest.NewRequest(http.MethodGet, "/2015-03-31/functions/hello", nil)
		creds := aws.Credentials{AccessKeyID: made.AccessKeyID, SecretAccessKey: made.SecretAccessKey, SessionToken: made.SessionToken}
		if err := v4.NewSigner().SignHTTP(b.Context(), creds, req, hex.EncodeToString(emptyHash[:]), "lambda", testRegion, testNow); err != nil {
			b.Fatal(err)
		}
		principals := NewPrincipals(st, clock)
		v := NewVerifier(NewKeyCache(fakeKeys{}, clock), clock).AcceptSessions(sessions, principals)
		b.ReportAllocs()
		for b.Loop() {
			c, err := v.Verify(req)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := principals.Rights(b.Context(), c); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unknown key", func(b *testing.B) {
		v := NewVerifier(NewKeyCache(fakeKeys{}, func() time.Time { return testNow }), func() time.Time { return testNow })
		req := signed(b, "GET", "/2015-03-31/functions/hello", "", nil)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(req); err == nil {
				b.Fatal("accepted")
			}
		}
	})
}

// BenchmarkBody measures what streaming a body costs, a layer's worth at once.
func BenchmarkBody(b *testing.B) {
	big := strings.Repeat("0123456789abcdef", 64<<10)
	v := verifierAt(testNow)
	text := signedText(b, "lambda", "POST", "/x", big, nil)
	b.SetBytes(int64(len(big)))
	b.ReportAllocs()
	for b.Loop() {
		req := parse(b, text)
		if _, err := v.Verify(req); err != nil {
			b.Fatal(err)
		}
		if err := Settle(req); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzAuthorization(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/lambda/aws4_request, SignedHeaders=host;x-amz-date, Signature=5fa0", "/?a=b", "20150830T123600Z")
	f.Add("AWS4-HMAC-SHA256 Credential=,Signature==,SignedHeaders=;;;", "/%zz//../.?%&=&+", "")
	f.Add("", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a%2F20150830%2Fus-east-1%2Fs%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Signature=00", "")
	f.Fuzz(func(t *testing.T, authorization, target, date string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		req := &http.Request{Method: "GET", URL: u, RequestURI: target, Host: "h", Header: http.Header{"X-Amz-Date": {date}}, Body: http.NoBody}
		if authorization != "" {
			req.Header["Authorization"] = []string{authorization}
		}
		_, err = verifierAt(testNow).Verify(req)
		if _, ok := errors.AsType[*wire.Exception](err); !ok {
			t.Errorf("Verify = %v; want an exception", err)
		}
		QueryService(req)
	})
}
