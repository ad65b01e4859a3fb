package lamina

import "time"

// Measures are what an invocation took, as far as it came.
type Measures struct {
	// Start is when the function began to work on it, or was to; zero when it
	// never came to that.
	Start time.Time
	// Duration is how long the function did. REPORT says the same, and counts
	// extensions that went on after the answer.
	Duration time.Duration
	// Waited is how long there was no place for an environment.
	Waited time.Duration
	// Cold is what had to be made first; nil when an environment was there.
	Cold *ColdStart
}

// ColdStart is where the time of a cold start went, one part after the other.
type ColdStart struct {
	At       time.Time
	Archives time.Duration // code and layers: fetched, unpacked, mounted
	Runtime  time.Duration // interpreter and credentials
	Sandbox  time.Duration
	Init     time.Duration // extensions, the runtime, and the code outside the handler; Init Duration
}

// Total is how long all of it took.
func (c *ColdStart) Total() time.Duration { return c.Archives + c.Runtime + c.Sandbox + c.Init }

// Invoked is how an invocation ended, for who counts them.
type Invoked struct {
	RequestID string
	Version   int64 // 0 is $LATEST
	// Ran says that the function did; otherwise the server kept it from running.
	Ran    bool
	Failed bool // FunctionError
	// EventAge is how long it had been queued; zero when it was not.
	EventAge time.Duration
	Measures Measures
}
