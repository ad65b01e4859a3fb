package sdk_test

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

var invokeCalls = map[string]func(c *client){
	"Invoke": func(c *client) {
		name := c.published()
		out := must[*lambda.InvokeOutput](c)(c.Invoke(c.ctx, &lambda.InvokeInput{FunctionName: name, Qualifier: aws.String("live"), Payload: []byte(`{"a":1}`), LogType: types.LogTypeTail}))
		is(c, "Payload", string(out.Payload), `{"a":1}`)
		is(c, "ExecutedVersion", *out.ExecutedVersion, "1")
		is(c, "LogResult", *out.LogResult, "bG9n")
		out = must[*lambda.InvokeOutput](c)(c.Invoke(c.ctx, &lambda.InvokeInput{FunctionName: name, Payload: []byte(`"fail"`)}))
		is(c, "FunctionError", *out.FunctionError, "Unhandled")
		for kind, status := range map[types.InvocationType]int32{types.InvocationTypeEvent: 202, types.InvocationTypeDryRun: 204} {
			out = must[*lambda.InvokeOutput](c)(c.Invoke(c.ctx, &lambda.InvokeInput{FunctionName: name, InvocationType: kind}))
			is(c, "StatusCode", out.StatusCode, status)
			is(c, "length of the payload", len(out.Payload), 0)
		}
		_, err := c.Invoke(c.ctx, &lambda.InvokeInput{FunctionName: absent})
		c.gone(err, "Function not found: "+c.arn("function:absent:$LATEST"))
		_, err = c.Invoke(c.ctx, &lambda.InvokeInput{FunctionName: name, Payload: []byte("no json")})
		typed[*types.InvalidRequestContentException](c, err, "")
		_, err = c.Invoke(c.ctx, &lambda.InvokeInput{FunctionName: name, Payload: []byte(`"no runtime"`)})
		typed[*types.InvalidRuntimeException](c, err, "")
		_, err = c.Invoke(c.ctx, &lambda.InvokeInput{FunctionName: name, Payload: []byte(`"busy"`)})
		if e := typed[*types.TooManyRequestsException](c, err, "Rate Exceeded."); e != nil {
			is(c, "Reason", e.Reason, types.ThrottleReasonConcurrentInvocationLimitExceeded)
		}
		_, err = c.Invoke(c.ctx, &lambda.InvokeInput{FunctionName: name, InvocationType: types.InvocationTypeEvent, Payload: []byte(`"` + strings.Repeat("x", 1<<20) + `"`)})
		typed[*types.RequestTooLargeException](c, err, "1048578 byte payload is too large for the Event invocation type (limit 1048576 bytes)")
	},
	"InvokeAsync": func(c *client) {
		//lint:ignore SA1019 old programs call it
		out := must[*lambda.InvokeAsyncOutput](c)(c.InvokeAsync(c.ctx, &lambda.InvokeAsyncInput{FunctionName: c.function(), InvokeArgs: c.document("{}")}))
		is(c, "Status", out.Status, 202)
		//lint:ignore SA1019 as above
		_, err := c.InvokeAsync(c.ctx, &lambda.InvokeAsyncInput{FunctionName: absent, InvokeArgs: c.document("{}")})
		c.gone(err, "Function not found: "+c.arn("function:absent:$LATEST"))
		//lint:ignore SA1019 as above
		_, err = c.InvokeAsync(c.ctx, &lambda.InvokeAsyncInput{FunctionName: &c.name, InvokeArgs: c.document("no json")})
		typed[*types.InvalidRequestContentException](c, err, "")
	},
	"InvokeWithResponseStream": func(c *client) {
		big := `"` + strings.Repeat("x", 200_000) + `"`
		out := must[*lambda.InvokeWithResponseStreamOutput](c)(c.InvokeWithResponseStream(c.ctx, &lambda.InvokeWithResponseStreamInput{FunctionName: c.function(), Payload: []byte(big), LogType: types.LogTypeTail}))
		is(c, "ExecutedVersion", *out.ExecutedVersion, "$LATEST")
		is(c, "ResponseStreamContentType", *out.ResponseStreamContentType, "application/vnd.amazon.eventstream")
		body, end := c.stream(out)
		is(c, "payload as it was sent", body == big, true)
		is(c, "LogResult", aws.ToString(end.LogResult), "bG9n")
		is(c, "ErrorCode", end.ErrorCode, nil)

		out = must[*lambda.InvokeWithResponseStreamOutput](c)(c.InvokeWithResponseStream(c.ctx, &lambda.InvokeWithResponseStreamInput{FunctionName: &c.name, Payload: []byte(`"fail"`)}))
		body, end = c.stream(out)
		is(c, "payload of a failure", body, "")
		is(c, "ErrorCode", aws.ToString(end.ErrorCode), "Unhandled")
		is(c, "ErrorDetails", aws.ToString(end.ErrorDetails), `{"errorType":"Error","errorMessage":"asked for"}`)

		_, err := c.InvokeWithResponseStream(c.ctx, &lambda.InvokeWithResponseStreamInput{FunctionName: absent})
		c.gone(err, "Function not found: "+c.arn("function:absent:$LATEST"))
	},
}

// stream reads a stream to its end.
func (c *client) stream(out *lambda.InvokeWithResponseStreamOutput) (body string, end types.InvokeWithResponseStreamCompleteEvent) {
	c.t.Helper()
	stream := out.GetStream()
	defer stream.Close()
	ends := 0
	for event := range stream.Events() {
		switch e := event.(type) {
		case *types.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
			body += string(e.Value.Payload)
		case *types.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
			end = e.Value
			ends++
		default:
			c.t.Errorf("event %T", e)
		}
	}
	if err := stream.Err(); err != nil {
		c.t.Fatal(err)
	}
	is(c, "ends of the stream", ends, 1)
	return body, end
}
