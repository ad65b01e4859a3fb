package stack

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina/stack/resources"
)

func custom(id, typ, properties string) string {
	return `"` + id + `": {"Type": "` + typ + `", "Properties": {` + properties + `}}`
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	id := r.create("up", things(
		thing("InPlace", `"Value": "1"`), thing("Replaced", `"Name": "a"`), thing("User", `"Value": {"Ref": "Replaced"}`),
		thing("Removed", ``), thing("Kept", ``, `"DeletionPolicy": "Retain"`), thing("Meta", ``), thing("Same", ``),
		custom("Moves", "Custom::Moves", `"Value": "1"`), thing("Old", `"Name": "a"`),
	))
	r.want(id, createComplete)
	before := map[string]string{}
	for _, row := range r.rows(id) {
		before[row.LogicalID] = row.PhysicalID
	}
	seen := len(r.events(id))
	next := things(
		thing("InPlace", `"Value": "2"`), thing("Replaced", `"Name": "b"`), thing("User", `"Value": {"Ref": "Replaced"}`),
		thing("Added", ``), thing("Meta", ``, `"Metadata": {"a": 1}`), thing("Same", ``),
		custom("Moves", "Custom::Moves", `"Value": "2"`), thing("Old", `"Name": "b"`, `"UpdateReplacePolicy": "Retain"`),
	)
	r.update("up", next)
	s := r.want(id, updateComplete)
	if s.Updated.IsZero() {
		t.Error("the stack has no time of its update")
	}
	for logical, same := range map[string]bool{"InPlace": true, "Replaced": false, "User": true, "Meta": true, "Same": true, "Moves": false} {
		if row := r.resource(id, logical); (row.PhysicalID == before[logical]) != same {
			t.Errorf("%s is %s, was %s", logical, row.PhysicalID, before[logical])
		}
	}
	if got := r.world.value(before["User"]); got != r.resource(id, "Replaced").PhysicalID {
		t.Errorf("User refers to %v; want %s", got, r.resource(id, "Replaced").PhysicalID)
	}
	if r.world.value(before["InPlace"]) != "2" {
		t.Errorf("InPlace has %v; want 2", r.world.value(before["InPlace"]))
	}
	left := r.world.physical()
	for _, gone := range []string{"Replaced", "Removed", "Moves"} {
		if slices.Contains(left, before[gone]) {
			t.Errorf("%s is still there", gone)
		}
	}
	if !slices.Contains(left, before["Kept"]) || !slices.Contains(left, before["Old"]) || len(left) != 10 || len(r.rows(id)) != 8 {
		t.Errorf("left = %v, %d rows; want 8 resources of the stack, and Kept and Old", left, len(r.rows(id)))
	}
	got := r.events(id)[seen:]
	for _, line := range []string{
		"up UPDATE_IN_PROGRESS: User Initiated",
		"InPlace UPDATE_IN_PROGRESS *", "InPlace UPDATE_COMPLETE *",
		"Replaced UPDATE_IN_PROGRESS *: Requested update requires the creation of a new physical resource; hence creating one.",
		"Replaced UPDATE_IN_PROGRESS *: Resource creation Initiated", "Replaced UPDATE_COMPLETE *",
		"Added CREATE_COMPLETE *", "Meta UPDATE_COMPLETE *",
		"up UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "Removed DELETE_COMPLETE *", "Replaced DELETE_COMPLETE *", "Kept DELETE_SKIPPED *", "Old DELETE_SKIPPED *", "Moves DELETE_COMPLETE *",
		"up UPDATE_COMPLETE",
	} {
		if !contains(got, line) {
			t.Errorf("no event %q in\n%s", line, strings.Join(got, "\n"))
		}
	}
	if slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, "Same ") }) {
		t.Errorf("something happened to Same:\n%s", strings.Join(got, "\n"))
	}
	if _, err := r.e.UpdateStack(r.ctx(), id, next); err == nil || err.Error() != "ValidationError: No updates are to be performed." {
		t.Errorf("UpdateStack with the same = %v; want a refusal", err)
	}
	if _, err := r.e.UpdateStack(r.ctx(), id, body(custom("Same", "Test::Other", ``))); err == nil || !strings.Contains(err.Error(), "Update of resource type is not permitted") {
		t.Errorf("UpdateStack with another type = %v; want a refusal", err)
	}
}

