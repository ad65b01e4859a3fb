// Package layerbuild builds layers with the package managers of this machine, from
// their registries, publishes them, and has functions use them.
package layerbuild

import (
	"archive/zip"
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

// here and there are the architecture of this machine, and another.
func here() (here, there string) {
	if runtime.GOARCH == "arm64" {
		return "arm64", "x86_64"
	}
	return "x86_64", "arm64"
}

// layer is one that was built.
type layer struct {
	zip  []byte
	told struct {
		Tool, Kind, Lock, CodeSha256 string
		CodeSize                     int64
		Packages                     []struct{ Name, Version string }
		Notes                        []string
	}
	arch string
}

// build runs lamina layer build, in a directory and with a place for temporary
// files of its own.
func build(t *testing.T, source, runtime, arch string, args ...string) layer {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "layer.zip")
	cmd := exec.CommandContext(t.Context(), testkit.Binary(t), append([]string{"layer", "build", source, "--runtime", runtime, "--arch", arch, "-o", out, "--output", "json"}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "UV_SYSTEM_CERTS=1")
	var stderr strings.Builder
	cmd.Dir, cmd.Stderr, cmd.WaitDelay = dir, &stderr, 5*time.Second
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("layer build %s for %s: %v\n%s", source, arch, err, stderr.String())
	}
	l := layer{arch: arch}
	if err := json.Unmarshal(text, &l.told); err != nil {
		t.Fatalf("layer build prints %s: %v", text, err)
	}
	if l.zip, err = os.ReadFile(out); err != nil {
		t.Fatal(err)
	}
	if l.told.CodeSize != int64(len(l.zip)) {
		t.Errorf("CodeSize = %d; want %d", l.told.CodeSize, len(l.zip))
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "lamina-*")); len(left) > 0 {
		t.Errorf("left behind %v; want nothing", left)
	}
	return l
}

// files returns the names in the layer, and how many of them are native code. It
// fails the test when such is for another architecture.
func (l layer) files(t *testing.T) (names []string, native int) {
	t.Helper()
	want := map[string]elf.Machine{"x86_64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[l.arch]
	r, err := zip.NewReader(bytes.NewReader(l.zip), int64(len(l.zip)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.File {
		names = append(names, f.Name)
		if ext := path.Ext(f.Name); ext != ".so" && ext != ".node" {
			continue
		}
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		if _, err := body.ReadFrom(in); err != nil {
			t.Fatal(err)
		}
		e, err := elf.NewFile(bytes.NewReader(body.Bytes()))
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
			continue
		}
		if native++; e.Machine != want {
			t.Errorf("%s is for %v; want %v", f.Name, e.Machine, want)
		}
	}
	return names, native
}

// same fails the test unless two builds are the same to the byte.
func same(t *testing.T, what string, a, b layer) {
	t.Helper()
	if !bytes.Equal(a.zip, b.zip) {
		one, _ := a.files(t)
		other, _ := b.files(t)
		t.Errorf("%s: two builds differ: %s with %q, and %s with %q", what, a.told.CodeSha256, one, b.told.CodeSha256, other)
	}
}

// moved copies a source to another directory, where everything is younger.
func moved(t *testing.T, source string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "moved here")
	if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func testdata(t *testing.T, name string) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// invoke publishes a layer, and returns what a function with it answers.
func (l layer) invoke(t *testing.T, s *testkit.Server, runtime, file, code string) string {
	t.Helper()
	client := s.Lambda()
	published, err := client.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{
		LayerName: aws.String("built"), Content: &types.LayerVersionContentInput{ZipFile: l.zip}, CompatibleRuntimes: []types.Runtime{types.Runtime(runtime)},
	})
	if err != nil {
		t.Fatalf("PublishLayerVersion: %v", err)
	}
	if got := aws.ToString(published.Content.CodeSha256); got != l.told.CodeSha256 {
		t.Errorf("published CodeSha256 = %s; want %s, as layer build said", got, l.told.CodeSha256)
	}
	if _, err := client.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String("uses"), Runtime: types.Runtime(runtime), Handler: aws.String("app.handler"), Role: aws.String("arn:aws:iam::" + testkit.Account + ":role/r"),
		Layers: []string{aws.ToString(published.LayerVersionArn)}, Timeout: aws.Int32(30), Code: &types.FunctionCode{ZipFile: testkit.Zip(t, testkit.File{Name: file, Body: code})},
	}); err != nil {
		t.Fatalf("CreateFunction: %v", err)
	}
	if err := lambda.NewFunctionActiveV2Waiter(client, func(o *lambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, time.Second
	}).Wait(
		t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("uses")}, time.Minute); err != nil {
		t.Fatalf("wait for the function: %v", err)
	}
	out, err := client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("uses")})
	if err != nil {
		t.Fatalf("Invoke: %v", err)
	}
	if out.FunctionError != nil {
		t.Fatalf("Invoke: %s %s", *out.FunctionError, out.Payload)
	}
	return string(out.Payload)
}

// ask returns what a command prints.
func ask(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}

