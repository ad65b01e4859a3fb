package bench

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lamina-run/lamina/internal/testkit"
)

const (
	layersOfFunction = 5
	coldTurns        = 5 // first invocations in a round
)

// language is a runtime, and a function in it whose answer tells what its layers hold.
type language struct {
	name, runtime string
	needs         testkit.Probe
	bound         float64 // of the first invocation
	handler       string
	source        func(layers int) testkit.File
	layer         func(i int, text string) testkit.File // as it is in the zip of a layer
	flat          func(i int) string                    // where a bare interpreter finds that file, below its task
	bare          func(t *testing.T, s *testkit.Server, task string) *exec.Cmd
}

var python = language{
	name: "Python", runtime: pythonName, needs: testkit.Python, bound: 1.2, handler: "app.handler",
	source: func(layers int) testkit.File {
		var names, values []string
		for i := range layers {
			names, values = append(names, fmt.Sprintf("m%d", i)), append(values, fmt.Sprintf(", m%d.X", i))
		}
		imports := ""
		if layers > 0 {
			imports = "import " + strings.Join(names, ", ") + "\n\n"
		}
		return testkit.File{Name: "app.py", Body: imports + "def handler(event, context):\n    return [event" + strings.Join(values, "") + "]\n"}
	},
	layer: func(i int, text string) testkit.File {
		return testkit.File{Name: fmt.Sprintf("python/m%d.py", i), Body: "X = '" + text + "'\n"}
	},
	flat: func(i int) string { return fmt.Sprintf("m%d.py", i) },
	bare: barePython,
}

var node = language{
	name: "Node.js", runtime: nodeName, needs: testkit.Node, bound: 1.15, handler: "app.handler",
	source: func(layers int) testkit.File {
		values := ""
		for i := range layers {
			values += fmt.Sprintf(", require('m%d').X", i)
		}
		return testkit.File{Name: "app.js", Body: "const all = [" + strings.TrimPrefix(values, ", ") + "];\nexports.handler = async (event) => [event, ...all];\n"}
	},
	layer: func(i int, text string) testkit.File {
		return testkit.File{Name: fmt.Sprintf("nodejs/node_modules/m%d/index.js", i), Body: "exports.X = '" + text + "';\n"}
	},
	flat: func(i int) string { return fmt.Sprintf("node_modules/m%d/index.js", i) },
	bare: bareNode,
}

// firstInvoke measures the first invocation of a function with five layers, each
// round of a new function with new layers, against starting the same interpreter
// with the same runtime client, options and files as a bare process.
func firstInvoke(t *testing.T, figures *[]*figure, of language) {
	testkit.Need(t, testkit.Sandbox, of.needs)
	s := start(t)
	l := dial(t, s.URL)
	f := &figure{
		name: fmt.Sprintf("first invoke, %s with %d layers", of.name, layersOfFunction), baseline: "bare interpreter and client",
		unit: time.Millisecond, bound: of.bound,
	}
	*figures = append(*figures, f)
	for round := range *rounds + 1 {
		app := of.source(layersOfFunction)
		files := map[string]string{app.Name: app.Body}
		var layers []string
		for i := range layersOfFunction {
			file := of.layer(i, fmt.Sprintf("%d in round %d", i, round))
			files[of.flat(i)] = file.Body
			layers = append(layers, publishLayer(t, s, l, fmt.Sprintf("layer-%d-%d", round, i), testkit.Zip(t, file)))
		}
		name := fmt.Sprintf("first-%d", round)
		createFunction(t, s, l, function{name: name, runtime: of.runtime, handler: of.handler, zip: testkit.Zip(t, app), layers: layers})
		want := fmt.Sprintf("%d in round %d", layersOfFunction-1, round)
		var ours, theirs []time.Duration
		for turn := range coldTurns {
			if turn > 0 { // a new environment: those of an older configuration are not used any more
				call(t, s, l, http.MethodPut, "/2015-03-31/functions/"+name+"/configuration", map[string]any{"Description": fmt.Sprint(turn)}, nil)
				await(t, s, l, name)
			}
			settle()
			answer, took := l.send(t, sign(t, s, http.MethodPost, "/2015-03-31/functions/"+name+"/invocations", []byte(`{"a":1}`)))
			if !strings.Contains(string(answer), want) {
				t.Fatalf("the function answered %s; want it to name %q", answer, want)
			}
			ours = append(ours, took)
			settle()
			answer, took = bare(t, s, of, files)
			if !strings.Contains(string(answer), want) {
				t.Fatalf("the bare interpreter answered %s; want it to name %q", answer, want)
			}
			theirs = append(theirs, took)
		}
		call(t, s, l, http.MethodDelete, "/2015-03-31/functions/"+name, nil, nil)
		if round > 0 { // the first pages the interpreter in, for both
			f.add(percentile(ours, 50), percentile(theirs, 50))
		}
	}
	s.Stop()
}

