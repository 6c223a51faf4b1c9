package payout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
)

func TestPayoutWithConfirmation(t *testing.T) {
	l := newLab(t, func(p *partner.Project) {
		p.Fees = map[instrument.Kind]partner.Fee{instrument.KindCard: {Fixed: 1000, PPM: 15_000}}
	})
	l.start()
	s := l.init(cardBody(20_000))
	ready := l.receive(session.ReadyToConfirm, s)
	if ready.Session.NextAction != "confirm" || ready.Session.PayoutList[0].Status != "pending" {
		t.Errorf("ready_to_confirm says %+v", ready.Session)
	}
	if got := l.available(); got != 100_000-20_000-1_300 {
		t.Errorf("available while held: %d", got)
	}
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	if done := l.receive(session.PaymentFinished, s); done.Session.Status != "accepted" || done.Session.PayoutList[0].Status != "succeeded" {
		t.Errorf("payment_finished says %+v", done.Session)
	}
	b, err := l.store.Book(t.Context(), l.project)
	if err != nil {
		t.Fatal(err)
	}
	if b.Balance.Available != 78_700 || b.Balance.Held != 0 || b.Balance.Clearing != 20_000 || b.Balance.Fees != 1_300 {
		t.Errorf("balances after: %+v", b.Balance)
	}
	if n := l.rails[instrument.KindCard].sent(l.session(s).Payouts[0].Reference); n != 1 {
		t.Errorf("sent %d times", n)
	}
	l.clean()
}

func TestSingleRequestNeedsNoConfirm(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.SingleRequest = true })
	l.start()
	s := l.init(accountBody("40817810500000012345", 5_000))
	if done := l.receive(session.PaymentFinished, s); done.Session.Status != "accepted" {
		t.Errorf("payment_finished says %+v", done.Session)
	}
	if err := l.confirm(s); fault.CodeOf(err) != fault.WrongState {
		t.Errorf("confirm of a finished payout: %v", err)
	}
	l.clean()
}

func TestPayoutFails(t *testing.T) {
	declined := rail.Outcome{Status: rail.Failed, Code: rail.IssuerDeclined, Text: "no"}
	for _, c := range []struct {
		name  string
		body  string
		setUp func(*lab)
		// confirmed says that the payout gets as far as that
		confirmed bool
		code      fault.Code
	}{
		{"balance too small", cardBody(100_001), nil, false, fault.InsufficientBalance},
		{"rail refuses the recipient", cardBody(100), func(l *lab) {
			l.rails[instrument.KindCard].check = func(context.Context, rail.Order) (rail.Verdict, error) {
				return rail.Verdict{Refused: rail.CardUnknown}, nil
			}
		}, false, fault.Code(rail.CardUnknown)},
		{"rail refuses with a code nobody knows", cardBody(100), func(l *lab) {
			l.rails[instrument.KindCard].check = func(context.Context, rail.Order) (rail.Verdict, error) {
				return rail.Verdict{Refused: "E_42"}, nil
			}
		}, false, fault.ProviderInternal},
		{"account prefix not allowed", accountBody("30101810500000012345", 100), nil, false, fault.AccountNotFound},
		{"rail declines", cardBody(100), func(l *lab) {
			l.rails[instrument.KindCard].send = func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) { return declined, nil }
		}, true, fault.Code(rail.IssuerDeclined)},
		{"rail gives a code nobody knows", cardBody(100), func(l *lab) {
			l.rails[instrument.KindCard].send = func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
				return rail.Outcome{Status: rail.Failed, Code: "E_42"}, nil
			}
		}, true, fault.ProviderInternal},
		{"answer lost, then declined", cardBody(100), func(l *lab) {
			l.rails[instrument.KindCard].send = func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
				return rail.Outcome{}, errNoAnswer
			}
			l.rails[instrument.KindCard].query = func(string, int) (rail.Outcome, error) { return declined, nil }
		}, true, fault.Code(rail.IssuerDeclined)},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			if c.setUp != nil {
				c.setUp(l)
			}
			l.start()
			s := l.init(c.body)
			if c.confirmed {
				l.receive(session.ReadyToConfirm, s)
				if err := l.confirm(s); err != nil {
					t.Fatal(err)
				}
			}
			done := l.receive(session.PaymentFinished, s)
			if p := done.Session.PayoutList[0]; done.Session.Status != "cancelled" || p.Status != "failed" || p.Error == nil || p.Error.Code != string(c.code) {
				t.Errorf("payment_finished says %s", done.body)
			}
			if got := l.available(); got != 100_000 {
				t.Errorf("available after a failed payout: %d", got)
			}
			l.clean()
		})
	}
}

