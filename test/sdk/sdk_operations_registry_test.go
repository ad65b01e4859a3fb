package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/wire"
)

// calls has, for each operation that Lamina offers, a function that calls it
// with success and with its main errors.
func calls() map[string]func(c *client) {
	all := map[string]func(c *client){}
	for _, part := range []map[string]func(c *client){
		functionCalls, versionCalls, invokeCalls, layerCalls, permissionCalls, concurrencyCalls, eventInvokeCalls, urlCalls,
		mappingCalls, signingCalls, settingCalls,
	} {
		maps.Copy(all, part)
	}
	return all
}

// onlyRefused are operations that refuse every request for a function of
// Lamina's, and infallible those that have no error for a valid one.
var (
	onlyRefused = []string{"GetFunctionScalingConfig", "PutFunctionScalingConfig"}
	infallible  = []string{"GetAccountSettings"}
)

// TestOperations calls every operation as a typed client does.
func TestOperations(t *testing.T) {
	t.Parallel()
	s := startInProcess(t)
	for operation, call := range calls() {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, s)
			if !s.router.Handled(operation) {
				t.Fatalf("%s is not offered; its call has nothing to test", operation)
			}
			call(c)
			ok, refused := c.seen.count(operation)
			if ok == 0 && !slices.Contains(onlyRefused, operation) {
				t.Errorf("no call of %s succeeded", operation)
			}
			if refused == 0 && !slices.Contains(infallible, operation) {
				t.Errorf("no call of %s was refused", operation)
			}
		})
	}
}

// TestEveryOperationIsCalled: an operation that Lamina offers has calls here.
func TestEveryOperationIsCalled(t *testing.T) {
	t.Parallel()
	s := startInProcess(t)
	all := calls()
	for _, op := range wire.Operations() {
		if s.router.Handled(op.Name) && all[op.Name] == nil {
			t.Errorf("%s is offered, but no test calls it", op.Name)
		}
		delete(all, op.Name)
	}
	for operation := range all {
		t.Errorf("%s is called, but is no operation", operation)
	}
}

// TestDeclinedOperation: what is not offered says so, and is not repeated.
func TestDeclinedOperation(t *testing.T) {
	t.Parallel()
	c := newClient(t, startInProcess(t))
	_, err := c.ListCapacityProviders(c.ctx, &lambda.ListCapacityProvidersInput{})
	c.refused(err, "NotImplementedException", "Lamina does not offer capacity providers, and so not ListCapacityProviders.")
}

// client calls the server for one test.
type client struct {
	*lambda.Client
	t    *testing.T
	ctx  context.Context
	seen *record
	zip  []byte
	name string // of things that this test has for itself
}

var names atomic.Int64

func newClient(t *testing.T, s *inProcess) *client {
	c := &client{
		t: t, ctx: t.Context(), seen: &record{ok: map[string]int{}, refused: map[string]int{}},
		zip:  testkit.Zip(t, testkit.File{Name: "app.py", Body: "def handler(event, context): return event"}),
		name: fmt.Sprint("n", names.Add(1)),
	}
	c.Client = lambda.NewFromConfig(aws.Config{
		Region: home, BaseEndpoint: aws.String(s.URL), Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, ""), RetryMaxAttempts: 1,
		APIOptions: []func(*middleware.Stack) error{func(stack *middleware.Stack) error { return stack.Initialize.Add(c.seen, middleware.After) }},
	})
	return c
}

// record counts how the calls of a client ended.
type record struct {
	mu sync.Mutex

	ok, refused map[string]int
}

func (*record) ID() string { return "record" }

func (r *record) HandleInitialize(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleInitialize(ctx, in)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.ok[awsmiddleware.GetOperationName(ctx)]++
	} else if _, isAPI := errors.AsType[smithy.APIError](err); isAPI {
		r.refused[awsmiddleware.GetOperationName(ctx)]++
	}
	return out, metadata, err
}

