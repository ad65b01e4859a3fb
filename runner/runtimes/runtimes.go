package runtimes

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
)

// Config says where to look for interpreters and where to keep what is made of them.
type Config struct {
	Log *slog.Logger
	// Dir is where the runtime clients are written; it is made when missing.
	Dir string
	// Explicit holds runtime=path, such as python3.12=/opt/py/bin/python3.12.
	// They win over whatever is found.
	Explicit []string
	// Libraries holds name=directory, where name is a runtime or a whole family,
	// such as python=/srv/boto3. Functions find what is in it after all that they
	// bring themselves, as they find AWS's SDKs in AWS's runtimes.
	Libraries []string
	// Getenv reads the server's environment: HOME, PATH, PYENV_ROOT and others
	// that version managers use.
	Getenv func(string) string
	Now    func() time.Time
}

// Interpreter is a language on the host that can run functions.
type Interpreter struct {
	Runtime string // the runtime that it serves, such as python3.12
	Path    string // the binary, with no symbolic link left
	Prefix  string // the installation that it belongs to
	Version string // such as 3.12.1
	Source  string // how it was found: explicit, PATH, pyenv, …

	library string   // the directory of Python's standard library
	shares  []string // more of the host that a JDK has links to
	options []string // of Node.js or the JVM, that this one understands
	Client  string   // the directory that /var/runtime shows
}

// Missing is one runtime for which [Set.Interpreters] found nothing that works.
type Missing struct {
	Runtime string
	Path    string // empty when there was not even a candidate
	Err     error
}

// candidate is a binary that may serve a runtime. Runtime is empty until the
// binary was asked for its version.
type candidate struct {
	runtime string
	path    string
	source  string
}

// language is what differs in finding interpreters.
type language struct {
	// places are globs for binaries, best first. A leading $NAME is replaced.
	places []place
	// names are the globs of binaries in the directories of PATH.
	names []string
	// runtimeOf tells the runtime from a path, or returns empty.
	runtimeOf func(path string) string
	// ask runs the binary and returns the runtime that it serves.
	ask func(ctx context.Context, path string) (string, error)
	// newer says that a newer interpreter runs what was made for an older one.
	newer bool
	// inspect completes the interpreter by running the binary.
	inspect func(ctx context.Context, s *Set, in *Interpreter) error
	// complete does what takes longer, when the interpreter is going to be used.
	complete func(ctx context.Context, s *Set, in *Interpreter)
}

type place struct {
	source string
	glob   string
}

// again is how long what was not found is believed.
const again = 5 * time.Second

// Set holds the interpreters of this host. It looks for them when they are first
// wanted and remembers what it found.
type Set struct {
	config    Config
	explicit  []candidate
	libraries map[string]string // directories by runtime or family

	mu       sync.Mutex
	searches map[string]*search // by family
	found    map[string]*find   // by runtime
}

// search is one look at the host for the interpreters of a family.
type search struct {
	done       chan struct{} // closed by whoever searches
	at         time.Time
	candidates []candidate
}

// find is the interpreter of one runtime, or why there is none.
type find struct {
	done        chan struct{} // closed by whoever looks
	at          time.Time
	interpreter Interpreter
	err         error
	completing  sync.Once
}

// New returns a set that has looked at nothing yet. It fails when an explicit
// entry is not of the form runtime=path or names a runtime that has no interpreter.
func New(c Config) (*Set, error) {
	s := &Set{config: c, libraries: map[string]string{}, searches: map[string]*search{}, found: map[string]*find{}}
	for _, e := range c.Explicit {
		runtime, path, ok := strings.Cut(strings.TrimSpace(e), "=")
		if !ok || path == "" {
			return nil, fmt.Errorf("parse runtime %q: want runtime=path, such as python3.12=/opt/python/bin/python3.12", e)
		}
		if _, ok := languages[lamina.RuntimeFamily(runtime)]; !ok {
			return nil, fmt.Errorf("parse runtime %q: only python, nodejs, ruby and java runtimes have an interpreter", e)
		}
		s.explicit = append(s.explicit, candidate{runtime, path, "explicit"})
	}
	for _, e := range c.Libraries {
		name, dir, ok := strings.Cut(strings.TrimSpace(e), "=")
		if _, known := languages[lamina.RuntimeFamily(name)]; !ok || !known || !filepath.IsAbs(dir) {
			return nil, fmt.Errorf("parse library %q: want runtime=/directory, such as python=/srv/boto3", e)
		}
		s.libraries[name] = dir
	}
	return s, nil
}

var languages = map[string]language{"python": python, "nodejs": nodejs, "ruby": ruby, "java": java}

// Find returns the interpreter of a runtime, ready for use. Without one it fails
// with a [*lamina.RuntimeError].
func (s *Set) Find(ctx context.Context, runtime string) (Interpreter, error) {
	f, err := s.locate(ctx, runtime)
	if err != nil {
		return Interpreter{}, err
	}
	if complete := languages[lamina.RuntimeFamily(runtime)].complete; complete != nil {
		// As in locate: others wait for it, too.
		f.completing.Do(func() { complete(context.WithoutCancel(ctx), s, &f.interpreter) })
	}
	return f.interpreter, nil
}

