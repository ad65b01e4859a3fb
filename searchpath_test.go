package lamina_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/lamina-run/lamina"
)

func TestRuntimeSearchPaths(t *testing.T) {
	t.Parallel()
	for runtime, want := range map[string]string{
		"python3.12":      "python/lib/python3.12/site-packages python bin lib extensions",
		"nodejs22.x":      "nodejs/node22/node_modules nodejs/node_modules bin lib extensions",
		"ruby3.4":         "ruby/gems/3.4.0 ruby/lib bin lib extensions",
		"java8.al2":       "java/lib bin lib extensions",
		"provided.al2023": "bootstrap bin lib extensions",
		"dotnet8":         "bin lib extensions",
		"":                "bin lib extensions",
	} {
		var got []string
		for _, p := range lamina.RuntimeSearchPaths(runtime) {
			got = append(got, p.Path)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("RuntimeSearchPaths(%s) = %q; want %q", runtime, got, want)
		}
	}
	if got := lamina.SearchVariable("nodejs22.x", "NODE_PATH"); got != "/opt/nodejs/node22/node_modules:/opt/nodejs/node_modules" {
		t.Errorf("NODE_PATH = %s", got)
	}
	// What one asks for must not change what the next gets.
	first := lamina.RuntimeSearchPaths("dotnet8")
	first[0].Path = "changed"
	if got := lamina.RuntimeSearchPaths("dotnet8")[0].Path; got != "bin" {
		t.Errorf("the first path became %s", got)
	}
}

func TestRuntimesWithLayers(t *testing.T) {
	t.Parallel()
	all := lamina.RuntimesWithLayers()
	for i, pair := range [][2]string{{"python3.8", "python3.12"}, {"java8.al2", "java11"}, {"nodejs24.x", "provided.al2"}, {"ruby3.4", "ruby4.0"}} {
		a, b := slices.Index(all, pair[0]), slices.Index(all, pair[1])
		if a < 0 || b < 0 || a > b {
			t.Errorf("%d: %s is at %d and %s at %d of %q; want this order", i, pair[0], a, pair[1], b, all)
		}
	}
}
