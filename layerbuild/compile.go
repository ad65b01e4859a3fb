package layerbuild

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// compile adds what Python makes of each module when it loads it, which it can't
// keep in a function: /opt is read-only. The modules are found by their names
// alone, so that their times don't count.
func (b *builder) compile(ctx context.Context, files *tree) error {
	if b.target.family != "python" {
		return advise(fmt.Errorf("--compile is for Python, not for %s", b.target.runtime), "leave it out")
	}
	python, err := b.ownPython(ctx)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.work, "compile")
	for i := range files.files {
		f := &files.files[i]
		if path.Ext(f.name) != ".py" || f.target != "" || f.dir || !strings.HasPrefix(f.name, "python/") {
			continue
		}
		at := filepath.Join(dir, filepath.FromSlash(f.name))
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			return fmt.Errorf("compile %s: %w", f.name, err)
		}
		if err := f.copyTo(at); err != nil {
			return fmt.Errorf("compile %s: %w", f.name, err)
		}
	}
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	// It fails when one module can't be compiled, such as a template: that one is
	// left to the function.
	_, err = b.tools.run(ctx, command{
		name: "python", dir: b.work, quiet: true, env: []string{"PYTHONHASHSEED=0"}, without: []string{"PYTHONPATH", "PYTHONHOME", "PYTHONOPTIMIZE", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE"},
		argv: []string{python, "-m", "compileall", "-q", "-f", "-j", "1", "--invalidation-mode", "unchecked-hash", "-d", "/opt", dir},
	})
	if _, failed := errors.AsType[*ToolError](err); err != nil && !failed {
		return err
	}
	groups := map[string]string{}
	for i := range files.files {
		groups[files.files[i].name] = files.files[i].group
	}
	compiled := &tree{cache: true}
	if err := compiled.add(dir, "", refuse); err != nil {
		return errors.Join(err, compiled.close())
	}
	files.roots = append(files.roots, compiled.roots...)
	n := 0
	for _, f := range compiled.files {
		if path.Ext(f.name) != ".pyc" {
			continue
		}
		// pkg/__pycache__/mod.cpython-312.pyc is of pkg/mod.py
		base, _, _ := strings.Cut(path.Base(f.name), ".cpython-")
		f.group = groups[path.Join(path.Dir(path.Dir(f.name)), base+".py")]
		f.exec = false
		if err := files.append(f); err != nil {
			return err
		}
		n++
	}
	b.note("%d modules are compiled for Python %s", n, b.target.version)
	return nil
}

// ownPython returns an interpreter of the very version that the runtime has: what
// others compile, it does not load.
func (b *builder) ownPython(ctx context.Context) (string, error) {
	names := []string{"python" + b.target.version, "python3", "python"}
	if path, ok := b.Tools["python"]; ok {
		names = []string{path}
	}
	for _, name := range names {
		found, err := b.tools.lookPath(name)
		if err != nil {
			continue
		}
		said, err := b.tools.run(ctx, command{name: "python", argv: []string{found, "-c", `import sys; print("%d.%d" % sys.version_info[:2])`}, dir: b.work, quiet: true})
		if err == nil && strings.TrimSpace(said) == b.target.version {
			return found, nil
		}
	}
	return "", advise(fmt.Errorf("--compile needs Python %s, which is not in PATH", b.target.version), "install it, name it with --tool python=PATH, or leave --compile out")
}
