package logs

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
)

// TestEveryOperationIsKnown compares with the operations that a client of AWS has.
func TestEveryOperationIsKnown(t *testing.T) {
	t.Parallel()
	f := open(t, t.TempDir(), 0)
	client := reflect.TypeFor[*cloudwatchlogs.Client]()
	var names []string
	for i := range client.NumMethod() {
		if name := client.Method(i).Name; name != "Options" {
			names = append(names, name)
		}
	}
	for _, name := range names {
		_, err := f.try(name, object{})
		e, _ := errors.AsType[*Exception](err)
		if operations[name] == nil && (e == nil || e.Status != 501 || !strings.Contains(e.Message, name)) {
			t.Errorf("%s = %v; want one clear error", name, err)
		}
		if operations[name] != nil && e != nil && (e.Code == "NotImplementedException" || e.Code == "UnknownOperationException") {
			t.Errorf("%s = %v; but it is offered", name, err)
		}
	}
	for name := range operations {
		if !slices.Contains(names, name) || slices.Contains(declined, name) {
			t.Errorf("%s is offered; the client does not know it, or it is declined", name)
		}
	}
	f.refused("MakeCoffee", object{}, "UnknownOperationException", "There is no operation MakeCoffee.")
	_, err := f.Answer(t.Context(), here, "CreateLogGroup", []byte(`{"logGroupName": 5}`))
	if e, ok := errors.AsType[*Exception](err); !ok || e.Code != "SerializationException" {
		t.Errorf("a number for a name = %v; want SerializationException", err)
	}
}

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	f := withStreams(t, "s")
	f.ask("CreateLogGroup", object{"logGroupName": "protected", "deletionProtectionEnabled": true})
	const (
		invalid  = "InvalidParameterException"
		missing  = "ResourceNotFoundException"
		noGroup  = "The specified log group does not exist."
		noStream = "The specified log stream does not exist."
		one      = "1 validation error detected: Value "
	)
	long := strings.Repeat("x", 513)
	many := object{}
	for i := range 51 {
		many[fmt.Sprint(i)] = ""
	}
	for _, c := range []struct {
		operation string
		in        object
		code      string
		message   string
	}{
		{"CreateLogGroup", object{}, invalid, one + "null at 'logGroupName' failed to satisfy constraint: Member must not be null"},
		{"CreateLogGroup", object{"logGroupName": "g"}, "ResourceAlreadyExistsException", "The specified log group already exists"},
		{"CreateLogGroup", object{"logGroupName": "a b"}, invalid, one + `'a b' at 'logGroupName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+`},
		{"CreateLogGroup", object{"logGroupName": ""}, invalid, "2 validation errors detected: Value '' at 'logGroupName' failed to satisfy constraint: Member must have length greater than or equal to 1; Value '' at 'logGroupName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+"},
		{"CreateLogGroup", object{"logGroupName": long}, invalid, one + "'" + long + "' at 'logGroupName' failed to satisfy constraint: Member must have length less than or equal to 512"},
		{"CreateLogGroup", object{"logGroupName": "x", "logGroupClass": "CHEAP"}, invalid, one + "'CHEAP' at 'logGroupClass' failed to satisfy constraint: Member must satisfy enum value set: [STANDARD, INFREQUENT_ACCESS, DELIVERY]"},
		{"CreateLogGroup", object{"logGroupName": "x", "tags": many}, invalid, one[:len(one)-1] + " at 'tags' failed to satisfy constraint: Member must have length less than or equal to 50"},
		{"DeleteLogGroup", object{"logGroupName": "no"}, missing, noGroup},
		{"DeleteLogGroup", object{"logGroupName": "protected"}, "ValidationException", "The log group is protected from deletion; turn its deletion protection off first."},
		{"CreateLogStream", object{"logGroupName": "g", "logStreamName": "s"}, "ResourceAlreadyExistsException", "The specified log stream already exists"},
		{"CreateLogStream", object{"logGroupName": "no", "logStreamName": "s"}, missing, noGroup},
		{"CreateLogStream", object{"logGroupName": "g", "logStreamName": "a:b"}, invalid, one + "'a:b' at 'logStreamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [^:*]*"},
		{"DeleteLogStream", object{"logGroupName": "g", "logStreamName": "no"}, missing, noStream},
		{"PutRetentionPolicy", object{"logGroupName": "no", "retentionInDays": 1}, missing, noGroup},
		{"PutRetentionPolicy", object{"logGroupName": "g"}, invalid, one + "null at 'retentionInDays' failed to satisfy constraint: Member must not be null"},
		{"DescribeLogGroups", object{"limit": 51}, invalid, one + "'51' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 50"},
		{"DescribeLogGroups", object{"logGroupNamePrefix": "a", "logGroupNamePattern": "b"}, invalid, "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters."},
		{"DescribeLogGroups", object{"nextToken": "?"}, invalid, "The specified nextToken is invalid."},
		{"DescribeLogStreams", object{"logGroupName": "g", "orderBy": "LastEventTime", "logStreamNamePrefix": "s"}, invalid, "Cannot order by LastEventTime with a logStreamNamePrefix."},
		{"DescribeLogStreams", object{"logGroupName": "g", "orderBy": "Name"}, invalid, one + "'Name' at 'orderBy' failed to satisfy constraint: Member must satisfy enum value set: [LogStreamName, LastEventTime]"},
		{"DescribeLogStreams", object{"logGroupName": "no"}, missing, noGroup},
		{"GetLogEvents", object{"logGroupName": "g", "logStreamName": "no"}, missing, noStream},
		{"GetLogEvents", object{"logGroupName": "g", "logStreamName": "s", "limit": 0}, invalid, one + "'0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"FilterLogEvents", object{"logGroupName": "no"}, missing, noGroup},
		{"FilterLogEvents", object{"logGroupName": "g", "logStreamNames": []string{"no"}}, missing, noStream},
		{"FilterLogEvents", object{"logGroupName": "g", "logStreamNames": []string{"s"}, "logStreamNamePrefix": "s"}, invalid, "LogStreamNamePrefix and LogStreamNames are mutually exclusive parameters."},
		{"FilterLogEvents", object{"logGroupName": "g", "filterPattern": "a@b"}, invalid, "Invalid character(s) in term 'a@b'"},
		{"FilterLogEvents", object{"logGroupName": "g", "nextToken": "xx"}, invalid, "The specified nextToken is invalid."},
		{"FilterLogEvents", object{"logGroupName": "g", "logGroupIdentifier": "g"}, invalid, "LogGroup name and LogGroup identifier are mutually exclusive parameters."},
		{"FilterLogEvents", object{"logGroupIdentifier": "arn:aws:logs:eu-central-1:111111111111:log-group:g"}, missing, noGroup},
		{"ListTagsLogGroup", object{"logGroupName": "no"}, missing, noGroup},
		{"ListTagsForResource", object{"resourceArn": "arn:aws:logs:eu-central-1:000000000000:log-group:no"}, missing, "The specified resource does not exist."},
		{"TagResource", object{"resourceArn": "arn:aws:logs:eu-central-1:000000000000:log-group:g", "tags": object{"": "x"}}, invalid, "2 validation errors detected: Value '' at 'tags' failed to satisfy constraint: Member must have length greater than or equal to 1; Value '' at 'tags' failed to satisfy constraint: Member must satisfy regular expression pattern: ([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+)"},
		{"DescribeSubscriptionFilters", object{"logGroupName": "no"}, missing, noGroup},
		{"StartLiveTail", object{}, "NotImplementedException", "Lamina does not offer StartLiveTail of CloudWatch Logs."},
	} {
		f.refused(c.operation, c.in, c.code, c.message)
	}
}

