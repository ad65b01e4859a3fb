package logs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/lamina-run/lamina"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	here  = lamina.Scope{Account: "000000000000", Region: "eu-central-1"}
	start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
)

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// fixture is a store, and the way to ask it.
type fixture struct {
	*Store
	t     testing.TB
	clock *clock
	log   *bytes.Buffer
}

func open(t testing.TB, dir string, bytesMax int64) *fixture {
	t.Helper()
	return openAt(t, dir, bytesMax, &clock{at: start})
}

func openAt(t testing.TB, dir string, bytesMax int64, c *clock) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: c, log: &bytes.Buffer{}}
	s, err := Open(Options{Dir: dir, Bytes: bytesMax, Log: slog.New(slog.NewTextHandler(f.log, nil)), Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	f.Store = s
	return f
}

type object = map[string]any

// ask answers an operation that must succeed.
func (f *fixture) ask(operation string, in object) object {
	f.t.Helper()
	out, err := f.try(operation, in)
	if err != nil {
		f.t.Fatalf("%s(%v) = %v", operation, in, err)
	}
	return out
}

func (f *fixture) try(operation string, in object) (object, error) {
	f.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		f.t.Fatal(err)
	}
	text, err := f.Answer(f.t.Context(), here, operation, body)
	if err != nil || text == nil {
		return nil, err
	}
	var out object
	if err := json.Unmarshal(text, &out); err != nil {
		f.t.Fatalf("%s answered %s: %v", operation, text, err)
	}
	return out, nil
}

// refused wants an exception.
func (f *fixture) refused(operation string, in object, code, message string) {
	f.t.Helper()
	_, err := f.try(operation, in)
	e, ok := errors.AsType[*Exception](err)
	if !ok || e.Code != code || e.Message != message {
		f.t.Errorf("%s(%v) = %v; want %s: %s", operation, in, err, code, message)
	}
}

func messages(out object) []string {
	var all []string
	for _, e := range out["events"].([]any) {
		all = append(all, e.(object)["message"].(string))
	}
	return all
}

// version is one of a function that logs to its own group.
func version(name string) *lamina.Version {
	return &lamina.Version{Function: lamina.FunctionID{Scope: here, Name: name}}
}

// print writes lines as an environment would.
func (f *fixture) print(name, stream string, lines ...string) {
	for _, l := range lines {
		f.Write(version(name), stream, f.clock.now(), []byte(l))
	}
}

func same(t testing.TB, what string, got, want []string) {
	t.Helper()
	if strings.Join(got, "|") != strings.Join(want, "|") || len(got) != len(want) {
		t.Errorf("%s = %q; want %q", what, got, want)
	}
}

const hello = "/aws/lambda/hello"

func TestWhatIsPrintedIsReadAtOnce(t *testing.T) {
	t.Parallel()
	f := open(t, t.TempDir(), 0)
	f.print("hello", "2026/03/04/[$LATEST]aa", "START", "a <b>", "END")
	out := f.ask("GetLogEvents", object{"logGroupName": hello, "logStreamName": "2026/03/04/[$LATEST]aa"})
	same(t, "events", messages(out), []string{"START\n", "a <b>\n", "END\n"})

	groups := f.ask("DescribeLogGroups", object{"logGroupNamePrefix": "/aws/lambda/"})["logGroups"].([]any)
	g := groups[0].(object)
	if got, want := g["arn"], "arn:aws:logs:eu-central-1:000000000000:log-group:/aws/lambda/hello:*"; len(groups) != 1 || got != want {
		t.Errorf("groups %v; want one with ARN %s", groups, want)
	}
	if g["storedBytes"].(float64) < 3*eventBytes {
		t.Errorf("storedBytes %v; want what three events have", g["storedBytes"])
	}
	streams := f.ask("DescribeLogStreams", object{"logGroupName": hello, "orderBy": "LastEventTime", "descending": true})["logStreams"].([]any)
	st := streams[0].(object)
	if int64(st["lastEventTimestamp"].(float64)) != start.UnixMilli() || st["arn"] != "arn:aws:logs:eu-central-1:000000000000:log-group:/aws/lambda/hello:log-stream:2026/03/04/[$LATEST]aa" {
		t.Errorf("stream %v", st)
	}
	// Another group, when the function says so; nobody else's account or region.
	v := version("hello")
	v.Config.Logging.Group = "my/group"
	f.Write(v, "s", start, []byte("x"))
	same(t, "own group", messages(f.ask("FilterLogEvents", object{"logGroupName": "my/group"})), []string{"x\n"})
	for _, scope := range []lamina.Scope{{Account: "111111111111", Region: here.Region}, {Account: here.Account, Region: "us-east-1"}} {
		_, err := f.Answer(t.Context(), scope, "FilterLogEvents", []byte(`{"logGroupName":"my/group"}`))
		if e, ok := errors.AsType[*Exception](err); !ok || e.Message != "The specified log group does not exist." {
			t.Errorf("FilterLogEvents as %v = %v; want that there is no group", scope, err)
		}
	}
}

