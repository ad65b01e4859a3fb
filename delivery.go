package lamina

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// DeliveryKind says what a message about an event's end is for.
type DeliveryKind string

// Kinds of deliveries, named after what AWS counts when one fails.
const (
	ToDestination DeliveryKind = "DestinationDeliveryFailures"
	ToDeadLetters DeliveryKind = "DeadLetterErrors"
)

// Delivery is a message about the end of an event, on its way to a function or
// queue.
type Delivery struct {
	ID        string // the request ID, if the target is a function
	Kind      DeliveryKind
	RequestID string // of the event
	Function  FunctionID
	Qualifier string // that the event was invoked with, or empty
	Message   Message
	TraceID   string // for the target's invocation
	Created   time.Time
	Attempts  int // that failed
}

// Message is what a queue or function gets.
type Message struct {
	Target     string // ARN
	Body       []byte // JSON in UTF-8
	Attributes []Attribute
}

// Attribute is a message attribute of SQS.
type Attribute struct {
	Name, Type, Value string
}

// Service is the service of the target's ARN, empty when it is none.
func (m Message) Service() string { return ServiceOf(m.Target) }

// ServiceOf is the service of an ARN, empty for other text.
func ServiceOf(arn string) string {
	parts := strings.SplitN(arn, ":", 4)
	if len(parts) < 4 || parts[0] != "arn" {
		return ""
	}
	return parts[2]
}

// DeliveryLife is how long a delivery is tried.
const DeliveryLife = 6 * time.Hour

// QueueError is the refusal of a queue to take a message, in SQS's own words.
type QueueError struct {
	Code    string // such as AWS.SimpleQueueService.NonExistentQueue
	Message string
	// Final says that the same message will not be taken later.
	Final bool
}

func (e *QueueError) Error() string { return fmt.Sprintf("send message: %s: %s", e.Code, e.Message) }

// EventResult is what a run of an event came to. It is zero before the first run.
type EventResult struct {
	ExecutedVersion string // $LATEST or a number
	FunctionError   string
	Payload         []byte // JSON in UTF-8; empty when it was too large to keep
}

// ResultOf is the result of a run of v. A response that is no JSON becomes a
// JSON string, and one of more than most bytes is dropped.
func ResultOf(v Version, r Result, most int64) EventResult {
	out := EventResult{ExecutedVersion: v.Qualifier(), FunctionError: r.FunctionError, Payload: r.Payload}
	if !json.Valid(r.Payload) || !utf8.Valid(r.Payload) {
		out.Payload = jsonOf(string(r.Payload))
	}
	if int64(len(out.Payload)) > most {
		out.Payload = nil
	}
	return out
}

// record is what destinations get; the order of the members is AWS's.
type record struct {
	Version         string           `json:"version"`
	Timestamp       string           `json:"timestamp"`
	RequestContext  recordRequest    `json:"requestContext"`
	RequestPayload  json.RawMessage  `json:"requestPayload"`
	ResponseContext *recordResponse  `json:"responseContext,omitzero"`
	ResponsePayload *json.RawMessage `json:"responsePayload,omitzero"`
}

type recordRequest struct {
	RequestID              string `json:"requestId"`
	FunctionARN            string `json:"functionArn"`
	Condition              string `json:"condition"`
	ApproximateInvokeCount int    `json:"approximateInvokeCount"`
}

type recordResponse struct {
	StatusCode      int    `json:"statusCode"`
	ExecutedVersion string `json:"executedVersion"`
	FunctionError   string `json:"functionError,omitzero"`
}

// Record is what a destination gets about the end of e.
func (e Event) Record(condition EventCondition, now time.Time) []byte {
	qualifier := e.Qualifier
	if qualifier == "" {
		qualifier = Latest
	}
	r := record{
		Version:   "1.0",
		Timestamp: now.UTC().Format("2006-01-02T15:04:05.000Z"),
		RequestContext: recordRequest{
			RequestID: e.RequestID, FunctionARN: e.Function.QualifiedARN(qualifier),
			Condition: string(condition), ApproximateInvokeCount: e.Attempts,
		},
		RequestPayload: e.Payload,
	}
	if last := e.Last; last.ExecutedVersion != "" {
		r.ResponseContext = &recordResponse{StatusCode: 200, ExecutedVersion: last.ExecutedVersion, FunctionError: last.FunctionError}
		if len(last.Payload) > 0 {
			r.ResponsePayload = (*json.RawMessage)(&last.Payload)
		}
	}
	return jsonOf(r)
}

// DeadLetter is what a dead-letter target gets about the end of e: the event as
// it was sent, and why it was given up.
func (e Event) DeadLetter(condition EventCondition) (body []byte, attributes []Attribute) {
	code, message := "200", errorMessage(e.Last)
	if e.Last.ExecutedVersion == "" { // it never ran
		code, message = "429", "Rate Exceeded."
		if condition == EventRecursiveLoop {
			code, message = "400", RecursiveLoopMessage
		}
	}
	return e.Payload, []Attribute{
		{"RequestID", "String", e.RequestID},
		{"ErrorCode", "Number", code},
		{"ErrorMessage", "String", message},
	}
}

// RecursiveLoopMessage is what is said about an invocation that is stopped.
const RecursiveLoopMessage = "Lambda has detected your function being invoked in a recursive loop and stopped your function's invocation."

// maxErrorMessage is how much of it a message attribute holds (documented: 1 KB).
const maxErrorMessage = 1024

// errorMessage is the function's own, in characters that SQS takes.
func errorMessage(last EventResult) string {
	var told struct {
		ErrorMessage string `json:"errorMessage"`
	}
	// An error that is no object, or whose message is no string, has none.
	if json.Unmarshal(last.Payload, &told) != nil || told.ErrorMessage == "" {
		return "Unhandled"
	}
	text := strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
			return ' '
		}
		return r
	}, told.ErrorMessage)
	if len(text) > maxErrorMessage {
		text = text[:maxErrorMessage]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
	}
	return text
}

// jsonOf writes v without escapes for HTML.
func jsonOf(v any) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("write %T: %v", v, err)) // its JSON was checked when it came in
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}
