package layerbuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// leastNPM is the first npm that installs for another architecture.
const leastNPM = 10

// packageJSON is what counts of a package's own description.
type packageJSON struct {
	Name                 string
	Version              string
	Dependencies         map[string]string
	OptionalDependencies map[string]string
	Workspaces           json.RawMessage
	CPU                  any
}

// node has npm install what is asked for into a directory.
func (b *builder) node(ctx context.Context, files *tree) error {
	npm, err := b.tools.find("npm")
	if err != nil {
		return err
	}
	if npm == "" {
		return advise(errors.New("there is no npm in PATH"), "install Node.js with npm, or name it with --tool npm=PATH")
	}
	said, err := b.tools.run(ctx, command{name: "npm", argv: []string{npm, "--version"}, dir: b.work, quiet: true})
	if err != nil {
		return advise(err, "name another with --tool npm=PATH")
	}
	version := strings.TrimSpace(printable(said))
	b.result.Tool = "npm " + version
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err != nil || n < leastNPM {
		return advise(fmt.Errorf("npm %s is too old: it installs for this machine's architecture only", version), "upgrade it to %d or later: npm install --global npm", leastNPM)
	}
	project := filepath.Join(b.work, "project")
	if err := os.Mkdir(project, 0o700); err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	if err := b.nodeProject(project, files); err != nil {
		return err
	}
	scripts := b.FromSource || b.target.isHost()
	args := []string{
		npm, "install", "--omit=dev", "--no-audit", "--no-fund", "--no-package-lock", "--os=linux", "--cpu=" + b.target.cpu(), "--libc=glibc",
		"--install-links", "--install-strategy=hoisted", "--location=project", "--global=false", "--dry-run=false", "--engine-strict=false", "--no-progress",
	}
	if b.Source.Lock != "" {
		args[1] = "ci"
		args = slices.DeleteFunc(args, func(a string) bool { return a == "--no-package-lock" })
	}
	if !scripts {
		args = append(args, "--ignore-scripts")
	}
	env := []string{"npm_config_update_notifier=false", "NO_COLOR=1", "SOURCE_DATE_EPOCH=315532800"}
	if scripts && !b.target.isHost() { // what prebuild-install, node-pre-gyp and node-gyp-build go by
		env = append(env, "npm_config_arch="+b.target.cpu(), "npm_config_platform=linux", "npm_config_target_arch="+b.target.cpu(), "npm_config_target_platform=linux")
	}
	if _, err := b.tools.run(ctx, command{name: "npm", argv: args, dir: project, env: env, without: []string{"NODE_ENV", "npm_config_omit", "npm_config_include", "npm_config_production"}}); err != nil {
		return err
	}
	if b.Source.Lock == "" {
		b.note("there is no package-lock.json: another day may give other versions")
	}
	modules := filepath.Join(project, "node_modules")
	if info, err := os.Stat(modules); err != nil || !info.IsDir() {
		return advise(fmt.Errorf("%s asks for no packages", b.Source.File), "put what the layer should have into its dependencies")
	}
	// Packages of the project are links to where they are in it.
	if files.inside, err = filepath.EvalSymlinks(project); err != nil {
		return fmt.Errorf("read what npm has installed: %w", err)
	}
	if err := files.add(modules, "nodejs/node_modules", follow); err != nil {
		return err
	}
	return b.nodeModules(ctx, files, scripts)
}

// nodeProject copies what npm needs of the user's project: it writes where it
// works.
func (b *builder) nodeProject(to string, files *tree) error {
	text, err := readSmall(b.Source.path(b.Source.File))
	if err != nil {
		return fmt.Errorf("read %s: %w", b.Source.File, err)
	}
	var project packageJSON
	if err := json.Unmarshal(text, &project); err != nil {
		return fmt.Errorf("read %s: %w", b.Source.File, err)
	}
	local := len(project.Workspaces) > 0
	for _, list := range []map[string]string{project.Dependencies, project.OptionalDependencies} {
		for name, spec := range list {
			at, ok := localSpec(spec)
			if !ok {
				continue
			}
			if filepath.IsAbs(at) || !filepath.IsLocal(at) {
				return advise(fmt.Errorf("dependency %s is at %s, outside of the directory of %s", printable(name), printable(at), b.Source.File), "npm pack it into that directory, and depend on the archive")
			}
			local = true
		}
	}
	if local {
		if err := copyProject(b.Source.Dir, to, files.not); err != nil {
			return fmt.Errorf("copy the project, since it has packages of its own: %w", err)
		}
	}
	for _, name := range []string{b.Source.File, b.Source.Lock, ".npmrc"} {
		if name == "" {
			continue
		}
		if _, err := copyFile(b.Source.path(name), filepath.Join(to, name), maxText); err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
	}
	return nil
}

