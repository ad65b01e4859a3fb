package console

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// refusal is what a service answered in place of what it was asked for.
type refusal struct {
	Status  int
	Code    string
	Message string
}

func (r *refusal) Error() string { return r.Code + ": " + r.Message }

// refusedWith reports whether err is a service's refusal of that code.
func refusedWith(err error, code string) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && r.Code == code
}

// answerBytes bounds what is read of an answer.
const answerBytes = 64 << 20

// do sends a request in the caller's name and returns the answer. One that is no
// success is a *refusal.
func (v *visit) do(ctx context.Context, service, method, path, contentType string, header http.Header, body io.Reader) (http.Header, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+v.req.Host+path, body)
	if err != nil {
		return nil, nil, fmt.Errorf("ask %s: %w", service, err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.RemoteAddr, req.TLS = v.req.RemoteAddr, v.req.TLS
	resp, err := v.o.API.Do(service, req)
	if err != nil {
		return nil, nil, fmt.Errorf("ask %s: %w", service, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, answerBytes))
	if err != nil {
		return nil, nil, fmt.Errorf("ask %s: %w", service, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return nil, nil, refusalOf(resp, text)
	}
	return resp.Header, text, nil
}

// refusalOf reads an error in any of the services' protocols.
func refusalOf(resp *http.Response, text []byte) *refusal {
	r := &refusal{Status: resp.StatusCode, Code: resp.Header.Get("X-Amzn-Errortype"), Message: http.StatusText(resp.StatusCode)}
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("<")) {
		var in struct {
			Error struct{ Code, Message string } // of the query protocol
			Code  string                         // of S3
			Text  string                         `xml:"Message"`
		}
		if xml.Unmarshal(text, &in) == nil {
			r.Code, r.Message = in.Error.Code+in.Code, in.Error.Message+in.Text
		}
	} else {
		var in struct {
			Type    string `json:"__type"`
			Message string // also matches message
		}
		if json.Unmarshal(text, &in) == nil && in.Message != "" {
			r.Message = in.Message
		}
		if r.Code == "" {
			r.Code = in.Type
		}
	}
	r.Code, _, _ = strings.Cut(r.Code, ":")
	if _, name, ok := strings.Cut(r.Code, "#"); ok {
		r.Code = name
	}
	return r
}

// lambda asks Lambda's API, as JSON. The path may have a query; in and out may be nil.
func (v *visit) lambda(ctx context.Context, method, path string, in, out any) error {
	return v.asJSON(ctx, "lambda", method, path, "application/json", nil, in, out)
}

// target asks a service of the JSON 1.1 protocol, such as logs, by the target that
// its clients name: Logs_20140328.DescribeLogGroups.
func (v *visit) target(ctx context.Context, service, target string, in, out any) error {
	return v.asJSON(ctx, service, http.MethodPost, "/", "application/x-amz-json-1.1", http.Header{"X-Amz-Target": {target}}, in, out)
}

func (v *visit) asJSON(ctx context.Context, service, method, path, contentType string, header http.Header, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("ask %s: %w", service, err)
		}
		body = bytes.NewReader(text)
	} else {
		contentType = ""
	}
	_, text, err := v.do(ctx, service, method, path, contentType, header, body)
	if err != nil || out == nil || len(text) == 0 {
		return err
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("read answer of %s: %w", service, err)
	}
	return nil
}

// versions of the services that speak the query protocol.
var queryVersions = map[string]string{"iam": "2010-05-08", "sts": "2011-06-15", "cloudformation": "2010-05-15"}

// query asks a service of the query protocol. The answer's element
// <ActionResponse><ActionResult> is read into out.
func (v *visit) query(ctx context.Context, service, action string, parameters url.Values, out any) error {
	form := url.Values{"Action": {action}, "Version": {queryVersions[service]}}
	for name, values := range parameters {
		form[name] = values
	}
	_, text, err := v.do(ctx, service, http.MethodPost, "/", "application/x-www-form-urlencoded; charset=utf-8", nil, strings.NewReader(form.Encode()))
	if err != nil || out == nil {
		return err
	}
	d := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := d.Token()
		if err != nil {
			return fmt.Errorf("read answer of %s: no %sResult: %w", service, action, err)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == action+"Result" {
			if err := d.DecodeElement(out, &start); err != nil {
				return fmt.Errorf("read answer of %s: %w", service, err)
			}
			return nil
		}
	}
}

// maxPages bounds how many pages of a listing are read for one page of ours.
const maxPages = 200

// every reads all pages of a listing: list is given a marker, empty at first, and
// returns the next, empty at the end. It stops after maxPages.
func every(list func(marker string) (string, error)) (cut bool, err error) {
	marker := ""
	for range maxPages {
		if marker, err = list(marker); err != nil || marker == "" {
			return false, err
		}
	}
	return true, nil
}
