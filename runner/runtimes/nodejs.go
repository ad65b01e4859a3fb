package runtimes

import (
	"context"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/lamina-run/lamina"
)

//go:embed nodejs/bootstrap.cjs
var nodeClient embed.FS

var nodejs = language{
	names: []string{"node", "nodejs"},
	places: []place{
		{"nvm", "$NVM_DIR|.nvm/versions/node/v*/bin/node"},
		{"fnm", "$FNM_DIR|.local>share>fnm/node-versions/v*/installation/bin/node"},
		{"fnm", "$FNM_DIR|.fnm/node-versions/v*/installation/bin/node"},
		{"volta", "$VOLTA_HOME|.volta/tools/image/node/*/bin/node"},
		{"mise", "$MISE_DATA_DIR|.local>share>mise/installs/node/*/bin/node"},
		{"asdf", "$ASDF_DATA_DIR|.asdf/installs/nodejs/*/bin/node"},
		{"nodenv", "$NODENV_ROOT|.nodenv/versions/*/bin/node"},
		{"n", "$N_PREFIX|n/n/versions/node/*/bin/node"},
		{"n", "/usr/local/n/versions/node/*/bin/node"},
		{"homebrew", "/home/linuxbrew/.linuxbrew/opt/node*/bin/node"},
		{"homebrew", "/opt/homebrew/opt/node*/bin/node"},
		{"opt", "/opt/node*/bin/node"},
		{"opt", "/opt/nodejs/*/bin/node"},
	},
	runtimeOf: func(path string) string {
		if m := nodePath.FindStringSubmatch(path); m != nil {
			return "nodejs" + m[1] + ".x"
		}
		return ""
	},
	ask: func(ctx context.Context, path string) (string, error) {
		version, err := nodeVersion(ctx, path)
		major, _, _ := strings.Cut(version, ".")
		return "nodejs" + major + ".x", err
	},
	inspect: func(ctx context.Context, s *Set, in *Interpreter) error {
		client, err := s.install(in, "nodejs", nodeClient, func(dir string) error {
			version, err := nodeVersion(ctx, in.Path)
			if err != nil {
				return err
			}
			// Node.js 16 and 18 are told to read it; AWS keeps its regional CAs there.
			if err := os.WriteFile(filepath.Join(dir, "ca-cert.pem"), nil, 0o644); err != nil {
				return err
			}
			// AWS turns these two off unless the function asks for them.
			for _, o := range nodeExperiments {
				if !nodeHas(version, o) {
					continue
				}
				if _, err := run(ctx, in.Path, "--no-"+o, "--version"); err == nil { // older releases don't know it
					version += "\n--no-" + o
				}
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
		in.Path, err = filepath.EvalSymlinks(in.Path)
		if err != nil {
			return err
		}
		lines := strings.Split(string(version), "\n")
		in.Version, in.options, in.Client, in.Prefix = lines[0], lines[1:], client, filepath.Dir(filepath.Dir(in.Path))
		if major, _, _ := strings.Cut(in.Version, "."); in.Runtime != "nodejs"+major+".x" {
			return fmt.Errorf("it is Node.js %s", in.Version)
		}
		return nil
	},
}

// nodePath matches the version in the paths of version managers.
var nodePath = regexp.MustCompile(`/v?(\d+)\.\d+\.\d+/(?:installation/)?bin/node$`)

var nodeNumber = regexp.MustCompile(`^v(\d+\.\d+\.\d+)`)

func nodeVersion(ctx context.Context, path string) (string, error) {
	out, err := run(ctx, path, "--version")
	if err != nil {
		return "", err
	}
	m := nodeNumber.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("unexpected version %.40q", out)
	}
	return string(m[1]), nil
}

// nodeFiles shows the interpreter, which is one file, at /var/lang; and its
// shared library where the distribution made one.
func nodeFiles(in Interpreter) (program string, binds []Bind) {
	program = "/var/lang/bin/node"
	binds = []Bind{{in.Path, program}}
	if in.Prefix == "/usr" {
		return program, binds // libnode is in the host's /usr, which is there anyway
	}
	shared, err := filepath.Glob(filepath.Join(in.Prefix, "lib", "libnode.so*"))
	if err != nil {
		return program, binds // a bracket in the prefix; Node.js itself will tell if it misses the library
	}
	for _, lib := range shared {
		binds = append(binds, Bind{lib, "/var/lang/lib/" + filepath.Base(lib)})
	}
	return program, binds
}

// nodeInspect changes when what is asked of an interpreter does.
const nodeInspect = "experiments"

var nodeExperiments = []string{"experimental-require-module", "experimental-detect-module"}

// nodeHas reports whether AWS turns an experiment off in the runtime of a version.
func nodeHas(version, experiment string) bool {
	return strings.HasPrefix(version, "22.") || (strings.HasPrefix(version, "20.") && experiment == "experimental-require-module")
}

// nodeOptions are the options of a function's process.
func nodeOptions(in Interpreter, c lamina.Config) []string {
	var out []string
	for _, o := range in.options {
		if !strings.Contains(c.Environment["NODE_OPTIONS"], "--"+strings.TrimPrefix(o, "--no-")) {
			out = append(out, o)
		}
	}
	return out
}

func nodeEnvironment(runtime string, trust bool, set func(name, value string)) {
	major := strings.TrimSuffix(strings.TrimPrefix(runtime, "nodejs"), ".x")
	set("NODE_PATH", lamina.SearchVariable(runtime, "NODE_PATH")+":/var/runtime/node_modules:/var/runtime:/var/task")
	set("PWD", "/var/task")
	set("SHLVL", "0")
	if trust || major == "16" || major == "18" { // where AWS has none, the client hides it
		set("NODE_EXTRA_CA_CERTS", nodeAuthority)
	}
}
