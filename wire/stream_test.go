package wire

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

const publishURL = "/2018-10-31/layers/geo/versions"

// publish registers a PublishLayerVersion that reports what it got.
func publish(r *Router, see func(*PublishLayerVersionRequest)) {
	Handle(r, "PublishLayerVersion", func(_ context.Context, in *PublishLayerVersionRequest) (*PublishLayerVersionResponse, error) {
		see(in)
		return &PublishLayerVersionResponse{}, nil
	})
}

func TestStreamedBody(t *testing.T) {
	t.Parallel()
	zip := bytes.Repeat([]byte{0, 1, 2, 251, 252, 253, 254, 255}, 20_000)
	text := base64.StdEncoding.EncodeToString(zip)
	var lines, escaped strings.Builder
	for i := 0; i < len(text); i += 76 {
		lines.WriteString(text[i:min(i+76, len(text))] + `\r\n`)
	}
	for _, c := range text {
		switch c {
		case '/':
			escaped.WriteString(`\/`)
		case '+':
			escaped.WriteString(`\u002B`)
		case '=':
			escaped.WriteString(`\u003d`)
		default:
			escaped.WriteRune(c)
		}
	}
	tests := []struct {
		name, body string
		want       []byte // nil: no upload
	}{
		{"a zip arrives", `{"Content":{"ZipFile":"` + text + `"},"Description":"d"}`, zip},
		{"the zip may be the last member", `{"Description":"d", "Content" : { "S3Key" : null , "ZipFile" : "` + text + `" } }`, zip},
		{"slashes and plus signs may be escaped", `{"Description":"d","Content":{"ZipFile":"` + escaped.String() + `"}}`, zip},
		{"lines may be broken", `{"Description":"d","Content":{"ZipFile":"` + lines.String() + `"}}`, zip},
		{"names may be escaped", `{"Description":"d","\u0043ontent":{"Zip\u0046ile":"QUI="}}`, []byte("AB")},
		{"an empty zip is a zip", `{"Description":"d","Content":{"ZipFile":""}}`, []byte{}},
		{"null is absent", `{"Description":"d","Content":{"ZipFile":null}}`, nil},
		{"absent is absent", `{"Description":"d","Content":{}}`, nil},
		{"the same name elsewhere is ignored", `{"Description":"d","ZipFile":"QUI=","X":{"ZipFile":"!"},"Content":{"X":{"ZipFile":1},"Y":[{"ZipFile":"!"}]}}`, nil},
		{"the name as a value is ignored", `{"Description":"d","Content":{"S3Key":"ZipFile","S3Bucket":"abc"}}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, reader := range []func(io.Reader) io.Reader{
				func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader,
			} {
				r, s, _ := quiet()
				called := false
				publish(r, func(in *PublishLayerVersionRequest) {
					called = true
					if in.Description == nil || *in.Description != "d" {
						t.Errorf("description = %v; want d", in.Description)
					}
					if u := in.Content.ZipFile; (u != nil) != (tt.want != nil) {
						t.Errorf("upload = %v; want one: %t", u, tt.want != nil)
					} else if u != nil && u.Sum() != sha256.Sum256(tt.want) {
						t.Errorf("upload has %d bytes, or others; want %d", u.Size(), len(tt.want))
					}
				})
				w := do(r, httptest.NewRequest("POST", publishURL, reader(strings.NewReader(tt.body))))
				if w.Code != 201 || !called {
					t.Fatalf("answer = %d %s; want 201", w.Code, w.Body)
				}
				for _, u := range s.uploads {
					if u.discarded == 0 {
						t.Error("upload is not discarded after the handler")
					}
				}
			}
		})
	}
}

func TestStreamedBodyRefused(t *testing.T) {
	t.Parallel()
	serialization := func(text string) string { return `{"message":"` + text + `"}` }
	tests := []struct {
		name, body string
		status     int
		want       string // the whole body, or empty for any SerializationException
	}{
		{"bad Base64", `{"Content":{"ZipFile":"QUI!"}}`, 400, serialization("A binary value is no valid Base64")},
		{"missing padding", `{"Content":{"ZipFile":"QUI"}}`, 400, serialization("A binary value is no valid Base64")},
		{"text after padding", `{"Content":{"ZipFile":"QQ==QUJD"}}`, 400, serialization("A binary value is no valid Base64")},
		{"a raw line break", "{\"Content\":{\"ZipFile\":\"QUJD\n\n\n\nQUJD\"}}", 400, serialization("A binary value is no valid Base64")},
		{"an escaped quote", `{"Content":{"ZipFile":"QUI=\""}}`, 400, serialization("A binary value is no valid Base64")},
		{"a letter beyond ASCII", `{"Content":{"ZipFile":"\u0141UI="}}`, 400, serialization("A binary value is no valid Base64")},
		{"the zip twice", `{"Content":{"ZipFile":"QUI=","ZipFile":"QUI="}}`, 400, serialization("Duplicate member ZipFile")},
		{"its holder twice", `{"Content":{"ZipFile":"QUI="},"Content":{}}`, 400, serialization("Duplicate member Content")},
		{"a number", `{"Content":{"ZipFile":5}}`, 400, serialization("NUMBER_VALUE can not be converted to a Blob")},
		{"an object", `{"Content":{"ZipFile":{}}}`, 400, serialization("Start of structure or map found where not expected.")},
		{"a list as its holder", `{"Content":[{"ZipFile":"QUI="}]}`, 400, serialization("Start of list found where not expected")},
		{"a list as the body", `[{"Content":{"ZipFile":"QUI="}}]`, 400, serialization("Start of list found where not expected")},
		{"text after the object", `{"Content":{"ZipFile":"QUI="}} {}`, 400, ""},
		{"no comma", `{"Content":{"ZipFile":"QUI=" "QUI="}}`, 400, ""},
		{"an unfinished zip", `{"Content":{"ZipFile":"QUI=`, 400, ""},
		{"an unfinished object", `{"Content":{"ZipFile":"QUI="}`, 400, ""},
		{"closing brackets only", `}}}]]]`, 400, ""},
		{"a zip beyond the limit", `{"Content":{"ZipFile":"` + strings.Repeat("QUJD", 400) + `"}}`, 413, serialization("Zipped size must be smaller than 1000 bytes")},
		{
			"a request beyond the limit", `{"Content":{"ZipFile":"QUI="},"Description":"` + strings.Repeat("x", 5000) + `"}`, 413,
			serialization("Request must be smaller than 4000 bytes for the PublishLayerVersion operation"),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &stager{}
			r := NewRouter(Options{Stage: s.stage, MaxZip: 1000, MaxBody: 4000})
			publish(r, func(*PublishLayerVersionRequest) { t.Error("the handler is called") })
			w := do(r, httptest.NewRequest("POST", publishURL, strings.NewReader(tt.body)))
			if w.Code != tt.status {
				t.Errorf("status = %d; want %d", w.Code, tt.status)
			}
			if got := w.Body.String(); tt.want != "" && got != tt.want {
				t.Errorf("body = %s; want %s", got, tt.want)
			}
			for _, u := range s.uploads {
				if u.discarded == 0 {
					t.Error("the upload is kept")
				}
			}
		})
	}
}

func TestJSONBesideAZipIsBounded(t *testing.T) {
	t.Parallel()
	r, _, _ := quiet()
	publish(r, func(*PublishLayerVersionRequest) { t.Error("the handler is called") })
	body := `{"Description":"` + strings.Repeat("x", maxDocument) + `"}`
	w := do(r, httptest.NewRequest("POST", publishURL, strings.NewReader(body)))
	wantException(t, w, 413, "RequestEntityTooLargeException",
		`{"message":"Request must be smaller than 6291456 bytes for the PublishLayerVersion operation"}`)
}

// endReader yields text and then an error, as the authentication layer does
// when the bytes were not those that were signed.
type endReader struct {
	io.Reader
	err error
}

func (r endReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		err = r.err
	}
	return n, err
}

func (endReader) Close() error { return nil }

func TestExceptionAtTheEndOfTheBody(t *testing.T) {
	t.Parallel()
	mismatch := InvalidSignature.Errorf("The request signature we calculated does not match the signature you provided.")
	for _, target := range []struct{ method, url, body string }{
		{"POST", publishURL, `{"Content":{"ZipFile":"QUI="}}`},
		{"POST", "/2015-03-31/functions/f/invocations", `{}`},
		{"POST", "/2015-03-31/functions/f/versions", `{}`},
		{"GET", "/2015-03-31/functions/f", ``},
	} {
		r, s, _ := quiet()
		for _, rt := range r.byName {
			rt.input, rt.output = shapeOf(rt.in), shapeOf(rt.out)
			rt.call = func(context.Context, any) (any, error) { t.Error("the handler is called"); return nil, nil }
		}
		req := httptest.NewRequest(target.method, target.url, nil)
		req.Body = endReader{strings.NewReader(target.body), mismatch}
		wantException(t, do(r, req), 403, "InvalidSignatureException",
			`{"message":"The request signature we calculated does not match the signature you provided."}`)
		for _, u := range s.uploads {
			if u.discarded == 0 {
				t.Error("the upload is kept")
			}
		}
	}
}

func TestUploadStorageFails(t *testing.T) {
	t.Parallel()
	for name, stage := range map[string]func(context.Context) (Upload, error){
		"there is no storage":      nil,
		"it can not be opened":     func(context.Context) (Upload, error) { return nil, errTest },
		"it can not be written to": func(context.Context) (Upload, error) { return &memoryUpload{fail: errTest}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _, log := quiet()
			r.opts.Stage = stage
			publish(r, func(*PublishLayerVersionRequest) { t.Error("the handler is called") })
			req := httptest.NewRequest("POST", publishURL, strings.NewReader(`{"Content":{"ZipFile":"QUJD"}}`))
			w := do(r, req.WithContext(WithRequestID(t.Context(), "id-1")))
			wantException(t, w, 500, "ServiceException", `{"Message":"Internal error; see the server's log for request id-1","Type":"Service"}`)
			if got := strings.Count(log.String(), "level=ERROR"); got != 1 {
				t.Errorf("log = %s; want one error", log)
			}
		})
	}
}

