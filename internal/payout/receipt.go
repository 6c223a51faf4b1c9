package payout

import (
	"fmt"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/tax"
)

const (
	receiptHold  = 5 * time.Second    // payment_finished waits for the receipt for so long
	receiptAgain = 24 * time.Hour     // between two tries of what the tax service has refused
	receiptSoon  = 3 * 24 * time.Hour // before its deadline people are told
)

// taxFailed is what a payout fails with when the tax service does.
const taxFailed = fault.TaxFailed

// workOf is the one task that a payout has for its own sake; "" where it has
// none. Beside it, once that is "", its receipt may have one.
func workOf(p *session.Payout) store.TaskKind {
	kind := taskOf(p.State)
	switch {
	case kind != store.TaskCheck || p.Receipt == nil:
		return kind
	case !p.Receipt.Cleared:
		return store.TaskClear
	case p.Alone():
		return ""
	}
	return kind
}

// fiscal refuses what can't have a receipt, and gives a receipt without a payout
// its amount.
func (t *tx) fiscal(p *partner.Project, d *session.Details) error {
	if d.Fiscal == nil {
		return nil
	}
	if err := t.taxed(p); err != nil {
		return err
	}
	total, err := d.Fiscal.Total()
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "fiscalization_details.professional_income_taxpayer.services: their sum is too large")
	}
	switch {
	case d.Fiscal.Alone && (d.Amount == nil || d.Amount.Currency != money.RUB):
		d.Amount = &total
		return nil
	case d.Amount == nil: // a verification
		return fault.New(fault.Invalid, "fiscalization_details: an FPS verification has no receipt")
	case *d.Amount == total:
		return nil
	case p.StrictReceipts:
		return fault.New(fault.Invalid, "fiscalization_details.professional_income_taxpayer.services: they come to %s, not to %s", total, *d.Amount)
	case d.Amount.Currency != money.RUB: // what it will be in roubles nobody knows yet
		return nil
	}
	t.log.Warn("the services of a receipt do not make the amount", "project", p.ID, "services", total.String(), "amount", d.Amount.String())
	return nil
}

// newReceipt is that of a payout which has just been started.
func (t *tx) newReceipt() *session.Receipt {
	return &session.Receipt{State: session.Reserved, Reserved: tax.YearOf(t.now)}
}

// beginAlone starts a receipt without a payout: no rail, no money, no
// confirmation.
func (t *tx) beginAlone(s *session.Session, number id.Payout, c Call, d session.Details) error {
	d.Instrument = nil
	s.Draft = session.Details{}
	s.Payouts = append(s.Payouts, session.Payout{
		ID: number, State: session.Created, Details: d, Reference: number.String(), CreatedAt: t.now, Receipt: t.newReceipt(),
	})
	return t.step(s, &s.Payouts[len(s.Payouts)-1], session.Start, c.Project, nil)
}

// receiptFollows takes the receipt of a payout where the payout has gone.
func (t *tx) receiptFollows(s *session.Session, p *session.Payout, project *partner.Project) error {
	r := p.Receipt
	switch {
	case r == nil:
		return nil
	case p.State == session.Paid && r.State == session.Reserved:
		r.Withheld = true
		return t.earn(s, p)
	case p.State == session.Returned && !project.KeepReceipts:
		return t.undo(s, p, tax.ReasonRefund)
	case p.State == session.Failed || p.State == session.Cancelled:
		if err := r.Step(session.End); err != nil {
			return err
		}
		t.assign(s, p, store.TaskReceipt, 0, t.now)
	}
	return nil
}

// earn makes an income due to be registered.
func (t *tx) earn(s *session.Session, p *session.Payout) error {
	r := p.Receipt
	if err := r.Step(session.Earn); err != nil {
		return err
	}
	r.EarnedAt, r.Year = t.now, tax.YearOf(t.now)
	t.assign(s, p, store.TaskReceipt, 0, t.now)
	return nil
}

