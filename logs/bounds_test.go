package logs

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestThousandsOfStreams is not parallel: it looks at the process's memory.
func TestThousandsOfStreams(t *testing.T) {
	const streams = 10_000
	dir := t.TempDir()
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	f := open(t, dir, 0)
	for i := range streams {
		f.print(fmt.Sprintf("f%d", i%100), fmt.Sprintf("2026/03/04/[$LATEST]%032x", i), "START", "x", "END")
		if i%1000 == 999 {
			f.flush()
		}
	}
	if n := heap() - before; n > streams*600 {
		t.Errorf("%d streams take %d bytes of memory; want at most 600 each", streams, n)
	} else {
		t.Logf("%d bytes of memory for each of %d streams", n/streams, streams)
	}
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if name, err := os.Readlink(fd); err == nil && strings.HasPrefix(name, dir) {
			t.Errorf("%s is open while nobody writes", name)
		}
	}
	// Those that nobody uses take next to nothing.
	f.clock.move(2 * keepLoaded)
	f.tidy()
	if n := heap() - before; n > 1<<20 {
		t.Errorf("%d bytes are left when nobody uses them; want little", n)
	}
	out := f.ask("DescribeLogStreams", object{"logGroupName": "/aws/lambda/f7", "limit": 50})
	if n := len(out["logStreams"].([]any)); n != 50 {
		t.Errorf("then there are %d streams on a page; want 50", n)
	}
}
