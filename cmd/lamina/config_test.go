package main

import (
	"io"
	"strings"
	"testing"

	"github.com/lamina-run/lamina"
)

func TestLimits(t *testing.T) {
	t.Parallel()
	s := settings{Limit: []string{"TagsPerResource=3", "concurrentexecutions=200"}}
	got, err := s.limits()
	want := lamina.DefaultLimits()
	want.TagsPerResource, want.ConcurrentExecutions = 3, 200
	if got != want || err != nil {
		t.Errorf("limits = %+v, %v; want %+v", got, err, want)
	}
	for _, wrong := range []string{"TagsPerResource", "TagsPerResource=", "TagsPerResource=many", "Tags=3", "TagsPerResource=-1", "ConcurrentExecutions=99"} {
		if _, err := (&settings{Limit: []string{wrong}}).limits(); err == nil || !strings.HasPrefix(err.Error(), "--limit") {
			t.Errorf("limits with %s = %v; want an error about --limit", wrong, err)
		}
	}
}

func TestLimitsInHelp(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if code := run([]string{"serve", "--help"}, streams{out: &out, notes: io.Discard}); code != exitOK {
		t.Fatalf("serve --help = %d; want %d", code, exitOK)
	}
	for _, name := range lamina.LimitNames() {
		if !strings.Contains(out.String(), name) {
			t.Errorf("serve --help does not name %s", name)
		}
	}
}
