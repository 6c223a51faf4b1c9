package payout

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
)

// returnLab has fees on accounts and receives the webhooks of one payout.
func returnLab(t *testing.T, change ...func(*partner.Project)) *lab {
	l := newLab(t, append(change, func(p *partner.Project) {
		p.SingleRequest = true
		p.Fees = map[instrument.Kind]partner.Fee{instrument.KindAccount: {Fixed: 300}, instrument.KindCard: {Fixed: 300}}
	})...)
	l.start()
	return l
}

// back is the return of a payout as its rail tells it.
func back(p *session.Payout, reference string, minor int64) rail.Return {
	return rail.Return{
		Reference: reference, Payment: p.Reference, Amount: money.Amount{Minor: minor, Currency: money.RUB}, At: p.CreatedAt.Add(time.Hour),
	}
}

func (l *lab) take(name string, r rail.Return) Returned {
	l.Helper()
	got, err := l.engine.TakeReturn(l.Context(), name, r)
	if err != nil {
		l.Fatalf("return %s: %v", r.Reference, err)
	}
	return got
}

// alarms are the kinds of all alarms, the oldest first.
func (l *lab) alarms() []string {
	l.Helper()
	list, err := l.store.Alarms(l.Context(), 100)
	if err != nil {
		l.Fatal(err)
	}
	kinds := []string{}
	for _, a := range slices.Backward(list) {
		kinds = append(kinds, a.Kind)
	}
	return kinds
}

func (l *lab) balance() ledger.Accounts {
	l.Helper()
	b, err := l.store.Book(l.Context(), l.project)
	if err != nil {
		l.Fatal(err)
	}
	return b.Balance
}

// silent says that no webhook is promised beyond the first n of a session.
func (l *lab) silent(s id.Session, n int) {
	l.Helper()
	if got := l.session(s).Events; got != n {
		l.Errorf("%d events are promised, want %d", got, n)
	}
}

// paidAccount is a paid payout of 100 roubles to an account.
func (l *lab) paidAccount() (id.Session, *session.Payout) {
	l.Helper()
	s := l.init(accountBody(accountNumber, 100_00))
	l.receive(session.PaymentFinished, s)
	return s, &l.session(s).Payouts[0]
}

func TestReturnGivesTheMoneyBack(t *testing.T) {
	for _, c := range []struct {
		name      string
		returnFee bool
		available int64
		fees      int64
	}{
		{"fee kept", false, 1000_00 - 3_00, 3_00},
		{"fee returned", true, 1000_00, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := returnLab(t, func(p *partner.Project) { p.ReturnFee = c.returnFee })
			s, p := l.paidAccount()
			told := back(p, "R-1", 100_00)
			l.rails[instrument.KindAccount].backs <- told
			h := l.receive(session.PaymentRefunded, s)

			var in struct {
				Session struct {
					Status     string
					PayoutList []struct {
						Status  string
						Refunds []struct {
							ID, Status string
							Amount     struct {
								Amount   int64
								Currency string
							} `json:"amount_details"`
						}
					} `json:"payout_list"`
				}
			}
			if err := json.Unmarshal(h.body, &in); err != nil {
				t.Fatal(err)
			}
			shown := in.Session.PayoutList[0]
			if in.Session.Status != "accepted" || shown.Status != "succeeded" {
				t.Errorf("session %s, payout %s; a return changes neither", in.Session.Status, shown.Status)
			}
			if len(shown.Refunds) != 1 || !strings.HasPrefix(shown.Refunds[0].ID, "rf_") || shown.Refunds[0].Status != "accepted" ||
				shown.Refunds[0].Amount.Amount != 100_00 || shown.Refunds[0].Amount.Currency != "rub" {
				t.Errorf("refunds %+v", shown.Refunds)
			}
			if b := l.balance(); b.Available != c.available || b.Fees != c.fees || b.Clearing != 0 || b.Suspense != 0 {
				t.Errorf("balance %+v, want %d available and %d fees", b, c.available, c.fees)
			}
			if got := l.take("bank_account", told); !got.Repeated {
				t.Errorf("told again: %+v", got)
			}
			if got := l.alarms(); len(got) != 0 {
				t.Errorf("alarms %q", got)
			}
			l.clean()
		})
	}
}