func TestAnswerReachesAClientThatIsStillSending(t *testing.T) {
	t.Parallel()
	s := &stager{}
	r := NewRouter(Options{Stage: s.stage, MaxZip: 1 << 20})
	publish(r, func(*PublishLayerVersionRequest) { t.Error("the handler is called") })
	server := httptest.NewServer(r)
	defer server.Close()
	body := io.MultiReader(strings.NewReader(`{"Content":{"ZipFile":"`), zeroBase64(20<<20), strings.NewReader(`"}}`))
	res, err := server.Client().Post(server.URL+publishURL, "application/json", body)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status = %d; want 413", res.StatusCode)
	}
}

// zeroBase64 reads as n characters of Base64.
func zeroBase64(n int64) io.Reader { return io.LimitReader(letters{}, n) }

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'A'
	}
	return len(p), nil
}

func TestMemoryDoesNotGrowWithTheZip(t *testing.T) { // not parallel: it measures the heap
	r := NewRouter(Options{Stage: func(context.Context) (Upload, error) { return &memoryUpload{keepNothing: true}, nil }})
	publish(r, func(in *PublishLayerVersionRequest) {
		if got := in.Content.ZipFile.Size(); got != 48<<20 {
			t.Errorf("size = %d; want %d", got, 48<<20)
		}
	})
	body := io.MultiReader(strings.NewReader(`{"Content":{"ZipFile":"`), zeroBase64(64<<20), strings.NewReader(`"}}`))
	req := httptest.NewRequest("POST", publishURL, body)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w := do(r, req)
	runtime.ReadMemStats(&after)
	if w.Code != 201 {
		t.Fatalf("answer = %d %s; want 201", w.Code, w.Body)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("allocated %d bytes; want less than a megabyte", got)
	}
}

