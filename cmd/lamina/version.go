package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the release build.
var version = "0.1.0-dev"

type versionVerb struct{}

// Run prints the version, the revision it was built from, and the platform.
func (*versionVerb) Run(s streams) error {
	revision := "unknown revision"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, kv := range info.Settings {
			if kv.Key == "vcs.revision" {
				revision = kv.Value
			}
		}
	}
	fmt.Fprintf(s.out, "lamina %s (%s) %s/%s %s\n", version, revision, runtime.GOOS, runtime.GOARCH, runtime.Version())
	return nil
}
