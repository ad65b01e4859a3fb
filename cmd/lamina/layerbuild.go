package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/layerbuild"
)

type buildLayerVerb struct {
	Source     string            `arg:"" type:"path" help:"requirements.txt, pyproject.toml, package.json, Gemfile or pom.xml, with the lock file beside it, or a directory: one with such a file, or one that is taken as it is."`
	Runtime    string            `required:"" help:"Runtime that the layer is for, such as python3.12."`
	Arch       string            `env:"LAMINA_BUILD_ARCH" enum:"x86_64,arm64" default:"x86_64" help:"Architecture that the layer is for: x86_64 or arm64."`
	Out        string            `short:"o" required:"" type:"path" help:"Zip to write."`
	Plain      bool              `help:"Take a directory as it is, whatever files it has."`
	Trim       bool              `help:"Leave out what functions don't need: tests, documentation, types, source maps, debugging information."`
	WithoutSDK bool              `name:"without-sdk" help:"Leave out the AWS SDK, which AWS's runtimes have; Lamina's have it only with serve --library."`
	Compile    bool              `help:"Add compiled modules, which functions load faster. Needs the runtime's version of Python."`
	FromSource bool              `help:"Build packages here that have nothing built for the architecture, though this machine has another."`
	Timeout    time.Duration     `env:"LAMINA_BUILD_TIMEOUT" default:"10m" help:"The build may take this long."`
	Tool       map[string]string `env:"LAMINA_BUILD_TOOL" mapsep:"none" placeholder:"NAME=PATH" help:"Package manager to use: ${tools}. May be given several times; others are looked for in PATH."`
	output
}

// Validate is for what kong can't tell by the types.
func (v *buildLayerVerb) Validate() error {
	for name := range v.Tool {
		if !slices.Contains(layerbuild.Tools, name) {
			return fmt.Errorf("--tool %s: want one of %s", name, strings.Join(layerbuild.Tools, ", "))
		}
	}
	if v.Timeout <= 0 {
		return fmt.Errorf("--timeout %s: want a time above 0", v.Timeout)
	}
	return nil
}

// Run builds a layer. Its zip appears when it is complete.
func (v *buildLayerVerb) Run(ctx context.Context, s streams) error {
	source, err := layerbuild.Find(v.Source, layerbuild.FindOptions{Runtime: v.Runtime, Plain: v.Plain})
	if err != nil {
		return advised(err)
	}
	fmt.Fprintf(s.notes, "building for %s on %s from %s\n", v.Runtime, v.Arch, source)
	out, err := os.CreateTemp(filepath.Dir(v.Out), ".lamina-layer-*")
	if err != nil {
		return hint(fmt.Errorf("make the zip: %w", err), "choose another place with -o")
	}
	done := false
	defer func() {
		out.Close()
		if !done {
			os.Remove(out.Name())
		}
	}()
	result, err := layerbuild.Build(ctx, out, layerbuild.Options{
		Source: source, Runtime: v.Runtime, Arch: v.Arch, Trim: v.Trim, WithoutSDK: v.WithoutSDK, Compile: v.Compile, FromSource: v.FromSource,
		Timeout: v.Timeout, Output: v.Out, Tools: v.Tool, Env: os.Environ(), Log: s.notes,
	})
	if _, tooLarge := errors.AsType[*layerbuild.TooLargeError](err); tooLarge {
		reportLayer(s.notes, result)
	}
	if err != nil {
		return advised(err)
	}
	if err := errors.Join(out.Chmod(0o644), out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("write the zip: %w", err)
	}
	if err := os.Rename(out.Name(), v.Out); err != nil {
		return hint(fmt.Errorf("write the zip: %w", err), "choose another place with -o")
	}
	done = true
	reportLayer(s.notes, result)
	return v.answer(s.out, v.built(result), func(out io.Writer) error {
		_, err := fmt.Fprintf(out, "%s\n", v.Out)
		return err
	})
}

// advised turns advice into a hint.
func advised(err error) error {
	if a, ok := errors.AsType[*layerbuild.AdvisedError](err); ok {
		return hint(err, "%s", a.Advice)
	}
	return err
}

// maxPackages bounds the packages in a report for people.
const maxPackages = 10

// reportLayer tells sizes and limits.
func reportLayer(notes io.Writer, r layerbuild.Result) {
	limits := lamina.DefaultLimits()
	for _, n := range r.Notes {
		fmt.Fprintf(notes, "note: %s\n", n)
	}
	w := columns(notes)
	if r.CodeSize > 0 {
		fmt.Fprintf(w, "zipped\t%s\t%s of the %s that can be uploaded directly\n", bytesText(r.CodeSize), percent(r.CodeSize, limits.ZippedUpload), bytesText(limits.ZippedUpload))
	}
	fmt.Fprintf(w, "unzipped\t%s\t%s of the %s that code and layers may have together\n", bytesText(r.UnpackedSize), percent(r.UnpackedSize, limits.Unzipped), bytesText(limits.Unzipped))
	fmt.Fprintf(w, "files\t%d\t\n", r.Files)
	_ = w.Flush() // to a terminal
	if r.CodeSize > limits.ZippedUpload {
		fmt.Fprintf(notes, "note: the zip is too large to be uploaded directly: put it into a bucket, and publish it from there\n")
	}
	w = columns(notes)
	for _, p := range r.Packages[:min(maxPackages, len(r.Packages))] {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", bytesText(p.Size), printable(p.Name), p.Version)
	}
	if more := len(r.Packages) - maxPackages; more > 0 {
		fmt.Fprintf(w, "  and %d more\n", more)
	}
	_ = w.Flush() // to a terminal
}

func percent(n, of int64) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(of)) }

// builtLayer is a layer as JSON.
type builtLayer struct {
	Path, Source, Kind, Lock, Tool string
	Runtime, Architecture          string
	CodeSha256                     string
	CodeSize, UnpackedSize         int64
	Files                          int
	Limits                         struct{ ZippedUpload, Unzipped int64 }
	Packages                       []layerbuild.Package
	Notes                          []string
}

func (v *buildLayerVerb) built(r layerbuild.Result) builtLayer {
	limits := lamina.DefaultLimits()
	b := builtLayer{
		Path: v.Out, Source: filepath.Join(r.Source.Dir, r.Source.File), Kind: string(r.Source.Kind), Lock: r.Source.Lock, Tool: r.Tool,
		Runtime: r.Runtime, Architecture: r.Architecture, CodeSha256: r.CodeSHA256, CodeSize: r.CodeSize, UnpackedSize: r.UnpackedSize, Files: r.Files,
		Packages: append([]layerbuild.Package{}, r.Packages...), Notes: append([]string{}, r.Notes...),
	}
	b.Limits.ZippedUpload, b.Limits.Unzipped = limits.ZippedUpload, limits.Unzipped
	return b
}
