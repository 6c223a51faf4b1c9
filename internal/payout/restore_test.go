package payout

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
	"github.com/payoutd/payoutd/rail/statement"
	"github.com/payoutd/payoutd/tax"
)

// lostRail is what a rail has done in a time that the database does not know.
type lostRail struct {
	mu   sync.Mutex
	says map[string]rail.Status // by reference; what is not there it has never seen
}

func (r *lostRail) query(reference string, _ int) (rail.Outcome, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if says, ok := r.says[reference]; ok {
		return rail.Outcome{Status: says}, nil
	}
	return rail.Outcome{Status: rail.NeverSeen}, nil
}

func (r *lostRail) set(says rail.Status, references ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, reference := range references {
		r.says[reference] = says
	}
}

// restoreLab is a lab whose rails remember a time that is lost.
func restoreLab(t *testing.T, change ...func(*partner.Project)) (*lab, *lostRail) {
	l, lost := newLab(t, change...), &lostRail{says: map[string]rail.Status{}}
	for _, r := range l.rails {
		r.query = lost.query
	}
	return l, lost
}

// awaiting makes a payout that awaits its confirmation.
func (l *lab) awaiting() id.Session {
	l.Helper()
	s := l.init(cardBody(10_00))
	l.receive(session.ReadyToConfirm, s)
	return s
}

func (l *lab) reference(s id.Session, i int) string { return l.session(s).Payouts[i].Reference }

// sentAll is how often the rails were asked to pay anything.
func (l *lab) sentAll() (n int) {
	for _, r := range l.rails {
		r.mu.Lock()
		for _, sends := range r.sends {
			n += sends
		}
		r.mu.Unlock()
	}
	return n
}

// reopen ends the server and opens the installation as a command does.
func (l *lab) reopen() {
	l.Helper()
	l.close()
	l.open()
}

func (l *lab) declare() Restore {
	l.Helper()
	r, err := l.engine.DeclareRestore(l.Context(), time.Time{}, time.Time{}, "root")
	if err != nil {
		l.Fatal(err)
	}
	return r
}

// held waits until the rails have been asked.
func (l *lab) held() {
	l.Helper()
	l.eventually("the rails were asked", func() bool {
		r, err := l.engine.RestoreReport(l.Context())
		if err != nil {
			l.Fatal(err)
		}
		return r.State == RestoreHeld && l.engine.Restored().State == RestoreHeld // as all requests find it
	})
}

// After a restore, what the rails have paid is found out before anything is
// sent, in whichever state the backup has it.
func TestRestoreFollowsTheRails(t *testing.T) {
	l, lost := restoreLab(t)
	l.start()
	paid, failed, open := l.awaiting(), l.awaiting(), l.awaiting()
	both := l.multi(cardBody(20_00), cardBody(30_00))
	l.receive(session.ReadyToConfirm, both)
	l.reopen() // and not started
	checking := l.init(cardBody(40_00))
	l.declare()
	lost.set(rail.Succeeded, l.reference(paid, 0), l.reference(checking, 0), l.reference(both, 1))
	lost.set(rail.Failed, l.reference(failed, 0))
	l.start()

	ends := map[string]string{}
	for len(ends) < 3 {
		h := <-l.hooks
		if h.Type == string(session.PaymentFinished) {
			ends[h.Session.ID] = h.Session.Status
		}
	}
	want := map[id.Session]string{paid: "accepted", failed: "cancelled", checking: "accepted"}
	for s, status := range want {
		if ends[s.String()] != status {
			t.Errorf("session %s ended as %q, want %q", s, ends[s.String()], status)
		}
	}
	if err := l.confirm(open); fault.CodeOf(err) != fault.Restoring {
		t.Errorf("confirm while rails are being asked: %v, want %s", err, fault.Restoring)
	}
	if n := l.sentAll(); n != 0 {
		t.Fatalf("%d payments were sent while rails are being asked", n)
	}
	told := back(&l.session(open).Payouts[0], "back-1", 10_00)
	if _, err := l.engine.TakeReturn(t.Context(), string(instrument.KindCard), told); fault.CodeOf(err) != fault.Busy {
		t.Errorf("a return while rails are being asked: %v, want %s", err, fault.Busy)
	}
	l.advance(time.Minute)
	l.held()
	// The other payout of the session was confirmed as well, and never sent.
	if h := <-l.hooks; h.Session.ID != both.String() || h.Session.Status != "accepted" {
		t.Errorf("received %s, want the end of %s", h.body, both)
	}
	if n := l.sentAll(); n != 1 {
		t.Errorf("%d payments were sent, want the one that no rail had seen", n)
	}
	// What nobody has paid goes the usual way.
	if err := l.confirm(open); err != nil {
		t.Fatal(err)
	}
	l.receive(session.PaymentFinished, open)
	if n := l.sentAll(); n != 2 {
		t.Errorf("%d payments were sent, want 2", n)
	}
	l.clean()
}

