package lamina_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/testkit"
)

// readAndVerify is what publishing does with a zip.
func readAndVerify(t testing.TB, data []byte, limits lamina.Limits) (*lamina.Archive, error) {
	t.Helper()
	a, err := lamina.ReadArchive(bytes.NewReader(data), int64(len(data)), limits)
	if err != nil {
		return nil, err
	}
	return a, a.Verify(t.Context())
}

func TestHostileArchives(t *testing.T) {
	t.Parallel()
	for _, tt := range testkit.HostileZips(t) {
		t.Run(tt.Name, func(t *testing.T) {
			t.Parallel()
			a, err := lamina.ReadArchive(bytes.NewReader(tt.Zip), int64(len(tt.Zip)), lamina.DefaultLimits())
			if tt.Content {
				if err != nil {
					t.Fatalf("ReadArchive() = %v; want the content to be at fault", err)
				}
				err = a.Verify(t.Context())
			}
			refused, ok := errors.AsType[*lamina.ArchiveError](err)
			if !ok || string(refused.Reason) != tt.Reason {
				t.Errorf("reading = %v; want reason %q", err, tt.Reason)
			}
		})
	}
}

func TestArchiveErrorTellsSize(t *testing.T) {
	t.Parallel()
	limits := lamina.DefaultLimits()
	limits.Unzipped = 5
	_, err := readAndVerify(t, testkit.Zip(t, testkit.File{Name: "a", Body: "abc"}, testkit.File{Name: "b", Body: "def"}), limits)
	refused, ok := errors.AsType[*lamina.ArchiveError](err)
	if !ok || refused.Reason != lamina.ArchiveTooLarge || refused.Size != 6 {
		t.Errorf("ReadArchive() = %v; want %q with 6 bytes", err, lamina.ArchiveTooLarge)
	}
}

func TestArchiveRatio(t *testing.T) {
	t.Parallel()
	data := testkit.Zip(t, testkit.File{Name: "zeros", Body: strings.Repeat("\x00", 1<<20)})
	limits := lamina.DefaultLimits()
	limits.ArchiveRatio, limits.ArchiveRatioThreshold = 100, 1<<20-1
	if _, err := readAndVerify(t, data, limits); reason(err) != lamina.ArchiveRatio {
		t.Errorf("above the threshold: %v; want %q", err, lamina.ArchiveRatio)
	}
	limits.ArchiveRatioThreshold = 1 << 20
	if _, err := readAndVerify(t, data, limits); err != nil {
		t.Errorf("at the threshold: %v; want it accepted", err)
	}
}

func reason(err error) lamina.ArchiveReason {
	if refused, ok := errors.AsType[*lamina.ArchiveError](err); ok {
		return refused.Reason
	}
	return ""
}

