package runtimes_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/runner/runtimeapi"
	"github.com/lamina-run/lamina/runner/runtimes"
)

// javaLibraries returns AWS's jars that .ci/setup fetched.
func javaLibraries(t *testing.T) []string {
	t.Helper()
	jars, err := filepath.Glob(filepath.Join(cache(), "java", "*.jar"))
	if err != nil {
		t.Fatal(err)
	}
	if len(jars) < 5 {
		missing(t, "java", "AWS's libraries for Java are not in "+cache()+"; run .ci/setup")
	}
	return jars
}

// missing skips the test, or fails it where the family must be tested.
func missing(t *testing.T, family, why string) {
	t.Helper()
	testkit.Need(t, testkit.Probe{Name: family, Missing: func() string { return why }})
}

// compiled is the handlers, once for all tests.
var compiled struct {
	sync.Once
	task string
}

// javaTask returns the compiled handlers with the libraries that they use.
func javaTask(t *testing.T) string {
	t.Helper()
	jars := javaLibraries(t)
	interpreters(t)
	compiled.Do(func() { compiled.task = compileJava(t, jars) })
	if compiled.task == "" {
		t.Fatal("the handlers are not compiled")
	}
	return compiled.task
}

func compileJava(t *testing.T, jars []string) string {
	t.Helper()
	javac := filepath.Join(newest(t, "java").Prefix, "bin", "javac")
	if _, err := os.Stat(javac); err != nil {
		missing(t, "java", "no javac")
	}
	task := filepath.Join(installed.dir, "task")
	if err := os.Mkdir(task, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(task, "lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, jar := range jars {
		// AWS's own runtime client has these on its own class path.
		if strings.Contains(jar, "core") || strings.Contains(jar, "events") || strings.Contains(jar, "joda") {
			if err := os.Symlink(jar, filepath.Join(task, "lib", filepath.Base(jar))); err != nil {
				t.Fatal(err)
			}
		}
	}
	compile := func(dir, release string) {
		files, err := filepath.Glob(filepath.Join("testdata", dir, "example", "*.java"))
		if err != nil || len(files) == 0 {
			t.Fatalf("sources in %s: %v, %v", dir, files, err)
		}
		args := append([]string{"--release", release, "-Xlint:-options", "-encoding", "UTF-8", "-cp", strings.Join(jars, ":"), "-d", task}, files...)
		if out, err := exec.CommandContext(t.Context(), javac, args...).CombinedOutput(); err != nil {
			t.Fatalf("javac: %v\n%s", err, out)
		}
	}
	compile("java", "8")
	compile("records", "17")
	return task
}

// javaCases are handlers of the class example.Handlers, unless it is named, and
// what they get.
var javaCases = []struct{ handler, event string }{
	{"person", `{"name":"n","age":3,"boxed":4,"count":5000000000,"active":true,"flag":false,"ratio":1.5,"price":1.10,"letter":"x","size":"SMALL","tags":["a",null,"b"],` +
		`"numbers":[3,1,2],"addresses":{"home":{"street":"s","number":7}},"sizes":{"SMALL":1},"array":[{"street":"t"}],"ints":[1,2],"data":"aGVsbG8=","anything":{"a":[1,2.5]},` +
		`"URL":"u","XRay":"x","url":"no","xRay":"no","aB":"ab","onlyRead":"changed","filled":["f"],"item":{"street":"i"},"base":"b","unknown":{"x":1}}`},
	{"person", `{}`},
	{"person", `{"age":null,"boxed":null,"active":null,"letter":null,"tags":null}`},
	{"person", `{"age":"12","boxed":"","count":7.9,"active":"true","flag":1,"ratio":"2.5","letter":"","name":5,"size":1}`},
	{"person", `{"NAME":"upper","Age":1}`},
	{"person", `{"tags":"no list"}`},
	{"person", `{"age":"twelve"}`},
	{"person", `{"size":"MEDIUM"}`},
	{"person", `{"age":99999999999}`},
	{"person", `{"name":{"x":1}}`},
	{"person", `{"addresses":[1]}`},
	{"person", `[1]`},
	{"person", `"text"`},
	{"person", `null`},
	{"address", `{"street":"s","number":7,"ignored":"changed","hidden":"changed"}`},
	{"generic", `{"item":{"name":"n","item":{"number":3}},"base":"b"}`},
	{"map", `{"b":1,"a":{"x":[1,2.5,null,true,"é😀"]},"n":null,"long":5000000000,"huge":123456789012345678901234567890,"exp":1e3}`},
	{"map", `[1]`},
	{"any", `{"a":1}`},
	{"any", `[1,[2,{"b":null}]]`},
	{"any", `"text"`},
	{"any", `1.0`},
	{"type", `1`},
	{"type", `5000000000`},
	{"type", `1.5`},
	{"type", `{}`},
	{"type", `[]`},
	{"type", `null`},
	{"text", `"with \"quotes\", \\ and \u00fc \ud83d\ude00 \n\t\u0001 / é"`},
	{"text", `12`},
	{"text", `null`},
	{"integer", `42`},
	{"integer", `"42"`},
	{"integer", `4.7`},
	{"integer", `true`},
	{"number", `5000000000`},
	{"number", `null`},
	{"decimal", `3`},
	{"decimal", `1e400`},
	{"bool", `true`},
	{"bool", `"false"`},
	{"bool", `0`},
	{"size", `"SMALL"`},
	{"size", `"LARGE"`},
	{"list", `[{"street":"a"},{"number":2}]`},
	{"list", `{"street":"a"}`},
	{"wrapped", `"text"`},
	{"noDefault", `{"x":"y"}`},
	{"date", `1500000000000`},
	{"date", `"2017-07-14T02:40:00Z"`},
	{"date", `"2017-07-14T02:40:00.123+0200"`},
	{"fixed", `"x"`},
	{"empty", `{}`},
	{"special", `{}`},
	{"sqs", `{"Records":[{"messageId":"m","body":"b","attributes":{"SentTimestamp":"1"},"messageAttributes":{"k":{"stringValue":"v","dataType":"String"}},"eventSourceARN":"arn","awsRegion":"r"}]}`},
	{"sns", `{"Records":[{"EventVersion":"1.0","EventSource":"aws:sns","Sns":{"Timestamp":"2019-01-02T12:45:07.000Z","Message":"hello","TopicArn":"arn","MessageAttributes":{}}}]}`},
	{"kinesis", `{"Records":[{"kinesis":{"partitionKey":"k","data":"aGVsbG8=","approximateArrivalTimestamp":1545084650.987,"sequenceNumber":"1"},"eventSource":"aws:kinesis"}]}`},
	{"dynamodb", `{"Records":[{"eventName":"INSERT","eventSourceARN":"arn","dynamodb":{"Keys":{"Id":{"N":"101"}},"NewImage":{"Message":{"S":"new"}},"ApproximateCreationDateTime":1428537600}}]}`},
	{"s3", `{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"us-east-2","eventTime":"2019-09-03T19:37:27.192Z","eventName":"ObjectCreated:Put",` +
		`"userIdentity":{"principalId":"p"},"requestParameters":{"sourceIPAddress":"1.2.3.4"},"responseElements":{"x-amz-request-id":"D","x-amz-id-2":"v"},` +
		`"s3":{"s3SchemaVersion":"1.0","configurationId":"c","bucket":{"name":"b","ownerIdentity":{"principalId":"A"},"arn":"arn"},"object":{"key":"a+b%21","size":1305824,"eTag":"e","sequencer":"0"}}}]}`},
	{"scheduled", `{"version":"0","id":"i","detail-type":"Scheduled Event","source":"aws.events","account":"1","time":"1970-01-01T00:00:01Z","region":"r","resources":["a"],"detail":{"x":1}}`},
	{"gateway", `{"path":"/p","httpMethod":"GET","headers":{"Host":"h"},"body":"b","isBase64Encoded":true,"requestContext":{"identity":{"sourceIp":"1.1.1.1"}}}`},
	{"example.Records::point", `{"x":1,"y":2,"names":["a"],"unknown":1}`},
	{"example.Records::point", `{}`},
}

// javaDiffers are the cases in which this client's answer is not AWS's, and why.
var javaDiffers = map[string]string{}

// awsJavaTurn is whose turn it is to run AWS's client for Java.
var awsJavaTurn sync.Mutex

// waitForAWSJava waits until no other test runs AWS's client for Java. Each start of
// that writes its native library to the same file of /tmp anew, under the feet of
// those that have it mapped: they die of SIGSEGV.
func waitForAWSJava(t *testing.T) {
	t.Helper()
	awsJavaTurn.Lock()
	t.Cleanup(awsJavaTurn.Unlock) // after the processes of the test have ended
}

// awsJava runs AWS's own runtime client, in a test that waited for it.
func awsJava(t *testing.T, in runtimes.Interpreter, task, handler string) *process {
	jars := javaLibraries(t)
	return run(t, func(ctx context.Context, api string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, in.Path, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", strings.Join(slices.DeleteFunc(slices.Clone(jars), func(j string) bool {
			return strings.Contains(j, "events") || strings.Contains(j, "joda")
		}), ":"), "com.amazonaws.services.lambda.runtime.api.client.AWSLambda", handler)
		cmd.Dir = task
		cmd.Env = clientEnvironment(api, task, handler)
		return cmd
	})
}

