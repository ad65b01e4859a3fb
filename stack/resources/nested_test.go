package resources

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// cloud is a CloudFormation whose stacks take two looks to settle.
type cloud struct {
	mu     sync.Mutex
	stacks map[string]*cloudStack // by name
	calls  []url.Values
}

type cloudStack struct {
	status, next, reason, value string
	looks                       int
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = req.ParseForm() // what is missing shows
	in := req.Form
	c.calls = append(c.calls, in)
	action, name := in.Get("Action"), in.Get("StackName")
	if rest, ok := strings.CutPrefix(name, "arn:stack/"); ok {
		name = rest
	}
	refuse := func(code, message string) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, "<ErrorResponse><Error><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>", code, message)
	}
	s := c.stacks[name]
	begin := func(verb string) {
		s.status, s.looks, s.value = verb+"_IN_PROGRESS", 0, in.Get("Parameters.member.1.ParameterValue")
		s.next, s.reason = verb+"_COMPLETE", ""
		if strings.Contains(in.Get("TemplateURL"), "bad") {
			s.next, s.reason = map[string]string{"CREATE": "ROLLBACK_COMPLETE", "UPDATE": "UPDATE_ROLLBACK_COMPLETE"}[verb], "The following resource(s) failed to create: [X]. "
		}
	}
	switch {
	case action == "CreateStack" && s != nil:
		refuse("AlreadyExistsException", "Stack ["+name+"] already exists")
		return
	case action == "CreateStack":
		s = &cloudStack{}
		c.stacks[name] = s
		begin("CREATE")
	case s == nil && action == "DeleteStack":
	case s == nil:
		refuse("ValidationError", "Stack with id "+name+" does not exist")
		return
	case action == "UpdateStack" && s.value == in.Get("Parameters.member.1.ParameterValue") && !strings.Contains(in.Get("TemplateURL"), "bad"):
		refuse("ValidationError", "No updates are to be performed.")
		return
	case action == "UpdateStack":
		begin("UPDATE")
	case action == "DeleteStack":
		begin("DELETE")
	case action == "DescribeStacks":
		if s.looks++; s.looks > 1 {
			s.status = s.next
		}
		if s.status == "DELETE_COMPLETE" {
			delete(c.stacks, name)
		}
		fmt.Fprintf(w, `<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult><Stacks><member><StackId>arn:stack/%s</StackId>
			<StackStatus>%s</StackStatus><StackStatusReason>%s</StackStatusReason><Outputs><member><OutputKey>Out</OutputKey><OutputValue>%s</OutputValue></member></Outputs>
			</member></Stacks></DescribeStacksResult></DescribeStacksResponse>`, name, s.status, s.reason, s.value)
		return
	}
	fmt.Fprintf(w, "<%sResponse/>", action)
}

func TestNestedStack(t *testing.T) {
	t.Parallel()
	c := &cloud{stacks: map[string]*cloudStack{}}
	w := newWorld(t, parts{cloud: c})
	const typ = "AWS::CloudFormation::Stack"
	r := w.resource("Inner", typ, props(`{"TemplateURL":"https://s3/good","Parameters":{"Number":5,"List":["a","b"]},"TimeoutInMinutes":3,"Tags":[{"Key":"a","Value":"1"}]}`))
	first := r.Properties
	if err := r.create(); err != nil || r.PhysicalID != "arn:stack/test-Inner-ABCDEFGHIJKL" || r.Attributes["Outputs.Out"] != "a,b" || !r.typ.HasAttribute("Outputs.Out") {
		t.Fatalf("create: %v, %s, %v", err, r.PhysicalID, r.Attributes)
	}
	in := c.calls[0]
	for key, want := range map[string]string{
		"Parameters.member.2.ParameterKey": "Number", "Parameters.member.2.ParameterValue": "5", "TimeoutInMinutes": "3", "OnFailure": "ROLLBACK",
		"Tags.member.1.Key": "a", "Tags.member.5.Key": "owner", "Capabilities.member.2": "CAPABILITY_NAMED_IAM",
	} {
		if got := in.Get(key); got != want {
			t.Errorf("CreateStack has %s %q; want %q", key, got, want)
		}
	}
	r.Again = true
	if err := r.create(); err != nil || len(c.stacks) != 1 {
		t.Errorf("create again: %v, %d stacks; want one", err, len(c.stacks))
	}
	if err := r.update(with(first, `{"TimeoutInMinutes":4}`)); err != nil {
		t.Errorf("an update that changes nothing inside: %v", err)
	}
	if err := r.update(with(first, `{"Parameters":{"Number":6}}`)); err != nil || r.Attributes["Outputs.Out"] != "6" {
		t.Errorf("update: %v, %v; want the output 6", err, r.Attributes)
	}
	bad := with(first, `{"TemplateURL":"https://s3/bad"}`)
	if err := r.update(bad); err == nil || !strings.HasPrefix(err.Error(), "Embedded stack arn:stack/test-Inner-ABCDEFGHIJKL was not successfully updated: The following resource(s) failed") {
		t.Errorf("an update that fails: %v", err)
	}
	for range 2 {
		if err := r.delete(); err != nil || len(c.stacks) != 0 {
			t.Errorf("delete: %v, %d stacks; want none", err, len(c.stacks))
		}
	}
	broken := w.resource("Broken", typ, bad)
	if err := broken.create(); err == nil || broken.PhysicalID == "" || !strings.Contains(err.Error(), "was not successfully created: The following resource(s) failed to create: [X].") {
		t.Errorf("a create that fails: %v, %q; want something to delete", err, broken.PhysicalID)
	}
}
