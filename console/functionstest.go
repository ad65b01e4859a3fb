package console

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// resultBytes is how much of a result a page shows, and of an event that is shown
// again.
const resultBytes = 48 << 10

type functionTestData struct {
	*functionHead
	Event     string
	EventCut  bool // the event was too large to be shown again
	Type      string
	Template  string
	Templates []eventTemplate
	Choices   []string
	Result    *testResult
	Wrong     *refusal
	ARN       string
}

// testResult is what came of an invocation.
type testResult struct {
	Status          int
	RequestID       string
	ExecutedVersion string
	Error           string // Handled, Unhandled, or empty
	Text            string
	Cut             bool
	Took            string // as the browser's request saw it
	Log             string
	Report          []fact
	Cold            []bar
	ColdStart       bool
	handler         float64 // milliseconds
}

// fact is a name with what is known of it.
type fact struct{ Name, Value string }

// bar is a part of a whole, in thousandths.
type bar struct {
	Name, Value string
	From, Width int
	Class       string
}

func (c *Console) functionTest(v *visit) error {
	h, err := v.functionHead("test")
	if err != nil {
		return err
	}
	d := functionTestData{functionHead: h, Type: "RequestResponse", Template: v.req.URL.Query().Get("template")}
	d.Event = eventTemplates[0].Text
	for _, t := range eventTemplates {
		if t.Name == d.Template {
			d.Event = t.Text
		}
	}
	return v.showFunctionTest(&d)
}

func (v *visit) showFunctionTest(d *functionTestData) (err error) {
	if d.Choices, err = v.qualifierChoices(d.functionHead); err != nil {
		return err
	}
	d.Templates, d.ARN = eventTemplates, v.functionARN(d.Name)
	return v.showFunction("functiontest", "Test", d.functionHead, d)
}

// invokeFunction sends the function an event and shows what came of it.
func (c *Console) invokeFunction(v *visit) error {
	form := v.req.PostForm
	h, err := v.functionHead("test")
	if err != nil {
		return err
	}
	h.Qualifier = form.Get("qualifier")
	event := withEnds(form.Get("event"), unixEnds)
	d := functionTestData{functionHead: h, Event: event, Type: form.Get("type"), Template: form.Get("template")}
	if d.EventCut = escapedBytes(event) > resultBytes; d.EventCut {
		d.Event = ""
	}
	header := http.Header{"X-Amz-Invocation-Type": {d.Type}}
	if d.Type == "RequestResponse" {
		header.Set("X-Amz-Log-Type", "Tail")
	}
	began := v.o.Now()
	answer, text, err := v.do(v.context(), "lambda", http.MethodPost, functionPath(of2015, h.Name, "/invocations", "Qualifier", h.Qualifier), "application/json", header, strings.NewReader(event))
	took := v.o.Now().Sub(began)
	if r, ok := err.(*refusal); ok { //nolint:errorlint // nothing wraps it
		d.Wrong = r
		return v.showFunctionTest(&d)
	}
	if err != nil {
		return err
	}
	d.Result = resultOf(d.Type, answer, text, took)
	if d.Result.ColdStart { // the server knows more of it than the log
		starts, err := v.coldStartsOf(h.Name)
		if err != nil && !isRefusal(err) {
			return err
		}
		for _, s := range starts {
			if s.RequestId == d.Result.RequestID {
				d.Result.Cold = bars(append(s.parts(), part{"Handler", d.Result.handler}))
			}
		}
	}
	return v.showFunctionTest(&d)
}

func resultOf(kind string, answer http.Header, text []byte, took time.Duration) *testResult {
	r := &testResult{
		Status: http.StatusOK, RequestID: answer.Get("X-Amzn-Requestid"), ExecutedVersion: answer.Get("X-Amz-Executed-Version"),
		Error: answer.Get("X-Amz-Function-Error"), Took: fmt.Sprintf("%.1f ms", float64(took)/float64(time.Millisecond)),
	}
	switch kind {
	case "Event":
		r.Status = http.StatusAccepted
	case "DryRun":
		r.Status = http.StatusNoContent
	}
	var pretty bytes.Buffer
	if len(text) <= resultBytes && json.Indent(&pretty, text, "", "  ") == nil {
		text = pretty.Bytes()
	}
	r.Text, r.Cut = cutText(strings.ToValidUTF8(string(text), "�"), resultBytes)
	log, err := base64.StdEncoding.DecodeString(answer.Get("X-Amz-Log-Result"))
	if err != nil {
		log = nil // then there is none
	}
	r.Log = logText(string(log))
	r.read(log)
	return r
}