// A rail that does not answer a check is asked again until the deadline.
func TestCheckDeadline(t *testing.T) {
	l := newLab(t)
	asked := make(chan struct{}, 100)
	l.rails[instrument.KindCard].check = func(context.Context, rail.Order) (rail.Verdict, error) {
		asked <- struct{}{}
		return rail.Verdict{}, errNoAnswer
	}
	l.start()
	s := l.init(cardBody(100))
	<-asked
	<-asked
	l.advance(checkDeadline)
	done := l.receive(session.PaymentFinished, s)
	if e := done.Session.PayoutList[0].Error; e == nil || e.Code != string(fault.ProviderTimeout) {
		t.Errorf("payment_finished says %s", done.body)
	}
	l.clean()
}

// However a rail keeps its answer to itself, the payout is sent once, its hold
// stays, and the partner never reads "failed" before it is known.
func TestUnclearIsAskedAndNeverResentBeforeItsTime(t *testing.T) {
	for _, c := range []struct {
		name string
		send func(ctx context.Context) (rail.Outcome, error)
	}{
		{"broken connection", func(context.Context) (rail.Outcome, error) { return rail.Outcome{}, errNoAnswer }},
		{"says unknown", func(context.Context) (rail.Outcome, error) { return rail.Outcome{Status: rail.Unknown}, nil }},
		{"says nonsense", func(context.Context) (rail.Outcome, error) { return rail.Outcome{Status: "?"}, nil }},
		{"answers too late", func(ctx context.Context) (rail.Outcome, error) { <-ctx.Done(); return rail.Outcome{}, ctx.Err() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			card := l.rails[instrument.KindCard]
			card.terms.SendDeadline = 5 * time.Second // longer than it takes a busy machine to send it
			card.send = func(ctx context.Context, _ rail.Order, _ rail.Opener) (rail.Outcome, error) { return c.send(ctx) }
			known := make(chan struct{})
			asked := make(chan struct{}, 1000)
			card.query = func(string, int) (rail.Outcome, error) {
				asked <- struct{}{}
				select {
				case <-known:
					return rail.Outcome{Status: rail.Succeeded}, nil
				default:
					return rail.Outcome{Status: rail.Unknown}, nil
				}
			}
			l.start()
			s := l.init(cardBody(100))
			l.receive(session.ReadyToConfirm, s)
			if err := l.confirm(s); err != nil {
				t.Fatal(err)
			}
			<-asked
			l.advance(24 * time.Hour)
			<-asked
			found := l.until(s, session.Unclear)
			if v := found.Show(); v.Session != "in_progress" || found.Payouts[0].Show().Payout != "in_progress" {
				t.Errorf("unclear is shown as %+v", v)
			}
			if b, _ := l.store.Book(t.Context(), l.project); b.Balance.Held != 100 {
				t.Errorf("held while unclear: %d", b.Balance.Held)
			}
			close(known)
			l.advance(time.Minute)
			if done := l.receive(session.PaymentFinished, s); done.Session.Status != "accepted" {
				t.Errorf("payment_finished says %s", done.body)
			}
			if n := card.sent(found.Payouts[0].Reference); n != 1 {
				t.Errorf("sent %d times", n)
			}
			l.clean()
		})
	}
}

// A payment that the rail has never seen goes out again under the same
// reference, but only after its window and two such answers.
func TestResendAfterTheWindow(t *testing.T) {
	l := newLab(t)
	card := l.rails[instrument.KindCard]
	card.terms = rail.Terms{SendDeadline: 10 * time.Second, Visibility: time.Minute}
	var sends atomic.Int64
	card.send = func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		if sends.Add(1) == 1 {
			return rail.Outcome{}, errNoAnswer
		}
		return rail.Outcome{Status: rail.Succeeded}, nil
	}
	asked := make(chan int64, 1000)
	card.query = func(string, int) (rail.Outcome, error) {
		asked <- sends.Load()
		return rail.Outcome{Status: rail.NeverSeen}, nil
	}
	l.start()
	s := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, s)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	for range 4 { // more than enough answers, but the window is open
		if n := <-asked; n != 1 {
			t.Fatalf("sent %d times within the window", n)
		}
		l.advance(time.Second)
	}
	l.advance(2 * time.Minute)
	l.receive(session.PaymentFinished, s)
	p := l.session(s).Payouts[0]
	if p.Attempt != 2 || card.sent(p.Reference) != 2 {
		t.Errorf("attempt %d, sent %d times under %s", p.Attempt, card.sent(p.Reference), p.Reference)
	}
	l.clean()
}

