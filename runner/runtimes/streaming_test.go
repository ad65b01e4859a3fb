package runtimes_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina/runner/runtimes"
)

// answer is what a client posted about an invocation.
type answer struct {
	verb    string
	header  http.Header
	body    []byte
	first   string // what had arrived when the body was not over yet
	trailer http.Header
}

// api is another Runtime API, on net/http, so that what clients send is read by
// an implementation of HTTP that is not ours.
type api struct {
	t       *testing.T
	events  chan string // from the test; closed by it
	answers chan answer // one for each event
	n       int
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/2018-06-01/runtime/")
	switch {
	case path == "invocation/next":
		select {
		case event := <-a.events:
			a.n++
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", fmt.Sprint("request-", a.n))
			w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(3*time.Second).UnixMilli()))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn")
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", fmt.Sprint(len(event)))
			_, _ = io.WriteString(w, event) // a client that is gone shows below
		case <-r.Context().Done():
		}
	case strings.HasPrefix(path, "invocation/request-") || path == "init/error":
		buf := make([]byte, 64)
		n, err := r.Body.Read(buf)
		first := string(buf[:n])
		rest := []byte(nil)
		if err == nil {
			if rest, err = io.ReadAll(r.Body); err != nil {
				a.t.Errorf("read body: %v", err)
			}
		}
		w.WriteHeader(http.StatusAccepted)
		a.answers <- answer{path[strings.LastIndex(path, "/")+1:], r.Header, append([]byte(first), rest...), first, r.Trailer}
	default:
		a.t.Errorf("request for %s", path)
	}
}

func serveAPI(t *testing.T, in runtimes.Interpreter, handler string, files map[string]string) *api {
	t.Helper()
	a := &api{t: t, events: make(chan string, 1), answers: make(chan answer, 8)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: a}
	ctx, cancel := context.WithCancel(context.Background())
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(ctx, in, l.Addr().String(), write(t, files), handler)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(l) }) // always ErrServerClosed
	running.Go(func() { _ = cmd.Wait() })      // it is killed
	t.Cleanup(func() {
		cancel()
		server.Close()
		running.Wait()
		if t.Failed() {
			text, err := os.ReadFile(out.Name())
			t.Logf("output: %s%v", text, err)
		}
		out.Close()
	})
	return a
}

func (a *api) invoke(event string) answer {
	a.t.Helper()
	a.events <- event
	select {
	case got := <-a.answers:
		return got
	case <-time.After(20 * time.Second):
		a.t.Fatal("no answer")
	}
	panic("unreachable")
}

const streamHandler = `
const { pipeline, finished } = require('stream/promises');
const { Readable, Transform, Writable, finished: finishedBack } = require('stream');
const pause = (ms) => new Promise((r) => setTimeout(r, ms));
exports.handler = awslambda.streamifyResponse(async (event, out, context) => {
  switch (event.do) {
    case 'slowly': out.setContentType('text/plain'); out.write('one '); await pause(50); out.write('two '); await pause(50); out.end('three'); return;
    case 'http':
      out = awslambda.HttpResponseStream.from(out, { statusCode: 201, headers: { 'Content-Type': 'text/html' }, cookies: ['a=b'] });
      out.write('<p>'); out.end(); return;
    case 'http without a body': awslambda.HttpResponseStream.from(out, { statusCode: 204 }).end(); return;
    case 'pipeline': await pipeline(Readable.from(['x'.repeat(100000), 'y'.repeat(100000)]), out); return;
    case 'finished': out.write('one '); setTimeout(() => out.end('two'), 10); await finished(out); return;
    case 'finished already': out.end('done'); await finished(out); await finished(out); return;
    case 'finished back': out.end('called'); await new Promise((resolve, reject) => finishedBack(out, (e) => (e ? reject(e) : resolve()))); return;
    case 'piped': Readable.from(['a', 'b']).pipe(out); await finished(out); return;
    case 'finished as http': out = awslambda.HttpResponseStream.from(out, { statusCode: 200 }); Readable.from(['x']).pipe(out); await finished(out); return;
    case 'transformed': await pipeline(Readable.from(['a', 'b']), new Transform({ transform(c, e, done) { done(null, c.toString().toUpperCase()); } }), out); return;
    case 'events': {
      const seen = [];
      for (const name of ['pipe', 'finish', 'close']) out.on(name, () => seen.push(name));
      await pipeline(Readable.from(['x']), out);
      await new Promise((r) => setImmediate(r));
      if (!(out instanceof Writable) || !out.writableFinished || !out.writableEnded || seen.slice(-1)[0] !== 'close') throw new Error(JSON.stringify(seen));
      return;
    }
    case 'source fails': await pipeline(Readable.from((async function* () { yield 'begun'; await pause(10); throw new RangeError('in the source'); })()), out); return;
    case 'object': out.write({ a: 1 }); out.write(new Uint8Array([33])); out.write(''); out.end(); return;
    case 'nothing': out.end(); return;
    case 'early': throw new TypeError('before anything');
    case 'late': out.write('begun'); await pause(20); throw new RangeError('on the way');
    case 'unfinished': out.write('begun'); return 'ignored';
    case 'big': for (let i = 0; i < 300; i++) { if (!out.write(Buffer.alloc(65536, 'z'))) await new Promise((r) => out.once('drain', r)); } out.end(); return;
    case 'too late': out.write('x'); try { out.setContentType('a/b'); } catch (e) { out.write(e.name); } out.end(); return;
    case 'context': out.write(JSON.stringify([context.awsRequestId, awslambda.InvokeStore.getRequestId()])); out.end(); return;
  }
});
exports.sync = awslambda.streamifyResponse((event, out) => { out.write('x'); out.end(); });
`

