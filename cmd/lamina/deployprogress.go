package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stackEvent is what DescribeStackEvents tells.
type stackEvent struct {
	ID         string    `xml:"EventId"`
	StackID    string    `xml:"StackId"`
	LogicalID  string    `xml:"LogicalResourceId"`
	PhysicalID string    `xml:"PhysicalResourceId"`
	Type       string    `xml:"ResourceType"`
	Time       time.Time `xml:"Timestamp"`
	Status     string    `xml:"ResourceStatus"`
	Reason     string    `xml:"ResourceStatusReason"`
	Properties string    `xml:"ResourceProperties"`
}

// ofStack reports whether the event is about the stack itself.
func (e stackEvent) ofStack() bool { return e.PhysicalID == e.StackID }

func (e stackEvent) failed() bool {
	return strings.HasSuffix(e.Status, "_FAILED") && !strings.Contains(e.Reason, "cancelled")
}

// maxEventPages bounds how far back events are read at once.
const maxEventPages = 50

// events returns the events of a stack since one, the oldest first.
func (c *stackClient) events(ctx context.Context, stackID, since string) ([]stackEvent, error) {
	var out []stackEvent
	in := url.Values{"StackName": {stackID}}
	for range maxEventPages {
		var page struct {
			Events []stackEvent `xml:"DescribeStackEventsResult>StackEvents>member"`
			Next   string       `xml:"DescribeStackEventsResult>NextToken"`
		}
		if err := c.stacks(ctx, "DescribeStackEvents", in, &page); err != nil {
			return nil, err
		}
		i := slices.IndexFunc(page.Events, func(e stackEvent) bool { return since != "" && e.ID == since })
		if i >= 0 {
			out = append(out, page.Events[:i]...)
			break
		}
		out = append(out, page.Events...)
		if page.Next == "" {
			break
		}
		in.Set("NextToken", page.Next)
	}
	slices.Reverse(out)
	return out, nil
}

// follower shows what happens to a stack: as a table that changes on a terminal,
// else line by line.
type follower struct {
	api     *stackClient
	stackID string
	notes   io.Writer
	screen  *os.File  // nil when notes is no terminal
	since   string    // the last event seen
	started bool      // an event was seen
	began   time.Time // of the first event, by the server's clock
	rows    []*progressRow
	failed  []stackEvent
	drawn   int // lines of the table on the screen
	ended   bool
}

// progressRow is one resource.
type progressRow struct {
	stackEvent
	from time.Time // when what happens to it began
}

// follow remembers what has happened already.
func (d *deployer) follow(ctx context.Context, stackID string) (*follower, error) {
	before, err := d.api.events(ctx, stackID, "")
	if err != nil && !isStatus(err, 400) { // a stack under review has none
		return nil, fmt.Errorf("look at the stack: %w", err)
	}
	f := &follower{api: d.api, stackID: stackID, notes: d.notes, began: time.Now()}
	if len(before) > 0 {
		f.since = before[len(before)-1].ID
	}
	if file, ok := d.notes.(*os.File); ok {
		if _, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ); err == nil {
			f.screen = file
		}
	}
	return f, nil
}

// look shows what is new.
func (f *follower) look(ctx context.Context) error {
	events, err := f.api.events(ctx, f.stackID, f.since)
	if err != nil {
		return err
	}
	for _, e := range events {
		if f.since = e.ID; !f.started {
			f.started, f.began = true, e.Time
		}
		if e.failed() && !e.ofStack() {
			f.failed = append(f.failed, e)
		}
		if f.note(e) && f.screen == nil {
			fmt.Fprintln(f.notes, f.line(e, e.Time.Sub(f.began)))
		}
	}
	if f.screen != nil && len(f.rows) > 0 {
		f.draw()
	}
	return nil
}

// note keeps the row of a resource, and reports whether it says something new.
func (f *follower) note(e stackEvent) bool {
	if e.ofStack() {
		return true
	}
	i := slices.IndexFunc(f.rows, func(r *progressRow) bool { return r.LogicalID == e.LogicalID })
	if i < 0 {
		f.rows = append(f.rows, &progressRow{stackEvent: e, from: e.Time})
		return true
	}
	row := f.rows[i]
	same := row.Status == e.Status
	if strings.HasSuffix(e.Status, "_IN_PROGRESS") && !strings.HasSuffix(row.Status, "_IN_PROGRESS") {
		row.from = e.Time
	}
	row.stackEvent = e
	return !same
}

