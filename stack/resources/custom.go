package resources

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

const (
	serviceToken   = "ServiceToken"
	serviceTimeout = "ServiceTimeout"
	answerLimit    = time.Hour // when the properties say nothing
)

var functionToken = regexp.MustCompile(`^arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:[^\s]+$`)

func checkCustom(c *checker, p map[string]any) {
	if token, ok := p[serviceToken].(string); ok {
		if strings.Contains(token, ":sns:") {
			c.add("/"+serviceToken, "Lamina has no SNS: want the ARN of a Lambda function")
		} else if !functionToken.MatchString(token) {
			c.add("/"+serviceToken, "want the ARN of a Lambda function, not %.200q", token)
		}
	}
	if v, ok := p[serviceTimeout]; ok && !unknown(v) {
		if n, ok := asInteger(v); ok && (n < 1 || n > 3600) {
			c.add("/"+serviceTimeout, "%d is not between 1 and 3600", n)
		}
	}
}

// uuidOf makes the same UUID of the same text.
func uuidOf(text string) string {
	b := sha256.Sum256([]byte(text))
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// customRequest is what a custom resource's function is invoked with.
type customRequest struct {
	RequestType           string
	ServiceToken          string
	ResponseURL           string
	StackID               string `json:"StackId"`
	RequestID             string `json:"RequestId"`
	LogicalResourceID     string `json:"LogicalResourceId"`
	PhysicalResourceID    string `json:"PhysicalResourceId,omitzero"`
	ResourceType          string
	ResourceProperties    any
	OldResourceProperties any `json:",omitzero"`
}

// customResponse is what it answers.
type customResponse struct {
	Status             string
	Reason             string
	PhysicalResourceID string `json:"PhysicalResourceId"`
	NoEcho             bool
	Data               map[string]any
}

// asTexts makes strings of all scalars, as CloudFormation hands them to custom
// resources.
func asTexts(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, v := range v {
			if v != nil {
				out[key] = asTexts(v)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, v := range v {
			out[i] = asTexts(v)
		}
		return out
	}
	if text, ok := asString(v); ok {
		return text
	}
	return v
}

// Notes of a custom resource's step, each before its letterbox.
const (
	noteAsking = "asking "
	noteAsked  = "asked "
)

// ask invokes the function and waits for its answer. An attempt after one that
// invoked it waits for that one's.
func (w *work) ask(ctx context.Context, kind string) (*customResponse, error) {
	r := w.set.o.Responses
	if r == nil {
		return nil, invalid("Lamina has no custom resources here.")
	}
	token := w.in.str(serviceToken)
	base, err := w.reachable(ctx, token)
	if err != nil {
		return nil, err
	}
	limit := answerLimit
	if n, ok := w.in.int(serviceTimeout); ok {
		limit = time.Duration(n) * time.Second
	}
	box, asked := strings.CutPrefix(w.Note, noteAsked)
	if !asked {
		var noted bool
		if box, noted = strings.CutPrefix(w.Note, noteAsking); !noted {
			box = newBox()
			if err := w.Keep(noteAsking + box); err != nil {
				return nil, err
			}
		}
	}
	until, err := r.open(ctx, box, boxResponse, limit)
	if err != nil {
		return nil, err
	}
	id := uuidOf(w.Token)
	if !asked {
		in := customRequest{
			RequestType: kind, ServiceToken: token, ResponseURL: address(base, id, box), StackID: w.Stack.ID, RequestID: id,
			LogicalResourceID: w.LogicalID, PhysicalResourceID: w.PhysicalID, ResourceType: w.Type, ResourceProperties: asTexts(w.Properties),
		}
		if kind == "Update" {
			in.OldResourceProperties = asTexts(w.Old)
		}
		body, err := marshal(in)
		if err != nil {
			return nil, err
		}
		_, _, err = w.send(ctx, request{
			service: "lambda", method: http.MethodPost, path: functionPath(token) + "/invocations", body: body,
			header: http.Header{"X-Amz-Invocation-Type": {"Event"}, "Content-Type": {"application/json"}},
		})
		if err != nil {
			return nil, err
		}
		if err := w.Keep(noteAsked + box); err != nil {
			return nil, err
		}
	}
	letters, err := r.wait(ctx, box, 1, until, nil)
	if err != nil {
		return nil, err
	}
	if len(letters) == 0 {
		return nil, because("CloudFormation did not receive a response from your Custom Resource. Please check your logs for requestId [%s]. "+
			"If you are using the Python cfn-response module, you may need to update your Lambda function code so that CloudFormation can attach the updated version.", id)
	}
	var out customResponse
	if err := json.Unmarshal([]byte(letters[0].Body), &out); err != nil {
		return nil, because("Invalid response object: it is not JSON of the form that CloudFormation expects")
	}
	switch out.Status {
	case "SUCCESS":
		return &out, nil
	case "FAILED":
		reason := out.Reason
		if reason == "" {
			reason = "No reason provided"
		}
		return &out, because("Received response status [FAILED] from custom resource. Message returned: %s (RequestId: %s)", reason, id)
	}
	return &out, because("Invalid response object: Status is %q; want SUCCESS or FAILED (RequestId: %s)", out.Status, id)
}

// reachable is the URL at which the function of a custom resource can answer.
func (w *work) reachable(ctx context.Context, token string) (string, error) {
	o := &w.set.o.Responses.o
	if o.Secure == "" && o.Plain == "" {
		return "", invalid("Functions can't answer CloudFormation here, since they reach no network: custom resources need lamina serve --network nat or host.")
	}
	// Java trusts no authority but those of its own list, and Ruby those that were
	// compiled in; their clients honour scheme and port of the URL.
	var f struct{ Runtime string }
	if err := w.lambda(ctx, http.MethodGet, functionPath(token)+"/configuration", nil, &f); err != nil {
		f.Runtime = "" // who may invoke a function may not always read it; invoking tells what is wrong
	}
	plain := strings.HasPrefix(f.Runtime, "java") || strings.HasPrefix(f.Runtime, "ruby")
	if o.Secure == "" || plain && o.Plain != "" {
		return o.Plain, nil
	}
	return o.Secure, nil
}

func (c *customResponse) made(id string) Made {
	if c.PhysicalResourceID != "" {
		id = c.PhysicalResourceID
	}
	return Made{PhysicalID: id, Attributes: c.Data, NoEcho: c.NoEcho}
}

const maxPhysicalID = 1024

func (c *customResponse) check() error {
	if n := len(c.PhysicalResourceID); n == 0 || n > maxPhysicalID {
		return because("Invalid PhysicalResourceId")
	}
	return nil
}

func createCustom(ctx context.Context, w *work) (Made, error) {
	out, err := w.ask(ctx, "Create")
	switch {
	case out == nil && (w.Note == "" && isBeforeAsking(err)):
		return Made{}, err
	case out == nil:
		// Nobody knows what the function did.
		return Made{PhysicalID: w.generated(maxPhysicalID)}, err
	case err == nil:
		err = out.check()
	}
	return out.made(w.generated(maxPhysicalID)), err
}

// isBeforeAsking reports whether an error says that the function was not invoked.
func isBeforeAsking(err error) bool {
	_, ok := asFailure(err)
	return ok
}

func updateCustom(ctx context.Context, w *work) (Made, error) {
	if w.in.str(serviceToken) != w.old.str(serviceToken) {
		return Made{PhysicalID: w.PhysicalID}, because("Modifying service token is not allowed.")
	}
	out, err := w.ask(ctx, "Update")
	if out == nil || err != nil {
		return Made{PhysicalID: w.PhysicalID, Attributes: w.Attributes}, err
	}
	return out.made(w.PhysicalID), out.check()
}

func deleteCustom(ctx context.Context, w *work) error {
	_, err := w.ask(ctx, "Delete")
	if isGone(err) { // the function is, not what it made
		return errors.New(w.told(err).Error())
	}
	return err
}
