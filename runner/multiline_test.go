package runner_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/testkit"
)

// multiline is a function of one runtime that prints and logs and fails, of what
// it makes an event each.
type multiline struct {
	family  string
	handler string
	files   map[string]string
	want    map[string][]string // by event; regular expressions
}

const (
	stampRE = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`
	idRE    = requestID
)

var multilines = []multiline{
	{"python", "app.handler", map[string]string{"app.py": `
import logging, os, sys
logging.getLogger().setLevel("INFO")
def handler(event, context):
    do = event["do"]
    if do == "print":
        print("one\ntwo")
        print("a\rb")
        print('{\n  "_aws": {}\n}')
        sys.stdout.write("no end")
    elif do == "log":
        print("before")
        logging.info("one\ntwo")
        print("between")
        try:
            1 / 0
        except ZeroDivisionError:
            logging.exception("caught")
        print("after")
        context.log("by the\ncontext\n")
        return "_LAMBDA_TELEMETRY_LOG_FD" in os.environ
    elif do == "raise":
        print("before")
        raise ValueError("bad\nvalue")
`}, map[string][]string{
		"print": {"one", "two", "a\rb", "{", `  "_aws": \{\}`, "}", "no end"},
		"log": {
			"before", `\[INFO\]\t` + stampRE + `\t` + idRE + `\tone\ntwo`, "between",
			`\[ERROR\]\t` + stampRE + `\t` + idRE + `\tcaught\nTraceback \(most recent call last\):\n  File "/var/task/app.py", line \d+, in handler\n    1 / 0\n(    ~~\^~~\n)?ZeroDivisionError: division by zero`,
			"after", "by the\ncontext",
		},
		"raise": {"before", `\[ERROR\] ValueError: bad\nvalue\nTraceback \(most recent call last\):\n\x{a0}\x{a0}File "/var/task/app.py", line \d+, in handler\n\x{a0}{4}raise ValueError\("bad\\nvalue"\)`},
	}},
	{"nodejs", "index.handler", map[string]string{"index.js": `
exports.handler = async (event) => {
  switch (event.do) {
    case 'print': process.stdout.write('one\ntwo\n'); process.stdout.write('a\rb\n'); process.stdout.write('no end'); return;
    case 'log':
      process.stdout.write('before\n'); console.log('one\ntwo'); process.stdout.write('between\n');
      console.error({ a: { b: { c: {} } }, long: 'x'.repeat(70) }); process.stdout.write('after\n');
      return '_LAMBDA_TELEMETRY_LOG_FD' in process.env;
    case 'raise': process.stdout.write('before\n'); throw new RangeError('bad\nvalue');
  }
};
`}, map[string][]string{
		"print": {"one", "two", "a\rb", "no end"},
		"log": {
			"before", stampRE + `\t` + idRE + `\tINFO\tone\ntwo`, "between",
			stampRE + `\t` + idRE + `\tERROR\t\{\n  a: \{ b: \{ c: \{\} \} \},\n  long: 'x+'\n\}`, "after",
		},
		"raise": {"before", stampRE + `\t` + idRE + `\tERROR\tInvoke Error \t\{"errorType":"RangeError","errorMessage":"bad\\nvalue","stack":\[.*\]\}`},
	}},
	{"ruby", "app.handler", map[string]string{"app.rb": `
require 'logger'
LOG = Logger.new($stdout)
def handler(event:, context:)
  case event['do']
  when 'print'
    $stdout.write("one\ntwo\n")
    print "a\rb\n"
    $stdout.puts "three\nfour"
    print 'no end'
    nil
  when 'log'
    print "before\n"
    LOG.info("one\ntwo")
    print "between\n"
    puts 'a', ['b', nil], "c\n"
    print "after\n"
    ENV.key?('_LAMBDA_TELEMETRY_LOG_FD')
  when 'raise'
    print "before\n"
    raise ArgumentError, "bad\nvalue"
  end
end
`}, map[string][]string{
		"print": {"one", "two", "a\rb", "three", "four", "no end"},
		"log":   {"before", `I, \[\S+ #\d+\]  INFO ` + idRE + ` -- : one\ntwo`, "between", "a\nb\n\nc", "after"},
		"raise": {"before", "Error raised from handler method", `\{\n  "errorMessage": "bad\\nvalue",\n  "errorType": "Function<ArgumentError>",\n  "stackTrace": \[\n    "/var/task/app.rb:.*"\n  \]\n\}`},
	}},
	{"java", "example.Handler::run", map[string]string{"example/Handler.java": `package example;
import com.amazonaws.services.lambda.runtime.*;
import java.util.*;
public class Handler {
    public Object run(Map<String, Object> event, Context context) {
        System.out.println("before");
        switch ((String) event.get("do")) {
            case "print": System.out.println("one\ntwo"); System.out.print("a\rb\n"); System.err.print("no end"); return null;
            case "log":
                context.getLogger().log("one\ntwo"); System.out.println("between");
                LambdaRuntime.getLogger().log("a\nb\n"); System.out.println("after");
                return System.getenv("_LAMBDA_TELEMETRY_LOG_FD");
            default: throw new IllegalStateException("bad\nvalue");
        }
    }
}
`}, map[string][]string{
		"print": {"before", "one", "two", "a\rb", "no end"},
		"log":   {"before", "one\ntwo", "between", "a\nb", "after"},
		"raise": {"before", `bad\nvalue: java.lang.IllegalStateException\njava.lang.IllegalStateException: bad\nvalue\n\tat example.Handler.run\(Handler.java:\d+\)\n`},
	}},
}