func TestArchiveEntries(t *testing.T) {
	t.Parallel()
	type entry struct {
		Name string
		Kind lamina.ArchiveKind
		Mode fs.FileMode
	}
	raw := func(name string, creator byte, attributes uint32) testkit.Record {
		return testkit.Record{Name: name, Edit: func(_, record []byte) {
			record[5] = creator
			record[38], record[39], record[40], record[41] = byte(attributes), byte(attributes>>8), byte(attributes>>16), byte(attributes>>24)
		}}
	}
	const file, dir, link = lamina.ArchiveFile, lamina.ArchiveDirectory, lamina.ArchiveSymlink
	tests := []struct {
		name string
		zip  []byte
		want []entry
	}{
		{"an empty zip", testkit.RawZip(), nil},
		{"Python's zipfile writes 0600", testkit.RawZip(raw("a", 3, 0o100600<<16)), []entry{{"a", file, 0o644}}},
		{"no attributes", testkit.RawZip(raw("a", 3, 0), raw("d/", 3, 0)), []entry{{"a", file, 0o644}, {"d", dir, 0o755}}},
		{"executable by its owner is by all", testkit.RawZip(raw("a", 3, 0o100700<<16)), []entry{{"a", file, 0o755}}},
		{"read-only stays", testkit.RawZip(raw("a", 3, 0o100400<<16)), []entry{{"a", file, 0o444}}},
		{"nobody else may write", testkit.RawZip(raw("a", 3, 0o100777<<16), raw("d/", 3, 0o40777<<16)), []entry{{"a", file, 0o755}, {"d", dir, 0o755}}},
		{"setuid, setgid and sticky go", testkit.RawZip(raw("a", 3, 0o107755<<16)), []entry{{"a", file, 0o755}}},
		{"FAT read-only attribute is nothing", testkit.RawZip(raw("a", 0, 0x21)), []entry{{"a", file, 0o644}}},
		{"FAT with a Unix mode", testkit.RawZip(raw("a", 0, 0o100755<<16)), []entry{{"a", file, 0o755}}},
		{"FAT has no symlinks", testkit.RawZip(raw("a", 0, 0o120777<<16)), []entry{{"a", file, 0o644}}},
		{"directory without a slash", testkit.RawZip(raw("d", 3, 0o40755<<16)), []entry{{"d", dir, 0o755}}},
		{"names are cleaned", testkit.RawZip(raw("./", 3, 0), raw("./a//b/./c", 3, 0)), []entry{{"a/b/c", file, 0o644}}},
		{"backslashes are bytes, as on AWS", testkit.RawZip(raw(`lib\a.js`, 0, 0)), []entry{{`lib\a.js`, file, 0o644}}},
		{"names in other code pages are bytes", testkit.RawZip(raw("\x81.txt", 0, 0)), []entry{{"\x81.txt", file, 0o644}}},
		{"the last of a name wins", testkit.RawZip(raw("a", 3, 0o100755<<16), raw("b", 3, 0), raw("./a", 3, 0o100644<<16)), []entry{{"b", file, 0o644}, {"a", file, 0o644}}},
		{"symlinks may point anywhere", testkit.Zip(t, testkit.File{Name: "s", Link: "../../etc/passwd"}), []entry{{"s", link, 0o777}}},
		{"a program in front", append([]byte("#!/bin/sh\nexit\n"), testkit.RawZip(raw("a", 3, 0), raw("b", 3, 0))...), []entry{{"a", file, 0o644}, {"b", file, 0o644}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, err := readAndVerify(t, tt.zip, lamina.DefaultLimits())
			if err != nil {
				t.Fatalf("ReadArchive() = %v; want it accepted", err)
			}
			var got []entry
			for _, e := range a.Entries {
				got = append(got, entry{e.Name, e.Kind, e.Mode})
			}
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("entries differ (-got +want):\n%s", diff)
			}
		})
	}
}

func TestArchiveComment(t *testing.T) {
	t.Parallel()
	for _, length := range []int{1, 1000, 65535} {
		data := testkit.RawZip(testkit.Record{Name: "a", Body: "body"})
		data[len(data)-2], data[len(data)-1] = byte(length), byte(length>>8)
		data = append(data, bytes.Repeat([]byte{'x'}, length)...)
		if a, err := readAndVerify(t, data, lamina.DefaultLimits()); err != nil || len(a.Entries) != 1 {
			t.Errorf("comment of %d bytes: %v; want one entry", length, err)
		}
	}
}