// undo has the receipt of a payout cancelled, or not made. What has no receipt
// any more is left as it is, and so is the task of one that is under way: two who
// ask for one registration could ask for it after it was cancelled.
func (t *tx) undo(s *session.Session, p *session.Payout, why tax.Reason) error {
	r := p.Receipt
	if _, err := session.NextReceipt(r.State, session.Undo); err != nil {
		return nil
	}
	if err := r.Step(session.Undo); err != nil {
		return err
	}
	r.Reason, r.Denied = why, ""
	switch r.State {
	case session.Undoing:
		return nil
	case session.Cancelling:
		r.Message = ""
	}
	t.assign(s, p, store.TaskReceipt, 0, t.now)
	return nil
}

// tell lets payment_finished go that waited for a receipt.
func (t *tx) tell(s *session.Session, p *session.Payout, project *partner.Project) error {
	if p.Receipt == nil || !p.Receipt.Withheld {
		return nil
	}
	p.Receipt.Withheld = false
	if !s.Settled(session.PaymentFinished) {
		return nil
	}
	return t.emit(s, session.PaymentFinished, project)
}

// cleared brings that a person may be paid, and that the income is reserved.
type cleared struct{ errand }

func (c *cleared) decide(t *tx) (Answer, error) {
	s, p, err := c.payout(t, true)
	if err != nil || c.gone(t, p) {
		return Answer{}, err
	}
	p.Receipt.Cleared = true
	if p.Alone() {
		if err := t.earn(s, p); err != nil {
			return Answer{}, err
		}
	}
	t.reschedule(s, p, store.TaskClear, 0, t.now)
	t.put(s)
	return Answer{}, nil
}

// receipted brings what has become of a receipt, and looks at the clock.
type receipted struct {
	errand
	event   session.ReceiptEvent // "" if nothing has
	message tax.Message          // the question that is open now; "" for none
	made    tax.Receipt          // with Register
	denied  tax.Refusal          // "" if the service has not refused
	text    string               // why it has, in its words
	byHand  bool                 // an operator asks: no lease matters
}

func (r *receipted) reads(names *store.Reads) {
	r.errand.reads(names)
	if r.event == session.Register {
		names.Keys = append(names.Keys, acquaintance(r.task.Project, r.made.INN))
	}
}

func (r *receipted) decide(t *tx) (Answer, error) {
	s, p, err := r.payout(t, !r.byHand)
	if err != nil {
		return Answer{}, err
	}
	if p.Receipt == nil || !p.Receipt.State.Open() {
		t.finish(s, p, store.TaskReceipt)
		return Answer{}, nil
	}
	before := *p.Receipt
	if p.Alone() && r.event == session.Deny && before.State == session.Registering {
		// Nothing was paid, so there is nothing that a receipt is owed for.
		p.Receipt.Denied = r.denied
		if err := t.step(s, p, session.Refuse, r.project, failsWith(r.code())); err != nil {
			return Answer{}, err
		}
		t.put(s)
		return Answer{}, nil
	}
	if r.event != "" {
		if err := p.Receipt.Step(r.event); err != nil {
			return Answer{}, err
		}
	}
	if r.event == session.Register {
		t.acquaint(s.Project, r.made.INN)
	}
	r.note(t, p, before)
	if err := r.show(t, s, p); err != nil {
		return Answer{}, err
	}
	if p.Receipt.State.Open() {
		t.assign(s, p, store.TaskReceipt, r.attempt(p, before), r.due(t, p, before))
	} else {
		t.finish(s, p, store.TaskReceipt)
	}
	t.put(s)
	return Answer{}, nil
}

// code is what a refusal of the service is to a payout.
func (r *receipted) code() (fault.Code, string) {
	code := fault.Code(r.denied)
	if !fault.Known(code) {
		code = taxFailed
	}
	return code, fault.Lookup(code).Text
}