// The rail's window runs from the moment a payment was promised. Where the
// commit of the promise took so long that the rail's deadline has passed, the
// rail is not called any more: it might pay when others take the window for
// closed.
func TestNoCallAfterASlowCommit(t *testing.T) {
	for _, c := range []struct {
		name string
		slow int // the promise whose commit is slow
	}{
		{"of the first promise", 1},
		{"of the promise to send again", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			card := l.rails[instrument.KindCard]
			card.terms = rail.Terms{SendDeadline: 10 * time.Second, Visibility: time.Minute}
			slow := &slowPromise{clock: l.clock, left: c.slow}
			sends := 0
			card.send = func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
				if late := l.clock.Now().Sub(slow.promised()); late >= card.terms.SendDeadline {
					t.Errorf("sent %s after it was promised", late)
				}
				if sends++; sends < c.slow {
					return rail.Outcome{}, errNoAnswer
				}
				return rail.Outcome{Status: rail.Succeeded}, nil
			}
			l.start()
			s := l.init(cardBody(100))
			l.receive(session.ReadyToConfirm, s)
			l.close()
			l.wrap = func(s store.Store) store.Store {
				slow.Store = s
				return slow
			}
			l.open()
			if err := l.confirm(s); err != nil { // nobody works, so that the promise is a commit of its own
				t.Fatal(err)
			}
			l.start()
			if c.slow > 1 {
				l.until(s, session.Unclear)
				l.advance(2 * time.Minute)
			}
			l.receive(session.PaymentFinished, s)
			if got := l.session(s).State; got != session.Paid || sends != c.slow {
				t.Errorf("%s, sent %d times, want %d", got, sends, c.slow)
			}
			if slow.left > 0 {
				t.Errorf("%d promises were not made", slow.left)
			}
			l.clean()
		})
	}
}

// slowPromise is a store where the commit of one promise, of those to come,
// takes an hour of the product's clock.
type slowPromise struct {
	store.Store
	clock *testClock
	mu    sync.Mutex
	left  int
	at    time.Time // of the last promise
}

func (s *slowPromise) promised() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

func (s *slowPromise) Commit(ctx context.Context, reads store.Reads, decide func(*store.Rows) (*store.Changes, error)) error {
	var promises bool
	err := s.Store.Commit(ctx, reads, func(rows *store.Rows) (*store.Changes, error) {
		changes, err := decide(rows)
		promises = false
		if err == nil {
			for _, made := range changes.Sessions {
				for i := range made.Payouts {
					p := &made.Payouts[i]
					if p.State == session.Sent && !p.SentAt.Equal(s.promised()) {
						s.mu.Lock()
						s.at, promises = p.SentAt, true
						s.mu.Unlock()
					}
				}
			}
		}
		return changes, err
	})
	if promises {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.left--; s.left == 0 {
			s.clock.advance(time.Hour)
		}
	}
	return err
}

// An accepted payment is not unclear: the rail is asked for the final answer.
func TestAcceptedThenFinal(t *testing.T) {
	l := newLab(t)
	card := l.rails[instrument.KindCard]
	card.send = func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		return rail.Outcome{Status: rail.Accepted}, nil
	}
	card.query = func(_ string, asked int) (rail.Outcome, error) {
		if asked < 2 {
			return rail.Outcome{Status: rail.Accepted}, nil
		}
		return rail.Outcome{Status: rail.Succeeded}, nil
	}
	l.start()
	s := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, s)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	l.receive(session.PaymentFinished, s)
	l.clean()
}

