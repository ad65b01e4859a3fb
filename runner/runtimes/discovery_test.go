package runtimes_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner/runtimes"
)

// script makes an executable that answers like node --version.
func script(t *testing.T, version string, path ...string) string {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("#!/bin/sh\necho "+version+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	script(t, "v97.0.0", home, ".asdf/shims/node")
	nvm := script(t, "v97.1.2", home, ".nvm/versions/node/v97.1.2/bin/node")
	script(t, "v97.1.1", home, ".nvm/versions/node/v97.1.1/bin/node")
	script(t, "v96.0.0", home, ".local/share/mise/installs/node/96.0.0/bin/node")
	inPath := script(t, "v95.0.0", home, "somewhere/node")
	chosen := script(t, "v94.0.0", home, "chosen")
	wrong := script(t, "v1.0.0", home, "wrong")
	script(t, "v93.0.0", home, ".nvm/versions/node/v93.0.0/bin/node")

	env := map[string]string{"HOME": home, "PATH": home + "/.asdf/shims:" + home + "/somewhere"}
	now := time.Now()
	s, err := runtimes.New(runtimes.Config{
		Log: slog.New(slog.DiscardHandler), Dir: t.TempDir(), Now: func() time.Time { return now },
		Explicit: []string{"nodejs94.x=" + chosen, "nodejs93.x=" + wrong}, Getenv: func(name string) string { return env[name] },
	})
	if err != nil {
		t.Fatal(err)
	}
	for runtime, want := range map[string]runtimes.Interpreter{
		"nodejs97.x": {Path: nvm, Version: "97.1.2", Source: "nvm"},
		"nodejs95.x": {Path: inPath, Version: "95.0.0", Source: "PATH"},
		"nodejs94.x": {Path: chosen, Version: "94.0.0", Source: "explicit"},
	} {
		in, err := s.Find(t.Context(), runtime)
		if err != nil || in.Path != want.Path || in.Version != want.Version || in.Source != want.Source {
			t.Errorf("Find(%s) = %+v, %v; want %+v", runtime, in, err, want)
		}
	}
	if in, err := s.Find(t.Context(), "nodejs93.x"); err == nil {
		t.Errorf("Find(nodejs93.x) = %+v; want no replacement for what was chosen", in)
	}

	_, err = s.Find(t.Context(), "nodejs92.x")
	e, ok := errors.AsType[*lamina.RuntimeError](err)
	if !ok || !strings.Contains(e.Hint, "nodejs94.x, nodejs95.x, nodejs96.x, nodejs97.x") || !strings.Contains(e.Hint, "--runtime nodejs92.x=/path/to/node or LAMINA_RUNTIMES") {
		t.Errorf("Find(nodejs92.x) = %v; want a hint", err)
	}
	script(t, "v92.0.0", home, ".nvm/versions/node/v92.0.0/bin/node")
	now = now.Add(time.Minute)
	if _, err := s.Find(t.Context(), "nodejs92.x"); err != nil {
		t.Errorf("Find after it was installed = %v", err)
	}

	found, missing := s.Interpreters(t.Context())
	if !slices.ContainsFunc(found, func(in runtimes.Interpreter) bool { return in.Runtime == "nodejs96.x" && in.Source == "mise" }) {
		t.Errorf("Interpreters = %+v; want the one of mise", found)
	}
	if !slices.ContainsFunc(missing, func(m runtimes.Missing) bool { return m.Runtime == "nodejs93.x" && m.Path == wrong }) {
		t.Errorf("missing = %+v; want the wrong one", missing)
	}
}

func TestExplicit(t *testing.T) {
	t.Parallel()
	for _, e := range []string{"python3.12", "python3.12=", "java21=/usr/bin/java"} {
		if _, err := runtimes.New(runtimes.Config{Explicit: []string{e}}); err == nil {
			t.Errorf("New(%q) = nil; want an error", e)
		}
	}
}
