package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Must names the environment variable that lists probes, separated by commas,
// which may not be missing: [Need] fails the test instead of skipping it. The
// word all stands for every probe. CI sets it, so that nothing skips unseen.
const Must = "LAMINA_TEST_MUST"

// A Probe looks for one thing that a test needs from the machine.
type Probe struct {
	Name string
	// Missing says in half a sentence what is lacking, or returns "".
	Missing func() string
}

var (
	// Sandbox needs what running a function needs from the kernel.
	Sandbox = Probe{"sandbox", missingSandbox}
	// Cgroup needs control groups for memory, processors and freezing.
	Cgroup = Probe{"cgroup", missingCgroup}
	// Overlay needs the overlay file system.
	Overlay = Probe{"overlay", missingOverlay}
	// EROFS needs a kernel that mounts EROFS images from files.
	EROFS = Probe{"erofs", missingEROFS}
	// Network needs the device by which functions reach the world.
	Network = Probe{"network", missingNetwork}
	// Root needs to be root.
	Root = Probe{"root", func() string {
		if os.Geteuid() != 0 {
			return "not root"
		}
		return ""
	}}
	// Postgres needs the URL of a PostgreSQL in LAMINA_TEST_POSTGRES.
	Postgres = Probe{"postgres", func() string {
		if os.Getenv("LAMINA_TEST_POSTGRES") == "" {
			return "LAMINA_TEST_POSTGRES is not set; .ci/with-postgres sets it"
		}
		return ""
	}}
	// Python needs an interpreter of a version that Lambda offers.
	Python = Probe{"python", missingTool("python3")}
	// Node needs Node.js.
	Node = Probe{"nodejs", missingTool("node")}
	// Ruby needs any Ruby.
	Ruby = Probe{"ruby", missingTool("ruby")}
	// Java needs a JDK.
	Java = Probe{"java", missingTool("javac")}
	// Pip needs a Python that has pip.
	Pip = Probe{"pip", func() string {
		if err := exec.Command("python3", "-m", "pip", "--version").Run(); err != nil {
			return "no python3 with pip in PATH"
		}
		return ""
	}}
	// UV needs uv, in .venv or in PATH.
	UV = Probe{"uv", missingVenv("uv")}
	// NPM needs npm.
	NPM = Probe{"npm", missingTool("npm")}
	// Bundler needs Ruby and Bundler.
	Bundler = Probe{"bundler", func() string { return missingTool("ruby")() + missingTool("bundle")() }}
	// Maven needs a JDK and Maven.
	Maven = Probe{"maven", func() string { return missingTool("javac")() + missingTool("mvn")() }}
	// JavaScript needs Node.js and the AWS SDKs that .ci/setup puts into its cache.
	JavaScript = Probe{"sdkjs", func() string {
		if missing := missingTool("node")(); missing != "" {
			return missing
		}
		if !isFile(filepath.Join(JavaScriptSDKs(), "node_modules", "@aws-sdk", "client-lambda", "package.json")) {
			return "no AWS SDK for JavaScript; run .ci/setup"
		}
		return ""
	}}
	// CDK needs Node.js, and the AWS CDK and the Serverless Framework that .ci/setup
	// puts into its cache.
	CDK = Probe{"cdk", func() string {
		if missing := missingTool("node")(); missing != "" {
			return missing
		}
		for _, tool := range []string{"cdk", "osls"} {
			if !isFile(filepath.Join(NodeModules("iac"), ".bin", tool)) {
				return "no " + tool + "; run .ci/setup"
			}
		}
		return ""
	}}
	// Browser needs a Chromium, and the accessibility checker that .ci/setup puts into
	// its cache.
	Browser = Probe{"browser", func() string {
		if Chromium() == "" {
			return "no Chromium in PATH; run .ci/setup"
		}
		if !isFile(AccessibilityChecker()) {
			return "no axe-core; run .ci/setup"
		}
		return ""
	}}
	// Terraform needs the command and a mirror of the AWS provider.
	Terraform = Probe{"terraform", func() string {
		if missing := missingTool("terraform")(); missing != "" {
			return missing
		}
		if TerraformMirror() == "" {
			return "no mirror of the AWS provider; set TF_PLUGINS to one"
		}
		return ""
	}}
	// AWSCLI needs the aws command in .venv or in PATH.
	AWSCLI = Probe{"awscli", missingVenv("aws")}
	// SAMTranslator needs a Python that can import AWS's translator of SAM templates.
	SAMTranslator = Probe{"samtranslator", func() string {
		python := Tool("python3")
		if python == "" {
			return "no python3; run .ci/setup"
		}
		if err := exec.Command(python, "-c", "import samtranslator").Run(); err != nil {
			return python + " has no samtranslator; run .ci/setup"
		}
		return ""
	}}
	// Boto needs a Python that can import boto3, in .venv or in PATH.
	Boto = Probe{"botocore", func() string {
		python := Tool("python3")
		if python == "" {
			return "no python3; run .ci/setup"
		}
		if err := exec.Command(python, "-c", "import boto3").Run(); err != nil {
			return python + " has no boto3; run .ci/setup"
		}
		return ""
	}}
)

