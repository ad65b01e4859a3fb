package runtimes_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina/runner/runtimeapi"
	"github.com/lamina-run/lamina/runner/runtimes"
)

const rubyHandler = `
require 'logger'
$n = 0
class Custom < StandardError; end
def handler(event:, context:)
  $n += 1
  case event['do']
  when 'context'
    { id: context.aws_request_id, arn: context.invoked_function_arn, name: context.function_name, memory: context.memory_limit_in_mb,
      version: context.function_version, group: context.log_group_name, stream: context.log_stream_name,
      left: context.get_remaining_time_in_millis.between?(1, 3000), client: context.client_context, trace: ENV['_X_AMZN_TRACE_ID'] }
  when 'raise' then raise Custom, 'some error occurred'
  when 'name' then no_such_thing
  when 'exit' then exit(3)
  when 'text' then 'ü😀'
  when 'io' then StringIO.new('as it is')
  when 'log'
    puts "printed\nline"
    Logger.new($stdout).warn('warned')
    Logger.new($stderr, progname: 'p').info { 'informed' }
    nil
  when 'size' then 'x' * event['n']
  when 'count' then $n
  else event
  end
end
module Deep
  class Handler
    def self.process(event:, context:) = ['class method', event]
  end
end
`

func TestRuby(t *testing.T) {
	t.Parallel()
	eachInterpreter(t, "ruby", func(t *testing.T, in runtimes.Interpreter) {
		files := map[string]string{"app.rb": rubyHandler, "lib/nested.rb": "def run(event:, context:) = 'nested'\n"}
		p := start(t, in, "app.handler", files)
		for event, want := range map[string]string{
			`{"a": [1, 2.5, null, "ü"]}`: `{"a":[1,2.5,null,"ü"]}`,
			`{"do":"context"}`: `{"id":"request-N","arn":"arn:fn:alias","name":"fn","memory":"128","version":"$LATEST","group":"/aws/lambda/fn","stream":"stream",
				"left":true,"client":{"client":{"app_title":"t"},"custom":{"k":"v"},"env":{"e":"1"}},"trace":"Root=1-2-3"}`,
			`{"do":"text"}`: `"ü😀"`,
		} {
			o := p.invoke(t, event)
			var g, w any
			if err := json.Unmarshal(o.Payload, &g); err != nil {
				t.Fatalf("%s: %v", o.Payload, err)
			}
			if err := json.Unmarshal([]byte(strings.ReplaceAll(want, "request-N", fmt.Sprintf("request-%d", p.n))), &w); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(g, w); diff != "" || o.Kind != runtimeapi.Responded {
				t.Errorf("%s (-got +want):\n%s", event, diff)
			}
		}
		if got := string(p.invoke(t, `{"do":"io"}`).Payload); got != "as it is" {
			t.Errorf("io = %s", got)
		}

		o := p.invoke(t, `{"do":"raise"}`)
		var f failure
		if err := json.Unmarshal(o.Payload, &f); err != nil {
			t.Fatal(err)
		}
		if o.Kind != runtimeapi.Failed || f.ErrorType != "Function<Custom>" || f.ErrorMessage != "some error occurred" || o.ErrorType != "Function<UserException>" ||
			len(f.StackTrace) == 0 || !regexp.MustCompile("^/.*/app.rb:12:in [`'].*handler'$").MatchString(f.StackTrace[0]) || strings.Contains(fmt.Sprint(f.StackTrace), "bootstrap.rb") {
			t.Errorf("raise = %v %s", o.ErrorType, o.Payload)
		}
		if got := p.out.String(); !strings.Contains(got, "Error raised from handler method\n{\n  \"errorMessage\": \"some error occurred\",\n") {
			t.Errorf("log = %s", got)
		}

		p.invoke(t, `{"do":"log"}`)
		id := fmt.Sprintf("request-%d", p.n)
		want := regexp.MustCompile(`(?m)^printed\nline\nW, \[\d{4}-\d\d-\d\dT[\d:.]+ #\d+\]  WARN ` + id + ` -- : warned\nI, \[\d{4}-\d\d-\d\dT[\d:.]+ #\d+\]  INFO ` + id + ` -- p: informed\n`)
		if !want.MatchString(p.out.String()) {
			t.Errorf("log = %q; want %s in it", p.out.String(), want)
		}
		if o := p.invoke(t, `{"do":"size","n":6291555}`); o.Kind != runtimeapi.TooLarge {
			t.Errorf("6291557 bytes: kind = %v; want TooLarge", o.Kind)
		}
		big := `{"x":"` + strings.Repeat("y", 6<<20-8) + `"}`
		if o := p.invoke(t, big); len(o.Payload) != 6<<20 {
			t.Errorf("6 MiB event: result has %d bytes", len(o.Payload))
		}
		if got, want := string(p.invoke(t, `{"do":"count"}`).Payload), fmt.Sprint(p.n); got != want {
			t.Errorf("count = %s; want %s", got, want)
		}
		f = parse(t, p.invoke(t, `{"do":"name"}`))
		if f.ErrorType != "Function<NameError>" {
			t.Errorf("name = %+v", f)
		}
		if err := <-p.exit; err == nil || err.Error() != "exit status 255" {
			t.Errorf("exit after a NameError = %v", err)
		}

		p = start(t, in, "app.handler", files)
		if f := parse(t, p.invoke(t, `{"do":"exit"}`)); f.ErrorType != "Function<SystemExit>" || f.ErrorMessage != "exit" {
			t.Errorf("exit = %+v", f)
		}
		for _, c := range []struct{ handler, event, want string }{
			{"app.Deep::Handler.process", `[1]`, `["class method",[1]]`},
			{"lib/nested.run", `{}`, `"nested"`},
		} {
			if got := string(start(t, in, c.handler, files).invoke(t, c.event).Payload); got != c.want {
				t.Errorf("%s = %s; want %s", c.handler, got, c.want)
			}
		}
	})
}

