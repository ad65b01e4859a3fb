package lamina

import "time"

// LayerVersion is one numbered, immutable archive of a layer.
type LayerVersion struct {
	Layer         LayerID
	Number        int64
	Digest        Digest
	CodeSize      int64 // bytes of the zip
	UnpackedSize  int64 // bytes of all its files
	Description   string
	LicenseInfo   *string
	Runtimes      []string // CompatibleRuntimes; nil when the request had none
	Architectures []string // CompatibleArchitectures; nil when the request had none
	Created       time.Time
	Signature     Signature
	Directory     string // of the host, shown as it is; empty for an archive
}

// ARN returns the layer version ARN.
func (v LayerVersion) ARN() string { return v.Layer.VersionARN(v.Number) }

// AttachedLayer is a layer version as a function holds it. The function keeps
// the digest, so it runs on when the layer version is deleted.
type AttachedLayer struct {
	ARN          string
	Digest       Digest
	CodeSize     int64
	UnpackedSize int64
	// Who signed it; empty without a signature that a signing profile vouches for.
	SigningProfileVersionARN string `json:",omitzero"`
	SigningJobARN            string `json:",omitzero"`
	// Directory is the host's directory that is shown as it is; empty for an archive.
	Directory string `json:",omitzero"`
}
