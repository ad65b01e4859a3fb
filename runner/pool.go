package runner

import (
	"context"
	"slices"
	"time"

	"github.com/lamina-run/lamina"
)

// poolKey tells versions apart, and one $LATEST from the next.
type poolKey struct {
	function    lamina.FunctionID
	incarnation string
	number      int64
	fingerprint string
}

// revisionKey is cheaper than a fingerprint: who changes a version changes its
// revision, and who changes a directory that it shows changes the generation.
type revisionKey struct {
	function    lamina.FunctionID
	incarnation string
	number      int64
	revision    string
	generation  string
}

// pool holds the environments of one version. The runner's mutex guards it.
type pool struct {
	key       poolKey
	revisions []revisionKey // under which the runner knows it
	idle      []*environment
	live      int // environments that exist or are being started
	provision *provision
	retired   bool
}

// waiter is an invocation for which there is no slot.
type waiter struct {
	pool *pool
	// granted receives one grant from whoever frees an environment or a slot;
	// stop closes it instead. Capacity 1.
	granted chan grant
}

// grant is an environment, or with nil a slot for a new one.
type grant struct{ environment *environment }

func keyOf(v *lamina.Version, fingerprint string) poolKey {
	return poolKey{v.Function, v.Incarnation, v.Number, fingerprint}
}

// poolOf returns the pool of a version and makes it if need be. It wants r.mu.
func (r *Runner) poolOf(v *lamina.Version) (_ *pool, outdated []*environment) {
	revision := revisionKey{v.Function, v.Incarnation, v.Number, v.RevisionID, v.Code.Generation}
	if v.RevisionID != "" {
		if p := r.revisions[revision]; p != nil {
			return p, nil
		}
	}
	key := keyOf(v, v.Fingerprint())
	p := r.pools[key]
	if p == nil {
		if v.Number == 0 { // an update of $LATEST made the former one's environments useless
			for other, q := range r.pools {
				if other.function == key.function && other.number == 0 {
					outdated = append(outdated, r.retire(q)...)
				}
			}
		}
		p = &pool{key: key}
		r.pools[key] = p
	}
	if v.RevisionID != "" {
		p.revisions = append(p.revisions, revision)
		r.revisions[revision] = p
	}
	return p, outdated
}

// retire forgets a pool and returns its idle environments for the caller to
// close. It wants r.mu.
func (r *Runner) retire(p *pool) []*environment {
	p.retired = true
	if r.pools[p.key] == p {
		delete(r.pools, p.key)
	}
	for _, k := range p.revisions {
		if r.revisions[k] == p {
			delete(r.revisions, k)
		}
	}
	idle := p.idle
	p.idle = nil
	if s := p.provision; s != nil {
		idle = append(idle, s.ready...)
		s.ready = nil
		r.forget(s)
	}
	return idle
}

// Retire closes the environments of a version that changed or is deleted: idle
// ones at once, the others after their invocation. v is the version as it was.
func (r *Runner) Retire(v lamina.Version) {
	r.mu.Lock()
	var idle []*environment
	if p := r.pools[keyOf(&v, v.Fingerprint())]; p != nil {
		idle = r.retire(p)
	}
	if len(v.Directories()) > 0 { // nobody but the runner knows the generation
		for key, p := range r.pools {
			if key.function == v.Function && key.incarnation == v.Incarnation && key.number == v.Number {
				idle = append(idle, r.retire(p)...)
			}
		}
	}
	r.mu.Unlock()
	closeAll(idle)
}

// Environments counts them.
func (r *Runner) Environments() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Stats{Live: r.slots, Waiting: len(r.waiting)}
	for _, p := range r.pools {
		s.Idle += len(p.idle)
	}
	for _, provision := range r.provisions {
		s.Idle += len(provision.ready)
	}
	return s
}

// take returns an idle environment of v. Without one it returns nil and its
// pool, and the caller has a slot for a new environment. It adds to waited how
// long there was neither.
func (r *Runner) take(ctx context.Context, v *lamina.Version, waited *time.Duration) (*environment, *pool, error) {
	r.mu.Lock()
	if r.stopped {
		r.mu.Unlock()
		return nil, nil, errStopped
	}
	p, outdated := r.poolOf(v)
	if e, old := r.pop(p); e != nil {
		r.mu.Unlock()
		r.discard(append(outdated, old...))
		return e, p, nil
	} else if old != nil {
		outdated = append(outdated, old...)
	}
	if len(outdated) == 0 && r.slots >= r.max {
		// Of all that wait for their next invocation, the one that waited longest goes.
		if e := r.oldest(); e != nil {
			outdated = append(outdated, e)
		}
	}
	if full := r.slots >= r.max; !full || len(outdated) > 0 {
		r.slots++ // beyond max only until the outdated ones are closed, below
		p.live++
		r.environments.Add(1)
		r.mu.Unlock()
		if full {
			closeAll(outdated)
			return nil, p, nil
		}
		r.discard(outdated)
		return nil, p, nil
	}
	w := &waiter{pool: p, granted: make(chan grant, 1)}
	r.waiting = append(r.waiting, w)
	r.mu.Unlock()

	since := r.options.Now()
	defer func() { *waited += r.options.Now().Sub(since) }()
	patience := time.NewTimer(time.Duration(v.Config.Timeout) * time.Second)
	defer patience.Stop()
	var err error
	select {
	case g, ok := <-w.granted:
		if !ok {
			return nil, nil, errStopped
		}
		return g.environment, p, nil
	case <-patience.C:
		err = lamina.ErrBusy
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	r.mu.Lock()
	if i := slices.Index(r.waiting, w); i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
		r.mu.Unlock()
		return nil, nil, err
	}
	r.mu.Unlock()
	// Granted in the same moment.
	g, ok := <-w.granted
	switch {
	case ok && g.environment != nil:
		r.put(g.environment, true)
	case ok:
		r.free(p)
	}
	return nil, nil, err
}

