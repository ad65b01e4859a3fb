package layerbuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/fsx"
)

// Options say what is built, and how.
type Options struct {
	Source  Source
	Runtime string
	Arch    string
	// Trim leaves out what functions don't need: tests, documentation, types,
	// source maps, debugging information.
	Trim bool
	// WithoutSDK leaves out the AWS SDK, which AWS's runtimes have.
	WithoutSDK bool
	// Compile adds Python's compiled modules, which needs that version of Python.
	Compile bool
	// FromSource lets packages be built that have nothing made for the target,
	// though this machine is another: Python's source distributions, and install
	// scripts of npm's packages. What is of the machine then fails the build.
	FromSource bool
	// Timeout bounds the whole build; 0 is ten minutes.
	Timeout time.Duration
	// Tools are paths of package managers by name, see [Tools]; others are looked
	// for in PATH.
	Tools map[string]string
	// Output is a file that stays out of the layer, since the zip will take its
	// place; "" is none. What Build writes to stays out as well, if it is a file.
	Output string
	// Env is the environment of the package managers.
	Env []string
	// Temp is where temporary directories are made; empty is the system's place.
	Temp string
	// Log gets what package managers print, and what is being done.
	Log io.Writer

	host string // instead of this machine's architecture, in tests
}

const defaultTimeout = 10 * time.Minute

// Result is a layer that was built.
type Result struct {
	Source       Source
	Tool         string // the package manager and its version; empty for a directory
	Runtime      string
	Architecture string
	CodeSHA256   string // as the API shows it
	CodeSize     int64  // bytes of the zip
	UnpackedSize int64
	Files        int
	Packages     []Package // largest first
	Notes        []string  // what the user should know
}

// Package is a part of a layer.
type Package struct {
	Name    string
	Version string `json:",omitzero"`
	Size    int64  // bytes, unpacked
	Files   int
}

// TooLargeError is a layer that no function could have.
type TooLargeError struct{ Size, Limit int64 }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the layer has %d bytes unpacked, %d more than all code of a function may have (%d)", e.Size, e.Size-e.Limit, e.Limit)
}

// Output is where the zip is written to, and read again to be checked.
type Output interface {
	io.Writer
	io.ReaderAt
}

// builder makes the tree of one language.
type builder struct {
	Options
	target target
	tools  *tools
	work   string // a directory of its own
	result *Result
}

// Build makes a layer and writes its zip. The same packages give the same bytes.
// With a *[TooLargeError] the result tells the sizes, and nothing was written.
// Errors of type *[AdvisedError] say what can be done; *[ToolError] is in the
// chain when a package manager failed.
func Build(ctx context.Context, out Output, o Options) (_ Result, err error) {
	t, err := newTarget(o.Runtime, o.Arch)
	if err != nil {
		return Result{}, err
	}
	t.host = cmp.Or(o.host, t.host)
	if o.Log == nil {
		o.Log = io.Discard
	}
	timeout := cmp.Or(o.Timeout, defaultTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, advise(fmt.Errorf("%s are over", timeout), "give it more with --timeout"))
	defer cancel()
	work, err := os.MkdirTemp(o.Temp, "lamina-layer-*")
	if err != nil {
		return Result{}, fmt.Errorf("make a temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, fsx.RemoveAll(work)) }()
	result := Result{Source: o.Source, Runtime: o.Runtime, Architecture: o.Arch}
	b := &builder{Options: o, target: t, tools: &tools{named: o.Tools, env: o.Env, log: o.Log}, work: work, result: &result}
	files := &tree{not: o.outputs(out)}
	defer func() { err = errors.Join(err, files.close()) }()
	if err := b.fill(ctx, files); err != nil {
		return Result{}, fmt.Errorf("build from %s: %w", o.Source, err)
	}
	result.measure(files)
	if result.Files == 0 {
		return Result{}, advise(errors.New("there is nothing to put into a layer"), "the dependencies may be empty, or all left out")
	}
	limits := lamina.DefaultLimits()
	if result.UnpackedSize > limits.Unzipped {
		err := &TooLargeError{Size: result.UnpackedSize, Limit: limits.Unzipped}
		if !o.Trim {
			return result, advise(err, "--trim leaves out what functions don't need; the largest packages are above")
		}
		return result, advise(err, "split it into several packages or a container image; the largest packages are above")
	}
	if err := result.write(ctx, out, files); err != nil {
		return Result{}, err
	}
	return result, nil
}

// outputs are the files that may be in the source, and are no part of it.
func (o Options) outputs(out Output) (not []fs.FileInfo) {
	if info, err := os.Stat(o.Output); err == nil {
		not = append(not, info)
	}
	if f, ok := out.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			not = append(not, info)
		}
	}
	return not
}

// fill makes the tree and changes it as the options say.
func (b *builder) fill(ctx context.Context, files *tree) error {
	var err error
	switch b.Source.Kind {
	case Requirements, Pyproject:
		err = b.python(ctx, files)
	case PackageJSON:
		err = b.node(ctx, files)
	case Gemfile:
		err = b.ruby(ctx, files)
	case POM:
		err = b.java(ctx, files)
	case Directory:
		err = b.directory(files)
	default:
		err = fmt.Errorf("kind %q is unknown", b.Source.Kind)
	}
	if err != nil {
		return err
	}
	files.sort()
	if b.WithoutSDK {
		if err := b.dropSDK(files); err != nil {
			return err
		}
	}
	if b.Trim {
		if err := b.trim(ctx, files); err != nil {
			return err
		}
	}
	if err := b.checkNative(files); err != nil {
		return err
	}
	if b.Compile {
		if err := b.compile(ctx, files); err != nil {
			return err
		}
	}
	files.sort()
	return nil
}

func (b *builder) note(format string, args ...any) {
	b.result.Notes = append(b.result.Notes, printable(fmt.Sprintf(format, args...)))
}

// maxNamed bounds the names in one note.
const maxNamed = 5

// some lists names, the first of them when they are many.
func some(names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	if len(names) > maxNamed {
		return strings.Join(names[:maxNamed], ", ") + fmt.Sprintf(" and %d more", len(names)-maxNamed)
	}
	return strings.Join(names, ", ")
}

// measure fills in sizes.
func (r *Result) measure(files *tree) {
	byGroup := map[string]*Package{}
	for _, f := range files.files {
		r.UnpackedSize += f.size
		if f.target != "" {
			r.UnpackedSize += int64(len(f.target))
		}
		if f.dir {
			continue
		}
		r.Files++
		group := cmp.Or(f.group, f.name)
		p := byGroup[group]
		if p == nil {
			name, version, _ := strings.Cut(group, " ")
			p = &Package{Name: name, Version: version}
			byGroup[group] = p
		}
		p.Files++
		p.Size += f.size
	}
	for _, p := range byGroup {
		r.Packages = append(r.Packages, *p)
	}
	slices.SortFunc(r.Packages, func(a, b Package) int {
		return cmp.Or(cmp.Compare(b.Size, a.Size), strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version))
	})
}
