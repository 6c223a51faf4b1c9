package bench

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Histogram counts durations in buckets that grow with them: below 128 µs one
// for each microsecond, above that 64 for each doubling, so that a percentile is
// at most 1.6 % too high. It takes the same memory for any number of them and is
// safe for concurrent use; the zero histogram is empty.
type Histogram struct {
	counts [buckets]atomic.Int64
}

const (
	subBits = 6
	buckets = (33 - subBits) << subBits // up to 2^32 µs, which is over an hour
)

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	h.counts[min(bucketOf(uint64(max(d.Microseconds(), 0))), buckets-1)].Add(1)
}

// bucketOf finds the bucket of so many microseconds: the highest bits of the
// number, and how many are below them.
func bucketOf(us uint64) int {
	shift := max(bits.Len64(us)-subBits-1, 0)
	return shift<<subBits + int(us>>shift) // #nosec G115 -- a few bits are left
}

// topOf is the largest number of microseconds in a bucket.
func topOf(bucket int) uint64 {
	shift := max(bucket>>subBits-1, 0)
	return uint64(bucket-shift<<subBits+1)<<shift - 1 // #nosec G115 -- buckets are counted from 0
}

// Count is how many were counted.
func (h *Histogram) Count() (n int64) {
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

// Percentile is the time within which so many of a hundred stayed; 0 of an
// empty histogram.
func (h *Histogram) Percentile(p float64) time.Duration {
	total := h.Count()
	rank, below := int64(float64(total)*p/100+0.999999), int64(0)
	for i := range h.counts {
		if below += h.counts[i].Load(); below >= rank && total > 0 {
			return time.Duration(topOf(i)) * time.Microsecond // #nosec G115 -- of times that were measured
		}
	}
	return 0
}

// Merge adds what another histogram has counted.
func (h *Histogram) Merge(o *Histogram) {
	for i := range o.counts {
		h.counts[i].Add(o.counts[i].Load())
	}
}
