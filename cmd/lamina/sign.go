package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/signing"
)

type signVerb struct {
	In          string `arg:"" type:"existingfile" help:"Zip to sign."`
	Out         string `short:"o" required:"" type:"path" help:"Signed zip to write."`
	Key         string `required:"" type:"path" help:"Private key in PEM: RSA or ECDSA, not encrypted."`
	Certificate string `required:"" type:"path" help:"Certificate of the key in PEM, followed by those of its issuers, if any."`
	Force       bool   `help:"Sign an archive anew that is signed already."`
}

// Run writes a signed copy of an archive, which appears when it is complete.
func (v *signVerb) Run(ctx context.Context, s streams) error {
	signer, err := v.signer()
	if err != nil {
		return err
	}
	in, err := os.Open(v.In)
	if err != nil {
		return fmt.Errorf("open the zip: %w", err)
	}
	defer in.Close()
	archive, err := readArchive(in)
	if err != nil {
		return hint(fmt.Errorf("read %s: %w", v.In, err), "lamina signs what Lamina would accept; make the zip again")
	}
	out, err := os.CreateTemp(filepath.Dir(v.Out), ".lamina-sign-*")
	if err != nil {
		return hint(fmt.Errorf("make the signed zip: %w", err), "choose another place with -o")
	}
	done := false
	defer func() {
		out.Close()
		if !done {
			os.Remove(out.Name())
		}
	}()
	err = signer.Sign(ctx, out, archive)
	if errors.Is(err, signing.ErrSigned) {
		return hint(fmt.Errorf("sign %s: %w", v.In, err), "give --force to replace the signature")
	}
	if err != nil {
		return fmt.Errorf("sign %s: %w", v.In, err)
	}
	// What names there are together is known only now, and a signature that
	// does not verify would be found out too late.
	if err := verifyFile(ctx, out); err != nil {
		return hint(fmt.Errorf("sign %s: %w", v.In, err), "make sure that META-INF and META-INF/lamina are directories in the zip, or not there")
	}
	if err := errors.Join(out.Chmod(0o644), out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("write the signed zip: %w", err)
	}
	if err := os.Rename(out.Name(), v.Out); err != nil {
		return hint(fmt.Errorf("write the signed zip: %w", err), "choose another place with -o")
	}
	done = true
	fmt.Fprintf(s.out, "%s\n", v.Out)
	fmt.Fprintf(s.notes, "lamina: signed by %s\n", signer.Certificates[0].Subject)
	return nil
}

// signer reads the key and the certificate.
func (v *signVerb) signer() (signing.Signer, error) {
	text, err := os.ReadFile(v.Key)
	if err != nil {
		return signing.Signer{}, hint(fmt.Errorf("read the key: %w", err), "name the file with the private key with --key")
	}
	key, err := signing.ParseKey(text)
	switch {
	case errors.Is(err, signing.ErrEncryptedKey):
		return signing.Signer{}, hint(fmt.Errorf("read the key %s: %w", v.Key, err), "decrypt it into a file that only you can read: openssl pkey -in %s -out plain.pem", shellQuote(v.Key))
	case err != nil:
		return signing.Signer{}, hint(fmt.Errorf("read the key %s: %w", v.Key, err), "make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem")
	}
	text, err = os.ReadFile(v.Certificate)
	if err != nil {
		return signing.Signer{}, hint(fmt.Errorf("read the certificate: %w", err), "name the file with the certificate with --certificate")
	}
	chain, err := signing.ParseCertificates(text)
	if err != nil {
		return signing.Signer{}, hint(fmt.Errorf("read the certificate %s: %w", v.Certificate, err), "make one: openssl req -x509 -key %s -subj /CN=publisher -addext extendedKeyUsage=codeSigning -addext keyUsage=digitalSignature -days 365 -out cert.pem", shellQuote(v.Key))
	}
	signer := signing.Signer{Key: key, Certificates: chain, Replace: v.Force, Now: time.Now}
	if err := signer.Check(); err != nil {
		return signing.Signer{}, hint(fmt.Errorf("sign with %s: %w", v.Certificate, err), "the first certificate in the file must be the key's own, valid now, and for code signing")
	}
	return signer, nil
}

func readArchive(f *os.File) (*lamina.Archive, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return lamina.ReadArchive(f, info.Size(), lamina.DefaultLimits())
}

func verifyFile(ctx context.Context, f *os.File) error {
	archive, err := readArchive(f)
	if err != nil {
		return err
	}
	_, err = signing.Verify(ctx, archive)
	return err
}
