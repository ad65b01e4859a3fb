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
	// Sink takes the response while the function makes it, if the function
	// streams. With nil every response is in Result.Payload, whole.
	Sink Sink
}

// Sink takes the response of a function that streams it. One goroutine calls
// Begin once and then Write; End may come from another, once, and at any time.
type Sink interface {
	// Begin says that the response is streamed, and its content type, which is
	// empty when the function gave none. Without Begin it is in the Result.
	Begin(contentType string)
	// Write takes p, which is the caller's again when it returns. It waits while
	// there is no room. An error says that nobody wants the rest; the function
	// goes on and does not learn of it.
	Write(p []byte) error
	// End says that the invocation is over and its result known: a Write that
	// waits, or is to come, fails.
	End()
}

// Result is what came of an invocation. A function that fails is a result, not
// a Go error.
type Result struct {
	// Payload is the response or the error of the function. A streamed response
	// is not in it; when a stream ended with an error, the error is.
	Payload []byte
	// FunctionError is empty, or Unhandled when the function failed, timed out
	// or exited.
	FunctionError string
	// LogTail holds at most the last 4 KB of the invocation's log when
	// Invocation.Tail asked for it.
	LogTail []byte
	// Measures tell what it took.
	Measures Measures
}

// Unhandled is the only kind of function error that AWS reports today.
const Unhandled = "Unhandled"
