package runner_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/runner"
	"github.com/lamina-run/lamina/runner/runtimes"
)

// languageHost is a host with interpreters or libraries of the test's choice.
func languageHost(t *testing.T, explicit, libraries []string) *host {
	t.Helper()
	return loggedHost(t, explicit, libraries, nil)
}

// loggedHost is one that logs, too.
func loggedHost(t *testing.T, explicit, libraries []string, logs runner.Logs) *host {
	t.Helper()
	set, err := runtimes.New(runtimes.Config{
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Dir: filepath.Join(t.TempDir(), "runtimes"), Explicit: explicit, Libraries: libraries,
		Getenv: os.Getenv, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, func(o *runner.Options) { o.Runtimes, o.Logs = set, logs })
	h.runtimes = set
	return h
}

// TestGoFunction runs a function on aws-lambda-go, built here, in both of the
// provided runtimes.
func TestGoFunction(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	program := filepath.Join(t.TempDir(), "bootstrap")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "lambda.norpc", "-o", program, ".")
	build.Dir = filepath.Join("testdata", "golang")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, runtime := range []string{"provided.al2023", "provided.al2"} {
		v := h.version(t, runtime, "any", map[string]string{"bootstrap": string(data)})
		wantPayload(t, h.invoke(t, v, `{}`), "", fmt.Sprintf(`{"arn":%q,"deadline":true,"id":"7d7b3d6c-9f0e-4b3e-8a52-0123456789ab","memory":"128","name":%q}`,
			v.Function.ARN(), v.Function.Name))
		wantPayload(t, h.invoke(t, v, `{"do":"raise"}`), "Unhandled", `{"errorMessage":"some error occurred","errorType":"errorString"}`)
		wantPayload(t, h.invoke(t, v, `{"do":"stream"}`), "", "one two three")
		r := h.invoke(t, v, `{"do":"panic"}`)
		if r.FunctionError != lamina.Unhandled || !bytes.Contains(r.Payload, []byte(`"errorMessage":"at the function"`)) {
			t.Errorf("%s: panic = %s %s", runtime, r.FunctionError, r.Payload)
		}
		wantPayload(t, h.invoke(t, v, `{"do":"stream"}`), "", "one two three") // a new process, after the panic
	}
}

// TestShellBootstrap runs the custom runtime of AWS's tutorial, in spirit: a
// shell script with curl, here from a layer.
func TestShellBootstrap(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	testkit.Need(t, testkit.Probe{Name: "curl", Missing: func() string {
		if _, err := os.Stat("/usr/bin/curl"); err != nil {
			return "no /usr/bin/curl, which functions see too"
		}
		return ""
	}})
	bootstrap := `#!/bin/sh
set -eu
. "$LAMBDA_TASK_ROOT/$(echo "$_HANDLER" | cut -d. -f1).sh"
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation
while true; do
	head=$(mktemp)
	event=$(curl -sS -LD "$head" "$api/next")
	id=$(grep -Fi Lambda-Runtime-Aws-Request-Id "$head" | tr -d '[:space:]' | cut -d: -f2)
	if answer=$($(echo "$_HANDLER" | cut -d. -f2) "$event"); then
		curl -sS "$api/$id/response" -d "$answer" >/dev/null
	else
		curl -sS "$api/$id/error" -d '{"errorMessage":"it failed","errorType":"Failed"}' --header "Lambda-Runtime-Function-Error-Type: Unhandled" >/dev/null
	fi
done
`
	for _, runtime := range []string{"provided.al2023", "provided.al2"} {
		v := h.version(t, runtime, "function.handler", map[string]string{"function.sh": "handler() {\n  echo \"got $1\" >&2\n  [ \"$1\" != '\"fail\"' ] && echo \"{\\\"event\\\":$1}\"\n}\n"},
			map[string]string{"bootstrap": bootstrap})
		r := h.invoke(t, v, `{"a":1}`)
		wantPayload(t, r, "", `{"event":{"a":1}}`)
		if !bytes.Contains(r.LogTail, []byte("got {\"a\":1}\n")) {
			t.Errorf("%s: tail = %q", runtime, r.LogTail)
		}
		wantPayload(t, h.invoke(t, v, `"fail"`), "Unhandled", `{"errorMessage":"it failed","errorType":"Failed"}`)
	}
}

