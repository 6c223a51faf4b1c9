package payout

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

// events reads the events of the lab's project.
func (l *lab) events() []webhook.Event {
	l.Helper()
	var all []webhook.Event
	err := l.store.Snapshot(l.Context(), func(s store.Snapshot) error {
		for e, err := range s.Events(l.Context(), l.project) {
			if err != nil {
				return err
			}
			all = append(all, e)
		}
		return nil
	})
	if err != nil {
		l.Fatal(err)
	}
	return all
}

// What waits for an endpoint that is down gives its place in memory back, so
// that others have it, and is delivered when the endpoint is up again.
func TestDeadEndpointKeepsNoMemory(t *testing.T) {
	l := newLab(t)
	var up atomic.Bool
	l.answer = func(hook) int {
		if up.Load() {
			return http.StatusOK
		}
		return http.StatusBadGateway
	}
	l.engine.real = l.clock.Now // the breaker's time is the test's
	l.engine.hooks.endpoints = webhook.NewEndpoints(webhook.Limits{PerEndpoint: 1, Failures: 1})
	l.start()
	const payouts = 20
	waiting := map[string]bool{}
	for range payouts {
		waiting[l.init(cardBody(1)).String()] = true
	}
	for end := time.Now().Add(patience); ; {
		off := 0
		for _, e := range l.events() {
			if e.Attempts == 0 && e.Owner == "" && e.Due.After(e.CreatedAt.Add(putOffMin-time.Second)) {
				off++
			}
		}
		if off == payouts-1 && len(l.engine.hooks.keys()) <= 1 { // the one that was tried waits for its second try
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d events are put off, %d in memory", off, len(l.engine.hooks.keys()))
		}
	}
	up.Store(true)
	for end := time.Now().Add(patience); len(waiting) > 0; {
		select {
		case h := <-l.hooks:
			delete(waiting, h.Session.ID)
		default:
			l.advance(time.Second)
		}
		if time.Now().After(end) {
			t.Fatalf("%d events were never delivered", len(waiting))
		}
	}
}

func TestPutOff(t *testing.T) {
	for _, c := range []struct {
		name   string
		age    time.Duration // since it was tried first, or made
		tried  bool
		status webhook.Status
		wait   time.Duration
	}{
		{"young", 0, true, webhook.Pending, time.Minute},
		{"old", 20 * time.Minute, true, webhook.Pending, 5 * time.Minute},
		{"at its end", 30 * time.Minute, true, webhook.GivenUp, 0},
		{"never tried", 40 * time.Minute, false, webhook.Pending, 10 * time.Minute},
		{"never tried and very old", time.Hour, false, webhook.GivenUp, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, func(p *partner.Project) { p.RetryShort = true })
			project := l.call().Project
			s := l.init(cardBody(1_000_000)) // above the balance, so that the check refuses it
			p := l.session(s).Payouts[0]
			do := func(cmd command) {
				t.Helper()
				if _, err := l.engine.do(t.Context(), cmd); err != nil {
					t.Fatal(err)
				}
			}
			task := store.Task{TaskKey: store.TaskKey{SessionKey: l.key(s), Payout: p.ID, Kind: store.TaskCheck}}
			do(&checked{errand: errand{project, task}})
			e := l.events()[0]
			if c.tried {
				do(&tried{project: project, event: eventKey(&e), at: l.engine.now()})
			}
			l.clock.advance(c.age)
			var round time.Time
			if c.tried {
				round = l.engine.now().Add(-c.age)
			}
			do(&putOff{[]delivery{{Event: e, project: project, round: round}}, time.Minute})
			got := l.events()[0]
			if got.Status != c.status || got.Status == webhook.Pending && got.Owner != "" {
				t.Fatalf("%+v, want %s", got, c.status)
			}
			if wait := got.Due.Sub(l.engine.now()); c.wait > 0 && (wait > c.wait+time.Second || wait < c.wait-time.Second) {
				t.Errorf("put off by %v, want %v", wait, c.wait)
			}
			l.clean()
		})
	}
}

