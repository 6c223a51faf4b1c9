package webhook

import (
	"cmp"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Limits bound the deliveries under way; a zero field takes its default.
type Limits struct {
	PerEndpoint int // at once to one host and port; 32
	Total       int // at once to all; 512
	// Failures in a row open the breaker of an endpoint; 10.
	Failures int
	// OpenMin is how long it stays open the first time, then twice as long each
	// time up to OpenMax; 15 s and 5 min.
	OpenMin, OpenMax time.Duration
}

const (
	// fullWait is how long to let go by before a slot is asked for again.
	fullWait = 250 * time.Millisecond
	// forgetAfter is how long an endpoint is remembered after its last delivery.
	forgetAfter = 15 * time.Minute
	sweepEvery  = time.Minute
)

// Endpoints keeps a slow or dead receiver from holding up the others. It is
// safe for concurrent use and pure of the clock.
//
// Half of all slots are kept for endpoints whose last delivery went well, and
// another quarter for those and for endpoints that were never tried, so that
// thousands of receivers that never answer leave room for one that does.
type Endpoints struct {
	limits Limits

	mu    sync.Mutex
	known map[string]*endpoint
	total int // deliveries under way
	// unproven is how many of those went to an endpoint that was not proven, and
	// failing how many to one whose last delivery had failed.
	unproven, failing int
	now               time.Time // of the latest Acquire
	swept             time.Time
}

type endpoint struct {
	busy     int
	proven   bool // the last delivery went well
	failures int  // in a row
	// opened counts how often the breaker has opened since it was last closed; it
	// is closed while 0. After until it is half open: one delivery at a time.
	opened int
	until  time.Time
	used   time.Time
}

// NewEndpoints returns Endpoints without a delivery under way.
func NewEndpoints(l Limits) *Endpoints {
	return &Endpoints{
		limits: Limits{
			PerEndpoint: cmp.Or(l.PerEndpoint, 32),
			Total:       cmp.Or(l.Total, 512),
			Failures:    cmp.Or(l.Failures, 10),
			OpenMin:     cmp.Or(l.OpenMin, 15*time.Second),
			OpenMax:     cmp.Or(l.OpenMax, 5*time.Minute),
		},
		known: make(map[string]*endpoint),
	}
}

// Acquire takes a slot for one delivery to the URL, at the real time now, and
// never blocks. With true, the delivery may begin, and release must be called
// at its end with Result.Alive; a second call does nothing. With false, release
// is nil and wait, always above zero, is how long to put the delivery off: the
// breaker is open until then, or all slots are taken.
func (p *Endpoints) Acquire(url string, now time.Time) (release func(ok bool), wait time.Duration, ok bool) {
	key := Endpoint(url)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = now
	p.sweep()

	e := p.known[key]
	if e == nil {
		e = &endpoint{}
	}
	if e.until.Sub(now) > p.limits.OpenMax {
		e.until = now // the clock was set back
	}
	switch {
	case now.Before(e.until):
		return nil, e.until.Sub(now), false
	case e.opened > 0 && e.busy > 0, e.busy >= p.limits.PerEndpoint, p.total >= p.limits.Total,
		!e.proven && p.unproven >= (p.limits.Total+1)/2,
		e.failures > 0 && p.failing >= (p.limits.Total+3)/4:
		return nil, fullWait, false
	}

	p.known[key] = e
	unproven, failing := !e.proven, e.failures > 0
	e.used = now
	e.busy++
	p.total++
	if unproven {
		p.unproven++
	}
	if failing {
		p.failing++
	}
	released := false
	return func(ok bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if released {
			return
		}
		released = true
		e.busy--
		p.total--
		if unproven {
			p.unproven--
		}
		if failing {
			p.failing--
		}
		p.learn(e, ok)
	}, 0, true
}

// learn takes in how a delivery ended. Its time is that of the latest Acquire,
// of any endpoint, which on a busy system is now and else a little less.
func (p *Endpoints) learn(e *endpoint, ok bool) {
	e.used = p.now
	e.proven = ok
	if ok {
		e.failures, e.opened, e.until = 0, 0, time.Time{}
		return
	}
	e.failures++
	if e.failures < p.limits.Failures || p.now.Before(e.until) {
		return // the deliveries that were under way when it opened add nothing
	}
	open := p.limits.OpenMin
	for i := 0; i < e.opened && open < p.limits.OpenMax; i++ {
		open = min(2*open, p.limits.OpenMax)
	}
	e.opened++
	e.until = p.now.Add(open)
}

// sweep forgets the endpoints that have not been used for long, once a minute.
func (p *Endpoints) sweep() {
	if since := p.now.Sub(p.swept); since >= 0 && since < sweepEvery {
		return
	}
	p.swept = p.now
	for key, e := range p.known {
		if e.busy == 0 && p.now.Sub(e.used) >= forgetAfter {
			delete(p.known, key)
		}
	}
}

// Endpoint is the host and port of a URL; the URL itself where it has none.
func Endpoint(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return raw
	}
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")) + " " + port
}
