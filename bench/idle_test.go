package bench

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina/internal/testkit"
)

// idleMemory is what is resident of servers that were just started, each with
// the inits of the sandboxes that it keeps waiting. Pages that they share, those of
// the one binary, count once.
func idleMemory(t *testing.T) (all []int64) {
	testkit.Need(t, testkit.Sandbox)
	for range *rounds {
		s := start(t)
		time.Sleep(2 * time.Second) // sandboxes are parked, the collector has run
		all = append(all, proportional(t, s.PID()))
		s.Stop()
	}
	return all
}

// proportional adds up the proportional set size of a process and its descendants.
func proportional(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for row := range strings.Lines(string(text)) {
		if fields := strings.Fields(row); fields[0] == "Pss:" {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += n << 10
		}
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for field := range strings.FieldsSeq(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			sum += proportional(t, child)
		}
	}
	return sum
}

// besideFrozen measures warm and first invocations on a server that has many
// frozen environments, against one that has none.
func besideFrozen(t *testing.T, figures *[]*figure) {
	testkit.Need(t, testkit.Sandbox, testkit.Cgroup, testkit.Python)
	const calls, others = 500, 5 // a round
	room := []string{"--limit", fmt.Sprintf("ConcurrentExecutions=%d", *frozen+1000), "--environments", fmt.Sprint(*frozen + 200)}
	crowded := testkit.Start(t, testkit.Options{Args: room, Env: []string{"LAMINA_LOG_LEVEL=warn"}})
	alone := testkit.Start(t, testkit.Options{Args: room, Env: []string{"LAMINA_LOG_LEVEL=warn"}})
	began := time.Now()
	freeze(t, crowded, *frozen)
	t.Logf("%d environments initialized and frozen in %v", *frozen, time.Since(began).Round(time.Millisecond))

	beside := fmt.Sprintf("beside %d frozen", *frozen)
	hot := &figure{name: "warm invoke, Python, p50, " + beside, baseline: "the same without", unit: time.Microsecond}
	tail := &figure{name: "the same, p99", baseline: "the same without", unit: time.Microsecond}
	cold := &figure{name: "first invoke, Python, " + beside, baseline: "the same without", unit: time.Millisecond}
	*figures = append(*figures, hot, tail, cold)
	servers := []*testkit.Server{crowded, alone}
	for _, s := range servers {
		createFunction(t, s, dial(t, s.URL), function{name: "echo", runtime: pythonName, handler: "app.handler", zip: testkit.Zip(t, python.source(0))})
	}
	for round := range *rounds + 1 {
		var warm, first [2][]time.Duration
		for i, s := range servers {
			l := dial(t, s.URL)
			r := sign(t, s, http.MethodPost, "/2015-03-31/functions/echo/invocations", []byte(`{"a":1}`))
			l.send(t, r)
			for range calls {
				_, took := l.send(t, r)
				warm[i] = append(warm[i], took)
			}
			for turn := range others {
				call(t, s, l, http.MethodPut, "/2015-03-31/functions/echo/configuration", map[string]any{"Description": fmt.Sprint(round, turn)}, nil)
				await(t, s, l, "echo")
				settle()
				_, took := l.send(t, r)
				first[i] = append(first[i], took)
			}
		}
		if round > 0 {
			hot.add(percentile(warm[0], 50), percentile(warm[1], 50))
			tail.add(percentile(warm[0], 99), percentile(warm[1], 99))
			cold.add(percentile(first[0], 50), percentile(first[1], 50))
		}
	}
	alone.Stop()
	crowded.Stop()
}

// freeze has a server provision environments of a function, and waits until they
// have nothing to do.
func freeze(t *testing.T, s *testkit.Server, n int) {
	t.Helper()
	l := dial(t, s.URL)
	createFunction(t, s, l, function{name: "frozen", runtime: pythonName, handler: "app.handler", zip: testkit.Zip(t, python.source(0))})
	call(t, s, l, http.MethodPost, "/2015-03-31/functions/frozen/versions", map[string]any{}, nil)
	path := "/2019-09-30/functions/frozen/provisioned-concurrency?Qualifier=1"
	call(t, s, l, http.MethodPut, path, map[string]any{"ProvisionedConcurrentExecutions": n}, nil)
	for deadline := time.Now().Add(10 * time.Minute); ; time.Sleep(250 * time.Millisecond) {
		var out struct {
			Status, StatusReason                     string
			AvailableProvisionedConcurrentExecutions int
		}
		call(t, s, l, http.MethodGet, path, nil, &out)
		if out.Status == "READY" && out.AvailableProvisionedConcurrentExecutions == n {
			break
		}
		if out.Status == "FAILED" || time.Now().After(deadline) {
			t.Fatalf("provisioned concurrency is %s with %d: %s", out.Status, out.AvailableProvisionedConcurrentExecutions, out.StatusReason)
		}
	}
	time.Sleep(2 * time.Second) // they freeze
}
