package endpoint

import (
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/wire"
)

// Error is what S3 answers when it refuses.
type Error struct {
	Status  int
	Code    string
	Message string
	// Fields are further elements of the answer, in their order.
	Fields []Field
}

// Field is an element with a text.
type Field struct{ Name, Text string }

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// with returns the error with further elements.
func (e *Error) with(fields ...Field) *Error {
	more := *e
	more.Fields = append(more.Fields[:len(more.Fields):len(more.Fields)], fields...)
	return &more
}

// messagef returns the error with another message.
func (e *Error) messagef(format string, args ...any) *Error {
	more := *e
	more.Message = fmt.Sprintf(format, args...)
	return &more
}

// S3's errors, in its words.
var (
	errAccessDenied   = &Error{Status: 403, Code: "AccessDenied", Message: "Access Denied"}
	errNoSuchBucket   = &Error{Status: 404, Code: "NoSuchBucket", Message: "The specified bucket does not exist"}
	errNoSuchKey      = &Error{Status: 404, Code: "NoSuchKey", Message: "The specified key does not exist."}
	errMethod         = &Error{Status: 405, Code: "MethodNotAllowed", Message: "The specified method is not allowed against this resource."}
	errNotImplemented = &Error{Status: 501, Code: "NotImplemented", Message: "A header or query you provided requested a function that is not implemented."}
	errMalformedXML   = &Error{Status: 400, Code: "MalformedXML", Message: "The XML you provided was not well-formed or did not validate against our published schema"}
	errInvalid        = &Error{Status: 400, Code: "InvalidArgument", Message: "Invalid Argument"}
	errRequest        = &Error{Status: 400, Code: "InvalidRequest", Message: "Invalid Request"}
	errBucketName     = &Error{Status: 400, Code: "InvalidBucketName", Message: "The specified bucket is not valid."}
	errKeyTooLong     = &Error{Status: 400, Code: "KeyTooLongError", Message: "Your key is too long"}
	errExists         = &Error{Status: 409, Code: "BucketAlreadyExists", Message: "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again."}
	errOwned          = &Error{Status: 409, Code: "BucketAlreadyOwnedByYou", Message: "Your previous request to create the named bucket succeeded and you already own it."}
	errTooMany        = &Error{Status: 400, Code: "TooManyBuckets", Message: "You have attempted to create more buckets than allowed"}
	errTooLarge       = &Error{Status: 400, Code: "EntityTooLarge", Message: "Your proposed upload exceeds the maximum allowed size"}
	errNoLength       = &Error{Status: 411, Code: "MissingContentLength", Message: "You must provide the Content-Length HTTP header."}
	errNoHash         = &Error{Status: 400, Code: "InvalidRequest", Message: "Missing required header for this request: x-amz-content-sha256"}
	errDigest         = &Error{Status: 400, Code: "BadDigest", Message: "The Content-MD5 you specified did not match what we received."}
	errNoACL          = &Error{Status: 400, Code: "AccessControlListNotSupported", Message: "The bucket does not allow ACLs"}
	errUnavailable    = &Error{Status: 503, Code: "ServiceUnavailable", Message: "Service is unable to handle request."}
	errInternal       = &Error{Status: 500, Code: "InternalError", Message: "We encountered an internal error. Please try again."}
	errIncomplete     = &Error{Status: 400, Code: "IncompleteBody", Message: "You did not provide the number of bytes specified by the Content-Length HTTP header"}
	errContentHash    = &Error{Status: 400, Code: "XAmzContentSHA256Mismatch", Message: "The provided 'x-amz-content-sha256' header does not match what was computed."}
	errTags           = &Error{Status: 400, Code: "InvalidTag", Message: "The TagValue you have provided is invalid"}
)

// explained is an error as the client sees it. What is no error of S3's or of the
// signature's is logged and hidden.
func (e *Endpoint) explained(req *http.Request, err error) *Error {
	if refused, ok := errors.AsType[*Error](err); ok {
		return refused
	}
	if ex, ok := errors.AsType[*wire.Exception](err); ok {
		return signatureError(req, ex)
	}
	if ctx := req.Context(); ctx.Err() == nil {
		e.o.Log.LogAttrs(ctx, slog.LevelError, "operation failed", slog.String("service", Service),
			slog.String("operation", wire.RecordOf(ctx).Operation), slog.String("request_id", wire.RequestID(ctx)), slog.Any("err", err))
	}
	return errInternal
}

