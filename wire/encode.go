package wire

import (
	"fmt"
	"net/http"
	"reflect"
	"strconv"
)

// answer is a response, complete before its first byte is written but for an
// event stream.
type answer struct {
	status    int
	header    map[string]string
	body      []byte
	events    EventStream // instead of a body, or nil
	exception *Exception
}

// encode turns an output into an answer.
func (rt *route) encode(out any) (answer, error) {
	a := answer{status: rt.Status, header: map[string]string{}}
	v := reflect.ValueOf(out).Elem()
	payload := false
	for _, f := range rt.output.fields {
		value := v.Field(f.index)
		switch f.place {
		case inStatus:
			if !value.IsNil() {
				a.status = int(value.Elem().Int())
			}
		case inHeader:
			if !value.IsNil() {
				a.header[f.name] = fmt.Sprint(value.Elem().Interface())
			}
		case inPayload:
			payload = true
			if value.Type() == eventsType {
				a.events = value.Interface().(EventStream) //nolint:forcetypeassert // the line above
			} else {
				a.body = value.Bytes()
			}
		case inBody, inURI, inQuery, inUpload:
		}
	}
	if payload || a.status == http.StatusNoContent {
		return a, nil
	}
	body, err := marshal(out)
	if err != nil {
		return answer{}, fmt.Errorf("encode output of %s: %w", rt.Name, err)
	}
	a.body = body
	return a, nil
}

func (a answer) write(w http.ResponseWriter) {
	if a.exception != nil {
		WriteException(w, a.exception)
		return
	}
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	if a.status == http.StatusNoContent {
		w.WriteHeader(a.status)
		return
	}
	if a.events != nil {
		WriteEvents(w, a.status, a.events)
		return
	}
	writeJSON(w, a.status, a.body)
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone
}
