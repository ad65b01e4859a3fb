package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/stack/resources"
	"github.com/lamina-run/lamina/store"
)

func whole(text string) Wanted { return Wanted{Template: Source{Original: text}} }

func TestParameters(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.ssm["/ami"], r.ssm["/plain"] = "ami-1", "from ssm"
	w := whole(`{
		"Parameters": {
			"Secret": {"Type": "String", "NoEcho": true}, "Image": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/ami"},
			"Size": {"Type": "Number", "Default": 3}, "Create": {"Type": "String", "Default": "no"}
		},
		"Conditions": {"Wants": {"Fn::Equals": [{"Ref": "Create"}, "yes"]}},
		"Resources": {
			"A": {"Type": "Test::Thing", "Properties": {"Value": {"Fn::Sub": "${Secret}-${Image}-${Size}"}, "Dynamic": "{{resolve:ssm:/plain}}"}},
			"B": {"Type": "Test::Thing", "Condition": "Wants"},
			"C": {"Type": "Test::Thing", "Properties": {"Value": {"Fn::If": ["Wants", {"Ref": "B"}, {"Ref": "AWS::NoValue"}]}}},
			"Key": {"Type": "Test::Secret"},
			"User": {"Type": "Test::Thing", "Properties": {"Value": {"Fn::GetAtt": ["Key", "Secret"]}}}
		},
		"Outputs": {"Out": {"Value": {"Ref": "Size"}}, "None": {"Condition": "Wants", "Value": {"Ref": "B"}}}
	}`)
	if _, err := r.e.CreateStack(r.ctx(), "p", w); err == nil || err.Error() != "ValidationError: Parameters: [Secret] must have values" {
		t.Errorf("CreateStack = %v; want the missing parameter", err)
	}
	w.Parameters = []Parameter{{Key: "Secret", Value: "hush"}}
	id := r.create("p", w)
	s := r.want(id, createComplete)
	if diff := cmp.Diff(s.Outputs, []store.StackOutput{{Key: "Out", Value: "3"}}); diff != "" {
		t.Error(diff)
	}
	if got := r.world.value(r.resource(id, "A").PhysicalID); got != "hush-ami-1-3" {
		t.Errorf("A has %v", got)
	}
	r.world.mu.Lock()
	if got := r.world.things[r.resource(id, "A").PhysicalID]["Dynamic"]; got != "from ssm" {
		t.Errorf("Dynamic = %v", got)
	}
	r.world.mu.Unlock()
	if got := r.world.value(r.resource(id, "User").PhysicalID); got != "s3cr3t" {
		t.Errorf("User has %v; want the secret", got)
	}
	for _, e := range r.allEvents(id) {
		if strings.Contains(e.Properties, "hush") || strings.Contains(e.Properties, "s3cr3t") || e.LogicalID == "A" && !strings.Contains(e.Properties, "****-ami-1-3") {
			t.Errorf("event = %s; want secrets masked", e.Properties)
		}
	}
	// Nothing changes while the SSM parameter stays; then one thing does.
	same := w
	same.Parameters = []Parameter{{Key: "Secret", Previous: true}, {Key: "Image", Previous: true}}
	same.Template = Source{}
	if _, err := r.e.UpdateStack(r.ctx(), id, same); err == nil || !strings.Contains(err.Error(), "No updates are to be performed.") {
		t.Errorf("UpdateStack = %v; want no updates", err)
	}
	r.ssm["/ami"] = "ami-2"
	same.Parameters = append(same.Parameters, Parameter{Key: "Create", Value: "yes"})
	r.update(id, same)
	s = r.want(id, updateComplete)
	if got := r.world.value(r.resource(id, "A").PhysicalID); got != "hush-ami-2-3" {
		t.Errorf("A has %v", got)
	}
	if got := r.world.value(r.resource(id, "C").PhysicalID); got != r.resource(id, "B").PhysicalID || len(s.Outputs) != 2 {
		t.Errorf("C has %v, outputs %v; want B's ID", got, s.Outputs)
	}
	same.Parameters = []Parameter{{Key: "Secret", Previous: true}, {Key: "Nope", Previous: true}}
	if _, err := r.e.UpdateStack(r.ctx(), id, same); !Validation.Is(err) {
		t.Errorf("UpdateStack(an unknown parameter) = %v", err)
	}
}