// pop takes a provisioned environment of a pool, else the one that was used last,
// and those on the way to it that can't be used any longer. It wants r.mu.
func (r *Runner) pop(p *pool) (e *environment, old []*environment) {
	lists := []*[]*environment{&p.idle}
	if p.provision != nil {
		lists = []*[]*environment{&p.provision.ready, &p.idle}
	}
	now := r.options.Now()
	for _, list := range lists {
		for n := len(*list); n > 0; n-- {
			e := (*list)[n-1]
			*list = (*list)[:n-1]
			if !e.outlived(now) {
				return e, old
			}
			old = append(old, e)
		}
	}
	return nil, old
}

// discard closes environments while the caller goes on.
func (r *Runner) discard(all []*environment) {
	for _, e := range all {
		r.environments.Go(e.discard)
	}
}

// outlived takes the environments that can't be used any longer out of a pool. It
// wants r.mu.
func (r *Runner) outlived(p *pool) (out []*environment) {
	now := r.options.Now()
	take := func(from []*environment) []*environment {
		return slices.DeleteFunc(from, func(e *environment) bool {
			old := e.outlived(now)
			if old {
				out = append(out, e)
			}
			return old
		})
	}
	p.idle = take(p.idle)
	if p.provision != nil {
		p.provision.ready = take(p.provision.ready)
	}
	return out
}

// oldest takes the environment that is idle for longest out of its pool. It
// wants r.mu.
func (r *Runner) oldest() *environment {
	var from *pool
	for _, p := range r.pools {
		// The first in a pool is the one that was used least recently.
		if len(p.idle) > 0 && (from == nil || p.idle[0].idleSince.Before(from.idle[0].idleSince)) {
			from = p
		}
	}
	if from == nil {
		return nil
	}
	e := from.idle[0]
	from.idle = from.idle[1:]
	return e
}

// expired takes the environments that are idle since before the given time out
// of their pools, and those whose credentials are about to expire.
func (r *Runner) expired(before time.Time) []*environment {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*environment
	for _, p := range r.pools {
		n := 0
		for n < len(p.idle) && p.idle[n].idleSince.Before(before) {
			n++
		}
		out = append(out, p.idle[:n]...)
		p.idle = slices.Delete(p.idle, 0, n)
		out = append(out, r.outlived(p)...)
	}
	return out
}

// finish is put for an environment in which extensions may still be at work.
func (r *Runner) finish(e *environment, reusable bool) {
	after := e.after
	if after == nil {
		r.put(e, reusable)
		return
	}
	e.after = nil
	r.environments.Go(func() { r.put(e, after()) })
}

// put gives an environment back after an invocation.
func (r *Runner) put(e *environment, reusable bool) {
	if reusable {
		e.idle()
	}
	r.mu.Lock()
	s := e.provision
	if s != nil && (!e.running || s.live > s.want) { // no longer initialized, or released
		reusable = false
	}
	if !reusable || e.pool.retired || r.stopped || e.outlived(r.options.Now()) {
		r.mu.Unlock()
		e.discard()
		return
	}
	if len(r.waiting) == 0 {
		e.idleSince = r.options.Now()
		if s != nil {
			s.ready = append(s.ready, e)
		} else {
			e.pool.idle = append(e.pool.idle, e)
		}
		r.mu.Unlock()
		return
	}
	for i, w := range r.waiting {
		if w.pool == e.pool {
			r.waiting = slices.Delete(r.waiting, i, i+1)
			w.granted <- grant{e}
			r.mu.Unlock()
			return
		}
	}
	if s != nil { // it stays for its version's next invocation
		s.ready = append(s.ready, e)
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	e.discard() // its slot goes to another version's invocation
}

// free gives back a slot of p, whose environment is gone or never was.
func (r *Runner) free(p *pool) {
	r.mu.Lock()
	p.live--
	if p.live == 0 && p.provision == nil && !slices.ContainsFunc(r.waiting, func(w *waiter) bool { return w.pool == p }) {
		r.retire(p) // it has none that is idle
	}
	if len(r.waiting) > 0 && r.slots <= r.max {
		w := r.waiting[0]
		r.waiting = slices.Delete(r.waiting, 0, 1)
		w.pool.live++
		w.granted <- grant{} // the slot changes hands
		r.mu.Unlock()
		return
	}
	r.slots--
	r.mu.Unlock()
	r.environments.Done()
}
