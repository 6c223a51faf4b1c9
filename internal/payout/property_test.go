package payout

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
)

// Whatever commands come, in whatever order and grouping, right or wrong, the
// books are clean after every batch, nothing is accepted twice, and no partner
// is told two ends.
func TestAnySequenceKeepsTheBooks(t *testing.T) {
	reached := map[session.State]bool{}
	rapid.Check(t, func(rt *rapid.T) {
		l := newLab(t, func(p *partner.Project) {
			fee := partner.Fee{Fixed: 7, PPM: 12_345}
			p.Fees = map[instrument.Kind]partner.Fee{instrument.KindCard: fee, instrument.KindAccount: fee}
			p.ReturnFee = rapid.Bool().Draw(rt, "fee returned")
			p.SingleRequest = rapid.Bool().Draw(rt, "single request")
		})
		defer l.close()
		l.addAccounts()
		m := &model{lab: l, reached: reached, ends: map[id.Payout]string{}}
		rt.Repeat(map[string]func(*rapid.T){
			"batch": func(rt *rapid.T) {
				commands := make([]*pending, rapid.IntRange(1, 8).Draw(rt, "commands"))
				for i := range commands {
					commands[i] = newPending(m.command(rt))
				}
				l.engine.commit(commands)
				for _, c := range commands {
					if code := fault.CodeOf(c.err); c.err != nil && code == fault.Internal {
						rt.Fatalf("%T: %v", c.command, c.err)
					}
				}
			},
			"clock": func(rt *rapid.T) {
				l.clock.advance(time.Duration(rapid.IntRange(0, 300).Draw(rt, "minutes")) * time.Minute)
			},
			"": func(rt *rapid.T) { m.invariants(rt) },
		})
	})
	for _, s := range session.States {
		// What comes after the end takes more right draws in a row than each run
		// has; it has tests of its own.
		if !reached[s] && s != session.Created && s != session.Returned && s != session.Disputed {
			t.Errorf("no sequence reached %s: the test has grown blind", s)
		}
	}
}

// natural is the command that the state of the session waits for.
const natural = "natural"

type model struct {
	*lab
	reached  map[session.State]bool
	sessions []id.Session
	ends     map[id.Payout]string // what the wire has said of ended payouts
}

