package lamina

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"path"
	"unicode/utf8"
)

// Packed is the content of an entry as the zip holds it.
type Packed struct {
	io.Reader
	Size     int64 // bytes that Reader yields
	CRC      uint32
	Deflated bool
}

// Packed returns the content of a file or symlink without inflating it, for who
// copies it into another zip.
func (e *ArchiveEntry) Packed() Packed {
	return Packed{Reader: io.NewSectionReader(e.source, e.data, e.compressed), Size: e.compressed, CRC: e.crc, Deflated: e.deflated}
}

const (
	extraTime       = 0x5455
	extraTimeLength = 9 // tag, length, flags, seconds
	flagUTF8        = 1 << 11
)

// CheckPlain returns an *[ArchiveError] unless the zip is nothing but its
// entries, one behind the other from the first byte on, so that every reader of
// zips finds the same in it: no two of one name, no bytes before, between or
// behind, no second opinion in a local header or an extra field. Most zips are
// not so plain; those that are signed must be.
func (a *Archive) CheckPlain() error {
	if err := a.checkEnd(); err != nil {
		return err
	}
	d := a.directory
	names := make(map[string]struct{}, len(a.Entries))
	in := bufio.NewReaderSize(io.NewSectionReader(a.source, d.start, d.end-d.start), 128<<10)
	read, at := int64(0), int64(0)
	for range d.records {
		head, err := in.Peek(recordLength)
		if err != nil {
			return archiveFailure(err)
		}
		le := binary.LittleEndian
		name, extra, comment := int(le.Uint16(head[28:])), int(le.Uint16(head[30:])), int(le.Uint16(head[32:]))
		if head, err = in.Peek(recordLength + name + extra); err != nil {
			return archiveFailure(err)
		}
		head = bytes.Clone(head)
		rec, ok, err := readRecord(in)
		if err != nil {
			return archiveFailure(err)
		}
		if !ok {
			return unplain("", "the directory is short")
		}
		read += int64(len(head))
		if comment != 0 {
			return unplain(rec.name, "it has a comment")
		}
		if what := rec.unplain(head); what != "" {
			return unplain(rec.name, what)
		}
		if _, twice := names[rec.name]; twice {
			return unplain(rec.name, "it is there twice")
		}
		names[rec.name] = struct{}{}
		if rec.header != uint64(at) {
			return unplain(rec.name, "it is not where the one before it ends")
		}
		if err := checkLocal(a.source, at, head, rec.name); err != nil {
			return err
		}
		if at += int64(localLength+name+extra) + int64(rec.compressed); at > d.start {
			return unplain(rec.name, "it reaches into the directory")
		}
	}
	switch {
	case read != d.end-d.start:
		return unplain("", "bytes behind the directory")
	case at != d.start:
		return unplain("", "bytes in front of the directory")
	case len(names) != len(a.Entries):
		return unplain("", "two names are one")
	}
	return nil
}

func unplain(name, what string) error {
	return &ArchiveError{Reason: ArchiveBroken, Entry: name, Err: errors.New(what)}
}

// checkEnd refuses an end that could be read in two ways, by comparing it with
// the only one that the directory should have.
func (a *Archive) checkEnd() error {
	d := a.directory
	le := binary.LittleEndian
	length := uint64(d.end - d.start)
	var want []byte
	end := make([]byte, directoryEndLength)
	le.PutUint32(end, directoryEndSignature)
	if d.records < math.MaxUint16 && length < math.MaxUint32 && d.start < math.MaxUint32 {
		le.PutUint16(end[8:], uint16(d.records))
		le.PutUint16(end[10:], uint16(d.records))
		le.PutUint32(end[12:], uint32(length))
		le.PutUint32(end[16:], uint32(d.start))
	} else {
		const version, numbered = 45, directoryEnd64Length - 12
		want = make([]byte, directoryEnd64Length+locator64Length)
		le.PutUint32(want, directoryEnd64Signature)
		le.PutUint64(want[4:], numbered)
		le.PutUint16(want[12:], version)
		le.PutUint16(want[14:], version)
		le.PutUint64(want[24:], d.records)
		le.PutUint64(want[32:], d.records)
		le.PutUint64(want[40:], length)
		le.PutUint64(want[48:], uint64(d.start))
		locator := want[directoryEnd64Length:]
		le.PutUint32(locator, locator64Signature)
		le.PutUint64(locator[8:], uint64(d.end))
		le.PutUint32(locator[16:], 1)
		for i := 8; i < 20; i++ {
			end[i] = 0xff
		}
	}
	want = append(want, end...)
	if d.base != 0 || a.size-d.end != int64(len(want)) {
		return unplain("", "bytes in front of the zip, or behind it")
	}
	got := make([]byte, len(want))
	if n, err := a.source.ReadAt(got, d.end); n < len(got) {
		return archiveFailure(err)
	}
	if !bytes.Equal(got, want) {
		return unplain("", "the end can be read in two ways")
	}
	return nil
}

// unplain returns what is not plain about a record, or nothing. The record has
// its name and its extra field with it.
func (rec zipRecord) unplain(record []byte) string {
	const unix = 3
	kind, _, _ := rec.mode() // ReadArchive refused what is none
	clean := path.Clean(rec.name)
	if kind == ArchiveDirectory {
		clean += "/"
	}
	flags := uint16(0)
	if !isASCII(rec.name) && utf8.ValidString(rec.name) {
		flags = flagUTF8
	}
	le := binary.LittleEndian
	extra := record[recordLength+len(rec.name):]
	switch {
	case rec.name != clean:
		return "its name is not in its simplest form"
	case rec.flags != flags:
		return "it has flags"
	case rec.creator != unix:
		return "it was not made for Unix"
	case kind == ArchiveDirectory && (rec.compressed != 0 || rec.method != methodStore):
		return "it is a directory and has content"
	case le.Uint16(record[34:]) != 0:
		return "it is on another disk"
	case len(extra) != 0 && (len(extra) != extraTimeLength || le.Uint16(extra) != extraTime || le.Uint16(extra[2:]) != extraTimeLength-4):
		return "it has an extra field"
	}
	return ""
}

// checkLocal compares the local header at an offset with its record.
func checkLocal(r io.ReaderAt, at int64, record []byte, name string) error {
	header := make([]byte, localLength+len(record)-recordLength)
	if n, err := r.ReadAt(header, at); n < len(header) {
		return archiveFailure(err)
	}
	// From the flags to the lengths both have the same fields. In front of them is
	// the version that a reader needs, behind them the name and the extra field.
	if binary.LittleEndian.Uint32(header) != localSignature || !bytes.Equal(header[6:localLength], record[8:32]) ||
		!bytes.Equal(header[localLength:], record[recordLength:]) {
		return unplain(name, "its local header says something else")
	}
	return nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
