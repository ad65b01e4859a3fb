package identity

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina/wire"
)

const (
	formType     = "application/x-www-form-urlencoded"
	maxQueryBody = 1 << 20

	stsVersion = "2011-06-15"
	iamVersion = "2010-05-08"
)

// namespaces are the services of the query protocol and what their XML is of.
var namespaces = map[string]string{
	"sts":            "https://sts.amazonaws.com/doc/" + stsVersion + "/",
	"iam":            "https://iam.amazonaws.com/doc/" + iamVersion + "/",
	"cloudformation": "http://cloudformation.amazonaws.com/doc/2010-05-15/",
}

// queryError is an error of a query service as its client sees it.
type queryError struct {
	status  int
	code    string
	message string
}

func (e *queryError) Error() string { return e.code + ": " + e.message }

// refuse makes a queryError.
func refuse(status int, code, format string, args ...any) error {
	return &queryError{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// action answers one operation. Its result becomes the members of <Action>Result;
// nil is an operation without one.
type action func(ctx context.Context, c Caller, in form) (result any, err error)

// queryService is a service of the AWS query protocol: parameters as a form,
// answers as XML.
type queryService struct {
	name    string
	version string
	actions map[string]action
	// permit refuses who may not; nil refuses nobody.
	permit func(ctx context.Context, c Caller, action string, in form) error
	later  map[string]bool // operations that are known, but not offered
	log    *slog.Logger
}

// ServeHTTP answers one request, whose caller is in its context.
func (s *queryService) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	ctx := req.Context()
	id := wire.RequestID(ctx)
	name, result, err := s.answer(ctx, req)
	if err != nil {
		s.fail(ctx, w, name, err)
		return
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `<%sResponse xmlns="%s">`, name, namespaces[s.name])
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

func (s *queryService) answer(ctx context.Context, req *http.Request) (name string, result any, err error) {
	in, err := readForm(req)
	if err != nil {
		return "", nil, err
	}
	// Only now is the body read to its end, and the caller proven.
	caller, ok := CallerOf(ctx)
	if !ok {
		return "", nil, wire.MissingAuthenticationToken.New("Missing Authentication Token")
	}
	name = in.get("Action")
	do, offered := s.actions[name]
	switch version := in.get("Version"); {
	case name == "":
		return "", nil, refuse(http.StatusBadRequest, "MissingAction", "The request must contain the parameter Action")
	case version != s.version || !offered && !s.later[name]:
		return "", nil, refuse(http.StatusBadRequest, "InvalidAction", "Could not find operation %s for version %s", printable(name), printable(version))
	case !offered:
		return "", nil, refuse(http.StatusBadRequest, "InvalidAction", "Lamina does not offer %s yet.", name)
	}
	record := wire.RecordOf(ctx)
	record.Operation, record.Mutates = name, mutates(name)
	for _, param := range telling {
		record.Tell(param, in.get(param))
	}
	if s.permit != nil {
		if err := s.permit(ctx, caller, name, in); err != nil {
			return name, nil, err
		}
	}
	result, err = do(ctx, caller, in)
	return name, result, err
}

// telling are the parameters that name what a request is about.
var telling = []string{
	"RoleName", "UserName", "GroupName", "PolicyArn", "PolicyName", "AccessKeyId", "RoleArn", "RoleSessionName", "InstanceProfileName", "VersionId",
}

// mutates reports whether an operation may change something, or hands out keys.
func mutates(action string) bool {
	return !strings.HasPrefix(action, "Get") && !strings.HasPrefix(action, "List") && !strings.HasPrefix(action, "Simulate") || action == "GetSessionToken" || action == "GetFederationToken"
}

// fail answers an error, and logs those that are nobody's business but ours.
func (s *queryService) fail(ctx context.Context, w http.ResponseWriter, name string, err error) {
	id := wire.RequestID(ctx)
	if ex, ok := errors.AsType[*wire.Exception](err); ok {
		wire.RecordOf(ctx).Code = ex.Code()
		WriteQueryError(w, s.name, id, ex)
		return
	}
	q, ok := errors.AsType[*queryError](err)
	if !ok {
		s.log.LogAttrs(ctx, slog.LevelError, "operation failed",
			slog.String("service", s.name), slog.String("operation", name), slog.String("request_id", id), slog.Any("err", err))
		q = &queryError{http.StatusInternalServerError, "ServiceFailure", "Internal error; see the server's log for request " + id}
	}
	wire.RecordOf(ctx).Code = q.code
	writeQueryError(w, s.name, id, q)
}

// queryCodes are the exceptions that query services call otherwise.
var queryCodes = map[string]string{
	"UnrecognizedClientException": "InvalidClientTokenId",
	"InvalidSignatureException":   "SignatureDoesNotMatch",
	"ServiceException":            "ServiceFailure",
}

// WriteQueryError answers a request for a query service (sts, iam,
// cloudformation) with an exception, in XML and under the name that those have
// for it.
func WriteQueryError(w http.ResponseWriter, service, requestID string, ex *wire.Exception) {
	q := &queryError{status: ex.Status(), message: ex.Message()}
	var renamed bool
	if q.code, renamed = queryCodes[ex.Code()]; !renamed {
		q.code = strings.TrimSuffix(ex.Code(), "Exception")
	}
	if q.code == "IncompleteSignature" {
		q.status = http.StatusBadRequest
	}
	writeQueryError(w, service, requestID, q)
}

func writeQueryError(w http.ResponseWriter, service, requestID string, q *queryError) {
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
	}{XMLNS: namespaces[service], Error: inner{"Sender", q.code, q.message}, RequestID: requestID}
	if q.status >= http.StatusInternalServerError {
		answer.Error.Type = "Receiver"
	}
	text, err := xml.Marshal(answer)
	if err != nil {
		panic(fmt.Sprintf("identity: error %s: %v", q.code, err)) // strings always marshal
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(q.status)
	_, _ = w.Write(text) // the client is gone
}

// form is the parameters of a query request.
type form struct{ values url.Values }

// readForm reads the parameters from the query and the body.
func readForm(req *http.Request) (form, error) {
	values, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return form{}, refuse(http.StatusBadRequest, "MalformedQueryString", "The query string contains a syntax error")
	}
	if req.Body == nil {
		return form{values}, nil
	}
	text, err := io.ReadAll(io.LimitReader(req.Body, maxQueryBody+1))
	switch {
	case len(text) > maxQueryBody:
		return form{}, refuse(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Request must be smaller than %d bytes", maxQueryBody)
	case err != nil:
		return form{}, unread(err)
	}
	body, err := url.ParseQuery(string(text))
	if err != nil {
		return form{}, refuse(http.StatusBadRequest, "MalformedQueryString", "The body contains a syntax error")
	}
	for name, v := range body {
		values[name] = append(values[name], v...)
	}
	return form{values}, nil
}

// unread is the error of a body that could not be read: the verifier's own, or
// that the client hung up.
func unread(err error) error {
	if ex, ok := errors.AsType[*wire.Exception](err); ok {
		return ex
	}
	return refuse(http.StatusBadRequest, "MalformedQueryString", "The request body ended before its end")
}

func (f form) get(name string) string { return f.values.Get(name) }

// given returns a parameter, or nil when there is none.
func (f form) given(name string) *string {
	v, ok := f.values[name]
	if !ok {
		return nil
	}
	return &v[0]
}

// list returns name.member.1, name.member.2 and so on.
func (f form) list(name string) []string {
	var all []string
	for i := 1; ; i++ {
		v := f.given(name + ".member." + strconv.Itoa(i))
		if v == nil {
			return all
		}
		all = append(all, *v)
	}
}

// xmlTime is a time as query services write it.
type xmlTime time.Time

// MarshalText implements encoding.TextMarshaler.
func (t xmlTime) MarshalText() ([]byte, error) {
	return []byte(time.Time(t).UTC().Format(time.RFC3339)), nil
}
