package runtimes

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

//go:embed python/bootstrap.py python/lamina_runtime.py python/snapshot_restore_py.py
var pythonClient embed.FS

var python = language{
	names: []string{"python3.[0-9]", "python3.[0-9][0-9]", "python3"},
	places: []place{
		{"pyenv", "$PYENV_ROOT|.pyenv/versions/3.*/bin/python3.[0-9]*"},
		{"uv", "$UV_PYTHON_INSTALL_DIR|.local>share>uv>python/cpython-3*/bin/python3.[0-9]*"},
		{"mise", "$MISE_DATA_DIR|.local>share>mise/installs/python/3*/bin/python3.[0-9]*"},
		{"asdf", "$ASDF_DATA_DIR|.asdf/installs/python/3*/bin/python3.[0-9]*"},
		{"rye", "$RYE_HOME|.rye/py/cpython@3*/bin/python3.[0-9]*"},
		{"homebrew", "/home/linuxbrew/.linuxbrew/opt/python@3*/bin/python3.[0-9]*"},
		{"homebrew", "/opt/homebrew/opt/python@3*/bin/python3.[0-9]*"},
		{"conda", "$CONDA_PREFIX|miniconda3/bin/python3.[0-9]*"},
		{"conda", "$CONDA_ROOT|miniconda3/envs/*/bin/python3.[0-9]*"},
		{"conda", "/opt/conda/bin/python3.[0-9]*"},
		{"opt", "/opt/python*/bin/python3.[0-9]*"},
		{"opt", "/opt/python/*/bin/python3.[0-9]*"},
	},
	runtimeOf: func(path string) string {
		if m := pythonName.FindString(filepath.Base(path)); m != "" {
			return m
		}
		return ""
	},
	ask: func(ctx context.Context, path string) (string, error) {
		out, err := run(ctx, path, "-S", "-E", "-c", "import sys; print('python%d.%d' % sys.version_info[:2])")
		runtime := pythonName.FindString(strings.TrimSpace(string(out)))
		if err == nil && runtime == "" {
			err = fmt.Errorf("unexpected version %.40q", out)
		}
		return runtime, err
	},
	inspect: inspectPython,
}

var pythonName = regexp.MustCompile(`^python3\.\d+$`)

// pythonInspect prints what Lamina wants to know about an interpreter, and
// compiles the client, which saves each cold start some milliseconds. Checking
// the source's time is left out where the interpreter allows it (3.7).
const pythonInspect = `
import os, py_compile, sys
base = getattr(sys, "_base_executable", None) or sys.executable
where = [os.path.join(sys.base_prefix, "bin", "python%d.%d" % sys.version_info[:2]), base]
real = [os.path.realpath(p) for p in where if os.path.exists(p)][0]
print("\n".join(["%d.%d.%d" % sys.version_info[:3], os.path.realpath(sys.base_prefix), real, os.path.realpath(os.path.dirname(os.__file__))]))
mode = getattr(py_compile, "PycInvalidationMode", None)
kw = {"invalidation_mode": mode.UNCHECKED_HASH} if mode else {}
py_compile.compile(sys.argv[1], dfile="/var/runtime/lamina_runtime.py", doraise=True, **kw)
`

func inspectPython(ctx context.Context, s *Set, in *Interpreter) error {
	client, err := s.install(in, "python", pythonClient, func(dir string) error {
		out, err := run(ctx, in.Path, "-S", "-E", "-c", pythonInspect, filepath.Join(dir, "lamina_runtime.py"))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, ".interpreter"), out, 0o644)
	})
	if err != nil {
		return err
	}
	out, err := os.ReadFile(filepath.Join(client, ".interpreter"))
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 4 {
		return fmt.Errorf("unexpected answer %.80q", out)
	}
	in.Version, in.Prefix, in.Path, in.library, in.Client = lines[0], lines[1], lines[2], lines[3], client
	if !strings.HasPrefix(in.Version, strings.TrimPrefix(in.Runtime, "python")+".") {
		return fmt.Errorf("it is Python %s", in.Version)
	}
	return nil
}

// pythonFiles shows the interpreter at /var/lang without the host's packages.
func pythonFiles(in Interpreter) (program string, binds []Bind, masks []string, err error) {
	packages := func(dir string) {
		masks = append(masks, filepath.Join(dir, "site-packages"), filepath.Join(dir, "dist-packages"))
	}
	if in.Prefix != "/usr" && in.Prefix != "/" {
		rel, err := filepath.Rel(in.Prefix, in.Path)
		if err != nil || !filepath.IsLocal(rel) {
			return "", nil, nil, fmt.Errorf("interpreter %s is not in its prefix %s", in.Path, in.Prefix)
		}
		library, err := filepath.Rel(in.Prefix, in.library)
		if err != nil || !filepath.IsLocal(library) {
			return "", nil, nil, errors.New("the standard library of " + in.Path + " is not in its prefix")
		}
		packages(filepath.Join("/var/lang", library))
		// A system's Python, shown too with the host's /usr, has no part in this.
		return filepath.Join("/var/lang", rel), []Bind{{in.Prefix, "/var/lang"}}, masks, nil
	}
	// The system's Python: only what is its own, and under the prefix that
	// functions expect.
	program = "/var/lang/bin/" + in.Runtime
	binds = []Bind{{in.Path, program}, {in.library, "/var/lang/lib/" + in.Runtime}}
	if platform := "/usr/lib64/" + in.Runtime; platform != in.library && isDir(platform) {
		binds = append(binds, Bind{platform, "/var/lang/lib64/" + in.Runtime})
	}
	packages("/var/lang/lib/" + in.Runtime)
	packages("/var/lang/lib64/" + in.Runtime)
	packages("/usr/lib/python3")
	packages("/usr/local/lib/" + in.Runtime)
	return program, binds, masks, nil
}

func pythonEnvironment(runtime string, set func(name, value string)) {
	set("PYTHONPATH", "/var/runtime")
	set("PWD", "/var/task")
	set("SHLVL", "0")
	if byVersion(runtime, "python3.12") >= 0 {
		set("LC_CTYPE", "C.UTF-8")
	}
}

// firstLine is the start of what a program complained about.
func firstLine(b []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
	return string(line)
}
