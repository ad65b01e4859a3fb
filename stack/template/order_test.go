package template

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOrder(t *testing.T) {
	t.Parallel()
	yaml := strings.Join([]string{
		"Base: &base {z: 1, y: {b: 1, a: 2}}",
		"Resources:",
		"  B: {Tags: {b: 1, a: !Sub x}}",
		"  A:",
		"    <<: *base",
		"    c: 1",
		"    y: 2",
		"  C: *base",
	}, "\n")
	json := `{"Base": {}, "Resources": {"B": {"Tags": {"b": 1, "a": [{"x": 1}]}}, "A": {"z": 1, "y": 2, "c": 3}, "C": {"z": 1, "y": {"b": 1, "a": 2}}}}`
	for name, text := range map[string]string{"YAML": yaml, "JSON": json} {
		order := Order(text)
		for path, want := range map[string]string{
			"": "Base Resources", "Resources": "B A C", "Resources B Tags": "b a", "Resources A": "z y c", "Resources C": "z y", "Resources C y": "b a",
			"Resources B Tags b": "", "Nothing at all": "",
		} {
			if diff := cmp.Diff(want, strings.Join(order(strings.Fields(path)...), " ")); diff != "" {
				t.Errorf("%s: Order(%s) (-want +got):\n%s", name, path, diff)
			}
		}
	}
	if got := Order("not: [a")("a"); got != nil {
		t.Errorf("Order of what is no YAML = %v; want nil", got)
	}
}

func FuzzOrder(f *testing.F) {
	f.Add("a: &a {b: 1}\nc: {<<: *a, d: [1]}")
	f.Add(`{"b": {"a": 1}, "a": []}`)
	f.Fuzz(func(t *testing.T, text string) {
		order := Order(text)
		body, err := Parse(text)
		if err != nil {
			order("a") // does not break
			return
		}
		if got, want := slices.Sorted(slices.Values(order())), slices.Sorted(maps.Keys(body)); !slices.Equal(got, want) {
			t.Errorf("Order(%q)() = %q; want %q in some order", text, got, want)
		}
	})
}
