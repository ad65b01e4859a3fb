package runtimes_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina/runner/runtimes"
)

// A runtime client that finds a descriptor in runtimes.LogVariable writes events
// there as frames, which the runner's tests describe.

// withFrames gives a program a file for its frames.
func withFrames(t *testing.T, cmd *exec.Cmd) (name string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "frames"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	cmd.ExtraFiles = []*os.File{f}
	cmd.Env = append(cmd.Env, runtimes.LogVariable+"=3")
	return f.Name()
}

// readFrames returns the types and texts of frames, times made equal, and checks
// the times of their heads.
func readFrames(t *testing.T, name string) (out []string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for len(b) > 0 {
		if len(b) < 16 || len(b) < 16+int(binary.BigEndian.Uint32(b[4:])) {
			t.Fatalf("half a frame: %q", b)
		}
		if at := time.UnixMicro(int64(binary.BigEndian.Uint64(b[8:]))); time.Since(at).Abs() > time.Hour {
			t.Errorf("a frame of %v", at)
		}
		end := 16 + int(binary.BigEndian.Uint32(b[4:]))
		text := string(b[16:end])
		for _, r := range []struct{ from, to string }{
			{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?`, "TIME"},
			{`#\d+`, "#PID"},
			{`,"    at [^"]*(bootstrap\.cjs|index\.mjs|node:)[^"]*"`, ""}, // either client's own
		} {
			text = regexp.MustCompile(r.from).ReplaceAllString(text, r.to)
		}
		out = append(out, fmt.Sprintf("%08x %s", binary.BigEndian.Uint32(b), strings.TrimSuffix(text, "\n")))
		b = b[end:]
	}
	return out
}

// framedCase is a handler that logs, prints and fails for {"do":"log"}.
type framedCase struct {
	family, handler string
	files           map[string]string
	aws             func(t *testing.T, ctx context.Context, in runtimes.Interpreter, task, handler string) *exec.Cmd // nil without a client of AWS's
	runtime         func(t *testing.T) string
}

const framedPython = `import logging
def handler(e, c):
    log = logging.getLogger()
    log.setLevel('INFO')
    print('printed')
    log.info('one\ntwo')
    logging.getLogger('x').error('failed')
    log.critical('ü')
    c.log('by the\ncontext\n')
    try:
        1 / 0
    except Exception:
        log.exception('caught')
    raise ValueError('at\nlast')
`

const framedNode = `exports.handler = async () => {
  process.stdout.write('printed\n');
  console.log('one\ntwo'); console.debug('d'); console.trace('t'); console.info({ a: { b: {} } }); console.warn('ü'); console.error('e'); console.fatal('f');
  throw new RangeError('at\nlast');
};
`

// TestFramesAsAWS compares the frames of this package's clients and of AWS's.
func TestFramesAsAWS(t *testing.T) {
	t.Parallel()
	for _, c := range []framedCase{
		{
			family: "python", handler: "app.handler", files: map[string]string{"app.py": framedPython},
			runtime: func(t *testing.T) string {
				version, err := os.ReadFile(awsClient(t, "python", "ric-python", ".python"))
				if err != nil {
					t.Fatal(err)
				}
				return "python" + strings.TrimSpace(string(version))
			},
			aws: func(t *testing.T, ctx context.Context, in runtimes.Interpreter, task, handler string) *exec.Cmd {
				cmd := exec.CommandContext(ctx, in.Path, "-m", "awslambdaric", handler)
				cmd.Env = []string{"PYTHONPATH=" + awsClient(t, "python", "ric-python"), "LD_LIBRARY_PATH=" + filepath.Join(in.Prefix, "lib")}
				return cmd
			},
		},
		{
			family: "nodejs", handler: "index.handler", files: map[string]string{"index.js": framedNode},
			runtime: func(t *testing.T) string {
				version, err := os.ReadFile(awsClient(t, "nodejs", "ric-node", ".node"))
				if err != nil {
					t.Fatal(err)
				}
				return "nodejs" + strings.TrimSpace(string(version)) + ".x"
			},
			aws: func(t *testing.T, ctx context.Context, in runtimes.Interpreter, task, handler string) *exec.Cmd {
				return exec.CommandContext(ctx, in.Path, awsClient(t, "nodejs", "ric-node", "node_modules", "aws-lambda-ric", "bin", "index.mjs"), handler)
			},
		},
		{
			family: "java", handler: "example.Handlers::log", runtime: func(t *testing.T) string { return newest(t, "java").Runtime },
			aws: func(t *testing.T, ctx context.Context, in runtimes.Interpreter, task, handler string) *exec.Cmd {
				return exec.CommandContext(ctx, in.Path, "--add-opens=java.base/java.io=ALL-UNNAMED", "-cp", strings.Join(javaLibraries(t), ":"),
					"com.amazonaws.services.lambda.runtime.api.client.AWSLambda", handler)
			},
		},
	} {
		t.Run(c.family, func(t *testing.T) {
			in := interpreterOf(t, c.runtime(t))
			task := ""
			if c.family == "java" {
				waitForAWSJava(t)
				task = javaTask(t)
			} else {
				task = write(t, c.files)
			}
			for _, format := range []string{"Text", "JSON"} {
				var ours, theirs string
				more := []string{"AWS_LAMBDA_LOG_FORMAT=" + format, "AWS_EXECUTION_ENV=AWS_Lambda_" + in.Runtime}
				if format == "JSON" {
					more = append(more, "AWS_LAMBDA_LOG_LEVEL=DEBUG")
				}
				a := run(t, func(ctx context.Context, api string) *exec.Cmd {
					cmd := command(ctx, in, api, task, c.handler, more...)
					ours = withFrames(t, cmd)
					return cmd
				})
				b := run(t, func(ctx context.Context, api string) *exec.Cmd {
					cmd := c.aws(t, ctx, in, task, c.handler)
					cmd.Dir = task
					cmd.Env = append(clientEnvironment(api, task, c.handler, more...), cmd.Env...)
					theirs = withFrames(t, cmd)
					return cmd
				})
				a.invoke(t, "{}")
				b.invoke(t, "{}")
				got, want := readFrames(t, ours), readFrames(t, theirs)
				if diff := cmp.Diff(got, want); diff != "" || len(got) < 2 {
					t.Errorf("frames in %s (-got +want):\n%s\n%q", format, diff, got)
				}
				if out := a.out.String(); !strings.HasPrefix(out, "printed\n") || strings.Contains(out, "two") {
					t.Errorf("output beside the frames = %q", out)
				}
			}
		})
	}
}

// TestRubyFrames: of Ruby's client there is no package to compare with in tests.
func TestRubyFrames(t *testing.T) {
	t.Parallel()
	eachInterpreter(t, "ruby", func(t *testing.T, in runtimes.Interpreter) {
		task := write(t, map[string]string{"app.rb": "require 'logger'\ndef handler(event:, context:)\n  Logger.new($stderr).warn(\"one\\ntwo\")\n  puts 'a', [1, nil]\n  $stdout.puts 'printed'\n  raise ArgumentError, 'bad'\nend\n"})
		for format, want := range map[string][]string{
			"Text": {
				"a55a0003 W, [TIME #PID]  WARN request-1 -- : one\ntwo", "a55a0003 a\n1", "a55a0003 Error raised from handler method",
				"a55a0003 {\n  \"errorMessage\": \"bad\",\n  \"errorType\": \"Function<ArgumentError>\",\n  \"stackTrace\": [\n    \"",
			},
			"JSON": {
				`a55a0003 {"timestamp":"TIME","level":"WARN","message":"one\ntwo","requestId":"request-1"}`, "a55a0003 a\n1",
				`a55a0003 {"timestamp":"TIME","level":"ERROR","message":"Error raised from handler method","requestId":"request-1","errorMessage":"bad","errorType":"Function<ArgumentError>","stackTrace":["`,
			},
		} {
			var name string
			p := run(t, func(ctx context.Context, api string) *exec.Cmd {
				cmd := command(ctx, in, api, task, "app.handler", "AWS_LAMBDA_LOG_FORMAT="+format)
				name = withFrames(t, cmd)
				return cmd
			})
			p.invoke(t, "{}")
			got := readFrames(t, name)
			if !slices.EqualFunc(got, want, func(g, w string) bool { return strings.HasPrefix(g, w) }) {
				t.Errorf("frames in %s = %q; want %q", format, got, want)
			}
			if out := p.out.String(); out != "printed\n" {
				t.Errorf("output beside the frames = %q", out)
			}
		}
	})
}

// TestFramesClosed: a wrapper that closed the descriptor is no reason to fail.
func TestFramesClosed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ family, handler, file, text string }{
		{"python", "app.handler", "app.py", "import logging, os\ndef handler(e, c):\n    logging.warning('logged')\n    return '" + runtimes.LogVariable + "' in os.environ\n"},
		{"nodejs", "index.handler", "index.js", "exports.handler = async () => { console.log('logged'); return '" + runtimes.LogVariable + "' in process.env; };"},
		{"ruby", "app.handler", "app.rb", "def handler(event:, context:)\n  puts 'logged'\n  ENV.key?('" + runtimes.LogVariable + "')\nend\n"},
	} {
		t.Run(c.family, func(t *testing.T) {
			in := newest(t, c.family)
			p := startIn(t, in, c.handler, write(t, map[string]string{c.file: c.text}), runtimes.LogVariable+"=62")
			if o := p.invoke(t, "{}"); string(o.Payload) != "false" || !strings.Contains(p.out.String(), "logged\n") {
				t.Errorf("result = %s; log %q", o.Payload, p.out.String())
			}
		})
	}
	p := startIn(t, newest(t, "java"), "example.Handlers::log", javaTask(t), runtimes.LogVariable+"=62")
	p.invoke(t, "{}")
	if got := p.out.String(); !strings.Contains(got, "logged\n") {
		t.Errorf("log = %q", got)
	}
}
