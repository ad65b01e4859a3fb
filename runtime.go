package lamina

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// creatable is the set of runtimes that functions can be made with, in the order
// in which the service prints it (recorded 2026-01).
var creatable = []string{
	"nodejs20.x", "python3.14", "provided.al2023", "python3.12", "python3.13", "nodejs24.x", "nodejs22.x",
	"java25", "python3.10", "python3.11", "java21", "ruby3.3", "ruby3.4", "ruby3.2", "python3.8", "python3.9",
	"java17", "nodejs16.x", "dotnet10", "dotnet8", "java11", "dotnet6", "nodejs18.x", "provided.al2", "java8.al2",
}

// newer are runtimes of the model that came after the recording.
var newer = []string{"ruby4.0"}

// blocked are runtimes that functions can no longer be made with.
var blocked = []string{
	"java8", "go1.x", "provided", "ruby2.7", "nodejs14.x", "python3.7", "dotnetcore3.1", "nodejs12.x",
	"nodejs", "nodejs4.3", "nodejs4.3-edge", "nodejs6.10", "nodejs8.10", "nodejs10.x",
	"python2.7", "python3.6", "dotnetcore1.0", "dotnetcore2.0", "dotnetcore2.1", "ruby2.5",
}

// CreatableRuntimes returns the runtimes that new functions can have, in the
// order in which the service prints them.
func CreatableRuntimes() []string { return slices.Clone(creatable) }

// RuntimeCreatable reports whether functions can be made with the runtime.
func RuntimeCreatable(runtime string) bool {
	return slices.Contains(creatable, runtime) || slices.Contains(newer, runtime)
}

// RuntimeBlocked reports whether the runtime is known but closed for creating
// and updating functions.
func RuntimeBlocked(runtime string) bool { return slices.Contains(blocked, runtime) }

// deprecated are the creatable runtimes that get no more patches (documented,
// 2026-01).
var deprecated = []string{"nodejs16.x", "nodejs18.x", "python3.8", "python3.9", "dotnet6"}

// BlockedRuntimes returns the runtimes that functions can no longer be made with,
// which layers may still be compatible with.
func BlockedRuntimes() []string { return slices.Clone(blocked) }

// RuntimeDeprecated reports whether the runtime gets no more patches.
func RuntimeDeprecated(runtime string) bool {
	return slices.Contains(deprecated, runtime) || RuntimeBlocked(runtime)
}

// snapStart are the runtimes that SnapStart supports (documented).
var snapStart = []string{"java11", "java17", "java21", "java25", "python3.12", "python3.13", "python3.14", "dotnet8", "dotnet10"}

// RuntimeSnapStarts reports whether SnapStart supports the runtime.
func RuntimeSnapStarts(runtime string) bool { return slices.Contains(snapStart, runtime) }

// RuntimeVersion names the release of a runtime, as INIT_START shows it. Lamina
// runs the interpreter of the machine, so there is one release of each runtime.
func RuntimeVersion(runtime string) string {
	family := RuntimeFamily(runtime)
	return family + ":" + strings.TrimPrefix(strings.TrimPrefix(runtime, family), ".") + ".v1"
}

// RuntimeVersionARN is the ARN of that release.
func RuntimeVersionARN(region, runtime string) string {
	sum := sha256.Sum256([]byte("runtime " + runtime))
	return "arn:" + Partition + ":lambda:" + region + "::runtime:" + hex.EncodeToString(sum[:])
}

// RuntimeFamily returns the language of a runtime: python, nodejs, provided, …
func RuntimeFamily(runtime string) string {
	return strings.TrimRight(strings.SplitN(runtime, ".", 2)[0], "0123456789")
}

// When a version moves to another release of its runtime.
const (
	RuntimeUpdateAuto     = "Auto"
	RuntimeUpdateManual   = "Manual"
	RuntimeUpdateFunction = "FunctionUpdate"
)

// RuntimeManagement says when a version moves to another release of its runtime.
type RuntimeManagement struct {
	UpdateOn string
	// VersionARN names the release to stay on; empty but for RuntimeUpdateManual.
	VersionARN string
}
