package logs

import "fmt"

// Exception is an error that the client sees as it is.
type Exception struct {
	Code    string // ResourceNotFoundException
	Status  int    // HTTP
	Message string
}

func (e *Exception) Error() string { return e.Code + ": " + e.Message }

func exception(code, format string, args ...any) error {
	return &Exception{Code: code, Status: 400, Message: fmt.Sprintf(format, args...)}
}

func invalidParameter(format string, args ...any) error {
	return exception("InvalidParameterException", format, args...)
}

func invalidRequest(format string, args ...any) error {
	return exception("ValidationException", format, args...)
}

func noGroup() error {
	return exception("ResourceNotFoundException", "The specified log group does not exist.")
}

func noStream() error {
	return exception("ResourceNotFoundException", "The specified log stream does not exist.")
}

func noResource() error {
	return exception("ResourceNotFoundException", "The specified resource does not exist.")
}

func groupExists() error {
	return exception("ResourceAlreadyExistsException", "The specified log group already exists")
}

func streamExists() error {
	return exception("ResourceAlreadyExistsException", "The specified log stream already exists")
}

func limitExceeded() error {
	return exception("LimitExceededException", "Resource limit exceeded.")
}

// unavailable is a bound of Lamina's where AWS has none.
func unavailable(format string, args ...any) error {
	return exception("LimitExceededException", format, args...)
}
