package runtimes

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
)

//go:generate go run ./java/jargen

//go:embed java/lamina-runtime.jar
var javaClient embed.FS

var java = language{
	names: []string{"java"},
	places: []place{
		{"JAVA_HOME", "$JAVA_HOME|.java>current/bin/java"},
		{"sdkman", "$SDKMAN_DIR|.sdkman/candidates/java/*/bin/java"},
		{"mise", "$MISE_DATA_DIR|.local>share>mise/installs/java/*/bin/java"},
		{"asdf", "$ASDF_DATA_DIR|.asdf/installs/java/*/bin/java"},
		{"jenv", "$JENV_ROOT|.jenv/versions/*/bin/java"},
		{"jdks", "$JDKS|.jdks/*/bin/java"},
		{"homebrew", "/home/linuxbrew/.linuxbrew/opt/openjdk*/bin/java"},
		{"homebrew", "/opt/homebrew/opt/openjdk*/bin/java"},
		{"jvm", "/usr/lib/jvm/*/bin/java"},
		{"jvm", "/usr/lib64/jvm/*/bin/java"},
		{"opt", "/opt/java*/bin/java"},
		{"opt", "/opt/java/*/bin/java"},
		{"opt", "/opt/jdk*/bin/java"},
	},
	newer: true,
	runtimeOf: func(path string) string {
		if version := besideJava(path); version != "" {
			return javaRuntime(version)
		}
		return ""
	},
	ask: func(ctx context.Context, path string) (string, error) {
		version, err := javaVersion(ctx, path)
		return javaRuntime(version), err
	},
	inspect:  inspectJava,
	complete: completeJava,
}

var (
	javaRelease = regexp.MustCompile(`(?m)^JAVA_VERSION="([^"]+)"`)
	javaQuoted  = regexp.MustCompile(`version "([^"]+)"`)
)

// javaInspect changes when what is made of an interpreter does.
const javaInspect = "archive 1"

// javaMajor is 8 of 1.8.0_412 and 17 of 17.0.15.
func javaMajor(version string) int {
	n := numbers(version)
	switch {
	case len(n) == 0:
		return 0
	case len(n) > 1 && n[0] == 1:
		return n[1]
	}
	return n[0]
}

func javaRuntime(version string) string {
	major := javaMajor(version)
	if major == 8 {
		return "java8.al2"
	}
	return "java" + strconv.Itoa(major)
}

// besideJava is the version in the file that JDKs have for it, or "".
func besideJava(path string) string {
	home := filepath.Dir(filepath.Dir(path))
	for _, dir := range []string{home, filepath.Dir(home)} { // the second for the jre of a JDK 8
		if data, err := os.ReadFile(filepath.Join(dir, "release")); err == nil {
			if m := javaRelease.FindSubmatch(data); m != nil {
				return string(m[1])
			}
		}
	}
	return ""
}

// javaVersion reads the version beside the binary, since starting a JVM takes long.
func javaVersion(ctx context.Context, path string) (string, error) {
	if version := besideJava(path); version != "" {
		return version, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-version") // which it prints to stderr
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("run %s: %w: %.200s", filepath.Base(path), err, firstLine(out))
	}
	m := javaQuoted.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("unexpected version %.80q", out)
	}
	return string(m[1]), nil
}

func inspectJava(ctx context.Context, s *Set, in *Interpreter) error {
	real, err := filepath.EvalSymlinks(in.Path)
	if err != nil {
		return err
	}
	in.Path = real
	client, err := s.install(in, "java", javaClient, func(dir string) error {
		version, err := javaVersion(ctx, in.Path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, ".interpreter"), []byte(version), 0o644)
	})
	if err != nil {
		return err
	}
	version, err := os.ReadFile(filepath.Join(client, ".interpreter"))
	if err != nil {
		return err
	}
	in.Version, in.Client, in.Prefix = string(version), client, filepath.Dir(filepath.Dir(in.Path))
	if wanted := numbers(in.Runtime)[0]; javaMajor(in.Version) < wanted {
		return fmt.Errorf("it is Java %s", in.Version)
	}
	in.options = javaFixed(in)
	in.shares, err = javaShares(in.Prefix)
	return err
}

// Inside, the working directory is /var/task, so that this is the client of
// /var/runtime. The JVM compares the text when it checks an archive of classes,
// and outside of a sandbox there is no /var/runtime.
const (
	javaRelative = "../runtime/lamina-runtime.jar"
	javaArchive  = "classes.jsa"
	javaMain     = "run.lamina.client.Main"
)

