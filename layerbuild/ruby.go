package layerbuild

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// platformScript has Bundler install for another machine than it runs on, for
// which it has no option.
//
//go:embed platform.rb
var platformScript []byte

var (
	bundlerVersion = regexp.MustCompile(`(?m)^(?:Bundler version )?(\d+\.\d\S*)`)
	gemName        = regexp.MustCompile(`^(.+?)-(\d[^-]*)(?:-(.+))?$`)
)

// ruby has Bundler install what is asked for into a directory.
func (b *builder) ruby(ctx context.Context, files *tree) error {
	bundle, err := b.tools.find("bundle")
	if err != nil {
		return err
	}
	if bundle == "" {
		return advise(errors.New("there is no bundle in PATH"), "install Bundler with Ruby %s, or name it with --tool bundle=PATH", b.target.version)
	}
	said, err := b.tools.run(ctx, command{name: "bundle", argv: []string{bundle, "--version"}, dir: b.work, quiet: true})
	if err != nil {
		return advise(err, "name another with --tool bundle=PATH")
	}
	b.result.Tool = "bundler"
	if m := bundlerVersion.FindStringSubmatch(said); m != nil {
		b.result.Tool += " " + m[1]
	}
	project, vendor := filepath.Join(b.work, "project"), filepath.Join(b.work, "vendor")
	if err := os.Mkdir(project, 0o700); err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	for _, name := range []string{b.Source.File, b.Source.Lock, ".ruby-version"} {
		if name == "" {
			continue
		}
		if _, err := copyFile(b.Source.path(name), filepath.Join(project, name), maxText); err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
	}
	script := filepath.Join(b.work, "platform.rb")
	if err := os.WriteFile(script, platformScript, 0o600); err != nil {
		return fmt.Errorf("write a script for Bundler: %w", err)
	}
	env := []string{
		"BUNDLE_GEMFILE=" + filepath.Join(project, b.Source.File), "BUNDLE_PATH=" + vendor, "BUNDLE_APP_CONFIG=" + filepath.Join(b.work, "bundle"),
		"BUNDLE_WITHOUT=development:test", "BUNDLE_DISABLE_SHARED_GEMS=true", "BUNDLE_CACHE_ALL=false", "BUNDLE_NO_INSTALL=false", "BUNDLE_SILENCE_ROOT_WARNING=true",
		"SOURCE_DATE_EPOCH=315532800",
	}
	if b.Source.Lock != "" {
		env = append(env, "BUNDLE_FROZEN=true")
	} else {
		b.note("there is no Gemfile.lock: another day may give other versions")
	}
	if info, err := os.Stat(b.Source.path("vendor/cache")); err == nil && info.IsDir() {
		env = append(env, "BUNDLE_CACHE_PATH="+b.Source.path("vendor/cache"))
	}
	if !b.target.isHost() {
		env = append(env, "RUBYOPT=-r"+script, "LAMINA_GEM_PLATFORM="+b.target.machine()+"-linux")
	}
	_, err = b.tools.run(ctx, command{
		name: "bundle", argv: []string{bundle, "install", "--no-color"}, dir: project, env: env,
		without: []string{"BUNDLE_DEPLOYMENT", "BUNDLE_BIN", "BUNDLE_ONLY", "BUNDLE_WITH", "BUNDLE_SYSTEM", "BUNDLE_PATH__SYSTEM", "BUNDLE_FORCE_RUBY_PLATFORM", "GEM_HOME", "GEM_PATH", "RUBYLIB"},
	})
	if err != nil {
		return err
	}
	return b.gems(files, vendor)
}

// gems takes what Bundler has installed, whatever the version of its Ruby.
func (b *builder) gems(files *tree, vendor string) error {
	homes, err := filepath.Glob(filepath.Join(vendor, "ruby", "*"))
	if err != nil || len(homes) != 1 {
		return advise(errors.New("the Gemfile asks for no gems"), "name the gems that the layer should have, outside of the groups development and test")
	}
	abi := b.target.version + ".0"
	at := "ruby/gems/" + abi
	if err := files.add(homes[0], at, refuse); err != nil {
		return err
	}
	same := filepath.Base(homes[0]) == abi && b.target.isHost()
	var compiled, fromGit []string
	files.remove(func(f *file) bool {
		parts := strings.Split(strings.TrimPrefix(f.name, at+"/"), "/")
		switch {
		case parts[0] == "extensions" && len(parts) > 3:
			compiled = append(compiled, parts[3])
		case parts[0] == "bundler" && len(parts) > 2 && parts[1] == "gems":
			fromGit = append(fromGit, parts[2])
		}
		return f.dir || slices.Contains([]string{"cache", "build_info", "doc"}, parts[0]) || slices.Contains([]string{"gem_make.out", "mkmf.log"}, path.Base(f.name))
	})
	if len(compiled) > 0 && !same {
		return advise(fmt.Errorf("%s compiled themselves for this machine's Ruby %s, which is not %s", some(compiled), strings.TrimSuffix(filepath.Base(homes[0]), ".0"), b.target),
			"choose gems that are precompiled for %s-linux, or build the layer with Ruby %s on %s", b.target.machine(), b.target.version, b.target.arch)
	}
	if len(fromGit) > 0 {
		b.note("gems from git are found by Bundler only, not by require: %s", some(fromGit))
	}
	if !strings.HasPrefix(filepath.Base(homes[0]), b.target.version+".") {
		b.note("gems were chosen by Ruby %s; the layer is for %s", strings.TrimSuffix(filepath.Base(homes[0]), ".0"), b.target.version)
	}
	for i := range files.files {
		f := &files.files[i]
		parts := strings.Split(strings.TrimPrefix(f.name, at+"/"), "/")
		switch {
		case parts[0] == "gems" && len(parts) > 1:
			f.group = gemGroup(parts[1])
		case parts[0] == "extensions" && len(parts) > 3:
			f.group = gemGroup(parts[3])
		case parts[0] == "specifications" && len(parts) == 2:
			f.group = gemGroup(strings.TrimSuffix(parts[1], ".gemspec"))
		default:
			f.group = strings.Join(firstParts(f.name, 4), "/")
		}
		var err error
		switch {
		case parts[0] == "bin":
			err = plainShebang(f, "ruby")
		case parts[0] == "specifications" && path.Ext(f.name) == ".gemspec":
			err = withoutInstaller(f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var installedBy = regexp.MustCompile(`(?m)\n?^  s\.installed_by_version = [^\n]*\n`)

// withoutInstaller takes out of a specification which RubyGems has installed it.
func withoutInstaller(f *file) error {
	text, err := f.read()
	if err != nil {
		return err
	}
	if plain := installedBy.ReplaceAll(text, nil); len(plain) < len(text) {
		f.replace(plain)
	}
	return nil
}

func gemGroup(name string) string {
	if m := gemName.FindStringSubmatch(name); m != nil {
		return m[1] + " " + m[2]
	}
	return name
}
