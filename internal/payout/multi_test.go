package payout

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
)

func multiBody(items ...string) string { return `{"payout_list":[` + strings.Join(items, ",") + `]}` }

// multi creates a multi-session.
func (l *lab) multi(items ...string) id.Session {
	l.Helper()
	a, err := l.engine.MultiInit(l.Context(), l.call(), l.parse(wire.OpMulti, multiBody(items...)))
	if err != nil {
		l.Fatalf("multi: %v", err)
	}
	return l.sessionOf(a)
}

func states(s *session.Session) string {
	var list []string
	for i := range s.Payouts {
		list = append(list, string(s.Payouts[i].State))
	}
	return strings.Join(list, " ")
}

// untilStates waits for states that no webhook tells.
func (l *lab) untilStates(s id.Session, want string) {
	l.Helper()
	for end := time.Now().Add(patience); ; {
		got := states(l.session(s))
		if got == want {
			return
		}
		if time.Now().After(end) {
			l.Fatalf("session %s is %s after %v, want %s", s, got, patience, want)
		}
	}
}

// A multi-session asks once for all, and tells the end once.
func TestMultiSession(t *testing.T) {
	l := newLab(t)
	l.start()
	s := l.multi(cardBody(10_000), accountBody("40817810500000012345", 20_000), cardBody(30_000))
	l.receive(session.ReadyToConfirm, s)
	if available := l.available(); available != 40_000 {
		t.Errorf("while it awaits %d are available, want 40000", available)
	}
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	h := l.receive(session.PaymentFinished, s)
	if h.Session.Status != "accepted" || len(h.Session.PayoutList) != 3 {
		t.Errorf("told %s with %d payouts, want accepted with 3", h.Session.Status, len(h.Session.PayoutList))
	}
	if err := l.confirm(s); fault.CodeOf(err) != fault.WrongState {
		t.Errorf("confirmed again: %v", err)
	}
	p := l.session(s).Payouts[1]
	if _, err := l.engine.TakeReturn(t.Context(), p.Rail, rail.Return{Reference: "r", Payment: p.Reference, Amount: *p.Amount(), At: l.clock.Now()}); err != nil {
		t.Fatal(err)
	}
	if h := l.receive(session.PaymentRefunded, s); h.Session.Status != "accepted" {
		t.Errorf("after the return it is %s", h.Session.Status)
	}
	if events := l.session(s).Events; events != 3 {
		t.Errorf("%d events, want 3", events)
	}
	l.clean()
}

// Nothing is held before all are checked, and nothing asked.
func TestMultiSessionWaitsForEveryCheck(t *testing.T) {
	for _, c := range []struct {
		name    string
		last    rail.Verdict
		want    string
		held    int64
		reaches session.Hook
	}{
		{"the last is possible", rail.Verdict{}, "awaiting_confirm awaiting_confirm", 30_000, session.ReadyToConfirm},
		{"the last is not", rail.Verdict{Refused: rail.AccountNotFound}, "awaiting_confirm failed", 10_000, session.ReadyToConfirm},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			let := make(chan struct{})
			l.rails[instrument.KindAccount].check = func(ctx context.Context, _ rail.Order) (rail.Verdict, error) {
				<-let
				return c.last, nil
			}
			l.start()
			s := l.multi(cardBody(10_000), accountBody("40817810500000012345", 20_000))
			l.untilStates(s, "checked checking")
			if available := l.available(); available != 100_000 {
				t.Errorf("with one still to be checked %d are available, want all", available)
			}
			if err := l.confirm(s); fault.CodeOf(err) != fault.WrongState {
				t.Errorf("confirm: %v, want %s", err, fault.WrongState)
			}
			if err := l.cancel(s); fault.CodeOf(err) != fault.WrongState {
				t.Errorf("cancel: %v, want %s", err, fault.WrongState)
			}
			l.clean()
			close(let)
			l.receive(c.reaches, s)
			if got := states(l.session(s)); got != c.want {
				t.Errorf("states %s, want %s", got, c.want)
			}
			if held := 100_000 - l.available(); held != c.held {
				t.Errorf("%d are held, want %d", held, c.held)
			}
			l.clean()
			if err := l.cancel(s); err != nil {
				t.Fatal(err)
			}
			l.receive(session.PaymentFinished, s)
			if l.available() != 100_000 {
				t.Errorf("after cancel %d are available, want all", l.available())
			}
			l.clean()
		})
	}
}