// TestJavaMapper gives the same events to this client's mapper and to AWS's
// serializers, and expects the same results of both.
func TestJavaMapper(t *testing.T) {
	t.Parallel()
	jars := javaLibraries(t)
	task := javaTask(t)
	in := newest(t, "java")
	path := strings.Join(append([]string{task, filepath.Join(in.Client, "lamina-runtime.jar")}, jars...), ":")
	out := t.TempDir()
	compile := exec.CommandContext(t.Context(), filepath.Join(in.Prefix, "bin", "javac"), "--release", "17", "-cp", path, "-d", out,
		"testdata/compare/run/lamina/client/Compare.java")
	if text, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("javac: %v\n%s", err, text)
	}
	var input strings.Builder
	for _, c := range javaCases {
		handler := c.handler
		if !strings.HasPrefix(handler, "example.") {
			handler = "example.Handlers::" + handler
		}
		fmt.Fprintf(&input, "%s\t%s\n", handler, c.event)
	}
	cmd := exec.CommandContext(t.Context(), in.Path, "-XX:+UseSerialGC", "-cp", out+":"+path, "run.lamina.client.Compare")
	cmd.Env = []string{"TZ=UTC"}
	cmd.Stdin = strings.NewReader(input.String())
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("compare: %v\n%s", err, complaints.String())
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != len(javaCases) {
		t.Fatalf("%d answers to %d cases", len(lines), len(javaCases))
	}
	for i, c := range javaCases {
		var got struct{ Own, AWS string }
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			t.Fatalf("%s: %v", lines[i], err)
		}
		if want, differs := javaDiffers[c.handler+" "+c.event]; differs {
			if got.Own == got.AWS || got.Own != want {
				t.Errorf("%s(%s) = %s, AWS's %s; want %s here and another there", c.handler, c.event, got.Own, got.AWS, want)
			}
			continue
		}
		if got.Own != got.AWS || strings.HasPrefix(got.Own, "?") {
			t.Errorf("%s(%s)\n got %s\nwant %s", c.handler, c.event, got.Own, got.AWS)
		}
	}
}

