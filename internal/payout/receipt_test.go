package payout

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
	"github.com/payoutd/payoutd/tax"
)

// fiscalBody adds a receipt over so many kopecks to the body of a payout.
func fiscalBody(body, inn string, minor int64) string {
	return strings.TrimSuffix(body, "}") + fmt.Sprintf(`,"fiscalization_details":{"professional_income_taxpayer":{"tax_reference":%q,`+
		`"services":[{"name":"Доставка","amount_details":{"amount":%d,"currency":"rub"}}]}}}`, inn, minor)
}

// initFiscal starts a payout of so many kopecks with a receipt.
func (l *lab) initFiscal(inn string, minor int64) id.Session {
	l.Helper()
	s, err := l.tryFiscal(l.call(), fiscalBody(accountBody("40817810500000012345", minor), inn, minor))
	if err != nil {
		l.Fatalf("init: %v", err)
	}
	return s
}

func (l *lab) tryFiscal(c Call, body string) (id.Session, error) {
	l.Helper()
	r, err := wire.Parse(wire.OpInitFiscal, c.Version, c.Project, []byte(body))
	if err != nil {
		return 0, err
	}
	a, err := l.engine.Init(l.Context(), c, r)
	if err != nil {
		return 0, err
	}
	return l.sessionOf(a), nil
}

// alone asks for a receipt without a payout.
func (l *lab) alone(body string) (id.Session, error) {
	l.Helper()
	a, err := l.engine.Create(l.Context(), l.call(), wire.Request{})
	if err != nil {
		l.Fatal(err)
	}
	s := l.sessionOf(a)
	r, err := wire.Parse(wire.OpFiscal, 1, l.call().Project, []byte(strings.Replace(body, "{", fmt.Sprintf(`{"session_id":%q,`, s), 1)))
	if err != nil {
		return 0, err
	}
	c := l.call()
	c.Version = 1
	_, err = l.engine.Start(l.Context(), c, r)
	return s, err
}

// A project has to do with a person once an income that it paid is registered,
// not before, and no other project has.
func TestWhoIsPaidIsKnown(t *testing.T) {
	l := newLab(t)
	birch := l.join(partner.Project{ID: "birch", SelfEmployed: true})
	l.start()
	count := func(c Call, want int) {
		t.Helper()
		got, err := l.npd(c, wire.OpNotices, `{"tax_references":["`+innLinked+`"]}`)
		if err != nil || got != fmt.Sprintf(`{"status":"ok","notifications":[{"tax_reference":%q,"count":%d}]}`, innLinked, want) {
			t.Errorf("%s is told %s, %v; want %d", c.Project.ID, got, err, want)
		}
	}
	s := l.initFiscal(innLinked, 100)
	l.receive(session.ReadyToConfirm, s)
	count(l.call(), 0)
	if err := l.cancel(s); err != nil {
		t.Fatal(err)
	}
	l.receive(session.PaymentFinished, s)
	count(l.call(), 0)
	for range 2 { // the second time nothing new is to be written
		s = l.initFiscal(innLinked, 100)
		l.receive(session.ReadyToConfirm, s)
		if err := l.confirm(s); err != nil {
			t.Fatal(err)
		}
		l.receive(session.PaymentFinished, s)
		count(l.call(), 2)
		count(birch, 0)
	}
	l.clean()
}

// payout reads the only payout of a session.
func (l *lab) payout(s id.Session) session.Payout {
	l.Helper()
	return l.session(s).Payouts[0]
}

// untilReceipt waits for a state of the receipt.
func (l *lab) untilReceipt(s id.Session, want session.ReceiptState) session.Payout {
	l.Helper()
	var p session.Payout
	l.eventually(fmt.Sprintf("the receipt of %s is %s", s, want), func() bool {
		p = l.payout(s)
		return p.Receipt.State == want
	})
	return p
}

// receipt is what a webhook or an answer shows of the receipt.
func receiptIn(t testing.TB, body []byte) (shown struct{ ID, Link string }) {
	t.Helper()
	type list []struct {
		Fiscal struct {
			Who struct {
				INN     string `json:"tax_reference"`
				Receipt *struct{ ID, Link string }
			} `json:"professional_income_taxpayer"`
		} `json:"fiscalization_details"`
	}
	var in struct {
		Session struct {
			V2 list `json:"payout_list"`
			V1 list `json:"payments"`
		}
	}
	if err := json.Unmarshal(body, &in); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	for _, p := range append(in.Session.V1, in.Session.V2...) {
		if p.Fiscal.Who.INN == "" {
			t.Errorf("no fiscalization_details in %s", body)
		}
		if p.Fiscal.Who.Receipt != nil {
			shown = *p.Fiscal.Who.Receipt
		}
	}
	return shown
}

func (l *lab) status(s id.Session) []byte {
	l.Helper()
	a, err := l.engine.Status(l.Context(), l.call(), wire.Request{Session: s})
	if err != nil {
		l.Fatal(err)
	}
	return a.Body
}

// alarmed counts the alarms of a kind.
func (l *lab) alarmed(kind string) (n int) {
	l.Helper()
	alarms, err := l.store.Alarms(l.Context(), 1000)
	if err != nil {
		l.Fatal(err)
	}
	for _, a := range alarms {
		if a.Kind == kind {
			n++
		}
	}
	return n
}

// finished counts the events of a type that a session has promised.
func (l *lab) promised(s id.Session, h session.Hook) (n int) {
	l.Helper()
	events, err := l.store.Events(l.Context(), store.EventQuery{Project: l.project, Session: s, Limit: 100})
	if err != nil {
		l.Fatal(err)
	}
	for _, e := range events {
		if e.Type == string(h) {
			n++
		}
	}
	return n
}

