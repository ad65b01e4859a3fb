package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/signing"
)

// writeKey writes key.pem and cert.pem, valid for an hour around now, and
// returns the certificate.
func writeKey(t *testing.T, dir, prefix string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: prefix}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"key.pem": {Type: "PRIVATE KEY", Bytes: pkcs8}, "cert.pem": {Type: "CERTIFICATE", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, prefix+name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSignVerb(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	mine, yours := writeKey(t, dir, "me-"), writeKey(t, dir, "you-")
	for name, data := range map[string][]byte{
		"plain.zip":  testkit.Zip(t, testkit.File{Name: "app.py", Body: "x"}),
		"taken.zip":  testkit.Zip(t, testkit.File{Name: "META-INF", Body: "a file"}),
		"not.zip":    []byte("hello"),
		"secret.pem": pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}),
	} {
		if err := os.WriteFile(path(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name        string
		in, out     string
		key, cert   string
		force       bool
		code        int
		words       string // of the error and the hint
		certificate *x509.Certificate
	}{
		{"a zip", "plain.zip", "signed.zip", "me-key.pem", "me-cert.pem", false, 0, "", mine},
		{"a signed zip", "signed.zip", "again.zip", "you-key.pem", "you-cert.pem", false, 1, "--force", nil},
		{"a signed zip with --force", "signed.zip", "again.zip", "you-key.pem", "you-cert.pem", true, 0, "", yours},
		{"onto itself", "again.zip", "again.zip", "me-key.pem", "me-cert.pem", true, 0, "", mine},
		{"another's key", "plain.zip", "x.zip", "you-key.pem", "me-cert.pem", false, 1, "the key is not the certificate's", nil},
		{"an encrypted key", "plain.zip", "x.zip", "secret.pem", "me-cert.pem", false, 1, "openssl pkey", nil},
		{"a certificate for a key", "plain.zip", "x.zip", "me-cert.pem", "me-cert.pem", false, 1, "openssl genpkey", nil},
		{"a key for a certificate", "plain.zip", "x.zip", "me-key.pem", "me-key.pem", false, 1, "openssl req", nil},
		{"no key", "plain.zip", "x.zip", "absent.pem", "me-cert.pem", false, 1, "--key", nil},
		{"no zip", "not.zip", "x.zip", "me-key.pem", "me-cert.pem", false, 1, "not a zip", nil},
		{"no place", "plain.zip", "absent/x.zip", "me-key.pem", "me-cert.pem", false, 1, "-o", nil},
		{"a file where META-INF is to be", "taken.zip", "x.zip", "me-key.pem", "me-cert.pem", false, 1, "META-INF", nil},
		{"no file", "absent.zip", "x.zip", "me-key.pem", "me-cert.pem", false, 2, "absent.zip", nil},
	} {
		var out, notes bytes.Buffer
		args := []string{"sign", path(c.in), "-o", path(c.out), "--key", path(c.key), "--certificate", path(c.cert)}
		if c.force {
			args = append(args, "--force")
		}
		if code := run(args, streams{out: &out, notes: &notes}); code != c.code || !strings.Contains(notes.String(), c.words) {
			t.Errorf("%s: %d %s; want %d %s", c.name, code, notes.String(), c.code, c.words)
			continue
		}
		if c.certificate == nil {
			if _, err := os.Stat(path(c.out)); err == nil || out.Len() > 0 {
				t.Errorf("%s: leaves %s and says %q; want nothing", c.name, c.out, out.String())
			}
			continue
		}
		data, err := os.ReadFile(path(c.out))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		archive, err := lamina.ReadArchive(bytes.NewReader(data), int64(len(data)), lamina.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		s, err := signing.Verify(t.Context(), archive)
		if err != nil || !s.Certificate.Equal(c.certificate) {
			t.Errorf("%s: signed by %v, %v; want %s", c.name, s, err, c.certificate.Subject)
		}
	}
	left, err := filepath.Glob(path(".lamina-sign-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
