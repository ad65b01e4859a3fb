package logs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/fsx"
)

// Options configures a [Store]. Dir, Log and Now are required.
type Options struct {
	// Dir is the store's; it is made when absent, and must be this store's only.
	Dir string
	// Bytes is what the store may take on the disk; zero is 1 GB. The oldest
	// segments go first. It is at least [MinBytes].
	Bytes int64
	Log   *slog.Logger
	Now   func() time.Time
}

// MinBytes is the least that a store can do with.
const MinBytes = 1 << 20

const (
	defaultBytes = 1 << 30
	// Bounds of a segment, which is otherwise a 64th of the store.
	minSegment = 64 << 10
	maxSegment = 4 << 20

	maxGroups  = 50_000
	maxStreams = 100_000 // of one group

	// readers is how many reads may be under way: each has some megabytes.
	readers = 8

	tidyEvery  = time.Minute
	keepLoaded = 10 * time.Minute // of a group that nobody uses
	// future is how much later than its ingestion an event may be.
	future = 2 * time.Hour
)

// Store keeps the logs of all accounts and regions. Its methods may be called at
// the same time.
type Store struct {
	options      Options
	segmentBytes int64
	maxStreams   int
	disk         atomic.Int64
	reading      chan struct{} // holds one for each read that is under way

	mu     sync.Mutex
	groups map[groupID]*group

	// making is the turn to make and to delete groups, held across I/O. Taken
	// before a group's writing.
	making sync.Mutex

	in intake
	// flushing is the turn to write what was taken in, held across I/O.
	flushing sync.Mutex

	warned sync.Map // what was warned of lately: string to time.Time
}

// Open opens the store in a directory. It reads no events: a group's are found
// when they are first wanted. It starts nothing.
func Open(o Options) (*Store, error) {
	o.Bytes = cmp.Or(o.Bytes, defaultBytes)
	if o.Bytes < MinBytes {
		return nil, fmt.Errorf("open logs: %d bytes are too few; want %d", o.Bytes, MinBytes)
	}
	s := &Store{
		options: o, maxStreams: maxStreams,
		segmentBytes: min(max(o.Bytes/64, minSegment), maxSegment),
		reading:      make(chan struct{}, readers),
		groups:       map[groupID]*group{},
	}
	s.in.init()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open logs: %w", err)
	}
	if err := s.find(); err != nil {
		return nil, fmt.Errorf("open logs: %w", err)
	}
	return s, nil
}

func (s *Store) now() time.Time { return s.options.Now() }

func (s *Store) account(bytes int64) { s.disk.Add(bytes) }

const trash = ".deleted-" // begins the names of groups that are being removed

// find finds all groups: Dir/account/region/hash of the name.
func (s *Store) find() error {
	entries, err := os.ReadDir(s.options.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), trash) {
			if err := fsx.RemoveAll(filepath.Join(s.options.Dir, e.Name())); err != nil {
				return err
			}
		}
	}
	dirs, err := filepath.Glob(filepath.Join(globLiteral(s.options.Dir), "*", "*", "*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		region := filepath.Dir(dir)
		scope := lamina.Scope{Account: filepath.Base(filepath.Dir(region)), Region: filepath.Base(region)}
		g, err := openGroup(s, scope, dir)
		if errors.Is(err, fs.ErrNotExist) {
			// It was being made when the server died, and nobody was told of it.
			if err := fsx.RemoveAll(dir); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		s.groups[g.id] = g
		s.account(g.disk())
	}
	return nil
}

// globLiteral is a path as a pattern that matches nothing else.
func globLiteral(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// Run writes what [Store.Write] takes, keeps the store within its bounds, and
// drops what is older than retention allows. When ctx ends it writes what is left
// and returns.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	wait := time.NewTimer(0)
	defer wait.Stop()
	if !wait.Stop() {
		<-wait.C
	}
	for {
		select {
		case <-s.in.wake:
			// More comes in a moment, and goes with it in one write.
			wait.Reset(gather)
		case <-wait.C:
			s.flush()
		case <-s.in.full:
			s.flush()
		case <-tick.C:
			s.tidy()
		case <-ctx.Done():
			s.flush()
			return s.close()
		}
	}
}

// close saves what would otherwise have to be read again at the next start.
func (s *Store) close() error {
	var all []error
	for _, g := range s.all() {
		all = append(all, g.unload(s.now()))
	}
	return errors.Join(all...)
}

func (s *Store) all() []*group {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*group, 0, len(s.groups))
	for _, g := range s.groups {
		all = append(all, g)
	}
	return all
}

// tidy does what time asks for.
func (s *Store) tidy() {
	now := s.now()
	for _, g := range s.all() {
		if err := g.expire(now); err != nil && !errors.Is(err, errGone) {
			s.warn("log retention not kept", g.id.ARN(), err)
		}
		if err := g.unload(now.Add(-keepLoaded)); err != nil {
			s.warn("log index not written", g.id.ARN(), err)
		}
	}
	s.bound()
}

