package testkit

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

// Options is how a test wants its server. The zero value is the embedded default.
type Options struct {
	Data   string   // empty is a new temporary directory
	Region string   // empty is eu-central-1
	Args   []string // more arguments of lamina serve
	Env    []string // more of its environment, KEY=value
	TLS    bool     // with a certificate of its own

	// User runs the server; nil is the user of the test. Data is in its home then.
	User *Ordinary
}

// Server is a running lamina serve, and the way to its clients.
type Server struct {
	URL             string
	Data            string
	Region          string
	AccessKeyID     string
	SecretAccessKey string

	t      testing.TB
	o      Options
	listen string
	cmd    *exec.Cmd
	exited chan struct{} // closed by the goroutine that waits for cmd
	output *tail
}

// Account is the account whose keys a [Server] has.
const Account = "000000000000"

const (
	startWithin = 30 * time.Second
	stopWithin  = 20 * time.Second
)

// Start runs lamina serve on a free port until the test ends, and waits until it
// is healthy. Its log shows when the test fails.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	switch {
	case o.Data != "":
	case o.User != nil:
		o.Data = filepath.Join(o.User.Home, "data")
	default:
		o.Data = t.TempDir()
	}
	if o.Region == "" {
		o.Region = "eu-central-1"
	}
	s := &Server{
		Data: o.Data, Region: o.Region, AccessKeyID: "testing", SecretAccessKey: "testing",
		t: t, o: o, listen: FreeAddress(t), output: &tail{},
	}
	s.URL = "http://" + s.listen
	if o.TLS {
		s.URL = "https://" + s.listen
		s.o.Args = append([]string{"--tls"}, o.Args...)
	}
	t.Cleanup(func() {
		if s.running() {
			s.Stop()
		}
		if t.Failed() {
			t.Logf("the server's last words:\n%s", s.output)
		}
	})
	s.run()
	return s
}

// Stop asks the server to shut down, and fails the test when it does not in time.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("stop the server: %v", err)
	}
	select {
	case <-s.exited:
	case <-time.After(stopWithin):
		s.t.Errorf("the server runs on %v after SIGTERM", stopWithin)
		s.Kill()
	}
}

// Kill ends the server as a power cut would: SIGKILL, no chance to tidy up.
func (s *Server) Kill() {
	s.t.Helper()
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatalf("kill the server: %v", err)
	}
	<-s.exited
}

// Restart starts the server again, after Stop or Kill, on the same data and port.
func (s *Server) Restart() {
	s.t.Helper()
	s.run()
}

// PID returns the process identifier of the server.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Output returns the last of what the server printed.
func (s *Server) Output() string { return s.output.String() }

// Config returns the configuration of an SDK client that talks to the server and
// repeats nothing, so that a test sees every failure.
func (s *Server) Config() aws.Config {
	c := aws.Config{
		Region:           s.Region,
		BaseEndpoint:     aws.String(s.URL),
		Credentials:      credentials.NewStaticCredentialsProvider(s.AccessKeyID, s.SecretAccessKey, ""),
		RetryMaxAttempts: 1,
		HTTPClient:       plainBodies{awshttp.NewBuildableClient()},
	}
	if s.o.TLS {
		c.HTTPClient = plainBodies{s.Client()}
	}
	return c
}

// plainBodies sends requests whose bodies can only be read. Those of the SDK
// (smithy-go v1.28) can write themselves, too, and answer io.EOF once they are
// closed, where io.Copy wants nil. So net/http takes a request for failed whose
// answer began before it had looked for surplus bytes, and closes the connection
// under the answer: "use of closed network connection".
type plainBodies struct{ client aws.HTTPClient }

// Do implements [aws.HTTPClient].
func (p plainBodies) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = struct{ io.ReadCloser }{req.Body}
	}
	return p.client.Do(req)
}

// Lambda returns a client of the server.
func (s *Server) Lambda() *lambda.Client { return lambda.NewFromConfig(s.Config()) }

// Env returns the environment of this process, the way to the server in it, for
// a client in another process. The client sees no profile and no other credentials.
func (s *Server) Env() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "AWS_") && !strings.HasPrefix(e, "LAMINA_") && !strings.HasPrefix(e, "PATH=") {
			env = append(env, e)
		}
	}
	return append(env,
		"PATH="+filepath.Join(Repository(), ".venv", "bin")+":"+os.Getenv("PATH"),
		"AWS_ENDPOINT_URL="+s.URL, "AWS_REGION="+s.Region, "AWS_DEFAULT_REGION="+s.Region,
		"AWS_ACCESS_KEY_ID="+s.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+s.SecretAccessKey,
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CA_BUNDLE="+s.authority(), "AWS_PAGER=", "NO_PROXY=127.0.0.1,localhost", "CHECKPOINT_DISABLE=1",
	)
}