func (l *lab) income(inn string) store.Income {
	l.Helper()
	i, err := l.store.Income(l.Context(), store.IncomeKey{INN: inn, Year: tax.YearOf(l.clock.Now())})
	if err != nil && fault.CodeOf(err) != fault.NotFound {
		l.Fatal(err)
	}
	return i
}

// workOn does the only task that there is, once.
func (l *lab) workOn(s id.Session) {
	l.Helper()
	tasks := l.tasks()
	if len(tasks) != 1 {
		l.Fatalf("tasks: %+v", tasks)
	}
	p := l.payout(s)
	do := l.engine.tasksWorker.receipt
	if tasks[0].Kind == store.TaskClear {
		do = l.engine.tasksWorker.clear
	}
	if err := do(l.Context(), errand{project: l.call().Project, task: tasks[0]}, &p); err != nil {
		l.Fatalf("%s: %v", tasks[0].Kind, err)
	}
}

func TestPayoutWithReceipt(t *testing.T) {
	for _, single := range []bool{false, true} {
		t.Run(fmt.Sprint("single request ", single), func(t *testing.T) {
			l := newLab(t, func(p *partner.Project) { p.SingleRequest = single })
			l.start()
			s := l.initFiscal(innLinked, 10_000)
			if !single {
				l.receive(session.ReadyToConfirm, s)
				if i := l.income(innLinked); i.Held != 10_000 {
					t.Errorf("reserved: %+v", i)
				}
				if err := l.confirm(s); err != nil {
					t.Fatal(err)
				}
			}
			h := l.receive(session.PaymentFinished, s)
			p := l.untilReceipt(s, session.Registered)
			made := l.tax.of(p.ID.String())
			if len(made) != 1 || made[0].Amount.Minor != 10_000 || !made[0].At.Equal(p.FinishedAt) {
				t.Fatalf("receipts at the tax service: %+v", made)
			}
			if shown := receiptIn(t, h.body); shown.ID != made[0].ID || shown.Link != made[0].Link {
				t.Errorf("payment_finished shows %+v, want %+v", shown, made[0])
			}
			if shown := receiptIn(t, l.status(s)); shown.ID != made[0].ID {
				t.Errorf("session/status shows %+v", shown)
			}
			if i := l.income(innLinked); i.Held != 0 || i.Asked != 0 || i.Registered != 10_000 {
				t.Errorf("counted: %+v", i)
			}
			l.clean()
		})
	}
}

// What is wrong with a person is told as a failed payout, and nothing is held.
func TestPersonRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		inn   string
		setup func(*lab)
		want  fault.Code
	}{
		{"not self-employed", innNobody, func(*lab) {}, "taxpayer_unknown"},
		{"not linked", innUnlinked, func(*lab) {}, "taxpayer_not_bound"},
		{"a kopeck too much", innLinked, func(l *lab) { l.tax.others[innLinked] = tax.IncomeMax.Minor - 9_999 }, "taxpayer_income_exceeds_amount_limit"},
		{"the service fails at the status", innLinked, func(l *lab) { l.tax.on(tax.GetStatus, hasFailed) }, "npd_service_internal_error"},
		{"the service fails at the income", innLinked, func(l *lab) { l.tax.on(tax.GetIncome, hasFailed) }, "npd_service_internal_error"},
		{"unlinked between two questions", innLinked, func(l *lab) {
			l.tax.set(func(q tax.Question) trouble { l.tax.unlinked[innLinked] = q.Kind == tax.GetIncome; return noTrouble })
		}, "taxpayer_not_bound"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			c.setup(l)
			l.start()
			s := l.initFiscal(c.inn, 10_000)
			h := l.receive(session.PaymentFinished, s)
			if h.Session.Status != "cancelled" || h.Session.PayoutList[0].Status != "failed" || h.Session.PayoutList[0].Error.Code != string(c.want) {
				t.Errorf("told %s, want %s", h.body, c.want)
			}
			l.untilReceipt(s, session.Released)
			if i := l.income(c.inn); i.Held != 0 || i.Asked != 0 || l.available() != 100_000 {
				t.Errorf("counted: %+v, available %d", i, l.available())
			}
			l.clean()
		})
	}
}

// The last kopeck of the limit fits.
func TestLimitIsReached(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.SingleRequest = true })
	l.tax.others[innLinked] = tax.IncomeMax.Minor - 10_000
	l.start()
	l.receive(session.PaymentFinished, l.initFiscal(innLinked, 10_000))
	s := l.initFiscal(innLinked, 1)
	if h := l.receive(session.PaymentFinished, s); h.Session.PayoutList[0].Error == nil {
		t.Errorf("one kopeck above the limit: %s", h.body)
	}
}

// A tax service that nobody reaches is asked until the deadline, and the payout
// fails then. One that is only slow is waited for.
func TestServiceDoesNotAnswer(t *testing.T) {
	for _, c := range []struct {
		name string
		what trouble
	}{{"down", isDown}, {"silent", isSlow}, {"forgetful", isForgetful}, {"panicking", panics}} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.tax.set(func(tax.Question) trouble { return c.what })
			l.clock.advance(time.Hour)
			s := l.initFiscal(innLinked, 10_000)
			l.clock.advance(checkDeadline - 300*time.Millisecond)
			l.start()
			h := l.receive(session.PaymentFinished, s)
			if h.Session.PayoutList[0].Error == nil || h.Session.PayoutList[0].Error.Code != "npd_service_internal_error" {
				t.Errorf("told %s", h.body)
			}
			l.clean()
		})
		t.Run(c.name+" for a while", func(t *testing.T) {
			l := newLab(t)
			left := 3
			l.tax.set(func(tax.Question) trouble {
				if left--; left >= 0 {
					return c.what
				}
				return noTrouble
			})
			l.start()
			l.receive(session.ReadyToConfirm, l.initFiscal(innLinked, 10_000))
			l.clean()
		})
	}
}

