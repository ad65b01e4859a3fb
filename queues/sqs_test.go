package queues_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/queues"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var signedAt = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

// fakeSQS checks signatures as SQS does and answers what the test says.
func fakeSQS(t *testing.T, answer func(w http.ResponseWriter, path string, form url.Values)) *queues.SQS {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		sum := sha256.Sum256(body)
		again := r.Clone(r.Context())
		again.URL.Host, again.URL.Scheme = r.Host, "http"
		again.Header = http.Header{"Content-Type": r.Header["Content-Type"]}
		key := aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "SECRET"}
		err = v4.NewSigner().SignHTTP(r.Context(), key, again, hex.EncodeToString(sum[:]), "sqs", "eu-west-1", signedAt)
		if got, want := r.Header.Get("Authorization"), again.Header.Get("Authorization"); err != nil || got != want {
			t.Errorf("Authorization = %s, %v; want %s", got, err, want)
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			t.Error(err)
		}
		answer(w, r.URL.Path, form)
	}))
	t.Cleanup(server.Close)
	s, err := queues.New(queues.Options{Endpoint: server.URL, AccessKeyID: "AKID", SecretAccessKey: "SECRET", Now: func() time.Time { return signedAt }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func giveURL(w http.ResponseWriter, address string) {
	fmt.Fprintf(w, `<?xml version="1.0"?><GetQueueUrlResponse xmlns="http://queue.amazonaws.com/doc/2012-11-05/"><GetQueueUrlResult><QueueUrl>%s</QueueUrl></GetQueueUrlResult></GetQueueUrlResponse>`, address)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `<ErrorResponse xmlns="http://queue.amazonaws.com/doc/2012-11-05/"><Error><Type>Sender</Type><Code>%s</Code><Message>No &amp; no.</Message></Error></ErrorResponse>`, code)
}

const arn = "arn:aws:sqs:eu-west-1:000000000000:orders"

// TestSend asks for the queue's URL once, and sends to its path at the endpoint
// whatever host it names.
func TestSend(t *testing.T) {
	t.Parallel()
	var asked, sent atomic.Int64
	s := fakeSQS(t, func(w http.ResponseWriter, path string, form url.Values) {
		switch form.Get("Action") {
		case "GetQueueUrl":
			asked.Add(1)
			want := url.Values{"Action": {"GetQueueUrl"}, "QueueName": {"orders"}, "QueueOwnerAWSAccountId": {"000000000000"}, "Version": {"2012-11-05"}}
			if diff := cmp.Diff(want, form); diff != "" || path != "/" {
				t.Errorf("%s, form differs (-want +got):\n%s", path, diff)
			}
			giveURL(w, "http://sqs.example.internal:9324/000000000000/orders")
		default:
			sent.Add(1)
			want := url.Values{
				"Action": {"SendMessage"}, "Version": {"2012-11-05"}, "QueueUrl": {"http://sqs.example.internal:9324/000000000000/orders"},
				"MessageBody":                       {`{"ä":"& +"}`},
				"MessageAttribute.1.Name":           {"RequestID"},
				"MessageAttribute.1.Value.DataType": {"String"}, "MessageAttribute.1.Value.StringValue": {"r"},
				"MessageAttribute.2.Name":           {"ErrorCode"},
				"MessageAttribute.2.Value.DataType": {"Number"}, "MessageAttribute.2.Value.StringValue": {"200"},
			}
			if diff := cmp.Diff(want, form); diff != "" || path != "/000000000000/orders" {
				t.Errorf("%s, form differs (-want +got):\n%s", path, diff)
			}
			fmt.Fprint(w, "<SendMessageResponse/>")
		}
	})
	m := lamina.Message{Target: arn, Body: []byte(`{"ä":"& +"}`), Attributes: []lamina.Attribute{
		{Name: "RequestID", Type: "String", Value: "r"}, {Name: "ErrorCode", Type: "Number", Value: "200"},
	}}
	for range 2 {
		if err := s.Send(t.Context(), m); err != nil {
			t.Error(err)
		}
	}
	if asked.Load() != 1 || sent.Load() != 2 {
		t.Errorf("asked %d times for the URL, sent %d; want 1, 2", asked.Load(), sent.Load())
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, target, action, code string
		status                     int
		final                      bool
	}{
		{"no queue", arn, "GetQueueUrl", "AWS.SimpleQueueService.NonExistentQueue", 400, false},
		{"no right", arn, "GetQueueUrl", "AccessDenied", 403, false},
		{"too long", arn, "SendMessage", "InvalidParameterValue", 400, true},
		{"odd characters", arn, "SendMessage", "InvalidMessageContents", 400, true},
		{"trouble", arn, "SendMessage", "InternalFailure", 500, false},
		{"no ARN", "orders", "", "InvalidAddress", 0, true},
		{"the ARN of something else", "arn:aws:sns:eu-west-1:000000000000:orders", "", "InvalidAddress", 0, true},
	} {
		s := fakeSQS(t, func(w http.ResponseWriter, _ string, form url.Values) {
			if form.Get("Action") == c.action {
				refuse(w, c.status, c.code)
				return
			}
			giveURL(w, "http://127.0.0.1/000000000000/orders")
		})
		err := s.Send(t.Context(), lamina.Message{Target: c.target, Body: []byte("{}")})
		if refused, ok := errors.AsType[*lamina.QueueError](err); !ok || refused.Code != c.code || refused.Final != c.final {
			t.Errorf("%s: %v; want %s, final %t", c.name, err, c.code, c.final)
		}
	}
}

// TestQueueMadeAnew: a URL that names nothing any more is asked for again.
func TestQueueMadeAnew(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	s := fakeSQS(t, func(w http.ResponseWriter, path string, form url.Values) {
		switch {
		case form.Get("Action") == "GetQueueUrl":
			giveURL(w, fmt.Sprintf("http://127.0.0.1/queue/%d", asked.Add(1)))
		case path == "/queue/1":
			refuse(w, 400, "AWS.SimpleQueueService.NonExistentQueue")
		}
	})
	m := lamina.Message{Target: arn, Body: []byte("{}")}
	if err := s.Send(t.Context(), m); err == nil {
		t.Error("Send to a queue that is gone succeeds")
	}
	if err := s.Send(t.Context(), m); err != nil {
		t.Errorf("Send after it was made anew: %v", err)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"no XML":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") },
		"no URL":    func(w http.ResponseWriter, _ *http.Request) { giveURL(w, "") },
		"endless":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("<a>", 1<<20)) },
		"plain 503": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "busy", http.StatusServiceUnavailable) },
		"a redirection": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		},
	} {
		s := fakeSQS(t, func(w http.ResponseWriter, _ string, _ url.Values) {
			answer(w, &http.Request{Method: "POST", URL: &url.URL{Path: "/"}})
		})
		err := s.Send(t.Context(), lamina.Message{Target: arn, Body: []byte("{}")})
		if refused, ok := errors.AsType[*lamina.QueueError](err); err == nil || ok && refused.Final {
			t.Errorf("%s: %v; want an error that is not final", name, err)
		}
	}
}

func TestSendEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := fakeSQS(t, func(http.ResponseWriter, string, url.Values) {})
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	if err := s.Send(ctx, lamina.Message{Target: arn, Body: []byte("{}")}); !errors.Is(err, gone) {
		t.Errorf("Send = %v; want the cause", err)
	}
}
