package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// fakeStacks is the little of CloudFormation that deploying uses: one stack, whose
// next change set becomes what the test says.
type fakeStacks struct {
	mu       sync.Mutex
	status   string   // of the stack; "" for none
	events   []string // the oldest first, as XML
	template string   // of the last change set
	form     map[string][]string
	calls    []string
	nested   string // events of the stack nested, as DescribeStackEvents answers

	refusal string   // why the next change set fails
	becomes []string // events of the next execution: status type id reason
	ends    string   // status after the next execution
}

const fakeStackID = "arn:aws:cloudformation:us-east-1:111122223333:stack/shop/1"

func (f *fakeStacks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.HasPrefix(r.Header.Get("X-Amz-Target"), "Logs_") {
		fmt.Fprint(w, `{"events":[{"message":"START\n"},{"message":"no such table\nat line 3\n"}]}`)
		return
	}
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	operation := r.Form.Get("Action")
	f.calls = append(f.calls, operation)
	answer := func(body string) {
		fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>", operation, body)
	}
	switch operation {
	case "DescribeStacks":
		if f.status == "" {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, "<ErrorResponse><Error><Code>ValidationError</Code><Message>Stack with id shop does not exist</Message></Error></ErrorResponse>")
			return
		}
		answer("<Stacks><member><StackId>" + fakeStackID + "</StackId><StackStatus>" + f.status + "</StackStatus>" +
			"<Parameters><member><ParameterKey>Old</ParameterKey></member><member><ParameterKey>Gone</ParameterKey></member></Parameters>" +
			"<Outputs><member><OutputKey>Url</OutputKey><OutputValue>http://x</OutputValue></member></Outputs></member></Stacks>")
	case "CreateChangeSet":
		f.template, f.form = r.Form.Get("TemplateBody"), r.Form
		if f.status == "" {
			f.status = "REVIEW_IN_PROGRESS"
		}
		answer("<Id>arn:set</Id><StackId>" + fakeStackID + "</StackId>")
	case "DescribeChangeSet":
		if f.refusal != "" {
			answer("<Status>FAILED</Status><StatusReason>" + f.refusal + "</StatusReason>")
			return
		}
		answer("<Status>CREATE_COMPLETE</Status>")
	case "ExecuteChangeSet", "DeleteStack":
		f.happen()
		answer("")
	case "DescribeStackEvents":
		if r.Form.Get("StackName") == "nested" {
			answer("<StackEvents>" + f.nested + "</StackEvents>")
			return
		}
		var all strings.Builder
		for i := len(f.events) - 1; i >= 0; i-- {
			all.WriteString(f.events[i])
		}
		answer("<StackEvents>" + all.String() + "</StackEvents>")
	default:
		answer("")
	}
}

// happen lets the next execution be over.
func (f *fakeStacks) happen() {
	for _, one := range append(f.becomes, f.ends+" AWS::CloudFormation::Stack shop ") {
		part := strings.SplitN(one, " ", 4)
		physical := part[2] + "-id"
		switch {
		case part[2] == "shop":
			physical = fakeStackID
		case part[1] == "AWS::CloudFormation::Stack":
			physical = "nested"
		}
		f.events = append(f.events, fmt.Sprintf("<member><EventId>%d</EventId><StackId>%s</StackId><LogicalResourceId>%s</LogicalResourceId>"+
			"<PhysicalResourceId>%s</PhysicalResourceId><ResourceType>%s</ResourceType><Timestamp>%s</Timestamp><ResourceStatus>%s</ResourceStatus>"+
			"<ResourceStatusReason>%s</ResourceStatusReason><ResourceProperties>{\"ServiceToken\":\"arn:aws:lambda:us-east-1:1:function:maker\"}</ResourceProperties></member>",
			len(f.events), fakeStackID, part[2], physical, part[1], time.Now().UTC().Format(time.RFC3339), part[0], part[3]))
	}
	f.status = f.ends
}