// What can't be right is written down and told to people, and the partner gets
// none of it.
func TestReturnsThatAreNotRight(t *testing.T) {
	type told struct {
		rail.Return
		want Returned
	}
	for _, c := range []struct {
		name     string
		to       string // the payout
		declined bool
		tell     func(*session.Payout) []told
		events   int
		balance  ledger.Accounts
		alarms   []string
	}{
		{
			"twice under two names", accountBody(accountNumber, 100_00), false, func(p *session.Payout) []told {
				return []told{
					{back(p, "R-1", 100_00), Returned{Status: session.RefundBooked}},
					{back(p, "R-2", 100_00), Returned{Status: session.RefundRefused, Alarm: "return_twice"}},
					{back(p, "R-2", 100_00), Returned{Repeated: true}},
				}
			},
			2,
			ledger.Accounts{Available: 997_00, Fees: 3_00, Deposits: -1000_00},
			[]string{"return_twice"},
		},
		{
			"one name for two returns", accountBody(accountNumber, 100_00), false, func(p *session.Payout) []told {
				return []told{
					{back(p, "R-1", 100_00), Returned{Status: session.RefundBooked}},
					{back(p, "R-1", 99_00), Returned{Alarm: "return_changed"}},
					{back(p, "R-1", 99_00), Returned{Repeated: true}},
				}
			},
			2,
			ledger.Accounts{Available: 997_00, Fees: 3_00, Deposits: -1000_00},
			[]string{"return_changed"},
		},
		{
			"another amount, then the right one", accountBody(accountNumber, 100_00), false, func(p *session.Payout) []told {
				return []told{
					{back(p, "R-1", 40_00), Returned{Status: session.RefundSuspended, Alarm: "return_other_amount"}},
					{back(p, "R-1", 40_00), Returned{Repeated: true}},
					{back(p, "R-2", 100_00), Returned{Status: session.RefundBooked}},
				}
			},
			2,
			ledger.Accounts{Available: 997_00, Fees: 3_00, Clearing: -40_00, Suspense: 40_00, Deposits: -1000_00},
			[]string{"return_other_amount"},
		},
		{
			"another currency", accountBody(accountNumber, 100_00), false, func(p *session.Payout) []told {
				r := back(p, "R-1", 100_00)
				r.Amount.Currency = "USD"
				return []told{{r, Returned{Status: session.RefundRefused, Alarm: "return_other_currency"}}}
			},
			1,
			ledger.Accounts{Available: 897_00, Fees: 3_00, Clearing: 100_00, Deposits: -1000_00},
			[]string{"return_other_currency"},
		},
		{
			"of a payout that failed", accountBody(accountNumber, 100_00), true, func(p *session.Payout) []told {
				return []told{
					{back(p, "R-1", 100_00), Returned{Status: session.RefundSuspended, Alarm: "return_of_unpaid"}},
					{back(p, "R-1", 100_00), Returned{Repeated: true}},
				}
			},
			1,
			ledger.Accounts{Available: 1000_00, Clearing: -100_00, Suspense: 100_00, Deposits: -1000_00},
			[]string{"return_of_unpaid"},
		},
		{
			"of a card", cardBody(100_00), false, func(p *session.Payout) []told {
				return []told{{back(p, "R-1", 100_00), Returned{Status: session.RefundSuspended, Alarm: "return_not_possible"}}}
			},
			1,
			ledger.Accounts{Available: 897_00, Fees: 3_00, Suspense: 100_00, Deposits: -1000_00},
			[]string{"return_not_possible"},
		},
		{
			"of a payment that nobody knows", accountBody(accountNumber, 100_00), false, func(p *session.Payout) []told {
				r := back(p, "R-1", 100_00)
				r.Payment = "po_1"
				return []told{{r, Returned{Alarm: "return_unknown"}}, {r, Returned{Repeated: true}}}
			},
			1,
			ledger.Accounts{Available: 897_00, Fees: 3_00, Clearing: 100_00, Deposits: -1000_00},
			[]string{"return_unknown"},
		},
		{
			"after the window", accountBody(accountNumber, 100_00), false, func(p *session.Payout) []told {
				r := back(p, "R-1", 100_00)
				r.At = p.FinishedAt.AddDate(0, 0, 12)
				return []told{{r, Returned{Status: session.RefundBooked, Alarm: "return_late"}}}
			},
			2,
			ledger.Accounts{Available: 997_00, Fees: 3_00, Deposits: -1000_00},
			[]string{"return_late"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := returnLab(t)
			if c.declined {
				l.rails[instrument.KindAccount].set(func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
					return rail.Outcome{Status: rail.Failed, Code: rail.AccountNotFound}, nil
				})
			}
			s := l.init(c.to)
			l.receive(session.PaymentFinished, s)
			p := &l.session(s).Payouts[0]
			before := p.Show()
			for _, told := range c.tell(p) {
				if got := l.take(p.Rail, told.Return); got != told.want {
					t.Errorf("%s of %s: %+v, want %+v", told.Reference, told.Amount, got, told.want)
				}
			}
			if got := l.balance(); got != c.balance {
				t.Errorf("balance %+v, want %+v", got, c.balance)
			}
			if got := l.alarms(); !slices.Equal(got, c.alarms) {
				t.Errorf("alarms %q, want %q", got, c.alarms)
			}
			if got := l.session(s).Payouts[0]; got.Show() != before {
				t.Errorf("shown as %+v, was %+v", got.Show(), before)
			}
			l.silent(s, c.events)
			l.clean()
		})
	}
}

