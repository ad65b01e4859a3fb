package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina/metrics"
	"github.com/lamina-run/lamina/server"
)

func TestSinceTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"30s": "2026-03-02T11:59:30Z", "10m": "2026-03-02T11:50:00Z", "1h30m": "2026-03-02T10:30:00Z", "2d": "2026-02-28T12:00:00Z",
		"1w": "2026-02-23T12:00:00Z", "2026-01-01T00:00:00Z": "2026-01-01T00:00:00Z", "0s": "2026-03-02T12:00:00Z",
		"": "", "soon": "", "-1h": "", "d": "", "-1d": "", "99999999d": "",
	} {
		got, err := sinceTime(text, now)
		if (err == nil) != (want != "") || err == nil && got.Format(time.RFC3339) != want {
			t.Errorf("sinceTime(%q) = %v, %v; want %q", text, got, err, want)
		}
	}
}

func TestMetricsToken(t *testing.T) {
	t.Parallel()
	s := &settings{Data: t.TempDir()}
	token, err := s.metricsToken()
	if err != nil || len(token) < 32 {
		t.Fatalf("metricsToken = %q, %v; want a long one", token, err)
	}
	info, err := os.Stat(s.file(metricsFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its file is %v, %v; want 0600", info, err)
	}
	if again, err := s.metricsToken(); again != token || err != nil {
		t.Errorf("metricsToken again = %q, %v; want the same", again, err)
	}
	for _, text := range []string{"", "\n", "short", "two words of this token"} {
		if err := os.WriteFile(s.file(metricsFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if token, err := s.metricsToken(); err == nil {
			t.Errorf("metricsToken of %q = %q; want an error", text, token)
		}
	}
}

func TestTopTable(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	o := overview{
		Machine: &server.Machine{At: at, Started: at.Add(-26 * time.Hour), Version: "1.2.3", CPUs: 2, Cache: server.Cache{Bytes: 3 << 30}},
		Top:     server.Top{Minutes: 5},
	}
	for _, name := range []string{"quiet", "busy", "failing"} {
		o.Functions = append(o.Functions, server.TopFunction{AccountId: "000000000000", Region: "eu-west-1", FunctionName: name})
	}
	o.Functions[1].Running = 2
	o.Functions[1].Point = metrics.Point{Invocations: 9, Duration: metrics.Durations{P50: 1.25, P90: 99.94, P99: 1234.5}}
	o.Functions[1].Environments = server.Environments{Busy: 2, Idle: 1, MemorySize: 128, MaxMemory: 40<<20 + 1}
	o.Functions[2].Errors = 3
	draw := func(v topVerb, lines int) string {
		var out strings.Builder
		if err := v.table(&out, o, lines); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	got := draw(topVerb{}, 0)
	for _, want := range []string{
		"lamina 1.2.3   up 1d2h ", "cache 3.0 GB",
		"busy      2     1     2        9            0       0          0     1.2  99.9  1234  41/128 MB\n",
		"quiet     0     0     0        0            0       0          0     -    -     -     -\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the table is\n%s\nwant %q in it", got, want)
		}
	}
	if got := draw(topVerb{}, 8); strings.Count(got, "\n") > 8 || !strings.HasSuffix(got, "and 2 more\n") {
		t.Errorf("the table in 8 lines is\n%s", got)
	}
	o.Functions[0].Region = "us-east-1"
	if got := draw(topVerb{}, 0); !strings.Contains(got, "000000000000/eu-west-1/busy ") {
		t.Errorf("the table of several regions is\n%s", got)
	}
	for sort, first := range map[string]int{"running": 1, "errors": 2, "p99": 1, "memory": 1, "invocations": 1} {
		v := topVerb{Sort: sort}
		for i, f := range o.Functions {
			if i != first && v.compare(o.Functions[first], f) > 0 {
				t.Errorf("by %s, %s comes before %s", sort, f.FunctionName, o.Functions[first].FunctionName)
			}
		}
	}
}