// TestUpdateFails: whatever fails, everything is as it was before.
func TestUpdateFails(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	old := things(
		thing("InPlace", `"Value": "1"`), thing("Replaced", `"Name": "a"`), thing("User", `"Value": {"Ref": "Replaced"}`), thing("Removed", ``),
		thing("Last", `"Value": "1"`, `"DependsOn": ["InPlace", "Replaced", "User", "Moves"]`), custom("Moves", "Custom::Moves", `"Value": "1"`),
	)
	id := r.create("back", old)
	r.want(id, createComplete)
	state := func() map[string]any {
		all := map[string]any{}
		for _, row := range r.rows(id) {
			all[row.LogicalID] = row.PhysicalID + " " + text(row.Properties)
			r.world.mu.Lock()
			all[row.PhysicalID] = text(r.world.things[row.PhysicalID])
			r.world.mu.Unlock()
		}
		return all
	}
	before, physical := state(), r.world.physical()
	r.world.fail = func(kind string, s *resources.Step) error {
		if kind == "update" && s.LogicalID == "Last" && s.Properties["Value"] == "2" {
			return errors.New("boom")
		}
		return nil
	}
	seen := len(r.events(id))
	next := things(
		thing("InPlace", `"Value": "2"`), thing("Replaced", `"Name": "b"`), thing("User", `"Value": {"Ref": "Replaced"}`), thing("Added", ``),
		thing("Last", `"Value": "2"`, `"DependsOn": ["InPlace", "Replaced", "User", "Moves", "Added"]`), custom("Moves", "Custom::Moves", `"Value": "2"`),
	)
	next.Tags = map[string]string{"a": "b"}
	r.update(id, next)
	s := r.want(id, updateRollbackComplete)
	if s.Operation != nil || s.Tags != nil {
		t.Errorf("stack = %+v; want no operation, and the tags from before", s)
	}
	if diff := cmp.Diff(before, state()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(physical, r.world.physical()); diff != "" {
		t.Error(diff)
	}
	got := r.events(id)[seen:]
	for _, line := range []string{
		"Last UPDATE_FAILED *: boom",
		"back UPDATE_ROLLBACK_IN_PROGRESS: The following resource(s) failed to update: [Last]. ",
		"InPlace UPDATE_COMPLETE *", "Replaced UPDATE_COMPLETE *", "Last UPDATE_COMPLETE *",
		"back UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "Added DELETE_COMPLETE *", "Replaced DELETE_COMPLETE *",
		"back UPDATE_ROLLBACK_COMPLETE",
	} {
		if !contains(got, line) {
			t.Errorf("no event %q in\n%s", line, strings.Join(got, "\n"))
		}
	}

	// A rollback that fails is gone on with.
	stuck := true
	r.world.mu.Lock()
	r.world.fail = func(kind string, s *resources.Step) error {
		switch {
		case kind == "update" && s.LogicalID == "Last" && s.Properties["Value"] == "2":
			return errors.New("boom")
		case kind == "update" && s.LogicalID == "InPlace" && s.Properties["Value"] == "1" && stuck:
			return errors.New("stuck")
		}
		return nil
	}
	r.world.mu.Unlock()
	r.update(id, next)
	if s := r.want(id, updateRollbackFailed); s.Reason != "The following resource(s) failed to update: [InPlace]. " {
		t.Errorf("reason = %q; want InPlace", s.Reason)
	}
	if _, err := r.e.UpdateStack(r.ctx(), id, next); !Validation.Is(err) {
		t.Errorf("UpdateStack = %v; want a refusal", err)
	}
	if err := r.e.ContinueUpdateRollback(r.ctx(), id, "", "", []string{"Added"}); !Validation.Is(err) {
		t.Errorf("ContinueUpdateRollback(skip Added) = %v; want a refusal", err)
	}
	if err := r.e.ContinueUpdateRollback(r.ctx(), id, "", "", nil); err != nil {
		t.Fatal(err)
	}
	r.want(id, updateRollbackFailed)
	r.world.mu.Lock()
	stuck = false
	r.world.mu.Unlock()
	if err := r.e.ContinueUpdateRollback(r.ctx(), id, "", "", nil); err != nil {
		t.Fatal(err)
	}
	r.want(id, updateRollbackComplete)
	if diff := cmp.Diff(before, state()); diff != "" {
		t.Error(diff)
	}

	// What is skipped counts as rolled back.
	r.world.mu.Lock()
	stuck = true
	r.world.mu.Unlock()
	r.update(id, next)
	r.want(id, updateRollbackFailed)
	if err := r.e.ContinueUpdateRollback(r.ctx(), id, "", "", []string{"InPlace"}); err != nil {
		t.Fatal(err)
	}
	r.want(id, updateRollbackComplete)
	if got := r.world.value(r.resource(id, "InPlace").PhysicalID); got != "2" {
		t.Errorf("InPlace has %v; want 2, since it was skipped", got)
	}

	// Without rollback it stays where it failed, and can go on or back.
	next.DisableRollback = true
	r.update(id, next)
	r.want(id, updateFailed)
	if _, err := r.e.RollbackStack(r.ctx(), id, "", "", false); err != nil {
		t.Fatal(err)
	}
	r.world.mu.Lock()
	stuck = false
	r.world.mu.Unlock()
	for r.settled(id).Status == updateRollbackFailed {
		if err := r.e.ContinueUpdateRollback(r.ctx(), id, "", "", nil); err != nil {
			t.Fatal(err)
		}
	}
	r.want(id, updateRollbackComplete)
	if diff := cmp.Diff(before, state()); diff != "" {
		t.Error(diff)
	}
	r.update(id, next)
	r.want(id, updateFailed)
	r.world.mu.Lock()
	r.world.fail = nil
	r.world.mu.Unlock()
	next.DisableRollback = false
	r.update(id, next)
	r.want(id, updateComplete)
	if got := r.world.physical(); len(got) != 6 {
		t.Errorf("left = %v; want the six resources of the stack", got)
	}
	r.delete(id)
	r.want(id, deleteComplete)
	if got := r.world.physical(); len(got) != 0 {
		t.Errorf("left = %v; want none", got)
	}
}

// TestInterrupted: operations that end another one that is under way.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	waiting := make(chan string, 10)
	r.world.hold = func(ctx context.Context, s *resources.Step) error {
		if s.Type != "Custom::Waits" || s.Properties["Value"] != "wait" {
			return nil
		}
		waiting <- s.LogicalID
		<-ctx.Done()
		return context.Cause(ctx)
	}
	id := r.create("cancel", things(thing("A", ``), custom("W", "Custom::Waits", `"Value": "1"`)))
	r.want(id, createComplete)
	r.update(id, things(thing("A", `"Value": "2"`), custom("W", "Custom::Waits", `"Value": "wait"`)))
	<-waiting
	if err := r.e.DeleteStack(r.ctx(), id, Deletion{}); !Validation.Is(err) {
		t.Errorf("DeleteStack = %v; want a refusal", err)
	}
	if err := r.e.CancelUpdateStack(r.ctx(), id, ""); err != nil {
		t.Fatal(err)
	}
	r.want(id, updateRollbackComplete)
	if got := r.events(id); !contains(got, "W UPDATE_FAILED *: Resource update cancelled") || !contains(got, "cancel UPDATE_ROLLBACK_IN_PROGRESS: User Initiated") {
		t.Errorf("events =\n%s", strings.Join(got, "\n"))
	}
	if err := r.e.CancelUpdateStack(r.ctx(), id, ""); err == nil || err.Error() != "ValidationError: CancelUpdateStack cannot be called from current stack status" {
		t.Errorf("CancelUpdateStack = %v; want a refusal", err)
	}

	id = r.create("drop", things(thing("A", ``), custom("W", "Custom::Waits", `"Value": "wait"`), thing("B", ``, `"DependsOn": "W"`)))
	<-waiting
	r.delete(id)
	r.want(id, deleteComplete)
	if got := r.events(id); !contains(got, "W CREATE_FAILED: Resource creation cancelled") || slices.ContainsFunc(got, func(l string) bool { return strings.HasPrefix(l, "B ") }) {
		t.Errorf("events =\n%s", strings.Join(got, "\n"))
	}

	// One that fails ends what waits.
	r.world.mu.Lock()
	r.world.fail = func(kind string, s *resources.Step) error {
		if s.LogicalID == "Bad" && kind == "create" {
			return errors.New("boom")
		}
		return nil
	}
	r.world.mu.Unlock()
	id = r.create("both", things(thing("Bad", ``), custom("W", "Custom::Waits", `"Value": "wait"`)))
	r.want(id, rollbackComplete)
	if got := r.events(id); !contains(got, "both ROLLBACK_IN_PROGRESS: The following resource(s) failed to create: [Bad, W]. Rollback requested by user.") &&
		!contains(got, "both ROLLBACK_IN_PROGRESS: The following resource(s) failed to create: [Bad]. Rollback requested by user.") {
		t.Errorf("events =\n%s", strings.Join(got, "\n"))
	}
}

