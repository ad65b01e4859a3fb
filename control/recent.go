package control

import "sync"

// maxRecent bounds how many functions are remembered.
const maxRecent = 4096

// recent remembers what references meant since the store last changed, so that
// a warm invocation needs no database. It holds nothing older than the commit
// that it was read after; see store.Commits.
type recent struct {
	mu      sync.RWMutex
	commits uint64
	known   map[reference]runnable
}

func (r *recent) find(commits uint64, ref reference) (runnable, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.commits != commits {
		return runnable{}, false
	}
	v, ok := r.known[ref]
	return v, ok
}

// keep remembers v, which was read when the store had seen that many commits.
func (r *recent) keep(commits uint64, ref reference, v runnable) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if commits < r.commits {
		return // read before a change that somebody else already saw
	}
	if r.known == nil || commits > r.commits || len(r.known) >= maxRecent {
		r.known, r.commits = map[reference]runnable{}, commits
	}
	r.known[ref] = v
}
