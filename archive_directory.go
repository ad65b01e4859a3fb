package lamina

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"strings"
	"time"
)

// The zip format, as far as its directory goes. archive/zip is not used because
// it holds every record in memory before a caller can count them, and a zip may
// be nothing but records.

const (
	directoryEndLength   = 22
	directoryEnd64Length = 56
	locator64Length      = 20
	recordLength         = 46
	localLength          = 30

	directoryEndSignature   = 0x06054b50
	directoryEnd64Signature = 0x06064b50
	locator64Signature      = 0x07064b50
	recordSignature         = 0x02014b50
	localSignature          = 0x04034b50

	methodStore   = 0
	methodDeflate = 8
)

// zipDirectory is where the records of a zip are.
type zipDirectory struct {
	start, end int64 // offsets in the file
	base       int64 // length of what is in front of the zip
	records    uint64
}

func broken(what string) error { return &ArchiveError{Reason: ArchiveBroken, Err: errors.New(what)} }

// findDirectory reads the end of a zip. Like archive/zip it takes the last
// signature in the file, tolerates a comment behind and a program in front.
func findDirectory(r io.ReaderAt, size int64) (zipDirectory, error) {
	at, end, err := findDirectoryEnd(r, size)
	if err != nil {
		return zipDirectory{}, err
	}
	le := binary.LittleEndian
	disk, diskOfDirectory := uint32(le.Uint16(end[4:])), uint32(le.Uint16(end[6:]))
	records, length, offset := uint64(le.Uint16(end[10:])), uint64(le.Uint32(end[12:])), uint64(le.Uint32(end[16:]))
	if records == math.MaxUint16 || length == math.MaxUint32 || offset == math.MaxUint32 {
		at64, end64, err := findDirectoryEnd64(r, at)
		if err != nil {
			return zipDirectory{}, err
		}
		if end64 != nil {
			at = at64
			disk, diskOfDirectory = le.Uint32(end64[16:]), le.Uint32(end64[20:])
			records, length, offset = le.Uint64(end64[32:]), le.Uint64(end64[40:]), le.Uint64(end64[48:])
		}
	}
	if disk != 0 || diskOfDirectory != 0 {
		return zipDirectory{}, broken("zip spans several disks")
	}
	if length > uint64(at) || offset > uint64(at)-length {
		return zipDirectory{}, broken("directory is outside of the file")
	}
	d := zipDirectory{end: at, base: at - int64(length) - int64(offset), records: records}
	if d.base > 0 {
		// Some tools write a wrong length, and a right offset.
		var signature [4]byte
		if _, err := r.ReadAt(signature[:], int64(offset)); err != nil {
			return zipDirectory{}, err
		}
		if le.Uint32(signature[:]) == recordSignature {
			d.base = 0
		}
	}
	d.start = d.base + int64(offset)
	return d, nil
}

// findDirectoryEnd returns the end record and its offset.
func findDirectoryEnd(r io.ReaderAt, size int64) (int64, []byte, error) {
	for _, length := range []int64{1 << 10, directoryEndLength + math.MaxUint16} {
		length = min(length, size)
		tail := make([]byte, length)
		if n, err := r.ReadAt(tail, size-length); int64(n) < length {
			return 0, nil, err
		}
		for i := bytes.LastIndex(tail, []byte("PK\x05\x06")); i >= 0; i = bytes.LastIndex(tail[:i], []byte("PK\x05\x06")) {
			if len(tail)-i < directoryEndLength {
				continue
			}
			if comment := int(binary.LittleEndian.Uint16(tail[i+20:])); i+directoryEndLength+comment > len(tail) {
				return 0, nil, broken("comment is cut off")
			}
			return size - length + int64(i), tail[i : i+directoryEndLength], nil
		}
		if length == size {
			break
		}
	}
	return 0, nil, &ArchiveError{Reason: ArchiveNotZip}
}

// findDirectoryEnd64 returns the zip64 end record and its offset, nil when there
// is none.
func findDirectoryEnd64(r io.ReaderAt, end int64) (int64, []byte, error) {
	if end < locator64Length {
		return 0, nil, nil
	}
	le := binary.LittleEndian
	locator := make([]byte, locator64Length)
	if n, err := r.ReadAt(locator, end-locator64Length); n < len(locator) {
		return 0, nil, err
	}
	if le.Uint32(locator) != locator64Signature {
		return 0, nil, nil
	}
	at := le.Uint64(locator[8:])
	if end < locator64Length+directoryEnd64Length || at > uint64(end-locator64Length-directoryEnd64Length) {
		return 0, nil, broken("zip64 directory end is outside of the file")
	}
	record := make([]byte, directoryEnd64Length)
	if n, err := r.ReadAt(record, int64(at)); n < len(record) {
		return 0, nil, err
	}
	if le.Uint32(record) != directoryEnd64Signature {
		return 0, nil, broken("zip64 directory end is missing")
	}
	return int64(at), record, nil
}

// zipRecord is one entry as the directory describes it.
type zipRecord struct {
	name       string
	creator    byte
	flags      uint16
	method     uint16
	crc        uint32
	compressed uint64
	size       uint64
	attributes uint32
	header     uint64
	modified   time.Time
}

