package layerbuild

import "fmt"

// AdvisedError is an error with advice on what to do about it.
type AdvisedError struct {
	Err    error
	Advice string
}

func (e *AdvisedError) Error() string { return e.Err.Error() }
func (e *AdvisedError) Unwrap() error { return e.Err }

func advise(err error, format string, args ...any) error {
	return &AdvisedError{Err: err, Advice: fmt.Sprintf(format, args...)}
}

// ToolError is a package manager that failed.
type ToolError struct {
	Tool  string
	Cause string // what it said last, without what is of no use
	Err   error  // how it ended
}

func (e *ToolError) Error() string {
	if e.Cause == "" {
		return fmt.Sprintf("run %s: %v", e.Tool, e.Err)
	}
	return fmt.Sprintf("run %s: %v: %s", e.Tool, e.Err, e.Cause)
}

func (e *ToolError) Unwrap() error { return e.Err }