func TestExports(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	exporter := func(value, name string) Wanted {
		return whole(`{"Resources": {"A": {"Type": "Test::Thing", "Properties": {"Value": "` + value + `"}}}, "Outputs": {"O": {"Value": {"Fn::GetAtt": ["A", "Value"]}, "Export": {"Name": "` + name + `"}}}}`)
	}
	importer := whole(`{"Resources": {"A": {"Type": "Test::Thing", "Properties": {"Value": {"Fn::ImportValue": {"Fn::Sub": "shared"}}}}}}`)
	early := r.create("early", importer)
	if s := r.want(early, rollbackComplete); !contains(r.events(early), "early ROLLBACK_IN_PROGRESS: No export named shared found. Rollback requested by user.") {
		t.Errorf("events of %s =\n%s", s.Name, strings.Join(r.events(early), "\n"))
	}
	from := r.create("from", exporter("1", "shared"))
	r.want(from, createComplete)
	other := r.create("other", exporter("1", "shared"))
	r.want(other, rollbackComplete)
	if !contains(r.events(other), "other ROLLBACK_IN_PROGRESS: Export with name shared is already exported by stack from. Rollback requested by user.") {
		t.Errorf("events =\n%s", strings.Join(r.events(other), "\n"))
	}
	to := r.create("to", importer)
	r.want(to, createComplete)
	if got := r.world.value(r.resource(to, "A").PhysicalID); got != "1" {
		t.Errorf("imported %v; want 1", got)
	}
	if err := r.e.DeleteStack(r.ctx(), from, Deletion{}); err == nil || err.Error() != "ValidationError: Export shared cannot be deleted as it is in use by to" {
		t.Errorf("DeleteStack = %v; want a refusal", err)
	}
	for name, want := range map[string]string{"shared": "Export shared cannot be updated as it is in use by to", "another": "Export shared cannot be deleted as it is in use by to"} {
		r.update(from, exporter("2", name))
		r.want(from, updateRollbackComplete)
		if !contains(r.events(from), "from UPDATE_ROLLBACK_IN_PROGRESS: "+want) {
			t.Errorf("events =\n%s", strings.Join(r.events(from), "\n"))
		}
		if got := r.world.value(r.resource(from, "A").PhysicalID); got != "1" {
			t.Errorf("A has %v; want 1", got)
		}
	}
	r.update(to, things(thing("A", `"Value": "mine"`)))
	r.want(to, updateComplete)
	r.update(from, exporter("2", "another"))
	r.want(from, updateComplete)
	r.delete(from)
	r.want(from, deleteComplete)
	again := r.create("again", exporter("1", "shared"))
	r.want(again, createComplete)
}