// command draws one command about one of the sessions so far, or a new one.
func (m *model) command(rt *rapid.T) command {
	e, c := m.engine, m.call()
	c.Key = rapid.SampledFrom([]string{"", "", "", "a", "b"}).Draw(rt, "key")
	c.Replay = c.Key != "" && rapid.Bool().Draw(rt, "replay")
	kind := "init"
	if len(m.sessions) > 0 {
		kind = rapid.SampledFrom([]string{
			natural, natural, natural, natural, natural, natural, "cancel", // in front, for the first are drawn oftener
			"init", "multi", "own", "create", "start", "confirm", "checked", "later", "expire", "intent", "abort",
			"outcome", "returned", "tried", "put off", "replay", "deposit",
		}).Draw(rt, "kind")
	}
	switch kind {
	case "deposit":
		return &deposit{m.project, rapid.SampledFrom([]string{"", settlement, escrow}).Draw(rt, "account"), rapid.Int64Range(1, 5_000).Draw(rt, "minor"), rapid.StringN(1, 2, -1).Draw(rt, "reference")}
	case "multi":
		items := make([]string, rapid.IntRange(2, 4).Draw(rt, "payouts"))
		for i := range items {
			items[i] = cardBody(rapid.Int64Range(1, 40_000).Draw(rt, "minor"))
		}
		number, r := id.Session(e.ids.Next()), m.parse(wire.OpMulti, multiBody(items...))
		m.sessions = append(m.sessions, number)
		payouts, cards := make([]id.Payout, len(r.Items)), make([]*vault.Sealed, len(r.Items))
		for i := range r.Items {
			var err error
			if cards[i], err = e.sealed(context.Background(), c, &r.Items[i]); err != nil {
				rt.Fatal(err)
			}
			payouts[i] = id.Payout(e.ids.Next())
		}
		return e.multi(c, number, payouts, cards, r)
	case "own":
		number, payout := id.Session(e.ids.Next()), id.Payout(e.ids.Next())
		r := m.parse(rapid.SampledFrom([]wire.Op{wire.OpInitRKO, wire.OpInitNominal}).Draw(rt, "source"),
			ownBody(rapid.SampledFrom([]string{settlement, escrow}).Draw(rt, "account"), rapid.Int64Range(1, 60_000).Draw(rt, "minor")))
		m.sessions = append(m.sessions, number)
		return &request{Call: c, account: r.Details.Account, run: func(t *tx) (*session.Session, error) {
			s := t.draft(number, c)
			t.put(s)
			return s, t.begin(s, payout, c, r.Details)
		}}
	case "init", "create":
		number, payout := id.Session(e.ids.Next()), id.Payout(e.ids.Next())
		minor := rapid.Int64Range(1, 60_000).Draw(rt, "minor")
		r := m.parse(wire.OpInit, rapid.SampledFrom([]string{cardBody(minor), accountBody("40817810500000012345", minor)}).Draw(rt, "body"))
		card, err := e.sealed(context.Background(), c, &r)
		if err != nil {
			rt.Fatal(err)
		}
		m.sessions = append(m.sessions, number)
		return &request{Call: c, run: func(t *tx) (*session.Session, error) {
			s := t.draft(number, c)
			s.Draft = r.Details
			t.seal(card)
			t.put(s)
			if kind == "create" {
				return s, nil
			}
			return s, t.begin(s, payout, c, session.Details{})
		}}
	}
	k := m.key(rapid.SampledFrom(m.sessions).Draw(rt, "session"))
	w := errand{project: c.Project, task: store.Task{
		TaskKey: store.TaskKey{SessionKey: k, Kind: rapid.SampledFrom([]store.TaskKind{
			store.TaskCheck, store.TaskExpire, store.TaskSend, store.TaskQuery,
		}).Draw(rt, "task")},
		Fence: rapid.SampledFrom([]int64{0, 0, 0, 1}).Draw(rt, "fence"),
	}}
	var minor int64 // of the payout
	if s, err := m.store.Session(m.Context(), k); err == nil && len(s.Payouts) > 0 {
		p := &s.Payouts[rapid.IntRange(0, len(s.Payouts)-1).Draw(rt, "payout")]
		w.task.Payout, minor = p.ID, p.Minor()
		m.reached[p.State] = true
		if kind == natural {
			w.task.Kind, w.task.Fence = taskOf(p.State), s.Fence
			kind = map[store.TaskKind]string{
				store.TaskCheck: "checked", store.TaskExpire: "confirm", store.TaskSend: "intent", store.TaskQuery: "outcome",
			}[w.task.Kind]
			switch p.State {
			case session.Awaiting:
				kind = rapid.SampledFrom([]string{"confirm", "confirm", "cancel"}).Draw(rt, "decision")
			case session.Paid:
				kind = rapid.SampledFrom([]string{"returned", "outcome"}).Draw(rt, "after the end")
			case session.Failed:
				kind = "outcome"
			}
		}
	} else if kind == natural {
		kind = "start"
	}
	ask := func(money bool, run func(*tx, *session.Session) error) command {
		return &request{Call: c, session: k, money: money, run: func(t *tx) (*session.Session, error) {
			s, err := t.session(k)
			if err != nil {
				return nil, err
			}
			t.put(s)
			return s, run(t, s)
		}}
	}
	switch kind {
	case "start":
		payout := id.Payout(e.ids.Next())
		r := m.parse(wire.OpStart, fmt.Sprintf(`{"session_id":%q%s`, k.Session, rapid.SampledFrom([]string{
			"}", "," + cardBody(100)[1:], "," + accountBody("40817810500000012345", 100)[1:],
		}).Draw(rt, "other details")))
		card, err := e.sealed(context.Background(), c, &r)
		if err != nil {
			rt.Fatal(err)
		}
		return ask(false, func(t *tx, s *session.Session) error {
			t.seal(card)
			return t.begin(s, payout, c, r.Details)
		})
	case "confirm":
		return ask(false, func(t *tx, s *session.Session) error { _, err := t.confirm(s, c, informed(s)); return err })
	case "cancel":
		return ask(true, func(t *tx, s *session.Session) error { _, err := t.cancel(s, c); return err })
	case "replay":
		return &replay{c.Project, store.EventKey{SessionKey: k, N: rapid.IntRange(1, 2).Draw(rt, "event")}}
	case "tried":
		return &tried{
			project: c.Project, event: store.EventKey{SessionKey: k, N: rapid.IntRange(1, 2).Draw(rt, "event")},
			at: e.now(), result: webhook.Result{OK: rapid.Bool().Draw(rt, "delivered")},
		}
	}
	if kind == "put off" {
		e := webhook.Event{Project: k.Project, Session: k.Session, N: rapid.IntRange(1, 2).Draw(rt, "event")}
		return &putOff{[]delivery{{Event: e, project: c.Project}}, time.Minute}
	}
	if w.task.Payout == 0 { // no worker has a task without a payout
		return &deposit{m.project, "", 1, "nothing to do"}
	}
	switch kind {
	case "returned":
		back := rail.Return{
			Reference: rapid.SampledFrom([]string{"r1", "r2"}).Draw(rt, "return") + w.task.Payout.String(),
			Amount:    money.Amount{Minor: 1, Currency: rapid.SampledFrom([]money.Currency{money.RUB, money.RUB, money.RUB, "USD"}).Draw(rt, "currency")},
			Payment:   w.task.Payout.String(), At: e.now(),
		}
		if minor > 0 && rapid.Bool().Draw(rt, "whole") {
			back.Amount.Minor = minor
		}
		return &returned{errand: w, rail: "any", told: back}
	case "checked":
		return &checked{errand: w, refused: rapid.SampledFrom([]fault.Code{"", "", fault.AccountNotFound}).Draw(rt, "refused")}
	case "later":
		return &later{w, e.now()}
	case "expire":
		return &expire{w}
	case "intent":
		return &intent{errand: w}
	case "abort":
		return &abort{errand: w, code: fault.RoutingInternal}
	}
	return &outcome{errand: w, asked: e.now(), says: rail.Outcome{
		Status: rapid.SampledFrom([]rail.Status{
			rail.Unknown, rail.Accepted, rail.Succeeded, rail.Succeeded, rail.Succeeded, rail.Failed, rail.NeverSeen, "?",
		}).Draw(rt, "status"),
		Code: rail.IssuerDeclined,
	}}
}

func (m *model) invariants(rt *rapid.T) {
	r, err := Check(m.Context(), m.store)
	if err != nil {
		rt.Fatal(err)
	}
	if !r.Clean() {
		rt.Fatalf("the books are not clean: %q", r.Problems)
	}
	if lost, spare := m.numbers(); len(lost)+len(spare) > 0 {
		rt.Fatalf("sealed numbers %v are missing, and %v have nobody that needs them", lost, spare)
	}
	for _, n := range m.sessions {
		s, err := m.store.Session(m.Context(), m.key(n))
		if err != nil {
			continue // refused before it was written
		}
		for i := range s.Payouts {
			p := &s.Payouts[i]
			m.reached[p.State] = true
			told, now := m.ends[p.ID], p.Show().Payout
			if told != "" && told != now {
				rt.Fatalf("payout %s was told %s and is now %s (%s)", p.ID, told, now, p.State)
			}
			if p.State.Final() {
				m.ends[p.ID] = now
			}
		}
	}
}
