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

func TestTraceParent(t *testing.T) {
	t.Parallel()
	const id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	const want = "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=" + parent + ";Sampled="
	for header, want := range map[string]string{
		"00-" + id + "-" + parent + "-01":                      want + "1",
		"00-" + id + "-" + parent + "-00":                      want + "0",
		"00-" + id + "-" + parent + "-03":                      want + "1",
		"cc-" + id + "-" + parent + "-01-more":                 want + "1",
		"00-" + id + "-" + parent + "-01-more":                 "",
		"cc-" + id + "-" + parent + "-01.more":                 "",
		"ff-" + id + "-" + parent + "-01":                      "",
		"00-" + strings.ToUpper(id) + "-" + parent + "-01":     "",
		"00-" + strings.Repeat("0", 32) + "-" + parent + "-01": "",
		"00-" + id + "-0000000000000000-01":                    "",
		"00-" + id + "-" + parent:                              "",
		"":                                                     "",
	} {
		if got := TraceParent(header); got != want {
			t.Errorf("TraceParent(%q) = %q; want %q", header, got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	const root = "Root=1-5759e988-bd862e3fe1be46a994272793"
	for _, c := range []struct {
		name, header, want string // want is the header again, empty when there is no span
		decided            bool
	}{
		{"all of it", root + ";Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:4", root + ";Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:4", true},
		{"not wanted", root + ";Parent=53995c3f42cd8ad8;Sampled=0", root + ";Parent=53995c3f42cd8ad8;Sampled=0", true},
		{"not decided", root + ";Sampled=?", root + ";Parent=0000000000000000;Sampled=0", false},
		{"a parent of another length", root + ";Parent=53995c3f;Sampled=1", root + ";Parent=0000000000000000;Sampled=1", true},
		{"in another order, with blanks", "Sampled=1; Parent=53995c3f42cd8ad8; " + root, root + ";Parent=53995c3f42cd8ad8;Sampled=1", true},
		{"no root", "Parent=53995c3f42cd8ad8;Sampled=1", "", false},
		{"another kind of root", "Root=abc", "", false},
		{"a root of zeros", "Root=1-00000000-000000000000000000000000", "", false},
	} {
		s, ok := SpanOf(c.header)
		if got := s.Header(c.header); ok != (c.want != "") || ok && got != c.want || s.Decided != c.decided {
			t.Errorf("%s: %q, %v, decided %v; want %q", c.name, got, ok, s.Decided, c.want)
		}
	}
}

func FuzzSpan(f *testing.F) {
	f.Add("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:4")
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Fuzz(func(t *testing.T, header string) {
		for _, text := range []string{header, TraceParent(header)} {
			s, ok := SpanOf(text)
			if !ok {
				continue
			}
			next := s.Header(text)
			if again, ok := SpanOf(next); !plain(next) || !ok || again.Trace != s.Trace || again.ID != s.ID || again.Sampled != s.Sampled {
				t.Errorf("SpanOf(%q) = %+v, whose header %q is another", text, s, next)
			}
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