// A payout is taken for never sent only after the rail's window, counted from the
// end of the lost time, and two answers.
func TestRestoreWaitsForTheWindow(t *testing.T) {
	l, lost := restoreLab(t)
	for _, r := range l.rails {
		r.terms = rail.Terms{SendDeadline: time.Minute, Visibility: time.Minute}
	}
	l.start()
	s := l.awaiting()
	l.reopen()
	l.declare()
	l.start()
	reference := l.reference(s, 0)
	l.eventually("the rail was asked three times", func() bool { return l.rails[instrument.KindCard].asked(reference) >= 3 })
	if r, err := ReadRestore(t.Context(), l.store); err != nil || r.State != RestoreAsking {
		t.Fatalf("within the window the restore is %q, error %v", r.State, err)
	}
	lost.set(rail.Succeeded, reference) // it shows up late
	l.receive(session.PaymentFinished, s)
	l.held()
	if n := l.sentAll(); n != 0 {
		t.Errorf("%d payments were sent", n)
	}
	l.clean()
}

// What a rail had never seen before the lost time does not count after it.
func TestRestoreCountsAnew(t *testing.T) {
	l, lost := restoreLab(t)
	for _, r := range l.rails {
		r.set(func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
			return rail.Outcome{}, errNoAnswer
		})
	}
	l.start()
	s := l.awaiting()
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	l.until(s, session.Unclear)
	reference := l.reference(s, 0)
	lost.set(rail.Unknown, reference)
	l.reopen()
	p := l.session(s).Payouts[0]
	with := errand{task: store.Task{TaskKey: store.TaskKey{SessionKey: l.key(s), Payout: p.ID, Kind: store.TaskQuery}}}
	caller, _ := l.engine.Caller(l.project)
	with.project = caller.Project
	l.clock.advance(time.Hour)
	answer := func(c command) int {
		t.Helper()
		if err := l.engine.report(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return l.session(s).Payouts[0].NeverSeen
	}
	never := rail.Outcome{Status: rail.NeverSeen}
	if n := answer(&outcome{errand: with, says: never, asked: l.engine.now()}); n != 1 {
		t.Fatalf("never seen %d times, want 1", n)
	}
	l.declare()
	if n := answer(&recalled{errand: with, says: never, asked: l.engine.now()}); n != 0 {
		t.Errorf("never seen %d times after the restore, want 0", n)
	}
	if n := answer(&outcome{errand: with, says: never, asked: l.engine.now()}); n != 0 {
		t.Errorf("never seen %d times within the window after the lost time, want 0", n)
	}
	l.clock.advance(time.Minute)
	if n := answer(&outcome{errand: with, says: never, asked: l.engine.now()}); n != 1 {
		t.Errorf("never seen %d times after the window, want 1", n)
	}
}

