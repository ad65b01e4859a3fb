package runtimes

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/lamina-run/lamina"
)

// Bind shows a file or directory of the host inside the sandbox, read-only.
type Bind struct {
	Source string
	Target string
}

// Credentials are those of the function's role, for one environment.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expires         time.Time // zero when they don't
}

// Request is one environment that is to start.
type Request struct {
	Version     lamina.Version
	Credentials Credentials
	LogStream   string
	// Task and Layers are the extracted archives.
	Task   string
	Layers []string
	// Provisioned says that it starts ahead of invocations.
	Provisioned bool
	// Endpoint is Lamina's own URL, as the function reaches it; empty if it does not.
	Endpoint string
	Trust    Trust
}

// Trust is an authority whose certificates functions accept besides those that the
// host does: Python and Node.js by their clients' doing, programs of provided
// runtimes since it is in the file where the host has its authorities.
type Trust struct {
	Authority string // file on the host, PEM; empty is none
	Bundle    string // file on the host that has the host's authorities, too; empty is none
	BundleAt  string // where the host has its authorities
}

// Where functions find the authority. The clients know the first.
const (
	authorityFile = "/etc/ssl/lamina.pem"
	nodeAuthority = "/var/runtime/ca-cert.pem" // what Node.js 16 and 18 read on AWS
)

// binds shows the authority to a family's functions.
func (t Trust) binds(family string) []Bind {
	switch {
	case family == "python" && t.Authority != "":
		return []Bind{{t.Authority, authorityFile}}
	case family == "nodejs" && t.Authority != "":
		return []Bind{{t.Authority, nodeAuthority}}
	case family == "provided" && t.Bundle != "":
		return []Bind{{t.Bundle, t.BundleAt}}
	}
	return nil
}

// Launch is what a sandbox needs to run a function.
type Launch struct {
	Path  string
	Args  []string
	Env   []string
	Dir   string
	Binds []Bind
	Masks []string
	// Wrapper is the AWS_LAMBDA_EXEC_WRAPPER that Path is, or empty.
	Wrapper string
	// LogFD is the descriptor through which the runtime client logs events of
	// several lines, as frames; zero when it has none.
	LogFD int
}

// ErrNoBootstrap says that neither code nor layers of a provided runtime have a
// bootstrap.
var ErrNoBootstrap = errors.New("no bootstrap in the code or a layer")

// LogVariable tells a runtime client its [Launch.LogFD]. Those of Python, Node.js,
// Ruby, and Java before 17 hide it from the function.
const LogVariable = "_LAMBDA_TELEMETRY_LOG_FD"

// logFD is the descriptor's number on AWS.
const logFD = 62

// Addresses that functions see.
const (
	apiAddress  = "169.254.100.1:9001"
	apiLoopback = "127.0.0.1:9001" // what provided.al2 is told
	xrayHost    = "169.254.100.1"
)

// LogStream returns a new name for the log stream of an environment.
func LogStream(v lamina.Version, now time.Time) string {
	var id [16]byte
	for i := 0; i < len(id); i += 8 {
		n := rand.Uint64() // a name, not a secret
		for j := range 8 {
			id[i+j] = byte(n >> (8 * j))
		}
	}
	return now.UTC().Format("2006/01/02/") + "[" + v.Qualifier() + "]" + hex.EncodeToString(id[:])
}

// Launch says how an environment starts. It fails with [*lamina.RuntimeError]
// when the host has no interpreter for it, and with [ErrNoBootstrap].
func (s *Set) Launch(ctx context.Context, r Request) (Launch, error) {
	l := Launch{Dir: "/var/task"}
	runtime := r.Version.Config.Runtime
	family := lamina.RuntimeFamily(runtime)
	if family == "provided" {
		path, err := bootstrap(r)
		if err != nil {
			return Launch{}, err
		}
		l.Path, l.Args, l.Binds = path, []string{path}, r.Trust.binds(family)
		l.Env = environment(r)
		return l, nil
	}
	in, err := s.Find(ctx, runtime)
	if err != nil {
		return Launch{}, err
	}
	switch family {
	case "python":
		l.Path, l.Binds, l.Masks, err = pythonFiles(in)
		if err != nil {
			return Launch{}, &lamina.RuntimeError{Runtime: runtime, Hint: err.Error()}
		}
		l.Args = []string{l.Path, "/var/runtime/bootstrap.py"}
		if own := r.Version.Config.Environment; own["PYTHONPATH"] == "" && own["AWS_LAMBDA_EXEC_WRAPPER"] == "" {
			// Nobody can have brought a sitecustomize, which is all that the module
			// site would find here; the client does the rest of it.
			l.Args = []string{l.Path, "-S", "/var/runtime/bootstrap.py"}
		}
	case "nodejs":
		l.Path, l.Binds = nodeFiles(in)
		l.Args = append(append([]string{l.Path}, nodeOptions(in, r.Version.Config)...), "/var/runtime/bootstrap.cjs")
	case "ruby":
		l.Path, l.Binds = rubyFiles(in)
		l.Args = []string{l.Path, "/var/runtime/bootstrap.rb"}
	case "java":
		l.Path, l.Binds = javaFiles(in)
		l.Args = append([]string{l.Path}, javaOptions(in, r.Version.Config)...)
	}
	l.Binds = append(l.Binds, Bind{in.Client, "/var/runtime"})
	if dir := cmp.Or(s.libraries[runtime], s.libraries[family]); dir != "" {
		l.Binds = append(l.Binds, Bind{dir, "/var/runtime/" + libraryDir(runtime)})
	}
	l.Binds = append(l.Binds, r.Trust.binds(family)...)
	l.LogFD = logFD
	l.Env = environment(r)
	if wrapper := r.Version.Config.Environment["AWS_LAMBDA_EXEC_WRAPPER"]; wrapper != "" {
		l.Wrapper = wrapper
		l.Path, l.Args = wrapper, append([]string{wrapper}, l.Args...)
	}
	return l, nil
}

