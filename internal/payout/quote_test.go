package payout

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

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
)

// fakeRates has one price for all currencies, which a test moves, or fails.
type fakeRates struct {
	mu    sync.Mutex
	price rate.Price
	err   error
	asked int
}

func (f *fakeRates) set(p rate.Price, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.price, f.err = p, err
}

func (f *fakeRates) questions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// published is when the fake rates say they were published.
var published = time.Date(2026, 3, 1, 21, 0, 0, 0, time.UTC)

func (f *fakeRates) Rate(context.Context, money.Currency) (rate.Rate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return rate.Rate{Price: f.price, Source: "fake", At: published}, f.err
}

// daily lets a project use dollars at the fake rates.
func daily(p *partner.Project) { p.Rates = map[money.Currency]rate.Terms{money.USD: {}} }

// dollars is a request for a payout of so many cents to a card.
func dollars(minor int64) string {
	return strings.Replace(cardBody(minor), `"currency":"rub"`, `"currency":"USD"`, 1)
}

// roubles waits for ready_to_confirm and returns the amount that it shows.
func (l *lab) roubles(s id.Session) money.Amount {
	l.Helper()
	return shownAmount(l.T, l.receive(session.ReadyToConfirm, s).body)
}

func shownAmount(t *testing.T, body []byte) money.Amount {
	t.Helper()
	var in struct {
		Session struct {
			PayoutList []struct {
				Amount struct {
					Amount   int64
					Currency string
				} `json:"amount_details"`
			} `json:"payout_list"`
		}
	}
	if err := json.Unmarshal(body, &in); err != nil || len(in.Session.PayoutList) != 1 {
		t.Fatalf("%s: %v", body, err)
	}
	a := in.Session.PayoutList[0].Amount
	return money.Amount{Minor: a.Amount, Currency: money.Currency(strings.ToUpper(a.Currency))}
}

func TestForeignPayoutIsHeldAndPaidInRoubles(t *testing.T) {
	l := newLab(t, daily, func(p *partner.Project) {
		p.SingleRequest = true // foreign currency awaits confirm nevertheless
		p.Fees = map[instrument.Kind]partner.Fee{instrument.KindCard: {PPM: 15_000}}
	})
	var checked, sent rail.Order
	card := l.rails[instrument.KindCard]
	card.check = func(_ context.Context, o rail.Order) (rail.Verdict, error) {
		checked = o
		return rail.Verdict{}, nil
	}
	card.set(func(_ context.Context, o rail.Order, _ rail.Opener) (rail.Outcome, error) {
		sent = o
		return rail.Outcome{Status: rail.Succeeded}, nil
	})
	s := l.init(dollars(250))
	if p := l.session(s).Payouts[0]; p.Quote != nil || p.Fee != 0 || p.Minor() != 0 || p.Amount().Currency != money.USD {
		t.Errorf("before its quote: %+v", p)
	}
	l.start()
	want := money.Amount{Minor: 20_125, Currency: money.RUB}
	if got := l.roubles(s); got != want {
		t.Errorf("ready_to_confirm shows %s, want %s", got, want)
	}
	const fee = 302 // 1.5 % of 201.25 is 3.01875
	if got := l.available(); got != 100_000-want.Minor-fee {
		t.Errorf("%d available after the hold", got)
	}
	l.rates.set(9_999_000_000, nil)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	if got := shownAmount(t, l.receive(session.PaymentFinished, s).body); got != want {
		t.Errorf("payment_finished shows %s, want %s", got, want)
	}
	if checked.Amount != want || sent.Amount != want {
		t.Errorf("the rail was asked about %s and sent %s, want %s", checked.Amount, sent.Amount, want)
	}
	p := l.session(s).Payouts[0]
	if q := p.Quote; p.Details.Amount.Minor != 250 || p.Fee != fee || q.Rate.Price != 8_050_000_000 || q.Rate.Source != "fake" ||
		!q.Rate.At.Equal(published) || q.Until.Sub(q.At) != partner.RateLockDefault {
		t.Errorf("kept: %+v, fee %d, quote %+v", p.Details.Amount, p.Fee, p.Quote)
	}
	if b := l.clean(); b.Live != 0 {
		t.Errorf("%d payouts are live", b.Live)
	}
}

func TestAgreementGoesBeforeTheSource(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.Rates = map[money.Currency]rate.Terms{money.USD: {Agreed: 8_125_000_000}} })
	l.start()
	s := l.init(dollars(100))
	if got := l.roubles(s); got.Minor != 8125 {
		t.Errorf("at 81.25 a dollar is %s", got)
	}
	if q := l.session(s).Payouts[0].Quote; q.Rate.Source != "agreement" || l.rates.questions() != 0 {
		t.Errorf("quote %+v after %d questions to the source", q, l.rates.questions())
	}
}