func TestCallerAndTags(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	w := body(`"A": {"Type": "Test::Tagged"}, "B": {"Type": "Test::Thing"}`)
	w.Tags = map[string]string{"a": "1"}
	w.RoleARN = "arn:aws:iam::123456789012:role/deployer"
	id := r.create("t", w)
	r.want(id, createComplete)
	w.Tags = map[string]string{"a": "2"}
	w.RoleARN = ""
	var got []string
	r.world.mu.Lock()
	r.world.fail = func(kind string, s *resources.Step) error {
		got = append(got, fmt.Sprint(kind, s.LogicalID, s.OldTags, s.Stack.Tags))
		return nil
	}
	r.world.mu.Unlock()
	r.update(id, w)
	r.want(id, updateComplete)
	if diff := cmp.Diff(got, []string{"updateAmap[a:1] map[a:2]"}); diff != "" {
		t.Error(diff)
	}
	for _, c := range r.world.caller {
		if c.Name != "deployer" || c.Region != "eu-west-1" || c.Account != tester.Account || c.Session.RoleARN == "" {
			t.Errorf("caller = %+v; want the role", c)
		}
	}
	id = r.create("own", body(`"A": {"Type": "Test::Thing"}`))
	r.want(id, createComplete)
	if c := r.world.caller[len(r.world.caller)-1]; c.ARN != tester.ARN || c.AccessKeyID != "" || c.Agent != service {
		t.Errorf("caller = %+v; want the one who asked, without a key", c)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.world.hold = func(ctx context.Context, s *resources.Step) error {
		if s.LogicalID != "W" {
			return nil
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}
	w := things(custom("W", "Custom::Waits", ``), thing("A", ``))
	w.TimeoutMinutes = 1
	id := r.create("slow", w)
	r.close()
	r.skew = time.Minute - 20*time.Millisecond // most of it has passed
	r.open()
	r.start()
	r.want(id, rollbackComplete)
	got := r.events(id)
	if !contains(got, "slow ROLLBACK_IN_PROGRESS: Stack creation time exceeded the specified timeout. Rollback requested by user.") || !contains(got, "W CREATE_FAILED: Resource creation cancelled") {
		t.Errorf("events =\n%s", strings.Join(got, "\n"))
	}
}

func (r *rig) changeSet(stack string, w ChangeSetWanted) (store.StackChangeSet, []Change) {
	r.t.Helper()
	c, err := r.e.CreateChangeSet(r.ctx(), stack, w)
	if err != nil {
		r.t.Fatal(err)
	}
	var changes []Change
	if err := json.Unmarshal(c.Changes, &changes); err != nil {
		r.t.Fatal(err)
	}
	return c, changes
}

func TestChangeSets(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	first := things(thing("A", `"Value": "1", "Name": "a"`), thing("B", `"Value": {"Ref": "A"}`), thing("C", `"Value": {"Fn::GetAtt": ["A", "Arn"]}`))
	c, changes := r.changeSet("cs", ChangeSetWanted{Name: "one", Type: "CREATE", Wanted: first})
	if c.Status != createComplete || c.Execution != "AVAILABLE" || len(changes) != 3 || changes[0].Action != "Add" || changes[1].After != `{"Properties":{"Value":"{{changeSet:KNOWN_AFTER_APPLY}}"}}` {
		t.Errorf("change set = %+v, %+v", c, changes)
	}
	id := c.Stack
	if s := r.stack(id); s.Status != reviewInProgress || strings.Join(r.events(id), "") != "cs REVIEW_IN_PROGRESS: User Initiated" {
		t.Errorf("stack = %s, %v", s.Status, r.events(id))
	}
	if _, err := r.e.CreateChangeSet(r.ctx(), "cs", ChangeSetWanted{Name: "one", Type: "CREATE", Wanted: first}); !AlreadyExists.Is(err) {
		t.Errorf("CreateChangeSet again = %v", err)
	}
	if _, err := r.e.CreateChangeSet(r.ctx(), "none", ChangeSetWanted{Name: "one", Type: "UPDATE", Wanted: first}); err == nil || err.Error() != "ValidationError: Stack [none] does not exist" {
		t.Errorf("CreateChangeSet(none) = %v", err)
	}
	if err := r.e.ExecuteChangeSet(r.ctx(), "cs", "one", "", nil, false); err != nil {
		t.Fatal(err)
	}
	if s := r.want(id, createComplete); s.ChangeSet != c.ID || s.Updated.IsZero() {
		t.Errorf("stack = %+v; want the change set's ARN", s)
	}
	if err := r.e.ExecuteChangeSet(r.ctx(), "", c.ID, "", nil, false); !InvalidChangeSetStatus.Is(err) {
		t.Errorf("ExecuteChangeSet again = %v", err)
	}
	for name, w := range map[string]Wanted{"same": first, "spaces": {Template: Source{Original: first.Template.Original + " "}}} {
		c, _ := r.changeSet("cs", ChangeSetWanted{Name: name, Type: "UPDATE", Wanted: w})
		want := map[string]string{"same": "The submitted information didn't contain changes. Submit different information to create a change set.", "spaces": "No updates are to be performed."}[name]
		if c.Status != "FAILED" || c.Execution != "UNAVAILABLE" || c.Reason != want {
			t.Errorf("change set %s = %s, %s; want %s", name, c.Status, c.Reason, want)
		}
		if err := r.e.ExecuteChangeSet(r.ctx(), "cs", name, "", nil, false); !InvalidChangeSetStatus.Is(err) {
			t.Errorf("ExecuteChangeSet(%s) = %v", name, err)
		}
	}
	second := things(thing("A", `"Value": "2", "Name": "b"`), thing("B", `"Value": {"Ref": "A"}`), thing("D", ``))
	stale, _ := r.changeSet("cs", ChangeSetWanted{Name: "stale", Type: "UPDATE", Wanted: second})
	c, changes = r.changeSet("cs", ChangeSetWanted{Name: "two", Type: "UPDATE", Wanted: second})
	a := r.resource(id, "A").PhysicalID
	if diff := cmp.Diff(changes, []Change{
		{
			Action: "Modify", LogicalID: "A", PhysicalID: a, Type: "Test::Thing", Replacement: "True", Policy: "ReplaceAndDelete", Scope: []string{"Properties"},
			Before: `{"Properties":{"Name":"a","Value":"1"}}`, After: `{"Properties":{"Name":"b","Value":"2"}}`,
			Details: []Detail{
				{Attribute: "Properties", Name: "Name", Path: "/Properties/Name", Recreation: "Always", Evaluation: "Static", Source: "DirectModification", Before: "a", After: "b", ChangeType: "Modify"},
				{Attribute: "Properties", Name: "Value", Path: "/Properties/Value", Recreation: "Never", Evaluation: "Static", Source: "DirectModification", Before: "1", After: "2", ChangeType: "Modify"},
			},
		},
		{
			Action: "Modify", LogicalID: "B", PhysicalID: r.resource(id, "B").PhysicalID, Type: "Test::Thing", Replacement: "False", Scope: []string{"Properties"},
			Before: `{"Properties":{"Value":"` + a + `"}}`, After: `{"Properties":{"Value":"{{changeSet:KNOWN_AFTER_APPLY}}"}}`,
			Details: []Detail{{Attribute: "Properties", Name: "Value", Path: "/Properties/Value", Recreation: "Never", Evaluation: "Dynamic", Source: "ResourceReference", Entity: "A", Before: a, After: knownAfter, ChangeType: "Modify"}},
		},
		{Action: "Remove", LogicalID: "C", PhysicalID: r.resource(id, "C").PhysicalID, Type: "Test::Thing", Policy: "Delete", Before: `{"Properties":{"Value":"arn:` + a + `"}}`},
		{Action: "Add", LogicalID: "D", Type: "Test::Thing", After: `{"Properties":{}}`},
	}); diff != "" {
		t.Error(diff)
	}
	if err := r.e.ExecuteChangeSet(r.ctx(), "cs", "two", "", nil, false); err != nil {
		t.Fatal(err)
	}
	r.want(id, updateComplete)
	if err := r.e.ExecuteChangeSet(r.ctx(), "", stale.ID, "", nil, false); !ChangeSetNotFound.Is(err) {
		t.Errorf("ExecuteChangeSet(stale) = %v", err)
	}
	stale, _ = r.changeSet("cs", ChangeSetWanted{Name: "three", Type: "UPDATE", Wanted: first})
	r.update(id, things(thing("A", ``)))
	r.want(id, updateComplete)
	if err := r.e.ExecuteChangeSet(r.ctx(), "", stale.ID, "", nil, false); err == nil || err.Error() != "InvalidChangeSetStatus: ChangeSet ["+stale.ID+"] cannot be executed in its current execution status of [OBSOLETE]" {
		t.Errorf("ExecuteChangeSet(stale) = %v", err)
	}
	if err := errors.Join(r.e.DeleteChangeSet(r.ctx(), "", stale.ID), r.e.DeleteChangeSet(r.ctx(), "", stale.ID)); err != nil {
		t.Errorf("DeleteChangeSet = %v", err)
	}
	// A stack that was only reviewed goes at once.
	c, _ = r.changeSet("idle", ChangeSetWanted{Name: "one", Type: "CREATE", Wanted: first})
	r.delete("idle")
	r.want(c.Stack, deleteComplete)
}

// nestedType makes stacks by the engine itself.
type nestedFake struct {
	fakeType
	r *rig
}

func (n nestedFake) Create(ctx context.Context, s *resources.Step) (resources.Made, error) {
	id, err := n.r.e.CreateStack(ctx, s.Stack.Name+"-"+s.LogicalID+"-"+s.Seed, Wanted{Template: Source{Original: s.Properties["Template"].(string)}, Token: s.Token})
	if err != nil {
		return resources.Made{}, err
	}
	return n.wait(ctx, id, createComplete)
}

func (n nestedFake) wait(ctx context.Context, id, status string) (resources.Made, error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		s := n.r.stack(id)
		if !inProgress(s.Status) {
			if s.Status != status {
				return resources.Made{PhysicalID: id}, fmt.Errorf("Embedded stack %s was not successfully created: %s", id, s.Reason)
			}
			return resources.Made{PhysicalID: id}, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return resources.Made{PhysicalID: id}, context.Cause(ctx)
		}
	}
}

func (n nestedFake) Update(ctx context.Context, s *resources.Step) (resources.Made, error) {
	if s.Again {
		if made, err := n.wait(ctx, s.PhysicalID, ""); made.PhysicalID == "" {
			return made, err
		}
	}
	_, err := n.r.e.UpdateStack(ctx, s.PhysicalID, Wanted{Template: Source{Original: s.Properties["Template"].(string)}, Token: s.Token})
	if err != nil && strings.Contains(err.Error(), "No updates") {
		return resources.Made{PhysicalID: s.PhysicalID}, nil
	}
	if err != nil {
		return resources.Made{PhysicalID: s.PhysicalID}, err
	}
	return n.wait(ctx, s.PhysicalID, updateComplete)
}

func (n nestedFake) Delete(ctx context.Context, s *resources.Step) error {
	if err := n.r.e.DeleteStack(ctx, s.PhysicalID, Deletion{}); err != nil {
		return err
	}
	_, err := n.wait(ctx, s.PhysicalID, deleteComplete)
	return err
}

type nestedTypes struct{ r *rig }

func (n nestedTypes) Type(name string) (resources.Type, bool) {
	f, ok := n.r.world.Type(name)
	if name == nestedType {
		return nestedFake{f.(fakeType), n.r}, true
	}
	return f, ok
}

func TestNested(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mend = func(e *Engine) { e.o.Types = nestedTypes{r} }
	r.mend(r.e)
	r.e.o.AtOnce = 1 // stacks that wait for others leave room for those
	r.start()
	nested := func(inner string) string {
		return `"N": {"Type": "AWS::CloudFormation::Stack", "Properties": {"Template": ` + text(inner) + `}}`
	}
	leaf := func(v string) string { return things(thing("Leaf", `"Value": "`+v+`"`)).Template.Original }
	middle := func(v string) string { return body(nested(leaf(v))).Template.Original }
	id := r.create("root", body(nested(middle("1"))))
	r.want(id, createComplete)
	child := r.stack(r.resource(id, "N").PhysicalID)
	grandchild := r.stack(r.resource(child.ID, "N").PhysicalID)
	if child.Parent != id || child.Root != id || grandchild.Parent != child.ID || grandchild.Root != id {
		t.Errorf("child = %s in %s, grandchild = %s in %s; want them in their parents and the root", child.Root, child.Parent, grandchild.Root, grandchild.Parent)
	}
	r.update(id, body(nested(middle("2"))))
	r.want(id, updateComplete)
	if got := r.world.value(r.resource(grandchild.ID, "Leaf").PhysicalID); got != "2" {
		t.Errorf("Leaf has %v; want 2", got)
	}
	// What is nested is asked each time.
	r.update(id, body(nested(middle("2"))))
	r.want(id, updateComplete)
	if _, err := r.e.UpdateTerminationProtection(r.ctx(), id, true); err != nil {
		t.Fatal(err)
	}
	if err := r.e.DeleteStack(r.ctx(), child.ID, Deletion{}); !Validation.Is(err) {
		t.Errorf("DeleteStack(nested) = %v; want a refusal", err)
	}
	if _, err := r.e.UpdateTerminationProtection(r.ctx(), id, false); err != nil {
		t.Fatal(err)
	}
	r.delete(id)
	r.want(id, deleteComplete)
	if r.stack(grandchild.ID).Status != deleteComplete || len(r.world.physical()) > 0 {
		t.Errorf("grandchild is %s, left %v", r.stack(grandchild.ID).Status, r.world.physical())
	}
}

// TestNestedInterrupted: what ends a stack's operation ends those of the stacks in
// it, and a rollback that failed in one of those is gone on with from outside.
func TestNestedInterrupted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mend = func(e *Engine) { e.o.Types = nestedTypes{r} }
	r.mend(r.e)
	waiting := make(chan string, 10)
	r.world.hold = func(ctx context.Context, s *resources.Step) error {
		if s.Properties["Value"] != "wait" {
			return nil
		}
		waiting <- s.LogicalID
		<-ctx.Done()
		return context.Cause(ctx)
	}
	var stuck atomic.Bool
	r.world.fail = func(kind string, s *resources.Step) error {
		if kind == "update" && s.LogicalID == "Leaf" && s.Properties["Value"] == "1" && stuck.Load() {
			return errors.New("stuck")
		}
		return nil
	}
	r.start()
	nested := func(leaf, waits string) Wanted {
		inner := things(thing("Leaf", `"Value": "`+leaf+`"`), `"W": {"Type": "Custom::Waits", "DependsOn": "Leaf", "Properties": {"Value": "`+waits+`"}}`)
		return body(`"N": {"Type": "AWS::CloudFormation::Stack", "Properties": {"Template": ` + text(inner.Template.Original) + `}}`)
	}
	id := r.create("out", nested("1", "1"))
	r.want(id, createComplete)
	child := r.resource(id, "N").PhysicalID
	r.update(id, nested("2", "wait"))
	<-waiting
	if err := r.e.CancelUpdateStack(r.ctx(), id, ""); err != nil {
		t.Fatal(err)
	}
	r.want(id, updateRollbackComplete)
	if got := r.stack(child).Status; got != updateRollbackComplete {
		t.Errorf("the nested stack is %s", got)
	}
	stuck.Store(true)
	r.update(id, nested("2", "wait"))
	<-waiting
	if err := r.e.CancelUpdateStack(r.ctx(), id, ""); err != nil {
		t.Fatal(err)
	}
	r.want(id, updateRollbackFailed)
	if got := r.stack(child).Status; got != updateRollbackFailed {
		t.Errorf("the nested stack is %s", got)
	}
	if err := r.e.ContinueUpdateRollback(r.ctx(), id, "", "", []string{r.stack(child).Name + ".Leaf"}); err != nil {
		t.Fatal(err)
	}
	r.want(id, updateRollbackComplete)
	stuck.Store(false)
	made := r.create("dropped", nested("1", "wait"))
	<-waiting
	r.delete(made)
	r.want(made, deleteComplete)
	r.delete(id)
	r.want(id, deleteComplete)
	if left := r.world.physical(); len(left) > 0 {
		t.Errorf("left = %v", left)
	}
}

