package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// The parts of CMS (RFC 5652) that a detached signature by one signer has.
// Extra fields at the end, which encoding/asn1 would skip, are found by writing
// again what was read.

type contentInfo struct {
	ContentType asn1.ObjectIdentifier
	Content     signedData `asn1:"explicit,tag:0"`
}

type signedData struct {
	Version          int
	DigestAlgorithms []pkix.AlgorithmIdentifier `asn1:"set"`
	Encapsulated     encapsulated
	Certificates     []asn1.RawValue `asn1:"optional,set,tag:0"`
	Signers          []signerInfo    `asn1:"set"`
}

// encapsulated has no content: the signature is detached.
type encapsulated struct {
	ContentType asn1.ObjectIdentifier
}

type signerInfo struct {
	Version            int
	Certificate        issuerAndSerial
	DigestAlgorithm    pkix.AlgorithmIdentifier
	SignedAttributes   []attribute `asn1:"set,tag:0"`
	SignatureAlgorithm pkix.AlgorithmIdentifier
	Signature          []byte
}

type issuerAndSerial struct {
	Issuer asn1.RawValue
	Serial *big.Int
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}

	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}

	oidSHA256          = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidRSA             = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidSHA256WithRSA   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	oidECDSAWithSHA256 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
)

// version is that of signed data with a signer who is named by issuer and serial.
const version = 1

// Bounds of what is read.
const (
	signatureBytes = 64 << 10
	certificates   = 8
	// RSA keys in bits. With a much longer one, looking at a signature takes long.
	shortestRSA = 2048
	longestRSA  = 16384
)

// checkKey refuses keys whose signatures do not count.
func checkKey(public crypto.PublicKey) (x509.SignatureAlgorithm, error) {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < shortestRSA || n > longestRSA {
			return 0, fmt.Errorf("RSA key of %d bits: want %d to %d", n, shortestRSA, longestRSA)
		}
		return x509.SHA256WithRSA, nil
	case *ecdsa.PublicKey:
		return x509.ECDSAWithSHA256, nil
	}
	return 0, fmt.Errorf("key is %T: want RSA or ECDSA", public)
}

// sign returns the signature over content with the given digest.
func (s Signer) sign(digest [sha256.Size]byte, now time.Time) ([]byte, error) {
	var algorithm pkix.AlgorithmIdentifier
	switch s.Key.Public().(type) {
	case *rsa.PublicKey:
		algorithm = pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}
	default:
		algorithm = pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA256}
	}
	attributes, err := signedAttributes(digest, now)
	if err != nil {
		return nil, err
	}
	der, err := asn1.MarshalWithParams(attributes, "set")
	if err != nil {
		return nil, err
	}
	hashed := sha256.Sum256(der)
	// Without a source of randomness ECDSA signs as RFC 6979 says: the same
	// archive, key and time give the same signature.
	value, err := s.Key.Sign(nil, hashed[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	leaf := s.Certificates[0]
	sha := pkix.AlgorithmIdentifier{Algorithm: oidSHA256}
	out := contentInfo{ContentType: oidSignedData, Content: signedData{
		Version: 1, DigestAlgorithms: []pkix.AlgorithmIdentifier{sha}, Encapsulated: encapsulated{oidData},
		Signers: []signerInfo{{
			Version: 1, Certificate: issuerAndSerial{asn1.RawValue{FullBytes: leaf.RawIssuer}, leaf.SerialNumber},
			DigestAlgorithm: sha, SignedAttributes: attributes, SignatureAlgorithm: algorithm, Signature: value,
		}},
	}}
	for _, c := range s.Certificates {
		out.Content.Certificates = append(out.Content.Certificates, asn1.RawValue{FullBytes: c.Raw})
	}
	return asn1.Marshal(out)
}

func signedAttributes(digest [sha256.Size]byte, now time.Time) ([]attribute, error) {
	var all []attribute
	for _, a := range []struct {
		oid   asn1.ObjectIdentifier
		value any
	}{{oidContentType, oidData}, {oidMessageDigest, digest[:]}, {oidSigningTime, now.UTC().Truncate(time.Second)}} {
		der, err := asn1.Marshal(a.value)
		if err != nil {
			return nil, err
		}
		all = append(all, attribute{a.oid, []asn1.RawValue{{FullBytes: der}}})
	}
	return all, nil
}

// parseSignature reads a signature and checks that it is one over content with
// the given digest. Who signed is left to [Signature.IssuedBy].
func parseSignature(der []byte, digest [sha256.Size]byte) (*Signature, error) {
	var in contentInfo
	rest, err := asn1.Unmarshal(der, &in)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, errors.New("bytes behind the signature")
	}
	if again, err := asn1.Marshal(in); err != nil || !bytes.Equal(again, der) {
		return nil, errors.New("the signature is not in its simplest form")
	}
	d := in.Content
	if !in.ContentType.Equal(oidSignedData) || d.Version != version || !d.Encapsulated.ContentType.Equal(oidData) {
		return nil, errors.New("not signed data")
	}
	if len(d.Signers) != 1 || len(d.DigestAlgorithms) != 1 {
		return nil, fmt.Errorf("%d signers: want one", len(d.Signers))
	}
	signer := d.Signers[0]
	if signer.Version != version {
		return nil, fmt.Errorf("signer's version is %d: want %d", signer.Version, version)
	}
	for _, a := range []pkix.AlgorithmIdentifier{d.DigestAlgorithms[0], signer.DigestAlgorithm, signer.SignatureAlgorithm} {
		if p := a.Parameters.FullBytes; len(p) > 0 && !bytes.Equal(p, asn1.NullBytes) {
			return nil, fmt.Errorf("algorithm %s has parameters", a.Algorithm)
		}
	}
	if !d.DigestAlgorithms[0].Algorithm.Equal(oidSHA256) || !signer.DigestAlgorithm.Algorithm.Equal(oidSHA256) {
		return nil, errors.New("digest is not SHA-256")
	}
	s, err := d.certificates(signer)
	if err != nil {
		return nil, err
	}
	if s.Time, err = signer.attributes(digest); err != nil {
		return nil, err
	}
	algorithm, err := checkKey(s.Certificate.PublicKey)
	if err != nil {
		return nil, err
	}
	switch oid := signer.SignatureAlgorithm.Algorithm; {
	case algorithm == x509.SHA256WithRSA && (oid.Equal(oidRSA) || oid.Equal(oidSHA256WithRSA)):
	case algorithm == x509.ECDSAWithSHA256 && oid.Equal(oidECDSAWithSHA256):
	default:
		return nil, fmt.Errorf("signature algorithm %s does not fit the certificate's key", oid)
	}
	signed, err := asn1.MarshalWithParams(signer.SignedAttributes, "set")
	if err != nil {
		return nil, err
	}
	if err := s.Certificate.CheckSignature(algorithm, signed, signer.Signature); err != nil {
		return nil, err
	}
	// The signature value alone would not do: an ECDSA one (r, s) has the twin (r, -s).
	s.id = sha256.Sum256(append(bytes.Clone(s.Certificate.Raw), signed...))
	return s, nil
}

