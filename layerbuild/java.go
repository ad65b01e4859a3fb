package layerbuild

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var mavenVersion = regexp.MustCompile(`Apache Maven (\S+)`)

// java has Maven copy the jars that the project needs to run; not the project's
// own, which is the function's code.
func (b *builder) java(ctx context.Context, files *tree) error {
	mvn, err := b.tools.find("mvn")
	if err != nil {
		return err
	}
	if mvn == "" {
		return advise(fmt.Errorf("there is no mvn in PATH"), "install Maven, or name it with --tool mvn=PATH")
	}
	said, err := b.tools.run(ctx, command{name: "mvn", argv: []string{mvn, "--version"}, dir: b.work, quiet: true})
	if err != nil {
		return advise(err, "name another with --tool mvn=PATH")
	}
	b.result.Tool = "mvn"
	if m := mavenVersion.FindStringSubmatch(escapes.ReplaceAllString(said, "")); m != nil {
		b.result.Tool = "mvn " + m[1]
	}
	lib := filepath.Join(b.work, "lib")
	if err := os.Mkdir(lib, 0o755); err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	_, err = b.tools.run(ctx, command{name: "mvn", dir: b.Source.Dir, argv: []string{
		mvn, "--batch-mode", "-Dstyle.color=never", "-f", b.Source.path(b.Source.File), "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=" + lib,
		"-Dmdep.useBaseVersion=true", "-Dmdep.useRepositoryLayout=false", "-Dmdep.stripVersion=false", "-Dmdep.prependGroupId=false",
	}})
	if err != nil {
		return err
	}
	if err := files.add(lib, "java/lib", refuse); err != nil {
		return err
	}
	for i := range files.files {
		f := &files.files[i]
		f.exec = false // a jar is none, whatever the umask of who cached it
		f.group = jarGroup(f.name)
	}
	files.remove(func(f *file) bool { return f.dir })
	return nil
}

var jarName = regexp.MustCompile(`^(.+?)-(\d[^/]*)\.jar$`)

func jarGroup(name string) string {
	base := name[strings.LastIndexByte(name, '/')+1:]
	if m := jarName.FindStringSubmatch(base); m != nil {
		return m[1] + " " + m[2]
	}
	return base
}