// TestSeveralServers: each stack is worked on by one server at a time, and by
// another when that one is gone.
func TestSeveralServers(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, o store.Options) {
		r := newRigOn(t, o)
		r.e.shared = true
		var mu sync.Mutex
		steps := map[string]int{}
		r.world.fail = func(kind string, s *resources.Step) error {
			mu.Lock()
			defer mu.Unlock()
			steps[kind+s.Stack.Name+s.LogicalID]++
			return nil
		}
		r.start()
		others := 2
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, others)
		for range others {
			e := New(r.e.o)
			e.shared = true
			go func() { ended <- e.Run(ctx) }()
		}
		var ids []string
		for i := range 6 {
			ids = append(ids, r.create(fmt.Sprint("s", i), things(thing("A", ``), thing("B", `"Value": {"Ref": "A"}`), thing("C", ``))))
		}
		for _, id := range ids {
			r.want(id, createComplete)
		}
		cancel()
		for range others {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for what, n := range steps {
			if n != 1 {
				t.Errorf("%s was done %d times", what, n)
			}
		}
		if len(steps) != 18 {
			t.Errorf("%d steps; want 18", len(steps))
		}
	})
}

// TestKilledEverywhere ends the server at each transaction of a creation that
// fails, an update that fails, and a deletion.
func TestKilledEverywhere(t *testing.T) {
	t.Parallel()
	old := things(thing("A", `"Value": "1", "Name": "a"`), thing("B", `"Value": {"Ref": "A"}`), custom("M", "Custom::Moves", `"Value": "1"`), thing("Gone", ``))
	next := things(thing("A", `"Value": "2", "Name": "b"`), thing("B", `"Value": {"Ref": "A"}`), custom("M", "Custom::Moves", `"Value": "2"`), thing("New", ``, `"DependsOn": ["B", "M"]`))
	for lane := range 2 {
		t.Run(fmt.Sprint(lane), func(t *testing.T) {
			t.Parallel()
			for at, fired := 1+lane, true; fired; at += *killEvery {
				k := killer{at: at, after: lane == 1}
				r := newRig(t)
				r.mend = k.mend
				r.mend(r.e)
				r.start()
				id := r.create("s", old)
				if s := r.finish(id); s.Status != createComplete {
					t.Fatalf("at %d: create ended in %s", at, s.Status)
				}
				r.consistent(id)
				before := r.snapshot(id)
				r.world.mu.Lock()
				r.world.fail = func(kind string, s *resources.Step) error {
					if kind == "create" && s.LogicalID == "New" {
						return errors.New("boom")
					}
					return nil
				}
				r.world.mu.Unlock()
				r.update(id, next)
				if s := r.finish(id); s.Status != updateRollbackComplete {
					t.Fatalf("at %d: update ended in %s", at, s.Status)
				}
				r.consistent(id)
				if diff := cmp.Diff(before, r.snapshot(id)); diff != "" {
					t.Fatalf("at %d: not as before:\n%s", at, diff)
				}
				r.world.mu.Lock()
				r.world.fail = nil
				r.world.mu.Unlock()
				r.update(id, next)
				if s := r.finish(id); s.Status != updateComplete {
					t.Fatalf("at %d: update ended in %s", at, s.Status)
				}
				r.consistent(id)
				r.matches(id, next)
				r.delete(id)
				if s := r.finish(id); s.Status != deleteComplete {
					t.Fatalf("at %d: delete ended in %s", at, s.Status)
				}
				r.consistent(id)
				if left := r.world.physical(); len(left) > 0 {
					t.Fatalf("at %d: left %v", at, left)
				}
				k.mu.Lock()
				fired = k.fired
				k.mu.Unlock()
			}
		})
	}
}