// cacheDir is where .ci/setup keeps what it fetched.
func cacheDir(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("LAMINA_TEST_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "lamina-test")
}

// fetched needs what .ci/setup fetched, for tests of a family of runtimes.
func fetched(t *testing.T, family string, path ...string) string {
	t.Helper()
	name := filepath.Join(append([]string{cacheDir(t)}, path...)...)
	testkit.Need(t, testkit.Probe{Name: family, Missing: func() string {
		if _, err := os.Stat(name); err != nil {
			return name + " is missing; run .ci/setup"
		}
		return ""
	}})
	return name
}

// compiled returns the class and the library of a Java function.
func compiled(t *testing.T, files map[string]string) map[string]string {
	t.Helper()
	testkit.Need(t, testkit.Java)
	core := fetched(t, "java", "java", "aws-lambda-java-core-1.4.0.jar")
	out, dir := map[string]string{}, t.TempDir()
	for name, text := range files {
		writeFile(t, filepath.Join(dir, name), text)
		if text, err := exec.CommandContext(t.Context(), "javac", "--release", "8", "-Xlint:-options", "-cp", core, filepath.Join(dir, name)).CombinedOutput(); err != nil {
			t.Fatalf("javac: %v\n%s", err, text)
		}
		class := strings.TrimSuffix(name, ".java") + ".class"
		out[class] = readFile(t, filepath.Join(dir, class))
	}
	out["lib/core.jar"] = readFile(t, core)
	return out
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// between are the events between START and END.
func (e *events) between(t *testing.T) []string {
	t.Helper()
	lines := e.list()
	start := slices.IndexFunc(lines, func(s string) bool { return strings.HasPrefix(s, "START ") })
	end := slices.IndexFunc(lines, func(s string) bool { return strings.HasPrefix(s, "END ") })
	if start < 0 || end < start {
		t.Fatalf("events = %q", lines)
	}
	return lines[start+1 : end]
}

func (e *events) list() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.lines)
}

func matches(got, want []string) bool {
	return slices.EqualFunc(got, want, func(g, w string) bool { return regexp.MustCompile("^(?s:" + w + ")$").MatchString(g) })
}

