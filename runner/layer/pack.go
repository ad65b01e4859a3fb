package layer

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner/layer/erofs"
)

// Pack makes an EROFS image of an archive in a file that is empty. What it shows
// when mounted is what [Unpack] makes, but for the times of directories that the
// archive only implies: those are the latest of its entries. The content is
// checked on the way; a *[lamina.ArchiveError] tells that it is not what the
// archive declares. When Pack fails the file is worthless.
func Pack(ctx context.Context, archive *lamina.Archive, file *os.File) error {
	nodes := make([]erofs.Node, len(archive.Entries))
	var latest time.Time
	for i, e := range archive.Entries {
		nodes[i] = erofs.Node{Name: e.Name, Mode: e.Mode.Perm(), Modified: e.Modified, Size: e.Size}
		switch e.Kind {
		case lamina.ArchiveDirectory:
			nodes[i].Mode |= fs.ModeDir
		case lamina.ArchiveSymlink:
			nodes[i].Mode |= fs.ModeSymlink
		}
		if i == 0 || e.Modified.After(latest) {
			latest = e.Modified
		}
	}
	if len(nodes) == 0 {
		latest = time.Unix(0, 0)
	}
	image, err := erofs.Plan(nodes, latest)
	if err != nil {
		return err
	}
	if err := file.Truncate(image.Size()); err != nil {
		return err
	}
	if err := image.WriteTree(file); err != nil {
		return err
	}
	return inflate(ctx, archive.Entries, func() work {
		content := image.Contents(file)
		return func(ctx context.Context, in *lamina.Inflater, i int) error {
			content.Begin(i)
			if e := &archive.Entries[i]; e.Kind == lamina.ArchiveSymlink {
				target, err := in.Target(ctx, e)
				if err != nil {
					return err
				}
				if _, err := io.WriteString(content, target); err != nil {
					return fmt.Errorf("write entry %q: %w", e.Name, err)
				}
			} else if err := in.Copy(ctx, content, e); err != nil {
				return err
			}
			return content.End()
		}
	})
}
