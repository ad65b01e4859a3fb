package wire

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWriteException(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		ex     *Exception
		status int
		code   string
		body   string
	}{
		{"capital Message", ResourceNotFound.Errorf("Function not found: %s", "a<b>&"), 404, "ResourceNotFoundException", `{"Message":"Function not found: a<b>&","Type":"User"}`},
		{"small message", InvalidParameterValue.New("100% wrong"), 400, "InvalidParameterValueException", `{"Type":"User","message":"100% wrong"}`},
		{"no type", InvalidParameterValue.New("x").WithoutType(), 400, "InvalidParameterValueException", `{"message":"x"}`},
		{"a reason", TooManyRequests.New("Rate Exceeded.").With("Reason", "ReservedFunctionConcurrentInvocationLimitExceeded"), 429, "TooManyRequestsException", `{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}`},
		{"a null message", AccessDenied.Null(), 403, "AccessDeniedException", `{"Message":null}`},
		{"the service's fault", Service.New("x"), 500, "ServiceException", `{"Message":"x","Type":"Service"}`},
		{"never a type", Validation.New("x"), 400, "ValidationException", `{"message":"x"}`},
		{"conflict", ResourceConflict.New("x"), 409, "ResourceConflictException", `{"Type":"User","message":"x"}`},
		{"precondition", PreconditionFailed.New("x"), 412, "PreconditionFailedException", `{"Type":"User","message":"x"}`},
		{"no code signing", CodeSigningConfigNotFound.New("x"), 404, "CodeSigningConfigNotFoundException", `{"Message":"x","Type":"User"}`},
		{"no provisioned concurrency", ProvisionedConcurrencyConfigNotFound.New("x"), 404, "ProvisionedConcurrencyConfigNotFoundException", `{"Type":"User","message":"x"}`},
		{"bad content", InvalidRequestContent.New("x"), 400, "InvalidRequestContentException", `{"Type":"User","message":"x"}`},
		{"too large", RequestEntityTooLarge.New("x"), 413, "RequestEntityTooLargeException", `{"message":"x"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			WriteException(w, tt.ex)
			wantException(t, w, tt.status, tt.code, tt.body)
			if got := w.Header().Get("Content-Type"); got != "application/json" {
				t.Errorf("content type = %q; want application/json", got)
			}
		})
	}
}

func TestExceptionFieldInAHeader(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	WriteException(w, TooManyRequests.New("Rate Exceeded.").With("retryAfterSeconds", "3"))
	wantException(t, w, 429, "TooManyRequestsException", `{"Type":"User","message":"Rate Exceeded."}`)
	if got := w.Header().Get("Retry-After"); got != "3" {
		t.Errorf("Retry-After = %q; want 3", got)
	}
}

func TestKindIs(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("publish: %w", ResourceNotFound.New("x"))
	if !ResourceNotFound.Is(err) || ResourceConflict.Is(err) || ResourceNotFound.Is(errTest) || ResourceNotFound.Is(nil) {
		t.Error("Is tells kinds apart wrongly")
	}
	base := TooManyRequests.New("x")
	if base.With("Reason", "y"); base.fields != nil {
		t.Error("With changes the exception it is called on")
	}
}

func TestErrorsOfHandlers(t *testing.T) {
	t.Parallel()
	const internal = `{"Message":"Internal error; see the server's log for request id-1","Type":"Service"}`
	tests := []struct {
		name   string
		fn     func() error
		status int
		code   string
		body   string
		logged int
	}{
		{"a wrapped exception is answered", func() error { return fmt.Errorf("get: %w", ResourceNotFound.New("x")) }, 404, "ResourceNotFoundException", `{"Message":"x","Type":"User"}`, 0},
		{"another error is hidden and logged", func() error { return errTest }, 500, "ServiceException", internal, 1},
		{"a panic is, too", func() error { panic("boom") }, 500, "ServiceException", internal, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, _, log := quiet()
			Handle(r, "GetFunction", func(context.Context, *GetFunctionRequest) (*GetFunctionResponse, error) { return nil, tt.fn() })
			req := httptest.NewRequest("GET", "/2015-03-31/functions/f", nil)
			w := do(r, req.WithContext(WithRequestID(t.Context(), "id-1")))
			wantException(t, w, tt.status, tt.code, tt.body)
			if got := w.Header().Get("X-Amzn-Requestid"); got != "id-1" {
				t.Errorf("request ID = %q; want id-1", got)
			}
			if got := strings.Count(log.String(), "level=ERROR"); got != tt.logged {
				t.Errorf("log = %s; want %d errors", log, tt.logged)
			}
			if tt.logged > 0 && (!strings.Contains(log.String(), "request_id=id-1") || !strings.Contains(log.String(), "operation=GetFunction")) {
				t.Errorf("log = %s; want request and operation", log)
			}
		})
	}
}

func TestClientThatIsGone(t *testing.T) {
	t.Parallel()
	r, _, log := quiet()
	ctx, cancel := context.WithCancel(t.Context())
	Handle(r, "GetFunction", func(ctx context.Context, _ *GetFunctionRequest) (*GetFunctionResponse, error) {
		cancel()
		return nil, ctx.Err()
	})
	do(r, httptest.NewRequest("GET", "/2015-03-31/functions/f", nil).WithContext(ctx))
	if got := log.String(); !strings.Contains(got, "level=DEBUG") || strings.Contains(got, "level=ERROR") {
		t.Errorf("log = %s; want one line at debug", got)
	}
}

func TestAbortedHandler(t *testing.T) {
	t.Parallel()
	r, _, _ := quiet()
	Handle(r, "GetFunction", func(context.Context, *GetFunctionRequest) (*GetFunctionResponse, error) { panic(http.ErrAbortHandler) })
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("http.ErrAbortHandler does not reach the server")
		}
	}()
	do(r, httptest.NewRequest("GET", "/2015-03-31/functions/f", nil))
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	r, _, _ := quiet()
	var seen string
	Handle(r, "GetFunction", func(ctx context.Context, _ *GetFunctionRequest) (*GetFunctionResponse, error) {
		seen = RequestID(ctx)
		return nil, nil
	})
	w := do(r, httptest.NewRequest("GET", "/2015-03-31/functions/f", nil))
	if got := w.Header().Get("X-Amzn-Requestid"); got == "" || got != seen {
		t.Errorf("request ID = %q; want that of the handler, %q", got, seen)
	}
	if got := w.Body.String(); got != "{}" {
		t.Errorf("body = %s; want {}", got)
	}
}