// reportFields are those of a REPORT line that are shown, under what they are called.
var reportFields = []struct{ name, json, unit, label string }{
	{"Duration", "durationMs", "ms", "Duration"},
	{"Billed Duration", "billedDurationMs", "ms", "Billed duration"},
	{"Memory Size", "memorySizeMB", "MB", "Memory size"},
	{"Max Memory Used", "maxMemoryUsedMB", "MB", "Most memory used"},
	{"Init Duration", "initDurationMs", "ms", "Init duration"},
	{"Restore Duration", "restoreDurationMs", "ms", "Restore duration"},
}

// read finds the report in the tail of the log, in either format.
func (r *testResult) read(log []byte) {
	values := map[string]float64{}
	for line := range strings.Lines(string(log)) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "REPORT RequestId: "):
			for _, part := range strings.Split(line, "\t")[1:] {
				name, value, _ := strings.Cut(part, ": ")
				number, _, _ := strings.Cut(value, " ")
				for _, f := range reportFields {
					if n, err := strconv.ParseFloat(number, 64); err == nil && f.name == name {
						values[f.name] = n
					}
				}
			}
		case strings.Contains(line, `"platform.report"`):
			var event struct {
				Type   string
				Record struct{ Metrics map[string]float64 }
			}
			if json.Unmarshal([]byte(line), &event) != nil || event.Type != "platform.report" {
				continue
			}
			for _, f := range reportFields {
				if n, ok := event.Record.Metrics[f.json]; ok {
					values[f.name] = n
				}
			}
		}
	}
	for _, f := range reportFields {
		if n, ok := values[f.name]; ok {
			r.Report = append(r.Report, fact{f.label, strconv.FormatFloat(n, 'f', -1, 64) + " " + f.unit})
		}
	}
	init, cold := values["Init Duration"]
	if !cold {
		init, cold = values["Restore Duration"]
	}
	r.handler = values["Duration"]
	if r.ColdStart = cold; !cold {
		return
	}
	r.Cold = bars([]part{{"Init", init}, {"Handler", values["Duration"]}})
}

// part is milliseconds of a whole.
type part struct {
	name string
	ms   float64
}

// bars lays the parts of a time side by side.
func bars(parts []part) []bar {
	whole := 0.0
	for _, p := range parts {
		whole += p.ms
	}
	var out []bar
	from := 0.0
	for i, p := range parts {
		b := bar{Name: p.name, Value: fmt.Sprintf("%.2f ms", p.ms), Class: strconv.Itoa(i%5 + 1)}
		if whole > 0 {
			b.From = int(1000 * from / whole)
			b.Width = max(int(1000*(from+p.ms)/whole)-b.From, 1)
		}
		from += p.ms
		out = append(out, b)
	}
	return out
}

// logText is lines of a log for people: control characters are shown as their
// pictures, so that no terminal's sequence hides anything.
func logText(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return r
		case r == '\r':
			return '␍'
		case r < 0x20:
			return '␀' + r
		case r == 0x7f:
			return '␡'
		case r == utf8.RuneError, r >= 0x80 && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return '�'
		}
		return r
	}, strings.ToValidUTF8(text, "�"))
}

// eventTemplate is an event of a service, to begin with.
type eventTemplate struct{ Name, Title, Text string }

