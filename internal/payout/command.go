package payout

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/rail"
)

// A command is one change, decided by pure code from the rows that it names.
// decide may run more than once; it changes nothing but the tx.
type command interface {
	reads(*store.Reads)
	decide(*tx) (Answer, error)
}

// request is a command of a partner, with its idempotency key around it.
type request struct {
	Call
	session store.SessionKey // Session 0 where none is loaded
	account string           // own account that the request names; "" for none
	money   bool             // it may book an entry or make an event
	makes   bool             // it makes a session or starts a payout
	refused error            // why it can't be carried out, if it has not been
	run     func(*tx) (*session.Session, error)
}

func (r *request) reads(names *store.Reads) {
	if r.session.Session != 0 {
		names.Sessions = append(names.Sessions, r.session)
	}
	if r.account != "" {
		names.Accounts = append(names.Accounts, store.AccountKey{Project: r.Project.ID, Number: r.account})
	}
	if r.money {
		names.Books = append(names.Books, r.Project.ID)
	}
	if r.Key != "" {
		names.Keys = append(names.Keys, r.keyRef())
	}
}

func (r *request) keyRef() store.KeyRef {
	if sabotage == "keys of all partners" {
		return store.KeyRef{Scope: store.ScopeAPI, Key: r.Key}
	}
	return store.KeyRef{Project: r.Project.ID, Scope: store.ScopeAPI, Key: r.Key}
}

// decide runs the request unless its key is burnt, and burns it only if the
// request changed something: a refusal leaves the key free.
func (r *request) decide(t *tx) (Answer, error) {
	if r.Key != "" {
		if burnt, ok := t.rows.Keys[r.keyRef()]; ok {
			switch {
			case !r.Replay:
				return Answer{}, fault.New(fault.KeyExists, "a request with this idempotency key is already in progress or processed")
			case burnt.Print != r.Print:
				return Answer{}, fault.New(fault.KeyExists, "this idempotency key belongs to another request")
			}
			return Answer{Body: burnt.Answer, Replayed: true}, nil
		}
	}
	if err := t.restores.now.Load().refuses(r.makes); err != nil {
		return Answer{}, err
	}
	if r.refused != nil {
		return Answer{}, r.refused
	}
	shown, err := r.run(t)
	if err != nil {
		return Answer{}, err
	}
	body := wire.Answer(shown, r.Version, r.Project)
	if r.Key != "" {
		t.own.Keys = append(t.own.Keys, store.KeyRecord{KeyRef: r.keyRef(), Print: r.Print, Answer: body, At: t.now})
	}
	return Answer{Body: body}, nil
}

// draft is a new session without a payout.
func (t *tx) draft(number id.Session, c Call) *session.Session {
	return &session.Session{
		Project: c.Project.ID, ID: number, Version: c.Version, State: session.Created, CreatedAt: t.now, UpdatedAt: t.now,
	}
}

// begin starts a payout in a created session with what the two requests give
// together.
func (t *tx) begin(s *session.Session, number id.Payout, c Call, d session.Details) error {
	if s.State != session.Created || len(s.Payouts) > 0 {
		return fault.New(fault.WrongState, "session %s has been started or cancelled", s.ID)
	}
	if alone := d.Fiscal != nil && d.Fiscal.Alone; d.Instrument == nil && !alone && len(needed(s)) > 0 && t.now.Sub(s.CreatedAt) >= draftLife {
		return fault.New(fault.Invalid, "session_id: the card that session %s was created with is no longer kept; name it again", s.ID)
	}
	if err := t.start(s, number, c, d.Over(s.Draft)); err != nil {
		return err
	}
	s.Draft = session.Details{}
	return nil
}

