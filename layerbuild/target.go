package layerbuild

import (
	"fmt"
	goruntime "runtime"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina"
)

// Architectures, as the API spells them.
const (
	X86 = "x86_64"
	ARM = "arm64"
)

// target is what a layer is built for.
type target struct {
	runtime string
	family  string // python, nodejs, ruby, java, provided, dotnet
	version string // 3.12, 22, 3.3, 21; empty for provided
	arch    string
	host    string // architecture of this machine; empty when it is no Linux
	glibc   int    // minor version of the runtime's C library: 26 is 2.26
}

// The C libraries of the systems that runtimes are made on.
const (
	glibcAL2    = 26
	glibcAL2023 = 34
)

// newTarget checks the runtime and the architecture.
func newTarget(runtime, arch string) (target, error) {
	if arch != X86 && arch != ARM {
		return target{}, advise(fmt.Errorf("architecture %q is unknown", arch), "it is %s or %s", X86, ARM)
	}
	if lamina.RuntimeBlocked(runtime) {
		return target{}, advise(fmt.Errorf("runtime %s is no longer offered: no function can be made with it", runtime), "choose one of %s", strings.Join(lamina.CreatableRuntimes(), ", "))
	}
	if !lamina.RuntimeCreatable(runtime) {
		return target{}, advise(fmt.Errorf("runtime %q is unknown", runtime), "choose one of %s", strings.Join(lamina.CreatableRuntimes(), ", "))
	}
	t := target{runtime: runtime, family: lamina.RuntimeFamily(runtime), arch: arch, host: thisMachine()}
	t.version, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimPrefix(runtime, t.family), "."), ".al")
	t.version = strings.TrimSuffix(t.version, ".x")
	if t.family == "provided" {
		t.version = ""
	}
	t.glibc = glibcAL2023
	if t.onAL2() {
		t.glibc = glibcAL2
	}
	return t, nil
}

// onAL2 reports whether the runtime is made on Amazon Linux 2; newer ones are on
// Amazon Linux 2023.
func (t target) onAL2() bool {
	major, minor, _ := strings.Cut(t.version, ".")
	n, _ := strconv.Atoi(major) // 0 for provided, which is told by its name
	m, _ := strconv.Atoi(minor)
	switch t.family {
	case "python":
		return n == 3 && m < 12
	case "nodejs":
		return n < 20
	case "ruby":
		return n < 3 || n == 3 && m < 3
	case "java":
		return n < 21
	case "dotnet":
		return n < 8
	}
	return t.runtime == "provided.al2"
}

// machine is the architecture as the kernel, and most package managers, call it.
func (t target) machine() string {
	if t.arch == ARM {
		return "aarch64"
	}
	return X86
}

// cpu is the architecture as Node.js calls it.
func (t target) cpu() string {
	if t.arch == ARM {
		return "arm64"
	}
	return "x64"
}

// isHost reports whether what is compiled here runs there.
func (t target) isHost() bool { return t.arch == t.host }

// thisMachine is the architecture that native code is compiled for here, empty
// where that is not for Linux.
func thisMachine() string {
	if goruntime.GOOS != "linux" {
		return ""
	}
	return map[string]string{"amd64": X86, "arm64": ARM}[goruntime.GOARCH]
}

func (t target) String() string { return t.runtime + " on " + t.arch }

// pythonPatches are releases that AWS's runtimes have at least: packages exclude
// early ones by their full version.
var pythonPatches = map[string]string{"3.8": "20", "3.9": "20", "3.10": "15", "3.11": "10", "3.12": "7"}

// pythonFull is the version of Python that conditions of packages are held to.
func (t target) pythonFull() string {
	if patch, ok := pythonPatches[t.version]; ok {
		return t.version + "." + patch
	}
	return t.version + ".0"
}

// wheelPlatforms are the platform tags of wheels that run on the target, best
// first.
func (t target) wheelPlatforms() []string {
	oldest := 17 // the first for arm64
	if t.arch == X86 {
		oldest = 5
	}
	alias := map[int]string{17: "manylinux2014_", 12: "manylinux2010_", 5: "manylinux1_"}
	var out []string
	for minor := t.glibc; minor >= oldest; minor-- {
		out = append(out, fmt.Sprintf("manylinux_2_%d_%s", minor, t.machine()))
		if old, ok := alias[minor]; ok {
			out = append(out, old+t.machine())
		}
	}
	return append(out, "linux_"+t.machine())
}

// uvPlatform is the target as uv calls it. It knows no 2.26, so that runtimes on
// Amazon Linux 2 get what is for 2.17 and older.
func (t target) uvPlatform() string {
	if t.glibc == glibcAL2023 {
		return t.machine() + "-manylinux_2_34"
	}
	return t.machine() + "-manylinux_2_17"
}

// searchPath is where the runtime finds what a layer brings, below /opt: the
// place for the files of a directory that is none of a layer yet.
func (t target) searchPath() string {
	switch t.family {
	case "python":
		return "python"
	case "nodejs":
		return "nodejs/node_modules"
	case "ruby":
		return "ruby/lib"
	case "java":
		return "java/lib"
	}
	return ""
}