// eventTemplates have the members that handlers look at first.
var eventTemplates = []eventTemplate{
	{"hello", "Hello", `{
  "key1": "value1",
  "key2": "value2",
  "key3": "value3"
}`},
	{"http", "Function URL, HTTP API (2.0)", `{
  "version": "2.0",
  "routeKey": "$default",
  "rawPath": "/items/7",
  "rawQueryString": "color=blue",
  "headers": { "accept": "*/*", "content-type": "application/json", "host": "example.com" },
  "queryStringParameters": { "color": "blue" },
  "requestContext": {
    "accountId": "anonymous",
    "domainName": "example.com",
    "http": { "method": "POST", "path": "/items/7", "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7", "userAgent": "test" },
    "requestId": "00000000-0000-0000-0000-000000000000",
    "stage": "$default",
    "time": "01/Jan/2026:00:00:00 +0000",
    "timeEpoch": 1767225600000
  },
  "body": "{\"name\":\"example\"}",
  "isBase64Encoded": false
}`},
	{"rest", "API Gateway, REST (1.0)", `{
  "resource": "/{proxy+}",
  "path": "/items/7",
  "httpMethod": "POST",
  "headers": { "Accept": "*/*", "Host": "example.com" },
  "multiValueHeaders": { "Accept": ["*/*"], "Host": ["example.com"] },
  "queryStringParameters": { "color": "blue" },
  "multiValueQueryStringParameters": { "color": ["blue"] },
  "pathParameters": { "proxy": "items/7" },
  "stageVariables": null,
  "requestContext": { "httpMethod": "POST", "path": "/prod/items/7", "stage": "prod", "requestId": "example", "identity": { "sourceIp": "203.0.113.7" } },
  "body": "{\"name\":\"example\"}",
  "isBase64Encoded": false
}`},
	{"s3", "S3: object created", `{
  "Records": [
    {
      "eventVersion": "2.1",
      "eventSource": "aws:s3",
      "awsRegion": "eu-central-1",
      "eventTime": "2026-01-01T00:00:00.000Z",
      "eventName": "ObjectCreated:Put",
      "s3": {
        "s3SchemaVersion": "1.0",
        "bucket": { "name": "example-bucket", "arn": "arn:aws:s3:::example-bucket" },
        "object": { "key": "folder/file.txt", "size": 1024, "eTag": "0123456789abcdef0123456789abcdef", "sequencer": "0A1B2C3D4E5F678901" }
      }
    }
  ]
}`},
	{"sqs", "SQS", `{
  "Records": [
    {
      "messageId": "00000000-0000-0000-0000-000000000000",
      "receiptHandle": "handle",
      "body": "Hello from SQS!",
      "attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": "1767225600000", "SenderId": "000000000000", "ApproximateFirstReceiveTimestamp": "1767225600001" },
      "messageAttributes": {},
      "eventSource": "aws:sqs",
      "eventSourceARN": "arn:aws:sqs:eu-central-1:000000000000:example-queue",
      "awsRegion": "eu-central-1"
    }
  ]
}`},
	{"sns", "SNS", `{
  "Records": [
    {
      "EventSource": "aws:sns",
      "EventVersion": "1.0",
      "EventSubscriptionArn": "arn:aws:sns:eu-central-1:000000000000:example-topic:00000000-0000-0000-0000-000000000000",
      "Sns": {
        "Type": "Notification",
        "MessageId": "00000000-0000-0000-0000-000000000000",
        "TopicArn": "arn:aws:sns:eu-central-1:000000000000:example-topic",
        "Subject": "example",
        "Message": "Hello from SNS!",
        "Timestamp": "2026-01-01T00:00:00.000Z",
        "MessageAttributes": {}
      }
    }
  ]
}`},
	{"eventbridge", "EventBridge: schedule", `{
  "version": "0",
  "id": "00000000-0000-0000-0000-000000000000",
  "detail-type": "Scheduled Event",
  "source": "aws.events",
  "account": "000000000000",
  "time": "2026-01-01T00:00:00Z",
  "region": "eu-central-1",
  "resources": ["arn:aws:events:eu-central-1:000000000000:rule/example"],
  "detail": {}
}`},
	{"dynamodb", "DynamoDB stream", `{
  "Records": [
    {
      "eventID": "1",
      "eventName": "INSERT",
      "eventVersion": "1.1",
      "eventSource": "aws:dynamodb",
      "awsRegion": "eu-central-1",
      "dynamodb": {
        "Keys": { "Id": { "N": "101" } },
        "NewImage": { "Id": { "N": "101" }, "Message": { "S": "New item!" } },
        "SequenceNumber": "111",
        "SizeBytes": 26,
        "StreamViewType": "NEW_AND_OLD_IMAGES"
      },
      "eventSourceARN": "arn:aws:dynamodb:eu-central-1:000000000000:table/example/stream/2026-01-01T00:00:00.000"
    }
  ]
}`},
	{"kinesis", "Kinesis", `{
  "Records": [
    {
      "kinesis": { "kinesisSchemaVersion": "1.0", "partitionKey": "1", "sequenceNumber": "1", "data": "SGVsbG8gZnJvbSBLaW5lc2lzIQ==", "approximateArrivalTimestamp": 1767225600 },
      "eventSource": "aws:kinesis",
      "eventVersion": "1.0",
      "eventID": "shardId-000000000000:1",
      "eventName": "aws:kinesis:record",
      "invokeIdentityArn": "arn:aws:iam::000000000000:role/example",
      "awsRegion": "eu-central-1",
      "eventSourceARN": "arn:aws:kinesis:eu-central-1:000000000000:stream/example"
    }
  ]
}`},
}
