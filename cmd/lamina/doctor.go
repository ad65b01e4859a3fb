package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/lamina-run/lamina/runner/layer"
	"github.com/lamina-run/lamina/runner/sandbox"
)

type doctorVerb struct {
	Data    string   `env:"LAMINA_DATA" default:"${data}" type:"path" help:"Directory that serve would use."`
	Runtime []string `env:"LAMINA_RUNTIMES" placeholder:"NAME=PATH" help:"Interpreter of a runtime, as for serve."`
}

// Run prints what the machine offers. It fails only when functions can't run.
func (v *doctorVerb) Run(ctx context.Context, s streams) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	fmt.Fprintf(s.out, "platform  %s/%s\n\nsandbox\n", runtime.GOOS, runtime.GOARCH)
	report := sandbox.Probe(ctx)
	report.Checks = append(report.Checks, probeImages(v.Data))
	for _, c := range report.Checks {
		mark := "yes"
		if !c.OK {
			mark = "no"
		}
		fmt.Fprintf(s.out, "  %-3s %-18s %s\n", mark, c.Name, c.Detail)
		if !c.OK && c.Hint != "" {
			fmt.Fprintf(s.out, "      %-18s hint: %s\n", "", c.Hint)
		}
	}
	for _, line := range report.NotEnforced {
		fmt.Fprintf(s.out, "  not enforced: %s\n", line)
	}
	fmt.Fprintf(s.out, "\nruntimes\n")
	scratch, err := os.MkdirTemp("", "lamina-doctor-")
	if err != nil {
		return fmt.Errorf("make a scratch directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	set, err := newRuntimes(v.Runtime, nil, scratch, slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Errorf("read --runtime: %w", err)
	}
	found, broken := set.Interpreters(ctx)
	for _, r := range found {
		fmt.Fprintf(s.out, "  yes %-18s %s (%s, %s)\n", r.Runtime, r.Path, r.Version, r.Source)
	}
	for _, m := range broken {
		fmt.Fprintf(s.out, "  no  %-18s %s: %v\n", m.Runtime, m.Path, m.Err)
	}
	fmt.Fprintf(s.out, "  yes %-18s %s\n", "provided*", "bootstrap from the function or a layer")
	if len(found) == 0 {
		fmt.Fprintf(s.out, "      %-18s hint: install Python, Node.js, Ruby or a JDK, or name an interpreter: --runtime python3.12=/path/to/python3.12\n", "")
	}
	if !report.Usable {
		return hint(fmt.Errorf("functions can't run on this machine"), "see the lines marked no above")
	}
	return nil
}

// probeImages says whether archives will be mounted or unpacked. Whether the
// kernel mounts an image depends on the file system that it is on.
func probeImages(data string) (c sandbox.Check) {
	c = sandbox.Check{Name: "layer images", OK: true, Detail: "layers and code become EROFS images, mounted once each"}
	if err := tryImages(data); err != nil {
		c.OK, c.Detail = false, "layers and code are unpacked to directories: "+err.Error()
		c.Hint = "run the server as root, on Linux 6.12 or later with EROFS, and have its data on a disk of ext4, XFS or Btrfs"
	}
	return c
}

func tryImages(data string) (err error) {
	images, mounter, err := openImages()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, images.Close()) }()
	// Where the data will be, or would.
	dir := data
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			break
		}
		above := filepath.Dir(dir)
		if above == dir {
			break
		}
		dir = above
	}
	return layer.ProbeImages(dir, mounter)
}
