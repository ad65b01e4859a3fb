package lamina

import (
	"crypto/sha256"
	"regexp"
)

// imageURI is registry/repository with a tag, a digest or both.
var imageURI = regexp.MustCompile(`^([a-zA-Z0-9.-]+(?::\d+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+)(?::([a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}))?(?:@sha256:([0-9a-f]{64}))?$`)

// ImageCode reads the ImageUri of a function. It reports false for text that
// names no image of a registry, or neither a tag nor a digest of it.
//
// Only the registry knows which image a tag means now, and Lamina asks none. The
// digest is that of the URI when it has one, else one derived from the URI: the
// same URI always has the same digest, so that pushing a new image under an old
// tag changes neither CodeSha256 nor what PublishVersion takes for a change.
func ImageCode(uri string) (Code, bool) {
	m := imageURI.FindStringSubmatch(uri)
	if m == nil || m[2] == "" && m[3] == "" {
		return Code{}, false
	}
	c := Code{ImageURI: uri, Digest: sha256.Sum256([]byte("image " + uri))}
	if m[3] != "" {
		var err error
		if c.Digest, err = ParseDigest(m[3]); err != nil {
			return Code{}, false
		}
	}
	return c, true
}

// ResolvedImageURI names the image by its digest instead of a tag.
func (c Code) ResolvedImageURI() string {
	m := imageURI.FindStringSubmatch(c.ImageURI)
	if m == nil {
		return ""
	}
	return m[1] + "@sha256:" + c.Digest.String()
}

// CodeSHA256 returns the digest as the API shows it: of a zip in base64, of an
// image in hexadecimal.
func (c Code) CodeSHA256() string {
	if c.ImageURI != "" {
		return c.Digest.String()
	}
	return contentSHA256(c.Digest, c.Directory)
}
