package signing

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/lamina-run/lamina"
)

// The entries that make an archive a signed one.
const (
	ManifestName  = "META-INF/lamina/manifest.json"
	SignatureName = "META-INF/lamina/signature.p7s"
)

// content returns the indices of the entries that a manifest lists, sorted by
// name, and the two entries that it doesn't, nil where they are absent.
func content(a *lamina.Archive) (listed []int, manifest, signature *lamina.ArchiveEntry) {
	for i := range a.Entries {
		switch a.Entries[i].Name {
		case ManifestName:
			manifest = &a.Entries[i]
		case SignatureName:
			signature = &a.Entries[i]
		default:
			listed = append(listed, i)
		}
	}
	slices.SortFunc(listed, func(x, y int) int { return strings.Compare(a.Entries[x].Name, a.Entries[y].Name) })
	return listed, manifest, signature
}

// digests hashes the content of the listed entries on all cores.
func digests(ctx context.Context, a *lamina.Archive, listed []int) (map[int]lamina.Digest, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	all := make([]lamina.Digest, len(listed))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(listed)) {
		workers.Go(func() {
			var in lamina.Inflater
			h := sha256.New()
			for {
				i := next.Add(1) - 1
				if i >= int64(len(listed)) || ctx.Err() != nil {
					return
				}
				e := &a.Entries[listed[i]]
				if e.Kind == lamina.ArchiveDirectory {
					continue
				}
				h.Reset()
				if err := in.Copy(ctx, h, e); err != nil {
					cancel(err)
					return
				}
				h.Sum(all[i][:0])
			}
		})
	}
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	byEntry := make(map[int]lamina.Digest, len(listed))
	for i, n := range listed {
		byEntry[n] = all[i]
	}
	return byEntry, nil
}

var kinds = map[lamina.ArchiveKind]string{
	lamina.ArchiveFile: "file", lamina.ArchiveDirectory: "directory", lamina.ArchiveSymlink: "symlink",
}

// writeManifest writes the manifest of the listed entries. The same entries give
// the same bytes, whatever the version of Go or Lamina.
func writeManifest(w io.Writer, a *lamina.Archive, listed []int, sums map[int]lamina.Digest) error {
	if _, err := io.WriteString(w, `{"format":"lamina-manifest-1","entries":[`+"\n"); err != nil {
		return err
	}
	var line []byte
	for i, n := range listed {
		line = line[:0]
		if i > 0 {
			line = append(line, ",\n"...)
		}
		line = appendEntry(line, &a.Entries[n], sums[n])
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "\n]}\n")
	return err
}

func appendEntry(line []byte, e *lamina.ArchiveEntry, sum lamina.Digest) []byte {
	if utf8.ValidString(e.Name) {
		line = appendString(append(line, `{"name":`...), e.Name)
	} else { // zips know names in other encodings, JSON does not
		line = append(line, `{"nameBase64":"`...)
		line = append(base64.StdEncoding.AppendEncode(line, []byte(e.Name)), '"')
	}
	line = append(line, `,"kind":"`...)
	line = append(line, kinds[e.Kind]...)
	line = append(line, `","mode":"`...)
	line = fmt.Appendf(line, "%04o", e.Mode.Perm())
	if e.Kind != lamina.ArchiveDirectory {
		line = strconv.AppendInt(append(line, `","size":`...), e.Size, 10)
		line = append(line, `,"sha256":"`...)
		line = hex.AppendEncode(line, sum[:])
	}
	return append(line, `"}`...)
}

// appendString writes JSON with no more escapes than there must be: of package
// json it is not promised that it writes the same for ever.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