func TestConfirmTimeout(t *testing.T) {
	for _, c := range []struct {
		name    string
		timeout time.Duration
		wait    time.Duration
	}{
		{"default of 240 minutes", 0, 240 * time.Minute},
		{"project's own", time.Hour, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, func(p *partner.Project) { p.ConfirmTimeout = partner.Duration(c.timeout) })
			l.start()
			s := l.init(cardBody(100))
			l.receive(session.ReadyToConfirm, s)
			l.advance(c.wait - time.Minute)
			if got := l.session(s).State; got != session.Awaiting {
				t.Fatalf("%s a minute before the time-out", got)
			}
			l.advance(time.Minute)
			done := l.receive(session.PaymentFinished, s)
			if e := done.Session.PayoutList[0].Error; e == nil || e.Code != string(fault.ConfirmTimeout) {
				t.Errorf("payment_finished says %s", done.body)
			}
			if err := l.confirm(s); fault.CodeOf(err) != fault.WrongState {
				t.Errorf("confirm after the time-out: %v", err)
			}
			if got := l.available(); got != 100_000 {
				t.Errorf("available: %d", got)
			}
			l.clean()
		})
	}
}

func TestWrongStates(t *testing.T) {
	l := newLab(t)
	l.start()
	ctx := t.Context()
	create := func() id.Session {
		a, err := l.engine.Create(ctx, l.call(), l.parse(wire.OpCreate, ""))
		if err != nil {
			t.Fatal(err)
		}
		return l.sessionOf(a)
	}
	start := func(s id.Session) error {
		r := l.parse(wire.OpInit, cardBody(100))
		r.Session = s
		_, err := l.engine.Start(ctx, l.call(), r)
		return err
	}
	refused := func(what string, err error) {
		t.Helper()
		if fault.CodeOf(err) != fault.WrongState {
			t.Errorf("%s: %v, want session_wrong_state", what, err)
		}
	}
	s := create()
	refused("confirm before start", l.confirm(s))
	if err := l.cancel(s); err != nil {
		t.Fatalf("cancel of a created session: %v", err)
	}
	refused("cancel twice", l.cancel(s))
	refused("start after cancel", start(s))

	s = create()
	if err := start(s); err != nil {
		t.Fatal(err)
	}
	refused("start twice", start(s))
	l.receive(session.ReadyToConfirm, s)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	refused("confirm twice", l.confirm(s))
	refused("cancel after confirm", l.cancel(s))
	l.receive(session.PaymentFinished, s)
	refused("cancel after the end", l.cancel(s))

	s = l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, s)
	if err := l.cancel(s); err != nil {
		t.Fatal(err)
	}
	refused("confirm after cancel", l.confirm(s))
	if e := l.receive(session.PaymentFinished, s).Session.PayoutList[0].Error; e == nil || e.Code != string(fault.CancelledByPartner) {
		t.Errorf("a cancelled payout's error: %+v", e)
	}
	if err := l.confirm(1); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("confirm of an unknown session: %v", err)
	}
	if n := l.clean().Events; n != 4 {
		t.Errorf("%d events; a session cancelled while created makes none", n)
	}
}

// The answer to the cancel of a started session still shows it pending.
func TestCancelShowsPending(t *testing.T) {
	l := newLab(t)
	l.start()
	s := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, s)
	a, err := l.engine.Cancel(t.Context(), l.call(), wire.Request{Session: s})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(a.Body, []byte(`"status":"in_progress"`)) || !bytes.Contains(a.Body, []byte(`"status":"pending"`)) || bytes.Contains(a.Body, []byte("next_action")) {
		t.Errorf("cancel answers %s", a.Body)
	}
	if got := l.session(s).State; got != session.Cancelled {
		t.Errorf("behind it the session is %s", got)
	}
}

func TestAnotherProjectSeesNothing(t *testing.T) {
	l := newLab(t)
	l.start()
	if err := l.engine.CreateProject(t.Context(), partner.Project{ID: "other", Methods: instrument.Kinds}); err != nil {
		t.Fatal(err)
	}
	s := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, s)
	other, _ := l.engine.Caller("other")
	c := Call{Project: other.Project, Version: 2}
	r := wire.Request{Session: s}
	for name, f := range map[string]func(context.Context, Call, wire.Request) (Answer, error){
		"status": l.engine.Status, "confirm": l.engine.Confirm, "cancel": l.engine.Cancel, "start": l.engine.Start,
	} {
		if _, err := f(t.Context(), c, r); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("%s of another project's session: %v", name, err)
		}
	}
}