// certificates finds the signer's certificate among those that came along.
func (d signedData) certificates(signer signerInfo) (*Signature, error) {
	if len(d.Certificates) > certificates {
		return nil, fmt.Errorf("%d certificates: want %d or fewer", len(d.Certificates), certificates)
	}
	s := &Signature{}
	for _, raw := range d.Certificates {
		c, err := x509.ParseCertificate(raw.FullBytes)
		if err != nil {
			return nil, err
		}
		if key, ok := c.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > longestRSA {
			return nil, fmt.Errorf("RSA key of %d bits: want %d or fewer", key.N.BitLen(), longestRSA)
		}
		if !bytes.Equal(c.RawIssuer, signer.Certificate.Issuer.FullBytes) || c.SerialNumber.Cmp(signer.Certificate.Serial) != 0 {
			s.others = append(s.others, c)
			continue
		}
		if s.Certificate != nil {
			return nil, errors.New("two certificates of the signer")
		}
		s.Certificate = c
	}
	if s.Certificate == nil {
		return nil, errors.New("no certificate of the signer")
	}
	return s, nil
}

// attributes checks what is signed and returns the signing time.
func (i signerInfo) attributes(digest [sha256.Size]byte) (time.Time, error) {
	var contentType asn1.ObjectIdentifier
	var message []byte
	var at time.Time
	seen := map[string]bool{}
	for _, a := range i.SignedAttributes {
		if seen[a.Type.String()] || len(a.Values) != 1 {
			return time.Time{}, fmt.Errorf("attribute %s has more or less than one value", a.Type)
		}
		seen[a.Type.String()] = true
		var into any
		switch {
		case a.Type.Equal(oidContentType):
			into = &contentType
		case a.Type.Equal(oidMessageDigest):
			into = &message
		case a.Type.Equal(oidSigningTime):
			into = &at
		default:
			continue // such as what mail programs can do
		}
		if _, err := asn1.Unmarshal(a.Values[0].FullBytes, into); err != nil {
			return time.Time{}, fmt.Errorf("attribute %s: %w", a.Type, err)
		}
	}
	switch {
	case !contentType.Equal(oidData):
		return time.Time{}, errors.New("the content's type is not signed")
	case !bytes.Equal(message, digest[:]):
		return time.Time{}, errors.New("another manifest was signed")
	case at.IsZero():
		return time.Time{}, errors.New("no signing time")
	}
	return at.UTC(), nil
}