// Of payouts that the balance does not cover together none is held, though it
// would cover each.
func TestMultiSessionHoldsAllOrNone(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.Fees = map[instrument.Kind]partner.Fee{instrument.KindCard: {Fixed: 1}} })
	l.start()
	s := l.multi(cardBody(50_000), cardBody(49_999))
	h := l.receive(session.PaymentFinished, s)
	for _, p := range h.Session.PayoutList {
		if p.Error == nil || p.Error.Code != string(fault.InsufficientBalance) {
			t.Errorf("payout %s: %+v, want %s", p.ID, p.Error, fault.InsufficientBalance)
		}
	}
	if h.Session.Status != "cancelled" || l.available() != 100_000 {
		t.Errorf("the session is %s with %d available", h.Session.Status, l.available())
	}
	s = l.multi(cardBody(50_000), cardBody(49_998))
	l.receive(session.ReadyToConfirm, s)
	if l.available() != 0 {
		t.Errorf("%d left, want 0", l.available())
	}
	l.advance(partner.ConfirmTimeoutDefault + time.Second)
	l.receive(session.PaymentFinished, s)
	if got := states(l.session(s)); got != "cancelled cancelled" || l.available() != 100_000 {
		t.Errorf("after the time-out: %s with %d available", got, l.available())
	}
	l.clean()
}

// No fee makes an amount wrap: neither one that was set before fees had a bound,
// nor that of a payout which was started then, whose sum with the amount would be
// less than nothing.
func TestFeesDoNotWrap(t *testing.T) {
	l := newLab(t, func(p *partner.Project) {
		p.Fees = map[instrument.Kind]partner.Fee{instrument.KindCard: {Fixed: math.MaxInt64}}
	})
	_, err := l.engine.Init(t.Context(), l.call(), l.parse(wire.OpInit, cardBody(1)))
	if fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "too large") {
		t.Errorf("with the fee of the project: %v, want %s", err, fault.Invalid)
	}
	s := l.init(accountBody("40817810500000012345", 200_000))
	l.alter(fmt.Sprintf(`UPDATE payouts SET progress = json_set(progress, '$.fee', %d)`, math.MaxInt64))
	l.start()
	if h := l.receive(session.PaymentFinished, s); h.Session.PayoutList[0].Error.Code != string(fault.InsufficientBalance) {
		t.Errorf("with the fee of the payout: %+v, want %s", h.Session.PayoutList, fault.InsufficientBalance)
	}
	if l.available() != 100_000 {
		t.Errorf("%d available", l.available())
	}
	l.clean()
}

// In a project that pays without confirm, all go at once; with one in foreign
// currency among them, all wait.
func TestMultiSessionInSingleRequestMode(t *testing.T) {
	l := newLab(t, func(p *partner.Project) {
		p.SingleRequest = true
		p.Rates = map[money.Currency]rate.Terms{money.USD: {}}
	})
	l.start()
	s := l.multi(cardBody(1_000), cardBody(2_000))
	l.receive(session.PaymentFinished, s)
	s = l.multi(cardBody(1_000), strings.Replace(cardBody(100), `"rub"`, `"usd"`, 1))
	l.receive(session.ReadyToConfirm, s)
	if got := states(l.session(s)); got != "awaiting_confirm awaiting_confirm" {
		t.Errorf("states %s", got)
	}
	l.clean()
}

// One end is told though the payouts end apart, and accepted if any was paid.
func TestMultiSessionEndsWithItsLast(t *testing.T) {
	l := newLab(t)
	let := make(chan struct{})
	l.rails[instrument.KindAccount].send = func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		<-let
		return rail.Outcome{Status: rail.Failed, Code: rail.AccountNotFound}, nil
	}
	l.start()
	s := l.multi(accountBody("40817810500000012345", 20_000), cardBody(10_000))
	l.receive(session.ReadyToConfirm, s)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	l.untilStates(s, "sent paid")
	if shown := l.session(s).Show(); shown.Session != "in_progress" || l.session(s).Events != 1 {
		t.Errorf("with one under way it is shown as %+v with %d events", shown, l.session(s).Events)
	}
	close(let)
	if h := l.receive(session.PaymentFinished, s); h.Session.Status != "accepted" {
		t.Errorf("the session is %s, want accepted", h.Session.Status)
	}
	l.clean()
}

