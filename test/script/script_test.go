// Package script runs the command line as people type it: each .txtar file in
// this folder is one story, in the language of testscript.
package script

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lamina-run/lamina/internal/testkit"
)

// TestScripts gives the scripts the built lamina in PATH, $ADDR and $ADDR2 (free
// addresses), and the commands healthy URL, which waits for a server, appears FILE REGEXP,
// which waits for a text in a file, and collect FILE, which writes there what is sent
// to $COLLECTOR, a collector of OpenTelemetry.
func TestScripts(t *testing.T) {
	bin := filepath.Dir(testkit.Binary(t))
	testscript.Run(t, testscript.Params{
		Dir:                 ".",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("ADDR", testkit.FreeAddress(t))
			env.Setenv("ADDR2", testkit.FreeAddress(t))
			env.Setenv("LAMINA", filepath.Join(bin, "lamina"))
			env.Setenv("HOME", env.WorkDir)
			// Interpreters that a version manager keeps per user stay findable.
			env.Setenv("PYENV_ROOT", os.Getenv("PYENV_ROOT"))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "sandbox":
				return testkit.Sandbox.Missing() == "", nil
			case "root":
				return testkit.Root.Missing() == "", nil
			}
			return false, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"healthy": healthy,
			"appears": appears,
			"collect": collect,
		},
	})
}

func healthy(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: healthy URL")
	}
	err := testkit.Healthy(args[0])
	if neg {
		if err == nil {
			ts.Fatalf("%s is healthy", args[0])
		}
		return
	}
	for deadline := time.Now().Add(30 * time.Second); err != nil; err = testkit.Healthy(args[0]) {
		if time.Now().After(deadline) {
			ts.Fatalf("%s is not healthy: %v", args[0], err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func collect(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: collect FILE")
	}
	file, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := gzip.NewReader(req.Body)
		if err == nil && req.URL.Path == "/v1/traces" {
			_, err = io.Copy(file, body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}))
	ts.Setenv("COLLECTOR", s.URL)
	ts.Defer(func() {
		s.Close()
		ts.Check(file.Close())
	})
}

func appears(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: appears FILE REGEXP")
	}
	want, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	for deadline := time.Now().Add(30 * time.Second); ; {
		text, err := os.ReadFile(ts.MkAbs(args[0])) // it may not be there yet
		if err == nil && want.Match(text) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not have %s: %s, %v", args[0], args[1], text, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
