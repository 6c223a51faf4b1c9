package simulation

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
	"github.com/payoutd/payoutd/rail/statement"
)

// simRail is a rail with books of its own. It keeps the contract of package
// rail, that a reference pays once and is seen within a time, and no more: it
// loses, delays, repeats and contradicts answers, and gives money back.
type simRail struct {
	*world
	name     string
	kind     instrument.Kind
	payments map[string]*payment // by reference
	order    []*payment
	bankBook
}

var terms = rail.Terms{SendDeadline: 3 * time.Second, Visibility: 5 * time.Second}

// payment is what a rail knows of one reference.
type payment struct {
	*simRail
	reference string
	item      *item
	minor     int64
	calls     int       // of Send, as they left the engine
	promised  time.Time // when the last of them was committed, by the store
	neverSeen int       // answers since then that count
	here      bool      // the rail knows of it
	status    rail.Status
	lied      bool // it has told another end than its books have
	admitted  bool // and the truth since
	mute      bool // it will never say
	back      *giving
}

// giving is money on its way back.
type giving struct {
	*payment
	rail.Return
	taken     bool
	tries     int
	otherwise bool // it is told with another amount too
}

// connector is a rail as one node reaches it.
type connector struct {
	n *node
	r *simRail
}

func (k *connector) Name() string      { return k.r.name }
func (k *connector) Terms() rail.Terms { return terms }

func (k *connector) Check(ctx context.Context, o rail.Order, _ rail.Opener) (v rail.Verdict, err error) {
	n := k.n
	err = n.enter(ctx, n.name+" check of "+o.Recipient, func(c *call) {
		switch {
		case n.goesWrong("crash before", c.name):
			n.crash("before " + c.name)
		case n.goesWrong("check hangs", c.name):
			n.tell("%s: no answer", c.name)
			c.never()
		case n.goesWrong("check fails", c.name):
			n.tell("%s: fails", c.name)
			c.end(errBroken)
		case n.goesWrong("recipient unknown", o.Recipient):
			n.tell("%s: no such recipient", c.name)
			v.Refused = rail.AccountNotFound
			c.end(nil)
		default:
			n.tell("%s: possible", c.name)
			v.Bank.Name = "Банк получателя"
			c.end(nil)
		}
	})
	return v, err
}

func (k *connector) Send(ctx context.Context, o rail.Order, open rail.Opener) (says rail.Outcome, err error) {
	n, opened := k.n, ""
	if open != nil {
		digits, err := open(ctx)
		if err != nil {
			return says, err
		}
		opened = string(digits)
	} else if o.Destination.Account != nil {
		opened = o.Destination.Account.Number
	} else if o.Destination.FPS != nil {
		opened = o.Destination.FPS.Phone
	}
	answer := func(c *call) func(rail.Outcome) {
		return func(found rail.Outcome) { says = found; c.end(nil) }
	}
	err = n.enter(ctx, n.name+" send of "+o.Recipient, func(c *call) {
		if n.goesWrong("crash before", c.name) {
			n.crash("before " + c.name)
			return
		}
		p := k.r.leaves(o, opened)
		switch {
		case p == nil: // an invariant is broken
			c.end(errBroken)
		case n.goesWrong("request lost", c.name):
			n.tell("%s: lost on its way", c.name)
			c.unanswered()
		case n.goesWrong("request late", c.name):
			d := n.between(c.name+" is late by", 100*time.Millisecond, terms.Visibility-time.Second)
			n.tell("%s: on its way for %v", c.name, d.Round(time.Millisecond))
			n.after(d, c.name+" arrives", func() { p.arrives("late, over the network") })
			c.unanswered()
		default:
			c.then(n.between(c.name+" arrives after", time.Millisecond, 50*time.Millisecond), func() {
				p.arrives(c.name)
				if n.goesWrong("crash after", c.name) {
					n.crash("after " + c.name)
					return
				}
				p.answers(c, answer(c))
			})
		}
	})
	return says, err
}

// unanswered ends in an error soon, or in silence.
func (c *call) unanswered() {
	w := c.node.world
	if w.roll(c.name+" breaks").IntN(2) == 0 {
		c.then(w.between(c.name+" breaks after", time.Millisecond, time.Second), func() { c.end(errBroken) })
		return
	}
	c.never()
}