// check has the function do one thing, and looks at the stream and at the tail.
func (m *multiline) check(t *testing.T, h *host, log *events, v lamina.Version, do string) lamina.Result {
	t.Helper()
	v.Config.Timeout, v.Config.MemorySize = 30, 512
	log.clear()
	r := h.invoke(t, v, `{"do":"`+do+`"}`)
	got := log.between(t)
	if !matches(got, m.want[do]) {
		t.Errorf("events of %s =\n%q\nwant\n%q", do, got, m.want[do])
	}
	if tail := strings.Join(got, "\n") + "\n"; !strings.Contains(string(r.LogTail), "\n"+tail+"END ") {
		t.Errorf("tail of %s = %q; want %q in it", do, r.LogTail, tail)
	}
	return r
}

// TestMultiline: what a runtime client logs is one event of the log stream, in
// order with what is printed, of which each line is one.
func TestMultiline(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Python)
	log := &events{}
	var explicit []string
	if ruby, err := exec.LookPath("ruby"); err == nil {
		explicit = append(explicit, "ruby3.3="+ruby)
	}
	h := loggedHost(t, explicit, nil, log)
	found, _ := h.runtimes.Interpreters(t.Context())
	tested := map[string]bool{}
	for _, in := range slices.Backward(found) {
		family := lamina.RuntimeFamily(in.Runtime)
		at := slices.IndexFunc(multilines, func(m multiline) bool { return m.family == family })
		if at < 0 || (tested[family] && family != "python" && family != "nodejs") {
			continue
		}
		tested[family] = true
		t.Run(in.Runtime, func(t *testing.T) {
			m, files := multilines[at], multilines[at].files
			if family == "java" {
				files = compiled(t, files)
			}
			v := h.version(t, in.Runtime, m.handler, files)
			for _, do := range []string{"print", "log", "raise", "print"} {
				r := m.check(t, h, log, v, do)
				if want := map[string]string{"java": `"62"`}[family]; do == "log" && string(r.Payload) != orDefault(want, "false") {
					t.Errorf("the function's own variable = %s", r.Payload)
				}
			}
			h.Retire(v)
		})
	}
	for _, probe := range []testkit.Probe{testkit.Node, testkit.Ruby, testkit.Java} {
		if !tested[probe.Name] {
			testkit.Need(t, probe)
			t.Errorf("nothing tested of %s", probe.Name)
		}
	}
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// tree is the files below a directory, under another name.
func tree(t *testing.T, dir, name string, skip func(string) bool) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if rel := strings.TrimPrefix(path, dir); d.Type().IsRegular() && !skip(rel) {
			out[name+rel] = readFile(t, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestMultilineAsAWS: AWS's own runtime clients, which a wrapper starts in place
// of ours, find the descriptor.
func TestMultilineAsAWS(t *testing.T) {
	t.Parallel()
	log := &events{}
	h := loggedHost(t, nil, nil, log)
	wrapper := func(command string) string {
		return "#!/bin/sh\nset -e\ntest \"$_LAMBDA_TELEMETRY_LOG_FD\" = 62\nexec " + command + "\n"
	}
	none := func(string) bool { return false }
	for _, c := range []struct {
		family, stamp, runtime, wrapper string
		layer                           func(t *testing.T) map[string]string
		late                            bool // it logs an error after it has reported it
	}{
		{
			"python", "ric-python/.python", "python%s", "env PYTHONPATH=/opt/ric /var/lang/bin/python3 -m awslambdaric \"$_HANDLER\"",
			func(t *testing.T) map[string]string { return tree(t, fetched(t, "python", "ric-python"), "ric", none) }, false,
		},
		{
			"nodejs", "ric-node/.node", "nodejs%s.x", "/var/lang/bin/node /opt/ric/bin/index.mjs \"$_HANDLER\"",
			func(t *testing.T) map[string]string {
				return tree(t, fetched(t, "nodejs", "ric-node", "node_modules", "aws-lambda-ric"), "ric", func(name string) bool {
					return !strings.HasPrefix(name, "/bin/") && !strings.HasPrefix(name, "/dist/") && !strings.HasSuffix(name, "package.json")
				})
			}, false,
		},
		{
			"java", "", "java17", "/var/lang/bin/java --add-opens=java.base/java.io=ALL-UNNAMED -cp '/opt/ric/*' com.amazonaws.services.lambda.runtime.api.client.AWSLambda \"$_HANDLER\"",
			func(t *testing.T) map[string]string { return tree(t, fetched(t, "java", "java"), "ric", none) }, true,
		},
	} {
		t.Run(c.family, func(t *testing.T) {
			layer := c.layer(t)
			layer["bin/wrapper"] = wrapper(c.wrapper)
			runtime := c.runtime
			if c.stamp != "" {
				runtime = fmt.Sprintf(runtime, strings.TrimSpace(readFile(t, fetched(t, c.family, strings.Split(c.stamp, "/")...))))
			}
			m := multilines[slices.IndexFunc(multilines, func(m multiline) bool { return m.family == c.family })]
			files := m.files
			if c.family == "java" {
				files = compiled(t, files)
			}
			v := h.version(t, runtime, m.handler, files, layer)
			v.Config.Environment = map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bin/wrapper"}
			for _, do := range []string{"print", "log"} {
				m.check(t, h, log, v, do)
			}
			if !c.late {
				m.check(t, h, log, v, "raise")
				h.Retire(v)
				return
			}
			log.clear()
			h.invoke(t, v, `{"do":"raise"}`)
			h.invoke(t, v, `{"do":"print"}`) // before which the runtime was done with the former
			want := regexp.MustCompile("^" + m.want["raise"][1] + `(\tat java.*\n)*$`)
			if !slices.ContainsFunc(log.list(), want.MatchString) {
				t.Errorf("events of raise = %q; want %s among them", log.list(), want)
			}
			h.Retire(v)
		})
	}
}

// TestMultilineAsJSON: in JSON, too, events are the runtime client's, and the
// platform drops those below the function's level.
func TestMultilineAsJSON(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Python)
	testkit.Need(t, testkit.Node)
	log := &events{}
	h := loggedHost(t, nil, nil, log)
	node := ""
	found, _ := h.runtimes.Interpreters(t.Context())
	for _, in := range found {
		if lamina.RuntimeFamily(in.Runtime) == "nodejs" {
			node = in.Runtime
		}
	}
	for _, c := range []struct {
		runtime, handler string
		files            map[string]string
		want             []string
	}{
		{h.python(t), "app.handler", map[string]string{"app.py": `
import logging
def handler(event, context):
    logging.getLogger().setLevel("DEBUG")
    logging.info("quiet\nas can be")
    logging.warning("one\ntwo")
    print("a\nb")
    context.log("c\nd")
    raise ValueError("bad\nvalue")
`}, []string{`\{.*"level": "WARNING", "message": "one\\ntwo".*\}`, "a", "b", "c\nd", `\{.*"level": "ERROR", "errorMessage": "bad\\nvalue".*\}`}},
		{node, "index.handler", map[string]string{"index.js": `
exports.handler = async () => {
  console.info('quiet\nas can be'); console.warn('one\ntwo'); process.stdout.write('a\nb\n'); throw new RangeError('bad\nvalue');
};
`}, []string{`\{.*"level":"WARN".*"message":"one\\ntwo"\}`, "a", "b", `\{.*"level":"ERROR".*"errorMessage":"bad\\nvalue".*\}`}},
	} {
		v := h.version(t, c.runtime, c.handler, c.files)
		v.Config.Logging.Format, v.Config.Logging.ApplicationLevel, v.Config.Logging.SystemLevel = "JSON", "WARN", "WARN"
		log.clear()
		h.invoke(t, v, "{}")
		want := append(c.want, ".*platform.runtimeDone.*", ".*platform.report.*")
		if got := log.list(); !matches(got, want) {
			t.Errorf("%s: events =\n%q\nwant\n%q", c.runtime, got, want)
		}
	}
}
