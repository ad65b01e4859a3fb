package lamina

import (
	"reflect"
	"strings"
	"testing"
)

func TestLimitsAreNamed(t *testing.T) {
	t.Parallel()
	var l Limits
	fields := reflect.TypeFor[Limits]()
	named := l.named()
	if len(named) != fields.NumField() {
		t.Fatalf("%d limits are named; want all %d", len(named), fields.NumField())
	}
	for i, n := range named {
		if want := fields.Field(i).Name; n.name != want {
			t.Errorf("limit %d is named %s; want %s", i, n.name, want)
		}
		value := n.least + int64(i) + 1
		if err := l.Set(strings.ToUpper(n.name), value); err != nil {
			t.Errorf("Set(%s, %d): %v", n.name, value, err)
		}
		if got := reflect.ValueOf(l).Field(i).Int(); got != value {
			t.Errorf("%s after Set = %d; want %d", n.name, got, value)
		}
		if err := l.Set(n.name, n.least-1); err == nil {
			t.Errorf("Set(%s, %d) = nil; want an error", n.name, n.least-1)
		}
		if got := reflect.ValueOf(l).Field(i).Int(); got != value {
			t.Errorf("%s after a refused Set = %d; want %d", n.name, got, value)
		}
	}
	if err := l.Set("TagsPerResource", 1<<40); err == nil {
		t.Error("Set(TagsPerResource, 1<<40) = nil; want an error")
	}
	if err := l.Set("Tags", 1); err == nil || !strings.Contains(err.Error(), `"Tags"`) {
		t.Errorf("Set(Tags, 1) = %v; want an error that names it", err)
	}
}

func TestLimitsCheck(t *testing.T) {
	t.Parallel()
	l := DefaultLimits()
	if err := l.Check(); err != nil {
		t.Errorf("Check of the defaults: %v", err)
	}
	l.ConcurrentExecutions = l.MinimumUnreserved - 1
	if err := l.Check(); err == nil {
		t.Error("Check with MinimumUnreserved above ConcurrentExecutions = nil; want an error")
	}
	if got, want := LimitNames()[1], "ZippedUpload=52428800"; got != want {
		t.Errorf("LimitNames()[1] = %s; want %s", got, want)
	}
}
