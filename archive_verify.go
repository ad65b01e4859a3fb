package lamina

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Inflater reads the bytes of entries. The zero value is ready to use. It keeps
// its buffers between entries, so each goroutine has its own.
type Inflater struct {
	// Flate replaces [flate.NewReader]. What it returns must be a [flate.Resetter].
	Flate func(io.Reader) io.ReadCloser

	section watchedReader
	in      *bufio.Reader
	flate   io.ReadCloser
	buf     []byte
}

// watchedReader remembers why reading failed, to tell a bad disk from a bad zip.
type watchedReader struct {
	r   io.Reader
	err error
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

// Copy writes the content of a file, or the target of a symlink, to w. It never
// writes more than the entry declares, and returns an *[ArchiveError] when the
// content is not what the entry declares: what was written is then worthless.
func (in *Inflater) Copy(ctx context.Context, w io.Writer, e *ArchiveEntry) error {
	if e.Kind == ArchiveDirectory {
		return nil
	}
	lie := func(err error) error { return &ArchiveError{Reason: ArchiveBroken, Entry: e.Name, Err: err} }
	body, err := in.open(e)
	if err != nil {
		return lie(err)
	}
	left, crc := e.Size, uint32(0)
	for {
		if ctx.Err() != nil {
			return fmt.Errorf("read entry %q: %w", e.Name, context.Cause(ctx))
		}
		n, err := body.Read(in.buf)
		if int64(n) > left {
			return lie(errors.New("content is longer than declared"))
		}
		left -= int64(n)
		crc = crc32.Update(crc, crc32.IEEETable, in.buf[:n])
		if n > 0 {
			if _, err := w.Write(in.buf[:n]); err != nil {
				return fmt.Errorf("write entry %q: %w", e.Name, err)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			if in.section.err != nil && !errors.Is(in.section.err, io.ErrUnexpectedEOF) {
				return fmt.Errorf("read entry %q: %w", e.Name, in.section.err)
			}
			return lie(err)
		}
	}
	if left != 0 {
		return lie(errors.New("content is shorter than declared"))
	}
	if crc != e.crc {
		return lie(errors.New("checksum differs"))
	}
	return nil
}

// Target returns the target of a symlink.
func (in *Inflater) Target(ctx context.Context, e *ArchiveEntry) (string, error) {
	var target bytes.Buffer
	if err := in.Copy(ctx, &target, e); err != nil {
		return "", err
	}
	if bytes.IndexByte(target.Bytes(), 0) >= 0 {
		return "", &ArchiveError{Reason: ArchiveName, Entry: e.Name, Err: errors.New("symlink target has a NUL")}
	}
	return target.String(), nil
}

// open starts reading an entry.
func (in *Inflater) open(e *ArchiveEntry) (io.Reader, error) {
	if in.buf == nil {
		in.buf = make([]byte, 256<<10)
	}
	in.section = watchedReader{r: io.NewSectionReader(e.source, e.data, e.compressed)}
	if !e.deflated {
		return &in.section, nil
	}
	if in.flate != nil {
		in.in.Reset(&in.section)
		return in.flate, in.flate.(flate.Resetter).Reset(in.in, nil)
	}
	in.in = bufio.NewReaderSize(&in.section, 64<<10)
	if in.Flate == nil {
		in.Flate = flate.NewReader
	}
	in.flate = in.Flate(in.in)
	return in.flate, nil
}

// Verify reads every entry and returns an *[ArchiveError] for the first that is
// not what the directory declares. It inflates in memory only, on all cores.
func (a *Archive) Verify(ctx context.Context) error {
	entries := make([]*ArchiveEntry, 0, len(a.Entries)+len(a.overwritten))
	for _, list := range [][]ArchiveEntry{a.Entries, a.overwritten} {
		for i := range list {
			if list[i].Kind != ArchiveDirectory {
				entries = append(entries, &list[i])
			}
		}
	}
	// Longest first, so that no core is left alone with one at the end.
	slices.SortFunc(entries, func(a, b *ArchiveEntry) int { return cmp.Compare(b.Size, a.Size) })
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(entries)) {
		workers.Go(func() {
			var in Inflater
			for {
				i := next.Add(1) - 1
				if i >= int64(len(entries)) || ctx.Err() != nil {
					return
				}
				var err error
				if e := entries[i]; e.Kind == ArchiveSymlink {
					_, err = in.Target(ctx, e)
				} else {
					err = in.Copy(ctx, io.Discard, e)
				}
				if err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}