// authority is the file of whom clients have to trust, or empty.
func (s *Server) authority() string {
	if !s.o.TLS {
		return ""
	}
	return filepath.Join(s.Data, "tls", "ca.pem")
}

// Client returns an HTTP client that trusts the server.
func (s *Server) Client() *http.Client {
	if !s.o.TLS {
		return http.DefaultClient
	}
	roots := x509.NewCertPool()
	if text, err := os.ReadFile(s.authority()); err == nil { // else nobody is trusted yet
		roots.AppendCertsFromPEM(text)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

func (s *Server) running() bool {
	if s.exited == nil {
		return false
	}
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

func (s *Server) run() {
	s.t.Helper()
	args := append([]string{
		"serve", "--listen", s.listen, "--data", s.Data, "--region", s.Region, "--account", Account,
	}, s.o.Args...)
	var cmd *exec.Cmd
	if s.o.User != nil {
		cmd = s.o.User.Command(args...)
	} else {
		cmd = exec.Command(Binary(s.t), args...)
	}
	cmd.Env = append(cmd.Environ(), "LAMINA_ACCESS_KEY_ID="+s.AccessKeyID, "LAMINA_SECRET_ACCESS_KEY="+s.SecretAccessKey)
	cmd.Env = append(cmd.Env, s.o.Env...)
	cmd.Stdout, cmd.Stderr = s.output, s.output
	cmd.WaitDelay = 5 * time.Second // a function's process may hold the pipe a moment longer
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("start the server: %v", err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is the test's business
		close(exited)
	}()
	s.cmd, s.exited = cmd, exited
	if err := s.healthy(); err != nil {
		s.t.Fatalf("the server does not become healthy: %v\n%s", err, s.output)
	}
}

func (s *Server) healthy() error {
	deadline := time.After(startWithin)
	var last error
	for {
		if last = healthy(s.Client(), s.URL); last == nil {
			return nil
		}
		select {
		case <-s.exited:
			return errors.New("it exited")
		case <-deadline:
			return last
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Healthy asks a server once whether it can answer requests.
func Healthy(url string) error { return healthy(http.DefaultClient, url) }

func healthy(client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/healthz answers %s", resp.Status)
	}
	return nil
}

// FreeAddress returns an address of this host on which nothing listens now.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().String()
}

// built is the binary of this test process, made by whoever asks first.
var built struct {
	sync.Once
	path string
	err  error
}

// Binary returns the path of a lamina built from this tree. LAMINA_TEST_BINARY
// names one that exists already; else it is built once per test process.
func Binary(t testing.TB) string {
	t.Helper()
	built.Do(func() {
		if built.path = os.Getenv("LAMINA_TEST_BINARY"); built.path != "" {
			return
		}
		built.path, built.err = build()
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

func build() (string, error) {
	// One name for all test processes: the link step is skipped when nothing changed,
	// and nothing has to remember to delete it.
	dir := filepath.Join(Repository(), ".lamina", "test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("build lamina: %w", err)
	}
	tmp, err := os.CreateTemp(dir, ".build-*")
	if err != nil {
		return "", fmt.Errorf("build lamina: %w", err)
	}
	tmp.Close()
	defer os.Remove(tmp.Name())
	cmd := exec.Command("go", "build", "-o", tmp.Name(), "./cmd/lamina")
	cmd.Dir = Repository()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build lamina: %w\n%s", err, out)
	}
	path := filepath.Join(dir, "lamina")
	if err := os.Rename(tmp.Name(), path); err != nil {
		return "", fmt.Errorf("build lamina: %w", err)
	}
	return path, nil
}

// tail keeps the last of what is written to it.
type tail struct {
	mu sync.Mutex

	b []byte
}

const tailBytes = 16 << 10

func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b = append(w.b, p...)
	if len(w.b) > 2*tailBytes {
		w.b = append(w.b[:0], w.b[len(w.b)-tailBytes:]...)
	}
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.b
	if len(b) > tailBytes {
		b = b[len(b)-tailBytes:]
	}
	return string(bytes.TrimSpace(b))
}