func FuzzStreamedBody(f *testing.F) {
	for _, seed := range []string{
		`{"Content":{"ZipFile":"QUJD"},"Description":"d"}`, `{"Content":{"ZipFile":"QU\/+\u002b\nQQ=="}}`, `{"Content":{"ZipFile":"QQ==QQ=="}}`,
		`{"Content":[{"ZipFile":"QUJD"}]}`, `{"Content":{"ZipFile":"QUJD"},"Content":1}`, `{"Cont\u0065nt":{"ZipFile":null}}`, `[]`, `}{`, ``, `null`,
		"{\"Content\":{\"ZipFile\":\"QUJD\n\n\n\n\"}}", `{"a":"\"{","Content":{"ZipFile":"="}}`, `{"Content":{"ZipFile":"QUJD" "QUJD"}}`,
	} {
		f.Add(seed, 3)
	}
	f.Fuzz(func(t *testing.T, text string, step int) {
		var got []byte
		s := &scanner{path: []string{"Content", "ZipFile"}}
		s.sink.max = 1 << 20
		u := &memoryUpload{}
		s.sink.open = func() (Upload, error) { return u, nil }
		step = max(step%64, 1)
		var err error
		for p := []byte(text); len(p) > 0 && err == nil; {
			n := min(step, len(p))
			err = s.feed(p[:n])
			p = p[n:]
		}
		if err == nil && !json.Valid(s.rest) {
			err = errors.New("invalid")
		}
		if s.sink.upload != nil {
			got = append([]byte{}, u.bytes...)
		}

		want, wantErr, duplicate := reference(text)
		if duplicate {
			if err == nil {
				t.Fatalf("%q: a duplicate is accepted", text)
			}
			return
		}
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("%q: error %v; want %v", text, err, wantErr)
		}
		if err == nil && (!bytes.Equal(got, want) || (got == nil) != (want == nil)) {
			t.Fatalf("%q: %q; want %q", text, got, want)
		}
	})
}