func TestGroupsAsClientsSetThem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, dir, 0)
	const arn = "arn:aws:logs:eu-central-1:000000000000:log-group:g"
	f.ask("CreateLogGroup", object{"logGroupName": "g", "kmsKeyId": "arn:aws:kms:x", "tags": object{"a": "1", "b": "2"}, "logGroupClass": "INFREQUENT_ACCESS"})
	f.ask("PutRetentionPolicy", object{"logGroupName": "g", "retentionInDays": 7})
	f.ask("TagResource", object{"resourceArn": arn, "tags": object{"b": "3", "c": "4"}})
	f.ask("UntagResource", object{"resourceArn": arn, "tagKeys": []string{"a"}})
	f.ask("TagLogGroup", object{"logGroupName": "g", "tags": object{"d": "5"}})
	f.ask("UntagLogGroup", object{"logGroupName": "g", "tags": []string{"c"}})
	f.ask("PutLogGroupDeletionProtection", object{"logGroupIdentifier": arn, "deletionProtectionEnabled": true})
	check := func(f *fixture, want object, tags string) {
		t.Helper()
		got := f.ask("DescribeLogGroups", object{"logGroupNamePattern": "G"})["logGroups"].([]any)[0].(object)
		for k, v := range want {
			if fmt.Sprint(got[k]) != fmt.Sprint(v) {
				t.Errorf("%s = %v; want %v", k, got[k], v)
			}
		}
		for _, out := range []object{f.ask("ListTagsForResource", object{"resourceArn": arn}), f.ask("ListTagsLogGroup", object{"logGroupName": "g"})} {
			if fmt.Sprint(out["tags"]) != tags {
				t.Errorf("tags %v; want %s", out["tags"], tags)
			}
		}
	}
	want := object{"retentionInDays": 7, "kmsKeyId": "arn:aws:kms:x", "logGroupClass": "INFREQUENT_ACCESS", "deletionProtectionEnabled": true, "arn": arn + ":*", "logGroupArn": arn}
	check(f, want, "map[b:3 d:5]")
	f = open(t, dir, 0)
	check(f, want, "map[b:3 d:5]")
	f.ask("DisassociateKmsKey", object{"logGroupName": "g"})
	f.ask("AssociateKmsKey", object{"resourceIdentifier": arn, "kmsKeyId": "arn:aws:kms:y"})
	f.ask("DeleteRetentionPolicy", object{"logGroupName": "g"})
	check(f, object{"retentionInDays": nil, "kmsKeyId": "arn:aws:kms:y"}, "map[b:3 d:5]")
	f.ask("PutLogGroupDeletionProtection", object{"logGroupIdentifier": "g", "deletionProtectionEnabled": false})
	f.ask("DeleteLogGroup", object{"logGroupName": "g"})
	if all := f.ask("DescribeLogGroups", object{})["logGroups"].([]any); len(all) != 0 {
		t.Errorf("groups %v; want none", all)
	}
}

