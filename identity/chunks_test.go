package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/lamina-run/lamina/wire"
)

var s3Now = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

// documentedChunks is the upload in chunks of the S3 documentation: 66560 times
// the letter a, 64 KiB and 1 KiB.
func documentedChunks() string {
	a := strings.Repeat("a", 64<<10)
	return lines("PUT /examplebucket/chunkObject.txt HTTP/1.1", "Host: s3.amazonaws.com", "x-amz-date: 20130524T000000Z",
		"x-amz-storage-class: REDUCED_REDUNDANCY", "Content-Encoding: aws-chunked", "x-amz-decoded-content-length: 66560", "Content-Length: 66824",
		"x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
		"Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"+
			"SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,"+
			"Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9") +
		"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" + a + "\r\n" +
		"400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" + a[:1024] + "\r\n" +
		"0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
}

func documentedTrailer() string {
	a := strings.Repeat("a", 64<<10)
	return lines("PUT /examplebucket/chunkObject.txt HTTP/1.1", "Host: s3.amazonaws.com", "x-amz-date: 20130524T000000Z",
		"x-amz-storage-class: REDUCED_REDUNDANCY", "Content-Encoding: aws-chunked", "x-amz-decoded-content-length: 66560", "x-amz-trailer: x-amz-checksum-crc32c",
		"Transfer-Encoding: chunked",
		"x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
		"Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"+
			"SignedHeaders=content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer,"+
			"Signature=106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e") +
		httpChunks("10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n"+a+"\r\n"+
			"400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n"+a[:1024]+"\r\n"+
			"0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n"+
			"x-amz-checksum-crc32c:sOO8/Q==\r\n"+
			"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n")
}

// httpChunks is a body in the chunks of HTTP, which have nothing to do with AWS's.
func httpChunks(s string) string {
	return strconv.FormatInt(int64(len(s)), 16) + "\r\n" + s + "\r\n0\r\n\r\n"
}

func TestChunks(t *testing.T) {
	t.Parallel()
	want := strings.Repeat("a", 66560)
	for name, text := range map[string]string{"plain": documentedChunks(), "trailer": documentedTrailer()} {
		for how, wrap := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				req := parse(t, text)
				if _, err := verifierAt(s3Now).Verify(req); err != nil {
					t.Fatalf("Verify: %v", err)
				}
				later := req.WithContext(t.Context()) // as the server makes a copy
				got, err := io.ReadAll(wrap(req.Body))
				if err != nil || string(got) != want {
					t.Fatalf("read %d bytes, %v; want %d", len(got), err, len(want))
				}
				if req.ContentLength != 66560 || req.Header.Get("Content-Encoding") != "" {
					t.Errorf("length %d, encoding %q; want those of the decoded body", req.ContentLength, req.Header.Get("Content-Encoding"))
				}
				if crc := later.Trailer.Get("x-amz-checksum-crc32c"); name == "trailer" && crc != "sOO8/Q==" {
					t.Errorf("trailer = %q; want sOO8/Q==", crc)
				}
			})
		}
	}
}

func TestChunksTampered(t *testing.T) {
	t.Parallel()
	plain, trailer := documentedChunks(), documentedTrailer()
	swap := func(s, old, with string) string {
		if !strings.Contains(s, old) {
			t.Fatalf("no %q", old)
		}
		return strings.Replace(s, old, with, 1)
	}
	const invalid, malformed = "InvalidSignatureException", "SerializationException"
	for name, c := range map[string]struct{ text, want string }{
		"first chunk's data":          {swap(plain, "aaaa", "aaba"), invalid},
		"second chunk's data":         {swap(plain, "5497\r\na", "5497\r\nb"), invalid},
		"first chunk's signature":     {swap(plain, "ad80c7", "ad80c8"), invalid},
		"last chunk's signature":      {swap(plain, "b6c6ea", "b6c6eb"), invalid},
		"seed":                        {swap(plain, "4f232c", "4f232d"), invalid},
		"decoded length":              {swap(plain, "66560", "66561"), invalid},
		"a chunk's size":              {swap(plain, "400;", "3ff;"), malformed},
		"a chunk without a signature": {swap(plain, "400;chunk-signature=", "400;x="), malformed},
		"no size":                     {swap(plain, "400;", "xyz;"), malformed},
		"huge size":                   {swap(plain, "400;", "fffffffffffffffffff;"), malformed},
		"endless line":                {swap(plain, "400;", strings.Repeat("4", 65000)), malformed},
		"trailer's value":             {swap(trailer, "sOO8/Q==", "sOO8/R=="), invalid},
		"trailer's signature":         {swap(trailer, "d81f82", "d81f83"), invalid},
		"trailer not announced":       {swap(trailer, "c:sOO8/Q==", "d:sOO8/Q=="), malformed},
		"trailer's announcement":      {swap(trailer, "x-amz-trailer: x-amz-checksum-crc32c", "x-amz-trailer: x-amz-checksum-crc32d"), invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, body, err := verify(verifierAt(s3Now), parse(t, c.text))
			if got := refusal(err); got != c.want || len(body) >= 66560 {
				t.Errorf("read %d bytes, %s (%v); want fewer than 66560, %s", len(body), got, err, c.want)
			}
		})
	}
	for _, cut := range []int{1, 2, 4, 60, 100, 1000, 2000, 60000} {
		_, body, err := verify(verifierAt(s3Now), parse(t, plain[:len(plain)-cut]))
		if err == nil || len(body) >= 66560 {
			t.Errorf("%d bytes cut: read %d bytes without an error", cut, len(body))
		}
	}
}