// The wait for confirm ends with the lock or with the project's time-out,
// whichever comes first, and gives everything back.
func TestLockEndsTheWaitForConfirm(t *testing.T) {
	for _, tt := range []struct {
		name               string
		lock, timeout, end time.Duration
	}{
		{"the default lock", 0, 0, 30 * time.Minute},
		{"the lock first", 10 * time.Minute, time.Hour, 10 * time.Minute},
		{"the time-out first", time.Hour, 20 * time.Minute, 20 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, daily, func(p *partner.Project) {
				p.RateLock, p.ConfirmTimeout = partner.Duration(tt.lock), partner.Duration(tt.timeout)
			})
			l.start()
			s := l.init(dollars(250))
			before := l.roubles(s)
			l.advance(tt.end - time.Minute)
			l.clean()
			found := l.session(s)
			if found.State != session.Awaiting || *found.Payouts[0].Amount() != before {
				t.Fatalf("a minute before the end the session is %s, of %s", found.State, found.Payouts[0].Amount())
			}
			l.advance(time.Minute)
			if h := l.receive(session.PaymentFinished, s); h.Session.PayoutList[0].Error.Code != string(fault.ConfirmTimeout) {
				t.Errorf("ended with %+v", h.Session.PayoutList[0].Error)
			}
			if got := l.available(); got != 100_000 {
				t.Errorf("%d available after the release", got)
			}
			if err := l.confirm(s); fault.CodeOf(err) != fault.WrongState {
				t.Errorf("confirm after the end: %v", err)
			}
			l.clean()
		})
	}
}

func TestCancelOfAQuoteGivesAllBack(t *testing.T) {
	l := newLab(t, daily)
	l.start()
	s := l.init(dollars(333))
	l.roubles(s)
	if err := l.cancel(s); err != nil {
		t.Fatal(err)
	}
	l.receive(session.PaymentFinished, s)
	if got := l.available(); got != 100_000 {
		t.Errorf("%d available", got)
	}
	l.clean()
}

func TestForeignPayoutFails(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cents int64
		price rate.Price
		err   error
		want  fault.Code
	}{
		{"a kopeck too much for the balance", 100_001, 100_000_000, nil, fault.InsufficientBalance},
		{"worth less than half a kopeck", 1, 49_999_999, nil, fault.ProviderMinimum},
		{"worth more than can be written", money.MinorMax, 200_000_000, nil, fault.ProviderMaximum},
		{"worth more than can be counted", money.MinorMax, 1_000_000 * 100_000_000, nil, fault.ProviderMaximum},
		{"a source without the currency", 100, 0, rate.ErrUnknown, fault.RoutingInternal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, daily)
			l.rates.set(tt.price, tt.err)
			l.start()
			s := l.init(dollars(tt.cents))
			if h := l.receive(session.PaymentFinished, s); h.Session.PayoutList[0].Error.Code != string(tt.want) {
				t.Errorf("failed with %+v, want %s", h.Session.PayoutList[0].Error, tt.want)
			}
			if got := l.available(); got != 100_000 {
				t.Errorf("%d available", got)
			}
			l.clean()
		})
	}
}

// A source that does not answer holds the check up, not longer than a check may
// take.
func TestCheckWaitsForARate(t *testing.T) {
	l := newLab(t, daily)
	l.rates.set(0, rate.ErrStale)
	l.start()
	s := l.init(dollars(100))
	for end := time.Now().Add(patience); l.rates.questions() < 2; {
		if time.Now().After(end) {
			t.Fatal("the source was not asked again")
		}
	}
	l.rates.set(8_000_000_000, nil)
	if got := l.roubles(s); got.Minor != 8_000 {
		t.Errorf("a dollar at 80 is %s", got)
	}

	l.rates.set(0, errors.New("no connection"))
	never := l.init(dollars(100))
	l.advance(checkDeadline)
	if h := l.receive(session.PaymentFinished, never); h.Session.PayoutList[0].Error.Code != string(fault.ProviderTimeout) {
		t.Errorf("failed with %+v", h.Session.PayoutList[0].Error)
	}
	l.clean()
}

