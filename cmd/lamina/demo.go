package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lamina-run/lamina/identity"
)

type demoVerb struct {
	settings
	Once bool `help:"Stop after the demonstration instead of serving on."`
}

// Run serves as lamina serve does and sends the server the main job.
func (v *demoVerb) Run(ctx context.Context, s streams) error {
	if v.LogLevel == slog.LevelInfo {
		v.LogLevel = slog.LevelWarn // the story is the log
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	up := make(chan doors, 1) // one send, by serve
	served := make(chan error, 1)
	go func() { served <- serve(ctx, &v.settings, s, func(at doors) { up <- at }) }()
	select {
	case err := <-served:
		return err
	case at := <-up:
		err := v.show(ctx, s, at)
		if err != nil || v.Once {
			stop(errors.New("the demonstration is over"))
			return errors.Join(err, <-served)
		}
	}
	return <-served
}

// show does the main job through the API and narrates it.
func (v *demoVerb) show(ctx context.Context, s streams, at doors) error {
	key, err := identity.LoadCredentials(v.file(keyFile))
	if err != nil {
		return fmt.Errorf("read the root key: %w", err)
	}
	api := &apiClient{
		endpoint: endpointURL("http", at.local.Addr().String()), region: v.Region, http: &http.Client{Timeout: time.Minute},
		key: aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey},
	}
	job, err := v.chooseJob(ctx)
	if err != nil {
		return err
	}
	say := func(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }
	say("Lamina %s is up at %s, its data in %s.\n", version, at.endpoint, v.Data)

	var layer struct {
		LayerVersionArn string
		Version         int64
		Content         struct{ CodeSize int64 }
	}
	if err := api.do(ctx, http.MethodPost, "/2018-10-31/layers/lamina-greetings/versions", map[string]any{
		"Content": map[string]any{"ZipFile": job.layer}, "Description": "made by lamina demo", "CompatibleRuntimes": []string{job.runtime},
	}, &layer); err != nil {
		return fmt.Errorf("publish the layer: %w", err)
	}
	say("1. published a layer from a zip of %d bytes     %s", layer.Content.CodeSize, layer.LayerVersionArn)

	const function = "/2015-03-31/functions/lamina-hello"
	if err := api.do(ctx, http.MethodDelete, function, nil, nil); err != nil && !isMissing(err) {
		return fmt.Errorf("remove the function of an earlier demo: %w", err)
	}
	if err := api.do(ctx, http.MethodPost, "/2015-03-31/functions", map[string]any{
		"FunctionName": "lamina-hello", "Runtime": job.runtime, "Handler": job.handler, "Timeout": 10,
		"Role": "arn:aws:iam::" + v.Account + ":role/lamina-demo", "Code": map[string]any{"ZipFile": job.code},
		"Layers": []string{layer.LayerVersionArn},
	}, nil); err != nil {
		return fmt.Errorf("create the function: %w", err)
	}
	if err := awaitActive(ctx, api, function); err != nil {
		return err
	}
	say("2. created the function lamina-hello (%s) with that layer", job.runtime)

	var published struct{ Version, FunctionArn string }
	if err := api.do(ctx, http.MethodPost, function+"/versions", struct{}{}, &published); err != nil {
		return fmt.Errorf("publish a version: %w", err)
	}
	say("3. published it as version %s                     %s", published.Version, published.FunctionArn)

	var alias struct{ AliasArn string }
	if err := api.do(ctx, http.MethodPost, function+"/aliases", map[string]any{"Name": "live", "FunctionVersion": published.Version}, &alias); err != nil {
		return fmt.Errorf("create the alias: %w", err)
	}
	say("4. pointed an alias at it                         %s", alias.AliasArn)

	for _, turn := range []string{"5. invoked the alias, a cold start", "6. invoked it again, warm"} {
		var answer []byte
		began := time.Now()
		err := api.do(ctx, http.MethodPost, function+"/invocations?Qualifier=live", map[string]string{"Name": "world"}, &answer)
		if err != nil {
			return hint(fmt.Errorf("invoke the function: %w", err), "lamina doctor shows what this machine lacks")
		}
		say("%-49s %s in %.1f ms", turn, answer, float64(time.Since(began).Microseconds())/1000)
	}
	say("\nThe code ran in a sandbox of its own and took %q from /opt, where the layer is unpacked.", job.proof)
	if v.Once {
		return nil
	}
	say("The server stays up; press Ctrl-C to stop it. In another terminal, with any AWS client:\n")
	self, err := os.Executable()
	if err != nil {
		self = "lamina"
	}
	say(`  eval "$(%s env --data %s)"`, self, shellQuote(v.Data))
	say(`  aws lambda list-layers`)
	say(`  echo '{"Name":"you"}' > event.json && aws lambda invoke --function-name lamina-hello:live --payload fileb://event.json /dev/stdout`)
	say("\nIn a browser, with the access key that lamina env prints (%s):\n\n  %s/", key.AccessKeyID, at.endpoint)
	return nil
}

