package stack

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina/stack/resources"
	"github.com/lamina-run/lamina/store"
)

func TestCreateAndDelete(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	w := things(
		thing("A", `"Value": "1"`),
		thing("B", `"Value": {"Ref": "A"}, "Refs": {"Fn::GetAtt": ["A", "Arn"]}`),
		thing("C", `"Value": "3"`, `"DependsOn": "B"`),
	)
	w.Template.Original = strings.TrimSuffix(w.Template.Original, "}") + `, "Outputs": {"Out": {"Value": {"Fn::GetAtt": ["B", "Refs"]}}, "Fine": {"Value": {"Fn::Sub": "<${B.Arn}>"}, "Description": "d"}}}`
	if _, err := r.e.CreateStack(r.ctx(), "one", w); !Validation.Is(err) || err.Error() != "ValidationError: Template error: resource B does not support attribute type Refs in Fn::GetAtt" {
		t.Fatalf("CreateStack = %v; want an error about the attribute", err)
	}
	w.Template.Original = strings.Replace(w.Template.Original, `["B", "Refs"]`, `["B", "Value"]`, 1)
	id := r.create("one", w)
	s := r.want(id, createComplete)
	a, b := r.resource(id, "A"), r.resource(id, "B")
	if got := map[string]string{s.Outputs[0].Key: s.Outputs[0].Value, s.Outputs[1].Key: s.Outputs[1].Value}; got["Out"] != a.PhysicalID || got["Fine"] != "<arn:"+b.PhysicalID+">" {
		t.Errorf("outputs = %v; want the physical ID of A, %s, and the ARN of B", got, a.PhysicalID)
	}
	if s.Operation != nil || !s.Updated.IsZero() {
		t.Errorf("stack = %+v; want no operation, never updated", s)
	}
	if diff := cmp.Diff(r.events(id), []string{
		"one CREATE_IN_PROGRESS: User Initiated",
		"A CREATE_IN_PROGRESS", "A CREATE_IN_PROGRESS *: Resource creation Initiated", "A CREATE_COMPLETE *",
		"B CREATE_IN_PROGRESS", "B CREATE_IN_PROGRESS *: Resource creation Initiated", "B CREATE_COMPLETE *",
		"C CREATE_IN_PROGRESS", "C CREATE_IN_PROGRESS *: Resource creation Initiated", "C CREATE_COMPLETE *",
		"one CREATE_COMPLETE",
	}); diff != "" {
		t.Error(diff)
	}
	for i, all := 1, r.allEvents(id); i < len(all); i++ {
		if !all[i].Time.After(all[i-1].Time) || all[i].ID == all[i-1].ID {
			t.Errorf("event %d: %v, %s; want later than %v, and not %s", i, all[i].Time, all[i].ID, all[i-1].Time, all[i-1].ID)
		}
		if e := all[i]; e.LogicalID == "A" && (e.Properties != `{"Value":"1"}` || !strings.HasPrefix(e.ID, "A-"+e.Status+"-20")) {
			t.Errorf("event = %+v; want A's properties and an ID made of it", e)
		}
	}
	if _, err := r.e.CreateStack(r.ctx(), "one", w); !AlreadyExists.Is(err) || !strings.Contains(err.Error(), "Stack [one] already exists") {
		t.Errorf("CreateStack again = %v; want AlreadyExistsException", err)
	}
	seen := len(r.events(id))
	r.delete("one")
	s = r.want(id, deleteComplete)
	if s.Deleted.IsZero() || len(r.world.physical()) > 0 {
		t.Errorf("deleted %v, left %v; want nothing left", s.Deleted, r.world.physical())
	}
	if diff := cmp.Diff(r.events(id)[seen:], []string{
		"one DELETE_IN_PROGRESS: User Initiated",
		"C DELETE_IN_PROGRESS *", "C DELETE_COMPLETE *", "B DELETE_IN_PROGRESS *", "B DELETE_COMPLETE *", "A DELETE_IN_PROGRESS *", "A DELETE_COMPLETE *",
		"one DELETE_COMPLETE",
	}); diff != "" {
		t.Error(diff)
	}
	if err := r.e.DeleteStack(r.ctx(), "one", Deletion{}); err != nil {
		t.Errorf("DeleteStack(none) = %v; want none", err)
	}
	if r.create("one", w) == id {
		t.Error("a new stack has the ARN of the deleted one")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []struct {
		name, want string
		w          Wanted
	}{
		{"an unknown type", "Template format error: Unrecognized resource types: [AWS::Missing::X]", body(`"A": {"Type": "AWS::Missing::X"}`)},
		{"a circle", "Circular dependency between resources: [A, B]", things(thing("A", `"Value": {"Ref": "B"}`), thing("B", `"Value": {"Ref": "A"}`))},
		{"a wrong property", "Properties validation failed for resource A with message: extraneous key [Wrong] is not permitted", things(thing("A", `"Wrong": 1`))},
		{"a role that nobody may assume", "Role arn:aws:iam::123456789012:role/other is invalid or cannot be assumed", Wanted{RoleARN: "arn:aws:iam::123456789012:role/other"}},
		{"no template", "Either Template URL or Template Body must be specified.", Wanted{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := r.e.CreateStack(r.ctx(), "x", c.w); err == nil || err.Error() != "ValidationError: "+c.want {
				t.Errorf("CreateStack = %v; want %s", err, c.want)
			}
		})
	}
}

func TestCreateFails(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	boom := errors.New("boom")
	r.world.fail = func(kind string, s *resources.Step) error {
		if kind == "create" && s.LogicalID == "B" {
			return boom
		}
		return nil
	}
	w := things(thing("A", ``), thing("B", ``, `"DependsOn": "A"`), thing("C", ``, `"DependsOn": "B"`), thing("K", ``, `"DeletionPolicy": "Retain"`), thing("X", ``, `"DeletionPolicy": "RetainExceptOnCreate"`))
	w.Template.Original = strings.Replace(w.Template.Original, `"B": {`, `"B": {"DependsOn": ["A", "K", "X"],`, 1)
	w.Template.Original = strings.Replace(w.Template.Original, `, "DependsOn": "A"}`, `}`, 1)

	id := r.create("rolled", w)
	s := r.want(id, rollbackComplete)
	if s.Deletion.IsZero() || s.Operation != nil {
		t.Errorf("stack = %+v; want a deletion time and no operation", s)
	}
	for _, line := range []string{
		"B CREATE_FAILED: boom",
		"rolled ROLLBACK_IN_PROGRESS: The following resource(s) failed to create: [B]. Rollback requested by user.",
		"A DELETE_COMPLETE *", "B DELETE_COMPLETE", "K DELETE_SKIPPED *", "X DELETE_COMPLETE *", "rolled ROLLBACK_COMPLETE",
	} {
		if got := r.events(id); !contains(got, line) {
			t.Errorf("no event %q in\n%s", line, strings.Join(got, "\n"))
		}
	}
	if got := r.world.physical(); len(got) != 1 || !strings.HasPrefix(got[0], "rolled-K-") {
		t.Errorf("left = %v; want K only", got)
	}
	if _, err := r.e.UpdateStack(r.ctx(), id, things(thing("A", ``))); err == nil || !strings.HasSuffix(err.Error(), "is in ROLLBACK_COMPLETE state and can not be updated.") {
		t.Errorf("UpdateStack = %v; want a refusal", err)
	}
	r.delete(id)
	r.want(id, deleteComplete)

	w.OnFailure = "DELETE"
	id = r.create("gone", w)
	r.want(id, deleteComplete)
	if got := r.events(id); !contains(got, "gone DELETE_IN_PROGRESS: The following resource(s) failed to create: [B]. Delete requested by user.") {
		t.Errorf("events =\n%s", strings.Join(got, "\n"))
	}

	w.OnFailure = "DO_NOTHING"
	id = r.create("kept", w)
	s = r.want(id, createFailed)
	if s.Reason != "The following resource(s) failed to create: [B]. " || r.resource(id, "A").Status != createComplete {
		t.Errorf("stack = %s, A %s; want B's failure, A made", s.Reason, r.resource(id, "A").Status)
	}
	// It can be gone on with.
	r.world.mu.Lock()
	r.world.fail = nil
	r.world.mu.Unlock()
	was := r.resource(id, "A").PhysicalID
	r.update(id, Wanted{Template: w.Template})
	r.want(id, updateComplete)
	if r.resource(id, "A").PhysicalID != was || r.resource(id, "C").Status != createComplete {
		t.Errorf("A = %+v, C = %+v; want the same A, and C made", r.resource(id, "A"), r.resource(id, "C"))
	}
	r.delete(id)
	r.want(id, deleteComplete)
}

func contains(all []string, s string) bool {
	for _, one := range all {
		if one == s {
			return true
		}
	}
	return false
}

// TestHostileTexts: whatever resources say, every database keeps it.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, o store.Options) {
		r := newRigOn(t, o).start()
		r.world.fail = func(_ string, s *resources.Step) error {
			if s.LogicalID == "A" {
				return errors.New("a\x00b\xff" + strings.Repeat("x", 1<<16))
			}
			return nil
		}
		id := r.create("s", things(thing("A", ``)))
		r.want(id, rollbackComplete)
		if got := r.resource(id, "A"); !contains(r.events(id), "A CREATE_FAILED: a?b?"+strings.Repeat("x", longestReason-4)) {
			t.Errorf("A = %+v", got)
		}
		r.world.mu.Lock()
		r.world.fail = nil
		r.world.mu.Unlock()
		id = r.create("long", body(custom("A", "Custom::Moves", `"Value": "`+strings.Repeat("x", 4000)+`"`)))
		r.want(id, rollbackComplete)
		id = r.create("zero", body(custom("A", "Custom::Moves", `"Value": "\u0000"`)))
		r.want(id, rollbackComplete)
		id = r.create("fine", things(thing("A", `"Value": "\u0000"`)))
		r.want(id, createComplete)
	})
}