// Whatever ends a payout without success gives back what it has reserved.
func TestReservationIsGivenBack(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(l *lab, s id.Session)
	}{
		{"cancelled", func(l *lab, s id.Session) {
			l.receive(session.ReadyToConfirm, s)
			if err := l.cancel(s); err != nil {
				l.Fatal(err)
			}
		}},
		{"not confirmed", func(l *lab, s id.Session) {
			l.receive(session.ReadyToConfirm, s)
			l.advance(partner.ConfirmTimeoutDefault)
		}},
		{"declined by the rail", func(l *lab, s id.Session) {
			l.receive(session.ReadyToConfirm, s)
			if err := l.confirm(s); err != nil {
				l.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.rails[instrument.KindAccount].set(func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
				return rail.Outcome{Status: rail.Failed, Code: rail.IssuerDeclined}, nil
			})
			l.start()
			s := l.initFiscal(innLinked, 10_000)
			c.end(l, s)
			l.receive(session.PaymentFinished, s)
			l.untilReceipt(s, session.Released)
			if i := l.income(innLinked); i.Held != 0 {
				t.Errorf("still reserved: %+v", i)
			}
			l.clean()
			if tasks := l.tasks(); len(tasks) > 0 {
				t.Errorf("left to do: %+v", tasks)
			}
		})
	}
	t.Run("no money", func(t *testing.T) {
		l := newLab(t)
		l.start()
		s := l.initFiscal(innLinked, 100_001)
		l.receive(session.PaymentFinished, s)
		l.untilReceipt(s, session.Released)
		l.clean()
	})
}

// A worker that was paused comes with its reservation when the payout has
// failed long ago: nothing is reserved any more.
func TestReservationThatComesTooLate(t *testing.T) {
	l := newLab(t)
	s := l.initFiscal(innNobody, 10_000)
	p := l.payout(s)
	late := &reserve{want: reservation(l.key(s), &p, p.Receipt.Reserved, store.ReservationHeld)}
	l.start()
	l.receive(session.PaymentFinished, s)
	l.untilReceipt(s, session.Released)
	if err := l.engine.report(t.Context(), late); err != nil || late.verdict != past {
		t.Errorf("verdict %v, error %v; want that it has ended", late.verdict, err)
	}
	l.clean()
}

// payment_finished waits for the receipt for five seconds, and goes without it
// then; the receipt is made all the same, and shown in session/status.
func TestReceiptThatComesLate(t *testing.T) {
	for _, c := range []struct {
		name string
		what trouble
		made bool // the first question makes it
	}{
		{"down", isDown, false},
		{"lost", isLost, true},
		{"failing", hasFailed, false},
		{"answering something else", liesOfAnother, true},
		{"panicking", panics, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, func(p *partner.Project) { p.SingleRequest = true })
			l.tax.on(tax.Register, c.what)
			l.start()
			s := l.initFiscal(innLinked, 10_000)
			paid := l.until(s, session.Paid)
			if n := l.promised(s, session.PaymentFinished); n != 0 {
				t.Fatalf("%d payment_finished before the receipt", n)
			}
			l.eventually("the tax service was asked", func() bool { return l.tax.count(tax.Register) != 0 })
			l.advance(receiptHold)
			h := l.receive(session.PaymentFinished, s)
			if shown := receiptIn(t, h.body); shown.ID != "" || h.Session.Status != "accepted" {
				t.Errorf("told %s", h.body)
			}
			if made := l.tax.of(paid.Payouts[0].ID.String()); (len(made) > 0) != c.made {
				t.Errorf("receipts so far: %+v", made)
			}
			l.tax.set(nil)
			p := l.untilReceipt(s, session.Registered)
			if shown := receiptIn(t, l.status(s)); shown.ID != p.Receipt.ID || shown.ID == "" {
				t.Errorf("shown: %+v, want %+v", shown, p.Receipt)
			}
			if made := l.tax.of(p.ID.String()); len(made) != 1 {
				t.Errorf("receipts: %+v", made)
			}
			if n := l.promised(s, session.PaymentFinished); n != 1 {
				t.Errorf("%d payment_finished", n)
			}
			l.clean()
		})
	}
}

// An answer that takes long is asked for under the message that was kept, by
// the next run of the program as well; a message that was lost costs a second
// question about the same operation.
func TestMessageIsKept(t *testing.T) {
	for _, forgets := range []bool{false, true} {
		t.Run(fmt.Sprint("forgotten ", forgets), func(t *testing.T) {
			l := newLab(t, func(p *partner.Project) { p.SingleRequest = true })
			slow := func(q tax.Question) trouble {
				if q.Kind == "" && l.tax.asked[tax.Register] > 0 {
					return isSlow
				}
				return noTrouble
			}
			l.tax.set(slow)
			l.start()
			s := l.initFiscal(innLinked, 10_000)
			l.until(s, session.Paid)
			l.advance(receiptHold)
			l.receive(session.PaymentFinished, s)
			l.eventually("a message was kept", func() bool { return l.payout(s).Receipt.Message != "" })
			if l.payout(s).Receipt.Message == "" {
				t.Fatal("no message was kept")
			}
			l.close()
			asked := l.tax.count(tax.Register)
			l.tax.set(nil)
			if forgets {
				l.tax.answers = map[tax.Message]tax.Answer{}
			}
			l.open()
			l.start()
			p := l.untilReceipt(s, session.Registered)
			want := asked
			if forgets {
				want++
			}
			if n := l.tax.count(tax.Register); n != want || len(l.tax.of(p.ID.String())) != 1 {
				t.Errorf("asked %d times after %d, %d receipts", n, asked, len(l.tax.of(p.ID.String())))
			}
			l.clean()
		})
	}
}

