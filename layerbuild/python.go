package layerbuild

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pipScript runs pip as if it ran on the target: pip takes the conditions of
// requirements (python_version < "3.11", platform_machine == "aarch64") for those
// of the machine it runs on, whatever --python-version and --platform say.
//
//go:embed pip.py
var pipScript []byte

// pyprojectScript prints what a pyproject.toml asks for.
//
//go:embed pyproject.py
var pyprojectScript []byte

// leastPip is the first with all options that are needed.
const leastPip = 21

// pip is a pip that works.
type pip struct {
	python  string // its interpreter; empty when that is not known
	script  string // without an interpreter
	version string
	minor   string // of Python: 3.12
}

// python has pip or uv install what is asked for into a directory.
func (b *builder) python(ctx context.Context, files *tree) error {
	site := filepath.Join(b.work, "site")
	if err := os.Mkdir(site, 0o755); err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	_, namedUV := b.Tools["uv"]
	_, namedPip := b.Tools["pip"]
	_, namedPython := b.Tools["python"]
	withUV := b.Source.Lock != "" || namedUV && !namedPip && !namedPython
	if !withUV {
		p, err := b.findPip(ctx)
		if err != nil {
			return err
		}
		if p != nil {
			if err := b.withPip(ctx, p, site); err != nil {
				return err
			}
			return b.site(files, site)
		}
	}
	uv, err := b.tools.find("uv")
	if err != nil {
		return err
	}
	switch {
	case uv == "" && b.Source.Lock != "":
		return advise(errors.New("there is no uv in PATH, which reads "+b.Source.Lock), "install uv, name it with --tool uv=PATH, or have it write a requirements.txt: uv export --no-dev --no-emit-project -o requirements.txt")
	case uv == "":
		return advise(errors.New("there is neither pip nor uv in PATH"), "install one of them, or name it with --tool pip=PATH or --tool uv=PATH")
	}
	if err := b.withUV(ctx, uv, site); err != nil {
		return err
	}
	return b.site(files, site)
}

// findPip returns the pip of the target's Python, if there is one, else another,
// or nil.
func (b *builder) findPip(ctx context.Context) (*pip, error) {
	if path, ok := b.Tools["pip"]; ok {
		found, err := b.tools.find("pip")
		if err != nil {
			return nil, err
		}
		if python := interpreterOf(found); python != "" {
			if p, err := b.probePip(ctx, python); err == nil {
				return p, p.check()
			}
		}
		said, err := b.tools.run(ctx, command{name: "pip", argv: []string{found, "--version"}, dir: b.work, quiet: true})
		if err != nil {
			return nil, advise(err, "--tool pip=%s names no pip", path)
		}
		m := pipVersion.FindStringSubmatch(said)
		if m == nil {
			return nil, advise(fmt.Errorf("%s does not say which pip it is", path), "name another with --tool pip=PATH")
		}
		p := &pip{script: found, version: m[1], minor: m[2]}
		b.note("conditions of requirements are those of this machine's Python %s, not the target's: that pip can't be told; --tool python=PATH names one that can", m[2])
		return p, p.check()
	}
	if _, ok := b.Tools["python"]; ok {
		found, err := b.tools.find("python")
		if err != nil {
			return nil, err
		}
		p, err := b.probePip(ctx, found)
		if err != nil {
			return nil, advise(err, "name a Python that has pip with --tool python=PATH")
		}
		return p, p.check()
	}
	for _, name := range []string{"python" + b.target.version, "python3", "python"} {
		found, err := b.tools.lookPath(name)
		if err != nil {
			continue
		}
		if p, err := b.probePip(ctx, found); err == nil {
			return p, p.check()
		} else if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
	}
	return nil, nil
}

var (
	pipVersion  = regexp.MustCompile(`^pip (\d\S*) from .*\(python (\d+\.\d+)\)`)
	probeAnswer = regexp.MustCompile(`^(\d+\.\d+) (\d\S*)\s*$`)
)

// probePip asks an interpreter whether it has pip.
func (b *builder) probePip(ctx context.Context, python string) (*pip, error) {
	said, err := b.tools.run(ctx, command{
		name: "python", argv: []string{python, "-c", `import sys, pip; print("%d.%d %s" % (sys.version_info[0], sys.version_info[1], pip.__version__))`}, dir: b.work, quiet: true,
	})
	if err != nil {
		return nil, err
	}
	m := probeAnswer.FindStringSubmatch(said)
	if m == nil {
		return nil, fmt.Errorf("%s has no pip", python)
	}
	return &pip{python: python, version: m[2], minor: m[1]}, nil
}

func (p *pip) check() error {
	major, _, _ := strings.Cut(p.version, ".")
	if n, err := strconv.Atoi(major); err != nil || n < leastPip {
		return advise(fmt.Errorf("pip %s is too old", p.version), "upgrade it to %d or later: python3 -m pip install --upgrade pip", leastPip)
	}
	return nil
}