// Hundreds of concurrent requests with one key make one payout.
func TestOneKeyOnePayout(t *testing.T) {
	const copies = 300
	for _, replay := range []bool{false, true} {
		t.Run(fmt.Sprintf("replay=%v", replay), func(t *testing.T) {
			l := newLab(t)
			l.start()
			c := l.call()
			c.Key, c.Replay, c.Print = "k-1", replay, [32]byte{1}
			request := l.parse(wire.OpInit, cardBody(100))
			var wg sync.WaitGroup
			answers, errs := make([]Answer, copies), make([]error, copies)
			for i := range copies {
				wg.Go(func() { answers[i], errs[i] = l.engine.Init(context.Background(), c, request) })
			}
			wg.Wait()
			first, replays := -1, 0
			for i := range copies {
				switch {
				case errs[i] == nil && !answers[i].Replayed && first < 0:
					first = i
				case errs[i] == nil && answers[i].Replayed && replay:
					replays++
				case !replay && fault.CodeOf(errs[i]) == fault.KeyExists:
				default:
					t.Fatalf("copy %d: %+v, %v", i, answers[i], errs[i])
				}
			}
			if first < 0 || replay && replays != copies-1 {
				t.Fatalf("first is %d, %d replays", first, replays)
			}
			for i := range copies {
				if errs[i] == nil && !bytes.Equal(answers[i].Body, answers[first].Body) {
					t.Errorf("copy %d answers %s, the first %s", i, answers[i].Body, answers[first].Body)
				}
			}
			l.receive(session.ReadyToConfirm, l.sessionOf(answers[first]))
			if r := l.clean(); r.Payouts != 1 {
				t.Errorf("%d payouts", r.Payouts)
			}
		})
	}
}

func TestIdempotencyKeys(t *testing.T) {
	l := newLab(t)
	l.start()
	ctx := t.Context()
	with := func(key string, replay bool, print byte) Call {
		c := l.call()
		c.Key, c.Replay, c.Print = key, replay, [32]byte{print}
		return c
	}
	s := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, s)
	r := wire.Request{Session: s}

	// A refusal leaves the key free.
	if _, err := l.engine.Confirm(ctx, with("a", false, 1), wire.Request{Session: 1}); fault.CodeOf(err) != fault.NotFound {
		t.Fatal(err)
	}
	if _, err := l.engine.Confirm(ctx, with("a", false, 2), r); err != nil {
		t.Fatalf("a key that a refusal has used: %v", err)
	}
	if _, err := l.engine.Confirm(ctx, with("a", false, 2), r); fault.CodeOf(err) != fault.KeyExists {
		t.Errorf("a burnt key comes before the state: %v", err)
	}
	if a, err := l.engine.Confirm(ctx, with("a", true, 2), r); err != nil || !a.Replayed || !bytes.Contains(a.Body, []byte(`"pending"`)) {
		t.Errorf("replay: %s, %v", a.Body, err)
	}
	if _, err := l.engine.Cancel(ctx, with("a", true, 3), r); fault.CodeOf(err) != fault.KeyExists {
		t.Errorf("replay of another request: %v", err)
	}
	if _, err := l.engine.Confirm(ctx, with("b", false, 2), r); fault.CodeOf(err) != fault.WrongState {
		t.Errorf("another key, confirmed twice: %v", err)
	}
	// The bare hash of a request, which may hold a card number, is not stored.
	kept := store.KeyRef{Project: l.project, Scope: store.ScopeAPI, Key: "a"}
	if err := l.store.Commit(ctx, store.Reads{Keys: []store.KeyRef{kept}}, func(rows *store.Rows) (*store.Changes, error) {
		if k, ok := rows.Keys[kept]; !ok || k.Print == [32]byte{2} {
			t.Errorf("stored %+v", k)
		}
		return nil, nil
	}); err != nil {
		t.Fatal(err)
	}
	// The same key of another project is another key.
	if err := l.engine.CreateProject(ctx, partner.Project{ID: "other"}); err != nil {
		t.Fatal(err)
	}
	other, _ := l.engine.Caller("other")
	if _, err := l.engine.Create(ctx, Call{Project: other.Project, Version: 1, Key: "a"}, wire.Request{}); err != nil {
		t.Errorf("another project's key: %v", err)
	}
}

