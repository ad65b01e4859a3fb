package identity

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSignaturesAreComparedInConstantTime reads the code: what is secret until it
// was right is compared by hmac.Equal and by nothing else. Lengths, and whether
// there is any, are no secrets.
func TestSignaturesAreComparedInConstantTime(t *testing.T) {
	t.Parallel()
	secret := func(e ast.Expr) bool {
		found := false
		ast.Inspect(e, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				name := strings.ToLower(n.Name)
				found = found || strings.Contains(name, "signature") && name != "trailersignature" || name == "previous"
			case *ast.CallExpr: // len(signature)
				if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "len" {
					return false
				}
			}
			return true
		})
		return found
	}
	empty := func(e ast.Expr) bool {
		l, ok := e.(*ast.BasicLit)
		return ok && (l.Value == `""` || l.Kind == token.INT)
	}
	compared := 0
	for _, pattern := range []string{"*.go", "../server/*.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if !strings.HasSuffix(name, "_test.go") {
				file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
				if err != nil {
					t.Fatal(err)
				}
				ast.Inspect(file, func(n ast.Node) bool {
					switch n := n.(type) {
					case *ast.BinaryExpr:
						if (n.Op == token.EQL || n.Op == token.NEQ) && (secret(n.X) && !empty(n.Y) || secret(n.Y) && !empty(n.X)) {
							t.Errorf("%s compares a secret with %s", name, n.Op)
						}
					case *ast.CallExpr:
						f, ok := n.Fun.(*ast.SelectorExpr)
						if !ok {
							break
						}
						switch where, _ := f.X.(*ast.Ident); {
						case where == nil:
						case where.Name == "hmac" && f.Sel.Name == "Equal":
							compared++
						case (where.Name == "bytes" || where.Name == "strings" || where.Name == "slices") && strings.HasPrefix(f.Sel.Name, "Equal") && slices.ContainsFunc(n.Args, secret):
							t.Errorf("%s compares a secret with %s.%s", name, where.Name, f.Sel.Name)
						}
					}
					return true
				})
			}
		}
	}
	if compared != 3 { // requests, chunks, download links
		t.Errorf("%d comparisons by hmac.Equal; want 3", compared)
	}
}

// BenchmarkTiming measures what a wrong signature costs, by where it is wrong, in
// turns, and reports the medians and how far they are from that of one that is
// right. It is for people: no figure of a shared machine decides anything.
func BenchmarkTiming(b *testing.B) {
	v := NewVerifier(NewKeyCache(fakeKeys{docKey.ID: docKey}, func() time.Time { return testNow }), func() time.Time { return testNow })
	right := signedText(b, "lambda", "GET", "/2015-03-31/functions/hello", "", nil)
	at := strings.Index(right, "Signature=") + len("Signature=")
	if _, err := v.Verify(parse(b, right)); err != nil {
		b.Fatal(err)
	}
	kinds := []struct {
		name, text string
		took       []time.Duration
	}{
		{name: "right", text: right},
		{name: "first", text: flipHex(right, at)},
		{name: "middle", text: flipHex(right, at+32)},
		{name: "last", text: flipHex(right, at+63)},
		{name: "unknown", text: strings.Replace(right, docKey.ID, "AKIDNOTHERE", 1)},
	}
	requests := make([]*http.Request, len(kinds))
	for i, k := range kinds {
		requests[i] = parse(b, k.text)
	}
	for n := 0; b.Loop(); n++ {
		for i := range kinds { // in another order each time
			i = (i + n) % len(kinds)
			began := time.Now()
			_, err := v.Verify(requests[i])
			kinds[i].took = append(kinds[i].took, time.Since(began))
			if (err == nil) != (kinds[i].name == "right") {
				b.Fatalf("%s: %v", kinds[i].name, err)
			}
		}
	}
	median := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2])
	}
	base := median(kinds[1].took)
	for _, k := range kinds {
		m := median(k.took)
		b.ReportMetric(m, k.name+"-ns")
		b.ReportMetric(m/base, k.name+"/first")
	}
}
