// Command lamina is AWS Lambda on your own machine: one binary that serves the
// API, keeps layers and versions, and runs functions in sandboxes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/layerbuild"
	"github.com/lamina-run/lamina/objects/backend"
	"github.com/lamina-run/lamina/runner/sandbox"
)

// Exit codes, as documented in README.md.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
	// exitFunction is for a function that was invoked and failed.
	exitFunction = 3
)

// verbs is the command line.
type verbs struct {
	Serve          serveVerb           `cmd:"" help:"Serve the Lambda API and run functions."`
	Demo           demoVerb            `cmd:"" help:"Serve, and show the main job: a layer from a zip to a running function."`
	Deploy         deployVerb          `cmd:"" help:"Deploy a template of CloudFormation or SAM with the code it names."`
	Stack          stackVerbs          `cmd:"" help:"Stacks: what templates were deployed as."`
	Layer          layerVerbs          `cmd:"" help:"Layers: built, published, looked into, compared, cleaned up, and pulled from AWS."`
	Invoke         invokeVerb          `cmd:"" help:"Invoke a function, and print what it returns. Exits with 3 when the function failed."`
	Logs           logsVerb            `cmd:"" help:"Print what a function printed, and follow it."`
	Top            topVerb             `cmd:"" help:"Show what functions do, how long they take, and their environments."`
	Env            envVerb             `cmd:"" help:"Print export lines that point AWS clients at the server."`
	Sign           signVerb            `cmd:"" help:"Sign a zip, for functions and layers that must come from an allowed publisher."`
	Doctor         doctorVerb          `cmd:"" help:"Show what this machine offers, and what Lamina will use and enforce."`
	Config         configVerb          `cmd:"" help:"Show the configuration that serve would use."`
	SigningProfile signingProfileVerbs `cmd:"" help:"Whose signatures the running server recognizes."`
	Account        accountVerbs        `cmd:"" help:"Accounts: each has resources, quotas and a root key of its own."`
	Org            orgVerbs            `cmd:"" help:"Organizations: sets of accounts that permissions can name."`
	Completion     completionVerb      `cmd:"" help:"Print a script with which a shell completes verbs and flags."`
	Version        versionVerb         `cmd:"" help:"Show the version."`
}

// streams are where a verb writes: answers to out, words for people to notes.
type streams struct {
	out   io.Writer
	notes io.Writer
}

func main() {
	// The other lives of this binary come first: nothing else may run in them.
	if len(os.Args) == 2 {
		switch os.Args[1] {
		case sandbox.InitVerb:
			sandbox.Init()
		case sandbox.SpawnVerb:
			sandbox.Spawn()
		case backend.Verb:
			backend.Main()
		}
	}
	if filepath.Base(os.Args[0]) == "bootstrap" {
		os.Exit(demoBootstrap())
	}
	os.Exit(run(os.Args[1:], streams{out: os.Stdout, notes: os.Stderr}))
}

// hinted is an error with advice on what to do next.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

func hint(err error, format string, args ...any) error {
	return &hinted{err: err, hint: fmt.Sprintf(format, args...)}
}

// coded is an error with an exit code of its own.
type coded struct {
	code int
	err  error
}

func (e *coded) Error() string { return e.err.Error() }
func (e *coded) Unwrap() error { return e.err }

func run(args []string, s streams) int {
	var v verbs
	code := -1
	parser, err := kong.New(&v,
		kong.Name("lamina"),
		kong.Description("AWS Lambda on your own machine, with layers and versions as first-class citizens."),
		kong.Writers(s.out, s.notes),
		kong.Exit(func(c int) { code = c }),
		kong.UsageOnError(),
		kong.Vars{"limits": strings.Join(lamina.LimitNames(), ", "), "data": defaultData(), "tools": strings.Join(layerbuild.Tools, ", ")},
	)
	if err != nil {
		panic(err) // the struct above is wrong
	}
	parsed, err := parser.Parse(args)
	if code >= 0 { // --help was printed
		return code
	}
	if err != nil {
		fmt.Fprintf(s.notes, "lamina: %v\nhint: run lamina --help\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(s); err != nil {
		fmt.Fprintf(s.notes, "lamina: %v\n", err)
		if h, ok := errors.AsType[*hinted](err); ok {
			fmt.Fprintf(s.notes, "hint: %s\n", h.hint)
		}
		if c, ok := errors.AsType[*coded](err); ok {
			return c.code
		}
		return exitError
	}
	return exitOK
}

// defaultData is where Lamina keeps everything unless told otherwise.
func defaultData() string {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "lamina")
	}
	if os.Geteuid() == 0 {
		return "/var/lib/lamina"
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "lamina-data"
	}
	return filepath.Join(home, ".local", "share", "lamina")
}
