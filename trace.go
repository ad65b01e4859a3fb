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

const hexDigits = "0123456789abcdef"

// hexOf writes the last n hexadecimal digits of v.
func hexOf(v uint64, n int) string {
	text := make([]byte, n)
	for i := n - 1; i >= 0; i-- {
		text[i] = hexDigits[v&15]
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

// Span is where in a trace something happens, as OpenTelemetry has it.
type Span struct {
	Trace   [16]byte
	ID      [8]byte // zero when nothing of the trace happened before
	Sampled bool    // the trace is wanted
	Decided bool    // whoever began it said whether it is
}

// SpanOf reads an X-Amzn-Trace-Id header. It is not ok when the header has no
// Root, or none as X-Ray makes them.
func SpanOf(header string) (s Span, ok bool) {
	if len(header) > maxTrace {
		return Span{}, false
	}
	for part := range strings.SplitSeq(header, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Root":
			// 1-5759e988-bd862e3fe1be46a994272793
			ok = len(value) == 35 && value[:2] == "1-" && value[10] == '-' && fromHex(s.Trace[:4], value[2:10]) && fromHex(s.Trace[4:], value[11:])
		case "Parent":
			if len(value) != 16 || !fromHex(s.ID[:], value) {
				s.ID = [8]byte{}
			}
		case "Sampled":
			s.Sampled, s.Decided = value == "1", value == "1" || value == "0"
		}
	}
	if !ok || s.Trace == [16]byte{} {
		return Span{}, false
	}
	return s, true
}

// Header is the X-Amzn-Trace-Id header that leads to the span, with the Lineage
// of another.
func (s Span) Header(other string) string {
	t := trace{root: "1-" + toHex(s.Trace[:4]) + "-" + toHex(s.Trace[4:]), parent: toHex(s.ID[:]), sampled: "0"}
	if s.Sampled {
		t.sampled = "1"
	}
	if len(other) <= maxTrace && plain(other) {
		for part := range strings.SplitSeq(other, ";") {
			if lineage, ok := strings.CutPrefix(strings.TrimSpace(part), "Lineage="); ok {
				t.lineage = lineage
			}
		}
	}
	return t.String()
}

// TraceParent is the X-Amzn-Trace-Id header that says what a traceparent of the
// W3C does; empty for one that is not valid.
func TraceParent(header string) string {
	// 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
	if len(header) < 55 || len(header) > maxTrace || header[2] != '-' || header[35] != '-' || header[52] != '-' {
		return ""
	}
	var version, flags [1]byte
	var s Span
	if !fromHex(version[:], header[:2]) || !fromHex(s.Trace[:], header[3:35]) || !fromHex(s.ID[:], header[36:52]) || !fromHex(flags[:], header[53:55]) {
		return ""
	}
	// Later versions may say more, after a hyphen; this one may not.
	if version[0] == 0xff || version[0] == 0 && len(header) > 55 || len(header) > 55 && header[55] != '-' {
		return ""
	}
	if s.Trace == [16]byte{} || s.ID == [8]byte{} {
		return ""
	}
	s.Sampled = flags[0]&1 == 1
	return s.Header("")
}

func toHex(b []byte) string {
	text := make([]byte, 0, 32)
	for _, c := range b {
		text = append(text, hexDigits[c>>4], hexDigits[c&15])
	}
	return string(text)
}

// fromHex reads lower-case digits, twice as many as there is room for.
func fromHex(to []byte, text string) bool {
	if len(text) != 2*len(to) {
		return false
	}
	for i := range to {
		high, low := strings.IndexByte(hexDigits, text[2*i]), strings.IndexByte(hexDigits, text[2*i+1])
		if high < 0 || low < 0 {
			return false
		}
		to[i] = byte(high<<4 | low)
	}
	return true
}
