package control

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
	"unicode/utf8"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// settleWait is how long an invocation waits for a function that is still being
// prepared before it answers that it is pending.
const settleWait = 10 * time.Second

// Invoke runs a version of a function and answers what it returned. A function
// that fails is a success with FunctionError.
func (p *Plane) Invoke(ctx context.Context, in *wire.InvocationRequest) (*wire.InvocationResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	if err := p.checkInvocation(in); err != nil {
		return nil, err
	}
	clientContext, err := clientContextOf(in.ClientContext)
	if err != nil {
		return nil, err
	}
	payload := in.Payload
	if len(payload) == 0 {
		payload = []byte("{}")
	}
	if value(in.InvocationType) == "Event" {
		if err := p.accept(ctx, ref, payload, clientContext); err != nil {
			return nil, err
		}
		return &wire.InvocationResponse{StatusCode: ptr[int64](202)}, nil
	}
	v, err := p.invocable(ctx, ref)
	if err != nil {
		return nil, err
	}
	if value(in.InvocationType) == "DryRun" {
		return &wire.InvocationResponse{StatusCode: ptr[int64](204)}, nil
	}
	trace, err := p.trace(ctx, v, wire.TraceID(ctx))
	if err != nil {
		return nil, err
	}
	release, err := p.enter(ctx, v)
	if err != nil {
		return nil, err
	}
	defer release()
	result, err := p.run(ctx, lamina.Invocation{
		RequestID: wire.RequestID(ctx), Version: v.Version, InvokedARN: ref.arn(), Payload: payload,
		ClientContext: clientContext, Tail: value(in.LogType) == "Tail", TraceID: trace,
	}, 0)
	if err != nil {
		return nil, p.invokeError(ref, err)
	}
	out := &wire.InvocationResponse{
		StatusCode: ptr[int64](200), Payload: result.Payload, ExecutedVersion: ptr(v.Qualifier()), FunctionError: filled(result.FunctionError),
	}
	if value(in.LogType) == "Tail" {
		out.LogResult = ptr(base64.StdEncoding.EncodeToString(result.LogTail))
	}
	return out, nil
}

// invokeError says what kept a function from running at all.
func (p *Plane) invokeError(ref reference, err error) error {
	if lacks, ok := errors.AsType[*lamina.RuntimeError](err); ok {
		return wire.InvalidRuntime.Errorf("The runtime %s is not available on this machine. %s", lacks.Runtime, lacks.Hint)
	}
	if refused, ok := errors.AsType[*lamina.DirectoryError](err); ok {
		return wire.InvalidZipFile.Errorf("Hot reload of %s: %s.", refused.Directory, refused.Reason)
	}
	if errors.Is(err, lamina.ErrBusy) {
		return errThrottled("ConcurrentInvocationLimitExceeded")
	}
	return fmt.Errorf("invoke %s: %w", ref.arn(), err)
}

var errFailedState = wire.ResourceConflict.Errorf("The operation cannot be performed at this time. The function is currently in the following state: Failed")

func errThrottled(reason string) error {
	return wire.TooManyRequests.Errorf("Rate Exceeded.").With("Reason", reason)
}

// checkInvocation refuses what can be seen in the request alone.
func (p *Plane) checkInvocation(in *wire.InvocationRequest) error {
	if in.DurableExecutionName != nil {
		return wire.InvalidParameterValue.Errorf("Lamina does not offer durable executions.")
	}
	n := int64(len(in.Payload))
	if value(in.InvocationType) == "Event" && n > p.limits.EventPayload {
		return wire.RequestTooLarge.Errorf("%d byte payload is too large for the Event invocation type (limit %d bytes)", n, p.limits.EventPayload)
	}
	if n > p.limits.RequestPayload {
		return wire.RequestTooLarge.Errorf("Request must be smaller than %d bytes for the InvokeFunction operation", p.limits.RequestPayload)
	}
	if len(in.Payload) > 0 && (!json.Valid(in.Payload) || !utf8.Valid(in.Payload)) {
		return wire.InvalidRequestContent.Errorf("Could not parse request body into json: Could not parse payload into json: %s", jsonComplaint(in.Payload))
	}
	return nil
}

