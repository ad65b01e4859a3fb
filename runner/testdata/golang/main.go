// Command echo is a function on aws-lambda-go, for Lamina's tests.
package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct {
	Do string `json:"do"`
}

func handle(ctx context.Context, e event) (any, error) {
	lc, ok := lambdacontext.FromContext(ctx)
	if !ok {
		return nil, errors.New("no context")
	}
	switch e.Do {
	case "raise":
		return nil, errors.New("some error occurred")
	case "panic":
		panic("at the function")
	case "stream":
		return strings.NewReader("one two three"), nil
	}
	_, deadline := ctx.Deadline()
	return map[string]any{
		"id": lc.AwsRequestID, "arn": lc.InvokedFunctionArn, "name": lambdacontext.FunctionName, "memory": fmt.Sprint(lambdacontext.MemoryLimitInMB),
		"deadline": deadline,
	}, nil
}

func main() { lambda.Start(handle) }
