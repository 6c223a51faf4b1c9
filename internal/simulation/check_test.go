package simulation

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/rail"
)

// checks is what the checker remembers from one step to the next.
type checks struct {
	due  bool // something was written since it looked
	ends map[id.Payout]string
}

func newChecks() checks {
	return checks{ends: map[id.Payout]string{}}
}

// check holds the database to the invariants of every moment.
func (w *world) check() {
	if !w.looked.due {
		return
	}
	w.looked.due = false
	r, err := payout.CheckSnapshot(context.Background(), snapshot{w.store})
	if err != nil {
		w.breaks("books", "check: %v", err)
		return
	}
	if !r.Clean() {
		w.breaks("books", "%s", strings.Join(r.Problems, "; "))
		return
	}
	for k, row := range w.store.sessions {
		for i := range row.Payouts {
			w.checkPayout(k, &row.Payouts[i])
		}
	}
	w.checkAlarms()
}

// checkPayout sees that an end is an end.
func (w *world) checkPayout(k store.SessionKey, p *session.Payout) {
	shown := p.Show().Payout
	if told := w.looked.ends[p.ID]; told != "" && told != shown {
		w.breaks("end", "%s had ended as %s and is now %s (%s)", w.label(k), told, shown, p.State)
	}
	if p.State.Final() {
		w.looked.ends[p.ID] = shown
	}
	if p.State == session.Cancelled && p.Failure != nil && p.Failure.Code == fault.ConfirmTimeout && !w.jumped {
		project := w.store.projects[k.Project]
		ready := w.store.events[store.EventKey{SessionKey: k, N: 1}].CreatedAt
		if waited := p.FinishedAt.Sub(ready); waited < project.Timeout() {
			w.breaks("expiry", "%s was cancelled %v after it could be confirmed, not after %v", w.label(k), waited, project.Timeout())
		}
	}
}

// checkAlarms sees that what was given up was tried for its time, and told.
func (w *world) checkAlarms() {
	alarms := map[string]time.Time{}
	for _, a := range w.store.alarms {
		if a.Kind == "webhook_given_up" {
			event, _, _ := strings.Cut(strings.TrimPrefix(a.Text, "event "), " ")
			alarms[event] = a.At
		}
	}
	for k, e := range w.store.events {
		if e.Status != webhook.GivenUp {
			continue
		}
		told, ok := alarms[e.ID.String()]
		if !ok {
			w.breaks("giving up", "%s of %s was given up without an alarm", e.Type, w.label(k.SessionKey))
		}
		total := webhook.Standard.Total
		if p := w.store.projects[k.Project]; p.RetryShort {
			total = webhook.Short.Total
		}
		began := told
		for key, a := range w.store.logs {
			if key.EventKey == k && a.At.Before(began) {
				began = a.At
			}
		}
		if began.Equal(told) {
			began = e.CreatedAt // it was never tried
		}
		if tried := told.Sub(began); tried < total && !w.jumped {
			w.breaks("giving up", "%s of %s was given up after %v, not after %v", e.Type, w.label(k.SessionKey), tried, total)
		}
	}
}

func (w *world) allUp() bool {
	for _, n := range w.nodes {
		if n.serves() == nil {
			return false
		}
	}
	return true
}

// idle reports whether nothing is under way at this moment.
func (w *world) idle() bool {
	return w.allUp() && len(w.pending) == 0 && len(w.ops) == 0 && len(w.events) == 0 && !w.busyNow()
}

// busyNow reports whether something is due or held by a node at this moment.
func (w *world) busyNow() bool {
	next, ok := w.nextDue()
	return ok && !next.After(w.nodes[0].now())
}

// nextDue is when the next thing is due, by the product's clock.
func (w *world) nextDue() (next time.Time, ok bool) {
	take := func(at time.Time) {
		if !ok || at.Before(next) {
			next, ok = at, true
		}
	}
	for _, t := range w.store.tasks {
		take(t.Due)
	}
	for _, e := range w.store.events {
		if e.Status == webhook.Pending {
			take(e.Due)
		}
	}
	return next, ok
}

// alarmed reports whether people were told of a charge.
func (w *world) alarmed(kind, label string) bool {
	for _, a := range w.store.alarms {
		if a.Kind == kind && w.label(store.SessionKey{Project: a.Project, Session: a.Session}) == label {
			return true
		}
	}
	return false
}

// ended reports whether everything has come to its end.
func (w *world) ended() bool { return w.unfinished() == "" }

// unfinished says what has not come to its end.
func (w *world) unfinished() string {
	switch {
	case !w.allUp():
		return "not all nodes are up"
	case len(w.ops) > 0:
		return "a request is not answered: " + w.ops[0].name
	case len(w.pending) > 0:
		return "a call is under way: " + w.pending[0].name
	}
	for k, row := range w.store.sessions {
		for i := range row.Payouts {
			if p := &row.Payouts[i]; !p.State.Final() {
				return fmt.Sprintf("%s is %s", w.label(k), p.State)
			}
		}
	}
	for k, e := range w.store.events {
		if e.Status == webhook.Pending {
			return fmt.Sprintf("%s of %s is not delivered", e.Type, w.label(k.SessionKey))
		}
	}
	for _, r := range w.rails {
		for _, p := range r.order {
			switch {
			case p.lied && !p.admitted:
				return p.charge.label + ": the rail has not told the truth yet"
			case p.back != nil && !p.back.isTaken():
				return p.charge.label + ": the return is not taken"
			case p.here && p.status == rail.Accepted:
				return p.charge.label + ": the rail has not decided"
			}
		}
	}
	return ""
}

