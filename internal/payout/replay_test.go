package payout

import (
	"bytes"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

func (l *lab) wantCode(err error, code fault.Code) {
	l.Helper()
	if fault.CodeOf(err) != code {
		l.Errorf("%v, want %s", err, code)
	}
}

func TestReplaySendsTheSameAgain(t *testing.T) {
	l := newLab(t)
	l.start()
	s := l.init(cardBody(100))
	first := l.receive(session.ReadyToConfirm, s)
	l.deliveries(s, 1)
	event := store.EventKey{SessionKey: l.key(s), N: 1}
	l.advance(time.Hour)
	for range 2 {
		if err := l.engine.Replay(t.Context(), event); err != nil {
			t.Fatal(err)
		}
		again := l.receive(session.ReadyToConfirm, s)
		if !bytes.Equal(again.body, first.body) {
			t.Errorf("body %s, it was %s", again.body, first.body)
		}
		for name, was := range first.header {
			if got := again.header[name]; len(got) != 1 || got[0] != was[0] {
				t.Errorf("header %s: %q, it was %q", name, got, was)
			}
		}
		for end := time.Now().Add(patience); ; { // the next replay is refused until it is written down
			if e := l.events()[0]; e.Status == webhook.Delivered {
				break
			}
			if time.Now().After(end) {
				t.Fatal("never delivered")
			}
		}
	}
	log := l.deliveries(s, 5)
	for i, want := range []string{"", webhook.Replayed, "", webhook.Replayed, ""} {
		if log[i].Error != want || log[i].No != i+1 {
			t.Errorf("line %d of the log: %+v, want %q", i+1, log[i], want)
		}
	}
	if len(log) != 5 {
		t.Errorf("%d lines in the log", len(log))
	}
	l.clean()
}

func TestReplayIsRefused(t *testing.T) {
	l := newLab(t)
	s := l.init(cardBody(1_000_000)) // above the balance, so that the check refuses it
	key := l.key(s)
	project := l.call().Project
	task := store.Task{TaskKey: store.TaskKey{SessionKey: key, Payout: l.session(s).Payouts[0].ID, Kind: store.TaskCheck}}
	if _, err := l.engine.do(t.Context(), &checked{errand: errand{project, task}}); err != nil {
		t.Fatal(err)
	}
	another := key
	another.Session++
	stranger := key
	stranger.Project = "globex"
	for _, c := range []struct {
		name  string
		event store.EventKey
		code  fault.Code
	}{
		{"still being delivered", store.EventKey{SessionKey: key, N: 1}, fault.WrongState},
		{"no such event", store.EventKey{SessionKey: key, N: 2}, fault.NotFound},
		{"event zero", store.EventKey{SessionKey: key}, fault.NotFound},
		{"no such session", store.EventKey{SessionKey: another, N: 1}, fault.NotFound},
		{"no such project", store.EventKey{SessionKey: stranger, N: 1}, fault.NotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := l.engine.Replay(t.Context(), c.event); fault.CodeOf(err) != c.code {
				t.Errorf("%v, want %s", err, c.code)
			}
		})
	}
	if log := l.deliveries(s, 0); len(log) != 0 {
		t.Errorf("a refused replay was written down: %+v", log)
	}
	l.clean()
}

// An event that was made when there was no address is sent once there is one.
func TestReplayWithoutAddress(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.Webhook = "" })
	l.start()
	s := l.init(cardBody(100))
	l.until(s, session.Awaiting)
	event := store.EventKey{SessionKey: l.key(s), N: 1}
	l.wantCode(l.engine.Replay(t.Context(), event), fault.WrongState)
	_, err := l.engine.ReplayGivenUp(t.Context(), l.project, time.Time{}, time.Time{})
	l.wantCode(err, fault.WrongState)
	err = l.engine.UpdateProject(t.Context(), l.project, func(p *partner.Project) error {
		p.Webhook = l.url
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.engine.Replay(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	l.receive(session.ReadyToConfirm, s)
	l.clean()
}

// A replay has the whole schedule before it, however long ago the event was made.
func TestReplayGivenUp(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.RetryShort = true })
	var up atomic.Bool
	l.answer = func(hook) int {
		if up.Load() {
			return http.StatusOK
		}
		return http.StatusBadGateway
	}
	l.start()
	s := l.init(cardBody(1_000_000)) // one event: it is refused
	giveUp := func(n int) time.Time {
		t.Helper()
		for end := time.Now().Add(patience); ; l.advance(5 * time.Minute) {
			if e := l.events(); len(e) == 1 && e[0].Status == webhook.GivenUp {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("never given up: %+v", l.events())
			}
		}
		alarms, err := l.store.Alarms(t.Context(), 10)
		if err != nil || len(alarms) != n {
			t.Errorf("%d alarms, want %d; %v", len(alarms), n, err)
		}
		l.clean()
		return l.clock.Now()
	}
	giveUp(1)
	l.advance(100 * time.Hour)
	made := l.events()[0].CreatedAt
	for name, c := range map[string]struct{ from, to time.Time }{
		"made before": {from: made.Add(time.Microsecond)},
		"made after":  {to: made},
	} {
		if n, err := l.engine.ReplayGivenUp(t.Context(), l.project, c.from, c.to); n != 0 || err != nil {
			t.Errorf("%s: %d replayed, %v", name, n, err)
		}
	}
	began := l.clock.Now()
	before := len(l.deliveries(s, 1))
	if n, err := l.engine.ReplayGivenUp(t.Context(), l.project, made, made.Add(time.Microsecond)); n != 1 || err != nil {
		t.Fatalf("%d replayed, %v", n, err)
	}
	ended := giveUp(2) // in vain again
	if took := ended.Sub(began); took < webhook.Short.Total {
		t.Errorf("given up %v after the replay, want %v or more", took, webhook.Short.Total)
	}
	// The replay itself, and one try at least: the clock may have leapt over others.
	if lines := len(l.deliveries(s, 1)); lines < before+2 {
		t.Errorf("%d lines in the log, %d before the replay", lines, before)
	}
	up.Store(true)
	if n, err := l.engine.ReplayGivenUp(t.Context(), l.project, time.Time{}, time.Time{}); n != 1 || err != nil {
		t.Fatalf("%d replayed, %v", n, err)
	}
	l.receive(session.PaymentFinished, s)
	l.clean()
}