// Refused after it was paid: people are told at once, it stays in the list and
// is tried again by hand.
func TestReceiptRefused(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.SingleRequest = true })
	l.tax.set(func(q tax.Question) trouble {
		if q.Kind == tax.Register {
			l.tax.unlinked[innLinked] = true
		}
		return noTrouble
	})
	l.start()
	s := l.initFiscal(innLinked, 10_000)
	h := l.receive(session.PaymentFinished, s) // it waits for nothing more
	if h.Session.Status != "accepted" || receiptIn(t, h.body).ID != "" {
		t.Errorf("told %s", h.body)
	}
	p := l.untilReceipt(s, session.Refused)
	if n := l.alarmed("receipt_refused"); n != 1 {
		t.Errorf("%d alarms", n)
	}
	open, err := l.engine.OpenReceipts(t.Context(), l.project, session.Refused)
	if err != nil || len(open) != 1 || open[0].Payout != p.ID || open[0].Denied != tax.NotLinked || open[0].Deadline.IsZero() {
		t.Fatalf("listed: %+v, %v", open, err)
	}
	for _, filter := range []struct {
		project id.Project
		state   session.ReceiptState
	}{{"another", ""}, {"", session.Due}} {
		if none, err := l.engine.OpenReceipts(t.Context(), filter.project, filter.state); err != nil || len(none) > 0 {
			t.Errorf("of %+v: %+v, %v", filter, none, err)
		}
	}
	if r := l.clean(); len(r.Problems) > 0 {
		t.Error(r.Problems)
	}

	asked := l.tax.count(tax.Register)
	if _, err := l.engine.RetryReceipt(t.Context(), p.ID); err != nil { // nothing has changed
		t.Fatal(err)
	}
	l.eventually("the tax service was asked again", func() bool { return l.tax.count(tax.Register) != asked })
	l.untilReceipt(s, session.Refused)
	if n := l.alarmed("receipt_refused"); n != 1 {
		t.Errorf("%d alarms after it was refused for the same reason", n)
	}
	l.tax.mu.Lock()
	l.tax.meets, l.tax.unlinked = nil, map[string]bool{}
	l.tax.mu.Unlock()
	if _, err := l.engine.RetryReceipt(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	l.untilReceipt(s, session.Registered)
	if _, err := l.engine.RetryReceipt(t.Context(), p.ID); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("retry of what is registered: %v", err)
	}
	if n := l.promised(s, session.PaymentFinished); n != 1 {
		t.Errorf("%d payment_finished", n)
	}
	l.clean()
}

// A refused receipt is tried again every day.
func TestReceiptRefusedIsTriedDaily(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.SingleRequest = true })
	l.start()
	l.tax.set(func(q tax.Question) trouble { l.tax.unlinked[innLinked] = q.Kind == tax.Register; return noTrouble })
	s := l.initFiscal(innLinked, 10_000)
	l.untilReceipt(s, session.Refused)
	l.tax.mu.Lock()
	l.tax.meets, l.tax.unlinked = nil, map[string]bool{}
	l.tax.mu.Unlock()
	l.advance(receiptAgain)
	l.untilReceipt(s, session.Registered)
	l.clean()
}