// localSpec returns the path of a dependency that is a directory or an archive
// on this machine.
func localSpec(spec string) (string, bool) {
	for _, scheme := range []string{"file:", "link:"} {
		if rest, ok := strings.CutPrefix(spec, scheme); ok {
			return rest, true
		}
	}
	return spec, strings.HasPrefix(spec, "./") || strings.HasPrefix(spec, "../") || strings.HasPrefix(spec, "/") || strings.HasPrefix(spec, "~/")
}

// maxProject bounds what is copied of a project.
const maxProject = 512 << 20

// copyProject copies files and directories, without what was installed before.
func copyProject(from, to string, not []fs.FileInfo) error {
	var size int64
	t := &tree{skip: []string{"node_modules"}, not: not}
	if err := t.add(from, "", refuse); err != nil {
		return errors.Join(err, t.close())
	}
	defer t.close() // it was read from only
	for i := range t.files {
		f := &t.files[i]
		if f.dir {
			continue
		}
		if size += f.size; size > maxProject {
			return fmt.Errorf("it has more than %d bytes", maxProject)
		}
		at := filepath.Join(to, filepath.FromSlash(f.name))
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			return err
		}
		if f.target != "" {
			if err := os.Symlink(f.target, at); err != nil {
				return err
			}
			continue
		}
		if err := f.copyTo(at); err != nil {
			return err
		}
	}
	return nil
}

// intermediate are files that node-gyp leaves beside what it makes, with paths of
// this machine in them.
var intermediate = regexp.MustCompile(`/build/(?:Makefile|config\.gypi|node_gyp_bins/.*|[^/]+\.(?:mk|Makefile)|gyp-[^/]+|Release/(?:\.deps|obj|obj\.target|\.forge-meta)(?:/.*)?)$`)

// nodeModules looks at what npm has left.
func (b *builder) nodeModules(ctx context.Context, files *tree, scripts bool) error {
	var lock struct {
		Packages map[string]struct{ Optional, DevOptional bool }
	}
	if i, ok := files.index()["nodejs/node_modules/.package-lock.json"]; ok {
		text, err := files.files[i].read()
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &lock); err != nil {
			return fmt.Errorf("read what npm says it installed: %w", err)
		}
	}
	files.remove(func(f *file) bool {
		below := strings.TrimPrefix(f.name, "nodejs/node_modules/")
		return below == ".package-lock.json" || below == ".yarn-integrity" || strings.HasPrefix(below, ".cache/") || below == ".cache" || intermediate.MatchString(below)
	})
	packages := map[string]*installed{} // by directory
	for i := range files.files {
		f := &files.files[i]
		dir, ok := moduleOf(f.name)
		if !ok {
			f.group = strings.Join(firstParts(f.name, 3), "/")
			continue
		}
		p := packages[dir]
		if p == nil {
			in := lock.Packages[strings.TrimPrefix(dir, "nodejs/")]
			p = &installed{dir: dir, optional: in.Optional || in.DevOptional}
			packages[dir] = p
		}
		p.files = append(p.files, i)
	}
	for _, dir := range sortedKeys(packages) {
		if err := packages[dir].describe(files); err != nil {
			return err
		}
	}
	for dir, p := range packages {
		top := packages[topModule(dir)]
		if top == nil {
			top = p
		}
		for _, i := range p.files {
			files.files[i].group = strings.TrimSpace(top.Name + " " + top.Version)
		}
	}
	if err := b.nodeNative(files, packages, scripts); err != nil {
		return err
	}
	return b.nodeCompiled(ctx, files, packages)
}

// installed is one package below node_modules.
type installed struct {
	packageJSON
	Scripts map[string]string

	dir      string
	files    []int
	optional bool // others do without it
	scripts  bool // it has an install script
	gyp      bool // it compiles itself
}

func (p *installed) describe(files *tree) error {
	p.Name = strings.TrimPrefix(p.dir[strings.LastIndex(p.dir, "node_modules/"):], "node_modules/")
	name := p.Name
	for _, i := range p.files {
		f := &files.files[i]
		switch strings.TrimPrefix(f.name, p.dir+"/") {
		case "binding.gyp":
			p.gyp = true
		case "package.json":
			text, err := f.read()
			if err != nil {
				return err
			}
			if err := json.Unmarshal(text, p); err != nil {
				p.packageJSON = packageJSON{} // a package that can't be read can't be asked anything
			}
		}
	}
	p.Name = name // the directory's: that of an alias
	for _, script := range []string{"preinstall", "install", "postinstall"} {
		p.scripts = p.scripts || p.Scripts[script] != ""
	}
	p.scripts = p.scripts || p.gyp
	return nil
}

// moduleOf returns the directory of the package that a file is in.
func moduleOf(name string) (string, bool) {
	const marker = "node_modules/"
	i := strings.LastIndex(name, "/"+marker)
	if i < 0 {
		return "", false
	}
	rest := strings.Split(name[i+1+len(marker):], "/")
	n := 1
	if strings.HasPrefix(rest[0], "@") {
		n = 2
	}
	if len(rest) <= n || strings.HasPrefix(rest[0], ".") {
		return "", false
	}
	return name[:i+1+len(marker)] + strings.Join(rest[:n], "/"), true
}

