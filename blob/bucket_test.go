package blob_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/blob"
	"github.com/lamina-run/lamina/blob/blobtest"
)

// fakeS3 is a bucket named archives in eu-west-1. It checks signatures and the
// digests of bodies as S3 does, and lists in pages of two.
type fakeS3 struct {
	t   testing.TB
	url string

	// before, if not nil, may answer instead.
	before func(w http.ResponseWriter, r *http.Request) bool

	mu sync.Mutex

	objects  map[string]stored
	requests []string // METHOD KIND
}

type stored struct {
	data []byte
	at   time.Time
}

func startS3(t testing.TB) *fakeS3 {
	t.Helper()
	f := &fakeS3{t: t, objects: map[string]stored{}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

func (f *fakeS3) refuse(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, message)
}

// signed is whether the key of the tests signed the request.
func (f *fakeS3) signed(r *http.Request) bool {
	again := r.Clone(r.Context())
	again.URL.Host, again.URL.Scheme = r.Host, "http"
	again.Header = http.Header{}
	for _, name := range []string{"X-Amz-Content-Sha256", "X-Amz-Copy-Source"} {
		if v := r.Header.Get(name); v != "" {
			again.Header.Set(name, v)
		}
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || time.Since(at).Abs() > time.Minute {
		return false
	}
	key := aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "SECRET"}
	err = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).
		SignHTTP(r.Context(), key, again, r.Header.Get("X-Amz-Content-Sha256"), "s3", "eu-west-1", at)
	return err == nil && r.Header.Get("Authorization") == again.Header.Get("Authorization")
}

