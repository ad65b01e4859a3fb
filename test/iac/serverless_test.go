package iac

import (
	"strings"
	"testing"
)

// TestServerless deploys a service with a layer and a function URL, deploys it
// again, changes it and removes it.
func TestServerless(t *testing.T) {
	t.Parallel()
	b := open(t, "serverless")
	const stack = "greeter-dev"
	b.run("osls", "deploy")
	if got, want := b.invoke("greeter-dev-greet", `{"who": "Ada"}`), `{"text": "hello, Ada", "version": "$LATEST"}`; got != want {
		t.Errorf("first deployment answers %s; want %s", got, want)
	}
	if got := b.run("osls", "invoke", "--function", "greet", "--data", `{"who": "Bob"}`); !strings.Contains(got, "hello, Bob") {
		t.Errorf("osls invoke prints %s; want hello, Bob", got)
	}
	before := b.events(stack)
	if said := b.run("osls", "deploy"); b.events(stack) != before {
		t.Errorf("a second deployment changed something (%d events before, %d after), and said\n%s", before, b.events(stack), said)
	}
	b.env = []string{"GREETING=moin"}
	b.run("osls", "deploy")
	if got, want := b.invoke("greeter-dev-greet", `{"who": "Ada"}`), `{"text": "moin, Ada", "version": "$LATEST"}`; got != want {
		t.Errorf("second deployment answers %s; want %s", got, want)
	}
	if b.events(stack) == before {
		t.Error("the change made no events")
	}
	b.run("osls", "remove")
	b.nothingLeft()
}
