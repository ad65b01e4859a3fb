package sandbox

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// period is AWS's: of each the function's processes may run for so many
	// processors' worth of it. A longer one would make them wait longer.
	period = 20 * time.Millisecond
	// initCPUs is what an initialization has whatever the function's size.
	initCPUs = 2
	// ownPids are the threads that the init may have, in version 2, and in both
	// the thread that forks for it.
	ownPids = 64
	// spare is what memory may go beyond its limit: the kernel counts in batches
	// per processor.
	spare = 2 << 20
)

// group is the control group of one sandbox.
type group struct {
	in   *instance
	name string

	limit int64    // of memory in bytes; set by start, like the rest of these
	base  int64    // what the init has of it
	cpus  float64  // zero is no limit
	usage *os.File // nil without a limit of memory
	peak  *os.File // nil where the kernel keeps none

	// Held while a file of the kernel's is written, for a freeze and a thaw must
	// not overtake each other. It waits for nobody.
	mu       sync.Mutex
	frozen   bool
	closed   bool      // never to be frozen again
	due      time.Time // when to freeze; zero while the sandbox is in use
	settled  bool      // the processors are limited
	executed bool      // a runtime process was started before
	ooms     int64     // kills that are known
	killed   bool      // by us, for its memory
	seen     int64     // what peak said last
	cache    int64     // the most that was seen of files in memory, /tmp among them
	working  int64     // the most memory without those
}

// group makes the control group of one sandbox, and with the first the
// instance. Without any controller it returns nil.
func (n *instance) group() (_ *group, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lead() == "" {
		return nil, nil
	}
	if n.name == "" {
		if err := n.make(); err != nil {
			return nil, step("make control groups", err)
		}
	}
	n.serial++
	g := &group{in: n, name: strconv.Itoa(n.serial)}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.remove())
		}
	}()
	for _, dir := range g.dirs() {
		if err := n.makeGroup(dir); err != nil {
			return nil, step("make control group", err)
		}
	}
	if n.version == 2 {
		inner := filepath.Join(g.dir(freezer), functionGroup)
		if err := n.makeGroup(inner); err != nil {
			return nil, step("make control group", err)
		}
		if err := writeGroup(filepath.Join(inner, "cgroup.type"), "threaded"); err != nil {
			return nil, step("make control group", err)
		}
	}
	return g, nil
}

// dir is the group's directory for a controller.
func (g *group) dir(controller string) string { return filepath.Join(g.in.dir(controller), g.name) }

func (g *group) dirs() (dirs []string) {
	for _, dir := range g.in.dirs() {
		dirs = append(dirs, filepath.Join(dir, g.name))
	}
	return dirs
}

// joins are the files to which a thread writes 0 to be among the function's.
func (g *group) joins() (files []string) {
	if g.in.version == 2 {
		return []string{filepath.Join(g.dir(freezer), functionGroup, "cgroup.threads")}
	}
	for _, dir := range g.dirs() {
		files = append(files, filepath.Join(dir, "tasks"))
	}
	return files
}

// melter is the file to which the init writes when the server is gone, so that
// the kernel's signal reaches those who are frozen. Version 2 needs none.
func (g *group) melter() string {
	if g.in.version != 1 || !g.in.has(freezer) {
		return ""
	}
	return filepath.Join(g.dir(freezer), "freezer.state")
}

// entrance is the directory into which the init is cloned, in version 2.
func (g *group) entrance() (*os.File, error) {
	if g == nil || g.in.version != 2 {
		return nil, nil
	}
	fd, err := unix.Open(g.dir(freezer), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, step("open control group", err)
	}
	return os.NewFile(uintptr(fd), "cgroup"), nil
}

// setting is a value for a file of a group.
type setting struct {
	controller, file, value string
	optional                bool // not every kernel has the file
}

func (g *group) write(settings []setting) error {
	for _, s := range settings {
		if !g.in.has(s.controller) {
			continue
		}
		err := writeGroup(filepath.Join(g.dir(s.controller), s.file), s.value)
		if s.optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return step("limit "+s.controller, err)
		}
	}
	return nil
}

