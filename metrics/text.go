package metrics

import (
	"bufio"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
)

// ContentType is that of what a [Text] writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Text writes Prometheus' text format, one family after the other.
type Text struct {
	out  *bufio.Writer
	name string // of the family
	line []byte
}

// NewText returns what writes to w until Flush.
func NewText(w io.Writer) *Text { return &Text{out: bufio.NewWriterSize(w, 64<<10)} }

// Flush writes what is left, and returns the first error of all writes.
func (t *Text) Flush() error { return t.out.Flush() }

// The types of families.
const (
	Counter   = "counter"
	Gauge     = "gauge"
	Histogram = "histogram"
)

// Family begins a family of samples, which all come before the next.
func (t *Text) Family(name, kind, help string) {
	t.name = name
	t.line = append(t.line[:0], "# HELP "...)
	t.line = append(t.line, name...)
	t.line = append(t.line, ' ')
	t.line = append(t.line, escapeHelp.Replace(help)...)
	t.line = append(t.line, "\n# TYPE "...)
	t.line = append(t.line, name...)
	t.line = append(t.line, ' ')
	t.line = append(t.line, kind...)
	t.line = append(t.line, '\n')
	t.write()
}

var (
	escapeHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	escapeLabel = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// Sample writes one of the family's, with labels as names and values in turns.
func (t *Text) Sample(value float64, labels ...string) { t.sample("", value, labels, "") }

func (t *Text) sample(suffix string, value float64, labels []string, le string) {
	t.line = append(t.line[:0], t.name...)
	t.line = append(t.line, suffix...)
	sep := byte('{')
	label := func(name, value string) {
		t.line = append(t.line, sep)
		sep = ','
		t.line = append(t.line, name...)
		t.line = append(t.line, `="`...)
		t.line = append(t.line, escapeLabel.Replace(strings.ToValidUTF8(value, "\uFFFD"))...)
		t.line = append(t.line, '"')
	}
	for i := 0; i+1 < len(labels); i += 2 {
		label(labels[i], labels[i+1])
	}
	if le != "" {
		label("le", le)
	}
	if sep == ',' {
		t.line = append(t.line, '}')
	}
	t.line = append(t.line, ' ')
	t.line = appendValue(t.line, value)
	t.line = append(t.line, '\n')
	t.write()
}

// write writes the line. Errors stay with the buffer until Flush.
func (t *Text) write() { _, _ = t.out.Write(t.line) }

func appendValue(b []byte, v float64) []byte {
	switch {
	case math.IsInf(v, 1):
		return append(b, "+Inf"...)
	case math.IsInf(v, -1):
		return append(b, "-Inf"...)
	case math.IsNaN(v):
		return append(b, "NaN"...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// edges are the buckets that are told, each a bound of ours, so that what is told
// is exact.
var edges = func() (all []edge) {
	for _, text := range []string{
		"0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "60", "300", "900",
	} {
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil {
			panic(err) // the list above is wrong
		}
		i, found := slices.BinarySearch(bounds[:], int64(math.Round(seconds*float64(time.Second))))
		if !found {
			panic(text + " is no bound of a bucket")
		}
		all = append(all, edge{text, i})
	}
	return all
}()

type edge struct {
	text   string // seconds
	bucket int    // the last that is below
}

func (t *Text) histogram(h *histogram, labels ...string) {
	seen, next := uint64(0), 0
	for _, e := range edges {
		for ; next <= e.bucket; next++ {
			seen += h.counts[next]
		}
		t.sample("_bucket", float64(seen), labels, e.text)
	}
	t.sample("_bucket", float64(h.count), labels, "+Inf")
	t.sample("_sum", h.sum.Seconds(), labels, "")
	t.sample("_count", float64(h.count), labels, "")
}

// WriteTo writes what is known of all functions since counting began.
func (m *Metrics) WriteTo(t *Text) {
	type known struct {
		labels []string
		total  tally
		now    uint64
	}
	functions := *m.functions.Load()
	ids := make([]lamina.FunctionID, 0, len(functions))
	for id := range functions {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, compare)
	all := make([]known, len(ids))
	for i, id := range ids {
		f := functions[id]
		all[i].labels = []string{"account", id.Account, "region", id.Region, "function", id.Name}
		f.mu.Lock()
		all[i].total, all[i].now = f.total, f.running
		f.mu.Unlock()
	}
	each := func(name, kind, help string, value func(*known) uint64) {
		t.Family("lamina_function_"+name, kind, help)
		for i := range all {
			t.Sample(float64(value(&all[i])), all[i].labels...)
		}
	}
	each("invocations_total", Counter, "Invocations that ran, failed ones too.", func(k *known) uint64 { return k.total.invocations })
	each("errors_total", Counter, "Invocations that failed in the function.", func(k *known) uint64 { return k.total.errors })
	each("throttles_total", Counter, "Invocations refused because too many ran.", func(k *known) uint64 { return k.total.counted[throttled] })
	each("cold_starts_total", Counter, "Invocations for which an environment was made.", func(k *known) uint64 { return k.total.cold.count })
	each("events_received_total", Counter, "Asynchronous invocations that were queued.", func(k *known) uint64 { return k.total.counted[eventReceived] })
	each("events_dropped_total", Counter, "Asynchronous invocations given up.", func(k *known) uint64 { return k.total.counted[eventDropped] })
	each("concurrent_executions", Gauge, "Invocations that run now.", func(k *known) uint64 { return k.now })
	t.Family("lamina_function_duration_seconds", Histogram, "How long functions worked on invocations.")
	for i := range all {
		t.histogram(&all[i].total.duration, all[i].labels...)
	}
	m.cold.Lock()
	total, phases := m.cold.total, m.cold.phases
	m.cold.Unlock()
	t.Family("lamina_cold_start_duration_seconds", Histogram, "How long cold starts took, until the handler ran.")
	t.histogram(&total)
	t.Family("lamina_cold_start_phase_seconds", Histogram, "How long the parts of cold starts took.")
	for i := range phases {
		t.histogram(&phases[i], "phase", Phases[i])
	}
}

// WriteTo writes what was counted.
func (r *Requests) WriteTo(t *Text) {
	t.Family("lamina_requests_total", Counter, "Requests that were answered, by service and class of status.")
	for _, name := range r.names {
		for class := range classes {
			if n := r.counts[name][class].Load(); n > 0 || class == 1 {
				t.Sample(float64(n), "service", name, "class", strconv.Itoa(class+1)+"xx")
			}
		}
	}
}