// signatureError says in S3's words what is wrong with a signature.
func signatureError(req *http.Request, ex *wire.Exception) *Error {
	presigned := req.Header.Get("Authorization") == ""
	message := ex.Message()
	switch ex.Kind() {
	case wire.MissingAuthenticationToken:
		return errAccessDenied
	case wire.AccessDenied:
		return errAccessDenied.messagef("%s", message)
	case wire.UnrecognizedClient:
		if req.Header.Get("X-Amz-Security-Token") != "" || req.URL.Query().Has("X-Amz-Security-Token") {
			return &Error{Status: 400, Code: "InvalidToken", Message: "The provided token is malformed or otherwise invalid."}
		}
		return &Error{Status: 403, Code: "InvalidAccessKeyId", Message: "The AWS Access Key Id you provided does not exist in our records."}
	case wire.ExpiredToken:
		return &Error{Status: 400, Code: "ExpiredToken", Message: "The provided token has expired."}
	case wire.InvalidSignature:
		switch {
		case presigned && strings.HasPrefix(message, "Signature expired"):
			return errAccessDenied.messagef("Request has expired")
		case presigned && strings.HasPrefix(message, "Signature not yet current"):
			return errAccessDenied.messagef("Request is not valid yet")
		case strings.HasPrefix(message, "Signature "):
			return &Error{Status: 403, Code: "RequestTimeTooSkewed", Message: "The difference between the request time and the current time is too large."}
		case strings.HasPrefix(message, "The request signature we calculated"):
			return &Error{Status: 403, Code: "SignatureDoesNotMatch", Message: "The request signature we calculated does not match the signature you provided. Check your key and signing method."}
		case strings.HasPrefix(message, "x-amz-content-sha256"):
			return errInvalid.messagef("%s", message)
		case strings.HasPrefix(message, "There were headers"):
			return errAccessDenied.messagef("%s", message)
		}
		return &Error{Status: 400, Code: "AuthorizationHeaderMalformed", Message: message}
	case wire.IncompleteSignature:
		if presigned {
			return &Error{Status: 400, Code: "AuthorizationQueryParametersError", Message: message}
		}
		return &Error{Status: 400, Code: "AuthorizationHeaderMalformed", Message: message}
	case wire.Serialization:
		return errIncomplete.messagef("%s", message)
	case wire.Throttling, wire.TooManyRequests:
		return &Error{Status: 503, Code: "SlowDown", Message: "Please reduce your request rate."}
	case wire.RequestEntityTooLarge:
		return errTooLarge.messagef("%s", message)
	case wire.UnknownOperation:
		return errNotImplemented.messagef("%s", message)
	}
	return &Error{Status: ex.Status(), Code: strings.TrimSuffix(ex.Code(), "Exception"), Message: message}
}

// Refuse answers an error: of a signature, or of what stands before S3.
func (e *Endpoint) Refuse(w http.ResponseWriter, req *http.Request, err error) {
	refused := e.explained(req, err)
	wire.RecordOf(req.Context()).Code = refused.Code
	id := wire.RequestID(req.Context())
	text := refused.text(req.URL.Path, id)
	h := w.Header()
	h.Set("X-Amz-Request-Id", id)
	h.Set("X-Amz-Id-2", id)
	if req.Method != http.MethodHead {
		h.Set("Content-Type", xmlType)
		h.Set("Content-Length", strconv.Itoa(len(text)))
	}
	w.WriteHeader(refused.Status)
	if req.Method != http.MethodHead {
		_, _ = w.Write(text) // the client is gone
	}
}

const (
	xmlType   = "application/xml"
	xmlHeader = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
)

// text is the error as XML.
func (e *Error) text(resource, id string) []byte {
	var b strings.Builder
	b.WriteString(xmlHeader + "<Error>")
	element := func(name, text string) {
		b.WriteString("<" + name + ">")
		_ = xml.EscapeText(&b, []byte(text)) // a builder never fails
		b.WriteString("</" + name + ">")
	}
	element("Code", e.Code)
	element("Message", e.Message)
	for _, f := range e.Fields {
		element(f.Name, f.Text)
	}
	element("Resource", resource)
	element("RequestId", id)
	element("HostId", id)
	b.WriteString("</Error>")
	return []byte(b.String())
}

// readError reads the error that the backend answered. Without a body, as HEAD
// has none, the status tells.
func readError(status int, body []byte) *Error {
	var read struct {
		Fields []struct {
			XMLName xml.Name
			Text    string `xml:",chardata"`
		} `xml:",any"`
	}
	e := &Error{Status: status}
	if xml.Unmarshal(body, &read) == nil {
		for _, f := range read.Fields {
			switch name := f.XMLName.Local; name {
			case "Code":
				e.Code = f.Text
			case "Message":
				e.Message = f.Text
			case "RequestId", "HostId", "Resource":
			default:
				e.Fields = append(e.Fields, Field{name, f.Text})
			}
		}
	}
	if e.Code == "" {
		e.Code, e.Message = strings.ReplaceAll(http.StatusText(status), " ", ""), http.StatusText(status)
	}
	return e
}

// objectError is an error of S3's as readers of archives know it.
func objectError(err error) error {
	if refused, ok := errors.AsType[*Error](err); ok && refused.Status < http.StatusInternalServerError {
		return &lamina.ObjectError{Code: refused.Code, Message: refused.Message}
	}
	return err
}
