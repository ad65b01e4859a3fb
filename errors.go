package lamina

import "errors"

// Sentinels that store, blob and runner wrap with the thing they are about.
var (
	// ErrNotFound says that the named thing does not exist.
	ErrNotFound = errors.New("not found")
	// ErrExists says that the name is taken.
	ErrExists = errors.New("already exists")
	// ErrStale says that the caller's revision is not the current one.
	ErrStale = errors.New("stale revision")
	// ErrTooLarge says that something exceeds the bound that its reader set.
	ErrTooLarge = errors.New("too large")
	// ErrBusy says that a limit on concurrent work is reached.
	ErrBusy = errors.New("busy")
)

// RuntimeError says that a function's runtime can't run on this machine and what
// the operator can do about it. Clients see it as InvalidRuntimeException.
type RuntimeError struct {
	Runtime string // as the function names it, such as python3.12
	Hint    string // one sentence
}

func (e *RuntimeError) Error() string {
	return "runtime " + e.Runtime + " is not available: " + e.Hint
}
