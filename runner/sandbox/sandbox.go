package sandbox

import (
	"log/slog"
	"net/netip"
	"os"
	"syscall"
)

// Address is the host and port on which the process inside finds its Runtime API.
const Address = "169.254.100.1:9001"

// MaxExtensions is how many processes may run beside the runtime process.
const MaxExtensions = 10

// InitVerb is the hidden first argument with which the binary becomes [Init].
const InitVerb = "init"

// SpawnVerb is the one with which it becomes [Spawn].
const SpawnVerb = "spawn"

const defaultTmp = 512 << 20 // size of /tmp when a Spec does not say

// Options configures a [Pool].
type Options struct {
	Log *slog.Logger // nil discards

	// Executable is re-executed with [InitVerb] and [SpawnVerb]; empty is /proc/self/exe.
	Executable string

	// Parked is how many prepared sandboxes [Pool.Run] keeps waiting; zero
	// makes every [Pool.Start] pay for its own.
	Parked int

	// UIDBase is the first of the host user IDs that sandboxes take, one each,
	// when the server is root; zero is 100000. Nothing else may use the range.
	UIDBase int

	// Images has mounted some of the directories that Specs name. It is closed
	// after the pool; nil is none.
	Images *Images

	// Network is what functions can reach; empty is [NetworkNone]. What this
	// host can't do fails [NewPool].
	Network Network

	// Endpoint is where the server's API answers on this host. With a network,
	// functions find it at [Network.Inside].
	Endpoint netip.AddrPort

	// Responses is what functions with a network find at [ResponsesName]; an invalid
	// one is none.
	Responses netip.AddrPort
}

// Spec is what one sandbox shows its processes. All paths but those marked
// "inside" are the host's; missing ones fail [Pool.Start].
type Spec struct {
	ID       string   // for messages only
	Task     string   // directory shown as /var/task; empty shows an empty one
	Layers   []string // directories shown as one /opt, the last wins
	Binds    []Bind   // more of the host: the language at /var/lang, the runtime at /var/runtime
	Masks    []string // directories inside that are to look empty; absent ones are skipped
	TmpBytes int64    // size of /tmp; zero is 512 MiB
	Hostname string   // empty is "sandbox"

	// What all processes inside may use together. Zero is no limit; what this host
	// can't limit is listed by [Probe].
	MemoryBytes int64   // without contents of files, in /tmp too
	CPUs        float64 // processors' worth of time, used or not by others
	Share       float64 // of the processors when sandboxes compete for them: 1 is the default's
	Pids        int     // processes and threads
}

// Bind shows the host's file or directory Source as Target inside, read-only,
// without set-user-ID and without devices. Target is created when it is
// missing, unless it lies in another bind, which is read-only.
type Bind struct {
	Source string
	Target string
}

// Process is a program that [Sandbox.Exec] starts. It gets Env and nothing
// else; Args includes the program's name; an empty Dir is /var/task. Name tells
// it apart from the others that run at the same time: the runtime process has
// none. Output, if not nil, is where it writes instead of [Sandbox.Output]; the
// caller closes its own end. LogFD, if not zero, is the number of one more
// descriptor that leads to [Sandbox.Output], at most 255. It is another open file
// than stdout: blocking, whatever becomes of that.
type Process struct {
	Name string
	Path string
	Args []string
	Env  []string
	Dir  string

	LogFD  int      `json:",omitempty"`
	Output *os.File `json:"-"`
}

// Exit tells how the process of that name ended: by a signal when Signal is not
// zero, else with Code.
type Exit struct {
	Name   string
	Code   int
	Signal syscall.Signal
}

// Error is a step of the sandbox's making that failed, on either side of the
// namespace. Err is a [syscall.Errno] whenever the kernel refused.
type Error struct {
	Step string
	Err  error
}

func (e *Error) Error() string { return e.Step + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Check is one thing that [Probe] looked at. Hint says how to get it when OK is false.
type Check struct {
	Name   string
	OK     bool
	Detail string
	Hint   string
}

// Report is what this host can do for sandboxes. Usable is whether functions
// can run at all; NotEnforced lists, in sentences, what stays open.
type Report struct {
	Usable      bool
	Rootless    bool
	Checks      []Check
	NotEnforced []string
}