// start adds a payout to a session and starts it.
func (t *tx) start(s *session.Session, number id.Payout, c Call, d session.Details) error {
	if err := wire.Complete(c.Version, d); err != nil {
		return err
	}
	if err := t.fiscal(c.Project, &d); err != nil {
		return err
	}
	if d.Fiscal != nil && d.Fiscal.Alone {
		return t.beginAlone(s, number, c, d)
	}
	kind := d.Instrument.Kind()
	if !t.sandbox && !c.Project.Allows(kind) {
		return fault.New(fault.Unauthorized, "payouts by %s are not enabled for the project", kind)
	}
	moves, ok := t.rails[kind]
	if !ok {
		return fault.New(fault.Unauthorized, "the server has no rail for payouts by %s", kind)
	}
	if err := t.sourced(s.Project, &d); err != nil {
		return err
	}
	p := session.Payout{
		ID: number, State: session.Created, Details: d, Rail: moves.Name(), Reference: number.String(), CreatedAt: t.now,
	}
	switch {
	case p.Foreign(): // the fee is that of the roubles, which the quote will tell
		if err := t.exchangeable(c.Project, d.Amount); err != nil {
			return err
		}
	case !p.Verification():
		fee, err := c.Project.Fees[kind].Of(p.Minor())
		if err != nil {
			return fault.Wrap(fault.Invalid, err, "amount_details.amount: too large")
		}
		p.Fee = fee
	}
	if d.Fiscal != nil {
		p.Receipt = t.newReceipt()
	}
	s.Payouts = append(s.Payouts, p)
	return t.step(s, &s.Payouts[len(s.Payouts)-1], session.Start, c.Project, nil)
}

func (t *tx) seal(card *vault.Sealed) {
	if card != nil {
		t.own.Cards = append(t.own.Cards, *card)
	}
}

// confirm releases all payouts of a session that awaits it. What it returns is
// what the answer shows: confirmed, though they may have been promised to their
// rails by then.
func (t *tx) confirm(s *session.Session, c Call, information json.RawMessage) (*session.Session, error) {
	if s.Show().NextAction != "confirm" {
		return nil, fault.New(fault.WrongState, "session %s does not await confirmation", s.ID)
	}
	if err := wire.Informed(s, information); err != nil && sabotage != "confirms anything" {
		return nil, err
	}
	shown := s.Clone()
	if err := t.each(s, session.Awaiting, session.Confirm, c.Project, nil); err != nil {
		return nil, err
	}
	t.confirmed(shown)
	return shown, nil
}

// confirmed shows a session whose payouts have just ceased to await.
func (t *tx) confirmed(s *session.Session) {
	s.UpdatedAt = t.now
	for i := range s.Payouts {
		if s.Payouts[i].State == session.Awaiting {
			s.Payouts[i].State = session.Confirmed
		}
	}
}

// cancel ends a session that is created or awaits confirmation. What it
// returns is what the answer shows: of a started session, that it is no longer
// to be confirmed; its end is told by webhook (wire reference, core §3.6).
func (t *tx) cancel(s *session.Session, c Call) (*session.Session, error) {
	if len(s.Payouts) == 0 {
		step, err := session.Next(s.State, session.Cancel)
		if err != nil {
			return nil, fault.New(fault.WrongState, "session %s has been cancelled", s.ID)
		}
		s.State, s.Draft = step.To, session.Details{}
		return s, nil
	}
	if s.Show().NextAction != "confirm" {
		return nil, fault.New(fault.WrongState, "session %s can't be cancelled: it is neither created nor awaits confirmation", s.ID)
	}
	before := s.Clone()
	if err := t.each(s, session.Awaiting, session.Cancel, c.Project, fails(fault.CancelledByPartner)); err != nil {
		return nil, err
	}
	t.confirmed(before)
	return before, nil
}

// each takes all payouts of s that are in the state from through the event.
func (t *tx) each(s *session.Session, from session.State, e session.Event, project *partner.Project, note func(*session.Payout)) error {
	for i := range s.Payouts {
		if p := &s.Payouts[i]; p.State == from {
			if err := t.step(s, p, e, project, note); err != nil {
				return err
			}
		}
	}
	return nil
}

// fails notes a failure with the code's own text.
func fails(code fault.Code) func(*session.Payout) {
	return failsWith(code, fault.Lookup(code).Text)
}