// start writes the limits of spec. Those of the processors come with settle.
func (g *group) start(spec Spec) error {
	if g == nil {
		return nil
	}
	if spec.MemoryBytes > 0 && g.in.has(memory) {
		if err := g.watch(); err != nil {
			return step("limit memory", err)
		}
		base, err := number(g.usage)
		if err != nil {
			return step("limit memory", err)
		}
		if g.in.version == 2 {
			g.base = base
		}
		g.limit = spec.MemoryBytes
	}
	g.cpus = spec.CPUs
	return g.write(g.limits(spec))
}

// limits are the files to write for spec. What a function has in /tmp is memory
// to the kernel, and to AWS a disk; therefore the kernel's limit includes it,
// and [Pool] looks after those who take it for something else.
func (g *group) limits(spec Spec) (all []setting) {
	if spec.MemoryBytes > 0 {
		max := strconv.FormatInt(spec.MemoryBytes+tmpBytes(spec)+g.base+spare, 10)
		if g.in.version == 2 {
			all = append(all, setting{memory, "memory.max", max, false}, setting{memory, "memory.swap.max", "0", true})
		} else {
			all = append(all, setting{memory, "memory.limit_in_bytes", max, false}, setting{memory, "memory.memsw.limit_in_bytes", max, true})
		}
	}
	if spec.Pids > 0 {
		own := 1
		if g.in.version == 2 {
			own = ownPids
		}
		all = append(all, setting{pids, "pids.max", strconv.Itoa(spec.Pids + own), false})
	}
	if spec.CPUs > 0 {
		all = append(all, g.processors(max(spec.CPUs, initCPUs), false)...)
	}
	if spec.Share > 0 {
		// The kernel's defaults are 100 and 1024, its least 1 and 2.
		if g.in.version == 2 {
			all = append(all, setting{cpu, "cpu.weight", strconv.Itoa(min(max(int(100*spec.Share), 1), 10_000)), false})
		} else {
			all = append(all, setting{cpu, "cpu.shares", strconv.Itoa(min(max(int(1024*spec.Share), 2), 1<<18)), false})
		}
	}
	return all
}

func tmpBytes(spec Spec) int64 {
	if spec.TmpBytes <= 0 {
		return defaultTmp
	}
	return spec.TmpBytes
}

// processors are the files that limit the processors to so many. What was not
// used of one period may be used in the next, with burst.
func (g *group) processors(n float64, burst bool) []setting {
	// The kernel's least is a millisecond.
	quota := strconv.FormatInt(max(int64(n*float64(period.Microseconds())), 1000), 10)
	per := strconv.FormatInt(period.Microseconds(), 10)
	if g.in.version == 2 {
		all := []setting{{cpu, "cpu.max", quota + " " + per, false}}
		if burst {
			all = append(all, setting{cpu, "cpu.max.burst", quota, true})
		}
		return all
	}
	all := []setting{{cpu, "cpu.cfs_period_us", per, false}, {cpu, "cpu.cfs_quota_us", quota, false}}
	if burst {
		all = append(all[1:], setting{cpu, "cpu.cfs_burst_us", quota, true})
	}
	return all
}

// settle limits the processors to the function's own, or with false to what an
// initialization has.
func (g *group) settle(on bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.settled == on || g.cpus == 0 {
		return nil
	}
	g.settled = on
	if on {
		return g.write(g.processors(g.cpus, true))
	}
	return g.write(g.processors(max(g.cpus, initCPUs), false))
}

// freeze stops every process of the function's, or lets them go on. It wants g.mu.
func (g *group) freeze(on bool) error {
	if g.frozen == on || !g.in.has(freezer) || on && g.closed {
		return nil
	}
	file, value := filepath.Join(g.dir(freezer), "freezer.state"), "THAWED"
	if on {
		value = "FROZEN"
	}
	if g.in.version == 2 {
		file, value = filepath.Join(g.dir(freezer), functionGroup, "cgroup.freeze"), "0"
		if on {
			value = "1"
		}
	}
	if err := writeGroup(file, value); err != nil {
		return step("freeze", err)
	}
	g.frozen = on
	return nil
}

