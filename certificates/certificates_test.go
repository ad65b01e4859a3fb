package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// clock is a time that tests set.
type clock struct{ at atomic.Int64 }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.at.Store(at.Unix())
	return c
}

func (c *clock) now() time.Time           { return time.Unix(c.at.Load(), 0) }
func (c *clock) advance(by time.Duration) { c.at.Add(int64(by / time.Second)) }

// handshake connects to a server with certificates of c as name, and trusts what
// the file says.
func handshake(t *testing.T, c Source, trust, name string, now time.Time) (*x509.Certificate, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", Config(c))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			_ = conn.(*tls.Conn).HandshakeContext(t.Context()) // the client's side tells
			conn.Close()
		}
	}()
	text, err := os.ReadFile(trust)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatalf("no certificate in %s", trust)
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", l.Addr().String(), &tls.Config{
		RootCAs: roots, ServerName: name, Time: func() time.Time { return now },
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

func TestOwn(t *testing.T) {
	t.Parallel()
	at := newClock(time.Now())
	dir := filepath.Join(t.TempDir(), "tls")
	hosts := []string{"localhost", "127.0.0.1", "::1", "lambda.example.test"}
	c, err := MakeOwn(dir, hosts, at.now)
	if err != nil {
		t.Fatal(err)
	}
	trust := filepath.Join(dir, AuthorityFile)
	for name, good := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "lambda.example.test": true,
		"abc123.lambda-url.eu-central-1.localhost":           true,
		"abc123.lambda-url.us-east-1.lambda.example.test":    true,
		"abc123.lambda-url.us-east-1.elsewhere.example.test": false,
		"two.labels.lambda-url.us-east-1.localhost":          false,
		"example.test": false,
	} {
		if _, err := handshake(t, c, trust, name, at.now()); (err == nil) != good {
			t.Errorf("handshake with %s: %v; want good=%v", name, err, good)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, authorityKey)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v; want mode 0600", info.Mode(), err)
	}

	t.Run("the authority stays, its certificates are renewed", func(t *testing.T) {
		first, err := handshake(t, c, trust, "localhost", at.now())
		if err != nil {
			t.Fatal(err)
		}
		at.advance(leafLife - leafLeft + time.Hour)
		second, err := handshake(t, c, trust, "localhost", at.now())
		if err != nil {
			t.Fatal(err)
		}
		if first.SerialNumber.Cmp(second.SerialNumber) == 0 {
			t.Error("the certificate is the same when its end is near; want a new one")
		}
		again, err := MakeOwn(dir, hosts, at.now)
		if err != nil {
			t.Fatal(err)
		}
		if !again.authority.Equal(c.authority) {
			t.Error("another start made another authority; want the same")
		}
		at.advance(authorityLife)
		later, err := MakeOwn(dir, hosts, at.now)
		if err != nil {
			t.Fatal(err)
		}
		if later.authority.Equal(c.authority) {
			t.Error("the authority has ended and is still used")
		}
	})

	t.Run("strangers' names are bounded", func(t *testing.T) {
		for i := range 3 * maxLeaves {
			if _, err := c.Certificate(&tls.ClientHelloInfo{ServerName: fmt.Sprintf("a.lambda-url.r-%d.localhost", i)}); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(c.leaves); n > maxLeaves {
			t.Errorf("%d certificates are kept; want at most %d", n, maxLeaves)
		}
	})
}

func TestFromFiles(t *testing.T) {
	t.Parallel()
	at := newClock(time.Now())
	dir := t.TempDir()
	// Two authorities stand for a certificate and its renewal: an authority's own
	// certificate does not serve, what it issues does.
	write := func(host string, when time.Time) (trust string) {
		t.Helper()
		own, err := MakeOwn(filepath.Join(dir, host), []string{host}, at.now)
		if err != nil {
			t.Fatal(err)
		}
		leaf := own.leaves[""]
		key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string][]byte{"cert.pem": encodePEM("CERTIFICATE", leaf.Certificate[0]), "key.pem": encodePEM("PRIVATE KEY", key)} {
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(file, when, when); err != nil {
				t.Fatal(err)
			}
		}
		return filepath.Join(dir, host, AuthorityFile)
	}
	if _, err := FromFiles(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), at.now); err == nil {
		t.Error("files that are not there were read")
	}
	trust := write("one.example.test", at.now())
	c, err := FromFiles(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), at.now)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Name(); got != "one.example.test" {
		t.Errorf("Name() = %q; want one.example.test", got)
	}
	if _, err := handshake(t, c, trust, "one.example.test", at.now()); err != nil {
		t.Error(err)
	}
	next := write("two.example.test", at.now().Add(time.Second))
	at.advance(2 * rereadAfter)
	if _, err := handshake(t, c, next, "two.example.test", at.now()); err != nil {
		t.Errorf("after a renewal: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	at.advance(2 * rereadAfter)
	if _, err := handshake(t, c, next, "two.example.test", at.now()); err != nil {
		t.Errorf("with a broken file: %v; want the last good certificate", err)
	}
}

// TestMakeOwnFor proves that whoever trusts the authority of one name trusts
// nothing else that it would sign.
func TestMakeOwnFor(t *testing.T) {
	t.Parallel()
	at := newClock(time.Now())
	dir := t.TempDir()
	own, err := MakeOwnFor(dir, "answers.example.test", at.now)
	if err != nil {
		t.Fatal(err)
	}
	trust := filepath.Join(dir, AuthorityFile)
	if _, err := handshake(t, own, trust, "answers.example.test", at.now()); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"www.example.test", "192.0.2.1"} {
		stolen, err := MakeOwn(dir, []string{name}, at.now) // whoever has the key signs what he likes
		if err != nil {
			t.Fatal(err)
		}
		if _, err := handshake(t, stolen, trust, name, at.now()); err == nil {
			t.Errorf("a certificate of the authority for %s is trusted", name)
		}
	}
}
