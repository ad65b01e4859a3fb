// Package iac deploys with tools that people have, unchanged: the AWS CDK and the
// Serverless Framework.
package iac

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/lamina-run/lamina/internal/testkit"
)

// bench is a server and a copy of one of the applications in testdata.
type bench struct {
	*testing.T
	server *testkit.Server
	dir    string
	env    []string // more than the way to the server
}

// open starts a server and copies an application.
func open(t *testing.T, app string, args ...string) bench {
	t.Helper()
	testkit.Need(t, testkit.CDK, testkit.Sandbox, testkit.Network, testkit.Python)
	nodes, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(testkit.NodeModules("node"))), "node", "*", "node_modules", "node-linux-*", "bin", "node"))
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes { // CDK's own functions want a newer one than the machine's may be
		version, err := exec.Command(node, "--version").Output()
		if err != nil {
			t.Fatalf("%s: %v", node, err)
		}
		major, _, _ := strings.Cut(strings.TrimPrefix(string(version), "v"), ".")
		args = append(args, "--runtime", "nodejs"+major+".x="+node)
	}
	args = append(args, "--library", "nodejs="+testkit.NodeModules("iac")) // as AWS's runtimes have its SDK
	b := bench{T: t, dir: t.TempDir(), server: testkit.Start(t, testkit.Options{Region: "us-east-1", Args: args})}
	if err := os.CopyFS(b.dir, os.DirFS(filepath.Join("testdata", app))); err != nil {
		t.Fatal(err)
	}
	return b
}

// patience is for one command of a tool.
const patience = 4 * time.Minute

// run runs a tool, and returns what it printed.
func (b bench) run(tool string, args ...string) string {
	b.Helper()
	out, err := b.try(tool, args...)
	if err != nil {
		b.Fatalf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, out)
	}
	return out
}

func (b bench) try(tool string, args ...string) (string, error) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	modules := testkit.NodeModules("iac")
	cmd := exec.CommandContext(ctx, filepath.Join(modules, ".bin", tool), args...)
	cmd.Dir = b.dir
	cmd.Env = append(b.server.Env(), "NODE_PATH="+modules, "NODE_NO_WARNINGS=1", "CI=1", "NO_COLOR=1", "HOME="+b.dir)
	cmd.Env = append(cmd.Env, b.env...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// invoke calls a function, and returns what it answered.
func (b bench) invoke(function, payload string) string {
	b.Helper()
	out, err := b.server.Lambda().Invoke(b.Context(), &lambda.InvokeInput{FunctionName: aws.String(function), Payload: []byte(payload)})
	if err != nil {
		b.Fatalf("invoke %s: %v", function, err)
	}
	if out.FunctionError != nil {
		b.Fatalf("invoke %s: %s %s", function, *out.FunctionError, out.Payload)
	}
	return string(out.Payload)
}

// aws runs the AWS CLI, and reads the JSON that it prints.
func (b bench) aws(into any, args ...string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, testkit.Tool("aws"), append(args, "--output", "json")...)
	cmd.Env = b.server.Env()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	if err := json.Unmarshal(out, into); err != nil {
		b.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// events is how many events a stack has: a deployment without changes adds none.
func (b bench) events(stack string) (n int) {
	b.Helper()
	b.aws(&n, "cloudformation", "describe-stack-events", "--stack-name", stack, "--query", "length(StackEvents)")
	return n
}

// nothingLeft fails the test when there are functions or layers, or stacks other
// than those that are expected.
func (b bench) nothingLeft(stacks ...string) {
	b.Helper()
	var functions, layers, left []string
	b.aws(&functions, "lambda", "list-functions", "--query", "Functions[].FunctionName")
	b.aws(&layers, "lambda", "list-layers", "--query", "Layers[].LayerName")
	b.aws(&left, "cloudformation", "describe-stacks", "--query", "Stacks[].StackName")
	if len(functions)+len(layers) > 0 || strings.Join(left, " ") != strings.Join(stacks, " ") {
		b.Errorf("left: functions %q, layers %q, stacks %q; want only the stacks %q", functions, layers, left, stacks)
	}
}
