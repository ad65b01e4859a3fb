package resources

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/lamina-run/lamina/store"
)

// signal is what is sent to the URL of a wait condition's handle.
type signal struct {
	Status   string
	Reason   string
	UniqueID string `json:"UniqueId"`
	Data     any
}

func createHandle(ctx context.Context, w *work) (Made, error) {
	r := w.set.o.Responses
	if r == nil || r.o.Public == "" {
		return Made{}, invalid("Lamina has no wait conditions here.")
	}
	const note = "box "
	box, noted := strings.CutPrefix(w.Note, note)
	if !noted {
		box = newBox()
		if err := w.Keep(note + box); err != nil {
			return Made{}, err
		}
	}
	if _, err := r.open(ctx, box, boxSignals, handleLife); err != nil {
		return Made{}, err
	}
	return Made{PhysicalID: address(r.o.Public, w.LogicalID, box)}, nil
}

func deleteHandle(ctx context.Context, w *work) error {
	if w.set.o.Responses == nil {
		return nil
	}
	return w.set.o.Responses.drop(ctx, boxOf(w.PhysicalID))
}

const maxWait = 43200 // seconds

func checkWait(c *checker, p map[string]any) {
	if v, ok := p["Timeout"]; ok && !unknown(v) {
		if n, ok := asInteger(v); !ok || n < 0 || n > maxWait {
			c.add("/Timeout", "%v is not between 0 and %d seconds", v, maxWait)
		}
	}
	for _, name := range []string{"Handle", "Timeout"} {
		if _, ok := p[name]; !ok {
			c.add("", "required key [%s] not found", name)
		}
	}
}

func createWait(ctx context.Context, w *work) (Made, error) {
	const note = "until "
	made := Made{PhysicalID: w.generated(256)}
	r, box := w.set.o.Responses, boxOf(w.in.str("Handle"))
	if r == nil || box == "" {
		return Made{}, invalid("Handle is not the Ref of an AWS::CloudFormation::WaitConditionHandle.")
	}
	seconds, _ := asInteger(w.in.str("Timeout"))
	until := w.set.o.Now().Add(time.Duration(seconds) * time.Second)
	if text, noted := strings.CutPrefix(w.Note, note); noted {
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			until = t
		}
	} else if err := w.Keep(note + until.Format(time.RFC3339Nano)); err != nil {
		return Made{}, err
	}
	want := int64(1)
	if n, ok := w.in.int("Count"); ok {
		want = n
	}
	read := func(l store.Letter) (s signal) {
		_ = json.Unmarshal([]byte(l.Body), &s) // it was read when it was taken
		return s
	}
	letters, err := r.wait(ctx, box, int(want), until, func(l store.Letter) bool { return read(l).Status != "SUCCESS" })
	if err != nil {
		return made, err
	}
	data := map[string]string{}
	for _, l := range letters {
		s := read(l)
		if s.Status != "SUCCESS" {
			return made, because("WaitCondition received failed message: '%s' for uniqueId: %s", s.Reason, s.UniqueID)
		}
		text, ok := asString(s.Data)
		if !ok && s.Data != nil {
			b, err := marshal(s.Data)
			if err != nil {
				return made, err
			}
			text = string(b)
		}
		data[s.UniqueID] = text
	}
	if int64(len(letters)) < want {
		return made, because("WaitCondition timed out. Received %d conditions when expecting %d", len(letters), want)
	}
	text, err := marshal(data)
	if err != nil {
		return made, err
	}
	made.Attributes = map[string]any{"Data": string(text)}
	return made, nil
}

func updateWait(_ context.Context, w *work) (Made, error) {
	return Made{PhysicalID: w.PhysicalID, Attributes: w.Attributes}, because("Update to resource type AWS::CloudFormation::WaitCondition is not supported.")
}
