package lamina_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/lamina-run/lamina"

// imports is the house's table (docs/house.md#allowed-imports): which packages of
// ours a package may import, and what it must not import from elsewhere. A key
// ending in /... stands for the packages below it too; the longest key that fits
// decides; "." is the root package. A package that no key fits fails the test: it
// has no place in the house yet.
var imports = map[string]struct {
	may     []string
	mustNot []string
}{
	".":                   {mustNot: []string{"net/http", "database/sql", "os", "net", "log/slog"}},
	"wire":                {},
	"wire/jsontarget":     {may: []string{"wire"}, mustNot: []string{"database/sql"}},
	"wire/query":          {may: []string{"wire"}, mustNot: []string{"database/sql"}},
	"wire/wiregen":        {mustNot: []string{"net/http"}},
	"internal/fsx":        {},
	"internal/peer":       {mustNot: []string{"database/sql"}},
	"internal/testkit":    {},
	"blob/...":            {may: []string{".", "internal/fsx", "internal/peer", "blob/..."}, mustNot: []string{"database/sql"}},
	"store/...":           {may: []string{".", "internal/fsx", "store/..."}, mustNot: []string{"net/http"}},
	"objects/...":         {may: []string{".", "internal/fsx", "internal/peer", "objects/..."}},
	"objects/backend":     {mustNot: []string{"database/sql"}},
	"objects/embedded":    {may: []string{"objects/backend"}, mustNot: []string{"database/sql"}},
	"objects/endpoint":    {may: []string{".", "store", "identity", "identity/policy", "wire", "objects"}, mustNot: []string{"database/sql"}},
	"signing/...":         {may: []string{"."}, mustNot: []string{"net/http", "database/sql"}},
	"networks/...":        {may: []string{".", "internal/peer"}, mustNot: []string{"database/sql"}},
	"audit":               {mustNot: []string{"database/sql", "net/http"}},
	"certificates":        {may: []string{"internal/fsx"}, mustNot: []string{"database/sql", "net/http"}},
	"logs/...":            {may: []string{".", "internal/fsx", "logs/..."}},
	"queues":              {may: []string{".", "internal/peer"}, mustNot: []string{"database/sql"}},
	"directories":         {may: []string{"."}, mustNot: []string{"net/http", "database/sql"}},
	"runner":              {may: []string{".", "internal/fsx", "runner/..."}, mustNot: []string{"database/sql"}},
	"runner/layer/...":    {may: []string{".", "internal/fsx", "runner/layer/..."}, mustNot: []string{"net/http", "database/sql"}},
	"runner/sandbox/...":  {may: []string{".", "internal/fsx", "runner/sandbox/..."}, mustNot: []string{"net/http", "database/sql"}},
	"runner/telemetry":    {mustNot: []string{"database/sql"}},
	"runner/runtimeapi":   {may: []string{".", "internal/fsx"}, mustNot: []string{"database/sql"}},
	"runner/runtimes/...": {may: []string{".", "internal/fsx", "runner/runtimes/..."}, mustNot: []string{"database/sql"}},
	"identity/...":        {may: []string{".", "store", "wire", "wire/query", "identity/..."}, mustNot: []string{"database/sql"}},
	"identity/policy":     {may: []string{"."}, mustNot: []string{"net/http", "database/sql", "os", "net", "log/slog"}},
	"contents":            {may: []string{"."}, mustNot: []string{"net/http", "database/sql", "os", "net", "log/slog"}},
	"control":             {may: []string{".", "wire", "store", "identity", "identity/policy", "signing"}, mustNot: []string{"net/http", "database/sql", "os/exec"}},
	"server":              {may: []string{".", "audit", "control", "identity", "wire", "wire/jsontarget", "wire/query", "logs"}, mustNot: []string{"database/sql"}},
	"console/...":         {may: []string{".", "control", "identity", "wire", "logs", "console/..."}, mustNot: []string{"database/sql"}},
	"stack":               {may: []string{".", "store", "identity", "wire", "wire/query", "wire/jsontarget", "stack/..."}, mustNot: []string{"database/sql"}},
	"stack/template":      {may: []string{"."}, mustNot: []string{"net/http", "database/sql", "os", "net", "log/slog"}},
	"stack/sam":           {may: []string{".", "stack/template"}, mustNot: []string{"net/http", "database/sql", "os", "net", "log/slog"}},
	"stack/resources":     {may: []string{".", "store", "identity", "wire", "wire/jsontarget", "stack/template"}, mustNot: []string{"database/sql"}},
	"parameters":          {may: []string{".", "store", "identity", "wire", "wire/jsontarget"}, mustNot: []string{"database/sql"}},
	"cmd/lamina/...":      {may: []string{"..."}, mustNot: []string{"internal/testkit"}},
	"bench/...":           {},
	"test/...":            {},
	"blob/blobtest":       {may: []string{".", "internal/fsx", "blob"}},
}

