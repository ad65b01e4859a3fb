package control

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/lamina-run/lamina/wire"
)

// chunkBytes is how much of a function's result one PayloadChunk carries.
const chunkBytes = 64 << 10

func (p *Plane) registerStreams(r *wire.Router) {
	wire.Handle(r, "InvokeWithResponseStream", p.InvokeWithResponseStream)
}

// InvokeWithResponseStream runs a version of a function and answers what it
// returned as a stream of events. The stream is whole before it is sent: what a
// function writes does not arrive sooner than with Invoke, and its size has the
// same limit.
func (p *Plane) InvokeWithResponseStream(ctx context.Context, in *wire.InvokeWithResponseStreamRequest) (*wire.InvokeWithResponseStreamResponse, error) {
	result, err := p.Invoke(ctx, &wire.InvocationRequest{
		FunctionName: in.FunctionName, Qualifier: in.Qualifier, InvocationType: in.InvocationType, LogType: in.LogType,
		ClientContext: in.ClientContext, Payload: in.Payload, TenantId: in.TenantId,
	})
	if err != nil {
		return nil, err
	}
	out := &wire.InvokeWithResponseStreamResponse{StatusCode: result.StatusCode, ExecutedVersion: result.ExecutedVersion}
	if value(in.InvocationType) == "DryRun" {
		return out, nil
	}
	out.EventStream, err = responseStream(result)
	if err != nil {
		return nil, fmt.Errorf("stream the result of %s: %w", in.FunctionName, err)
	}
	out.ResponseStreamContentType = ptr(wire.EventStreamType)
	return out, nil
}

// responseStream writes a result as events: chunks of the payload, or none for a
// function that failed, then how it ended.
func responseStream(result *wire.InvocationResponse) ([]byte, error) {
	complete := wire.InvokeComplete{ErrorCode: result.FunctionError, LogResult: result.LogResult}
	payload := result.Payload
	if result.FunctionError != nil {
		complete.ErrorDetails, payload = ptr(string(payload)), nil
	}
	var stream []byte
	for len(payload) > 0 {
		n := min(len(payload), chunkBytes)
		stream = wire.AppendEvent(stream, "PayloadChunk", "application/octet-stream", payload[:n])
		payload = payload[n:]
	}
	end, err := json.Marshal(complete)
	if err != nil {
		return nil, err
	}
	return wire.AppendEvent(stream, "InvokeComplete", "application/json", end), nil
}