// reference reads the zip with encoding/json alone; duplicate is for members
// that it would silently take the last of.
func reference(text string) (zip []byte, err error, duplicate bool) { //nolint:revive,staticcheck // the third is about the first two
	if !json.Valid([]byte(text)) {
		return nil, errors.New("invalid"), false
	}
	raw := json.RawMessage(text)
	for _, name := range []string{"Content", "ZipFile"} {
		value, n := memberOf(raw, name)
		if n > 1 {
			return nil, nil, true
		}
		if n == 0 {
			return nil, nil, false
		}
		raw = value
	}
	if raw[0] != '"' {
		return nil, nil, false
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, err, false
	}
	zip, err = base64.StdEncoding.DecodeString(s)
	return zip, err, false
}

// memberOf is the last member of that name, and how often there is one.
func memberOf(raw json.RawMessage, name string) (value json.RawMessage, n int) {
	if raw = bytes.TrimSpace(raw); raw[0] != '{' {
		return nil, 0
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	_, _ = dec.Token()
	for dec.More() {
		key, _ := dec.Token()
		var v json.RawMessage
		_ = dec.Decode(&v)
		if key == name {
			value, n = v, n+1
		}
	}
	return value, n
}

// BenchmarkStream compares a request of 48 MB with decoding and hashing the same
// bytes in memory, which is the least that anybody can do.
func BenchmarkStream(b *testing.B) {
	text := bytes.Repeat([]byte("QUJDREVGR0hJSktM"), 4<<20)
	body := []byte(`{"Content":{"ZipFile":"` + string(text) + `"}}`)
	b.Run("request", func(b *testing.B) {
		r := NewRouter(Options{Stage: func(context.Context) (Upload, error) { return &memoryUpload{keepNothing: true}, nil }})
		publish(r, func(in *PublishLayerVersionRequest) { in.Content.ZipFile.Sum() })
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			do(r, httptest.NewRequest("POST", publishURL, bytes.NewReader(body)))
		}
	})
	b.Run("scan", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			s := &scanner{path: []string{"Content", "ZipFile"}}
			s.sink.max, s.sink.open = DefaultMaxZip, func() (Upload, error) { return &nowhere{}, nil }
			for p := body; len(p) > 0; p = p[min(len(p), 128<<10):] {
				if err := s.feed(p[:min(len(p), 128<<10)]); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("memory", func(b *testing.B) {
		out := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			n, err := base64.StdEncoding.Decode(out, text)
			if err != nil {
				b.Fatal(err)
			}
			sha256.Sum256(out[:n])
		}
	})
}

// nowhere is an upload that only counts.
type nowhere struct {
	memoryUpload
	n int64
}

func (u *nowhere) Write(p []byte) (int, error) { u.n += int64(len(p)); return len(p), nil }
func (u *nowhere) Size() int64                 { return u.n }