var shebang = regexp.MustCompile(`^#!\s*(/\S*/python[0-9.]*)\s*$`)

// interpreterOf returns the interpreter of a script, if it names one.
func interpreterOf(script string) string {
	if strings.HasPrefix(filepath.Base(script), "python") {
		return script
	}
	f, err := os.Open(script)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 256)
	n, _ := f.Read(head) // a short script names none
	line, _, _ := strings.Cut(string(head[:n]), "\n")
	if m := shebang.FindStringSubmatch(line); m != nil {
		return m[1]
	}
	return ""
}

// pipEnvironment keeps what could lead pip astray from it, and leaves it its
// registries and certificates.
var pipEnvironment = []string{
	"PIP_NO_INPUT=1", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_ROOT_USER_ACTION=ignore", "PIP_USER=0", "PIP_REQUIRE_VIRTUALENV=0",
	"PYTHONDONTWRITEBYTECODE=1", "PYTHONHASHSEED=0", "SOURCE_DATE_EPOCH=315532800",
}

var pipWithout = []string{
	"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PLATFORM", "PIP_PYTHON_VERSION", "PIP_ABI", "PIP_IMPLEMENTATION", "PIP_NO_BINARY", "PIP_ONLY_BINARY",
	"PIP_REQUIREMENT", "PIP_EDITABLE", "PIP_NO_DEPS", "PIP_DRY_RUN", "PIP_COMPILE", "PIP_PYTHON",
}

func (p *pip) argv(args ...string) []string {
	if p.python == "" {
		return append([]string{p.script}, args...)
	}
	return append([]string{p.python, "-m", "pip"}, args...)
}

// arguments are those of pip install for the target.
func (b *builder) pipArguments(site, requirements, wheels string) []string {
	args := []string{
		"install", "--target", site, "--no-compile", "--progress-bar", "off", "--no-warn-script-location", "--no-warn-conflicts", "--only-binary", ":all:",
		"--implementation", "cp", "--python-version", b.target.pythonFull(), "--abi", "cp" + strings.ReplaceAll(b.target.version, ".", ""),
	}
	for _, platform := range b.target.wheelPlatforms() {
		args = append(args, "--platform", platform)
	}
	if wheels != "" {
		args = append(args, "--find-links", wheels)
	}
	return append(args, "-r", requirements)
}

// markers are the conditions of requirements on the target.
func (b *builder) markers() map[string]string {
	return map[string]string{
		"implementation_name": "cpython", "implementation_version": b.target.pythonFull(), "os_name": "posix", "platform_machine": b.target.machine(),
		"platform_python_implementation": "CPython", "platform_system": "Linux", "python_full_version": b.target.pythonFull(),
		"python_version": b.target.version, "sys_platform": "linux",
	}
}

var noWheel = regexp.MustCompile(`(?m)^ERROR: No matching distribution found for (.+?)\s*$`)

// maxFromSource bounds the packages that are built from source, one after the
// other.
const maxFromSource = 20

// withPip installs with pip, and builds what has no wheel where that can come out
// right.
func (b *builder) withPip(ctx context.Context, p *pip, site string) error {
	b.result.Tool = "pip " + p.version
	requirements := b.Source.path(b.Source.File)
	if b.Source.Kind == Pyproject {
		var err error
		if requirements, err = b.pyproject(ctx, p); err != nil {
			return err
		}
	}
	wheels, script := "", filepath.Join(b.work, "run-pip.py")
	markers, err := json.Marshal(b.markers())
	if err != nil {
		return fmt.Errorf("write markers: %w", err)
	}
	if err := os.WriteFile(script, pipScript, 0o600); err != nil {
		return fmt.Errorf("write a script for pip: %w", err)
	}
	var built []string
	for {
		args := b.pipArguments(site, requirements, wheels)
		argv := p.argv(args...)
		if p.python != "" {
			argv = append([]string{p.python, script, string(markers)}, args...)
		}
		// Requirements name files as seen from where they are.
		said, err := b.tools.run(ctx, command{name: "pip", argv: argv, dir: b.Source.Dir, env: pipEnvironment, without: pipWithout})
		if err == nil {
			break
		}
		m := noWheel.FindStringSubmatch(said)
		if _, failed := errors.AsType[*ToolError](err); !failed || m == nil {
			return err
		}
		what := printable(m[1])
		switch {
		case slices.Contains(built, what):
			return advise(fmt.Errorf("%s has no wheel for %s, and what its source makes on this machine is not for it either: %w", what, b.target, err),
				"build it where %s is at home, or ask its authors for wheels", b.target)
		case strings.HasPrefix(what, "-"), len(built) >= maxFromSource:
			return err
		case !b.FromSource && !b.target.isHost():
			return advise(fmt.Errorf("%s has no wheel for %s: %w", what, b.target, err),
				"choose a version that has one; if it is Python only, --from-source builds it here")
		}
		wheels = filepath.Join(b.work, "wheels")
		fmt.Fprintf(b.Log, "%s has no wheel for %s: building it from source\n", what, b.target)
		name := regexp.MustCompile(`^[A-Za-z0-9._-]+`).FindString(what)
		if name == "" {
			return err
		}
		_, failed := b.tools.run(ctx, command{
			name: "pip", argv: p.argv("wheel", "--progress-bar", "off", "--no-deps", "--no-binary", name, "--wheel-dir", wheels, what),
			dir: b.Source.Dir, env: pipEnvironment, without: pipWithout,
		})
		if failed != nil {
			return advise(fmt.Errorf("%s has no wheel for %s, and can't be built from source: %w", what, b.target, failed), "choose a version that has a wheel")
		}
		built = append(built, what)
	}
	if len(built) > 0 {
		b.note("built from source, since there is no wheel for %s: %s", b.target, some(built))
	}
	return nil
}