func failsWith(code fault.Code, text string) func(*session.Payout) {
	return func(p *session.Payout) { p.Failure = &session.Failure{Code: code, Text: text} }
}

// errand is what a worker brings back about one payout.
type errand struct {
	project *partner.Project
	task    store.Task
}

func (w *errand) reads(names *store.Reads) {
	names.Sessions = append(names.Sessions, w.task.SessionKey)
	names.Books = append(names.Books, w.task.Project)
}

// payout finds the payout of the errand; fenced refuses a worker that has lost
// its lease.
func (w *errand) payout(t *tx, fenced bool) (*session.Session, *session.Payout, error) {
	s, err := t.session(w.task.SessionKey)
	if err != nil {
		return nil, nil, err
	}
	if fenced && s.Fence != w.task.Fence {
		return nil, nil, fault.New(fault.Stale, "task %s of %s was taken over", w.task.Kind, w.task.Payout)
	}
	for i := range s.Payouts {
		if p := &s.Payouts[i]; p.ID == w.task.Payout {
			return s, p, nil
		}
	}
	return nil, nil, fmt.Errorf("payout %s is not in session %s", w.task.Payout, s.ID)
}

// gone ends a task that the state has left behind.
func (w *errand) gone(t *tx, p *session.Payout) bool {
	if workOf(p) == w.task.Kind {
		return false
	}
	t.tasks = append(t.tasks, taskChange{task: w.task, done: true})
	return true
}

// checked brings the rail's verdict on a recipient.
type checked struct {
	errand
	quote   *session.Quote // of a payout in foreign currency
	fee     int64          // beside quote
	to      session.Party  // the recipient of a payout from an own account
	refused fault.Code     // "" if the payout is possible
	text    string
}

func (c *checked) decide(t *tx) (Answer, error) {
	s, p, err := c.payout(t, true)
	if err != nil || c.gone(t, p) {
		return Answer{}, err
	}
	if p.Foreign() { // without a quote, it is refused: none that was told before stays
		p.Quote, p.Fee = c.quote, c.fee
	}
	if p.Details.Source != "" && c.refused == "" {
		if p.Transfer, err = t.transfer(s, p, c.to); err != nil {
			return Answer{}, err
		}
	}
	switch {
	case c.refused != "":
		err = t.step(s, p, session.Refuse, c.project, failsWith(c.refused, c.text))
	case p.Verification():
		err = t.step(s, p, session.Verified, c.project, nil)
	case p.Foreign() && p.Quote == nil:
		err = fmt.Errorf("payout %s in foreign currency has no quote", p.ID)
	default:
		err = t.step(s, p, session.Pass, c.project, nil)
	}
	if err == nil {
		err = t.hold(s, c.project)
	}
	if err != nil {
		return Answer{}, err
	}
	t.put(s)
	return Answer{}, nil
}

// later puts a task off.
type later struct {
	errand
	due time.Time
}

func (l *later) reads(names *store.Reads) { names.Sessions = append(names.Sessions, l.task.SessionKey) }

func (l *later) decide(t *tx) (Answer, error) {
	s, p, err := l.payout(t, true)
	if err != nil || l.gone(t, p) {
		return Answer{}, err
	}
	t.reschedule(s, p, workOf(p), l.task.Attempt+1, l.due)
	return Answer{}, nil
}

// expire ends a session that nobody confirmed in time.
type expire struct{ errand }

func (x *expire) decide(t *tx) (Answer, error) {
	s, p, err := x.payout(t, true)
	if err != nil || x.gone(t, p) {
		return Answer{}, err
	}
	if err := t.each(s, session.Awaiting, session.Expire, x.project, fails(fault.ConfirmTimeout)); err != nil {
		return Answer{}, err
	}
	t.put(s)
	return Answer{}, nil
}

// intent promises a payment that could not be promised when it was confirmed.
type intent struct {
	errand
	at time.Time // set by decide: when it was promised
}

