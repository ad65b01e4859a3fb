package control_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/wire"
)

// TestEveryOperation: each operation of the service is offered, or is one of
// those that Lamina has decided against.
func TestEveryOperation(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"CheckpointDurableExecution":             "durable executions",
		"CreateCapacityProvider":                 "capacity providers",
		"DeleteCapacityProvider":                 "capacity providers",
		"GetCapacityProvider":                    "capacity providers",
		"GetDurableExecution":                    "durable executions",
		"GetDurableExecutionHistory":             "durable executions",
		"GetDurableExecutionState":               "durable executions",
		"ListCapacityProviders":                  "capacity providers",
		"ListDurableExecutionsByFunction":        "durable executions",
		"ListFunctionVersionsByCapacityProvider": "capacity providers",
		"SendDurableExecutionCallbackFailure":    "durable executions",
		"SendDurableExecutionCallbackHeartbeat":  "durable executions",
		"SendDurableExecutionCallbackSuccess":    "durable executions",
		"StopDurableExecution":                   "durable executions",
		"UpdateCapacityProvider":                 "capacity providers",
	}
	router := wire.NewRouter(wire.Options{})
	control.New(control.Options{}).Register(router)
	got := map[string]string{}
	for _, op := range wire.Operations() {
		switch what := router.Declined(op.Name); {
		case what != "":
			got[op.Name] = what
		case !router.Handled(op.Name):
			t.Errorf("%s is neither offered nor declined", op.Name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("declined operations differ (-want +got):\n%s", diff)
	}
	for _, op := range wire.Operations() {
		if want[op.Name] == "" {
			continue
		}
		path := strings.NewReplacer("{", "", "}", "").Replace(op.Path)
		w := httptest.NewRecorder()
		router.ServeHTTP(w, httptest.NewRequest(op.Method, path, strings.NewReader("{}")))
		message := `{"Message":"Lamina does not offer ` + want[op.Name] + `, and so not ` + op.Name + `.","Type":"User"}`
		if w.Code != http.StatusNotImplemented || w.Header().Get("X-Amzn-Errortype") != "NotImplementedException" || w.Body.String() != message {
			t.Errorf("%s answers %d %s %s; want 501 NotImplementedException %s", op.Name, w.Code, w.Header().Get("X-Amzn-Errortype"), w.Body, message)
		}
	}
}
