package template

import (
	"errors"
	"fmt"
)

// Error is what is wrong with a template or its parameters, as a client is told
// it: a ValidationError.
type Error struct{ message string }

func (e *Error) Error() string { return e.message }

// errorf makes an Error.
func errorf(format string, args ...any) error {
	return &Error{fmt.Sprintf(format, args...)}
}

// formatError makes an Error that begins as most of AWS's do.
func formatError(format string, args ...any) error {
	return errorf("Template format error: "+format, args...)
}

// ErrUnknown is the error of a value that is not known yet: that of a resource
// which is not made.
var ErrUnknown = errors.New("not known yet")
