// Package signing answers whether an archive is what somebody signed, and who
// that was. It makes signed archives too. Whose signature counts is the question
// of package control, which knows the signing profiles.
//
// # A signed archive
//
// A signed archive is a zip with two more entries:
//
//	META-INF/lamina/manifest.json   name, kind, mode, size and SHA-256 of every other entry
//	META-INF/lamina/signature.p7s   CMS SignedData (RFC 5652) over the manifest's bytes, detached
//
// The manifest has one form for given entries: sorted by name, one line each.
// [Verify] never parses it. It writes the manifest that the archive ought to
// have and compares bytes, so that no entry can be missing, added or renamed and
// no JSON can be read in two ways. The zip itself has one reading too, see
// [lamina.Archive.CheckPlain].
//
// The signature is DER, by one signer with RSA (PKCS #1 v1.5) or ECDSA and
// SHA-256. Its signed attributes hold the content's type, the manifest's digest
// and the signing time. Its certificates are the signer's and the issuers that
// the signer has, up to eight. It has nothing unsigned: neither CRLs nor
// unsigned attributes. The signing time is what the signer says; a certificate
// must be valid both then and when the archive is uploaded.
//
//	openssl cms -verify -binary -inform DER -in signature.p7s -content manifest.json -CAfile ca.pem -purpose any
//
// # A walk
//
//	archive, err := lamina.ReadArchive(upload, size, limits)
//	signature, err := signing.Verify(ctx, archive) // ErrUnsigned, ErrAltered
//	expires, err := signature.IssuedBy(publisher, now) // ErrExpired, ErrForeign
package signing
