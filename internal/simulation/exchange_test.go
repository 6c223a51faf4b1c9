package simulation

import (
	"context"
	"fmt"
	"time"

	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/money"
)

// exchange tells one node what a dollar costs, which changes every few seconds.
type exchange struct{ n *node }

func (n *node) exchange() rate.Source {
	if !n.foreign {
		return nil
	}
	return exchange{n}
}

// Rate implements rate.Source.
func (x exchange) Rate(ctx context.Context, c money.Currency) (now rate.Rate, err error) {
	n := x.n
	err = n.enter(ctx, n.name+" asks for the rate of "+string(c), func(c *call) {
		switch {
		case n.goesWrong("crash before", c.name):
			n.crash("before " + c.name)
		case n.goesWrong("rate hangs", c.name):
			n.tell("%s: no answer", c.name)
			c.never()
		case n.goesWrong("rate fails", c.name):
			n.tell("%s: fails", c.name)
			c.end(errBroken)
		default:
			now = n.dollar()
			n.prices[now.Price] = true
			n.tell("%s: %s", c.name, now.Price)
			c.end(nil)
		}
	})
	return now, err
}

// dollar is what it costs at this moment.
func (w *world) dollar() rate.Rate {
	bucket := time.Since(w.opening) / (7 * time.Second)
	price := rate.Price(7_000_000_000 + w.roll(fmt.Sprintf("dollar %d", bucket)).Int64N(2_000_000_000))
	return rate.Rate{Price: price, Source: "simulated", At: time.Now().UTC()}
}

// checkQuote sees that the price of a payout is one that was told, its roubles
// those of the price, and that they stay what they were.
func (w *world) checkQuote(i *item, k store.SessionKey, p *session.Payout) {
	q := p.Quote
	if (q != nil) != (i.currency != money.RUB && p.State != session.Checking && p.State != session.Failed) && !(q != nil && p.State == session.Failed) {
		if q != nil || p.State != session.Created {
			w.breaks("rate", "%s in %s is %s, with the quote %+v", i.label, i.currency, p.State, q)
		}
		return
	}
	if q == nil {
		return
	}
	project := w.store.projects[k.Project]
	// A hundred-millionth of a rouble for a cent, rounded half up.
	roubles := (i.minor*int64(q.Rate.Price) + 50_000_000) / 100_000_000
	before, known := w.looked.quotes[p.ID]
	switch {
	case !w.prices[q.Rate.Price]:
		w.breaks("rate", "%s is quoted at %s, which nobody has told", i.label, q.Rate.Price)
	case q.Amount.Minor != roubles || q.Amount.Currency != money.RUB || p.Minor() != roubles:
		w.breaks("rate", "%s is %d cents at %s, and %s are moved, not %d", i.label, i.minor, q.Rate.Price, q.Amount, roubles)
	case known && before != roubles:
		w.breaks("rate", "%s was quoted as %d and is now %d", i.label, before, roubles)
	case !q.Until.Equal(q.At.Add(time.Duration(project.RateLock))):
		w.breaks("rate", "%s is quoted at %s until %s, the lock is %v", i.label, q.At, q.Until, project.RateLock)
	}
	w.looked.quotes[p.ID] = roubles
}

// roubles is what an item moves in the book, once it is known.
func (w *world) roubles(i *item, p *session.Payout) int64 {
	switch {
	case !i.moves():
		return 0
	case i.currency == money.RUB:
		return i.minor
	}
	return w.looked.quotes[p.ID]
}
