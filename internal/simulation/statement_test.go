package simulation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail/statement"
)

// bankBook is what a rail writes its statements from.
type bankBook struct {
	until   time.Time // statements tell of what was before
	moves   []statement.Line
	issued  []*issued
	waiting []*issued // to be taken in, one after the other
}

// issued is a statement with the errors that were put into it.
type issued struct {
	*simRail
	statement.Statement
	anew    bool            // it is issued again, under another name
	planted map[finding]int // what must be found in it
	taken   bool
}

// finding is a difference by its kind and our reference of the payment.
type finding struct {
	kind      store.DifferenceKind
	reference string
}

func byName(a, b *simRail) int { return strings.Compare(a.name, b.name) }

// bankTime is the time by which rails keep their books: that of the products'
// clocks, which in a history with statements all go alike.
func (w *world) bankTime() time.Time {
	return time.Now().Add(w.leaped).UTC().Truncate(time.Microsecond)
}

// book writes a movement of a payment down.
func (p *payment) book(kind statement.Kind, railID string, minor int64) {
	if !p.statements {
		return
	}
	l := statement.Line{
		Kind: kind, Reference: p.reference, RailID: railID, Amount: money.Amount{Minor: minor, Currency: money.RUB}, Direction: statement.Debit, At: p.bankTime(),
	}
	if kind == statement.Return {
		l.Direction = statement.Credit
	}
	p.moves = append(p.moves, l)
}

// bookkeeping plans statements while payouts go on.
func (r *simRail) bookkeeping() {
	for n := range r.roll("statements of " + r.name).IntN(4) {
		name := fmt.Sprintf("statement of %s #%d", r.name, n+1)
		r.plan(r.between(name, 5*time.Second, r.length), name, r.issue)
	}
}

// issue writes a statement of what was booked since the last one, with errors.
func (r *simRail) issue() {
	to := r.bankTime()
	if !to.After(r.until) {
		return
	}
	s := &issued{simRail: r, planted: map[finding]int{}, Statement: statement.Statement{
		Rail: r.name, ID: fmt.Sprintf("%s-%d", r.name, len(r.issued)+1), From: r.until.UTC(), To: to, Opening: &money.Amount{Minor: 10_000_000, Currency: money.RUB},
	}}
	r.until = to
	for _, l := range r.moves {
		if l.At.Before(s.From) || !l.At.Before(s.To) {
			continue
		}
		name := string(l.Kind) + " line of " + r.payments[l.Reference].item.label
		switch {
		case l.Kind == statement.Payout && r.goesWrong("line left out", name):
			s.planted[finding{store.Missing, l.Reference}]++
			continue
		case l.Kind == statement.Payout && (r.goesWrong("line of another amount", name) || r.misleads(l.Reference, name)):
			s.planted[finding{store.OtherAmount, l.Reference}]++
			l.Amount.Minor++
		case r.goesWrong("line doubled", name):
			s.planted[finding{store.DoubledLine, l.Reference}]++
			s.Lines = append(s.Lines, l)
			if l.Kind == statement.Payout {
				l.RailID += "-again"
			}
		}
		s.Lines = append(s.Lines, l)
	}
	if r.goesWrong("line of a stranger", s.ID) {
		s.planted[finding{store.Extra, "po_131"}]++
		s.Lines = append(s.Lines, statement.Line{
			Kind: statement.Payout, Reference: "po_131", RailID: "stranger", Amount: money.Amount{Minor: 131, Currency: money.RUB}, Direction: statement.Debit, At: s.From,
		})
	}
	closing := *s.Opening
	for _, l := range s.Lines {
		closing.Minor += map[statement.Direction]int64{statement.Debit: -1, statement.Credit: 1}[l.Direction] * l.Amount.Minor
	}
	if r.goesWrong("sum of a statement is wrong", s.ID) {
		s.planted[finding{store.OtherSum, ""}]++
		closing.Minor++
	}
	s.Closing = &closing
	r.queue(s)
	if r.goesWrong("statement issued anew", s.ID) {
		again := *s
		again.ID, again.anew = s.ID+"-anew", true
		r.queue(&again)
	}
}

// misleads makes a line of another amount of every other payment that nobody here
// knows to be paid: there it could prove what is not so.
func (r *simRail) misleads(reference, name string) bool {
	const kind = "line of another amount"
	a, _ := r.attempt(reference)
	_, p := r.itemOf(store.SessionKey{Project: a.Project, Session: a.Session}, a.Payout)
	return !r.old && !r.healed && r.rates[kind] > 0 && p != nil && (p.State == session.Sent || p.State == session.Unclear) &&
		r.roll(name+" misleads").IntN(2) == 0 && r.may(name+" "+kind)
}