// Events of one session that are replayed together arrive in order, and all of
// them at once where the receiver is well; one that fails again holds the later
// ones back for five minutes only.
func TestReplayKeepsTheOrder(t *testing.T) {
	for _, receiver := range []string{"well", "stubborn"} {
		t.Run(receiver, func(t *testing.T) {
			onEngines(t, func(t *testing.T, open func() (store.Store, error)) {
				replayKeepsTheOrder(t, open, receiver == "stubborn")
			})
		})
	}
}

func replayKeepsTheOrder(t *testing.T, open func() (store.Store, error), stubborn bool) {
	l := newLabOn(t, open, func(p *partner.Project) { p.RetryShort = true })
	var up atomic.Bool
	tried := make(chan string, 10_000)
	held := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(held) })
	defer letGo()
	l.answer = func(h hook) int {
		tried <- h.Type
		switch first := h.Type == string(session.ReadyToConfirm); {
		case !up.Load(), first && stubborn:
			return http.StatusBadGateway
		case first:
			<-held // the second has all the time to overtake it
		}
		return http.StatusOK
	}
	l.start()
	s := l.init(cardBody(100))
	l.until(s, session.Awaiting)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	l.until(s, session.Paid)
	for end := time.Now().Add(patience); ; l.advance(5 * time.Minute) {
		if e := l.events(); len(e) == 2 && e[0].Status == webhook.GivenUp && e[1].Status == webhook.GivenUp {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("never given up: %+v", l.events())
		}
	}
	for len(tried) > 0 {
		<-tried
	}
	up.Store(true)
	if n, err := l.engine.ReplayGivenUp(t.Context(), l.project, time.Time{}, time.Time{}); n != 2 || err != nil {
		t.Fatalf("%d replayed, %v", n, err)
	}
	second := l.events()[1]
	if wait := second.Due.Sub(l.clock.Now()); wait > holdBackMax || wait < holdBackMax-patience {
		t.Errorf("the second is due in %v, want %v", wait, holdBackMax)
	}
	if kind := <-tried; kind != string(session.ReadyToConfirm) {
		t.Fatalf("%s overtakes the event before it", kind)
	}
	if stubborn {
		l.advance(holdBackMax)
		l.receive(session.PaymentFinished, s)
		return
	}
	letGo()
	l.receive(session.ReadyToConfirm, s)
	l.receive(session.PaymentFinished, s) // no clock was moved
	l.clean()
}

// An old event that was replayed while its endpoint is out of order is put off as
// a new one would be: its age counts from the replay.
func TestReplayIsPutOffAsNew(t *testing.T) {
	l := newLab(t)
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
	e := l.events()[0]
	do(&tried{project: project, event: eventKey(&e), at: l.engine.now(), result: webhook.Result{OK: true}})
	putOff := func() time.Duration {
		t.Helper()
		claimed, err := l.store.ClaimEvents(t.Context(), l.engine.node, l.engine.now(), time.Now(), time.Minute, 10)
		if err != nil || len(claimed) != 1 {
			t.Fatalf("claimed %+v, %v", claimed, err)
		}
		l.engine.hooks.putOff(t.Context(), []delivery{{Event: claimed[0], project: project}}, putOffMin)
		return l.events()[0].Due.Sub(l.engine.now())
	}
	l.clock.advance(20 * time.Hour)
	if err := l.engine.Replay(t.Context(), eventKey(&e)); err != nil {
		t.Fatal(err)
	}
	if wait := putOff(); wait > putOffMin {
		t.Errorf("put off by %v at the replay, want %v", wait, putOffMin)
	}
	l.clock.advance(20 * time.Minute)
	if wait := putOff(); wait < 4*time.Minute || wait > 6*time.Minute {
		t.Errorf("put off by %v twenty minutes after it, want a quarter of them", wait)
	}
}
