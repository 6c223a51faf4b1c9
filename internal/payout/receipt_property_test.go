package payout

import (
	"context"
	"flag"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

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

// Whatever the tax service does and whenever the program dies: no payout has two
// receipts, none is lost, nobody earns more than the limit, and the end is told
// once. The sequences begin in every state of a receipt: chance alone leaves some
// out.
func TestAnySequenceMakesOneReceipt(t *testing.T) {
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		if err := checks.Value.Set("5"); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = checks.Value.Set(checks.DefValue) }()
	}
	for _, from := range session.ReceiptStates {
		t.Run(string(from), func(t *testing.T) { anySequenceMakesOneReceipt(t, from) })
	}
}

func anySequenceMakesOneReceipt(t *testing.T, from session.ReceiptState) {
	rapid.Check(t, func(rt *rapid.T) {
		keep := rapid.Bool().Draw(rt, "receipts are kept")
		l := newLab(t, func(p *partner.Project) {
			p.Webhook, p.KeepReceipts, p.SingleRequest = "", keep, rapid.Bool().Draw(rt, "single request")
		})
		defer l.close()
		l.tax.others[innLinked] = tax.IncomeMax.Minor - 50_000
		m := &receiptModel{lab: l, rt: rt, stays: map[id.Payout]bool{}}
		l.tax.set(m.meet)
		m.lead(from)
		rt.Repeat(map[string]func(*rapid.T){
			"start": func(rt *rapid.T) { m.rt = rt; m.begin() },
			"work":  func(rt *rapid.T) { m.rt = rt; m.work() },
			"work more": func(rt *rapid.T) {
				m.rt = rt
				for range 4 {
					m.work()
				}
			},
			"partner": func(rt *rapid.T) { m.rt = rt; m.partner() },
			"return":  func(rt *rapid.T) { m.rt = rt; m.giveBack() },
			"person": func(rt *rapid.T) {
				l.tax.unlinked[innLinked] = rapid.SampledFrom([]bool{false, false, true}).Draw(rt, "unlinked")
			},
			"clock": func(rt *rapid.T) {
				l.clock.advance(time.Duration(rapid.IntRange(0, 100).Draw(rt, "seconds")) * time.Second)
			},
			"reopen": func(*rapid.T) { l.close(); l.open() },
			"":       func(rt *rapid.T) { m.rt = rt; m.invariants() },
		})
		m.rt = rt
		m.drain(keep)
	})
}

type receiptModel struct {
	*lab
	rt       *rapid.T
	sessions []id.Session
	stays    map[id.Payout]bool // whose receipt the partner has had cancelled
	kill     func()             // ends what is under way, as a crash does
	giveUp   func()             // ends a task that waits for another one
	incomes  int                // how often a task has asked what a person earns
}

// incomesMax is after how many looks at the income a task has waited in vain:
// the model does one task at a time, so what is under way stays so.
const incomesMax = 3

// meet draws what a call of the tax service meets with. A crash comes after the
// service has done what it was asked.
func (m *receiptModel) meet(q tax.Question) trouble {
	if q.Kind == tax.GetIncome {
		if m.incomes++; m.incomes > incomesMax {
			m.giveUp()
		}
	}
	if m.kill == nil { // not under way: the drain
		return noTrouble
	}
	what := rapid.SampledFrom([]trouble{
		noTrouble, noTrouble, noTrouble, noTrouble, noTrouble, isDown, isLost, isSlow, isForgetful, hasFailed, liesOfAnother, refusesOddly,
		panics,
	}).Draw(m.rt, "trouble")
	if rapid.IntRange(0, 9).Draw(m.rt, "crash") == 0 {
		m.kill()
	}
	return what
}

// lead brings the receipt of a payout to a state, without trouble.
func (m *receiptModel) lead(to session.ReceiptState) {
	s := m.initFiscal(innLinked, 10_000)
	m.sessions = append(m.sessions, s)
	until := func(want session.ReceiptState) {
		for range 10 {
			if m.payout(s).Receipt.State == want {
				return
			}
			_ = m.confirm(s) // once it can be
			for _, task := range m.tasks() {
				if task.Kind != store.TaskExpire {
					m.do(m.Context(), task)
				}
			}
		}
		if has := m.payout(s).Receipt.State; has != want {
			m.rt.Fatalf("the receipt is %s, want %s", has, want)
		}
	}
	withdraw := func() {
		if _, err := m.engine.CancelReceipt(m.Context(), m.call(), wire.Request{Session: s}); err != nil {
			m.rt.Fatal(err)
		}
		m.stays[m.payout(s).ID] = true
	}
	switch to {
	case session.Refused:
		until(session.Registering)
		m.tax.unlinked[innLinked] = true
	case session.Undoing:
		until(session.Registering)
		withdraw()
	case session.Cancelling, session.Annulled:
		until(session.Registered)
		withdraw()
	case session.Releasing, session.Released: // the payout fails
		m.tax.unlinked[innLinked] = true
	}
	until(to)
	m.tax.unlinked[innLinked] = false
}

func (m *receiptModel) begin() {
	minor := rapid.Int64Range(1, 30).Draw(m.rt, "minor") * 1000
	if rapid.IntRange(0, 4).Draw(m.rt, "alone") == 0 {
		s, err := m.alone(fiscalBody(`{"metadata":1}`, innLinked, minor))
		if err != nil {
			m.rt.Fatal(err)
		}
		m.sessions = append(m.sessions, s)
		return
	}
	m.sessions = append(m.sessions, m.initFiscal(innLinked, minor))
}

// one draws a session.
func (m *receiptModel) one() *session.Session {
	if len(m.sessions) == 0 {
		return nil
	}
	return m.session(rapid.SampledFrom(m.sessions).Draw(m.rt, "session"))
}