// jsonComplaint words the first mistake of a payload as the service's own parser
// does (recorded).
func jsonComplaint(payload []byte) string {
	const source = "\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: %d, column: %d]"
	const expected = "expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
	at := 0
	if e, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(payload, new(any))); ok {
		at = int(e.Offset) - 1
	} else {
		at = invalidUTF8(payload)
	}
	at = min(max(at, 0), len(payload)-1)
	line, column := 1, 1
	for _, b := range payload[:at] {
		column++
		if b == '\n' {
			line, column = line+1, 1
		}
	}
	switch b := payload[at]; {
	case b >= 0x80 && !utf8.Valid(payload[at:]) && b >= 0xc0, b >= 0x80 && at > 0:
		return fmt.Sprintf("Invalid UTF-8 start byte 0x%x"+source, b, line, column+1)
	case b < 0x20 || b >= 0x7f:
		return fmt.Sprintf("Unexpected character ((CTRL-CHAR, code %d)): %s"+source, b, expected, line, column)
	default:
		return fmt.Sprintf("Unexpected character ('%c' (code %d)): %s"+source, b, b, expected, line, column)
	}
}

// invalidUTF8 is where the first byte is that is no UTF-8; package json does not
// mind such bytes inside strings.
func invalidUTF8(payload []byte) int {
	for at := 0; at < len(payload); {
		r, size := utf8.DecodeRune(payload[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return 0
}

func clientContextOf(header *string) (string, error) {
	if header == nil || *header == "" {
		return "", nil
	}
	data, err := base64.StdEncoding.DecodeString(*header)
	if err != nil || !json.Valid(data) || !utf8.Valid(data) {
		return "", wire.InvalidRequestContent.Errorf("Client context must be a valid Base64-encoded JSON object.")
	}
	return string(data), nil
}

// runnable is a version that can be invoked now, and its function.
type runnable struct {
	lamina.Version
	function    lamina.Function
	provisioned int64 // of the function's, the version's share
}

// invocable finds the version to run, drawing among an alias's weights, and
// waits a while for one that is being prepared.
func (p *Plane) invocable(ctx context.Context, ref reference) (runnable, error) {
	deadline := time.NewTimer(settleWait)
	defer deadline.Stop()
	for {
		settled := p.settled.next() // before reading, so that no change is missed
		v, err := p.drawn(ctx, ref)
		if err != nil {
			return runnable{}, err
		}
		if v.Status.State == lamina.StateFailed {
			return runnable{}, errFailedState
		}
		if settledVersion(v.Version) {
			return v, nil
		}
		again := time.NewTimer(50 * time.Millisecond) // another server may be preparing it
		select {
		case <-settled:
		case <-again.C:
		case <-ctx.Done():
			err = fmt.Errorf("wait for %s: %w", ref.arn(), context.Cause(ctx))
		case <-deadline.C:
			err = errBusy(v.Version)
		}
		again.Stop()
		if err != nil {
			return runnable{}, err
		}
	}
}

// drawn reads the version that the reference means for this one invocation.
func (p *Plane) drawn(ctx context.Context, ref reference) (runnable, error) {
	commits, alone := p.store.Commits()
	if alone {
		if v, ok := p.recent.find(commits, ref); ok {
			return v, nil
		}
	}
	v, weighted, err := p.readRunnable(ctx, ref)
	if missing(err) {
		qualifier := ref.Qualifier
		if qualifier == "" {
			qualifier = lamina.Latest
		}
		return runnable{}, errNoFunction(ref.QualifiedARN(qualifier))
	}
	if err != nil {
		return runnable{}, fmt.Errorf("read function %s: %w", ref.arn(), err)
	}
	if alone && !weighted {
		p.recent.keep(commits, ref, v)
	}
	return v, nil
}

// readRunnable is drawn from the store. Weighted says that another invocation
// may run another version.
func (p *Plane) readRunnable(ctx context.Context, ref reference) (v runnable, weighted bool, err error) {
	err = p.store.View(ctx, func(tx *store.Tx) error {
		f, err := tx.Function(ctx, ref.FunctionID)
		if err != nil {
			return err
		}
		v.function = f
		if _, isNumber := lamina.ParseNumber(ref.Qualifier); ref.Qualifier == "" || ref.Qualifier == lamina.Latest || isNumber {
			v.Version, err = version(ctx, tx, ref)
		} else {
			var alias lamina.Alias
			if alias, err = tx.Alias(ctx, ref.FunctionID, ref.Qualifier); err != nil {
				return err
			}
			weighted = len(alias.Weights) > 0
			v.Version, err = targetOf(ctx, tx, ref.FunctionID, alias.Pick(rand.Float64()))
		}
		if err == nil && f.ProvisionedConcurrency > 0 {
			v.provisioned, err = provisionedShare(ctx, tx, v.Version)
		}
		return err
	})
	return v, weighted, err
}