func TestDepositOncePerReference(t *testing.T) {
	l := newLab(t)
	rub := func(minor int64) money.Amount { return money.Amount{Minor: minor, Currency: money.RUB} }
	var fresh atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			again, err := l.engine.Deposit(context.Background(), l.project, rub(700), "bank-1")
			if err != nil {
				t.Error(err)
			}
			if !again {
				fresh.Add(1)
			}
		})
	}
	wg.Wait()
	if fresh.Load() != 1 || l.available() != 100_700 {
		t.Errorf("booked %d times, available %d", fresh.Load(), l.available())
	}
	for name, err := range map[string]error{
		"other amount": func() error { _, err := l.engine.Deposit(t.Context(), l.project, rub(701), "bank-1"); return err }(),
		"zero":         func() error { _, err := l.engine.Deposit(t.Context(), l.project, rub(0), "x"); return err }(),
		"dollars": func() error {
			_, err := l.engine.Deposit(t.Context(), l.project, money.Amount{Minor: 1, Currency: money.USD}, "y")
			return err
		}(),
	} {
		if fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	l.clean()
}

const verifyBody = `{"payout_details":{"type":"bank_account","bank_account":{"system_type":"faster_payment_system_verification",` +
	`"faster_payment_system_verification":{"phone":"79990001310","bank_id":"100000000131"}}},` +
	`"participant_details":{"recipient":{"full_name":"Соколова Марина"}}}`

func TestVerification(t *testing.T) {
	for _, c := range []struct {
		name    string
		refused rail.Code
		want    string
	}{{"known", "", "accepted"}, {"unknown", rail.AccountNotFound, "cancelled"}} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.rails[instrument.KindFPS].check = func(context.Context, rail.Order) (rail.Verdict, error) {
				return rail.Verdict{Refused: c.refused}, nil
			}
			l.start()
			a, err := l.engine.Verify(t.Context(), l.call(), l.parse(wire.OpVerify, verifyBody))
			if err != nil {
				t.Fatal(err)
			}
			if done := l.receive(session.PaymentFinished, l.sessionOf(a)); done.Session.Status != c.want {
				t.Errorf("payment_finished says %s", done.body)
			}
			if r := l.clean(); r.Entries != 1 { // the deposit
				t.Errorf("%d entries; a verification books none", r.Entries)
			}
		})
	}
}

// A restart in the middle of a rail's call asks about the payment and does not
// send it again.
func TestRestartAsksAndDoesNotSend(t *testing.T) {
	l := newLab(t)
	card := l.rails[instrument.KindCard]
	sending, hang := make(chan struct{}), make(chan struct{})
	card.terms = rail.Terms{SendDeadline: time.Hour, Visibility: time.Hour}
	card.send = func(ctx context.Context, _ rail.Order, _ rail.Opener) (rail.Outcome, error) {
		close(sending)
		<-hang // as a process that is killed: no answer is ever kept
		return rail.Outcome{}, errNoAnswer
	}
	l.start()
	s := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, s)
	l.deliveries(s, 1) // or the new run would send it again
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	<-sending
	// Everything of the old run is cut off at once: its store answers no more.
	old, stop := l.engine, l.stop
	l.stop = nil
	old.Close()
	if err := l.store.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(hang); stop() })

	card.query = func(string, int) (rail.Outcome, error) { return rail.Outcome{Status: rail.Succeeded}, nil }
	card.send = func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		t.Error("sent again after the restart")
		return rail.Outcome{}, errNoAnswer
	}
	l.open()
	l.start()
	if done := l.receive(session.PaymentFinished, s); done.Session.Status != "accepted" {
		t.Errorf("payment_finished says %s", done.body)
	}
	if n := card.sent(l.session(s).Payouts[0].Reference); n != 1 {
		t.Errorf("sent %d times", n)
	}
	l.clean()
}

// What an engine that works on nothing leaves behind, the next run takes up at
// every stage.
func TestRestartGoesOn(t *testing.T) {
	l := newLab(t)
	checking := l.init(cardBody(100)) // nobody works yet
	l.close()
	l.open()
	l.start()
	l.receive(session.ReadyToConfirm, checking)
	l.close()

	l.open() // awaiting, and confirmed while nobody works
	if err := l.confirm(checking); err != nil {
		t.Fatal(err)
	}
	l.close()
	l.open()
	l.start()
	l.receive(session.PaymentFinished, checking)

	late := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, late)
	l.close()
	l.clock.advance(5 * time.Hour)
	l.open()
	l.start()
	if e := l.receive(session.PaymentFinished, late).Session.PayoutList[0].Error; e == nil || e.Code != string(fault.ConfirmTimeout) {
		t.Errorf("error after a time-out that passed while nobody worked: %+v", e)
	}
	l.clean()
}

