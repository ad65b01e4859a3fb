package resources

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/control"
)

// script answers invocations of custom resources.
type script struct {
	echo

	mu     sync.Mutex
	events []map[string]any
	answer func(event map[string]any) string // empty answers nothing
}

func (s *script) Invoke(_ context.Context, in lamina.Invocation) (lamina.Result, error) {
	var event map[string]any
	if err := json.Unmarshal(in.Payload, &event); err != nil {
		return lamina.Result{}, err
	}
	s.mu.Lock()
	s.events = append(s.events, event)
	answer := s.answer
	s.mu.Unlock()
	if text := answer(event); text != "" {
		put(event["ResponseURL"].(string), text)
	}
	return lamina.Result{Payload: []byte("null")}, nil
}

func put(url, text string) (status int) {
	req, err := http.NewRequest(http.MethodPut, url, strings.NewReader(text))
	if err != nil {
		return 0
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp.StatusCode
}

// newCustom is a world whose functions answer as the script says.
func newCustom(t *testing.T, answer func(event map[string]any) string) (*world, *script) {
	t.Helper()
	s := &script{answer: answer}
	var w *world
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) { w.responses.ServeHTTP(rw, req) }))
	t.Cleanup(front.Close)
	w = newWorld(t, parts{
		functions: func(*world) (control.Invoker, control.Provisioner) { return s, s },
		responses: ResponsesOptions{Secure: front.URL, Public: front.URL},
	})
	furnish(w)
	return w, s
}

const custom = `{"ServiceToken":"` + fnARN + `","Number":5,"Flag":true,"List":[1,{"Deep":false}]}`

func TestCustomResource(t *testing.T) {
	t.Parallel()
	w, s := newCustom(t, func(event map[string]any) string {
		id, _ := event["PhysicalResourceId"].(string)
		p := event["ResourceProperties"].(map[string]any)
		if id == "" || p["Replace"] == "yes" {
			id = fmt.Sprint("id-", event["RequestType"])
		}
		return fmt.Sprintf(`{"Status":"SUCCESS","PhysicalResourceId":%q,"StackId":"x","RequestId":"y","LogicalResourceId":"z","NoEcho":true,"Data":{"Out":"put","Deep.Key":7}}`, id)
	})
	r := w.resource("Thing", "Custom::Thing", props(custom))
	made, err := r.typ.Create(w.context(), r.step())
	if d := cmp.Diff(Made{PhysicalID: "id-Create", Attributes: map[string]any{"Out": "put", "Deep.Key": 7.0}, NoEcho: true}, made); err != nil || d != "" {
		t.Errorf("Create = %v (-want +got)\n%s", err, d)
	}
	r.PhysicalID = made.PhysicalID
	first := r.Properties
	second := with(first, `{"Number":6}`)
	if err := r.update(second); err != nil || r.PhysicalID != "id-Create" {
		t.Errorf("update: %v, %s; want id-Create", err, r.PhysicalID)
	}
	if err := r.update(with(second, `{"Replace":"yes"}`)); err != nil || r.PhysicalID != "id-Update" {
		t.Errorf("update that replaces: %v, %s; want id-Update", err, r.PhysicalID)
	}
	if err := r.update(with(second, `{"ServiceToken":"`+fnARN+`2"}`)); err == nil || err.Error() != "Modifying service token is not allowed." {
		t.Errorf("update of the token: %v", err)
	}
	if err := r.delete(); err == nil || !strings.Contains(err.Error(), "Function not found") {
		t.Errorf("delete without its function: %v", err)
	}
	r.Properties = second
	if err := r.delete(); err != nil {
		t.Errorf("delete: %v", err)
	}
	want := []map[string]any{
		{"RequestType": "Create", "ResourceProperties": map[string]any{"ServiceToken": fnARN, "Number": "5", "Flag": "true", "List": []any{"1", map[string]any{"Deep": "false"}}}},
		{"RequestType": "Update", "PhysicalResourceId": "id-Create"},
		{"RequestType": "Update", "PhysicalResourceId": "id-Create"},
		{"RequestType": "Delete", "PhysicalResourceId": "id-Update"},
	}
	ids := map[any]bool{}
	for i, event := range s.events {
		ids[event["RequestId"]] = true
		for key, v := range want[i] {
			if d := cmp.Diff(v, event[key]); d != "" {
				t.Errorf("event %d, %s (-want +got)\n%s", i, key, d)
			}
		}
		if event["StackId"] != testStack || event["LogicalResourceId"] != "Thing" || event["ResourceType"] != "Custom::Thing" || event["ServiceToken"] != fnARN {
			t.Errorf("event %d is %v", i, event)
		}
		if _, has := event["OldResourceProperties"]; has != (event["RequestType"] == "Update") {
			t.Errorf("event %d has OldResourceProperties: %v", i, has)
		}
	}
	if len(s.events) != 4 || len(ids) != 4 {
		t.Errorf("%d events with %d request IDs; want 4 each", len(s.events), len(ids))
	}
	if old := s.events[1]["OldResourceProperties"].(map[string]any); old["Number"] != "5" {
		t.Errorf("OldResourceProperties are %v; want the number 5", old)
	}
	for _, d := range r.typ.Compare(first, second) {
		if d != (Difference{"Number", Conditionally}) {
			t.Errorf("Compare says %v", d)
		}
	}
	if !r.typ.HasAttribute("Whatever") {
		t.Error("a custom resource does not have every attribute")
	}
}