// What the books can't follow calls for people, and keeps nobody waiting. It has
// been paid, so nobody is told that it failed: it follows once the books can.
func TestRestoreUnbooked(t *testing.T) {
	l, lost := restoreLab(t)
	alone := l.init(cardBody(5_000_00)) // more than there is: a deposit is lost
	both := l.multi(cardBody(4_000_00), accountBody(accountNumber, 10_00))
	l.declare()
	lost.set(rail.Succeeded, l.reference(alone, 0), l.reference(both, 0))
	l.start()
	l.advance(time.Minute)
	l.held()
	for _, s := range []id.Session{alone, both} {
		l.eventually("people are called", func() bool {
			alarms, err := l.store.Alarms(t.Context(), 10)
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(alarms, func(a store.Alarm) bool { return a.Kind == "restored_unbooked" && a.Session == s })
		})
		card, reference := l.rails[instrument.KindCard], l.reference(s, 0)
		before := card.asked(reference)
		l.eventually("it is asked about again", func() bool { return l.session(s).State.Final() || card.asked(reference) > before+1 })
		if p := l.session(s).Payouts[0]; p.State.Final() {
			t.Errorf("%s, which was paid, is told as %s", s, p.State)
		}
	}
	l.clean()
	l.deposit("9000.00")
	for ends := 0; ends < 2; {
		switch h := <-l.hooks; {
		case h.Type != string(session.PaymentFinished):
		case h.Session.Status != "accepted":
			t.Fatalf("received %s", h.body)
		default:
			ends++
		}
	}
	if n := l.sentAll(); n != 1 {
		t.Errorf("%d payments were sent, want the one that no rail had seen", n)
	}
	if alarms := l.alarms(); len(alarms) != 3 {
		t.Errorf("alarms %q, want one for each session and the one of the restore", alarms)
	}
	l.clean()
}

// What a lost check had found is found again where the request says it.
func TestRestoreFollowsALostCheck(t *testing.T) {
	l, lost := restoreLab(t)
	l.addAccounts()
	own, fiscal := l.initOwn(wire.OpInitRKO, settlement, 100_00), l.initFiscal(innLinked, 200_00)
	l.declare()
	lost.set(rail.Succeeded, l.reference(own, 0), l.reference(fiscal, 0))
	l.start()
	l.held()
	p := l.until(own, session.Paid).Payouts[0]
	if available, held := l.on(settlement); p.State != session.Paid || available != 400_00 || held != 0 {
		t.Errorf("from an own account: %s, and %d are left with %d held", p.State, available, held)
	}
	if to := p.Transfer; to == nil || to.Sender.Account != settlement || to.Recipient.Account != "40817810500000012345" || to.Purpose != "Выплата" {
		t.Errorf("it was booked as %+v", to)
	}
	if p := l.untilReceipt(fiscal, session.Registered); p.State != session.Paid {
		t.Errorf("with a receipt: %s", p.State)
	}
	if alarms := l.alarms(); len(alarms) != 1 || l.sentAll() != 0 {
		t.Errorf("alarms %q, want that of the restore; %d payments were sent", alarms, l.sentAll())
	}
	l.clean()
}

// agreed has a rate of the dollar that was agreed upon, and a fee.
func agreed(p *partner.Project) {
	p.Rates = map[money.Currency]rate.Terms{money.USD: {Agreed: 8_125_000_000}}
	p.Fees = map[instrument.Kind]partner.Fee{instrument.KindCard: {Fixed: 50}}
}

