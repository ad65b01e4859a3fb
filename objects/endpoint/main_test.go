package endpoint_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/audit"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/objects"
	"github.com/lamina-run/lamina/objects/backend"
	"github.com/lamina-run/lamina/objects/embedded"
	"github.com/lamina-run/lamina/objects/endpoint"
	"github.com/lamina-run/lamina/server"
	"github.com/lamina-run/lamina/store"
)

// TestMain lends the test's binary to the child.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == backend.Verb {
		backend.Main()
	}
	code := m.Run()
	if one != nil {
		one.stop()
	}
	os.Exit(code)
}

const (
	account = "111111111111"
	other   = "222222222222"
	region  = "eu-central-1"
)

// stage is a server with S3, its child, two accounts and a user who may do nothing.
type stage struct {
	url      string
	store    *store.Store
	endpoint *endpoint.Endpoint
	told     *functions
	known    *identity.Principals
	server   *server.Server
	stop     func()

	mu      sync.Mutex
	audited []audit.Entry
}

var (
	once sync.Once
	one  *stage
)

// newStage returns the stage that all tests share; each has buckets of its own.
func newStage(t testing.TB) *stage {
	t.Helper()
	once.Do(func() {
		var err error
		if one, err = openStage(); err != nil {
			t.Fatal(err)
		}
	})
	if one == nil {
		t.Fatal("there is no server")
	}
	return one
}

func openStage() (_ *stage, err error) {
	dir, err := os.MkdirTemp("", "lamina-endpoint-")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	st, err := store.Open(ctx, store.Options{Path: filepath.Join(dir, "lamina.db"), Log: log})
	if err != nil {
		cancel()
		return nil, err
	}
	s := &stage{store: st, told: &functions{allowed: map[string]bool{}}}
	child := embedded.New(embedded.Options{Dir: filepath.Join(dir, "s3"), Log: log})
	ended := make(chan error, 1) // one send, when Run has returned
	go func() { ended <- child.Run(ctx) }()
	principals := identity.NewPrincipals(st, time.Now)
	s.known = principals
	s.endpoint = endpoint.New(endpoint.Options{
		Store: st, Authority: identity.NewAuthority(st, principals, log, time.Now), Backend: child, Functions: s.told, Log: log, Now: time.Now,
		Hosts: objects.Hosts{"lamina.test"}, Owner: embedded.Owner,
	})
	ready := make(chan struct{})
	close(ready)
	s.server = server.New(server.Options{
		Log: log, Verifier: identity.NewVerifier(identity.StoreKeys(st), time.Now), Ready: ready, S3: s.endpoint, Services: map[string]http.Handler{},
		Audit: func(e audit.Entry) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.audited = append(s.audited, e)
		},
	})
	front := httptest.NewServer(s.server)
	s.url = front.URL
	s.stop = func() {
		front.Close()
		cancel()
		if err := errors.Join(<-ended, st.Close(), os.RemoveAll(dir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	err = st.Update(ctx, func(tx *store.Tx) error {
		var all []error
		for _, id := range []string{account, other} {
			all = append(all, tx.InsertAccount(ctx, store.Account{ID: id, Name: id, Created: time.Now()}),
				tx.PutAccessKey(ctx, store.AccessKey{ID: "AKIAROOT" + id, Secret: "secret" + id, Account: id, Created: time.Now()}))
			for _, user := range []string{"ann", "bob"} {
				all = append(all, tx.InsertIdentity(ctx, store.Identity{IdentityRef: store.IdentityRef{Account: id, Kind: store.KindUser, Name: user}, ID: "AIDA" + strings.ToUpper(user) + id, Path: "/"}),
					tx.PutAccessKey(ctx, store.AccessKey{ID: "AKIA" + strings.ToUpper(user) + id, Secret: "secret" + user, Account: id, User: user, Created: time.Now()}))
			}
		}
		return errors.Join(all...)
	})
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// config is a client's, of an account's root or, by name, one of its users.
func (s *stage) credentials(id, user string) aws.Credentials {
	if user == "" {
		return aws.Credentials{AccessKeyID: "AKIAROOT" + id, SecretAccessKey: "secret" + id}
	}
	return aws.Credentials{AccessKeyID: "AKIA" + strings.ToUpper(user) + id, SecretAccessKey: "secret" + user}
}

func (s *stage) client(id, user string) *s3.Client {
	key := s.credentials(id, user)
	return s3.New(s3.Options{
		Region: region, BaseEndpoint: &s.url, Credentials: credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.SecretAccessKey, ""),
		UsePathStyle: true, RetryMaxAttempts: 1,
	})
}

func (s *stage) root() *s3.Client { return s.client(account, "") }

// anonymous is a client that does not sign.
func (s *stage) anonymous() *s3.Client {
	return s3.New(s3.Options{Region: region, BaseEndpoint: &s.url, Credentials: aws.AnonymousCredentials{}, UsePathStyle: true, RetryMaxAttempts: 1})
}

// allow gives a user a policy.
func (s *stage) allow(t testing.TB, id, user, document string) {
	t.Helper()
	err := s.store.Update(t.Context(), func(tx *store.Tx) error {
		return tx.PutInlinePolicy(t.Context(), store.IdentityRef{Account: id, Kind: store.KindUser, Name: user}, store.InlinePolicy{Name: "p", Document: document})
	})
	if err != nil {
		t.Fatal(err)
	}
	s.known.Forget()
}

// bucket makes a bucket of the account's.
func (s *stage) bucket(t testing.TB, name string) string {
	t.Helper()
	if _, err := s.root().CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	return name
}

// put stores an object and returns its version.
func (s *stage) put(t testing.TB, bucket, key, body string) string {
	t.Helper()
	out, err := s.root().PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.VersionId)
}

// code is that of an error, empty for none.
func code(err error) string {
	if err == nil {
		return ""
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return err.Error()
}

// functions remember what they are told.
type functions struct {
	mu       sync.Mutex
	allowed  map[string]bool // by function and bucket
	events   []string        // payloads
	function []string
	fails    error
}

func (f *functions) ServiceMayInvoke(_ context.Context, function string, by lamina.Source) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.allowed[function+" "+by.ARN+" "+by.Account+" "+by.Service] {
		return errors.New("no")
	}
	return nil
}

func (f *functions) AcceptEvent(_ context.Context, function string, _ lamina.Source, payload []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails != nil {
		return f.fails
	}
	f.function = append(f.function, function)
	f.events = append(f.events, string(payload))
	return nil
}

// raw is a signed request that no SDK would send.
type raw struct {
	method, path string // path with its query, as on the wire
	host         string // empty is the server's
	header       map[string]string
	body         string
	hash         string // what is declared and signed; empty is UNSIGNED-PAYLOAD
	unsigned     bool
}

func (s *stage) do(t testing.TB, in raw) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), in.method, s.url+in.path, strings.NewReader(in.body))
	if err != nil {
		t.Fatal(err)
	}
	if in.host != "" {
		req.Host = in.host
	}
	for name, text := range in.header {
		req.Header.Set(name, text)
	}
	if !in.unsigned {
		hash := in.hash
		if hash == "" {
			hash = "UNSIGNED-PAYLOAD"
		}
		req.Header.Set("X-Amz-Content-Sha256", hash)
		signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
		if err := signer.SignHTTP(t.Context(), s.credentials(account, ""), req, hash, "s3", region, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}