// A payout that comes back takes its receipt with it, whenever that is; unless
// the project keeps receipts.
func TestReturnCancelsTheReceipt(t *testing.T) {
	back := func(l *lab, s id.Session) rail.Return {
		p := l.payout(s)
		return rail.Return{Reference: "R-1", Payment: p.Reference, Amount: *p.Amount(), At: l.clock.Now()}
	}
	for _, c := range []struct {
		name string
		what trouble // of the registration, until the money has come back
		keep bool
		want session.ReceiptState
		made int // receipts in all
	}{
		{"registered", noTrouble, false, session.Annulled, 1},
		{"registered, kept", noTrouble, true, session.Registered, 1},
		{"under way, made", isLost, false, session.Annulled, 1},
		{"under way, not made", isDown, false, session.Annulled, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, func(p *partner.Project) { p.SingleRequest, p.KeepReceipts = true, c.keep })
			l.tax.on(tax.Register, c.what)
			l.start()
			s := l.initFiscal(innLinked, 10_000)
			l.until(s, session.Paid)
			if c.what == noTrouble {
				l.untilReceipt(s, session.Registered)
			} else {
				l.untilReceipt(s, session.Registering)
			}
			if _, err := l.engine.TakeReturn(t.Context(), l.payout(s).Rail, back(l, s)); err != nil {
				t.Fatal(err)
			}
			l.tax.set(nil)
			first := l.receive(session.PaymentFinished, s)
			if strings.Contains(string(first.body), "refunds") {
				t.Errorf("payment_finished tells of the return: %s", first.body)
			}
			l.receive(session.PaymentRefunded, s)
			p := l.untilReceipt(s, c.want)
			made := l.tax.of(p.ID.String())
			if len(made) != c.made || made[0].Cancelled == c.keep {
				t.Errorf("receipts: %+v", made)
			}
			if shown := receiptIn(t, l.status(s)); (shown.ID != "") != c.keep {
				t.Errorf("shown: %+v", shown)
			}
			l.clean()
		})
	}
	t.Run("before the final answer", func(t *testing.T) {
		l := newLab(t, func(p *partner.Project) { p.SingleRequest = true })
		says := make(chan rail.Outcome)
		l.rails[instrument.KindAccount].set(func(ctx context.Context, _ rail.Order, _ rail.Opener) (rail.Outcome, error) { return <-says, nil })
		l.start()
		s := l.initFiscal(innLinked, 10_000)
		l.until(s, session.Sent)
		if _, err := l.engine.TakeReturn(t.Context(), l.payout(s).Rail, back(l, s)); err != nil {
			t.Fatal(err)
		}
		says <- rail.Outcome{Status: rail.Succeeded}
		l.receive(session.PaymentFinished, s)
		l.receive(session.PaymentRefunded, s)
		p := l.untilReceipt(s, session.Released) // it was never asked for
		if n := l.tax.count(tax.Register); n != 0 || len(l.tax.of(p.ID.String())) != 0 {
			t.Errorf("asked %d times to register what had come back", n)
		}
		l.clean()
	})
	t.Run("the service refuses to cancel", func(t *testing.T) {
		l := newLab(t, func(p *partner.Project) { p.SingleRequest = true })
		l.start()
		s := l.initFiscal(innLinked, 10_000)
		l.untilReceipt(s, session.Registered)
		l.tax.mu.Lock()
		made := l.tax.receipts
		l.tax.receipts = nil
		l.tax.mu.Unlock()
		if _, err := l.engine.TakeReturn(t.Context(), l.payout(s).Rail, back(l, s)); err != nil {
			t.Fatal(err)
		}
		l.eventually("there is an alarm", func() bool { return l.alarmed("receipt_not_cancelled") != 0 })
		if n := l.alarmed("receipt_not_cancelled"); n != 1 {
			t.Fatalf("%d alarms", n)
		}
		l.clean()
		l.tax.mu.Lock()
		l.tax.receipts = made
		l.tax.mu.Unlock()
		if _, err := l.engine.RetryReceipt(t.Context(), l.payout(s).ID); err != nil {
			t.Fatal(err)
		}
		l.untilReceipt(s, session.Annulled)
		l.clean()
	})
}

// What is to be undone while its registration is asked for is asked on by whoever
// does that, and by nobody beside: one of two would ask for it after the other has
// had it cancelled.
func TestUndoneRegistrationHasOneAsker(t *testing.T) {
	for name, undo := range map[string]func(*lab, id.Session, session.Payout) error{
		"cancelled": func(l *lab, s id.Session, _ session.Payout) error {
			_, err := l.engine.CancelReceipt(l.Context(), l.call(), wire.Request{Session: s})
			return err
		},
		"returned": func(l *lab, _ id.Session, p session.Payout) error {
			_, err := l.engine.TakeReturn(l.Context(), p.Rail, rail.Return{Reference: "R-1", Payment: p.Reference, Amount: *p.Amount(), At: l.clock.Now()})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, s, p := registering(t)
			before := l.tasks()
			if err := undo(l, s, p); err != nil {
				t.Fatal(err)
			}
			l.untilReceipt(s, session.Undoing)
			if after := l.tasks(); !reflect.DeepEqual(after, before) {
				t.Errorf("the task is %+v, it was %+v", after, before)
			}
			l.tax.set(nil)
			l.start()
			l.untilReceipt(s, session.Annulled)
			if made := l.tax.of(p.ID.String()); len(made) != 1 || !made[0].Cancelled {
				t.Errorf("receipts: %+v", made)
			}
			l.clean()
		})
	}
}

// Who has lost the task of a receipt does not ask for it any more.
func TestTakenOverRegistrationIsNotAskedFor(t *testing.T) {
	l, s, _ := registering(t)
	w, asked := l.engine.tasksWorker, l.tax.count(tax.Register)
	lost := &job{Task: l.tasks()[0]}
	lost.Fence = l.session(s).Fence
	w.hold(lost)
	if taken, err := l.store.ClaimTasks(t.Context(), "another", l.clock.Now().Add(time.Hour), w.real(), time.Minute, 1); err != nil || len(taken) != 1 {
		t.Fatalf("%+v, %v", taken, err)
	}
	w.work(t.Context(), lost, ignore)
	if n := l.tax.count(tax.Register); n != asked {
		t.Errorf("the tax service was asked %d times after %d", n, asked)
	}
	if w.counts(lost) {
		t.Error("it keeps the task")
	}
}

// registering is a paid payout whose receipt is under way while nobody works.
func registering(t *testing.T) (*lab, id.Session, session.Payout) {
	l := newLab(t, func(p *partner.Project) { p.SingleRequest = true })
	l.tax.on(tax.Register, isDown)
	l.start()
	s := l.initFiscal(innLinked, 10_000)
	l.untilReceipt(s, session.Registering)
	l.advance(receiptHold)
	l.receive(session.PaymentFinished, s)
	l.close()
	l.open()
	return l, s, l.payout(s)
}

