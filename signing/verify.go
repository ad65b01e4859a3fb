package signing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/lamina-run/lamina"
)

// What can be wrong with a signature. Each comes wrapped with what exactly.
var (
	// ErrUnsigned says that the archive has no signature.
	ErrUnsigned = errors.New("archive is not signed")
	// ErrAltered says that the archive is not what was signed, or that what it
	// has for a signature is none.
	ErrAltered = errors.New("archive is not what was signed")
	// ErrExpired says that a certificate is not valid now, or was not when the
	// archive was signed.
	ErrExpired = errors.New("signature's certificate is not valid at this time")
	// ErrForeign says that the signer's certificate is another one and was not
	// issued by this one.
	ErrForeign = errors.New("signature is somebody else's")
)

// Signature is one over a whole archive, whose math is right.
type Signature struct {
	Certificate *x509.Certificate // of the signer
	Time        time.Time         // when it was signed, as the signer says
	others      []*x509.Certificate
	id          [sha256.Size]byte
}

// ID tells a signature from others. Signing the same again at another time gives
// another.
func (s *Signature) ID() [sha256.Size]byte { return s.id }

// Verify reads the whole archive and returns its signature. The error is, or
// wraps, ErrUnsigned or ErrAltered, unless the archive could not be read.
func Verify(ctx context.Context, a *lamina.Archive) (*Signature, error) {
	listed, manifest, signature := content(a)
	switch {
	case manifest == nil && signature == nil:
		return nil, ErrUnsigned
	case manifest == nil || signature == nil:
		return nil, altered(errors.New("the manifest or the signature is missing"))
	case manifest.Kind != lamina.ArchiveFile || signature.Kind != lamina.ArchiveFile:
		return nil, altered(errors.New("the manifest or the signature is no file"))
	case signature.Size > signatureBytes:
		return nil, altered(fmt.Errorf("signature of %d bytes", signature.Size))
	}
	if err := a.CheckPlain(); err != nil {
		return nil, failure(err)
	}
	var in lamina.Inflater
	var der bytes.Buffer
	if err := in.Copy(ctx, &der, signature); err != nil {
		return nil, failure(err)
	}
	// Before the archive is inflated, so that hostile ones cost little.
	signed := measure{hash: sha256.New()}
	if err := in.Copy(ctx, &signed, manifest); err != nil {
		return nil, failure(err)
	}
	s, err := parseSignature(der.Bytes(), signed.sum())
	if err != nil {
		return nil, altered(err)
	}
	sums, err := digests(ctx, a, listed)
	if err != nil {
		return nil, failure(err)
	}
	wanted := measure{hash: sha256.New()}
	if err := writeManifest(&wanted, a, listed, sums); err != nil {
		return nil, err
	}
	if wanted.size != signed.size || wanted.sum() != signed.sum() {
		return nil, altered(errors.New("entries differ from the manifest"))
	}
	return s, nil
}

func altered(err error) error { return fmt.Errorf("%w: %w", ErrAltered, err) }

// failure tells a zip that is not as it should be from one that can't be read.
func failure(err error) error {
	if _, ok := errors.AsType[*lamina.ArchiveError](err); ok {
		return altered(err)
	}
	return fmt.Errorf("verify signature: %w", err)
}

// measure is the digest and the length of what is written to it.
type measure struct {
	hash hash.Hash
	size int64
}

func (m *measure) Write(p []byte) (int, error) {
	m.size += int64(len(p))
	return m.hash.Write(p)
}

func (m *measure) sum() (sum [sha256.Size]byte) {
	m.hash.Sum(sum[:0])
	return sum
}

// skew is how far the clocks of signers may be ahead.
const skew = 5 * time.Minute

// IssuedBy asks whether the signer's certificate is the publisher's, or was
// issued by it, directly or through others that came with the signature, and
// whether all of them were valid when the archive was signed and are now. If so
// it returns when the first of them expires, otherwise an error that is, or
// wraps, ErrExpired or ErrForeign.
func (s *Signature) IssuedBy(publisher *x509.Certificate, now time.Time) (expires time.Time, err error) {
	if err := CheckCertificate(s.Certificate); err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if s.Time.After(now.Add(skew)) {
		return time.Time{}, fmt.Errorf("%w: signed at %s, which is yet to come", ErrExpired, s.Time.Format(time.RFC3339))
	}
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	options.Roots.AddCert(publisher)
	for _, c := range s.others {
		options.Intermediates.AddCert(c)
	}
	var chain []*x509.Certificate
	for _, at := range []time.Time{s.Time, now} {
		options.CurrentTime = at
		chains, err := s.Certificate.Verify(options)
		if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
			return time.Time{}, fmt.Errorf("%w: %w", ErrExpired, err)
		}
		if err != nil {
			return time.Time{}, fmt.Errorf("%w: %w", ErrForeign, err)
		}
		chain = chains[0]
	}
	expires = chain[0].NotAfter
	for _, c := range chain {
		if c.NotAfter.Before(expires) {
			expires = c.NotAfter
		}
	}
	return expires, nil
}

// CheckCertificate refuses a certificate with which no archive can be signed.
func CheckCertificate(c *x509.Certificate) error {
	if _, err := checkKey(c.PublicKey); err != nil {
		return err
	}
	if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return errors.New("the certificate's key usage does not include digital signatures")
	}
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 {
		return nil
	}
	for _, usage := range c.ExtKeyUsage {
		if usage == x509.ExtKeyUsageCodeSigning || usage == x509.ExtKeyUsageAny {
			return nil
		}
	}
	return errors.New("the certificate's extended key usage does not include code signing")
}
