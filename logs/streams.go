package logs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// streamName reads a request that names a stream.
func (c call) streamName() (id groupID, stream string, err error) {
	var in struct{ LogGroupName, LogStreamName *string }
	if err := decode(c.body, &in); err != nil {
		return groupID{}, "", err
	}
	var wrong checks
	wrong.needText("logGroupName", in.LogGroupName, groupNameRule)
	wrong.needText("logStreamName", in.LogStreamName, streamNameRule)
	if err := wrong.err(); err != nil {
		return groupID{}, "", err
	}
	return c.group(*in.LogGroupName), *in.LogStreamName, nil
}

func (s *Store) createLogStream(_ context.Context, c call) (any, error) {
	id, name, err := c.streamName()
	if err != nil {
		return nil, err
	}
	return nil, s.onGroup(id, func(g *group) error { return g.createStream(name) })
}

func (s *Store) deleteLogStream(_ context.Context, c call) (any, error) {
	id, name, err := c.streamName()
	if err != nil {
		return nil, err
	}
	s.flush() // what was printed before goes with the stream
	return nil, s.onGroup(id, func(g *group) error { return g.deleteStream(name) })
}

// onGroup does something to a group that must exist.
func (s *Store) onGroup(id groupID, do func(*group) error) error {
	g, err := s.group(id)
	if err == nil {
		err = do(g)
	}
	if errors.Is(err, errGone) {
		return noGroup()
	}
	return err
}

// streamOut is a stream as answers have it.
type streamOut struct {
	LogStreamName       string `json:"logStreamName"`
	CreationTime        int64  `json:"creationTime"`
	FirstEventTimestamp *int64 `json:"firstEventTimestamp,omitempty"`
	LastEventTimestamp  *int64 `json:"lastEventTimestamp,omitempty"`
	LastIngestionTime   *int64 `json:"lastIngestionTime,omitempty"`
	UploadSequenceToken string `json:"uploadSequenceToken,omitempty"`
	ARN                 string `json:"arn"`
	StoredBytes         int64  `json:"storedBytes"` // always 0 since 2019
}

func (g *group) streamOut(s *stream) streamOut {
	out := streamOut{LogStreamName: s.name, CreationTime: s.created, ARN: g.id.ARN() + ":log-stream:" + s.name}
	if s.from != 0 {
		out.FirstEventTimestamp, out.LastEventTimestamp, out.LastIngestionTime = &s.first, &s.last, &s.ingested
		out.UploadSequenceToken = sequenceToken(s.id)
	}
	return out
}

// sequenceToken is of the form that AWS still answers, and nobody needs any more.
func sequenceToken(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	return "49" + strings.Repeat("0", 54-len(digits)) + digits
}

func (s *Store) describeLogStreams(_ context.Context, c call) (any, error) {
	var in struct {
		LogGroupName        *string
		LogGroupIdentifier  *string
		LogStreamNamePrefix *string
		OrderBy             *string
		Descending          bool
		NextToken           *string
		Limit               *int64
	}
	if err := decode(c.body, &in); err != nil {
		return nil, err
	}
	var wrong checks
	wrong.text("logGroupName", in.LogGroupName, groupNameRule)
	wrong.text("logGroupIdentifier", in.LogGroupIdentifier, identifierRule)
	wrong.text("logStreamNamePrefix", in.LogStreamNamePrefix, streamNameRule)
	wrong.oneOf("orderBy", in.OrderBy, "LogStreamName", "LastEventTime")
	wrong.text("nextToken", in.NextToken, tokenRule)
	wrong.number("limit", in.Limit, 1, describeLimit)
	if err := wrong.err(); err != nil {
		return nil, err
	}
	byTime := in.OrderBy != nil && *in.OrderBy == "LastEventTime"
	if byTime && in.LogStreamNamePrefix != nil {
		return nil, invalidParameter("Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	after, err := unmark(in.NextToken)
	if err != nil {
		return nil, err
	}
	s.flush()
	g, err := s.groupOf(c, in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	prefix := ""
	if in.LogStreamNamePrefix != nil {
		prefix = *in.LogStreamNamePrefix
	}
	all, err := g.streams(prefix)
	if errors.Is(err, errGone) {
		return nil, noGroup()
	}
	if err != nil {
		return nil, err
	}
	order := func(a, b *stream) int {
		n := strings.Compare(a.name, b.name)
		if byTime {
			n = cmp.Or(cmp.Compare(a.lastOrCreated(), b.lastOrCreated()), n)
		}
		if in.Descending {
			return -n
		}
		return n
	}
	slices.SortFunc(all, order)
	if after != "" {
		last := stream{name: after}
		if byTime {
			at, name, _ := strings.Cut(after, " ")
			last.name = name
			if last.created, err = strconv.ParseInt(at, 10, 64); err != nil {
				return nil, badToken()
			}
		}
		n, found := slices.BinarySearchFunc(all, &last, order)
		if found {
			n++
		}
		all = all[n:]
	}
	limit := describeLimit
	if in.Limit != nil {
		limit = int(*in.Limit)
	}
	out := struct {
		LogStreams []streamOut `json:"logStreams"`
		NextToken  string      `json:"nextToken,omitempty"`
	}{LogStreams: []streamOut{}}
	for i, st := range all {
		if i == limit {
			last := all[i-1]
			key := last.name
			if byTime {
				key = strconv.FormatInt(last.lastOrCreated(), 10) + " " + key
			}
			out.NextToken = mark(key)
			break
		}
		out.LogStreams = append(out.LogStreams, g.streamOut(st))
	}
	return out, nil
}

// lastOrCreated is the time of the last event; streams without events are in the
// order of their creation.
func (s *stream) lastOrCreated() int64 {
	if s.from == 0 {
		return s.created
	}
	return s.last
}

// streams returns copies of those with a prefix.
func (g *group) streams(prefix string) ([]*stream, error) {
	g.writing.Lock()
	defer g.writing.Unlock()
	if err := g.load(); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []*stream
	for name, s := range g.names {
		if strings.HasPrefix(name, prefix) {
			one := *s
			all = append(all, &one)
		}
	}
	return all, nil
}