func TestWebhookRetryAndOrder(t *testing.T) {
	l := newLab(t)
	var down atomic.Bool
	down.Store(true)
	tries := make(chan string, 1000)
	l.answer = func(h hook) int {
		if down.Load() {
			tries <- h.Type
			return http.StatusInternalServerError
		}
		return http.StatusOK
	}
	l.start()
	s := l.init(cardBody(100))
	if kind := <-tries; kind != "ready_to_confirm" {
		t.Fatalf("first try is %s", kind)
	}
	l.until(s, session.Awaiting)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	l.until(s, session.Paid)
	l.deliveries(s, 1)
	l.advance(20 * time.Second)
	if kind := <-tries; kind != "ready_to_confirm" {
		t.Fatalf("%s overtakes an undelivered event", kind)
	}
	l.deliveries(s, 2)
	down.Store(false)
	l.advance(time.Minute)
	first, second := l.receive(session.ReadyToConfirm, s), l.receive(session.PaymentFinished, s)
	if a, b := first.header.Get("X-PAYOUTD-EVENT-SEQUENCE"), second.header.Get("X-PAYOUTD-EVENT-SEQUENCE"); a != "1" || b != "2" {
		t.Errorf("sequence %s, %s", a, b)
	}
	if log := l.deliveries(s, 4); log[0].Status != 500 || log[1].No != 2 || log[3].Status != 200 {
		t.Errorf("delivery log %+v", log)
	}
	l.clean()
}

// An event that nobody takes holds the next one back for five minutes only.
func TestHeldBackEventGoesAhead(t *testing.T) {
	l := newLab(t)
	tried := make(chan struct{}, 1000)
	l.answer = func(h hook) int {
		if h.Type == "ready_to_confirm" {
			tried <- struct{}{}
			return http.StatusBadGateway
		}
		return http.StatusOK
	}
	l.start()
	s := l.init(cardBody(100))
	<-tried
	l.until(s, session.Awaiting)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	l.until(s, session.Paid)
	l.deliveries(s, 1)
	l.advance(holdBackMax)
	l.receive(session.PaymentFinished, s)
}

// An event that goes ahead takes no other along: that one has five minutes of
// its own.
func TestEventAheadReleasesNoOther(t *testing.T) {
	l := newLab(t)
	tried := make(chan struct{}, 1000)
	l.answer = func(h hook) int {
		if h.Type == "ready_to_confirm" {
			tried <- struct{}{}
			return http.StatusBadGateway
		}
		return http.StatusOK
	}
	l.start()
	s := l.init(accountBody(accountNumber, 100_00))
	<-tried
	l.until(s, session.Awaiting)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	paid := l.until(s, session.Paid)
	l.deliveries(s, 1)
	l.advance(holdBackMax - time.Minute)
	l.take(string(instrument.KindAccount), back(&paid.Payouts[0], "R-1", 100_00))
	l.advance(time.Minute)
	l.receive(session.PaymentFinished, s)
	l.eventually("the second is delivered", func() bool { return l.events()[1].Status == webhook.Delivered })
	if wait := l.events()[2].Due.Sub(l.clock.Now()); wait < holdBackMax-time.Minute-patience {
		t.Errorf("the third is due in %v, and the first is not delivered", wait)
	}
}

func TestWebhookGivenUpRaisesAlarm(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.RetryShort = true })
	tried := make(chan struct{}, 1000)
	l.answer = func(hook) int { tried <- struct{}{}; return http.StatusBadGateway }
	l.start()
	l.init(cardBody(100))
	<-tried
	for end := time.Now().Add(patience); ; {
		l.advance(15 * time.Minute)
		if r := l.clean(); r.GivenUp > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("never given up")
		}
	}
	l.stop() // the next event of the session may have been given up by now
	l.stop = nil
	givenUp := l.clean().GivenUp
	alarms, err := l.store.Alarms(t.Context(), 10)
	registry := prometheus.NewRegistry()
	registry.MustRegister(l.engine.metrics.alarms)
	counted, gone := registry.Gather()
	if gone != nil || len(counted) != 1 || counted[0].GetMetric()[0].GetCounter().GetValue() != float64(givenUp) {
		t.Errorf("the metric counts %v, %v; want %d", counted, gone, givenUp)
	}
	if err != nil || len(alarms) != givenUp || alarms[0].Kind != "webhook_given_up" {
		t.Errorf("%d events given up, alarms %+v, %v", givenUp, alarms, err)
	}
}