// completeJava archives the client's classes for an interpreter that is going to
// be used. Without it starts are slower, that is all.
func completeJava(ctx context.Context, s *Set, in *Interpreter) {
	if javaMajor(in.Version) < 17 { // those before can't
		return
	}
	if ok, err := isFile(filepath.Join(in.Client, javaArchive)); ok || err != nil {
		return
	}
	if err := archiveClasses(ctx, in.Path, in.Client); err != nil {
		s.config.Log.LogAttrs(ctx, slog.LevelWarn, "classes not archived", slog.String("runtime", in.Runtime), slog.Any("err", err))
	}
}

// archiveClasses has the JVM keep the client's classes, ready to use, beside it.
func archiveClasses(ctx context.Context, java, dir string) error {
	// Beside the clients, so that a rename can bring it in.
	scratch, err := os.MkdirTemp(filepath.Dir(dir), ".new-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	if err := os.Mkdir(filepath.Join(scratch, "task"), 0o755); err != nil {
		return err
	}
	if err := os.Symlink(dir, filepath.Join(scratch, "runtime")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	archive := filepath.Join(scratch, javaArchive)
	cmd := exec.CommandContext(ctx, java, "-XX:ArchiveClassesAtExit="+archive, "-XX:+UseSerialGC", "-Xshare:auto", "-Xlog:disable",
		"-cp", javaRelative, javaMain, "--train")
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.Dir = filepath.Join(scratch, "task")
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %.200s", err, firstLine(bytes.TrimSpace(out)))
	}
	if err := os.Chmod(archive, 0o644); err != nil {
		return err
	}
	return os.Rename(archive, filepath.Join(dir, javaArchive)) // whole, or not at all
}

// javaFixed are the options that follow from the interpreter alone.
func javaFixed(in *Interpreter) []string {
	options := []string{"-XX:-UsePerfData"}
	if major := javaMajor(in.Version); major > 8 && major > numbers(in.Runtime)[0] {
		// What was allowed to the function by its own version.
		for _, p := range []string{"java.lang", "java.lang.reflect", "java.util", "java.net", "java.nio", "java.io", "java.text", "java.time"} {
			options = append(options, "--add-opens=java.base/"+p+"=ALL-UNNAMED")
		}
	}
	return options
}

// javaShares returns what a JDK of a distribution has links to outside of
// itself and /usr: its configuration in /etc.
func javaShares(prefix string) ([]string, error) {
	var out []string
	for _, top := range []string{"conf", "lib"} {
		root := filepath.Join(prefix, top)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Type()&fs.ModeSymlink == 0 {
				return nil //nolint:nilerr // what can't be looked at is not shown either
			}
			target, err := filepath.EvalSymlinks(path)
			if err != nil || !strings.HasPrefix(target, "/etc/") {
				return nil //nolint:nilerr // a dangling link
			}
			name, _, deeper := strings.Cut(strings.TrimPrefix(target, "/etc/"), "/")
			if share := "/etc/" + name; deeper && name != "ssl" && name != "pki" && !slices.Contains(out, share) {
				out = append(out, share)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func javaFiles(in Interpreter) (program string, binds []Bind) {
	binds = []Bind{{in.Prefix, "/var/lang"}}
	for _, s := range in.shares {
		binds = append(binds, Bind{s, s})
	}
	return "/var/lang/bin/java", binds
}

// javaOptions are the options of a function's process, and what it starts. The
// command line would win over JAVA_TOOL_OPTIONS, so what the function sets there
// is left out here.
func javaOptions(in Interpreter, c lamina.Config) []string {
	own := c.Environment["JAVA_TOOL_OPTIONS"] + " " + c.Environment["_JAVA_OPTIONS"] + " " + c.Environment["JDK_JAVA_OPTIONS"]
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(own, w) })
	}
	var options []string
	if !has("-Xmx", "MaxHeapSize", "MaxRAMPercentage", "MaxRAM=") {
		options = append(options, fmt.Sprintf("-XX:MaxHeapSize=%dk", c.MemorySize<<10*85/100))
	}
	serial := !has("-XX:+Use") || !strings.Contains(own, "GC")
	if serial {
		options = append(options, "-XX:+UseSerialGC")
	}
	if !has("Tiered", "-Xint", "-server") {
		options = append(options, "-XX:+TieredCompilation", "-XX:TieredStopAtLevel=1")
	}
	options = append(options, in.options...)
	path := "/var/runtime/lamina-runtime.jar"
	if serial && c.Environment["AWS_LAMBDA_EXEC_WRAPPER"] == "" && !has("-Xshare", "SharedArchiveFile", "-cp", "-classpath") {
		if ok, err := isFile(filepath.Join(in.Client, javaArchive)); err == nil && ok {
			options = append(options, "-Xshare:auto", "-XX:SharedArchiveFile=/var/runtime/"+javaArchive)
			path = javaRelative
		}
	}
	return append(options, "-cp", path, javaMain)
}