func TestRunWritesWithinMoments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := open(t, dir, 0)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		f.print("hello", "s", "one")
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if files, _ := filepath.Glob(filepath.Join(dir, "*/*/*/*.log")); len(files) != 1 {
			t.Errorf("after 100 ms there are the segments %v; want one", files)
		}
		f.print("hello", "s", "two") // Run's end writes it
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	f := open(t, dir, 0)
	same(t, "after a restart", messages(f.ask("FilterLogEvents", object{"logGroupName": hello})), []string{"one\n", "two\n"})
}

// files returns the files of the only group with a suffix.
func files(t *testing.T, dir, pattern string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*/*/*", pattern))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSurvivesACrash(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		crash func(t *testing.T, dir string)
		want  []string
	}{
		{"nothing saved", func(*testing.T, string) {}, []string{"one\n", "two\n", "three\n"}},
		{"a torn frame at the end", func(t *testing.T, dir string) {
			name := files(t, dir, "*.log")[0]
			info, err := os.Stat(name)
			if err == nil {
				err = os.Truncate(name, info.Size()-3)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, []string{"one\n", "two\n"}},
		{"zeros at the end", func(t *testing.T, dir string) {
			file, err := os.OpenFile(files(t, dir, "*.log")[0], os.O_WRONLY|os.O_APPEND, 0)
			if err == nil {
				_, err = file.Write(make([]byte, 5000))
			}
			if err = errors.Join(err, file.Close()); err != nil {
				t.Fatal(err)
			}
		}, []string{"one\n", "two\n", "three\n"}},
		{"an index of rubbish", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(filepath.Dir(files(t, dir, "*.log")[0]), indexFile), []byte("rubbish"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"one\n", "two\n", "three\n"}},
	} {
		for _, saved := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, index saved %v", c.name, saved), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				f := open(t, dir, 0)
				f.ask("CreateLogGroup", object{"logGroupName": hello, "tags": object{"a": "b"}})
				f.ask("CreateLogStream", object{"logGroupName": hello, "logStreamName": "empty"})
				f.ask("CreateLogStream", object{"logGroupName": hello, "logStreamName": "deleted"})
				f.ask("DeleteLogStream", object{"logGroupName": hello, "logStreamName": "deleted"})
				f.print("hello", "s", "one")
				f.flush()
				if saved {
					if err := f.close(); err != nil {
						t.Fatal(err)
					}
				}
				f.print("hello", "s", "two")
				f.flush()
				f.print("hello", "s", "three")
				f.flush()
				c.crash(t, dir)
				f = open(t, dir, 0)
				f.print("hello", "s", "after")
				same(t, "events", messages(f.ask("FilterLogEvents", object{"logGroupName": hello})), append(c.want, "after\n"))
				streams := f.ask("DescribeLogStreams", object{"logGroupName": hello})["logStreams"].([]any)
				if len(streams) != 2 || streams[0].(object)["logStreamName"] != "empty" {
					t.Errorf("streams %v; want empty and s", streams)
				}
				// And once more, with nothing to repair.
				f = open(t, dir, 0)
				same(t, "events again", messages(f.ask("FilterLogEvents", object{"logGroupName": hello})), append(c.want, "after\n"))
				if f.log.Len() > 0 {
					t.Errorf("the second start says %s", f.log)
				}
				tags := f.ask("ListTagsForResource", object{"resourceArn": "arn:aws:logs:eu-central-1:000000000000:log-group:" + hello})["tags"]
				if fmt.Sprint(tags) != "map[a:b]" {
					t.Errorf("tags %v", tags)
				}
			})
		}
	}
}

func TestDiskIsBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, dir, MinBytes)
	f.ask("CreateLogGroup", object{"logGroupName": "quiet"})
	f.ask("CreateLogStream", object{"logGroupName": "quiet", "logStreamName": "kept"})
	text := strings.Repeat("x", 1000)
	const lines = 5000
	for i := range lines {
		f.clock.move(time.Millisecond)
		f.print("noisy", fmt.Sprintf("stream-%03d", i/100), fmt.Sprintf("%d %s", i, text))
		if i%20 == 0 {
			f.flush()
		}
	}
	f.flush()
	used := int64(0)
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, err := d.Info()
			if err != nil {
				return err
			}
			used += info.Size()
		}
		return err
	})
	if err != nil || used > MinBytes || used < MinBytes/2 {
		t.Errorf("the store takes %d bytes (%v); want most of %d and no more", used, err, MinBytes)
	}
	check := func(f *fixture) {
		t.Helper()
		var got []string
		for in := (object{"logGroupName": "/aws/lambda/noisy"}); ; {
			out := f.ask("FilterLogEvents", in)
			got = append(got, messages(out)...)
			if out["nextToken"] == nil {
				break
			}
			in["nextToken"] = out["nextToken"]
		}
		if len(got) < 500 || !strings.HasPrefix(got[len(got)-1], fmt.Sprint(lines-1)) {
			t.Fatalf("%d lines are left; want the latest", len(got))
		}
		for i, m := range got {
			if want := fmt.Sprint(lines - len(got) + i); !strings.HasPrefix(m, want+" ") {
				t.Fatalf("line %d of %d is %.10s; want %s", i, len(got), m, want)
			}
		}
		streams := f.ask("DescribeLogStreams", object{"logGroupName": "/aws/lambda/noisy"})["logStreams"].([]any)
		if len(streams) > 15 {
			t.Errorf("%d streams; want only those that still have events", len(streams))
		}
		kept := f.ask("DescribeLogStreams", object{"logGroupName": "quiet"})["logStreams"].([]any)
		if len(kept) != 1 {
			t.Errorf("a client's stream without events: %v; want it kept", kept)
		}
	}
	check(f)
	check(openAt(t, dir, MinBytes, f.clock))
	if got := openAt(t, dir, MinBytes, f.clock).disk.Load(); got > MinBytes {
		t.Errorf("a new start counts %d bytes; want at most %d", got, MinBytes)
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, dir, 0)
	f.print("hello", "old", "monday")
	f.flush()
	f.ask("PutRetentionPolicy", object{"logGroupName": hello, "retentionInDays": 3})
	f.clock.move(48 * time.Hour)
	f.print("hello", "new", "wednesday")
	all := object{"logGroupName": hello}
	same(t, "within retention", messages(f.ask("FilterLogEvents", all)), []string{"monday\n", "wednesday\n"})
	f.clock.move(25 * time.Hour)
	same(t, "a day later", messages(f.ask("FilterLogEvents", all)), []string{"wednesday\n"})
	same(t, "of the stream", messages(f.ask("GetLogEvents", object{"logGroupName": hello, "logStreamName": "old"})), nil)
	f.clock.move(2 * time.Hour)
	f.tidy()
	if n := len(files(t, dir, "*.log")); n != 1 {
		t.Errorf("%d segments; want that of monday gone", n)
	}
	streams := f.ask("DescribeLogStreams", all)["logStreams"].([]any)
	if len(streams) != 1 || streams[0].(object)["logStreamName"] != "new" {
		t.Errorf("streams %v; want new", streams)
	}
	// Without anybody asking, and after a restart: then the file's time counts.
	for _, name := range files(t, dir, "*.log") {
		if err := os.Chtimes(name, time.Time{}, f.clock.now()); err != nil {
			t.Fatal(err)
		}
	}
	f = openAt(t, dir, 0, f.clock)
	f.clock.move(10 * 24 * time.Hour)
	f.tidy()
	if n := len(files(t, dir, "*.log")); n != 0 {
		t.Errorf("%d segments; want none", n)
	}
	f.ask("DeleteRetentionPolicy", all)
	f.print("hello", "new", "again")
	f.clock.move(1000 * 24 * time.Hour)
	f.tidy()
	same(t, "without retention", messages(f.ask("FilterLogEvents", all)), []string{"again\n"})
}

func TestDeletedGroupIsMadeAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, dir, 0)
	f.print("hello", "s", "before")
	f.ask("DeleteLogGroup", object{"logGroupName": hello})
	f.refused("FilterLogEvents", object{"logGroupName": hello}, "ResourceNotFoundException", "The specified log group does not exist.")
	f.print("hello", "s", "after")
	same(t, "events", messages(f.ask("FilterLogEvents", object{"logGroupName": hello})), []string{"after\n"})
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory has %v (%v); want the account only", entries, err)
	}
}

func TestDeletedStreamStaysDeleted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, dir, 0)
	f.print("hello", "s", "before")
	f.ask("DeleteLogStream", object{"logGroupName": hello, "logStreamName": "s"})
	f.print("hello", "s", "after")
	f.flush()
	for _, s := range []*fixture{f, open(t, dir, 0)} {
		same(t, "events", messages(s.ask("FilterLogEvents", object{"logGroupName": hello})), []string{"after\n"})
	}
}

func TestDiskThatFailsDropsLinesAndSaysSo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, dir, 0)
	f.print("hello", "s", "one")
	f.flush()
	away := filepath.Dir(files(t, dir, "*.log")[0])
	if err := os.Rename(away, away+"-away"); err != nil {
		t.Fatal(err)
	}
	f.print("hello", "s", "two", "three")
	f.flush()
	if err := os.Rename(away+"-away", away); err != nil {
		t.Fatal(err)
	}
	f.print("hello", "s", "four")
	got := messages(f.ask("FilterLogEvents", object{"logGroupName": hello}))
	if len(got) < 2 || got[0] != "one\n" || !strings.Contains(strings.Join(got, ""), "[lamina] ") || strings.Contains(strings.Join(got, ""), "two") {
		t.Errorf("events %q; want one, and that lines were dropped", got)
	}
	f.print("hello", "s", "five")
	got = messages(f.ask("FilterLogEvents", object{"logGroupName": hello}))
	if got[len(got)-1] != "five\n" {
		t.Errorf("events %q; want that it goes on", got)
	}
	if !strings.Contains(f.log.String(), "log lines dropped") {
		t.Errorf("the log says %s", f.log)
	}
}

func TestTooMuchAtOnceIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	f := open(t, t.TempDir(), 64<<20)
	text := strings.Repeat("x", 1<<10)
	const lines = 20_000
	for range lines {
		f.print("hello", "s", text)
	}
	if f.in.bytes > takenBytes {
		t.Errorf("%d bytes wait; want at most %d", f.in.bytes, takenBytes)
	}
	kept, told := 0, 0
	for in := (object{"logGroupName": hello}); ; {
		out := f.ask("FilterLogEvents", in)
		for _, m := range messages(out) {
			if n, _ := fmt.Sscanf(m, "[lamina] %d lines", &told); n == 0 {
				kept++
			}
		}
		if out["nextToken"] == nil {
			break
		}
		in["nextToken"] = out["nextToken"]
	}
	if kept+told != lines || told == 0 || kept == 0 {
		t.Errorf("%d lines kept, %d told to be dropped; want %d together", kept, told, lines)
	}
}

func TestManyStreamsAreForgottenOldestFirst(t *testing.T) {
	t.Parallel()
	f := open(t, t.TempDir(), 0)
	f.maxStreams = 100
	f.ask("CreateLogGroup", object{"logGroupName": hello})
	f.ask("CreateLogStream", object{"logGroupName": hello, "logStreamName": "client"})
	for i := range 500 {
		f.clock.move(time.Second)
		f.print("hello", fmt.Sprintf("s%03d", i), "x")
		f.flush()
	}
	g, err := f.group(groupID{here, hello})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(g.ids); n > 100 || n < 80 || g.names["client"] == nil || g.names["s499"] == nil || g.names["s000"] != nil {
		t.Errorf("%d streams; want the client's and the latest 100", n)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	f := open(t, t.TempDir(), MinBytes*4)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := range 2000 {
				f.Write(version("hello"), fmt.Sprintf("s%d", w), start, fmt.Appendf(nil, "%d %0200d", i, w))
			}
		})
	}
	for range 2 {
		all.Go(func() {
			for range 50 {
				_, _ = f.Answer(t.Context(), here, "FilterLogEvents", []byte(`{"logGroupName":"/aws/lambda/hello","filterPattern":"nothing"}`))
				_, _ = f.Answer(t.Context(), here, "DescribeLogStreams", []byte(`{"logGroupName":"/aws/lambda/hello"}`))
			}
		})
	}
	all.Go(func() {
		for range 10 {
			_, _ = f.Answer(t.Context(), here, "DeleteLogGroup", []byte(`{"logGroupName":"/aws/lambda/hello"}`))
			f.tidy()
		}
	})
	all.Wait()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
	if strings.Contains(f.log.String(), "WARN") {
		t.Errorf("log:\n%s", f.log)
	}
}

func BenchmarkWrite(b *testing.B) {
	f := open(b, b.TempDir(), 0)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	v := version("hello")
	lines := [][]byte{[]byte("START RequestId: 6bc28136-xmpl-4365-b021-0ce6b2e64ab0 Version: $LATEST"), []byte("hello world"), []byte("END RequestId: 6bc28136-xmpl-4365-b021-0ce6b2e64ab0")}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		f.Write(v, "2026/03/04/[$LATEST]0123456789abcdef0123456789abcdef", start, lines[i%3])
		i++
	}
	cancel()
	<-ended
}
