package logs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// put puts events: a time after start, in seconds, for each message.
func (f *fixture) put(stream string, events ...any) object {
	f.t.Helper()
	var list []object
	for i := 0; i < len(events); i += 2 {
		list = append(list, object{"timestamp": start.Add(time.Duration(events[i].(int)) * time.Second).UnixMilli(), "message": events[i+1]})
	}
	return f.ask("PutLogEvents", object{"logGroupName": "g", "logStreamName": stream, "logEvents": list})
}

func withStreams(t *testing.T, names ...string) *fixture {
	t.Helper()
	f := open(t, t.TempDir(), 0)
	f.ask("CreateLogGroup", object{"logGroupName": "g"})
	for _, n := range names {
		f.ask("CreateLogStream", object{"logGroupName": "g", "logStreamName": n})
	}
	return f
}

func TestGetLogEventsTokens(t *testing.T) {
	t.Parallel()
	f := withStreams(t, "s", "other")
	f.put("s", 1, "1", 2, "2", 3, "3", 4, "4", 5, "5")
	f.put("other", 3, "other")
	get := func(in object) object {
		t.Helper()
		in["logGroupName"], in["logStreamName"] = "g", "s"
		return f.ask("GetLogEvents", in)
	}
	// From the end, back to the beginning, and there the same token again.
	out := get(object{"limit": 2})
	same(t, "the last two", messages(out), []string{"4", "5"})
	out = get(object{"limit": 2, "nextToken": out["nextBackwardToken"]})
	same(t, "before them", messages(out), []string{"2", "3"})
	out = get(object{"limit": 2, "nextToken": out["nextBackwardToken"]})
	same(t, "the first", messages(out), []string{"1"})
	end := get(object{"limit": 2, "nextToken": out["nextBackwardToken"]})
	same(t, "before the first", messages(end), nil)
	if end["nextBackwardToken"] != out["nextBackwardToken"] {
		t.Errorf("at the beginning the token is %v; want the one given, %v", end["nextBackwardToken"], out["nextBackwardToken"])
	}
	same(t, "and forward again", messages(get(object{"limit": 2, "nextToken": end["nextForwardToken"]})), []string{"1", "2"})

	// From the head to the end, and on when something comes.
	out = get(object{"startFromHead": true, "limit": 4})
	same(t, "the first four", messages(out), []string{"1", "2", "3", "4"})
	out = get(object{"startFromHead": true, "nextToken": out["nextForwardToken"]})
	same(t, "the rest", messages(out), []string{"5"})
	end = get(object{"startFromHead": true, "nextToken": out["nextForwardToken"]})
	if len(messages(end)) != 0 || end["nextForwardToken"] != out["nextForwardToken"] {
		t.Errorf("at the end: %v; want nothing, and the token %v", end, out["nextForwardToken"])
	}
	f.put("s", 6, "6")
	same(t, "what came meanwhile", messages(get(object{"startFromHead": true, "nextToken": end["nextForwardToken"]})), []string{"6"})

	at := func(s int) int64 { return start.Add(time.Duration(s) * time.Second).UnixMilli() }
	same(t, "endTime excludes", messages(get(object{"startTime": at(2), "endTime": at(4)})), []string{"2", "3"})
	same(t, "of FilterLogEvents it includes", messages(f.ask("FilterLogEvents", object{"logGroupName": "g", "logStreamNames": []string{"s"}, "startTime": at(2), "endTime": at(4)})), []string{"2", "3", "4"})

	f.ask("CreateLogStream", object{"logGroupName": "g", "logStreamName": "empty"})
	empty := f.ask("GetLogEvents", object{"logGroupName": "g", "logStreamName": "empty"})
	f.put("empty", 1, "late")
	same(t, "after an empty page", messages(f.ask("GetLogEvents", object{"logGroupName": "g", "logStreamName": "empty", "nextToken": empty["nextForwardToken"]})), []string{"late"})
	for _, token := range []string{"x", "f/", "f/12/s", "b/" + strings.Repeat("9", 56) + "/s", "f/" + strings.Repeat("x", 56) + "/s"} {
		f.refused("GetLogEvents", object{"logGroupName": "g", "logStreamName": "s", "nextToken": token}, "InvalidParameterException", "The specified nextToken is invalid.")
	}
}

// TestPagesAreCompleteAndInOrder compares pages of every size with a plain sort.
func TestPagesAreCompleteAndInOrder(t *testing.T) {
	t.Parallel()
	f := open(t, t.TempDir(), MinBytes*16)
	f.segmentBytes = 2 << 10 // many of them, overlapping
	f.ask("CreateLogGroup", object{"logGroupName": "g"})
	random := rand.New(rand.NewPCG(1, 2))
	type one struct {
		time    int
		n       int
		message string
	}
	var all []one
	for n := 0; n < 400; {
		stream := fmt.Sprintf("s%d", random.IntN(3))
		if _, err := f.try("CreateLogStream", object{"logGroupName": "g", "logStreamName": stream}); err != nil && n == 0 {
			t.Fatal(err)
		}
		var batch []any
		times := make([]int, 1+random.IntN(8))
		for i := range times {
			times[i] = random.IntN(200)
		}
		slices.Sort(times)
		for _, at := range times {
			m := fmt.Sprintf("%d %s", n, stream)
			batch = append(batch, at, m)
			all = append(all, one{at, n, m})
			n++
		}
		f.put(stream, batch...)
	}
	slices.SortFunc(all, func(a, b one) int { return 1000*(a.time-b.time) + a.n - b.n })
	want := func(stream string) (out []string) {
		for _, e := range all {
			if stream == "" || strings.HasSuffix(e.message, stream) {
				out = append(out, e.message)
			}
		}
		return out
	}
	for _, limit := range []int{1, 7, 50, 10_000} {
		var got []string
		in := object{"logGroupName": "g", "limit": limit}
		for {
			out := f.ask("FilterLogEvents", in)
			got = append(got, messages(out)...)
			if out["nextToken"] == nil {
				break
			}
			in["nextToken"] = out["nextToken"]
		}
		same(t, fmt.Sprintf("FilterLogEvents by %d", limit), got, want(""))
		for _, head := range []bool{true, false} {
			got = nil
			in = object{"logGroupName": "g", "logStreamName": "s1", "limit": limit, "startFromHead": head}
			for {
				out := f.ask("GetLogEvents", in)
				token := out["nextForwardToken"]
				if head {
					got = append(got, messages(out)...)
				} else {
					got = append(messages(out), got...)
					token = out["nextBackwardToken"]
				}
				if in["nextToken"] == token {
					break
				}
				in["nextToken"] = token
			}
			same(t, fmt.Sprintf("GetLogEvents by %d, from head %v", limit, head), got, want("s1"))
		}
	}
}