func TestRubyFunction(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Ruby)
	ruby, err := exec.LookPath("ruby")
	if err != nil {
		t.Fatal(err)
	}
	gems := t.TempDir()
	for name, text := range map[string]string{
		"specifications/shown-1.0.0.gemspec": `Gem::Specification.new { |s| s.name = "shown"; s.version = "1.0.0"; s.summary = "x"; s.authors = ["x"]; s.require_paths = ["lib"] }`,
		"gems/shown-1.0.0/lib/shown.rb":      "SHOWN = 'by the operator'\n",
	} {
		writeFile(t, filepath.Join(gems, name), text)
	}
	// Whatever Ruby this is: the operator says that it shall do.
	h := languageHost(t, []string{"ruby3.3=" + ruby}, []string{"ruby=" + gems})
	v := h.version(t, "ruby3.3", "app.Handler.process", map[string]string{
		"app.rb": `
require 'shared'
require 'logger'
require 'vendored'
require 'shown'
class Handler
  def self.process(event:, context:)
    case event['do']
    when 'raise' then raise ArgumentError, 'bad'
    when 'write' then File.write('/tmp/x', 'y'); File.read('/tmp/x')
    when 'log' then Logger.new($stdout).info('informed'); puts 'printed'; nil
    else { shared: SHARED, vendored: VENDORED, shown: SHOWN, arn: context.invoked_function_arn, version: RUBY_VERSION.split('.').first, dir: Dir.pwd, program: RbConfig.ruby.empty? }
    end
  end
end
`, "vendor/bundle/ruby/3.3.0/specifications/vendored-1.0.0.gemspec": `Gem::Specification.new { |s| s.name = "vendored"; s.version = "1.0.0"; s.summary = "x"; s.authors = ["x"]; s.require_paths = ["lib"] }`,
		"vendor/bundle/ruby/3.3.0/gems/vendored-1.0.0/lib/vendored.rb": "VENDORED = 'in the archive'\n",
	},
		map[string]string{"ruby/lib/shared.rb": "SHARED = 'in a layer'\n"})
	wantPayload(t, h.invoke(t, v, `{}`), "", `{"shared":"in a layer","vendored":"in the archive","shown":"by the operator","arn":"`+v.Function.ARN()+`","version":"3","dir":"/var/task","program":false}`)
	r := h.invoke(t, v, `{"do":"raise"}`)
	if want := regexp.MustCompile("^\\{\"errorMessage\":\"bad\",\"errorType\":\"Function<ArgumentError>\",\"stackTrace\":\\[\"/var/task/app.rb:9:in [`'].*process'\"\\]\\}$"); !want.Match(r.Payload) || r.FunctionError != "Unhandled" {
		t.Errorf("raise = %s %s; want %s", r.FunctionError, r.Payload, want)
	}
	wantPayload(t, h.invoke(t, v, `{"do":"write"}`), "", `"y"`)
	r = h.invoke(t, v, `{"do":"log"}`)
	if want := regexp.MustCompile(`(?m)^I, \[[\d:.T-]+ #\d+\]  INFO 7d7b3d6c-9f0e-4b3e-8a52-0123456789ab -- : informed\nprinted\n`); !want.Match(r.LogTail) {
		t.Errorf("tail = %q; want %s", r.LogTail, want)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestJavaFunction runs each JDK of the machine in a sandbox, with a class from
// a layer, and looks whether the archived classes are used.
func TestJavaFunction(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Java)
	javac, err := exec.LookPath("javac")
	if err != nil {
		t.Fatal(err)
	}
	sources, out := t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(sources, "Shared.java"), "package shared;\npublic class Shared { public static String name() { return \"in a layer\"; } }\n")
	writeFile(t, filepath.Join(sources, "Handler.java"), `package example;
import java.util.*;
public class Handler {
    public Map<String, Object> run(Map<String, Object> event) throws Exception {
        if ("raise".equals(event.get("do"))) throw new IllegalStateException("bad");
        Map<String, Object> out = new TreeMap<>(event);
        out.put("shared", shared.Shared.name());
        out.put("mine", System.getProperty("mine"));
        out.put("home", System.getProperty("java.home"));
        out.put("dir", System.getProperty("user.dir"));
        out.put("heap", Runtime.getRuntime().maxMemory() >> 20);
        out.put("env", System.getenv("AWS_EXECUTION_ENV"));
        java.nio.file.Files.write(java.nio.file.Paths.get("/tmp/x"), new byte[] {1});
        return out;
    }
}
`)
	compile := exec.CommandContext(t.Context(), javac, "--release", "8", "-Xlint:-options", "-d", out, filepath.Join(sources, "Shared.java"), filepath.Join(sources, "Handler.java"))
	if text, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("javac: %v\n%s", err, text)
	}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var jar bytes.Buffer
	z := zip.NewWriter(&jar)
	w, err := z.Create("shared/Shared.class")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(read("shared/Shared.class"))); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	h := newHost(t, nil)
	found, _ := h.runtimes.Interpreters(t.Context())
	n := 0
	for _, in := range found {
		if lamina.RuntimeFamily(in.Runtime) != "java" {
			continue
		}
		n++
		v := h.version(t, in.Runtime, "example.Handler::run", map[string]string{"example/Handler.class": read("example/Handler.class")},
			map[string]string{"java/lib/shared.jar": jar.String()})
		v.Config.MemorySize, v.Config.Timeout = 512, 60
		v.Config.Environment = map[string]string{"JAVA_TOOL_OPTIONS": "-Dmine=1"}
		var got map[string]any
		r := h.invoke(t, v, `{"a":1}`)
		if err := json.Unmarshal(r.Payload, &got); err != nil {
			t.Fatalf("%s: %s\n%s", in.Runtime, r.Payload, r.LogTail)
		}
		for name, want := range map[string]any{"a": 1.0, "shared": "in a layer", "mine": "1", "home": "/var/lang", "dir": "/var/task", "env": "AWS_Lambda_" + in.Runtime} {
			if got[name] != want {
				t.Errorf("%s: %s = %v; want %v", in.Runtime, name, got[name], want)
			}
		}
		if heap, ok := got["heap"].(float64); !ok || heap < 400 || heap > 440 {
			t.Errorf("%s: heap = %v MB; want 85 %% of 512", in.Runtime, got["heap"])
		}
		r = h.invoke(t, v, `{"do":"raise"}`)
		if want := `{"errorMessage":"bad","errorType":"java.lang.IllegalStateException","stackTrace":["example.Handler.run(Handler.java:5)"]}`; string(r.Payload) != want {
			t.Errorf("%s: raise = %s; want %s", in.Runtime, r.Payload, want)
		}
		h.Retire(v)
	}
	if n == 0 {
		t.Fatal("no JDK found, though there is a javac")
	}

	// The newest can archive classes; then the client's come from there.
	last := found[0].Runtime
	for _, in := range found {
		if lamina.RuntimeFamily(in.Runtime) == "java" {
			last = in.Runtime
		}
	}
	v := h.version(t, last, "example.Handler::run", map[string]string{"example/Handler.class": read("example/Handler.class"), "shared/Shared.class": read("shared/Shared.class")})
	v.Config.MemorySize, v.Config.Timeout = 512, 60
	v.Config.Environment = map[string]string{"JAVA_TOOL_OPTIONS": "-Xlog:class+load:stdout"}
	r := h.invoke(t, v, `{}`)
	if want := regexp.MustCompile(`run\.lamina\.client\.\S+ source: shared objects file \(top\)`); !want.Match(r.LogTail) {
		t.Errorf("tail = %s; want %s in it", r.LogTail, want)
	}
}

