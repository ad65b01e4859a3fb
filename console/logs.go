package console

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// logRooms registers the pages of logs.
func logRooms(c *Console) {
	c.handle("GET logs", (*Console).logGroups)
	c.handle("GET logs/group", (*Console).logGroup)
	c.handle("POST logs/group/retention", (*Console).setLogRetention)
	c.handle("GET logs/tail", (*Console).logTail)
}

const logsTargets = "Logs_20140328."

// logGroupItem is a log group as CloudWatch Logs answers it. Times are in milliseconds.
type logGroupItem struct {
	LogGroupName, Arn         string
	StoredBytes, CreationTime int64
	RetentionInDays           int64
}

// millisText tells a time of CloudWatch Logs.
func millisText(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05 UTC")
}

// Created tells when the group was made.
func (g logGroupItem) Created() string { return millisText(g.CreationTime) }

type logGroupsData struct {
	Groups []logGroupItem
	Query  string
	Cut    bool
	window
}

func (c *Console) logGroups(v *visit) error {
	d := logGroupsData{Query: strings.TrimSpace(v.req.URL.Query().Get("q"))}
	var all []logGroupItem
	cut, err := every(func(token string) (string, error) {
		in := map[string]any{"limit": 50}
		if token != "" {
			in["nextToken"] = token
		}
		var out struct {
			LogGroups []logGroupItem
			NextToken string
		}
		err := v.target(v.context(), "logs", logsTargets+"DescribeLogGroups", in, &out)
		all = append(all, out.LogGroups...)
		return out.NextToken, err
	})
	if err != nil {
		return err
	}
	if words := strings.Fields(strings.ToLower(d.Query)); len(words) > 0 {
		all = slices.DeleteFunc(all, func(g logGroupItem) bool { return !containsAll(strings.ToLower(g.LogGroupName), words) })
	}
	d.Cut = cut
	d.Groups, d.window = windowOf(all, v.req.URL.Query())
	return v.ok("logs", page{Title: "Log groups", Room: "logs", Data: d})
}

// logStreamItem is a stream as CloudWatch Logs answers it.
type logStreamItem struct {
	LogStreamName                                         string
	CreationTime, FirstEventTimestamp, LastEventTimestamp int64
}

// Last tells when the stream's last line was written.
func (s logStreamItem) Last() string { return millisText(s.LastEventTimestamp) }

// logView is a log on a page: what of a group is looked at, and the first of it.
type logView struct {
	Group    string
	Pattern  string
	Streams  []string // none is all
	Since    string   // one of logSpans, or empty with From and To
	From, To string   // as typed
	Live     bool     // lines go on coming: the time has no end
	Text     string
	Next     string // where the next line begins
	More     bool   // there are more lines already
	Wrong    string
	Missing  bool // there is no such group
	Spans    []span
	All      []logStreamItem
	Base     string // path of the page
}

// span is how far back a page looks.
type span struct {
	Name, Text string
	Ago        time.Duration
}

var logSpans = []span{
	{"5m", "the last 5 minutes", 5 * time.Minute},
	{"30m", "the last 30 minutes", 30 * time.Minute},
	{"1h", "the last hour", time.Hour},
	{"3h", "the last 3 hours", 3 * time.Hour},
	{"1d", "the last day", 24 * time.Hour},
	{"14d", "the last 14 days", 14 * 24 * time.Hour},
	{"", "from … to", 0},
}

// TailPath is where the lines after the first ones come from.
func (l *logView) TailPath() string {
	q := url.Values{"group": {l.Group}}
	if l.Pattern != "" {
		q.Set("pattern", l.Pattern)
	}
	for _, s := range l.Streams {
		q.Add("stream", s)
	}
	return at("logs", "tail") + "?" + q.Encode()
}

// NextPath leads to the same page with the lines that follow.
func (l *logView) NextPath() string {
	q := url.Values{"name": {l.Group}, "pattern": {l.Pattern}, "since": {l.Since}, "from": {l.From}, "to": {l.To}, "stream": l.Streams, "next": {l.Next}}
	return l.Base + "?" + q.Encode()
}

