package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina/internal/testkit"
)

const layersOfFunction = 5

// firstInvoke measures the first invocation of a Python function with five layers,
// each round of a new function with new layers, against starting the same
// interpreter with the same runtime client and files as a bare process.
func firstInvoke(t *testing.T, figures *[]*figure) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	s := start(t)
	l := dial(t, s.URL)
	f := &figure{name: "first invoke, Python with 5 layers", baseline: "bare interpreter and client", unit: time.Millisecond, bound: 1.6}
	*figures = append(*figures, f)
	for round := range *rounds + 1 {
		files := map[string]string{"app.py": "import m0, m1, m2, m3, m4\n\ndef handler(event, context):\n    return [event, m0.X, m1.X, m2.X, m3.X, m4.X]\n"}
		var layers []string
		for i := range layersOfFunction {
			name := fmt.Sprintf("m%d.py", i)
			files[name] = fmt.Sprintf("X = '%d in round %d'\n", i, round)
			zip := testkit.Zip(t, testkit.File{Name: "python/" + name, Body: files[name]})
			layers = append(layers, publishLayer(t, s, l, fmt.Sprintf("layer-%d-%d", round, i), zip))
		}
		name := fmt.Sprintf("first-%d", round)
		createFunction(t, s, l, name, testkit.Zip(t, testkit.File{Name: "app.py", Body: files["app.py"]}), layers)
		settle()
		answer, ours := l.send(t, sign(t, s, http.MethodPost, "/2015-03-31/functions/"+name+"/invocations", []byte(`{"a":1}`)))
		want := fmt.Sprintf("4 in round %d", round)
		if !strings.Contains(string(answer), want) {
			t.Fatalf("the function answered %s; want it to name %q", answer, want)
		}
		settle()
		answer, theirs := bare(t, s, files)
		if !strings.Contains(string(answer), want) {
			t.Fatalf("the bare interpreter answered %s; want it to name %q", answer, want)
		}
		call(t, s, l, http.MethodDelete, "/2015-03-31/functions/"+name, nil, nil)
		if round > 0 { // the first pages the interpreter in, for both
			f.add(ours, theirs)
		}
	}
	s.Stop()
}

// settle lets what runs in the background after a request come to its end, so that
// it is not measured with the next.
func settle() { time.Sleep(300 * time.Millisecond) }

// bare starts the interpreter that the server found, with the client that it gives
// to functions, and returns the response and the time from before the start to its
// arrival.
func bare(t *testing.T, s *testkit.Server, files map[string]string) ([]byte, time.Duration) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.Data, "runtime", runtimeName+"-*", ".interpreter"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no runtime client of %s in %s: %v", runtimeName, s.Data, err)
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	// Version, prefix, program, library.
	interpreter := strings.Split(string(text), "\n")
	client := filepath.Dir(found[0])
	task := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(task, name), []byte(text), 0o644); err != nil {
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

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, withoutPackages(t, interpreter[2]), filepath.Join(client, "bootstrap.py"))
	cmd.Dir = task
	cmd.Env = []string{
		"AWS_LAMBDA_RUNTIME_API=" + l.Addr().String(), "LAMBDA_TASK_ROOT=" + task, "_HANDLER=app.handler",
		"LD_LIBRARY_PATH=" + filepath.Join(interpreter[1], "lib"), "PYTHONPATH=" + client, "PYTHONDONTWRITEBYTECODE=1",
		"LANG=en_US.UTF-8", "TZ=:UTC", "PATH=/usr/bin:/bin", "AWS_LAMBDA_FUNCTION_NAME=bare", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128", "AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/bare", "AWS_LAMBDA_LOG_STREAM_NAME=s",
	}
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
	case <-ctx.Done():
	}
	took := time.Since(began)
	_ = cmd.Process.Kill() // it waits for a second invocation
	_ = cmd.Wait()         // it was killed
	if body == nil {
		t.Fatalf("the bare interpreter does not answer:\n%s", output.String())
	}
	return body, took
}

// withoutPackages gives the interpreter an empty site-packages, as functions have
// it: what a machine's own packages do at every start is not the baseline's fault.
func withoutPackages(t *testing.T, interpreter string) string {
	t.Helper()
	venv := t.TempDir()
	if err := os.MkdirAll(filepath.Join(venv, "lib", runtimeName, "site-packages"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(venv, "pyvenv.cfg"), []byte("home = "+filepath.Dir(interpreter)+"\ninclude-system-site-packages = false\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(venv, "bin", runtimeName)
	if err := os.Mkdir(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(interpreter, program); err != nil {
		t.Fatal(err)
	}
	return program
}

// warmInvoke measures the median invocation of a warm Python function, against an
// HTTP server in another process that sends the body back.
func warmInvoke(t *testing.T, figures *[]*figure) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	const (
		batch   = 100
		batches = 10 // a round
	)
	s := start(t)
	l := dial(t, s.URL)
	createFunction(t, s, l, "echo", testkit.Zip(t, testkit.File{Name: "app.py", Body: "def handler(event, context):\n    return event\n"}), nil)
	floor := dial(t, startEcho(t))
	f := &figure{name: "warm invoke, Python, p50", baseline: "HTTP echo in another process", unit: time.Microsecond, bound: 6}
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
				if strings.ReplaceAll(string(body), " ", "") != `{"a":1}` {
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
