package runtimes_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner/runtimes"
)

// script makes an executable that answers like node --version.
func script(t *testing.T, version string, path ...string) string {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("#!/bin/sh\necho "+version+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	script(t, "v97.0.0", home, ".asdf/shims/node")
	nvm := script(t, "v97.1.2", home, ".nvm/versions/node/v97.1.2/bin/node")
	script(t, "v97.1.1", home, ".nvm/versions/node/v97.1.1/bin/node")
	script(t, "v96.0.0", home, ".local/share/mise/installs/node/96.0.0/bin/node")
	inPath := script(t, "v95.0.0", home, "somewhere/node")
	chosen := script(t, "v94.0.0", home, "chosen")
	wrong := script(t, "v1.0.0", home, "wrong")
	script(t, "v93.0.0", home, ".nvm/versions/node/v93.0.0/bin/node")

	env := map[string]string{"HOME": home, "PATH": home + "/.asdf/shims:" + home + "/somewhere"}
	now := time.Now()
	s, err := runtimes.New(runtimes.Config{
		Log: slog.New(slog.DiscardHandler), Dir: t.TempDir(), Now: func() time.Time { return now },
		Explicit: []string{"nodejs94.x=" + chosen, "nodejs93.x=" + wrong}, Getenv: func(name string) string { return env[name] },
	})
	if err != nil {
		t.Fatal(err)
	}
	for runtime, want := range map[string]runtimes.Interpreter{
		"nodejs97.x": {Path: nvm, Version: "97.1.2", Source: "nvm"},
		"nodejs95.x": {Path: inPath, Version: "95.0.0", Source: "PATH"},
		"nodejs94.x": {Path: chosen, Version: "94.0.0", Source: "explicit"},
	} {
		in, err := s.Find(t.Context(), runtime)
		if err != nil || in.Path != want.Path || in.Version != want.Version || in.Source != want.Source {
			t.Errorf("Find(%s) = %+v, %v; want %+v", runtime, in, err, want)
		}
	}
	if in, err := s.Find(t.Context(), "nodejs93.x"); err == nil {
		t.Errorf("Find(nodejs93.x) = %+v; want no replacement for what was chosen", in)
	}

	_, err = s.Find(t.Context(), "nodejs92.x")
	e, ok := errors.AsType[*lamina.RuntimeError](err)
	if !ok || !strings.Contains(e.Hint, "nodejs94.x, nodejs95.x, nodejs96.x, nodejs97.x") || !strings.Contains(e.Hint, "--runtime nodejs92.x=/path/to/node or LAMINA_RUNTIMES") {
		t.Errorf("Find(nodejs92.x) = %v; want a hint", err)
	}
	script(t, "v92.0.0", home, ".nvm/versions/node/v92.0.0/bin/node")
	now = now.Add(time.Minute)
	if _, err := s.Find(t.Context(), "nodejs92.x"); err != nil {
		t.Errorf("Find after it was installed = %v", err)
	}

	found, missing := s.Interpreters(t.Context())
	if !slices.ContainsFunc(found, func(in runtimes.Interpreter) bool { return in.Runtime == "nodejs96.x" && in.Source == "mise" }) {
		t.Errorf("Interpreters = %+v; want the one of mise", found)
	}
	if !slices.ContainsFunc(missing, func(m runtimes.Missing) bool { return m.Runtime == "nodejs93.x" && m.Path == wrong }) {
		t.Errorf("missing = %+v; want the wrong one", missing)
	}
}

func TestExplicit(t *testing.T) {
	t.Parallel()
	for _, e := range []string{"python3.12", "python3.12=", "dotnet8=/usr/bin/dotnet", "provided.al2023=/bin/sh"} {
		if _, err := runtimes.New(runtimes.Config{Explicit: []string{e}}); err == nil {
			t.Errorf("New(%q) = nil; want an error", e)
		}
	}
	for _, e := range []string{"python", "python=relative", "dotnet8=/srv/x", "=/srv/x"} {
		if _, err := runtimes.New(runtimes.Config{Libraries: []string{e}}); err == nil {
			t.Errorf("New with library %q = nil; want an error", e)
		}
	}
}

// jdk makes what looks like a JDK. Its java can't archive classes, which is no
// reason not to use it.
func jdk(t *testing.T, version string, path ...string) string {
	t.Helper()
	home := filepath.Join(path...)
	script(t, "unused", home, "bin/java")
	if err := os.WriteFile(filepath.Join(home, "release"), []byte("IMPLEMENTOR=\"X\"\nJAVA_VERSION=\""+version+"\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(home, "bin/java")
}

// TestStandIns: a newer JDK or Ruby runs what was made for an older one, the
// nearest first; never an older one, unless the operator says so.
func TestStandIns(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	jdk(t, "1.8.0_412", home, ".sdkman/candidates/java/8.0.412-tem")
	java17 := jdk(t, "17.0.9", home, ".sdkman/candidates/java/17.0.9-tem")
	java22 := jdk(t, "22.0.1", home, ".sdkman/candidates/java/22.0.1-tem")
	chosen := jdk(t, "23.0.1", home, "chosen/23")
	old := jdk(t, "11.0.2", home, "chosen/11")
	rubies := map[string]string{}
	for _, v := range []string{"3.3.6", "3.4.1"} {
		bin := filepath.Join(home, ".rbenv/versions", v, "bin")
		rubies[v] = filepath.Join(bin, "ruby")
		script(t, v+"\necho "+filepath.Dir(bin)+"\necho "+rubies[v], rubies[v])
	}
	ruby := filepath.Join(home, "chosen/ruby")
	script(t, "3.1.2\necho "+filepath.Join(home, "chosen")+"\necho "+ruby, ruby)
	env := map[string]string{"HOME": home}
	s, err := runtimes.New(runtimes.Config{
		Log: slog.New(slog.DiscardHandler), Dir: t.TempDir(), Now: time.Now, Getenv: func(name string) string { return env[name] },
		Explicit: []string{"java21=" + chosen, "java25=" + old, "ruby3.2=" + ruby},
	})
	if err != nil {
		t.Fatal(err)
	}
	for runtime, want := range map[string]string{
		"java11": java17, "java17": java17, "java21": chosen, "ruby3.3": rubies["3.3.6"], "ruby3.2": ruby,
	} {
		// Others of this machine may be nearer to java11 than ours.
		in, err := s.Find(t.Context(), runtime)
		if err != nil || (in.Path != want && !strings.HasPrefix(in.Path, "/usr/")) {
			t.Errorf("Find(%s) = %+v, %v; want %s", runtime, in, err, want)
		}
	}
	for runtime, hint := range map[string]string{
		"java25": "it is Java 11.0.2", "ruby4.0": "this host has ", "dotnet8": "no runtime client for .NET", "go1.x": "build others for provided.al2023",
	} {
		_, err := s.Find(t.Context(), runtime)
		e, ok := errors.AsType[*lamina.RuntimeError](err)
		if !ok || !strings.Contains(e.Hint, hint) {
			t.Errorf("Find(%s) = %v; want the hint %q", runtime, err, hint)
		}
	}
	found, _ := s.Interpreters(t.Context())
	if !slices.ContainsFunc(found, func(in runtimes.Interpreter) bool { return in.Path == java22 }) {
		t.Errorf("Interpreters = %+v; want that of %s", found, java22)
	}
}

// TestLaunch looks at the processes of runtimes, without starting one.
func TestLaunch(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	java := jdk(t, "21.0.2", home, "jdk")
	ruby := script(t, "3.3.6\necho "+filepath.Join(home, "ruby")+"\necho "+filepath.Join(home, "ruby/bin/ruby"), home, "ruby/bin/ruby")
	s, err := runtimes.New(runtimes.Config{
		Log: slog.New(slog.DiscardHandler), Dir: t.TempDir(), Now: time.Now, Getenv: func(string) string { return "" },
		Explicit:  []string{"java17=" + java, "java21=" + java, "ruby3.3=" + ruby},
		Libraries: []string{"ruby=" + home, "java17=" + home},
	})
	if err != nil {
		t.Fatal(err)
	}
	launch := func(runtime string, env map[string]string) runtimes.Launch {
		t.Helper()
		l, err := s.Launch(t.Context(), runtimes.Request{Version: lamina.Version{Config: lamina.Config{Runtime: runtime, Handler: "h", MemorySize: 512, Environment: env}}})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := launch("java21", nil)
	line := strings.Join(l.Args, " ")
	if want := "/var/lang/bin/java -XX:MaxHeapSize=445644k -XX:+UseSerialGC -XX:+TieredCompilation -XX:TieredStopAtLevel=1 -XX:-UsePerfData " +
		"-cp /var/runtime/lamina-runtime.jar run.lamina.client.Main"; line != want {
		t.Errorf("java21: %s; want %s", line, want)
	}
	for _, want := range []string{"_LAMBDA_TELEMETRY_LOG_FD=62", "AWS_EXECUTION_ENV=AWS_Lambda_java21", "_HANDLER=h"} {
		if !slices.Contains(l.Env, want) {
			t.Errorf("java21: %v; want %s in it", l.Env, want)
		}
	}
	if slices.ContainsFunc(l.Env, func(v string) bool { return strings.HasPrefix(v, "PWD=") || strings.HasPrefix(v, "SHLVL=") }) {
		t.Errorf("java21: %v; want neither PWD nor SHLVL", l.Env)
	}
	// What the function sets is not set again; a newer JVM opens what the older one had open.
	l = launch("java17", map[string]string{"JAVA_TOOL_OPTIONS": "-Xmx99m -XX:+UseG1GC -XX:-TieredCompilation"})
	if line := strings.Join(l.Args, " "); strings.Contains(line, "MaxHeapSize") || strings.Contains(line, "SerialGC") || strings.Contains(line, "Tiered") ||
		!strings.Contains(line, "--add-opens=java.base/java.util=ALL-UNNAMED") {
		t.Errorf("java17: %s", line)
	}
	if want := (runtimes.Bind{Source: home, Target: "/var/runtime/lib"}); !slices.Contains(l.Binds, want) {
		t.Errorf("java17: %v; want %v in it", l.Binds, want)
	}
	l = launch("ruby3.3", map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrap"})
	if want := []string{"/opt/wrap", "/var/lang/bin/ruby", "/var/runtime/bootstrap.rb"}; !slices.Equal(l.Args, want) || l.Path != "/opt/wrap" {
		t.Errorf("ruby3.3: %v; want %v", l.Args, want)
	}
	for _, want := range []string{
		"GEM_HOME=/var/runtime", "GEM_PATH=/var/task/vendor/bundle/ruby/3.3.0:/opt/ruby/gems/3.3.0:/var/runtime:/var/runtime/ruby/3.3.0",
		"RUBYLIB=/var/runtime/gems/aws_lambda_ric-3.1.3/lib:/var/task:/var/runtime/lib:/opt/ruby/lib", "PWD=/var/task", "SHLVL=0",
		"PATH=/var/lang/bin:/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		"LD_LIBRARY_PATH=/var/lang/lib:/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
	} {
		if !slices.Contains(l.Env, want) {
			t.Errorf("ruby3.3: %v; want %s in it", l.Env, want)
		}
	}
	if want := (runtimes.Bind{Source: home, Target: "/var/runtime/ruby/3.3.0"}); !slices.Contains(l.Binds, want) {
		t.Errorf("ruby3.3: %v; want %v in it", l.Binds, want)
	}
	if want := runtimes.LogVariable + "=62"; !slices.Contains(l.Env, want) || l.LogFD != 62 {
		t.Errorf("ruby3.3: %v, %d; want %s", l.Env, l.LogFD, want)
	}

	task := write(t, map[string]string{"bootstrap": ""})
	l, err = s.Launch(t.Context(), runtimes.Request{Task: task, Version: lamina.Version{Config: lamina.Config{Runtime: "provided.al2023"}}})
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(l.Env, func(v string) bool { return strings.HasPrefix(v, runtimes.LogVariable) }) || l.LogFD != 0 {
		t.Errorf("provided.al2023: %v, %d; want no descriptor for logs, as on AWS", l.Env, l.LogFD)
	}
}
