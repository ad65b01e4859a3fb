package metrics

import (
	"encoding/binary"
	"slices"
	"time"
)

// steps are the bounds of buckets within a decade. They are at most 14 % apart,
// and have the round numbers that other histograms use.
var steps = [...]int64{100, 110, 120, 135, 150, 165, 180, 200, 225, 250, 275, 300, 335, 370, 400, 450, 500, 550, 600, 670, 750, 820, 900}

const (
	decades = 7 // 0.1 ms to 1000 s
	buckets = decades*23 + 2
)

// bounds are the inclusive upper bounds of all buckets but the last, which has
// none.
var bounds = func() (b [buckets - 1]int64) {
	unit := int64(time.Microsecond)
	for d := range decades {
		for i, s := range steps {
			b[d*len(steps)+i] = s * unit
		}
		unit *= 10
	}
	b[buckets-2] = 100 * unit
	return b
}()

// histogram counts durations.
type histogram struct {
	counts   [buckets]uint64
	count    uint64
	sum      time.Duration
	min, max time.Duration // of count, if any
}

// bucketOf is the bucket that counts a duration.
func bucketOf(d time.Duration) int {
	low, high := 0, len(bounds)
	for low < high {
		if mid := int(uint(low+high) >> 1); bounds[mid] < int64(d) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

func (h *histogram) add(d time.Duration) { h.addTo(bucketOf(d), d) }

// addTo adds a duration to the bucket that is known to be its.
func (h *histogram) addTo(bucket int, d time.Duration) {
	d = max(d, 0)
	h.counts[bucket]++
	if h.count == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.count++
	h.sum += d
}

// merge adds what other counted.
func (h *histogram) merge(other *histogram) {
	if other.count == 0 {
		return
	}
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.join(other.count, other.sum, other.min, other.max)
}

func (h *histogram) join(count uint64, sum, least, most time.Duration) {
	if h.count == 0 || least < h.min {
		h.min = least
	}
	h.max = max(h.max, most)
	h.count += count
	h.sum += sum
}

// quantile estimates the duration that the share q of all do not exceed. The
// error is at most half a bucket, 7 %. It is 0 when there are none.
func (h *histogram) quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	rank := q * float64(h.count)
	seen := 0.0
	for i, n := range h.counts {
		if n == 0 {
			continue
		}
		if seen+float64(n) < rank {
			seen += float64(n)
			continue
		}
		low, high := int64(0), int64(h.max)
		if i > 0 {
			low = bounds[i-1]
		}
		if i < len(bounds) {
			high = bounds[i]
		}
		d := time.Duration(float64(low) + float64(high-low)*(rank-seen)/float64(n))
		return min(max(d, h.min), h.max)
	}
	return h.max
}

// packed is a histogram that nothing is added to any more: of each bucket that
// has something, how far it is from the one before, and how much it has.
type packed struct {
	counts   []byte // pairs of varints
	count    uint64
	sum      time.Duration
	min, max time.Duration
}

func (h *histogram) pack() packed {
	p := packed{count: h.count, sum: h.sum, min: h.min, max: h.max}
	if h.count == 0 {
		return p
	}
	var b [buckets * (2 + binary.MaxVarintLen64)]byte
	n, last := 0, 0
	for i, c := range h.counts {
		if c > 0 {
			n += binary.PutUvarint(b[n:], uint64(i-last))
			n += binary.PutUvarint(b[n:], c)
			last = i
		}
	}
	p.counts = slices.Clone(b[:n])
	return p
}

// addTo adds what was packed to a histogram.
func (p *packed) addTo(h *histogram) {
	if p.count == 0 {
		return
	}
	i := uint64(0)
	for b := p.counts; len(b) > 0; {
		gap, n := binary.Uvarint(b)
		c, m := binary.Uvarint(b[n:])
		b = b[n+m:]
		i += gap
		h.counts[i] += c
	}
	h.join(p.count, p.sum, p.min, p.max)
}
