package runner_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner"
	"github.com/lamina-run/lamina/runner/runtimes"
)

// TestCredentialsAreRenewed: no invocation begins with credentials that could
// expire before it ends.
func TestCredentialsAreRenewed(t *testing.T) {
	t.Parallel()
	const life, longest = 12 * time.Hour, 15 * time.Minute
	began := time.Now()
	var ahead, made atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	h := newHost(t, func(o *runner.Options) {
		o.Now, o.Idle = now, 100*time.Hour // so that nothing else ends an environment
		o.Credentials = func(context.Context, lamina.Version) (runtimes.Credentials, error) {
			n := made.Add(1)
			return runtimes.Credentials{AccessKeyID: fmt.Sprint("KEY", n), SecretAccessKey: "SECRET", SessionToken: "TOKEN", Expires: began.Add(time.Duration(n) * life)}, nil
		}
	})
	v := h.version(t, h.python(t), "handler.handler", map[string]string{"handler.py": `import os
calls = 0
def handler(event, context):
    global calls
    calls += 1
    return f"{os.environ['AWS_ACCESS_KEY_ID']} {calls}"
`})
	for _, step := range []struct {
		at   time.Duration
		want string
	}{
		{0, "KEY1 1"},
		{time.Hour, "KEY1 2"},
		{life - longest - time.Minute, "KEY1 3"},
		{life - longest + time.Second, "KEY2 1"},
		{life + time.Minute, "KEY2 2"},
		{2*life - longest + time.Second, "KEY3 1"},
	} {
		ahead.Store(int64(step.at))
		if got := string(h.invoke(t, v, `{}`).Payload); strings.Trim(got, `"`) != step.want {
			t.Errorf("after %v: %s; want %s", step.at, got, step.want)
		}
	}
}
