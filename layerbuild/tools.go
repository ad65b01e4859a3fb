package layerbuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Tools are the names that [Options.Tools] may have.
var Tools = []string{"python", "pip", "uv", "npm", "bundle", "mvn", "strip"}

// tools runs package managers. They get the user's environment, so that their
// configuration counts: registries, certificates, caches.
type tools struct {
	named map[string]string // path by name
	env   []string
	log   io.Writer
}

// find returns the path of a command: the one that was named, else the one in
// PATH, else "".
func (t *tools) find(tool string) (string, error) {
	if path, ok := t.named[tool]; ok {
		found, err := t.lookPath(path)
		if err != nil {
			return "", advise(fmt.Errorf("find %s: %w", tool, err), "--tool %s=PATH names a command that can be run", tool)
		}
		return found, nil
	}
	found, err := t.lookPath(tool)
	if err != nil {
		return "", nil // the caller has the advice
	}
	return found, nil
}

// lookPath returns the absolute path of a command.
func (t *tools) lookPath(name string) (string, error) {
	found, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(found)
}

// command is one run of a tool.
type command struct {
	name string // as messages call it
	argv []string
	dir  string
	env  []string // more variables, which win
	// without are variables that it must not have, or prefixes of such when they
	// end in *.
	without []string
	quiet   bool // its output is the answer, and not for people
}

// maxTail bounds what is kept of a tool's output, maxAnswer what may be an answer.
const (
	maxTail   = 64 << 10
	maxAnswer = 16 << 20
)

// run runs a tool to its end, shows what it prints, and returns the last of it.
// When ctx ends, so do the tool and what it has started.
func (t *tools) run(ctx context.Context, c command) (string, error) {
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Dir = c.dir
	cmd.Env = environment(t.env, c.env, c.without)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	said := &tail{most: maxTail}
	var answer bytes.Buffer
	if c.quiet {
		cmd.Stdout, cmd.Stderr = &limited{w: &answer, left: maxAnswer}, said
	} else {
		out := io.MultiWriter(t.log, said)
		cmd.Stdout, cmd.Stderr = out, out // one pipe, so that lines stay in order
	}
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // something that it left behind held its output
		_ = cmd.Cancel()
	}
	if cause := context.Cause(ctx); cause != nil {
		return said.String(), fmt.Errorf("run %s: %w", c.name, cause)
	}
	if err != nil {
		text := said.String()
		if c.quiet {
			text = answer.String() + text
		}
		return text, &ToolError{Tool: c.name, Cause: causeOf(text), Err: err}
	}
	if c.quiet {
		return answer.String(), nil
	}
	return said.String(), nil
}

// environment adds variables to those of the user.
func environment(env, more, without []string) []string {
	var out []string
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if slices.ContainsFunc(without, func(w string) bool {
			prefix, wild := strings.CutSuffix(w, "*")
			return w == name || wild && strings.HasPrefix(name, prefix)
		}) || slices.ContainsFunc(more, func(m string) bool { return strings.HasPrefix(m, name+"=") }) {
			continue
		}
		out = append(out, e)
	}
	return append(out, more...)
}

var (
	escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[a-zA-Z]`)
	// errorLine is how package managers begin a line that says what is wrong.
	errorLine = regexp.MustCompile(`(?i)^\s*(?:npm (?:err!|error)|\[?error\]?:?|fatal:?|×|could not|bundler could)(?:\s|$)`)
)

// maxCause bounds the lines of a cause.
const maxCause = 8

// causeOf picks the lines of a tool's output that say why it failed: those marked
// as errors, else the last.
func causeOf(text string) string {
	var marked, all []string
	for line := range strings.Lines(escapes.ReplaceAllString(text, "")) {
		line = strings.TrimSpace(printable(line))
		if line == "" || strings.Contains(line, "A complete log of this run can be found in") {
			continue
		}
		all = append(all, line)
		if errorLine.MatchString(line) {
			marked = append(marked, line)
		}
	}
	if len(marked) == 0 {
		marked = all[max(0, len(all)-3):]
	}
	if len(marked) > maxCause {
		marked = marked[:maxCause]
	}
	return strings.Join(marked, "\n  ")
}

// printable takes out what could steer a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, text)
}

// tail keeps the last of what is written to it.
type tail struct {
	most int
	b    []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 2*t.most {
		t.b = append(t.b[:0], t.b[len(t.b)-t.most:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b[max(0, len(t.b)-t.most):]) }

// limited fails once more is written than is allowed.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, errors.New("it prints too much")
	}
	l.left -= len(p)
	return l.w.Write(p)
}