// HasStream reports whether a stream was chosen.
func (l *logView) HasStream(name string) bool { return slices.Contains(l.Streams, name) }

type logGroupData struct {
	Item logGroupItem
	Days []int64
	Log  *logView
	denials
}

// retentions are the days that CloudWatch Logs knows.
var retentions = []int64{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

func (c *Console) logGroup(v *visit) error {
	name := v.req.URL.Query().Get("name")
	d := logGroupData{Days: retentions}
	var out struct{ LogGroups []logGroupItem }
	err := v.target(v.context(), "logs", logsTargets+"DescribeLogGroups", map[string]any{"logGroupNamePrefix": name, "limit": 50}, &out)
	if err := d.part("Log group", err); err != nil {
		return err
	}
	d.Item.LogGroupName = name
	for _, g := range out.LogGroups {
		if g.LogGroupName == name {
			d.Item = g
		}
	}
	if d.Log, err = v.logView(name, at("logs", "group"), &d.denials); err != nil {
		return err
	}
	return v.ok("loggroup", page{Title: printable(name), Room: "logs", Trail: []link{{"Log groups", at("logs")}}, Data: d})
}

// logView reads what the query of a page wants to see of a group.
func (v *visit) logView(group, base string, d *denials) (*logView, error) {
	q := v.req.URL.Query()
	l := &logView{Group: group, Pattern: q.Get("pattern"), Streams: q["stream"], Since: "30m", Spans: logSpans, Base: base}
	l.Streams = slices.DeleteFunc(l.Streams[:min(len(l.Streams), 100)], func(s string) bool { return s == "" })
	if q.Has("since") {
		l.Since = q.Get("since")
	}
	now := v.o.Now()
	from, to := now.Add(-30*time.Minute), time.Time{}
	if l.Since == "" {
		l.From, l.To = q.Get("from"), q.Get("to")
		var wrong [2]bool
		from, wrong[0] = typedTime(l.From, now.Add(-30*time.Minute))
		to, wrong[1] = typedTime(l.To, time.Time{})
		if wrong[0] || wrong[1] {
			l.Wrong = "A time looks like 2026-01-31 14:30:00, in UTC."
		}
	}
	for _, s := range logSpans {
		if s.Name == l.Since && s.Ago > 0 {
			from = now.Add(-s.Ago)
		}
	}
	l.Live = to.IsZero()
	var streams struct{ LogStreams []logStreamItem }
	err := v.target(v.context(), "logs", logsTargets+"DescribeLogStreams", map[string]any{"logGroupName": group, "orderBy": "LastEventTime", "descending": true, "limit": 50}, &streams)
	if !refusedWith(err, "ResourceNotFoundException") {
		if err := d.part("Streams", err); err != nil {
			return nil, err
		}
	}
	l.All = streams.LogStreams
	for _, s := range l.Streams {
		if !slices.ContainsFunc(l.All, func(i logStreamItem) bool { return i.LogStreamName == s }) {
			l.All = append(l.All, logStreamItem{LogStreamName: s})
		}
	}
	t := tailing{Spans: []tailed{{Time: from.UnixMilli()}}}
	if !to.IsZero() {
		t.Until = to.UnixMilli()
	}
	if q.Get("next") != "" {
		if next, ok := readTailing(q.Get("next")); ok {
			t = next
		}
	}
	text, more, err := v.readTail(group, l.Pattern, l.Streams, &t, firstEvents, firstBytes)
	switch r, ok := err.(*refusal); { //nolint:errorlint // nothing wraps it
	case ok && r.Code == "ResourceNotFoundException":
		l.Missing = true
	case ok && r.isDenial():
		if err := d.part("Log events", err); err != nil {
			return nil, err
		}
		l.Live = false
	case ok:
		l.Wrong, l.Live = r.Message, false
	case err != nil:
		return nil, err
	}
	l.Text, l.More, l.Next = text, more, t.text()
	return l, nil
}

// typedTime reads a time as people type it, or a browser's field does.
func typedTime(text string, absent time.Time) (_ time.Time, wrong bool) {
	text = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSpace(text), "Z"), " UTC")
	if text == "" {
		return absent, false
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, false
		}
	}
	return absent, true
}

