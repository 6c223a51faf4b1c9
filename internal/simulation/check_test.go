package simulation

import (
	"context"
	"fmt"
	"maps"
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
	due    bool // something was written since it looked
	ends   map[id.Payout]string
	quotes map[id.Payout]int64 // what a payout in dollars moves, in kopecks
	// confirmed is when a payout was, by the product's clock.
	confirmed map[id.Payout]time.Time
}

func newChecks() checks {
	return checks{ends: map[id.Payout]string{}, quotes: map[id.Payout]int64{}, confirmed: map[id.Payout]time.Time{}}
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
	accepted := map[*person]int64{}
	for k, row := range w.store.sessions {
		w.checkWhole(k, row)
		for n := range row.Payouts {
			p := &row.Payouts[n]
			w.checkPayout(k, p)
			w.checkToken(k, p)
			if i, _ := w.itemOf(k, p.ID); i != nil {
				w.checkQuote(i, k, p)
				if i.fiscal != nil && !i.fiscal.alone {
					w.office.count(accepted, i, p)
				}
			}
		}
	}
	if w.office != nil {
		w.office.within(accepted)
	}
	w.checkAlarms()
	w.checkNumbers()
}

// checkNumbers sees that the numbers are sealed that drafts and payouts which
// have not ended name, and no others.
func (w *world) checkNumbers() {
	left := maps.Clone(w.store.cards)
	for k, row := range w.store.sessions {
		needs := func(i *instrument.Instrument, what string) {
			if i == nil || i.Card == nil || i.Card.Sealed == 0 {
				return
			}
			number := store.CardKey{Project: k.Project, Card: i.Card.Sealed}
			if _, there := w.store.cards[number]; !there {
				w.breaks("numbers", "the card of %s is missing, which is %s", w.label(k), what)
			}
			delete(left, number)
		}
		needs(row.Draft.Instrument, "created")
		for n := range row.Payouts {
			if p := &row.Payouts[n]; !p.State.Final() {
				needs(p.Details.Instrument, string(p.State))
			}
		}
	}
	if len(left) > 0 {
		w.breaks("numbers", "%d numbers are sealed that nobody needs", len(left))
	}
}