// melt thaws for good, before what is inside is killed.
func (g *group) melt() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	return g.freeze(false)
}

// wake thaws, and says whether it had to.
func (g *group) wake() (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.due = time.Time{}
	if !g.frozen {
		return false, nil
	}
	return true, g.freeze(false)
}

// watch opens the files that tell how much memory is used.
func (g *group) watch() (err error) {
	usage, peak := "memory.usage_in_bytes", "memory.max_usage_in_bytes"
	if g.in.version == 2 {
		usage, peak = "memory.current", "memory.peak"
	}
	g.usage, err = openGroup(filepath.Join(g.dir(memory), usage))
	if err != nil {
		return err
	}
	g.peak, err = openGroup(filepath.Join(g.dir(memory), peak))
	if errors.Is(err, fs.ErrNotExist) { // version 2 before Linux 5.19
		err = nil
	}
	return err
}

// openGroup opens a file to be read again and again. Package os would have its
// poller wait for it, as the kernel seems to offer.
func openGroup(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func number(f *os.File) (int64, error) {
	var buf [32]byte
	n, err := f.ReadAt(buf[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(buf[:n])), 10, 64)
}

// fields of a file of "key value" lines.
func (g *group) field(controller, file, key string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(g.dir(controller), file))
	if err != nil {
		return 0, err
	}
	return fieldOf(string(b), key)
}

var errNoField = errors.New("no such field")

func fieldOf(text, key string) (int64, error) {
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		if k == key {
			return strconv.ParseInt(v, 10, 64)
		}
	}
	return 0, errNoField
}

// files is the memory that holds contents of files, those in /tmp included.
func (g *group) files() (int64, error) {
	if g.in.version == 2 {
		return g.field(memory, "memory.stat", "file")
	}
	return g.field(memory, "memory.stat", "total_cache")
}

// greedy says whether the function uses more memory than it has.
func (g *group) greedy() bool {
	if g.limit == 0 {
		return false
	}
	usage, err := number(g.usage)
	if err != nil || usage <= g.limit+g.base+spare {
		return false
	}
	files, err := g.files()
	if err != nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cache = max(g.cache, files)
	g.working = max(g.working, usage-files-g.base)
	if usage-files <= g.limit+g.base+spare || g.killed {
		return false
	}
	g.killed = true
	return true
}

// measure is the most memory that all processes together had so far, without
// contents of files. It says false when that can't be more than it said last.
func (g *group) measure() (most int64, changed bool, err error) {
	if g == nil || g.limit == 0 {
		return 0, false, errNoField
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	file := g.peak
	if file == nil {
		file = g.usage
	}
	now, err := number(file)
	if err != nil {
		return 0, false, err
	}
	if now == g.seen {
		return g.working, false, nil
	}
	files, err := g.files()
	if err != nil {
		return 0, false, err
	}
	g.seen = now
	g.cache = max(g.cache, files)
	g.working = max(g.working, now-g.cache-g.base)
	return g.working, true, nil
}

// starved says whether something was killed for its memory since it was asked last.
func (g *group) starved() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	killed := g.killed
	g.killed = false
	if g.limit == 0 {
		return false
	}
	file := "memory.oom_control"
	if g.in.version == 2 {
		file = "memory.events"
	}
	n, err := g.field(memory, file, "oom_kill")
	if err != nil {
		return killed
	}
	killed = killed || n > g.ooms
	g.ooms = n
	return killed
}

// remove removes the group, whose processes are gone.
func (g *group) remove() error {
	if g == nil {
		return nil
	}
	var all error
	for _, f := range []*os.File{g.usage, g.peak} {
		if f != nil {
			all = errors.Join(all, f.Close())
		}
	}
	for _, dir := range g.dirs() {
		if g.in.version == 2 {
			all = errors.Join(all, g.in.removeGroup(filepath.Join(dir, functionGroup)))
		}
		all = errors.Join(all, g.in.removeGroup(dir))
	}
	return all
}