// Need skips the test when a probe finds something missing, and fails it when
// the probe is listed in [Must].
func Need(t testing.TB, probes ...Probe) {
	t.Helper()
	must := strings.Split(os.Getenv(Must), ",")
	for _, p := range probes {
		missing := p.Missing()
		if missing == "" {
			continue
		}
		if slices.Contains(must, p.Name) || slices.Contains(must, "all") {
			t.Fatalf("%s is required (%s=%s): %s", p.Name, Must, os.Getenv(Must), missing)
		}
		t.Skipf("needs %s: %s", p.Name, missing)
	}
}

// Tool returns the path of a command, of .venv when it is there, else of PATH,
// else "".
func Tool(name string) string {
	if path := filepath.Join(Repository(), ".venv", "bin", name); isFile(path) {
		return path
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

// TerraformMirror returns a directory that holds registry.terraform.io/hashicorp/aws,
// or "". TF_PLUGINS names it; else the usual places are tried.
func TerraformMirror() string {
	home, _ := os.UserHomeDir() // without a home there is no plugin directory in it
	for _, dir := range []string{
		os.Getenv("TF_PLUGINS"), "/opt/tf-plugins", "/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins",
		filepath.Join(home, ".terraform.d", "plugins"),
	} {
		if dir == "" {
			continue
		}
		if info, err := os.Stat(filepath.Join(dir, "registry.terraform.io", "hashicorp", "aws")); err == nil && info.IsDir() {
			return dir
		}
	}
	return ""
}

// Chromium returns the path of a browser that runs without a display, or "".
func Chromium() string {
	for _, name := range []string{"chromium-headless-shell", "headless_shell", "chrome-headless-shell", "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// AccessibilityChecker returns the file of axe-core, there or not.
func AccessibilityChecker() string {
	return filepath.Join(NodeModules("browser"), "axe-core", "axe.min.js")
}

// JavaScriptSDKs returns the folder whose node_modules has the AWS SDKs for
// JavaScript, there or not.
func JavaScriptSDKs() string { return filepath.Dir(NodeModules("sdk-js")) }

// NodeModules returns the node_modules of a piece that .ci/setup puts into its
// cache, there or not.
func NodeModules(piece string) string {
	dir := os.Getenv("LAMINA_TEST_CACHE")
	if dir == "" {
		home, err := os.UserCacheDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, "lamina-test")
	}
	return filepath.Join(dir, piece, "node_modules")
}

// Repository returns the root of the source tree.
func Repository() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

func missingTool(name string) func() string {
	return func() string {
		if _, err := exec.LookPath(name); err != nil {
			return "no " + name + " in PATH"
		}
		return ""
	}
}

func missingVenv(name string) func() string {
	return func() string {
		if Tool(name) == "" {
			return "no " + name + "; run .ci/setup"
		}
		return ""
	}
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