// reads names no book: a promise books nothing and tells the partner nothing.
func (n *intent) reads(names *store.Reads) {
	names.Sessions = append(names.Sessions, n.task.SessionKey)
}

func (n *intent) decide(t *tx) (Answer, error) {
	s, p, err := n.payout(t, true)
	if err != nil {
		return Answer{}, err
	}
	if p.State != session.Confirmed {
		return Answer{}, fault.New(fault.WrongState, "payout %s is %s", p.ID, p.State)
	}
	if err := t.promise(s, p, n.project); err != nil {
		return Answer{}, err
	}
	n.at = p.SentAt
	t.reschedule(s, p, store.TaskSend, 0, t.firstDue(p, n.project))
	t.put(s)
	return Answer{}, nil
}

// unkept ends a payout whose promise can't be kept: the rail was not called,
// and the worker that knows this is the only one that could have called it.
type unkept struct {
	errand
	attempt int
	code    fault.Code
	text    string
}

func (u *unkept) decide(t *tx) (Answer, error) {
	s, p, err := u.payout(t, true)
	if err != nil {
		return Answer{}, err
	}
	if p.State != session.Sent || p.Attempt != u.attempt {
		return Answer{}, fault.New(fault.WrongState, "payout %s is %s", p.ID, p.State)
	}
	if err := t.step(s, p, session.Decline, u.project, failsWith(u.code, u.text)); err != nil {
		return Answer{}, err
	}
	t.attempt(s, p, store.AttemptDeclined)
	t.put(s)
	return Answer{}, nil
}

// abort fails a confirmed payout that has become impossible before it was sent.
type abort struct {
	errand
	code fault.Code
	text string // "" takes the code's own
}

func (a *abort) decide(t *tx) (Answer, error) {
	s, p, err := a.payout(t, true)
	if err != nil || a.gone(t, p) {
		return Answer{}, err
	}
	text := a.text
	if text == "" {
		text = fault.Lookup(a.code).Text
	}
	if err := t.step(s, p, session.Abort, a.project, failsWith(a.code, text)); err != nil {
		return Answer{}, err
	}
	t.put(s)
	return Answer{}, nil
}

// attempt writes down what the rail has been asked. One reference is one
// attempt, however often it is sent.
func (t *tx) attempt(s *session.Session, p *session.Payout, o store.AttemptOutcome) {
	a := store.Attempt{
		Project: s.Project, Session: s.ID, Payout: p.ID, No: 1, Rail: p.Rail, Reference: p.Reference,
		Outcome: o, SentAt: p.SentAt,
	}
	if o != store.AttemptOpen {
		a.EndedAt = t.now
	}
	t.own.Attempts = append(t.own.Attempts, a)
}

// outcome brings what a rail says of a payment. It is a fact, so no lost lease
// refuses it; the state table decides what it means.
type outcome struct {
	errand
	says rail.Outcome
	// asked is when the question was put to which this is the answer; zero if
	// the rail was not asked.
	asked time.Time
	// again is set by decide: the same reference must be sent again, and when that
	// was promised; zero if it must not.
	again time.Time
}

func (o *outcome) decide(t *tx) (Answer, error) {
	o.again = time.Time{}
	s, p, err := o.payout(t, false)
	if err != nil {
		return Answer{}, err
	}
	if p.SentAt.IsZero() {
		// Whatever it has paid, it is not this payout.
		t.alarm(o.task.SessionKey, p.ID, "answer_never_asked", "the rail answers "+string(o.says.Status)+" for a payout that was never sent")
		return Answer{}, nil
	}
	switch o.says.Status {
	case rail.Succeeded:
		err = o.succeeded(t, s, p)
	case rail.Failed:
		err = o.failed(t, s, p)
	default:
		err = o.open(t, s, p)
	}
	return Answer{}, err
}