// TestLibraries: what the operator shows beside a runtime is found after what
// the function brought itself.
func TestLibraries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "py/boto9/__init__.py"), "name = 'the operator'\n")
	writeFile(t, filepath.Join(dir, "py/both.py"), "name = 'the operator'\n")
	writeFile(t, filepath.Join(dir, "js/sdk/index.js"), "exports.name = 'the operator';\n")
	writeFile(t, filepath.Join(dir, "js/both/index.js"), "exports.name = 'the operator';\n")
	h := languageHost(t, nil, []string{"python=" + filepath.Join(dir, "py"), "nodejs=" + filepath.Join(dir, "js")})
	v := h.version(t, h.python(t), "app.handler", map[string]string{
		"app.py": "import boto9, both\ndef handler(e, c):\n    return [boto9.name, both.name]\n", "both.py": "name = 'the function'\n",
	})
	wantPayload(t, h.invoke(t, v, `{}`), "", `["the operator", "the function"]`)
	testkit.Need(t, testkit.Node)
	found, _ := h.runtimes.Interpreters(t.Context())
	for _, in := range found {
		if lamina.RuntimeFamily(in.Runtime) != "nodejs" {
			continue
		}
		v := h.version(t, in.Runtime, "index.handler", map[string]string{
			"index.js": "exports.handler = async () => [require('sdk').name, require('both').name, process.execArgv];", "node_modules/both/index.js": "exports.name = 'the function';",
		})
		r := h.invoke(t, v, `{}`)
		if !strings.HasPrefix(string(r.Payload), `["the operator","the function",[`) {
			t.Errorf("%s: %s", in.Runtime, r.Payload)
		}
	}
}
