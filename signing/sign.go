package signing

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lamina-run/lamina"
)

// ErrSigned says that an archive has a signature already, or what is left of one.
var ErrSigned = errors.New("archive is signed already")

// Signer signs archives.
type Signer struct {
	Key crypto.Signer
	// Certificates are the signer's own, then those of issuers that whoever checks
	// the signature may lack.
	Certificates []*x509.Certificate
	// Replace signs archives anew that have a signature; without it they are
	// refused with ErrSigned.
	Replace bool
	Now     func() time.Time
}

// Check refuses a signer whose signatures would not be accepted now.
func (s Signer) Check() error {
	if len(s.Certificates) == 0 || len(s.Certificates) > certificates {
		return fmt.Errorf("%d certificates: want 1 to %d", len(s.Certificates), certificates)
	}
	leaf := s.Certificates[0]
	if err := CheckCertificate(leaf); err != nil {
		return err
	}
	if own, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !own.Equal(s.Key.Public()) {
		return errors.New("the key is not the certificate's")
	}
	if now := s.Now(); now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return fmt.Errorf("the certificate is valid from %s to %s", leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// Sign writes the archive with a manifest and a signature to w: the same content
// under the same names, the compressed bytes as they were. What the zip had
// besides, such as overwritten entries and comments, is left out. The archive is
// read twice and never held in memory. The same archive, key and time give the
// same bytes. What was written is worthless if the error is not nil.
func (s Signer) Sign(ctx context.Context, w io.Writer, a *lamina.Archive) error {
	if err := s.Check(); err != nil {
		return err
	}
	listed, manifest, signature := content(a)
	if (manifest != nil || signature != nil) && !s.Replace {
		return ErrSigned
	}
	sums, err := digests(ctx, a, listed)
	if err != nil {
		return err
	}
	out := zip.NewWriter(w)
	for i := range a.Entries {
		if e := &a.Entries[i]; e != manifest && e != signature {
			if err := copyEntry(ctx, out, e); err != nil {
				return fmt.Errorf("copy entry %q: %w", e.Name, err)
			}
		}
	}
	now := s.Now()
	var packed bytes.Buffer
	text := measure{hash: sha256.New()}
	crc := crc32.NewIEEE()
	deflate, err := flate.NewWriter(&packed, flate.DefaultCompression)
	if err != nil {
		return err
	}
	if err := errors.Join(writeManifest(io.MultiWriter(&text, crc, deflate), a, listed, sums), deflate.Close()); err != nil {
		return err
	}
	der, err := s.sign(text.sum(), now)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	if len(der) > signatureBytes {
		return fmt.Errorf("signature of %d bytes with its certificates: want %d or fewer", len(der), signatureBytes)
	}
	for _, own := range []struct {
		name string
		size int64
		lamina.Packed
	}{
		{ManifestName, text.size, lamina.Packed{Reader: &packed, Size: int64(packed.Len()), CRC: crc.Sum32(), Deflated: true}},
		{SignatureName, int64(len(der)), lamina.Packed{Reader: bytes.NewReader(der), Size: int64(len(der)), CRC: crc32.ChecksumIEEE(der)}},
	} {
		if err := writeEntry(ctx, out, own.name, 0o644, now, own.size, own.Packed); err != nil {
			return fmt.Errorf("write %s: %w", own.name, err)
		}
	}
	return out.Close()
}

func copyEntry(ctx context.Context, out *zip.Writer, e *lamina.ArchiveEntry) error {
	switch e.Kind {
	case lamina.ArchiveDirectory:
		return writeEntry(ctx, out, e.Name+"/", fs.ModeDir|e.Mode, e.Modified, 0, lamina.Packed{Reader: bytes.NewReader(nil)})
	case lamina.ArchiveSymlink:
		return writeEntry(ctx, out, e.Name, fs.ModeSymlink|e.Mode, e.Modified, e.Size, e.Packed())
	default:
		return writeEntry(ctx, out, e.Name, e.Mode, e.Modified, e.Size, e.Packed())
	}
}

// writeEntry writes one entry as [lamina.Archive.CheckPlain] wants them.
func writeEntry(ctx context.Context, out *zip.Writer, name string, mode fs.FileMode, modified time.Time, size int64, content lamina.Packed) error {
	const deflateVersion, utf8Names = 20, 1 << 11
	h := &zip.FileHeader{
		Name: name, ReaderVersion: deflateVersion, CRC32: content.CRC,
		UncompressedSize64: uint64(size), CompressedSize64: uint64(content.Size), Extra: extendedTime(modified),
	}
	h.SetMode(mode)
	//lint:ignore SA1019 CreateRaw writes these and no others
	h.ModifiedDate, h.ModifiedTime = dosTime(modified)
	if content.Deflated {
		h.Method = zip.Deflate
	}
	if utf8.ValidString(name) && strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
		h.Flags = utf8Names
	}
	w, err := out.CreateRaw(h)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, contextReader{ctx, content.Reader})
	return err
}

// contextReader fails when its context ends.
type contextReader struct {
	ctx context.Context //nolint:containedctx // lives as long as one copy
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}

// dosTime is a time with the precision and range of MS-DOS.
func dosTime(t time.Time) (date, clock uint16) {
	t = t.UTC()
	if t.Year() < 1980 {
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if t.Year() > 2107 {
		t = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	}
	return uint16(t.Day() + int(t.Month())<<5 + (t.Year()-1980)<<9), uint16(t.Second()/2 + t.Minute()<<5 + t.Hour()<<11)
}

// extendedTime is an extra field with a time in seconds, nil for times beyond
// its range.
func extendedTime(t time.Time) []byte {
	const tag, length, hasModified = 0x5455, 5, 1
	if t.Unix() != int64(int32(t.Unix())) {
		return nil
	}
	field := binary.LittleEndian.AppendUint16(nil, tag)
	field = append(binary.LittleEndian.AppendUint16(field, length), hasModified)
	return binary.LittleEndian.AppendUint32(field, uint32(t.Unix()))
}
