package lamina

import "time"

// Event is an asynchronous invocation: accepted, to be run later, perhaps more
// than once. Which version runs is decided anew at each attempt.
type Event struct {
	RequestID string // the same at every attempt
	Function  FunctionID
	Qualifier string // as it was invoked, or empty
	Payload   []byte // JSON in UTF-8
	// ClientContext is JSON, decoded from base64; empty when none was sent.
	ClientContext string
	Accepted      time.Time
	// Attempts counts the runs that ended; the function failed in all of them.
	Attempts int
	// Deferrals counts how often in a row it could not be run at all.
	Deferrals int
	// TraceID is the X-Amzn-Trace-Id that it came with, or empty.
	TraceID string
	// Last is what the latest run came to.
	Last EventResult
}

// InvokedARN repeats what was invoked.
func (e Event) InvokedARN() string { return e.Function.QualifiedARN(e.Qualifier) }

// EventPolicy is how often and how long an event is tried, and who learns how
// that went.
type EventPolicy struct {
	MaximumRetryAttempts int           // 0 to 2, after the first attempt
	MaximumAge           time.Duration // 1 minute to 6 hours
	OnSuccess            string        // ARN, or empty
	OnFailure            string        // ARN, or empty
}

// Destination is who learns of an event's end, or empty.
func (p EventPolicy) Destination(c EventCondition) string {
	switch c {
	case EventSuccess:
		return p.OnSuccess
	case EventFunctionGone:
		return ""
	}
	return p.OnFailure
}

// DefaultEventPolicy is AWS's for functions without an event invoke config.
func DefaultEventPolicy() EventPolicy {
	return EventPolicy{MaximumRetryAttempts: 2, MaximumAge: 6 * time.Hour}
}

// EventCondition says why an event is over. The first four are AWS's words.
type EventCondition string

// Conditions.
const (
	EventSuccess                 EventCondition = "Success"
	EventRetriesExhausted        EventCondition = "RetriesExhausted"
	EventAgeExceeded             EventCondition = "EventAgeExceeded"
	EventZeroReservedConcurrency EventCondition = "ZeroReservedConcurrency"
	// EventRecursiveLoop ends events of a chain of invocations that has run the
	// function often enough (docs/quirks.md#recursive-loops).
	EventRecursiveLoop EventCondition = "RecursiveLoop"
	// EventFunctionGone ends events whose function, version or alias was deleted.
	EventFunctionGone EventCondition = "FunctionGone"
)

// EventRetryDelay is AWS's wait after so many failed attempts, when base is a
// minute: that, then two.
func EventRetryDelay(attempts int, base time.Duration) time.Duration {
	return time.Duration(max(attempts, 1)) * base
}

// EventDeferral is the wait of an event that could not be run, such as a
// throttled one: from a second, doubled each time, to five minutes.
func EventDeferral(deferrals int) time.Duration {
	const longest = 5 * time.Minute
	if deferrals > 8 {
		return longest
	}
	return min(time.Second<<max(deferrals-1, 0), longest)
}

// Next is when an event is to be tried again after a wait: at the latest when it
// becomes too old, so that it ends then.
func (e Event) Next(now time.Time, wait time.Duration, p EventPolicy) time.Time {
	next, end := now.Add(wait), e.Accepted.Add(p.MaximumAge)
	if next.After(end) {
		return end
	}
	return next
}

// Expired reports whether an event is too old to be run.
func (e Event) Expired(now time.Time, p EventPolicy) bool {
	return !now.Before(e.Accepted.Add(p.MaximumAge))
}