// tally counts payouts by where they ended.
func (w *world) tally() map[string]int {
	n := map[string]int{}
	for _, row := range w.store.sessions {
		for i := range row.Payouts {
			n[string(row.Payouts[i].State)]++
		}
	}
	n["sessions"], n["events"], n["deliveries"] = len(w.store.sessions), len(w.store.events), len(w.store.logs)
	return n
}

// final compares the books of the world with ours, once all is over.
func (w *world) final() {
	byLabel := map[string][]store.SessionKey{}
	for k := range w.store.sessions {
		byLabel[w.label(k)] = append(byLabel[w.label(k)], k)
	}
	for label, c := range w.labels {
		keys := byLabel[label]
		switch {
		case len(keys) > 1 && c.key != "":
			w.breaks("key", "%s has %d sessions under one key", label, len(keys))
		case c.session != 0 && len(keys) == 0:
			w.breaks("answered", "%s was answered with the session %s, which is not there", label, c.session)
		}
		for _, k := range keys {
			if k.Project != c.project.ID {
				w.breaks("own", "%s is a session of %s", label, k.Project)
			}
			w.agree(c, k)
		}
		if len(keys) == 0 && c.paid > 0 {
			w.breaks("agreement", "the rail has paid %s, of which we know nothing", label)
		}
	}
	w.finalHooks()
	w.finalMoney()
}

// agree compares one payout with what its partner and its rail know of it.
func (w *world) agree(c *charge, k store.SessionKey) {
	row := w.store.sessions[k]
	if len(row.Payouts) == 0 {
		return
	}
	p := &row.Payouts[0]
	var at *payment
	if r := w.rails[p.Rail]; r != nil {
		at = r.payments[p.Reference]
	}
	paid := c.paid > 0
	switch p.State {
	case session.Paid, session.Returned:
		if !paid {
			w.breaks("agreement", "%s is %s, and the rail has not paid it", c.label, p.State)
		}
	case session.Failed, session.Cancelled:
		if paid {
			w.breaks("agreement", "%s is %s, and the rail has paid it", c.label, p.State)
		}
	case session.Disputed:
		if at == nil || !at.lied {
			w.breaks("agreement", "%s is disputed, and the rail has not contradicted itself", c.label)
		}
	}
	switch {
	case c.confirmed && p.State == session.Cancelled:
		w.breaks("answered", "%s was told to be confirmed and is cancelled", c.label)
	case c.cancelled && p.State != session.Cancelled:
		w.breaks("answered", "%s was told to be cancelled and is %s", c.label, p.State)
	case c.end != "" && c.end != p.Show().Payout:
		w.breaks("end", "%s was told to be %s and is %s", c.label, c.end, p.State)
	}
	told := 0
	for i := range p.Refunds {
		if p.Refunds[i].Status == session.RefundKept {
			w.breaks("returns", "a return of %s still waits, and it is %s", c.label, p.State)
		}
		if at != nil && at.back != nil && p.Refunds[i].Reference == at.back.Reference {
			told++
		}
	}
	if at == nil || at.back == nil {
		return
	}
	if told != 1 {
		w.breaks("returns", "a return of %s was taken, and is written down %d times", c.label, told)
	}
	whole := at.back.Amount.Minor == c.minor && c.kind == instrument.KindAccount && !at.lied
	if whole && p.State != session.Returned {
		w.breaks("returns", "%s came back whole and is %s", c.label, p.State)
	}
}

// finalHooks sees that each webhook has arrived or was given up, whatever its
// receiver did.
func (w *world) finalHooks() {
	for k, e := range w.store.events {
		switch {
		case e.Status == webhook.Delivered && !w.hooks.took[e.ID]:
			w.breaks("delivered", "%s of %s is delivered, and its receiver never said so", e.Type, w.label(k.SessionKey))
		case e.Status == webhook.GivenUp && !w.shopBy(k.Project).deaf && !w.jumped:
			w.breaks("giving up", "%s of %s was given up, though its receiver is there", e.Type, w.label(k.SessionKey))
		}
	}
}

func (w *world) shopBy(p id.Project) *shop {
	for _, s := range w.shops {
		if s.project.ID == p {
			return s
		}
	}
	return nil
}

// finalMoney reckons what each partner must have from what came in and what the
// rails have paid, without our book.
func (w *world) finalMoney() {
	for _, s := range w.shops {
		booked := map[string]int{}
		available := int64(0)
		for _, e := range w.store.entries[s.project.ID] {
			if e.Session == 0 {
				booked[e.Reference]++
				available += e.Change.Available
			}
		}
		for reference, d := range s.deposits {
			if n := booked[reference]; n > 1 || n == 0 && d.done {
				w.breaks("answered", "the deposit %s was booked %d times", reference, n)
			}
		}
		for k, row := range w.store.sessions {
			if k.Project != s.project.ID || len(row.Payouts) == 0 {
				continue
			}
			c, p := w.labels[w.label(k)], &row.Payouts[0]
			fee, err := s.project.Fees[c.kind].Of(c.minor)
			if err != nil {
				w.breaks("books", "fee of %s: %v", c.label, err)
			}
			switch {
			case p.State == session.Returned && s.project.ReturnFee:
			case p.State == session.Returned:
				available -= fee
			case p.State == session.Paid, p.State == session.Disputed && p.Failure == nil:
				available -= c.minor + fee
			}
		}
		if has := w.store.books[s.project.ID].Balance.Available; has != available {
			w.breaks("books", "%s has %d, and should have %d", s.project.ID, has, available)
		}
	}
}
