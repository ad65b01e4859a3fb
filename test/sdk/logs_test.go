package sdk

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

// TestLogsOfAFunction reads what a function printed as soon as Invoke returned,
// and after the server was killed.
func TestLogsOfAFunction(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	s := testkit.Start(t, testkit.Options{})
	ctx, client, logs := t.Context(), s.Lambda(), cloudwatchlogs.NewFromConfig(s.Config())
	_, err := client.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: aws.String("talker"), Runtime: lambdatypes.RuntimePython311, Handler: aws.String("app.handler"), Role: aws.String(role),
		Code: &lambdatypes.FunctionCode{ZipFile: archive(t, "app.py", "def handler(event, context):\n    print('said', event)\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := lambda.NewFunctionActiveV2Waiter(client).Wait(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("talker")}, time.Minute); err != nil {
		t.Fatal(err)
	}
	read := func(pattern string) []types.FilteredLogEvent {
		t.Helper()
		out, err := logs.FilterLogEvents(ctx, &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("/aws/lambda/talker"), FilterPattern: aws.String(pattern)})
		if err != nil {
			t.Fatal(err)
		}
		return out.Events
	}
	for _, payload := range []string{"1", "2", "3"} {
		if _, err := client.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("talker"), Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
		got := read("said")
		if len(got) == 0 || *got[len(got)-1].Message != "said "+payload+"\n" {
			t.Errorf("after Invoke(%s) the log ends with %v", payload, got)
		}
	}
	if got := read("REPORT"); len(got) != 3 || !strings.HasPrefix(*got[0].Message, "REPORT RequestId: ") {
		t.Errorf("REPORT lines: %v; want three", got)
	}
	// The function's end is not that of its logs; nor is the server's.
	if _, err := client.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: aws.String("talker")}); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	s.Restart()
	if got := read("said"); len(got) != 3 {
		t.Errorf("after kill -9 there are %d lines; want 3", len(got))
	}
	streams, err := logs.DescribeLogStreams(ctx, &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: aws.String("/aws/lambda/talker"), OrderBy: types.OrderByLastEventTime})
	if err != nil || len(streams.LogStreams) != 1 || !strings.Contains(*streams.LogStreams[0].LogStreamName, "[$LATEST]") {
		t.Errorf("streams %v, %v; want one of an environment", streams, err)
	}
}

// TestLogsThroughTheSDK is what a program that ships its own logs does.
func TestLogsThroughTheSDK(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.Options{})
	ctx, logs := t.Context(), cloudwatchlogs.NewFromConfig(s.Config())
	group, stream := aws.String("app/web"), aws.String("one")
	if _, err := logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: group, Tags: map[string]string{"team": "a"}}); err != nil {
		t.Fatal(err)
	}
	_, err := logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: group})
	if e := wantError[*types.ResourceAlreadyExistsException](t, "CreateLogGroup again", err); e != nil && e.ErrorMessage() != "The specified log group already exists" {
		t.Errorf("message %q", e.ErrorMessage())
	}
	if _, err := logs.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: group, LogStreamName: stream}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	put := func(texts ...string) {
		t.Helper()
		var events []types.InputLogEvent
		for i, text := range texts {
			events = append(events, types.InputLogEvent{Message: aws.String(text), Timestamp: aws.Int64(now.Add(time.Duration(i) * time.Millisecond).UnixMilli())})
		}
		if _, err := logs.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: group, LogStreamName: stream, LogEvents: events}); err != nil {
			t.Fatal(err)
		}
	}
	put(`{"level":"INFO","ms":3}`, `{"level":"ERROR","ms":120}`, `{"level":"ERROR","ms":7}`)
	s.Kill() // PutLogEvents was answered, so it stays
	s.Restart()
	filtered := cloudwatchlogs.NewFilterLogEventsPaginator(logs, &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: group, Limit: aws.Int32(1), FilterPattern: aws.String(`{ $.level = "ERROR" && $.ms > 100 }`),
	})
	var got []string
	for filtered.HasMorePages() {
		page, err := filtered.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			got = append(got, *e.Message)
		}
	}
	if len(got) != 1 || got[0] != `{"level":"ERROR","ms":120}` {
		t.Errorf("filtered: %q", got)
	}
	pages := cloudwatchlogs.NewGetLogEventsPaginator(logs, &cloudwatchlogs.GetLogEventsInput{
		LogGroupName: group, LogStreamName: stream, StartFromHead: aws.Bool(true), Limit: aws.Int32(2),
	}, func(o *cloudwatchlogs.GetLogEventsPaginatorOptions) { o.StopOnDuplicateToken = true })
	n := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Events)
	}
	if n != 3 {
		t.Errorf("GetLogEvents pages have %d events; want 3", n)
	}
	_, err = logs.DescribeLogStreams(ctx, &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: aws.String("absent")})
	wantError[*types.ResourceNotFoundException](t, "DescribeLogStreams(absent)", err)
	_, err = logs.StartQuery(ctx, &cloudwatchlogs.StartQueryInput{LogGroupName: group, QueryString: aws.String("x"), StartTime: aws.Int64(0), EndTime: aws.Int64(1)})
	wantCode(t, "StartQuery", err, "NotImplementedException")

	// Who does not sign, or signs with another secret, reads nothing.
	c := s.Config()
	stranger := *s
	stranger.SecretAccessKey = "another"
	c.Credentials = stranger.Config().Credentials
	_, err = cloudwatchlogs.NewFromConfig(c).DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{})
	wantCode(t, "DescribeLogGroups with another secret", err, "InvalidSignatureException")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", "Logs_20140328.DescribeLogGroups")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("unsigned: %d, %v; want 400", resp.StatusCode, err)
	}
}