// A receipt without a payout: no money moves, and it is the receipt that decides.
func TestReceiptAlone(t *testing.T) {
	fiscal := func(inn string) string { return fiscalBody(`{"metadata":1}`, inn, 10_000) }
	t.Run("made", func(t *testing.T) {
		l := newLab(t)
		l.start()
		s, err := l.alone(fiscal(innLinked))
		if err != nil {
			t.Fatal(err)
		}
		h := l.receive(session.PaymentFinished, s)
		p := l.payout(s)
		if receiptIn(t, h.body).ID == "" || p.State != session.Paid || p.Details.Instrument != nil || p.Amount().Minor != 10_000 || l.available() != 100_000 {
			t.Errorf("told %s; available %d", h.body, l.available())
		}
		if r := l.clean(); r.Entries != 1 { // the deposit
			t.Errorf("%d entries", r.Entries)
		}
		if a, err := l.engine.CancelReceipt(t.Context(), l.call(), wire.Request{Session: s}); err != nil || receiptIn(t, a.Body).ID != "" {
			t.Fatalf("cancel: %s, %v", a.Body, err)
		}
		l.untilReceipt(s, session.Annulled)
		if made := l.tax.of(p.ID.String()); len(made) != 1 || !made[0].Cancelled {
			t.Errorf("receipts: %+v", made)
		}
		if _, err := l.engine.CancelReceipt(t.Context(), l.call(), wire.Request{Session: s}); fault.CodeOf(err) != fault.WrongState {
			t.Errorf("cancelled twice: %v", err)
		}
		l.clean()
	})
	for _, c := range []struct {
		name, inn string
		setup     func(*lab)
		want      fault.Code
	}{
		{"nobody", innNobody, func(*lab) {}, "taxpayer_unknown"},
		{"unlinked in between", innLinked, func(l *lab) {
			l.tax.set(func(q tax.Question) trouble { l.tax.unlinked[innLinked] = q.Kind == tax.Register; return noTrouble })
		}, "taxpayer_not_bound"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			c.setup(l)
			l.start()
			s, err := l.alone(fiscal(c.inn))
			if err != nil {
				t.Fatal(err)
			}
			h := l.receive(session.PaymentFinished, s)
			if h.Session.Status != "cancelled" || !strings.Contains(string(h.body), fmt.Sprintf(`"error":{"code":%q`, c.want)) {
				t.Errorf("told %s", h.body)
			}
			l.untilReceipt(s, session.Released)
			if i := l.income(c.inn); i.Held+i.Asked+i.Registered != 0 {
				t.Errorf("counted: %+v", i)
			}
			l.clean()
		})
	}
	t.Run("nobody knows for long", func(t *testing.T) {
		l := newLab(t)
		l.tax.on(tax.Register, isLost)
		l.start()
		s, err := l.alone(fiscal(innLinked))
		if err != nil {
			t.Fatal(err)
		}
		l.untilReceipt(s, session.Registering)
		l.advance(time.Hour) // never failed by time: it may have been made
		l.eventually("the tax service was asked three times", func() bool { return l.tax.count(tax.Register) >= 3 })
		if p := l.payout(s); p.State != session.Checking {
			t.Errorf("it is %s", p.State)
		}
		l.clean()
		l.tax.set(nil)
		l.receive(session.PaymentFinished, s)
		if p := l.payout(s); len(l.tax.of(p.ID.String())) != 1 || p.State != session.Paid {
			t.Errorf("it is %s", p.State)
		}
		l.clean()
	})
}

// A receipt without a payout fails only when the service says for sure that it
// has made none, whatever it has said before of the same operation.
func TestReceiptAloneFailsWhenThereIsNone(t *testing.T) {
	const made fault.Code = ""
	for _, c := range []struct {
		name    string
		meets   []trouble // what each try to register meets; nobody knows after any of them
		leaves  bool      // then the person takes the consent back
		receipt bool      // whether the service had made one
		want    fault.Code
	}{
		{"fails", []trouble{hasFailed, hasFailed, hasFailed}, false, false, made},
		{"made, and fails when asked again", []trouble{isLost, hasFailed}, false, true, made},
		{"made for another, it says, and fails", []trouble{liesOfAnother, hasFailed}, false, true, made},
		{"made, panics, and fails", []trouble{isLost, panics, hasFailed}, false, true, made},
		{"made, and refused oddly", []trouble{refusesOddly, hasFailed}, false, true, made},
		{"made, fails, unlinked", []trouble{isLost, hasFailed}, true, true, made},
		{"away, fails, unlinked", []trouble{isDown, hasFailed}, true, false, "taxpayer_not_bound"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			s, err := l.alone(fiscalBody(`{"metadata":1}`, innLinked, 10_000))
			if err != nil {
				t.Fatal(err)
			}
			l.workOn(s) // clears
			l.workOn(s) // commits the intent
			for n, what := range c.meets {
				l.tax.on(tax.Register, what)
				l.workOn(s)
				if p := l.payout(s); p.State != session.Checking || p.Receipt.State != session.Registering || l.promised(s, session.PaymentFinished) != 0 {
					t.Fatalf("after try %d it is %s, its receipt %s", n, p.State, p.Receipt.State)
				}
				l.clean()
			}
			l.tax.set(nil)
			l.tax.unlinked[innLinked] = c.leaves
			p := l.payout(s)
			if n := len(l.tax.of(p.Operation())); (n == 1) != c.receipt {
				t.Fatalf("%d receipts", n)
			}
			for len(l.tasks()) > 0 {
				l.workOn(s)
			}
			p = l.payout(s)
			receipts := l.tax.of(p.Operation())
			if c.want == made {
				if p.State != session.Paid || p.Receipt.State != session.Registered || len(receipts) != 1 || receipts[0].ID != p.Receipt.ID {
					t.Errorf("it is %s, its receipt %s; receipts %+v", p.State, p.Receipt.State, receipts)
				}
			} else if p.State != session.Failed || p.Failure.Code != c.want || p.Receipt.State != session.Released || len(receipts) != 0 {
				t.Errorf("it is %s, its receipt %s; receipts %+v", p.State, p.Receipt.State, receipts)
			}
			if n := l.promised(s, session.PaymentFinished); n != 1 {
				t.Errorf("%d payment_finished", n)
			}
			l.clean()
		})
	}
}

