package clients

import (
	"testing"

	"github.com/lamina-run/lamina/internal/testkit"
)

// follow is what `aws logs tail --follow` does, polling faster: FilterLogEvents
// from the newest time on, events seen at that time left out. It must see a line
// while the function that printed it still runs.
const follow = `
import boto3, json, threading, time, collections, zipfile, io

lam, logs = boto3.client("lambda"), boto3.client("logs")
code = """
import time
def handler(event, context):
    print("begin", event["n"], flush=True)
    time.sleep(2)
    print("end", event["n"])
"""
zipped = io.BytesIO()
with zipfile.ZipFile(zipped, "w") as z: z.writestr("app.py", code)
lam.create_function(FunctionName="slow", Runtime="python3.11", Handler="app.handler", Role="arn:aws:iam::000000000000:role/r",
                    Timeout=10, Code={"ZipFile": zipped.getvalue()})
lam.get_waiter("function_active_v2").wait(FunctionName="slow")

returned = {}
def invoke():
    for n in range(2):
        lam.invoke(FunctionName="slow", Payload=json.dumps({"n": n}))
        returned[n] = time.time()
caller = threading.Thread(target=invoke); caller.start()

seen, ids, order = {}, collections.defaultdict(set), []
args = dict(logGroupName="/aws/lambda/slow", interleaved=True, startTime=int((time.time() - 600) * 1000))
give_up = time.time() + 60
while "end 1" not in seen and time.time() < give_up:
    try:
        page = logs.filter_log_events(**args)
    except logs.exceptions.ResourceNotFoundException:
        time.sleep(0.02); continue
    for e in page["events"]:
        if e["eventId"] in ids[e["timestamp"]]: continue
        ids[e["timestamp"]].add(e["eventId"])
        text = e["message"].rstrip()
        assert text not in seen or not text.startswith(("begin", "end")), "seen twice: " + text
        seen[text] = time.time(); order.append(text)
    if ids:
        newest = max(ids); ids = collections.defaultdict(set, {newest: ids[newest]}); args["startTime"] = newest
    args.pop("nextToken", None)
    if "nextToken" in page: args["nextToken"] = page["nextToken"]
    time.sleep(0.02)
caller.join()
for n in range(2):
    assert seen["begin %d" % n] < returned[n] - 1, "a line was seen only when the function was done"
print([t for t in order if t.startswith(("begin", "end"))])
`

func TestFollowingLogs(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Boto, testkit.Sandbox, testkit.Python)
	s := testkit.Start(t, testkit.Options{})
	out := command(t, s, t.TempDir(), testkit.Tool("python3"), "-c", follow)
	if want := "['begin 0', 'end 0', 'begin 1', 'end 1']\n"; out != want {
		t.Errorf("boto3 saw %s; want %s", out, want)
	}
}

func TestLogsByCommandLine(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.AWSCLI)
	s := testkit.Start(t, testkit.Options{})
	out := command(t, s, t.TempDir(), "bash", "-euo", "pipefail", "-c", `
aws logs create-log-group --log-group-name app --tags team=a
aws logs create-log-stream --log-group-name app --log-stream-name one
now=$(date +%s)000
aws logs put-log-events --log-group-name app --log-stream-name one --log-events "timestamp=$now,message=first" "timestamp=$now,message=second" >/dev/null
aws logs get-log-events --log-group-name app --log-stream-name one --start-from-head --query 'events[].message' --output text
aws logs filter-log-events --log-group-name app --filter-pattern '?second ?third' --query 'events[].message' --output text
aws logs describe-log-streams --log-group-name app --order-by LastEventTime --descending --query 'logStreams[0].logStreamName' --output text
aws logs put-retention-policy --log-group-name app --retention-in-days 14
aws logs describe-log-groups --log-group-name-prefix app --query 'logGroups[0].[retentionInDays,arn]' --output text
aws logs list-tags-for-resource --resource-arn arn:aws:logs:eu-central-1:000000000000:log-group:app --query tags.team --output text
aws logs delete-log-stream --log-group-name app --log-stream-name one
aws logs delete-log-group --log-group-name app
aws logs describe-log-groups --query 'length(logGroups)'
`)
	want := "first\tsecond\nsecond\none\n14\tarn:aws:logs:eu-central-1:000000000000:log-group:app:*\na\n0\n"
	if out != want {
		t.Errorf("the AWS CLI printed %q; want %q", out, want)
	}
}
