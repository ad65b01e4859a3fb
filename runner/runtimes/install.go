package runtimes

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// install puts an interpreter's client into a directory of its own and returns
// it. The directory's name tells what is in it, so one that is there, from
// whatever process, is right. finish may add files.
func (s *Set) install(in *Interpreter, family string, client embed.FS, finish func(dir string) error) (_ string, err error) {
	info, err := os.Stat(in.Path)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	fmt.Fprintf(hash, "%s\n%s\n%d\n%d\n%s\n", in.Runtime, in.Path, info.Size(), info.ModTime().UnixNano(), pythonInspect+nodeInspect+rubyInspect+javaInspect)
	entries, err := client.ReadDir(family)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		data, err := client.ReadFile(family + "/" + e.Name())
		if err != nil {
			return "", err
		}
		hash.Write(data)
	}
	dir := filepath.Join(s.config.Dir, in.Runtime+"-"+hex.EncodeToString(hash.Sum(nil)[:8]))
	if isDir(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(s.config.Dir, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(s.config.Dir, ".new-*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", err
	}
	for _, e := range entries {
		data, err := client.ReadFile(family + "/" + e.Name())
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(tmp, e.Name()), data, 0o644); err != nil {
			return "", err
		}
	}
	if dir := libraryDir(in.Runtime); dir != "" {
		if err := os.MkdirAll(filepath.Join(tmp, dir), 0o755); err != nil {
			return "", err
		}
	}
	if err := finish(tmp); err != nil {
		return "", err
	}
	// Functions read as other users, whatever the umask was.
	err = filepath.WalkDir(tmp, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return os.Chmod(path, 0o644)
	})
	if err != nil {
		return "", err
	}
	if err := os.Rename(tmp, dir); err != nil {
		if isDir(dir) { // another process was faster
			return dir, os.RemoveAll(tmp)
		}
		return "", err
	}
	return dir, nil
}

// run asks a binary of the host something. It is one that the server's user has
// installed, so it runs without a sandbox, but with no environment to mislead it.
func run(ctx context.Context, path string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8"}
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if text := firstLine(stderr.Bytes()); text != "" {
			return nil, fmt.Errorf("run %s: %w: %.200s", filepath.Base(path), err, text)
		}
		return nil, fmt.Errorf("run %s: %w", filepath.Base(path), err)
	}
	return out, nil
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func isFile(path string) (bool, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && !info.IsDir(), err
}
