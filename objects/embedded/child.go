// Package embedded runs the process that keeps buckets (package backend), and
// carries requests to it. It knows processes and sockets; what S3 means is its
// users' question.
//
// A walk: [Child.RoundTrip] is asked for the first time and tells [Child.Run],
// which starts the lamina binary anew as the child, on a socket in a directory
// that only this user can enter. The request then waits until the child listens,
// is signed with the key that the child got, and sent. A child that dies is
// started again for the next request, later each time that it dies early. When
// Run ends, so does the child; when this whole process dies, the child sees its
// standard input end, and exits.
package embedded

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/lamina-run/lamina/objects/backend"
)

// Options say where buckets are. Dir and Log are required.
type Options struct {
	Dir        string // made when it is not there
	Executable string // the lamina binary; empty is the one that runs
	Log        *slog.Logger
}

const (
	startLimit  = 30 * time.Second // until the child listens
	stopLimit   = 5 * time.Second  // until it has ended after its standard input did
	answerLimit = 5 * time.Minute  // until the first byte: a large upload is assembled and synced before
	steady      = 10 * time.Second // a child that lived for so long did not die early
	firstPause  = 100 * time.Millisecond
	longPause   = 10 * time.Second

	connections = 256 // to the child at once; further requests wait
	socketBytes = 100 // of a socket's path; the kernel takes 107
	outputBytes = 4 << 10
)

// Owner is who owns everything, as the child tells it. It looks like a canonical
// user ID, and is nobody's.
const Owner = "0000000000000000000000000000000000000000000000000000000000000000"

// ErrStopped is the error of requests when Run has ended.
var ErrStopped = errors.New("the embedded S3 is stopped")

// Child is the process, which may not be running. It is safe for concurrent use.
type Child struct {
	o      Options
	wanted chan struct{} // RoundTrip sends without waiting, Run receives; capacity 1

	mu      sync.Mutex
	state   *life
	changed chan struct{} // closed by who replaces state
}

// life is one run of the process, or why there is none. It never changes.
type life struct {
	client *http.Transport // nil when it does not run
	key    aws.Credentials
	err    error // why not; nil while it is being started
}

// New returns a child that is not running. Requests wait for [Child.Run].
func New(o Options) *Child {
	return &Child{o: o, wanted: make(chan struct{}, 1), state: &life{}, changed: make(chan struct{})}
}

func (c *Child) set(l *life) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = l
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Child) get() (*life, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.changed
}