func TestCurrencyMustBeEnabled(t *testing.T) {
	l := newLab(t, daily)
	euros := strings.Replace(dollars(100), "USD", "eur", 1)
	const want = "amount_details.currency: eur is not enabled for the project"
	_, create := l.engine.Create(t.Context(), l.call(), l.parse(wire.OpCreate, euros))
	_, initial := l.engine.Init(t.Context(), l.call(), l.parse(wire.OpInit, euros))
	bare, err := l.engine.Create(t.Context(), l.call(), wire.Request{})
	if err != nil {
		t.Fatal(err)
	}
	r := l.parse(wire.OpInit, euros)
	r.Session = l.sessionOf(bare)
	_, start := l.engine.Start(t.Context(), l.call(), r)
	for name, err := range map[string]error{"create": create, "init": initial, "start": start} {
		if fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}

	// What was enabled at the start and is not any more has no terms.
	s := l.init(dollars(100))
	if err := l.engine.UpdateProject(t.Context(), l.project, func(p *partner.Project) error {
		p.Rates = nil
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	l.start()
	if h := l.receive(session.PaymentFinished, s); h.Session.PayoutList[0].Error.Code != string(fault.RoutingInternal) {
		t.Errorf("failed with %+v", h.Session.PayoutList[0].Error)
	}
	l.clean()
}

// A worker that brings no quote must not get a payout in foreign currency past
// its check: nothing would be held for it.
func TestNothingIsReadyWithoutAQuote(t *testing.T) {
	l := newLab(t, daily)
	s := l.init(dollars(100))
	p := l.session(s).Payouts[0]
	err := l.engine.report(t.Context(), &checked{errand: errand{
		project: l.call().Project, task: store.Task{TaskKey: store.TaskKey{SessionKey: l.key(s), Payout: p.ID, Kind: store.TaskCheck}},
	}})
	if err == nil || l.session(s).State != session.Checking {
		t.Errorf("%v; the session is %s", err, l.session(s).State)
	}
}

func TestCalculate(t *testing.T) {
	l := newLab(t, daily)
	ask := func(source, destination string) (string, error) {
		r, err := wire.Parse(wire.OpCalculate, 1, l.call().Project, []byte(`{"amounts":{"source":`+source+`,"destination":`+destination+`}}`))
		if err != nil {
			t.Fatal(err)
		}
		a, err := l.engine.Calculate(t.Context(), l.call(), r)
		return string(a.Body), err
	}
	for _, tt := range []struct{ name, source, destination, want string }{
		{"roubles buy", `{"amount":500000,"currency":"RUB"}`, `{"amount":null,"currency":"USD"}`, `"destination":{"amount":6211,"currency":"USD"}`},
		{"roubles needed", `{"amount":null,"currency":"rub"}`, `{"amount":1000,"currency":"usd"}`, `"source":{"amount":80500,"currency":"RUB"}`},
		{"dollars bring", `{"amount":1,"currency":"USD"}`, `{"currency":"RUB"}`, `"destination":{"amount":81,"currency":"RUB"}`},
		{"dollars needed", `{"currency":"USD"}`, `{"amount":100,"currency":"RUB"}`, `"source":{"amount":1,"currency":"USD"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := ask(tt.source, tt.destination); err != nil || !strings.Contains(got, tt.want) {
				t.Errorf("%s, %v; want %s", got, err, tt.want)
			}
		})
	}
	for _, tt := range []struct {
		name, source, destination, want string
		fails                           error
		code                            fault.Code
	}{
		{"not enabled", `{"amount":1,"currency":"EUR"}`, `{"currency":"RUB"}`, "amounts.source.currency: there is no rate of EUR", nil, fault.Invalid},
		{"not enabled, the other side", `{"amount":1,"currency":"RUB"}`, `{"currency":"EUR"}`, "amounts.destination.currency: there is no rate of EUR", nil, fault.Invalid},
		{"roubles for roubles", `{"amount":1,"currency":"RUB"}`, `{"currency":"RUB"}`, "one of the currencies must be RUB", nil, fault.Invalid},
		{"dollars for euros", `{"amount":1,"currency":"USD"}`, `{"currency":"EUR"}`, "one of the currencies must be RUB", nil, fault.Invalid},
		{"too small", `{"amount":1,"currency":"RUB"}`, `{"currency":"USD"}`, "too small", nil, fault.Invalid},
		{"too large", `{"amount":9007199254740991,"currency":"USD"}`, `{"currency":"RUB"}`, "too large", nil, fault.Invalid},
		{"unknown to the source", `{"amount":1,"currency":"USD"}`, `{"currency":"RUB"}`, "no rate of USD", rate.ErrUnknown, fault.Invalid},
		{"stale", `{"amount":1,"currency":"USD"}`, `{"currency":"RUB"}`, "no rate of USD at the moment", rate.ErrStale, fault.Busy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.rates.set(8_050_000_000, tt.fails)
			if got, err := ask(tt.source, tt.destination); fault.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s, %v; want %s with %q", got, err, tt.code, tt.want)
			}
		})
	}
}

// Whatever the rate and the clock do, and in whatever order partner and workers
// come: what was quoted stays, what was held is what was settled and given back,
// and the books are clean.
func TestQuotesLoseNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := newLab(t, daily, func(p *partner.Project) {
			p.Fees = map[instrument.Kind]partner.Fee{instrument.KindCard: {Fixed: 7, PPM: 12_345}}
			p.SingleRequest = rapid.Bool().Draw(rt, "single request")
		})
		defer l.close()
		e, c := l.engine, l.call()
		var sessions []id.Session
		quoted := map[id.Session]session.Quote{}
		one := func(rt *rapid.T) (id.Session, *session.Payout, errand) {
			if len(sessions) == 0 {
				rt.Skip("no session")
			}
			s := rapid.SampledFrom(sessions).Draw(rt, "session")
			found := l.session(s)
			p := &found.Payouts[0]
			return s, p, errand{c.Project, store.Task{
				TaskKey: store.TaskKey{SessionKey: l.key(s), Payout: p.ID, Kind: taskOf(p.State)}, Fence: found.Fence,
			}}
		}
		do := func(rt *rapid.T, command command) {
			waiting := newPending(command)
			e.commit([]*pending{waiting})
			if code := fault.CodeOf(waiting.err); waiting.err != nil && code == fault.Internal {
				rt.Fatalf("%T: %v", command, waiting.err)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"start": func(rt *rapid.T) {
				sessions = append(sessions, l.init(dollars(rapid.Int64Range(1, 1_500).Draw(rt, "cents"))))
			},
			"rate": func(rt *rapid.T) {
				l.rates.set(rate.Price(rapid.Int64Range(1, 200*100_000_000).Draw(rt, "price")), nil)
			},
			"clock": func(rt *rapid.T) {
				l.clock.advance(time.Duration(rapid.IntRange(0, 40).Draw(rt, "minutes")) * time.Minute)
			},
			"check": func(rt *rapid.T) {
				_, p, with := one(rt)
				if p.State != session.Checking {
					rt.Skip("checked before")
				}
				found := &checked{errand: with}
				if _, err := e.tasksWorker.quote(context.Background(), with, p, found); err != nil {
					rt.Fatal(err)
				}
				do(rt, found)
			},
			"confirm": func(rt *rapid.T) {
				s, _, _ := one(rt)
				_ = l.confirm(s)
			},
			"cancel": func(rt *rapid.T) {
				s, _, _ := one(rt)
				_ = l.cancel(s)
			},
			"work": func(rt *rapid.T) {
				_, p, with := one(rt)
				switch p.State {
				case session.Awaiting:
					do(rt, &expire{with})
				case session.Confirmed:
					do(rt, &intent{errand: with})
				case session.Sent, session.Unclear:
					do(rt, &outcome{errand: with, asked: e.now(), says: rail.Outcome{
						Status: rapid.SampledFrom([]rail.Status{rail.Unknown, rail.Succeeded, rail.Failed}).Draw(rt, "status"), Code: rail.IssuerDeclined,
					}})
				}
			},
			"": func(rt *rapid.T) {
				if r, err := Check(l.Context(), l.store); err != nil || !r.Clean() {
					rt.Fatalf("the books are not clean: %+v, %v", r, err)
				}
				book, err := l.store.Book(l.Context(), l.project)
				if err != nil {
					rt.Fatal(err)
				}
				var held, out int64
				for _, s := range sessions {
					p := l.session(s).Payouts[0]
					if p.Quote == nil {
						continue
					}
					if before, ok := quoted[s]; ok && before != *p.Quote {
						rt.Fatalf("the quote %+v has become %+v", before, *p.Quote)
					}
					quoted[s] = *p.Quote
					switch {
					case p.State.Holds():
						held += p.Quote.Amount.Minor + p.Fee
					case p.State == session.Paid:
						out += p.Quote.Amount.Minor + p.Fee
					}
				}
				if b := book.Balance; b.Held != held || b.Clearing+b.Fees != out || b.Available != 100_000-held-out {
					rt.Fatalf("%+v; quotes hold %d and have paid %d", b, held, out)
				}
			},
		})
	})
}
