// Package query speaks AWS's query protocol: parameters come as a form, answers go
// as XML. It answers how such a request travels; what an operation does is its
// [Service]'s business.
package query

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina/wire"
)

// namespaces are the services of the query protocol and what their XML is of.
var namespaces = map[string]string{
	"sts":            "https://sts.amazonaws.com/doc/2011-06-15/",
	"iam":            "https://iam.amazonaws.com/doc/2010-05-08/",
	"cloudformation": "http://cloudformation.amazonaws.com/doc/2010-05-15/",
}

// Speaks reports whether a service, by its name in signatures, speaks this
// protocol.
func Speaks(service string) bool { return namespaces[service] != "" }

// Error is an error of a query service as its client sees it.
type Error struct {
	Status  int // HTTP
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf makes an Error.
func Errorf(status int, code, format string, args ...any) error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Action answers one operation. Its result becomes the members of <Action>Result;
// nil is an operation without one. The error is an [*Error], a [*wire.Exception],
// or says that something is broken.
type Action func(ctx context.Context, in Form) (result any, err error)

// Service answers the requests of one service. Its fields do not change.
type Service struct {
	Name    string // of signatures: iam
	Version string // 2010-05-08
	MaxBody int64  // bytes of a form; MaxBody unless set
	Failure string // the code of a failure that is nobody's fault but the server's
	Actions map[string]Action
	Later   map[string]bool   // operations that are known, but not offered
	Why     map[string]string // of those: what is told instead of "yet"
	Telling []string          // parameters that name what a request is about, for the audit
	// Mutates reports whether an operation may change something, or hands out keys.
	Mutates func(action string) bool
	// Prove refuses a request whose body turned out not to be its signer's; it is
	// asked once the body is read to its end.
	Prove func(ctx context.Context) error
	// Permit refuses who may not; nil refuses nobody.
	Permit func(ctx context.Context, action string, in Form) error
	Log    *slog.Logger
}

// ServeHTTP answers one request.
func (s *Service) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	ctx := req.Context()
	id := wire.RequestID(ctx)
	name, result, err := s.answer(ctx, req)
	if err != nil {
		s.fail(ctx, w, name, err)
		return
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `<%sResponse xmlns="%s">`, name, namespaces[s.Name])
	if result != nil {
		if err := xml.NewEncoder(&out).EncodeElement(result, xml.StartElement{Name: xml.Name{Local: name + "Result"}}); err != nil {
			s.fail(ctx, w, name, fmt.Errorf("encode answer: %w", err))
			return
		}
	}
	fmt.Fprintf(&out, `<ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata></%sResponse>`, id, name)
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("Content-Length", strconv.Itoa(out.Len()))
	_, _ = out.WriteTo(w) // the client is gone
}

func (s *Service) answer(ctx context.Context, req *http.Request) (name string, result any, err error) {
	in, err := readForm(req, cmp.Or(s.MaxBody, MaxBody))
	if err != nil {
		return "", nil, err
	}
	if err := s.Prove(ctx); err != nil {
		return "", nil, err
	}
	name = in.Get("Action")
	do, offered := s.Actions[name]
	switch version := in.Get("Version"); {
	case name == "":
		return "", nil, Errorf(http.StatusBadRequest, "MissingAction", "The request must contain the parameter Action")
	case version != s.Version || !offered && !s.Later[name]:
		return "", nil, Errorf(http.StatusBadRequest, "InvalidAction", "Could not find operation %s for version %s", Printable(name), Printable(version))
	case !offered && s.Why[name] != "":
		return "", nil, Errorf(http.StatusBadRequest, "InvalidAction", "Lamina does not offer %s: %s", name, s.Why[name])
	case !offered:
		return "", nil, Errorf(http.StatusBadRequest, "InvalidAction", "Lamina does not offer %s yet.", name)
	}
	record := wire.RecordOf(ctx)
	record.Operation, record.Mutates = name, s.Mutates(name)
	for _, param := range s.Telling {
		record.Tell(param, in.Get(param))
	}
	if s.Permit != nil {
		if err := s.Permit(ctx, name, in); err != nil {
			return name, nil, err
		}
	}
	result, err = do(ctx, in)
	return name, result, err
}

// fail answers an error, and logs those that are nobody's business but ours.
func (s *Service) fail(ctx context.Context, w http.ResponseWriter, name string, err error) {
	id := wire.RequestID(ctx)
	if ex, ok := errors.AsType[*wire.Exception](err); ok {
		wire.RecordOf(ctx).Code = ex.Code()
		WriteError(w, s.Name, id, ex)
		return
	}
	q, ok := errors.AsType[*Error](err)
	if !ok {
		s.Log.LogAttrs(ctx, slog.LevelError, "operation failed",
			slog.String("service", s.Name), slog.String("operation", name), slog.String("request_id", id), slog.Any("err", err))
		q = &Error{http.StatusInternalServerError, s.Failure, "Internal error; see the server's log for request " + id}
	}
	wire.RecordOf(ctx).Code = q.Code
	writeError(w, s.Name, id, q)
}

// codes are the exceptions that query services call otherwise.
var codes = map[string]string{
	"UnrecognizedClientException": "InvalidClientTokenId",
	"InvalidSignatureException":   "SignatureDoesNotMatch",
	"ServiceException":            "ServiceFailure",
}

// WriteError answers a request for a service that speaks this protocol with an
// exception, in XML and under the name that query services have for it.
func WriteError(w http.ResponseWriter, service, requestID string, ex *wire.Exception) {
	q := &Error{Status: ex.Status(), Message: ex.Message()}
	var renamed bool
	if q.Code, renamed = codes[ex.Code()]; !renamed {
		q.Code = strings.TrimSuffix(ex.Code(), "Exception")
	}
	if q.Code == "IncompleteSignature" {
		q.Status = http.StatusBadRequest
	}
	writeError(w, service, requestID, q)
}

func writeError(w http.ResponseWriter, service, requestID string, q *Error) {
	type inner struct {
		Type    string
		Code    string
		Message string
	}
	answer := struct {
		XMLName   xml.Name `xml:"ErrorResponse"`
		XMLNS     string   `xml:"xmlns,attr,omitempty"`
		Error     inner
		RequestID string `xml:"RequestId"`
	}{XMLNS: namespaces[service], Error: inner{"Sender", q.Code, q.Message}, RequestID: requestID}
	if q.Status >= http.StatusInternalServerError {
		answer.Error.Type = "Receiver"
	}
	text, err := xml.Marshal(answer)
	if err != nil {
		panic(fmt.Sprintf("query: error %s: %v", q.Code, err)) // strings always marshal
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(q.Status)
	_, _ = w.Write(text) // the client is gone
}
