package api

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/limit"
	"github.com/payoutd/payoutd/internal/partner"
)

// Limits are how often requests may come; the zero value limits nothing. Each
// server counts for itself.
type Limits struct {
	// Project is how many requests a second each project may send, unless it has
	// a limit of its own; 0 is no limit.
	Project int
	// Refusals is how many requests a second an address may have refused, since
	// project or signature are wrong, before it is not listened to; ten times as
	// many at once. 0 is no limit.
	Refusals int
	// Proxies are believed when they name the caller in X-Forwarded-For.
	Proxies limit.Proxies
}

// refusalsBurst is for how many seconds refusals may come at once: a partner who
// has mistaken his key has time to see it.
const refusalsBurst = 10

// gate keeps to the limits.
type gate struct {
	limits   Limits
	refusals limit.Rate // of one address
	projects *limit.Limits
	callers  *limit.Limits
}

func newGate(l Limits, now func() time.Time) gate {
	g := gate{limits: l, refusals: limit.PerSecond(l.Refusals), projects: limit.New(now), callers: limit.New(now)}
	g.refusals.Burst *= refusalsBurst
	return g
}

// admit notes the address of a request: fault.Throttled if too many of its
// requests have been refused. That costs no signature, nor the reading of a body.
func (g *gate) admit(r *http.Request, x *exchange) error {
	if g.limits.Refusals <= 0 {
		return nil
	}
	from := g.limits.Proxies.Caller(r)
	if g.hides(from) {
		return nil
	}
	x.from = from
	if x.wait = g.callers.Wait(limit.Key(from)); x.wait > 0 {
		return fault.New(fault.Throttled, "too many requests of the address were refused")
	}
	return nil
}

// hides reports whether behind an address may be everybody, so that a stranger's
// refusals would be held against all: a proxy that does not say for whom it
// speaks and, as long as nobody has said which the proxies are, every neighbour.
func (g *gate) hides(from netip.Addr) bool {
	if len(g.limits.Proxies) > 0 {
		return !from.IsValid() || g.limits.Proxies.Has(from)
	}
	return !from.IsValid() || from.IsLoopback() || from.IsPrivate() || from.IsLinkLocalUnicast()
}

// refused counts a request that was not its sender's.
func (g *gate) refused(x *exchange) {
	if x.from.IsValid() {
		g.callers.Take(limit.Key(x.from), g.refusals)
	}
}

// pass counts a request that is the project's: fault.Throttled above its rate.
// Nobody else can use that up, since the signature is checked before.
func (g *gate) pass(p *partner.Project, x *exchange) error {
	most := p.RateLimit
	if most == 0 {
		most = g.limits.Project
	}
	if most <= 0 {
		return nil
	}
	wait, ok := g.projects.Take(string(p.ID), limit.PerSecond(most))
	if !ok {
		x.wait = wait
		return fault.New(fault.Throttled, "more than %d requests a second of the project", most)
	}
	return nil
}