// readRecord reads the next record, and reports false behind the last one.
func readRecord(in *bufio.Reader) (zipRecord, bool, error) {
	le := binary.LittleEndian
	head, err := in.Peek(recordLength)
	if err != nil && err != io.EOF {
		return zipRecord{}, false, err
	}
	if len(head) < 4 || le.Uint32(head) != recordSignature {
		return zipRecord{}, false, nil
	}
	if len(head) < recordLength {
		return zipRecord{}, false, io.ErrUnexpectedEOF
	}
	rec := zipRecord{
		creator: head[5], flags: le.Uint16(head[8:]), method: le.Uint16(head[10:]), crc: le.Uint32(head[16:]),
		compressed: uint64(le.Uint32(head[20:])), size: uint64(le.Uint32(head[24:])),
		attributes: le.Uint32(head[38:]), header: uint64(le.Uint32(head[42:])),
		modified: dosTime(le.Uint16(head[14:]), le.Uint16(head[12:])),
	}
	name, extra, comment := int(le.Uint16(head[28:])), int(le.Uint16(head[30:])), int(le.Uint16(head[32:]))
	if _, err := in.Discard(recordLength); err != nil {
		return zipRecord{}, false, err
	}
	text := make([]byte, name+extra)
	if _, err := io.ReadFull(in, text); err != nil {
		return zipRecord{}, false, err
	}
	if _, err := in.Discard(comment); err != nil {
		return zipRecord{}, false, err
	}
	rec.name = string(text[:name])
	if err := rec.readExtra(text[name:]); err != nil {
		return zipRecord{}, false, err
	}
	return rec, true, nil
}

// readExtra takes zip64 sizes and better times from the extra fields.
func (rec *zipRecord) readExtra(extra []byte) error {
	le := binary.LittleEndian
	seen64 := false
	for len(extra) >= 4 {
		tag, length := le.Uint16(extra), int(le.Uint16(extra[2:]))
		if extra = extra[4:]; len(extra) < length {
			break // padding; tools ignore it
		}
		field := extra[:length]
		extra = extra[length:]
		switch tag {
		case 0x0001: // zip64
			if seen64 {
				continue
			}
			seen64 = true
			for _, v := range []*uint64{&rec.size, &rec.compressed, &rec.header} {
				if *v != math.MaxUint32 {
					continue
				}
				if len(field) < 8 {
					return &ArchiveError{Reason: ArchiveBroken, Entry: rec.name, Err: errors.New("zip64 field is short")}
				}
				*v, field = le.Uint64(field), field[8:]
			}
		case 0x5455: // extended timestamp
			if len(field) >= 5 && field[0]&1 != 0 {
				rec.modified = time.Unix(int64(int32(le.Uint32(field[1:]))), 0).UTC()
			}
		case 0x000d, 0x5855: // PKWARE and old Info-ZIP Unix
			if len(field) >= 8 {
				rec.modified = time.Unix(int64(int32(le.Uint32(field[4:]))), 0).UTC()
			}
		}
	}
	if !seen64 && (rec.compressed == math.MaxUint32 || rec.header == math.MaxUint32) {
		return &ArchiveError{Reason: ArchiveBroken, Entry: rec.name, Err: errors.New("zip64 field is missing")}
	}
	return nil
}

// dosTime reads MS-DOS date and time, which have no zone.
func dosTime(date, clock uint16) time.Time {
	return time.Date(int(date>>9)+1980, time.Month(date>>5&0xf), int(date&0x1f),
		int(clock>>11), int(clock>>5&0x3f), int(clock&0x1f)*2, 0, time.UTC)
}

// encrypted reports traditional, strong and central directory encryption.
func (rec zipRecord) encrypted() bool { return rec.flags&(1<<0|1<<6|1<<13) != 0 }

// declaredMode returns the permissions as the zip has them, where it can have
// any, else the usual ones.
func (rec zipRecord) declaredMode(kind ArchiveKind, perm fs.FileMode) fs.FileMode {
	unix := rec.attributes >> 16
	switch {
	case rec.creator == madeOnUnix || rec.creator == madeOnMacOS:
		return fs.FileMode(unix & 0o777)
	case unix == 0 && kind == ArchiveDirectory:
		return 0o755
	}
	return perm
}

// Who made a record.
const madeOnUnix, madeOnMacOS = 3, 19

// mode returns the kind and the permissions of an entry. It reports false for
// what is neither file, directory nor symlink. A slash at the end of the name
// makes a directory of anything but a device.
func (rec zipRecord) mode() (ArchiveKind, fs.FileMode, bool) {
	const typeMask, fifo, char, dir, block, regular, link, socket = 0xf000, 0x1000, 0x2000, 0x4000, 0x6000, 0x8000, 0xa000, 0xc000
	unix := rec.attributes >> 16
	if rec.creator != madeOnUnix && rec.creator != madeOnMacOS {
		// Python on Windows and others put a Unix mode here and still say FAT. It
		// is believed only where it can't do harm.
		if t := unix & typeMask; t != regular && t != dir {
			unix = 0
		}
	}
	kind := ArchiveFile
	switch unix & typeMask {
	case fifo, char, block, socket:
		return 0, 0, false
	case dir:
		kind = ArchiveDirectory
	case link:
		kind = ArchiveSymlink
	}
	if strings.HasSuffix(rec.name, "/") {
		kind = ArchiveDirectory
	}
	perm := fs.FileMode(unix & 0o777)
	if unix == 0 {
		perm = 0o644
	}
	return kind, perm, true
}

// localHeaderLength returns how many bytes are between an entry's header and its
// content.
func localHeaderLength(r io.ReaderAt, at, end int64) (int64, error) {
	if at < 0 || at > end-localLength {
		return 0, io.ErrUnexpectedEOF
	}
	var head [localLength]byte
	if n, err := r.ReadAt(head[:], at); n < len(head) {
		return 0, err
	}
	le := binary.LittleEndian
	if le.Uint32(head[:]) != localSignature {
		return 0, broken("local header is missing")
	}
	return localLength + int64(le.Uint16(head[26:])) + int64(le.Uint16(head[28:])), nil
}
