package sdk

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"github.com/lamina-run/lamina/internal/testkit"
)

// TestRequestLimits: the SDK understands that it asks too often, and asks again.
func TestRequestLimits(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.Options{Region: region, Args: []string{"--limit", "APIRequests=2"}})
	once := func(o *lambda.Options) { o.RetryMaxAttempts = 1 }
	var tooMany *types.TooManyRequestsException
	for range 50 {
		_, err := s.Lambda().ListLayers(t.Context(), &lambda.ListLayersInput{}, once)
		if err == nil {
			continue
		}
		var ok bool
		if tooMany, ok = errors.AsType[*types.TooManyRequestsException](err); !ok {
			t.Fatalf("ListLayers = %v; want TooManyRequestsException", err)
		}
		break
	}
	if tooMany == nil || tooMany.Reason != types.ThrottleReasonCallerRateLimitExceeded || tooMany.ErrorMessage() != "Rate exceeded" {
		t.Fatalf("50 times ListLayers = %+v; want CallerRateLimitExceeded", tooMany)
	}
	for range 3 { // each try comes later than the one before
		if _, err := s.Lambda().ListLayers(t.Context(), &lambda.ListLayersInput{}, func(o *lambda.Options) { o.RetryMaxAttempts = 10 }); err != nil {
			t.Errorf("ListLayers with retries: %v", err)
		}
	}
	users := iam.NewFromConfig(s.Config())
	var err error
	for i := 0; i < 50 && err == nil; i++ {
		_, err = users.ListUsers(t.Context(), &iam.ListUsersInput{}, func(o *iam.Options) { o.RetryMaxAttempts = 1 })
	}
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "Throttling" {
		t.Errorf("50 times ListUsers = %v; want Throttling", err)
	}
}