// A rate that is lost is told by people, who know it from the partner or from the
// rail's statement.
func TestRestoreIsToldTheRate(t *testing.T) {
	l, lost := restoreLab(t, agreed)
	s := l.init(dollars(100))
	of := l.session(s).Payouts[0].ID
	tell := func(s id.Session, of id.Payout, p rate.Price) error {
		return l.engine.PriceRestored(t.Context(), l.key(s), of, p, "olga")
	}
	const price = 90 * 100_000_000
	l.wantCode(tell(s, of, price), fault.WrongState) // nothing was restored
	l.declare()
	lost.set(rail.Succeeded, l.reference(s, 0))
	l.start()
	l.advance(time.Minute)
	l.held()
	l.eventually("people are called", func() bool { return l.alarmed("restored_unbooked") == 1 })
	l.wantCode(tell(s+1, of, price), fault.NotFound)
	l.wantCode(tell(s, of, 1), fault.Invalid) // less than a kopeck
	if p := l.session(s).Payouts[0]; p.State != session.Checking || p.Quote != nil {
		t.Errorf("before anybody has told, it is %s with %+v", p.State, p.Quote)
	}
	if err := tell(s, of, price); err != nil {
		t.Fatal(err)
	}
	if p := l.until(s, session.Paid).Payouts[0]; p.Amount().Minor != 90_00 || p.Fee != 50 || p.Quote.Rate.Source != agreement {
		t.Errorf("it is paid with %+v and the fee %d", p.Quote, p.Fee)
	}
	if left := l.available(); left != 1000_00-90_50 || l.sentAll() != 0 {
		t.Errorf("%d are left, and %d payments were sent", left, l.sentAll())
	}
	l.wantCode(tell(s, of, price), fault.WrongState)
	if acts, err := l.engine.Audit(t.Context(), 1); err != nil || len(acts) != 1 || acts[0].What != "restore_rate" || acts[0].Actor != "olga" || acts[0].Subject != of.String() {
		t.Errorf("the audit has %+v, %v", acts, err)
	}
	l.clean()
}

// A rate that was told of a payout that no rail has made goes with its check.
func TestRestoreKeepsNoRateOfWhatWasNotMade(t *testing.T) {
	l, _ := restoreLab(t, agreed)
	s := l.init(dollars(100))
	l.declare()
	if err := l.engine.PriceRestored(t.Context(), l.key(s), l.session(s).Payouts[0].ID, 90*100_000_000, "olga"); err != nil {
		t.Fatal(err)
	}
	l.clock.advance(24 * time.Hour) // past the deadline of its check
	l.start()
	if p := l.until(s, session.Failed).Payouts[0]; p.Quote != nil || p.Fee != 0 || p.Failure.Code != fault.ProviderTimeout {
		t.Errorf("it has failed with %+v, the quote %+v and the fee %d", p.Failure, p.Quote, p.Fee)
	}
	l.clean()
}

// Income that was paid in the lost time is reserved before the books follow: it
// counts towards the year's limit from then on.
func TestRestoreReservesIncome(t *testing.T) {
	l, lost := restoreLab(t)
	l.deposit("9000000.00")
	most := tax.IncomeMax.Minor - 100_00
	s := l.initFiscal(innLinked, most)
	l.declare()
	lost.set(rail.Accepted, l.reference(s, 0))
	l.start()
	l.advance(time.Minute)
	l.held()
	l.until(s, session.Sent)
	l.clean()
	if _, err := l.engine.ReleaseRestore(t.Context(), "olga", "tested"); err != nil {
		t.Fatal(err)
	}
	next := l.initFiscal(innLinked, most)
	if p := l.until(next, session.Failed).Payouts[0]; p.Failure.Code != fault.Code(tax.LimitExceeded) {
		t.Errorf("the next one fails with %+v, want %s", p.Failure, tax.LimitExceeded)
	}
	l.clean()
}

// A payout that awaits its confirmation, and that its rail has paid, is asked
// about until the books have that: with its time it would be told as cancelled.
func TestRestoreAsksUntilItIsBooked(t *testing.T) {
	l, lost := restoreLab(t)
	l.start()
	s := l.awaiting()
	fails := &failingCommits{of: l.key(s)}
	l.wrap = func(s store.Store) store.Store { fails.Store = s; return fails }
	l.reopen()
	l.declare()
	lost.set(rail.Succeeded, l.reference(s, 0))
	fails.left.Store(2)
	l.start()
	l.held()
	if of := l.session(s); of.State != session.Paid || fails.left.Load() > 0 {
		t.Fatalf("when rails have been asked it is %s, with %d failures to come; want %s", of.State, fails.left.Load(), session.Paid)
	}
	if alarms := l.alarms(); len(alarms) != 1 {
		t.Errorf("alarms %q, want that of the restore", alarms)
	}
	l.clean()
}