func (r *record) count(operation string) (ok, refused int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ok[operation], r.refused[operation]
}

// must is for calls that have to succeed.
func must[T any](c *client) func(out T, err error) T {
	return func(out T, err error) T {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
		return out
	}
}

// is compares, with what it is about.
func is[T comparable](c *client, what string, got, want T) {
	c.t.Helper()
	if got != want {
		c.t.Errorf("%s = %v; want %v", what, got, want)
	}
}

// refused wants an error that the model does not know.
func (c *client) refused(err error, code, message string) {
	c.t.Helper()
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() != code || e.ErrorMessage() != message {
		c.t.Errorf("error = %v; want %s: %s", err, code, message)
	}
}

// typed wants the SDK's type of an error, and its message unless that is empty.
func typed[E smithy.APIError](c *client, err error, message string) E {
	c.t.Helper()
	e, ok := errors.AsType[E](err)
	if !ok || message != "" && e.ErrorMessage() != message {
		c.t.Errorf("error = %v; want a %T: %s", err, e, message)
	}
	return e
}

// Shorthands for what most calls need.

func (c *client) arn(rest string) string {
	return "arn:aws:lambda:" + home + ":" + account + ":" + rest
}

func (c *client) gone(err error, message string) {
	c.t.Helper()
	typed[*types.ResourceNotFoundException](c, err, message)
}

func (c *client) invalid(err error, message string) {
	c.t.Helper()
	typed[*types.InvalidParameterValueException](c, err, message)
}

func (c *client) conflict(err error, message string) {
	c.t.Helper()
	typed[*types.ResourceConflictException](c, err, message)
}

const appRole = "arn:aws:iam::" + account + ":role/app"

func (c *client) newFunction(name string) *lambda.CreateFunctionInput {
	return &lambda.CreateFunctionInput{
		FunctionName: &name, Role: aws.String(appRole), Handler: aws.String("app.handler"), Runtime: types.RuntimePython312,
		Code: &types.FunctionCode{ZipFile: c.zip},
	}
}

// function makes the function of this test and waits until it is active.
func (c *client) function() *string {
	c.t.Helper()
	if _, err := c.CreateFunction(c.ctx, c.newFunction(c.name)); err != nil {
		c.t.Fatal(err)
	}
	c.active()
	return &c.name
}

func (c *client) active() {
	c.t.Helper()
	quick := func(o *lambda.FunctionUpdatedV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = time.Millisecond, 20*time.Millisecond
	}
	err := lambda.NewFunctionUpdatedV2Waiter(c.Client, quick).Wait(c.ctx, &lambda.GetFunctionInput{FunctionName: &c.name}, 20*time.Second)
	if err != nil {
		c.t.Fatal(err)
	}
}

// published makes a function with version 1 and the alias live.
func (c *client) published() *string {
	c.t.Helper()
	name := c.function()
	must[*lambda.PublishVersionOutput](c)(c.PublishVersion(c.ctx, &lambda.PublishVersionInput{FunctionName: name}))
	must[*lambda.CreateAliasOutput](c)(c.CreateAlias(c.ctx, &lambda.CreateAliasInput{FunctionName: name, Name: aws.String("live"), FunctionVersion: aws.String("1")}))
	return name
}

func (c *client) layer() *string {
	c.t.Helper()
	must[*lambda.PublishLayerVersionOutput](c)(c.PublishLayerVersion(c.ctx, &lambda.PublishLayerVersionInput{
		LayerName: &c.name, Content: &types.LayerVersionContentInput{ZipFile: c.zip},
		CompatibleRuntimes: []types.Runtime{types.RuntimePython312},
	}))
	return &c.name
}

func (c *client) document(text string) *bytes.Reader { return bytes.NewReader([]byte(text)) }

var absent = aws.String("absent")

const noSuchResource = "The resource you requested does not exist."
