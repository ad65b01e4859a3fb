package testkit

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"testing"
	"time"
)

// File is an entry of a zip for tests. A name with a slash at its end is a
// directory, a Link makes a symlink. Mode 0 is 0644, or 0755 for directories.
type File struct {
	Name string
	Body string
	Mode fs.FileMode
	Link string
}

// Zip returns a zip of the files in their order. The same files give the same
// bytes.
func Zip(t testing.TB, files ...File) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	// The usual level clears 640 KB for each entry, which takes most of the time of
	// many tests.
	quick, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		t.Fatalf("zip: %v", err)
	}
	w.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) { // one entry after the other
		quick.Reset(out)
		return quick, nil
	})
	for _, f := range files {
		mode, body := f.Mode, f.Body
		header := &zip.FileHeader{Name: f.Name, Method: zip.Deflate, Modified: time.Date(2024, 2, 29, 12, 30, 42, 0, time.UTC)}
		switch {
		case f.Link != "":
			mode, body = fs.ModeSymlink|0o777, f.Link
		case len(f.Name) > 0 && f.Name[len(f.Name)-1] == '/':
			if mode == 0 {
				mode = 0o755
			}
			mode |= fs.ModeDir
		case mode == 0:
			mode = 0o644
		}
		header.SetMode(mode)
		out, err := w.CreateHeader(header)
		if err != nil {
			t.Fatalf("zip %s: %v", f.Name, err)
		}
		if _, err := out.Write([]byte(body)); err != nil {
			t.Fatalf("zip %s: %v", f.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatalf("zip: %v", err)
	}
	return buf.Bytes()
}

// Record is an entry of a zip that no decent tool would write: it is stored, and
// Edit may then say anything about it in its local header and its record of the
// directory. Creator 3 is Unix; Attributes has the Unix mode, type and all.
type Record struct {
	Name       string
	Body       string
	Attributes uint16
	Edit       func(local, record []byte)
}

// RawZip returns a zip of the records as they are.
func RawZip(records ...Record) []byte {
	le := binary.LittleEndian
	var out, directory []byte
	for _, r := range records {
		local, record := make([]byte, 30), make([]byte, 46)
		le.PutUint32(local, 0x04034b50)
		le.PutUint32(record, 0x02014b50)
		record[5] = 3
		le.PutUint32(record[38:], uint32(r.Attributes)<<16)
		le.PutUint32(record[42:], uint32(len(out)))
		for _, at := range [][]byte{local[14:], record[16:]} {
			le.PutUint32(at, crc32.ChecksumIEEE([]byte(r.Body)))
			le.PutUint32(at[4:], uint32(len(r.Body)))
			le.PutUint32(at[8:], uint32(len(r.Body)))
			le.PutUint16(at[12:], uint16(len(r.Name)))
		}
		if r.Edit != nil {
			r.Edit(local, record)
		}
		out = append(append(append(out, local...), r.Name...), r.Body...)
		directory = append(append(directory, record...), r.Name...)
	}
	end := make([]byte, 22)
	le.PutUint32(end, 0x06054b50)
	le.PutUint16(end[8:], uint16(len(records)))
	le.PutUint16(end[10:], uint16(len(records)))
	le.PutUint32(end[12:], uint32(len(directory)))
	le.PutUint32(end[16:], uint32(len(out)))
	return append(append(out, directory...), end...)
}

// Hostile is a zip that must be refused.
type Hostile struct {
	Name   string
	Reason string // the text of the lamina.ArchiveReason
	// Content says that the directory is fine: only inflating finds out.
	Content bool
	Zip     []byte
}

// HostileZips returns the zips that publishing and unpacking refuse, with the
// default limits.
func HostileZips(t testing.TB) []Hostile {
	t.Helper()
	le := binary.LittleEndian
	edit := func(change func(local, record []byte)) []byte {
		return RawZip(Record{Name: "a", Body: "body", Edit: change})
	}
	record16 := func(at int, v uint16) func(_, record []byte) {
		return func(_, record []byte) { le.PutUint16(record[at:], v) }
	}
	record32 := func(at int, v uint32) func(_, record []byte) {
		return func(_, record []byte) { le.PutUint32(record[at:], v) }
	}
	named := func(name string) []byte { return RawZip(Record{Name: name, Body: "body"}) }
	moded := func(mode uint16) []byte { return RawZip(Record{Name: "a", Attributes: mode}) }
	ending := func(change func(end []byte)) []byte {
		data := RawZip(Record{Name: "a", Body: "body"})
		change(data[len(data)-22:])
		return data
	}
	deflated := func(files ...File) []byte { return Zip(t, files...) }
	corrupt := func(data []byte, at int) []byte {
		data[at] ^= 0xff
		return data
	}
	many := make([]Record, 200_001)
	for i := range many {
		many[i] = Record{Name: strconv.Itoa(i)}
	}
	deep := make([]Record, 200)
	for i := range deep {
		deep[i] = Record{Name: strconv.Itoa(i) + strings.Repeat("/d", 2000) + "/f"}
	}
	const notZip, broken, name, long = "not a zip", "broken", "name is empty or has a NUL", "name is too long"
	const traversal, absolute, device, encrypted = "name has .. in it", "name is absolute", "is a device, pipe or socket", "is encrypted"
	const method, tooMany, tooLarge = "compression method is neither stored nor deflated", "too many entries", "unpacks to too many bytes"
	const overlap, conflict = "shares bytes with another entry", "is a file or symlink, and a directory too"
	return []Hostile{
		{"no bytes", notZip, false, nil},
		{"a gzip", notZip, false, []byte("\x1f\x8b\x08\x00 and more than twenty-two bytes")},
		{"text", notZip, false, []byte(strings.Repeat("hello, world\n", 10000))},
		{"cut off at the end", notZip, false, RawZip(Record{Name: "a", Body: "b"})[:80]},
		{"comment that is cut off", broken, false, ending(func(end []byte) { end[20] = 1 })},
		{"count too low", broken, false, ending(func(end []byte) { end[10] = 0 })},
		{"count too high", broken, false, ending(func(end []byte) { end[10] = 2 })},
		{"directory outside of the file", broken, false, ending(func(end []byte) { le.PutUint32(end[16:], 1<<30) })},
		{"directory larger than the file", broken, false, ending(func(end []byte) { le.PutUint32(end[12:], 1<<30) })},
		{"several disks", broken, false, ending(func(end []byte) { end[4] = 1 })},
		{"empty name", name, false, named("")},
		{"NUL in the name", name, false, named("a\x00b")},
		{"the root as a file", name, false, named(".")},
		{"name above 4096 bytes", long, false, named(strings.Repeat("dir/", 1024) + "f")},
		{"component above 255 bytes", long, false, named("a/" + strings.Repeat("x", 256))},
		{"leaves the root", traversal, false, named("../evil")},
		{"leaves the root from below", traversal, false, named("a/../../evil")},
		{"dots that stay inside", traversal, false, named("a/../b")},
		{"ends in dots", traversal, false, named("a/..")},
		{"leaves the root with backslashes", traversal, false, named(`a\..\..\evil`)},
		{"leaves the root with both slashes", traversal, false, named(`a/..\evil`)},
		{"absolute", absolute, false, named("/etc/passwd")},
		{"absolute with a backslash", absolute, false, named(`\etc\passwd`)},
		{"absolute with a drive", absolute, false, named(`C:\evil`)},
		{"character device", device, false, moded(0x21b6)},
		{"block device", device, false, moded(0x61b6)},
		{"pipe", device, false, moded(0x11b6)},
		{"socket", device, false, moded(0xc1b6)},
		{"encrypted", encrypted, false, edit(record16(8, 1))},
		{"strongly encrypted", encrypted, false, edit(record16(8, 1<<6))},
		{"bzip2", method, false, edit(record16(10, 12))},
		{"too many entries", tooMany, false, RawZip(many...)},
		{"too many directories", tooMany, false, RawZip(deep...)},
		{"declares too much", tooLarge, false, RawZip(Record{Name: "a", Body: "x", Edit: func(_, record []byte) {
			le.PutUint16(record[10:], 8)
			le.PutUint32(record[24:], 262144001)
		}})},
		{"stored with two sizes", broken, false, edit(record32(24, 5))},
		{"content behind the end", broken, false, edit(func(_, record []byte) {
			le.PutUint32(record[20:], 1000)
			le.PutUint32(record[24:], 1000)
		})},
		{"zip64 size without a field", broken, false, edit(func(_, record []byte) {
			le.PutUint32(record[20:], 0xffffffff)
			le.PutUint32(record[24:], 0xffffffff)
		})},
		{"local header outside of the file", broken, false, edit(record32(42, 1<<31))},
		{"local header is none", broken, false, edit(func(local, _ []byte) { local[0] = 0 })},
		{"local header that swallows the directory", broken, false, edit(func(local, _ []byte) { le.PutUint16(local[28:], 5000) })},
		{"directory with content", broken, false, RawZip(Record{Name: "a/", Body: "body"})},
		{"two entries with one content", overlap, false, RawZip(Record{Name: "a", Body: "body"}, Record{Name: "b", Edit: func(_, record []byte) {
			le.PutUint32(record[42:], 0)
		}})},
		{"entry inside another", overlap, false, RawZip(Record{Name: "a", Body: string(RawZip(Record{Name: "b", Body: "c"}))}, Record{Name: "b", Edit: func(_, record []byte) {
			le.PutUint32(record[42:], 31)
		}})},
		{"header hidden in an extra field", overlap, false, RawZip(Record{Name: "a", Body: "", Edit: func(local, _ []byte) {
			le.PutUint16(local[28:], 31)
		}}, Record{Name: "b"}, Record{Name: "c"})},
		{"file and directory", conflict, false, RawZip(Record{Name: "a"}, Record{Name: "a/"})},
		{"directory and file", conflict, false, RawZip(Record{Name: "a/b"}, Record{Name: "a"})},
		{"file below a file", conflict, false, RawZip(Record{Name: "a"}, Record{Name: "a/b/c"})},
		{"file through a symlink", conflict, false, deflated(File{Name: "a", Link: "/tmp"}, File{Name: "a/evil", Body: "x"})},
		{"file through a later symlink", conflict, false, deflated(File{Name: "a/evil", Body: "x"}, File{Name: "a", Link: "/tmp"})},
		{"file through a symlink spelled otherwise", conflict, false, deflated(File{Name: "a", Link: ".."}, File{Name: "./a//evil", Body: "x"})},
		{"symlink without a target", broken, false, moded(0xa1ff)},
		{"symlink with a long target", long, false, deflated(File{Name: "a", Link: strings.Repeat("x", 4096)})},
		{"symlink target with a NUL", name, true, deflated(File{Name: "a", Link: "x\x00y"})},
		{"wrong checksum", broken, true, corrupt(RawZip(Record{Name: "a", Body: "body"}), 32)},
		{"wrong checksum of an overwritten entry", broken, true, corrupt(RawZip(Record{Name: "a", Body: "body"}, Record{Name: "a"}), 32)},
		{"deflate that is none", broken, true, edit(record16(10, 8))},
		{"longer than declared", broken, true, deflatedSize(t, 2999)},
		{"shorter than declared", broken, true, deflatedSize(t, 3001)},
		{"deflate that is cut off", broken, true, deflatedCut(t)},
	}
}

// deflatedSize declares a size for 3000 bytes.
func deflatedSize(t testing.TB, size uint32) []byte {
	data := Zip(t, File{Name: "a", Body: strings.Repeat("abc", 1000)})
	binary.LittleEndian.PutUint32(record(data)[24:], size)
	return data
}

// deflatedCut declares fewer compressed bytes than there are.
func deflatedCut(t testing.TB) []byte {
	data := Zip(t, File{Name: "a", Body: strings.Repeat("abc", 1000)})
	r := record(data)
	binary.LittleEndian.PutUint32(r[20:], binary.LittleEndian.Uint32(r[20:])-3)
	return data
}

// record returns the first record of the directory.
func record(data []byte) []byte { return data[bytes.Index(data, []byte("PK\x01\x02")):] }
