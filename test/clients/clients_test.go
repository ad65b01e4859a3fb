// Package clients runs clients that know nothing of Lamina against a real server:
// the AWS CLI, boto3 and Terraform. What they run is the README's own text, so
// that it can't rot.
package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina/internal/testkit"
)

// TestReadme runs the marked blocks of README.md in their order, in one
// directory, against one server: each goes on where the one before ended.
func TestReadme(t *testing.T) {
	testkit.Need(t, testkit.AWSCLI, testkit.Boto, testkit.Sandbox, testkit.Python)
	blocks := readmeBlocks(t)
	s := testkit.Start(t, testkit.Options{})
	dir := t.TempDir()

	out := command(t, s, dir, "bash", "-euo", "pipefail", "-c", blocks["sh"])
	if want := `{"message": "Hello, Ada, from a layer", "version": "1"}`; !strings.Contains(out, want) {
		t.Errorf("the AWS CLI's walk printed\n%s\nwant it to end with %s", out, want)
	}
	if !strings.Contains(blocks["sh"], `{"message": "Hello, Ada, from a layer", "version": "1"}`) {
		t.Error("README.md shows another answer")
	}

	out = command(t, s, dir, testkit.Tool("python3"), "-c", blocks["python"])
	if want := "newest layer version: 1\nHello, Grace, from a layer\n"; out != want {
		t.Errorf("boto3 printed %q; want %q", out, want)
	}

	t.Run("terraform", func(t *testing.T) {
		testkit.Need(t, testkit.Terraform)
		if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(blocks["hcl"]), 0o644); err != nil {
			t.Fatal(err)
		}
		terraform := terraformIn(t, s, dir)
		terraform("init", "-no-color")
		terraform("apply", "-no-color", "-auto-approve")
		if got, want := terraform("output", "-raw", "arn"), ":layer:greetings-tf:1"; !strings.HasSuffix(got, want) {
			t.Errorf("terraform output arn = %s; want it to end in %s", got, want)
		}
		terraform("plan", "-no-color", "-detailed-exitcode") // 2 when it would change something
		terraform("destroy", "-no-color", "-auto-approve")
	})
}

// readmeBlocks returns the code of README.md that follows a line <!-- test: NAME -->.
func readmeBlocks(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testkit.Repository(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string]string{}
	for _, part := range strings.Split(string(text), "<!-- test: ")[1:] {
		name, rest, ok := strings.Cut(part, " -->\n```")
		_, code, ok2 := strings.Cut(rest, "\n")
		code, _, ok3 := strings.Cut(code, "\n```")
		if !ok || !ok2 || !ok3 {
			t.Fatalf("README.md: no block after <!-- test: %.20s", part)
		}
		blocks[name] = code + "\n"
	}
	for _, name := range []string{"sh", "python", "hcl"} {
		if blocks[name] == "" {
			t.Fatalf("README.md has no block marked test: %s", name)
		}
	}
	return blocks
}

// terraformIn returns what runs Terraform in dir, with the provider of the machine's mirror.
func terraformIn(t *testing.T, s *testkit.Server, dir string) func(args ...string) string {
	t.Helper()
	config := filepath.Join(dir, "terraformrc")
	mirror := fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\ndisable_checkpoint = true\n", testkit.TerraformMirror())
	if err := os.WriteFile(config, []byte(mirror), 0o644); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) string {
		t.Helper()
		return command(t, s, dir, "env", append([]string{"TF_CLI_CONFIG_FILE=" + config, "TF_IN_AUTOMATION=1", "GOGC=1600", "terraform"}, args...)...)
	}
}

// command runs a client in dir with the way to the server in its environment, and
// returns its standard output. It fails the test when the client does.
func command(t *testing.T, s *testkit.Server, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, s.Env()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}