// bound drops the oldest segments until the store is within its size.
func (s *Store) bound() {
	for s.disk.Load() > s.options.Bytes {
		var oldest *group
		at := int64(0)
		for _, g := range s.all() {
			g.mu.Lock()
			if len(g.segments) > 0 && !g.gone && (oldest == nil || g.segments[0].written < at) {
				oldest, at = g, g.segments[0].written
			}
			g.mu.Unlock()
		}
		if oldest == nil {
			return
		}
		oldest.writing.Lock()
		err := oldest.drop(1)
		oldest.writing.Unlock()
		if err != nil && !errors.Is(err, errGone) {
			s.warn("old logs not dropped", oldest.id.ARN(), err)
			return
		}
	}
}

// expire drops the segments in which every event is older than the retention.
func (g *group) expire(now time.Time) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	g.mu.Lock()
	n := 0
	if days := g.about.RetentionInDays; days > 0 {
		before := now.Add(-future).AddDate(0, 0, -int(days)).UnixMilli()
		for n < len(g.segments) && g.segments[n].written < before {
			n++
		}
	}
	g.mu.Unlock()
	if n == 0 {
		return nil
	}
	return g.drop(n)
}

// unload forgets what the index can tell, if nobody used the group since.
func (g *group) unload(since time.Time) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	g.mu.Lock()
	leave := !g.loaded || g.gone || g.used.After(since)
	g.mu.Unlock()
	if leave {
		return nil
	}
	if err := g.save(); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.loaded, g.names, g.ids = false, nil, nil
	return nil
}

// group returns a group, or the exception that there is none.
func (s *Store) group(id groupID) (*group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[id]; g != nil {
		return g, nil
	}
	return nil, noGroup()
}

// createGroup makes a group that must not exist yet.
func (s *Store) createGroup(scope lamina.Scope, about description) (*group, error) {
	id := groupID{Scope: scope, Name: about.Name}
	s.making.Lock()
	defer s.making.Unlock()
	s.mu.Lock()
	have, n := s.groups[id], len(s.groups)
	s.mu.Unlock()
	switch {
	case have != nil:
		return have, groupExists()
	case n >= maxGroups:
		return nil, limitExceeded()
	}
	hash := sha256.Sum256([]byte(about.Name))
	region := filepath.Join(s.options.Dir, scope.Account, scope.Region)
	g := &group{id: id, store: s, dir: filepath.Join(region, hex.EncodeToString(hash[:16]))}
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make log group: %w", err)
	}
	if err := g.saveDescription(about); err != nil {
		return nil, fmt.Errorf("make log group: %w", err)
	}
	for _, dir := range []string{region, filepath.Dir(region), s.options.Dir} {
		if err := fsx.SyncDir(dir); err != nil {
			return nil, fmt.Errorf("make log group: %w", err)
		}
	}
	s.account(g.disk())
	s.mu.Lock()
	s.groups[id] = g
	s.mu.Unlock()
	return g, nil
}

// deleteGroup removes a group that may be deleted.
func (s *Store) deleteGroup(id groupID) error {
	s.making.Lock()
	defer s.making.Unlock()
	g, err := s.group(id)
	if err != nil {
		return err
	}
	g.writing.Lock()
	defer g.writing.Unlock()
	g.mu.Lock()
	protected := g.about.DeletionProtection
	g.mu.Unlock()
	if protected {
		return invalidRequest("The log group is protected from deletion; turn its deletion protection off first.")
	}
	// Out of the way in one step, and then at leisure.
	away := filepath.Join(s.options.Dir, trash+strconv.FormatInt(s.now().UnixNano(), 36)+"-"+filepath.Base(g.dir))
	if err := os.Rename(g.dir, away); err != nil {
		return fmt.Errorf("delete log group: %w", err)
	}
	g.mu.Lock()
	g.gone = true
	s.account(-g.disk())
	g.mu.Unlock()
	s.mu.Lock()
	delete(s.groups, id)
	s.mu.Unlock()
	if err := errors.Join(fsx.SyncDir(filepath.Dir(g.dir)), fsx.RemoveAll(away)); err != nil {
		return fmt.Errorf("delete log group: %w", err)
	}
	return nil
}

// list returns the groups of an account and region by name.
func (s *Store) list(scope lamina.Scope) []*group {
	s.mu.Lock()
	var all []*group
	for id, g := range s.groups {
		if id.Scope == scope {
			all = append(all, g)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *group) int { return strings.Compare(a.id.Name, b.id.Name) })
	return all
}

// warnEvery is how often the same thing is warned of.
const warnEvery = time.Minute

// warn logs what went wrong, and says the same about the same group rarely: a full
// disk has it happen many times a second.
func (s *Store) warn(what, group string, err error) {
	now := s.now()
	if at, ok := s.warned.Load(what); ok && now.Sub(at.(time.Time)) < warnEvery { //nolint:forcetypeassert // nothing else is stored
		return
	}
	s.warned.Store(what, now)
	s.options.Log.LogAttrs(context.Background(), slog.LevelWarn, what, slog.String("group", group), slog.Any("err", err))
}

func (s *Store) warnTorn(g *group, bytes int64) {
	s.options.Log.LogAttrs(context.Background(), slog.LevelWarn, "end of a log segment was lost",
		slog.String("group", g.id.ARN()), slog.Int64("bytes", bytes))
}