func (o *outcome) succeeded(t *tx, s *session.Session, p *session.Payout) error {
	switch p.State {
	case session.Paid, session.Returned, session.Disputed:
		return nil // told before
	case session.Failed:
		t.alarm(o.task.SessionKey, p.ID, "paid_after_failed", "the rail says paid after it had declined; the amount is in suspense")
	}
	token, err := t.accountToken(p, o.project)
	if err != nil {
		return err
	}
	if err := t.step(s, p, session.Accept, o.project, func(p *session.Payout) {
		if p.Failure == nil {
			p.Info = session.TransactionInfo{
				RRN: words(o.says.Info.RRN, infoMax), ARN: words(o.says.Info.ARN, infoMax),
				AuthCode: words(o.says.Info.AuthCode, infoMax), FPMessageID: words(o.says.Info.FPMessageID, infoMax),
				BankAccountToken: string(token),
			}
		}
	}); err != nil {
		return err
	}
	t.attempt(s, p, store.AttemptAccepted)
	t.put(s)
	return nil
}

func (o *outcome) failed(t *tx, s *session.Session, p *session.Payout) error {
	switch p.State {
	case session.Failed, session.Disputed, session.Returned:
		return nil // told before
	case session.Paid:
		t.alarm(o.task.SessionKey, p.ID, "declined_after_paid", "the rail says declined after it had paid; nothing was booked")
		if err := t.step(s, p, session.Decline, o.project, nil); err != nil {
			return err
		}
		t.put(s)
		return nil
	}
	code, text := codeOf(o.says.Code), words(o.says.Text, textMax)
	if text == "" {
		text = fault.Lookup(code).Text
	}
	if err := t.step(s, p, session.Decline, o.project, failsWith(code, text)); err != nil {
		return err
	}
	t.attempt(s, p, store.AttemptDeclined)
	t.put(s)
	return nil
}

// How much of what a rail says is kept, in characters.
const (
	textMax = 500
	infoMax = 64 // the longest number that a rail gives has 32
)

// words are a rail's as they may be kept and shown, on one line: it may quote the
// card, or whatever it has heard itself.
func words(s string, most int) string {
	s = instrument.MaskText(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s))
	if all := []rune(s); len(all) > most {
		return string(all[:most-1]) + "…"
	}
	return s
}

// codeOf is a rail's code in our words; a code that nobody knows tells the
// partner nothing.
func codeOf(c rail.Code) fault.Code {
	if code := fault.Code(c); fault.Known(code) {
		return code
	}
	return fault.ProviderInternal
}

// open is every answer that ends nothing: the hold stays and the rail is asked
// again. The same reference goes out again only after the rail's deadline and
// window have passed and it has since said twice that it never saw it.
func (o *outcome) open(t *tx, s *session.Session, p *session.Payout) error {
	if p.State != session.Sent && p.State != session.Unclear {
		return nil
	}
	if p.State == session.Sent && o.says.Status != rail.Accepted {
		if err := t.step(s, p, session.Lose, o.project, nil); err != nil {
			return err
		}
	} else {
		t.reschedule(s, p, workOf(p), o.task.Attempt+1, t.now.Add(t.queryGap(o.task.Attempt+1)))
	}
	o.alarm(t, p)
	terms := t.terms(p.Rail)
	switch {
	case o.says.Status != rail.NeverSeen:
		p.NeverSeen = 0
	case o.asked.After(t.lastSent(p).Add(terms.SendDeadline + terms.Visibility)), sabotage == "impatience":
		p.NeverSeen++
	}
	if p.NeverSeen >= neverSeenMin {
		p.NeverSeen, p.Attempt, p.SentAt = 0, p.Attempt+1, t.now
		o.again = p.SentAt
		if err := t.step(s, p, session.Resend, o.project, nil); err != nil {
			return err
		}
	}
	t.put(s)
	return nil
}