// TestPython builds a layer with native code for the Python of this machine.
func TestPython(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Pip, testkit.UV, testkit.Sandbox, testkit.Python)
	here, there := here()
	runtime := "python" + ask(t, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
	source := testdata(t, "python")

	first := build(t, source, runtime, here, "--trim", "--compile")
	second := build(t, filepath.Join(moved(t, source), "requirements.txt"), runtime, here, "--trim", "--compile")
	same(t, "pip", first, second)
	names, native := first.files(t)
	extra := map[string]string{"x86_64": "iniconfig", "arm64": "colorama"}
	if native != 1 || !slices.Contains(names, "python/"+extra[here]+"/__init__.py") || slices.Contains(names, "python/"+extra[there]+"/__init__.py") || slices.Contains(names, "python/markupsafe/_speedups.pyi") {
		t.Errorf("the layer for %s has %q; want one with native code, %s, not %s, and no types", here, names, extra[here], extra[there])
	}

	// Another architecture, by either of the two that Python has.
	other := build(t, source, runtime, there)
	if names, native = other.files(t); native != 1 || !slices.Contains(names, "python/"+extra[there]+"/__init__.py") || slices.Contains(names, "python/"+extra[here]+"/__init__.py") {
		t.Errorf("the layer for %s has %q; want one with native code, %s, and not %s", there, names, extra[there], extra[here])
	}
	same(t, "pip and uv", other, build(t, moved(t, source), runtime, there, "--tool", "uv="+testkit.Tool("uv")))

	const code = `
import os, markupsafe, markupsafe._speedups
def handler(event, context):
    return [str(markupsafe.escape("<&>")), os.path.dirname(markupsafe._speedups.__file__), os.path.exists(markupsafe.__spec__.cached)]
`
	s := testkit.Start(t, testkit.Options{})
	if got, want := first.invoke(t, s, runtime, "app.py", code), `["&lt;&amp;&gt;", "/opt/python/markupsafe", true]`; got != want {
		t.Errorf("the function answers %s; want %s", got, want)
	}
}

// TestNode builds a layer with a native part for the Node.js of this machine.
func TestNode(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.NPM, testkit.Node, testkit.Sandbox)
	here, there := here()
	major, _, _ := strings.Cut(strings.TrimPrefix(ask(t, "node", "--version"), "v"), ".")
	runtime := "nodejs" + major + ".x"
	source := testdata(t, "node")
	cpu := map[string]string{"x86_64": "x64", "arm64": "arm64"}

	var layers []layer
	for _, arch := range []string{here, there} {
		first, second := build(t, source, runtime, arch, "--trim"), build(t, moved(t, source), runtime, arch, "--trim")
		same(t, "npm for "+arch, first, second)
		names, native := first.files(t)
		if want := fmt.Sprintf("nodejs/node_modules/@node-rs/crc32-linux-%s-gnu/crc32.linux-%[1]s-gnu.node", cpu[arch]); native != 1 || !slices.Contains(names, want) || slices.Contains(names, "nodejs/node_modules/left-pad/package.json") {
			t.Errorf("the layer for %s has %q; want %s, and nothing for development", arch, names, want)
		}
		if first.told.Lock != "package-lock.json" || len(first.told.Packages) != 2 || first.told.Packages[0].Version != "1.10.6" {
			t.Errorf("layer build tells %+v; want the lock file, and two packages of 1.10.6", first.told)
		}
		layers = append(layers, first)
	}
	const code = `exports.handler = async () => [require("@node-rs/crc32").crc32("hello"), require.resolve("@node-rs/crc32")];`
	s := testkit.Start(t, testkit.Options{})
	if got, want := layers[0].invoke(t, s, runtime, "app.js", code), `[907060870,"/opt/nodejs/node_modules/@node-rs/crc32/index.js"]`; got != want {
		t.Errorf("the function answers %s; want %s", got, want)
	}
}

// TestRuby builds layers from a source of gems of its own, since RubyGems.org is
// not reached everywhere.
func TestRuby(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Bundler, testkit.Sandbox)
	const runtime = "ruby3.3"
	gems := t.TempDir()
	ask(t, "ruby", filepath.Join("testdata", "ruby", "gems.rb"), gems)
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "Gemfile"), []byte("source 'file://"+gems+"'\ngem 'greeting', '1.0.0'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	here, there := here()
	machine := map[string]string{"x86_64": "x86_64", "arm64": "aarch64"}
	var layers []layer
	for _, arch := range []string{here, there} {
		first, second := build(t, source, runtime, arch), build(t, filepath.Join(moved(t, source), "Gemfile"), runtime, arch)
		same(t, "bundler for "+arch, first, second)
		names, _ := first.files(t)
		gem := "greeting-1.0.0-" + machine[arch] + "-linux"
		if want := []string{"ruby/gems/3.3.0/gems/" + gem + "/lib/greeting.rb", "ruby/gems/3.3.0/specifications/" + gem + ".gemspec"}; !slices.Equal(names, want) {
			t.Errorf("the layer for %s has %q; want %q", arch, names, want)
		}
		layers = append(layers, first)
	}
	s := testkit.Start(t, testkit.Options{Args: []string{"--runtime", runtime + "=" + ask(t, "ruby", "-e", "print RbConfig.ruby")}})
	const code = "require 'greeting'\ndef handler(event:, context:) = [Greeting::PLATFORM]\n"
	if got, want := layers[0].invoke(t, s, runtime, "app.rb", code), `["`+machine[here]+`-linux"]`; got != want {
		t.Errorf("the function answers %s; want %s", got, want)
	}
}

// TestJava builds a layer of the jars that a project needs.
func TestJava(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Maven)
	l := build(t, testdata(t, "java"), "java21", "arm64")
	if names, _ := l.files(t); !slices.Equal(names, []string{"java/lib/aws-lambda-java-core-1.4.0.jar"}) {
		t.Errorf("the layer has %q; want the one jar", names)
	}
}