// RoundTrip sends a request to the child, which it starts when it is not
// running. The URL needs no scheme and no host; its path and query are sent, and
// signed, as RawPath and RawQuery have them. Its error is ErrStopped, why the child
// can't run, or that it died.
func (c *Child) RoundTrip(req *http.Request) (*http.Response, error) {
	l, err := c.alive(req.Context())
	if err != nil {
		return nil, err
	}
	req.URL.Scheme, req.URL.Host, req.Host = "http", "s3", "s3"
	hash := req.Header.Get("X-Amz-Content-Sha256")
	if hash == "" {
		hash = "UNSIGNED-PAYLOAD"
		req.Header.Set("X-Amz-Content-Sha256", hash)
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err := signer.SignHTTP(req.Context(), l.key, req, hash, "s3", backend.Region, time.Now()); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return l.client.RoundTrip(req)
}

// alive waits for a child that runs.
func (c *Child) alive(ctx context.Context) (*life, error) {
	asked := false
	for {
		l, changed := c.get()
		switch {
		case l.client != nil:
			return l, nil
		case errors.Is(l.err, ErrStopped):
			return nil, l.err
		case l.err != nil && asked:
			return nil, l.err
		}
		asked = true
		select {
		case c.wanted <- struct{}{}:
		default: // somebody else said so
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Run starts the child whenever it is wanted and not there, until ctx ends. It
// returns when the child is gone.
func (c *Child) Run(ctx context.Context) error {
	defer c.set(&life{err: ErrStopped})
	early := 0
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			c.set(&life{})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.wanted:
		}
		began := time.Now()
		err := c.live(ctx)
		if ctx.Err() != nil {
			return nil
		}
		c.o.Log.LogAttrs(ctx, slog.LevelError, "embedded S3 ended", slog.Duration("after", time.Since(began)), slog.Any("err", err))
		if early++; time.Since(began) > steady {
			early = 0
			continue
		}
		c.set(&life{err: fmt.Errorf("the embedded S3 does not run: %w", err)})
		pause := time.NewTimer(min(firstPause<<min(early-1, 10), longPause))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
	return nil
}

// live is one life of the process: it returns when it has ended, with the reason.
func (c *Child) live(ctx context.Context) (err error) {
	dir, err := filepath.Abs(c.o.Dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	socket, remove, err := socketPath(dir)
	if err != nil {
		return err
	}
	defer remove()
	settings := backend.Settings{Dir: dir, Socket: socket, AccessKey: Owner, SecretKey: rand.Text() + rand.Text()}

	executable := c.o.Executable
	if executable == "" {
		executable = "/proc/self/exe" // this very program, even when its file was replaced
		if runtime.GOOS != "linux" {
			if executable, err = os.Executable(); err != nil {
				return fmt.Errorf("find the program: %w", err)
			}
		}
	}
	cmd := exec.Command(executable, backend.Verb) //nolint:noctx // it gets a chance to end by itself
	cmd.Args[0] = "lamina"
	cmd.Env = []string{} // it needs none, and there are secrets in ours
	cmd.Dir = dir
	said := &tail{}
	cmd.Stdout, cmd.Stderr = said, said
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	ready, tells, err := os.Pipe()
	if err != nil {
		in.Close()
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer ready.Close()
	cmd.ExtraFiles = []*os.File{tells}
	err = cmd.Start()
	tells.Close()
	if err != nil {
		in.Close()
		return fmt.Errorf("start the process: %w", err)
	}
	ended := make(chan error, 1) // one send, when the process has ended
	go func() { ended <- cmd.Wait() }()
	stop := func() error {
		in.Close()
		late := time.AfterFunc(stopLimit, func() { _ = cmd.Process.Kill() }) // it ended in between
		defer late.Stop()
		return <-ended
	}
	began := time.Now()
	if err := greet(in, ready, settings); err != nil {
		if exit := stop(); errors.Is(err, io.EOF) && exit != nil {
			err = exit
		}
		return fmt.Errorf("start: %w%s", err, said)
	}
	client := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		MaxConnsPerHost: connections, MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second,
		ResponseHeaderTimeout: answerLimit, DisableCompression: true,
		WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
	}
	defer client.CloseIdleConnections()
	c.o.Log.LogAttrs(ctx, slog.LevelInfo, "embedded S3 started", slog.Int("pid", cmd.Process.Pid), slog.Duration("took", time.Since(began)))
	c.set(&life{client: client, key: aws.Credentials{AccessKeyID: settings.AccessKey, SecretAccessKey: settings.SecretKey}})
	select {
	case <-ctx.Done():
		c.set(&life{err: ErrStopped})
		return stop()
	case err := <-ended:
		c.set(&life{})
		in.Close()
		return fmt.Errorf("it died: %w%s", err, said)
	}
}

// greet tells the child its settings and waits until it listens. Its error is
// what the child says is wrong, or io.EOF when it says nothing.
func greet(in io.Writer, ready *os.File, s backend.Settings) error {
	if err := json.NewEncoder(in).Encode(s); err != nil {
		return fmt.Errorf("send settings: %w", err)
	}
	if err := ready.SetReadDeadline(time.Now().Add(startLimit)); err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	line, err := bufio.NewReader(io.LimitReader(ready, outputBytes)).ReadString('\n')
	switch line = strings.TrimSpace(line); {
	case line == "ready":
		return nil
	case line != "":
		return errors.New(line)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("it does not listen after %v", startLimit)
	}
	return err
}

// socketPath is where the child listens: a directory for this user alone, below
// the data directory unless that has too long a name for a socket.
func socketPath(dir string) (path string, remove func(), err error) {
	own := filepath.Join(dir, "socket")
	if path = filepath.Join(own, "s3"); len(path) <= socketBytes {
		err = os.MkdirAll(own, 0o700)
	} else {
		own, err = os.MkdirTemp("", "lamina-s3-")
		path = filepath.Join(own, "s3")
	}
	if err != nil {
		return "", nil, fmt.Errorf("make the directory of the socket: %w", err)
	}
	if len(path) > socketBytes {
		os.Remove(own)
		return "", nil, fmt.Errorf("make the socket %s: its name is too long; give a shorter --data or TMPDIR", path)
	}
	return path, func() { _ = os.RemoveAll(own) }, nil // the next start makes it anew
}

// tail keeps the last of what the child prints, for the log when it dies.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if extra := len(t.text) - outputBytes; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := bytes.TrimSpace(t.text)
	if len(text) == 0 {
		return ""
	}
	return ": " + string(text)
}
