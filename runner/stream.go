package runner

import (
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner/runtimeapi"
)

const truncatedResponse = "Runtime.TruncatedResponse"

// truncation is the result of a stream that the runtime did not end.
func truncation(requestID string) lamina.Result {
	return failure(truncatedResponse, requestID, "The response stream ended before its end")
}

// rest returns what the processes said about the invocation before one of them exited,
// nil when the exit says more. After the runtime's exit it waits until what that wrote
// has been read and, of a streamed response, been passed on. It wants a timer that runs.
func (e *environment) rest(runtime bool) *runtimeapi.Outcome {
	select {
	case o := <-e.session.Outcomes():
		return unlessTruncated(o)
	default:
	}
	if !runtime {
		return nil
	}
	grace := time.NewTimer(exitGrace)
	defer grace.Stop()
	select {
	case <-e.session.Drained():
	case <-grace.C: // a child of it holds a connection
	case <-e.runner.life.Done():
	}
	if !e.session.Streaming() {
		select {
		case o := <-e.session.Outcomes():
			return unlessTruncated(o)
		default:
			return nil
		}
	}
	select {
	case o := <-e.session.Outcomes():
		return unlessTruncated(o)
	case <-e.timer.C: // a child of it holds the connection, or the client is slow
	case <-e.runner.life.Done():
	}
	return nil
}

// unlessTruncated drops that a stream broke off, which the exit of its process explains.
func unlessTruncated(o runtimeapi.Outcome) *runtimeapi.Outcome {
	if o.Kind == runtimeapi.Truncated {
		return nil
	}
	return &o
}

// exitGrace is how much later than its connections the exit of a process may show.
const exitGrace = 200 * time.Millisecond

// truncated is the ending of a streamed response that broke off: the exit of the
// process if that is why.
func (e *environment) truncated(o runtimeapi.Outcome) (ending, error) {
	grace := time.NewTimer(exitGrace)
	defer grace.Stop()
	select {
	case x, ok := <-e.box.Exited():
		end, err := e.exited(x, ok)
		e.running = false
		return end, err
	case <-grace.C:
		return ending{outcome: &o, at: o.At}, nil
	}
}
