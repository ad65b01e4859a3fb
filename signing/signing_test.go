package signing_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/smallstep/pkcs7"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/signing"
)

func crc(body string) uint32 { return crc32.ChecksumIEEE([]byte(body)) }

var signedAt = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func clock(at time.Time) func() time.Time { return func() time.Time { return at } }

// identity is a certificate with its key.
type identity struct {
	key         crypto.Signer
	certificate *x509.Certificate
}

// issue makes a certificate, valid for a year around signedAt. A nil issuer makes
// it sign itself.
func issue(t testing.TB, name string, issuer *identity, key crypto.Signer, edit ...func(*x509.Certificate)) identity {
	t.Helper()
	if key == nil {
		fresh, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key = fresh
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: signedAt.AddDate(0, -6, 0), NotAfter: signedAt.AddDate(0, 6, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, BasicConstraintsValid: true,
	}
	for _, e := range edit {
		e(template)
	}
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.certificate, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return identity{key, certificate}
}

// authority makes a certificate one that can issue others.
func authority(c *x509.Certificate) {
	c.IsCA, c.ExtKeyUsage, c.KeyUsage = true, nil, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
}

func (i identity) signer(others ...identity) signing.Signer {
	s := signing.Signer{Key: i.key, Certificates: []*x509.Certificate{i.certificate}, Now: clock(signedAt)}
	for _, o := range others {
		s.Certificates = append(s.Certificates, o.certificate)
	}
	return s
}

func archiveOf(t testing.TB, data []byte) *lamina.Archive {
	t.Helper()
	a, err := lamina.ReadArchive(bytes.NewReader(data), int64(len(data)), lamina.DefaultLimits())
	if err != nil {
		t.Fatalf("ReadArchive: %v", err)
	}
	return a
}

func sign(t testing.TB, s signing.Signer, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := s.Sign(t.Context(), &out, archiveOf(t, data)); err != nil {
		t.Fatalf("Sign: %v", err)
	}
	return out.Bytes()
}

func verify(ctx context.Context, data []byte) (*signing.Signature, error) {
	a, err := lamina.ReadArchive(bytes.NewReader(data), int64(len(data)), lamina.DefaultLimits())
	if err != nil {
		return nil, err
	}
	return signing.Verify(ctx, a)
}

func mixedZip(t testing.TB) []byte {
	return testkit.Zip(t,
		testkit.File{Name: "python/", Mode: 0o700},
		testkit.File{Name: "python/app.py", Body: strings.Repeat("def handler(event, context): return event\n", 50)},
		testkit.File{Name: "bin/run", Body: "#!/bin/sh\n", Mode: 0o755},
		testkit.File{Name: "bin/again", Link: "run"},
		testkit.File{Name: `quote " and \ and ü`, Body: ""},
		testkit.File{Name: "latin1-\xe9", Body: "name is no UTF-8"},
	)
}

// unpacked is what an archive makes: name, mode and content.
func unpacked(t testing.TB, data []byte) map[string]string {
	t.Helper()
	all := map[string]string{}
	a := archiveOf(t, data)
	for i := range a.Entries {
		var in lamina.Inflater
		var body bytes.Buffer
		e := &a.Entries[i]
		if err := in.Copy(t.Context(), &body, e); err != nil {
			t.Fatal(err)
		}
		all[e.Name] = fmt.Sprintf("%d %v %v %s", e.Kind, e.Mode, e.Modified, body.String())
	}
	return all
}

func TestSignKeepsContentAndVerifies(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"RSA": rsaKey, "P-256": nil, "P-384": p384} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			me := issue(t, "me", nil, key)
			plain := mixedZip(t)
			signed := sign(t, me.signer(), plain)
			s, err := verify(t.Context(), signed)
			if err != nil {
				t.Fatalf("Verify: %v", err)
			}
			if !s.Time.Equal(signedAt) || !s.Certificate.Equal(me.certificate) {
				t.Errorf("signed at %v by %v; want %v by me", s.Time, s.Certificate.Subject, signedAt)
			}
			if expires, err := s.IssuedBy(me.certificate, signedAt); err != nil || !expires.Equal(me.certificate.NotAfter) {
				t.Errorf("IssuedBy = %v, %v; want %v", expires, err, me.certificate.NotAfter)
			}
			got := unpacked(t, signed)
			for _, own := range []string{signing.ManifestName, signing.SignatureName} {
				if got[own] == "" {
					t.Errorf("%s is missing", own)
				}
				delete(got, own)
			}
			if diff := cmp.Diff(unpacked(t, plain), got); diff != "" {
				t.Errorf("content differs (-unsigned +signed):\n%s", diff)
			}
			again := sign(t, me.signer(), plain)
			if !bytes.Equal(again, signed) {
				t.Error("signing again at the same time gives other bytes")
			}
		})
	}
}