func TestRubyInitErrors(t *testing.T) {
	t.Parallel()
	eachInterpreter(t, "ruby", func(t *testing.T, in runtimes.Interpreter) {
		for _, c := range []struct{ handler, source, kind, message string }{
			{"absent.handler", "", "Init<LoadError>", "cannot load such file -- absent"},
			{"app.handler", "require 'nothing_of_that_name'", "Init<LoadError>", "cannot load such file -- nothing_of_that_name"},
			{"app", "", "Init<ArgumentError>", "Invalid handler [\"app\"], must be of form FILENAME.METHOD"},
			{"app.handler", "def (", "Init<SyntaxError>", ""},
			{"app.handler", "raise 'at start'", "Init<RuntimeError>", "at start"},
		} {
			p := start(t, in, c.handler, map[string]string{"app.rb": c.source})
			o := p.wait(t)
			var f failure
			if err := json.Unmarshal(o.Payload, &f); err != nil {
				t.Fatal(err)
			}
			if o.Kind != runtimeapi.InitFailed || f.ErrorType != c.kind || !strings.HasPrefix(f.ErrorMessage, c.message) {
				t.Errorf("%s %q: %s: %s; want %s: %s", c.handler, c.source, f.ErrorType, f.ErrorMessage, c.kind, c.message)
			}
			if err := <-p.exit; err == nil {
				t.Errorf("%s: the process exited with 0", c.handler)
			}
		}
		p := start(t, in, "app.handler", map[string]string{"app.rb": "require 'logger'\nL = Logger.new($stdout)\nL.info('quiet')\ndef handler(event:, context:)\n" +
			"  L.error('loud')\n  begin; raise 'x'; rescue => e; L.error(e); end\n  raise ArgumentError, 'bad'\nend\n"},
			"AWS_LAMBDA_LOG_FORMAT=JSON", "AWS_LAMBDA_LOG_LEVEL=WARN")
		p.invoke(t, "{}")
		lines := strings.Split(strings.TrimSpace(p.out.String()), "\n")
		if len(lines) != 3 {
			t.Fatalf("JSON log = %q; want three lines", lines)
		}
		for i, want := range []map[string]any{
			{"level": "ERROR", "message": "loud", "requestId": "request-1"},
			{"level": "ERROR", "message": "x", "requestId": "request-1", "errorType": "RuntimeError", "errorMessage": "x"},
			{"level": "ERROR", "errorType": "Function<ArgumentError>", "errorMessage": "bad", "requestId": "request-1"},
		} {
			var got map[string]any
			if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
				t.Fatalf("%s: %v", lines[i], err)
			}
			for k, v := range want {
				if got[k] != v {
					t.Errorf("line %d: %s = %v; want %v", i, k, got[k], v)
				}
			}
		}
	})
}
