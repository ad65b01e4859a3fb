// Package sdk drives a real server through the AWS SDK for Go, as a program that
// knows nothing of Lamina would.
package sdk

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"github.com/lamina-run/lamina/internal/testkit"
)

const (
	role   = "arn:aws:iam::" + testkit.Account + ":role/app"
	region = "eu-central-1"
)

// archive makes a zip of name, content pairs.
func archive(t testing.TB, pairs ...string) []byte {
	t.Helper()
	var files []testkit.File
	for i := 0; i < len(pairs); i += 2 {
		files = append(files, testkit.File{Name: pairs[i], Body: pairs[i+1]})
	}
	return testkit.Zip(t, files...)
}

func codeSHA256(zip []byte) string {
	sum := sha256.Sum256(zip)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// python is a function whose answer is what the expression of event and context
// evaluates to.
func python(t testing.TB, expression string) []byte {
	t.Helper()
	return archive(t, "app.py", "def handler(event, context):\n    return "+expression+"\n")
}

// fetch reads a link as curl would, without credentials.
func fetch(t testing.TB, link string) (int, []byte) {
	t.Helper()
	resp, err := http.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// wantError fails the test unless err is the SDK's type for the exception.
func wantError[E error](t testing.TB, what string, err error) E {
	t.Helper()
	e, ok := errors.AsType[E](err)
	if !ok {
		t.Errorf("%s = %v; want a %T", what, err, e)
	}
	return e
}

// wantCode does the same for exceptions that the model does not know.
func wantCode(t testing.TB, what string, err error, code string) {
	t.Helper()
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() != code {
		t.Errorf("%s = %v; want %s", what, err, code)
	}
}

// desk is a test with its server and client.
type desk struct {
	*testkit.Server
	*lambda.Client
	testing.TB
}

// open starts a server that this test has for itself.
func open(t *testing.T) desk {
	t.Helper()
	t.Parallel()
	s := testkit.Start(t, testkit.Options{Region: region})
	return desk{s, s.Lambda(), t}
}

func (b desk) layer(name string, zip []byte) *lambda.PublishLayerVersionOutput {
	b.Helper()
	out, err := b.PublishLayerVersion(b.Context(), &lambda.PublishLayerVersionInput{
		LayerName: &name, Content: &types.LayerVersionContentInput{ZipFile: zip},
		CompatibleRuntimes: []types.Runtime{types.RuntimePython311},
	})
	if err != nil {
		b.Fatalf("PublishLayerVersion(%s): %v", name, err)
	}
	return out
}

// function makes a function and waits until it is active.
func (b desk) function(name string, zip []byte, layers ...string) {
	b.Helper()
	_, err := b.CreateFunction(b.Context(), &lambda.CreateFunctionInput{
		FunctionName: &name, Role: aws.String(role), Handler: aws.String("app.handler"), Runtime: types.RuntimePython311,
		Code: &types.FunctionCode{ZipFile: zip}, Layers: layers, Timeout: aws.Int32(20),
	})
	if err != nil {
		b.Fatalf("CreateFunction(%s): %v", name, err)
	}
	quick := func(o *lambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, time.Second
	}
	if err := lambda.NewFunctionActiveV2Waiter(b.Client, quick).Wait(b.Context(), &lambda.GetFunctionInput{FunctionName: &name}, 30*time.Second); err != nil {
		b.Fatalf("%s does not become active: %v", name, err)
	}
}

func (b desk) updated(name string) {
	b.Helper()
	quick := func(o *lambda.FunctionUpdatedV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, time.Second
	}
	if err := lambda.NewFunctionUpdatedV2Waiter(b.Client, quick).Wait(b.Context(), &lambda.GetFunctionInput{FunctionName: &name}, 30*time.Second); err != nil {
		b.Fatalf("the update of %s does not finish: %v", name, err)
	}
}

func (b desk) update(name string, zip []byte) {
	b.Helper()
	if _, err := b.UpdateFunctionCode(b.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: &name, ZipFile: zip}); err != nil {
		b.Fatalf("UpdateFunctionCode(%s): %v", name, err)
	}
	b.updated(name)
}

func (b desk) publish(name string) *lambda.PublishVersionOutput {
	b.Helper()
	out, err := b.PublishVersion(b.Context(), &lambda.PublishVersionInput{FunctionName: &name})
	if err != nil {
		b.Fatalf("PublishVersion(%s): %v", name, err)
	}
	return out
}

func (b desk) invoke(name, payload string) *lambda.InvokeOutput {
	b.Helper()
	out, err := b.Invoke(b.Context(), &lambda.InvokeInput{FunctionName: &name, Payload: []byte(payload), LogType: types.LogTypeTail})
	if err != nil {
		b.Fatalf("Invoke(%s): %v", name, err)
	}
	return out
}

func logOf(t testing.TB, out *lambda.InvokeOutput) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(aws.ToString(out.LogResult))
	if err != nil {
		t.Errorf("LogResult is not base64: %v", err)
	}
	return string(b)
}