func isMissing(err error) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && e.Status == http.StatusNotFound
}

func awaitActive(ctx context.Context, api *apiClient, function string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		var f struct{ State, StateReason string }
		if err := api.do(ctx, http.MethodGet, function+"/configuration", nil, &f); err != nil {
			return fmt.Errorf("wait for the function: %w", err)
		}
		switch f.State {
		case "Active":
			return nil
		case "Failed":
			return fmt.Errorf("wait for the function: %s", f.StateReason)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the function: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// job is a layer and a function that uses it.
type job struct {
	runtime, handler, proof string
	layer, code             []byte
}

// chooseJob writes the demonstration in the best language that the machine has.
func (v *demoVerb) chooseJob(ctx context.Context) (job, error) {
	set, err := newRuntimes(v.Runtime, v.Library, v.file("runtime"), slog.New(slog.DiscardHandler))
	if err != nil {
		return job{}, fmt.Errorf("read --runtime: %w", err)
	}
	has := func(runtime string) bool {
		_, err := set.Find(ctx, runtime)
		return err == nil
	}
	for _, name := range []string{"python3.13", "python3.12", "python3.14", "python3.11", "python3.10", "python3.9", "python3.8"} {
		if has(name) {
			return pythonJob(name)
		}
	}
	for _, name := range []string{"nodejs24.x", "nodejs22.x", "nodejs20.x", "nodejs18.x", "nodejs16.x"} {
		if has(name) {
			return nodeJob(name)
		}
	}
	return bootstrapJob()
}

func pythonJob(runtime string) (job, error) {
	return packed(job{runtime: runtime, handler: "app.handler", proof: "greetings.py"},
		[]file{{name: "python/greetings.py", body: strings.NewReader("def greet(name):\n    return f\"Hello, {name}, from a layer\"\n")}},
		[]file{{name: "app.py", body: strings.NewReader("import greetings\n\ndef handler(event, context):\n    return {\"message\": greetings.greet(event[\"Name\"]), \"version\": context.function_version}\n")}})
}

func nodeJob(runtime string) (job, error) {
	return packed(job{runtime: runtime, handler: "app.handler", proof: "greetings"},
		[]file{{name: "nodejs/node_modules/greetings/index.js", body: strings.NewReader("exports.greet = (name) => `Hello, ${name}, from a layer`;\n")}},
		[]file{{name: "app.js", body: strings.NewReader("const { greet } = require(\"greetings\");\n\nexports.handler = async (event, context) => ({ message: greet(event.Name), version: context.functionVersion });\n")}})
}

// bootstrapJob needs no language: the layer brings a custom runtime, which is
// this very binary under the name bootstrap.
func bootstrapJob() (job, error) {
	self, err := os.Executable()
	if err != nil {
		return job{}, fmt.Errorf("find this program: %w", err)
	}
	binary, err := os.Open(self)
	if err != nil {
		return job{}, fmt.Errorf("read this program: %w", err)
	}
	defer binary.Close()
	return packed(job{runtime: "provided.al2023", handler: "unused", proof: "bootstrap"},
		[]file{{name: "bootstrap", body: binary, executable: true}, {name: "greeting.txt", body: strings.NewReader("Hello")}},
		[]file{{name: "task.txt", body: strings.NewReader("This came from a layer with a custom runtime.")}})
}

type file struct {
	name       string
	body       io.Reader
	executable bool
}

func packed(j job, layer, code []file) (job, error) {
	var err error
	if j.layer, err = pack(layer); err != nil {
		return job{}, err
	}
	j.code, err = pack(code)
	return j, err
}

// pack zips files with their modes.
func pack(files []file) ([]byte, error) {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate}
		header.SetMode(0o644)
		if f.executable {
			header.SetMode(0o755)
		}
		entry, err := w.CreateHeader(header)
		if err != nil {
			return nil, fmt.Errorf("zip %s: %w", f.name, err)
		}
		if _, err := io.Copy(entry, f.body); err != nil {
			return nil, fmt.Errorf("zip %s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("zip: %w", err)
	}
	return out.Bytes(), nil
}

// endpointURL is the URL under which clients on this machine reach addr.
func endpointURL(scheme, addr string) string {
	addr = strings.Replace(addr, "[::]", "127.0.0.1", 1)
	addr = strings.Replace(addr, "0.0.0.0", "127.0.0.1", 1)
	return (&url.URL{Scheme: scheme, Host: addr}).String()
}