// TestNodeStreaming reads streamed responses as the Runtime API of AWS documents
// them: in chunks as they are written, with an error in the trailers.
func TestNodeStreaming(t *testing.T) {
	t.Parallel()
	eachInterpreter(t, "nodejs", func(t *testing.T, in runtimes.Interpreter) {
		a := serveAPI(t, in, "index.handler", map[string]string{"index.js": streamHandler})
		for _, c := range []struct{ do, contentType, body, first string }{
			{"slowly", "text/plain", "one two three", "one "},
			{"http", "application/vnd.awslambda.http-integration-response", `{"statusCode":201,"headers":{"Content-Type":"text/html"},"cookies":["a=b"]}` + "\x00\x00\x00\x00\x00\x00\x00\x00<p>", ""},
			{"http without a body", "application/vnd.awslambda.http-integration-response", `{"statusCode":204}` + "\x00\x00\x00\x00\x00\x00\x00\x00", ""},
			{"pipeline", "application/octet-stream", strings.Repeat("x", 100000) + strings.Repeat("y", 100000), ""},
			{"finished", "application/octet-stream", "one two", ""},
			{"finished already", "application/octet-stream", "done", ""},
			{"finished back", "application/octet-stream", "called", ""},
			{"piped", "application/octet-stream", "ab", ""},
			{"finished as http", "application/vnd.awslambda.http-integration-response", `{"statusCode":200}` + "\x00\x00\x00\x00\x00\x00\x00\x00x", ""},
			{"transformed", "application/octet-stream", "AB", ""},
			{"events", "application/octet-stream", "x", ""},
			{"object", "application/octet-stream", `{"a":1}!`, ""},
			{"nothing", "application/octet-stream", "", ""},
			{"too late", "application/octet-stream", "xRuntime.InvalidStreamingOperation", ""},
			{"big", "application/octet-stream", strings.Repeat("z", 300*65536), ""},
		} {
			got := a.invoke(`{"do":"` + c.do + `"}`)
			if got.verb != "response" || got.header.Get("Lambda-Runtime-Function-Response-Mode") != "streaming" || got.header.Get("Content-Type") != c.contentType ||
				string(got.body) != c.body || (c.first != "" && got.first != c.first) || got.trailer.Get("Lambda-Runtime-Function-Error-Type") != "" {
				t.Errorf("%s = %s %v %.300q, first %.20q, trailer %v", c.do, got.verb, got.header, got.body, got.first, got.trailer)
			}
		}

		got := a.invoke(`{"do":"early"}`)
		if got.verb != "error" || got.header.Get("Lambda-Runtime-Function-Error-Type") != "TypeError" || !strings.Contains(string(got.body), "before anything") {
			t.Errorf("early = %+v %s", got, got.body)
		}
		got = a.invoke(`{"do":"late"}`)
		var f failure
		body, err := base64.StdEncoding.DecodeString(got.trailer.Get("Lambda-Runtime-Function-Error-Body"))
		if err != nil || json.Unmarshal(body, &f) != nil || string(got.body) != "begun" || got.trailer.Get("Lambda-Runtime-Function-Error-Type") != "RangeError" ||
			f.ErrorType != "RangeError" || f.ErrorMessage != "on the way" || len(f.Trace) < 2 {
			t.Errorf("late = %q, trailer %v: %s", got.body, got.trailer, body)
		}
		got = a.invoke(`{"do":"source fails"}`)
		if string(got.body) != "begun" || got.trailer.Get("Lambda-Runtime-Function-Error-Type") != "RangeError" {
			t.Errorf("source fails = %q, trailer %v", got.body, got.trailer)
		}
		// The connection is good for the next one.
		got = a.invoke(`{"do":"context"}`)
		if want := fmt.Sprintf(`["request-%d","request-%d"]`, a.n, a.n); string(got.body) != want {
			t.Errorf("context = %s; want %s", got.body, want)
		}

		a = serveAPI(t, in, "index.sync", map[string]string{"index.js": streamHandler})
		got = a.invoke(`{}`)
		body, _ = base64.StdEncoding.DecodeString(got.trailer.Get("Lambda-Runtime-Function-Error-Body"))
		if !strings.Contains(string(body)+string(got.body), "Streaming does not support non-async handlers.") && got.verb == "error" {
			t.Errorf("sync = %s %q %v", got.verb, got.body, got.trailer)
		}
	})
}