// topModule returns the directory of the package in the outermost node_modules.
func topModule(dir string) string {
	if i := strings.Index(strings.TrimPrefix(dir, "nodejs/node_modules/"), "/node_modules/"); i >= 0 {
		return dir[:len("nodejs/node_modules/")+i]
	}
	return dir
}

// nodeNative refuses packages whose native part is not there for the target.
func (b *builder) nodeNative(files *tree, packages map[string]*installed, scripts bool) error {
	var skipped, lacking []string
	for _, dir := range sortedKeys(packages) {
		p := packages[dir]
		if name := p.missing(b.target, packages); name != "" {
			advice := "update the lock file with a recent npm: npm install --package-lock-only --os=linux --cpu=%s"
			if b.Source.Lock == "" {
				advice = "ask for it in optionalDependencies; it is for linux on %s"
			}
			return advise(fmt.Errorf("%s is there without %s, its native part", p.Name, name), advice, b.target.cpu())
		}
		right, wrong := 0, ""
		for _, i := range p.files {
			f := &files.files[i]
			if path.Ext(f.name) != ".node" {
				continue
			}
			machine, err := machineOf(f)
			if err != nil {
				return err
			}
			switch {
			case machine == b.target.machine():
				right++
			case machine != "":
				wrong = strings.TrimPrefix(f.name, dir+"/") + " is for " + machine
			case wrong == "":
				wrong = strings.TrimPrefix(f.name, dir+"/") + " is for another system"
			}
		}
		switch {
		case right > 0:
		case wrong != "":
			return advise(fmt.Errorf("%s has nothing that runs on %s: %s", p.Name, b.target.arch, wrong), "choose a version that has, or build the layer on a machine with %s", b.target.arch)
		case p.gyp && p.optional:
			lacking = append(lacking, p.Name)
		case p.gyp && scripts:
			return advise(fmt.Errorf("%s compiles itself when it is installed, and has not", p.Name), "npm may be configured not to run install scripts: see npm config get ignore-scripts")
		case p.gyp:
			return advise(fmt.Errorf("%s compiles itself when it is installed, which this machine can't do for %s", p.Name, b.target.arch),
				"build the layer on Linux with %s, or let it fetch what was built for that with --from-source", b.target.arch)
		case p.scripts && !scripts:
			skipped = append(skipped, p.Name)
		}
	}
	if len(lacking) > 0 {
		b.note("optional packages without their native part, which is compiled when they are installed: %s", some(lacking))
	}
	if len(skipped) > 0 {
		b.note("install scripts were not run, since they would be for this machine: those of %s", some(skipped))
	}
	return nil
}

// nodeCompiled tells when packages were compiled for another Node.js than the
// runtime's, which those don't mind that use Node-API.
func (b *builder) nodeCompiled(ctx context.Context, files *tree, packages map[string]*installed) error {
	var compiled []string
	for _, dir := range sortedKeys(packages) {
		p := packages[dir]
		if p.gyp && slices.ContainsFunc(p.files, func(i int) bool {
			rest, ok := strings.CutPrefix(files.files[i].name, dir+"/build/Release/")
			return ok && path.Ext(rest) == ".node"
		}) {
			compiled = append(compiled, p.Name)
		}
	}
	if len(compiled) == 0 {
		return nil
	}
	node, err := b.tools.lookPath("node")
	if err != nil {
		return nil // npm has its own
	}
	said, err := b.tools.run(ctx, command{name: "node", argv: []string{node, "--version"}, dir: b.work, quiet: true})
	if err != nil {
		return err
	}
	if major, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(said), "v"), "."); major != b.target.version {
		b.note("compiled here by Node.js %s, which %s may not load unless they use Node-API: %s", printable(major), b.target.runtime, some(compiled))
	}
	return nil
}

var platformName = regexp.MustCompile(`(?:^|[-/.])linux[-.](x64|arm64)(?:$|[-.](gnu|glibc)$)`)

// missing returns the name of the optional dependency for the target that the
// package has and that was not installed, which happens with lock files from
// other machines. It returns "" for all others.
func (p *installed) missing(t target, packages map[string]*installed) string {
	var wanted []string
	for name := range p.OptionalDependencies {
		m := platformName.FindStringSubmatch(name)
		if m == nil || m[1] != t.cpu() {
			continue
		}
		for at := p.dir; ; {
			if packages[at+"/node_modules/"+name] != nil {
				return ""
			}
			i := strings.LastIndex(at, "/node_modules/")
			if i < 0 {
				break
			}
			at = at[:i]
		}
		wanted = append(wanted, name)
	}
	if len(wanted) == 0 {
		return ""
	}
	return slices.Min(wanted)
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
