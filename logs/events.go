package logs

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limits of PutLogEvents and of reads.
const (
	batchEvents  = 10_000
	batchBytes   = 1 << 20
	messageBytes = 1 << 20
	batchSpan    = 24 * time.Hour
	tooOld       = 14 * 24 * time.Hour
	pageEvents   = 10_000
	filterNames  = 100
)

// rejected says which events of a batch were not taken, by their index.
type rejected struct {
	TooNewLogEventStartIndex *int `json:"tooNewLogEventStartIndex,omitempty"`
	TooOldLogEventEndIndex   *int `json:"tooOldLogEventEndIndex,omitempty"`
	ExpiredLogEventEndIndex  *int `json:"expiredLogEventEndIndex,omitempty"`
}

func (s *Store) putLogEvents(_ context.Context, c call) (any, error) {
	var in struct {
		LogGroupName  *string
		LogStreamName *string
		SequenceToken *string
		LogEvents     []struct {
			Timestamp *int64
			Message   *string
		}
	}
	if err := decode(c.body, &in); err != nil {
		return nil, err
	}
	var wrong checks
	wrong.needText("logGroupName", in.LogGroupName, groupNameRule)
	wrong.needText("logStreamName", in.LogStreamName, streamNameRule)
	wrong.text("sequenceToken", in.SequenceToken, tokenRule)
	wrong.need("logEvents", in.LogEvents != nil)
	if in.LogEvents != nil {
		wrong.count("logEvents", len(in.LogEvents), 1, batchEvents)
	}
	for i, e := range in.LogEvents {
		at := "logEvents." + strconv.Itoa(i+1) + ".member."
		wrong.need(at+"timestamp", e.Timestamp != nil)
		wrong.number(at+"timestamp", e.Timestamp, 0, 0)
		wrong.need(at+"message", e.Message != nil)
		if e.Message != nil && *e.Message == "" {
			wrong.text(at+"message", e.Message, tokenRule)
		}
		if len(wrong) > 10 {
			break // one wrong client need not read ten thousand lines
		}
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	events := make([]event, len(in.LogEvents))
	size, last := 0, int64(0)
	for i, e := range in.LogEvents {
		events[i] = event{time: *e.Timestamp, message: []byte(*e.Message)}
		n := len(*e.Message) + eventBytes
		switch size += n; {
		case n > messageBytes:
			return nil, invalidParameter("Log event too large: %d bytes exceeds limit of %d", n, messageBytes)
		case *e.Timestamp < last:
			return nil, invalidParameter("Log events in a single PutLogEvents request must be in chronological order.")
		}
		last = *e.Timestamp
	}
	switch {
	case size > batchBytes:
		return nil, invalidParameter("Upload too large: %d bytes exceeds limit of %d", size, batchBytes)
	case last-events[0].time > batchSpan.Milliseconds():
		return nil, invalidParameter("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
	}
	out := struct {
		NextSequenceToken     string    `json:"nextSequenceToken"`
		RejectedLogEventsInfo *rejected `json:"rejectedLogEventsInfo,omitempty"`
	}{}
	err := s.onGroup(c.group(*in.LogGroupName), func(g *group) error {
		id, retention, err := g.lookup(*in.LogStreamName)
		if err != nil {
			return err
		}
		events, refused := accept(events, s.now(), retention)
		if len(events) > 0 {
			if _, err := g.append([]entry{{stream: *in.LogStreamName, events: events}}, synced); err != nil {
				return err
			}
		}
		out.NextSequenceToken = sequenceToken(id)
		if refused != (rejected{}) {
			out.RejectedLogEventsInfo = &refused
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.bound()
	return out, nil
}

// lookup returns the number of a stream that must exist, and the group's retention.
func (g *group) lookup(name string) (id uint64, retention int64, err error) {
	g.writing.Lock()
	defer g.writing.Unlock()
	if err := g.load(); err != nil {
		return 0, 0, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.names[name]
	if s == nil {
		return 0, 0, noStream()
	}
	return s.id, g.about.RetentionInDays, nil
}

// accept returns the events that AWS would take, which are a range, and says what
// became of the others.
func accept(events []event, now time.Time, retention int64) ([]event, rejected) {
	var out rejected
	from, to := 0, len(events)
	oldest := now.Add(-tooOld).UnixMilli()
	for from < to && events[from].time < oldest {
		from++
	}
	if from > 0 {
		n := from
		out.TooOldLogEventEndIndex = &n
	}
	if retention > 0 {
		n := 0
		for expired := now.AddDate(0, 0, -int(retention)).UnixMilli(); n < to && events[n].time < expired; {
			n++
		}
		if n > 0 {
			out.ExpiredLogEventEndIndex = &n
		}
		from = max(from, n)
	}
	for newest := now.Add(future).UnixMilli(); to > from && events[to-1].time > newest; {
		to--
	}
	if to < len(events) {
		n := to
		out.TooNewLogEventStartIndex = &n
	}
	return events[from:to], out
}

// GetLogEvents' tokens name a position and the direction in which it goes on.
func forwardToken(p position) string  { return "f/" + p.digits() + "/s" }
func backwardToken(p position) string { return "b/" + p.digits() + "/s" }

// digits is the position as a number of AWS's length.
func (p position) digits() string { return fmt.Sprintf("%020d%036d", p.time, p.number) }

func parseToken(token string) (p position, backward bool, err error) {
	direction, digits := token[:min(2, len(token))], ""
	if len(token) > 2 {
		var ok bool
		if digits, ok = strings.CutSuffix(token[2:], "/s"); !ok {
			return position{}, false, badToken()
		}
	}
	if direction != "f/" && direction != "b/" || len(digits) != 56 {
		return position{}, false, badToken()
	}
	p, err = parseDigits(digits)
	return p, direction == "b/", err
}

func parseDigits(digits string) (position, error) {
	at, err := strconv.ParseUint(digits[:20], 10, 63)
	number, err2 := strconv.ParseUint(digits[20:], 10, 64)
	if err != nil || err2 != nil {
		return position{}, badToken()
	}
	return position{int64(at), number}, nil
}

// eventOut is an event of one stream.
type eventOut struct {
	Timestamp     int64  `json:"timestamp"`
	Message       string `json:"message"`
	IngestionTime int64  `json:"ingestionTime"`
}

// between is the range that startTime and endTime ask for.
func between(start, end *int64, inclusive bool) (from, to position, err error) {
	from, to = beginning, theEnd
	if start != nil {
		from = position{time: *start}
	}
	if end != nil {
		to = position{time: *end}
		if inclusive {
			to = to.later()
		}
	}
	if start != nil && end != nil && *end < *start {
		return from, to, invalidParameter("The start time must be before or equal to the end time.")
	}
	return from, to, nil
}

func (s *Store) getLogEvents(ctx context.Context, c call) (any, error) {
	var in struct {
		LogGroupName       *string
		LogGroupIdentifier *string
		LogStreamName      *string
		StartTime          *int64
		EndTime            *int64
		NextToken          *string
		Limit              *int64
		StartFromHead      bool
	}
	if err := decode(c.body, &in); err != nil {
		return nil, err
	}
	var wrong checks
	wrong.text("logGroupName", in.LogGroupName, groupNameRule)
	wrong.text("logGroupIdentifier", in.LogGroupIdentifier, identifierRule)
	wrong.needText("logStreamName", in.LogStreamName, streamNameRule)
	wrong.number("startTime", in.StartTime, 0, 0)
	wrong.number("endTime", in.EndTime, 0, 0)
	wrong.text("nextToken", in.NextToken, tokenRule)
	wrong.number("limit", in.Limit, 1, pageEvents)
	if err := wrong.err(); err != nil {
		return nil, err
	}
	from, to, err := between(in.StartTime, in.EndTime, false)
	if err != nil {
		return nil, err
	}
	backward := !in.StartFromHead
	at := position{}
	if in.NextToken != nil {
		if at, backward, err = parseToken(*in.NextToken); err != nil {
			return nil, err
		}
	}
	s.flush()
	g, err := s.groupOf(c, in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	q := query{
		from: from, to: to, backward: backward, limit: pageEvents,
		stream: func(name string) bool { return name == *in.LogStreamName },
	}
	if in.Limit != nil {
		q.limit = int(*in.Limit)
	}
	switch {
	case in.NextToken == nil:
	case backward && at.before(to):
		q.to = at
	case !backward && from.before(at):
		q.from = at
	}
	if _, _, err = g.lookup(*in.LogStreamName); err == nil {
		var r result
		if r, err = g.read(ctx, q); err == nil {
			return eventsPage(q, r, in.NextToken != nil), nil
		}
	}
	if errors.Is(err, errGone) {
		return nil, noGroup()
	}
	return nil, err
}

// eventsPage makes the answer of GetLogEvents. A direction in which there is
// nothing more gets the token that was given, as AWS's clients want it.
func eventsPage(q query, r result, continued bool) any {
	out := struct {
		Events            []eventOut `json:"events"`
		NextForwardToken  string     `json:"nextForwardToken"`
		NextBackwardToken string     `json:"nextBackwardToken"`
	}{Events: make([]eventOut, 0, len(r.events))}
	for _, e := range r.events {
		out.Events = append(out.Events, eventOut{e.time, e.message, e.ingested})
	}
	var begin, end position
	switch n := len(r.events); {
	case n > 0:
		begin, end = r.events[0].position, r.events[n-1].after()
	case r.more: // there was too much to look through
		begin, end = r.edge, r.edge
	case q.backward && continued:
		begin, end = q.to, q.to
	default:
		begin, end = q.from, q.from
	}
	if r.more && q.backward {
		begin = r.edge
	} else if r.more {
		end = r.edge
	}
	out.NextForwardToken, out.NextBackwardToken = forwardToken(end), backwardToken(begin)
	return out
}

// filteredOut is an event of FilterLogEvents.
type filteredOut struct {
	LogStreamName string `json:"logStreamName"`
	Timestamp     int64  `json:"timestamp"`
	Message       string `json:"message"`
	IngestionTime int64  `json:"ingestionTime"`
	EventID       string `json:"eventId"`
}

func (s *Store) filterLogEvents(ctx context.Context, c call) (any, error) {
	var in struct {
		LogGroupName        *string
		LogGroupIdentifier  *string
		LogStreamNames      []string
		LogStreamNamePrefix *string
		StartTime           *int64
		EndTime             *int64
		FilterPattern       *string
		NextToken           *string
		Limit               *int64
	}
	if err := decode(c.body, &in); err != nil {
		return nil, err
	}
	var wrong checks
	wrong.text("logGroupName", in.LogGroupName, groupNameRule)
	wrong.text("logGroupIdentifier", in.LogGroupIdentifier, identifierRule)
	if in.LogStreamNames != nil {
		wrong.count("logStreamNames", len(in.LogStreamNames), 1, filterNames)
		for _, name := range in.LogStreamNames {
			wrong.text("logStreamNames", &name, streamNameRule)
		}
	}
	wrong.text("logStreamNamePrefix", in.LogStreamNamePrefix, streamNameRule)
	wrong.number("startTime", in.StartTime, 0, 0)
	wrong.number("endTime", in.EndTime, 0, 0)
	wrong.text("filterPattern", in.FilterPattern, patternRule)
	wrong.text("nextToken", in.NextToken, tokenRule)
	wrong.number("limit", in.Limit, 1, pageEvents)
	if err := wrong.err(); err != nil {
		return nil, err
	}
	if in.LogStreamNames != nil && in.LogStreamNamePrefix != nil {
		return nil, invalidParameter("LogStreamNamePrefix and LogStreamNames are mutually exclusive parameters.")
	}
	q := query{limit: pageEvents}
	var err error
	if q.from, q.to, err = between(in.StartTime, in.EndTime, true); err != nil {
		return nil, err
	}
	if in.FilterPattern != nil {
		if q.match, err = parsePattern(*in.FilterPattern); err != nil {
			return nil, err
		}
	}
	if in.Limit != nil {
		q.limit = int(*in.Limit)
	}
	if in.NextToken != nil {
		digits, err := base64.RawURLEncoding.DecodeString(*in.NextToken)
		if err != nil || len(digits) != 56 {
			return nil, badToken()
		}
		at, err := parseDigits(string(digits))
		if err != nil {
			return nil, err
		}
		if q.from.before(at) {
			q.from = at
		}
	}
	s.flush()
	g, err := s.groupOf(c, in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, name := range in.LogStreamNames {
		wanted[name] = true
		if _, _, err := g.lookup(name); errors.Is(err, errGone) {
			return nil, noGroup()
		} else if err != nil {
			return nil, err
		}
	}
	q.stream = func(name string) bool {
		switch {
		case in.LogStreamNames != nil:
			return wanted[name]
		case in.LogStreamNamePrefix != nil:
			return strings.HasPrefix(name, *in.LogStreamNamePrefix)
		}
		return true
	}
	r, err := g.read(ctx, q)
	if errors.Is(err, errGone) {
		return nil, noGroup()
	}
	if err != nil {
		return nil, err
	}
	out := struct {
		Events             []filteredOut `json:"events"`
		SearchedLogStreams []struct{}    `json:"searchedLogStreams"` // always empty since 2020
		NextToken          string        `json:"nextToken,omitempty"`
	}{Events: make([]filteredOut, 0, len(r.events)), SearchedLogStreams: []struct{}{}}
	for _, e := range r.events {
		out.Events = append(out.Events, filteredOut{e.stream, e.time, e.message, e.ingested, e.digits()})
	}
	if r.more {
		out.NextToken = base64.RawURLEncoding.EncodeToString([]byte(r.edge.digits()))
	}
	return out, nil
}