func TestMultiSessionRefusals(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.Methods = []instrument.Kind{instrument.KindCard} })
	for name, c := range map[string]struct {
		body string
		code fault.Code
		text string
	}{
		"method":   {accountBody("40817810500000012345", 1), fault.Unauthorized, "payout_list[1]: "},
		"currency": {strings.Replace(cardBody(1), `"rub"`, `"usd"`, 1), fault.Invalid, "payout_list[1].amount_details.currency: "},
		"token": {
			strings.Replace(cardBody(1), `{"type":"bank_card","bank_card":{"number":"`+cardNumber+`"}}`,
				`{"type":"tokenized_card","tokenized_card":{"token":"`+strings.Repeat("ab", 32)+`"}}`, 1),
			fault.Invalid, "payout_list[1].payout_details.card.tokenized_card.token: ",
		},
	} {
		_, err := l.engine.MultiInit(t.Context(), l.call(), l.parse(wire.OpMulti, multiBody(cardBody(1), c.body)))
		if e, _ := errors.AsType[*fault.Error](err); e == nil || e.Code != c.code || !strings.HasPrefix(e.Text, c.text) {
			t.Errorf("%s: %v, want %s with %q", name, err, c.code, c.text)
		}
	}
	if r := l.clean(); r.Sessions != 0 {
		t.Errorf("%d sessions were written", r.Sessions)
	}
}

// The holder of an account is the recipient of each payout that names none, as
// in a session of one payout.
func TestMultiSessionNamesHolders(t *testing.T) {
	l := newLab(t)
	var mu sync.Mutex
	asked := map[string]bool{}
	l.rails[instrument.KindAccount].check = func(_ context.Context, o rail.Order) (rail.Verdict, error) {
		mu.Lock()
		defer mu.Unlock()
		asked[o.Recipient] = true
		return rail.Verdict{}, nil
	}
	l.start()
	holder := accountBody("40817810500000012345", 20_000)
	s := l.multi(holder, holder)
	l.receive(session.ReadyToConfirm, s)
	for _, p := range l.session(s).Payouts {
		if p.Details.Recipient == "" || p.Details.Recipient != p.Details.Instrument.Account.FullName {
			t.Errorf("the recipient is %q, the holder %q", p.Details.Recipient, p.Details.Instrument.Account.FullName)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if asked[""] || len(asked) != 1 {
		t.Errorf("the rail was asked about %v", asked)
	}
}

// A key is burnt by a multi-session as by any other, and a replay shows it.
func TestMultiSessionOnce(t *testing.T) {
	l := newLab(t)
	c := l.call()
	c.Key, c.Replay = "k", true
	r := wire.OpMulti
	first, err := l.engine.MultiInit(t.Context(), c, l.parse(r, multiBody(cardBody(1), cardBody(2))))
	if err != nil {
		t.Fatal(err)
	}
	again, err := l.engine.MultiInit(t.Context(), c, l.parse(r, multiBody(cardBody(1), cardBody(2))))
	if err != nil || !again.Replayed || string(again.Body) != string(first.Body) {
		t.Errorf("again: %s, %v", again.Body, err)
	}
	if r := l.clean(); r.Payouts != 2 {
		t.Errorf("%d payouts, want 2", r.Payouts)
	}
}

// As many payouts as there may be, whose answers come in any order and together.
func TestMultiSessionOfMany(t *testing.T) {
	l := newLab(t)
	l.rails[instrument.KindCard].terms.SendDeadline = time.Minute // longer than it takes a busy machine to send them
	l.deposit("10000.00")
	l.start()
	items := make([]string, 100)
	for i := range items {
		items[i] = cardBody(int64(1_000 + i))
	}
	var round sync.WaitGroup
	for range 3 {
		round.Go(func() {
			s := l.multi(items...)
			l.until(s, session.Awaiting)
			if err := l.confirm(s); err != nil {
				t.Error(err)
			}
			l.until(s, session.Paid)
		})
	}
	round.Wait()
	for range 6 {
		select {
		case <-l.hooks:
		case <-time.After(patience):
			t.Fatal("a webhook is missing")
		}
	}
	if r := l.clean(); r.Payouts != 300 || r.Live != 0 || r.Events != 6 {
		t.Errorf("%+v", r)
	}
}
