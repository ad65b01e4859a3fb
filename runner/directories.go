package runner

import (
	"context"
	"strings"

	"github.com/lamina-run/lamina"
)

// Directories shows directories of the host as they are.
type Directories interface {
	// Stamp vouches that a directory may be shown, and returns text that is another
	// one when anything in it has changed. The error is a *lamina.DirectoryError
	// when it may not be shown.
	Stamp(ctx context.Context, dir string) (string, error)
}

// noDirectories are those of a server that shows none.
type noDirectories struct{}

func (noDirectories) Stamp(_ context.Context, dir string) (string, error) {
	return "", &lamina.DirectoryError{Directory: dir, Reason: "this server shows no directories, start it with --hot-reload"}
}

func (r *Runner) directories() Directories {
	if r.options.Directories == nil {
		return noDirectories{}
	}
	return r.options.Directories
}

// generation tells one state of the directories that v shows from the next. It is
// empty when v shows none, as nearly all do.
func (r *Runner) generation(ctx context.Context, v *lamina.Version) (string, error) {
	all := v.Directories()
	if len(all) == 0 {
		return "", nil
	}
	stamps := make([]string, len(all))
	for i, dir := range all {
		var err error
		if stamps[i], err = r.directories().Stamp(ctx, dir); err != nil {
			return "", err
		}
	}
	return strings.Join(stamps, " "), nil
}

// tree is the directory to mount for an archive, or for a directory of the host
// itself.
func (r *Runner) tree(ctx context.Context, directory string, digest lamina.Digest) (dir string, release func(), err error) {
	if directory == "" {
		return r.options.Layers.Acquire(ctx, digest)
	}
	if _, err := r.directories().Stamp(ctx, directory); err != nil {
		return "", nil, err
	}
	return directory, func() {}, nil
}
