package control_test

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/wire"
)

var update = flag.Bool("update", false, "rewrite golden files")

const operationsFile = "../docs/operations.md"

func TestOperationsDocument(t *testing.T) {
	t.Parallel()
	router := wire.NewRouter(wire.Options{})
	control.New(control.Options{}).Register(router)
	got := "# Operations\n\nWritten by `go test ./control -run TestOperationsDocument -update` from the operation table; never edited.\n" +
		"An operation that is not offered answers 501 with NotImplementedException. Those that are declined belong to a feature\n" +
		"that a server of one's own has no use for, or can't have; decisions, not gaps.\n\n" + wire.OperationsTable(router.Handled, router.Declined)
	if *update {
		if err := os.WriteFile(operationsFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(operationsFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("docs/operations.md is stale (-file +table):\n%s", diff)
	}
}