// libraryDir is where, below /var/runtime, functions of a runtime find what the
// operator shows beside it.
func libraryDir(runtime string) string {
	switch lamina.RuntimeFamily(runtime) {
	case "python":
		return "packages"
	case "nodejs":
		return "node_modules"
	case "ruby":
		return "ruby/" + rubyABI(runtime)
	case "java":
		return "lib"
	}
	return ""
}

// bootstrap returns where the program of a provided runtime is inside. The last
// layer that has one wins, as its file would in /opt.
func bootstrap(r Request) (string, error) {
	ok, err := isFile(filepath.Join(r.Task, "bootstrap"))
	if err != nil {
		return "", err
	}
	if ok {
		return "/var/task/bootstrap", nil
	}
	for _, dir := range slices.Backward(r.Layers) {
		ok, err := isFile(filepath.Join(dir, "bootstrap"))
		if err != nil {
			return "", err
		}
		if ok {
			return "/opt/bootstrap", nil
		}
	}
	return "", ErrNoBootstrap
}

// environment returns the variables of §5.4 of the behaviour document: what the
// function may replace, the function's own, and what it may not replace.
func environment(r Request) []string {
	v := r.Version
	vars := make(map[string]string, 40)
	set := func(name, value string) { vars[name] = value }
	runtime := v.Config.Runtime
	family := lamina.RuntimeFamily(runtime)

	set("LANG", "en_US.UTF-8")
	set("TZ", ":UTC")
	path := "/usr/local/bin:/usr/bin/:/bin:" + lamina.SearchVariable(runtime, "PATH")
	libraries := "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:" + lamina.SearchVariable(runtime, "LD_LIBRARY_PATH")
	if runtime != "provided.al2" && runtime != "provided" {
		path, libraries = "/var/lang/bin:"+path, "/var/lang/lib:"+libraries
	}
	set("PATH", path)
	set("LD_LIBRARY_PATH", libraries)
	set("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR")
	set("AWS_XRAY_DAEMON_ADDRESS", xrayHost+":2000")
	switch family {
	case "python":
		pythonEnvironment(runtime, set)
	case "nodejs":
		nodeEnvironment(runtime, r.Trust.Authority != "", set)
	case "ruby":
		set("PATH", "/var/lang/bin:"+path)
		set("LD_LIBRARY_PATH", "/var/lang/lib:"+libraries)
		rubyEnvironment(runtime, set)
	}

	if _, own := v.Config.Environment["AWS_ENDPOINT_URL"]; r.Endpoint != "" && !own {
		// Of the services that Lamina is; those of AWS stay where they are. A name
		// of its own would win over the function's choice for all of them.
		for _, service := range []string{"LAMBDA", "STS", "IAM", "CLOUDWATCH_LOGS", "CLOUDFORMATION", "S3", "SSM"} {
			set("AWS_ENDPOINT_URL_"+service, r.Endpoint)
		}
	}

	for name, value := range v.Config.Environment {
		set(name, value)
	}

	set("AWS_ACCESS_KEY_ID", r.Credentials.AccessKeyID)
	set("AWS_SECRET_ACCESS_KEY", r.Credentials.SecretAccessKey)
	set("AWS_SESSION_TOKEN", r.Credentials.SessionToken)
	set("AWS_REGION", v.Function.Region)
	set("AWS_DEFAULT_REGION", v.Function.Region)
	set("AWS_LAMBDA_FUNCTION_NAME", v.Function.Name)
	set("AWS_LAMBDA_FUNCTION_VERSION", v.Qualifier())
	set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", strconv.FormatInt(v.Config.MemorySize, 10))
	group := v.Config.Logging.Group
	if group == "" {
		group = "/aws/lambda/" + v.Function.Name
	}
	set("AWS_LAMBDA_LOG_GROUP_NAME", group)
	set("AWS_LAMBDA_LOG_STREAM_NAME", r.LogStream)
	if r.Provisioned {
		set("AWS_LAMBDA_INITIALIZATION_TYPE", "provisioned-concurrency")
	} else {
		set("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
	}
	api := apiAddress
	if runtime == "provided.al2" || runtime == "provided" {
		api = apiLoopback
	}
	set("AWS_LAMBDA_RUNTIME_API", api)
	set("_HANDLER", v.Config.Handler)
	set("LAMBDA_TASK_ROOT", "/var/task")
	set("LAMBDA_RUNTIME_DIR", "/var/runtime")
	set("_AWS_XRAY_DAEMON_ADDRESS", xrayHost)
	set("_AWS_XRAY_DAEMON_PORT", "2000")
	if family != "provided" {
		set("AWS_EXECUTION_ENV", "AWS_Lambda_"+runtime)
		set(LogVariable, strconv.Itoa(logFD))
	}
	if v.Config.Logging.Format == "JSON" {
		set("AWS_LAMBDA_LOG_FORMAT", "JSON")
		if v.Config.Logging.ApplicationLevel != "" {
			set("AWS_LAMBDA_LOG_LEVEL", v.Config.Logging.ApplicationLevel)
		}
	}

	env := make([]string, 0, len(vars))
	for name, value := range vars {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}
