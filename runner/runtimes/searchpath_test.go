package runtimes

import (
	"os"
	"strings"
	"testing"

	"github.com/lamina-run/lamina"
)

// TestClientsSearchPaths holds the clients that look into layers by themselves to
// the root package's table.
func TestClientsSearchPaths(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ runtime, file, version, placeholder string }{
		{"python3.12", "python/lamina_runtime.py", "3.12", "%d.%d"},
		{"java21", "java/client/src/run/lamina/client/ClassPath.java", "", ""},
	} {
		text, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for _, p := range lamina.RuntimeSearchPaths(c.runtime) {
			if p.Variable != "" || p.Path == "extensions" {
				continue // the environment's, or the sandbox's
			}
			path := p.Absolute()
			if c.version != "" {
				path = strings.ReplaceAll(path, c.version, c.placeholder)
			}
			i := strings.Index(string(text[at:]), `"`+path+`"`)
			if i < 0 {
				t.Errorf("%s does not look in %s, or not in this order", c.file, path)
			}
			at += max(i, 0)
		}
	}
}
