// Package certificates has what the server shows to clients that speak TLS: the
// operator's certificate, or one that an authority of this installation issues.
package certificates

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/lamina-run/lamina/internal/fsx"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	authorityLeft = 365 * 24 * time.Hour // with less, a start makes a new authority
	leafLife      = 90 * 24 * time.Hour
	leafLeft      = 30 * 24 * time.Hour
	maxLeaves     = 64 // one for each region of function URLs
	rereadAfter   = time.Minute
)

// Source has certificates for a listener.
type Source interface {
	// Certificate is [tls.Config.GetCertificate].
	Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	// Name is a host that the certificate is for; empty when it is for none that has
	// a name.
	Name() string
}

// Config returns the configuration of a listener.
func Config(c Source) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.Certificate, NextProtos: []string{"http/1.1"}}
}

// files are the operator's, read anew when the files have changed, so
// that a renewal needs no restart.
type files struct {
	certificate, key string
	now              func() time.Time

	mu      sync.Mutex
	looked  time.Time
	stamp   [2]time.Time
	current *tls.Certificate
}

// FromFiles reads a certificate, followed by those in between it and a root,
// and its key, both PEM.
func FromFiles(certificate, key string, now func() time.Time) (Source, error) {
	f := &files{certificate: certificate, key: key, now: now}
	if err := f.read(); err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	return f, nil
}

// read wants f.mu, but from the constructor.
func (f *files) read() error {
	f.looked = f.now()
	var stamp [2]time.Time
	for i, file := range []string{f.certificate, f.key} {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		stamp[i] = info.ModTime()
	}
	if f.current != nil && stamp == f.stamp {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(f.certificate, f.key)
	if err != nil {
		return err
	}
	f.current, f.stamp = &pair, stamp
	return nil
}

func (f *files) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now().Sub(f.looked) > rereadAfter {
		_ = f.read() // half a renewal: the one that was good goes on until the next look
	}
	return f.current, nil
}

func (f *files) Name() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range f.current.Leaf.DNSNames {
		if name[0] != '*' {
			return name
		}
	}
	return ""
}

// Own is a small authority of this installation, and what it issues
// for the server's names.
type Own struct {
	now       func() time.Time
	hosts     []string
	only      string // name that the authority is bound to, or empty
	authority *x509.Certificate
	key       *ecdsa.PrivateKey

	mu     sync.Mutex
	leaves map[string]*tls.Certificate // by region of a function URL; empty for the hosts
}

// Files of an authority in its directory.
const (
	AuthorityFile = "ca.pem" // what clients have to trust
	authorityKey  = "ca-key.pem"
)

// MakeOwn opens the authority in a directory, which it makes at first, and
// issues certificates for hosts: names and IP addresses.
func MakeOwn(dir string, hosts []string, now func() time.Time) (*Own, error) {
	return makeOwn(dir, &Own{now: now, hosts: hosts, leaves: map[string]*tls.Certificate{}})
}

// MakeOwnFor is MakeOwn for one name, and an authority that can vouch for nothing
// else: who trusts it gives nothing away.
func MakeOwnFor(dir, name string, now func() time.Time) (*Own, error) {
	return makeOwn(dir, &Own{now: now, hosts: []string{name}, only: name, leaves: map[string]*tls.Certificate{}})
}

func makeOwn(dir string, o *Own) (*Own, error) {
	err := o.open(dir)
	if err == nil {
		_, err = o.Certificate(&tls.ClientHelloInfo{})
	}
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	return o, nil
}

func (o *Own) open(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, AuthorityFile), filepath.Join(dir, authorityKey))
	if err == nil && pair.Leaf.NotAfter.Sub(o.now()) > authorityLeft {
		key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
		if !ok {
			return errors.New("the authority's key is of another kind")
		}
		o.authority, o.key = pair.Leaf, key
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	o.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := o.template(authorityLife)
	template.Subject = pkix.Name{CommonName: "Lamina on this machine " + rand.Text()[:6]}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	if o.only != "" {
		template.PermittedDNSDomainsCritical, template.PermittedDNSDomains = true, []string{o.only}
		template.ExcludedIPRanges = []*net.IPNet{{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, {IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &o.key.PublicKey, o.key)
	if err != nil {
		return err
	}
	if o.authority, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(o.key)
	if err != nil {
		return err
	}
	// The key first: a certificate without its key would be of no use, and made anew.
	if err := fsx.WriteFile(filepath.Join(dir, authorityKey), encodePEM("PRIVATE KEY", private), 0o600); err != nil {
		return err
	}
	return fsx.WriteFile(filepath.Join(dir, AuthorityFile), encodePEM("CERTIFICATE", der), 0o644)
}

func encodePEM(kind string, der []byte) []byte {
	var b bytes.Buffer
	_ = pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}) // a buffer takes everything
	return b.Bytes()
}

func (o *Own) template(life time.Duration) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // crypto/rand never fails
	}
	return &x509.Certificate{SerialNumber: serial, NotBefore: o.now().Add(-time.Hour), NotAfter: o.now().Add(life)}
}

// urlHost is the host name of a function URL.
var urlHost = regexp.MustCompile(`^[a-z0-9]{1,63}\.(lambda-url\.[a-z0-9-]{1,32})\.([a-z0-9.-]{1,200})$`)

// Certificate issues one when there is none, or an old one. Strangers choose the
// names that they ask for, so only those of function URLs get one of their own.
func (o *Own) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	wildcard := ""
	if m := urlHost.FindStringSubmatch(hello.ServerName); m != nil && slices.Contains(o.hosts, m[2]) {
		wildcard = "*." + m[1] + "." + m[2]
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if c := o.leaves[wildcard]; c != nil && c.Leaf.NotAfter.Sub(o.now()) > leafLeft {
		return c, nil
	}
	names := o.hosts
	if wildcard != "" {
		names = []string{wildcard}
	}
	c, err := o.issue(names)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	if len(o.leaves) >= maxLeaves {
		clear(o.leaves)
	}
	o.leaves[wildcard] = c
	return c, nil
}

func (o *Own) issue(names []string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := o.template(leafLife)
	t.Subject = pkix.Name{CommonName: names[0]}
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, o.authority, &key.PublicKey, o.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// Name is the first host.
func (o *Own) Name() string { return o.hosts[0] }
