package metrics

import (
	"slices"
	"sync/atomic"
)

// Requests counts answers by service and class of status. It knows its services
// from the start, so that clients can't make up others.
type Requests struct {
	names  []string
	counts map[string]*[classes]atomic.Uint64 // of all names
}

const classes = 5 // 1xx to 5xx

// OtherService is what requests of a service that [NewRequests] was not told
// count for.
const OtherService = "other"

// NewRequests returns counters of the given services.
func NewRequests(services ...string) *Requests {
	r := &Requests{counts: map[string]*[classes]atomic.Uint64{}}
	for _, name := range append(slices.Clone(services), OtherService) {
		if r.counts[name] == nil {
			r.counts[name] = new([classes]atomic.Uint64)
			r.names = append(r.names, name)
		}
	}
	slices.Sort(r.names)
	return r
}

// Count counts one answer.
func (r *Requests) Count(service string, status int) {
	c := r.counts[service]
	if c == nil {
		c = r.counts[OtherService]
	}
	c[min(max(status/100, 1), classes)-1].Add(1)
}