func (r *simRail) queue(s *issued) {
	r.issued = append(r.issued, s)
	if r.waiting = append(r.waiting, s); len(r.waiting) == 1 {
		s.send()
	}
}

// send has a statement taken in, again and again until it is.
func (s *issued) send() {
	take := func(name string, then func(error)) {
		o := &op{
			name: name, what: fmt.Sprintf("statement of %d lines until %s", len(s.Lines), s.To.Format("15:04:05.000000")),
			do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
				own := s.Statement
				own.Lines = slices.Clone(s.Lines)
				_, err := e.TakeStatement(ctx, s.name, &own)
				return payout.Answer{}, err
			}, then: func(_ payout.Answer, err error) { then(err) },
		}
		// Not two at once: which comes first at a node would be nobody's choice.
		s.after(s.between(name+" is sent", 0, time.Second), name+" is sent", func() { s.start(o) })
	}
	name := s.number("taking in " + s.ID)
	if s.goesWrong("statement sent twice", name) {
		take(name+" twice", func(error) {})
	}
	take(name, func(err error) {
		switch {
		case s.taken:
		case err != nil:
			s.after(time.Second, name+" again", s.send)
		default:
			s.taken = true
			if s.waiting = s.waiting[1:]; len(s.waiting) > 0 {
				s.waiting[0].send()
			}
		}
	})
}

// untaken names a statement that is still to be taken in.
func (w *world) untaken() string {
	for _, r := range sorted(w.rails, byName) {
		if len(r.waiting) > 0 {
			return r.waiting[0].ID
		}
	}
	return ""
}

// finalStatements sees that what is wrong with a statement was found, each thing
// once with an alarm, and nothing else.
func (w *world) finalStatements() {
	differences, alarms := 0, 0
	for _, a := range w.store.alarms {
		if strings.HasPrefix(a.Kind, "statement_") {
			alarms++
		}
	}
	for _, r := range sorted(w.rails, byName) {
		missing, left := map[string]bool{}, map[string]bool{}
		for _, s := range r.issued {
			for f := range s.planted {
				left[f.reference] = left[f.reference] || f.kind == store.Missing
			}
		}
		for _, s := range r.issued {
			found := s.found()
			differences += len(found)
			for _, f := range found {
				switch {
				case f.kind == store.Missing && left[f.reference]:
					missing[f.reference] = true
				case s.planted[f] == 0 && !r.doubtful(f.reference, left[f.reference]):
					w.breaks("statement", "%s: %s of %s is found, and all is well", s.ID, f.kind, r.whose(f.reference))
				}
			}
			for f, n := range s.planted {
				if f.kind != store.Missing && count(found, f) != n && !r.doubtful(f.reference, false) {
					w.breaks("statement", "%s: %s of %s is found %d times, and is there %d times", s.ID, f.kind, r.whose(f.reference), count(found, f), n)
				}
			}
		}
		for reference := range left {
			if left[reference] && !missing[reference] {
				w.breaks("statement", "the payment of %s is in no statement of %s, and nobody was told", r.whose(reference), r.name)
			}
		}
	}
	if differences != alarms {
		w.breaks("statement", "%d differences and %d alarms", differences, alarms)
	}
}

// found is what was found in a statement.
func (s *issued) found() (list []finding) {
	has, ok := s.store.statements[statementKey{s.name, s.ID}]
	if !ok || has.State != store.StatementDone {
		s.breaks("statement", "%s was taken in and is not there", s.ID)
		return nil
	}
	for _, d := range s.store.differences {
		if d.Statement == has.Number {
			list = append(list, finding{d.Kind, d.Reference})
		}
	}
	return list
}

func count(list []finding, f finding) (n int) {
	for _, o := range list {
		if o == f {
			n++
		}
	}
	return n
}

// whose names a payment.
func (r *simRail) whose(reference string) string {
	if p := r.payments[reference]; p != nil {
		return p.item.label
	}
	return "the statement"
}

// doubtful reports whether there may be more differences about a payment than
// were put into statements: the rail has contradicted itself about it, or has
// given back what does not come back, or what its statements say is not paid,
// or what is archived.
func (r *simRail) doubtful(reference string, left bool) bool {
	p := r.payments[reference]
	if p == nil {
		return false
	}
	a, _ := r.attempt(reference)
	odd := p.back != nil && (r.isArchived(a.Project, a.Session) || p.item.kind != instrument.KindAccount || p.back.Amount.Minor != p.minor || p.back.otherwise)
	for _, s := range r.issued {
		left = left || p.back != nil && (s.planted[finding{store.OtherAmount, reference}] > 0 || s.planted[finding{store.DoubledLine, reference}] > 0)
	}
	return p.lied || odd || left && p.back != nil
}