func TestCustomResourceFailures(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	answer := ""
	w, _ := newCustom(t, func(map[string]any) string {
		mu.Lock()
		defer mu.Unlock()
		return answer
	})
	for _, c := range []struct{ name, answer, more, want, id string }{
		{"a function that says no", `{"Status":"FAILED","Reason":"boom","PhysicalResourceId":"half"}`, `{}`, "Received response status [FAILED] from custom resource. Message returned: boom (RequestId: ", "half"},
		{"and does not say what it made", `{"Status":"FAILED"}`, `{}`, "Message returned: No reason provided", "test-Thing-ABCDEFGHIJKL"},
		{"a success without an identifier", `{"Status":"SUCCESS"}`, `{}`, "Invalid PhysicalResourceId", "test-Thing-ABCDEFGHIJKL"},
		{"no JSON", `ok`, `{}`, "Invalid response object", "test-Thing-ABCDEFGHIJKL"},
		{"no status", `{"PhysicalResourceId":"x"}`, `{}`, "Invalid response object: Status", "x"},
		{"more than 4096 bytes", `{"Status":"SUCCESS","PhysicalResourceId":"x","Reason":"` + strings.Repeat("x", 4096) + `"}`, `{}`, "Response object is too long.", "test-Thing-ABCDEFGHIJKL"},
		{"silence", "", `{"ServiceTimeout":"1"}`, "CloudFormation did not receive a response from your Custom Resource. Please check your logs for requestId [", "test-Thing-ABCDEFGHIJKL"},
		{"no such function", "", `{"ServiceToken":"` + fnARN + `-absent"}`, "Function not found: arn:aws:lambda:eu-central-1:123456789012:function:f-absent:$LATEST (Service: Lambda, Status Code: 404, Request ID: ", ""},
	} {
		mu.Lock()
		answer = c.answer
		mu.Unlock()
		r := w.resource("Thing", customResource, with(props(custom), c.more))
		if err := r.create(); err == nil || !strings.Contains(err.Error(), c.want) || r.PhysicalID != c.id {
			t.Errorf("%s: %v, %q; want %s, %q", c.name, err, r.PhysicalID, c.want, c.id)
		}
	}
	none := newWorld(t, parts{})
	furnish(none)
	r := none.resource("Thing", "Custom::X", props(custom))
	if err := r.create(); err == nil || !strings.Contains(err.Error(), "custom resources need lamina serve --network nat or host") || r.PhysicalID != "" {
		t.Errorf("without a network: %v", err)
	}
}

// TestCustomResourceAfterRestart ends the server while it waits for an answer.
func TestCustomResourceAfterRestart(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 2) // sent to by the function; never closed
	w, s := newCustom(t, func(event map[string]any) string {
		asked <- event["ResponseURL"].(string)
		return ""
	})
	r := w.resource("Thing", "Custom::Thing", props(custom))
	ctx, kill := context.WithCancelCause(w.context())
	ended := make(chan error, 1) // one send, when Create returned
	step := r.step()
	step.Keep = func(note string) error {
		r.Note = note
		if strings.HasPrefix(note, noteAsked) {
			kill(errKilled)
		}
		return nil
	}
	go func() {
		_, err := r.typ.Create(ctx, step)
		ended <- err
	}()
	url := <-asked
	if err := <-ended; err == nil {
		t.Fatal("Create ends well though the server was killed")
	}
	if status := put(url, `{"Status":"SUCCESS","PhysicalResourceId":"late"}`); status != http.StatusOK {
		t.Fatalf("the answer is taken with status %d; want 200", status)
	}
	r.Again = true
	if err := r.create(); err != nil || r.PhysicalID != "late" {
		t.Errorf("again: %v, %q; want late", err, r.PhysicalID)
	}
	if len(s.events) != 1 {
		t.Errorf("the function was invoked %d times; want once", len(s.events))
	}
}