func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.before != nil && f.before(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	sum := sha256.Sum256(body)
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now().Truncate(time.Second) // as S3 has it
	switch {
	case !f.signed(r):
		f.refuse(w, 403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
	case hex.EncodeToString(sum[:]) != r.Header.Get("X-Amz-Content-Sha256"):
		f.refuse(w, 400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
	case bucket != "archives":
		f.refuse(w, 404, "NoSuchBucket", "The specified bucket does not exist")
	case r.Method == http.MethodGet && key == "":
		f.requests = append(f.requests, "LIST")
		f.list(w, r)
	case r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") != "":
		f.requests = append(f.requests, "COPY")
		from, ok := f.objects[strings.TrimPrefix(r.Header.Get("X-Amz-Copy-Source"), "/archives/")]
		if !ok {
			f.refuse(w, 404, "NoSuchKey", "The specified key does not exist.")
			return
		}
		f.objects[key] = stored{from.data, now}
		fmt.Fprint(w, `<CopyObjectResult><ETag>"x"</ETag></CopyObjectResult>`)
	case r.Method == http.MethodPut:
		f.requests = append(f.requests, "PUT")
		f.objects[key] = stored{body, now}
	case r.Method == http.MethodDelete:
		f.requests = append(f.requests, "DELETE")
		delete(f.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodGet:
		f.requests = append(f.requests, "GET")
		o, ok := f.objects[key]
		if !ok {
			f.refuse(w, 404, "NoSuchKey", "The specified key does not exist.")
			return
		}
		w.Write(o.data)
	default:
		f.t.Errorf("request = %s %s", r.Method, r.RequestURI)
	}
}

func (f *fakeS3) list(w http.ResponseWriter, r *http.Request) {
	type content struct {
		Key          string
		LastModified string
		Size         int
	}
	var result struct {
		XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []content
	}
	q := r.URL.Query()
	if q.Get("list-type") != "2" {
		f.t.Errorf("listing %s", r.RequestURI)
	}
	var keys []string
	for key := range f.objects {
		if strings.HasPrefix(key, q.Get("prefix")) && key > q.Get("continuation-token") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for i, key := range keys {
		o := f.objects[key]
		result.Contents = append(result.Contents, content{key, o.at.UTC().Format("2006-01-02T15:04:05.000Z"), len(o.data)})
		if i == 2 && len(keys) > 3 {
			result.IsTruncated, result.NextContinuationToken = true, key
			break
		}
	}
	if err := xml.NewEncoder(w).Encode(result); err != nil {
		f.t.Error(err)
	}
}

// asked returns what was asked of S3 since the last call, listings left out.
func (f *fakeS3) asked() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.DeleteFunc(f.requests, func(r string) bool { return r == "LIST" })
	f.requests = nil
	return strings.Join(all, " ")
}

// keys returns the names of the objects without what is random in them.
func (f *fakeS3) keys() (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key := range f.objects {
		name, _, _ := strings.Cut(strings.TrimPrefix(key, prefix+"/sha256/"), ".")
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// age makes all objects older.
func (f *fakeS3) age(by time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, o := range f.objects {
		f.objects[key] = stored{o.data, o.at.Add(-by)}
	}
}

const prefix = "some/where"

func (f *fakeS3) options(dir string) blob.BucketOptions {
	return blob.BucketOptions{
		Location: blob.Location{Bucket: "archives", Prefix: prefix + "/"}, Endpoint: f.url, Region: "eu-west-1", AccessKeyID: "AKID", SecretAccessKey: "SECRET",
		Now: time.Now, Log: slog.New(slog.DiscardHandler), Dir: dir, CacheBytes: 64 << 20, Young: time.Second,
	}
}

// bucketStore gives a bucket the types of the suite.
type bucketStore struct{ *blob.Bucket }

func (s bucketStore) Stage(ctx context.Context) (blobtest.Staged, error) {
	b, err := s.Bucket.Stage(ctx)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (s bucketStore) Open(ctx context.Context, digest lamina.Digest) (blobtest.Blob, error) {
	b, err := s.Bucket.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func openBucket(t testing.TB, o blob.BucketOptions) *blob.Bucket {
	t.Helper()
	b, err := blob.OpenBucket(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func TestBucket(t *testing.T) {
	t.Parallel()
	t.Run("one server", func(t *testing.T) {
		t.Parallel()
		blobtest.Suite(t, func(t testing.TB) blobtest.Store {
			dir := filepath.Join(t.TempDir(), "cache")
			b := openBucket(t, startS3(t).options(dir))
			t.Cleanup(func() { noLeftovers(t, dir) })
			return bucketStore{b}
		})
	})
	// Of two servers, one keeps and sweeps; the other, whose disk is always empty,
	// reads.
	t.Run("two servers", func(t *testing.T) {
		t.Parallel()
		blobtest.Suite(t, func(t testing.TB) blobtest.Store {
			f := startS3(t)
			o := f.options(t.TempDir())
			o.CacheBytes = 0
			return pair{bucketStore{openBucket(t, f.options(t.TempDir()))}, bucketStore{openBucket(t, o)}}
		})
	})
}

// pair keeps in one store and opens from another.
type pair struct {
	bucketStore

	other bucketStore
}

func (p pair) Open(ctx context.Context, d lamina.Digest) (blobtest.Blob, error) {
	return p.other.Open(ctx, d)
}

func keepIn(t testing.TB, b *blob.Bucket, data string) lamina.Digest {
	t.Helper()
	s, err := b.Stage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Discard()
	if _, err := io.WriteString(s, data); err != nil {
		t.Fatal(err)
	}
	if err := s.Keep(t.Context()); err != nil {
		t.Fatalf("Keep = %v; want nil", err)
	}
	return s.Digest()
}

func wantBytes(t testing.TB, b *blob.Bucket, d lamina.Digest, want string) {
	t.Helper()
	r, err := b.Open(t.Context(), d)
	if err != nil {
		t.Errorf("Open = %v; want nil", err)
		return
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != want {
		t.Errorf("content = %q, %v; want %q", got, err, want)
	}
}

func nobody(context.Context, lamina.Digest) (bool, error)    { return false, nil }
func everybody(context.Context, lamina.Digest) (bool, error) { return true, nil }

// TestBucketSendsBytesOnce: bytes go to S3 once, and come from there once.
func TestBucketSendsBytesOnce(t *testing.T) {
	t.Parallel()
	f := startS3(t)
	a, dir := openBucket(t, f.options(t.TempDir())), t.TempDir()
	b := openBucket(t, f.options(dir))
	f.asked()
	d := keepIn(t, a, "hello")
	wantBytes(t, a, d, "hello")
	if got, want := f.asked(), "PUT"; got != want {
		t.Errorf("asked %s; want %s", got, want)
	}
	if got, want := f.keys(), []string{"2c/f24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}; !slices.Equal(got, want) {
		t.Errorf("keys = %v; want %v", got, want)
	}
	var reading sync.WaitGroup
	for range 8 {
		reading.Go(func() { wantBytes(t, b, d, "hello") })
	}
	reading.Wait()
	wantBytes(t, openBucket(t, f.options(dir)), d, "hello") // of the next process
	if got, want := f.asked(), "GET PUT GET DELETE"; got != want {
		t.Errorf("asked %s; want %s, the last three to try the bucket", got, want)
	}
	f.age(time.Minute)
	keepIn(t, b, "hello")
	if got, want := f.asked(), "COPY"; got != want {
		t.Errorf("asked %s for old bytes; want %s", got, want)
	}
	if n, err := a.Sweep(t.Context(), time.Second, time.Now(), everybody); n != 0 || err != nil || len(f.keys()) != 1 {
		t.Errorf("Sweep(in use) = %d, %v, of %v; want one object left", n, err, f.keys())
	}
	// What `aws s3 sync` has brought.
	sum := sha256.Sum256([]byte("moved"))
	name := hex.EncodeToString(sum[:])
	f.mu.Lock()
	f.objects[prefix+"/sha256/"+name[:2]+"/"+name[2:]] = stored{[]byte("moved"), time.Now().Add(-time.Hour)}
	f.objects[prefix+"/sha256/README"] = stored{[]byte("a stranger's"), time.Now().Add(-time.Hour)}
	f.mu.Unlock()
	wantBytes(t, a, sum, "moved")
	if n, err := b.Sweep(t.Context(), time.Minute, time.Now(), nobody); n != 1 || err != nil {
		t.Errorf("Sweep = %d, %v; want the one that is old", n, err)
	}
	if got := f.keys(); !slices.Contains(got, "README") || len(got) != 2 {
		t.Errorf("keys = %v; want the stranger's and the young one", got)
	}
}

// TestBucketBetweenListAndDelete: a server that keeps bytes while another is about
// to sweep what it saw of them old and unused.
func TestBucketBetweenListAndDelete(t *testing.T) {
	t.Parallel()
	f := startS3(t)
	sweeper, keeper := openBucket(t, f.options(t.TempDir())), openBucket(t, f.options(t.TempDir()))
	d := keepIn(t, sweeper, "hello")
	f.age(time.Hour)
	asked := 0
	n, err := sweeper.Sweep(t.Context(), time.Minute, time.Now(), func(context.Context, lamina.Digest) (bool, error) {
		if asked++; asked == 2 { // for the last time
			keepIn(t, keeper, "hello")
		}
		return false, nil
	})
	if n != 1 || err != nil {
		t.Errorf("Sweep = %d, %v; want 1", n, err)
	}
	wantBytes(t, openBucket(t, f.options(t.TempDir())), d, "hello")
}

// TestBucketVerifies: bytes that are not those of their name are nobody's.
func TestBucketVerifies(t *testing.T) {
	t.Parallel()
	f := startS3(t)
	a, dir := openBucket(t, f.options(t.TempDir())), t.TempDir()
	d := keepIn(t, a, "hello")
	spoil := func(data string) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for key, o := range f.objects {
			f.objects[key] = stored{[]byte(data), o.at}
		}
	}
	b := openBucket(t, f.options(dir))
	for _, data := range []string{"jello", "hell", "hello, world"} {
		spoil(data)
		if _, err := b.Open(t.Context(), d); err == nil || errors.Is(err, lamina.ErrNotFound) || !strings.Contains(err.Error(), "with digest") {
			t.Errorf("Open(%s) = %v; want an error about its digest", data, err)
		}
	}
	noLeftovers(t, dir)
	// Another object of the same name is read instead.
	f.age(time.Minute)
	spoil("hell")
	wantBytes(t, a, d, "hello") // from its disk
	keepIn(t, a, "hello")
	wantBytes(t, b, d, "hello")
}

// TestBucketTroubles: what passes is waited for, and what does not is told.
func TestBucketTroubles(t *testing.T) {
	t.Parallel()
	f := startS3(t)
	var mu sync.Mutex
	var troubles []func(http.ResponseWriter, *http.Request) // each for one request
	set := func(all ...func(http.ResponseWriter, *http.Request)) {
		mu.Lock()
		defer mu.Unlock()
		troubles = all
	}
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if len(troubles) == 0 {
			return false
		}
		trouble := troubles[0]
		troubles = troubles[1:]
		trouble(w, r)
		return true
	}
	says := func(status int, code string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { f.refuse(w, status, code, "Please.") }
	}
	hangsUp := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	cutsShort := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, "half")
		panic(http.ErrAbortHandler)
	}

	b := openBucket(t, f.options(t.TempDir()))
	set(says(503, "SlowDown"), hangsUp)
	d := keepIn(t, b, "hello")
	dir := t.TempDir()
	other := openBucket(t, f.options(dir))
	set(says(500, "InternalError"), cutsShort, cutsShort)
	wantBytes(t, other, d, "hello")
	noLeftovers(t, dir)

	s, err := b.Stage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Discard()
	fmt.Fprint(s, "refused")
	set(says(403, "AccessDenied"))
	if err := s.Keep(t.Context()); err == nil || !strings.Contains(err.Error(), "S3 says AccessDenied: Please") {
		t.Errorf("Keep = %v; want what S3 said", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the client went away")
	set(func(w http.ResponseWriter, _ *http.Request) {
		cancel(gone)
		f.refuse(w, 503, "SlowDown", "Please.")
	})
	if err := s.Keep(ctx); !errors.Is(err, gone) {
		t.Errorf("Keep = %v; want %v", err, gone)
	}
	if _, err := other.Open(t.Context(), s.Digest()); !errors.Is(err, lamina.ErrNotFound) {
		t.Errorf("Open of what was not kept = %v; want %v", err, lamina.ErrNotFound)
	}
	if err := s.Keep(t.Context()); err != nil { // it may be tried again
		t.Errorf("Keep = %v; want nil", err)
	}
	wantBytes(t, other, s.Digest(), "refused")

	// A copy that fails after its status was sent; then the old object is swept.
	f.age(time.Minute)
	var copies int
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("X-Amz-Copy-Source") == "" {
			return false
		}
		if copies++; copies == 1 {
			fmt.Fprint(w, `<Error><Code>InternalError</Code><Message>Please try again.</Message></Error>`)
			return true
		}
		f.refuse(w, 404, "NoSuchKey", "The specified key does not exist.")
		return true
	}
	f.asked()
	keepIn(t, b, "hello")
	if got := f.asked(); copies != 2 || got != "PUT" {
		t.Errorf("%d copies, then %s; want 2, then PUT", copies, got)
	}
}

// TestBucketCache: the disk holds what was used of late, and no more than it may.
func TestBucketCache(t *testing.T) {
	t.Parallel()
	f := startS3(t)
	dir := t.TempDir()
	o := f.options(dir)
	o.CacheBytes = 35
	b := openBucket(t, o)
	onDisk := func() (n int) {
		err := fs.WalkDir(os.DirFS(dir), "sha256", func(_ string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				n++
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		return n
	}
	var all []lamina.Digest
	for i := range 3 {
		all = append(all, keepIn(t, b, fmt.Sprintf("ten bytes%d", i)))
	}
	wantBytes(t, b, all[0], "ten bytes0")
	keepIn(t, b, "ten bytes3")
	f.asked()
	wantBytes(t, b, all[0], "ten bytes0")
	if got := f.asked(); got != "" || onDisk() != 3 {
		t.Errorf("asked %q, %d on the disk; want nothing and 3", got, onDisk())
	}
	wantBytes(t, b, all[1], "ten bytes1")
	if got := f.asked(); got != "GET" || onDisk() != 3 {
		t.Errorf("asked %q, %d on the disk; want GET and 3", got, onDisk())
	}
	o.CacheBytes = 10
	b = openBucket(t, o)
	if onDisk() != 1 {
		t.Errorf("%d on the disk after a start with less room; want 1", onDisk())
	}
	large := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(large)
	d := keepIn(t, b, string(large))
	open, err := b.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	keepIn(t, b, "small") // drives it out while it is read
	if got, err := io.ReadAll(open); err != nil || !bytes.Equal(got, large) || onDisk() != 1 {
		t.Errorf("%d bytes, %v, %d on the disk; want %d, and 1", len(got), err, onDisk(), len(large))
	}
}

func TestOpenBucketFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*blob.BucketOptions)
		refuse string // METHOD
		want   string
	}{
		"no such bucket":     {func(o *blob.BucketOptions) { o.Location.Bucket = "absent" }, "", "open s3://absent/some/where at ENDPOINT: write: S3 says NoSuchBucket: The specified bucket does not exist"},
		"another secret":     {func(o *blob.BucketOptions) { o.SecretAccessKey = "other" }, "", "SignatureDoesNotMatch"},
		"read only":          {nil, http.MethodPut, "write: S3 says AccessDenied: Not you"},
		"write only":         {nil, http.MethodGet, "read: S3 says AccessDenied"},
		"nothing is deleted": {nil, http.MethodDelete, "delete: S3 says AccessDenied"},
		"nobody there":       {func(o *blob.BucketOptions) { o.Endpoint = "http://127.0.0.1:1" }, "", "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startS3(t)
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != c.refuse {
					return false
				}
				f.refuse(w, 403, "AccessDenied", "Not you.")
				return true
			}
			o := f.options(t.TempDir())
			if c.change != nil {
				c.change(&o)
			}
			_, err := blob.OpenBucket(t.Context(), o)
			if want := strings.ReplaceAll(c.want, "ENDPOINT", f.url); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("OpenBucket = %v; want %s", err, want)
			}
			if left := f.keys(); c.refuse != http.MethodDelete && len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestParseLocation(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]blob.Location{
		"s3://archives":              {Bucket: "archives"},
		"s3://archives/":             {Bucket: "archives"},
		"s3://my.archives-2/a/b.c_d": {Bucket: "my.archives-2", Prefix: "a/b.c_d/"},
		"s3://archives/a/":           {Bucket: "archives", Prefix: "a/"},
		"archives":                   {},
		"s3://":                      {},
		"s3://ab":                    {},
		"s3://Archives":              {},
		"s3://archives//a":           {},
		"s3://archives/../a":         {},
		"s3://archives/a b":          {},
		"s3://archives/a?b":          {},
		"https://archives":           {},
	} {
		got, err := blob.ParseLocation(text)
		if got != want || (err == nil) != (want.Bucket != "") {
			t.Errorf("ParseLocation(%s) = %+v, %v; want %+v", text, got, err, want)
		}
		if again, err := blob.ParseLocation(got.String()); want.Bucket != "" && (again != want || err != nil) {
			t.Errorf("ParseLocation(%s) = %+v, %v; want %+v", got, again, err, want)
		}
	}
}