func (f *follower) line(e stackEvent, took time.Duration) string {
	line := fmt.Sprintf("%7s  %-20s %-28s %s", seconds(max(0, took)), e.Status, e.LogicalID, e.Type)
	if strings.HasSuffix(e.Status, "_FAILED") || e.ofStack() && strings.Contains(e.Status, "ROLLBACK") {
		line += "  " + oneLine(e.Reason)
	}
	return strings.TrimRight(line, " ")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// draw writes the table over the one before.
func (f *follower) draw() {
	size, err := unix.IoctlGetWinsize(int(f.screen.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return // it was one a moment ago
	}
	width, height := cmp.Or(int(size.Col), 80), cmp.Or(int(size.Row), 24)
	var out strings.Builder
	if f.drawn > 0 {
		fmt.Fprintf(&out, "\x1b[%dA", f.drawn)
	}
	rows, done := f.rows, 0
	for _, r := range rows {
		if !strings.HasSuffix(r.Status, "_IN_PROGRESS") {
			done++
		}
	}
	if most := max(1, height-3); len(rows) > most {
		// What is under way or went wrong is what matters.
		rows = slices.DeleteFunc(slices.Clone(rows), func(r *progressRow) bool { return strings.HasSuffix(r.Status, "_COMPLETE") })
		rows = rows[max(0, len(rows)-most):]
	}
	lines := make([]string, 0, len(rows)+1)
	for _, r := range rows {
		took := r.Time.Sub(r.from)
		if strings.HasSuffix(r.Status, "_IN_PROGRESS") {
			took = time.Since(r.from)
		}
		lines = append(lines, f.line(r.stackEvent, took))
	}
	lines = append(lines, fmt.Sprintf("%7s  %d of %d resources", seconds(time.Since(f.began)), done, len(f.rows)))
	for _, line := range lines {
		if text := []rune(line); len(text) >= width {
			line = string(text[:max(0, width-1)])
		}
		out.WriteString(line + "\x1b[K\n")
	}
	out.WriteString("\x1b[J")
	f.drawn = len(lines)
	fmt.Fprint(f.screen, out.String())
}

// close leaves the last table where it is.
func (f *follower) close() {
	if f.screen != nil && !f.ended && len(f.rows) > 0 {
		f.draw()
	}
	f.ended = true
}

// why tells the cause of a stack that did not become what was wanted.
func (d *deployer) why(ctx context.Context, f *follower, now stackState) error {
	ended := fmt.Errorf("%s is in %s", d.name, now.Status)
	if len(f.failed) == 0 {
		if now.Reason != "" {
			ended = fmt.Errorf("%w: %s", ended, oneLine(now.Reason))
		}
		return ended
	}
	first := d.cause(ctx, f.failed[0], 0)
	err := fmt.Errorf("%w\n  %s %s: %s", ended, first.LogicalID, first.Status, oneLine(first.Reason))
	if tail := d.log(ctx, first); len(tail) > 0 {
		err = fmt.Errorf("%w\n  the last of its log:\n    %s", err, strings.Join(tail, "\n    "))
	}
	return err
}

// cause follows a nested stack that failed to what failed in it.
func (d *deployer) cause(ctx context.Context, e stackEvent, depth int) stackEvent {
	if e.Type != "AWS::CloudFormation::Stack" || e.PhysicalID == "" || depth >= maxNested {
		return e
	}
	events, err := d.api.events(ctx, e.PhysicalID, "")
	if err != nil {
		return e // what is known has to do
	}
	// Only since the stack's latest beginning.
	for i, one := range slices.Backward(events) {
		if one.ofStack() && (one.Status == "CREATE_IN_PROGRESS" || one.Status == "UPDATE_IN_PROGRESS" || one.Status == "DELETE_IN_PROGRESS") {
			events = events[i:]
			break
		}
	}
	for _, one := range events {
		if one.failed() && !one.ofStack() {
			inner := d.cause(ctx, one, depth+1)
			inner.LogicalID = e.LogicalID + "." + inner.LogicalID
			return inner
		}
	}
	return e
}

// logTail is how many lines of a function's log are shown.
const logTail = 15

// log returns the last lines that the function of a custom resource printed.
func (d *deployer) log(ctx context.Context, e stackEvent) []string {
	var properties struct{ ServiceToken string }
	if err := json.Unmarshal([]byte(e.Properties), &properties); err != nil {
		return nil
	}
	_, rest, ok := strings.Cut(properties.ServiceToken, ":function:")
	if !ok {
		return nil
	}
	function, _, _ := strings.Cut(rest, ":")
	var out struct {
		Events []struct{ Message string }
	}
	err := d.api.logs(ctx, "FilterLogEvents", map[string]any{
		"logGroupName": "/aws/lambda/" + function, "startTime": e.Time.Add(-5 * time.Minute).UnixMilli(), "endTime": e.Time.Add(time.Second).UnixMilli(), "limit": 1000,
	}, &out)
	if err != nil {
		return nil // there may be no log
	}
	var lines []string
	for _, event := range out.Events {
		lines = append(lines, strings.Split(strings.TrimRight(event.Message, "\n"), "\n")...)
	}
	return lines[max(0, len(lines)-logTail):]
}