func TestResponsesTakeNothingElse(t *testing.T) {
	t.Parallel()
	w, _ := newCustom(t, func(map[string]any) string { return "" })
	box := newBox()
	if _, err := w.responses.open(t.Context(), box, boxResponse, time.Minute); err != nil {
		t.Fatal(err)
	}
	old := newBox()
	if _, err := w.responses.open(t.Context(), old, boxResponse, -time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"PUT", ResponsePath + "x?X-Amz-Signature=" + box, 200},
		{"GET", ResponsePath + "x?X-Amz-Signature=" + box, 405},
		{"PUT", ResponsePath + "x?X-Amz-Signature=" + newBox(), 403},
		{"PUT", ResponsePath + "x?X-Amz-Signature=" + old, 403},
		{"PUT", ResponsePath + "x", 403},
		{"PUT", "/elsewhere?X-Amz-Signature=" + box, 404},
	} {
		rec := httptest.NewRecorder()
		w.responses.ServeHTTP(rec, httptest.NewRequest(c.method, c.path, strings.NewReader("{}")))
		if rec.Code != c.want {
			t.Errorf("%s %s answers %d; want %d", c.method, c.path, rec.Code, c.want)
		}
	}
}

func TestWaitCondition(t *testing.T) {
	t.Parallel()
	w, _ := newCustom(t, func(map[string]any) string { return "" })
	handle := func(id string) *resource {
		return w.made(id, "AWS::CloudFormation::WaitConditionHandle", map[string]any{})
	}
	wait := func(h *resource, more string) *resource {
		return w.resource("Wait", "AWS::CloudFormation::WaitCondition", with(map[string]any{"Handle": h.PhysicalID, "Timeout": "30"}, more))
	}
	good := handle("Good")
	r := wait(good, `{"Count":2}`)
	done := make(chan error, 1) // one send, when create returned
	go func() { done <- r.create() }()
	for _, c := range []struct {
		text string
		want int
	}{
		{`{"Status":"SUCCESS","UniqueId":"a","Data":"one","Reason":"r"}`, 200},
		{`{"Status":"SUCCESS","UniqueId":"a","Data":"uno"}`, 200},
		{`no`, 400},
		{`{"Status":"SUCCESS"}`, 400},
		{`{"Status":"SUCCESS","UniqueId":"b","Data":2}`, 200},
	} {
		if got := put(good.PhysicalID, c.text); got != c.want {
			t.Errorf("signal %s answers %d; want %d", c.text, got, c.want)
		}
	}
	if err := <-done; err != nil || r.Attributes["Data"] != `{"a":"uno","b":"2"}` {
		t.Errorf("create: %v, %v; want data of a and b", err, r.Attributes)
	}
	bad := handle("Bad")
	put(bad.PhysicalID, `{"Status":"FAILURE","UniqueId":"x","Reason":"broken"}`)
	if err := wait(bad, `{"Count":3}`).create(); err == nil || err.Error() != "WaitCondition received failed message: 'broken' for uniqueId: x" {
		t.Errorf("a failure: %v", err)
	}
	if err := wait(handle("Never"), `{"Timeout":"0"}`).create(); err == nil || err.Error() != "WaitCondition timed out. Received 0 conditions when expecting 1" {
		t.Errorf("silence: %v", err)
	}
	if err := r.update(with(r.Properties, `{"Count":3}`)); err == nil || !strings.Contains(err.Error(), "is not supported") {
		t.Errorf("update: %v", err)
	}
	if err := good.delete(); err != nil {
		t.Error(err)
	}
	if got := put(good.PhysicalID, `{"Status":"SUCCESS","UniqueId":"c"}`); got != http.StatusForbidden {
		t.Errorf("a signal for a handle that is gone answers %d; want 403", got)
	}
}