// TestJavaAsAWS runs handlers under this client and under AWS's own runtime
// interface client, on the newest JDK, and expects the same of both.
func TestJavaAsAWS(t *testing.T) {
	t.Parallel()
	waitForAWSJava(t)
	task := javaTask(t)
	in := newest(t, "java")
	for _, c := range []struct {
		handler string
		events  []string
	}{
		{"example.Handlers::raise", []string{`{"text":"some error occurred"}`, `{}`, `[1]`}},
		{"example.Handlers::error", []string{`{}`}},
		{"example.Handlers::stream", []string{`{"raw" : 1}`}},
		{"example.Handlers::nothing", []string{`{}`}},
		{"example.Handlers::none", []string{`{}`}},
		{"example.Handlers::withContext", []string{`{}`}},
		{"example.Handlers::overloaded", []string{`"x"`}},
		{"example.Handlers::fixed", []string{`"x"`}},
		{"example.Handlers::cycle", []string{`{}`}},
		{"example.Typed", []string{`{"street":"s","number":1}`, `{"street":"raise"}`}},
		{"example.Streamed", []string{`{"a":"bc"}`}},
		{"example.Absent::run", nil},
		{"example.Handlers::absent", nil},
		{"example.Broken$Constructor::run", nil},
		{"example.Broken$Private::run", nil},
		{"example.Broken::run", nil},
	} {
		own := startIn(t, in, c.handler, task)
		aws := awsJava(t, in, task, c.handler)
		if c.events == nil {
			sameJava(t, c.handler, own.invoke(t, "{}"), aws.invoke(t, "{}"))
		}
		for _, event := range c.events {
			sameJava(t, c.handler+"("+event+")", own.invoke(t, event), aws.invoke(t, event))
		}
	}
}

