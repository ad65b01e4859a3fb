package runner_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/runner"
)

const greedy = `
import threading, time
n = 0
kept = []

def count():
    global n
    while True:
        n += 1
        time.sleep(0.005)

def handler(event, context):
    global n
    if event["do"] == "take":
        kept.append(b"x" * (event["mb"] << 20))
        return len(kept)
    if event["do"] == "file":
        with open("/tmp/f%d" % event["mb"], "wb") as f:
            for _ in range(event["mb"]):
                f.write(b"x" * (1 << 20))
        return len(kept)
    if event["do"] == "work":
        threading.Thread(target=count, daemon=True).start()
    return n
`

func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Cgroup)
	h := newHost(t, nil)
	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": greedy})
	v.Config.Timeout = 60
	wantPayload(t, h.invoke(t, v, `{"do":"take","mb":20}`), "", "1")
	// /tmp is no memory, however much is in it.
	wantPayload(t, h.invoke(t, v, `{"do":"file","mb":200}`), "", "1")
	r := h.invoke(t, v, `{"do":"count"}`)
	if used := memoryUsed(t, r); used < 25 || used > 90 {
		t.Errorf("Max Memory Used = %d MB; want that of the process without /tmp", used)
	}
	r = h.invoke(t, v, `{"do":"take","mb":400}`)
	wantPayload(t, r, lamina.Unhandled,
		`{"errorType":"Runtime.OutOfMemory","errorMessage":"RequestId: `+requestID+` Error: Runtime exited with error: signal: killed"}`)
	if !bytes.Contains(r.LogTail, []byte("Status: error\tError Type: Runtime.OutOfMemory")) {
		t.Errorf("tail = %q; want the error type", r.LogTail)
	}
	if used := memoryUsed(t, r); used < 100 || used > 128 {
		t.Errorf("Max Memory Used = %d MB; want a little less than 128", used)
	}
	wantPayload(t, h.invoke(t, v, `{"do":"take","mb":20}`), "", "1")
	if s := h.Environments(); s.Live != 1 {
		t.Errorf("environments = %+v; want the same one", s)
	}
}

func memoryUsed(t *testing.T, r lamina.Result) int {
	t.Helper()
	m := regexp.MustCompile(`Max Memory Used: (\d+) MB`).FindSubmatch(r.LogTail)
	if m == nil {
		t.Fatalf("tail = %q; want Max Memory Used", r.LogTail)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Code of the function must not run while nobody invokes it.
func TestFrozenBetweenInvocations(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Cgroup)
	for name, frozen := range map[string]bool{"frozen": true, "never frozen": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, func(o *runner.Options) {
				if !frozen {
					o.FreezeAfter = -1
				}
			})
			v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": greedy})
			v.Config.MemorySize, v.Config.Timeout = 1769, 60
			count := func(do string) int {
				t.Helper()
				r := h.invoke(t, v, fmt.Sprintf(`{"do":%q}`, do))
				n, err := strconv.Atoi(string(r.Payload))
				if err != nil {
					t.Fatalf("%s = %s", do, r.Payload)
				}
				return n
			}
			count("work")
			count("count")
			time.Sleep(time.Second) // in which it must be frozen
			before := count("count")
			time.Sleep(3 * time.Second) // what runs now runs too long
			got := count("count") - before
			if most := 300; frozen && got > most {
				t.Errorf("a thread went round %d times in 3 s; want at most %d", got, most)
			}
			if !frozen && got < 10 {
				t.Errorf("a thread went round %d times in 3 s; want more where nothing is frozen", got)
			}
		})
	}
}

// With a quota a function has its share of the processors and no more, but not
// while it initializes.
func TestProcessorsInProportionToMemory(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Cgroup)
	h := newHost(t, func(o *runner.Options) { o.CPUQuota = true })
	code := `
import time
def used():
    begin = time.monotonic(), time.process_time()
    while time.monotonic() - begin[0] < 1:
        pass
    return (time.process_time() - begin[1]) / (time.monotonic() - begin[0])
init = used()
def handler(event, context):
    return [init, used()]
`
	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": code})
	v.Config.Timeout = 60
	r := h.invoke(t, v, `{}`)
	var init, own float64
	if _, err := fmt.Sscanf(string(r.Payload), "[%g, %g]", &init, &own); err != nil {
		t.Fatalf("payload = %s: %v", r.Payload, err)
	}
	if own > 0.12 {
		t.Errorf("share of a processor with 128 MB = %.2f; want 0.07", own)
	}
	if init < 2*own {
		t.Errorf("share while initializing = %.2f, afterwards %.2f; want much more at first", init, own)
	}
}
