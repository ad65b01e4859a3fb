package layerbuild

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pathDependent are files of a dist-info that tell how and from where something
// was installed.
var pathDependent = []string{"INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"}

// site takes what pip or uv has installed: what depends on where and by whom is
// left out or made the same.
func (b *builder) site(files *tree, dir string) error {
	if err := files.add(dir, "python", refuse); err != nil {
		return err
	}
	files.remove(func(f *file) bool {
		return f.name == "python/.lock" || isDistInfo(path.Dir(f.name)) && slices.Contains(pathDependent, path.Base(f.name))
	})
	for i := range files.files {
		if f := &files.files[i]; path.Dir(f.name) == "python/bin" {
			if err := plainShebang(f, "python"); err != nil {
				return err
			}
		}
	}
	index := files.index()
	var distributions []string
	for i := range files.files {
		f := &files.files[i]
		if !isDistInfo(path.Dir(f.name)) || path.Base(f.name) != "RECORD" {
			continue
		}
		group := distribution(path.Dir(f.name))
		distributions = append(distributions, group)
		if err := files.record(f, group, index); err != nil {
			return err
		}
	}
	for i := range files.files {
		f := &files.files[i]
		if f.group != "" {
			continue
		}
		if f.group = strings.Join(firstParts(f.name, 2), "/"); strings.HasSuffix(f.group, ".dist-info") {
			f.group = distribution(f.group)
		}
	}
	return b.noteLoose(distributions)
}

func isDistInfo(dir string) bool {
	return path.Dir(dir) == "python" && strings.HasSuffix(dir, ".dist-info")
}

// distribution returns "name version" of a directory name-version.dist-info.
func distribution(dir string) string {
	name, version, _ := strings.Cut(strings.TrimSuffix(path.Base(dir), ".dist-info"), "-")
	return name + " " + version
}

// record makes a RECORD anew of the files that are there, and notes that they are
// of this distribution.
func (t *tree) record(f *file, group string, index map[string]int) error {
	text, err := f.read()
	if err != nil {
		return err
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord, r.LazyQuotes = -1, true
	rows, err := r.ReadAll()
	if err != nil {
		return fmt.Errorf("read %s: %w", f.name, err)
	}
	var out [][]string
	for _, row := range rows {
		name := path.Clean(row[0])
		for strings.HasPrefix(name, "../") {
			name = name[3:] // scripts, as seen from a site-packages that there is not
		}
		i, ok := index[path.Join("python", name)]
		if !ok {
			continue
		}
		one := &t.files[i]
		one.group = group
		switch {
		case one == f:
			out = append(out, []string{name, "", ""})
		case one.body != nil:
			sum := sha256.Sum256(one.body)
			out = append(out, []string{name, "sha256=" + base64.RawURLEncoding.EncodeToString(sum[:]), strconv.FormatInt(one.size, 10)})
		case len(row) >= 3:
			out = append(out, []string{name, row[1], row[2]})
		default:
			out = append(out, []string{name, "", ""})
		}
	}
	slices.SortFunc(out, slices.Compare)
	var body bytes.Buffer
	w := csv.NewWriter(&body)
	if err := w.WriteAll(out); err != nil {
		return fmt.Errorf("write %s: %w", f.name, err)
	}
	f.group = group
	f.replace(body.Bytes())
	return nil
}

var (
	shebangLine = regexp.MustCompile(`^#![^\n]*\n`)
	// shebangShell is what installers write for interpreters with a long path.
	shebangShell = regexp.MustCompile(`^#!/bin/sh\n'''exec' [^\n]*\n' '''\n`)
)

// plainShebang has a script find its interpreter in PATH: the one that it was
// installed with is only on this machine.
func plainShebang(f *file, interpreter string) error {
	if f.target != "" || f.dir || f.size > 1<<20 {
		return nil
	}
	text, err := f.read()
	if err != nil {
		return err
	}
	plain := []byte("#!/usr/bin/env " + map[string]string{"python": "python3", "ruby": "ruby"}[interpreter] + "\n")
	if m := shebangShell.Find(text); m != nil {
		f.replace(append(plain, text[len(m):]...))
	} else if m := shebangLine.Find(text); m != nil && bytes.Contains(m, []byte(interpreter)) {
		f.replace(append(plain, text[len(m):]...))
	}
	return nil
}

// normalName is how names of distributions are compared.
func normalName(name string) string {
	return strings.ToLower(regexp.MustCompile(`[-_.]+`).ReplaceAllString(name, "-"))
}

var pinned = regexp.MustCompile(`(?m)^\s*([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*(?:===?\s*[^\s;,*]+|@\s*\S+)\s*(?:[;\\#].*|--hash.*)?$`)

// noteLoose tells which distributions would be of another version on another day.
func (b *builder) noteLoose(distributions []string) error {
	if b.Source.Lock != "" || len(distributions) == 0 {
		return nil
	}
	if b.Source.Kind == Pyproject {
		b.note("there is no uv.lock: another day may give other versions")
		return nil
	}
	text, err := readSmall(b.Source.path(b.Source.File))
	if err != nil {
		return err
	}
	if regexp.MustCompile(`(?m)^\s*(?:-[rc]|--requirement|--constraint)\b`).Match(text) {
		return nil // the other file may fix them
	}
	fixed := map[string]bool{}
	for _, m := range pinned.FindAllSubmatch(text, -1) {
		fixed[normalName(string(m[1]))] = true
	}
	var loose []string
	for _, d := range distributions {
		if name, _, _ := strings.Cut(d, " "); !fixed[normalName(name)] {
			loose = append(loose, name)
		}
	}
	if len(loose) > 0 {
		b.note("%s does not fix the version of %s: another day may give another", b.Source.File, some(loose))
	}
	return nil
}