func TestPutLogEventsRejects(t *testing.T) {
	t.Parallel()
	f := withStreams(t, "s")
	day := 24 * 60 * 60
	out := f.put("s", -20*day, "old")
	if fmt.Sprint(out["rejectedLogEventsInfo"]) != "map[tooOldLogEventEndIndex:1]" {
		t.Errorf("an event of three weeks ago: %v", out)
	}
	out = f.put("s", 0, "good", 3*60*60, "new", 4*60*60, "newer")
	if fmt.Sprint(out["rejectedLogEventsInfo"]) != "map[tooNewLogEventStartIndex:1]" {
		t.Errorf("events of the future: %v", out)
	}
	f.ask("PutRetentionPolicy", object{"logGroupName": "g", "retentionInDays": 1})
	out = f.put("s", -day-60, "expired", -60, "fresh")
	if fmt.Sprint(out["rejectedLogEventsInfo"]) != "map[expiredLogEventEndIndex:1]" || len(out["nextSequenceToken"].(string)) != 56 {
		t.Errorf("events before retention: %v", out)
	}
	same(t, "what was taken", messages(f.ask("FilterLogEvents", object{"logGroupName": "g"})), []string{"fresh", "good"})

	at := start.UnixMilli()
	batch := func(events ...object) object {
		return object{"logGroupName": "g", "logStreamName": "s", "logEvents": events}
	}
	large := strings.Repeat("x", 1<<20)
	f.refused("PutLogEvents", batch(object{"timestamp": at, "message": large}), "InvalidParameterException", "Log event too large: 1048602 bytes exceeds limit of 1048576")
	f.refused("PutLogEvents", batch(object{"timestamp": at, "message": large[:800_000]}, object{"timestamp": at, "message": large[:800_000]}), "InvalidParameterException", "Upload too large: 1600052 bytes exceeds limit of 1048576")
	f.refused("PutLogEvents", batch(object{"timestamp": at, "message": "b"}, object{"timestamp": at - 1, "message": "a"}), "InvalidParameterException", "Log events in a single PutLogEvents request must be in chronological order.")
	f.refused("PutLogEvents", batch(object{"timestamp": at - 25*3600*1000, "message": "b"}, object{"timestamp": at, "message": "a"}), "InvalidParameterException", "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
	f.refused("PutLogEvents", batch(object{"timestamp": at, "message": ""}), "InvalidParameterException", "1 validation error detected: Value '' at 'logEvents.1.member.message' failed to satisfy constraint: Member must have length greater than or equal to 1")
	f.refused("PutLogEvents", object{"logGroupName": "g", "logStreamName": "no", "logEvents": []object{{"timestamp": at, "message": "x"}}}, "ResourceNotFoundException", "The specified log stream does not exist.")
	f.refused("PutLogEvents", object{"logGroupName": "no", "logStreamName": "no", "logEvents": []object{{"timestamp": at, "message": "x"}}}, "ResourceNotFoundException", "The specified log group does not exist.")

	// The largest event, and one that is many bytes in few characters.
	f.ask("PutLogEvents", batch(object{"timestamp": at, "message": large[:1<<20-26]}))
	got := messages(f.ask("GetLogEvents", object{"logGroupName": "g", "logStreamName": "s", "limit": 1}))
	if len(got) != 1 || len(got[0]) != 1<<20-26 {
		t.Errorf("the largest event comes back as %d events", len(got))
	}
}

func TestReadStopsWhenThereIsTooMuchToLookThrough(t *testing.T) {
	t.Parallel()
	g, err := withStreams(t, "s").group(groupID{here, "g"})
	if err != nil {
		t.Fatal(err)
	}
	for _, backward := range []bool{false, true} {
		p := page{q: query{from: beginning, to: theEnd, limit: 10, backward: backward}, group: g}
		p.found = []found{{position: position{time: 1}}, {position: position{time: 9}}}
		if !p.stop(position{time: 5}, position{time: 5}) || !p.more || p.edge != (position{time: 5}) || len(p.found) != 1 {
			t.Errorf("backward %v: edge %v, found %v; want to stop at 5", backward, p.edge, p.found)
		}
	}
	p := page{q: query{from: position{time: 5}, to: theEnd}}
	if p.stop(position{time: 5}, position{time: 7}) {
		t.Error("a page stopped where it began: a client would ask for it for ever")
	}
}