func TestDeleteFails(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.world.fail = func(kind string, s *resources.Step) error {
		if kind == "delete" && s.LogicalID == "Bad" {
			return errors.New("boom")
		}
		return nil
	}
	w := things(thing("Under", ``), thing("Bad", `"Value": {"Ref": "Under"}`), thing("Other", ``))
	w.Protected = true
	id := r.create("stays", w)
	r.want(id, createComplete)
	if err := r.e.DeleteStack(r.ctx(), id, Deletion{}); err == nil || err.Error() != "ValidationError: Stack [stays] cannot be deleted while TerminationProtection is enabled" {
		t.Errorf("DeleteStack = %v; want a refusal", err)
	}
	if _, err := r.e.UpdateTerminationProtection(r.ctx(), id, false); err != nil {
		t.Fatal(err)
	}
	if err := r.e.DeleteStack(r.ctx(), id, Deletion{Retain: []string{"Bad"}}); !Validation.Is(err) {
		t.Errorf("DeleteStack(retain) = %v; want a refusal", err)
	}
	r.delete(id)
	if s := r.want(id, deleteFailed); s.Reason != "The following resource(s) failed to delete: [Bad]. " {
		t.Errorf("reason = %q", s.Reason)
	}
	if got := r.resource(id, "Under").Status; got != createComplete {
		t.Errorf("Under is %s; want it untouched, since Bad needs it", got)
	}
	if err := r.e.DeleteStack(r.ctx(), id, Deletion{Retain: []string{"Bad"}}); err != nil {
		t.Fatal(err)
	}
	r.want(id, deleteComplete)
	if got := r.events(id); !contains(got, "Bad DELETE_FAILED *: boom") || !contains(got, "Bad DELETE_SKIPPED *") {
		t.Errorf("events =\n%s", strings.Join(got, "\n"))
	}

	// A cleanup that fails leaves the update as it is; the next one tries again.
	id = r.create("left", things(thing("Bad", `"Name": "a"`)))
	r.want(id, createComplete)
	r.update(id, things(thing("Bad", `"Name": "b"`)))
	if s := r.want(id, updateComplete); s.Reason != "Update successful. One or more resources could not be deleted." {
		t.Errorf("reason = %q", s.Reason)
	}
	if n := r.world.count("delete Bad"); n != 2+cleanups-1 {
		t.Errorf("%d attempts to delete Bad; want 1 before and 3", n)
	}
	r.world.mu.Lock()
	r.world.fail = nil
	r.world.mu.Unlock()
	r.update(id, things(thing("Bad", `"Name": "b"`), thing("More", ``)))
	r.want(id, updateComplete)
	if rows := r.rows(id); len(rows) != 2 {
		t.Errorf("rows = %+v; want no leftover", rows)
	}
}