// leaves looks at an order on its way to the rail; nil if it may not be.
func (r *simRail) leaves(o rail.Order, opened string) *payment {
	i := r.recipients[o.Recipient]
	attempt, promised := r.attempt(o.Reference)
	switch {
	case i == nil:
		r.breaks("own", "the rail %s is to pay %q, whom nobody knows", r.name, o.Recipient)
		return nil
	case opened != i.destination || r.kind != i.kind || i.currency == money.RUB && o.Amount != (money.Amount{Minor: i.minor, Currency: money.RUB}):
		r.breaks("own", "%s is to be paid %s to %s, and was asked for as %d to %s", i.label, o.Amount, masked(opened), i.minor, masked(i.destination))
		return nil
	case !promised:
		r.breaks("promise", "the rail is called for %s before that is committed", i.label)
		return nil
	case !i.charge.asked && i.awaits() || !i.moves():
		r.breaks("consent", "the rail is called for %s, which was never confirmed", i.label)
		return nil
	case i.currency != money.RUB && o.Amount != (money.Amount{Minor: r.looked.quotes[attempt.Payout], Currency: money.RUB}):
		r.breaks("rate", "%s is to be paid %s, and was confirmed as %d kopecks", i.label, o.Amount, r.looked.quotes[attempt.Payout])
		return nil
	}
	p := r.payments[o.Reference]
	if p == nil && !i.bears(attempt.Payout) {
		return nil
	}
	if p == nil {
		p = &payment{simRail: r, reference: o.Reference, item: i, minor: o.Amount.Minor, mute: r.goesWrong("rail is mute", i.label)}
		r.payments[o.Reference] = p
		r.order = append(r.order, p)
	}
	if p.calls > 0 && p.neverSeen < 2 && !r.jumped {
		r.breaks("patience", "%s is sent again after %d answers that it was never seen", i.label, p.neverSeen)
		return nil
	}
	p.calls, p.neverSeen, p.promised = p.calls+1, 0, attempt.SentAt
	return p
}

func masked(number string) string { return "…" + number[max(0, len(number)-4):] }

// attempt finds what the store knows of a reference.
func (w *world) attempt(reference string) (store.Attempt, bool) {
	for _, a := range w.store.attempts {
		if a.Reference == reference {
			return a, true
		}
	}
	return store.Attempt{}, false
}

// arrives lets the rail take a payment, once.
func (p *payment) arrives(how string) {
	if p.here {
		p.tell("%s: the rail knows it already", how)
		return
	}
	p.here = true
	fate := p.roll(p.item.label + " ends").IntN(100)
	ends := rail.Succeeded
	if fate%10 == 0 && p.may(p.item.label+" is declined") {
		ends = rail.Failed
	}
	if fate < 70 {
		p.ends(ends)
		return
	}
	p.status = rail.Accepted
	p.tell("%s: the rail takes it and will see", how)
	p.after(p.between(p.item.label+" takes", 300*time.Millisecond, 40*time.Second), p.item.label, func() { p.ends(ends) })
}

// ends is the truth.
func (p *payment) ends(s rail.Status) {
	p.status = s
	p.tell("THE RAIL %s: %s %s", strings.ToUpper(p.name), p.item.label, map[rail.Status]string{rail.Succeeded: "is paid", rail.Failed: "is not paid"}[s])
	if s == rail.Succeeded {
		p.book(statement.Payout, p.reference, p.minor)
		p.item.paid++
		if p.item.paid > 1 {
			p.breaks("once", "%s is paid %d times", p.item.label, p.item.paid)
		}
		if p.goesWrong("comes back", p.item.label) {
			p.comesBack()
		}
	}
	if p.goesWrong("told again", p.item.label) {
		name := p.item.label + " is told again"
		p.after(p.between(name, 10*time.Millisecond, 30*time.Second), name, func() { p.notice(p.truth(), nil) })
	}
}

// truth is the answer that the books give. A mute rail speaks only when people
// were called for.
func (p *payment) truth() rail.Outcome {
	if p.mute {
		if a, _ := p.attempt(p.reference); !p.alarmed("payout_unclear", a.Payout) {
			return rail.Outcome{Status: rail.Unknown}
		}
	}
	return outcomeOf(p.status)
}

func outcomeOf(s rail.Status) rail.Outcome {
	switch s {
	case rail.Succeeded:
		return rail.Outcome{Status: s, Info: rail.Info{RRN: "123456789012"}}
	case rail.Failed:
		return rail.Outcome{Status: s, Code: rail.IssuerDeclined}
	}
	return rail.Outcome{Status: s}
}

// answers tells an engine what became of a payment, or what did not.
func (p *payment) answers(c *call, answer func(rail.Outcome)) {
	found := p.truth()
	final := found.Status == rail.Succeeded || found.Status == rail.Failed
	switch {
	case p.goesWrong("answer lost", c.name):
		p.tell("%s: the answer is lost", c.name)
		c.unanswered()
		return
	case p.goesWrong("answer unreadable", c.name):
		found = rail.Outcome{Status: "?"}
	case final && !p.lied && p.goesWrong("rail contradicts itself", p.item.label):
		p.lied = true
		found = outcomeOf(map[rail.Status]rail.Status{rail.Succeeded: rail.Failed, rail.Failed: rail.Succeeded}[found.Status])
		p.after(p.between(p.item.label+" is admitted", time.Second, 40*time.Second), p.item.label, p.admit)
	case final && p.lied && !p.admitted: // it stays with its story until it admits
		found = outcomeOf(map[rail.Status]rail.Status{rail.Succeeded: rail.Failed, rail.Failed: rail.Succeeded}[found.Status])
	}
	c.then(p.between(c.name+" is answered after", time.Millisecond, 200*time.Millisecond), func() {
		p.tell("%s: %s", c.name, found.Status)
		answer(found)
	})
}

