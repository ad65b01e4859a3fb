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

//go:embed ruby/bootstrap.rb
var rubyClient embed.FS

var ruby = language{
	names: []string{"ruby", "ruby[2-9].[0-9]", "ruby[2-9].[0-9][0-9]"},
	places: []place{
		{"rbenv", "$RBENV_ROOT|.rbenv/versions/*/bin/ruby"},
		{"rvm", "$rvm_path|.rvm/rubies/ruby-*/bin/ruby"},
		{"chruby", "$RUBIES|.rubies/ruby-*/bin/ruby"},
		{"chruby", "/opt/rubies/ruby-*/bin/ruby"},
		{"mise", "$MISE_DATA_DIR|.local>share>mise/installs/ruby/*/bin/ruby"},
		{"asdf", "$ASDF_DATA_DIR|.asdf/installs/ruby/*/bin/ruby"},
		{"homebrew", "/home/linuxbrew/.linuxbrew/opt/ruby*/bin/ruby"},
		{"homebrew", "/opt/homebrew/opt/ruby*/bin/ruby"},
		{"opt", "/opt/ruby*/bin/ruby"},
		{"opt", "/opt/ruby/*/bin/ruby"},
	},
	newer: true,
	runtimeOf: func(path string) string {
		if m := rubyPath.FindStringSubmatch(path); m != nil {
			return "ruby" + m[1]
		}
		return ""
	},
	ask: func(ctx context.Context, path string) (string, error) {
		out, err := run(ctx, path, "--disable=gems", "-e", "puts RUBY_VERSION")
		m := rubyNumber.FindSubmatch(out)
		if err == nil && m == nil {
			err = fmt.Errorf("unexpected version %.40q", out)
		}
		if err != nil {
			return "", err
		}
		return "ruby" + string(m[1]), nil
	},
	inspect: inspectRuby,
}

var (
	// rubyPath matches the version in the paths of version managers and distributions.
	rubyPath   = regexp.MustCompile(`/(?:ruby-?)?(\d+\.\d+)\.\d+(?:-p\d+)?/bin/ruby$`)
	rubyNumber = regexp.MustCompile(`^(\d+\.\d+)\.\d+`)
)

const rubyInspect = `
require "rbconfig"
puts RUBY_VERSION, File.realpath(RbConfig::CONFIG["prefix"]), File.realpath(RbConfig.ruby)
`

func inspectRuby(ctx context.Context, s *Set, in *Interpreter) error {
	client, err := s.install(in, "ruby", rubyClient, func(dir string) error {
		out, err := run(ctx, in.Path, "--disable=gems", "-e", rubyInspect)
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
	if len(lines) != 3 {
		return fmt.Errorf("unexpected answer %.80q", out)
	}
	in.Version, in.Prefix, in.Path, in.Client = lines[0], lines[1], lines[2], client
	// What the operator names may differ: no distribution has all of them.
	if c := byVersion(in.Version, strings.TrimPrefix(in.Runtime, "ruby")); in.Source != "explicit" && c < 0 {
		return fmt.Errorf("it is Ruby %s", in.Version)
	}
	if byVersion(in.Version, "2.7") < 0 {
		return fmt.Errorf("it is Ruby %s; the client needs 2.7", in.Version)
	}
	return nil
}

// rubyFiles shows the interpreter at /var/lang, and where it was built to be:
// its library path is compiled in.
func rubyFiles(in Interpreter) (program string, binds []Bind) {
	program = "/var/lang/bin/ruby"
	if in.Prefix == "/usr" || in.Prefix == "/" {
		return program, []Bind{{in.Path, program}} // its library is in the host's /usr, which is there anyway
	}
	return program, []Bind{{in.Prefix, "/var/lang"}, {in.Prefix, in.Prefix}}
}

// rubyABI is the version in the names of gem directories.
func rubyABI(runtime string) string { return strings.TrimPrefix(runtime, "ruby") + ".0" }

func rubyEnvironment(runtime string, set func(name, value string)) {
	abi := rubyABI(runtime)
	set("GEM_HOME", "/var/runtime")
	set("GEM_PATH", "/var/task/vendor/bundle/ruby/"+abi+":"+lamina.SearchVariable(runtime, "GEM_PATH")+":/var/runtime:/var/runtime/ruby/"+abi)
	set("RUBYLIB", "/var/runtime/gems/aws_lambda_ric-3.1.3/lib:/var/task:/var/runtime/lib:"+lamina.SearchVariable(runtime, "RUBYLIB"))
	set("PWD", "/var/task")
	set("SHLVL", "0")
}