// listed is what go list tells about a package.
type listed struct {
	ImportPath string
	Name       string
	Dir        string
	Standard   bool
	GoFiles    []string
	CgoFiles   []string
	Imports    []string

	Error *struct{ Err string }
}

func TestImports(t *testing.T) {
	for _, goos := range []string{"linux", "darwin"} {
		t.Run(goos, func(t *testing.T) {
			t.Parallel()
			for _, p := range list(t, goos) {
				name := short(p.ImportPath)
				if p.Error != nil {
					t.Errorf("%s: %s", name, p.Error.Err)
					continue
				}
				if len(p.CgoFiles) > 0 {
					t.Errorf("%s uses cgo (%s); the binary is static", name, strings.Join(p.CgoFiles, ", "))
				}
				rule, ok := ruleFor(name)
				if !ok {
					t.Errorf("package %s has no line in the table of arch_test.go", name)
					continue
				}
				for _, in := range p.Imports {
					switch ours := isOurs(in); {
					case ours && short(in) == "internal/testkit":
						t.Errorf("%s imports internal/testkit outside a test", name)
					case ours && !slices.ContainsFunc(rule.may, func(key string) bool { return fits(key, short(in)) }):
						t.Errorf("%s imports %s, which it may not", name, short(in))
					case slices.Contains(rule.mustNot, in):
						t.Errorf("%s imports %s, which it must not", name, in)
					}
				}
			}
		})
	}
}

// TestNoClock holds the root package and the policies to their promise that time
// comes in as an argument.
func TestNoClock(t *testing.T) {
	t.Parallel()
	var files []string
	for _, pattern := range []string{"*.go", "identity/policy/*.go"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("Glob(%s) = %v, %v", pattern, found, err)
		}
		files = append(files, found...)
	}
	fset := token.NewFileSet()
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("parse %s: %v", name, err)
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep"}, sel.Sel.Name) {
				t.Errorf("%s: time.%s in a package without a clock", fset.Position(sel.Pos()), sel.Sel.Name)
			}
			return true
		})
	}
}

// TestEnvironmentReads holds the rule that configuration is read in one place.
func TestEnvironmentReads(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "linux") {
		switch name := short(p.ImportPath); {
		case strings.HasPrefix(name, "cmd/"), name == "internal/testkit", name == "wire/wiregen":
			continue
		}
		fset := token.NewFileSet()
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Errorf("parse %s: %v", name, err)
				continue
			}
			ast.Inspect(file, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "os" && slices.Contains([]string{"Getenv", "LookupEnv", "Chdir"}, sel.Sel.Name) {
					t.Errorf("%s: os.%s outside cmd", fset.Position(sel.Pos()), sel.Sel.Name)
				}
				return true
			})
		}
	}
}

func list(t *testing.T, goos string) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Name,Dir,Standard,GoFiles,CgoFiles,Imports,Error", "./...")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		// A folder of tests alone has nothing that the table is about.
		if isOurs(p.ImportPath) && (len(p.GoFiles) > 0 || p.Error != nil && !strings.Contains(p.Error.Err, "no non-test Go files") && !strings.Contains(p.Error.Err, "build constraints exclude all Go files")) {
			packages = append(packages, p)
		}
	}
}

func isOurs(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

func short(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

// fits reports whether the package name is meant by the key.
func fits(key, name string) bool {
	if key == "..." {
		return true
	}
	if tree, ok := strings.CutSuffix(key, "/..."); ok {
		return name == tree || strings.HasPrefix(name, tree+"/")
	}
	return key == name
}

func ruleFor(name string) (rule struct{ may, mustNot []string }, ok bool) {
	longest := -1
	for key, r := range imports {
		if fits(key, name) && len(key) > longest {
			longest, ok = len(key), true
			rule.may, rule.mustNot = r.may, r.mustNot
		}
	}
	return rule, ok
}

// TestQuirks holds the comments that cite an observation to docs/quirks.md.
func TestQuirks(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/quirks.md")
	if err != nil {
		t.Fatal(err)
	}
	cited := regexp.MustCompile(`docs/quirks\.md#([a-z0-9-]+)`)
	for _, p := range list(t, "linux") {
		for _, name := range p.GoFiles {
			source, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range cited.FindAllSubmatch(source, -1) {
				if !strings.Contains(string(text), "\n## "+string(m[1])+"\n") {
					t.Errorf("%s cites %s, which docs/quirks.md does not have", filepath.Join(short(p.ImportPath), name), m[0])
				}
			}
		}
	}
}