// work does one task, as a worker does it that may die on the way.
func (m *receiptModel) work() {
	tasks := m.tasks()
	if len(tasks) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(m.Context())
	defer cancel()
	m.kill = cancel
	defer func() { m.kill = nil }()
	m.do(ctx, rapid.SampledFrom(tasks).Draw(m.rt, "task"))
}

func (m *receiptModel) do(ctx context.Context, task store.Task) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.giveUp, m.incomes = cancel, 0
	s := m.session(task.Session)
	task.Fence = s.Fence
	p := &s.Payouts[0]
	with := errand{project: m.call().Project, task: task}
	w := m.engine.tasksWorker
	var err error
	switch task.Kind {
	case store.TaskClear:
		err = w.clear(ctx, with, p)
	case store.TaskReceipt:
		err = w.receipt(ctx, with, p)
	case store.TaskCheck:
		err = w.check(ctx, with, p)
	case store.TaskSend:
		err = w.report(ctx, &intent{errand: with})
	case store.TaskQuery:
		says := rail.Succeeded
		if m.kill != nil {
			says = rapid.SampledFrom([]rail.Status{rail.Succeeded, rail.Succeeded, rail.Failed, rail.Unknown}).Draw(m.rt, "rail")
		}
		err = w.report(ctx, &outcome{errand: with, asked: m.engine.now(), says: rail.Outcome{Status: says, Code: rail.IssuerDeclined}})
	case store.TaskExpire:
		if m.kill == nil {
			err = w.report(ctx, &expire{with})
		}
	}
	if err != nil && ctx.Err() == nil {
		switch fault.CodeOf(err) {
		case fault.Stale, fault.WrongState, fault.NotFound:
		default:
			m.rt.Fatalf("%s of %s: %v", task.Kind, task.Payout, err)
		}
	}
	if err := m.engine.flush(m.Context()); err != nil { // what a dead worker has left in the queue
		m.rt.Fatal(err)
	}
}

func (m *receiptModel) partner() {
	s := m.one()
	if s == nil {
		return
	}
	switch rapid.SampledFrom([]string{"confirm", "confirm", "confirm", "cancel", "cancel receipt"}).Draw(m.rt, "partner") {
	case "confirm":
		_ = m.confirm(s.ID)
	case "cancel":
		_ = m.cancel(s.ID)
	case "cancel receipt":
		if _, err := m.engine.CancelReceipt(m.Context(), m.call(), wire.Request{Session: s.ID}); err == nil {
			m.stays[s.Payouts[0].ID] = true
		}
	}
}

func (m *receiptModel) giveBack() {
	s := m.one()
	if s == nil || s.Payouts[0].SentAt.IsZero() {
		return
	}
	p := &s.Payouts[0]
	_, err := m.engine.TakeReturn(m.Context(), p.Rail, rail.Return{
		Reference: "R" + p.Reference, Payment: p.Reference, Amount: money.Amount{Minor: p.Minor(), Currency: money.RUB}, At: m.clock.Now(),
	})
	if err != nil {
		m.rt.Fatal(err)
	}
}

func (m *receiptModel) invariants() {
	r, err := Check(m.Context(), m.store)
	if err != nil || !r.Clean() {
		m.rt.Fatalf("the books are not clean: %v, %q", err, r.Problems)
	}
	seen := map[string]bool{}
	for _, r := range m.tax.receipts {
		if seen[r.Operation] || !strings.HasPrefix(r.Operation, "po_") {
			m.rt.Fatalf("receipts %+v", m.tax.receipts)
		}
		seen[r.Operation] = true
	}
	i := m.income(innLinked)
	if others := m.tax.others[innLinked]; others+i.Held > tax.IncomeMax.Minor {
		m.rt.Fatalf("%d is reserved beside %d", i.Held, others)
	}
	for _, n := range m.sessions {
		p := m.payout(n)
		if p.Receipt.Denied == tax.LimitExceeded {
			m.rt.Fatalf("payout %s was paid and exceeds the limit", p.ID)
		}
	}
}

// drain lets everything come to its end with a tax service that works.
func (m *receiptModel) drain(keep bool) {
	m.tax.unlinked = map[string]bool{}
	for range 100 {
		tasks := m.tasks()
		if len(tasks) == 0 {
			break
		}
		for _, task := range tasks {
			m.do(m.Context(), task)
		}
		m.clock.advance(time.Minute)
	}
	if tasks := m.tasks(); len(tasks) > 0 {
		m.rt.Fatalf("never done: %+v", tasks)
	}
	m.invariants()
	for _, n := range m.sessions {
		p := m.payout(n)
		valid := 0
		for _, r := range m.tax.of(p.Operation()) {
			if !r.Cancelled {
				valid++
			}
		}
		want := 0
		if p.State == session.Paid || p.State == session.Returned && keep {
			want = 1
		}
		if m.stays[p.ID] {
			want = 0
		}
		if valid != want || (p.Receipt.State == session.Registered) != (want == 1) {
			m.rt.Fatalf("payout %s is %s, its receipt %s, and %d receipts hold", p.ID, p.State, p.Receipt.State, valid)
		}
		if told := m.promised(n, session.PaymentFinished); told != 1 {
			m.rt.Fatalf("%d payment_finished of %s", told, n)
		}
	}
	if i := m.income(innLinked); i.Held != 0 || i.Asked != 0 {
		m.rt.Fatalf("still counted: %+v", i)
	}
	if found, err := m.engine.CompareReceipts(m.Context(), m.clock.Now()); err != nil || len(found) > 0 {
		m.rt.Fatalf("compared: %+v, %v", found, err)
	}
}
