package resources

import (
	"bytes"
	"context"
	"crypto/md5" // S3 wants it of some bodies
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/lamina-run/lamina/wire/jsontarget"
)

// Bounds of what a step does on its own.
const (
	maxAnswer  = 16 << 20
	attempts   = 8                     // at a request that is throttled or met another change
	firstPause = 50 * time.Millisecond // between attempts; each takes twice as long
	lastPause  = 2 * time.Second
	pollEvery  = 20 * time.Millisecond // at first
)

// titles are the services as AWS's SDK for Java names them.
var titles = map[string]string{
	"lambda": "Lambda", "iam": "Iam", "logs": "CloudWatchLogs", "ssm": "Ssm", "s3": "S3", "cloudformation": "CloudFormation",
}

// request is one to a service.
type request struct {
	service string
	method  string
	path    string // escaped, with its query
	header  http.Header
	body    []byte
}

// send does a request, again when the service is busy, and returns the answer of a
// success. The error of another answer is a [*Failure].
func (w *work) send(ctx context.Context, r request) (answer []byte, header http.Header, err error) {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		answer, header, err = w.once(ctx, r)
		f, ok := errors.AsType[*Failure](err)
		if !ok || attempt == attempts || !again(f) {
			return answer, header, err
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, nil, err
		}
		pause = min(2*pause, lastPause)
	}
}

// again reports whether a request may succeed next time.
func again(f *Failure) bool {
	switch {
	case f.throttled(), f.Status == http.StatusServiceUnavailable, f.Status == http.StatusBadGateway:
		return true
	case f.Code == "ResourceConflictException":
		return strings.Contains(f.Message, "in progress") || strings.Contains(f.Message, "in the following state: Pending") || strings.Contains(f.Message, "concurrent")
	case f.Code == "ResourceInUseException":
		return strings.Contains(f.Message, "event source mapping because it is in use") // it is changing
	case f.Code == "OperationAborted", f.Code == "ConcurrentModification", f.Code == "OperationAbortedException":
		return true
	}
	return false
}

func (w *work) once(ctx context.Context, r request) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, "http://"+r.service+"."+w.Stack.Region+".amazonaws.com"+r.path, bytes.NewReader(r.body))
	if err != nil {
		return nil, nil, fmt.Errorf("request to %s: %w", r.service, err)
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	resp, err := w.set.o.Services.Do(r.service, req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		err = fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("request to %s: %w", r.service, err)
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		return answer, resp.Header, nil
	}
	f := &Failure{Service: titles[r.service], Status: resp.StatusCode, RequestID: resp.Header.Get("X-Amzn-Requestid")}
	f.read(answer, resp.Header)
	return nil, nil, f
}

// read finds code and message in an answer, of whichever protocol it is.
func (f *Failure) read(answer []byte, header http.Header) {
	f.Code = header.Get("X-Amzn-Errortype")
	if text := bytes.TrimSpace(answer); bytes.HasPrefix(text, []byte("<")) {
		var e struct {
			Code    string
			Message string
			Error   struct{ Code, Message string }
		}
		if xml.Unmarshal(text, &e) == nil {
			f.Code, f.Message = e.Code+e.Error.Code, e.Message+e.Error.Message
		}
	} else {
		var e map[string]any
		if json.Unmarshal(text, &e) == nil {
			for _, key := range []string{"message", "Message", "errorMessage"} {
				if m, ok := e[key].(string); ok && f.Message == "" {
					f.Message = m
				}
			}
			if code, ok := e["__type"].(string); ok && f.Code == "" {
				f.Code = code[strings.LastIndex(code, "#")+1:]
			}
		}
	}
	if f.Code == "" {
		f.Code = http.StatusText(f.Status)
	}
	if f.Message == "" {
		f.Message = f.Code
	}
}

// sleep waits, or returns why the context ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// await polls until done says so, or limit is over; then late is the error.
func (w *work) await(ctx context.Context, limit time.Duration, late error, done func() (bool, error)) error {
	end := w.set.o.Now().Add(limit)
	for pause := pollEvery; ; pause = min(pause*3/2, time.Second) {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if !w.set.o.Now().Before(end) {
			return late
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// object is a JSON object as it travels.
type object = map[string]any

// lambda does an operation of Lambda's. Out may be nil.
func (w *work) lambda(ctx context.Context, method, path string, in object, out any) error {
	r := request{service: "lambda", method: method, path: path}
	if in != nil {
		var err error
		if r.body, err = marshal(in); err != nil {
			return fmt.Errorf("request to lambda: %w", err)
		}
		r.header = http.Header{"Content-Type": {"application/json"}}
	}
	answer, _, err := w.send(ctx, r)
	if err != nil || out == nil {
		return err
	}
	return decode("lambda", answer, out)
}

func decode(service string, answer []byte, out any) error {
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	if err := d.Decode(out); err != nil {
		return fmt.Errorf("answer of %s: %w", service, err)
	}
	return nil
}

// target does an operation of a service of the JSON protocol.
func (w *work) target(ctx context.Context, service, operation string, in object, out any) error {
	body, err := marshal(in)
	if err != nil {
		return fmt.Errorf("request to %s: %w", service, err)
	}
	answer, _, err := w.send(ctx, request{
		service: service, method: http.MethodPost, path: "/", body: body,
		header: http.Header{"Content-Type": {jsontarget.ContentType}, http.CanonicalHeaderKey(jsontarget.Header): {operation}},
	})
	if err != nil || out == nil {
		return err
	}
	return decode(service, answer, out)
}

func (w *work) logs(ctx context.Context, operation string, in object, out any) error {
	return w.target(ctx, "logs", "Logs_20140328."+operation, in, out)
}

func (w *work) ssm(ctx context.Context, operation string, in object, out any) error {
	return w.target(ctx, "ssm", "AmazonSSM."+operation, in, out)
}

// versions of the services of the query protocol.
var queryVersions = map[string]string{"iam": "2010-05-08", "cloudformation": "2010-05-15"}

// query does an operation of a service of the query protocol. Out is what is
// inside of the answer's outermost element; it may be nil.
func (w *work) query(ctx context.Context, service, action string, in url.Values, out any) error {
	form := url.Values{"Action": {action}, "Version": {queryVersions[service]}}
	for name, values := range in {
		form[name] = values
	}
	answer, _, err := w.send(ctx, request{
		service: service, method: http.MethodPost, path: "/", body: []byte(form.Encode()),
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
	})
	if err != nil || out == nil {
		return err
	}
	if err := xml.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("answer of %s: %w", service, err)
	}
	return nil
}

func (w *work) iam(ctx context.Context, action string, in url.Values, out any) error {
	return w.query(ctx, "iam", action, in, out)
}

// s3 does a request about a bucket. Query is the sub-resource, such as "policy";
// body is XML, or JSON of a policy.
func (w *work) s3(ctx context.Context, method, bucket, query string, header http.Header, body []byte) ([]byte, error) {
	r := request{service: "s3", method: method, path: "/" + url.PathEscape(bucket), header: http.Header{}, body: body}
	if query != "" {
		r.path += "?" + query
	}
	for name, values := range header {
		r.header[http.CanonicalHeaderKey(name)] = values
	}
	if body != nil {
		sum := md5.Sum(body)
		r.header.Set("Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
		r.header.Set("Content-Type", "application/xml")
	}
	answer, _, err := w.send(ctx, r)
	return answer, err
}