// failingCommits is a store that loses some commits about a session.
type failingCommits struct {
	store.Store
	of   store.SessionKey
	left atomic.Int64
}

func (s *failingCommits) Commit(ctx context.Context, reads store.Reads, decide func(*store.Rows) (*store.Changes, error)) error {
	if slices.Contains(reads.Sessions, s.of) && s.left.Add(-1) >= 0 {
		return fault.New(fault.Internal, "lost")
	}
	return s.Store.Commit(ctx, reads, decide)
}

// Who has taken the rail away since knows no more of what it has paid.
func TestRestoreUnbookedWithoutItsRail(t *testing.T) {
	l, lost := restoreLab(t)
	s := l.init(cardBody(5_000_00)) // more than there is: a deposit is lost
	l.declare()
	lost.set(rail.Succeeded, l.reference(s, 0))
	l.start()
	l.held()
	l.close()
	delete(l.rails, instrument.KindCard)
	l.open()
	l.start()
	attempts := func() (n int) {
		l.advance(time.Minute)
		err := l.store.Snapshot(t.Context(), func(s store.Snapshot) error {
			for task, err := range s.Tasks(t.Context(), l.project) {
				if err != nil {
					return err
				}
				n = task.Attempt
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := attempts()
	l.eventually("it is looked at again", func() bool { return l.session(s).State.Final() || attempts() > before })
	if of := l.session(s); of.State.Final() {
		t.Errorf("what was paid is told as %s", of.State)
	}
	l.clean()
}

// New payouts wait until statements tell of the whole lost time, or somebody takes
// it upon himself.
func TestRestoreHoldsNewPayouts(t *testing.T) {
	l, _ := restoreLab(t)
	l.start()
	a, err := l.engine.Create(t.Context(), l.call(), l.parse(wire.OpCreate, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	created := l.sessionOf(a)
	l.reopen()
	declared := l.declare()
	l.start()
	l.held()

	c := l.call()
	c.Key = "once"
	tries := map[string]func() error{
		"create": func() error {
			_, err := l.engine.Create(t.Context(), c, l.parse(wire.OpCreate, "{}"))
			return err
		},
		"init": func() error {
			_, err := l.engine.Init(t.Context(), c, l.parse(wire.OpInit, cardBody(1_00)))
			return err
		},
		"init that would be refused": func() error {
			_, err := l.engine.Refuse(t.Context(), c, fault.New(fault.Invalid, "by a check of today"))
			return err
		},
		"multi": func() error {
			_, err := l.engine.MultiInit(t.Context(), c, l.parse(wire.OpMulti, multiBody(cardBody(1_00))))
			return err
		},
		"start": func() error {
			r := l.parse(wire.OpInit, cardBody(1_00))
			r.Session = created
			_, err := l.engine.Start(t.Context(), c, r)
			return err
		},
	}
	for name, try := range tries {
		if err := try(); fault.CodeOf(err) != fault.Restoring {
			t.Errorf("%s while new payouts are held back: %v, want %s", name, err, fault.Restoring)
		}
	}
	release := func(despite string) error {
		_, err := l.engine.ReleaseRestore(t.Context(), "root", despite)
		return err
	}
	if err := release(""); fault.CodeOf(err) != fault.WrongState {
		t.Errorf("released without a statement: %v", err)
	}
	l.clock.advance(time.Hour)
	take := func(kind string, lines ...statement.Line) {
		t.Helper()
		s := &statement.Statement{ID: "of " + kind, From: declared.From.Add(-time.Hour), To: l.engine.now(), Lines: lines}
		if _, err := l.engine.TakeStatement(t.Context(), kind, s); err != nil {
			t.Fatal(err)
		}
	}
	var last string
	for kind := range l.rails {
		if last == "" {
			last = string(kind)
			continue
		}
		take(string(kind))
	}
	if err := release(""); fault.CodeOf(err) != fault.WrongState {
		t.Errorf("released although the statement of %s is missing: %v", last, err)
	}
	unknown := statement.Line{
		Kind: statement.Payout, Reference: "po_7", RailID: "B-7", Direction: statement.Debit, At: declared.To, Amount: money.Amount{Minor: 10_00, Currency: money.RUB},
	}
	take(last, unknown)
	r, err := l.engine.RestoreReport(t.Context())
	if err != nil || len(r.Unknown) != 1 || r.Unknown[0].Reference != "po_7" {
		t.Errorf("unknown payments are %+v, error %v", r.Unknown, err)
	}
	if err := release(""); fault.CodeOf(err) != fault.WrongState {
		t.Errorf("released although a payment is unknown: %v", err)
	}
	if err := release("they know"); err != nil {
		t.Fatal(err)
	}
	if err := tries["init"](); err != nil { // the key was left free
		t.Errorf("after the release: %v", err)
	}
	acts, err := l.engine.Audit(t.Context(), 10)
	if err != nil || len(acts) != 2 || acts[0].What != "restore_release" || acts[0].Text != "without proof: they know" || acts[1].What != "restore_declare" {
		t.Errorf("the audit is %+v, error %v", acts, err)
	}
}

// A line may tell no more of its time than the day, and the rail's clock may be
// behind: it may be of the lost time all the same.
func TestRestoreKnowsNoHour(t *testing.T) {
	for name, at := range map[string]func(from time.Time) time.Time{
		"a day":               dayOf,
		"a clock behind":      func(from time.Time) time.Time { return from.Add(-time.Second) },
		"a day by that clock": func(from time.Time) time.Time { return dayOf(from.Add(-time.Second)) },
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := restoreLab(t)
			declared := l.declare()
			l.start()
			l.clock.advance(time.Minute)
			l.held()
			for kind := range l.rails {
				s := &statement.Statement{ID: "s", From: declared.From.Add(-48 * time.Hour), To: l.engine.now()}
				if kind == instrument.KindCard {
					s.Lines = []statement.Line{{
						Kind: statement.Payout, Reference: "po_7", RailID: "B-7", Direction: statement.Debit, At: at(declared.From),
						Amount: money.Amount{Minor: 10_00, Currency: money.RUB},
					}}
				}
				if _, err := l.engine.TakeStatement(t.Context(), string(kind), s); err != nil {
					t.Fatal(err)
				}
			}
			r, err := l.engine.ReleaseRestore(t.Context(), "root", "")
			if fault.CodeOf(err) != fault.WrongState || len(r.Unknown) != 1 || r.Unknown[0].Reference != "po_7" {
				t.Errorf("released: %v; unknown payments are %+v", err, r.Unknown)
			}
		})
	}
}

// A database that lacks what a node has committed is one that went back.
func TestRestoreIsNoticed(t *testing.T) {
	l, _ := restoreLab(t)
	last, err := l.store.LastBatch(t.Context())
	if err != nil || last == 0 {
		t.Fatalf("the last batch is %d, error %v", last, err)
	}
	notice := func(seen id.Batch) Restore {
		t.Helper()
		r, err := NoticeRestore(t.Context(), l.store, seen)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, seen := range []id.Batch{0, last} {
		if r := notice(seen); r.State != RestoreNone {
			t.Errorf("with all up to %d in it the database is %q", seen, r.State)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- l.engine.Run(t.Context()) }()
	l.eventually("the engine runs", func() bool { return l.engine.restores.began.Load() != nil })
	if _, err := l.engine.DeclareRestore(t.Context(), time.Time{}, time.Time{}, "root"); fault.CodeOf(err) != fault.WrongState {
		t.Errorf("declared beside a running server: %v", err)
	}
	if r := notice(last + 1); r.State != RestoreNoticed || r.Last != last || r.Seen != last+1 {
		t.Errorf("noticed as %+v", r)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, store.ErrWentBack) {
			t.Errorf("a node that runs ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("a node that runs goes on")
	}
}

// The lost time begins where the database ends, whatever was written to it since
// it was noticed, and no time is taken that is known to be wrong.
func TestRestoreWindow(t *testing.T) {
	l, _ := restoreLab(t)
	last, err := l.store.LastBatch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := last + 1<<32 // a second and more
	if _, err := NoticeRestore(t.Context(), l.store, seen); err != nil {
		t.Fatal(err)
	}
	l.deposit("1.00") // a command
	for name, of := range map[string]struct{ at, until time.Time }{
		"until a time to come":                 {until: time.Now().Add(time.Hour)},
		"until before the end of the database": {until: last.At().Add(-time.Second)},
		"until before what was seen":           {until: last.At().Add(time.Millisecond)},
		"restored to a time to come":           {at: time.Now().Add(time.Hour)},
	} {
		if _, err := l.engine.DeclareRestore(t.Context(), of.at, of.until, "root"); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	l.eventually("the time has come", func() bool { return time.Now().After(seen.At()) })
	r := l.declare()
	if got := r.From.Sub(last.At()).Abs(); got > time.Millisecond || !r.To.After(seen.At()) {
		t.Errorf("lost from %s to %s, want from %s", r.From, r.To, last.At())
	}
	if again, err := NoticeRestore(t.Context(), l.store, seen); err != nil || again.State != RestoreAsking {
		t.Errorf("declared, and noticed again: %q, error %v", again.State, err)
	}
	at := last.At().Add(-time.Hour)
	if r, err = l.engine.DeclareRestore(t.Context(), at, time.Time{}, "root"); err != nil || !r.From.Equal(at) {
		t.Errorf("restored to %s: lost from %s, error %v", at, r.From, err)
	}
	if r = l.declare(); !r.From.Equal(at) {
		t.Errorf("a restore that follows one that was not released: lost from %s, want %s", r.From, at)
	}
}

// The times may be given again until the rails have been asked; then nobody goes
// by the old ones any more. One restore is one alarm.
func TestRestoreIsCorrected(t *testing.T) {
	l, _ := restoreLab(t)
	last, err := l.store.LastBatch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last -= 1 << 34 // some seconds
	if err := (&Restore{State: RestoreNoticed, Last: last}).write(t.Context(), l.store); err != nil {
		t.Fatal(err)
	}
	ended := last.At().Add(2 * time.Second)
	correct := func(at, until time.Time, code fault.Code) Restore {
		t.Helper()
		r, err := l.engine.DeclareRestore(t.Context(), at, until, "root")
		if code == "" && err != nil || code != "" && fault.CodeOf(err) != code {
			t.Fatalf("declared from %s to %s: %v, want %q", at, until, err, code)
		}
		return r
	}
	alarmed := func(want int) {
		t.Helper()
		alarms, err := l.store.Alarms(t.Context(), 10)
		if err != nil || len(alarms) != want {
			t.Errorf("alarms %+v, error %v; want %d", alarms, err, want)
		}
	}
	correct(ended, time.Time{}, fault.Invalid) // the database has nothing of then
	first := l.declare()
	second := correct(time.Time{}, ended, "")
	if !second.To.Equal(ended) || !second.From.Equal(first.From) || second.Last != last || second.Number <= first.Number {
		t.Errorf("corrected from %+v to %+v", first, second)
	}
	if r := correct(last.At().Add(-time.Hour), ended, ""); !r.From.Equal(last.At().Add(-time.Hour)) {
		t.Errorf("lost from %s", r.From)
	}
	if r := correct(last.At(), ended, ""); first.From.Sub(r.From).Abs() > time.Millisecond {
		t.Errorf("lost from %s, want %s again", r.From, first.From)
	}
	alarmed(1)

	l.start()
	l.held()
	l.reopen()
	correct(time.Time{}, ended, fault.Invalid)
	if r := l.declare(); first.From.Sub(r.From).Abs() > time.Millisecond || r.State != RestoreAsking {
		t.Errorf("declared anew when the rails had been asked: %+v, want from %s", r, first.From)
	}
	alarmed(1)
	if err := MarkCopy(t.Context(), l.store); err != nil {
		t.Fatal(err)
	}
	if r := l.declare(); first.From.Sub(r.From).Abs() > time.Millisecond {
		t.Errorf("restored again before the release: lost from %s, want %s", r.From, first.From)
	}
	alarmed(2)
	acts, err := l.engine.Audit(t.Context(), 10)
	if err != nil || len(acts) != 6 {
		t.Errorf("the audit is %+v, error %v", acts, err)
	}
}

// lateRestore runs once, behind the restore that is read next.
type lateRestore struct {
	store.Store
	behind atomic.Pointer[func()]
}

func (l *lateRestore) Setting(ctx context.Context, name string) ([]byte, error) {
	value, err := l.Store.Setting(ctx, name)
	if name == settingRestore {
		if run := l.behind.Swap(nil); run != nil {
			(*run)()
		}
	}
	return value, err
}

// Of several nodes that notice at once, the one that has seen most is remembered.
func TestRestoreIsNoticedByMany(t *testing.T) {
	for name, c := range map[string]struct{ first, second, want id.Batch }{
		"less meanwhile": {first: 1, second: 2, want: 2},
		"more meanwhile": {first: 2, second: 1, want: 2},
		"the same":       {first: 1, second: 1, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := restoreLab(t)
			last, err := l.store.LastBatch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			late := &lateRestore{Store: l.store}
			other := func() {
				if _, err := NoticeRestore(t.Context(), l.store, last+c.first); err != nil {
					t.Errorf("the first: %v", err)
				}
			}
			late.behind.Store(&other)
			told, err := NoticeRestore(t.Context(), late, last+c.second)
			if err != nil || told.State != RestoreNoticed || told.Seen != last+c.want {
				t.Errorf("the second: %+v, %v; want %d", told, err, last+c.want)
			}
			if r, err := ReadRestore(t.Context(), l.store); err != nil || r.Seen != last+c.want {
				t.Errorf("written down is %+v, %v; want %d", r, err, last+c.want)
			}
		})
	}
}

// A restore that an operator declares beside a node which is just ending its
// questions stands: they were asked for another one.
func TestRestoreIsNotOverwritten(t *testing.T) {
	l, _ := restoreLab(t)
	first := l.declare()
	l.engine.restores.began.Store(&first) // as Run does
	late := &lateRestore{Store: l.engine.store}
	l.engine.store = late
	var second Restore
	declare := func() {
		e, err := New(context.Background(), Options{Store: l.store, Now: l.clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		if second, err = e.DeclareRestore(t.Context(), first.From.Add(-time.Hour), time.Time{}, "root"); err != nil {
			t.Fatal(err)
		}
	}
	late.behind.Store(&declare)
	for i, want := range []fault.Code{fault.Busy, fault.Stale} { // it came between; it was there
		if err := l.engine.tasksWorker.endRecall(t.Context()); fault.CodeOf(err) != want {
			t.Errorf("end %d of the questions: %v, want %s", i, err, want)
		}
		r, err := ReadRestore(t.Context(), l.store)
		if err != nil || r.State != RestoreAsking || r.Number != second.Number || !r.From.Equal(second.From) {
			t.Errorf("the restore is %+v, %v; want the one that was declared last, %+v", r, err, second)
		}
	}
	l.engine.restores.began.Store(&second)
	if err := l.engine.tasksWorker.endRecall(t.Context()); err != nil || l.engine.Restored().State != RestoreHeld {
		t.Errorf("begun anew: %v, %s", err, l.engine.Restored().State)
	}
}