func sameJava(t *testing.T, what string, got, want runtimeapi.Outcome) {
	t.Helper()
	if got.Kind != want.Kind || got.ErrorType != want.ErrorType {
		t.Errorf("%s = %v %s %s; AWS has %v %s %s", what, got.Kind, got.ErrorType, got.Payload, want.Kind, want.ErrorType, want.Payload)
		return
	}
	if want.Kind == runtimeapi.Responded {
		if !bytes.Equal(got.Payload, want.Payload) {
			t.Errorf("%s\n got %s\nwant %s", what, got.Payload, want.Payload)
		}
		return
	}
	var g, w failure
	if err := json.Unmarshal(got.Payload, &g); err != nil {
		t.Fatalf("%s: %v", got.Payload, err)
	}
	if err := json.Unmarshal(want.Payload, &w); err != nil {
		t.Fatal(err)
	}
	// Below the function's own frames are those of either client.
	w.StackTrace = slices.DeleteFunc(w.StackTrace, func(s string) bool {
		return strings.Contains(s, "reflect.") || strings.Contains(s, "java.lang.invoke") || strings.Contains(s, "runtime.api.client")
	})
	// The class of a mapper's exception is the mapper's own.
	if w.ErrorMessage == "An error occurred during JSON parsing" {
		w.ErrorType, g.ErrorType = "", ""
	}
	if diff := cmp.Diff(g, w, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-got +want):\n%s", what, diff)
	}
}

func newest(t *testing.T, family string) runtimes.Interpreter {
	t.Helper()
	var last runtimes.Interpreter
	for _, in := range interpreters(t) {
		if strings.HasPrefix(in.Runtime, family) {
			last = in
		}
	}
	if last.Path == "" {
		missing(t, family, "no interpreter")
	}
	return last
}

func TestJava(t *testing.T) {
	t.Parallel()
	eachInterpreter(t, "java", func(t *testing.T, in runtimes.Interpreter) {
		task := javaTask(t)
		p := startIn(t, in, "example.Handlers::context", task)
		var got map[string]any
		o := p.invoke(t, `{}`)
		if err := json.Unmarshal(o.Payload, &got); err != nil {
			t.Fatalf("%s: %v", o.Payload, err)
		}
		want := map[string]any{
			"id": "request-1", "arn": "arn:fn:alias", "name": "fn", "version": "$LATEST", "memory": 128.0, "group": "/aws/lambda/fn", "stream": "stream", "left": true,
			"identity": "null", "title": "t", "custom": map[string]any{"k": "v"}, "env": map[string]any{"e": "1"}, "trace": "Root=1-2-3",
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("context (-got +want):\n%s", diff)
		}

		p = startIn(t, in, "example.Handlers::log", task)
		p.invoke(t, `{}`)
		if got, want := p.out.String(), "printed\nlogged\n[WARN] with a level\nby the runtime\nto stderr\n"; got != want {
			t.Errorf("log = %q; want %q", got, want)
		}
		p = startIn(t, in, "example.Handlers::log", task, "AWS_LAMBDA_LOG_FORMAT=JSON", "AWS_LAMBDA_LOG_LEVEL=ERROR")
		p.invoke(t, `{}`)
		if got := p.out.String(); strings.Contains(got, "with a level") ||
			!regexp.MustCompile(`(?m)^\{"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z","message":"logged","level":"UNDEFINED","AWSRequestId":"request-1"\}$`).MatchString(got) {
			t.Errorf("JSON log = %s", got)
		}

		p = startIn(t, in, "example.Handlers::raise", task)
		o = p.invoke(t, `{"text":"some error occurred"}`)
		var f failure
		if err := json.Unmarshal(o.Payload, &f); err != nil {
			t.Fatal(err)
		}
		if f.ErrorType != "java.lang.IllegalStateException" || f.ErrorMessage != "some error occurred" || len(f.StackTrace) != 1 ||
			!strings.HasPrefix(f.StackTrace[0], "example.Handlers.raise(Handlers.java:") {
			t.Errorf("raise = %s", o.Payload)
		}
		if got := p.out.String(); !strings.Contains(got, "some error occurred: java.lang.IllegalStateException\njava.lang.IllegalStateException: some error occurred\n\tat example.Handlers.raise(") ||
			!strings.Contains(got, "Caused by: java.lang.RuntimeException: the cause\n") {
			t.Errorf("log = %s", got)
		}

		p = startIn(t, in, "example.Handlers::text", task)
		big := `"` + strings.Repeat("y", 6<<20-2) + `"`
		if o := p.invoke(t, big); len(o.Payload) != 6<<20 {
			t.Errorf("6 MiB event: result has %d bytes", len(o.Payload))
		}
		p = startIn(t, in, "example.Typed", task)
		for i := range 3 {
			if got, want := string(p.invoke(t, `{"number":1}`).Payload), fmt.Sprintf(`{"address":{"number":%d}}`, i+2); got != want {
				t.Errorf("Typed = %s; want %s", got, want)
			}
		}
	})
}