func unsignedTrailer(t testing.TB, body, chunks string) string {
	t.Helper()
	return strings.Replace(signedText(t, "s3", "PUT", "/bucket/key", "", func(r *http.Request) {
		r.Header.Set(contentHash, unsignedChunksTrailer)
		r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
		r.Header.Set("X-Amz-Decoded-Content-Length", strconv.Itoa(len(body)))
		r.Header.Set("Content-Encoding", "aws-chunked,gzip")
		r.ContentLength = 0
	}), "Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n", 1) + httpChunks(chunks)
}

func TestUnsignedTrailer(t *testing.T) {
	t.Parallel()
	const chunks = "5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"
	req := parse(t, unsignedTrailer(t, "hello world", chunks))
	_, body, err := verify(verifierAt(testNow), req)
	if err != nil || string(body) != "hello world" || req.Trailer.Get("X-Amz-Checksum-Crc32") != "DUoRhQ==" || req.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("read %q, %v, trailer %v, header %v; want hello world and its checksum", body, err, req.Trailer, req.Header)
	}
	for name, c := range map[string]struct{ chunks, body string }{
		"shorter than it says": {chunks, "hello world!"},
		"longer than it says":  {chunks, "hello worl"},
		"no trailer":           {"b\r\nhello world\r\n0\r\n\r\n", "hello world"},
		"two of one trailer":   {strings.Replace(chunks, "x-amz", "x-amz-checksum-crc32:AAAA\r\nx-amz", 1), "hello world"},
		"something after it":   {chunks + "x", "hello world"},
		"nothing":              {"", "hello world"},
		"no line end":          {strings.Replace(chunks, "hello\r\n", "hello!\r\n", 1), "hello world"},
	} {
		_, body, err := verify(verifierAt(testNow), parse(t, unsignedTrailer(t, c.body, c.chunks)))
		if !wire.Serialization.Is(err) {
			t.Errorf("%s: read %q, %v; want SerializationException", name, body, err)
		}
	}
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"), int64(5), false)
	f.Add([]byte("5;chunk-signature="+emptyText+"\r\nhello\r\n0;chunk-signature="+emptyText+"\r\n\r\n"), int64(5), true)
	f.Add([]byte("fffffffffffffff\r\n"), int64(0), false)
	f.Fuzz(func(t *testing.T, body []byte, length int64, sign bool) {
		form := unsignedChunksTrailer
		if sign {
			form = signedChunks
		}
		v := verifierAt(testNow)
		a := authorization{keyID: docKey.ID, date: "20150830", region: testRegion, service: "s3", stamp: "20150830T123600Z", legible: true}
		a.credential = docKey.ID + "/20150830/" + testRegion + "/s3/aws4_request"
		key := newSigningKey(docKey, &a)
		c := claim{v: v, a: a, key: key}
		// A right seed for an empty canonical request, so that the chunks are reached.
		c.a.signature = seedOf(&c, form)
		req := &http.Request{Header: http.Header{"X-Amz-Decoded-Content-Length": {strconv.FormatInt(length, 10)}, "X-Amz-Trailer": {"x-amz-checksum-crc32"}}, Body: io.NopCloser(bytes.NewReader(body))}
		r, err := c.chunked(req, &scratch{}, form)
		if err != nil {
			if !wire.Serialization.Is(err) {
				t.Fatalf("chunked = %v; want SerializationException", err)
			}
			return
		}
		got, err := io.ReadAll(r)
		if err == nil && (int64(len(got)) != length || sign) {
			t.Errorf("read %d bytes without an error; want %d, unsigned", len(got), length)
		}
		if _, ok := errors.AsType[*wire.Exception](err); err != nil && !ok {
			t.Errorf("read: %v; want an exception", err)
		}
	})
}

func seedOf(c *claim, payload string) [32]byte {
	sum := sha(payload)
	return c.key.sign([]byte(algorithm + "\n" + c.a.stamp + "\n" + c.a.scope() + "\n" + hex.EncodeToString(sum[:])))
}

func sha(s string) [32]byte { return sha256.Sum256([]byte(s)) }