const (
	firstEvents = 500         // lines of a page
	firstBytes  = 64 << 10    // of them in the page, but for one line
	tailEvents  = 10_000      // lines of one answer to a page that follows
	tailBytes   = math.MaxInt // as much as a page of the service has: 1 MB

	// lateness is how long after its time a line may arrive and is still shown.
	lateness = 10 * time.Second
	maxTails = 16
)

// tailing is how far a log was read. It goes to the browser and back, so it is
// small. Reading is by time, but a line may arrive late, after later ones of another
// environment were shown; so the last seconds are read again, and what was
// shown is known by its number: events of a group are numbered as they arrive.
//
// Each span is a part of the time that was read at once, up to the next span's
// begin. What arrived before that read and is in it was shown.
type tailing struct {
	Spans []tailed `json:"s"`
	Token string   `json:"t,omitempty"` // to go on where a page of the answer ended
	Until int64    `json:"u,omitempty"` // milliseconds; 0 is no end
}

type tailed struct {
	Time   int64  `json:"t"` // milliseconds
	Number uint64 `json:"n,omitempty"`
	Seen   uint64 `json:"m,omitempty"` // the greatest number in the span
}

// compare orders the begins of spans.
func (s tailed) compare(o tailed) int {
	return cmp.Or(cmp.Compare(s.Time, o.Time), cmp.Compare(s.Number, o.Number))
}

