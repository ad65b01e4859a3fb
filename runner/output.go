package runner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lamina-run/lamina"
)

const (
	tailSize = 4 << 10   // of Result.LogTail
	lineSize = 256 << 10 // of one event; what is longer is cut into several
	pipeSize = 64 << 10  // what a pipe holds: more can't have been written before a response
)

// output reads what an environment's processes print. Whoever reads the pipe
// holds the mutex, so that what is read is in order whether the reader or
// somebody who drains the pipe got it.
type output struct {
	pipe    syscall.RawConn
	version *lamina.Version
	stream  string
	logs    Logs
	json    bool
	quiet   bool // the platform's own events are not wanted
	now     func() time.Time

	mu      sync.Mutex
	tailing bool   // the invocation wants its tail
	tail    []byte // of this invocation, or of the initialization before; at most twice tailSize
	line    []byte // not ended yet; for logs only
	buf     []byte
}

func newOutput(f *os.File, v *lamina.Version, stream string, logs Logs, now func() time.Time) (*output, error) {
	pipe, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &output{
		pipe: pipe, version: v, stream: stream, logs: logs, now: now, buf: make([]byte, 16<<10),
		json: v.Config.Logging.Format == "JSON", quiet: v.Config.Logging.SystemLevel == "WARN",
	}, nil
}

// read reads until the sandbox is closed.
func (o *output) read() {
	for {
		err := error(nil)
		waitErr := o.pipe.Read(func(fd uintptr) bool {
			o.mu.Lock()
			defer o.mu.Unlock()
			err = o.take(int(fd))
			return !errors.Is(err, syscall.EAGAIN)
		})
		if waitErr != nil || err != nil { // closed, or ended
			o.mu.Lock()
			o.flush()
			o.mu.Unlock()
			return
		}
	}
}

// take reads what is there, once. It wants o.mu.
func (o *output) take(fd int) error {
	for {
		n, err := syscall.Read(fd, o.buf)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return io.EOF
		}
		o.append(o.buf[:n])
		return nil
	}
}

// drain takes what was written so far. It wants o.mu. Control, unlike Read, may
// be called while another goroutine waits in Read.
func (o *output) drain() {
	_ = o.pipe.Control(func(fd uintptr) { // fails only when closed: then there is nothing
		for range pipeSize/len(o.buf) + 1 {
			if o.take(int(fd)) != nil {
				return
			}
		}
	})
}

func (o *output) append(b []byte) {
	if o.tailing {
		o.tail = append(o.tail, b...)
		if len(o.tail) > 2*tailSize {
			o.tail = append(o.tail[:0], o.tail[len(o.tail)-tailSize:]...)
		}
	}
	if o.logs == nil {
		return
	}
	at := o.now()
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			room := lineSize - len(o.line)
			if len(b) < room {
				o.line = append(o.line, b...)
				return
			}
			i = room
			o.line = append(o.line, b[:i]...)
			b = b[i:]
			o.event(at)
			continue
		}
		if len(o.line) == 0 {
			o.logs.Write(o.version, o.stream, at, b[:i])
		} else {
			o.line = append(o.line, b[:i]...)
			o.event(at)
		}
		b = b[i+1:]
	}
}

func (o *output) event(at time.Time) {
	o.logs.Write(o.version, o.stream, at, o.line)
	o.line = o.line[:0]
}

// flush ends a line that was not ended. It wants o.mu.
func (o *output) flush() {
	if len(o.line) > 0 {
		o.event(o.now())
	}
}

// expect prepares for an invocation.
func (o *output) expect(tail bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tailing = tail
	o.tail = o.tail[:0]
}

// platform writes an event of Lamina's own. It wants o.mu.
func (o *output) platform(at time.Time, line string) {
	if o.tailing {
		o.tail = append(append(o.tail, line...), '\n')
	}
	if o.logs != nil {
		o.logs.Write(o.version, o.stream, at, []byte(line))
	}
}

// initStart writes INIT_START, which no tail has.
func (o *output) initStart(at time.Time) {
	if o.logs == nil || o.json || o.quiet {
		return
	}
	runtime := o.version.Config.Runtime
	family := lamina.RuntimeFamily(runtime)
	line := "INIT_START Runtime Version: " + family + ":" + strings.TrimPrefix(strings.TrimPrefix(runtime, family), ".") + ".v1"
	o.logs.Write(o.version, o.stream, at, []byte(line))
}

