package wire

import (
	"encoding/json"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func newValue(t reflect.Type) any { return reflect.New(t).Interface() }

// The violations that the service was recorded to answer. Their order within
// one message was not recorded where the recording sorted them.
func TestRecordedViolations(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/validation.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Operation  string
		Params     map[string]any
		Violations []string
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	r, _, _ := quiet()
	offerAll(r)
	for i, c := range cases {
		t.Run(c.Operation+" "+strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			w := do(r, request(t, c.Operation, c.Params))
			if w.Code != 400 || w.Header().Get("X-Amzn-Errortype") != "ValidationException" {
				t.Fatalf("answer = %d %s %s; want a ValidationException", w.Code, w.Header().Get("X-Amzn-Errortype"), w.Body)
			}
			var body map[string]string
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			head := "1 validation error detected: "
			if n := len(c.Violations); n > 1 {
				head = strconv.Itoa(n) + " validation errors detected: "
			}
			got, ok := strings.CutPrefix(body["message"], head)
			if !ok {
				t.Errorf("message = %q; want it to start with %q", body["message"], head)
			}
			rest := len(got) - 2*(len(c.Violations)-1)
			for _, want := range c.Violations {
				if !strings.Contains(got, want) {
					t.Errorf("message = %q; want %q in it", got, want)
				}
				rest -= len(want)
			}
			if rest != 0 {
				t.Errorf("message = %q; want only %q", got, c.Violations)
			}
			if len(body) != 1 {
				t.Errorf("body = %v; want the message only", body)
			}
		})
	}
}