func (t *tailing) text() string {
	text, err := json.Marshal(t)
	if err != nil {
		return "" // numbers and a token
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func readTailing(text string) (t tailing, ok bool) {
	plain, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(plain, &t) != nil || len(t.Spans) == 0 || len(t.Spans) > 2*maxTails {
		return tailing{}, false
	}
	return t, true
}

// seen is the greatest number that was shown of the span that a place is in. What is
// ahead of all spans is not shown again.
func (t *tailing) seen(at tailed) uint64 {
	for _, s := range slices.Backward(t.Spans) {
		if s.compare(at) <= 0 {
			return s.Seen
		}
	}
	return math.MaxUint64
}

// logEvent is an event as FilterLogEvents answers it.
type logEvent struct {
	LogStreamName, Message, EventID string
	Timestamp                       int64
}

// place is where the event is in its group. Its identifier ends in its number,
// which begins with 1 here, so that 0 is none.
func (e *logEvent) place() tailed {
	at := tailed{Time: e.Timestamp}
	if len(e.EventID) > 20 {
		if n, err := strconv.ParseUint(e.EventID[20:], 10, 63); err == nil {
			at.Number = n + 1
		}
	}
	return at
}

// readTail asks for the events that follow what was read, at most some of them, and
// moves t behind them. More reports that there are more already.
func (v *visit) readTail(group, pattern string, streams []string, t *tailing, events, bytes int) (_ string, more bool, err error) {
	in := map[string]any{"logGroupName": group, "startTime": t.Spans[0].Time, "limit": events}
	if t.Until > 0 {
		in["endTime"] = t.Until
	}
	if pattern != "" {
		in["filterPattern"] = pattern
	}
	if len(streams) > 0 {
		in["logStreamNames"] = streams
	}
	if t.Token != "" {
		in["nextToken"] = t.Token
	}
	var out struct {
		Events    []logEvent
		NextToken string
	}
	if err := v.target(v.context(), "logs", logsTargets+"FilterLogEvents", in, &out); err != nil {
		return "", false, err
	}
	var text strings.Builder
	read := 0
	for shown := 0; read < len(out.Events) && shown < bytes; read++ {
		if e := &out.Events[read]; e.place().Number > t.seen(e.place()) {
			line := eventLine(e)
			shown += escapedBytes(line)
			text.WriteString(line)
		}
	}
	cut := read < len(out.Events)
	t.advance(out.Events[:read], cut, out.NextToken, v.o.Now())
	return text.String(), cut || out.NextToken != "", nil
}

// advance notes the events of one read. More may follow: on its pages, with the
// token, or because it was cut.
func (t *tailing) advance(read []logEvent, cut bool, token string, now time.Time) {
	if cut {
		token = ""
	}
	complete := !cut && token == ""
	if len(read) > 0 {
		begin, last := t.Spans[0], read[len(read)-1].place()
		if t.Token != "" { // the page begins where the one before ended
			for _, s := range t.Spans {
				if s.compare(read[0].place()) <= 0 {
					begin = s
				}
			}
		}
		begin.Seen = 0
		for i := range read {
			begin.Seen = max(begin.Seen, read[i].place().Number)
		}
		var spans []tailed
		for _, s := range t.Spans {
			if s.compare(begin) < 0 {
				spans = append(spans, s)
			}
		}
		spans = append(spans, begin)
		if !complete { // behind the last event all is as it was
			end := tailed{Time: last.Time, Number: last.Number + 1}
			end.Seen = t.seen(end)
			spans = append(spans, end)
			for _, s := range t.Spans {
				if s.compare(end) > 0 {
					spans = append(spans, s)
				}
			}
		}
		t.Spans = spans
		t.forget(last.Time - lateness.Milliseconds())
	}
	t.Token = token
	if complete && t.Until == 0 {
		t.forget(now.Add(-lateness).UnixMilli())
	}
}

// forget lets go of what was before a time, and of too many spans.
func (t *tailing) forget(before int64) {
	for len(t.Spans) > maxTails || len(t.Spans) > 1 && t.Spans[1].Time <= before {
		t.Spans = t.Spans[1:]
	}
	if t.Spans[0].Time < before {
		t.Spans[0].Time, t.Spans[0].Number = before, 0
	}
}

// eventLine is an event for people: when, from which environment, what.
func eventLine(e *logEvent) string {
	stream := e.LogStreamName
	if i := strings.LastIndexByte(stream, ']'); i >= 0 {
		stream = stream[i+1:]
	}
	if len(stream) > 6 {
		stream = stream[:6]
	}
	return fmt.Sprintf("%s %-6s %s\n", time.UnixMilli(e.Timestamp).UTC().Format("2006-01-02 15:04:05.000"), printable(stream), logText(strings.TrimRight(e.Message, "\n")))
}

// logTail answers the lines that follow as text, and where the next ones begin.
func (c *Console) logTail(v *visit) error {
	q := v.req.URL.Query()
	t, ok := readTailing(q.Get("next"))
	if !ok {
		t = tailing{Spans: []tailed{{Time: v.o.Now().UnixMilli()}}}
	}
	text, more, err := v.readTail(q.Get("group"), q.Get("pattern"), q["stream"], &t, tailEvents, tailBytes)
	h := v.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if r, ok := err.(*refusal); ok { //nolint:errorlint // nothing wraps it
		if r.Code == "ResourceNotFoundException" { // its first line makes the group
			h.Set("X-Next", t.text())
			return nil
		}
		http.Error(v.w, r.Message, r.Status)
		return nil
	}
	if err != nil {
		return err
	}
	h.Set("X-Next", t.text())
	if more {
		h.Set("X-More", "1")
	}
	_, _ = v.w.Write([]byte(text)) // a browser that left is no news
	return nil
}

func (c *Console) setLogRetention(v *visit) error {
	form := v.req.PostForm
	name := form.Get("name")
	back := at("logs", "group") + "?name=" + url.QueryEscape(name)
	in := map[string]any{"logGroupName": name}
	operation := "DeleteRetentionPolicy"
	if form.Get("days") != "" {
		days, err := fieldNumber(form, "days", "Days")
		if err != nil {
			return v.notDone(back, err)
		}
		operation, in["retentionInDays"] = "PutRetentionPolicy", days
	}
	if err := v.target(v.context(), "logs", logsTargets+operation, in, nil); err != nil {
		return v.notDone(back, err)
	}
	return v.done(back, "Retention saved")
}

type functionLogsData struct {
	*functionHead
	Log *logView
}

func (c *Console) functionLogs(v *visit) error {
	h, err := v.functionHead("logs")
	if err != nil {
		return err
	}
	d := functionLogsData{functionHead: h}
	if d.Log, err = v.logView(h.Config.LogGroup(), at("functions", h.Name, "logs"), &h.denials); err != nil {
		return err
	}
	return v.showFunction("functionlogs", "Logs", h, d)
}