func TestFiscalRefusals(t *testing.T) {
	l := newLab(t)
	strict := func(p *partner.Project) { p.StrictReceipts = true }
	for _, c := range []struct {
		name   string
		change func(*partner.Project)
		body   string
		want   fault.Code
		says   string
	}{
		{"no right", func(p *partner.Project) { p.SelfEmployed = false }, fiscalBody(cardBody(100), innLinked, 100), fault.Unauthorized, "not enabled"},
		{"another sum", nil, fiscalBody(cardBody(100), innLinked, 99), "", ""},
		{"another sum, strictly", strict, fiscalBody(cardBody(100), innLinked, 99), fault.Invalid, "0.99 RUB"},
		{"the same sum, strictly", strict, fiscalBody(cardBody(100), innLinked, 100), "", ""},
		{"no name", nil, fiscalBody(`{"payout_details":{"type":"wallet","wallet":{"type":"yoomoney","yoomoney":{"account":"4100100200300"}}},`+
			`"amount_details":{"amount":100,"currency":"rub"}}`, innLinked, 100), fault.Invalid, "participant_details.recipient.full_name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			call := l.call()
			project := *call.Project
			if c.change != nil {
				c.change(&project)
			}
			call.Project = &project
			_, err := l.tryFiscal(call, c.body)
			if c.want == "" && err != nil || c.want != "" && (fault.CodeOf(err) != c.want || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("error %v, want %s with %q", err, c.want, c.says)
			}
		})
	}
}

// The deadline is told once before it passes, and once when it has.
func TestReceiptDeadline(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.SingleRequest = true })
	l.tax.on(tax.Register, isDown)
	l.start()
	s := l.initFiscal(innLinked, 10_000)
	l.untilReceipt(s, session.Registering)
	end := l.payout(s).Receipt.Deadline()
	to := func(at time.Time) { l.advance(at.Sub(l.clock.Now())) }
	told := func(soon, overdue int) {
		t.Helper()
		asked := l.tax.count(tax.Register)
		l.eventually("the tax service was asked twice more", func() bool { return l.tax.count(tax.Register) >= asked+2 })
		if a, b := l.alarmed("receipt_due_soon"), l.alarmed("receipt_overdue"); a != soon || b != overdue {
			t.Errorf("%d alarms before and %d after the deadline, want %d and %d", a, b, soon, overdue)
		}
	}
	told(0, 0)
	to(end.Add(-receiptSoon - time.Hour))
	told(0, 0)
	to(end.Add(-receiptSoon))
	told(1, 0)
	to(end.Add(-time.Minute))
	told(1, 0)
	to(end)
	told(1, 1)
	to(end.AddDate(1, 0, 0))
	told(1, 1)
	l.tax.set(nil)
	l.untilReceipt(s, session.Registered)
	l.clean()
}

func TestReceiptDeadlineIsMoscows(t *testing.T) {
	for _, c := range []struct{ earned, want string }{
		{"2026-01-15T12:00:00Z", "2026-02-09T21:00:00Z"},
		{"2026-01-31T20:59:59Z", "2026-02-09T21:00:00Z"}, // the last second of January in Moscow
		{"2026-01-31T21:00:00Z", "2026-03-09T21:00:00Z"},
		{"2026-12-31T20:59:59Z", "2027-01-09T21:00:00Z"},
		{"2026-12-31T21:00:00Z", "2027-02-09T21:00:00Z"},
	} {
		at, err := time.Parse(time.RFC3339, c.earned)
		if err != nil {
			t.Fatal(err)
		}
		r := session.Receipt{EarnedAt: at}
		if got := r.Deadline().Format(time.RFC3339); got != c.want {
			t.Errorf("earned at %s: until %s, want %s", c.earned, got, c.want)
		}
	}
}

// What is earned in another year than it was reserved in counts in that year.
func TestYearTurns(t *testing.T) {
	l := newLab(t)
	now := l.clock.Now().In(tax.Moscow)
	turn := time.Date(now.Year()+1, 1, 1, 0, 0, 0, 0, tax.Moscow)
	l.clock.advance(turn.Add(-time.Hour).Sub(l.clock.Now()))
	l.start()
	s := l.initFiscal(innLinked, 10_000)
	l.receive(session.ReadyToConfirm, s)
	l.clean()
	l.advance(time.Hour + time.Minute)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	l.receive(session.PaymentFinished, s)
	l.untilReceipt(s, session.Registered)
	if i := l.income(innLinked); i.Registered != 10_000 {
		t.Errorf("the new year: %+v", i)
	}
	old, err := l.store.Income(t.Context(), store.IncomeKey{INN: innLinked, Year: now.Year()})
	if err != nil || old.Held+old.Asked+old.Registered != 0 {
		t.Errorf("the old year: %+v, %v", old, err)
	}
	l.clean()
}