// alarm calls for people, once, about a payout that stays unclear for long. A
// rail that knows the payment and takes its time with it is not unclear.
func (o *outcome) alarm(t *tx, p *session.Payout) {
	switch {
	case p.State != session.Unclear || o.says.Status == rail.Accepted || p.Alarmed:
	case p.UnclearAt.IsZero():
		p.UnclearAt = t.now
	case t.now.Sub(p.UnclearAt) >= unclearMax:
		p.Alarmed = true
		t.alarm(o.task.SessionKey, p.ID, "payout_unclear",
			fmt.Sprintf("the rail %s has not said for %v what became of it; its money stays held", p.Rail, t.now.Sub(p.UnclearAt).Truncate(time.Minute)))
	}
}

// deposit brings money into a project, once per reference.
type deposit struct {
	project   id.Project
	account   string // of the project's own; "" for its balance
	minor     int64
	reference string
}

func (d *deposit) keyRef() store.KeyRef {
	return store.KeyRef{Project: d.project, Scope: store.ScopeDeposit, Key: d.reference}
}

func (d *deposit) reads(names *store.Reads) {
	names.Books = append(names.Books, d.project)
	if d.account != "" {
		names.Accounts = append(names.Accounts, store.AccountKey{Project: d.project, Number: d.account})
	}
	names.Keys = append(names.Keys, d.keyRef())
}

func (d *deposit) decide(t *tx) (Answer, error) {
	print := d.print()
	if booked, ok := t.rows.Keys[d.keyRef()]; ok {
		if booked.Print != print {
			return Answer{}, fault.New(fault.Invalid, "reference: a deposit of another amount or account has this reference")
		}
		return Answer{Replayed: true}, nil
	}
	if err := t.post(d.project, d.account, ledger.Deposit(d.minor, d.reference)); err != nil {
		return Answer{}, err
	}
	t.own.Keys = append(t.own.Keys, store.KeyRecord{KeyRef: d.keyRef(), Print: print, At: t.now})
	return Answer{}, nil
}

// tried brings the result of one delivery of a webhook.
type tried struct {
	project   *partner.Project
	event     store.EventKey
	body      []byte // for the next try
	signature string
	at        time.Time
	result    webhook.Result
	jitter    float64
	// round and earlier are when the round of attempts began to which this one
	// belongs, and how many it had before; zero for the first.
	round   time.Time
	earlier int
}

func (d *tried) reads(names *store.Reads) { names.Outbox = append(names.Outbox, d.event.SessionKey) }

func (d *tried) decide(t *tx) (Answer, error) {
	e := t.undelivered(d.event)
	if e == nil {
		return Answer{}, nil // delivered or given up before: it was sent twice
	}
	done := *e
	done.Attempts++
	done.Body, done.Signature = d.body, d.signature
	done.Owner, done.Lease = "", time.Time{}
	began := d.round
	if began.IsZero() {
		began = d.at
	}
	if d.result.OK {
		done.Status = webhook.Delivered
	} else if due, again := schedule(d.project).Next(d.earlier+1, began, t.now, d.result.RetryAfter, d.jitter); again && (sabotage != "gives up early" || d.earlier < 2) {
		done.Due = due
		t.keep(&done)
	} else {
		t.giveUp(&done)
	}
	t.own.Events = append(t.own.Events, done)
	t.own.Deliveries = append(t.own.Deliveries, webhook.Attempt{
		Project: d.event.Project, Session: d.event.Session, N: d.event.N, No: done.Attempts,
		At: d.at, Took: d.result.Took, Status: d.result.Status, Error: d.result.Err,
	})
	t.release(&done)
	return Answer{}, nil
}

// ageParts is into how many parts the age of an event that is put off is cut: it
// waits as long as one of them.
const ageParts = 4

// putOff brings events back to the database whose endpoint can't take them for
// a while. Each waits the longer the older it is, so that what piles up for an
// endpoint that stays down costs little, and is given up in its time.
type putOff struct {
	events []delivery
	wait   time.Duration
}

func (d *putOff) reads(names *store.Reads) {
	for i := range d.events {
		names.Outbox = append(names.Outbox, eventKey(&d.events[i].Event).SessionKey)
	}
}

