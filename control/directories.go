package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// Directories are those of the host that functions and layers may be shown as
// they are. What they refuse is a *lamina.DirectoryError.
type Directories interface {
	// Check vouches for a path that a client named, and returns its canonical form.
	Check(path string) (string, error)
	// Archive writes a zip of a directory that Check returned, or fails with
	// lamina.ErrTooLarge when it would have more than most bytes. The same files
	// are the same bytes.
	Archive(ctx context.Context, dir string, most int64, w io.Writer) error
}

// directory is what the key of a request means whose bucket is hot-reload.
func (p *Plane) directory(key *string) (string, error) {
	if p.directories == nil {
		return "", wire.InvalidParameterValue.Errorf("Hot reload is off: start the server with --hot-reload DIR to allow a directory, or send ZipFile.")
	}
	if key == nil {
		return "", wire.InvalidParameterValue.Errorf("Please provide S3Key together with S3Bucket.")
	}
	dir, err := p.directories.Check(*key)
	if err != nil {
		return "", directoryError(err)
	}
	return dir, nil
}

// directoryError is what the client reads about a directory.
func directoryError(err error) error {
	if refused, ok := errors.AsType[*lamina.DirectoryError](err); ok {
		return wire.InvalidParameterValue.Errorf("Hot reload of %s: %s.", refused.Directory, refused.Reason)
	}
	return err
}

// location is where an archive can be downloaded, or the directory itself.
func (p *Plane) location(ctx context.Context, d lamina.Digest, directory string) string {
	if directory != "" {
		return (&url.URL{Scheme: "file", Path: directory}).String()
	}
	return p.locations.Location(ctx, d)
}

// errOtherDirectories says that the directories to be published are not those of
// which archives were made.
var errOtherDirectories = wire.ResourceConflict.Errorf("The operation cannot be performed at this time. The function's directories have changed meanwhile.")

// archives makes an archive of each directory as it is now, for a version that
// must never change.
func (p *Plane) archives(ctx context.Context, directories []string) (map[string]lamina.Code, error) {
	if len(directories) == 0 {
		return nil, nil
	}
	if p.directories == nil {
		_, err := p.directory(nil)
		return nil, err
	}
	all := map[string]lamina.Code{}
	for _, dir := range directories {
		code, err := p.archive(ctx, dir)
		if err != nil {
			return nil, fmt.Errorf("archive %s: %w", dir, err)
		}
		all[dir] = code
	}
	return all, nil
}

func (p *Plane) archive(ctx context.Context, dir string) (_ lamina.Code, err error) {
	u, err := p.stage(ctx)
	if err != nil {
		return lamina.Code{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Discard())
		}
	}()
	err = p.directories.Archive(ctx, dir, p.limits.Unzipped+zipOverhead, u)
	if errors.Is(err, lamina.ErrTooLarge) {
		return lamina.Code{}, p.refusal(&lamina.ArchiveError{Reason: lamina.ArchiveTooLarge})
	}
	if err != nil {
		return lamina.Code{}, directoryError(err)
	}
	return p.keep(ctx, u)
}

// archivesOf makes archives for code and the layers of those ARNs.
func (p *Plane) archivesOf(ctx context.Context, code lamina.Code, layers []string) (map[string]lamina.Code, error) {
	v := lamina.Version{Code: code}
	err := p.store.View(ctx, func(tx *store.Tx) error {
		v.Config.Layers = nil
		for _, arn := range layers {
			ref, ok := lamina.ParseLayerReference(arn)
			if !ok {
				continue // refused when it is attached
			}
			l, err := tx.LayerVersion(ctx, ref.ID(scope(ctx)), ref.Version)
			if ignoreMissing(err) != nil {
				return err
			}
			v.Config.Layers = append(v.Config.Layers, lamina.AttachedLayer{Directory: l.Directory})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read layers: %w", err)
	}
	return p.archives(ctx, v.Directories())
}
