package runner

import (
	"cmp"
	"slices"
	"time"

	"github.com/lamina-run/lamina"
)

// VersionStats are the environments of one version.
type VersionStats struct {
	Function lamina.FunctionID
	Number   int64 // 0 is $LATEST
	Starting int   // that are being made
	Busy     int   // that have an invocation, or still end one
	Idle     int
	// Provisioned is how many are wanted ahead of invocations, and Ready how many
	// of them are there.
	Provisioned, Ready int
	MemorySize         int64     // MB that each may use
	MaxMemory          int64     // bytes that one of them used, at most; 0 when nobody looked
	Oldest             time.Time // when the oldest was made; zero without any
}

// Versions tells of all versions that have environments, or are to have some, in
// the order of functions and numbers. It waits for nobody.
func (r *Runner) Versions() []VersionStats {
	type key struct {
		function lamina.FunctionID
		number   int64
	}
	r.mu.Lock()
	all := map[key]*VersionStats{}
	of := func(k poolKey) *VersionStats {
		id := key{k.function, k.number}
		s := all[id]
		if s == nil {
			s = &VersionStats{Function: k.function, Number: k.number}
			all[id] = s
		}
		return s
	}
	for k, p := range r.pools {
		s := of(k)
		s.Idle += len(p.idle)
		s.Starting += p.live // less those below, which live
		if p.provision != nil {
			s.Idle += len(p.provision.ready)
			s.Provisioned += p.provision.want
			s.Ready += min(p.provision.warm, p.provision.want)
			s.MemorySize = p.provision.version.Config.MemorySize
		}
	}
	for e := range r.live {
		s := of(e.pool.key)
		if e.pool.retired {
			s.Starting++ // its pool was not counted above
		}
		s.Busy++ // less the idle ones
		s.MemorySize = e.version.Config.MemorySize
		s.MaxMemory = max(s.MaxMemory, e.peak.Load())
		if s.Oldest.IsZero() || e.made.At.Before(s.Oldest) {
			s.Oldest = e.made.At
		}
	}
	r.mu.Unlock()
	out := make([]VersionStats, 0, len(all))
	for _, s := range all {
		s.Starting = max(s.Starting-s.Busy, 0)
		s.Busy = max(s.Busy-s.Idle, 0)
		if s.Starting+s.Busy+s.Idle+s.Provisioned > 0 {
			out = append(out, *s)
		}
	}
	slices.SortFunc(out, func(a, b VersionStats) int {
		return cmp.Or(cmp.Compare(a.Function.Account, b.Function.Account), cmp.Compare(a.Function.Region, b.Function.Region),
			cmp.Compare(a.Function.Name, b.Function.Name), cmp.Compare(a.Number, b.Number))
	})
	return out
}

// Limit is how many environments there can be at a time.
func (r *Runner) Limit() int { return r.max }

// Qualifier returns $LATEST or the number, as text.
func (s VersionStats) Qualifier() string { return lamina.Version{Number: s.Number}.Qualifier() }
