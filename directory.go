package lamina

import (
	"crypto/sha256"
	"fmt"
	"slices"
)

// HotReload is the name of the bucket that stands for directories of the host:
// code or a layer from it is the directory that the key names, as it is at each
// invocation.
const HotReload = "hot-reload"

// DirectoryError says why a directory of the host is not shown to functions.
type DirectoryError struct {
	Directory string
	Reason    string
}

func (e *DirectoryError) Error() string {
	return fmt.Sprintf("directory %s: %s", e.Directory, e.Reason)
}

// contentSHA256 is what the API shows as CodeSha256: an archive's digest, or for a
// directory, whose bytes may change any time, a digest of its name.
func contentSHA256(d Digest, directory string) string {
	if directory != "" {
		return Digest(sha256.Sum256([]byte(HotReload + ":" + directory))).CodeSHA256()
	}
	return d.CodeSHA256()
}

// CodeSHA256 returns the digest as the API shows it; of a directory it is one of
// its name.
func (v LayerVersion) CodeSHA256() string { return contentSHA256(v.Digest, v.Directory) }

// Directories are those of the host that v shows as they are: its code's and its
// layers'. Published versions have none.
func (v Version) Directories() []string {
	var all []string
	if v.Code.Directory != "" {
		all = append(all, v.Code.Directory)
	}
	for i := range v.Config.Layers {
		if d := v.Config.Layers[i].Directory; d != "" {
			all = append(all, d)
		}
	}
	return all
}

// WithArchives returns v with archives in the place of the directories that it
// shows. It reports false when one is missing.
func (v Version) WithArchives(archives map[string]Code) (_ Version, ok bool) {
	if len(v.Directories()) == 0 {
		return v, true
	}
	if v.Code.Directory != "" {
		if v.Code, ok = archives[v.Code.Directory]; !ok {
			return v, false
		}
	}
	v.Config.Layers = slices.Clone(v.Config.Layers)
	for i, l := range v.Config.Layers {
		if l.Directory == "" {
			continue
		}
		c, ok := archives[l.Directory]
		if !ok {
			return v, false
		}
		l.Directory, l.Digest, l.CodeSize, l.UnpackedSize = "", c.Digest, c.CodeSize, c.UnpackedSize
		v.Config.Layers[i] = l
	}
	return v, true
}
