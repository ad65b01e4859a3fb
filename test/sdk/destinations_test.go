package sdk

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

// sqs is an SQS that keeps what it is sent, when it is up.
type sqs struct {
	address  string
	messages chan map[string]string // of Send; the test receives
}

func (q *sqs) up(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", q.address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		if r.PostForm.Get("Action") == "GetQueueUrl" {
			fmt.Fprintf(w, "<R><GetQueueUrlResult><QueueUrl>http://elsewhere/%s</QueueUrl></GetQueueUrlResult></R>", r.PostForm.Get("QueueName"))
			return
		}
		m := map[string]string{"queue": strings.Trim(r.URL.Path, "/")}
		for name := range r.PostForm {
			m[name] = r.PostForm.Get(name)
		}
		q.messages <- m
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // ends with Close
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
}

// TestDestinationsOutliveKill: the ends of events are told to queues that come up
// after the server was killed, and to functions.
func TestDestinationsOutliveKill(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	t.Parallel()
	q := &sqs{address: testkit.FreeAddress(t), messages: make(chan map[string]string, 100)}
	s := testkit.Start(t, testkit.Options{Region: region, Args: []string{"--sqs-endpoint", "http://" + q.address, "--event-retry-delay", "50ms"}})
	b := desk{s, s.Lambda(), t}
	arn := func(name string) *string {
		return aws.String("arn:aws:sqs:" + region + ":" + testkit.Account + ":" + name)
	}
	b.function("work", archive(t, "app.py", "def handler(e, c):\n    if e.get('fail'): raise ValueError('no tea')\n    return 'tea'\n"))
	b.function("next", python(t, "{'got': event['requestContext']['condition']}"))
	if _, err := b.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("work"), DeadLetterConfig: &types.DeadLetterConfig{TargetArn: arn("dead")}}); err != nil {
		t.Fatal(err)
	}
	b.updated("work")
	destinations := func(name string, onSuccess, onFailure *string) {
		t.Helper()
		_, err := b.PutFunctionEventInvokeConfig(t.Context(), &lambda.PutFunctionEventInvokeConfigInput{
			FunctionName: &name, DestinationConfig: &types.DestinationConfig{
				OnSuccess: &types.OnSuccess{Destination: onSuccess}, OnFailure: &types.OnFailure{Destination: onFailure},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	destinations("work", aws.String("arn:aws:lambda:"+region+":"+testkit.Account+":function:next"), arn("bad"))
	destinations("next", arn("good"), nil)
	for _, payload := range []string{`{"n":1}`, `{"fail":1}`} {
		out, err := b.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("work"), InvocationType: types.InvocationTypeEvent, Payload: []byte(payload)})
		if err != nil || out.StatusCode != 202 {
			t.Fatalf("Invoke = %+v, %v; want 202", out, err)
		}
	}
	for end := time.Now().Add(time.Minute); strings.Count(s.Output(), "event record not delivered") < 3; <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no three messages that the queue is down for")
		}
	}
	s.Kill()
	q.up(t)
	s.Restart()
	want := map[string][]string{
		"good": {`"condition":"Success","approximateInvokeCount":1}`, `function:next:$LATEST`, `"responsePayload":{"got":"Success"}`, `"responsePayload":"tea"`},
		"bad":  {`"condition":"RetriesExhausted","approximateInvokeCount":3}`, `"requestPayload":{"fail":1}`, `"errorMessage":"no tea"`},
		"dead": {`{"fail":1}`},
	}
	for len(want) > 0 {
		select {
		case m := <-q.messages:
			for _, text := range want[m["queue"]] {
				if !strings.Contains(m["MessageBody"], text) {
					t.Errorf("message to %s = %s; want %s in it", m["queue"], m["MessageBody"], text)
				}
			}
			if m["queue"] == "dead" && (m["MessageAttribute.3.Name"] != "ErrorMessage" || m["MessageAttribute.3.Value.StringValue"] != "no tea") {
				t.Errorf("attributes = %v; want the error message", m)
			}
			delete(want, m["queue"]) // at least once
		case <-time.After(2 * time.Minute):
			t.Fatalf("no message to %v", want)
		}
	}
}

// TestThrottling: a function's reservation holds among real invocations.
func TestThrottling(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	b := open(t)
	b.function("slow", archive(t, "app.py", "import time\ndef handler(e, c):\n    time.sleep(e)\n"))
	if _, err := b.PutFunctionConcurrency(t.Context(), &lambda.PutFunctionConcurrencyInput{FunctionName: aws.String("slow"), ReservedConcurrentExecutions: aws.Int32(2)}); err != nil {
		t.Fatal(err)
	}
	answers := make(chan error, 6) // each call sends once
	for range cap(answers) {
		go func() {
			_, err := b.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("slow"), Payload: []byte("5")})
			answers <- err
		}()
	}
	served := 0
	for range cap(answers) {
		err := <-answers
		if err == nil {
			served++
			continue
		}
		if e := wantError[*types.TooManyRequestsException](t, "Invoke", err); e != nil && e.Reason != types.ThrottleReasonReservedFunctionConcurrentInvocationLimitExceeded {
			t.Errorf("Reason = %s; want ReservedFunctionConcurrentInvocationLimitExceeded", e.Reason)
		}
	}
	if served != 2 {
		t.Errorf("%d of %d served; want 2", served, cap(answers))
	}
}
