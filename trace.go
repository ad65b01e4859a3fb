package lamina

import (
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// MostVisits is how often one chain of invocations may run a function before it
// counts as a loop (docs/quirks.md#recursive-loops).
const MostVisits = 16

const (
	maxTrace   = 2048 // bytes of a header that is believed
	maxLineage = 16   // functions that a header counts
	maxCount   = 32767
)

// trace is an X-Amzn-Trace-Id header.
type trace struct {
	root, parent, sampled, lineage string
}

// traceOf reads a header, which may be empty or nonsense, and makes up what it
// lacks.
func traceOf(header string, now time.Time) (t trace) {
	if len(header) <= maxTrace && plain(header) {
		for part := range strings.SplitSeq(header, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			switch name {
			case "Root":
				t.root = value
			case "Parent":
				t.parent = value
			case "Sampled":
				t.sampled = value
			case "Lineage":
				t.lineage = value
			}
		}
	}
	if t.root == "" {
		t.root = "1-" + hexOf(uint64(now.Unix()), 8) + "-" + hexOf(rand.Uint64(), 16) + hexOf(rand.Uint64(), 8) // names, not secrets
		t.parent = ""
	}
	if t.parent == "" {
		t.parent = hexOf(rand.Uint64(), 16)
	}
	if t.sampled == "" {
		t.sampled = "0"
	}
	return t
}

func (t trace) String() string {
	header := "Root=" + t.root + ";Parent=" + t.parent + ";Sampled=" + t.sampled
	if t.lineage != "" {
		header += ";Lineage=" + t.lineage
	}
	return header
}

// TraceOf is the X-Amzn-Trace-Id header of a request that came with the given
// one, which may be empty or nonsense.
func TraceOf(header string, now time.Time) string { return traceOf(header, now).String() }

// Trace is the X-Amzn-Trace-Id header that a version of f gets when the
// invocation came with the given one, which may be empty or nonsense. Its Lineage
// counts each function of the chain; visits is how often f ran in it before.
func Trace(header string, f FunctionID, now time.Time) (next string, visits int) {
	t := traceOf(header, now)
	t.lineage, visits = visit(t.lineage, f)
	return t.String(), visits
}

// visit counts one more run of f in a lineage, such as 061379e8:0|cbc84ad3:2. The
// first run of a function is number 0.
func visit(lineage string, f FunctionID) (next string, visits int) {
	id := lineageOf(f)
	var known []string
	for entry := range strings.SplitSeq(lineage, "|") {
		name, count, ok := strings.Cut(entry, ":")
		n, err := strconv.ParseUint(count, 10, 31)
		switch {
		case !ok || err != nil || len(name) != len(id):
		case name == id:
			visits = min(int(n), maxCount-1) + 1
		default:
			known = append(known, entry)
		}
	}
	known = append(known, id+":"+strconv.Itoa(visits))
	return strings.Join(known[max(len(known)-maxLineage, 0):], "|"), visits
}

// lineageOf is the name of a function in lineages.
func lineageOf(f FunctionID) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(f.ARN())) // never fails (hash.Hash)
	return hexOf(uint64(h.Sum32()), 8)
}

// hexOf writes the last n hexadecimal digits of v.
func hexOf(v uint64, n int) string {
	const digits = "0123456789abcdef"
	text := make([]byte, n)
	for i := n - 1; i >= 0; i-- {
		text[i] = digits[v&15]
		v >>= 4
	}
	return string(text)
}

// plain reports whether a header may be passed on to functions and logs as it is.
func plain(s string) bool {
	for i := range len(s) {
		if b := s[i]; b <= ' ' && b != ' ' || b >= 0x7f || b == '"' || b == '\\' {
			return false
		}
	}
	return true
}