// part returns the bytes of one entry, read by archive/zip.
func part(t testing.TB, data []byte, name string) []byte {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := r.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	body, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestManifestText(t *testing.T) {
	t.Parallel()
	got := string(part(t, sign(t, issue(t, "me", nil, nil).signer(), mixedZip(t)), signing.ManifestName))
	sum := func(body string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(body))) }
	want := `{"format":"lamina-manifest-1","entries":[
{"name":"bin/again","kind":"symlink","mode":"0777","size":3,"sha256":"` + sum("run") + `"},
{"name":"bin/run","kind":"file","mode":"0755","size":10,"sha256":"` + sum("#!/bin/sh\n") + `"},
{"nameBase64":"bGF0aW4xLek=","kind":"file","mode":"0644","size":16,"sha256":"` + sum("name is no UTF-8") + `"},
{"name":"python","kind":"directory","mode":"0755"},
{"name":"python/app.py","kind":"file","mode":"0644","size":2100,"sha256":"` + sum(strings.Repeat("def handler(event, context): return event\n", 50)) + `"},
{"name":"quote \" and \\ and ü","kind":"file","mode":"0644","size":0,"sha256":"` + sum("") + `"}
]}
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("manifest differs (-want +got):\n%s", diff)
	}
}

// TestOthersVerify asks two other implementations of CMS.
func TestOthersVerify(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", nil, nil, authority)
	middle := issue(t, "middle", &root, nil, authority)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, me := range map[string]identity{"ECDSA": issue(t, "me", &middle, nil), "RSA": issue(t, "me", &middle, rsaKey)} {
		signed := sign(t, me.signer(middle), mixedZip(t))
		manifest, der := part(t, signed, signing.ManifestName), part(t, signed, signing.SignatureName)
		t.Run(name+" with smallstep/pkcs7", func(t *testing.T) {
			t.Parallel()
			p7, err := pkcs7.Parse(der)
			if err != nil {
				t.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AddCert(root.certificate)
			p7.Content = manifest
			if err := p7.VerifyWithChainAtTime(roots, signedAt); err != nil {
				t.Errorf("Verify = %v; want nil", err)
			}
			p7.Content = append(slices.Clone(manifest), ' ')
			if err := p7.VerifyWithChainAtTime(roots, signedAt); err == nil {
				t.Error("Verify of another manifest = nil; want an error")
			}
		})
		t.Run(name+" with openssl", func(t *testing.T) {
			t.Parallel()
			testkit.Need(t, testkit.Probe{Name: "openssl", Missing: func() string {
				if _, err := exec.LookPath("openssl"); err != nil {
					return "no openssl on PATH"
				}
				return ""
			}})
			dir := t.TempDir()
			for name, body := range map[string][]byte{
				"manifest.json": manifest, "signature.p7s": der,
				"root.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.certificate.Raw}),
			} {
				if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			check := func() ([]byte, error) {
				cmd := exec.CommandContext(t.Context(), "openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "signature.p7s",
					"-content", "manifest.json", "-CAfile", "root.pem", "-purpose", "any", "-attime", fmt.Sprint(signedAt.Unix()), "-out", "out")
				cmd.Dir = dir
				return cmd.CombinedOutput()
			}
			if out, err := check(); err != nil {
				t.Errorf("openssl cms -verify: %v\n%s", err, out)
			}
			if err := os.WriteFile(filepath.Join(dir, "manifest.json"), append(slices.Clone(manifest), ' '), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := check(); err == nil {
				t.Errorf("openssl cms -verify of another manifest succeeds:\n%s", out)
			}
		})
	}
}

// rezip writes an archive again, entry for entry, as Sign would, after edit had
// its way with each. Edit returns false to leave the entry out.
func rezip(t testing.TB, data []byte, edit func(h *zip.FileHeader, raw *[]byte) bool, more ...func(*zip.Writer)) []byte {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range r.File {
		in, err := f.OpenRaw()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		h := f.FileHeader
		if edit == nil || edit(&h, &raw) {
			addRaw(t, w, h, raw)
		}
	}
	for _, m := range more {
		m(w)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func addRaw(t testing.TB, w *zip.Writer, h zip.FileHeader, raw []byte) {
	t.Helper()
	h.CompressedSize64 = uint64(len(raw))
	f, err := w.CreateRaw(&h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(raw); err != nil {
		t.Fatal(err)
	}
}

// stored makes a header and content for an entry that is not compressed.
func stored(h *zip.FileHeader, body string) {
	h.Method, h.UncompressedSize64, h.CRC32 = zip.Store, uint64(len(body)), crc(body)
}

func TestAlteredArchives(t *testing.T) {
	t.Parallel()
	me, stranger := issue(t, "me", nil, nil), issue(t, "stranger", nil, nil)
	plain := testkit.Zip(t,
		testkit.File{Name: "dir/"},
		testkit.File{Name: "app.py", Body: "original"},
		testkit.File{Name: "bin/run", Body: "#!/bin/sh\n", Mode: 0o755},
		testkit.File{Name: "link", Link: "app.py"},
	)
	signed := sign(t, me.signer(), plain)
	if _, err := verify(t.Context(), rezip(t, signed, nil)); err != nil {
		t.Fatalf("Verify of an archive that was only copied: %v", err)
	}
	other := sign(t, me.signer(), testkit.Zip(t, testkit.File{Name: "app.py", Body: "other"}))
	only := func(name string, change func(h *zip.FileHeader, raw *[]byte)) func(*zip.FileHeader, *[]byte) bool {
		return func(h *zip.FileHeader, raw *[]byte) bool {
			if h.Name == name {
				change(h, raw)
			}
			return true
		}
	}
	replaced := func(name, body string) []byte {
		return rezip(t, signed, only(name, func(h *zip.FileHeader, raw *[]byte) {
			stored(h, body)
			*raw = []byte(body)
		}))
	}
	without := func(name string) []byte {
		return rezip(t, signed, func(h *zip.FileHeader, _ *[]byte) bool { return h.Name != name })
	}
	with := func(name, body string) []byte {
		return rezip(t, signed, nil, func(w *zip.Writer) {
			h := zip.FileHeader{Name: name, ReaderVersion: 20}
			h.SetMode(0o644)
			stored(&h, body)
			addRaw(t, w, h, []byte(body))
		})
	}
	manifest, signature := string(part(t, signed, signing.ManifestName)), string(part(t, signed, signing.SignatureName))
	// local is where the local header of app.py starts.
	local := bytes.Index(signed, []byte("app.py")) - 30
	record := bytes.LastIndex(signed, []byte("app.py")) - 46
	patched := func(patch func(data []byte) []byte) []byte { return patch(slices.Clone(signed)) }
	le := binary.LittleEndian
	for _, c := range []struct {
		name string
		data []byte
	}{
		{"content changed", replaced("app.py", "altered!")},
		{"content longer", replaced("app.py", "original and more")},
		{"file emptied", replaced("app.py", "")},
		{"file missing", without("app.py")},
		{"directory missing", without("dir/")},
		{"file added", with("evil.py", "import os")},
		{"file added below META-INF", with("META-INF/lamina/evil", "x")},
		{"empty directory added", rezip(t, signed, nil, func(w *zip.Writer) {
			h := zip.FileHeader{Name: "empty/", ReaderVersion: 20}
			h.SetMode(os.ModeDir | 0o755)
			addRaw(t, w, h, nil)
		})},
		{"file renamed", rezip(t, signed, only("app.py", func(h *zip.FileHeader, _ *[]byte) { h.Name = "App.py" }))},
		{"files swapped", rezip(t, signed, func(h *zip.FileHeader, _ *[]byte) bool {
			switch h.Name {
			case "app.py":
				h.Name = "bin/run"
			case "bin/run":
				h.Name = "app.py"
			}
			return true
		})},
		{"made executable", rezip(t, signed, only("app.py", func(h *zip.FileHeader, _ *[]byte) { h.SetMode(0o755) }))},
		{"made a symlink", rezip(t, signed, only("app.py", func(h *zip.FileHeader, _ *[]byte) { h.SetMode(os.ModeSymlink | 0o777) }))},
		{"symlink made a file", rezip(t, signed, only("link", func(h *zip.FileHeader, _ *[]byte) { h.SetMode(0o777) }))},
		{"symlink turned", replaced("link", "bin/run")},
		{"same name twice, the altered one first", with("app.py", "original")},
		{"same name twice, the altered one last", with("app.py", "altered!")},
		{"same name spelled otherwise", with("./app.py", "original")},
		{"two manifests", with(signing.ManifestName, manifest)},
		{"two signatures", with(signing.SignatureName, signature)},
		{"manifest missing", without(signing.ManifestName)},
		{"signature missing", without(signing.SignatureName)},
		{"manifest changed", replaced(signing.ManifestName, manifest+" ")},
		{"manifest of another archive", replaced(signing.ManifestName, string(part(t, other, signing.ManifestName)))},
		{"signature of another archive", replaced(signing.SignatureName, string(part(t, other, signing.SignatureName)))},
		{"manifest and signature of another archive", rezip(t, replaced(signing.SignatureName, string(part(t, other, signing.SignatureName))), only(signing.ManifestName, func(h *zip.FileHeader, raw *[]byte) {
			*raw = part(t, other, signing.ManifestName)
			stored(h, string(*raw))
		}))},
		{"signature empty", replaced(signing.SignatureName, "")},
		{"signature is text", replaced(signing.SignatureName, "signed: me")},
		{"signature cut off", replaced(signing.SignatureName, signature[:len(signature)-1])},
		{"bytes behind the signature", replaced(signing.SignatureName, signature+"\x00")},
		{"signature too large", replaced(signing.SignatureName, strings.Repeat("\x30", 1<<17))},
		{"signature is a symlink", rezip(t, signed, only(signing.SignatureName, func(h *zip.FileHeader, raw *[]byte) {
			h.SetMode(os.ModeSymlink | 0o777)
		}))},
		{"signature's last bit", replaced(signing.SignatureName, signature[:len(signature)-1]+string(signature[len(signature)-1]^1))},
		{"certificate exchanged", replaced(signing.SignatureName, strings.Replace(signature, string(me.certificate.Raw), string(stranger.certificate.Raw), 1))},
		{"comment", rezip(t, signed, nil, func(w *zip.Writer) {
			if err := w.SetComment("hello"); err != nil {
				t.Fatal(err)
			}
		})},
		{"entry with a comment", rezip(t, signed, only("app.py", func(h *zip.FileHeader, _ *[]byte) { h.Comment = "x" }))},
		{"entry with an extra field", rezip(t, signed, only("app.py", func(h *zip.FileHeader, _ *[]byte) {
			h.Extra = []byte("\x75\x70\x06\x00\x01\x00\x00\x00\x00x") // Info-ZIP's Unicode path
		}))},
		{"bytes in front", append([]byte("#!/bin/sh\n"), signed...)},
		{"bytes behind", append(slices.Clone(signed), "more"...)},
		{"another zip in front", append(slices.Clone(plain), signed...)},
		{"local header has another name", patched(func(b []byte) []byte { b[local+30] = 'A'; return b })},
		{"local header has another size", patched(func(b []byte) []byte { le.PutUint32(b[local+22:], 1); return b })},
		{"local header has another method", patched(func(b []byte) []byte { le.PutUint16(b[local+8:], 12); return b })},
		{"local header has flags", patched(func(b []byte) []byte { le.PutUint16(b[local+6:], 8); return b })},
		{"record has a data descriptor", patched(func(b []byte) []byte { le.PutUint16(b[record+8:], 8); return b })},
		{"record says MS-DOS", patched(func(b []byte) []byte { b[record+5] = 0; return b })},
		{"end counts otherwise on this disk", patched(func(b []byte) []byte { b[len(b)-14]++; return b })},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := verify(t.Context(), c.data)
			// Some are no archive that Lamina takes: refused as well, and before.
			if _, refused := errors.AsType[*lamina.ArchiveError](err); !refused && !errors.Is(err, signing.ErrAltered) {
				t.Errorf("Verify = %v, %v; want ErrAltered", s, err)
			}
		})
	}
	t.Run("manifest and signature missing", func(t *testing.T) {
		t.Parallel()
		if _, err := verify(t.Context(), plain); !errors.Is(err, signing.ErrUnsigned) {
			t.Errorf("Verify = %v; want ErrUnsigned", err)
		}
	})
}

// TestEveryByteOfTheSignatureCounts repairs the zip around each. A certificate
// that was altered is somebody else's.
func TestEveryByteOfTheSignatureCounts(t *testing.T) {
	t.Parallel()
	me := issue(t, "me", nil, nil)
	signed := sign(t, me.signer(), testkit.Zip(t, testkit.File{Name: "a", Body: "b"}))
	signature := part(t, signed, signing.SignatureName)
	at := bytes.Index(signed, signature)
	for i := range signature {
		data := slices.Clone(signed)
		data[at+i] ^= 1
		fixed := crc(string(data[at : at+len(signature)]))
		for _, header := range [][]byte{data[at-len(signing.SignatureName)-9-30+14:], data[bytes.LastIndex(data, []byte(signing.SignatureName))-46+16:]} {
			binary.LittleEndian.PutUint32(header, fixed)
		}
		s, err := verify(t.Context(), data)
		if err == nil {
			_, err = s.IssuedBy(me.certificate, signedAt)
		}
		if err == nil {
			t.Errorf("byte %d of the signature does not count", i)
		}
	}
}

func TestWhoSigned(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", nil, nil, authority)
	otherRoot := issue(t, "root", nil, nil, authority)
	middle := issue(t, "middle", &root, nil, authority)
	me := issue(t, "me", &middle, nil)
	twin := issue(t, "me", nil, me.key)
	short := issue(t, "short", &root, nil, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = signedAt.Add(-time.Hour), signedAt.Add(time.Hour)
	})
	mail := issue(t, "mail", &root, nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} })
	bare := issue(t, "bare", nil, nil, func(c *x509.Certificate) { c.KeyUsage, c.ExtKeyUsage = 0, nil })
	pretender := issue(t, "pretender", &me, nil)
	for _, c := range []struct {
		name      string
		signer    signing.Signer
		publisher identity
		now       time.Time
		want      error
	}{
		{"the certificate itself", me.signer(), me, signedAt, nil},
		{"its issuer", me.signer(), middle, signedAt, nil},
		{"its issuer's issuer, with the issuer in the signature", me.signer(middle), root, signedAt, nil},
		{"its issuer's issuer, without", me.signer(), root, signedAt, signing.ErrForeign},
		{"another root of the same name", me.signer(middle), otherRoot, signedAt, signing.ErrForeign},
		{"another root, that came along", me.signer(middle, otherRoot), otherRoot, signedAt, signing.ErrForeign},
		{"another certificate of the same key and name", me.signer(), twin, signedAt, signing.ErrForeign},
		{"no usage at all says nothing against it", bare.signer(), bare, signedAt, nil},
		{"issued by one that must not issue", pretender.signer(), me, signedAt, signing.ErrForeign},
		{"in the last second", short.signer(), root, signedAt.Add(time.Hour), nil},
		{"expired since", short.signer(), root, signedAt.Add(time.Hour + time.Second), signing.ErrExpired},
		{"expired since, the certificate itself", short.signer(), short, signedAt.Add(time.Hour + time.Second), signing.ErrExpired},
		{"a minute before it was signed: clocks differ", me.signer(), me, signedAt.Add(-time.Minute), nil},
		{"an hour before it was signed", me.signer(), me, signedAt.Add(-time.Hour), signing.ErrExpired},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := verify(t.Context(), sign(t, c.signer, testkit.Zip(t, testkit.File{Name: "a", Body: "b"})))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.IssuedBy(c.publisher.certificate, c.now); !errors.Is(err, c.want) {
				t.Errorf("IssuedBy = %v; want %v", err, c.want)
			}
		})
	}
	t.Run("a certificate that is not for code signs nothing", func(t *testing.T) {
		t.Parallel()
		err := mail.signer().Sign(t.Context(), io.Discard, archiveOf(t, mixedZip(t)))
		if err == nil || !strings.Contains(err.Error(), "code signing") {
			t.Errorf("Sign = %v; want a word about code signing", err)
		}
	})
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	me, you := issue(t, "me", nil, nil), issue(t, "you", nil, nil)
	signed := sign(t, me.signer(), mixedZip(t))
	if err := you.signer().Sign(t.Context(), io.Discard, archiveOf(t, signed)); !errors.Is(err, signing.ErrSigned) {
		t.Errorf("Sign of a signed archive = %v; want ErrSigned", err)
	}
	anew := you.signer()
	anew.Replace = true
	s, err := verify(t.Context(), sign(t, anew, signed))
	if err != nil || !s.Certificate.Equal(you.certificate) {
		t.Errorf("signed anew: %v, %v; want you", s, err)
	}
	wrongKey := me.signer()
	wrongKey.Key = you.key
	late := me.signer()
	late.Now = clock(me.certificate.NotAfter.Add(time.Second))
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]signing.Signer{
		"another's key": wrongKey, "an expired certificate": late, "a short key": issue(t, "weak", nil, weak).signer(),
		"a certificate authority's certificate": issue(t, "ca", nil, nil, authority).signer(),
	} {
		var out bytes.Buffer
		if err := s.Sign(t.Context(), &out, archiveOf(t, mixedZip(t))); err == nil || out.Len() > 0 {
			t.Errorf("Sign with %s = %v, %d bytes; want an error and none", name, err, out.Len())
		}
	}
}

func TestSignatureIDs(t *testing.T) {
	t.Parallel()
	me := issue(t, "me", nil, nil)
	id := func(s signing.Signer, body string) [32]byte {
		got, err := verify(t.Context(), sign(t, s, testkit.Zip(t, testkit.File{Name: "a", Body: body})))
		if err != nil {
			t.Fatal(err)
		}
		return got.ID()
	}
	later := me.signer()
	later.Now = clock(signedAt.Add(time.Second))
	first := id(me.signer(), "a")
	if again := id(me.signer(), "a"); again != first {
		t.Error("the same signature has two IDs")
	}
	if first == id(me.signer(), "b") || first == id(later, "a") || first == id(issue(t, "you", nil, nil).signer(), "a") {
		t.Error("another signature has the same ID")
	}
}

func TestManyEntries(t *testing.T) {
	t.Parallel()
	var data bytes.Buffer
	w := zip.NewWriter(&data)
	for i := range 66_000 { // more than a zip without zip64 can count
		if _, err := w.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("d%d/%d", i%100, i), Method: zip.Store}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(t.Context(), sign(t, issue(t, "me", nil, nil).signer(), data.Bytes())); err != nil {
		t.Errorf("Verify = %v; want nil", err)
	}
}

func FuzzVerify(f *testing.F) {
	me := issue(f, "me", nil, nil)
	signed := sign(f, me.signer(), testkit.Zip(f, testkit.File{Name: "a", Body: "b"}, testkit.File{Name: "l", Link: "a"}))
	manifest, signature := part(f, signed, signing.ManifestName), part(f, signed, signing.SignatureName)
	f.Add(signature, []byte("b"), manifest)
	f.Add([]byte{0x30, 0x80}, []byte(""), []byte("{}"))
	f.Add(bytes.Repeat([]byte{0x30, 0x80}, 100), []byte("b"), manifest)
	f.Fuzz(func(t *testing.T, p7s, body, text []byte) {
		data := rezip(t, signed, func(h *zip.FileHeader, raw *[]byte) bool {
			for name, content := range map[string][]byte{"a": body, signing.ManifestName: text, signing.SignatureName: p7s} {
				if h.Name == name {
					stored(h, string(content))
					*raw = content
				}
			}
			return true
		})
		s, err := verify(t.Context(), data)
		if err == nil {
			_, err = s.IssuedBy(me.certificate, signedAt)
		}
		if err == nil && (!bytes.Equal(body, []byte("b")) || !bytes.Equal(text, manifest)) {
			t.Error("an altered archive verifies")
		}
	})
}

// FuzzVerifyZip mutates the whole file: whatever verifies must unpack to what was
// signed.
func FuzzVerifyZip(f *testing.F) {
	signed := sign(f, issue(f, "me", nil, nil).signer(), testkit.Zip(f, testkit.File{Name: "a", Body: "b"}, testkit.File{Name: "l", Link: "a"}))
	content := func(t testing.TB, data []byte) map[string]string {
		all := map[string]string{}
		for name, what := range unpacked(t, data) {
			if name != signing.SignatureName {
				fields := strings.SplitN(what, " ", 6) // without the time, which is not signed
				all[name] = fields[0] + fields[1] + fields[5]
			}
		}
		return all
	}
	want := content(f, signed)
	f.Add(signed)
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := verify(t.Context(), data); err != nil {
			return
		}
		if diff := cmp.Diff(want, content(t, data)); diff != "" {
			t.Errorf("an altered archive verifies (-signed +altered):\n%s", diff)
		}
	})
}

func TestParsePEM(t *testing.T) {
	t.Parallel()
	me := issue(t, "me", nil, nil)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(me.key)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(me.key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	for _, c := range []struct {
		name string
		text []byte
		ok   bool
		err  error
	}{
		{"PKCS #8", text("PRIVATE KEY", pkcs8), true, nil},
		{"SEC 1, as openssl ecparam writes it", append(text("EC PARAMETERS", []byte{6, 0}), text("EC PRIVATE KEY", sec1)...), true, nil},
		{"encrypted", text("ENCRYPTED PRIVATE KEY", []byte{1}), false, signing.ErrEncryptedKey},
		{"a certificate", text("CERTIFICATE", me.certificate.Raw), false, nil},
		{"garbage", []byte("hello"), false, nil},
	} {
		key, err := signing.ParseKey(c.text)
		if (err == nil) != c.ok || (c.err != nil && !errors.Is(err, c.err)) {
			t.Errorf("ParseKey(%s) = %v; want ok %t", c.name, err, c.ok)
		}
		if c.ok && !me.key.Public().(*ecdsa.PublicKey).Equal(key.Public()) {
			t.Errorf("ParseKey(%s) is another key", c.name)
		}
	}
	all, err := signing.ParseCertificates(append(text("CERTIFICATE", me.certificate.Raw), text("CERTIFICATE", me.certificate.Raw)...))
	if err != nil || len(all) != 2 {
		t.Errorf("ParseCertificates = %d, %v; want 2", len(all), err)
	}
	if _, err := signing.ParseCertificates([]byte("hello")); err == nil {
		t.Error("ParseCertificates(garbage) = nil")
	}
}
