package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
)

// Kind is one exception of the service: its code, its status and the spelling
// of its body. The kinds are the variables of this package.
type Kind struct {
	Code   string // ResourceNotFoundException
	Status int    // HTTP

	member  string            // of the message: Message or message
	typ     string            // of the Type member: User or Service, or empty for none
	headers map[string]string // fields that travel in headers
}

// Exceptions that are no part of the service model.
var (
	Validation                 = &Kind{Code: "ValidationException", Status: 400, member: "message"}
	Serialization              = &Kind{Code: "SerializationException", Status: 400, member: "message"}
	RequestEntityTooLarge      = &Kind{Code: "RequestEntityTooLargeException", Status: 413, member: "message"}
	UnknownOperation           = &Kind{Code: "UnknownOperationException", Status: 404, member: "message"}
	MethodNotAllowed           = &Kind{Code: "UnknownOperationException", Status: 405, member: "message"}
	NotImplemented             = &Kind{Code: "NotImplementedException", Status: 501, member: "Message", typ: "User"}
	AccessDenied               = &Kind{Code: "AccessDeniedException", Status: 403, member: "Message"}
	MissingAuthenticationToken = &Kind{Code: "MissingAuthenticationTokenException", Status: 403, member: "message"}
	InvalidSignature           = &Kind{Code: "InvalidSignatureException", Status: 403, member: "message"}
	IncompleteSignature        = &Kind{Code: "IncompleteSignatureException", Status: 403, member: "message"}
	UnrecognizedClient         = &Kind{Code: "UnrecognizedClientException", Status: 403, member: "message"}
	InvalidClientTokenID       = &Kind{Code: "InvalidClientTokenId", Status: 403, member: "message"}
	ExpiredToken               = &Kind{Code: "ExpiredTokenException", Status: 403, member: "message"}
	RequestExpired             = &Kind{Code: "RequestExpired", Status: 400, member: "message"}
	OptInRequired              = &Kind{Code: "OptInRequired", Status: 403, member: "message"}
	RequestTimeout             = &Kind{Code: "RequestTimeoutException", Status: 408, member: "message"}
	Throttling                 = &Kind{Code: "ThrottlingException", Status: 400, member: "message"}
	ServiceUnavailable         = &Kind{Code: "ServiceUnavailableException", Status: 503, member: "message"}
)

// Exception is an error that the client sees as it is.
type Exception struct {
	kind    *Kind
	message *string
	typ     string
	fields  map[string]string
}

// Errorf makes an exception with a message.
func (k *Kind) Errorf(format string, args ...any) *Exception {
	return k.New(fmt.Sprintf(format, args...))
}

// New makes an exception whose message is exactly the text.
func (k *Kind) New(message string) *Exception {
	return &Exception{kind: k, message: &message, typ: k.typ}
}

// Null makes an exception whose message is null, as some of the service's are.
func (k *Kind) Null() *Exception {
	return &Exception{kind: k, typ: k.typ}
}

// Is reports whether err is, or wraps, an exception of this kind.
func (k *Kind) Is(err error) bool {
	e, ok := errors.AsType[*Exception](err)
	return ok && e.kind == k
}

// Kind of the exception.
func (e *Exception) Kind() *Kind { return e.kind }

// Code is the name of the exception, as ResourceNotFoundException.
func (e *Exception) Code() string { return e.kind.Code }

// Status is the HTTP status of the answer.
func (e *Exception) Status() int { return e.kind.Status }

// Message is the text, empty for a null one.
func (e *Exception) Message() string {
	if e.message == nil {
		return ""
	}
	return *e.message
}

func (e *Exception) Error() string {
	if e.message == nil {
		return e.kind.Code
	}
	return e.kind.Code + ": " + *e.message
}

// WithoutType returns the exception without its Type member: the service omits
// it in a few messages.
func (e *Exception) WithoutType() *Exception {
	c := *e
	c.typ = ""
	return &c
}

// With returns the exception with one more member, as Reason of
// [TooManyRequests]. Members that the model binds to a header travel there.
func (e *Exception) With(name, value string) *Exception {
	c := *e
	c.fields = maps.Clone(e.fields)
	if c.fields == nil {
		c.fields = map[string]string{}
	}
	c.fields[name] = value
	return &c
}

// WriteException answers a request with an exception.
func WriteException(w http.ResponseWriter, ex *Exception) {
	body := map[string]any{ex.kind.member: ex.message}
	if ex.typ != "" {
		body["Type"] = ex.typ
	}
	for name, value := range ex.fields {
		if header, ok := ex.kind.headers[name]; ok {
			w.Header().Set(header, value)
			continue
		}
		body[name] = value
	}
	text, err := marshal(body)
	if err != nil {
		panic(fmt.Sprintf("wire: exception %s: %v", ex.kind.Code, err)) // strings always marshal
	}
	w.Header().Set("X-Amzn-Errortype", ex.kind.Code)
	writeJSON(w, ex.kind.Status, text)
}

// marshal is json.Marshal without the escapes for HTML, which the service does
// not write either.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