func TestListsByPages(t *testing.T) {
	t.Parallel()
	f := open(t, t.TempDir(), 0)
	f.ask("CreateLogGroup", object{"logGroupName": "g"})
	for i := range 7 {
		f.clock.move(1e9)
		f.ask("CreateLogGroup", object{"logGroupName": fmt.Sprintf("many/%d", i)})
		f.Write(version("x"), fmt.Sprintf("s%d", 6-i), f.clock.now(), []byte("x"))
	}
	pages := func(operation, list, name string, in object) (all []string) {
		t.Helper()
		for n := 0; ; n++ {
			out := f.ask(operation, in)
			for _, o := range out[list].([]any) {
				all = append(all, o.(object)[name].(string))
			}
			if out["nextToken"] == nil || n > 20 {
				return all
			}
			in["nextToken"] = out["nextToken"]
		}
	}
	for limit := 1; limit <= 8; limit++ {
		same(t, "groups", pages("DescribeLogGroups", "logGroups", "logGroupName", object{"limit": limit, "logGroupNamePrefix": "many/"}),
			strings.Fields("many/0 many/1 many/2 many/3 many/4 many/5 many/6"))
		in := func(order string, descending bool) object {
			return object{"logGroupName": "/aws/lambda/x", "limit": limit, "orderBy": order, "descending": descending}
		}
		streams := func(in object) []string {
			return pages("DescribeLogStreams", "logStreams", "logStreamName", in)
		}
		same(t, "by name", streams(in("LogStreamName", false)), strings.Fields("s0 s1 s2 s3 s4 s5 s6"))
		same(t, "by name, descending", streams(in("LogStreamName", true)), strings.Fields("s6 s5 s4 s3 s2 s1 s0"))
		same(t, "by time", streams(in("LastEventTime", false)), strings.Fields("s6 s5 s4 s3 s2 s1 s0"))
		same(t, "by time, descending", streams(in("LastEventTime", true)), strings.Fields("s0 s1 s2 s3 s4 s5 s6"))
	}
	same(t, "by identifier", pages("DescribeLogGroups", "logGroups", "logGroupName", object{"logGroupIdentifiers": []string{"many/3", "arn:aws:logs:eu-central-1:000000000000:log-group:g"}}), []string{"g", "many/3"})
}