func TestNoWebhookAddress(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.Webhook = "" })
	l.start()
	s := l.init(cardBody(100))
	l.until(s, session.Awaiting)
	if r := l.clean(); r.Events != 1 || r.Pending != 0 {
		t.Errorf("%+v", r)
	}
}

// Private addresses are refused unless the project allows them.
func TestPrivateWebhookRefused(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.AllowPrivateWebhooks = false })
	l.answer = func(hook) int { t.Error("delivered to a private address"); return http.StatusOK }
	l.start()
	s := l.init(cardBody(100))
	l.until(s, session.Awaiting)
	if log := l.deliveries(s, 1); log[0].Status != 0 || log[0].Error == "" {
		t.Errorf("attempt %+v", log[0])
	}
}

// A rail that contradicts itself moves no money of the partner and calls for people.
func TestContradictions(t *testing.T) {
	for _, c := range []struct {
		name         string
		first, later rail.Outcome
		suspense     int64
		shown        string
	}{
		{"paid after declined", rail.Outcome{Status: rail.Failed, Code: rail.IssuerDeclined}, rail.Outcome{Status: rail.Succeeded}, -100, "cancelled"},
		{"declined after paid", rail.Outcome{Status: rail.Succeeded}, rail.Outcome{Status: rail.Failed, Code: rail.IssuerDeclined}, 0, "accepted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.rails[instrument.KindCard].send = func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) { return c.first, nil }
			l.start()
			s := l.init(cardBody(100))
			l.receive(session.ReadyToConfirm, s)
			if err := l.confirm(s); err != nil {
				t.Fatal(err)
			}
			l.receive(session.PaymentFinished, s)
			before := l.available()
			for range 3 { // it says so more than once
				if err := l.engine.Notice(t.Context(), "card", l.key(s), l.session(s).Payouts[0].ID, c.later); err != nil {
					t.Fatal(err)
				}
			}
			found := l.session(s)
			if found.State != session.Disputed || found.Show().Session != c.shown {
				t.Errorf("%s, shown as %s", found.State, found.Show().Session)
			}
			b, _ := l.store.Book(t.Context(), l.project)
			if b.Balance.Suspense != c.suspense || b.Balance.Available != before {
				t.Errorf("balances %+v", b.Balance)
			}
			if alarms, _ := l.store.Alarms(t.Context(), 10); len(alarms) != 1 {
				t.Errorf("alarms %+v", alarms)
			}
			l.clean()
		})
	}
}

func TestNotices(t *testing.T) {
	l := newLab(t)
	l.start()
	s := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, s)
	p := l.session(s).Payouts[0].ID
	if err := l.engine.Notice(t.Context(), "card", l.key(s), p, rail.Outcome{Status: rail.Succeeded}); err != nil {
		t.Errorf("an answer before anything was sent: %v", err)
	}
	if alarms, _ := l.store.Alarms(t.Context(), 10); len(alarms) != 1 || l.session(s).State != session.Awaiting {
		t.Errorf("an answer before anything was sent: %s, alarms %+v", l.session(s).State, alarms)
	}
	if err := l.engine.Notice(t.Context(), "card", store.SessionKey{Project: "nobody", Session: s}, p, rail.Outcome{}); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("an answer to nobody: %v", err)
	}
	l.clean()
}

// A full queue refuses at once and a closed engine takes nothing.
func TestBusy(t *testing.T) {
	l := newLab(t)
	l.engine.Close()
	if err := l.confirm(1); fault.CodeOf(err) != fault.Busy {
		t.Errorf("a closed engine answers %v", err)
	}
	full := &Engine{queue: make(chan *pending)}
	if _, err := full.do(t.Context(), &deposit{}); fault.CodeOf(err) != fault.Busy {
		t.Errorf("a full queue answers %v", err)
	}
	// A worker waits for its turn.
	ctx, cancel := context.WithCancel(t.Context())
	reported := make(chan error)
	go func() { reported <- full.report(ctx, &deposit{}) }()
	p := <-full.queue
	close(p.done)
	if err := <-reported; err != nil {
		t.Errorf("a worker's report: %v", err)
	}
	cancel()
	if err := full.report(ctx, &deposit{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a worker that stops waits on: %v", err)
	}
}
