package metrics

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
)

var (
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(.*)\})? (\S+)$`)
	labelText  = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\\\|\\n|\\")*)"(,|$)`)
)

// exposition reads the text format strictly: every sample belongs to the family
// above it, no family comes twice, no sample comes twice, histograms are whole.
func exposition(text string) (map[string]float64, error) {
	samples, families := map[string]float64{}, map[string]bool{}
	family, kind := "", ""
	var last float64 // bucket of the histogram that is read
	if !strings.HasSuffix(text, "\n") {
		return nil, fmt.Errorf("the last line has no end")
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			family, _, _ = strings.Cut(rest, " ")
			if families[family] || !metricName.MatchString(family) {
				return nil, fmt.Errorf("family %q comes twice, or has no name", family)
			}
			families[family] = true
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, k, _ := strings.Cut(rest, " ")
			if name != family || k != Counter && k != Gauge && k != Histogram {
				return nil, fmt.Errorf("%q does not follow its help", line)
			}
			kind = k
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("%q is no sample", line)
		}
		suffix, ok := strings.CutPrefix(m[1], family)
		if !ok || kind != Histogram && suffix != "" || kind == Histogram && suffix != "_bucket" && suffix != "_sum" && suffix != "_count" {
			return nil, fmt.Errorf("%q is not of the family %s", line, family)
		}
		if kind == Counter && !strings.HasSuffix(family, "_total") {
			return nil, fmt.Errorf("the counter %s is not called so", family)
		}
		le := ""
		for rest := m[3]; rest != ""; {
			l := labelText.FindStringSubmatch(rest)
			if l == nil {
				return nil, fmt.Errorf("labels of %q are wrong at %q", line, rest)
			}
			if l[1] == "le" {
				le = l[2]
			}
			rest = rest[len(l[0]):]
		}
		value, err := strconv.ParseFloat(m[4], 64)
		if err != nil || math.IsNaN(value) {
			return nil, fmt.Errorf("value of %q: %w", line, err)
		}
		switch suffix {
		case "_bucket":
			if value < last || le == "" {
				return nil, fmt.Errorf("bucket %q has less than the one before", line)
			}
			last = value
		case "_count":
			if value != last {
				return nil, fmt.Errorf("%q is not what the last bucket has, %v", line, last)
			}
			last = 0
		}
		key := m[1] + m[2]
		if _, twice := samples[key]; twice {
			return nil, fmt.Errorf("sample %q comes twice", key)
		}
		samples[key] = value
	}
	return samples, nil
}

func TestText(t *testing.T) {
	t.Parallel()
	m := New(Options{Now: newClock().now})
	in := ran(250 * time.Millisecond)
	in.Failed = true
	in.Measures.Cold = &lamina.ColdStart{Archives: 3 * time.Millisecond, Init: 100 * time.Millisecond}
	m.Begin(id("hello"))(in)
	m.Begin(id("hello"))(ran(251 * time.Millisecond))
	m.Begin(id("a\"b\\c\nd\xff"))(ran(time.Hour))
	m.Throttle(id("other"))
	r := NewRequests("lambda", "s3", "lambda")
	r.Count("lambda", 200)
	r.Count("lambda", 204)
	r.Count("made-up\"}", 404)
	r.Count("s3", 999)
	var out bytes.Buffer
	text := NewText(&out)
	m.WriteTo(text)
	r.WriteTo(text)
	WriteGo(text)
	if err := text.Flush(); err != nil {
		t.Fatal(err)
	}
	got, err := exposition(out.String())
	if err != nil {
		t.Fatalf("%v in:\n%s", err, out.String())
	}
	const hello = `{account="000000000000",region="eu-west-1",function="hello"`
	for key, want := range map[string]float64{
		"lamina_function_invocations_total" + hello + "}":                                                                                    2,
		"lamina_function_errors_total" + hello + "}":                                                                                         1,
		"lamina_function_cold_starts_total" + hello + "}":                                                                                    1,
		"lamina_function_duration_seconds_bucket" + hello + `,le="0.1"}`:                                                                     0,
		"lamina_function_duration_seconds_bucket" + hello + `,le="0.25"}`:                                                                    1,
		"lamina_function_duration_seconds_bucket" + hello + `,le="0.5"}`:                                                                     2,
		"lamina_function_duration_seconds_sum" + hello + "}":                                                                                 0.501,
		`lamina_function_duration_seconds_bucket{account="000000000000",region="eu-west-1",function="a\"b\\c\nd` + "\uFFFD" + `",le="900"}`:  0,
		`lamina_function_duration_seconds_bucket{account="000000000000",region="eu-west-1",function="a\"b\\c\nd` + "\uFFFD" + `",le="+Inf"}`: 1,
		`lamina_function_throttles_total{account="000000000000",region="eu-west-1",function="other"}`:                                        1,
		`lamina_cold_start_duration_seconds_bucket{le="0.25"}`:                                                                               1,
		`lamina_cold_start_phase_seconds_bucket{phase="archives",le="0.0025"}`:                                                               0,
		`lamina_cold_start_phase_seconds_bucket{phase="archives",le="0.005"}`:                                                                1,
		`lamina_requests_total{service="lambda",class="2xx"}`:                                                                                2,
		`lamina_requests_total{service="other",class="4xx"}`:                                                                                 1,
		`lamina_requests_total{service="s3",class="5xx"}`:                                                                                    1,
	} {
		if value, ok := got[key]; !ok || value != want {
			t.Errorf("%s is %v (%v); want %v", key, value, ok, want)
		}
	}
	if got["go_goroutines"] < 1 || got["go_memory_used_bytes"] < 1<<20 {
		t.Errorf("Go has %v goroutines and %v bytes", got["go_goroutines"], got["go_memory_used_bytes"])
	}
	for _, broken := range []string{"x 1", "# HELP x y\n# TYPE x counter\nx 1\n", "# HELP x_total y\n# TYPE x_total counter\nx_total{a=\"\n\"} 1\n"} {
		if _, err := exposition(broken); err == nil {
			t.Errorf("the check finds nothing wrong with %q", broken)
		}
	}
}