// locate looks for the interpreter of a runtime, or waits for whoever does.
func (s *Set) locate(ctx context.Context, runtime string) (*find, error) {
	l, ok := languages[lamina.RuntimeFamily(runtime)]
	if !ok {
		return nil, &lamina.RuntimeError{
			Runtime: runtime,
			Hint:    unavailable(lamina.RuntimeFamily(runtime)),
		}
	}
	s.mu.Lock()
	f := s.found[runtime]
	if f != nil {
		select {
		case <-f.done:
			if f.err != nil && s.config.Now().Sub(f.at) > again {
				f = nil // it may have been installed since
			}
		default:
		}
	}
	if f != nil {
		s.mu.Unlock()
		select {
		case <-f.done:
			return f, f.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	f = &find{done: make(chan struct{})}
	s.found[runtime] = f
	s.mu.Unlock()
	// Others wait for the result, so the one whose turn it is does not give up
	// for all of them when its own request ends. What runs is short.
	f.interpreter, f.err = s.find(context.WithoutCancel(ctx), l, runtime)
	f.at = s.config.Now()
	close(f.done)
	return f, f.err
}

func (s *Set) find(ctx context.Context, l language, runtime string) (Interpreter, error) {
	candidates := s.candidates(ctx, lamina.RuntimeFamily(runtime), l)
	var broken error
	for _, c := range eligible(l, runtime, candidates) {
		in := Interpreter{Runtime: runtime, Path: c.path, Source: c.source}
		if err := l.inspect(ctx, s, &in); err != nil {
			broken = cmp.Or(broken, fmt.Errorf("%s: %w", c.path, err))
			s.config.Log.LogAttrs(ctx, slog.LevelWarn, "interpreter does not work",
				slog.String("runtime", runtime), slog.String("path", c.path), slog.Any("err", err))
			if c.source == "explicit" {
				break // what the operator chose is not silently replaced
			}
			continue
		}
		if c.runtime != runtime {
			s.config.Log.LogAttrs(ctx, slog.LevelWarn, "a newer interpreter stands in", slog.String("runtime", runtime), slog.String("version", in.Version))
		}
		s.config.Log.LogAttrs(ctx, slog.LevelInfo, "interpreter found",
			slog.String("runtime", runtime), slog.String("path", in.Path), slog.String("version", in.Version), slog.String("source", in.Source))
		return in, nil
	}
	return Interpreter{}, &lamina.RuntimeError{Runtime: runtime, Hint: hint(runtime, candidates, broken)}
}

// eligible returns the candidates for a runtime, best first: those of its own
// version, and where newer ones do as well, the nearest of these.
func eligible(l language, runtime string, candidates []candidate) []candidate {
	var own, newer []candidate
	for _, c := range candidates {
		switch {
		case c.runtime == runtime:
			own = append(own, c)
		case l.newer && c.source != "explicit" && byVersion(c.runtime, runtime) > 0:
			newer = append(newer, c)
		}
	}
	if len(own) > 0 && own[0].source == "explicit" {
		return own
	}
	slices.SortStableFunc(newer, func(a, b candidate) int { return byVersion(a.runtime, b.runtime) })
	return append(own, newer...)
}

// unavailable says what to do about a family that has no client here.
func unavailable(family string) string {
	if strings.HasPrefix(family, "dotnet") {
		return "Lamina has no runtime client for .NET; publish the function as a self-contained executable named bootstrap, with " +
			"Amazon.Lambda.RuntimeSupport, for provided.al2023"
	}
	return "Lamina runs python3.*, nodejs*, ruby3.*, java* and provided* functions; build others for provided.al2023"
}

func hint(runtime string, candidates []candidate, broken error) string {
	family := lamina.RuntimeFamily(runtime)
	binary := runtime
	switch family {
	case "nodejs":
		binary = "node"
	case "ruby", "java":
		binary = family
	}
	var b strings.Builder
	if broken != nil {
		fmt.Fprintf(&b, "%v; repair it", broken)
	} else {
		var others []string
		for _, c := range candidates {
			if !slices.Contains(others, c.runtime) {
				others = append(others, c.runtime)
			}
		}
		slices.SortFunc(others, byVersion)
		if len(others) == 0 {
			b.WriteString("no interpreter was found on this host")
		} else {
			fmt.Fprintf(&b, "this host has %s only", strings.Join(others, ", "))
		}
		b.WriteString("; install it")
	}
	fmt.Fprintf(&b, ", or name one with --runtime %s=/path/to/%s or LAMINA_RUNTIMES", runtime, binary)
	return b.String()
}

// byVersion orders names by the numbers in them.
func byVersion(a, b string) int {
	return slices.Compare(numbers(a), numbers(b))
}

func numbers(s string) []int {
	var out []int
	in := false
	for _, r := range s {
		if r < '0' || r > '9' {
			in = false
			continue
		}
		if !in {
			out = append(out, 0)
			in = true
		}
		out[len(out)-1] = out[len(out)-1]*10 + int(r-'0')
	}
	return out
}

// Interpreters looks for every interpreter on the host and reports the one that
// each runtime would use, and those that do not work.
func (s *Set) Interpreters(ctx context.Context) ([]Interpreter, []Missing) {
	var runtimes []string
	paths := map[string]string{}
	for family, l := range languages {
		for _, c := range s.candidates(ctx, family, l) {
			if c.runtime != "" && paths[c.runtime] == "" {
				paths[c.runtime] = c.path
				runtimes = append(runtimes, c.runtime)
			}
		}
	}
	slices.SortFunc(runtimes, func(a, b string) int {
		return cmp.Or(cmp.Compare(lamina.RuntimeFamily(a), lamina.RuntimeFamily(b)), byVersion(a, b))
	})
	type result struct {
		in  Interpreter
		err error
	}
	results := make([]result, len(runtimes))
	var asking sync.WaitGroup
	for i, r := range runtimes {
		asking.Go(func() {
			f, err := s.locate(ctx, r)
			if results[i].err = err; err == nil {
				results[i].in = f.interpreter
			}
		})
	}
	asking.Wait()
	var found []Interpreter
	var missing []Missing
	for i, r := range results {
		if r.err != nil {
			missing = append(missing, Missing{runtimes[i], paths[runtimes[i]], r.err})
			continue
		}
		found = append(found, r.in)
	}
	return found, missing
}

// candidates returns every binary of a family, best first.
func (s *Set) candidates(ctx context.Context, family string, l language) []candidate {
	s.mu.Lock()
	look := s.searches[family]
	if look != nil {
		select {
		case <-look.done:
			if s.config.Now().Sub(look.at) > again {
				look = nil
			}
		default:
		}
	}
	if look != nil {
		s.mu.Unlock()
		<-look.done // a search is short, and does not end with the request that began it
		return look.candidates
	}
	look = &search{done: make(chan struct{})}
	s.searches[family] = look
	s.mu.Unlock()
	look.candidates = s.search(context.WithoutCancel(ctx), family, l)
	look.at = s.config.Now()
	close(look.done)
	return look.candidates
}

func (s *Set) search(ctx context.Context, family string, l language) []candidate {
	var all []candidate
	for _, c := range s.explicit {
		if lamina.RuntimeFamily(c.runtime) == family {
			all = append(all, c)
		}
	}
	seen := map[string]bool{}
	for _, p := range s.places(l) {
		paths, err := filepath.Glob(p.glob)
		if err != nil {
			continue // a name in PATH with a bracket; no interpreter is lost that has another
		}
		// Within one place the newest first.
		slices.SortFunc(paths, func(a, b string) int { return byVersion(b, a) })
		for _, path := range paths {
			real, err := filepath.EvalSymlinks(path)
			if err != nil || seen[real] || !executable(real) {
				continue
			}
			seen[real] = true
			runtime := l.runtimeOf(path)
			if runtime == "" {
				runtime = l.runtimeOf(real)
			}
			all = append(all, candidate{runtime, path, p.source})
		}
	}
	var asking sync.WaitGroup
	for i := range all {
		if all[i].runtime == "" {
			asking.Go(func() {
				runtime, err := l.ask(ctx, all[i].path)
				if err == nil {
					all[i].runtime = runtime
				}
			})
		}
	}
	asking.Wait()
	return slices.DeleteFunc(all, func(c candidate) bool { return c.runtime == "" })
}

// places returns the globs to look at: PATH first, except for the system's own
// directories, which version managers come before.
func (s *Set) places(l language) []place {
	var out, system []place
	home := s.config.Getenv("HOME")
	for _, dir := range filepath.SplitList(s.config.Getenv("PATH")) {
		// Shims are scripts that choose a version when they run, somewhere else.
		if !filepath.IsAbs(dir) || filepath.Base(dir) == "shims" || dir == filepath.Join(home, ".volta/bin") {
			continue
		}
		for _, name := range l.names {
			p := place{"PATH", filepath.Join(dir, name)}
			switch dir {
			case "/usr/bin", "/usr/local/bin", "/bin":
				system = append(system, p)
			default:
				out = append(out, p)
			}
		}
	}
	for _, p := range l.places {
		glob := p.glob
		if strings.HasPrefix(glob, "$") {
			name, rest, _ := strings.Cut(glob[1:], "/")
			name, fallback, _ := strings.Cut(name, "|")
			root := s.config.Getenv(name)
			if root == "" {
				if home == "" {
					continue
				}
				root = filepath.Join(home, strings.ReplaceAll(fallback, ">", "/"))
			}
			glob = filepath.Join(root, rest)
		}
		out = append(out, place{p.source, glob})
	}
	for _, dir := range []string{"/usr/local/bin", "/usr/bin"} {
		for _, name := range l.names {
			system = append(system, place{"system", filepath.Join(dir, name)})
		}
	}
	return append(out, system...)
}
