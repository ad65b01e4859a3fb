package wire

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"
)

func answerOf[In, Out any](t *testing.T, operation, method, target string, out *Out) *httptest.ResponseRecorder {
	t.Helper()
	r, _, _ := quiet()
	Handle(r, operation, func(context.Context, *In) (*Out, error) { return out, nil })
	return do(r, httptest.NewRequest(method, target, nil))
}

func TestEncode(t *testing.T) {
	t.Parallel()
	const invocations = "/2015-03-31/functions/f/invocations"
	tests := []struct {
		name   string
		answer *httptest.ResponseRecorder
		status int
		body   string
		header map[string]string
	}{
		{
			"absent members are absent, empty ones are empty",
			answerOf[GetLayerVersionRequest](t, "GetLayerVersion", "GET", "/2018-10-31/layers/l/versions/1",
				&GetLayerVersionResponse{Description: ptr(""), Version: ptr(int64(1)), CompatibleRuntimes: []string{}}),
			200, `{"Description":"","Version":1,"CompatibleRuntimes":[]}`, nil,
		},
		{
			"a creation", answerOf[PublishVersionRequest](t, "PublishVersion", "POST", "/2015-03-31/functions/f/versions",
				&FunctionConfiguration{Environment: &EnvironmentResponse{Variables: map[string]string{}}}),
			201, `{"Environment":{"Variables":{}}}`, nil,
		},
		{"an output without members", answerOf[GetFunctionRequest](t, "GetFunction", "GET", "/2015-03-31/functions/f", (*GetFunctionResponse)(nil)), 200, `{}`, nil},
		{"no content", answerOf[DeleteAliasRequest](t, "DeleteAlias", "DELETE", "/2015-03-31/functions/f/aliases/a", &NoContent{}), 204, ``, nil},
		{"a deletion", answerOf[DeleteFunctionRequest](t, "DeleteFunction", "DELETE", "/2015-03-31/functions/f", &DeleteFunctionResponse{}), 204, ``, nil},
		{
			"an instant is a number", answerOf[GetFunctionEventInvokeConfigRequest](t, "GetFunctionEventInvokeConfig", "GET", "/2019-09-25/functions/f/event-invoke-config",
				&FunctionEventInvokeConfig{LastModified: &Epoch{time.UnixMilli(1700000000250)}}),
			200, `{"LastModified":1700000000.25}`, nil,
		},
		{
			"an invocation", answerOf[InvocationRequest](t, "Invoke", "POST", invocations,
				&InvocationResponse{StatusCode: ptr(int64(200)), Payload: []byte("\"<ok>\""), ExecutedVersion: ptr("$LATEST")}),
			200, `"<ok>"`,
			map[string]string{"X-Amz-Executed-Version": "$LATEST", "X-Amz-Function-Error": "", "Content-Type": "application/json"},
		},
		{
			"a function's error", answerOf[InvocationRequest](t, "Invoke", "POST", invocations,
				&InvocationResponse{FunctionError: ptr("Unhandled"), Payload: []byte("{}")}),
			200, `{}`,
			map[string]string{"X-Amz-Function-Error": "Unhandled"},
		},
		{"an event", answerOf[InvocationRequest](t, "Invoke", "POST", invocations, &InvocationResponse{StatusCode: ptr(int64(202))}), 202, ``, map[string]string{"Content-Length": "0"}},
		{"a dry run", answerOf[InvocationRequest](t, "Invoke", "POST", invocations, &InvocationResponse{StatusCode: ptr(int64(204))}), 204, ``, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.answer.Code != tt.status {
				t.Errorf("status = %d; want %d", tt.answer.Code, tt.status)
			}
			if got := tt.answer.Body.String(); got != tt.body {
				t.Errorf("body = %s; want %s", got, tt.body)
			}
			for name, want := range tt.header {
				if got := tt.answer.Header().Get(name); got != want {
					t.Errorf("%s = %q; want %q", name, got, want)
				}
			}
		})
	}
}