// settle lets what runs in the background after a request come to its end, so that
// it is not measured with the next.
func settle() { time.Sleep(300 * time.Millisecond) }

// bare runs the interpreter that the server found, with the client that it gives
// to functions, and returns the response and the time from before the start to its
// arrival.
func bare(t *testing.T, s *testkit.Server, of language, files map[string]string) ([]byte, time.Duration) {
	t.Helper()
	task := t.TempDir()
	for name, text := range files {
		path := filepath.Join(task, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	response := make(chan []byte, 1) // one send by the handler below
	mux := http.NewServeMux()
	next := 0
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, req *http.Request) {
		if next++; next > 1 {
			<-req.Context().Done()
			return
		}
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", "00000000-0000-4000-8000-000000000000")
		w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(30*time.Second).UnixMilli()))
		w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:000000000000:function:bare")
		_, _ = io.WriteString(w, `{"a":1}`) // the process is gone: the response will not come
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			body = []byte(err.Error())
		}
		response <- body
		w.WriteHeader(http.StatusAccepted)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	api := &http.Server{Handler: mux}
	go func() { _ = api.Serve(l) }() // ends with Close
	defer api.Close()

	cmd := of.bare(t, s, task)
	cmd.Dir = task
	cmd.Env = append(cmd.Env,
		"AWS_LAMBDA_RUNTIME_API="+l.Addr().String(), "LAMBDA_TASK_ROOT="+task, "_HANDLER="+of.handler,
		"LANG=en_US.UTF-8", "TZ=:UTC", "PATH=/usr/bin:/bin", "AWS_LAMBDA_FUNCTION_NAME=bare", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128", "AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/bare", "AWS_LAMBDA_LOG_STREAM_NAME=s",
	)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = time.Second
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var body []byte
	select {
	case body = <-response:
	case <-time.After(30 * time.Second):
	}
	took := time.Since(began)
	_ = cmd.Process.Kill() // it waits for a second invocation
	_ = cmd.Wait()         // it was killed
	if body == nil {
		t.Fatalf("the bare interpreter does not answer:\n%s", output.String())
	}
	return body, took
}

// client is where the server keeps its runtime client of a runtime, and what it
// noted about the interpreter, by line.
func client(t *testing.T, s *testkit.Server, runtime string) (dir string, interpreter []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.Data, "runtime", runtime+"-*", ".interpreter"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no runtime client of %s in %s: %v", runtime, s.Data, err)
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(found[0]), strings.Split(string(text), "\n")
}

// barePython is the process that a function gets, but for the sandbox.
func barePython(t *testing.T, s *testkit.Server, _ string) *exec.Cmd {
	dir, interpreter := client(t, s, pythonName) // version, prefix, program, library
	cmd := exec.Command(interpreter[2], "-S", filepath.Join(dir, "bootstrap.py"))
	cmd.Env = []string{"LD_LIBRARY_PATH=" + filepath.Join(interpreter[1], "lib"), "PYTHONPATH=" + dir, "PYTHONDONTWRITEBYTECODE=1"}
	return cmd
}

func bareNode(t *testing.T, s *testkit.Server, task string) *exec.Cmd {
	dir, interpreter := client(t, s, nodeName) // version, and options
	program, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, append(interpreter[1:], filepath.Join(dir, "bootstrap.cjs"))...)
	cmd.Env = []string{"NODE_PATH=" + filepath.Join(task, "node_modules") + ":" + dir}
	return cmd
}

// warm is a function whose warm invocations are measured.
type warm struct {
	name  string
	needs []testkit.Probe
	bound float64
	make  func(t *testing.T) function
	check string // part of what it answers to {"a":1}
}

var warmPython = warm{
	name: "Python", needs: []testkit.Probe{testkit.Python}, bound: 5, check: `[{"a"`,
	make: func(t *testing.T) function {
		return function{runtime: pythonName, handler: "app.handler", zip: testkit.Zip(t, python.source(0))}
	},
}

