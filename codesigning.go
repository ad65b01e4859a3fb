package lamina

import (
	"slices"
	"time"
)

// CodeSigningConfig says whose signature the code of a function must carry, and
// what happens to code without one.
type CodeSigningConfig struct {
	Scope
	ID          string // csc- and 17 of a-z0-9
	Description *string
	// Publishers are the ARNs of the signing profile versions that are allowed.
	Publishers []string
	Policy     string
	Modified   time.Time
}

// What happens to code that no allowed publisher signed.
const (
	SigningWarn    = "Warn"
	SigningEnforce = "Enforce"
)

// ARN returns the ARN of the configuration.
func (c CodeSigningConfig) ARN() string {
	return "arn:" + Partition + ":lambda:" + c.Region + ":" + c.Account + ":code-signing-config:" + c.ID
}

// SigningProfile is one version of a signing profile: a certificate whose
// signatures, and those of the certificates that it issued, are recognized.
type SigningProfile struct {
	Scope
	Name        string
	Version     string // ten of a-zA-Z0-9
	Certificate []byte // DER
	Created     time.Time
	Revoked     time.Time // zero while it is not
}

// ARN returns the ARN of the signing profile version.
func (p SigningProfile) ARN() string {
	return "arn:" + Partition + ":signer:" + p.Region + ":" + p.Account + ":/signing-profiles/" + p.Name + "/" + p.Version
}

// SignatureFinding says what came of looking at an archive's signature.
type SignatureFinding string

// Findings.
const (
	SignatureAbsent  SignatureFinding = ""
	SignatureValid   SignatureFinding = "valid"
	SignatureAltered SignatureFinding = "altered" // the archive is not what was signed, or the signature is none
	SignatureExpired SignatureFinding = "expired" // its certificate is, or was not valid yet
	SignatureForeign SignatureFinding = "foreign" // no signing profile has the certificate or issued it
	SignatureRevoked SignatureFinding = "revoked" // only a revoked signing profile does
)

// Signature is what came of looking at an archive's signature when the archive
// was uploaded. All but the finding is there for a valid one only.
type Signature struct {
	Finding SignatureFinding
	// ProfileVersionARN names the signing profile version that vouches for it.
	ProfileVersionARN string
	// JobARN names the act of signing; the same archive has the same.
	JobARN string
	// Expires is when the first certificate behind the signature expires.
	Expires time.Time
}

// Judge returns what deploying an archive with the signature at a given time
// means to a function with the configuration: SignatureValid, or why not.
func (c CodeSigningConfig) Judge(s Signature, now time.Time) SignatureFinding {
	switch {
	case s.Finding != SignatureValid:
		return s.Finding
	case !now.Before(s.Expires):
		return SignatureExpired
	case !slices.Contains(c.Publishers, s.ProfileVersionARN):
		return SignatureForeign
	}
	return SignatureValid
}
