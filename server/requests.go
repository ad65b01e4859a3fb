package server

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/wire"
)

// Requests limits how many requests of an account are answered, by region and
// by service, as AWS's quotas of API requests do. Invocations have limits of
// their own and do not count.
//
// Each limit is a bucket of as many requests as a second may have: a client may
// send that many at once, and again when they have come back.
type Requests struct {
	rate, getFunction float64 // per second; 0 is no limit
	now               func() time.Time

	mu       sync.Mutex
	accounts map[string]map[string]buckets // by account and region
}

// NewRequests returns a limit of rate requests per second, which GetFunction
// counts apart from, as AWS does, with a rate of its own. 0 is no limit.
func NewRequests(rate, getFunction int64, now func() time.Time) *Requests {
	return &Requests{rate: float64(rate), getFunction: float64(getFunction), now: now, accounts: map[string]map[string]buckets{}}
}

// maxRegions bounds the regions of one account that have buckets of their own. A
// client can name any region; AWS has fewer.
const maxRegions = 40

// otherRegions is whose buckets all further regions share.
const otherRegions = ""

// buckets are those of an account in a region, by what counts together.
type buckets map[string]*bucket

type bucket struct {
	left float64
	at   time.Time
}

// fill adds what came back since the last time.
func (b *bucket) fill(rate float64, now time.Time) {
	if d := now.Sub(b.at); d > 0 {
		b.left, b.at = min(rate, b.left+d.Seconds()*rate), now
	}
}

// full reports whether all of them are as new.
func (r *Requests) full(all buckets, now time.Time) bool {
	for class, b := range all {
		rate := r.rateOf(class)
		if b.fill(rate, now); b.left < rate {
			return false
		}
	}
	return true
}

const (
	classGetFunction = "lambda GetFunction"
	classGetPolicy   = "lambda GetPolicy"
)

func (r *Requests) rateOf(class string) float64 {
	if class == classGetFunction {
		return r.getFunction
	}
	return r.rate
}

// classOf says what a request counts for; empty is nothing.
func classOf(service string, h http.Handler, req *http.Request) string {
	router, ok := h.(*wire.Router)
	switch {
	case service == s3Service: // has thousands a second at AWS
		return ""
	case !ok:
		return service
	case isInvoke(req): // in less time than the router takes
		return ""
	}
	switch operation, _ := router.Match(req); operation {
	case "Invoke", "InvokeAsync", "InvokeWithResponseStream":
		return ""
	case "GetFunction":
		return classGetFunction
	case "GetPolicy":
		return classGetPolicy
	}
	return service
}

// isInvoke reports whether a request is what the operation Invoke usually is.
func isInvoke(req *http.Request) bool {
	path, ok := strings.CutPrefix(req.URL.EscapedPath(), "/2015-03-31/functions/")
	name, ok2 := strings.CutSuffix(path, "/invocations")
	return ok && ok2 && req.Method == http.MethodPost && name != "" && !strings.Contains(name, "/")
}

// bucketOf returns the bucket of a class, under r.mu.
func (r *Requests) bucketOf(account, region, class string, now time.Time) *bucket {
	regions := r.accounts[account]
	if regions == nil {
		regions = map[string]buckets{}
		r.accounts[account] = regions
	}
	if regions[region] == nil && len(regions) >= maxRegions {
		for name, all := range regions {
			if r.full(all, now) {
				delete(regions, name)
			}
		}
		if len(regions) >= maxRegions {
			region = otherRegions
		}
	}
	all := regions[region]
	if all == nil {
		all = buckets{}
		regions[region] = all
	}
	b := all[class]
	if b == nil {
		b = &bucket{left: r.rateOf(class), at: now}
		all[class] = b
	}
	return b
}

// admit counts a request and returns the exception of one that is too many.
// With proven false, whoever claims to be the caller is not yet shown to be, and
// must not use up what is the caller's: it only looks whether there is any left,
// and [Requests.settle] counts.
func (r *Requests) admit(c identity.Caller, class string, proven bool) error {
	if r == nil || class == "" || r.rateOf(class) == 0 {
		return nil
	}
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.bucketOf(c.Account, c.Region, class, now)
	b.fill(r.rateOf(class), now)
	if b.left < 1 {
		if c.Service == "lambda" {
			return wire.TooManyRequests.New("Rate exceeded").With("Reason", "CallerRateLimitExceeded")
		}
		return wire.Throttling.New("Rate exceeded")
	}
	if proven {
		b.left--
	}
	return nil
}

// settle counts a request that was admitted before its caller was proven. As
// several may be under way, it can leave less than nothing.
func (r *Requests) settle(c identity.Caller, class string) {
	if r == nil || class == "" || r.rateOf(class) == 0 {
		return
	}
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.bucketOf(c.Account, c.Region, class, now)
	b.fill(r.rateOf(class), now)
	b.left = max(b.left-1, -r.rateOf(class))
}