// A node that only delivers keeps its leases like one that also pays.
func TestDeliveringNodeRenewsItsLeases(t *testing.T) {
	l := newLab(t)
	l.engine.tasksWorker.mine = false
	renewed := make(chan []store.EventKey, 100)
	l.engine.store = &renewing{l.store, renewed}
	l.engine.lease = 300 * time.Millisecond
	blocked := make(chan struct{})
	l.answer = func(hook) int { <-blocked; return http.StatusOK }
	s := l.init(cardBody(1_000_000))
	p := l.session(s).Payouts[0]
	l.start()
	defer func() { close(blocked); l.receive(session.PaymentFinished, s) }()
	task := store.Task{TaskKey: store.TaskKey{SessionKey: l.key(s), Payout: p.ID, Kind: store.TaskCheck}}
	if _, err := l.engine.do(t.Context(), &checked{errand: errand{l.call().Project, task}}); err != nil {
		t.Fatal(err)
	}
	select {
	case keys := <-renewed:
		if len(keys) != 1 || keys[0].Session != s {
			t.Errorf("renewed %v", keys)
		}
	case <-time.After(patience):
		t.Error("the lease of an event under way is not renewed")
	}
}

// renewing tells what is renewed.
type renewing struct {
	store.Store
	events chan<- []store.EventKey
}

func (r *renewing) Renew(ctx context.Context, node string, until time.Time, tasks []store.TaskKey, events []store.EventKey) error {
	if len(events) > 0 {
		r.events <- events
	}
	return r.Store.Renew(ctx, node, until, tasks, events)
}

// The schedule begins with the first attempt: an event that was held back or
// put off before it loses nothing of it.
func TestScheduleBeginsWithTheFirstAttempt(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.RetryShort = true })
	project := l.call().Project
	s := l.init(cardBody(1_000_000)) // above the balance, so that the check refuses it
	do := func(cmd command) {
		t.Helper()
		if _, err := l.engine.do(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	task := store.Task{TaskKey: store.TaskKey{SessionKey: l.key(s), Payout: l.session(s).Payouts[0].ID, Kind: store.TaskCheck}}
	do(&checked{errand: errand{project, task}})
	l.clock.advance(50 * time.Minute) // longer than the whole schedule
	e := l.events()[0]
	do(&tried{project: project, event: eventKey(&e), at: l.engine.now()})
	if got := l.events()[0]; got.Status != webhook.Pending || got.Due.Sub(l.engine.now()) > webhook.Short.First {
		t.Errorf("after the first attempt: %+v", got)
	}
	l.clock.advance(29 * time.Minute)
	off := delivery{Event: e, project: project, round: e.CreatedAt, young: true} // longer ago than the first attempt
	do(&putOff{[]delivery{off}, time.Minute})
	if got := l.events()[0]; got.Status != webhook.Pending || got.Due.Before(l.engine.now().Add(time.Minute)) {
		t.Errorf("put off a minute before the end of the schedule: %+v", got)
	}
	began, attempts, err := l.engine.hooks.round(t.Context(), &e)
	if err != nil || attempts != 1 {
		t.Fatalf("%d attempts, %v", attempts, err)
	}
	do(&tried{project: project, event: eventKey(&e), at: l.engine.now(), round: began, earlier: attempts})
	if got := l.events()[0]; got.Status != webhook.Pending {
		t.Errorf("a minute before the end of the schedule: %+v", got)
	}
	l.clock.advance(time.Minute)
	do(&tried{project: project, event: eventKey(&e), at: l.engine.now(), round: began, earlier: attempts + 1})
	if got := l.events()[0]; got.Status != webhook.GivenUp || got.Attempts != 3 {
		t.Errorf("at the end of the schedule: %+v", got)
	}
	l.clean()
}