// Each kind of difference is found, and told once however often it is found.
func TestCompareReceipts(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.SingleRequest = true })
	l.start()
	pay := func() session.Payout {
		s := l.initFiscal(innLinked, 10_000)
		return l.untilReceipt(s, session.Registered)
	}
	fine, missing, other, gone := pay(), pay(), pay(), pay()
	l.tax.on(tax.Register, isDown)
	open := l.untilReceipt(l.initFiscal(innLinked, 10_000), session.Registering)
	l.tax.mu.Lock()
	l.tax.receipts = slices.DeleteFunc(l.tax.receipts, func(r tax.Receipt) bool { return r.Operation == missing.Operation() })
	for i := range l.tax.receipts {
		switch r := &l.tax.receipts[i]; r.Operation {
		case other.Operation():
			r.Amount.Minor++
		case gone.Operation():
			r.Cancelled = true
		}
	}
	l.tax.receipts = append(l.tax.receipts, tax.Receipt{
		INN: innLinked, Operation: "po_1", ID: "stranger", Amount: money.Amount{Minor: 5, Currency: money.RUB}, At: l.clock.Now(),
	})
	l.tax.mu.Unlock()
	want := map[DifferenceKind]id.Payout{
		ReceiptMissing: missing.ID, ReceiptOther: other.ID, ReceiptGone: gone.ID, ReceiptOpen: open.ID, ReceiptUnknown: 0,
	}
	for range 2 {
		found, err := l.engine.CompareReceipts(t.Context(), l.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != len(want) {
			t.Errorf("found %+v", found)
		}
		for _, d := range found {
			if p, ok := want[d.Kind]; !ok || p != d.Payout || d.Payout == fine.ID {
				t.Errorf("found %+v", d)
			}
		}
	}
	for kind := range want {
		if n := l.alarmed(string(kind)); n != 1 {
			t.Errorf("%s: %d alarms", kind, n)
		}
	}
	if found, err := l.engine.CompareReceipts(t.Context(), l.clock.Now().AddDate(0, 0, -1)); err != nil || len(found) > 0 {
		t.Errorf("the day before: %+v, %v", found, err)
	}
	l.tax.set(func(tax.Question) trouble { return hasFailed })
	if _, err := l.engine.CompareReceipts(t.Context(), l.clock.Now()); fault.CodeOf(err) != fault.Busy {
		t.Errorf("a service that fails: %v", err)
	}
}

// Each day that is over is compared by itself, once.
func TestCompareDaily(t *testing.T) {
	l := newLab(t)
	now := l.clock.Now()
	l.clock.advance(dayOf(now).AddDate(0, 0, 1).Add(12 * time.Hour).Sub(now)) // noon: no day ends meanwhile
	l.start()
	// A day is done once that is written down; one that was only asked about is
	// asked about again by the next run.
	until := func(n int) {
		t.Helper()
		var all uncompared
		for back := range compareDays {
			all.days = append(all.days, dayOf(l.clock.Now()).AddDate(0, 0, -back-1).Format(time.DateOnly))
		}
		for end := time.Now().Add(patience); ; {
			if err := l.engine.report(t.Context(), &all); err != nil {
				t.Fatal(err)
			}
			if len(all.left) == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("not compared after %v: %q", patience, all.left)
			}
		}
		if got := l.tax.count(tax.ListReceipts); got != n {
			t.Errorf("asked about %d days, want %d", got, n)
		}
	}
	l.advance(0)
	until(compareDays)
	l.close()
	l.open()
	l.start()
	l.advance(24 * time.Hour)
	until(compareDays + 1)
}

// The limit of one person is shared by all projects and nodes, and is hit to the
// kopeck.
func TestLimitIsHitExactly(t *testing.T) {
	onEngines(t, func(t *testing.T, open func() (store.Store, error)) {
		limitIsHitExactly(t, newLabOn(t, open, func(p *partner.Project) { p.SingleRequest, p.Webhook, p.Credit = true, "", 1<<40 }))
	})
}

func limitIsHitExactly(t *testing.T, l *lab) {
	const payouts, minor = 200, 50_000_00
	fit := int(tax.IncomeMax.Minor / minor)
	projects := []id.Project{l.project}
	for n := range 3 {
		p := partner.Project{
			ID: id.Project(fmt.Sprint("other-", n)), ServerKey: partner.P256, Methods: instrument.Kinds, SelfEmployed: true,
			SingleRequest: true, Credit: 1 << 40,
		}
		if err := l.engine.CreateProject(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		projects = append(projects, p.ID)
	}
	l.start()
	var (
		all      sync.WaitGroup
		mu       sync.Mutex
		sessions []store.SessionKey
	)
	for n := range payouts {
		all.Go(func() {
			caller, _ := l.engine.Caller(projects[n%len(projects)])
			c := Call{Project: caller.Project, Version: 2}
			body := fiscalBody(accountBody("40817810500000012345", minor), innLinked, minor)
			r, err := wire.Parse(wire.OpInitFiscal, 2, c.Project, []byte(body))
			if err != nil {
				t.Error(err)
				return
			}
			a, err := l.engine.Init(t.Context(), c, r)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			sessions = append(sessions, c.key(l.sessionOf(a)))
		})
	}
	all.Wait()
	paid, refused := 0, map[fault.Code]int{}
	for _, k := range sessions {
		var p *session.Payout
		l.eventually("a payout and its receipt have ended", func() bool {
			s, err := l.store.Session(t.Context(), k)
			if err != nil {
				t.Fatal(err)
			}
			p = &s.Payouts[0]
			return p.State.Final() && !p.Receipt.State.Open()
		})
		if p.State == session.Paid {
			paid++
		} else {
			refused[p.Failure.Code]++
		}
	}
	if paid != fit || refused["taxpayer_income_exceeds_amount_limit"] != payouts-fit {
		t.Errorf("%d paid, want %d; refused %v", paid, fit, refused)
	}
	if i := l.income(innLinked); i.Held != 0 || i.Asked != 0 || i.Registered != tax.IncomeMax.Minor {
		t.Errorf("counted: %+v", i)
	}
	l.tax.mu.Lock()
	if got := l.tax.income(innLinked, tax.YearOf(l.clock.Now())); got != tax.IncomeMax.Minor {
		t.Errorf("the tax service counts %d", got)
	}
	l.tax.mu.Unlock()
	l.clean()
}
