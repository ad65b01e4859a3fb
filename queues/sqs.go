package queues

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/peer"
)

// Options say where SQS is. All fields but Proxy are required.
type Options struct {
	Endpoint        string // an http or https URL
	AccessKeyID     string
	SecretAccessKey string
	Now             func() time.Time
	Proxy           func(*http.Request) (*url.URL, error) // nil for none
}

const (
	answerLimit = 15 * time.Second // until SQS's first byte
	sendLimit   = 20 * time.Second // for everything
	answerBytes = 64 << 10         // of an answer
	maxURLs     = 1024             // of queues that are remembered
	apiVersion  = "2012-11-05"
)

// nonExistent are the codes of a queue that is not there.
var nonExistent = map[string]bool{
	"AWS.SimpleQueueService.NonExistentQueue": true, "QueueDoesNotExist": true, "NonExistentQueue": true,
	"com.amazonaws.sqs#QueueDoesNotExist": true,
}

// final are the codes with which SQS refuses what is sent, whenever it is sent.
var final = map[string]bool{
	"InvalidMessageContents": true, "InvalidParameterValue": true, "MissingParameter": true,
	"AWS.SimpleQueueService.UnsupportedOperation": true, "UnsupportedOperation": true, "BatchRequestTooLong": true,
}

var errSlow = errors.New("SQS took too long")

// SQS is an SQS endpoint. It is safe for concurrent use.
type SQS struct {
	peer *peer.Client

	mu   sync.Mutex
	urls map[string]string // of queues, by ARN
}

// New returns the SQS at an endpoint, which is not asked anything yet.
func New(o Options) (*SQS, error) {
	client, err := peer.New(peer.Options{
		Service: "sqs", Endpoint: o.Endpoint, AccessKeyID: o.AccessKeyID, SecretAccessKey: o.SecretAccessKey,
		Now: o.Now, Proxy: o.Proxy, Answer: answerLimit,
	})
	if err != nil {
		return nil, err
	}
	return &SQS{peer: client, urls: map[string]string{}}, nil
}

// Close gives up idle connections.
func (s *SQS) Close() { s.peer.Close() }

// queue is a queue's ARN, read.
type queue struct {
	arn, region, account, name string
}

func parseARN(arn string) (queue, bool) {
	parts := strings.Split(arn, ":")
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "sqs" || parts[3] == "" || parts[5] == "" {
		return queue{}, false
	}
	return queue{arn, parts[3], parts[4], parts[5]}, true
}

// Send sends a message to the queue that is its target. It does not repeat
// itself: an error other than a final *lamina.QueueError is worth another call,
// and the message may have arrived all the same.
func (s *SQS) Send(ctx context.Context, m lamina.Message) error {
	q, ok := parseARN(m.Target)
	if !ok {
		return &lamina.QueueError{Code: "InvalidAddress", Message: m.Target + " is not the ARN of a queue.", Final: true}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, sendLimit, errSlow)
	defer cancel()
	err := s.send(ctx, q, m)
	if ctx.Err() != nil && err != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("send to %s: %w", m.Target, err)
	}
	return nil
}

func (s *SQS) send(ctx context.Context, q queue, m lamina.Message) error {
	address, err := s.address(ctx, q)
	if err != nil {
		return err
	}
	form := url.Values{"Action": {"SendMessage"}, "QueueUrl": {address}, "MessageBody": {string(m.Body)}}
	for i, a := range m.Attributes {
		prefix := "MessageAttribute." + strconv.Itoa(i+1) + "."
		form.Set(prefix+"Name", a.Name)
		form.Set(prefix+"Value.DataType", a.Type)
		form.Set(prefix+"Value.StringValue", a.Value)
	}
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("queue URL: %w", err)
	}
	err = s.ask(ctx, q, u, form, nil)
	if refused, ok := errors.AsType[*lamina.QueueError](err); ok && nonExistent[refused.Code] {
		s.forget(q) // it may be made anew under another URL
	}
	return err
}

// address is the URL of a queue.
func (s *SQS) address(ctx context.Context, q queue) (string, error) {
	s.mu.Lock()
	known := s.urls[q.arn]
	s.mu.Unlock()
	if known != "" {
		return known, nil
	}
	form := url.Values{"Action": {"GetQueueUrl"}, "QueueName": {q.name}}
	if q.account != "" {
		form.Set("QueueOwnerAWSAccountId", q.account)
	}
	var answer struct {
		QueueURL string `xml:"GetQueueUrlResult>QueueUrl"`
	}
	if err := s.ask(ctx, q, nil, form, &answer); err != nil {
		return "", err
	}
	if answer.QueueURL == "" {
		return "", errors.New("SQS answered no queue URL")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.urls) >= maxURLs {
		clear(s.urls)
	}
	s.urls[q.arn] = answer.QueueURL
	return answer.QueueURL, nil
}

func (s *SQS) forget(q queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.urls, q.arn)
}

// ask posts a form and reads the answer into out, if there is one. At is the
// queue's URL: its host may be one that only SQS's other clients know, so that
// only its path counts.
func (s *SQS) ask(ctx context.Context, q queue, at *url.URL, form url.Values, out any) error {
	u := s.peer.Endpoint()
	if at != nil && strings.Trim(at.Path, "/") != "" {
		u.Path, u.RawPath = at.Path, at.RawPath
	}
	form.Set("Version", apiVersion)
	body := form.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	sum := sha256.Sum256([]byte(body))
	resp, err := s.peer.Do(req, hex.EncodeToString(sum[:]), q.region)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, answerBytes))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(resp.StatusCode, answer)
	}
	if out == nil {
		return nil
	}
	if err := xml.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

// refusal reads what SQS says about a request that it did not serve.
func refusal(status int, body []byte) error {
	var told struct {
		Code    string `xml:"Error>Code"`
		Message string `xml:"Error>Message"`
	}
	if xml.Unmarshal(body, &told) != nil || told.Code == "" {
		told.Code, told.Message = strconv.Itoa(status), http.StatusText(status)
	}
	return &lamina.QueueError{Code: told.Code, Message: told.Message, Final: final[told.Code] && status < 500}
}