func TestDeploy(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "template.yaml")
	if err := os.WriteFile(path, []byte("Parameters: {Old: {Type: String}, New: {Type: String}}\nResources: {B: {Type: AWS::S3::Bucket}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const made = "CREATE_COMPLETE AWS::S3::Bucket B "
	for name, tt := range map[string]struct {
		fake  *fakeStacks
		err   string // "" for none
		notes []string
		calls string // a part of them
		form  map[string]string
	}{
		"a stack that is not there is created": {
			fake:  &fakeStacks{becomes: []string{"CREATE_IN_PROGRESS AWS::S3::Bucket B ", made}, ends: "CREATE_COMPLETE"},
			notes: []string{"CREATE_IN_PROGRESS", "CREATE_COMPLETE      B                            AWS::S3::Bucket\n"},
			form: map[string]string{
				"ChangeSetType": "CREATE", "Capabilities.member.2": "CAPABILITY_NAMED_IAM", "Parameters.member.1.ParameterKey": "New",
				"Parameters.member.1.ParameterValue": "a=b,c",
			},
		},
		"one that is there is updated, with what it has for parameters": {
			fake: &fakeStacks{status: "CREATE_COMPLETE", ends: "UPDATE_COMPLETE"},
			form: map[string]string{
				"ChangeSetType": "UPDATE", "Parameters.member.2.ParameterKey": "Old", "Parameters.member.2.UsePreviousValue": "true", "Parameters.member.3.ParameterKey": "",
			},
		},
		"nothing to change": {
			fake:  &fakeStacks{status: "UPDATE_COMPLETE", refusal: "The submitted information didn't contain changes. Submit different information to create a change set."},
			err:   "no changes",
			calls: "DescribeChangeSet DeleteChangeSet",
		},
		"a change set that fails": {
			fake: &fakeStacks{refusal: "Transform AWS::Serverless-2016-10-31 failed with: Invalid"},
			err:  "work out the changes: Transform AWS::Serverless-2016-10-31 failed with: Invalid",
		},
		"a resource that fails, and those that it took along": {
			fake: &fakeStacks{becomes: []string{
				"CREATE_FAILED AWS::S3::Bucket B the name is taken", "CREATE_FAILED AWS::S3::Bucket C Resource creation cancelled", "DELETE_COMPLETE AWS::S3::Bucket B ",
			}, ends: "ROLLBACK_COMPLETE"},
			err: "shop is in ROLLBACK_COMPLETE\n  B CREATE_FAILED: the name is taken\n  the last of its log:\n    START\n    no such table\n    at line 3",
		},
		"a resource of a nested stack": {
			fake: &fakeStacks{
				becomes: []string{"CREATE_FAILED AWS::CloudFormation::Stack Inner Embedded stack nested was not successfully created"}, ends: "ROLLBACK_COMPLETE",
				nested: "<member><StackId>nested</StackId><PhysicalResourceId>q</PhysicalResourceId><LogicalResourceId>Queue</LogicalResourceId><ResourceType>T</ResourceType>" +
					"<ResourceStatus>CREATE_FAILED</ResourceStatus><ResourceStatusReason>no queues</ResourceStatusReason><ResourceProperties>{}</ResourceProperties></member>",
			},
			err: "shop is in ROLLBACK_COMPLETE\n  Inner.Queue CREATE_FAILED: no queues",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(tt.fake)
			t.Cleanup(s.Close)
			var notes, out bytes.Buffer
			d := &deployer{
				api:  &stackClient{endpoint: s.URL, region: "us-east-1", http: s.Client(), key: aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}},
				name: "shop", template: path, notes: &notes, parameters: map[string]string{"New": "a=b,c"},
			}
			err := d.deploy(t.Context())
			if got := fmt.Sprint(err); err == nil && tt.err != "" || err != nil && got != tt.err {
				t.Errorf("deploy = %s; want %q", got, tt.err)
			}
			for _, want := range tt.notes {
				if !strings.Contains(notes.String(), want) {
					t.Errorf("notes = %s; want %q", notes.String(), want)
				}
			}
			if calls := strings.Join(tt.fake.calls, " "); !strings.Contains(calls, tt.calls) {
				t.Errorf("calls = %s; want %s", calls, tt.calls)
			}
			for field, want := range tt.form {
				if got := strings.Join(tt.fake.form[field], " "); got != want {
					t.Errorf("%s = %q; want %q", field, got, want)
				}
			}
			if err := d.outputs(t.Context(), &out); err != nil || tt.fake.status != "" && out.String() != "Url  http://x\n" {
				t.Errorf("outputs = %q, %v", out.String(), err)
			}
		})
	}
}

// TestDeployAgain removes what is left of a stack that could not be created.
func TestDeployAgain(t *testing.T) {
	t.Parallel()
	f := &fakeStacks{status: "ROLLBACK_COMPLETE", ends: "DELETE_COMPLETE"}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	var notes bytes.Buffer
	d := &deployer{api: &stackClient{endpoint: s.URL, region: "us-east-1", http: s.Client()}, name: "shop", notes: &notes}
	if now, err := d.ready(t.Context()); err != nil || now.Status != "DELETE_COMPLETE" || !strings.Contains(notes.String(), "removing what is left of it") {
		t.Errorf("ready = %+v, %v, %s; want it deleted", now, err, notes.String())
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	template := filepath.Join(dir, "template.yaml")
	if err := os.WriteFile(template, []byte("Resources: {B: {Type: AWS::S3::Bucket}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d := &deployer{template: template, notes: new(bytes.Buffer), read: []string{template}}
	d.seen = fingerprint(d.read)
	if err := os.WriteFile(template, []byte("Resources: {Other: {Type: AWS::S3::Bucket}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	changed, err := d.await(t.Context())
	if err != nil || len(changed) != 1 || !strings.HasSuffix(changed[0], "template.yaml") {
		t.Errorf("await = %v, %v; want template.yaml", changed, err)
	}
	d.seen = fingerprint(d.read)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if changed, err := d.await(ctx); err == nil {
		t.Errorf("await without a change = %v; want to wait until the context ends", changed)
	}
}