// initReport writes INIT_REPORT about a failed initialization ahead of invocations.
func (o *output) initReport(at time.Time, took time.Duration, errorType string) {
	if o.logs == nil || o.json || o.quiet {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drain()
	o.flush()
	o.platform(at, fmt.Sprintf("INIT_REPORT Init Duration: %.2f ms\tPhase: init\tStatus: error\tError Type: %s",
		float64(took)/float64(time.Millisecond), errorType))
}

// print writes a line as if the function had.
func (o *output) print(at time.Time, line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.platform(at, line)
}

func (o *output) wanted() bool { return o.tailing || o.logs != nil }

// begin writes START. What is printed already belongs to the initialization and
// not in the tail.
func (o *output) begin(at time.Time, requestID string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.wanted() {
		return
	}
	o.drain()
	o.flush()
	o.tail = o.tail[:0]
	o.start(at, requestID)
}

// beginLate writes START for an invocation that the process never took. The tail
// then has what the initialization printed, as if it had been part of it.
func (o *output) beginLate(at time.Time, requestID string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.wanted() {
		return
	}
	o.drain()
	o.flush()
	printed := bytes.Clone(o.tail)
	o.tail = o.tail[:0]
	o.start(at, requestID)
	if o.tailing {
		o.tail = append(o.tail, printed...)
	}
}

// start writes START. It wants o.mu.
func (o *output) start(at time.Time, requestID string) {
	switch {
	case o.quiet:
	case o.json:
		o.platform(at, fmt.Sprintf(`{"time":"%s","type":"platform.start","record":{"requestId":"%s","version":"%s"}}`,
			stamp(at), requestID, o.version.Qualifier()))
	default:
		o.platform(at, "START RequestId: "+requestID+" Version: "+o.version.Qualifier())
	}
}

// end writes END and REPORT after what was printed before, and returns the tail.
func (o *output) end(requestID string, r report) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.wanted() {
		return nil
	}
	o.drain()
	o.flush()
	if n := len(o.tail); n > 0 && o.tail[n-1] != '\n' {
		o.tail = append(o.tail, '\n')
	}
	if r.note != "" {
		o.platform(r.end, stamp(r.end)+" "+r.note)
	}
	switch {
	case o.quiet:
	case o.json:
		o.platform(r.end, r.json(requestID))
	default:
		o.platform(r.end, "END RequestId: "+requestID)
		o.platform(r.end, r.text(requestID))
	}
	if !o.tailing {
		return nil
	}
	o.tailing = false
	return bytes.Clone(o.tail[max(0, len(o.tail)-tailSize):])
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }

// report is what the REPORT line says.
type report struct {
	start, end time.Time
	init       time.Duration // zero unless this was a cold start
	memorySize int64         // MB
	peak       int64         // bytes
	status     string        // empty, error or timeout
	errorType  string
	note       string // a line before END
}

// report gathers what the REPORT line says, if anybody wants to read it.
func (e *environment) report(end ending, cold bool, timeout time.Duration) report {
	r := report{end: end.at, memorySize: e.version.Config.MemorySize}
	if !e.out.wanted() {
		return r
	}
	taken, ok := e.session.TakenAt()
	if ok {
		r.start = taken
		if cold && !e.restarted {
			r.init = max(taken.Sub(e.execAt), 0)
		}
	} else {
		// It never came to the invocation: what there was is initialization.
		r.start = end.at
		if end.timedOut {
			r.start = end.at.Add(-timeout)
		}
		e.out.beginLate(r.start, e.request.ID)
	}
	if peak, err := e.box.PeakMemory(); err == nil { // a process that is gone has none; then the last one counts
		e.peak = peak
	}
	r.peak = e.peak
	return r
}

func (r report) figures() (duration, init float64, billed int64, used int64) {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	duration, init = max(ms(r.end.Sub(r.start)), 0), ms(r.init)
	return duration, init, int64(math.Ceil(duration + init)), (r.peak + 1<<20 - 1) >> 20
}

func (r report) text(requestID string) string {
	duration, init, billed, used := r.figures()
	var b strings.Builder
	fmt.Fprintf(&b, "REPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %d ms\tMemory Size: %d MB\tMax Memory Used: %d MB\t",
		requestID, duration, billed, r.memorySize, used)
	if r.init > 0 {
		fmt.Fprintf(&b, "Init Duration: %.2f ms\t", init)
	}
	switch {
	case r.status == "timeout":
		b.WriteString("Status: timeout")
	case r.status == "error" && r.errorType != "" && strings.HasPrefix(r.errorType, "Runtime."):
		b.WriteString("Status: error\tError Type: " + r.errorType)
	}
	return b.String()
}

func (r report) json(requestID string) string {
	duration, init, billed, used := r.figures()
	status := r.status
	if status == "" {
		status = "success"
	}
	metrics := fmt.Sprintf(`"durationMs":%.3f,"billedDurationMs":%d,"memorySizeMB":%d,"maxMemoryUsedMB":%d`, duration, billed, r.memorySize, used)
	if r.init > 0 {
		metrics += fmt.Sprintf(`,"initDurationMs":%.3f`, init)
	}
	return fmt.Sprintf(`{"time":"%s","type":"platform.report","record":{"requestId":"%s","metrics":{%s},"status":"%s"}}`,
		stamp(r.end), requestID, metrics, status)
}