// pyproject writes the dependencies of a project as requirements.
func (b *builder) pyproject(ctx context.Context, p *pip) (string, error) {
	if p.python == "" {
		return "", advise(errors.New("that pip does not tell its interpreter, which reads pyproject.toml"), "name one with --tool python=PATH")
	}
	said, err := b.tools.run(ctx, command{name: "python", argv: []string{p.python, "-c", string(pyprojectScript), b.Source.path(b.Source.File)}, dir: b.work, quiet: true})
	if err != nil {
		return "", fmt.Errorf("read %s: %w", b.Source.File, err)
	}
	var project struct {
		Project      bool
		Dynamic      bool
		Dependencies []string
	}
	if err := json.Unmarshal([]byte(said), &project); err != nil {
		return "", fmt.Errorf("read %s: %w", b.Source.File, err)
	}
	switch {
	case !project.Project:
		return "", advise(fmt.Errorf("%s has no table [project]", b.Source.File), "write a requirements.txt with the tool that the project is made with, such as poetry export")
	case project.Dynamic:
		return "", advise(fmt.Errorf("the dependencies in %s are dynamic", b.Source.File), "write a requirements.txt, or lock them with uv lock")
	}
	for _, d := range project.Dependencies {
		if strings.ContainsAny(d, "\r\n") || strings.HasPrefix(strings.TrimSpace(d), "-") {
			return "", fmt.Errorf("read %s: %q is no dependency", b.Source.File, d)
		}
	}
	path := filepath.Join(b.work, "requirements.txt")
	if err := os.WriteFile(path, []byte(strings.Join(project.Dependencies, "\n")+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write requirements: %w", err)
	}
	return path, nil
}

// withUV installs with uv.
func (b *builder) withUV(ctx context.Context, uv, site string) error {
	said, err := b.tools.run(ctx, command{name: "uv", argv: []string{uv, "--version"}, dir: b.work, quiet: true})
	if err != nil {
		return advise(err, "name another with --tool uv=PATH")
	}
	b.result.Tool = strings.Join(strings.Fields(printable(said))[:min(2, len(strings.Fields(said)))], " ")
	env := []string{"PYTHONHASHSEED=0", "SOURCE_DATE_EPOCH=315532800", "NO_COLOR=1"}
	without := []string{"UV_COMPILE_BYTECODE", "UV_TARGET", "UV_PREFIX", "UV_NO_BINARY", "UV_PYTHON_PLATFORM", "UV_EXTRA", "UV_DEV", "VIRTUAL_ENV"}
	requirements := b.Source.path(b.Source.File)
	if b.Source.Lock != "" {
		requirements = filepath.Join(b.work, "requirements.txt")
		_, err := b.tools.run(ctx, command{
			name: "uv", argv: []string{uv, "export", "--frozen", "--no-dev", "--no-editable", "--no-emit-project", "--quiet", "--format", "requirements-txt", "--output-file", requirements},
			dir: b.Source.Dir, env: env, without: without,
		})
		if err != nil {
			return err
		}
	}
	args := []string{
		uv, "pip", "install", "--target", site, "--python-version", b.target.version, "--python-platform", b.target.uvPlatform(),
		"--link-mode", "copy", "--no-progress", "-r", requirements,
	}
	if !b.FromSource && !b.target.isHost() {
		args = append(args, "--only-binary", ":all:")
	}
	_, err = b.tools.run(ctx, command{name: "uv", argv: args, dir: b.Source.Dir, env: env, without: without})
	if _, failed := errors.AsType[*ToolError](err); failed && !b.FromSource && !b.target.isHost() {
		return advise(err, "a package may have no wheel for %s; if it is Python only, --from-source builds it here", b.target)
	}
	return err
}
