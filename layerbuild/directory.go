package layerbuild

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// tops are directories that some runtime, or every function, looks into below
// /opt: a directory with one of them is a layer already.
var tops = []string{"python", "nodejs", "ruby", "java", "bin", "lib", "extensions", "dotnet", "dotnetcore"}

var libPython = regexp.MustCompile(`^python\d+\.\d+$`)

// directory takes a directory as it is, and puts it where the runtime looks when
// it is no layer yet.
func (b *builder) directory(files *tree) error {
	entries, err := os.ReadDir(b.Source.Dir)
	if err != nil {
		return fmt.Errorf("read the directory: %w", err)
	}
	at := b.place(entries)
	if err := files.add(b.Source.Dir, at, follow); err != nil {
		return err
	}
	if at != "" && len(files.files) > 0 {
		b.note("the directory has none of the folders of a layer (%s): its files are in %s/", strings.Join(tops, ", "), at)
	}
	for i := range files.files {
		f := &files.files[i]
		f.group = strings.Join(firstParts(f.name, 1+strings.Count(b.target.searchPath(), "/")+1), "/")
	}
	return nil
}

// place says below what the files of a directory go.
func (b *builder) place(entries []fs.DirEntry) string {
	for _, e := range entries {
		if !slices.Contains(tops, e.Name()) || e.Type().IsRegular() {
			continue
		}
		if e.Name() == "lib" && b.target.family == "python" && hasPython(filepath.Join(b.Source.Dir, "lib")) {
			return "python" // what pip --prefix and virtual environments leave: lib/python3.12/site-packages
		}
		return ""
	}
	if b.target.family == "nodejs" && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "node_modules" }) {
		return "nodejs"
	}
	return b.target.searchPath()
}

func hasPython(lib string) bool {
	entries, err := os.ReadDir(lib)
	return err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return libPython.MatchString(e.Name()) })
}

// firstParts are the first n names of a path.
func firstParts(name string, n int) []string {
	parts := strings.Split(name, "/")
	return parts[:min(n, len(parts))]
}

// copyFile copies a user's file, which may be a symbolic link, into a directory
// of ours. It reports false when there is none.
func copyFile(from, to string, most int64) (bool, error) {
	info, err := os.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return false, fmt.Errorf("%s is no file, or larger than %d bytes", path.Base(from), most)
	}
	body, err := os.ReadFile(from)
	if err != nil {
		return false, err
	}
	return true, os.WriteFile(to, body, 0o600)
}

// readSmall reads a user's file.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(text) > maxText {
		err = fmt.Errorf("read %s: larger than %d bytes", path, maxText)
	}
	return text, err
}