func (d *putOff) decide(t *tx) (Answer, error) {
	for i := range d.events {
		e := t.undelivered(eventKey(&d.events[i].Event))
		if e == nil || e.Owner != t.node {
			continue // somebody else has taken care of it
		}
		off := *e
		off.Owner, off.Lease = "", time.Time{}
		s := schedule(d.events[i].project)
		began, total := d.events[i].round, s.Total
		if began.IsZero() { // it was never tried: its time has not begun, but it can't wait for ever
			began, total = off.CreatedAt, 2*s.Total
		}
		age := t.now.Sub(began)
		if age >= total && !d.events[i].young {
			t.giveUp(&off)
		} else {
			off.Due = t.now.Add(max(d.wait, min(age/ageParts, s.Longest)))
		}
		t.own.Events = append(t.own.Events, off)
		t.release(&off)
	}
	return Answer{}, nil
}

// schedule is the one of the project's choice.
func schedule(p *partner.Project) webhook.Schedule {
	if p.RetryShort {
		return webhook.Short
	}
	return webhook.Standard
}

// replay begins the delivery of an event again that has come to its end, with
// the same body and signature. Like a new one it waits for those before it.
type replay struct {
	project *partner.Project
	event   store.EventKey
}

func (r *replay) reads(names *store.Reads) { names.Events = append(names.Events, r.event.SessionKey) }

func (r *replay) decide(t *tx) (Answer, error) {
	if r.project.Webhook == "" {
		return Answer{}, errNoAddress(r.project.ID)
	}
	e, ok := t.rows.Events[r.event]
	switch {
	case !ok:
		return Answer{}, fault.New(fault.NotFound, "session %s has no event %d", r.event.Session, r.event.N)
	case e.Status == webhook.Pending:
		return Answer{}, fault.New(fault.WrongState, "event %d of session %s is still being delivered; the next attempt is due at %s",
			r.event.N, r.event.Session, e.Due.Format(time.RFC3339))
	}
	e.Status, e.Attempts, e.Due = webhook.Pending, e.Attempts+1, t.now
	if t.undeliveredBefore(&e) {
		e.Due = t.now.Add(holdBackMax)
	}
	e.Owner, e.Lease = "", time.Time{}
	t.own.Events = append(t.own.Events, e)
	t.own.Deliveries = append(t.own.Deliveries, webhook.Attempt{
		Project: e.Project, Session: e.Session, N: e.N, No: e.Attempts, At: t.now, Error: webhook.Replayed,
	})
	return Answer{}, nil
}

// undelivered finds an event of the outbox; nil if it is there no more.
func (t *tx) undelivered(k store.EventKey) *webhook.Event {
	outbox := t.rows.Outbox[k.SessionKey]
	for i := range outbox {
		if outbox[i].N == k.N {
			return &outbox[i]
		}
	}
	return nil
}

// giveUp ends the delivery of an event and calls for people.
func (t *tx) giveUp(e *webhook.Event) {
	e.Status = webhook.GivenUp
	t.alarm(eventKey(e).SessionKey, 0, "webhook_given_up", fmt.Sprintf("event %s was tried %d times", e.ID, e.Attempts))
}

// release lets the next event of the session go once e and those before it have
// come to their end, to whoever claims it. One that has attempts is held back after a replay, or waits
// for another try: a receiver that takes e may have it at once in both cases.
func (t *tx) release(e *webhook.Event) {
	if e.Status == webhook.Pending || t.undeliveredBefore(e) {
		return
	}
	var next *webhook.Event
	outbox := t.rows.Outbox[eventKey(e).SessionKey]
	for i := range outbox {
		if o := &outbox[i]; o.N > e.N && (next == nil || o.N < next.N) {
			next = o
		}
	}
	if next == nil || !next.Due.After(t.now) || next.Attempts > 0 && (next.Owner != "" || e.Status != webhook.Delivered) {
		return
	}
	released := *next
	released.Due, released.Owner, released.Lease = t.now, "", time.Time{}
	t.own.Events = append(t.own.Events, released)
}
