package lamina

import (
	"strings"
	"testing"
	"time"
)

func TestTrace(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := FunctionID{Scope: Scope{Account: "000000000000", Region: "eu-west-1"}, Name: "fn"}
	id := lineageOf(f)
	const root = "Root=1-5759e988-bd862e3fe1be46a994272793"
	for _, c := range []struct {
		name, header, want string
		visits             int
	}{
		{"a chain begins", root + ";Parent=53995c3f42cd8ad8;Sampled=1", root + ";Parent=53995c3f42cd8ad8;Sampled=1;Lineage=" + id + ":0", 0},
		{"another function came before", root + ";Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:4", root + ";Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:4|" + id + ":0", 0},
		{"the function came before", root + ";Parent=53995c3f42cd8ad8;Lineage=" + id + ":15|a87bd80c:4", root + ";Parent=53995c3f42cd8ad8;Sampled=0;Lineage=a87bd80c:4|" + id + ":16", 16},
		{"nonsense in the lineage", root + ";Parent=1;Lineage=x|:|a87bd80c:-1|a87bd80c:x", root + ";Parent=1;Sampled=0;Lineage=" + id + ":0", 0},
		{"counts end", root + ";Parent=1;Lineage=" + id + ":2147483647", root + ";Parent=1;Sampled=0;Lineage=" + id + ":32767", 32767},
		{"the oldest go", root + ";Parent=1;Lineage=00000000:1" + strings.Repeat("|a87bd80c:4", 15), root + ";Parent=1;Sampled=0;Lineage=" + strings.Repeat("a87bd80c:4|", 15) + id + ":0", 0},
	} {
		got, visits := Trace(c.header, f, now)
		if got != c.want || visits != c.visits {
			t.Errorf("%s: %s, %d; want %s, %d", c.name, got, visits, c.want, c.visits)
		}
	}
	for _, header := range []string{"", "Self=1", root + ";\"", root + "\x01", root + strings.Repeat(";x=y", 1000)} {
		if got, _ := Trace(header, f, now); !strings.HasPrefix(got, "Root=1-695735a5-") || len(got) > 200 {
			t.Errorf("Trace(%.50q) = %q; want a new one", header, got)
		}
	}
}

func FuzzTrace(f *testing.F) {
	f.Add("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:4")
	f.Add(";;=;Lineage=|:|")
	f.Fuzz(func(t *testing.T, header string) {
		id := FunctionID{Name: "fn"}
		next, first := Trace(header, id, time.Unix(0, 0))
		again, second := Trace(next, id, time.Unix(0, 0))
		if !plain(next) || len(next) > 2*maxTrace+200 {
			t.Errorf("Trace(%q) = %q; want something plain and short", header, next)
		}
		if len(next) <= maxTrace && second != min(first+1, maxCount) {
			t.Errorf("Trace(%q) = %q, run %d, then %q, run %d; want one more", header, next, first, again, second)
		}
	})
}

// BenchmarkTrace is what following chains adds to each invocation.
func BenchmarkTrace(b *testing.B) {
	f := FunctionID{Scope: Scope{Account: "000000000000", Region: "eu-west-1"}, Name: "fn"}
	now := time.Now()
	for b.Loop() {
		Trace("", f, now)
	}
}