var warmNode = warm{
	name: "Node.js", needs: []testkit.Probe{testkit.Node}, bound: 9, check: `[{"a"`,
	make: func(t *testing.T) function {
		return function{runtime: nodeName, handler: "app.handler", zip: testkit.Zip(t, node.source(0))}
	},
}

var warmGo = warm{
	name: "aws-lambda-go", bound: 6, check: `"memory"`,
	make: func(t *testing.T) function {
		program := filepath.Join(t.TempDir(), "bootstrap")
		build := exec.Command("go", "build", "-o", program, "-tags", "lambda.norpc", ".")
		build.Dir = filepath.Join(testkit.Repository(), "runner", "testdata", "golang")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
		body, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		return function{runtime: "provided.al2023", handler: "bootstrap", zip: testkit.Zip(t, testkit.File{Name: "bootstrap", Body: string(body), Mode: 0o755})}
	},
}

// warmInvoke measures the median invocation of a warm function, against an HTTP
// server in another process that sends the body back.
func warmInvoke(t *testing.T, figures *[]*figure, of warm) {
	testkit.Need(t, append(of.needs, testkit.Sandbox)...)
	const (
		batch   = 100
		batches = 10 // a round
	)
	s := start(t)
	l := dial(t, s.URL)
	made := of.make(t)
	made.name = "echo"
	createFunction(t, s, l, made)
	floor := dial(t, startEcho(t))
	f := &figure{name: "warm invoke, " + of.name + ", p50", baseline: "HTTP echo in another process", unit: time.Microsecond, bound: of.bound}
	*figures = append(*figures, f)
	for round := range *rounds + 1 {
		r := sign(t, s, http.MethodPost, "/2015-03-31/functions/echo/invocations", []byte(`{"a":1}`))
		var ours, theirs []time.Duration
		for range batches {
			for range batch {
				_, took := floor.send(t, r)
				theirs = append(theirs, took)
			}
			for range batch {
				body, took := l.send(t, r)
				ours = append(ours, took)
				if !strings.Contains(strings.ReplaceAll(string(body), " ", ""), of.check) {
					t.Fatalf("the function answered %s", body)
				}
			}
		}
		if round > 0 { // the first is cold
			f.add(percentile(ours, 50), percentile(theirs, 50))
		}
	}
	s.Stop()
}

// throughput measures how many warm invocations a second many clients get, as the
// time between two, against the same clients of the echo server.
func throughput(t *testing.T, figures *[]*figure, of warm) {
	testkit.Need(t, append(of.needs, testkit.Sandbox)...)
	const clients, window = 8, 2 * time.Second
	s := start(t)
	made := of.make(t)
	made.name = "echo"
	createFunction(t, s, dial(t, s.URL), made)
	echo := startEcho(t)
	f := &figure{
		name: fmt.Sprintf("time between invocations, %s, %d clients", of.name, clients), baseline: "HTTP echo in another process",
		unit: time.Microsecond, limit: 250 * time.Microsecond,
	}
	*figures = append(*figures, f)
	ours, theirs := make([]*line, clients), make([]*line, clients)
	for i := range clients {
		ours[i], theirs[i] = dial(t, s.URL), dial(t, echo)
	}
	for round := range *rounds + 1 {
		r := sign(t, s, http.MethodPost, "/2015-03-31/functions/echo/invocations", []byte(`{"a":1}`))
		a, b := hammer(t, ours, r, window), hammer(t, theirs, r, window)
		if round > 0 {
			f.add(a, b)
		}
	}
	s.Stop()
}

// hammer sends the request over all lines at once for a while, and returns the
// time divided by the answers.
func hammer(t *testing.T, lines []*line, r request, window time.Duration) time.Duration {
	t.Helper()
	var sent atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for _, l := range lines {
		wg.Go(func() {
			for time.Since(began) < window {
				if status, body, _, err := l.try(r); err != nil || status != http.StatusOK {
					t.Errorf("invoke: %d %s %v", status, body, err)
					return
				}
				sent.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if t.Failed() {
		t.FailNow()
	}
	return took / time.Duration(sent.Load())
}

// startEcho runs this test binary again as the echo server and returns its URL.
func startEcho(t *testing.T) string {
	t.Helper()
	address := testkit.FreeAddress(t)
	cmd := exec.Command(os.Args[0], "-echo", address)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has no other way to end
		_ = cmd.Wait()         // it was killed
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return "http://" + address
		}
		if time.Now().After(deadline) {
			t.Fatalf("the echo server does not start: %v", err)
		}
	}
}
