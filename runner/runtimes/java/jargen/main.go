// Command jargen compiles the runtime client for Java and packs it as
// runner/runtimes/java/lamina-runtime.jar, always the same bytes from the same
// sources: with the compiler of Java 17, for Java 8, entries in order, without
// times and without compression, which would depend on the version of Go.
//
// Where there is no javac 17 it only checks that the jar was made of the sources
// that are here, by the digest in the manifest.
package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	sources = "java/client/src"
	jar     = "java/lamina-runtime.jar"
)

// main runs in the folder of package runtimes, as go generate does.
func main() {
	if err := generate(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "jargen:", err)
		os.Exit(1)
	}
}

func generate(ctx context.Context) error {
	files, digest, err := look()
	if err != nil {
		return err
	}
	javac, err := compiler(ctx)
	if err != nil {
		return err
	}
	if javac == "" {
		if err := check(digest); err != nil {
			return fmt.Errorf("%w; install a JDK 17 to make it anew", err)
		}
		fmt.Fprintln(os.Stderr, "jargen: no javac 17 here; the jar is that of the sources, by its digest")
		return nil
	}
	out, err := os.MkdirTemp("", "jargen-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(out)
	args := append([]string{"--release", "8", "-Xlint:all,-options,-serial", "-Werror", "-g:source,lines", "-proc:none", "-encoding", "UTF-8", "-d", out}, files...)
	cmd := exec.CommandContext(ctx, javac, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	data, err := pack(out, digest)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(jar); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return os.WriteFile(jar, data, 0o644)
}

// look returns the sources, in order, and a digest of their names and contents.
func look() (files []string, digest string, err error) {
	err = filepath.WalkDir(sources, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".java") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return nil, "", err
	}
	hash := sha256.New()
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, "", err
		}
		fmt.Fprintf(hash, "%s %d\n%s", filepath.Base(path), len(data), data)
	}
	return files, hex.EncodeToString(hash.Sum(nil)), nil
}

// compiler returns a javac of Java 17, whose output is the same on every
// machine, or "".
func compiler(ctx context.Context) (string, error) {
	candidates := []string{"javac"}
	more, err := filepath.Glob("/usr/lib/jvm/*/bin/javac")
	if err != nil {
		return "", err
	}
	for _, c := range append(candidates, more...) {
		out, err := exec.CommandContext(ctx, c, "-version").Output()
		if err == nil && strings.HasPrefix(string(out), "javac 17.") {
			return c, nil
		}
	}
	return "", nil
}

func check(digest string) error {
	z, err := zip.OpenReader(jar)
	if err != nil {
		return err
	}
	defer z.Close()
	f, err := z.Open("META-INF/MANIFEST.MF")
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if !bytes.Contains(data, []byte(digest[:32])) {
		return errors.New(jar + " is not of these sources")
	}
	return nil
}

func pack(dir, digest string) ([]byte, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	add := func(name string, data []byte) error {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)})
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	}
	// A line of a manifest has at most 72 bytes, so the digest is cut.
	if err := add("META-INF/MANIFEST.MF", []byte("Manifest-Version: 1.0\r\nMain-Class: run.lamina.client.Main\r\nLamina-Source: "+digest[:32]+"\r\n\r\n")); err != nil {
		return nil, err
	}
	for _, path := range names {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return nil, err
		}
		if err := add(filepath.ToSlash(name), data); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
