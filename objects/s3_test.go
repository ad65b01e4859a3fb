package objects_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"go.uber.org/goleak"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/objects"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const most = 1 << 20

var signedAt = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

// fakeS3 checks signatures as S3 does and answers what the test says.
func fakeS3(t *testing.T, answer http.HandlerFunc) *objects.S3 {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		again := r.Clone(r.Context())
		again.URL.Host, again.URL.Scheme = r.Host, "http"
		again.Header = http.Header{"X-Amz-Content-Sha256": r.Header["X-Amz-Content-Sha256"]}
		key := aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "SECRET"}
		err := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).
			SignHTTP(r.Context(), key, again, r.Header.Get("X-Amz-Content-Sha256"), "s3", "eu-west-1", signedAt)
		if got, want := r.Header.Get("Authorization"), again.Header.Get("Authorization"); err != nil || got != want {
			t.Errorf("Authorization = %s, %v; want %s", got, err, want)
		}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	s, err := objects.New(objects.Options{Endpoint: server.URL, AccessKeyID: "AKID", SecretAccessKey: "SECRET", Now: func() time.Time { return signedAt }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func object(key string) lamina.Object {
	return lamina.Object{Region: "eu-west-1", Bucket: "code", Key: key}
}

func TestGet(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		object lamina.Object
		target string // as it is on the wire
	}{
		"a key":                   {object("dir/app.zip"), "/code/dir/app.zip"},
		"characters that escape":  {object("a b+c&d=ü/%2F?#.zip"), "/code/a%20b%2Bc%26d%3D%C3%BC/%252F%3F%23.zip"},
		"dots are part of a key":  {object("../other/./x"), "/code/../other/./x"},
		"a slash begins the key":  {object("/x"), "/code//x"},
		"a version of the object": {lamina.Object{Region: "eu-west-1", Bucket: "code", Key: "x", Version: "3/L4+"}, "/code/x?versionId=3%2FL4%2B"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fakeS3(t, func(w http.ResponseWriter, r *http.Request) {
				if r.RequestURI != c.target || r.Method != http.MethodGet {
					t.Errorf("request = %s %s; want GET %s", r.Method, r.RequestURI, c.target)
				}
				fmt.Fprint(w, "the bytes")
			})
			var got bytes.Buffer
			if err := s.Get(t.Context(), c.object, most, &got); err != nil || got.String() != "the bytes" {
				t.Errorf("Get = %q, %v; want the bytes", got.String(), err)
			}
		})
	}
}

func refuse(status int, code, message, more string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message>%s</Error>`, code, message, more)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   lamina.ObjectError
	}{
		"no key":    {refuse(404, "NoSuchKey", "The specified key does not exist.", "<Key>x</Key>"), lamina.ObjectError{Code: "NoSuchKey", Message: "The specified key does not exist."}},
		"its words": {refuse(400, "InvalidArgument", "Invalid version id specified", ""), lamina.ObjectError{Code: "InvalidArgument", Message: "Invalid version id specified"}},
		"another region, told by a header": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Amz-Bucket-Region", "us-west-2")
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			refuse(301, "PermanentRedirect", "elsewhere", "")(w, r)
		}, lamina.ObjectError{Code: "PermanentRedirect", Message: "elsewhere", Region: "us-west-2"}},
		"another region, told in the body": {
			refuse(400, "AuthorizationHeaderMalformed", "wrong region", "<Region>us-west-2</Region>"),
			lamina.ObjectError{Code: "PermanentRedirect", Message: "wrong region", Region: "us-west-2"},
		},
		"no body": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, lamina.ObjectError{Code: "AccessDenied", Message: "Forbidden"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			s := fakeS3(t, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				c.answer(w, r)
			})
			err := s.Get(t.Context(), object("x"), most, io.Discard)
			got, ok := errors.AsType[*lamina.ObjectError](err)
			if !ok || *got != c.want {
				t.Errorf("Get = %v; want %+v", err, c.want)
			}
			if n := asked.Load(); n != 1 {
				t.Errorf("asked %d times; want once", n)
			}
		})
	}
}

func TestTroublesOfS3AreTriedAgain(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	s := fakeS3(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) < 3 {
			refuse(503, "SlowDown", "Please reduce your request rate.", "")(w, r)
			return
		}
		fmt.Fprint(w, "at last")
	})
	var got bytes.Buffer
	if err := s.Get(t.Context(), object("x"), most, &got); err != nil || got.String() != "at last" {
		t.Errorf("Get = %q, %v; want at last", got.String(), err)
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	for name, flush := range map[string]bool{"declared": false, "not declared": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fakeS3(t, func(w http.ResponseWriter, _ *http.Request) {
				if flush {
					w.(http.Flusher).Flush()
				}
				fmt.Fprint(w, strings.Repeat("x", 1001))
			})
			var got bytes.Buffer
			if err := s.Get(t.Context(), object("x"), 1000, &got); !errors.Is(err, lamina.ErrTooLarge) {
				t.Errorf("Get = %v; want ErrTooLarge", err)
			}
			if err := s.Get(t.Context(), object("x"), 1001, io.Discard); err != nil {
				t.Errorf("Get of exactly as much = %v; want success", err)
			}
		})
	}
}

func TestGetEndsWithTheRequest(t *testing.T) {
	t.Parallel()
	began := make(chan struct{}) // the handler closes it
	s := fakeS3(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		close(began)
		<-r.Context().Done()
	})
	gone := errors.New("the client went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-began
		cancel(gone)
	}()
	if err := s.Get(ctx, object("x"), most, io.Discard); !errors.Is(err, gone) {
		t.Errorf("Get = %v; want %v", err, gone)
	}
}

func TestCutBodyIsNoSuccess(t *testing.T) {
	t.Parallel()
	s := fakeS3(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "only this")
	})
	if err := s.Get(t.Context(), object("x"), most, io.Discard); err == nil {
		t.Error("Get of a cut body succeeded")
	}
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "127.0.0.1:9000", "ftp://host", "http://", "http://host?x=1", "http://user@host"} {
		if _, err := objects.New(objects.Options{Endpoint: bad}); err == nil {
			t.Errorf("New(%q) succeeded", bad)
		}
	}
}
