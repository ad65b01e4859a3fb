package sam

import (
	"errors"
	"fmt"
	"strings"
)

// Error is a template that the transform does not accept, in the translator's
// words.
type Error struct {
	Causes []string // none when AWS's translator breaks on the template
}

// Error is what CloudFormation tells after "failed with: ".
func (e *Error) Error() string {
	if len(e.Causes) == 0 {
		return "Internal transform failure."
	}
	return fmt.Sprintf("Invalid Serverless Application Specification document. Number of errors found: %d. %s", len(e.Causes), strings.Join(e.Causes, " "))
}

// errInternal is told of templates that the translator breaks on, as
// CloudFormation does.
var errInternal = new(Error)

// cause is one thing that is wrong; the rest of the template is looked at for
// more.
type cause struct {
	text  string
	event bool // of an event of a function, which has to be named before
}

func (c *cause) Error() string { return c.text }

// resourcef tells what is wrong with a resource.
func resourcef(id, format string, args ...any) error {
	return &cause{text: "Resource with id [" + id + "] is invalid. " + fmt.Sprintf(format, args...)}
}

// eventf tells what is wrong with an event of a function.
func eventf(id, format string, args ...any) error {
	return &cause{text: "Event with id [" + id + "] is invalid. " + fmt.Sprintf(format, args...), event: true}
}

// templatef tells what is wrong with the template.
func templatef(format string, args ...any) error {
	return &cause{text: "Structure of the SAM template is invalid. " + fmt.Sprintf(format, args...)}
}

// document makes an error of causes, each told once.
func document(causes ...error) *Error {
	out := new(Error)
	told := make(map[string]bool)
	for _, c := range causes {
		if text := c.Error(); !told[text] {
			told[text] = true
			out.Causes = append(out.Causes, text)
		}
	}
	return out
}

// ofFunction names the function of an event that is wrong.
func ofFunction(id string, err error) error {
	if c, ok := errors.AsType[*cause](err); ok && c.event {
		return resourcef(id, "%s", c.text)
	}
	return err
}
