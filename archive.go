package lamina

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"time"
)

// Archive is the directory of a zip that holds code or a layer, after every rule
// was checked: what unpacking it would leave behind. The bytes of the entries are
// checked by [Archive.Verify].
type Archive struct {
	// Entries are what unpacking leaves, in the order of the zip's directory. No
	// two have the same name, and none is inside a file or a symlink: an entry
	// that a later one of the same name overwrites is left out. Directories that
	// are only implied by other names are not listed.
	Entries []ArchiveEntry
	// UnpackedSize is the sum of all files, overwritten ones too.
	UnpackedSize int64

	overwritten []ArchiveEntry
	source      io.ReaderAt
	size        int64
	directory   zipDirectory
}

// ArchiveKind is what unpacking makes of an entry.
type ArchiveKind uint8

// Kinds of entries.
const (
	ArchiveFile ArchiveKind = iota
	ArchiveDirectory
	ArchiveSymlink
)

// ArchiveEntry is one name of an archive.
type ArchiveEntry struct {
	// Name is a clean relative path with slashes; it is never ".". Its bytes are
	// those of the zip: names in old code pages are not converted.
	Name string
	Kind ArchiveKind
	// Mode holds permissions only. The function runs as another user than the one
	// that unpacks, and zips often carry 0600 (Python's zipfile) or nothing at
	// all, so everyone may read, and execute what its owner may. Only the owner
	// may write: what functions run must not be for others to change. Setuid,
	// setgid and sticky bits are dropped. Directories are 0755.
	Mode fs.FileMode
	// Modified is in UTC; times without a zone count as UTC.
	Modified time.Time
	// Size is the number of bytes that [Inflater.Copy] writes.
	Size int64

	perm       fs.FileMode // as the zip has it
	compressed int64
	header     int64 // offset of the local header
	data       int64 // offset of the bytes
	crc        uint32
	deflated   bool
	source     io.ReaderAt
}

// String is the kind in a word.
func (k ArchiveKind) String() string {
	switch k {
	case ArchiveDirectory:
		return "directory"
	case ArchiveSymlink:
		return "symlink"
	}
	return "file"
}