// admit tells the truth until it is heard.
func (p *payment) admit() {
	p.notice(p.truth(), func(err error) {
		if p.admitted = p.admitted || err == nil; !p.admitted {
			p.after(time.Second, p.number(p.item.label+" is admitted"), p.admit)
		}
	})
}

// notice tells a node something that nobody has asked.
func (p *payment) notice(says rail.Outcome, then func(error)) {
	a, _ := p.attempt(p.reference)
	k := store.SessionKey{Project: a.Project, Session: a.Session}
	p.start(&op{
		name: p.number("notice of " + p.item.label),
		what: fmt.Sprintf("the rail says %s", says.Status),
		do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
			return payout.Answer{}, e.Notice(ctx, p.name, k, a.Payout, says)
		},
		then: func(_ payout.Answer, err error) {
			if then != nil {
				then(err)
			}
		},
	})
}

func (k *connector) Query(ctx context.Context, reference string) (says rail.Outcome, err error) {
	n, label := k.n, k.n.labelledAttempt(reference)
	err = n.enter(ctx, n.name+" query of "+label, func(c *call) {
		p := k.r.payments[reference]
		switch {
		case n.goesWrong("crash before", c.name):
			n.crash("before " + c.name)
		case n.goesWrong("query hangs", c.name):
			n.tell("%s: no answer", c.name)
			c.never()
		case n.goesWrong("query fails", c.name):
			n.tell("%s: fails", c.name)
			c.end(errBroken)
		case p == nil || !p.here || n.goesWrong("rail forgets", c.name):
			if p != nil && time.Now().After(p.promised.Add(terms.SendDeadline+terms.Visibility)) {
				p.neverSeen++
			}
			n.tell("%s: never seen", c.name)
			says = rail.Outcome{Status: rail.NeverSeen}
			c.end(nil)
		default:
			p.answers(c, func(found rail.Outcome) { says = found; c.end(nil) })
		}
	})
	return says, err
}

// labelledAttempt names a payment by its reference, for those who are not the
// driver.
func (n *node) labelledAttempt(reference string) string {
	n.store.data.Lock()
	defer n.store.data.Unlock()
	if a, ok := n.attempt(reference); ok {
		return n.labelOf(store.SessionKey{Project: a.Project, Session: a.Session}, a.Payout)
	}
	return "nothing"
}

// comesBack gives the money of a payment back, at some time after it was paid,
// which may be before anybody was told so.
func (p *payment) comesBack() {
	label := p.item.label
	p.back = &giving{payment: p, Return: rail.Return{
		Reference: "back of " + label, Payment: p.reference, Amount: money.Amount{Minor: p.minor, Currency: money.RUB},
	}}
	if p.goesWrong("other amount", label) {
		p.back.Amount.Minor++
	}
	p.after(p.between(label+" comes back", 0, 30*time.Second), label, p.back.tellNode)
	if p.goesWrong("comes back twice", label) {
		p.after(p.between(label+" comes back twice", 0, 30*time.Second), label, p.back.tellNode)
	}
	if p.goesWrong("return told otherwise", label) {
		p.back.otherwise = true
		p.after(p.between(label+" comes back otherwise", 0, 30*time.Second), label, p.back.tellOtherwise)
	}
}

// tellOtherwise tells of the return with another amount, until that is heard.
func (g *giving) tellOtherwise() {
	name := g.number("return of " + g.item.label + " told otherwise")
	told := g.Return
	told.Amount.Minor += 7
	g.booked()
	told.At = g.At
	g.start(&op{name: name, what: fmt.Sprintf("the rail returns %s", told.Amount), do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
		_, err := e.TakeReturn(ctx, g.simRail.name, told)
		return payout.Answer{}, err
	}, then: func(_ payout.Answer, err error) {
		if err != nil {
			g.after(time.Second, name+" again", g.tellOtherwise)
		}
	}})
}

// booked writes a return into the rail's books, when it is first told.
func (g *giving) booked() {
	if g.At.IsZero() {
		g.At = time.Now().UTC()
		g.book(statement.Return, g.Reference, g.Amount.Minor)
	}
}

// tellNode tells some node of a return, again and again until it is taken.
func (g *giving) tellNode() {
	g.tries++
	name := fmt.Sprintf("return of %s told #%d", g.item.label, g.tries)
	g.booked()
	if n := g.pick(name); n != nil {
		g.tell("%s to %s", name, n.name)
		n.backs[g.simRail.name] <- back{g.Return, func(err error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.taken = g.taken || err == nil
		}}
	}
	g.after(11*time.Second, name, func() {
		if !g.isTaken() {
			g.tellNode()
		}
	})
}

func (g *giving) isTaken() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.taken
}

func (k *connector) Returns(ctx context.Context, take func(context.Context, rail.Return) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case b := <-k.n.backs[k.r.name]:
			err := take(ctx, b.Return)
			if !k.n.dead.Load() {
				b.told(err)
			}
		}
	}
}