func TestReturnBeforeTheAnswer(t *testing.T) {
	for _, c := range []struct {
		name    string
		answer  rail.Outcome
		hooks   []session.Hook
		balance ledger.Accounts
		alarms  []string
	}{
		{
			"that it was paid",
			rail.Outcome{Status: rail.Succeeded},
			[]session.Hook{session.PaymentFinished, session.PaymentRefunded},
			ledger.Accounts{Available: 997_00, Fees: 3_00, Deposits: -1000_00},
			[]string{"return_before_answer", "return_twice"},
		},
		{
			"that it was not",
			rail.Outcome{Status: rail.Failed, Code: rail.AccountNotFound},
			[]session.Hook{session.PaymentFinished},
			ledger.Accounts{Available: 1000_00, Clearing: -200_00, Suspense: 200_00, Deposits: -1000_00},
			[]string{"return_before_answer", "return_of_unpaid", "return_of_unpaid"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := returnLab(t)
			account := l.rails[instrument.KindAccount]
			asked := make(chan struct{})
			account.set(func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
				return rail.Outcome{}, errNoAnswer
			})
			account.query = func(string, int) (rail.Outcome, error) {
				select {
				case <-asked:
					return c.answer, nil
				default:
					return rail.Outcome{Status: rail.Unknown}, nil
				}
			}
			s := l.init(accountBody(accountNumber, 100_00))
			p := &l.until(s, session.Unclear).Payouts[0]
			for _, reference := range []string{"R-1", "R-2"} {
				want := Returned{Status: session.RefundKept, Alarm: "return_before_answer"}
				if got := l.take(p.Rail, back(p, reference, 100_00)); got != want {
					t.Errorf("%s: %+v, want %+v", reference, got, want)
				}
			}
			if got := l.balance(); got.Held != 103_00 || got.Clearing != 0 {
				t.Errorf("booked before the answer: %+v", got)
			}
			if body := string(wire.Answer(l.session(s), 2, nil)); strings.Contains(body, "refunds") {
				t.Errorf("a return that is not booked is shown: %s", body)
			}
			close(asked)
			for _, hook := range c.hooks {
				h := l.receive(hook, s)
				if shown := strings.Contains(string(h.body), `"refunds"`); shown != (hook == session.PaymentRefunded) {
					t.Errorf("%s shows refunds: %v", hook, shown)
				}
			}
			if got := l.balance(); got != c.balance {
				t.Errorf("balance %+v, want %+v", got, c.balance)
			}
			if got := slices.Compact(l.alarms()); !slices.Equal(got, slices.Compact(slices.Clone(c.alarms))) {
				t.Errorf("alarms %q, want %q", got, c.alarms)
			}
			l.silent(s, len(c.hooks))
			l.clean()
		})
	}
}

// A rail that declines, then says that it paid, then gives the money back, has
// cost nobody anything.
func TestReturnOfAPaymentInSuspense(t *testing.T) {
	l := returnLab(t)
	l.rails[instrument.KindAccount].set(func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		return rail.Outcome{Status: rail.Failed, Code: rail.AccountNotFound}, nil
	})
	s := l.init(accountBody(accountNumber, 100_00))
	l.receive(session.PaymentFinished, s)
	p := &l.session(s).Payouts[0]
	if err := l.engine.Notice(t.Context(), p.Rail, l.key(s), p.ID, rail.Outcome{Status: rail.Succeeded}); err != nil {
		t.Fatal(err)
	}
	l.take(p.Rail, back(p, "R-1", 100_00))
	if got, want := l.balance(), (ledger.Accounts{Available: 1000_00, Deposits: -1000_00}); got != want {
		t.Errorf("balance %+v, want %+v", got, want)
	}
	l.clean()
}

func TestNoReturn(t *testing.T) {
	l := returnLab(t)
	_, p := l.paidAccount()
	good := back(p, "R-1", 100_00)
	for _, c := range []struct {
		name   string
		change func(*rail.Return)
		says   string
	}{
		{"no reference", func(r *rail.Return) { r.Reference = "" }, "reference"},
		{"long reference", func(r *rail.Return) { r.Reference = strings.Repeat("R", 65) }, "reference"},
		{"two lines", func(r *rail.Return) { r.Reference = "R\n1" }, "reference"},
		{"no payment", func(r *rail.Return) { r.Payment = "" }, "payment"},
		{"nothing", func(r *rail.Return) { r.Amount.Minor = 0 }, "amount"},
		{"less than nothing", func(r *rail.Return) { r.Amount.Minor = -1 }, "amount"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := good
			c.change(&r)
			_, err := l.engine.TakeReturn(t.Context(), p.Rail, r)
			if e, ok := errors.AsType[*fault.Error](err); !ok || e.Code != fault.Invalid || !strings.HasPrefix(e.Text, c.says) {
				t.Errorf("error %v, want one about the %s", err, c.says)
			}
		})
	}
	if got := l.balance(); got.Clearing != 100_00 {
		t.Errorf("balance %+v", got)
	}
}
