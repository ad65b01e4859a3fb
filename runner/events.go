package runner

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner/runtimeapi"
)

// event is one of the platform's own, not formatted yet: most are for nobody.
type event struct {
	kind  string // such as platform.start
	level level  // with the JSON format
	// text is the line of the Text format; nil when it has none.
	text func() string
	// record is the event's content in JSON. Telemetry has more than the log.
	record func(telemetry bool) string
	aside  bool // not in the tail
	quiet  bool // not in the log in JSON
}

func (e *event) line(at time.Time) string {
	return `{"time":"` + stamp(at) + `","type":"` + e.kind + `","record":` + e.record(false) + `}`
}

// Phases of an initialization: its own, or that of an invocation which had to
// repeat it.
const (
	phaseInit   = "init"
	phaseInvoke = "invoke"
)

// Statuses of what ended.
const (
	statusSuccess = "success"
	statusError   = "error"
	statusTimeout = "timeout"
)

// failed is the level of an event whose level depends on how things went.
func failed(status string, otherwise level) level {
	if status != statusSuccess {
		return levelWarn
	}
	return otherwise
}

func quote(s string) string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string
	}
	return string(data)
}

var errorTypes = regexp.MustCompile(`^(Runtime|Function|Extension|Sandbox)\.[A-Z][a-zA-Z]+$`)

// errorTypeOf is the type under which logs show an error: what a runtime calls
// its own way is unknown to the platform.
func errorTypeOf(reported string) string {
	switch {
	case errorTypes.MatchString(reported):
		return reported
	case strings.HasPrefix(reported, "Function."):
		return "Function.Unknown"
	}
	return "Runtime.Unknown"
}

func withError(errorType string) string {
	if errorType == "" {
		return ""
	}
	return `,"errorType":` + quote(errorType)
}

// statusText is the end of a REPORT or INIT_REPORT line.
func statusText(status, errorType string) string {
	switch {
	case status == statusTimeout:
		return "Status: timeout"
	case errorType != "":
		return "Status: error\tError Type: " + errorType
	}
	return "Status: " + status
}

func (e *environment) initializationType() string {
	if e.provision != nil {
		return "provisioned-concurrency"
	}
	return "on-demand"
}

// initStart is the event of the same name. Only the first of an environment has
// a line of text.
func (e *environment) initStart(i *initialization) event {
	c, phase := &e.version.Config, i.phase
	v := event{kind: "platform.initStart", level: levelInfo, aside: true, record: func(bool) string {
		return fmt.Sprintf(`{"initializationType":"%s","phase":"%s","runtimeVersion":%s,"runtimeVersionArn":%s,"functionName":%s,"functionVersion":%s}`,
			e.initializationType(), phase, quote(lamina.RuntimeVersion(c.Runtime)), quote(lamina.RuntimeVersionARN(e.version.Function.Region, c.Runtime)),
			quote(e.version.Function.Name), quote(e.version.Qualifier()))
	}}
	if !e.restarted {
		v.text = func() string {
			return "INIT_START Runtime Version: " + lamina.RuntimeVersion(c.Runtime) +
				"\tRuntime Version ARN: " + lamina.RuntimeVersionARN(e.version.Function.Region, c.Runtime)
		}
	}
	return v
}

// initEnd is what is said when an initialization is over: what the runtime made
// of it, how far extensions came, and how long it took all together.
func (e *environment) initEnd(i *initialization, status, errorType string, at time.Time) []event {
	kind, phase, took := e.initializationType(), i.phase, at.Sub(i.at)
	runtime, runtimeError := status, errorType
	if _, asked := e.session.AskedAt(); asked {
		runtime, runtimeError = statusSuccess, ""
	}
	events := []event{{kind: "platform.initRuntimeDone", level: failed(runtime, levelDebug), aside: true, record: func(bool) string {
		return fmt.Sprintf(`{"initializationType":"%s","phase":"%s","status":"%s"%s}`, kind, phase, runtime, withError(runtimeError))
	}}}
	for _, x := range e.session.Extensions() {
		events = append(events, extensionEvent(x))
	}
	report := event{kind: "platform.initReport", level: levelDebug, record: func(bool) string {
		return fmt.Sprintf(`{"initializationType":"%s","phase":"%s","status":"%s"%s,"metrics":{"durationMs":%.3f}}`,
			kind, phase, status, withError(errorType), ms(took))
	}}
	if e.provision != nil {
		report.level = levelInfo
	}
	if status != statusSuccess {
		report.level = levelWarn
		report.text = func() string {
			return fmt.Sprintf("INIT_REPORT Init Duration: %.2f ms\tPhase: %s\t%s", ms(took), phase, statusText(status, errorType))
		}
	}
	return append(events, report)
}

func extensionEvent(x runtimeapi.Extension) event {
	events := "[" + strings.Join(x.Events, ", ") + "]"
	l := levelInfo
	if x.ErrorType != "" {
		l = levelWarn
	}
	return event{kind: "platform.extension", level: l, text: func() string {
		line := "EXTENSION\tName: " + x.Name + "\tState: " + x.State + "\tEvents: " + events
		if x.ErrorType != "" {
			line += "\tError Type: " + x.ErrorType
		}
		return line
	}, record: func(bool) string {
		names := x.Events
		if names == nil {
			names = []string{}
		}
		data, err := json.Marshal(struct {
			Name      string   `json:"name"`
			State     string   `json:"state"`
			Events    []string `json:"events"`
			ErrorType string   `json:"errorType,omitempty"`
		}{x.Name, x.State, names, x.ErrorType})
		if err != nil {
			panic(err) // strings
		}
		return string(data)
	}}
}