// MarshalText writes the kind as String does.
func (k ArchiveKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// DeclaredMode returns the permissions that the zip has for the entry, before the
// rules of [ArchiveEntry.Mode] changed them. Others who unpack it take these.
func (e *ArchiveEntry) DeclaredMode() fs.FileMode { return e.perm }

// Overwritten returns the names of which the zip has more than one entry, once
// for each entry that a later one overwrites.
func (a *Archive) Overwritten() []string {
	names := make([]string, 0, len(a.overwritten))
	for _, e := range a.overwritten {
		names = append(names, e.Name)
	}
	return names
}

// ArchiveReason says which rule an archive breaks.
type ArchiveReason string

// Reasons to refuse an archive.
const (
	ArchiveNotZip            ArchiveReason = "not a zip"
	ArchiveBroken            ArchiveReason = "broken"
	ArchiveName              ArchiveReason = "name is empty or has a NUL"
	ArchiveNameTooLong       ArchiveReason = "name is too long"
	ArchiveTraversal         ArchiveReason = "name has .. in it"
	ArchiveAbsolute          ArchiveReason = "name is absolute"
	ArchiveDevice            ArchiveReason = "is a device, pipe or socket"
	ArchiveEncrypted         ArchiveReason = "is encrypted"
	ArchiveUnsupportedMethod ArchiveReason = "compression method is neither stored nor deflated"
	ArchiveTooManyEntries    ArchiveReason = "too many entries"
	ArchiveTooLarge          ArchiveReason = "unpacks to too many bytes"
	ArchiveRatio             ArchiveReason = "compression ratio is too high"
	ArchiveOverlap           ArchiveReason = "shares bytes with another entry"
	ArchiveConflict          ArchiveReason = "is a file or symlink, and a directory too"
)

// ArchiveError says why an archive is refused. Failures to read the bytes of the
// archive from where they are kept are not ArchiveErrors.
type ArchiveError struct {
	Reason ArchiveReason
	Entry  string // as the zip spells it; empty when it is about the whole
	Size   int64  // for ArchiveTooLarge, the declared size of all entries
	Err    error  // what exactly, or nil
}

func (e *ArchiveError) Error() string {
	text := "read archive: "
	if e.Entry != "" {
		text += fmt.Sprintf("entry %q: ", e.Entry)
	}
	text += string(e.Reason)
	if e.Reason == ArchiveTooLarge {
		text += fmt.Sprintf(": %d", e.Size)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *ArchiveError) Unwrap() error { return e.Err }

// Bounds of Linux: a longer component can't be created, a longer target can't be
// a symlink's.
const (
	componentLength = 255
	targetLength    = 4095
)

// ReadArchive reads the directory of a zip and checks it against the rules and
// the limits. It returns an *[ArchiveError] for a zip that is refused.
// Symlinks may point anywhere: their targets are resolved inside the sandbox, and
// no other entry may be below one. The archive reads from r as long as it is used.
func ReadArchive(r io.ReaderAt, size int64, limits Limits) (*Archive, error) {
	if size < directoryEndLength {
		return nil, &ArchiveError{Reason: ArchiveNotZip}
	}
	directory, err := findDirectory(r, size)
	if err != nil {
		return nil, archiveFailure(err)
	}
	entries, err := readEntries(r, directory, limits)
	if err != nil {
		return nil, err
	}
	a := &Archive{source: r, size: size, directory: directory}
	for _, e := range entries {
		a.UnpackedSize = min(a.UnpackedSize, math.MaxInt64-e.Size) + e.Size
	}
	if a.UnpackedSize > limits.Unzipped {
		return nil, &ArchiveError{Reason: ArchiveTooLarge, Size: a.UnpackedSize}
	}
	if limits.ArchiveRatio > 0 && a.UnpackedSize > limits.ArchiveRatioThreshold && a.UnpackedSize/limits.ArchiveRatio >= size {
		return nil, &ArchiveError{Reason: ArchiveRatio}
	}
	if err := checkTree(entries, limits); err != nil {
		return nil, err
	}
	if err := locate(entries, directory.start); err != nil {
		return nil, err
	}
	a.keepLast(entries)
	return a, nil
}

// readEntries reads all records of the directory, and stops at the first that a
// rule about single entries refuses.
func readEntries(r io.ReaderAt, directory zipDirectory, limits Limits) ([]ArchiveEntry, error) {
	in := bufio.NewReaderSize(io.NewSectionReader(r, directory.start, directory.end-directory.start), 64<<10)
	// Every record takes bytes of the directory, so a lying count can't make this
	// larger than what was uploaded.
	entries := make([]ArchiveEntry, 0, min(directory.records, uint64(limits.ArchiveEntries), uint64(directory.end-directory.start)/recordLength))
	records := uint64(0)
	for ; ; records++ {
		rec, ok, err := readRecord(in)
		if err != nil {
			return nil, archiveFailure(err)
		}
		if !ok {
			break
		}
		if records >= uint64(limits.ArchiveEntries) {
			return nil, &ArchiveError{Reason: ArchiveTooManyEntries}
		}
		e, ok, err := rec.entry(limits)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		e.source = r
		e.header += directory.base
		entries = append(entries, e)
	}
	// Tools that don't know zip64 let the count wrap.
	if uint16(records) != uint16(directory.records) {
		return nil, &ArchiveError{Reason: ArchiveBroken, Err: fmt.Errorf("directory has %d entries and says %d", records, directory.records)}
	}
	return entries, nil
}

// entry applies the rules that need no other entry. It reports false for an entry
// that leaves nothing behind: the root itself.
func (rec zipRecord) entry(limits Limits) (ArchiveEntry, bool, error) {
	refuse := func(reason ArchiveReason, err error) (ArchiveEntry, bool, error) {
		return ArchiveEntry{}, false, &ArchiveError{Reason: reason, Entry: rec.name, Err: err}
	}
	if reason := rec.checkName(limits); reason != "" {
		return refuse(reason, nil)
	}
	if rec.encrypted() {
		return refuse(ArchiveEncrypted, nil)
	}
	kind, perm, ok := rec.mode()
	if !ok {
		return refuse(ArchiveDevice, nil)
	}
	if rec.size > math.MaxInt64 || rec.compressed > math.MaxInt64 || rec.header > math.MaxInt64 {
		return refuse(ArchiveBroken, errors.New("impossible size"))
	}
	e := ArchiveEntry{
		Name: path.Clean(rec.name), Kind: kind, Modified: rec.modified, Size: int64(rec.size), perm: rec.declaredMode(kind, perm),
		compressed: int64(rec.compressed), header: int64(rec.header), crc: rec.crc, deflated: rec.method == methodDeflate,
	}
	if kind == ArchiveDirectory {
		// The jar tool gives directories a method and compressed bytes; only
		// content would be a lie.
		if rec.size != 0 {
			return refuse(ArchiveBroken, errors.New("directory has content"))
		}
		e.Mode = 0o755
		return e, e.Name != ".", nil
	}
	if e.Name == "." {
		return refuse(ArchiveName, nil)
	}
	switch rec.method {
	case methodStore:
		if rec.size != rec.compressed {
			return refuse(ArchiveBroken, errors.New("stored entry has two sizes"))
		}
	case methodDeflate:
	default:
		return refuse(ArchiveUnsupportedMethod, fmt.Errorf("method %d", rec.method))
	}
	if kind == ArchiveSymlink {
		e.Mode = 0o777
		if rec.size == 0 {
			return refuse(ArchiveBroken, errors.New("symlink has no target"))
		}
		if rec.size > targetLength {
			return refuse(ArchiveNameTooLong, fmt.Errorf("symlink target of %d bytes", rec.size))
		}
		return e, true, nil
	}
	e.Mode = (perm | 0o444) &^ 0o022
	if perm&0o100 != 0 {
		e.Mode |= 0o111
	}
	return e, true, nil
}

// checkName returns the reason why the name is refused, or nothing. A backslash is an
// ordinary byte, as it is to Linux: AWS too makes one file "lib\\a.js" of what a
// careless Windows tool meant as a directory and a file (seen in the issues of
// aws-cli, pulumi-aws and cargo-lambda). But what would leave the root if some
// tool read it as a separator is refused.
func (rec zipRecord) checkName(limits Limits) ArchiveReason {
	if len(rec.name) > limits.ArchiveNameLength {
		return ArchiveNameTooLong
	}
	if rec.name == "" || strings.IndexByte(rec.name, 0) >= 0 {
		return ArchiveName
	}
	slashed := strings.ReplaceAll(rec.name, `\`, "/")
	if slashed[0] == '/' || len(slashed) > 2 && slashed[1:3] == ":/" {
		return ArchiveAbsolute
	}
	for part := range strings.SplitSeq(slashed, "/") {
		if part == ".." {
			return ArchiveTraversal
		}
	}
	for part := range strings.SplitSeq(rec.name, "/") {
		if len(part) > componentLength {
			return ArchiveNameTooLong
		}
	}
	return ""
}

// checkTree refuses entries that can't all be in one tree, whatever their order,
// and trees with more nodes than entries are allowed: a deep name makes many.
func checkTree(entries []ArchiveEntry, limits Limits) error {
	directories := make(map[string]struct{})
	for _, e := range entries {
		dir := e.Name
		if e.Kind != ArchiveDirectory {
			dir = path.Dir(dir)
		}
		for dir != "." {
			if _, ok := directories[dir]; ok {
				break
			}
			if len(directories) >= limits.ArchiveEntries {
				return &ArchiveError{Reason: ArchiveTooManyEntries, Entry: e.Name}
			}
			directories[dir] = struct{}{}
			dir = parent(dir)
		}
	}
	for _, e := range entries {
		if _, ok := directories[e.Name]; ok && e.Kind != ArchiveDirectory {
			return &ArchiveError{Reason: ArchiveConflict, Entry: e.Name}
		}
	}
	return nil
}

// parent is path.Dir of a clean name, without building a string.
func parent(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return "."
}

// locate finds the bytes of each entry behind its local header, whose length is
// known nowhere else, and refuses entries that share bytes: with those, a small
// zip unpacks to terabytes without any entry lying.
func locate(entries []ArchiveEntry, end int64) error {
	order := make([]int, 0, len(entries))
	for i, e := range entries {
		if e.Kind != ArchiveDirectory {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(entries[a].header, entries[b].header) })
	used := int64(0)
	for _, i := range order {
		e := &entries[i]
		if e.header < used {
			return &ArchiveError{Reason: ArchiveOverlap, Entry: e.Name}
		}
		length, err := localHeaderLength(e.source, e.header, end)
		if err != nil {
			return fmt.Errorf("entry %q: %w", e.Name, archiveFailure(err))
		}
		e.data = e.header + length
		if e.data > end || e.compressed > end-e.data {
			return &ArchiveError{Reason: ArchiveBroken, Entry: e.Name, Err: io.ErrUnexpectedEOF}
		}
		used = e.data + e.compressed
	}
	return nil
}

// keepLast fills the entries, the last of each name.
func (a *Archive) keepLast(entries []ArchiveEntry) {
	last := make(map[string]int, len(entries))
	for i, e := range entries {
		last[e.Name] = i
	}
	if len(last) == len(entries) {
		a.Entries = entries
		return
	}
	a.Entries = make([]ArchiveEntry, 0, len(last))
	for i, e := range entries {
		if last[e.Name] == i {
			a.Entries = append(a.Entries, e)
		} else {
			a.overwritten = append(a.overwritten, e)
		}
	}
}

// archiveFailure turns a short read into an archive that is broken; other errors
// are about where the bytes are kept.
func archiveFailure(err error) error {
	if _, ok := errors.AsType[*ArchiveError](err); ok {
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &ArchiveError{Reason: ArchiveBroken, Err: io.ErrUnexpectedEOF}
	}
	return fmt.Errorf("read archive: %w", err)
}