// note writes down what is new, and calls for people where they must know.
func (r *receipted) note(t *tx, p *session.Payout, before session.Receipt) {
	now := p.Receipt
	now.Message = r.message
	k := r.task.SessionKey
	switch r.event {
	case session.Register:
		now.ID, now.Link, now.Denied = r.made.ID, r.made.Link, ""
	case session.Annul:
		now.Denied = ""
	}
	if r.denied != "" {
		now.Denied = r.denied
		if before.Denied != r.denied {
			switch now.State {
			case session.Refused:
				t.alarm(k, p.ID, "receipt_refused", fmt.Sprintf("the tax service does not register what was paid: %s; it must be until %s",
					r.why(), lastDay(now)))
			case session.Cancelling:
				t.alarm(k, p.ID, "receipt_not_cancelled", fmt.Sprintf("the tax service does not cancel the receipt %s: %s", now.ID, r.why()))
			}
		}
	}
	if !now.State.Owed() {
		return
	}
	switch end := now.Deadline(); {
	case now.Alarms < 2 && !t.now.Before(end):
		now.Alarms = 2
		t.alarm(k, p.ID, "receipt_overdue", fmt.Sprintf("what was paid had to be registered with the tax service until %s, and is not", lastDay(now)))
	case now.Alarms < 1 && !t.now.Before(end.Add(-receiptSoon)):
		now.Alarms = 1
		t.alarm(k, p.ID, "receipt_due_soon", fmt.Sprintf("what was paid is not registered with the tax service; it must be until %s", lastDay(now)))
	}
}

func (r *receipted) why() string {
	if r.text != "" {
		return fmt.Sprintf("%s (%s)", r.denied, r.text)
	}
	return string(r.denied)
}

// lastDay is the last day on which an income may be registered.
func lastDay(r *session.Receipt) string {
	return r.Deadline().Add(-time.Second).In(tax.Moscow).Format(time.DateOnly)
}

// show tells the partner what he waits for: a receipt that was asked for alone,
// and payment_finished with the receipt, or without it once there is none to
// wait for or it has waited long enough.
func (r *receipted) show(t *tx, s *session.Session, p *session.Payout) error {
	switch {
	case p.Alone() && p.State == session.Checking && r.event == session.Register:
		return t.step(s, p, session.Verified, r.project, nil)
	case p.Receipt.State == session.Due, p.Receipt.State == session.Registering:
		if t.now.Before(p.FinishedAt.Add(receiptHold)) {
			return nil
		}
	}
	return t.tell(s, p, r.project)
}

// attempt counts the tries of what the receipt waits for.
func (r *receipted) attempt(p *session.Payout, before session.Receipt) int {
	if p.Receipt.State != before.State || r.byHand {
		return 0
	}
	return r.task.Attempt + 1
}

// due is when there is something to do for the receipt next.
func (r *receipted) due(t *tx, p *session.Payout, before session.Receipt) time.Time {
	now := p.Receipt
	due := t.now
	switch {
	case r.byHand:
	case now.State == session.Refused, now.State == session.Cancelling && r.denied != "" && r.denied != tax.Failed:
		due = due.Add(receiptAgain)
	case now.State == before.State:
		due = due.Add(t.queryGap(r.task.Attempt + 1))
	}
	if end := p.FinishedAt.Add(receiptHold); now.Withheld && end.Before(due) {
		due = end
	}
	if now.State.Owed() {
		for alarm, at := range []time.Time{now.Deadline().Add(-receiptSoon), now.Deadline()} {
			if now.Alarms <= alarm && at.Before(due) {
				due = at
			}
		}
	}
	return due
}

// incomeKey names the year of a person to whom a payout goes.
func incomeKey(p *session.Payout, year int) store.IncomeKey {
	return store.IncomeKey{INN: p.Details.Fiscal.INN, Year: year}
}

// reservation is what a payout reserves of the limit, in a year and state.
func reservation(k store.SessionKey, p *session.Payout, year int, state store.ReservationState) store.Reservation {
	return store.Reservation{
		ReservationKey: store.ReservationKey{IncomeKey: incomeKey(p, year), Payout: p.ID},
		Project:        k.Project, Session: k.Session, Minor: p.Details.Fiscal.Minor(), State: state,
	}
}

// reserve counts an income against the yearly limit of a person before it is
// earned, once for each payout. It names no other row: persons do not lie where
// projects do.
type reserve struct {
	want store.Reservation
	// income is what the tax service counts, and seen what of ours was
	// registered before it was asked for that.
	income, seen int64
	verdict      room // set by decide
}

// room is whether an income fits.
type room int

const (
	fits   room = iota // it is reserved, now or before
	full               // the limit would be exceeded
	cloudy             // that can't be said: the tax service's figure may have or not have what was under way
	past               // the payout has ended, and the reservation with it
)

