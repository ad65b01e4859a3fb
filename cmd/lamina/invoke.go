package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

type invokeVerb struct {
	Function string `arg:"" help:"Name of the function, with the version or alias after a colon, or its ARN."`
	Payload  string `short:"p" default:"{}" placeholder:"JSON" help:"What the function gets: JSON, @FILE, or - for what is piped in."`
	Event    bool   `help:"Queue it as an event, and do not wait for what comes of it."`
	Tail     bool   `short:"t" help:"Show the last 4 KB of the log, too."`
	DryRun   bool   `help:"See whether it could be invoked, and do not."`
	output
	stackServer
}

// Validate is called by kong after parsing.
func (v *invokeVerb) Validate() error {
	if v.Event && (v.Tail || v.DryRun) || v.DryRun && v.Tail {
		return errors.New("--event, --tail and --dry-run: give one of them")
	}
	return nil
}

// invoked is the answer of Invoke.
type invoked struct {
	StatusCode      int
	ExecutedVersion string          `json:",omitempty"`
	FunctionError   string          `json:",omitempty"`
	RequestId       string          //nolint:revive,staticcheck // as AWS spells it
	TraceId         string          `json:",omitempty"` //nolint:revive,staticcheck // as AWS spells it
	Log             string          `json:",omitempty"`
	Payload         json.RawMessage `json:",omitempty"`

	raw []byte
}

// Run prints what the function returned, and the log to the notes. A function
// that failed has printed its error.
func (v *invokeVerb) Run(ctx context.Context, s streams) error {
	payload, err := readPayload(v.Payload, os.Stdin)
	if err != nil {
		return err
	}
	api, err := v.client()
	if err != nil {
		return err
	}
	out, err := v.invoke(ctx, api, payload)
	if err != nil {
		return v.explain(told("invoke "+v.Function, err))
	}
	if out.Log != "" && v.Output != "json" {
		fmt.Fprint(s.notes, safeText(s.notes, out.Log))
	}
	err = v.answer(s.out, out, func(w io.Writer) error {
		switch {
		case v.Event:
			fmt.Fprintf(s.notes, "queued as %s\n", out.RequestId)
			return nil
		case v.DryRun:
			fmt.Fprintf(s.notes, "%s can be invoked\n", v.Function)
			return nil
		}
		_, err := w.Write(out.raw)
		if err == nil && !bytes.HasSuffix(out.raw, []byte("\n")) {
			_, err = fmt.Fprintln(w)
		}
		return err
	})
	if err == nil && out.FunctionError != "" {
		return &coded{exitFunction, fmt.Errorf("%s failed: %s", v.Function, out.FunctionError)}
	}
	return err
}

// readPayload is the payload that an argument means.
func readPayload(text string, in io.Reader) (payload []byte, err error) {
	switch name, file := strings.CutPrefix(text, "@"); {
	case text == "-":
		if payload, err = io.ReadAll(io.LimitReader(in, maxAnswer)); err != nil {
			return nil, fmt.Errorf("read the payload: %w", err)
		}
	case file:
		if payload, err = os.ReadFile(name); err != nil {
			return nil, fmt.Errorf("read the payload: %w", err)
		}
	default:
		payload = []byte(text)
	}
	if len(bytes.TrimSpace(payload)) > 0 && !json.Valid(payload) {
		return nil, hint(errors.New("the payload is no JSON"), `quote it for the shell: --payload '{"name": "Ada"}', or give a file: --payload @event.json`)
	}
	return payload, nil
}

// invoke sends the request. Its errors are the server's, not the function's.
func (v *invokeVerb) invoke(ctx context.Context, api *stackClient, payload []byte) (out invoked, err error) {
	at := api.endpoint + "/2015-03-31/functions/" + url.PathEscape(v.Function) + "/invocations"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(payload))
	if err != nil {
		return out, fmt.Errorf("make request: %w", err)
	}
	kind := "RequestResponse"
	switch {
	case v.Event:
		kind = "Event"
	case v.DryRun:
		kind = "DryRun"
	}
	req.Header.Set("X-Amz-Invocation-Type", kind)
	if v.Tail {
		req.Header.Set("X-Amz-Log-Type", "Tail")
	}
	sum := sha256.Sum256(payload)
	if err := v4.NewSigner().SignHTTP(ctx, api.key, req, hex.EncodeToString(sum[:]), "lambda", api.region, time.Now()); err != nil {
		return out, fmt.Errorf("sign request: %w", err)
	}
	resp, err := api.http.Do(req)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if out.raw, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return out, fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode >= 300 {
		var why struct{ Message string }  // also matches message
		_ = json.Unmarshal(out.raw, &why) // the status says enough when the body is no JSON
		return out, &apiError{Status: resp.StatusCode, Code: resp.Header.Get("X-Amzn-Errortype"), Text: why.Message}
	}
	out.StatusCode, out.RequestId, out.TraceId = resp.StatusCode, resp.Header.Get("X-Amzn-Requestid"), resp.Header.Get("X-Amzn-Trace-Id")
	out.ExecutedVersion, out.FunctionError = resp.Header.Get("X-Amz-Executed-Version"), resp.Header.Get("X-Amz-Function-Error")
	log, err := base64.StdEncoding.DecodeString(resp.Header.Get("X-Amz-Log-Result"))
	if err != nil {
		return out, fmt.Errorf("read the log: %w", err)
	}
	out.Log = string(log)
	switch {
	case len(out.raw) == 0:
	case json.Valid(out.raw):
		out.Payload = out.raw
	default: // a runtime of one's own may return anything
		if out.Payload, err = json.Marshal(string(out.raw)); err != nil {
			return out, err
		}
	}
	return out, nil
}

// safeText is what a function printed, for w: on a terminal without what could
// move the cursor.
func safeText(w io.Writer, text string) string {
	if terminal(w) == nil {
		return text
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, text)
}