func TestArchiveZip64(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for i := range 70_000 { // more than the old directory end can count
		if _, err := w.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("d/%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	a, err := readAndVerify(t, buf.Bytes(), lamina.DefaultLimits())
	if err != nil || len(a.Entries) != 70_000 {
		t.Fatalf("ReadArchive() = %v; want 70000 entries", err)
	}
}

// brokenReader fails where the disk does.
type brokenReader struct{ io.ReaderAt }

var errDisk = errors.New("input/output error")

func (b brokenReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 100_000 {
		return 0, errDisk
	}
	return b.ReaderAt.ReadAt(p, off)
}

func TestDiskErrorIsNoArchiveError(t *testing.T) {
	t.Parallel()
	body := make([]byte, 300_000)
	rand.NewChaCha8([32]byte{}).Read(body)
	for _, files := range [][]testkit.File{{{Name: "a"}, {Name: "b", Body: string(body)}}, {{Name: "a", Body: string(body)}}} {
		data := testkit.Zip(t, files...)
		a, err := lamina.ReadArchive(brokenReader{bytes.NewReader(data)}, int64(len(data)), lamina.DefaultLimits())
		if err == nil {
			err = a.Verify(t.Context())
		}
		if !errors.Is(err, errDisk) || reason(err) != "" {
			t.Errorf("reading from a bad disk = %v; want the disk's error and no ArchiveError", err)
		}
	}
}

func TestVerifyStopsWithContext(t *testing.T) {
	t.Parallel()
	data := testkit.Zip(t, testkit.File{Name: "a", Body: "body"})
	a, err := lamina.ReadArchive(bytes.NewReader(data), int64(len(data)), lamina.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Verify(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Verify(cancelled) = %v; want %v", err, context.Canceled)
	}
}

func TestArchiveTime(t *testing.T) {
	t.Parallel()
	data := testkit.Zip(t, testkit.File{Name: "a"})
	a, err := readAndVerify(t, data, lamina.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := a.Entries[0].Modified, time.Date(2024, 2, 29, 12, 30, 42, 0, time.UTC); !got.Equal(want) {
		t.Errorf("Modified = %v; want %v", got, want)
	}
}

// FuzzReadArchive holds that whatever is accepted has the content that archive/zip
// finds, and keeps the promises of [lamina.Archive].
func FuzzReadArchive(f *testing.F) {
	for _, h := range testkit.HostileZips(f) {
		if len(h.Zip) < 10_000 {
			f.Add(h.Zip)
		}
	}
	f.Add(testkit.Zip(f, testkit.File{Name: "d/"}, testkit.File{Name: "d/a", Body: "body", Mode: 0o755}, testkit.File{Name: "s", Link: "d"}))
	f.Add(testkit.RawZip())
	f.Fuzz(func(t *testing.T, data []byte) {
		limits := lamina.DefaultLimits()
		limits.Unzipped = 1 << 20
		a, err := readAndVerify(t, data, limits)
		if err != nil {
			if reason(err) == "" {
				t.Fatalf("reading = %v; want an ArchiveError", err)
			}
			return
		}
		theirs, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
			t.Fatalf("archive/zip = %v; want it to read what we read", err)
		}
		seen := make(map[string]bool)
		var in lamina.Inflater
		for i := range a.Entries {
			e := &a.Entries[i]
			if seen[e.Name] || e.Name == "." || !fs.ValidPath(strings.ToValidUTF8(e.Name, "?")) {
				t.Fatalf("entry %q is repeated or unclean", e.Name)
			}
			seen[e.Name] = true
			if e.Kind == lamina.ArchiveDirectory {
				continue
			}
			var ours bytes.Buffer
			if err := in.Copy(t.Context(), &ours, e); err != nil {
				t.Fatalf("Copy(%q) = %v after Verify", e.Name, err)
			}
			compare(t, theirs, e, ours.Bytes())
		}
	})
}

// compare finds an entry in archive/zip's view: the last that cleans to its name.
func compare(t *testing.T, theirs *zip.Reader, e *lamina.ArchiveEntry, ours []byte) {
	t.Helper()
	for i := len(theirs.File) - 1; i >= 0; i-- {
		file := theirs.File[i]
		if strings.HasSuffix(file.Name, "/") || clean(file.Name) != e.Name {
			continue
		}
		file.Flags &^= 8 // the descriptor, which unzip doesn't read either
		r, err := file.Open()
		if err != nil {
			t.Fatalf("archive/zip opens %q: %v", e.Name, err)
		}
		want, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(ours, want) {
			t.Fatalf("content of %q = %q; want %q, %v", e.Name, ours, want, err)
		}
		return
	}
	t.Fatalf("archive/zip has no %q", e.Name)
}

func clean(name string) string {
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "/")
}

// BenchmarkVerify compares with archive/zip reading the same entries in a row.
func BenchmarkVerify(b *testing.B) {
	body := make([]byte, 50<<20)
	rand.NewChaCha8([32]byte{}).Read(body)
	stored := testkit.RawZip(testkit.Record{Name: "a", Body: string(body)})
	var files []testkit.File
	for i := range 1000 {
		files = append(files, testkit.File{Name: fmt.Sprint(i), Body: strings.Repeat(fmt.Sprintf("some line %d\n", i), 4000)})
	}
	for name, data := range map[string][]byte{"stored": stored, "deflated": testkit.Zip(b, files...)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if a, err := readAndVerify(b, data, lamina.DefaultLimits()); err != nil {
					b.Fatal(err)
				} else {
					b.SetBytes(a.UnpackedSize)
				}
			}
		})
		b.Run(name+"/baseline", func(b *testing.B) {
			for b.Loop() {
				r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
				if err != nil {
					b.Fatal(err)
				}
				n := int64(0)
				for _, f := range r.File {
					in, err := f.Open()
					if err != nil {
						b.Fatal(err)
					}
					more, err := io.Copy(io.Discard, in)
					if err != nil {
						b.Fatal(err)
					}
					n += more
				}
				b.SetBytes(n)
			}
		})
	}
}
