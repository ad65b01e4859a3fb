package lamina

// Invocation is one request to run a version of a function.
type Invocation struct {
	RequestID string
	// Version is what runs: code, layers and configuration, resolved.
	Version Version
	// InvokedARN repeats what was invoked: unqualified, alias or version.
	InvokedARN    string
	Payload       []byte
	ClientContext string // JSON, decoded from base64; empty when none was sent
	TraceID       string // X-Amzn-Trace-Id of the request, or empty
	Tail          bool   // the caller wants the last 4 KB of log
}

// Result is what came of an invocation. A function that fails is a result, not
// a Go error.
type Result struct {
	Payload []byte
	// FunctionError is empty, or Unhandled when the function failed, timed out
	// or exited.
	FunctionError string
	// LogTail holds at most the last 4 KB of the invocation's log when
	// Invocation.Tail asked for it.
	LogTail []byte
}

// Unhandled is the only kind of function error that AWS reports today.
const Unhandled = "Unhandled"