func (r *reserve) reads(names *store.Reads) {
	names.Incomes = append(names.Incomes, r.want.IncomeKey)
	names.Reservations = append(names.Reservations, r.want.ReservationKey)
}

// decide counts nothing twice and leaves nothing out. What is held, nobody has
// asked the service to register, so its figure does not have it; what was
// registered before the figure was asked for, it has. Only what was under way
// meanwhile may be in it or not.
func (r *reserve) decide(t *tx) (Answer, error) {
	if has, known := t.rows.Reservations[r.want.ReservationKey]; known {
		if r.verdict = fits; has.State == store.ReservationReleased {
			r.verdict = past
		}
		return Answer{}, nil
	}
	i := t.rows.Incomes[r.want.IncomeKey]
	if sabotage == "what others reserve" {
		i.Held = 0
	}
	left := tax.IncomeMax.Minor - r.income - i.Held - r.want.Minor
	switch {
	case left < 0:
		r.verdict = full
	case left < i.Asked+i.Registered-r.seen:
		r.verdict = cloudy
	default:
		r.verdict = fits
		t.count(r.want)
	}
	return Answer{}, nil
}

// recount changes how the income of a payout counts. What is done already, or
// has gone further, stays.
type recount struct {
	want store.Reservation
	// before is the year in which it was reserved: an income counts in the year
	// in which it is earned.
	before int
}

func (r *recount) keys() []store.ReservationKey {
	first := r.want.ReservationKey
	first.Year = r.before
	return []store.ReservationKey{first, r.want.ReservationKey}
}

func (r *recount) reads(names *store.Reads) {
	for _, k := range r.keys() {
		names.Incomes = append(names.Incomes, k.IncomeKey)
		names.Reservations = append(names.Reservations, k)
	}
}

func (r *recount) decide(t *tx) (Answer, error) {
	if r.before != r.want.Year {
		first := r.want
		first.Year, first.State, first.EarnedAt, first.Receipt = r.before, store.ReservationReleased, time.Time{}, ""
		t.count(first)
		if _, known := t.rows.Reservations[r.want.ReservationKey]; !known && r.want.State == store.ReservationReleased {
			return Answer{}, nil
		}
	}
	t.count(r.want)
	return Answer{}, nil
}

// forward is where a reservation may go from each state; "" is none.
var forward = map[store.ReservationState][]store.ReservationState{
	"":                          {store.ReservationHeld, store.ReservationAsked, store.ReservationReleased},
	store.ReservationHeld:       {store.ReservationAsked, store.ReservationReleased},
	store.ReservationAsked:      {store.ReservationRegistered, store.ReservationReleased},
	store.ReservationRegistered: {store.ReservationAnnulled},
}

// count brings a reservation forward, and the sum that it belongs to.
func (t *tx) count(want store.Reservation) {
	has := t.rows.Reservations[want.ReservationKey]
	for _, state := range forward[has.State] {
		if state != want.State {
			continue
		}
		i := t.rows.Incomes[want.IncomeKey]
		i.IncomeKey = want.IncomeKey
		if sum := sumOf(&i, has.State); sum != nil && want.State != store.ReservationAnnulled {
			*sum -= has.Minor
		}
		if sum := sumOf(&i, want.State); sum != nil {
			*sum += want.Minor
		}
		t.own.Incomes, t.own.Reservations = append(t.own.Incomes, i), append(t.own.Reservations, want)
	}
}

// sumOf is the sum that has the reservations of a state; nil if none has.
func sumOf(i *store.Income, s store.ReservationState) *int64 {
	switch s {
	case store.ReservationHeld:
		return &i.Held
	case store.ReservationAsked:
		return &i.Asked
	case store.ReservationRegistered:
		return &i.Registered
	}
	return nil
}

// acceptIncome writes what a person earns once, and keeps it true for the
// commands that follow.
func (b *batch) acceptIncome(i store.Income) {
	b.rows.Incomes[i.IncomeKey] = i
	if n, ok := b.incomes[i.IncomeKey]; ok {
		b.changes.Incomes[n] = i
		return
	}
	b.incomes[i.IncomeKey] = len(b.changes.Incomes)
	b.changes.Incomes = append(b.changes.Incomes, i)
}