func TestOfOtherAccounts(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	id := r.create("mine", things(thing("A", ``)))
	r.want(id, createComplete)
	stranger := tester
	stranger.Account = "210987654321"
	ctx := identity.WithCaller(context.Background(), stranger)
	for _, reference := range []string{"mine", id} {
		if _, err := r.e.UpdateStack(ctx, reference, things(thing("B", ``))); err == nil || err.Error() != "ValidationError: Stack with id "+reference+" does not exist" {
			t.Errorf("UpdateStack(%s) = %v", reference, err)
		}
		if err := r.e.DeleteStack(ctx, reference, Deletion{}); err != nil || r.stack(id).Status != createComplete {
			t.Errorf("DeleteStack(%s) = %v, stack is %s", reference, err, r.stack(id).Status)
		}
	}
}

// TestRestart: a server that stops leaves what waits to the next one, which goes on
// with the same step.
func TestRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type seen struct {
		token, note, seed string
		again             bool
	}
	waiting := make(chan seen, 10)
	var free atomic.Bool
	r.world.hold = func(ctx context.Context, s *resources.Step) error {
		if s.LogicalID != "W" || free.Load() && !s.Again {
			return nil
		}
		if err := s.Keep("noted"); err != nil {
			return err
		}
		waiting <- seen{s.Token, s.Note, s.Seed, s.Again}
		if free.Load() {
			return nil
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}
	r.start()
	w := body(thing("A", ``) + `, "W": {"Type": "Custom::Waits", "Metadata": {"needs": {"Ref": "A"}}}`)
	id := r.create("s", w)
	first := <-waiting
	r.stop()
	r.close()
	if r.open(); r.stack(id).Status != createInProgress {
		t.Errorf("stack is %s; want it unfinished", r.stack(id).Status)
	}
	free.Store(true)
	r.start()
	r.want(id, createComplete)
	second := <-waiting
	if first.again || first.note != "" || !second.again || second.note != "noted" || second.token != first.token || second.seed != first.seed || first.seed == "" {
		t.Errorf("steps = %+v, then %+v; want the same again, with its note", first, second)
	}
	if diff := cmp.Diff(r.events(id)[1:5], []string{"A CREATE_IN_PROGRESS", "A CREATE_IN_PROGRESS *: Resource creation Initiated", "A CREATE_COMPLETE *", "W CREATE_IN_PROGRESS"}); diff != "" {
		t.Error(diff)
	}
}

// TestAtOnce: resources that do not need each other are made together.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.e.o.AtOnce = 10
	together := make(chan struct{}, 100)
	r.world.hold = func(ctx context.Context, _ *resources.Step) error {
		together <- struct{}{}
		for len(together) < 10 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Millisecond):
			}
		}
		return nil
	}
	r.start()
	var all []string
	for i := range 50 {
		all = append(all, thing(fmt.Sprint("R", i), ``))
	}
	id := r.create("wide", things(all...))
	r.want(id, createComplete)
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	if r.world.most != 10 {
		t.Errorf("%d steps at once; want 10", r.world.most)
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(r.world.calls)))); n != 50 {
		t.Errorf("%d resources; want 50", n)
	}
}
