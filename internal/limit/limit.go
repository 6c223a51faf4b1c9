// Package limit bounds how often somebody may come, and tells who it is that
// comes, through proxies as well.
package limit

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Rate is how often somebody may come: Burst times at once, then once in Every.
type Rate struct {
	Burst int
	Every time.Duration
}

// PerSecond is n times a second, as many of them at once. It is the zero Rate
// for none.
func PerSecond(n int) Rate {
	if n <= 0 {
		return Rate{}
	}
	return Rate{Burst: n, Every: time.Second / time.Duration(n)}
}

const (
	// keptMax bounds how many are remembered. Above it those are forgotten who
	// could come as often as a new one.
	keptMax = 100_000
	// forgetEvery is how often that is tried at most: in a flood nobody can be
	// forgotten, and looking for them takes milliseconds.
	forgetEvery = time.Second
)

// Limits counts by key. It is safe for concurrent use.
type Limits struct {
	now func() time.Time

	count atomic.Int64 // of kept, for those who ask without a lock
	mu    sync.Mutex
	kept  map[string]*rate.Limiter
	tried time.Time // when it was last tried to forget somebody
}

// New returns Limits by a clock, which must not be one that tests of a partner
// can move.
func New(now func() time.Time) *Limits {
	return &Limits{now: now, kept: map[string]*rate.Limiter{}}
}

// Take counts one coming at a rate, and reports whether it is within. If not,
// it does not count, and wait is when the next would be. When too many are
// remembered and none can be forgotten, strangers are refused: that is a flood.
func (l *Limits) Take(key string, r Rate) (wait time.Duration, ok bool) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	one, known := l.kept[key]
	switch {
	case !known && len(l.kept) >= keptMax && !l.forget(now):
		return forgetEvery, false
	case !known:
		one = rate.NewLimiter(rate.Every(r.Every), r.Burst)
		l.kept[strings.Clone(key)] = one // it may be a part of a whole request
		l.count.Store(int64(len(l.kept)))
	case one.Limit() != rate.Every(r.Every) || one.Burst() != r.Burst: // a setting has changed
		one.SetLimitAt(now, rate.Every(r.Every))
		one.SetBurstAt(now, r.Burst)
	}
	if one.AllowN(now, 1) {
		return 0, true
	}
	return until(one, now), false
}

// Wait is how long it takes until Take would be within the rate; 0 for now, and
// for whoever is not remembered. It counts nothing.
func (l *Limits) Wait(key string) time.Duration {
	if l.count.Load() == 0 {
		return 0
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	one, known := l.kept[key]
	if !known || one.TokensAt(now) >= 1 {
		return 0
	}
	return until(one, now)
}

// until is when a limiter has one more to give, in whole microseconds.
func until(one *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - one.TokensAt(now)
	return max(time.Duration(missing/float64(one.Limit())*float64(time.Second)).Round(time.Microsecond), time.Microsecond)
}

// forget drops who has not come for so long that nothing is held against them.
func (l *Limits) forget(now time.Time) bool {
	if since := now.Sub(l.tried); since >= 0 && since < forgetEvery {
		return false
	}
	l.tried = now
	before := len(l.kept)
	for key, one := range l.kept {
		if one.TokensAt(now) >= float64(one.Burst()) {
			delete(l.kept, key)
		}
	}
	l.count.Store(int64(len(l.kept)))
	return len(l.kept) < before
}