func TestJavaInitErrors(t *testing.T) {
	t.Parallel()
	eachInterpreter(t, "java", func(t *testing.T, in runtimes.Interpreter) {
		task := javaTask(t)
		// What is wrong with the handler's name each invocation tells, as on AWS.
		for _, c := range []struct {
			outcome                runtimeapi.Kind
			handler, kind, message string
		}{
			{runtimeapi.Failed, "example.Absent::run", "java.lang.ClassNotFoundException", "Class not found: example.Absent"},
			{runtimeapi.Failed, "example.Handlers::absent", "", "No public method named absent with appropriate method signature found on class example.Handlers"},
			{runtimeapi.Failed, "example.Handlers", "java.lang.Exception", "Class does not implement an appropriate handler interface: example.Handlers"},
			{runtimeapi.Failed, "example.Broken$Private::run", "java.lang.Exception", "Class example.Broken$Private has no public zero-argument constructor"},
			{runtimeapi.Failed, "example.Broken$Inner::run", "java.lang.Exception", "Class example.Broken$Inner cannot be instantiated because it is a non-static inner class"},
			{runtimeapi.InitFailed, "example.Broken$Constructor::run", "java.lang.IllegalArgumentException", "in the constructor"},
			{runtimeapi.InitFailed, "example.Broken::run", "java.lang.ExceptionInInitializerError", "Error loading class example.Broken"},
			{runtimeapi.Failed, "", "java.lang.ClassNotFoundException", "Invalid handler: `'"},
		} {
			p := startIn(t, in, c.handler, task)
			o := p.invoke(t, "{}")
			var f failure
			if err := json.Unmarshal(o.Payload, &f); err != nil {
				t.Fatalf("%s: %s: %v", c.handler, o.Payload, err)
			}
			if o.Kind != c.outcome || f.ErrorType != c.kind || f.ErrorMessage != c.message {
				t.Errorf("%s: %v %s: %s; want %v %s: %s", c.handler, o.Kind, f.ErrorType, f.ErrorMessage, c.outcome, c.kind, c.message)
			}
			if o.Kind == runtimeapi.InitFailed {
				if err := <-p.exit; err == nil {
					t.Errorf("%s: the process exited with 0", c.handler)
				}
			}
		}
	})
}

// TestJavaClientIsCurrent checks that the jar was made of the sources beside it,
// also where there is no compiler to make it again.
func TestJavaClientIsCurrent(t *testing.T) {
	t.Parallel()
	hash := sha256.New()
	err := filepath.WalkDir("java/client/src", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".java") {
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(hash, "%s %d\n%s", filepath.Base(path), len(data), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.OpenReader("java/lamina-runtime.jar")
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	f, err := z.Open("META-INF/MANIFEST.MF")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	manifest, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	if want := "Lamina-Source: " + hex.EncodeToString(hash.Sum(nil))[:32] + "\r\n"; !strings.Contains(string(manifest), want) {
		t.Errorf("manifest = %q; want %q in it: run go generate ./runner/runtimes", manifest, want)
	}
}
