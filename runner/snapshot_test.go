package runner_test

import (
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner"
)

// TestMeasures: an invocation says what it took, and the runner what it has.
func TestMeasures(t *testing.T) {
	t.Parallel()
	h := newHost(t, func(o *runner.Options) { o.MaxEnvironments = 1 })
	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": function}, map[string]string{"python/only1.py": "x = 1"})
	if got := h.Versions(); len(got) != 0 {
		t.Errorf("versions %+v before anything ran", got)
	}
	began := time.Now()
	m := h.invoke(t, v, `{"do":"sleep","seconds":0.2}`).Measures
	took := time.Since(began)
	c := m.Cold
	if c == nil || c.At.Before(began) || c.Archives <= 0 || c.Sandbox <= 0 || c.Init <= 0 || c.Runtime <= 0 || c.Total()+m.Duration > took {
		t.Errorf("a cold start took %+v of %v; want all parts, together no more", c, took)
	}
	if m.Duration < 200*time.Millisecond || m.Start.Before(c.At.Add(c.Total()-time.Millisecond)) || m.Waited != 0 {
		t.Errorf("measures %+v; want 0.2 s after the cold start", m)
	}
	all := h.Versions()
	if len(all) != 1 || all[0].Function != v.Function || all[0].Idle != 1 || all[0].Busy+all[0].Starting != 0 || all[0].MemorySize != 128 ||
		all[0].MaxMemory < 1<<20 || !all[0].Oldest.Equal(c.At) || all[0].Qualifier() != "$LATEST" {
		t.Errorf("versions %+v; want one that is idle", all)
	}

	// A second that has to wait for the first.
	var calling sync.WaitGroup
	calling.Go(func() {
		if m := h.invoke(t, v, `{"do":"sleep","seconds":0.5}`).Measures; m.Cold != nil || m.Duration < 500*time.Millisecond {
			t.Errorf("measures of a warm invocation %+v", m)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // until it has the environment
		if all = h.Versions(); len(all) == 1 && all[0].Busy == 1 && all[0].Idle == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("versions %+v; want one that is busy", all)
		}
	}
	if m := h.invoke(t, v, `{"do":"count"}`).Measures; m.Cold != nil || m.Waited <= 0 {
		t.Errorf("measures of one that waited %+v", m)
	}
	calling.Wait()

	// What failed to initialize is a cold start, too.
	broken := h.version(t, h.python(t), "absent.handler", map[string]string{"handler.py": function})
	r := h.invoke(t, broken, `{}`)
	if r.FunctionError != lamina.Unhandled || r.Measures.Cold == nil || r.Measures.Start.IsZero() {
		t.Errorf("result %+v; want a cold start that failed", r.Measures)
	}
	h.Retire(v)
	if all = h.Versions(); len(all) != 1 || all[0].Function != broken.Function {
		t.Errorf("versions %+v; want the other one's alone", all)
	}
}
