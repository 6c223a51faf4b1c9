package payout

import (
	"container/heap"
	"context"
	"fmt"
	"maps"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/rail"
)

// kept is how much an engine has in memory of payouts, by where.
func (e *Engine) kept() map[string]int {
	kept := map[string]int{}
	w := e.tasksWorker
	w.mu.Lock()
	kept["tasks"] = len(w.held)
	lanes := maps.Clone(w.lanes)
	lanes["tax"] = w.taxLane
	for name, l := range lanes {
		kept[fmt.Sprintf("rows of lane %q", name)] = l.rows
		kept[fmt.Sprintf("calls of lane %q", name)] = l.calls + len(l.waiting)
	}
	w.mu.Unlock()
	h := e.hooks
	h.mu.Lock()
	kept["events"], kept["counted events"], kept["lines"] = len(h.held), int(h.count.Load()), len(h.lines)
	h.mu.Unlock()
	w.agenda.mu.Lock()
	kept["agenda of tasks"] = len(w.agenda.rows)
	w.agenda.mu.Unlock()
	h.agenda.mu.Lock()
	kept["agenda of events"] = len(h.agenda.rows)
	h.agenda.mu.Unlock()
	e.cards.mu.Lock()
	kept["cards"] = len(e.cards.byKey)
	e.cards.mu.Unlock()
	maps.DeleteFunc(kept, func(_ string, n int) bool { return n == 0 })
	return kept
}

// TestNothingIsKept brings payouts to all their ends, with rails that do not
// answer and a receiver that is down: when all is over, memory has nothing of them.
func TestNothingIsKept(t *testing.T) {
	l := newLab(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kept: %v", l.engine.kept())
		}
	})
	var down atomic.Bool
	l.answer = func(hook) int {
		if down.Load() {
			return http.StatusBadGateway
		}
		return http.StatusOK
	}
	l.engine.hooks.endpoints = webhook.NewEndpoints(webhook.Limits{Failures: 1000}) // its time is the machine's
	card := l.rails[instrument.KindCard]
	card.query = func(string, int) (rail.Outcome, error) { return rail.Outcome{Status: rail.Succeeded}, nil }
	card.check = func(_ context.Context, o rail.Order) (rail.Verdict, error) {
		if o.Amount.Minor == 5 {
			return rail.Verdict{Refused: rail.CardUnknown}, nil
		}
		return rail.Verdict{}, nil
	}
	card.send = func(_ context.Context, o rail.Order, _ rail.Opener) (rail.Outcome, error) {
		switch o.Amount.Minor {
		case 2:
			return rail.Outcome{Status: rail.Failed, Code: rail.CardExpired}, nil
		case 3:
			return rail.Outcome{}, errNoAnswer
		case 4:
			panic("the rail is broken")
		}
		return rail.Outcome{Status: rail.Succeeded}, nil
	}
	ends := []struct {
		minor int64 // of the payout, by which the rail knows what to do
		do    func(id.Session)
		state session.State
	}{
		{1, l.confirmWhenReady, session.Paid},
		{2, l.confirmWhenReady, session.Failed},
		{3, l.confirmWhenReady, session.Paid}, // asked about
		{4, l.confirmWhenReady, session.Paid},
		{5, func(id.Session) {}, session.Failed}, // refused by the check
		{6, func(s id.Session) { l.until(s, session.Awaiting); _ = l.cancel(s) }, session.Cancelled},
		{7, func(s id.Session) { l.until(s, session.Awaiting) }, session.Cancelled}, // its time to confirm passes
	}
	l.start()
	for round := range 3 {
		down.Store(round == 1)
		var all []id.Session
		for _, end := range ends {
			s := l.init(cardBody(end.minor))
			end.do(s)
			all = append(all, s)
		}
		l.advance(l.call().Project.Timeout())
		for i, s := range all {
			l.until(s, ends[i].state)
		}
		down.Store(false)
		l.eventually("nothing is kept", func() bool {
			l.advance(20 * time.Second)
			return len(l.engine.kept()) == 0 && l.clean().Pending == 0
		})
	}
}

// TestAgendaGivesRoomBack has a backlog come and go.
func TestAgendaGivesRoomBack(t *testing.T) {
	a := newAgenda[webhook.Event](time.Now)
	for round, n := range []int{roomKept / 2, hooksMax} {
		for range n {
			a.add(time.Now(), webhook.Event{})
		}
		for len(a.rows) > 0 {
			heap.Pop(&a.rows)
		}
		if room := cap(a.rows); room > roomKept || round == 0 && room == 0 {
			t.Errorf("after %d things it has room for %d, want %d at most, and of few things some", n, room, roomKept)
		}
	}
}
