package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lamina-run/lamina/internal/fsx"
	"github.com/lamina-run/lamina/metrics"
	"github.com/lamina-run/lamina/runner"
	"github.com/lamina-run/lamina/runner/layer"
	"github.com/lamina-run/lamina/runner/sandbox"
	"github.com/lamina-run/lamina/server"
	"github.com/lamina-run/lamina/traces"
)

// metricsToken reads the token that Prometheus has to show, and makes it when
// there is none.
func (s *settings) metricsToken() (string, error) {
	file := s.file(metricsFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		token := rand.Text() + rand.Text()
		return token, fsx.WriteFile(file, []byte(token+"\n"), 0o600)
	}
	if err != nil {
		return "", err
	}
	token := string(bytes.TrimSpace(text))
	if len(token) < 16 || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("%s has no token: want 16 characters or more, without blanks", file)
	}
	return token, nil
}

// openTraces returns what sends traces, nil when nobody takes them.
func openTraces(c *settings, log *slog.Logger) (*traces.Tracer, error) {
	if c.OTLPEndpoint == "" {
		return nil, nil
	}
	headers, err := traces.ParseHeaders(c.OTLPHeaders)
	if err != nil {
		return nil, fmt.Errorf("--otlp-headers: %w", err)
	}
	return traces.New(traces.Options{
		Endpoint: c.OTLPEndpoint, Headers: headers, Ratio: c.OTLPRatio, Version: version, Log: log, Now: time.Now, Proxy: http.ProxyFromEnvironment,
	})
}

// observer tells what goes on in this process.
type observer struct {
	settings  *settings
	metrics   *metrics.Metrics
	requests  *metrics.Requests
	tracer    *traces.Tracer // nil without
	layers    *layer.Cache
	functions *runner.Runner // nil when functions can't run
	pool      *sandbox.Pool  // nil with functions
	started   time.Time
}

// newObserver counts for the given services.
func newObserver(c *settings, layers *layer.Cache, tracer *traces.Tracer, services []string) *observer {
	return &observer{
		settings: c, layers: layers, tracer: tracer, started: time.Now(), metrics: metrics.New(metrics.Options{Now: time.Now}),
		requests: metrics.NewRequests(append(slices.Clone(services), server.OtherServices...)...),
	}
}

// environments tells of those of every version.
func (o *observer) environments() []server.VersionEnvironments {
	if o.functions == nil {
		return nil
	}
	all := o.functions.Versions()
	out := make([]server.VersionEnvironments, len(all))
	for i, v := range all {
		e := server.Environments{
			Starting: v.Starting, Busy: v.Busy, Idle: v.Idle, Provisioned: v.Provisioned, Ready: v.Ready, MemorySize: v.MemorySize, MaxMemory: v.MaxMemory,
		}
		if !v.Oldest.IsZero() {
			at := v.Oldest.UTC()
			e.Oldest = &at
		}
		out[i] = server.VersionEnvironments{Function: v.Function, Version: v.Qualifier(), Environments: e}
	}
	return out
}

func (o *observer) machine() server.Machine {
	m := server.Machine{
		At: time.Now().UTC(), Started: o.started.UTC(), Version: version, CPUs: runtime.NumCPU(), Load: loadAverage(),
		Process: server.Process{Memory: residentBytes(), Goroutines: runtime.NumGoroutine()},
	}
	m.MemoryTotal, m.MemoryFree = memory()
	m.DiskTotal, m.DiskFree = disk(o.settings.Data)
	u := o.layers.Usage()
	m.Cache = server.Cache{Archives: u.Archives, InUse: u.InUse, Mounted: u.Mounted, Bytes: u.Bytes, MaxBytes: cacheBytes}
	if o.functions != nil {
		m.Environments.Limit, m.Environments.Waiting = o.functions.Limit(), o.functions.Environments().Waiting
		m.Environments.Parked = o.pool.Parked()
		for _, v := range o.environments() {
			m.Environments.Environments = m.Environments.Plus(v.Environments)
		}
	}
	return m
}

// write writes everything for Prometheus.
func (o *observer) write(t *metrics.Text) {
	gauge := func(name, help string, value float64) {
		t.Family(name, metrics.Gauge, help)
		t.Sample(value)
	}
	t.Family("lamina_build_info", metrics.Gauge, "The version that runs.")
	t.Sample(1, "version", version, "goversion", runtime.Version())
	o.metrics.WriteTo(t)
	o.requests.WriteTo(t)
	m := o.machine()
	if o.functions != nil {
		t.Family("lamina_environments", metrics.Gauge, "Execution environments, by what they do.")
		t.Sample(float64(m.Environments.Starting), "state", "starting")
		t.Sample(float64(m.Environments.Busy), "state", "busy")
		t.Sample(float64(m.Environments.Idle), "state", "idle")
		gauge("lamina_environments_limit", "Execution environments that there can be at once.", float64(m.Environments.Limit))
		gauge("lamina_sandboxes_parked", "Sandboxes that no function has yet.", float64(m.Environments.Parked))
		gauge("lamina_invocations_waiting", "Invocations for which there is no place.", float64(m.Environments.Waiting))
	}
	gauge("lamina_cache_bytes", "What archives that are ready for use take on the disk.", float64(m.Cache.Bytes))
	gauge("lamina_cache_archives", "Archives that are ready for use.", float64(m.Cache.Archives))
	gauge("lamina_cache_archives_in_use", "Archives that execution environments use.", float64(m.Cache.InUse))
	if m.DiskTotal > 0 {
		gauge("lamina_disk_free_bytes", "What is free on the file system that has the data.", float64(m.DiskFree))
		gauge("lamina_disk_size_bytes", "The size of the file system that has the data.", float64(m.DiskTotal))
	}
	if o.tracer != nil {
		t.Family("lamina_spans_dropped_total", metrics.Counter, "Spans that the collector did not take.")
		t.Sample(float64(o.tracer.Dropped()))
	}
	metrics.WriteGo(t)
	gauge("process_start_time_seconds", "When the server started, in seconds since 1970.", float64(o.started.UnixMilli())/1000)
	if m.Process.Memory > 0 {
		gauge("process_resident_memory_bytes", "Memory of the server's process.", float64(m.Process.Memory))
	}
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) == nil {
		seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
		t.Family("process_cpu_seconds_total", metrics.Counter, "Time of processors that the server's process had.")
		t.Sample(seconds(used.Utime) + seconds(used.Stime))
	}
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil {
		gauge("process_open_fds", "Files that the server's process has open.", float64(len(entries)-1)) // less that of reading them
	}
}

// disk is the size of the file system that has dir, and what is free of it.
func disk(dir string) (total, free int64) {
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) != nil {
		return 0, 0
	}
	return int64(st.Blocks) * int64(st.Bsize), int64(st.Bavail) * int64(st.Bsize)
}

// memory is that of the machine, zero where there is no /proc.
func memory() (total, free int64) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 2 {
			continue
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			continue
		}
		switch f[0] {
		case "MemTotal:":
			total = n << 10
		case "MemAvailable:":
			free = n << 10
		}
	}
	return total, free
}

func loadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return load
}

// residentBytes is the memory of this process, zero where there is no /proc.
func residentBytes() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(text))
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