// checkWhole sees that a session of several payouts holds the money of all that
// were let pass, or of none, and is confirmed, cancelled and expires as one.
func (w *world) checkWhole(k store.SessionKey, row *sessionRow) {
	if len(row.Payouts) < 2 {
		return
	}
	in := map[session.State]int{}
	poor := 0
	for n := range row.Payouts {
		p := &row.Payouts[n]
		in[p.State]++
		if p.Failure != nil && p.Failure.Code == fault.InsufficientBalance {
			poor++
		}
	}
	before := in[session.Checking] + in[session.Checked]
	waits, ended := in[session.Awaiting], in[session.Cancelled]
	beyond := len(row.Payouts) - before - waits - ended - in[session.Failed]
	switch {
	case before > 0 && before+in[session.Failed] < len(row.Payouts),
		waits > 0 && beyond+ended > 0,
		ended > 0 && beyond > 0,
		poor > 0 && before+waits+beyond+ended > 0:
		w.breaks("whole", "the payouts of %s are %v, %d of them for want of money", w.label(k), in, poor)
	}
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
	project := w.store.projects[k.Project]
	ready := w.store.events[store.EventKey{SessionKey: k, N: 1}].CreatedAt
	waits := project.Timeout()
	if p.Quote != nil {
		waits = min(waits, p.Quote.Until.Sub(ready))
	}
	if p.State == session.Awaiting {
		task := w.store.tasks[store.TaskKey{SessionKey: k, Payout: p.ID, Kind: store.TaskExpire}]
		if due := task.Due.Sub(ready); due != waits {
			w.breaks("expiry", "%s may be confirmed for %v, and not for %v", w.label(k), due, waits)
		}
	}
	if p.State == session.Cancelled && p.Failure != nil && p.Failure.Code == fault.ConfirmTimeout && !w.jumped {
		for n := range w.store.sessions[k].Payouts { // the first that expires ends all
			if q := w.store.sessions[k].Payouts[n].Quote; q != nil {
				waits = min(waits, q.Until.Sub(ready))
			}
		}
		if waited := p.FinishedAt.Sub(ready); waited < waits {
			w.breaks("expiry", "%s was cancelled %v after it could be confirmed, not after %v", w.label(k), waited, waits)
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

// alarmed reports whether people were told of a payout.
func (w *world) alarmed(kind string, p id.Payout) bool {
	for _, a := range w.store.alarms {
		if a.Kind == kind && a.Payout == p {
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
			p := &row.Payouts[i]
			if !p.State.Final() {
				return fmt.Sprintf("%s is %s", w.label(k), p.State)
			}
			if wanted, _ := w.itemOf(k, p.ID); wanted != nil && wanted.fiscal != nil {
				if open := w.openReceipt(wanted, p); open != "" {
					return open
				}
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
				return p.item.label + ": the rail has not told the truth yet"
			case p.back != nil && !p.back.isTaken():
				return p.item.label + ": the return is not taken"
			case p.here && p.status == rail.Accepted:
				return p.item.label + ": the rail has not decided"
			}
		}
	}
	return ""
}

// tally counts payouts by where they ended.
func (w *world) tally() map[string]int {
	n := map[string]int{}
	for _, row := range w.rows() {
		n["sessions"]++
		for i := range row.Payouts {
			n[string(row.Payouts[i].State)]++
		}
	}
	for range w.webhooks() {
		n["events"]++
	}
	n["deliveries"] = len(w.store.logs)
	w.tallyOffers(n)
	return n
}

// final compares the books of the world with ours, once all is over.
func (w *world) final() {
	byLabel := map[string][]store.SessionKey{}
	for k := range w.rows() {
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
		for _, i := range c.items {
			if len(keys) == 0 && i.paid > 0 {
				w.breaks("agreement", "the rail has paid %s, of which we know nothing", i.label)
			}
		}
	}
	w.finalHooks()
	w.finalMoney()
	if w.safe != nil {
		w.safe.opens()
	}
	if w.office != nil {
		w.finalReceipts()
	}
	if w.statements {
		w.finalStatements()
	}
}

// agree compares a session with what its partner and its rails know of it.
func (w *world) agree(c *charge, k store.SessionKey) {
	row, _ := w.row(k)
	if n := len(row.Payouts); n != 0 && n != len(c.items) {
		w.breaks("agreement", "%s has %d payouts, and was asked for with %d", c.label, n, len(c.items))
		return
	}
	cancelled := 0
	for n := range row.Payouts {
		p := &row.Payouts[n]
		w.agreeItem(c.items[n], k, p)
		if p.State == session.Cancelled {
			cancelled++
		}
		if c.ends != nil && c.ends[n] != p.Show().Payout {
			w.breaks("end", "%s was told to be %s and is %s", c.items[n].label, c.ends[n], p.State)
		}
		if c.cancelled && p.State != session.Cancelled && (len(c.items) == 1 || p.State != session.Failed) {
			w.breaks("answered", "%s was told to be cancelled and is %s", c.items[n].label, p.State)
		}
	}
	if len(row.Payouts) > 0 && c.confirmed && cancelled > 0 {
		w.breaks("answered", "%s was told to be confirmed and is cancelled", c.label)
	}
}

// agreeItem compares one payout with what was wanted, and what became of it.
func (w *world) agreeItem(i *item, k store.SessionKey, p *session.Payout) {
	var at *payment
	if r := w.rails[p.Rail]; r != nil {
		at = r.payments[p.Reference]
	}
	paid := i.paid > 0
	switch {
	case at != nil && at.lied && w.isArchived(k.Project, k.Session):
		w.admittedLate(i, k, p)
	case !i.moves():
		if paid || at != nil {
			w.breaks("agreement", "%s moves no money, and a rail has it", i.label)
		}
	case p.State == session.Paid || p.State == session.Returned:
		if !paid {
			w.breaks("agreement", "%s is %s, and the rail has not paid it", i.label, p.State)
		}
	case p.State == session.Failed || p.State == session.Cancelled:
		if paid {
			w.breaks("agreement", "%s is %s, and the rail has paid it", i.label, p.State)
		}
	case p.State == session.Disputed:
		if at == nil || !at.lied {
			w.breaks("agreement", "%s is disputed, and the rail has not contradicted itself", i.label)
		}
	}
	told := 0
	for n := range p.Refunds {
		if p.Refunds[n].Status == session.RefundKept {
			w.breaks("returns", "a return of %s still waits, and it is %s", i.label, p.State)
		}
		if at != nil && at.back != nil && p.Refunds[n].Reference == at.back.Reference {
			told++
		}
	}
	if at == nil || at.back == nil {
		return
	}
	late := w.cameLate(at.back, k, p)
	if late {
		told++
	}
	if told != 1 {
		w.breaks("returns", "a return of %s was taken, and is written down %d times", i.label, told)
	}
	if at.back.otherwise { // whichever comes first counts, and people are told of the other
		if !w.alarmed("return_changed", p.ID) {
			w.breaks("returns", "two returns of %s have one name, and nobody was told", i.label)
		}
		return
	}
	whole := !late && at.back.Amount.Minor == at.minor && i.kind == instrument.KindAccount && !at.lied
	if whole && p.State != session.Returned {
		w.breaks("returns", "%s came back whole and is %s", i.label, p.State)
	}
}

// finalHooks sees that each webhook has arrived or was given up, whatever its
// receiver did.
func (w *world) finalHooks() {
	for k, e := range w.webhooks() {
		_, taken := w.hooks.took[e.ID]
		switch {
		case e.Status == webhook.Delivered && !taken:
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

// finalMoney reckons what each partner must have, on its balance and on each
// account, from what came in and what the rails have paid, without our book.
func (w *world) finalMoney() {
	for _, s := range w.shops {
		booked, has := map[string]int{}, map[string]int64{}
		for _, e := range w.store.entries[s.project.ID] {
			if e.Session == 0 {
				booked[e.Reference]++
				has[e.Account] += e.Change.Available
				if d := s.deposits[e.Reference]; d == nil || d.account != e.Account || d.minor != e.Change.Available {
					w.breaks("answered", "the deposit %s was booked as %d to %q", e.Reference, e.Change.Available, e.Account)
				}
			}
		}
		for reference, d := range s.deposits {
			if n := booked[reference]; n > 1 || n == 0 && d.done {
				w.breaks("answered", "the deposit %s was booked %d times", reference, n)
			}
		}
		for k, row := range w.rows() {
			if k.Project != s.project.ID {
				continue
			}
			for n := range row.Payouts {
				p := &row.Payouts[n]
				i, _ := w.itemOf(k, p.ID)
				if i == nil || !i.moves() {
					continue
				}
				minor := w.roubles(i, p)
				fee, err := s.project.Fees[i.kind].Of(minor)
				if err != nil {
					w.breaks("books", "fee of %s: %v", i.label, err)
				}
				switch {
				case p.State == session.Returned && s.project.ReturnFee:
				case p.State == session.Returned:
					has[i.charge.account] -= fee
				case p.State == session.Paid, p.State == session.Disputed && p.Failure == nil:
					has[i.charge.account] -= minor + fee
				}
			}
		}
		if balance := w.store.books[s.project.ID].Balance.Available; balance != has[""] {
			w.breaks("books", "%s has %d, and should have %d", s.project.ID, balance, has[""])
		}
		for _, number := range s.numbers() {
			a := w.store.accounts[store.AccountKey{Project: s.project.ID, Number: number}]
			if a.Balance.Available != has[number] {
				w.breaks("books", "%s has %d on %s, and should have %d", s.project.ID, a.Balance.Available, number, has[number])
			}
		}
	}
}

// tallyOffers counts what the offers of a history came to.
func (w *world) tallyOffers(n map[string]int) {
	for _, row := range w.rows() {
		if len(row.Payouts) > 1 {
			n["sessions of several"]++
		}
		for i := range row.Payouts {
			p := &row.Payouts[i]
			if p.Receipt != nil {
				n["receipt "+string(p.Receipt.State)]++
			}
			if p.Quote != nil {
				n["quotes"]++
			}
			if p.Details.Source != "" {
				n["from own accounts"]++
			}
		}
	}
	n["statements"], n["archives"], n["archived"] = len(w.store.statements), len(w.store.archives), len(w.store.attic.sessions)
	for _, d := range w.store.differences {
		n["difference "+string(d.Kind)]++
	}
	for _, a := range w.store.alarms {
		n["alarm "+a.Kind]++
	}
}