// subscriptionEvent says that an extension gets telemetry from now on.
func subscriptionEvent(name string, logsAPI bool, types []string) event {
	word := "TELEMETRY"
	if logsAPI {
		word = "LOGS"
	}
	return event{kind: "platform.telemetrySubscription", level: levelInfo, aside: true, text: func() string {
		titles := make([]string, len(types))
		for i, t := range types {
			titles[i] = strings.ToUpper(t[:1]) + t[1:]
		}
		return word + "\tName: " + name + "\tState: Subscribed\tTypes: [" + strings.Join(titles, ", ") + "]"
	}, record: func(bool) string {
		data, err := json.Marshal(struct {
			Name  string   `json:"name"`
			State string   `json:"state"`
			Types []string `json:"types"`
		}{name, "Subscribed", types})
		if err != nil {
			panic(err) // strings
		}
		return string(data)
	}}
}

// tracing is a request's trace as telemetry tells it.
func tracing(r *runtimeapi.Request) string {
	if r.TraceID == "" {
		return ""
	}
	span := ""
	for part := range strings.SplitSeq(r.TraceID, ";") {
		if id, ok := strings.CutPrefix(strings.TrimSpace(part), "Parent="); ok {
			span = `"spanId":` + quote(id) + `,`
		}
	}
	return `,"tracing":{` + span + `"type":"X-Amzn-Trace-Id","value":` + quote(r.TraceID) + `}`
}

// startEvent is START.
func (e *environment) startEvent(r *runtimeapi.Request) event {
	return event{kind: "platform.start", level: levelInfo, text: func() string {
		return "START RequestId: " + r.ID + " Version: " + e.version.Qualifier()
	}, record: func(telemetry bool) string {
		s := `{"requestId":` + quote(r.ID) + `,"version":` + quote(e.version.Qualifier())
		if telemetry {
			s += tracing(r)
		}
		return s + "}"
	}}
}

// runtimeDone says what the runtime made of an invocation. Extensions may still
// be at work.
func (e *environment) runtimeDone(r *runtimeapi.Request, start, end time.Time, status, errorType string, produced int64) event {
	took := max(end.Sub(start), 0)
	return event{kind: "platform.runtimeDone", level: failed(status, levelDebug), record: func(telemetry bool) string {
		metrics := fmt.Sprintf(`"durationMs":%.3f`, ms(took))
		if status == statusSuccess {
			metrics += fmt.Sprintf(`,"producedBytes":%d`, produced)
		}
		s := fmt.Sprintf(`{"requestId":%s,"status":"%s"%s,"metrics":{%s}`, quote(r.ID), status, withError(errorType), metrics)
		if telemetry {
			s += fmt.Sprintf(`,"spans":[{"name":"responseLatency","start":"%s","durationMs":%.3f}]`, stamp(start), ms(took)) + tracing(r)
		}
		return s + "}"
	}}
}

// faultEvent tells the Logs API of a process that exited.
func faultEvent(text string) event {
	return event{kind: "platform.fault", quiet: true, record: func(bool) string { return quote(text) }}
}

// endEvent is END.
func endEvent(requestID string) event {
	return event{
		kind: "platform.end", quiet: true, text: func() string { return "END RequestId: " + requestID },
		record: func(bool) string { return `{"requestId":` + quote(requestID) + `}` },
	}
}

// report is what the REPORT line says.
type report struct {
	request    *runtimeapi.Request
	start, end time.Time
	init       time.Duration // zero unless this was a cold start
	memorySize int64         // MB
	peak       int64         // bytes
	status     string
	errorType  string // as reported
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (r *report) figures() (duration, init float64, billed int64, used int64) {
	duration, init = max(ms(r.end.Sub(r.start)), 0), ms(r.init)
	return duration, init, int64(math.Ceil(duration + init)), (r.peak + 1<<20 - 1) >> 20
}

// events are the last ones of an invocation.
func (r *report) events(fault string) []event {
	events := make([]event, 0, 3)
	if fault != "" {
		events = append(events, faultEvent(fault))
	}
	return append(events, endEvent(r.request.ID),
		event{kind: "platform.report", level: failed(r.status, levelInfo), text: r.text, record: r.record})
}

func (r *report) text() string {
	duration, init, billed, used := r.figures()
	var b strings.Builder
	fmt.Fprintf(&b, "REPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %d ms\tMemory Size: %d MB\tMax Memory Used: %d MB\t",
		r.request.ID, duration, billed, r.memorySize, used)
	if r.init > 0 {
		fmt.Fprintf(&b, "Init Duration: %.2f ms\t", init)
	}
	// The error of a function that its runtime caught is not the platform's.
	if r.status == statusTimeout || (r.status == statusError && errorTypes.MatchString(r.errorType) && !strings.HasPrefix(r.errorType, "Function.")) {
		b.WriteString(statusText(r.status, r.errorType))
	}
	return b.String()
}

func (r *report) record(telemetry bool) string {
	duration, init, billed, used := r.figures()
	metrics := fmt.Sprintf(`"durationMs":%.3f,"billedDurationMs":%d,"memorySizeMB":%d,"maxMemoryUsedMB":%d`, duration, billed, r.memorySize, used)
	if r.init > 0 {
		metrics += fmt.Sprintf(`,"initDurationMs":%.3f`, init)
	}
	errorType := ""
	if r.status == statusError {
		errorType = errorTypeOf(r.errorType)
	}
	s := fmt.Sprintf(`{"requestId":%s,"metrics":{%s},"status":"%s"%s`, quote(r.request.ID), metrics, r.status, withError(errorType))
	if telemetry {
		s += tracing(r.request)
	}
	return s + "}"
}
