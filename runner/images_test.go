package runner_test

import (
	"testing"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/runner"
)

// A function from an image becomes Active, and its invocation tells what is
// missing.
func TestPrepareImage(t *testing.T) {
	t.Parallel()
	v := lamina.Version{Config: lamina.Config{PackageType: lamina.PackageImage}, Code: lamina.Code{ImageURI: "registry.example/app:v1"}}
	if err := runner.New(runner.Options{}).Prepare(t.Context(), v); err != nil {
		t.Errorf("Prepare = %v; want nil", err)
	}
}
