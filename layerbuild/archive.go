package layerbuild

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/klauspost/compress/flate"

	"github.com/lamina-run/lamina"
)

// epoch is the time of every entry: the first that a zip can tell.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// write makes the zip. Names are in order, times and modes fixed, so that its
// bytes depend on names, contents and what may be executed alone.
func (r *Result) write(ctx context.Context, out Output, files *tree) error {
	hash := sha256.New()
	counted := &counter{w: io.MultiWriter(out, hash)}
	w := zip.NewWriter(counted)
	compressor, err := flate.NewWriter(nil, flate.BestCompression)
	if err != nil {
		return fmt.Errorf("write the zip: %w", err)
	}
	w.RegisterCompressor(zip.Deflate, func(to io.Writer) (io.WriteCloser, error) { // one entry after the other
		compressor.Reset(to)
		return compressor, nil
	})
	for i := range files.files {
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("write the zip: %w", err)
		}
		if err := writeEntry(w, &files.files[i]); err != nil {
			return fmt.Errorf("write the zip: %s: %w", files.files[i].name, err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write the zip: %w", err)
	}
	r.CodeSize = counted.n
	r.CodeSHA256 = base64.StdEncoding.EncodeToString(hash.Sum(nil))
	// What no server would take is found out here, not when it is published.
	if _, err := lamina.ReadArchive(out, counted.n, lamina.DefaultLimits()); err != nil {
		return advise(fmt.Errorf("check the zip: %w", err), "no server would take this; leave that file out")
	}
	return nil
}

func writeEntry(w *zip.Writer, f *file) error {
	header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: epoch}
	switch {
	case f.dir:
		header.Name += "/"
		header.Method = zip.Store
		header.SetMode(fs.ModeDir | 0o755)
	case f.target != "":
		header.SetMode(fs.ModeSymlink | 0o777)
	case f.exec:
		header.SetMode(0o755)
	default:
		header.SetMode(0o644)
	}
	to, err := w.CreateHeader(header)
	if err != nil || f.dir {
		return err
	}
	if f.target != "" {
		_, err = io.WriteString(to, f.target)
		return err
	}
	in, err := f.open()
	if err != nil {
		return err
	}
	defer in.Close()
	n, err := io.Copy(to, io.LimitReader(in, f.size+1))
	if err == nil && n != f.size {
		err = fmt.Errorf("it has changed meanwhile: %d bytes, and there were %d", n, f.size)
	}
	return err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
